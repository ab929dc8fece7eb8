"""What a model on this machine may be called, and which names are near one that is not known."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

from brainwires_provider.errors import ConfigError

__all__ = ["check_name", "is_name", "name_after", "near_names", "unique_name"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PART: Final = re.compile(r"-\d{5}-of-\d{5}$", re.IGNORECASE)
_NAMELESS: Final = re.compile(r"[^a-z0-9._-]+")


def is_name(text: str) -> bool:
    """Whether a model may be called that. No name can be taken for a path, a file or "provider:model"."""
    return _NAME.fullmatch(text) is not None and not text.lower().endswith(".gguf")


def check_name(name: str) -> None:
    """Raises ConfigError, which says what a name may be."""
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot be a local model's name: a name has 1 to 100 letters (a-z, A-Z), digits, dots, "
            "dashes and underscores, begins with a letter or digit, and does not end in .gguf"
        )


def near_names(name: str, names: Iterable[str]) -> str:
    """The words of an error that name those near it, with a space before them; "" when none is."""
    import difflib

    folded = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), folded, n=3)
    return f" (did you mean {' or '.join(repr(folded[known]) for known in near)}?)" if near else ""


def name_after(path: str) -> str:
    """A name for the model in that .gguf file."""
    stem = _PART.sub("", os.path.basename(path)[: -len(".gguf")])
    name = _NAMELESS.sub("-", stem.lower()).lstrip("._-")[:80].rstrip("._-")
    return name if is_name(name) else "model"


def unique_name(name: str, taken: Iterable[str]) -> str:
    """That name, with a number behind it if it is taken; names that differ in case only are taken too."""
    used = {known.lower() for known in taken}
    number = 2
    unique = name
    while unique.lower() in used:
        unique = f"{name}-{number}"
        number += 1
    return unique
