"""Another attempt after a failed one, against scripted servers: how many requests are sent, and what is reported."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    AsyncClient,
    Client,
    ConfigError,
    OpenAIResponsesOptions,
    OverloadedError,
    ProviderConfig,
    ProviderError,
    RateLimitError,
    ReasoningDelta,
    RequestTimeout,
    ResponseRestart,
    ResponseStart,
    Retry,
    ServerError,
    StreamInterrupted,
    TextDelta,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Answer,
    CloseFrame,
    Drop,
    RecordedRequest,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    Stall,
    assistant,
    cut,
    reasoning,
    refuse,
    sse,
)
from chat_answers import TEXT, WHOLE, chunk
from socket_clients import answer, refusal
from waits import noted

BUSY = Answer(
    429, {"x-request-id": "req-1"}, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'
)
DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
FAILED = Answer(500, {}, b'{"error": {"message": "burnt sk-secret"}}')
FULL = Answer(429, {}, b'{"error": {"message": "pay first", "code": "insufficient_quota"}}')
WRONG = Answer(400, {}, b'{"error": {"message": "no such field"}}')
GOOD = Answer(body=WHOLE)
STREAM = Answer(body=[TEXT])
THOUGHT = chunk({"reasoning_content": "Hm."})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CUT_THOUGHT = Answer(body=[sse(THOUGHT, {"id": "c1", "choices": [], "usage": USAGE}, done=False), Drop()])
CUT_TEXT = Answer(body=[sse(THOUGHT, chunk({"content": "Hel"}), done=False), Drop()])
CUT_START = Answer(body=[sse(chunk({"role": "assistant", "content": ""}), done=False), Drop()])
CUT_CALL = Answer(
    body=[
        sse(
            chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}]}),
            done=False,
        ),
        Drop(),
    ]
)
LATE_ERROR = Answer(
    body=[sse(THOUGHT, {"error": {"message": "overloaded", "code": "overloaded"}}, done=False)]
)


def asking(url: str, **settings: Any) -> AsyncClient:
    return AsyncClient("openai-chat:m", base_url=url, api_key="sk-secret", **settings)


async def outcome(client: AsyncClient, stream: bool, **args: Any) -> Any:
    """The response, or the error."""
    try:
        return await (client.stream("Hi", **args).collect() if stream else client.chat("Hi", **args))
    except ProviderError as error:
        return error


def run(
    answers: Any, *, stream: bool = False, fraction: float = 0.5, **args: Any
) -> tuple[Any, list[float], int]:
    """What became of one call, what was waited, and how many requests the server saw."""

    async def main(url: str) -> tuple[Any, list[float]]:
        async with asking(url) as client:
            waits = noted(client, fraction)
            return await outcome(client, stream, **args), waits.slept

    with ScriptedServer(answers) as server:
        found, slept = asyncio.run(main(server.url))
        return found, slept, len(server.requests)


# name: the answers, streamed or whole, the keywords: the text or the error, the waits (half of each bound)
CASES: dict[str, tuple[list[Answer], bool, dict[str, Any], Any, list[float]]] = {
    "no failure": ([GOOD], False, {}, "Hello", []),
    "once": ([BUSY, GOOD], False, {}, "Hello", [0.25]),
    "twice": ([BUSY, DOWN, GOOD], False, {}, "Hello", [0.25, 0.5]),
    "three times": ([BUSY, DOWN, FAILED, GOOD], False, {}, ServerError, [0.25, 0.5]),
    "off": ([BUSY, GOOD], False, {"retry": Retry(attempts=1)}, RateLimitError, []),
    "more": ([DOWN] * 4 + [GOOD], False, {"retry": Retry(5, base=0)}, "Hello", [0.0] * 4),
    "a used-up quota": ([FULL, GOOD], False, {}, RateLimitError, []),
    "a wrong request": ([WRONG, GOOD], False, {}, APIError, []),
    "seconds": ([Answer(429, {"retry-after": "3"}), GOOD], False, {}, "Hello", [3.25]),
    "milliseconds": ([Answer(429, {"retry-after-ms": "1500"}), GOOD], False, {}, "Hello", [1.75]),
    "in the body": (
        [Answer(429, {}, b'{"error": {"message": "Please try again in 2.5s."}}'), GOOD],
        False,
        {},
        "Hello",
        [2.75],
    ),
    "longer than allowed": ([Answer(429, {"retry-after": "121"}), GOOD], False, {}, RateLimitError, []),
    "longer than the deadline": (
        [Answer(429, {"retry-after": "30"}), GOOD],
        False,
        {"timeouts": Timeouts(total=20)},
        RateLimitError,
        [],
    ),
    "the server says no": ([Answer(503, {"x-should-retry": "false"}), GOOD], False, {}, OverloadedError, []),
    "the server says yes": ([Answer(409, {"x-should-retry": "true"}), GOOD], False, {}, "Hello", [0.25]),
    "a connection that was reset": ([Answer(drop=True), GOOD], False, {}, "Hello", [0.25]),
    "half a body": ([cut(GOOD, 40, "rst"), GOOD], False, {}, "Hello", [0.25]),
    "a stream that is refused": ([BUSY, STREAM], True, {}, "Hello", [0.25]),
    "a stream of nothing but its start": ([CUT_START, STREAM], True, {}, "Hello", [0.25]),
    "a stream of reasoning": ([CUT_THOUGHT, STREAM], True, {}, "Hello", [0.25]),
    "an error after reasoning": ([LATE_ERROR, STREAM], True, {}, "Hello", [0.25]),
    "reasoning, then refused": ([CUT_THOUGHT, BUSY, STREAM], True, {}, "Hello", [0.25, 0.5]),
    "reasoning each time": ([CUT_THOUGHT] * 3, True, {}, StreamInterrupted, [0.25, 0.5]),
    "a stream with text": ([CUT_TEXT, STREAM], True, {}, StreamInterrupted, []),
    "a stream with a call": ([CUT_CALL, STREAM], True, {}, StreamInterrupted, []),
    "a silent stream": (
        [Answer(stall_before_headers=True), STREAM],
        True,
        {"timeouts": Timeouts(first_event=0.15)},
        "Hello",
        [0.25],
    ),
    "silence after reasoning": (
        [Answer(body=[sse(THOUGHT, done=False), Stall()]), STREAM],
        True,
        {"timeouts": Timeouts(idle=0.15)},
        "Hello",
        [0.25],
    ),
    "an attempt that takes too long": (
        [Answer(stall_before_headers=True), GOOD],
        False,
        {"timeouts": Timeouts(attempt=0.15)},
        "Hello",
        [0.25],
    ),
    "a call that takes too long": (
        [Answer(stall_before_headers=True), GOOD],
        False,
        {"timeouts": Timeouts(total=0.15)},
        RequestTimeout,
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_how_a_call_ends(name: str) -> None:
    answers, stream, args, expected, waits = CASES[name]
    found, slept, requests = run(answers, stream=stream, **args)

    assert slept == pytest.approx(waits)
    assert requests == len(waits) + 1
    if isinstance(expected, str):
        assert found.text == expected and len(found.attempts) == len(waits)
        assert [attempt.delay for attempt in found.attempts] == pytest.approx(waits)
    else:
        assert isinstance(found, expected)
        assert len(found.attempts) == requests and found.attempts[-1].delay is None
        partial = getattr(found, "partial", None)
        assert partial is None or len(partial.attempts) == len(waits)
    assert "sk-secret" not in repr(found) + repr(found.attempts)


def google_quota(*ids: str) -> Answer:
    violations = [{"quotaId": each} for each in ids]
    details = [
        {"@type": "…QuotaFailure", "violations": violations},
        {"@type": "…RetryInfo", "retryDelay": "3s"},
    ]
    error = {"code": 429, "message": "exceeded", "status": "RESOURCE_EXHAUSTED", "details": details}
    return Answer(429, {}, json.dumps({"error": error}).encode())


def limited(message: str, code: Any = "rate_limit_exceeded", retry_after: str = "1") -> Answer:
    body = {"error": {"message": message, "code": code}}
    return Answer(429, {"retry-after": retry_after}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("model", "quota", "requests"),
    [
        ("openrouter:m", limited("Rate limit exceeded: free-models-per-day. Add 10 credits to …", 429), 1),
        ("openrouter:m", limited("Rate limit exceeded: free-models-per-day-high-balance.", 429), 1),
        (
            "openrouter:m",
            limited("Rate limit exceeded: free-models-per-min. 1000 free model requests per day", 429),
            3,
        ),
        ("cerebras:m", limited("Requests per day limit exceeded - too many", "request_quota_exceeded"), 1),
        ("cerebras:m", limited("Tokens per day limit exceeded - too many", "token_quota_exceeded"), 1),
        ("cerebras:m", limited("Requests per minute limit exceeded - too", "request_quota_exceeded"), 3),
        ("openai-chat:m", limited("… on requests per day (RPD): Limit 200, Used 200, Requested 1."), 1),
        ("openai-chat:m", limited("… on requests per min (RPM): Limit 3, Used 3, Requested 1."), 3),
        ("groq:m", limited("… on tokens per day (TPD): Limit 100000, Used 97050, Requested 3619."), 1),
        ("openai-chat:m", limited("Too many tokens per day, please wait before trying again."), 1),
        ("openai-chat:m", limited("Number of request tokens has exceeded your daily rate limit"), 1),
        ("openai-chat:m", FULL, 1),
        ("google:m", google_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), 1),
        (
            "google:m",
            google_quota("GenerateRequestsPerMinutePerProjectPerModel", "GenerateRequestsPerDay"),
            1,
        ),
        ("google:m", google_quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), 3),
    ],
)
def test_a_quota_that_is_used_up_for_long_is_asked_for_once(model: str, quota: Answer, requests: int) -> None:
    """That of a day too, in spite of the few seconds that a provider asks to wait."""

    async def main(url: str) -> Any:
        config = ProviderConfig(model.partition(":")[0], base_url=url, api_key="k")
        async with AsyncClient(model, providers=[config]) as client:
            noted(client)
            return await outcome(client, stream=False)

    with ScriptedServer(quota) as server:
        error = asyncio.run(main(server.url))
        assert len(server.requests) == requests
    assert isinstance(error, RateLimitError) and error.retryable is (requests > 1)


def test_what_is_reported_of_an_attempt() -> None:
    found, _, _ = run([BUSY, CUT_THOUGHT, STREAM], stream=True)
    refused, cut = found.attempts

    assert (refused.status, refused.request_id, refused.usage) == (429, "req-1", None)
    assert refused.error == "slow down"
    assert cut.status is None and "lost" in cut.error and cut.usage.total_tokens == 5
    assert [part.text for part in cut.superseded] == ["Hm."] and refused.superseded == ()


@pytest.mark.parametrize("cut", [CUT_THOUGHT, LATE_ERROR], ids=["cut", "error"])
def test_reasoning_that_is_superseded_is_reported_to_who_iterates(cut: Answer) -> None:
    async def main(url: str) -> tuple[list[Any], Any]:
        async with asking(url) as client, client.stream("Hi") as stream:
            noted(client)
            events = [event async for event in stream]
            return events, stream.response

    with ScriptedServer([cut, DOWN, STREAM]) as server:
        events, response = asyncio.run(main(server.url))
    kinds = [type(event) for event in events]

    assert kinds.count(ResponseStart) == 2
    restart = kinds.index(ResponseRestart)
    assert ReasoningDelta in kinds[:restart] and TextDelta in kinds[restart:]
    assert [part.text for part in events[restart].attempt.superseded] == ["Hm."]
    assert response.text == "Hello" and response.reasoning == "" and len(response.attempts) == 2


def test_both_faces_restart_alike() -> None:
    with (
        ScriptedServer([CUT_THOUGHT, STREAM]) as server,
        Client("openai-chat:m", base_url=server.url, api_key="k", retry=Retry(base=0)) as client,
    ):
        kinds = [type(event) for event in client.stream("Hi")]
    assert kinds.count(ResponseRestart) == 1 and kinds[-1].__name__ == "ResponseEnd"


def test_a_date_is_waited_for() -> None:
    from email.utils import formatdate

    found, (slept,), _ = run([Answer(429, {"retry-after": formatdate(time.time() + 5, usegmt=True)}), GOOD])

    assert found.text == "Hello" and 3.5 < slept < 5.5


@pytest.mark.parametrize("ahead", [-86_400, -60, 0, 600])
def test_a_date_is_by_the_clock_of_its_server(ahead: float) -> None:
    from email.utils import formatdate

    now = time.time() + ahead
    headers = {"date": formatdate(now, usegmt=True), "retry-after": formatdate(now + 2, usegmt=True)}
    found, slept, _ = run([Answer(429, headers), GOOD])

    assert found.text == "Hello" and slept == [2.25]


@pytest.mark.parametrize("stream", [False, True])
def test_closing_while_a_retry_is_waited_for_loses_no_attempt(stream: bool) -> None:
    async def main(server: ScriptedServer) -> Any:
        client = asking(server.url)
        call = asyncio.ensure_future(outcome(client, stream))
        session: Any = client._session
        async with asyncio.timeout(10):
            while not session.waits._futures:
                await asyncio.sleep(0.005)
            await client.aclose()
            return await call

    slow = Answer(429, {"retry-after": "30", "x-request-id": "req-1"}, BUSY.body)
    with ScriptedServer([slow]) as server:
        error = asyncio.run(main(server))
        assert len(server.requests) == 1
    (failed,) = error.attempts
    assert isinstance(error, ConfigError) and (failed.status, failed.request_id) == (429, "req-1")


def test_a_call_that_is_no_chat() -> None:
    async def main(url: str) -> tuple[list[Any], list[float]]:
        async with asking(url) as client:
            waits = noted(client)
            return await client.models(), waits.slept

    with ScriptedServer([BUSY, Answer(body=b'{"data": [{"id": "m1"}]}')]) as server:
        models, slept = asyncio.run(main(server.url))
    assert [model.id for model in models] == ["m1"] and slept == [0.25]


def test_a_stored_answer_is_not_asked_for_twice() -> None:
    async def main(url: str) -> Any:
        async with AsyncClient("openai-responses:m", base_url=url, api_key="k") as client:
            noted(client)
            background = OpenAIResponsesOptions(background=True)
            return await outcome(client, stream=False, provider_options=background)

    for broken, requests in ((Answer(drop=True), 1), (Answer(502), 1), (BUSY, 3)):
        with ScriptedServer(lambda _, broken=broken: broken) as server:
            assert isinstance(asyncio.run(main(server.url)), ProviderError)
            assert len(server.requests) == requests


def test_a_dead_reused_connection_is_an_attempt_of_the_list() -> None:
    """The transport's own second try, and then the policy's: one list."""

    async def main(url: str) -> Any:
        async with asking(url) as client:
            noted(client)
            await client.chat("Hi")
            return await client.chat("Hi")

    stale = Answer(429, {}, BUSY.body, drop_if_reused=True)
    with ScriptedServer([GOOD, stale, GOOD]) as server:
        found = asyncio.run(main(server.url))
    assert [attempt.status for attempt in found.attempts] == [None, 429]
    assert "reused connection had died" in found.attempts[0].error


def test_nothing_listens() -> None:
    with refuse() as port:
        found, slept = asyncio.run(_to_port(port))
    assert len(slept) == 2 and len(found.attempts) == 3 and isinstance(found, ConnectionError)


async def _to_port(port: int) -> tuple[Any, list[float]]:
    async with asking(f"http://127.0.0.1:{port}") as client:
        waits = noted(client)
        return await outcome(client, stream=False), waits.slept


def test_nothing_was_sent() -> None:
    def no_key() -> str:
        raise ConfigError("no key today")

    async def main() -> Any:
        async with AsyncClient("openai-chat:m", base_url="http://127.0.0.1:1", api_key=no_key) as client:
            return await outcome(client, stream=False)

    found = asyncio.run(main())
    assert isinstance(found, ConfigError) and found.attempts == ()


# -- the waits, on the real clock ------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["cancel", "close"])
def test_who_waits_for_another_attempt_can_leave(leave: str) -> None:
    async def main(url: str) -> tuple[BaseException, float]:
        client = asking(url)
        asked = asyncio.create_task(client.chat("Hi"))
        async with asyncio.timeout(20):
            while not client._session.waits._futures:
                await asyncio.sleep(0.005)
        began = time.monotonic()
        if leave == "cancel":
            asked.cancel()
        else:
            await client.aclose()
        (found,) = await asyncio.gather(asked, return_exceptions=True)
        await client.aclose()
        return found, time.monotonic() - began

    with ScriptedServer([Answer(429, {"retry-after": "60"}), GOOD]) as server:
        found, took = asyncio.run(main(server.url))
        assert len(server.requests) == 1
    assert took < 5
    assert isinstance(found, asyncio.CancelledError if leave == "cancel" else ConfigError)


def test_the_timeouts_of_an_attempt_do_not_count_the_wait() -> None:
    async def main(url: str) -> Any:
        timeouts = Timeouts(first_event=0.3, attempt=0.4, total=20)
        async with asking(url, timeouts=timeouts) as client:
            return await client.chat("Hi")

    with ScriptedServer([Answer(429, {"retry-after": "0.6"}), GOOD]) as server:
        found = asyncio.run(main(server.url))
    assert found.text == "Hello" and found.attempts[0].delay >= 0.6


# -- over a WebSocket ------------------------------------------------------------------------------------------


def over_socket(script: list[Any], **settings: Any) -> tuple[Any, list[float]]:
    async def main(url: str) -> tuple[Any, list[float]]:
        config = ProviderConfig("openai-responses-ws", base_url=url.replace("ws", "http", 1), api_key="k")
        async with AsyncClient("openai-responses-ws:m", providers=[config], **settings) as client:
            waits = noted(client)
            return await outcome(client, stream=True), waits.slept

    with ScriptedSocket(script) as server:
        return asyncio.run(main(server.url))


def test_an_error_over_a_websocket_is_retried() -> None:
    busy = [refusal("rate_limit_exceeded", status=429)]
    found, slept = over_socket([[busy], [answer("r2", "new")]])

    assert found.text == "new" and slept == [0.25]
    assert [attempt.status for attempt in found.attempts] == [429]


def test_the_recovery_of_a_websocket_and_a_retry_are_one_list() -> None:
    limit = [refusal("websocket_connection_limit_reached"), CloseFrame(1000)]
    busy = [refusal("server_is_overloaded", status=503)]
    found, slept = over_socket([[limit], [busy], [answer("r3", "new")]])

    assert found.text == "new" and slept == [0.25]
    assert [(attempt.status, attempt.delay) for attempt in found.attempts] == [(None, None), (503, 0.25)]
    assert "new connection" in found.attempts[0].error


# -- many --------------------------------------------------------------------------------------------------------

CALLS = 2000
SILENCE = Timeouts(first_event=8, idle=8)
STALLED = Answer(stall_before_headers=True)
STALLED_THOUGHT = Answer(body=[sse(THOUGHT, done=False), Stall()])
# What becomes of a call: "answered", "again" (another attempt, if one is left), or "over"; and how often it is drawn.
PLAYS: tuple[tuple[Answer, str, int], ...] = (
    (STREAM, "answered", 10),
    (BUSY, "again", 10),
    (DOWN, "again", 10),
    (Answer(529), "again", 10),
    (Answer(drop=True), "again", 10),
    (CUT_START, "again", 10),
    (CUT_THOUGHT, "again", 10),
    (CUT_TEXT, "over", 10),
    (STALLED, "again", 1),
    (STALLED_THOUGHT, "again", 1),
)
SOCKET_PLAYS: tuple[tuple[str, str, int], ...] = (
    ("answer", "answered", 10),
    ("429", "again", 10),
    ("503", "again", 10),
    ("529", "again", 10),
    ("cut after reasoning", "again", 10),
    ("cut after text", "over", 10),
    ("stall", "again", 1),
)


class Storm:
    """For each call a series of plays, by a seed; and how many of them were played."""

    def __init__(self, plays: Any) -> None:
        drawn, weights = random.Random(19), [weight for *_, weight in plays]
        self.series = [drawn.choices(plays, weights, k=3) for _ in range(CALLS)]
        self.served = [0] * CALLS

    def next(self, text: str) -> Any:
        """What the next request of a call meets."""
        number = int(text)
        self.served[number] += 1
        return self.series[number][self.served[number] - 1][0]

    async def ask(self, client: AsyncClient) -> list[Any]:
        noted(client)
        gate = asyncio.Semaphore(100)

        async def one(number: int) -> Any:
            async with gate:
                return await outcome_of(client, str(number))

        return await asyncio.gather(*map(one, range(CALLS)))

    def check(self, found: list[Any]) -> None:
        """Each call has ended as its series says, after as many requests, all of them listed."""
        ends = 0
        for number, (result, plays) in enumerate(zip(found, self.series, strict=True)):
            end = next((n for n, (_, fate, _) in enumerate(plays) if fate != "again"), 2)
            is_answered = plays[end][1] == "answered"
            ends += is_answered
            assert self.served[number] == end + 1, (number, plays, result)
            assert isinstance(result, ProviderError) is not is_answered, (number, plays, result)
            assert len(result.attempts) == end + (not is_answered), (number, plays, result)
            assert is_answered or isinstance(result, StreamInterrupted) or plays[end][1] == "again"
        assert 400 < ends < 1600


async def outcome_of(client: AsyncClient, text: str) -> Any:
    try:
        return await client.stream(text).collect()
    except ProviderError as error:
        return error


@pytest.mark.many
def test_two_thousand_calls_end_as_the_table_says() -> None:
    """By a seed each call is given its own series of faults; requests, attempts and usage add up."""
    storm = Storm(PLAYS)

    def serve(request: RecordedRequest) -> Answer:
        play = storm.next(request.json()["messages"][-1]["content"])
        # No connection is reused, so that the transport replaces none by itself.
        return replace(play, headers={**dict(play.headers), "connection": "close"})

    async def main(url: str) -> list[Any]:
        async with asking(url, timeouts=SILENCE) as client:
            return await storm.ask(client)

    with ScriptedServer(serve) as server:
        found = asyncio.run(main(server.url))
        assert len(server.requests) == sum(storm.served)
    storm.check(found)
    for result, plays in zip(found, storm.series, strict=True):
        thoughts = [play for play, *_ in plays[: len(result.attempts)] if play is CUT_THOUGHT]
        assert sum(each.usage.total_tokens for each in result.attempts if each.usage) == 5 * len(thoughts)


@pytest.mark.many
def test_two_thousand_calls_over_websockets_end_as_the_table_says() -> None:
    storm = Storm(SOCKET_PLAYS)
    playing: dict[int, tuple[Any, str]] = {}  # by the job, which is kept so that no other has its id

    def play_of(job: Any) -> str:
        if id(job) not in playing:
            playing[id(job)] = job, storm.next(job.body["input"][-1]["content"])
        return playing[id(job)][1]

    def fault(connection: int, job: Any, event: dict[str, Any]) -> Any:
        play = play_of(job)
        if play.isdigit():
            error = {
                "code": {"429": "rate_limit_exceeded"}.get(play, "server_is_overloaded"),
                "message": "no",
            }
            return (
                [{"type": "error", "status": int(play), "error": error}]
                if event["sequence_number"] == 0
                else []
            )
        is_text = event["type"] == "response.output_text.done"
        is_message = event["type"] == "response.output_item.added" and event["item"]["type"] == "message"
        if (play == "cut after text" and is_text) or (play == "cut after reasoning" and is_message):
            return [Drop()]
        return [Stall()] if play == "stall" else None

    async def main(url: str) -> list[Any]:
        options = WebSocketOptions(max_connections=200)
        config = ProviderConfig("openai-responses-ws", base_url=url, api_key="k", socket=options)
        settings: Any = {"providers": [config], "timeouts": SILENCE}
        async with AsyncClient("openai-responses-ws:m", **settings) as client:
            found = await storm.ask(client)
            stats = client.stats().websockets
            assert stats is not None and stats.full == sum(storm.served) and stats.http_fallbacks == 0
            return found

    service = ResponsesService(lambda *_: [reasoning("Hm."), assistant("Hello")])
    with ScriptedSocket(service, fault=fault) as server:
        found = asyncio.run(main(server.base_url))
    storm.check(found)
    answered = [(n, result) for n, result in enumerate(found) if not isinstance(result, ProviderError)]
    assert {result.text for _, result in answered} == {"Hello"}
    # The counts are those of one answer, and not of the attempts before it.
    assert {result.usage.total_tokens for n, result in answered if n >= 1000} == {70}


def test_a_dead_connection_before_a_failed_attempt_is_listed() -> None:
    """The connection is replaced once by itself; when that fails too, the retry lists both."""

    async def main() -> None:
        async with asking(server.url, retry=Retry(attempts=2, base=0)) as client:
            await client.chat("hi")
            found = await client.chat("hi")
            assert found.text == "Hello"
            assert len(found.attempts) == 2
            assert "reused connection had died" in found.attempts[0].error

    with ScriptedServer([GOOD, Answer(drop=True, drop_if_reused=True), GOOD]) as server:
        asyncio.run(main())
        assert len(server.requests) == 4
