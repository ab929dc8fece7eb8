"""The Brainwires relay: one endpoint, always streamed, that leads to the models of many vendors."""

from __future__ import annotations

from brainwires_provider.protocols.base.protocol import Call, ProtocolBase, Uncounted
from brainwires_provider.protocols.relay.errors import decode_error
from brainwires_provider.protocols.relay.models import decode_models
from brainwires_provider.protocols.relay.options import BrainwiresOptions, RelayQuirks
from brainwires_provider.protocols.relay.request import encode_request
from brainwires_provider.protocols.relay.response import RelayDecoder
from brainwires_provider.types import Model

__all__ = ["BrainwiresOptions", "BrainwiresRelay", "RelayDecoder", "RelayQuirks"]


class BrainwiresRelay(Uncounted, ProtocolBase[RelayQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are one relay's dialect."""

    name = "relay"
    quirks_type = RelayQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decoder = RelayDecoder

    def models_call(self, after: str | None) -> Call:
        """`GET /api/models`, which has all models on one page."""
        return Call("/api/models", {}, method="GET")

    def decode_models(self, body: bytes, provider: str) -> tuple[list[Model], str | None]:
        """Every model that the relay leads to. Raises ProtocolError."""
        return decode_models(body, provider), None
