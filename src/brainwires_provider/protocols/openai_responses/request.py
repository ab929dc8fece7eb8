"""Encodes a Responses request: only what was set, under the names that the service takes.

One field is sent without being set: `store: false`, since the service keeps responses by default; and with it the
request for encrypted reasoning, so that a turn that nobody stored can be continued from the history alone.
Reference: the API reference of "Create a model response".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from brainwires_provider.protocols.base.dialects import (
    DIALECTS,
    JSON_WORDS,
    conformed,
    holds_json_word,
)
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import take_system, tool_name
from brainwires_provider.protocols.openai_responses.messages import encode_messages
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions, ResponsesQuirks
from brainwires_provider.types import (
    HostedTool,
    JSONSchema,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_request"]

_ENCRYPTED = "reasoning.encrypted_content"
_FIELDS = (
    ("max_tokens", "max_output_tokens"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("parallel_tool_calls", "parallel_tool_calls"),
)
_HANDLES = ("previous_response_id", "conversation")
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[ResponsesQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that Responses does not have."""
    quirks = protocol.quirks
    reader = OptionReader(request, OpenAIResponsesOptions, facts)
    instructions, items = encode_messages(request.messages, origin, quirks, reader)
    body: Body = {"model": request.model, "input": items}
    system = take_system(reader)
    if system is not None:
        instructions = system if instructions is None else f"{system}\n\n{instructions}"
    if instructions is not None:
        body["instructions"] = instructions
    if stream:
        body["stream"] = True
    own: Body = {}
    if not reader.is_empty:
        _tools(reader, quirks, body)
        _output(reader, quirks, body)
        _sampling(request, reader, body)
        _reasoning(reader, quirks, body)
        own = reader.provider_options()
    if request.extra:
        _handles(request, origin, body, reader)
    _own(own, body)
    _stateless(body, quirks, facts)
    if not stream and body.pop("stream_options", None) is not None:
        reader.dropped("provider_options.stream_options", "only a streamed response has stream options")
    return Call("/responses", body, deviations=reader.finish(), sent=reader.sent, weakened=reader.weakened)


def _sampling(request: Request, reader: OptionReader, body: Body) -> None:
    thinks = reader.is_thinking
    for name, wire_name in _FIELDS:
        value = reader.take(name)
        if value is not None and not reader.refuses(name, thinks=thinks):
            body[wire_name] = value
    strategy = request.options.cache
    if strategy is not None and strategy.mode != "off":
        reader.dropped("cache", "no strategy is planned for this protocol: mark parts with cache=Cache()")


def _reasoning(reader: OptionReader, quirks: ResponsesQuirks, body: Body) -> None:
    wanted: Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return
    sent: Body = {}
    lost = ["budget_tokens"] if wanted.budget_tokens is not None else []
    efforts = reader.facts.efforts
    if wanted.effort is not None and efforts is None:
        sent["effort"] = quirks.efforts.get(wanted.effort, wanted.effort)
    elif wanted.effort is not None and (word := reader.take_effort(wanted.effort, efforts or ())) is not None:
        sent["effort"] = word
    if wanted.summary is not None:
        if quirks.reasoning_summary:
            sent["summary"] = wanted.summary
        else:
            lost.append("summary")
    if sent:
        body["reasoning"] = sent
    if lost:
        reader.dropped("reasoning", f"this service's Responses API has no {' and no '.join(lost)}")


def _own(own: Body, body: Body) -> None:
    """The protocol's own fields win; the two objects that general options also fill are merged."""
    for name, value in own.items():
        known = body.get(name)
        if name in ("reasoning", "text") and isinstance(known, dict) and isinstance(value, Mapping):
            body[name] = {**known, **value}
        else:
            body[name] = value


def _stateless(body: Body, quirks: ResponsesQuirks, facts: ModelFacts) -> None:
    """Nothing is kept unless asked; a background response has to be, and a conversation is what keeps it.

    Reasoning is asked for as a ciphertext where the model is known to give it, and not where `include` is empty.
    """
    if quirks.store_field and not body.get("background") and body.get("conversation") is None:
        body.setdefault("store", False)
    include = body.get("include")
    if include is not None and not include:
        del body["include"]
        return
    if body.get("store") is not False or not quirks.encrypted_reasoning or not facts.encrypted_reasoning:
        return
    if _ENCRYPTED not in (include or ()):
        body["include"] = [*(include or ()), _ENCRYPTED]


def _handles(request: Request, origin: Origin, body: Body, reader: OptionReader) -> None:
    """State that the service keeps: `Request.extra` names it, and its `origin` who keeps it."""
    extra = dict(request.extra or {})
    owner = extra.pop("origin", None)
    if isinstance(owner, Mapping):
        owner = Origin(str(owner.get("protocol")), str(owner.get("provider")))
    foreign = None
    if owner is not None and (owner.protocol, owner.provider) != (origin.protocol, origin.provider):
        foreign = f"it belongs to {owner.protocol} at {owner.provider}"
    given = {name: value for name, value in extra.items() if value is not None}
    sent = {name: value for name, value in given.items() if name in _HANDLES and foreign is None}
    body.update(sent)
    if sent or not given:
        reader.take_extra(request)
    for name in (name for name in given if name not in sent):
        reason = (foreign if name in _HANDLES else None) or "it is no state that the service keeps"
        reader.dropped(f"extra.{name}", reason)


# -- tools and output ----------------------------------------------------------------------------------------


def _tools(reader: OptionReader, quirks: ResponsesQuirks, body: Body) -> None:
    efforts = reader.facts.efforts
    can_stop = "none" in ((quirks.efforts.get("off"),) if efforts is None else efforts)
    choice, stops = reader.forcible(reader.take("tool_choice"), can_stop=can_stop)
    if stops:
        body["reasoning"] = {"effort": "none"}
    tools: Sequence[Tool | HostedTool] = reader.take("tools") or ()
    if choice is not None and len(choice.names) > 1 and not quirks.allowed_tools and choice.raw is None:
        tools = [t for t in tools if not isinstance(t, Tool) or t.name in choice.names]
        reader.emulated("tool_choice", "only the tools that may be called are sent")
        choice = ToolChoice(choice.mode)
    if tools:
        body["tools"] = [_tool(tool, quirks, reader) for tool in tools]
    if choice is not None:
        body["tool_choice"] = _choice(choice, tools)


def _tool(tool: Tool | HostedTool, quirks: ResponsesQuirks, reader: OptionReader) -> Body:
    if isinstance(tool, HostedTool):
        return {"type": tool.type, **tool.fields}
    place = f"tools[{tool.name}].parameters"
    dialect = DIALECTS.get(str(quirks.dialect)) if tool.strict else None
    wire: Body = {
        "type": "function",
        "name": tool_name(tool.name, quirks.tool_names),
        "description": tool.description,
        "parameters": conformed(reader, place, tool.parameters, dialect),
        "strict": bool(tool.strict),  # the API's default is true, and true makes other demands of a schema
    }
    return {**wire, **reader.take_extra(tool)} if tool.extra else wire


def _choice(choice: ToolChoice, tools: Sequence[Tool | HostedTool]) -> Any:
    if choice.raw is not None:
        return dict(choice.raw)
    if not choice.names:
        return choice.mode
    named = [_named(name, tools) for name in choice.names]
    if len(named) == 1 and choice.mode == "required":
        return named[0]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": named}


def _named(name: str, tools: Sequence[Tool | HostedTool]) -> Body:
    """How `tool_choice` names a tool: a hosted one by its type, an MCP server by its label."""
    for tool in tools:
        if isinstance(tool, HostedTool):
            if tool.fields.get("name") == name:
                return {"type": tool.type, "name": name}
            if tool.fields.get("server_label") == name:
                return {"type": tool.type, "server_label": name}
            if tool.type == name:
                return {"type": name}
    return {"type": "function", "name": name}


def _output(reader: OptionReader, quirks: ResponsesQuirks, body: Body) -> None:
    output = reader.take("output")
    if output is None:
        return
    form: Body = {"type": "json_object"}
    if isinstance(output, JSONSchema) and quirks.schema == "words":
        before, words = body.get("instructions"), _schema_in_words(output)
        body["instructions"] = words if before is None else f"{before}\n\n{words}"
        reader.emulated("output", "this service takes no schema: the instructions describe it")
    elif isinstance(output, JSONSchema):
        dialect = DIALECTS.get(str(quirks.dialect)) if output.strict else None
        schema = conformed(reader, "output", output.schema, dialect)
        fields: Body = {"name": output.name, "schema": schema}
        if output.description is not None:
            fields["description"] = output.description
        if output.strict is not None:
            fields["strict"] = output.strict
        inner = fields if quirks.schema == "text" else {"json_schema": fields}
        form = {"type": "json_schema", **inner}
    elif quirks.json_word and not holds_json_word(body["input"][:1]):
        body["input"] = [{"role": "developer", "content": JSON_WORDS}, *body["input"]]
        reader.adapted("output", "the API demands the word JSON in the input: a developer message has it")
    if quirks.schema == "response_format":
        body["response_format"] = form
    else:
        body["text"] = {"format": form}


def _schema_in_words(output: JSONSchema) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    described = f" ({output.description})" if output.description else ""
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
