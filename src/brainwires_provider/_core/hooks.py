"""A client's hooks: functions of the user that see each call, sync or async, and cannot break one.

What a hook raises is logged, and no call waits for an async hook: it runs as a task, and closing the client waits for
it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from brainwires_provider.errors import ProviderError
from brainwires_provider.types import PreparedRequest, Response

if TYPE_CHECKING:
    import asyncio

__all__ = ["CallInfo", "ErrorHook", "Hooks", "RequestHook", "ResponseHook"]

_CLOSING_SECONDS = 5.0


class CallInfo(Struct, frozen=True, gc=False):
    """One call, as a hook sees it."""

    id: int
    """The call's number in this process; the same in all hooks, and for all attempts."""
    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str
    """The requested model, as in `"provider:model"`."""
    is_stream: bool
    """Whether the response is read as a stream."""
    show: Callable[[], PreparedRequest]
    """Makes `request`, once for each model that the call asks."""
    attempt: int = 1
    """The number of the attempt, from 1: the one that begins, or the last."""
    seconds: float = 0.0
    """Since the call began."""

    @property
    def request(self) -> PreparedRequest:
        """The request as it was encoded, secrets redacted; made when it is looked at, since most hooks do not.

        Where it continues an answer that the provider holds, less of it is sent.
        """
        return self.show()


RequestHook: TypeAlias = Callable[[CallInfo], Awaitable[None] | None]
ResponseHook: TypeAlias = Callable[[CallInfo, Response | None], Awaitable[None] | None]
ErrorHook: TypeAlias = Callable[[CallInfo, ProviderError], Awaitable[None] | None]


class Hooks:
    """The hooks of one client."""

    def __init__(
        self,
        on_request: RequestHook | None = None,
        on_response: ResponseHook | None = None,
        on_error: ErrorHook | None = None,
    ) -> None:
        self.on_request = on_request
        self.on_response = on_response
        self.on_error = on_error
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, name: str, *args: Any) -> None:
        """Call a hook, on the event loop of its call."""
        hook: Callable[..., Any] | None = getattr(self, name)
        if hook is None:
            return
        try:
            result = hook(*args)
            if hasattr(result, "__await__"):
                self._run(name, result)
        except Exception:  # noqa: BLE001
            _report(name)

    def _run(self, name: str, awaitable: Awaitable[None]) -> None:
        import asyncio

        async def guarded() -> None:
            try:
                await awaitable
            except Exception:  # noqa: BLE001
                _report(name)

        task = asyncio.get_running_loop().create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait for the async hooks of this event loop, five seconds at most."""
        if not self._tasks:
            return  # perhaps outside of any loop: a client that was never used
        import asyncio

        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        own = [task for task in list(self._tasks) if task.get_loop() is loop and task is not current]
        if own:
            _, late = await asyncio.wait(own, timeout=_CLOSING_SECONDS)
            for task in late:
                task.cancel()


def _report(name: str) -> None:
    import logging

    logging.getLogger("brainwires_provider").warning("the hook %s raised an exception", name, exc_info=True)
