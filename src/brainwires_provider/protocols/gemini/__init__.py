"""Google's generateContent, on AI Studio and on Vertex AI."""

from __future__ import annotations

from brainwires_provider.protocols.base.google import GoogleBase
from brainwires_provider.protocols.gemini.errors import decode_error
from brainwires_provider.protocols.gemini.models import decode_count
from brainwires_provider.protocols.gemini.options import GeminiOptions, GeminiQuirks
from brainwires_provider.protocols.gemini.request import encode_count, encode_request
from brainwires_provider.protocols.gemini.response import GeminiDecoder

__all__ = ["Gemini", "GeminiDecoder", "GeminiOptions", "GeminiQuirks"]


class Gemini(GoogleBase[GeminiQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one service.

    A service that ignores `alt=sse` sends an array, which is read as a whole body.
    """

    name = "gemini"
    quirks_type = GeminiQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decode_count = staticmethod(decode_count)
    count_call = encode_count
    decoder = GeminiDecoder
