"""Policies in `brainwires.toml`, in a client's arguments, and in a call's; and what a client shows of them."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Breaker,
    Budget,
    Client,
    ClientStats,
    ConfigError,
    Hedge,
    Limits,
    LimitStats,
    Retry,
    load_config,
)
from brainwires_provider.testing import Answer, ScriptedServer
from chat_answers import WHOLE

FILE = """
prices = false
fallback = ["groq:qwen3"]

[retry]
attempts = 5
longest_wait = 20

[limits]
rpm = 500
concurrency = 20
learn = false

[budget]
usd = 2.5
tokens = 100000
scope = "team"

[hedge]
after = 4.5
model = "groq:qwen3"
share = 0.1

[breaker]
failures = 9
rest = 4
"""


def config(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "brainwires.toml"
    path.write_text(text)
    return load_config(path)


def test_the_file_is_read(tmp_path: Path) -> None:
    read = config(tmp_path, FILE)

    assert read.policies.retry == Retry(5, longest_wait=20)
    assert read.policies.limits == Limits(rpm=500, concurrency=20, learn=False)
    assert read.policies.budget == Budget(usd=2.5, tokens=100_000, scope="team")
    assert read.policies.breaker == Breaker(9, rest=4)
    assert read.policies.hedge == Hedge(4.5, "groq:qwen3", 0.1)
    assert read.policies.fallback == ("groq:qwen3",)
    assert read.prices is False


def test_code_takes_precedence_one_by_one(tmp_path: Path) -> None:
    client = AsyncClient("openai-chat:m", api_key="k", config=config(tmp_path, FILE), retry=Retry(2))
    session: Any = client._session

    assert session.policies.retry == Retry(2) and session.policies.limits.rpm == 500
    plan = session.plan("Hi", {"limits": Limits(rpm=1)}, stream=False)
    assert plan.policies.limits == Limits(rpm=1) and plan.policies.retry == Retry(2)
    assert session.plan("Hi", {}, stream=False).policies is None  # the client's


def test_an_empty_file_sets_none(tmp_path: Path) -> None:
    client = AsyncClient("openai-chat:m", api_key="k", config=config(tmp_path, ""))
    session: Any = client._session

    assert session.policies.retry is None and session.policies.limits is None and not session.has_prices


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[retry]\nattempts = 0", "Retry.attempts takes 1 or more"),
        ("[retry]\ntries = 3", "tries"),
        ("[limits]\nrpm = -1", "Limits.rpm takes a number above 0"),
        ('[limits]\nrpm = "many"', "rpm"),
        ('[budget]\nunpriced = "maybe"', "unpriced"),
        ('[limits]\nshared = "http://h.example"', "Limits.shared takes a URL such as"),
        ('[limits]\nshared = "redis://:planted@h.example/0"', r"limits\.shared.* contains a password"),
        ('[limits]\nwhen_down = "wait"', "when_down"),
        ("retry = 3", "retry"),
        ("fallback = 3", "fallback"),
        ("[breaker]\nfailures = 0", "Breaker.failures takes 1 or more"),
        ("[hedge]\nafter = -1", "Hedge.after takes seconds from 0"),
        ("[hedge]\nshare = 0.1", "after"),
        ('prices = "yes"', "prices"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        config(tmp_path, text)
    assert "planted" not in str(caught.value)


def test_a_file_names_the_server_of_shared_limits(tmp_path: Path) -> None:
    read = config(tmp_path, '[limits]\nrpm = 5\nshared = "env:REDIS_URL"\nwhen_down = "local"\n')

    assert read.policies.limits == Limits(rpm=5, shared="env:REDIS_URL", when_down="local")


def test_a_file_that_was_found_may_set_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = FILE
    for line in ('scope = "team"\n', 'fallback = ["groq:qwen3"]\n', 'model = "groq:qwen3"\n'):
        allowed = allowed.replace(line, "")
    (tmp_path / "brainwires.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="merely found"):
        load_config()
    (tmp_path / "brainwires.toml").write_text(allowed)
    found = load_config()

    assert not found.trusted and found.policies.retry == Retry(5, longest_wait=20)


def test_what_a_client_shows() -> None:
    async def main(url: str) -> tuple[ClientStats, ClientStats]:
        limits, budget = Limits(rpm=10), Budget(tokens=50_000)
        async with AsyncClient(
            "openai-chat:m", base_url=url, api_key="k", limits=limits, budget=budget
        ) as client:
            before = client.stats()
            await client.chat("Hi")
            return before, client.stats()

    headers = {"x-ratelimit-limit-tokens": "9000", "x-ratelimit-remaining-tokens": "9000"}
    with ScriptedServer([Answer(200, headers, WHOLE)]) as server:
        before, after = asyncio.run(main(server.url))
    assert before == ClientStats()
    assert after.limits == (
        LimitStats("openai-chat", "m", "requests", 10, 1, False),
        LimitStats("openai-chat", "m", "tokens", 9000, 0, True),
    )
    assert (after.running, after.waiting) == (0, 0)
    assert (after.spent_usd, after.spent_tokens, after.reserved_tokens) == (Decimal(0), 4, 0)


def test_both_faces_show_the_same() -> None:
    with Client("openai-chat:m", api_key="k") as client:
        assert client.stats() == ClientStats()
