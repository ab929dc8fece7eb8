"""A synchronous run: each batch of events is one call of the asynchronous run on the portal.

Synchronous tools and approvals run on threads of their own, and may use the client; asynchronous ones run on the
portal's thread.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Generic, Self

from brainwires_provider.events import RunEvent
from brainwires_provider.runs.run import AsyncRun
from brainwires_provider.sync.stream import Owner
from brainwires_provider.types import Attempt, Cost, Message, Response, ToolCallPart, Usage
from brainwires_provider.types.responses import O_co
from brainwires_provider.types.runs import RunEnd

__all__ = ["Run"]


class Run(Generic[O_co]):
    """Asks a model, runs the tools that it calls, and sends their results back, until it answers. Made by `run`.

    Iterate it for the events, call `run.result()`, or both. Iterating raises every ProviderError, and what `approve`,
    `until` and `requires_approval` raise; what a tool raises is a result. Ctrl-C, or leaving its `with`, ends the
    asynchronous tools first. A tool that is a coroutine function cannot use this client: that raises RuntimeError.
    """

    def __init__(self, core: AsyncRun[O_co], client: Owner) -> None:
        self._core = core
        self._client = client  # a client that is dropped closes its connections
        self._buffer: deque[RunEvent] = deque()

    @property
    def messages(self) -> list[Message]:
        """The history, the input included: at any moment one that every provider takes, and that can be stored.

        A call without a result yet has a text in its place. Passed to `run` again, with `verdicts`, the calls that
        waited for an approval are run; those with a result are not.
        """
        return self._core.messages

    @property
    def pending(self) -> tuple[ToolCallPart, ...]:
        """The calls that wait for an approval."""
        return self._core.pending

    @property
    def response(self) -> Response[O_co] | None:
        """The model's last response; None before there is one."""
        return self._core.response

    @property
    def why(self) -> RunEnd | None:
        """Why the run has ended; None before its end, and after a failure."""
        return self._core.why

    @property
    def usage(self) -> Usage:
        """The tokens of all responses so far, and of their failed attempts."""
        return self._core.usage

    @property
    def cost(self) -> Cost | None:
        """The sum of the responses' costs; see `Response.cost`."""
        return self._core.cost

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts that failed, in order."""
        return self._core.attempts

    # -- reading -------------------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> RunEvent:
        if not self._buffer:
            self._buffer.extend(self._client._share.call(self._core.pull))
            if not self._buffer:
                raise StopIteration
        return self._buffer.popleft()

    def result(self) -> Response[O_co]:
        """Go on to the end, and give the model's last response; `why` states which end it was.

        Raises RuntimeError if there is no response: the calls of the input still wait for an approval.
        """
        self._buffer.clear()
        return self._client._share.call(self._core.result)

    def close(self) -> None:
        """Leave: what runs is cancelled."""
        self._buffer.clear()
        self._client._share.call(self._core.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
