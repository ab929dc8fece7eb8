"""Fifty tasks, thousands of requests, and connections that break, stall, lie and rotate: every request ends, rightly.

All of it runs on a virtual clock over links in memory, so a run takes its hours in seconds and is the same each time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Message,
    ProtocolError,
    ProviderConfig,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import Failure, ResponsesService, digest
from brainwires_provider.testing.responses_rules import Job
from brainwires_provider.transports.websocket.connection import Closed
from brainwires_provider.transports.websocket.pool import Pools
from socket_memory import MemoryLink, MemoryNet, Said, VirtualLoop

TASKS, REQUESTS = 50, 5_000
HOUR = 3600.0


class Weather:
    """What goes wrong, drawn event by event."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.done: Counter[str] = Counter()
        self.stalled: set[Job] = set()
        self.heard: list[Mapping[str, Any]] = []

    def __call__(self, link: MemoryLink, job: Job, event: Mapping[str, Any]) -> Sequence[Said]:
        draw = self.random.random()
        if job in self.stalled:
            return []
        if len(self.heard) < 400 or draw < 0.05:
            self.heard.append(event)
        if draw > 0.02:
            return [event]
        fault = self.random.choice(("break", "stall", "lie", "lie", "lie", "garbage"))
        self.done[fault] += 1
        if fault == "break":
            code = self.random.choice((None, 1000, 1001, 1006, 1008, 1011, 1013))
            link.end(Closed(code, "", "server" if code else "lost"))
            return []
        if fault == "stall":
            self.stalled.add(job)
            return []
        if fault == "lie":
            lie = dict(self.random.choice(self.heard))
            if "stream_id" in event and self.random.random() < 0.8:
                lie["stream_id"] = event["stream_id"]
            return [lie, event]
        return [self.random.choice((b"not json", b"[1]", b'{"type": 5}', b'{"no": "type"}')), event]


class Storm:
    """One run. `told` is what became of each request, in order."""

    def __init__(self, seed: int, *, lanes: bool) -> None:
        self.random = Random(seed)
        self.service = ResponsesService(self.author, lanes=lanes, piece=24)
        self.weather = Weather(self.random)
        self.net = MemoryNet(self.service, self.random, self.weather)
        self.traits = WebSocketOptions(
            multiplexing=lanes,
            reuse_after_error=True,
            max_connections=6,
            http_fallback=False,
            max_connection_age=900,
            age_jitter=300,
        )
        self.told: list[str] = []

    def author(self, items: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> Any:
        if self.random.random() < 0.03:
            code, status = self.random.choice((("server_error", 500), ("rate_limit_exceeded", 429)))
            when = self.random.choice(("before", "after_created", "in_response"))
            return Failure(code, "it broke", status, when, late_failed=True)
        return digest(items)

    async def run(self, requests: int) -> None:
        config = ProviderConfig(
            "openai-responses-ws", base_url="http://localhost/v1", api_key="k", socket=self.traits
        )
        timeouts = Timeouts(connect=5, first_event=120, idle=30, total=240)
        async with AsyncClient("openai-responses-ws:m", providers=[config], timeouts=timeouts) as client:
            client._session.pools = Pools(
                connect=self.net.connect, max_event_bytes=1 << 20, random=self.random
            )
            await asyncio.gather(*(self.task(client, n, requests // TASKS) for n in range(TASKS)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not self.net.links
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def task(self, client: AsyncClient, number: int, requests: int) -> None:
        history: list[Message] = []
        for turn in range(requests):
            if len(history) > 8 or not history:
                history = [Message.system("Be exact."), Message.user(f"task {number % 10}")]
            else:
                history.append(Message.user(f"turn {turn}"))
            await asyncio.sleep(self.random.choice((0, 0, 0.1, 5)))
            try:
                if self.random.random() < 0.1:
                    self.told.append(await self.leave_early(client, history))
                    history = []
                    continue
                response = await client.chat(history)
            except (RequestTimeout, StreamInterrupted, ProtocolError, RateLimitError, ServerError) as error:
                self.told.append(type(error).__name__)
                history = []
                continue
            assert response.id is not None
            held = self.service.conversation(response.id)
            assert response.text == digest(held[:-1]), (number, turn)
            assert [words(m) for m in history[1:]] == [text_of(item) for item in held[:-1]]
            self.told.append("delta" if response.report.continuation.parent else "whole")
            history.append(response.message)

    async def leave_early(self, client: AsyncClient, history: list[Message]) -> str:
        async with client.stream(history) as stream:
            async for _ in stream:
                if self.random.random() < 0.3:
                    return "left"
        return "read"


def words(message: Message) -> str:
    return message.text


def text_of(item: Mapping[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(piece["text"] for piece in content)


def storm(seed: int, requests: int, *, lanes: bool) -> Storm:
    run = Storm(seed, lanes=lanes)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run.run(requests))
    return run


@pytest.mark.long
@pytest.mark.many
@pytest.mark.parametrize("lanes", [True, False])
def test_every_request_ends_in_the_right_answer_or_a_typed_error(lanes: bool) -> None:
    run = storm(1, REQUESTS, lanes=lanes)

    told = Counter(run.told)
    assert sum(told.values()) == REQUESTS
    assert told["delta"] + told["whole"] > REQUESTS / 2
    assert all(
        told[kind] for kind in ("delta", "whole", "left", "StreamInterrupted", "ProtocolError", "ServerError")
    )
    assert all(run.weather.done[fault] for fault in ("break", "stall", "lie", "garbage"))


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = storm(7, 500, lanes=True), storm(7, 500, lanes=True)

    assert first.told == second.told
    assert first.net.sent == second.net.sent
