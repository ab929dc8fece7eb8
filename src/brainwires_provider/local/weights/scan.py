"""Finds the models in a folder: walks it within bounds, and tells a model's file from its other parts."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from brainwires_provider.errors import ConfigError

__all__ = ["Skip", "model_files", "parts_of"]

Skip: TypeAlias = Callable[[str, str], object]

_PART: Final = re.compile(r".+-(?P<part>\d{5})-of-(?P<parts>\d{5})", re.IGNORECASE)
_MAX_ENTRIES: Final = 100_000


def model_files(folder: str, max_depth: int, skip: Skip) -> list[str]:
    """The file to name for each model in and below `folder`: of several parts the first, and no projector (mmproj).

    Links are followed, each folder and file once, `max_depth` folders deep; `skip` is given the path of what is
    passed over, and why. Raises ConfigError for a folder that holds absurdly many files.
    """
    files = []
    for path in _walk(folder, max_depth, skip):
        stem = _stem(path)
        several = _PART.fullmatch(stem)
        if "mmproj" in stem.lower():
            skip(path, "a projector, which is no model by itself")
        elif several is None or int(several["part"]) == 1:
            files.append(path)
        elif not os.path.isfile(first := _part(path, 1)):
            skip(path, f"the first part of its model is missing: {os.path.basename(first)}")
    return files


def parts_of(path: str) -> Iterable[str]:
    """The files that llama.cpp reads when it is given this one.

    Raises ConfigError for a part other than the first, and when one is missing.
    """
    several = _PART.fullmatch(_stem(path)) if path.lower().endswith(".gguf") else None
    if several is None:
        return (path,)
    if int(several["part"]) != 1:
        raise ConfigError(f"{path!r} is not the first part of its model; name the first")
    parts = [_part(path, number) for number in range(1, int(several["parts"]) + 1)]
    for part in parts:
        if not os.path.isfile(part):
            raise ConfigError(f"a part of the model {path!r} is missing: {os.path.basename(part)}")
    return parts


def _part(path: str, number: int) -> str:
    """Another part of the model that this is one of: NAME-00001-of-00003.gguf."""
    return f"{path[: -len('00001-of-00003.gguf')]}{number:05}{path[-len('-of-00003.gguf') :]}"


def _walk(top: str, max_depth: int, skip: Skip) -> Iterator[str]:
    """The .gguf files in and below a folder, nearest first, each file and folder once however often it is linked."""
    seen: set[tuple[int, int]] = set()
    looked_at = 0
    level = [top]
    for _ in range(max_depth + 1):
        below: list[str] = []
        for folder in level:
            for path, is_folder in _entries(folder, seen, skip):
                looked_at += 1
                if looked_at > _MAX_ENTRIES:
                    raise ConfigError(
                        f"more than {_MAX_ENTRIES:,} files are below {top!r}; scan a folder in it"
                    )
                if is_folder:
                    below.append(path)
                elif path.lower().endswith(".gguf"):
                    yield path
        level = below
    for folder in level:
        skip(folder, f"more than {max_depth} folders deep")


def _entries(folder: str, seen: set[tuple[int, int]], skip: Skip) -> Iterator[tuple[str, bool]]:
    """Each path in the folder, without folders and models that were seen before, and whether it is a folder."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        skip(folder, f"cannot be read: {error.strerror}")
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            status = os.stat(path)
        except OSError as error:  # a link that leads nowhere, or in a circle
            skip(path, f"cannot be read: {error.strerror}")
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        identity = (status.st_dev, status.st_ino)
        # A file counts under its .gguf name only: the Hugging Face cache links such names to others
        if not is_folder and not name.lower().endswith(".gguf"):
            yield path, False
        elif identity not in seen:
            seen.add(identity)
            yield path, is_folder


def _stem(path: str) -> str:
    return os.path.basename(path)[: -len(".gguf")]
