"""Tokens a second and the first token of the local model: ours, by way of a child process, and the engine driven
directly, in this process, without HTTP.

Both load the same weights with the same parameters, and write the same answers: temperature 0, the texts are
compared. They take turns, six pairs; each pair has a prompt of its own, since the engine caches prompts. This is
time on the wall, the work being the engine's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from statistics import median
from typing import Any, NamedTuple

import xllamacpp
from _measure import Targets, arguments, machine, print_table

from brainwires_provider import AsyncClient, TextDelta
from brainwires_provider.weights.find import installed_weights
from brainwires_provider.weights.gguf import read_header
from brainwires_provider.weights.settings import LocalModel
from brainwires_provider.wires.engine import _order
from brainwires_provider.wires.engine_child import build_params


class Run(NamedTuple):
    """One answer."""

    text: str
    tokens_per_second: float
    first_token_ms: float


def _prompt(pair: int) -> str:
    return f"Tell me {pair + 3} facts about the sky, in whole sentences."


def _load_engine(folder: str) -> Any:
    path = installed_weights()
    socket = None if os.name == "nt" else os.path.join(folder, "direct.sock")
    return xllamacpp.Server(
        build_params(xllamacpp, _order(LocalModel(path), read_header(path).context_length, socket))
    )


def _directly(engine: Any, prompt: str, max_tokens: int) -> Run:
    fragments: list[str] = []
    times: list[float] = []

    def take(chunk: dict[str, Any]) -> bool:
        text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        if text:
            fragments.append(text)
            times.append(time.perf_counter())
        return False  # go on

    begin = time.perf_counter()
    engine.handle_chat_completions(
        {
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "max_tokens": max_tokens,
            "temperature": 0,
        },
        take,
    )
    return _run(fragments, begin, times)


async def _ours(client: AsyncClient, prompt: str, max_tokens: int) -> Run:
    fragments: list[str] = []
    times: list[float] = []
    begin = time.perf_counter()
    async with client.stream(prompt, max_tokens=max_tokens, temperature=0) as stream:
        async for event in stream:
            if type(event) is TextDelta:
                fragments.append(event.text)
                times.append(time.perf_counter())
    return _run(fragments, begin, times)


def _run(fragments: list[str], begin: float, times: list[float]) -> Run:
    """A fragment is a token; the clock runs from the call to the last of them."""
    return Run("".join(fragments), len(fragments) / (times[-1] - begin), (times[0] - begin) * 1e3)


async def _pairs(engine: Any, pairs: int, max_tokens: int) -> tuple[list[Run], list[Run]]:
    direct: list[Run] = []
    ours: list[Run] = []
    async with AsyncClient("local:") as client:
        await _ours(client, "Hi", 4)  # loads the model
        _directly(engine, "Hi", 4)
        for pair in range(pairs):
            prompt = _prompt(pair)
            if pair % 2:
                ours.append(await _ours(client, prompt, max_tokens))
            direct.append(_directly(engine, prompt, max_tokens))
            if not pair % 2:
                ours.append(await _ours(client, prompt, max_tokens))
            if direct[-1].text != ours[-1].text:
                raise SystemExit(f"the answers differ: {direct[-1].text!r} and {ours[-1].text!r}")
    return direct, ours


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    print(f"{machine()}\n")
    pairs, max_tokens = (1, 8) if args.quick else (6, 256)
    with tempfile.TemporaryDirectory() as folder:
        direct, ours = asyncio.run(_pairs(_load_engine(folder), pairs, max_tokens))
    ratio = median(o.tokens_per_second / d.tokens_per_second for o, d in zip(ours, direct, strict=True))
    print(f"### SmolLM2-135M, {max_tokens} tokens an answer, median of {pairs} interleaved pairs\n")
    rows = [
        (
            name,
            f"{median(run.tokens_per_second for run in runs):.1f}",
            f"{median(run.first_token_ms for run in runs):.0f}",
            share,
        )
        for name, runs, share in (
            ("xllamacpp, in process", direct, "1.00"),
            ("ours, local:", ours, f"{ratio:.2f}"),
        )
    ]
    print_table(("", "tokens a second", "first token, ms", "÷ direct, by pairs"), rows)
    if args.quick:
        return 0
    targets = Targets()
    targets.at_least("tokens a second: ours ÷ direct", ratio, 0.95)
    return targets.close(check=args.check)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the engine's destructor may hang
