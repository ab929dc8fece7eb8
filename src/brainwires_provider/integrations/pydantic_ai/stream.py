"""A streamed answer as pydantic-ai's events.

`StreamedResponse` asks its subclasses for `_get_event_iterator`, `_parts_manager` and `_usage`, names that are private
by their form and documented for this; they are used here and nowhere else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from pydantic_ai.messages import ModelResponse, ModelResponseStreamEvent
from pydantic_ai.models import ModelRequestParameters, StreamedResponse

from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.errors import ProviderError
from brainwires_provider.events import (
    Event,
    PartEnd,
    PartStart,
    ReasoningDelta,
    ResponseRestart,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.integrations.pydantic_ai.answers import (
    DISCARDED,
    citations_of,
    response_part,
    seal_of,
    whose,
)
from brainwires_provider.integrations.pydantic_ai.errors import translating
from brainwires_provider.integrations.pydantic_ai.keeping import KEY
from brainwires_provider.integrations.pydantic_ai.responses import (
    details_of,
    finish_of,
    state_after,
    usage_of,
)
from brainwires_provider.types import ReasoningPart, Response, TextPart, ToolCallPart

__all__ = ["BrainwiresStreamedResponse"]

_Events: TypeAlias = Iterator[ModelResponseStreamEvent]
_Place: TypeAlias = tuple[int, int]
"""A part: the number of the attempt, and of the part in its answer."""


class BrainwiresStreamedResponse(StreamedResponse):
    """The events of an `AsyncStream` that was entered. `cancel()` leaves it, and with it the provider's answer."""

    def __init__(
        self,
        parameters: ModelRequestParameters,
        stream: AsyncStream[Any],
        *,
        name: str,
        provider: str,
        url: str,
        unsent: Sequence[str] = (),
    ) -> None:
        super().__init__(parameters)
        self._stream = stream
        self._name = name
        self._asked = name
        self._provider = provider
        self._url = url
        self._unsent = unsent
        self._timestamp = datetime.now(UTC)
        self._attempt = 0
        self._shown: dict[_Place, type] = {}
        self._is_contradicted = False
        self._whole_answer: Response[Any] | None = None
        self._handlers: dict[type, Callable[[Any], _Events]] = {
            TextDelta: self._text,
            ReasoningDelta: self._thought,
            ToolCallDelta: self._arguments,
            PartStart: self._begin,
            PartEnd: self._end,
            ResponseRestart: self._restart,
            ResponseStart: self._named,
        }

    # -- what pydantic-ai asks for ------------------------------------------------------------------------

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        handlers = self._handlers
        while True:
            with translating(self._asked):
                batch: list[Event] = await self._stream.pull()
            if not batch:
                break
            for event in batch:
                handler = handlers.get(type(event))
                if handler is not None:
                    for made in handler(event):
                        yield made
        self._finish()

    async def close_stream(self) -> None:
        """Leave the answer: its connection is closed, or its response cancelled where several share one."""
        await self._stream.aclose()

    def get_stream_cancel_errors(self) -> tuple[type[BaseException], ...]:
        """What reading raises after `cancel()`."""
        return (ProviderError,)

    @property
    def model_name(self) -> str:
        """The model that answers, as the provider reports it."""
        return self._name

    @property
    def provider_name(self) -> str:
        """pydantic-ai's name of the provider."""
        return self._provider

    @property
    def provider_url(self) -> str:
        """The address below which the request went."""
        return self._url

    @property
    def timestamp(self) -> datetime:
        """When the answer began."""
        return self._timestamp

    def get(self) -> ModelResponse:
        """The answer as far as it has come; once it is whole, with the parts that it has in the end."""
        made = super().get()
        if not self._is_contradicted or self._whole_answer is None:
            return made
        parts = [response_part(part, self._provider) for part in self._whole_answer.message.content]
        return replace(made, parts=[part for part in parts if part is not None])

    # -- events --------------------------------------------------------------------------------------------

    def _place(self, index: int, kind: type) -> _Place:
        """A part that is shown, by its place."""
        place = (self._attempt, index)
        self._shown.setdefault(place, kind)
        return place

    def _named(self, event: ResponseStart) -> _Events:
        self._name = event.model or self._name
        self.provider_response_id = event.id
        return iter(())

    def _text(self, event: TextDelta) -> _Events:
        return self._parts_manager.handle_text_delta(
            vendor_part_id=self._place(event.index, TextPart), content=event.text
        )

    def _thought(self, event: ReasoningDelta) -> _Events:
        return self._parts_manager.handle_thinking_delta(
            vendor_part_id=self._place(event.index, ReasoningPart), content=event.text
        )

    def _arguments(self, event: ToolCallDelta) -> _Events:
        """Of a call whose name is not known yet, the whole comes at its end."""
        place = (self._attempt, event.index)
        if place not in self._shown:
            return iter(())
        return self._parts_manager.handle_tool_call_delta_events(vendor_part_id=place, args=event.text)

    def _begin(self, event: PartStart) -> _Events:
        part = event.part
        if isinstance(part, ToolCallPart) and part.name:
            return self._parts_manager.handle_tool_call_delta_events(
                vendor_part_id=self._place(event.index, ToolCallPart),
                tool_name=part.name,
                args="",
                tool_call_id=part.call_id or None,
                provider_name=self._provider,
            )
        return iter(())

    def _end(self, event: PartEnd) -> _Events:
        """A part is whole: what is kept beside its content."""
        part, place = event.part, (self._attempt, event.index)
        shown = self._shown.get(place)
        if shown is None:
            return self._at_once(event)
        if type(part) is not shown:  # it was announced as another kind of part
            self._is_contradicted = True
            return iter(())
        manager = self._parts_manager
        known: dict[str, Any] = {"vendor_part_id": place, "provider_name": self._provider}
        known["provider_details"] = whose(part)
        if isinstance(part, TextPart):
            return manager.handle_text_delta(content="", citations=citations_of(part), **known)
        if isinstance(part, ReasoningPart):
            return manager.handle_thinking_delta(signature=seal_of(part), **known)
        assert isinstance(part, ToolCallPart)
        return manager.handle_tool_call_delta_events(tool_call_id=part.call_id or None, **known)

    def _at_once(self, event: PartEnd) -> _Events:
        """A part that comes whole."""
        made = response_part(event.part, self._provider)
        if made is not None:
            self._place(event.index, type(event.part))
            yield self._parts_manager.handle_part(vendor_part_id=None, part=made)

    def _restart(self, event: ResponseRestart) -> _Events:
        """Another attempt begins. The reasoning that was shown stays, marked as not to be sent back."""
        discarded = [place for place in self._shown if place[0] == self._attempt]
        self._attempt += 1
        for place in discarded:
            if self._shown[place] is ReasoningPart and self._parts_manager.get_part_by_vendor_id(place):
                yield from self._parts_manager.handle_thinking_delta(
                    vendor_part_id=place,
                    provider_name=self._provider,
                    provider_details={KEY: {DISCARDED: True}},
                )

    def _finish(self) -> None:
        """The answer has ended, or was left: then what had come is all there is."""
        response = self._stream.partial
        self._usage = usage_of(response.usage)
        try:
            response = self._whole_answer = self._stream.response
        except RuntimeError:
            self.state = "incomplete"
            return
        self._name = response.model or self._name
        self.provider_response_id = response.id
        self.finish_reason = finish_of(response)
        self.state = state_after(response)
        self.provider_details = details_of(response, self._unsent)
        shown, ranks = list(self._shown), sorted(self._shown)
        if shown != ranks and not self._is_contradicted:
            details = self.provider_details = self.provider_details or {}
            details.setdefault(KEY, {})["order"] = [ranks.index(place) for place in shown]
