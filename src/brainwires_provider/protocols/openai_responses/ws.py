"""The Responses API over a WebSocket: the client's frames, a look at the server's, and what a request continues.

A frame is one JSON text. `response.create` is a request's body laid flat, without what only HTTP has. Of a frame from
the server, a look gives its lane and whether it is the last; the decoder reads all of it.
Reference: the WebSocket mode guide, and the `response.create` and `response.steer` client events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.openai_responses.continuation import (
    Head,
    Heads,
    Match,
    Miss,
    Outline,
    head_of,
    items_of,
    outline,
)
from brainwires_provider.protocols.openai_responses.messages import encode_turn
from brainwires_provider.protocols.openai_responses.options import ResponsesQuirks
from brainwires_provider.protocols.openai_responses.response import ResponsesDecoder
from brainwires_provider.types import Continuation, Message, Origin
from brainwires_provider.types.checked import encode_unusual
from brainwires_provider.types.websocket import WebSocketOptions

__all__ = [
    "BEGINS",
    "TERMINAL",
    "Fault",
    "Peek",
    "ResponsesOverWebSocket",
    "SocketRequest",
    "answer_items",
    "create_frame",
    "fault_of",
    "limit_told",
    "peek",
    "steer_frame",
]

Item: TypeAlias = dict[str, Any]
Fault = Literal[
    "not_found",
    "no_parents",
    "instructions",
    "connection_limit",
    "lane_limit",
    "lane_name",
    "lanes_unknown",
    "in_flight",
    "other",
]

TERMINAL = frozenset(
    (
        "response.completed",
        "response.failed",
        "response.incomplete",
        "response.cancelled",
        "response.done",
        "error",
    )
)
"""The types of the events after which an answer has no more."""

BEGINS = frozenset(("response.created", "response.queued", "response.in_progress"))
"""The types of the events with which an answer begins."""

_HTTP_ONLY = frozenset(("stream", "stream_options", "background", "background_options", "stream_id"))
_HANDLES = ("previous_response_id", "conversation")


# -- coming in -----------------------------------------------------------------------------------------------


class _Answer(Struct, frozen=True, gc=False):
    id: str | None = None
    status: str | None = None


class Peek(Struct, frozen=True, gc=False, rename={"lane": "stream_id"}):
    """What a frame states about itself: its type, its lane (None: the unnamed one), and of which answer it is."""

    type: str
    lane: str | None = None
    response: _Answer | None = None

    @property
    def answer_id(self) -> str | None:
        """The answer's id; only the events of an answer's own life have one."""
        return None if self.response is None else self.response.id

    @property
    def status(self) -> str | None:
        """The answer's status, where its id is."""
        return None if self.response is None else self.response.status


_peek = msgspec.json.Decoder(Peek).decode


def peek(frame: bytes) -> Peek | None:
    """A glance at a frame; None for what is no JSON object. Everything else in it is skipped, not read."""
    try:
        return _peek(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read(frame)


def _read(frame: bytes) -> Peek | None:
    """The same of a frame that is not as strict, or has a field of another shape than is usual."""
    try:
        value = decode_json(frame)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    kind = value.get("type")
    if kind is None and isinstance(value.get("error"), dict):
        kind = "error"  # as xAI sends it
    response = value.get("response")
    told = response if isinstance(response, dict) else {}
    answer = _Answer(_text(told.get("id")), _text(told.get("status"))) if told else None
    return Peek(kind if isinstance(kind, str) else "", _text(value.get("stream_id")), answer)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


# -- what is sent --------------------------------------------------------------------------------------------


def create_frame(
    body: Mapping[str, Any],
    *,
    stream_id: str | None = None,
    parent: str | None = None,
    tail: Sequence[Mapping[str, Any]] | None = None,
    generate: bool | None = None,
) -> bytes:
    """The `response.create` event: the whole body, or with `parent` and `tail` only what that response has not seen.

    What says how the answer comes over HTTP is left out. Raises UnsupportedError for text that cannot be sent, and
    ValueError for a parent without a tail, or beside one that the body names by itself.
    """
    event = {name: value for name, value in body.items() if name not in _HTTP_ONLY}
    event["type"] = "response.create"
    if (parent is None) != (tail is None):
        raise ValueError("parent and tail go together")
    if parent is not None:
        named = [name for name in _HANDLES if body.get(name) is not None]
        if named:
            raise ValueError(f"the body says by itself what it continues ({named[0]})")
        event |= {"previous_response_id": parent, "input": tail}
    if stream_id is not None:
        event["stream_id"] = stream_id
    if generate is not None:
        event["generate"] = generate
    return _encoded(event)


def steer_frame(response_id: str, input: str | Sequence[Mapping[str, Any]]) -> bytes:
    """The `response.steer` event: more from the user (text, or user messages as items) for an answer under way.

    Raises UnsupportedError for text that cannot be sent.
    """
    return _encoded({"type": "response.steer", "previous_response_id": response_id, "input": input})


def _encoded(event: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(event)
    except (UnicodeEncodeError, TypeError, RecursionError):
        pass
    try:
        return encode_unusual(event, "the request")
    except (TypeError, ValueError) as error:
        raise UnsupportedError(str(error)) from None


# -- what came back, and what went wrong ---------------------------------------------------------------------


def answer_items(message: Message, origin: Origin, quirks: ResponsesQuirks) -> list[Item]:
    """An answer as the items by which a longer history will say it. Raises UnsupportedError, as that will."""
    return encode_turn(message, origin, quirks)


_FAULTS: Mapping[str, Fault] = {
    "previous_response_not_found": "not_found",
    "codex_previous_response_stale": "not_found",
    "websocket_connection_limit_reached": "connection_limit",
    "websocket_stream_limit_reached": "lane_limit",
    "invalid_stream_id": "lane_name",
    "response_already_in_flight": "in_flight",
    "websocket_queue_full": "in_flight",
}


# What servers without a `param` say of a field that they do not know. Elsewhere the name may be the caller's own.
_UNKNOWN_NAME = re.compile(
    r"^\W*stream_id\W+(extra|unknown|unsupported|unexpected|not )|\bbody\W+stream_id\b"
    r"|^\W*(unknown|unsupported|unexpected|unrecogni[sz]ed|extra)( \w+){1,3}\W+stream_id\W*$",
    re.IGNORECASE,
)


def fault_of(error: APIError) -> Fault:
    """What of the WebSocket mode's own an error is about; `"other"` for all that HTTP has too.

    The code decides, wherever in the error it lies; services without codes say it by the parameter.
    """
    told = _innermost(error.body)
    known = _FAULTS.get((error.code or "").lower()) or _FAULTS.get(str(told.get("code")).lower())
    if known is not None:
        return known
    param, status = told.get("param"), error.provider_status or error.status or 400
    if _WITH_INSTRUCTIONS.search(error.message):
        return "instructions"
    if _PARENT.search(error.message) or param == "previous_response_id":
        return "no_parents" if told.get("code") == "unsupported_parameter" else "not_found"
    is_named = param == "stream_id" or (param is None and _UNKNOWN_NAME.search(error.message) is not None)
    return "lanes_unknown" if status in (400, 422) and is_named else "other"


# How servers word it that they do not continue a response: `previous_response_id` named (OpenAI, Codex, gateways), the
# response not found (xAI), or not the caller's (LiteLLM).
_PARENT = re.compile(
    r"previous_response_id|\bresponse with id\b.{0,300}\bnot found|\bthis response id was not issued\b",
    re.IGNORECASE,
)
_WITH_INSTRUCTIONS = re.compile(r"\binstructions and previous_response_id together", re.IGNORECASE)

_MINUTES = re.compile(rb"\((\d{1,4}) minutes?\)")


def limit_told(frame: bytes) -> float | None:
    """How long a connection may live, in seconds, where the error about the connection's limit says it."""
    found = _MINUTES.search(frame)
    return None if found is None else 60.0 * int(found[1])


def _innermost(body: Any) -> Mapping[str, Any]:
    """The error object in a body: flat, in `error`, or in the `error` of a failed `response`."""
    for name in ("response", "error"):
        inner = body.get(name) if isinstance(body, Mapping) else None
        body = inner if isinstance(inner, Mapping) else body
    return body if isinstance(body, Mapping) else {}


# -- what the WebSocket transport is supplied with -----------------------------------------------------------

_LIMIT = b"websocket_connection_limit_reached"
_NAMES_USED_UP = b"websocket_stream_limit_reached"
_LANE = re.compile(rb'"stream_id"\s*:\s*"([A-Za-z0-9_.-]{1,256})"')


class _Named(Struct, gc=False):
    id: str | None = None


class _Output(Struct, gc=False):
    output: list[_Named] = []


class _Ended(Struct, gc=False):
    response: _Output


class _OneItem(Struct, gc=False):
    item: _Named


_End, _Done = msgspec.json.Decoder(_Ended), msgspec.json.Decoder(_OneItem)


def _states(frame: bytes, code: bytes) -> bool:
    """Whether a code is the error's own, and not a part of some text."""
    try:
        error = _innermost(decode_json(frame))
    except ValueError:
        return False
    return error.get("code") == code.decode()


_CONTINUES = {"stored": "only responses that it stores (store=True)", "none": "no response"}


class ResponsesOverWebSocket:
    """The declarations by which requests of this API go over WebSockets. See `base.protocol.OverWebSocket`."""

    prefix = "response."
    error = "error"
    begins = BEGINS
    refuses = frozenset(("error", "response.failed"))
    ends = TERMINAL
    item_done = "response.output_item.done"
    parent_unread = frozenset(("response.created", "response.queued", "response.metadata"))
    peek = staticmethod(peek)
    age_limit = staticmethod(limit_told)

    def __init__(self, quirks: ResponsesQuirks) -> None:
        self._quirks = quirks

    unsent = ("stream_options", "background_options")

    def carries(self, call: Call) -> bool:
        """Whether a call goes over a WebSocket: an answer, and one that is not made in the background."""
        return call.path == "/responses" and call.method == "POST" and not call.body.get("background")

    def opening(self) -> Call:
        """A call to the URL where connections are opened."""
        return Call("/responses", {})

    def is_age_limit(self, frame: bytes) -> bool:
        """Whether an error says that the connection is too old for another request."""
        return _LIMIT in frame and _states(frame, _LIMIT)

    def is_lane_limit(self, frame: bytes) -> bool:
        """Whether an error says that the connection takes no more names of lanes."""
        return _NAMES_USED_UP in frame and _states(frame, _NAMES_USED_UP)

    def lists(self, end: bytes, item: bytes | None) -> bool:
        """Whether the end of an answer lists the item of another frame; without one, whether it lists none."""
        try:
            items = _End.decode(end).response.output
            name = None if item is None else _Done.decode(item).item.id
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        return not items if item is None else name is not None and any(one.id == name for one in items)

    def lane_of(self, frame: bytes) -> str | None:
        """The lane that a frame names which cannot be read."""
        found = _LANE.search(frame)
        return None if found is None else found[1].decode()

    def held(self) -> Heads[Any]:
        """An empty index of what a server holds."""
        return Heads()

    def fault(self, error: APIError) -> str:
        """What an error is about, by the names of `recovery`."""
        return fault_of(error)

    def frame(self, call: Call) -> bytes:
        """The frame that sends all of a call."""
        return create_frame(call.body)

    def request(self, call: Call, origin: Origin) -> SocketRequest:
        """A call to be sent on a lane."""
        return SocketRequest(call.body, origin, self._quirks)


class SocketRequest:
    """See `transports.websocket.LaneRequest`: one request, what it continues, and what its answer stands for."""

    def __init__(self, body: Mapping[str, Any], origin: Origin, quirks: ResponsesQuirks) -> None:
        self._body = body
        self._origin = origin
        self._quirks = quirks
        self._items = items_of(body)
        self._decoder: ResponsesDecoder | None = None

    @cached_property
    def _outline(self) -> Outline:
        return outline(self._body)

    def decoder(self) -> ResponsesDecoder:
        """A decoder for the answer to the frame that was sent last."""
        self._decoder = ResponsesDecoder(self._origin, watchful=True)
        return self._decoder

    def find(self, held: Heads[Any], options: WebSocketOptions) -> Match[Any] | Miss:
        """What of the history a server holds."""
        if not self._is_continued_by(options):
            return Miss("unsupported", f"the server continues {_CONTINUES[options.continues]}")
        return held.find(self._outline, self._items)

    def _is_continued_by(self, options: WebSocketOptions) -> bool:
        return options.continues == "all" or (options.continues == "stored" and self._is_stored)

    @property
    def _is_stored(self) -> bool:
        return self._body.get("store") is not False

    def frame(self, lane: str | None, found: Match[Any] | Miss | None, options: WebSocketOptions) -> bytes:
        """The `response.create` of what was not sent before."""
        if isinstance(found, Match):
            parent, tail, body = found.head.response_id, self._items[found.tail :], self._body
            if not options.repeats_instructions:
                body = {name: value for name, value in body.items() if name != "instructions"}
            return create_frame(body, stream_id=lane, parent=parent, tail=tail)
        return create_frame(self._body, stream_id=lane)

    def continuation(self, found: Match[Any] | Miss | None) -> Continuation:
        """How many items of the history were sent; where all of them were, why."""
        count = len(self._items)
        if isinstance(found, Match):
            return Continuation(count - found.tail, count, found.head.response_id)
        return Continuation(count, count, reason="sent again" if found is None else found.reason)

    def head(self, options: WebSocketOptions) -> Head | None:
        """What the answer stands for; None unless it completed, and can be continued."""
        if not self._is_continued_by(options):
            return None
        decoder, asked = self._decoder, self._outline
        if decoder is None or not decoder.ended or decoder.extra.get("status") != "completed":
            return None
        if decoder.id is None or asked.handle is not None:
            return None  # it goes on from something that was never seen here
        items = answer_items(decoder.partial().message, self._origin, self._quirks)
        return head_of(asked, items, decoder.id, stored=self._is_stored)
