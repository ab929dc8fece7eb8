"""Tables in aligned columns, as many as a terminal has room for; and sizes and times as text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from shutil import get_terminal_size

from brainwires_provider.cli.terminal import is_terminal, note, print_line

__all__ = ["print_table", "size_words", "time_words"]

_GAP = "  "
_UNITS = ("B", "KB", "MB", "GB", "TB")


def print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Empty columns are left out. At a terminal so are those that do not fit, which a note names.

    A first column that is wider than the terminal is cut.
    """
    lines = [tuple("".join(c for c in cell if c.isprintable()) for cell in row) for row in (head, *rows)]
    filled = [at for at in range(len(head)) if at == 0 or any(line[at] for line in lines[1:])]
    widths = {at: max(len(line[at]) for line in lines) for at in filled}
    shown = list(filled)
    if is_terminal(sys.stdout):
        columns = get_terminal_size().columns
        widths[0] = min(widths[0], columns)
        while len(shown) > 1 and sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1) > columns:
            shown.pop()
    for line in lines:
        text = _GAP.join(_cut(line[at], widths[at]) for at in shown).rstrip()
        print_line(text.encode("utf-8", "replace"))
    if hidden := filled[len(shown) :]:
        note(f"not shown here: {', '.join(head[at].lower() for at in hidden)}; --json has them")


def _cut(text: str, width: int) -> str:
    return f"{text:<{width}}" if len(text) <= width else text[: width - 1] + "…"


def size_words(size: int | None) -> str:
    """A number of bytes in decimal units."""
    if size is None:
        return ""
    number, unit = float(size), 0
    while number >= 1000 and unit + 1 < len(_UNITS):
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit < 2 else f"{number:.1f} {_UNITS[unit]}"


def time_words(when: datetime | None) -> str:
    """To the minute."""
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")
