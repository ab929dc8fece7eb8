"""The interface of a framing, which splits a byte stream into messages.

A framing does no I/O and does not interpret the messages. It accepts chunks of any size, and returns the same messages
wherever the chunks begin and end.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from msgspec import Struct

__all__ = ["DEFAULT_MAX_MESSAGE", "DEFAULT_MAX_PARTS", "Framing", "WireMessage"]

DEFAULT_MAX_MESSAGE = 64 * 1024 * 1024
"""The largest single message that a framing accepts, in bytes, unless another limit is given."""
DEFAULT_MAX_PARTS = 10_000
"""The most parts that an answer may have, unless another limit is given."""


class WireMessage(Struct, frozen=True, gc=False):
    """One message: its payload, and its name if the framing has names (`event` in SSE)."""

    data: bytes
    event: str | None = None


class Framing(Protocol):
    """Splits a byte stream into messages. One object reads one stream."""

    media_type: ClassVar[str]
    """The media type of a body in this framing: what a request asks for by `Accept`."""

    def feed(self, chunk: bytes) -> list[WireMessage]:
        """Read the next bytes, and return the messages that they complete.

        Raises FramingError if one message exceeds the limit.
        """
        ...

    def finish(self) -> tuple[list[WireMessage], bool]:
        """End the stream. Returns a last message that lacked only its terminator, and whether the end was clean.

        The end is not clean if an unfinished message was left, so that the caller can recognise a stream that was cut
        off.
        """
        ...
