"""The recorded Converse exchanges: read as botocore's own parser reads them, and sent back as they were."""

from __future__ import annotations

import base64
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import msgspec
import pytest

from brainwires_provider.errors import APIError, ContextLengthError, InvalidRequestError
from brainwires_provider.events import Event, collect
from brainwires_provider.framing import EventStreamFraming
from brainwires_provider.protocols.bedrock import BedrockConverse, BedrockOptions
from brainwires_provider.protocols.bedrock.options import MEDIA_FORMATS
from brainwires_provider.protocols.bedrock.parts import decode_part
from brainwires_provider.types import (
    FilePart,
    HostedTool,
    ImagePart,
    JSONSchema,
    Message,
    OpaquePart,
    Options,
    Origin,
    Reasoning,
    ReasoningPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from corpus import Record, answers, read, records, turns
from known import encode_known

pytestmark = [pytest.mark.long, pytest.mark.many]

CONVERSE = BedrockConverse()
FILE = "bedrock_converse"
_MODEL = re.compile(r"/model/(.+)/converse(-stream)?$")


class Path(msgspec.Struct, frozen=True):
    """What a record's line has beside what `corpus.Record` reads."""

    id: str
    path: str


@pytest.fixture(scope="module")
def models() -> dict[str, str]:
    """The model of each record, which stands in its path."""
    import gzip

    from corpus import corpus_dir

    records(FILE)  # skips where there is no corpus
    with gzip.open(corpus_dir() / f"{FILE}.jsonl.gz") as lines:
        told = [msgspec.json.decode(line, type=Path) for line in lines]
    return {t.id: unquote(_MODEL.search(t.path)[1]) for t in told}  # type: ignore[index]


def origin_of(record: Record, models: dict[str, str]) -> Origin:
    return Origin(FILE, record.host, models[record.id])


def events_of(record: Record, chunks: list[bytes] | None = None, origin: Origin | None = None) -> list[Event]:
    return read(CONVERSE, CONVERSE.decoder(origin or record.origin), record, chunks)


def response_of(record: Record, origin: Origin | None = None) -> Response:
    return collect(events_of(record, origin=origin))


# -- every record --------------------------------------------------------------------------------------------


def test_every_record_is_a_response_or_a_typed_error() -> None:
    told: Counter[str] = Counter()
    reasons: Counter[tuple[str, str | None]] = Counter()
    for record in records(FILE):
        if record.status >= 400:
            with pytest.raises(APIError) as caught:
                events_of(record)
            assert isinstance(caught.value, InvalidRequestError), record.id
            assert caught.value.status == record.status
            told[type(caught.value).__name__] += 1
            continue
        response = response_of(record)
        assert response.usage.complete
        assert not response.usage.anomalies
        reasons[response.finish_reason, response.raw_finish_reason] += 1
        told[record.kind] += 1
    assert told == {"whole": 191, "stream": 11, "InvalidRequestError": 5, "ContextLengthError": 1}
    assert reasons == {
        ("stop", "end_turn"): 112,
        ("tool_calls", "tool_use"): 89,
        ("length", "max_tokens"): 1,
    }


def test_the_refusal_that_names_itself() -> None:
    record = next(r for r in records(FILE) if "x-amzn-errortype" in r.headers)
    with pytest.raises(ContextLengthError, match="Input Tokens Exceeded") as caught:
        events_of(record)
    assert caught.value.code == "ValidationException"
    assert not caught.value.retryable


# -- botocore's own parser -----------------------------------------------------------------------------------


class Raw:
    """A body as botocore streams it, in one piece."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def botocore() -> Any:
    """`parse(record)`: a whole answer's value, or the list of a stream's events, as botocore reads them."""
    session = pytest.importorskip("botocore.session").Session()
    parsers = pytest.importorskip("botocore.parsers")
    model = session.get_service_model("bedrock-runtime")

    def parse(record: Record) -> Any:
        name = "Converse" if record.kind == "whole" else "ConverseStream"
        answer = {
            "status_code": record.status,
            "headers": record.headers,
            "body": record.data if record.kind == "whole" else Raw(record.data),
            "context": {"operation_name": name},
        }
        parsed = parsers.create_parser("rest-json").parse(answer, model.operation_model(name).output_shape)
        return parsed if record.kind == "whole" else list(parsed["stream"])

    return parse


class Theirs(msgspec.Struct):
    """What botocore read, streams joined block by block."""

    blocks: list[dict[str, Any]]
    stop: str
    usage: dict[str, Any]
    extra: dict[str, Any]


def oracle(record: Record, parse: Any) -> Theirs:
    parsed = parse(record)
    if record.kind == "whole":
        extra = {
            k: v for k, v in parsed.items() if k not in ("output", "stopReason", "usage", "ResponseMetadata")
        }
        return Theirs(parsed["output"]["message"]["content"], parsed["stopReason"], parsed["usage"], extra)
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage, extra = "", {}, {}
    for event in parsed:
        ((kind, value),) = event.items()
        if kind == "contentBlockStart":
            blocks[value["contentBlockIndex"]] = {k: dict(v) for k, v in value["start"].items()}
        elif kind == "contentBlockDelta":
            join(blocks.setdefault(value["contentBlockIndex"], {}), value["delta"])
        elif kind == "messageStop":
            stop = value.pop("stopReason")
            extra |= value
        elif kind == "metadata":
            usage = value.pop("usage")
            extra |= value
    return Theirs([blocks[i] for i in sorted(blocks)], stop, usage, extra)


def join(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Deltas as the API's reference says they add up."""
    match delta:
        case {"text": text}:
            block["text"] = block.get("text", "") + text
        case {"toolUse": {"input": text}}:
            block["toolUse"]["input"] = block["toolUse"].get("input", "") + text
        case {"toolResult": list(pieces)}:
            block["toolResult"].setdefault("content", []).extend(pieces)
        case {"reasoningContent": {"redactedContent": data}}:
            block["reasoningContent"] = {"redactedContent": data}
        case {"reasoningContent": {"text": text}}:
            told = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})["reasoningText"]
            told["text"] += text
        case {"reasoningContent": {"signature": text}}:
            block["reasoningContent"]["reasoningText"]["signature"] = text
        case {"citation": raw}:
            block.setdefault("citationsContent", {}).setdefault("citations", []).append(raw)
        case _:
            raise AssertionError(delta)


def block_of(part: Any) -> dict[str, Any]:
    """A part as botocore's value, from what the part itself says."""
    match part:
        case TextPart():
            assert not part.citations
            return {"text": part.text}
        case ReasoningPart(redacted=True):
            return {"reasoningContent": {"redactedContent": base64.b64decode(part.encrypted or "")}}
        case ReasoningPart():
            told = {"text": part.text} | ({} if part.signature is None else {"signature": part.signature})
            return {"reasoningContent": {"reasoningText": told}}
        case ToolCallPart():
            kept = {"toolUseId": part.id, "name": part.name, "input": part.args(), **(part.extra or {})}
            return {"toolUse": kept}
    assert isinstance(part, OpaquePart)
    data: dict[str, Any] = part.data
    return data


def test_parts_stop_reasons_and_usage_are_those_of_botocore(botocore: Any) -> None:
    kinds: Counter[str] = Counter()
    extras: Counter[str] = Counter()
    for record in answers(FILE):
        theirs, ours = oracle(record, botocore), response_of(record)
        for block in theirs.blocks:
            call = block.get("toolUse")
            if call is not None and isinstance(call["input"], str):
                call["input"] = msgspec.json.decode(call["input"])
        assert [block_of(part) for part in ours.message.content] == theirs.blocks, record.id
        assert ours.text == "".join(block.get("text", "") for block in theirs.blocks)
        assert ours.raw_finish_reason == theirs.stop
        assert told_usage(ours) == asked_usage(theirs.usage), record.id
        assert {k: v for k, v in ours.extra.items() if k in theirs.extra} == theirs.extra
        extras.update(list(ours.extra))
        kinds.update(next(iter(block)) for block in theirs.blocks)
    assert kinds == {
        "text": 145,
        "toolUse": 93,
        "reasoningContent": 15,
        "citationsContent": 2,
        "toolResult": 1,
    }
    assert extras == {"metrics": 202, "performanceConfig": 1, "additionalModelResponseFields": 1}


def told_usage(response: Response) -> dict[str, int]:
    usage = response.usage
    return {
        "inputTokens": usage.uncached_input,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    }


COUNTS = ("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


def asked_usage(counts: dict[str, Any]) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in COUNTS}


def test_the_grounded_stream() -> None:
    """A tool of the service's own, its result, and citations in blocks of their own."""
    record = next(r for r in answers(FILE) if "grounded" in r.id)
    content = response_of(record).message.content
    call, result, *_ = content
    assert isinstance(call, OpaquePart)
    assert isinstance(result, OpaquePart)
    assert (call.role, call.name, call.id) == ("call", "nova_grounding", result.id)
    assert (result.role, result.data["toolResult"]["status"]) == ("result", "success")
    cited = [p for p in content if isinstance(p, OpaquePart) and p.kind == "citations"]
    assert [len(p.data["citationsContent"]["citations"]) for p in cited] == [2, 1]
    assert [bool(c.url) for c in response_of(record).citations] == [True] * 3
    assert response_of(record).finish_reason == "stop"


# -- the way back --------------------------------------------------------------------------------------------


def sent_back(record: Record, response: Response, models: dict[str, str]) -> tuple[list[Any], list[str]]:
    """The assistant's turn as the next request has it, and what the report says of it."""
    request = Request((response.message,), model=models[record.id])
    call = encode_known(CONVERSE, request, origin_of(record, models), stream=False)
    messages = call.body.get("messages", [])
    reasons = [d.reason for d in call.deviations if d.reason != WITHOUT_TOOLS]
    return [b for m in messages for b in m["content"]], reasons


def test_whole_turns_go_back_as_they_came(models: dict[str, str]) -> None:
    reasons: Counter[str] = Counter()
    same = 0
    for record in answers(FILE):
        if record.kind != "whole":
            continue
        blocks, told = sent_back(record, response_of(record, origin_of(record, models)), models)
        came = msgspec.json.decode(record.data)["output"]["message"]["content"]
        for block in came:
            if block.get("toolUse", {}).get("type") == "tool_use":
                del block["toolUse"]["type"]  # answers say it of plain calls, requests have no such value
        reasons.update(told)
        if not told:
            assert blocks == came, record.id
            same += 1
    assert same == 190
    assert reasons == {"nothing follows it: a turn that ends in reasoning is refused": 1, EMPTY: 1}


WITHOUT_TOOLS = "Converse demands the tools of a history with calls: those called are sent without a schema"
EMPTY = "nothing of this turn can be sent, and an empty one is refused"


def test_the_next_request_has_the_turn_as_it_came(models: dict[str, str]) -> None:
    told: Counter[str] = Counter()
    for before, after in turns(FILE):
        if before.status >= 400 or after.request is None or before.request is None:
            told["no answer before"] += 1
            continue
        count = len(before.request["messages"])
        theirs = after.request["messages"][count]
        assert theirs["role"] == "assistant"
        response = response_of(before, origin_of(before, models))
        ours, reasons = sent_back(before, response, models)
        if ours == theirs["content"]:
            assert not reasons
            told["equal"] += 1
        else:
            told[DIFFERENCES[after.id]] += 1
    assert told == {"equal": 45, "they send reasoning as text": 1}


DIFFERENCES = {
    "pydantic-ai/test_bedrock/test_bedrock_thinking_high_qwen_variant#1": "they send reasoning as text",
}


# -- whole requests ------------------------------------------------------------------------------------------


def test_recorded_requests_are_encoded_as_they_were(models: dict[str, str]) -> None:
    """Every recorded request read into our values and written again: messages, tools, choices, schemas, knobs."""
    told: Counter[str] = Counter()
    media: Counter[str] = Counter()
    for record in records(FILE):
        if record.request is None:
            told["no request"] += 1
            continue
        body = mended(record.request, media)
        if record.id in UNSAID:
            told[UNSAID[record.id]] += 1
            continue
        origin = origin_of(record, models)
        call = encode_known(CONVERSE, request_of(body, origin), origin, stream=record.kind == "stream")
        if record.id in SUBSET:
            assert any("minLength in the description" in d.reason for d in call.deviations)
            del call.body["outputConfig"], body["outputConfig"]
            told[SUBSET[record.id]] += 1
        assert normal(call.body) == normal(body), record.id
        assert call.path == f"/model/{quote(models[record.id], safe='')}/converse" + (
            "-stream" if record.kind == "stream" else ""
        )
        told["equal"] += 1
    assert told == {
        "equal": 206,
        "no request": 1,
        "a format that the API does not know": 1,
        "a limit that its schemas lack": 1,
    }
    assert media == {"image": 23, "document": 26, "video": 9}


SUBSET = {
    "pydantic-ai/test_native_output/test_bedrock_native_output_profile_default#0": "a limit that its schemas lack",
}
UNSAID = {
    "pydantic-ai/test_bedrock/test_video_url_input#1": "a format that the API does not know",
}


def mended(value: Any, media: Counter[str]) -> Any:
    """The same with whole media: the recording has cut long strings short."""
    if isinstance(value, list):
        return [mended(v, media) for v in value]
    if not isinstance(value, dict):
        return value
    for kind in ("image", "document", "video"):
        media[kind] += kind in value
    return {
        k: base64.b64encode(v.encode()).decode() if k == "bytes" else mended(v, media)
        for k, v in value.items()
    }


def normal(body: dict[str, Any]) -> dict[str, Any]:
    """A request without what says nothing."""
    body = msgspec.json.decode(msgspec.json.encode(body))
    body = {k: v for k, v in body.items() if v not in ({}, [])}
    for message in body["messages"]:
        for block in message["content"]:
            result = block.get("toolResult", {})
            if result.get("status") == "success":
                del result["status"]
    config = body.get("outputConfig", {}).get("textFormat", {}).get("structure", {}).get("jsonSchema")
    if config is not None:
        config["schema"] = msgspec.json.decode(config["schema"])
    return body


KNOBS = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "top_p", "stopSequences": "stop"}
OWN = ("additionalModelRequestFields", "performanceConfig")


def request_of(body: dict[str, Any], origin: Origin) -> Request:
    body = dict(body)
    messages = [Message.system(block["text"]) for block in body.pop("system", ())]
    for message in body.pop("messages"):
        if message["role"] == "assistant":
            parts = tuple(decode_part(block, origin) for block in message["content"])
        else:
            parts = tuple(given(block) for block in message["content"])
        messages.append(Message(message["role"], parts))
    options: dict[str, Any] = {KNOBS[k]: v for k, v in body.pop("inferenceConfig", {}).items()}
    fields = dict(body.pop("additionalModelRequestFields", {}))
    if "top_k" in fields:
        options["top_k"] = fields.pop("top_k")
    elif "inferenceConfig" in fields:
        options["top_k"] = fields.pop("inferenceConfig")["topK"]
    elif fields.get("thinking", {}).get("type") == "enabled":
        options["reasoning"] = Reasoning(budget_tokens=fields.pop("thinking")["budget_tokens"])
    elif isinstance(fields.get("reasoning_config"), str):
        options["reasoning"] = fields.pop("reasoning_config")
    own = {k: body.pop(k) for k in OWN if k in body} | (
        {"additionalModelRequestFields": fields} if fields else {}
    )
    if own:
        options["provider_options"] = BedrockOptions(**own)
    request: dict[str, Any] = {}
    config = body.pop("toolConfig", {})
    if "tools" in config:
        request["tools"] = tuple(tool_of(tool) for tool in config["tools"])
    if "toolChoice" in config:
        request["tool_choice"] = {
            "auto": ToolChoice(),
            "any": ToolChoice("required"),
            "tool": ToolChoice.tool(config["toolChoice"].get("tool", {}).get("name", "")),
        }[next(iter(config["toolChoice"]))]
    if "outputConfig" in body:
        told = body.pop("outputConfig")["textFormat"]["structure"]["jsonSchema"]
        request["output"] = JSONSchema(
            told["name"], msgspec.json.decode(told["schema"]), told.get("description")
        )
    assert not body
    return Request(tuple(messages), origin.model, options=Options(**options), **request)


def given(block: dict[str, Any]) -> Any:
    """A caller's block as a caller would give it."""
    ((kind, value),) = block.items()
    if kind == "text":
        return TextPart(value)
    if kind == "toolResult":
        pieces = tuple(given(piece) for piece in value["content"])
        return ToolResultPart(value["toolUseId"], pieces, is_error=value.get("status") == "error")
    made = ImagePart if kind == "image" else FilePart
    named = {"name": value["name"]} if "name" in value else {}
    media_type = next(t for t, word in MEDIA_FORMATS[kind].items() if word == value["format"])
    if "s3Location" in value["source"]:
        return made(url=value["source"]["s3Location"]["uri"], media_type=media_type, **named)
    return made(data=base64.b64decode(value["source"]["bytes"]), media_type=media_type, **named)


def tool_of(tool: dict[str, Any]) -> Tool | HostedTool:
    ((kind, value),) = tool.items()
    if kind != "toolSpec":
        return HostedTool(kind, value)
    return Tool(
        value["name"], value.get("description", ""), value["inputSchema"]["json"], value.get("strict")
    )


# -- cut anywhere --------------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    seeded = random.Random(7)
    for record in (r for r in answers(FILE) if r.kind == "stream"):
        whole, data = events_of(record), record.data
        assert events_of(record, [data[i : i + 1] for i in range(len(data))]) == whole
        for _ in range(5):
            cuts = sorted(seeded.sample(range(len(data)), 30))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert events_of(record, pieces) == whole, record.id


def test_a_stream_cut_before_its_end_keeps_what_had_arrived() -> None:
    for record in (r for r in answers(FILE) if r.kind == "stream"):
        response = response_of(record)
        decoder = CONVERSE.decoder(record.origin)
        for message in EventStreamFraming().feed(record.data):
            before = decoder.partial()
            decoder.feed(message)
        assert before.message == response.message
        assert not before.usage.complete
