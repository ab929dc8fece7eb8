"""Message history → the messages of `/api/chat`: text, images, a thought and calls in a field each.

Each turn is encoded by itself, so that a longer history begins with the same messages as a shorter one. A result
names the tool, and the call's id only where the server gave one. A model's thought is sent back to that model, in
`thinking`. The API has no order among the text and the images of a message: an image after text is reported.
Reference: the API reference, "Generate a chat message", and the guides "Tool calling", "Thinking" and "Vision".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import in_order, is_text_file, part_name
from brainwires_provider.protocols.ollama.parts import PartEncoder
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["SEPARATOR", "HistoryEncoder"]

SEPARATOR = "\n\n"
"""Between the texts of one message, which the API takes as one."""
Wire = dict[str, Any]


class HistoryEncoder(PartEncoder):
    """Encodes the messages of one request."""

    def __init__(self, origin: Origin, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self._calls: dict[str, ToolCallPart] = {}

    def encode_messages(self, messages: Sequence[Message]) -> list[Wire]:
        """The messages, in order. Raises UnsupportedError for what the API cannot express."""
        encoded: list[Wire] = []
        for index, message in in_order(messages, self):
            self.at = (index,)
            if message.name is not None:
                self.drop_name(message)
            if message.role == "assistant":
                encoded.append(self._answer(message))
            elif ToolResultPart in map(type, message.content):
                encoded += self._results(message)
            else:
                encoded.append(self._plain(message))
        return encoded

    def encode_content(
        self, parts: Sequence[Part], places: Sequence[int] | None = None
    ) -> tuple[str, list[str]]:
        """The text and the images of a message with nothing else. Raises UnsupportedError.

        `places` are those of the parts in their message, where others are left out.
        """
        if len(parts) == 1 and type(parts[0]) is TextPart:
            return parts[0].text, []
        at = self.at
        texts: list[str] = []
        images: list[str] = []
        for index, part in zip(places or range(len(parts)), parts, strict=True):
            if type(part) is TextPart:
                texts.append(part.text)
                continue
            self.at = (*at, index)
            if isinstance(part, FilePart) and part.data is not None and is_text_file(part):
                texts.append(self.text_of(part))
                self.adapted("this API has no files: sent as text")
                continue
            if not isinstance(part, ImagePart):
                raise self.unsupported(f"Ollama takes text and images, not {part_name(part)}")
            images.append(self.encode_image(part))
            if any(texts):
                self.adapted("the images of a message stand before its text")
        self.at = at
        return SEPARATOR.join(texts), images

    # -- system, developer, user -----------------------------------------------------------------------------

    def _plain(self, message: Message) -> Wire:
        role: str = message.role
        if role == "tool":
            raise self.unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        if role == "developer":
            role = "system"
            reason = "this protocol has no developer role: sent as system"
            self.adapted(reason, ".role")
        wire = self._message(role, message.content)
        return wire if not message.extra else {**wire, **self.reader.take_extra(message)}

    def _message(self, role: str, parts: Sequence[Part], places: Sequence[int] | None = None) -> Wire:
        text, images = self.encode_content(parts, places)
        wire: Wire = {"role": role, "content": text}
        if images:
            wire["images"] = images
        return wire

    # -- tool results ----------------------------------------------------------------------------------------

    def _results(self, message: Message) -> list[Wire]:
        """A wire message for each result; what else a user's turn holds follows as a message of its own."""
        at = self.at
        results, others = self.split_results(message)
        encoded = []
        for index, part in results:
            self.at = (*at, index)
            encoded.append(self._result(part))
        self.at = at
        if others:
            places, parts = zip(*others, strict=True)
            wire = self._message(message.role, parts, places)
            encoded.append({**wire, **self.reader.take_extra(message)})
        return encoded

    def _result(self, part: ToolResultPart) -> Wire:
        call = self._calls.get(part.call_id)
        wire = self._message("tool", part.content)
        name = part.name or (call.name if call is not None else None)
        if name is not None:
            wire["tool_name"] = name
        if call is not None and call.id is not None and self.is_own(call):
            wire["tool_call_id"] = call.id
        self.report_error_flag(part, "")
        return wire if not part.extra else {**wire, **self.reader.take_extra(part)}

    # -- the assistant's turn --------------------------------------------------------------------------------

    def _answer(self, message: Message) -> Wire:
        wire: Wire = {"role": "assistant", "content": ""}
        at = self.at
        for index, part in enumerate(message.content):
            self.at = (*at, index)
            if type(part) is TextPart:
                wire["content"] += part.text
                if part.citations:
                    self.report_citations(part)
            else:
                self._add(part, wire)
        if message.extra and all(map(self.is_own, message.content)):
            wire.update(self.reader.take_extra(message))
        return wire

    def _add(self, part: Part, wire: Wire) -> None:
        match part:
            case RefusalPart():
                wire["content"] += part.text
                self.adapted("this protocol has no refusals: sent as text")
            case ReasoningPart():
                self._think(part, wire)
            case ToolCallPart():
                self._calls[part.call_id] = part
                wire.setdefault("tool_calls", []).append(self.encode_call(part))
            case ImagePart(data=bytes()):
                wire.setdefault("images", []).append(self.encode_image(part))
            case ToolResultPart():
                raise self.unsupported("a tool result belongs in a message of role tool")
            case _ if part.origin is None:
                raise self.unsupported(f"{part_name(part)} cannot be sent in an assistant's message")
            case _:
                self.dropped(f"{part_name(part)} is bound to the provider that made it")

    def _think(self, part: ReasoningPart, wire: Wire) -> None:
        """A thought without an origin is the caller's own, and is sent to any model."""
        reason = self.objection(part) if part.origin is not None else None
        if reason is not None:
            self.dropped(reason)
        elif part.text:
            known = wire.get("thinking")
            wire["thinking"] = part.text if known is None else f"{known}{SEPARATOR}{part.text}"
