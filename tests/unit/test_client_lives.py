"""A client's life: dropped without being closed, copied, pickled, in other event loops and programs."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import copy
import gc
import os
import pickle
import socket
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Breaker,
    Budget,
    Client,
    ConfigError,
    EnvKey,
    Hedge,
    Limits,
    ProviderConfig,
    ProviderError,
    Retry,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider._core.deadlines import timer_of
from brainwires_provider._core.plan import endpoint_of
from brainwires_provider.testing import (
    Answer,
    Drop,
    RecordedRequest,
    ResponsesService,
    ScriptedServer,
    ScriptedSocket,
    Stall,
    sse,
)
from brainwires_provider.transports.websocket.dialing import Endpoint
from chat_answers import WHOLE, chunk

HERE = Path(__file__).name
HANG = 100  # seconds: no program here takes them, on however slow a machine


# -- dropped -------------------------------------------------------------------------------------------------


async def drop(make: Callable[[], AsyncClient]) -> list[str]:
    """The warnings and the loop's complaints when a used client is dropped while its loop runs."""
    said: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(str(context)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = make()
        assert (await client.chat("hi")).text
        del client
        gc.collect()
    assert all(w.source is not None for w in caught)  # by which tracemalloc can say where it was made
    return [*(f"{w.category.__name__}: {w.message}" for w in caught), *said]


@pytest.mark.parametrize("kind", ["HTTP", "WebSocket"])
def test_a_dropped_client_warns_with_its_line_and_closes(kind: str) -> None:
    """Never with the HTTP library's own message, which names no line of the program's."""

    def over_http() -> AsyncClient:
        return AsyncClient("openai-chat:m", base_url=server.base, api_key="k")

    def over_websocket() -> AsyncClient:
        provider = ProviderConfig("openai-responses-ws", base_url=socket.base_url, api_key="k")
        return AsyncClient("openai-responses-ws:m", providers=[provider])

    async def main() -> list[str]:
        said = await drop(over_http if kind == "HTTP" else over_websocket)
        await used.wait_idle_async()
        return said

    with ScriptedServer([Answer(body=WHOLE)]) as server, ScriptedSocket(ResponsesService()) as socket:
        server.base = server.url  # type: ignore[attr-defined]
        used: Any = server if kind == "HTTP" else socket
        said = asyncio.run(main())
    assert len(said) == 1
    assert said[0].startswith("ResourceWarning: a client made at ")
    assert f"{HERE}:" in said[0]
    assert "aclose()" in said[0]


def test_a_client_that_is_dropped_as_its_loop_ends_leaves_nothing() -> None:
    """In every way that a loop ends: `asyncio.run`, and a loop that is closed without its shutdown."""
    code = """
import asyncio, gc, sys, warnings
from brainwires_provider import AsyncClient
warnings.simplefilter("always")

async def ask():
    client = AsyncClient("openai-chat:m", base_url=sys.argv[1], api_key="k")
    await client.chat("hi")

asyncio.run(ask())
loop = asyncio.new_event_loop()
client = AsyncClient("openai-chat:m", base_url=sys.argv[1], api_key="k")
loop.run_until_complete(client.chat("hi"))
loop.close()
del client
gc.collect()
"""
    with ScriptedServer([Answer(body=WHOLE)] * 2) as server:
        ran = subprocess.run(
            [sys.executable, "-X", "dev", "-c", code, server.url],
            capture_output=True,
            text=True,
            timeout=HANG,
        )
        server.wait_idle()
    lines = [line for line in ran.stderr.splitlines() if "ResourceWarning: " in line or "Unclosed" in line]
    assert ran.returncode == 0, ran.stderr
    assert len(lines) - ran.stderr.count("Enable tracemalloc") == 1, (
        ran.stderr
    )  # of the first, whose loop still ran
    assert "a client made at <string>:7 was dropped" in lines[0]


def test_what_still_uses_the_connections_keeps_them() -> None:
    async def main() -> None:
        talk = AsyncClient("openai-chat:m", base_url=server.url, api_key="k").conversation()
        for _ in range(2):
            gc.collect()
            assert (await talk.chat("hi")).text == "Hello"
        assert server.connections == 1
        await talk._session.aclose()

    with ScriptedServer([Answer(body=WHOLE)] * 2) as server:
        asyncio.run(main())


# -- at rest -------------------------------------------------------------------------------------------------

BEGUN = sse(chunk({"content": "Hel"}), done=False)
STREAMED = Answer(body=[BEGUN, sse(chunk({"content": "lo"}), chunk({}, "stop"))])
REFUSED = Answer(400, {}, b'{"error": {"message": "no"}}')
BUSY = Answer(429, {"retry-after": "0"}, b'{"error": {"message": "slow down"}}')


async def left(client: AsyncClient, how: str) -> None:
    """A stream is left after its first events, in one of the ways there are."""
    stream = client.stream("hi")
    await stream.pull()
    match how:
        case "aclose":
            await stream.aclose()
        case "abort":
            stream.abort()
        case _:
            reading = asyncio.ensure_future(stream.collect())
            await asyncio.sleep(0.01)
            reading.cancel()
            await asyncio.wait((reading,))


async def cancelled(client: AsyncClient) -> None:
    """A call that waits for its answer is cancelled."""
    call = asyncio.ensure_future(client.chat("hi"))
    await asyncio.sleep(0.02)
    call.cancel()
    await asyncio.wait((call,))


# name: what the server answers, and what is asked of the client
ENDS: dict[str, tuple[list[Answer], Callable[[AsyncClient], Any]]] = {
    "whole": ([Answer(body=WHOLE)], lambda client: client.chat("hi")),
    "streamed": ([STREAMED], lambda client: client.stream("hi").collect()),
    "no chat": ([Answer(body=b'{"data": [{"id": "m"}]}')], lambda client: client.models()),
    "refused": ([REFUSED], lambda client: client.chat("hi")),
    "refused, streamed": ([REFUSED], lambda client: client.stream("hi").collect()),
    "refused, no chat": ([REFUSED], lambda client: client.models()),
    "asked again": ([BUSY, Answer(body=WHOLE)], lambda client: client.chat("hi")),
    "redirected": ([Answer(307, {"location": "/x"})], lambda client: client.chat("hi")),
    "empty": ([Answer(body=b"")], lambda client: client.chat("hi")),
    "no JSON": ([Answer(body=b"hello")], lambda client: client.chat("hi")),
    "no JSON, no chat": ([Answer(body=b"hello")], lambda client: client.models()),
    "a broken stream": (
        [Answer(body=[BEGUN, b"data: {]\n\n"])],
        lambda client: client.stream("hi").collect(),
    ),
    "a stream without its end": ([Answer(body=[BEGUN])], lambda client: client.stream("hi").collect()),
    "a reset": ([Answer(drop=True)], lambda client: client.chat("hi", retry=Retry(1))),
    "a cut": ([Answer(body=[BEGUN, Drop()])], lambda client: client.stream("hi").collect()),
    "too late": (
        [Answer(stall_before_headers=True)],
        lambda client: client.chat("hi", timeouts=Timeouts(total=0.03)),
    ),
    "stalled": (
        [Answer(body=[BEGUN, Stall()])],
        lambda client: client.stream("hi", timeouts=Timeouts(idle=0.03)).collect(),
    ),
    "cancelled": ([Answer(stall_before_headers=True)], cancelled),
    **{
        f"left: {how}": ([Answer(body=[BEGUN, Stall()])], lambda client, how=how: left(client, how))
        for how in ("aclose", "abort", "cancel")
    },
}


@pytest.mark.parametrize("name", ENDS)
def test_nothing_is_kept_of_a_call_however_it_has_ended(name: str) -> None:
    answers, ask = ENDS[name]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        settings: Any = {"limits": Limits(concurrency=1), "budget": Budget(tokens=99_999), "on_request": hook}
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key="k", **settings) as client:
            with contextlib.suppress(ProviderError):
                await ask(client)
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0)  # what a task calls at its end
            session: Any = client._session
            for transport in session._transports.values():  # none where the call was too short to make it
                assert not any(each.exchanges for each in transport._sessions.values())
            assert timer_of(loop).timed == session.waits._futures == session.hooks._tasks == set()
            stats = client.stats()
            assert stats.running == stats.waiting == stats.reserved_tokens == 0

    async def hook(_: Any) -> None:
        await asyncio.sleep(0)

    with ScriptedServer(answers) as server:
        asyncio.run(main())
        server.wait_idle()


@pytest.mark.parametrize("provider", ["openai-chat", "openai-responses-ws"])
def test_a_stream_of_a_client_that_was_closed_opens_nothing(provider: str) -> None:
    async def main() -> None:
        settings: Any = {"api_key": "k", "retry": Retry(1), "timeouts": Timeouts(first_event=0.2)}
        client = AsyncClient(f"{provider}:m", base_url=f"http://127.0.0.1:{port}/v1", **settings)
        stream = client.stream("hi")
        await client.aclose()
        with pytest.raises(ConfigError, match="closed"):
            await stream.collect()
        with pytest.raises(BlockingIOError):
            listening.accept()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        asyncio.run(main())


def test_where_connections_go_keeps_nothing_of_what_the_first_request_said() -> None:
    session: Any = AsyncClient("openai-responses-ws:m", api_key="k")._session
    said = SaidOnce()
    plan = session.plan("hi", {"extra_body": {"metadata": said}}, stream=True)
    endpoint, known = endpoint_of(plan), weakref.ref(said)
    assert plan.call.body["metadata"] is said
    del plan, said
    gc.collect()
    assert known() is None and endpoint.headers("k", {})


class SaidOnce(dict[str, Any]):
    """A value that can be referred to weakly."""


# What differs from the first: none of them shares a connection with another.
PLACES: dict[str, dict[str, Any]] = {
    "the first": {},
    "its address": {"base_url": "https://b.example/v1"},
    "its key": {"api_key": "other"},
    "its headers": {"headers": {"x-team": "b"}},
    "its options": {"socket": WebSocketOptions(multiplexing=True)},
    "headers of the call that belong to the connection": {"api-key": "t"},
}


def test_whatever_differs_of_where_connections_go_they_are_others() -> None:
    def endpoint(**settings: Any) -> Endpoint:
        own = {name: settings.pop(name) for name in ("api-key",) if name in settings}
        given = {"base_url": "https://a.example/v1", "api_key": "k", **settings}
        provider = ProviderConfig("openai-responses-ws", **given)
        session: Any = AsyncClient("openai-responses-ws:m", providers=[provider])._session
        return endpoint_of(session.plan("hi", {"extra_headers": own}, stream=True))

    endpoints = {name: endpoint(**settings) for name, settings in PLACES.items()}
    for name, one in endpoints.items():
        assert [other for other in endpoints if endpoints[other].identity == one.identity] == [name]
        assert one.identity == endpoint(**PLACES[name]).identity
    first = endpoints["the first"]
    assert (first.url, first.provider, first.key) == (
        "wss://a.example/v1/responses",
        "openai-responses-ws",
        "k",
    )
    assert (first.options, first.connect_timeout) == (WebSocketOptions(), Timeouts().connect)
    assert endpoints["its headers"].own_headers == {"x-team": "b"}
    called = {"x-team": lambda: "a", "x-user": lambda: "b"}
    turned = dict(reversed(called.items()))
    assert endpoint(headers=called).identity == endpoint(headers=turned).identity


# -- copied --------------------------------------------------------------------------------------------------


MAKES = [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))]


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("make", MAKES)
def test_a_copied_client_owns_nothing_of_the_first(
    make: Callable[[Client], Client], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFE_KEY", "k-1")

    async def asynchronous() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key=EnvKey("LIFE_KEY")) as first:
            if used:
                await first.chat("hi")
            other: Any = make(first)  # type: ignore[arg-type]
            assert (await other.chat("hi")).text == "Hello"
            await other.aclose()
            assert (await first.chat("hi")).text == "Hello"
        assert (await make(first).chat("hi")).text == "Hello"  # type: ignore[arg-type, misc]

    with ScriptedServer([Answer(body=WHOLE)] * 10) as server:
        with Client("openai-chat:m", base_url=server.url, api_key=EnvKey("LIFE_KEY")) as first:
            if used:
                first.chat("hi")
            other = make(first)
            assert other.chat("hi").text == "Hello"
            del other
            gc.collect()
            assert (
                first.chat("hi").text == "Hello"
            )  # dropped, not closed: nothing of the first's went with it
            with make(first) as third:
                third.chat("hi")
            assert first.chat("hi").text == "Hello"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            asyncio.run(asynchronous())
            gc.collect()


SETTINGS = frozenset(
    (
        *(
            "made_at",
            "given",
            "model",
            "named",
            "configs",
            "timeouts",
            "max_event_bytes",
            "max_parts",
            "policies",
        ),
        *("_fallbacks", "has_prices", "instruments", "_log", "observe", "_defaults", "_transport", "_owner"),
    )
)
"""What of a session does not change after it was made."""


@pytest.mark.parametrize("make", MAKES)
def test_a_copied_client_knows_nothing_of_the_first_one_s_calls(
    make: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFE_KEY", "k-1")

    async def main() -> None:
        settings: Any = {"limits": Limits(rpm=9), "budget": Budget(tokens=99_999), "breaker": Breaker()}
        provider = ProviderConfig("openai-responses-ws", base_url=socket.base_url, api_key=EnvKey("LIFE_KEY"))
        settings |= {"providers": [provider], "on_request": id, "hedge": Hedge(after=60)}
        async with AsyncClient(
            "openai-chat:m", base_url=server.url, api_key=EnvKey("LIFE_KEY"), **settings
        ) as first:
            unused = first.stats()
            await first.chat("hi")
            await first.chat("hi", model="openai-responses-ws:m", hedge=None)
            assert first.stats() != unused
            other = make(first)
            known, new = vars(first._session), vars(other._session)
            assert other.stats() == unused and known.keys() == new.keys()
            for name in known.keys() - SETTINGS:
                assert new[name] is not known[name] or type(known[name]) in (bool, type(None)), name
                assert type(new[name]) not in (dict, set) or not new[name], name
            await other.aclose()
            with pytest.raises(ConfigError, match="closed"):
                await other.chat("hi")
            assert (await make(other).chat("hi")).text == "Hello"  # one that is closed is open again

    with (
        ScriptedServer([Answer(body=WHOLE)] * 4) as server,
        ScriptedSocket(ResponsesService()) as socket,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", ResourceWarning)
        asyncio.run(main())
        gc.collect()


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copied_conversation_goes_on_over_the_same_client(make: Callable[[Any], Any]) -> None:
    async def main() -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key="k") as client:
            talk = client.conversation()
            await talk.chat("hi")
            await make(talk).chat("hi")

    with ScriptedServer([Answer(body=WHOLE)] * 4) as server:
        asyncio.run(main())
        with Client("openai-chat:m", base_url=server.url, api_key="k") as client:
            talk = client.conversation()
            talk.chat("hi")
            make(talk).chat("hi")
        assert server.connections == 2


# -- in other programs ---------------------------------------------------------------------------------------

ASYNCHRONOUS: dict[str, Callable[[AsyncClient], Any]] = {
    "chat": lambda client: client.chat("hi"),
    "stream": lambda client: anext(client.stream("hi")),
    "enter a stream": lambda client: client.stream("hi").__aenter__(),
    "models": lambda client: client.models(),
    "embed": lambda client: client.embed(["hi"]),
    "count_tokens": lambda client: client.count_tokens("hi"),
    "responses": lambda client: client.responses.retrieve("r"),
    "connect": lambda client: client.responses.connect().__aenter__(),
    "local": lambda client: client.local.load(),
    "ollama": lambda client: client.ollama.list(),
}
PROVIDER = {
    "connect": "openai-responses-ws",
    "local": "local",
    "ollama": "ollama",
    "count_tokens": "anthropic",
}


@pytest.mark.parametrize("call", ASYNCHRONOUS)
def test_without_asyncio_the_error_names_it_and_what_to_do(call: str) -> None:
    """Under trio there is no loop of asyncio, as there is none here."""
    client = AsyncClient(f"{PROVIDER.get(call, 'openai')}:m", api_key="k")
    with pytest.raises(ConfigError) as caught:
        ASYNCHRONOUS[call](client).__await__().send(None)

    for word in ("asyncio", "trio", "anyio.run", 'backend="asyncio"', "anyio.to_thread.run_sync"):
        assert word in str(caught.value)


FORKED = """
import os, sys, time
from brainwires_provider import Client
client = Client("openai-chat:m", base_url=sys.argv[1], api_key="k")
assert client.chat("hi").text == "Hello"
child = os.fork()
if child == 0:
    from gevent import monkey, spawn, joinall, Timeout
    monkey.patch_all()
    with Timeout(60):
        jobs = [spawn(lambda: client.chat("hi").text) for _ in range(5)]
        joinall(jobs)
        assert [job.value for job in jobs] == ["Hello"] * 5, [job.value for job in jobs]
        assert client.stream("hi").collect().text == "Hello"
        assert Client("openai-chat:m", base_url=sys.argv[1], api_key="k").chat("hi").text == "Hello"
    os._exit(0)
end = time.monotonic() + 70
while not (done := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
    time.sleep(0.02)
assert done == (child, 0), done
from gevent import monkey
monkey.patch_all()
try:
    client.chat("hi")
except Exception as error:
    print(type(error).__name__, error)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_gevent_with_a_client_that_was_used_before_the_fork() -> None:
    """As gunicorn does with `preload_app`: the parent's client is used, each worker patches after its fork."""
    pytest.importorskip("gevent", reason="gevent is not installed")
    with ScriptedServer(lambda _: Answer(body=WHOLE)) as server:
        ran = subprocess.run(
            [sys.executable, "-c", FORKED, server.url], capture_output=True, text=True, timeout=HANG
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("ConfigError gevent has patched threads after a client was used")


FORKED_WITH_POLICIES = """
import os, sys, threading, time
from brainwires_provider import Breaker, Budget, Client, Hedge, Limits, ProviderError, Retry
settings = dict(base_url=sys.argv[1], api_key="k", retry=Retry(attempts=1))
busy = Client("openai-chat:m", limits=Limits(concurrency=1), budget=Budget(tokens=20_000), **settings)
scoped = Client("openai-chat:m", budget=Budget(tokens=20_000, scope="all"), **settings)
probed = Client("openai-chat:m", breaker=Breaker(failures=1, rest=0.01), **settings)
try:
    probed.chat("fail")
except ProviderError:
    time.sleep(0.02)
threads = [threading.Thread(target=client.chat, args=("wait",)) for client in (busy, scoped, probed)]
for thread in threads:
    thread.start()
sys.stdin.readline()  # the server has all of them
child = os.fork()
if child == 0:
    threading.Timer(50, os._exit, (3,)).start()
    for client in busy, scoped, probed:
        assert client.stats().reserved_tokens == 0, client.stats()
        assert client.chat("hi").text == "Hello"
    os._exit(0)
status = os.waitpid(child, 0)[1]
print(status, flush=True)
os._exit(0)
"""


def test_what_a_forked_child_inherits_is_kept_and_not_used() -> None:
    """What is freed there would be closed, which the parent goes on with."""
    session: Any = AsyncClient("openai-responses-ws:m", api_key="k", limits=Limits(rpm=9))._session
    session.terms(session.plan("hi", {}, stream=False))
    owned = session._transports, session.pools, session._ledger
    kept = session.start_afresh()
    assert all(any(each is one for one in kept) for each in owned)
    assert (session._transports, session._pools, session._ledger) == ({}, None, None)
    assert session._transports is not owned[0] and session.pools is not owned[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_the_parent_holds_of_policies_is_not_the_childs() -> None:
    """Places within limits, reservations of budgets, and the probe of a breaker, held by calls during the fork."""

    def answer(request: RecordedRequest) -> Answer:
        asked = request.json()["messages"][0]["content"]
        return Answer(500) if asked == "fail" else Answer(body=WHOLE, stall_before_headers=asked == "wait")

    with ScriptedServer(answer) as server:
        ran = subprocess.Popen(
            [sys.executable, "-c", FORKED_WITH_POLICIES, server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        server.wait_requests(4, HANG)
        out, err = ran.communicate("go\n", timeout=HANG)
    assert out == "0\n", err


def test_locks_are_made_by_what_has_replaced_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test before this one needs, where gevent is not installed."""
    made: list[Any] = []

    def allocate() -> Any:
        made.append(native())
        return made[-1]

    native = _thread.allocate_lock
    with ScriptedServer(lambda _: Answer(body=WHOLE)) as server:
        with Client("openai-chat:m", base_url=server.url, api_key="k") as used:
            used.chat("hi")
            monkeypatch.setattr(_thread, "allocate_lock", allocate)
            with pytest.raises(ConfigError, match=r"gevent\.monkey\.patch_all\(\) before the first request"):
                used.chat("hi")
            monkeypatch.undo()
        monkeypatch.setattr(_thread, "allocate_lock", allocate)
        with Client("openai-chat:m", base_url=server.url, api_key="k") as client:
            client.chat("hi")
    assert len(made) >= 2  # a call's, and the threads' for what may block
