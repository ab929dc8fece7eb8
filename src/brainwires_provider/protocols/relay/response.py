"""Reads an answer of `/api/chat/stream`: named server-sent events, from the first `delta` to `complete`.

A `delta` adds text, a `toolCall` is a whole call, `complete` is the end and has the counts, `error` is a refusal.
Everything else that they report, and what `title` does, is kept in `extra`; other events are passed over. Calls do not
end the answer: more of them may follow, and the counts. Yet the relay's own clients read no further than the first
call, so nothing shows that `complete` always follows one: a stream that ends well after a call has ended.
Reference: `brainwires_http` in the framework's `brainwires-provider`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.bodies import feed_rest, tell_framing
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart, listed_error, well_formed
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.relay.errors import error_in_stream
from brainwires_provider.protocols.relay.parts import decode_call
from brainwires_provider.types import FinishReason, Origin, TextPart, ToolCallPart, Usage
from brainwires_provider.types.usage import split_usage

__all__ = ["RelayDecoder"]

_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_COUNTS = ("prompt_tokens", "completion_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class RelayDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._growing: OpenPart | None = None
        self._calls: set[bytes] = set()  # each whole call that has an id, to know it again
        self._called_last = False
        self._counts: dict[str, Any] = {}

    # -- the three ways in -----------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message of the stream."""
        if self.ended:
            return []
        if message.event == "error":
            raise error_in_stream(message.data, self)
        read = _READERS.get(message.event or "")
        if read is None:
            self._look_for_error(message)
            return []
        value = self.read_message(message)
        if value is None:
            return []
        try:
            read(self, value)
        except _MISSHAPEN as error:
            what = f"not the shape of the relay's {message.event} ({error!r})"
            self.broken(f"{what}: {looks_like(message.data)}")
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a stream that came under another name. The relay has no whole form of an answer."""
        if tell_framing(body) == "sse":
            framing, events = SSEFraming(len(body)), list[Event]()
            for message in framing.feed(body):
                events += self.feed(message)
            feed_rest(self, *framing.finish(), events)
            return events
        if self.read_json(body).get("error"):
            raise error_in_stream(body, self)
        return self.broken(
            f"the body has no events, and the relay answers in events only: {looks_like(body)}"
        )

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without `complete` it was cut, but for one that ended well after a call."""
        if self.ended:
            return []
        if not (clean and self._called_last):
            raise self.cut("the stream ended before the answer did: no complete event came")
        self._end()
        return self.parts.take()

    def usage(self) -> Usage:
        """The counts of `complete`. Cached input is counted inside the prompt or beside it: the total shows which."""
        if not any(type(self._counts.get(name)) is int for name in _COUNTS[:2]):
            return Usage()
        prompt, completion, read, written = map(self._count, _COUNTS)
        total = self._count("total_tokens") if "total_tokens" in self._counts else None
        cached = read + written
        if cached > prompt:
            prompt += cached
        return split_usage(
            input_total=prompt,
            output_total=completion,
            total=total,
            cache_read=read,
            cache_write=written,
            raw=dict(self._counts),
        )

    def _count(self, name: str) -> int:
        count = self._counts.get(name)
        return count if type(count) is int else 0

    # -- one event -------------------------------------------------------------------------------------------

    def _delta(self, value: dict[str, Any]) -> None:
        self.start()
        text = value.get("delta")
        if text is not None and type(text) is not str:
            raise TypeError(f"a delta is {type(text).__name__}")
        if text:
            if self._growing is None:
                self._growing = self.parts.open(TextPart("", origin=self.origin))
            self.parts.add(self._growing, text)
            self._called_last = False
        self._keep(value, "delta")

    def _tool_call(self, value: dict[str, Any]) -> None:
        """One call, whole. One that is sent twice is one call."""
        self.start()
        if value.get("callId"):
            told = msgspec.json.encode(well_formed(value))
            if told in self._calls:
                return
            self._calls.add(told)
        self._close()
        self._keep({k: value.get(k) for k in ("responseId", "chatId")})
        self.parts.whole(decode_call(value, self))
        self._called_last = True

    def _title(self, value: dict[str, Any]) -> None:
        self._keep(value)

    def _complete(self, value: dict[str, Any]) -> None:
        self.start()
        if value.get("usage") is not None:
            self._counts = dict(value["usage"])
        self._keep(value, "usage")
        self._end()

    def _keep(self, value: dict[str, Any], said: str = "") -> None:
        """The fields of the answer itself; the last value wins."""
        if len(value) == 1 and said in value:
            return
        for name, field in value.items():
            if field is None or name == said:
                continue
            if name == "responseId":
                self.id = str(field)
            else:
                self.extra[name] = field

    # -- parts and ends --------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._growing is not None:
            self.parts.close(self._growing)
            self._growing = None

    def _end(self) -> None:
        self._close()
        self.ended = True
        reason: FinishReason = "tool_calls" if ToolCallPart in self.parts.kinds else "stop"
        self.parts.events.append(
            ResponseEnd(reason, None, self.usage(), self.id, self.model, self.extra, None)
        )

    def _look_for_error(self, message: WireMessage) -> None:
        """An event of another name is ignored, unless it is an error object, which a gateway may send."""
        try:
            value = decode_json(message.data)
        except ValueError:
            return
        value = listed_error(value) or value
        if isinstance(value, dict) and value.get("error"):
            raise error_in_stream(message.data, self)


_READERS = {
    "delta": RelayDecoder._delta,
    "toolCall": RelayDecoder._tool_call,
    "title": RelayDecoder._title,
    "complete": RelayDecoder._complete,
}
