"""One contestant of `adapters.py`, in a process of its own: a framework's own class may need another Python.

    PYTHON _adapter_child.py MODULE SIDE WHOLE_URL STREAM_URL STREAMS

MODULE is one of `_adapter_<name>.py`, SIDE `ours` or `theirs`. It prints a line when it is ready, then obeys lines on
standard input: `request N` asks N times at once, `sequence N` N times one after the other, `stream` reads STREAMS
streams at once. To each it answers with one
line: the CPU seconds that were taken, all threads, and the number of characters of text that came.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
import time
from typing import Protocol


class Contestant(Protocol):
    """What an adapter's module makes: a framework's model, used as its users use it."""

    async def request(self) -> int:
        """Ask once for a whole answer; the length of its text."""

    async def stream(self) -> int:
        """Read one stream to its end; the length of its text."""

    async def aclose(self) -> None:
        """Close the connections."""


async def _requests(contestant: Contestant, count: int) -> int:
    return sum(await asyncio.gather(*(contestant.request() for _ in range(count))))


async def _sequence(contestant: Contestant, count: int) -> int:
    return sum([await contestant.request() for _ in range(count)])


async def _streams(contestant: Contestant, count: int) -> int:
    return sum(await asyncio.gather(*(contestant.stream() for _ in range(count))))


def main(module: str, side: str, whole_url: str, stream_url: str, streams: int) -> None:
    """Obey until standard input ends."""
    make = getattr(importlib.import_module(module), side)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        asking: Contestant = make(whole_url)
        reading: Contestant = make(stream_url)
        print("ready", flush=True)
        for line in sys.stdin:
            word, *count = line.split()
            if word == "stream":
                work = _streams(reading, streams)
            else:
                work = (_requests if word == "request" else _sequence)(asking, int(count[0]))
            gc.collect()
            began = time.process_time()
            characters = loop.run_until_complete(work)
            print(time.process_time() - began, characters, flush=True)
        runner.run(asking.aclose())
        runner.run(reading.aclose())


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
