"""What a protocol is: pure functions from our values to a provider's bytes and back.

`encode` makes a Call, without I/O; the wire adds host and key. A `Decoder` reads one answer, message by
message or whole, and gives the same events for both. `decode_error` reads a refusal. None of them looks at a
clock, the environment or a log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import msgspec
from msgspec import Struct, field

from brainwires_provider.assembler import Assembler, well_formed
from brainwires_provider.errors import APIError, ProtocolError, StreamInterrupted
from brainwires_provider.events import Event, ResponseStart
from brainwires_provider.framing.base import Framing, WireMessage
from brainwires_provider.types import (
    Deviation,
    HostedTool,
    Message,
    Model,
    Options,
    Origin,
    ProviderOptions,
    Request,
    Response,
    TokenCount,
    Tool,
    Usage,
)

__all__ = [
    "Call",
    "ChatProtocol",
    "Decoder",
    "DecoderBase",
    "Reply",
    "callable_tools",
    "decode_json",
    "fast_decode",
    "looks_like",
    "merged",
    "own_options",
]

fast_decode = msgspec.json.Decoder().decode
"""JSON, strictly; raises msgspec.DecodeError. For hot paths, which fall back to `decode_json`."""
_MAX_RAGGED_DEPTH = 200


class Call(Struct, frozen=True, gc=False):
    """One request as the protocol says it: the path below the base URL, the JSON body, and what deviates."""

    path: str
    body: dict[str, Any]
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    deviations: tuple[Deviation, ...] = ()


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


def decode_json(data: bytes) -> Any:
    """JSON as services send it. Lone surrogates and NaN, which some emit, are let through; use `well_formed`.

    Raises ValueError saying what is wrong.
    """
    try:
        return fast_decode(data)
    except msgspec.DecodeError as error:
        return _decode_ragged(data, error)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _decode_ragged(data: bytes, error: Exception) -> Any:
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError(str(error)) from None
    level = [value]
    for _ in range(_MAX_RAGGED_DEPTH):
        level = [v for each in level for v in _children(each)]
        if not level:
            return value
    raise ValueError("nested too deeply")  # mending recurses


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def merged(known: Any, value: Any) -> Any:
    """What two tellings of a field make: objects are merged, of all else the last told wins, but for null."""
    if type(value) is not dict or type(known) is not dict:
        return value
    both = dict(known)
    for name, inner in value.items():
        if inner is not None or name not in both:
            both[name] = merged(both.get(name), inner)
    return both


def own_options(options: Options, kind: type[ProviderOptions], deviations: list[Deviation]) -> dict[str, Any]:
    """The set fields of this protocol's own options; those for another protocol are reported dropped."""
    given = options.provider_options
    if given is None:
        return {}
    merged: dict[str, Any] = {}
    for item in given if isinstance(given, (tuple, list)) else (given,):
        if isinstance(item, kind):
            merged.update(item.items())
        else:
            reason = f"{type(item).__name__} is for {item.protocol}, not for {kind.protocol}"
            deviations.append(Deviation("provider_options", "dropped", reason))
    return merged


def callable_tools(request: Request, deviations: list[Deviation]) -> tuple[Tool | HostedTool, ...]:
    """For a wire without a tool choice: what one allows is said by the tools that are sent."""
    tools, choice = tuple(request.tools), request.tool_choice
    if choice is not None and choice.mode == "none":
        deviations.append(Deviation("tool_choice", "emulated", "no tools are sent"))
        return ()
    if choice is not None and choice.names:
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        return tuple(t for t in tools if isinstance(t, Tool) and t.name in choice.names)
    return tools


def looks_like(body: bytes) -> str:
    """What bytes that are not the expected JSON look like, in words for an error message."""
    head = body[:400].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        return "an empty body"
    lowered = head[:100].lower()
    if lowered.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return f"an HTML page ({_excerpt(head)})"
    if head.startswith((b"data:", b"event:", b":")):
        return f"a server-sent event stream ({_excerpt(head)})"
    return _excerpt(head)


def _excerpt(head: bytes, limit: int = 120) -> str:
    text = " ".join(head.decode("utf-8", "replace").split())
    return repr(text[:limit] + ("…" if len(text) > limit else ""))


class DecoderBase:
    """What decoders share: the assembler, both names, the partial, and how JSON is read."""

    def __init__(self, origin: Origin) -> None:
        self.started = False
        self.ended = False
        self.parts = Assembler()
        self.origin = origin
        self.id: str | None = None
        self.model: str | None = None
        self.extra: dict[str, Any] = {}
        self.message_extra: dict[str, Any] = {}

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage()

    def partial(self) -> Response:
        """What has arrived so far."""
        response = Response(
            id=self.id,
            provider=self.origin.provider,
            model=self.model,
            message=Message("assistant", self.parts.parts(), extra=dict(self.message_extra) or None),
            finish_reason="pending",
            raw_finish_reason=None,
            usage=msgspec.structs.replace(self.usage(), complete=False),
            extra=dict(self.extra),
        )
        mended: Response = well_formed(response) if self.parts.ragged else response
        return mended

    def read_json(self, data: bytes) -> dict[str, Any]:
        """One JSON object. Raises ProtocolError, with the partial, for anything else."""
        try:
            value = fast_decode(data)
        except (msgspec.DecodeError, RecursionError):
            value = self._read_ragged(data)
        if type(value) is not dict:
            self.not_an_object(value, data)
        return value

    def not_an_object(self, value: Any, data: bytes) -> NoReturn:
        """Raise ProtocolError for JSON that is no object."""
        self.broken(
            f"the provider sent {type(value).__name__} where a JSON object is due: {looks_like(data)}"
        )

    def _read_ragged(self, data: bytes) -> Any:
        try:
            value = decode_json(data)
        except ValueError as error:
            self.broken(f"the provider sent what is not JSON ({error}): {looks_like(data)}")
        self.parts.ragged = True
        return value

    def keep(self, name: str, value: Any) -> None:
        """A field of the message that no part has a place for."""
        self.message_extra[name] = merged(self.message_extra.get(name), value)

    def start(self) -> None:
        """Announce the answer, once, by what is known of it."""
        if not self.started:
            self.started = True
            self.parts.events.append(ResponseStart(self.id, self.model))

    def answered_by(self, model: Any) -> None:
        """The parts from here on are of the model that the service names, if it names one."""
        if model and model != self.model:
            self.model = str(model)
            self.origin = Origin(self.origin.protocol, self.origin.provider, self.origin.model, self.model)

    def cut(self, message: str) -> StreamInterrupted:
        """The error of a stream that is over before its answer, with what had arrived."""
        return StreamInterrupted(
            message,
            how="eof",
            partial=self.partial(),
            provider=self.origin.provider,
            model=self.origin.model,
        )

    def broken(self, message: str) -> NoReturn:
        """Raise ProtocolError with what had arrived."""
        raise ProtocolError(
            message, partial=self.partial(), provider=self.origin.provider, model=self.origin.model
        )
