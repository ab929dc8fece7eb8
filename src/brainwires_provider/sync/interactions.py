"""What the Interactions API does besides answering, without async and await."""

from __future__ import annotations

from brainwires_provider.errors import ProviderError
from brainwires_provider.resources.interactions import AsyncInteractions
from brainwires_provider.resources.stored import taken_over
from brainwires_provider.sync.stream import Owner, Stream
from brainwires_provider.types import Response

__all__ = ["Interactions"]


class Interactions:
    """Made by `Client.interactions`. `provider` is everywhere that of the client's model, unless it is named.

    Every operation raises every ProviderError: NotFoundError for an id that the service does not know, and
    UnsupportedError where the provider speaks another protocol.
    """

    def __init__(self, client: Owner, core: AsyncInteractions) -> None:
        self._client = client
        self._core = core

    def resume(
        self, stream: Stream | str, *, last_event_id: str | None = None, provider: str | None = None
    ) -> Stream:
        """Read on where the stream of a stored interaction was cut. Nothing is sent before it is entered.

        Given the stream, it goes on with the event after the last that was taken from it, and its `response`
        is the whole interaction. Given an id, with the events after the one with `last_event_id`, or from the
        beginning.

        Raises ConfigError for a stream that still runs, was resumed before, or was cut before its id had arrived, or
        whose events had none. Guide: "Streaming interactions".
        """
        core = self._core
        try:
            if isinstance(stream, str):
                going_on = core.resume(stream, last_event_id=last_event_id, provider=provider)
            else:
                going_on = core._go_on(taken_over(stream), last_event_id, provider)
            return Stream(going_on, self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    # -- written by tools/write_sync.py from AsyncInteractions --

    def retrieve(self, id: str, *, include_input: bool = False, provider: str | None = None) -> Response:
        """A stored interaction; one that is not ready yet has finish_reason "pending".

        `include_input`: what it was asked is in `extra`. One that failed raises the APIError that it failed with. API
        reference: "Retrieving an interaction".
        """
        return self._client._share.call(
            lambda: self._core.retrieve(id, include_input=include_input, provider=provider)
        )

    def delete(self, id: str, *, provider: str | None = None) -> None:
        """Delete a stored interaction. API reference: "Deleting an interaction"."""
        return self._client._share.call(lambda: self._core.delete(id, provider=provider))

    def cancel(self, id: str, *, provider: str | None = None) -> Response:
        """Stop a background interaction, and give what there is of it.

        API reference: "Cancelling an interaction".
        """
        return self._client._share.call(lambda: self._core.cancel(id, provider=provider))

    def wait(
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
        return self._client._share.call(
            lambda: self._core.wait(
                response, every=every, slowest=slowest, timeout=timeout, provider=provider
            )
        )

    # -- end of what is written --
