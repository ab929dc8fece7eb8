"""The events of a stream as LangChain's chunks of a message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json

from brainwires_provider.events import (
    Event,
    PartEnd,
    PartStart,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.integrations.langchain.blocks import is_cut, unbegun_call
from brainwires_provider.integrations.langchain.messages import (
    CUT_OFF,
    KEPT,
    WITHDRAWN,
    answer_fields,
)
from brainwires_provider.types import Part, Response, ToolCallPart

__all__ = ["Chunks"]


class Chunks:
    """One stream: what is needed of its earlier events.

    LangChain completes the arguments in a stream's sum as well as it can, so that those of a call that was cut off
    would look whole, and an agent would run it. Such arguments get an end that no JSON has, and so does a call that
    was announced and then replaced: in the sum, both are among the `invalid_tool_calls`.
    """

    def __init__(self) -> None:
        self._reasoning: int | None = None
        self._begun: dict[int, tuple[ToolCallPart, list[str]]] = {}
        self._last_call = 0

    def of(self, event: Event) -> ChatGenerationChunk | None:
        """The chunk of an event; None for one that LangChain has nothing for, before the last chunk."""
        kind = type(event)
        if kind is TextDelta:
            return _chunk(event.text)  # type: ignore[union-attr]
        match event:
            case ReasoningDelta(index=index, text=text):
                again, self._reasoning = self._reasoning not in (None, index), index
                return _chunk(additional_kwargs={"reasoning_content": "\n\n" + text if again else text})
            case RefusalDelta(text=text):
                return _chunk(additional_kwargs={"refusal": text}, response_metadata={"model_provider": KEPT})
            case ToolCallDelta(index=index, text=text) if index in self._begun:
                call, texts = self._begun[index]
                if call.kind != "custom":
                    texts.append(text)
                    return _call_chunks(_args(index, text))
            case PartStart(index=index, part=ToolCallPart() as call):
                self._begun[index] = call, []
                return _call_chunks(tool_call_chunk(name=call.name, args="", id=call.call_id, index=index))
            case PartEnd(index=index, part=part):
                return self._ended(index, part)
        return None

    def _ended(self, index: int, part: Part) -> ChatGenerationChunk | None:
        """What is still missing of a call, now that it is known whole."""
        begun, texts = self._begun.pop(index, (None, []))
        call = part if isinstance(part, ToolCallPart) else None
        self._last_call = index if call else self._last_call
        made: list[ToolCallChunk] = []
        if begun is not None and (call is None or _identity(call) != _identity(begun)):
            made.append(_args(index, _unreadable("".join(texts), WITHDRAWN)))
            begun, index, self._last_call = None, -1 - index, -1 - index
        if call is None:
            pass
        elif begun is None:
            text = _shown_args(call) + (_unreadable(call.arguments, CUT_OFF) if is_cut(call) else "")
            made.append(tool_call_chunk(name=call.name, args=text, id=call.call_id, index=index))
        elif call.kind == "custom":
            made.append(_args(index, _shown_args(call)))
        elif is_cut(call):
            made.append(_args(index, _unreadable(call.arguments, CUT_OFF)))
        return _call_chunks(*made) if made else None

    def last(self, response: Response[Any], model: str) -> Iterator[ChatGenerationChunk]:
        """What a stream's sum has besides its deltas."""
        if unbegun_call(response) is not None:
            yield _call_chunks(_args(self._last_call, CUT_OFF))
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", chunk_position="last", **answer_fields(response, model))
        )


def _chunk(text: str = "", **fields: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text, **fields))


def _call_chunks(*made: ToolCallChunk) -> ChatGenerationChunk:
    return _chunk(tool_call_chunks=list(made))


def _args(index: int, text: str) -> ToolCallChunk:
    return tool_call_chunk(args=text, index=index)


def _identity(call: ToolCallPart) -> tuple[str, str, str]:
    return call.call_id, call.name, call.kind


def _shown_args(call: ToolCallPart) -> str:
    return json.dumps({"__arg1": call.arguments}) if call.kind == "custom" else call.arguments


def _unreadable(text: str, why: str) -> str:
    """An end of a text with which LangChain reads no arguments from it, by its own reading: one bracket too many.

    It depends on where the text was cut off: outside of a string, in one, or behind a backslash in one.
    """
    end = "}" * text.count("{") + why
    for opened in ("", '"'):
        try:
            read = parse_partial_json(text + opened + end)
        except (ValueError, RecursionError):
            return opened + end
        if not isinstance(read, dict):
            return opened + end
    return '""' + end
