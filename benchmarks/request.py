"""CPU microseconds of the client for one small whole request: ours beside raw aiohttp and openai-python.

Every contestant posts the same question, reads one small JSON body and takes its text, which is compared with what
was sent. Connections are kept. "200 at once" is 200 tasks in one event loop. Turns are short and rounds many: the
machine's speed may change from one second to the next by half.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import aiohttp
import msgspec
import openai
from _measure import Rounds, Targets, arguments, cpu_seconds, interleaved, machine, print_table
from _server import WHOLE_TEXT, Server

from brainwires_provider import AsyncClient

AIOHTTP, OURS, OPENAI = "raw aiohttp + msgspec", "ours, async", "openai-python, async"
_PROMPT = "Why is the sky blue?"
_BODY: dict[str, Any] = {"model": "bench", "messages": [{"role": "user", "content": _PROMPT}]}

Ask = Callable[[], Awaitable[str | None]]


class Load(NamedTuple):
    """One table: how many requests at once, how many such batches in a round, and how many rounds."""

    at_once: int
    batches: int
    rounds: int


FULL = (Load(1, 60, 45), Load(200, 1, 45))
QUICK = (Load(1, 10, 1), Load(20, 1, 1))


def _aiohttp_asker(session: aiohttp.ClientSession, url: str) -> Ask:
    url += "/chat/completions"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer k"}

    async def ask() -> str | None:
        async with session.post(url, data=msgspec.json.encode(_BODY), headers=headers) as response:
            text: str = msgspec.json.decode(await response.read())["choices"][0]["message"]["content"]
            return text

    return ask


def _ours_asker(client: AsyncClient) -> Ask:
    async def ask() -> str | None:
        return (await client.chat(_PROMPT)).text

    return ask


def _openai_asker(client: openai.AsyncOpenAI) -> Ask:
    async def ask() -> str | None:
        answer = await client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": _PROMPT}]
        )
        return answer.choices[0].message.content

    return ask


def _measure(load: Load, url: str, runner: asyncio.Runner) -> Rounds:
    """CPU seconds of each contestant for one request."""

    def contestant(ask: Ask) -> Callable[[], float]:
        async def batches() -> None:
            for _ in range(load.batches):
                texts = (
                    [await ask()]
                    if load.at_once == 1
                    else await asyncio.gather(*(ask() for _ in range(load.at_once)))
                )
                if any(text != WHOLE_TEXT for text in texts):
                    raise SystemExit("a contestant read another text than was sent")

        requests = load.batches * load.at_once
        return lambda: cpu_seconds(lambda: runner.run(batches())) / requests

    async def make_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000))

    session = runner.run(make_session())
    ours = AsyncClient("openai-chat:bench", api_key="k", base_url=url)
    theirs = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    contestants = {
        AIOHTTP: contestant(_aiohttp_asker(session, url)),
        OURS: contestant(_ours_asker(ours)),
        OPENAI: contestant(_openai_asker(theirs)),
    }
    try:
        return interleaved(contestants, load.rounds)
    finally:
        for close in (session.close, ours.aclose, theirs.close):
            runner.run(close())


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}\n")
    with Server() as server, asyncio.Runner() as runner:
        for load in QUICK if args.quick else FULL:
            measured = _measure(load, server.whole_url, runner)
            print(
                f"### {load.at_once} at once ({load.at_once * load.batches} requests, median of {load.rounds})\n"
            )
            rows = [
                (
                    name,
                    f"{measured.median(name) * 1e6:.0f}",
                    f"{measured.ratio(name, AIOHTTP):.2f}",
                    f"{measured.ratio(name, OPENAI):.3f}",
                )
                for name in measured
            ]
            print_table(("client", "CPU µs per request", "÷ aiohttp", "÷ openai"), rows)
            if args.quick:
                continue
            title = f"{load.at_once} at once"
            targets.at_most(f"{title}: ours ÷ raw aiohttp", measured.ratio(OURS, AIOHTTP), 1.5)
            targets.at_least(
                f"{title}: openai ÷ ours", measured.ratio(OPENAI, OURS), 4 if load.at_once == 1 else 10
            )
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
