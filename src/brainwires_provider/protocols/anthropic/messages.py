"""The message history as the system blocks and the turns of Messages.

The results of one turn's calls have to be in one message, ahead of all else, so the messages that hold them are
joined; nothing else is, since the API joins turns itself. So a longer history begins with the turns of a shorter one,
wherever a model is to answer.

Media are sent as base64, by URL or by file id, as an image or a document; text files as a document's text. What the
API has no block for (audio, video, office files) is refused before anything is sent. Fields that a caller puts into
`extra` (title, context, citations, …) are added as they are, and other blocks, such as search results, are
OpaqueParts.
Reference: https://platform.claude.com/docs/en/api/messages/create, and the guides "Vision", "PDF support",
"Citations", "Search results", "Handle tool calls" and "Mid-conversation system messages".
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic.options import AnthropicQuirks
from brainwires_provider.protocols.anthropic.parts import cache_control, collapsed, thinking_block
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import base64_of, is_text_file, part_name, tool_name, wire_id
from brainwires_provider.protocols.base.turns import EMPTY_RESULT, Block, TurnEncoder, is_plain
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
    Request,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["TOOL_NAME", "MessageEncoder", "encode_messages"]

TOOL_NAME = "[a-zA-Z0-9_-]{1,128}"
"""2026-11: https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools"""


class MessageEncoder(TurnEncoder):
    """Encodes the messages of one request; each block is a dict of its own.

    The content of a turn is a list of blocks, or the text of a single plain one, unless a cache mark may be put on it.
    """

    def __init__(self, origin: Origin, reader: OptionReader, quirks: AnthropicQuirks) -> None:
        super().__init__(origin, reader, quirks.system_turns)
        self._quirks = quirks
        self.is_on_bedrock = quirks.cloud == "bedrock"
        self._toolsets: dict[str, Any] = {}
        self._holds_results_only = False
        strategy = reader.take("cache")
        self.marks_turns = strategy is not None and strategy.mode == "system_and_tail_turn"

    def encode_part(self, part: Part) -> Block:
        """See `TurnEncoder`."""
        if isinstance(part, TextPart):
            block: Block = {"type": "text", "text": part.text}
            if part.citations:
                self.dropped("only a model's text has citations", ".citations")
        elif isinstance(part, ToolResultPart):
            return self._result(part)
        elif isinstance(part, ImagePart):
            block = self._image(part)
        elif isinstance(part, FilePart):
            block = self._file(part)
        elif isinstance(part, OpaquePart):
            if not self.is_own(part) or not isinstance(part.data, dict):
                raise self.unsupported(f"{part_name(part)} is no block of this protocol")
            return self._own(part)
        else:
            raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")
        if part.extra and part.origin is None:
            self._update(block, part)
        return block

    def _own(self, part: OpaquePart) -> Block:
        block = dict(part.data)
        self.has_marks = self.has_marks or "cache_control" in block
        return block

    def _update(self, block: Block, part: Part) -> None:
        """Add a part's own fields."""
        block.update(self.reader.take_extra(part))
        self.has_marks = self.has_marks or "cache_control" in block

    def mark(self, blocks: list[Block], cache: Cache) -> None:
        """`cache_control` on the block."""
        blocks[-1]["cache_control"] = cache_control(cache)
        self.marked[id(blocks[-1])] = self.where

    # -- media -----------------------------------------------------------------------------------------------

    def _image(self, part: ImagePart) -> Block:
        if part.detail is not None:
            self.dropped("this protocol has no such option", ".detail")
        return {"type": "image", "source": self._source(part, part.media_type)}

    def _file(self, part: FilePart) -> Block:
        media_type = (part.media_type or "").partition(";")[0].strip().lower()
        if media_type.startswith(("audio/", "video/")):
            raise self.unsupported(f"the Messages API takes no {media_type.partition('/')[0]}")
        if media_type.startswith("image/"):
            return {"type": "image", "source": self._source(part, media_type)}
        if part.data is not None and is_text_file(part):
            source = {"type": "text", "media_type": "text/plain", "data": self.text_of(part)}
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
            raise self.unsupported(f"{part_name(part)} needs its media_type: the bytes do not show it")
        data = base64_of(part)
        return {"type": "base64", "media_type": media_type, "data": data}

    # -- tool results ----------------------------------------------------------------------------------------

    def _result(self, part: ToolResultPart) -> Block:
        """A result and its content. A cache mark can be on the whole, not inside it."""
        content = part.content
        block: Block = {"type": "tool_result", "tool_use_id": wire_id(part.call_id)}
        if len(content) == 1 and is_plain(content[0]):
            block["content"] = content[0].text
        elif content:
            block["content"] = collapsed(self.encode_parts(content))
        if part.is_error:
            block["is_error"] = True
            if not block.get("content"):
                block["content"] = EMPTY_RESULT
                self.adapted(f"an empty error is refused: sent as {EMPTY_RESULT!r}")
        if part.call_id in self._toolsets:
            block["toolset_name"] = self._toolsets[part.call_id]
        if part.extra:
            self._update(block, part)
        return block

    # -- answers ---------------------------------------------------------------------------------------------

    def encode_answer_part(self, part: Part) -> Block:
        """See `TurnEncoder`."""
        if isinstance(part, TextPart):
            block: Block = {"type": "text", "text": part.text}
            if part.citations:
                self._cite(block, part)
        elif isinstance(part, ToolCallPart):
            block = self._call(part)
        elif isinstance(part, ReasoningPart):
            block = thinking_block(part)
        elif isinstance(part, RefusalPart):
            self.adapted("this protocol has no refusals: sent as text")
            return {"type": "text", "text": part.text}
        else:
            assert isinstance(part, OpaquePart)
            block = self._own(part)
            if part.role == "call" and isinstance(block.get("input"), str):
                block["input"] = self.as_object(block["input"])
            return block
        if part.extra and self.is_own(part):
            self._update(block, part)
        return block

    def objection(self, part: Part) -> str | None:
        """See `MessageEncoderBase`."""
        reason = super().objection(part)
        if reason is None and isinstance(part, (ImagePart, FilePart)):
            return "media cannot be sent as the assistant's"
        return reason

    def _cite(self, block: Block, part: TextPart) -> None:
        cited = [c.raw for c in part.citations if self.is_own(part) and isinstance(c.raw, dict)]
        self.report_citations(part, sent=len(cited))
        if cited:
            block["citations"] = cited

    def _call(self, part: ToolCallPart) -> Block:
        if part.extra and "toolset_name" in part.extra:
            self._toolsets[part.call_id] = part.extra["toolset_name"]
        if part.kind != "function":
            self.report_kind(part)
        call_id = part.call_id
        id = wire_id(call_id)
        if id != call_id:
            self.adapted("this API takes letters, digits, _ and - in ids only", ".id")
        name = part.name
        if name not in self.tool_names:
            name = tool_name(name, TOOL_NAME, self)
            self.tool_names[name] = None
        is_object = part.kind != "custom"
        input = self.as_object(part.arguments) if is_object else self.arguments_object(part)
        return {"type": "tool_use", "id": id, "name": name, "input": input}

    def add(self, role: str, blocks: list[Block], message: Message) -> None:
        """See `TurnEncoder`."""
        fields = self.reader.take_extra(message) if message.extra and role != "assistant" else None
        results = role == "user" and bool(blocks) and blocks[0].get("type") == "tool_result"
        if results and self._holds_results_only and not fields:
            self.turns[-1]["content"] += blocks
        else:
            is_short = len(blocks) == 1 and not (results or self.marks_turns)
            turn = {"role": role, "content": collapsed(blocks) if is_short else blocks}
            if fields:
                turn.update(fields)
            self.turns.append(turn)
            self.places.append(self.at[0])
        self._holds_results_only = results and blocks[-1].get("type") == "tool_result"

    def add_plain(self, role: str, part: TextPart, message: Message) -> None:
        """See `TurnEncoder`."""
        if message.extra or self.marks_turns:
            super().add_plain(role, part, message)
            return
        self.turns.append({"role": role, "content": part.text})
        self.places.append(self.at[0])
        self._holds_results_only = False


def encode_messages(
    request: Request, origin: Origin, reader: OptionReader, quirks: AnthropicQuirks
) -> MessageEncoder:
    """The encoded history. Raises UnsupportedError for what the API cannot express."""
    encoder = MessageEncoder(origin, reader, quirks)
    system = encoder.take_system()
    if system:
        encoder.system.append({"type": "text", "text": system})
    encoder.encode_messages(request.messages)
    return encoder
