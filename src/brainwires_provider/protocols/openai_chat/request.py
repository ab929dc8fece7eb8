"""Writes a Chat Completions request: only what was set, under the names that the service takes.

Reference: the API reference of "Create chat completion"; the services' own pages for their quirks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.openai_chat.messages import HistoryEncoder
from brainwires_provider.protocols.openai_chat.quirks import ChatQuirks, OpenAIChatOptions
from brainwires_provider.types import (
    Deviation,
    Effort,
    HostedTool,
    JSONSchema,
    Message,
    Options,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_request"]


def encode_request(request: Request, origin: Origin, quirks: ChatQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that Chat Completions cannot say."""
    deviations: list[Deviation] = []
    messages = request.messages
    if request.system is not None:
        messages = (Message.system(request.system), *messages)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": HistoryEncoder(origin, quirks, deviations).encode(messages),
        **quirks.always,
    }
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if request.tools or request.tool_choice is not None:
        _tools(request, quirks, body, deviations)
    if request.output is not None:
        _output(request.output, quirks, body, deviations)
    options = request.options
    if options.set_fields():
        _tuning(options, quirks, body, deviations)
        _reasoning(options, quirks, body, deviations)
        body.update(own_options(options, OpenAIChatOptions, deviations))
    if not stream:
        body.pop("stream_options", None)
    return Call("/chat/completions", body, deviations=tuple(deviations))


def _tuning(options: Options, quirks: ChatQuirks, body: dict[str, Any], deviations: list[Deviation]) -> None:
    """The plain knobs: our name, the wire's name, and whether this service has it."""
    knobs = (
        ("max_tokens", quirks.max_tokens_field, True),
        ("temperature", "temperature", True),
        ("top_p", "top_p", True),
        ("top_k", "top_k", quirks.top_k),
        ("seed", quirks.seed_field, quirks.seed_field is not None),
        ("stop", "stop", True),
        ("presence_penalty", "presence_penalty", quirks.penalties),
        ("frequency_penalty", "frequency_penalty", quirks.penalties and quirks.frequency_penalty),
        ("parallel_tool_calls", "parallel_tool_calls", quirks.parallel_tool_calls),
    )
    for name, wire_name, taken in knobs:
        value = getattr(options, name)
        if value is None:
            continue
        if taken and wire_name is not None:
            body[wire_name] = _stops(value, quirks) if name == "stop" else value
        else:
            deviations.append(Deviation(name, "dropped", "this service's Chat Completions has no such field"))
    if options.cache is not None and options.cache.mode != "off":
        reason = (
            "mark parts and tools with cache=Cache()"
            if quirks.cache_marks
            else "this service caches by itself"
        )
        deviations.append(
            Deviation("cache", "dropped", f"no strategy is planned for this protocol: {reason}")
        )


def _stops(stop: str | Sequence[str], quirks: ChatQuirks) -> str | list[str]:
    if isinstance(stop, str):
        return [stop] if quirks.stop_list else stop
    return list(stop)


def _reasoning(
    options: Options, quirks: ChatQuirks, body: dict[str, Any], deviations: list[Deviation]
) -> None:
    if options.reasoning is None:
        return
    wanted = options.reasoning
    if isinstance(wanted, str):
        wanted = Reasoning(effort=wanted)
    unsaid = ["effort", "budget_tokens", "summary"]
    if quirks.reasoning == "object":
        body["reasoning"] = _reasoning_object(wanted, quirks)
        unsaid.clear()
    elif quirks.reasoning != "none":
        unsaid.remove("effort")
        if wanted.effort is not None:
            _effort(wanted.effort, quirks, body, deviations)
    if quirks.budget_field is not None and wanted.budget_tokens is not None:
        body[quirks.budget_field] = wanted.budget_tokens
        unsaid.remove("budget_tokens")
    lost = [name for name in unsaid if getattr(wanted, name) is not None]
    if lost:
        reason = f"this service's Chat Completions cannot say {' or '.join(lost)}"
        deviations.append(Deviation("reasoning", "dropped", reason))


def _reasoning_object(wanted: Reasoning, quirks: ChatQuirks) -> dict[str, Any]:
    effort = None if wanted.effort is None else quirks.efforts.get(wanted.effort, wanted.effort)
    said = {"effort": effort, "max_tokens": wanted.budget_tokens, "summary": wanted.summary}
    return {name: value for name, value in said.items() if value is not None}


def _effort(effort: Effort, quirks: ChatQuirks, body: dict[str, Any], deviations: list[Deviation]) -> None:
    """By a word, by a switch, or by both."""
    only_switched = quirks.reasoning == "thinking"
    if effort == "off" and (only_switched or quirks.thinking_off):
        body.update(quirks.thinking_off or {"thinking": {"type": "disabled"}})
        return
    if only_switched:
        body.update(quirks.thinking_on or {"thinking": {"type": "enabled"}})
        if effort != "medium":
            reason = "this service only switches thinking on and off"
            deviations.append(Deviation("reasoning", "adapted", reason))
        return
    word = quirks.efforts.get(effort, effort)
    if word is None:
        deviations.append(Deviation("reasoning", "dropped", f"this service has no effort {effort!r}"))
        return
    body.update(quirks.thinking_on)
    body["reasoning_effort"] = word
    if effort not in (word, "off"):
        deviations.append(Deviation("reasoning", "adapted", f"this service's nearest effort is {word!r}"))


def _tools(request: Request, quirks: ChatQuirks, body: dict[str, Any], deviations: list[Deviation]) -> None:
    choice = request.tool_choice
    tools = request.tools
    if choice is not None and choice.names and choice.mode == "none":
        choice = ToolChoice("none")
    if choice is not None and _is_beyond(choice, quirks):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        choice = ToolChoice(choice.mode)
    if tools:
        body["tools"] = [_tool(tool, quirks, deviations) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice, quirks)


def _tool(tool: Tool | HostedTool, quirks: ChatQuirks, deviations: list[Deviation]) -> dict[str, Any]:
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
        wire = {"type": "function", "function": function, **(tool.extra or {})}
    if tool.cache is not None:
        if quirks.cache_marks:
            wire["cache_control"] = {"type": "ephemeral"} | (
                {"ttl": tool.cache.ttl} if tool.cache.ttl else {}
            )
        else:
            name = tool.name if isinstance(tool, Tool) else tool.type
            deviations.append(
                Deviation(f"tools[{name}].cache", "dropped", "this service takes no cache marks")
            )
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


def _output(
    output: JSONSchema | str, quirks: ChatQuirks, body: dict[str, Any], deviations: list[Deviation]
) -> None:
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
        deviations.append(
            Deviation("output", "emulated", "this service takes no schema: it is put into words")
        )


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
