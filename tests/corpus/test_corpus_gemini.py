"""What Google sent: every recorded answer decoded, compared with google-genai, cut anywhere, and sent back.

Counts are asserted exactly, so that a table of exceptions cannot grow stale unseen.
"""

from __future__ import annotations

import base64
import functools
import gzip
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import APIError, ProtocolError, ProviderError
from brainwires_provider.events import (
    Event,
    PartEnd,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.gemini import Gemini
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    ReasoningPart,
    Request,
    Response,
    TextPart,
    ToolCallPart,
)
from corpus import Record, answers, corpus_dir, read, records, turns
from known import encode_known

pytestmark = [pytest.mark.long, pytest.mark.many]

GEMINI = Gemini()
LIVE = "google-live-speech-translation.chunks.txt"
REFUSED_UNDER_200 = "vercel-ai/google/google-429-retry-info.json"


@functools.cache
def paths() -> dict[str, str]:
    """The path of each record's request, where its model is named."""
    with gzip.open(corpus_dir() / "gemini.jsonl.gz") as lines:
        return {r["id"]: r["path"] for r in map(msgspec.json.decode, lines)}


def model_of(record: Record) -> str:
    return paths().get(record.id, "").rpartition("/")[2].partition(":")[0]


def origin_of(record: Record) -> Origin:
    return Origin("gemini", record.host, model_of(record))


def is_foreign(record: Record) -> bool:
    return record.id.rpartition("/")[2] == LIVE


def events_of(record: Record, chunks: list[bytes] | None = None) -> list[Event]:
    return read(GEMINI, GEMINI.decoder(origin_of(record)), record, chunks)


def response_of(record: Record) -> Response:
    return collect(events_of(record))


def good() -> list[Record]:
    return [r for r in answers("gemini") if not is_foreign(r) and r.id != REFUSED_UNDER_200]


# -- (a) a response or a typed error -------------------------------------------------------------------------


def test_every_record_gives_a_response_or_a_typed_error() -> None:
    seen: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for record in records("gemini"):
        try:
            response = response_of(record)
        except APIError as error:
            seen[type(error).__name__] += 1
            assert error.message, record.id
            assert record.status >= 400 or record.id == REFUSED_UNDER_200
        except ProtocolError as error:
            assert is_foreign(record), error
            assert "this is an answer of the Live API" in str(error)
            seen["foreign"] += 1
        else:
            seen[f"{response.finish_reason} ({response.raw_finish_reason})"] += 1
            assert not response.usage.anomalies
            assert not response.usage.unattributed
            for part in response.message.content:
                parts[part.kind if isinstance(part, OpaquePart) else type(part).__name__] += 1
    assert seen == {
        "stop (STOP)": 236,
        "tool_calls (STOP)": 226,
        "malformed_tool_call (UNEXPECTED_TOOL_CALL)": 5,
        "content_filter (MODEL_ARMOR)": 2,  # one of them a prompt that was blocked
        "content_filter (SAFETY)": 1,
        "length (MAX_TOKENS)": 1,
        "foreign": 1,
        "RateLimitError": 2,
        "NotFoundError": 1,
        "InvalidRequestError": 1,
        "AuthenticationError": 1,
        "ContextLengthError": 1,
    }
    assert parts == {
        "TextPart": 243,
        "ToolCallPart": 238,
        "ReasoningPart": 7,
        "ImagePart": 1,
        "FilePart": 1,
        "executableCode": 8,
        "codeExecutionResult": 8,
        "toolCall": 8,
        "toolResponse": 8,
    }


def test_answers_of_the_interactions_api_are_named() -> None:
    foreign = answers("google_interactions")
    for record in foreign:
        with pytest.raises(ProtocolError, match="this is an answer of the Interactions API"):
            response_of(record)
    assert len(foreign) == 18


def test_refusals_say_what_google_said() -> None:
    told = {}
    for record in records("gemini"):
        if record.status >= 400 or record.id == REFUSED_UNDER_200:
            with pytest.raises(APIError) as caught:
                events_of(record)
            error = caught.value
            told[record.id.rpartition("/")[2]] = (error.code, error.type, error.retry_after)
    assert told == {
        "test_model_name_suggestion[google]#0": ("NOT_FOUND", "NOT_FOUND", None),
        "test_model_sees_multiple_images[google_vertex]#1": ("INVALID_ARGUMENT", "INVALID_ARGUMENT", None),
        "chat_error_handling_with_gemini_gemini-2_5-flash_raises_appropriate_auth_error#0": (
            "API_KEY_INVALID",
            "INVALID_ARGUMENT",
            None,
        ),
        "chat_real_error_scenarios_gemini_gemini-2_5-flash_handles_context_length_exceeded_errors#0": (
            "RESOURCE_EXHAUSTED",
            "RESOURCE_EXHAUSTED",
            48.0,
        ),
        "chat_real_error_scenarios_vertexai_gemini-2_5-flash_handles_context_length_exceeded_errors#1": (
            "INVALID_ARGUMENT",
            "INVALID_ARGUMENT",
            None,
        ),
        "google-429-retry-info.json": ("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", 34.4),
    }


DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def test_the_joined_deltas_are_the_parts_text() -> None:
    for record in good():
        joined: dict[int, str] = {}
        for event in events_of(record):
            if isinstance(event, DELTAS):
                joined[event.index] = joined.get(event.index, "") + event.text
            elif isinstance(event, PartEnd):
                part: Any = event.part
                text = part.arguments if isinstance(part, ToolCallPart) else getattr(part, "text", None)
                assert joined.get(event.index, "") == (text or ""), record.id


# -- (b) google-genai, of the same bytes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def genai() -> Iterator[Any]:
    """Asks google-genai for its chunks of a record's bytes."""
    httpx = pytest.importorskip("httpx2")
    google = pytest.importorskip("google.genai")
    answer: list[Record] = []

    def handle(request: Any) -> Any:
        record = answer[0]
        kind = "text/event-stream" if record.kind == "stream" else "application/json"
        return httpx.Response(record.status, headers={"content-type": kind}, content=record.data)

    options = {"base_url": "http://localhost/", "client_args": {"transport": httpx.MockTransport(handle)}}
    client = google.Client(api_key="x", http_options=options)

    def ask(record: Record) -> list[Any]:
        answer[:] = [record]
        config = {"automatic_continuation": False, "automatic_function_calling": {"disable": True}}
        if record.kind == "stream":
            return list(client.models.generate_content_stream(model="m", contents="x", config=config))
        return [client.models.generate_content(model="m", contents="x", config=config)]

    yield ask
    client.close()


class Told(msgspec.Struct):
    """What an answer says, in words that both sides have."""

    text: str = ""
    thoughts: str = ""
    signed: list[tuple[str, bytes]] = []
    calls: list[tuple[Any, ...]] = []
    code: list[tuple[Any, ...]] = []
    server: list[tuple[Any, ...]] = []
    media: list[tuple[Any, ...]] = []
    finish: str | None = None
    grounding: Any = None
    other: dict[str, Any] = {}
    usage: Any = None
    model: str | None = None
    id: str | None = None


def wire_of(value: Any) -> Any:
    return None if value is None else value.model_dump(mode="json", by_alias=True, exclude_none=True)


def theirs_of(chunks: list[Any]) -> Told:
    told = Told()
    for chunk in chunks:
        told.model, told.id = chunk.model_version or told.model, chunk.response_id or told.id
        told.usage = chunk.usage_metadata or told.usage
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            told.finish = chunk.prompt_feedback.block_reason.value
        for candidate in chunk.candidates or ():
            for part in (candidate.content and candidate.content.parts) or ():
                theirs_of_part(part, told)
            told.finish = candidate.finish_reason.value if candidate.finish_reason else told.finish
            told.grounding = wire_of(candidate.grounding_metadata) or told.grounding
            for name in ("safety_ratings", "finish_message", "avg_logprobs", "url_context_metadata"):
                value = getattr(candidate, name)
                if value is not None:
                    plain = [wire_of(v) for v in value] if isinstance(value, list) else value
                    told.other[name] = wire_of(plain) if hasattr(plain, "model_dump") else plain
    return told


def theirs_of_part(part: Any, told: Told) -> None:
    kind = next(
        name
        for name in (
            "function_call",
            "executable_code",
            "code_execution_result",
            "tool_call",
            "tool_response",
            "inline_data",
            "text",
        )
        if getattr(part, name) is not None
    )
    if part.thought_signature is not None:
        told.signed.append((kind, part.thought_signature))
    value = getattr(part, kind)
    if kind == "text" and part.thought:
        told.thoughts += value
    elif kind == "text":
        told.text += value
    elif kind == "function_call":
        fragments(value, told)
    elif kind == "executable_code":
        told.code.append((value.code, value.language.value, value.id))
    elif kind == "code_execution_result":
        told.code.append((value.outcome.value, value.output, value.id))
    elif kind == "inline_data":
        told.media.append((value.mime_type, value.data))
    else:
        told.server.append((kind, value.tool_type.value, value.id))


def fragments(call: Any, told: Told) -> None:
    """google-genai gives streamed arguments as they come; put together by hand, as its documentation says."""
    if call.name:
        told.calls.append((call.name, dict(call.args or {}), call.id))
    for piece in call.partial_args or ():
        steps = re.findall(r"[^.\[\]$]+", piece.json_path)
        holder: Any = told.calls[-1][1]
        for step, after in pairwise(steps):
            holder = child(holder, step, [] if after.isdecimal() else {})
        value = piece.number_value if piece.number_value is not None else piece.string_value
        known = holder.get(steps[-1]) if isinstance(holder, dict) else None
        holder[steps[-1]] = known + value if isinstance(known, str) else value


def child(holder: Any, step: str, fresh: Any) -> Any:
    if isinstance(holder, dict):
        return holder.setdefault(step, fresh)
    if int(step) == len(holder):
        holder.append(fresh)
    return holder[int(step)]


OTHER = {
    "safety_ratings": "safetyRatings",
    "finish_message": "finishMessage",
    "avg_logprobs": "avgLogprobs",
    "url_context_metadata": "urlContextMetadata",
}


def ours_of(response: Response) -> Told:
    told = Told(text=response.text, finish=response.raw_finish_reason, model=response.model, id=response.id)
    for part in response.message.content:
        ours_of_part(part, told)
    told.grounding = response.extra.get("groundingMetadata") or None  # theirs is None where it came empty
    told.other = {ours: response.extra[wire] for ours, wire in OTHER.items() if wire in response.extra}
    told.usage = response.usage
    return told


def ours_of_part(part: Any, told: Told) -> None:
    signature = (part.extra or {}).get("thoughtSignature")
    match part:
        case TextPart():
            kind = "text"
        case ReasoningPart():
            kind, signature = "text", part.signature
            told.thoughts += part.text
        case ToolCallPart():
            kind = "function_call"
            told.calls.append((part.name, part.args(), part.id))
            assert (part.local_id is None) == (part.id is not None)
        case ImagePart() | FilePart():
            kind = "inline_data"
            told.media.append((part.media_type, part.data))
        case _:
            kind, signature = KINDS[part.kind], part.data.get("thoughtSignature")
            value = part.data[part.kind]
            if part.kind == "executableCode":
                told.code.append((value["code"], value["language"], value.get("id")))
            elif part.kind == "codeExecutionResult":
                told.code.append((value["outcome"], value.get("output"), value.get("id")))
            else:
                told.server.append((kind, value["toolType"], value["id"]))
    if signature is not None:
        told.signed.append((kind, base64.b64decode(signature)))


KINDS = {
    "executableCode": "executable_code",
    "codeExecutionResult": "code_execution_result",
    "toolCall": "tool_call",
    "toolResponse": "tool_response",
}


def test_an_answer_says_what_google_genai_says(genai: Any) -> None:
    counted: Counter[str] = Counter()
    for record in good():
        ours, theirs = ours_of(response_of(record)), theirs_of(genai(record))
        for name in Told.__struct_fields__:
            if name not in ("usage", "other"):
                assert getattr(ours, name) == getattr(theirs, name), (record.id, name)
        only_ours = [name for name in ours.other if name not in theirs.other]
        assert {k: v for k, v in ours.other.items() if k not in only_ours} == theirs.other, record.id
        counted.update(f"only ours: {name}" for name in only_ours)
        compare_usage(ours.usage, theirs.usage, record.id)
        counted.update(
            answers=1,
            signatures=len(ours.signed),
            calls=len(ours.calls),
            code=len(ours.code),
            server=len(ours.server),
            media=len(ours.media),
            grounded=ours.grounding is not None,
            thoughts=bool(ours.thoughts),
        )
    assert counted == {
        "answers": 471,
        "signatures": 372,
        "calls": 238,
        "code": 16,
        "server": 16,
        "media": 2,
        "grounded": 15,
        "thoughts": 7,
        "only ours: finish_message": 153,  # AI Studio's is passed over by google-genai
    }


def compare_usage(ours: Any, theirs: Any, where: str) -> None:
    """Every count, and that the buckets are what google-genai's fields say."""
    assert theirs is not None
    prompt, cached = theirs.prompt_token_count or 0, theirs.cached_content_token_count or 0
    audio = sum(
        sign * (d.token_count or 0)
        for sign, details in ((1, theirs.prompt_tokens_details), (-1, theirs.cache_tokens_details))
        for d in details or ()
        if d.modality and d.modality.value == "AUDIO"
    )
    told = {
        "prompt": (ours.uncached_input + ours.cache_read + ours.audio_input, prompt),
        "cached": (ours.cache_read, cached),
        "audio": (ours.audio_input, audio),
        "output": (ours.output_text, theirs.candidates_token_count or 0),
        "thoughts": (ours.reasoning, theirs.thoughts_token_count or 0),
        "tools": (ours.tool_input, theirs.tool_use_prompt_token_count or 0),
        "total": (ours.total_tokens, theirs.total_token_count or 0),
        "complete": (ours.complete, theirs.total_token_count is not None),
    }
    assert not {name: pair for name, pair in told.items() if pair[0] != pair[1]}, where


def test_citations_quote_the_texts_that_they_are_on() -> None:
    seen: Counter[str] = Counter()
    for record in good():
        response = response_of(record)
        metadata = response.extra.get("groundingMetadata") or {}
        supported = [
            i for s in metadata.get("groundingSupports", ()) for i in s.get("groundingChunkIndices", ())
        ]
        loose = [c for i, c in enumerate(metadata.get("groundingChunks", ())) if i not in supported]
        texts = [p for p in response.message.content if isinstance(p, TextPart)]
        if texts:
            assert len(response.citations) == len(supported) + len(loose), record.id
        for text in texts:
            for cited in text.citations:
                seen["cited"] += 1
                assert cited.url or cited.source or cited.title, record.id
                if cited.quote is None:
                    seen["without a place"] += 1
                    continue
                assert cited.quote in text.text, record.id
                held = text.text.encode()[cited.start : cited.end].decode(errors="replace")
                seen["exact" if held == cited.quote else "elsewhere"] += 1
    # In one recording Google's own offsets are two bytes too high from the middle on.
    assert seen == {"cited": 70, "exact": 59, "elsewhere": 9, "without a place": 2}


# -- (c) cut anywhere ----------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    streams = [r for r in answers("gemini") if r.kind == "stream"]
    seeded = random.Random(7)
    for record in streams:
        whole = outcome(record, None)
        data = record.data
        for size in (1, 40, 3):
            cuts = sorted(seeded.sample(range(len(data)), 40)) if size > 1 else range(1, min(len(data), 4000))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert outcome(record, pieces) == whole, record.id
    assert len(streams) == 26


def outcome(record: Record, chunks: list[bytes] | None) -> tuple[list[Event], str]:
    """The events, and the failure that ended them, if any."""
    decoder, events, framing = GEMINI.decoder(origin_of(record)), [], SSEFraming()
    try:
        for chunk in [record.data] if chunks is None else chunks:
            for message in framing.feed(chunk):
                events += decoder.feed(message)
        events += decoder.finish()
    except ProviderError as error:
        return events, f"{type(error).__name__}: {error}"
    return events, ""


def test_a_stream_is_the_same_as_the_array_of_its_chunks() -> None:
    """What a service that ignores `alt=sse` sends."""
    streams = [r for r in good() if r.kind == "stream"]
    for record in streams:
        messages = SSEFraming().feed(record.data)
        array = b"[" + b",\r\n".join(m.data for m in messages) + b"]"
        assert GEMINI.decoder(origin_of(record)).feed_whole(array) == events_of(record)
    assert len(streams) == 25


# -- (d) sent back -------------------------------------------------------------------------------------------


def pairs() -> Iterator[tuple[Record, Record]]:
    """Two consecutive requests of which the second holds the answer to the first."""
    fine = {r.id for r in good()}
    for before, after in turns("gemini"):
        if before.id in fine and recorded_turn(before, after) is not None:
            yield before, after


def recorded_turn(before: Record, after: Record) -> dict[str, Any] | None:
    """The model's turn that is new in the second request."""
    known = len((before.request or {})["contents"])
    new = (after.request or {})["contents"][known:]
    return next((content for content in new if content["role"] == "model"), None)


def camel(value: Any, inside: str = "") -> Any:
    """Recorded requests mix both spellings; what a caller or a model named is left alone."""
    if isinstance(value, dict) and inside not in ("args", "response"):
        told = {re.sub(r"_([a-z])", lambda m: m[1].upper(), k): v for k, v in value.items()}
        return {k: camel(v, k) for k, v in told.items()}
    return [camel(v) for v in value] if isinstance(value, list) else value


def canonical(parts: Any) -> Any:
    """Both alphabets of base64 are one, and the id that pydantic-ai makes up is none."""
    plain = camel(parts)
    for part in plain:
        if "thoughtSignature" in part:
            part["thoughtSignature"] = base64.b64decode(
                part["thoughtSignature"].replace("-", "+").replace("_", "/")
            )
        call = part.get("functionCall", {})
        if str(call.get("id", "")).startswith("pyd_ai_"):
            del call["id"]
    return plain


DIFFERENCES = {
    "pydantic-ai/test_google/test_google_model_file_search_grounding_gemini_3[False]#3": "response filled in",
    "pydantic-ai/test_google/test_google_model_file_search_grounding_gemini_3[True]#3": "response filled in",
    "pydantic-ai/test_google/test_google_model_structured_output#0": "placeholder signature",
    "ruby_llm/chat_function_calling_thought_signatures_gemini_gemini-3_1-pro-preview_includes_thought_signatures"
    "_for_tool_calls#0": "thought and id left out",
    "ruby_llm/chat_function_calling_thought_signatures_vertexai_gemini-3_1-pro-preview_includes_thought_signatures"
    "_for_tool_calls#1": "thought and id left out",
    "ruby_llm/chat_function_calling_vertexai_gemini-2_5-flash_can_use_parallel_tool_calls#1": "signature copied",
    "ruby_llm/chat_multimodal_tool_attachments_gemini_gemini-3-flash-preview_reads_pdfs_returned_from_tools#0": (
        "id left out"
    ),
    "ruby_llm/chat_multimodal_tool_attachments_vertexai_gemini-3-flash-preview_reads_pdfs_returned_from_tools#1": (
        "id left out"
    ),
}
"""Where the recorded clients sent something else than they had received, and what.

- response filled in: the client puts the file search's findings into the toolResponse that came without; over the
  stream it also moves the last, empty part's signature to the text before it.
- placeholder signature: the client signs a call that came unsigned.
- thought and id left out, id left out: the client has no place for them.
- signature copied: the client puts the first call's signature on the second call too.
"""


def test_what_goes_back_is_what_the_recorded_clients_sent() -> None:
    seen: Counter[str] = Counter()
    for before, after in pairs():
        response = response_of(before)
        request = Request((response.message,), model=model_of(before))
        call = encode_known(GEMINI, request, origin_of(before), stream=False)
        [turn] = call.body["contents"]
        assert not call.deviations
        if before.kind == "whole":
            content = msgspec.json.decode(before.data)["candidates"][0]["content"]
            assert canonical(turn["parts"]) == canonical(content["parts"]), before.id
            assert turn["role"] == content["role"] == "model"
            seen["equal to what came"] += 1
        seen["signatures"] += sum("thoughtSignature" in part for part in turn["parts"])
        recorded = recorded_turn(before, after)
        assert recorded is not None
        is_equal = canonical(turn["parts"]) == canonical(recorded["parts"])
        assert is_equal == (before.id not in DIFFERENCES), before.id
        seen[DIFFERENCES.get(before.id, "equal to what was sent")] += 1
    assert seen == {
        "equal to what came": 175,
        "equal to what was sent": 177,
        "response filled in": 2,
        "placeholder signature": 1,
        "thought and id left out": 2,
        "id left out": 2,
        "signature copied": 1,
        "signatures": 177,
    }


def test_the_results_go_back_in_one_content_with_the_recorded_names() -> None:
    """The recorded responses answer the calls that we read, name by name and in order, all in one content."""
    answered = 0
    for before, after in pairs():
        response = response_of(before)
        contents = (after.request or {})["contents"]
        turn = recorded_turn(before, after)
        told = camel(contents[contents.index(turn) + 1]["parts"]) if turn != contents[-1] else []
        recorded = [p["functionResponse"] for p in told if "functionResponse" in p]
        if not recorded:
            continue
        results = [
            Message.tool_result(call, OpaquePart("response", result["response"]))
            for call, result in zip(response.tool_calls, recorded, strict=True)
        ]
        request = Request((response.message, *results), model=model_of(before))
        ours = encode_known(GEMINI, request, origin_of(before), stream=False).body["contents"][1]
        assert ours["role"] == "user"
        for part, result in zip(ours["parts"], recorded, strict=True):
            assert part["functionResponse"]["name"] == result["name"], before.id
            assert part["functionResponse"]["response"] == result["response"], before.id
        answered += len(recorded)
    assert answered == 174
