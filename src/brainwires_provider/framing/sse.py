"""SSE framing: splits a `text/event-stream` body into events, by WHATWG's HTML standard, "Server-sent events".

It works on bytes, since `str.splitlines` splits within JSON texts. CR and CRLF are replaced by LF, which loses
nothing, since no SSE line can contain them. Complete events of the two usual forms are cut directly out of the chunk.
Other lines are processed one at a time; an unterminated one is kept in a buffer that is not searched again, so that
the cost stays linear.
"""

from __future__ import annotations

from typing import ClassVar

from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage
from brainwires_provider.framing.reader import TextReader

__all__ = ["SSEFraming"]

_CR, _LF = b"\r\n"


class SSEFraming(TextReader):
    """Reads one SSE stream. The limit counts an event's `data` and `event` lines, field names included.

    At the end of the stream, a last line without its line end counts as a line, and an event without its empty line
    is returned, since some servers omit these. JSON without a field name, as gateways insert for errors, is an event
    too. `finish` then returns False for the clean end: only the protocol can decide that `data: [DONE]` is complete
    and `data: {"a":` was cut off.
    """

    media_type: ClassVar[str] = "text/event-stream"
    __slots__ = ("_after_cr", "_between", "_data", "_event", "_held", "_line", "_odd", "_raw")

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        super().__init__(max_message)
        self._between = True  # after an empty line, or at the start
        self._odd = True  # at the start, or after a CR: the next bytes may have to be dropped
        self._after_cr = False
        self._line = bytearray()  # the unterminated line
        self._data = bytearray()  # the open event's data lines, each with its LF
        self._event = b""
        self._raw = False  # the open event is JSON without a field name
        self._held = 0  # bytes in the open event's lines

    def feed(self, chunk: bytes) -> list[WireMessage]:
        """Return the messages that are complete with this chunk."""
        # Nearly every chunk of a live stream is exactly one event of a usual form, which this handles quickly.
        if (
            self._between
            and not self._odd
            and chunk[-2:] == b"\n\n"
            and _CR not in chunk
            and len(chunk) <= self._limit
            and (message := _usual_event(chunk[:-2])) is not None
        ):
            return [message]
        return super().feed(chunk)

    def _read(self, chunk: bytes, messages: list[WireMessage]) -> None:
        if self._odd or _CR in chunk:
            chunk = self._normalised(chunk)
        start, size = 0, len(chunk)
        while start < size:
            if self._between and size <= self._limit:
                start = _cut_usual_events(chunk, start, messages)
                if start == size:
                    break
            self._between = False
            end = chunk.find(b"\n", start)
            if end < 0:
                self._line += chunk[start:]
                self._check(self._held + len(self._line), "One SSE event")
                break
            self._line += chunk[start:end]
            self._end_line(messages)
            start = end + 1

    def _end(self) -> tuple[list[WireMessage], bool]:
        messages: list[WireMessage] = []
        self._line += self._leftover_head()
        clean = not (self._held or self._line)
        self._end_line(messages)
        self._end_line(messages)
        return messages, clean

    def _normalised(self, chunk: bytes) -> bytes:
        if not chunk:
            return chunk
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")
        self._odd = self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _end_line(self, messages: list[WireMessage]) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line:
            self._dispatch(messages)
            return
        self._check(self._held + len(line), "One SSE event")
        field, _, value = line.partition(b":")
        if self._raw and field not in (b"data", b"event"):
            self._data += line + b"\n"
        elif field == b"data":
            self._data += value.removeprefix(b" ")
            self._data += b"\n"
        elif field == b"event":
            self._event = value.removeprefix(b" ")
        elif line[:1] in (b"{", b"[") and not self._data:
            self._raw = True
            self._data += line + b"\n"
        else:
            return
        self._held += len(line) + 1

    def _dispatch(self, messages: list[WireMessage]) -> None:
        if self._data:
            name = self._event.decode("utf-8", "replace") or None
            messages.append(WireMessage(bytes(self._data[:-1]), name))
        self._data.clear()
        self._event = b""
        self._raw = False
        self._held = 0
        self._between = True


def _cut_usual_events(chunk: bytes, start: int, messages: list[WireMessage]) -> int:
    """Cut usual events out of the chunk from `start` on; returns where they end."""
    while (end := chunk.find(b"\n", start)) >= 0:  # one byte is found many times faster than two
        if chunk[start : start + 7] == b"event: ":
            end = chunk.find(b"\n", end + 1)
        if chunk[end : end + 2] != b"\n\n" or (message := _usual_event(chunk[start:end])) is None:
            break
        messages.append(message)
        start = end + 2
    return start


def _usual_event(lines: bytes) -> WireMessage | None:
    """Read an event of one data line, with an event line before it or not; None if it is any other."""
    if lines[:6] == b"data: ":
        data = lines[6:]
        return None if _LF in data else WireMessage(data)
    if lines[:7] == b"event: ":
        name, _, data = lines[7:].partition(b"\ndata: ")
        if data and _LF not in name and _LF not in data:
            return WireMessage(data, name.decode("utf-8", "replace") or None)
    return None
