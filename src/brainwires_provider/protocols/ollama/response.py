"""Decodes a response of `/api/chat` or `/api/generate`: the lines of a stream, or one body.

A line has the form of a whole response: text, thought, calls and images to add, and fields of which the last value
wins. The line with `done` is the last, and has the reason and the counts. Calls come whole. A body of several lines is
a stream that was declared as JSON, as some servers do. Reference: the API reference, "Generate a chat
message" and "Generate a response", and the page "Streaming".
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.json import SHORT, decode_short, fast_decode, looks_like, objects_in
from brainwires_provider.protocols.ollama.errors import decode_error_object
from brainwires_provider.protocols.ollama.parts import decode_call, decode_image
from brainwires_provider.types import (
    FinishReason,
    Origin,
    ReasoningPart,
    Response,
    TextPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.usage import split_usage

__all__ = ["OllamaDecoder"]

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls"}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_COUNTS = ("prompt_eval_count", "eval_count")
_CONTENT = frozenset(("message", "response", "thinking", "image", "completed", "total"))
_TOP = _CONTENT | {"model", "done", "done_reason", "logprobs", *_COUNTS}
_MESSAGE = frozenset(("role", "content", "thinking", "tool_calls", "images"))
_OURS = frozenset(("message", "response", "done", "image", "completed"))
_OTHERS = {
    "choices": "Chat Completions",
    "output": "Responses",
    "status": "/api/pull, /api/push or /api/create",
}


class OllamaDecoder(DecoderBase):
    """One response. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._growing: OpenPart | None = None
        self._raw_finish: str | None = None
        self._counts: dict[str, Any] = {}
        self._logprobs: list[Any] = []
        self._sent: set[tuple[str, str, str]] = set()
        """The calls that have an id, which may come again."""

    # -- entry points -----------------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one line. An object that is no part of an answer is ignored."""
        if self.ended:
            return []
        try:
            line = (decode_short if len(message.data) <= SHORT else fast_decode)(message.data)
        except (ValueError, RecursionError):
            line = self.read_json(message.data)
        if type(line) is not dict:
            line = self.read_message(message)
            if line is None:
                return []
        self._read(line, message.data)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body: one response, or the lines of a stream."""
        framing = NDJSONFraming(len(body))
        lines = framing.feed(body) + framing.finish()[0] if b"\n" in body.rstrip() else []
        if len(lines) > 1 and all(line.data.startswith(b"{") for line in lines):
            events = [event for line in lines for event in self.feed(line)]
            return events + self.finish()
        value = self.read_json(body)
        self._read(value, body)
        if not self.started:
            self.broken(f"the body has no message and no response: {looks_like(body)}")
        if value.get("done") is False:
            return self.finish()  # the first line of a stream that went no further
        if not self.ended:
            self._end()
        return self.parts.take()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without a line that says `done` it was cut."""
        if self.ended:
            return []
        raise self.cut("the stream ended before the answer did: no line said done")

    def usage(self) -> Usage:
        """The counts so far; incomplete without one of them. Thoughts are counted with the answer, not apart."""
        counts = [self._counts.get(name) for name in _COUNTS]
        given, made = (count if type(count) is int else None for count in counts)
        if given is None and made is None:
            return Usage()
        usage = split_usage(input_total=given or 0, output_total=made or 0, raw=dict(self._counts))
        return replace(usage, complete=False) if given is None or made is None else usage

    # -- one line --------------------------------------------------------------------------------------------

    def _read(self, line: dict[str, Any], data: bytes) -> None:
        if line.get("error"):
            self.ended = True
            raise decode_error_object(line, partial=self.partial(), origin=self.origin)
        if _OURS.isdisjoint(line):
            foreign = next((name for key, name in _OTHERS.items() if key in line), None)
            if foreign is not None and not self.started:
                self.broken(f"this is an answer of {foreign}, and has no message: {looks_like(data)}")
            return
        try:
            self._top(line)
            if line.get("message") is not None:
                self._message(line["message"], line)
            else:
                self._generated(line)
            if line.get("done"):
                self._end()
        except _MISSHAPEN as error:
            self.broken(f"not the shape of an Ollama answer ({error!r}): {looks_like(data)}")

    def _top(self, line: dict[str, Any]) -> None:
        """The fields of the answer itself."""
        self.answered_by(line.get("model"))
        self.start()
        if line.get("done_reason"):
            self._raw_finish = str(line["done_reason"])
        for name in _COUNTS:
            if line.get(name) is not None:
                self._counts[name] = line[name]
        if line.get("logprobs"):
            self._logprobs += objects_in(line["logprobs"])
        if not line.keys() <= _TOP:
            for name, value in line.items():
                if value is not None and name not in _TOP:
                    self.extra[name] = value

    def _generated(self, line: dict[str, Any]) -> None:
        """What a line of `/api/generate` adds: text, thought, an image, or how far an image has come."""
        self._think(line.get("thinking"))
        self._write(line.get("response"))
        if line.get("image"):
            self._close()
            self.parts.whole(decode_image(line["image"], self))
        elif "completed" in line:
            done = {name: line[name] for name in ("completed", "total") if name in line}
            self.parts.events.append(OpaqueDelta(None, "progress", done))

    def _message(self, message: dict[str, Any], line: dict[str, Any]) -> None:
        """What a line of `/api/chat` adds."""
        self._think(message.get("thinking"))
        self._write(message.get("content"))
        for image in message.get("images") or ():
            self._close()
            self.parts.whole(decode_image(image, self))
        for call in message.get("tool_calls") or ():
            self._close()
            self._call(decode_call(call, line.get("created_at"), self))
        for name, value in message.items():
            if value is not None and name not in _MESSAGE:
                self.keep(name, value)

    # -- parts -----------------------------------------------------------------------------------------------

    def _think(self, text: Any) -> None:
        if text:
            self._grow(ReasoningPart(origin=self.origin), text)

    def _write(self, text: Any) -> None:
        if text:
            self._grow(TextPart("", origin=self.origin), text)

    def _grow(self, seed: TextPart | ReasoningPart, text: Any) -> None:
        """Add to the open part, or end it where the text is of another kind."""
        if type(text) is not str:
            raise TypeError(f"a text is {type(text).__name__}")
        if self._growing is None or type(self._growing.seed) is not type(seed):
            self._close()
            self._growing = self.parts.open(seed)
        self.parts.add(self._growing, text)

    def _call(self, call: ToolCallPart) -> None:
        key = call.id or "", call.name, call.arguments
        if call.id is None or key not in self._sent:
            self._sent.add(key)
            self.parts.whole(call)

    def _close(self) -> None:
        if self._growing is not None:
            self.parts.close(self._growing)
            self._growing = None

    # -- the end ---------------------------------------------------------------------------------------------

    def partial(self) -> Response:
        """What has arrived so far."""
        self._place_logprobs()
        return super().partial()

    def _place_logprobs(self) -> None:
        if self._logprobs:
            self.extra["logprobs"] = list(self._logprobs)

    def _end(self) -> None:
        self._close()
        self._place_logprobs()
        self.ended = True
        raw = self._raw_finish
        reason = _FINISH.get(raw or "stop", "other")
        if reason == "stop" and ToolCallPart in self.parts.kinds:
            reason = "tool_calls"
        self.parts.events.append(
            ResponseEnd(
                reason,
                raw,
                self.usage(),
                None,
                self.model,
                self.extra,
                self.message_extra or None,
            )
        )
