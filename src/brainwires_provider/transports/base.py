"""What a wire is: it opens one exchange for one request, and knows nothing of what the bytes mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from brainwires_provider.types import Attempt

__all__ = ["Exchange", "Outgoing", "Wire"]


class Outgoing(Struct, frozen=True, gc=False):
    """One request, final to the byte. Its headers hold the key: never show one of these."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout: float | None = None

    def __repr__(self) -> str:
        return f"Outgoing({self.method} {self.url.partition('?')[0]}, {len(self.body)} bytes)"


class Exchange(Protocol):
    """One answer under way: its head has arrived, its body is read chunk by chunk."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    attempts: tuple[Attempt, ...]
    """Tries that this exchange replaced."""

    @property
    def ended(self) -> bool:
        """Whether the body is known to be read to its end; `read` gives nothing more then."""
        ...

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end. Raises StreamInterrupted when the body is cut."""
        ...

    def abort(self) -> None:
        """Drop the connection now; a waiting `read` raises. May be called at any time, more than once."""
        ...

    def release(self) -> None:
        """Done: the connection is reused if the body was read to its end, dropped if not."""
        ...


class Wire(Protocol):
    """A way to a provider."""

    async def open(self, outgoing: Outgoing) -> Exchange:
        """Send, and wait for the answer's head. Raises ConnectError, RequestTimeout (connect), TransportError."""
        ...

    async def aclose(self) -> None:
        """Close this event loop's connections."""
        ...
