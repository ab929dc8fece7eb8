"""Reads an answer of `POST /completion`: the events of a stream, or one body.

A chunk adds text, and the one with `stop` is the last: it has the reason, the counts and the timings. Probabilities
and tokens come chunk by chunk, and are gathered. Reference: the server's README, "POST /completion".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, well_formed
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.types import FinishReason, Origin, TextPart, Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["CompletionDecoder", "usage_of"]

_FINISH: dict[str, FinishReason] = {"eos": "stop", "word": "stop", "limit": "length"}
_GATHERED = ("tokens", "completion_probabilities")
_OURS = frozenset(("content", "stop", "prompt_progress"))
_TOP = frozenset(("content", "stop", "model", "stop_type", "prompt_progress", *_GATHERED))
_MISSHAPEN = (AttributeError, TypeError, ValueError)
_DONE = b"[DONE]"


def usage_of(answer: Mapping[str, Any]) -> Usage:
    """The counts of an answer's last chunk; none of them where it has none."""
    given, made = answer.get("tokens_evaluated"), answer.get("tokens_predicted")
    if type(given) is not int or type(made) is not int:
        return Usage()
    timings = answer.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, dict) else None
    raw = {name: answer[name] for name in ("tokens_evaluated", "tokens_predicted", "tokens_cached", "timings")
           if name in answer}  # fmt: skip
    return split_usage(
        input_total=given, output_total=made, cache_read=cached if type(cached) is int else 0, raw=raw
    )


class CompletionDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._text: OpenPart | None = None
        self._last: dict[str, Any] = {}

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one chunk. An object that is no part of an answer is passed over."""
        if self.ended or message.data == _DONE:
            return []
        chunk = self.read_message(message)
        if chunk is not None:
            alone = message.event == "error" and "error" not in chunk
            self._read({"error": chunk} if alone else chunk, message.data)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body, whether or not it says that it is the last."""
        self._read(self.read_json(body), body)
        if not self.started:
            self.broken(f"the body has no content: {looks_like(body)}")
        if not self.ended:
            self._end()
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without a chunk that says `stop` it was cut."""
        if self.ended:
            return []
        raise self.cut("the stream ended before the answer did: no chunk said stop")

    def usage(self) -> Usage:
        """The counts so far: only the last chunk has them all."""
        return usage_of(self._last)

    def _read(self, chunk: dict[str, Any], data: bytes) -> None:
        if chunk.get("error"):
            self.ended = True
            partial = self.partial()
            error = error_in_body(well_formed(chunk), status=None, partial=partial)
            error.provider, error.model = self.origin.provider, self.origin.model
            raise error
        if _OURS.isdisjoint(chunk):
            if not self.started and "choices" in chunk:
                self.broken(f"this is an answer of Completions, not of /completion: {looks_like(data)}")
            return
        try:
            self._top(chunk)
            self._write(chunk.get("content"))
            if chunk.get("stop"):
                self._end()
        except _MISSHAPEN as error:
            self.broken(f"not the shape of an answer of /completion ({error!r}): {looks_like(data)}")

    def _top(self, chunk: dict[str, Any]) -> None:
        """The fields of the answer itself."""
        self.answered_by(chunk.get("model"))
        self.start()
        if chunk.get("prompt_progress"):
            self.parts.events.append(OpaqueDelta(None, "progress", chunk["prompt_progress"]))
        for name in _GATHERED:
            if chunk.get(name):
                self.extra.setdefault(name, []).extend(chunk[name])
        self._last = chunk
        for name, value in chunk.items():
            if value is not None and name not in _TOP:
                self.extra[name] = value

    def _write(self, text: Any) -> None:
        if not text:
            return
        if type(text) is not str:
            raise TypeError(f"the content is {type(text).__name__}")
        if self._text is None:
            self._text = self.parts.open(TextPart("", origin=self.origin))
        self.parts.add(self._text, text)

    def _end(self) -> None:
        self.parts.close_all()
        self.ended = True
        raw = self._last.get("stop_type")
        raw = None if raw is None else str(raw)
        reason = "stop" if raw is None else _FINISH.get(raw, "other")
        self.parts.events.append(ResponseEnd(reason, raw, self.usage(), None, self.model, self.extra))
