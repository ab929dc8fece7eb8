"""What a protocol is: pure functions from our values to a provider's bytes and back.

`encode` makes a Call, without I/O; the wire adds host and key. A `Decoder` reads one answer, message by
message or whole, and gives the same events for both. `decode_error` reads a refusal. None of them looks at a
clock, the environment or a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from msgspec import Struct, field

from brainwires_provider.errors import APIError, ConfigError, UnsupportedError
from brainwires_provider.events import Event
from brainwires_provider.framing.base import Framing, WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.types import Deviation, Model, Origin, Request, Response, TokenCount

if TYPE_CHECKING:
    from brainwires_provider.framing.eventstream import EventStreamFraming
    from brainwires_provider.framing.ndjson import NDJSONFraming

__all__ = [
    "Call",
    "ChatProtocol",
    "Decoder",
    "OverHTTP",
    "OverWebSocket",
    "ProtocolBase",
    "Reply",
    "Uncounted",
    "no_count",
    "stored_path",
]

Quirks = TypeVar("Quirks")


class Call(Struct, frozen=True, gc=False):
    """One encoded request: the path below the base URL, the JSON body, and the report of its options.

    `sent` names the fields that are in the body as they were given, `weakened` those that are adapted to less than was
    asked for, which a strict request refuses.
    """

    path: str
    body: dict[str, Any]
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()
    sent: tuple[str, ...] = ()
    weakened: tuple[str, ...] = ()
    wrap: Callable[[Decoder], Decoder] | None = None
    """Makes the response's decoder of the protocol's own, for what the request emulates."""
    content: bytes | None = None
    """The body as it is, where it is no JSON object; `headers` has its type."""


class Reply(Struct, frozen=True):
    """A refusal as the wire saw it. `now` is in seconds since the epoch, for dates in `Retry-After`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    now: float


class Decoder(Protocol):
    """Reads one answer. Raises APIError, ProtocolError or StreamInterrupted, each with what had arrived."""

    @property
    def ended(self) -> bool:
        """The ResponseEnd has been given; what follows belongs to another answer."""
        ...

    @property
    def max_parts(self) -> int:
        """The most parts that the answer may have."""
        ...

    @max_parts.setter
    def max_parts(self, limit: int) -> None: ...

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

    Besides this it has the members of `transports.websocket.WebSocketMode`.
    """

    unsent: tuple[str, ...]
    """Fields of a body that the caller may have set, and that a frame has no place for."""

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


class OverHTTP(Protocol):
    """What a protocol declares, as its attribute `stored`, whose stored answers are continued over HTTP.

    `base.continuation` has the values that it exchanges.
    """

    def carries(self, call: Call) -> bool:
        """Whether a call may continue a stored answer, and its own answer be continued."""
        ...

    def held(self) -> Any:
        """An empty index of what a server holds: `base.continuation.Heads`."""
        ...

    def outline(self, body: Mapping[str, Any]) -> Any:
        """The outline of a body, and its items."""
        ...

    def continued(self, body: Mapping[str, Any], found: Any) -> dict[str, Any]:
        """The body that sends only what follows a match."""
        ...

    def head(self, asked: Any, decoder: Any) -> Any:
        """What an answer stands for; None unless it completed, and can be continued."""
        ...

    def is_gone(self, error: APIError) -> bool:
        """Whether an error says that the server does not hold what a request continues."""
        ...


class ChatProtocol(Protocol):
    """One wire protocol, with its service's quirks as constructor arguments."""

    name: str

    def framing(self, max_message: int, /) -> Framing:
        """The framing of a streamed answer, given the limit of one message in bytes."""
        ...

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """`request.model` is the provider's own name, `facts` what it accepts.

        Raises UnsupportedError for what cannot be said.
        """
        ...

    def decoder(self, origin: Origin, /) -> Decoder:
        """A fresh decoder for one answer."""
        ...

    def decode_error(self, reply: Reply) -> APIError:
        """What the provider said no with."""
        ...

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
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


class ProtocolBase(Generic[Quirks]):
    """What most protocols have in common: the quirks of one service, one framing, and one decoder."""

    name: str
    quirks_type: type[Quirks]
    """Made without arguments where none are given."""
    decoder: Callable[[Origin], Decoder]
    framing: type[SSEFraming | NDJSONFraming | EventStreamFraming] = SSEFraming

    def __init__(self, quirks: Quirks | None = None) -> None:
        self.quirks: Quirks = quirks or self.quirks_type()


class Uncounted:
    """A protocol whose API has no call that counts tokens."""

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError: this API has no call that counts tokens."""
        raise no_count(origin.provider, origin.model)

    def decode_count(self, body: bytes) -> TokenCount:
        """Raises UnsupportedError."""
        raise no_count()


def stored_path(folder: str, id: str) -> str:
    """The path of a stored answer: the id is the service's own, so it is percent-encoded.

    Raises ConfigError for what is no id, or would be another path.
    """
    if not isinstance(id, str) or not id.strip():
        raise ConfigError(f"a response is named by the id that the service gave it, not by {id!r}")
    if id in (".", ".."):
        raise ConfigError(f"{id!r} is no response's id")
    return f"/{folder}/{quote(id, safe='')}"


def no_count(provider: str | None = None, model: str | None = None) -> UnsupportedError:
    """The error of an API, or a service, without a call that counts tokens."""
    return UnsupportedError(
        "this API has no call that counts tokens; a response's usage has the count",
        provider=provider,
        model=model,
    )
