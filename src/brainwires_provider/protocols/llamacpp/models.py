"""Which models the server has, and how many tokens a prompt is."""

from __future__ import annotations

from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp.messages import encode_messages
from brainwires_provider.protocols.llamacpp.operations import decode_tokens, tokenize_call
from brainwires_provider.protocols.openai_chat.models import decode_models
from brainwires_provider.types import Origin, Request, TokenCount

__all__ = ["count_call", "decode_count", "decode_models", "models_call"]


def count_call(request: Request, origin: Origin) -> Call:
    """`POST /tokenize`, reading control tokens as a completion does. Raises UnsupportedError as encoding does."""
    return tokenize_call(encode_messages(request, origin), request.model or "", parse_special=True)


def decode_count(body: bytes) -> TokenCount:
    """How many tokens came. Raises ProtocolError."""
    return TokenCount(len(decode_tokens(body)))


def models_call() -> Call:
    """`GET /v1/models`, one page."""
    return Call("/v1/models", {}, method="GET")
