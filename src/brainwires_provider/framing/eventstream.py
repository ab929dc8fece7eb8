"""AWS event stream framing: `application/vnd.amazon.eventstream`, binary messages with two checksums.

A message is a prelude (its length, its headers' length, a CRC-32 of these two), the headers, the payload,
and a CRC-32 of everything before. The prelude is checked as soon as it has arrived, so a damaged length never
causes a wait for bytes that do not arrive, or a large buffer.
Reference: AWS, "Event stream encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from struct import Struct as Layout
from typing import ClassVar
from uuid import UUID
from zlib import crc32

from brainwires_provider.errors import FramingError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage
from brainwires_provider.framing.reader import Reader

__all__ = ["EventStreamFraming", "EventStreamMessage", "HeaderValue"]

HeaderValue = bool | int | bytes | str | UUID
"""A header's value. Integers of every width are int; a timestamp is int too, in milliseconds since 1970."""

_PRELUDE = Layout(">III")
_CRC = Layout(">I")
_OVERHEAD = _PRELUDE.size + _CRC.size


class EventStreamMessage(WireMessage, frozen=True, gc=False, kw_only=True):
    """One message: its payload, its headers, and as `event` its `:event-type`.

    An exception or error has no `:event-type`: `headers[":message-type"]` says "exception" or "error", and
    `:exception-type`, or `:error-code` and `:error-message`, say which.
    """

    headers: dict[str, HeaderValue]


class EventStreamFraming(Reader):
    """Reads one AWS event stream. The limit counts a message's whole length.

    Raises FramingError for a wrong checksum, lengths that contradict each other, and headers that cannot
    be read.
    """

    media_type: ClassVar[str] = "application/vnd.amazon.eventstream"
    __slots__ = ("_buffer", "_total")

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        super().__init__(max_message)
        self._buffer = bytearray()
        self._total = 0  # the length of the message at the buffer's start, 0 while unknown

    def _read(self, chunk: bytes, messages: list[WireMessage]) -> None:
        self._buffer += chunk
        start = 0
        try:
            while len(self._buffer) - start >= (self._total or _PRELUDE.size):
                if not self._total:
                    self._total = self._checked_total(start)
                    continue
                end = start + self._total
                messages.append(_message(bytes(self._buffer[start:end])))
                start, self._total = end, 0
        finally:
            del self._buffer[:start]

    def _checked_total(self, start: int) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        head = bytes(self._buffer[start : start + _PRELUDE.size])
        if crc32(head[: -_CRC.size]) != checksum:
            raise FramingError(
                f"Not an AWS event stream, or damaged on its way: the prelude {head!r} has a wrong checksum. "
                "Check whether the service, or a proxy before it, answered in another format."
            )
        if total < _OVERHEAD + headers:
            raise FramingError(
                f"A broken AWS event stream message: {total} bytes cannot hold {headers} bytes of headers."
            )
        self._check(total, "One AWS event stream message")
        return int(total)

    def _end(self) -> tuple[list[WireMessage], bool]:
        clean = not self._buffer
        self._buffer.clear()
        return [], clean


def _message(message: bytes) -> EventStreamMessage:
    body, checksum = message[: -_CRC.size], message[-_CRC.size :]
    if _CRC.pack(crc32(body)) != checksum:
        raise FramingError(
            f"An AWS event stream message of {len(message)} bytes was damaged on its way: wrong checksum. "
            "Send the request again."
        )
    payload = _PRELUDE.size + _PRELUDE.unpack_from(body)[1]
    headers = _headers(body[_PRELUDE.size : payload])
    event = headers.get(":event-type")
    return EventStreamMessage(body[payload:], event if isinstance(event, str) else None, headers=headers)


def _headers(block: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(block):
            kind_at = at + 1 + block[at]
            name = block[at + 1 : kind_at].decode()
            kind = block[kind_at]
            if kind >= len(_VALUES):
                raise ValueError(f"unknown type {kind}")
            headers[name], at = _VALUES[kind](block, kind_at + 1)
    except (IndexError, struct.error, ValueError) as error:
        raise FramingError(
            f"A broken AWS event stream message: its headers cannot be read ({error})."
        ) from None
    return headers


_Value = Callable[[bytes, int], tuple[HeaderValue, int]]


def _constant(value: bool) -> _Value:
    return lambda block, at: (value, at)


def _integer(layout: Layout) -> _Value:
    return lambda block, at: (layout.unpack_from(block, at)[0], at + layout.size)


def _bytes(block: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    end = start + int.from_bytes(block[at:start])
    return _slice(block, start, end), end


def _string(block: bytes, at: int) -> tuple[str, int]:
    value, end = _bytes(block, at)
    return value.decode(), end


def _uuid(block: bytes, at: int) -> tuple[UUID, int]:
    end = at + 16
    return UUID(bytes=_slice(block, at, end)), end


def _slice(block: bytes, start: int, end: int) -> bytes:
    if end > len(block):
        raise ValueError(f"a value ends {end - len(block)} bytes after them")
    return block[start:end]


_VALUES: tuple[_Value, ...] = (
    _constant(True),
    _constant(False),
    _integer(Layout(">b")),
    _integer(Layout(">h")),
    _integer(Layout(">i")),
    _integer(Layout(">q")),
    _bytes,
    _string,
    _integer(Layout(">q")),
    _uuid,
)
"""How to read a value, by the number of its type: each gives the value and where it ends."""
