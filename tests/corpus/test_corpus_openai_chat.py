"""What real services sent over Chat Completions: decoded, compared, accounted for, and sent back.

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
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.types import Message, Request, Response
from corpus import Record, answers, read, records, turns

pytestmark = [pytest.mark.long, pytest.mark.many]

CHAT = OpenAIChat()

BROKEN = {
    "pydantic-ai/test_openai/test_invalid_response#0": "an echo service answered: no completion",
}
REFUSED = {
    "AuthenticationError": 3,
    "ContextLengthError": 2,
    "InvalidRequestError": 4,
    "NotFoundError": 3,
    "RateLimitError": 2,
}


def events_of(record: Record, chunks: list[bytes] | None = None) -> list[Event]:
    return read(CHAT, CHAT.decoder(record.origin), record, chunks)


def response_of(record: Record) -> Response:
    return collect(events_of(record))


def good() -> list[Record]:
    return [r for r in answers("openai_chat") if r.id not in BROKEN and r.id not in STREAM_ERRORS]


STREAM_ERRORS = {
    "pydantic-ai/test_groq/test_tool_use_failed_error_streaming#0": "an error object ends the stream",
}


# -- (a) a response or a typed error -----------------------------------------------------------------------


def test_every_record_gives_a_response_or_a_typed_error() -> None:
    seen: Counter[str] = Counter()
    broken, refused = set(), set()
    for record in records("openai_chat"):
        try:
            response = response_of(record)
        except APIError as error:
            seen[type(error).__name__ if error.message else "without a message"] += 1
            refused.add(record.id)
        except ProtocolError:
            broken.add(record.id)
        else:
            seen["response"] += 1
            assert response.message.content or response.raw_finish_reason, record.id
            assert response.finish_reason != "pending"
    assert broken == set(BROKEN)
    assert refused == {r.id for r in records("openai_chat") if r.status >= 400} | set(STREAM_ERRORS)
    assert seen == {"response": 483, **REFUSED}


# -- (b) openai-python, of the same bytes ------------------------------------------------------------------

ORACLE_ERRS = {
    "pydantic-ai/test_openai/test_invalid_response#0": "it gives a completion whose choices are None",
    "pydantic-ai/test_groq/test_tool_use_failed_error_streaming#0": "it raises for the error object, as we do",
}
USAGE = {
    "equal": 464,
    "cached, clamped": 16,  # grok on Azure tells more cached tokens than there was input
    "audio, clamped": 1,  # voxtral counts audio beside the prompt: the rest is unattributed
    "cache_write, clamped": 1,  # Gemini behind OpenRouter: the same tokens read and written
    "only ours": 1,  # Groq told its counts under x_groq alone
}


def oracle(record: Record, client: Any) -> Any:
    """What openai-python makes of the bytes, as (text, calls, finish, usage)."""
    ask = client(record)
    if record.kind == "whole":
        completion = ask.chat.completions.create(model="m", messages=[])
        choice = completion.choices[0]
        calls = [told_call(c) for c in choice.message.tool_calls or ()]
        legacy = choice.message.function_call
        if legacy is not None and legacy.name:
            calls.append((None, legacy.name, parsed(legacy.arguments)))
        return joined(choice.message.content), calls, choice.finish_reason, completion.usage
    text, calls, finish, usage = "", {}, None, None
    for chunk in ask.chat.completions.create(model="m", messages=[], stream=True):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            text += joined(choice.delta.content)
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, [None, None, ""])
                call[0] = part.id or call[0]
                call[1] = part.function.name or call[1]
                call[2] += part.function.arguments or ""
    return text, [(i, n, parsed(a)) for i, n, a in calls.values()], finish, usage


def joined(content: Any) -> str:
    """Mistral's lists of pieces go through openai-python as they are."""
    if isinstance(content, list):
        return "".join(piece["text"] for piece in content if piece["type"] == "text")
    return content or ""


def told_call(call: Any) -> tuple[Any, str, Any]:
    if call.type == "custom":
        return call.id, call.custom.name, call.custom.input
    return call.id or None, call.function.name, parsed(call.function.arguments)


def parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    return msgspec.json.decode(arguments) if arguments.strip() else {}


@pytest.fixture(scope="module")
def openai_client() -> Iterator[Any]:
    httpx = pytest.importorskip("httpx2")
    openai = pytest.importorskip("openai")
    answer: list[Record] = []

    def handle(request: Any) -> Any:
        record = answer[0]
        kind = record.headers.get("content-type", "application/json")
        return httpx.Response(record.status, headers={"content-type": kind}, content=record.data)

    transport = httpx.Client(transport=httpx.MockTransport(handle))
    client = openai.OpenAI(api_key="x", base_url="http://localhost/v1", http_client=transport, max_retries=0)

    def ask(record: Record) -> Any:
        answer[:] = [record]
        return client

    yield ask
    client.close()


def test_text_calls_finish_and_usage_are_those_of_openai_python(openai_client: Any) -> None:
    usages: Counter[str] = Counter()
    for record in good():
        text, calls, finish, usage = oracle(record, openai_client)
        response = response_of(record)
        assert response.text == text, record.id
        ours = [(c.id, c.name, c.arguments if c.kind == "custom" else c.args()) for c in response.tool_calls]
        assert ours == calls, record.id
        assert response.raw_finish_reason == finish, record.id
        usages[compare_usage(response, usage)] += 1
    assert usages == USAGE


def compare_usage(response: Response, theirs: Any) -> str:
    ours = response.usage
    if theirs is None:
        return "only ours" if ours.complete else "neither"
    raw = theirs.model_dump()
    prompt, completion = (raw.get(f"{w}_tokens_details") or {} for w in ("prompt", "completion"))
    told = {
        "input": (ours.input_tokens, raw["prompt_tokens"]),
        "output": (ours.output_tokens, raw["completion_tokens"]),
        "total": (ours.total_tokens, raw["total_tokens"]),
        "cached": (ours.cache_read, prompt.get("cached_tokens") or raw.get("num_cached_tokens") or 0),
        "cache_write": (ours.cache_write, prompt.get("cache_write_tokens") or 0),
        "reasoning": (ours.reasoning, completion.get("reasoning_tokens") or 0),
        "audio": (ours.audio_input, prompt.get("audio_tokens") or 0),
    }
    differing = [name for name, (a, b) in told.items() if a != b]
    if ours.anomalies:
        differing.append("clamped")
    return ", ".join(differing) or "equal"


def test_where_openai_python_errs(openai_client: Any) -> None:
    openai = pytest.importorskip("openai")
    by_id = {r.id: r for r in records("openai_chat")}
    erring = set()
    for record in (by_id[id] for id in (*BROKEN, *STREAM_ERRORS)):
        try:
            oracle(record, openai_client)
        except (TypeError, openai.APIError):
            erring.add(record.id)
    assert erring == set(ORACLE_ERRS)


def test_refusals_have_openai_pythons_status(openai_client: Any) -> None:
    openai = pytest.importorskip("openai")
    refused = [r for r in records("openai_chat") if r.status >= 400]
    for record in refused:
        with pytest.raises(openai.APIStatusError) as theirs:
            oracle(record, openai_client)
        with pytest.raises(APIError) as ours:
            events_of(record)
        assert ours.value.status == theirs.value.status_code == record.status
    assert len(refused) == 13


# -- (c) nothing in the body is unaccounted for ------------------------------------------------------------

Path = tuple[Any, ...]

# Leaves that are neither a value of the Response nor kept as they came, and why.
UNKEPT = {
    "nothing: null, or empty": 9156,
    "index: the wire's numbering": 5400,
    "role: always the assistant's": 3072,
    "type: the part is of that class": 49,
    # Response-level fields: the last told wins.
    "told again by a later chunk: .created": 2316,
    "told again by a later chunk: .obfuscation": 477,
    "told again by a later chunk: .p": 20,
    "told again by a later chunk: .sla_metrics.ts_us": 3,
}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf; an empty object or list is one, for it may mean something."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, (dict, list)) or not value:
        yield path, value


def bodies(record: Record) -> list[Any]:
    """The JSON documents of an answer."""
    if record.kind == "whole":
        return [msgspec.json.decode(record.data)]
    framing = SSEFraming()
    messages = framing.feed(record.data) + framing.finish()[0]
    return [msgspec.json.decode(m.data) for m in messages if m.data != b"[DONE]"]


def at(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(value, list) and not (isinstance(key, int) and key < len(value)):
            return None
        if isinstance(value, dict) and key not in value:
            return None
        if not isinstance(value, (dict, list)):
            return None
        value = value[key]
    return value


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


class Account:
    """Where in a response each leaf of a body should be."""

    def __init__(self, response: Response) -> None:
        built = msgspec.to_builtins(response)
        self.response = response
        self.parts = built["message"].get("content", [])
        self.extra = built.get("extra", {})
        self.message_extra = built["message"].get("extra", {})
        self.raw_usage = built["usage"].get("raw", {})

    def holds(self, path: Path, value: Any) -> bool:
        if value is None:
            return False
        match path:
            case ("id",):
                return bool(self.response.id == value)
            case ("model",):
                return bool(self.response.model == value)
            case ("usage", *rest):
                return same(at(self.raw_usage, tuple(rest)), value)
            case ("choices", _, "finish_reason"):
                return bool(self.response.raw_finish_reason == value)
            case ("choices", _, "delta" | "message", field, *rest):
                return self.message_holds(field, tuple(rest), value)
            case ("choices", _, *rest):
                return same(at(self.extra, tuple(rest)), value)
        return same(at(self.extra, path), value)

    def message_holds(self, field: str, rest: Path, value: Any) -> bool:
        match field, rest:
            case "content", ():
                return value in self.response.text
            case "content", (_, "text"):
                return value in self.response.text
            case (("reasoning" | "reasoning_content"), ()):
                return value in self.response.reasoning
            case "content", (_, "thinking", _, "text"):
                return value in self.response.reasoning
            case "content", (_, *inner):
                return any(same(at(p.get("extra", {}), tuple(inner)), value) for p in self.of("reasoning"))
            case "reasoning_details", (_, name):
                details = [d for p in self.of("reasoning") for d in p["extra"]["reasoning_details"]]
                return any(same(d.get(name), value) or grown(d.get(name), value) for d in details)
            case "refusal", ():
                return any(value in p["text"] for p in self.of("refusal"))
            case "annotations", _:
                raw = [c["raw"] for p in self.of("text") for c in p.get("citations", ())]
                return any(same(at(item, rest[1:]), value) for item in raw)
            case "audio", (name,) if self.of("file"):
                part = self.of("file")[0]
                where = {"data": "data", "transcript": "text"}.get(name)
                return same(part[where] if where else part["extra"][name], value)
            case "tool_calls", (_, *inner):
                return any(call_holds(call, tuple(inner), value) for call in self.of("tool_call"))
        return same(at(self.message_extra, (field, *rest)), value)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [p for p in self.parts if p["type"] == kind]


def grown(known: Any, value: Any) -> bool:
    return isinstance(known, str) and isinstance(value, str) and value in known


def call_holds(call: dict[str, Any], path: Path, value: Any) -> bool:
    match path:
        case ("id",):
            return bool(call["id"] == value)
        case ("type",):
            return bool(call.get("kind", "function") == value)
        case (_, "name"):
            return bool(call["name"] == value)
        case (_, "arguments" | "input"):
            return value in call["arguments"]
    return same(at(call.get("extra", {}), path), value)


def label(path: Path) -> str:
    return "".join("[]" if isinstance(key, int) else f".{key}" for key in path)


def why_unkept(path: Path, value: Any, later: list[Any]) -> str:
    """The reason why a leaf may be missing, or its own name if there is none."""
    if value is None or value in ("", [], {}):
        return "nothing: null, or empty"
    if path[-1:] == ("role",) and value == "assistant":
        return "role: always the assistant's"
    if path[-1] == "index" and type(value) is int:
        return "index: the wire's numbering"
    if path[-1] == "type" and value in ("text", "thinking"):
        return "type: the part is of that class"
    if any(at(body, path) is not None for body in later):
        return f"told again by a later chunk: {label(path)}"
    return label(path)


def test_nothing_in_the_body_is_unaccounted_for() -> None:
    unkept: Counter[str] = Counter()
    for record in good():
        account = Account(response_of(record))
        documents = bodies(record)
        for number, document in enumerate(documents):
            for path, value in leaves(document):
                if not account.holds(path, value):
                    unkept[why_unkept(path, value, documents[number + 1 :])] += 1
    assert unkept == UNKEPT


# -- (d) cut anywhere --------------------------------------------------------------------------------------


def test_streams_are_the_same_however_they_are_cut() -> None:
    streams = [r for r in answers("openai_chat") if r.kind == "stream"]
    seeded = random.Random(7)
    for record in streams:
        whole = outcome(record, None)
        data = record.data
        assert outcome(record, [data[i : i + 1] for i in range(len(data))]) == whole, record.id
        for _ in range(3):
            cuts = sorted(seeded.sample(range(len(data)), 40))
            pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            assert outcome(record, pieces) == whole, record.id
    assert len(streams) == 51


def outcome(record: Record, chunks: list[bytes] | None) -> tuple[list[Event], str]:
    """The events, and the failure that ended them, if any."""
    decoder, events, framing = CHAT.decoder(record.origin), [], SSEFraming()
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


# -- (e) the assistant's turn goes back --------------------------------------------------------------------

# What a recording's own request says of the assistant's turn that ours says otherwise, and why; by field.
DIFFERENCES = {
    "role: equal": 125,
    "content: equal": 58,
    "content: nothing said: null, or empty": 46,
    "content: a list of one text, and the text": 1,
    "content: the recorder put the reasoning into the text; ours goes by the name it came by": 2,
    "content: the recorder cut the reasoning out of the text, where ours leaves it": 1,
    "content: the recorder drops a thinking piece's `closed`": 1,
    "reasoning: equal": 18,
    "reasoning: the recorder renamed it; ours goes by the name it came by": 6,
    "reasoning_content: equal": 8,
    "reasoning_content: the recorder renamed it; ours goes by the name it came by": 17,
    "reasoning_details: equal": 2,
    "tool_calls: equal": 68,
    "tool_calls: nothing said: null, or empty": 1,
    "tool_calls: the recorder's client numbers the calls": 12,
    "tool_calls: the recorder wrote the arguments anew; ours is the provider's own text": 12,
    "tool_calls: the call came without an id, and each makes one up": 1,
    "prefix: the recorder's client sends a default": 13,
}
# Consecutive requests of which the later one does not carry the earlier answer.
NOT_REPLAYED = {
    "the later request does not hold the earlier answer": 9,  # two prompts of one test, or a cache tried again
    "the earlier answer is an error": 1,
}


def test_the_assistants_turn_goes_back_with_nothing_lost() -> None:
    told: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for before, record in turns("openai_chat"):
        theirs = their_turn(before, record)
        if theirs is None:
            skipped["the later request does not hold the earlier answer"] += 1
            continue
        if before.id in STREAM_ERRORS:
            skipped["the earlier answer is an error"] += 1
            continue
        answer = response_of(before)
        history = (Message.user("…"), answer.message)
        call = CHAT.encode(Request(history, model=record.model), record.origin, stream=False)
        ours = call.body["messages"][1]
        reported = [d for d in call.deviations if not d.field.endswith(".citations")]
        assert not reported, (record.id, reported)
        for field, value in theirs.items():
            told[f"{field}: {difference(field, value, ours, answer)}"] += 1
    assert told == DIFFERENCES
    assert skipped == NOT_REPLAYED


def their_turn(before: Record, record: Record) -> dict[str, Any] | None:
    """The message of a recorded request that holds the answer before it: the next assistant's."""
    if before.request is None or record.request is None:
        return None
    later = record.request.get("messages", [])[len(before.request["messages"]) - 1 :]
    return next((m for m in later if m["role"] == "assistant"), None)


def difference(field: str, value: Any, ours: dict[str, Any], answer: Response) -> str:
    """How our request's field differs from the recording's, and why; "equal" if it does not."""
    mine = ours.get(field)
    if mine == value:
        return "equal"
    if value in (None, "", []):
        return (
            "nothing said: null, or empty" if mine in (None, "", []) else "the recorder left out what we send"
        )
    if field == "content":
        return content_difference(value, mine, answer)
    if field == "tool_calls":
        return calls_difference(value, mine)
    if field in ("reasoning", "reasoning_content"):
        other = ours.get("reasoning") or ours.get("reasoning_content")
        if other == value:
            return "the recorder renamed it; ours goes by the name it came by"
        if value in answer.text:
            return "the recorder cut it out of the text, where ours leaves it"
    if field == "prefix" and value is False:
        return "the recorder's client sends a default"
    return f"LOST {value!r} -> {mine!r}"


def content_difference(value: Any, mine: Any, answer: Response) -> str:
    if isinstance(value, list):
        if all(piece.keys() == {"type", "text"} for piece in value) and joined(value) == (mine or ""):
            return "a list of one text, and the text"
        if value == [{k: v for k, v in piece.items() if k != "closed"} for piece in mine]:
            return "the recorder drops a thinking piece's `closed`"
    elif isinstance(value, str):
        if value.startswith("<think>") and answer.reasoning and answer.reasoning.strip() in value:
            return "the recorder put the reasoning into the text; ours goes by the name it came by"
        if (mine or "").endswith(value):
            return "the recorder cut the reasoning out of the text, where ours leaves it"
    return f"LOST {value!r} -> {mine!r}"


def calls_difference(value: Any, mine: Any) -> str:
    plain = [{k: v for k, v in call.items() if k != "index"} for call in value]
    if plain == mine:
        return "the recorder's client numbers the calls"
    ids, names = [c["id"] for c in value], [c["function"]["name"] for c in value]
    assert names == [c["function"]["name"] for c in mine]
    arguments = [parsed(c["function"]["arguments"]) for c in value]
    assert arguments == [parsed(c["function"]["arguments"]) for c in mine]
    if ids == [c["id"] for c in mine]:
        return "the recorder wrote the arguments anew; ours is the provider's own text"
    if all(c["id"].startswith("local_") for c in mine):
        return "the call came without an id, and each makes one up"
    return f"LOST {value!r} -> {mine!r}"
