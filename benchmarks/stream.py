"""CPU microseconds of the client for one event of a stream, ours beside the floor, raw aiohttp and openai-python.

Every contestant reads the same streams at once, decodes every event and adds up the text, which is compared with
what was sent. Each keeps its connections from round to round. The floor is a socket of asyncio's with the least
code that still reads chunks and events rightly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import aiohttp
import msgspec
import openai
from _measure import Rounds, Targets, arguments, cpu_seconds, interleaved, machine, print_table
from _server import Server, stream_text

from brainwires_provider import AsyncClient, Client, TextDelta

FLOOR, AIOHTTP, ASYNC, SYNC, OPENAI = (
    "floor: asyncio socket + msgspec",
    "raw aiohttp + msgspec",
    "ours, async",
    "ours, sync (threads)",
    "openai-python, async",
)
_PROMPT = "Why is the sky blue?"
_BODY: dict[str, Any] = {"model": "bench", "messages": [{"role": "user", "content": _PROMPT}], "stream": True}
_PACES = {
    "saturated": "server saturated",
    "ticks": "an event each every 10 ms",
    "spread": "an event each every 10 ms, spread: one wake-up an event (no target)",
}

Read = Callable[[], Awaitable[int]]


class Load(NamedTuple):
    """One table: the server's pace, how many streams at once, of how many events, and how many rounds."""

    pace: str
    streams: int
    events: int
    rounds: int

    @property
    def title(self) -> str:
        return f"{self.streams} streams, {_PACES[self.pace]}"


FULL = (
    Load("saturated", 20, 400, 7),
    Load("ticks", 20, 200, 5),
    Load("spread", 20, 200, 3),
    Load("saturated", 500, 60, 3),
    Load("ticks", 500, 60, 3),
)
QUICK = (
    Load("saturated", 20, 40, 1),
    Load("ticks", 20, 10, 1),
    Load("spread", 20, 10, 1),
    Load("saturated", 50, 10, 1),
)


def _text_length(data: bytes) -> int:
    """What the floor and raw aiohttp do with one event."""
    if data == b"data: [DONE]":
        return 0
    choices = msgspec.json.decode(data[6:])["choices"]
    return len(choices[0]["delta"].get("content") or "") if choices else 0


class Floor:
    """Streams on bare sockets, kept for the next round."""

    def __init__(self, url: str) -> None:
        _, _, authority, path = url.split("/", 3)
        self._host, _, port = authority.partition(":")
        self._port = int(port)
        body = msgspec.json.encode(_BODY)
        self._request = (
            f"POST /{path}/chat/completions HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def read(self) -> int:
        """One stream."""
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        )
        writer.write(self._request)
        await reader.readuntil(b"\r\n\r\n")
        length, raw, text = 0, b"", b""
        while True:
            raw += await reader.read(65_536)
            while (line_end := raw.find(b"\r\n")) >= 0:
                size = int(raw[:line_end], 16)
                end = line_end + 2 + size
                if len(raw) < end + 2:
                    break
                if not size:
                    self._idle.append((reader, writer))
                    return length
                text += raw[line_end + 2 : end]
                raw = raw[end + 2 :]
                *events, text = text.split(b"\n\n")
                for event in events:
                    length += _text_length(event)

    async def aclose(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


def _aiohttp_reader(session: aiohttp.ClientSession, url: str) -> Read:
    url += "/chat/completions"
    body = msgspec.json.encode(_BODY)
    headers = {"Content-Type": "application/json"}

    async def read() -> int:
        length, text = 0, b""
        async with session.post(url, data=body, headers=headers) as response:
            while chunk := await response.content.readany():
                *events, text = (text + chunk).split(b"\n\n")
                for event in events:
                    length += _text_length(event)
        return length

    return read


def _ours_reader(client: AsyncClient) -> Read:
    async def read() -> int:
        length = 0
        async with client.stream(_PROMPT) as stream:
            async for event in stream:
                if type(event) is TextDelta:
                    length += len(event.text)
        return length

    return read


def _openai_reader(client: openai.AsyncOpenAI) -> Read:
    async def read() -> int:
        length = 0
        async with await client.chat.completions.create(
            model="bench", messages=[{"role": "user", "content": _PROMPT}], stream=True
        ) as stream:
            async for chunk in stream:
                if chunk.choices:
                    length += len(chunk.choices[0].delta.content or "")
        return length

    return read


def _sync_work(client: Client, load: Load) -> Callable[[], None]:
    """As many threads as streams, on one client."""

    def read(_number: int) -> int:
        length = 0
        with client.stream(_PROMPT) as stream:
            for event in stream:
                if type(event) is TextDelta:
                    length += len(event.text)
        return length

    def work() -> None:
        with ThreadPoolExecutor(load.streams) as threads:
            _verify(list(threads.map(read, range(load.streams))), load)

    return work


def _verify(lengths: list[int], load: Load) -> None:
    expected = len(stream_text(load.events))
    wrong = [length for length in lengths if length != expected]
    if wrong:
        raise SystemExit(f"{len(wrong)} streams had {wrong[0]} characters instead of {expected}")


def _measure(load: Load, server: Server, runner: asyncio.Runner) -> Rounds:
    """CPU seconds of each contestant."""
    url = server.stream_url(load.pace, load.streams, load.events)

    def contestant(read: Read) -> Callable[[], float]:
        async def at_once() -> None:
            _verify(await asyncio.gather(*(read() for _ in range(load.streams))), load)

        return lambda: cpu_seconds(lambda: runner.run(at_once()))

    async def make_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1000))

    floor = Floor(url)
    session = runner.run(make_session())
    ours = AsyncClient("openai-chat:bench", api_key="k", base_url=url)
    theirs = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
    sync = Client("openai-chat:bench", api_key="k", base_url=url)
    sync_work = _sync_work(sync, load)
    contestants = {
        FLOOR: contestant(floor.read),
        AIOHTTP: contestant(_aiohttp_reader(session, url)),
        ASYNC: contestant(_ours_reader(ours)),
        SYNC: lambda: cpu_seconds(sync_work),
        OPENAI: contestant(_openai_reader(theirs)),
    }
    try:
        return interleaved(contestants, load.rounds)
    finally:
        sync.close()
        for close in (floor.aclose, session.close, ours.aclose, theirs.close):
            runner.run(close())


def _print(load: Load, measured: Rounds) -> None:
    events = load.streams * load.events
    print(f"### {load.title} ({events} text events, median of {load.rounds})\n")
    rows = []
    for name in measured:
        ratios = [measured.ratio(name, other) for other in (FLOOR, AIOHTTP, OPENAI)]
        rows.append((name, f"{measured.median(name) / events * 1e6:.1f}", *(f"{r:.2f}" for r in ratios)))
    print_table(("client", "CPU µs per event", "÷ floor", "÷ aiohttp", "÷ openai"), rows)


def _judge(load: Load, measured: Rounds, targets: Targets) -> None:
    title = load.title
    if load.pace == "spread":
        return
    if load.streams >= 500:
        targets.at_most(f"{title}: async ÷ raw aiohttp", measured.ratio(ASYNC, AIOHTTP), 1.5)
        return
    async_limit, sync_limit, openai_limit = (1.7, 3.5, 4.0) if load.pace == "ticks" else (1.6, 2.2, 8.0)
    targets.at_most(f"{title}: async ÷ floor", measured.ratio(ASYNC, FLOOR), async_limit)
    targets.at_most(f"{title}: sync ÷ floor", measured.ratio(SYNC, FLOOR), sync_limit)
    targets.at_least(f"{title}: openai ÷ async", measured.ratio(OPENAI, ASYNC), openai_limit)


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}\n")
    with Server() as server, asyncio.Runner() as runner:
        for load in QUICK if args.quick else FULL:
            measured = _measure(load, server, runner)
            _print(load, measured)
            if not args.quick:
                _judge(load, measured, targets)
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
