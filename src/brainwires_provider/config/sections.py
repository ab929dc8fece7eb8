"""Reads the tables of `brainwires.toml`: options, providers, models.

Keys and secret headers are read as references, such as an environment variable; `auth.keys` resolves a reference when
a request needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

from brainwires_provider.auth.keys import EnvKey, FileKey, Key, KeyringKey, header_fault
from brainwires_provider.config.lines import Path
from brainwires_provider.config.reading import Reader, near
from brainwires_provider.errors import ConfigError
from brainwires_provider.protocols.base.facts import ModelFacts
from brainwires_provider.providers.config import NamedModel, provider_options_kinds
from brainwires_provider.providers.registry import Provider
from brainwires_provider.providers.resolve import ProviderConfig, find_row
from brainwires_provider.providers.table import ALIASES, PROVIDERS
from brainwires_provider.types import (
    Breaker,
    Budget,
    CacheStrategy,
    Hedge,
    Limits,
    Options,
    Policies,
    ProviderOptions,
    Reasoning,
    Retry,
    Telemetry,
    Timeouts,
)
from brainwires_provider.types.suspects import (
    is_secret_header,
    looks_like_key,
    may_be_key,
    url_holds_secret,
)

__all__ = ["model_fault", "read_models", "read_options", "read_policies", "read_providers", "read_telemetry"]

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KINDS = ("env", "file", "keyring")

# Fields that apply to some providers only: a test for those providers, and the wording of the error.
_FITS: Mapping[str, tuple[Callable[[Provider], bool], str]] = {
    "region": (lambda row: row.cloud is not None, "is for providers on a cloud"),
    "project": (lambda row: row.cloud == "google", "is for providers on Google Cloud"),
    "credentials": (lambda row: row.cloud is not None, "is for providers on a cloud"),
    "local": (lambda row: row.transport == "local", "is for providers that run models on this machine"),
    "socket": (lambda row: row.transport == "websocket", "is for providers over a WebSocket"),
}
_FIELDS = (
    "based_on",
    "base_url",
    "api_key",
    "headers",
    "region",
    "project",
    "credentials",
    "options",
    "allow_http",
    "local",
    "socket",
    "models",
)


# -- options -------------------------------------------------------------------------------------------------


def read_options(reader: Reader, value: Any, path: Path) -> Options | None:
    """Read `Options`. Options of one protocol are in `provider_options.PROTOCOL`."""
    own = {
        "reasoning": lambda given, at: _word_or_struct(reader, Reasoning, "effort", given, at),
        "cache": lambda given, at: _word_or_struct(reader, CacheStrategy, "mode", given, at),
        "timeouts": lambda given, at: reader.struct(Timeouts, given, at, {}),
        "provider_options": lambda given, at: _provider_options(reader, given, at),
        "extra_headers": lambda given, at: _extra_headers(reader, given, at),
        "extra_query": lambda given, at: _plain_texts(reader, given, at, "the query"),
    }
    return None if value is None else reader.struct(Options, value, path, own)


def _word_or_struct(reader: Reader, kind: Any, field: str, value: Any, path: Path) -> Any:
    """Read a struct, given as a table or as the value of its first field."""
    if not isinstance(value, str):
        return reader.struct(kind, value, path, {})
    word = reader.value(get_type_hints(kind)[field], value, path)
    return None if word is None else kind(word)


def _provider_options(reader: Reader, value: Any, path: Path) -> tuple[ProviderOptions, ...]:
    kinds = provider_options_kinds() if value else {}
    found = []
    for name, fields in reader.table(value, path).items():
        if name not in kinds:
            hint = near(name, kinds) or f"there are: {', '.join(kinds)}"
            reader.fault((*path, name), f"no protocol of that name has options; {hint}")
        elif (read := reader.struct(kinds[name], fields, (*path, name), {})) is not None:
            found.append(read)
    return tuple(found)


def _extra_headers(reader: Reader, value: Any, path: Path) -> dict[str, str]:
    for name in value if isinstance(value, dict) else ():
        if (wrong := header_fault(name)) is not None:
            reader.fault((*path, name), wrong)
    return _plain_texts(reader, value, path, "headers")


def _plain_texts(reader: Reader, value: Any, path: Path, where: str) -> dict[str, str]:
    texts = {}
    for name, given in reader.table(value, path).items():
        if is_secret_header(name):
            reader.fault(
                (*path, name),
                f"may be a secret: move it to headers of [providers.NAME], not into {where} here",
            )
        else:
            texts[name] = reader.value(str, given, (*path, name))
    return texts


def read_policies(reader: Reader, document: Mapping[str, Any]) -> Policies:
    """Read `[retry]`, `[limits]`, `[budget]`, `[hedge]`, `[breaker]` and `fallback`."""
    others = document.get("fallback")
    own = {"shared": lambda given, at: _without_password(reader, given, at)}
    kinds: dict[str, type[Any]] = {
        "retry": Retry,
        "limits": Limits,
        "budget": Budget,
        "hedge": Hedge,
        "breaker": Breaker,
    }
    return Policies(
        **{
            name: reader.struct(kind, document[name], (name,), own if kind is Limits else {})
            for name, kind in kinds.items()
            if name in document
        },
        fallback=None if others is None else reader.value(tuple[str, ...], others, ("fallback",)),
    )


def _without_password(reader: Reader, value: Any, path: Path) -> str | None:
    """The URL of a server; a file holds no password."""
    url = reader.text(value, path)
    try:
        holds_password = Limits(shared=url).holds_password
    except ValueError:
        return url  # what is wrong with it is reported with its table
    if holds_password:
        reader.fault(
            path, 'contains a password: put the URL into an environment variable, shared = "env:NAME"'
        )
    return url


def read_telemetry(reader: Reader, value: Any) -> Telemetry | None:
    """Read `telemetry = true`, or `[telemetry]`."""
    if not isinstance(value, dict):
        on = reader.value(bool, value or False, ("telemetry",))
        return Telemetry() if on else None
    reader.check_names(value, ("traceparent",), ("telemetry",))
    sent = reader.value(bool, value.get("traceparent", False), ("telemetry", "traceparent"))
    return Telemetry(traceparent=bool(sent))


# -- models --------------------------------------------------------------------------------------------------


def read_models(reader: Reader, value: Any, providers: tuple[ProviderConfig, ...]) -> dict[str, NamedModel]:
    """Read `[models.NAME]`, or `NAME = "provider:model"`."""
    models = {}
    for name, given in reader.table(value, ("models",)).items():
        path: Path = ("models", name)
        table = {"model": given} if isinstance(given, str) else reader.table(given, path)
        at = path if isinstance(given, str) else (*path, "model")
        if not name or ":" in name:
            reader.fault(path, 'a model\'s name has no colon: "provider:model" always means itself')
        advice = dict.fromkeys(Options.__struct_fields__, "it belongs in options, below")
        reader.check_names(table, ("model", "options"), path, advice)
        options = read_options(reader, table.get("options"), (*path, "options"))
        model = None
        if "model" not in table:
            reader.fault(path, 'has no model: model = "provider:model"')
        else:
            model = reader.text(table["model"], at)
        if model is None:
            continue
        if (wrong := model_fault(model, {}, providers)) is not None:
            reader.fault(at, wrong)
        models[name] = NamedModel(model, options)
    return models


def model_fault(
    model: str, models: Mapping[str, NamedModel], providers: tuple[ProviderConfig, ...]
) -> str | None:
    """What is wrong with a model's name, or None. The message does not repeat the name, which may be a secret."""
    if model in models:
        return None
    provider, colon, _ = model.partition(":")
    if not colon or not provider:
        hint = near(model, models)
        return 'takes "provider:model"' + (f", or a name of [models]; {hint}" if models else "")
    own = [config.name for config in providers]
    if provider in own or ALIASES.get(provider, provider) in PROVIDERS:
        return None
    return f"there is no provider of that name; {near(provider, (*own, *PROVIDERS, *ALIASES)) or _SEE}"


_SEE = "`brainwires providers` lists all of them"


# -- providers -----------------------------------------------------------------------------------------------


def read_providers(reader: Reader, value: Any) -> tuple[ProviderConfig, ...]:
    """Read `[providers.NAME]`."""
    configs = []
    for name, given in reader.table(value, ("providers",)).items():
        path: Path = ("providers", name)
        table = reader.table(given, path)
        config = _provider(reader, name, table, path)
        if config is not None:
            configs.append(config)
    return tuple(configs)


def _provider(reader: Reader, name: str, table: dict[str, Any], path: Path) -> ProviderConfig | None:
    if not name or ":" in name:
        reader.fault(path, "a provider's name has no colon")
    advice = dict.fromkeys(Options.__struct_fields__, "it belongs in options, below")
    reader.check_names(table, _FIELDS, path, advice)
    row = _row(reader, name, table, path)
    if row is None:
        return None
    for field, (fits, words) in _FITS.items():
        if field in table and not fits(row):
            reader.fault((*path, field), f"{words}, and {row.name} is not one of them")
    text = {
        field: reader.text(table[field], (*path, field)) for field in ("region", "project") if field in table
    }
    return ProviderConfig(
        name,
        based_on=table.get("based_on"),
        base_url=_base_url(reader, table.get("base_url"), (*path, "base_url")),
        api_key=_key(reader, table.get("api_key"), (*path, "api_key"), row.key_env),
        headers=_headers(reader, table.get("headers"), (*path, "headers"), row.key_env),
        options=read_options(reader, table.get("options"), (*path, "options")),
        allow_http=bool(reader.value(bool, table.get("allow_http", False), (*path, "allow_http"))),
        socket=_settings(reader, table, path, "socket"),
        credentials=_credentials(reader, table, path, row),
        local=_settings(reader, table, path, "local"),
        models=_model_rules(reader, table.get("models"), (*path, "models")),
        region=text.get("region"),
        project=text.get("project"),
    )


def _row(reader: Reader, name: str, table: dict[str, Any], path: Path) -> Provider | None:
    """The built-in provider that this one is, or is based on."""
    at = (*path, "based_on") if "based_on" in table else path
    given = reader.text(table["based_on"], at) if "based_on" in table else name
    if given is None:
        return None
    try:
        return find_row(given)
    except ConfigError:
        pass
    hint = near(given, (*PROVIDERS, *ALIASES)) or _SEE
    if "based_on" in table:
        reader.fault(at, f"there is no such provider; {hint}")
    else:
        reader.fault(
            at,
            f"no built-in provider has that name; {hint} (one of your own names what it is based on: "
            'based_on = "openai-chat")',
        )
    return None


def _settings(reader: Reader, table: dict[str, Any], path: Path, field: str) -> Any:
    """Read a field of ProviderConfig that holds a struct; None if it is not set."""
    if field not in table:
        return None
    kind = get_args(get_type_hints(ProviderConfig)[field])[0]
    return reader.struct(kind, table[field], (*path, field), {"path": reader.file})


def _model_rules(reader: Reader, value: Any, path: Path) -> dict[str, str | Mapping[str, Any]]:
    """Read what models accept: for each a known model with the same facts, or a table of `ModelFacts`' fields."""
    rules: dict[str, str | Mapping[str, Any]] = {}
    hints = get_type_hints(ModelFacts)
    for name, given in reader.table(value, path).items():
        at = (*path, name)
        if isinstance(given, str):
            rules[name] = reader.text(given, at) or ""
            continue
        table = reader.table(given, at)
        reader.check_names(table, ("like", *hints), at)
        rules[name] = {
            field: reader.value(hints.get(field, str), one, (*at, field)) for field, one in table.items()
        }
    return rules


def _credentials(reader: Reader, table: dict[str, Any], path: Path, row: Provider) -> str | None:
    """Read the name of a profile (AWS), or the path of a file (Google Cloud)."""
    if "credentials" not in table:
        return None
    read = reader.file if row.cloud == "google" else reader.text
    return read(table["credentials"], (*path, "credentials"))


def _base_url(reader: Reader, value: Any, path: Path) -> str | None:
    url = None if value is None else reader.text(value, path)
    try:
        if url is not None and url_holds_secret(url):
            reader.fault(
                path,
                "contains a user name, a password or a key, which would show in logs; move it to headers",
            )
    except ValueError:
        reader.fault(path, "is not a URL; one looks like https://host/v1")
        return None
    return url


# -- keys ----------------------------------------------------------------------------------------------------


def _key(reader: Reader, value: Any, path: Path, variable: str | None) -> Key | None:
    """Read a reference to a key; "" is for a server that requires none."""
    if value is None or value == "":
        return None if value is None else ""
    if isinstance(value, dict):
        return _reference(reader, value, path)
    if isinstance(value, str):
        reader.fault(path, _advice(variable))
    else:
        reader.fault(path, "takes a table that refers to the key: " + _ways(variable))
    return None


def _ways(variable: str | None) -> str:
    return (
        f'{{ env = "{variable or "MY_KEY"}" }}, {{ file = "~/.keys/NAME" }} or '
        '{ keyring = "SERVICE", user = "NAME" }'
    )


def _advice(variable: str | None) -> str:
    return (
        "no key is written into this file: it would be shown, copied and committed. Refer to its place: "
        f"{_ways(variable)}; and replace the key, since it was in this file"
    )


def _reference(reader: Reader, table: dict[str, Any], path: Path) -> Key | None:
    """Read one of the three kinds of reference, checked as far as possible without resolving it."""
    kinds = [kind for kind in _KINDS if kind in table]
    known = {*kinds, "user"} if kinds == ["keyring"] else set(kinds)
    if len(kinds) != 1 or set(table) != known:
        reader.fault(path, "refers to one key: " + _ways(None))
        return None
    texts = {name: reader.text(given, (*path, name)) for name, given in table.items()}
    for name, text in texts.items():
        wrong = None if text is None else _name_fault(name, text)
        if wrong:
            reader.fault((*path, name), wrong)
            return None
    where = reader.place(path)
    match texts:
        case {"env": str(name)}:
            return EnvKey(name, where)
        case {"file": str()}:
            return FileKey(reader.file(table["file"], (*path, "file")) or "", where)
        case {"keyring": str(service), "user": str(user)}:
            return KeyringKey(service, user, where)
    return None


def _name_fault(kind: str, text: str) -> str | None:
    """What is wrong with a name in a reference, or None. It may be the key itself, so it is not repeated."""
    if kind == "env" and not _ENV_NAME.fullmatch(text):
        return "takes the NAME of an environment variable, never the key itself"
    if may_be_key(text):
        return "looks like the key itself; it takes the name of the place of the key"
    return None


def _headers(reader: Reader, value: Any, path: Path, variable: str | None) -> dict[str, Key]:
    headers: dict[str, Key] = {}
    for name, given in reader.table(value, path).items():
        at = (*path, name)
        if (wrong := header_fault(name)) is not None:
            reader.fault(at, wrong)
        elif isinstance(given, dict):
            reference = _reference(reader, given, at)
            if reference is not None:
                headers[name] = reference
        elif isinstance(given, str) and (is_secret_header(name) or looks_like_key(given)):
            reader.fault(at, _advice(variable))
        else:
            headers[name] = reader.text(given, at) or ""
    return headers
