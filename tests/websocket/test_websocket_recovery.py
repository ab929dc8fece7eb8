"""The recovery ladder: each rung once, only before anything was delivered, and every try is told.

Requests that fail after their first events are in test_websocket_behaviour.py: nothing is sent again then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from brainwires_provider import (
    APIError,
    AuthenticationError,
    ConnectError,
    InvalidRequestError,
    OpenAIResponsesOptions,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    StreamInterrupted,
    Timeouts,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Answer,
    Close,
    CloseFrame,
    Drop,
    Gate,
    ResponsesService,
    ScriptedSocket,
    SocketScript,
    digest,
)
from brainwires_provider.transports.websocket.connection import Closed, HandshakeRefused
from brainwires_provider.transports.websocket.exchange import Lane, LaneExchange
from brainwires_provider.transports.websocket.fallback import is_no_websocket
from brainwires_provider.transports.websocket.recovery import Step, next_step
from socket_clients import (
    COLOURS,
    LANES,
    SINGLE,
    answer,
    played,
    refusal,
    told,
    tried,
)

BOTH = pytest.mark.parametrize("colour", COLOURS)
KEEPS = WebSocketOptions(reuse_after_error=True)
LIMIT = refusal(
    "websocket_connection_limit_reached", "Responses websocket connection limit reached (60 minutes)."
)
LANE_LIMIT = refusal("websocket_stream_limit_reached", param="stream_id")
LANE_NAME = refusal("invalid_stream_id", param="stream_id")
NO_LANES = {
    "type": "error",
    "status": 400,
    "error": {"message": "Unknown parameter: 'stream_id'.", "param": "stream_id"},
}
STALE = refusal("previous_response_not_found", param="previous_response_id")

Script = list[list[list[Any]]]


class Outcome:
    """What became of the last turn of a conversation."""

    def __init__(self, turns: list[Any], counts: Any, server: ScriptedSocket) -> None:
        self.turns, self.counts, self.server = turns, counts, server
        self.last = turns[-1]


def after(
    script: Script, turns: int = 2, traits: WebSocketOptions = KEEPS, colour: str = "async", **more: Any
) -> Outcome:
    async def scenario(client: Any) -> Any:
        return await told(client, *("hi", "and?", "so?")[:turns]), client.responses.websocket_stats

    with ScriptedSocket(script, **more) as server:
        return Outcome(*played(colour, server, scenario, traits), server)


# -- the decision --------------------------------------------------------------------------------------------


class Place:
    """What a step depends on of a connection."""

    def __init__(self, *, works: bool | None, lanes: int) -> None:
        self.works, self.lanes = works, dict.fromkeys(range(lanes))


def stepped(
    error: Exception,
    *used: Step,
    sent: bool = True,
    works: bool | None = False,
    lanes: int = 1,
    code: int | None = None,
    http: bool = True,
    http_used: bool = False,
    fresh_key: bool = False,
    **state: Any,
) -> Step | None:
    place: Any = Place(works=works, lanes=lanes)
    exchange = LaneExchange(Lane(place, "lane-0")) if sent else None
    for name, value in state.items():
        setattr(exchange, name, value)
    if exchange is not None and code is not None:
        exchange.closed = Closed(code, "", "server")
    return next_step(
        error,
        exchange,
        options=WebSocketOptions(http_fallback=http),
        is_http_used=http_used,
        used=frozenset(used),
        fresh_key=fresh_key,
        fault=lambda error: str(error.code),
    )


LOST = StreamInterrupted("lost", how="eof")


def test_every_fault_has_its_step_once() -> None:
    class Found:
        place = "lane-0"

    for fault, step in {
        "not_found": Step.FULL,
        "no_parents": Step.FULL,
        "instructions": Step.FULL,
        "connection_limit": Step.ROTATE,
        "lane_limit": Step.OTHER_LANE,
        "lane_name": Step.NO_LANES,
        "lanes_unknown": Step.NO_LANES,
        "in_flight": Step.RECONNECT,
        "other": None,
    }.items():
        error = InvalidRequestError("no", status=400, code=fault)
        assert stepped(error, found=Found()) is step
        assert stepped(error, found=None) is (None if step is Step.FULL else step)
        again = {Step.OTHER_LANE: Step.OTHER_LANE, Step.RECONNECT: Step.AGAIN}
        assert stepped(error, *([step] if step else []), found=Found()) is again.get(step)  # type: ignore[arg-type]
    limit = InvalidRequestError("no", status=400, code="lane_limit")
    assert stepped(limit, lanes=0) is Step.OTHER_LANE and stepped(limit, Step.OTHER_LANE, lanes=0) is None


@pytest.mark.parametrize("http", [True, False])
def test_a_lost_connection_is_replaced_and_at_last_http_is_used(http: bool) -> None:
    last = Step.HTTP if http else None
    once = Step.HTTP_ONCE if http else None
    assert stepped(LOST, http=http, works=True) is Step.RECONNECT
    assert stepped(LOST, Step.RECONNECT, http=http, works=True) is Step.AGAIN
    assert stepped(LOST, Step.RECONNECT, Step.AGAIN, http=http, works=True) is last
    assert stepped(LOST, Step.RECONNECT, http=http, works=True, http_used=True) is (last or Step.AGAIN)
    for works in (None, False):
        assert stepped(LOST, http=http, works=works) is Step.AGAIN
        assert stepped(LOST, http=http, works=works, http_used=True) is (last or Step.AGAIN)
        assert stepped(LOST, Step.AGAIN, http=http, works=works) is last
    assert stepped(LOST, Step.AGAIN, Step.HTTP, http=http) is None
    for state in ({"began": True}, {"overflowed": True}):
        assert stepped(LOST, http=http, is_unnamed=True, code=1009, **state) is None
    assert stepped(LOST, http=http, is_unnamed=True, code=1009) is Step.ALONE
    assert stepped(LOST, Step.ALONE, http=http, is_unnamed=True) is None
    assert stepped(LOST, http=http, code=1009) is once and stepped(LOST, http=http, code=1008) is Step.AGAIN
    assert stepped(ProtocolError("large"), http=http, oversize=True) is once
    assert stepped(LOST, Step.HTTP_ONCE, http=http, oversize=True) is None
    for error in (ProtocolError("no"), RequestTimeout("late", clock="idle"), ValueError("no")):
        assert stepped(error, http=http) is None


# A status of the handshake, and whether it may mean that no WebSocket can be opened.
STATUSES: dict[int, bool] = {
    **dict.fromkeys((403, 404, 405, 426, 501, 200, 201, 204, 299), True),
    **dict.fromkeys((400, 402, 406, 408, 409, 429, 500, 502, 503, 529, 300, 301, 302, 199), False),
}


def test_a_handshake_that_fails_is_tried_again_then_over_http() -> None:
    refusals = [(APIError("no", status=status), may_be) for status, may_be in STATUSES.items()]
    refusals += [(HandshakeRefused(status, {}, b""), may_be) for status, may_be in STATUSES.items()]  # type: ignore[misc]
    for error, may_be in (
        *refusals,
        (ConnectError("no"), True),
        (ProtocolError("no"), True),
        (ValueError(), False),
    ):
        assert is_no_websocket(error) is may_be
        assert stepped(error, sent=False) is (Step.AGAIN if may_be else None)
        assert stepped(error, Step.AGAIN, sent=False) is (Step.HTTP if may_be else None)
    assert not is_no_websocket(APIError("no"))
    for error in (AuthenticationError("no", status=401), APIError("no", status=401)):
        assert stepped(error, sent=False) is None
        assert stepped(error, sent=False, fresh_key=True) is Step.NEW_KEY
        assert stepped(error, Step.NEW_KEY, sent=False, fresh_key=True) is None


def test_a_request_over_the_limit_is_not_sent_where_http_is_off() -> None:
    async def ask(client: Any) -> Any:
        return await tried(client.chat("hi"))

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, ask)
        size = len(msgspec.json.encode(server.requests[0][0]))
    for limit in (size, size - 1):
        with ScriptedSocket(ResponsesService()) as server:
            options = WebSocketOptions(http_fallback=False, max_request_bytes=limit)
            found = played("async", server, ask, options)
            assert sum(map(len, server.requests)) == (limit == size)
        if limit == size:
            assert found.text and not found.attempts
        else:
            assert isinstance(found, ProtocolError) and f"larger than the {limit} bytes" in str(found)


# -- another socket ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "end",
    [
        [LIMIT],
        [LIMIT, CloseFrame(1000)],
        [Drop()],
        [Close()],
        [CloseFrame(1001)],
        [CloseFrame(None)],
    ],
    ids=["limit", "limit, closed", "reset", "FIN", "1001", "1005"],
)
def test_a_used_connection_that_ends_is_replaced_once(end: list[Any], colour: str) -> None:
    found = after([[answer("r1"), end], [answer("r2", "new")]], colour=colour)

    assert found.last.text == "new" and len(found.last.attempts) == 1
    assert found.counts.reconnected == 1 and found.counts.http_fallbacks == 0
    assert found.last.report.continuation.parent is None and found.last.report.continuation.sent == 3


def test_the_limit_on_an_idle_connection_is_no_accident() -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation()
        await talk.chat("hi")
        server.play([LIMIT])
        await server.wait_idle_async(5)
        turn = await talk.chat("and?")
        assert turn.text == "new" and not turn.attempts

    with ScriptedSocket([[answer("r1")], [answer("r2", "new")]]) as server:
        played("async", server, scenario, KEEPS)


def test_the_limit_moves_every_lane_and_lets_answers_end() -> None:
    """One answer is under way, one is refused with the limit, a third conversation rests: all three go on."""
    gate = Gate()

    async def scenario(client: Any) -> Any:
        resting, running, refused = (client.conversation(system=f"lane {n}") for n in range(3))
        for talk in (resting, running, refused):
            await talk.chat("hi")
        under_way = asyncio.ensure_future(running.chat("long"))
        await server.wait_requests_async(4)
        other = await refused.chat("limit")
        assert other.text.startswith("3 items") and len(other.attempts) == 1
        third = await resting.chat("and?")
        assert third.text.startswith("3 items") and not third.attempts  # it was not tried there at all
        server.open(gate)
        assert (await under_way).report.continuation.sent == 1
        return client.responses.websocket_stats

    def fault(number: int, job: Any, event: Mapping[str, Any]) -> Any:
        said = job.body["input"][-1]["content"]
        if said == "limit" and number == 1:
            return {**LIMIT, "stream_id": event["stream_id"]} if event["sequence_number"] == 0 else []
        return [event, gate] if said == "long" and event["type"] == "response.in_progress" else None

    with ScriptedSocket(ResponsesService(), fault=fault) as server:
        counts = played("async", server, scenario, LANES)
    assert (server.connections, counts.reconnected) == (2, 1)
    assert [len(events) for events in server.requests] == [5, 2]


@pytest.mark.parametrize(
    "error", [LANE_LIMIT, LANE_NAME, NO_LANES], ids=["names used up", "name", "no lanes"]
)
def test_lanes_that_the_server_refuses(error: dict[str, Any]) -> None:
    def plan(handshake: Any) -> Any:
        if handshake.number == 1:
            return [[{**error, "stream_id": "lane-0"} if error is not NO_LANES else error]]
        return ResponsesService(lanes=error is LANE_LIMIT)

    async def scenario(client: Any) -> None:
        turns = await told(client, "hi", "and?")
        assert [turn.text.split(",")[0] for turn in turns] == ["1 items", "3 items"]
        assert len(turns[0].attempts) == 1 and turns[1].report.continuation.sent == 1

    with ScriptedSocket(plan) as server:
        played("async", server, scenario, LANES)
    assert ["stream_id" in event for event in server.requests[1]] == [error is LANE_LIMIT] * 2


def test_a_server_that_passes_over_lanes_is_found_out() -> None:
    """It answers one after another and names no lane: those who asked at once are asked again, each on its own."""

    def plan(handshake: Any) -> Any:
        if handshake.number > 1:
            return ResponsesService(lanes=False)
        return [answer(f"r{n}", f"answer {n}") for n in range(3)]

    async def scenario(client: Any) -> None:
        found = await asyncio.gather(*(client.chat(f"number {n}") for n in range(3)))
        assert all(turn.text.startswith("1 items") for turn in found)  # none of those that might be another's
        assert (await client.chat("hi")).text.startswith("1 items")

    with ScriptedSocket(plan) as server:
        played("async", server, scenario, LANES)
    assert "stream_id" not in server.requests[1][0]


NEW_WORDS = "tried again on another connection: this one was new, and no response began on it"
REFUSED_WORDS = f"the handshake was refused with status 426; {NEW_WORDS}"
LOST_WORDS = "the connection was closed with code 1006, "
WORDS: Mapping[str, tuple[list[Any], list[str]]] = {
    "lost": ([[[Drop()]]], [LOST_WORDS]),
    "closed": (
        [[[CloseFrame(1012, "away")]]],
        [f"the connection was closed with code 1012, 'away'; {NEW_WORDS}"],
    ),
    "refused": ([Answer(426, body=b"<html>")], [REFUSED_WORDS]),
    "no HTTP": ([Answer(raw=b"SSH-2.0-x\r\n")], ["ws://127.0.0.1:"]),
    "refused, then lost": ([Answer(426), [[Drop()]]], [REFUSED_WORDS, LOST_WORDS]),
    "lost, then refused": ([[answer("r0"), [Drop()]], Answer(426)], [LOST_WORDS, REFUSED_WORDS]),
    "limit": (
        [[answer("r0"), [LIMIT]]],
        [f"{LIMIT['error']['message']}; sent again on a new connection: the old one had reached its limit"],
    ),
}


@pytest.mark.parametrize("case", WORDS)
def test_an_attempt_is_told_in_words(case: str) -> None:
    script, words = WORDS[case]
    with ScriptedSocket([*script, ResponsesService()], http=ResponsesService()) as server:
        turns = played("async", server, lambda client: told(client, "hi", "and?"), KEEPS)
    for attempt, begin in zip(turns[0].attempts + turns[1].attempts, words, strict=False):
        assert attempt.error.startswith(begin)
    assert len(turns[0].attempts or turns[1].attempts) == len(words)


def test_a_request_that_is_too_large_is_told_as_such() -> None:
    small = replace(KEEPS, max_request_bytes=20)
    with ScriptedSocket(ResponsesService(), http=ResponsesService()) as server:
        [turn] = played("async", server, lambda client: told(client, "hi"), small)
    [attempt] = turn.attempts
    assert (
        attempt.error == "the request is too large for one frame; sent over HTTP: too large for a WebSocket"
    )


def test_each_rung_is_taken_once() -> None:
    limit = after([[answer("r1"), [LIMIT]], [[LIMIT]]])
    assert type(limit.last) is InvalidRequestError and limit.counts.reconnected == 1
    stale = after([[answer("r1"), [STALE], [STALE], answer("r9")]])
    assert type(stale.last) is InvalidRequestError and stale.counts.resent == 1
    dead = after(
        [[answer("r1"), [Drop()]], [[Drop()]], [[Drop()]]], traits=WebSocketOptions(http_fallback=False)
    )
    assert type(dead.last) is StreamInterrupted and dead.last.how == "1006"
    assert [len(events) for events in dead.server.requests] == [2, 1, 1]


def test_rungs_follow_each_other() -> None:
    """The parent is forgotten, then the connection has served its time, then two others die: over HTTP it ends."""
    script: list[Any] = [[answer("r1"), [STALE], [LIMIT]], [[CloseFrame(1001)]], [[CloseFrame(1001)]]]
    found = after(script, http=ResponsesService())

    assert found.last.text.startswith("3 items")
    told_ = [attempt.error.split("; ")[1] for attempt in found.last.attempts]
    assert [words.split(":")[0] for words in told_] == [
        "sent again whole",
        "sent again on a new connection",
        "tried again on another connection",
        "sent over HTTP",
    ]
    assert (found.counts.resent, found.counts.reconnected, found.counts.http_fallbacks) == (1, 2, 1)


@BOTH
def test_a_stored_answer_is_continued_on_another_connection(colour: str) -> None:
    async def scenario(client: Any) -> None:
        talk = client.conversation(provider_options=OpenAIResponsesOptions(store=True))
        await talk.chat("hi")
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        turn = await talk.chat("and?")
        assert turn.report.continuation.sent == 1 and turn.text == digest(service.conversation(turn.id)[:-1])
        service.forget(turn.id)
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        turn = await talk.chat("so?")
        assert turn.report.continuation.sent == 5 and turn.text == digest(service.conversation(turn.id)[:-1])
        assert client.responses.websocket_stats.resent == 1

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played(colour, server, scenario, LANES)
    assert server.connections == 3 and service.counters["hydrated"] == 1


# -- over HTTP -----------------------------------------------------------------------------------------------

NO_SOCKETS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "426": (Answer(426), {}),
    "404": (Answer(404), {}),
    "405": (Answer(405), {}),
    "403": (Answer(403, body=b"<html>challenge</html>"), {}),
    "501": (Answer(501), {}),
    "200": (Answer(200, body=b"welcome"), {}),
    "no HTTP": (Answer(raw=b"SSH-2.0-x\r\n"), {}),
    "dropped": (Answer(drop=True), {}),
    "no answer": (Answer(stall_before_headers=True), {"timeouts": Timeouts(connect=0.3)}),
    "1000, a decimal temperature": ([[CloseFrame(1000)]], {}),
    "1008 at once": (SocketScript(first=[CloseFrame(1008)]), {}),
    "1006": ([[Drop()]], {}),
    "1011": ([[CloseFrame(1011)]], {}),
    "1009": ([[CloseFrame(1009)]], {}),
}


@BOTH
@pytest.mark.parametrize("case", NO_SOCKETS)
def test_where_no_websocket_comes_about_http_answers(case: str, colour: str) -> None:
    """Two tries, no storm of reconnections; and it is remembered, but for what was only too large."""
    first, settings = NO_SOCKETS[case]
    service = ResponsesService()

    async def scenario(client: Any) -> Any:
        turns = [await client.chat("hi", max_tokens=7), await client.chat("hi")]
        return turns, client.responses.websocket_stats

    is_kept = case == "1009"
    with ScriptedSocket([first, service] if is_kept else [first, first], http=service) as server:
        (one, two), counts = played(colour, server, scenario, **settings)

    assert one.text == two.text == digest([{"role": "user", "content": "hi"}])
    assert len(one.attempts) == (1 if is_kept else 2) and "sent over HTTP" in one.attempts[-1].error
    assert len(server.handshakes) == 2
    assert (counts.http_fallbacks, len(server.http_requests)) == ((1, 1) if is_kept else (2, 2))


def test_without_the_fallback_the_error_is_told() -> None:
    only = WebSocketOptions(http_fallback=False)
    for case, (first, settings) in NO_SOCKETS.items():
        with ScriptedSocket([first, first]) as server:
            [error] = played("async", server, lambda c: told(c, "hi"), only, **settings)
        assert isinstance(
            error, APIError | ConnectError | ProtocolError | RequestTimeout | StreamInterrupted
        ), case
        assert not server.http_requests
    with ScriptedSocket([]) as server:
        [error] = played("async", server, lambda c: told(c, "x" * 16_000_000), only)
    assert isinstance(error, ProviderError)


# -- handshakes ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(status: int, colour: str) -> None:
    with ScriptedSocket(ResponsesService()) as elsewhere:
        away = Answer(status, {"location": elsewhere.url})

        async def scenario(client: Any) -> list[Any]:
            return [await tried(client.chat("hi")), await tried(client.responses.connect().__aenter__())]

        with ScriptedSocket([away, away]) as server:
            errors = played(colour, server, scenario)
    for error in errors:
        assert isinstance(error, APIError) and error.status == status
        assert "redirect" in str(error) and "base_url" in str(error)
    assert not elsewhere.handshakes and not server.http_requests


@BOTH
def test_a_callable_key_is_asked_at_each_connect_and_once_more_on_401(colour: str) -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append(f"sk-planted-{len(asked)}-key")
        return asked[-1]

    def plan(handshake: Any) -> Any:
        stale = handshake.header("authorization").startswith("Bearer sk-planted-0")
        no = Answer(
            401, body=b'{"error": {"message": "%s expired"}}' % handshake.header("authorization").encode()
        )
        return no if stale or refusing else ResponsesService()

    refusing: list[bool] = []

    async def scenario(client: Any) -> Any:
        talk = client.conversation()
        first, second = await talk.chat("hi"), await talk.chat("and?")
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        await talk.chat("so?")
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        refusing.append(True)
        return first, second, await tried(talk.chat("no"))

    with ScriptedSocket(plan) as server:
        first, second, error = played(colour, server, scenario, LANES, {"api_key": key})

    assert "fresh key" in first.attempts[0].error and first.attempts[0].status == 401 and not second.attempts
    assert [h.header("authorization") for h in server.handshakes] == [f"Bearer {one}" for one in asked]
    assert len(asked) == 5  # 401, its repetition, the reconnection, and 401 twice, which is told
    assert type(error) is AuthenticationError
    shown = f"{error} {error!r} {error.body} {first.attempts}"
    assert not any(one in shown for one in asked) and "[redacted] expired" in shown


def test_a_fixed_key_is_not_tried_again() -> None:
    with ScriptedSocket([Answer(401), ResponsesService()]) as server:
        [error] = played("async", server, lambda c: told(c, "hi"))
    assert type(error) is AuthenticationError and len(server.handshakes) == 1 and not server.http_requests


@BOTH
def test_a_key_that_cannot_be_had_is_the_callers_own_error(colour: str) -> None:
    def key() -> str:
        raise LookupError("the vault is closed")

    async def scenario(client: Any) -> None:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(LookupError, match="vault"):
                await client.chat("hi")
        assert time.monotonic() - began < 5

    with ScriptedSocket(ResponsesService()) as server:
        played(colour, server, scenario, provider={"api_key": key})


def test_a_refused_handshake_fails_nobody_that_an_open_connection_serves() -> None:
    """Twelve wait for connections; four are refused, and the other eight serve all."""

    def plan(handshake: Any) -> Any:
        return (
            Answer(429, {"retry-after": "3"}) if handshake.number % 3 == 0 else ResponsesService(lanes=False)
        )

    async def scenario(client: Any) -> list[Any]:
        return await asyncio.gather(*(tried(client.chat(f"number {n}")) for n in range(12)))

    with ScriptedSocket(plan) as server:
        found = played("async", server, scenario, SINGLE)
    assert len({one.text for one in found}) == 12 and not any(one.attempts for one in found)


def test_a_refused_handshake_fails_those_that_nothing_serves() -> None:
    async def scenario(client: Any) -> list[Any]:
        return await asyncio.gather(*(tried(client.chat(f"number {n}")) for n in range(12)))

    with ScriptedSocket([Answer(429)] * 12) as server:
        found = played("async", server, scenario, SINGLE)
    assert {type(one) for one in found} == {RateLimitError} and len(server.handshakes) == 12
