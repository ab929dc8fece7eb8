"""The line numbers of the keys of a TOML document, for error messages.

The standard library's parser returns values without positions. Here the text, which that parser has already accepted,
is scanned once more for its keys: headers, dotted and quoted keys, inline tables, arrays. Anything unexpected ends the
scan; the lines found until then are correct.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from typing import TypeAlias

__all__ = ["Path", "key_lines", "line_of"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys, and indices of arrays."""

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_SCALAR = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{0,2})|' + r"'''.*?'''(?:'{0,2})|"
    r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|[^\"'\[{,\]}#\n][^,\]}#\n]*",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """The line, counted from 1, of every key and of every array item. `text` must be valid TOML."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    with suppress(_NotUnderstood):
        scanner.scan()
    return scanner.found


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a path, or of the nearest existing table above it."""
    return next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)


class _NotUnderstood(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._last: dict[Path, int] = {}  # arrays of tables: the index of the last one

    def scan(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._take("["):
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _header(self) -> Path:
        """The table that a header begins. The header's first bracket has been read."""
        is_array = self._take("[")
        line, parts = self._line(), self._parts()
        for _ in range(2 if is_array else 1):
            self._expect("]")
        path: Path = ()
        for part in parts[:-1]:
            path = self._note((*path, part), line)
            if path in self._last:
                path = (*path, self._last[path])
        path = (*path, parts[-1])
        if is_array:
            self._note(path, line)
            self._last[path] = self._last.get(path, -1) + 1
            path = (*path, self._last[path])
        self.found[path] = line  # a table's own header takes precedence over a mention in another
        return path

    def _pair(self, table: Path) -> None:
        line, path = self._line(), table
        for part in self._parts():
            path = self._note((*path, part), line)
        self._expect("=")
        self._skip(_SPACES)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._take("["):
            self._items(path)
        elif self._take("{"):
            self._skip(_BLANK)
            while not self._take("}"):
                self._pair(path)
                self._skip(_BLANK)
                self._take(",")
                self._skip(_BLANK)
        else:
            self._match(_SCALAR)

    def _items(self, path: Path) -> None:
        index = 0
        self._skip(_BLANK)
        while not self._take("]"):
            self._value(self._note((*path, index), self._line()))
            index += 1
            self._skip(_BLANK)
            self._take(",")
            self._skip(_BLANK)

    def _parts(self) -> list[str]:
        """Read a key's parts, and the spaces after it."""
        parts: list[str] = []
        while not parts or self._take("."):
            self._skip(_SPACES)
            part = self._match(_PART)
            parts.append(tomllib.loads(f"x={part}")["x"] if part[0] in "\"'" else part)
            self._skip(_SPACES)
        return parts

    def _note(self, path: Path, line: int) -> Path:
        self.found.setdefault(path, line)
        return path

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)

    def _take(self, sign: str) -> bool:
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise _NotUnderstood

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        assert found is not None  # the pattern also matches empty text
        self._at = found.end()

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _NotUnderstood
        self._at = found.end()
        return found[0]
