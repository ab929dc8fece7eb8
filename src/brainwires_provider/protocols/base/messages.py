"""What the encoders of message histories share: where a deviation is reported, who made a part, and arguments.

A history encoder sets `place` to the message or part that it encodes, by the name that the report has for it
(`"messages[2].content[0]"`).
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import Message, OpaquePart, Origin, Part, ToolCallPart, ToolResultPart

__all__ = ["INVALID_JSON", "MessageEncoder", "part_name"]

INVALID_JSON = "INVALID_JSON"
"""The member under which arguments that are no JSON object are sent, where a protocol takes only objects.

The key is the one that Anthropic's page on fine-grained tool streaming names for this.
"""


class MessageEncoder:
    """Base of the history encoders of all protocols."""

    def __init__(self, origin: Origin, reader: OptionReader) -> None:
        self.origin = origin
        self.reader = reader
        self.place = ""
        self.calls: dict[str, ToolCallPart] = {}
        """The calls of the messages so far, by `call_id`, for the results that answer them."""

    def unsupported(self, message: str) -> UnsupportedError:
        """The error for content that the protocol cannot express."""
        where = f"{self.place}: {message}" if self.place else message
        return UnsupportedError(where, provider=self.origin.provider, model=self.origin.model)

    # -- who made a part -------------------------------------------------------------------------------------

    def is_ours(self, part: Part) -> bool:
        """Whether a part came from a provider by this protocol."""
        return part.origin is not None and part.origin.protocol == self.origin.protocol

    def is_own(self, part: Part) -> bool:
        """Whether a part's protocol-specific content can be sent: the caller's own, or of this protocol."""
        return part.origin is None or part.origin.protocol == self.origin.protocol

    def is_same_model(self, part: Part) -> bool:
        """Whether the model that is asked made the part, by either of its names."""
        origin = part.origin
        if origin is None or not self.is_ours(part):
            return False
        asked = _bare(self.origin.model)
        return asked in (_bare(origin.model), _bare(origin.reported))

    # -- parts -----------------------------------------------------------------------------------------------

    def drop_name(self, message: Message) -> None:
        """For a protocol that has no names for speakers."""
        if message.name is not None:
            self.reader.dropped(f"{self.place}.name", "this protocol has no names for speakers")

    def take_own_extra(self, part: Part) -> dict[str, Any]:
        """The fields beside a part's content, if they are the caller's own or of this protocol."""
        return self.reader.take_extra(part) if part.extra and self.is_own(part) else {}

    def result_name(self, part: ToolResultPart) -> str | None:
        """The name of the tool whose result this is: its own, or that of the call it answers."""
        call = self.calls.get(part.call_id)
        return part.name or (call.name if call is not None else None)

    def encode_arguments(self, part: ToolCallPart) -> dict[str, Any]:
        """A call's arguments as the object that the protocol takes; text that is none is sent under INVALID_JSON."""
        if part.kind == "custom":
            return {"input": part.arguments}
        try:
            value = decode_json(part.arguments.encode("utf-8", "replace")) if part.arguments.strip() else {}
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        reason = f"the arguments are no JSON object: sent as the text under {INVALID_JSON!r}"
        self.reader.adapted(f"{self.place}.arguments", reason)
        return {INVALID_JSON: part.arguments}


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for messages."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


def _bare(model: str | None) -> str | None:
    return None if model is None else model.removeprefix("models/")
