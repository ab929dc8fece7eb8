"""Messages requests for tests: the models that stand for their kind, and one request encoded."""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicOptions, AnthropicQuirks
from brainwires_provider.protocols.anthropic.messages import encode_messages
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import Deviation, Message, Options, Origin, Request, Tool
from known import encode_known

NEW, OLD, BOTH, OPUS_41 = "claude-opus-5", "claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-1"
"""Thinks as it finds right; by a budget; both; by a budget, with a low limit."""
HI = (Message.user("Hi"),)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
WEATHER = Tool("weather", "Tells the weather.", SCHEMA)


def encode(
    messages: tuple[Message, ...] = HI,
    model: str = NEW,
    quirks: AnthropicQuirks | None = None,
    stream: bool = False,
    **fields: Any,
) -> Call:
    if isinstance(fields.get("options"), dict):
        fields["options"] = Options(**fields["options"])
    origin = Origin("anthropic_messages", "anthropic", model)
    return encode_known(AnthropicMessages(quirks), Request(messages, model, **fields), origin, stream=stream)


def told(call: Call) -> list[tuple[str, str]]:
    """The deviations, but for the limit that every request without one reports."""
    return [(d.field, d.outcome) for d in call.deviations if d.field != "max_tokens"]


def assistant_blocks(
    message: Message, origin: Origin, index: int
) -> tuple[list[dict[str, Any]], list[Deviation]]:
    """The blocks of an answer as the message at `index` of a history, and what is reported of its parts."""
    request = Request((*(Message.user("Hi") for _ in range(index)), message))
    reader = OptionReader(request, AnthropicOptions)
    turns = encode_messages(request, origin, reader, AnthropicQuirks()).turns
    blocks = turns[index]["content"] if len(turns) > index else []
    if isinstance(blocks, str):
        blocks = [{"type": "text", "text": blocks}]
    return blocks, [d for d in reader.finish() if d.field != f"messages[{index}]"]
