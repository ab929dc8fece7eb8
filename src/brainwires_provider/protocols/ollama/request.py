"""Request → the body of `/api/chat` or `/api/generate`: only what was set, under the names that Ollama takes.

One field is always sent: `stream`, since the API streams unless it is false. The sampling options stand together in
`options`. There is no tool choice: it is expressed by the tools that are sent.
Reference: the API reference, "Generate a chat message" and "Generate a response".
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts, nearest_effort
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import INSTRUCTION_ROLES, take_system
from brainwires_provider.protocols.ollama.messages import SEPARATOR, HistoryEncoder
from brainwires_provider.protocols.ollama.options import GENERATE_ONLY, NDJSON, OllamaOptions, OllamaQuirks
from brainwires_provider.types import HostedTool, Origin, Reasoning, Request, Tool

__all__ = ["encode_generate", "encode_request"]

# Ours first, then Ollama's.
_OPTIONS = (
    ("max_tokens", "num_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
)
_LEVELS = ("low", "medium", "high", "max")
"""The words of `think`; "max" since 2026-04: https://github.com/ollama/ollama/pull/15787 (see `errors`)."""
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[OllamaQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """`POST /api/chat`. Raises UnsupportedError for content or tools that the API cannot express."""
    reader = OptionReader(request, OllamaOptions, facts)
    encoder = HistoryEncoder(origin, reader)
    messages = encoder.encode_messages(request.messages)
    system = take_system(reader)
    if system is not None:
        messages = [{"role": "system", "content": system}, *messages]
    body: Body = {"model": request.model, "messages": messages}
    _tools(encoder, body)
    own = reader.provider_options()
    for name in sorted(GENERATE_ONLY & own.keys()):
        del own[name]
        reader.dropped(f"provider_options.{name}", "only /api/generate takes it")
    _common(body, own, reader)
    return _call("/api/chat", body, request, reader, stream=stream)


def encode_generate(request: Request, origin: Origin, facts: ModelFacts = UNKNOWN, *, stream: bool) -> Call:
    """`POST /api/generate` for one prompt, with or without images. Raises UnsupportedError for more than that."""
    reader = OptionReader(request, OllamaOptions, facts)
    body: Body = {"model": request.model, **_prompt(request, HistoryEncoder(origin, reader))}
    _common(body, reader.provider_options(), reader)
    return _call("/api/generate", body, request, reader, stream=stream)


def _call(path: str, body: Body, request: Request, reader: OptionReader, *, stream: bool) -> Call:
    body = {**body, **reader.take_extra(request), "stream": stream}
    deviations = reader.finish()
    return Call(
        path,
        body,
        headers=NDJSON if stream else {},
        deviations=deviations,
        sent=reader.sent,
        weakened=reader.weakened,
    )


def _prompt(request: Request, encoder: HistoryEncoder) -> Body:
    """`system`, `prompt` and `images`: system messages, then one of the user's, or none."""
    others = [m for m in request.messages if m.role not in INSTRUCTION_ROLES]
    if request.tools or len(others) > 1 or any(m.role != "user" for m in others):
        raise encoder.unsupported(
            "/api/generate takes one prompt, without tools or turns; use client.chat or client.stream for more"
        )
    system = take_system(encoder.reader)
    systems = [] if system is None else [system]
    body: Body = {}
    for index, message in encoder.sendable(request.messages):
        encoder.at = (index,)
        text, images = encoder.encode_content(message.content)
        if message.role != "user":
            systems.append(text)
            continue
        body["prompt"] = text
        if images:
            body["images"] = images
    return {"system": SEPARATOR.join(systems), **body} if systems else body


# -- what both endpoints take --------------------------------------------------------------------------------


def _common(body: Body, own: Body, reader: OptionReader) -> None:
    """Format, thinking and options; the protocol's own fields take precedence, and `options` is merged."""
    _format(body, reader)
    _think(body, reader)
    options = {wire: value for name, wire in _OPTIONS if (value := reader.take(name)) is not None}
    stop = reader.take("stop")
    if stop is not None:
        options["stop"] = [stop] if isinstance(stop, str) else list(stop)
    options.update(own.pop("options", {}))
    if options:
        body["options"] = options
    body.update(own)
    cache = reader.take("cache")
    if cache is not None and cache.mode != "off":
        reader.dropped("cache", "Ollama caches by itself")


def _format(body: Body, reader: OptionReader) -> None:
    output = reader.take("output")
    if output is None:
        return
    if isinstance(output, str):
        body["format"] = "json"
        return
    body["format"] = output.schema
    if output.description is not None:
        reader.weaken("output", "the schema is sent alone, without its description")
    elif output.strict is not None:
        reader.adapted("output", "Ollama takes the schema alone, and always constrains the model to it")


def _think(body: Body, reader: OptionReader) -> None:
    wanted: Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return
    effort, efforts = wanted.effort, reader.facts.efforts
    changes = []
    if effort == "off" and not efforts:
        body["think"] = False
    elif effort is None:
        body["think"] = True
    else:
        body["think"] = nearest_effort(effort, efforts or _LEVELS)
        if body["think"] != effort:
            changes.append(f"the nearest level that this model has is {body['think']!r}")
    unknown = [name for name in ("budget_tokens", "summary") if getattr(wanted, name) is not None]
    if unknown:
        changes.append(f"Ollama has no {' or '.join(unknown)}")
    if changes:
        report = reader.dropped if unknown and effort is None else reader.weaken
        report("reasoning", "; ".join(changes))


# -- tools ---------------------------------------------------------------------------------------------------


def _tools(encoder: HistoryEncoder, body: Body) -> None:
    reader = encoder.reader
    tools, choice = reader.callable_tools(), reader.take("tool_choice")
    if choice is not None and choice.mode == "required":
        reader.dropped("tool_choice", "Ollama cannot force a tool call: the model may answer without")
    if choice is not None and choice.raw is not None:
        reader.dropped("tool_choice", "Ollama has no such field")
    if tools:
        body["tools"] = [_tool(tool, encoder) for tool in tools]


def _tool(tool: Tool | HostedTool, encoder: HistoryEncoder) -> Body:
    if isinstance(tool, HostedTool):
        encoder.at = ()
        raise encoder.unsupported(
            f"Ollama runs no tools itself: {tool.type!r} has to be a Tool that you answer"
        )
    if tool.strict is not None:
        encoder.reader.dropped(f"tools[{tool.name}].strict", "Ollama constrains no model to a tool's schema")
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function, **encoder.reader.take_extra(tool)}
