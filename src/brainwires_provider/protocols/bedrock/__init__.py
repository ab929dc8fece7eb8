"""Amazon Bedrock's Converse and ConverseStream: one protocol for every model that Bedrock serves."""

from __future__ import annotations

from functools import partial

from brainwires_provider.errors import APIError
from brainwires_provider.framing.eventstream import EventStreamFraming
from brainwires_provider.protocols.base.errors import count_in
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Reply
from brainwires_provider.protocols.bedrock.errors import decode_error, named_error
from brainwires_provider.protocols.bedrock.models import decode_page, page_call
from brainwires_provider.protocols.bedrock.options import BedrockOptions, BedrockQuirks
from brainwires_provider.protocols.bedrock.request import encode_count, encode_request
from brainwires_provider.protocols.bedrock.response import ConverseDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["BedrockConverse", "BedrockOptions", "BedrockQuirks", "ConverseDecoder"]


class BedrockConverse(ProtocolBase[BedrockQuirks]):
    """See `base.protocol.ChatProtocol`. A model is named by its id, an inference profile's id, or an ARN."""

    name = "bedrock_converse"
    quirks_type = BedrockQuirks
    decoder = ConverseDecoder
    framing = EventStreamFraming

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError for what Converse cannot express."""
        return encode_request(request, origin, self.quirks, facts, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin, facts: ModelFacts = UNKNOWN) -> Call:
        """`POST /model/{modelId}/count-tokens`, which takes foundation models' own ids, not those of profiles."""
        return encode_count(request, origin, self.quirks, facts)

    def decode_count(self, body: bytes) -> TokenCount:
        """The count of `{"inputTokens": …}`. Raises ProtocolError, APIError."""
        return count_in(body, "inputTokens", refusal=partial(named_error, None, status=None))

    def models_call(self, after: str | None) -> Call:
        """`GET /foundation-models`, then `GET /inference-profiles`, at the control plane's host."""
        return page_call(after)

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """One page, and the cursor of the next. Raises ProtocolError."""
        return decode_page(body, provider)
