"""OpenAI's Responses API, and the services that speak it with quirks of their own."""

from __future__ import annotations

from brainwires_provider.protocols.base.protocol import Call, ProtocolBase
from brainwires_provider.protocols.openai_chat.models import decode_page
from brainwires_provider.protocols.openai_responses.errors import decode_error
from brainwires_provider.protocols.openai_responses.models import decode_count, encode_count, models_call
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions, ResponsesQuirks
from brainwires_provider.protocols.openai_responses.request import encode_request
from brainwires_provider.protocols.openai_responses.response import ResponsesDecoder
from brainwires_provider.protocols.openai_responses.ws import ResponsesOverWebSocket

__all__ = ["OpenAIResponses", "OpenAIResponsesOptions", "ResponsesDecoder", "ResponsesQuirks"]


class OpenAIResponses(ProtocolBase[ResponsesQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are how one service differs from OpenAI's.

    Requests and responses are the same over HTTP and over a WebSocket; the framing is HTTP's.
    """

    name = "openai_responses"
    quirks_type = ResponsesQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decode_count = staticmethod(decode_count)
    decode_models = staticmethod(decode_page)
    count_call = encode_count
    decoder = ResponsesDecoder

    def __init__(self, quirks: ResponsesQuirks | None = None) -> None:
        super().__init__(quirks)
        self.websocket = ResponsesOverWebSocket(self.quirks)

    def models_call(self, after: str | None) -> Call:
        """`GET /models`; few services have pages."""
        return models_call(after, self.quirks)
