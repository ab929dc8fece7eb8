"""Counts of OpenAI's forms, of whatever type they come."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider.protocols.base.usage import usage_of
from brainwires_provider.protocols.openai_responses.models import usage_of as responses_usage_of


@pytest.mark.parametrize(
    ("count", "expected"),
    [(2**63 - 1, 2**63 - 1), (2**63, 0), (3.0, 3), (float("inf"), 0), ("7", 0), (None, 0)],
)
def test_a_count_beside_one_that_is_none(count: Any, expected: int) -> None:
    """What no integer of 64 bits holds is no count."""
    usage = usage_of({"prompt_tokens": count, "completion_tokens": "x"})
    assert (usage.input_tokens, usage.output_tokens) == (expected, 0)


WHOLE: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 20, "audio_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
"""The fields of the SDK's `CompletionUsage` that are read."""


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"odd_count": "x"}, {}),
        ({"no name": "x", "\ud800": 1}, {}),
        (
            {"prompt_tokens_details": {**WHOLE["prompt_tokens_details"], "cached_tokens": "x"}},
            {"cache_read": 0},
        ),
        ({"prompt_tokens_details": {**WHOLE["prompt_tokens_details"], "odd": {}, "audio_tokens": 10.0}}, {}),
        ({"prompt_tokens_details": 3}, {"cache_read": 0, "cache_write": 0, "audio_input": 0}),
        ({"completion_tokens_details": [30]}, {"reasoning": 0}),
        ({"completion_tokens_details": None, "total_tokens": 150.0}, {"reasoning": 0}),
    ],
)
def test_an_odd_count_takes_no_other_with_it(changed: dict[str, Any], lost: dict[str, int]) -> None:
    buckets = {"cache_read": 40, "cache_write": 20, "audio_input": 10, "reasoning": 30} | lost
    usage = usage_of({**WHOLE, **changed})
    assert {name: getattr(usage, name) for name in buckets} == buckets
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 50, 150)


def test_mistrals_name_for_the_details() -> None:
    usage = usage_of(
        {"prompt_tokens": 150, "completion_tokens": 25, "prompt_token_details": {"cached_tokens": 50}}
    )
    assert (usage.uncached_input, usage.cache_read) == (100, 50)


@pytest.mark.parametrize(
    ("total", "cached", "uncached"), [(8724, 4328, 4142), (4396, 4000, 142), (4396, 4328, 0)]
)
def test_cached_beside_the_input_is_proved_by_the_total(total: int, cached: int, uncached: int) -> None:
    details = {"cached_tokens": cached}
    chat = {"prompt_tokens": 4142, "completion_tokens": 254, "prompt_tokens_details": details}
    responses = {"input_tokens": 4142, "output_tokens": 254, "input_tokens_details": details}
    for usage in (
        usage_of({**chat, "total_tokens": total}),
        responses_usage_of({**responses, "total_tokens": total}),
    ):
        assert usage.uncached_input == uncached
        assert (usage.total_tokens, usage.output_tokens, usage.unattributed) == (total, 254, 0)
        assert bool(usage.anomalies) is (uncached == 0)
