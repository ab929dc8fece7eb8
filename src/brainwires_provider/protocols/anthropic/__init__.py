"""Anthropic's Messages API: its own service, Amazon Bedrock's InvokeModel, Vertex AI, and compatible services."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.anthropic.errors import decode_error
from brainwires_provider.protocols.anthropic.models import (
    decode_count,
    decode_model,
    decode_page,
    model_call,
    models_call,
)
from brainwires_provider.protocols.anthropic.options import (
    BEDROCK_INVOKE,
    VERTEX,
    AnthropicOptions,
    AnthropicQuirks,
)
from brainwires_provider.protocols.anthropic.request import encode_count, encode_request
from brainwires_provider.protocols.anthropic.response import AnthropicDecoder, BedrockAnthropicDecoder
from brainwires_provider.protocols.base.protocol import Call, Decoder, ProtocolBase, Reply
from brainwires_provider.types import Model, Origin

__all__ = [
    "BEDROCK_INVOKE",
    "VERTEX",
    "AnthropicDecoder",
    "AnthropicMessages",
    "AnthropicOptions",
    "AnthropicQuirks",
]


class AnthropicMessages(ProtocolBase[AnthropicQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one cloud or service."""

    name = "anthropic_messages"
    state_fields = ("container",)
    """The fields of a response that the next request of a conversation repeats."""
    quirks_type = AnthropicQuirks
    encode = encode_request
    decode_count = staticmethod(decode_count)
    decode_model = staticmethod(decode_model)
    count_call = encode_count

    def __init__(self, quirks: AnthropicQuirks | None = None) -> None:
        super().__init__(quirks)
        if self.quirks.cloud == "bedrock":  # InvokeModel's stream is an AWS event stream
            self.framing = EventStreamFraming

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one response."""
        if self.quirks.cloud == "bedrock":
            return BedrockAnthropicDecoder(origin)
        return AnthropicDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        if self.quirks.cloud == "bedrock":
            # Deferred: only requests to Bedrock load what reads Bedrock's errors.
            from brainwires_provider.protocols.bedrock import errors as bedrock_errors

            return bedrock_errors.decode_error(reply)
        return decode_error(reply)

    def models_call(self, after: str | None) -> Call:
        """`GET /v1/models`, page by page, or a cloud's own list. Raises UnsupportedError where there is none."""
        return models_call(self.quirks, after)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(self.quirks, body, provider)

    def model_call(self, name: str) -> Call | None:
        """`GET /v1/models/{id}`, which knows aliases too; None where models are listed otherwise."""
        return model_call(self.quirks, name)
