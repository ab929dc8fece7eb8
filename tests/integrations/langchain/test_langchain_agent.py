"""LangChain's agents on this library: its documented example, WebSockets, structured answers, a change of provider."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel

from brainwires_provider import Client, Message, tool
from brainwires_provider.integrations.langchain import ChatBrainwires
from brainwires_provider.testing import (
    FakeProvider,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    assistant,
    function_call,
    reasoning,
)
from brainwires_provider.types import ReasoningPart, TextPart, ToolCallPart
from obedient_model import obey
from paths import PROJECT

pytestmark = pytest.mark.long


def create_agent(*args: Any, **kwargs: Any) -> Any:
    """LangChain's; importing it takes seconds, also where these tests are not selected."""
    from langchain.agents import create_agent

    return create_agent(*args, **kwargs)


def memory() -> Any:
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver()


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def test_the_documented_example_runs_but_for_the_models_line() -> None:
    """https://docs.langchain.com/oss/python/langchain/quickstart, "Build a basic agent"."""
    with ScriptedServer(obey) as server:
        model = ChatBrainwires(model="openai-chat:m", api_key="k", base_url=server.url)

        def get_weather(city: str) -> str:
            """Get weather for a given city."""
            return f"It's always sunny in {city}!"

        agent = create_agent(
            model=model,
            tools=[get_weather],
            system_prompt="You are a helpful assistant",
        )
        result = agent.invoke({"messages": [{"role": "user", "content": "what is the weather in 'sf'"}]})
        model.close()
    kinds = [message.type for message in result["messages"]]
    assert kinds == ["human", "ai", "tool", "ai"]
    assert result["messages"][-1].text == "You said: It's always sunny in sf!"


@dataclass
class Visitor:
    """What the tools know of who asks."""

    user_id: str


@dataclass
class Forecast:
    """The agent's answer."""

    words: str
    conditions: str | None = None


def test_the_second_documented_agent_has_context_memory_and_a_typed_answer() -> None:
    """The same page, "Build a real-world agent": a tool that sees the runtime, two turns of one thread."""
    from langchain.agents.structured_output import ToolStrategy
    from langchain.tools import ToolRuntime
    from langchain.tools import tool as lc_tool

    @lc_tool
    def get_weather_for_location(city: str) -> str:
        """The weather in a city."""
        return f"It's always sunny in {city}!"

    def get_user_location(runtime: ToolRuntime[Visitor]) -> str:
        """Where the user is."""
        return "Florida" if runtime.context.user_id == "1" else "SF"

    # Annotations are texts in this file; the page's are types, and name one that is not known to the module.
    get_user_location.__annotations__["runtime"] = ToolRuntime[Visitor]

    def author(request: Any) -> Any:
        messages = request.json()["messages"]
        results = [m["content"] for m in messages if m["role"] == "tool"]
        if messages[-1] == {"role": "user", "content": "thank you!"}:
            return ToolCallPart("call_4", "Forecast", '{"words": "Any time."}')
        if not results:
            return ToolCallPart("call_1", "get_user_location", "{}")
        if results == ["Florida"]:
            return ToolCallPart("call_2", "get_weather_for_location", '{"city": "Florida"}')
        return ToolCallPart("call_3", "Forecast", json.dumps({"words": "Bright!", "conditions": results[-1]}))

    fake = FakeProvider(author)
    options = {"transport": fake}
    model = ChatBrainwires(
        model="openai-chat:gpt-4o",
        temperature=0.5,
        timeout=10,
        max_tokens=1000,
        api_key="k",
        client_options=options,
    )
    agent = create_agent(
        model=model,
        system_prompt="You are a weather forecaster.",
        tools=[lc_tool(get_user_location), get_weather_for_location],
        context_schema=Visitor,
        response_format=ToolStrategy(Forecast),
        checkpointer=memory(),
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    answers = [
        agent.invoke({"messages": [("user", said)]}, config=config, context=Visitor(user_id="1"))
        for said in ("what is the weather outside?", "thank you!")
    ]
    model.close()
    assert [each["structured_response"] for each in answers] == [
        Forecast("Bright!", "It's always sunny in Florida!"),
        Forecast("Any time."),
    ]
    body = fake.requests[0].json()
    assert {tool["function"]["name"] for tool in body["tools"]} == {
        "get_user_location",
        "get_weather_for_location",
        "Forecast",
    }
    assert body["temperature"] == 0.5 and len(fake.requests) == 4


# -- over a WebSocket ----------------------------------------------------------------------------------------


def author(conversation: Any, body: Any) -> list[Any]:
    asked = sum(item.get("type") == "function_call_output" for item in conversation)
    if asked < 2:
        city = ("Paris", "Rome")[asked]
        return [
            reasoning(f"Now {city}.", f"sealed-{city}"),
            function_call("weather", json.dumps({"city": city})),
        ]
    return [assistant("Both are sunny.")]


def asked_directly(server: ScriptedSocket) -> str:
    with Client("openai-responses-ws:gpt-6", api_key="k", base_url=server.base_url) as client:
        run = client.run([Message.system("Be brief."), Message.user("Weather?")], tools=[tool(weather)])
        return run.result().text


def asked_by_an_agent(server: ScriptedSocket) -> str:
    model = ChatBrainwires(model="openai-responses-ws:gpt-6", api_key="k", base_url=server.base_url)
    agent = create_agent(model, [weather], system_prompt="Be brief.", checkpointer=memory())
    config: Any = {"configurable": {"thread_id": "1"}}
    result = agent.invoke({"messages": [HumanMessage("Weather?")]}, config)
    reports = [
        m.response_metadata["report"]["continuation"] for m in result["messages"] if isinstance(m, AIMessage)
    ]
    assert [(each["sent"], each["of"]) for each in reports] == [(1, 1), (1, 4), (1, 7)]
    assert all("parent" in each for each in reports[1:])
    model.close()
    return result["messages"][-1].text


def asked_by_an_async_agent(server: ScriptedSocket) -> str:
    async def ask() -> str:
        model = ChatBrainwires(model="openai-responses-ws:gpt-6", api_key="k", base_url=server.base_url)
        agent = create_agent(model, [weather], system_prompt="Be brief.")
        text = ""
        async for mode, chunk in agent.astream(
            {"messages": [("user", "Weather?")]}, stream_mode=["messages"]
        ):
            assert mode == "messages"
            message, _ = chunk
            text += message.text if isinstance(message, AIMessage) else ""
        await model.aclose()
        return text

    return asyncio.run(ask())


@pytest.mark.parametrize("ask", [asked_by_an_agent, asked_by_an_async_agent])
def test_an_agents_loop_continues_by_content_as_it_does_directly(
    ask: Callable[[ScriptedSocket], str],
) -> None:
    logs = []
    for each in (asked_directly, ask):
        service = ResponsesService(author)
        with ScriptedSocket(service) as server:
            assert each(server) == "Both are sunny."
            logs.append([event for connection in server.requests for event in connection])
    sent = [[(bool(body.get("previous_response_id")), body["input"]) for body in log] for log in logs]
    assert [parent for parent, _ in sent[1]] == [False, True, True]
    assert [[item["type"] for item in new] for _, new in sent[1][1:]] == [["function_call_output"]] * 2
    assert nameless(sent[0]) == nameless(sent[1])


def nameless(sent: Any) -> Any:
    """Without the ids of calls, which the service makes up."""
    return json.loads(re.sub(r'"call_id": "[^"]*"', '"call_id": ""', json.dumps(sent)))


def test_the_agent_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (PROJECT / "docs" / "how-to" / "langchain.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    with ScriptedSocket(ResponsesService(author)) as server, redirect_stdout(io.StringIO()) as printed:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        exec(compile(sample, "langchain.md", "exec"), {"__name__": "sample"})
    assert printed.getvalue() == "Both are sunny. 1\n"


# -- structured answers, other providers ---------------------------------------------------------------------


class Place(BaseModel):
    """A place."""

    city: str
    sunny: bool


@pytest.mark.parametrize("strategy", ["AutoStrategy", "ProviderStrategy", "ToolStrategy"])
def test_an_agent_answers_with_a_value(strategy: str) -> None:
    from langchain.agents import structured_output

    with ScriptedServer(obey) as server:
        model = ChatBrainwires(model="openai-chat:gpt-6", api_key="k", base_url=server.url)
        agent = create_agent(model, [], response_format=getattr(structured_output, strategy)(Place))
        result = agent.invoke({"messages": [("user", "Is it sunny in 'Rome'?")]})
        model.close()
    assert result["structured_response"] == Place(city="Rome", sunny=True)


def test_a_history_of_one_provider_is_continued_with_another() -> None:
    def said(request: Any) -> Any:
        if not re.search(
            r"tool_result|functionResponse|function_call_output|\"tool\"", request.body.decode()
        ):
            return [
                ReasoningPart("I look."),
                TextPart("Let me see."),
                ToolCallPart("call_1", "weather", '{"city": "Rome"}'),
            ]
        return "Sunny."

    names = (
        "anthropic:claude-sonnet-5",
        "google:gemini-3-pro",
        "openai-responses:gpt-6",
        "openai-chat:gpt-6",
    )
    for first in names:
        for second in names:
            fake = FakeProvider(said)
            models = [
                ChatBrainwires(model=name, api_key="k", client_options={"transport": fake})
                for name in (first, second)
            ]
            saver = memory()
            config: Any = {"configurable": {"thread_id": "1"}}
            begun = create_agent(models[0], [weather], checkpointer=saver)
            begun.invoke({"messages": [("user", "Rome?")]}, config)
            result = create_agent(models[1], [weather], checkpointer=saver).invoke(
                {"messages": [("user", "And now?")]}, config
            )
            assert result["messages"][-1].text == "Sunny." and len(fake.requests) == 3
            body = fake.requests[-1].body.decode()
            assert "Let me see." in body and "sunny in Rome" in body and "And now?" in body
            for model in models:
                model.close()
