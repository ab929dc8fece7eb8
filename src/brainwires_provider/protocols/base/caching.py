"""Plans prompt-cache breakpoints for Claude: the caller's own marks first, then a strategy's, within the limit.

A prompt is a sequence of `Slot`s in the order in which a service reads it: tools, system, messages. A protocol makes
slots of its blocks, and writes the planned marks in its own form: `cache_control` in Messages, a block in Converse.
Reference: https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import Cache, CacheStrategy, Deviation, HostedTool, Tool

__all__ = [
    "LIMIT",
    "MarkPlan",
    "Section",
    "Slot",
    "estimated_tokens",
    "plan_marks",
    "report_plan",
    "tool_place",
]

LIMIT = 4
"""How many breakpoints a request takes."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DEFAULT_TTL = "5m"
_CHARACTERS_PER_TOKEN = 4
_MEDIA_CHARACTERS = 6_000  # an image or a page is some 1,500 tokens, whatever its bytes
Section: TypeAlias = Literal["tools", "system", "messages"]


class Slot(Struct, frozen=True):
    """One place after which a breakpoint can stand. `where` names it in reports; `tokens` is an estimate."""

    section: Section
    where: str
    cacheable: bool = True
    mark: Cache | None = None
    tokens: int = 0


class MarkPlan(Struct, frozen=True):
    """The slots that are marked, by their index, and what has to be said about it."""

    marks: Mapping[int, Cache]
    deviations: tuple[Deviation, ...] = ()
    weaker: tuple[str, ...] = ()
    """The fields among them that get less than was asked for."""


# -- the plan ------------------------------------------------------------------------------------------------


def plan_marks(slots: Sequence[Slot], strategy: CacheStrategy | None, limit: int = LIMIT) -> MarkPlan:
    """At most `limit` marks. Explicit ones go first; of too many of them the last stand, which reach furthest."""
    if strategy is not None and strategy.mode == "off":
        return MarkPlan({})
    deviations: list[Deviation] = []
    marks = _explicit(slots, limit, deviations)
    weaker = _planned(slots, strategy, limit, marks, deviations) if strategy is not None else []
    weaker += _order_ttls(slots, marks, deviations)
    return MarkPlan(dict(sorted(marks.items())), tuple(deviations), tuple(weaker))


def _explicit(slots: Sequence[Slot], limit: int, deviations: list[Deviation]) -> dict[int, Cache]:
    marks: dict[int, Cache] = {}
    for index, slot in enumerate(slots):
        if slot.mark is None:
            continue
        if slot.cacheable:
            marks[index] = slot.mark
        else:
            reason = (
                "no breakpoint can stand here: on thinking, an empty text, a deferred tool or a text document"
            )
            deviations.append(Deviation(f"{slot.where}.cache", "dropped", reason))
    for index in sorted(marks)[: max(0, len(marks) - limit)]:
        del marks[index]
        reason = f"a request takes {limit} breakpoints, and later ones reach further"
        deviations.append(Deviation(f"{slots[index].where}.cache", "dropped", reason))
    return marks


def _planned(
    slots: Sequence[Slot],
    strategy: CacheStrategy,
    limit: int,
    marks: dict[int, Cache],
    deviations: list[Deviation],
) -> list[str]:
    wanted, lacking = _wanted(slots, strategy)
    planned: list[str] = []
    weaker: list[str] = []
    for index in wanted:
        if index not in marks:
            if len(marks) >= limit:
                lacking.append(f"none after {slots[index].where}: all {limit} are taken by explicit marks")
                weaker = ["cache"]
                continue
            marks[index] = Cache(strategy.ttl)
        planned.append(slots[index].where)
    summary = f"breakpoints after {', '.join(planned)}" if planned else "no breakpoint"
    deviations.append(Deviation("cache", "adapted", "; ".join([summary, *lacking])))
    return weaker


def _wanted(slots: Sequence[Slot], strategy: CacheStrategy) -> tuple[list[int], list[str]]:
    """The slots that a strategy marks, the most useful first, and why others are missing."""
    wanted: list[int] = []
    lacking: list[str] = []

    def want(section: str, name: str) -> None:
        found = [i for i, slot in enumerate(slots) if slot.section == section and slot.cacheable]
        if found:
            wanted.append(found[-1])
        else:
            lacking.append(f"there is no {name}")

    want("system", "system message")
    if strategy.mode == "system_and_tools":
        want("tools", "tool")
    elif strategy.mode == "system_and_tail_turn":
        size = sum(slot.tokens for slot in slots if slot.section == "messages")
        if size > (strategy.threshold or 0):
            want("messages", "turn")
        else:
            lacking.append(f"the history has about {size} tokens, the threshold is {strategy.threshold}")
    return wanted, lacking


def _order_ttls(slots: Sequence[Slot], marks: dict[int, Cache], deviations: list[Deviation]) -> list[str]:
    """A longer time to live has to stand before a shorter one, so a later one never outlives an earlier."""
    shortest: tuple[int, str | None] | None = None
    weaker: list[str] = []
    for index in sorted(marks):
        ttl = marks[index].ttl
        seconds = _seconds(ttl)
        if seconds is None:
            continue  # not a known form: for the service to judge
        if shortest is not None and seconds > shortest[0]:
            marks[index] = Cache(shortest[1])
            first = shortest[1] or _DEFAULT_TTL
            reason = f"{ttl or _DEFAULT_TTL} cannot follow {first}: longer times to live stand first"
            weaker.append(f"{slots[index].where}.cache")
            deviations.append(Deviation(weaker[-1], "adapted", reason))
        else:
            shortest = (seconds, ttl)
    return weaker


def _seconds(ttl: str | None) -> int | None:
    found = re.fullmatch(r"(\d+)([smhd])", ttl or _DEFAULT_TTL)
    return int(found[1]) * _SECONDS[found[2]] if found else None


def report_plan(reader: OptionReader, plan: MarkPlan) -> None:
    """Put what a plan changed on the request's report."""
    for d in plan.deviations:
        report = reader.weaken if d.field in plan.weaker else getattr(reader, d.outcome)
        report(d.field, d.reason)


def tool_place(tool: Tool | HostedTool) -> str:
    """The name of a tool on the report."""
    return f"tools[{tool.name if isinstance(tool, Tool) else tool.type}]"


def estimated_tokens(block: Any) -> int:
    """Roughly how many tokens a block of the wire has; media count the same whatever their bytes."""
    return _characters(block) // _CHARACTERS_PER_TOKEN


def _characters(value: Any) -> int:
    if isinstance(value, Mapping):
        if "bytes" in value or value.get("type") == "base64":
            return _MEDIA_CHARACTERS
        return sum(_characters(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_characters(inner) for inner in value)
    return len(value) if isinstance(value, str) else 1
