"""A clock for batches, a client without a network, and what a batch comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from brainwires_provider import AsyncClient
from brainwires_provider.resources.batch import AsyncBatch
from brainwires_provider.testing import Answer, FakeProvider, RecordedRequest

T = TypeVar("T")
KEY = "sk-planted-0123456789abcdef"
NAMES = ("one", "two", "three", "four", "five")
ITEMS = {name: f"Say {name}." for name in NAMES}


class Time:
    """A clock that only sleeping moves."""

    def __init__(self, stop_at: float | None = None) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self._stop_at = stop_at

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if self._stop_at is not None and self.now >= self._stop_at:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)

    def of(self, batch: AsyncBatch) -> AsyncBatch:
        return AsyncBatch(
            batch._session,
            batch._handle,
            batch._folder,
            store=batch._store,
            sleep=self.sleep,
            clock=lambda: self.now,
        )


def client(
    answers: Callable[[RecordedRequest], Answer], model: str = "openai-chat:gpt-6", **more: Any
) -> AsyncClient:
    return AsyncClient(model, api_key=KEY, transport=FakeProvider(answers), **more)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(work())


async def finished(batch: AsyncBatch, **more: Any) -> list[Any]:
    await Time().of(batch).wait(**more)
    return [result async for result in batch.results()]


def all_of(answers: Any, root: Path, items: Any = ITEMS, **more: Any) -> list[Any]:
    async def work() -> list[Any]:
        async with client(answers, **more) as asking:
            return await finished(await asking.batch(items, ledger=root))

    return run(work)
