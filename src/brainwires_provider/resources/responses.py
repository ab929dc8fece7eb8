"""The Responses API's other operations, sent as every request is.

An answer that the service stores can be fetched, waited for, cancelled, deleted, and, where its stream was cut, read
on. A stream that is resumed keeps the decoder of the one that was cut, so it goes on with the very next event.
Reference: the API reference, "Responses", and the background mode guide.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from msgspec.structs import replace

from brainwires_provider._core.plan import Input, Plan, endpoint_of, plan_encoded
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.errors import (
    ConfigError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    UnsupportedError,
)
from brainwires_provider.protocols.base.protocol import Call, OverWebSocket
from brainwires_provider.protocols.openai_responses import operations
from brainwires_provider.protocols.openai_responses.operations import Compaction, Order
from brainwires_provider.providers import Target
from brainwires_provider.types import ChatParams, Response
from brainwires_provider.types.websocket import WebSocketStats

if TYPE_CHECKING:
    from brainwires_provider.resources.responses_connection import AsyncResponsesConnection

__all__ = ["AsyncResponses"]

_PROTOCOL = "openai_responses"
_SUBJECT = "the id: was it stored (store=True), by this account, and not deleted?"


class AsyncResponses:
    """Made by `AsyncClient.responses`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol. `sleep` and `clock` are for tests of `wait`.
    """

    def __init__(
        self,
        session: Session,
        *,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._sleep = sleep
        self._clock = clock

    # -- stored answers ----------------------------------------------------------------------------------

    async def retrieve(
        self, id: str, *, include: Sequence[str] = (), provider: str | None = None
    ) -> Response:
        """A stored answer; one that is not ready yet has finish_reason "pending". `include` names more fields.

        One that failed raises the APIError that it failed with. API reference: "Retrieve a model response".
        """
        return await self._session.chat(self._plan(operations.retrieve_call(id, include), provider))

    async def delete(self, id: str, *, provider: str | None = None) -> None:
        """Delete a stored answer. API reference: "Delete a model response"."""
        plan = self._plan(operations.delete_call(id), provider)
        await self._session.fetch(plan, operations.check_deleted)

    async def cancel(self, id: str, *, provider: str | None = None) -> Response:
        """Stop a background answer, and give what there is of it. API reference: "Cancel a response"."""
        return await self._session.chat(self._plan(operations.cancel_call(id), provider))

    async def input_items(
        self,
        id: str,
        *,
        order: Order | None = None,
        limit: int | None = None,
        include: Sequence[str] = (),
        provider: str | None = None,
    ) -> list[Mapping[str, Any]]:
        """What went into a stored answer, all pages, each item as the service returns it.

        `limit` is the page size, 1 to 100 (its default: 20), and `order` "asc" or "desc" (its
        default). API reference: "List input items".
        """
        found: list[Mapping[str, Any]] = []
        seen: set[str] = set()
        after: str | None = None
        while True:
            call = operations.items_call(id, order=order, limit=limit, include=include, after=after)
            plan = self._plan(call, provider)
            page, after = await self._session.fetch(plan, operations.decode_items)
            found += page
            if after is None:
                return found
            if after in seen:
                raise ProtocolError(
                    f"the pages of input items go in a circle: {after} came twice",
                    provider=plan.target.provider,
                )
            seen.add(after)

    # -- compaction --------------------------------------------------------------------------------------

    async def compact(self, input: Input = (), **args: Unpack[ChatParams]) -> Compaction:
        """A shorter history in the place of `input`: pass its `messages` on as they are.

        The arguments are those of `chat`; what a compaction does not take is reported. Without `input`,
        `previous_response_id` says what to compact. API reference: "Compact a response".
        """
        target, request = self._session.request(input, args, empty=True)
        _check(target)
        call = operations.compact_call(target.protocol.encode(request, target.origin, stream=False))
        plan = plan_encoded(call, request, target, stream=False, timeouts=self._session.timeouts)

        def read(body: bytes) -> Compaction:
            return replace(operations.decode_compaction(body, target.origin), report=plan.report)

        return await self._session.fetch(plan, read)

    # -- background answers ------------------------------------------------------------------------------

    async def wait(
        self,
        response: Response | str,
        *,
        every: float = 2.0,
        timeout: float | None = 600.0,
        provider: str | None = None,
    ) -> Response:
        """Ask after a background answer, by itself or its id, until it is no longer pending.

        `every` and `timeout` are in seconds. Raises RequestTimeout, which names the id; the answer goes on being made.
        API reference: "Background mode".
        """
        if not every > 0:
            raise ConfigError(f"every is the number of seconds between two looks, not {every!r}")
        due = None if timeout is None else self._clock() + timeout
        id = response.id if isinstance(response, Response) else response
        if id is None:
            raise ConfigError("this response has no id, so it cannot be asked after")
        if isinstance(response, Response):
            provider, found = provider or response.provider, response
        else:
            found = await self._look(id, provider, due, timeout)
        while found.finish_reason == "pending":
            await self._pause(every if due is None else min(every, due - self._clock()))
            found = await self._look(id, provider, due, timeout)
        return found

    async def _look(
        self, id: str, provider: str | None, due: float | None, timeout: float | None
    ) -> Response:
        """`retrieve`, by the clock of a wait."""
        import asyncio

        left = None if due is None else due - self._clock()
        if left is None or left > 0:
            try:
                async with asyncio.timeout(left):
                    return await self.retrieve(id, provider=provider)
            except TimeoutError as error:
                if isinstance(error, ProviderError):
                    raise
        raise RequestTimeout(
            f"{id} was still pending after {timeout:g} s; wait again, or cancel it", clock="total"
        )

    async def _pause(self, seconds: float) -> None:
        import asyncio

        if seconds > 0:
            await (self._sleep or asyncio.sleep)(seconds)

    def resume(
        self,
        stream: AsyncStream | str,
        *,
        starting_after: int | None = None,
        include: Sequence[str] = (),
        provider: str | None = None,
    ) -> AsyncStream:
        """Read on where the stream of a background answer was cut. Nothing is sent before it is entered or iterated.

        Given the stream, it goes on with the event after the last that was taken from it, and its `response`
        is the whole answer. Given an id, with the events after the number `starting_after`, or from the
        beginning. Only an answer asked for with background=True and as a stream can be resumed.

        Raises ConfigError for a stream that still runs, was resumed before, or was cut before its id had arrived.
        API reference: "Retrieve a model response", `stream` and `starting_after`.
        """
        if not isinstance(stream, str):
            return self._go_on(stream._take_over, starting_after, include, provider)
        call = operations.resume_call(stream, starting_after, include)
        return AsyncStream(replace(self._plan(call, provider), stream=True), self._session)

    def _go_on(
        self, take_over: Callable[[], Cut], after: int | None, include: Sequence[str], provider: str | None
    ) -> AsyncStream:
        """A stream that goes on with the answer of another, sync or async."""
        if after is not None or provider is not None:
            raise ConfigError("a stream knows by itself where it stopped, and where it came from")
        cut = take_over()
        _check(cut.target)
        decoder: Any = cut.decoder
        if decoder.ended and (cut.collector.end is None or not cut.undelivered):
            raise ConfigError("there is nothing to resume: the answer had come to its end, or failed")
        if decoder.id is None:
            raise ConfigError("the stream was cut before its id had arrived; send the request again")
        call = operations.resume_call(decoder.id, decoder.sequence, include)
        return AsyncStream(replace(cut.plan(call), subject=_SUBJECT), self._session, cut)

    # -- over a WebSocket --------------------------------------------------------------------------------

    def connect(self, *, provider: str | None = None) -> AsyncResponsesConnection:
        """A separate WebSocket: raw events in and out. It opens when its `async with` is entered.

        `chat` and `stream` of a provider over WebSockets need none. Raises UnsupportedError for a provider
        that does not. OpenAI's WebSocket mode guide.
        """
        from brainwires_provider.resources.responses_connection import AsyncResponsesConnection

        name = provider or self._session.own_provider("to connect to")
        target = self._session.place(name)
        if target.row.transport != "websocket":
            raise UnsupportedError(
                f'{name} has no WebSocket; name a provider that has: provider="openai-responses-ws"',
                provider=name,
            )

        def planned(input: Input, args: ChatParams) -> Plan:
            model = args.get("model")
            if model is not None and not model.startswith(f"{name}:"):
                raise ConfigError(f"this connection goes to {name}: it can carry no request for {model!r}")
            return self._session.plan(input, args, stream=True)

        mode: OverWebSocket = target.protocol.websocket  # type: ignore[attr-defined]
        opening = endpoint_of(self._session.plan_call(mode.opening(), target))
        return AsyncResponsesConnection(
            self._session.pools.dialer(opening),
            planned,
            self._session.timeouts,
            provider=name,
            max_buffered=target.socket.max_buffered_bytes,
        )

    @property
    def websocket_stats(self) -> WebSocketStats:
        """What this client has sent over WebSockets, counted since it was made."""
        return self._session.pools.counters.snapshot()

    # -- the requests ------------------------------------------------------------------------------------

    def _plan(self, call: Call, provider: str | None) -> Plan:
        target = self._session.place(provider)
        _check(target)
        return self._session.plan_call(call, target, subject=_SUBJECT)


def _check(target: Target) -> None:
    if target.protocol.name != _PROTOCOL:
        raise UnsupportedError(
            f"{target.provider} does not speak the Responses API, which this is an operation of; name one that does: "
            'provider="openai-responses"',
            provider=target.provider,
        )
