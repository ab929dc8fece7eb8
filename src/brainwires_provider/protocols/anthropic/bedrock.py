"""Claude's answers through Bedrock's InvokeModel: Messages events, each wrapped in a message of an AWS event stream.

A message named `chunk` holds `{"bytes": …}`, the base64 of one Messages event, and is read as that event. An exception
in the stream is Bedrock's own error. A whole body is a Messages body, unwrapped.
Reference: Amazon Bedrock's API reference, "InvokeModelWithResponseStream".
"""

from __future__ import annotations

import base64
import binascii
from typing import NoReturn

from brainwires_provider.events import Event
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.eventstream import EventStreamMessage
from brainwires_provider.protocols.anthropic.response import AnthropicDecoder
from brainwires_provider.protocols.base.json import looks_like

__all__ = ["BedrockAnthropicDecoder"]


class BedrockAnthropicDecoder(AnthropicDecoder):
    """One answer of InvokeModel or InvokeModelWithResponseStream. See `base.protocol.Decoder`."""

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one message of the event stream. One never heard of is passed over."""
        if self.ended:
            return []
        if not isinstance(message, EventStreamMessage):
            return super().feed(message)  # a gateway took it out of its wrapping
        if message.headers.get(":message-type") in ("exception", "error"):
            self._refused(message)
        return super().feed(WireMessage(self._event(message.data))) if message.event == "chunk" else []

    def _refused(self, message: EventStreamMessage) -> NoReturn:
        # Deferred: it would load all of Converse with the first request to Anthropic's own service.
        from brainwires_provider.protocols.bedrock.errors import error_in_stream

        body = self.read_json(message.data) if message.data.strip() else {}
        self.ended = True
        raise error_in_stream(message.headers, body, self.partial(), self.origin)

    def _event(self, data: bytes) -> bytes:
        told = self.read_json(data).get("bytes")
        try:
            return base64.b64decode(told or "", validate=True)
        except (TypeError, ValueError, binascii.Error):
            self.broken(f"a chunk of the stream is no base64: {looks_like(data)}")
