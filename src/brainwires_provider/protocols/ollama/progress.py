"""Reads the lines of a pull, push or creation: how far it has come, and at last that it succeeded.

Each line is an OpaqueDelta of kind "progress" whose data is the line, so that it goes the road that every answer goes.
`"status": "success"` is the end; an error object is an APIError, and a stream without either was cut. Reference: the
API reference, "Pull a model", "Push a model", "Create a model".
"""

from __future__ import annotations

from brainwires_provider.errors import StreamInterrupted
from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.ollama.errors import error_in_line
from brainwires_provider.types import Usage

__all__ = ["ProgressDecoder"]

_SUCCESS = "success"


class ProgressDecoder(DecoderBase):
    """One operation. See `base.protocol.Decoder`; there are no parts."""

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one line. An object without a status is passed over."""
        if self.ended:
            return []
        line = self.read_json(message.data)
        if line.get("error"):
            self.ended = True
            raise error_in_line(line, None, self.origin)
        status = line.get("status")
        if not isinstance(status, str):
            if status is not None or "message" in line or "response" in line:
                self.broken(f"not the shape of progress: {looks_like(message.data)}")
            return []
        self.parts.events.append(OpaqueDelta(None, "progress", line))
        if status == _SUCCESS:
            self.ended = True
            self.parts.events.append(ResponseEnd("stop", _SUCCESS, Usage()))
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body, of one line or several: some servers announce a stream as JSON."""
        framing = NDJSONFraming(len(body))
        lines = framing.feed(body) + framing.finish()[0]
        if not all(line.data.startswith(b"{") for line in lines):
            lines = [WireMessage(body)]
        events = [event for line in lines for event in self.feed(line)]
        return events + self.finish()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without success it was cut."""
        if self.ended:
            return []
        raise StreamInterrupted(
            "the stream ended before the operation did: no success was told",
            how="eof",
            provider=self.origin.provider,
            model=self.origin.model,
        )
