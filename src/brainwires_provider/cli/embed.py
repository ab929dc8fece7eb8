"""`embed` prints the vectors of texts; `similar` sorts texts by how near their vectors are to that of another."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from brainwires_provider.cli.options import Connection, expand_options
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.status import FAILED, FINE, MISUSED
from brainwires_provider.cli.terminal import (
    complain,
    explain,
    note,
    print_line,
    print_text,
    standard_input,
    utf8,
)
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.types import Embeddings

__all__ = ["add_embed"]

Finish = Callable[[Callable[[], int]], NoReturn]
Model = Annotated[
    str, typer.Option("--model", "-m", metavar="PROVIDER:MODEL", help="A model that makes vectors.")
]
_STANDARD_INPUT = "-"


def add_embed(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that they return."""

    @app.command()
    @expand_options
    def embed(
        texts: Annotated[
            list[str], typer.Argument(metavar="TEXT...", help="The texts; - is standard input, one a line.")
        ],
        *,
        model: Model,
        dimensions: Annotated[
            int | None, typer.Option(min=1, help="Length of the vectors, where the model can shorten them.")
        ] = None,
        connection: Connection,
    ) -> None:
        """Print the vectors of texts, one JSON object per line.

        \b
        brainwires embed "A cat." -m openai:text-embedding-4-small
        brainwires embed - -m vllm:bge-m3 < notes.txt > notes.jsonl
        """
        finish(lambda: _embed(texts, lambda given: _vectors(connection, model, given, dimensions)))

    @app.command()
    @expand_options
    def similar(
        text: Annotated[str, typer.Argument(metavar="TEXT", help="What is compared with.")],
        file: Annotated[
            str, typer.Argument(metavar="FILE", help="Texts, one a line; - is standard input.")
        ] = _STANDARD_INPUT,
        *,
        model: Model,
        most: Annotated[int, typer.Option("-n", min=1, help="How many, at most.")] = 10,
        connection: Connection,
    ) -> None:
        """Sort texts by their similarity to a text, the most similar first.

        Each line has the cosine of the angle between the two vectors, a tab, and the text.

        \b
        brainwires similar "pets" notes.txt -m openai:text-embedding-4-small
        ls | brainwires similar "invoices" -m vllm:bge-m3 -n 3
        """
        finish(lambda: _similar(text, file, most, lambda given: _vectors(connection, model, given, None)))


def _vectors(connection: Connection, model: str, texts: list[str], dimensions: int | None) -> Embeddings:
    """Raises ProviderError."""

    async def main() -> Embeddings:
        async with connection.client(model, connection.load()) as client:
            return await client.embed(texts, dimensions=dimensions)

    return asyncio.run(main())


def _embed(given: list[str], embed: Callable[[list[str]], Embeddings]) -> int:
    try:
        texts = [line for text in given for line in (_lines(text) if text == _STANDARD_INPUT else [text])]
        texts = [utf8(text, "the text") for text in texts]
    except ConfigError as error:
        complain(explain(error))
        return MISUSED
    try:
        found = embed(texts) if texts else None
    except ProviderError as error:
        print_line(dump(failure_shape(error)))
        complain(explain(error))
        return FAILED
    if found is None:
        complain("there is no text")
        return MISUSED
    for text, vector in zip(texts, found.vectors, strict=True):
        print_line(dump({"text": text, "vector": vector}))
    _count(found)
    return FINE


def _similar(text: str, file: str, most: int, embed: Callable[[list[str]], Embeddings]) -> int:
    try:
        wanted, texts = utf8(text, "the text"), _lines(file)
        if not texts:
            raise ConfigError("there is no text to compare with")
    except ConfigError as error:
        complain(explain(error))
        return MISUSED
    try:
        found = embed([wanted, *texts])
    except ProviderError as error:
        complain(explain(error))
        return FAILED
    first, *others = found.vectors
    nearness = sorted(zip(map(_cosine(first), others), texts, strict=True), key=lambda each: -each[0])
    for near, line in nearness[:most]:
        print_text(f"{near:.4f}\t{line}")
    _count(found)
    return FINE


def _lines(name: str) -> list[str]:
    """The lines of a file that are not blank. Raises ConfigError."""
    try:
        data = standard_input() if name == _STANDARD_INPUT else Path(name).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{name}: {error.strerror}") from None
    where = "standard input" if name == _STANDARD_INPUT else name
    return [line.strip() for line in utf8(data, where).splitlines() if line.strip()]


def _cosine(one: list[float]) -> Callable[[list[float]], float]:
    length = math.hypot(*one)

    def with_other(other: list[float]) -> float:
        product = length * math.hypot(*other)
        return sum(a * b for a, b in zip(one, other, strict=True)) / product if product else 0.0

    return with_other


def _count(found: Embeddings) -> None:
    note(f"{len(found.vectors)} vectors of {found.dimensions} numbers, {found.usage.input_tokens} tokens")
