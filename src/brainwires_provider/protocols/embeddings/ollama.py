"""`POST /api/embed` of Ollama.

Reference: https://docs.ollama.com/api/embed
"""

from __future__ import annotations

from collections.abc import Sequence

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

__all__ = ["OllamaTextEmbeddings"]

_TEXTS = 512  # the server has no limit of its own; it embeds them one after another


class _Answer(Struct):
    embeddings: list[list[float]]
    model: str | None = None
    prompt_eval_count: int | None = None
    total_duration: int | None = None
    load_duration: int | None = None


class OllamaTextEmbeddings:
    """Ollama's own. Texts too long for the model are cut by the server, unless `extra_body` says `truncate: False`."""

    def batch(self, model: str) -> int:
        """Bounded, so that no request takes for ever."""
        return _TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for a task: the model's prompt says that."""
        word_for(args.task, {}, "Ollama")
        body = {
            "model": model,
            "input": list(one_batch(texts, _TEXTS)),
            **set_fields(dimensions=args.dimensions),
        }
        return Call("/api/embed", {**body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        answer = read(body, _Answer)
        told = set_fields(total_duration=answer.total_duration, load_duration=answer.load_duration)
        return Embedded(
            checked(answer.embeddings, count), counted(answer.prompt_eval_count, None), answer.model, told
        )
