"""Waiting that ends when the client is closed: between attempts, and for a place within a limit."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from brainwires_provider.errors import ConfigError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Waits", "closed"]

T = TypeVar("T")


def closed() -> ConfigError:
    """The error of a call on a client that is closed."""
    return ConfigError("this client is closed; make a new one")


class Waits:
    """What the calls of one client wait for, on any event loop."""

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises ConfigError once the client is closed."""
        from asyncio import get_running_loop

        loop = get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        try:
            await self.until(future)
        finally:
            timer.cancel()

    async def until(self, future: asyncio.Future[None]) -> None:
        """Wait until a future is done. Raises ConfigError once the client is closed."""
        self._futures.add(future)
        try:
            await future
        finally:
            self._futures.discard(future)

    def fraction(self) -> float:
        """A random number from 0 to 1."""
        from random import random

        return random()  # noqa: S311 (no secret)

    def close(self) -> None:
        """End every wait, on whatever loop it is."""
        for future in list(self._futures):
            with suppress(RuntimeError):  # its loop is closed: nobody waits there
                future.get_loop().call_soon_threadsafe(_fail, future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(closed())
