"""Writes a Messages request: only what was set, under the names that the service takes.

Two things are sent unasked: the API's version, and `max_tokens`, which the API demands. Options that the model does
not take (`base.claude`) are left out and reported, never sent to be refused. Sampling options are refused by the API
version of October 2026 too: a request with some for a model that takes them is sent under the version before it.
Reference: https://platform.claude.com/docs/en/api/messages/create and ".../count_tokens", "Versions" beside them; the
guides "Define tools", "Tool choice", "Structured outputs"; Amazon Bedrock's InvokeModel and CountTokens; Claude on
Vertex AI.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from brainwires_provider.errors import ConfigError
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.anthropic.messages import TOOL_NAME, MessageEncoder, encode_messages
from brainwires_provider.protocols.anthropic.options import AnthropicOptions, AnthropicQuirks
from brainwires_provider.protocols.anthropic.parts import cache_control, collapsed
from brainwires_provider.protocols.base.caching import (
    LIMIT,
    Section,
    Slot,
    estimated_tokens,
    plan_marks,
    report_plan,
    tool_place,
)
from brainwires_provider.protocols.base.claude import (
    SCHEMA_IS_STRICT,
    ClaudeSettings,
    check_end,
    output_in_words,
    strict_parameters,
)
from brainwires_provider.protocols.base.dialects import CLAUDE, conformed
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, no_count
from brainwires_provider.protocols.base.replay import tool_name
from brainwires_provider.types import Cache, HostedTool, JSONSchema, Origin, Request, Tool, ToolChoice

__all__ = ["encode_count", "encode_request"]

_HEADERS = {"user_profile_id": "anthropic-user-profile-id", "workspace_id": "anthropic-workspace-id"}
_COUNTED = frozenset(
    (
        "billing_policy",
        "cache_control",
        "compaction",
        "context_management",
        "mcp_servers",
        "messages",
        "model",
        "output_config",
        "speed",
        "system",
        "thinking",
        "tool_choice",
        "tools",
        "user_profile_id",
    )
)
_UNCOUNTED = frozenset(
    ("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty")
)
_OVERRIDDEN = {
    "max_tokens": "max_tokens",
    "stop_sequences": "stop",
    "system": "system",
    "thinking": "reasoning",
    "tool_choice": "tool_choice",
    "tools": "tools",
}
"""The fields of AnthropicOptions that are sent instead of a general option."""
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[AnthropicQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that the Messages API cannot express."""
    quirks = protocol.quirks
    reader = OptionReader(request, AnthropicOptions, facts)
    check_end(reader, request, origin)
    body, _, headers = _encode_body(request, origin, quirks, reader)
    model = str(body.pop("model"))
    if quirks.cloud == "bedrock":
        headers = {"Accept": EventStreamFraming.media_type} if stream else {}
        verb = "invoke-with-response-stream" if stream else "invoke"
        path = f"/model/{_model_in_path(model)}/{verb}"
    elif quirks.cloud == "vertex":
        verb = "streamRawPredict" if stream else "rawPredict"
        path = f"/models/{_model_in_path(model)}:{verb}"
    else:
        path = f"{quirks.prefix}/messages"
        body = {"model": model, **body}
    if stream and quirks.cloud != "bedrock":
        body["stream"] = True
    reported = reader.finish()
    return Call(path, body, headers=headers, deviations=reported, sent=reader.sent, weakened=reader.weakened)


def encode_count(
    protocol: ProtocolBase[AnthropicQuirks], request: Request, origin: Origin, facts: ModelFacts = UNKNOWN
) -> Call:
    """The call that counts. Raises UnsupportedError where the service has none."""
    quirks = protocol.quirks
    if not quirks.counting:
        raise no_count(origin.provider, origin.model)
    reader = OptionReader(request, AnthropicOptions, facts)
    body, version, headers = _encode_body(request, origin, quirks, reader)
    counted = {name: value for name, value in body.items() if name in _COUNTED}
    path = f"{quirks.prefix}/messages/count_tokens"
    if quirks.cloud == "bedrock":
        path = f"/model/{_model_in_path(str(body.pop('model')))}/count-tokens"
        invoked = base64.b64encode(msgspec.json.encode(body)).decode()
        counted, headers = {"input": {"invokeModel": {"body": invoked}}}, {}
    elif quirks.cloud == "vertex":
        path = "/models/count-tokens:rawPredict"
        counted["anthropic_version"] = version
    reported = tuple(d for d in reader.finish() if d.field not in _UNCOUNTED)
    sent, weakened = reader.sent, reader.weakened
    return Call(path, counted, headers=headers, deviations=reported, sent=sent, weakened=weakened)


def _model_in_path(model: str) -> str:
    """A model's name in a path: an ARN has slashes, and one that the path would swallow is refused."""
    if model in ("", ".", ".."):
        raise ConfigError(f"{model!r} is no model's name")
    return quote(model, safe="@")


# -- the body ------------------------------------------------------------------------------------------------


def _encode_body(
    request: Request, origin: Origin, quirks: AnthropicQuirks, reader: OptionReader
) -> tuple[Body, str, dict[str, str]]:
    """The body with its model, the version that it is sent under, and the headers."""
    own = reader.provider_options()
    for name, option in _OVERRIDDEN.items():
        if name in own and reader.take(option) is not None:
            reader.dropped(option, f"AnthropicOptions({name}=…) is sent instead")
    history = encode_messages(request, origin, reader, quirks)
    settings = ClaudeSettings(reader, own.get("max_tokens", reader.take("max_tokens")))
    body: Body = {"model": request.model, "max_tokens": 0}
    _put_system(body, own, history)
    body["messages"] = history.turns
    _put_output(reader, quirks, body)
    _put_thinking(body, own, settings)
    body["max_tokens"] = _max_tokens(body, own, reader, quirks)
    _put_container(reader, request, origin, body)
    headers = _put_own(own, quirks, body, reader)
    _put_tools(reader, own, body, history, settings)
    if "stop_sequences" not in own and (stop := reader.take("stop")) is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    version = _put_sampling(settings, quirks, reader, body)
    _place_marks(body, reader, history)
    _collapse(body, turns=history.marks_turns or history.has_marks)
    if quirks.cloud == "messages":
        headers["anthropic-version"] = version
    else:
        body = {"anthropic_version": version, **body}
    return body, version, headers


def _put_system(body: Body, own: Body, history: MessageEncoder) -> None:
    blocks = history.system
    if "system" in own:
        given = own["system"]
        blocks = [{"type": "text", "text": given}] if isinstance(given, str) else [dict(b) for b in given]
    if blocks:
        body["system"] = blocks


def _put_thinking(body: Body, own: Body, settings: ClaudeSettings) -> None:
    thinking = None if "thinking" in own else settings.thinking()
    if settings.effort is not None:
        body["output_config"] = {**body.get("output_config", {}), "effort": settings.effort}
    if thinking is not None:
        body["thinking"] = thinking


def _max_tokens(body: Body, own: Body, reader: OptionReader, quirks: AnthropicQuirks) -> int:
    """`max_tokens`: as asked, else the default and a thinking budget on top, as far as the model gives."""
    asked: int | None = own.get("max_tokens", reader.take("max_tokens"))
    if asked is not None:
        return asked
    thinking = own.get("thinking", body.get("thinking")) or {}
    limit: int = quirks.default_max_tokens + (thinking.get("budget_tokens") or 0)
    if reader.facts.max_output is not None:
        limit = min(limit, reader.facts.max_output)
    reader.adapted("max_tokens", f"the API demands a limit: {limit} tokens unless set")
    return limit


def _put_own(own: Body, quirks: AnthropicQuirks, body: Body, reader: OptionReader) -> dict[str, str]:
    """The protocol's own fields win, and `output_config` is merged; returns those that are headers."""
    headers: dict[str, str] = {}
    betas = list(dict.fromkeys((*quirks.betas, *own.get("betas", ()))))
    if betas and quirks.cloud == "bedrock":
        body["anthropic_beta"] = betas
    elif betas:
        headers["anthropic-beta"] = ",".join(betas)
    for name, value in own.items():
        known = body.get(name)
        if name in _HEADERS and not (name == "user_profile_id" and quirks.profile_in_body):
            headers[_HEADERS[name]] = value
            if quirks.cloud == "bedrock":
                reader.dropped(f"provider_options.{name}", "this service has no such header")
        elif name == "output_config" and isinstance(known, dict):
            body[name] = {**known, **value}
        elif name not in ("betas", "system", "tools", "tool_choice"):
            body[name] = value
    return headers


def _put_sampling(settings: ClaudeSettings, quirks: AnthropicQuirks, reader: OptionReader, body: Body) -> str:
    """The sampling options; returns the API version that the request is sent under."""
    taken = settings.sampling(body.get("thinking"))
    if not taken:
        return quirks.version
    version = quirks.sampling_version
    for name in taken:
        if version is None:
            reader.dropped(name, "this service takes no sampling options")
        elif version != quirks.version:
            reason = f"{quirks.version} takes no sampling: the request is sent under version {version}"
            reader.adapted(name, reason)
    if version is None:
        return quirks.version
    body.update(taken)
    return version


def _collapse(body: Body, *, turns: bool) -> None:
    """Single plain texts as the strings that they are short for."""
    if "system" in body:
        body["system"] = collapsed(body["system"])
    if turns:
        for turn in body["messages"]:
            if isinstance(turn["content"], list):
                turn["content"] = collapsed(turn["content"])


def _put_container(reader: OptionReader, request: Request, origin: Origin, body: Body) -> None:
    """A container that the service keeps, which `Request.extra` has from a response, with its owner in `origin`."""
    if "container" not in (request.extra or {}):
        return
    extra = reader.take_extra(request)
    container, owner = extra["container"], extra.get("origin")
    if container is None:
        return
    if isinstance(owner, Mapping):
        owner = Origin(str(owner.get("protocol")), str(owner.get("provider")))
    if owner is not None and (owner.protocol, owner.provider) != (origin.protocol, origin.provider):
        reader.dropped("extra", f"the container belongs to {owner.protocol} at {owner.provider}")
    elif isinstance(container, Mapping) and "expires_at" in container:
        body["container"] = container.get("id")  # the response's form; a request takes the id
    else:
        body["container"] = container


# -- tools ---------------------------------------------------------------------------------------------------


def _put_tools(
    reader: OptionReader, own: Body, body: Body, history: MessageEncoder, settings: ClaudeSettings
) -> None:
    """`tools` and `tool_choice`; what `own` has of them wins. A choice without tools is refused, so it is dropped."""
    tools: tuple[Tool | HostedTool, ...] = reader.take("tools") or ()
    choice = settings.tool_choice(reader.take("tool_choice"), body.get("thinking"))
    if choice is not None and choice.raw is None and _is_allowance(choice):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        reader.emulated("tool_choice", "only the tools that may be called are sent")
        choice = ToolChoice(choice.mode)
    if "tools" in own:
        encoded = [dict(tool) for tool in own["tools"]]
    else:
        encoded = [_tool(tool, reader, history) for tool in tools]
    if encoded:
        body["tools"] = encoded
    chosen = own.get("tool_choice") or _choice(choice)
    parallel = reader.take("parallel_tool_calls")
    if parallel is not None:
        chosen = _parallel(chosen, parallel)
    if chosen is None:
        return
    if encoded or "tool_choice" in own:
        body["tool_choice"] = chosen
        return
    for name, value in (("tool_choice", choice), ("parallel_tool_calls", parallel)):
        if value is not None:
            reader.dropped(name, "there are no tools")


def _is_allowance(choice: ToolChoice) -> bool:
    """Whether a choice among named tools is left to the model."""
    return choice.mode != "none" and len(choice.names) > (1 if choice.mode == "required" else 0)


def _tool(tool: Tool | HostedTool, reader: OptionReader, history: MessageEncoder) -> Body:
    if isinstance(tool, HostedTool):
        wire: Body = {"type": tool.type, **tool.fields}
    else:
        schema, strict = strict_parameters(reader, tool, on_bedrock=history.is_on_bedrock)
        wire = {
            "name": tool_name(tool.name, TOOL_NAME),
            "description": tool.description,
            "input_schema": schema,
        }
        if "type" not in schema:
            wire["input_schema"] = {"type": "object", **schema}
            reason = "the API demands the schema's type: an object"
            reader.adapted(f"tools[{tool.name}].parameters", reason)
        if strict is not None:
            wire["strict"] = strict
        if tool.extra:
            wire.update(reader.take_extra(tool))
    cache = reader.take_cache(tool)
    if cache is not None:
        wire["cache_control"] = cache_control(cache)
        history.marked[id(wire)] = tool_place(tool)
    return wire


def _choice(choice: ToolChoice | None) -> Body | None:
    if choice is None:
        return None
    if choice.raw is not None:
        return dict(choice.raw)
    if choice.mode == "required" and choice.names:
        return {"type": "tool", "name": choice.names[0]}
    return {"type": "any" if choice.mode == "required" else choice.mode}


def _parallel(chosen: Body | None, parallel: bool) -> Body:
    chosen = dict(chosen or {"type": "auto"})
    return chosen if chosen.get("type") == "none" else {**chosen, "disable_parallel_tool_use": not parallel}


# -- output --------------------------------------------------------------------------------------------------


def _put_output(reader: OptionReader, quirks: AnthropicQuirks, body: Body) -> None:
    output = reader.take("output")
    if output is None:
        return
    facts = reader.facts
    native = facts.schema and quirks.schema and (facts.bedrock_schema or quirks.cloud != "bedrock")
    schema = None
    if isinstance(output, JSONSchema) and native:
        schema = conformed(reader, "output", _described(output), CLAUDE)
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if isinstance(output, JSONSchema) and output.strict is False:
            reader.adapted("output", SCHEMA_IS_STRICT)
        return
    words = output_in_words(reader, output)
    body["system"] = [*body.get("system", ()), {"type": "text", "text": words}]


def _described(output: JSONSchema) -> Mapping[str, Any]:
    """The schema, which is also the one place for a description."""
    if output.description is None or "description" in output.schema:
        return output.schema
    return {**output.schema, "description": output.description}


# -- cache marks ---------------------------------------------------------------------------------------------

_UNMARKABLE = frozenset(("thinking", "redacted_thinking", "fallback", "mcp_tool_listing"))


def _place_marks(body: Body, reader: OptionReader, history: MessageEncoder) -> None:
    """Set and prune `cache_control` over a whole body. One of the body itself takes one of the breakpoints."""
    strategy = reader.take("cache")
    sized = history.marks_turns
    blocks = list(_blocks(body, history))
    if strategy is None and not any("cache_control" in block for _, _, block in blocks):
        return
    slots = [
        Slot(section, where, _is_cacheable(block), _mark(block), estimated_tokens(block) if sized else 0)
        for section, where, block in blocks
    ]
    plan = plan_marks(slots, strategy, LIMIT - 1 if body.get("cache_control") else LIMIT)
    for index, (_, _, block) in enumerate(blocks):
        mark = plan.marks.get(index)
        if mark is None:
            block.pop("cache_control", None)
        elif mark != slots[index].mark:
            block["cache_control"] = cache_control(mark)
    if strategy is not None and strategy.mode == "off":
        body.pop("cache_control", None)
    report_plan(reader, plan)


def _blocks(body: Body, history: MessageEncoder) -> Iterator[tuple[Section, str, Body]]:
    """The blocks that can bear a mark; those of the turns only where one is or may be set."""
    marked = history.marked
    for tool in body.get("tools", ()):
        where = f"tools[{tool.get('name') or tool.get('type')}]"
        yield "tools", marked.get(id(tool), where), tool
    for block in body.get("system", ()):
        yield "system", marked.get(id(block), "system"), block
    if history.marks_turns or history.has_marks:
        for place, message in zip(history.places, body["messages"], strict=True):
            for block in message["content"] if isinstance(message["content"], list) else ():
                yield "messages", marked.get(id(block), f"messages[{place}]"), block


def _is_cacheable(block: Body) -> bool:
    kind = block.get("type")
    if kind == "text":
        return bool(str(block.get("text", "")).strip())
    return kind not in _UNMARKABLE and not block.get("defer_loading")


def _mark(block: Body) -> Cache | None:
    mark = block.get("cache_control")
    if not isinstance(mark, Mapping):
        return None
    ttl = mark.get("ttl")
    return Cache(ttl if isinstance(ttl, str) else None)
