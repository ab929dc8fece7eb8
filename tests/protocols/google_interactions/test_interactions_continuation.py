"""Stored interactions are continued by content: only what is new is sent where the server holds the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider import AsyncClient, Client, GoogleInteractionsOptions, Message, NotFoundError
from brainwires_provider._core import continuing
from brainwires_provider.protocols.base.continuation import Match
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.google_interactions import GoogleInteractions
from brainwires_provider.testing import InteractionsService, ScriptedServer, called, model_output, thought
from brainwires_provider.types import Continuation, Origin, Response, Retry, TextPart, Tool

STORED = GoogleInteractionsOptions(store=True)
WEATHER = Tool("weather", "Tells the weather of a city at an hour of the day.", {"type": "object"})
CALLS = 20


def calling(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Twenty calls, one after the other, and an answer."""
    number = sum(step["type"] == "function_result" for step in steps)
    if number == CALLS:
        return [thought(f"sig-{number}"), model_output("Done.")]
    return [thought(f"sig-{number}", "Next." * 20), called(f"c{number}", "weather", {"hour": number})]


def client(server: ScriptedServer, **settings: Any) -> Client:
    given: dict[str, Any] = {
        "api_key": "k",
        "base_url": f"{server.url}/v1beta",
        "proxy": None,
        "retry": Retry(attempts=1),
        **settings,
    }
    return Client("google-interactions:gemini-3-flash-preview", **given)


def loop(ours: Client, *, streams: bool, options: GoogleInteractionsOptions = STORED) -> list[Response]:
    """The caller's own loop, which passes the whole history every time."""
    messages = [Message.user("How is the weather today, hour by hour?")]
    answers: list[Response] = []
    while True:
        if streams:
            with ours.stream(messages, tools=[WEATHER], provider_options=options) as stream:
                answers.append(stream.collect())
        else:
            answers.append(ours.chat(messages, tools=[WEATHER], provider_options=options))
        calls = answers[-1].tool_calls
        if not calls:
            return answers
        results = [Message.tool_result(call, RESULT) for call in calls]
        messages += [answers[-1].message, *results]


@pytest.mark.parametrize("streams", [False, True])
def test_a_loop_of_tool_calls_sends_what_is_new(streams: bool) -> None:
    service = InteractionsService(calling)
    with ScriptedServer(service) as server, client(server) as ours:
        answers = loop(ours, streams=streams)
        bodies = [request.json() for request in server.requests]
    assert answers[-1].text == "Done."
    assert len(bodies) == CALLS + 1
    parents = [body.get("previous_interaction_id") for body in bodies]
    assert parents == [None, *(answer.id for answer in answers[:-1])]
    assert [len(body["input"]) for body in bodies] == [1] * (CALLS + 1)
    for turn, answer in enumerate(answers):
        told = answer.report.continuation
        assert told is not None and (told.sent, told.of) == (1, 3 * turn + 1)
    assert sum(service.sizes) <= 1.15 * needed(bodies[0])


RESULT = "Sunny, 24 degrees, no wind. " * 4


def needed(first: dict[str, Any]) -> int:
    """The bytes of what is new in each turn, and of the fields that each request has to state."""
    results = [
        {"type": "function_result", "call_id": f"c{turn}", "name": "weather", "result": RESULT}
        for turn in range(CALLS)
    ]
    new = [*first.pop("input"), *results]
    return sum(len(json.dumps(each, separators=(",", ":"))) for step in new for each in (step, first))


def test_without_store_everything_is_sent() -> None:
    service = InteractionsService(calling)
    with ScriptedServer(service) as server, client(server) as ours:
        answers = loop(ours, streams=False, options=GoogleInteractionsOptions())
        assert [len(request.json()["input"]) for request in server.requests] == [
            3 * turn + 1 for turn in range(CALLS + 1)
        ]
    assert all(answer.report.continuation is None for answer in answers)


def talking(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [thought(f"sig-{len(steps)}"), model_output(f"{len(steps)} steps.")]


def test_a_history_that_was_changed_is_sent_whole() -> None:
    service = InteractionsService(talking)
    with ScriptedServer(service) as server, client(server) as ours:
        first = ours.chat([Message.user("One")], provider_options=STORED)
        history = [Message.user("One"), first.message, Message.user("Two")]

        def told(messages: list[Message], **args: Any) -> Continuation:
            response = ours.chat(messages, provider_options=args.pop("options", STORED), **args)
            assert response.report.continuation is not None
            return response.report.continuation

        assert told(history).parent == first.id
        changed = Message("assistant", (first.message.content[0], TextPart("Other.")))
        for messages, args, reason in (
            ([history[0], changed, history[2]], {}, "item 2 (model_output) differs"),
            ([Message.user("Zero"), *history[1:]], {}, "no live chain begins like this"),
            (history, {"system": "Be brief."}, "field 'system_instruction' differs"),
            (history[:1], {}, "shorter"),
        ):
            found = told(messages, **args)
            assert found.parent is None and reason in str(found.reason), reason
            assert found.sent == found.of
        given = GoogleInteractionsOptions(store=True, previous_interaction_id=str(first.id))
        assert "by itself" in str(told([history[2]], options=given).reason)
        assert told(history).parent is not None


def test_a_parent_that_is_gone_is_replaced_by_the_whole_history() -> None:
    service = InteractionsService(talking)
    with ScriptedServer(service) as server, client(server) as ours:
        first = ours.chat([Message.user("One")], provider_options=STORED)
        del service.stored[str(first.id)]
        history = [Message.user("One"), first.message, Message.user("Two")]
        second = ours.chat(history, provider_options=STORED)
        assert second.text == "4 steps."
        assert [attempt.status for attempt in second.attempts] == [404]
        assert second.report.continuation == Continuation(4, 4, reason="sent again")
        assert [len(request.json()["input"]) for request in server.requests] == [1, 1, 4]
        third = ours.chat([*history, second.message, Message.user("Three")], provider_options=STORED)
        assert third.report.continuation is not None
        assert third.report.continuation.parent == second.id
        other = ours.chat([*history[:2], Message.user("Other")], provider_options=STORED)
        assert other.attempts == ()  # what is gone is not asked for again
        assert other.report.continuation is not None and other.report.continuation.sent == 4


def test_another_error_of_a_continued_request_is_that_error() -> None:
    service = InteractionsService(talking)
    with ScriptedServer(service) as server, client(server) as ours:
        first = ours.chat([Message.user("One")], provider_options=STORED)
        history = [Message.user("One"), first.message, Message.user("Two")]
        with pytest.raises(Exception, match="unknown fields"):
            ours.chat(history, provider_options=STORED, extra_body={"mood": 1})
        gone = GoogleInteractionsOptions(store=True, previous_interaction_id="v1_99")
        with pytest.raises(NotFoundError):
            ours.chat([Message.user("Two")], provider_options=gone)


def test_nobody_continues_what_another_key_or_client_has() -> None:
    service = InteractionsService(talking)
    with ScriptedServer(service) as server, client(server) as ours, client(server) as theirs:
        first = ours.chat([Message.user("One")], provider_options=STORED)
        history = [Message.user("One"), first.message, Message.user("Two")]
        told = theirs.chat(history, provider_options=STORED).report.continuation
        assert told is not None and told.parent is None


@pytest.mark.parametrize("other", [{"key": "other"}, {"base_url": "https://other.example"}])
def test_what_a_server_holds_is_known_for_each_key_at_each_address(other: dict[str, str]) -> None:
    session: Any = AsyncClient("google-interactions:m", api_key="k")._session
    plan = session.plan("Hi", {"provider_options": STORED}, stream=False)
    held = session.held.at(plan, plan.stored)
    assert session.held.at(plan, plan.stored) is held
    elsewhere = replace(plan, target=replace(plan.target, **other))
    assert session.held.at(elsewhere, plan.stored) is not held


def test_an_answer_that_was_not_completed_is_not_gone_on_with() -> None:
    stored = GoogleInteractions().stored
    call = Call("/interactions", {"model": "m", "input": [], "store": True})
    asked, _ = stored.outline(call.body)
    for status, id, kept in (
        ("incomplete", "v1_1", False),
        ("completed", "", False),
        ("completed", "v1_1", True),
    ):
        decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
        decoder.feed_whole(json.dumps({"id": id, "status": status, "steps": [model_output("Hi")]}).encode())
        assert (stored.head(asked, decoder) is not None) is kept
    assert stored.carries(call)
    assert not stored.carries(Call("/interactions", {"agent": "a", "store": True}))


def test_every_field_of_a_request_stays_as_it_was_or_may_differ() -> None:
    """Free are what a continued request says anew, and what no model reads."""
    types = pytest.importorskip("google.genai._gaos.types.interactions.createmodelinteraction")
    stored, heads = GoogleInteractions().stored, GoogleInteractions().stored.held()
    asked = [{"type": "user_input", "content": [{"type": "text", "text": "One"}]}]
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    answer = {"id": "v1_1", "status": "completed", "steps": [model_output("Hi")]}
    decoder.feed_whole(json.dumps(answer).encode())
    body: dict[str, Any] = {"model": "m", "input": asked, "store": True}
    head = stored.head(stored.outline(body)[0], decoder)
    assert head is not None
    heads.add(head, "v1_1")
    history = [*asked, model_output("Hi"), *asked]
    free = {
        field
        for field in types.CreateModelInteraction.model_fields
        if isinstance(heads.find(*stored.outline({**body, field: "other", "input": history})), Match)
    }
    assert free == {"input", "stream", "labels", "webhook_config"}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuing, "_MOST", 2)
    service = InteractionsService(talking)

    async def run(server: ScriptedServer) -> None:
        settings: dict[str, Any] = {"api_key": "k", "base_url": f"{server.url}/v1beta", "proxy": None}
        async with AsyncClient("google-interactions:gemini-3-flash-preview", **settings) as ours:
            for number in range(4):
                await ours.chat(f"Question {number}", provider_options=STORED)
            [heads] = ours._session.held._heads.values()
            assert list(heads.places()) == ["v1_3", "v1_4"]

    with ScriptedServer(service) as server:
        asyncio.run(run(server))
