"""The Interactions API's other operations, sent as every request is.

An interaction that the service stores can be fetched, waited for, cancelled, deleted, and, where its stream was cut,
read on. Agents, such as Deep Research, work in the background for minutes: ask one with `chat` and `wait`, or stream
it.
Reference: the API reference of the Interactions API; the guides on Deep Research and on streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.errors import ConfigError
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.google_interactions import operations
from brainwires_provider.protocols.google_interactions.request import revision
from brainwires_provider.providers import Target
from brainwires_provider.resources.stored import Stored
from brainwires_provider.types import Response
from brainwires_provider.types.checked import checks_calls

__all__ = ["AsyncInteractions"]


@checks_calls
class AsyncInteractions(Stored):
    """Made by `AsyncClient.interactions`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol.
    """

    _protocol = "google_interactions"
    _api = "Interactions API"
    _speaker = "google-interactions"

    async def retrieve(
        self, id: str, *, include_input: bool = False, provider: str | None = None
    ) -> Response:
        """A stored interaction; one that is not ready yet has finish_reason "pending".

        `include_input`: what it was asked is in `extra`. One that failed raises the APIError that it failed with. API
        reference: "Retrieving an interaction".
        """
        call = operations.retrieve_call(id, include_input=include_input)
        return await self._session.chat(self._plan(call, provider))

    async def delete(self, id: str, *, provider: str | None = None) -> None:
        """Delete a stored interaction. API reference: "Deleting an interaction"."""
        plan = self._plan(operations.delete_call(id), provider)
        await self._session.fetch(plan, operations.check_deleted)

    async def cancel(self, id: str, *, provider: str | None = None) -> Response:
        """Stop a background interaction, and give what there is of it.

        API reference: "Cancelling an interaction".
        """
        return await self._session.chat(self._plan(operations.cancel_call(id), provider))

    async def wait(
        self,
        response: Response | str,
        *,
        every: float = 2.0,
        slowest: float = 30.0,
        timeout: float | None = 3600.0,
        provider: str | None = None,
    ) -> Response:
        """Ask after a background interaction, by itself or its id, until it is no longer pending.

        All in seconds: `every` is the first pause between two looks, the next ones grow by half up to `slowest`, and
        `timeout` is for all. Raises RequestTimeout, which names the id; the interaction goes on being made.
        Guide: "Deep Research".
        """
        return await self._wait_for(
            response, every=every, slowest=slowest, timeout=timeout, provider=provider
        )

    def resume(
        self, stream: AsyncStream | str, *, last_event_id: str | None = None, provider: str | None = None
    ) -> AsyncStream:
        """Read on where the stream of a stored interaction was cut. Nothing is sent before it is entered.

        Given the stream, it goes on with the event after the last that was taken from it, and its `response`
        is the whole interaction. Given an id, with the events after the one with `last_event_id`, or from the
        beginning.

        Raises ConfigError for a stream that still runs, was resumed before, or was cut before its id had arrived, or
        whose events had none. Guide: "Streaming interactions".
        """
        if not isinstance(stream, str):
            return self._go_on(stream._take_over, last_event_id, provider)
        call = operations.resume_call(stream, last_event_id)
        return self._read_on(call, provider)

    def _go_on(self, take_over: Callable[[], Cut], after: str | None, provider: str | None) -> AsyncStream:
        """A stream that goes on with the interaction of another, sync or async."""

        def call(decoder: Any) -> Call:
            if decoder.event_id is None:
                raise ConfigError(
                    "no event of the stream had an id, so it cannot be resumed: retrieve the answer"
                )
            return operations.resume_call(decoder.id, decoder.event_id)

        return self._continued(take_over, call, is_placed=after is not None or provider is not None)

    def _addressed(self, call: Call, target: Target) -> Call:
        """With the header that names the API's revision."""
        return replace(call, headers=revision(target.protocol.quirks))  # type: ignore[attr-defined]
