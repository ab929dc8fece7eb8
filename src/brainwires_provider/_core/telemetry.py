"""Spans and metrics of OpenTelemetry, by the conventions for generative AI; loaded only for a client with `telemetry`.

One span covers a call with all its attempts, to the end of its stream; each attempt that failed is an event
(`gen_ai.client.inference.exception`), since the conventions have no span for one. Chats and embeddings have spans;
listing, counting and the like have none. No span is made the current one: the caller's stays what it is. What the
conventions do not name is below `brainwires.`.

https://github.com/open-telemetry/semantic-conventions-genai, as of `SCHEMA_URL`: docs/gen-ai/client-inference.md,
client-embeddings.md, execute-tool.md, gen-ai-token-metrics.md. 2026-11-29.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from opentelemetry import context, metrics, trace
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from brainwires_provider import __version__
from brainwires_provider._core.plan import Plan
from brainwires_provider._core.telemetry_values import (
    as_json,
    content_of,
    operation_of,
    provider_of,
    request_attributes,
    response_attributes,
    usage_attributes,
)
from brainwires_provider.errors import APIError, ProviderError
from brainwires_provider.transports.base import Exchange
from brainwires_provider.types import Attempt, Response, Telemetry, ToolCallPart, Usage

__all__ = ["SCHEMA_URL", "CallTrace", "Instruments", "ToolTrace", "suppressed", "tool_span"]

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai/{}.{}.{}".format(*(0, 1, 0))
"""The version of the conventions that everything here follows."""

_SCOPE = "brainwires_provider"
_TRACE_CONTEXT = TraceContextTextMapPropagator()
_SWITCH = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_ON_SPANS = ("SPAN_ONLY", "SPAN_AND_EVENT")
_ON_EVENTS = ("EVENT_ONLY", "SPAN_AND_EVENT")
_OFF = ("", "NO_CONTENT", "FALSE")
_SUPPRESSED = "brainwires.suppress_telemetry"
_SECONDS = [0.01 * 2**n for n in range(14)]
_TOKENS = [4.0**n for n in range(14)]


_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S")


def _harmless(record: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R | None]:
    """The same method, which no call fails with: what the user's providers and processors raise is logged."""

    @wraps(record)
    def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R | None:
        try:
            return record(self, *args, **kwargs)
        except Exception:
            logging.getLogger(_SCOPE).warning("telemetry raised an exception", exc_info=True)
            return None

    return guarded


@contextmanager
def suppressed() -> Iterator[None]:
    """No spans of calls that begin within: for a framework that records its calls itself."""
    token = context.attach(context.set_value(_SUPPRESSED, True))
    try:
        yield
    finally:
        context.detach(token)


class Instruments:
    """What one client records with."""

    def __init__(self, settings: Telemetry) -> None:
        self.settings = settings
        self.tracer = trace.get_tracer(_SCOPE, __version__, settings.tracer_provider, SCHEMA_URL)
        self.logger = get_logger(_SCOPE, __version__, settings.logger_provider, SCHEMA_URL)
        self._meter = metrics.get_meter(_SCOPE, __version__, settings.meter_provider, SCHEMA_URL)
        given = os.environ.get(_SWITCH, "").strip().upper()
        self.content_on_spans = given in _ON_SPANS
        self.content_on_events = given in _ON_EVENTS
        if given not in (*_OFF, *_ON_SPANS, *_ON_EVENTS):
            logging.getLogger(_SCOPE).warning(
                "%s takes NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT: no content is recorded",
                _SWITCH,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return Instruments, (self.settings,)

    def seconds(self, name: str, description: str) -> metrics.Histogram:
        """A histogram of durations."""
        known: metrics.Histogram | None = self.__dict__.get(name)
        if known is None:
            known = self.__dict__[name] = self._meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
            )
        return known

    @cached_property
    def counters(self) -> dict[str, metrics.Counter]:
        """Tokens used, by what they were."""
        return {
            kind: self._meter.create_counter(f"gen_ai.client.inference.usage.{kind}", "{token}", description)
            for kind, description in (
                ("input_tokens", "Input tokens used, cached ones included"),
                ("output_tokens", "Output tokens used, reasoning included"),
                ("cache_read.input_tokens", "Input tokens read from a cache"),
                ("cache_write.input_tokens", "Input tokens written to a cache"),
                ("reasoning.output_tokens", "Output tokens used for reasoning"),
            )
        }

    def tokens(self, name: str) -> metrics.Histogram:
        """A histogram of the tokens of single operations."""
        known: metrics.Histogram | None = self.__dict__.get(name)
        if known is None:
            known = self.__dict__[name] = self._meter.create_histogram(
                name, "{token}", "Tokens of one operation", explicit_bucket_boundaries_advisory=_TOKENS
            )
        return known

    @_harmless
    def start_tool(self, name: str, attributes: Mapping[str, Any]) -> Span:
        """A span of a tool call."""
        return self.tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes)

    @_harmless
    def begin(self, plan: Plan) -> CallTrace | None:
        """A span for a call that has one."""
        return None if not plan.operation or context.get_value(_SUPPRESSED) else CallTrace(self, plan)


class CallTrace:
    """One call, from its beginning to its end."""

    def __init__(self, instruments: Instruments, plan: Plan) -> None:
        self._made = instruments
        self._plan = plan
        self._operation = operation_of(plan)
        self._is_embedding = self._operation == "embeddings"
        self._base = self._identity(plan)
        self._began = time.perf_counter()
        self._recoveries = 0
        self._chunk_at = 0.0
        self._first_chunk = 0.0
        self._gaps: list[float] = []
        name = f"{self._operation} {plan.target.model}".rstrip()
        self._span: Span = instruments.tracer.start_span(name, kind=SpanKind.CLIENT, attributes=self._base)

    def _identity(self, plan: Plan) -> dict[str, Any]:
        """What every signal of the call has in common."""
        place = urlsplit(plan.target.base_url)
        shared: dict[str, Any] = {
            "gen_ai.operation.name": self._operation,
            "gen_ai.provider.name": provider_of(plan.target.row.name),
        }
        if plan.target.model:
            shared["gen_ai.request.model"] = plan.target.model
        if place.hostname:
            default = 80 if place.scheme in ("http", "ws") else 443
            shared |= {"server.address": place.hostname, "server.port": place.port or default}
        return shared

    @property
    def _context(self) -> Context:
        return trace.set_span_in_context(self._span)

    @_harmless
    def headers(self) -> Mapping[str, str]:
        """The headers that make the provider's spans children of this one, where the caller asks for them."""
        carrier: dict[str, str] = {}
        if self._made.settings.traceparent:
            _TRACE_CONTEXT.inject(
                carrier, self._context
            )  # not the process's propagators: they add its baggage
        return carrier

    @_harmless
    def follow(self, plan: Plan) -> None:
        """The call goes on with another model, which its signals name from now on."""
        self._plan = plan
        self._operation = operation_of(plan)
        self._base = self._identity(plan)
        self._span.set_attributes(self._base)
        self._span.update_name(f"{self._operation} {plan.target.model}".rstrip())

    def chunk(self) -> None:
        """Something of a stream has come. What comes at once is one chunk."""
        now = time.perf_counter()
        if self._chunk_at:
            self._gaps.append(now - self._chunk_at)
        else:
            self._first_chunk = now - self._began
        self._chunk_at = now

    @_harmless
    def retried(self, error: BaseException, *, is_recovery: bool) -> None:
        """An attempt has failed, and another follows, perhaps as a step of a WebSocket's recovery."""
        self._recoveries += is_recovery
        self._exception(error)

    # -- its end -----------------------------------------------------------------------------------------

    @_harmless
    def answered(self, response: Response | None, result: Any, attempts: int) -> None:
        """It has ended well: a chat with its response, another call with what it gave."""
        if response is None:
            usage, model = getattr(result, "usage", None), getattr(result, "model", None)
            self._span.set_attributes(_embedded(result))
            self._end(usage, model, attempts, None)
            return
        self._response(response, response.finish_reason)
        counted = [response.usage, *(each.usage for each in response.attempts)]
        self._end(response.usage, response.model, attempts, None, counted)

    @_harmless
    def failed(self, error: ProviderError, attempts: int) -> None:
        """It has ended with an error."""
        self._exception(error)
        partial: Response | None = getattr(error, "partial", None)
        if partial is not None:
            self._response(partial, "error")
        elif not self._is_embedding:
            self._span.set_attribute("gen_ai.response.finish_reasons", ["error"])
        if self._made.content_on_spans:
            self._span.set_status(Status(StatusCode.ERROR, error.message))
        usage, model = (None, None) if partial is None else (partial.usage, partial.model)
        self._end(usage, model, attempts, type(error).__name__, [each.usage for each in error.attempts])

    @_harmless
    def left(self, partial: Response | None, attempts: int, failed: tuple[Attempt, ...]) -> None:
        """Its caller has left before the end."""
        if partial is not None:
            self._response(partial, "error")
        usage, model = (None, None) if partial is None else (partial.usage, partial.model)
        self._end(usage, model, attempts, "cancelled", [usage, *(each.usage for each in failed)])

    def _response(self, response: Response, reason: str) -> None:
        if self._is_embedding:
            return
        found = response_attributes(self._plan, response, reason)
        self._span.set_attributes(found)
        made = self._made
        if not (made.content_on_spans or made.content_on_events):
            return
        content = content_of(self._plan, response, reason)
        if made.content_on_spans:
            self._span.set_attributes({name: as_json(value) for name, value in content.items()})
        if made.content_on_events:
            details = self._base | request_attributes(self._plan) | found | content
            self._emit("gen_ai.client.inference.operation.details", details, SeverityNumber.INFO)

    @_harmless
    def over(self, exchange: Exchange) -> None:
        """What the answer came over: a WebSocket, perhaps a lane of several."""
        lane = getattr(exchange, "lane", None)
        if lane is None:
            return
        self._span.set_attributes(
            {"brainwires.websocket": True, "brainwires.websocket.recoveries": self._recoveries}
        )
        if lane.name is not None:
            self._span.set_attribute("brainwires.websocket.lane", lane.name)

    def _end(
        self,
        usage: Usage | None,
        model: str | None,
        attempts: int,
        error: str | None,
        counted: Sequence[Usage | None] = (),
    ) -> None:
        """`usage` is the answer's, `counted` that of every attempt."""
        span, made = self._span, self._made
        labels = self._base | ({"gen_ai.response.model": model} if model else {})
        if span.is_recording():
            span.set_attributes(request_attributes(self._plan) | {"brainwires.attempts": attempts})
            if usage is not None and usage.total_tokens:
                span.set_attributes(usage_attributes(usage, is_embedding=self._is_embedding))
            if error is not None:
                span.set_attribute("error.type", error)
        ended = labels | ({"error.type": error} if error is not None else {})
        kind = "embeddings" if self._is_embedding else "inference"
        seconds = time.perf_counter() - self._began
        made.seconds(f"gen_ai.client.{kind}.duration", "Duration of an operation").record(seconds, ended)
        if self._is_embedding:
            if usage is not None:
                made.tokens("gen_ai.client.embeddings.operation.input_tokens").record(
                    usage.input_tokens, labels
                )
        else:
            self._count(usage, labels, counted)
            if self._plan.stream:
                self._chunks(labels)
        if error is not None and not made.content_on_spans:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _chunks(self, labels: dict[str, Any]) -> None:
        if not self._chunk_at:
            return
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", self._first_chunk)
        first = self._made.seconds("gen_ai.client.inference.time_to_first_chunk", "Time to the first chunk")
        first.record(self._first_chunk, labels)
        each = self._made.seconds("gen_ai.client.inference.time_per_output_chunk", "Time between two chunks")
        for gap in self._gaps:
            each.record(gap, labels)

    def _count(self, usage: Usage | None, labels: dict[str, Any], attempts: Sequence[Usage | None]) -> None:
        """Tokens of the answer, and of all attempts; 0 of unknown kind where none are known."""
        made = self._made
        if usage is not None and usage.total_tokens:
            for side in ("input", "output"):
                histogram = made.tokens(f"gen_ai.client.inference.operation.{side}_tokens")
                histogram.record(getattr(usage, f"{side}_tokens"), labels)
        every = [one for one in attempts if one is not None]
        for name, counter in made.counters.items():
            counts = {"unknown": 0}
            for one in every:
                audio = one.audio_input if name == "input_tokens" else 0
                counts["unknown"] += _amount(one, name) - audio
                if audio:
                    counts["audio"] = counts.get("audio", 0) + audio
            for modality, count in counts.items():
                if count or name in ("input_tokens", "output_tokens"):
                    counter.add(count, labels | {"gen_ai.token.modality": modality})

    # -- events ------------------------------------------------------------------------------------------

    def _exception(self, error: BaseException) -> None:
        """One failed attempt. Its message may repeat what was asked, and is content."""
        attributes = {"exception.type": f"{type(error).__module__}.{type(error).__qualname__}"}
        if isinstance(error, APIError) and error.status is not None:
            attributes |= {"http.response.status_code": error.status}  # type: ignore[dict-item]
        if self._made.content_on_events:
            attributes["exception.message"] = str(error)
        self._emit("gen_ai.client.inference.exception", attributes, SeverityNumber.WARN)

    def _emit(self, name: str, attributes: Mapping[str, Any], severity: SeverityNumber) -> None:
        record = LogRecord(
            timestamp=time.time_ns(),
            context=self._context,
            severity_number=severity,
            attributes=dict(attributes),
            event_name=name,
        )
        self._made.logger.emit(record)


def _amount(usage: Usage, name: str) -> int:
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read.input_tokens": usage.cache_read,
        "cache_write.input_tokens": usage.cache_write,
        "reasoning.output_tokens": usage.reasoning,
    }
    return counts[name]


def _embedded(result: Any) -> dict[str, Any]:
    vectors, model = getattr(result, "vectors", None), getattr(result, "model", None)
    found: dict[str, Any] = {"gen_ai.embeddings.dimension.count": len(vectors[0])} if vectors else {}
    return found | ({"gen_ai.response.model": model} if model else {})


@contextmanager
def tool_span(instruments: Instruments, call: ToolCallPart, description: str = "") -> Iterator[ToolTrace]:
    """A span around one tool call of a loop, current while the tool runs. `instruments` are the session's.

    What the block raises is its `error.type`. Arguments, and the result that the block sets (`set_result`), are
    recorded only as content.
    """
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.type": "function",
    }
    if call.id:
        attributes["gen_ai.tool.call.id"] = call.id
    if description:
        attributes["gen_ai.tool.description"] = description
    if instruments.content_on_spans:
        attributes["gen_ai.tool.call.arguments"] = call.arguments
    labels = {"gen_ai.tool.name": call.name, "gen_ai.tool.type": "function"}
    span = instruments.start_tool(f"execute_tool {call.name}", attributes) or trace.INVALID_SPAN
    traced = ToolTrace(instruments, span, labels)
    try:
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield traced
    except BaseException as error:
        traced.fail(type(error).__qualname__)
        raise
    finally:
        traced.end()


class ToolTrace:
    """The span of a tool call."""

    def __init__(self, instruments: Instruments, span: Span, labels: dict[str, str]) -> None:
        self._made = instruments
        self._span = span
        self._labels = labels
        self._began = time.perf_counter()

    @_harmless
    def end(self) -> None:
        """The call is over."""
        seconds = time.perf_counter() - self._began
        duration = self._made.seconds("gen_ai.execute_tool.duration", "Duration of a tool call")
        duration.record(seconds, self._labels)
        self._span.end()

    @_harmless
    def set_result(self, result: str) -> None:
        """What the tool has returned: recorded only as content."""
        if self._made.content_on_spans:
            self._span.set_attribute("gen_ai.tool.call.result", result)

    @_harmless
    def fail(self, kind: str) -> None:
        """The call has failed with an error of this kind, which a loop reports to the model instead of raising it."""
        self._labels["error.type"] = kind
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))
