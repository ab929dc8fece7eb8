"""A terminal's screen in memory: as much of one as the command's output needs."""

from __future__ import annotations

import re

from rich.cells import cell_len

_STEP = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """Rows that grow downwards; text that reaches the right edge goes on in the next row."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = [""]
        self.row = self.column = 0
        self.returns = 0

    def write(self, text: str) -> None:
        for found in _STEP.finditer(text):
            self._take(found)

    def _take(self, found: re.Match[str]) -> None:
        match found[3] or found[0]:
            case "m" | "h" | "l":
                pass
            case "A":
                self.row -= int(found[2] or 1)
                assert self.row >= 0, "above the top"
            case "J":
                del self.rows[self.row + 1 :]
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "K":
                self.rows[self.row] = self.rows[self.row][: self.column]
            case "\r":
                self.column = 0
                self.returns += 1
            case "\n":
                self._down()
                self.column = 0
            case text:
                assert not found[0].startswith("\x1b"), repr(found[0])
                row = self.rows[self.row]
                before, after = row[: self.column], row[self.column + len(text) :]
                assert cell_len(before + text) <= self.width, f"wider than the terminal: {before + text!r}"
                self.rows[self.row] = before + text + after
                self.column += len(text)

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)
