"""Request → the body of generateContent: only what was set, under the names that the service takes.

Reference: the API reference of `models.generateContent`, `GenerationConfig`, `Tool` and `ToolConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from brainwires_provider.protocols.base.dialects import report_schema
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts, nearest_effort
from brainwires_provider.protocols.base.google import TOOL_NAME, model_path
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.base.replay import take_system, tool_name
from brainwires_provider.protocols.base.schemas import compile_schema
from brainwires_provider.protocols.gemini.messages import HistoryEncoder
from brainwires_provider.protocols.gemini.options import GENERATION_FIELDS, GeminiOptions, GeminiQuirks
from brainwires_provider.types import (
    HostedTool,
    JSONSchema,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_count", "encode_request"]

_OPTIONS = (
    ("max_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
)
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")
Body = dict[str, Any]


def encode_request(
    protocol: ProtocolBase[GeminiQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that generateContent cannot express."""
    quirks = protocol.quirks
    path = f"{model_path(str(request.model))}:{'streamGenerateContent' if stream else 'generateContent'}"
    call = _encode(path, request, origin, quirks, facts)
    return call if not stream else replace(call, query={"alt": "sse"})


def encode_count(
    protocol: ProtocolBase[GeminiQuirks], request: Request, origin: Origin, facts: ModelFacts = UNKNOWN
) -> Call:
    """`POST /models/MODEL:countTokens`."""
    quirks = protocol.quirks
    path = model_path(str(request.model))
    call = _encode(f"{path}:countTokens", request, origin, quirks, facts)
    if quirks.counting == "request":
        body = {"generateContentRequest": {"model": path.removeprefix("/"), **call.body}}
    else:
        body = {name: call.body[name] for name in _COUNTED if name in call.body}
    return replace(call, body=body)


def _encode(path: str, request: Request, origin: Origin, quirks: GeminiQuirks, facts: ModelFacts) -> Call:
    reader = OptionReader(request, GeminiOptions, facts)
    encoder = HistoryEncoder(origin, quirks, reader)
    instruction, contents = encoder.encode_messages(request.messages)
    if not contents:
        encoder.at = ()
        raise encoder.unsupported("generateContent answers a message: pass one that is not the system's")
    body: Body = {"contents": contents}
    system = take_system(reader)
    if system is not None:
        instruction = [{"text": system}, *instruction]
    if instruction and not facts.system:
        field = "messages[0].role" if system is None else "system"
        reader.weaken(
            field, "this model takes no instruction: sent at the beginning of the first user message"
        )
        _put_first(instruction, contents)
    elif instruction:
        body["systemInstruction"] = {"parts": instruction}
    if not reader.is_empty:
        takes_json_schema = quirks.json_schema and facts.json_schema
        _tools(takes_json_schema, body, reader)
        config = _options(reader)
        _output(takes_json_schema, config, reader)
        _reasoning(quirks, config, reader)
        _cache(reader)
        _own(reader.provider_options(), body, config)
    body.update(reader.take_extra(request))
    deviations = reader.finish()
    return Call(path, body, deviations=deviations, sent=reader.sent, weakened=reader.weakened)


def _put_first(instruction: list[Body], contents: list[Body]) -> None:
    """Put the instruction before the first message; its texts are one, with an empty line after each."""
    text = "".join(f"{part['text']}\n\n" for part in instruction if "text" in part)
    parts = [{"text": text}, *(part for part in instruction if "text" not in part)]
    if contents[0]["role"] == "user":
        contents[0] = {**contents[0], "parts": parts + contents[0]["parts"]}
    else:
        contents.insert(0, {"role": "user", "parts": parts})


# -- options -------------------------------------------------------------------------------------------------


def _options(reader: OptionReader) -> Body:
    """The generation config of the general options."""
    config: Body = {wire: value for name, wire in _OPTIONS if (value := reader.take(name)) is not None}
    stop = reader.take("stop")
    if stop is not None:
        config["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    return config


def _reasoning(quirks: GeminiQuirks, config: Body, reader: OptionReader) -> None:
    """A level for the models that take levels, a budget for the others; a budget that was set is sent as it is."""
    wanted: Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return
    facts = reader.facts
    if not facts.budgets and facts.efforts is None:
        if wanted.effort != "off":
            reader.dropped("reasoning", "this model does not think before it answers")
        return
    thinking = _thinking(wanted, quirks, reader)
    if wanted.summary is not None:
        thinking["includeThoughts"] = True
        if wanted.summary != "auto":
            reader.weaken("reasoning.summary", "summaries have one length here")
    if thinking:
        config["thinkingConfig"] = thinking


def _thinking(wanted: Reasoning, quirks: GeminiQuirks, reader: OptionReader) -> Body:
    """The budget or the level."""
    facts, effort = reader.facts, wanted.effort
    if wanted.budget_tokens is not None:
        if effort is not None:
            reader.dropped("reasoning.effort", "a budget is set too, and only one of both can be sent")
        return {"thinkingBudget": wanted.budget_tokens}
    if effort is None:
        return {}
    if facts.efforts is not None:
        level = nearest_effort(effort, facts.efforts)
        if level != effort:
            reader.weaken("reasoning", f"this model has no level {effort!r}: the nearest is sent")
        return {"thinkingLevel": level.upper()}
    if effort == "off" and facts.least_budget:
        reason = f"this model always thinks: its least budget is {facts.least_budget} tokens"
        reader.weaken("reasoning", reason)
        return {"thinkingBudget": facts.least_budget}
    if effort != "off":
        reader.adapted("reasoning", "this model takes a budget in tokens")
    return {"thinkingBudget": quirks.budgets[effort]}


def _cache(reader: OptionReader) -> None:
    strategy = reader.take("cache")
    if strategy is not None and strategy.mode != "off":
        reason = "this API caches by itself; what was cached is named by cachedContent, in GeminiOptions"
        reader.dropped("cache", reason)


def _own(own: Body, body: Body, config: Body) -> None:
    """The protocol's own fields take precedence; the objects that general options also fill are merged."""
    given = own.pop("generationConfig", {})
    for name, value in [*given.items(), *((k, v) for k, v in own.items() if k in GENERATION_FIELDS)]:
        config[name] = _both(config.get(name), value) if name == "thinkingConfig" else value
    if config:
        body["generationConfig"] = config
    for name, value in own.items():
        if name == "toolConfig":
            body[name] = _both(body.get(name), value)
        elif name not in GENERATION_FIELDS:
            body[name] = value


def _both(known: Any, value: Any) -> Any:
    """Two objects as one, the second one's members over the first's."""
    if not isinstance(known, Mapping) or not isinstance(value, Mapping):
        return value
    return {**known, **{name: _both(known.get(name), inner) for name, inner in value.items()}}


# -- tools and output ----------------------------------------------------------------------------------------


def _tools(json_schema: bool, body: Body, reader: OptionReader) -> None:
    given = reader.take("tools") or ()
    functions = [tool for tool in given if isinstance(tool, Tool)]
    tools: list[Body] = []
    if functions:
        declared = [_declaration(tool, json_schema, reader) for tool in functions]
        tools.append({"functionDeclarations": declared})
    tools += [{tool.type: dict(tool.fields)} for tool in given if isinstance(tool, HostedTool)]
    if tools:
        body["tools"] = tools
    config = _calling(reader.take("tool_choice"), functions, reader)
    if config is not None:
        body["toolConfig"] = config


def _declaration(tool: Tool, json_schema: bool, reader: OptionReader) -> Body:
    declared: Body = {"name": tool_name(tool.name, TOOL_NAME), "description": tool.description}
    if json_schema:
        declared["parametersJsonSchema"] = tool.parameters
    else:
        declared["parameters"] = _compiled(tool.parameters, f"tools[{tool.name}].parameters", reader)
    return {**declared, **reader.take_extra(tool)}


def _compiled(schema: Any, field: str, reader: OptionReader) -> Body:
    made = compile_schema(schema)
    report_schema(reader, field, made, "Google")
    return made.schema


def _calling(choice: ToolChoice | None, functions: list[Tool], reader: OptionReader) -> Body | None:
    """The function calling config. `VALIDATED` is auto with calls that are held to their schemas."""
    strict = [tool for tool in functions if tool.strict]
    if choice is None and not strict:
        return None
    if choice is not None and choice.raw is not None:
        return dict(choice.raw)
    choice = choice or ToolChoice()
    mode = _MODES[choice.mode]
    if mode == "AUTO" and (strict or choice.names):
        mode = "VALIDATED"
    for tool in strict:
        reader.adapted(f"tools[{tool.name}].strict", f"set for all functions by the calling mode {mode}")
    config: Body = {"mode": mode}
    if choice.names:
        config["allowedFunctionNames"] = list(choice.names)
    return {"functionCallingConfig": config}


def _output(json_schema: bool, config: Body, reader: OptionReader) -> None:
    output = reader.take("output")
    if output is None:
        return
    config["responseMimeType"] = "application/json"
    if not isinstance(output, JSONSchema):
        return
    schema = dict(output.schema)
    if output.description is not None and "description" not in schema:
        schema["description"] = output.description
    if json_schema:
        config["responseJsonSchema"] = schema
    else:
        config["responseSchema"] = _compiled(schema, "output", reader)
