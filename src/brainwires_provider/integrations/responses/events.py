"""The events of any protocol as the stream of a Responses answer, and the response object at its end.

    encoder = ResponsesEncoder(model="gpt-6", seed=uuid4().hex, created_at=time.time())
    for event in events:
        for wire in encoder.feed(event):
            ...                         # dicts: {"type": "response.created", …}
    encoder.response                    # the response object

A pure module: no clock, no I/O, no `openai`. Every item has its added, delta and done events; the deltas of a text
join to the final one. Reasoning is shown as a summary, whatever the provider calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from brainwires_provider.errors import APIError, ProviderError
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.integrations.responses.ended import ended
from brainwires_provider.integrations.responses.items import (
    Item,
    carrier_of,
    is_item,
    is_own,
    is_piece,
    item_of,
    message_of,
    own_id,
    own_message,
    piece_of,
)
from brainwires_provider.types import (
    ImagePart,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Response,
    TextPart,
    ToolCallPart,
)

__all__ = ["ResponsesEncoder"]

_PREFIXES = {TextPart: "msg", RefusalPart: "msg", ReasoningPart: "rs", ToolCallPart: "fc", ImagePart: "ig"}
_EMPTY: Mapping[str, Item] = {
    "output_text": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "refusal": {"type": "refusal", "refusal": ""},
}
_CODES = {429: "rate_limit_exceeded", 400: "invalid_prompt"}
REFUSED = "The model declined to answer."
"""The refusal of a model that gives no words for it."""


class _Open:
    """An output item under construction: a message with its pieces, or a part."""

    __slots__ = ("call_id", "count", "deltas", "id", "open", "parts", "place", "streamed")

    def __init__(self, id: str, place: int) -> None:
        self.id, self.place = id, place
        self.call_id = ""
        self.deltas: str | None = None
        """Of a call: the name of the events that bring its arguments."""
        self.parts: dict[int, Part] = {}
        """Of a message: its finished pieces, by content index."""
        self.count = 0
        """Of a message: how many pieces have begun."""
        self.open = 0
        """Of a message: how many of them have not ended."""
        self.streamed: list[list[str]] = []
        """Of reasoning: the pieces of its summary so far, each by its fragments."""

    def summary(self) -> list[str]:
        """Of reasoning: the texts of its summary so far."""
        return ["".join(fragments) for fragments in self.streamed]


class ResponsesEncoder:
    """Encodes the events of one response, in order.

    Args:
        seed: makes the ids of this response and its items, where the provider gives none; a text that no other
            response of the conversation has.
        model: the model's name in the response until the provider gives it.
        created_at: seconds since 1970.
        fields: further fields of the response object, such as `tools` and `temperature` of the request.
        taken: the ids of earlier calls, which a new call does not get again, as far as some servers count from 0.
        keep: keep beside each item what it has no field for, in `provider_data`. See `responses_items`.
    """

    def __init__(
        self,
        *,
        seed: str,
        model: str = "",
        created_at: float = 0.0,
        fields: Mapping[str, Any] | None = None,
        taken: Collection[str] = (),
        keep: bool = True,
    ) -> None:
        self.response: Item = {
            "id": f"resp_{seed}",
            "object": "response",
            "created_at": created_at,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            "usage": None,
            **(fields or {}),
        }
        self._seed, self._keep = seed, keep
        self._calls, self._ids = set(taken), set[str]()
        self._wire: list[Item] = []
        self._number = 0
        self._begun = False
        self._output: list[Item | None] = []
        """The items by place; None while they are open."""
        self._where: dict[int, tuple[_Open, int]] = {}
        """For each open part its item, and its place in a message."""
        self._message: _Open | None = None
        """The message that the next piece continues."""

    def feed(self, event: Event) -> list[Item]:
        """The events of the wire that an event becomes."""
        _FEED[type(event)](self, event)
        wire, self._wire = self._wire, []
        return wire

    def whole(self, response: Response[Any]) -> Item:
        """The response object of a whole response, without the events of a stream."""
        if response.id:
            self.response["id"] = response.id
        for part in response.message.content:
            if is_piece(part):
                message = self._message
                if message is None or not self._goes_on(message, part):
                    self._close_message()
                    message = self._message = self._new(part)
                message.parts[len(message.parts)] = part
                continue
            self._close_message()
            item = self._new(part)
            call_id = self._call_id(part, item) if isinstance(part, ToolCallPart) else None
            fields = item_of(part, item.id, call_id=call_id, keep=self._keep)
            self._output[item.place] = fields if fields.get("id") == item.id else {**fields, "id": item.id}
        self._close_message()
        end = ResponseEnd(
            response.finish_reason,
            response.raw_finish_reason,
            response.usage,
            response.id,
            response.model,
            response.extra,
            response.message.extra,
        )
        self._begun = True
        self._on_end(end)
        self._wire.clear()
        return self.response

    def _close_message(self) -> None:
        message, self._message = self._message, None
        if message is not None:
            self._output[message.place] = self._message_item(message)

    def fail(self, error: ProviderError) -> list[Item]:
        """The end of a response that failed."""
        self._begin()
        self._give_up()
        code = (
            _CODES.get(error.status or 0, "server_error") if isinstance(error, APIError) else "server_error"
        )
        self.response = {
            **self.response,
            "status": "failed",
            "error": {"code": code, "message": error.message},
        }
        self._finish("response.failed")
        wire, self._wire = self._wire, []
        return wire

    # -- the response ----------------------------------------------------------------------------------------

    def _emit(self, kind: str, **fields: Any) -> None:
        self._wire.append({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._emit("response.created", response=self.response)
            self._emit("response.in_progress", response=self.response)

    def _on_start(self, event: ResponseStart) -> None:
        if not self._begun:
            named = {"id": event.id, "model": event.model}
            self.response = {**self.response, **{name: value for name, value in named.items() if value}}
        self._begin()

    def _on_restart(self, event: ResponseRestart) -> None:
        """What came so far was streamed, and is not in the response."""
        self._give_up()
        self._output = [None] * len(self._output)

    def _give_up(self) -> None:
        """What is open stays as it is, incomplete."""
        for item, _ in self._where.values():
            if self._output[item.place] is None:
                pieces = [{"type": "summary_text", "text": text} for text in item.summary()]
                self._done(
                    item, {"type": "reasoning", "id": item.id, "summary": pieces, "status": "incomplete"}
                )
        self._where, self._message = {}, None

    def _on_end(self, event: ResponseEnd) -> None:
        self._begin()
        self._leave_message()
        if event.finish_reason == "refusal" and not self._has_refusal():
            self._refuse()
        if event.message_extra and self._keep:
            id = f"rs_{self._seed}_{len(self._output)}"
            self._whole(_Open(id, self._place()), carrier_of(id, (), event.message_extra))
        self.response = ended(self.response, event)
        status = self.response["status"]
        self._finish(f"response.{status}")

    def _finish(self, kind: str) -> None:
        self.response["output"] = [item for item in self._output if item is not None]
        self._emit(kind, response=self.response)

    def _has_refusal(self) -> bool:
        pieces = (piece for item in self._output if item is not None for piece in item.get("content") or ())
        return any(piece.get("type") == "refusal" for piece in pieces)

    def _refuse(self) -> None:
        index = -1
        self._start_piece(index, RefusalPart(""))
        self._on_delta(RefusalDelta(index, REFUSED))
        self._on_part_end(PartEnd(index, RefusalPart(REFUSED)))
        self._leave_message()

    # -- items -----------------------------------------------------------------------------------------------

    def _place(self) -> int:
        self._output.append(None)
        return len(self._output) - 1

    def _new(self, part: Part) -> _Open:
        """An item with an id that no other of the response has: some services repeat theirs."""
        place, id = self._place(), own_id(part)
        if id is None or id in self._ids:
            is_custom = isinstance(part, ToolCallPart) and part.kind == "custom"
            prefix = "ctc" if is_custom else _PREFIXES.get(type(part), "rs")
            id = f"{prefix}_{self._seed}_{place}"
        self._ids.add(id)
        return _Open(id, place)

    def _added(self, item: _Open, fields: Item) -> None:
        self._emit("response.output_item.added", output_index=item.place, item=fields)

    def _done(self, item: _Open, fields: Item) -> None:
        self._output[item.place] = fields
        self._emit("response.output_item.done", output_index=item.place, item=fields)

    def _whole(self, item: _Open, fields: Item) -> None:
        """An item that comes at once."""
        self._added(item, fields)
        self._done(item, fields)

    def _on_part_start(self, event: PartStart) -> None:
        self._begin()
        part = event.part
        if is_piece(part):
            self._start_piece(event.index, part)
            return
        self._leave_message()
        item = self._new(part)
        self._where[event.index] = item, 0
        if isinstance(part, ReasoningPart):
            self._added(item, {"type": "reasoning", "id": item.id, "summary": [], "status": "in_progress"})
        elif isinstance(part, ToolCallPart):
            self._start_call(item, part)
        elif _is_shown(part):
            begun = item_of(part, item.id, keep=False)
            self._added(item, {**begun, "id": item.id, "status": begun.get("status") or "in_progress"})

    def _start_call(self, item: _Open, part: ToolCallPart) -> None:
        item.call_id = self._call_id(part, item)
        if part.kind == "custom":
            item.deltas = "response.custom_tool_call_input"
        elif part.kind == "function" or not is_own(part):
            item.deltas = "response.function_call_arguments"
        begun = item_of(
            replace(part, arguments="") if item.deltas else part, item.id, call_id=item.call_id, keep=False
        )
        self._added(item, {**begun, "id": item.id, "status": "in_progress"})

    def _call_id(self, part: ToolCallPart, item: _Open) -> str:
        """The id of a call, which no other call of the conversation has."""
        id = part.call_id
        if not id or id in self._calls:
            id = f"call_{self._seed}_{item.place}"
        self._calls.add(id)
        return id

    def _on_opaque(self, event: OpaqueDelta) -> None:
        """The progress of an item of the Responses API."""
        data = event.data
        known = None if event.index is None else self._where.get(event.index)
        if known is None or not isinstance(data, dict) or "item_id" not in data:
            return
        own = {"item_id": known[0].id, "output_index": known[0].place, "sequence_number": self._number}
        self._wire.append({**data, **own})
        self._number += 1

    # -- messages --------------------------------------------------------------------------------------------

    def _start_piece(self, index: int, part: Part) -> None:
        message = self._message
        if message is not None and not self._goes_on(message, part):
            self._leave_message()
            message = None
        if message is None:
            message = self._message = self._new(part)
            fields = {"type": "message", "role": "assistant", **own_message(part)}
            self._added(message, {**fields, "id": message.id, "status": "in_progress", "content": []})
        self._where[index] = message, message.count
        at = {"item_id": message.id, "output_index": message.place, "content_index": message.count}
        message.count += 1
        message.open += 1
        self._emit("response.content_part.added", **at, part=_empty(part))

    @staticmethod
    def _goes_on(message: _Open, part: Part) -> bool:
        """Whether a piece is of the message that is open: in the Responses API, each message has its id."""
        return own_id(part) in (None, message.id)

    def _leave_message(self) -> None:
        """The next piece begins another message; this one ends with its last piece."""
        message, self._message = self._message, None
        if message is not None and not message.open:
            self._end_message(message)

    def _end_message(self, message: _Open) -> None:
        self._done(message, self._message_item(message))

    def _message_item(self, message: _Open) -> Item:
        parts = [message.parts[index] for index in sorted(message.parts)]
        return {**message_of(message.id, parts, keep=self._keep), "id": message.id}

    def _end_piece(self, message: _Open, place: int, part: Part) -> None:
        message.parts[place] = part
        at = {"item_id": message.id, "output_index": message.place, "content_index": place}
        piece = piece_of(part)
        for number, cited in enumerate(piece.get("annotations") or ()):
            kind = "response.output_text.annotation.added"
            self._emit(kind, **at, annotation_index=number, annotation=cited)
        if isinstance(part, TextPart):
            self._emit("response.output_text.done", **at, text=part.text, logprobs=piece["logprobs"])
        elif isinstance(part, RefusalPart):
            self._emit("response.refusal.done", **at, refusal=part.text)
        self._emit("response.content_part.done", **at, part=piece)
        message.open -= 1
        if not message.open and message is not self._message:
            self._end_message(message)

    # -- deltas and ends -------------------------------------------------------------------------------------

    def _on_text(self, event: TextDelta) -> None:
        item, place = self._where[event.index]
        self._wire.append(
            {
                "type": "response.output_text.delta",
                "sequence_number": self._number,
                "item_id": item.id,
                "output_index": item.place,
                "content_index": place,
                "delta": event.text,
                "logprobs": [],
            }
        )
        self._number += 1

    def _on_delta(self, event: RefusalDelta) -> None:
        item, place = self._where[event.index]
        at = {"item_id": item.id, "output_index": item.place, "content_index": place}
        self._emit("response.refusal.delta", **at, delta=event.text)

    def _on_arguments(self, event: ToolCallDelta) -> None:
        item, _ = self._where[event.index]
        if item.deltas is not None:
            self._emit(f"{item.deltas}.delta", item_id=item.id, output_index=item.place, delta=event.text)

    def _on_reasoning(self, event: ReasoningDelta) -> None:
        item, _ = self._where[event.index]
        if event.text == "\n\n" and item.streamed:
            self._end_summary(item)
            self._start_summary(item)
            return
        if not item.streamed:
            self._start_summary(item)
        item.streamed[-1].append(event.text)
        kind = "response.reasoning_summary_text.delta"
        self._emit(kind, **self._summary(item), delta=event.text)

    def _summary(self, item: _Open) -> Item:
        return {"item_id": item.id, "output_index": item.place, "summary_index": len(item.streamed) - 1}

    def _start_summary(self, item: _Open) -> None:
        item.streamed.append([])
        piece = {"type": "summary_text", "text": ""}
        self._emit("response.reasoning_summary_part.added", **self._summary(item), part=piece)

    def _end_summary(self, item: _Open) -> None:
        text, at = "".join(item.streamed[-1]), self._summary(item)
        self._emit("response.reasoning_summary_text.done", **at, text=text)
        self._emit("response.reasoning_summary_part.done", **at, part={"type": "summary_text", "text": text})

    def _on_part_end(self, event: PartEnd) -> None:
        item, place = self._where.pop(event.index)
        part = event.part
        if is_piece(part):
            self._end_piece(item, place, part)
        elif isinstance(part, ReasoningPart):
            if item.streamed:
                self._end_summary(item)
            self._done(item, item_of(part, item.id, summary=item.summary(), keep=self._keep))
        elif isinstance(part, ToolCallPart):
            self._end_call(item, part)
        elif _is_shown(part):
            self._done(item, {**item_of(part, item.id, keep=self._keep), "id": item.id})
        else:
            self._whole(item, item_of(part, item.id, keep=self._keep))

    def _end_call(self, item: _Open, part: ToolCallPart) -> None:
        at = {"item_id": item.id, "output_index": item.place}
        call_id = item.call_id or self._call_id(part, item)
        if part.kind == "custom":
            self._emit("response.custom_tool_call_input.done", **at, input=part.arguments)
        elif item.deltas is not None:
            self._emit(
                "response.function_call_arguments.done", **at, name=part.name, arguments=part.arguments
            )
        fields = item_of(part, item.id, call_id=call_id, keep=self._keep)
        self._done(item, {**fields, "id": item.id})


_Handler: TypeAlias = Callable[[ResponsesEncoder, Any], None]
_E = ResponsesEncoder
_FEED: Mapping[type[Any], _Handler] = {
    ResponseStart: _E._on_start,
    PartStart: _E._on_part_start,
    TextDelta: _E._on_text,
    RefusalDelta: _E._on_delta,
    ReasoningDelta: _E._on_reasoning,
    ToolCallDelta: _E._on_arguments,
    OpaqueDelta: _E._on_opaque,
    PartEnd: _E._on_part_end,
    ResponseEnd: _E._on_end,
    ResponseRestart: _E._on_restart,
}


def _is_shown(part: Part) -> bool:
    """Whether a part, no message's piece, no reasoning and no call, has an item of its own."""
    return is_item(part) or (isinstance(part, ImagePart) and part.data is not None)


def _empty(part: Part) -> Item:
    if isinstance(part, OpaquePart):
        return piece_of(part)
    return dict(_EMPTY["refusal" if isinstance(part, RefusalPart) else "output_text"])
