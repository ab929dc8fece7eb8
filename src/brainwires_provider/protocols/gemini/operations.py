"""Embeddings of Google: `:batchEmbedContents` of the Gemini API, and `:predict` of Vertex AI.

References: https://ai.google.dev/api/embeddings and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from brainwires_provider.protocols.base.embeddings import (
    Embedded,
    checked,
    counted,
    one_batch,
    read,
    set_fields,
    word_for,
)
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import EmbeddingArgs

__all__ = ["GeminiEmbeddings", "VertexEmbeddings"]

_TASKS = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_TEXTS = 100  # of one request of the Gemini API


class _Values(Struct):
    values: list[float]
    statistics: dict[str, Any] | None = None


class _Batch(Struct, rename="camel"):
    embeddings: list[_Values]
    usage_metadata: dict[str, Any] | None = None


class _Prediction(Struct):
    embeddings: _Values


class _Predictions(Struct):
    predictions: list[_Prediction]
    metadata: dict[str, Any] | None = None


class GeminiEmbeddings:
    """The Gemini API's."""

    def batch(self, model: str) -> int:
        """A hundred, whatever the model."""
        return _TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Each text is a request of its own in one batch."""
        name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        asked = set_fields(
            taskType=word_for(args.task, _TASKS, "Gemini"), outputDimensionality=args.dimensions
        )
        requests = [
            {"model": name, "content": {"parts": [{"text": text}]}, **asked, **(args.extra_body or {})}
            for text in one_batch(texts, _TEXTS)
        ]
        return Call(f"/{name}:batchEmbedContents", {"requests": requests})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Batch)
        usage = answer.usage_metadata or {}
        tokens = usage.get("promptTokenCount", usage.get("totalTokenCount"))
        return Embedded(
            checked([each.values for each in answer.embeddings], count),
            counted(tokens if isinstance(tokens, int) else None, answer.usage_metadata),
        )


class VertexEmbeddings:
    """Vertex AI's, which reports the tokens of each text."""

    def batch(self, model: str) -> int:
        """One text for Gemini's models; nine for others, which read 2,048 tokens of each and 20,000 of all."""
        return 1 if model.startswith("gemini-") else 9

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Each text is an instance."""
        task = set_fields(task_type=word_for(args.task, _TASKS, "Vertex AI"))
        body: dict[str, Any] = {
            "instances": [{"content": text, **task} for text in one_batch(texts, self.batch(model))]
        }
        parameters = {**set_fields(outputDimensionality=args.dimensions), **(args.extra_body or {})}
        return Call(f"/models/{model}:predict", body | ({"parameters": parameters} if parameters else {}))

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Predictions)
        found = [each.embeddings for each in answer.predictions]
        told = [(each.statistics or {}).get("token_count") for each in found]
        known = [int(tokens) for tokens in told if isinstance(tokens, (int, float))]
        tokens = sum(known) if len(known) == len(found) else None
        return Embedded(checked([each.values for each in found], count), counted(tokens, answer.metadata))
