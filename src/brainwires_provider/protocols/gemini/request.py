"""Writes a generateContent request: only what was set, under the names that the service takes.

Reference: the API reference of `models.generateContent`, `GenerationConfig`, `Tool` and `ToolConfig`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import own_options
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.gemini.messages import HistoryEncoder
from brainwires_provider.protocols.gemini.options import GENERATION_FIELDS, GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.schemas import compile_schema
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

_KNOBS = (
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
_MERGED = ("toolConfig", "generationConfig")
Body = dict[str, Any]


def encode_request(request: Request, origin: Origin, quirks: GeminiQuirks, *, stream: bool) -> Call:
    """Raises UnsupportedError for content or tools that generateContent cannot say."""
    body, deviations = _body(request, origin, quirks)
    path = f"{_model_path(request.model)}:{'streamGenerateContent' if stream else 'generateContent'}"
    return Call(path, body, query={"alt": "sse"} if stream else {}, deviations=tuple(deviations))


def encode_count(request: Request, origin: Origin, quirks: GeminiQuirks) -> Call:
    """`POST /models/MODEL:countTokens`."""
    body, deviations = _body(request, origin, quirks)
    path = _model_path(request.model)
    if quirks.counting == "request":
        body = {"generateContentRequest": {"model": path.removeprefix("/"), **body}}
    else:
        body = {name: body[name] for name in _COUNTED if name in body}
    return Call(f"{path}:countTokens", body, deviations=tuple(deviations))


def _model_path(model: str | None) -> str:
    name = str(model)
    folder = "" if name.startswith(("models/", "tunedModels/")) else "models/"
    return f"/{folder}{quote(name, safe='/@:-._~')}"


def _body(request: Request, origin: Origin, quirks: GeminiQuirks) -> tuple[Body, list[Deviation]]:
    deviations: list[Deviation] = []
    messages = request.messages
    if request.system is not None:
        messages = (Message.system(request.system), *messages)
    instruction, contents = HistoryEncoder(origin, quirks, deviations).encode(messages)
    if not contents:
        raise UnsupportedError(
            "generateContent answers to a message: pass one that is not the system's",
            provider=origin.provider,
            model=origin.model,
        )
    body: Body = {"contents": contents}
    if instruction is not None:
        body["systemInstruction"] = instruction
    takes_json_schema = quirks.json_schema and not re.search(quirks.compiled_models, str(request.model))
    config: Body = {}
    _tools(request, takes_json_schema, body, deviations)
    _output(request, takes_json_schema, config, deviations)
    own: Body = {}
    if request.options.set_fields():
        _tuning(request.options, config, deviations)
        _thinking(request, quirks, config, deviations)
        own = own_options(request.options, GeminiOptions, deviations)
    _own(own, body, config)
    return body, deviations


# -- knobs ---------------------------------------------------------------------------------------------------


def _tuning(options: Options, config: Body, deviations: list[Deviation]) -> None:
    for name, wire_name in _KNOBS:
        value = getattr(options, name)
        if value is not None:
            config[wire_name] = value
    if options.stop is not None:
        config["stopSequences"] = [options.stop] if isinstance(options.stop, str) else list(options.stop)
    if options.parallel_tool_calls is not None:
        reason = "the model decides how many calls it makes at once"
        deviations.append(Deviation("parallel_tool_calls", "dropped", reason))
    if options.cache is not None and options.cache.mode != "off":
        reason = "this protocol caches by itself; what was cached is named by cachedContent, in GeminiOptions"
        deviations.append(Deviation("cache", "dropped", reason))


def _thinking(request: Request, quirks: GeminiQuirks, config: Body, deviations: list[Deviation]) -> None:
    """A level for the models that know levels, a budget for the others; a budget that was given goes as it is."""
    wanted = request.options.reasoning
    if wanted is None:
        return
    if isinstance(wanted, str):
        wanted = Reasoning(effort=wanted)
    said: Body = {}
    effort = wanted.effort
    if wanted.budget_tokens is not None:
        said["thinkingBudget"] = wanted.budget_tokens
        if effort is not None:
            reason = "a budget is given too, and only one of both can be sent"
            deviations.append(Deviation("reasoning.effort", "dropped", reason))
    elif effort is not None and re.search(quirks.level_models, str(request.model)):
        said["thinkingLevel"] = quirks.levels[effort]
        if effort in ("off", "max"):
            reason = f"this model has no level {effort!r}: the nearest is sent"
            deviations.append(Deviation("reasoning", "adapted", reason))
    elif effort is not None:
        said["thinkingBudget"] = quirks.budgets[effort]
        if effort != "off":
            deviations.append(Deviation("reasoning", "adapted", "this model is told a budget in tokens"))
    if wanted.summary is not None:
        said["includeThoughts"] = True
        if wanted.summary != "auto":
            reason = "summaries have one length here"
            deviations.append(Deviation("reasoning.summary", "adapted", reason))
    if said:
        config["thinkingConfig"] = said


def _own(own: Body, body: Body, config: Body) -> None:
    """The protocol's own fields win; the objects that general knobs also fill are merged."""
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


def _tools(request: Request, json_schema: bool, body: Body, deviations: list[Deviation]) -> None:
    functions = [tool for tool in request.tools if isinstance(tool, Tool)]
    tools: list[Body] = []
    if functions:
        declared = [_declaration(tool, json_schema, deviations) for tool in functions]
        tools.append({"functionDeclarations": declared})
    tools += [{t.type: dict(t.fields)} for t in request.tools if isinstance(t, HostedTool)]
    for tool in request.tools:
        if tool.cache is not None:
            name = tool.name if isinstance(tool, Tool) else tool.type
            deviations.append(Deviation(f"tools[{name}].cache", "dropped", "tools take no cache marks here"))
    if tools:
        body["tools"] = tools
    config = _calling(request.tool_choice, functions, deviations)
    if config is not None:
        body["toolConfig"] = config


def _declaration(tool: Tool, json_schema: bool, deviations: list[Deviation]) -> Body:
    declared: Body = {"name": tool.name, "description": tool.description}
    if json_schema:
        declared["parametersJsonSchema"] = tool.parameters
    else:
        declared["parameters"] = _compiled(tool.parameters, f"tools[{tool.name}].parameters", deviations)
    return {**declared, **(tool.extra or {})}


def _compiled(schema: Any, field: str, deviations: list[Deviation]) -> Body:
    made = compile_schema(schema)
    if made.changed:
        reason = f"said in Google's schema dialect: {'; '.join(made.changed)}"
        deviations.append(Deviation(field, "adapted", reason))
    if made.lost:
        reason = f"Google's schema dialect cannot say: {'; '.join(made.lost)}"
        deviations.append(Deviation(field, "dropped", reason))
    return made.schema


def _calling(choice: ToolChoice | None, functions: list[Tool], deviations: list[Deviation]) -> Body | None:
    """The function calling config. `VALIDATED` is auto with calls that are held to their schemas."""
    is_strict = [tool for tool in functions if tool.strict]
    if choice is None and not is_strict:
        return None
    if choice is not None and choice.raw is not None:
        return dict(choice.raw)
    choice = choice or ToolChoice()
    mode = _MODES[choice.mode]
    if mode == "AUTO" and (is_strict or choice.names):
        mode = "VALIDATED"
    for tool in is_strict:
        reason = f"said for all functions by the calling mode {mode}"
        deviations.append(Deviation(f"tools[{tool.name}].strict", "adapted", reason))
    said: Body = {"mode": mode}
    if choice.names:
        said["allowedFunctionNames"] = list(choice.names)
    return {"functionCallingConfig": said}


def _output(request: Request, json_schema: bool, config: Body, deviations: list[Deviation]) -> None:
    output = request.output
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
        config["responseSchema"] = _compiled(schema, "output", deviations)
