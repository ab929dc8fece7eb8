"""A request of the Agents SDK as the arguments of `AsyncClient.chat`: settings, tools, the form of the answer.

What a protocol has no field for raises UserError, which names the setting. What an option becomes on its way to a
model is on the response's report, as always; `Client(strict=True)` refuses what would be less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agents import AgentOutputSchemaBase, FunctionTool, Handoff, ModelSettings, UserError
from agents import Tool as TheirTool
from agents.models.openai_responses import Converter

from brainwires_provider.integrations.responses import messages_of
from brainwires_provider.integrations.responses.items import PROTOCOL
from brainwires_provider.protocols.openai_chat.options import OpenAIChatOptions
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions
from brainwires_provider.types import (
    Effort,
    HostedTool,
    JSONSchema,
    Message,
    Origin,
    Reasoning,
    Retry,
    Tool,
    ToolChoice,
)

__all__ = ["arguments_of", "input_of", "taken_ids"]

_CHAT = "openai_chat"
_PLAIN = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens")
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "metadata": {_CHAT: "metadata", PROTOCOL: "metadata"},
    "store": {_CHAT: "store", PROTOCOL: "store"},
    "prompt_cache_retention": {_CHAT: "prompt_cache_retention", PROTOCOL: "prompt_cache_retention"},
    "prompt_cache_options": {_CHAT: "prompt_cache_options", PROTOCOL: "prompt_cache_options"},
    "verbosity": {_CHAT: "verbosity", PROTOCOL: "verbosity"},
    "top_logprobs": {_CHAT: "top_logprobs", PROTOCOL: "top_logprobs"},
    "truncation": {PROTOCOL: "truncation"},
    "response_include": {PROTOCOL: "include"},
    "context_management": {PROTOCOL: "context_management"},
}
"""The settings that OpenAI's protocols alone have, and their fields there."""
_HELD = {"store": False, "truncation": "disabled"}
"""Values that other protocols hold to anyway."""
_GENERAL = frozenset(("seed", "stop", "top_k"))
"""What of `extra_args` is an option of every protocol."""
_EFFORTS: Mapping[str, Effort] = {
    "none": "off",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}
_LOGPROBS = "message.output_text.logprobs"
_OPTIONS = {_CHAT: OpenAIChatOptions, PROTOCOL: OpenAIResponsesOptions}


def input_of(given: str | Sequence[Any], target: Origin) -> list[Message]:
    """The messages of a request's input. Raises UserError, with the place, for what is no item."""
    if isinstance(given, str):
        return [Message.user(given)]
    items = [item if isinstance(item, Mapping) else item.model_dump(exclude_unset=True) for item in given]  # type: ignore[union-attr]
    try:
        return messages_of(items, origin=target if target.protocol == PROTOCOL else None)
    except ValueError as error:
        raise UserError(str(error)) from error


def taken_ids(given: str | Sequence[Any]) -> set[str]:
    """The ids of the calls in a request's input."""
    if isinstance(given, str):
        return set()
    return {item["call_id"] for item in given if isinstance(item, Mapping) and item.get("call_id")}


def arguments_of(  # noqa: PLR0917
    target: Origin,
    settings: ModelSettings,
    tools: Sequence[TheirTool],
    handoffs: Sequence[Handoff[Any, Any]],
    output_schema: AgentOutputSchemaBase | None,
    state: Mapping[str, str | None],
) -> dict[str, Any]:
    """The keywords for `chat` and `stream`, but for the input, the model and the system prompt."""
    given: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(settings, name)
        if value is not None:
            given[name] = value
    own = dict(_own_fields(target, settings, state))
    if tools or handoffs:
        _tools(given, own, target, settings, tools, handoffs)
    elif settings.tool_choice not in (None, "auto", "none"):
        raise UserError(f"tool_choice {settings.tool_choice!r}: the agent has no tools")
    if output_schema is not None and not output_schema.is_plain_text():
        schema, strict = output_schema.json_schema(), output_schema.is_strict_json_schema()
        given["output"] = JSONSchema("final_output", schema, strict=strict)
    if settings.reasoning is not None:
        _reasoning(given, own, target, settings.reasoning)
    _extras(given, settings)
    if own:
        given["provider_options"] = _OPTIONS[target.protocol](**own)
    if _is_retried_by_runner(settings):
        given["retry"] = Retry(attempts=1)
    return given


def _is_retried_by_runner(settings: ModelSettings) -> bool:
    """Whether the runner repeats failed requests, or nobody is to: then we do not."""
    retry = settings.retry
    if retry is None or retry.max_retries is None:
        return False
    return retry.max_retries <= 0 or retry.policy is not None


def _own_fields(
    target: Origin, settings: ModelSettings, state: Mapping[str, str | None]
) -> Iterator[tuple[str, Any]]:
    """The fields of OpenAI's protocols alone."""
    for name, fields in _FIELDS.items():
        value = getattr(settings, name, None)
        if value is None or (target.protocol not in fields and _HELD.get(name) == value):
            continue
        if target.protocol not in fields:
            raise _has_no(f"ModelSettings.{name}", target)
        field = fields[target.protocol]
        yield (
            ("text", {"verbosity": value})
            if (field, target.protocol) == ("verbosity", PROTOCOL)
            else (field, value)
        )
    if settings.top_logprobs is not None:
        if target.protocol == _CHAT:
            yield "logprobs", True
        else:
            yield "include", [*(settings.response_include or ()), _LOGPROBS]
    for name, value in state.items():
        if value is None:
            continue
        if target.protocol != PROTOCOL:
            raise UserError(
                f"{target.provider} keeps no state ({name}): leave it out, and pass the history "
                "(result.to_input_list(), or a session)"
            )
        yield name, value
        if settings.store is None and name == "previous_response_id":
            yield "store", True


def _has_no(what: str, target: Origin) -> UserError:
    return UserError(
        f"{what}: {target.protocol}, the protocol of {target.provider}, has no such field. Leave it out, or send a "
        "field of the provider's own with ModelSettings(extra_body=…)"
    )


def _reasoning(given: dict[str, Any], own: dict[str, Any], target: Origin, reasoning: Any) -> None:
    summary = reasoning.summary or reasoning.generate_summary
    effort = reasoning.effort
    raw = {name: getattr(reasoning, name, None) for name in ("mode", "context")}
    if effort is not None and effort not in _EFFORTS:
        if target.protocol == _CHAT:
            own["reasoning_effort"] = effort
        elif target.protocol == PROTOCOL:
            raw["effort"] = effort
        elif effort != "xhigh":
            raise UserError(f"reasoning.effort {effort!r} is none of {', '.join(_EFFORTS)}, xhigh")
    known = _EFFORTS.get(effort) if effort else None
    if known is None and effort == "xhigh" and target.protocol not in _OPTIONS:
        known = "max"
    if known is not None or summary is not None:
        given["reasoning"] = Reasoning(effort=known, summary=summary)
    sent = {name: value for name, value in raw.items() if value is not None}
    if sent and target.protocol != PROTOCOL:
        raise _has_no(f"ModelSettings.reasoning.{next(iter(sent))}", target)
    if sent:
        own["reasoning"] = sent


def _extras(given: dict[str, Any], settings: ModelSettings) -> None:
    """Headers, query and body fields that the caller sends as they are."""
    body: dict[str, Any] = {}
    for name in ("extra_body", "extra_query", "extra_headers"):
        value = getattr(settings, name)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            raise UserError(f"ModelSettings.{name} is a mapping, not {type(value).__name__}")
        if name == "extra_body":
            body |= value
        elif name == "extra_query":
            given[name] = {key: str(each) for key, each in value.items()}
        else:
            given[name] = {key: each for key, each in value.items() if isinstance(each, str)}
    for name, value in (settings.extra_args or {}).items():
        (given if name in _GENERAL else body)[name] = value
    if body:
        given["extra_body"] = body


# -- tools -----------------------------------------------------------------------------------------------------


def _tools(  # noqa: PLR0917
    given: dict[str, Any],
    own: dict[str, Any],
    target: Origin,
    settings: ModelSettings,
    tools: Sequence[TheirTool],
    handoffs: Sequence[Handoff[Any, Any]],
) -> None:
    plain: list[Tool | HostedTool] = []
    built_in: list[TheirTool] = []
    for tool in tools:
        if isinstance(tool, FunctionTool) and not _namespace_of(tool):
            plain.append(_function(tool))
        else:
            built_in.append(tool)
    plain += [_handoff(each) for each in handoffs]
    if built_in and target.protocol != PROTOCOL:
        names = ", ".join(getattr(each, "name", type(each).__name__) for each in built_in)
        raise UserError(
            f"the tools {names} are OpenAI's own, and {target.provider} does not run them: give the agent function "
            "tools, or ask a model of the Responses API"
        )
    if built_in:
        converted = Converter.convert_tools(
            built_in, [], model=target.model, tool_choice=settings.tool_choice
        )
        plain[:0] = [_hosted(dict(each)) for each in converted.tools]
        if converted.includes:
            own["include"] = [*own.get("include", ()), *converted.includes]
    given["tools"] = plain
    if settings.parallel_tool_calls is not None:
        given["parallel_tool_calls"] = settings.parallel_tool_calls
    if settings.tool_choice is not None:
        given["tool_choice"] = _choice(settings.tool_choice, target, tools, handoffs, plain)


def _namespace_of(tool: FunctionTool) -> str | None:
    named = getattr(tool, "_tool_namespace", None)
    return named if isinstance(named, str) else None


def _function(tool: FunctionTool) -> Tool:
    extra = {}
    if getattr(tool, "defer_loading", False):
        extra["defer_loading"] = True
    for name, field in (("allowed_callers", "allowed_callers"), ("output_json_schema", "output_schema")):
        value = getattr(tool, name, None)
        if value is not None:
            extra[field] = value
    strict = tool.strict_json_schema
    return Tool(tool.name, tool.description, tool.params_json_schema, strict, extra=extra or None)


def _handoff(handoff: Handoff[Any, Any]) -> Tool:
    return Tool(
        handoff.tool_name, handoff.tool_description, handoff.input_json_schema, handoff.strict_json_schema
    )


def _hosted(fields: dict[str, Any]) -> HostedTool:
    return HostedTool(
        fields.pop("type"), {name: value for name, value in fields.items() if value is not None}
    )


def _choice(
    choice: Any,
    target: Origin,
    tools: Sequence[TheirTool],
    handoffs: Sequence[Handoff[Any, Any]],
    sent: Sequence[Tool | HostedTool],
) -> Any:
    if choice in ("auto", "none", "required"):
        return choice
    if any(isinstance(each, Tool) and each.name == choice for each in sent):
        return ToolChoice.tool(choice)
    if target.protocol == PROTOCOL:
        raw = Converter.convert_tool_choice(choice, tools=tools, handoffs=handoffs, model=target.model)
        return ToolChoice(raw=raw)  # type: ignore[arg-type]
    raise UserError(f"tool_choice {choice!r}: the agent has no such tool")
