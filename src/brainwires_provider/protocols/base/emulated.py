"""Tools for a model that has none: the service holds the answer to a JSON object, which is a call or the answer.

For services that constrain an output by a grammar, whatever the model is. `EmulatedTools` states the tools in the
system message, puts earlier calls and results into words, and makes the schema of the object; `EmulatedDecoder` makes
a call of it, or the text of the answer, which streams as it comes. A choice that forces a call leaves out the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.events import (
    Event,
    PartEnd,
    PartStart,
    ResponseEnd,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Decoder
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.types import (
    HostedTool,
    JSONSchema,
    Message,
    Origin,
    Part,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["EmulatedDecoder", "EmulatedTools"]

_CALL, _ARGUMENTS, _ANSWER = "call", "arguments", "answer"
_REASON = "this model's template has no tools: the answer is held to a call or a text by a schema"
_CONSTRAINTS = frozenset(("grammar", "json_schema", "response_format"))
Schema = dict[str, Any]


class EmulatedTools:
    """The tools of one request. `schema` is what the answer is held to, `words` what the system message says."""

    def __init__(self, reader: OptionReader, origin: Origin, others: Mapping[str, Any]) -> None:
        """`others` are the caller's own fields of the body. Raises UnsupportedError for what cannot be emulated."""
        self._origin = origin
        choice = reader.take("tool_choice")
        tools = reader.callable_tools()
        self._refuse(tools, others)
        self._tools = [tool for tool in tools if isinstance(tool, Tool)]
        self._is_forced = choice is not None and choice.mode == "required" and bool(self._tools)
        self._output = reader.take("output") if self._tools else None
        if not self._tools:
            return
        reader.emulated("tools", _REASON)
        if choice is not None and choice.raw is not None:
            reader.dropped("tool_choice", "emulated tools have no such field")
        elif choice is not None and not choice.names:
            reader.emulated("tool_choice", "by the schema that the answer is held to")
        if self._output is not None:
            reader.emulated("output", "within the schema that the answer is held to")
        if reader.take("parallel_tool_calls"):
            reader.dropped("parallel_tool_calls", "emulated tools are called one at a time")

    def __bool__(self) -> bool:
        return bool(self._tools)

    def _refuse(self, tools: Sequence[Tool | HostedTool], others: Mapping[str, Any]) -> None:
        hosted = next((tool for tool in tools if isinstance(tool, HostedTool)), None)
        fault = None
        if hosted is not None:
            fault = f"no server here runs {hosted.type!r}: it has to be a Tool that you answer"
        elif tools and (held := sorted(_CONSTRAINTS & others.keys())):
            fault = f"this model's tools are emulated by constraining its answer, as {held[0]} does: send one of both"
        if fault is not None:
            raise UnsupportedError(fault, provider=self._origin.provider, model=self._origin.model)

    @property
    def words(self) -> str:
        """The tools, and the form of an answer."""
        listed = "\n".join(map(_described, self._tools))
        form = f'{{"{_CALL}": {_text(self._tools[0].name)}, "{_ARGUMENTS}": {{...}}}}'
        words = f"You have these functions:\n{listed}\n\nTo call a function, reply with JSON like {form}."
        if self._is_forced:
            return f"{words} Call one now."
        return f'{words} When you have the result, reply with {{"{_ANSWER}": "..."}}.'

    @property
    def schema(self) -> Schema:
        """An object with a call, or with the answer."""
        defined: Schema = {}
        branches = []
        for number, tool in enumerate(self._tools):
            place = f"arguments{number}"
            defined[place] = _moved({"type": "object", **tool.parameters}, f"#/$defs/{place}")
            called = {_CALL: {"const": tool.name}, _ARGUMENTS: {"$ref": f"#/$defs/{place}"}}
            branches.append(_object(called))
        if not self._is_forced:
            answer: Mapping[str, Any] = {"type": "string"}
            if isinstance(self._output, JSONSchema):
                answer = _moved(dict(self._output.schema), f"#/$defs/{_ANSWER}")
            elif self._output is not None:
                answer = {"type": "object"}
            defined[_ANSWER] = answer
            branches.append(_object({_ANSWER: {"$ref": f"#/$defs/{_ANSWER}"}}))
        return {"anyOf": branches, "$defs": defined}

    def decoder(self, inner: Decoder) -> Decoder:
        """The decoder of the response, around the protocol's own."""
        return EmulatedDecoder(inner, streams=self._output is None)

    @staticmethod
    def history(messages: Sequence[Message], reader: OptionReader) -> tuple[Message, ...]:
        """The same messages, with calls and results as text: a template without tools has no place for them."""
        names = {call.call_id: call.name for message in messages for call in message.tool_calls}
        return tuple(_in_words(message, index, names, reader) for index, message in enumerate(messages))


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _described(tool: Tool) -> str:
    return f"- {tool.name}: {tool.description} Arguments: {_text(tool.parameters)}"


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at another place: its references to itself lead there."""
    if isinstance(schema, Mapping):
        moved = {name: _moved(inner, place) for name, inner in schema.items()}
        ref = moved.get("$ref")
        if isinstance(ref, str) and ref.startswith("#"):
            moved["$ref"] = f"{place}{ref[1:]}"
        return moved
    return [_moved(inner, place) for inner in schema] if isinstance(schema, (list, tuple)) else schema


def _in_words(message: Message, index: int, names: Mapping[str, str], reader: OptionReader) -> Message:
    if not any(isinstance(part, (ToolCallPart, ToolResultPart)) for part in message.content):
        return message
    parts: list[Part] = []
    for at, part in enumerate(message.content):
        if isinstance(part, ToolCallPart):
            given = part.arguments.strip() or "{}"
            parts.append(TextPart(f'{{"{_CALL}": {_text(part.name)}, "{_ARGUMENTS}": {given}}}'))
        elif isinstance(part, ToolResultPart):
            name = part.name or names.get(part.call_id, "the function")
            kind = "Error" if part.is_error else "Result"
            others = [inner for inner in part.content if not isinstance(inner, TextPart)]
            parts += [TextPart(f"{kind} of {name}: {part.text}"), *others]
        else:
            parts.append(part)
            continue
        reader.emulated(
            f"messages[{index}].content[{at}]", "this model's template has no tools: put into words"
        )
    role = "assistant" if message.role == "assistant" else "user"
    return replace(message, role=role, content=_joined(parts))


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Texts next to each other as one."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, TextPart) and isinstance(last, TextPart):
            joined[-1] = TextPart(f"{last.text}\n{part.text}")
        else:
            joined.append(part)
    return tuple(joined)


# -- the response --------------------------------------------------------------------------------------------

_ANSWER_BEGINS = re.compile(rf'\s*\{{\s*"{_ANSWER}"\s*:\s*"')
_CHARACTERS = re.compile(
    r"""(?:[^"\\]|\\["\\/bfnrt]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"""
    r"""|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4})+"""
)
"""Whole characters of a JSON string: an escape that has not come yet is not among them."""


class EmulatedDecoder:
    """See `base.protocol.Decoder`. `streams`: the answer is a text, given as it comes."""

    def __init__(self, inner: Decoder, *, streams: bool) -> None:
        self._inner = inner
        self._streams = streams
        self._objects: dict[int, _Object] = {}
        self._done: dict[int, Part] = {}
        self._has_called = False
        self._id: str | None = None

    @property
    def ended(self) -> bool:
        """The ResponseEnd has been given."""
        return self._inner.ended

    @property
    def max_parts(self) -> int:
        """The most parts that the answer may have."""
        return self._inner.max_parts

    @max_parts.setter
    def max_parts(self, limit: int) -> None:
        self._inner.max_parts = limit

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message of a stream."""
        return self._read(self._inner.feed(message))

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a response that came as one body."""
        return self._read(self._inner.feed_whole(body))

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream has ended. Raises StreamInterrupted if the response is not whole."""
        return self._read(self._inner.finish(clean))

    def partial(self) -> Response:
        """What has arrived so far; the object of a call that is not complete is text."""
        response = self._inner.partial()
        content = tuple(self._done.get(i, part) for i, part in enumerate(response.message.content))
        return replace(response, message=replace(response.message, content=content))

    def _read(self, events: list[Event]) -> list[Event]:
        read: list[Event] = []
        for event in events:
            if isinstance(event, PartStart) and isinstance(event.part, TextPart):
                self._objects[event.index] = _Object(event, streams=self._streams)
            elif isinstance(event, TextDelta):
                read += self._objects[event.index].add(event.text)
            elif isinstance(event, PartEnd) and event.index in self._objects:
                read += self._end(event)
            elif isinstance(event, ResponseEnd) and self._has_called and event.finish_reason == "stop":
                read.append(replace(event, finish_reason="tool_calls"))
            else:
                read.append(event)
        return read

    def _end(self, event: PartEnd) -> list[Event]:
        events, part = self._objects[event.index].end(event.part, self._inner.partial)
        self._done[event.index] = part
        self._has_called = self._has_called or isinstance(part, ToolCallPart)
        return [*events, PartEnd(event.index, part)]


class _Object:
    """The object of one text part as it comes."""

    def __init__(self, start: PartStart, *, streams: bool) -> None:
        self._start = start
        self._streams = streams
        self._text = ""
        self._at: int | None = None
        self._answer = ""

    def add(self, text: str) -> list[Event]:
        """The deltas of an answer's text."""
        self._text += text
        events: list[Event] = []
        if self._at is None and self._streams and (begun := _ANSWER_BEGINS.match(self._text)):
            self._at = begun.end()
            events.append(self._start)
        if self._at is not None and (found := _CHARACTERS.match(self._text, self._at)):
            self._at = found.end()
            piece = _unquoted(found[0])
            self._answer += piece
            events.append(TextDelta(self._start.index, piece))
        return events

    def end(self, part: Part, partial: Callable[[], Response]) -> tuple[list[Event], Part]:
        """The remaining events but for the end, and the part that it is."""
        index = self._start.index
        if self._at is not None:
            # What is left is the end of the object, or an escape that is no character.
            rest = self._text[self._at :].rstrip().removesuffix("}").rstrip().removesuffix('"')
            events: list[Event] = [TextDelta(index, rest)] if rest else []
            return events, replace(part, text=self._answer + rest)
        try:
            value = msgspec.json.decode(self._text, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            value = {}  # cut off by a limit: what came is the text
        if _CALL in value and _ARGUMENTS in value:
            name = str(msgspec.json.decode(value[_CALL]))
            generated = local_id(partial().id, index, name)
            call = ToolCallPart(None, name, "", local_id=generated, origin=part.origin)
            arguments = bytes(value[_ARGUMENTS]).decode()
            started: list[Event] = [PartStart(index, call), ToolCallDelta(index, arguments)]
            return started, replace(call, arguments=arguments)
        raw = bytes(value[_ANSWER]).decode() if _ANSWER in value else self._text
        text = _unquoted(raw[1:-1]) if raw.startswith('"') else raw
        return [self._start, *([TextDelta(index, text)] if text else [])], replace(part, text=text)


def _unquoted(text: str) -> str:
    """The characters of a JSON string without its quotes; a line break in it stays one."""
    plain = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return str(msgspec.json.decode(f'"{plain}"'))
