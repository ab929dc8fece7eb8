"""LangChain: `ChatBrainwires` beside `ChatOpenAI`, for `adapters.py`."""

from __future__ import annotations

from typing import Any

FRAMEWORK, OURS, THEIRS = "LangChain", "ChatBrainwires", "ChatOpenAI"
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


def theirs(url: str) -> _Model:
    """The framework's own class."""
    from langchain_openai import ChatOpenAI

    return _Model(ChatOpenAI(model="bench", api_key="k", base_url=url, max_retries=0, stream_usage=True))
