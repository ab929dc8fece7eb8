"""Examines one built-in or configured provider: what it has, what it lacks, and whether it answers.

The first request is for the list of models, which costs nothing, the second is a chat of a few tokens. Both are sent
as every other request.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.util import find_spec
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from brainwires_provider.auth.keys import EnvKey, FileKey, Key, KeyringKey, resolve_key
from brainwires_provider.auth.redaction import header_secrets
from brainwires_provider.client import AsyncClient
from brainwires_provider.doctor.asking import cleaned
from brainwires_provider.doctor.case import first_to_talk_to
from brainwires_provider.doctor.findings import Examination, Finding
from brainwires_provider.errors import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    TransportError,
    UnsupportedError,
)
from brainwires_provider.providers import (
    Config,
    Provider,
    ProviderConfig,
    Target,
    find_row,
    resolve_listing,
)
from brainwires_provider.types import Model, Response, Retry, Timeouts

__all__ = ["examine_provider", "key_finding", "key_place", "key_source", "variables"]

T = TypeVar("T")

_LIMIT = 32  # tokens: some services refuse less than 16
_CLOUDS: Mapping[str, tuple[tuple[str, ...], str, str, str]] = {
    "aws": (("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID"), "botocore", "bedrock", "a profile, a role"),
    "google": (
        ("GOOGLE_APPLICATION_CREDENTIALS",),
        "google.auth",
        "vertex",
        "gcloud's own file, a machine's role",
    ),
}
_FAULTS: tuple[tuple[type[ProviderError], str], ...] = (
    (ConfigError, "the configuration's fault"),
    (UnsupportedError, "no fault: this service has no such operation"),
    (AuthenticationError, "the key's fault"),
    (PermissionDeniedError, "the key's fault: it may not do this"),
    (RateLimitError, "the account's fault: its limit or its quota is used up"),
    (OverloadedError, "the service's fault: it is out of capacity; try again later"),
    (ServerError, "the service's fault; try again later"),
    (NotFoundError, "the model's name, or the base URL"),
    (InvalidRequestError, "the request's fault: this model may not take it; name another by --model"),
    (ProtocolError, "the service's fault: it breaks its protocol; is base_url right?"),
    (ConnectError, "the network's fault, or no server listens there"),
    (RequestTimeout, "the network's or the service's fault; --timeout gives it more time"),
    (TransportError, "the network's fault; try again"),
)


async def examine_provider(
    name: str,
    *,
    config: Config,
    model: str | None,
    api_key: Key | None,
    base_url: str | None,
    allow_http: bool,
    seconds: float,
    total: float,
) -> Examination:
    """See `doctor.examine`."""
    began = time.monotonic()
    configs = {each.name: each for each in config.providers}
    given = configs.get(name) or ProviderConfig(name)
    row = find_row(given.based_on or name, configs)
    if base_url not in (None, given.base_url):
        given = replace(
            given, base_url=base_url, api_key=None, headers={}
        )  # those are for the configured URL
    elif api_key is not None:
        config.check_key(name)
    given = replace(
        given,
        api_key=given.api_key if api_key is None else api_key,
        allow_http=given.allow_http or allow_http,
    )
    findings = [_provider(row, given), *_parts(row)]
    try:
        target = resolve_listing(name, {name: given})
        secrets = await _secrets(target, name)
    except ConfigError as error:
        findings.append(Finding("key", "no", cleaned(error.message)))
        return _examination(name, findings, None, began, 0)
    findings.append(key_finding(target, given))
    clocks = Timeouts(connect=min(10, seconds), first_event=seconds, idle=seconds, attempt=seconds)
    client = AsyncClient(
        providers=[given], config=Config(options=config.options), timeouts=clocks, retry=Retry(1)
    )
    async with client:
        if target.row.transport == "http":
            await client._session.transport(target)  # importing the engine is not part of the service's time
        service = _Service(client, name, secrets)
        try:
            async with asyncio.timeout(total):
                chosen = await service.ask(model or row.default_model, is_chosen=model is not None)
        except TimeoutError:
            service.found.append(
                Finding("time", "no", f"{total:g} s were over before all requests were answered")
            )
            chosen = model
    return _examination(name, [*findings, *service.found], chosen, began, service.requests)


def _examination(
    name: str, findings: list[Finding], model: str | None, began: float, requests: int
) -> Examination:
    chat = next((finding for finding in findings if finding.name == "chat"), None)
    well = chat is not None and chat.verdict == "yes" and all(f.verdict != "no" for f in findings)
    seconds = round(time.monotonic() - began, 2)
    return Examination(name, "provider", well, tuple(findings), model, requests, seconds)


# -- what exists -------------------------------------------------------------------------------------------


def _provider(row: Provider, config: ProviderConfig) -> Finding:
    base = f", based on {row.name}" if row.name != config.name else ""
    note = f"; {row.note}" if row.note else ""
    return Finding("provider", "yes", f"{row.protocol().name}{base}; {row.docs}{note}")


def _parts(row: Provider) -> list[Finding]:
    """The packages that only some providers need."""
    if row.transport == "local":
        return [_package("engine", "xllamacpp", "local")]
    if row.cloud is not None:
        _, module, extra, _ = _CLOUDS[row.cloud]
        return [_package("package", module, extra)]
    return []


def _package(name: str, module: str, extra: str) -> Finding:
    try:
        there = find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        there = False
    if there:
        return Finding(name, "yes", f"{module} is installed")
    advice = f'pip install "brainwires-provider[{extra}]"'
    if module == "xllamacpp":
        return Finding(name, "no", f"{module} is not installed", advice)
    return Finding(name, "unclear", f"{module} is not installed; some credentials need it", advice)


def variables(row: Provider) -> tuple[str, ...]:
    """The environment variables of a provider's key."""
    if row.cloud is not None:
        return _CLOUDS[row.cloud][0]
    return tuple(name for name in (row.key_env, row.other_key_env) if name)


def key_finding(target: Target, config: ProviderConfig) -> Finding:
    """Whether there is a key, and its source; never its value."""
    row = target.row
    host = "this machine" if row.transport == "local" else urlsplit(target.base_url).netloc.rpartition("@")[2]
    if row.transport == "local":
        return Finding("key", "yes", "none is needed: it runs on this machine")
    if config.api_key:
        return Finding("key", "yes", f"{key_place(config.api_key)}, for {host}")
    names = variables(row)
    present = [name for name in names if os.environ.get(name, "").strip()]
    if present and (target.key or target.auth):
        return Finding("key", "yes", f"{present[0]} is set, for {host}")
    if target.auth is not None and row.cloud is not None:
        where = f"none of {', '.join(names)} is set; {_CLOUDS[row.cloud][3]} may have them, and is tried now"
        return Finding("key", "unclear", where)
    if config.headers:
        return Finding("key", "yes", f"in the configured headers, for {host}")
    return Finding("key", "yes", f"none is sent to {host}")


def key_source(target: Target, config: ProviderConfig) -> str:
    """The source of a request's authentication: a key, credentials, or none."""
    if config.api_key:
        return key_place(config.api_key)
    if target.auth is not None and isinstance(config.credentials, str):
        return (
            f"{'the profile' if target.row.cloud == 'aws' else 'the credentials file'} {config.credentials}"
        )
    if target.auth is not None and config.credentials is not None:
        return "credentials given in code"
    if target.key or target.auth:
        present = [name for name in variables(target.row) if os.environ.get(name, "").strip()]
        return (
            f"in the environment variable {present[0]}" if present else "this machine's own cloud credentials"
        )
    return "none"


def key_place(key: Key) -> str:
    """The source of a key, never its value."""
    match key:
        case EnvKey(name=name):
            return f"in the environment variable {name}"
        case FileKey(path=path):
            return f"in the file {path}"
        case KeyringKey(service=service, user=user):
            return f"in the keyring, under {service!r} of {user!r}"
    return "given in code"


async def _secrets(target: Target, name: str) -> tuple[str, ...]:
    """Values that must not be shown. Raises ConfigError for a reference without a value."""
    secrets = [await resolve_key(target.key, name)] if target.key else []
    values = {header: value for header, value in target.headers.items() if isinstance(value, str)}
    values |= {
        header: await resolve_key(value, name) for header, value in target.headers.items() if callable(value)
    }
    return (*secrets, *header_secrets(target.headers, values))


# -- asking it -----------------------------------------------------------------------------------------------


class _Service:
    """One provider under examination."""

    def __init__(self, client: AsyncClient, name: str, secrets: tuple[str, ...]) -> None:
        self._client, self._name, self._secrets = client, name, secrets
        self.found: list[Finding] = []
        self.requests = 0

    async def ask(self, model: str | None, *, is_chosen: bool) -> str | None:
        """List the models, then chat with `model` or the first of the list. Returns the model."""
        listed = await self._timed("models", self._client.models(self._name), self._listed)
        has_default = model is not None
        if model is None:
            model = first_to_talk_to(listed or ())
        if model is None:
            self.found.append(
                Finding("chat", "unclear", "not asked: no model is known", "name one: --model NAME")
            )
            return None
        chat = self._client.chat("Say hello.", model=f"{self._name}:{model}", max_tokens=_LIMIT)
        await self._timed("chat", chat, self._answered, certain=is_chosen or has_default, model=model)
        return model

    async def _timed(
        self,
        name: str,
        work: Awaitable[T],
        describe: Callable[[T, float], str],
        *,
        certain: bool = True,
        model: str = "",
    ) -> T | None:
        """Await it, and add a finding either way."""
        began = time.monotonic()
        self.requests += 1
        try:
            result = await work
        except ProviderError as error:
            self.found.append(self._failure(name, error, certain=certain, model=model))
            return None
        took = time.monotonic() - began
        self.found.append(Finding(name, "yes", cleaned(describe(result, took), self._secrets)))
        return result

    def _listed(self, models: list[Model], took: float) -> str:
        names = ", ".join(repr(model.id) for model in models[:3])
        return (
            f"{len(models)} in {took:.2f} s{f': {names}' if names else ''}{', …' if len(models) > 3 else ''}"
        )

    def _answered(self, response: Response, took: float) -> str:
        usage = response.usage
        counts = f"; {usage.input_tokens} tokens in, {usage.output_tokens} out" if usage.total_tokens else ""
        return f"{response.model or 'it'} answered in {took:.2f} s, ended by {response.finish_reason}{counts}"

    def _failure(self, name: str, error: ProviderError, *, certain: bool, model: str) -> Finding:
        words = cleaned(error.message.removeprefix(f"{self._name}: "), self._secrets)
        status = getattr(error, "status", None)
        evidence = f"HTTP {status}: {words}" if status else words
        whose = next((fault for kind, fault in _FAULTS if isinstance(error, kind)), "")
        if name == "models" and isinstance(error, (UnsupportedError, NotFoundError)):
            return Finding(name, "unclear", evidence, "this service may have no list")
        if not certain and isinstance(error, (NotFoundError, InvalidRequestError)):
            return Finding(
                name, "unclear", f"{model!r}, the first of the list: {evidence}", "name one: --model NAME"
            )
        return Finding(name, "no", evidence, whose)
