"""Parts as the blocks of a user's or system's turn, and of a tool's result.

Media go by base64, URL or file id, as an image or a document; text files as a document's text. What the API has no
block for (sound, film, office files) is refused before anything is sent. Fields that a caller puts into `extra`
(title, context, citations, transformations, …) are added as they are, and blocks that we have no word for, such as
search results, go as OpaqueParts.
Reference: the guides "Vision", "PDF support", "Citations", "Search results", and the reference of "Create a Message".
"""

from __future__ import annotations

import base64

from brainwires_provider.protocols.anthropic.caching import cache_control
from brainwires_provider.protocols.anthropic.options import AnthropicQuirks
from brainwires_provider.protocols.anthropic.writer import Block, Writer, part_name, refused_texts, wire_id
from brainwires_provider.types import (
    Deviation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["ContentEncoder", "collapsed"]

_TEXT_TYPES = frozenset(
    (
        "application/javascript",
        "application/json",
        "application/toml",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    )
)


class ContentEncoder(Writer):
    """Encodes the parts of one request's turns, one after another."""

    def __init__(self, origin: Origin, quirks: AnthropicQuirks, deviations: list[Deviation]) -> None:
        super().__init__(origin, deviations)
        self._quirks = quirks

    # -- blocks ----------------------------------------------------------------------------------------------

    def blocks(self, parts: tuple[Part, ...]) -> list[Block]:
        """One block a part, but for texts that are refused. Those that stand alone go out, and the API says no."""
        refused = refused_texts(parts)
        if len(refused) == len(parts):
            refused = {}
        for index, reason in refused.items():
            self.report("dropped", reason, f".content[{index}]")
        return [self._block(p, f".content[{i}]") for i, p in enumerate(parts) if i not in refused]

    def _block(self, part: Part, at: str) -> Block:
        match part:
            case TextPart():
                block: Block = {"type": "text", "text": part.text}
                if part.citations:
                    self.report("dropped", "only a model's text has citations", f"{at}.citations")
            case ImagePart():
                block = self._image(part, at)
            case FilePart():
                block = self._file(part)
            case OpaquePart():
                block = self._own(part)
            case _:
                raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        if part.extra and part.origin is None and not isinstance(part, OpaquePart):
            block.update(part.extra)
        if part.cache is not None:
            block["cache_control"] = cache_control(part.cache)
        return block

    def _own(self, part: OpaquePart) -> Block:
        """A block that the caller made, or had of this protocol."""
        foreign = part.origin is not None and part.origin.protocol != self._origin.protocol
        if foreign or not isinstance(part.data, dict):
            raise self.unsupported(f"{part_name(part)} is no block of this protocol")
        return dict(part.data)

    # -- media -----------------------------------------------------------------------------------------------

    def _image(self, part: ImagePart, at: str) -> Block:
        if part.detail is not None:
            self.report("dropped", "this protocol has no such knob", f"{at}.detail")
        return {"type": "image", "source": self._source(part, part.media_type)}

    def _file(self, part: FilePart) -> Block:
        media_type = (part.media_type or "").partition(";")[0].strip().lower()
        if media_type.startswith(("audio/", "video/")):
            raise self.unsupported(f"the Messages API takes no {media_type.partition('/')[0]}")
        if media_type.startswith("image/"):
            return {"type": "image", "source": self._source(part, media_type)}
        if part.data is not None and (media_type.startswith("text/") or media_type in _TEXT_TYPES):
            source = {"type": "text", "media_type": "text/plain", "data": self._decoded(part.data)}
        elif part.file_id is None and media_type not in ("", "application/pdf"):
            raise self.unsupported(
                f"the Messages API takes no file of type {media_type}: upload it to the Files API and pass its file_id"
            )
        else:
            source = self._source(part, media_type or None)
        block: Block = {"type": "document", "source": source}
        if part.name is not None:
            block["title"] = part.name
        return block

    def _source(self, part: ImagePart | FilePart, media_type: str | None) -> Block:
        if part.file_id is not None:
            if not self._quirks.file_ids:
                raise self.unsupported("this service has no Files API: pass the data instead of a file_id")
            return {"type": "file", "file_id": part.file_id}
        if part.url is not None:
            if not self._quirks.media_urls:
                raise self.unsupported("this service takes media as data; URLs are never fetched here")
            return {"type": "url", "url": part.url}
        if media_type is None:
            raise self.unsupported(f"{part_name(part)} needs its media_type: the bytes do not tell it")
        data = base64.b64encode(part.data or b"").decode()
        return {"type": "base64", "media_type": media_type, "data": data}

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self.unsupported("a text file must be UTF-8") from None

    # -- tool results ----------------------------------------------------------------------------------------

    def result(self, part: ToolResultPart, call: ToolCallPart | None) -> Block:
        """A result and its content. A breakpoint can stand after the whole, not inside it."""
        block: Block = {"type": "tool_result", "tool_use_id": wire_id(part.call_id)}
        marks = [None if part.cache is None else cache_control(part.cache)]
        if part.content:
            inner = self.blocks(part.content)
            marks += [piece.pop("cache_control", None) for piece in inner]
            block["content"] = collapsed(inner)
        if part.is_error:
            block["is_error"] = True
        toolset = None if call is None else (call.extra or {}).get("toolset_name")
        if toolset is not None:
            block["toolset_name"] = toolset
        block.update(part.extra or {})
        mark = next((m for m in marks if m), None)
        if mark:
            block["cache_control"] = mark
            if marks[0] is None:
                self.report("adapted", "inside a tool's result none can stand: put after it", ".cache")
        return block


def collapsed(blocks: list[Block]) -> str | list[Block]:
    """A lone plain text as the string that it is short for."""
    only = blocks[0] if len(blocks) == 1 else {}
    return only["text"] if only.keys() == {"type", "text"} and only["type"] == "text" else blocks
