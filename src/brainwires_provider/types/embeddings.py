"""Embeddings: vectors that represent texts, and the options for requesting them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from brainwires_provider.types.checked import Checked
from brainwires_provider.types.usage import Usage

__all__ = ["EmbeddingArgs", "EmbeddingTask", "Embeddings"]

EmbeddingTask: TypeAlias = Literal["query", "document", "similarity", "classification", "clustering"]


class EmbeddingArgs(Checked, frozen=True):
    """Options of an embedding request."""

    dimensions: int | None = None
    """The length of a vector, for models that can shorten it. None: the model's own."""
    task: EmbeddingTask | None = None
    """What the vectors are for, for models that distinguish that."""
    extra_body: Mapping[str, Any] | None = None
    """Fields to merge into the request's JSON body, after everything else."""


class Embeddings(Struct, frozen=True):
    """One vector for each text, in the order of the texts."""

    vectors: list[list[float]]
    """The vectors, all of the same length."""
    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str | None
    """The model as the provider reports it."""
    usage: Usage
    """Token counts, summed over all requests that the texts needed."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the last request's response."""

    @property
    def dimensions(self) -> int:
        """The length of a vector; 0 if there is none."""
        return len(self.vectors[0]) if self.vectors else 0

    def __repr__(self) -> str:
        """Sizes only, since the numbers themselves are long and unreadable."""
        return f"Embeddings({len(self.vectors)} x {self.dimensions}, {self.provider}:{self.model}, {self.usage!r})"
