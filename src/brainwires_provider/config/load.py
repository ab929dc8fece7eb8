"""`load_config`: finds `brainwires.toml`, reads it, and tells every fault by its line.

Nothing is read unless it is called, and no key even then: a key's reference is followed when a request needs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from os import PathLike
from typing import Any

from brainwires_provider.config.lines import key_lines
from brainwires_provider.config.reading import Reader
from brainwires_provider.config.sections import model_fault, read_models, read_options, read_providers
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.config import Config

__all__ = ["FILE", "load_config"]

FILE = "brainwires.toml"
_LARGEST = 1_048_576  # bytes
_TOP = ("model", "options", "providers", "models")
_WHERE = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")
_QUOTED = re.compile(r"\s*(\(.*\)|'[^']*'|\"[^\"]*\")")


def load_config(
    path: str | PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None
) -> Config:
    """Read the configuration file; without one, the configuration is empty.

    The file is `path`, else what `BRAINWIRES_CONFIG` names, else `brainwires.toml` in the current folder, else in the
    user's configuration folder.

    `BRAINWIRES_MODEL` goes before the file's model. Both variables come from `environ`, by default the process's own.

    Raises ConfigError for a file that was named and is not there, and for what is wrong in one: every fault, one a
    line, as `brainwires.toml:12: …`.
    """
    environ = os.environ if environ is None else environ
    found, is_trusted = _find(path, environ)
    config = Config() if found is None else _read(found, is_trusted=is_trusted)
    return _with_model(config, environ.get("BRAINWIRES_MODEL", "").strip())


def _find(path: str | PathLike[str] | None, environ: Mapping[str, str]) -> tuple[str | None, bool]:
    """The file, and whether somebody said that it is the one."""
    named = os.fspath(path) if path is not None else environ.get("BRAINWIRES_CONFIG", "").strip()
    if named:
        return os.path.expanduser(named), True
    if os.path.exists(FILE):
        return FILE, False
    import platformdirs

    users = os.path.join(platformdirs.user_config_dir("brainwires", appauthor=False), FILE)
    return (users, True) if os.path.exists(users) else (None, True)


def _with_model(config: Config, model: str) -> Config:
    from msgspec.structs import replace

    if not model:
        return config
    fault = model_fault(model, config.models, config.providers)
    if fault is not None:
        raise ConfigError(f"BRAINWIRES_MODEL: {fault}")
    return replace(config, model=model)


def _read(path: str, *, is_trusted: bool) -> Config:
    text = _text(path)
    document = _document(text, path)
    reader = Reader(path, os.path.dirname(os.path.abspath(path)), key_lines(text))
    reader.check_names(document, _TOP, ())
    providers = read_providers(reader, document.get("providers"), is_trusted=is_trusted)
    models = read_models(reader, document.get("models"), providers)
    options = read_options(reader, document.get("options"), ("options",))
    model = reader.text(document["model"], ("model",)) if "model" in document else None
    if model is not None and (fault := model_fault(model, models, providers)) is not None:
        reader.fault(("model",), fault)
    reader.check_leaves(document, ())
    reader.finish()
    return Config(model, providers, models, options, path)


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{path}: is larger than {_LARGEST} bytes")
    text = content.decode("utf-8-sig", "surrogateescape")
    broken = next((at for at, c in enumerate(text) if "\udc80" <= c <= "\udcff"), None)
    if broken is not None:
        raise ConfigError(f"{path}:{_line(text, broken)}: is no UTF-8")
    return text


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _document(text: str, path: str) -> dict[str, Any]:
    """The TOML. Its reader's errors hold pieces of the text, or all of it: what is told here holds none."""
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError:
        fault = "is nested too deeply"
    except ValueError as error:  # a date or a number that cannot be, too
        fault = str(error)
    place = _WHERE.search(fault)
    words = _QUOTED.sub(_without_letters, fault[: place.start()] if place else fault)
    if place and place[1]:
        raise ConfigError(f"{path}:{place[1]}: not TOML: {words} (column {place[2]})")
    end = f"{path}:{_line(text, len(text.rstrip()))}" if place else path
    raise ConfigError(f"{end}: not TOML: {words}")


def _without_letters(quoted: re.Match[str]) -> str:
    return "" if any(c.isalnum() for c in quoted[1]) else quoted[0]
