"""Rows a second on a Ray cluster of this machine: the actor, Ray's own HTTP processor, and a plain loop beside them.

The server is a process of its own, which echoes a prompt after 50 ms. The cluster runs already when the clock starts;
what is timed is the job, from its first task to the last answer in memory, in which Ray starts actors. Two actors with
50 requests each, or as many as the processor manages; the plain loop is one process with 100 at once. Every answer is
compared.

    uv run --group ray python benchmarks/_ray.py [ROWS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _bulk_server import EchoServer
from _measure import machine, print_table

_WAIT = 50
_WORKERS, _CONCURRENCY = 2, 50
_HTTP_ROWS = 1000  # the processor is slow

Work = Callable[[str, int], dict[int, str]]


def _prompts(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "text": f"row {number}"} for number in range(count)]


def _rows(count: int) -> Any:
    import ray.data

    return ray.data.from_items(_prompts(count), override_num_blocks=16)


def _actor(url: str, count: int, **more: Any) -> dict[int, str]:
    from brainwires_provider.ray import MapActor

    actor = MapActor("openai-chat:bench", prompt="{text}", base_url=url, concurrency=_CONCURRENCY, **more)
    return {row["id"]: row["answer"] for row in actor.map(_rows(count), workers=_WORKERS).take_all()}


def _actor_with_store(url: str, count: int) -> dict[int, str]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BRAINWIRES_BENCH_DIR")) as folder:
        return _actor(url, count, store=folder)


def _processor(url: str, count: int) -> dict[int, str]:
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    config = HttpRequestProcessorConfig(url=f"{url}/chat/completions", concurrency=_WORKERS)
    processor = build_processor(
        config,
        preprocess=lambda row: {
            "id": row["id"],
            "payload": {"model": "bench", "messages": [{"role": "user", "content": row["text"]}]},
        },
        postprocess=lambda row: {
            "id": row["id"],
            "answer": row["http_response"]["choices"][0]["message"]["content"],
        },
    )
    return {row["id"]: row["answer"] for row in processor(_rows(count)).take_all()}


def _loop(url: str, count: int) -> tuple[float, int]:
    script = Path(__file__).with_name("_bulk_contestants.py")
    command = [sys.executable, str(script), "aiohttp", url, str(count), str(_WORKERS * _CONCURRENCY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["wrong"]


def _timed(work: Work, url: str, count: int) -> tuple[float, int]:
    begun = time.monotonic()
    found = work(url, count)
    seconds = time.monotonic() - begun
    return seconds, sum(found.get(row["id"]) != row["text"] for row in _prompts(count))


def main(count: int) -> None:
    """Print the table."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("OPENAI_API_KEY", "k")
    import ray.data

    print(f"{machine()}; Ray {version('ray')}")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        with EchoServer() as server:
            url = server.url(_WAIT)
            contestants: list[tuple[str, Callable[[], tuple[float, int]], int]] = [
                ("plain loop, raw aiohttp, one process", lambda: _loop(url, count), count),
                ("MapActor", lambda: _timed(_actor, url, count), count),
                ("MapActor, store in a folder", lambda: _timed(_actor_with_store, url, count), count),
                ("HttpRequestProcessor", lambda: _timed(_processor, url, _HTTP_ROWS), _HTTP_ROWS),
            ]
            lines = []
            for name, work, rows in contestants:
                before = server.requests
                seconds, wrong = work()
                asked = server.requests - before
                lines.append(
                    (name, f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}", str(asked), str(wrong))
                )
                print(lines[-1], flush=True)
            print_table(("contestant", "rows", "s", "rows/s", "requests", "wrong answers"), lines)
    finally:
        ray.shutdown()


main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
