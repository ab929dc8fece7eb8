"""Google's generateContent, on AI Studio and on Vertex AI."""

from __future__ import annotations

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.gemini.errors import decode_error
from brainwires_provider.protocols.gemini.models import (
    decode_count,
    decode_model,
    decode_page,
    model_call,
    page_call,
)
from brainwires_provider.protocols.gemini.options import GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.request import encode_count, encode_request
from brainwires_provider.protocols.gemini.response import GeminiDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["Gemini", "GeminiDecoder", "GeminiOptions", "GeminiQuirks"]


class Gemini:
    """See `base.protocol.ChatProtocol`. The quirks are those of one service."""

    name = "gemini"

    def __init__(self, quirks: GeminiQuirks | None = None) -> None:
        self.quirks = quirks or GeminiQuirks()

    def framing(self, max_message: int) -> Framing:
        """Server-sent events; an array, from a service that ignores `alt=sse`, is read as a whole body."""
        return SSEFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """Raises UnsupportedError for what generateContent cannot express."""
        return encode_request(request, origin, self.quirks, stream=stream)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one response."""
        return GeminiDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
        """`POST /models/MODEL:countTokens`."""
        return encode_count(request, origin, self.quirks)

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"totalTokens": …}`. Raises ProtocolError."""
        return decode_count(body)

    def models_call(self, after: str | None) -> Call:
        """`GET /models`, the page after a token. Raises UnsupportedError where the base URL has no list."""
        if not self.quirks.listing:
            raise UnsupportedError("this service does not list its models below its base URL")
        return page_call(after)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page of models, and the next page's token. Raises ProtocolError."""
        return decode_page(body, provider)

    def model_call(self, name: str) -> Call | None:
        """`GET /models/MODEL`; None where the base URL has no list."""
        return model_call(name) if self.quirks.listing else None

    def decode_model(self, body: bytes, provider: str) -> Model:
        """One model. Raises ProtocolError."""
        return decode_model(body, provider)
