"""A synchronous stream: pumped on the portal, batch by batch, into a bounded hand-over.

The consumer takes all that is there at once, then pops from a deque of its own, and the pump wakes it only when it
waits.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from brainwires_provider._core.stream import AsyncStream, Cut, partials_of
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.events import Event, TextDelta
from brainwires_provider.types import Response
from brainwires_provider.types.responses import O_co

if TYPE_CHECKING:
    from brainwires_provider.sync.portal import Share
    from brainwires_provider.sync.pump import Pump

__all__ = ["Owner", "Stream", "made"]

T = TypeVar("T")


def made(make: Callable[[], T]) -> T:
    """What `make` returns, or its error without the frames below it."""
    try:
        return make()
    except ProviderError as error:
        raise error.with_traceback(None) from None


class Owner(Protocol):
    """What a stream needs of the client that made it."""

    @property
    def _share(self) -> Share: ...


class Stream(Iterator[Event], Generic[O_co]):
    """The events of one answer. Made by `Client.stream`; `Stream[T]` where `output=T` asked for a type.

    It has one consumer. Nothing happens before it is entered or iterated; it closes at its end, at an error, when
    its `with` is left, and, with a ResourceWarning that names the line that made it, when it is dropped.
    Iterating raises every ProviderError; what had arrived stays in `partial`. An answer that is not of its type raises
    OutputError at its end.
    """

    def __init__(self, stream: AsyncStream, client: Owner) -> None:
        self._made_at = stream.made_at
        self._expected = stream._plan.expected
        self._stream: AsyncStream | None = stream  # until the pump has it
        self._client = client  # a client that is dropped closes its connections
        self._events: deque[Event] = deque()
        self._pump: Pump | None = None
        self._left: tuple[Event, ...] = ()
        self._taken_over = False
        self._closed = False
        self._whole = False
        self._when_whole: Callable[[Response], None] | None = None

    # -- reading -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Send the request, and wait for the answer's first events."""
        if not self._events:
            self._fill()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        try:
            return self._events.popleft()
        except IndexError:
            pass
        self._fill()
        if self._events:
            return self._events.popleft()
        raise StopIteration

    def _fill(self) -> None:
        """Wait for more events; there are none once the answer has ended."""
        if self._closed:
            return
        pump = self._pump
        if pump is None:
            pump = self._begin()
        try:
            pump.take()
        except BaseException:
            self._closed = True
            pump.leave()
            raise
        if pump.whole and not self._whole and not self._closed:
            self._whole = True
            if self._when_whole is not None:
                self._when_whole(pump.last)

    def _begin(self) -> Pump:
        from brainwires_provider.sync.pump import Pump

        share, stream = self._client._share, self._stream
        assert stream is not None
        pump = self._pump = Pump(share.enter(), share, stream, self._events)
        self._stream = None
        pump.submit()
        return pump

    def text_stream(self) -> Iterator[str]:
        """Only the text, fragment by fragment."""
        for event in self:
            if type(event) is TextDelta:
                yield event.text

    def partial_output(self) -> Iterator[Any]:
        """The answer's value as it grows, for a stream with `output=T`: as JSON, and at the end `response.output`.

        A string may be shown in part; a word of a Literal or Enum, a number, a date is shown once it is whole. Raises
        what iterating raises.
        """
        partials = partials_of(self._expected)
        for event in self:
            yield from partials.feed(event)
        yield self.response.output

    def collect(self) -> Response[O_co]:
        """Read on to the end, and give the whole answer."""
        while True:
            self._events.clear()
            self._fill()
            if not self._events:
                return self.response

    # -- what there is -----------------------------------------------------------------------------------

    @property
    def partial(self) -> Response[O_co]:
        """What has arrived, at any moment; once the answer has ended, the whole of it."""
        pump, stream = self._pump, self._stream
        if pump is None:
            assert stream is not None
            return stream.partial
        return pump.last if pump.done else self._client._share.call(pump.look)

    @property
    def response(self) -> Response[O_co]:
        """The whole answer. Raises RuntimeError before its end; `partial` is there at any moment.

        Raises OutputError for an answer that is not of the type that `output=` asked for.
        """
        if not self._whole or self._pump is None:
            raise RuntimeError("the answer has not ended: iterate to its end first, or use .partial")
        return self._pump.last

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave. After the answer's end the connection is kept for the next request, before it is dropped."""
        self._closed = True
        self._left += tuple(self._events)
        self._events.clear()
        pump = self._pump
        if pump is not None and not pump.done:
            from brainwires_provider.sync.portal import Job

            try:
                Job(pump.portal, pump.end, None).outcome()
            except BaseException:
                pump.leave()
                raise

    def _take_over(self) -> Cut:
        """Let another stream go on with this one's answer. Raises ConfigError while it runs, and a second time."""
        pump = self._pump
        if not self._closed and (pump is None or not pump.done):
            raise ConfigError("leave a stream before it is resumed: end its `with`, or call `stream.close()`")
        if self._taken_over:
            raise ConfigError("this stream was resumed before: resume the one that went on with it")
        self.close()  # an interrupt leaves it without waiting for its end
        self._taken_over = True
        if pump is None:
            assert self._stream is not None
            cut = self._stream._cut()
        else:
            cut = pump.cut()
        return cut._replace(undelivered=(*self._left, *cut.undelivered))

    def __del__(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is None or pump.done or pump.portal.over:
            return
        pump.leave()  # first: a warning may be made an error
        if not self._closed:
            warnings.warn(
                f"a stream made at {self._made_at} was dropped unread; use `with`, or read it to its end",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
