"""`POST /embeddings` as OpenAI has it, and the many services that follow.

Vectors are asked for in base64 where the service is known to give them so: a quarter of the bytes, and no decimal
digits to read. Whichever form comes is read.
Reference: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import binascii
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any

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

__all__ = ["OpenAIEmbeddings"]


class _Vector(Struct):
    embedding: list[float] | str
    index: int | None = None


class _Answer(Struct):
    data: list[_Vector]
    model: str | None = None
    usage: dict[str, Any] | None = None


class OpenAIEmbeddings:
    """`POST /embeddings` of OpenAI and of compatible services.

    `texts` is the limit of one request; `packed` asks for base64. `dimensions` is the field's name, None where there
    is none. `tasks` are the service's values for the purpose of the vectors, in the field `task_field`.
    """

    def __init__(
        self,
        *,
        texts: int = 2048,
        packed: bool = False,
        dimensions: str | None = "dimensions",
        task_field: str = "input_type",
        tasks: Mapping[str, str] | None = None,
    ) -> None:
        self._texts = texts
        self._packed = packed
        self._dimensions = dimensions
        self._task_field = task_field
        self._tasks = tasks or {}

    def batch(self, model: str) -> int:
        """The limit of one request, whatever the model."""
        return self._texts

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for dimensions or a task that the service has no field for."""
        body: dict[str, Any] = {"model": model, "input": list(one_batch(texts, self._texts))}
        if self._packed:
            body["encoding_format"] = "base64"
        if args.dimensions is not None:
            if self._dimensions is None:
                raise UnsupportedError(
                    "this service takes no dimensions: its vectors have the model's own length"
                )
            body[self._dimensions] = args.dimensions
        body |= set_fields(**{self._task_field: word_for(args.task, self._tasks, "this service")})
        return Call("/embeddings", {**body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """In the order of the texts, which `index` states where it is there. Raises ProtocolError."""
        answer = read(body, _Answer)
        found = answer.data
        places = [vector.index for vector in found]
        if all(place is not None for place in places) and len(set(places)) == len(places):
            found = sorted(found, key=lambda vector: vector.index or 0)
        usage = answer.usage or {}
        tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
        return Embedded(
            checked([_numbers(vector.embedding) for vector in found], count),
            counted(tokens if isinstance(tokens, int) else None, answer.usage),
            answer.model,
        )


def _numbers(embedding: list[float] | str) -> list[float]:
    """Numbers, or base64 of little-endian 32-bit floats."""
    if not isinstance(embedding, str):
        return embedding
    numbers = array("f")
    try:
        numbers.frombytes(b64decode(embedding, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"a vector is no base64 of 32-bit floats: {error}") from None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
