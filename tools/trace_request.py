"""Which functions and files one request passes through, from `client.stream(...)` to the first event.

Runs a streamed Chat request over HTTP, and a continued Responses request over a WebSocket, against the scripted
servers of `brainwires_provider.testing`, each after a first request that has loaded and connected everything. A
profile hook notes every call of a function of the package; the servers' own code is left out. Printed are the number
of functions and of files, and how often one call was in another file than the call before it.

    uv run python tools/trace_request.py [--list]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import brainwires_provider
from brainwires_provider import AsyncClient, Event, Message, ProviderConfig
from brainwires_provider.testing import Answer, Paced, ResponsesService, ScriptedServer, ScriptedSocket, sse

PACKAGE = str(Path(brainwires_provider.__file__).parent)
SERVERS = str(Path(PACKAGE) / "testing")


class Trace:
    """The functions called on this thread, in order, as (file, function)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """A profile hook."""
        code = frame.f_code
        name = code.co_filename
        if event == "call" and name.startswith(PACKAGE) and not name.startswith(SERVERS):
            self.calls.append((name[len(PACKAGE) + 1 :], code.co_qualname))

    @property
    def figures(self) -> tuple[int, int, int]:
        """Functions, files, and changes of file."""
        files = [file for file, _ in self.calls]
        changes = sum(before != after for before, after in pairwise(files))
        return len(set(self.calls)), len(set(files)), changes


async def first_event(make: Callable[[], Any]) -> Trace:
    """Trace one stream until its first event, and read it to its end."""
    trace = Trace()
    sys.setprofile(trace)
    stream = make()
    events = aiter(stream)
    event: Event = await anext(events)
    sys.setprofile(None)
    del event
    async for _ in events:
        pass
    return trace


EVENTS = (
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}}]},
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": " you"}}]},
    {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    "[DONE]",
)
CHAT = [event + b"\n\n" for event in sse(*EVENTS).split(b"\n\n") if event]
HISTORY = [Message.user("Hi")]
PACE = 0.02  # seconds between two events, so that the first comes by itself


async def chat() -> Trace:
    """A streamed Chat request over HTTP, on a connection that is open."""
    async with ScriptedServer([Answer(body=[Paced(CHAT, every=PACE)])] * 2) as server:
        config = ProviderConfig("openai-chat", base_url=f"{server.url}/v1", api_key="k")
        async with AsyncClient("openai-chat:m", providers=[config]) as client:
            await client.stream(HISTORY).collect()
            return await first_event(lambda: client.stream(HISTORY))


async def continued() -> Trace:
    """The second turn of a conversation over a WebSocket."""
    async with ScriptedSocket(ResponsesService(), pace=PACE) as server:
        config = ProviderConfig("openai-responses-ws", base_url=server.base_url, api_key="k")
        async with AsyncClient("openai-responses-ws:m", providers=[config]) as client:
            response = await client.chat(HISTORY)
            history = [*HISTORY, response.message, Message.user("And now?")]
            return await first_event(lambda: client.stream(history))


async def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print every call, in order")
    runs: dict[str, Callable[[], Awaitable[Trace]]] = {
        "Chat stream over HTTP": chat,
        "continued Responses request over a WebSocket": continued,
    }
    options = parser.parse_args()
    for name, run in runs.items():
        trace = await run()
        functions, files, changes = trace.figures
        print(f"{name}: {functions} functions, {files} files, {changes} changes of file")
        for file, function in trace.calls if options.list else ():
            print(f"    {file}: {function}")


if __name__ == "__main__":
    assert threading.current_thread() is threading.main_thread()
    asyncio.run(main())
