"""`client.responses.connect()`: raw events in and out, and every end told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    ConfigError,
    InvalidRequestError,
    ProtocolError,
    RequestTimeout,
    StreamInterrupted,
    Timeouts,
    UnsupportedError,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Close,
    CloseFrame,
    Drop,
    Failure,
    ResponsesService,
    ScriptedSocket,
    SocketScript,
    Stall,
    digest,
)
from socket_clients import COLOURS, KEY, LANES, MODEL, answer, begun, played, refusal, tried

BOTH = pytest.mark.parametrize("colour", COLOURS)


async def read(connection: Any, *ends: str) -> list[dict[str, Any]]:
    events = []
    async for event in connection:
        events.append(event)
        if event["type"] in (ends or ("response.completed", "error")):
            break
    return events


@BOTH
def test_raw_events_in_and_out(colour: str) -> None:
    async def scenario(client: Any) -> None:
        connection = client.responses.connect()
        assert not connection.is_connected
        async with connection:
            assert connection.is_connected and connection.headers["upgrade"].lower() == "websocket"
            await connection.create("hi", stream_id="a", system="Be brief.", max_tokens=9)
            events = await read(connection)
            assert [event["sequence_number"] for event in events] == list(range(len(events)))
            assert {event["stream_id"] for event in events} == {"a"}
            parent = events[-1]["response"]["id"]
            await connection.create("and?", stream_id="a", previous_response_id=parent, system="Be brief.")
            last = (await read(connection))[-1]["response"]
            assert last["output"][0]["content"][0]["text"] == digest(service.conversation(last["id"])[:-1])
            await connection.send({"type": "never.heard.of"})
            assert (await connection.receive())["error"]["type"] == "invalid_request_error"
            await connection.aclose()
            assert not connection.is_connected
            assert [event async for event in connection] == []
        with pytest.raises(ConfigError, match="opened once"):
            await connection.__aenter__()

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played(colour, server, scenario, LANES)
    first = server.requests[0][0]
    assert (first["instructions"], first["max_output_tokens"], first["model"]) == ("Be brief.", 9, "gpt-6")
    assert "stream" not in first and KEY not in str(server.requests)


@BOTH
def test_lanes_interleave_and_errors_are_events(colour: str) -> None:
    def author(items: Any, body: Any) -> Any:
        return (
            Failure("server_error", "it broke", 500, "after_created")
            if body["stream_id"] == "b"
            else digest(items)
        )

    async def scenario(client: Any) -> None:
        async with client.responses.connect() as connection:
            for lane in "abc":
                await connection.create(f"to {lane}", stream_id=lane)
            ends: dict[str, str] = {}
            async for event in connection:
                if event["type"] in ("response.completed", "error"):
                    ends[event["stream_id"]] = event["type"]
                if len(ends) == 3:
                    break
            assert ends == {"a": "response.completed", "b": "error", "c": "response.completed"}
            assert connection.is_connected

    with ScriptedSocket(ResponsesService(author)) as server:
        played(colour, server, scenario, LANES)


ENDS = {
    "1000": CloseFrame(1000),
    "1001": CloseFrame(1001, "going"),
    "1005": CloseFrame(None),
    "1006": Close(),
    "1011": CloseFrame(1011),
    "1012": CloseFrame(1012),
}


@BOTH
@pytest.mark.parametrize("code", [*ENDS, "reset"])
def test_a_connection_that_the_server_ends_is_never_a_silent_end(code: str, colour: str) -> None:
    async def scenario(client: Any) -> None:
        async with client.responses.connect() as connection:
            await connection.create("hi")
            with pytest.raises(StreamInterrupted) as raised:
                await read(connection)
            assert raised.value.how == ("1006" if code == "reset" else code)
            for again in (connection.receive(), connection.create("hi"), connection.steer("r1", "x")):
                assert isinstance(await tried(again), StreamInterrupted)
            assert not connection.is_connected
            assert isinstance(await tried(connection.warm_up("hi")), StreamInterrupted)

    with ScriptedSocket([[[*begun("r1"), ENDS.get(code, Drop())]]]) as server:
        played(colour, server, scenario)


@BOTH
def test_silence_garbage_and_a_reader_that_is_too_slow(colour: str) -> None:
    async def silent(client: Any) -> None:
        async with client.responses.connect() as connection:
            await connection.create("hi")
            assert (await connection.receive())["type"] == "response.created"
            with pytest.raises(RequestTimeout) as raised:
                for _ in range(9):
                    await connection.receive()
            assert raised.value.clock == "idle"
            error = await tried(connection.warm_up("hi"))
            assert isinstance(error, RequestTimeout) and error.clock == "first_event"

    async def garbage(client: Any) -> None:
        async with client.responses.connect() as connection:
            for frame in ("not JSON", "[1]", "\N{SNOWMAN}"):
                assert isinstance(await tried(connection.receive()), ProtocolError), frame
            assert (await connection.receive())["type"] == "response.created"  # it goes on

    async def slow(client: Any) -> None:
        async with client.responses.connect() as connection:
            while connection.is_connected:
                await asyncio.sleep(0.01)
            with pytest.raises(StreamInterrupted, match="waited for their consumer") as raised:
                while True:
                    await connection.receive()
            assert raised.value.how == "overflow"

    clocks = Timeouts(idle=0.2, first_event=0.3)
    with ScriptedSocket([[[*begun("r1"), Stall()]]]) as server:
        played(colour, server, silent, timeouts=clocks)
    with ScriptedSocket([SocketScript(first=["not JSON", "[1]", "\N{SNOWMAN}", *answer("r1")])]) as server:
        played(colour, server, garbage)
    with ScriptedSocket([SocketScript(first=[{"type": "x", "of": "x" * 60_000}] * 4)]) as server:
        played(colour, server, slow, WebSocketOptions(max_buffered_bytes=100_000))


@BOTH
def test_a_refused_warm_up_is_typed_and_others_go_on(colour: str) -> None:
    async def scenario(client: Any) -> None:
        async with client.responses.connect() as connection:
            error = await tried(connection.warm_up("hi"))
            assert type(error) is InvalidRequestError and error.code == "because"
            await connection.create("hi")
            assert (await read(connection))[-1]["type"] == "response.completed"

    with ScriptedSocket([[[refusal("because")], answer("r1")]]) as server:
        played(colour, server, scenario)


def test_a_steer_that_comes_too_late_is_told_as_an_event() -> None:
    async def scenario(client: Any) -> None:
        async with client.responses.connect() as connection:
            await connection.create("hi")
            parent = (await read(connection))[-1]["response"]["id"]
            await connection.steer(parent, "more")
            [failed] = await read(connection, "response.steer.failed")
            assert failed["error"]["code"] in ("response_already_completed", "response_not_active")

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)


def test_what_cannot_be_done_is_said() -> None:
    client = AsyncClient(MODEL, api_key=KEY)
    with pytest.raises(UnsupportedError, match="openai-responses-ws"):
        AsyncClient("openai-chat:m", api_key=KEY).responses.connect()

    async def scenario(client: Any) -> None:
        unopened = client.responses.connect()
        for early in (unopened.send({"type": "x"}), unopened.create("hi")):
            with pytest.raises(ConfigError, match="not open"):
                await early
        async with client.responses.connect() as connection:
            with pytest.raises(ConfigError, match="goes to openai-responses-ws"):
                await connection.create("hi", model="openai-chat:m")
            assert connection.is_connected

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)
    assert KEY not in repr(client.responses.connect())
