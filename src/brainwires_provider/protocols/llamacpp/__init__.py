"""The native API of llama.cpp's server: a prompt completed as it stands, tokens, routing and embeddings."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.errors import error_in_reply
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.llamacpp.models import count_call, decode_count, decode_models, models_call
from brainwires_provider.protocols.llamacpp.operations import Route
from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
from brainwires_provider.protocols.llamacpp.request import encode_request
from brainwires_provider.protocols.llamacpp.response import CompletionDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["CompletionDecoder", "LlamaCpp", "LlamaCppOptions", "Route"]


class LlamaCpp:
    """See `base.protocol.ChatProtocol`. Its base URL is the server's root."""

    name = "llamacpp"

    def framing(self, max_message: int) -> Framing:
        """Server-sent events."""
        return SSEFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """`POST /completion`. Raises UnsupportedError for more than one prompt of text."""
        return encode_request(request, origin, stream=stream)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one answer."""
        return CompletionDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return error_in_reply(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
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
