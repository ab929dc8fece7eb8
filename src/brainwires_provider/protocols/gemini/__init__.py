"""Google's generateContent, on AI Studio and on Vertex AI."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.google import GoogleBase
from brainwires_provider.protocols.base.protocol import Call, Reply
from brainwires_provider.protocols.gemini.errors import decode_error
from brainwires_provider.protocols.gemini.models import decode_count
from brainwires_provider.protocols.gemini.options import GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.request import encode_count, encode_request
from brainwires_provider.protocols.gemini.response import GeminiDecoder
from brainwires_provider.types import Origin, Request, TokenCount

__all__ = ["Gemini", "GeminiDecoder", "GeminiOptions", "GeminiQuirks"]


class Gemini(GoogleBase[GeminiQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one service.

    A service that ignores `alt=sse` sends an array, which is read as a whole body.
    """

    name = "gemini"
    quirks_type = GeminiQuirks
    decoder = GeminiDecoder

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError for what generateContent cannot express."""
        return encode_request(request, origin, self.quirks, facts, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /models/MODEL:countTokens`."""
        return encode_count(request, origin, self.quirks, facts)

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"totalTokens": …}`. Raises ProtocolError."""
        return decode_count(body)
