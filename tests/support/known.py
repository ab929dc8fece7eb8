"""Requests encoded as a client encodes them: with the facts that the table has of their model."""

from __future__ import annotations

from brainwires_provider.protocols.base.protocol import Call, ChatProtocol
from brainwires_provider.providers.facts import facts_of
from brainwires_provider.types import Origin, Request

__all__ = ["count_known", "encode_known"]


def encode_known(protocol: ChatProtocol, request: Request, origin: Origin, *, stream: bool) -> Call:
    """See `ChatProtocol.encode`."""
    facts = facts_of(str(request.model), origin.provider)
    return protocol.encode(request, origin, stream=stream, facts=facts)


def count_known(protocol: ChatProtocol, request: Request, origin: Origin) -> Call:
    """See `ChatProtocol.count_call`."""
    return protocol.count_call(request, origin, facts_of(str(request.model), origin.provider))
