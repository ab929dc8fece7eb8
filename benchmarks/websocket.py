"""Responses over a WebSocket: CPU microseconds for one event, and what twenty tool calls send.

Events: every contestant keeps its connections, one a stream, decodes every event and adds up the text, which is
compared with what was sent. The raw one is the `websockets` library's own client with msgspec.

Tool calls: the whole history is passed every time. The sum to compare with holds, for each turn, the items that are
new and the fields that the API wants again: written out here by hand, not by our encoder. Responses over HTTP does
the same turns against the same service. Stored interactions of Google's API are continued over HTTP in the same way.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec
import openai
from _measure import Rounds, Targets, arguments, cpu_seconds, interleaved, machine, print_table
from _socket_server import SocketServer, stream_text
from websockets.asyncio.client import ClientConnection, connect

from brainwires_provider import AsyncClient, GoogleInteractionsOptions, Message, TextDelta, Tool
from brainwires_provider.testing import InteractionsService, ScriptedServer, called, model_output, thought

RAW, ASYNC, OPENAI = "raw websockets + msgspec", "ours, async", "openai-python, async"
_PROMPT = "Why is the sky blue?"
_PACES = {"saturated": "server saturated", "millisecond": "an event every millisecond (no target)"}

Read = Callable[[], Awaitable[int]]


class Load(NamedTuple):
    """One table: the server's pace, how many streams at once, of how many events, how many batches, and rounds."""

    pace: str
    streams: int
    events: int
    batches: int
    rounds: int

    @property
    def title(self) -> str:
        return f"{self.streams} stream{'s' if self.streams > 1 else ''}, {_PACES[self.pace]}"


FULL = (
    Load("saturated", 1, 2000, 2, 9),
    Load("saturated", 20, 200, 1, 9),
    Load("millisecond", 1, 2000, 1, 3),
)
QUICK = (Load("saturated", 1, 100, 1, 1), Load("saturated", 20, 10, 1, 1), Load("millisecond", 1, 50, 1, 1))


# -- events ----------------------------------------------------------------------------------------------


class Raw:
    """Connections of the `websockets` library, kept for the next round."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("http", "ws", 1) + "/responses"
        self._request = msgspec.json.encode(
            {"type": "response.create", "model": "bench", "input": _PROMPT}
        ).decode()
        self._idle: list[ClientConnection] = []

    async def read(self) -> int:
        """One stream."""
        ws = (
            self._idle.pop()
            if self._idle
            else await connect(self._url, max_size=None, compression=None, proxy=None)
        )
        await ws.send(self._request)
        length = 0
        decode = msgspec.json.decode
        while True:
            event = decode(await ws.recv(decode=False))
            kind = event["type"]
            if kind == "response.output_text.delta":
                length += len(event["delta"])
            elif kind == "response.completed":
                self._idle.append(ws)
                return length

    async def aclose(self) -> None:
        """Close the connections."""
        for ws in self._idle:
            await ws.close()


class Openai:
    """The connections of openai-python's `responses.connect()`, kept for the next round."""

    def __init__(self, url: str) -> None:
        self._client = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
        self._idle: list[Any] = []
        self._managers: list[Any] = []

    async def _connection(self) -> Any:
        manager = self._client.responses.connect()
        self._managers.append(manager)
        return await manager.__aenter__()

    async def read(self) -> int:
        """One stream."""
        connection = self._idle.pop() if self._idle else await self._connection()
        await connection.response.create(model="bench", input=_PROMPT)
        length = 0
        async for event in connection:
            if event.type == "response.output_text.delta":
                length += len(event.delta)
            elif event.type == "response.completed":
                break
        self._idle.append(connection)
        return length

    async def aclose(self) -> None:
        """Close the connections, and the client."""
        for manager in self._managers:
            await manager.__aexit__(None, None, None)
        await self._client.close()


def _ours_reader(client: AsyncClient) -> Read:
    async def read() -> int:
        length = 0
        async with client.stream(_PROMPT) as stream:
            async for event in stream:
                if type(event) is TextDelta:
                    length += len(event.text)
        return length

    return read


def _measure(load: Load, server: SocketServer, runner: asyncio.Runner) -> Rounds:
    """CPU seconds of each contestant for one text event."""
    url = server.stream_url(load.pace, load.streams, load.events)
    expected = len(stream_text(load.events))

    def contestant(read: Read) -> Callable[[], float]:
        async def batches() -> None:
            for _ in range(load.batches):
                lengths = await asyncio.gather(*(read() for _ in range(load.streams)))
                if wrong := [length for length in lengths if length != expected]:
                    raise SystemExit(f"{len(wrong)} streams had {wrong[0]} characters instead of {expected}")

        events = load.batches * load.streams * load.events
        return lambda: cpu_seconds(lambda: runner.run(batches())) / events

    raw, theirs = Raw(url), Openai(url)
    ours = AsyncClient("openai-responses-ws:bench", api_key="k", base_url=url)
    contestants = {
        RAW: contestant(raw.read),
        ASYNC: contestant(_ours_reader(ours)),
        OPENAI: contestant(theirs.read),
    }
    try:
        measured = interleaved(contestants, load.rounds)
        if ours.responses.websocket_stats.http_fallbacks:
            raise SystemExit("our requests did not go over the WebSocket")
        return measured
    finally:
        for close in (raw.aclose, ours.aclose, theirs.aclose):
            runner.run(close())


def _events(loads: tuple[Load, ...], targets: Targets, runner: asyncio.Runner, *, quick: bool) -> None:
    with SocketServer() as server:
        for load in loads:
            measured = _measure(load, server, runner)
            count = load.batches * load.streams * load.events
            print(f"### {load.title} ({count} text events, median of {load.rounds})\n")
            rows = [
                (
                    name,
                    f"{measured.median(name) * 1e6:.1f}",
                    f"{measured.ratio(name, RAW):.2f}",
                    f"{measured.ratio(name, OPENAI):.2f}",
                )
                for name in measured
            ]
            print_table(("client", "CPU µs per event", "÷ raw", "÷ openai"), rows)
            if load.pace != "saturated" or quick:
                continue
            targets.at_most(f"{load.title}: ours ÷ raw", measured.ratio(ASYNC, RAW), 1.6)
            targets.at_least(f"{load.title}: openai ÷ ours", measured.ratio(OPENAI, ASYNC), 3.5)


# -- tool calls ------------------------------------------------------------------------------------------

_INSTRUCTIONS = " ".join(
    f"Rule {n}: read a file before you change it, say what you will do, and keep each change small."
    for n in range(11)
)
_OUTPUT = "\n".join(
    f"def step_{n}(state: State) -> State:\n    return state.advanced({n})" for n in range(16)
)
_QUESTION = "Read every module below src, and say which of them are never imported."


def _schema(**fields: str) -> dict[str, Any]:
    properties = {name: {"type": kind, "description": f"The {name} to use."} for name, kind in fields.items()}
    return {
        "type": "object",
        "properties": properties,
        "required": list(fields),
        "additionalProperties": False,
    }


_TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "read_file": (
        "Read a file of the project, from its first line.",
        _schema(path="string", limit="integer"),
    ),
    "list_files": ("List the files of a folder, its folders included.", _schema(path="string")),
    "search": ("Search all files for a regular expression.", _schema(pattern="string", path="string")),
    "write_file": ("Replace a file by the content given.", _schema(path="string", content="string")),
    "run": ("Run a command in the project's folder and give its output.", _schema(command="string")),
}


class Turn(NamedTuple):
    """One request: the bytes that the service got, those that had to be sent, and seconds until its answer."""

    sent: int
    needed: int
    seconds: float


def _size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _repeated(model: str) -> int:
    """The bytes of what the API wants again every turn."""
    tools = [
        {"type": "function", "name": name, "description": told, "parameters": schema}
        for name, (told, schema) in _TOOLS.items()
    ]
    return _size({"model": model, "instructions": _INSTRUCTIONS, "tools": tools, "max_output_tokens": 500})


async def _loop(row: str, server: SocketServer, calls: int) -> list[Turn]:
    tools = [Tool(name, told, schema) for name, (told, schema) in _TOOLS.items()]
    history = [Message.user(_QUESTION)]
    new: list[dict[str, Any]] = [{"role": "user", "content": _QUESTION}]
    turns: list[Turn] = []
    async with AsyncClient(f"{row}:gpt-6", api_key="k", base_url=server.base_url) as client:
        while True:
            begun = time.perf_counter()
            answer = await client.chat(history, system=_INSTRUCTIONS, tools=tools, max_tokens=500)
            seconds = time.perf_counter() - begun
            [sent] = server.sizes()
            turns.append(Turn(sent, _repeated("gpt-6") + sum(map(_size, new)), seconds))
            if not answer.tool_calls:
                break
            [call] = answer.tool_calls
            output = f"# {call.arguments}\n{_OUTPUT}"
            history += [answer.message, Message.tool_result(call, output)]
            new = [{"type": "function_call_output", "call_id": call.call_id, "output": output}]
    if len(turns) != calls + 1:
        raise SystemExit(f"{row}: {len(turns)} turns for {calls} calls")
    return turns


def _mean(turns: list[Turn]) -> float:
    return sum(turn.sent for turn in turns) / len(turns)


def _tool_calls(delay: float, targets: Targets, runner: asyncio.Runner, *, quick: bool) -> None:
    calls = 4 if quick else 20
    rows: list[tuple[str, ...]] = []
    title = f"{calls} tool calls, {delay * 1000:g} ms added each way"
    for name, row in (("WebSocket", "openai-responses-ws"), ("HTTP", "openai-responses")):
        with SocketServer("rules", str(calls), str(delay)) as server:
            turns = runner.run(_loop(row, server, calls))
        sent, needed = sum(t.sent for t in turns), sum(t.needed for t in turns)
        milliseconds = sorted(t.seconds * 1000 for t in turns[1:])
        half = len(turns) // 2
        flat = _mean(turns[half : 2 * half]) / _mean(turns[1:half])
        rows.append(
            (
                name,
                str(sent),
                f"{sent / needed:.2f}",
                f"{_mean(turns[1:half]):.0f}",
                f"{_mean(turns[half : 2 * half]):.0f}",
                f"{turns[0].seconds * 1000:.1f}",
                f"{milliseconds[len(milliseconds) // 2]:.1f}",
            )
        )
        if name == "WebSocket" and not quick:
            targets.at_most(f"{title}: bytes sent ÷ needed", sent / needed, 1.15)
            targets.at_most(f"{title}: drift of turns 11 to 20 from 2 to 10", abs(flat - 1), 0.05)
    print(f"### {title}\n")
    parts = ("a turn, first half", "a turn, second half")
    print_table(("wire", "bytes sent", "÷ needed", *parts, "first turn, ms", "others, ms"), rows)


# -- stored interactions -------------------------------------------------------------------------------------


async def _interactions(service: InteractionsService, url: str, *, store: bool) -> list[Turn]:
    """The same loop over HTTP, with a service that keeps its answers."""
    tools = [Tool(name, told, schema) for name, (told, schema) in _TOOLS.items()]
    options = GoogleInteractionsOptions(store=store)
    declared = [
        {"type": "function", "name": name, "description": told, "parameters": schema}
        for name, (told, schema) in _TOOLS.items()
    ]
    config = {"max_output_tokens": 500}
    repeated = _size(
        {"model": "m", "system_instruction": _INSTRUCTIONS, "tools": declared, "generation_config": config}
    )
    history = [Message.user(_QUESTION)]
    new: Any = {"type": "user_input", "content": [{"type": "text", "text": _QUESTION}]}
    turns: list[Turn] = []
    settings: dict[str, Any] = {"api_key": "k", "base_url": f"{url}/v1beta", "proxy": None}
    async with AsyncClient("google-interactions:m", **settings) as client:
        while True:
            begun = time.perf_counter()
            answer = await client.chat(
                history, system=_INSTRUCTIONS, tools=tools, max_tokens=500, provider_options=options
            )
            turns.append(Turn(service.sizes[-1], repeated + _size(new), time.perf_counter() - begun))
            if not answer.tool_calls:
                return turns
            [call] = answer.tool_calls
            output = f"# {call.arguments}\n{_OUTPUT}"
            history += [answer.message, Message.tool_result(call, output)]
            new = {"type": "function_result", "call_id": call.id, "name": call.name, "result": output}


def _stored_calls(targets: Targets, runner: asyncio.Runner, *, quick: bool) -> None:
    calls = 4 if quick else 20

    def answer(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        done = sum(step["type"] == "function_result" for step in steps)
        if done == calls:
            return [thought(f"{done}" * 400), model_output("All of them are.")]
        return [
            thought(f"{done}" * 400),
            called(f"call-{done}", "read_file", {"path": f"src/step_{done}.py"}),
        ]

    title = f"{calls} tool calls of the Interactions API"
    rows: list[tuple[str, ...]] = []
    for name, store in (("stored", True), ("not stored", False)):
        service = InteractionsService(answer)
        with ScriptedServer(service) as server:
            turns = runner.run(_interactions(service, server.url, store=store))
        sent, needed = sum(t.sent for t in turns), sum(t.needed for t in turns)
        rows.append((name, str(sent), f"{sent / needed:.2f}"))
        if store and not quick:
            targets.at_most(f"{title}, stored: bytes sent ÷ needed", sent / needed, 1.15)
    print(f"### {title}\n")
    print_table(("interactions", "bytes sent", "÷ needed"), rows)


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}, websockets {version('websockets')}\n")
    with asyncio.Runner() as runner:
        _events(QUICK if args.quick else FULL, targets, runner, quick=args.quick)
        for delay in (0.0, 0.05):
            _tool_calls(delay, targets, runner, quick=args.quick)
        _stored_calls(targets, runner, quick=args.quick)
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
