"""`message.content_blocks` of messages that came from this library: LangChain's standard blocks of all their parts."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import ContentBlock

from brainwires_provider.integrations.langchain.blocks import blocks_of
from brainwires_provider.integrations.langchain.messages import KEPT, restored
from brainwires_provider.types import FilePart, ImagePart, OpaquePart

__all__ = ["register"]


def _blocks(message: AIMessage) -> list[ContentBlock]:
    return cast("list[ContentBlock]", [block for part in restored(message) for block in blocks_of(part)])


def _chunk_blocks(chunk: AIMessageChunk) -> list[ContentBlock]:
    """The blocks of a stream's last chunk, or of a whole stream's sum.

    The last chunk alone shows nothing but what no delta has shown; in a sum, the deltas are there too.
    """
    if chunk.content or chunk.tool_call_chunks or chunk.tool_calls or len(chunk.additional_kwargs) > 1:
        return _blocks(AIMessage(**{name: getattr(chunk, name) for name in _FIELDS}))
    if refusal := chunk.additional_kwargs.get("refusal"):
        return [{"type": "refusal", "refusal": refusal, "index": f"lc_{KEPT}_refusal"}]
    unseen: list[dict[str, Any]] = []
    for part in restored(chunk):
        if isinstance(part, (ImagePart, FilePart, OpaquePart)):
            unseen += [{**block, "index": f"lc_{KEPT}_{len(unseen)}"} for block in blocks_of(part)]
    return cast("list[ContentBlock]", unseen)


_FIELDS = ("content", "tool_calls", "invalid_tool_calls", "additional_kwargs", "response_metadata")


def register() -> None:
    """Let LangChain find it."""
    register_translator(KEPT, _blocks, _chunk_blocks)
