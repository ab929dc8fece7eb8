"""Reads a stream's bytes as the request path reads them."""

from __future__ import annotations

from collections.abc import Iterable

from brainwires_provider.events import Event
from brainwires_provider.framing.base import Framing
from brainwires_provider.protocols.base.bodies import feed_rest
from brainwires_provider.protocols.base.protocol import Decoder

__all__ = ["read_stream"]


def read_stream(
    framing: Framing, decoder: Decoder, chunks: Iterable[bytes], events: list[Event]
) -> list[Event]:
    """The events of a body that comes in chunks, appended to `events`. Raises what the decoder raises."""
    for chunk in chunks:
        for message in framing.feed(chunk):
            if decoder.ended:
                return events
            events += decoder.feed(message)
    if not decoder.ended:
        feed_rest(decoder, *framing.finish(), events)
    return events
