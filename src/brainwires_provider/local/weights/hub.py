"""Downloads GGUF files from the Hugging Face hub, checks their SHA-256, and registers them under a name.

The package `huggingface_hub` (extra `hub`) does the download, with its rules: the cache is shared with all programs on
the machine; HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE have their usual meaning; each wait for bytes is limited
(HF_HUB_DOWNLOAD_TIMEOUT, 10 s); an interrupted download is resumed. The rest is done here. A request to the hub comes
first: it finds errors in a reference, and a digest that differs from the known one, before gigabytes are downloaded.
Afterwards the file is read from the disk and its digest compared, because a cache can be damaged long after the
download. A file whose digest is wrong stays where it is and is not registered.

https://huggingface.co/docs/huggingface_hub/guides/download
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from brainwires_provider.errors import ConfigError, ProtocolError
from brainwires_provider.local.settings import LocalModel, Pooling
from brainwires_provider.local.weights.gguf import read_header
from brainwires_provider.local.weights.hub_files import SHA256, Hub, HubFile, Remote
from brainwires_provider.local.weights.known import find_known, known_models
from brainwires_provider.local.weights.names import check_name, name_after, near_names, part_of
from brainwires_provider.local.weights.registry import LocalRegistry

__all__ = ["DigestError", "OnProgress", "PullPhase", "PullProgress", "PulledModel", "pull"]

_CHUNK: Final = 4 << 20  # bytes hashed between two reports
_GRAMMAR: Final = "hf:OWNER/NAME/FILE.gguf, or hf:OWNER/NAME@REVISION/FILE.gguf"
_REFERENCE: Final = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>\w(?:[\w-]|\.(?!\.))*))?/(?P<file>[^@\\\x00-\x1f]+\.gguf)",
    re.ASCII,
)
_MAX_PARTS: Final = 999

PullPhase: TypeAlias = Literal["downloading", "verifying"]


class PullProgress(Struct, frozen=True, gc=False):
    """Progress of a download. `done` and `total` are bytes of `file`; `total` is None if it is not known."""

    phase: PullPhase
    file: str
    done: int
    total: int | None


OnProgress: TypeAlias = Callable[[PullProgress], object]


class PulledModel(Struct, frozen=True, gc=False):
    """A downloaded, checked file that is registered as `name`.

    `revision` is the commit of the file, or the requested revision if no request was made. For a model in parts,
    `path` and `sha256` are those of the first; `size`, in bytes, is the sum of all.
    """

    name: str
    path: str
    sha256: str
    size: int
    repo: str
    file: str
    revision: str


class DigestError(ProtocolError):
    """A file has another SHA-256 than expected. `path` is None if nothing was downloaded."""

    def __init__(self, message: str, *, expected: str, found: str, path: str | None, **context: Any) -> None:
        super().__init__(message, **context)
        self.expected = expected
        self.found = found
        self.path = path


def pull(
    model: str,
    *,
    name: str | None = None,
    folder: str | PathLike[str] | None = None,
    registry: LocalRegistry | None = None,
    replace: bool = False,
    force: bool = False,
    sha256: str | None = None,
    on_progress: OnProgress | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    timeout: float = 10.0,
) -> PulledModel:
    """Download a model if it is not on this machine yet, check its SHA-256, and register it.

    `model` is a name of `brainwires local list --known`, or hf:OWNER/NAME[@REVISION]/FILE.gguf. FILE may be in a
    folder; the revision is a commit, tag or branch (default: main); for a model in parts, name the first. Known names
    have their digest. For a reference, `sha256` is the digest to check against (default: the one that the hub
    reports). With a digest that is known beforehand, a file that is already here needs no network. Files are stored in
    the hub's cache, or in `folder`, and registered in `registry` (default: the user's) as `name` (default: the known
    name, or one derived from the file). A model that is downloaded again keeps its settings. A name of another model
    is refused without `replace`. `force` downloads a file that is already here again.

    `on_progress` is called while bytes arrive and while they are checked, perhaps on another thread; an exception that
    it raises ends the download. `timeout`, in seconds, bounds each wait for the hub's first response. `token` is the
    hub's token; default: HF_TOKEN or the one of `hf auth login`, which are sent to the hub of HF_ENDPOINT and never to
    an `endpoint` given here.

    Raises ConfigError (an invalid name or reference, no `hub` extra, too little disk space), NotFoundError,
    AuthenticationError, PermissionDeniedError (for example a licence that must be accepted first), RateLimitError,
    OverloadedError, ServerError, ConnectError, RequestTimeout, StreamInterrupted, TransportError, ProtocolError
    (the server is not a hub) and DigestError.
    """
    wanted = _wanted(model, sha256)
    hub = Hub(endpoint, token, timeout, folder)
    registry = LocalRegistry() if registry is None else registry
    called = wanted.name if name is None else name
    settings = _settings(registry, called, wanted.files[0], replace)
    if settings is None:
        settings = LocalModel(pooling=wanted.pooling)
    fetched = [_fetch(hub, file, wanted.sha256, force, on_progress) for file in wanted.files]
    first, file = fetched[0], wanted.files[0]
    registry.register(
        called,
        msgspec.structs.replace(settings, path=first.path),
        replace=True,
        source=str(msgspec.structs.replace(file, revision=first.revision)),
        sha256=first.sha256,
    )
    size = sum(each.size for each in fetched)
    return PulledModel(called, first.path, first.sha256, size, file.repo, file.file, first.revision)


# -- references -------------------------------------------------------------------------------------------


class _Wanted(Struct, frozen=True):
    name: str
    files: tuple[HubFile, ...]
    sha256: str | None
    pooling: Pooling | None


def _wanted(model: str, sha256: str | None) -> _Wanted:
    known = find_known(model)
    first = _parse(known.reference if known else model)
    files = _parts(first)
    digest = sha256.lower() if sha256 is not None else known.sha256 if known else None
    if digest is not None and not SHA256.fullmatch(digest):
        raise ConfigError(f"sha256={sha256!r} is not a SHA-256, which has 64 hexadecimal digits")
    if digest is not None and len(files) > 1:
        raise ConfigError("sha256= checks one file, and this model has several parts; leave it out")
    name = known.name if known else name_after(first.file)
    return _Wanted(name, files, digest, known.pooling if known else None)


def _parse(reference: str) -> HubFile:
    if not reference.startswith("hf:"):
        near = near_names(reference, [model.name for model in known_models()])
        raise ConfigError(
            f"no known model is called {reference!r}{near}; other models are referenced as {_GRAMMAR}"
        )
    found = _REFERENCE.fullmatch(reference)
    if found is None or any(part in ("", ".", "..") for part in found["file"].split("/")):
        raise ConfigError(
            f"{reference!r} is not a reference to a file of the hub; write {_GRAMMAR}, "
            "where the revision is a commit, a tag, or a branch without a slash"
        )
    return HubFile(found["repo"], found["revision"] or "main", found["file"])


def _parts(first: HubFile) -> tuple[HubFile, ...]:
    part = part_of(first.file.removesuffix(".gguf"))
    if part is None:
        return (first,)
    if part.part != 1:
        raise ConfigError(f"{first.file!r} is not the first part of its model; name the first")
    if not 1 <= part.parts <= _MAX_PARTS:
        raise ConfigError(f"{first.file!r} is one of {part.parts} parts; 1 to {_MAX_PARTS} are possible")
    return tuple(
        HubFile(first.repo, first.revision, f"{part.sibling(number)}.gguf")
        for number in range(1, part.parts + 1)
    )


def _settings(registry: LocalRegistry, name: str, file: HubFile, replace: bool) -> LocalModel | None:
    """The settings registered under `name`, if it is this model. An invalid name is refused before the download."""
    check_name(name)
    there = registry.find(name)
    if there is None:
        return None
    source = _REFERENCE.fullmatch(there.source or "")
    if source is not None and (source["repo"], source["file"]) == (file.repo, file.file):
        return there.model
    if not replace:
        raise ConfigError(
            f"{name!r} is the name of another local model ({there.model.path or 'the installed weights'}); "
            "choose another name, or replace that model"
        )
    return None


# -- download and check -----------------------------------------------------------------------------------


class _Fetched(Struct, frozen=True):
    path: str
    sha256: str
    size: int
    revision: str


def _fetch(
    hub: Hub, file: HubFile, sha256: str | None, force: bool, on_progress: OnProgress | None
) -> _Fetched:
    def report(phase: PullPhase, done: int, total: int | None) -> None:
        if on_progress is not None:
            on_progress(PullProgress(phase, file.file, done, total))

    here = None if force else hub.here(file)
    if here is not None and sha256 is not None and _digest(here, report) == sha256:
        return _Fetched(here, sha256, os.path.getsize(here), file.revision)
    remote = hub.ask(file)
    expected = _expected(remote, file, sha256)
    if here is None and remote.size is not None:
        hub.check_room(file, remote.size)
    path = hub.download(file, force, lambda done, total: report("downloading", done, total))
    found = _digest(path, report)
    if found != expected:
        raise DigestError(
            f"{path!r} is not the expected file: its SHA-256 is {found}, not {expected}. It was not registered. "
            "Download it again with force; if that fails too, do not use the file",
            expected=expected,
            found=found,
            path=path,
        )
    read_header(path)
    return _Fetched(path, found, os.path.getsize(path), remote.commit)


def _expected(remote: Remote, file: HubFile, sha256: str | None) -> str:
    """The digest that the file must have. If it is known and the hub reports one, both must be equal."""
    if sha256 is None and remote.sha256 is None:
        raise ProtocolError(
            f"the hub reports no SHA-256 for {file}, so it cannot be checked; pass sha256= if you know it"
        )
    expected = sha256 or remote.sha256 or ""
    if remote.sha256 is not None and remote.sha256 != expected:
        raise DigestError(
            f"the hub's file {file} is not the known one: its SHA-256 is {remote.sha256}, not {expected}. "
            "Nothing was downloaded. To use the hub's file anyway, pull it by this reference",
            expected=expected,
            found=remote.sha256,
            path=None,
        )
    return expected


def _digest(path: str, report: Callable[[PullPhase, int, int], None]) -> str:
    digest = hashlib.sha256()
    done = 0
    for chunk, total in _chunks(path):
        digest.update(chunk)
        done += len(chunk)
        report("verifying", done, total)
    return digest.hexdigest()


def _chunks(path: str) -> Iterator[tuple[bytes, int]]:
    try:
        with open(path, "rb", buffering=0) as file:
            total = os.fstat(file.fileno()).st_size
            while chunk := file.read(_CHUNK):
                yield chunk, total
    except OSError as error:
        raise ConfigError(f"{path!r} cannot be read: {error.strerror or error}") from None
