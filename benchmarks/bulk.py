"""Rows a second and CPU a row of bulk runs: `client.map` beside a plain loop over raw aiohttp, and peers.

The server is a process of its own, which echoes a prompt after a wait: 50 ms, where a client is bound by its CPU, and
400 ms, which is still fast for a model. Each contestant is a process of its own, too, with the Python that has its
package: peers where BRAINWIRES_LITELLM_PYTHON, BRAINWIRES_LANGCHAIN_PYTHON (langchain-openai) and
BRAINWIRES_FLEXLLM_PYTHON name one, else they are skipped. Every answer is compared. Rounds take turns; what is printed
is the median.

    uv run python benchmarks/bulk.py [--quick] [--check]
    uv run python benchmarks/bulk.py --million [ROWS]

`--million` runs so many rows, made one after another, through a ledger, and prints the memory along the way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from _bulk_server import EchoServer
from _measure import Targets, machine, print_table

_SCRIPT = Path(__file__).with_name("_bulk_contestants.py")
_NAMES = {
    "aiohttp": "plain loop, raw aiohttp",
    "ours": "client.map, with ledger",
    "ours_unkept": "client.map, without",
    "chat_loop": "plain loop, client.chat",
    "litellm": "litellm.batch_completion",
    "langchain": "langchain abatch",
    "flexllm": "flexllm, with its file",
}
_PEERS = {
    "litellm": "BRAINWIRES_LITELLM_PYTHON",
    "langchain": "BRAINWIRES_LANGCHAIN_PYTHON",
    "flexllm": "BRAINWIRES_FLEXLLM_PYTHON",
}
_AT_LEAST = 0.8
_EVERY = 50_000  # rows between two looks at the memory


class Load(NamedTuple):
    """One table."""

    wait: int
    """Milliseconds."""
    rows: int
    concurrency: int
    rounds: int


FULL = (Load(400, 2000, 100, 3), Load(50, 4000, 200, 3))
QUICK = (Load(50, 100, 20, 1),)


def _pythons() -> dict[str, str]:
    """The Python of each contestant that there is."""
    found = dict.fromkeys(_NAMES, sys.executable)
    for name, variable in _PEERS.items():
        python = os.environ.get(variable)
        if python:
            found[name] = python
        else:
            del found[name]
            print(f"{_NAMES[name]}: skipped, {variable} names no Python that has it")
    return found


def _run(python: str, name: str, url: str, load: Load) -> dict[str, Any]:
    command = [python, str(_SCRIPT), name, url, str(load.rows), str(load.concurrency)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(server: EchoServer, pythons: dict[str, str], load: Load, targets: Targets) -> None:
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    names = list(pythons)
    for turn in range(load.rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seen[name].append(_run(pythons[name], name, server.url(load.wait), load))
    rates = {name: [load.rows / each["seconds"] for each in found] for name, found in seen.items()}
    ratios = {
        name: median(mine / plain for mine, plain in zip(found, rates["aiohttp"], strict=True))
        for name, found in rates.items()
    }
    print(
        f"\n### answers after {load.wait} ms, {load.concurrency} at once, {load.rows} rows (median of {load.rounds})\n"
    )
    rows = [
        (
            f"{_NAMES[name]} ({found[0]['version']})",
            f"{median(rates[name]):,.0f}",
            f"{ratios[name]:.2f}",
            f"{median(each['cpu'] for each in found) / load.rows * 1e6:,.0f}",
            str(max(each["wrong"] for each in found)),
        )
        for name, found in seen.items()
    ]
    print_table(("contestant", "rows/s", "÷ plain loop", "CPU µs a row", "wrong answers"), rows)
    targets.at_least(f"{load.wait} ms: map ÷ plain loop", ratios["ours"], _AT_LEAST)
    for name in _PEERS.keys() & seen.keys():
        targets.at_least(f"{load.wait} ms: map ÷ {name}", ratios["ours"] / ratios[name], 1)


# -- a million rows ------------------------------------------------------------------------------------------


def _memory() -> float:
    """The resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _made(rows: int) -> Iterator[dict[str, Any]]:
    return (
        {"id": f"row-{number}", "prompt": f"row {number}: why is the sky blue?"} for number in range(rows)
    )


async def _many(url: str, rows: int, ledger: str, title: str) -> None:
    from brainwires_provider import AsyncClient

    print(f"### {title}\n\n| rows | MB resident | rows/s | ledger, MB |\n|---:|---:|---:|---:|")
    began = last = time.monotonic()
    count = 0
    async with AsyncClient("openai-chat:bench", api_key="k", base_url=url) as client:
        async for each in client.map(_made(rows), ledger=ledger, concurrency=200):
            assert each.number == count and each.text == each.row["prompt"], each
            count += 1
            if count % min(_EVERY, rows // 4 or 1) == 0:
                now, size = time.monotonic(), os.path.getsize(ledger) / 1e6
                rate = min(_EVERY, rows // 4 or 1) / (now - last)
                print(f"| {count:,} | {_memory():.0f} | {rate:,.0f} | {size:.0f} |", flush=True)
                last = now
    seconds = time.monotonic() - began
    print(f"\n{count:,} rows in {seconds:,.0f} s, CPU {time.process_time() / count * 1e6:,.0f} µs a row\n")


def million(rows: int) -> int:
    """Ask about so many rows, and then run them all again from the ledger."""
    print(f"{machine()}\n")
    with (
        EchoServer() as server,
        tempfile.TemporaryDirectory(dir=os.environ.get("BRAINWIRES_BENCH_DIR")) as folder,
    ):
        ledger = os.path.join(folder, "ledger")
        asyncio.run(_many(server.url(0), rows, ledger, f"{rows:,} rows"))
        asked = server.requests
        asyncio.run(_many(server.url(0), rows, ledger, "the same again, from the ledger"))
        print(f"requests: {asked:,}, and {server.requests - asked} for what was recorded")
        return int(asked != rows or server.requests != asked)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small counts: that it runs, not how fast")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--million", nargs="?", type=int, const=1_000_000, metavar="ROWS")
    args = parser.parse_args()
    if args.million is not None:
        return million(args.million)
    targets = Targets()
    print(f"{machine()}\n")
    pythons = _pythons()
    with EchoServer() as server:
        for load in QUICK if args.quick else FULL:
            _table(server, pythons, load, targets)
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
