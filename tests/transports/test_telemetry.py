"""Spans, metrics and events against the conventions' tables, with the in-memory exporters of OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from brainwires_provider import (
    APIError,
    AsyncClient,
    Breaker,
    Budget,
    Client,
    ConfigError,
    Continuation,
    Fallback,
    FilePart,
    Hedge,
    HostedTool,
    ImagePart,
    InvalidRequestError,
    JSONSchema,
    Message,
    OpaquePart,
    OpenAIResponsesOptions,
    ProviderConfig,
    ProviderError,
    ReasoningPart,
    RefusalPart,
    Report,
    Request,
    Response,
    Retry,
    StreamInterrupted,
    Telemetry,
    TextDelta,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
    Usage,
    __version__,
    load_config,
)
from brainwires_provider._core.telemetry import SCHEMA_URL, Instruments, suppressed, tool_span
from brainwires_provider._core.telemetry_values import (
    content_of,
    provider_of,
    request_attributes,
    response_attributes,
    usage_attributes,
)
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.testing import (
    Answer,
    CloseFrame,
    Drop,
    Gate,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    Stall,
    Wait,
    sse,
)
from chat_answers import TEXT, WHOLE, chunk
from socket_clients import LANES, answer, config, refusal
from tool_services import SERVICES, scripted
from waits import noted

SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 10,
    "total_tokens": 50,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
GOOD = Answer(
    body=json.dumps(
        {
            "id": "c1",
            "model": "m-1",
            "choices": [CHOICE],
            "usage": USAGE,
            "service_tier": "default",
            "system_fingerprint": "fp_1",
        }
    ).encode()
)
STREAM = Answer(
    body=[sse(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop", usage=USAGE))]
)
BUSY = Answer(429, {}, b'{"error": {"message": "slow down, said the question"}}')
DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
WRONG = Answer(400, {}, b'{"error": {"message": "no field"}}')
CUT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])
CUT_USED = Answer(
    body=[
        sse(chunk({"reasoning_content": "Hm."}), {"id": "c", "choices": [], "usage": USAGE}, done=False),
        Drop(),
    ]
)
CUT_LATE = Answer(
    body=[sse(chunk({"content": "Hel"}), {"id": "c", "choices": [], "usage": USAGE}, done=False), Drop()]
)
UNREAD = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Stall()])
VECTORS = {
    "model": "e-1",
    "data": [{"index": 0, "embedding": [1.0, 2.0, 3.0]}],
    "usage": {"prompt_tokens": 5},
}
EMBEDDED = Answer(body=json.dumps(VECTORS).encode())

# The conventions' tables, v0.1.0 of the repository (2026-11-29): what every signal of a kind has to have.
REQUIRED = {"gen_ai.operation.name", "gen_ai.provider.name"}
IF_AVAILABLE = {
    "gen_ai.request.model",
    "server.port",
}  # a model is named, and an address set, in every call here
RECOMMENDED = {
    "server.address",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
}
COUNTERS = {
    f"gen_ai.client.inference.usage.{kind}"
    for kind in (
        "input_tokens",
        "output_tokens",
        "cache_read.input_tokens",
        "cache_write.input_tokens",
        "reasoning.output_tokens",
    )
}
STREAMING = {"gen_ai.client.inference.time_to_first_chunk", "gen_ai.client.inference.time_per_output_chunk"}


class Recorded:
    """What was recorded, in memory."""

    def __init__(self, **settings: Any) -> None:
        self.spans_out, self.events_out, self.reader = (
            InMemorySpanExporter(),
            InMemoryLogRecordExporter(),
            InMemoryMetricReader(),
        )
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_out))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.loggers = LoggerProvider(shutdown_on_exit=False)
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.events_out))
        self.settings = Telemetry(
            tracer_provider=self.tracers, meter_provider=self.meters, logger_provider=self.loggers, **settings
        )

    @property
    def spans(self) -> list[Any]:
        return list(self.spans_out.get_finished_spans())

    @property
    def span(self) -> Any:
        (span,) = self.spans
        return span

    @property
    def events(self) -> list[Any]:
        return [each.log_record for each in self.events_out.get_finished_logs()]

    @property
    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        scopes = [] if data is None else [s for each in data.resource_metrics for s in each.scope_metrics]
        return {m.name: list(m.data.data_points) for scope in scopes for m in scope.metrics}


@pytest.fixture(autouse=True)
def no_content(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(SWITCH, raising=False)
    yield


def run(
    answers: Any, how: str = "chat", *, model: str = "openai-chat:m", **settings: Any
) -> tuple[Recorded, Any]:
    args, recorded = settings.pop("args", {}), settings.pop("recorded", None) or Recorded()

    async def main(server: ScriptedServer) -> Any:
        providers = [ProviderConfig(model.partition(":")[0], base_url=server.url, api_key="sk-secret")]
        async with AsyncClient(model, providers=providers, telemetry=recorded.settings, **settings) as client:
            noted(client)
            try:
                match how:
                    case "chat":
                        return await client.chat("the question", **args)
                    case "stream":
                        return await client.stream("the question", **args).collect()
                    case "embed":
                        return await client.embed("the question")
                    case "models":
                        return await client.models()
                    case "leave":
                        async with client.stream("the question") as stream:
                            while not isinstance(event := await anext(stream), TextDelta):
                                pass
                            return event
                call = asyncio.ensure_future(client.chat("the question"))  # "cancel"
                await server.wait_requests_async(1)
                call.cancel()
                return await asyncio.gather(call, return_exceptions=True)
            except ProviderError as error:
                return error

    with ScriptedServer(answers) as server:
        found = asyncio.run(main(server))
        recorded.server = server  # type: ignore[attr-defined]
    return recorded, found


# -- the tables ----------------------------------------------------------------------------------------------

# name: the answers, how, the settings; error.type, attempts
CALLS: dict[str, tuple[list[Answer], str, dict[str, Any], str | None, int]] = {
    "chat": ([GOOD], "chat", {}, None, 1),
    "stream": ([STREAM], "stream", {}, None, 1),
    "retry": ([BUSY, DOWN, GOOD], "chat", {}, None, 3),
    "retry of a stream": ([CUT_USED, STREAM], "stream", {}, None, 2),
    "fallback": ([DOWN, GOOD], "chat", {"retry": Retry(1), "fallback": ["openai-chat:other"]}, None, 2),
    "hedge": (
        [Answer(stall_before_headers=True), STREAM],
        "stream",
        {"hedge": Hedge(0.02, share=1)},
        None,
        2,
    ),
    "failure": ([WRONG], "chat", {}, "InvalidRequestError", 1),
    "failure of all attempts": ([BUSY] * 3, "chat", {}, "RateLimitError", 3),
    "a cut": ([CUT], "stream", {}, "StreamInterrupted", 1),
    "a cut after its usage": ([CUT_LATE], "stream", {}, "StreamInterrupted", 1),
    "a cut after its usage, retried": ([CUT_USED, CUT_LATE], "stream", {}, "StreamInterrupted", 2),
    "left after a retry": ([CUT_USED, UNREAD], "leave", {}, "cancelled", 2),
    "a reset": ([Answer(drop=True)], "chat", {"retry": Retry(1)}, "TransportError", 1),
    "cancel": ([Answer(stall_before_headers=True)], "cancel", {}, "cancelled", 1),
    "a stream that was left": ([UNREAD], "leave", {}, "cancelled", 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_span_a_call_with_the_conventions_attributes(name: str) -> None:
    answers, how, settings, error, attempts = CALLS[name]
    recorded, _ = run(answers, how, **settings)
    span = recorded.span
    attributes = dict(span.attributes)

    asked = "other" if name == "fallback" else "m"
    assert span.name == f"chat {asked}" and span.kind is trace.SpanKind.CLIENT and span.parent is None
    assert span.instrumentation_scope.schema_url == SCHEMA_URL
    assert attributes.keys() >= REQUIRED | IF_AVAILABLE
    assert attributes["gen_ai.operation.name"] == "chat" and attributes["gen_ai.provider.name"] == "openai"
    assert attributes["gen_ai.request.model"] == asked and attributes["server.address"] == "127.0.0.1"
    assert attributes["brainwires.attempts"] == attempts
    assert attributes.get("gen_ai.request.stream") is (True if how in ("stream", "leave") else None)
    assert attributes.get("error.type") == error
    assert span.status.status_code is (trace.StatusCode.UNSET if error is None else trace.StatusCode.ERROR)
    if error is None:
        assert attributes.keys() >= RECOMMENDED, RECOMMENDED - attributes.keys()
        assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert (
            attributes["gen_ai.usage.input_tokens"] == 40 and attributes["gen_ai.usage.output_tokens"] == 10
        )
        assert attributes["gen_ai.usage.cache_read.input_tokens"] == 8
        assert attributes["gen_ai.usage.reasoning.output_tokens"] == 4
    elif how != "cancel":
        assert attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert span.status.description is None and "question" not in json.dumps(attributes)


@pytest.mark.parametrize("name", CALLS)
def test_the_metrics_of_a_call(name: str) -> None:
    answers, how, settings, error, _ = CALLS[name]
    recorded, _ = run(answers, how, **settings)
    points = recorded.points

    for each in (point for some in points.values() for point in some):
        assert REQUIRED | IF_AVAILABLE | {"server.address"} <= each.attributes.keys()
    (duration,) = points["gen_ai.client.inference.duration"]
    assert duration.count == 1 and duration.attributes.get("error.type") == error
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04) and duration.explicit_bounds[-1] == 81.92
    seconds = (recorded.span.end_time - recorded.span.start_time) / 1e9
    assert duration.sum == pytest.approx(seconds, abs=0.05)
    used = {name: sum(point.value for point in points.get(name, ())) for name in COUNTERS}
    times = sum(
        each in (GOOD, STREAM, CUT_USED, CUT_LATE) for each in answers
    )  # a failed attempt's tokens count
    assert used == {
        "gen_ai.client.inference.usage.input_tokens": 40 * times,
        "gen_ai.client.inference.usage.output_tokens": 10 * times,
        "gen_ai.client.inference.usage.cache_read.input_tokens": 8 * times,
        "gen_ai.client.inference.usage.cache_write.input_tokens": 0,
        "gen_ai.client.inference.usage.reasoning.output_tokens": 4 * times,
    }
    modalities = {
        point.attributes["gen_ai.token.modality"]: point.value
        for point in points["gen_ai.client.inference.usage.input_tokens"]
    }
    assert modalities == ({"unknown": 38 * times, "audio": 2 * times} if times else {"unknown": 0})
    if error is None:
        for side, count in (("input", 40), ("output", 10)):
            (operation,) = points[f"gen_ai.client.inference.operation.{side}_tokens"]
            assert (operation.count, operation.sum) == (1, count)
            assert operation.attributes["gen_ai.response.model"] == "m-1"
        assert duration.attributes["gen_ai.response.model"] == "m-1"
    assert bool(points.keys() & STREAMING) is (how in ("stream", "leave"))
    if how == "stream" and error is None:
        (first,) = points["gen_ai.client.inference.time_to_first_chunk"]
        assert first.count == 1
        taken = recorded.span.attributes["gen_ai.response.time_to_first_chunk"]
        assert first.sum == pytest.approx(taken) and 0 < taken <= seconds


def test_chunks_of_a_stream() -> None:
    pieces = [sse(chunk({"content": text}), done=False) for text in ("a", "b", "c")]
    body = [
        pieces[0],
        Wait(0.03),
        pieces[1],
        Wait(0.03),
        pieces[2],
        Wait(0.03),
        sse(chunk({}, "stop", usage=USAGE)),
    ]
    recorded, _ = run([Answer(body=body)], "stream")
    (each,) = recorded.points["gen_ai.client.inference.time_per_output_chunk"]
    (duration,) = recorded.points["gen_ai.client.inference.duration"]
    assert each.count == 3 and each.min > 0.01 and each.sum <= duration.sum


def test_the_first_chunk_of_a_call_that_may_be_hedged_is_what_its_caller_had_first() -> None:
    thought = sse(chunk({"reasoning_content": "Hm."}), done=False)
    recorded, _ = run([Answer(body=[thought, Wait(0.05), TEXT])], "stream", hedge=Hedge(30, share=1))
    assert recorded.span.attributes["gen_ai.response.time_to_first_chunk"] < 0.05
    (gaps,) = recorded.points["gen_ai.client.inference.time_per_output_chunk"]
    assert gaps.max > 0.04


# The answers to the two requests; what has to be seen of the call before which gate is opened; the numbers of the
# attempts that have failed, in order, of which the last one's error may be the call's; the model of that.
REFUSED, ANSWERED = Answer(503, {}, [Gate("first"), DOWN.body]), Answer(body=[Gate("first"), TEXT])  # type: ignore[list-item]
HEDGED: dict[str, tuple[list[Answer], list[tuple[str | None, str]], list[int], str, bool]] = {
    "the first fails": (
        [REFUSED, Answer(body=[Gate("second"), TEXT])],
        [(None, "first"), ("_error", "second")],
        [1],
        "other",
        False,
    ),
    "the second fails": ([ANSWERED, DOWN], [("_lost", "first")], [2], "m", False),
    "both fail, the second first": ([REFUSED, DOWN], [("_lost", "first")], [2, 1], "m", True),
    "both fail, the first first": (
        [REFUSED, Answer(503, {}, [Gate("second"), DOWN.body])],  # type: ignore[list-item]
        [(None, "first"), ("_error", "second")],
        [2, 1],
        "m",
        True,
    ),
}


@pytest.mark.parametrize("name", HEDGED)
def test_both_requests_of_a_hedged_call_are_reported(name: str, caplog: pytest.LogCaptureFixture) -> None:
    answers, steps, numbers, model, is_failure = HEDGED[name]
    caplog.set_level(logging.DEBUG, "brainwires_provider")
    recorded, hooks = Recorded(), []
    settings: Any = {"hedge": Hedge(0.02, "openai-chat:other", share=1), "retry": Retry(1), "api_key": "k"}
    settings |= {"telemetry": recorded.settings, "on_error": lambda call, _: hooks.append(call.model)}

    async def main(server: ScriptedServer) -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, **settings) as client:
            stream = client.stream("the question")
            call, sending = asyncio.ensure_future(stream.collect()), stream._sending
            await server.wait_requests_async(2)
            for seen, gate in steps:
                while seen is not None and not getattr(sending, seen):
                    await asyncio.sleep(0.005)
                server.open(gate)
            await asyncio.gather(call, return_exceptions=True)

    with ScriptedServer(answers) as server:
        asyncio.run(main(server))
    span, lines = recorded.span, [record.getMessage() for record in caplog.records]
    failed = [line for line in lines if " failed (status 503)" in line]
    assert [f"attempt {n} failed" in line for n, line in zip(numbers, failed, strict=False)] == [True] * len(
        failed
    )
    assert len(failed) == len(numbers) - is_failure and f"openai-chat:{model} " in lines[-1]
    assert [each.attributes["http.response.status_code"] for each in recorded.events] == [503] * len(numbers)
    assert span.attributes["brainwires.attempts"] == 2 and span.name == f"chat {model}"
    assert span.attributes.get("error.type") == ("OverloadedError" if is_failure else None)
    assert hooks == [model] * is_failure


@pytest.mark.parametrize("policy", ["breaker", "budget"])
def test_a_call_that_was_refused_before_it_was_sent_has_no_attempt(policy: str) -> None:
    recorded = Recorded()
    given: Any = (
        {"breaker": Breaker(1), "retry": Retry(1)} if policy == "breaker" else {"budget": Budget(tokens=1)}
    )

    async def main(server: ScriptedServer) -> None:
        settings: Any = {"base_url": server.url, "api_key": "k", "telemetry": recorded.settings, **given}
        async with AsyncClient("openai-chat:m", **settings) as client:
            for _ in range(2):
                await asyncio.gather(client.chat("hi"), return_exceptions=True)

    with ScriptedServer([DOWN]) as server:
        asyncio.run(main(server))
    attempts = [span.attributes["brainwires.attempts"] for span in recorded.spans]
    assert attempts == ([1, 0] if policy == "breaker" else [0, 0]) and len(server.requests) == sum(attempts)


def test_embeddings() -> None:
    recorded, _ = run([EMBEDDED], "embed", model="openai-chat:e")
    attributes = dict(recorded.span.attributes)

    assert recorded.span.name == "embeddings e" and recorded.span.kind is trace.SpanKind.CLIENT
    assert attributes.keys() >= REQUIRED | IF_AVAILABLE
    assert (
        attributes["gen_ai.operation.name"] == "embeddings" and attributes["gen_ai.usage.input_tokens"] == 5
    )
    assert (
        attributes["gen_ai.embeddings.dimension.count"] == 3 and attributes["gen_ai.response.model"] == "e-1"
    )
    assert "gen_ai.usage.output_tokens" not in attributes
    assert recorded.points.keys() == {
        "gen_ai.client.embeddings.duration",
        "gen_ai.client.embeddings.operation.input_tokens",
    }
    recorded, _ = run([WRONG], "embed", model="openai-chat:e")
    assert recorded.span.attributes["error.type"] == "InvalidRequestError"
    assert "gen_ai.response.finish_reasons" not in recorded.span.attributes


# Of the conventions, and for tools: the unit of each instrument, and the first and last bounds of a histogram.
SECONDS, TOKENS = ("s", 0.01, 81.92), ("{token}", 1, 4**13)
UNITS: dict[str, tuple[str, float, float] | tuple[str]] = {
    **dict.fromkeys(COUNTERS, ("{token}",)),
    **dict.fromkeys(STREAMING, SECONDS),
    "gen_ai.client.inference.duration": SECONDS,
    "gen_ai.client.embeddings.duration": SECONDS,
    "gen_ai.execute_tool.duration": SECONDS,
    "gen_ai.client.inference.operation.input_tokens": TOKENS,
    "gen_ai.client.inference.operation.output_tokens": TOKENS,
    "gen_ai.client.embeddings.operation.input_tokens": TOKENS,
}


def test_every_instrument_has_the_unit_and_the_bounds_of_the_conventions() -> None:
    recorded = Recorded()
    used = {"cache_read_input_tokens": 3, "cache_creation_input_tokens": 4, "input_tokens": 5}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m-1", "stop_reason": "end_turn"}
    message |= {"content": [{"type": "text", "text": "Hi"}], "usage": used | {"output_tokens": 1}}
    cached = Answer(body=json.dumps(message).encode(), headers={"content-type": "application/json"})
    slow = [sse(chunk({"content": "Hel"}), done=False), Wait(0.01), sse(chunk({}, "stop", usage=USAGE))]
    run([Answer(body=slow)], "stream", recorded=recorded)
    run([cached], model="anthropic:m", recorded=recorded)
    run([EMBEDDED], "embed", model="openai-chat:e", recorded=recorded)
    with tool_span(Instruments(recorded.settings), ToolCallPart("c", "t", "{}")):
        pass
    data: Any = recorded.reader.get_metrics_data()
    found: dict[str, Any] = {}
    for metric in (
        m for each in data.resource_metrics for scope in each.scope_metrics for m in scope.metrics
    ):
        bounds = getattr(metric.data.data_points[0], "explicit_bounds", ())
        found[metric.name] = (metric.unit, *((bounds[0], bounds[-1]) if bounds else ()))
    assert found == UNITS


def test_the_signals_of_a_call_are_those_of_the_model_that_was_asked_last() -> None:
    recorded = Recorded()

    async def main(url: str) -> None:
        names = ("openai-chat", "google")
        settings: Any = {"providers": [ProviderConfig(name, base_url=url, api_key="k") for name in names]}
        settings |= {"telemetry": recorded.settings, "retry": Retry(1), "fallback": ["google:g"]}
        async with AsyncClient("openai-chat:m", **settings) as client:
            with pytest.raises(InvalidRequestError):
                await client.chat("Hi", top_k=7)

    with ScriptedServer([DOWN, WRONG]) as server:
        asyncio.run(main(server.url))
    (duration,) = recorded.points["gen_ai.client.inference.duration"]
    for attributes in (recorded.span.attributes, duration.attributes):
        assert attributes["gen_ai.operation.name"] == "generate_content"
        assert (attributes["gen_ai.provider.name"], attributes["gen_ai.request.model"]) == ("gcp.gemini", "g")
    assert recorded.span.name == "generate_content g"
    assert recorded.span.attributes["gen_ai.request.top_k"] == 7  # which the first does not take


def test_everything_is_recorded_by_this_package_in_this_version() -> None:
    recorded, _ = run([BUSY, GOOD])
    data: Any = recorded.reader.get_metrics_data()
    scopes = [recorded.span.instrumentation_scope]
    scopes += [each.instrumentation_scope for each in recorded.events_out.get_finished_logs()]
    scopes += [scope.scope for each in data.resource_metrics for scope in each.scope_metrics]
    assert len(scopes) == 3
    for scope in scopes:
        known = (scope.name, scope.version, scope.schema_url)
        assert known == ("brainwires_provider", __version__, "https://opentelemetry.io/schemas/gen-ai/0.1.0")


def test_what_is_no_inference_has_no_span() -> None:
    recorded, _ = run([Answer(body=b'{"data": [{"id": "m1"}]}')], "models")
    assert recorded.spans == [] and recorded.points == {}


def test_a_call_within_a_framework_that_records_it_itself_has_no_span() -> None:
    with suppressed():
        recorded, _ = run([GOOD], "chat")
    assert recorded.spans == [] and recorded.points == {}
    after, _ = run([GOOD], "chat")
    assert after.span and after.points


# -- what was asked for --------------------------------------------------------------------------------------


def test_the_request_s_attributes() -> None:
    args = {
        "max_tokens": 9,
        "temperature": 1,
        "top_p": 0.5,
        "seed": 3,
        "stop": ("x", "y"),
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "reasoning": "low",
        "output": JSONSchema("a", {"type": "object"}),
        "extra_body": {"n": 2, "service_tier": "flex"},
    }
    recorded, _ = run([GOOD], args=args)
    attributes = recorded.span.attributes
    expected = {
        "max_tokens": 9,
        "temperature": 1.0,
        "top_p": 0.5,
        "seed": 3,
        "stop_sequences": ("x", "y"),
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "reasoning.level": "low",
        "choice.count": 2,
    }
    for name, value in expected.items():
        assert attributes[f"gen_ai.request.{name}"] == value
        assert type(attributes[f"gen_ai.request.{name}"]) is type(value)
    assert attributes["gen_ai.output.type"] == "json" and attributes["openai.request.service_tier"] == "flex"
    assert attributes["openai.api.type"] == "chat_completions"
    assert attributes["openai.response.service_tier"] == "default"
    assert attributes["openai.response.system_fingerprint"] == "fp_1"


# A body's fields, and the attributes that they make: of what is no number, no text, or says nothing, none.
BODIES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"n": 1}, {}),
    ({"n": 2}, {"gen_ai.request.choice.count": 2}),
    ({"n": True}, {}),
    ({"service_tier": "auto"}, {}),
    ({"service_tier": 7}, {}),
    ({"service_tier": "flex"}, {"openai.request.service_tier": "flex"}),
    ({"response_format": {"type": "text"}}, {"gen_ai.output.type": "text"}),
    ({"generationConfig": {"responseMimeType": "text/plain"}}, {"gen_ai.output.type": "text"}),
    ({"response_format": {"type": "json_object"}}, {"gen_ai.output.type": "json"}),
    ({"conversation": {"id": "c"}}, {"gen_ai.conversation.id": "c"}),
    ({"conversation": "c"}, {"gen_ai.conversation.id": "c"}),
    ({"conversation": 7, "previous_response_id": 7}, {}),
    ({"previous_response_id": "r"}, {"gen_ai.request.previous_response.id": "r"}),
    ({"stop": []}, {}),
    ({"stop": "a"}, {"gen_ai.request.stop_sequences": ["a"]}),
    ({"stop": ("a", "b")}, {"gen_ai.request.stop_sequences": ["a", "b"]}),
    ({"temperature": True, "seed": "1"}, {}),
    ({"temperature": 0, "seed": 2.0}, {"gen_ai.request.temperature": 0.0, "gen_ai.request.seed": 2}),
    ({"max_tokens": None, "max_completion_tokens": 5}, {"gen_ai.request.max_tokens": 5}),
    ({"options": {"num_predict": 5}}, {"gen_ai.request.max_tokens": 5}),
    ({"options": 5}, {}),
    ({"reasoning": "high"}, {}),
    ({"reasoning_effort": 3, "reasoning": {"effort": "low"}}, {"gen_ai.request.reasoning.level": "low"}),
]


@pytest.mark.parametrize(("fields", "attributes"), BODIES, ids=str)
def test_what_of_a_body_is_an_attribute(fields: dict[str, Any], attributes: dict[str, Any]) -> None:
    session: Any = AsyncClient("openai-chat:m", api_key="k", telemetry=Recorded().settings)._session
    plan = session.plan("Hi", {}, stream=False)
    plan = replace(plan, call=replace(plan.call, body={**plan.call.body, **fields}))
    found = request_attributes(plan)
    assert found.pop("openai.api.type") == "chat_completions" and found == attributes
    assert all(type(found[name]) is type(value) for name, value in attributes.items())
    assert request_attributes(replace(plan, operation="embeddings")) == {}
    assert request_attributes(replace(plan, stream=True))["gen_ai.request.stream"] is True


def test_counts_of_a_special_kind_are_there_where_there_are_some() -> None:
    plain = {"input_tokens": 1, "output_tokens": 2}
    special = {"cache_read": 3, "cache_write": 4, "audio_input": 5, "reasoning": 6}
    names = (
        "cache_read.input_tokens",
        "cache_write.input_tokens",
        "audio.input_tokens",
        "reasoning.output_tokens",
    )
    usage = Usage(uncached_input=1, output_text=2)
    assert usage_attributes(usage, is_embedding=False) == {f"gen_ai.usage.{k}": v for k, v in plain.items()}
    assert usage_attributes(usage, is_embedding=True) == {"gen_ai.usage.input_tokens": 1}
    for (field, count), name in zip(special.items(), names, strict=True):
        found = usage_attributes(replace(usage, **{field: count}), is_embedding=False)
        assert (
            found.keys() - plain.keys() >= {f"gen_ai.usage.{name}"} and found[f"gen_ai.usage.{name}"] == count
        )
        assert len(found) == 3


@pytest.mark.parametrize(
    ("model", "operation", "provider", "attributes"),
    [
        ("anthropic", "chat", "anthropic", {"max_tokens": 9, "top_k": 7, "stop_sequences": ("x",)}),
        ("google", "generate_content", "gcp.gemini", {"max_tokens": 9, "top_k": 7, "stop_sequences": ("x",)}),
        ("ollama", "chat", "ollama", {"max_tokens": 9, "top_k": 7, "stop_sequences": ("x",)}),
        ("mistral", "chat", "mistral_ai", {"max_tokens": 9, "stop_sequences": ("x",)}),
    ],
)
def test_other_protocols_have_the_same_names(
    model: str, operation: str, provider: str, attributes: dict[str, Any]
) -> None:
    args = {"max_tokens": 9, "top_k": 7, "stop": "x"}
    recorded, _ = run([WRONG], model=f"{model}:m", args=args)
    found = recorded.span.attributes
    assert (found["gen_ai.operation.name"], found["gen_ai.provider.name"]) == (operation, provider)
    assert recorded.span.name == f"{operation} m" and "openai.api.type" not in found
    assert {name: found.get(f"gen_ai.request.{name}") for name in attributes} == attributes


# What of a request has an attribute, in two requests: many models take no sampling where they reason.
SAMPLED = {
    "max_tokens": ("gen_ai.request.max_tokens", 9000, 9000),
    "temperature": ("gen_ai.request.temperature", 0.5, 0.5),
    "top_p": ("gen_ai.request.top_p", 0.25, 0.25),
    "top_k": ("gen_ai.request.top_k", 7, 7),
    "seed": ("gen_ai.request.seed", 3, 3),
    "stop": ("gen_ai.request.stop_sequences", "x", ("x",)),
    "presence_penalty": ("gen_ai.request.presence_penalty", 0.1, 0.1),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", 0.2, 0.2),
}
REASONED = {
    "max_tokens": ("gen_ai.request.max_tokens", 9000, 9000),
    "reasoning": ("gen_ai.request.reasoning.level", "high", "high"),
    "output": ("gen_ai.output.type", JSONSchema("a", {"type": "object", "properties": {}}), "json"),
}
MODELS = (  # one of each protocol, and those that have names of their own for some of it
    *("openai-chat:m", "mistral:magistral-medium", "cohere:m", "openrouter:m", "llama-server:m"),
    *("openai-responses:m", "anthropic:claude-opus-4-6", "google:gemini-3-pro", "ollama:gpt-oss"),
    *("google-interactions:gemini-3-pro", "vertex-interactions:gemini-3-pro", "brainwires:m"),
    *("bedrock:anthropic.claude-opus-4-6-v1:0", "bedrock:amazon.nova-2-lite-v1:0"),
    *("bedrock:openai.gpt-oss-120b-1:0", "bedrock:m"),
)


@pytest.mark.parametrize("options", [SAMPLED, REASONED], ids=["sampling", "reasoning"])
@pytest.mark.parametrize("model", MODELS)
def test_everything_that_is_set_on_a_request_and_sent_is_an_attribute(
    model: str, options: dict[str, tuple[str, Any, Any]]
) -> None:
    args = {option: value for option, (_, value, _) in options.items()}
    recorded, error = run([WRONG], model=model, args=args)
    assert isinstance(error, InvalidRequestError), error
    with Client(model, api_key="k", base_url="http://127.0.0.1:9") as client:
        report = client.prepare("the question", **args).report
    outcomes = {each.field.partition(".")[0]: each.outcome for each in report.deviations}
    found = {name: recorded.span.attributes.get(name) for name, _, _ in options.values()}

    for option, (name, _, value) in options.items():
        sent = found[name].lower() if isinstance(found[name], str) else found[name]
        outcome = outcomes.get(option)
        is_right = sent == value if outcome is None else sent is not None or outcome != "adapted"
        assert is_right, (option, found, report)


def test_every_protocol_is_in_the_table_of_options() -> None:
    names = {PROVIDERS[model.partition(":")[0]].protocol().name for model in MODELS}
    assert names == {row.protocol().name for row in PROVIDERS.values()}


# The first word of a row's name, for those that the conventions list; any other provider has its own name.
FAMILIES = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "vertex": "gcp.vertex_ai",
    "google": "gcp.gemini",
    "xai": "x_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "deepseek": "deepseek",
}


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_built_in_provider_has_the_name_of_the_conventions(name: str) -> None:
    assert provider_of(name) == FAMILIES.get(name.partition("-")[0], name)


def test_what_the_provider_keeps_is_named() -> None:
    options = OpenAIResponsesOptions(conversation="conv_1")
    recorded, _ = run([WRONG], model="openai-responses:m", args={"provider_options": options})
    assert recorded.span.attributes["gen_ai.conversation.id"] == "conv_1"
    options = OpenAIResponsesOptions(previous_response_id="resp_1", store=True)
    recorded, _ = run([WRONG], model="openai-responses:m", args={"provider_options": options})
    assert recorded.span.attributes["gen_ai.request.previous_response.id"] == "resp_1"
    assert recorded.span.attributes["openai.api.type"] == "responses"


def planned(body: Any = None, model: str = "openai-chat:m", **changes: Any) -> Any:
    """A plan whose body is given."""
    session: Any = AsyncClient(model, api_key="k", base_url="https://e.org", telemetry=True)._session
    plan = session.plan("the question", {}, stream=False)
    call = replace(plan.call, body=plan.call.body if body is None else body)
    return replace(plan, call=call, **changes)


def within(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


PLACES = [
    *((), ("generationConfig",), ("generation_config",), ("inferenceConfig",), ("options",)),
    *(("additionalModelRequestFields",), ("additionalModelRequestFields", "inferenceConfig")),
]
# names of one option in the protocols' bodies: the attribute, a value, and how it is recorded
OPTIONS: dict[str, tuple[str, Any, Any]] = {
    "max_tokens max_completion_tokens max_output_tokens maxOutputTokens maxTokens num_predict": (
        *("request.max_tokens", 7.0),
        7,
    ),
    "temperature": ("request.temperature", 1, 1.0),
    "top_p topP": ("request.top_p", 1, 1.0),
    "top_k topK": ("request.top_k", 7, 7),
    "seed random_seed": ("request.seed", 7, 7),
    "presence_penalty presencePenalty": ("request.presence_penalty", -2, -2.0),
    "frequency_penalty frequencyPenalty": ("request.frequency_penalty", 0, 0.0),
    "stop stop_sequences stopSequences": ("request.stop_sequences", ("x", "y"), ["x", "y"]),
    "n candidateCount": ("request.choice.count", 2, 2),
}


@pytest.mark.parametrize("names", OPTIONS)
def test_every_name_of_an_option_is_found_at_every_place(names: str) -> None:
    attribute, value, recorded = OPTIONS[names]
    for name in names.split():
        for place in PLACES:
            found = request_attributes(planned(within(place, {name: value, "x": 1})))
            assert found == {f"gen_ai.{attribute}": recorded, "openai.api.type": "chat_completions"}
            assert type(found[f"gen_ai.{attribute}"]) is type(recorded)
    first, *others = names.split()
    both = dict.fromkeys(others) | {first: None, others[-1] if others else first: value}
    assert request_attributes(planned(both))[f"gen_ai.{attribute}"] == recorded


EFFORTS = [
    *("reasoning_effort", "reasoning effort", "output_config effort", "outputConfig effort", "think"),
    *("generationConfig thinkingConfig thinkingLevel", "generation_config thinking_level"),
    "additionalModelRequestFields reasoningConfig maxReasoningEffort",
    "additionalModelRequestFields reasoning_effort",
]
FORMATS = [
    *("response_format mime_type", "response_format type", "outputConfig textFormat type", "format"),
    *("text format type", "output_config format type", "generationConfig responseMimeType"),
]
# a body: all attributes of it but the API's type
ASKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "nothing": ({}, {}),
    **{
        path: (within(tuple(path.split()), "low"), {"gen_ai.request.reasoning.level": "low"})
        for path in EFFORTS
    },
    **{f"{path}: not said": (within(tuple(path.split()), True), {}) for path in EFFORTS},
    **{f"{path}: empty": (within(tuple(path.split()), ""), {}) for path in EFFORTS},
    **{
        f"{path}: {kind}": (within(tuple(path.split()), kind), {"gen_ai.output.type": output})
        for path in FORMATS
        for kind, output in (
            *(("text", "text"), ("text/plain", "text")),
            *(("json_schema", "json"), ("application/json", "json")),
        )
    },
    "a format by its schema": ({"format": {"type": "object"}}, {"gen_ai.output.type": "json"}),
    "numbers that are none": ({"temperature": True, "top_p": "1", "seed": None, "max_tokens": [3]}, {}),
    "one stop": ({"stop": "xy"}, {"gen_ai.request.stop_sequences": ["xy"]}),
    "no stops": ({"stop": []}, {}),
    "one answer": ({"n": 1}, {}),
    "a number of answers that is none": ({"n": True}, {}),
    "a number of answers that is a word": ({"n": "2"}, {}),
    "a tier": ({"service_tier": "flex"}, {"openai.request.service_tier": "flex"}),
    "the usual tier": ({"service_tier": "auto"}, {}),
    "a tier that is none": ({"service_tier": 3}, {}),
    "a conversation": ({"conversation": "c"}, {"gen_ai.conversation.id": "c"}),
    "a conversation's object": ({"conversation": {"id": "c"}}, {"gen_ai.conversation.id": "c"}),
    "a conversation of no name": ({"conversation": {"id": 3}}, {}),
    "an earlier response": ({"previous_response_id": "r"}, {"gen_ai.request.previous_response.id": "r"}),
    "an earlier response of no name": ({"previous_response_id": 3}, {}),
    "options that are none": (
        {"options": "x", "generationConfig": ["seed"], "text": "x", "reasoning": 3},
        {},
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_a_body_asks_for(name: str) -> None:
    body, attributes = ASKED[name]
    plan = planned(body)
    assert request_attributes(plan) == attributes | {"openai.api.type": "chat_completions"}
    streamed = {"gen_ai.request.stream": True} | attributes | {"openai.api.type": "chat_completions"}
    assert request_attributes(replace(plan, stream=True)) == streamed
    assert request_attributes(replace(plan, operation="embeddings")) == {}
    elsewhere = {each: value for each, value in attributes.items() if not each.startswith("openai.")}
    assert request_attributes(planned(body, "groq:m")) == elsewhere


# the provider: which of OpenAI's interfaces its requests are of
INTERFACES = {
    **dict.fromkeys(("openai-chat", "azure-chat"), "chat_completions"),
    **dict.fromkeys(("openai-responses", "openai-responses-ws", "azure", "azure-ws"), "responses"),
    **dict.fromkeys(("groq", "xai", "deepseek-responses", "anthropic", "bedrock-openai"), None),
}


@pytest.mark.parametrize("provider", INTERFACES)
def test_what_only_openai_has(provider: str) -> None:
    plan = planned({"service_tier": "flex"}, f"{provider}:m")
    extra = {"service_tier": "default", "system_fingerprint": "fp"}
    answer = replace(plan.target.protocol.decoder(plan.target.origin).partial(), extra=extra)
    found = request_attributes(plan) | response_attributes(plan, answer, "stop")
    expected = {
        "openai.api.type": INTERFACES[provider],
        "openai.request.service_tier": "flex",
        "openai.response.service_tier": "default",
        "openai.response.system_fingerprint": "fp",
    }
    is_openai = INTERFACES[provider] is not None
    assert {name: value for name, value in found.items() if "openai" in name} == (
        expected if is_openai else {}
    )


# what a response has: its attributes
ANSWERED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "names": ({"id": "r", "model": "m-1"}, {"gen_ai.response.id": "r", "gen_ai.response.model": "m-1"}),
    "empty names": ({"id": "", "model": ""}, {}),
    "other types": ({"extra": {"service_tier": 3, "system_fingerprint": None, "other": "x"}}, {}),
    "a whole history": (
        {"report": Report(continuation=Continuation(3, 3, None, "no response is known"))},
        {
            "brainwires.continuation.sent": 3,
            "brainwires.continuation.of": 3,
            "brainwires.continuation.reason": "no response is known",
        },
    ),
    "a continued one": (
        {"report": Report(continuation=Continuation(1, 3, "resp_1"))},
        {
            "brainwires.continuation.sent": 1,
            "brainwires.continuation.of": 3,
            "gen_ai.request.previous_response.id": "resp_1",
        },
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_a_response_states(name: str) -> None:
    fields, attributes = ANSWERED[name]
    answer = Response(**{**EMPTY, **fields})
    found = response_attributes(planned(), answer, "length")
    assert found == attributes | {"gen_ai.response.finish_reasons": ["length"]}


EMPTY: dict[str, Any] = {
    "id": None,
    "provider": "p",
    "model": None,
    "message": Message("assistant", ()),
    "finish_reason": "stop",
    "raw_finish_reason": None,
    "usage": Usage(),
}
COUNTS = {
    "cache_read": "cache_read.input_tokens",
    "cache_write": "cache_write.input_tokens",
    "reasoning": "reasoning.output_tokens",
    "audio_input": "audio.input_tokens",
}


def test_every_count_of_a_special_kind() -> None:
    for field, name in COUNTS.items():
        usage = Usage(uncached_input=40, output_text=10, **{field: 3})
        taken = (40, 13) if field == "reasoning" else (43, 10)
        found = usage_attributes(usage, is_embedding=False)
        both = {"gen_ai.usage.input_tokens": taken[0], "gen_ai.usage.output_tokens": taken[1]}
        assert found == both | {f"gen_ai.usage.{name}": 3}
    assert usage_attributes(Usage(uncached_input=40), is_embedding=True) == {"gen_ai.usage.input_tokens": 40}


# -- what every call has ---------------------------------------------------------------------------------------

# name: its unit, its description
INSTRUMENTS = {
    "gen_ai.client.inference.duration": ("s", "Duration of an operation"),
    "gen_ai.client.inference.time_to_first_chunk": ("s", "Time to the first chunk"),
    "gen_ai.client.inference.time_per_output_chunk": ("s", "Time between two chunks"),
    "gen_ai.client.inference.operation.input_tokens": ("{token}", "Tokens of one operation"),
    "gen_ai.client.inference.operation.output_tokens": ("{token}", "Tokens of one operation"),
    "gen_ai.client.inference.usage.input_tokens": ("{token}", "Input tokens used, cached ones included"),
    "gen_ai.client.inference.usage.output_tokens": ("{token}", "Output tokens used, reasoning included"),
    "gen_ai.client.inference.usage.cache_read.input_tokens": ("{token}", "Input tokens read from a cache"),
    "gen_ai.client.inference.usage.cache_write.input_tokens": ("{token}", "Input tokens written to a cache"),
    "gen_ai.client.inference.usage.reasoning.output_tokens": ("{token}", "Output tokens used for reasoning"),
    "gen_ai.client.embeddings.duration": ("s", "Duration of an operation"),
    "gen_ai.client.embeddings.operation.input_tokens": ("{token}", "Tokens of one operation"),
    "gen_ai.execute_tool.duration": ("s", "Duration of a tool call"),
}


def test_every_instrument_has_its_unit_its_bounds_and_the_library_s_scope() -> None:
    recorded = Recorded()
    made = Instruments(recorded.settings)
    chat = made.begin(planned(stream=True))
    embedding = made.begin(planned(operation="embeddings"))
    assert chat is not None and embedding is not None
    usage = Usage(uncached_input=1, cache_read=2, cache_write=4, output_text=8, reasoning=16)
    for _ in range(3):
        chat.chunk()
    chat.answered(Response(**EMPTY | {"usage": usage}), None, 1)
    embedding.answered(None, SimpleNamespace(usage=usage), 1)
    with tool_span(made, ToolCallPart("c", "t", "{}")):
        pass
    data = recorded.reader.get_metrics_data()
    assert data is not None
    (scope,) = (each for some in data.resource_metrics for each in some.scope_metrics)
    assert {scope.scope, *(span.instrumentation_scope for span in recorded.spans)} == {
        InstrumentationScope("brainwires_provider", __version__, SCHEMA_URL)
    }
    assert {each.name: (each.unit, each.description) for each in scope.metrics} == INSTRUMENTS
    bounds = {"s": [0.01 * 2**n for n in range(14)], "{token}": [4**n for n in range(14)]}
    points = {each.name: list(each.data.data_points) for each in scope.metrics}
    for name, (unit, _) in INSTRUMENTS.items():
        if ".usage." not in name:
            assert list(points[name][0].explicit_bounds) == pytest.approx(bounds[unit]), name
    sums = {name: sum(getattr(point, "value", 0) for point in points[name]) for name in COUNTERS}
    assert [sums[name] for name in INSTRUMENTS if name in sums] == [7, 24, 2, 4, 16]
    of_one = [points[f"gen_ai.client.inference.operation.{side}_tokens"][0] for side in ("input", "output")]
    assert [(point.count, point.sum) for point in of_one] == [(1, 7), (1, 24)]
    (chunks,) = points["gen_ai.client.inference.time_per_output_chunk"]
    assert chunks.count == 2


# the URL: the attributes of its server
SERVERS: dict[str, dict[str, Any]] = {
    "https://e.org/v1": {"server.address": "e.org", "server.port": 443},
    "http://e.org": {"server.address": "e.org", "server.port": 80},
    "ws://e.org": {"server.address": "e.org", "server.port": 80},
    "wss://e.org": {"server.address": "e.org", "server.port": 443},
    "http://[::1]:8080/": {"server.address": "::1", "server.port": 8080},
    "": {},
}


@pytest.mark.parametrize("url", SERVERS)
@pytest.mark.parametrize("model", ["m", ""])
def test_what_identifies_a_call_is_on_its_span_and_metrics(model: str, url: str) -> None:
    recorded = Recorded()
    plan = planned({"n": 1})
    trace_of = Instruments(recorded.settings).begin(
        replace(plan, target=replace(plan.target, base_url=url, model=model))
    )
    assert trace_of is not None
    trace_of.left(None, 0, ())
    named = {"gen_ai.request.model": model} if model else {}
    labels = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"} | named | SERVERS[url]
    assert recorded.span.name == f"chat {model}".strip()
    assert dict(recorded.span.attributes) == labels | {
        "brainwires.attempts": 0,
        "error.type": "cancelled",
        "openai.api.type": "chat_completions",
    }
    (duration,) = recorded.points["gen_ai.client.inference.duration"]
    assert dict(duration.attributes) == labels | {"error.type": "cancelled"}
    counted = [point for name in COUNTERS for point in recorded.points.get(name, ())]
    unknown = {"gen_ai.token.modality": "unknown"}
    assert [(dict(point.attributes), point.value) for point in counted] == [(labels | unknown, 0)] * 2


USED = Usage(uncached_input=3, output_text=4)
PARTIAL: Any = {"id": "r", "model": "m-1", "usage": USED}
REFUSED = InvalidRequestError("no such thing as the question", status=400)
# how a call ends: the attributes beside those that every call has, and whether its model is on its metrics
ENDED: dict[str, tuple[Callable[[Any], None], dict[str, Any], bool]] = {
    "an embedding without usage": (lambda call: call.answered(None, object(), 1), {}, False),
    "left with nothing": (lambda call: call.left(None, 1, ()), {"error.type": "cancelled"}, False),
    "left with a part": (
        lambda call: call.left(Response(**EMPTY | PARTIAL), 1, ()),
        {"error.type": "cancelled", "gen_ai.response.finish_reasons": ("error",)},
        True,
    ),
    "failed": (
        lambda call: call.failed(copy.copy(REFUSED), 1),
        {"error.type": "InvalidRequestError", "gen_ai.response.finish_reasons": ("error",)},
        False,
    ),
    "failed with a part": (
        lambda call: call.failed(StreamInterrupted("x", how="eof", partial=Response(**EMPTY | PARTIAL)), 1),
        {"error.type": "StreamInterrupted", "gen_ai.response.finish_reasons": ("error",)},
        True,
    ),
    "answered": (
        lambda call: call.answered(Response(**EMPTY | PARTIAL), None, 1),
        {"gen_ai.response.finish_reasons": ("stop",)},
        True,
    ),
}


@pytest.mark.parametrize("name", ENDED)
def test_how_a_call_ends_is_on_its_span_and_metrics(name: str) -> None:
    end, attributes, has_answer = ENDED[name]
    recorded = Recorded()
    call = Instruments(recorded.settings).begin(planned({}))
    end(call)
    found = dict(recorded.span.attributes)
    answer = {
        "gen_ai.response.id": "r",
        "gen_ai.response.model": "m-1",
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 4,
    }
    usual = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address"}
    usual |= {"server.port", "brainwires.attempts", "openai.api.type"}
    assert {name: value for name, value in found.items() if name not in usual} == (
        attributes | (answer if has_answer else {})
    )
    for each in (point for some in recorded.points.values() for point in some):
        assert each.attributes.get("gen_ai.response.model") == ("m-1" if has_answer else None)
    assert ("gen_ai.client.inference.operation.input_tokens" in recorded.points) is has_answer


def test_what_an_embedding_states() -> None:
    for result, attributes in (
        (SimpleNamespace(vectors=[[1.0, 2.0]], model="e"), {"dimension": 2, "model": "e"}),
        (SimpleNamespace(vectors=[], model=""), {"dimension": None, "model": None}),
        (object(), {"dimension": None, "model": None}),
    ):
        recorded = Recorded()
        call = Instruments(recorded.settings).begin(planned({}, operation="embeddings"))
        assert call is not None
        call.answered(None, result, 2)
        found = recorded.span.attributes
        assert found.get("gen_ai.embeddings.dimension.count") == attributes["dimension"]
        assert found.get("gen_ai.response.model") == attributes["model"] and found["brainwires.attempts"] == 2
        (duration,) = recorded.points["gen_ai.client.embeddings.duration"]
        assert duration.attributes.get("gen_ai.response.model") == attributes["model"]


def test_the_model_that_a_call_goes_on_with_is_on_all_that_follows() -> None:
    recorded = Recorded()
    call = Instruments(recorded.settings).begin(planned({}))
    assert call is not None
    call.follow(planned({}, "google:g"))
    call.failed(REFUSED, 2)
    names = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "g",
    }
    assert recorded.span.name == "generate_content g" and "openai.api.type" not in recorded.span.attributes
    points = (point for some in recorded.points.values() for point in some)
    for attributes in (recorded.span.attributes, *(point.attributes for point in points)):
        assert {name: attributes[name] for name in names} == names


# -- attempts, content ---------------------------------------------------------------------------------------


def test_each_failed_attempt_is_an_event_of_the_span() -> None:
    recorded, _ = run([BUSY, DOWN, WRONG])
    assert [event.event_name for event in recorded.events] == ["gen_ai.client.inference.exception"] * 3
    known = [
        (each.attributes["exception.type"], each.attributes["http.response.status_code"])
        for each in recorded.events
    ]
    errors = "brainwires_provider.errors."
    assert known == [
        (f"{errors}RateLimitError", 429),
        (f"{errors}OverloadedError", 503),
        (f"{errors}InvalidRequestError", 400),
    ]
    lost, _ = run([Answer(drop=True)] * 2, retry=Retry(1))
    assert [dict(each.attributes) for each in lost.events] == [{"exception.type": f"{errors}TransportError"}]
    for event in recorded.events:
        assert event.severity_number.value == 13 and event.trace_id == recorded.span.context.trace_id
        assert event.span_id == recorded.span.context.span_id and "exception.message" not in event.attributes


def test_what_an_event_states_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: dict[Any, dict[str, Any]] = {
        InvalidRequestError("x", status=400): {
            "exception.type": "brainwires_provider.errors.InvalidRequestError",
            "http.response.status_code": 400,
        },
        APIError("x", status=None): {"exception.type": "brainwires_provider.errors.APIError"},
        ConfigError("x"): {"exception.type": "brainwires_provider.errors.ConfigError"},
        KeyError("x"): {"exception.type": "builtins.KeyError"},
    }
    for switch in ("NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"):
        monkeypatch.setenv(SWITCH, switch)
        recorded = Recorded()
        call = Instruments(recorded.settings).begin(planned())
        assert call is not None
        for error in kinds:
            call.retried(error, is_recovery=False)
        call.failed(next(iter(kinds)), len(kinds))
        *found, last = (dict(event.attributes) for event in recorded.events)
        said = [{"exception.message": str(error)} if "EVENT" in switch else {} for error in kinds]
        assert found == [each | words for each, words in zip(kinds.values(), said, strict=True)]
        assert last == found[0]
        assert all(0 < event.timestamp <= time.time_ns() for event in recorded.events)
        description = recorded.span.status.description
        assert (description or "") == ("x" if switch.startswith("SPAN") else "")


def content(recorded: Recorded) -> tuple[bool, bool]:
    on_span = any(
        "question" in f"{dict(span.attributes)} {span.status.description}" for span in recorded.spans
    )
    in_events = any("question" in str(dict(event.attributes)) for event in recorded.events)
    return on_span, in_events


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        (None, (False, False)),
        ("NO_CONTENT", (False, False)),
        ("true", (False, False)),
        ("span_only", (True, False)),
        ("EVENT_ONLY", (False, True)),
        ("SPAN_AND_EVENT", (True, True)),
    ],
)
def test_content_only_as_the_switch_says(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    switch: str | None,
    expected: tuple[bool, bool],
) -> None:
    if switch is not None:
        monkeypatch.setenv(SWITCH, switch)
    recorded, _ = run(
        [BUSY, GOOD], args={"system": "be brief", "tools": [Tool("t", "", {}), HostedTool("web")]}
    )
    assert content(recorded) == expected
    failed, _ = run([BUSY], retry=Retry(1))
    assert content(failed) == expected
    assert bool(caplog.records) is (switch == "true")
    if expected[0]:
        attributes = recorded.span.attributes
        (said,) = json.loads(attributes["gen_ai.input.messages"])
        assert said == {"role": "user", "parts": [{"type": "text", "content": "the question"}]}
        (answer,) = json.loads(attributes["gen_ai.output.messages"])
        assert answer["finish_reason"] == "stop" and answer["parts"][0]["content"] == "Hello"
        assert json.loads(attributes["gen_ai.system_instructions"]) == [
            {"type": "text", "content": "be brief"}
        ]
        tools = json.loads(attributes["gen_ai.tool.definitions"])
        assert tools == [{"type": "function", "name": "t"}, {"type": "web", "name": "web"}]
    if expected[1]:
        details = recorded.events[-1]
        assert details.event_name == "gen_ai.client.inference.operation.details"
        assert details.severity_number.value == 9 and details.span_id == recorded.span.context.span_id
        assert details.attributes.keys() >= REQUIRED | IF_AVAILABLE
        assert details.attributes["gen_ai.input.messages"][0]["role"] == "user"  # structured


LEAKY = (
    500,
    {"x-request-id": "sk-secret"},
    b'{"error": {"message": "no: sk-secret is known", "type": "server_error", "param": "sk-secret"}}',
)


@pytest.mark.parametrize(
    ("answers", "how"),
    [
        ([Answer(*LEAKY)], "chat"),
        (
            [
                Answer(
                    headers=LEAKY[1],
                    body=[sse(chunk({"reasoning_content": "Hm."}), json.loads(LEAKY[2]), done=False)],
                )
            ],
            "stream",
        ),
    ],
    ids=["refused", "an error after reasoning"],
)
def test_a_key_that_an_error_repeats_is_shown_to_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answers: list[Answer], how: str
) -> None:
    """Retried attempts, the other model's, and the last: events, log, hooks, conditions, attempts."""
    monkeypatch.setenv(SWITCH, "SPAN_AND_EVENT")
    seen: list[Any] = []

    def noted(error: Any) -> bool:
        seen.append((str(error), error.args, error.body))
        return True

    caplog.set_level("DEBUG", "brainwires_provider")
    settings: Any = {"retry": Retry(2, base=0), "fallback": [Fallback("openai-chat:other", on=noted)]}
    recorded, error = run(
        answers * 4, how, on_error=lambda call, error: seen.append((error, error.args)), **settings
    )
    assert isinstance(error, APIError) and len(error.attempts) == 4 and len(seen) == 2
    events = [dict(event.attributes) for event in recorded.events]
    messages = [event["exception.message"] for event in events if "exception.message" in event]
    assert len(messages) == 4 and all("[redacted]" in message for message in messages)
    spans = [(dict(span.attributes), span.status.description) for span in recorded.spans]
    assert "sk-secret" not in repr((events, spans, seen, error.attempts, vars(error), caplog.text))


def test_every_kind_of_part_has_a_form() -> None:
    recorded = Recorded()
    history = [
        Message.user(
            "Hi",
            ImagePart(b"\x89PNG\r\n\x1a\n", media_type="image/png"),
            FilePart(b"%PDF-1.4 x", media_type="application/pdf"),
        ),
        Message("assistant", (RefusalPart("No."), ReasoningPart("", summary=("One.", "Two.")))),
        Message(
            "assistant",
            (ReasoningPart("Hm."), ToolCallPart("c1", "t", "{}"), OpaquePart("web_search_call", {"a": 1})),
        ),
        Message("tool", (ToolResultPart("c1", (TextPart("3"),)),)),
    ]
    client = AsyncClient("openai-responses:m", api_key="k", telemetry=recorded.settings)
    session: Any = client._session
    plan = session.plan(history, {}, stream=False)
    answer = plan.target.protocol.decoder(plan.target.origin).partial()
    found = content_of(plan, answer, "tool_calls")
    assert found["gen_ai.output.messages"][0]["finish_reason"] == "tool_call"
    parts = [part for message in found["gen_ai.input.messages"] for part in message["parts"]]
    assert parts == [
        {"type": "text", "content": "Hi"},
        {"type": "image", "mime_type": "image/png"},
        {"type": "file", "mime_type": "application/pdf"},
        {"type": "text", "content": "No."},
        {"type": "reasoning", "content": "One.\nTwo."},
        {"type": "reasoning", "content": "Hm."},
        {"type": "tool_call", "id": "c1", "name": "t", "arguments": "{}"},
        {"type": "web_search_call"},
        {"type": "tool_call_response", "id": "c1", "response": [{"type": "text", "content": "3"}]},
    ]


def test_forms_of_parts_that_have_a_part_of_their_own() -> None:
    plan, picture = planned(), ImagePart(b"\x89PNG\r\n\x1a\n", media_type="image/png")
    content = (
        RefusalPart("no"),
        ReasoningPart("", summary=("one", "two")),
        ReasoningPart("Hm.", summary=("one",)),
        ToolCallPart("", "t", "{}"),
    )
    asked = Message("tool", (ToolResultPart("c", (picture, FilePart(b"a", media_type="text/csv"))),))
    answer = Response(**EMPTY | {"message": Message("assistant", content)})
    found = content_of(replace(plan, request=Request((asked,))), answer, "length")
    assert found == {
        "gen_ai.input.messages": [
            {
                "role": "tool",
                "parts": [
                    {
                        "type": "tool_call_response",
                        "id": "c",
                        "response": [
                            {"type": "image", "mime_type": "image/png"},
                            {"type": "file", "mime_type": "text/csv"},
                        ],
                    }
                ],
            }
        ],
        "gen_ai.output.messages": [
            {
                "role": "assistant",
                "parts": [
                    {"type": "text", "content": "no"},
                    {"type": "reasoning", "content": "one\ntwo"},
                    {"type": "reasoning", "content": "Hm."},
                    {"type": "tool_call", "id": "", "name": "t", "arguments": "{}"},
                ],
                "finish_reason": "length",
            }
        ],
    }
    assert content_of(replace(plan, request=None), answer, "stop").keys() == {"gen_ai.output.messages"}


# -- where it belongs ----------------------------------------------------------------------------------------


def test_the_caller_s_span_is_the_parent_and_stays_untouched_on_both_faces() -> None:
    recorded = Recorded()
    tracer = recorded.tracers.get_tracer("test")
    with ScriptedServer([GOOD, STREAM]) as server:
        settings: Any = {"base_url": server.url, "api_key": "k", "telemetry": recorded.settings}
        with Client("openai-chat:m", **settings) as client, tracer.start_as_current_span("mine") as mine:
            client.chat("Hi")
            assert list(client.stream("Hi")) and trace.get_current_span() is mine
            assert mine.is_recording()
    *calls, outer = recorded.spans
    assert outer.name == "mine" and not dict(outer.attributes) and not outer.events
    assert [span.parent.span_id for span in calls] == [outer.context.span_id] * 2


def test_traceparent_goes_out_where_the_caller_asks() -> None:
    recorded, _ = run([BUSY, GOOD])
    assert [each.header("traceparent") for each in recorded.server.requests] == [None, None]  # type: ignore[attr-defined]
    recorded, _ = run([BUSY, GOOD], recorded=Recorded(traceparent=True))
    context = recorded.span.context
    sent = [each.header("traceparent") for each in recorded.server.requests]  # type: ignore[attr-defined]
    assert sent == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"] * 2


def test_what_the_caller_s_process_notes_beside_its_trace_stays_there() -> None:
    token = attach(baggage.set_baggage("user.email", "someone@example.com"))
    try:
        recorded, _ = run([GOOD], recorded=Recorded(traceparent=True))
    finally:
        detach(token)
    (request,) = recorded.server.requests  # type: ignore[attr-defined]
    assert request.header("traceparent") and request.header("baggage") is None


def test_over_a_websocket_continuation_and_lane_are_attributes_and_one_connection_serves_all() -> None:
    recorded = Recorded(traceparent=True)

    async def main(server: ScriptedSocket) -> int:
        settings: Any = {"providers": [config(server.base_url, LANES)], "telemetry": recorded.settings}
        async with AsyncClient("openai-responses-ws:m", **settings) as client:
            conversation = client.conversation()
            await conversation.chat("Hi")
            await conversation.chat("And?")
            return client.responses.websocket_stats.connected

    with ScriptedSocket(ResponsesService()) as server:
        assert asyncio.run(main(server)) == 1
    first, second = (dict(span.attributes) for span in recorded.spans)
    names = ("", ".recoveries", ".lane")
    for each in (first, second):
        assert [each[f"brainwires.websocket{name}"] for name in names] == [True, 0, "lane-0"]
    assert first["brainwires.continuation.reason"] and "brainwires.continuation.reason" not in second
    assert "gen_ai.request.previous_response.id" not in first
    assert second["gen_ai.request.previous_response.id"] == first["gen_ai.response.id"]
    assert second["brainwires.continuation.sent"] < second["brainwires.continuation.of"]


def test_the_steps_of_a_websocket_s_recovery_are_counted() -> None:
    limit = [refusal("websocket_connection_limit_reached"), CloseFrame(1000)]
    busy = [refusal("server_is_overloaded", status=503)]
    recorded = Recorded()

    async def main(server: ScriptedSocket) -> Any:
        settings: Any = {"base_url": server.base_url, "api_key": "k", "telemetry": recorded.settings}
        async with AsyncClient("openai-responses-ws:m", **settings) as client:
            noted(client)
            return await client.chat("Hi")

    with ScriptedSocket([[limit], [busy], [answer("r3", "new")]]) as server:
        assert asyncio.run(main(server)).text == "new"
    assert recorded.span.attributes["brainwires.websocket.recoveries"] == 1
    assert recorded.span.attributes["brainwires.attempts"] == 3 and len(recorded.events) == 2


# -- tools ---------------------------------------------------------------------------------------------------


def test_tool_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    call = ToolCallPart("c1", "add", '{"a": "question"}')
    recorded = Recorded()
    made = Instruments(recorded.settings)
    with tool_span(made, call, "Adds.") as span:
        assert trace.get_current_span().is_recording()
        span.set_result("3 question")
    with pytest.raises(ZeroDivisionError), tool_span(made, call):
        raise ZeroDivisionError
    with tool_span(made, ToolCallPart("", "add", "{}")) as span:
        span.fail("timeout")
    good, raised, reported = recorded.spans
    assert good.name == "execute_tool add" and good.kind is trace.SpanKind.INTERNAL
    assert dict(good.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.tool.description": "Adds.",
    }
    assert raised.attributes["error.type"] == "ZeroDivisionError" and not raised.events
    assert reported.attributes["error.type"] == "timeout"
    assert reported.status.status_code is trace.StatusCode.ERROR
    durations = recorded.points["gen_ai.execute_tool.duration"]
    kinds = [point.attributes.get("error.type") for point in durations]
    for point in durations:
        labels = {name: value for name, value in point.attributes.items() if name != "error.type"}
        assert labels == {"gen_ai.tool.name": "add", "gen_ai.tool.type": "function"} and point.sum < 60
    assert sorted(map(str, kinds)) == ["None", "ZeroDivisionError", "timeout"]
    monkeypatch.setenv(SWITCH, "SPAN_ONLY")
    recorded = Recorded()
    with tool_span(Instruments(recorded.settings), call) as span:
        span.set_result("3")
    assert recorded.span.attributes["gen_ai.tool.call.arguments"] == '{"a": "question"}'
    assert recorded.span.attributes["gen_ai.tool.call.result"] == "3"


# -- settings ------------------------------------------------------------------------------------------------


def test_off_nothing_is_imported() -> None:
    code = (
        "import sys; from brainwires_provider import Client\n"
        "from brainwires_provider.testing import Answer, ScriptedServer\n"
        f"with ScriptedServer(Answer(body={WHOLE!r})) as server, "
        "Client('openai-chat:m', base_url=server.url, api_key='k') as client:\n"
        "    client.chat('Hi')\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brainwires_provider._core.telemetry", None)
    with pytest.raises(ConfigError, match=r"brainwires-provider\[otel\]"):
        AsyncClient("openai-chat:m", api_key="k", telemetry=True)


def test_in_a_file(tmp_path: Any) -> None:
    path = tmp_path / "brainwires.toml"
    for text, expected in (
        ("telemetry = true", Telemetry()),
        ("telemetry = false", None),
        ("[telemetry]\ntraceparent = true", Telemetry(traceparent=True)),
    ):
        path.write_text(text)
        config = load_config(path)
        assert config.telemetry == expected
        client: Any = AsyncClient("openai-chat:m", api_key="k", config=config)
        made = client._session.instruments
        assert (None if made is None else made.settings) == expected
    for text in ("telemetry = 3", "[telemetry]\ntracer_provider = 1"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="telemetry"):
            load_config(path)


class Broken:
    """A processor, as a user's mistake makes one."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            if name == self.method:
                raise RuntimeError("the processor is broken")
            return True

        return method


@pytest.mark.parametrize("how", ["chat", "stream", "embed", "leave", "failure"])
@pytest.mark.parametrize("method", ["on_start", "on_end"])
def test_what_a_processor_raises_breaks_no_call(
    method: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {"stream": STREAM, "embed": EMBEDDED, "leave": UNREAD, "failure": WRONG}
    recorded = Recorded(traceparent=True)
    recorded.tracers.add_span_processor(Broken(method))  # type: ignore[arg-type]
    _, found = run([answers.get(how, GOOD)], "chat" if how == "failure" else how, recorded=recorded)
    assert isinstance(found, APIError) is (how == "failure")
    assert "telemetry raised an exception" in caplog.text
    assert "RuntimeError: the processor is broken" in caplog.text
    with tool_span(Instruments(recorded.settings), ToolCallPart("c", "t", "{}")) as traced:
        traced.set_result("done")


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider", "logger_provider"])
def test_what_is_no_provider_is_named(name: str) -> None:
    with pytest.raises(TypeError, match=f"Telemetry.{name} takes a .*Provider of OpenTelemetry, not "):
        Telemetry(**{name: object()})


def test_a_client_with_providers_of_its_own_is_copied_and_not_pickled() -> None:
    settings = Recorded().settings
    assert copy.deepcopy(settings) is settings
    client = AsyncClient("openai-chat:m", telemetry=settings)
    other: Any = copy.deepcopy(client)
    assert other._session.instruments.settings.tracer_provider is not None
    with pytest.raises(TypeError, match="Telemetry with providers of its own cannot be pickled"):
        pickle.dumps(client)
    for name in ("tracer_provider", "meter_provider", "logger_provider"):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(Telemetry(**{name: getattr(settings, name)}))


def test_a_client_with_telemetry_can_be_copied() -> None:
    client = AsyncClient("openai-chat:m", telemetry=True)
    other: Any = pickle.loads(pickle.dumps(client))
    assert other._session.instruments.settings == Telemetry()


def test_a_run_has_a_span_for_each_call_which_is_current_in_its_tool() -> None:
    current: list[Any] = []

    def add(a: int) -> int:
        """Adds."""
        current.append(trace.get_current_span().get_span_context().span_id)
        return a

    async def fail() -> None:
        raise KeyError("question")

    calls = [("c1", "add", {"a": 1}), ("c2", "fail", {}), ("c3", "nothing", {})]
    recorded = Recorded()
    with (
        ScriptedServer(scripted(SERVICES["chat"], calls, "end")) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url, telemetry=recorded.settings) as client,
    ):
        client.run("hi", tools=[add, fail]).result()
    spans = {span.attributes["gen_ai.tool.name"]: span for span in recorded.spans if "tool" in span.name}
    assert sorted(spans) == ["add", "fail"]  # what was not run has none
    assert spans["add"].context.span_id == current[0] and "error.type" not in spans["add"].attributes
    assert spans["fail"].attributes["error.type"] == "KeyError"
    assert len([span for span in recorded.spans if "tool" not in span.name]) == 2
