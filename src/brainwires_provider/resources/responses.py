"""The Responses API's other operations, sent as every request is.

An answer that the service stores can be fetched, waited for, cancelled, deleted, and, where its stream was cut, read
on.
Reference: the API reference, "Responses", and the background mode guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from msgspec.structs import replace

from brainwires_provider._core.plan import Input, Plan, endpoint_of, plan_encoded
from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.errors import ConfigError, ProtocolError, UnsupportedError
from brainwires_provider.protocols.base.protocol import OverWebSocket
from brainwires_provider.protocols.openai_responses import operations
from brainwires_provider.protocols.openai_responses.operations import Compaction, Order
from brainwires_provider.resources.stored import Stored
from brainwires_provider.types import OutputParams, Response
from brainwires_provider.types.checked import checks_calls
from brainwires_provider.types.websocket import WebSocketStats

if TYPE_CHECKING:
    from brainwires_provider.resources.responses_connection import AsyncResponsesConnection

__all__ = ["AsyncResponses"]


@checks_calls
class AsyncResponses(Stored):
    """Made by `AsyncClient.responses`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol.
    """

    _protocol = "openai_responses"
    _api = "Responses API"
    _speaker = "openai-responses"

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

    async def compact(self, input: Input = (), **args: Unpack[OutputParams]) -> Compaction:
        """A shorter history in the place of `input`: pass its `messages` on as they are.

        The arguments are those of `chat`; what a compaction does not take is reported. Without `input`,
        `previous_response_id` says what to compact. API reference: "Compact a response".
        """
        target, request = self._session.request(input, args, empty=True)
        self._check(target)
        call = operations.compact_call(
            target.protocol.encode(request, target.origin, stream=False, facts=target.facts)
        )
        plan = plan_encoded(call, request, target, stream=False, timeouts=self._session.timeouts)

        def read(body: bytes) -> Compaction:
            return replace(operations.decode_compaction(body, target.origin), report=plan.report)

        return await self._session.fetch(self._session.with_policies(plan, args), read)

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
        return await self._wait_for(response, every=every, slowest=every, timeout=timeout, provider=provider)

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
        return self._read_on(operations.resume_call(stream, starting_after, include), provider)

    def _go_on(
        self, take_over: Callable[[], Cut], after: int | None, include: Sequence[str], provider: str | None
    ) -> AsyncStream:
        """A stream that goes on with the answer of another, sync or async."""
        return self._continued(
            take_over,
            lambda decoder: operations.resume_call(decoder.id, decoder.sequence, include),
            is_placed=after is not None or provider is not None,
        )

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

        def planned(input: Input, args: OutputParams) -> Plan:
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
