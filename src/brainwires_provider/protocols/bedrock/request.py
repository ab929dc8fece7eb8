"""Writes a Converse request: only what was set, under the names that the service takes.

The model is in the path, percent-encoded whole, since an ARN has slashes and colons; so is whether the response is
streamed. Converse has fields for four options. Others are fields of a model's own in `additionalModelRequestFields`;
only those that a model's page documents are sent, by the family of its facts. What an ARN stands for is not known
unless `models` of the provider's settings state it: for that, BedrockOptions takes the fields as they are.
Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, and "ConverseStream",
"CountTokens", "InferenceConfiguration", "OutputConfig" beside it; the user guide's pages on the models' parameters and
"Prompt caching"; Amazon Nova's guide "Extended thinking"; Anthropic's "Adaptive thinking".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.base.caching import (
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
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts, nearest_effort
from brainwires_provider.protocols.base.json import merged
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, no_count
from brainwires_provider.protocols.base.replay import tool_name
from brainwires_provider.protocols.bedrock.messages import TOOL_NAME, MessageEncoder, encode_messages
from brainwires_provider.protocols.bedrock.options import BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.parts import cache_point
from brainwires_provider.types import (
    Cache,
    Effort,
    HostedTool,
    JSONSchema,
    Origin,
    Reasoning,
    Request,
    Tool,
    ToolChoice,
)

__all__ = ["encode_count", "encode_request", "model_path"]

_COUNTED = frozenset(("messages", "system", "toolConfig", "additionalModelRequestFields"))
_EARLIER_TOOL = {"description": "Called earlier.", "inputSchema": {"json": {"type": "object"}}}
_ABSENT = ("seed", "presence_penalty", "frequency_penalty", "parallel_tool_calls")
_OWN_FIELDS = "BedrockOptions(additionalModelRequestFields=…) takes a model's own fields"
_EFFORTS = ("low", "medium", "high")
_INFERENCE = (("max_tokens", "maxTokens"), ("temperature", "temperature"), ("top_p", "topP"))
Body = dict[str, Any]


def model_path(model: str, operation: str) -> str:
    """`/model/{modelId}/{operation}`."""
    return f"/model/{quote(model, safe='')}/{operation}"


def encode_request(
    protocol: ProtocolBase[BedrockQuirks],
    request: Request,
    origin: Origin,
    *,
    stream: bool,
    facts: ModelFacts = UNKNOWN,
) -> Call:
    """Raises UnsupportedError for content or tools that Converse cannot express."""
    quirks = protocol.quirks
    reader = OptionReader(request, BedrockOptions, facts)
    check_end(reader, request, origin)
    history = encode_messages(request, origin, reader, quirks)
    body: Body = {"messages": history.turns} if history.turns else {}
    if history.system:
        body["system"] = history.system
    settings = ClaudeSettings(reader, reader.take("max_tokens"))
    _put_output(reader, quirks, body)
    thinking = _put_options(reader, body, settings)
    _put_tools(reader, history, body, settings.tool_choice(reader.take("tool_choice"), thinking))
    for name, value in reader.provider_options().items():
        body[name] = merged(body.get(name), _plain(value))
    if not stream:
        _for_whole(body)
    _place_cache_points(body, reader, history)
    path = model_path(request.model or "", "converse-stream" if stream else "converse")
    headers = {"Accept": EventStreamFraming.media_type} if stream else {}
    reported = reader.finish()
    return Call(path, body, headers=headers, deviations=reported, sent=reader.sent, weakened=reader.weakened)


def encode_count(
    protocol: ProtocolBase[BedrockQuirks], request: Request, origin: Origin, facts: ModelFacts = UNKNOWN
) -> Call:
    """`POST /model/{modelId}/count-tokens`. Raises UnsupportedError where the service has no such call."""
    quirks = protocol.quirks
    if not quirks.counting:
        raise no_count(origin.provider, origin.model)
    call = encode_request(protocol, request, origin, stream=False, facts=facts)
    counted = {name: value for name, value in call.body.items() if name in _COUNTED}
    path = model_path(request.model or "", "count-tokens")
    return replace(call, path=path, body={"input": {"converse": counted}})


def _plain(value: Any) -> Any:
    """Mappings as dicts, so that they merge and belong to this body only."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _for_whole(body: Body) -> None:
    """How a guardrail reads a stream is a field of streams only."""
    guard = body.get("guardrailConfig")
    if guard is not None:
        body["guardrailConfig"] = {k: v for k, v in guard.items() if k != "streamProcessingMode"}


# -- options -------------------------------------------------------------------------------------------------


def _put_options(reader: OptionReader, body: Body, settings: ClaudeSettings) -> Body | None:
    """`inferenceConfig`, the model's own fields, and the effort in `outputConfig`; returns Claude's thinking."""
    fields: Body = {}
    if reader.facts.family == "claude":
        thinking = settings.thinking()
        fields = {} if thinking is None else {"thinking": thinking}
    else:
        settings.effort = _reason_by_family(reader, fields)
    sampled = settings.sampling(fields.get("thinking"))
    inference = _inference(reader, sampled, fields)
    if "top_k" in sampled:
        _put_top_k(reader, sampled["top_k"], fields)
    stop = reader.take("stop")
    if stop is not None:
        inference["stopSequences"] = [stop] if isinstance(stop, str) else list(stop)
    for name in _ABSENT:
        if reader.take(name) is not None:
            reader.dropped(name, f"Converse has no such field; {_OWN_FIELDS}")
    if inference:
        body["inferenceConfig"] = inference
    if fields:
        body["additionalModelRequestFields"] = fields
    if settings.effort is not None:
        body["outputConfig"] = {**body.get("outputConfig", {}), "effort": settings.effort}
    return fields.get("thinking")


def _inference(reader: OptionReader, sampled: Body, fields: Body) -> Body:
    """The limit and the sampling options, unless the model takes none beside its high effort."""
    limit = reader.take("max_tokens")
    given = {"max_tokens": limit, **sampled}
    wanted = {wire: given[name] for name, wire in _INFERENCE if given.get(name) is not None}
    effort = fields.get("reasoningConfig", {}).get("maxReasoningEffort")
    if effort != "high" or reader.facts.limits_high_effort:
        return wanted
    for name, wire in _INFERENCE:
        if wire in wanted:
            reader.dropped(name, "not beside this model's high effort")
    return {}


def _put_top_k(reader: OptionReader, top_k: int, fields: Body) -> None:
    family = reader.facts.family
    if family in ("claude", "mistral"):
        fields["top_k"] = top_k
    elif family == "nova":
        fields["inferenceConfig"] = {"topK": top_k}
    else:
        reader.dropped("top_k", f"no field of this model's is known for it; {_OWN_FIELDS}")


def _reason_by_family(reader: OptionReader, fields: Body) -> str | None:
    """The reasoning of models that are not Claude: their own fields, or the effort that Converse has a field for."""
    wanted: Reasoning | None = reader.take("reasoning")
    if wanted is None:
        return None
    facts = reader.facts
    if wanted.summary is not None:
        reader.dropped("reasoning", "Converse has no field for summaries")
    if wanted.budget_tokens is not None:
        reader.dropped("reasoning", f"this model takes no budget; {_OWN_FIELDS}")
    if wanted.effort is None:
        return None
    if facts.efforts == ():
        if wanted.effort != "off":
            reader.dropped("reasoning", "this model does not reason before it answers")
        return None
    return _effort_by_family(reader, wanted.effort, fields)


def _effort_by_family(reader: OptionReader, effort: Effort, fields: Body) -> str | None:
    family = reader.facts.family
    if family == "nova":
        fields["reasoningConfig"] = {"type": "disabled" if effort == "off" else "enabled"}
        if effort != "off":
            fields["reasoningConfig"]["maxReasoningEffort"] = _nearest(reader, effort)
    elif effort == "off":
        reader.dropped("reasoning", f"Converse has no field that stops reasoning; {_OWN_FIELDS}")
    elif family == "gpt-oss":
        fields["reasoning_effort"] = _nearest(reader, effort)
    elif family == "qwen":
        fields["reasoning_config"] = _nearest(reader, effort)
    elif effort == "minimal":
        reader.weaken("reasoning", "the lowest effort here is low")
        return "low"
    else:
        return effort
    return None


def _nearest(reader: OptionReader, effort: Effort) -> str:
    """One of three efforts."""
    near = nearest_effort(effort, _EFFORTS)
    if near != effort:
        reader.weaken("reasoning", f"this model takes low, medium and high: {near} is sent")
    return near


# -- tools ---------------------------------------------------------------------------------------------------


def _put_tools(reader: OptionReader, history: MessageEncoder, body: Body, given: ToolChoice | None) -> None:
    """The tools and the choice among them; a history with calls has to have them."""
    tools: tuple[Tool | HostedTool, ...] = reader.take("tools") or ()
    choice = given or ToolChoice()
    if choice.names and choice.raw is None and (len(choice.names) > 1 or choice.mode == "auto"):
        tools = tuple(t for t in tools if not isinstance(t, Tool) or t.name in choice.names)
        reader.emulated("tool_choice", "only the tools that may be called are sent")
        choice = ToolChoice(choice.mode)
    if choice.mode == "none" and choice.raw is None:
        if not history.has_tools:
            if tools:
                reader.emulated("tool_choice", "Converse has no such choice: the tools are not sent")
                reader.dropped("tools", "none may be called")
            return
        reason = "Converse has no such choice, and a history with calls demands the tools"
        reader.dropped("tool_choice", reason)
        choice = ToolChoice()
    if not tools:
        if given is not None:
            reader.dropped("tool_choice", "there are no tools")
        if history.tool_names:
            entries = [{"toolSpec": {"name": name, **_EARLIER_TOOL}} for name in history.tool_names]
            body["toolConfig"] = {"tools": entries}
            reason = (
                "Converse demands the tools of a history with calls: those called are sent without a schema"
            )
            reader.emulated("tools", reason)
        return
    config: Body = {"tools": [entry for tool in tools for entry in _tool(tool, reader, history)]}
    if given is not None:
        config["toolChoice"] = _choice(choice)
    body["toolConfig"] = config


def _tool(tool: Tool | HostedTool, reader: OptionReader, history: MessageEncoder) -> list[Body]:
    """A tool as the wire has it, and the cache point behind it."""
    if isinstance(tool, HostedTool):
        entry: Body = {tool.type: dict(tool.fields)}
    else:
        spec: Body = {"name": tool_name(tool.name, TOOL_NAME)}
        if tool.description.strip():
            spec["description"] = tool.description
        schema, strict = strict_parameters(reader, tool, on_bedrock=True)
        spec["inputSchema"] = {"json": schema}
        if strict is not None:
            spec["strict"] = strict
        if tool.extra:
            spec.update(reader.take_extra(tool))
        entry = {"toolSpec": spec}
    cache = reader.take_cache(tool)
    if cache is None:
        return [entry]
    point = cache_point(cache)
    history.marked[id(point)] = tool_place(tool)
    return [entry, point]


def _choice(choice: ToolChoice) -> Body:
    if choice.raw is not None:
        return dict(choice.raw)
    if choice.names:
        return {"tool": {"name": choice.names[0]}}
    return {"any": {}} if choice.mode == "required" else {"auto": {}}


# -- output --------------------------------------------------------------------------------------------------


def _put_output(reader: OptionReader, quirks: BedrockQuirks, body: Body) -> None:
    output = reader.take("output")
    if output is None:
        return
    native = quirks.output_schema and reader.facts.schema and reader.facts.bedrock_schema
    schema = None
    if isinstance(output, JSONSchema) and native:
        schema = conformed(reader, "output", output.schema, CLAUDE)
    if not isinstance(output, JSONSchema) or schema is None:
        body["system"] = [*body.get("system", ()), {"text": output_in_words(reader, output)}]
        return
    described: Body = {"name": output.name, "schema": msgspec.json.encode(schema).decode()}
    if output.description is not None:
        described["description"] = output.description
    form = {"type": "json_schema", "structure": {"jsonSchema": described}}
    body["outputConfig"] = {"textFormat": form}
    if output.strict is False:
        reader.adapted("output", SCHEMA_IS_STRICT)


# -- cache points --------------------------------------------------------------------------------------------

_MARK = "cachePoint"


def _place_cache_points(body: Body, reader: OptionReader, history: MessageEncoder) -> None:
    """Set and prune the cache points of a whole body: they are read out, planned, and written back."""
    strategy = reader.take("cache")
    sized = strategy is not None and strategy.mode == "system_and_tail_turn"
    lists = _lists(body, history, turns=sized or history.has_marks)
    marked = any(_MARK in block for _, _, blocks in lists for block in blocks)
    if strategy is None and not marked:
        return
    if not reader.facts.cache_points:
        for _, _, blocks in lists:
            blocks[:] = [block for block in blocks if _MARK not in block]
        for field in (*(f"{place}.cache" for place in history.marked.values()), "cache"):
            if field != "cache" or (strategy is not None and strategy.mode != "off"):
                reader.dropped(field, "this model takes no cache points")
        return
    takes_tools = reader.facts.tool_cache_points
    slots: list[Slot] = []
    for section, where, blocks in lists:
        slots += _slots(section, where, blocks, takes_tools or section != "tools", history.marked)
    plan = plan_marks(slots, strategy)
    start = 0
    for _, _, blocks in lists:
        count = sum(_MARK not in block for block in blocks)
        _write(blocks, {i - start: cache for i, cache in plan.marks.items() if start <= i < start + count})
        start += count
    report_plan(reader, plan)


def _lists(body: Body, history: MessageEncoder, *, turns: bool) -> list[tuple[Section, str, list[Body]]]:
    """The lists in which cache points stand, in the order in which they are read; turns only where one may stand."""
    lists: list[tuple[Section, str, list[Body]]] = []
    if "tools" in body.get("toolConfig", ()):
        lists.append(("tools", "tools", body["toolConfig"]["tools"]))
    if "system" in body:
        lists.append(("system", "system", body["system"]))
    if turns:
        for place, turn in zip(history.places, body.get("messages", ()), strict=False):
            lists.append(("messages", f"messages[{place}]", turn["content"]))
    return lists


def _slots(
    section: Section, where: str, blocks: list[Body], takes: bool, marked: Mapping[int, str]
) -> list[Slot]:
    """What can be marked, and what is: a mark belongs to the block before it."""
    slots: list[Slot] = []
    for block in blocks:
        mark = block.get(_MARK)
        if mark is None:
            cacheable = takes and _is_cacheable(block)
            slots.append(Slot(section, where, cacheable, None, estimated_tokens(block)))
        elif slots:
            ttl = mark.get("ttl") if isinstance(mark, Mapping) else None
            last = slots[-1]
            place = marked.get(id(block), last.where)
            slots[-1] = Slot(last.section, place, last.cacheable, Cache(ttl), last.tokens)
    return slots


def _write(blocks: list[Body], marks: Mapping[int, Cache]) -> None:
    """The same blocks, with these marks and no others."""
    others = [block for block in blocks if _MARK not in block]
    blocks.clear()
    for index, block in enumerate(others):
        blocks.append(block)
        if index in marks:
            blocks.append(cache_point(marks[index]))


def _is_cacheable(block: Body) -> bool:
    if block.get("document", {}).get("format", "pdf") != "pdf":
        return False  # 2026-03: https://github.com/strands-agents/harness-sdk/issues/1966
    return "reasoningContent" not in block and ("text" not in block or bool(str(block["text"]).strip()))
