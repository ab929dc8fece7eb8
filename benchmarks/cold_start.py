"""What it costs to begin: importing and making a client, and the first request; time and memory, ours and openai's.

Each case runs in a fresh interpreter that reports its own CPU time and its peak of resident memory; a bare
interpreter's are taken off. Bytecode is cached in a folder of the benchmark's own, filled by a first round that
does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from statistics import median

from _measure import Targets, arguments, machine, print_table
from _server import Server

BARE, OURS, OPENAI, OURS_FIRST, OPENAI_FIRST = (
    "bare interpreter",
    "ours: import, client",
    "openai-python: import, client",
    "ours: and the first request",
    "openai-python: and the first request",
)
_HEAVY = ("aiohttp", "websockets", "xllamacpp", "typer")
_OURS = """
from brainwires_provider import AsyncClient
client = AsyncClient("openai-chat:x", api_key="k", base_url="{url}")
"""
_OPENAI = """
from openai import OpenAI
client = OpenAI(api_key="k", base_url="{url}", max_retries=0)
"""
_OURS_ASKS = """
import asyncio
async def ask():
    async with client:
        assert (await client.chat("Hi")).text
asyncio.run(ask())
"""
_OPENAI_ASKS = """
asked = client.chat.completions.create(model="x", messages=[{"role": "user", "content": "Hi"}])
assert asked.choices[0].message.content
"""
_SCRIPTS = {
    BARE: "",
    OURS: _OURS,
    OPENAI: _OPENAI,
    OURS_FIRST: _OURS + _OURS_ASKS,
    OPENAI_FIRST: _OPENAI + _OPENAI_ASKS,
}
# `ru_maxrss` outlives exec, and so would count this process: Linux has the new program's own peak elsewhere.
_REPORT = """
import json, sys, time
cpu = time.process_time()
modules = [name for name in {heavy!r} if name in sys.modules]
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(json.dumps([cpu, peak, modules]))
"""


def _run(name: str, url: str, cache: str) -> tuple[float, float, list[str]]:
    """CPU milliseconds, peak MiB, and which heavy modules were imported."""
    script = _SCRIPTS[name].replace("{url}", url) + _REPORT.format(heavy=_HEAVY)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "PYTHONPYCACHEPREFIX": cache},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    cpu, peak, modules = json.loads(ended.stdout)
    return cpu * 1e3, peak / 1024, modules


def _measure(url: str, cache: str, rounds: int) -> tuple[dict[str, tuple[float, float]], list[str]]:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in _SCRIPTS}
    heavy: list[str] = []
    for turn in range(rounds + 1):
        for name in _SCRIPTS:
            cpu, peak, modules = _run(name, url, cache)
            if turn:
                runs[name].append((cpu, peak))
            if name == OURS:
                heavy = modules
    medians = {
        name: (median(c for c, _ in pairs), median(p for _, p in pairs)) for name, pairs in runs.items()
    }
    return medians, heavy


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    print(f"{machine()}\n")
    with Server() as server, tempfile.TemporaryDirectory() as cache:
        measured, heavy = _measure(server.whole_url, cache, 1 if args.quick else 15)
    bare_cpu, bare_peak = measured[BARE]
    over = {name: (cpu - bare_cpu, peak - bare_peak) for name, (cpu, peak) in measured.items()}
    rows = [(BARE, f"{bare_cpu * 1e3:.0f}", "", f"{bare_peak:.1f}", "")]
    for name, theirs in (
        (OURS, OPENAI),
        (OPENAI, OPENAI),
        (OURS_FIRST, OPENAI_FIRST),
        (OPENAI_FIRST, OPENAI_FIRST),
    ):
        cpu, peak = over[name]
        rows.append(
            (
                name,
                f"+{cpu * 1e3:.0f}",
                f"{cpu / over[theirs][0]:.2f}",
                f"+{peak:.1f}",
                f"{peak / over[theirs][1]:.2f}",
            )
        )
    print_table(("fresh process", "CPU µs", "÷ openai", "peak MiB", "÷ openai"), rows)
    print(f"Imported with our client, of {', '.join(_HEAVY)}: {', '.join(heavy) or 'none'}\n")
    if args.quick:
        return 0
    targets = Targets()
    targets.at_most("import and client: time ÷ openai", over[OURS][0] / over[OPENAI][0], 1 / 5)
    targets.at_most("import and client: memory ÷ openai", over[OURS][1] / over[OPENAI][1], 1 / 3)
    targets.at_most("import and client: heavy modules", len(heavy), 0)
    return targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
