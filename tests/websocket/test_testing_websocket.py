"""The scripted WebSocket server speaks the rules to clients that are not ours, over both wires."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI, OpenAI
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from brainwires_provider.testing import (
    Answer,
    CloseFrame,
    Drop,
    Failure,
    HalfFrame,
    Job,
    ResponsesService,
    ScriptedSocket,
    SocketStep,
    Stall,
    Wait,
    digest,
)
from websocket_clients import (
    Event,
    create,
    http,
    posted,
    read,
    read_to_end,
    run,
    served,
    socket_to,
    user,
)

# -- openai-python agrees ------------------------------------------------------------------------------


@asynccontextmanager
async def openai_to(server: ScriptedSocket) -> AsyncIterator[Any]:
    client = AsyncOpenAI(base_url=server.base_url, api_key="sk-test", organization="org-1")
    async with client, client.responses.connect() as connection:
        yield connection


async def openai_turn(connection: Any, **fields: Any) -> Any:
    await connection.response.create(model="gpt-6", **fields)
    while True:
        event = await connection.recv()
        if event.type in {"response.completed", "response.failed", "response.incomplete", "error"}:
            return event


def test_openai_chains_two_turns() -> None:
    service = ResponsesService()

    async def main(server: ScriptedSocket) -> None:
        async with openai_to(server) as connection:
            first = (await openai_turn(connection, input=[user("a")], store=False)).response
            assert first.output_text == digest([user("a")])
            second = await openai_turn(
                connection, input=[user("b")], store=False, previous_response_id=first.id
            )
            history = service.conversation(second.response.id)
            assert second.response.output_text == digest(history[:-1])
            assert [item["role"] for item in history] == ["user", "assistant", "user", "assistant"]

    with ScriptedSocket(service) as server:
        run(main(server))
        server.wait_idle()
        assert server.handshakes[0].header("authorization") == "Bearer sk-test"
        assert server.handshakes[0].header("OpenAI-Organization") == "org-1"
        assert (server.handshakes[0].path, server.connections) == ("/v1/responses", 1)
        assert [event["input"] for event in server.requests[0]] == [[user("a")], [user("b")]]
        assert len(server.sizes) == 2


def test_openai_forks_on_lanes() -> None:
    service = ResponsesService()

    async def main(server: ScriptedSocket) -> None:
        async with openai_to(server) as connection:
            parent = (await openai_turn(connection, input="a", store=False, stream_id="main")).response.id
            ended = {}
            waiting = ["fork", "main"]
            while len(ended) < 2:
                if waiting:
                    await connection.response.create(
                        model="gpt-6",
                        input=waiting[0],
                        store=False,
                        stream_id=waiting.pop(0),
                        previous_response_id=parent,
                    )
                event = await connection.recv()
                # The guide: from here on the fork no longer needs its parent's lane to stay where it is.
                while waiting and event.type != "response.in_progress":
                    event = await connection.recv()
                assert event.type != "error"
                if event.type == "response.completed":
                    ended[event.stream_id] = event.response
            for lane, response in ended.items():
                assert response.output_text == digest(service.conversation(response.id)[:-1])
                assert service.conversation(response.id)[2]["content"] == lane

    with ScriptedSocket(service) as server:
        run(main(server))


def test_openai_reads_the_errors() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with openai_to(server) as connection:
            lost = await openai_turn(connection, input="a", previous_response_id="resp_abc", stream_id="main")
            assert (lost.type, lost.status, lost.stream_id) == ("error", 400, "main")
            assert lost.error.code == "previous_response_not_found"
            assert lost.error.message == "Previous response with id 'resp_abc' not found."
            assert (await openai_turn(connection, input="a")).type == "response.completed"

    with ScriptedSocket(ResponsesService()) as server:
        run(main(server))


def test_openai_steers() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with openai_to(server) as connection:
            await connection.response.create(model="gpt-6", input="a")
            kinds, response_id = [], None
            while kinds.count("response.created") < 2 or kinds[-1] != "response.completed":
                event = await connection.recv()
                kinds.append(event.type)
                if event.type == "response.in_progress" and response_id is None:
                    response_id = event.response.id
                    await connection.response.steer(previous_response_id=response_id, input="b")
            assert "response.steer.accepted" in kinds
            assert kinds.index("response.incomplete") < len(kinds) - 1

    long_answer = ResponsesService(lambda items, body: "x" * 100, piece=1)
    with ScriptedSocket(long_answer, pace=0.002) as server:
        run(main(server))


def test_openai_falls_back_to_http_on_the_same_port() -> None:
    service = ResponsesService()

    async def begin(server: ScriptedSocket) -> str:
        async with openai_to(server) as connection:
            return (await openai_turn(connection, input="a")).response.id

    with (
        ScriptedSocket(service) as server,
        OpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client,
    ):
        parent = run(begin(server))
        whole = client.responses.create(model="m", input="b", previous_response_id=parent)
        assert whole.output_text == digest(service.conversation(whole.id)[:-1])
        stream = client.responses.create(model="m", input="c", previous_response_id=whole.id, stream=True)
        last = list(stream)[-1]
        assert last.type == "response.completed"
        assert len(service.conversation(last.response.id)) == 6
        with pytest.raises(APIStatusError) as refused:
            client.responses.create(model="m", input="d", previous_response_id="resp_abc")
        assert (refused.value.status_code, refused.value.code) == (400, "previous_response_not_found")
        assert len(server.http_requests) == 3


# -- HTTP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "body", "status", "has"),
    [
        (None, posted(), b"200", b'"status":"completed"'),
        (None, posted(stream=True), b"200", b"event: response.completed\ndata: {"),
        (None, posted(stop="x"), b"400", b"Unknown parameter: 'stop'."),
        (None, b"{", b"400", b"invalid_json"),
        (None, b"[]", b"400", b"invalid_json"),
        (
            Failure("c", "slow", 429, headers={"retry-after": "7"}),
            posted(stream=True),
            b"429",
            b"retry-after: 7",
        ),
        (Failure("c", "no", 503, "after_created"), posted(), b"503", b'"code":"c"'),
        (
            Failure("c", "no", 503, "after_created"),
            posted(stream=True),
            b"200",
            b'{"type":"error","code":"c",',
        ),
        (Failure("c", "no", when="in_response"), posted(), b"200", b'"status":"failed"'),
    ],
)
def test_http_speaks_the_same_rules(author: Failure | None, body: bytes, status: bytes, has: bytes) -> None:
    service = ResponsesService(lambda items, body: author or "fine")
    with ScriptedSocket(service) as server:
        answer = http(server, body)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert has in answer


def test_what_is_neither_is_told_so() -> None:
    with ScriptedSocket(ResponsesService()) as server:
        assert http(server, b"", "/v1/models").startswith(b"HTTP/1.1 404")
        assert http(server, b"", method="GET").startswith(b"HTTP/1.1 405")
    with ScriptedSocket([]) as server:
        assert http(server, posted()).startswith(b"HTTP/1.1 404")
    with ScriptedSocket([], http=Answer(418)) as server:
        assert http(server, posted()).startswith(b"HTTP/1.1 418")
    with ScriptedSocket([], http=lambda request: Answer(200, body=request.body)) as server:
        assert http(server, b"echo").endswith(b"echo")


@pytest.mark.parametrize(
    ("step", "end"),
    [
        (Drop(), b"<RST>"),
        (CloseFrame(1011), b""),
        ({"type": "odd"}, b'event: odd\ndata: {"type":"odd"}\n\n\r\n'),
    ],
)
def test_faults_reach_http_too(step: SocketStep, end: bytes) -> None:
    def fault(connection: int, job: Job, event: Event) -> SocketStep | None:
        assert connection == 0
        return step if event["type"] == "response.completed" else None

    with ScriptedSocket(ResponsesService(), fault=fault, pace=0.001) as server:
        answer = http(server, posted(stream=True))

    assert b"event: response.completed" not in answer
    assert b"response.output_item.done" in answer
    assert end in answer


# -- a service -----------------------------------------------------------------------------------------


def test_lanes_are_interleaved_and_a_lane_is_in_order() -> None:
    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        for lane in ("a", "b", "a"):
            await ws.send(create(stream_id=lane))
        events = []
        while sum(event["type"] == "response.completed" for event in events) < 3:
            events.append(await read(ws))
        lanes = [event["stream_id"] for event in events]
        assert lanes.index("b") < lanes.index("a", lanes.index("b")), "no interleaving"
        of_a = [event["sequence_number"] for event in events if event["stream_id"] == "a"]
        assert of_a == list(range(len(of_a) // 2)) * 2

    served(work, ResponsesService(), pace=0.002)


def test_a_frame_too_big_closes_with_1009() -> None:
    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        await ws.send(create("x" * 1000))
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009

    served(work, ResponsesService(max_frame=1000))


def test_the_clock_is_the_tests() -> None:
    now = [0.0]

    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        await ws.send(create())
        await read_to_end(ws)
        now[0] = 3600
        await ws.send(create())
        assert (await read(ws))["error"]["code"] == "websocket_connection_limit_reached"

    served(work, ResponsesService(), clock=lambda: now[0])


def test_a_closed_connection_forgets_what_was_not_stored() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await ws.send(create(store=False))
            parent = (await read_to_end(ws))[-1]["response"]["id"]
        async with socket_to(server) as ws:
            await ws.send(create(previous_response_id=parent))
            assert (await read(ws))["error"]["code"] == "previous_response_not_found"

    with ScriptedSocket(ResponsesService()) as server:
        run(main(server))


def test_delay_is_a_round_trip_for_each_message_in_its_order() -> None:
    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        begin = time.monotonic()
        for lane in ("a", "b", "c"):
            await ws.send(create(lane, stream_id=lane))
        events = [await read(ws) for _ in range(30)]
        took = time.monotonic() - begin
        assert 0.2 <= took < 2
        assert [e["stream_id"] for e in events if e["type"] == "response.created"] == ["a", "b", "c"]

    service = ResponsesService()
    served(work, service, delay=0.1)
    with ScriptedSocket(service, delay=0.05) as server:
        begin = time.monotonic()
        assert http(server, posted()).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - begin >= 0.1


def test_the_server_pings_and_notices_silence() -> None:
    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await ws.send(create())
            await read_to_end(ws)
            await asyncio.sleep(0.3)  # several pings, each answered by the client's reader
            await ws.send(create())
            await read_to_end(ws)
            ws.transport.pause_reading()
            await asyncio.sleep(0.2)  # a ping comes, and is not answered
            ws.transport.resume_reading()
            await ws.wait_closed()
            assert (ws.close_code, ws.close_reason) == (1011, "keepalive ping timeout")
            await server.wait_idle_async(5)

    with ScriptedSocket(ResponsesService(), ping=0.05) as server:
        run(main(server))


FAULTS: dict[str, Callable[[Event], Any]] = {
    "delay": lambda event: [Wait(0.01), event],
    "twice": lambda event: [event, event],
    "lie": lambda event: {**event, "response": {**event["response"], "id": "resp_of_another"}},
    "nothing": lambda event: [],
    "close": lambda event: CloseFrame(1012),
    "drop": lambda event: Drop(),
    "half": lambda event: HalfFrame(json.dumps(event).encode()),
    "stall": lambda event: Stall(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stands_in_place_of_an_event(name: str) -> None:
    seen: list[tuple[int, str | None]] = []

    def fault(connection: int, job: Job, event: Event) -> Any:
        if event["type"] != "response.created" or job.stream_id != "a":
            return None
        seen.append((connection, job.response_id))
        return FAULTS[name](event)

    async def main(server: ScriptedSocket) -> None:
        async with socket_to(server) as ws:
            await ws.send(create(stream_id="a"))
            await ws.send(create(stream_id="b"))
            if name in {"close", "drop", "half"}:
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await ws.recv()
                assert (closed.value.rcvd is None) is (name != "close")
                return
            events = []
            ended: set[str] = set()
            while ended != ({"b"} if name == "stall" else {"a", "b"}):
                events.append(await read(ws))
                if events[-1]["type"] == "response.completed":
                    ended.add(events[-1]["stream_id"])
            created = [
                event for event in events if event["type"] == "response.created" and event["stream_id"] == "a"
            ]
            assert len(created) == {"twice": 2, "nothing": 0, "stall": 0}.get(name, 1)
            if name == "lie":
                assert created[0]["response"]["id"] == "resp_of_another"

    service = ResponsesService()
    with ScriptedSocket(service, fault=fault) as server:
        run(main(server))
        server.wait_idle(5)
    assert seen == [(1, service.log[0].response_id)]


def test_what_a_fault_holds_up_stays_ahead_on_its_lane() -> None:
    def fault(connection: int, job: Job, event: Event) -> Any:
        return (
            [Wait(0.1), event] if event["type"] == "response.completed" and len(server.sizes) == 3 else None
        )

    async def work(server: ScriptedSocket, ws: ClientConnection) -> None:
        for lane in ("a", "a", "b"):
            await ws.send(create(stream_id=lane))
        kinds = []
        while kinds.count("response.completed") < 2:
            event = await read(ws)
            if event["stream_id"] == "a":
                kinds.append(event["type"])
        assert kinds.index("response.completed") < len(kinds) - 1 - kinds[::-1].index("response.created")

    async def main() -> None:
        async with socket_to(server) as ws:
            await work(server, ws)

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        run(main())
