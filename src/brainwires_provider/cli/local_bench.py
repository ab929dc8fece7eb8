"""`local bench`: the speed of a model through this library and through plain HTTP to the same engine, in one run.

In each round both sides send the same prompts, different from those of all other rounds, with the cache disabled, and
ask for the same number of tokens, ignoring the end of the text. The sides take turns at going first, so that a slow
moment of the machine affects both. One round of each kind is run before as a warm-up and not counted.

`Sample`, `Round` and `compare` are also used by benchmarks/local.py.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from statistics import fmean, median
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProtocolError, RequestTimeout, TransportError
from brainwires_provider.events import TextDelta
from brainwires_provider.local.engine.engine import Endpoint
from brainwires_provider.local.memory import engine_context, estimate_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.transport import EngineStatus, LocalTransport
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.local.weights.gguf import GGUFMetadata, read_metadata
from brainwires_provider.protocols.llamacpp import LlamaCppOptions
from brainwires_provider.providers import ProviderConfig

__all__ = [
    "BenchOptions",
    "BenchResult",
    "Comparison",
    "DirectEngine",
    "Round",
    "Sample",
    "Speeds",
    "bench",
    "compare",
    "text_times",
]

_SPARE: Final = 16  # tokens of context for each response, beyond its prompt and text
_SHOWN: Final = 300  # bytes of an unexpected response in an error message
# fmt: off
_WORDS: Final = (
    "river", "stone", "light", "valley", "garden", "water", "window", "paper", "summer", "village", "morning", "table",
    "winter", "bread", "letter", "path", "music", "forest", "island", "bridge", "market", "silver", "doctor", "number",
    "engine", "picture", "captain", "yellow", "history", "evening", "kitchen",
)
# fmt: on

Report = Callable[[str], object]


class BenchOptions(Struct, frozen=True):
    """What to measure: a model as after `local:`, prompts and responses in tokens, and the number of requests.

    `requests` is the number of rounds with one request at a time. Rounds with `at_once` concurrent requests (1: none)
    are a third as many. With an even number of rounds each side goes first equally often.
    """

    model: str = ""
    prompt_tokens: int = 128
    tokens: int = 64
    requests: int = 6
    at_once: int = 8

    @property
    def bursts(self) -> int:
        """The number of rounds with concurrent requests."""
        return (self.requests + 2) // 3 if self.at_once > 1 else 0


# -- measurements --------------------------------------------------------------------------------------------


class Sample(Struct, frozen=True):
    """The measurement of one response. Times are of `time.perf_counter`: the call, the first and the last text.

    `engine_prompt` and `engine_generation` are the engine's own figures for this response, in tokens per second.
    """

    began: float
    first: float
    last: float
    text: str
    tokens: int
    prompt_tokens: int = 0
    cached_tokens: int = 0
    engine_prompt: float = 0.0
    engine_generation: float = 0.0

    @classmethod
    def of(
        cls, began: float, times: Sequence[float], text: str, timings: Mapping[str, Any] | None = None
    ) -> Self:
        """From the arrival times of the texts and llama.cpp's `timings`; without these, each text is one token.

        Raises ConfigError if there are fewer than two texts.
        """
        if len(times) < 2:
            raise ConfigError(
                "the model wrote too little text to be timed; ask for more --tokens, or measure another model"
            )
        if timings is None:
            return cls(began, times[0], times[-1], text, len(times))
        return cls(
            began,
            times[0],
            times[-1],
            text,
            timings["predicted_n"],
            timings["prompt_n"],
            timings["cache_n"],
            timings["prompt_per_second"],
            timings["predicted_per_second"],
        )


async def text_times(stream: AsyncStream, seconds: float | None = None) -> tuple[list[float], str]:
    """The arrival times of the texts of a stream, and the text; stopped after `seconds` from the first text."""
    times: list[float] = []
    texts: list[str] = []
    async with stream:
        async for event in stream:
            if type(event) is TextDelta:
                times.append(time.perf_counter())
                texts.append(event.text)
                if seconds is not None and times[-1] - times[0] > seconds:
                    break
    return times, "".join(texts)


class Round(Struct, frozen=True):
    """The same requests through this library and sent directly: one of each, or several at once."""

    ours: tuple[Sample, ...]
    direct: tuple[Sample, ...]


class Speeds(Struct, frozen=True):
    """`prompt` and `generation` in tokens per second, `first_token` in seconds; None: not measured.

    For one response, `prompt` is the prompt's tokens divided by the time to the first text, and `generation` the
    tokens after the first divided by the time from the first to the last text. For concurrent responses, `generation`
    is all tokens divided by the time from the first call to the last text, and `first_token` the mean.
    """

    prompt: float | None
    generation: float | None
    first_token: float | None


class Comparison(Struct, frozen=True):
    """Medians over the rounds. `ratio` is ours ÷ direct: the median of the ratios of the rounds.

    `engine` has the engine's own figures for the direct responses.
    """

    ours: Speeds
    direct: Speeds
    ratio: Speeds
    engine: Speeds


def compare(rounds: Sequence[Round]) -> Comparison:
    """The comparison of at least one round."""
    ours = [_speeds(each.ours) for each in rounds]
    direct = [_speeds(each.direct) for each in rounds]
    ratios = [_ratio(a, b) for a, b in zip(ours, direct, strict=True)]
    engine = [_engine_speeds(each.direct) for each in rounds]
    return Comparison(_medians(ours), _medians(direct), _medians(ratios), _medians(engine))


def _speeds(samples: Sequence[Sample]) -> Speeds:
    first_token = fmean(sample.first - sample.began for sample in samples)
    if len(samples) == 1:
        [sample] = samples
        generation = (sample.tokens - 1) / (sample.last - sample.first)
        return Speeds(sample.prompt_tokens / first_token, generation, first_token)
    seconds = max(sample.last for sample in samples) - min(sample.began for sample in samples)
    return Speeds(None, sum(sample.tokens for sample in samples) / seconds, first_token)


def _engine_speeds(samples: Sequence[Sample]) -> Speeds:
    if len(samples) > 1:  # the figures of concurrent responses cannot be added up
        return Speeds(None, None, None)
    return Speeds(samples[0].engine_prompt, samples[0].engine_generation, None)


def _ratio(ours: Speeds, direct: Speeds) -> Speeds:
    def of(name: str) -> float | None:
        a, b = getattr(ours, name), getattr(direct, name)
        return None if a is None or not b else a / b

    return Speeds(*map(of, Speeds.__struct_fields__))


def _medians(many: Iterable[Speeds]) -> Speeds:
    columns = zip(*((each.prompt, each.generation, each.first_token) for each in many), strict=True)
    known = ([value for value in column if value is not None] for column in columns)
    return Speeds(*(median(column) if column else None for column in known))


# -- the engine without this library -------------------------------------------------------------------------


class _Connection(http.client.HTTPConnection):
    """HTTP to an engine, over its Unix socket if it has one."""

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        address = urlsplit(endpoint.base_url)
        super().__init__(address.hostname or "", address.port, timeout=timeout)
        self._socket_path = endpoint.socket_path

    def connect(self) -> None:
        if self._socket_path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._socket_path)


class DirectEngine:
    """Blocking requests by the standard library, one connection each, which share no code with this library's own.

    `timeout` bounds a request, in seconds. Raises TransportError, RequestTimeout, and ProtocolError if the response is
    not llama.cpp's.
    """

    def __init__(self, endpoint: Endpoint, timeout: float = 600.0) -> None:
        self._endpoint = endpoint
        self._timeout = timeout

    def count(self, text: str) -> int:
        """The number of tokens of a prompt: `POST /tokenize`."""
        with self._post("/tokenize", {"content": text, "add_special": True, "parse_special": True}) as lines:
            return len(json.loads(b"".join(lines))["tokens"])

    def complete(self, prompt: str, tokens: int) -> Sample:
        """One response of `tokens` tokens, with the cache disabled: `POST /completion`, streamed."""
        body = {
            "prompt": prompt,
            "stream": True,
            "n_predict": tokens,
            "temperature": 0,
            "cache_prompt": False,
            "ignore_eos": True,
        }
        began, times, texts, last = time.perf_counter(), [], [], {}
        with self._post("/completion", body) as lines:
            for line in lines:
                if line.startswith(b"data: {"):
                    last = json.loads(line[6:])
                    if last.get("content"):
                        times.append(time.perf_counter())
                        texts.append(last["content"])
            if "timings" not in last:
                raise ProtocolError(f"a direct response of the engine has no timings: {str(last)[:_SHOWN]}")
            return Sample.of(began, times, "".join(texts), last["timings"])

    @contextmanager
    def _post(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[bytes]]:
        """The lines of the response."""
        headers = {"Content-Type": "application/json"}
        if self._endpoint.api_key:
            headers["Authorization"] = f"Bearer {self._endpoint.api_key}"
        deadline = time.monotonic() + self._timeout
        connection = _Connection(self._endpoint, self._timeout)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            if response.status != 200:
                text = response.read(_SHOWN)
                raise ProtocolError(
                    f"the engine refused a direct request with status {response.status}: {text!r}"
                )
            yield _lines(response, deadline)
        except TimeoutError:
            raise RequestTimeout(
                f"the engine did not answer a direct request within {self._timeout:g} s", clock="total"
            ) from None
        except (OSError, http.client.IncompleteRead) as error:
            raise TransportError(f"a direct request to the engine was interrupted: {error!r}") from None
        except (http.client.HTTPException, ValueError, LookupError, TypeError) as error:
            raise ProtocolError(f"the response to a direct request is not llama.cpp's: {error!r}") from None
        finally:
            connection.close()


def _lines(response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
    rest = b""
    while piece := response.read1(1 << 16):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        if time.monotonic() > deadline:
            raise TimeoutError
    yield rest


# -- the run -------------------------------------------------------------------------------------------------


class BenchResult(Struct, frozen=True):
    """Sizes in bytes, times in seconds.

    `settings` are those of the run, `load` is the load average before it. `one` compares the rounds with one request,
    `several` those with concurrent requests. `same_texts` counts the rounds with one request in which both sides
    returned the same text. `cached_tokens`, the number of prompt tokens taken from a cache, should be 0.
    `load_seconds` is the time to load the model, `rss` and `pss` are the engine's memory after the run, `estimate` is
    the estimate from the file and the settings.
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


async def bench(options: BenchOptions, report: Report) -> BenchResult:
    """Measure, calling `report` with each step. Raises every ProviderError."""
    model = await asyncio.to_thread(find_model, options.model)
    metadata = await asyncio.to_thread(read_metadata, model.path)
    settings = _settings(options, model, metadata)
    name = f"local:{settings.path}"
    async with AsyncClient(name, providers=[ProviderConfig("local", local=settings)]) as client:
        report("loading the model")
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        began = time.perf_counter()
        await client.local.load()
        load_seconds = time.perf_counter() - began
        transport = cast("LocalTransport", await client._session.transport(client._session.target(name)))
        handle = await transport.acquire()
        try:
            with ThreadPoolExecutor(options.at_once) as threads:
                run = _Run(client, DirectEngine(handle.endpoint), threads, options)
                singles = await run.rounds(1, options.requests, report)
                bursts = await run.rounds(options.at_once, options.bursts, report)
            status = await client.local.status()
        finally:
            handle.release()
    return _result(options, settings, metadata, singles, bursts, load, load_seconds, status)


def _settings(options: BenchOptions, model: LocalModel, metadata: GGUFMetadata) -> LocalModel:
    """The model's settings, with a slot for each concurrent response and a context that holds them all."""
    if model.pooling is not None:
        raise ConfigError(
            f"{options.model!r} is set up for embeddings, and writes no text that could be timed"
        )
    each = options.prompt_tokens + options.tokens + _SPARE
    if metadata.context_length is not None and each > metadata.context_length:
        raise ConfigError(
            f"a prompt of {options.prompt_tokens} tokens and a response of {options.tokens} exceed the "
            f"{metadata.context_length} tokens that the model was trained for; choose fewer"
        )
    path = os.path.abspath(os.path.expanduser(model.path))
    settings = replace(model, path=path, slots=max(model.slots, options.at_once), idle_timeout=None)
    if engine_context(settings, metadata.context_length) < each * options.at_once:
        settings = replace(settings, context=each * options.at_once)
    return settings


class _Run:
    """Rounds of requests to a loaded engine, through the client and directly."""

    def __init__(
        self, client: AsyncClient, direct: DirectEngine, threads: ThreadPoolExecutor, options: BenchOptions
    ) -> None:
        self._client = client
        self._direct = direct
        self._threads = threads
        self._options = options
        self._numbers = count()

    async def rounds(self, at_once: int, rounds: int, report: Report) -> list[Round]:
        taken = []
        for number in range(rounds + 1 if rounds else 0):
            report(f"{at_once} concurrent: " + (f"round {number} of {rounds}" if number else "warming up"))
            taken.append(await self._round(at_once, ours_first=number % 2 == 0))
        return taken[1:]

    async def _round(self, at_once: int, *, ours_first: bool) -> Round:
        loop = asyncio.get_running_loop()
        prompts = [await loop.run_in_executor(self._threads, self._prompt) for _ in range(at_once)]

        async def direct() -> tuple[Sample, ...]:
            complete, tokens = self._direct.complete, self._options.tokens
            calls = (loop.run_in_executor(self._threads, complete, prompt, tokens) for prompt in prompts)
            return tuple(await asyncio.gather(*calls))

        before = () if ours_first else await direct()
        ours = tuple(await asyncio.gather(*map(self._ours, prompts)))
        return Round(ours, before or await direct())

    async def _ours(self, prompt: str) -> Sample:
        began = time.perf_counter()
        stream = self._client.local.stream_generate(
            prompt,
            max_tokens=self._options.tokens,
            temperature=0,
            provider_options=LlamaCppOptions(cache_prompt=False, ignore_eos=True),
        )
        times, text = await text_times(stream)
        return Sample.of(began, times, text, stream.response.extra["timings"])

    def _prompt(self) -> str:
        """A text of the wanted number of tokens, or one less, whose first word is different every time."""
        number = next(self._numbers)
        places = range(1, self._options.prompt_tokens)
        words = [str(number), *(_WORDS[(number + place) * place % len(_WORDS)] for place in places)]
        shortest, longest = 1, len(words)
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            if self._direct.count(" ".join(words[:middle])) <= self._options.prompt_tokens:
                shortest = middle
            else:
                longest = middle - 1
        return " ".join(words[:shortest])


def _result(  # noqa: PLR0917 - the parts of one value
    options: BenchOptions,
    settings: LocalModel,
    metadata: GGUFMetadata,
    singles: Sequence[Round],
    bursts: Sequence[Round],
    load: float | None,
    load_seconds: float,
    status: EngineStatus,
) -> BenchResult:
    samples = [sample for each in (*singles, *bursts) for sample in (*each.ours, *each.direct)]
    return BenchResult(
        model=f"local:{options.model}",
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
        at_once=options.at_once,
        rounds=options.requests,
        bursts=options.bursts,
        one=compare(singles),
        several=compare(bursts) if bursts else None,
        same_texts=sum(each.ours[0].text == each.direct[0].text for each in singles),
        cached_tokens=sum(sample.cached_tokens for sample in samples),
        load_seconds=load_seconds,
        rss=status.rss,
        pss=status.pss,
        estimate=estimate_memory(metadata, settings).total,
    )


def _engine_version() -> str:
    try:
        return f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:  # built on this machine and not installed
        return "xllamacpp"
