"""What happens when a client, a stream or a call is dropped without being closed.

The garbage collector ends them: in any thread, at any moment, also while that thread holds a lock or iterates over a
set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["abandon", "leave_by", "soon", "warn_dropped"]


class _Connections(Protocol):
    def abandon(self) -> bool: ...


class _Call(Protocol):
    def abort(self) -> None: ...
    def drop(self) -> None: ...


class _Made(Protocol):
    made_at: str


def abandon(held: Iterable[_Connections | None], client: _Made) -> None:
    """Close the connections of a client that was dropped."""
    were_open = [each.abandon() for each in held if each is not None]  # first: a warning may be made an error
    if any(were_open):
        words = "dropped with open connections; use `async with`, or `await client.aclose()`"
        warn_dropped("a client", client.made_at, words, client)


def leave_by(call: _Call, error: BaseException) -> None:
    """Leave a call because of an error. GeneratorExit means that nobody holds the call any more."""
    if isinstance(error, GeneratorExit):
        call.drop()
    else:
        call.abort()


def soon(loop: asyncio.AbstractEventLoop | None, work: Callable[[], object]) -> None:
    """Have a loop do something, from any thread. Nothing happens if it is closed: its connections are gone."""
    if loop is not None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work)


def warn_dropped(what: str, made_at: str, words: str, source: object) -> None:
    """Warn about an object whose finalizer calls this."""
    warnings.warn(f"{what} made at {made_at} was {words}", ResourceWarning, source=source, stacklevel=3)
