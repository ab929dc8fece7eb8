"""Finds the models that Ollama has downloaded on this machine, in its own store. Nothing is copied.

A store contains manifests (`manifests/HOST/NAMESPACE/MODEL/TAG`) that list blobs (`blobs/sha256-HEX`) by digest, size
and media type; one blob is the weights. Names come from users and manifests from the network: names and digests must
follow Ollama's own rules, and files outside the store are not opened, even through links.

The layout follows https://github.com/ollama/ollama (types/model/name.go, manifest/), the folders
https://docs.ollama.com/faq
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from os import PathLike
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.names import near_names

__all__ = ["OllamaFile", "OllamaStore"]

_HOST: Final = "registry.ollama.ai"
_NAMESPACE: Final = "library"
_TAG: Final = "latest"
_RULES: Final[Mapping[str, re.Pattern[str]]] = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}
_SERVICE: Final = "/usr/share/ollama/.ollama/models"
"""The store of the system service that the Linux installer sets up."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-fA-F]{64}")
_TYPE: Final = "application/vnd.ollama.image."
_MAX_MANIFEST: Final = 16 << 20  # bytes; a model stored as single tensors has an entry for each
_MAX_TEXT: Final = 1 << 20  # bytes
_MAX_MODELS: Final = 10_000


class OllamaFile(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model in Ollama's store. `name` is Ollama's name, such as "llama3.2:3b" or "hf.co/user/repo:Q4_K_M".

    `path` is the file of the weights, with its `digest` ("sha256:HEX") and `size` in bytes. `media_types` are those of
    all blobs of the model. `template` is a Go template, which llama.cpp cannot use. `params` are Ollama's options,
    such as `num_ctx` and `stop`. `projector` and `adapters` are paths.
    """

    name: str
    path: str
    digest: str
    size: int
    media_types: tuple[str, ...]
    template: str | None = None
    system: str | None = None
    params: Mapping[str, Any] = {}
    projector: str | None = None
    adapters: tuple[str, ...] = ()


class _Layer(Struct):
    digest: str
    size: int
    media_type: str = msgspec.field(name="mediaType", default="")


class _Manifest(Struct):
    layers: tuple[_Layer, ...] | None = None


class _Name(NamedTuple):
    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        text = f"{self.model}:{self.tag}"
        if self.host != _HOST:
            return f"{self.host}/{self.namespace}/{text}"
        return text if self.namespace == _NAMESPACE else f"{self.namespace}/{text}"

    def folded(self) -> tuple[str, ...]:
        return tuple(part.lower() for part in self)


class OllamaStore:
    """Ollama's store in `folder`; default: OLLAMA_MODELS, else Ollama's default on this platform.

    Creating one reads nothing, and nothing is ever written.
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        self._folders = _default_folders() if folder is None else (os.path.expanduser(folder),)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that are searched, in this order."""
        return self._folders

    def lookup(self, name: str) -> OllamaFile:
        """The model of a name [[HOST/]NAMESPACE/]MODEL[:TAG]; the default tag is `latest`, and case is ignored.

        Raises ConfigError for an invalid name, an unknown one (with similar names), a model without weights in GGUF, a
        damaged manifest, and a blob that is missing, has another size, or is outside the store.
        """
        wanted = _parse(name)
        for store in self._stores():
            found = wanted if os.path.lexists(store.manifest(wanted)) else store.same(wanted)
            if found is not None:
                return store.read(found)
        return self._unknown(wanted)

    def list(self) -> tuple[OllamaFile, ...]:
        """All models that can be loaded, sorted by name; for others `lookup` raises the reason."""
        found: dict[str, OllamaFile] = {}
        for store in self._stores():
            for name in store.names():
                try:
                    found.setdefault(str(name), store.read(name))
                except ConfigError:
                    continue
        return tuple(found[name] for name in sorted(found))

    def _stores(self) -> Iterator[_Folder]:
        return (_Folder(folder) for folder in self._folders if os.path.isdir(folder))

    def _unknown(self, wanted: _Name) -> NoReturn:
        stores = list(self._stores())
        if not stores:
            raise ConfigError(
                f"there is no Ollama store on this machine (searched {', '.join(self._folders)}); "
                "set OLLAMA_MODELS if it is in another folder"
            )
        near = near_names(str(wanted), (str(name) for store in stores for name in store.names()))
        raise ConfigError(
            f"Ollama has no model {str(wanted)!r} on this machine{near}; pull it with `ollama pull {wanted}`, "
            f"or set OLLAMA_MODELS (searched {', '.join(self._folders)})"
        )


class _Folder:
    """One folder with manifests and blobs."""

    def __init__(self, folder: str) -> None:
        self._root = os.path.realpath(folder)

    def manifest(self, name: _Name) -> str:
        return os.path.join(self._root, "manifests", *name)

    def names(self) -> Iterator[_Name]:
        """Every name that has a manifest."""
        return islice(self._walk(), _MAX_MODELS)

    def _walk(self) -> Iterator[_Name]:
        top = os.path.join(self._root, "manifests")
        for host in _children(top):
            for namespace in _children(top, host):
                for model in _children(top, host, namespace):
                    for tag in _children(top, host, namespace, model):
                        name = _Name(host, namespace, model, tag)
                        if _wrong_part(name) is None:
                            yield name

    def same(self, wanted: _Name) -> _Name | None:
        """The existing name that differs only in case."""
        folded = wanted.folded()
        return next((name for name in self.names() if name.folded() == folded), None)

    def read(self, name: _Name) -> OllamaFile:
        data = self._bytes(self.manifest(name), _MAX_MANIFEST, f"the manifest of {str(name)!r}")
        try:
            layers = msgspec.json.decode(data, type=_Manifest).layers or ()
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise _bad(name, f"its manifest is damaged: {error}") from None
        weights = self._weights(name, layers)
        path = self._blob(name, weights)
        return OllamaFile(
            name=str(name),
            path=path,
            digest=weights.digest.lower(),
            size=weights.size,
            media_types=tuple(layer.media_type for layer in layers),
            template=self._text(name, layers, "template"),
            system=self._text(name, layers, "system"),
            params=self._params(name, layers),
            projector=next((self._blob(name, layer) for layer in _of(layers, "projector")), None),
            adapters=tuple(self._blob(name, layer) for layer in _of(layers, "adapter")),
        )

    def _weights(self, name: _Name, layers: tuple[_Layer, ...]) -> _Layer:
        found = list(_of(layers, "model"))
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(
                f"Ollama stores {str(name)!r} in {len(found)} files, which llama.cpp cannot load; "
                "download the model as GGUF from its publisher"
            )
        if next(_of(layers, "tensor"), None) is not None:
            raise ConfigError(
                f"Ollama stores {str(name)!r} as safetensors, which llama.cpp cannot load; download it as GGUF"
            )
        raise ConfigError(
            f"Ollama has no weights of {str(name)!r} on this machine; for a model of its cloud "
            "use the provider `ollama`"
        )

    def _blob(self, name: _Name, layer: _Layer) -> str:
        """The path of a layer's file, which exists and has the declared size."""
        if _DIGEST.fullmatch(layer.digest) is None:
            raise _bad(name, f"its manifest names a blob by {layer.digest!r}, which is not a SHA-256 digest")
        path = os.path.join(self._root, "blobs", layer.digest.replace(":", "-"))
        size = self._size(path, f"a blob of {str(name)!r}")
        if size is None:
            raise _bad(name, f"its blob {layer.digest} is missing")
        if size != layer.size:
            raise _bad(name, f"its blob {layer.digest} has {size:,} bytes, not {layer.size:,}")
        return path

    def _text(self, name: _Name, layers: tuple[_Layer, ...], kind: str) -> str | None:
        data = None
        for layer in _of(layers, kind):  # the last one is used, as in Ollama
            data = self._bytes(self._blob(name, layer), _MAX_TEXT, f"the {kind} of {str(name)!r}")
        return None if data is None else data.decode(errors="replace")

    def _params(self, name: _Name, layers: tuple[_Layer, ...]) -> dict[str, Any]:
        text = self._text(name, layers, "params")
        try:
            return msgspec.json.decode(text, type=dict[str, Any]) if text else {}
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise _bad(name, f"its params are damaged: {error}") from None

    def _size(self, path: str, what: str) -> int | None:
        """The size of a regular file within the store; None if it does not exist."""
        real = os.path.realpath(path)
        if not real.startswith(os.path.join(self._root, "")):
            raise ConfigError(
                f"{what} in Ollama's store links to {real!r}, outside the store; "
                "set OLLAMA_MODELS to the real folder, or give the path of the GGUF file itself"
            )
        try:
            status = os.stat(real)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{what} in Ollama's store cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{what} in Ollama's store is not a regular file: {path!r}")
        return status.st_size

    def _bytes(self, path: str, limit: int, what: str) -> bytes:
        size = self._size(path, what)
        if size is None:
            raise ConfigError(f"{what} in Ollama's store is missing: {path!r}")
        if size > limit:
            raise ConfigError(f"{what} in Ollama's store has {size:,} bytes, more than {limit:,}")
        try:
            with open(path, "rb") as file:
                return file.read(limit)
        except OSError as error:
            raise ConfigError(f"{what} in Ollama's store cannot be read: {error.strerror}") from None


def _default_folders() -> tuple[str, ...]:
    # Ollama strips spaces and quotes too
    if folder := os.environ.get("OLLAMA_MODELS", "").strip().strip("\"'"):
        return (os.path.abspath(os.path.expanduser(folder)),)
    own = os.path.join(os.path.expanduser("~"), ".ollama", "models")
    return (own, _SERVICE) if sys.platform == "linux" else (own,)


def _parse(text: str) -> _Name:
    rest = text.removeprefix("https://").removeprefix("http://")
    tag = _TAG
    if rest.rfind(":") > rest.rfind("/"):  # otherwise it is the port of a host
        rest, _, tag = rest.rpartition(":")
    *places, model = rest.split("/")
    places = [_HOST, _NAMESPACE][: 2 - len(places)] + places
    name = _Name(places[0], places[1], model, tag) if len(places) == 2 else None
    wrong = "it has too many parts" if name is None else _wrong_part(name)
    if name is None or wrong is not None:
        raise ConfigError(
            f"{text!r} is not a name of an Ollama model ([[HOST/]NAMESPACE/]MODEL[:TAG]): {wrong}"
        )
    return name


def _wrong_part(name: _Name) -> str | None:
    for (part, rule), text in zip(_RULES.items(), name, strict=True):
        if rule.fullmatch(text) is None:
            return f"{text!r} is not a valid {part}"
    return None


def _of(layers: tuple[_Layer, ...], kind: str) -> Iterator[_Layer]:
    wanted = _TYPE + kind
    return (layer for layer in layers if layer.media_type.partition(";")[0].strip() == wanted)


def _children(*folder: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(*folder)))
    except OSError:  # a file in place of a folder, or not readable
        return []


def _bad(name: _Name, what: str) -> ConfigError:
    return ConfigError(
        f"Ollama's model {str(name)!r} cannot be used: {what}; pull it again with `ollama pull {name}`"
    )
