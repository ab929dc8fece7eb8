"""What goes into the frames: whose history, which fields, which items; and nothing that shows a secret."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    ImagePart,
    Message,
    OpaquePart,
    OpenAIResponsesOptions,
    PartEnd,
    ProviderError,
    Reasoning,
    Tool,
    ToolCallDelta,
    ToolCallPart,
)
from brainwires_provider.testing import (
    Answer,
    CloseFrame,
    ResponsesService,
    ScriptedSocket,
    assistant,
    digest,
    function_call,
    reasoning,
)
from socket_clients import (
    COLOURS,
    KEY,
    LANES,
    MODEL,
    MODES,
    SINGLE,
    answer,
    config,
    played,
    refusal,
    run,
    told,
    tried,
)

BOTH = pytest.mark.parametrize("colour", COLOURS)
IN_BOTH_MODES = pytest.mark.parametrize("traits", MODES.values(), ids=MODES.keys())
WEATHER = Tool(
    "weather", "The weather of a place.", {"type": "object", "properties": {"of": {"type": "string"}}}
)


def frames(server: ScriptedSocket) -> list[dict[str, Any]]:
    return [frame for events in server.requests for frame in events]


@BOTH
@IN_BOTH_MODES
def test_two_users_with_equal_beginnings_never_cross(traits: Any, colour: str) -> None:
    """The same client, model, instructions and first words; answers that look alike."""

    def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
        return [assistant("Hello!", id=f"msg_{len(items)}")]  # the same for every user

    async def user(client: Any, secret: str) -> None:
        talk = client.conversation(system="Be kind.")
        await talk.chat("hi")
        await talk.chat(f"my secret is {secret}")
        turn = await talk.chat("what is it?")
        held = json.dumps(service.conversation(turn.id))
        assert [name for name in names if name in held] == [secret]
        assert len(service.conversation(turn.id)) == 6

    names = [f"secret-{n:02}" for n in range(12)]

    async def scenario(client: Any) -> None:
        await asyncio.gather(*(user(client, name) for name in names))

    service = ResponsesService(author, lanes=traits.multiplexing)
    with ScriptedSocket(service, pace=0.001) as server:
        played(colour, server, scenario, traits)


@BOTH
def test_tool_loops_with_parallel_calls(colour: str) -> None:
    """Every call's output goes, once, and only what is new."""

    def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
        answered = [item["output"] for item in items if item.get("type") == "function_call_output"]
        if len(answered) >= 6:
            return [assistant(" ".join(answered))]
        calls = [
            function_call(
                "weather", json.dumps({"of": f"{len(answered)}{n}"}), call_id=f"c{len(answered)}{n}"
            )
            for n in range(2)
        ]
        return [reasoning("why", "SEALED"), *calls]

    async def scenario(client: Any) -> None:
        talk = client.conversation(tools=[WEATHER])
        turn = await talk.chat("hi")
        while turn.tool_calls:
            assert turn.finish_reason == "tool_calls" and len(turn.tool_calls) == 2
            turn = await talk.chat(
                [Message.tool_result(call, f"sun in {call.args()['of']}") for call in turn.tool_calls]
            )
            assert turn.report.continuation.sent == 2
        assert turn.text == "sun in 00 sun in 01 sun in 20 sun in 21 sun in 40 sun in 41"

    with ScriptedSocket(ResponsesService(author)) as server:
        played(colour, server, scenario, LANES)
    assert [[item["type"] for item in frame["input"]] for frame in frames(server)[1:]] == [
        ["function_call_output"] * 2
    ] * 3


def test_a_call_without_its_output_is_not_continued() -> None:
    """With an id, the service would refuse it for ever; whole, the caller's history is the caller's word."""

    async def scenario(client: Any) -> None:
        talk = client.conversation(tools=[WEATHER])
        turn = await talk.chat("hi")
        [_, second] = turn.tool_calls
        before = client.responses.websocket_stats
        error = await tried(
            client.chat([*talk.messages, Message.tool_result(second, "sun")], tools=[WEATHER])
        )
        assert "No tool output found" in str(error) or "tool" in str(error)
        assert client.responses.websocket_stats.misses["open_call"] == 1
        assert "open_call" not in before.misses  # statistics are of one moment
        turn = await talk.chat([Message.tool_result(call, "sun") for call in turn.tool_calls])
        assert turn.text == "done"

    def author(items: Sequence[Any], body: Mapping[str, Any]) -> Any:
        is_done = any(item.get("type") == "function_call_output" for item in items)
        return "done" if is_done else [function_call("weather", "{}", call_id=f"c{n}") for n in range(2)]

    with ScriptedSocket(ResponsesService(author)) as server:
        played("async", server, scenario, LANES)
    assert "previous_response_id" not in frames(server)[1]


@BOTH
def test_the_pieces_of_a_call_are_joined_by_their_part(colour: str) -> None:
    arguments = json.dumps({"of": "Orl\N{LATIN SMALL LETTER E WITH ACUTE}ans " * 9}, ensure_ascii=False)

    async def scenario(client: Any) -> None:
        pieces: dict[int, str] = {}
        async with client.stream("hi", tools=[WEATHER]) as stream:
            async for event in stream:
                if isinstance(event, ToolCallDelta):
                    pieces[event.index] = pieces.get(event.index, "") + event.text
                if isinstance(event, PartEnd) and isinstance(event.part, ToolCallPart):
                    assert event.part.arguments == pieces.pop(event.index) == arguments
                    assert event.part.id == f"c{event.index}"
        assert not pieces

    author = [function_call("weather", arguments, call_id=f"c{n}") for n in range(3)]
    with ScriptedSocket(ResponsesService(lambda items, body: author, piece=3)) as server:
        played(colour, server, scenario, LANES)


def test_every_part_of_a_history_goes_and_stays() -> None:
    """System messages anywhere, images, calls, results, thoughts: nothing is dropped, in the first turn or later."""
    history = [
        Message.system("One."),
        Message.system("Two."),
        Message.user("look", ImagePart(data=b"\x89PNG", media_type="image/png")),
        Message.assistant("I see."),
        Message.system("Three."),
        Message.user("and?"),
    ]

    async def scenario(client: Any) -> None:
        turn = await client.chat(history)
        assert turn.report.continuation.sent == turn.report.continuation.of
        after = await client.chat([*history, turn.message, Message.user("so?")])
        assert after.report.continuation.sent == 1
        assert after.text == digest(service.conversation(after.id)[:-1])

    service = ResponsesService()
    with ScriptedSocket(service) as server:
        played("async", server, scenario, LANES)
    first = json.dumps(frames(server)[0])
    assert all(
        word in first for word in ("One.", "Two.", "Three.", "data:image/png;base64,", "I see.", "and?")
    )


def test_the_requests_own_fields_are_the_ones_that_go() -> None:
    async def scenario(client: Any) -> None:
        turn = await client.chat(
            "hi",
            model="openai-responses-ws:gpt-6-mini",
            stop=["x"],
            frequency_penalty=0.5,
            max_tokens=99,
            reasoning=Reasoning(effort="high"),
            tools=[WEATHER],
            tool_choice="required",
            output="json",
            provider_options=OpenAIResponsesOptions(store=False, prompt_cache_key="k"),
            extra_body={
                "stream": True,
                "stream_options": {"include_obfuscation": False},
                "metadata": {"a": "b"},
            },
        )
        assert {deviation.field for deviation in turn.report.dropped} == {
            "stop",
            "frequency_penalty",
            "extra_body.stream_options",
        }

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, SINGLE)
    [frame] = frames(server)
    assert frame["model"] == "gpt-6-mini" and frame["max_output_tokens"] == 99
    assert frame["tool_choice"] == "required" and frame["reasoning"]["effort"] == "high"
    assert frame["text"]["format"] == {"type": "json_object"} and frame["prompt_cache_key"] == "k"
    assert frame["metadata"] == {"a": "b"} and frame["store"] is False
    assert not {"stop", "frequency_penalty", "stream", "stream_options", "background", "stream_id"} & set(
        frame
    )
    assert None not in frame.values()


def test_a_background_answer_goes_over_http() -> None:
    async def scenario(client: Any) -> None:
        await tried(client.chat("hi", provider_options=OpenAIResponsesOptions(background=True, store=True)))

    with ScriptedSocket(ResponsesService()) as server:
        played("async", server, scenario, LANES)
    assert len(server.http_requests) == 1 and not server.handshakes


def test_an_unknown_item_is_sent_back_as_it_came() -> None:
    odd = {"type": "never_heard_of", "id": "x1", "data": {"b": None, "a": [1]}}

    async def scenario(client: Any) -> None:
        talk = client.conversation()
        turn = await talk.chat("hi")
        assert [part.kind for part in turn.message.content if isinstance(part, OpaquePart)] == [
            "never_heard_of"
        ]
        assert (await talk.chat("and?")).report.continuation.sent == 1
        await client.chat([*talk.messages, Message.user("elsewhere")], max_tokens=9)

    with ScriptedSocket(
        ResponsesService(lambda items, body: [odd] * (len(items) == 1) + [assistant("hello")])
    ) as server:
        played("async", server, scenario, LANES)
    whole = frames(server)[-1]["input"]
    assert next(item for item in whole if item.get("type") == "never_heard_of")["data"] == odd["data"]


# -- secrets -------------------------------------------------------------------------------------------------


@BOTH
def test_no_secret_shows_anywhere(colour: str, caplog: pytest.LogCaptureFixture) -> None:
    """The server says the key back in every way that it has; the log is as loud as it gets."""
    for name in (None, "websockets", "websockets.client", "asyncio", "aiohttp.client", "brainwires_provider"):
        caplog.set_level(logging.DEBUG, name)
    echo = f"the key {KEY} is not for this"
    script: list[Any] = [
        Answer(401, body=json.dumps({"error": {"message": echo, "param": KEY}}).encode()),
        [[refusal("server_error", echo, 500)]],
        [[refusal("because", echo)]],
        [[refusal("websocket_connection_limit_reached", echo)]],
        [answer("r1")],
        [[CloseFrame(1011, echo[:100])]],
    ]
    shown: list[str] = []

    async def scenario(client: Any) -> None:
        for n in range(5):
            found = await tried(client.chat("hi"))
            assert isinstance(found, ProviderError) or (n == 3 and len(found.attempts) == 1)
            shown.append(
                f"{found} {found!r} {getattr(found, '__dict__', '')} {pickle.loads(pickle.dumps(found))!r}"
            )
        shown.append(f"{client!r} {client.responses!r} {client.responses.connect()!r}")
        shown.append(repr(client.prepare("hi")))

    with ScriptedSocket(
        script, http=Answer(400, body=json.dumps({"error": {"message": echo}}).encode())
    ) as server:
        played(colour, server, scenario)
    text = "\n".join(shown)
    assert "[redacted]" in text and KEY not in text
    assert KEY not in caplog.text and not [r for r in caplog.records if r.name.startswith("websockets")]


def test_loops_that_ended_are_forgotten() -> None:
    """A client that is used in one loop after another keeps nothing of those that are gone."""
    with ScriptedSocket(ResponsesService()) as server:
        client = AsyncClient(MODEL, providers=[config(server.base_url, LANES)])
        for _ in range(2):
            run(told(client, "hi", "and?"))
        gc.collect()
        assert len(client._session.pools._pools) == 1
        run(client.aclose())
        server.wait_idle(5)
