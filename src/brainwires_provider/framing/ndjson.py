"""NDJSON framing: one JSON text per line.

Lines end with LF only, since a JSON text may contain the other characters that some definitions treat as line ends. A
CR before the LF is removed, and blank lines are ignored.
"""

from __future__ import annotations

from typing import ClassVar

from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage
from brainwires_provider.framing.reader import TextReader

__all__ = ["NDJSONFraming"]


class NDJSONFraming(TextReader):
    """Reads one NDJSON stream. The limit counts a line's bytes without its LF.

    A last line without LF is returned by `finish`, with False for the clean end: many writers omit the last LF, but
    the line may also have been cut off.
    """

    media_type: ClassVar[str] = "application/x-ndjson"
    __slots__ = ("_line",)

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        super().__init__(max_message)
        self._line = bytearray()  # the unterminated line

    def _read(self, chunk: bytes, messages: list[WireMessage]) -> None:
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._line += piece
            self._end_line(messages)
        self._line += rest
        self._check(len(self._line), "One NDJSON line")

    def _end(self) -> tuple[list[WireMessage], bool]:
        messages: list[WireMessage] = []
        self._line += self._leftover_head()
        self._end_line(messages)
        return messages, not messages

    def _end_line(self, messages: list[WireMessage]) -> None:
        self._check(len(self._line), "One NDJSON line")
        line = bytes(self._line)
        self._line.clear()
        if line and not line.isspace():
            messages.append(WireMessage(line.removesuffix(b"\r")))
