"""What a protocol of embeddings is, and the checks that all of them share.

An answer is only whole if it has one vector for each text, of finite numbers, and all of one length: anything else is
a ProtocolError, for vectors that belong to other texts look like any others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from brainwires_provider.errors import APIError, ProtocolError, ProviderError, UnsupportedError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import EmbeddingArgs, EmbeddingTask, Usage

__all__ = [
    "Embedded",
    "EmbeddingProtocol",
    "checked",
    "counted",
    "no_embeddings",
    "one_batch",
    "read",
    "set_fields",
    "word_for",
]

T = TypeVar("T")


class Embedded(Struct, frozen=True):
    """The answer to one request."""

    vectors: list[list[float]]
    usage: Usage
    model: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class EmbeddingProtocol(Protocol):
    """One way to embed. Pure, as a `ChatProtocol` is."""

    def batch(self, model: str) -> int:
        """How many texts one request may carry."""
        ...

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """The request. Raises UnsupportedError for what the service cannot be asked."""
        ...

    def decode(self, body: bytes, count: int) -> Embedded:
        """The vectors of `count` texts. Raises ProtocolError."""
        ...


def read(body: bytes, kind: type[T]) -> T:
    """A whole body as a Struct that names its mandatory members. Raises ProtocolError, APIError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:  # NaN and lone surrogates, which some servers emit
        return msgspec.convert(decode_json(body), kind)
    except (msgspec.ValidationError, ValueError) as error:
        raise no_embeddings(body, str(error)) from None


def no_embeddings(body: bytes, why: str) -> ProviderError:
    """The APIError that a body under status 200 is, or else a ProtocolError."""
    try:
        object_in(body, "the answer")
    except APIError as error:
        return error
    except ProtocolError:
        pass
    return ProtocolError(f"the answer holds no embeddings: {why}; it is {looks_like(body)}")


def checked(vectors: list[list[float]], count: int) -> list[list[float]]:
    """The same vectors, if there is one for each text. Raises ProtocolError."""
    if len(vectors) != count:
        raise ProtocolError(f"{count} texts were sent, and {len(vectors)} vectors came back")
    lengths = {len(vector) for vector in vectors}
    if len(lengths) > 1 or 0 in lengths:
        raise ProtocolError(f"the vectors are not of one length: {sorted(lengths)}")
    if not all(math.isfinite(math.fsum(vector)) for vector in vectors):
        raise ProtocolError("a vector holds a number that is not finite")
    return vectors


def counted(tokens: int | None, raw: Mapping[str, Any] | None) -> Usage:
    """What the texts cost, where the service says it."""
    if tokens is None:
        return Usage(raw=raw)
    return Usage(uncached_input=max(tokens, 0), complete=True, raw=raw)


def set_fields(**fields: Any) -> dict[str, Any]:
    """Those that are set."""
    return {name: value for name, value in fields.items() if value is not None}


def word_for(task: EmbeddingTask | None, words: Mapping[str, str], service: str) -> str | None:
    """The service's own word for what vectors are for. Raises UnsupportedError where it has none."""
    if task is None:
        return None
    word = words.get(task)
    if word is None:
        known = f"; it knows {', '.join(words)}" if words else ""
        raise UnsupportedError(f"{service} has no task {task!r} for embeddings{known}")
    return word


def one_batch(texts: Sequence[str], most: int) -> Sequence[str]:
    """The texts, if one request may carry them. Raises UnsupportedError."""
    if not 0 < len(texts) <= most:
        raise UnsupportedError(f"one request carries 1 to {most} texts, not {len(texts)}")
    return texts
