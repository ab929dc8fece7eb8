"""Ollama's own API, on this machine, on another, and in Ollama's cloud."""

from __future__ import annotations

from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Uncounted
from brainwires_provider.protocols.ollama.errors import decode_error
from brainwires_provider.protocols.ollama.models import decode_models, list_call
from brainwires_provider.protocols.ollama.options import OllamaOptions, OllamaQuirks
from brainwires_provider.protocols.ollama.request import encode_generate, encode_request
from brainwires_provider.protocols.ollama.response import OllamaDecoder
from brainwires_provider.types import Model, Origin, Request

__all__ = ["Ollama", "OllamaDecoder", "OllamaOptions", "OllamaQuirks"]


class Ollama(Uncounted, ProtocolBase[OllamaQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one server."""

    name = "ollama"
    quirks_type = OllamaQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decoder = OllamaDecoder
    framing = NDJSONFraming

    def encode_generate(
        self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN
    ) -> Call:
        """`POST /api/generate`, for the same decoder. Raises UnsupportedError for more than a prompt."""
        return encode_generate(request, origin, facts, stream=stream)

    def models_call(self, after: str | None) -> Call:
        """`GET /api/tags`, which has all models on one page."""
        return list_call()

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """Every model that the server holds. Raises ProtocolError."""
        return decode_models(body, provider), None
