"""The Brainwires relay: one endpoint, always streamed, that leads to the models of many vendors."""

from __future__ import annotations

from brainwires_provider.errors import APIError, UnsupportedError
from brainwires_provider.framing.base import Framing
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.protocol import Call, Decoder, Reply
from brainwires_provider.protocols.relay.errors import decode_error
from brainwires_provider.protocols.relay.models import decode_models
from brainwires_provider.protocols.relay.options import BrainwiresOptions, RelayQuirks
from brainwires_provider.protocols.relay.request import encode_request
from brainwires_provider.protocols.relay.response import RelayDecoder
from brainwires_provider.types import Model, Origin, Request, TokenCount

__all__ = ["BrainwiresOptions", "BrainwiresRelay", "RelayDecoder", "RelayQuirks"]

_NO_COUNT = "the relay has no call that counts tokens; an answer's usage has the count"


class BrainwiresRelay:
    """See `base.protocol.ChatProtocol`. The quirks are one relay's dialect."""

    name = "relay"

    def __init__(self, quirks: RelayQuirks | None = None) -> None:
        self.quirks = quirks or RelayQuirks()

    def framing(self, max_message: int) -> Framing:
        """Server-sent events."""
        return SSEFraming(max_message)

    def encode(self, request: Request, origin: Origin, *, stream: bool) -> Call:
        """`POST /api/chat/stream`, whose answer is streamed in any case. Raises UnsupportedError."""
        return encode_request(request, origin, self.quirks)

    def decoder(self, origin: Origin) -> Decoder:
        """A decoder for one answer."""
        return RelayDecoder(origin)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)

    def count_call(self, request: Request, origin: Origin) -> Call:
        """Raises UnsupportedError: the relay counts only while it answers."""
        raise UnsupportedError(_NO_COUNT, provider=origin.provider, model=origin.model)

    def decode_count(self, body: bytes) -> TokenCount:
        """Raises UnsupportedError."""
        raise UnsupportedError(_NO_COUNT)

    def models_call(self, after: str | None) -> Call:
        """`GET /api/models`, which has all models on one page."""
        return Call("/api/models", {}, method="GET")

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """Every model that the relay leads to. Raises ProtocolError."""
        return decode_models(body, provider), None
