"""A connection in hand, without async and await."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from brainwires_provider._core.plan import Input
from brainwires_provider.resources.responses_connection import AsyncResponsesConnection
from brainwires_provider.sync.stream import Owner
from brainwires_provider.types import OutputParams

if TYPE_CHECKING:
    from brainwires_provider.sync.portal import Share

__all__ = ["ResponsesConnection"]


class ResponsesConnection(Iterator[dict[str, Any]]):
    """One WebSocket to a Responses endpoint. Made by `Client.responses.connect`; opened by `with`.

    Iterating gives every event as a dict, and ends once this side has closed; a connection that the server closes,
    with whatever code, raises StreamInterrupted.
    """

    def __init__(self, client: Owner, core: AsyncResponsesConnection) -> None:
        self._client = client
        self._core = core

    @property
    def _share(self) -> Share:
        return self._client._share

    @property
    def is_connected(self) -> bool:
        """Whether events can be sent."""
        return self._core.is_connected

    @property
    def headers(self) -> Mapping[str, str]:
        """What the server answered the handshake with, names in lower case."""
        return self._core.headers

    def __enter__(self) -> Self:
        """Connect. Raises ConnectError, RequestTimeout (connect), and the APIError of a refused handshake."""
        self._share.call(self._core.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close, with a closing handshake of at most a second. Twice is once."""
        self._share.call(self._core.aclose)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send one client event as it is. Raises StreamInterrupted when the connection is over."""
        self._share.call(lambda: self._core.send(event))

    def create(
        self,
        input: Input,
        *,
        stream_id: str | None = None,
        previous_response_id: str | None = None,
        **args: Unpack[OutputParams],
    ) -> None:
        """Ask for an answer, with the arguments of `chat`; its events come by iterating.

        `input` is sent as it is given: with `previous_response_id`, only what that response has not seen.
        """
        self._share.call(
            lambda: self._core.create(
                input, stream_id=stream_id, previous_response_id=previous_response_id, **args
            )
        )

    def steer(self, response_id: str, input: str) -> None:
        """Add input to a response in progress. `response.steer.*` events report what becomes of it."""
        self._share.call(lambda: self._core.steer(response_id, input))

    def warm_up(self, input: Input, *, stream_id: str | None = None, **args: Unpack[OutputParams]) -> str:
        """Let the server read a request without answering; the id that is given can be continued.

        The warm-up's own events are not seen by iterating. Raises the APIError that it is refused with, RequestTimeout
        (first_event).
        """
        return self._share.call(lambda: self._core.warm_up(input, stream_id=stream_id, **args))

    def receive(self) -> dict[str, Any]:
        """The next event.

        Raises StreamInterrupted once the connection is over, RequestTimeout (idle), ProtocolError.
        """
        return self._share.call(self._core.receive)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        event = self._share.call(self._next)
        if event is None:
            raise StopIteration
        return event

    async def _next(self) -> dict[str, Any] | None:
        """A StopAsyncIteration cannot leave a coroutine of the portal."""
        try:
            return await self._core.__anext__()
        except StopAsyncIteration:
            return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._core!r})"
