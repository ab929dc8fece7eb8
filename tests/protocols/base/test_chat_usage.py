"""Counts of OpenAI's form, of whatever type they come."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.protocols.base.usage import usage_of


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2**63 - 1, 2**63 - 1), (2**63, 0), (3.0, 3), (float("inf"), 0), ("7", 0), (None, 0)],
)
def test_a_count_beside_one_that_is_none(count: Any, expected: int) -> None:
    """What no integer of 64 bits holds is no count."""
    usage = usage_of({"prompt_tokens": count, "completion_tokens": "x"})
    assert (usage.input_tokens, usage.output_tokens) == (expected, 0)


def test_mistrals_name_for_the_details() -> None:
    usage = usage_of(
        {"prompt_tokens": 150, "completion_tokens": 25, "prompt_token_details": {"cached_tokens": 50}}
    )
    assert (usage.uncached_input, usage.cache_read) == (100, 50)
