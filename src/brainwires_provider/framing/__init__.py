"""Framings: how the bytes of a response body are split into messages (SSE, NDJSON, AWS event streams).

`base` defines the interface; there is one module for each format.
"""

from __future__ import annotations

from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, Framing, WireMessage
from brainwires_provider.framing.eventstream import EventStreamFraming, EventStreamMessage, HeaderValue
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.framing.whole import WholeFraming

__all__ = [
    "DEFAULT_MAX_MESSAGE",
    "EventStreamFraming",
    "EventStreamMessage",
    "Framing",
    "HeaderValue",
    "NDJSONFraming",
    "SSEFraming",
    "WholeFraming",
    "WireMessage",
]
