"""Any bytes give a response or a ProviderError, in bounded time, in every protocol and framing.

A few hundred cases are part of the fast suite, 100,000 of the slow one; `BRAINWIRES_FUZZ_CASES` and
`BRAINWIRES_FUZZ_START` run any others. A failure names the number of its case: `check(FUZZER.case(number))`.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections import Counter
from pathlib import Path

import pytest

from brainwires_provider.errors import ProtocolError, ServerError
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.protocol import Reply
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
    return Fuzzer(seeds)


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
