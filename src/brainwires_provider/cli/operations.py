"""Recordings of other operations than chat: token counts, model lists and compactions.

Such a recording has the name of its operation instead of its protocol, which is recognised from the path of the
request, else from the body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.cli.output import Shape, compaction_shape
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.types import Model, Origin, TokenCount

__all__ = ["OPERATIONS", "Operation"]


class Operation(Struct, frozen=True):
    """`protocol` recognises the protocol by path and body; `read` returns what is printed. Raises ProviderError."""

    protocol: Callable[[str, bytes], str]
    read: Callable[[ChatProtocol, bytes, Origin], Any]


def _compacts(path: str, body: bytes) -> str:
    return "openai_responses"


def _compaction(protocol: ChatProtocol, body: bytes, origin: Origin) -> Shape:
    from brainwires_provider.protocols.openai_responses.operations import decode_compaction

    return compaction_shape(decode_compaction(body, origin))


_COUNTERS = {
    ":countTokens": "gemini",
    "/count-tokens": "bedrock_converse",
    "/input_tokens": "openai_responses",
    "/count_tokens": "anthropic_messages",
}
_COUNTS = {"totalTokens": "gemini", "inputTokens": "bedrock_converse"}


def _counts(path: str, body: bytes) -> str:
    asked = next((name for end, name in _COUNTERS.items() if path.endswith(end)), None)
    value = _object(body)
    return asked or next((name for key, name in _COUNTS.items() if key in value), "anthropic_messages")


def _count(protocol: ChatProtocol, body: bytes, origin: Origin) -> Shape:
    return _fields(protocol.decode_count(body))


def _lists(path: str, body: bytes) -> str:
    """Most services have OpenAI's form, some in addition to another."""
    match _object(body):
        case {"data": [{"type": "model"}, *_]} | {"data": [], "has_more": _}:
            return "anthropic_messages"
        case {"data": list()}:
            return "openai_chat"
        case {"models": _} | {"publisherModels": _}:
            return "gemini"
    return "openai_chat"


def _models(protocol: ChatProtocol, body: bytes, origin: Origin) -> list[Shape]:
    models, _ = protocol.decode_models(body, origin.provider)
    return [_fields(model) for model in models]


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = decode_json(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _fields(value: TokenCount | Model) -> Shape:
    return msgspec.structs.asdict(value)


OPERATIONS = {
    "openai_compact": Operation(_compacts, _compaction),
    "count_tokens": Operation(_counts, _count),
    "models": Operation(_lists, _models),
}
"""The operations by the names that recordings have for them."""
