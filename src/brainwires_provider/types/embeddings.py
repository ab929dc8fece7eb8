"""Vectors of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from brainwires_provider.types.usage import Usage

__all__ = ["EmbeddingArgs", "EmbeddingTask", "Embeddings"]

EmbeddingTask: TypeAlias = Literal["query", "document", "similarity", "classification", "clustering"]


class EmbeddingArgs(Struct, frozen=True):
    """What is asked of vectors, besides being there."""

    dimensions: int | None = None
    task: EmbeddingTask | None = None
    extra_body: Mapping[str, Any] | None = None


class Embeddings(Struct, frozen=True):
    """One vector for each text, in their order. `usage` sums all requests that it took; `extra` is the last one's."""

    vectors: list[list[float]]
    provider: str
    model: str | None
    usage: Usage
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has; 0 where there is none."""
        return len(self.vectors[0]) if self.vectors else 0

    def __repr__(self) -> str:
        """Shapes only: the numbers say nothing."""
        return f"Embeddings({len(self.vectors)} x {self.dimensions}, {self.provider}:{self.model}, {self.usage!r})"
