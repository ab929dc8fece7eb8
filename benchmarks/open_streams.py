"""Memory of one open stream: ours beside raw aiohttp and openai-python, with 1,000 and 5,000 streams open at once.

Each client runs in a fresh process. It opens 100 streams, so that everything is loaded and warm, and then the others;
each stream has given its first text and waits for more in a task of its own. What is printed is the growth of resident
memory for each further stream, in KiB: the median of several processes, and the ratio's median by rounds.
openai-python is left out of the larger count: opening 5,000 streams takes it minutes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from statistics import median

from _measure import Targets, arguments, machine, print_table
from _server import Server

AIOHTTP, OURS, OPENAI = "raw aiohttp + msgspec", "ours, async", "openai-python, async"
LIMIT = 1.4
"""How many times the memory of raw aiohttp a stream may take."""
WARM = 100
BODY = {"model": "bench", "messages": [{"role": "user", "content": "Why is the sky blue?"}], "stream": True}
Read = Callable[[asyncio.Event], "asyncio.Future[None]"]


def resident() -> int:
    """Resident memory of this process, in KiB."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@asynccontextmanager
async def raw_aiohttp(url: str) -> AsyncIterator[Callable[[asyncio.Event], object]]:
    """aiohttp, with the least code that decodes events."""
    import aiohttp
    import msgspec

    async def read(begun: asyncio.Event) -> None:
        text = b""
        async with session.post(url + "/chat/completions", data=msgspec.json.encode(BODY)) as response:
            while chunk := await response.content.readany():
                *events, text = (text + chunk).split(b"\n\n")
                for event in events:
                    if msgspec.json.decode(event[6:])["choices"][0]["delta"].get("content"):
                        begun.set()

    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers={"Content-Type": "application/json"}
    ) as session:
        yield read


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Callable[[asyncio.Event], object]]:
    """This package."""
    from brainwires_provider import AsyncClient, TextDelta

    async def read(begun: asyncio.Event) -> None:
        async for event in client.stream("Why is the sky blue?"):
            if isinstance(event, TextDelta):
                begun.set()

    async with AsyncClient("openai-chat:bench", api_key="k", base_url=url, max_connections=10_000) as client:
        yield read


@asynccontextmanager
async def openai_python(url: str) -> AsyncIterator[Callable[[asyncio.Event], object]]:
    """The vendor's SDK."""
    import httpx
    import openai

    limits = httpx.Limits(max_connections=10_000, max_keepalive_connections=10_000)
    engine = httpx.AsyncClient(limits=limits, timeout=httpx.Timeout(600, pool=None))

    async def read(begun: asyncio.Event) -> None:
        async for event in await client.chat.completions.create(**BODY):  # type: ignore[call-overload]
            if event.choices and event.choices[0].delta.content:
                begun.set()

    async with openai.AsyncOpenAI(api_key="k", base_url=url, http_client=engine, max_retries=0) as client:
        yield read


CLIENTS = {AIOHTTP: raw_aiohttp, OURS: ours, OPENAI: openai_python}


async def grown(name: str, url: str, streams: int) -> float:
    """KiB for each stream after the first ones."""
    async with CLIENTS[name](url) as read:
        tasks: list[asyncio.Task[None]] = []

        async def open_until(count: int) -> None:
            while len(tasks) < count:
                signs = [asyncio.Event() for _ in range(min(100, count - len(tasks)))]
                tasks.extend(asyncio.ensure_future(read(sign)) for sign in signs)  # type: ignore[arg-type]
                await asyncio.wait_for(asyncio.gather(*(sign.wait() for sign in signs)), 60)

        await open_until(WARM)
        before = resident()
        await open_until(streams)
        taken = (resident() - before) / (streams - WARM)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return taken


def measure(name: str, url: str, streams: int) -> float:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--one", name, url, str(streams)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return float(json.loads(ended.stdout))


def main() -> int:
    """Measure, print, judge."""
    if sys.argv[1:2] == ["--one"]:
        name, url, streams = sys.argv[2:]
        print(asyncio.run(grown(name, url, int(streams))))
        return 0
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}\n")
    with Server() as server:
        for streams in (200,) if args.quick else (1_000, 5_000):
            clients = [name for name in CLIENTS if streams < 5_000 or name != OPENAI]
            rounds = [
                {name: measure(name, server.open_url, streams) for name in clients}
                for _ in range(1 if args.quick else 5)
            ]
            ratios = {name: median(each[name] / each[AIOHTTP] for each in rounds) for name in clients}
            rows = [
                (name, f"{median(each[name] for each in rounds):.1f}", f"{ratios[name]:.2f}")
                for name in clients
            ]
            print(f"### {streams} streams open (median of {len(rounds)})\n")
            print_table(("client", "KiB per stream", "÷ aiohttp"), rows)
            if not args.quick:
                targets.at_most(f"{streams} open streams: ours ÷ raw aiohttp", ratios[OURS], LIMIT)
    return targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
