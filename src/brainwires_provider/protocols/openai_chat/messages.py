"""Messages as Chat Completions takes them.

Each turn is encoded by itself, so that a longer history begins with the very items of a shorter one. What is bound to
the service or model that made it is sent back to that one only; the rest is reported, item by item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import MessageEncoderBase, part_name
from brainwires_provider.protocols.openai_chat.options import ChatQuirks
from brainwires_provider.protocols.openai_chat.parts import REASONING_TEXTS, encode_image, encode_part
from brainwires_provider.types import (
    Cache,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["cache_control", "encode_messages"]

# Fields of a message or call that a service wants back as it gave them: signatures, at Gemini's endpoint.
_REPLAYED = ("extra_content",)
_PLAIN = {"type", "text"}
_INSTEAD_OF_CONTENT = {"tool_calls", "refusal", "audio"}
Body = dict[str, Any]


def encode_messages(
    messages: Sequence[Message], origin: Origin, quirks: ChatQuirks, reader: OptionReader
) -> list[Body]:
    """The messages of the body, in order. Raises UnsupportedError for content that has no place in them."""
    encoder = _MessageEncoder(origin, quirks, reader)
    encoded: list[Body] = []
    for index, message in enumerate(messages):
        encoder.where = f"messages[{index}]"
        encoded += encoder.encode_message(message)
    return encoded


def cache_control(mark: Cache) -> Body:
    """A cache mark as the services that take marks have it."""
    return {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})


class _MessageEncoder(MessageEncoderBase):
    def __init__(self, origin: Origin, quirks: ChatQuirks, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self._quirks = quirks

    def is_own(self, part: Part) -> bool:
        """Chat Completions is spoken by many services: a part belongs to one of them, not to the protocol."""
        origin = part.origin
        return origin is None or (
            origin.protocol == self.origin.protocol and origin.provider == self.origin.provider
        )

    def encode_message(self, message: Message) -> list[Body]:
        """One message; a tool result is a message of its own."""
        if message.role == "assistant":
            return [self._assistant(message)]
        if message.role == "tool" or ToolResultPart in map(type, message.content):
            return self._tool_results(message)
        role: str = message.role
        if role == "developer" and not self._quirks.developer_role:
            role = "system"
            self.adapted("this service has no developer role: sent as system", ".role")
        return [self._with_own_fields(message, {"role": role, "content": self._content(message.content)})]

    def _with_own_fields(self, message: Message, wire: Body) -> Body:
        if message.name is not None:
            wire["name"] = message.name
        if message.extra:
            wire.update(self.reader.take_extra(message))
        return wire

    def _content(self, parts: Sequence[Part]) -> str | list[Body]:
        if not parts:
            return ""
        if len(parts) == 1 and type(parts[0]) is TextPart and not parts[0].extra and parts[0].cache is None:
            return parts[0].text
        return [self._marked(encode_part(part, self, self._quirks), part) for part in parts]

    def _marked(self, item: Body, part: Part) -> Body:
        """Add what the caller has set beside a part's content: fields of one service, and a cache mark."""
        if isinstance(part, OpaquePart):
            return item
        if part.extra and part.origin is None:
            item.update(self.reader.take_extra(part))
        if self._quirks.cache_marks and (mark := self.reader.take_cache(part)) is not None:
            item["cache_control"] = cache_control(mark)
        return item

    # -- tool results ------------------------------------------------------------------------------------

    def _tool_results(self, message: Message) -> list[Body]:
        """One message a result; what else a user's turn holds comes after, as a message of its own."""
        results, others = self.split_results(message)
        encoded = []
        for index, part in results:
            self.report_error_flag(part, f".content[{index}]")
            wire = {"role": "tool", "tool_call_id": part.call_id, "content": self._content(part.content)}
            encoded.append(wire | self.reader.take_extra(part))
        if others:
            wire = {"role": message.role, "content": self._content([part for _, part in others])}
            encoded.append(self._with_own_fields(message, wire))
        return encoded

    # -- the assistant's turn ----------------------------------------------------------------------------

    def _assistant(self, message: Message) -> Body:
        wire: Body = {"role": "assistant"}
        items: list[Body] = []
        for index, part in enumerate(message.content):
            item = self._assistant_part(part, wire, f".content[{index}]")
            if item is not None:
                items.append(item)
        if items:
            is_plain = all(item.keys() == _PLAIN and item["type"] == "text" for item in items)
            wire["content"] = "".join(item["text"] for item in items) if is_plain else items
        elif not wire.keys() & _INSTEAD_OF_CONTENT:
            wire["content"] = ""
        return self._replayed(message, wire)

    def _assistant_part(self, part: Part, wire: Body, place: str) -> Body | None:
        """Add one part to the message; what is an item of its content is returned instead."""
        match part:
            case TextPart():
                self.report_citations(part, place)
                return self._marked({"type": "text", "text": part.text}, part)
            case ReasoningPart():
                return self._reasoning(part, wire, place)
            case RefusalPart():
                wire["refusal"] = wire.get("refusal", "") + part.text
            case ToolCallPart():
                wire.setdefault("tool_calls", []).append(self._call(part, place))
            case OpaquePart() if self.is_own(part):
                if not isinstance(part.data, dict):
                    raise self.unsupported(f"{part_name(part)} has data that is no JSON object")
                return dict(part.data)
            case ImagePart() | FilePart():
                self._media(part, wire, place)
            case ToolResultPart():
                raise self.unsupported("a tool result belongs in a message of role tool")
            case _:
                self.dropped(f"{part_name(part)} is bound to the provider that made it", place)
        return None

    def _replayed(self, message: Message, wire: Body) -> Body:
        """The turn's own fields: a caller's as they are, a model's only those that its service wants back."""
        if message.content and all(part.origin is None for part in message.content):
            return self._with_own_fields(message, wire)
        if message.extra and all(self.is_own(part) for part in message.content):
            wire.update({k: message.extra[k] for k in _REPLAYED if k in message.extra})
        if message.name is not None:
            wire["name"] = message.name
        return wire

    def _reasoning(self, part: ReasoningPart, wire: Body, place: str) -> Body | None:
        """Reasoning under the names it came by; returns a content item where it was one."""
        extra = part.extra or {}
        names = extra.get("fields") or ()
        if part.origin is None or type(names) not in (list, tuple) or not names or not self.is_own(part):
            self.dropped("reasoning is sent back only to the service that it came from", place)
            return None
        if not self._quirks.replay_reasoning:
            self.dropped("this service does not take reasoning back", place)
            return None
        if "content" in names:
            rest = {k: v for k, v in extra.items() if k not in ("fields", "thinking")}
            texts = [{"type": "text", "text": part.text}, *extra.get("thinking", ())]
            return {"type": "thinking", "thinking": texts, **rest}
        details = extra.get("reasoning_details")
        if details and self.is_own_model(part):
            wire["reasoning_details"] = [*wire.get("reasoning_details", ()), *details]
        elif details:
            reason = "signed or encrypted reasoning is bound to the model that made it"
            self.dropped(reason, f"{place}.reasoning_details")
        for name in names:
            if name in REASONING_TEXTS:
                wire[name] = wire.get(name, "") + part.text
        return None

    def _call(self, part: ToolCallPart, place: str) -> Body:
        if part.origin is None:
            kept = self.reader.take_extra(part)
        else:
            kept = {k: v for k, v in (part.extra or {}).items() if k in _REPLAYED and self.is_own(part)}
        if part.kind == "custom":
            custom = {"name": part.name, "input": part.arguments}
            return {"id": part.call_id, "type": "custom", "custom": custom, **kept}
        self.report_kind(part, place)
        # Without arguments: services that parse the text refuse an empty one.
        arguments = part.arguments if part.arguments.strip() else "{}"
        function = {"name": part.name, "arguments": arguments}
        return {"id": part.call_id, "type": "function", "function": function, **kept}

    def _media(self, part: ImagePart | FilePart, wire: Body, place: str) -> None:
        """Media that the model made: sound is sent back by its id, images as they came."""
        if part.origin is None:
            raise self.unsupported("Chat Completions takes no media in an assistant's message")
        id = (part.extra or {}).get("id")
        if self.is_own(part) and isinstance(part, FilePart) and id:
            wire["audio"] = {"id": id}
        elif self.is_own(part) and isinstance(part, ImagePart):
            wire.setdefault("images", []).append(encode_image(part, self))
        else:
            self.dropped("media of another service's model cannot be sent as the assistant's", place)
