"""The Interactions API beyond its fixtures: what depends on a model, and histories that move between Google's APIs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from brainwires_provider import AsyncClient, CacheStrategy, GoogleInteractionsOptions, Reasoning
from brainwires_provider.errors import (
    APIError,
    ConfigError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    StreamInterrupted,
    UnsupportedError,
)
from brainwires_provider.events import (
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import final_text
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.google_interactions import GoogleInteractions, operations
from brainwires_provider.protocols.google_interactions.messages import StoredInteractions
from brainwires_provider.protocols.google_interactions.options import InteractionsQuirks
from brainwires_provider.protocols.google_interactions.response import EVENTS, FINISH_REASONS
from brainwires_provider.types import (
    Citation,
    FilePart,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    Usage,
)
from known import encode_known

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
    assert body["input"] == [
        {"type": "user_input", "content": [{"type": "text", "text": text}]} for text in ("Be brief.", "Hi")
    ]
    assert "system_instruction" not in body
    assert reported == {field: "adapted"}


def test_a_schema_keeps_a_description_of_its_own() -> None:
    body, reported = prepared(HERE, "Hi", output=JSONSchema("p", {"description": "B."}, "A."))
    assert body["response_format"]["schema"] == {"description": "B."}
    assert reported == {}


@pytest.mark.parametrize(
    ("model", "agent"),
    [
        ("deep-research-preview-04-2026", "deep-research-preview-04-2026"),
        ("agents/my-agent", "my-agent"),
        ("antigravity-preview-05-2026", "antigravity-preview-05-2026"),
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


AGENTS = "an agent takes no such option; its own are in agent_config, in GoogleInteractionsOptions"
ALL: dict[str, Any] = {
    "max_tokens": 5,
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 1,
    "stop": "ab",
    "reasoning": "low",
    "tool_choice": "required",
}


def test_an_agent_takes_none_of_a_models_options() -> None:
    done = AsyncClient("google-interactions:agents/a", api_key="k").prepare("Hi", **ALL)
    body = json.loads(done.body)
    assert body.keys() == {"agent", "input", "background"}
    assert {d.field: (d.outcome, d.reason) for d in done.report.deviations} == dict.fromkeys(
        ALL, ("dropped", AGENTS)
    )


def test_a_model_takes_all_options() -> None:
    options = GoogleInteractionsOptions(generation_config={"top_p": 0.25, "own": 1})
    args: dict[str, Any] = {**ALL, "provider_options": options}
    body, reported = prepared(HERE, "Hi", **args)
    assert body["generation_config"] == {
        "max_output_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.25,
        "seed": 1,
        "stop_sequences": ["ab"],
        "thinking_level": "low",
        "tool_choice": "any",
        "own": 1,
    }
    assert (body["model"], body["store"], "background" in body) == ("gemini-3-flash-preview", False, False)
    assert reported == {}


@pytest.mark.parametrize(
    ("model", "args", "config", "reported"),
    [
        (
            "gemini-3-flash-preview",
            {"reasoning": Reasoning(budget_tokens=5, summary="detailed")},
            {"thinking_summaries": "auto"},
            [
                ("reasoning.budget_tokens", "this API takes a level of thinking, and no budget"),
                ("reasoning.summary", "summaries have one length here"),
            ],
        ),
        (
            "gemini-3-flash-preview",
            {"reasoning": Reasoning("low", summary="auto")},
            {"thinking_level": "low", "thinking_summaries": "auto"},
            [],
        ),
        (
            "gemini-2.0-flash",
            {"reasoning": "low"},
            {},
            [("reasoning", "this model does not think before it answers")],
        ),
        (
            "gemini-3-flash-preview",
            {"cache": CacheStrategy.system_only()},
            {},
            [
                (
                    "cache",
                    (
                        "this API caches by itself; what was cached is named by cached_content, in "
                        "GoogleInteractionsOptions"
                    ),
                )
            ],
        ),
    ],
)
def test_why_an_option_is_not_sent_as_given(
    model: str, args: dict[str, Any], config: dict[str, Any], reported: list[tuple[str, str]]
) -> None:
    done = AsyncClient(f"google-interactions:{model}", api_key="k").prepare("Hi", **args)
    assert json.loads(done.body).get("generation_config", {}) == config
    assert [(d.field, d.reason) for d in done.report.deviations] == reported


def test_fields_of_the_request_are_sent_as_they_are() -> None:
    request = Request((Message.user("Hi"),), "gemini-3-flash-preview", extra={"labels": {"team": "a"}})
    call = encode_known(GoogleInteractions(), request, MINE, stream=False)
    assert (call.body["labels"], call.deviations) == ({"team": "a"}, ())


@pytest.mark.parametrize(
    "part",
    [
        OpaquePart("novel", "no object"),
        OpaquePart("novel", {"type": "novel"}, origin=Origin("gemini", "google", "m")),
    ],
)
def test_an_opaque_part_of_a_user_is_an_object_of_this_protocol(part: OpaquePart) -> None:
    with pytest.raises(UnsupportedError, match="cannot be sent in a message of this role"):
        prepared(HERE, [Message.user(part)])
    own = {"type": "novel", "a": 1}
    for origin in (None, MINE):
        body, _ = prepared(HERE, [Message.user(OpaquePart("novel", own, origin=origin))])
        assert body["input"][0]["content"] == [own]


@pytest.mark.parametrize("detail", ["low", "medium", "high", "ultra_high", "auto"])
def test_the_detail_of_an_image_is_its_resolution(detail: str) -> None:
    image = ImagePart(url="https://a.example/b.png", media_type="image/png", detail=detail)
    body, reported = prepared(HERE, [Message.user(image)])
    [content] = body["input"][0]["content"]
    assert content.get("resolution") == (None if detail == "auto" else detail)
    assert reported == ({"messages[0].content[0].detail": "dropped"} if detail == "auto" else {})


def test_a_turn_of_which_nothing_is_left_is_named_as_a_whole() -> None:
    thought = ReasoningPart("Hm", signature="s", origin=Origin("gemini", "google", "m"))
    history = [Message.user("?"), Message.assistant(thought), Message.user("And?")]
    body, reported = prepared(HERE, history)
    assert [step["type"] for step in body["input"]] == ["user_input", "user_input"]
    assert reported == {"messages[1].content[0]": "dropped", "messages[1]": "dropped"}


@pytest.mark.parametrize(
    ("error", "is_gone"),
    [
        (NotFoundError, True),
        (PermissionDeniedError, True),
        (InvalidRequestError, False),
        (RateLimitError, False),
    ],
)
def test_which_errors_say_that_a_parent_is_gone(error: type[APIError], is_gone: bool) -> None:
    assert StoredInteractions(InteractionsQuirks()).is_gone(error("no")) is is_gone


# -- calls by an id ------------------------------------------------------------------------------------------

STREAMED = {"stream": "true", "alt": "sse"}
CALLS: dict[str, tuple[Call, str, str, dict[str, str]]] = {
    "retrieve": (operations.retrieve_call("v1/a b"), "GET", "", {}),
    "retrieve with its input": (
        operations.retrieve_call("v1/a b", include_input=True),
        "GET",
        "",
        {"include_input": "true"},
    ),
    "resume": (operations.resume_call("v1/a b", None), "GET", "", STREAMED),
    "resume after": (operations.resume_call("v1/a b", "e1"), "GET", "", {**STREAMED, "last_event_id": "e1"}),
    "cancel": (operations.cancel_call("v1/a b"), "POST", "/cancel", {}),
    "delete": (operations.delete_call("v1/a b"), "DELETE", "", {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_for_a_stored_interaction(name: str) -> None:
    call, method, action, query = CALLS[name]
    assert call == Call(f"/interactions/v1%2Fa%20b{action}", {}, method=method, query=query)


@pytest.mark.parametrize("id", ["", " ", ".", "..", None, 3])
def test_what_is_no_id(id: Any) -> None:
    for make in (operations.retrieve_call, operations.cancel_call, operations.delete_call):
        with pytest.raises(ConfigError):
            make(id)
    with pytest.raises(ConfigError):
        operations.resume_call(id, None)


# -- the decoder's edges -------------------------------------------------------------------------------------


def test_each_of_the_seven_events_has_a_handler() -> None:
    types = pytest.importorskip("google.genai._gaos.types.interactions.interactionsseevent")
    assert EVENTS.keys() == types._INTERACTION_SSE_EVENT_VARIANTS.keys()


def test_every_status_of_google_genai_is_known() -> None:
    module = pytest.importorskip("google.genai._gaos.types.interactions.interactionstatusupdate")
    literal, _ = get_args(module.InteractionStatusUpdateStatus)
    assert FINISH_REASONS.keys() == set(get_args(literal)) - {"failed"}


def test_nothing_follows_the_end() -> None:
    decoder = GoogleInteractions().decoder(Origin("google_interactions", "google-interactions", "m"))
    done = b'{"event_type":"interaction.completed","interaction":{"status":"completed"}}'
    assert len(decoder.feed(WireMessage(done))) == 2
    assert decoder.feed(WireMessage(done)) == []
    assert decoder.finish() == []


MINE = Origin("google_interactions", "google-interactions", "m")


def fed(*events: dict[str, Any]) -> tuple[Any, list[Any]]:
    """A decoder that has read these events of the wire, and what came of them."""
    decoder = GoogleInteractions().decoder(MINE)
    return decoder, [e for each in events for e in decoder.feed(WireMessage(json.dumps(each).encode()))]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("completed", "stop"),
        ("requires_action", "tool_calls"),
        ("requires_continuation", "pause"),
        ("incomplete", "length"),
        ("budget_exceeded", "other"),
        ("cancelled", "other"),
        ("novel", "other"),
        (None, None),
        ("in_progress", None),
        ("queued", None),
    ],
)
def test_a_stream_may_end_with_a_status_alone(status: str | None, reason: str | None) -> None:
    decoder, events = fed(
        {"event_type": "interaction.created", "interaction": {"id": "v1_1", "model": "n"}},
        {"event_type": "interaction.status_update", "interaction_id": "v1_1", "status": status},
    )
    if reason is None:
        with pytest.raises(StreamInterrupted, match=r"no interaction\.completed came") as caught:
            decoder.finish()
        assert (caught.value.how, caught.value.provider, caught.value.model) == (
            "eof",
            "google-interactions",
            "m",
        )
        return
    response = collect(events + decoder.finish())
    assert (response.finish_reason, response.raw_finish_reason) == (reason, status)
    assert (response.id, response.model, response.extra) == ("v1_1", "n", {})


@pytest.mark.parametrize("status", [None, "in_progress", "queued"])
def test_what_is_completed_is_not_pending(status: str | None) -> None:
    _, events = fed({"event_type": "interaction.completed", "interaction": {"status": status}})
    assert (events[-1].finish_reason, events[-1].raw_finish_reason) == ("stop", "completed")


def delta(index: int | None, kind: str, **fields: Any) -> dict[str, Any]:
    """A delta of the wire; without an index, of the last step."""
    place = {} if index is None else {"index": index}
    return {"event_type": "step.delta", **place, "delta": {"type": kind, **fields}}


def sound(data: str, **fields: Any) -> dict[str, Any]:
    return delta(0, "audio", data=data, **({"mime_type": "audio/wav"} | fields))


FLOWS: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "one index": ([delta(0, "text", text="a"), delta(0, "text", text="b")], ["text ab"]),
    "no index": ([delta(0, "text", text="a"), delta(None, "text", text="b")], ["text ab"]),
    "no index at all": ([delta(None, "text", text="a"), delta(None, "text", text="b")], ["text ab"]),
    "two indexes": ([delta(0, "text", text="a"), delta(1, "text", text="b")], ["text a", "text b"]),
    "a step that has stopped": (
        [
            delta(0, "text", text="a"),
            {"event_type": "step.stop", "index": 0},
            delta(0, "text", text="b"),
        ],
        ["text a", "text b"],
    ),
    "a sound that goes on": ([sound("QUJD"), sound("REVG")], ["sound ABCDEF"]),
    "a sound without its type": (
        [sound("QUJD"), delta(0, "audio", data="REVG"), sound("RUY=")],
        ["sound ABCDEFEF"],
    ),
    "another sound": ([sound("QUJD"), sound("REVG", mime_type="audio/mp3")], ["sound ABC", "sound DEF"]),
    "a sound that goes on with a field of its own": (
        [sound("QUJD", rate=1), sound("REVG", rate=1), delta(0, "audio", data="RUY=")],
        ["sound ABCDEFEF"],
    ),
    "a sound with another value": (
        [sound("QUJD", rate=1), sound("REVG", rate=2)],
        ["sound ABC", "sound DEF"],
    ),
    "a sound with another field": ([sound("QUJD"), sound("REVG", rate=1)], ["sound ABC", "sound DEF"]),
    "a text between": (
        [sound("QUJD"), delta(0, "text", text="a"), sound("REVG"), delta(0, "text", text="b")],
        ["sound ABC", "text a", "sound DEF", "text b"],
    ),
    "a sound elsewhere": (
        [sound("QUJD"), delta(0, "audio", uri="u", mime_type="audio/wav"), sound("REVG")],
        ["sound ABC", "sound at u", "sound DEF"],
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_which_deltas_go_on_and_which_begin(name: str) -> None:
    def told(part: Any) -> str:
        if isinstance(part, TextPart):
            return f"text {part.text}"
        return f"sound {part.data.decode()}" if part.data is not None else f"sound at {part.url}"

    deltas, parts = FLOWS[name]
    _, events = fed(*deltas, {"event_type": "interaction.completed", "interaction": {}})
    assert [told(part) for part in collect(events).message.content] == parts


def test_a_step_that_its_copy_completes_is_over_before_the_next_begins() -> None:
    listed = [SAID, {**SAID, "content": [{"type": "text", "text": "Bye"}]}]
    _, events = fed(
        delta(0, "text", text="Hel"),
        {"event_type": "interaction.completed", "interaction": {"steps": listed}},
    )
    assert [type(event).__name__ for event in events] == [
        "ResponseStart",
        *("PartStart", "TextDelta", "TextDelta", "PartEnd"),
        *("PartStart", "TextDelta", "PartEnd"),
        "ResponseEnd",
    ]


def test_a_step_is_over_where_one_of_another_kind_takes_its_place() -> None:
    call = {"type": "function_call", "id": "c", "name": "f", "arguments": {}}
    _, events = fed(
        delta(0, "text", text="a"),
        {"event_type": "step.start", "index": 0, "step": call},
        {"event_type": "interaction.completed", "interaction": {}},
    )
    told = [
        (type(event).__name__, event.index) for event in events if isinstance(event, (PartStart, PartEnd))
    ]
    assert told == [("PartStart", 0), ("PartEnd", 0), ("PartStart", 1), ("PartEnd", 1)]


def test_what_comes_for_a_step_that_is_over_begins_another() -> None:
    hosted = {"type": "google_search_call", "id": "g", "arguments": {"queries": ["x"]}}
    _, events = fed(
        {"event_type": "step.start", "index": 0, "step": hosted},
        {"event_type": "step.stop", "index": 0},
        delta(0, "text", text="a"),
        {"event_type": "interaction.completed", "interaction": {}},
    )
    search, said = collect(events).message.content
    assert (search.data, said.text) == (hosted, "a")


def test_a_step_that_stops_beside_a_later_one_is_over() -> None:
    decoder, events = fed(delta(0, "text", text="a"), delta(1, "text", text="b"))
    assert [type(event).__name__ for event in events].count("PartEnd") == 0
    ended = decoder.feed(WireMessage(b'{"event_type": "step.stop", "index": 0}'))
    assert [(type(event).__name__, event.index) for event in ended] == [("PartEnd", 0)]
    assert decoder.feed(WireMessage(b'{"event_type": "step.stop", "index": 1}')) == []


def test_a_step_without_text_gets_all_that_its_copy_has() -> None:
    image = {"type": "image", "data": "AAAA", "mime_type": "image/png"}
    listed = {"type": "model_output", "content": [image, {"type": "text", "text": "a"}, image]}
    _, events = fed(
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        {"event_type": "interaction.completed", "interaction": {"steps": [listed]}},
    )
    parts = collect(events).message.content
    assert [type(part).__name__ for part in parts] == ["ImagePart", "TextPart", "ImagePart"]


@pytest.mark.parametrize(
    ("choice", "strict", "sent"),
    [
        (ToolChoice(), None, "auto"),
        (ToolChoice(), True, "validated"),
        (ToolChoice("required"), True, "any"),
        (ToolChoice("none"), None, "none"),
        (None, True, "validated"),
        (None, None, None),
        (ToolChoice("auto", ("f",)), None, {"allowed_tools": {"mode": "auto", "tools": ["f"]}}),
        (ToolChoice("auto", ("f",)), True, {"allowed_tools": {"mode": "validated", "tools": ["f"]}}),
    ],
)
def test_which_mode_a_choice_is(choice: ToolChoice | None, strict: bool | None, sent: Any) -> None:
    body, reported = prepared(HERE, "Hi", tools=[Tool("f", "", {}, strict=strict)], tool_choice=choice)
    assert body.get("generation_config", {}).get("tool_choice") == sent
    assert reported == ({"tools[f].strict": "adapted"} if strict else {})


def test_what_a_step_used_is_kept_and_counted() -> None:
    _, events = fed(
        delta(0, "text", text="a"),
        {"event_type": "step.stop", "index": 0, "usage": {"total_input_tokens": 7}, "step_usage": {"t": 1}},
        delta(1, "text", text="b"),
        {"event_type": "step.stop", "index": 1, "usage": {"total_output_tokens": 3}, "step_usage": {"t": 2}},
        {"event_type": "interaction.completed", "interaction": {}},
    )
    response = collect(events)
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 3)
    assert response.extra == {"step_usage": [{"index": 0, "t": 1}, {"index": 1, "t": 2}]}


def test_an_event_of_a_kind_that_is_not_known_is_passed_on() -> None:
    novel = {"event_type": "novel", "a": 1}
    decoder, events = fed(novel, {"ping": 1}, {"a": [1]})
    assert [type(event).__name__ for event in events] == ["ResponseStart", "OpaqueDelta"]
    assert (events[1].index, events[1].kind, events[1].data) == (None, "novel", novel)
    assert decoder.feed(WireMessage(b'{"candidates": []}')) == []
    with pytest.raises(ProtocolError, match="this is an answer of generateContent, and has no steps"):
        fed({"candidates": []})


def test_what_comes_beside_the_events_is_gathered() -> None:
    """Every event may have metadata, and an id."""
    created = {"id": "v1_1", "agent": "a", "status": "in_progress", "created": "t", "none": None}
    decoder, events = fed(
        {"event_type": "interaction.created", "event_id": "e1", "interaction": created},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "a"}, "event_id": "e2"},
        {"event_type": "step.stop", "index": 0, "metadata": {"total_usage": {"total_input_tokens": 7}}},
        {"event_type": "interaction.status_update", "status": "in_progress", "metadata": {"a": 1}},
        {
            "event_type": "interaction.completed",
            "event_id": "",
            "interaction": {"status": "completed", "usage": {"total_output_tokens": 3}, "steps": None},
            "metadata": {"b": 2, "total_usage": {"total_tokens": 10}},
        },
    )
    response = collect(events)
    assert response.extra == {"agent": "a", "created": "t", "metadata": {"a": 1, "b": 2}}
    assert (response.id, response.model, decoder.event_id, decoder.status) == ("v1_1", "a", "e2", "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.complete) == (
        7,
        3,
        True,
    )


def test_a_total_may_cover_its_own_counts_alone() -> None:
    """Those that came before are added to it."""
    _, events = fed(
        {
            "event_type": "step.stop",
            "metadata": {"total_usage": {"total_input_tokens": 7, "total_tokens": 7}},
        },
        {
            "event_type": "interaction.completed",
            "interaction": {"usage": {"total_output_tokens": 3, "total_tokens": 3}},
        },
    )
    usage = collect(events).usage
    assert (usage.input_tokens, usage.output_tokens, usage.anomalies) == (7, 3, ())
    counts = {"total_input_tokens": 7, "total_output_tokens": 3, "total_tokens": 10}
    last = {"event_type": "interaction.completed", "interaction": {}, "metadata": {"total_usage": counts}}
    usage = collect(fed(last)[1]).usage
    assert (usage.input_tokens, usage.output_tokens, usage.anomalies) == (7, 3, ())


def test_what_did_not_complete_is_not_gone_on_with() -> None:
    stored = StoredInteractions(InteractionsQuirks())
    created = {"event_type": "interaction.created", "interaction": {"id": "v1_1", "status": "completed"}}
    nameless = {"event_type": "interaction.completed", "interaction": {"status": "completed"}}
    cancelled = {"event_type": "interaction.completed", "interaction": {"id": "v", "status": "cancelled"}}
    for event in (created, nameless, cancelled):
        decoder, _ = fed(event)
        assert stored.head(None, decoder) is None  # type: ignore[arg-type]


COUNTS = {
    "total_input_tokens": 100,
    "total_cached_tokens": 10,
    "total_output_tokens": 7,
    "total_thought_tokens": 5,
    "total_tool_use_tokens": 3,
    "total_tokens": 120,
    "input_tokens_by_modality": [
        {"modality": "text", "tokens": 50},
        {"modality": "audio", "tokens": 20},
        {"modality": "audio", "tokens": 4},
    ],
    "cached_tokens_by_modality": [{"modality": "AUDIO", "tokens": 6}],
}


def test_each_count_has_its_bucket() -> None:
    body = {"status": "completed", "usage": COUNTS}
    usage = collect(GoogleInteractions().decoder(MINE).feed_whole(json.dumps(body).encode())).usage
    assert usage == Usage(
        uncached_input=72,
        cache_read=10,
        audio_input=18,
        output_text=7,
        reasoning=5,
        tool_input=3,
        unattributed=5,
        complete=True,
        raw=COUNTS,
    )


@pytest.mark.parametrize(
    ("errors", "message", "code"),
    [
        ([{"code": "x", "message": "no"}, {"message": "other"}], "no", "x"),
        ([{}, 3, {"message": "no"}], "no", None),
        ([{"details": []}, {"code": "x"}], None, "x"),
        ([], "the interaction failed, and does not state why", None),
        (None, "the interaction failed, and does not state why", None),
    ],
)
def test_why_an_interaction_failed(errors: Any, message: str | None, code: str | None) -> None:
    body = {"status": "failed", "errors": errors, "steps": [SAID]}
    decoder = GoogleInteractions().decoder(MINE)
    with pytest.raises(APIError) as caught:
        decoder.feed_whole(json.dumps(body).encode())
    error = caught.value
    assert (error.code, error.provider, error.model) == (code, "google-interactions", "m")
    assert message is None or error.message == message
    assert error.partial is not None and error.partial.text == "Hello"
    assert decoder.ended and decoder.finish() == []


def test_an_error_in_a_stream_says_whose_it_is_and_what_came_before() -> None:
    for event in ({"event_type": "error", "error": {"message": "no"}}, {"error": {"message": "no"}}):
        decoder, _ = fed({"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Hel"}})
        with pytest.raises(APIError, match="no") as caught:
            decoder.feed(WireMessage(json.dumps(event).encode()))
        error = caught.value
        assert (error.provider, error.model) == ("google-interactions", "m")
        assert error.partial is not None and error.partial.text == "Hel"
        assert decoder.ended and decoder.feed(WireMessage(b"{}")) == decoder.finish() == []


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
        (says("Hxx"), [THOUGHT, SAID], ["Hxx", "Hm"]),
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


def summed(text: str) -> dict[str, Any]:
    return {"type": "thought_summary", "content": {"type": "text", "text": text}}


SIGNED = {"type": "thought_signature", "signature": "s"}
BARE_CALL = {name: value for name, value in CALL.items() if name != "arguments"}
UNSIGNED = {name: value for name, value in THOUGHT.items() if name != "signature"}
COMPLETED: list[tuple[list[dict[str, Any]], dict[str, Any], list[str], list[Any], Part]] = [
    (grows(0, {"type": "thought"}, summed("H")), THOUGHT, ["H", "m"], [SIGNED], ReasoningPart("Hm", signature="s")),
    (grows(0, {"type": "thought"}, summed("Hm")), THOUGHT, ["Hm"], [SIGNED], ReasoningPart("Hm", signature="s")),
    (grows(0, {"type": "thought", "signature": "s"}), THOUGHT, ["Hm"], [], ReasoningPart("Hm", signature="s")),
    (grows(0, {"type": "thought"}, SIGNED), THOUGHT, ["Hm"], [SIGNED], ReasoningPart("Hm", signature="s")),
    (grows(0, {"type": "thought"}, summed("H")), UNSIGNED, ["H", "m"], [], ReasoningPart("Hm")),
    (says("Hel"), SAID, ["Hel", "lo"], [], TextPart("Hello")),
    (grows(0, BARE_CALL), {**CALL, "arguments": '{"a": 1}'}, ['{"a": 1}'], [],
     ToolCallPart("c1", "f", '{"a": 1}')),
    (grows(0, BARE_CALL), CALL, ['{"a":1}'], [], ToolCallPart("c1", "f", '{"a":1}')),
    (calls('{"a"'), CALL, ['{"a"', ":1}"], [], ToolCallPart("c1", "f", '{"a":1}')),
]  # fmt: skip
"""The events of a step, its copy, the texts and other deltas of its part, and the part."""


@pytest.mark.parametrize(("streamed", "copy", "texts", "others", "part"), COMPLETED)
def test_a_copy_adds_what_the_stream_did_not_have(
    streamed: list[dict[str, Any]], copy: dict[str, Any], texts: list[str], others: list[Any], part: Part
) -> None:
    last = {"event_type": "interaction.completed", "interaction": {"status": "completed", "steps": [copy]}}
    decoder = GoogleInteractions().decoder(of("google_interactions", "p"))
    events = [e for each in [*streamed, last] for e in decoder.feed(WireMessage(json.dumps(each).encode()))]
    assert [e.text for e in events if isinstance(e, (TextDelta, ReasoningDelta, ToolCallDelta))] == texts
    assert [(e.index, e.kind, e.data) for e in events if isinstance(e, OpaqueDelta)] == [
        (0, other["type"], other) for other in others
    ]
    assert collect(events).message.content == (replace(part, origin=of("google_interactions", "p")),)


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
        TextPart("Sun.", citations=(Citation("https://a.example/", raw={"type": "x"}),), origin=origin),
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
    assert reported == {}


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


def summary(**content: Any) -> dict[str, Any]:
    return {"type": "thought_summary", "content": content}


PICTURE = {"type": "image", "data": "AAAA"}
CITE = {"type": "url_citation", "url": "u"}
HOSTED = {"type": "google_search_call", "id": "g"}
GROWING: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[Any], dict[str, Any]]] = {
    "a thought": (
        {"type": "thought"},
        [
            summary(type="text", text="Fir"),
            summary(type="text", text="st"),
            summary(**PICTURE),
            summary(type="text", text=" and"),
            summary(type="text", text=" then"),
            {"type": "thought_signature", "signature": "s"},
            {"type": "thought_weight", "weight": [1], "none": None},
            {"type": "thought_weight", "weight": [2]},
        ],
        [
            PICTURE,
            {"type": "thought_signature", "signature": "s"},
            {"type": "thought_weight", "weight": [1], "none": None},
            {"type": "thought_weight", "weight": [2]},
        ],
        {
            "text": "First and then",
            "signature": "s",
            "extra": {
                "weight": [1, 2],
                "summary": [
                    {"type": "text", "text": "First"},
                    PICTURE,
                    {"type": "text", "text": " and then"},
                ],
            },
        },
    ),
    "a text": (
        {"type": "model_output"},
        [
            {"type": "text", "text": "a", "style": {"a": [1]}},
            {"type": "text", "text": "b", "style": {"a": [2]}},
            {"type": "text", "text": "c"},
            {"type": "text_annotation_delta", "annotations": [CITE]},
        ],
        [{"type": "text_annotation_delta", "annotations": [CITE]}],
        {"text": "abc", "citations": (Citation("u", raw=CITE),), "extra": {"style": {"a": [1, 2]}}},
    ),
    "a call": (
        {"type": "function_call", "id": "c", "name": "f", "arguments": {}},
        [
            {"type": "arguments_delta", "arguments": '{"a":'},
            {"type": "arguments_delta", "arguments": "1}", "mood": [1]},
            {"type": "arguments_delta", "mood": [2]},
        ],
        [
            {"type": "arguments_delta", "arguments": "1}", "mood": [1]},
            {"type": "arguments_delta", "mood": [2]},
        ],
        {"id": "c", "name": "f", "arguments": '{"a":1}', "extra": {"mood": [1, 2]}},
    ),
    "a sound": (
        {"type": "model_output"},
        [{"type": "audio", "mime_type": "audio/wav", "data": each} for each in ("QUJD", "REVG")],
        [{"type": "audio", "mime_type": "audio/wav", "data": "REVG"}],
        {"data": b"ABCDEF", "media_type": "audio/wav", "extra": None},
    ),
    "a call that is told again": (
        {"type": "function_call", "id": "c", "name": "f", "arguments": {}},
        [{"type": "arguments_delta", "arguments": each} for each in ('{"a":', '{"a":1}')],
        [],
        {"arguments": '{"a":1}', "extra": None},
    ),
    "a call by objects": (
        {"type": "function_call", "id": "c", "name": "f", "arguments": {}},
        [
            {"type": "arguments_delta", "arguments": {"a": [1]}},
            {"type": "arguments_delta", "arguments": {"a": [2], "b": "x"}},
        ],
        [],
        {"arguments": '{"a":[1,2],"b":"x"}', "extra": None},
    ),
    "a hosted tool's call": (
        HOSTED,
        [{"type": "google_search_call", "arguments": {"queries": [each]}} for each in "xy"],
        [{"type": "google_search_call", "arguments": {"queries": [each]}} for each in "xy"],
        {"data": {**HOSTED, "arguments": {"queries": ["x", "y"]}}, "id": "g", "role": "call"},
    ),
}
"""By a step its start, its deltas, those of them that are no text, and the part's fields."""


@pytest.mark.parametrize("name", GROWING)
def test_a_step_grows(name: str) -> None:
    """A part that was shown stays as it was, and every delta that is no text is passed on."""
    start, deltas, told, fields = GROWING[name]
    decoder = GoogleInteractions().decoder(MINE)
    shown: list[tuple[Any, str]] = []
    passed: list[Any] = []
    wire = [{"event_type": "step.start", "index": 0, "step": start}]
    wire += [{"event_type": "step.delta", "index": 0, "delta": each} for each in deltas]
    for event in [*wire, {"event_type": "interaction.completed", "interaction": {}}]:
        events = decoder.feed(WireMessage(json.dumps(event).encode()))
        passed += [(e.index, e.kind, e.data) for e in events if isinstance(e, OpaqueDelta)]
        shown.append((decoder.partial(), repr(decoder.partial().message)))
    assert passed == [(0, each["type"], each) for each in told]
    (part,) = decoder.partial().message.content
    assert {field: getattr(part, field) for field in fields} == fields
    assert all(repr(partial.message) == then for partial, then in shown)


def test_fields_too_deep_for_the_stack_that_is_left_are_an_error() -> None:
    """What a delta adds is merged where a caller may be deep in a stack of its own."""
    value: Any = 1
    for _ in range(180):
        value = {"a": value}
    more = WireMessage(json.dumps(delta(0, "novel", value=value)).encode())
    decoder, _ = fed({"event_type": "step.start", "index": 0, "step": {"type": "novel"}})
    decoder.feed(more)

    def deep_down(depth: int) -> list[Any]:
        return deep_down(depth - 1) if depth else list(decoder.feed(more))

    with pytest.raises(ProtocolError, match="not the shape of an interaction"):
        deep_down(sys.getrecursionlimit() - 300)


def test_a_call_without_an_id_gets_one_that_is_always_the_same() -> None:
    def called_by(id: str, *names: str) -> list[str]:
        steps = [{"type": "function_call", "name": name, "arguments": {}} for name in names]
        body = json.dumps({"id": id, "status": "requires_action", "steps": steps}).encode()
        calls = collect(GoogleInteractions().decoder(MINE).feed_whole(body)).tool_calls
        assert [call.id for call in calls] == [None] * len(names)
        return [call.call_id for call in calls]

    first, second = called_by("v1_1", "f", "f")
    assert called_by("v1_1", "f", "f") == [first, second]
    assert len({first, second, *called_by("v1_1", "g"), *called_by("v1_2", "f")}) == 4


@pytest.mark.parametrize("place", [{"data": "AAAA"}, {"uri": "https://a.example/b"}])
@pytest.mark.parametrize(
    ("kind", "media_type", "beside"),
    [
        ("image", "image/png", None),
        ("image", None, None),
        ("image", 5, {"mime_type": 5}),
        ("audio", "audio/wav", None),
        ("audio", None, {"type": "audio"}),
        ("video", "video/mp4", None),
        ("video", None, {"type": "video"}),
        ("document", "application/pdf", None),
        ("document", None, None),
        ("document", "audio/wav", {"type": "document"}),
    ],
)
def test_media_go_back_as_they_came(
    kind: str, media_type: Any, beside: dict[str, Any] | None, place: dict[str, str]
) -> None:
    """What its class and its media type say of a part is not said again in its `extra`."""
    wire = {"type": kind, **place} | ({} if media_type is None else {"mime_type": media_type})
    said = {"type": "model_output", "content": [wire]}
    body = {"id": "v1_1", "status": "completed", "steps": [said]}
    answer = collect(GoogleInteractions().decoder(MINE).feed_whole(json.dumps(body).encode())).message
    [part] = answer.content
    assert isinstance(part, ImagePart if kind == "image" else FilePart)
    assert part.extra == beside
    sent, _ = prepared(HERE, [Message.user("?"), answer, Message.user("And?")])
    assert sent["input"][1] == said


SPAN = {"start_index": 1, "end_index": 3}
CITED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"type": "url_citation", "url": "u", "title": "t", **SPAN},
        {"url": "u", "title": "t", "start": 1, "end": 3},
    ),
    (
        {"type": "file_citation", "document_uri": "u", "file_name": "t", "source": "s", **SPAN},
        {"url": "u", "title": "t", "start": 1, "end": 3, "source": "s"},
    ),
    (
        {"type": "place_citation", "url": "u", "name": "t", "place_id": "places/s", **SPAN},
        {"url": "u", "title": "t", "start": 1, "end": 3, "source": "places/s"},
    ),
    ({"type": "url_citation"}, {}),
    ({"type": "novel_citation", "url": 5, "title": ["t"], "start_index": True, "place_id": 5}, {}),
]
"""By the annotation of the API reference its citation."""


@pytest.mark.parametrize(("annotation", "fields"), CITED)
def test_every_field_of_a_citation(annotation: dict[str, Any], fields: dict[str, Any]) -> None:
    text = {"type": "text", "text": "Hello", "annotations": [annotation]}
    body = {"id": "v1_1", "status": "completed", "steps": [{"type": "model_output", "content": [text]}]}
    answer = collect(GoogleInteractions().decoder(MINE).feed_whole(json.dumps(body).encode()))
    assert answer.citations == (Citation(**fields, raw=annotation),)
    assert answer.message.content[0].extra is None


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
