"""Writes a Chat Completions request: only what was set, under the names that the service takes.

Reference: the API reference of "Create chat completion"; the services' own pages for their quirks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.openai_chat.messages import cache_control, encode_messages
from brainwires_provider.protocols.openai_chat.options import ChatQuirks, OpenAIChatOptions
from brainwires_provider.types import (
    Effort,
    HostedTool,
    JSONSchema,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_request"]


def encode_request(request: Request, origin: Origin, quirks: ChatQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that Chat Completions cannot express."""
    reader = OptionReader(request, OpenAIChatOptions)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": encode_messages(request.messages, origin, quirks, reader),
        **quirks.always,
    }
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if not reader.is_empty:
        _encode_options(reader, quirks, body)
    if not stream and body.pop("stream_options", None) is not None:
        reader.dropped("provider_options.stream_options", "only a streamed response has stream options")
    return Call("/chat/completions", body, deviations=reader.finish(), sent=reader.sent)


def _encode_options(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    system = reader.take("system")
    if system is not None:
        body["messages"].insert(0, {"role": "system", "content": system})
    _tools(reader, quirks, body)
    _output(reader, quirks, body)
    _sampling(reader, quirks, body)
    _reasoning(reader, quirks, body)
    body.update(reader.provider_options())
    advice = "mark parts and tools with cache=Cache()" if quirks.cache_marks else "it caches by itself"
    reader.absent("cache", f"no cache strategy is implemented for this service: {advice}")


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
    for name, wire_name in fields:
        value = reader.take(name) if wire_name is not None else None
        if value is not None and wire_name is not None:
            body[wire_name] = _stops(value, quirks) if name == "stop" else value


def _stops(stop: str | Sequence[str], quirks: ChatQuirks) -> str | list[str]:
    if isinstance(stop, str):
        return [stop] if quirks.stop_list else stop
    return list(stop)


def _reasoning(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    wanted: Effort | Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return
    if isinstance(wanted, str):
        wanted = Reasoning(effort=wanted)
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


def _reasoning_object(wanted: Reasoning, quirks: ChatQuirks) -> dict[str, Any]:
    effort = None if wanted.effort is None else quirks.efforts.get(wanted.effort, wanted.effort)
    said = {"effort": effort, "max_tokens": wanted.budget_tokens, "summary": wanted.summary}
    return {name: value for name, value in said.items() if value is not None}


def _effort(effort: Effort, quirks: ChatQuirks, body: dict[str, Any], reader: OptionReader) -> None:
    """By a word, by a switch, or by both."""
    only_switched = quirks.reasoning == "thinking"
    if effort == "off" and (only_switched or quirks.thinking_off):
        body.update(quirks.thinking_off or {"thinking": {"type": "disabled"}})
        return
    if only_switched:
        body.update(quirks.thinking_on or {"thinking": {"type": "enabled"}})
        if effort != "medium":
            reason = "this service only switches thinking on and off"
            reader.adapted("reasoning", reason)
        return
    word = quirks.efforts.get(effort, effort)
    if word is None:
        reader.dropped("reasoning", f"this service has no effort {effort!r}")
        return
    body.update(quirks.thinking_on)
    body["reasoning_effort"] = word
    if effort not in (word, "off"):
        reader.adapted("reasoning", f"this service's nearest effort is {word!r}")


def _tools(reader: OptionReader, quirks: ChatQuirks, body: dict[str, Any]) -> None:
    choice, tools = reader.take("tool_choice"), reader.take("tools")
    if choice is not None and choice.names and choice.mode == "none":
        choice = ToolChoice("none")
    if choice is not None and _is_beyond(choice, quirks):
        tools = tuple(t for t in tools or () if not isinstance(t, Tool) or t.name in choice.names)
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
        function: dict[str, Any] = {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
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
        body["response_format"] = {"type": "json_object"}
    elif quirks.json_schema:
        named: dict[str, Any] = {"name": output.name, "schema": output.schema}
        if output.description is not None:
            named["description"] = output.description
        if output.strict is not None:
            named["strict"] = output.strict
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    else:
        body["response_format"] = {"type": "json_object"}
        body["messages"] = [{"role": "system", "content": _schema_in_words(output)}, *body["messages"]]
        reader.emulated("output", "this service takes no schema: it is put into words")


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
