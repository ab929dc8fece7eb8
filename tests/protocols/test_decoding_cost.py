"""The cost of decoding is in proportion to the size of the response, whatever its shape.

Each case is read at one size and at four times that size: quadratic work would take sixteen times as long. Processor
time is measured, so that a busy machine makes no difference.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from brainwires_provider.events import Event, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.gemini import Gemini
from brainwires_provider.protocols.ollama import Ollama
from brainwires_provider.types import Message, Origin, Request, ToolCallPart

GEMINI = Origin("gemini", "google", "m")
OLLAMA = Origin("ollama", "ollama", "m")
LONG = "x" * 4000
SMALL = 2000  # four times as many are still fewer than the parts that one response may have
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


@pytest.mark.many  # coverage would be measured, too
@pytest.mark.parametrize(
    "case",
    [
        gemini_calls,
        gemini_streamed_arguments,
        gemini_late_arguments,
        gemini_citations,
        gemini_one_support,
        gemini_gathered,
        gemini_signed_texts,
        gemini_results,
        ollama_calls,
        ollama_logprobs,
    ],
)
def test_the_cost_is_in_proportion(case: Callable[[int], None]) -> None:
    small, large = seconds(case, SMALL), seconds(case, 4 * SMALL)
    assert large < 0.05 or large / small < RATIO, f"{small:.3f} s, and {large:.3f} s for four times as much"


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
