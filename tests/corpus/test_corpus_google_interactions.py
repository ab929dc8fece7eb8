"""What Google sent over the Interactions API: decoded, compared with google-genai, accounted for, cut, sent back.

Counts are asserted exactly, so that a table of exceptions cannot grow stale unseen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from brainwires_provider.events import Event, OpaqueDelta, ReasoningDelta, TextDelta, ToolCallDelta, collect
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.google_interactions import GoogleInteractions, GoogleInteractionsOptions
from brainwires_provider.types import (
    Message,
    OpaquePart,
    Options,
    Origin,
    ReasoningPart,
    Request,
    Response,
    ToolCallPart,
)
from corpus import Record, answers, read, records, turns
from known import encode_known

pytestmark = [pytest.mark.long]

INTERACTIONS = GoogleInteractions()
NAME = "google_interactions"


def origin_of(record: Record) -> Origin:
    return Origin(NAME, record.host, record.model)


def events_of(record: Record, chunks: list[bytes] | None = None) -> list[Event]:
    return read(INTERACTIONS, INTERACTIONS.decoder(origin_of(record)), record, chunks)


def response_of(record: Record) -> Response:
    return collect(events_of(record))


def documents_of(record: Record) -> list[dict[str, Any]]:
    """The body, or the events of a stream."""
    if record.kind == "whole":
        return [json.loads(record.data)]
    return [json.loads(m.data) for m in SSEFraming().feed(record.data) if m.data.startswith(b"{")]


# -- (a) every record decodes --------------------------------------------------------------------------------


def test_every_record_gives_a_response() -> None:
    seen: Counter[str] = Counter()
    for record in records(NAME):
        response = response_of(record)
        seen[f"{response.finish_reason} ({response.raw_finish_reason})"] += 1
        assert not response.usage.anomalies and not response.usage.unattributed
        for part in response.message.content:
            seen[part.kind if isinstance(part, OpaquePart) else type(part).__name__] += 1
    assert seen == {
        "stop (completed)": 17,
        "tool_calls (requires_action)": 1,
        "ReasoningPart": 18,
        "TextPart": 17,
        "ToolCallPart": 1,
        "google_search_call": 2,
        "google_search_result": 2,
    }


# -- (b) google-genai, of the same bytes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def genai() -> Iterator[Any]:
    """Asks google-genai for what it makes of a record's bytes."""
    httpx = pytest.importorskip("httpx2")
    google = pytest.importorskip("google.genai")
    answer: list[Record] = []

    def handle(request: Any) -> Any:
        record = answer[0]
        kind = "text/event-stream" if record.kind == "stream" else "application/json"
        return httpx.Response(record.status, headers={"content-type": kind}, content=record.data)

    options = {"base_url": "http://localhost/", "client_args": {"transport": httpx.MockTransport(handle)}}
    client = google.Client(api_key="x", http_options=options)

    def ask(record: Record) -> Any:
        answer[:] = [record]
        streams = record.kind == "stream"
        told = client.interactions.create(model="m", input="x", stream=streams, automatic_continuation=False)
        return list(told) if streams else told

    yield ask
    client.close()


class Told(msgspec.Struct):
    """What an answer says, in words that both sides have."""

    text: str = ""
    thoughts: str = ""
    signed: list[str] = []
    calls: list[tuple[Any, ...]] = []
    hosted: list[tuple[Any, ...]] = []
    cited: list[tuple[Any, ...]] = []
    finish: str | None = None
    id: str | None = None
    model: str | None = None
    usage: dict[str, Any] = {}


def plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value


def theirs_of(asked: Any) -> Told:
    told = Told()
    if not isinstance(asked, list):
        top(asked, told)
        for step in asked.steps or ():
            step_of(plain(step), told)
        return told
    steps: dict[int, dict[str, Any]] = {}
    for event in asked:
        match event.event_type:
            case "interaction.completed":
                top(event.interaction, told)
            case "step.start":
                steps[event.index] = plain(event.step)
            case "step.delta":
                add(steps[event.index], plain(event.delta))
    for step in steps.values():
        step_of(step, told)
    return told


def top(interaction: Any, told: Told) -> None:
    told.finish, told.id, told.model = interaction.status, interaction.id or None, interaction.model
    told.usage = plain(interaction.usage)


def add(step: dict[str, Any], delta: dict[str, Any]) -> None:
    """By hand, as Google's guide on streams says."""
    match delta.pop("type"):
        case "text":
            content = step.setdefault("content", [{"type": "text", "text": "", "annotations": []}])
            content[0]["text"] += delta["text"]
        case "text_annotation_delta":
            step["content"][0]["annotations"] += delta["annotations"]
        case "thought_summary":
            step.setdefault("summary", []).append(delta["content"])
        case "thought_signature" | "google_search_call" | "google_search_result":
            step.update(delta)


def step_of(step: dict[str, Any], told: Told) -> None:
    match step["type"]:
        case "thought":
            told.signed.append(step.get("signature", ""))
            told.thoughts += "".join(content["text"] for content in step.get("summary") or ())
        case "model_output":
            for content in step["content"]:
                told.text += content["text"]
                told.cited += [
                    (c["url"], c["title"], c.get("start_index"), c["end_index"])
                    for c in content.get("annotations") or ()
                ]
        case "function_call":
            told.calls.append((step["id"], step["name"], step["arguments"]))
        case kind:
            value = step.get("arguments") or len(step["result"])
            told.hosted.append((kind, step.get("id") or step["call_id"], value))


def ours_of(response: Response) -> Told:
    told = Told(
        response.text,
        response.reasoning,
        finish=response.raw_finish_reason,
        id=response.id,
        model=response.model,
    )
    told.cited = [(c.url, c.title, c.start, c.end) for c in response.citations]
    for part in response.message.content:
        if isinstance(part, ReasoningPart):
            told.signed.append(part.signature or "")
        elif isinstance(part, ToolCallPart):
            told.calls.append((part.id, part.name, part.args()))
        elif isinstance(part, OpaquePart):
            value = part.data.get("arguments") or len(part.data["result"])
            told.hosted.append((part.kind, part.id, value))
    told.usage = dict(response.usage.raw or {})
    return told


def test_an_answer_says_what_google_genai_says(genai: Any) -> None:
    counted: Counter[str] = Counter()
    for record in answers(NAME):
        response = response_of(record)
        ours, theirs = ours_of(response), theirs_of(genai(record))
        assert ours == theirs, record.id
        usage = response.usage
        assert (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read,
            usage.tool_input,
            usage.reasoning,
        ) == (
            theirs.usage["total_input_tokens"] + theirs.usage["total_tool_use_tokens"],
            theirs.usage["total_output_tokens"] + theirs.usage["total_thought_tokens"],
            theirs.usage["total_cached_tokens"],
            theirs.usage["total_tool_use_tokens"],
            theirs.usage["total_thought_tokens"],
        )
        counted.update(answers=1, calls=len(ours.calls), cited=len(ours.cited), thoughts=bool(ours.thoughts))
    assert counted == {"answers": 18, "calls": 1, "cited": 32, "thoughts": 1}


# -- (c) nothing in a body is unaccounted for ----------------------------------------------------------------

UNKEPT = {
    "nothing: empty": 3,
    "the wire's numbering": 63,
    "event_type: says what the event is": 84,
    "status: in progress": 14,
    "a delta's type: the part is of that kind": 22,
}
"""Leaves that are neither in the response nor in an event, and why."""
Path = tuple[Any, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf; an empty object or list is one, for it may mean something."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, (dict, list)) or not value:
        yield path, value


class Account:
    """Where in a response each leaf of a body should be."""

    def __init__(self, record: Record) -> None:
        events = events_of(record)
        self.response = collect(events)
        history = (Message.user("x"), self.response.message)
        call = encode_known(INTERACTIONS, Request(history, record.model), origin_of(record), stream=False)
        assert not call.deviations, record.id
        self.steps = call.body["input"][1:]
        top = {
            "id": self.response.id,
            "model": self.response.model,
            "status": self.response.raw_finish_reason,
        }
        self.whole = {**self.response.extra, **top, "usage": self.response.usage.raw, "steps": self.steps}
        self.held = dict.fromkeys(map(repr, leaves(self.whole)))
        self.texts = [e.text for e in events if isinstance(e, (TextDelta, ReasoningDelta, ToolCallDelta))]
        self.deltas = [e.data for e in events if isinstance(e, OpaqueDelta)]

    def holds(self, document: dict[str, Any], path: Path, value: Any) -> bool:
        """Whether the response has a leaf of a body, or of an event, in its place."""
        match path:
            case ("interaction", *rest):
                return repr((tuple(rest), value)) in self.held
            case ("interaction_id",):
                return bool(value == self.response.id)
            case ("step" | "delta" as where, *rest):
                step = self.steps[document["index"]]
                if repr((tuple(rest), value)) in map(repr, leaves(step)):
                    return True
                return where == "delta" and (document["delta"] in self.deltas or value in self.texts)
        return repr((path, value)) in self.held


def why_unkept(document: dict[str, Any], path: Path, value: Any) -> str:
    if value in ("", [], {}):
        return "nothing: empty"
    if path == ("event_type",):
        return "event_type: says what the event is"
    if path in (("index",), ("event_id",)):
        return "the wire's numbering"
    if path[-1] == "status" and value == "in_progress":
        return "status: in progress"
    if path[0] == "delta" and path[-1] == "type":
        return "a delta's type: the part is of that kind"
    return f"{document.get('event_type')} {path} {value!r:.60}"


def test_nothing_in_a_body_is_unaccounted_for() -> None:
    unkept: Counter[str] = Counter()
    for record in answers(NAME):
        account = Account(record)
        for document in documents_of(record):
            for path, value in leaves(document):
                if not account.holds(document, path, value):
                    unkept[why_unkept(document, path, value)] += 1
    assert unkept == UNKEPT


# -- (d) cut anywhere ----------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    streams = [record for record in answers(NAME) if record.kind == "stream"]
    for record in streams:
        whole, data = events_of(record), record.data
        assert events_of(record, [data[at : at + 1] for at in range(len(data))]) == whole, record.id
        for at in range(1, len(data), max(1, len(data) // 400)):
            assert events_of(record, [data[:at], data[at:]]) == whole, (record.id, at)
    assert len(streams) == 7


# -- (e) sent back, and asked --------------------------------------------------------------------------------


def test_the_steps_of_a_whole_body_go_back_as_they_came() -> None:
    counted: Counter[str] = Counter()
    for record in answers(NAME):
        if record.kind == "whole":
            steps = json.loads(record.data)["steps"]
            assert Account(record).steps == steps, record.id
            counted.update(step["type"] for step in steps)
    assert counted == {
        "thought": 11,
        "model_output": 10,
        "function_call": 1,
        "google_search_call": 1,
        "google_search_result": 1,
    }


CONFIG = {"temperature": "temperature", "max_output_tokens": "max_tokens", "thinking_level": "reasoning"}


def asked_as(recorded: dict[str, Any]) -> Request:
    """What a caller asks for who wants the request that was recorded."""
    messages = [
        Message(
            "user" if step["type"] == "user_input" else "assistant", tuple(c["text"] for c in step["content"])
        )
        for step in recorded["input"]
    ]
    given = dict(recorded.get("generation_config", {}))
    summaries = (
        {"thinking_summaries": given.pop("thinking_summaries")} if "thinking_summaries" in given else {}
    )
    own = {name: recorded[name] for name in ("store", "previous_interaction_id") if name in recorded}
    if summaries:
        own["generation_config"] = summaries
    options = {CONFIG[name]: value for name, value in given.items()}
    if own:
        options["provider_options"] = GoogleInteractionsOptions(**own)
    return Request(
        tuple(messages), recorded["model"], recorded.get("system_instruction"), options=Options(**options)
    )


def test_the_recorded_requests_are_what_we_send() -> None:
    """All but two fields: ours states that nothing is to be stored, and theirs that nothing is to be streamed."""
    compared: Counter[str] = Counter()
    for record in records(NAME):
        if record.request is None:
            continue
        theirs = dict(record.request)
        streams = theirs.pop("stream")
        call = encode_known(INTERACTIONS, asked_as(record.request), origin_of(record), stream=streams)
        ours = dict(call.body)
        assert ours.pop("stream", False) == streams
        if "store" not in theirs:
            assert ours.pop("store") is False
            compared["not to be stored"] += 1
        assert ours == theirs, record.id
        assert not call.deviations
        compared.update(["equal", *(name for name in theirs if name not in ("model", "input"))])
    assert compared == {
        "equal": 11,
        "not to be stored": 7,
        "store": 4,
        "generation_config": 8,
        "system_instruction": 2,
        "previous_interaction_id": 1,
    }


def test_a_recorded_turn_continues_the_one_before_it() -> None:
    """The one pair that was recorded: the service held the first turn, and was told so."""
    followed = [
        (before, after)
        for before, after in turns(NAME)
        if (after.request or {}).get("previous_interaction_id") == response_of(before).id
    ]
    assert len(followed) == 1
