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


TOTALS = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
# The names under which services count, the first that says something first.
READS = [
    {"prompt_tokens_details": {"cached_tokens": 1}},
    {"prompt_tokens_details": {"cache_read_input_tokens": 2}},
    {"prompt_cache_hit_tokens": 3},
    {"num_cached_tokens": 4},
    {"cached_tokens": 5},
]
WRITES = [
    {"prompt_tokens_details": {"cache_write_tokens": 1}},
    {"prompt_tokens_details": {"cache_creation_tokens": 2}},
    {"prompt_tokens_details": {"cache_creation_input_tokens": 3}},
    {"cache_creation_input_tokens": 4},
]


def together(named: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for each in named:
        for name, value in each.items():
            made[name] = {**made.get(name, {}), **value} if isinstance(value, dict) else value
    return made


@pytest.mark.parametrize(("bucket", "names"), [("cache_read", READS), ("cache_write", WRITES)])
def test_every_name_of_a_cached_count_in_its_order(bucket: str, names: list[dict[str, Any]]) -> None:
    for at, named in enumerate(names):
        value = at + 1
        assert getattr(usage_of({**TOTALS, **named}), bucket) == value
        later = usage_of({**TOTALS, **together(names[at:])})
        assert getattr(later, bucket) == value
        assert later.uncached_input == 100 - value
        assert (later.complete, later.anomalies, later.input_tokens) == (True, (), 100)
        zero = together(
            [{name: 0 if isinstance(v, int) else dict.fromkeys(v, 0)} for name, v in named.items()]
        )
        assert getattr(usage_of({**TOTALS, **together([zero, *names[at + 1 :]])}), bucket) == (
            value + 1 if at + 1 < len(names) else 0
        )


@pytest.mark.parametrize(
    ("counts", "buckets"),
    [
        ({}, {"complete": False, "raw": None, "total_tokens": 0}),
        ({"odd": 1}, {"complete": True, "total_tokens": 0}),
        (TOTALS, {"complete": True, "anomalies": (), "total_tokens": 150}),
        ({"prompt_tokens": 3}, {"uncached_input": 3, "output_text": 0, "total_tokens": 3}),
        ({"completion_tokens": 3}, {"uncached_input": 0, "output_text": 3, "total_tokens": 3}),
        ({**TOTALS, "total_tokens": 160}, {"unattributed": 10, "total_tokens": 160}),
        ({**TOTALS, "prompt_tokens_details": {"audio_tokens": 7}}, {"audio_input": 7, "uncached_input": 93}),
        ({**TOTALS, "prompt_token_details": {"audio_tokens": 7}}, {"audio_input": 7, "uncached_input": 93}),
        (
            {
                **TOTALS,
                "prompt_tokens_details": {"audio_tokens": 7},
                "prompt_token_details": {"audio_tokens": 8},
            },
            {"audio_input": 7},
        ),
        (
            {**TOTALS, "completion_tokens_details": {"reasoning_tokens": 7}},
            {"reasoning": 7, "output_text": 43},
        ),
    ],
)
def test_every_count_is_in_its_bucket(counts: dict[str, Any], buckets: dict[str, Any]) -> None:
    usage = usage_of(counts)
    assert {name: getattr(usage, name) for name in buckets} == buckets
    assert usage.raw == (counts or None)


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
