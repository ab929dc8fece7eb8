"""Cache points: blocks of their own, behind what they mark, by the caller's marks and by strategy.

The plan is the one of Anthropic's Messages, four at most. Here a request's marks are read out of the body, planned,
and written back.
Reference: the user guide's page "Prompt caching".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from brainwires_provider.protocols.anthropic.caching import Slot, plan_marks
from brainwires_provider.protocols.bedrock.content import cache_point
from brainwires_provider.protocols.bedrock.options import BedrockQuirks
from brainwires_provider.types import Cache, CacheStrategy, Deviation

__all__ = ["place_cache_points"]

_MARK = "cachePoint"
_CHARACTERS_PER_TOKEN = 4
_MEDIA_CHARACTERS = 6_000  # an image or a page is some 1,500 tokens, whatever its bytes
Block = dict[str, Any]
Section: TypeAlias = Literal["tools", "system", "messages"]


def place_cache_points(
    body: Block, strategy: CacheStrategy | None, quirks: BedrockQuirks, model: str
) -> list[Deviation]:
    """Set and prune the cache points of a whole body; what has to be said about it."""
    lists = _lists(body)
    marked = any(_MARK in block for _, _, blocks in lists for block in blocks)
    if strategy is None and not marked:
        return []
    off = strategy is not None and strategy.mode == "off"
    if re.search(quirks.prompt_caching, model) is None:
        for _, _, blocks in lists:
            blocks[:] = [block for block in blocks if _MARK not in block]
        return [] if off else [Deviation("cache", "dropped", "this model takes no cache points")]
    takes_tools = re.search(quirks.tool_caching, model) is not None
    slots: list[Slot] = []
    for section, where, blocks in lists:
        slots += _slots(section, where, blocks, takes_tools or section != "tools")
    plan = plan_marks(slots, strategy)
    start = 0
    for _, _, blocks in lists:
        count = sum(_MARK not in block for block in blocks)
        _write(blocks, {i - start: cache for i, cache in plan.marks.items() if start <= i < start + count})
        start += count
    return list(plan.deviations)


def _lists(body: Block) -> list[tuple[Section, str, list[Block]]]:
    """The lists in which cache points stand, in the order in which they are read."""
    lists: list[tuple[Section, str, list[Block]]] = []
    if "tools" in body.get("toolConfig", ()):
        lists.append(("tools", "tools", body["toolConfig"]["tools"]))
    if "system" in body:
        lists.append(("system", "system", body["system"]))
    for index, turn in enumerate(body.get("messages", ())):
        lists.append(("messages", f"turn {index}", turn["content"]))
    return lists


def _slots(section: Section, where: str, blocks: list[Block], takes: bool) -> list[Slot]:
    """What can be marked, and what is: a mark belongs to the block before it."""
    slots: list[Slot] = []
    for block in blocks:
        told = block.get(_MARK)
        if told is None:
            slots.append(Slot(section, where, takes and _is_cacheable(block), None, _tokens(block)))
        elif slots:
            ttl = told.get("ttl") if isinstance(told, Mapping) else None
            last = slots[-1]
            slots[-1] = Slot(last.section, last.where, last.cacheable, Cache(ttl), last.tokens)
    return slots


def _write(blocks: list[Block], marks: Mapping[int, Cache]) -> None:
    """The same blocks, with these marks and no others."""
    real = [block for block in blocks if _MARK not in block]
    blocks.clear()
    for index, block in enumerate(real):
        blocks.append(block)
        if index in marks:
            blocks.append(cache_point(marks[index]))


def _is_cacheable(block: Block) -> bool:
    return "reasoningContent" not in block and ("text" not in block or bool(str(block["text"]).strip()))


def _tokens(block: Block) -> int:
    return _characters(block) // _CHARACTERS_PER_TOKEN


def _characters(value: Any) -> int:
    if isinstance(value, Mapping):
        if "bytes" in value:
            return _MEDIA_CHARACTERS
        return sum(_characters(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_characters(inner) for inner in value)
    return len(value) if isinstance(value, str) else 1
