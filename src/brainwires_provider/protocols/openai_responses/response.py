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
from itertools import islice
from typing import Any, NoReturn, TypeAlias

from msgspec.structs import replace

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.copies import Seen, match_copies
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.protocols.base.json import fast_decode, looks_like
from brainwires_provider.protocols.openai_responses.errors import event_error, failed_error
from brainwires_provider.protocols.openai_responses.parts import PartBuilder, ids_of, seen_in
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
_NEAREST = 64  # growing items that an event without a known id is compared with
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
        self._items: list[PartBuilder] = []
        self._growing: dict[int, PartBuilder] = {}
        self._by_id: dict[str, PartBuilder] = {}
        self._by_place: dict[Any, PartBuilder] = {}
        self._piece: OpenPart | None = None
        """Where text is growing, and the names by which its events said so."""
        self._where: tuple[Any, ...] = ()
        self._audio: AudioBuilder | None = None

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one event of the wire. An unknown one is ignored."""
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
        handler = EVENTS.get(kind) if type(kind) is str else None
        number = event.get("sequence_number")
        if number is not None:
            self._count(number, kind, handler)
        if handler is None:
            if kind is None:
                self._nameless(event, message.data)
            return []
        try:
            handler(self, event)
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        return self.parts.take()

    def _count(self, number: Any, kind: Any, handler: _Handler | None) -> None:
        """Numbers that have counted up go on to: one that does not is a repeated event, or another response's."""
        last = self.sequence
        if type(number) is not int or type(last) is not int:
            self.sequence = number
            return
        if number > last:
            self._counts_up = True
            self.sequence = number
        elif self._watchful and self._counts_up and handler in _GROWING:
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
        response = event["response"]
        name = response.get("id")
        if self._created:
            if name is not None and str(name) != self.id:
                self.broken(f"the start of another response ({name}) came before the end of {self.id}")
            return
        self._created = True
        self._top(response)

    def _on_progress(self, event: dict[str, Any]) -> None:
        self._top(event.get("response") or {})

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
        response, status = event["response"], event["type"].removeprefix("response.")
        if status == "failed" or not response.get("status"):
            response = {**response, "status": "completed" if status == "done" else status}
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
        self._items, self._audio = [], None  # they refer back to here
        self._growing, self._by_id, self._by_place, self._piece = {}, {}, {}, None
        reason, raw = self._finish_reason(response)
        usage = self.usage()
        if reason == "pending":
            usage = replace(usage, complete=False)
        self.parts.events.append(ResponseEnd(reason, raw, usage, self.id, self.model, self.extra))

    def _fill_in(self, items: list[dict[str, Any]]) -> None:
        """What of the terminal event's items was never streamed, or never finished."""
        if not self._items:
            for place, item in enumerate(items):
                self._begin(item, place).finish(item)
            return
        streamed = [builder.seen() for builder in self._items]
        copies = [seen_in(item, None if self._watchful else place) for place, item in enumerate(items)]
        matches = match_copies(copies, streamed, whole=not self._watchful)
        if self._watchful:
            self._check_end(copies, matches)
        for place, (item, match) in enumerate(zip(items, matches, strict=True)):
            builder = self._begin(item, place) if match is None else self._items[match]
            builder.finish(item)

    def _check_end(self, copies: list[Seen], matches: list[int | None]) -> None:
        """An end that lists other items than came is another response's."""
        unlisted = [b for i, b in enumerate(self._items) if b.is_done and i not in set(matches)]
        if unlisted and any(match is None for match in matches):
            other = next(copy for copy, match in zip(copies, matches, strict=True) if match is None)
            self.broken(f"the response's end lists the item {other.ids} where {unlisted[0].ids} came")
        if unlisted and copies:
            done = sum(builder.is_done for builder in self._items)
            self.broken(f"{done} items came, and the response's end lists {len(copies)}")

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

    def _begin(self, item: dict[str, Any], place: Any) -> PartBuilder:
        self.start()
        builder = PartBuilder(self, item, place)
        self._items.append(builder)
        self._growing[id(builder)] = builder
        for name in builder.ids:
            self._by_id[name] = builder
        at_place = self._by_place.get(place)
        if place is not None and (at_place is None or at_place.is_done):
            self._by_place[place] = builder
        return builder

    def _named(self, item: dict[str, Any]) -> PartBuilder | None:
        """The item that has an id of this one; a call's id alone does not name items of two kinds."""
        for name in ids_of(item):
            builder = self._by_id.get(name)
            if builder is not None and (name == item.get("id") or builder.kind == item.get("type")):
                return builder
        return None

    def _on_item_added(self, event: dict[str, Any]) -> None:
        item, place = event["item"], event.get("output_index")
        builder = self._named(item)
        if builder is None:
            builder = self._by_place.get(place)
            if builder is not None and (builder.is_done or builder.kind != item.get("type")):
                if self._watchful and builder.is_done:
                    self._foreign(event, item.get("id"))
                builder = None
        self._piece = None
        (builder or self._begin(item, place)).open(item)

    def _on_item_done(self, event: dict[str, Any]) -> None:
        """The item is compared with what was streamed, by the rule for all copies, before it becomes a new part."""
        item, place = event["item"], event.get("output_index")
        self._piece = None
        builder = self._named(item)
        if builder is None:
            builder = self._unnamed(item, place, event)
        elif not builder.is_done and builder.kind != item.get("type") and not builder.seen().empty:
            builder.close()
            builder = None
        builder = builder or self._begin(item, place)
        builder.finish(item)
        self._growing.pop(id(builder), None)
        for name in builder.ids:
            self._by_id[name] = builder

    def _unnamed(self, item: dict[str, Any], place: Any, event: dict[str, Any]) -> PartBuilder | None:
        """The item that a final copy without a known id ends or repeats; None for one of its own."""
        copy = seen_in(item, place)
        before = self._by_place.get(place) if place is not None or not self._items else self._items[-1]
        if before is not None and before.is_done:
            if not (copy.ids and before.ids) and before.seen().texts == copy.texts:
                return before
            if self._watchful and place is not None:
                self._foreign(event, item.get("id"))
        growing = [b for b in islice(reversed(self._growing.values()), _NEAREST) if _can_end(b, copy)][::-1]
        if self._watchful:
            copy = replace(copy, place=None)
        (match,) = match_copies([copy], [builder.seen() for builder in growing], whole=False)
        if match is not None:
            return growing[match]
        if before is not None and not before.is_done and place is not None:
            if self._watchful:
                self._foreign(event, item.get("id"))
            before.close()
            self._growing.pop(id(before), None)
        return None

    def _of(self, event: dict[str, Any], kind: str, *, begin: bool = True) -> PartBuilder | None:
        """The growing item of a kind that an event belongs to, begun if need be; None when it is over.

        Named by its id, else by its place; an event with neither belongs to the last one of the kind.
        """
        name, place = event.get("item_id"), event.get("output_index")
        found = self._by_id.get(name) if name is not None else None
        if found is None or not _is_of(found, kind):
            found = self._by_place.get(place) if place is not None else None
        if found is not None and found.is_done:
            return None
        if (found is None or not _is_of(found, kind)) and kind:
            found = self._last_of(kind, name, place)
            if found is None and begin and self._created:
                found = self._begin({"type": kind, "id": name}, place)
        if found is not None and self._watchful and not found.is_named(name):
            self._foreign(event, name)
        return found

    def _last_of(self, kind: str, name: Any, place: Any) -> PartBuilder | None:
        for builder in islice(reversed(self._growing.values()), _NEAREST):
            is_nameless = name is None or not builder.ids
            is_here = place is None or builder.place is None or builder.place == place
            if is_nameless and is_here and _is_of(builder, kind):
                return builder
        return None

    def _foreign(self, event: dict[str, Any], name: Any) -> NoReturn:
        self.broken(
            f"an event of another response came: {event['type']} names the item {name!r}, "
            "which is not the one at its place"
        )

    # -- pieces ----------------------------------------------------------------------------------------------

    def _on_piece_added(self, event: dict[str, Any]) -> None:
        known = self._of(event, "", begin=False)
        builder = self._of(event, "message", begin=known is None)
        if builder is not None:
            self._piece = None
            builder.open_piece(event.get("content_index", 0), event["part"])

    def _on_text(self, event: dict[str, Any]) -> None:
        where = event.get("item_id"), event.get("output_index"), event.get("content_index")
        piece = self._piece
        if piece is None or where != self._where:
            piece = self._piece = self._piece_of(event, "output_text", "text")
            self._where = where
        if piece is not None:
            self.parts.add(piece, event["delta"])

    def _on_refusal(self, event: dict[str, Any]) -> None:
        piece = self._piece_of(event, "refusal", "refusal")
        if piece is not None:
            self.parts.add(piece, event["delta"])

    def _on_text_done(self, event: dict[str, Any]) -> None:
        piece = self._piece_of(event, "output_text", "text")
        if piece is not None:
            self.parts.catch_up(piece, event["text"])

    def _on_refusal_done(self, event: dict[str, Any]) -> None:
        piece = self._piece_of(event, "refusal", "refusal")
        if piece is not None:
            self.parts.catch_up(piece, event["refusal"])

    def _piece_of(self, event: dict[str, Any], kind: str, field: str) -> OpenPart | None:
        """The piece that an event belongs to, opened if need be; the index is the last one's if none is given."""
        builder = self._of(event, "message")
        if builder is None:
            return None
        index = event.get("content_index")
        if index is None:
            index = next(reversed(builder.pieces), 0)
        return builder.open_piece(index, {"type": kind, field: ""})

    def _on_annotation(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "message", begin=False)
        piece = builder.pieces.get(event.get("content_index", 0)) if builder is not None else None
        self.start()
        self.parts.events.append(
            OpaqueDelta(None if piece is None else piece.index, "citation", event["annotation"])
        )

    # -- calls and reasoning ---------------------------------------------------------------------------------

    def _on_arguments(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "call", begin=False)
        if builder is not None and builder.part is not None:
            self.parts.add(builder.part, event["delta"])

    def _on_arguments_done(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "call", begin=False)
        if builder is not None and builder.part is not None:
            self.parts.catch_up(builder.part, event["arguments"] if "arguments" in event else event["input"])

    def _on_summary(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "reasoning")
        if builder is not None:
            builder.think("summary", event.get("summary_index", 0), event["delta"])

    def _on_thought(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "reasoning")
        if builder is not None:
            builder.think("content", event.get("content_index", 0), event["delta"])

    def _on_opaque(self, event: dict[str, Any]) -> None:
        """Progress or a fragment of something that is no text."""
        builder = self._of(event, "")
        part = builder.part if builder is not None else None
        self.start()
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


def _is_of(builder: PartBuilder, kind: str) -> bool:
    return not kind or builder.kind == kind or (kind == "call" and builder.is_call)


def _can_end(builder: PartBuilder, copy: Seen) -> bool:
    """A call with another id at another place is another call; the ids and places of the rest may be wrong."""
    return not builder.is_call or not (copy.ids and builder.ids) or builder.place == copy.place


_Handler: TypeAlias = Callable[[ResponsesDecoder, dict[str, Any]], None]
_D = ResponsesDecoder
_GROWING = frozenset(
    (_D._on_text, _D._on_refusal, _D._on_arguments, _D._on_summary, _D._on_thought, _D._on_audio)
)
EVENTS: dict[str | None, _Handler] = {
    "response.created": _D._on_created,
    "response.queued": _D._on_progress,
    "response.in_progress": _D._on_progress,
    "response.completed": _D._on_terminal,
    "response.incomplete": _D._on_terminal,
    "response.failed": _D._on_terminal,
    "response.cancelled": _D._on_terminal,
    "response.done": _D._on_terminal,
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
