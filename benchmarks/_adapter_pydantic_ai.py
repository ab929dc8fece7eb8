"""pydantic-ai: `BrainwiresModel` beside `OpenAIChatModel`, for `adapters.py`: the methods that an agent calls."""

from __future__ import annotations

from typing import Any

FRAMEWORK, OURS, THEIRS = "pydantic-ai", "BrainwiresModel", "OpenAIChatModel"
OURS_NEEDS, NEEDS = ("pydantic_ai",), ("pydantic_ai", "openai")
_PROMPT = "Why is the sky blue?"


class _Model:
    """A model of pydantic-ai, asked as an agent asks it."""

    def __init__(self, model: Any, client: Any) -> None:
        from pydantic_ai.messages import ModelRequest
        from pydantic_ai.models import ModelRequestParameters

        self._model = model
        self._client = client
        self._messages = [ModelRequest.user_text_prompt(_PROMPT)]
        self._parameters = ModelRequestParameters()

    async def request(self) -> int:
        response = await self._model.request(self._messages, None, self._parameters)
        return len(response.text)

    async def stream(self) -> int:
        length = 0
        async with self._model.request_stream(self._messages, None, self._parameters) as stream:
            async for event in stream:
                if event.event_kind == "part_start":
                    length += len(event.part.content)
                elif event.event_kind == "part_delta":
                    length += len(event.delta.content_delta)
        assert length == len(stream.get().text)
        return length

    async def aclose(self) -> None:
        await self._client()


def ours(url: str) -> _Model:
    """The adapter."""
    from brainwires_provider.integrations.pydantic_ai import BrainwiresModel

    model = BrainwiresModel("openai-chat:bench", api_key="k", base_url=url)
    return _Model(model, model.aclose)


def theirs(url: str) -> _Model:
    """The framework's own class."""
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    return _Model(OpenAIChatModel("bench", provider=OpenAIProvider(openai_client=client)), client.close)
