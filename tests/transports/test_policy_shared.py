"""Limits and budgets that clients share through a real Redis server: by calls, in errors, in what is shown."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Budget,
    BudgetExceededError,
    Client,
    ConfigError,
    EnvKey,
    Limits,
    OpenAIResponsesOptions,
    ProviderConfig,
    RequestTimeout,
    Timeouts,
)
from brainwires_provider._core.admission import Ledger
from brainwires_provider._core.shared import name_of
from brainwires_provider.testing import Answer, Gate, ScriptedServer
from chat_answers import WHOLE
from redis_servers import RedisServer

KEY, PASSWORD = "sk-planted-key-of-the-provider", "planted-password-of-redis"


@pytest.fixture(scope="module")
def kept() -> Iterator[RedisServer]:
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer("redis-server", Path(folder), "--requirepass", PASSWORD) as server,
    ):
        server.url = server.url.replace("//", f"//:{PASSWORD}@")
        yield server


@pytest.fixture
def redis(kept: RedisServer) -> RedisServer:
    """The server, without what other tests have left there."""
    ask(kept, "flushall")
    return kept


def ask(redis: RedisServer, *words: Any) -> Any:
    return redis.ask(*words, password=PASSWORD)


def asking(url: str, limits: Limits, **settings: Any) -> AsyncClient:
    return AsyncClient("openai-chat:m", base_url=url, api_key=KEY, limits=limits, **settings)


def test_two_clients_share_a_place(redis: RedisServer) -> None:
    gate, limits = Gate(), Limits(concurrency=1, shared=redis.url)

    async def main(url: str) -> None:
        async with asking(url, limits) as one, asking(url, limits, timeouts=Timeouts(total=0.3)) as two:
            first = asyncio.create_task(one.chat("Hi"))
            async with asyncio.timeout(20):
                while not server.requests:
                    await asyncio.sleep(0.005)
            with pytest.raises(RequestTimeout, match=r"no place within the limits.*Timeouts\.total"):
                await two.chat("Hi")
            assert (two.stats().running, two.stats().waiting, one.stats().running) == (0, 0, 1)
            server.open(gate)
            assert (await first).text == "Hello"
            assert (await two.chat("Hi", timeouts=Timeouts(total=20))).text == "Hello"

    with ScriptedServer(lambda _: Answer(body=WHOLE, before=[gate])) as server:
        asyncio.run(main(server.url))
    names = ask(redis, "keys", "*")
    kept = [value for name in names if name.endswith(":use") for value in ask(redis, "hgetall", name).items()]
    assert kept and KEY not in f"{names} {kept}"
    assert all(name.startswith("brainwires:limits:{openai-chat:m:") for name in names)
    assert not any(name.endswith(":held") for name in names)  # closing a client has given all back


@pytest.mark.parametrize("is_away", [False, True])
def test_nothing_runs_after_a_client_was_closed_while_calls_waited(tmp_path: Path, is_away: bool) -> None:
    gate = Gate()

    async def main(url: str) -> None:
        client = asking(url, Limits(concurrency=1, shared=redis.url, when_down="local"))
        asked = [asyncio.create_task(client.chat("Hi")) for _ in range(3)]
        async with asyncio.timeout(20):
            while not server.requests or client.stats().waiting < 2:
                await asyncio.sleep(0.005)
        if is_away:
            redis.kill()
        await client.aclose()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in told] == [ConfigError] * 3
        async with asyncio.timeout(5):  # what is left of a window, and of a lease, takes longer
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.005)
            while not is_away and ":held" in f"{redis.ask('keys', '*')}":
                await asyncio.sleep(0.005)
            while not is_away and redis.ask("client", "list").count(" addr=") > 1:
                await asyncio.sleep(0.005)
        server.open(gate)

    with (
        RedisServer("redis-server", tmp_path) as redis,
        ScriptedServer(lambda _: Answer(body=WHOLE, before=[gate])) as server,
    ):
        asyncio.run(main(server.url))


def test_stats_are_of_a_moment_while_other_threads_use_other_models_and_loops() -> None:
    """Between any two lines of it another thread may begin with something new."""

    async def main() -> None:
        ledger, limits = Ledger(), Limits(rpm=9, shared="redis://127.0.0.1:9/0")
        session: Any = AsyncClient("openai-chat:m", api_key=KEY, base_url="http://127.0.0.1:9/v1")._session
        shared, loops = ledger._shared_by(limits), [asyncio.SelectorEventLoop() for _ in range(2)]
        for n in range(3):
            shared.gate(session.target(f"openai-chat:{n}"), limits)
        known = next(iter(shared.gates.values()))

        def traced(*_: Any) -> Any:
            shared.gates["p", "m", len(shared.gates), limits] = known
            if loops:
                ledger._shared[loops[-1]] = {}
                loops.pop().close()
            return traced

        before = sys.gettrace()
        sys.settrace(traced)
        try:
            stats = ledger.stats(Budget(tokens=9, scope="another"))
        finally:
            sys.settrace(before)
        assert len(stats.limits) >= 3 and not loops

    asyncio.run(main())


def test_a_key_and_a_reference_to_it_count_together(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED_KEY", KEY)

    async def main(url: str) -> None:
        limits = Limits(rpm=9, shared=redis.url)
        for key in (KEY, EnvKey("SHARED_KEY"), "sk-another-key"):
            config = ProviderConfig("openai-chat", api_key=key, base_url=url)
            async with AsyncClient("openai-chat:m", providers=[config], limits=limits) as client:
                await client.chat("Hi")
                (used,) = (each.used for each in client.stats().limits)
                assert used == {KEY: 1, "sk-another-key": 1}.get(key, 2)  # type: ignore[call-overload]

    with ScriptedServer(lambda _: Answer(body=WHOLE)) as server:
        asyncio.run(main(server.url))


def test_the_synchronous_client_shares_too(redis: RedisServer) -> None:
    limits = Limits(rpm=2, shared=redis.url)
    with ScriptedServer(lambda _: Answer(body=WHOLE)) as server:
        for n in range(2):
            with Client("openai-chat:m", base_url=server.url, api_key=KEY, limits=limits) as client:
                assert client.chat("Hi").text == "Hello"
                assert [each.used for each in client.stats().limits] == [n + 1]
        with (
            Client("openai-chat:m", base_url=server.url, api_key=KEY, limits=limits) as client,
            pytest.raises(RequestTimeout),
        ):
            client.chat("Hi", timeouts=Timeouts(total=0.2))


def test_a_budget_of_a_named_scope_is_spent_by_all(redis: RedisServer) -> None:
    """A hundred calls at once by four clients, with tokens for ten; what they really used is left for more."""
    gate, scope = Gate(), "shared:{scope}"
    bound = 8 * 6 + len("m" + "user" + "Hi") + 100 + 200

    async def main(url: str) -> None:
        limits, budget = Limits(shared=redis.url), Budget(tokens=10 * bound, scope=scope)
        clients = [asking(url, limits, budget=budget, max_connections=50) for _ in range(4)]
        asked = [asyncio.create_task(clients[n % 4].chat("Hi", max_tokens=200)) for n in range(100)]
        async with asyncio.timeout(20):
            while sum(task.done() for task in asked) < 85:
                await asyncio.sleep(0.01)
        server.open(gate)
        found = await asyncio.gather(*asked, return_exceptions=True)
        served = [each for each in found if not isinstance(each, BaseException)]
        assert 8 <= len(served) == len(server.requests) <= 15
        assert sum(isinstance(each, BudgetExceededError) for each in found) == 100 - len(served)
        for client in clients:
            await client.aclose()
        account = ask(redis, "hgetall", "brainwires:budget:{shared%3A%7Bscope%7D}:account")
        assert int(account["spent_tokens"]) == sum(each.usage.total_tokens for each in served)
        assert int(account["reserved_tokens"]) == 0
        own = asking(url, limits, budget=Budget(tokens=bound))  # that of a client is its own
        await own.chat("Hi", max_tokens=200)
        assert own.stats().spent_tokens > 0
        await own.aclose()

    with ScriptedServer(lambda _: Answer(body=WHOLE, before=[gate])) as server:
        asyncio.run(main(server.url))


# name: the URL, what the variable SHARED_URL holds, what the error says
WRONG: dict[str, tuple[str, str, str]] = {
    "a password": ("redis://:{password}x@127.0.0.1:{port}/0", "", "refuses: invalid username-password pair"),
    "no password": ("redis://127.0.0.1:{port}/0", "", "refuses: Authentication required"),
    "no variable": ("env:SHARED_URL", "", "the environment variable SHARED_URL is not set"),
    "a variable with something else": ("env:SHARED_URL", "secret words", "SHARED_URL holds no URL"),
    "a parameter": ("redis://:{password}@127.0.0.1:{port}/0?{password}=1", "", "unexpected keyword argument"),
    "a database": ("redis://:{password}@127.0.0.1:{port}/77", "", "refuses: DB index is out of range"),
}


# What differs from the first: each has its own place on the server.
OTHERS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "the first": ("openai-chat:m", KEY, {"rpm": 9}),
    "another provider": ("openai:m", KEY, {"rpm": 9}),
    "another model": ("openai-chat:m/n", KEY, {"rpm": 9}),
    "another key": ("openai-chat:m", KEY + "2", {"rpm": 9}),
    "another number": ("openai-chat:m", KEY, {"rpm": 8}),
    **{
        f"{name}={number}": ("openai-chat:m", KEY, {name: number})
        for name in ("tpm", "itpm", "otpm", "concurrency")
        for number in (8, 9)
    },
    "nothing is learned": ("openai-chat:m", KEY, {"rpm": 9, "learn": False}),
}


def test_what_has_a_place_of_its_own_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED_KEY", KEY)

    async def place(model: str, key: Any, numbers: dict[str, Any]) -> str:
        session: Any = AsyncClient(model, api_key=key, base_url="http://127.0.0.1:9/v1")._session
        return await name_of(session.target(model), Limits(shared="redis://h", **numbers))

    async def main() -> None:
        places = [await place(*each) for each in OTHERS.values()]
        assert len(set(places)) == len(OTHERS)
        form = re.compile(r"brainwires:limits:\{openai(-chat)?:m(%2Fn)?:[0-9a-f]{16}-[0-9a-f]{16}\}")
        assert all(map(form.fullmatch, places))
        assert not any(KEY in each or "m/n" in each for each in places)
        for key, numbers in ((EnvKey("SHARED_KEY"), {"rpm": 9}), (KEY, {"rpm": 9.0})):
            assert await place("openai-chat:m", key, numbers) == places[0]
        called = {await place("openai-chat:m", key, {"rpm": 9}) for key in (lambda: "a", lambda: "b")}
        assert len(called) == 1 and called.isdisjoint(places)

    asyncio.run(main())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_url_is_named_and_shows_no_secret(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    url, variable, message = WRONG[name]
    port = request.getfixturevalue("redis").port if message.startswith("refuses") else 9  # else none is asked
    monkeypatch.setenv("SHARED_URL", variable)
    limits = Limits(rpm=9, shared=url.format(password=PASSWORD, port=port), when_down="local")

    async def main() -> None:
        async with asking("http://127.0.0.1:9/v1", limits) as client:
            with pytest.raises(ConfigError, match=message) as caught:
                await client.chat("Hi")
            assert PASSWORD not in f"{caught.value!r} {pickle.dumps(caught.value)!r}"
            assert "secret words" not in str(caught.value) and caught.value.__context__ is None

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_variable_holds_the_url(redis: RedisServer, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("SHARED_URL", redis.url.replace("redis", scheme, 1))

    async def main(url: str) -> None:
        async with asking(url, Limits(rpm=9, shared="env:SHARED_URL")) as client:
            assert (await client.chat("Hi")).text == "Hello"

    with ScriptedServer(lambda _: Answer(body=WHOLE)) as server:
        asyncio.run(main(server.url))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    async def main() -> None:
        async with asking("http://127.0.0.1:9/v1", Limits(shared="redis://localhost")) as client:
            with pytest.raises(ConfigError, match=r"Limits.shared needs .*brainwires-provider\[redis\]"):
                await client.chat("Hi")

    asyncio.run(main())


def test_a_look_at_a_background_answer_replaces_what_was_reserved(redis: RedisServer) -> None:
    """On the server, too: what it cost less than was counted is given back, and shown."""
    text = {"type": "output_text", "text": "Hello", "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
    done = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": [item]}
    usage = {"input_tokens": 30, "output_tokens": 5, "total_tokens": 35}
    pending = done | {"status": "queued", "output": []}
    bodies = [
        json.dumps(each).encode() for each in (pending, done | {"usage": usage}, done | {"usage": usage})
    ]

    async def main(url: str) -> list[int]:
        settings: Any = {
            "limits": Limits(tpm=100_000, shared=redis.url),
            "budget": Budget(tokens=100_000, scope="looks"),
        }
        async with AsyncClient("openai-responses:m", base_url=url, api_key=KEY, **settings) as client:
            await client.chat("Hi", provider_options=OpenAIResponsesOptions(background=True))
            await client.responses.retrieve("resp_1")
            await client.responses.retrieve("resp_1")
            async with asyncio.timeout(5):
                while client.stats().spent_tokens != 35 or client.stats().reserved_tokens:
                    await asyncio.sleep(0.01)
        return [client.stats().spent_tokens]

    with ScriptedServer(
        [Answer(headers={"content-type": "application/json"}, body=each) for each in bodies]
    ) as server:
        asyncio.run(main(server.url))
    assert int(ask(redis, "hget", "brainwires:budget:{looks}:account", "spent_tokens")) == 35
