"""Google's Interactions API, on AI Studio and on Vertex AI."""

from __future__ import annotations

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts
from brainwires_provider.protocols.base.google import GoogleBase
from brainwires_provider.protocols.base.protocol import Call, Reply
from brainwires_provider.protocols.google_interactions.errors import decode_error
from brainwires_provider.protocols.google_interactions.messages import StoredInteractions
from brainwires_provider.protocols.google_interactions.options import (
    GoogleInteractionsOptions,
    InteractionsQuirks,
)
from brainwires_provider.protocols.google_interactions.request import encode_request
from brainwires_provider.protocols.google_interactions.response import InteractionsDecoder
from brainwires_provider.types import Origin, Request

__all__ = ["GoogleInteractions", "GoogleInteractionsOptions", "InteractionsDecoder", "InteractionsQuirks"]


class GoogleInteractions(GoogleBase[InteractionsQuirks]):
    """See `base.protocol.ChatProtocol`. The quirks are those of one service."""

    name = "google_interactions"
    quirks_type = InteractionsQuirks
    decoder = InteractionsDecoder

    def __init__(self, quirks: InteractionsQuirks | None = None) -> None:
        super().__init__(quirks)
        self.stored = StoredInteractions(self.quirks)

    def encode(self, request: Request, origin: Origin, *, stream: bool, facts: ModelFacts = UNKNOWN) -> Call:
        """Raises UnsupportedError for what the Interactions API cannot express."""
        return encode_request(request, origin, self.quirks, facts, stream=stream)

    def decode_error(self, reply: Reply) -> APIError:
        """The error of a refused request."""
        return decode_error(reply)
