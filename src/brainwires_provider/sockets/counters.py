"""What went over sockets, counted: the public figures of a client's WebSocket traffic."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

__all__ = ["Counters", "SocketCounts"]


class SocketCounts(Struct, frozen=True):
    """A client's WebSocket traffic so far."""

    whole: int = 0
    """Requests that carried the whole history."""
    delta: int = 0
    """Requests that carried only what the server had not seen."""
    connected: int = 0
    """Connections opened."""
    reconnected: int = 0
    """Requests sent again because their connection had died, or had reached its limit, before they began."""
    recovered: int = 0
    """Requests sent again whole, because the server no longer held what they continued."""
    fell_back: int = 0
    """Requests that went over HTTP instead."""
    rotated: int = 0
    """Connections replaced because of their age."""
    abandoned: int = 0
    """Answers left before their end."""
    stale: int = 0
    """Events that belonged to no request under way, and were passed over."""
    misses: Mapping[str, int] = field(default_factory=dict)
    """Why requests went whole, by the kind of reason."""


class Counters:
    """The same, while it counts."""

    def __init__(self) -> None:
        self.whole = self.delta = self.connected = self.reconnected = self.recovered = 0
        self.fell_back = self.rotated = self.abandoned = self.stale = 0
        self.misses: dict[str, int] = {}

    def missed(self, code: str) -> None:
        """A request went whole for this kind of reason."""
        self.misses[code] = self.misses.get(code, 0) + 1

    def snapshot(self) -> SocketCounts:
        """The figures as they stand."""
        return SocketCounts(**{**vars(self), "misses": dict(self.misses)})
