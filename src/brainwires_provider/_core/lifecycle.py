"""A client's life: the event loop that it needs, the line that made it, and what happens when it is dropped."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from brainwires_provider.errors import ConfigError

__all__ = ["abandon", "call_site", "running_loop", "warn_dropped"]

_HERE = str(Path(__file__).parent.parent)


def running_loop() -> asyncio.AbstractEventLoop:
    """The running event loop. Raises ConfigError where there is none, or one of another kind."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "the asynchronous client runs in an asyncio event loop, and none runs here; under trio, run the program "
            'with anyio.run(main, backend="asyncio"), or call the synchronous client in a thread: '
            "await anyio.to_thread.run_sync(client.chat, …)"
        ) from None


class _Connections(Protocol):
    def abandon(self) -> bool: ...


class _Made(Protocol):
    made_at: str


def call_site() -> str:
    """The file and line of the nearest caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def abandon(held: Iterable[_Connections | None], client: _Made) -> None:
    """Close the connections of a client that was dropped."""
    were_open = [each.abandon() for each in held if each is not None]  # first: a warning may be made an error
    if any(were_open):
        words = "dropped with open connections; use `async with`, or `await client.aclose()`"
        warn_dropped("a client", client.made_at, words, client)


def warn_dropped(what: str, made_at: str, words: str, source: object) -> None:
    """Warn about an object whose finalizer calls this."""
    warnings.warn(f"{what} made at {made_at} was {words}", ResourceWarning, source=source, stacklevel=3)
