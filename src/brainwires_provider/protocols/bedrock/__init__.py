"""Amazon Bedrock's Converse and ConverseStream: one protocol for every model that Bedrock serves."""

from __future__ import annotations

from functools import partial

from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.base.errors import count_in
from brainwires_provider.protocols.base.protocol import ProtocolBase
from brainwires_provider.protocols.bedrock.errors import decode_error, named_error
from brainwires_provider.protocols.bedrock.models import decode_page, page_call
from brainwires_provider.protocols.bedrock.options import BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.request import encode_count, encode_request
from brainwires_provider.protocols.bedrock.response import ConverseDecoder
from brainwires_provider.types import TokenCount

__all__ = ["BedrockConverse", "BedrockOptions", "BedrockQuirks", "ConverseDecoder"]


class BedrockConverse(ProtocolBase[BedrockQuirks]):
    """See `base.protocol.ChatProtocol`. A model is named by its id, an inference profile's id, or an ARN."""

    name = "bedrock_converse"
    quirks_type = BedrockQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    models_call = staticmethod(page_call)
    decode_models = staticmethod(decode_page)
    count_call = encode_count
    decoder = ConverseDecoder
    framing = EventStreamFraming

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"inputTokens": …}`. Raises ProtocolError, APIError."""
        return count_in(body, "inputTokens", refusal=partial(named_error, None, status=None))
