"""CPU milliseconds for encoding a long history: each protocol beside `json.dumps` of the very body that it makes.

A conversation is rounds of four messages, as an agent has them: a question, an answer with a tool call, the call's
result, an answer in words. There are 20 tools, a system prompt and `max_tokens`. The answers have the origin of the
protocol that encodes them, as those of a real conversation have. Encoding and dumping take turns in every round, so
that a slow moment of the machine is in both. Every message's text is looked for in the body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from _measure import Targets, arguments, cpu_seconds, interleaved, machine, print_table

from brainwires_provider.protocols.anthropic import AnthropicMessages
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.protocols.bedrock import BedrockConverse
from brainwires_provider.protocols.gemini import Gemini
from brainwires_provider.protocols.ollama import Ollama
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.types import Message, Options, Origin, Request, TextPart, Tool, ToolCallPart

PROTOCOLS: dict[str, tuple[Callable[[], ChatProtocol], str]] = {
    "Chat": (OpenAIChat, "gpt-6"),
    "Responses": (OpenAIResponses, "gpt-6"),
    "Messages": (AnthropicMessages, "claude-opus-5"),
    "Converse": (BedrockConverse, "anthropic.claude-opus-5"),
    "Gemini": (Gemini, "gemini-3-pro"),
    "Ollama": (Ollama, "qwen3"),
}
LIMIT = 1.2
"""How many times `json.dumps` of the same body encoding may cost."""
LINEAR = 1.3
"""How much dearer a message of the longest history may be than one of the shortest."""
QUESTION = "Which of the files changed since last week, and do the tests that read them still pass? "
RESULT = "src/parser.py  +12 -3  2026-11-20  tests/test_parser.py reads it: 41 passed, 0 failed\n"
ANSWER = "Two files changed. The parser lost its special case for empty lines, and its tests pass. "


class Load(NamedTuple):
    """How many messages, and how many rounds."""

    messages: int
    rounds: int


FULL = (Load(250, 60), Load(1000, 40), Load(4000, 12))
QUICK = (Load(40, 2),)


def tools() -> Iterator[Tool]:
    """20 tools with a few parameters each."""
    properties = {
        name: {"type": "string", "description": f"The {name} that the search is narrowed to."}
        for name in ("path", "pattern", "since", "author")
    }
    for number in range(20):
        schema = {"type": "object", "properties": properties, "required": ["path"]}
        yield Tool(f"search_{number}", "Searches the working tree for what has changed.", schema)


def messages(count: int, origin: Origin) -> Iterator[Message]:
    """`count` messages in rounds of four."""
    for number in range(count // 4):
        call = ToolCallPart(
            f"call_{number}", "search_0", '{"path":"src","since":"2026-11-20"}', origin=origin
        )
        yield Message.user(f"{number}. {QUESTION * 3}")
        yield Message("assistant", (TextPart(f"{number}: I look.", origin=origin), call))
        yield Message.tool_result(call, RESULT * 8)
        yield Message("assistant", (TextPart((ANSWER * 5).rstrip(), origin=origin),))


def request(count: int, origin: Origin) -> Request:
    """A request with a history of `count` messages."""
    history = tuple(messages(count, origin))
    return Request(history, origin.model, "Be brief.", tuple(tools()), options=Options(max_tokens=4096))


def measure(name: str, load: Load) -> tuple[float, float, float]:
    """Seconds to encode, to dump, and the median of the rounds' ratios."""
    make, model = PROTOCOLS[name]
    protocol = make()
    asked = request(load.messages, Origin(protocol.name, "bench", model))
    origin = Origin(protocol.name, "bench", model)

    def encode() -> dict[str, object]:
        return protocol.encode(asked, origin, stream=True).body

    body = encode()
    text = json.dumps(body)
    if text.count(ANSWER.rstrip()) != load.messages // 4 * 5:
        raise SystemExit(f"{name}: the body does not hold the history")
    taken = interleaved(
        {"encode": lambda: cpu_seconds(encode), "dump": lambda: cpu_seconds(lambda: json.dumps(body))},
        load.rounds,
    )
    return taken.median("encode"), taken.median("dump"), taken.ratio("encode", "dump")


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    targets = Targets()
    print(f"{machine()}\n")
    per_message: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
    for load in QUICK if args.quick else FULL:
        rows = []
        for name in PROTOCOLS:
            mine, theirs, ratio = measure(name, load)
            per_message[name].append(mine / load.messages)
            rows.append((name, f"{mine * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{ratio:.2f}"))
            if load.messages == 1000:
                targets.at_most(f"{name}: encoding ÷ json.dumps, 1000 messages", ratio, LIMIT)
        print(f"### {load.messages} messages, 20 tools (median of {load.rounds})\n")
        print_table(("protocol", "encode ms", "json.dumps ms", "÷ json.dumps"), rows)
    if args.quick:
        return 0
    for name, costs in per_message.items():
        targets.at_most(f"{name}: a message of 4000 ÷ one of 1000", costs[-1] / costs[1], LINEAR)
    return targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
