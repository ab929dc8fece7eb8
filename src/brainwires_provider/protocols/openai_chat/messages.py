"""Messages as Chat Completions wants them.

Each turn is encoded by itself, so that a longer history begins with the very items of a shorter one. What is
bound to the service or model that made it goes back to that one only; the rest is reported, item by item.
"""

from __future__ import annotations

import base64
from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.openai_chat.quirks import ChatQuirks
from brainwires_provider.protocols.openai_chat.reasoning import REASONING_TEXTS
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

__all__ = ["HistoryEncoder", "cache_control"]

# Fields of a message or call that a service wants back as it gave them: signatures, at Gemini's endpoint.
_REPLAYED = ("extra_content",)
_PLAIN = {"type", "text"}
_INSTEAD_OF_CONTENT = {"tool_calls", "refusal", "audio"}
_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


class HistoryEncoder:
    """Encodes the messages of one request; `reader` gathers what is not sent as it was given."""

    def __init__(self, origin: Origin, quirks: ChatQuirks, reader: OptionReader) -> None:
        self._origin = origin
        self._quirks = quirks
        self._reader = reader
        self._index = 0

    def encode(self, messages: tuple[Message, ...]) -> list[dict[str, Any]]:
        """The wire's messages, in order."""
        encoded: list[dict[str, Any]] = []
        for self._index, message in enumerate(messages):
            if message.role == "assistant":
                encoded.append(self._assistant(message))
            elif ToolResultPart in map(type, message.content):
                encoded += self._tool_results(message)
            else:
                encoded.append(self._plain(message))
        return encoded

    def _dropped(self, reason: str, part: str) -> None:
        self._reader.dropped(f"messages[{self._index}]{part}", reason)

    def _unsupported(self, message: str) -> UnsupportedError:
        where = f"messages[{self._index}]: {message}"
        return UnsupportedError(where, provider=self._origin.provider, model=self._origin.model)

    # -- system, developer, user -------------------------------------------------------------------------

    def _plain(self, message: Message) -> dict[str, Any]:
        role: str = message.role
        if role == "tool":
            raise self._unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        if role == "developer" and not self._quirks.developer_role:
            role = "system"
            self._reader.adapted(
                f"messages[{self._index}].role", "this service has no developer role: sent as system"
            )
        wire: dict[str, Any] = {"role": role, "content": self._content(message.content)}
        return self._named(message, wire)

    def _named(self, message: Message, wire: dict[str, Any]) -> dict[str, Any]:
        if message.name is not None:
            wire["name"] = message.name
        if message.extra:
            wire.update(self._reader.take_extra(message))
        return wire

    def _content(self, parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
        if not parts:
            return ""
        if len(parts) == 1 and type(parts[0]) is TextPart and not parts[0].extra and parts[0].cache is None:
            return parts[0].text
        return [self._item(part) for part in parts]

    def _item(self, part: Part) -> dict[str, Any]:
        """One content item of a user's, system's or tool's message."""
        match part:
            case TextPart():
                item: dict[str, Any] = {"type": "text", "text": part.text}
            case ImagePart():
                item = self._image(part)
            case FilePart():
                item = self._file(part)
            case OpaquePart() if isinstance(part.data, dict) and self._is_ours(part):
                return dict(part.data)
            case _:
                raise self._unsupported(f"{_name(part)} cannot be sent in a message of this role")
        return self._own(item, part)

    def _is_ours(self, part: Part) -> bool:
        origin = part.origin
        return origin is None or (
            origin.protocol == self._origin.protocol and origin.provider == self._origin.provider
        )

    def _own(self, item: dict[str, Any], part: Part) -> dict[str, Any]:
        """Add what the caller has set beside a part's content: fields of one service, and a cache mark."""
        if part.extra and part.origin is None:
            item.update(self._reader.take_extra(part))
        return self._marked(item, part)

    def _marked(self, item: dict[str, Any], part: Part) -> dict[str, Any]:
        if self._quirks.cache_marks and (mark := self._reader.take_cache(part)) is not None:
            item["cache_control"] = cache_control(mark)
        return item

    def _image(self, part: ImagePart) -> dict[str, Any]:
        if part.file_id is not None:
            raise self._unsupported("Chat Completions takes images as data or URL, not by file_id")
        image = {"url": part.url or self._data_url(part)}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def _data_url(self, part: ImagePart | FilePart) -> str:
        if part.media_type is None:
            raise self._unsupported(f"{_name(part)} needs its media_type: the bytes do not tell it")
        return f"data:{part.media_type};base64,{_base64(part)}"

    def _file(self, part: FilePart) -> dict[str, Any]:
        media_type = part.media_type or ""
        if media_type.startswith("audio/"):
            return self._audio(part)
        if media_type.startswith("video/"):
            if not self._quirks.video or part.file_id is not None:
                raise self._unsupported("this service takes no video through Chat Completions")
            return {"type": "video_url", "video_url": {"url": part.url or self._data_url(part)}}
        if self._quirks.documents == "document_url":
            if part.file_id is not None:
                return {"type": "file", "file_id": part.file_id}
            return {"type": "document_url", "document_url": part.url or self._data_url(part)}
        if self._quirks.documents == "file_url":
            return self._file_url(part)
        if part.file_id is not None:
            return {"type": "file", "file": {"file_id": part.file_id}}
        if part.url is not None and not self._quirks.file_urls:
            raise self._unsupported(
                "this service takes files as data or file_id, not by URL; URLs are never fetched"
            )
        file = {"file_data": part.url or self._data_url(part), "filename": part.name or "file"}
        return {"type": "file", "file": file}

    def _file_url(self, part: FilePart) -> dict[str, Any]:
        if part.file_id is not None:
            raise self._unsupported("this service takes files as data or by URL, not by file_id")
        named = {} if part.name is None else {"file_name": part.name}
        return {"type": "file_url", "file_url": {"url": part.url or _base64(part)}, **named}

    def _audio(self, part: FilePart) -> dict[str, Any]:
        if part.file_id is not None:
            raise self._unsupported("Chat Completions takes audio as data, not by file_id")
        if self._quirks.audio == "text":
            return {"type": "input_audio", "input_audio": part.url or _base64(part)}
        if part.url is not None:
            raise self._unsupported("this service takes audio as data, not by URL; URLs are never fetched")
        media_type = part.media_type or ""
        form = _AUDIO_FORMATS.get(media_type, media_type.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": _base64(part), "format": form}}

    # -- tool results ------------------------------------------------------------------------------------

    def _tool_results(self, message: Message) -> list[dict[str, Any]]:
        """One wire message a result; what else a user's turn holds comes after, as a message of its own."""
        encoded = []
        others: list[Part] = []
        for part in message.content:
            if not isinstance(part, ToolResultPart):
                others.append(part)
                continue
            if part.is_error:
                self._dropped("this protocol has no error flag: the text goes as it is", ".is_error")
            content = self._content(part.content)
            encoded.append(
                {
                    "role": "tool",
                    "tool_call_id": part.call_id,
                    "content": content,
                    **self._reader.take_extra(part),
                }
            )
        if others:
            if message.role == "tool":
                raise self._unsupported("a tool message takes ToolResultParts only")
            wire = {"role": message.role, "content": self._content(tuple(others))}
            encoded.append(self._named(message, wire))
        return encoded

    # -- the assistant's turn ----------------------------------------------------------------------------

    def _assistant(self, message: Message) -> dict[str, Any]:
        wire: dict[str, Any] = {"role": "assistant"}
        pieces: list[dict[str, Any]] = []
        for index, part in enumerate(message.content):
            piece = self._assistant_part(part, wire, f".content[{index}]")
            if piece is not None:
                pieces.append(piece)
        if pieces:
            plain = all(piece.keys() == _PLAIN and piece["type"] == "text" for piece in pieces)
            wire["content"] = "".join(piece["text"] for piece in pieces) if plain else pieces
        elif not wire.keys() & _INSTEAD_OF_CONTENT:
            wire["content"] = ""
        return self._replayed(message, wire)

    def _assistant_part(self, part: Part, wire: dict[str, Any], at: str) -> dict[str, Any] | None:
        """Add one part to the message; what is a piece of its content is given back instead."""
        match part:
            case TextPart():
                if part.citations:
                    self._dropped("citations cannot be sent back", f"{at}.citations")
                return self._own({"type": "text", "text": part.text}, part)
            case ReasoningPart():
                return self._reasoning(part, wire, at)
            case RefusalPart():
                wire["refusal"] = wire.get("refusal", "") + part.text
            case ToolCallPart():
                wire.setdefault("tool_calls", []).append(self._call(part, at))
            case OpaquePart() if self._is_ours(part):
                if not isinstance(part.data, dict):
                    raise self._unsupported(f"{_name(part)} has data that is no JSON object")
                return dict(part.data)
            case ImagePart() | FilePart():
                self._media(part, wire, at)
            case ToolResultPart():
                raise self._unsupported("a tool result belongs in a message of role tool")
            case _:
                self._dropped(f"{_name(part)} is bound to who made it", at)
        return None

    def _replayed(self, message: Message, wire: dict[str, Any]) -> dict[str, Any]:
        """The turn's own fields: a user's as they are, a model's only those that its service wants back."""
        if message.content and all(part.origin is None for part in message.content):
            return self._named(message, wire)
        if message.extra and all(self._is_ours(part) for part in message.content):
            wire.update({k: message.extra[k] for k in _REPLAYED if k in message.extra})
        if message.name is not None:
            wire["name"] = message.name
        return wire

    def _reasoning(self, part: ReasoningPart, wire: dict[str, Any], at: str) -> dict[str, Any] | None:
        """Reasoning under the names it came by; returns a content item where it was one."""
        extra = part.extra or {}
        names = extra.get("fields") or ()
        if part.origin is None or type(names) not in (list, tuple) or not names or not self._is_ours(part):
            self._dropped("reasoning goes back only to the service that it came from", at)
            return None
        if not self._quirks.replay_reasoning:
            self._dropped("this service does not take reasoning back", at)
            return None
        if "content" in names:
            rest = {k: v for k, v in extra.items() if k not in ("fields", "thinking")}
            texts = [{"type": "text", "text": part.text}, *extra.get("thinking", ())]
            return {"type": "thinking", "thinking": texts, **rest}
        details = extra.get("reasoning_details")
        if details:
            if self._same_model(part.origin):
                wire["reasoning_details"] = [*wire.get("reasoning_details", ()), *details]
            else:
                reason = "signed or encrypted reasoning is bound to the model that made it"
                self._dropped(reason, f"{at}.reasoning_details")
        for name in names:
            if name in REASONING_TEXTS:
                wire[name] = wire.get(name, "") + part.text
        return None

    def _same_model(self, origin: Origin) -> bool:
        return self._origin.model in (origin.model, origin.reported)

    def _call(self, part: ToolCallPart, at: str) -> dict[str, Any]:
        if part.origin is None:
            kept = self._reader.take_extra(part)
        else:
            kept = {k: v for k, v in (part.extra or {}).items() if k in _REPLAYED and self._is_ours(part)}
        if part.kind == "custom":
            custom = {"name": part.name, "input": part.arguments}
            return {"id": part.call_id, "type": "custom", "custom": custom, **kept}
        if part.kind != "function":
            reason = f"a call of kind {part.kind!r} is sent as a function call"
            self._reader.emulated(f"messages[{self._index}]{at}", reason)
        # Without arguments: services that parse the text refuse an empty one.
        arguments = part.arguments if part.arguments.strip() else "{}"
        function = {"name": part.name, "arguments": arguments}
        return {"id": part.call_id, "type": "function", "function": function, **kept}

    def _media(self, part: ImagePart | FilePart, wire: dict[str, Any], at: str) -> None:
        """Media that the model made: sound goes back by its id, images as they came."""
        id = (part.extra or {}).get("id")
        if isinstance(part, FilePart) and id and part.origin is not None and self._is_ours(part):
            wire["audio"] = {"id": id}
        elif isinstance(part, ImagePart) and part.origin is not None and self._is_ours(part):
            wire.setdefault("images", []).append(self._image(part))
        elif part.origin is None:
            raise self._unsupported("Chat Completions takes no media in an assistant's message")
        else:
            self._dropped("media of another service's model cannot be sent as the assistant's", at)


def cache_control(mark: Cache) -> dict[str, Any]:
    """A cache mark as the services that take marks have it."""
    return {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})


def _base64(part: ImagePart | FilePart) -> str:
    return base64.b64encode(part.data or b"").decode()


def _name(part: Part) -> str:
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__
