"""Scripted servers of four protocols for agents, and clients of them. The SDK's tracing stays in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

pytest.importorskip("agents")
from agents import set_trace_processors

from brainwires_provider import AsyncClient, Retry
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, reply_answer

set_trace_processors([])  # the one that is there by default sends traces to OpenAI

T = TypeVar("T")
MODELS = {
    "chat": "openai-chat:gpt-6",
    "responses": "openai-responses:gpt-6",
    "anthropic": "anthropic:claude-sonnet-5",
    "gemini": "google:gemini-3-flash",
}
PATHS = {"chat": "/v1", "responses": "/v1", "anthropic": "", "gemini": "/v1beta"}
EVERYWHERE = pytest.mark.parametrize("service", MODELS)


def run(work: Coroutine[Any, Any, T]) -> T:
    async def clocked() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(clocked())


def author(replies: Sequence[Any]) -> Callable[[RecordedRequest], Answer]:
    """Answers with one reply after another, in the protocol of each request."""
    left = list(replies)

    def answer(request: RecordedRequest) -> Answer:
        said = left.pop(0)
        return said if isinstance(said, Answer) else reply_answer(request, said)

    return answer


@asynccontextmanager
async def served(
    service: str, replies: Sequence[Any], **args: Any
) -> AsyncIterator[tuple[AsyncClient, ScriptedServer]]:
    """A client of a server that answers with these replies, in order."""
    with ScriptedServer(author(replies)) as server:
        settings = {"api_key": "k", "base_url": server.url + PATHS[service], "retry": Retry(1), **args}
        async with AsyncClient(MODELS[service], **settings) as client:
            yield client, server
