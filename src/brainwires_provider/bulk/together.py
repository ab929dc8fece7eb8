"""Rows that are embedded at the same time go in one request, and each has a record of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider.bulk.record import Record, record_of_embeddings
from brainwires_provider.errors import APIError, BudgetExceededError, InvalidRequestError
from brainwires_provider.types import Embeddings, Usage

__all__ = ["Together"]

_TOO_LARGE = 413


class _Row(NamedTuple):
    texts: Sequence[str]
    done: asyncio.Future[Record]


class Together:
    """Embeds with `embed`, at most `most` texts in one request where rows have few."""

    def __init__(self, embed: Callable[[list[str]], Awaitable[Embeddings]], most: int) -> None:
        self._embed, self._most = embed, most
        self._waiting: list[_Row] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, texts: Sequence[str]) -> Record:
        """The vectors of one row's texts. Raises what the request fails with that they are in."""
        loop = running_loop()
        row = _Row(texts, loop.create_future())
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append(row)
        return await row.done

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for group in self._groups(waiting):
            task = running_loop().create_task(self._ask(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            for row in group:
                row.done.add_done_callback(partial(_leave, task, group))

    def _groups(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        group: list[_Row] = []
        texts = 0
        for row in rows:
            if group and texts + len(row.texts) > self._most:
                yield group
                group, texts = [], 0
            group.append(row)
            texts += len(row.texts)
        yield group

    async def _ask(self, group: list[_Row]) -> None:
        """One request; if its content is refused, or a budget too small for it, each half has one of its own."""
        group = [row for row in group if not row.done.done()]
        if not group:
            return
        try:
            found = await self._embed([text for row in group for text in row.texts])
        except Exception as error:  # noqa: BLE001 - each row's to see
            if len(group) > 1 and _is_of_one(error):
                await self._ask(group[: len(group) // 2])
                await self._ask(group[len(group) // 2 :])
                return
            for row in group:
                if not row.done.done():
                    row.done.set_exception(error)
            return
        for row, record in zip(group, _split(found, [row.texts for row in group]), strict=True):
            if not row.done.done():
                row.done.set_result(record)


def _leave(task: asyncio.Task[None], group: Sequence[_Row], _: object) -> None:
    """A request that nobody waits for any more is cancelled."""
    if all(row.done.cancelled() for row in group):
        task.cancel()


def _is_of_one(error: Exception) -> bool:
    """Whether a part of the texts may be answered."""
    return isinstance(error, (InvalidRequestError, BudgetExceededError)) or (
        isinstance(error, APIError) and error.status == _TOO_LARGE
    )


def _split(found: Embeddings, rows: Sequence[Sequence[str]]) -> Iterator[Record]:
    """A record for each row; the tokens by the lengths of its texts, since only their sum is known."""
    whole = sum(len(text) for texts in rows for text in texts) or 1
    total, at, length, given = found.usage.input_tokens, 0, 0, 0
    for texts in rows:
        vectors = found.vectors[at : at + len(texts)]
        at += len(texts)
        length += sum(map(len, texts))
        until = total * length // whole
        usage = Usage(uncached_input=until - given, complete=found.usage.complete)
        given = until
        yield record_of_embeddings(replace(found, vectors=vectors, usage=usage))
