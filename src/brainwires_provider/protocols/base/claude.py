"""A request's options as a Claude model accepts them, by every route: Messages, three APIs of Bedrock, Vertex AI.

`ClaudeSettings` makes of a request's reasoning and sampling options what a model with these facts accepts, and
reports the rest, in the same way for every route. Reference: the pages "Adaptive thinking", "Effort" and "Extended
thinking" of https://platform.claude.com/docs/en/build-with-claude/overview.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.dialects import CLAUDE, JSON_WORDS, conform, conformed
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import JSONSchema, Origin, Reasoning, Request, Tool, ToolChoice

__all__ = ["SCHEMA_IS_STRICT", "ClaudeSettings", "check_end", "output_in_words", "strict_parameters"]

Body: TypeAlias = dict[str, Any]


# -- options -------------------------------------------------------------------------------------------------

_BUDGETS = MappingProxyType({"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_768})
_LEAST_BUDGET = 1_024
_SAMPLERS = ("temperature", "top_p", "top_k")
_LEAST_TOP_P = 0.95  # beside thinking


class ClaudeSettings:
    """The reasoning and sampling options of one request, as a model with these facts accepts them.

    `limit` is the request's `max_tokens` where one is set.
    """

    def __init__(self, reader: OptionReader, limit: int | None) -> None:
        self._reader = reader
        self._facts = reader.facts
        self._limit = limit
        self.effort: str | None = None

    # -- reasoning -------------------------------------------------------------------------------------------

    def thinking(self) -> Body | None:
        """The `thinking` object; also sets `effort`, which has a place of its own in a request."""
        facts = self._facts
        wanted: Reasoning | None = self._reader.take("reasoning")
        if wanted is None:
            return None
        if not facts.budgets and not facts.adaptive:
            if wanted.effort != "off":
                self._reader.dropped("reasoning", "this model does not think before it answers")
            return None
        if wanted.effort == "off":
            return self._off()
        thinking = self._by_budget(wanted) if facts.budgets else None
        if thinking is None and facts.adaptive:
            thinking = self._adaptive(wanted)
        if thinking is not None and wanted.summary is not None:
            thinking["display"] = "summarized"
            if wanted.summary != "auto":
                self._reader.weaken("reasoning", "summaries have no sizes here")
        return thinking

    def _off(self) -> Body | None:
        off = self._facts.thinking_off
        if off is None:
            self._reader.dropped("reasoning", "this model always thinks")
            return None
        if off != "disabled":
            self._reader.weaken("reasoning", "this model still writes a little between its tool calls")
        return {"type": off}

    def _adaptive(self, wanted: Reasoning) -> Body:
        if wanted.budget_tokens is not None:
            reason = "this model takes no budget: it decides itself how much it thinks"
            self._reader.dropped("reasoning", reason)
        self._set_effort(wanted)
        return {"type": "adaptive"}

    def _by_budget(self, wanted: Reasoning) -> Body | None:
        """None where an effort is sent instead, or `max_tokens` leaves no room."""
        if wanted.budget_tokens is not None:
            if self._facts.adaptive:
                self._set_effort(wanted)
            elif wanted.effort is not None:
                reason = "this model takes a budget or an effort: the budget is sent"
                self._reader.weaken("reasoning", reason)
            return {"type": "enabled", "budget_tokens": wanted.budget_tokens}
        return None if self._facts.adaptive else self._budget(_BUDGETS[wanted.effort or "medium"])

    def _set_effort(self, wanted: Reasoning) -> None:
        self.effort = wanted.effort
        if wanted.effort == "minimal":
            self.effort = "low"
            self._reader.weaken("reasoning", "the lowest effort here is low")

    def _budget(self, budget: int) -> Body | None:
        """An effort as a budget, which has to stay below `max_tokens` where that is set."""
        limit = self._limit
        if limit is not None and limit <= _LEAST_BUDGET:
            reason = f"max_tokens leaves no room for {_LEAST_BUDGET} tokens of thinking"
            self._reader.dropped("reasoning", reason)
            return None
        room = limit - 1 if limit is not None else (self._facts.max_output or 2 * budget) // 2
        if budget > room:
            budget = room
            self._reader.weaken(
                "reasoning", f"the budget of this effort is cut to {budget} tokens, which have room"
            )
        else:
            self._reader.adapted("reasoning", f"this model takes no effort but a budget: {budget} tokens")
        return {"type": "enabled", "budget_tokens": budget}

    # -- tool choice -----------------------------------------------------------------------------------------

    def tool_choice(self, choice: ToolChoice | None, thinking: Any) -> ToolChoice | None:
        """The choice that the model takes beside this `thinking`: a forced one may have to become `auto`."""
        if choice is None or choice.mode != "required" or choice.raw is not None:
            return choice
        by_budget = isinstance(thinking, Mapping) and thinking.get("type") == "enabled"
        if not self._facts.forced_tools:
            reason = "this model takes no forced tool choice: auto is sent"
        elif by_budget and not self._facts.forced_tools_thinking:
            reason = "beside a thinking budget no tool can be forced: auto is sent"
        else:
            return choice
        self._reader.weaken("tool_choice", reason)
        return ToolChoice("auto", choice.names)

    # -- sampling --------------------------------------------------------------------------------------------

    def sampling(self, thinking: Any) -> Body:
        """temperature, top_p and top_k as far as the model takes them beside this `thinking`."""
        kind = thinking.get("type") if isinstance(thinking, Mapping) else None
        thinks = kind in ("enabled", "adaptive") and not self._facts.samples_thinking
        taken: Body = {}
        for name in _SAMPLERS:
            value = self._reader.take(name)
            if value is None:
                continue
            objection = self._objection(name, value, thinks, taken)
            if objection is None:
                taken[name] = value
            else:
                self._reader.dropped(name, objection)
        return taken

    def _objection(self, name: str, value: float, thinks: bool, taken: Body) -> str | None:
        """Why a sampling option cannot be sent; None if it can."""
        if not self._facts.sampling:
            return "this model takes no sampling options"
        if thinks and name == "top_p" and value < _LEAST_TOP_P:
            return f"beside thinking, top_p is at least {_LEAST_TOP_P}"
        if thinks and (name == "top_k" or (name == "temperature" and value != 1)):
            return "not beside thinking"
        if name == "top_p" and "temperature" in taken and not self._facts.both_samplers:
            return "this model takes temperature or top_p, not both"
        return None


# -- output --------------------------------------------------------------------------------------------------


def check_end(reader: OptionReader, request: Request, origin: Origin) -> None:
    """Raises UnsupportedError for a begun answer that the model does not continue; one of its own it does."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant" or reader.facts.prefill:
        return
    if last.content and all(part.origin is None for part in last.content):
        raise UnsupportedError(
            "this model continues no answer that the request begins: end with a user's message",
            provider=origin.provider,
            model=origin.model,
        )


def strict_parameters(
    reader: OptionReader, tool: Tool, *, on_bedrock: bool
) -> tuple[Mapping[str, Any], bool | None]:
    """A tool's parameters and its `strict`, in the dialect that a strict tool demands."""
    if tool.strict is not None and on_bedrock and not reader.facts.bedrock_strict:
        reader.dropped(f"tools[{tool.name}].strict", "this model takes no such field on Bedrock")
        return tool.parameters, None
    if not tool.strict:
        return tool.parameters, tool.strict
    schema = conformed(reader, f"tools[{tool.name}].parameters", tool.parameters, CLAUDE)
    if schema is not None:
        return schema, True
    reader.dropped(f"tools[{tool.name}].strict", str(conform(tool.parameters, CLAUDE).refused))
    return tool.parameters, None


SCHEMA_IS_STRICT = "this protocol always holds to the schema"
"""Why an output schema with `strict=False` is reported."""


def output_in_words(reader: OptionReader, output: JSONSchema | Literal["json"]) -> str:
    """An instruction instead of an output format that the API does not take; reported as emulated."""
    if not isinstance(output, JSONSchema):
        reader.emulated("output", "this protocol has no plain JSON mode: it is put into words")
        return JSON_WORDS
    reader.emulated("output", "this model takes no such schema: it is put into words")
    described = f" ({output.description})" if output.description else ""
    schema = msgspec.json.encode(output.schema).decode()
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
