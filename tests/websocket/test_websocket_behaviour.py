"""What a client of Responses over WebSockets has to do, row by row: docs/websocket-evidence.md has the same rows.

The rows are those of a survey of eleven clients (November 2026); each test is one row, and its name is in the table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
import test_websocket_behaviour_chains as chains
import trustme

from brainwires_provider import (
    AuthenticationError,
    Client,
    Message,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    TextDelta,
    WebSocketOptions,
)
from brainwires_provider.testing import (
    Answer,
    Close,
    CloseFrame,
    Drop,
    Failure,
    Fragments,
    Gate,
    Incomplete,
    Job,
    ResponsesService,
    ScriptedSocket,
    assistant,
    digest,
)
from paths import PROJECT
from socket_clients import (
    COLOURS,
    KEY,
    LANES,
    MODEL,
    MODES,
    answer,
    begun,
    client_of,
    config,
    ended,
    played,
    pools,
    run,
    told,
    tried,
)

DOCS = PROJECT / "docs" / "websocket-evidence.md"
BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())

# Each row of the survey, in its order, and the test here that holds it.
ROWS = {
    "Handshake works, auth+custom headers": "test_the_handshake_carries_the_key_and_the_callers_headers",
    "ws URL from base_url": "test_the_url_follows_from_the_base_url",
    "Env proxy": "test_the_environments_proxy_is_gone_through",
    ">1 MiB events": "test_an_event_of_three_megabytes",
    ">16 MiB request guard → HTTP": "test_a_request_too_large_for_a_frame_goes_over_http",
    "Background reader (pings, idle close)": "test_between_turns_pings_are_answered_and_a_close_is_seen",
    "Bounded buffer/backpressure safe": "test_a_slow_consumer_loses_nothing_or_only_its_own_answer",
    "Lanes/multiplexing": "test_sixteen_answers_at_once_on_one_connection",
    "Pool for concurrency": "test_without_lanes_each_answer_at_once_has_a_connection",
    "`error` terminal + typed, nested & flat": "test_an_error_event_ends_the_answer_and_is_typed",
    "failed/incomplete surfaced with partial output": "test_what_had_arrived_stays",
    "HTTP-class errors on bad handshake": "test_a_refused_handshake_is_the_error_of_its_status",
    "Cancel without stale events": "test_an_answer_left_early_leaves_no_stale_event",
    "Detect mid-stream close as error": "test_a_close_before_the_end_is_an_error_with_the_partial",
    "Reconnect mid-response never hangs": "test_nothing_is_sent_again_once_something_came",
    "Auto previous_response_id + delta w/ prefix check": "test_only_what_is_new_is_sent_after_the_same_beginning",
    "Field-equality check": "test_a_changed_field_sends_everything",
    "Recover previous_response_not_found": "test_a_forgotten_parent_is_recovered_from_once",
    "Rotate before 60 min": "test_connections_are_replaced_before_the_hour",
    "Warm-up helper": "test_a_warm_up_can_be_continued",
    "First-event / idle timeouts": "test_silence_has_a_clock",
    "HTTP SSE fallback": "test_http_gives_the_same_events",
    "Steering": "test_an_answer_under_way_is_steered",
    "Event-loop safety": "test_one_client_in_two_loops_and_twenty_threads",
    "Scripted fake server for tests": "test_the_scripted_server_is_public_and_speaks_to_others",
}


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the document, without its head."""
    lines = DOCS.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows[1:]]


def test_the_document_has_the_same_rows() -> None:
    rows = table("Comparison with other clients")

    assert [row[0] for row in rows] == list(ROWS)
    assert [row[-1].strip("`") for row in rows] == list(ROWS.values())
    assert all(hasattr(chains, name) or name in globals() for name in ROWS.values())
    assert {len(row) for row in rows} == {14}  # the row, eleven clients, ours, its test


# -- reaching the server -------------------------------------------------------------------------------------


@BOTH
def test_the_handshake_carries_the_key_and_the_callers_headers(colour: str) -> None:
    headers = {"OpenAI-Organization": "org-1", "OpenAI-Project": "proj-1", "X-Team": "blue"}

    async def scenario(client: Any) -> None:
        assert (await client.chat("hi")).text == digest([{"role": "user", "content": "hi"}])
        await client.chat("hi", extra_headers={"OpenAI-Project": "proj-2"})

    with ScriptedSocket(ResponsesService()) as server:
        played(colour, server, scenario, LANES, {"headers": headers})

    first, second = server.handshakes
    assert first.header("authorization") == f"Bearer {KEY}"
    assert {name: first.header(name) for name in headers} == headers
    assert second.header("openai-project") == "proj-2"  # so it has a connection of its own
    names = [name.lower() for name, _ in first.headers]
    assert len(names) == len(set(names))
    assert not {"content-type", "content-length", "accept-encoding", "sec-websocket-protocol"} & set(names)


def test_the_url_follows_from_the_base_url() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)
    seen: list[tuple[str, str]] = []
    for secure in (False, True):
        with ScriptedSocket(ResponsesService(), ssl_context=serving if secure else None) as server:
            root, s = server.base_url.removesuffix("/v1"), "s" if secure else ""
            bases = [
                f"{root}/v1",
                f"{root}/v1/",
                f"{root}/deep/er?api-version=1&x=%20",
                f"ws{s}{root[4 + secure :]}/v1",
            ]
            bases.append(server.url)
            for base in bases:
                played(
                    "async", server, lambda c: c.chat("hi"), provider={"base_url": base}, ssl_context=trusting
                )
            seen += [(handshake.path, handshake.query) for handshake in server.handshakes]

    plain = ("/v1/responses", "")
    assert seen == [plain, plain, ("/deep/er/responses", "api-version=1&x=%20"), plain, plain] * 2
    client = Client(MODEL, api_key=KEY)
    assert client.prepare("hi").url == "wss://api.openai.com/v1/responses"


def test_the_environments_proxy_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

        async def pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.transport.abort()

        await asyncio.gather(pour(reader, far_writer), pour(far_reader, writer), return_exceptions=True)

    async def main() -> str:
        listening = await asyncio.start_server(proxy, "127.0.0.1", 0)
        async with listening:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            place = config("http://responses.test/v1", allow_http=True)
            async with client_of("async", place) as client:
                return str((await client.chat("hi")).text)

    for name in ("http_proxy", "WS_PROXY", "ws_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with ScriptedSocket(ResponsesService()) as server:
        assert run(main()).startswith("1 items")
    [head] = asked
    assert head.startswith(b"CONNECT responses.test:80 ") and KEY.encode() not in head
    assert server.handshakes[0].header("host") == "responses.test"


def waiting_seats(client: Any) -> list[Any]:
    """The answers that the server has not ended."""
    return [
        each for pool in pools(client) for connection in pool.connections for each in connection.exchanges()
    ]


# -- sizes and pace ------------------------------------------------------------------------------------------


@BOTH
def test_an_event_of_three_megabytes(colour: str) -> None:
    text = "\N{GRINNING FACE}" * 750_000
    fields = {"instructions": "x" * 100_000}
    script = [*begun("r1", text[:1]), ended("r1", text, **fields)]
    whole = Fragments(msgspec.json.encode(ended("r2", "ok")), 50)

    with ScriptedSocket([[script, [*begun("r2", ""), whole]]]) as server:
        first, second = played(colour, server, lambda c: told(c, "hi", "and?"))

    assert first.text == text and len(text.encode()) == 3_000_000
    assert second.text == "ok" and server.connections == 1


@BOTH
def test_a_request_too_large_for_a_frame_goes_over_http(colour: str) -> None:
    large = "x" * (15 * 1024 * 1024)

    async def scenario(client: Any) -> list[Any]:
        return [
            await client.chat("hi"),
            await client.chat(large),
            await client.chat("hi"),
            client.responses.websocket_stats,
        ]

    with ScriptedSocket(ResponsesService()) as server:
        first, second, third, counts = played(colour, server, scenario)

    assert first.text == third.text and second.text != first.text
    assert [attempt.error for attempt in second.attempts] == [
        "the request is too large for one frame; sent over HTTP: too large for a WebSocket"
    ]
    assert (len(server.http_requests), counts.http_fallbacks, counts.full) == (
        1,
        1,
        2,
    )  # only that one request
    assert max(len(str(event)) for events in server.requests for event in events) < 1000


@BOTH
def test_between_turns_pings_are_answered_and_a_close_is_seen(colour: str) -> None:
    async def scenario(client: Any) -> Any:
        talk = client.conversation()
        await talk.chat("hi")
        await asyncio.sleep(0.5)  # a server that pings each 0.1 s and gets no answer closes with 1011
        await talk.chat("and?")
        assert server.connections == 1
        server.play(CloseFrame(1001))
        await server.wait_idle_async(5)
        while any(pool.connections for pool in pools(client)):  # the client's own thread; bounded by run()
            await asyncio.sleep(0.01)
        answer = await talk.chat("so?")
        assert not answer.attempts
        return client.responses.websocket_stats

    service = ResponsesService()
    with ScriptedSocket(service, ping=0.1) as server:
        counts = played(colour, server, scenario)

    assert (counts.connected, counts.reconnected, counts.incremental) == (2, 0, 1)


@BOTH
def test_a_slow_consumer_loses_nothing_or_only_its_own_answer(colour: str) -> None:
    gate = Gate()
    size, pieces = 20_000, 200

    def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
        return "x" * size * pieces if body["input"][0]["content"] == "long" else "short"

    async def scenario(client: Any) -> tuple[Any, ...]:
        async with client.stream("long") as patient:
            await anext(patient)
            quick = await client.chat("hi")  # the reader has read on meanwhile
            server.open(gate)
            while not all(seat.overflowed for seat in waiting_seats(client)):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # the server pings each 0.1 s and closes a link that does not answer
            return quick, await tried(patient.collect()), client.responses.websocket_stats

    for limit in (64 * 1024 * 1024, 1024 * 1024):
        with ScriptedSocket(
            ResponsesService(author, piece=size),
            ping=0.1,
            fault=lambda number, job, event: (
                [gate, event]
                if event["sequence_number"] == 5 and job.body["input"][0]["content"] == "long"
                else None
            ),
        ) as server:
            traits = WebSocketOptions(multiplexing=True, reuse_after_error=True, max_buffered_bytes=limit)
            quick, slow, counts = played(colour, server, scenario, traits)
        assert quick.text == "short" and counts.connected == 1
        if limit > size * pieces or colour == "sync":  # a thread reads ahead for its caller
            continue
        assert isinstance(slow, StreamInterrupted) and slow.how == "overflow"
        assert (
            slow.partial is not None and limit - size < len(slow.partial.text) < size * pieces
        )  # all that waited


# -- many at once --------------------------------------------------------------------------------------------


def together(count: int) -> tuple[Gate, Any]:
    """A fault that holds every answer once it has begun."""
    gate = Gate()

    def hold(number: int, job: Job, event: Mapping[str, Any]) -> Any:
        return [event, gate] if event["type"] == "response.created" else None

    return gate, hold


@BOTH
def test_sixteen_answers_at_once_on_one_connection(colour: str) -> None:
    gate, hold = together(16)

    async def scenario(client: Any) -> Any:
        asked = [asyncio.ensure_future(client.chat(f"number {n}")) for n in range(16)]
        await server.wait_requests_async(16)
        server.open(gate)
        for n, response in enumerate(await asyncio.gather(*asked)):
            assert response.text == digest([{"role": "user", "content": f"number {n}"}])
        return client.responses.websocket_stats

    with ScriptedSocket(ResponsesService(piece=4), fault=hold) as server:
        counts = played(colour, server, scenario, LANES)

    assert (server.connections, counts.connected, counts.orphaned) == (1, 1, 0)
    assert len({event["stream_id"] for event in server.requests[0]}) == 16


@BOTH
def test_without_lanes_each_answer_at_once_has_a_connection(colour: str) -> None:
    gate, hold = together(4)

    async def scenario(client: Any) -> None:
        asked = [asyncio.ensure_future(client.chat(f"number {n}")) for n in range(4)]
        await server.wait_requests_async(4)  # a client that goes one by one never sends the second
        server.open(gate)
        for n, response in enumerate(await asyncio.gather(*asked)):
            assert response.text == digest([{"role": "user", "content": f"number {n}"}])
        await asyncio.gather(*(client.chat([Message.user("again"), Message.user(str(n))]) for n in range(4)))

    with ScriptedSocket(ResponsesService(lanes=False), fault=hold) as server:
        played(colour, server, scenario, WebSocketOptions(max_idle_connections=4))

    assert server.connections == 4  # and they are used again
    assert not any("stream_id" in event for events in server.requests for event in events)


# -- ends ----------------------------------------------------------------------------------------------------

LIMITED = {"code": "rate_limit_exceeded", "message": "Slow down.", "param": None}
ERRORS: dict[str, dict[str, Any]] = {
    "nested": {"type": "error", "status": 429, "error": LIMITED | {"headers": {"Retry-After": "11"}}},
    "nested, no status": {"type": "error", "error": LIMITED | {"type": "tokens"}},
    "nested, status_code": {
        "type": "error",
        "status_code": 429,
        "error": LIMITED,
        "headers": {"retry-after": "11"},
    },
    "flat": {"type": "error", "sequence_number": 5} | LIMITED,
}


@BOTH
@pytest.mark.parametrize("before", [[], begun("r1")], ids=["first", "in mid-answer"])
@pytest.mark.parametrize("shape", ERRORS)
def test_an_error_event_ends_the_answer_and_is_typed(shape: str, before: list[Any], colour: str) -> None:
    with ScriptedSocket([[[*before, ERRORS[shape]]], [answer("r2")]]) as server:
        error, after = played(colour, server, lambda c: told(c, "hi", "hi"))

    assert type(error) is RateLimitError and error.code == "rate_limit_exceeded"
    assert error.retry_after == (11 if "etry-" in str(ERRORS[shape]) else None)
    assert (error.partial.text if error.partial else "") == ("hel" if before else "")
    assert after.text == "hello"


@BOTH
def test_what_had_arrived_stays(colour: str) -> None:
    said = iter(
        (
            Incomplete("max_output_tokens", [assistant("cut sho")]),
            Incomplete("content_filter", [assistant("I would")]),
            Failure("server_error", "it broke", 500, "in_response", items=[assistant("I was abo")]),
        )
    )

    async def scenario(client: Any) -> list[Any]:
        return [await tried(client.chat(f"hi {n}")) for n in range(3)]

    with ScriptedSocket(ResponsesService(lambda items, body: next(said))) as server:
        length, filtered, failed = played(colour, server, scenario, LANES)

    assert (length.finish_reason, length.raw_finish_reason, length.text) == (
        "length",
        "max_output_tokens",
        "cut sho",
    )
    assert (filtered.finish_reason, filtered.text) == ("content_filter", "I would")
    assert length.usage.input_tokens and filtered.usage.input_tokens
    assert type(failed) is ServerError and failed.code == "server_error"
    assert failed.partial.text == "I was abo"


REFUSED: Mapping[int, type[Exception]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    503: OverloadedError,
}


@BOTH
@pytest.mark.parametrize("status", REFUSED)
def test_a_refused_handshake_is_the_error_of_its_status(status: int, colour: str) -> None:
    body = b'{"error": {"message": "key %s is not for this", "code": "because"}}' % KEY.encode()
    no = Answer(status, {"retry-after": "7", "x-request-id": "req_9"}, body)

    async def scenario(client: Any) -> list[Any]:
        in_hand = client.responses.connect()
        return [await tried(client.chat("hi")), await tried(in_hand.__aenter__())]

    tries = 2 if status in (403, 404) else 1  # it may be that no WebSocket can be opened
    with ScriptedSocket([no] * (tries + 1)) as server:
        errors = played(colour, server, scenario, WebSocketOptions(http_fallback=False))

    for error in errors:
        assert type(error) is REFUSED[status]
        assert (error.status, error.code, error.request_id, error.retry_after) == (
            status,
            "because",
            "req_9",
            7,
        )
        assert KEY not in f"{error} {error!r} {error.body} {error.__dict__}"


@BOTH
@IN_BOTH_MODES
def test_an_answer_left_early_leaves_no_stale_event(traits: WebSocketOptions, colour: str) -> None:
    async def scenario(client: Any) -> None:
        for n in range(5):
            async with client.stream(f"left {n}") as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        break
            response = await client.chat(f"kept {n}")
            assert response.text == digest([{"role": "user", "content": f"kept {n}"}])
        assert client.responses.websocket_stats.abandoned == 5

    with ScriptedSocket(ResponsesService(lanes=traits.multiplexing, piece=1), pace=0.005) as server:
        played(colour, server, scenario, traits)

    assert server.connections == (1 if traits.multiplexing else 10)


CLOSES = {
    "1000": CloseFrame(1000),
    "1001": CloseFrame(1001, "going"),
    "1005": CloseFrame(None),
    "1006": Close(),
    "1006 ": Drop(),
    "1008": CloseFrame(1008),
    "1009": CloseFrame(1009),
    "1011": CloseFrame(1011, "keepalive"),
    "1012": CloseFrame(1012),
    "1013": CloseFrame(1013),
    "4000": CloseFrame(4000),
}


@BOTH
@pytest.mark.parametrize("close", CLOSES)
def test_a_close_before_the_end_is_an_error_with_the_partial(close: str, colour: str) -> None:
    with ScriptedSocket([[[*begun("r1"), CLOSES[close]]]]) as server:
        [error] = played(colour, server, lambda c: told(c, "hi"))

    assert type(error) is StreamInterrupted and error.how == close.strip()
    assert (error.partial.id, error.provider) == ("r1", "openai-responses-ws")
    assert error.partial.text in (
        ("hel", "") if CLOSES[close] == Drop() else ("hel",)
    )  # a reset discards what waits


@BOTH
@pytest.mark.parametrize("end", [CloseFrame(1012), CloseFrame(1000), Drop()])
def test_nothing_is_sent_again_once_something_came(end: Any, colour: str) -> None:
    script = [[answer("r1"), [*begun("r2"), end]], [answer("r3", "new")]]
    with ScriptedSocket(script) as server:
        first, second, third = played(colour, server, lambda c: told(c, "hi", "and?", "and?"))

    assert first.text == "hello" and third.text == "new"
    assert isinstance(second, StreamInterrupted) and second.partial.id == "r2"
    assert [len(events) for events in server.requests] == [2, 1]
    assert "previous_response_id" not in server.requests[1][0]
