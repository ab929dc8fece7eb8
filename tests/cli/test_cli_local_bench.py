"""`brainwires local bench`: what its numbers are made of, the direct driver byte for byte, and one run of it all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from brainwires_provider.cli import local_views as views
from brainwires_provider.cli.app import app
from brainwires_provider.cli.local_bench import (
    BenchOptions,
    BenchResult,
    Comparison,
    DirectEngine,
    Round,
    Sample,
    Speeds,
    _settings,
    bench,
    compare,
)
from brainwires_provider.errors import (
    ConfigError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    TransportError,
)
from brainwires_provider.local.engine.engine import Endpoint
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.gguf import GGUFMetadata
from brainwires_provider.local.weights.registry import LocalRegistry
from brainwires_provider.testing import Answer, ScriptedServer, Stall, cut, refuse, split, sse
from engines import NEEDS_ENGINE
from gguf_files import STRING, U32, Tensor, model, pair

TIMINGS = {
    "cache_n": 0,
    "prompt_n": 5,
    "prompt_ms": 50.0,
    "prompt_per_second": 100.0,
    "predicted_n": 3,
    "predicted_ms": 40.0,
    "predicted_per_second": 50.0,
}
CHUNKS = [
    {"content": "", "stop": False},
    {"content": "a☃", "stop": False},
    {"content": "b", "stop": False},
    {"content": "", "stop": True, "timings": TIMINGS},
]
STREAM = Answer(headers={"content-type": "text/event-stream"}, body=[sse(*CHUNKS, done=False)])


# -- numbers -------------------------------------------------------------------------------------------------


def shot(began: float, first: float, last: float, tokens: int = 11, prompt: int = 50, **own: float) -> Sample:
    speeds = {"engine_prompt": 0.0, "engine_generation": 0.0, **own}
    return Sample(began, first, last, "text", tokens, prompt, **speeds)


def test_one_answer_after_another() -> None:
    rounds = [
        Round((shot(0, 0.5, 1.5),), (shot(2, 2.25, 4.25, engine_prompt=210, engine_generation=6),)),
        Round((shot(5, 5.5, 6.0),), (shot(7, 7.5, 8.0, engine_prompt=110, engine_generation=22),)),
        Round((shot(9, 9.25, 9.5),), (shot(9, 9.25, 9.75, engine_prompt=220, engine_generation=24),)),
    ]

    both = compare(rounds)

    assert both.ours == Speeds(prompt=100, generation=20, first_token=0.5)
    assert both.direct == Speeds(prompt=200, generation=20, first_token=0.25)
    assert both.engine == Speeds(prompt=210, generation=22, first_token=None)
    # 0.5, 1 and 1 of the prompts; 2, 1 and 2 of the answers; 2, 1 and 1 of the first tokens
    assert both.ratio == Speeds(prompt=1, generation=2, first_token=1)


def test_several_at_once_are_counted_together() -> None:
    ours = (shot(0, 1, 2, tokens=10), shot(0.5, 1, 4, tokens=30), shot(1, 4, 3, tokens=20))
    direct = (shot(10, 11, 12, tokens=30), shot(10, 12, 13, tokens=30), shot(10, 13, 15, tokens=60))

    both = compare([Round(ours, direct)])

    assert both.ours == Speeds(prompt=None, generation=60 / 4, first_token=1.5)
    assert both.direct == Speeds(prompt=None, generation=120 / 5, first_token=2)
    assert both.ratio == Speeds(prompt=None, generation=15 / 24, first_token=0.75)
    assert both.engine == Speeds(None, None, None)


def test_an_answer_too_short_to_be_timed() -> None:
    with pytest.raises(ConfigError, match="too little text"):
        Sample.of(0, [1.0], "a", TIMINGS)


# -- the direct driver ---------------------------------------------------------------------------------------


def complete(server: ScriptedServer, clock: float = 5, **place: Any) -> Sample:
    endpoint = Endpoint(f"{server.url}/v1", **place)
    return DirectEngine(endpoint, clock).complete("Hi", 3)


def test_a_direct_answer_and_what_was_asked() -> None:
    with ScriptedServer(STREAM) as server:
        taken = complete(server, api_key="sk-own")
        [request] = server.requests

    assert (request.method, request.path, request.header("authorization")) == (
        "POST",
        "/completion",
        "Bearer sk-own",
    )
    assert request.json() == {
        "prompt": "Hi",
        "stream": True,
        "n_predict": 3,
        "temperature": 0,
        "cache_prompt": False,
        "ignore_eos": True,
    }
    assert (taken.text, taken.prompt_tokens, taken.tokens, taken.cached_tokens) == ("a☃b", 5, 3, 0)
    assert (taken.engine_prompt, taken.engine_generation) == (100.0, 50.0)
    assert taken.began < taken.first <= taken.last


@pytest.mark.parametrize("every", (1, 7))
def test_a_direct_answer_however_it_is_cut_into_chunks(every: int) -> None:
    with ScriptedServer(Answer(body=split(sse(*CHUNKS), every=every))) as server:
        assert complete(server).text == "a☃b"


def test_tokens_are_counted() -> None:
    with ScriptedServer(Answer(body=b'{"tokens": [1, 2, 3]}')) as server:
        assert DirectEngine(Endpoint(f"{server.url}/v1")).count("Hi") == 3
        [request] = server.requests
    assert request.json() == {"content": "Hi", "add_special": True, "parse_special": True}


BAD: dict[str, tuple[Answer, type[ProviderError], str]] = {
    "refused": (Answer(400, body=b'{"error": "no"}'), ProtocolError, 'status 400: b\'{"error": "no"}\''),
    "cut": (cut(STREAM, 60), TransportError, "was interrupted"),
    "reset": (Answer(drop=True), TransportError, "was interrupted"),
    "no HTTP": (Answer(raw=b"hello\r\n\r\n"), ProtocolError, "is not llama.cpp's"),
    "no end of its head": (
        Answer(raw=b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000),
        ProtocolError,
        "is not llama.cpp's",
    ),
    "no JSON": (Answer(body=b"data: {]\n\n"), ProtocolError, "is not llama.cpp's"),
    "no timings": (Answer(body=b'data: {"content": "a"}\n\n'), ProtocolError, "has no timings"),
    "other timings": (Answer(body=[sse(*CHUNKS[:3], {"timings": {}})]), ProtocolError, "is not llama.cpp's"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_direct_answer_that_is_none(case: str) -> None:
    answer, kind, words = BAD[case]
    with ScriptedServer(answer) as server, pytest.raises(kind, match=words):
        complete(server)


def test_a_direct_answer_that_does_not_come() -> None:
    with (
        ScriptedServer(Answer(body=[Stall()])) as server,
        pytest.raises(RequestTimeout, match=r"within 0\.05 s"),
    ):
        complete(server, clock=0.05)
    with refuse() as port, pytest.raises(TransportError):
        DirectEngine(Endpoint(f"http://127.0.0.1:{port}/v1")).count("Hi")


# -- the command ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("local", "order", "words"),
    [
        (LocalModel(pooling="mean"), BenchOptions(), "is set up for embeddings"),
        (
            LocalModel(),
            BenchOptions(prompt_tokens=200),
            "exceed the 256 tokens that the model was trained for",
        ),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_loaded(
    local: LocalModel, order: BenchOptions, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path))
    path = tmp_path / "tiny.gguf"
    told = [pair("general.architecture", STRING, "llama"), pair("llama.context_length", U32, 256)]
    path.write_bytes(model(told, [Tensor("t", (32, 32))]))
    LocalRegistry().register("tiny", msgspec.structs.replace(local, path=str(path)))

    with pytest.raises(ConfigError, match=words):
        asyncio.run(bench(msgspec.structs.replace(order, model="tiny"), print))


ORDERS: dict[str, tuple[LocalModel, BenchOptions, LocalModel]] = {
    "as it is": (LocalModel("/m"), BenchOptions(at_once=4), LocalModel("/m")),
    "a slot for each": (LocalModel("/m", slots=2), BenchOptions(at_once=8), LocalModel("/m", slots=8)),
    "a context for all": (
        LocalModel("/m", idle_timeout=1),
        BenchOptions(prompt_tokens=2000, tokens=32, at_once=8),
        LocalModel("/m", slots=8, context=8 * (2000 + 32 + 16)),
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_a_model_is_run_so_that_all_answers_fit(case: str) -> None:
    given, order, run = ORDERS[case]
    metadata = GGUFMetadata(version=3, size=1, tensors=0, parameters=0, tensor_bytes=0, context_length=4096)

    assert _settings(order, given, metadata) == run


def result(several: Comparison | None = None, **more: Any) -> BenchResult:
    one = Comparison(
        Speeds(100.0, 20.0, 0.5), Speeds(125.0, 25.0, 0.4), Speeds(0.8, 0.8, 1.25), Speeds(126.0, 25.5, None)
    )
    fields: dict[str, Any] = {
        "model": "local:tiny",
        "path": "/m/tiny.gguf",
        "architecture": "llama",
        "quantization": "Q8_0",
        "parameters": 134_515_008,
        "settings": LocalModel("/m/tiny.gguf", slots=8),
        "engine": "xllamacpp 1",
        "cores": 2,
        "load": 0.25,
        "prompt_tokens": 128,
        "tokens": 64,
        "at_once": 8,
        "rounds": 5,
        "bursts": 1,
        "one": one,
        "several": several,
        "same_texts": 5,
        "cached_tokens": 0,
        "load_seconds": 0.5,
        "rss": 2_000_000_000,
        "pss": None,
        "estimate": 3_000_000_000,
    }
    return BenchResult(**(fields | more))


SEVERAL = Comparison(
    Speeds(None, 50.0, 2.0), Speeds(None, 50.0, 2.0), Speeds(None, 1.0, 1.0), Speeds(None, None, None)
)


def test_what_a_person_sees(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    views.print_bench(result(SEVERAL))

    out, err = capfdbinary.readouterr()
    lines = out.decode().splitlines()
    assert lines[:17] == [
        "local:tiny (llama, Q8_0, 134.5M parameters), xllamacpp 1, 2 cores, load 0.2 before the run",
        "file: /m/tiny.gguf",
        "settings: slots 8",
        "",
        "one request at a time: prompts of 128 tokens, responses of 64; median of 5 rounds",
        "                        PROMPT TOKENS/S  GENERATION TOKENS/S  FIRST TOKEN MS",
        "brainwires              100.0            20.0                 500",
        "direct                  125.0            25.0                 400",
        "  engine's own figures  126.0            25.5",
        "brainwires ÷ direct     0.80             0.80                 1.25",
        "",
        "8 concurrent requests: prompts of 128 tokens, responses of 64 each; median of 1 round",
        "                     GENERATION TOKENS/S  FIRST TOKEN MS",
        "brainwires           50.0                 2000",
        "direct               50.0                 2000",
        "brainwires ÷ direct  1.00                 1.00",
        "",
    ]
    assert lines[17:19] == [
        "memory of the engine: RSS 2.0 GB; estimated 3.0 GB",
        "loaded in 0.50 s; same text in 5 of 5 rounds",
    ]
    assert lines[20].startswith("direct: plain HTTP to the same engine (POST /completion)")
    assert "One round of each kind is" in out.decode()
    assert err == b""


def test_a_cache_that_was_used_all_the_same_is_told(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    views.print_bench(result(cached_tokens=7, load=None, rss=None))

    out, err = capfdbinary.readouterr()
    assert err.startswith(b"7 tokens of prompts came from a cache")
    assert (
        b"concurrent" not in out.split(b"direct:")[0]
        and b"not reported here" in out
        and b"load " not in out.split(b"\n")[0]
    )


class TestOnTheEngine:
    pytestmark = NEEDS_ENGINE

    def test_one_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path))
        sizes = ["--prompt-tokens", "10", "--tokens", "4", "--requests", "1", "--at-once", "2"]

        ran = CliRunner().invoke(app, ["local", "bench", "smollm2", *sizes, "--json"], catch_exceptions=False)

        assert ran.exit_code == 0, ran.stderr
        measured = msgspec.convert(json.loads(ran.stdout), BenchResult)
        assert (measured.model, measured.architecture, measured.quantization) == (
            "local:smollm2",
            "llama",
            "Q4_1",
        )
        assert (measured.rounds, measured.bursts, measured.at_once, measured.tokens) == (1, 1, 2, 4)
        assert 8 <= measured.prompt_tokens <= 10
        assert (measured.cached_tokens, measured.same_texts) == (0, 1)
        assert measured.several is not None
        for both in (measured.one, measured.several):
            for side in (both.ours, both.direct, both.ratio):
                assert side.generation is not None and side.generation > 0
                assert side.first_token is not None and side.first_token > 0
        one = measured.one
        assert one.ours.prompt is not None and one.ours.first_token is not None
        assert one.ours.prompt * one.ours.first_token == pytest.approx(measured.prompt_tokens)
        # The engine's own clock leaves HTTP out, so it cannot be slower than what came over it
        assert one.engine.prompt is not None and one.direct.prompt is not None
        assert one.engine.prompt >= one.direct.prompt * 0.9
        for side in (one.engine, one.direct):
            assert side.generation is not None and side.generation > 0
        assert measured.load_seconds > 0
        for memory in (measured.rss, measured.pss):
            assert memory is None or 50e6 < memory < 2e9
        assert "warming up" in ran.stderr
