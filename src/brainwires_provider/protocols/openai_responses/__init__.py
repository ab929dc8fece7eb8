"""OpenAI's Responses API, and the services that speak it with quirks of their own."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Reply
from brainwires_provider.protocols.openai_chat.models import decode_page
from brainwires_provider.protocols.openai_responses.errors import decode_error
from brainwires_provider.protocols.openai_responses.models import decode_count, encode_count, models_call
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions, ResponsesQuirks
from brainwires_provider.protocols.openai_responses.request import encode_request
from brainwires_provider.protocols.openai_responses.response import ResponsesDecoder
from brainwires_provider.protocols.openai_responses.ws import ResponsesOverWebSocket
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["OpenAIResponses", "OpenAIResponsesOptions", "ResponsesDecoder", "ResponsesQuirks"]


class OpenAIResponses(ProtocolBase[ResponsesQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are how one service differs from OpenAI's.

    Requests and responses are the same over HTTP and over a WebSocket; the framing is HTTP's.
    """

    name = "openai_responses"
    quirks_type = ResponsesQuirks
    decoder = ResponsesDecoder

    def __init__(self, quirks: ResponsesQuirks | None = None) -> None:
        super().__init__(quirks)
        self.websocket = ResponsesOverWebSocket(self.quirks)

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError for content or tools that Responses does not have."""
        return encode_request(request, origin, self.quirks, facts, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /responses/input_tokens`. Raises UnsupportedError where the service has none."""
        return encode_count(request, origin, self.quirks, facts)

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"input_tokens": …}`. Raises ProtocolError."""
        return decode_count(body)

    def models_call(self, after: str | None) -> Call:
        """`GET /models`; few services have pages."""
        return models_call(after, self.quirks)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(body, provider)
