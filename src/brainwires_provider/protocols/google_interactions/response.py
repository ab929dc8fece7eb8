"""Decodes an interaction: the events of a stream, or one body.

A body has its steps in a list. A stream announces the interaction, starts, grows and stops each step by its index, and
ends with the interaction again; of the steps that it may list, those that have come are copies. The status is the
reason for the end: a model that waits for a function's result, for one, `requires_action`. An interaction that failed
is the error that it failed with.
Reference: the API reference of `Interaction` and `InteractionSseEvent`; "Streaming interactions" of the guides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.copies import Seen, match_copies
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.google import compact
from brainwires_provider.protocols.base.json import looks_like, objects_in, text_or_none
from brainwires_provider.protocols.google_interactions.errors import event_error, failed_error
from brainwires_provider.protocols.google_interactions.models import decode_usage
from brainwires_provider.protocols.google_interactions.parts import OUTPUT, PartBuilder, begin_step
from brainwires_provider.types import FinishReason, OpaquePart, Origin, ToolCallPart, Usage

__all__ = ["EVENTS", "FINISH_REASONS", "InteractionsDecoder"]

FINISH_REASONS: dict[str, FinishReason] = {
    "completed": "stop",
    "requires_action": "tool_calls",
    "requires_continuation": "pause",
    "incomplete": "length",
    "budget_exceeded": "other",
    "cancelled": "other",
    "in_progress": "pending",
    "queued": "pending",
}
"""Google's statuses; an unknown one is `other`. `failed` is an error."""

_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("id", "model", "status", "usage", "steps", "event_type", "event_id", "interaction_id"))
_PENDING = frozenset((None, "in_progress", "queued"))
_TEXTS = {"thought": "summary", OUTPUT: "content"}
_STEPS_OF = {
    "text": "model_output",
    "text_annotation_delta": "model_output",
    "image": "model_output",
    "audio": "model_output",
    "video": "model_output",
    "document": "model_output",
    "thought_summary": "thought",
    "thought_signature": "thought",
}
"""The step that a delta is of which comes without a start."""


class InteractionsDecoder(DecoderBase):
    """One interaction. See `base.protocol.Decoder`.

    `event_id` is that of the last event, from which a stored interaction's stream can be taken up again, `status` the
    interaction's, as it was given last.
    """

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self.event_id: str | None = None
        self.status: str | None = None
        self._counts: dict[str, Any] = {}
        self._last_counts: dict[str, Any] = {}
        self._steps: list[PartBuilder] = []
        self._places: dict[Any, PartBuilder] = {}

    # -- entry points ----------------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one event of the wire. One of an unknown kind is kept as it is."""
        if self.ended:
            return []
        event = self.object_in(message)
        if event is None:
            return []
        kind = event.get("event_type") or message.event
        handler = EVENTS.get(kind) if type(kind) is str else None
        if handler is None and (event.get("error") or message.event == "error"):
            self._on_error(event)
        try:
            self.event_id = text_or_none(event.get("event_id")) or self.event_id
            if handler is not None:
                handler(self, event)
            else:
                self._unknown(kind, event, message.data)
            self._add_metadata(event.get("metadata"))
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole body. One that has no steps yet is pending."""
        value = self.read_json(body)
        try:
            if not isinstance(value.get("status"), str) and not isinstance(value.get("steps"), list):
                self._no_steps(value, body)
            self._top(value)
            self._add_steps(value.get("steps"))
            self._end()
        except _MISSHAPEN as error:
            self._misshapen(error, body)
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; unless the status is that of an end, it was cut."""
        if self.ended:
            return []
        if self.status in _PENDING:
            raise self.cut("the stream ended before the answer did: no interaction.completed came")
        self._end()
        return self.parts.take()

    def usage(self) -> Usage:
        """The counts so far."""
        return decode_usage(self._counts, self._last_counts)

    # -- the interaction -------------------------------------------------------------------------------------

    def _top(self, value: dict[str, Any]) -> None:
        """The fields beside the steps: the last value wins."""
        self.answered_by(value.get("model") or value.get("agent"))
        self.id = text_or_none(value.get("id") or value.get("interaction_id")) or self.id
        self.status = text_or_none(value.get("status")) or self.status
        self._count(value.get("usage"))
        for name, field in value.items():
            if field is not None and name not in _TOP:
                self.extra[name] = self.merging.merged(self.extra.get(name), field)

    def _count(self, usage: Any) -> None:
        if usage:
            self._last_counts = dict(usage)
            self._counts.update(usage)

    def _add_metadata(self, metadata: Any) -> None:
        """What may come with any event; the usage so far is one of its fields."""
        if metadata:
            self._count(metadata.get("total_usage"))
            more = {name: value for name, value in metadata.items() if name != "total_usage"}
            if more:
                self.extra["metadata"] = self.merging.merged(self.extra.get("metadata"), more)

    def _add_steps(self, steps: Any) -> None:
        """Steps of a whole interaction; those that have come by their own events are completed by their copies."""
        steps = steps or ()
        matches: list[int | None] = [None] * len(steps)
        known = [each for each in self._steps if not (each.is_closed and each.is_empty)]
        if known:
            copies = [_seen(step, place, _text_of(step)) for place, step in enumerate(steps)]
            streamed = [_seen(each.data, place, _streamed(each)) for place, each in enumerate(known)]
            matches = match_copies(copies, streamed, whole=True)
        for step, match in zip(steps, matches, strict=True):
            if match is not None and not known[match].is_closed:
                _complete(known[match], step)
        for step, match in zip(steps, matches, strict=True):
            if match is None:
                self._begin(step).finish()

    def _begin(self, step: dict[str, Any]) -> PartBuilder:
        self.start()
        if self._steps and self._steps[-1].is_done:
            self._steps[-1].finish()
        builder = begin_step(self, step, self._steps[-1] if self._steps else None)
        self._steps.append(builder)
        return builder

    def _end(self) -> None:
        self.start()
        for builder in self._steps:
            builder.finish()
        if self.status == "failed":
            self._fail_with()
        self.ended = True
        reason, raw = self._finish_reason()
        self._steps.clear()  # they refer back to here
        self._places.clear()
        self.parts.events.append(ResponseEnd(reason, raw, self.usage(), self.id, self.model, self.extra))

    def _finish_reason(self) -> tuple[FinishReason, str | None]:
        reason = FINISH_REASONS.get(self.status or "completed", "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            parts = self.parts.parts()
            answered = {part.id for part in parts if isinstance(part, OpaquePart) and part.role == "result"}
            if any(isinstance(part, ToolCallPart) and part.id not in answered for part in parts):
                reason = "tool_calls"
        return reason, self.status

    # -- events ----------------------------------------------------------------------------------------------

    def _on_created(self, event: dict[str, Any]) -> None:
        interaction = event["interaction"]
        id = text_or_none(interaction.get("id"))
        if self.started and id is not None and self.id is not None and id != self.id:
            self.broken(f"another interaction began, {id}, before {self.id} had ended")
        self._top(interaction)
        self.start()

    def _on_status(self, event: dict[str, Any]) -> None:
        self._top({name: value for name, value in event.items() if name != "metadata"})

    def _on_completed(self, event: dict[str, Any]) -> None:
        interaction = event["interaction"]
        self._top(interaction)
        if self.status in _PENDING:
            self.status = "completed"
        self._add_steps(interaction.get("steps"))
        self._add_metadata(event.get("metadata"))
        self._end()

    def _on_step_start(self, event: dict[str, Any]) -> None:
        step, place = event["step"], event.get("index")
        before = self._places.get(place)
        if before is not None and not before.is_done:
            if before.kind == step["type"]:
                return  # its start again
            before.finish()
        self._places[place] = self._begin(step)

    def _on_step_delta(self, event: dict[str, Any]) -> None:
        delta = event["delta"]
        builder = self._at(event.get("index"))
        if builder is None or builder.is_done:
            kind = delta.get("type")
            builder = self._begin({"type": _STEPS_OF.get(kind, kind)})
            self._places[event.get("index")] = builder
        builder.add(delta)

    def _on_step_stop(self, event: dict[str, Any]) -> None:
        builder = self._at(event.get("index"))
        if builder is not None and builder is self._steps[-1] and (builder.texts or len(builder.data) == 1):
            builder.is_done = True  # closed when the next begins, or at the end, whose copy may have more
        elif builder is not None:
            builder.finish()
        self._count(event.get("usage"))
        if event.get("step_usage"):
            told = {"index": event.get("index"), **event["step_usage"]}
            self.extra.setdefault("step_usage", []).append(told)

    def _at(self, place: Any) -> PartBuilder | None:
        """The step with an index; the last one, where none is given."""
        if place is None and self._steps:
            return self._steps[-1]
        return self._places.get(place)

    def _unknown(self, kind: Any, event: dict[str, Any], data: bytes) -> None:
        """An event of a kind that is not known is of no step; without a kind, it may be a whole interaction."""
        if event.get("event_type"):
            self.start()
            self.parts.events.append(OpaqueDelta(None, str(kind), event))
        elif isinstance(event.get("steps"), list):
            self._on_completed({"interaction": event})
        elif "candidates" in event and not self.started:
            self.broken(f"this is an answer of generateContent, and has no steps: {looks_like(data)}")

    # -- failures --------------------------------------------------------------------------------------------

    def _on_error(self, event: dict[str, Any]) -> NoReturn:
        partial = self.partial()
        self.ended = True
        raise event_error(event, partial, self.origin)

    def _fail_with(self) -> NoReturn:
        """An interaction that failed; a step may have the error where the interaction lists none."""
        partial = self.partial()
        self.ended = True
        outputs = [(getattr(part, "extra", None) or {}).get(OUTPUT) for part in partial.message.content]
        errors = [output.get("error") for output in outputs if output]
        raise failed_error(self.extra.get("errors") or errors, partial, self.origin)

    def _no_steps(self, value: dict[str, Any], body: bytes) -> NoReturn:
        if value.get("error") or (value.get("message") and not value.get("id")):
            self._on_error(value)
        self.broken(f"the body has no steps, and no status: {looks_like(body)}")

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(f"not the shape of an interaction ({error!r}): {looks_like(data)}")


# -- copies ----------------------------------------------------------------------------------------------


def _seen(step: dict[str, Any], place: int, text: str) -> Seen:
    """What a step holds, for the comparison of copies. What identifies a thought is its signature."""
    kind = str(step.get("type"))
    id = text_or_none(step.get("signature" if kind == "thought" else "id"))
    if kind == "function_call":
        kind = f"{kind} {step.get('name')}"
    return Seen(kind, (text,), () if id is None else (id,), place)


def _text_of(step: dict[str, Any]) -> str:
    """The text of a thought or output, the arguments of a call, or all of any other step."""
    kind = step.get("type")
    if kind == "function_call":
        arguments = step.get("arguments")
        return arguments if isinstance(arguments, str) else "" if arguments is None else compact(arguments)
    if kind not in _TEXTS:
        return compact({name: value for name, value in step.items() if value is not None})
    texts = (content.get("text") for content in objects_in(step.get(_TEXTS[kind])))
    return "".join(text for text in texts if isinstance(text, str))


def _streamed(step: PartBuilder) -> str:
    """The same of a step as it was streamed."""
    text = "".join(part.joined() for part in step.texts)
    return text or ("" if step.kind in _TEXTS else _text_of(step.data))


def _complete(step: PartBuilder, copy: dict[str, Any]) -> None:
    """Add to a step what its copy has beyond it, in the form of deltas."""
    text, known = _text_of(copy), "".join(part.joined() for part in step.texts)
    more = text[len(known) :] if text.startswith(known) else ""
    if step.kind == OUTPUT:
        contents = [{"type": "text", "text": more}] if more else []
        for content in contents if step.texts else objects_in(copy.get("content")):
            step.add(content)
    elif step.kind == "thought":
        if more:
            step.add({"type": "thought_summary", "content": {"type": "text", "text": more}})
        if copy.get("signature") and not step.data.get("signature"):
            step.add({"type": "thought_signature", "signature": copy["signature"]})
    elif step.kind == "function_call" and more:
        step.add({"type": "arguments_delta", "arguments": more if known else copy["arguments"]})
    step.finish()


_Handler: TypeAlias = Callable[[InteractionsDecoder, dict[str, Any]], None]
_D = InteractionsDecoder
EVENTS: dict[str, _Handler] = {
    "interaction.created": _D._on_created,
    "interaction.status_update": _D._on_status,
    "interaction.completed": _D._on_completed,
    "step.start": _D._on_step_start,
    "step.delta": _D._on_step_delta,
    "step.stop": _D._on_step_stop,
    "error": _D._on_error,
}
"""What is done with each event; those that are not here are kept as they are."""
