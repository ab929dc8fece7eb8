"""What a request's options become on a wire."""

from __future__ import annotations

from typing import Any

from brainwires_provider.types import Deviation, HostedTool, Options, ProviderOptions, Request, Tool

__all__ = ["callable_tools", "own_options"]


def own_options(options: Options, kind: type[ProviderOptions], deviations: list[Deviation]) -> dict[str, Any]:
    """The set fields of this protocol's own options; those for another protocol are reported dropped."""
    given = options.provider_options
    if given is None:
        return {}
    merged: dict[str, Any] = {}
    for item in given if isinstance(given, (tuple, list)) else (given,):
        if isinstance(item, kind):
            merged.update(item.items())
        else:
            reason = f"{type(item).__name__} is for {item.protocol}, not for {kind.protocol}"
            deviations.append(Deviation("provider_options", "dropped", reason))
    return merged


def callable_tools(request: Request, deviations: list[Deviation]) -> tuple[Tool | HostedTool, ...]:
    """For a wire without a tool choice: what one allows is said by the tools that are sent."""
    tools, choice = tuple(request.tools), request.tool_choice
    if choice is not None and choice.mode == "none":
        deviations.append(Deviation("tool_choice", "emulated", "no tools are sent"))
        return ()
    if choice is not None and choice.names:
        deviations.append(Deviation("tool_choice", "emulated", "only the tools that may be called are sent"))
        return tuple(t for t in tools if isinstance(t, Tool) and t.name in choice.names)
    return tools
