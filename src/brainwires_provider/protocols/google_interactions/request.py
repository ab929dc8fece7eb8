"""Request → the body of `POST /interactions`: only what was set, under the names that the service takes.

Two fields are sent without being set: `store: false`, since the service keeps interactions by default; and for an
agent, which works in the background and is fetched later, `background: true` in its place.
Reference: the API reference of "Creating an interaction", `GenerationConfig` and `Tool`; for agents the guide
https://ai.google.dev/gemini-api/docs/deep-research (2026-11-29).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.google import TOOL_NAME
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import take_system, tool_name
from brainwires_provider.protocols.google_interactions.messages import HistoryEncoder
from brainwires_provider.protocols.google_interactions.options import (
    GoogleInteractionsOptions,
    InteractionsQuirks,
)
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

_FIELDS = {
    "max_tokens": "max_output_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
}
_MODES = {"auto": "auto", "none": "none", "required": "any"}
_LEVELS = ("minimal", "low", "medium", "high")
_NO_CACHE = (
    "this API caches by itself; what was cached is named by cached_content, in GoogleInteractionsOptions"
)
_AGENTS = "an agent takes no such option; its own are in agent_config, in GoogleInteractionsOptions"
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[InteractionsQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that the Interactions API cannot express."""
    quirks = protocol.quirks
    reader = OptionReader(request, GoogleInteractionsOptions, facts)
    encoder = HistoryEncoder(origin, quirks, reader)
    instruction, steps = encoder.encode_messages(request.messages)
    own = reader.provider_options()
    body = _named(own, str(request.model), quirks)
    body["input"] = steps
    system = take_system(reader)
    texts = [text for text in (system, instruction) if text is not None]
    if texts and not facts.system:
        field = "messages[0].role" if system is None else "system"
        reader.weaken(field, "this model takes no instruction: sent as the user's first input")
        steps.insert(0, {"type": "user_input", "content": [{"type": "text", "text": text} for text in texts]})
    elif texts:
        body["system_instruction"] = "\n\n".join(texts)
    if not reader.is_empty:
        _options(own, body, reader)
    body.update(own)
    body.update(reader.take_extra(request))
    if stream:
        body["stream"] = True
    if "agent" in body:
        body.setdefault("background", True)
    if not body.get("background"):
        body.setdefault("store", False)
    return Call(
        "/interactions",
        body,
        headers=revision(quirks),
        query={"alt": "sse"} if stream else {},
        deviations=reader.finish(),
        sent=reader.sent,
        weakened=reader.weakened,
    )


def revision(quirks: InteractionsQuirks) -> dict[str, str]:
    """The header that names the API's revision."""
    return {} if quirks.revision is None else {"Api-Revision": quirks.revision}


def _named(own: Body, model: str, quirks: InteractionsQuirks) -> Body:
    """Who is asked: a model, or an agent by the options or by its name."""
    if "agent" in own:
        return {"agent": own.pop("agent")}
    if model.startswith(quirks.agents):
        return {"agent": model.removeprefix("agents/")}
    return {"model": model}


def _options(own: Body, body: Body, reader: OptionReader) -> None:
    """Tools, output and generation config, with the protocol's own members of it."""
    config: Body = {}
    _tools(body, config, reader)
    _output(body, reader)
    for name, wire in _FIELDS.items():
        value = reader.take(name)
        if value is not None:
            config[wire] = value
    stop = reader.take("stop")
    if stop is not None:
        config["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
    _reasoning(config, reader)
    reader.absent("cache", _NO_CACHE)
    if "agent" in body:
        _drop_config(config, reader)
    given = own.pop("generation_config", {})
    if given or config:
        body["generation_config"] = {**config, **given}


def _drop_config(config: Body, reader: OptionReader) -> None:
    """An agent has no generation config."""
    for name in (*_FIELDS, "stop", "reasoning", "tool_choice"):
        reader.absent(name, _AGENTS)
    config.clear()


def _reasoning(config: Body, reader: OptionReader) -> None:
    """A level, the only measure that the API has, and whether summaries are wanted."""
    wanted: Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return
    facts = reader.facts
    if not facts.budgets and facts.efforts is None:
        if wanted.effort != "off":
            reader.dropped("reasoning", "this model does not think before it answers")
        return
    if wanted.budget_tokens is not None:
        reader.dropped("reasoning.budget_tokens", "this API takes a level of thinking, and no budget")
    if wanted.effort is not None:
        config["thinking_level"] = reader.take_effort(wanted.effort, facts.efforts or _LEVELS)
    if wanted.summary is not None:
        config["thinking_summaries"] = "auto"
        if wanted.summary != "auto":
            reader.weaken("reasoning.summary", "summaries have one length here")


# -- tools and output ----------------------------------------------------------------------------------------


def _tools(body: Body, config: Body, reader: OptionReader) -> None:
    given: tuple[Tool | HostedTool, ...] = reader.take("tools") or ()
    if given:
        body["tools"] = [_tool(tool, reader) for tool in given]
    choice: ToolChoice | None = reader.take("tool_choice")
    strict = [tool.name for tool in given if isinstance(tool, Tool) and tool.strict]
    if choice is not None and choice.raw is not None:
        config["tool_choice"] = choice.raw
    elif choice is not None or strict:
        config["tool_choice"] = _choice(choice or ToolChoice(), strict, reader)


def _tool(tool: Tool | HostedTool, reader: OptionReader) -> Body:
    if isinstance(tool, HostedTool):
        return {"type": tool.type, **tool.fields}
    declared = {
        "type": "function",
        "name": tool_name(tool.name, TOOL_NAME),
        "description": tool.description,
        "parameters": tool.parameters,
    }
    return declared | reader.take_extra(tool)


def _choice(choice: ToolChoice, strict: list[str], reader: OptionReader) -> str | Body:
    """The mode, alone or with the tools that may be called; `validated` holds calls to their schemas."""
    mode = _MODES[choice.mode]
    if mode == "auto" and strict:
        mode = "validated"
    for name in strict:
        reader.adapted(f"tools[{name}].strict", f"set for all functions by the mode {mode}")
    return {"allowed_tools": {"mode": mode, "tools": list(choice.names)}} if choice.names else mode


def _output(body: Body, reader: OptionReader) -> None:
    output = reader.take("output")
    if output is None:
        return
    form: Body = {"type": "text", "mime_type": "application/json"}
    if isinstance(output, JSONSchema):
        schema: Mapping[str, Any] = output.schema
        if output.description is not None and "description" not in schema:
            schema = {**schema, "description": output.description}
        form["schema"] = schema
    body["response_format"] = form
