"""The few things that pydantic-ai's own models use and that it has no public name for, in one place.

Each is what its documentation for custom models refers to, or what every model of its own does; a test holds that they
are there and behave as they are used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic_ai.messages import ModelMessage, ModelRequestPart
from pydantic_ai.models import Model, ModelRequestParameters, _sendable_request_parts
from pydantic_ai.models._tool_choice import resolve_tool_choice
from pydantic_ai.settings import ModelSettings

from brainwires_provider.types import ToolChoice

__all__ = ["instructions_of", "sendable", "tool_choice_of"]


def instructions_of(
    model: Model, messages: Sequence[ModelMessage], parameters: ModelRequestParameters
) -> list[str]:
    """The instructions of a request, in order; the announcement of notes is among them where one is due."""
    parts = model._get_instruction_parts(messages, parameters) or ()
    return [part.content for part in parts if part.content]


def sendable(parts: Sequence[ModelRequestPart]) -> Iterator[ModelRequestPart]:
    """A request's parts, its deprecated ones and an application's summary in the form that models take."""
    return _sendable_request_parts(parts)


def tool_choice_of(settings: ModelSettings, parameters: ModelRequestParameters) -> ToolChoice | None:
    """The choice among the tools that pydantic-ai's settings and output type amount to; None: the model decides."""
    if not parameters.declared_tool_defs:
        return None
    choice = resolve_tool_choice(settings, parameters)
    if choice == "auto":
        return None
    if isinstance(choice, str):
        return ToolChoice(choice)
    mode, names = choice
    return ToolChoice(mode, tuple(name for name in parameters.declared_tool_defs if name in names))
