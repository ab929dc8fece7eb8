"""Writes a request of `/api/chat/stream`: what is said now, what was said before, the tools, and one option.

The last entry of the history is `content`, where it is the user's. Where results come last there are two ways. One
result, of an answer's only call, goes as `functionCallOutput` after `previousResponseId`, which is how the relay goes
on with an answer that it holds. That field takes one result: several go in the history, with their calls and without
state, as do those whose answer is another service's or another model's.
Reference: `brainwires_http` in the framework's `brainwires-provider`, and `cli/chat/continuation.rs` of its CLI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import take_system
from brainwires_provider.protocols.relay.messages import encode_messages
from brainwires_provider.protocols.relay.options import BrainwiresOptions, RelayQuirks
from brainwires_provider.protocols.relay.parts import Entry
from brainwires_provider.types import (
    HostedTool,
    JSONSchema,
    Message,
    Origin,
    Request,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["PATH", "encode_request"]

PATH = "/api/chat/stream"
_BETWEEN_SYSTEMS = "\n\n"
_HANDLES = ("previousResponseId", "chatId")
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[RelayQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for what the relay cannot express, and where there is nothing to answer."""
    quirks = protocol.quirks
    reader = OptionReader(request, BrainwiresOptions)
    state = {**_handles(request, origin, reader), **reader.provider_options()}
    instructions, turns = encode_messages(request.messages, origin, reader)
    system = take_system(reader)
    if system is not None:
        instructions.insert(0, system)
    body: Body = {"content": "", "model": request.model, "timezone": quirks.timezone}
    history = [entry for turn in turns for entry in turn]
    if not history or history[-1]["role"] in ("assistant", "function_call"):
        found = "the last message is the assistant's" if history else "there is no message"
        raise _unsupported(f"{found}, and the relay answers a user's message or tool results", origin)
    if history[-1]["role"] == "user":
        body["content"] = history.pop()["content"]
    else:
        history = _Results(request.messages, origin, reader).put(turns, state, body)
    if history:
        body["conversationHistory"] = history
    body.update(state)
    if instructions:
        body.setdefault("systemPrompt", _BETWEEN_SYSTEMS.join(instructions))
    if (temperature := reader.take("temperature")) is not None:
        body.setdefault("temperature", temperature)
    _tools(reader, origin, quirks, body)
    _output(reader, body)
    body = {name: value for name, value in body.items() if value is not None}
    return Call(PATH, body, deviations=reader.finish(), sent=reader.sent, weakened=reader.weakened)


def _unsupported(message: str, origin: Origin) -> UnsupportedError:
    return UnsupportedError(message, provider=origin.provider, model=origin.model)


def _handles(request: Request, origin: Origin, reader: OptionReader) -> Body:
    """State that the relay keeps: `Request.extra` names it, and in `origin` whose it is."""
    extra = request.extra or {}
    handles = {name: extra[name] for name in _HANDLES if extra.get(name) is not None}
    owner = extra.get("origin")
    if isinstance(owner, Mapping):
        owner = Origin(str(owner.get("protocol")), str(owner.get("provider")))
    if owner is None or (owner.protocol, owner.provider) == (origin.protocol, origin.provider):
        if handles:
            reader.take_extra(request)
        return handles
    for name in handles:
        reader.dropped(f"extra.{name}", f"it belongs to {owner.protocol} at {owner.provider}")
    return {}


class _Results:
    """The results that end a conversation, and the turn whose calls they answer."""

    def __init__(self, messages: Sequence[Message], origin: Origin, reader: OptionReader) -> None:
        self._origin = origin
        self._reader = reader
        asked = [index for index, message in enumerate(messages) if message.role == "assistant"]
        self._calls = messages[asked[-1]].tool_calls if asked else ()
        self._begin = asked[-1] if asked else 0
        self._first = asked[-1] + 1 if asked else 0
        self._answers = [part for message in messages[self._first :] for part in message.content]

    def put(self, turns: list[list[Entry]], state: Body, body: Body) -> list[Entry]:
        """Put the one result where the relay wants it, and give the history; or give all of it as the history."""
        body["chatId"] = self._told("chatId", self._mine())
        known = state.get("previousResponseId", self._told("responseId", self._of_this_model()))
        if known is not None and "functionCallOutput" not in state:
            if self._is_only_result():
                answer = turns[-1][-1]
                told = {name: value for name, value in answer.items() if name not in ("role", "content")}
                body["functionCallOutput"] = {**told, "output": answer["content"]}
                body["previousResponseId"] = known
                return [entry for turn in turns[: self._begin] for entry in turn]
            reason = (
                "functionCallOutput takes the result of an answer's only call: what follows the calls goes in "
                "conversationHistory, with them"
            )
            self._reader.adapted(f"messages[{self._first}]", reason)
        return [entry for turn in turns for entry in turn]

    def _is_only_result(self) -> bool:
        """Whether there is one result and nothing beside it, of the only call: or of one that is not at hand."""
        if len(self._answers) != 1 or len(self._calls) > 1:
            return False
        only = self._answers[0]
        return isinstance(only, ToolResultPart) and all(c.call_id == only.call_id for c in self._calls)

    def _mine(self) -> list[ToolCallPart]:
        """The calls that this very service made."""
        whose = (self._origin.protocol, self._origin.provider)
        return [c for c in self._calls if c.origin and (c.origin.protocol, c.origin.provider) == whose]

    def _of_this_model(self) -> list[ToolCallPart]:
        """The relay leads to many vendors' models: what one of them holds, no other does."""
        model = self._origin.model
        return [c for c in self._mine() if c.origin and model in (c.origin.model, c.origin.reported)]

    def _told(self, name: str, calls: list[ToolCallPart]) -> str | None:
        """What the calls say of their answer."""
        told = ((call.extra or {}).get(name) for call in calls)
        return next((value for value in told if isinstance(value, str) and value), None)


# -- tools and output ----------------------------------------------------------------------------------------


def _tools(reader: OptionReader, origin: Origin, quirks: RelayQuirks, body: Body) -> None:
    """There is no tool choice: only the tools that may be called are sent."""
    tools, choice = reader.callable_tools(), reader.take("tool_choice")
    if choice is not None and choice.mode == "required":
        reason = "the relay cannot make a model call a tool: it may answer without"
        reader.dropped("tool_choice", reason)
    elif choice is not None and choice.raw is not None:
        reader.dropped("tool_choice", "the relay has no such field")
    sent = [_tool(tool, origin, quirks, reader) for tool in tools]
    sent += map(dict, body.pop("selectedMCPTools", ()))
    if sent:
        body["selectedMCPTools"] = sent


def _tool(tool: Tool | HostedTool, origin: Origin, quirks: RelayQuirks, reader: OptionReader) -> Body:
    if isinstance(tool, HostedTool):
        raise _unsupported(
            f"the relay has no hosted tools: {tool.type!r} has to be a Tool that you answer, or one of "
            "BrainwiresOptions(selectedMCPTools=…)",
            origin,
        )
    if tool.strict is not None:
        reader.dropped(f"tools[{tool.name}].strict", "the relay has no such field")
    wire = {
        "name": tool.name,
        "server": quirks.server,
        "description": tool.description,
        "inputSchema": tool.parameters,
    }
    return wire | reader.take_extra(tool)


def _output(reader: OptionReader, body: Body) -> None:
    output = reader.take("output")
    if output is None:
        return
    words = "Answer with one JSON object and nothing else."
    if isinstance(output, JSONSchema):
        described = f" ({output.description})" if output.description else ""
        schema = msgspec.json.encode(output.schema).decode()
        words = (
            f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
        )
    said = body.get("systemPrompt")
    body["systemPrompt"] = words if said is None else f"{said}\n\n{words}"
    reason = "the relay takes no form of an answer: it is put into words"
    reader.emulated("output", reason)
