"""What a framing is: bytes in, whole messages out.

A framing is pure and knows nothing of what the bytes mean. It is fed chunks cut anywhere, and gives the
same messages for every cut.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from msgspec import Struct

__all__ = ["DEFAULT_MAX_MESSAGE", "Framing", "WireMessage"]

DEFAULT_MAX_MESSAGE = 64 * 1024 * 1024
"""The largest single message that a framing accepts, in bytes, unless told otherwise."""


class WireMessage(Struct, frozen=True, gc=False):
    """One message: its payload, and the name that the framing gave it (SSE's `event`), if any."""

    data: bytes
    event: str | None = None


class Framing(Protocol):
    """Cuts a byte stream into messages. One object reads one stream."""

    media_type: ClassVar[str]
    """The media type of a body in this framing: what a request asks for by `Accept`."""

    def feed(self, chunk: bytes) -> list[WireMessage]:
        """Take the next bytes; give the messages that they complete.

        Raises FramingError when one message exceeds the limit.
        """
        ...

    def finish(self) -> tuple[list[WireMessage], bool]:
        """The stream has ended: give what was complete but unterminated, and whether it *was* terminated.

        The flag is False when bytes of an unfinished message were left, so that the caller can tell a
        clean end from a cut.
        """
        ...
