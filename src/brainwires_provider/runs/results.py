"""What a tool returns, as the content of its result."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from brainwires_provider.types import FilePart, ImagePart, OpaquePart, TextPart, ToolCallPart, ToolResultPart
from brainwires_provider.types.checked import plain

__all__ = ["EMPTY", "failure_of", "result_of"]

EMPTY = "(no output)"
"""Services refuse a result without a text."""
_PARTS = (TextPart, ImagePart, FilePart, OpaquePart)


def result_of(call_id: str, name: str, value: Any) -> ToolResultPart:
    """The result with what a function returned: text, parts, a list of both, a whole result, or what JSON can hold.

    Raises TypeError for anything else.
    """
    if isinstance(value, ToolResultPart):
        content = [_part(each) for each in value.content] or EMPTY
        return ToolResultPart(call_id, content, value.is_error, name)
    if isinstance(value, _PARTS):
        value = [value]
    if isinstance(value, (list, tuple)) and any(isinstance(each, _PARTS) for each in value):
        return ToolResultPart(call_id, [_part(each) for each in value], name=name)
    return ToolResultPart(call_id, _text(value), name=name)


def failure_of(call: ToolCallPart, text: str) -> ToolResultPart:
    """The result of a call that has failed, with a text for the model."""
    return ToolResultPart(call.call_id, _text(text), is_error=True, name=call.name)


def _part(value: Any) -> Any:
    if isinstance(value, TextPart):
        return replace(value, text=_whole(value.text))
    return value if isinstance(value, _PARTS) else TextPart(_text(value))


def _text(value: Any) -> str:
    if value is None or value == "":
        return EMPTY
    if isinstance(value, str):
        return _whole(value)
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _whole(text: str) -> str:
    """A text with a sign in place of each half of a character, as names of files may hold: no service takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)):
        return plain(value)
    dump = getattr(value, "model_dump", None)  # a Pydantic model
    if dump is None:
        raise TypeError(f"the tool returned a {type(value).__name__}, which has no form in JSON")
    return dump(mode="json")
