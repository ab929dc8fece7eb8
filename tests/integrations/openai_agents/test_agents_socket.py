"""A runner's loop over a WebSocket continues by content: each request has only what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

pytest.importorskip("agents")
from agent_cases import run
from agents import Agent, Runner, SQLiteSession, function_tool

from brainwires_provider import AsyncClient, ProviderConfig, Retry
from brainwires_provider.integrations.openai_agents import BrainwiresModel
from brainwires_provider.testing import ResponsesService, ScriptedSocket, assistant, function_call, reasoning

pytestmark = pytest.mark.long


@function_tool
def weather(city: str) -> str:
    """Tells the weather."""
    return f"sun in {city}"


def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
    """Asks for the weather of two cities at once, then of a third, and then answers."""
    last = max(index for index, item in enumerate(items) if item.get("role") == "user")
    results = [item for item in items[last:] if item.get("type") == "function_call_output"]
    turn = sum(item.get("role") == "user" for item in items)
    cities = {0: ("Oslo", "Rome"), 2: ("Bonn",)}.get(len(results), ())
    if not cities:
        return [assistant(" ".join(item["output"] for item in results))]
    calls = [
        function_call("weather", json.dumps({"city": city}), call_id=f"c_{turn}_{city}") for city in cities
    ]
    return [reasoning("why", "SEALED"), *calls]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_loop_sends_only_what_is_new(streamed: bool) -> None:
    async def main(server: ScriptedSocket) -> None:
        provider = ProviderConfig("openai-responses-ws", base_url=server.url, api_key="k")
        async with AsyncClient("openai-responses-ws:gpt-6", providers=[provider], retry=Retry(1)) as client:
            agent = Agent(
                name="A", instructions="Be kind.", model=BrainwiresModel(client=client), tools=[weather]
            )
            session = SQLiteSession("s")
            for said in ("Weather?", "And again?"):
                if streamed:
                    result = Runner.run_streamed(agent, said, session=session)
                    async for _ in result.stream_events():
                        pass
                else:
                    result = await Runner.run(agent, said, session=session)
                assert result.final_output == "sun in Oslo sun in Rome sun in Bonn"
            session.close()

    with ScriptedSocket(ResponsesService(author)) as server:
        run(main(server))
        frames = [frame for events in server.requests for frame in events]
    assert len(frames) == 6
    assert "previous_response_id" not in frames[0]
    assert all(frame["previous_response_id"] for frame in frames[1:])
    kinds = [[item.get("type") or item["role"] for item in frame["input"]] for frame in frames]
    one, two, user = ["function_call_output"], ["function_call_output"] * 2, ["user"]
    assert kinds == [user, two, one, user, two, one]
