"""Hedging: which of two requests is the call's answer, what becomes of the other, and which calls have only one."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from contextvars import ContextVar
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    AsyncClient,
    Budget,
    CallInfo,
    Client,
    ConfigError,
    Fallback,
    Hedge,
    HostedTool,
    Limits,
    OpenAIChatOptions,
    OpenAIResponsesOptions,
    ProviderError,
    RequestTimeout,
    ResponseRestart,
    Retry,
    StreamInterrupted,
    Timeouts,
    Tool,
)
from brainwires_provider._core.deadlines import timer_of
from brainwires_provider._core.fallback import may_be_hedged, second_plan
from brainwires_provider._core.hedge import Share
from brainwires_provider.providers import prices
from brainwires_provider.testing import (
    Answer,
    Drop,
    Gate,
    RecordedRequest,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    Stall,
    sse,
)
from chat_answers import TEXT, WHOLE, chunk
from virtual_time import shifted, skip
from waits import noted

AT_ONCE = Hedge(after=0.02, share=1)
LATER = Hedge(after=30, share=1)
USAGE = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
STUCK = Answer(stall_before_headers=True)
GOOD = Answer(body=WHOLE)
STREAM = Answer(body=[TEXT])
THINKS = Answer(body=[sse(chunk({"reasoning_content": "Hm."}), done=False), Stall()])
HALF = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Stall()])
DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
LOST = "cancelled: the call's other request, to openai-chat:gpt-4o, was answered first"


Step = tuple[Callable[[ScriptedServer, Any], Any], Callable[[ScriptedServer], object]]


def later(seconds: float) -> Callable[[ScriptedServer], object]:
    """What a step may do: it is so much later now."""
    return lambda _: skip(seconds)


def requests(number: int) -> Callable[[ScriptedServer, Any], Any]:
    """What a step may wait for: the server has so many requests."""
    return lambda server, _: len(server.requests) >= number


async def play(steps: list[Step], server: ScriptedServer, sending: Any) -> None:
    """Each step waits for its condition, and then acts: nothing depends on how fast anything is."""
    for is_due, act in steps:
        while not is_due(server, sending):
            await asyncio.sleep(0.005)
        act(server)
        await asyncio.sleep(0.005)  # for what is due now


A_MINUTE = Timeouts(first_event=None, total=60)
OVER: list[Step] = [(requests(1), later(31)), (lambda *_: True, later(1)), (lambda *_: True, later(30))]
"""The second is due, has waited for its place, and the whole call's time is over."""


def run(answers: Any, *steps: Step, **settings: Any) -> tuple[Any, list[RecordedRequest]]:
    """What became of a call, and what the server saw of it; when it has ended, no connection of a loser is open."""
    how, args = settings.pop("how", "chat"), settings.pop("args", {})
    settings.setdefault("hedge", LATER if steps else AT_ONCE)

    async def main(server: ScriptedServer) -> Any:
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key="k", **settings) as client:
            noted(client)
            stream = client.stream("Hi", **args)
            playing = asyncio.ensure_future(play(list(steps), server, stream._sending))
            try:
                if how == "chat":
                    return await client.chat("Hi", **args)
                if how == "events":
                    return [event async for event in stream]
                return await stream.collect()
            except ProviderError as error:
                return error
            finally:
                playing.cancel()

    with ScriptedServer(answers) as server:
        found = shifted(main(server))
        server.wait_idle()
        return found, server.requests


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_the_second_is_answered_first(how: str) -> None:
    found, requests = run([STUCK, GOOD if how == "chat" else STREAM], how=how)

    assert found.text == "Hello" and len(requests) == 2
    (lost,) = found.attempts
    assert (lost.error, lost.is_cancelled, lost.model) == (LOST, True, "openai-chat:gpt-4o")
    assert requests[0].body == requests[1].body


def test_the_first_is_answered_first_and_the_second_is_cancelled_and_its_connection_closed() -> None:
    def answer(request: RecordedRequest) -> Answer:
        seen.append(request)
        return Answer(body=[Gate("first"), WHOLE], headers=JSON) if len(seen) == 1 else STUCK

    JSON = {"content-type": "application/json"}
    seen: list[RecordedRequest] = []

    async def main(server: ScriptedServer) -> Any:
        async with AsyncClient(
            "openai-chat:gpt-4o", base_url=server.url, api_key="k", hedge=AT_ONCE
        ) as client:
            call = asyncio.ensure_future(client.chat("Hi"))
            await server.wait_requests_async(2)
            server.open("first")
            response = await call
            assert len(asyncio.all_tasks()) <= 2  # this one, and one that is being cancelled
            await asyncio.sleep(0)
            await client.chat("Hi", hedge=Hedge(9))  # the loser's connection is not used again
            return response

    with ScriptedServer(lambda request: answer(request) if len(seen) < 2 else GOOD) as server:
        response = asyncio.run(main(server))
        assert response.text == "Hello" and [each.is_cancelled for each in response.attempts] == [True]
        assert server.requests[2].connection != server.requests[1].connection


def test_the_synchronous_client_hedges_alike() -> None:
    with ScriptedServer([STUCK, GOOD, THINKS, STREAM]) as server:
        settings: Any = {"base_url": server.url, "api_key": "k", "hedge": AT_ONCE}
        with Client("openai-chat:gpt-4o", **settings) as client:
            assert client.chat("Hi").attempts[0].is_cancelled
            stream = client.stream("Hi")
            assert [type(event) for event in stream].count(ResponseRestart) == 1
            assert stream.response.text == "Hello" and stream.response.reasoning == ""
        server.wait_idle(5)


def test_reasoning_that_was_delivered_is_discarded() -> None:
    delivered: Step = (lambda _, sending: sending._delivered), later(31)
    events, _ = run([THINKS, STREAM], delivered, how="events")

    (restart,) = [event for event in events if isinstance(event, ResponseRestart)]
    assert [part.text for part in restart.attempt.superseded] == ["Hm."] and restart.attempt.is_cancelled
    found, _ = run([THINKS, STREAM], delivered, how="stream")
    assert found.text == "Hello" and found.reasoning == ""


@pytest.mark.parametrize("refused", [0, 2])
def test_reasoning_that_was_delivered_before_a_cut_is_discarded(refused: int) -> None:
    """The first has failed when the second is answered; before, it was refused so often."""
    thinks = sse(chunk({"reasoning_content": "Hm."}), done=False)
    cut, answered = Answer(body=[thinks, Gate("cut"), Drop()]), Answer(body=[Gate("second"), TEXT])
    steps = (
        ((lambda _, sending: sending._delivered), later(31)),
        (requests(2 + refused), lambda server: server.open("cut")),
        ((lambda _, sending: sending._error), lambda server: server.open("second")),
    )
    settings: Any = {"retry": Retry(1 + refused, base=0)}
    events, _ = run([*[DOWN] * refused, cut, answered], *steps, how="events", **settings)

    (restart,) = [event for event in events if isinstance(event, ResponseRestart)]
    assert [part.text for part in restart.attempt.superseded] == ["Hm."] and not restart.attempt.is_cancelled
    found, _ = run([*[DOWN] * refused, cut, answered], *steps, how="stream", **settings)
    assert [each.status for each in found.attempts] == [503] * refused + [None]


def test_reasoning_of_the_one_that_is_discarded_was_delivered_only_if_it_is_the_first_s() -> None:
    first = Answer(body=[sse(chunk({"reasoning_content": "Hm."}), done=False), Gate("first"), TEXT])
    has_begun: Step = (
        (lambda _, sending: sending._second and sending._second.attempt.begun),
        lambda server: server.open("first"),
    )
    due: Step = ((lambda _, sending: sending._delivered), later(31))
    found, _ = run([first, THINKS], due, has_begun, how="stream")

    assert (found.reasoning, found.text) == ("Hm.", "Hello")
    assert [(each.is_cancelled, each.superseded) for each in found.attempts] == [(True, ())]


def test_a_second_that_was_ready_before_the_caller_reads_on_is_the_answer() -> None:
    async def main(server: ScriptedServer) -> list[Any]:
        settings: Any = {"base_url": server.url, "api_key": "k", "hedge": LATER}
        async with AsyncClient("openai-chat:gpt-4o", **settings) as client:
            stream = client.stream("Hi")
            events = await stream.pull()
            ready: Step = (
                (lambda _, sending: sending._is_second_ready),
                lambda server: server.open("first"),
            )
            await play([(requests(1), later(31)), ready], server, stream._sending)
            return [*events, *[event async for event in stream]]

    thinks = sse(chunk({"reasoning_content": "Hm."}), done=False)
    with ScriptedServer([Answer(body=[thinks, Gate("first"), TEXT]), STREAM]) as server:
        events = shifted(main(server))
    assert [event.text for event in events if hasattr(event, "text")] == ["Hm.", "Hello"]
    assert [type(event) for event in events].count(ResponseRestart) == 1


def test_reasoning_of_the_second_is_held_until_it_commits() -> None:
    events, _ = run(
        [STUCK, Answer(body=[sse(chunk({"reasoning_content": "Hm."}), done=False), TEXT])], how="events"
    )
    assert not any(isinstance(event, ResponseRestart) for event in events)
    assert [event.text for event in events if hasattr(event, "text")] == ["Hm.", "Hello"]


def test_both_have_failed() -> None:
    """The second is not repeated, and is listed beside the first's attempts."""
    steps = (requests(1), later(31)), (requests(2), later(31))
    found, seen = run([STUCK, DOWN], *steps, retry=Retry(1), timeouts=Timeouts(first_event=60))

    assert isinstance(found, RequestTimeout) and len(seen) == 2
    assert [each.status for each in found.attempts] == [None, 503]


def test_the_first_fails_while_the_second_is_under_way() -> None:
    second = Answer(body=[Gate("second"), TEXT])

    async def main(server: ScriptedServer) -> Any:
        settings: Any = {"hedge": LATER, "retry": Retry(1), "timeouts": Timeouts(first_event=60)}
        failed: list[ProviderError] = []
        settings["on_error"] = lambda call, error: failed.append(error)
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key="k", **settings) as client:
            stream = client.stream("Hi")
            call = asyncio.ensure_future(stream.collect())
            steps: list[Step] = [(requests(1), later(31)), (requests(2), later(31))]
            steps.append(((lambda _, sending: sending._error), lambda server: server.open("second")))
            await play(steps, server, stream._sending)
            return await call, failed

    with ScriptedServer([STUCK, second]) as server:
        found, failed = shifted(main(server))
    assert found.text == "Hello" and not failed
    assert [("first_event" in each.error, each.is_cancelled) for each in found.attempts] == [(True, False)]


def test_the_first_has_failed_before_the_second_was_due() -> None:
    found, seen = run([DOWN], retry=Retry(1), hedge=LATER)
    assert len(seen) == 1 and found.status == 503


def test_the_whole_call_s_time_is_that_of_both() -> None:
    steps = (requests(1), later(31)), (requests(2), later(31))
    found, seen = run([STUCK, STUCK], *steps, timeouts=A_MINUTE)
    assert isinstance(found, RequestTimeout) and found.clock == "total" and len(seen) == 2


def test_the_second_fails_and_the_first_answers() -> None:
    def answer(request: RecordedRequest) -> Answer:
        seen.append(request)
        return Answer(body=[Gate("first"), TEXT]) if len(seen) == 1 else DOWN

    async def main(server: ScriptedServer) -> Any:
        settings: Any = {"hedge": Hedge(0.02, "openai-chat:other", share=1), "api_key": "k"}
        settings |= {"on_request": lambda call: named.append(call.model)}
        settings |= {"on_response": lambda call, _: named.append(f"{call.model} has answered")}
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, **settings) as client:
            stream = client.stream("Hi")
            call = asyncio.ensure_future(stream.collect())
            sending: Any = stream._sending
            while not sending._lost:
                await asyncio.sleep(0.01)
            server.open("first")
            return await call

    seen: list[RecordedRequest] = []
    named: list[str] = []
    with ScriptedServer(answer) as server:
        found = asyncio.run(main(server))
    assert found.text == "Hello" and [each.status for each in found.attempts] == [503]
    assert named == ["gpt-4o", "other", "gpt-4o has answered"]


@pytest.mark.parametrize("fault", [RuntimeError("the vault is closed"), asyncio.CancelledError()])
@pytest.mark.parametrize("is_second_awaited", [False, True])
def test_a_second_that_ends_in_any_way_leaves_the_first_alone(
    fault: BaseException, is_second_awaited: bool, caplog: pytest.LogCaptureFixture
) -> None:
    keys: list[str] = []

    async def key() -> str:
        keys.append("k")
        if len(keys) == 1:
            return "k"
        if is_second_awaited:
            server.open("first")
            while sending._error is None:
                await asyncio.sleep(0.01)
        else:
            asyncio.get_running_loop().call_later(0.05, server.open, "first")
        raise fault

    async def main() -> Any:
        nonlocal sending
        settings: Any = {"hedge": AT_ONCE, "retry": Retry(1)}
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key=key, **settings) as client:
            stream = client.stream("Hi")
            sending = stream._sending
            try:
                return await stream.collect()
            except ProviderError as error:
                return error

    sending: Any = None
    first = Answer(body=[Gate("first"), Drop() if is_second_awaited else TEXT])
    with ScriptedServer([first]) as server:
        found = asyncio.run(main())
    assert len(keys) == 2
    if is_second_awaited:
        assert isinstance(found, StreamInterrupted) and len(found.attempts) == 1
    else:
        assert found.text == "Hello"
        assert f"raised {type(fault).__name__}" in caplog.text and "vault" not in caplog.text
        assert {record.name for record in caplog.records} == {"brainwires_provider"}


def test_the_cost_of_the_loser_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = prices.service_at
    monkeypatch.setattr(prices, "service_at", lambda _: real("https://api.openai.com/v1"))

    def answers(*scripts: str) -> Any:
        left = list(scripts)

        def answer(request: RecordedRequest) -> Answer:
            script, named = left.pop(0), {"model": request.json()["model"]}
            if script == "stuck":
                return STUCK
            used = chunk({}, "stop", usage=USAGE) | named
            if script == "thinks":
                thought = chunk({"reasoning_content": "Hm."}) | named
                return Answer(body=[sse(thought, used | {"choices": []}, done=False), Stall()])
            return Answer(body=[sse(chunk({"content": "Hello"}) | named, used)])

        return answer

    def asked(*scripts: str, hedge: Hedge = LATER) -> Any:
        due = requests(1) if scripts[0] == "stuck" else lambda _, sending: sending._delivered
        return run(answers(*scripts), (due, later(31)), how="stream", prices=True, hedge=hedge)[0]

    alone = asked("answers")
    found = asked("thinks", "answers")
    assert found.cost.usd == 2 * alone.cost.usd and found.cost.complete
    assert found.attempts[0].cost.usd == alone.cost.usd and found.attempts[0].usage.total_tokens == 50
    found = asked("thinks", "answers", hedge=Hedge(30, "openai-chat:gpt-4o-mini", share=1))
    assert found.attempts[0].cost.usd == alone.cost.usd  # at its own model's price
    assert alone.cost.usd < found.cost.usd < 2 * alone.cost.usd
    found = asked("stuck", "answers")
    assert found.cost.usd == alone.cost.usd and not found.cost.complete  # what is not known is stated


def test_the_second_is_planned_with_the_call_s_policies_and_is_its_only_attempt() -> None:
    client = AsyncClient("openai-chat:m", api_key="k", base_url="http://localhost:9", limits=Limits(rpm=3))
    session: Any = client._session
    others: Any = {"fallback": ["openai-chat:third"], "retry": Retry(5)}
    for hedge, model in ((Hedge(1), "m"), (Hedge(1, "openai-chat:other"), "other")):
        for args in ({"hedge": hedge}, {"hedge": hedge, **others}):
            first = session.plan("Hi", args, stream=True)
            second = second_plan(first, session.policies)
            assert (second.target.model, second.call.body["model"]) == (model, model)
            assert second.stream and second.others == () and second.hedge is None
            assert second.policies is not None and second.policies.retry == Retry(1)
            assert second.policies.limits == Limits(rpm=3) and second.policies.hedge == hedge
            assert (first.others, first.hedge) == (
                tuple(map(Fallback, args.get("fallback", ()))),
                hedge,
            )


def test_another_model_is_asked_with_its_own_name() -> None:
    named: list[str] = []
    hooks: Any = {"on_request": lambda call: named.append(call.model)}
    found, seen = run([STUCK, GOOD], hedge=Hedge(0.02, "openai-chat:other", share=1), **hooks)

    assert [request.json()["model"] for request in seen] == ["gpt-4o", "other"]
    (lost,) = found.attempts
    assert lost.model == "openai-chat:gpt-4o" and "to openai-chat:other, was answered first" in lost.error
    assert [request.json()["model"] for request in seen] == named == ["gpt-4o", "other"]
    assert found.attempts[0].model == "openai-chat:gpt-4o"


@pytest.mark.parametrize(
    ("model", "args"),
    [
        ("openai-responses", {"provider_options": OpenAIResponsesOptions(store=True)}),
        ("openai-responses", {"provider_options": OpenAIResponsesOptions(background=True)}),
        ("openai-responses", {"provider_options": OpenAIResponsesOptions(conversation="conv_1")}),
        ("openai-responses", {"tools": [HostedTool("web_search")]}),
        ("openai-responses", {"extra_body": {"store": True}}),
        ("openai-chat", {"provider_options": OpenAIChatOptions(web_search_options={})}),
        ("openai-chat", {"extra_body": {"plugins": [{"id": "web"}]}}),
        ("openai-chat", {"extra_body": {"tools": [{"type": "web_search"}]}}),
        ("openai-chat", {"extra_body": {"tools": "all"}}),
        ("openai-chat", {"extra_body": {"tools": ["web"]}}),
        ("openai-chat", {"extra_body": {"data_sources": [{}]}}),
        ("anthropic", {"extra_body": {"mcp_servers": [{"type": "url", "url": "https://a.example"}]}}),
        ("google", {"extra_body": {"tools": [{"googleSearch": {}}]}}),
        ("bedrock", {"extra_body": {"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}}}),
        ("xai", {"extra_body": {"search_parameters": {"mode": "auto"}}}),
        ("openai-chat:gpt-4o-search-preview", {}),
        ("openai-responses:o4-mini-deep-research-2025-06-26", {}),
        ("openrouter:perplexity/sonar-pro", {}),
        ("perplexity:sonar", {}),
        ("groq:groq/compound-mini", {}),
    ],
)
def test_stored_answers_and_hosted_tools_are_never_hedged(model: str, args: dict[str, Any]) -> None:
    model += "" if ":" in model else ":m"
    client = AsyncClient(model, api_key="k", base_url="http://localhost:9", hedge=AT_ONCE)
    session: Any = client._session
    assert session.plan("Hi", args, stream=False).hedge is None


OF_A_CALLER: list[Any] = [
    {"type": "function", "function": {"name": "a"}},
    {"type": "custom", "name": "a"},
    {"name": "a", "input_schema": {}},
    {"functionDeclarations": [{"name": "a"}]},
    {"function_declarations": [{"name": "a"}]},
    {"toolSpec": {"name": "a"}},
    {"cachePoint": {"type": "default"}},
    {},
]
OF_A_PROVIDER: list[Any] = [
    {"type": "web_search"},
    {"type": "code_interpreter", "name": "function"},
    {"googleSearch": {}},
    {"functionDeclarations": [], "googleSearch": {}},
    {"systemTool": {"name": "a"}},
    "function",
    None,
]
# the fields of a body: whether such requests are hedged
BODIES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"input": "search for store and tools"}, True),
    *(({name: 1}, False) for name in ["web_search", "plugins", "mcp_servers", "connectors", "data_sources"]),
    *(
        ({name: {}}, False)
        for name in ["retrieval_config", "Retrieve", "code_interpreter", "searchOptions", "PLUGIN"]
    ),
    *(({name: nothing}, True) for name in ("web_search", "plugins", "mcp") for nothing in (None, False)),
    *(({name: True}, False) for name in ("store", "background", "conversation")),
    *(
        ({name: nothing}, True)
        for name in ("store", "background", "conversation")
        for nothing in (None, False)
    ),
    *(({"tools": nothing}, True) for nothing in ([], (), None)),
    *(({"tools": kind([tool])}, True) for tool in OF_A_CALLER for kind in (list, tuple)),
    *(({"tools": [OF_A_CALLER[0], tool]}, False) for tool in OF_A_PROVIDER),
    *(({"toolConfig": {"tools": [tool]}}, True) for tool in OF_A_CALLER),
    *(({"toolConfig": {"tools": [tool]}}, False) for tool in OF_A_PROVIDER),
    ({"tools": {"type": "function"}}, False),
    ({"toolConfig": "function"}, True),
    ({"toolConfig": {"toolChoice": {"auto": {}}}}, True),
    ({"tools": [OF_A_CALLER[0]], "toolConfig": {"tools": ["ignored"]}}, True),
    ({"tools": [], "store": True}, False),
]


def test_which_bodies_ask_for_nothing_that_the_provider_keeps_or_runs() -> None:
    session: Any = AsyncClient("openai-chat:m", api_key="k")._session
    planned = session.plan("Hi", {}, stream=False)
    runs = replace(
        planned, target=replace(planned.target, facts=replace(planned.target.facts, runs_tools=True))
    )
    found = [may_be_hedged(replace(planned, call=replace(planned.call, body=body))) for body, _ in BODIES]

    assert [pair for pair, each in zip(BODIES, found, strict=True) if each is not pair[1]] == []
    assert may_be_hedged(replace(planned, call=replace(planned.call, body=None))) and not may_be_hedged(runs)


@pytest.mark.parametrize("model", ["openai-chat", "openai-responses", "anthropic", "google", "bedrock"])
def test_tools_that_the_caller_runs_are_hedged(model: str) -> None:
    client = AsyncClient(f"{model}:m", api_key="k", base_url="http://localhost:9", hedge=AT_ONCE)
    session: Any = client._session
    tools = [Tool("a", "b", {}), Tool("c", "d", {})]
    for args in ({}, {"tools": tools}, {"extra_body": {"web_search": False}}):
        assert session.plan("Hi", args, stream=False).hedge is not None


@pytest.mark.parametrize(
    "policy",
    [{"budget": Budget(tokens=20_000)}, {"limits": Limits(concurrency=1)}, {"limits": Limits(rpm=1)}],
)
def test_a_second_that_cannot_be_reserved_is_not_sent(policy: dict[str, Any]) -> None:
    found, seen = run([STUCK], *OVER, timeouts=A_MINUTE, **policy)
    assert len(seen) == 1 and found.clock == "total" and len(found.attempts) == 1


def test_both_count_against_a_budget_and_nothing_stays_reserved() -> None:
    async def main(url: str) -> Any:
        settings: Any = {"budget": Budget(tokens=100_000), "limits": Limits(rpm=10), "hedge": AT_ONCE}
        async with AsyncClient("openai-chat:gpt-4o", base_url=url, api_key="k", **settings) as client:
            await client.chat("Hi", max_tokens=100)
            while client.stats().running:
                await asyncio.sleep(0.01)
            return client.stats()

    with ScriptedServer([STUCK, GOOD]) as server:
        stats = asyncio.run(main(server.url))
    assert stats.reserved_tokens == 0 and stats.limits[0].used == 2
    assert stats.spent_tokens > 100  # the loser counts as reserved: it may be billed


def test_a_share_of_the_calls_is_hedged_at_most() -> None:
    for seed in range(50):
        random = Random(seed)
        share = Share(random.choice([0.01, 0.05, 0.3, 1.0]))
        hedged = 0
        for calls in range(1, 1001):
            share.calls += 1
            if random.random() < random.choice([0.01, 0.5]):
                hedged += share.take()
            assert hedged <= share._share * calls + 1e-6
    share = Share(0.05)
    share.calls += 10_000
    assert sum(share.take() for _ in range(1000)) == 10  # an outage after a long calm


def test_no_share_is_used_up_by_a_call_that_waits_for_its_place() -> None:
    async def main(server: ScriptedServer) -> Any:
        settings: Any = {"limits": Limits(concurrency=1), "hedge": LATER}
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key="k", **settings) as client:
            calls = [asyncio.ensure_future(client.chat(f"{n}")) for n in range(4)]
            await server.wait_requests_async(1)
            loop = asyncio.get_running_loop()
            for seconds in 31, 0.2, 0.2, 31, 31:  # the second is due, and waits for its place for 0.1 s
                skip(seconds)
                await asyncio.sleep(0.01)
                assert timer_of(loop).wakes > loop.time()  # nobody asks over and over
            share = client._session._shares[1]
            left, waiting = sum(share.take() for _ in range(9)), client.stats().waiting
            server.open("all")
            await asyncio.gather(*calls)
            return left, waiting

    with ScriptedServer(lambda _: Answer(body=[Gate("all"), WHOLE])) as server:
        left, waiting = shifted(main(server))
    assert (left, waiting) == (4, 3)


def test_a_call_beyond_the_share_waits_for_its_first_request() -> None:
    found, seen = run([STUCK], *OVER, timeouts=A_MINUTE, hedge=Hedge(30))
    assert len(seen) == 1 and found.clock == "total"


def test_a_cancelled_call_and_a_stream_that_was_left_cancel_both() -> None:
    async def main(server: ScriptedServer) -> None:
        left: list[str] = []
        settings: Any = {"hedge": AT_ONCE, "on_error": lambda call, error: left.append("failed")}
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key="k", **settings) as client:
            call = asyncio.ensure_future(client.chat("Hi"))
            await server.wait_requests_async(2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            stream = client.stream("Hi")
            reading = asyncio.ensure_future(stream.pull())
            await server.wait_requests_async(4)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            stream.abort()
            assert await stream.pull() == [] and not left
            await server.wait_idle_async(5)

    with ScriptedServer([STUCK] * 4) as server:
        asyncio.run(main(server))
    gc.collect()  # a task whose error nobody has read would be reported now


@pytest.mark.parametrize("how", ["aclose", "abort", "cancel"])
@pytest.mark.parametrize("second", [None, STUCK, HALF], ids=["none", "stuck", "begun"])
def test_a_stream_that_is_left_before_one_is_taken_leaves_both(
    how: str, second: Answer | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the first only reasoning has come."""
    number = 1 if second is None else 2
    caplog.set_level("INFO", "brainwires_provider")
    failed: list[Any] = []

    async def main(server: ScriptedServer) -> None:
        settings: Any = {"hedge": AT_ONCE if number == 2 else LATER, "limits": Limits(rpm=9)}
        settings |= {"on_error": lambda call, error: failed.append(error)}
        async with AsyncClient("openai-chat:gpt-4o", base_url=server.url, api_key="k", **settings) as client:
            stream = client.stream("Hi")
            assert len(await stream.pull()) == 3
            await server.wait_requests_async(number)
            assert client.stats().running == number
            sending: Any = stream._sending
            while second is HALF and not sending._is_second_ready:
                await asyncio.sleep(0.001)
            if how == "cancel":
                reading = asyncio.ensure_future(stream.collect())
                await asyncio.sleep(0.01)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            elif how == "aclose":
                await stream.aclose()
            else:
                stream.abort()
            assert await stream.pull() == []
            await server.wait_idle_async(5)
            await asyncio.sleep(0)
            assert client.stats().running == 0 and len(asyncio.all_tasks()) == 1
            assert timer_of(asyncio.get_running_loop()).timed == set()

    with ScriptedServer([THINKS, second or STUCK]) as server:
        asyncio.run(main(server))
    assert not failed and ["was left after" in record.getMessage() for record in caplog.records] == [True]


def test_hooks_and_log_see_one_call(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "brainwires_provider")
    seen: list[Any] = []
    found, _ = run(
        [STUCK, GOOD],
        on_request=lambda call: seen.append((call.id, call.attempt)),
        on_response=lambda call, response: seen.append(len(response.attempts)),
        on_error=lambda call, error: seen.append(error),
    )
    assert found.text == "Hello" and [each[1] for each in seen[:2]] == [1, 2] and seen[2:] == [1]
    assert seen[0][0] == seen[1][0] and len(caplog.records) == 1


def test_the_second_request_of_a_call_has_the_context_of_its_own_caller() -> None:
    """The timer that begins it is that of all calls: whose request had set it was seen by keys and hooks of others."""
    caller = ContextVar("caller", default="nobody")
    seen: dict[str, list[str]] = {"one": [], "another": []}

    def said(call: CallInfo) -> str:
        words: str = json.loads(call.request.body)["messages"][0]["content"]
        return words

    async def main(server: ScriptedServer) -> None:
        async def ask(name: str) -> None:
            caller.set(name)
            await client.chat(name)

        settings: Any = {"base_url": server.url, "hedge": LATER, "api_key": caller.get}
        settings["on_request"] = lambda call: seen[said(call)].append(caller.get())
        async with AsyncClient("openai-chat:gpt-4o", **settings) as client:
            calls = []
            for number, name in enumerate(seen, 1):
                calls.append(asyncio.ensure_future(ask(name)))
                await server.wait_requests_async(number)
            skip(31)
            await asyncio.gather(*calls)

    with ScriptedServer([STUCK, STUCK, GOOD, GOOD]) as server:
        shifted(main(server))
        keys = [each.header("authorization") or "" for each in server.requests]
    assert seen == {name: [name] * 2 for name in seen}
    assert sorted(keys) == sorted([f"Bearer {name}" for name in seen] * 2)


def test_a_fallback_is_that_of_the_first_only() -> None:
    found, seen = run(
        [STUCK, DOWN],
        (requests(1), later(31)),
        ((lambda _, sending: sending._lost), later(31)),
        how="stream",
        fallback=["openai-chat:other"],
        timeouts=A_MINUTE,
    )
    assert [request.json()["model"] for request in seen] == ["gpt-4o"] * 2 and found.clock == "total"


def test_over_a_websocket() -> None:
    """The second request is one of its own, and the next turn continues the answer that was taken."""
    stuck = {"left": 1}

    def fault(connection: int, job: Any, event: dict[str, Any]) -> Any:
        if stuck["left"]:
            stuck["left"] -= 1
            return [Stall()]
        return None

    async def main(server: ScriptedSocket) -> Any:
        settings: Any = {"base_url": server.base_url, "api_key": "k", "hedge": AT_ONCE}
        async with AsyncClient("openai-responses-ws:m", **settings) as client:
            conversation = client.conversation()
            first = await conversation.chat("Hi")
            return first, await conversation.chat("And?", hedge=Hedge(9))

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        first, second = asyncio.run(main(server))
    assert [each.is_cancelled for each in first.attempts] == [True] and first.text
    assert second.report.continuation.parent == first.id and not second.attempts


@pytest.mark.parametrize(
    "wrong", [{"after": -1}, {"after": float("nan")}, {"after": 1, "share": 0}, {"after": 1, "share": 1.5}]
)
def test_numbers_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Hedge\.(after|share)"):
        Hedge(**wrong)


def test_a_provider_that_does_not_exist_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match="hedge: "):
        run([], hedge=Hedge(1, "nobody:m"))


@pytest.mark.parametrize("model", ["groq:m", "openai-chat:gpt-6-astra"], ids=["no key", "takes no tools"])
def test_a_second_that_cannot_be_planned_leaves_the_first_alone(
    model: str, caplog: pytest.LogCaptureFixture
) -> None:
    hedge, args = Hedge(30, model, share=1), {"tools": [Tool("f", "", {})]}
    found, seen = run([STUCK], *OVER, hedge=hedge, args=args, timeouts=A_MINUTE)
    assert (found.clock, len(seen), len(found.attempts)) == ("total", 1, 1) and not caplog.records
