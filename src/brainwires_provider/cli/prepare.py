"""`prepare`: the exact request that `chat` would send, secrets redacted, nothing sent."""

from __future__ import annotations

import msgspec

from brainwires_provider.cli.asking import Asking
from brainwires_provider.cli.output import dump, report_shape
from brainwires_provider.cli.terminal import complain, explain, print_line
from brainwires_provider.errors import ProviderError
from brainwires_provider.protocols.base.decoder import well_formed

__all__ = ["prepare"]


def prepare(prompt: str, asking: Asking, *, stream: bool, curl: bool) -> int:
    """Print it as one JSON object, or as a curl command. Gives the exit status."""
    try:
        prepared = asking.client().prepare(well_formed(prompt), stream=stream, **asking.args())
    except ProviderError as error:
        complain(explain(error))
        return 1
    if curl:
        print_line(prepared.curl().encode())
        return 0
    print_line(
        dump(
            {
                "method": prepared.method,
                "url": prepared.url,
                "headers": dict(prepared.headers),
                "body": msgspec.json.decode(prepared.body),
                "report": report_shape(prepared.report),
            }
        )
    )
    return 0
