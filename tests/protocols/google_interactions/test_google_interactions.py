"""The Interactions API beyond its fixtures: what depends on a model, and histories that move between Google's APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from brainwires_provider import AsyncClient
from brainwires_provider.errors import APIError, ProtocolError
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import final_text
from brainwires_provider.protocols.google_interactions import GoogleInteractions
from brainwires_provider.protocols.google_interactions.response import EVENTS
from brainwires_provider.types import (
    Citation,
    Message,
    OpaquePart,
    Origin,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

HERE = "google-interactions:gemini-3-flash-preview"
THERE = "google:gemini-3-flash-preview"


def prepared(model: str, messages: Any, **args: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The body, and what is reported, by field."""
    done = AsyncClient(model, api_key="k").prepare(messages, **args)
    return json.loads(done.body), {d.field: d.outcome for d in done.report.deviations}


# -- models --------------------------------------------------------------------------------------------------

MODELS: tuple[tuple[str, dict[str, Any], dict[str, Any], dict[str, str]], ...] = (
    ("gemini-3-flash-preview", {"reasoning": "medium"}, {"thinking_level": "medium"}, {}),
    ("gemini-3-flash-preview", {"reasoning": "off"}, {"thinking_level": "minimal"}, {"reasoning": "adapted"}),
    ("gemini-3-pro-preview", {"reasoning": "medium"}, {"thinking_level": "high"}, {"reasoning": "adapted"}),
    ("gemini-2.5-flash", {"reasoning": "low"}, {"thinking_level": "low"}, {}),
    ("gemini-2.0-flash", {"reasoning": "low"}, {}, {"reasoning": "dropped"}),
    ("gemini-2.0-flash", {"reasoning": "off"}, {}, {}),
)


@pytest.mark.parametrize(("model", "args", "config", "report"), MODELS)
def test_a_level_is_one_that_the_model_has(
    model: str, args: dict[str, Any], config: dict[str, Any], report: dict[str, str]
) -> None:
    body, reported = prepared(f"google-interactions:{model}", "Hi", **args)
    assert body.get("generation_config", {}) == config
    assert reported == report


@pytest.mark.parametrize(
    ("messages", "args", "field"),
    [
        ([Message.system("Be brief."), Message.user("Hi")], {}, "messages[0].role"),
        ([Message.user("Hi")], {"system": "Be brief."}, "system"),
    ],
)
def test_a_model_without_instructions_reads_them_first(messages: Any, args: Any, field: str) -> None:
    body, reported = prepared("google-interactions:gemma-4-31b-it", messages, **args)
    assert [step["content"][0]["text"] for step in body["input"]] == ["Be brief.", "Hi"]
    assert "system_instruction" not in body
    assert reported == {field: "adapted"}


@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("deep-research-preview-04-2026", "deep-research-preview-04-2026"),
        ("agents/my-agent", "my-agent"),
    ],
)
def test_an_agent_is_asked_in_the_background(model: str, agent: str) -> None:
    body, reported = prepared(f"google-interactions:{model}", "Look into it.", max_tokens=5)
    assert body == {
        "agent": agent,
        "input": [{"type": "user_input", "content": [{"type": "text", "text": "Look into it."}]}],
        "background": True,
    }
    assert reported == {"max_tokens": "dropped"}


# -- the decoder's edges -------------------------------------------------------------------------------------


def test_each_of_the_seven_events_has_a_handler() -> None:
    types = pytest.importorskip("google.genai._gaos.types.interactions.interactionsseevent")
    assert EVENTS.keys() == types._INTERACTION_SSE_EVENT_VARIANTS.keys()


def test_nothing_follows_the_end() -> None:
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    done = b'{"event_type":"interaction.completed","interaction":{"status":"completed"}}'
    assert len(decoder.feed(WireMessage(done))) == 2
    assert decoder.feed(WireMessage(done)) == []
    assert decoder.finish() == []


# -- from one of Google's APIs to the other ------------------------------------------------------------------


# -- copies --------------------------------------------------------------------------------------------------

SAID = {"type": "model_output", "content": [{"type": "text", "text": "Hello"}]}
THOUGHT = {"type": "thought", "signature": "s", "summary": [{"type": "text", "text": "Hm"}]}
CALL = {"type": "function_call", "id": "c1", "name": "f", "arguments": {"a": 1}}
SEARCH = {"type": "google_search_call", "id": "g1", "arguments": {"queries": ["x"]}}
ASKED = {"type": "user_input", "content": [{"type": "text", "text": "?"}]}


def grows(
    index: int, step: dict[str, Any], *deltas: dict[str, Any], stops: bool = True
) -> list[dict[str, Any]]:
    """The events of one step."""
    found = [{"event_type": "step.start", "index": index, "step": step}]
    found += [{"event_type": "step.delta", "index": index, "delta": delta} for delta in deltas]
    return [*found, {"event_type": "step.stop", "index": index}] if stops else found


def says(text: str, index: int = 0, *, stops: bool = True) -> list[dict[str, Any]]:
    return grows(index, {"type": "model_output"}, {"type": "text", "text": text}, stops=stops)


def calls(*texts: str) -> list[dict[str, Any]]:
    return grows(
        0, {**CALL, "arguments": {}}, *({"type": "arguments_delta", "arguments": text} for text in texts)
    )


@pytest.mark.parametrize("stops", [True, False], ids=["stopped", "unstopped"])
@pytest.mark.parametrize(
    ("streamed", "listed", "parts"),
    [
        (says("Hello"), [SAID], ["Hello"]),
        (says("Hello"), [THOUGHT, SAID], ["Hello", "Hm"]),
        (says("Hello"), [ASKED, SAID], ["Hello"]),
        (says("Hel"), [THOUGHT, SAID], ["Hello", "Hm"]),
        (says("Hxx"), [SAID], ["Hxx"]),
        (grows(0, {"type": "model_output"}), [SAID], ["Hello"]),
        (says("Hello"), [SAID, {**SAID, "content": [{"type": "text", "text": "Bye"}]}], ["Hello", "Bye"]),
        (says("Hello"), [{**SAID, "content": [{"type": "text", "text": "Bye"}]}, SAID], ["Hello", "Bye"]),
        (calls('{"a":1}'), [{**CALL, "name": "g"}], ['{"a":1}', '{"a":1}']),
        ([*grows(0, {"type": "model_output"}), *grows(1, CALL)], [SAID, CALL], ['{"a":1}', "Hello"]),
        ([*grows(0, CALL), *says("Hello", 1)], [SAID, CALL], ['{"a":1}', "Hello"]),
        (calls('{"a":1}'), [THOUGHT, CALL], ['{"a":1}', "Hm"]),
        (calls('{"a"'), [CALL], ['{"a":1}']),
        (calls('{"a"', '{"a":1}'), [{**CALL, "id": "c2"}], ['{"a":1}']),
        (calls(), [CALL], ['{"a":1}']),
        (calls('{"a":1}'), [CALL, {**CALL, "id": "c2"}], ['{"a":1}', '{"a":1}']),
        (grows(0, {"type": "thought"}), [THOUGHT], ["Hm"]),
        ([*grows(0, THOUGHT), *says("Hel", 1)], [SAID, THOUGHT], ["Hm", "Hello"]),
        (
            [*grows(0, SEARCH), *says("Hello", 1)],
            [THOUGHT, SEARCH, SAID],
            ["google_search_call", "Hello", "Hm"],
        ),
    ],
)
def test_a_listed_step_that_has_come_completes_it(
    streamed: list[dict[str, Any]], listed: list[dict[str, Any]], parts: list[str], stops: bool
) -> None:
    if not stops:
        streamed = [event for event in streamed if event["event_type"] != "step.stop"]
    last = {"event_type": "interaction.completed", "interaction": {"status": "completed", "steps": listed}}
    decoder = GoogleInteractions().decoder(of("google_interactions", "p"))
    events = [e for each in [*streamed, last] for e in decoder.feed(WireMessage(json.dumps(each).encode()))]
    content = collect(events).message.content
    assert [final_text(part) or getattr(part, "kind", "") for part in content] == parts
    for index, part in enumerate(content):
        joined = "".join(e.text for e in events if getattr(e, "index", None) == index and hasattr(e, "text"))
        assert joined == final_text(part)
    thoughts = [(part.signature, part.extra) for part in content if isinstance(part, ReasoningPart)]
    assert set(thoughts) <= {("s", None)}


def thinks(signature: str, text: str) -> dict[str, Any]:
    return {**THOUGHT, "signature": signature, "summary": [{"type": "text", "text": text}]}


def searches(query: str) -> dict[str, Any]:
    return {"type": "google_search_call", "query": query}


@pytest.mark.parametrize(
    ("streamed", "listed", "parts"),
    [
        (calls("{}"), [CALL, {**CALL, "id": "c2", "arguments": {}}], ["{}", "{}"]),
        (grows(0, thinks("s", "Hm")), [thinks("s", "Aha"), thinks("t", "Hm")], ["Hm", "Hm"]),
        (grows(0, {"type": "thought"}), [{**THOUGHT, "signature": None}], ["Hm"]),
        (grows(0, {**searches("x"), "id": None}), [searches("y"), searches("x")], ["x", "y"]),
    ],
    ids=["a call by its id", "a thought by its signature", "a thought without one", "a search by all of it"],
)
def test_what_names_a_step_counts_before_its_text(
    streamed: list[dict[str, Any]], listed: list[dict[str, Any]], parts: list[str]
) -> None:
    last = {"event_type": "interaction.completed", "interaction": {"status": "completed", "steps": listed}}
    decoder = GoogleInteractions().decoder(of("google_interactions", "p"))
    events = [e for each in [*streamed, last] for e in decoder.feed(WireMessage(json.dumps(each).encode()))]
    content = collect(events).message.content
    assert [
        part.data["query"] if isinstance(part, OpaquePart) else final_text(part) for part in content
    ] == parts


def of(protocol: str, provider: str) -> Origin:
    return Origin(protocol, provider, "gemini-3-flash-preview")


def turn(origin: Origin, *, hosted: dict[str, Any], **beside: Any) -> list[Message]:
    """A conversation with a thought, a hosted tool, a text that cites, a call and its result."""
    call = ToolCallPart("c1", "weather", '{"city":"Rome"}', origin=origin, **beside)
    parts = (
        ReasoningPart("Hm.", signature="c2ln", origin=origin),
        OpaquePart("call", hosted, id="s1", role="call", origin=origin),
        OpaquePart("result", hosted, id="s1", role="result", origin=origin),
        TextPart("Sun.", citations=(Citation("https://a.example/"),), origin=origin),
        call,
    )
    return [Message.user("?"), Message("assistant", parts), Message.tool_result(call, "sun")]


GEMINI = turn(of("gemini", "google"), hosted={"executableCode": {}}, extra={"thoughtSignature": "c2ln"})
INTERACTIONS = turn(
    of("google_interactions", "google-interactions"),
    hosted={"type": "code_execution_call"},
    extra={"signature": "c2ln"},
)
MOVES: dict[str, tuple[str, list[Message], dict[str, str]]] = {
    "from generateContent": (
        HERE,
        GEMINI,
        {
            "messages[1].content[0]": "dropped",
            "messages[1].content[1]": "dropped",
            "messages[1].content[2]": "dropped",
            "messages[1].content[3].citations": "dropped",
            "messages[1].content[4].thoughtSignature": "dropped",
        },
    ),
    "to generateContent": (
        THERE,
        INTERACTIONS,
        {
            "messages[1].content[0]": "dropped",
            "messages[1].content[1]": "dropped",
            "messages[1].content[2]": "dropped",
            "messages[1].content[3].citations": "dropped",
            "messages[1].content[4].signature": "dropped",
            "messages[1]": "emulated",  # the documented placeholder for the signature
        },
    ),
}


def interactions_said(body: dict[str, Any]) -> list[Any]:
    said: list[Any] = []
    for step in body["input"]:
        match step["type"]:
            case "function_call":
                said.append((step["id"], step["name"], step["arguments"]))
            case "function_result":
                said.append((step["call_id"], step["result"]))
            case _:
                said += [content["text"] for content in step["content"]]
    return said


def gemini_said(body: dict[str, Any]) -> list[Any]:
    said: list[Any] = []
    for part in (part for content in body["contents"] for part in content["parts"]):
        match part:
            case {"functionCall": call}:
                said.append((call["id"], call["name"], call["args"]))
            case {"functionResponse": result}:
                said.append((result["id"], result["response"]["output"]))
            case _:
                said.append(part["text"])
    return said


SAID_BY: dict[str, Callable[[dict[str, Any]], list[Any]]] = {HERE: interactions_said, THERE: gemini_said}


@pytest.mark.parametrize("name", MOVES)
def test_what_is_bound_to_one_api_is_dropped_and_reported_and_the_rest_moves(name: str) -> None:
    model, messages, report = MOVES[name]
    body, reported = prepared(model, messages)
    assert reported == report
    assert SAID_BY[model](body) == ["?", "Sun.", ("c1", "weather", {"city": "Rome"}), ("c1", "sun")]


@pytest.mark.parametrize(("model", "messages"), [(HERE, INTERACTIONS), (THERE, GEMINI)])
def test_a_history_stays_whole_with_its_own_api(model: str, messages: list[Message]) -> None:
    _, reported = prepared(model, messages)
    assert set(reported) <= {"messages[1].content[3].citations"}  # of no annotation that came by the wire


# -- fields that are no lists --------------------------------------------------------------------------------

ODD_STEPS = {
    "contents": {"type": "model_output", "content": "BBBB"},
    "annotations": {
        "type": "model_output",
        "content": [{"type": "text", "text": "a", "annotations": "BBBB"}],
    },
    "an object": {"type": "model_output", "content": {"type": "text", "text": "a"}},
}


@pytest.mark.parametrize("name", ODD_STEPS)
def test_a_text_in_place_of_a_list_is_no_part_a_character(name: str) -> None:
    body = {"id": "v1_1", "status": "completed", "steps": [ODD_STEPS[name]]}
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    with pytest.raises(ProtocolError, match="where a list is due"):
        decoder.feed_whole(json.dumps(body).encode())


@pytest.mark.parametrize("kind", ["text", "text_annotation_delta"])
def test_an_annotation_that_is_no_list_is_no_annotation_a_character(kind: str) -> None:
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    started = {
        "event_type": "step.start",
        "index": 0,
        "step": {"type": "model_output", "content": [{"type": "text", "text": "a"}]},
    }
    grown = {
        "event_type": "step.delta",
        "index": 0,
        "delta": {"type": kind, "text": "b", "annotations": "BBBB"},
    }
    decoder.feed(WireMessage(json.dumps(started).encode()))
    with pytest.raises(ProtocolError, match="where a list is due") as caught:
        decoder.feed(WireMessage(json.dumps(grown).encode()))
    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("a")


def test_an_error_event_without_an_error_object_keeps_only_its_own_fields() -> None:
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    event = {"event_type": "error", "event_id": "e", "metadata": {"a": 1}, "code": "x", "message": "burnt"}
    with pytest.raises(APIError) as caught:
        decoder.feed(WireMessage(json.dumps(event).encode()))
    assert caught.value.body == {"code": "x", "message": "burnt"}


MEDIA = {"data": "AAAA", "mime_type": "application/octet-stream"}
DELTAS: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"text": "a"}, "TextPart"),
    "text_annotation_delta": ({"annotations": [{"type": "url_citation", "url": "u"}]}, "citations"),
    "image": (MEDIA, "ImagePart"),
    "audio": (MEDIA, "FilePart"),
    "video": (MEDIA, "FilePart"),
    "document": (MEDIA, "FilePart"),
    "thought_summary": ({"content": {"type": "text", "text": "Hm"}}, "ReasoningPart"),
    "thought_signature": ({"signature": "s"}, "ReasoningPart"),
    "novel": ({"text": "a"}, "novel"),
}
"""By the type of a delta its fields, and the class of the part that it begins, or the kind of an opaque one."""


@pytest.mark.parametrize("kind", DELTAS)
def test_a_delta_without_the_start_of_its_step_begins_one(kind: str) -> None:
    fields, expected = DELTAS[kind]
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    events = [
        event
        for value in (
            {"event_type": "step.delta", "index": 0, "delta": {"type": kind, **fields}},
            {"event_type": "interaction.completed", "interaction": {"id": "v1_1", "status": "completed"}},
        )
        for event in decoder.feed(WireMessage(json.dumps(value).encode()))
    ]
    (part,) = collect(events).message.content
    assert (part.kind if isinstance(part, OpaquePart) else type(part).__name__) == expected
