"""CPU microseconds that policies add to one small whole request, and to an event of a stream: none set, each, and all.

The server and the load are those of `request.py`. Prices are those of OpenAI's gpt-4o, since a server on loopback and
its model have none. Turns are short and rounds many: the machine's speed may change from one second to the next by
half, so that what is judged is the median of the rounds' own differences. "telemetry" is the SDK with in-memory
exporters.

"the least" is what limits, a budget and prices have to do in any case, in straight code (`_least.py`).

Beside it LiteLLM's Router, where BRAINWIRES_LITELLM_PYTHON names a Python that has `litellm`. At the end, what hedging
does to calls of which one in 25 takes 20 times as long.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

from _least import Least
from _measure import Targets, arguments, cpu_seconds, interleaved, machine, print_table
from _server import Server

from brainwires_provider import AsyncClient, Breaker, Budget, Hedge, Limits, Retry, Telemetry
from brainwires_provider.providers import prices
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Wait

NONE, ALL, LEAST = "none set", "all", "the least"
_PRICED = "gpt-4o"
_PROMPT = "Why is the sky blue?"
_LIMITS = Limits(rpm=1e9, tpm=1e12, itpm=1e12, otpm=1e12, concurrency=100_000)
_SETTINGS: dict[str, dict[str, Any]] = {
    NONE: {},
    "retry off": {"retry": Retry(1)},
    "hooks": {"on_request": lambda call: None, "on_response": lambda call, response: None},
    "limits": {"limits": _LIMITS},
    "budget of tokens": {"budget": Budget(tokens=10**14)},
    "prices": {"prices": True},
    "fallback": {"fallback": ["anthropic:claude-sonnet-4-5"]},
    "breaker": {"breaker": Breaker()},
    "hedge": {"hedge": Hedge(after=60)},
    ALL: {
        "retry": Retry(5),
        "limits": _LIMITS,
        "budget": Budget(usd=10**9, tokens=10**14),
        "prices": True,
        "fallback": ["anthropic:claude-sonnet-4-5"],
        "breaker": Breaker(),
        "hedge": Hedge(after=60),
    },
}
_LITELLM = "BRAINWIRES_LITELLM_PYTHON"


class Load(NamedTuple):
    """How many requests, or streams, in a turn, and how many rounds."""

    requests: int
    streams: int
    rounds: int


FULL = Load(60, 4, 25)
QUICK = Load(10, 1, 2)


async def _ask(client: AsyncClient, count: int) -> None:
    for _ in range(count):
        await client.chat(_PROMPT)


async def _ask_least(client: AsyncClient, count: int) -> None:
    least, body = Least(), {"model": _PRICED, "messages": [{"role": "user", "content": _PROMPT}]}
    for _ in range(count):
        held = least.reserve(body)
        response = await client.chat(_PROMPT)
        least.settle(held, response.usage)


async def _read(client: AsyncClient, count: int) -> int:
    events = 0
    for _ in range(count):
        async with client.stream(_PROMPT) as stream:
            async for _event in stream:
                events += 1
    return events


def _differences(taken: dict[str, list[float]], name: str) -> list[float]:
    return [mine - none for mine, none in zip(taken[name], taken[NONE], strict=True)]


def _measure(turns: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in turns}

    def noted(name: str) -> Callable[[], float]:
        def once() -> float:
            taken[name].append(turns[name]())
            return taken[name][-1]

        return once

    interleaved({name: noted(name) for name in turns}, rounds)
    return {name: values[-rounds:] for name, values in taken.items()}


def _telemetry() -> Telemetry:
    """The SDK, with exporters that keep all of it in memory."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    return Telemetry(tracer_provider=tracers, meter_provider=meters)


def _beside_litellm(url: str, load: Load, ours: dict[str, list[float]]) -> None:
    """LiteLLM's Router with what it has of the same policies, in a process of its own."""
    python = os.environ.get(_LITELLM)
    if not python:
        print(f"LiteLLM's Router: skipped, {_LITELLM} names no Python that has litellm\n")
        return
    script = Path(__file__).with_name("_litellm_router.py")
    command = [python, str(script), url, str(load.requests), str(load.rounds)]
    found = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    print(f"### beside the Router of LiteLLM {found['version']}, CPU µs per request\n")
    rows = [
        (name, f"{median(ours[name]) * 1e6:.0f}", f"{median(found['taken'][name]):.0f}")
        for name in (NONE, ALL)
    ]
    print_table(("policies", "ours", "LiteLLM"), rows)


async def _tail(hedge: Hedge | None, calls: int) -> tuple[float, float]:
    """The 99th percentile of the seconds that calls take, and the share of requests beyond one for each call."""
    drawn = Random(1)
    whole = json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
    ).encode()

    def answer(_: RecordedRequest) -> Answer:
        wait = 0.6 if drawn.random() < 0.04 else 0.03
        return Answer(headers={"content-type": "application/json"}, body=[Wait(wait), whole])

    taken: list[float] = []
    gate = asyncio.Semaphore(10)
    with ScriptedServer(answer) as server:
        settings: dict[str, Any] = {"base_url": server.url, "api_key": "k", "hedge": hedge}
        async with AsyncClient("openai-chat:m", **settings) as client:

            async def one() -> None:
                async with gate:
                    began = time.monotonic()
                    await client.chat(_PROMPT)
                    taken.append(time.monotonic() - began)

            await asyncio.gather(*(one() for _ in range(calls)))
        more = len(server.requests) / calls - 1
    return sorted(taken)[int(calls * 0.99)], more


def _judge_hedging(targets: Targets, runner: asyncio.Runner, calls: int) -> None:
    alone, _ = runner.run(_tail(None, calls))
    hedged, more = runner.run(_tail(Hedge(after=0.15, share=0.05), calls))
    print(f"### {calls} calls, of which one in 25 is slow\n")
    rows = [
        ("none", f"{alone * 1000:.0f}", "0"),
        ("Hedge(0.15)", f"{hedged * 1000:.0f}", f"{more * 100:.1f}"),
    ]
    print_table(("hedging", "99th percentile, ms", "more requests, %"), rows)
    targets.at_most("hedging: 99th percentile, of that without", hedged / alone, 0.5)
    targets.at_most("hedging: more requests, %", more * 100, 5)


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    load = QUICK if args.quick else FULL
    targets = Targets()
    real = prices.service_at
    prices.service_at = lambda _: real("https://api.openai.com/v1")
    entry = prices.own_entry
    prices.own_entry = lambda service, _: entry(service, _PRICED)
    print(f"{machine()}\n")
    with Server() as server, asyncio.Runner() as runner:
        for title, url, unit in (
            ("requests", server.whole_url, "µs per request"),
            ("streams", server.stream_url("saturated", 1, 200), "µs per event"),
        ):
            rows_of: dict[str, dict[str, Any]] = {**_SETTINGS, "telemetry": {"telemetry": _telemetry()}}
            clients = {
                name: AsyncClient(f"openai-chat:{_PRICED}", api_key="k", base_url=url, **settings)
                for name, settings in rows_of.items()
            }

            def requests(client: AsyncClient, ask: Any = _ask) -> float:
                return cpu_seconds(lambda: runner.run(ask(client, load.requests))) / load.requests

            def events(client: AsyncClient) -> float:
                count = 0

                def read() -> None:
                    nonlocal count
                    count = runner.run(_read(client, load.streams))

                return cpu_seconds(read) / count

            turn = requests if title == "requests" else events
            turns = {name: partial(turn, client) for name, client in clients.items()}
            if title == "requests":
                turns[LEAST] = partial(requests, clients[NONE], _ask_least)
            taken = _measure(turns, load.rounds)
            print(f"### {title} (median of {load.rounds} rounds)\n")
            rows = [
                (
                    name,
                    f"{median(taken[name]) * 1e6:.1f}",
                    f"{median(_differences(taken, name)) * 1e6:+.2f}",
                )
                for name in taken
            ]
            print_table(("policies", f"CPU {unit}", "over none set"), rows)
            limit = 10 if title == "requests" else 0.3
            targets.at_most(f"{title}: all policies, {unit}", median(_differences(taken, ALL)) * 1e6, limit)
            if title == "requests":
                _beside_litellm(url, load, taken)
            for client in clients.values():
                runner.run(client.aclose())
        _judge_hedging(targets, runner, 50 if args.quick else 1000)
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
