"""Which failures are followed by another attempt, and when: the decisions, without a clock."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    PROVIDERS,
    APIError,
    AsyncClient,
    AuthenticationError,
    BreakerOpenError,
    Client,
    ConfigError,
    ConnectError,
    InvalidRequestError,
    OpaqueDelta,
    OpaquePart,
    OverloadedError,
    PartEnd,
    PartStart,
    ProtocolError,
    ProviderError,
    RateLimitError,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    RequestTimeout,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    Retry,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    TransportError,
    UnsupportedError,
    Usage,
    collect,
)
from brainwires_provider._core.attempt import commits
from brainwires_provider._core.retry import is_worth_retrying, next_delay, retry_of
from brainwires_provider.types import Attempt, Policies

BUSY = RateLimitError("slow down", status=429)

# name: the policy, the wait asked for, attempts that failed, the time left, the fraction drawn: the delay
DELAYS: dict[str, tuple[Retry, float | None, int, float | None, float, float | None]] = {
    "the first bound is the base": (Retry(), None, 1, None, 1.0, 0.5),
    "it doubles": (Retry(), None, 2, None, 1.0, 1.0),
    "full jitter begins at 0": (Retry(), None, 2, None, 0.0, 0.0),
    "and is uniform": (Retry(), None, 2, None, 0.25, 0.25),
    "the cap": (Retry(attempts=99, cap=4), None, 50, None, 1.0, 4.0),
    "no overflow": (Retry(attempts=10_000), None, 5_000, None, 1.0, 30.0),
    "the last attempt": (Retry(), None, 3, None, 0.5, None),
    "off": (Retry(attempts=1), None, 1, None, 0.5, None),
    "asked": (Retry(), 7.0, 1, None, 0.0, 7.0),
    "asked, and jitter on top": (Retry(), 7.0, 1, None, 1.0, 7.5),
    "asked for nothing": (Retry(), 0.0, 1, None, 0.5, 0.25),
    "as long as it may be": (Retry(), 120.0, 1, None, 0.0, 120.0),
    "longer than it may be": (Retry(), 120.1, 1, None, 0.0, None),
    "within the deadline": (Retry(), 7.0, 1, 7.1, 0.0, 7.0),
    "beyond the deadline": (Retry(), 7.0, 1, 7.0, 0.0, None),
    "jitter beyond the deadline": (Retry(), 7.0, 1, 7.1, 1.0, None),
    "no base, no wait": (Retry(base=0), None, 1, None, 1.0, 0.0),
}


@pytest.mark.parametrize("name", DELAYS)
def test_when_the_next_attempt_is_due(name: str) -> None:
    retry, asked, failed, left, fraction, delay = DELAYS[name]
    error = RateLimitError("slow down", retry_after=asked)

    assert next_delay(retry, error, failed=failed, left=left, fraction=fraction) == delay


def test_an_error_without_a_wish_has_none() -> None:
    assert next_delay(Retry(), ConnectError("x"), failed=1, left=None, fraction=1.0) == 0.5


def test_a_hundred_that_are_told_the_same_come_back_spread_and_none_early() -> None:
    error = RateLimitError("slow down", retry_after=1.0)
    drawn = random.Random(7)
    delays = [
        next_delay(Retry(), error, failed=1, left=None, fraction=drawn.random()) or 0.0 for _ in range(100)
    ]

    assert min(delays) >= 1.0
    tenths = [sum(1.0 + n / 20 <= delay < 1.05 + n / 20 for delay in delays) for n in range(10)]
    assert sum(tenths) == 100 and max(tenths) < 25  # the half second after it is used evenly


# name: the error, x-should-retry, whether the provider stores the answer, whether another attempt is worth it
WORTH: dict[str, tuple[ProviderError, str | None, bool, bool]] = {
    "too many requests": (BUSY, None, False, True),
    "overloaded": (OverloadedError("x", status=529), None, False, True),
    "a server's failure": (ServerError("x", status=500), None, False, True),
    "no connection": (ConnectError("x"), None, False, True),
    "closed before an answer": (TransportError("x"), None, False, True),
    "cut": (StreamInterrupted("x", how="reset"), None, False, True),
    "silent": (StreamTimeout("x", clock="idle"), None, False, True),
    "no first event": (RequestTimeout("x", clock="first_event"), None, False, True),
    "the whole call's time is over": (RequestTimeout("x", clock="total"), None, False, False),
    "in a stream, likewise": (StreamTimeout("x", clock="total"), None, False, False),
    "a used-up quota": (RateLimitError("x", retryable=False), None, False, False),
    "the request is wrong": (InvalidRequestError("x", status=400), None, False, False),
    "the key is wrong": (AuthenticationError("x", status=401), None, False, False),
    "bytes that are no protocol": (ProtocolError("x"), None, False, False),
    "nothing was sent": (ConfigError("x"), None, False, False),
    "nothing can be sent": (UnsupportedError("x"), None, False, False),
    "the server says no": (ServerError("x", status=500), "false", False, False),
    "the server says yes": (InvalidRequestError("x", status=409), "true", False, True),
    "yes, but it must be paid for first": (RateLimitError("x", retryable=False), "true", False, False),
    "an unknown wish": (BUSY, "maybe", False, True),
    "a wish of an answer that was cut": (StreamInterrupted("x", how="eof"), "false", False, True),
    "stored, and refused": (BUSY, None, True, True),
    "its own refusal": (BreakerOpenError("x", retry_after=1), None, False, False),
    "its own refusal, and the server says yes": (BreakerOpenError("x", retry_after=1), "true", False, False),
    "the whole call's time, and a yes": (RequestTimeout("x", clock="total"), "true", False, False),
    "a limit, and the server says no": (BUSY, "false", False, False),
    "a limit, and the server says yes": (BUSY, "true", False, True),
    "a wrong key, and a yes of no refusal": (ConfigError("x"), "true", False, False),
    "stored, and overloaded": (OverloadedError("x", status=529), None, True, True),
    "stored, and no answer": (TransportError("x"), None, True, False),
    "stored, and failed with a yes": (ServerError("x", status=500), "true", True, False),
    "stored, and a used-up quota": (RateLimitError("x", retryable=False), None, True, False),
    "stored, and not connected": (ConnectError("x"), None, True, True),
    "stored, and cut": (StreamInterrupted("x", how="reset"), None, True, False),
    "stored, and silent": (RequestTimeout("x", clock="first_event"), None, True, False),
    "stored, and failed": (ServerError("x", status=502), None, True, False),
}


@pytest.mark.parametrize("name", WORTH)
def test_what_is_worth_another_attempt(name: str) -> None:
    error, wish, is_stored, worth = WORTH[name]
    headers = {} if wish is None else {"x-should-retry": wish}

    assert is_worth_retrying(error, headers, is_stored=is_stored) is worth


OWN, CLIENTS = Retry(7), Retry(8)
# the model, the client's policy, the call's policies: what holds
POLICIES: dict[str, tuple[str, Retry | None, Policies | None, Retry]] = {
    "the usual one": ("openai-chat:m", None, None, Retry(3)),
    "the client's": ("openai-chat:m", CLIENTS, None, CLIENTS),
    "the call's": ("openai-chat:m", CLIENTS, Policies(retry=OWN), OWN),
    "the call has others": ("openai-chat:m", CLIENTS, Policies(), Retry(3)),
    "a model on this machine": ("local:m", None, None, Retry(1)),
    "a model on this machine, the client's": ("local:m", CLIENTS, None, CLIENTS),
    "a server on this machine": ("ollama:m", None, None, Retry(3)),
}


@pytest.mark.parametrize("name", POLICIES)
def test_whose_policy_holds(name: str) -> None:
    model, client, call, retry = POLICIES[name]
    session: Any = AsyncClient("openai-chat:m", api_key="k")._session
    planned = session.plan("Hi", {}, stream=False)
    target = replace(planned.target, row=PROVIDERS[model.partition(":")[0]])

    assert retry_of(replace(planned, target=target, policies=call), Policies(retry=client)) == retry


START = ResponseStart("r")
THOUGHT = [PartStart(0, ReasoningPart("")), ReasoningDelta(0, "Hm"), PartEnd(0, ReasoningPart("Hm"))]
END = ResponseEnd("stop", None, Usage())
COMMITS: dict[str, tuple[list[Any], bool]] = {
    "nothing": ([], False),
    "the start": ([START], False),
    "reasoning": (
        [START, PartStart(0, ReasoningPart("")), ReasoningDelta(0, "Hm"), PartEnd(0, ReasoningPart("Hm"))],
        False,
    ),
    "a signature": ([OpaqueDelta(0, "signature", "x")], False),
    "a text that begins empty": ([PartStart(0, TextPart(""))], False),
    "a text": ([PartStart(0, TextPart("")), TextDelta(0, "a")], True),
    "a text that comes whole": ([PartEnd(0, TextPart("a"))], True),
    "a refusal that begins empty": ([PartStart(0, RefusalPart(""))], False),
    "a refusal": ([RefusalDelta(0, "no")], True),
    "a call": ([PartStart(0, ToolCallPart("c", "f", ""))], True),
    "a call's arguments": ([ToolCallDelta(0, "{}")], True),
    "what the provider ran": ([PartStart(0, OpaquePart("web_search", {}))], True),
    "the end": ([END], True),
}


@pytest.mark.parametrize("name", COMMITS)
def test_what_commits(name: str) -> None:
    events, expected = COMMITS[name]

    assert commits(events) is expected


def test_collect_discards_what_a_restart_supersedes() -> None:
    first = [START, PartStart(0, ReasoningPart("")), ReasoningDelta(0, "A"), PartEnd(0, ReasoningPart("A"))]
    second = [START, PartStart(0, TextPart("")), TextDelta(0, "B"), PartEnd(0, TextPart("B")), END]
    response = collect([*first, *first[1:], ResponseRestart(Attempt("cut")), *second])

    assert response.message.content == (TextPart("B"),)


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"repairs": -1}, {"base": -1}, {"cap": float("nan")}, {"longest_wait": -0.1}]
)
def test_a_number_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Retry.{next(iter(wrong))}"):
        Retry(**wrong)


def test_attempts_survive_a_pickle() -> None:
    import pickle

    error = APIError("x", status=500)
    error.attempts = (Attempt("x", 500, "req", 0.5, Usage(uncached_input=1)),)

    assert pickle.loads(pickle.dumps(error)).attempts == error.attempts
    assert ConnectError("x").attempts == ()


@pytest.mark.parametrize(("name", "value"), [("retry", 3), ("limits", {"rpm": 5}), ("retry", "often")])
def test_a_policy_of_a_wrong_type_is_named(name: str, value: Any) -> None:
    settings: Any = {name: value}
    with pytest.raises(TypeError, match=f"{name} takes a .*for example"):
        Client("openai-chat:m", api_key="k", **settings)
    with Client("openai-chat:m", api_key="k") as client, pytest.raises(TypeError, match=f"{name} takes a "):
        client.stream("Hi", **settings)


def test_a_client_takes_a_policy() -> None:
    with Client("openai-chat:m", api_key="k", retry=Retry(5)) as client:
        assert client._core._session.policies.retry == Retry(5)
