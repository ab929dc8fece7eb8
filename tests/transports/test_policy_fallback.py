"""Fallback to other models and providers: after which failures, with which keys, and what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from anthropic_answers import whole_body
from brainwires_provider import (
    APIError,
    AsyncClient,
    AuthenticationError,
    BreakerOpenError,
    Budget,
    Client,
    Config,
    ConfigError,
    ConnectError,
    Fallback,
    Hedge,
    ImagePart,
    InvalidRequestError,
    Limits,
    Message,
    NamedModel,
    NotFoundError,
    Options,
    OverloadedError,
    ProtocolError,
    ProviderConfig,
    ProviderError,
    RateLimitError,
    Request,
    ResponseRestart,
    Retry,
    StreamInterrupted,
    StreamTimeout,
    Timeouts,
    TransportError,
    UnsupportedError,
)
from brainwires_provider._core import session
from brainwires_provider._core.fallback import falls_back
from brainwires_provider.errors import RequestTimeout, ServerError
from brainwires_provider.providers import prices
from brainwires_provider.testing import (
    Answer,
    Drop,
    FakeProvider,
    Gate,
    RecordedRequest,
    ScriptedServer,
    sse,
)
from chat_answers import TEXT, WHOLE, chunk
from virtual_time import virtually
from waits import noted

BUSY = Answer(429, {}, b'{"error": {"message": "slow down"}}')
FULL = Answer(429, {}, b'{"error": {"message": "pay first", "code": "insufficient_quota"}}')
DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
WRONG = Answer(400, {}, b'{"error": {"message": "no such field"}}')
GOOD = Answer(body=WHOLE)
STREAM = Answer(body=[TEXT])
CUT_THOUGHT = Answer(body=[sse(chunk({"reasoning_content": "Hm."}), done=False), Drop()])
CUT_TEXT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])
CLAUDE = Answer(
    body=whole_body(
        {"type": "text", "text": "Hello of Claude"},
        model="claude",
        usage={"input_tokens": 3, "output_tokens": 2},
    )
)
CLAUDE_STREAM = Answer(
    body=[
        sse(
            {
                "type": "message_start",
                "message": {"id": "m", "model": "claude", "role": "assistant", "content": []},
            },
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
            done=False,
        )
    ]
)
ONE = Retry(1)


@pytest.fixture(autouse=True)
def no_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)


def run(
    first: list[Answer], second: list[Answer], *, stream: bool = False, input: Any = "Hi", **settings: Any
) -> tuple[Any, list[RecordedRequest], list[RecordedRequest], list[float]]:
    """What became of a call to openai-chat with Anthropic behind it; what both saw, and what was waited."""

    async def main(one: str, two: str) -> tuple[Any, list[float]]:
        providers = [
            ProviderConfig("openai-chat", base_url=one, api_key="sk-first"),
            ProviderConfig("anthropic", base_url=two, api_key="sk-second"),
        ]
        args = settings.pop("args", {})
        settings.setdefault("fallback", ["anthropic:claude"])
        async with AsyncClient("openai-chat:m", providers=providers, **settings) as client:
            waits = noted(client)
            try:
                call = client.stream(input, **args).collect() if stream else client.chat(input, **args)
                return await call, waits.slept
            except ProviderError as error:
                return error, waits.slept

    with ScriptedServer(first) as one, ScriptedServer(second) as two:
        found, slept = asyncio.run(main(one.url, two.url))
        return found, one.requests, two.requests, slept


# name: the answers of the first, the settings; requests to the first, and whether the second is asked
CASES: dict[str, tuple[list[Answer], dict[str, Any], int, bool]] = {
    "no failure": ([GOOD], {}, 1, False),
    "after its retries": ([BUSY, DOWN, BUSY], {}, 3, True),
    "at once, without any": ([DOWN], {"retry": ONE}, 1, True),
    "a used-up quota": ([FULL], {}, 1, True),
    "a reset": ([Answer(drop=True)], {"retry": ONE}, 1, True),
    "no first event": (
        [Answer(stall_before_headers=True)],
        {"retry": ONE, "timeouts": Timeouts(first_event=0.15)},
        1,
        True,
    ),
    "the whole call's time is over": (
        [Answer(stall_before_headers=True)],
        {"retry": ONE, "timeouts": Timeouts(total=0.15)},
        1,
        False,
    ),
    "a wrong request": ([WRONG], {}, 1, False),
    "a wrong request, if asked": (
        [WRONG],
        {"fallback": [Fallback("anthropic:claude", on=lambda e: isinstance(e, InvalidRequestError))]},
        1,
        True,
    ),
    "not after this error": (
        [DOWN],
        {
            "retry": ONE,
            "fallback": [Fallback("anthropic:claude", on=lambda e: isinstance(e, RateLimitError))],
        },
        1,
        False,
    ),
    "a wait that is too long": ([Answer(429, {"retry-after": "999"})], {}, 1, True),
}


@pytest.mark.parametrize("name", CASES)
def test_when_the_other_model_is_asked(name: str) -> None:
    answers, settings, requests, asked = CASES[name]
    found, first, second, _ = run(answers, [CLAUDE], **settings)

    assert (len(first), len(second)) == (requests, int(asked))
    if asked:
        assert found.text == "Hello of Claude" and found.provider == "anthropic"
        assert [each.model for each in found.attempts] == ["openai-chat:m"] * requests
    elif name != "no failure":
        assert isinstance(found, ProviderError) and len(found.attempts) == requests


OWN: Any = {
    "extra_headers": {"x-own": "1", "Authorization": "Bearer of-first"},
    "extra_body": {"own": 2},
    "extra_query": {"own": "3"},
}
SAID = (Message.user("Hi"),)
OTHERS: dict[str, Callable[[], tuple[Answer, dict[str, Any]]]] = {
    "fallback": lambda: (DOWN, {"fallback": ["anthropic:claude"]}),
    "hedge": lambda: (
        Answer(stall_before_headers=True),
        {"hedge": Hedge(0.01, model="anthropic:claude", share=1)},
    ),
}
# where a call's options are given: those of a client (an unknown model takes none), and how the client is asked
PLACES: dict[str, tuple[dict[str, Any], Callable[[AsyncClient], Any]]] = {
    "keywords": ({}, lambda client: client.chat("Hi", max_tokens=9, **OWN)),
    "options": ({}, lambda client: client.chat("Hi", options=Options(max_tokens=9, **OWN))),
    "a request": ({}, lambda client: client.chat(Request(SAID, options=Options(max_tokens=9, **OWN)))),
    "a request and keywords": (
        {},
        lambda client: client.chat(Request(SAID, options=Options(max_tokens=9, **OWN)), **OWN),
    ),
    "a stream": ({}, lambda client: client.stream("Hi", options=Options(max_tokens=9, **OWN)).collect()),
    "a conversation": (
        {},
        lambda client: client.conversation(options=Options(max_tokens=9, **OWN)).chat("Hi"),
    ),
    "a conversation's keywords": ({}, lambda client: client.conversation(max_tokens=9, **OWN).chat("Hi")),
    "a conversation's turn": (
        {},
        lambda client: client.conversation(options=Options(max_tokens=9)).chat("Hi", options=Options(**OWN)),
    ),
    "a run": ({}, lambda client: client.run("Hi", options=Options(max_tokens=9, **OWN)).result()),
    "an answer that must match": (
        {},
        lambda client: client.chat("Hi", output="json", options=Options(max_tokens=9, **OWN)),
    ),
    "the client": ({"options": Options(max_tokens=9, **OWN)}, lambda client: client.chat("Hi")),
    "the client, and a model of the call": (
        {"options": Options(max_tokens=9, **OWN), "model": None},
        lambda client: client.chat("Hi", model="openai-chat:m"),
    ),
    "the file": ({"config": Config(options=Options(max_tokens=9, **OWN))}, lambda client: client.chat("Hi")),
}


@pytest.mark.parametrize("policy", OTHERS)
@pytest.mark.parametrize("place", PLACES)
def test_keys_and_what_is_meant_for_one_provider_stay_there(place: str, policy: str) -> None:
    answer, settings = OTHERS[policy]()
    given, ask = PLACES[place]

    async def main() -> Any:
        providers = [
            ProviderConfig("openai-chat", base_url=one.url, api_key="sk-first"),
            ProviderConfig("anthropic", base_url=two.url, api_key="sk-second", headers={"x-two": "2"}),
        ]
        fixed = {"model": "openai-chat:m", "providers": providers, "retry": ONE} | settings | given
        async with AsyncClient(**fixed) as client:
            asked = asyncio.ensure_future(ask(client))
            await one.wait_requests_async(1)  # a hedge may be faster than the first request
            two.open("asked")
            return (await asked).report

    streams = place in ("a stream", "a run")
    body = CLAUDE_STREAM.body if streams else [CLAUDE.body]
    kind = "text/event-stream" if streams else "application/json"
    second = Answer(headers={"content-type": kind}, body=[Gate("asked"), *body])
    with ScriptedServer([answer]) as one, ScriptedServer([second]) as two:
        report = asyncio.run(main())
        (first,), (other,) = one.requests, two.requests
    assert {each.field for each in report.dropped} == OWN.keys() and OWN.keys().isdisjoint(report.sent)
    assert first.header("authorization") == "Bearer of-first" and first.header("x-own") == "1"
    assert first.json()["own"] == 2 and first.query == "own=3"
    assert other.header("x-api-key") == "sk-second" and other.header("authorization") is None
    assert other.header("x-own") is None and "own" not in other.json() and other.query == ""
    assert other.json()["max_tokens"] == 9 and other.json()["model"] == "claude"
    assert other.header("x-two") == "2"


@pytest.mark.parametrize("other", ["openai-chat:other", "by-name"])
def test_another_model_of_the_same_provider_gets_what_is_meant_for_it(other: str) -> None:
    named = {"by-name": NamedModel("anthropic:claude", options=Options(extra_headers={"x-name": "3"}))}
    with ScriptedServer([DOWN, GOOD if other != "by-name" else CLAUDE]) as server:
        providers = [
            ProviderConfig(name, base_url=server.url, api_key="k") for name in ("openai-chat", "anthropic")
        ]
        settings: Any = {"fallback": [other], "retry": ONE, "config": Config(models=named)}
        with Client("openai-chat:m", providers=providers, **settings) as client:
            client.chat("Hi", options=Options(**OWN))
        second = server.requests[1]
    assert second.header("x-own") == (None if other == "by-name" else "1")
    assert second.header("x-name") == ("3" if other == "by-name" else None)


@pytest.mark.parametrize("place", ["the client", "the file"])
def test_a_clients_options_have_nothing_for_another_provider_than_its_models(place: str) -> None:
    with ScriptedServer([GOOD, CLAUDE]) as server:
        providers = [
            ProviderConfig(name, base_url=server.url, api_key="k") for name in ("openai-chat", "anthropic")
        ]
        with Client("openai-chat:m", providers=providers, **PLACES[place][0]) as client:
            assert not client.chat("Hi").report.dropped
            report = client.chat("Hi", model="anthropic:claude").report
        first, second = server.requests
    assert {each.field for each in report.dropped} == OWN.keys()
    assert first.header("x-own") == "1" and second.header("x-own") is None
    assert "own" not in second.json() and second.query == "" and second.json()["max_tokens"] == 9


def test_a_condition_that_raises_is_a_refusal_and_hides_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def broken(error: ProviderError) -> bool:
        raise KeyError("status")

    found, _, second, _ = run([DOWN], [CLAUDE], retry=ONE, fallback=[Fallback("anthropic:claude", on=broken)])

    assert isinstance(found, OverloadedError) and len(found.attempts) == 1 and not second
    assert "Fallback.on" in caplog.text and "KeyError" in caplog.text


def test_all_have_failed() -> None:
    failing = Answer(529, {}, b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}')
    found, _, _, slept = run([DOWN, BUSY], [failing] * 2, retry=Retry(2))

    assert isinstance(found, OverloadedError) and found.provider == "anthropic"
    assert [each.model for each in found.attempts] == ["openai-chat:m"] * 2 + ["anthropic:claude"] * 2
    assert [each.delay for each in found.attempts] == [
        0.25,
        None,
        0.25,
        None,
    ]  # each model has its own retries
    assert slept == [0.25, 0.25]


def test_a_stream_that_was_cut_after_reasoning_goes_to_the_other_and_after_text_does_not() -> None:
    found, _, second, _ = run([CUT_THOUGHT], [CLAUDE_STREAM], stream=True, retry=ONE)
    assert found.text == "Hi" and found.reasoning == "" and len(second) == 1
    assert [part.text for part in found.attempts[0].superseded] == ["Hm."]

    found, _, second, _ = run([CUT_TEXT], [], stream=True, retry=ONE)
    assert isinstance(found, StreamInterrupted) and not second


def test_who_iterates_sees_the_restart() -> None:
    with ScriptedServer([CUT_THOUGHT, STREAM]) as server:
        settings: Any = {"fallback": ["openai-chat:other"], "retry": ONE}
        with Client("openai-chat:m", base_url=server.url, api_key="k", **settings) as client:
            kinds = [type(event) for event in client.stream("Hi")]
        assert [request.json()["model"] for request in server.requests] == ["m", "other"]
    assert kinds.count(ResponseRestart) == 1


def test_a_model_that_cannot_take_the_request_is_passed_over() -> None:
    """There is no key for its provider, for example, or it takes no pictures."""
    picture = Message.user("What?", ImagePart(b"\x89PNG\r\n\x1a\n", media_type="image/png"))
    found, _, second, _ = run(
        [DOWN], [CLAUDE], input=picture, retry=ONE, fallback=["groq:m", "anthropic:claude"]
    )

    assert found.text == "Hello of Claude" and len(second) == 1
    assert [each.model for each in found.attempts] == ["openai-chat:m", "groq:m"]
    assert "GROQ_API_KEY" in found.attempts[1].error


def no_vault() -> str:
    raise ConfigError("the vault is closed")


# The models of a call, in order; those of Groq have no key: whose error is raised, "" if the last one answers.
CHAINS: dict[str, tuple[list[str], str]] = {
    "one without a key": (["down-0", "groq:a"], "down-0"),
    "two": (["down-0", "groq:a", "groq:b"], "down-0"),
    "two, then one that answers": (["down-0", "groq:a", "groq:b", "good"], ""),
    "one, then one that fails": (["down-0", "groq:a", "down-1"], "down-1"),
    "between failures": (["down-0", "groq:a", "down-1", "groq:b"], "down-1"),
    "between failures, two each": (["down-0", "groq:a", "groq:b", "down-1", "groq:c", "groq:d"], "down-1"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_every_model_that_was_passed_over_is_listed_once_and_in_order(name: str) -> None:
    chain, raised = CHAINS[name]
    models = [model if ":" in model else f"openai-chat:{model}" for model in chain]

    async def main() -> Any:
        transport: Any = FakeProvider(lambda request: GOOD if request.json()["model"] == "good" else DOWN)
        providers = [ProviderConfig("openai-chat", api_key="k"), ProviderConfig("groq", api_key=no_vault)]
        settings: Any = {"providers": providers, "transport": transport, "retry": ONE}
        async with AsyncClient(models[0], fallback=models[1:], **settings) as client:
            try:
                return await client.chat("Hi")
            except OverloadedError as error:
                return error

    found = asyncio.run(main())
    assert [each.model for each in found.attempts] == models[: None if raised else -1]
    assert found.model == raised if raised else found.text == "Hello"
    for model, each in zip(models, found.attempts, strict=False):
        assert each.error == ("the vault is closed" if model.startswith("groq:") else "no capacity")


def test_a_model_that_failed_before_it_had_no_key_any_more_is_listed_with_both() -> None:
    keys = iter(["k"])

    def key() -> str:
        return next(keys, None) or no_vault()

    async def main() -> Any:
        providers = [ProviderConfig("openai-chat", api_key="k"), ProviderConfig("groq", api_key=key)]
        settings: Any = {"providers": providers, "transport": FakeProvider(lambda _: DOWN), "retry": Retry(2)}
        async with AsyncClient("openai-chat:m", fallback=["groq:a"], **settings) as client:
            noted(client)
            with pytest.raises(OverloadedError) as caught:
                await client.chat("Hi")
            return caught.value

    error = asyncio.run(main())
    assert error.provider == "openai-chat"
    assert [(each.model, each.error) for each in error.attempts] == [
        *[("openai-chat:m", "no capacity")] * 2,
        ("groq:a", "no capacity"),
        ("groq:a", "the vault is closed"),
    ]


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize(
    ("settings", "between", "words"),
    [
        ({"budget": Budget(usd=5)}, "unknown-model", "no price of"),
        ({"budget": Budget(tokens=16_500)}, "m" * 200, "the budget of 16500 tokens"),
        ({}, "of-groq", "the vault is closed"),
    ],
    ids=["no price", "no budget", "no key"],
)
def test_a_model_that_nothing_can_be_sent_to_hides_no_error(
    settings: dict[str, Any], between: str, words: str, is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other model was asked for is what counts: the next one is asked, or that is raised."""
    real = prices.service_at
    monkeypatch.setattr(prices, "service_at", lambda _: real("https://api.openai.com/v1"))
    failed: list[Any] = []

    def answer(request: RecordedRequest) -> Answer:
        asked.append(request.json()["model"])
        return DOWN if asked[-1] == "gpt-4o" else GOOD

    async def main() -> Any:
        name = "groq:of-groq" if between == "of-groq" else f"openai-chat:{between}"
        providers = [ProviderConfig("openai-chat", api_key="k"), ProviderConfig("groq", api_key=no_vault)]
        others: Any = [name] if is_last else [name, "openai-chat:gpt-4o-mini"]
        transport: Any = FakeProvider(answer)
        async with AsyncClient(
            "openai-chat:gpt-4o",
            providers=providers,
            transport=transport,
            retry=ONE,
            fallback=others,
            on_error=lambda call, error: failed.append((call.model, error)),
            **settings,
        ) as client:
            try:
                return await client.chat("Hi"), client.stats()
            except ProviderError as error:
                return error, client.stats()

    asked: list[str] = []
    found, stats = asyncio.run(main())
    passed = found.attempts[1]
    assert words in passed.error and passed.model.endswith(between)
    assert stats.running == stats.reserved_tokens == 0
    if is_last:
        assert isinstance(found, OverloadedError) and found.provider == "openai-chat" and asked == ["gpt-4o"]
        assert failed == [("gpt-4o", found)] and len(found.attempts) == 2
    else:
        assert found.text == "Hello" and asked == ["gpt-4o", "gpt-4o-mini"] and not failed


def test_none_is_left_that_can_take_it() -> None:
    found, *_ = run([DOWN], [], retry=ONE, fallback=["groq:m"])

    assert isinstance(found, OverloadedError) and found.provider == "openai-chat"
    assert [each.model for each in found.attempts] == ["openai-chat:m", "groq:m"]


def test_limits_are_those_of_each_model() -> None:
    async def main(url: str) -> Any:
        settings: Any = {"fallback": ["openai-chat:other"], "retry": ONE, "limits": Limits(rpm=5)}
        async with AsyncClient("openai-chat:m", base_url=url, api_key="k", **settings) as client:
            assert (await client.chat("Hi")).text == "Hello"
            return [(each.model, each.used) for each in client.stats().limits], client.stats().running

    with ScriptedServer([DOWN, GOOD]) as server:
        assert asyncio.run(main(server.url)) == ([("m", 1), ("other", 1)], 0)


def test_the_error_of_a_model_without_a_place_is_reported_as_its_own() -> None:
    named: list[str] = []

    async def main() -> None:
        answers = iter([GOOD, DOWN])
        settings: Any = {"fallback": ["openai-chat:other"], "retry": ONE, "limits": Limits(rpm=1)}
        settings |= {"api_key": "k", "transport": FakeProvider(lambda _: next(answers))}
        settings["on_error"] = lambda call, _: named.append(call.model)
        async with AsyncClient("openai-chat:m", **settings) as client:
            await client.chat("Hi", model="openai-chat:other", fallback=())
            with pytest.raises(RequestTimeout, match="no place within the limits"):
                await client.chat("Hi", timeouts=Timeouts(total=5))

    virtually(main())
    assert named == ["other"]


def test_a_stored_answer_is_asked_for_elsewhere_only_where_it_was_refused() -> None:
    for error, asked in (
        (OverloadedError("x", status=503), True),
        (ServerError("x", status=500), False),
        (StreamInterrupted("x", how="reset"), False),
        (RequestTimeout("x", clock="first_event"), False),
    ):
        assert falls_back(error, Fallback("a:b"), is_stored=True) is asked
        assert falls_back(error, Fallback("a:b"), is_stored=False)


# an error: whether another model is asked after it, and where the provider stores the answer
AFTER: dict[str, tuple[ProviderError, bool, bool]] = {
    "a limit": (RateLimitError("x", status=429), True, True),
    "a used-up quota": (RateLimitError("x", retryable=False), True, True),
    "no capacity": (OverloadedError("x", status=529), True, True),
    "no connection": (ConnectError("x"), True, True),
    "its breaker": (BreakerOpenError("x", retry_after=1), True, True),
    "a failure": (ServerError("x", status=500), True, False),
    "a reset": (TransportError("x"), True, False),
    "a cut": (StreamInterrupted("x", how="eof"), True, False),
    "no first event": (RequestTimeout("x", clock="first_event"), True, False),
    "its own time": (RequestTimeout("x", clock="attempt"), True, False),
    "the whole call's time": (RequestTimeout("x", clock="total"), False, False),
    "the whole call's time, in a stream": (StreamTimeout("x", clock="total"), False, False),
    "a wrong request": (InvalidRequestError("x", status=400), False, False),
    "a wrong key": (AuthenticationError("x", status=401), False, False),
    "no such model": (NotFoundError("x", status=404), False, False),
    "another status": (APIError("x", status=409), False, False),
    "bytes of no protocol": (ProtocolError("x"), False, False),
    "a configuration": (ConfigError("x"), False, False),
    "what cannot be sent": (UnsupportedError("x"), False, False),
}


@pytest.mark.parametrize("name", AFTER)
def test_after_which_errors_another_model_is_asked(name: str) -> None:
    error, asked, asked_if_stored = AFTER[name]
    is_over = isinstance(error, RequestTimeout) and error.clock == "total"
    was_refused = isinstance(error, ConnectError | RateLimitError | OverloadedError)

    for is_stored, expected in ((False, asked), (True, asked_if_stored)):
        assert falls_back(error, Fallback("a:b"), is_stored=is_stored) is expected
        for wish in (True, False):  # a condition decides of all errors but these
            given: Any = Fallback("a:b", on=lambda _, wish=wish: wish)
            may_be = not is_over and (was_refused or not is_stored)
            assert falls_back(error, given, is_stored=is_stored) is (wish and may_be)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fallback": ["nobody:m"]}, "fallback: .*nobody"),
        ({"fallback": ["openai-chat:a", Fallback("nobody:m")]}, "fallback: .*nobody"),
        ({"fallback": ["no colon"]}, "fallback: .*no colon"),
        ({"hedge": Hedge(1, "nobody:m")}, "hedge: .*nobody"),
        ({"fallback": ["openai-chat:a"], "hedge": Hedge(1, "nobody:m")}, "hedge: .*nobody"),
    ],
)
def test_a_policy_s_model_of_no_provider_is_named_with_its_policy(given: dict[str, Any], words: str) -> None:
    providers = [ProviderConfig("mine", based_on="openai-chat", base_url="http://localhost:9", api_key="k")]
    named = {"by-name": NamedModel("mine:m")}
    settings: Any = {"providers": providers, "config": Config(models=named), "api_key": "k"}
    planner: Any = AsyncClient("openai-chat:m", **settings)._session
    with pytest.raises(ConfigError, match=f"^{words}"):
        planner.plan("Hi", given, stream=False)
    known = {"fallback": ["mine:m", "by-name"], "hedge": Hedge(1, "mine:m")}
    assert [each.model for each in planner.plan("Hi", known, stream=False).others] == ["mine:m", "by-name"]


@pytest.mark.parametrize("wrong", ["anthropic:claude", [3]])
def test_a_wrong_type_is_named(wrong: Any) -> None:
    with pytest.raises(TypeError, match="fallback"):
        AsyncClient("openai-chat:m", api_key="k", fallback=wrong)


@pytest.mark.parametrize("name", ["claude", "nobody:m"])
def test_a_name_that_does_not_exist_is_refused_before_anything_is_sent(name: str) -> None:
    async def main() -> None:
        async with AsyncClient("openai-chat:m", api_key="k", fallback=[name]) as client:
            with pytest.raises(ConfigError, match=name.partition(":")[0]):
                client.stream("Hi")

    asyncio.run(main())


def test_an_error_without_a_fallback_names_no_model() -> None:
    with ScriptedServer([WRONG]) as server:
        client = Client("openai-chat:m", base_url=server.url, api_key="k")
        with client, pytest.raises(APIError) as caught:
            client.chat("Hi")
    assert [each.model for each in caught.value.attempts] == [None]


def test_calls_planned_at_once_in_two_threads_have_each_its_own_fallbacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the look at what is known of a call's policies and its use, another thread may plan its call."""
    client = AsyncClient("openai-chat:m", api_key="k", base_url="http://localhost:9", hedge=Hedge(1))
    planner: Any = client._session

    def other_thread(plan: Any) -> bool:
        monkeypatch.undo()
        planner.plan("Hi", {"fallback": ["openai-chat:other"]}, stream=False)
        return True

    monkeypatch.setattr(session, "may_be_hedged", other_thread)
    planned = planner.plan("Hi", {"fallback": ["openai-chat:own"]}, stream=False)
    assert [each.model for each in planned.others] == ["openai-chat:own"]
