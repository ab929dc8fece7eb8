"""Messages as Chat Completions takes them.

Each turn is encoded by itself, so that a longer history begins with the very items of a shorter one. What is bound to
the service or model that made it is sent back to that one only; the rest is reported, item by item.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    MessageEncoderBase,
    in_order,
    part_name,
    short_id,
    tool_name,
    wire_id,
)
from brainwires_provider.protocols.openai_chat.options import ChatQuirks
from brainwires_provider.protocols.openai_chat.parts import (
    REASONING_TEXTS,
    encode_image,
    encode_part,
    joined_blocks,
)
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

__all__ = ["cache_control", "encode_messages", "merge_system"]

# Fields of a message or call that a service wants back as it gave them: signatures, at Gemini's endpoint (2026-11,
# https://ai.google.dev/gemini-api/docs/thought-signatures), at LiteLLM's proxy (2026-11,
# https://docs.litellm.ai/docs/reasoning_content), and at GitHub Copilot's API (2026-01,
# https://github.com/anomalyco/opencode/pull/8900).
_REPLAYED = (
    "extra_content",
    "provider_specific_fields",
    "reasoning_opaque",
    "reasoning_text",
    "thinking_blocks",
)
_MEDIA_FOLLOW = "The result's files follow in the next message of the user."
_MEDIA_OF_RESULTS = "The files of the tool results above:"
_PLAIN = {"type", "text"}
_INSTEAD_OF_CONTENT = {"tool_calls", "refusal", "audio"}
_MEDIA = frozenset((ImagePart, FilePart))
Body = dict[str, Any]


def encode_messages(
    messages: Sequence[Message], origin: Origin, quirks: ChatQuirks, reader: OptionReader
) -> list[Body]:
    """The messages of the body, in order. Raises UnsupportedError for content that has no place in them."""
    encoder = _MessageEncoder(origin, quirks, reader)
    encoded: list[Body] = []
    for index, message in in_order(messages, encoder):
        if encoder.beside and message.role != "tool":
            encoded.append(encoder.media_message())
        encoder.at = (index,)
        encoded += encoder.encode_message(message)
    if encoder.beside:
        encoded.append(encoder.media_message())
    last = encoded[-1] if encoded else {}
    if quirks.prefix and last.get("role") == "assistant" and "tool_calls" not in last:
        encoded[-1]["prefix"] = True
    return encoded


def merge_system(messages: list[Body], reader: OptionReader) -> list[Body]:
    """For a service or model that takes one system message, the first: all of them in one."""
    systems = [message for message in messages if message["role"] == "system"]
    if len(systems) < 2 and systems == messages[: len(systems)]:
        return messages
    if systems == messages[: len(systems)]:
        reader.adapted("messages", "one system message is taken: all are merged")
    else:
        reader.weaken("messages", "one system message is taken, the first: all are merged into it")
    contents = [message["content"] for message in systems]
    if all(isinstance(content, str) for content in contents):
        merged: Any = "\n\n".join(contents)
    else:
        merged = [item for content in contents for item in _listed(content)]
    rest = [message for message in messages if message["role"] != "system"]
    return [{**systems[0], "content": merged}, *rest]


def _listed(content: Any) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def cache_control(mark: Cache) -> Body:
    """A cache mark as the services that take marks have it."""
    return {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})


class _MessageEncoder(MessageEncoderBase):
    def __init__(self, origin: Origin, quirks: ChatQuirks, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self._quirks = quirks
        self.beside: list[Body] = []
        """The media of the results so far, which the service takes only in a message of the user."""

    def is_own(self, part: Part) -> bool:
        """Chat Completions is spoken by many services: a part belongs to one of them, not to the protocol."""
        origin = part.origin
        return origin is None or (
            origin.protocol == self.origin.protocol and origin.provider == self.origin.provider
        )

    def encode_message(self, message: Message) -> Iterable[Body]:
        """One message; a tool result is a message of its own."""
        role: str = message.role
        if role == "assistant":
            return self._assistant(message)
        if role == "tool" or ToolResultPart in map(type, message.content):
            return self._tool_results(message)
        if role == "developer" and not self._quirks.developer_role:
            role = "system"
            self.adapted("this service has no developer role: sent as system", ".role")
        wire: Body = {"role": role, "content": self._content(message.content)}
        return (wire if message.name is None and not message.extra else self._with_own_fields(message, wire),)

    def _with_own_fields(self, message: Message, wire: Body) -> Body:
        if message.name is not None:
            wire["name"] = message.name
        if message.extra:
            wire.update(self.reader.take_extra(message))
        return wire

    def _content(self, parts: Sequence[Part]) -> str | list[Body]:
        if not parts:
            return ""
        only = parts[0]
        if len(parts) == 1 and type(only) is TextPart and not only.extra and only.cache is None:
            return only.text
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

    def _tool_results(self, message: Message) -> Iterable[Body]:
        """One message a result; what else a user's turn holds comes after, as a message of its own."""
        results, others = self.split_results(message)
        encoded = []
        for index, part in results:
            if part.is_error:
                self.report_error_flag(part, f".content[{index}]")
            content = self._result_content(part, index)
            wire = {"role": "tool", "tool_call_id": self._id(part.call_id), "content": content}
            encoded.append(wire | self.reader.take_extra(part) if part.extra else wire)
        if others and self.beside:
            encoded.append(self.media_message())
        if others:
            wire = {"role": message.role, "content": self._content([part for _, part in others])}
            encoded.append(self._with_own_fields(message, wire))
        return encoded

    def _result_content(self, part: ToolResultPart, index: int) -> str | list[Body]:
        """A result's content, and its mark. What is no text is kept for a message of the user."""
        parts = part.content
        media = [p for p in parts if type(p) in _MEDIA]
        if media and not self._quirks.media_results:
            parts = tuple(p for p in parts if p not in media) or (TextPart(_MEDIA_FOLLOW),)
            self.beside += [self._marked(encode_part(p, self, self._quirks), p) for p in media]
            reason = "a result takes text only: its media follow in a message of the user"
            self.emulated(reason, f".content[{index}]")
        content = self._content(parts)
        mark = None if part.cache is None or not self._quirks.cache_marks else self.reader.take_cache(part)
        if mark is None:
            return content
        content = _listed(content)
        content[-1:] = [{**content[-1], "cache_control": cache_control(mark)}]
        return content

    def media_message(self) -> Body:
        """The message of the user with the media of the results before it."""
        media, self.beside = self.beside, []
        return {"role": "user", "content": [{"type": "text", "text": _MEDIA_OF_RESULTS}, *media]}

    def _id(self, call_id: str) -> str:
        """A call's id as the service takes it."""
        if self._quirks.short_ids:
            return short_id(call_id)
        return call_id if len(call_id) <= 64 else wire_id(call_id, longest=64)

    # -- the assistant's turn ----------------------------------------------------------------------------

    def _assistant(self, message: Message) -> Iterable[Body]:
        wire: Body = {"role": "assistant"}
        content = self._assistant_content(message, wire)
        if content is not None or not wire.keys() & _INSTEAD_OF_CONTENT:
            wire["content"] = content or ""
        if not self._quirks.empty_turns and wire.get("content") == "" and "tool_calls" not in wire:
            self.dropped("nothing of this turn can be sent, and an empty one is refused")
            return ()
        missing = self._quirks.missing_reasoning
        if missing is not None and "tool_calls" in wire and not wire.get("reasoning_content"):
            wire["reasoning_content"] = missing
            self.adapted("this service refuses a turn with calls without reasoning: an empty one is sent")
        if message.extra or message.name is not None:
            self._replayed(message, wire)
        return (wire,)

    def _assistant_content(self, message: Message, wire: Body) -> str | list[Body] | None:
        """The content, joined where it is plain text; None where there is none. Other parts go to `wire`."""
        items: list[Body] = []
        is_plain = True
        for index, part in enumerate(message.content):
            item: Body | None
            if type(part) is TextPart:
                item = {"type": "text", "text": part.text}
                if part.citations:
                    self.report_citations(part, f".content[{index}]")
                if part.extra or part.cache is not None:
                    item = self._marked(item, part)
            elif type(part) is ToolCallPart:
                wire.setdefault("tool_calls", []).append(self._call(part, index))
                continue
            else:
                item = self._other_part(part, wire, f".content[{index}]")
            if item is not None:
                items.append(item)
                is_plain = is_plain and item.keys() == _PLAIN and item["type"] == "text"
        if not items:
            return None
        return "".join([item["text"] for item in items]) if is_plain else items

    def _other_part(self, part: Part, wire: Body, place: str) -> Body | None:
        """Add what is no text and no call to the message; what is an item of its content is returned instead."""
        match part:
            case ReasoningPart():
                return self._reasoning(part, wire, place)
            case RefusalPart():
                wire["refusal"] = wire.get("refusal", "") + part.text
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

    def _replayed(self, message: Message, wire: Body) -> None:
        """The turn's own fields: a caller's as they are, a model's only those that its service wants back."""
        if message.content and all(part.origin is None for part in message.content):
            self._with_own_fields(message, wire)
            return
        extra = message.extra or {}
        for name in _REPLAYED if extra and all(map(self.is_own, message.content)) else ():
            if name in extra:
                self._replay(name, extra[name], message.content, wire)
        if message.name is not None:
            wire["name"] = message.name

    def _replay(self, name: str, value: Any, parts: Sequence[Part], wire: Body, place: str = "") -> None:
        """A field that goes back as it came, what is signed only to the model that signed it."""
        if name == "extra_content" or all(map(self.is_own_model, parts)):
            wire[name] = joined_blocks(value) if name == "thinking_blocks" else value
        else:
            self.dropped("what is signed is bound to the model that made it", f"{place}.{name}")

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

    def _call(self, part: ToolCallPart, index: int) -> Body:
        call_id = part.call_id
        id = self._id(call_id)
        place = f".content[{index}]"
        kept = self._call_fields(part, place) if part.extra else {}
        name = tool_name(part.name, self._quirks.tool_names, self, place)
        if id != call_id:
            self.adapted(
                "this service takes only short ids: sent as another, as in its result", f"{place}.id"
            )
        if part.kind == "custom":
            custom = {"name": name, "input": part.arguments}
            return {"id": id, "type": "custom", "custom": custom, **kept}
        self.report_kind(part, place)
        # Without arguments: services that parse the text refuse an empty one.
        arguments = part.arguments if part.arguments.strip() else "{}"
        function = {"name": name, "arguments": arguments}
        return {"id": id, "type": "function", "function": function, **kept}

    def _call_fields(self, part: ToolCallPart, place: str) -> Body:
        """A call's own fields: as a turn's (`_replayed`)."""
        if part.origin is None:
            return self.reader.take_extra(part)
        kept: Body = {}
        extra = part.extra or {}
        for name in _REPLAYED if self.is_own(part) else ():
            if name in extra:
                self._replay(name, extra[name], (part,), kept, place)
        return kept

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
