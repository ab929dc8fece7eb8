"""Markdown at a terminal, rendered while it arrives.

A block that is complete (a paragraph, a list, a table, a code block) is printed for good. The one that is growing is
drawn again when text has come, from its first changed line on, and no taller than the terminal: of a taller one the
last lines are shown until it is complete, and then all of it is printed. Nothing that was written is left out: HTML,
link definitions and addresses are shown as text, and a table that is too wide for the terminal as it was written.
What would control the terminal is removed after the Markdown is read, since entities can stand for any character.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import IO, ClassVar, TypeAlias

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, Markdown, TableElement
from rich.padding import Padding
from rich.rule import Rule
from rich.segment import Segment, Segments
from rich.syntax import Syntax
from rich.table import Table

from brainwires_provider.cli.controls import harmless

__all__ = ["LiveMarkdown"]

Line: TypeAlias = list[Segment]

_NARROWEST = 6  # cells of a table's column, with its margin
_LONGEST = 60  # seconds of a pause between two drawings, at most
_SHARE = 4  # of the time, drawing may take one part in so many
_ATOMIC = "\x1b[?2026h", "\x1b[?2026l"  # a terminal that knows them shows what is between them at once


class _Parser(MarkdownIt):
    def normalizeLinkText(self, link: str) -> str:  # noqa: N802 (the name is that of the base class)
        """An address as it was written: decoded, it could hold any character."""
        return link


_PARSER = _Parser("commonmark", {"html": False}).enable(["table", "strikethrough"])
_PARSER.disable(["reference", "image"])


class _Heading(Heading):
    LEVEL_ALIGN = dict.fromkeys(Heading.LEVEL_ALIGN, "left")


class _Code(CodeBlock):
    """In the terminal's own sixteen hues, which suit its background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        if code:  # before that, the name of the language may be half of one
            yield Syntax(code, self.lexer_name, theme="ansi_dark", word_wrap=True, padding=(0, 2))


class _Table(TableElement):
    """With words that go on in the next line where a column is narrow, and not cut off, and without empty edges."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for table in super().__rich_console__(console, options):
            if isinstance(table, Table):
                table.show_edge = False
                for column in table.columns:
                    column.overflow = "fold"
                yield Padding(table, (0, 1))


class _Rule(HorizontalRule):
    """With an empty line after it as every other block has one, whatever follows."""

    new_line = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style=console.get_style("markdown.hr", default="none"), characters="─")


class _Markdown(Markdown):
    elements: ClassVar = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "table_open": _Table,
        "hr": _Rule,
    }

    def __init__(self, tokens: list[Token]) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = tokens


class LiveMarkdown:
    """One text that grows, at the terminal that is standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._out: IO[str] = self._console.file
        self._source = ""  # of what is not printed for good
        self._drawn: list[str] = []  # the lines of the growing block that are on the screen
        self._widths: list[int] = []  # their cells
        self._begun = False
        self._may_draw = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def at_terminal(cls) -> LiveMarkdown | None:
        """One on standard output; None for a console of Windows that knows no control sequences."""
        made = cls()
        return None if made._console.legacy_windows else made

    def write(self, text: str) -> None:
        """More of the text. It is drawn now, or soon if it has just been drawn."""
        self._source += text
        if self._timer is not None:
            return
        wait = self._may_draw - time.monotonic()
        if wait <= 0:
            self._draw()
        else:
            self._timer = asyncio.get_running_loop().call_later(min(wait, _LONGEST), self._draw)

    def finish(self) -> None:
        """Print what there is for good; the next text begins a new block."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        done, self._source = self._source, ""
        if done.strip() or self._drawn:
            self._show(self._rendered(done), [])
        self._begun = False

    def _draw(self) -> None:
        self._timer = None
        began = time.monotonic()
        complete = _complete(self._source)
        done = self._rendered(self._source[:complete])
        if complete:
            self._source = self._source[complete:]
        growing = self._rendered(self._source, after=bool(done))
        most = max(self._console.height - 1, 1)
        self._show(done, growing[-most:])
        self._may_draw = time.monotonic() + _SHARE * (time.monotonic() - began)

    def _rendered(self, source: str, *, after: bool = False) -> list[Line]:
        """The lines of some blocks, after an empty one unless they are the first."""
        if not source.strip():
            return []
        width = self._columns()
        tokens = _tokens(source, width)
        options = self._console.options.update(width=width, height=None)
        lines = self._console.render_lines(_Markdown(tokens), options, pad=False)
        lines = [_without_margin(line) for line in lines]
        while lines and not lines[0]:
            del lines[0]
        while lines and not lines[-1]:
            del lines[-1]
        return [[], *lines] if lines and (self._begun or after) else lines

    def _columns(self) -> int:
        return max(
            self._console.width - 1, 1
        )  # a full line's cursor stands in the next line at some terminals

    def _show(self, done: list[Line], growing: list[Line]) -> None:
        """Replace what is drawn by lines that stay and lines that may change, in one write."""
        lines = self._written([*done, *growing])
        pairs = zip(lines, self._drawn, strict=False)
        same = next(
            (at for at, (new, old) in enumerate(pairs) if new != old), min(len(lines), len(self._drawn))
        )
        if same == len(lines) < len(self._drawn):
            same = max(same - 1, 0)  # so that the cursor ends behind the last line
        ends = ("\x1b[K\n", "\x1b[J") if self._drawn else ("\n", "")  # written over, and then the rest erased
        text = self._before(same) + ends[0].join(lines[same:]) + ends[1]
        if same == len(lines) == len(self._drawn):
            text = ""
        if done and not growing:
            text += "\n"
        self._begun = self._begun or bool(done)
        self._drawn = lines[len(done) :]
        self._widths = [Segment.get_line_length(line) for line in growing]
        if text:
            self._out.write(f"{_ATOMIC[0]}{text}{_ATOMIC[1]}")
            self._out.flush()

    def _before(self, kept: int) -> str:
        """What moves the cursor from the end of what is drawn to behind its first `kept` lines."""
        if not self._drawn:
            return ""
        if kept == len(self._drawn):
            return "\n"
        width = max(self._console.width, 1) if _reflows() else sys.maxsize
        rows = sum(max(1, -(-each // width)) for each in self._widths[kept:])
        up = min(rows, self._console.height) - 1
        return "\r" + (f"\x1b[{up}A" if up else "")

    def _written(self, lines: list[Line]) -> list[str]:
        """The lines with what sets their styles at this terminal."""
        whole = [each for line in lines for each in (*line, Segment.line())]
        with self._console.capture() as captured:
            self._console.print(Segments(whole), end="", crop=False)
        return captured.get().split("\n")[: len(lines)]


def _reflows() -> bool:
    """Whether the terminal wraps its lines anew when it is made narrower; xterm, rxvt and the console do not."""
    kind = os.environ.get("TERM", "")
    return "TMUX" in os.environ or not ("XTERM_VERSION" in os.environ or kind.startswith(("rxvt", "linux")))


def _complete(source: str) -> int:
    """How many characters are blocks that no further text can change: all but the last one of the whole lines."""
    lines = source[: source.rfind("\n") + 1]
    starts = [
        each.map[0] for each in _PARSER.parse(lines) if each.level == 0 and each.map and each.nesting >= 0
    ]
    if len(starts) < 2:
        return 0
    return sum(len(line) + 1 for line in lines.split("\n")[: starts[-1]])


def _tokens(source: str, width: int) -> list[Token]:
    """The blocks of a text; lines end where they were ended, and a table that is too wide is as it was written."""
    tokens: list[Token] = []
    for token in _PARSER.parse(source):
        if token.type == "table_close" and (at := _table(tokens)) is not None:
            table = tokens[at:]
            if sum(each.type == "th_open" for each in table) * _NARROWEST > width:
                first, last = table[0].map or [0, 0]
                text = "\n".join(source.split("\n")[first:last])
                tokens[at:] = [Token("fence", "code", 0, content=text)]
                continue
        if token.children:
            token.children = _inline(token.children)
        tokens.append(token)
    return tokens


def _table(tokens: list[Token]) -> int | None:
    """Where the table that ends behind these tokens begins."""
    return next((at for at in reversed(range(len(tokens))) if tokens[at].type == "table_open"), None)


def _inline(tokens: list[Token]) -> list[Token]:
    """Without links whose text is the address already, and with the line breaks that were written."""
    kept = []
    for token in tokens:
        token.content = harmless(token.content)
        if token.type == "softbreak":
            token.type = "hardbreak"
        if token.markup != "autolink":
            kept.append(token)
    return kept


def _without_margin(line: Line) -> Line:
    """A line without the spaces at its end."""
    line = list(line)
    while line and not line[-1].text.rstrip(" "):
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(" "), line[-1].style)
    return line
