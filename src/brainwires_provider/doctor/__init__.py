"""What is set up, whether a provider answers, and what a server that calls itself compatible really does.

    examination = await doctor.examine("http://127.0.0.1:8080")
    examination["json_schema"].verdict      # "yes", "no", "ignored", "refused" or "unclear"
    print(examination.row)                  # a Provider(…) that says what was found

Every finding was asked for and has its evidence; what an answer does not prove is "unclear". No secret is in any.
"""

from __future__ import annotations

import re

from brainwires_provider.auth.keys import Key
from brainwires_provider.doctor.findings import Examination, Finding, Verdict
from brainwires_provider.doctor.setup import look_around
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import Config

__all__ = ["Examination", "Finding", "Verdict", "examine", "is_url", "look_around"]

_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d+(/.*)?$|localhost(/.*)?$")


def is_url(subject: str) -> bool:
    """Whether a URL or a host is meant, and no provider's name."""
    return "://" in subject or "/" in subject or _HOST.match(subject) is not None


async def examine(
    subject: str,
    *,
    model: str | None = None,
    api_key: Key | None = None,
    config: Config | None = None,
    allow_http: bool = False,
    seconds: float = 60,
    total: float = 600,
    most: int = 40,
    max_tokens: int = 256,
) -> Examination:
    """Ask a provider, by its name, or an OpenAI-compatible server, by its base URL.

    A provider is asked for its models and for one short answer. A server is asked some thirty questions, `most` at
    most; `seconds` are for each, `total` for all, and `max_tokens` for those answers that need room. Without `model`
    the first that is listed is asked. A URL gets `api_key` and no other key; `config` is for names alone.

    Raises ConfigError for a name that no row has, and for a URL that no request can go to; whatever a service does is
    a finding.
    """
    for name, value in (("seconds", seconds), ("total", total), ("most", most), ("max_tokens", max_tokens)):
        if not value > 0:
            raise ConfigError(f"{name} must be above zero, not {value!r}")
    if is_url(subject):
        from brainwires_provider.doctor.url import examine_url

        return await examine_url(
            subject if "://" in subject else _with_scheme(subject),
            model=model,
            api_key=api_key,
            allow_http=allow_http,
            seconds=seconds,
            total=total,
            most=most,
            max_tokens=max_tokens,
        )
    from brainwires_provider.doctor.services import examine_provider

    return await examine_provider(
        subject, config=config, model=model, api_key=api_key, seconds=seconds, total=total
    )


def _with_scheme(host: str) -> str:
    """A host without a scheme: http on this machine, https elsewhere."""
    from brainwires_provider.providers import is_loopback

    return f"http://{host}" if is_loopback(f"http://{host}") else f"https://{host}"
