"""Runs what may block in a thread of its own, which nobody waits for at the interpreter's exit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import copy_context
from inspect import isawaitable, iscoroutinefunction
from threading import Thread
from typing import Any

__all__ = ["awaited", "call_anywhere"]


async def call_anywhere(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns: a coroutine function runs on the event loop, any other in a thread.

    A thread cannot be stopped: when the caller is cancelled it runs on, and what it returns is discarded.
    """
    if iscoroutinefunction(function) or iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        value = function(*args, **kwargs)
    else:
        value = await _in_thread(function, args, kwargs)
    return await awaited(value)


async def awaited(value: Any) -> Any:
    """What a function has returned that may be a coroutine function."""
    return await value if isawaitable(value) else value


async def _in_thread(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    loop, context = asyncio.get_running_loop(), copy_context()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def deliver(value: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((value, error))

    def work() -> None:
        value, failed = None, None
        try:
            value = context.run(function, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001 (it is raised below, whatever it is)
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(deliver, value, failed)

    Thread(target=work, name="brainwires-tool", daemon=True).start()
    value, error = await done
    if error is not None:
        raise error
    return value
