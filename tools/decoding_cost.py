"""Time and memory of decoding a body of 4 MB, over shapes and protocols: `python tools/decoding_cost.py [protocol]`.

Each case runs in a process of its own. The limits are a second of processor time and 64 MB beyond the body; what
exceeds one is marked, and the exit status is 1.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

from brainwires_provider.errors import ProviderError
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Origin

SIZE = 4_000_000
SECONDS = 1.0
MEGABYTES = 64.0

PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "anthropic_messages": (
        "anthropic",
        {
            "content": '{"id":"a","model":"m","content":%s,"stop_reason":"end_turn"}',
            "other": '{"id":"a","model":"m","content":[],"x":%s}',
            "input": '{"id":"a","model":"m","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":%s}}]}',
            "usage": '{"id":"a","model":"m","content":[],"usage":{"iterations":%s}}',
            "citations": '{"id":"a","model":"m","content":[{"type":"text","text":"a","citations":%s}]}',
        },
    ),
    "bedrock_converse": (
        "bedrock",
        {
            "content": '{"output":{"message":{"content":%s}},"stopReason":"end_turn"}',
            "citations": '{"output":{"message":{"content":[{"citationsContent":'
            '{"citations":%s,"content":[{"text":"a"}]}}]}}}',
            "other": '{"output":{"message":{"content":[]}},"trace":%s}',
            "input": '{"output":{"message":{"content":[{"toolUse":{"toolUseId":"t","name":"f","input":{"a":%s}}}]}},'
            '"stopReason":"tool_use"}',
        },
    ),
    "gemini": (
        "google",
        {
            "parts": '{"candidates":[{"content":{"parts":%s},"finishReason":"STOP"}]}',
            "candidates": '{"candidates":%s}',
            "args": '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":%s}}}]},'
            '"finishReason":"STOP"}]}',
            "grounding": '{"candidates":[{"content":{"parts":[{"text":"a"}]},'
            '"groundingMetadata":{"groundingChunks":%s}}]}',
            "supports": '{"candidates":[{"content":{"parts":[{"text":"a"}]},"groundingMetadata":{"groundingChunks":['
            + ",".join(['{"web":{"uri":"u"}}'] * 64)
            + '],"groundingSupports":%s}}]}',
        },
    ),
    "google_interactions": (
        "google-interactions",
        {
            "steps": '{"id":"v1_1","status":"completed","steps":%s}',
            "arguments": '{"id":"v1_1","status":"completed","steps":[{"type":"function_call","id":"x","name":"f",'
            '"arguments":{"a":%s}}]}',
            "content": '{"id":"v1_1","status":"completed","steps":[{"type":"model_output","content":%s}]}',
            "annotations": '{"id":"v1_1","status":"completed","steps":[{"type":"model_output",'
            '"content":[{"type":"text","text":"a","annotations":%s}]}]}',
        },
    ),
    "ollama": (
        "ollama",
        {
            "content": '{"model":"m","message":{"content":%s},"done":true}',
            "calls": '{"model":"m","message":{"content":"","tool_calls":%s},"done":true}',
            "arguments": '{"model":"m","message":{"content":"","tool_calls":[{"function":{"name":"f",'
            '"arguments":{"a":%s}}}]},"done":true}',
            "logprobs": '{"model":"m","message":{"content":""},"logprobs":%s,"done":true}',
        },
    ),
    "openai_chat": (
        "openai-chat",
        {
            "content": '{"choices":[{"message":{"content":%s},"finish_reason":"stop"}]}',
            "choices": '{"choices":%s}',
            "calls": '{"choices":[{"message":{"content":"","tool_calls":%s},"finish_reason":"stop"}]}',
            "arguments": '{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"f",'
            '"arguments":{"a":%s}}}]},"finish_reason":"stop"}]}',
            "delta": '{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f",'
            '"arguments":{"a":%s}}}]},"finish_reason":"stop"}]}',
            "details": '{"choices":[{"message":{"content":"","reasoning_details":%s},"finish_reason":"stop"}]}',
            "annotations": '{"choices":[{"message":{"content":"","annotations":%s},"finish_reason":"stop"}]}',
            "found": '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"citations":%s}',
            "results": '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],"search_results":%s}',
        },
    ),
    "openai_responses": (
        "openai-responses",
        {
            "output": '{"object":"response","id":"r","output":%s}',
            "content": '{"object":"response","id":"r","output":[{"type":"message","content":%s}]}',
            "annotations": '{"object":"response","id":"r","output":[{"type":"message",'
            '"content":[{"type":"output_text","text":"a","annotations":%s}]}]}',
            "summary": '{"object":"response","id":"r","output":[{"type":"reasoning","summary":%s}]}',
        },
    ),
}


def many(item: str) -> Callable[[], str]:
    return lambda: "[" + ",".join([item] * (SIZE // (len(item) + 1))) + "]"


def numbered(item: str) -> Callable[[], str]:
    return lambda: "[" + ",".join(item % place for place in range(SIZE // (len(item) + 6))) + "]"


SHAPES: dict[str, Callable[[], str]] = {
    "numbers": many("1"),
    "nulls": many("null"),
    "texts": many('"a"'),
    "words": many('"abcd"'),
    "objects": many("{}"),
    "lists": many("[]"),
    "dense": many('{"aaaaaaaaaa":1.5}'),
    "distinct": numbered('{"url":"u%d","a":"b"}'),
    "supports": numbered(
        '{"segment":{"endIndex":%d},"groundingChunkIndices":' + json.dumps(list(range(64))) + "}"
    ),
    "typed": many('{"type":"text","text":"a"}'),
    "output": many('{"type":"output_text","text":"a"}'),
    "calls": many('{"id":"c","name":"f","function":{"name":"f","arguments":"{}"}}'),
    "items": many('{"type":"message","content":[{"type":"output_text","text":"a"}]}'),
    "unknown": many('{"type":"x"}'),
    "a text": lambda: '"' + "B" * SIZE + '"',
    "escapes": lambda: '"' + r"\ud83d\ude00" * (SIZE // 12) + '"',
    "surrogates": lambda: '"' + r"\ud83d" * (SIZE // 6) + '"',
    "keys": lambda: "{" + ",".join(f'"k{i}":1' for i in range(SIZE // 12)) + "}",
    "deep": lambda: ",".join(["[" * 150 + "]" * 150] * (SIZE // 300)).join(("[", "]")),
}


def measure(protocol: str, place: str, shape: str) -> tuple[float, float, str]:
    row, places = PLACES[protocol]
    body = (places[place] % SHAPES[shape]()).encode()
    decoder = PROVIDERS[row].protocol().decoder(Origin(protocol, row, "m"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    try:
        if place == "delta":
            decoder.feed(WireMessage(body))
        else:
            decoder.feed_whole(body)
        outcome = "read"
    except ProviderError as error:
        outcome = type(error).__name__
    spent = time.process_time() - begin
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return spent, grown / 1024, outcome


def main() -> int:
    if len(sys.argv) == 4:
        spent, grown, outcome = measure(*sys.argv[1:])
        sys.stdout.write(f"{spent:.3f} {grown:.1f} {outcome}")
        return 0
    status = 0
    for protocol, (_, places) in PLACES.items():
        for place in places if not sys.argv[1:] or protocol in sys.argv[1:] else ():
            for shape in SHAPES:
                run = [sys.executable, __file__, protocol, place, shape]
                told = subprocess.run(run, capture_output=True, text=True, timeout=300).stdout.split()
                over = len(told) != 3 or float(told[0]) > SECONDS or float(told[1]) > MEGABYTES
                status |= over
                sys.stdout.write(
                    f"{protocol:20}{place:14}{shape:12}{' '.join(told):40}{'  <-- over' * over}\n"
                )
                sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
