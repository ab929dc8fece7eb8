"""The cost of decoding is in proportion to the size of the response, whatever its shape.

Each case is read at one size and at four times that size: quadratic work would be sixteen times as much. The fast
suite counts calls; work that hides in one call, which hashes, copies or compares, shows in the processor time
that the slow suite measures. `tools/decoding_cost.py` measures time and memory of bodies of 4 MB.
"""

from __future__ import annotations

import gc
import importlib
import json
import pkgutil
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

import brainwires_provider._core
import brainwires_provider.framing
import brainwires_provider.protocols
from brainwires_provider.errors import ProtocolError
from brainwires_provider.events import Event, ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.anthropic import AnthropicMessages
from brainwires_provider.protocols.gemini import Gemini
from brainwires_provider.protocols.google_interactions import GoogleInteractions
from brainwires_provider.protocols.ollama import Ollama
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Message, Origin, Request, ToolCallPart
from work import is_in_proportion

ANTHROPIC = Origin("anthropic_messages", "anthropic", "m")
GEMINI = Origin("gemini", "google", "m")
INTERACTIONS = Origin("google_interactions", "google-interactions", "m")
CHAT = Origin("openai_chat", "openai", "m")
OLLAMA = Origin("ollama", "ollama", "m")
LONG = "x" * 4000
SMALL = 500
LONG_ENOUGH = (
    2000  # to be measured; four times as many are still fewer than the parts that one response may have
)
RATIO = 9.0


def gemini_chunk(*parts: Any, **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, **candidate}], "responseId": "r"}


def gemini(chunks: list[dict[str, Any]]) -> None:
    read(Gemini().decoder(GEMINI), [*chunks, gemini_chunk(finishReason="STOP")])


def read(decoder: Any, messages: list[dict[str, Any]]) -> None:
    events: list[Event] = []
    for message in messages:
        events += decoder.feed(WireMessage(json.dumps(message).encode()))
    if not decoder.ended:
        events += decoder.finish()
    assert isinstance(events[-1], ResponseEnd)


def gemini_calls(count: int) -> None:
    calls = [{"functionCall": {"name": "f", "args": {"a": i}}} for i in range(count)]
    gemini([{**gemini_chunk(*calls), "responseId": "x" * 50 * count}])


def gemini_streamed_arguments(count: int) -> None:
    pieces = [{"jsonPath": "$.a", "stringValue": "b" * 400, "willContinue": True} for _ in range(count)]
    call = {"name": "f", "partialArgs": pieces, "willContinue": True}
    gemini([gemini_chunk({"functionCall": call}), gemini_chunk({"functionCall": {}})])


def gemini_late_arguments(count: int) -> None:
    paths = [f"$.a{i}.{name}" for name in "bc" for i in range(count // 2)]
    pieces = [{"jsonPath": path, "numberValue": 1} for path in paths]
    gemini([gemini_chunk({"functionCall": {"name": "f", "partialArgs": pieces}})])


def gemini_citations(count: int) -> None:
    chunks = [{"web": {"uri": f"https://a.example/{i}"}} for i in range(count)]
    supports = [
        {"segment": {"text": f"t{i}", "startIndex": 1}, "groundingChunkIndices": [i]} for i in range(count)
    ]
    metadata = {"groundingChunks": chunks, "groundingSupports": supports}
    gemini([gemini_chunk({"text": "a"}, groundingMetadata=metadata)])


def gemini_one_support(count: int) -> None:
    chunks = [{"web": {"uri": f"https://a.example/{i}"}} for i in range(count)]
    support = {"segment": {"text": LONG}, "groundingChunkIndices": list(range(count))}
    metadata = {"groundingChunks": chunks, "groundingSupports": [support]}
    gemini([gemini_chunk({"text": "a"}, groundingMetadata=metadata)])


def gemini_gathered(count: int) -> None:
    chunks = [
        gemini_chunk(groundingMetadata={"webSearchQueries": [f"q{i}"]}, logprobsResult={"chosen": [i]})
        for i in range(count)
    ]
    gemini([gemini_chunk({"text": "a"}), *chunks])


def gemini_signed_texts(count: int) -> None:
    supports = [{"segment": {"text": "no", "startIndex": 1}, "groundingChunkIndices": [0]}] * 20
    metadata = {"groundingChunks": [{}], "groundingSupports": supports}
    texts = [{"text": "a", "thoughtSignature": "s"} for _ in range(count)]
    gemini([gemini_chunk(*texts, groundingMetadata=metadata)])


def gemini_results(count: int) -> None:
    calls = [ToolCallPart(f"c{i}", "f", "{}") for i in range(count)]
    messages = (
        Message.user("a"),
        Message("assistant", tuple(calls)),
        *(Message.tool_result(c, "r") for c in calls),
    )
    Gemini().encode(Request(messages, "m"), GEMINI, stream=False)


def interactions(kind: str, deltas: list[dict[str, Any]]) -> None:
    created = {"event_type": "interaction.created", "interaction": {"id": "v1_1"}}
    start = {"event_type": "step.start", "index": 0, "step": {"type": kind}}
    grown = [{"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas]
    end = {"event_type": "interaction.completed", "interaction": {"status": "completed"}}
    read(GoogleInteractions().decoder(INTERACTIONS), [created, start, *grown, end])


def interactions_results(count: int) -> None:
    name = "google_search_result"
    interactions(name, [{"type": name, "result": [{"n": i}]} for i in range(count)])


def interactions_code(count: int) -> None:
    name = "code_execution_call"
    interactions(name, [{"type": name, "arguments": {"code": f"{i}" * 20}} for i in range(count)])


def interactions_thoughts(count: int) -> None:
    content = {"type": "text", "text": "Hm. " * 20}
    interactions("thought", [{"type": "thought_summary", "content": content}] * count)


def interactions_contents(count: int) -> None:
    text = {"type": "text", "text": "a"}
    sound = {"type": "audio", "mime_type": "audio/l16", "data": "AAAA" * 100}
    note = {"type": "text_annotation_delta", "annotations": [{"type": "url_citation", "url": "u"}]}
    interactions("model_output", [text, note, text] * count + [sound] * count)


def ollama_calls(count: int) -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": i}}} for i in range(count)]
    message = {"role": "assistant", "content": "", "tool_calls": calls}
    read(
        Ollama().decoder(OLLAMA),
        [{"model": "m", "created_at": "x" * 50 * count, "message": message, "done": True}],
    )


def ollama_logprobs(count: int) -> None:
    line = {"message": {"role": "assistant", "content": "a"}, "logprobs": [{"token": "a"}]}
    read(
        Ollama().decoder(OLLAMA),
        [{"model": "m", **line} for _ in range(count)] + [{"message": {}, "done": True}],
    )


# -- objects that get another member with every chunk --------------------------------------------------------


def members(count: int) -> list[dict[str, int]]:
    return [{f"k{i}": 1} for i in range(count)]


def chat_fields(make: Callable[[dict[str, int]], dict[str, Any]], count: int) -> None:
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    read(OpenAIChat().decoder(CHAT), [*map(make, members(count)), end])


def chat_usage(count: int) -> None:
    chat_fields(lambda new: {"choices": [], "usage": new, "id": "c"}, count)


def chat_usage_of_a_choice(count: int) -> None:
    chat_fields(lambda new: {"choices": [{"delta": {"content": "a"}, "usage": new}]}, count)


def chat_field_of_a_choice(count: int) -> None:
    chat_fields(lambda new: {"choices": [{"delta": {"content": "a"}, "x": new}]}, count)


def chat_top(count: int) -> None:
    chat_fields(lambda new: {"choices": [{"delta": {"content": "a"}}], "x": new}, count)


def chat_message(count: int) -> None:
    chat_fields(lambda new: {"choices": [{"delta": {"content": "a", "x": {"y": new}}}]}, count)


def anthropic_usage(count: int) -> None:
    start = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 1}}}
    deltas = [{"type": "message_delta", "delta": {}, "usage": new} for new in members(count)]
    deltas[-1]["delta"] = {"stop_reason": "end_turn"}
    read(AnthropicMessages().decoder(ANTHROPIC), [start, *deltas, {"type": "message_stop"}])


def bedrock(named: list[tuple[str, dict[str, Any]]]) -> None:
    decoder = PROVIDERS["bedrock"].protocol().decoder(Origin("bedrock_converse", "bedrock", "m"))
    for name, message in [
        *named,
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"a": 1}}),
    ]:
        decoder.feed(WireMessage(json.dumps(message).encode(), name))
    assert decoder.ended


def bedrock_start(count: int) -> None:
    bedrock([("messageStart", {"role": "assistant", "x": new}) for new in members(count)])


def bedrock_deltas(values: list[Any]) -> None:
    bedrock([("contentBlockDelta", {"contentBlockIndex": 0, "delta": value}) for value in values])


def bedrock_unknown(count: int) -> None:
    bedrock_deltas([{"x": new} for new in members(count)])


def bedrock_unknown_lists(count: int) -> None:
    bedrock_deltas([{"x": {"y": [1]}}] * count)


def bedrock_reasoning(count: int) -> None:
    bedrock_deltas([{"reasoningContent": new} for new in members(count)])


def gemini_top(count: int) -> None:
    gemini([{**gemini_chunk(TEXT), "x": new} for new in members(count)])


def ollama_message(count: int) -> None:
    lines = [{"model": "m", "message": {"content": "a", "x": new}} for new in members(count)]
    read(Ollama().decoder(OLLAMA), [*lines, {"message": {}, "done": True}])


def interactions_unknown(count: int) -> None:
    interactions("other", [{"type": "other", "x": new} for new in members(count)])


def interactions_unknown_lists(count: int) -> None:
    interactions("other", [{"type": "other", "x": [i]} for i in range(count)])


def interactions_unknown_texts(count: int) -> None:
    interactions("other", [{"type": "other", "x": "ab" * 500}] + [{"type": "other", "x": "c" * 500}] * count)


def interactions_arguments(count: int) -> None:
    created = {"event_type": "interaction.created", "interaction": {"id": "v1_1"}}
    start = {
        "event_type": "step.start",
        "index": 0,
        "step": {"type": "function_call", "name": "f", "id": "c"},
    }
    deltas = [{"type": "arguments", "arguments": {"a": new}, **new} for new in members(count)]
    grown = [{"event_type": "step.delta", "index": 0, "delta": delta} for delta in deltas]
    end = {"event_type": "interaction.completed", "interaction": {"status": "completed"}}
    read(GoogleInteractions().decoder(INTERACTIONS), [created, start, *grown, end])


SOURCE = {"web": {"uri": "https://a.example"}}
TEXT = {"text": "a"}


def chat_annotations(count: int) -> Any:
    texts = [{"content": "a"}, {"annotations": [{"url": f"u{i}"} for i in range(count)]}]
    chunks = [{"choices": [{"delta": delta}]} for delta in texts]
    return OpenAIChat().decoder(CHAT), [*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]


def chat_annotations_in_pieces(count: int) -> Any:
    pieces = [{"annotations": [{"url": f"u{i}"}]} for i in range(count)]
    chunks = [{"choices": [{"delta": delta}]} for delta in pieces]
    return OpenAIChat().decoder(CHAT), [*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]


def chat_found(count: int) -> Any:
    whole = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}
    return OpenAIChat().decoder(CHAT), [{**whole, "citations": [f"u{i}" for i in range(count)]}]


def gemini_grounded(count: int) -> Any:
    metadata = {"groundingChunks": [{"web": {"uri": f"u{i}"}} for i in range(count)]}
    return Gemini().decoder(GEMINI), [gemini_chunk(TEXT, groundingMetadata=metadata, finishReason="STOP")]


def gemini_grounded_in_pieces(count: int) -> Any:
    metadata = [{"groundingChunks": [{"web": {"uri": f"u{i}"}}]} for i in range(count)]
    chunks = [gemini_chunk(TEXT, groundingMetadata=each, finishReason="STOP") for each in metadata]
    return Gemini().decoder(GEMINI), chunks


def gemini_supported(count: int) -> Any:
    supports = [{"segment": {"text": "a"}, "groundingChunkIndices": [0] * (count - 1)}]
    metadata = {"groundingChunks": [SOURCE], "groundingSupports": supports}
    return Gemini().decoder(GEMINI), [gemini_chunk(TEXT, groundingMetadata=metadata, finishReason="STOP")]


CITING = [
    chat_annotations,
    chat_annotations_in_pieces,
    chat_found,
    gemini_grounded,
    gemini_grounded_in_pieces,
    gemini_supported,
]


@pytest.mark.parametrize("case", CITING)
def test_citations_are_limited_with_the_parts(case: Callable[[int], Any]) -> None:
    decoder, messages = case(5)
    decoder.max_parts = 1
    read(decoder, messages)
    decoder, messages = case(6)
    decoder.max_parts = 1
    with pytest.raises(ProtocolError, match="more than 5 citations; max_parts sets this limit") as caught:
        read(decoder, messages)
    assert caught.value.partial is not None


WHOLE = {
    "anthropic": '{"id":"a","content":[{"type":"text","text":"a","citations":%s}],"stop_reason":"end_turn"}',
    "bedrock": '{"output":{"message":{"content":[{"citationsContent":{"content":[{"text":"a"}],"citations":%s}}]}},'
    '"stopReason":"end_turn"}',
    "google-interactions": '{"id":"v1_1","status":"completed","steps":[{"type":"model_output","content":['
    '{"type":"text","text":"a","annotations":%s}]}]}',
    "openai-responses": '{"object":"response","id":"r","status":"completed","output":[{"type":"message","content":['
    '{"type":"output_text","text":"a","annotations":%s}]}]}',
}


@pytest.mark.parametrize("row", WHOLE)
def test_the_citations_of_a_text_are_limited(row: str) -> None:
    """Each is an object of its own beside the one that it is made of."""
    protocol = PROVIDERS[row].protocol()
    origin = Origin(protocol.name, row, "m")
    body = WHOLE[row] % f"[{','.join(['{}'] * 50_000)}]"
    assert len(collect(protocol.decoder(origin).feed_whole(body.encode())).citations) == 50_000
    with pytest.raises(ProtocolError, match="more than 50000 citations"):
        protocol.decoder(origin).feed_whole(body.replace("[{},", "[{},{},").encode())


CASES = [
    gemini_calls,
    gemini_streamed_arguments,
    gemini_late_arguments,
    gemini_citations,
    gemini_one_support,
    gemini_gathered,
    gemini_signed_texts,
    gemini_results,
    interactions_results,
    interactions_code,
    interactions_thoughts,
    interactions_contents,
    ollama_calls,
    ollama_logprobs,
    chat_usage,
    chat_usage_of_a_choice,
    chat_field_of_a_choice,
    chat_top,
    chat_message,
    anthropic_usage,
    bedrock_start,
    bedrock_unknown,
    bedrock_unknown_lists,
    bedrock_reasoning,
    gemini_top,
    ollama_message,
    interactions_unknown,
    interactions_unknown_lists,
    interactions_unknown_texts,
    interactions_arguments,
]


@pytest.mark.parametrize("case", CASES)
def test_the_work_is_in_proportion(case: Callable[[int], None]) -> None:
    fits, small, large = is_in_proportion(case, SMALL)
    assert fits, f"{small} calls, and {large} for four times as much"


@pytest.mark.many  # coverage would be measured, too
@pytest.mark.parametrize("case", CASES)
def test_the_time_is_in_proportion(case: Callable[[int], None]) -> None:
    small, large = seconds(case, LONG_ENOUGH), seconds(case, 4 * LONG_ENOUGH)
    assert large < 0.05 or large / small < RATIO, f"{small:.3f} s, and {large:.3f} s for four times as much"


# -- regular expressions -------------------------------------------------------------------------------------

LETTERS = ("a", "1", " ", "\n", '"', "'", "`", "\\\\", "[", "{", "-", ".", ",")


def patterns() -> dict[str, re.Pattern[Any]]:
    """All that modules hold which read what a service sends, by module and place."""
    found: dict[str, re.Pattern[Any]] = {}
    for package in (brainwires_provider.protocols, brainwires_provider.framing, brainwires_provider._core):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            waiting = list(vars(importlib.import_module(module.name)).items())
            while waiting:
                name, value = waiting.pop()
                if isinstance(value, re.Pattern):
                    found[f"{module.name.partition('.')[2]}.{name}"] = value
                elif isinstance(value, tuple):
                    waiting += [(f"{name}[{place}]", each) for place, each in enumerate(value)]
    return found


PATTERNS = patterns()
MATCHED = frozenset(
    (
        "_core.limit_headers._DURATION",
        "_core.limit_headers._SPAN",
        "_core.partials._THOUGHT",
        "protocols.base.emulated._ANSWER_BEGINS",
        "protocols.base.errors._SPAN",
        "protocols.base.google._SECONDS",
        "protocols.relay.errors._STATUS",
    )
)
"""Only tried at one place of a text."""
NO_TIME = 0.001  # seconds: a twentieth of what quadratic work takes with the longer text


def hostile(pattern: str, size: int) -> list[str]:
    """Texts that begin what a pattern looks for again and again, and never end it."""
    words = re.findall(r"[\w \"'`</-]{2,}", re.sub(r"\\.", "\0", pattern))
    begun = [word + letter for word in dict.fromkeys((*words, "")) for letter in ("", *LETTERS)]
    repeated = [(text * (size // len(text) + 1))[:size] + "\0" for text in begun if text]
    return repeated + [word + letter * size + "\0" for word in words for letter in LETTERS]


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_reads_a_hostile_text_in_proportion(name: str) -> None:
    """Four times the text is four times the work, and sixteen times where the work is quadratic."""
    pattern = PATTERNS[name]
    use: Callable[[Any], Any] = pattern.match if name in MATCHED else pattern.search

    def spent(text: str) -> float:
        given = text if isinstance(pattern.pattern, str) else text.encode()
        return _processor_time(lambda: use(given))

    words = _text_of(pattern)
    for small, large in zip(hostile(words, 3_000), hostile(words, 12_000), strict=True):
        assert any(spent(large) < max(NO_TIME, RATIO * spent(small)) for _ in range(5)), large[:80]


def _text_of(pattern: re.Pattern[Any]) -> str:
    return pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()


def _processor_time(act: Callable[[], Any]) -> float:
    started = time.process_time()
    act()
    return time.process_time() - started


def seconds(case: Callable[[int], None], count: int) -> float:
    """The least of three measurements."""
    measured = []
    gc.disable()  # its work is not in proportion
    try:
        for _ in range(3):
            started = time.process_time()
            case(count)
            measured.append(time.process_time() - started)
    finally:
        gc.enable()
    return min(measured)
