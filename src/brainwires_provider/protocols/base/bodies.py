"""Reads bodies that are already there, whole or streamed, with the rules by which a live answer is read.

A live answer and a recording must come to the same result, so what happens at a body's end stands here once,
in `feed_rest`, for both. `read_body` goes on after an answer's end, since a body may hold several. What
follows an answer and is none (a second terminal, a late count) is passed over, as it is live; an error object
is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from zlib import crc32

from brainwires_provider.errors import APIError, ProtocolError, ProviderError, StreamInterrupted
from brainwires_provider.events import Event, PartStart, ResponseEnd
from brainwires_provider.framing import EventStreamFraming, NDJSONFraming, SSEFraming
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, Framing, WireMessage
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import ChatProtocol, Decoder
from brainwires_provider.types import Origin

__all__ = ["FRAMINGS", "feed_rest", "framing_named", "read_body", "request_id", "tell_framing"]

_Made = Callable[[int], Framing]
_STREAMED: dict[str, _Made] = {"sse": SSEFraming, "ndjson": NDJSONFraming, "eventstream": EventStreamFraming}
FRAMINGS = (*_STREAMED, "whole")
"""The names of the framings that a recorded body can have."""

_SSE_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_PRELUDE = 12
_REQUEST_IDS = ("x-request-id", "request-id", "x-amzn-requestid", "x-amz-request-id", "x-goog-request-id")


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's name for a request, from an answer's headers, their names in lower case."""
    name = next(filter(headers.__contains__, _REQUEST_IDS), None)
    return None if name is None else headers[name]


def tell_framing(body: bytes) -> str:
    """Which of FRAMINGS a body has, recognised from its bytes; also where it was cut."""
    if len(body) >= _PRELUDE and crc32(body[:8]) == int.from_bytes(body[8:_PRELUDE]):
        return "eventstream"
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(_SSE_FIELDS) or (text and any(field.startswith(text) for field in _SSE_FIELDS)):
        return "sse"
    first, _, rest = text.partition(b"\n")
    return "ndjson" if rest.strip() and _is_object(first) else "whole"


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(decode_json(line), dict)
    except ValueError:
        return False


def framing_named(name: str, max_message: int = DEFAULT_MAX_MESSAGE) -> Framing | None:
    """A fresh framing; None for `"whole"`. Raises ValueError for a name that is not in FRAMINGS."""
    if name not in FRAMINGS:
        raise ValueError(f"there is no framing {name!r}; there are: {', '.join(FRAMINGS)}")
    made = _STREAMED.get(name)
    return None if made is None else made(max_message)


def feed_rest(decoder: Decoder, messages: Iterable[WireMessage], clean: bool, events: list[Event]) -> None:
    """The body has ended, and `Framing.finish` gave the rest: what is complete counts, what was cut does not.

    Appends to `events`, so that those before a failure are not lost with it. Raises as `Decoder.finish` does.
    """
    for message in messages:
        if decoder.ended:
            break
        try:
            events += decoder.feed(message)
        except ProtocolError:
            if clean:
                raise
            break
        clean = clean or bool(message.data)  # a cut can leave a message without data, which says nothing
    if not decoder.ended:
        events += decoder.finish(clean)


def read_body(
    protocol: ChatProtocol, origin: Origin, body: bytes, framing: Framing | None
) -> Iterator[Event]:
    """The events of every answer in a body. `framing` is None for a body that is one answer, not streamed.

    Raises what reading the same body live would raise; `partial` is what had arrived of the one that failed.
    """
    if framing is None:
        if not body.strip():
            raise ProtocolError("the provider answered with an empty body")
        yield from protocol.decoder(origin).feed_whole(body)
        return
    reading = _Reading(protocol, origin)
    try:
        for message in framing.feed(body):
            yield from reading.feed(message)
        yield from reading.finish(framing)
    except ProtocolError as error:
        if reading.is_over:
            return
        if error.partial is None and reading.begun:
            error.partial = reading.decoder.partial()
        raise
    if reading.failed is not None:
        raise reading.failed


class _Reading:
    """One answer after another out of one stream.

    The first is expected; a later one is believed once it has opened a part or come to an end, and until then
    its events are held back.
    """

    def __init__(self, protocol: ChatProtocol, origin: Origin) -> None:
        self._protocol = protocol
        self._origin = origin
        self._believed = True
        self._held: list[Event] = []
        self.begun = False
        self.failed: ProviderError | None = None
        self.decoder = protocol.decoder(origin)

    @property
    def is_over(self) -> bool:
        """Whether all that was expected has come, so that what follows cannot spoil it."""
        return self.decoder.ended or not (self._believed or self._held)

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message."""
        if self.decoder.ended:
            self._next()
        try:
            events = self.decoder.feed(message)
        except (ProtocolError, StreamInterrupted):
            if self._believed:
                raise
            self._next()
            return []
        return self._passed(events)

    def finish(self, framing: Framing) -> list[Event]:
        """The events at the body's end; a failure that comes after some of them waits in `failed`."""
        messages, clean = framing.finish()
        if self.decoder.ended:
            if not messages:
                return []
            self._next()
        events: list[Event] = []
        try:
            feed_rest(self.decoder, messages, clean, events)
        except APIError as error:
            self.failed = error
        except (ProtocolError, StreamInterrupted) as error:
            if self._believed or (self._held and isinstance(error, StreamInterrupted)):
                self.failed = error
        return self._passed(events)

    def _next(self) -> None:
        self.decoder = self._protocol.decoder(self._origin)
        self._believed = False
        self._held = []

    def _passed(self, events: list[Event]) -> list[Event]:
        self.begun = self.begun or bool(events)
        if self._believed:
            return events
        self._held += events
        if not any(isinstance(event, (PartStart, ResponseEnd)) for event in self._held):
            return []
        self._believed = True
        held, self._held = self._held, []
        return held
