"""What happens when a client or a stream is dropped without being closed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Protocol

__all__ = ["abandon", "warn_dropped"]


class _Connections(Protocol):
    def abandon(self) -> bool: ...


class _Made(Protocol):
    made_at: str


def abandon(held: Iterable[_Connections | None], client: _Made) -> None:
    """Close the connections of a client that was dropped."""
    were_open = [each.abandon() for each in held if each is not None]  # first: a warning may be made an error
    if any(were_open):
        words = "dropped with open connections; use `async with`, or `await client.aclose()`"
        warn_dropped("a client", client.made_at, words, client)


def warn_dropped(what: str, made_at: str, words: str, source: object) -> None:
    """Warn about an object whose finalizer calls this."""
    warnings.warn(f"{what} made at {made_at} was {words}", ResourceWarning, source=source, stacklevel=3)
