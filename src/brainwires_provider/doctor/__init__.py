"""Checks the configuration, whether a provider answers, and what a server that claims compatibility really supports.

    examination = await doctor.examine("http://127.0.0.1:8080")
    examination["json_schema"].verdict      # "yes", "no", "ignored", "refused" or "unclear"
    print(examination.provider)             # a Provider(…) with what was found

Every finding is the result of a request and has its evidence; what a response does not prove is "unclear". No finding
contains a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from brainwires_provider.auth.keys import Key
from brainwires_provider.doctor.findings import Examination, Finding, Verdict
from brainwires_provider.doctor.setup import look_around
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import PROVIDERS, Config
from brainwires_provider.providers.table import ALIASES

__all__ = ["Examination", "Finding", "Verdict", "examine", "is_url", "look_around"]

_HOST = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):\d+(/.*)?$|localhost(/.*)?$")


def is_url(subject: str, own: Iterable[str] = ()) -> bool:
    """Whether `subject` is a URL or a host, and not a provider or a `"provider:model"`; `own` are more providers."""
    if "://" in subject:
        return True
    provider, colon, model = subject.partition(":")
    is_port = model.partition("/")[0].isdecimal()  # a host may be called as a provider is
    if colon and not is_port and (provider in PROVIDERS or provider in ALIASES or provider in own):
        return False
    return "/" in subject or _HOST.match(subject) is not None


async def examine(
    subject: str,
    *,
    model: str | None = None,
    api_key: Key | None = None,
    base_url: str | None = None,
    config: Config | None = None,
    allow_http: bool = False,
    seconds: float = 60,
    total: float = 600,
    most: int = 40,
    max_tokens: int = 256,
) -> Examination:
    """Check a provider, by its name or as `"provider:model"`, or an OpenAI-compatible server, by its base URL.

    A provider is sent a request for its model list and one short chat; `base_url` is another server of its protocol. A
    URL is sent about thirty requests, `most` at most. `seconds` limits each request, `total` all of them, and
    `max_tokens` the longer responses. Without `model` the first of the list is used. A URL is sent `api_key` and no
    other key, and takes no `config`.

    Raises ConfigError for an unknown provider, and for a URL that no request can be sent to. All that a server does is
    a finding.
    """
    for name, value in (("seconds", seconds), ("total", total), ("most", most), ("max_tokens", max_tokens)):
        if not value > 0:
            raise ConfigError(f"{name} must be above zero, not {value!r}")
    setup = config or Config()
    if is_url(subject, (each.name for each in setup.providers)):
        if base_url is not None:
            raise ConfigError("a URL was given to check, so base_url has no use: leave one of the two out")
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

    named = setup.models.get(subject)
    provider, _, own_model = (subject if named is None else named.model).partition(":")
    if own_model and model:
        raise ConfigError(f"{subject!r} names a model, and so does model={model!r}: leave one of the two out")
    return await examine_provider(
        provider,
        config=setup,
        model=model or own_model or None,
        api_key=api_key,
        base_url=base_url,
        allow_http=allow_http,
        seconds=seconds,
        total=total,
    )


def _with_scheme(host: str) -> str:
    """A host without a scheme: http on this machine, https elsewhere."""
    from brainwires_provider.providers import is_loopback

    return f"http://{host}" if is_loopback(f"http://{host}") else f"https://{host}"
