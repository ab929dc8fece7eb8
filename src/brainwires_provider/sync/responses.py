"""What the Responses API does besides answering, without async and await."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from brainwires_provider._core.plan import Input
from brainwires_provider.errors import ProviderError
from brainwires_provider.resources.responses import AsyncResponses
from brainwires_provider.resources.stored import taken_over
from brainwires_provider.sync.stream import Owner, Stream
from brainwires_provider.types import OutputParams, Response
from brainwires_provider.types.websocket import WebSocketStats

if TYPE_CHECKING:
    from brainwires_provider.protocols.openai_responses.operations import Compaction, Order
    from brainwires_provider.sync.connection import ResponsesConnection

__all__ = ["Responses"]


class Responses:
    """Made by `Client.responses`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol.
    """

    def __init__(self, client: Owner, core: AsyncResponses) -> None:
        self._client = client
        self._core = core

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

        Raises ConfigError for a stream that still runs, was resumed before, or was cut before its id had arrived.
        API reference: "Retrieve a model response", `stream` and `starting_after`.
        """
        core = self._core
        try:
            if isinstance(stream, str):
                going_on = core.resume(
                    stream, starting_after=starting_after, include=include, provider=provider
                )
            else:
                going_on = core._go_on(taken_over(stream), starting_after, include, provider)
            return Stream(going_on, self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    def connect(self, *, provider: str | None = None) -> ResponsesConnection:
        """A separate WebSocket: raw events in and out. It opens when its `with` is entered.

        `chat` and `stream` of a provider over WebSockets need none. Raises UnsupportedError for a provider
        that does not. OpenAI's WebSocket mode guide.
        """
        from brainwires_provider.sync.connection import ResponsesConnection

        return ResponsesConnection(self._client, self._core.connect(provider=provider))

    # -- written by tools/write_sync.py from AsyncResponses --

    def retrieve(self, id: str, *, include: Sequence[str] = (), provider: str | None = None) -> Response:
        """A stored answer; one that is not ready yet has finish_reason "pending". `include` names more fields.

        One that failed raises the APIError that it failed with. API reference: "Retrieve a model response".
        """
        return self._client._share.call(lambda: self._core.retrieve(id, include=include, provider=provider))

    def delete(self, id: str, *, provider: str | None = None) -> None:
        """Delete a stored answer. API reference: "Delete a model response"."""
        return self._client._share.call(lambda: self._core.delete(id, provider=provider))

    def cancel(self, id: str, *, provider: str | None = None) -> Response:
        """Stop a background answer, and give what there is of it. API reference: "Cancel a response"."""
        return self._client._share.call(lambda: self._core.cancel(id, provider=provider))

    def input_items(
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
        return self._client._share.call(
            lambda: self._core.input_items(id, order=order, limit=limit, include=include, provider=provider)
        )

    def compact(self, input: Input = (), **args: Unpack[OutputParams]) -> Compaction:
        """A shorter history in the place of `input`: pass its `messages` on as they are.

        The arguments are those of `chat`; what a compaction does not take is reported. Without `input`,
        `previous_response_id` says what to compact. API reference: "Compact a response".
        """
        return self._client._share.call(lambda: self._core.compact(input, **args))

    def wait(
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
        return self._client._share.call(
            lambda: self._core.wait(response, every=every, timeout=timeout, provider=provider)
        )

    @property
    def websocket_stats(self) -> WebSocketStats:
        """What this client has sent over WebSockets, counted since it was made."""
        return self._core.websocket_stats

    # -- end of what is written --
