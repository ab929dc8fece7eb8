"""Limits against scripted servers: what is reserved, settled, refunded and learned, and that a wait can be left."""

from __future__ import annotations

import asyncio
import json
import socket
from asyncio import CancelledError
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Breaker,
    Budget,
    ConfigError,
    InvalidRequestError,
    Limits,
    OverloadedError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    Response,
    ResponseEnd,
    Retry,
    SharedServerError,
    StreamInterrupted,
    StreamTimeout,
    TextDelta,
    Timeouts,
    TransportError,
)
from brainwires_provider._core.gate import Gate as Gate_
from brainwires_provider._core.limits import Amounts
from brainwires_provider._core.waits import Waits
from brainwires_provider.testing import (
    Answer,
    Drop,
    FakeProvider,
    Gate,
    RecordedRequest,
    ScriptedServer,
    Stall,
    sse,
)
from chat_answers import WHOLE, chunk
from waits import noted

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STREAM = Answer(body=[sse(chunk({"content": "Hello"}), chunk({}, "stop", usage=USAGE))])
REFUSED_LATE = Answer(body=[sse({"error": {"message": "overloaded", "code": "overloaded"}}, done=False)])
CUT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])
TOTAL = Answer(
    body=WHOLE.replace(
        b'"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4', b'"total_tokens": 50'
    )
)
BUSY = Answer(429, {}, b'{"error": {"message": "slow down"}}')


def asking(url: str, limits: Limits, **settings: Any) -> AsyncClient:
    return AsyncClient("openai-chat:m", base_url=url, api_key="sk-secret", limits=limits, **settings)


def windows(client: AsyncClient) -> dict[str, int]:
    """What is used of each limit of the client's one gate."""
    session: Any = client._session
    (gate,) = session._ledger.gates.values()
    assert gate.limiter.running == 0 and gate.limiter.waiting == 0
    now = gate._clock()
    return {kind: window.used(now) for kind, window in gate.limiter.windows.items()}


ALL = Limits(rpm=100, tpm=1000, itpm=1000, otpm=1000)
RESERVED = {"requests": 1, "tokens": 504, "input": 4, "output": 500}  # the texts, and max_tokens
# name: the answers, streamed or whole: what counts of each limit
CASES: dict[str, tuple[list[Answer], bool, dict[str, int]]] = {
    "whole": ([Answer(body=WHOLE)], False, {"requests": 1, "tokens": 4, "input": 3, "output": 1}),
    "a stream": ([STREAM], True, {"requests": 1, "tokens": 5, "input": 3, "output": 2}),
    "refused": ([Answer(400)], False, {"requests": 1, "tokens": 0, "input": 0, "output": 0}),
    "refused in a stream": (
        [REFUSED_LATE, STREAM],
        True,
        {"requests": 2, "tokens": 5, "input": 3, "output": 2},
    ),
    "a total alone": ([TOTAL], False, {"requests": 1, "tokens": 50, "input": 50, "output": 0}),
    "retried": ([BUSY, STREAM], True, {"requests": 2, "tokens": 5, "input": 3, "output": 2}),
    "reset before the answer": (
        [Answer(drop=True)] * 3,
        False,
        {"requests": 3, "tokens": 0, "input": 0, "output": 0},
    ),
    "a cut stream counts as reserved": ([CUT], True, RESERVED),
}


@pytest.mark.parametrize("name", CASES)
def test_what_counts_after_a_call(name: str) -> None:
    answers, stream, expected = CASES[name]

    async def main(url: str) -> dict[str, int]:
        async with asking(url, ALL) as client:
            noted(client)
            try:
                if stream:
                    await client.stream("Hi there", max_tokens=500).collect()
                else:
                    await client.chat("Hi there", max_tokens=500)
            except ProviderError:
                pass
            return windows(client)

    with ScriptedServer(answers) as server:
        found = asyncio.run(main(server.url))
    assert found == expected


def test_a_stream_that_is_left_gives_its_place_back() -> None:
    async def main(url: str) -> dict[str, int]:
        async with asking(url, Limits(concurrency=1, rpm=9)) as client:
            async with client.stream("Hi") as stream:
                await anext(stream)
            asked = asyncio.create_task(client.chat("Hi"))
            assert (await asked).text == "Hello"
            return windows(client)

    unread = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Stall()])
    with ScriptedServer([unread, Answer(body=WHOLE)]) as server:
        assert asyncio.run(main(server.url)) == {"requests": 2}


UNREAD = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Stall()])
STUCK = Answer(stall_before_headers=True)
DOWN = Answer(503, {}, b'{"error": {"message": "no capacity"}}')
LIST = Answer(body=b'{"data": [{"id": "m"}]}')
# name: how it is asked, the answer, the settings, what the call comes to, and whether its connection is used again
ENDS: dict[str, tuple[str, Answer, dict[str, Any], type, bool]] = {
    "answered": ("chat", Answer(body=WHOLE), {}, Response, True),
    "a stream": ("stream", STREAM, {}, Response, True),
    "left behind the end": ("leave last", STREAM, {}, ResponseEnd, True),
    "no chat": ("models", LIST, {}, list, True),
    "refused": ("chat", Answer(400, body=b"{}"), {}, InvalidRequestError, True),
    "failed": ("chat", DOWN, {}, OverloadedError, True),
    "no chat, refused": ("models", Answer(400, body=b"{}"), {}, InvalidRequestError, True),
    "no chat, unreadable": ("models", Answer(body=b"{"), {}, ProtocolError, True),
    "cut": ("stream", CUT, {}, StreamInterrupted, False),
    "reset": ("chat", Answer(drop=True), {}, TransportError, False),
    "left": ("leave", UNREAD, {}, TextDelta, False),
    "cancelled before an answer": ("cancel", STUCK, {}, CancelledError, False),
    "cancelled within an answer": ("cancel", UNREAD, {}, CancelledError, False),
    "no chat, cancelled": ("cancel models", STUCK, {}, CancelledError, False),
    "timed out before an answer": (
        "chat",
        STUCK,
        {"timeouts": Timeouts(first_event=0.05)},
        RequestTimeout,
        False,
    ),
    "timed out within an answer": ("stream", UNREAD, {"timeouts": Timeouts(idle=0.05)}, StreamTimeout, False),
}


async def outcome(client: AsyncClient, how: str, server: ScriptedServer, args: dict[str, Any]) -> Any:
    if how.startswith("leave"):
        last = TextDelta if how == "leave" else ResponseEnd
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, last):
                    return event
    call: Any
    match how.split():
        case [*_, "models"]:
            call = client.models()
        case ["chat"]:
            call = client.chat("Hi", **args)
        case _:
            call = client.stream("Hi", **args).collect()
    task: asyncio.Task[Any] = asyncio.ensure_future(call)
    if how.startswith("cancel"):
        await server.wait_requests_async(2)
        await asyncio.sleep(0.01)
        task.cancel()
    (found,) = await asyncio.gather(task, return_exceptions=True)
    return found


@pytest.mark.parametrize("name", ENDS)
def test_a_call_that_has_ended_holds_nothing(name: str) -> None:
    """No place, no reservation, not the breaker's only request, and not the one connection."""
    how, answer, args, kind, is_kept = ENDS[name]

    async def main(server: ScriptedServer) -> None:
        settings: dict[str, Any] = {"budget": Budget(tokens=10**6), "breaker": Breaker(failures=1, rest=1e-9)}
        settings |= {"retry": Retry(1), "max_connections": 1}
        async with asking(server.url, Limits(concurrency=1), **settings) as client:
            with pytest.raises(OverloadedError):
                await client.chat("Hi")
            found = await outcome(client, how, server, args)
            assert isinstance(found, kind), found
            assert (await client.chat("Hi")).text == "Hello"
            stats = client.stats()
            assert (stats.running, stats.waiting, stats.reserved_tokens) == (0, 0, 0)
            assert stats.breakers[0].state == "closed"

    answers = [answer] * (
        2 if answer.drop else 1
    )  # a kept connection may have been dead: it is asked once more
    with ScriptedServer([DOWN, *answers, Answer(body=WHOLE)]) as server:
        asyncio.run(asyncio.wait_for(main(server), 25))  # before the server gives up
        assert server.connections == (1 if is_kept else 1 + len(answers))


def test_requests_at_once_stay_within_their_limit() -> None:
    gate = Gate()

    async def main(url: str) -> None:
        async with asking(url, Limits(concurrency=3)) as client:
            asked = [asyncio.create_task(client.chat(f"number {n}")) for n in range(10)]
            async with asyncio.timeout(20):
                while len(server.requests) < 3:
                    await asyncio.sleep(0.005)
            assert len(server.requests) == 3
            server.open(gate)
            assert {response.text for response in await asyncio.gather(*asked)} == {"Hello"}

    with ScriptedServer(lambda _: Answer(body=WHOLE, before=[gate])) as server:
        asyncio.run(main(server.url))
        assert len(server.requests) == 10


def test_limits_are_learned_of_headers() -> None:
    async def main(url: str) -> dict[str, float]:
        async with asking(url, Limits(), retry=Retry(1)) as client:
            for _ in range(2):
                await asyncio.gather(client.chat("Hi"), return_exceptions=True)
            session: Any = client._session
            (gate,) = session._ledger.gates.values()
            return {kind: window.limit for kind, window in gate.limiter.windows.items()}

    headers = {
        "x-ratelimit-limit-requests": "7",
        "x-ratelimit-remaining-requests": "6",
        "x-ratelimit-reset-requests": "8s",
    }
    refused = Answer(429, {"x-ratelimit-limit-tokens": "90"}, BUSY.body)
    with ScriptedServer([Answer(200, headers, WHOLE), refused]) as server:
        assert asyncio.run(main(server.url)) == {"requests": 7, "tokens": 90}


@pytest.mark.parametrize("leave", ["cancel", "close", "total"])
def test_who_waits_for_a_place_can_leave(leave: str) -> None:
    async def main(url: str) -> BaseException | str:
        timeouts = Timeouts(first_event=0.1, total=0.3 if leave == "total" else 60)
        client = asking(url, Limits(rpm=1), timeouts=timeouts)
        await client.chat("Hi", timeouts=Timeouts(total=60))
        asked = asyncio.create_task(client.chat("Hi"))
        await asyncio.sleep(0.15)  # longer than `first_event`, which does not count here
        if leave == "cancel":
            asked.cancel()
        elif leave == "close":
            await client.aclose()
        async with asyncio.timeout(10):
            (found,) = await asyncio.gather(asked, return_exceptions=True)
        await client.aclose()
        return found

    with ScriptedServer([Answer(body=WHOLE)] * 2) as server:
        found = asyncio.run(main(server.url))
        assert len(server.requests) == 1
    kind = {"cancel": asyncio.CancelledError, "close": ConfigError, "total": RequestTimeout}[leave]
    assert type(found) is kind
    if isinstance(found, RequestTimeout):
        assert found.clock == "total" and "no place within the limits" in str(found)


def test_who_waited_on_a_loop_that_was_closed_takes_no_place() -> None:
    """As the head of the queue, and behind another one."""

    async def wait() -> None:
        await asyncio.wait([asyncio.ensure_future(gate.enter(Amounts(), Waits()))], timeout=0.01)

    gate = Gate_(Limits(concurrency=1))
    held = gate.try_enter(Amounts())
    assert held is not None
    for _ in range(2):
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(wait())
        loop.close()  # without cancelling what runs there
    assert gate.waiting == 2
    gate.settle(held, None)
    assert (gate.running, gate.waiting) == (0, 0)
    assert gate.try_enter(Amounts()) is not None


def test_each_model_and_each_value_has_limits_of_its_own() -> None:
    async def main(url: str) -> int:
        async with asking(url, Limits(rpm=1)) as client:
            await client.chat("Hi")
            await client.chat("Hi", model="openai-chat:other")
            await client.chat("Hi", limits=Limits(rpm=2))
            session: Any = client._session
            assert "sk-secret" not in repr(session._ledger.gates)
            return len(session._ledger.gates)

    def serve(_: RecordedRequest) -> Answer:
        return Answer(body=WHOLE)

    with ScriptedServer(serve) as server:
        assert asyncio.run(main(server.url)) == 3


def test_each_key_has_limits_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        async with AsyncClient("openai-chat:m", limits=Limits(rpm=1)) as client:
            await client.chat("Hi")
            monkeypatch.setenv("OPENAI_API_KEY", "sk-the-next")
            await client.chat("Hi", timeouts=Timeouts(total=5))
            session: Any = client._session
            return len(session._ledger.gates)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-first")
    with ScriptedServer([Answer(body=WHOLE)] * 2) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert asyncio.run(main()) == 2
        keys = [request.header("authorization") for request in server.requests]
        assert keys == ["Bearer sk-the-first", "Bearer sk-the-next"]


def test_a_limit_of_the_output_holds_where_the_provider_counts_only_the_input() -> None:
    async def main(url: str) -> None:
        limits = Limits(otpm=100)
        async with AsyncClient("google:m", base_url=url, api_key="k", limits=limits) as client:
            await client.chat("Hi")
            assert [(each.kind, each.used) for each in client.stats().limits] == [("output", 500)]
            with pytest.raises(RequestTimeout):
                await client.chat("Hi", timeouts=Timeouts(total=0.05))

    said = {"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 500, "totalTokenCount": 505}
    body = json.dumps({"candidates": [said], "usageMetadata": usage, "modelVersion": "m"}).encode()
    with ScriptedServer([Answer(body=body)]) as server:
        asyncio.run(main(server.url))


def test_limits_hold_here_while_their_server_is_away_and_a_budget_on_it_is_refused() -> None:
    async def refused(client: AsyncClient, **args: Any) -> None:
        with pytest.raises(SharedServerError, match="does not answer") as caught:
            await client.chat("Hi", **args)
        assert caught.value.provider == "openai-chat"

    async def alone(client: AsyncClient) -> None:
        assert (await client.chat("Hi")).text == "Hello"
        assert (client.stats().running, client.stats().spent_tokens) == (0, 4)
        (shown,) = client.stats().limits
        assert (shown.kind, shown.limit, shown.used) == ("requests", 9, 0)  # as last heard of the server
        await refused(client, budget=Budget(tokens=10**6, scope="all"))  # nobody knows what others have spent
        await client.aclose()

    with socket.socket() as silent, ScriptedServer([Answer(body=WHOLE)]) as server:
        silent.bind(("127.0.0.1", 0))  # nobody listens there
        away = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        asyncio.run(refused(asking(server.url, Limits(rpm=9, shared=away))))
        own = Limits(rpm=9, shared=away, when_down="local")
        asyncio.run(alone(asking(server.url, own, budget=Budget(tokens=10**6))))
        assert len(server.requests) == 1


def test_a_client_asks_the_server_of_its_limits_on_each_loop_anew() -> None:
    async def ask(client: AsyncClient) -> str:
        return (await client.chat("Hi")).text

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # nobody listens there
        away = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        limits = Limits(concurrency=1, shared=away, when_down="local")
        client = AsyncClient("openai-chat:m", api_key="k", transport=FakeProvider("Hello"), limits=limits)
        assert [asyncio.run(ask(client)) for _ in range(2)] == ["Hello", "Hello"]
        asyncio.run(client.aclose())
