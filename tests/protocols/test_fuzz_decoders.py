"""Any bytes give a response or a ProviderError, in bounded time, in every protocol and framing.

A few hundred cases are part of the fast suite, 100,000 of the slow one; `BRAINWIRES_FUZZ_CASES` and
`BRAINWIRES_FUZZ_START` run any others. A failure names the number of its case: `check(FUZZER.case(number))`.
"""

from __future__ import annotations

import functools
import json
import os
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from brainwires_provider.errors import ProtocolError, ServerError
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.anthropic.response import BedrockAnthropicDecoder
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.protocols.llamacpp.response import CompletionDecoder
from brainwires_provider.protocols.ollama.operations import ProgressDecoder
from brainwires_provider.protocols.openai_responses.response import ResponsesDecoder
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Origin, dump_messages, load_messages
from decoder_fuzz import MAX_SEED, Case, Fuzzer, Seed, check
from fixture_cases import cases

FAST = 400
MANY = 100_000
_FRAMINGS = {"sse": "sse", "ndjson": "ndjson", "bin": "eventstream", "json": None}


@functools.cache
def fuzzer() -> Fuzzer:
    seeds = []
    for case in cases():
        if case.wire is None or len(case.wire[1]) > MAX_SEED:
            continue
        kind, body = case.wire
        name = f"{case.folder.parent.name}/{case.folder.name}"
        status = case.spec.answer.status
        seeds.append(Seed(name, case.protocol, case.origin, _FRAMINGS[kind], body, status))
    return Fuzzer([*seeds, *by_hand(seeds)])


def by_hand(known: Sequence[Seed]) -> Iterator[Seed]:
    """Of the decoders that no fixture's answer is read by."""
    anthropic, bedrock = PROVIDERS["anthropic"].protocol(), PROVIDERS["bedrock-anthropic"].protocol()
    messages = Origin("anthropic_messages", "anthropic", "claude-sonnet-5")
    stream = b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
        for event in MESSAGES_STREAM
    )
    whole = json.dumps(MESSAGES_BODY).encode()
    yield Seed("by hand/anthropic stream", anthropic, messages, "sse", stream)
    yield Seed("by hand/anthropic whole", anthropic, messages, None, whole)
    invoked = replace(messages, provider="bedrock-anthropic")
    yield Seed("by hand/InvokeModel", bedrock, invoked, None, whole, make=BedrockAnthropicDecoder)
    llama = PROVIDERS["llama-server"].protocol()
    completed = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in COMPLETION)
    at_llama = Origin("openai_chat", "llama-server", "m")
    yield Seed("by hand/completion", llama, at_llama, "sse", completed, make=CompletionDecoder)
    watchful = functools.partial(ResponsesDecoder, watchful=True)
    for seed in known:
        if seed.origin.protocol == "openai_responses" and seed.framing == "sse" and seed.status < 400:
            yield replace(seed, name=f"watchful {seed.name}", make=watchful)


MESSAGES_BODY: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2VhbGVk"},
        {"type": "text", "text": "Sunny.", "citations": [{"type": "char_location", "cited_text": "sun"}]},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Rome"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 9, "cache_read_input_tokens": 1},
}
MESSAGES_STREAM: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**MESSAGES_BODY, "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
    },
    {"type": "ping"},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "c2VhbGVk"},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Sun"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ny."}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"city":'},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '"Rome"}'},
    },
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]
COMPLETION: list[dict[str, Any]] = [
    {"content": "Su", "tokens": [1], "stop": False, "id_slot": 0},
    {
        "content": "nny.",
        "tokens": [2],
        "stop": False,
        "completion_probabilities": [{"token": "n", "logprob": -0.1}],
    },
    {
        "content": "",
        "stop": True,
        "stop_type": "eos",
        "tokens_predicted": 2,
        "tokens_evaluated": 4,
        "timings": {"predicted_n": 2, "prompt_n": 4},
    },
]


def test_every_decoder_has_seeds() -> None:
    """All classes that read responses; the lines of a pull are none."""
    pending, found = [DecoderBase], set()
    while pending:
        for kind in pending.pop().__subclasses__():
            pending.append(kind)
            if kind.__module__.startswith("brainwires_provider.protocols"):
                found.add(kind)
    assert found - {type(seed.decoder()) for seed in fuzzer().seeds} == {ProgressDecoder}
    assert {seed.name for seed in fuzzer().seeds if seed.name.startswith("watchful ")}


def failures(numbers: range) -> dict[str, tuple[int, str]]:
    """By where it failed: how often, and one report."""
    found: dict[str, tuple[int, str]] = {}
    for number in numbers:
        case = fuzzer().case(number)
        try:
            check(case)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(frame.filename).name}:{frame.lineno}"
            place = f"{case.seed.origin.protocol}: {type(error).__name__} at {where}"
            count, report = found.get(place, (0, _report(case, error)))
            found[place] = count + 1, report
    return found


def _report(case: Case, error: Exception) -> str:
    body = case.body
    shown = body if len(body) < 600 else body[:300] + b" ... " + body[-300:]
    return f"case {case.number}, {case.seed.name}: {str(error)[:200]}\n    {shown!r}"


def judge(numbers: range) -> None:
    found = failures(numbers)
    listed = sorted(found.items(), key=lambda item: -item[1][0])
    assert not found, "\n".join(f"{count} x {place}\n    {report}" for place, (count, report) in listed)


def test_mutated_responses() -> None:
    judge(range(FAST))


@pytest.mark.many
@pytest.mark.parametrize("part", range(20))
def test_many_mutated_responses(part: int) -> None:
    total = int(os.environ.get("BRAINWIRES_FUZZ_CASES", MANY))
    start = int(os.environ.get("BRAINWIRES_FUZZ_START", 0))
    size = total // 20
    judge(range(start + part * size, start + (part + 1) * size))


def test_most_cases_reach_a_decoder() -> None:
    """The mutations are no mere noise: a good part of them is still read as a response."""
    outcomes = Counter(_outcome(number) for number in range(FAST))
    assert outcomes["read"] > FAST / 5


def _outcome(number: int) -> str:
    try:
        return check(fuzzer().case(number))
    except Exception as error:
        return type(error).__name__


# -- the kinds that the fuzzer found, one by one -------------------------------------------------------------

PLAIN = {
    "anthropic_messages": (
        "anthropic",
        b'{"type":"message","model":"m","content":[{"type":"text","text":%s}]}',
    ),
    "bedrock_converse": ("bedrock", b'{"output":{"message":{"content":[{"text":%s}]}},"stopReason":"x"}'),
    "gemini": ("google", b'{"candidates":[{"content":{"parts":[{"text":%s}]},"finishReason":"STOP"}]}'),
    "google_interactions": (
        "google-interactions",
        b'{"status":"completed","steps":[{"type":"model_output","content":[{"type":"text","text":%s}]}]}',
    ),
    "ollama": ("ollama", b'{"model":"m","message":{"role":"assistant","content":%s},"done":true}'),
    "openai_chat": ("openai-chat", b'{"choices":[{"message":{"content":%s},"finish_reason":"stop"}]}'),
    "openai_responses": (
        "openai-responses",
        b'{"object":"response","output":[{"type":"message","content":[{"type":"output_text","text":%s}]}]}',
    ),
}
"""By protocol: a provider, and a body that has the value of `%s` as its text."""


@pytest.mark.parametrize("name", PLAIN)
def test_bytes_that_are_no_utf8_become_the_replacement_character(name: str) -> None:
    row, body = PLAIN[name]
    decoder = PROVIDERS[row].protocol().decoder(Origin(name, row, "m"))
    assert collect(decoder.feed_whole(body % b'"a\xff\xc3"')).text == "a\ufffd\ufffd"


@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_number_in_json_is_null(name: str, number: bytes) -> None:
    """It would become null when the message is stored, and another message than the one that was received."""
    row, body = PLAIN[name]
    decoder = PROVIDERS[row].protocol().decoder(Origin(name, row, "m"))
    try:
        message = collect(decoder.feed_whole(body % (b'"a","x":{"y":[%b]}' % number))).message
    except ProtocolError as error:
        assert error.partial is not None
        message = error.partial.message
    assert load_messages(dump_messages([message])) == [message]


@pytest.mark.parametrize("depth", [201, 500, 700, 980, 20_000])
@pytest.mark.parametrize("form", ["whole", "stream", "refused"])
@pytest.mark.parametrize("name", PLAIN)
def test_deep_nesting_is_a_typed_error(name: str, form: str, depth: int) -> None:
    row, body = PLAIN[name]
    protocol, origin = PROVIDERS[row].protocol(), Origin(name, row, "m")
    for deep in (
        body % (b"[" * depth + b"]" * depth),
        b'{"error":' + b'{"d":' * depth + b"1" + b"}" * depth + b"}",
    ):
        if form == "refused":
            assert type(protocol.decode_error(Reply(500, {}, deep, 0.0))) is ServerError
            continue
        decoder = protocol.decoder(origin)
        with pytest.raises(ProtocolError, match="nested too deeply"):
            decoder.feed_whole(deep) if form == "whole" else decoder.feed(
                WireMessage(deep, "contentBlockDelta")
            )
