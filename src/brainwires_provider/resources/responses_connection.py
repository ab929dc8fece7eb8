"""A connection in hand: raw events in and out, for those who want the WebSocket mode itself.

Nothing is retried, continued or recovered here. Every event comes as the server sent it, errors among them, in one
order for all lanes; what the server ends, ends with an error.
Reference: OpenAI's WebSocket mode guide.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import msgspec

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.explaining import refusal
from brainwires_provider._core.plan import Input, Plan
from brainwires_provider.auth.redaction import conceal, redact_headers
from brainwires_provider.errors import (
    APIError,
    ConfigError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    StreamInterrupted,
)
from brainwires_provider.protocols.base.bodies import request_id
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.openai_responses.errors import event_error
from brainwires_provider.protocols.openai_responses.ws import TERMINAL, create_frame, peek, steer_frame
from brainwires_provider.transports.websocket.connection import Closed, HandshakeRefused, Link, LinkLost
from brainwires_provider.transports.websocket.dialing import Dialer
from brainwires_provider.types import OutputParams, Response
from brainwires_provider.types.checked import checks_calls

if TYPE_CHECKING:
    from brainwires_provider.types import Timeouts

__all__ = ["AsyncResponsesConnection"]

E = TypeVar("E", bound=ProviderError)

_Planner = Callable[[Input, OutputParams], Plan]


@checks_calls
class AsyncResponsesConnection(AsyncIterator[dict[str, Any]]):
    """One WebSocket to a Responses endpoint. Made by `AsyncClient.responses.connect`; opened by `async with`.

    Iterating gives every event as a dict, and ends once this side has closed; a connection that the server closes,
    with whatever code, raises StreamInterrupted.
    """

    def __init__(
        self, dial: Dialer, plan: _Planner, timeouts: Timeouts, *, provider: str, max_buffered: int
    ) -> None:
        self._dial = dial
        self._plan = plan
        self._timeouts = timeouts
        self._provider = provider
        self._max_buffered = max_buffered
        self._link: Link | None = None
        self._closed: Closed | None = None
        self._is_done = False
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._overflowed = False
        self._news = asyncio.Event()
        self._diverted: dict[str | None, asyncio.Future[bytes]] = {}

    # -- its life ----------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether events can be sent."""
        return self._link is not None and self._link.is_open

    @property
    def headers(self) -> Mapping[str, str]:
        """What the server answered the handshake with, names in lower case."""
        return {} if self._link is None else redact_headers(self._link.headers, self._dial.secrets)

    async def __aenter__(self) -> Self:
        """Connect. Raises ConnectError, RequestTimeout (connect), and the APIError of a refused handshake."""
        if self._link is not None or self._is_done:
            raise ConfigError("a connection is opened once; make a new one")
        running_loop()
        try:
            self._link = await self._dial(on_frame=self._on_frame, on_close=self._on_close)
        except HandshakeRefused as refused:
            raise self._refusal(refused) from None
        return self

    def _refusal(self, refused: HandshakeRefused) -> APIError:
        target = self._plan("", {}).target
        error = refusal(target.protocol, refused.status, refused.headers, refused.body)
        error.message = f"{self._provider}: the handshake was refused: {error.message}"
        error.request_id = error.request_id or request_id(refused.headers)
        return self._concealed(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close, with a closing handshake of at most a second. Twice is once."""
        self._is_done = True
        self._news.set()
        if self._link is not None:
            await self._link.aclose()

    # -- out ---------------------------------------------------------------------------------------------

    async def send(self, event: Mapping[str, Any]) -> None:
        """Send one client event as it is. Raises StreamInterrupted when the connection is over."""
        await self._send(msgspec.json.encode(event))

    async def _send(self, frame: bytes) -> None:
        if self._link is None or self._is_done:
            raise ConfigError("this connection is not open: use it inside its `with` block")
        try:
            async with asyncio.timeout(self._timeouts.idle):
                await self._link.send(frame)
        except LinkLost as lost:
            raise self._interrupted(self._closed or lost.closed) from None
        except TimeoutError:
            self._link.abort()
            raise RequestTimeout(
                f"{self._provider}: the server took nothing for {self._timeouts.idle} s (Timeouts.idle)",
                clock="idle",
            ) from None

    async def create(
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
        body = dict(self._plan(input, args).call.body)
        if previous_response_id is not None:
            body["previous_response_id"] = previous_response_id
        await self._send(create_frame(body, stream_id=stream_id))

    async def steer(self, response_id: str, input: str) -> None:
        """Add input to a response in progress. `response.steer.*` events report what becomes of it."""
        await self._send(steer_frame(response_id, input))

    async def warm_up(
        self, input: Input, *, stream_id: str | None = None, **args: Unpack[OutputParams]
    ) -> str:
        """Let the server read a request without answering; the id that is given can be continued.

        The warm-up's own events are not seen by iterating. Raises the APIError that it is refused with, RequestTimeout
        (first_event).
        """
        if stream_id in self._diverted:
            raise ConfigError("a warm-up is under way on this lane")
        waiter = self._diverted[stream_id] = asyncio.get_running_loop().create_future()
        try:
            plan = self._plan(input, args)
            await self._send(create_frame(plan.call.body, stream_id=stream_id, generate=False))
            async with asyncio.timeout(self._timeouts.first_event):
                return self._warmed(decode_json(await waiter), plan)
        except TimeoutError as error:
            if isinstance(error, RequestTimeout):
                raise
            raise RequestTimeout(
                f"{self._provider}: no warm-up within {self._timeouts.first_event} s (Timeouts.first_event)",
                clock="first_event",
            ) from None
        finally:
            self._diverted.pop(stream_id, None)

    def _warmed(self, event: dict[str, Any], plan: Plan) -> str:
        target = plan.target
        if event["type"] == "response.completed":
            return str(event["response"]["id"])
        partial: Response = target.protocol.decoder(target.origin).partial()
        told = event if event["type"] == "error" else event.get("response") or {}
        raise self._concealed(event_error(told, partial, target.origin))

    # -- in ----------------------------------------------------------------------------------------------

    def _on_frame(self, frame: bytes) -> None:
        if self._diverted:
            seen = peek(frame)
            waiter = None if seen is None else self._diverted.get(seen.lane)
            if seen is not None and waiter is not None:
                if seen.type in TERMINAL and not waiter.done():
                    waiter.set_result(frame)
                return
        self._size += len(frame)
        self._frames.append(frame)
        if self._size > self._max_buffered and self._link is not None:
            self._overflowed = True
            self._link.abort()
        self._news.set()

    def _on_close(self, closed: Closed) -> None:
        self._closed = closed
        for waiter in self._diverted.values():
            if not waiter.done():
                waiter.set_exception(self._interrupted(closed))
        self._news.set()

    async def receive(self) -> dict[str, Any]:
        """The next event.

        Raises StreamInterrupted once the connection is over, RequestTimeout (idle), ProtocolError.
        """
        while not self._frames:
            if self._closed is not None or self._link is None or self._is_done:
                raise self._interrupted(self._closed)
            self._news.clear()
            try:
                async with asyncio.timeout(self._timeouts.idle):
                    await self._news.wait()
            except TimeoutError:
                raise RequestTimeout(
                    f"{self._provider}: no event came within {self._timeouts.idle} s (Timeouts.idle)",
                    clock="idle",
                ) from None
        frame = self._frames.popleft()
        self._size -= len(frame)
        try:
            event = decode_json(frame)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            words = f"{self._provider}: a frame is no JSON object: {looks_like(frame)}"
            raise self._concealed(ProtocolError(words))
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self._is_done and not self._frames:
            raise StopAsyncIteration
        try:
            return await self.receive()
        except StreamInterrupted:
            if self._is_done:
                raise StopAsyncIteration from None
            raise

    def _interrupted(self, closed: Closed | None) -> StreamInterrupted:
        if self._overflowed:
            why, how = f"more than {self._max_buffered} bytes waited for their consumer", "overflow"
        elif closed is None or self._is_done:
            why, how = "the connection is closed", "closed"
        else:
            why, how = closed.words, "reset" if closed.code is None else str(closed.code)
        return self._concealed(StreamInterrupted(f"{self._provider}: {why}", how=how))

    def _concealed(self, error: E) -> E:
        """The same error with its provider, and without secrets."""
        error.provider = self._provider
        conceal(error, self._dial.secrets)
        return error

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._provider}, {'open' if self.is_connected else 'closed'})"
