"""The JSON output: values as plain objects of a fixed shape, one object per line.

All keys of a kind of value are present, null or empty if unset; only `extra` (of a part or a message), `origin` and
`more` are left out if there is none.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from brainwires_provider.events import Event
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.openai_responses.operations import Compaction
from brainwires_provider.types import (
    Deviation,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Report,
    Response,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
)

__all__ = [
    "dump",
    "error_shape",
    "escaped",
    "event_shape",
    "failure_shape",
    "part_shape",
    "report_shape",
    "response_shape",
    "usage_shape",
]

Shape = dict[str, Any]

# In UTF-8: DEL, U+0080 to U+009F, U+202A to U+202E, U+2066 to U+2069.
_TERMINAL_CONTROLS = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]")

_FIELDS: dict[type[Part], tuple[str, ...]] = {
    TextPart: ("text", "citations"),
    ReasoningPart: ("text", "summary", "signature", "encrypted", "redacted"),
    RefusalPart: ("text",),
    ToolCallPart: ("id", "local_id", "kind", "name", "arguments"),
    ToolResultPart: ("call_id", "name", "content", "is_error"),
    ImagePart: ("data", "media_type", "url", "file_id", "detail"),
    FilePart: ("data", "media_type", "url", "file_id", "name", "text"),
    OpaquePart: ("kind", "id", "name", "role", "data"),
}
_BUCKETS = (
    "uncached_input",
    "cache_read",
    "cache_write",
    "output_text",
    "reasoning",
    "tool_input",
    "audio_input",
    "unattributed",
)
_SUMS = ("input_tokens", "output_tokens", "total_tokens")
_FAILURE = ("status", "provider_status", "code", "retry_after", "request_id", "body")


def dump(value: Any) -> bytes:
    """One line of UTF-8, without its end. Half surrogate pairs, which UTF-8 cannot encode, become U+FFFD.

    What controls a terminal is `escaped`. Raises ValueError for what is nested too deeply.
    """
    try:
        try:
            line = msgspec.json.encode(value)
        except UnicodeEncodeError:
            line = msgspec.json.encode(well_formed(value))
    except RecursionError:
        raise ValueError("nested too deeply to be printed") from None
    return escaped(line)


def escaped(line: bytes) -> bytes:
    """JSON whose DEL, C1 controls and bidirectional overrides are escaped, as JSON escapes the C0 controls."""
    return _TERMINAL_CONTROLS.sub(_escape, line)


def _escape(control: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(control[0].decode())


def part_shape(part: Part) -> Shape:
    """A part: its `type` and every field of that type."""
    shape: Shape = {"type": type(part).__struct_config__.tag}
    for name in _FIELDS[type(part)]:
        shape[name] = _plain(getattr(part, name))
    if part.extra:
        shape["extra"] = _plain(part.extra)
    if part.origin is not None:
        shape["origin"] = _plain(part.origin)
    return shape


def usage_shape(usage: Usage) -> Shape:
    """All buckets, including zeros, the sums, and the provider's own object."""
    shape: Shape = {name: getattr(usage, name) for name in (*_BUCKETS, *_SUMS)}
    shape |= {"passes": _plain(usage.passes), "complete": usage.complete}
    return shape | {"anomalies": list(usage.anomalies), "raw": _plain(usage.raw)}


def report_shape(report: Report) -> Shape:
    """What became of each field that was set."""
    shape: Shape = {"sent": list(report.sent)}
    for outcome in ("adapted", "emulated", "dropped"):
        shape[outcome] = [_deviation(each) for each in getattr(report, outcome)]
    return shape


def _deviation(deviation: Deviation) -> Shape:
    return {"field": deviation.field, "reason": deviation.reason}


def response_shape(response: Response, more: Sequence[Response] = ()) -> Shape:
    """One response; `more` are further ones of the same body."""
    shape: Shape = {
        "id": response.id,
        "model": response.model,
        "message": _message(response.message),
        "finish_reason": response.finish_reason,
        "raw_finish_reason": response.raw_finish_reason,
        "usage": usage_shape(response.usage),
        "extra": _plain(response.extra),
        "report": report_shape(response.report),
    }
    if response.output is not None:
        shape["output"] = response.output
    if more:
        shape["more"] = [response_shape(each) for each in more]
    return shape


def compaction_shape(compaction: Compaction) -> Shape:
    """A compacted history: the messages that replace it."""
    return {
        "id": compaction.id,
        "messages": [_message(message) for message in compaction.messages],
        "usage": usage_shape(compaction.usage),
        "extra": compaction.extra,
    }


def _message(message: Message) -> Shape:
    shape: Shape = {"role": message.role, "content": [part_shape(part) for part in message.content]}
    if message.extra:
        shape["extra"] = _plain(message.extra)
    return shape


def event_shape(event: Event) -> Shape:
    """One event, its name under `event`."""
    shape: Shape = {"event": type(event).__struct_config__.tag}
    for name in event.__struct_fields__:
        shape[name] = _plain(getattr(event, name))
    return shape


def error_shape(error: Exception) -> Shape:
    """An error: the name of its type, its message, and the details from the provider."""
    shape: Shape = {"type": type(error).__name__, "message": getattr(error, "message", str(error))}
    for name in _FAILURE:
        shape[name] = _plain(getattr(error, name, None))
    return shape


def failure_shape(error: Exception, partial: Sequence[Response] = ()) -> Shape:
    """A failure, and the partial response in a response's shape, or null."""
    arrived = response_shape(partial[0], partial[1:]) if partial else None
    return {"error": error_shape(error), "partial": arrived}


def _plain(value: Any) -> Any:
    """Values by their fields, bytes as base64. JSON values stay as they are."""
    if isinstance(value, Part):
        return part_shape(value)
    if isinstance(value, Usage):
        return usage_shape(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value
