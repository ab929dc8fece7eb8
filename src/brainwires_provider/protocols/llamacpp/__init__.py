"""The native API of llama.cpp's server: a prompt completed as it stands, tokens, routing and embeddings."""

from __future__ import annotations

from types import NoneType

from brainwires_provider.protocols.base.errors import error_in_reply
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.llamacpp.models import count_call, decode_count, decode_models, models_call
from brainwires_provider.protocols.llamacpp.operations import Route
from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
from brainwires_provider.protocols.llamacpp.request import encode_request
from brainwires_provider.protocols.llamacpp.response import CompletionDecoder
from brainwires_provider.types import Model, Origin, Request

__all__ = ["CompletionDecoder", "LlamaCpp", "LlamaCppOptions", "Route"]


class LlamaCpp(ProtocolBase[None]):
    """See `base.protocol.ChatProtocol`. Its base URL is the server's root."""

    name = "llamacpp"
    quirks_type = NoneType
    encode = encode_request
    decode_error = staticmethod(error_in_reply)
    decode_count = staticmethod(decode_count)
    decoder = CompletionDecoder

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /tokenize`, reading control tokens as a completion does. Raises UnsupportedError as `encode`."""
        return count_call(request, origin)

    def models_call(self, after: str | None) -> Call:
        """`GET /v1/models`, one page."""
        return models_call()

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """What the server has loaded, or could load. Raises ProtocolError."""
        return decode_models(body, provider), None
