"""Amazon Bedrock's Converse and ConverseStream: one protocol for every model that Bedrock serves."""

from __future__ import annotations

from brainwires_provider.errors import APIError, ProtocolError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.bedrock.errors import decode_error
from brainwires_provider.protocols.bedrock.models import decode_page, page_call
from brainwires_provider.protocols.bedrock.options import BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.request import encode_count, encode_request
from brainwires_provider.protocols.bedrock.response import ConverseDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["BedrockConverse", "BedrockOptions", "BedrockQuirks", "ConverseDecoder"]


class BedrockConverse:
    """See `base.protocol.ChatProtocol`. A model is named by its id, an inference profile's id, or an ARN."""

    name = "bedrock_converse"

    def __init__(self, quirks: BedrockQuirks | None = None) -> None:
        self.quirks = quirks or BedrockQuirks()

    def framing(self, max_message: int) -> Framing:
        """AWS event streams."""
        return EventStreamFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """Raises UnsupportedError for what Converse cannot express."""
        return encode_request(request, origin, self.quirks, stream=stream)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one response."""
        return ConverseDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
        """`POST /model/{modelId}/count-tokens`, which takes foundation models' own ids, not those of profiles."""
        return encode_count(request, origin, self.quirks)

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"inputTokens": …}`. Raises ProtocolError."""
        try:
            value = decode_json(body)
        except ValueError:
            value = None
        count = value.get("inputTokens") if isinstance(value, dict) else None
        if type(count) is not int:
            raise ProtocolError(f"the body has no count of input tokens: {looks_like(body)}")
        return TokenCount(count, value)

    def models_call(self, after: str | None) -> Call:
        """`GET /foundation-models`, then `GET /inference-profiles`, at the control plane's host."""
        return page_call(after)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(body, provider)
