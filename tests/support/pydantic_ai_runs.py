"""What the tests of the pydantic-ai adapter share: models on scripted providers, a clock, histories through JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from pydantic_ai import ModelMessagesTypeAdapter
from pydantic_ai.messages import ModelMessage

from brainwires_provider import AsyncClient
from brainwires_provider.integrations.pydantic_ai import BrainwiresModel
from brainwires_provider.testing import FakeProvider

T = TypeVar("T")

MODELS = {
    "openai-chat:gpt-4o": "openai_chat",
    "openai:gpt-5.2": "openai_responses",
    "anthropic:claude-opus-4-8": "anthropic_messages",
    "google:gemini-3-flash": "gemini",
    "bedrock:amazon.nova-lite-v1:0": "bedrock_converse",
    "ollama:qwen3": "ollama",
    "google-interactions:gemini-3-flash": "google_interactions",
}


def run(work: Awaitable[T], seconds: float = 20) -> T:
    async def clocked() -> T:
        async with asyncio.timeout(seconds):
            return await work

    return asyncio.run(clocked())


def scripted(
    script: Any, model: str = "openai-chat:gpt-4o", **args: Any
) -> tuple[BrainwiresModel, FakeProvider]:
    """A model whose provider answers from a script, and that provider."""
    fake = script if isinstance(script, FakeProvider) else FakeProvider(script)
    settings = {name: args.pop(name) for name in ("settings", "profile") if name in args}
    client = AsyncClient(model, api_key="sk-planted", transport=fake, **args)
    return BrainwiresModel(model, client=client, **settings), fake


def through_json(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """The same history, from its JSON."""
    return ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(list(messages)))


__all__ = ["MODELS", "run", "scripted", "through_json"]
