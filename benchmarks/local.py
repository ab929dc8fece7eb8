"""Tokens per second and time to the first token of the local model, beside the engine driven directly.

The engine driven directly runs in a process of its own, without HTTP.

Both load the same weights with the same parameters and write the same texts, which are compared (temperature 0). A
pair is eight responses of each in turns, each to a different prompt, because the engine caches prompts. Every pair
loads both again, because one load may get better memory than another. Times are wall-clock times, as the engine does
the work. The second part runs beside a process that is always busy, and stops each response after some seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from statistics import median

from _direct_engine import DirectEngine
from _measure import Targets, arguments, machine, print_table

from brainwires_provider import AsyncClient
from brainwires_provider.cli.local_bench import Sample, text_times

PAIRS = 6
TURNS = 8
MAX_TOKENS = 64
BUSY_PAIRS = 3
BUSY_SECONDS = 8.0

Pair = tuple[list[Sample], list[Sample]]  # directly, and ours


def _prompt(turn: int) -> str:
    return f"Tell me {turn + 3} facts about the sky, in whole sentences."


async def _ours(client: AsyncClient, prompt: str, max_tokens: int, seconds: float | None = None) -> Sample:
    began = time.perf_counter()
    stream = client.stream(prompt, max_tokens=max_tokens, temperature=0)
    return Sample.of(began, *await text_times(stream, seconds))


@asynccontextmanager
async def _both(folder: str) -> AsyncIterator[tuple[DirectEngine, AsyncClient]]:
    """Both, newly loaded."""
    with DirectEngine(folder) as direct:
        direct.ask("Hi", 4)
        async with AsyncClient("local:") as client:
            await _ours(client, "Hi", 4)
            yield direct, client


async def _pair(folder: str, turns: Iterable[int], max_tokens: int) -> Pair:
    """Responses of both to the same prompts, in turns; they also take turns at going first."""
    theirs: list[Sample] = []
    ours: list[Sample] = []
    async with _both(folder) as (direct, client):
        for turn in turns:
            prompt = _prompt(turn)
            if turn % 2:
                ours.append(await _ours(client, prompt, max_tokens))
            theirs.append(direct.ask(prompt, max_tokens))
            if not turn % 2:
                ours.append(await _ours(client, prompt, max_tokens))
            if theirs[-1].text != ours[-1].text:
                raise SystemExit(f"the answers differ: {theirs[-1].text!r} and {ours[-1].text!r}")
    return theirs, ours


async def _beside_a_busy_process(folder: str, seconds: float) -> Pair:
    async with _both(folder) as (direct, client):
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            try:
                prompt = _prompt(0)
                return [direct.ask(prompt, 1000, seconds)], [await _ours(client, prompt, 1000, seconds)]
            finally:
                busy.kill()


async def _measure(folder: str, quick: bool) -> tuple[list[Pair], list[Pair]]:
    pairs, turns, max_tokens = (1, 1, 8) if quick else (PAIRS, TURNS, MAX_TOKENS)
    busy_pairs, seconds = (1, 0.5) if quick else (BUSY_PAIRS, BUSY_SECONDS)
    idle = [await _pair(folder, range(pair * turns, (pair + 1) * turns), max_tokens) for pair in range(pairs)]
    return idle, [await _beside_a_busy_process(folder, seconds) for _ in range(busy_pairs)]


def _rate(runs: list[Sample]) -> float:
    return sum(run.tokens for run in runs) / sum(run.last - run.began for run in runs)


def _ratio(pairs: list[Pair]) -> float:
    return median(_rate(ours) / _rate(theirs) for theirs, ours in pairs)


def _print(pairs: list[Pair]) -> None:
    rows: list[tuple[str, ...]] = []
    for i, (name, share) in enumerate((("xllamacpp, directly", 1.0), ("ours, local:", _ratio(pairs)))):
        rate = median(_rate(pair[i]) for pair in pairs)
        first = median(run.first - run.began for pair in pairs for run in pair[i])
        rows.append((name, f"{rate:.1f}", f"{first * 1e3:.0f}", f"{share:.2f}"))
    print_table(("", "tokens per second", "first token, ms", "÷ direct, by pairs"), rows)


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        idle, busy = asyncio.run(_measure(folder, args.quick))
    print(
        f"### SmolLM2-135M, {len(idle[0][0])} responses each a pair, median of {len(idle)} interleaved pairs\n"
    )
    _print(idle)
    print(f"### The same beside a busy process (no target), median of {len(busy)} pairs\n")
    _print(busy)
    if args.quick:
        return 0
    targets = Targets()
    targets.at_least("tokens per second: ours ÷ direct", _ratio(idle), 0.92)
    return targets.close(check=args.check)


if __name__ == "__main__":
    sys.exit(main())
