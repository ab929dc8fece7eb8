"""Writes a Responses request: only what was set, under the names that the service takes.

One thing goes out unasked: `store: false`, since the service keeps answers unless told not to; and with it the wish
for reasoning as a ciphertext, so that a turn that nobody stored can be continued from the history alone.
Reference: the API reference of "Create a model response".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.openai_responses.messages import HistoryEncoder
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions, ResponsesQuirks
from brainwires_provider.types import (
    Deviation,
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

__all__ = ["encode_count", "encode_request"]

_ENCRYPTED = "reasoning.encrypted_content"
_KNOBS = (
    ("max_tokens", "max_output_tokens"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("parallel_tool_calls", "parallel_tool_calls"),
)
_ABSENT = ("top_k", "seed", "stop", "presence_penalty", "frequency_penalty")
_HANDLES = ("previous_response_id", "conversation")
_COUNTED = frozenset(
    (
        "conversation",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "previous_response_id",
        "reasoning",
        "text",
        "tool_choice",
        "tools",
        "truncation",
    )
)
Body = dict[str, Any]


def encode_request(request: Request, origin: Origin, quirks: ResponsesQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that Responses cannot say."""
    deviations: list[Deviation] = []
    messages = request.messages
    if request.system is not None:
        messages = (Message.system(request.system), *messages)
    instructions, items = HistoryEncoder(origin, quirks, deviations).encode(messages)
    body: Body = {"model": request.model, "input": items}
    if instructions is not None:
        body["instructions"] = instructions
    if stream:
        body["stream"] = True
    _tools(request, quirks, body, deviations)
    _output(request, quirks, body, deviations)
    options = request.options
    own: Body = {}
    if options.set_fields():
        _tuning(options, body, deviations)
        _reasoning(options, quirks, body, deviations)
        own = own_options(options, OpenAIResponsesOptions, deviations)
    _handles(request, origin, body, deviations)
    _own(own, body)
    _stateless(body, quirks)
    if not stream:
        body.pop("stream_options", None)
    return Call("/responses", body, deviations=tuple(deviations))


def encode_count(request: Request, origin: Origin, quirks: ResponsesQuirks) -> Call:
    """`POST /responses/input_tokens`. Raises UnsupportedError where the service has no such call."""
    if not quirks.counting:
        raise UnsupportedError(
            "this service has no call that counts tokens; an answer's usage has the count",
            provider=origin.provider,
            model=origin.model,
        )
    call = encode_request(request, origin, quirks, stream=False)
    counted = {name: value for name, value in call.body.items() if name in _COUNTED}
    return Call("/responses/input_tokens", counted, deviations=call.deviations)


# -- knobs ---------------------------------------------------------------------------------------------------


def _tuning(options: Options, body: Body, deviations: list[Deviation]) -> None:
    for name, wire_name in _KNOBS:
        value = getattr(options, name)
        if value is not None:
            body[wire_name] = value
    absent = [name for name in _ABSENT if getattr(options, name) is not None]
    deviations += [Deviation(name, "dropped", "the Responses API has no such field") for name in absent]
    if options.cache is not None and options.cache.mode != "off":
        reason = "no strategy is planned for this protocol: mark parts with cache=Cache()"
        deviations.append(Deviation("cache", "dropped", reason))


def _reasoning(options: Options, quirks: ResponsesQuirks, body: Body, deviations: list[Deviation]) -> None:
    wanted = options.reasoning
    if wanted is None:
        return
    if isinstance(wanted, str):
        wanted = Reasoning(effort=wanted)
    said: Body = {}
    lost = ["budget_tokens"] if wanted.budget_tokens is not None else []
    if wanted.effort is not None:
        said["effort"] = quirks.efforts.get(wanted.effort, wanted.effort)
    if wanted.summary is not None:
        if quirks.reasoning_summary:
            said["summary"] = wanted.summary
        else:
            lost.append("summary")
    if said:
        body["reasoning"] = said
    if lost:
        reason = f"this service's Responses cannot say {' or '.join(lost)}"
        deviations.append(Deviation("reasoning", "dropped", reason))


def _own(own: Body, body: Body) -> None:
    """The protocol's own fields win; the two objects that general knobs also fill are merged."""
    for name, value in own.items():
        known = body.get(name)
        if name in ("reasoning", "text") and isinstance(known, dict) and isinstance(value, Mapping):
            body[name] = {**known, **value}
        else:
            body[name] = value


def _stateless(body: Body, quirks: ResponsesQuirks) -> None:
    """Nothing is kept unless asked; a background answer has to be, and a conversation is what keeps it."""
    if quirks.store_field and not body.get("background") and body.get("conversation") is None:
        body.setdefault("store", False)
    if body.get("store") is not False or not quirks.encrypted_reasoning:
        return
    if re.search(quirks.plain_models, str(body["model"])):
        return
    include = list(body.get("include") or ())
    if _ENCRYPTED not in include:
        body["include"] = [*include, _ENCRYPTED]


def _handles(request: Request, origin: Origin, body: Body, deviations: list[Deviation]) -> None:
    """State that the service keeps: `Request.extra` names it, and in `origin` whose it is."""
    extra = request.extra or {}
    handles = {name: extra[name] for name in _HANDLES if extra.get(name) is not None}
    if not handles:
        return
    owner = extra.get("origin")
    if isinstance(owner, Mapping):
        owner = Origin(str(owner.get("protocol")), str(owner.get("provider")))
    if owner is None or (owner.protocol == origin.protocol and owner.provider == origin.provider):
        body.update(handles)
    else:
        for name in handles:
            reason = f"it belongs to {owner.protocol} at {owner.provider}"
            deviations.append(Deviation(f"extra.{name}", "dropped", reason))


# -- tools and output ----------------------------------------------------------------------------------------


def _tools(request: Request, quirks: ResponsesQuirks, body: Body, deviations: list[Deviation]) -> None:
    choice, tools = request.tool_choice, request.tools
    if choice is not None and len(choice.names) > 1 and not quirks.allowed_tools and choice.raw is None:
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        choice = ToolChoice(choice.mode)
    if tools:
        body["tools"] = [_tool(tool, deviations) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice, tools)


def _tool(tool: Tool | HostedTool, deviations: list[Deviation]) -> Body:
    if tool.cache is not None:
        name = tool.name if isinstance(tool, Tool) else tool.type
        deviations.append(Deviation(f"tools[{name}].cache", "dropped", "tools take no cache marks here"))
    if isinstance(tool, HostedTool):
        return {"type": tool.type, **tool.fields}
    wire: Body = {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
    }
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return {**wire, **(tool.extra or {})}


def _choice(choice: ToolChoice, tools: tuple[Tool | HostedTool, ...]) -> Any:
    if choice.raw is not None:
        return dict(choice.raw)
    if not choice.names:
        return choice.mode
    named = [_named(name, tools) for name in choice.names]
    if len(named) == 1 and choice.mode == "required":
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def _named(name: str, tools: tuple[Tool | HostedTool, ...]) -> Body:
    """How a tool is called in `tool_choice`: a hosted one by its type, an MCP server by its label."""
    for tool in tools:
        if isinstance(tool, HostedTool):
            if tool.fields.get("name") == name:
                return {"type": tool.type, "name": name}
            if tool.fields.get("server_label") == name:
                return {"type": tool.type, "server_label": name}
            if tool.type == name:
                return {"type": name}
    return {"type": "function", "name": name}


def _output(request: Request, quirks: ResponsesQuirks, body: Body, deviations: list[Deviation]) -> None:
    output = request.output
    if output is None:
        return
    form: Body = {"type": "json_object"}
    if isinstance(output, JSONSchema) and quirks.schema == "words":
        said, words = body.get("instructions"), _schema_in_words(output)
        body["instructions"] = words if said is None else f"{said}\n\n{words}"
        reason = "this service takes no schema: it is put into words"
        deviations.append(Deviation("output", "emulated", reason))
    elif isinstance(output, JSONSchema):
        told: Body = {"name": output.name, "schema": output.schema}
        if output.description is not None:
            told["description"] = output.description
        if output.strict is not None:
            told["strict"] = output.strict
        inner = told if quirks.schema == "text" else {"json_schema": told}
        form = {"type": "json_schema", **inner}
    if quirks.schema == "response_format":
        body["response_format"] = form
    else:
        body["text"] = {"format": form}


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
