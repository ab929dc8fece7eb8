"""Ollama's own API, on this machine, on another, and in Ollama's cloud."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.ollama.errors import decode_error
from brainwires_provider.protocols.ollama.models import decode_models, list_call, no_count
from brainwires_provider.protocols.ollama.options import OllamaOptions, OllamaQuirks
from brainwires_provider.protocols.ollama.request import encode_generate, encode_request
from brainwires_provider.protocols.ollama.response import OllamaDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["Ollama", "OllamaDecoder", "OllamaOptions", "OllamaQuirks"]


class Ollama:
    """See `base.protocol.ChatProtocol`. The quirks are those of one server."""

    name = "ollama"

    def __init__(self, quirks: OllamaQuirks | None = None) -> None:
        self.quirks = quirks or OllamaQuirks()

    def framing(self, max_message: int) -> Framing:
        """One JSON object a line."""
        return NDJSONFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """`POST /api/chat`. Raises UnsupportedError for what it cannot express."""
        return encode_request(request, origin, self.quirks, stream=stream)

    def encode_generate(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """`POST /api/generate`, for the same decoder. Raises UnsupportedError for more than a prompt."""
        return encode_generate(request, origin, self.quirks, stream=stream)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one response."""
        return OllamaDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
        """Raises UnsupportedError: Ollama counts only while it responds."""
        raise no_count(origin.provider, origin.model)

    def decode_count(self, body: bytes) -> TokenCount:
        """Raises UnsupportedError."""
        raise no_count()

    def models_call(self, after: str | None) -> Call:
        """`GET /api/tags`, which has all models on one page."""
        return list_call()

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """Every model that the server holds. Raises ProtocolError."""
        return decode_models(body, provider), None
