"""What real services sent over Messages: every record decoded, compared with the `anthropic` package, sent back, cut.

Counts are asserted exactly, so that a table of exceptions cannot grow stale unseen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from anthropic_requests import assistant_blocks
from brainwires_provider.errors import APIError, ProviderError
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.anthropic.response import AnthropicDecoder
from brainwires_provider.types import OpaquePart, Response, TextPart, ToolCallPart
from corpus import Record, records, turns
from corpus_anthropic import FILES, documents_of, events_of, good, response_of, sent_back

pytestmark = [pytest.mark.long, pytest.mark.many]

STREAMED = 35

# -- (a) a response or a typed error -------------------------------------------------------------------------


def test_every_record_gives_a_response_or_a_typed_error() -> None:
    seen: Counter[str] = Counter()
    for record in (r for file in FILES for r in records(file)):
        try:
            response = response_of(record)
        except APIError as error:
            seen[type(error).__name__] += 1
            assert error.message and error.request_id, record.id
            assert record.status >= 400
        else:
            seen[f"{response.finish_reason} ({response.raw_finish_reason})"] += 1
            assert response.message.content or response.finish_reason == "refusal", record.id
            assert response.usage.complete and not response.usage.anomalies, record.id
    assert seen == {
        "stop (end_turn)": 176,
        "stop (stop_sequence)": 1,
        "tool_calls (tool_use)": 98,
        "refusal (refusal)": 2,
        "NotFoundError": 1,
        "AuthenticationError": 1,
        "ContextLengthError": 1,
    }


DELTAS = (TextDelta, ReasoningDelta, ToolCallDelta)


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
    assert ended == {"TextPart": 311, "ReasoningPart": 23, "ToolCallPart": 104, "OpaquePart": 188}


# -- (b) the anthropic package, of the same bytes ------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle() -> Iterator[Any]:
    """What the anthropic package makes of a record, as plain values."""
    httpx = pytest.importorskip("httpx2")
    anthropic = pytest.importorskip("anthropic")
    answer: list[Record] = []

    def handle(request: Any) -> Any:
        record = answer[0]
        headers = {"content-type": record.headers.get("content-type", "application/json")}
        data = record.data
        if record.kind == "stream":
            # It passes over events without a name (half of the recordings left the names out), and reads a second
            # message into the first, so it is shown the first alone, with names.
            data = b"".join(
                b"event: %s\ndata: %s\n\n" % (d["type"].encode(), msgspec.json.encode(d))
                for d in documents_of(record)
            )
        return httpx.Response(record.status, headers=headers, content=data)

    transport = httpx.Client(transport=httpx.MockTransport(handle))
    client = anthropic.Anthropic(api_key="x", http_client=transport, max_retries=0)
    asked: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "…"}]}

    def ask(record: Record) -> dict[str, Any]:
        answer[:] = [record]
        if record.kind == "whole":
            message = client.beta.messages.create(**asked)
        else:
            with client.beta.messages.stream(**asked) as stream:
                message = stream.get_final_message()
        plain: dict[str, Any] = message.to_dict(mode="json", warnings=False)
        return plain

    yield ask
    client.close()


# What their blocks say otherwise, and why.
BLANK = "text: the blank at the end of an answer is not sent back, since the API refuses it"
OTHERWISE = {
    "compaction.encrypted_content: they add a null": 2,
    BLANK: 1,
}
BLOCKS = {
    "advisor_tool_result": 6,
    "bash_code_execution_tool_result": 33,
    "code_execution_tool_result": 5,
    "compaction": 4,
    "fallback": 1,
    "mcp_tool_result": 5,
    "mcp_tool_use": 4,
    "redacted_thinking": 4,
    "server_tool_use": 86,
    "text": 311,
    "text_editor_code_execution_tool_result": 18,
    "thinking": 19,
    "tool_search_tool_result": 11,
    "tool_use": 104,
    "web_fetch_tool_result": 6,
    "web_search_tool_result": 9,
}
ENVELOPE = ("id", "model", "type", "role", "content", "stop_reason", "usage")


def test_blocks_stop_reason_and_fields_are_those_of_the_anthropic_package(oracle: Any) -> None:
    """Text, thinking, signatures, calls, citations and server tools' blocks: each block, field by field."""
    types: Counter[str] = Counter()
    otherwise: Counter[str] = Counter()
    extra: Counter[str] = Counter()
    for record in good():
        theirs, response = oracle(record), response_of(record)
        ours, reasons = sent_back(record, response)
        assert not reasons, record.id
        for mine, block in zip(ours, theirs["content"], strict=True):
            types[mine["type"]] += 1
            otherwise.update(differences(mine, block))
        assert (response.id, response.model) == (theirs["id"], theirs["model"]), record.id
        assert response.raw_finish_reason == theirs["stop_reason"], record.id
        told = {k: v for k, v in theirs.items() if v is not None and k not in ENVELOPE}
        assert response.extra == told, record.id
        extra.update(told.keys())
    assert types == BLOCKS
    assert otherwise == OTHERWISE
    assert extra == {"container": 26, "context_management": 9, "stop_details": 2, "stop_sequence": 1}


def differences(mine: dict[str, Any], block: dict[str, Any]) -> Iterator[str]:
    for field in mine.keys() | block.keys():
        if mine.get(field) != block.get(field):
            trimmed = field == "text" and mine.get(field) == block.get(field, "").rstrip()
            yield (
                BLANK
                if trimmed
                else f"LOST {block['type']}.{field}: {block.get(field)!r} -> {mine.get(field)!r}"
            )
        elif field not in mine:
            yield f"{block['type']}.{field}: they add a null"


def test_the_parts_say_what_their_blocks_say(oracle: Any) -> None:
    """By meaning, and not only as blocks that go back."""
    told: Counter[str] = Counter()
    for record in good():
        theirs, response = oracle(record)["content"], response_of(record)
        assert response.text == "".join(b["text"] for b in theirs if b["type"] == "text"), record.id
        thoughts = [b for b in theirs if b["type"] == "thinking"]
        assert response.reasoning == "\n\n".join(b["thinking"] for b in thoughts if b["thinking"])
        calls = [(b["id"], b["name"], b["input"]) for b in theirs if b["type"] == "tool_use"]
        assert [(c.id, c.name, c.args()) for c in response.tool_calls] == calls, record.id
        cited = [c for b in theirs for c in (b.get("citations") or ()) if b["type"] == "text"]
        assert [c.raw for c in response.citations] == cited, record.id
        assert [(c.quote, c.url, c.title) for c in response.citations] == [
            (c["cited_text"], c.get("url"), c.get("title") or c.get("document_title")) for c in cited
        ]
        server = [(p.role, p.id) for p in response.message.content if isinstance(p, OpaquePart) and p.role]
        assert server == [
            ("call", b["id"]) if b["type"].endswith("tool_use") else ("result", b["tool_use_id"])
            for b in theirs
            if b["type"]
            not in ("text", "thinking", "redacted_thinking", "tool_use", "compaction", "fallback")
        ]
        told.update(calls=len(calls), thoughts=len(thoughts), cited=len(cited), server=len(server))
    assert told == {"calls": 104, "thoughts": 19, "cited": 35, "server": 183}


def test_usage_is_that_of_the_anthropic_package(oracle: Any) -> None:
    passes: Counter[str] = Counter()
    for record in good():
        theirs, ours = oracle(record)["usage"], response_of(record).usage
        raw: Any = ours.raw
        assert {k: v for k, v in theirs.items() if v is not None} == {
            k: v for k, v in raw.items() if v is not None
        }, record.id
        read, written = (theirs.get(f"cache_{what}_input_tokens") or 0 for what in ("read", "creation"))
        assert (ours.uncached_input, ours.cache_read, ours.cache_write) == (
            theirs["input_tokens"],
            read,
            written,
        )
        assert ours.output_tokens == theirs["output_tokens"]
        assert ours.reasoning == (theirs.get("output_tokens_details") or {}).get("thinking_tokens", 0)
        assert ours.total_tokens == theirs["input_tokens"] + read + written + theirs["output_tokens"]
        passes.update(p["type"] for p in ours.passes)
        aside = sum(p["input_tokens"] for p in ours.passes)
        iterations = theirs.get("iterations") or ()
        if iterations:
            assert sum(i["input_tokens"] for i in iterations) == ours.uncached_input + aside, record.id
    assert passes == {"compaction": 4, "advisor_message": 2, "message": 1}


def test_a_stream_and_its_whole_body_give_the_same_parts(oracle: Any) -> None:
    """The whole body is what the anthropic package made of the stream."""
    differing = []
    streams = [r for r in good() if r.kind == "stream"]
    for record in streams:
        body = msgspec.json.encode(oracle(record))
        whole, streamed = collect(AnthropicDecoder(record.origin).feed_whole(body)), response_of(record)
        mine = [plain(part) for part in streamed.message.content]
        if mine != [plain(part) for part in whole.message.content]:
            differing.append(record.id)
        assert (whole.text, whole.citations, whole.usage.total_tokens, whole.finish_reason) == (
            streamed.text,
            streamed.citations,
            streamed.usage.total_tokens,
            streamed.finish_reason,
        )
    assert differing == [  # they add a null to a compaction
        "pydantic-ai/test_anthropic/test_anthropic_compaction_usage_with_cache_streaming#0",
        "vercel-ai/anthropic/anthropic-compaction.1.chunks.txt",
    ]
    assert len(streams) == STREAMED


def plain(part: Any) -> Any:
    """A part as plain values, a call's arguments as the value that they are."""
    value = msgspec.to_builtins(part)
    if isinstance(part, ToolCallPart):
        value["arguments"] = part.args()
    return value


def test_refusals_have_the_anthropic_packages_status(oracle: Any) -> None:
    anthropic = pytest.importorskip("anthropic")
    refused = [r for file in FILES for r in records(file) if r.status >= 400]
    for record in refused:
        with pytest.raises(anthropic.APIStatusError) as theirs:
            oracle(record)
        with pytest.raises(APIError) as ours:
            events_of(record)
        assert ours.value.status == theirs.value.status_code == record.status
        assert ours.value.type == theirs.value.type
    assert len(refused) == 3


# -- (c) nothing in the body is unaccounted for --------------------------------------------------------------

# Leaves of the documents that are neither a value of the Response nor kept as they came, and why.
UNKEPT = {
    BLANK: 1,
    "nothing: null, or empty": 232,
    "the wire's numbering": 3548,
    "type: says what the event or delta is": 5301,
    "told again by a later event: .message.usage.cache_creation_input_tokens": 1,
    "told again by a later event: .message.usage.cache_read_input_tokens": 2,
    "told again by a later event: .message.usage.input_tokens": 18,
    "told again by a later event: .message.usage.output_tokens": 35,
    "another model took over: .message.model": 1,
}


Path = tuple[Any, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf; an empty object or list is one, for it may mean something."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, (dict, list)) or not value:
        yield path, value


def at(value: Any, path: Path) -> Any:
    for key in path:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return None
    return value


class Account:
    """Where in a response each leaf of its documents should be."""

    def __init__(self, record: Record) -> None:
        events = events_of(record)
        self.response = collect(events)
        self.blocks, _ = sent_back(record, self.response)
        self.fragments: dict[int, list[Any]] = {}
        for event in events:
            if isinstance(event, (*DELTAS, OpaqueDelta)):
                told = event.data if isinstance(event, OpaqueDelta) else event.text
                self.fragments.setdefault(event.index or 0, []).append(told)

    def message_holds(self, path: Path, value: Any) -> bool:
        match path:
            case ("id",):
                return bool(self.response.id == value)
            case ("model",):
                return bool(self.response.model == value)
            case ("type",):
                return bool(value == "message")
            case ("role",):
                return bool(self.response.message.role == value)
            case ("stop_reason",):
                return bool(self.response.raw_finish_reason == value)
            case ("usage", *rest):
                return bool(at(self.response.usage.raw, tuple(rest)) == value)
            case ("content", *rest) if rest:
                return bool(at(self.blocks, tuple(rest)) == value)
        return bool(at(self.response.extra, path) == value)

    def event_holds(self, event: dict[str, Any], path: Path, value: Any) -> bool:
        match event["type"], path:
            case "message_start", ("message", *rest):
                return self.message_holds(tuple(rest), value)
            case "message_delta", ("usage", *_):
                return self.message_holds(path, value)
            case "message_delta", ("delta", *rest):
                return self.message_holds(tuple(rest), value)
            case "message_delta", _:
                return bool(at(self.response.extra, path) == value)
            case "content_block_start", ("content_block", *rest):
                return bool(at(self.blocks[event["index"]], tuple(rest)) == value)
            case "content_block_delta", ("delta", *rest):
                fragments = self.fragments.get(event["index"], [])
                told = event["delta"]
                if (
                    told["type"] in ("text_delta", "thinking_delta", "input_json_delta")
                    and value in fragments
                ):
                    return True
                whole = [told, told.get("citation"), told.get("signature"), told.get("content")]
                return value in fragments or any(one in fragments for one in whole if one is not None)
        return False


def why_unkept(event: dict[str, Any], path: Path, value: Any, later: list[Any]) -> str:
    """The reason why a leaf may be missing, or its own name if there is none."""
    if path == ("type",) or path == ("delta", "type"):
        return "type: says what the event or delta is"
    if path == ("index",):
        return "the wire's numbering"
    if value is None or value in ("", [], {}):
        return "nothing: null, or empty"
    for document in later:
        other = document.get("usage") if path[:2] == ("message", "usage") else None
        if other is not None and at(other, path[2:]) is not None:
            return f"told again by a later event: {label(path)}"
    if event["type"] == "message_start" and path == ("message", "model"):
        return "another model took over: .message.model"
    if path[-1] == "text" and value != value.rstrip():
        return BLANK
    return f"LOST {event['type']} {label(path)} {str(value)[:60]}"


def label(path: Path) -> str:
    return "".join("[]" if isinstance(key, int) else f".{key}" for key in path)


def test_nothing_in_the_body_is_unaccounted_for() -> None:
    unkept: Counter[str] = Counter()
    for record in good():
        account = Account(record)
        documents = documents_of(record)
        for number, document in enumerate(documents):
            for path, value in leaves(document):
                holds = (
                    account.message_holds(path, value)
                    if record.kind == "whole"
                    else account.event_holds(document, path, value)
                )
                if not holds:
                    unkept[why_unkept(document, path, value, documents[number + 1 :])] += 1
    assert unkept == UNKEPT


# -- (d) the assistant's turn goes back ----------------------------------------------------------------------

# What a recording's own next request says of the answer before it, block by block, beside ours; and why they differ.
CARRIED = {
    "turns": 78,
    "bash_code_execution_tool_result: equal": 8,
    "compaction: equal": 1,
    "mcp_tool_result.content: the recorder adds nulls": 1,
    "mcp_tool_use: equal": 1,
    "redacted_thinking: equal": 1,
    "server_tool_use: equal": 13,
    "text: equal": 53,
    "thinking: equal": 5,
    "tool_search_tool_result: equal": 4,
    "tool_use.caller: the recorder leaves out who called": 44,
    "tool_use: equal": 22,
    "web_search_tool_result: equal": 1,
}
NOT_REPLAYED = {
    "the later request does not hold the earlier answer": 6,
}


def test_the_assistants_turn_goes_back_with_nothing_lost() -> None:
    told: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for before, record in (pair for file in FILES for pair in turns(file)):
        theirs = their_turn(before, record)
        if theirs is None:
            skipped["the later request does not hold the earlier answer"] += 1
            continue
        ours, deviations = assistant_blocks(response_of(before).message, record.origin, 1)
        assert not deviations, (record.id, deviations)
        told["turns"] += 1
        for mine, block in zip(ours, theirs, strict=True):
            found = list(difference(mine, block))
            told.update(found or [f"{mine['type']}: equal"])
    assert told == CARRIED
    assert skipped == NOT_REPLAYED


def their_turn(before: Record, record: Record) -> list[dict[str, Any]] | None:
    """The blocks of a recorded request that are the answer before it."""
    assert before.request is not None and record.request is not None
    known, messages = before.request["messages"], record.request["messages"]
    if len(messages) <= len(known) or messages[len(known)]["role"] != "assistant":
        return None
    content = messages[len(known)]["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def difference(mine: dict[str, Any], block: dict[str, Any]) -> Iterator[str]:
    """How our block differs from the recording's, and why."""
    for field in sorted(mine.keys() | block.keys()):
        value, known = block.get(field), mine.get(field)
        if value == known:
            continue
        where = f"{mine['type']}.{field}"
        if field == "caller" and value is None:
            yield f"{where}: the recorder leaves out who called"
        elif field == "content" and [without_nulls(item) for item in value] == known:
            yield f"{where}: the recorder adds nulls"
        else:
            yield f"LOST {where} {value!r} -> {known!r}"


def without_nulls(item: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if v is not None}


# -- (e) cut anywhere ----------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    streams = [r for r in good() if r.kind == "stream"]
    seeded = random.Random(7)
    for record in streams:
        whole = outcome(record, None)
        assert not whole[1], record.id
        data = record.data
        for size in (1, 40, 3):
            cuts = sorted(seeded.sample(range(len(data)), 40)) if size > 1 else range(1, min(len(data), 4000))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert outcome(record, pieces) == whole, record.id
    assert len(streams) == STREAMED


def outcome(record: Record, chunks: list[bytes] | None) -> tuple[list[Event], str]:
    """The events, and the failure that ended them, if any."""
    events: list[Event] = []
    decoder, framing = AnthropicDecoder(record.origin), SSEFraming()
    try:
        for chunk in [record.data] if chunks is None else chunks:
            for message in framing.feed(chunk):
                events += decoder.feed(message)
        events += decoder.finish()
    except ProviderError as error:
        return events, f"{type(error).__name__}: {error}"
    return events, ""


def test_a_stream_cut_before_its_end_keeps_what_had_arrived() -> None:
    for record in good():
        if record.kind != "stream":
            continue
        response = response_of(record)
        decoder = AnthropicDecoder(record.origin)
        before: Response = decoder.partial()
        for message in SSEFraming().feed(record.data):
            if decoder.ended:
                break
            before = decoder.partial()
            decoder.feed(message)
        assert before.message == response.message
        assert before.usage.raw == response.usage.raw and not before.usage.complete
        assert before.extra == response.extra
        texts = [p.text for p in before.message.content if isinstance(p, TextPart)]
        assert "".join(texts) == response.text


def test_a_body_of_several_messages_is_read_one_by_one() -> None:
    """Two recordings hold more than one message: each opens a decoder of its own, and none is lost."""
    found = {}
    for record in good():
        if record.kind != "stream":
            continue
        starts = record.data.count(b'"message_start"')
        if starts > 1:
            found[record.id] = [len(r.message.content) for r in every_message(record)]
            assert len(found[record.id]) == starts
    assert found == {
        "vercel-ai/anthropic/anthropic-tool-search-bm25.1.chunks.txt": [5, 1],
        "vercel-ai/anthropic/anthropic-tool-search-deferred-bm25.chunks.txt": [3, 3, 1],
    }


def every_message(record: Record) -> Iterator[Response]:
    decoder, events = AnthropicDecoder(record.origin), []
    for message in SSEFraming().feed(record.data):
        events += decoder.feed(message)
        if decoder.ended:
            yield collect(events)
            decoder, events = AnthropicDecoder(record.origin), []
