"""Vectors of texts, in as many requests as a service needs, some of them at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.session import Session
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.local.weights.gguf import read_metadata
from brainwires_provider.protocols.base.embeddings import Embedded, EmbeddingProtocol
from brainwires_provider.providers import PROVIDERS, Target
from brainwires_provider.types import EmbeddingArgs, Embeddings, Policies, Usage

__all__ = ["embed"]

_AT_ONCE = 8  # requests


async def embed(
    session: Session,
    texts: Sequence[str],
    model: str,
    args: EmbeddingArgs,
    policies: Policies | None = None,
) -> Embeddings:
    """One vector for each text. The first failure ends all requests, and is raised.

    `policies` are the client's by default.
    """
    target = session.target(model)
    if target.row.transport == "local":
        target = await asyncio.to_thread(_pooled, target)
    if target.row.embeddings is None:
        can = ", ".join(name for name, row in PROVIDERS.items() if row.embeddings is not None)
        raise UnsupportedError(
            f"{target.provider} has no embeddings; those that have: {can}", provider=target.provider
        )
    for place, text in enumerate(texts):
        if not isinstance(text, str) or not text:
            raise ConfigError(f"text {place} to embed is {text!r}; services embed strings that are not empty")
    protocol = target.row.embeddings()
    most = protocol.batch(target.model)
    batches = [texts[at : at + most] for at in range(0, len(texts), most)]
    answers = await _all(session, target, protocol, batches, args, policies=policies)
    return Embeddings(
        [vector for answer in answers for vector in answer.vectors],
        target.provider,
        next((answer.model for answer in reversed(answers) if answer.model), target.model),
        _sum([answer.usage for answer in answers]),
        answers[-1].extra if answers else {},
    )


async def _all(
    session: Session,
    target: Target,
    protocol: EmbeddingProtocol,
    batches: Sequence[Sequence[str]],
    args: EmbeddingArgs,
    *,
    policies: Policies | None,
) -> list[Embedded]:
    seats = asyncio.Semaphore(_AT_ONCE)

    async def ask(batch: Sequence[str]) -> Embedded:
        async with seats:
            call = protocol.call(batch, target.model, args)
            read = partial(protocol.decode, count=len(batch))
            plan = session.plan_call(call, target, operation="embeddings")
            if policies is not None:
                plan = replace(plan, policies=policies)
            return await session.fetch(plan, read)

    loop = running_loop()
    tasks = [loop.create_task(ask(batch)) for batch in batches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _pooled(target: Target) -> Target:
    """A local model as it gives vectors: as it was set up, else as its file says, else by the mean.

    Raises ConfigError where there is no such model.
    """
    given = target.local or LocalModel()
    named = LocalModel(given.path) if given.path and not target.model else find_model(target.model)
    if given.pooling is not None or named.pooling is not None:
        return target
    told = read_metadata(os.path.expanduser(named.path)).pooling
    return replace(target, local=replace(given, pooling="mean" if told in (None, "none", "rank") else told))


def _sum(usages: Sequence[Usage]) -> Usage:
    """The counts of all requests; `complete` if each reported its own. `raw` is that of the last."""
    raw: Mapping[str, Any] | None = usages[-1].raw if usages else None
    return Usage(
        uncached_input=sum(usage.uncached_input for usage in usages),
        complete=bool(usages) and all(usage.complete for usage in usages),
        raw=raw,
    )
