"""Writes a Converse request: only what was set, under the names that the service takes.

The model stands in the path, percent-encoded whole, for an ARN has slashes and colons; whether the answer is
streamed, the path says too.
Reference: the API reference of "Converse", "ConverseStream" and "CountTokens".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import merged
from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.bedrock.caching import place_cache_points
from brainwires_provider.protocols.bedrock.messages import HistoryEncoder
from brainwires_provider.protocols.bedrock.options import BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.tuning import Tuner
from brainwires_provider.types import (
    Deviation,
    HostedTool,
    JSONSchema,
    Origin,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_count", "encode_request", "model_path"]

_COUNTED = frozenset(("messages", "system", "toolConfig", "additionalModelRequestFields"))
Body = dict[str, Any]


def model_path(model: str, operation: str) -> str:
    """`/model/{modelId}/{operation}`."""
    return f"/model/{quote(model, safe='')}/{operation}"


def encode_request(request: Request, origin: Origin, quirks: BedrockQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that Converse cannot say."""
    deviations: list[Deviation] = []
    model = request.model or ""
    history = HistoryEncoder(origin, quirks, model, deviations)
    history.encode(request.system, request.messages)
    body: Body = {"messages": history.turns} if history.turns else {}
    if history.system:
        body["system"] = history.system
    _tools(request, history.has_tools, body, deviations)
    _output(request, quirks, body, deviations)
    options = request.options
    if options.set_fields():
        _knobs(request, model, body, deviations)
        for name, value in own_options(options, BedrockOptions, deviations).items():
            body[name] = merged(body.get(name), _plain(value))
    if not stream:
        _for_whole(body)
    deviations += place_cache_points(body, options.cache, quirks, model)
    path = model_path(model, "converse-stream" if stream else "converse")
    headers = {"Accept": "application/vnd.amazon.eventstream"} if stream else {}
    return Call(path, body, headers=headers, deviations=tuple(deviations))


def encode_count(request: Request, origin: Origin, quirks: BedrockQuirks) -> Call:
    """`POST /model/{modelId}/count-tokens`. Raises UnsupportedError where the service has no such call."""
    if not quirks.counting:
        raise UnsupportedError(
            "this service has no call that counts tokens; an answer's usage has the count",
            provider=origin.provider,
            model=origin.model,
        )
    call = encode_request(request, origin, quirks, stream=False)
    counted = {name: value for name, value in call.body.items() if name in _COUNTED}
    path = model_path(request.model or "", "count-tokens")
    return Call(path, {"input": {"converse": counted}}, deviations=call.deviations)


def _plain(value: Any) -> Any:
    """Mappings as dicts, so that they merge, and are nobody else's."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _for_whole(body: Body) -> None:
    """How a guardrail reads a stream is said of streams only."""
    guard = body.get("guardrailConfig")
    if guard is not None:
        body["guardrailConfig"] = {k: v for k, v in guard.items() if k != "streamProcessingMode"}


def _knobs(request: Request, model: str, body: Body, deviations: list[Deviation]) -> None:
    tuner = Tuner(request.options, model, deviations)
    tuner.say()
    if tuner.inference:
        body["inferenceConfig"] = tuner.inference
    if tuner.fields:
        body["additionalModelRequestFields"] = tuner.fields
    if tuner.effort is not None:
        body["outputConfig"] = {**body.get("outputConfig", {}), "effort": tuner.effort}


# -- tools ---------------------------------------------------------------------------------------------------


def _tools(request: Request, needed: bool, body: Body, deviations: list[Deviation]) -> None:
    """The tools and the choice among them. `needed`: a history with calls has to have them."""
    choice, tools = request.tool_choice or ToolChoice(), request.tools
    if choice.names and choice.raw is None and (len(choice.names) > 1 or choice.mode == "auto"):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        choice = ToolChoice(choice.mode)
    if choice.mode == "none" and choice.raw is None:
        if not needed:
            if tools:
                reason = "Converse has no such choice: the tools are not sent"
                deviations.append(Deviation("tool_choice", "emulated", reason))
            return
        reason = "Converse has no such choice, and a history with calls demands the tools"
        deviations.append(Deviation("tool_choice", "dropped", reason))
        choice = ToolChoice()
    if not tools:
        return
    config: Body = {"tools": [entry for tool in tools for entry in _tool(tool)]}
    told = _choice(choice)
    if told is not None and request.tool_choice is not None:
        config["toolChoice"] = told
    body["toolConfig"] = config


def _tool(tool: Tool | HostedTool) -> list[Body]:
    """A tool as the wire has it, and the cache point behind it."""
    if isinstance(tool, HostedTool):
        entry: Body = {tool.type: dict(tool.fields)}
    else:
        spec: Body = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        spec["inputSchema"] = {"json": tool.parameters}
        if tool.strict is not None:
            spec["strict"] = tool.strict
        entry = {"toolSpec": {**spec, **(tool.extra or {})}}
    if tool.cache is None:
        return [entry]
    point = {"type": "default", "ttl": tool.cache.ttl} if tool.cache.ttl else {"type": "default"}
    return [entry, {"cachePoint": point}]


def _choice(choice: ToolChoice) -> Body | None:
    if choice.raw is not None:
        return dict(choice.raw)
    if choice.names:
        return {"tool": {"name": choice.names[0]}}
    return {"any": {}} if choice.mode == "required" else {"auto": {}}


# -- output --------------------------------------------------------------------------------------------------


def _output(request: Request, quirks: BedrockQuirks, body: Body, deviations: list[Deviation]) -> None:
    output = request.output
    if output is None:
        return
    if not isinstance(output, JSONSchema):
        words, reason = "Answer with one JSON object and nothing else.", "Converse has no plain JSON mode"
    elif quirks.output_schema:
        told: Body = {"name": output.name, "schema": _text(output.schema)}
        if output.description is not None:
            told["description"] = output.description
        form = {"type": "json_schema", "structure": {"jsonSchema": told}}
        body["outputConfig"] = {"textFormat": form}
        if output.strict is False:
            deviations.append(Deviation("output", "adapted", "this protocol always holds to the schema"))
        return
    else:
        described = f" ({output.description})" if output.description else ""
        words = f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n"
        words, reason = words + _text(output.schema), "this service takes no schema"
    body["system"] = [*body.get("system", ()), {"text": words}]
    deviations.append(Deviation("output", "emulated", f"{reason}: it is put into words"))


def _text(schema: Mapping[str, Any]) -> str:
    return msgspec.json.encode(schema).decode()
