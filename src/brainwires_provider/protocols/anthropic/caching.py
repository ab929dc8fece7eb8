"""Plans where prompt-cache breakpoints go: the caller's own marks first, then a strategy's, within the limit.

A prompt is a row of `Slot`s in the order in which a service reads it: tools, system, messages. The plan knows
nothing of a wire: a protocol makes slots of its blocks, and writes the marks in its own form (`cache_control`
here, a block of its own in Bedrock's Converse).
Reference: Anthropic's guide "Prompt caching".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from brainwires_provider.types import Cache, CacheStrategy, Deviation

__all__ = ["LIMIT", "MarkPlan", "Slot", "cache_control", "mark_body", "plan_marks"]

LIMIT = 4
"""How many breakpoints a request takes."""

_UNMARKABLE = frozenset(("thinking", "redacted_thinking", "fallback", "mcp_tool_listing"))
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DEFAULT_TTL = "5m"
_CHARACTERS_PER_TOKEN = 4
_MEDIA_CHARACTERS = 6_000  # an image or a page is some 1,500 tokens, whatever its bytes
Body = dict[str, Any]
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


# -- the plan ------------------------------------------------------------------------------------------------


def plan_marks(slots: Sequence[Slot], strategy: CacheStrategy | None, limit: int = LIMIT) -> MarkPlan:
    """At most `limit` marks. Explicit ones go first; of too many of them the last stand, which reach furthest."""
    if strategy is not None and strategy.mode == "off":
        return MarkPlan({})
    deviations: list[Deviation] = []
    marks = _explicit(slots, limit, deviations)
    if strategy is not None:
        _planned(slots, strategy, limit, marks, deviations)
    _order_ttls(slots, marks, deviations)
    return MarkPlan(dict(sorted(marks.items())), tuple(deviations))


def _explicit(slots: Sequence[Slot], limit: int, deviations: list[Deviation]) -> dict[int, Cache]:
    marks: dict[int, Cache] = {}
    for index, slot in enumerate(slots):
        if slot.mark is None:
            continue
        if slot.cacheable:
            marks[index] = slot.mark
        else:
            reason = "no breakpoint can stand here: on thinking, an empty text or a deferred tool"
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
) -> None:
    wanted, lacking = _wanted(slots, strategy)
    told: list[str] = []
    for index in wanted:
        if index not in marks:
            if len(marks) >= limit:
                lacking.append(f"none after {slots[index].where}: all {limit} are taken by explicit marks")
                continue
            marks[index] = Cache(strategy.ttl)
        told.append(slots[index].where)
    planned = f"breakpoints after {', '.join(told)}" if told else "no breakpoint"
    deviations.append(Deviation("cache", "adapted", "; ".join([planned, *lacking])))


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


def _order_ttls(slots: Sequence[Slot], marks: dict[int, Cache], deviations: list[Deviation]) -> None:
    """A longer time to live has to stand before a shorter one, so a later one never outlives an earlier."""
    shortest: tuple[int, str | None] | None = None
    for index in sorted(marks):
        ttl = marks[index].ttl
        seconds = _seconds(ttl)
        if seconds is None:
            continue  # a word that we do not know: the service will
        if shortest is not None and seconds > shortest[0]:
            marks[index] = Cache(shortest[1])
            reason = f"{ttl} cannot follow {shortest[1] or _DEFAULT_TTL}: longer times to live stand first"
            deviations.append(Deviation(f"{slots[index].where}.cache", "adapted", reason))
        else:
            shortest = (seconds, ttl)


def _seconds(ttl: str | None) -> int | None:
    told = re.fullmatch(r"(\d+)([smhd])", ttl or _DEFAULT_TTL)
    return int(told[1]) * _SECONDS[told[2]] if told else None


# -- the Messages API's form ---------------------------------------------------------------------------------


def cache_control(cache: Cache) -> Body:
    """A mark as the wire has it."""
    return {"type": "ephemeral", "ttl": cache.ttl} if cache.ttl else {"type": "ephemeral"}


def mark_body(body: Body, strategy: CacheStrategy | None, places: Sequence[str]) -> tuple[Deviation, ...]:
    """Set and prune `cache_control` over a whole body, whose tools, system and contents are lists of own dicts.

    `places` names the messages in reports. A `cache_control` of the body itself takes one of the breakpoints.
    """
    blocks = list(_blocks(body, places))
    if strategy is None and not any("cache_control" in block for _, _, block in blocks):
        return ()
    sized = strategy is not None and strategy.mode == "system_and_tail_turn"
    slots = [
        Slot(section, where, _is_cacheable(block), _mark(block), _tokens(block) if sized else 0)
        for section, where, block in blocks
    ]
    limit = LIMIT - 1 if body.get("cache_control") else LIMIT
    plan = plan_marks(slots, strategy, limit)
    for index, (_, _, block) in enumerate(blocks):
        mark = plan.marks.get(index)
        if mark is None:
            block.pop("cache_control", None)
        elif mark != slots[index].mark:
            block["cache_control"] = cache_control(mark)
    if strategy is not None and strategy.mode == "off":
        body.pop("cache_control", None)
    return plan.deviations


def _blocks(body: Body, places: Sequence[str]) -> Iterator[tuple[Section, str, Body]]:
    for tool in body.get("tools", ()):
        yield "tools", f"tools[{tool.get('name') or tool.get('type')}]", tool
    for block in body.get("system", ()):
        yield "system", "system", block
    for where, message in zip(places, body["messages"], strict=True):
        for block in message["content"]:
            yield "messages", where, block


def _is_cacheable(block: Body) -> bool:
    kind = block.get("type")
    if kind == "text":
        return bool(str(block.get("text", "")).strip())
    return kind not in _UNMARKABLE and not block.get("defer_loading")


def _mark(block: Body) -> Cache | None:
    told = block.get("cache_control")
    if not isinstance(told, Mapping):
        return None
    ttl = told.get("ttl")
    return Cache(ttl if isinstance(ttl, str) else None)


def _tokens(block: Body) -> int:
    return _characters(block) // _CHARACTERS_PER_TOKEN


def _characters(block: Any) -> int:
    if isinstance(block, Mapping):
        if block.get("type") == "base64":
            return _MEDIA_CHARACTERS
        return sum(_characters(value) for value in block.values())
    if isinstance(block, (list, tuple)):
        return sum(_characters(value) for value in block)
    return len(block) if isinstance(block, str) else 1
