"""What Claude models accept, for every route to them: Anthropic's Messages, three APIs of Bedrock, Vertex AI.

`claude_facts` looks a model's name up in a table of generations, oldest first. A name that is newer than the table
gets the facts of the newest generation; one that is no Claude (a model of a compatible service) accepts everything.
`ClaudeSettings` makes of a request's reasoning and sampling options what such a model accepts, and reports the rest,
in the same way for every route.

Checked 2026-11-23. Reference: https://platform.claude.com/docs/en/about-claude/models/overview and the pages
"Adaptive thinking", "Effort", "Extended thinking" and "Migration guide" beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import Effort, JSONSchema, Reasoning, ToolChoice

__all__ = ["SCHEMA_IS_STRICT", "ClaudeFacts", "ClaudeSettings", "claude_facts", "output_in_words"]

Body: TypeAlias = dict[str, Any]
Version: TypeAlias = tuple[int, int]


class ClaudeFacts(Struct, frozen=True):
    """What one model accepts. The defaults are those of a model of which nothing is known: everything."""

    sampling: bool = True
    """Accepts temperature, top_p and top_k."""
    both_samplers: bool = True
    """Accepts temperature and top_p in one request."""
    samples_thinking: bool = True
    """Accepts them while it thinks."""
    budgets: bool = True
    """Accepts a thinking budget in tokens."""
    adaptive: bool = True
    """Accepts adaptive thinking, steered by an effort."""
    thinking_off: Literal["disabled", "between_tools"] | None = "disabled"
    """The `thinking.type` that stops thinking; None where nothing does."""
    signed_thinking: bool = False
    """Refuses thinking that comes back without its signature."""
    system_turns: bool = False
    """Accepts a system message in the middle of a conversation, after a user's turn."""
    schema: bool = True
    """Accepts a JSON Schema for its output."""
    bedrock_schema: bool = True
    """Accepts it through Bedrock's Converse and InvokeModel too."""
    forced_tools: bool = True
    """Accepts a tool choice that forces a call."""
    forced_tools_thinking: bool = True
    """Accepts it beside a thinking budget."""
    max_output: int | None = None
    """The largest number of output tokens."""


# -- the table -----------------------------------------------------------------------------------------------

_OLDEST = ClaudeFacts(
    samples_thinking=False,
    budgets=False,
    adaptive=False,
    schema=False,
    forced_tools_thinking=False,
    signed_thinking=True,
    max_output=4_096,
)
_CHANGES: tuple[tuple[Version, Mapping[str, Any]], ...] = (
    ((3, 5), {"max_output": 8_192}),
    ((3, 7), {"budgets": True, "max_output": 64_000}),
    ((4, 1), {"both_samplers": False, "schema": True}),
    ((4, 6), {"adaptive": True, "max_output": 128_000}),
    ((4, 7), {"sampling": False, "budgets": False, "bedrock_schema": False}),
    ((4, 8), {"system_turns": True}),
)
"""What changed with a version, for every later one too.

Schemas on Bedrock: https://github.com/anomalyco/models.dev/pull/1765 (2026-05, by AWS's model cards) and
https://github.com/anthropics/anthropic-sdk-python/issues/1759 (2026-07).
"""
_UNVERSIONED: Version = (99, 0)
_EXCEPTIONS: tuple[tuple[str, Version, Version, Mapping[str, Any]], ...] = (
    ("opus", (3, 7), (4, 5), {"max_output": 32_000}),
    ("opus", (5, 5), _UNVERSIONED, {"thinking_off": None, "forced_tools": False}),
    ("sonnet", (5, 5), _UNVERSIONED, {"thinking_off": "between_tools"}),
    ("fable", (0, 0), (100, 0), {"thinking_off": None}),
    ("fable", (5, 1), (100, 0), {"forced_tools": False}),
    ("mythos", (0, 0), (100, 0), {"thinking_off": None, "forced_tools": False}),
)
"""What is different for one family, from a version on and before another.

Forced tools: https://github.com/vercel/ai/issues/21364 (2026-09). Thinking and forced tools: the guide "Extended
thinking" under "Feature compatibility".
"""
_NAME = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?!\d)(?:[-.](\d)(?!\d))?")
_FAMILIES = tuple(dict.fromkeys(entry[0] for entry in _EXCEPTIONS))


@lru_cache(256)
def claude_facts(model: str) -> ClaudeFacts:
    """The facts of a model by its name, which may be a cloud's: `us.anthropic.claude-opus-4-6-v1:0`."""
    if "claude" not in model:
        return ClaudeFacts()
    found = _NAME.search(model)
    version = (int(found[2]), int(found[3] or 0)) if found else _UNVERSIONED
    # The oldest names have the family after the version (claude-3-5-sonnet), previews have no version at all.
    family = (found and found[1]) or next((name for name in _FAMILIES if name in model), "")
    facts = _OLDEST
    for since, changes in _CHANGES:
        if version >= since:
            facts = replace(facts, **changes)
    for name, since, before, changes in _EXCEPTIONS:
        if name == family and since <= version < before:
            facts = replace(facts, **changes)
    return facts


# -- options -------------------------------------------------------------------------------------------------

_BUDGETS = MappingProxyType({"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "max": 32_768})
_LEAST_BUDGET = 1_024
_SAMPLERS = ("temperature", "top_p", "top_k")
_LEAST_TOP_P = 0.95  # beside thinking


class ClaudeSettings:
    """The reasoning and sampling options of one request, as a model with these facts accepts them.

    `limit` is the request's `max_tokens` where one is set.
    """

    def __init__(self, reader: OptionReader, facts: ClaudeFacts, limit: int | None) -> None:
        self._reader = reader
        self._facts = facts
        self._limit = limit
        self.effort: str | None = None

    # -- reasoning -------------------------------------------------------------------------------------------

    def thinking(self) -> Body | None:
        """The `thinking` object; also sets `effort`, which has a place of its own in a request."""
        facts = self._facts
        wanted: Effort | Reasoning | None = self._reader.take("reasoning")
        if wanted is None:
            return None
        if isinstance(wanted, str):
            wanted = Reasoning(effort=wanted)
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
                self._reader.adapted("reasoning", "summaries have no sizes here")
        return thinking

    def _off(self) -> Body | None:
        off = self._facts.thinking_off
        if off is None:
            self._reader.dropped("reasoning", "this model always thinks")
            return None
        if off != "disabled":
            self._reader.adapted("reasoning", "this model still writes a little between its tool calls")
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
                self._reader.adapted("reasoning", reason)
            return {"type": "enabled", "budget_tokens": wanted.budget_tokens}
        return None if self._facts.adaptive else self._budget(_BUDGETS[wanted.effort or "medium"])

    def _set_effort(self, wanted: Reasoning) -> None:
        self.effort = wanted.effort
        if wanted.effort == "minimal":
            self.effort = "low"
            self._reader.adapted("reasoning", "the lowest effort here is low")

    def _budget(self, budget: int) -> Body | None:
        """An effort as a budget, which has to stay below `max_tokens` where that is set."""
        limit = self._limit
        if limit is not None and limit <= _LEAST_BUDGET:
            reason = f"max_tokens leaves no room for {_LEAST_BUDGET} tokens of thinking"
            self._reader.dropped("reasoning", reason)
            return None
        room = limit - 1 if limit is not None else (self._facts.max_output or 2 * budget) // 2
        budget = min(budget, room)
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
        self._reader.adapted("tool_choice", reason)
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

SCHEMA_IS_STRICT = "this protocol always holds to the schema"
"""Why an output schema with `strict=False` is reported."""


def output_in_words(reader: OptionReader, output: JSONSchema | Literal["json"]) -> str:
    """An instruction instead of an output format that the API does not take; reported as emulated."""
    if not isinstance(output, JSONSchema):
        reader.emulated("output", "this protocol has no plain JSON mode: it is put into words")
        return "Answer with one JSON object and nothing else."
    reader.emulated("output", "this model takes no schema: it is put into words")
    described = f" ({output.description})" if output.description else ""
    schema = msgspec.json.encode(output.schema).decode()
    return f"Answer with one JSON object, {output.name}{described}, that follows this JSON Schema:\n{schema}"
