"""The WebSocket servers of the benchmarks, each run in a process of its own.

`events`: streams of text events that cost little, as in `_server`: one write an event with TCP_NODELAY, the streams of
a batch waiting for each other so that they truly run at once. `ws://…/PACE/STREAMS/EVENTS/v1/responses` names the
batch; every message from the client begins a stream on its connection. The paces: `saturated`, as fast as the server
can while it yields between two writes; `millisecond`, every millisecond an event for each stream.

`rules`: the service of `brainwires_provider.testing`, over both wires, that asks for a tool until it was called often
enough, and tells how many bytes each request had.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from _server import ChildServer
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

_INTERVAL = 0.001
_WORDS = (" the", " sky", " is", " blue", " because", " shorter", " waves", " scatter", " more", " strongly")
_ITEM = "msg_68b8f1c0d2a48191a7c39f0e5d7b6a1204f2c7e9b3a58d61"
_ids = count()


def stream_text(events: int) -> str:
    """The text of a stream of so many text events."""
    return "".join(_WORDS[i % len(_WORDS)] for i in range(events))


def _frame(kind: str, number: int, **fields: Any) -> bytes:
    event = {"type": f"response.{kind}", "sequence_number": number, **fields}
    payload = json.dumps(event, separators=(",", ":")).encode()
    return Frame(Opcode.TEXT, payload).serialize(mask=False)


def _response(
    number: int, status: str, output: list[Any], usage: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "id": f"resp_68b8f1bf7a3c8191{number:032x}",
        "object": "response",
        "created_at": 1790000000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "bench-model-2026-09-01",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "metadata": {},
    }


def _middle(events: int) -> list[bytes]:
    """The frames between an answer's start and its end; they are the same in every answer."""
    place = {"item_id": _ITEM, "output_index": 0, "content_index": 0}
    text = stream_text(events)
    piece = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    item = {"id": _ITEM, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    deltas = [
        _frame(
            "output_text.delta",
            4 + i,
            **place,
            delta=_WORDS[i % 10],
            logprobs=[],
            obfuscation="oN7WnZxTbqJ4fLs"[: 5 + i % 10],
        )
        for i in range(events)
    ]
    last = 4 + events
    whole = {**piece, "text": text}
    return [
        _frame("output_item.added", 2, output_index=0, item=item),
        _frame("content_part.added", 3, **place, part=piece),
        *deltas,
        _frame("output_text.done", last, **place, text=text, logprobs=[]),
        _frame("content_part.done", last + 1, **place, part=whole),
        _frame("output_item.done", last + 2, output_index=0, item=_finished(text)),
    ]


def _finished(text: str) -> dict[str, Any]:
    piece = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    return {"id": _ITEM, "type": "message", "status": "completed", "content": [piece], "role": "assistant"}


def _stream_frames(middle: list[bytes], events: int) -> list[bytes]:
    """One answer under an id of its own, one frame an event."""
    number = next(_ids)
    begun = _response(number, "in_progress", [])
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": events,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": events + 12,
    }
    ended = _response(number, "completed", [_finished(stream_text(events))], usage)
    return [
        _frame("created", 0, response=begun),
        _frame("in_progress", 1, response=begun),
        *middle,
        _frame("completed", events + 7, response=ended),
    ]


class _Batches:
    """Streams that wait for the rest of their batch, and the pump that serves a full one."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int, int], list[asyncio.Transport]] = {}
        self._middles: dict[int, list[bytes]] = {}
        self._pumps: set[asyncio.Task[None]] = set()

    def join(self, pace: str, streams: int, events: int, transport: asyncio.Transport) -> None:
        waiting = self._waiting.setdefault((pace, streams, events), [])
        waiting.append(transport)
        if len(waiting) < streams:
            return
        del self._waiting[pace, streams, events]
        middle = self._middles.get(events)
        if middle is None:
            middle = self._middles[events] = _middle(events)
        batch = [(stream, _stream_frames(middle, events)) for stream in waiting]
        pump = asyncio.create_task(_pump(batch, pace))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)


async def _pump(batch: list[tuple[asyncio.Transport, list[bytes]]], pace: str) -> None:
    start = time.perf_counter()
    for turn in range(len(batch[0][1])):
        if pace != "saturated":
            # The loop's own timers are rounded up to whole milliseconds.
            time.sleep(max(0.0, start + _INTERVAL * turn - time.perf_counter()))
        for stream, frames in batch:
            stream.write(frames[turn])
            if pace == "saturated":
                await asyncio.sleep(0)
        await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    def __init__(self, batches: _Batches) -> None:
        self._batches = batches
        self._protocol = ServerProtocol(max_size=None)
        self._path = ""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport  # asyncio has set TCP_NODELAY

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._path = event.path
                self._protocol.send_response(self._protocol.accept(event))
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                _, pace, streams, events, *_ = self._path.split("/")
                self._batches.join(pace, int(streams), int(events), self._transport)
        for reply in self._protocol.data_to_send():
            if reply:
                self._transport.write(reply)
        if self._protocol.close_expected():
            self._transport.close()


async def _serve_events() -> None:
    batches = _Batches()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(batches), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # the parent's end closes it


def _serve_rules(calls: int, delay: float) -> None:
    from brainwires_provider.testing import ResponsesService, ScriptedSocket, assistant, function_call

    def author(conversation: Sequence[dict[str, Any]], _body: dict[str, Any]) -> list[dict[str, Any]]:
        done = sum(item.get("type") == "function_call_output" for item in conversation)
        if done >= calls:
            return [assistant("All the files were read.")]
        return [function_call("read_file", json.dumps({"path": f"src/module_{done:02}.py", "limit": 40}))]

    with ScriptedSocket(ResponsesService(author), delay=delay) as server:
        print(server.port, flush=True)
        told = 0
        for _line in sys.stdin:  # each asks for the sizes since the last
            sizes = server.sizes
            print(json.dumps(sizes[told:]), flush=True)
            told = len(sizes)


class SocketServer(ChildServer):
    """This file's server, of events or, with `order`, of the rules."""

    def __init__(self, *order: str) -> None:
        self.order = (__file__, *(order or ("events",)))

    def stream_url(self, pace: str, streams: int, events: int) -> str:
        """The base URL of one batch of streams."""
        return f"http://127.0.0.1:{self.port}/{pace}/{streams}/{events}/v1"

    @property
    def base_url(self) -> str:
        """The base URL of the rules."""
        return f"http://127.0.0.1:{self.port}/v1"

    def sizes(self) -> list[int]:
        """The bytes of the requests since the last call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        sizes: list[int] = json.loads(self._read())
        return sizes


if __name__ == "__main__":
    if sys.argv[1] == "events":
        asyncio.run(_serve_events())
    else:
        _serve_rules(int(sys.argv[2]), float(sys.argv[3]))
