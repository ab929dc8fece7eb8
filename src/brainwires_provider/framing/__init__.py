"""Framings: how each wire cuts its bytes into messages.

`base` says what a framing is; there is one module for each kind of stream.
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
