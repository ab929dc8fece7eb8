"""`models`: the models that a provider lists, as a table, or as one JSON object per line.

What the provider does not state is blank, or null. Values from a dated table are marked, and the table named. Names
come from a server, so control characters in them are not printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from brainwires_provider.cli.options import Connection, expand_options
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.tables import print_table
from brainwires_provider.cli.terminal import complain, explain, note, print_line
from brainwires_provider.errors import ProviderError
from brainwires_provider.types import Model

__all__ = ["add_models"]

Finish = Callable[[Callable[[], int]], NoReturn]

_HEAD = ("MODEL", "CONTEXT", "OUTPUT", "CAPABILITIES", "LIFECYCLE", "CREATED", "OWNER", "NAME")
_MARK = "*"


def add_models(app: typer.Typer, finish: Finish) -> None:
    """Add the command. `finish` exits with the status that it returns."""

    @app.command("models")
    @expand_options
    def models(
        provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="One of `brainwires providers`.")],
        *,
        connection: Connection,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    ) -> None:
        """List the models of a provider: their limits, capabilities and lifecycle, if it states them.

        \b
        brainwires models groq
        brainwires models openrouter --json |
          jq -r 'select(.capabilities[]? == "tools") | .id'
        brainwires models vllm --base-url http://localhost:8000/v1
        """
        finish(lambda: _run(provider, connection, as_json=as_json))


def _run(provider: str, connection: Connection, *, as_json: bool) -> int:
    async def main() -> list[Model]:
        async with connection.client(f"{provider}:*", connection.load()) as client:
            return await client.models()

    try:
        found = asyncio.run(main())
    except ProviderError as error:
        if as_json:
            print_line(dump(failure_shape(error)))
        complain(explain(error))
        return 1
    if as_json:
        for model in found:
            print_line(dump(msgspec.structs.asdict(model)))
        return 0
    print_table(_HEAD, [_cells(model) for model in found])
    for table in dict.fromkeys(model.table for model in found if model.table):
        note(f"{_MARK} not stated by the provider; from {table}")
    return 0


def _cells(model: Model) -> tuple[str, ...]:
    def marked(field: str, text: Any) -> str:
        return "" if text is None else f"{text}{_MARK if field in model.from_table else ''}"

    created = None if model.created is None else datetime.fromtimestamp(model.created, UTC).date()
    return (
        model.id,
        marked("context_window", model.context_window),
        marked("max_output_tokens", model.max_output_tokens),
        " ".join(model.capabilities or ()),
        marked("lifecycle", model.lifecycle) + (f" until {model.retires}" if model.retires else ""),
        marked("created", created),
        model.owner or "",
        "" if model.display_name in (None, model.id) else str(model.display_name),
    )
