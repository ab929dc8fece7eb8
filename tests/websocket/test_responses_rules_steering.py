"""A Responses service in memory: steering, and the same rules over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider.testing import (
    Failure,
    Job,
    ResponsesService,
    RulesSession,
    assistant,
    reasoning,
)
from rules import HIDDEN, Event, answered, caller, create, not_found, output, refused, user

# -- over HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "param"), [(create(stream_id="a"), "stream_id"), (create(generate=False), "generate")]
)
def test_over_http_the_sockets_fields_are_unknown(event: Event, param: str) -> None:
    error = refused(ResponsesService().connect(over_http=True), event)

    assert (error["error"]["code"], error["error"]["param"]) == ("unknown_parameter", param)


def test_over_http_only_what_is_stored_can_be_continued() -> None:
    service = ResponsesService()
    stored = answered(service.connect(over_http=True))["id"]
    session = service.connect(over_http=True)
    hidden = answered(session, **HIDDEN)["id"]

    answered(session, previous_response_id=stored)
    assert refused(session, create(previous_response_id=hidden)) == not_found(hidden)
    answered(session, background=False)
    assert refused(session, create(background=True))["error"]["param"] == "background"
    assert refused(session, {"type": "response.steer"})["error"]["param"] == "type"
    assert service.counters["connections"] == 0


# -- steering ------------------------------------------------------------------------------------------


def begun(session: RulesSession, steps: int, **fields: Any) -> Job:
    session.receive(json.dumps(create(**fields)))
    job = session.runnable()[-1]
    for _ in range(steps):
        session.step(job)
    return job


def steer(session: RulesSession, response_id: object, input: object = "rather", **more: Any) -> Event:
    event = {"type": "response.steer", "previous_response_id": response_id, "input": input, **more}
    [answer] = session.receive(json.dumps(event))
    return answer


def test_a_steered_response_ends_early_and_a_successor_follows_by_itself() -> None:
    service = ResponsesService(lambda items, body: "0123456789" * 10, piece=10)
    session = service.connect()
    job = begun(session, 6, stream_id="a", input=[user("a")], temperature=1)

    accepted = steer(session, job.response_id)
    events = session.drain()

    assert accepted["type"] == "response.steer.accepted"
    assert (accepted["stream_id"], accepted["steer"]["previous_response_id"]) == ("a", job.response_id)
    ends = [
        e for e in events if e["type"] in {"response.incomplete", "response.created", "response.completed"}
    ]
    steered, created, completed = ends
    assert steered["response"]["incomplete_details"] == {"reason": "steered"}
    item = steered["response"]["output"][0]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "0123456789" * 2)
    assert created["response"]["previous_response_id"] == job.response_id
    assert created["response"]["temperature"] == 1
    assert {e["stream_id"] for e in events} == {"a"}
    history = service.conversation(completed["response"]["id"])
    assert history[:-1] == [user("a"), item, user("rather")]


def test_a_steer_at_the_end_lets_the_response_complete_first() -> None:
    session = ResponsesService(lambda items, body: "0123", piece=10).connect()
    job = begun(session, 5)
    steer(session, job.response_id, [user("b")])

    kinds = [e["type"] for e in session.drain()]
    assert [k for k in kinds if k.startswith("response.comp") or k == "response.created"] == [
        "response.completed",
        "response.created",
        "response.completed",
    ]


def test_a_steer_cuts_between_items_too() -> None:
    session = ResponsesService(lambda items, body: [reasoning("r"), assistant("x")]).connect()
    job = begun(session, 4)
    steer(session, job.response_id)

    end = next(e for e in session.drain() if e["type"] == "response.incomplete")
    assert [item["type"] for item in end["response"]["output"]] == ["reasoning"]


def test_steering_waits_for_tool_outputs_and_goes_ahead_of_them() -> None:
    service = ResponsesService(caller)
    session = service.connect()
    job = begun(session, 3, input=[user("a")])
    steer(session, job.response_id)

    completed, pending = session.drain()[-2:]
    assert (completed["type"], pending["type"]) == ("response.completed", "response.steer.pending")
    call = completed["response"]["output"][1]
    assert pending["reason"] == "waiting_for_required_input"
    assert pending["required_input"] == [
        {"type": "function_call_output", "call_id": call["call_id"], "name": "look"}
    ]
    answer = answered(session, [output(call["call_id"])], previous_response_id=job.response_id)
    assert service.conversation(answer["id"])[3:5] == [user("rather"), output(call["call_id"])]


def test_a_failure_gives_steering_back() -> None:
    session = ResponsesService(lambda items, body: Failure("x", "no", when="in_response")).connect()
    job = begun(session, 2)
    steer(session, job.response_id)

    failed, given_back = session.drain()[-2:]
    assert (failed["type"], given_back["type"]) == ("response.failed", "response.steer.failed")
    assert given_back["error"]["code"] == "successor_creation_failed"
    assert given_back["steer"]["input"] == [user("rather")]


def test_a_successor_that_is_refused_gives_steering_back() -> None:
    answers = iter(["fine", Failure("x", "no")])
    session = ResponsesService(lambda items, body: next(answers)).connect()
    job = begun(session, 5)
    steer(session, job.response_id)

    assert session.drain()[-1]["error"]["code"] == "successor_creation_failed"


STEER_FAULTS: dict[str, tuple[str, Event, int, dict[str, Any]]] = {
    "unknown": ("response_not_found", {}, 3, {"response_id": "resp_x"}),
    "no text": ("invalid_input", {}, 3, {"input": ""}),
    "no message": ("invalid_input", {}, 3, {"input": [output("c")]}),
    "no content": ("invalid_input", {}, 3, {"input": [{"role": "user", "content": 1}]}),
    "no user": ("invalid_input", {}, 3, {"input": [{"role": "system", "content": "x"}]}),
    "a stream_id": ("invalid_input", {}, 3, {"stream_id": "a"}),
    "another model": ("steering_not_supported", {"model": "gpt-5"}, 3, {}),
    "a conversation": ("steering_not_supported", {"conversation": "c"}, 3, {}),
    "automatic compaction": ("steering_not_supported", {"context_management": []}, 3, {}),
    "not yet": ("response_not_active", {}, 1, {}),
    "too late": ("response_already_completed", {}, 99, {}),
}


@pytest.mark.parametrize("case", STEER_FAULTS)
def test_a_wrong_steer_fails_and_gives_its_input_back(case: str) -> None:
    code, fields, steps, wrong = STEER_FAULTS[case]
    session = ResponsesService().connect()
    job = begun(session, steps, stream_id="lane", **fields)

    sent = {"response_id": job.response_id, "input": "rather", **wrong}
    failed = steer(session, sent.pop("response_id"), sent.pop("input"), **sent)

    assert (failed["type"], failed["error"]["code"]) == ("response.steer.failed", code)
    assert failed["steer"]["input"] == wrong.get("input", "rather")
    assert failed.get("stream_id") == (None if case == "unknown" else "lane")


def test_too_many_steers() -> None:
    session = ResponsesService().connect()
    job = begun(session, 3)
    kinds = [steer(session, job.response_id)["type"] for _ in range(9)]

    assert kinds == ["response.steer.accepted"] * 8 + ["response.steer.failed"]
