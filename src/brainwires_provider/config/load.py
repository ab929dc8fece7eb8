"""`load_config`: finds `brainwires.toml`, reads it, and reports every error with its line.

No file is read unless it is called. It reads no key: a reference to a key is resolved when a request needs it. A file
that was merely found may contain only what `config.found` allows, unless the user trusts it (`config.records`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from os import PathLike
from typing import Any

from brainwires_provider.config.found import check_found
from brainwires_provider.config.lines import key_lines
from brainwires_provider.config.reading import Reader
from brainwires_provider.config.records import is_trusted, remember
from brainwires_provider.config.sections import (
    model_fault,
    read_models,
    read_options,
    read_policies,
    read_providers,
    read_telemetry,
)
from brainwires_provider.errors import ConfigError
from brainwires_provider.protocols.base.json import check_depth
from brainwires_provider.providers.config import Config, how_to_trust

__all__ = ["FILE", "load_config", "load_own_config", "trust"]

FILE = "brainwires.toml"
_LARGEST = 1_048_576  # bytes
_POLICIES = ("retry", "limits", "budget", "fallback", "hedge", "breaker", "prices", "telemetry")
_TOP = ("model", "options", "providers", "models", "logs", *_POLICIES)
_WHERE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")
_QUOTED = re.compile(r"\s*(\(.*\)|'[^']*'|\"[^\"]*\")")


def load_config(
    path: str | PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None
) -> Config:
    """Read the configuration file. If there is none, the configuration is empty.

    The file is `path`, else the one that `BRAINWIRES_CONFIG` names, else `brainwires.toml` in the current folder, else
    in the user's configuration folder.

    `BRAINWIRES_MODEL` overrides the file's model. Both variables are read from `environ`, by default the process's.

    A file in the current folder was merely found, and is not trusted: it may name models, options, and built-in
    providers at their own hosts, and nothing else unless `brainwires trust` has recorded its content.

    Raises ConfigError for a named file that does not exist, and for errors in the file: all of them, one per line, as
    `brainwires.toml:12: …`.
    """
    environ = os.environ if environ is None else environ
    found, is_users = _find(path, environ)
    config = Config() if found is None else _read(found, is_users=is_users)
    return _with_model(config, environ.get("BRAINWIRES_MODEL", "").strip())


def load_own_config() -> Config:
    """The file in the user's configuration folder, whichever one `load_config` takes; empty if there is none.

    Raises ConfigError as `load_config` does.
    """
    own = _own_file()
    return Config() if own is None or not os.path.isabs(own) else _read(own, is_users=True)


def trust(path: str | PathLike[str]) -> tuple[Config, str]:
    """Record that the user trusts a file's content, until it changes; returns its configuration and its SHA-256.

    The recorded bytes are those that were parsed. Raises ConfigError for a file that cannot be read or contains an
    error, and if the record cannot be written.
    """
    name = os.path.expanduser(os.fspath(path))
    content = _content(name, is_users=True)
    config = _parse(name, content, trusted=True)
    return config, remember(name, content)


def _find(path: str | PathLike[str] | None, environ: Mapping[str, str]) -> tuple[str | None, bool]:
    """The file, and whether it is the user's: named by the user, or in the user's own folder."""
    named = os.fspath(path) if path is not None else environ.get("BRAINWIRES_CONFIG", "").strip()
    if named:
        return os.path.expanduser(named), True
    if os.path.exists(FILE):
        return FILE, False
    users = _own_file()
    return (users, os.path.isabs(users)) if users is not None else (None, True)


def _own_file() -> str | None:
    """The file in the user's configuration folder, if there is one."""
    import platformdirs

    users = os.path.join(platformdirs.user_config_dir("brainwires", appauthor=False), FILE)
    return users if os.path.exists(users) else None


def _with_model(config: Config, model: str) -> Config:
    from msgspec.structs import replace

    if not model:
        return config
    fault = model_fault(model, config.models, config.providers)
    if fault is not None:
        raise ConfigError(f"BRAINWIRES_MODEL: {fault}")
    return replace(config, model=model)


def _read(path: str, *, is_users: bool) -> Config:
    content = _content(path, is_users=is_users)
    return _parse(path, content, trusted=is_users or is_trusted(path, content))


def _parse(path: str, content: bytes, *, trusted: bool) -> Config:
    text = _text(path, content)
    document = _document(text, path)
    reader = Reader(path, os.path.dirname(os.path.abspath(path)), key_lines(text))
    reader.check_names(document, _TOP, ())
    providers = read_providers(reader, document.get("providers"))
    models = read_models(reader, document.get("models"), providers)
    options = read_options(reader, document.get("options"), ("options",))
    model = reader.text(document["model"], ("model",)) if "model" in document else None
    if model is not None and (fault := model_fault(model, models, providers)) is not None:
        reader.fault(("model",), fault)
    reader.check_leaves(document, ())
    policies = read_policies(reader, document)
    prices = reader.value(bool, document.get("prices", False), ("prices",)) or False
    telemetry = read_telemetry(reader, document.get("telemetry"))
    logs = reader.value(bool, document["logs"], ("logs",)) if "logs" in document else None
    config = Config(model, providers, models, options, policies, prices, telemetry, logs, path, trusted)
    goes_too_far = not trusted and check_found(reader, document, config)
    reader.finish(how_to_trust(path) if goes_too_far else "")
    return config


def _content(path: str, *, is_users: bool) -> bytes:
    """The file's bytes. One that was merely found is opened without waiting, in case it is a pipe."""
    flags = 0 if is_users else getattr(os, "O_NONBLOCK", 0)
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
            if not is_users and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: is not a regular file")
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{path}: is larger than {_LARGEST} bytes")
    return content


def _text(path: str, content: bytes) -> str:
    text = content.decode("utf-8-sig", "surrogateescape")
    broken = next((at for at, c in enumerate(text) if "\udc80" <= c <= "\udcff"), None)
    if broken is not None:
        raise ConfigError(f"{path}:{_line(text, broken)}: is not UTF-8")
    return text


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _document(text: str, path: str) -> dict[str, Any]:
    """Parse TOML. The parser's errors quote the text, which may contain secrets; the errors raised here do not."""
    import tomllib

    try:
        document = tomllib.loads(text)
        check_depth(document)  # a dotted key makes a table of each of its parts
        return document
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError as error:  # also for impossible dates and numbers
        fault = str(error)
    place = _WHERE.search(fault)
    words = _QUOTED.sub(_without_letters, fault[: place.start()] if place else fault)
    if place and place[1]:
        raise ConfigError(f"{path}:{place[1]}: not TOML: {words} (column {place[2]})")
    end = f"{path}:{_line(text, len(text.rstrip()))}" if place else path
    raise ConfigError(f"{end}: not TOML: {words}")


def _without_letters(quoted: re.Match[str]) -> str:
    return "" if any(c.isalnum() for c in quoted[1]) else quoted[0]
