"""Base classes of the framings: the size limit, deferred errors, and the byte order mark.

The messages before a broken one must be returned wherever the chunks begin and end. So if one chunk contains both,
`feed` returns the messages, and the next call raises. A framing that has failed stays failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from brainwires_provider.errors import FramingError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage

__all__ = ["Reader", "TextReader"]

_BOM = b"\xef\xbb\xbf"


class Reader(ABC):
    """A framing whose subclass implements `_read` and `_end`, which may raise FramingError at any point."""

    __slots__ = ("_failure", "_limit")

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        self._limit = max_message
        self._failure: FramingError | None = None

    def feed(self, chunk: bytes) -> list[WireMessage]:
        """Read the next bytes, and return the messages that they complete.

        Raises FramingError if one message exceeds the limit or is broken, after the messages before it have been
        returned.
        """
        if self._failure is not None:
            raise self._failure
        messages: list[WireMessage] = []
        try:
            self._read(chunk, messages)
        except FramingError as error:
            self._failure = error
            if not messages:
                raise
        return messages

    def finish(self) -> tuple[list[WireMessage], bool]:
        """End the stream. Returns a last message that lacked only its terminator, and whether the end was clean.

        Raises FramingError if `feed` deferred one.
        """
        if self._failure is not None:
            raise self._failure
        return self._end()

    @abstractmethod
    def _read(self, chunk: bytes, messages: list[WireMessage]) -> None:
        """Append the messages that `chunk` completes."""

    @abstractmethod
    def _end(self) -> tuple[list[WireMessage], bool]:
        """Return what `finish` returns, and clear the buffers."""

    def _check(self, size: int, what: str) -> None:
        if size > self._limit:
            raise FramingError(
                f"{what} is over the limit of {self._limit} bytes. Raise the limit with max_event_bytes if "
                "the provider really sends so much at once; otherwise the response is not of the expected format."
            )


class TextReader(Reader):
    """A reader of text, which may begin with a byte order mark."""

    __slots__ = ("_head",)

    def __init__(self, max_message: int = DEFAULT_MAX_MESSAGE) -> None:
        super().__init__(max_message)
        self._head: bytes | None = b""  # the first bytes while they may yet become a mark; None thereafter

    def feed(self, chunk: bytes) -> list[WireMessage]:
        """See `Reader.feed`."""
        return super().feed(chunk if self._head is None else self._past_bom(chunk))

    def _past_bom(self, chunk: bytes) -> bytes:
        assert self._head is not None
        head = self._head + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _leftover_head(self) -> bytes:
        head, self._head = self._head, None
        return head or b""
