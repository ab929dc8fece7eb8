"""The Agents SDK: `BrainwiresModel` beside `OpenAIChatCompletionsModel`, for `adapters.py`."""

from __future__ import annotations

from typing import Any

FRAMEWORK, OURS, THEIRS = "OpenAI Agents SDK", "BrainwiresModel", "OpenAIChatCompletionsModel"
OURS_NEEDS = NEEDS = ("agents",)
_PROMPT = "Why is the sky blue?"


class _Model:
    """A model of the SDK, called as its runner calls it, without a trace."""

    def __init__(self, model: Any, aclose: Any) -> None:
        from agents import ModelSettings, ModelTracing, set_trace_processors

        set_trace_processors([])
        self._model, self.aclose = model, aclose
        self._rest = (ModelSettings(), [], None, [], ModelTracing.DISABLED)
        self._state = {"previous_response_id": None, "conversation_id": None, "prompt": None}

    async def request(self) -> int:
        response = await self._model.get_response("Be brief.", _PROMPT, *self._rest, **self._state)
        return len(response.output[0].content[0].text)

    async def stream(self) -> int:
        length = 0
        async for event in self._model.stream_response("Be brief.", _PROMPT, *self._rest, **self._state):
            if event.type == "response.output_text.delta":
                length += len(event.delta)
        return length


def ours(url: str) -> _Model:
    """The adapter."""
    from brainwires_provider import AsyncClient
    from brainwires_provider.integrations.openai_agents import BrainwiresModel

    client = AsyncClient("openai-chat:bench", api_key="k", base_url=url)
    return _Model(BrainwiresModel(client=client), client.aclose)


def theirs(url: str) -> _Model:
    """The SDK's own class."""
    from agents import OpenAIChatCompletionsModel
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    return _Model(OpenAIChatCompletionsModel("bench", client), client.close)
