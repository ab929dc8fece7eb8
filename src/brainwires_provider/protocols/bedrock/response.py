"""Reads a Converse response: the messages of an AWS event stream, or a whole body.

The blocks of a stream have an index (`contentBlockIndex`) and grow by deltas. `messageStop` has the stop reason,
`metadata`, which follows, the usage: with both the response has ended. A whole body is its blocks, one after another,
through the same assembler. `p` is padding, which hides the length of a text from eavesdroppers.
Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html, and
"Converse" beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.bedrock.errors import error_in_stream, is_error, named_error
from brainwires_provider.protocols.bedrock.parts import PartBuilder, decode_part
from brainwires_provider.types import FinishReason, Origin, ToolCallPart, Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["ConverseDecoder", "usage_of"]

_FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_tool_use": "malformed_tool_call",
    "malformed_model_output": "other",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("output", "stopReason", "usage", "p"))
_MESSAGE = frozenset(("role", "content", "p"))
_FAILED = frozenset(("exception", "error"))


class ConverseDecoder(DecoderBase):
    """One response. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._stop: str | None = None
        self._stopped = False
        self._usage: Any = None
        self._announced = False
        self._has_ended_block = False
        self._builders: dict[Any, PartBuilder] = {}

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message. One that is not known is skipped; an exception is raised."""
        if self.ended:
            return []
        headers: Mapping[str, Any] = getattr(message, "headers", {})
        if headers.get(":message-type") in _FAILED:
            self._failed(headers, message.data)
        handler = EVENTS.get(message.event)
        if handler is None:
            return []
        event = self.read_json(message.data)
        try:
            handler(self, event)
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole body."""
        value = self.read_json(body)
        if "output" not in value:
            self._no_output(value, body)
        try:
            self._whole(value)
        except _MISSHAPEN as error:
            self._misshapen(error, body)
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream has ended. After `messageStop` only the usage is missing; before it the response was cut."""
        if self.ended:
            return []
        if self._stopped and clean:
            self._end()
            return self.parts.take()
        raise self.cut(
            "the stream ended before the answer did: no messageStop, and no metadata after it, came"
        )

    def usage(self) -> Usage:
        """The counts so far."""
        return usage_of(self._usage, self.extra.get("additionalModelResponseFields"))

    # -- a stream --------------------------------------------------------------------------------------------

    def _on_start(self, event: dict[str, Any]) -> None:
        if self._announced and self._has_ended_block:
            self.broken("a second messageStart came before the first response's end")
        self._announced = True
        self.start()
        self._turn_fields(event)

    def _turn_fields(self, message: Mapping[str, Any]) -> None:
        for name, value in message.items():
            if name not in _MESSAGE and value is not None:
                self.keep(name, value)

    def _builder(self, event: dict[str, Any]) -> PartBuilder:
        index = event["contentBlockIndex"]
        builder = self._builders.get(index)
        if builder is None:
            self.start()
            builder = self._builders[index] = PartBuilder(self)
        return builder

    def _on_block_start(self, event: dict[str, Any]) -> None:
        self._builder(event).start(event["start"])

    def _on_delta(self, event: dict[str, Any]) -> None:
        self._builder(event).grow(event["delta"])

    def _on_block_stop(self, event: dict[str, Any]) -> None:
        self._builder(event).close()
        self._has_ended_block = True

    def _on_stop(self, event: dict[str, Any]) -> None:
        self.start()
        self._close_all()
        self._stopped, self._stop = True, event.get("stopReason")
        self._top(event)
        if self._usage is not None:
            self._end()

    def _on_metadata(self, event: dict[str, Any]) -> None:
        self._usage = event.get("usage") or {}
        self._top(event)
        if self._stopped:
            self._end()

    def _top(self, event: Mapping[str, Any]) -> None:
        """The response-level fields, by their names."""
        for name, value in event.items():
            if name not in _TOP and value is not None:
                self.extra[name] = value
        trace = event.get("trace")
        router = trace.get("promptRouter") if isinstance(trace, dict) else None
        if isinstance(router, dict) and isinstance(router.get("invokedModelId"), str):
            self.model = router["invokedModelId"]

    # -- a whole body ----------------------------------------------------------------------------------------

    def _whole(self, value: dict[str, Any]) -> None:
        output = value["output"]
        self.start()
        for name, inner in output.items():
            if name == "message":
                self._content(inner["content"])
                self._turn_fields(inner)
            else:
                self.extra.setdefault("output", {})[name] = inner
        self._stop = value.get("stopReason")
        self._usage = value.get("usage")
        self._top(value)
        self._end()

    def _content(self, content: Any) -> None:
        if not isinstance(content, list):
            raise TypeError(f"its content is {type(content).__name__}")
        for block in content:
            if isinstance(block, dict):
                self.parts.whole(decode_part(block, self.origin))

    # -- the end ---------------------------------------------------------------------------------------------

    def _close_all(self) -> None:
        for builder in self._builders.values():
            builder.close()
        self._builders = {}  # they refer back to here

    def _end(self) -> None:
        self._close_all()
        self.ended = True
        raw = None if self._stop is None else str(self._stop)
        reason = _FINISH.get(raw or "end_turn", "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            reason = "tool_calls"
        end = ResponseEnd(
            reason, raw, self.usage(), self.id, self.model, self.extra, dict(self.message_extra) or None
        )
        self.parts.events.append(end)

    def _failed(self, headers: Mapping[str, Any], data: bytes) -> NoReturn:
        self.ended = True
        body = self.read_json(data) if data.strip() else {}
        raise error_in_stream(headers, body, self.partial(), self.origin)

    def _no_output(self, value: dict[str, Any], body: bytes) -> NoReturn:
        if is_error(value):
            error = named_error(None, value, status=None, partial=self.partial())
            error.provider, error.model = self.origin.provider, self.origin.model
            self.ended = True
            raise error
        self.broken(f"the body has no output, as a Converse answer must: {looks_like(body)}")

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(
            f"the answer has not the shape of Converse ({type(error).__name__}: {error}): {looks_like(data)}"
        )


_Handler: TypeAlias = Callable[[ConverseDecoder, dict[str, Any]], None]
EVENTS: dict[str | None, _Handler] = {
    "messageStart": ConverseDecoder._on_start,
    "contentBlockStart": ConverseDecoder._on_block_start,
    "contentBlockDelta": ConverseDecoder._on_delta,
    "contentBlockStop": ConverseDecoder._on_block_stop,
    "messageStop": ConverseDecoder._on_stop,
    "metadata": ConverseDecoder._on_metadata,
}
"""The handler of each event of a stream; others are skipped."""


# -- counts --------------------------------------------------------------------------------------------------


def usage_of(counts: Any, fields: Any = None) -> Usage:
    """The buckets of `usage`: what was read from a cache or written to one is not in `inputTokens`.

    `fields` are those of the model's own response that were asked for; Claude's usage has the thinking tokens.
    """
    if not isinstance(counts, dict) or not counts:
        return Usage()
    read, written = _count(counts.get("cacheReadInputTokens")), _count(counts.get("cacheWriteInputTokens"))
    total = counts.get("totalTokens")
    return split_usage(
        input_total=_count(counts.get("inputTokens")) + read + written,
        output_total=_count(counts.get("outputTokens")),
        total=_count(total) if type(total) is int else None,
        cache_read=read,
        cache_write=written,
        reasoning=_thinking_tokens(fields),
        raw=counts,
    )


def _thinking_tokens(fields: Any) -> int:
    match fields:
        case {"usage": {"output_tokens_details": {"thinking_tokens": int(count)}}}:
            return _count(count)
    return 0


def _count(value: Any) -> int:
    return value if type(value) is int else 0
