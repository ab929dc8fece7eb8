"""Tools, and which of them the model is told to choose.

Reference: the guides "Define tools" and "Tool choice", and the hosted tools' own pages.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic.caching import cache_control
from brainwires_provider.types import Deviation, HostedTool, Request, Tool, ToolChoice

__all__ = ["put_tools"]

Body = dict[str, Any]


def put_tools(request: Request, own: Body, body: Body, deviations: list[Deviation]) -> None:
    """`tools` and `tool_choice`; what `own` has of them wins. A choice without tools is refused, so it is dropped."""
    choice, tools = request.tool_choice, request.tools
    if choice is not None and choice.raw is None and _is_allowance(choice):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        choice = ToolChoice(choice.mode)
    encoded = [dict(t) for t in own["tools"]] if "tools" in own else [_tool(t, deviations) for t in tools]
    if encoded:
        body["tools"] = encoded
    told = own.get("tool_choice") or _choice(choice)
    parallel = request.options.parallel_tool_calls
    if parallel is not None:
        told = _parallel(told, parallel)
    if told is None:
        return
    if encoded or "tool_choice" in own:
        body["tool_choice"] = told
        return
    lost = [("tool_choice", choice), ("parallel_tool_calls", parallel)]
    deviations += [
        Deviation(name, "dropped", "there are no tools") for name, value in lost if value is not None
    ]


def _is_allowance(choice: ToolChoice) -> bool:
    """Whether a choice among named tools is left to the model."""
    return choice.mode != "none" and len(choice.names) > (1 if choice.mode == "required" else 0)


def _tool(tool: Tool | HostedTool, deviations: list[Deviation]) -> Body:
    if isinstance(tool, HostedTool):
        wire: Body = {"type": tool.type, **tool.fields}
    else:
        wire = {
            "name": tool.name,
            "description": tool.description,
            "input_schema": tool.parameters,
        }
        if "type" not in tool.parameters:
            wire["input_schema"] = {"type": "object", **tool.parameters}
            reason = "the API demands the schema's type: an object"
            deviations.append(Deviation(f"tools[{tool.name}].parameters", "adapted", reason))
        if tool.strict is not None:
            wire["strict"] = tool.strict
        wire.update(tool.extra or {})
    if tool.cache is not None:
        wire["cache_control"] = cache_control(tool.cache)
    return wire


def _choice(choice: ToolChoice | None) -> Body | None:
    if choice is None:
        return None
    if choice.raw is not None:
        return dict(choice.raw)
    if choice.mode == "required" and choice.names:
        return {"type": "tool", "name": choice.names[0]}
    return {"type": "any" if choice.mode == "required" else choice.mode}


def _parallel(told: Body | None, parallel: bool) -> Body:
    told = dict(told or {"type": "auto"})
    return told if told.get("type") == "none" else {**told, "disable_parallel_tool_use": not parallel}
