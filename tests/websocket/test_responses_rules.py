"""A Responses service in memory: what an answer looks like, and what a conversation is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider.testing import (
    Failure,
    ResponsesService,
    assistant,
    digest,
    reasoning,
)
from rules import HIDDEN, Event, answered, create, not_found, output, refused, user

# -- what an answer looks like -------------------------------------------------------------------------


def test_an_answer_is_the_events_of_the_reference_in_their_order() -> None:
    session = ResponsesService(lambda items, body: "0123456789", piece=4).connect()

    events = session.run(create(stream_id="a.b-C_1"))

    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert {event["stream_id"] for event in events} == {"a.b-C_1"}
    assert "".join(event["delta"] for event in events if "delta" in event) == "0123456789"
    response = events[-1]["response"]
    assert response["output"] == [events[-2]["item"]]
    assert response["id"] == events[0]["response"]["id"]
    assert response["usage"]["total_tokens"] == sum(
        response["usage"][name] for name in ("input_tokens", "output_tokens")
    )


def test_the_default_lane_has_no_stream_id() -> None:
    assert not any("stream_id" in event for event in ResponsesService().connect().run(create()))


def test_each_item_has_its_own_events() -> None:
    parts = [
        {"type": "output_text", "text": "text", "annotations": [{"type": "file_path"}]},
        {"type": "refusal", "refusal": "no"},
    ]
    items = [
        {**reasoning("why"), "content": [{"type": "reasoning_text", "text": "because"}]},
        {"type": "custom_tool_call", "name": "t", "input": "free text"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "web_search_call", "action": {}},
        {"type": "message", "role": "assistant", "content": parts},
    ]
    service = ResponsesService(lambda conversation, body: items)

    events = service.connect().run(create())

    kinds = [event["type"].removeprefix("response.") for event in events]
    for kind in (
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_text.delta",
        "reasoning_text.done",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "compaction.compacting",
        "output_text.annotation.added",
        "refusal.delta",
        "refusal.done",
    ):
        assert kinds.count(kind) == 1, kind
    assert [e["item"] for e in events if e["type"] == "response.output_item.done"] == events[-1]["response"][
        "output"
    ]
    assert len({item["id"] for item in events[-1]["response"]["output"]}) == len(items)


def test_encrypted_reasoning_comes_only_if_it_was_asked_for() -> None:
    session = ResponsesService(lambda items, body: [reasoning("", "SEALED"), assistant("x")]).connect()

    assert "encrypted_content" not in answered(session)["output"][0]
    asked = answered(session, include=["reasoning.encrypted_content"])
    assert asked["output"][0]["encrypted_content"] == "SEALED"


# -- continuing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [True, False])
def test_a_continuation_is_answered_with_the_whole_conversation(store: bool) -> None:
    service = ResponsesService()
    session = service.connect()

    first = answered(session, [user("a")], store=store)
    second = answered(session, [user("b")], store=store, previous_response_id=first["id"])

    history = [user("a"), *first["output"], user("b")]
    assert second["output"][0]["content"][0]["text"] == digest(history)
    assert service.conversation(second["id"]) == [*history, *second["output"]]
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens_details"]["cached_tokens"] > 0


def test_an_unknown_parent_is_not_found_in_the_guides_words() -> None:
    session = ResponsesService().connect()

    assert refused(session, create(previous_response_id="resp_abc", stream_id="main")) == not_found(
        "resp_abc", stream_id="main"
    )


def test_a_stored_parent_is_found_from_anywhere_and_an_unstored_one_is_not() -> None:
    service = ResponsesService()
    session = service.connect()
    stored, hidden = answered(session)["id"], answered(session, stream_id="x", store=False)["id"]
    other = service.connect()

    answered(other, previous_response_id=stored)
    assert refused(other, create(previous_response_id=hidden)) == not_found(hidden)
    assert service.log[-1].hydrated
    assert service.counters["hydrated"] == 1
    service.forget(stored)
    assert refused(service.connect(), create(previous_response_id=stored)) == not_found(stored)


def test_without_hydration_a_stored_parent_stays_with_its_lane() -> None:
    service = ResponsesService(hydrate=False)
    first = answered(service.connect())["id"]

    assert refused(service.connect(), create(previous_response_id=first)) == not_found(first)


def test_a_lane_keeps_its_latest_response_only() -> None:
    session = ResponsesService().connect()
    first = answered(session, **HIDDEN)["id"]
    answered(session, **HIDDEN)

    assert refused(session, create(previous_response_id=first)) == not_found(first)


def test_a_closed_connection_forgets() -> None:
    service = ResponsesService()
    session = service.connect()
    first = answered(session, **HIDDEN)["id"]
    session.receive(json.dumps(create()))
    [job] = session.runnable()
    session.close()

    assert session.step(job) is None
    assert refused(session, create(previous_response_id=first)) == not_found(first)


@pytest.mark.parametrize(
    ("lane", "author", "bad", "is_kept"),
    [
        ("a", None, {"input": [output("nobody")]}, False),
        ("a", None, {"unknown": 1}, False),
        ("a", Failure("x", "no", 503), {}, False),
        ("a", Failure("x", "no", 503, "after_created"), {}, False),
        ("a", Failure("x", "no", 503, "in_response"), {}, False),
        ("b", None, {"input": [output("nobody")]}, True),
        ("b", Failure("x", "no", 503, "in_response"), {}, True),
    ],
)
def test_an_error_evicts_the_parent_of_its_own_lane(
    lane: str, author: Failure | None, bad: Event, is_kept: bool
) -> None:
    fails: list[Failure | None] = [None]
    service = ResponsesService(lambda items, body: fails[0] or "fine")
    session = service.connect()
    first = answered(session, stream_id="a", **HIDDEN)["id"]

    fails[0] = author
    session.run(create(**{"stream_id": lane, "previous_response_id": first, **HIDDEN, **bad}))
    fails[0] = None

    events = session.run(create(stream_id="a", previous_response_id=first))
    assert (events[-1]["type"] == "response.completed") is is_kept
    assert service.counters["evicted"] == (not is_kept)


def test_an_evicted_parent_that_is_stored_is_found_again() -> None:
    session = ResponsesService().connect()
    first = answered(session)["id"]
    session.run(create(previous_response_id=first, unknown=1))

    answered(session, previous_response_id=first)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_fork_is_safe_from_in_progress_on(steps: int) -> None:
    session = ResponsesService().connect()
    first = answered(session, stream_id="main", **HIDDEN)["id"]
    session.receive(json.dumps(create("fork", stream_id="fork", previous_response_id=first, **HIDDEN)))
    [fork] = session.runnable()
    begun = [session.step(fork) for _ in range(steps)]
    session.receive(json.dumps(create("on", stream_id="main", previous_response_id=first, **HIDDEN)))
    main = session.runnable()[-1]
    while session.step(main):
        pass

    rest = session.drain()

    if steps == 2:  # response.created and response.in_progress
        assert begun[-1] and begun[-1]["type"] == "response.in_progress"
        assert rest[-1]["type"] == "response.completed"
    else:
        assert rest[-1]["type"] == "error"
        assert rest[-1]["error"]["code"] == "previous_response_not_found"


def test_a_lane_without_a_parent_begins_anew() -> None:
    session = ResponsesService().connect()
    answered(session, "a", stream_id="x")

    assert answered(session, [user("b")], stream_id="x")["output"][0]["content"][0]["text"] == digest(
        [user("b")]
    )


def test_a_conversation_object_continues_by_its_name() -> None:
    service = ResponsesService()
    first = answered(service.connect(), [user("a")], conversation="conv_1")
    second = answered(service.connect(), [user("b")], conversation={"id": "conv_1"})

    assert service.conversation(second["id"])[:3] == [user("a"), *first["output"], user("b")]


def test_a_compaction_is_where_a_conversation_begins() -> None:
    answers = iter(
        [[assistant("x")], [{"type": "compaction", "encrypted_content": "zip"}, assistant("y")], "z"]
    )
    service = ResponsesService(lambda items, body: next(answers))
    session = service.connect()
    first = answered(session, "a")
    second = answered(session, "b", previous_response_id=first["id"])
    third = answered(session, [user("c")], previous_response_id=second["id"])

    assert service.conversation(third["id"]) == [*second["output"], user("c"), *third["output"]]


# -- warming up ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{"input": []}, {"input": [user("before")]}])
def test_a_warm_up_completes_with_nothing_and_is_a_parent(given: Event) -> None:
    service = ResponsesService()
    session = service.connect()

    warm = session.run({"type": "response.create", "model": "m", "generate": False, "store": False, **given})[
        -1
    ]
    assert warm["type"] == "response.completed"
    assert warm["response"]["output"] == []
    second = answered(session, [user("b")], previous_response_id=warm["response"]["id"])

    assert service.conversation(second["id"])[:-1] == [*given["input"], user("b")]
    assert service.counters["warm-ups"] == 1


# -- all together --------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_interleaving_answers_each_conversation_with_its_own(data: st.DataObject) -> None:
    """Turns on three lanes, stepped in any order: each answer is the digest of its own chain."""
    service = ResponsesService()
    session = service.connect()
    histories: dict[str, list[Event]] = {lane: [] for lane in "abc"}
    heads: dict[str, str] = {}
    for turn in range(data.draw(st.integers(1, 6))):
        sent = {
            lane: user(f"{lane}{turn}") for lane in data.draw(st.sets(st.sampled_from("abc"), min_size=1))
        }
        for lane, item in sent.items():
            parent = {"previous_response_id": heads[lane]} if lane in heads else {}
            assert not session.receive(json.dumps(create([item], stream_id=lane, store=False, **parent)))
        while jobs := session.runnable():
            event = session.step(data.draw(st.sampled_from(jobs)))
            if event and event["type"] == "response.completed":
                lane, response = event["stream_id"], event["response"]
                histories[lane].append(sent[lane])
                assert response["output"][0]["content"][0]["text"] == digest(histories[lane])
                histories[lane] += response["output"]
                heads[lane] = response["id"]
    for lane, head in heads.items():
        assert service.conversation(head) == histories[lane]
