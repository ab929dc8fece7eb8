"""The message history as the system blocks and the turns of Converse.

User and assistant have to alternate, and the results of one turn's calls have to be in one message, so consecutive
messages of one side are joined: between two responses a longer history begins with the turns of a shorter one.

Media are sent as base64, or by an `s3://` address, which the service reads itself; any other URL and every file id is
refused before anything is sent. Fields that a caller puts into `extra` (citations, context, …) are added as they are,
and other blocks, such as guardContent or searchResult, are OpaqueParts. A cache mark is a block of its own, behind
what it marks.
Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html; "Carry out a
conversation with the Converse API" and "Use a tool to complete a request" in the user guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    base64_of,
    part_name,
    short_id,
    tool_name,
    value_in_text,
    wire_id,
)
from brainwires_provider.protocols.base.turns import EMPTY_RESULT, Block, TurnEncoder, is_plain
from brainwires_provider.protocols.bedrock.options import MEDIA_FORMATS, BedrockQuirks
from brainwires_provider.protocols.bedrock.parts import cache_point, cited_block, reasoning_block
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

TOOL_NAME = "[a-zA-Z0-9_-]{1,64}"
"""2026-11: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html"""

_REFUSED_IN_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_LONGEST_ID = 64
_REFUSED_IN_NAME = re.compile(r"[^a-zA-Z0-9\s()\[\]-]")
_SPACES = re.compile(r"\s+")


class MessageEncoder(TurnEncoder):
    """Encodes the messages of one request."""

    instructions = (TextPart, OpaquePart)
    refuses_blank = True

    def __init__(self, origin: Origin, reader: OptionReader, quirks: BedrockQuirks) -> None:
        super().__init__(origin, reader, quirks.system_turns)
        self._refuses_reasoning = not reader.facts.own_reasoning
        self._takes_status = reader.facts.result_status
        self._short_ids = re.search(quirks.short_id_models, str(origin.model)) is not None
        self._names: set[str] = set()
        self._results = 0

    def encode_part(self, part: Part) -> Block:
        """See `TurnEncoder`."""
        if isinstance(part, TextPart):
            if part.citations:
                self.dropped("only a model's text has citations", ".citations")
            return {"text": part.text}
        if isinstance(part, ToolResultPart):
            return self._result(part)
        if isinstance(part, (ImagePart, FilePart)):
            return self._media(part)
        if isinstance(part, OpaquePart) and isinstance(part.data, dict) and self.is_own(part):
            return self._own(part)
        raise self.unsupported(f"{part_name(part)} cannot be sent in a message of this role")

    def _own(self, part: OpaquePart) -> Block:
        self.has_marks = self.has_marks or "cachePoint" in part.data
        return dict(part.data)

    def mark(self, blocks: list[Block], cache: Cache) -> None:
        """A cache point behind the block."""
        blocks.append(cache_point(cache))
        self.marked[id(blocks[-1])] = self.where

    # -- media -----------------------------------------------------------------------------------------------

    def _media(self, part: ImagePart | FilePart) -> Block:
        """An image, document, video or audio block; for one that came by this protocol, the block that it was."""
        own = part.origin is not None and self.is_own(part)
        extra = self.reader.take_extra(part) if part.origin is None or own else {}
        if own and len(extra) == 1:
            ((kind, fields),) = extra.items()
            if kind in MEDIA_FORMATS and isinstance(fields, Mapping):
                return {kind: {**fields, "source": self._source(part)}}
        if isinstance(part, ImagePart) and part.detail is not None:
            self.dropped("this protocol has no such option", ".detail")
        kind, form = self._format(part)
        block: Block = {"format": form, "source": self._source(part)}
        if kind == "document":
            block["name"] = self._document_name(part)
        return {kind: block if own else block | extra}

    def _format(self, part: ImagePart | FilePart) -> tuple[str, str]:
        media_type = (part.media_type or "").partition(";")[0].strip().lower()
        if not media_type:
            raise self.unsupported(f"{part_name(part)} needs its media_type: nothing else shows it")
        for kind, known in MEDIA_FORMATS.items():
            if media_type in known:
                return kind, known[media_type]
        if media_type.startswith("text/"):
            return "document", "txt"
        raise self.unsupported(f"Converse takes no media of type {media_type}")

    def _source(self, part: ImagePart | FilePart) -> Block:
        if part.data is not None:
            return {"bytes": base64_of(part)}
        if part.url is None or not part.url.startswith("s3://"):
            raise self.unsupported(
                "Converse takes media as data or by an s3:// address; URLs are never fetched"
            )
        return {"s3Location": {"uri": part.url}}

    def _document_name(self, part: ImagePart | FilePart) -> str:
        """A document's name: of the characters that are taken, and no other document's."""
        given = (part.name or "" if isinstance(part, FilePart) else "").rpartition("/")[2]
        stem = given.rpartition(".")[0] or given
        name = _SPACES.sub(" ", _REFUSED_IN_NAME.sub(" ", stem)).strip()[:180] or "document"
        if stem and name != stem:
            self.adapted(f"documents' names take few characters: sent as {name!r}", ".name")
        if name in self._names:
            names = (f"{name} ({i})" for i in range(2, len(self._names) + 3))
            name = next(free for free in names if free not in self._names)
        self._names.add(name)
        return name

    # -- tool results ----------------------------------------------------------------------------------------

    def _id(self, call_id: str) -> str:
        """A call's id as the model takes it."""
        return short_id(call_id) if self._short_ids else wire_id(call_id, _REFUSED_IN_ID, _LONGEST_ID)

    def _result(self, part: ToolResultPart) -> Block:
        """A result and its content. A cache point can stand behind the whole, not inside it."""
        parts = part.content
        if len(parts) == 1 and is_plain(parts[0]):
            content: list[Block] = [{"text": parts[0].text}]
        else:
            content = self._result_content(parts)
        block: Block = {"toolUseId": self._id(part.call_id), "content": content}
        if part.is_error and self._takes_status:
            block["status"] = "error"
        elif part.is_error:
            self.dropped("this model takes no error flag: the text is sent as it is", ".is_error")
        if part.extra:
            block.update(self.reader.take_extra(part))
        return {"toolResult": block}

    def _result_content(self, parts: tuple[Part, ...]) -> list[Block]:
        content = self.encode_parts(parts)
        if not content or (content[0].keys() == {"text"} and not content[0]["text"].strip()):
            content = [{"text": EMPTY_RESULT}]
            self.adapted(f"an empty result is refused: sent as {EMPTY_RESULT!r}")
        for piece in content:
            if "audio" in piece:
                raise self.unsupported("a tool's result takes no audio")
        return content

    # -- answers ---------------------------------------------------------------------------------------------

    def encode_answer_part(self, part: Part) -> Block:
        """See `TurnEncoder`."""
        if isinstance(part, TextPart):
            return self._cited(part) if part.citations or part.extra else {"text": part.text}
        if isinstance(part, ToolCallPart):
            return self._call(part)
        if isinstance(part, ReasoningPart):
            return reasoning_block(part)
        if isinstance(part, RefusalPart):
            self.adapted("this protocol has no refusals: sent as text")
            return {"text": part.text}
        if isinstance(part, OpaquePart):
            return self._own(part)
        assert isinstance(part, (ImagePart, FilePart))
        return self._media(part)

    def objection(self, part: Part) -> str | None:
        """See `MessageEncoderBase`."""
        reason = super().objection(part)
        if reason is None and isinstance(part, ReasoningPart) and self._refuses_reasoning:
            return "this model refuses to be shown its reasoning"
        if reason is None and isinstance(part, (ImagePart, FilePart)) and not part.data:
            return "nothing of it has arrived"
        return reason

    def _cited(self, part: TextPart) -> Block:
        if part.extra and "citationsContent" in part.extra and self.is_own(part):
            return self.reader.take_extra(part)
        cited = [c.raw for c in part.citations if self.is_own(part) and isinstance(c.raw, dict)]
        self.report_citations(part, sent=len(cited))
        return cited_block(part.text, cited) if cited else {"text": part.text}

    def _call(self, part: ToolCallPart) -> Block:
        if part.kind != "function":
            self.report_kind(part)
        call_id = part.call_id
        id = self._id(call_id)
        if id != call_id:
            few = "nine of them" if self._short_ids else "_, ., : and - in ids only, and 64 of them"
            self.adapted(f"this API takes letters, digits, {few}", ".id")
        name = part.name
        if name not in self.tool_names:
            name = tool_name(name, TOOL_NAME, self)
            self.tool_names[name] = None  # Converse demands their definitions
        block: Block = {"toolUseId": id, "name": name, "input": self._arguments(part)}
        if part.extra and self.is_own(part):
            block |= {name: value for name, value in self.reader.take_extra(part).items() if name != "type"}
        return {"toolUse": block}

    def _arguments(self, part: ToolCallPart) -> Any:
        """The object that the wire has; a value of another kind that came by this protocol goes back as it was."""
        if part.origin is not None and part.kind == "function" and self.is_own(part):
            value = value_in_text(part.arguments)
            if value is not None:
                return value
        return self.arguments_object(part)

    def add_plain(self, role: str, part: TextPart, message: Message) -> None:
        """See `TurnEncoder`."""
        self.add(role, [{"text": part.text}], message)

    def add(self, role: str, blocks: list[Block], message: Message) -> None:
        """See `TurnEncoder`."""
        results = 0
        for block in blocks:
            if "toolResult" not in block and "cachePoint" not in block:
                break
            results += 1
        last = self.turns[-1] if self.turns else None
        if last is None or last["role"] != role:
            last = {"role": role, "content": blocks}
            self.turns.append(last)
            self.places.append(self.at[0])
            self._results = results
        else:
            self._join(last["content"], blocks, results)
        if message.extra and role != "assistant":
            last.update(self.reader.take_extra(message))

    def _join(self, content: list[Block], blocks: list[Block], results: int) -> None:
        """Add blocks to a turn; results stand behind the results that the turn begins with."""
        if results and len(content) > self._results:
            self.adapted("the API wants results ahead of all else", ".content")
        content[self._results : self._results] = blocks[:results]
        content += blocks[results:]
        self._results += results

    @property
    def has_tools(self) -> bool:
        """Whether a call or a result is in the history: then Converse demands the tools."""
        return any(b.keys() & {"toolUse", "toolResult"} for turn in self.turns for b in turn["content"])


def encode_messages(
    request: Request, origin: Origin, reader: OptionReader, quirks: BedrockQuirks
) -> MessageEncoder:
    """The encoded history. Raises UnsupportedError for what Converse cannot express."""
    encoder = MessageEncoder(origin, reader, quirks)
    system = encoder.take_system()
    if system:
        encoder.system.append({"text": system})
    encoder.encode_messages(request.messages)
    return encoder
