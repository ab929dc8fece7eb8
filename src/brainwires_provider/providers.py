"""The table: a provider is a row.

A row says which protocol a service speaks, with which quirks, where, and with whose key. `resolve` turns a model's
name, `"provider:model"`, and what the client was given into a Target, and holds the rule that keys stay home.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from brainwires_provider.auth.keys import Key
from brainwires_provider.errors import ConfigError
from brainwires_provider.protocols.base import ChatProtocol
from brainwires_provider.types import Options, Origin

__all__ = [
    "PROVIDERS",
    "Provider",
    "ProviderConfig",
    "Target",
    "protocol_named",
    "protocol_names",
    "resolve",
    "resolve_listing",
    "split_model",
]


class Provider(Struct, frozen=True):
    """One row. `key_env` and `base_url_env` name environment variables; `checked` is the day the row was checked."""

    name: str
    protocol: Callable[[], ChatProtocol]
    base_url: str
    key_env: str | None = None
    base_url_env: str | None = None
    auth: str = "bearer"
    wire: Literal["http", "local"] = "http"
    default_model: str | None = None
    docs: str = ""
    checked: str = "2026-11-22"


class ProviderConfig(Struct, frozen=True):
    """A provider as the caller sets it up: a row, or a name of one's own on top of a row.

    `row` is the row whose protocol it speaks (default: `name` itself). A base URL given here needs its key given
    here too, unless it is on this machine. Plain http leaves this machine only with `allow_http`.
    """

    name: str
    row: str | None = None
    api_key: Key | None = None
    base_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Options | None = None
    allow_http: bool = False

    def __repr__(self) -> str:
        """Names only: the key and the headers are secrets."""
        return f"ProviderConfig(name={self.name!r}, row={self.row!r}, base_url={_bare(self.base_url)!r})"


class Target(Struct, frozen=True):
    """Where one request goes: the row, the URL, and the key that belongs there."""

    provider: str
    row: Provider
    model: str
    base_url: str
    key: Key | None
    headers: Mapping[str, str]
    options: Options | None
    origin: Origin
    """What this target's answers are marked with."""

    @property
    def protocol(self) -> ChatProtocol:
        """The row's protocol, one object for all its requests."""
        return _protocol(self.row)

    def __repr__(self) -> str:
        return f"Target({self.provider}:{self.model} at {_bare(self.base_url)})"


def _chat(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Chat Completions in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat

        return OpenAIChat(ChatQuirks(**quirks))

    return make


_COMPATIBLE: dict[str, Any] = {
    "max_tokens_field": "max_tokens",
    "developer_role": False,
    "allowed_tools": False,
}


def _responses(**quirks: Any) -> Callable[[], ChatProtocol]:
    """Responses in one service's dialect, made when first used."""

    def make() -> ChatProtocol:
        from brainwires_provider.protocols.openai_responses import OpenAIResponses, ResponsesQuirks

        return OpenAIResponses(ResponsesQuirks(**quirks))

    return make


_ROWS = (
    Provider(
        "openai-chat",
        _chat(),
        "https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        docs="https://platform.openai.com/docs/api-reference/chat",
    ),
    Provider(
        "openai-responses",
        _responses(),
        "https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        base_url_env="OPENAI_BASE_URL",
        docs="https://platform.openai.com/docs/api-reference/responses",
    ),
    Provider(
        "azure",
        _responses(),
        "",  # each resource has a host of its own: https://RESOURCE.openai.azure.com/openai/v1
        key_env="AZURE_OPENAI_API_KEY",
        base_url_env="AZURE_OPENAI_BASE_URL",
        auth="api-key",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses",
    ),
    Provider(
        "azure-entra",  # a token instead of a key: api_key= takes a callable that gives a fresh one
        _responses(),
        "",
        key_env="AZURE_OPENAI_AD_TOKEN",
        base_url_env="AZURE_OPENAI_BASE_URL",
        docs="https://learn.microsoft.com/azure/ai-foundry/openai/how-to/managed-identity",
    ),
    Provider(
        "xai",
        _responses(cache_marks=False, counting=False),
        "https://api.x.ai/v1",
        key_env="XAI_API_KEY",
        docs="https://docs.x.ai/docs/api-reference",
    ),
    Provider(
        "deepseek-responses",
        _responses(encrypted_reasoning=False, cache_marks=False, counting=False),
        "https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        docs="https://api-docs.deepseek.com",
    ),
    Provider(
        "bedrock-openai",
        _responses(cache_marks=False, counting=False),
        "https://bedrock-mantle.us-east-1.api.aws/openai/v1",
        key_env="AWS_BEARER_TOKEN_BEDROCK",
        docs="https://docs.aws.amazon.com/bedrock/latest/userguide/inference-responses-api.html",
    ),
    Provider(
        "openrouter-responses",
        _responses(counting=False),
        "https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        docs="https://openrouter.ai/docs/api-reference",
    ),
    Provider(
        "groq",
        _chat(
            **_COMPATIBLE | {"max_tokens_field": "max_completion_tokens"},
            replay_reasoning=False,
        ),
        "https://api.groq.com/openai/v1",
        key_env="GROQ_API_KEY",
        docs="https://console.groq.com/docs/api-reference",
    ),
    Provider(
        "mistral",
        _chat(
            **_COMPATIBLE,
            stream_usage=False,
            seed_field="random_seed",
            required_word="any",
            documents="document_url",
            audio="text",
        ),
        "https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        docs="https://docs.mistral.ai/api",
    ),
    Provider(
        "deepseek",
        _chat(**_COMPATIBLE, json_schema=False, reasoning="thinking", parallel_tool_calls=False),
        "https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        docs="https://api-docs.deepseek.com",
    ),
    Provider(
        "openrouter",
        _chat(
            **_COMPATIBLE | {"developer_role": True},
            top_k=True,
            cache_marks=True,
            reasoning="object",
            file_urls=True,
            video=True,
        ),
        "https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        docs="https://openrouter.ai/docs/api-reference",
    ),
    Provider(
        "cerebras",
        _chat(**_COMPATIBLE | {"max_tokens_field": "max_completion_tokens"}, penalties=False),
        "https://api.cerebras.ai/v1",
        key_env="CEREBRAS_API_KEY",
        docs="https://inference-docs.cerebras.ai/api-reference/chat-completions",
    ),
    Provider(
        "perplexity",
        _chat(**_COMPATIBLE, top_k=True),
        "https://api.perplexity.ai",
        key_env="PERPLEXITY_API_KEY",
        docs="https://docs.perplexity.ai/api-reference/chat-completions-post",
    ),
    Provider(
        "zai",
        _chat(**_COMPATIBLE, json_schema=False, reasoning="thinking", penalties=False),
        "https://api.z.ai/api/paas/v4",
        key_env="ZAI_API_KEY",
        docs="https://docs.z.ai/api-reference/llm/chat-completion",
    ),
    Provider(
        "huggingface",
        _chat(**_COMPATIBLE),
        "https://router.huggingface.co/v1",
        key_env="HF_TOKEN",
        docs="https://huggingface.co/docs/inference-providers",
    ),
    Provider(
        "local",
        _chat(**_COMPATIBLE, top_k=True),
        "http://localhost/v1",
        wire="local",
        default_model="",
        docs="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    ),
)

PROVIDERS: Mapping[str, Provider] = {row.name: row for row in _ROWS}
"""The rows by name."""

_ALIASES = {"openai": "openai-responses"}

# Rows that later releases bring; asking for one says so instead of guessing.
_COMING = {
    "openai-responses-ws": "openai-responses",
    "anthropic": None,
    "google": None,
    "vertex": None,
    "bedrock": None,
    "ollama": None,
}

_protocols: dict[str, ChatProtocol] = {}


def _protocol(row: Provider) -> ChatProtocol:
    """A row's protocol object: it has no state, so one serves all."""
    protocol = _protocols.get(row.name)
    if protocol is None or PROVIDERS.get(row.name) is not row:
        protocol = _protocols[row.name] = row.protocol()
    return protocol


def protocol_names() -> tuple[str, ...]:
    """The names of the protocols that are built, as recordings and `decode` name them."""
    return tuple(sorted({_protocol(row).name for row in _ROWS}))


def protocol_named(name: str) -> ChatProtocol:
    """The plain form of a protocol. Raises ConfigError naming those that are built."""
    for row in _ROWS:
        if _protocol(row).name == name:
            return _protocol(row)
    raise ConfigError(
        f"the protocol {name!r} is not built in this release; built are: {', '.join(protocol_names())}"
    )


def split_model(model: str) -> tuple[str, str]:
    """`"provider:model"`, split at the first colon. Raises ConfigError for a name without a provider."""
    provider, colon, name = model.partition(":")
    if not colon or not provider:
        raise ConfigError(
            f'a model is named "provider:model", but {model!r} names no provider; for example "openai-chat:{model}"'
        )
    return provider, name


def find_row(name: str) -> Provider:
    """Raises ConfigError with the nearest names."""
    row = PROVIDERS.get(_ALIASES.get(name, name))
    if row is not None:
        return row
    if name in _COMING:
        instead = _COMING[name]
        hint = f"; use {instead!r} for now" if instead else ""
        raise ConfigError(f"the provider {name!r} is not built in this release{hint}")
    near = get_close_matches(name, PROVIDERS, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"there is no provider {name!r}; {hint}known are: {', '.join(PROVIDERS)}")


def resolve(model: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """Where a request for `model` goes, and with whose key.

    Raises ConfigError: an unknown provider, no model, no key, or a key that would leave its home.
    """
    provider, name = split_model(model)
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.row or provider)
    if not name:
        if row.default_model is None:
            raise ConfigError(f'name a model of {provider}: "{provider}:MODEL"')
        name = row.default_model
    base_url, from_code = _base_url(row, config)
    target = Target(
        provider=provider,
        row=row,
        model=name,
        base_url=base_url,
        key=None if row.wire == "local" else _key(row, config, base_url, from_code=from_code),
        headers=config.headers,
        options=config.options,
        origin=Origin(_protocol(row).name, provider, name),
    )
    if row.wire == "http":
        fault = _url_fault(base_url, config.allow_http)
        if fault is not None:
            raise ConfigError(fault, provider=provider)
    return target


def resolve_listing(provider: str, configs: Mapping[str, ProviderConfig]) -> Target:
    """Where a provider's models are listed. Raises ConfigError as `resolve` does."""
    config = configs.get(provider) or ProviderConfig(provider)
    row = find_row(config.row or provider)
    return resolve(f"{provider}:{'*' if row.default_model is None else row.default_model}", configs)


def _base_url(row: Provider, config: ProviderConfig) -> tuple[str, bool]:
    """The base URL, and whether it was given in code."""
    if config.base_url is not None:
        return config.base_url.rstrip("/"), True
    if row.base_url_env and os.environ.get(row.base_url_env):
        return os.environ[row.base_url_env].strip().rstrip("/"), False
    if not row.base_url:
        raise ConfigError(
            f"{config.name} has a base URL for each customer: pass base_url=, or set {row.base_url_env}",
            provider=config.name,
        )
    return row.base_url, False


def _key(row: Provider, config: ProviderConfig, base_url: str, *, from_code: bool) -> Key | None:
    """A key from the environment goes to the row's own host, or to a base URL that is also from there."""
    if config.api_key is not None:
        return config.api_key
    if any(name.lower() in ("authorization", row.auth) for name in config.headers):
        return None
    if from_code and base_url != row.base_url.rstrip("/"):
        if is_loopback(base_url):
            return None
        raise ConfigError(
            f"{_bare(base_url)} was given as base_url in code, so its key must be given in code too: api_key=… "
            '(api_key="" for a server that wants none); a key from the environment stays with its own host',
            provider=config.name,
        )
    key = os.environ.get(row.key_env, "").strip() if row.key_env else ""
    if key:
        return key
    where = f"set {row.key_env} or pass api_key=" if row.key_env else "pass api_key="
    raise ConfigError(f"no key for {config.name}: {where}", provider=config.name)


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.endswith(".localhost") or _is_127(host)


def _is_127(host: str) -> bool:
    parts = host.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(p.isdigit() and int(p) < 256 for p in parts)


@lru_cache(64)
def _url_fault(base_url: str, allow_http: bool) -> str | None:
    """What is wrong with a base URL, if anything. Asked at each request, and always the same."""
    try:
        parts = urlsplit(base_url)
        host, scheme, user = parts.hostname, parts.scheme, parts.username
        _ = parts.port
    except ValueError:
        host, scheme, user = None, "", None
    if scheme not in ("http", "https") or not host:
        return f"base_url {_bare(base_url)!r} is no http(s) URL; it looks like https://host/v1"
    if user is not None:
        return (
            f"base_url {_bare(base_url)!r} holds a user name or password, which would show in logs; "
            'pass headers={"Authorization": …} instead'
        )
    if scheme == "http" and not allow_http and not is_loopback(base_url):
        return (
            f"{_bare(base_url)} is plain http, which would show the key to the network: use https, or "
            "ProviderConfig(allow_http=True) for a network that you trust"
        )
    return None


def _bare(url: str | None) -> str | None:
    """A URL without user, password and query, for messages."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return (
            f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
            if parts.hostname
            else url.partition("?")[0]
        )
    except ValueError:
        return "(unreadable)"
