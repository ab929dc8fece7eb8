"""Budgets against scripted servers: nothing is sent beyond one, and what was sent is counted as it was used."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Budget,
    BudgetExceededError,
    ConfigError,
    Limits,
    OpenAIResponsesOptions,
    ProviderConfig,
    ProviderError,
    RequestTimeout,
    Retry,
    Timeouts,
)
from brainwires_provider._core import admission
from brainwires_provider._core.counting import at_most, measured
from brainwires_provider.providers import prices
from brainwires_provider.testing import (
    Answer,
    Drop,
    Failure,
    FakeProvider,
    Gate,
    RecordedRequest,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    assistant,
    sse,
)
from chat_answers import chunk
from waits import noted

USAGE = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
WHOLE = Answer(body=json.dumps({"id": "c", "model": "gpt-4o", "choices": [CHOICE], "usage": USAGE}).encode())
STREAM = Answer(body=[sse(chunk({"content": "Hello"}), chunk({}, "stop", usage=USAGE))])
CUT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])
CUT_USED = Answer(
    body=[
        sse(chunk({"reasoning_content": "Hm."}), {"id": "c", "choices": [], "usage": USAGE}, done=False),
        Drop(),
    ]
)
BUSY = Answer(429, {}, b'{"error": {"message": "slow down"}}')
OVERLOADED: dict[str, Any] = {"error": {"message": "overloaded", "code": "overloaded"}}
REFUSED_LATE = Answer(body=[sse(OVERLOADED, done=False)])
FAILED = Answer(body=json.dumps({**OVERLOADED, "id": "c", "choices": [CHOICE]}).encode())
FAILED_USED = Answer(body=json.dumps({**OVERLOADED, "id": "c", "choices": [CHOICE], "usage": USAGE}).encode())


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server on loopback has the prices of OpenAI's address."""
    real = prices.service_at
    monkeypatch.setattr(prices, "service_at", lambda _: real("https://api.openai.com/v1"))


def asking(url: str, budget: Budget, **settings: Any) -> AsyncClient:
    return AsyncClient("openai-chat:gpt-4o", base_url=url, api_key="k", budget=budget, **settings)


def account(client: AsyncClient) -> Any:
    session: Any = client._session
    return session._ledger.account


async def tried(call: Any) -> Any:
    try:
        return await call
    except ProviderError as error:
        return error


# A request "Hi" with max_tokens=100 reserves 100 tokens of output, and of input:
INPUT = 8 * 7 + len("gpt-4o" + "user" + "Hi")
# name: the answers, streamed or whole, the settings: the tokens that are spent
CASES: dict[str, tuple[list[Answer], bool, dict[str, Any], int]] = {
    "whole": ([WHOLE], False, {}, 50),
    "a stream": ([STREAM], True, {}, 50),
    "refused": ([Answer(400)], False, {}, 0),
    "retried": ([BUSY, STREAM], True, {}, 50),
    "refused in a stream": ([REFUSED_LATE, STREAM], True, {}, 50),
    "refused in a stream each time": ([REFUSED_LATE] * 3, True, {}, 0),
    "refused in a body": ([Answer(body=json.dumps(OVERLOADED).encode()), WHOLE], False, {}, 50),
    "an answer that failed, with its usage": ([FAILED_USED, WHOLE], False, {}, 100),
    "one that failed, without usage": ([FAILED, WHOLE], False, {}, INPUT + 100 + 50),
    "an attempt that was cut after its usage": ([CUT_USED, STREAM], True, {}, 100),
    "cut, without usage": ([CUT], True, {}, INPUT + 3 * 8 + 100),  # `stream` and its options too
    "reset before an answer, twice": ([Answer(drop=True)] * 2, False, {"retry": Retry(2)}, 2 * (INPUT + 100)),
    "no answer in time": (
        [Answer(stall_before_headers=True)],
        False,
        {"timeouts": Timeouts(total=0.2)},
        INPUT + 100,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_spent_after_a_call(name: str) -> None:
    answers, stream, settings, spent = CASES[name]

    async def main(url: str) -> Any:
        async with asking(url, Budget(tokens=100_000), **settings) as client:
            noted(client)
            call = (
                client.stream("Hi", max_tokens=100).collect() if stream else client.chat("Hi", max_tokens=100)
            )
            await tried(call)
            return account(client)

    with ScriptedServer(answers) as server:
        found = asyncio.run(main(server.url))
    assert found.reserved_tokens == 0
    assert found.tokens == spent


def test_a_total_alone_is_no_price(priced: None) -> None:
    usage = {"total_tokens": 50}
    body = json.dumps({"id": "c", "model": "gpt-4o", "choices": [CHOICE], "usage": usage}).encode()

    async def main(url: str) -> Any:
        async with asking(url, Budget(usd=1, tokens=100_000)) as client:
            return await client.chat("Hi", max_tokens=100), account(client)

    with ScriptedServer([Answer(body=body)]) as server:
        response, found = asyncio.run(main(server.url))
    assert not response.cost.complete and found.tokens == 50
    assert found.usd > Decimal("0.001")  # as reserved: 100 tokens of output are $0.001


@pytest.mark.parametrize("model", ["openai-responses-ws:m", "openai-responses:m"])
def test_what_is_refused_costs_nothing_over_a_websocket_either(model: str) -> None:
    outcomes: list[Any] = [Failure("rate_limit_exceeded", "Slow down.", 429)] * 2 + [[assistant("Hello")]]

    async def main(url: str) -> Any:
        settings: Any = {"budget": Budget(tokens=100_000), "limits": Limits(rpm=9, tpm=100_000)}
        async with AsyncClient(model, base_url=url, api_key="k", **settings) as client:
            noted(client)
            response = await client.chat("Hi", max_tokens=500)
            assert [each.status for each in response.attempts] == [429, 429]
            return response.usage.total_tokens, client.stats()

    with ScriptedSocket(ResponsesService(lambda *_: outcomes.pop(0))) as server:
        total, stats = asyncio.run(main(server.base_url))
    assert stats.spent_tokens == total and [each.used for each in stats.limits] == [3, total]


# name: the first model's answer, how many others have no key, and what is spent: of the first alone
PASSED: dict[str, tuple[Answer, int, int]] = {
    "refused": (BUSY, 1, 0),
    "refused, two": (BUSY, 2, 0),
    "reset": (Answer(drop=True), 1, INPUT + 3 * 8 + 100),
    "reset, two": (Answer(drop=True), 2, INPUT + 3 * 8 + 100),
    "cut after its usage": (CUT_USED, 1, 50),
    "cut after its usage, two": (CUT_USED, 2, 50),
}


@pytest.mark.parametrize("name", PASSED)
def test_a_model_that_nothing_was_sent_to_costs_nothing(name: str) -> None:
    answer, others, spent = PASSED[name]

    def key() -> str:
        raise ConfigError("no key")

    async def main(url: str) -> Any:
        own = ProviderConfig("groq", base_url=url, api_key=key)
        settings: Any = {"fallback": [f"groq:m{n}" for n in range(others)], "retry": Retry(1)}
        settings |= {"providers": [own], "limits": Limits(rpm=9)}
        async with asking(url, Budget(tokens=100_000), **settings) as client:
            error = await tried(client.stream("Hi", max_tokens=100).collect())
            assert len(error.attempts) == 1 + others
            used = {(each.model, each.kind): each.used for each in client.stats().limits}
            return account(client), used

    with ScriptedServer([answer]) as server:
        found, used = asyncio.run(main(server.url))
    assert (found.tokens, found.reserved_tokens) == (spent, 0)
    assert used == {("gpt-4o", "requests"): 1} | {(f"m{n}", "requests"): 0 for n in range(others)}


def test_what_a_request_used_beyond_its_bound_is_counted_and_the_next_is_refused() -> None:
    """Of a history that the provider keeps, for example, a bound knows nothing."""
    used = {"prompt_tokens": 4_000, "completion_tokens": 10, "total_tokens": 4_010}
    body = {"id": "c", "model": "gpt-4o", "choices": [CHOICE], "usage": used}

    async def main(url: str) -> None:
        async with asking(url, Budget(tokens=1_000)) as client:
            await client.chat("Hi", max_tokens=100, extra_body={"previous_response_id": "r-1"})
            assert account(client).tokens == 4_010
            with pytest.raises(BudgetExceededError, match="4010 spent"):
                await client.chat("Hi", max_tokens=1)

    with ScriptedServer([Answer(body=json.dumps(body).encode())]) as server:
        asyncio.run(main(server.url))


def test_a_hundred_calls_with_money_for_ten(priced: None) -> None:
    """All at once: as many are sent as could be paid at most, and the dollars are those of the answers."""
    gate = Gate()

    async def main(url: str) -> tuple[list[Any], Any]:
        async with asking(url, Budget(usd=Decimal("0.012")), max_connections=200) as client:
            asked = [asyncio.create_task(tried(client.chat("Hi", max_tokens=100))) for _ in range(100)]
            async with asyncio.timeout(20):
                while sum(task.done() for task in asked) < 90 or len(server.requests) < 10:
                    await asyncio.sleep(0.01)
            server.open(gate)
            return await asyncio.gather(*asked), account(client)

    def serve(_: RecordedRequest) -> Answer:
        return Answer(body=WHOLE.body, before=[gate])

    with ScriptedServer(serve) as server:
        found, spent = asyncio.run(main(server.url))
        sent = len(server.requests)
    # 100 tokens of output at 10 $, and of input at 2.50 $, a million
    most = (Decimal(100) * 10 + Decimal(INPUT) * Decimal("2.5")) / 1_000_000
    assert sent == int(Decimal("0.012") / most) == 10
    assert sum(isinstance(each, BudgetExceededError) for each in found) == 90
    assert spent.usd == 10 * (Decimal(40) * Decimal("2.5") + Decimal(10) * 10) / 1_000_000
    assert spent.reserved_usd == 0


def test_the_dollars_of_a_failed_attempt_are_counted_once(priced: None) -> None:
    """With its own attempt, and not again with the answer, whose cost names them too."""

    async def main(url: str) -> Any:
        async with asking(url, Budget(usd=1), retry=Retry(attempts=2, base=0)) as client:
            noted(client)
            await client.stream("Hi", max_tokens=100).collect()
            return account(client)

    used = {"model": "gpt-4o", "usage": USAGE}
    cut = Answer(body=[sse(chunk({"reasoning_content": "Hm."}, **used), done=False), Drop()])
    whole = Answer(body=[sse(chunk({"content": "Hello"}, "stop", **used))])
    with ScriptedServer([cut, whole]) as server:
        spent = asyncio.run(main(server.url))
    assert spent.usd == 2 * (Decimal(40) * Decimal("2.5") + Decimal(10) * 10) / 1_000_000


def test_a_model_without_a_price_is_refused_unless_allowed() -> None:
    async def main(url: str) -> list[Any]:
        async with asking(url, Budget(usd=1)) as client:
            refused = await tried(client.chat("Hi"))
            return [refused, await client.chat("Hi", budget=Budget(usd=1, unpriced="allow"))]

    with ScriptedServer([WHOLE]) as server:  # on loopback, where nothing has a price
        refused, allowed = asyncio.run(main(server.url))
        assert len(server.requests) == 1
    assert isinstance(refused, ConfigError) and "unpriced" in str(refused) and refused.attempts == ()
    assert allowed.text == "Hello" and allowed.cost is None


def test_the_scopes_that_only_calls_name_are_in_the_stats() -> None:
    async def main(url: str) -> Any:
        async with asking(url, Budget(tokens=90_000)) as client:
            await client.chat("Hi", budget=Budget(tokens=90_000, scope="test-of-a-call"))
            await client.chat("Hi", budget=Budget(tokens=50_000, scope="test-of-a-call"))
            await client.chat("Hi", budget=Budget(tokens=90_000, scope="test-another"))
            return client.stats()

    with ScriptedServer([WHOLE] * 3) as server:
        stats = asyncio.run(main(server.url))
    assert {each.scope: each.spent_tokens for each in stats.budgets} == {
        "test-of-a-call": 100,
        "test-another": 50,
    }
    assert stats.spent_tokens == 0 and all(each.reserved_tokens == 0 for each in stats.budgets)


def test_a_named_scope_is_spent_by_all_clients() -> None:
    async def main(url: str) -> list[Any]:
        shared = Budget(tokens=INPUT + 100 + 49, scope="test-shared")
        async with asking(url, shared) as first, asking(url, shared) as second:
            found = [await tried(client.chat("Hi", max_tokens=100)) for client in (first, second, second)]
            return [*found, first.stats(), second.stats()]

    with ScriptedServer([WHOLE, WHOLE]) as server:
        found = asyncio.run(main(server.url))
    assert [stats.spent_tokens for stats in found[3:]] == [50, 50]
    assert found[0].text == "Hello" and isinstance(found[1], BudgetExceededError)
    assert isinstance(found[2], BudgetExceededError)


def test_a_wait_for_a_place_that_is_left_gives_everything_back() -> None:
    async def main(url: str) -> Any:
        async with asking(url, Budget(tokens=10_000), limits=Limits(rpm=1)) as client:
            await client.chat("Hi", max_tokens=100)
            asked = asyncio.create_task(client.chat("Hi", max_tokens=100))
            await asyncio.sleep(0.05)
            assert account(client).reserved_tokens == INPUT + 100
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return account(client)

    with ScriptedServer([WHOLE]) as server:
        found = asyncio.run(main(server.url))
    assert (found.tokens, found.reserved_tokens) == (50, 0)


# -- calls that are no chat, looks at stored answers, and what was never sent --------------------------------

EMBEDDED = {"data": [{"index": 0, "embedding": [0.1]}], "model": "m"}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-4o",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 30, "output_tokens": 5, "total_tokens": 35},
}
OTHER = RESPONSE | {"id": "resp_2"}
PENDING = RESPONSE | {"status": "queued", "output": [], "usage": None}
BACKGROUND = {"provider_options": OpenAIResponsesOptions(background=True)}

# name: the model, what the server answers, the calls; what is spent, what counts in the minute's window of tokens
NO_CHATS: dict[str, tuple[str, list[Any], list[Any], int, int]] = {
    "embeddings": (
        "openai-chat:text-embedding-3-small",
        [EMBEDDED | {"usage": {"prompt_tokens": 3, "total_tokens": 3}}],
        [lambda client: client.embed("hi")],
        3,
        3,
    ),
    "embeddings without usage": (  # as reserved: their input alone
        "openai-chat:text-embedding-3-small",
        [EMBEDDED],
        [lambda client: client.embed("hi")],
        8 * 5 + len("text-embedding-3-small" + "hi" + "base64"),
        8,
    ),
    "a list of models": (
        "openai-chat:gpt-4o",
        [{"data": [{"id": "gpt-4o"}]}],
        [lambda client: client.models()],
        0,
        0,
    ),
    "counted tokens": (
        "anthropic:claude-sonnet-4-5",
        [{"input_tokens": 5}],
        [lambda client: client.count_tokens("hi")],
        0,
        0,
    ),
    "a deleted answer": (
        "openai-responses:gpt-4o",
        [{"id": "resp_1", "deleted": True}],
        [lambda client: client.responses.delete("resp_1")],
        0,
        0,
    ),
    "an answer of somewhere else, looked at twice": (
        "openai-responses:gpt-4o",
        [RESPONSE, RESPONSE],
        [lambda client: client.responses.retrieve("resp_1")] * 2,
        35,
        35,
    ),
    "an answer of this client, looked at": (
        "openai-responses:gpt-4o",
        [RESPONSE, RESPONSE],
        [lambda client: client.chat("Hi"), lambda client: client.responses.retrieve("resp_1")],
        35,
        35,
    ),
    "a background answer, looked at": (  # the reservation is replaced when the usage is known
        "openai-responses:gpt-4o",
        [PENDING, PENDING, RESPONSE, RESPONSE],
        [
            lambda client: client.chat("Hi", max_tokens=100, **BACKGROUND),
            *[lambda client: client.responses.retrieve("resp_1")] * 3,
        ],
        35,
        104,  # the window keeps what was reserved
    ),
    "one of two answers, looked at again": (  # the last is known still
        "openai-responses:gpt-4o",
        [RESPONSE, OTHER, OTHER],
        [lambda client: client.responses.retrieve("resp_1")] * 3,
        70,
        70,
    ),
    "an answer that was forgotten meanwhile": (  # of all that were counted, one is known here
        "openai-responses:gpt-4o",
        [RESPONSE, OTHER, RESPONSE],
        [lambda client: client.responses.retrieve("resp_1")] * 3,
        105,
        105,
    ),
}


@pytest.mark.parametrize("name", NO_CHATS)
def test_what_is_counted_of_calls_that_are_no_chat(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_MOST_COUNTED", 1)
    model, answers, calls, spent, counted = NO_CHATS[name]
    bodies = iter([json.dumps(each).encode() for each in answers])

    async def main() -> Any:
        settings: Any = {"budget": Budget(tokens=1_000_000, usd=5), "limits": Limits(tpm=1_000_000)}
        transport = FakeProvider(
            lambda _: Answer(headers={"content-type": "application/json"}, body=next(bodies))
        )
        async with AsyncClient(model, api_key="k", transport=transport, **settings) as client:
            for call in calls:
                await call(client)
            return client.stats()

    stats = asyncio.run(main())
    assert (stats.spent_tokens, stats.limits[0].used) == (spent, counted)
    assert stats.reserved_tokens == stats.reserved_usd == stats.running == 0
    assert (stats.spent_usd > 0) is (spent > 0) and stats.spent_usd < Decimal("0.001")


def test_embeddings_cost_what_the_model_costs_that_has_made_them() -> None:
    """Under another name than it was asked by: text-embedding-3-small costs 0.02 $ a million."""
    used = {"prompt_tokens": 500, "total_tokens": 500}
    body = EMBEDDED | {"usage": used, "model": "text-embedding-3-small"}
    transport = FakeProvider(
        Answer(headers={"content-type": "application/json"}, body=json.dumps(body).encode())
    )

    async def main() -> Any:
        budget = Budget(usd=1, unpriced="allow")
        async with AsyncClient("openai-chat:ours", api_key="k", transport=transport, budget=budget) as client:
            await client.embed("hi")
            return client.stats()

    stats = asyncio.run(main())
    assert (stats.spent_usd, stats.spent_tokens) == (Decimal("0.00001"), 500)


@pytest.mark.parametrize("budget", [Budget(usd=0), Budget(tokens=INPUT + 16_384 + 50)])
def test_what_costs_nothing_is_done_whatever_is_left(budget: Budget) -> None:
    """Of an empty budget, and of one that an answer has used more of than there was."""
    used = USAGE | {"prompt_tokens": 90_000, "total_tokens": 90_010}
    more = Answer(body=json.dumps({"id": "c", "choices": [CHOICE], "usage": used}).encode())
    models = Answer(body=b'{"data": [{"id": "m"}]}')

    async def main() -> Any:
        transport = FakeProvider([more, models] if budget.tokens else models)
        async with AsyncClient("openai-chat:m", api_key="k", transport=transport, budget=budget) as client:
            if budget.tokens:
                await client.chat("Hi")
                assert isinstance(await tried(client.chat("Hi")), BudgetExceededError)
            return await client.models()

    assert [model.id for model in asyncio.run(main())] == ["m"]


# the tier that is asked for: how often the usual price of a token it costs
TIERS: dict[str | None, Decimal] = {None: Decimal(1), "priority": Decimal(2), "flex": Decimal("0.5")}


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_reserved_in_dollars_is_the_most_at_the_tier_that_is_asked_for(tier: str | None) -> None:
    """Of gpt-5, whose input costs 1.25 $ and whose output 10 $ a million; and as many tokens beside it."""
    reserved: list[Any] = []

    def answer(request: RecordedRequest) -> Answer:
        reserved.append((client.stats(), at_most(measured(request.json()))))
        return WHOLE

    budget = Budget(usd=9, tokens=90_000)
    client = AsyncClient("openai-chat:gpt-5", api_key="k", transport=FakeProvider(answer), budget=budget)
    asyncio.run(client.chat("Hi", max_tokens=100, extra_body={"service_tier": tier} if tier else {}))
    ((stats, (input, output)),) = reserved
    assert output == 100 and stats.reserved_tokens == input + output
    dollars = (Decimal(input) * Decimal("1.25") + Decimal(output) * 10) / 1_000_000
    assert stats.reserved_usd == dollars * TIERS[tier]


def broken_key() -> str:
    raise RuntimeError("the vault is closed")


async def slow_key() -> str:
    await asyncio.sleep(60)
    return "k"


@pytest.mark.parametrize("provider", ["openai-chat", "openai-responses-ws"])
@pytest.mark.parametrize(
    ("key", "leave", "error"),
    [
        (broken_key, False, RuntimeError),
        (slow_key, False, RequestTimeout),
        (slow_key, True, asyncio.CancelledError),
    ],
    ids=["a key that fails", "a key that is slow", "cancelled before the key"],
)
def test_what_was_not_sent_is_not_counted(provider: str, key: Any, leave: bool, error: Any) -> None:
    async def main() -> Any:
        settings: Any = {"budget": Budget(tokens=1_000_000), "limits": Limits(rpm=10), "retry": Retry(1)}
        settings["timeouts"] = Timeouts(total=0.1 if error is RequestTimeout else 5)
        url = "http://localhost:9/v1"
        async with AsyncClient(f"{provider}:m", api_key=key, base_url=url, **settings) as client:
            call = asyncio.create_task(client.chat("Hi"))
            if leave:
                await asyncio.sleep(0.02)
                call.cancel()
            (found,) = await asyncio.gather(call, return_exceptions=True)
            return found, client.stats()

    found, stats = asyncio.run(main())
    assert isinstance(found, error)
    assert (stats.spent_tokens, stats.reserved_tokens, stats.limits[0].used, stats.running) == (0, 0, 0, 0)
