"""The native API of llama.cpp's server: a prompt completed as it stands, tokens, routing and embeddings."""

from __future__ import annotations

from types import NoneType

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.errors import error_in_reply
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Reply
from brainwires_provider.protocols.llamacpp.models import count_call, decode_count, decode_models, models_call
from brainwires_provider.protocols.llamacpp.operations import Route
from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
from brainwires_provider.protocols.llamacpp.request import encode_request
from brainwires_provider.protocols.llamacpp.response import CompletionDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["CompletionDecoder", "LlamaCpp", "LlamaCppOptions", "Route"]


class LlamaCpp(ProtocolBase[None]):
    """See `base.protocol.ChatProtocol`. Its base URL is the server's root."""

    name = "llamacpp"
    quirks_type = NoneType
    decoder = CompletionDecoder

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /completion`. Raises UnsupportedError for more than one prompt of text."""
        return encode_request(request, origin, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return error_in_reply(reply)

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /tokenize`, reading control tokens as a completion does. Raises UnsupportedError as `encode`."""
        return count_call(request, origin)

    def decode_count(self, body: bytes) -> TokenCount:
        """How many tokens came. Raises ProtocolError."""
        return decode_count(body)

    def models_call(self, after: str | None) -> Call:
        """`GET /v1/models`, one page."""
        return models_call()

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """What the server has loaded, or could load. Raises ProtocolError."""
        return decode_models(body, provider), None
