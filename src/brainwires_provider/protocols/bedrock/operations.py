"""Embeddings of Bedrock, by InvokeModel: each vendor's model has a body of its own, chosen by the vendor in its id.

Reference: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from brainwires_provider.errors import ProtocolError, UnsupportedError
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

__all__ = ["BedrockEmbeddings"]

_COHERE_TEXTS = 96
_COHERE_TASKS = {
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}


class _Answer(Struct, rename="camel"):
    embedding: list[float] | None = None  # Titan
    input_text_token_count: int | None = None
    embeddings: list[list[float]] | dict[str, list[list[float]]] | None = None  # Cohere


class BedrockEmbeddings:
    """Embeddings of Amazon Titan, one text a request, and of Cohere.

    A Cohere model requires the purpose of the vectors: unless `task` is set, they are of documents.
    """

    def batch(self, model: str) -> int:
        """Raises UnsupportedError for a model of another vendor."""
        return 1 if _vendor(model) == "amazon" else _COHERE_TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for another vendor's model, and for a task that the model has no word for."""
        texts = one_batch(texts, self.batch(model))
        body: dict[str, Any]
        if _vendor(model) == "amazon":
            word_for(args.task, {}, "Titan")
            body = {"inputText": texts[0], **set_fields(dimensions=args.dimensions)}
        else:
            task = word_for(args.task or "document", _COHERE_TASKS, "Cohere")
            body = {"texts": list(texts), "input_type": task, **set_fields(output_dimension=args.dimensions)}
        return Call(f"/model/{quote(model, safe='')}/invoke", {**body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Answer)
        if answer.embedding is not None:
            usage = counted(answer.input_text_token_count, None)
            return Embedded(checked([answer.embedding], count), usage)
        vectors = answer.embeddings
        if isinstance(vectors, dict):
            vectors = vectors.get("float")
        if vectors is None:
            raise ProtocolError(
                "the answer holds no embeddings: neither `embedding` nor `embeddings` with floats"
            )
        return Embedded(checked(vectors, count), counted(None, None))


def _vendor(model: str) -> str:
    """`amazon` or `cohere`, from an id, an inference profile's id (`us.cohere.…`) or an ARN."""
    name = model.rpartition("/")[2]
    for vendor, family in (("amazon", "amazon.titan-embed"), ("cohere", "cohere.embed")):
        if family in name:
            return vendor
    raise UnsupportedError(
        f"{model!r} is no model whose embeddings are built: those of amazon.titan-embed… and cohere.embed… are"
    )
