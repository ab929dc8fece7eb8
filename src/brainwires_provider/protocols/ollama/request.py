"""Writes a request of `/api/chat` or `/api/generate`: only what was set, under the names that Ollama takes.

One thing goes out unasked: `stream`, since the API streams unless told otherwise. The knobs of sampling stand together
in `options`. There is no tool choice: what it allows is said by the tools that are sent.
Reference: the API reference, "Generate a chat message" and "Generate a response".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import callable_tools, own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.ollama.messages import HistoryEncoder
from brainwires_provider.protocols.ollama.options import GENERATE_ONLY, OllamaOptions, OllamaQuirks
from brainwires_provider.types import (
    Deviation,
    HostedTool,
    Message,
    Options,
    Origin,
    Reasoning,
    Request,
    Tool,
)

__all__ = ["NDJSON", "encode_chat", "encode_generate"]

NDJSON: Mapping[str, str] = {"Accept": "application/x-ndjson"}
"""What a streamed answer is asked for as."""

# Ours first, then Ollama's.
_KNOBS = (
    ("max_tokens", "num_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
)
_LEVELS = {"minimal": "low", "max": "high"}
Body = dict[str, Any]


def encode_chat(request: Request, origin: Origin, quirks: OllamaQuirks, *, stream: bool) -> Call:
    """`POST /api/chat`. Raises UnsupportedError for content or tools that the API cannot say."""
    deviations: list[Deviation] = []
    own = _own(request.options, deviations)
    for name in sorted(GENERATE_ONLY & own.keys()):
        del own[name]
        deviations.append(Deviation(f"provider_options.{name}", "dropped", "only /api/generate takes it"))
    messages = request.messages
    if request.system is not None:
        messages = (Message.system(request.system), *messages)
    history = HistoryEncoder(origin, deviations)
    body: Body = {"model": request.model, "messages": history.encode(messages)}
    _tools(request, origin, body, deviations)
    _common(request, own, quirks, body, deviations)
    return _call("/api/chat", body, stream, deviations)


def encode_generate(request: Request, origin: Origin, quirks: OllamaQuirks, *, stream: bool) -> Call:
    """`POST /api/generate` for one prompt, with or without images. Raises UnsupportedError for more than that."""
    deviations: list[Deviation] = []
    own = _own(request.options, deviations)
    body: Body = {"model": request.model}
    body.update(_prompt(request, origin, deviations))
    _common(request, own, quirks, body, deviations)
    return _call("/api/generate", body, stream, deviations)


def _call(path: str, body: Body, stream: bool, deviations: list[Deviation]) -> Call:
    headers = NDJSON if stream else {}
    return Call(path, {**body, "stream": stream}, headers=headers, deviations=tuple(deviations))


def _own(options: Options, deviations: list[Deviation]) -> Body:
    return own_options(options, OllamaOptions, deviations) if options.provider_options else {}


def _prompt(request: Request, origin: Origin, deviations: list[Deviation]) -> Body:
    """`system`, `prompt` and `images`: system messages, then one of the user's, or none."""
    said = [m for m in request.messages if m.role not in ("system", "developer")]
    if request.tools or len(said) > 1 or any(m.role != "user" for m in said):
        raise UnsupportedError(
            "/api/generate takes one prompt, without tools or turns; use client.chat or client.stream for more",
            provider=origin.provider,
            model=origin.model,
        )
    encoder = HistoryEncoder(origin, deviations)
    systems = [] if request.system is None else [request.system]
    body: Body = {}
    for index, message in enumerate(request.messages):
        text, images = encoder.content(message.content, f"messages[{index}]")
        if message.role != "user":
            systems.append(text)
            continue
        body["prompt"] = text
        if images:
            body["images"] = images
    return {"system": "\n\n".join(systems), **body} if systems else body


# -- what both endpoints take --------------------------------------------------------------------------------


def _common(
    request: Request, own: Body, quirks: OllamaQuirks, body: Body, deviations: list[Deviation]
) -> None:
    """Format, thinking and options; the protocol's own fields win, and `options` is merged."""
    options = request.options
    _format(request, body, deviations)
    _think(options, quirks, body, deviations)
    knobs = {wire: getattr(options, ours) for ours, wire in _KNOBS if getattr(options, ours) is not None}
    if options.stop is not None:
        knobs["stop"] = [options.stop] if isinstance(options.stop, str) else list(options.stop)
    knobs.update(own.pop("options", {}))
    if knobs:
        body["options"] = knobs
    body.update(own)
    if options.parallel_tool_calls is not None:
        _drop("parallel_tool_calls", "Ollama has no such field", deviations)
    if options.cache is not None and options.cache.mode != "off":
        _drop("cache", "Ollama caches by itself", deviations)


def _drop(name: str, reason: str, deviations: list[Deviation]) -> None:
    deviations.append(Deviation(name, "dropped", reason))


def _format(request: Request, body: Body, deviations: list[Deviation]) -> None:
    output = request.output
    if output is None:
        return
    if isinstance(output, str):
        body["format"] = "json"
        return
    body["format"] = output.schema
    if output.description is not None or output.strict is not None:
        reason = "Ollama takes the schema alone, and always holds the model to it"
        deviations.append(Deviation("output", "adapted", reason))


def _think(options: Options, quirks: OllamaQuirks, body: Body, deviations: list[Deviation]) -> None:
    wanted = options.reasoning
    if wanted is None:
        return
    if isinstance(wanted, str):
        wanted = Reasoning(effort=wanted)
    effort = wanted.effort
    if effort == "off":
        body["think"] = False
    elif effort is None or not quirks.think_levels:
        body["think"] = True
    else:
        body["think"] = _LEVELS.get(effort, effort)
    changed = []
    if effort in _LEVELS and quirks.think_levels:
        changed.append(f"the nearest level that Ollama has is {_LEVELS[effort]!r}")
    if effort not in (None, "off") and not quirks.think_levels:
        changed.append("this server only switches thinking on and off")
    unsaid = [name for name in ("budget_tokens", "summary") if getattr(wanted, name) is not None]
    if unsaid:
        changed.append(f"Ollama cannot say {' or '.join(unsaid)}")
    if changed:
        outcome: Literal["adapted", "dropped"] = "dropped" if unsaid and effort is None else "adapted"
        deviations.append(Deviation("reasoning", outcome, "; ".join(changed)))


# -- tools ---------------------------------------------------------------------------------------------------


def _tools(request: Request, origin: Origin, body: Body, deviations: list[Deviation]) -> None:
    tools, choice = callable_tools(request, deviations), request.tool_choice
    if choice is not None and choice.mode == "required":
        _drop("tool_choice", "Ollama cannot make a model call a tool: it may answer without", deviations)
    if choice is not None and choice.raw is not None:
        _drop("tool_choice", "Ollama has no such field", deviations)
    if tools:
        body["tools"] = [_tool(tool, origin, deviations) for tool in tools]


def _tool(tool: Tool | HostedTool, origin: Origin, deviations: list[Deviation]) -> Body:
    if isinstance(tool, HostedTool):
        raise UnsupportedError(
            f"Ollama runs no tools itself: {tool.type!r} has to be a Tool that you answer",
            provider=origin.provider,
            model=origin.model,
        )
    where = f"tools[{tool.name}]"
    if tool.strict is not None:
        _drop(f"{where}.strict", "Ollama holds no model to a tool's schema", deviations)
    if tool.cache is not None:
        _drop(f"{where}.cache", "Ollama caches by itself", deviations)
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function, **(tool.extra or {})}
