"""An answer as it comes: the asynchronous stream that users iterate.

Nothing happens before it is entered or iterated. It has one consumer, and closes at its end, at an error, when its
`async with` is left, and, with a ResourceWarning that names the line that made it, when it is dropped.
"""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from brainwires_provider._core.plan import Plan
from brainwires_provider._core.session import Session
from brainwires_provider.errors import ConfigError
from brainwires_provider.events import Collector, Event, TextDelta
from brainwires_provider.protocols.base.protocol import Call, Decoder
from brainwires_provider.providers import Target
from brainwires_provider.types import Report, Response, Timeouts

if TYPE_CHECKING:
    import asyncio

__all__ = ["AsyncStream", "Cut", "call_site"]

_HERE = str(Path(__file__).parent.parent)


def call_site() -> str:
    """The file and line of the nearest caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Cut(NamedTuple):
    """What a stream that was left before its end leaves behind, so that another goes on exactly there."""

    decoder: Decoder
    collector: Collector
    undelivered: tuple[Event, ...]
    """What had been decoded, and nobody took."""
    target: Target
    report: Report
    timeouts: Timeouts
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, str] | None

    def plan(self, call: Call) -> Plan:
        """The streamed request that goes on, sent as the first one was."""
        return Plan(self.target, call, self.report, self.timeouts, True, self.extra_headers, self.extra_query)


class AsyncStream(AsyncIterator[Event]):
    """The events of one answer. Made by `AsyncClient.stream`.

    Iterating raises every ProviderError; what had arrived stays in `partial`.
    """

    def __init__(self, plan: Plan, session: Session, cut: Cut | None = None) -> None:
        self._plan = plan
        self._sending = session.send(plan, cut.decoder if cut else None)
        self.made_at = call_site()
        self._buffer: deque[Event] = deque(cut.undelivered if cut else ())
        self._collector = cut.collector if cut else Collector()
        self._left: tuple[Event, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._taken_over = False
        self._when_whole: Callable[[Response], None] | None = None

    def when_whole(self, hook: Callable[[Response], None]) -> None:
        """Call `hook` with the answer once its consumer has come to its end."""
        self._when_whole = hook

    # -- reading -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Send the request, and wait for the answer's first events."""
        await self._fill()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._buffer:
            await self._fill()
            if not self._buffer:
                raise StopAsyncIteration
        return self._buffer.popleft()

    async def _fill(self) -> None:
        """The next batch into the buffer; it stays empty once the answer has ended."""
        self._buffer.extend(await self.pull())

    async def pull(self) -> list[Event]:
        """The next events as one batch, at least one; none once the answer has ended.

        For those who hand events on in bulk; plain iteration gives the same events one by one.
        """
        if self._buffer:
            batch = list(self._buffer)
            self._buffer.clear()
            return batch
        if self._ended:
            return []
        if self._loop is None:
            from asyncio import get_running_loop

            self._loop = get_running_loop()
        try:
            batch = await self._sending.pull()
        except BaseException:
            self._ended = True
            raise
        if not batch:
            self._ended = True
            self._tell_if_whole()
        self._collector.feed_all(batch)
        return batch

    def _tell_if_whole(self) -> None:
        """The answer has ended, and its consumer has taken the last of it."""
        if self._collector.end is not None and not self._buffer and self._when_whole is not None:
            hook, self._when_whole = self._when_whole, None
            hook(self.response)

    async def text_stream(self) -> AsyncIterator[str]:
        """Only the text, fragment by fragment."""
        async for event in self:
            if type(event) is TextDelta:
                yield event.text

    async def collect(self) -> Response:
        """Read on to the end, and give the whole answer."""
        self._buffer.clear()
        while await self.pull():
            pass
        return self.response

    # -- what there is -----------------------------------------------------------------------------------

    @property
    def partial(self) -> Response:
        """What has arrived, at any moment; once the answer has ended, the whole of it."""
        if self._collector.end is not None:
            return self._sending.finished(self._collector)
        return self._sending.partial()

    @property
    def response(self) -> Response:
        """The whole answer. Raises RuntimeError before its end; `partial` is there at any moment."""
        if self._collector.end is None:
            raise RuntimeError("the answer has not ended: iterate to its end first, or use .partial")
        return self._sending.finished(self._collector)

    # -- leaving -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Leave. After the answer's end the connection is kept for the next request, before it is dropped."""
        self._ended = True
        self._tell_if_whole()
        self._left += tuple(self._buffer)
        self._buffer.clear()
        await self._sending.leave()

    def abort(self) -> None:
        """Leave now, without waiting. On the stream's own event loop only."""
        self._ended = True
        self._sending.abort()

    def _cut(self) -> Cut:
        """What is left; it holds neither the request's body nor the exchange."""
        plan = self._plan
        return Cut(
            self._sending.decoder,
            self._collector,
            (*self._left, *self._buffer, *self._sending.attempt.held),
            plan.target,
            plan.report,
            plan.timeouts,
            plan.extra_headers,
            plan.extra_query,
        )

    def _take_over(self) -> Cut:
        """Let another stream go on with this one's answer. Raises ConfigError while it runs, and a second time."""
        if not self._ended:
            raise ConfigError(
                "leave a stream before it is resumed: end its `async with`, or `await stream.aclose()`"
            )
        if self._taken_over:
            raise ConfigError("this stream was resumed before: resume the one that went on with it")
        self._taken_over = True
        return self._cut()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is None or self._sending.ended or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._sending.abort)  # first: a warning may be made an error
        warnings.warn(
            f"a stream made at {self.made_at} was dropped unread; use `async with`, or read it to its end",
            ResourceWarning,
            source=self,
            stacklevel=2,
        )
