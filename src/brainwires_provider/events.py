"""The events of a streamed response, and `collect`, which combines them into a Response.

The order is `ResponseStart (PartStart Delta* PartEnd)* ResponseEnd`; parts may interleave. `index` is the number of
the part, counted from 0 in the order of the PartStarts. The joined deltas of a part equal the text (or the arguments)
of its PartEnd. A failure is an exception, never an event, unless another attempt follows: ResponseRestart, and then
the events of that attempt from its ResponseStart on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from brainwires_provider.types import (
    Attempt,
    Extra,
    FinishReason,
    Message,
    Part,
    Report,
    Response,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from brainwires_provider.types.checked import misfit

__all__ = [
    "Collector",
    "Event",
    "OpaqueDelta",
    "PartEnd",
    "PartStart",
    "ReasoningDelta",
    "RefusalDelta",
    "ResponseEnd",
    "ResponseRestart",
    "ResponseStart",
    "RunEvent",
    "StepEnd",
    "TextDelta",
    "ToolCallDelta",
    "ToolEnd",
    "ToolStart",
    "collect",
]


class ResponseStart(
    Struct,
    frozen=True,
    omit_defaults=True,
    repr_omit_defaults=True,
    gc=False,
    tag_field="event",
    tag="response_start",
):
    """A response begins. `id` and `model` are provisional; those of ResponseEnd are final."""

    id: str | None = None
    model: str | None = None


class PartStart(Struct, frozen=True, gc=False, tag_field="event", tag="part_start"):
    """A part begins. `part` holds what is known of it so far; its text is empty."""

    index: int
    part: Part


class TextDelta(Struct, frozen=True, gc=False, tag_field="event", tag="text_delta"):
    """A further piece of a TextPart."""

    index: int
    text: str


class ReasoningDelta(Struct, frozen=True, gc=False, tag_field="event", tag="reasoning_delta"):
    """A further piece of a ReasoningPart."""

    index: int
    text: str


class RefusalDelta(Struct, frozen=True, gc=False, tag_field="event", tag="refusal_delta"):
    """A further piece of a RefusalPart."""

    index: int
    text: str


class ToolCallDelta(Struct, frozen=True, gc=False, tag_field="event", tag="tool_call_delta"):
    """A further piece of a tool call's arguments."""

    index: int
    text: str


class OpaqueDelta(Struct, frozen=True, gc=False, tag_field="event", tag="opaque_delta"):
    """A fragment, or progress, of something other than text: a citation, a signature, a partial image, a status.

    `collect` ignores it, since PartEnd holds the result.
    """

    index: int | None
    kind: str
    data: Any


class PartEnd(Struct, frozen=True, gc=False, tag_field="event", tag="part_end"):
    """A part is complete; `part` holds all of it."""

    index: int
    part: Part


class ResponseEnd(
    Struct,
    frozen=True,
    omit_defaults=True,
    repr_omit_defaults=True,
    gc=False,
    tag_field="event",
    tag="response_end",
):
    """The response is complete. The fields are those of `Response`; `message_extra` is the message's `extra`."""

    finish_reason: FinishReason
    raw_finish_reason: str | None
    usage: Usage
    id: str | None = None
    model: str | None = None
    extra: Extra = field(default_factory=dict)
    message_extra: Extra | None = None


class ResponseRestart(Struct, frozen=True, gc=False, tag_field="event", tag="response_restart"):
    """The response begins again: discard what came so far.

    That can only be reasoning, see `Retry`; in a run also an answer that was not of its type, and is corrected.
    """

    attempt: Attempt
    """The attempt that failed, with its error and what it had delivered."""


class ToolStart(Struct, frozen=True, tag_field="event", tag="tool_start"):
    """A run begins to run a call. Its arguments are those of the approval, if that has changed them."""

    call: ToolCallPart


class ToolEnd(
    Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, tag_field="event", tag="tool_end"
):
    """A call of a run has its result; one that was denied, or whose arguments were wrong, had no ToolStart."""

    call: ToolCallPart
    result: ToolResultPart
    """What the model gets."""
    seconds: float
    error: str | None = None
    """What failed, for the program: its text is not in `result`. None: nothing."""


class StepEnd(Struct, frozen=True, tag_field="event", tag="step_end"):
    """A step of a run is over: the model's response, and the results of its calls."""

    step: int
    """The number of the response, from 1."""
    response: Response


Event: TypeAlias = (
    ResponseStart
    | PartStart
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | OpaqueDelta
    | PartEnd
    | ResponseEnd
    | ResponseRestart
)
RunEvent: TypeAlias = Event | ToolStart | ToolEnd | StepEnd
"""What a run yields: the events of its responses, and those of its calls and steps."""


_NO_REPORT = Report()


class Collector:
    """Combines the events of one response, as they arrive, into a Response."""

    __slots__ = ("end", "parts")

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.end: ResponseEnd | None = None

    def feed(self, event: Event) -> None:
        """Add one event."""
        self.feed_all((event,))

    def feed_all(self, events: Iterable[Event]) -> None:
        """Add several events. Deltas are skipped, since PartEnd holds their sum."""
        for event in events:
            kind = type(event)
            if kind is PartEnd:
                self.parts[event.index] = event.part  # type: ignore[union-attr, index]
            elif kind is ResponseEnd:
                self.end = event  # type: ignore[assignment]
            elif kind is ResponseRestart:
                self.parts.clear()
                self.end = None

    def response(self, *, provider: str = "") -> Response:
        """The response, once ResponseEnd was added. Raises ValueError before."""
        if self.end is None:
            raise ValueError("the events have no ResponseEnd: the response is not complete")
        return response_of(self.end, map(self.parts.__getitem__, sorted(self.parts)), provider=provider)


def response_of(
    end: ResponseEnd,
    content: Iterable[Part],
    *,
    provider: str,
    report: Report = _NO_REPORT,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    attempts: tuple[Attempt, ...] = (),
) -> Response:
    """The response that ended so, of its parts."""
    return Response(
        id=end.id,
        provider=provider,
        model=end.model,
        message=Message("assistant", tuple(content), extra=end.message_extra),
        finish_reason=end.finish_reason,
        raw_finish_reason=end.raw_finish_reason,
        usage=end.usage,
        extra=end.extra,
        report=report,
        request_id=request_id,
        headers=headers or {},
        attempts=attempts,
    )


def collect(events: Iterable[Event], *, provider: str = "") -> Response:
    """Combine the events of one response into a Response. Raises ValueError if there is no ResponseEnd."""
    if not isinstance(events, Iterable):
        raise misfit("events", (Iterable[Event],), events)
    collector = Collector()
    collector.feed_all(events)
    return collector.response(provider=provider)
