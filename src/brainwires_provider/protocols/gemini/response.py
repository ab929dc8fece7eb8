"""Reads a generateContent answer: the chunks of a stream, one body, or a body that is the array of a stream's chunks.

A chunk is a small answer of the same form. Its candidate's parts are new ones, or go on with the last. The answer is
over when the stream is: chunks with counts or metadata may follow the one that has the finish reason. A prompt that
was blocked has no candidate, and a block reason instead. Reference: the API reference of `GenerateContentResponse`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import fast_decode, looks_like, merged
from brainwires_provider.protocols.gemini.citations import gathered, place_citations
from brainwires_provider.protocols.gemini.errors import error_object
from brainwires_provider.protocols.gemini.parts import Content
from brainwires_provider.protocols.gemini.usage import usage_of
from brainwires_provider.types import FinishReason, Origin, ToolCallPart, Usage

__all__ = ["FINISH_REASONS", "GeminiDecoder"]

FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "pause",
    "MALFORMED_FUNCTION_CALL": "malformed_tool_call",
    "UNEXPECTED_TOOL_CALL": "malformed_tool_call",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "ESCALATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "LANGUAGE": "other",
    "IMAGE_OTHER": "other",
    "NO_IMAGE": "other",
    "TOO_MANY_TOOL_CALLS": "other",
    "MISSING_THOUGHT_SIGNATURE": "other",
    "MALFORMED_RESPONSE": "other",
    "PUP_LIMITED_DISABLED": "other",
    "OTHER": "other",
    "FINISH_REASON_UNSPECIFIED": "other",
}
"""Google's reasons; one never heard of is `other`."""

_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("candidates", "usageMetadata", "modelVersion", "responseId"))
_OURS = _TOP | {"promptFeedback"}
_CANDIDATE = frozenset(("content", "finishReason", "index"))
_GATHERED = frozenset(("groundingMetadata", "urlContextMetadata", "citationMetadata"))
_OTHERS = {
    "event_type": "the Interactions API",
    "steps": "the Interactions API",
    "setupComplete": "the Live API",
    "serverContent": "the Live API",
}


class GeminiDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._raw_finish: str | None = None
        self._block: str | None = None
        self._counts: dict[str, Any] = {}
        self._content = Content(self)
        self._told: dict[str, list[Any]] = {"groundingMetadata": [], "citationMetadata": []}

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one chunk. An object that is no chunk is passed over."""
        if self.ended:
            return []
        try:
            chunk = fast_decode(message.data)
        except (ValueError, RecursionError):
            if not message.data.strip() or message.data.startswith(b"[DONE]"):
                return []
            chunk = self.read_json(message.data)
        if type(chunk) is not dict:
            self.not_an_object(chunk, message.data)
        self._read(chunk, message.data, streams=True)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body: one answer, or the array of its chunks."""
        if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return self._feed_array(body)
        value = self.read_json(body)
        self._read(value, body, streams=False)
        if not value.get("candidates") and self._block is None:
            self.broken(f"the body has no candidates: {looks_like(body)}")
        self._end()
        return self.parts.take()

    def _feed_array(self, body: bytes) -> list[Event]:
        """A stream whose service was not asked for events, or ignores it."""
        try:
            chunks = fast_decode(body)
        except (ValueError, RecursionError):
            chunks = self._read_ragged(body)
        if not chunks or not all(type(chunk) is dict for chunk in chunks):
            self.not_an_object(chunks, body)
        for chunk in chunks:
            self._read(chunk, body, streams=True)
        return self.parts.take() + self.finish()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without a finish or block reason it was cut."""
        if self.ended:
            return []
        if self._raw_finish is None and self._block is None:
            raise self.cut("the stream ended before the answer did: no finishReason came")
        self._end()
        return self.parts.take()

    def usage(self) -> Usage:
        """The counts so far."""
        return usage_of(self._counts)

    # -- one chunk -------------------------------------------------------------------------------------------

    def _read(self, chunk: dict[str, Any], data: bytes, *, streams: bool) -> None:
        if chunk.get("error"):
            self._fail(chunk)
        if _OURS.isdisjoint(chunk):
            foreign = next((name for key, name in _OTHERS.items() if key in chunk), None)
            if foreign is not None and not self.started:
                self.broken(f"this is an answer of {foreign}, and has no candidates: {looks_like(data)}")
            return
        try:
            self._top(chunk)
            candidates = chunk.get("candidates")
            if candidates:
                self._candidates(candidates, streams)
        except _MISSHAPEN as error:
            self.broken(f"not the shape of a generateContent answer ({error!r}): {looks_like(data)}")

    def _top(self, chunk: dict[str, Any]) -> None:
        """The response-level fields: the last told win."""
        self.answered_by(chunk.get("modelVersion"))
        if chunk.get("responseId"):
            self.id = str(chunk["responseId"])
        self.start()
        if chunk.get("usageMetadata"):
            self._counts.update(chunk["usageMetadata"])
        feedback = chunk.get("promptFeedback")
        if feedback and feedback.get("blockReason"):
            self._block = str(feedback["blockReason"])
        if not chunk.keys() <= _TOP:
            for name, value in chunk.items():
                if value is not None and name not in _TOP:
                    self.extra[name] = merged(self.extra.get(name), value)

    def _candidates(self, candidates: list[dict[str, Any]], streams: bool) -> None:
        """The first candidate is the answer; the others are kept as they came."""
        for place, candidate in enumerate(candidates):
            if candidate.get("index", place) != 0:
                self.extra.setdefault("candidates", []).append(candidate)
                continue
            content = candidate.get("content")
            if content:
                goes_on = streams
                for part in content.get("parts") or ():
                    self._content.add(part, goes_on=goes_on)
                    goes_on = False
            if candidate.get("finishReason"):
                self._raw_finish = str(candidate["finishReason"])
            if not candidate.keys() <= _CANDIDATE:
                self._metadata(candidate)

    def _metadata(self, candidate: dict[str, Any]) -> None:
        """A candidate's fields beside its content."""
        for name, value in candidate.items():
            if value is None or name in _CANDIDATE:
                continue
            if name in self._told:
                self._told[name].append(value)
            known = self.extra.get(name)
            if known is not None and name in _GATHERED:
                value = gathered(known, value)
            elif known is not None and name == "logprobsResult":
                value = _prolonged(known, value)
            self.extra[name] = value

    # -- the end ---------------------------------------------------------------------------------------------

    def _end(self) -> None:
        told = self._told
        self._content.end(
            lambda texts: place_citations(texts, told["groundingMetadata"], told["citationMetadata"])
        )
        self.ended = True
        del self._content  # it refers back to here
        reason, raw = self._finish_reason()
        self.parts.events.append(ResponseEnd(reason, raw, self.usage(), self.id, self.model, self.extra))

    def _finish_reason(self) -> tuple[FinishReason, str | None]:
        if self._raw_finish is None and self._block is not None:
            return "content_filter", self._block
        reason = FINISH_REASONS.get(self._raw_finish or "STOP", "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            reason = "tool_calls"
        return reason, self._raw_finish

    def _fail(self, chunk: dict[str, Any]) -> NoReturn:
        partial = self.partial()
        self.ended = True
        error = error_object(chunk, partial=partial)
        error.provider, error.model = self.origin.provider, self.origin.model
        raise error


def _prolonged(known: Any, value: Any) -> Any:
    """Log probabilities of a stream: each chunk has those of its own tokens."""
    if not isinstance(known, dict) or not isinstance(value, dict):
        return value
    both = {**known, **value}
    for name in known.keys() & value.keys():
        if isinstance(known[name], list) and isinstance(value[name], list):
            both[name] = known[name] + value[name]
    return both
