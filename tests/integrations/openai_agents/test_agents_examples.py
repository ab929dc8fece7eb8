"""The SDK's documented examples, as they are there but for the model, over four protocols."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("agents")
from agent_cases import EVERYWHERE, MODELS, run, served
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    ItemHelpers,
    ModelRetryBackoffSettings,
    ModelRetrySettings,
    ModelSettings,
    RunConfig,
    RunContextWrapper,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    input_guardrail,
    retry_policies,
)
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from brainwires_provider.integrations.openai_agents import BrainwiresModel, BrainwiresProvider
from brainwires_provider.testing import Failure
from brainwires_provider.types import ReasoningPart, TextPart, ToolCallPart

pytestmark = pytest.mark.long
SUNNY = "The weather in Tokyo is sunny."


class CalendarEvent(BaseModel):
    name: str
    date: str
    participants: list[str]


@function_tool
def get_weather(city: str) -> str:
    """Returns the weather of a city.

    Args:
        city: The city's name.
    """
    return f"The weather in {city} is sunny."


def call(name: str, arguments: str = "{}", id: str = "call_1") -> ToolCallPart:
    return ToolCallPart(id, name, arguments)


@EVERYWHERE
def test_hello_and_tools(service: str) -> None:
    async def main() -> None:
        async with served(service, [call("get_weather", '{"city":"Tokyo"}'), SUNNY]) as (client, server):
            agent = Agent(
                name="Assistant",
                instructions="You only respond in haikus.",
                model=BrainwiresModel(client=client),
                tools=[get_weather],
            )
            result = await Runner.run(agent, "What's the weather in Tokyo?")
            assert result.final_output == SUNNY
            assert result.context_wrapper.usage.requests == 2
            assert result.context_wrapper.usage.input_tokens == 20
            assert SUNNY in server.requests[1].body.decode()
            assert "haikus" in server.requests[0].body.decode()

    run(main())


@EVERYWHERE
def test_parallel_calls_and_their_results_in_order(service: str) -> None:
    cities = ["Oslo", "Rome", "Bonn"]
    calls = [call("get_weather", f'{{"city":"{city}"}}', f"call_{city}") for city in cities]

    async def main() -> None:
        async with served(service, [[TextPart("Looking."), *calls], "Sunny."]) as (client, server):
            agent = Agent(name="A", model=BrainwiresModel(client=client), tools=[get_weather])
            result = await Runner.run(agent, "Weather?")
            assert result.final_output == "Sunny."
            sent = server.requests[1].body.decode()
            places = [sent.index(f"The weather in {city}") for city in cities]
            assert places == sorted(places)

    run(main())


@EVERYWHERE
def test_structured_output(service: str) -> None:
    answer = '{"name":"Fair","date":"Friday","participants":["Alice","Bob"]}'

    async def main() -> None:
        async with served(service, [answer]) as (client, server):
            agent = Agent(
                name="Calendar extractor",
                instructions="Extract calendar events from text",
                output_type=CalendarEvent,
                model=BrainwiresModel(client=client),
            )
            result = await Runner.run(agent, "Alice and Bob go to a fair on Friday.")
            assert result.final_output == CalendarEvent(
                name="Fair", date="Friday", participants=["Alice", "Bob"]
            )
            assert '"participants"' in server.requests[0].body.decode()

    run(main())


@EVERYWHERE
def test_streaming_text(service: str) -> None:
    async def main() -> None:
        async with served(service, [[ReasoningPart("Hm."), TextPart("One two three")]]) as (client, _):
            agent = Agent(name="Joker", model=BrainwiresModel(client=client))
            result = Runner.run_streamed(agent, input="Please tell me 5 jokes.")
            text = ""
            async for event in result.stream_events():
                if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                    text += event.data.delta
            assert text == result.final_output == "One two three"

    run(main())


@EVERYWHERE
def test_streaming_items(service: str) -> None:
    async def main() -> None:
        async with served(service, [call("get_weather", '{"city":"Rome"}'), "Sunny."]) as (client, _):
            agent = Agent(name="Joker", model=BrainwiresModel(client=client), tools=[get_weather])
            result = Runner.run_streamed(agent, input="Hello")
            seen = []
            async for event in result.stream_events():
                if event.type == "run_item_stream_event":
                    seen.append(event.item.type)
                    if event.item.type == "message_output_item":
                        seen.append(ItemHelpers.text_message_output(event.item))
            assert seen == ["tool_call_item", "tool_call_output_item", "message_output_item", "Sunny."]
            assert result.context_wrapper.usage.output_tokens == 10

    run(main())


@EVERYWHERE
def test_handoffs(service: str) -> None:
    async def main() -> None:
        replies = [call("transfer_to_spanish_agent"), "¡Hola!"]
        async with served(service, replies) as (client, server):
            model = BrainwiresModel(client=client)
            spanish = Agent(name="Spanish agent", instructions="You only speak Spanish.", model=model)
            triage = Agent(name="Triage agent", handoffs=[handoff(spanish)], model=model)
            result = await Runner.run(triage, input="Hola, ¿cómo estás?")
            assert (result.final_output, result.last_agent.name) == ("¡Hola!", "Spanish agent")
            assert "You only speak Spanish." in server.requests[1].body.decode()

    run(main())


@EVERYWHERE
def test_agents_as_tools(service: str) -> None:
    async def main() -> None:
        replies = [call("translate", '{"input":"hi"}'), "hola", "They say hola."]
        async with served(service, replies) as (client, _):
            model = BrainwiresModel(client=client)
            spanish = Agent(name="Spanish", instructions="Translate.", model=model)
            tool = spanish.as_tool(tool_name="translate", tool_description="Translate to Spanish")
            agent = Agent(name="Orchestrator", tools=[tool], model=model)
            assert (await Runner.run(agent, "Say hi in Spanish.")).final_output == "They say hola."

    run(main())


@EVERYWHERE
def test_guardrails(service: str) -> None:
    @input_guardrail
    async def homework(
        context: RunContextWrapper[Any], agent: Agent[Any], input: Any
    ) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="solve" in str(input))

    async def main() -> None:
        async with served(service, ["x = 5"]) as (client, _):
            model = BrainwiresModel(client=client)
            agent = Agent(name="Support", model=model, input_guardrails=[homework])
            with pytest.raises(InputGuardrailTripwireTriggered):
                await Runner.run(agent, "Can you solve 2x + 3 = 11?")

    run(main())


@EVERYWHERE
def test_sessions(service: str) -> None:
    async def main() -> None:
        async with served(service, ["San Francisco", "California"]) as (client, server):
            agent = Agent(name="Assistant", model=BrainwiresModel(client=client))
            session = SQLiteSession("conversation_123")
            await Runner.run(agent, "What city is the Golden Gate Bridge in?", session=session)
            result = await Runner.run(agent, "What state is it in?", session=session)
            assert result.final_output == "California"
            assert "San Francisco" in server.requests[1].body.decode()
            session.close()

    run(main())


@EVERYWHERE
def test_retries_of_the_runner(service: str) -> None:
    """The documented settings: the runner repeats, and the client does not."""
    settings = ModelSettings(
        retry=ModelRetrySettings(
            max_retries=3,
            backoff=ModelRetryBackoffSettings(
                initial_delay=0.001, max_delay=0.002, multiplier=2.0, jitter=True
            ),
            policy=retry_policies.any(
                retry_policies.provider_suggested(),
                retry_policies.network_error(),
                retry_policies.http_status([408, 409, 429, 500, 502, 503, 504]),
            ),
        )
    )

    async def main() -> None:
        replies = [Failure("busy", "Busy.", 503), Failure("rate", "Slow down.", 429), "At last."]
        async with served(service, replies, retry=None) as (client, server):
            agent = Agent(name="Assistant", model=BrainwiresModel(client=client), model_settings=settings)
            result = await Runner.run(agent, "Hello")
            assert result.final_output == "At last."
            assert len(server.requests) == 3
            assert result.context_wrapper.usage.requests == 3

    run(main())


def test_a_model_provider_and_models_by_name() -> None:
    async def main() -> None:
        async with served("chat", ["Hello.", "Hello again."]) as (client, server):
            agent = Agent(name="Assistant", model=MODELS["chat"])
            config = RunConfig(model_provider=BrainwiresProvider(client=client))
            assert (await Runner.run(agent, "Hi", run_config=config)).final_output == "Hello."
            config.model = "openai-chat:other"
            assert (await Runner.run(agent, "Hi", run_config=config)).final_output == "Hello again."
            assert server.requests[1].json()["model"] == "other"

    run(main())
