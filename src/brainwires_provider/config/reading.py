"""Typed values from the tables of a configuration file, and the errors for values that do not fit.

A `Reader` continues after an error, so that all are reported at once, each with its line. No error quotes the file's
text, since any text may be a secret in the wrong place.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from brainwires_provider.config.lines import Path, line_of
from brainwires_provider.errors import ConfigError
from brainwires_provider.types.suspects import is_secret_name, looks_like_key, may_be_key

__all__ = ["NO_KEY", "Reader", "near", "shown"]

T = TypeVar("T", bound=msgspec.Struct)

_MOST_REPORTED = 20
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a table",
    "array": "an array",
}
_MISFIT = re.compile(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$(.*)`)?$")


NO_KEY = (
    "looks like a key, and no key is written into this file: it would be shown, copied and committed. Refer to the "
    "place of the key, in api_key or in headers of [providers.NAME]; and replace the key, since it was in this file"
)


class Reader:
    """Reads one file and collects its errors. `name` is the file's name in errors, `folder` the base of its paths."""

    def __init__(self, name: str, folder: str, lines: dict[Path, int]) -> None:
        self.name = name
        self.folder = folder
        self._lines = lines
        self._faults: dict[Path, tuple[int, str]] = {}

    def fault(self, path: Path, message: str) -> bool:
        """Add an error at `path`; returns whether it was added.

        Only the first error of a place, or of a table that contains it, is kept.
        """
        if any(path[:end] in self._faults for end in range(1, len(path) + 1)):
            return False
        self._faults[path] = (line_of(self._lines, path) or 0, f"{self.place(path)}: {message}")
        return True

    def place(self, path: Path) -> str:
        """A path with its file and line, as in `brainwires.toml:12: providers.groq`."""
        line = line_of(self._lines, path)
        return f"{self.name}:{line}: {_dotted(path)}" if line else f"{self.name}: {_dotted(path)}"

    def finish(self, advice: str = "") -> None:
        """Raise ConfigError if there are errors: one per line, in the file's order, and `advice` after them."""
        lines = [message for _, message in sorted(self._faults.values(), key=lambda fault: fault[0])]
        if len(lines) > _MOST_REPORTED:
            lines[_MOST_REPORTED:] = [f"{self.name}: and {len(lines) - _MOST_REPORTED} more"]
        if lines:
            raise ConfigError("\n".join([*lines, f"{self.name}: {advice}"] if advice else lines))

    # -- tables ------------------------------------------------------------------------------------------

    def table(self, value: Any, path: Path) -> dict[str, Any]:
        """The value as a table; an empty one, and an error, for anything else."""
        if isinstance(value, dict):
            return value
        if value is not None:
            self.fault(path, f"takes a table, not {_kind(value)}")
        return {}

    def check_names(
        self, table: Mapping[str, Any], known: Iterable[str], path: Path, advice: Mapping[str, str] = {}
    ) -> None:
        """Add an error for every unknown key, with `advice` on it or the most similar known key."""
        names = tuple(known)
        for key in table:
            if key not in names:
                hint = advice.get(key) or near(key, names) or f"there are: {', '.join(names)}"
                self.fault((*path, key), f"there is no such field; {hint}")

    def struct(
        self, kind: type[T], value: Any, path: Path, own: Mapping[str, Callable[..., Any]]
    ) -> T | None:
        """A struct from a table, field by field; `own` has the functions for fields that need more than a type check.

        None if there is no table, or an error in it.
        """
        table = self.table(value, path)
        if not isinstance(value, dict):
            return None
        hints, declared = _fields(kind)
        self.check_names(table, [field.name for field in declared], path)
        before = len(self._faults)
        fields = {}
        for field in declared:
            name, at = field.name, (*path, field.name)
            if name in table:
                given = table[name]
                fields[name] = own[name](given, at) if name in own else self.value(hints[name], given, at)
            elif field.required:
                self.fault(path, f"has no {name}")
        if len(self._faults) > before:
            return None
        try:
            return kind(**fields)
        except (ConfigError, ValueError) as error:
            fault = str(error)  # an impossible number
        self.fault(path, fault)
        return None

    # -- values ------------------------------------------------------------------------------------------

    def value(self, hint: Any, value: Any, path: Path) -> Any:
        """The value converted to the type `hint`; None, and an error, if it does not fit."""
        try:
            return msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            fault = _misfit(str(error), hint)
        self.fault(path, fault)
        return None

    def text(self, value: Any, path: Path) -> str | None:
        """The value as one line of text; None, and an error, for anything else."""
        if not isinstance(value, str):
            self.fault(path, f"takes text, not {_kind(value)}")
        elif not value.strip() or not value.isprintable():
            self.fault(path, "takes one line of text")
        else:
            return value
        return None

    def file(self, value: Any, path: Path) -> str | None:
        """A path: relative to the user's folder if it begins with `~`, else to the configuration file's folder."""
        text = self.text(value, path)
        if text is None or text.startswith("~"):
            return text
        return os.path.join(self.folder, text)

    def check_leaves(self, value: Any, path: Path) -> None:
        """Add errors that are possible anywhere: values that look like secrets, and numbers that JSON lacks."""
        if isinstance(value, dict):
            for key, inner in value.items():
                if isinstance(inner, str) and inner and is_secret_name(key):
                    self.fault((*path, key), NO_KEY)
                self.check_leaves(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self.check_leaves(inner, (*path, index))
        elif isinstance(value, str) and looks_like_key(value):
            self.fault(path, NO_KEY)
        elif isinstance(value, float) and not math.isfinite(value):
            self.fault(path, "is not a finite number")


@lru_cache(64)
def _fields(kind: type[msgspec.Struct]) -> tuple[dict[str, Any], tuple[msgspec.structs.FieldInfo, ...]]:
    """The types of a struct's fields, and the fields; cached, since finding them takes milliseconds."""
    return get_type_hints(kind), msgspec.structs.fields(kind)


def near(name: str, known: Iterable[str]) -> str:
    """A hint at the most similar name, or empty text."""
    found = get_close_matches(name, tuple(known), 1)
    return f"did you mean {found[0]!r}?" if found else ""


def shown(text: str) -> str:
    """A name from the file for a message, unless it may be a secret."""
    return "(not shown)" if may_be_key(text) else text


def _dotted(path: Path) -> str:
    """A path in TOML's notation."""
    dotted = ""
    for part in path:
        if isinstance(part, int):
            dotted += f"[{part}]"
        else:
            name = shown(part)
            if name == part and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                name = '"' + name.encode("unicode_escape").decode() + '"'
            dotted += f".{name}" if dotted else name
    return dotted


def _kind(value: Any) -> str:
    """A description of a value's type."""
    for types, words in (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "text"),
        (dict, "a table"),
        (list, "an array"),
    ):
        if isinstance(value, types):
            return words
    return "a date or time"


def _misfit(words: str, hint: Any) -> str:
    """A readable form of msgspec's error about a value's type; it names types, never the value."""
    match = _MISFIT.match(words)
    if match is not None:
        wanted, got, place = match.groups()
        wanted = " or ".join(_WORDS.get(each, each) for each in wanted.split(" | ") if each != "null")
        inside = f"inside, at {place.lstrip('.')}, " if place and not may_be_key(place) else ""
        return f"{inside}takes {wanted}, not {_WORDS.get(got, 'a date or time')}"
    choices = _choices(hint)
    return f"takes one of: {', '.join(choices)}" if choices else "does not fit"


def _choices(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return tuple(str(each) for each in get_args(hint))
    return tuple(choice for each in get_args(hint) for choice in _choices(each))
