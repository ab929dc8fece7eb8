"""The HTTP wire through the client: connections reused and replaced, loops, proxies, and defaults that stay off."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    ConfigError,
    ProviderConfig,
    ProviderError,
    Retry,
    StreamInterrupted,
    Timeouts,
    TransportError,
)
from brainwires_provider.testing import Answer, Gate, Paced, RecordedRequest, ScriptedServer, Stall, sse
from brainwires_provider.transports.http import HTTPExchange
from chat_answers import TEXT, WHOLE, chunk
from faults import KEY
from virtual_time import shifted, skip


def client(server: ScriptedServer, **settings: Any) -> AsyncClient:
    settings = {"retry": Retry(1), **settings}  # what the transport does by itself
    return AsyncClient("openai-chat:m", base_url=f"{server.url}/v1", api_key=KEY, **settings)


def both(request: RecordedRequest) -> Answer:
    if request.method == "GET":
        return Answer(body=b'{"data": [{"id": "m"}]}')
    return Answer(body=[TEXT]) if request.json().get("stream") else Answer(body=WHOLE)


def test_connections_are_reused_after_streams_and_bodies() -> None:
    async def main() -> None:
        async with client(server) as ours:
            for _ in range(5):
                assert (await ours.chat("hi")).text == "Hello"
                async with ours.stream("hi") as stream:
                    assert (await stream.collect()).text == "Hello"
                assert [e async for e in ours.stream("hi")]
                assert [model.id for model in await ours.models()] == ["m"]

    with ScriptedServer(both) as server:
        asyncio.run(main())
        assert len(server.requests) == 20
        assert server.connections == 1
        server.wait_idle(5)


def test_a_stream_left_after_its_end_keeps_its_connection() -> None:
    """Leaving at ResponseEnd, without asking for the next event, is the usual way to read a stream."""

    async def main() -> None:
        async with client(server) as ours:
            for _ in range(3):
                async with ours.stream("hi") as stream:
                    async for event in stream:
                        if type(event).__name__ == "ResponseEnd":
                            break

    with ScriptedServer(both) as server:
        asyncio.run(main())
        assert server.connections == 1


@pytest.mark.parametrize("size", [100, 65_000, 66_000, 1_100_000])
def test_a_body_arrives_whole_and_a_small_one_needs_no_task(size: int) -> None:
    """On Python 3.11, the task that aiohttp makes for a body takes as long as encoding the request."""
    tasks: list[asyncio.Task[Any]] = []

    def noted(loop: asyncio.AbstractEventLoop, work: Any, **settings: Any) -> asyncio.Task[Any]:
        tasks.append(asyncio.Task(work, loop=loop, **settings))
        return tasks[-1]

    async def main() -> None:
        async with client(server) as ours:
            await ours.chat("hi")  # which connects
            text = "x" * (size - len(ours.prepare("").body))
            asyncio.get_running_loop().set_task_factory(noted)
            for stream in (False, True):
                tasks.clear()
                if stream:
                    async with ours.stream(text) as answer:
                        await answer.collect()
                else:
                    await ours.chat(text)
                if size < 65_536:
                    assert not tasks
        sent = [each.body for each in server.requests[1:]]
        assert [json.loads(each)["messages"][0]["content"] for each in sent] == [text] * 2

    with ScriptedServer(both) as server:
        asyncio.run(main())
        assert server.connections == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_dead_reused_connection_is_replaced_once_and_said_so(stream: bool) -> None:
    async def main() -> None:
        async with client(server) as ours:
            await ours.chat("hi")
            if stream:
                async with ours.stream("hi") as answer:
                    response = await answer.collect()
            else:
                response = await ours.chat("hi")
            assert response.text == "Hello"
            assert len(response.attempts) == 1
            assert "reused connection had died" in response.attempts[0].error

    second = Answer(body=[TEXT] if stream else WHOLE, drop_if_reused=True)
    with ScriptedServer([Answer(body=WHOLE), second]) as server:
        asyncio.run(main())
        assert server.connections == 2
        assert len(server.requests) == 3


def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async def main() -> None:
        async with client(server) as ours:
            with pytest.raises(TransportError, match="before it answered"):
                await ours.chat("hi")

    with ScriptedServer([Answer(drop=True)]) as server:
        asyncio.run(main())
        assert len(server.requests) == 1


def test_a_client_serves_one_loop_after_another_and_closed_loops_are_forgotten() -> None:
    with ScriptedServer(both) as server:
        ours = client(server)
        for _ in range(3):
            assert asyncio.run(ours.chat("hi")).text == "Hello"
        server.wait_idle(5)  # each loop's connections went with it
        loop = asyncio.new_event_loop()  # a loop that is closed without the usual shutdown
        assert loop.run_until_complete(ours.chat("hi")).text == "Hello"
        loop.close()
        assert asyncio.run(ours.chat("hi")).text == "Hello"
        gc.collect()
        server.wait_idle(5)


def exchanges() -> list[HTTPExchange]:
    return [each for each in gc.get_objects() if type(each) is HTTPExchange]


def test_a_thousand_cancelled_streams_leave_nothing_open_and_lose_nothing() -> None:
    """Cancelled at random points: while waiting for a connection, for the head, between events, in the close."""
    dice = random.Random(4)
    pieces = [sse(chunk({"content": f"{n} "}), done=False) for n in range(20)] + [sse(chunk({}, "stop"))]

    async def one(ours: AsyncClient) -> str:
        async with ours.stream("hi") as stream:
            return (await stream.collect()).text

    async def main() -> None:
        earlier = exchanges()  # of other tests, whose errors may still hold them
        async with client(server, max_connections=4) as ours:
            whole = " ".join(map(str, range(20))) + " "
            tasks = [asyncio.create_task(one(ours)) for _ in range(1000)]
            loop = asyncio.get_running_loop()
            for task in tasks:
                if dice.random() < 0.9:
                    loop.call_later(dice.random() * 2.0, task.cancel)
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) or r == whole for r in done)
            assert sum(r == whole for r in done) >= 50
            # All four places of the pool are free again.
            assert await asyncio.wait_for(asyncio.gather(*(one(ours) for _ in range(8))), 20) == [whole] * 8
            assert len(asyncio.all_tasks()) == 1
            del tasks, task, done  # their tracebacks hold the streams
            gc.collect()
            assert set(map(id, exchanges())) == set(map(id, earlier))
        await server.wait_idle_async(5)

    with ScriptedServer(lambda _: Answer(body=[Paced(pieces, every=0.001)])) as server:
        asyncio.run(main())
        assert server.failures == []


def test_a_stream_dropped_unread_warns_with_its_line_and_closes() -> None:
    async def main() -> None:
        async with client(server) as ours:
            stream = ours.stream("hi")
            await anext(stream)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del stream
                gc.collect()
            assert [w.category for w in caught] == [ResourceWarning]
            assert f"{Path(__file__).name}:" in str(caught[0].message)
            await server.wait_idle_async(1)

    with ScriptedServer([Answer(body=[TEXT[:240], Stall()])]) as server:
        asyncio.run(main())


def test_closing_the_client_ends_what_is_under_way() -> None:
    async def main() -> None:
        ours = client(server)
        stream = ours.stream("hi")
        await anext(stream)
        reading = asyncio.create_task(stream.collect())
        await asyncio.sleep(0)
        await ours.aclose()
        with pytest.raises(ProviderError):
            await asyncio.wait_for(reading, 5)
        with pytest.raises(ConfigError, match="closed"):
            await ours.chat("hi")
        with pytest.raises(ConfigError, match="closed"):
            ours.stream("hi")

    with ScriptedServer([Answer(body=[TEXT[:240], Stall()])]) as server:
        asyncio.run(main())


def test_large_headers_pass() -> None:
    async def main() -> None:
        async with client(server) as ours:
            assert len((await ours.chat("hi")).headers["x-big"]) == 30_000

    with ScriptedServer([Answer(headers={"x-big": "a" * 30_000}, body=WHOLE)]) as server:
        asyncio.run(main())


def test_no_cookie_is_kept() -> None:
    async def main() -> None:
        async with client(server) as ours:
            await ours.chat("hi")
            await ours.chat("hi")

    with ScriptedServer([Answer(headers={"set-cookie": "a=b"}, body=WHOLE), Answer(body=WHOLE)]) as server:
        asyncio.run(main())
        assert server.requests[1].header("cookie") is None


def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with ScriptedServer([Answer(body=WHOLE)]) as server:
        ours = client(server)
        asyncio.run(ours.chat("hi"))
        assert [v for k, v in server.requests[0].headers if k.lower() == "authorization"] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("how", ["env", "loopback", "explicit", "off", "no_proxy"])
def test_proxies(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http through a proxy is an absolute-URI request that carries the proxy's own credentials."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedServer(both) as proxy, ScriptedServer(both) as server:
        address = proxy.url.replace("http://", "http://user:pw@")
        base = "http://service.test" if how == "env" else server.url
        settings: dict[str, Any] = {}
        if how in ("env", "loopback", "no_proxy", "off"):
            monkeypatch.setenv("http_proxy", address)
        if how == "no_proxy":
            monkeypatch.setenv("no_proxy", "127.0.0.1")
        if how == "explicit":
            settings = {"proxy": address}
        if how == "off":
            settings = {"proxy": None}
        place = ProviderConfig("openai-chat", base_url=f"{base}/v1", api_key=KEY, allow_http=True)
        ours = AsyncClient("openai-chat:m", providers=[place], **settings)
        assert asyncio.run(ours.chat("hi")).text == "Hello"
        through = how in ("env", "explicit")
        assert (len(proxy.requests), len(server.requests)) == ((1, 0) if through else (0, 1))
        if through:
            assert proxy.requests[0].target == f"{base}/v1/chat/completions"
            assert proxy.requests[0].header("proxy-authorization") == "Basic dXNlcjpwdw=="


def test_key_callables_are_asked_each_time() -> None:
    asked: list[str] = []

    def sync_key() -> str:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # it may block: it runs off the loop
        asked.append("sync")
        return f"token-{len(asked)}"

    async def async_key() -> str:
        asked.append("async")
        return f"token-{len(asked)}"

    async def main(key: Any) -> None:
        async with AsyncClient("openai-chat:m", base_url=server.url, api_key=key) as ours:
            await ours.chat("hi")
            await ours.chat("hi")

    with ScriptedServer(both) as server:
        asyncio.run(main(sync_key))
        asyncio.run(main(async_key))
        sent = [r.header("authorization") for r in server.requests]
    assert sent == [f"Bearer token-{n}" for n in (1, 2, 3, 4)]
    assert asked == ["sync", "sync", "async", "async"]


@pytest.mark.parametrize("batches", [1, 2])
def test_a_slow_consumer_does_not_use_up_the_clocks(batches: int) -> None:
    async def main() -> None:
        timeouts = Timeouts(idle=5, content=5)
        async with client(server, timeouts=timeouts) as ours, ours.stream("hi") as stream:
            for gate in gates[:batches]:
                assert await stream.pull()
                server.open(gate)
            skip(60)  # more is there long before the consumer comes back
            await asyncio.sleep(0.02)
            for gate in gates[batches:]:
                server.open(gate)
            assert (await stream.collect()).text == "Hello"

    gates = [Gate(), Gate()]
    with ScriptedServer([Answer(body=[TEXT[:240], gates[0], TEXT[240:480], gates[1], TEXT[480:]])]) as server:
        shifted(main())


def test_the_partial_is_there_at_any_moment() -> None:
    async def main() -> None:
        async with client(server) as ours, ours.stream("hi") as stream:
            with pytest.raises(RuntimeError, match="has not ended"):
                _ = stream.response
            async for event in stream:
                if type(event).__name__ == "TextDelta":
                    break
            assert stream.partial.text == "Hel"
            assert stream.partial.finish_reason == "pending"
            server.open(gate)
            response = await stream.collect()
            assert response.text == "Hello"
            assert stream.partial == stream.response == response

    gate = Gate()
    body = [
        sse(chunk({"content": "Hel"}), done=False),
        gate,
        sse(chunk({"content": "lo"}), chunk({}, "stop")),
    ]
    with ScriptedServer([Answer(body=body)]) as server:
        asyncio.run(main())


def test_text_stream_gives_text_only() -> None:
    async def main() -> list[str]:
        async with client(server) as ours, ours.stream("hi") as stream:
            return [text async for text in stream.text_stream()]

    with ScriptedServer(both) as server:
        assert asyncio.run(main()) == ["Hello"]


def test_events_before_an_error_in_the_same_chunk_are_delivered() -> None:
    async def main() -> list[str]:
        seen = []
        async with client(server) as ours:
            with pytest.raises(StreamInterrupted):
                async for event in ours.stream("hi"):
                    seen.append(type(event).__name__)
        return seen

    with ScriptedServer([Answer(body=[sse(chunk({"content": "a"}), done=False)])]) as server:
        assert asyncio.run(main()) == ["ResponseStart", "PartStart", "TextDelta"]


def test_a_process_that_forgets_everything_ends_silently() -> None:
    """No aclose, a stream left open, `asyncio.run` over: not a word on standard error."""
    script = """
        import asyncio, logging, sys
        from brainwires_provider import AsyncClient
        logging.getLogger("asyncio").setLevel(logging.ERROR)  # a slow machine's slow callbacks are no leak
        client = AsyncClient("openai-chat:m", base_url=sys.argv[1], api_key="k")
        asyncio.run(client.chat("hi"))
        asyncio.run(client.chat("hi"))
    """
    with ScriptedServer(both) as server:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(script), server.url],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_model_list() -> None:
    async def main() -> None:
        async with client(server) as ours:
            models = await ours.models()
            assert [(m.id, m.owner, m.context_window) for m in models] == [
                ("a", "me", None),
                ("b", None, 4096),
            ]
            with pytest.raises(ProviderError, match="not a list of models"):
                await ours.models("openai-chat")

    listing = {"object": "list", "data": [{"id": "a", "owned_by": "me"}, {"id": "b", "context_length": 4096}]}
    answers = [Answer(body=json.dumps(listing).encode()), Answer(body=b'{"data": 3}')]
    with ScriptedServer(answers) as server:
        asyncio.run(main())
        first = server.requests[0]
        assert (first.method, first.path, first.body) == ("GET", "/v1/models", b"")
