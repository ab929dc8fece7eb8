"""The synchronous face: the members of the asynchronous one, without async and await.

Nothing is written twice: every call runs the core's coroutine on the portal. A stream is pumped there, batch by
batch, into a bounded hand-over; the consumer takes all that is there at once, then pops from a deque of its own,
and the pump wakes it only when it waits.
"""

from __future__ import annotations

import atexit
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from brainwires_provider.auth.keys import Key
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.events import Event, TextDelta
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.providers import ProviderConfig
from brainwires_provider.requests import Input, check_args, messages_of, stored_args
from brainwires_provider.stream import AsyncStream, Cut
from brainwires_provider.types import (
    Args,
    Message,
    Model,
    Options,
    Prepared,
    Response,
    Timeouts,
    TokenCount,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from brainwires_provider.portal import Share
    from brainwires_provider.protocols.openai_responses.operations import Compaction, Order
    from brainwires_provider.pump import Pump

__all__ = ["Client", "Conversation", "Responses", "Stream"]


class Client:
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    The arguments are those of `AsyncClient`. One client serves many threads; it works inside a running event loop
    too, which it blocks. All clients share one thread for the network, which ends when the last of them is closed.

    Every call can be interrupted: Ctrl-C raises KeyboardInterrupt at once, and drops the request. Called from an
    async callable of its own (such as a key's), it raises RuntimeError.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: Key | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        providers: Iterable[ProviderConfig] = (),
        options: Options | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (a frozen value)
        strict: bool = False,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: SSLContext | None = None,
        max_connections: int = 1000,
        max_event_bytes: int = DEFAULT_MAX_MESSAGE,
    ) -> None:
        self._core = AsyncClient(
            model,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            providers=providers,
            options=options,
            timeouts=timeouts,
            strict=strict,
            proxy=proxy,
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_event_bytes=max_event_bytes,
        )

    @property
    def _share(self) -> Share:
        """This client's part in the portal, which is loaded (and asyncio with it) at the first call."""
        known: Share | None = self.__dict__.get("_made")
        if known is not None:
            return known
        try:
            from brainwires_provider.portal import Share
        except RuntimeError:  # asyncio cannot be loaded any more
            raise ConfigError("the interpreter is exiting: no request can be made any more") from None
        share: Share = self.__dict__.setdefault("_made", Share(self._core))  # one, whoever comes first
        return share

    @property
    def max_event_bytes(self) -> int:
        """The limit of one event, or one whole body, of an answer."""
        return self._core.max_event_bytes

    def chat(self, input: Input, **args: Unpack[Args]) -> Response:
        """One whole answer. Raises every ProviderError."""
        return self._share.call(lambda: self._core.chat(input, **args))

    def stream(self, input: Input, **args: Unpack[Args]) -> Stream:
        """An answer as it comes. Nothing is sent before the stream is entered or iterated."""
        try:
            return Stream(self._core.stream(input, **args), self)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    def prepare(self, input: Input, *, stream: bool = False, **args: Unpack[Args]) -> Prepared:
        """The exact request, secrets redacted, nothing sent. Raises what sending would, ConfigError and all."""
        try:
            return self._core.prepare(input, stream=stream, **args)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    def count_tokens(self, input: Input, **args: Unpack[Args]) -> TokenCount:
        """How many tokens the request would take in. Raises UnsupportedError where the provider cannot count."""
        return self._share.call(lambda: self._core.count_tokens(input, **args))

    def models(self, provider: str | None = None) -> list[Model]:
        """Every model that a provider lists, all pages; by default the provider of the client's model."""
        return self._share.call(lambda: self._core.models(provider))

    def conversation(self, *, messages: Iterable[Message] = (), **args: Unpack[Args]) -> Conversation:
        """A history that grows with each turn that ends well. `args` hold for every turn."""
        return Conversation(self, messages, args)

    @property
    def responses(self) -> Responses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        return Responses(self)

    def close(self) -> None:
        """Close the connections. What is still under way ends with a typed error; later calls raise ConfigError."""
        self._share.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        share = self.__dict__.get("_made")  # None: nothing was ever asked
        if share is not None:
            share.abandon()

    def __repr__(self) -> str:
        return repr(self._core).removeprefix("Async")


class Stream(Iterator[Event]):
    """The events of one answer. Made by `Client.stream`.

    It has one consumer. Nothing happens before it is entered or iterated; it closes at its end, at an error, when
    its `with` is left, and, with a ResourceWarning that names the line that made it, when it is dropped.
    Iterating raises every ProviderError; what had arrived stays in `partial`.
    """

    def __init__(self, stream: AsyncStream, client: Client) -> None:
        self._made_at = stream.made_at
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
        from brainwires_provider.pump import Pump

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

    def collect(self) -> Response:
        """Read on to the end, and give the whole answer."""
        while True:
            self._events.clear()
            self._fill()
            if not self._events:
                return self.response

    # -- what there is -----------------------------------------------------------------------------------

    @property
    def partial(self) -> Response:
        """What has arrived, at any moment; once the answer has ended, the whole of it."""
        pump, stream = self._pump, self._stream
        if pump is None:
            assert stream is not None
            return stream.partial
        return pump.last if pump.done else self._client._share.call(pump.look)

    @property
    def response(self) -> Response:
        """The whole answer. Raises RuntimeError before its end; `partial` is there at any moment."""
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
            from brainwires_provider.portal import Job

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


class Conversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, client: Client, messages: Iterable[Message], args: Args) -> None:
        check_args(args)
        self.messages: list[Message] = list(messages)
        self._client = client
        self._args = args

    def chat(self, input: Input, **args: Unpack[Args]) -> Response:
        """One turn: what is said and the whole answer join `messages`."""
        said = messages_of(input)
        response = self._client.chat([*self.messages, *said], **stored_args(self._args, args))
        self.messages += [*said, response.message]
        return response

    def stream(self, input: Input, **args: Unpack[Args]) -> Stream:
        """One turn as it comes; it joins `messages` once it has come to its end."""
        said = messages_of(input)

        def remember(response: Response) -> None:
            self.messages += [*said, response.message]

        stream = self._client.stream([*self.messages, *said], **stored_args(self._args, args))
        stream._when_whole = remember
        return stream

    def fork(self) -> Conversation:
        """A conversation of its own with the same beginning."""
        return Conversation(self._client, self.messages, self._args)


class Responses:
    """Made by `Client.responses`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._core = client._core.responses

    @property
    def _share(self) -> Share:
        return self._client._share

    def retrieve(self, id: str, *, include: Sequence[str] = (), provider: str | None = None) -> Response:
        """A stored answer; one that is not ready yet has finish_reason "pending". `include` names more fields.

        One that failed raises the APIError that it failed with. API reference: "Retrieve a model response".
        """
        return self._share.call(lambda: self._core.retrieve(id, include=include, provider=provider))

    def delete(self, id: str, *, provider: str | None = None) -> None:
        """Delete a stored answer. API reference: "Delete a model response"."""
        return self._share.call(lambda: self._core.delete(id, provider=provider))

    def cancel(self, id: str, *, provider: str | None = None) -> Response:
        """Stop a background answer, and give what there is of it. API reference: "Cancel a response"."""
        return self._share.call(lambda: self._core.cancel(id, provider=provider))

    def input_items(
        self,
        id: str,
        *,
        order: Order | None = None,
        limit: int | None = None,
        include: Sequence[str] = (),
        provider: str | None = None,
    ) -> list[Mapping[str, Any]]:
        """What went into a stored answer, all pages, each item as the service tells it.

        `limit` is how many it tells at once, 1 to 100 (its default: 20), and `order` "asc" or "desc" (its
        default). API reference: "List input items".
        """
        return self._share.call(
            lambda: self._core.input_items(id, order=order, limit=limit, include=include, provider=provider)
        )

    def compact(self, input: Input = (), **args: Unpack[Args]) -> Compaction:
        """A shorter history in the place of `input`: pass its `messages` on as they are.

        The arguments are those of `chat`; what a compaction does not take is reported. Without `input`,
        `previous_response_id` says what to compact. API reference: "Compact a response".
        """
        return self._share.call(lambda: self._core.compact(input, **args))

    def wait(
        self,
        response: Response | str,
        *,
        every: float = 2.0,
        timeout: float | None = 600.0,
        provider: str | None = None,
    ) -> Response:
        """Ask after a background answer, by itself or its id, until it is no longer pending.

        `every` and `timeout` are in seconds. Raises Timeout, which names the id; the answer goes on being made.
        API reference: "Background mode".
        """
        return self._share.call(
            lambda: self._core.wait(response, every=every, timeout=timeout, provider=provider)
        )

    def resume(
        self,
        stream: Stream | str,
        *,
        starting_after: int | None = None,
        include: Sequence[str] = (),
        provider: str | None = None,
    ) -> Stream:
        """Read on where the stream of a background answer was cut. Nothing is sent before it is entered or iterated.

        Given the stream, it goes on with the event after the last that was taken from it, and its `response`
        is the whole answer. Given an id, with the events after the number `starting_after`, or from the
        beginning. Only an answer asked for with background=True and as a stream can be resumed.

        Raises ConfigError for a stream that still runs, was resumed before, or did not come to tell its id.
        API reference: "Retrieve a model response", `stream` and `starting_after`.
        """
        core = self._core
        try:
            if isinstance(stream, str):
                going_on = core.resume(
                    stream, starting_after=starting_after, include=include, provider=provider
                )
            else:
                going_on = core._go_on(stream._take_over, starting_after, include, provider)
            return Stream(going_on, self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None


def _end_portal() -> None:
    portal = sys.modules.get("brainwires_provider.portal")
    if portal is not None:
        portal.exit_portal()


# Registered when this is imported, and not with the portal, so that it runs after most hooks of the program's own.
atexit.register(_end_portal)
