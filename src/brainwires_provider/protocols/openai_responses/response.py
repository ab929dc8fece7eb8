"""Reads a Responses answer: the events of a stream or of a socket, or a whole body.

An answer is a list of items, each with its place (`output_index`). `response.output_item.added` opens a part, the
deltas let it grow, and the item in `response.output_item.done` is what the part is in the end; the copy in the
terminal event fills in only what was never finished. A message's part is each piece of its content. A whole body
is its items, one after another, through the same code.

Deltas find their part by place, not by item id: some services give an item a new id with every event.
Reference: the Responses API reference, "object" and "streaming events" pages.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import msgspec

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.protocols.base.json import fast_decode, looks_like
from brainwires_provider.protocols.openai_responses.errors import event_error, failed_error
from brainwires_provider.protocols.openai_responses.parts import PartBuilder
from brainwires_provider.types import (
    FilePart,
    FinishReason,
    OpaquePart,
    Origin,
    RefusalPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.usage import split_usage

__all__ = ["EVENTS", "ResponsesDecoder", "usage_of"]

_FINISH: dict[str, FinishReason] = {
    "completed": "stop",
    "complete": "stop",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "queued": "pending",
    "in_progress": "pending",
}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("id", "model", "output", "usage"))
_TERMINAL = frozenset(("type", "sequence_number", "response", "stream_id"))


class ResponsesDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`.

    `sequence` is the number of the last event, from which a cut background answer can be taken up again. `watchful`
    tells events of another answer by their ids, where a connection carries several: by far not all services over HTTP
    name an item by one and the same id.
    """

    def __init__(self, origin: Origin, *, watchful: bool = False) -> None:
        super().__init__(origin)
        self._watchful = watchful
        self._counts_up = False
        self.sequence: int | None = None
        self._created = False
        self._usage: Any = None
        self._slots: dict[Any, PartBuilder] = {}
        self._audio: AudioBuilder | None = None

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one event of the wire. One never heard of is passed over."""
        if self.ended:
            return []
        try:
            event = fast_decode(message.data)
        except (ValueError, RecursionError):
            if not message.data.strip() or message.data.startswith(b"[DONE]"):
                return []
            event = self.read_json(message.data)
        if type(event) is not dict:
            self.not_an_object(event, message.data)
        kind = event.get("type")
        if kind is None and message.event is not None:
            kind = event["type"] = message.event
        number = event.get("sequence_number")
        if number is not None:
            if self._watchful and kind != "error":
                self._in_order(number, kind)
            self.sequence = number
        handler = EVENTS.get(kind)
        if handler is None:
            if kind is None:
                self._nameless(event, message.data)
            return []
        try:
            handler(self, event)
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        return self.parts.take()

    def _in_order(self, number: Any, kind: Any) -> None:
        """Numbers that have counted up go on to: one that does not is an event told twice, or another answer's."""
        last = self.sequence
        if type(number) is not int or type(last) is not int:
            return
        if number > last:
            self._counts_up = True
        elif self._counts_up:
            self.broken(f"the event {kind} has the number {number}, and the one before it had {last}")

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole body."""
        value = self.read_json(body)
        try:
            if not isinstance(value.get("output"), list):
                self._no_output(value, body)
            self._top(value)
            self._end(value)
        except _MISSHAPEN as error:
            self._misshapen(error, body)
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; unless the answer has ended, it was cut."""
        if self.ended:
            return []
        raise self.cut(
            "the stream ended before the answer did: none of response.completed, .incomplete, .failed came"
        )

    def usage(self) -> Usage:
        """The counts so far."""
        return usage_of(self._usage)

    # -- the answer's own life -------------------------------------------------------------------------------

    def _on_created(self, event: dict[str, Any]) -> None:
        if self._created:
            self.broken("a second response.created came before the first answer's end")
        self._created = True
        self._top(event["response"])

    def _on_progress(self, event: dict[str, Any]) -> None:
        self._top(event["response"])

    def _top(self, response: dict[str, Any]) -> None:
        """The response-level fields: the last told win."""
        self.answered_by(response.get("model"))
        if response.get("id"):
            self.id = str(response["id"])
        self.start()
        if response.get("usage"):
            self._usage = response["usage"]
        for name, value in response.items():
            if value is not None and name not in _TOP:
                self.extra[name] = value

    def _on_terminal(self, event: dict[str, Any]) -> None:
        response, told = event["response"], event["type"].removeprefix("response.")
        if told == "failed" or not response.get("status"):
            response = {**response, "status": told}
        self._top(response)
        for name, value in event.items():
            if name not in _TERMINAL and value is not None:
                self.extra[name] = value
        self._end(response)

    def _on_error(self, event: dict[str, Any]) -> None:
        self.ended = True
        raise event_error(event, self.partial(), self.origin)

    def _end(self, response: dict[str, Any]) -> None:
        self._fill_in(response.get("output") or [])
        error = response.get("error")
        if error or response.get("status") == "failed":
            self.ended = True
            self.extra.pop("error", None)
            raise failed_error(response, self.partial(), self.origin)
        if self._audio is not None:
            self._audio.close()
        self.parts.close_all()
        self.ended = True
        self._slots, self._audio = {}, None  # they refer back to here
        reason, raw = self._finish_reason(response)
        usage = self.usage()
        if reason == "pending":
            usage = msgspec.structs.replace(usage, complete=False)
        self.parts.events.append(ResponseEnd(reason, raw, usage, self.id, self.model, self.extra))

    def _fill_in(self, output: list[dict[str, Any]]) -> None:
        """What of the terminal's items was never finished by an event of its own."""
        done = [slot for slot in self._slots.values() if slot.is_done]
        ids = {slot.id for slot in done if slot.id is not None}
        if self._watchful and len(done) > len(output) and ids & {item.get("id") for item in output}:
            self.broken(f"{len(done)} items came, and the answer's end tells of {len(output)}")
        for index, item in enumerate(output):
            slot = self._slots.get(index)
            if slot is not None and slot.is_done:
                if self._watchful and not slot.is_told_by(item):
                    self.broken(
                        f"the answer's end tells of the item {item.get('id')!r} where {slot.id!r} came"
                    )
                continue
            if slot is not None or item.get("id") not in ids:
                self._slot(index, item).finish(item)

    def _finish_reason(self, response: dict[str, Any]) -> tuple[FinishReason, str | None]:
        status = response.get("status")
        details = response.get("incomplete_details")
        raw = details.get("reason") if isinstance(details, dict) and details.get("reason") else status
        if status is not None and status != "incomplete":
            raw = status
        told = None if raw is None else str(raw)
        reason = _FINISH.get(told or "completed", "other")
        if reason == "stop":
            parts = self.parts.parts()
            answered = {p.id for p in parts if isinstance(p, OpaquePart) and p.role == "result"}
            if any(isinstance(p, ToolCallPart) and p.id not in answered for p in parts):
                return "tool_calls", told
            if any(isinstance(p, RefusalPart) for p in parts):
                return "refusal", told
        return reason, told

    # -- items -----------------------------------------------------------------------------------------------

    def _slot(self, key: Any, item: dict[str, Any]) -> PartBuilder:
        """The place of an item, a fresh one where a service uses the same place again."""
        slot = self._slots.get(key)
        if slot is None or (slot.is_done and slot.id != item.get("id")):
            if slot is not None and self._watchful:
                self.broken(
                    f"an event of another answer came: the item {item.get('id')!r} where {slot.id!r} was"
                )
            self.start()
            slot = self._slots[key] = PartBuilder(self, item)
        return slot

    def _on_item_added(self, event: dict[str, Any]) -> None:
        item = event["item"]
        self._slot(_place(event, item), item).open(item)

    def _on_item_done(self, event: dict[str, Any]) -> None:
        item = event["item"]
        slot = self._slot(_place(event, item), item)
        if self._watchful and not slot.is_done and not slot.is_named(item.get("id")):
            self._foreign({**event, "item_id": item.get("id")})
        slot.finish(item)

    def _growing(self, event: dict[str, Any], kind: str) -> PartBuilder | None:
        """The open item that an event belongs to; None when it is over or was never told of."""
        key = event.get("output_index")
        slot = self._slots.get(event.get("item_id") if key is None else key)
        if slot is None and self._created and kind:
            slot = self._slot(_place(event, event), {"type": kind, "id": event.get("item_id")})
        if slot is None or slot.is_done:
            return None
        if self._watchful and not slot.is_named(event.get("item_id")):
            self._foreign(event)
        return slot

    def _foreign(self, event: dict[str, Any]) -> NoReturn:
        self.broken(
            f"an event of another answer came: {event['type']} names the item {event.get('item_id')!r}, "
            "which is not the one that is open at its place"
        )

    def _on_piece_added(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "message")
        if slot is not None and slot.kind == "message":
            slot.open_piece(event.get("content_index", 0), event["part"])

    def _on_text(self, event: dict[str, Any]) -> None:
        slot = self._slots.get(event.get("output_index"))
        if slot is None or slot.is_done:
            slot = self._growing(event, "message")
            if slot is None:
                return
        elif self._watchful and not slot.is_named(event.get("item_id")):
            self._foreign(event)
        piece = slot.pieces.get(event.get("content_index", 0))
        if piece is None:
            piece = slot.open_piece(event.get("content_index", 0), {"type": "output_text", "text": ""})
        self.parts.add(piece, event["delta"])

    def _on_refusal(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "message")
        if slot is not None:
            index = event.get("content_index", 0)
            piece = slot.pieces.get(index) or slot.open_piece(index, {"type": "refusal", "refusal": ""})
            self.parts.add(piece, event["delta"])

    def _on_text_done(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "message")
        if slot is not None:
            index = event.get("content_index", 0)
            piece = slot.pieces.get(index) or slot.open_piece(index, {"type": "output_text", "text": ""})
            slot.catch_up(piece, event["text"])

    def _on_refusal_done(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "message")
        if slot is not None:
            index = event.get("content_index", 0)
            piece = slot.pieces.get(index) or slot.open_piece(index, {"type": "refusal", "refusal": ""})
            slot.catch_up(piece, event["refusal"])

    def _on_annotation(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "")
        piece = slot.pieces.get(event.get("content_index", 0)) if slot is not None else None
        index = piece.index if piece is not None else None
        self.parts.events.append(OpaqueDelta(index, "citation", event["annotation"]))

    def _on_arguments(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "")
        if slot is not None and slot.part is not None and slot.is_call:
            self.parts.add(slot.part, event["delta"])

    def _on_arguments_done(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "")
        if slot is not None and slot.part is not None and slot.is_call:
            slot.catch_up(slot.part, event["arguments"] if "arguments" in event else event["input"])

    def _on_summary(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "reasoning")
        if slot is not None:
            slot.think("summary", event.get("summary_index", 0), event["delta"])

    def _on_thought(self, event: dict[str, Any]) -> None:
        slot = self._growing(event, "reasoning")
        if slot is not None:
            slot.think("content", event.get("content_index", 0), event["delta"])

    def _on_opaque(self, event: dict[str, Any]) -> None:
        """Progress or a fragment of something that is no text."""
        slot = self._growing(event, "")
        part: OpenPart | None = slot.part if slot is not None else None
        kind = event["type"].removeprefix("response.")
        self.parts.events.append(OpaqueDelta(None if part is None else part.index, kind, event))

    def _on_audio(self, event: dict[str, Any]) -> None:
        self.start()
        self._audio = self._audio or AudioBuilder(self)
        self._audio.feed(event)

    def _on_nothing(self, event: dict[str, Any]) -> None:
        """An event that says again what its neighbours say."""

    # -- failures --------------------------------------------------------------------------------------------

    def _nameless(self, event: dict[str, Any], data: bytes) -> None:
        """An object without a type: an error in the shape of a whole body, or another protocol."""
        if event.get("error"):
            self._on_error(event)
        if not self.started:
            self.broken(f"is this a Responses endpoint? An event without a type came: {looks_like(data)}")

    def _no_output(self, value: dict[str, Any], body: bytes) -> NoReturn:
        if value.get("error") or (value.get("message") and not value.get("id")):
            if value.get("id"):
                self._top(value)
                raise failed_error(value, self.partial(), self.origin)
            error = error_in_body(value, status=None, partial=self.partial())
            error.provider, error.model = self.origin.provider, self.origin.model
            raise error
        self.broken(f"the body has no output: {looks_like(body)}")

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(f"not the shape of a Responses answer ({error}): {looks_like(data)}")


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any) -> Usage:
    """The buckets of a `usage` object; its details are parts of the totals."""
    if not isinstance(counts, dict) or not counts:
        return Usage()
    inner, outer = _details(counts, "input"), _details(counts, "output")
    return split_usage(
        input_total=_count(counts.get("input_tokens")),
        output_total=_count(counts.get("output_tokens")),
        total=None if counts.get("total_tokens") is None else _count(counts["total_tokens"]),
        cache_read=_count(inner.get("cached_tokens")),
        cache_write=_count(inner.get("cache_write_tokens")),
        reasoning=_count(outer.get("reasoning_tokens")),
        raw=counts,
    )


def _details(counts: Mapping[str, Any], which: str) -> Mapping[str, Any]:
    details = counts.get(f"{which}_tokens_details")
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int:
    return value if type(value) is int else 0


# -- sound ---


class AudioBuilder:
    """Spoken output: fragments of sound and of its transcript, which belong to no item; one FilePart at the end."""

    __slots__ = ("_decoder", "_part", "_sound", "_transcript")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._part: OpenPart | None = None
        self._sound: list[bytes] = []
        self._transcript: list[str] = []

    def feed(self, event: dict[str, Any]) -> None:
        """One `response.audio.delta` or `response.audio.transcript.delta`."""
        kind = event["type"].removeprefix("response.")
        delta = event["delta"]
        if kind == "audio.delta":
            try:
                self._sound.append(base64.b64decode(delta, validate=True))
            except binascii.Error:
                raise ValueError("the audio is not base64") from None
        else:
            self._transcript.append(delta)
        if self._part is None:
            self._part = self._decoder.parts.open(
                FilePart(data=b"", origin=self._decoder.origin), self._so_far
            )
        self._decoder.parts.events.append(OpaqueDelta(self._part.index, kind, event))

    def _so_far(self) -> FilePart:
        text = "".join(self._transcript)
        return FilePart(data=b"".join(self._sound), text=text or None, origin=self._decoder.origin)

    def close(self) -> None:
        """End the part, which `feed` has opened."""
        assert self._part is not None
        self._decoder.parts.close(self._part)


# -- events ---


def _place(event: dict[str, Any], item: dict[str, Any]) -> Any:
    """Where an item stands; services that number nothing have at least ids."""
    index = event.get("output_index")
    if index is None:
        return event.get("item_id") or item.get("id") or item.get("call_id")
    return index


_Handler: TypeAlias = Callable[[ResponsesDecoder, dict[str, Any]], None]
_D = ResponsesDecoder
EVENTS: dict[str | None, _Handler] = {
    "response.created": _D._on_created,
    "response.queued": _D._on_progress,
    "response.in_progress": _D._on_progress,
    "response.completed": _D._on_terminal,
    "response.incomplete": _D._on_terminal,
    "response.failed": _D._on_terminal,
    "response.cancelled": _D._on_terminal,
    "error": _D._on_error,
    "response.output_item.added": _D._on_item_added,
    "response.output_item.done": _D._on_item_done,
    "response.content_part.added": _D._on_piece_added,
    "response.content_part.done": _D._on_nothing,
    "response.output_text.delta": _D._on_text,
    "response.output_text.done": _D._on_text_done,
    "response.output_text.annotation.added": _D._on_annotation,
    "response.refusal.delta": _D._on_refusal,
    "response.refusal.done": _D._on_refusal_done,
    "response.function_call_arguments.delta": _D._on_arguments,
    "response.function_call_arguments.done": _D._on_arguments_done,
    "response.custom_tool_call_input.delta": _D._on_arguments,
    "response.custom_tool_call_input.done": _D._on_arguments_done,
    "response.reasoning_summary_part.added": _D._on_nothing,
    "response.reasoning_summary_part.done": _D._on_nothing,
    "response.reasoning_summary_text.delta": _D._on_summary,
    "response.reasoning_summary_text.done": _D._on_nothing,
    "response.reasoning_text.delta": _D._on_thought,
    "response.reasoning_text.done": _D._on_nothing,
    "response.audio.delta": _D._on_audio,
    "response.audio.done": _D._on_nothing,
    "response.audio.transcript.delta": _D._on_audio,
    "response.audio.transcript.done": _D._on_nothing,
    "response.compaction.compacting": _D._on_opaque,
    "response.mcp_call_arguments.delta": _D._on_opaque,
    "response.mcp_call_arguments.done": _D._on_opaque,
    "response.code_interpreter_call_code.delta": _D._on_opaque,
    "response.code_interpreter_call_code.done": _D._on_opaque,
    "response.shell_call_command.added": _D._on_opaque,
    "response.shell_call_command.delta": _D._on_opaque,
    "response.shell_call_command.done": _D._on_opaque,
    "response.shell_call_output_content.delta": _D._on_opaque,
    "response.shell_call_output_content.done": _D._on_opaque,
    "response.image_generation_call.partial_image": _D._on_opaque,
}
EVENTS |= {
    f"response.{call}.{state}": _D._on_opaque
    for call, states in (
        ("file_search_call", ("in_progress", "searching", "completed")),
        ("web_search_call", ("in_progress", "searching", "completed")),
        ("code_interpreter_call", ("in_progress", "interpreting", "completed")),
        ("image_generation_call", ("in_progress", "generating", "completed")),
        ("mcp_call", ("in_progress", "completed", "failed")),
        ("mcp_list_tools", ("in_progress", "completed", "failed")),
    )
    for state in states
}
"""What is done with each event; those that are not here are passed over."""
