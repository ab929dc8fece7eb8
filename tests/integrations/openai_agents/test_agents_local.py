"""An agent on a model of this machine."""

from __future__ import annotations

import pytest

pytest.importorskip("agents")
from agent_cases import run
from agents import Agent, ModelSettings, Runner

from brainwires_provider import AsyncClient
from brainwires_provider.integrations.openai_agents import BrainwiresModel
from engines import NEEDS_ENGINE

pytestmark = NEEDS_ENGINE


def test_a_plain_answer() -> None:
    async def main() -> None:
        async with AsyncClient("local:smollm2") as client:
            settings = ModelSettings(max_tokens=40, temperature=0)
            agent = Agent(
                name="A",
                instructions="Be brief.",
                model=BrainwiresModel(client=client),
                model_settings=settings,
            )
            result = await Runner.run(agent, "What is the capital of France? Answer with one sentence.")
            assert "Paris" in result.final_output
            assert result.context_wrapper.usage.output_tokens > 0
            streamed = Runner.run_streamed(
                agent, [*result.to_input_list(), {"role": "user", "content": "And of Italy?"}]
            )
            async for _ in streamed.stream_events():
                pass
            assert streamed.final_output

    run(main())
