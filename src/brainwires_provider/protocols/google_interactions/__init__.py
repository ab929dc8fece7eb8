"""Google's Interactions API, on AI Studio and on Vertex AI."""

from __future__ import annotations

from brainwires_provider.protocols.base.google import GoogleBase
from brainwires_provider.protocols.base.protocol import Uncounted
from brainwires_provider.protocols.google_interactions.errors import decode_error
from brainwires_provider.protocols.google_interactions.messages import StoredInteractions
from brainwires_provider.protocols.google_interactions.options import (
    GoogleInteractionsOptions,
    InteractionsQuirks,
)
from brainwires_provider.protocols.google_interactions.request import encode_request
from brainwires_provider.protocols.google_interactions.response import InteractionsDecoder

__all__ = ["GoogleInteractions", "GoogleInteractionsOptions", "InteractionsDecoder", "InteractionsQuirks"]


class GoogleInteractions(Uncounted, GoogleBase[InteractionsQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one service."""

    name = "google_interactions"
    quirks_type = InteractionsQuirks
    encode = encode_request
    decode_error = staticmethod(decode_error)
    decoder = InteractionsDecoder

    def __init__(self, quirks: InteractionsQuirks | None = None) -> None:
        super().__init__(quirks)
        self.stored = StoredInteractions(self.quirks)
