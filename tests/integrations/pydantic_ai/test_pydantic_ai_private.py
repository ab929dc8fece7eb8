"""The names that the adapter uses of pydantic-ai and that are private there: they exist, and are used in one place."""

from __future__ import annotations

import inspect
import re

import pytest
from pydantic_ai import UserError
from pydantic_ai._parts_manager import ModelResponsePartsManager
from pydantic_ai.messages import (
    CompactionPart,
    InstructionPart,
    ModelRequest,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.tools import ToolDefinition

from brainwires_provider import ToolChoice
from brainwires_provider.integrations.pydantic_ai.private import instructions_of, sendable, tool_choice_of
from paths import SOURCE
from pydantic_ai_runs import scripted

pytestmark = pytest.mark.long

HERE = SOURCE / "integrations" / "pydantic_ai"
OURS = {
    "private.py": {"_get_instruction_parts", "_sendable_request_parts", "_tool_choice"},
    "stream.py": {"_parts_manager", "_usage", "_get_event_iterator"},
    "model.py": {"_provider_model_profile"},
    "embeddings.py": set(),
}


def test_each_private_name_is_used_in_one_place() -> None:
    names = set().union(*OURS.values())
    for path in HERE.glob("*.py"):
        words = set(re.findall(r"\b_[a-z_]+\b", path.read_text()))
        assert words & names <= OURS.get(path.name, set()), path.name


def test_they_are_there() -> None:
    assert {"_get_event_iterator", "_parts_manager"} <= vars(StreamedResponse).keys()
    assert "_usage" in StreamedResponse.__dataclass_fields__
    assert "_provider_model_profile" in vars(Model) and "_get_instruction_parts" in vars(Model)
    handlers = {
        "handle_text_delta": {"vendor_part_id", "content", "provider_name", "provider_details", "citations"},
        "handle_thinking_delta": {
            *("vendor_part_id", "content", "signature", "provider_name", "provider_details"),
        },
        "handle_tool_call_delta_events": {
            *("vendor_part_id", "tool_name", "args", "tool_call_id", "provider_name", "provider_details"),
        },
        "handle_part": {"vendor_part_id", "part"},
        "get_part_by_vendor_id": {"vendor_id"},
    }
    for name, parameters in handlers.items():
        assert parameters <= set(inspect.signature(getattr(ModelResponsePartsManager, name)).parameters)


def test_the_manager_of_parts_joins_what_it_is_given() -> None:
    manager = ModelResponsePartsManager(ModelRequestParameters())
    events = [
        *manager.handle_text_delta(vendor_part_id=(0, 0), content="a"),
        *manager.handle_text_delta(vendor_part_id=(0, 0), content="b"),
        *manager.handle_text_delta(
            vendor_part_id=(0, 0), content="", provider_name="p", provider_details={"k": 1}
        ),
        *manager.handle_thinking_delta(
            vendor_part_id=(0, 1), content=None, signature="s", provider_name="p", provider_details={"k": 2}
        ),
    ]
    assert [type(event) for event in events] == [
        PartStartEvent,
        PartDeltaEvent,
        PartDeltaEvent,
        PartStartEvent,
    ]
    assert manager.get_parts() == [
        TextPart("ab", provider_name="p", provider_details={"k": 1}),
        ThinkingPart("", signature="s", provider_name="p", provider_details={"k": 2}),
    ]


def test_instructions_in_order() -> None:
    brain, _ = scripted("x")
    given = ModelRequestParameters(
        instruction_parts=[InstructionPart(content="one"), InstructionPart(content="two", dynamic=True)]
    )
    assert instructions_of(brain, [], given) == ["one", "two"]
    request = ModelRequest.user_text_prompt("Hi", instructions="of the message")
    assert instructions_of(brain, [request], ModelRequestParameters()) == ["of the message"]


def test_what_a_model_is_sent_of_a_request() -> None:
    parts = list(sendable([SystemPromptPart("s"), CompactionPart("what was said")]))
    assert isinstance(parts[0], SystemPromptPart)
    assert isinstance(parts[1], UserPromptPart) and "what was said" in str(parts[1].content)


def test_choices() -> None:
    tools = [ToolDefinition(name=name) for name in ("f", "g")]
    output = [ToolDefinition(name="final_result", kind="output")]
    free = ModelRequestParameters(function_tools=tools)
    forced = ModelRequestParameters(
        function_tools=tools, output_tools=output, output_mode="tool", allow_text_output=False
    )
    assert tool_choice_of({}, ModelRequestParameters()) is None
    assert tool_choice_of({}, free) is None
    assert tool_choice_of({}, forced) == ToolChoice("required")
    assert tool_choice_of({"tool_choice": ["g", "f"]}, forced) == ToolChoice("required", ("f", "g"))
    assert tool_choice_of({"tool_choice": "none"}, forced) == ToolChoice("required", ("final_result",))
    try:
        tool_choice_of({"tool_choice": ["nobody"]}, free)
    except UserError as error:
        assert "nobody" in str(error)
    else:
        raise AssertionError("an unknown tool was chosen")
