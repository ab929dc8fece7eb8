"""Over a WebSocket an agent's loop sends only what is new, as a conversation of the client does."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart

from brainwires_provider import AsyncClient, Message, Tool, WebSocketOptions
from brainwires_provider.integrations.pydantic_ai import BrainwiresModel
from brainwires_provider.testing import ResponsesService, ScriptedSocket, function_call, reasoning
from pydantic_ai_runs import run, through_json
from socket_clients import LANES, MODEL, SINGLE, config

pytestmark = pytest.mark.long

SYSTEM = "Answer in few words."


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


def author(conversation: list[dict[str, Any]], body: dict[str, Any]) -> Any:
    """A call with reasoning before it, then an answer that counts what it was told."""
    last = conversation[-1]
    if last.get("type") == "function_call_output":
        return f"It is: {last['output']}"
    if "Weather" in str(last.get("content")):
        return [reasoning("Which city?"), function_call("weather", '{"city": "Paris"}')]
    return f"{len(conversation)} items"


def creates(service: ResponsesService) -> list[dict[str, Any]]:
    """What was sent to make a response, in order."""
    return [accepted.body for accepted in service.log]


async def talked(model: BrainwiresModel, *, stream: bool, json: bool) -> list[ModelMessage]:
    history: list[ModelMessage] = []
    for said in ("Weather in Paris?", "And how many?", "And now?"):
        agent = Agent(model, instructions=SYSTEM, tools=[weather])
        if stream:
            async with agent.run_stream(said, message_history=history) as result:
                await result.get_output()
                history = result.all_messages()
        else:
            history = (await agent.run(said, message_history=history)).all_messages()
        history = through_json(history) if json else history
    return history


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("traits", [LANES, SINGLE], ids=["lanes", "single"])
def test_a_loop_is_continued_by_its_content(traits: WebSocketOptions, stream: bool) -> None:
    async def main(server: ScriptedSocket) -> tuple[list[Any], Any]:
        async with AsyncClient(MODEL, providers=[config(server.base_url, traits)]) as client:
            history = await talked(BrainwiresModel(MODEL, client=client), stream=stream, json=True)
            return history, client.stats().websockets

    service = ResponsesService(author, lanes=traits is LANES)
    with ScriptedSocket(service) as server:
        history, stats = run(main(server))
        sent = creates(service)
        server.wait_idle(5)

    assert [len(body["input"]) for body in sent] == [1, 1, 1, 1]
    parents = [body.get("previous_response_id") for body in sent]
    made = [m.provider_response_id for m in history if isinstance(m, ModelResponse)]
    assert parents == [None, *made[:-1]]
    assert sent[1]["input"][0]["type"] == "function_call_output"
    assert stats.resent == 0
    assert [m.parts[-1] for m in history if isinstance(m, ModelResponse)][-1].content == "8 items"


def test_it_is_what_the_client_sends_itself() -> None:
    tool = Tool(
        "weather",
        "The weather in a city.",
        {
            "additionalProperties": False,
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "type": "object",
        },
    )

    async def itself(client: AsyncClient) -> None:
        messages: list[Message] = []
        for said in ("Weather in Paris?", "And how many?", "And now?"):
            messages.append(Message.user(said))
            while True:
                response = await client.chat(messages, system=SYSTEM, tools=[tool])
                messages.append(response.message)
                if not response.tool_calls:
                    break
                for call in response.tool_calls:
                    messages.append(Message.tool_result(call, weather(**call.args())))

    async def by_agents(client: AsyncClient) -> None:
        await talked(BrainwiresModel(MODEL, client=client), stream=False, json=True)

    async def main(server: ScriptedSocket, work: Any) -> None:
        async with AsyncClient(MODEL, providers=[config(server.base_url)]) as client:
            await work(client)

    told = []
    for work in (itself, by_agents):
        service = ResponsesService(author)
        with ScriptedSocket(service) as server:
            run(main(server, work))
            told.append(creates(service))
    assert told[0] == told[1]


def test_an_edited_history_is_sent_again() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with AsyncClient(MODEL, providers=[config(server.base_url)]) as client:
            agent = Agent(BrainwiresModel(MODEL, client=client), instructions=SYSTEM, tools=[weather])
            history = (await agent.run("Weather in Paris?")).all_messages()
            answer = history[-1].parts[-1]
            assert isinstance(answer, TextPart)
            answer.content = "It rains."
            await agent.run("And how many?", message_history=history)

    service = ResponsesService(author)
    with ScriptedSocket(service) as server:
        run(main(server))
        sent = creates(service)
    assert "It rains." in str(sent[-1])  # no parent that says otherwise answers for it
    assert "It is: Sunny" not in str(sent[-1])
