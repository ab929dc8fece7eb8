"""Servers that pass over `stream_id`: no answer ever reaches another caller, and lanes are given up only on proof."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from brainwires_provider import InvalidRequestError, WebSocketOptions
from brainwires_provider.testing import Gate, Job, ResponsesService, ScriptedSocket
from socket_clients import COLOURS, LANES, answer, created, played, refusal, told, tried

BOTH = pytest.mark.parametrize("colour", COLOURS)


def echo(items: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> str:
    return f"answer to {items[-1]['content']}"


@BOTH
@pytest.mark.parametrize("spread", [0.0, 0.0005], ids=["at once", "within 6 ms"])
def test_every_answer_reaches_its_own_caller(spread: float, colour: str) -> None:
    async def ask(client: Any, n: int) -> str:
        await asyncio.sleep(spread * n)
        return (await client.chat(f"question {n}")).text

    async def scenario(client: Any) -> list[str]:
        return await asyncio.gather(*(ask(client, n) for n in range(12)))

    for _ in range(5):
        with ScriptedSocket(ResponsesService(echo, ignores_lanes=True), pace=0.0005) as server:
            found = played(colour, server, scenario, LANES)
        assert found == [f"answer to question {n}" for n in range(12)]


def test_one_request_at_a_time_keeps_its_connection_until_lanes_are_in_doubt() -> None:
    """Two requests at once are told apart only by connections of their own."""

    async def scenario(client: Any) -> None:
        assert [turn.text for turn in await told(client, "a", "b")] == ["answer to a", "answer to b"]
        found = await asyncio.gather(*(client.chat(f"question {n}") for n in range(4)))
        assert [turn.text for turn in found] == [f"answer to question {n}" for n in range(4)]
        assert not any(turn.attempts for turn in found)

    with ScriptedSocket(ResponsesService(echo, ignores_lanes=True)) as server:
        played("async", server, scenario, LANES)
    sent = [event for events in server.requests for event in events]
    assert ["stream_id" in event for event in sent] == [True] + [False] * 5


def test_a_server_that_began_one_answer_without_a_name_gets_the_next_request_elsewhere() -> None:
    gate = Gate()

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        is_held = number == 1 and event["type"] == "response.output_text.done"
        return [event, gate] if is_held else None

    async def scenario(client: Any) -> None:
        async with client.stream("question 0") as stream:
            assert (await client.chat("question 1")).text == "answer to question 1"
            server.open(gate)
            response = await stream.collect()
        assert response.text == "answer to question 0" and response.attempts == ()

    with ScriptedSocket(ResponsesService(echo, ignores_lanes=True), fault=hold) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 2


def test_an_answer_left_early_is_not_the_next_ones() -> None:
    async def scenario(client: Any) -> None:
        for n in range(4):
            async with client.stream(f"left {n}") as stream:
                async for _ in stream:
                    break
            assert (await client.chat(f"question {n}")).text == f"answer to question {n}"

    with ScriptedSocket(ResponsesService(echo, ignores_lanes=True, piece=1), pace=0.002) as server:
        played("async", server, scenario, LANES)


# -- what proves nothing -------------------------------------------------------------------------------------

METADATA = {"type": "response.metadata", "metadata": {"safety": "ok"}}


def test_a_metadata_event_without_a_name_proves_nothing() -> None:
    service = ResponsesService(echo)

    def first(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return [METADATA, event] if event["type"] == "response.created" else None

    async def scenario(client: Any) -> None:
        for _ in range(2):
            found = await asyncio.gather(*(client.chat(f"question {n}") for n in range(4)))
            assert [turn.text for turn in found] == [f"answer to question {n}" for n in range(4)]

    with ScriptedSocket(service, fault=first) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 1


SCHEMA = "Invalid schema for function 'cut': 'stream_id' is required but is not in 'properties'."


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "invalid_function_parameters", "message": SCHEMA, "param": "tools[0].parameters"},
        {"code": None, "message": SCHEMA},
        {"code": None, "message": "The tool's unknown field stream_id is not a string."},
    ],
    ids=["param", "schema", "tool"],
)
def test_a_refusal_that_only_mentions_the_name_is_the_callers(fields: dict[str, Any]) -> None:
    event = refusal(**fields)
    event["error"] |= {name: fields[name] for name in ("param",) if name in fields}

    def refuse(number: int, job: Job, said: Mapping[str, Any]) -> Any:
        if job.body["input"][-1]["content"] == "bad":
            return {**event, "stream_id": job.stream_id} if said["type"] == "response.created" else []
        return None

    async def scenario(client: Any) -> None:
        assert type(await tried(client.chat("bad"))) is InvalidRequestError
        found = await asyncio.gather(*(client.chat(f"question {n}") for n in range(4)))
        assert [turn.text for turn in found] == [f"answer to question {n}" for n in range(4)]

    with ScriptedSocket(ResponsesService(echo), fault=refuse) as server:
        played("async", server, scenario, LANES)
    assert server.connections == 1


def test_an_error_without_a_name_is_one_requests_own_where_lanes_are_not_known() -> None:
    """Three requests, the first is refused: its error is not the others'."""
    bad = refusal("content_policy", "not this")

    def plan(handshake: Any) -> Any:
        if handshake.number == 1:
            return [[], [], [bad, *answer("r1", "of another"), created("r2")]]
        return ResponsesService(echo, lanes=False)

    async def scenario(client: Any) -> None:
        found = await asyncio.gather(*(client.chat(f"question {n}") for n in range(3)))
        assert [turn.text for turn in found] == [f"answer to question {n}" for n in range(3)]

    with ScriptedSocket(plan) as server:
        played("async", server, scenario, LANES)


def test_where_lanes_are_in_doubt_every_connection_has_one_request_at_a_time() -> None:
    """Three requests on two connections; one of these errs without a name: the other gets no second request."""

    def plan(handshake: Any) -> Any:
        is_first = handshake.number <= 2
        return (
            [[], [refusal("content_policy", "not this")]] if is_first else ResponsesService(echo, lanes=False)
        )

    async def scenario(client: Any) -> None:
        asked = [asyncio.ensure_future(client.chat(f"question {n}")) for n in range(3)]
        found = await asyncio.gather(*asked[:2])
        server.play(answer("r1", "answer to question 2"))
        for n, turn in enumerate((*found, await asked[2])):
            assert (turn.text, len(turn.attempts)) == (f"answer to question {n}", int(n < 2))

    two = WebSocketOptions(multiplexing=True, reuse_after_error=True, max_concurrent=2)
    with ScriptedSocket(plan) as server:
        played("async", server, scenario, two)
    assert sorted(map(len, server.requests)) == [1, 1, 1, 2]
