"""LangChain's embeddings on this library."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from langchain_core.embeddings import Embeddings
from pydantic import PrivateAttr

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.integrations.langchain.errors import translating
from brainwires_provider.integrations.langchain.settings import Connected

__all__ = ["BrainwiresEmbeddings"]

_Task = Literal["query", "document"]


class BrainwiresEmbeddings(Connected, Embeddings):
    """Vectors of texts, of any provider that has them: `BrainwiresEmbeddings(model="openai:text-embedding-3-small")`.

    Its methods raise this library's errors, of classes that are LangChain's too: ConfigError before anything is sent,
    UnsupportedError where the provider has no embeddings. An empty text is a ConfigError, which names its place.
    """

    dimensions: int | None = None
    """The length of a vector, for models that can shorten it. None: the model's own."""
    tasks: bool = True
    """State whether a text is a document or a query, where the provider distinguishes them."""
    extra_body: dict[str, Any] | None = None
    """Fields to merge into the request's body."""

    _has_tasks: bool = PrivateAttr(default=True)

    def _args(self, task: _Task) -> dict[str, Any]:
        args: dict[str, Any] = {
            "model": self.model,
            "dimensions": self.dimensions,
            "extra_body": self.extra_body,
        }
        return args | ({"task": task} if self.tasks and self._has_tasks else {})

    def _goes_without(self, args: dict[str, Any]) -> bool:
        """Whether a refused request is made again without its task, which most services do not know."""
        if "task" not in args:
            return False
        self._has_tasks = False
        return True

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order."""
        return self._embed(texts, "document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self._embed([text], "query")[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order."""
        return await self._aembed(texts, "document")

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return (await self._aembed([text], "query"))[0]

    def _embed(self, texts: list[str], task: _Task) -> list[list[float]]:
        if not texts:
            return []
        args = self._args(task)
        with translating():
            try:
                return self._clients.sync.embed(texts, **args).vectors
            except UnsupportedError:
                if not self._goes_without(args):
                    raise
        return self._embed(texts, task)

    async def _aembed(self, texts: list[str], task: _Task) -> list[list[float]]:
        client = self._clients.asynchronous
        if client is None or not texts:
            return await asyncio.to_thread(self._embed, texts, task)
        args = self._args(task)
        with translating():
            try:
                return (await client.embed(texts, **args)).vectors
            except UnsupportedError:
                if not self._goes_without(args):
                    raise
        return await self._aembed(texts, task)
