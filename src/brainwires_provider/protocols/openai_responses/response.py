"""Reads a Responses answer: the events of a stream or of a socket, or a whole body.

An answer is a list of items, each with its place (`output_index`). `response.output_item.added` opens a part, the
deltas let it grow, and the item in `response.output_item.done` is what the part is in the end; the copy in the
terminal event fills in only what was never finished. A message's part is each piece of its content. A whole body
is its items, one after another, through the same code.

Deltas find their part by place, not by item id: some services give an item a new id with every event.
Reference: the Responses API reference, "object" and "streaming events" pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from msgspec.structs import replace

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.copies import Seen
from brainwires_provider.protocols.base.decoder import AudioBuilder, DecoderBase, OpenPart
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.protocols.base.json import SHORT, decode_short, fast_decode, looks_like
from brainwires_provider.protocols.openai_responses.errors import event_error, failed_error
from brainwires_provider.protocols.openai_responses.models import usage_of
from brainwires_provider.protocols.openai_responses.parts import PartBuilder, StreamedItems, ids_of, seen_in
from brainwires_provider.types import (
    FinishReason,
    OpaquePart,
    Origin,
    Part,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)

__all__ = ["EVENTS", "ResponsesDecoder"]

_FINISH: dict[str, FinishReason] = {
    "completed": "stop",
    "complete": "stop",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
    "queued": "pending",
    "in_progress": "pending",
}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_PIECES: dict[str, tuple[type[Part], dict[str, Any]]] = {
    "output_text": (TextPart, {"type": "output_text", "text": ""}),
    "refusal": (RefusalPart, {"type": "refusal", "refusal": ""}),
}
_NOWHERE = object()  # a place that is no hint
_TOP = frozenset(("id", "model", "output", "usage"))
_TERMINAL = frozenset(("type", "sequence_number", "response", "stream_id"))


class ResponsesDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`.

    `sequence` is the number of the last event, from which a cut background answer can be taken up again. `watchful`
    finds events of another answer by their ids, where a connection carries several: by far not all services over HTTP
    name an item by one and the same id.
    """

    def __init__(self, origin: Origin, *, watchful: bool = False) -> None:
        super().__init__(origin)
        self._watchful = watchful
        self._counts_up = False
        self._is_next: bool | None = None
        """Whether the event's number is the next; None where numbers have not gone up one by one."""
        self._is_dense = True
        self.sequence: int | None = None
        self._created = False
        self._usage: Any = None
        self._items = StreamedItems()
        self._piece: OpenPart | None = None
        """Where text is growing, and the names that its events gave."""
        self._where: tuple[Any, ...] = ()
        self._audio: AudioBuilder | None = None

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one event of the wire. An unknown one is ignored."""
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
        kind = event.get("type")
        if kind is None and message.event is not None:
            kind = event["type"] = message.event
        handler = EVENTS.get(kind) if type(kind) is str else None
        self._count(event.get("sequence_number"), kind, handler)
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

    def _count(self, number: Any, kind: Any, handler: _Handler | None) -> None:
        """Numbers that have counted up go on to: one that does not is a repeated event, or another response's."""
        last = self.sequence
        if type(number) is not int or type(last) is not int:
            self._is_next = None
            self.sequence = last if number is None else number
            return
        self._is_next = number == last + 1 if self._is_dense else None
        self._is_dense = self._is_dense and number == last + 1
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
        response = event.get("response") or {}
        if not (self._watchful and self._created and str(response.get("id")) != self.id):
            self._top(response)

    def _top(self, response: dict[str, Any]) -> None:
        """The response-level fields: the last values win."""
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
        for builder in self._items.all:
            builder.close()
        self.parts.close_all()
        self.ended = True
        self._items, self._audio, self._piece = StreamedItems(), None, None  # they refer back to here
        reason, raw = self._finish_reason(response)
        usage = replace(self.usage(), complete=False) if reason == "pending" else self.usage()
        self.parts.events.append(ResponseEnd(reason, raw, usage, self.id, self.model, self.extra))

    def _fill_in(self, items: list[dict[str, Any]]) -> None:
        """What of the terminal event's items was never streamed, or never finished."""
        if not self._items.all:
            for place, item in enumerate(items):
                self._begin(item, place).finish(item)
            return
        copies = [seen_in(item, _NOWHERE if self._watchful else place) for place, item in enumerate(items)]
        matches = self._items.match_all(copies, whole=not self._watchful)
        if self._watchful and copies:
            self._check_end(copies, matches)
        for place, (item, builder) in enumerate(zip(items, matches, strict=True)):
            (builder or self._begin(item, place)).finish(item)

    def _check_end(self, copies: list[Seen], matches: list[PartBuilder | None]) -> None:
        """An end that lists other items than came, or fewer, is another response's."""
        listed = {id(builder) for builder in matches}
        unlisted = [b for b in self._items.all if b.is_done and id(b) not in listed]
        if unlisted:
            ids = [copy.ids for copy, builder in zip(copies, matches, strict=True) if builder is None]
            others = f"{ids[0]} in its place" if ids else "fewer items"
            self.broken(f"the item {unlisted[0].ids} came, and the response's end lists {others}")

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
        if not self.started:
            self.start()
        return self._items.begin(PartBuilder(self, item, place))

    def _named(self, item: dict[str, Any]) -> PartBuilder | None:
        """The item that has an id of this one; a call's id alone does not name items of two kinds."""
        for name in ids_of(item):
            builder = self._items.named(name)
            if builder is not None and (name == item.get("id") or builder.kind == item.get("type")):
                return builder
        return None

    def _check_new(self, event: dict[str, Any], name: Any) -> None:
        """What goes on with an item by a new id must at least be the next event, where these are counted."""
        if self._watchful and name is not None and self._is_next is False:
            self._foreign(event, name)

    def _on_item_added(self, event: dict[str, Any]) -> None:
        item, place = event["item"], event.get("output_index")
        builder = self._named(item)
        if builder is None:
            builder = self._items.at(place)
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
            self._check_new(event, item.get("id"))
            builder = self._unnamed(item, place, event)
        elif not builder.is_done and builder.kind != item.get("type") and not builder.seen().empty:
            builder.close()
            builder = None
        builder = builder or self._begin(item, place)
        builder.finish(item)
        self._items.end(builder)

    def _unnamed(self, item: dict[str, Any], place: Any, event: dict[str, Any]) -> PartBuilder | None:
        """The item that a final copy without a known id ends or repeats; None for one of its own."""
        copy = seen_in(item, place)
        before = self._items.at(place)
        if place is None and self._items.all:
            before = self._items.all[-1]
        if before is not None and before.is_done:
            if not (copy.ids and before.ids) and before.seen().texts == copy.texts:
                return before
            if self._watchful and place is not None:
                self._foreign(event, item.get("id"))
        if self._watchful:
            copy = replace(copy, place=_NOWHERE)
        found = self._items.ended_by(copy, lambda builder: _can_end(builder, copy.ids, place))
        if found is None and before is not None and not before.is_done and place is not None:
            if self._watchful:
                self._foreign(event, item.get("id"))
            before.close()
            self._items.end(before)
        return found

    def _of(self, event: dict[str, Any], kind: str, *, begin: bool = True) -> PartBuilder | None:
        """The growing item of a kind that an event belongs to, begun if need be; None when it is over.

        Named by its id, else by its place; an event with neither belongs to the last one of the kind.
        """
        name, place = event.get("item_id"), event.get("output_index")
        found = self._items.named(name)
        if found is None:
            self._check_new(event, name)
        if found is None or not found.is_a(kind):
            found = self._items.at(place)
        if found is not None and found.is_done:
            return None
        if kind and (found is None or not found.is_a(kind)):
            found = self._items.last_growing(lambda builder: builder.can_hold(kind, name, place))
            if found is None and begin and self._created:
                found = self._begin({"type": kind, "id": name}, place)
        if found is not None and not found.is_named(name) and self._watchful:
            self._foreign(event, name)
        return found

    def _foreign(self, event: dict[str, Any], name: Any) -> NoReturn:
        self.broken(
            f"an event of another response came: {event['type']} names the item {name!r}, "
            "which is not the one at its place"
        )

    # -- pieces ----------------------------------------------------------------------------------------------

    def _on_piece_added(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "")
        if builder is None or not builder.is_a("message"):
            builder = self._of(event, "message", begin=builder is None)
        if builder is not None:
            self._piece = None
            builder.open_piece(event.get("content_index", 0), event["part"])

    def _on_text(self, event: dict[str, Any]) -> None:
        where = event.get("item_id"), event.get("output_index"), event.get("content_index")
        piece = self._piece
        if piece is None or where != self._where:
            piece = self._piece = self._piece_of(event, "output_text")
            self._where = where
        if piece is not None:
            self.parts.add(piece, event["delta"])

    def _on_refusal(self, event: dict[str, Any]) -> None:
        piece = self._piece_of(event, "refusal")
        if piece is not None:
            self.parts.add(piece, event["delta"])

    def _on_text_done(self, event: dict[str, Any]) -> None:
        kind = "refusal" if "refusal" in event else "output_text"
        piece = self._piece_of(event, kind, is_copy=True)
        if piece is not None:
            self.parts.catch_up(piece, event["refusal" if "refusal" in event else "text"])

    def _piece_of(self, event: dict[str, Any], kind: str, *, is_copy: bool = False) -> OpenPart | None:
        """The piece that an event belongs to, opened if need be; the index is the last one's if none is given."""
        builder = self._of(event, "message")
        if builder is None:
            return None
        index = event.get("content_index")
        if index is None:
            index = next(reversed(builder.pieces), 0)
        of_kind, empty = _PIECES[kind]
        known = builder.piece(index, of_kind, is_copy=is_copy)
        return known or builder.open_piece((index, kind) if index in builder.pieces else index, empty)

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
        if builder is not None and builder.call is not None:
            builder.call.add(event["delta"])

    def _on_arguments_done(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "call", begin=False)
        if builder is not None and builder.call is not None:
            builder.call.catch_up(event["arguments"] if "arguments" in event else event["input"])

    def _on_thought(self, event: dict[str, Any]) -> None:
        builder = self._of(event, "reasoning")
        if builder is not None:
            thread = "content" if event["type"] == "response.reasoning_text.delta" else "summary"
            index = event.get("content_index" if thread == "content" else "summary_index", 0)
            builder.think(thread, index, event["delta"])

    def _on_opaque(self, event: dict[str, Any]) -> None:
        """Progress or a fragment of something that is no text."""
        builder = self._of(event, "")
        part = builder.part if builder is not None else None
        self.start()
        kind = event["type"].removeprefix("response.")
        self.parts.events.append(OpaqueDelta(None if part is None else part.index, kind, event))

    def _on_audio(self, event: dict[str, Any]) -> None:
        self.start()
        self._audio = self._audio or AudioBuilder(self.parts, self.origin)
        kind = event["type"].removeprefix("response.")
        what = "sound" if kind == "audio.delta" else "transcript"
        self._audio.add(event, kind, **{what: event["delta"]})

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
        if value.get("id") and (value.get("error") or value.get("status") == "failed"):
            self._top(value)
            self._end({**value, "output": []})
        if value.get("error") or (value.get("message") and not value.get("id")):
            error = error_in_body(value, status=None, partial=self.partial())
            error.provider, error.model = self.origin.provider, self.origin.model
            raise error
        self.broken(f"the body has no output: {looks_like(body)}")

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(f"not the shape of a Responses answer ({error}): {looks_like(data)}")


# -- events ---


def _can_end(builder: PartBuilder, ids: tuple[str, ...], place: Any) -> bool:
    """A call with another id at another place is another call; the ids and places of the rest may be wrong."""
    return builder.call is None or not (ids and builder.ids) or place in (None, builder.place)


_Handler: TypeAlias = Callable[[ResponsesDecoder, dict[str, Any]], None]
_D = ResponsesDecoder
_GROWING = frozenset((_D._on_text, _D._on_refusal, _D._on_arguments, _D._on_thought, _D._on_audio))
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
    "response.output_text.delta": _D._on_text,
    "response.output_text.done": _D._on_text_done,
    "response.output_text.annotation.added": _D._on_annotation,
    "response.refusal.delta": _D._on_refusal,
    "response.refusal.done": _D._on_text_done,
    "response.function_call_arguments.delta": _D._on_arguments,
    "response.function_call_arguments.done": _D._on_arguments_done,
    "response.custom_tool_call_input.delta": _D._on_arguments,
    "response.custom_tool_call_input.done": _D._on_arguments_done,
    "response.reasoning_summary_text.delta": _D._on_thought,
    "response.reasoning_text.delta": _D._on_thought,
    "response.audio.delta": _D._on_audio,
    "response.audio.transcript.delta": _D._on_audio,
}
_REPEATS = (
    "content_part.done",
    "reasoning_summary_part.added",
    "reasoning_summary_part.done",
    "reasoning_summary_text.done",
    "reasoning_text.done",
    "audio.done",
    "audio.transcript.done",
)
_PROGRESS = {
    "compaction": ("compacting",),
    "mcp_call_arguments": ("delta", "done"),
    "code_interpreter_call_code": ("delta", "done"),
    "shell_call_command": ("added", "delta", "done"),
    "shell_call_output_content": ("delta", "done"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "web_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed", "partial_image"),
    "mcp_call": ("in_progress", "completed", "failed"),
    "mcp_list_tools": ("in_progress", "completed", "failed"),
}
EVENTS |= {f"response.{name}": _D._on_nothing for name in _REPEATS}
EVENTS |= {
    f"response.{name}.{state}": _D._on_opaque for name, states in _PROGRESS.items() for state in states
}
"""What is done with each event; those that are not here are ignored."""
