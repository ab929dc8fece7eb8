"""What a protocol is: pure functions from our values to a provider's bytes and back.

`encode` makes a Call, without I/O; the wire adds host and key. A `Decoder` reads one answer, message by
message or whole, and gives the same events for both. `decode_error` reads a refusal. None of them looks at a
clock, the environment or a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct, field

from brainwires_provider.errors import APIError
from brainwires_provider.events import Event
from brainwires_provider.framing.base import Framing, WireMessage
from brainwires_provider.types import Deviation, Model, Origin, Request, Response, TokenCount

__all__ = ["Call", "ChatProtocol", "Decoder", "OverWebSocket", "Reply"]


class Call(Struct, frozen=True, gc=False):
    """One encoded request: the path below the base URL, the JSON body, and the report of its options.

    `sent` names the fields that are in the body as they were given.
    """

    path: str
    body: dict[str, Any]
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    sent: tuple[str, ...] = ()


class Reply(Struct, frozen=True):
    """A refusal as the wire saw it. `now` is in seconds since the epoch, for dates in `Retry-After`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    now: float


class Decoder(Protocol):
    """Reads one answer. Raises APIError, ProtocolError or StreamInterrupted, each with what had arrived."""

    ended: bool
    """The ResponseEnd has been given; what follows belongs to another answer."""

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message of a stream."""
        ...

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of an answer that came as one body."""
        ...

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream has ended: give the remaining events. `clean` is False when it ended inside a message.

        Raises StreamInterrupted when the answer is not whole.
        """
        ...

    def partial(self) -> Response:
        """What has arrived so far."""
        ...


class OverWebSocket(Protocol):
    """What a protocol declares, as its attribute `websocket`, to be sent over WebSockets.

    Besides this it has the members of `transports.websocket.pool.WebSocketMode`.
    """

    def carries(self, call: Call) -> bool:
        """Whether a call goes over a WebSocket; any other goes over HTTP."""
        ...

    def opening(self) -> Call:
        """A call to the URL where connections are opened."""
        ...

    def frame(self, call: Call) -> bytes:
        """The frame that sends all of a call."""
        ...

    def request(self, call: Call, origin: Origin) -> Any:
        """A `transports.websocket.LaneRequest`, which makes the decoder of its answer."""
        ...

    def fault(self, error: APIError) -> str:
        """What an error is about, by the names in `transports.websocket.recovery`."""
        ...


class ChatProtocol(Protocol):
    """One wire protocol, with its service's quirks as constructor arguments."""

    name: str

    def framing(self, max_message: int) -> Framing:
        """The framing of a streamed answer, given the limit of one message in bytes."""
        ...

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """`request.model` is the provider's own name. Raises UnsupportedError for what cannot be said."""
        ...

    def decoder(self, origin: Origin) -> Decoder:
        """A fresh decoder for one answer."""
        ...

    def decode_error(self, reply: Reply) -> APIError:
        """What the provider said no with."""
        ...

    def count_call(self, request: Request, origin: Origin) -> Call:
        """The request that counts a request's tokens. Raises UnsupportedError where there is none."""
        ...

    def decode_count(self, body: bytes) -> TokenCount:
        """Raises ProtocolError."""
        ...

    def models_call(self, after: str | None) -> Call:
        """The request that lists models: the first page, or the one after a cursor."""
        ...

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        ...
