"""Writes a Chat Completions request: only what was set, under the names that the service takes.

Reference: the API reference of "Create chat completion"; the services' own pages for their quirks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.dialects import (
    DIALECTS,
    JSON_WORDS,
    Dialect,
    conformed,
    holds_json_word,
)
from brainwires_provider.protocols.base.emulated import EmulatedTools
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import take_system, tool_name
from brainwires_provider.protocols.openai_chat.messages import cache_control, encode_messages, merge_system
from brainwires_provider.protocols.openai_chat.options import ChatQuirks, OpenAIChatOptions
from brainwires_provider.types import (
    Effort,
    HostedTool,
    JSONSchema,
    Message,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_request"]


def encode_request(
    protocol: ProtocolBase[ChatQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that Chat Completions cannot express."""
    quirks = protocol.quirks
    reader = OptionReader(request, OpenAIChatOptions, facts)
    messages: Sequence[Message] = request.messages
    emulated = None
    if facts.tools is False:
        emulated = _emulated(reader, request, origin, quirks)
        messages = EmulatedTools.history(messages, reader)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": encode_messages(messages, origin, quirks, reader),
        **quirks.always,
    }
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if not reader.is_empty:
        _encode_options(reader, origin, quirks, body, emulated)
    if quirks.one_system or reader.facts.one_system:
        body["messages"] = merge_system(body["messages"], reader)
    if not stream and body.pop("stream_options", None) is not None:
        reader.dropped("provider_options.stream_options", "only a streamed response has stream options")
    wrap = emulated.decoder if emulated else None
    reported = reader.finish()
    return Call(
        "/chat/completions",
        body,
        deviations=reported,
        sent=reader.sent,
        weakened=reader.weakened,
        wrap=wrap,
    )


def _emulated(
    reader: OptionReader, request: Request, origin: Origin, quirks: ChatQuirks
) -> EmulatedTools | None:
    """The tools of a model that has none. Raises UnsupportedError where they cannot be emulated."""
    if not request.tools:
        return None
    if not quirks.constrains:
        raise UnsupportedError(
            "this model takes no tools, and this service has no grammar to emulate them with",
            provider=origin.provider,
            model=origin.model,
        )
    return EmulatedTools(reader, origin, request.options.extra_body or {})


def _encode_options(
    reader: OptionReader,
    origin: Origin,
    quirks: ChatQuirks,
    body: dict[str, Any],
    emulated: EmulatedTools | None,
) -> None:
    system = take_system(reader)
    if system is not None:
        body["messages"].insert(0, {"role": "system", "content": system})
    if emulated:
        _emulate(emulated, body)
    elif emulated is None:
        _tools(reader, quirks, body)
    if not emulated:
        _output(reader, quirks, body)
    if not reader.has_options:
        if "tools" in body:
            _reasoning(reader, origin, quirks, body)
        return
    _reasoning(reader, origin, quirks, body)
    _sampling(reader, quirks, body)
    body.update(reader.provider_options())
    advice = "mark parts and tools with cache=Cache()" if quirks.cache_marks else "it caches by itself"
    reader.absent("cache", f"no cache strategy is implemented for this service: {advice}")


def _emulate(emulated: EmulatedTools, body: dict[str, Any]) -> None:
    """State the tools in the one system message, and hold the answer to their schema."""
    first = body["messages"][0] if body["messages"] else {}
    if first.get("role") == "system" and isinstance(first["content"], str):
        body["messages"][0] = {**first, "content": f"{first['content']}\n\n{emulated.words}"}
    else:
        _put_system(body, emulated.words)
    form = {"name": "call_or_answer", "schema": emulated.schema}
    body["response_format"] = {"type": "json_schema", "json_schema": form}


def _sampling(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    """Options that are fields of the body: our name, and the wire's name where this service has the field."""
    fields = (
        ("max_tokens", quirks.max_tokens_field),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k" if quirks.top_k else None),
        ("seed", quirks.seed_field),
        ("stop", "stop"),
        ("presence_penalty", "presence_penalty" if quirks.penalties else None),
        (
            "frequency_penalty",
            "frequency_penalty" if quirks.penalties and quirks.frequency_penalty else None,
        ),
        ("parallel_tool_calls", "parallel_tool_calls" if quirks.parallel_tool_calls else None),
    )
    thinks = reader.is_thinking and body.get("reasoning_effort") != "none"
    for name, wire_name in fields:
        value = reader.take(name) if wire_name is not None else None
        if value is not None and wire_name is not None and not reader.refuses(name, thinks=thinks):
            body[wire_name] = _stops(value, quirks) if name == "stop" else value


def _stops(stop: str | Sequence[str], quirks: ChatQuirks) -> str | list[str]:
    if isinstance(stop, str):
        return [stop] if quirks.stop_list else stop
    return list(stop)


def _reasoning(reader: OptionReader, origin: Origin, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    wanted: Reasoning | None = reader.take("reasoning")
    if "tools" in body and quirks.reasoning == "effort" and _unreasoned(reader, origin, wanted, body):
        return
    if wanted is None:
        return
    unsaid = ["effort", "budget_tokens", "summary"]
    if quirks.reasoning == "object":
        body["reasoning"] = _reasoning_object(wanted, quirks)
        unsaid.clear()
    elif quirks.reasoning != "none":
        unsaid.remove("effort")
        if wanted.effort is not None:
            _effort(wanted.effort, quirks, body, reader)
    if quirks.budget_field is not None and wanted.budget_tokens is not None:
        body[quirks.budget_field] = wanted.budget_tokens
        unsaid.remove("budget_tokens")
    lost = [name for name in unsaid if getattr(wanted, name) is not None]
    if lost:
        reason = f"this service's Chat Completions cannot say {' or '.join(lost)}"
        reader.dropped("reasoning", reason)


def _unreasoned(reader: OptionReader, origin: Origin, wanted: Reasoning | None, body: dict[str, Any]) -> bool:
    """Switch reasoning off where the model takes tools only without it; returns whether it did."""
    facts = reader.facts
    if facts.chat_tools == "none":
        raise UnsupportedError(
            "this model takes tools in the Responses API only: name it with a provider that speaks it, such as "
            "openai-responses",
            provider=origin.provider,
            model=origin.model,
        )
    if facts.chat_tools == "any" or not reader.is_thinking:
        return False
    body["reasoning_effort"] = "none"
    reason = "in Chat Completions this model takes tools only without reasoning"
    if wanted is None:
        reader.adapted("tools", f"{reason}: it is switched off")
    else:
        reader.dropped("reasoning", f"{reason}; in the Responses API with it")
    return True


def _reasoning_object(wanted: Reasoning, quirks: ChatQuirks) -> dict[str, Any]:
    effort = None if wanted.effort is None else quirks.efforts.get(wanted.effort, wanted.effort)
    said = {"effort": effort, "max_tokens": wanted.budget_tokens, "summary": wanted.summary}
    return {name: value for name, value in said.items() if value is not None}


def _effort(effort: Effort, quirks: ChatQuirks, body: dict[str, Any], reader: OptionReader) -> None:
    """By a word, by a switch, or by both."""
    efforts = reader.facts.efforts
    if quirks.reasoning == "effort" and efforts is not None:
        known = reader.take_effort(effort, efforts)
        if known is not None:
            body["reasoning_effort"] = known
        return
    only_switched = quirks.reasoning == "thinking"
    if effort == "off" and (only_switched or quirks.thinking_off):
        body.update(quirks.thinking_off or {"thinking": {"type": "disabled"}})
        return
    if only_switched:
        body.update(quirks.thinking_on or {"thinking": {"type": "enabled"}})
        if effort != "medium":
            reason = "this service only switches thinking on and off"
            reader.weaken("reasoning", reason)
        return
    word = quirks.efforts.get(effort, effort)
    if word is None:
        reader.dropped("reasoning", f"this service has no effort {effort!r}")
        return
    body.update(quirks.thinking_on)
    body["reasoning_effort"] = word
    if effort not in (word, "off"):
        reader.weaken("reasoning", f"this service's nearest effort is {word!r}")


def _tools(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    tools: Sequence[Tool | HostedTool] = reader.take("tools") or ()
    choice = reader.take("tool_choice")
    if not tools and choice is None:
        return
    choice, stops = reader.forcible(choice, can_stop=bool(quirks.thinking_off))
    if stops:
        body.update(quirks.thinking_off)
    if choice is not None and choice.names and choice.mode == "none":
        choice = ToolChoice("none")
    if choice is not None and choice.mode == "none" and not quirks.none_choice and choice.raw is None:
        reader.emulated("tool_choice", "no tools are sent")
        tools, choice = (), None
    if choice is not None and _is_beyond(choice, quirks):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        reader.emulated("tool_choice", "only the tools that may be called are sent")
        choice = ToolChoice(choice.mode)
    if tools:
        body["tools"] = [_tool(tool, quirks, reader) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice, quirks)


def _tool(tool: Tool | HostedTool, quirks: ChatQuirks, reader: OptionReader) -> dict[str, Any]:
    if isinstance(tool, HostedTool):
        wire: dict[str, Any] = {"type": tool.type, **tool.fields}
    else:
        place = f"tools[{tool.name}].parameters"
        function: dict[str, Any] = {
            "name": tool_name(tool.name, quirks.tool_names),
            "description": tool.description,
            "parameters": conformed(reader, place, tool.parameters, _dialect(quirks, strict=tool.strict)),
        }
        if tool.strict is not None:
            function["strict"] = tool.strict
        wire = {"type": "function", "function": function, **reader.take_extra(tool)}
    if quirks.cache_marks and (mark := reader.take_cache(tool)) is not None:
        wire["cache_control"] = cache_control(mark)
    return wire


def _is_allowance(choice: ToolChoice) -> bool:
    """Whether a choice among named tools is left to the model."""
    return choice.raw is None and len(choice.names) > (1 if choice.mode == "required" else 0)


def _is_beyond(choice: ToolChoice, quirks: ChatQuirks) -> bool:
    """Whether a choice names tools as this service cannot."""
    if choice.raw is not None or not choice.names:
        return False
    return not (quirks.allowed_tools if _is_allowance(choice) else quirks.named_choice)


def _choice(choice: ToolChoice, quirks: ChatQuirks) -> Any:
    if choice.raw is not None:
        return dict(choice.raw)
    if not choice.names:
        return quirks.required_word if choice.mode == "required" else choice.mode
    named = [{"type": "function", "function": {"name": name}} for name in choice.names]
    if not _is_allowance(choice):
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _output(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    output = reader.take("output")
    if output is None:
        return
    if isinstance(output, str):
        _plain_json(reader, quirks, body)
    elif quirks.json_schema:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": _named_schema(reader, output, quirks),
        }
    else:
        body["response_format"] = {"type": "json_object"}
        _put_system(body, _schema_in_words(output))
        reader.emulated("output", "this service takes no schema: it is put into words")


def _put_system(body: dict[str, Any], words: str) -> None:
    body["messages"] = [{"role": "system", "content": words}, *body["messages"]]


def _plain_json(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    """JSON without a schema, in the form and with the words that the service demands."""
    if not quirks.json_object:
        form = {"name": "object", "schema": {"type": "object"}}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
        reader.adapted("output", "this service has no plain JSON mode: the schema of any object is sent")
        return
    body["response_format"] = {"type": "json_object"}
    if quirks.json_word and not holds_json_word(body["messages"]):
        _put_system(body, JSON_WORDS)
        reader.adapted("output", "the service demands the word JSON in a message: a system message has it")


def _named_schema(reader: OptionReader, output: JSONSchema, quirks: ChatQuirks) -> dict[str, Any]:
    strict = output.strict
    if strict and not reader.facts.strict_schema:
        strict = None
        reader.weaken("output", "this model follows a schema as well as it can: strict is not sent")
    schema = conformed(reader, "output", output.schema, _dialect(quirks, strict=strict))
    named: dict[str, Any] = {"name": output.name, "schema": schema}
    if output.description is not None:
        named["description"] = output.description
    if strict is not None:
        named["strict"] = strict
    return named


def _dialect(quirks: ChatQuirks, *, strict: bool | None) -> Dialect | None:
    """The subset that the service takes of a schema, strict or not."""
    name = str(quirks.schemas)
    return DIALECTS.get(name if strict else f"{name}, not strict")


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
