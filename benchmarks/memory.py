"""Memory that stays: 3,000 chats and 3,000 streams on one client, and 300 clients one after the other, async and sync.

Each case runs in a fresh process, first for a while that does not count, so that everything is loaded and warm. What
is printed is the growth of Python's allocated blocks per call and of resident memory, of which the allocator returns
little. What is kept for each call, however small, is at least one block; a client that stayed would be hundreds. A
loop keeps up to 100 cancelled timers, which is why 300 clients may leave a fraction of a block each.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from _measure import Targets, arguments, machine, print_table
from _server import Server
from open_streams import resident

from brainwires_provider import AsyncClient, Client

KIB = 1_024
"""By how much resident memory may grow over all calls of a case."""
PROMPT = "Why is the sky blue?"


class Growth(NamedTuple):
    blocks: float
    """Per call."""
    resident: int
    """KiB, over all calls."""


@asynccontextmanager
async def chats(whole: str, _: str) -> AsyncIterator[Callable[[], object]]:
    async with AsyncClient("openai-chat:bench", api_key="k", base_url=whole) as client:

        async def call() -> None:
            assert (await client.chat(PROMPT)).text

        yield call


@asynccontextmanager
async def streams(_: str, streamed: str) -> AsyncIterator[Callable[[], object]]:
    async with AsyncClient("openai-chat:bench", api_key="k", base_url=streamed) as client:

        async def call() -> None:
            async with client.stream(PROMPT) as stream:
                async for _ in stream:
                    pass
            assert stream.response.text

        yield call


@asynccontextmanager
async def clients(whole: str, _: str) -> AsyncIterator[Callable[[], object]]:
    async def call() -> None:
        async with AsyncClient("openai-chat:bench", api_key="k", base_url=whole) as client:
            assert (await client.chat(PROMPT)).text

    yield call


@asynccontextmanager
async def sync_chats(whole: str, _: str) -> AsyncIterator[Callable[[], object]]:
    with Client("openai-chat:bench", api_key="k", base_url=whole) as client:
        yield lambda: client.chat(PROMPT).text


@asynccontextmanager
async def sync_streams(_: str, streamed: str) -> AsyncIterator[Callable[[], object]]:
    with Client("openai-chat:bench", api_key="k", base_url=streamed) as client:

        def call() -> None:
            with client.stream(PROMPT) as stream:
                for _ in stream:
                    pass
            assert stream.response.text

        yield call


@asynccontextmanager
async def sync_clients(whole: str, _: str) -> AsyncIterator[Callable[[], object]]:
    def call() -> None:
        with Client("openai-chat:bench", api_key="k", base_url=whole) as client:
            assert client.chat(PROMPT).text

    yield call


CASES = {
    "chats, async": (chats, 3_000, 0.1),
    "chats, sync": (sync_chats, 3_000, 0.1),
    "streams, async": (streams, 3_000, 0.1),
    "streams, sync": (sync_streams, 3_000, 0.1),
    "clients, async": (clients, 300, 1.0),
    "clients, sync": (sync_clients, 300, 1.0),
}
"""What is called, how often, and how many blocks a call may leave."""


async def grown(name: str, whole: str, streamed: str, calls: int) -> Growth:
    """What is left after the calls that was not there before."""

    async def repeat(count: int) -> None:
        for _ in range(count):
            made = call()
            if asyncio.iscoroutine(made):
                await made

    async with CASES[name][0](whole, streamed) as call:
        await repeat(max(50, calls // 3))
        before = resident(), sys.getallocatedblocks()
        await repeat(calls)
        gc.collect()
        blocks, kib = sys.getallocatedblocks() - before[1], resident() - before[0]
        return Growth(blocks / calls, kib)


def measure(name: str, whole: str, streamed: str, calls: int) -> Growth:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", name, whole, streamed, str(calls)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600)
    return Growth(*json.loads(ended.stdout))


def main() -> int:
    """Measure, print, judge."""
    if sys.argv[1:2] == ["--one"]:
        name, whole, streamed, calls = sys.argv[2:]
        print(json.dumps(asyncio.run(grown(name, whole, streamed, int(calls)))))
        return 0
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}\n")
    rows = []
    with Server() as server:
        for name, (_, count, blocks) in CASES.items():
            calls = min(count, 100) if args.quick else count
            growth = measure(name, server.whole_url, server.stream_url("saturated", 1, 20), calls)
            rows.append((name, f"{calls}", f"{growth.blocks:.3f}", f"{growth.resident}"))
            targets.at_most(f"{name}: blocks per call", growth.blocks, 1 if args.quick else blocks)
            targets.at_most(f"{name}: resident KiB in all", growth.resident, KIB)
    print_table(("case", "calls", "blocks per call", "resident KiB"), rows)
    return targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
