"""Finds the models in a folder, and the files of a model in several parts. The walk has limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.names import Part, part_of

__all__ = ["Skip", "model_files", "parts_of"]

Skip: TypeAlias = Callable[[str, str], object]

_MAX_ENTRIES: Final = 100_000


def model_files(folder: str, max_depth: int, skip: Skip) -> list[str]:
    """One file for each model in `folder` and below: the first of several parts, and no projectors (mmproj).

    Links are followed, each folder and file once, `max_depth` folders deep. `skip` is called with the path and the
    reason of each file and folder that is skipped. Raises ConfigError for more than 100,000 files.
    """
    files = []
    for path in _walk(folder, max_depth, skip):
        stem = _stem(path)
        part = part_of(stem)
        if "mmproj" in stem.lower():
            skip(path, "a projector, which cannot run by itself")
        elif part is None or part.part == 1:
            files.append(path)
        elif not os.path.isfile(first := _sibling(path, part, 1)):
            skip(path, f"the first part of its model is missing: {os.path.basename(first)}")
    return files


def parts_of(path: str) -> Iterable[str]:
    """The files that llama.cpp reads if it is given this one.

    Raises ConfigError for a part other than the first, and if a part is missing.
    """
    part = part_of(_stem(path)) if path.lower().endswith(".gguf") else None
    if part is None:
        return (path,)
    if part.part != 1:
        raise ConfigError(f"{path!r} is not the first part of its model; name the first")
    files = [_sibling(path, part, number) for number in range(1, part.parts + 1)]
    for file in files:
        if not os.path.isfile(file):
            raise ConfigError(f"a part of the model {path!r} is missing: {os.path.basename(file)}")
    return files


def _sibling(path: str, part: Part, number: int) -> str:
    """Another file of the same model."""
    return os.path.join(os.path.dirname(path), part.sibling(number) + path[-len(".gguf") :])


def _walk(top: str, max_depth: int, skip: Skip) -> Iterator[str]:
    """The .gguf files in a folder and below, by depth.

    Each file and folder occurs once, however often it is linked.
    """
    seen: set[tuple[int, int]] = set()
    entries = 0
    level = [top]
    for _ in range(max_depth + 1):
        below: list[str] = []
        for folder in level:
            for path, is_folder in _entries(folder, seen, skip):
                entries += 1
                if entries > _MAX_ENTRIES:
                    raise ConfigError(
                        f"there are more than {_MAX_ENTRIES:,} files below {top!r}; scan a folder in it"
                    )
                if is_folder:
                    below.append(path)
                elif path.lower().endswith(".gguf"):
                    yield path
        level = below
    for folder in level:
        skip(folder, f"more than {max_depth} folders deep")


def _entries(folder: str, seen: set[tuple[int, int]], skip: Skip) -> Iterator[tuple[str, bool]]:
    """Each path in the folder, and whether it is a folder; without folders and models that were seen before."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        skip(folder, f"cannot be read: {error.strerror}")
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            status = os.stat(path)
        except OSError as error:  # a broken link or a cycle of links
            skip(path, f"cannot be read: {error.strerror}")
            continue
        is_folder = stat.S_ISDIR(status.st_mode)
        identity = (status.st_dev, status.st_ino)
        # Only .gguf names count: the cache of the Hugging Face hub links them to files with other names
        if not is_folder and not name.lower().endswith(".gguf"):
            yield path, False
        elif identity not in seen:
            seen.add(identity)
            yield path, is_folder


def _stem(path: str) -> str:
    return os.path.basename(path)[: -len(".gguf")]
