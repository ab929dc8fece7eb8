"""What keeps a response alive: any sign of the server ends the silence of the link, only events that of the content.

Over a WebSocket and over HTTP, on a virtual clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import pytest

from brainwires_provider import (
    AsyncClient,
    ProviderConfig,
    Response,
    Retry,
    StreamInterrupted,
    StreamTimeout,
    Timeouts,
)
from brainwires_provider.testing import sse
from brainwires_provider.transports.base import ByteExchange
from brainwires_provider.transports.websocket.connection import Closed
from brainwires_provider.transports.websocket.pool import Pools
from socket_clients import KEY, LANES, begun, client_of, config, created, ended, tried
from socket_memory import VirtualLoop

Played = Sequence[tuple[float, Any]]
"""Seconds, and what comes after them: an event, bytes, or None for the reply to a ping."""


class TimedLink:
    """Plays events on a lane once a request was sent."""

    headers: Mapping[str, str] = {}

    def __init__(self, played: Played, on_frame: Callable[[bytes], None], on_close: Any) -> None:
        self._played, self._on_frame, self._on_close = played, on_frame, on_close
        self._loop = asyncio.get_running_loop()
        self.opened_at = self.heard_at = self._loop.time()
        self.closed: Closed | None = None

    @property
    def is_open(self) -> bool:
        return self.closed is None

    async def send(self, frame: bytes) -> None:
        lane = msgspec.json.decode(frame).get("stream_id")
        due = self._loop.time()
        for seconds, event in self._played:
            due += seconds or 1e-6  # a loop keeps no order of timers that are due at once
            self._loop.call_at(due, self._say, event, lane)

    def _say(self, event: Any, lane: str | None) -> None:
        if self.closed is None:
            self.heard_at = self._loop.time()
            if event is not None:
                self._on_frame(msgspec.json.encode(event if lane is None else {"stream_id": lane, **event}))

    def abort(self) -> None:
        if self.closed is None:
            self.closed = Closed(None, "aborted here", "ours")
            self._loop.call_soon(self._on_close, self.closed)

    async def aclose(self) -> None:
        self.abort()


def over_websocket(played: Played, timeouts: Timeouts) -> Any:
    async def connect(_: Any, *, on_frame: Callable[[bytes], None], on_close: Any) -> TimedLink:
        return TimedLink(played, on_frame, on_close)

    async def main() -> Any:
        place = config("http://localhost/v1", LANES)
        async with client_of("async", place, timeouts=timeouts) as client:
            client._session.pools = Pools(connect=connect, max_event_bytes=1 << 20, random=Random(1))
            return await tried(client.chat("hi")), asyncio.get_running_loop().time()

    return by_the_clock(main())


def by_the_clock(work: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class Chunks(ByteExchange):
    """An answer over HTTP, chunk by chunk."""

    def __init__(self, chunks: Sequence[tuple[float, bytes]]) -> None:
        self.status, self.headers, self.attempts = 200, {"content-type": "text/event-stream"}, ()
        self._chunks = list(chunks)
        self._cut: asyncio.Event = asyncio.Event()

    @property
    def ended(self) -> bool:
        return not self._chunks

    async def read(self) -> bytes:
        if not self._chunks:
            return b""
        seconds, chunk = self._chunks.pop(0)
        try:
            async with asyncio.timeout(seconds):
                await self._cut.wait()
        except TimeoutError:
            return chunk
        raise StreamInterrupted("aborted", how="reset")

    def release(self) -> None:
        pass

    def abort(self) -> None:
        self._cut.set()


async def streamed(client: AsyncClient) -> Response:
    async with client.stream("hi") as stream:
        return await stream.collect()


def over_http(played: Played, timeouts: Timeouts) -> Any:
    chunks = [(seconds, said if isinstance(said, bytes) else sse(said)) for seconds, said in played]

    class Playing:
        async def open(self, outgoing: Any) -> Chunks:
            return Chunks(chunks)

        async def aclose(self) -> None:
            pass

    async def transport(target: Any) -> Playing:
        return Playing()

    async def main() -> Any:
        place = ProviderConfig("openai-responses", base_url="http://localhost/v1", api_key=KEY)
        async with AsyncClient(
            "openai-responses:m", providers=[place], timeouts=timeouts, retry=Retry(1)
        ) as client:
            client._session.transport = transport
            return await tried(streamed(client)), asyncio.get_running_loop().time()

    return by_the_clock(main())


KEEPALIVE = {"type": "keepalive", "sequence_number": 2}
PROGRESS = {"type": "response.in_progress", "response": {"id": "r1", "status": "in_progress"}}
OTHERS = {"type": "response.created", "stream_id": "lane-9", "response": {"id": "r9"}}
UNKNOWN = {"type": "gateway.heartbeat"}

SIGNS: Mapping[str, tuple[Callable[..., Any], Any]] = {
    "keepalive": (over_websocket, KEEPALIVE),
    "in_progress": (over_websocket, PROGRESS),
    "a gateway's heartbeat": (over_websocket, UNKNOWN),
    "another lane's event": (over_websocket, OTHERS),
    "the reply to a ping": (over_websocket, None),
    "HTTP, keepalive": (over_http, KEEPALIVE),
    "HTTP, in_progress": (over_http, PROGRESS),
    "HTTP, a comment": (over_http, b": ping\n\n"),
    "HTTP, a part of a message": (over_http, b"id: 7\n"),
}
CUTS = {"after the start": [created("r1")], "after words": begun("r1")}


def silent(sign: Any, begins: Sequence[Any], *, seconds: float = 500) -> Played:
    """An answer that is silent for minutes but for a sign each 0.2 s."""
    played = [(0.0, event) for event in begins]
    return [*played, *[(0.2, sign)] * int(seconds * 5), (0.1, ended("r1"))]


@pytest.mark.parametrize("begins", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_of_life_ends_the_silence_of_the_link(sign: str, begins: Sequence[Any]) -> None:
    play, said = SIGNS[sign]
    found, _ = play(silent(said, begins), Timeouts(idle=1))

    assert not isinstance(found, Exception), found
    assert found.text == "hello"


@pytest.mark.parametrize("begins", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("sign", SIGNS)
def test_silence_of_the_content_has_a_limit_of_its_own(sign: str, begins: Sequence[Any]) -> None:
    play, said = SIGNS[sign]
    found, when = play(silent(said, begins), Timeouts(idle=1, content=7))

    assert isinstance(found, StreamTimeout) and found.clock == "content"
    assert found.partial is not None and found.partial.id == "r1"
    assert when == pytest.approx(7.0, abs=0.01)


@pytest.mark.parametrize("begins", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("play", [over_websocket, over_http])
def test_silence_of_the_link_is_an_error(play: Any, begins: Sequence[Any]) -> None:
    start, *rest = begins
    found, when = play([(9.0, start), *[(0.0, one) for one in rest], (99.0, start)], Timeouts(idle=1))

    assert isinstance(found, StreamTimeout) and found.clock == "idle"
    assert when == pytest.approx(10.0, abs=0.01)


@pytest.mark.parametrize("play", [over_websocket, over_http])
def test_content_is_not_limited_by_default_and_begins_with_the_first_event(play: Any) -> None:
    late = [(599.0, created("r1")), *[(250.0, KEEPALIVE)] * 20, (1.0, ended("r1"))]

    found, _ = play(late, Timeouts())
    assert found.text == "hello"
    found, _ = play([(50.0, created("r1")), (9.0, ended("r1"))], Timeouts(content=10))
    assert found.text == "hello"


@pytest.mark.parametrize("play", [over_websocket, over_http])
def test_heartbeats_are_no_first_event(play: Any) -> None:
    found, when = play([(0.2, KEEPALIVE)] * 500, Timeouts(first_event=5, idle=1))

    assert found.clock == "first_event" and when == pytest.approx(5, abs=0.3)
