"""The text of one JSON object, written from values that arrive each with its path.

Google streams a call's arguments so: `{"jsonPath": "$.a[0].b", "stringValue": "…", "willContinue": true}`. The text is
written as the values arrive, as long as they come in the order of a JSON text. A value that belongs into a part of the
text that is already closed cannot be written there any more; then its member of the outermost object is written once
more, whole, at the end. A JSON reader takes the last of two equal members, so it reads the right value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec

from brainwires_provider.protocols.base.decoder import well_formed

__all__ = ["ObjectWriter"]

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_MAX_GAPS = 1000  # nulls in all lists together
_MAX_STEPS = 100
Step = str | int


class _Pieces:
    """A string that arrives in several values."""

    def __init__(self, text: str) -> None:
        self.texts = [text]


class ObjectWriter:
    """One object. `add`, `add_members` and `finish` return the text that is new. Raise ValueError for absurd paths."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}
        self._open: list[Step] = []  # the path to the container that is open in the text
        self._string: list[Step] | None = None  # the path of the string that is open in the text
        self._unended: set[tuple[Step, ...]] = set()  # the strings that go on, open in the text or not
        self._late: dict[str, None] = {}  # members of the outermost object to be written again
        self._gaps = 0  # the nulls that lists were filled up with
        self._text: list[str] = []
        self._begun = False
        self._fresh = False  # the last written opens a container

    def add(self, piece: Mapping[str, Any]) -> str:
        """One value with its `jsonPath`. Without a value it only marks the end of its string."""
        path = _steps(str(piece.get("jsonPath", "$")))
        kind = next((name for name in _VALUES if name in piece), None)
        if kind is None:
            return ""
        value = None if kind == "nullValue" else piece[kind]
        self._put(path, value, goes_on=bool(piece.get("willContinue")))
        return self._take()

    def add_members(self, values: Mapping[str, Any]) -> str:
        """Members that arrive whole."""
        for name, value in values.items():
            self._put([name], value)
        return self._take()

    def finish(self) -> str:
        """The rest of the text."""
        self._close_to(0)
        for name in self._late:
            self._comma()
            self._write(f"{_quoted(name)}:{_compact(self._tree[name])}")
        self._write("}" if self._begun else "{}")
        return self._take()

    def _take(self) -> str:
        text, self._text = "".join(self._text), []
        return text

    # -- the value -------------------------------------------------------------------------------------------

    def _put(self, path: list[Step], value: Any, *, goes_on: bool = False) -> None:
        holder, is_late = self._holder(path)
        last: Any = path[-1]
        key = tuple(path)
        known = holder[last] if _has(holder, last) else None
        is_more = isinstance(value, str) and key in self._unended
        goes_on = goes_on and isinstance(value, str)
        (self._unended.add if goes_on else self._unended.discard)(key)
        if is_more and isinstance(known, _Pieces):
            known.texts.append(value)
            if path == self._string:
                self._write(_quoted(value)[1:-1])
                if not goes_on:
                    self._end_string()
                return
            is_late = True
        else:
            is_late = is_late or _has(holder, last)
            is_late = self._set(holder, last, _Pieces(value) if goes_on else value) or is_late
        top = str(path[0])
        if is_late or top in self._late or not self._goto(path):
            self._late[top] = None
            return
        self._begin_member(path)
        if goes_on:
            self._write(_quoted(value)[:-1])
            self._string = path
        else:
            self._write(_compact(value))

    def _holder(self, path: list[Step]) -> tuple[Any, bool]:
        """The container of a path's last step, and whether something was put where the text cannot follow."""
        holder: Any = self._tree
        is_late = False
        for step, after in pairwise(path):
            kind = list if isinstance(after, int) else dict
            known = _has(holder, step)
            if not known or not isinstance(holder[step], kind):
                is_late = self._set(holder, step, kind()) or known or is_late
            holder = holder[step]
        return holder, is_late

    def _set(self, holder: Any, step: Step, value: Any) -> bool:
        """Put a value; whether a list had to be filled up with nulls to its place. ValueError for too many."""
        gap = 0
        if isinstance(holder, list):
            assert isinstance(step, int)
            gap = max(0, step - len(holder))
            self._gaps += gap
            if self._gaps > _MAX_GAPS:
                raise ValueError(f"an argument's place in a list is {step}")
            holder += [None] * (step + 1 - len(holder))
        holder[step] = value
        return gap > 0

    # -- the text --------------------------------------------------------------------------------------------

    def _goto(self, path: list[Step]) -> bool:
        """Close what is open beside the path, and open what is new on it. False where it leads into what is closed."""
        self._end_string()
        shared = 0
        while shared < min(len(self._open), len(path) - 1) and self._open[shared] == path[shared]:
            shared += 1
        if not self._is_new(path, shared):
            return False
        self._close_to(shared)
        for depth in range(shared, len(path) - 1):
            self._begin_member(path[: depth + 1])
            self._write("[" if isinstance(path[depth + 1], int) else "{")
            self._open.append(path[depth])
        return True

    def _is_new(self, path: list[Step], shared: int) -> bool:
        """Whether the path's first step that is not open was put there just now, as the last of its container."""
        holder: Any = self._tree
        for opened in path[:shared]:
            holder = holder[opened]
        for depth in range(shared, len(path)):
            step: Any = path[depth]
            last = len(holder) - 1 if isinstance(holder, list) else next(reversed(holder))
            if step != last:
                return False
            holder = holder[step]
            if depth < len(path) - 1 and len(holder) != 1:
                return False
        return True

    def _begin_member(self, path: list[Step]) -> None:
        self._comma()
        if isinstance(path[-1], str):
            self._write(f"{_quoted(path[-1])}:")

    def _comma(self) -> None:
        if not self._begun:
            self._begun = True
            self._write("{")
        elif not self._fresh:
            self._write(",")

    def _write(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._fresh = text in ("{", "[")

    def _end_string(self) -> None:
        if self._string is not None:
            self._string = None
            self._write('"')

    def _close_to(self, depth: int) -> None:
        """Close the open containers down to a depth."""
        self._end_string()
        while len(self._open) > depth:
            self._write("]" if self._is_list(len(self._open)) else "}")
            self._open.pop()

    def _is_list(self, depth: int) -> bool:
        holder: Any = self._tree
        for step in self._open[:depth]:
            holder = holder[step]
        return isinstance(holder, list)


def _steps(path: str) -> list[Step]:
    """`$.a[0]['b c']` as steps; a path of another form is one member's name."""
    steps: list[Step] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return [path]
        index = found[2]
        steps.append(int(index) if index is not None else found[1] or found[3] or found[4] or "")
        at = found.end()
    if len(steps) > _MAX_STEPS:
        raise ValueError(f"an argument's path has {len(steps)} steps")
    return steps if steps and isinstance(steps[0], str) else [path]


def _has(holder: Any, step: Step) -> bool:
    if isinstance(holder, list):
        return isinstance(step, int) and step < len(holder)
    return step in holder


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _compact(value: Any) -> str:
    return msgspec.json.encode(well_formed(value), enc_hook=_joined).decode()


def _joined(pieces: _Pieces) -> Any:
    return well_formed("".join(pieces.texts))
