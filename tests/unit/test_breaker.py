"""When a breaker opens, whom it lets pass, and what closes it: on a clock of the test's."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    AsyncClient,
    AuthenticationError,
    Breaker,
    BreakerOpenError,
    BreakerStats,
    Client,
    ConfigError,
    ConnectError,
    InvalidRequestError,
    Limits,
    OverloadedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    Response,
    Retry,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
    Timeouts,
)
from brainwires_provider._core.breaker import Circuit, Circuits, Permit, is_healthy
from brainwires_provider.testing import (
    Answer,
    Drop,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    sse,
)
from chat_answers import WHOLE, chunk
from waits import noted

DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
BUSY = Answer(429, {}, b'{"error": {"message": "slow down"}}')
WRONG = Answer(400, {}, b'{"error": {"message": "no field"}}')
GOOD = Answer(body=WHOLE)
CUT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def circuit(clock: Clock, **settings: Any) -> Circuit:
    return Circuit(Breaker(**{"failures": 3, "window": 10, "rest": 5, **settings}), "p", "m", clock)


def failing(one: Circuit, times: int = 3) -> None:
    for _ in range(times):
        one.leave(one.enter(), False)


def state(one: Circuit) -> str:
    return one.stats().state


OUTCOMES: dict[type | str, tuple[ProviderError | None, bool | None]] = {
    "answered": (None, True),
    "429": (RateLimitError("x", status=429), None),
    "400": (InvalidRequestError("x", status=400), None),
    "401": (AuthenticationError("x", status=401), None),
    "409": (APIError("x", status=409), None),
    "its own refusal": (BreakerOpenError("x", retry_after=1), None),
    "wrong configuration": (ConfigError("x"), None),
    "the caller's time": (RequestTimeout("x", clock="total"), None),
    "the caller's time, in a stream": (StreamTimeout("x", clock="total"), None),
    "503": (OverloadedError("x", status=503), False),
    "500": (ServerError("x", status=500), False),
    "no connection": (ConnectError("x"), False),
    "no first event": (RequestTimeout("x", clock="first_event"), False),
    "a cut": (StreamInterrupted("x", how="reset"), False),
    "garbage": (ProtocolError("x"), False),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_an_outcome_shows(name: str) -> None:
    error, healthy = OUTCOMES[name]
    assert is_healthy(error) is healthy


def test_it_opens_after_failures_within_the_window_only() -> None:
    clock = Clock()
    one = circuit(clock)
    for now in (0, 6, 12, 18):  # never three within ten seconds
        clock.now = now
        failing(one, 1)
    assert state(one) == "closed" and one.stats().failures == 2
    failing(one, 1)
    assert state(one) == "open" and one.stats() == BreakerStats("p", "m", "open", 0, 5)
    with pytest.raises(
        BreakerOpenError, match=r"p:m has failed 3 times within 10 s .* again in 5.0 s"
    ) as caught:
        one.enter()
    assert caught.value.retry_after == 5 and caught.value.retryable
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.retry_after == 5 and isinstance(again, ConnectError)


def test_a_failure_counts_as_long_as_the_window() -> None:
    clock = Clock()
    one = circuit(clock)
    failing(one, 2)
    clock.now = 9.99
    assert one.stats().failures == 2
    clock.now = 10
    assert one.stats().failures == 0
    failing(one, 1)
    assert state(one) == "closed"


def opened(clock: Clock) -> Circuit:
    one = circuit(clock)
    failing(one)
    clock.now += 5
    return one


def test_one_probe_after_the_rest() -> None:
    one = opened(Clock())
    assert state(one) == "half-open" and one.refusal() is None
    probe = one.enter()
    with pytest.raises(BreakerOpenError, match="one request asks") as caught:
        one.enter()
    assert caught.value.retry_after == 0 and one.refusal() is not None
    one.leave(probe, True)
    assert state(one) == "closed" and one.enter() and one.enter()


def test_a_probe_that_fails_begins_another_rest() -> None:
    clock = Clock()
    one = opened(clock)
    one.leave(one.enter(), False)
    assert state(one) == "open"
    clock.now += 4.9
    assert one.refusal() is not None
    clock.now += 0.1
    assert one.refusal() is None


def test_a_neutral_outcome_lets_the_next_request_be_the_probe() -> None:
    one = opened(Clock())
    first = one.enter()
    one.leave(first, None)
    assert state(one) == "half-open"
    second = one.enter()
    one.leave(first, True)  # too late: it is no probe any more
    assert state(one) == "half-open"
    one.leave(second, True)
    assert state(one) == "closed"


def test_a_late_success_of_an_earlier_request_does_not_close_it() -> None:
    clock = Clock()
    one = circuit(clock)
    early = one.enter()
    failing(one)
    one.leave(early, True)
    assert state(one) == "open"
    clock.now += 5
    one.leave(early, True)
    assert state(one) == "half-open"


def test_a_late_failure_of_an_earlier_request_counts_no_more() -> None:
    clock = Clock()
    one = circuit(clock)
    early = [one.enter() for _ in range(4)]
    failing(one)
    clock.now += 5
    probe = one.enter()
    one.leave(probe, True)
    for permit in early:
        one.leave(permit, False)
    assert state(one) == "closed" and one.stats().failures == 0
    for _ in range(3):  # the probe's answer is cut, and others' too
        one.leave(probe, False)
    assert state(one) == "open"


def test_another_attempt_of_the_probe_s_call_is_the_probe() -> None:
    one = opened(Clock())
    probe = one.enter()
    assert one.enter(probe) is not probe and state(one) == "half-open"


def test_a_failure_of_one_that_was_the_probe_before_changes_nothing() -> None:
    clock = Clock()
    one = circuit(clock, failures=1)
    failing(one, 1)
    clock.now += 5
    was = one.enter()
    probe = one.enter(was)
    one.leave(was, False)
    with pytest.raises(BreakerOpenError, match="one request asks"):  # still, and not for another rest
        one.enter(was)
    one.leave(probe, True)
    assert state(one) == "closed"


def test_a_call_whose_first_attempt_failed_before_it_opened_is_refused_while_there_is_a_probe() -> None:
    clock = Clock()
    one = circuit(clock)
    early = one.enter()
    failing(one)
    with pytest.raises(BreakerOpenError, match=r"again in 5\.0 s"):
        one.enter(early)
    clock.now += 2.04
    refusal = one.refusal()
    assert refusal is not None and "again in 3.0 s" in str(refusal)
    assert one.stats().rest == refusal.retry_after == pytest.approx(2.96)
    clock.now += 5
    assert one.stats() == BreakerStats("p", "m", "half-open", 0, 0)
    probe = one.enter(early)
    with pytest.raises(BreakerOpenError, match="one request asks"):
        one.enter(early)
    one.leave(probe, True)
    assert one.refusal() is None and one.enter(early)
    failing(one)  # its count began anew
    assert state(one) == "open"


@given(st.lists(st.tuples(st.sampled_from(("enter", "leave")), st.floats(0, 4), st.sampled_from((True, False, None)),
                          st.integers(0, 5)), max_size=60))  # fmt: skip
def test_while_it_is_open_at_most_one_request_is_under_way(steps: list[tuple[str, float, Any, int]]) -> None:
    clock = Clock()
    one = circuit(clock)
    running: list[Permit] = []
    sent_since = 0.0
    for what, wait, healthy, which in steps:
        clock.now += wait
        was = state(one)
        if what == "leave" and running:
            one.leave(running.pop(which % len(running)), healthy)
        elif what == "enter":
            try:
                running.append(one.enter())
            except BreakerOpenError:
                assert was != "closed"
            else:
                assert was != "open"
                sent_since = clock.now
    if state(one) == "half-open" and one._probe is None:
        assert one.refusal() is None  # it is never shut for good
    assert sent_since <= clock.now


def test_each_provider_address_model_and_policy_has_its_own() -> None:
    session: Any = AsyncClient("openai-chat:m", api_key="k")._session
    circuits, policy, target = Circuits(), Breaker(failures=1, rest=60), session.target("openai-chat:m")
    one = circuits.of(policy, target)
    failing(one, 1)
    others = [
        circuits.of(policy, replace(target, **{name: "other"})) for name in ("provider", "base_url", "model")
    ]
    others.append(circuits.of(Breaker(failures=1, rest=61), target))

    assert [state(each) for each in others] == ["closed"] * 4 and len(circuits.stats()) == 5
    for equal in (policy, replace(policy)):  # made anew for a call, or for each
        assert circuits.of(equal, target) is circuits.of(equal, replace(target)) is one


# -- in calls ------------------------------------------------------------------------------------------------


def run(answers: Any, calls: int, *, how: str = "chat", **settings: Any) -> tuple[list[Any], int, Any]:
    """What became of some calls in a row, the requests that were sent, and the client's figures."""
    settings.setdefault("breaker", Breaker(failures=2, rest=60))
    settings.setdefault("retry", Retry(1))

    async def main(url: str) -> tuple[list[Any], Any]:
        found: list[Any] = []
        async with AsyncClient("openai-chat:m", base_url=url, api_key="k", **settings) as client:
            for _ in range(calls):
                try:
                    call = client.chat("Hi") if how == "chat" else client.stream("Hi").collect()
                    found.append((await call).text)
                except ProviderError as error:
                    found.append(error)
            return found, client.stats()

    with ScriptedServer(answers) as server:
        found, stats = asyncio.run(main(server.url))
        return found, len(server.requests), stats


def test_calls_to_a_model_that_keeps_failing_are_refused() -> None:
    found, requests, stats = run(DOWN, 4)
    assert [type(each) for each in found] == [OverloadedError] * 2 + [BreakerOpenError] * 2 and requests == 2
    assert found[3].provider == "openai-chat" and found[3].model == "m"
    assert [(each.model, each.state) for each in stats.breakers] == [("m", "open")]


@pytest.mark.parametrize("answer", [BUSY, WRONG, Answer(401, {}, b"{}")])
def test_what_the_model_is_not_to_blame_for_opens_nothing(answer: Answer) -> None:
    _, requests, stats = run(answer, 5)
    assert requests == 5 and stats.breakers[0].failures == 0


def test_streams_that_are_cut_count() -> None:
    found, requests, _ = run(CUT, 3, how="stream")
    assert requests == 2 and isinstance(found[2], BreakerOpenError)


def test_a_retry_does_not_wait_for_it_and_a_fallback_is_asked_at_once() -> None:
    found, requests, _ = run(DOWN, 2, retry=Retry(5, base=0))
    assert requests == 2 and [type(each) for each in found] == [BreakerOpenError] * 2
    assert [each.status for each in found[0].attempts] == [503, 503, None]

    def answer(request: Any) -> Answer:
        return DOWN if request.json()["model"] == "m" else GOOD

    found, requests, stats = run(answer, 4, fallback=["openai-chat:other"])
    assert found == ["Hello"] * 4 and requests == 2 + 4
    assert [(each.model, each.state) for each in stats.breakers] == [("m", "open"), ("other", "closed")]


# name: the rest, and how long the failed attempt waits, of the 3 s that the provider asks for
@pytest.mark.parametrize(("rest", "wait"), [(60, 0), (2.5, 3)])
@pytest.mark.parametrize("fallback", [[], ["openai-chat:other"]])
def test_nobody_waits_for_a_retry_that_its_breaker_will_refuse(
    rest: float, wait: float, fallback: list[str]
) -> None:
    settings: Any = {"breaker": Breaker(failures=1, rest=rest), "retry": Retry(2, base=0)}
    slept: list[float] = []

    async def main(url: str) -> Any:
        async with AsyncClient("openai-chat:m", base_url=url, api_key="k", **settings) as client:
            waits = noted(client)
            try:
                return await client.chat("Hi", fallback=fallback)
            except ProviderError as error:
                return error
            finally:
                slept.extend(waits.slept)

    def answer(request: Any) -> Answer:
        return Answer(503, {"retry-after": "3"}) if request.json()["model"] == "m" else GOOD

    with ScriptedServer(answer) as server:
        found = asyncio.run(main(server.url))
    assert slept == [wait] and found.attempts[0].delay == wait
    assert isinstance(found, Response if fallback else BreakerOpenError)


def test_nothing_is_reserved_by_a_call_that_is_refused() -> None:
    _, _, stats = run(DOWN, 6, limits=Limits(rpm=3))
    assert stats.limits[0].used == 2 and stats.running == 0


def test_the_probe_of_a_call_that_is_cancelled_is_free_again() -> None:
    async def main(server: ScriptedServer) -> None:
        settings: Any = {"breaker": Breaker(failures=1, rest=0.01), "retry": Retry(1)}
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key="k", **settings) as client:
            with pytest.raises(OverloadedError):
                await client.chat("Hi")
            await asyncio.sleep(0.02)
            probe = asyncio.ensure_future(client.chat("Hi"))
            await server.wait_requests_async(2)
            with pytest.raises(BreakerOpenError):
                await client.chat("Hi")
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
            with pytest.raises(RequestTimeout):  # the next one's time is short: that is no outcome either
                await client.chat("Hi", timeouts=Timeouts(total=0.05))
            assert (await client.chat("Hi")).text == "Hello"
            assert client.stats().breakers[0].state == "closed"

    stuck = Answer(stall_before_headers=True)
    with ScriptedServer([DOWN, stuck, stuck, GOOD]) as server:
        asyncio.run(main(server))


def test_over_a_websocket_a_breaker_is_no_reason_for_http() -> None:
    async def main(server: ScriptedSocket) -> None:
        settings: Any = {"breaker": Breaker(failures=1, rest=60), "base_url": server.base_url, "api_key": "k"}
        async with AsyncClient("openai-responses-ws:m", **settings) as client:
            assert (await client.chat("Hi")).text
            session: Any = client._session
            (one,) = session._ledger.circuits._known.values()
            failing(one, 1)
            with pytest.raises(BreakerOpenError):
                await client.chat("Hi")
            stats = client.stats()
            assert stats.websockets is not None
            assert stats.websockets.full == 1 and stats.websockets.http_fallbacks == 0

    with ScriptedSocket(ResponsesService()) as server:
        asyncio.run(main(server))


def test_calls_that_are_no_chat_have_it_too() -> None:
    with ScriptedServer(DOWN) as server:
        settings: Any = {"breaker": Breaker(failures=1), "retry": Retry(1)}
        with Client("openai-chat:m", base_url=server.url, api_key="k", **settings) as client:
            for error in (OverloadedError, BreakerOpenError):
                with pytest.raises(error):
                    client.embed("Hi")


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"window": 0}, {"rest": -1}])
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Breaker\."):
        Breaker(**wrong)
