"""Messages as the input items that Responses wants.

Each turn is encoded by itself, so that a longer history begins with the very items of a shorter one. Only the
leading system messages become instructions; a later one is an item, where it stands.
"""

from __future__ import annotations

import base64
from typing import Any

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.openai_responses.answers import ANSWER_KINDS, AnswerError, answer_item
from brainwires_provider.protocols.openai_responses.items import BY_KIND
from brainwires_provider.protocols.openai_responses.options import ResponsesQuirks
from brainwires_provider.protocols.openai_responses.replay import Turn, part_name, shape_of
from brainwires_provider.types import (
    Cache,
    Deviation,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Origin,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder"]

_AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_BY_ANSWER = {shape.answer: shape for shape in BY_KIND.values()}
Item = dict[str, Any]


class HistoryEncoder:
    """Encodes the messages of one request; `deviations` gathers what did not go out as given."""

    def __init__(self, origin: Origin, quirks: ResponsesQuirks, deviations: list[Deviation]) -> None:
        self._origin = origin
        self._quirks = quirks
        self._deviations = deviations
        self._where = ""
        self._calls: dict[str, ToolCallPart] = {}

    def encode(self, messages: tuple[Message, ...]) -> tuple[str | None, list[Item]]:
        """The instructions, if there are any, and the input items in order."""
        leading = 0
        while leading < len(messages) and self._is_instruction(messages[leading]):
            leading += 1
        instructions = "\n\n".join(message.text for message in messages[:leading]) if leading else None
        items: list[Item] = []
        for index, message in enumerate(messages[leading:], leading):
            self._where = f"messages[{index}]"
            if message.name is not None:
                self._report("dropped", "this protocol has no names for speakers", ".name")
            if message.role == "assistant":
                items += Turn(message, self._origin, self._where, self._deviations).items()
                self._calls |= {call.call_id: call for call in message.tool_calls}
            else:
                items += self._turn(message)
        return instructions, items

    def _is_instruction(self, message: Message) -> bool:
        """Plain leading text; what bears a mark or fields of its own stays an item, where it can keep them."""
        return (
            message.role == "system"
            and not message.extra
            and message.name is None
            and all(
                isinstance(p, TextPart) and not p.extra and (p.cache is None or not self._quirks.cache_marks)
                for p in message.content
            )
        )

    def _report(self, outcome: Any, reason: str, part: str = "") -> None:
        self._deviations.append(Deviation(self._where + part, outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        where = f"{self._where}: {message}"
        return UnsupportedError(where, provider=self._origin.provider, model=self._origin.model)

    # -- system, developer, user, tool -----------------------------------------------------------------------

    def _turn(self, message: Message) -> list[Item]:
        """Results and whole items stand by themselves; what is said around them is a message."""
        items: list[Item] = []
        said: list[Part] = []
        for part in message.content:
            if not isinstance(part, ToolResultPart) and not _is_item(part):
                said.append(part)
                continue
            if said:
                items.append(self._said(message, tuple(said)))
                said = []
            items.append(self._result(part) if isinstance(part, ToolResultPart) else self._own(part))
        if said or not message.content:
            items.append(self._said(message, tuple(said)))
        return items

    def _said(self, message: Message, parts: tuple[Part, ...]) -> Item:
        role: str = message.role
        if role == "tool":
            raise self._unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        if role == "developer" and not self._quirks.developer_role:
            role = "system"
            self._report("adapted", "this service has no developer role: sent as system", ".role")
        return {"role": role, "content": self._content(parts), **(message.extra or {})}

    def _own(self, part: Part) -> Item:
        """An item that the caller made (an item_reference, a compaction_trigger), or had of this protocol."""
        assert isinstance(part, OpaquePart)
        if not isinstance(part.data, dict) or (
            part.origin is not None and part.origin.protocol != self._origin.protocol
        ):
            raise self._unsupported(f"{part_name(part)} is no item of this protocol")
        return dict(part.data)

    def _content(self, parts: tuple[Part, ...]) -> str | list[Item]:
        if not parts:
            return ""
        only = parts[0]
        if len(parts) == 1 and isinstance(only, TextPart) and not only.extra and only.cache is None:
            return only.text
        return [self._piece(part) for part in parts]

    def _piece(self, part: Part) -> Item:
        """One piece of a user's, system's or tool's content."""
        match part:
            case TextPart():
                piece: Item = {"type": "input_text", "text": part.text}
            case ImagePart():
                piece = self._image(part)
            case FilePart():
                piece = self._file(part)
            case OpaquePart() if isinstance(part.data, dict):
                return dict(part.data)
            case _:
                raise self._unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        if part.extra and part.origin is None:
            piece.update(part.extra)
        return self._marked(piece, part.cache)

    def _marked(self, piece: Item, cache: Cache | None) -> Item:
        if cache is not None and self._quirks.cache_marks:
            piece["prompt_cache_breakpoint"] = {"mode": "explicit"} | (
                {"ttl": cache.ttl} if cache.ttl else {}
            )
        elif cache is not None:
            self._report("dropped", "this service caches by itself and takes no marks", ".cache")
        return piece

    # -- media -----------------------------------------------------------------------------------------------

    def _image(self, part: ImagePart) -> Item:
        piece: Item = {"type": "input_image"}
        if part.file_id is not None:
            piece["file_id"] = part.file_id
        else:
            piece["image_url"] = part.url or self._data_url(part)
        if part.detail is not None:
            piece["detail"] = part.detail
        return piece

    def _data_url(self, part: ImagePart | FilePart) -> str:
        if part.media_type is None:
            raise self._unsupported(f"{part_name(part)} needs its media_type: the bytes do not tell it")
        return f"data:{part.media_type};base64,{_base64(part)}"

    def _file(self, part: FilePart) -> Item:
        media_type = part.media_type or ""
        if media_type.startswith("video/"):
            raise self._unsupported("the Responses API takes no video")
        if part.file_id is not None:
            return {"type": "input_file", "file_id": part.file_id}
        if media_type.startswith("audio/"):
            if part.url is not None:
                raise self._unsupported("the Responses API takes audio as data; URLs are never fetched")
            form = _AUDIO_FORMATS.get(media_type, media_type.removeprefix("audio/"))
            return {"type": "input_audio", "input_audio": {"data": _base64(part), "format": form}}
        if part.url is not None:
            if not self._quirks.file_urls:
                raise self._unsupported("this service takes files as data or file_id; URLs are never fetched")
            return {"type": "input_file", "file_url": part.url}
        name = part.name or "file"
        return {"type": "input_file", "filename": name, "file_data": self._data_url(part)}

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> Item:
        """The item that answers a call; without the call at hand, `extra["type"]` says which, else a function's."""
        call = self._calls.get(part.call_id)
        told = _BY_ANSWER.get(str((part.extra or {}).get("type")))
        shape = told or (BY_KIND["function"] if call is None else shape_of(call))
        if part.is_error and shape.kind not in ANSWER_KINDS:
            self._report("dropped", "this protocol has no error flag: the text goes as it is", ".is_error")
        if part.cache is not None:
            self._report("dropped", "a tool result takes no mark; mark a part of its content", ".cache")
        try:
            return answer_item(part, call, shape, self._content)
        except AnswerError as error:
            raise self._unsupported(str(error)) from None


def _is_item(part: Part) -> bool:
    """Whether an opaque part of a caller's message is an item of its own, and no piece of content."""
    return isinstance(part, OpaquePart) and not part.kind.startswith(("input_", "output_"))


def _base64(part: ImagePart | FilePart) -> str:
    return base64.b64encode(part.data or b"").decode()
