"""Limits of requests and tokens: the decisions, and those who wait, on a virtual clock."""

from __future__ import annotations

import asyncio
import pickle
import random
import time
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider import AsyncClient, ConfigError, EnvKey, Limits, Usage
from brainwires_provider._core.admission import Ledger
from brainwires_provider._core.counting import estimated, limits_at, measured, rule_of, used
from brainwires_provider._core.gate import Gate
from brainwires_provider._core.limit_headers import Stated, stated_limits
from brainwires_provider._core.limits import Amounts, Limiter, Waiter
from brainwires_provider._core.shared import Shared
from brainwires_provider._core.waits import Waits
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Policies
from virtual_time import timers, virtually

NOW = 1_790_000_000.0


class Line:
    """A limiter, and who was granted a place when."""

    def __init__(self, **limits: Any) -> None:
        self.limiter = Limiter(Limits(**limits))
        self.waiters: list[Waiter] = []
        self.granted: dict[int, float] = {}

    def ask(self, now: float, **amounts: int) -> Waiter:
        waiter = Waiter(Amounts(**amounts), lambda: None)
        self.waiters.append(waiter)
        self.limiter.enter(waiter, now)
        self.note(now)
        return waiter

    def note(self, now: float) -> None:
        for n, waiter in enumerate(self.waiters):
            if waiter.ticket is not None:
                self.granted.setdefault(n, now)

    def pass_time(self, until: float = 1e9) -> None:
        """Grant what comes due, in its time."""
        now = 0.0
        while (due := self.limiter.due(now)) is not None and due <= until:
            now = due
            self.limiter.grant(now)
            self.note(now)


def test_a_request_over_the_limit_waits_until_the_first_has_left_the_window() -> None:
    line = Line(rpm=2)
    for now in (0, 10, 20, 30, 40):
        line.ask(now)
    line.pass_time()

    assert line.granted == {0: 0, 1: 10, 2: 60, 3: 70, 4: 120}


def test_each_limit_counts_its_own() -> None:
    line = Line(rpm=10, itpm=100, otpm=50, tpm=120)
    line.ask(0, input=60, output=10)
    line.ask(1, input=60, output=10)  # input
    line.ask(2, input=1, output=45)  # behind it
    line.pass_time()

    assert line.granted == {0: 0, 1: 60, 2: 121 - 1}  # output, when the second has left


def test_a_large_waiter_goes_within_one_window_and_nobody_passes_it() -> None:
    line = Line(tpm=100)
    for _ in range(5):
        line.ask(0, input=15)
    large = line.ask(1, input=80)
    small = [line.ask(2 + n / 100, input=1) for n in range(59)]
    assert not any(waiter.ticket for waiter in (large, *small))
    line.pass_time()

    assert line.granted[5] == 60 and line.granted[6] == 60


def test_what_is_larger_than_the_limit_waits_for_an_empty_window() -> None:
    line = Line(tpm=100)
    line.ask(0, input=10)
    line.ask(1, input=500)
    line.ask(2, input=1)
    line.pass_time()

    assert line.granted == {0: 0, 1: 60, 2: 120}


def test_a_waiter_that_leaves_frees_its_place() -> None:
    line = Line(tpm=100)
    line.ask(0, input=90)
    large, small = line.ask(1, input=80), line.ask(2, input=10)
    line.limiter.leave(large, 3)

    assert small.ticket is not None and line.limiter.waiting == 0


def test_a_place_that_was_granted_to_one_who_leaves_is_given_back() -> None:
    """All of it, to who waits; and one that the queue does not know any more may leave too."""
    line = Line(rpm=2, itpm=100, otpm=100, concurrency=1)
    first, second = line.ask(0, input=90, output=80), line.ask(1, input=70, output=60)
    line.limiter.leave(first, 2)
    assert first.ticket is not None and not first.ticket.is_open and second.ticket is not None
    line.limiter.leave(Waiter(Amounts(), lambda: None), 3)
    used = {kind: window.used(3) for kind, window in line.limiter.windows.items()}
    assert used == {"requests": 1, "input": 70, "output": 60} and line.limiter.running == 1


def test_who_cannot_be_woken_any_more_takes_no_place_and_keeps_nobody_waiting() -> None:
    line = Line(rpm=2, concurrency=1)
    line.limiter.enter(Waiter(Amounts(), lambda: False), 0)
    assert (line.limiter.running, line.limiter.windows["requests"].used(0)) == (0, 0)
    first = line.ask(1)
    line.limiter.enter(Waiter(Amounts(), lambda: False), 2)
    assert first.ticket is not None and line.limiter.waiting == 0


def test_who_waited_behind_one_that_is_gone_is_served_at_once() -> None:
    line, are_there = Line(tpm=100), [True]
    line.ask(0, input=60)
    line.limiter.enter(Waiter(Amounts(input=80), lambda: are_there[0]), 1)
    small = line.ask(2, input=10)
    assert small.ticket is None
    are_there[0] = False
    line.limiter.grant(3)
    assert small.ticket is not None and line.limiter.waiting == 0


@pytest.mark.parametrize("limits", [{"concurrency": 1}, {"rpm": 1000, "tpm": 10**6}])
def test_of_what_has_left_the_window_nothing_is_kept(limits: dict[str, int]) -> None:
    line = Line(**limits)
    for now in range(0, 1000, 10):
        ticket = line.ask(now, input=5).ticket
        assert ticket is not None
        line.limiter.settle(ticket, None, now + 1)
    assert len(line.limiter.uses.tickets) == 6


def test_a_place_that_is_settled_counts_what_was_used() -> None:
    line = Line(tpm=100, concurrency=10)
    first, second = line.ask(0, input=90), line.ask(1, input=50)
    assert first.ticket is not None and second.ticket is None
    line.limiter.settle(first.ticket, Amounts(1, input=30, output=20), 5)
    assert second.ticket is not None
    line.limiter.settle(first.ticket, Amounts(1), 6)  # a second time: nothing
    assert line.limiter.windows["tokens"].used(6) == 100
    assert line.limiter.running == 1
    assert line.limiter.windows["tokens"].used(60) == 50
    line.limiter.settle(second.ticket, Amounts(1, input=7), 66)
    assert line.limiter.windows["tokens"].used(66) == 0  # both have left the window: nothing is counted twice


def test_requests_at_once() -> None:
    line = Line(concurrency=2)
    first, second, third = (line.ask(0) for _ in range(3))
    assert third.ticket is None and line.limiter.due(0) is None
    assert first.ticket is not None
    line.limiter.settle(first.ticket, None, 1)
    assert third.ticket is not None and second.ticket is not None


REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 20), st.integers(0, 70), st.integers(0, 50), st.sampled_from(["keep", "less", "leave"])
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS, st.integers(1, 8), st.integers(20, 100))
def test_no_window_is_over_its_limit_and_nobody_starves(
    asked: list[tuple[float, int, int, str]], rpm: int, tpm: int
) -> None:
    """Whatever is asked: 60 seconds hold at most the limit, or one request that is larger; all are served in turn."""
    line = Line(rpm=rpm, tpm=tpm)
    now, left = 0.0, set()
    for n, (pause, input, output, _) in enumerate(asked):
        target = now + pause
        while (due := line.limiter.due(now)) is not None and due <= target:
            now = due
            line.limiter.grant(now)
            line.note(now)
        now = target
        waiter = line.ask(now, input=input, output=output)
        if asked[n][3] == "leave" and waiter.ticket is None:
            line.limiter.leave(waiter, now)
            left.add(n)
    while (due := line.limiter.due(now)) is not None and line.limiter.waiting:
        now = due
        line.limiter.grant(now)
        line.note(now)

    assert set(line.granted) | left == set(range(len(asked)))
    order = sorted(line.granted, key=lambda n: (line.granted[n], n))
    assert order == sorted(line.granted)
    for start in line.granted.values():
        within = [n for n, at in line.granted.items() if start <= at < start + 60]
        assert len(within) <= rpm
        tokens = [asked[n][1] + asked[n][2] for n in within]
        assert sum(tokens) <= tpm or [each for each in tokens if each] == [max(tokens)]


# -- what a provider states --------------------------------------------------------------------------------------


def openai(limit: Any, remaining: Any, reset: str, kind: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(limit),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


HEADERS: dict[str, tuple[dict[str, str], dict[str, Stated]]] = {
    "none": ({"content-type": "x"}, {}),
    "minutes": (openai(60, 59, "6m0s"), {"requests": Stated(60, 59, 360.0)}),
    "milliseconds": (openai(60, 59, "250ms", "tokens"), {"tokens": Stated(60, 59, 0.25)}),
    "compound": (openai(60, 59, "1h2m3.5s"), {"requests": Stated(60, 59, 3723.5)}),
    "seconds": (openai(60, 59, "7.66"), {"requests": Stated(60, 59, 7.66)}),
    "no limit": (openai(-1, -1, "0"), {}),
    "nothing as a limit": (openai(0, 0, "1s"), {}),
    "no remaining": (openai(60, "-1", "1s"), {"requests": Stated(60, None, 1.0)}),
    "not a number": (openai("many", 3, "1s"), {}),
    "infinite": (openai("inf", 3, "1s"), {}),
    "a reset of nonsense": (openai(60, 59, "soon"), {"requests": Stated(60, 59, None)}),
    "a reset that is negative": (openai(60, 59, "-3"), {"requests": Stated(60, 59, 0.0)}),
    "a reset of years": (openai(60, 59, "99999999"), {"requests": Stated(60, 59, None)}),
    "no reset": ({"x-ratelimit-limit-req-minute": "60"}, {"requests": Stated(60, None, None)}),
    "anthropic": (
        {
            "anthropic-ratelimit-input-tokens-limit": "50000",
            "anthropic-ratelimit-input-tokens-remaining": "49000",
            "anthropic-ratelimit-input-tokens-reset": "2026-09-21T14:13:50Z",
            "anthropic-ratelimit-output-tokens-limit": "8000",
            "anthropic-ratelimit-output-tokens-remaining": "8000",
            "anthropic-ratelimit-output-tokens-reset": "2020-01-01T00:00:00Z",
        },
        {"input": Stated(50000, 49000, 30.0), "output": Stated(8000, 8000, 0.0)},
    ),
    "mistral": (
        {"x-ratelimit-limit-tokens-minute": "500000", "x-ratelimit-remaining-tokens-minute": "499000"},
        {"tokens": Stated(500000, 499000, None)},
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_headers_state(name: str) -> None:
    headers, expected = HEADERS[name]
    found = stated_limits(headers, NOW if name != "anthropic" else 1_790_000_000.0)

    if name == "anthropic":
        moment = found["input"].reset
        assert moment is not None and 0 <= moment <= 86_400
        found["input"] = Stated(50000, 49000, 30.0)
    assert found == expected


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_a_reset_is_by_the_clock_of_its_server(ahead: float) -> None:
    headers, _ = HEADERS["anthropic"]
    at = 1_790_000_000.0  # 2026-09-21T14:13:20Z
    stated = stated_limits({**headers, "date": "Mon, 21 Sep 2026 14:13:20 GMT"}, at + ahead)

    assert stated["input"].reset == 30.0


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine's clock shows the time of another zone."""
    take_zone = getattr(time, "tzset", lambda: None)
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC-9")
        take_zone()
        yield
    take_zone()


@pytest.mark.parametrize("reset", ["2026-09-21T14:13:50", "2026-09-21T16:13:50+02:00"])
def test_a_reset_without_a_zone_is_of_utc(reset: str, far_east: None) -> None:
    names = {f"anthropic-ratelimit-requests-{name}": "9" for name in ("limit", "remaining")}
    headers = {"anthropic-ratelimit-requests-reset": reset, "date": "Mon, 21 Sep 2026 14:13:20 GMT"}

    assert stated_limits(names | headers, NOW) == {"requests": Stated(9, 9, 30.0)}


# The providers' names of limits, {} for limit, remaining and reset, as their pages and responses have them.
NAMES_OF_LIMITS = {
    "x-ratelimit-{}-requests": "requests",
    "anthropic-ratelimit-requests-{}": "requests",
    "x-ratelimit-{}-req-minute": "requests",
    "x-ratelimit-{}-tokens": "tokens",
    "anthropic-ratelimit-tokens-{}": "tokens",
    "x-ratelimit-{}-tokens-minute": "tokens",
    "anthropic-ratelimit-input-tokens-{}": "input",
    "x-ratelimit-{}-tokens-prompt": "input",
    "anthropic-ratelimit-output-tokens-{}": "output",
    "x-ratelimit-{}-tokens-generated": "output",
}


@pytest.mark.parametrize("name", NAMES_OF_LIMITS)
def test_every_name_of_a_limit_is_read(name: str) -> None:
    def stated(limit: str, template: str = name) -> dict[str, str]:
        values = (limit, "7", "30s")
        return dict(zip(map(template.format, ("limit", "remaining", "reset")), values, strict=True))

    kind = NAMES_OF_LIMITS[name]
    assert stated_limits(stated("9"), NOW) == {kind: Stated(9, 7, 30.0)}
    assert stated_limits(stated("9"), NOW, frozenset((kind,))) == {}
    for other in NAMES_OF_LIMITS:
        if other != name:  # one that states no limit hides none
            assert stated_limits(stated("9") | stated("0", other), NOW) == {kind: Stated(9, 7, 30.0)}
    first = next(other for other, of in NAMES_OF_LIMITS.items() if of == kind)
    assert stated_limits(stated("9", first) | stated("8"), NOW)[kind].limit == (8 if first == name else 9)


# a reset as it is stated: its seconds
RESETS: dict[str, float | None] = {
    "2d": None,
    "1d": 86_400.0,
    "24h": 86_400.0,
    "23h60m1s": None,
    "2h": 7_200.0,
    "3m": 180.0,
    "4s": 4.0,
    "5ms": 0.005,
    "1.5m": 90.0,
    "1m2s3ms": 62.003,
    "86400": 86_400.0,
    "86400.5": None,
    "-1s": None,
    "1 s": None,
    "1w": None,
    "": None,
    "inf": None,
}


def test_every_unit_of_a_reset_and_the_longest_one() -> None:
    for text, seconds in RESETS.items():
        reset = stated_limits(openai(9, 9, text), NOW)["requests"].reset
        assert reset == (None if seconds is None else pytest.approx(seconds)), text
    for limit, remaining, expected in (("60.0", "0", Stated(60, 0, 1.0)), ("1", "1e1", Stated(1, 10, 1.0))):
        assert stated_limits(openai(limit, remaining, "1s"), NOW) == {"requests": expected}


# name: what the response to the first request states, and the moment at which ten more have a place
WITHOUT_RESET: dict[str, dict[str, str]] = {
    "a limit of a minute by its name": {
        "x-ratelimit-limit-req-minute": "60",
        "x-ratelimit-remaining-req-minute": "9",
    },
    "a reset that nobody can mean": {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2099-01-01T00:00:00Z",
    },
    "a reset of nonsense": openai(60, 9, "soon"),
}


@pytest.mark.parametrize("name", WITHOUT_RESET)
def test_what_is_left_counts_for_the_limit_s_window_where_no_reset_is_stated(name: str) -> None:
    line = Line()
    line.ask(0)
    line.limiter.learn(stated_limits(WITHOUT_RESET[name], NOW), 1)
    for _ in range(11):
        line.ask(1)

    assert list(line.granted.values()) == [0] + [1] * 9
    line.pass_time()
    assert max(line.granted.values()) == 61


def test_a_limit_of_a_day_is_not_taken_for_one_of_a_minute() -> None:
    headers = {**openai(14_400, 3, "2m59.56s"), **openai(9, 9, "1s", "tokens")}

    assert stated_limits(headers, NOW, rule_of("groq").daily).keys() == {"tokens"}
    assert stated_limits(headers, NOW, rule_of("openai").daily).keys() == {"requests", "tokens"}


def test_a_limit_is_learned_and_a_set_one_stays() -> None:
    line = Line(rpm=5)
    line.limiter.learn(stated_limits({**openai(60, 60, "1s"), **openai(9, 9, "1s", "tokens")}, NOW), 0)

    assert line.limiter.windows["requests"].limit == 5
    assert line.limiter.windows["tokens"].limit == 9
    assert line.limiter.windows["tokens"].free_at(5, 0) == 0


def test_what_was_sent_before_a_limit_was_learned_is_no_use_of_it() -> None:
    line = Line(rpm=10)
    early = line.ask(0, input=5)
    line.limiter.learn({"tokens": Stated(10, None, None)}, 1)
    line.ask(2, input=8)
    window = line.limiter.windows["tokens"]
    assert window.used(2) == 8 and window.free_at(5, 2) == 62

    assert early.ticket is not None
    line.limiter.settle(early.ticket, Amounts(1, input=7), 3)
    assert window.used(3) == 8 and window.free_at(5, 61) == 62


@pytest.mark.parametrize("remaining", [None, 4])
def test_a_lower_limit_that_is_learned_holds_at_once(remaining: int | None) -> None:
    line = Line()
    line.limiter.learn({"requests": Stated(10, None, None)}, 0)
    line.ask(0)
    line.limiter.learn({"requests": Stated(5, remaining, None)}, 1)
    for _ in range(9):
        line.ask(1)

    assert list(line.granted.values()) == [0] + [1] * 4


def test_learning_can_be_off() -> None:
    line = Line(rpm=5, learn=False)
    line.limiter.learn(stated_limits(openai(9, 0, "1s", "tokens"), NOW), 0)

    assert set(line.limiter.windows) == {"requests"}


def test_what_others_use_with_the_same_key_counts_until_its_reset() -> None:
    line = Line()
    line.limiter.learn({"requests": Stated(10, 10, 60.0)}, 0)
    line.ask(0)
    line.limiter.learn({"requests": Stated(10, 3, 30.0)}, 1)  # of seven, six are not ours
    window = line.limiter.windows["requests"]

    assert window.used(1) == 7 and window.used(31) == 1
    assert [window.free_at(amount, 1) for amount in (3, 4)] == [1, 31]
    assert [window.free_at(amount, 31) for amount in (9, 10)] == [31, 60]


def test_a_response_that_comes_late_raises_nothing() -> None:
    line = Line()
    window = None
    for remaining, at in ((2, 1), (9, 2), (5, 3), (2, 4)):  # sent in another order than they came
        line.limiter.learn({"requests": Stated(10, remaining, 40.0)}, at)
        window = line.limiter.windows["requests"]
        assert window.used(at) == 8
    assert window is not None and window.used(41) == 0


# -- counting ----------------------------------------------------------------------------------------------------

BODY = {"messages": [{"role": "user", "content": "a" * 400}], "max_tokens": 500}
ESTIMATES: dict[str, tuple[dict[str, Any] | None, str, Amounts]] = {
    "no body": (None, "openai-chat", Amounts(1, 1, 0)),
    "the maximum output is reserved": (BODY, "openai-chat", Amounts(1, 102, 500)),
    "but at Anthropic": (BODY, "anthropic", Amounts(1, 102, 0)),
    "the output is no matter": (BODY, "google", Amounts(1, 102, 0)),
    "a maximum further in": ({"generationConfig": {"maxOutputTokens": 7}}, "bedrock", Amounts(1, 1, 7)),
    "a maximum in Interactions": (
        {"generation_config": {"max_output_tokens": 7}},
        "bedrock",
        Amounts(1, 1, 7),
    ),
    "the maximum of several answers": ({"max_tokens": 7, "n": 3}, "openai-chat", Amounts(1, 1, 21)),
    "a picture": ({"image": "A" * 1_000_000}, "openai-chat", Amounts(1, 1001, 0)),
    "a picture by URL": ({"image_url": {"url": "https://e.org/a"}}, "openai-chat", Amounts(1, 1001, 0)),
    "Chinese": ({"text": "字" * 8000}, "openai-chat", Amounts(1, 2001, 0)),
    "a long text is no picture": ({"text": "words " * 2000}, "openai-chat", Amounts(1, 3001, 0)),
    "a maximum that is no number": ({"max_tokens": True}, "openai-chat", Amounts(1, 1, 0)),
    "the larger one of two": ({"max_tokens": 7, "max_completion_tokens": 9}, "openai-chat", Amounts(1, 1, 9)),
    "the larger one of two, further in": (
        {"max_tokens": 9, "options": {"num_predict": 7}},
        "openai-chat",
        Amounts(1, 1, 9),
    ),
    "no answer is one": ({"max_tokens": 7, "n": 0}, "openai-chat", Amounts(1, 1, 7)),
    "the larger number of answers": (
        {"max_tokens": 7, "n": 3, "best_of": 2},
        "openai-chat",
        Amounts(1, 1, 21),
    ),
    "options that are none": ({"options": "max_tokens"}, "openai-chat", Amounts(1, 3, 0)),
    "three letters": ({"text": "abc"}, "openai-chat", Amounts(1, 1, 0)),
    "four": ({"text": "abcd"}, "openai-chat", Amounts(1, 2, 0)),
    "bytes, in any place": ({"a": (b"A", [b"B"])}, "openai-chat", Amounts(1, 2001, 0)),
    "texts in a tuple and in an unusual mapping": (
        {"a": ("abcd", MappingProxyType({"b": "efgh"}))},
        "openai-chat",
        Amounts(1, 3, 0),
    ),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_what_a_request_reserves(name: str) -> None:
    body, provider, amounts = ESTIMATES[name]

    assert estimated(measured(body), rule_of(provider)) == amounts


OF_GOOGLE = {"google", "google-interactions", "vertex", "vertex-interactions"}
OF_BEDROCK = {"bedrock", "bedrock-anthropic", "bedrock-invoke", "bedrock-openai"}
WITHOUT_CACHED = {"anthropic", "groq", "vertex-anthropic", *OF_BEDROCK}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_counts_at_each_provider(provider: str) -> None:
    taken = used(Usage(uncached_input=40, cache_read=60, output_text=20), rule_of(provider))
    limits = limits_at(Limits(tpm=50), provider)

    assert taken == Amounts(1, 40 if provider in WITHOUT_CACHED else 100, 20)
    assert estimated(measured(BODY), rule_of(provider)).output == (
        0 if provider in OF_GOOGLE | {"anthropic"} else 500
    )
    assert (limits.tpm, limits.itpm) == ((None, 50) if provider in OF_GOOGLE else (50, None))
    assert rule_of(provider).daily == ({"requests"} if provider == "groq" else set())


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("limit", ["tpm", "itpm", "otpm"])
def test_every_limit_of_tokens_that_is_set_holds_at_every_provider(limit: str, provider: str) -> None:
    """What was used is counted, and the next request waits."""
    limiter = Limiter(limits_at(Limits(**{limit: 50}), provider))
    ticket = limiter.reserve(Amounts(), 0)
    assert ticket is not None
    limiter.settle(ticket, used(Usage(uncached_input=60, output_text=70), rule_of(provider)), 0)

    (window,) = limiter.windows.values()
    output_counts = rule_of(provider).counts_output
    assert window.used(0) == {"tpm": 130 if output_counts else 60, "itpm": 60, "otpm": 70}[limit]
    assert limiter.reserve(Amounts(1, 1, 1), 0) is None


def test_where_only_input_counts_the_smaller_one_of_both_limits_holds() -> None:
    assert limits_at(Limits(tpm=50, itpm=40), "vertex") == Limits(itpm=40)
    assert limits_at(Limits(tpm=30, itpm=40), "google") == Limits(itpm=30)
    assert limits_at(Limits(tpm=30), "openai-chat") == Limits(tpm=30)


@pytest.mark.parametrize("wrong", [{"rpm": 0}, {"tpm": -1}, {"concurrency": 0}, {"otpm": float("nan")}])
def test_a_limit_that_is_none_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Limits.{next(iter(wrong))}"):
        Limits(**wrong)


# -- the server of shared limits, as a value ------------------------------------------------------------------------

PASSWORD = "planted-password"
# name: a URL, and as it may be shown
URLS: dict[str, tuple[str, str]] = {
    "plain": ("redis://h.example:6379/0", "redis://h.example:6379/0"),
    "a password": (f"rediss://:{PASSWORD}@h.example/0", "rediss://h.example/0"),
    "a user": (f"valkey://me:{PASSWORD}@[::1]:6379", "valkey://[::1]:6379"),
    "a parameter": (f"redis://h.example?password={PASSWORD}", "redis://h.example"),
    "a socket": (f"unix://:{PASSWORD}@/run/redis.sock", "unix:///run/redis.sock"),
    "a variable": ("env:REDIS_URL", "env:REDIS_URL"),
}


@pytest.mark.parametrize("name", URLS)
def test_the_password_of_a_server_shows_nowhere_and_is_not_pickled(name: str) -> None:
    from rich.pretty import pretty_repr

    url, shown = URLS[name]
    limits = Limits(rpm=9, shared=url)
    client = AsyncClient("openai-chat:m", api_key=EnvKey("K"), limits=limits)
    assert f"{limits!r}" == pretty_repr(limits) == f"Limits(rpm=9, shared='{shown}')"
    assert PASSWORD not in f"{client!r}"
    if url == shown:
        assert pickle.loads(pickle.dumps(limits)) == limits
    else:
        for holder in (limits, client):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(holder)


def test_limits_show_what_is_set() -> None:
    assert repr(Limits()) == "Limits()" and not Limits().holds_password
    assert repr(Limits(tpm=5, learn=False)) == "Limits(tpm=5, learn=False)"


@pytest.mark.parametrize(
    "wrong",
    ["", "localhost:6379", "http://h", "redis:", "redis://", "env:", "env:A B", "unix:x", "redis://[::"],
)
def test_what_is_no_url_of_a_server_is_named(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"Limits\.shared takes a URL such as"):
        Limits(shared=wrong)


def test_each_provider_model_key_and_limit_has_a_gate_of_its_own() -> None:
    """Of a client, and of those whose limits are on a server."""
    session: Any = AsyncClient("openai-chat:m", api_key="k")._session
    plan, ledger = session.plan("Hi", {}, stream=False), Ledger()

    def own(limits: Limits, **changed: Any) -> Any:
        return ledger.terms(replace(plan.target, **changed), Policies(limits=limits)).gate

    async def main() -> None:
        shared = Shared(Limits(shared="redis://h"), asyncio.get_running_loop())

        def on_server(limits: Limits, **changed: Any) -> Any:
            return shared.gate(replace(plan.target, **changed), limits)

        for gate_of in (own, on_server):
            others = [gate_of(Limits(rpm=1), **{name: "other"}) for name in ("provider", "model", "key")]
            gates = [gate_of(Limits(rpm=1)), gate_of(Limits(rpm=2)), *others]
            assert len({id(each) for each in gates}) == 5
            assert gate_of(Limits(rpm=1)) is gates[0]

    asyncio.run(main())


# -- those who wait ----------------------------------------------------------------------------------------------


def gate(**limits: Any) -> Gate:
    return Gate(Limits(**limits), asyncio.get_running_loop().time)


def test_those_who_wait_are_served_in_their_time() -> None:
    async def main() -> list[tuple[int, float]]:
        place, order, loop = gate(rpm=10), [], asyncio.get_running_loop()

        async def ask(n: int) -> None:
            ticket = await place.enter(Amounts(), Waits())
            order.append((n, loop.time()))
            await asyncio.sleep(0.5)
            place.settle(ticket, Amounts())

        await asyncio.gather(*map(ask, range(25)))
        return order

    order = virtually(main())
    assert [n for n, _ in order] == list(range(25))
    assert [at for _, at in order] == [0.0] * 10 + [60.0] * 10 + [120.0] * 5


def test_a_slot_that_is_freed_lets_the_head_look_at_its_own_time() -> None:
    """The head waits for a request to end, and then still for the minute."""

    async def main() -> float:
        place, loop = gate(rpm=1, concurrency=1), asyncio.get_running_loop()
        first = await place.enter(Amounts(), Waits())
        second = asyncio.create_task(place.enter(Amounts(), Waits()))
        await asyncio.sleep(5)
        place.settle(first, None)
        await second
        return loop.time()

    assert virtually(main()) == 60.0


@pytest.mark.parametrize("cancelled", range(4))
def test_a_cancelled_waiter_frees_its_place(cancelled: int) -> None:
    async def main() -> list[int]:
        place, served = gate(tpm=100), []
        await place.enter(Amounts(input=100), Waits())

        async def ask(n: int) -> None:
            await place.enter(Amounts(input=30), Waits())
            served.append(n)

        asked = [asyncio.create_task(ask(n)) for n in range(4)]
        await asyncio.sleep(1)
        asked[cancelled].cancel()
        await asyncio.wait(asked)
        assert asyncio.get_running_loop().time() == 60.0 and place.limiter.waiting == 0
        return served

    assert virtually(main()) == [n for n in range(4) if n != cancelled]


@pytest.mark.parametrize("limit", [10, 1])
def test_who_waits_is_served_as_soon_as_a_higher_limit_is_learned(limit: int) -> None:
    async def main() -> float:
        place = gate()
        await place.enter(Amounts(), Waits())
        place.learn(openai(1, 0, "60s"))
        waiting = asyncio.create_task(place.enter(Amounts(), Waits()))
        await asyncio.sleep(5)
        assert (place.waiting, place.running) == (1, 1)
        place.learn({"x-ratelimit-limit-requests": str(limit)})
        await waiting
        return asyncio.get_running_loop().time()

    assert virtually(main()) == (5.0 if limit == 10 else 60.0)


def test_a_closed_client_lets_nobody_wait() -> None:
    async def main() -> None:
        place, waits = gate(concurrency=1), Waits()
        await place.enter(Amounts(), waits)
        asked = asyncio.create_task(place.enter(Amounts(), waits))
        await asyncio.sleep(1)
        waits.close()
        with pytest.raises(ConfigError, match="closed"):
            await asked
        assert place.limiter.waiting == 0

    virtually(main())


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_wait_that_was_left_leaves_nothing(how: str) -> None:
    async def main() -> None:
        place, waits = gate(rpm=1), Waits()
        await place.enter(Amounts(), waits)
        left = [asyncio.create_task(place.enter(Amounts(), waits)), asyncio.create_task(waits.sleep(600))]
        await asyncio.sleep(1)
        assert len(timers()) == len(waits._futures) == 2
        if how == "close":
            waits.close()
        else:
            _ = [each.cancel() for each in left]
        await asyncio.wait(left)
        assert timers() == [] and not waits._futures and place.limiter.waiting == 0
        _ = [each.exception() for each in left if not each.cancelled()]

    virtually(main())


def test_a_thousand_at_once_stay_within_the_limit() -> None:
    """A seed's mixture of sizes, durations and cancellations: no minute is over, all that stay are served in turn."""

    async def main() -> None:
        drawn, loop = random.Random(5), asyncio.get_running_loop()
        place, granted = gate(tpm=10_000, rpm=200, concurrency=20), []

        async def ask(n: int, size: int, seconds: float) -> None:
            ticket = await place.enter(Amounts(input=size), Waits())
            granted.append((n, loop.time(), size))
            await asyncio.sleep(seconds)
            place.settle(ticket, None)

        asked = [
            asyncio.create_task(ask(n, drawn.randrange(1, 400), drawn.uniform(0.1, 9))) for n in range(1000)
        ]
        for task in drawn.sample(asked, 100):
            loop.call_later(drawn.uniform(0, 300), task.cancel)
        await asyncio.wait(asked)
        numbers = [n for n, _, _ in granted]
        assert numbers == sorted(numbers) and len(numbers) >= 900
        for _, start, _ in granted:
            minute = [size for _, at, size in granted if start <= at < start + 60]
            assert sum(minute) <= 10_000 and len(minute) <= 200
        assert place.limiter.running == 0

    virtually(main())
