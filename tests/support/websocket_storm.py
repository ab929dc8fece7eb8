"""A storm: many tasks, servers of every manner, and faults drawn from a seed; each request ends rightly or typed.

By hand, over sockets or on a virtual clock in memory: `python tests/support/websocket_storm.py --seeds 40 --requests
500 [--memory]`; it prints a table, and exits with 1 if anything hung, was wrong or untyped, or was left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from brainwires_provider import (
    AsyncClient,
    Message,
    ProviderConfig,
    ProviderError,
    Retry,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    CloseFrame,
    Drop,
    Failure,
    Job,
    ResponsesService,
    ScriptedSocket,
    SeededFaults,
    Stall,
    digest,
)
from brainwires_provider.transports.websocket.connection import Closed
from brainwires_provider.transports.websocket.pool import Pools
from socket_memory import MemoryLink, MemoryNet, Said, VirtualLoop

SERVERS: Mapping[str, dict[str, Any]] = {
    "lanes": {},
    "single": {"lanes": False},
    "ignores lanes": {"ignores_lanes": True},
    "heartbeats": {"heartbeats": True},
    "changing ids": {"changes_ids": True},
    "xai": {"manner": "xai", "lanes": False},
}
BAD = ("hang", "wrong", "untyped", "left tasks", "left sockets")
SLOW = Timeouts(connect=5, first_event=120, idle=60, content=30, total=240)
FAST = Timeouts(connect=10, first_event=5, idle=5, content=3, total=20)
HANGS = 600.0
"""Seconds after which a request counts as hanging: no clock of it runs as long."""


class Storm:
    """One run against one server. `ended` is what became of each request, in order."""

    def __init__(self, seed: int, server: str, *, tasks: int = 50) -> None:
        self.random = Random(seed)
        self.tasks = tasks
        self.service = ResponsesService(self.author, piece=24, **SERVERS[server])
        is_xai = server == "xai"
        self.faults = SeededFaults(self.random)
        self.options = WebSocketOptions(
            multiplexing=server not in ("single", "xai"),
            reuse_after_error=not is_xai,
            continues="stored" if is_xai else "all",
            repeats_instructions=not is_xai,
            max_connections=6,
            http_fallback=False,
            max_connection_age=900,
            age_jitter=300,
        )
        self.store = is_xai
        self.ended: list[str] = []
        self.problems: Counter[str] = Counter()

    def author(self, items: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> Any:
        if self.random.random() < 0.03:
            code, status = self.random.choice((("server_error", 500), ("rate_limit_exceeded", 429)))
            when = self.random.choice(("before", "after_created", "in_response"))
            return Failure(code, "it broke", status, when, late_failed=True)
        return digest(items)

    async def ask_all(self, client: AsyncClient, requests: int) -> None:
        await asyncio.gather(*(self.task(client, n, requests // self.tasks) for n in range(self.tasks)))

    async def task(self, client: AsyncClient, number: int, requests: int) -> None:
        history: list[Message] = []
        for turn in range(requests):
            if len(history) > 8 or not history:
                history = [Message.system("Be exact."), Message.user(f"task {number % 10}")]
            else:
                history.append(Message.user(f"turn {turn}"))
            await asyncio.sleep(self.random.choice((0, 0, 0.1, 5)) * self.pause)
            try:
                async with asyncio.timeout(HANGS):
                    ended, answer = await self.request(client, history, turn)
            except ProviderError as error:
                ended, answer = type(error).__name__, None
            except TimeoutError:
                ended, answer = "hang", None
            except Exception as error:
                ended, answer = "untyped", None
                print(repr(error), file=sys.stderr)
            self.ended.append(ended)
            history = [] if answer is None else [*history, answer]

    pause = 1.0

    async def request(
        self, client: AsyncClient, history: list[Message], turn: int
    ) -> tuple[str, Message | None]:
        args: dict[str, Any] = {"extra_headers": {"traceparent": f"00-{turn}"}}
        if self.store:
            args["extra_body"] = {"store": True}
        if self.random.random() < 0.1:
            async with client.stream(history, **args) as stream:
                async for _ in stream:
                    if self.random.random() < 0.3:
                        return "left", None
            return "read", None
        response = await client.chat(history, **args)
        assert response.id is not None and response.report.continuation is not None
        if not self.is_right(response, history):
            print(f"wrong: {response!r} for {[m.text for m in history]}", file=sys.stderr)
            return "wrong", None
        return "delta" if response.report.continuation.parent else "whole", response.message

    def is_right(self, response: Any, history: list[Message]) -> bool:
        """Whether the answer is the digest of exactly this history, as the service holds it."""
        if self.store:  # its ids mean another response by now, maybe
            turns = [
                turn for turn in list(self.service.turns.values()) if text_of(turn.output[0]) == response.text
            ]
            held = self.service.conversation(turns[-1].id) if turns else []
        else:
            held = self.service.conversation(response.id)
        said = [text_of(item) for item in held[:-1]]
        return response.text == digest(held[:-1]) and said == [message.text for message in history[1:]]

    # -- in memory, on a virtual clock -------------------------------------------------------------------

    def weather(self, link: MemoryLink, job: Job, event: Mapping[str, Any]) -> Sequence[Said]:
        """The seeded faults, on a link in memory."""
        steps = None if job in self.stalled else self.faults(0, job, dict(event))
        said: list[Any] = [] if job in self.stalled else [event]
        if steps is not None:
            said = [step for step in steps if isinstance(step, bytes | dict)]
            for step in steps:
                match step:
                    case CloseFrame(code=code):
                        link.end(Closed(code, "", "server"))
                    case Drop():
                        link.end(Closed(None, "", "lost"))
                    case Stall():
                        self.stalled.add(job)
        return said

    def in_memory(self, requests: int) -> Storm:
        """Run it; the same seed gives the same run."""
        self.stalled: set[Job] = set()
        self.net = MemoryNet(self.service, self.random, self.weather)

        async def main() -> None:
            async with client("http://localhost/v1", self.options, SLOW) as asking:
                asking._session.pools = Pools(
                    connect=self.net.connect, max_event_bytes=1 << 20, random=self.random
                )
                await self.ask_all(asking, requests)
            for _ in range(5):
                await asyncio.sleep(0)
            self.problems["left sockets"] += len(self.net.links)
            self.problems["left tasks"] += len(asyncio.all_tasks()) - 1

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())
        return self.counted()

    # -- over sockets ------------------------------------------------------------------------------------

    def over_sockets(self, requests: int) -> Storm:
        """Run it against a ScriptedSocket."""
        self.pause = 0.01
        before = open_files()

        async def main(base_url: str) -> None:
            async with client(base_url, self.options, FAST) as asking:
                await self.ask_all(asking, requests)
            await asyncio.sleep(0.1)
            self.problems["left tasks"] += len(asyncio.all_tasks()) - 1

        with ScriptedSocket(self.service, fault=self.faults) as server:
            asyncio.run(main(server.base_url))
            server.wait_idle(10)
        gc.collect()
        self.problems["left sockets"] += max(0, open_files() - before)
        return self.counted()

    def counted(self) -> Storm:
        self.problems.update(ended for ended in self.ended if ended in BAD)
        return self


def text_of(item: Mapping[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(piece["text"] for piece in content)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def client(base_url: str, options: WebSocketOptions, timeouts: Timeouts) -> AsyncClient:
    place = ProviderConfig("openai-responses-ws", base_url=base_url, api_key="k", socket=options)
    return AsyncClient("openai-responses-ws:m", providers=[place], timeouts=timeouts, retry=Retry(1))


def table(first: int, seeds: int, requests: int, *, in_memory: bool) -> tuple[str, int]:
    """One line for each server: what became of the requests, and the problems; and how many problems there were."""
    ended: dict[str, Counter[str]] = {}
    problems: dict[str, Counter[str]] = {}
    for seed in range(first, first + seeds):
        server = list(SERVERS)[seed % len(SERVERS)]
        storm = Storm(seed, server, tasks=25)
        run = storm.in_memory(requests) if in_memory else storm.over_sockets(requests)
        ended.setdefault(server, Counter()).update(run.ended)
        problems.setdefault(server, Counter()).update(run.problems)
        print(f"seed {seed}, {server}: {dict(run.problems)}", file=sys.stderr, flush=True)
    lines = [f"| server | requests | answered | continued | left | typed errors | {' | '.join(BAD)} |"]
    lines.append("|---" * (6 + len(BAD)) + "|")
    for server, counts in ended.items():
        typed = sum(n for kind, n in counts.items() if kind[0].isupper())
        right, left = counts["delta"] + counts["whole"] + counts["read"], counts["left"]
        bad = " | ".join(str(problems[server][kind]) for kind in BAD)
        total = sum(counts.values())
        lines.append(f"| {server} | {total} | {right} | {counts['delta']} | {left} | {typed} | {bad} |")
    return "\n".join(lines), sum(sum(counts[kind] for kind in BAD) for counts in problems.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--requests", type=int, default=500, help="of each seed")
    parser.add_argument("--memory", action="store_true", help="on a virtual clock instead of over sockets")
    given = parser.parse_args()
    shown, bad = table(given.first, given.seeds, given.requests, in_memory=given.memory)
    print(shown)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
