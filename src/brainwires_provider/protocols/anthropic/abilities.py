"""What a Claude model takes, told from its name.

`GET /models` says it too, but a request is encoded without asking anybody. Only the models that are out can be told
apart by name: whatever is newer is taken to follow the newest rules, and what is no Claude (a compatible service's
own models) to take everything.
Reference: the platform's pages "Models overview", "Adaptive thinking", "Effort" and the models' migration guides.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

__all__ = ["Abilities", "abilities"]

_NAME = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?!\d)(?:[-.](\d)(?!\d))?")
_NEWEST: tuple[int, int] = (99, 0)


class Abilities(Struct, frozen=True):
    """What may be asked of a model. `thinking_off` is the `thinking.type` that stops it, None where nothing does."""

    sampling: bool = True
    """Takes temperature, top_p and top_k."""
    both_samplers: bool = True
    """Takes temperature and top_p in one request."""
    samples_thinking: bool = True
    """Takes them while it thinks."""
    budgets: bool = True
    """Thinks by a budget in tokens."""
    adaptive: bool = True
    """Thinks as much as it finds right, steered by an effort."""
    thinking_off: Literal["disabled", "between_tools"] | None = "disabled"
    system_turns: bool = False
    """Takes a system message in mid-conversation, after a user's turn."""
    schema: bool = True
    """Holds its answer to a JSON Schema."""
    max_output: int | None = None
    """The most tokens that it answers with."""


@lru_cache(256)
def abilities(model: str) -> Abilities:
    """See the module."""
    if "claude" not in model:
        return Abilities()
    told = _NAME.search(model)
    family = told[1] if told else ""
    version: tuple[int, int] = (int(told[2]), int(told[3] or 0)) if told else _NEWEST
    return Abilities(
        sampling=version <= (4, 6),
        both_samplers=version < (4, 1),
        samples_thinking=False,
        budgets=(3, 7) <= version <= (4, 6),
        adaptive=version >= (4, 6),
        thinking_off=_thinking_off(_family(model, family), version),
        system_turns=version >= (4, 8),
        schema=version >= (4, 1),
        max_output=_max_output(_family(model, family), version),
    )


def _family(model: str, family: str | None) -> str:
    """The oldest names have it after the version (claude-3-5-sonnet), previews have no version at all."""
    known = ("opus", "sonnet", "haiku", "fable", "mythos")
    return family or next((name for name in known if name in model), "")


def _thinking_off(family: str, version: tuple[int, int]) -> Literal["disabled", "between_tools"] | None:
    if family in ("fable", "mythos") or (family == "opus" and (5, 5) <= version < _NEWEST):
        return None
    return "between_tools" if family == "sonnet" and (5, 5) <= version < _NEWEST else "disabled"


def _max_output(family: str, version: tuple[int, int]) -> int:
    if version < (3, 5):
        return 4_096
    if version < (3, 7):
        return 8_192
    if family == "opus" and version < (4, 5):
        return 32_000
    return 64_000 if version < (4, 6) else 128_000
