"""Names of models on this machine: which are valid, which are similar to an unknown one, and names for files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from brainwires_provider.errors import ConfigError

__all__ = ["Part", "check_name", "is_name", "name_after", "near_names", "part_of", "unique_name"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART: Final = re.compile(r"(?P<stem>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})", re.IGNORECASE | re.ASCII)
_NAMELESS: Final = re.compile(r"[^a-z0-9._-]+")


class Part(NamedTuple):
    """The position of a file in a model of several files, in its name: STEM-00001-of-00003."""

    stem: str
    part: int
    parts: int

    def sibling(self, number: int) -> str:
        """The name of another part, without .gguf."""
        return f"{self.stem}-{number:05}-of-{self.parts:05}"


def part_of(stem: str) -> Part | None:
    """Read the name of a file without .gguf; None if it is not one of several parts."""
    found = _PART.fullmatch(stem)
    return None if found is None else Part(found["stem"], int(found["part"]), int(found["parts"]))


def is_name(text: str) -> bool:
    """Whether `text` is a valid name. No valid name looks like a path, a file or "provider:model"."""
    return _NAME.fullmatch(text) is not None and not text.lower().endswith(".gguf")


def check_name(name: str) -> None:
    """Raise ConfigError if `name` is not valid."""
    if not is_name(name):
        raise ConfigError(
            f"{name!r} is not a valid name of a local model: a name has 1 to 100 letters (a-z, A-Z), digits, dots, "
            "dashes and underscores, begins with a letter or digit, and does not end in .gguf"
        )


def near_names(name: str, names: Iterable[str]) -> str:
    """The suggestion of similar names for an error message, with a leading space; "" if there are none."""
    import difflib

    folded = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), folded, n=3)
    return f" (did you mean {' or '.join(repr(folded[known]) for known in near)}?)" if near else ""


def name_after(path: str) -> str:
    """A name for the model in a .gguf file."""
    stem = os.path.basename(path)[: -len(".gguf")]
    if part := part_of(stem):
        stem = part.stem
    name = _NAMELESS.sub("-", stem.lower()).lstrip("._-")[:80].rstrip("._-")
    return name if is_name(name) else "model"


def unique_name(name: str, taken: Iterable[str]) -> str:
    """`name`, with a number appended if it is taken. Names that differ only in case count as taken."""
    used = {known.lower() for known in taken}
    number = 2
    unique = name
    while unique.lower() in used:
        unique = f"{name}-{number}"
        number += 1
    return unique
