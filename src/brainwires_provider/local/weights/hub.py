"""Pulling a GGUF file from the Hugging Face hub: fetched, its SHA-256 checked, and registered under a name.

The package `huggingface_hub` (the `hub` extra) fetches, so its rules hold: its cache is shared with every program on
the machine, HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they always mean, each wait for bytes has its
clock (HF_HUB_DOWNLOAD_TIMEOUT, 10 s), and a download whose connection is cut goes on where it ended. What it does not
do is done here. One question to the hub comes first: it says what is wrong with a reference, and refuses a file whose
digest is not the known one, before gigabytes are fetched. Then the file is read again from the disk and its digest
compared, for a cache can be damaged long after the download. A file that fails stays where it is, unregistered.

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
from brainwires_provider.local.weights.hub_files import Hub, HubFile, Remote
from brainwires_provider.local.weights.known import KNOWN_MODELS, find_known
from brainwires_provider.local.weights.names import check_name, name_after, near_names
from brainwires_provider.local.weights.registry import LocalRegistry

__all__ = ["DigestError", "OnProgress", "PullPhase", "PullProgress", "PulledModel", "pull"]

_CHUNK: Final = 4 << 20  # bytes hashed between two reports
_GRAMMAR: Final = "hf:OWNER/NAME/FILE.gguf, or hf:OWNER/NAME@REVISION/FILE.gguf"
_REFERENCE: Final = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?/(?P<file>[^@\\\x00-\x1f]+\.gguf)", re.ASCII
)
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.ASCII)
_MAX_PARTS: Final = 999
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")

PullPhase: TypeAlias = Literal["downloading", "verifying"]


class PullProgress(Struct, frozen=True, gc=False):
    """How far it is. `done` and `total` are in bytes of `file`; `total` is None when the hub does not tell."""

    phase: PullPhase
    file: str
    done: int
    total: int | None


OnProgress: TypeAlias = Callable[[PullProgress], object]


class PulledModel(Struct, frozen=True, gc=False):
    """A file that is here, checked, and registered as `name`.

    `revision` is the commit that it came from, or what was asked for when the hub was not asked. A model in several
    parts is named by its first: `path` and `sha256` are that one's, `size` (bytes) is that of all.
    """

    name: str
    path: str
    sha256: str
    size: int
    repo: str
    file: str
    revision: str


class DigestError(ProtocolError):
    """A file is not the one that was meant. `path` is None when nothing was fetched."""

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
    """Fetch a model that is not here yet, check its SHA-256, and register it.

    `model` is a known name (`KNOWN_MODELS`), or hf:OWNER/NAME[@REVISION]/FILE.gguf, where FILE may lie in folders and
    the revision is a commit, tag or branch (default: main); of a model in parts, name the first. A known name has its
    digest; for a reference, `sha256` is the digest to check against, and without it the one that the hub tells. With
    a digest known beforehand, a file that is here already needs no network. A file goes to the hub's cache, or to
    `folder`, and is registered in `registry` (default: the user's) as `name` (default: the known name, or one after
    the file). Pulled again, a model keeps the settings that it has; a name that means another model is not taken
    without `replace`. `force` fetches a file that is here anew.

    `on_progress` is called as bytes come and as they are checked, perhaps on another thread; what it raises ends the
    pull. `timeout`, in seconds, bounds each wait for the hub's first answer. `token` is the hub's; default: HF_TOKEN
    or the one of `hf auth login`, which go to the hub of HF_ENDPOINT and never to an `endpoint` given here.

    Raises ConfigError (a bad name or reference, no `hub` extra, no room on the disk), NotFoundError,
    AuthenticationError, PermissionDeniedError (such as for a licence that must be accepted first), RateLimitError,
    OverloadedError, ServerError, ConnectError, RequestTimeout, StreamInterrupted, TransportError, ProtocolError
    (no hub answers) and DigestError.
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


# -- what is meant -------------------------------------------------------------------------------------------


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
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise ConfigError(f"sha256={sha256!r} is no SHA-256, which has 64 hexadecimal digits")
    if digest is not None and len(files) > 1:
        raise ConfigError("sha256= checks one file, and this model has several parts; leave it out")
    name = known.name if known else name_after(first.file)
    return _Wanted(name, files, digest, known.pooling if known else None)


def _parse(reference: str) -> HubFile:
    if not reference.startswith("hf:"):
        near = near_names(reference, [model.name for model in KNOWN_MODELS])
        raise ConfigError(f"no known model is called {reference!r}{near}; any other is named {_GRAMMAR}")
    found = _REFERENCE.fullmatch(reference)
    if found is None or any(part in ("", ".", "..") for part in found["file"].split("/")):
        raise ConfigError(
            f"{reference!r} does not say which file of the hub is meant; it looks like {_GRAMMAR}, "
            "and the revision is a commit, a tag, or a branch without a slash"
        )
    return HubFile(found["repo"], found["revision"] or "main", found["file"])


def _parts(first: HubFile) -> tuple[HubFile, ...]:
    several = _PART.fullmatch(first.file)
    if several is None:
        return (first,)
    if int(several["part"]) != 1:
        raise ConfigError(f"{first.file!r} is not the first part of its model; name the first")
    stem, count = several["stem"], int(several["parts"])
    if not 1 <= count <= _MAX_PARTS:
        raise ConfigError(
            f"{first.file!r} says that its model has {count} parts; 1 to {_MAX_PARTS} are possible"
        )
    return tuple(
        HubFile(first.repo, first.revision, f"{stem}-{number:05}-of-{count:05}.gguf")
        for number in range(1, count + 1)
    )


def _settings(registry: LocalRegistry, name: str, file: HubFile, replace: bool) -> LocalModel | None:
    """How the model of that name is run, if it is this one. A name that cannot be is refused before the download."""
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
            "give this one another name, or replace that one"
        )
    return None


# -- fetching and checking -----------------------------------------------------------------------------------


class _Fetched(Struct, frozen=True):
    path: str
    sha256: str
    size: int
    revision: str


def _fetch(
    hub: Hub, file: HubFile, sha256: str | None, force: bool, on_progress: OnProgress | None
) -> _Fetched:
    def tell(phase: PullPhase, done: int, total: int | None) -> None:
        if on_progress is not None:
            on_progress(PullProgress(phase, file.file, done, total))

    here = None if force else hub.here(file)
    if here is not None and sha256 is not None and _digest(here, tell) == sha256:
        return _Fetched(here, sha256, os.path.getsize(here), file.revision)
    remote = hub.ask(file)
    expected = _expected(remote, file, sha256)
    if here is None and remote.size is not None:
        hub.check_room(file, remote.size)
    path = hub.download(file, force, lambda done, total: tell("downloading", done, total))
    found = _digest(path, tell)
    if found != expected:
        raise DigestError(
            f"{path!r} is not the file that was meant: its SHA-256 is {found}, and should be {expected}. It was not "
            "registered. Pull it again with force, which fetches it anew; should it fail again, do not use the file",
            expected=expected,
            found=found,
            path=path,
        )
    read_header(path)
    return _Fetched(path, found, os.path.getsize(path), remote.commit)


def _expected(remote: Remote, file: HubFile, sha256: str | None) -> str:
    """The digest that the file must have: known beforehand, and by the hub; they must agree."""
    if sha256 is None and remote.sha256 is None:
        raise ProtocolError(
            f"the hub tells no SHA-256 of {file}, so there is nothing to check it against; pass sha256= if you know it"
        )
    expected = sha256 or remote.sha256 or ""
    if remote.sha256 is not None and remote.sha256 != expected:
        raise DigestError(
            f"the hub's file {file} is not the one known here: its SHA-256 is {remote.sha256}, and should be "
            f"{expected}. Nothing was fetched. To take the hub's file none the less, pull it by this reference",
            expected=expected,
            found=remote.sha256,
            path=None,
        )
    return expected


def _digest(path: str, tell: Callable[[PullPhase, int, int], None]) -> str:
    digest = hashlib.sha256()
    done = 0
    for chunk, total in _chunks(path):
        digest.update(chunk)
        done += len(chunk)
        tell("verifying", done, total)
    return digest.hexdigest()


def _chunks(path: str) -> Iterator[tuple[bytes, int]]:
    try:
        with open(path, "rb", buffering=0) as file:
            total = os.fstat(file.fileno()).st_size
            while chunk := file.read(_CHUNK):
                yield chunk, total
    except OSError as error:
        raise ConfigError(f"{path!r} cannot be read: {error.strerror or error}") from None
