"""An answer as it comes: the asynchronous stream that users iterate.

Nothing happens before it is entered or iterated. It has one consumer, and closes at its end, at an error, when its
`async with` is left, and, with a ResourceWarning that names the line that made it, when it is dropped.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self

from brainwires_provider._core.lifecycle import warn_dropped
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.session import Session
from brainwires_provider.errors import ConfigError, InvalidRequestError, OutputInvalid
from brainwires_provider.events import Event, ResponseEnd, TextDelta
from brainwires_provider.protocols.base.protocol import Call, Decoder
from brainwires_provider.providers import Target
from brainwires_provider.types import Report, Response, Timeouts
from brainwires_provider.types.responses import O_co

if TYPE_CHECKING:
    from brainwires_provider._core.partials import Partials

__all__ = ["AsyncStream", "Cut", "call_site", "partials_of"]

_HERE = str(Path(__file__).parent.parent)


class Cut(NamedTuple):
    """What a stream that was left before its end leaves behind, so that another goes on exactly there."""

    decoder: Decoder
    end_event: ResponseEnd | None
    undelivered: tuple[Event, ...]
    """What had been decoded, and nobody took."""
    target: Target
    report: Report
    timeouts: Timeouts
    extra_headers: Mapping[str, str] | None
    extra_query: Mapping[str, str] | None

    def plan(self, call: Call) -> Plan:
        """The streamed request that goes on, sent as the first one was."""
        headers, query = self.extra_headers, self.extra_query
        return Plan(self.target, call, self.report, self.timeouts, True, headers, query, uses="nothing")


def partials_of(expected: Any) -> Partials:
    """What `partial_output` gives its events to. Raises TypeError for a stream without a type."""
    if expected is None:
        raise TypeError("partial_output() needs a stream with output=…, a type")
    partials: Partials = expected.partials()
    return partials


def call_site() -> str:
    """The file and line of the nearest caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class AsyncStream(AsyncIterator[Event], Generic[O_co]):
    """The events of one answer. Made by `AsyncClient.stream`; `AsyncStream[T]` where `output=T` asked for a type.

    Iterating raises every ProviderError; what had arrived stays in `partial`. An answer that is not of its type raises
    OutputError at its end.
    """

    def __init__(self, plan: Plan, session: Session, cut: Cut | None = None) -> None:
        self._plan = plan
        self._session = session
        self._sending = session.send(plan, cut.decoder, cut.end_event) if cut else session.send(plan)
        self.made_at = call_site()
        self._buffer: list[Event] = (
            list(cut.undelivered[::-1]) if cut else []
        )  # in reverse: taken from its end
        self._left: tuple[Event, ...] = ()
        self._ended = False
        self._taken_over = False
        self._when_whole: Callable[[Response], None] | None = None
        self._typed: Response[Any] | None = None

    def when_whole(self, hook: Callable[[Response], None]) -> None:
        """Call `hook` with the answer once its consumer has come to its end."""
        self._when_whole = hook

    # -- reading -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Send the request, and wait for the answer's first events."""
        self._buffer = (await self.pull())[::-1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._buffer:
            self._buffer = (await self.pull())[::-1]
            if not self._buffer:
                raise StopAsyncIteration
        return self._buffer.pop()

    async def pull(self) -> list[Event]:
        """The next events as one batch, at least one; none once the answer has ended.

        For those who hand events on in bulk; plain iteration gives the same events one by one.
        """
        if self._buffer:
            batch, self._buffer = self._buffer[::-1], []
            return batch
        if self._ended:
            return []
        try:
            batch = await (self._sending.pull() if self._plan.expected is None else self._next_batch())
        except BaseException:
            self._ended = True
            raise
        if self._sending.taken is not None:
            self._sending = self._sending.taken
        if not batch:
            self._ended = True
            if self._plan.expected is not None and self._sending.end_event is not None:
                _ = self.response  # raises OutputError
            self._tell_if_whole()
        return batch

    async def _next_batch(self) -> list[Event]:
        """The same of an answer with a type, whose form the service may refuse."""
        try:
            return await self._sending.pull()
        except InvalidRequestError as error:
            plan = self._plan.expected.instead(error)
            if plan is None:
                raise
            self._plan = plan
            self._sending = self._session.send(plan)
            return await self._sending.pull()

    async def _repaired(self, error: OutputInvalid, begun: float) -> Response[O_co]:
        """What the model says when it is asked again, after an answer that was not of its type. Raises OutputError."""
        from brainwires_provider._core.output import repaired

        self._typed = await repaired(self._session, self._plan, error, begun)
        return self._typed

    def _tell_if_whole(self) -> None:
        """The answer has ended, and its consumer has taken the last of it."""
        if self._sending.end_event is not None and not self._buffer and self._when_whole is not None:
            hook, self._when_whole = self._when_whole, None
            hook(self.response)

    async def text_stream(self) -> AsyncIterator[str]:
        """Only the text, fragment by fragment."""
        async for event in self:
            if type(event) is TextDelta:
                yield event.text

    async def partial_output(self) -> AsyncIterator[Any]:
        """The answer's value as it grows, for a stream with `output=T`: as JSON, and at the end `response.output`.

        A string may be shown in part; a word of a Literal or Enum, a number, a date is shown once it is whole. Raises
        what iterating raises.
        """
        partials = partials_of(self._plan.expected)
        async for event in self:
            for value in partials.feed(event):
                yield value
        yield self.response.output

    async def collect(self) -> Response[O_co]:
        """Read on to the end, and give the whole answer."""
        while await self.pull():
            pass
        return self.response

    # -- what there is -----------------------------------------------------------------------------------

    @property
    def partial(self) -> Response[O_co]:
        """What has arrived, at any moment; once the answer has ended, the whole of it."""
        if self._typed is not None:
            return self._typed
        if self._sending.end_event is not None:
            return self._sending.whole()
        return self._sending.partial()

    @property
    def response(self) -> Response[O_co]:
        """The whole answer. Raises RuntimeError before its end; `partial` is there at any moment.

        Raises OutputError for an answer that is not of the type that `output=` asked for.
        """
        if self._sending.end_event is None:
            raise RuntimeError("the answer has not ended: iterate to its end first, or use .partial")
        if self._plan.expected is None:
            return self._sending.whole()
        typed = self._typed
        if typed is None:
            typed = self._typed = self._plan.expected.read(self._sending.whole())
        return typed

    # -- leaving -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Leave. After the answer's end the connection is kept for the next request, before it is dropped."""
        self._ended = True
        self._tell_if_whole()
        self._left += tuple(self._buffer[::-1])
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
            self._sending.attempt.decoder,
            self._sending.end_event,
            (*self._left, *self._buffer[::-1], *self._sending.attempt.held),
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
        sending: Any = getattr(self, "_sending", None)
        if sending is None or sending.loop is None or sending.ended:
            return
        sending.drop()  # first: a warning may be made an error
        if not sending.loop.is_closed():
            words = "dropped unread; use `async with`, or read it to its end"
            warn_dropped("a stream", self.made_at, words, self)
