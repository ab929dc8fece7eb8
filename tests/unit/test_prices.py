"""What a response costs: against genai-prices' own arithmetic, and what is not known is no number."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider import Attempt, Cost, Message, OpaquePart, Response, Usage
from brainwires_provider.providers.prices import Prices

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
GOOGLE, GROQ = "https://generativelanguage.googleapis.com/v1beta", "https://api.groq.com/openai/v1"
PRICES = {url: Prices(url, lambda: NOW) for url in (OPENAI, ANTHROPIC, GOOGLE, GROQ)}
MODELS = [
    (OPENAI, "openai", "gpt-4o"),
    (OPENAI, "openai", "gpt-5"),
    (ANTHROPIC, "anthropic", "claude-sonnet-4-5"),
    (GOOGLE, "google", "gemini-2.5-pro"),
    (GOOGLE, "google", "gemini-2.5-flash"),
    (GROQ, "groq", "llama-3.3-70b-versatile"),
]


def response(model: str | None, usage: Usage, **fields: Any) -> Response:
    message = Message("assistant", fields.pop("content", ()))
    return Response("r", "p", model, message, "stop", None, replace(usage, complete=True), **fields)


def cost(url: str, model: str | None, usage: Usage, requested: str = "", **fields: Any) -> Cost | None:
    return PRICES[url].cost(response(model, usage, **fields), requested or model or "")


COUNT = st.one_of(st.just(0), st.integers(0, 300_000))


@pytest.mark.parametrize(("url", "provider", "model"), MODELS)
@settings(max_examples=60, deadline=None)
@given(COUNT, COUNT, COUNT, COUNT, COUNT, st.integers(0, 100))
def test_a_cost_is_that_of_the_table_to_the_last_digit(
    url: str,
    provider: str,
    model: str,
    plain: int,
    read: int,
    written: int,
    text: int,
    reasoning: int,
    hour: int,
) -> None:
    long = written * hour // 100 if provider == "anthropic" else 0
    raw = {"cache_creation": {"ephemeral_1h_input_tokens": long}} if long else None
    usage = Usage(plain, read, written, text, reasoning, raw=raw)
    theirs = TheirUsage(
        input_tokens=plain + read + written,
        cache_read_tokens=read,
        cache_write_tokens=written,
        output_tokens=text + reasoning,
        **({"cache_write_1h_tokens": long} if long else {}),
    )
    expected = calc_price(theirs, model, provider_id=provider, genai_request_timestamp=NOW).total_price
    found = cost(url, model, usage)

    assert found is None if usage.total_tokens == 0 else found is not None and found.usd == expected


MILLION = Usage(uncached_input=100_000, output_text=10_000)
# name: the service, the model reported and requested: dollars
KNOWN: dict[str, tuple[str, str | None, str, str | None]] = {
    "by its name": (OPENAI, "gpt-4o", "gpt-4o", "0.35"),
    "a dated name": (OPENAI, "gpt-4o-2024-08-06", "gpt-4o", "0.35"),
    "a dated name of what was asked for": (
        ANTHROPIC,
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-5",
        "0.45",
    ),
    "none reported": (OPENAI, None, "gpt-4o", "0.35"),
    "another than was asked for": (OPENAI, "gpt-4o", "auto", "0.35"),
    "a model that is unknown": (OPENAI, "gpt-99", "gpt-99", None),
    "a fine-tuned one": (OPENAI, "ft:gpt-4o:acme::1", "ft:gpt-4o:acme::1", None),
    "answered by one that is unknown": (OPENAI, "mystery", "gpt-4o", None),
}


@pytest.mark.parametrize("name", KNOWN)
def test_which_models_have_a_price(name: str) -> None:
    url, reported, requested, dollars = KNOWN[name]
    found = cost(url, reported, MILLION, requested)

    assert (None if found is None else found.usd) == (None if dollars is None else Decimal(dollars))
    assert found is None or (found.complete and found.prices.startswith("genai-prices "))


def test_a_server_of_your_own_has_no_prices() -> None:
    assert Prices("http://localhost:8000/v1").cost(response("gpt-4o", MILLION), "gpt-4o") is None


def test_a_tier_begins_above_its_bound() -> None:
    at, above = (cost(GOOGLE, "gemini-2.5-pro", Usage(uncached_input=count)) for count in (200_000, 200_001))

    assert at is not None and above is not None
    assert at.usd == Decimal("0.25") and above.usd == Decimal("2.5") * 200_001 / 1_000_000


TIERS: dict[str, tuple[str, str, str | None, bool]] = {
    "flex": ("gpt-5", "flex", "flex", True),
    "priority": ("gpt-5", "priority", "priority", True),
    "default": ("gpt-5", "default", None, True),
    "unknown": ("gpt-5", "scale", None, False),
    "in another case": ("gpt-5", "Flex", None, False),
}


@pytest.mark.parametrize("name", TIERS)
def test_the_tier_of_the_response_decides(name: str) -> None:
    model, tier, context, complete = TIERS[name]
    theirs = calc_price(
        TheirUsage(input_tokens=100_000, output_tokens=10_000),
        model,
        provider_id="openai",
        genai_request_timestamp=NOW,
        price_context={"service_tier": context} if context else None,
    )
    found = cost(OPENAI, model, MILLION, extra={"service_tier": tier})

    assert found is not None and found.usd == theirs.total_price and found.complete is complete


def test_a_batch_has_its_own_price() -> None:
    found = cost(ANTHROPIC, "claude-sonnet-4-5", replace(MILLION, raw={"service_tier": "batch"}))

    assert found is not None and found.usd == Decimal("0.225")


INCOMPLETE: dict[str, tuple[Usage, dict[str, Any]]] = {
    "tokens of no kind": (replace(MILLION, unattributed=5), {}),
    "counts that were clamped": (replace(MILLION, anomalies=("cached 9 exceeds input 5",)), {}),
    "passes beside it": (replace(MILLION, passes=({"type": "compaction"},)), {}),
    "a tool that the provider ran": (MILLION, {"content": (OpaquePart("web_search_call", {}, role="call"),)}),
    "reasoning of an attempt without usage": (
        MILLION,
        {"attempts": (Attempt("cut", superseded=(OpaquePart("x", {}),)),)},
    ),
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_what_is_not_in_it_is_said(name: str) -> None:
    usage, fields = INCOMPLETE[name]
    found = cost(OPENAI, "gpt-4o", usage, **fields)

    assert found is not None and not found.complete and found.usd == Decimal("0.35")


def test_a_cut_response_is_incomplete() -> None:
    cut = replace(response("gpt-4o", MILLION), usage=MILLION)
    found = PRICES[OPENAI].cost(cut, "gpt-4o")

    assert found is not None and not found.complete


def test_a_call_without_any_count_has_no_cost() -> None:
    assert cost(OPENAI, "gpt-4o", Usage()) is None
    assert cost(OPENAI, "text-embedding-3-small", MILLION) is None  # output has no price there


def test_a_service_that_has_moved_is_found() -> None:
    assert Prices("https://api.together.ai/v1").name.startswith("genai-prices")


def test_failed_attempts_are_in_it() -> None:
    attempts = (Attempt("refused", 429), Attempt("cut", usage=Usage(uncached_input=20_000)))
    found = cost(OPENAI, "gpt-4o", MILLION, attempts=attempts)

    assert found is not None and found.usd == Decimal("0.40") and found.complete


def test_of_what_a_provider_names_little_is_kept() -> None:
    """A server that reports a new model and tier of a megabyte each time must not fill the memory."""
    known = Prices(OPENAI, lambda: NOW)
    usage = Usage(uncached_input=10)
    for number in range(1100):
        long = f"gpt-4o-{number}" + "x" * 10_000
        assert known.dollars(usage, long, "gpt-4o", long) == known.dollars(usage, None, "gpt-4o", None)
    assert len(known._known) <= 1001 and len(known._entries) <= 1002
    kept = {name for key in known._known for name in key if name} | set(known._entries)
    assert max(map(len, kept)) <= 300
