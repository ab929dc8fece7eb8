"""Reads a Messages response: the events of a stream, or a whole body.

A stream is one `message_start`, then the content blocks, each with a start, deltas and a stop, then `message_delta`
with the stop reason and the counts, and `message_stop`. A whole body is its blocks, one after another, through the
same code. Of the message's own fields, and of each count, the last value wins. Bedrock's InvokeModel wraps each event
in a message of an AWS event stream: `{"bytes": …}`, base64, named `chunk`.
Reference: https://platform.claude.com/docs/en/build-with-claude/streaming and ".../handling-stop-reasons"; Amazon
Bedrock's API reference, "InvokeModelWithResponseStream".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias

import msgspec

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.eventstream import EventStreamMessage
from brainwires_provider.protocols.anthropic.errors import error_in_event
from brainwires_provider.protocols.anthropic.parts import PartBuilder
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import SHORT, decode_short, fast_decode, looks_like
from brainwires_provider.types import FinishReason, Origin, ToolCallPart, Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["EVENTS", "AnthropicDecoder", "BedrockAnthropicDecoder", "usage_of"]

_FINISH: dict[str | None, FinishReason] = {
    None: "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",  # asked for by pause_after_compaction: sent back, the turn goes on
    "refusal": "refusal",
}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("type", "role", "id", "model", "content", "stop_reason", "usage"))
_ENVELOPE = frozenset(("type", "message", "delta", "usage", "index"))
_IN_TOTALS = ("message", "fallback_message")
_UNANNOUNCED = {"text_delta": "text", "thinking_delta": "thinking"}


class AnthropicDecoder(DecoderBase):
    """One response. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._announced = False
        self._counted = False
        self._has_ended_block = False
        self._usage: Any = None
        self._stop_reason: str | None = None
        self._builders: dict[Any, PartBuilder] = {}

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one event of the wire. One that is not known is skipped."""
        if self.ended:
            return []
        try:
            event = (decode_short if len(message.data) <= SHORT else fast_decode)(message.data)
        except (ValueError, RecursionError):
            event = None
        if type(event) is not dict:
            event = self.read_message(message)
            if event is None:
                return []
        kind = event.get("type") or message.event
        handler = EVENTS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            if message.event == "error":
                self._on_error(event)
            if kind is None:
                self._nameless(event, message.data)
            return []
        try:
            handler(self, event)
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole body."""
        value = self.read_json(body)
        try:
            content = value.get("content")
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            if not isinstance(content, list):
                self._no_content(value, body)
            self._top(value)
            self._counted = True
            self._blocks(content)
            self.answered_by(value.get("model"))
            self._end()
        except _MISSHAPEN as error:
            self._misshapen(error, body)
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream has ended; unless the response has, it was cut."""
        if self.ended:
            return []
        raise self.cut("the stream ended before the answer did: no message_stop came")

    def usage(self) -> Usage:
        """The counts so far."""
        return usage_of(self._usage, self._counted)

    # -- the message ------------------------------------------------------------------------------------------

    def _on_start(self, event: dict[str, Any]) -> None:
        message = event["message"]
        if self._announced:
            if self._has_ended_block or (message.get("id") or self.id) != self.id:
                self.broken("a second message_start came before the first message's end")
            return  # the same one again
        self._top(message)
        self._announced = True
        self._more(event)
        for place, block in enumerate(message.get("content") or ()):
            if isinstance(block, dict):
                self._open(place, block)

    def _top(self, message: dict[str, Any]) -> None:
        """The message's own fields."""
        if message.get("id"):
            self.id = str(message["id"])
        self.answered_by(message.get("model"))
        self.start()
        self._stop_reason = message.get("stop_reason") or self._stop_reason
        if message.get("usage"):
            self._usage = self.merging.merged(self._usage, message["usage"])
        for name, value in message.items():
            if value is not None and name not in _TOP:
                self.extra[name] = value

    def _more(self, event: dict[str, Any]) -> None:
        """The fields of an event beside its delta."""
        for name, value in event.items():
            if value is not None and name not in _ENVELOPE:
                self.extra[name] = value

    def _on_delta(self, event: dict[str, Any]) -> None:
        self._top(event["delta"])
        if event.get("usage"):
            self._usage = self.merging.merged(self._usage, event["usage"])
            self._counted = True
        self._more(event)

    def _on_stop(self, event: dict[str, Any]) -> None:
        if not self.parts.count:
            if not self._announced:
                self.broken("message_stop came before any message_start")
            if self._stop_reason is None:
                self.broken("message_stop came without any content and without a stop_reason")
        self._more(event)
        self._end()

    def _on_error(self, event: dict[str, Any]) -> NoReturn:
        self.ended = True
        raise error_in_event(event, self.partial(), self.origin)

    def _end(self) -> None:
        for builder in self._builders.values():
            builder.finish()
        self.ended = True
        raw = None if self._stop_reason is None else str(self._stop_reason)
        reason = _FINISH.get(raw, "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            reason = "tool_calls"
        self.parts.events.append(ResponseEnd(reason, raw, self.usage(), self.id, self.model, self.extra))

    # -- blocks ----------------------------------------------------------------------------------------------

    def _blocks(self, content: list[Any]) -> None:
        """The blocks of a whole body. Where another model took over, each part is its own model's."""
        handovers = [block for block in content if _is_fallback(block)]
        if handovers:
            self.answered_by(handovers[0]["from"]["model"])
        for block in content:
            if isinstance(block, dict):
                self._open(None, block).finish()
                self._builders.clear()

    def _open(self, place: Any, block: dict[str, Any]) -> PartBuilder:
        """A new block. One that never stopped ends where another begins at its place."""
        self.start()
        before = self._builders.pop(place, None)
        if before is not None:
            before.finish()
        builder = self._builders[place] = PartBuilder(self, block)
        if _is_fallback(block):
            self.answered_by(block["to"]["model"])
        return builder

    def _on_block(self, event: dict[str, Any]) -> None:
        if isinstance(event["content_block"], dict):
            self._open(event.get("index"), event["content_block"])

    def _on_block_delta(self, event: dict[str, Any]) -> None:
        builder = self._builders.get(event.get("index"))
        if builder is None:
            builder = self._unannounced(event)
            if builder is None:
                return
        builder.grow(event["delta"])

    def _unannounced(self, event: dict[str, Any]) -> PartBuilder | None:
        """The block of a delta without a start: a text can be without, a call's arguments cannot."""
        delta = event["delta"]
        kind = _UNANNOUNCED.get(delta["type"])
        if kind is not None:
            return self._open(event.get("index"), {"type": kind, kind: ""})
        if delta["type"] == "input_json_delta":
            self.broken("arguments came for a block that never began, so that it is not known of which call")
        self.parts.events.append(OpaqueDelta(None, delta["type"], delta))
        return None

    def _on_block_stop(self, event: dict[str, Any]) -> None:
        builder = self._builders.pop(event.get("index"), None)
        if builder is not None:
            builder.finish()
            self._has_ended_block = True

    def _on_nothing(self, event: dict[str, Any]) -> None:
        """A heartbeat."""

    # -- failures --------------------------------------------------------------------------------------------

    def _nameless(self, event: dict[str, Any], data: bytes) -> None:
        """An object without a type: an error in another protocol's shape, or no answer at all."""
        if event.get("error"):
            self._on_error(event)
        if not self.started:
            self.broken(f"is this a Messages endpoint? An event without a type came: {looks_like(data)}")

    def _no_content(self, value: dict[str, Any], body: bytes) -> NoReturn:
        if (
            value.get("type") == "error"
            or value.get("error")
            or (value.get("message") and not value.get("id"))
        ):
            self.ended = True
            raise error_in_event(value, self.partial(), self.origin)
        content = value.get("content")
        if content is not None:
            raise TypeError(f"its content is {type(content).__name__}")
        self.broken(f"the body has no content: {looks_like(body)}")

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(f"not the shape of a Messages answer ({error}): {looks_like(data)}")


def _is_fallback(block: Any) -> bool:
    """Whether a block marks where another model took over, and names both."""
    match block:
        case {"type": "fallback", "from": {"model": str()}, "to": {"model": str()}}:
            return True
    return False


_Handler: TypeAlias = Callable[[AnthropicDecoder, dict[str, Any]], None]
_D = AnthropicDecoder
EVENTS: dict[str, _Handler] = {
    "message_start": _D._on_start,
    "message_delta": _D._on_delta,
    "message_stop": _D._on_stop,
    "content_block_start": _D._on_block,
    "content_block_delta": _D._on_block_delta,
    "content_block_stop": _D._on_block_stop,
    "ping": _D._on_nothing,
    "error": _D._on_error,
}
"""The handler of each event; others are skipped."""


# -- InvokeModel ---------------------------------------------------------------------------------------------


class BedrockAnthropicDecoder(AnthropicDecoder):
    """One response of InvokeModel or InvokeModelWithResponseStream. See `base.protocol.Decoder`.

    An exception in the stream is Bedrock's own error. A whole body is a Messages body, unwrapped.
    """

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message of the event stream. One that is not known is skipped."""
        if self.ended:
            return []
        if not isinstance(message, EventStreamMessage):
            return super().feed(message)  # a gateway unwrapped it
        if message.headers.get(":message-type") in ("exception", "error"):
            self._refused(message)
        return super().feed(WireMessage(self._event(message.data))) if message.event == "chunk" else []

    def _refused(self, message: EventStreamMessage) -> NoReturn:
        # Deferred: it would load all of Converse with the first request to Anthropic's own service.
        from brainwires_provider.protocols.bedrock.errors import error_in_stream

        body = self.read_json(message.data) if message.data.strip() else {}
        self.ended = True
        raise error_in_stream(message.headers, body, self.partial(), self.origin)

    def _event(self, data: bytes) -> bytes:
        encoded = self.read_json(data).get("bytes")
        try:
            return base64.b64decode(encoded or "", validate=True)
        except (TypeError, ValueError):
            self.broken(f"a chunk of the stream is no base64: {looks_like(data)}")


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any, complete: bool = True) -> Usage:
    """The buckets of a `usage` object. Its input counts are disjoint; thinking is a part of the output.

    `passes` are the iterations that the totals leave out: compactions, advisors, and the tries of models that
    declined before a fallback.
    """
    if not isinstance(counts, dict) or not counts:
        return Usage()
    tiers, details = counts.get("cache_creation"), counts.get("output_tokens_details")
    written = counts.get("cache_creation_input_tokens")
    if written is None and isinstance(tiers, dict):
        written = sum(_count(tokens) for tokens in tiers.values())
    plain, read, written = (
        _count(n) for n in (counts.get("input_tokens"), counts.get("cache_read_input_tokens"), written)
    )
    usage = split_usage(
        input_total=plain + read + written,
        output_total=_count(counts.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        reasoning=_count(details.get("thinking_tokens")) if isinstance(details, dict) else 0,
        raw=counts,
    )
    return msgspec.structs.replace(usage, passes=_passes(counts.get("iterations")), complete=complete)


def _passes(iterations: Any) -> tuple[Mapping[str, Any], ...]:
    passes = [i for i in iterations if isinstance(i, dict)] if isinstance(iterations, list) else []
    served = [i.get("model") for i in passes if i.get("type") == "fallback_message"]
    return tuple(i for i in passes if i.get("type") not in _IN_TOTALS or _declined(i, served))


def _declined(iteration: Mapping[str, Any], served: Iterable[Any]) -> bool:
    return bool(served) and iteration.get("model") not in (None, *served)


def _count(value: Any) -> int:
    return value if type(value) is int else 0
