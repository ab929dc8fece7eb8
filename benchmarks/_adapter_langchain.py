"""LangChain: `ChatBrainwires` beside `ChatOpenAI`, for `adapters.py`."""

from __future__ import annotations

from typing import Any

FRAMEWORK, OURS, THEIRS = "LangChain", "ChatBrainwires", "ChatOpenAI"
BARE = "a class that only calls the client"
OURS_NEEDS, NEEDS = ("langchain_core",), ("langchain_openai",)
_PROMPT = "Why is the sky blue?"


class _Model:
    """A chat model of LangChain, and what closes its client."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def request(self) -> int:
        return len((await self._model.ainvoke(_PROMPT)).text)

    async def stream(self) -> int:
        length = 0
        async for chunk in self._model.astream(_PROMPT):
            length += len(chunk.text)
        return length

    async def aclose(self) -> None:
        if hasattr(self._model, "aclose"):
            await self._model.aclose()


def ours(url: str) -> _Model:
    """The adapter."""
    from brainwires_provider.integrations.langchain import ChatBrainwires

    return _Model(ChatBrainwires(model="openai-chat:bench", api_key="k", base_url=url))


def bare(url: str) -> _Model:
    """The least that any adapter takes: LangChain's base class, and the client's text as the answer."""
    from collections.abc import AsyncIterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    from brainwires_provider import AsyncClient

    client = AsyncClient("openai-chat:bench", api_key="k", base_url=url)

    class Bare(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "bare"

        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            raise NotImplementedError

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
            answer = await client.chat(messages[0].content)
            return ChatResult(generations=[ChatGeneration(message=AIMessage(answer.text))])

        async def _astream(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
        ) -> AsyncIterator[ChatGenerationChunk]:
            async with client.stream(messages[0].content) as stream:
                async for text in stream.text_stream():
                    yield ChatGenerationChunk(message=AIMessageChunk(text))

        async def aclose(self) -> None:
            await client.aclose()

    return _Model(Bare())


def theirs(url: str) -> _Model:
    """The framework's own class."""
    from langchain_openai import ChatOpenAI

    return _Model(ChatOpenAI(model="bench", api_key="k", base_url=url, max_retries=0, stream_usage=True))
