"""`local bench`: how fast a model is through this library, beside its engine driven directly, in one run.

Both sides ask one engine for the same: in each round the same prompts, new ones in every round, read anew and never
from a cache, and as many tokens, with the end of the text ignored. They take turns, and change who is first, so that
a slow moment of the machine hits both; a round of each kind goes before, and does not count.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.cli.local_direct import DirectEngine
from brainwires_provider.cli.local_shots import Comparison, Round, Shot, compare
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError
from brainwires_provider.events import TextDelta
from brainwires_provider.local.memory import engine_context, estimate_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.transport import LocalWire
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.local.weights.gguf import GGUFMetadata, read_metadata
from brainwires_provider.protocols.llamacpp import LlamaCppOptions
from brainwires_provider.providers import ProviderConfig

__all__ = ["BenchOrder", "BenchResult", "bench"]

_SPARE: Final = 16  # tokens of the context for each answer
# fmt: off
_WORDS: Final = (
    "river", "stone", "light", "house", "garden", "water", "window", "paper", "summer", "village", "morning", "table",
    "winter", "bread", "letter", "road", "music", "forest", "island", "bridge", "market", "silver", "doctor", "engine",
    "number", "picture", "captain", "yellow", "history", "evening", "kitchen",
)
# fmt: on


class BenchOrder(Struct, frozen=True):
    """What to measure: a model as `local:` takes it, prompts and answers in tokens, and how often.

    `requests` is the number of rounds one by one; `at_once` answers at once (1: none) have a third as many. In an even
    number of rounds each side is first as often as the other.
    """

    model: str = ""
    prompt_tokens: int = 128
    tokens: int = 64
    requests: int = 6
    at_once: int = 8

    @property
    def bursts(self) -> int:
        """The number of rounds with several answers at once."""
        return (self.requests + 2) // 3 if self.at_once > 1 else 0


class BenchResult(Struct, frozen=True):
    """Sizes are in bytes, times in seconds.

    `settings` are those of the run, `load` is how busy the machine was before it. `same_texts` is in how many of the
    `rounds` one by one both sides wrote the same; `cached_tokens`, how many of all prompts came from a cache, should
    be 0. `load_seconds` is from nothing to a loaded model, `rss` and `pss` are the engine's memory after the runs, and
    `estimate` is what the file and the settings let one expect.
    """

    model: str
    path: str
    architecture: str | None
    quantization: str | None
    parameters: int
    settings: LocalModel
    engine: str
    cores: int
    load: float | None
    prompt_tokens: int
    tokens: int
    at_once: int
    rounds: int
    bursts: int
    one: Comparison
    several: Comparison | None
    same_texts: int
    cached_tokens: int
    load_seconds: float
    rss: int | None
    pss: int | None
    estimate: int


async def bench(order: BenchOrder, say: Callable[[str], object]) -> BenchResult:
    """Measure; `say` is told what is going on. Raises every ProviderError."""
    model = await asyncio.to_thread(find_model, order.model)
    metadata = await asyncio.to_thread(read_metadata, model.path)
    settings = _settings(order, model, metadata)
    name = f"local:{settings.path}"
    async with AsyncClient(name, providers=[ProviderConfig("local", local=settings)]) as client:
        say("loading the model")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        began = time.perf_counter()
        await client.local.load()
        load_seconds = time.perf_counter() - began
        wire = cast("LocalWire", await client.wire(client._target(name)))
        lease = await wire.lease()
        try:
            contest = _Contest(client, DirectEngine(lease.endpoint), order)
            singles, bursts = await contest.run(say)
            status = await client.local.status()
        finally:
            lease.release()
    shots = [shot for each in (*singles, *bursts) for shot in (*each.ours, *each.direct)]
    return BenchResult(
        model=f"local:{order.model}",
        path=settings.path,
        architecture=metadata.architecture,
        quantization=metadata.quantization,
        parameters=metadata.parameters,
        settings=settings,
        engine=_engine_version(),
        cores=os.cpu_count() or 1,
        load=load,
        prompt_tokens=singles[0].direct[0].prompt_tokens,
        tokens=singles[0].direct[0].tokens,
        at_once=order.at_once,
        rounds=order.requests,
        bursts=order.bursts,
        one=compare(singles),
        several=compare(bursts) if bursts else None,
        same_texts=sum(each.ours[0].text == each.direct[0].text for each in singles),
        cached_tokens=sum(shot.cached_tokens for shot in shots),
        load_seconds=load_seconds,
        rss=status.rss,
        pss=status.pss,
        estimate=estimate_memory(metadata, settings).total,
    )


def _settings(order: BenchOrder, model: LocalModel, metadata: GGUFMetadata) -> LocalModel:
    """As the model is run, with a slot for each answer at once, and a context that holds them all."""
    if model.pooling is not None:
        raise ConfigError(f"{order.model!r} is run for embeddings, and writes no text that could be timed")
    one = order.prompt_tokens + order.tokens + _SPARE
    if metadata.context_length is not None and one > metadata.context_length:
        raise ConfigError(
            f"a prompt of {order.prompt_tokens} tokens and an answer of {order.tokens} are more than the "
            f"{metadata.context_length} that the model was trained for; take fewer"
        )
    path = os.path.abspath(os.path.expanduser(model.path))
    settings = replace(model, path=path, slots=max(model.slots, order.at_once), idle_timeout=None)
    if engine_context(settings, metadata.context_length) < one * order.at_once:
        settings = replace(settings, context=one * order.at_once)
    return settings


def _engine_version() -> str:
    try:
        return f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:  # it was built here, and not installed
        return "xllamacpp"


class _Contest:
    """Both sides on one engine that is loaded."""

    def __init__(self, client: AsyncClient, direct: DirectEngine, order: BenchOrder) -> None:
        self._client = client
        self._direct = direct
        self._order = order
        self._numbers = count()

    async def run(self, say: Callable[[str], object]) -> tuple[list[Round], list[Round]]:
        """The rounds one by one, and those with several at once."""
        singles = await self._rounds(1, self._order.requests, say)
        return singles, await self._rounds(self._order.at_once, self._order.bursts, say)

    async def _rounds(self, at_once: int, rounds: int, say: Callable[[str], object]) -> list[Round]:
        taken = []
        for number in range(rounds + 1 if rounds else 0):
            say(f"{at_once} at once: " + (f"round {number} of {rounds}" if number else "warming up"))
            taken.append(await self._round(at_once, ours_first=number % 2 == 0))
        return taken[1:]

    async def _round(self, at_once: int, *, ours_first: bool) -> Round:
        prompts = [await self._prompt() for _ in range(at_once)]
        if ours_first:
            ours = await _all(self._ours, prompts)
            return Round(ours, await _all(self._directly, prompts))
        direct = await _all(self._directly, prompts)
        return Round(await _all(self._ours, prompts), direct)

    async def _directly(self, prompt: str) -> Shot:
        return await self._direct.complete(prompt, self._order.tokens)

    async def _ours(self, prompt: str) -> Shot:
        began = time.perf_counter()
        stream = self._client.local.stream_generate(
            prompt,
            max_tokens=self._order.tokens,
            temperature=0,
            provider_options=LlamaCppOptions(cache_prompt=False, ignore_eos=True),
        )
        async with stream:
            times = [time.perf_counter() async for event in stream if type(event) is TextDelta]
        response = stream.response
        return Shot.taken(began, times, response.text, response.extra["timings"])

    async def _prompt(self) -> str:
        """A text of the wanted length, or a token less, whose very beginning no other one has."""
        number = next(self._numbers)
        places = range(1, self._order.prompt_tokens)
        words = [str(number), *(_WORDS[(number + place) * place % len(_WORDS)] for place in places)]
        shortest, longest = 1, len(words)
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            if await self._direct.count(" ".join(words[:middle])) <= self._order.prompt_tokens:
                shortest = middle
            else:
                longest = middle - 1
        return " ".join(words[:shortest])


async def _all(ask: Callable[[str], Awaitable[Shot]], prompts: Sequence[str]) -> tuple[Shot, ...]:
    return tuple(await asyncio.gather(*map(ask, prompts)))
