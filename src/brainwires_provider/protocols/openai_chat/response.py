"""Reads a Chat Completions answer, streamed or whole.

The wire has one string of text, one of reasoning, one refusal and a list of calls a message, so each becomes
one part, opened at its first fragment and closed at the answer's end; only where content is itself a list of
typed pieces (Mistral) does the wire give an order, and then a change of kind closes the part before. Whole
bodies are read as one large delta, so that both forms go through the same code.

Fields that have no place in a part are kept: the response's and the choice's in `extra`, the message's in
`message_extra`. Reference: the Chat Completions API reference, "object" and "chunk" pages.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NoReturn

from msgspec.structs import replace

from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.calls import CallBuilder
from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.errors import is_error
from brainwires_provider.protocols.base.json import (
    SHORT,
    decode_short,
    fast_decode,
    list_or_empty,
    looks_like,
    objects_in,
)
from brainwires_provider.protocols.base.usage import usage_of
from brainwires_provider.protocols.openai_chat.errors import error_in_stream
from brainwires_provider.protocols.openai_chat.parts import (
    AudioBuilder,
    ReasoningBuilder,
    citations_of,
    decode_fragment,
    decode_image,
    extra_of,
    search_citations,
)
from brainwires_provider.types import (
    Citation,
    FinishReason,
    ImagePart,
    OpaquePart,
    Origin,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)

__all__ = ["ChatDecoder"]

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "completed": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "refusal": "refusal",
    "malformed_function_call": "malformed_tool_call",
    "function_call_filter": "malformed_tool_call",
}
_MISSHAPEN = (AttributeError, TypeError, KeyError, ValueError, RecursionError)
_TOP = frozenset(("id", "model", "choices", "usage"))
_CHOICE = frozenset(("index", "delta", "message", "finish_reason"))
_USUAL = _CHOICE | {"logprobs"}
_LISTS = frozenset(("annotations", "images"))
_SEARCHED = frozenset(("search_results", "citations"))
_REASONING = frozenset(("reasoning_content", "reasoning", "reasoning_details"))
_TOLD = _REASONING | {"role", "content"}
_MESSAGE = frozenset(("refusal", "tool_calls", "function_call", "annotations", "audio", "images"))


class ChatDecoder(DecoderBase):
    """One answer. See `base.protocol.Decoder`."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._last_chunk: dict[str, Any] = {}
        self._choice_seen = False
        self._raw_finish: str | None = None
        self._counts: dict[str, Any] = {}
        self._text: OpenPart | None = None
        self._refusal: OpenPart | None = None
        # Made when first needed, and let go at the end: most answers are text only, and these refer back to here.
        self._reasoning: ReasoningBuilder | None = None
        self._calls: CallBuilder | None = None
        self._audio: AudioBuilder | None = None
        self._citations: list[Citation] = []
        self._has_deltas = False

    # -- the three ways in -------------------------------------------------------------------------------

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one chunk."""
        try:
            chunk = (decode_short if len(message.data) <= SHORT else fast_decode)(message.data)
        except (ValueError, RecursionError):
            if message.data.startswith(b"[DONE]"):
                return self._end()
            chunk = None
        if type(chunk) is not dict:
            chunk = self.read_message(message)
            if chunk is None:
                return []
        choices = self._last_chunk["choices"] = chunk.get("choices")
        if not choices and (message.event == "error" or is_error(chunk)):
            raise error_in_stream(chunk, self)
        try:
            if chunk != self._last_chunk or not self.started:  # most differ in their choices alone
                self._top(chunk)
                self._last_chunk = chunk
            for choice in choices or ():
                self._streamed(choice)
        except _MISSHAPEN as error:
            self._misshapen(error, message.data)
        if chunk.get("error"):
            raise error_in_stream(chunk, self)
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a whole body."""
        value = self.read_json(body)
        choices = value.get("choices")
        if not choices:
            if is_error(value):
                raise error_in_stream(value, self)
            self.broken(f"the body has no choices: {looks_like(body)}")
        try:
            self._top(value)
            is_taken = len(choices) == 1 and self._takes_at_once(choices[0])
            for choice in () if is_taken else choices:
                self._choice(choice, choice.get("message") or choice.get("delta"), True)
        except _MISSHAPEN as error:
            self._misshapen(error, body)
        if value.get("error"):
            raise error_in_stream(value, self)
        return self._over() if is_taken else self._end()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream ended without `[DONE]`: whole if a finish reason came and nothing was cut."""
        if self.ended:
            return []
        self._adopt()
        if self._raw_finish and clean:
            return self._end()
        if self.started and not self._choice_seen and clean:
            self.broken("the stream ended without a single choice: is this a Chat Completions endpoint?")
        raise self.cut(
            "the stream ended inside a message, after the finish reason"
            if self._raw_finish
            else "the stream ended before the answer did: no finish reason came"
        )

    # -- what a chunk holds ------------------------------------------------------------------------------

    def _top(self, chunk: dict[str, Any]) -> None:
        """The response-level fields: the last values win, nested objects are merged."""
        model = chunk.get("model")
        if model != self.model:
            self.answered_by(model)
        if chunk.get("id"):
            self.id = str(chunk["id"])
        if not self.started:
            self.start()
        usage = chunk.get("usage")
        if usage:
            if type(usage) is not dict:
                raise TypeError(f"usage is {type(usage).__name__}")
            self._counts = self.merging.merged(self._counts, usage) if self._counts else usage
        extra = self.extra
        if not extra:
            self.extra = {n: v for n, v in chunk.items() if v is not None and n not in _TOP}
            return
        for name, value in chunk.items():
            if value is not None and name not in _TOP:
                extra[name] = self.merging.merged(extra.get(name), value) if type(value) is dict else value

    def _streamed(self, choice: dict[str, Any]) -> None:
        """A choice of a chunk. A whole message after deltas is a copy of them; without deltas it is one itself."""
        message = choice.get("delta")
        if message:
            self._has_deltas = True
        else:
            message = choice.get("message")
            if message and self._has_deltas and not choice.get("index"):
                message = self._beyond(message)
        self._choice(choice, message, False)

    def _beyond(self, message: dict[str, Any]) -> dict[str, Any]:
        """What a copy of the streamed message has beyond it: a longer text completes it, an equal one adds nothing."""
        rest = dict(message)
        if self._text is not None and (content := rest.pop("content", None)):
            self.parts.catch_up(self._text, content if type(content) is str else _joined_texts(content))
        elif TextPart in self.parts.kinds or OpaquePart in self.parts.kinds:
            rest.pop("content", None)
        if ReasoningPart in self.parts.kinds:
            self._reasons().feed_copy(message)
            rest = {name: value for name, value in rest.items() if name not in _REASONING}
        if self._refusal is not None and type(refusal := rest.pop("refusal", None)) is str:
            self.parts.catch_up(self._refusal, refusal)
        if calls := objects_in(rest.pop("tool_calls", None)):
            self._calls = self._calls or CallBuilder(self)
            self._calls.feed_copies([decode_fragment(call) for call in calls])
        if self._calls is not None:
            rest.pop("function_call", None)
        if self._audio is not None:
            rest.pop("audio", None)
        if ImagePart in self.parts.kinds:
            rest.pop("images", None)
        if self._citations:
            rest.pop("annotations", None)
        return rest

    def _choice(self, choice: dict[str, Any], message: dict[str, Any] | None, whole: bool) -> None:
        if choice.get("index"):
            self.extra.setdefault("choices", []).append(choice)  # n > 1: kept, not interpreted
            return
        self._choice_seen = True
        if message:
            self._message(message, whole)
        if choice.get("logprobs") is not None or not choice.keys() <= _USUAL:
            self._choice_fields(choice)
        reason = choice.get("finish_reason")
        if reason or (whole and reason is not None):
            self._raw_finish = str(reason)

    def _takes_at_once(self, choice: dict[str, Any]) -> bool:
        """Take a whole message that is a text and nothing else, as most are; False for any other."""
        message: Any = choice.get("message") or {}
        text = message.get("content")
        is_text = type(text) is str and text and not self.parts.ragged and not choice.get("index")
        is_usual = choice.get("logprobs") is None and choice.keys() <= _USUAL
        if not (is_text and is_usual and self.extra.keys().isdisjoint(_SEARCHED)):
            return False
        for name, value in message.items():
            is_other = value is not None and name not in _TOLD and (value or name not in _MESSAGE)
            if is_other or name in _REASONING:
                return False
        self._raw_finish = None if (reason := choice.get("finish_reason")) is None else str(reason)
        self.parts.text(self.empty_text or TextPart("", origin=self.origin), text)
        return True

    def _choice_fields(self, choice: dict[str, Any]) -> None:
        for name, value in choice.items():
            if value is None or name in _CHOICE:
                continue
            if name == "error" and value:
                raise error_in_stream({"error": value}, self)
            if name == "usage" and type(value) is dict:
                self._counts = self.merging.completed(self._counts, value)
            elif name == "logprobs" and type(value) is dict:
                _lengthen(self.extra.setdefault(name, {}), value)
            else:
                self.extra[name] = self.merging.merged(self.extra.get(name), value)

    def _message(self, message: dict[str, Any], whole: bool) -> None:
        """One delta, or one whole message. The order of the steps is the order of a whole body's parts."""
        content = message.get("content")
        plain = len(message) == 1 and content is not None
        if not plain and not message.keys().isdisjoint(_REASONING):
            self._reasons().feed(message)
        has_others = not plain and self._keep_rest(message)
        if content:
            if type(content) is str:
                self._say(content)
            else:
                self._pieces(content)
        if has_others:
            self._others(message, whole)

    def _say(self, text: str) -> None:
        part = self._text
        if part is None:
            if self._reasoning is not None and self._reasoning.is_listed:
                self._reasoning.close()
            part = self._text = self.parts.open(self.empty_text or TextPart("", origin=self.origin))
        self.parts.add(part, text)

    def _reasons(self) -> ReasoningBuilder:
        if self._reasoning is None:
            self._reasoning = ReasoningBuilder(self)
        return self._reasoning

    def _pieces(self, content: list[Any]) -> None:
        """Content as a list of typed pieces, in the wire's order."""
        if type(content) is not list:
            raise TypeError(f"content is {type(content).__name__}")
        for is_text, run in groupby(content, lambda piece: isinstance(piece, str)):
            if is_text:
                self._say("".join(run))
            else:
                self._typed_pieces(objects_in(list(run)))  # what is no object is no part

    def _typed_pieces(self, pieces: list[dict[str, Any]]) -> None:
        for piece in pieces:
            kind = piece.get("type")
            if kind == "text":
                self._say_piece(piece)
            elif kind == "thinking":
                self._close_text()
                self._reasons().feed_piece(piece)
            else:
                self._close_text()
                part = OpaquePart(str(kind or "content"), piece, origin=self.origin)
                self.parts.whole(decode_image(piece, self.origin) or part)

    def _say_piece(self, piece: dict[str, Any]) -> None:
        self._say(piece.get("text") or "")
        rest = {k: v for k, v in piece.items() if k not in ("type", "text") and v is not None}
        if rest and self._text is not None:
            extra_of(self._text).update(rest)

    def _keep_rest(self, message: dict[str, Any]) -> bool:
        """Keep what no part has a place for; whether there is something for other parts than text and reasoning."""
        told = False
        for name, value in message.items():
            if value is None or name in _TOLD:
                continue
            if name == "thinking_blocks" and type(value) is list:  # of LiteLLM, in pieces where streamed
                self.message_extra.setdefault(name, []).extend(value)
            elif name not in _MESSAGE or (value and name in _LISTS and type(value) is not list):
                self.keep(name, value)
            elif value:
                told = True
        return told

    def _others(self, message: dict[str, Any], whole: bool) -> None:
        if refusal := message.get("refusal"):
            if self._refusal is None:
                self._refusal = self.parts.open(RefusalPart("", origin=self.origin))
            self.parts.add(self._refusal, refusal)
        if annotations := objects_in(message.get("annotations")):
            self.check_citations(len(self._citations) + len(annotations))
            self._citations += citations_of(annotations)
            index = self._text.index if self._text else None
            self.parts.events += [OpaqueDelta(index, "citation", a) for a in annotations]
        if audio := message.get("audio"):
            self._audio = self._audio or AudioBuilder(self)
            self._audio.feed(audio)
        for image in objects_in(message.get("images")):
            part = decode_image(image, self.origin) or OpaquePart("image", image, origin=self.origin)
            self.parts.whole(part)
        if calls := objects_in(message.get("tool_calls")):
            self._calls = self._calls or CallBuilder(self)
            self._calls.feed(map(decode_fragment, calls), whole=whole)
        if legacy := message.get("function_call"):
            self._legacy_call(legacy, whole)

    def _legacy_call(self, call: dict[str, Any], whole: bool) -> None:
        """The `function_call` of before there were tools; one without a name is a placeholder."""
        self._calls = self._calls or CallBuilder(self)
        if call.get("name") or self._calls.has_call_at("function_call"):
            fragment = decode_fragment({"index": "function_call", "function": call})
            self._calls.feed([fragment], whole=whole)
        else:
            self.keep("function_call", call)

    # -- the end -----------------------------------------------------------------------------------------

    def _close_text(self) -> None:
        part, self._text = self._text, None
        if part is not None:
            if self._citations:
                part.seed = replace(part.seed, citations=tuple(self._citations))
                self._citations = []
            self.parts.close(part)

    def _adopt(self) -> None:
        """Where the first choice has nothing, the answer is the next one: some services count from another number."""
        others = [choice for choice in objects_in(self.extra.get("choices")) if choice.get("index")]
        if self.parts.count or not others:
            return
        index = others[0]["index"]
        self.extra["choices"] = [choice for choice in others if choice["index"] != index]
        if not self.extra["choices"]:
            del self.extra["choices"]
        reason, self._has_deltas = self._raw_finish, False
        try:
            for choice in others:
                if choice["index"] == index:
                    self._streamed({**choice, "index": 0})
        except _MISSHAPEN as error:
            self._misshapen(error, repr(others[0]).encode())
        self._raw_finish = reason or self._raw_finish

    def _end(self) -> list[Event]:
        if self.ended:
            return []
        if "choices" in self.extra:
            self._adopt()
        if not self._choice_seen:
            self.broken("the stream ended without a single choice: is this a Chat Completions endpoint?")
        if not self.extra.keys().isdisjoint(_SEARCHED):
            found = sum(len(list_or_empty(self.extra.get(name))) for name in _SEARCHED)
            self.check_citations(len(self._citations) + found)
            self._citations += search_citations(self.extra)
        if self._citations and self._text is None:
            self._text = self.parts.open(TextPart("", origin=self.origin))
        if self._reasoning is not None:
            self._reasoning.close()
        self._close_text()
        for pieces in (self._audio, self._calls):
            if pieces is not None:
                pieces.close()
        self._reasoning = self._audio = self._calls = None
        if self._refusal is not None:
            self.parts.close(self._refusal)
        return self._over()

    def _over(self) -> list[Event]:
        """The last events: every part is closed."""
        self.ended = True
        self.parts.events.append(
            ResponseEnd(
                self._finish_reason(),
                self._raw_finish,
                self.usage(),
                self.id,
                self.model,
                self.extra,
                self.message_extra or None,
            )
        )
        return self.parts.take()

    def _finish_reason(self) -> FinishReason:
        said = (self._raw_finish or "").lower()
        # Gemini's compatible endpoint explains after a colon.
        reason = _FINISH.get(said) or _FINISH.get(said.partition(":")[0], "other")
        if reason == "stop" or not said:
            if ToolCallPart in self.parts.kinds:
                return "tool_calls"
            if RefusalPart in self.parts.kinds:
                return "refusal"
        return reason

    def usage(self) -> Usage:
        """The counts so far; Groq repeats them under its own name, and some streams have only those."""
        groq = self.extra.get("x_groq")
        theirs = groq.get("usage") if isinstance(groq, dict) else None
        return usage_of(self._counts or (theirs if isinstance(theirs, dict) else {}))

    # -- failures ----------------------------------------------------------------------------------------

    def _misshapen(self, error: Exception, data: bytes) -> NoReturn:
        self.broken(f"not the shape of a Chat Completions answer ({error}): {looks_like(data)}")


def _joined_texts(content: Any) -> str:
    texts = (item.get("text") for item in objects_in(content) if item.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _lengthen(known: dict[str, Any], more: dict[str, Any]) -> None:
    """Add one chunk's log probabilities to those before; each list belongs to `known` alone."""
    for name, value in more.items():
        if isinstance(value, list):
            known[name] = known.get(name) or []
            known[name] += value
        elif value is not None or name not in known:
            known[name] = value
