"""What real services sent over Responses: every record decoded, compared with openai-python, and cut anywhere.

Counts are asserted exactly, so that a table of exceptions cannot grow stale unseen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import APIError, ProtocolError, ProviderError
from brainwires_provider.events import Event, PartEnd, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.types import Response, TextPart, ToolCallPart
from corpus import Record, answers, records
from corpus_responses import (
    BROKEN,
    FILES,
    RESPONSES,
    as_input,
    events_of,
    first_answer,
    good,
    response_of,
    sent_back,
)

pytestmark = [pytest.mark.long, pytest.mark.many]

REFUSED = {"AuthenticationError": 1, "InvalidRequestError": 7, "NotFoundError": 1}
CUT_SHORT = (
    "vercel-ai/openai/openai-phase.1.chunks.txt"  # most of its deltas were taken out; the items are whole
)


# -- (a) a response or a typed error -------------------------------------------------------------------------


def test_every_record_gives_a_response_or_a_typed_error() -> None:
    seen: Counter[str] = Counter()
    for record in (r for file in FILES for r in records(file)):
        try:
            response = response_of(record)
        except APIError as error:
            seen[type(error).__name__] += 1
            assert error.message, record.id
            assert record.status >= 400
        except ProtocolError as error:
            assert record.id in BROKEN, error
            assert error.partial is not None
            seen["broken"] += 1
        else:
            seen[f"response, {response.finish_reason} ({response.raw_finish_reason})"] += 1
            assert response.message.content or response.finish_reason == "pending", record.id
    assert seen == {
        "response, stop (completed)": 186,
        "response, stop (complete)": 2,  # so say two answers written by hand
        "response, stop (None)": 1,  # a compaction has no status
        "response, tool_calls (completed)": 100,
        "response, pending (queued)": 2,
        "broken": 1,
        **REFUSED,
    }


DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def test_the_joined_deltas_are_the_parts_text() -> None:
    ended: Counter[str] = Counter()
    for record in good():
        joined: dict[int, str] = {}
        for event in events_of(record):
            if isinstance(event, DELTAS):
                joined[event.index] = joined.get(event.index, "") + event.text
            elif isinstance(event, PartEnd):
                part: Any = event.part
                text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", None)
                assert joined.get(event.index, "") == (text or ""), record.id
                ended[type(part).__name__] += 1
    assert ended == {
        "TextPart": 192,
        "ReasoningPart": 212,
        "ToolCallPart": 102,
        "OpaquePart": 80,
        "ImagePart": 1,
    }


# -- (b) openai-python, of the same bytes --------------------------------------------------------------------


class Theirs(msgspec.Struct):
    """What openai-python makes of the bytes."""

    items: list[dict[str, Any]]
    text: str
    streamed: str | None
    id: str
    model: str | None
    status: str | None
    usage: Any


@pytest.fixture(scope="module")
def openai_client() -> Iterator[Any]:
    httpx = pytest.importorskip("httpx2")
    openai = pytest.importorskip("openai")
    answer: list[Record] = []

    def handle(request: Any) -> Any:
        record = answer[0]
        kind = record.headers.get("content-type", "application/json")
        if record.kind == "stream":
            kind = "text/event-stream"
        return httpx.Response(record.status, headers={"content-type": kind}, content=record.data)

    transport = httpx.Client(transport=httpx.MockTransport(handle))
    client = openai.OpenAI(api_key="x", base_url="http://localhost/v1", http_client=transport, max_retries=0)

    def ask(record: Record) -> Any:
        answer[:] = [record]
        return client

    yield ask
    client.close()


def oracle(record: Record, client: Any) -> Theirs:
    ask = client(record).responses
    streamed = None
    if record.protocol == "openai_compact":
        whole = ask.compact(model="m", input=[])
        items = whole.output
    elif record.kind == "whole":
        whole = ask.create(model="m", input=[])
        items = whole.output
    else:
        placed, streamed, whole = {}, "", None
        for event in ask.create(model="m", input=[], stream=True):
            if whole is not None:
                continue  # a second answer
            if event.type == "response.output_item.done":
                placed[event.output_index] = event.item
            elif event.type == "response.output_text.delta":
                streamed += event.delta
            elif event.type in ("response.completed", "response.incomplete", "response.failed"):
                whole = event.response
        items = [placed[index] for index in sorted(placed)]
    # Reading every item back out of its typed form shows what openai-python would send as the next input.
    plain = [item.to_dict(mode="json", warnings=False) for item in items]
    return Theirs(
        plain,
        "".join(p.text for i in items if i.type == "message" for p in i.content if p.type == "output_text"),
        streamed,
        whole.id,
        getattr(whole, "model", None),
        getattr(whole, "status", None),
        whole.usage,
    )


def test_items_text_status_and_usage_are_those_of_openai_python(openai_client: Any) -> None:
    usages: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for record in good():
        theirs = oracle(record, openai_client)
        response = response_of(record)
        assert response.text == theirs.text, record.id
        assert record.id == CUT_SHORT or theirs.streamed in (None, theirs.text), record.id
        assert (response.id, response.model) == (theirs.id, theirs.model), record.id
        assert response.raw_finish_reason == theirs.status, record.id
        usages[compare_usage(response, theirs.usage)] += 1
        ours, reasons = sent_back(record, response)
        assert not reasons, record.id
        assert ours == [as_input(item) for item in theirs.items], record.id
        types.update(item["type"] for item in ours)
    assert usages == {"equal": 289, "neither": 2}
    assert types == ITEM_TYPES


ITEM_TYPES = {
    "apply_patch_call": 1,
    "code_interpreter_call": 8,
    "compaction": 3,
    "custom_tool_call": 2,
    "file_search_call": 3,
    "function_call": 91,
    "image_generation_call": 2,
    "mcp_approval_request": 3,
    "mcp_call": 6,
    "mcp_list_tools": 10,
    "message": 193,
    "program": 2,
    "program_output": 1,
    "reasoning": 212,
    "shell_call": 6,
    "shell_call_output": 4,
    "tool_search_call": 7,
    "tool_search_output": 4,
    "web_search_call": 29,
}


def compare_usage(response: Response, theirs: Any) -> str:
    ours = response.usage
    if theirs is None:
        return "only ours" if ours.complete else "neither"
    raw = theirs.model_dump()
    inner, outer = (raw.get(f"{w}_tokens_details") or {} for w in ("input", "output"))
    told = {
        "input": (ours.input_tokens, raw["input_tokens"]),
        "output": (ours.output_tokens, raw["output_tokens"]),
        "total": (ours.total_tokens, raw["total_tokens"]),
        "cached": (ours.cache_read, inner.get("cached_tokens") or 0),
        "cache_write": (ours.cache_write, inner.get("cache_write_tokens") or 0),
        "reasoning": (ours.reasoning, outer.get("reasoning_tokens") or 0),
    }
    differing = [name for name, (a, b) in told.items() if a != b]
    if ours.anomalies:
        differing.append("clamped")
    return ", ".join(differing) or "equal"


def test_the_parts_say_what_openai_pythons_items_say(openai_client: Any) -> None:
    """Calls, reasoning and citations by their meaning, and not only as items that go back."""
    told: Counter[str] = Counter()
    for record in good():
        theirs = oracle(record, openai_client).items
        response = response_of(record)
        calls = [
            (i["call_id"], i["name"], i["arguments" if i["type"] == "function_call" else "input"])
            for i in theirs
            if i["type"] in ("function_call", "custom_tool_call")
        ]
        ours = [(c.id, c.name, c.arguments) for c in response.tool_calls if c.kind in ("function", "custom")]
        assert ours == calls, record.id
        thoughts = [i for i in theirs if i["type"] == "reasoning"]
        parts = [p for p in msgspec.to_builtins(response.message)["content"] if p["type"] == "reasoning"]
        for thought, part in zip(thoughts, parts, strict=True):
            assert list(part.get("summary", ())) == [s["text"] for s in thought["summary"]]
            assert part.get("encrypted") == thought.get("encrypted_content")
            texts = [c["text"] for c in thought.get("content") or ()] or part.get("summary", ())
            assert part.get("text", "") == "\n\n".join(texts)
        cited = [
            a
            for i in theirs
            if i["type"] == "message"
            for p in i["content"]
            for a in p.get("annotations", ())
        ]
        assert [c.raw for c in response.citations] == cited, record.id
        assert [(c.url, c.source, c.end) for c in response.citations] == [
            (a.get("url"), a.get("file_id"), a.get("end_index")) for a in cited
        ]
        told.update(calls=len(calls), thoughts=len(thoughts), cited=len(cited))
    assert told == {"calls": 93, "thoughts": 212, "cited": 26}


def test_the_items_in_output_item_done_are_the_parts() -> None:
    """The terminal event has copies that differ; real clients sent back those of output_item.done."""
    differing = 0
    for record in good():
        if record.kind != "stream":
            continue
        documents = first_answer(record)
        done = {d["output_index"]: d["item"] for d in documents if d["type"] == "response.output_item.done"}
        items = [done[index] for index in sorted(done)]
        differing += documents[-1]["response"]["output"] != items
        assert sent_back(record, response_of(record))[0] == [as_input(item) for item in items]
    assert differing == 15


def test_refusals_have_openai_pythons_status(openai_client: Any) -> None:
    openai = pytest.importorskip("openai")
    refused = [r for r in records("openai_responses") if r.status >= 400]
    for record in refused:
        with pytest.raises(openai.APIStatusError) as theirs:
            oracle(record, openai_client)
        with pytest.raises(APIError) as ours:
            events_of(record)
        assert ours.value.status == theirs.value.status_code == record.status
    assert len(refused) == 9


# -- (c) cut anywhere ----------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    streams = [r for r in answers("openai_responses") if r.kind == "stream"]
    seeded = random.Random(7)
    for record in streams:
        whole = outcome(record, None)
        data = record.data
        for size in (1, 40, 3):
            cuts = sorted(seeded.sample(range(len(data)), 40)) if size > 1 else range(1, min(len(data), 4000))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert outcome(record, pieces) == whole, record.id
    assert len(streams) == 51


def outcome(record: Record, chunks: list[bytes] | None) -> tuple[list[Event], str]:
    """The events, and the failure that ended them, if any."""
    decoder, events, framing = RESPONSES.decoder(record.origin), [], SSEFraming()
    try:
        for chunk in [record.data] if chunks is None else chunks:
            for message in framing.feed(chunk):
                if not decoder.ended:
                    events += decoder.feed(message)
        if not decoder.ended:
            events += decoder.finish()
    except ProviderError as error:
        return events, f"{type(error).__name__}: {error}"
    return events, ""


def test_a_stream_cut_before_its_end_keeps_what_had_arrived() -> None:
    streams = [r for r in good() if r.kind == "stream"]
    for record in streams:
        messages = SSEFraming().feed(record.data)
        response = response_of(record)
        decoder = RESPONSES.decoder(record.origin)
        for message in messages:
            before = decoder.partial()
            decoder.feed(message)
            if decoder.ended:
                break
        texts = [p.text for p in before.message.content if isinstance(p, TextPart)]
        assert "".join(texts) == response.text
        assert not before.usage.complete
