"""Content blocks of LangChain as parts of a message, and parts as LangChain's standard blocks.

Taken are the standard blocks of LangChain 1, its older data blocks, and the forms of OpenAI, Anthropic and Google that
LangChain's own classes take.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from brainwires_provider.types import (
    Cache,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    Response,
    TextPart,
    ToolArgumentsError,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["blocks_of", "cache_of", "call_args", "invalid_call", "is_cut", "parts_of", "unbegun_call"]

Block = Mapping[str, Any]

_CALLS = frozenset(
    ("tool_call", "invalid_tool_call", "tool_use", "tool_call_chunk", "function_call", "input_json_delta")
)
_PASSED = frozenset(("server_tool_call", "server_tool_call_chunk", "server_tool_result", "non_standard"))
_LANGCHAIN = Origin("langchain", "langchain")
_AUDIO = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}
_GIVEN = ("url", "base64", "data", "file_id", "id")


def parts_of(content: str | Iterable[str | Block], where: str) -> list[Part]:
    """The parts of a message's content. `where` names the message in errors.

    Calls of tools are left out: LangChain has them in the message's `tool_calls`. Raises ValueError for a block of an
    unknown form.
    """
    if isinstance(content, str):
        return [TextPart(content)] if content else []
    parts: list[Part] = []
    for place, block in enumerate(content):
        if isinstance(block, str):
            parts.extend([TextPart(block)] if block else [])
        elif "cachePoint" in block:
            parts[-1:] = [_marked(part, Cache()) for part in parts[-1:]]
        elif (kind := str(block.get("type"))) not in _CALLS:
            part = _part_of(kind, block, f"{where}.content[{place}]")
            parts.append(_marked(part, cache_of(block)))
    return parts


def cache_of(block: Block) -> Cache | None:
    """The prompt-cache mark of a block or tool, in Anthropic's form."""
    control = block.get("cache_control") or (block.get("extras") or {}).get("cache_control")
    return Cache(control.get("ttl")) if isinstance(control, Mapping) else None


def _marked(part: Part, cache: Cache | None) -> Part:
    return part if cache is None or isinstance(part, RefusalPart) else replace(part, cache=cache)


def _part_of(kind: str, block: Block, where: str) -> Part:
    make = _FORMS.get(kind)
    try:
        if make is not None:
            return make(block)
        if kind in _PASSED:
            return _foreign(block)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}, of type {kind!r}, is not of that form: {error!r}") from None
    raise ValueError(
        f"{where} has the type {kind!r}, which is not known; known are {', '.join(sorted({*_FORMS, *_PASSED}))}"
    )


def _text(block: Block) -> Part:
    return TextPart(block["text"])


def _reasoning(block: Block) -> Part:
    text = block.get("reasoning") or block.get("thinking") or ""
    return ReasoningPart(text if isinstance(text, str) else json.dumps(text))


def _refusal(block: Block) -> Part:
    return RefusalPart(block["refusal"])


def _foreign(block: Block) -> Part:
    """What another provider's class made: kept, and reported as not sent."""
    return OpaquePart(str(block["type"]), dict(block), origin=_LANGCHAIN)


def _image_url(block: Block) -> Part:
    given = block["image_url"]
    if isinstance(given, str):
        return ImagePart(url=given)
    return ImagePart(url=given["url"], detail=given.get("detail"))


def _image(block: Block) -> Part:
    detail = block.get("detail") or (block.get("extras") or {}).get("detail")
    return ImagePart(**_media(block), detail=detail)


def _file(block: Block) -> Part:
    given = block.get("file")
    if not isinstance(given, Mapping):
        return FilePart(**_media(block), name=_name(block))
    if "file_id" in given:
        return FilePart(file_id=given["file_id"], name=given.get("filename"))
    data = given["file_data"]
    if not data.startswith("data:"):
        return FilePart(data=base64.b64decode(data, validate=True), name=given.get("filename"))
    return FilePart(url=data, name=given.get("filename"))


def _audio(block: Block) -> Part:
    given = block["input_audio"]
    kind = _AUDIO.get(given["format"], f"audio/{given['format']}")
    return FilePart(data=base64.b64decode(given["data"], validate=True), media_type=kind)


def _plain(block: Block) -> Part:
    if "text" in block:
        return FilePart(data=block["text"].encode(), media_type="text/plain", name=_name(block))
    return FilePart(**_media({"mime_type": "text/plain", **block}), name=_name(block))


def _document(block: Block) -> Part:
    return FilePart(**_media(block), name=block.get("title"))


def _google_media(block: Block) -> Part:
    kind = block["mime_type"]
    given: dict[str, Any] = {"media_type": kind}
    if "file_uri" in block:
        given["url"] = block["file_uri"]
    else:
        data = block["data"]
        given["data"] = data if isinstance(data, bytes) else base64.b64decode(data, validate=True)
    return ImagePart(**given) if kind.startswith("image/") else FilePart(**given)


def _name(block: Block) -> str | None:
    extras = block.get("extras") or block.get("metadata") or {}
    names = (block.get("filename"), block.get("title"), block.get("name"))
    extra = (extras.get("filename"), extras.get("title"), extras.get("name"))
    return next((name for name in (*names, *extra) if name), None)


def _media(block: Block) -> dict[str, Any]:
    """What a media part takes: Anthropic's `source`, LangChain's fields, and its older ones with `source_type`."""
    source = block.get("source")
    if isinstance(source, Mapping):
        return _source(source)
    kind = block.get("mime_type")
    how = block.get("source_type")
    if how == "text":
        return {"data": block["text"].encode(), "media_type": kind or "text/plain"}
    if block.get("url"):
        return {"url": block["url"], "media_type": kind}
    if data := block.get("base64") or (block.get("data") if how in (None, "base64") else None):
        return {"data": base64.b64decode(data, validate=True), "media_type": kind}
    if file_id := block.get("file_id") or (block.get("id") if how == "id" else None):
        return {"file_id": file_id, "media_type": kind}
    raise ValueError(f"it has none of {', '.join(_GIVEN)}")


def _source(source: Block) -> dict[str, Any]:
    match source.get("type"):
        case "base64":
            data = base64.b64decode(source["data"], validate=True)
            return {"data": data, "media_type": source["media_type"]}
        case "url":
            return {"url": source["url"]}
        case "file":
            return {"file_id": source["file_id"]}
        case "text":
            return {"data": source["data"].encode(), "media_type": source.get("media_type", "text/plain")}
        case other:
            raise ValueError(f"its source has the type {other!r}, not base64, url, file or text")


def _result(block: Block) -> Part:
    """A tool's result in Anthropic's form."""
    content = parts_of(block.get("content") or "", "tool_result")
    return ToolResultPart(block["tool_use_id"], content, is_error=bool(block.get("is_error")))


_FORMS: dict[str, Callable[[Block], Part]] = {
    "text": _text,
    "output_text": _text,
    "input_text": _text,
    "reasoning": _reasoning,
    "thinking": _reasoning,
    "refusal": _refusal,
    "redacted_thinking": _foreign,
    "image_url": _image_url,
    "image": _image,
    "file": _file,
    "audio": lambda block: FilePart(**_media(block), name=_name(block)),
    "video": lambda block: FilePart(**_media(block), name=_name(block)),
    "text-plain": _plain,
    "input_audio": _audio,
    "document": _document,
    "media": _google_media,
    "tool_result": _result,
}


# -- parts as standard blocks --------------------------------------------------------------------------------


def blocks_of(part: Part) -> list[dict[str, Any]]:
    """A part as LangChain's standard content blocks; none for reasoning without text."""
    match part:
        case TextPart():
            notes = [_annotation(each) for each in part.citations]
            return [{"type": "text", "text": part.text, **({"annotations": notes} if notes else {})}]
        case ReasoningPart():
            return [{"type": "reasoning", "reasoning": part.text}] if part.text else []
        case RefusalPart():
            return [{"type": "refusal", "refusal": part.text}]
        case ImagePart():
            return [{"type": "image", **_given(part)}]
        case FilePart():
            kind = (part.media_type or "").partition("/")[0]
            return [{"type": kind if kind in ("audio", "video") else "file", **_given(part)}]
        case ToolCallPart():
            return [call_args(part)]
        case OpaquePart():
            return [_server_tool(part)]
        case _:
            return []


def _annotation(citation: Citation) -> dict[str, Any]:
    fields = {
        "url": citation.url,
        "title": citation.title or (None if citation.url else citation.source),
        "cited_text": citation.quote,
        "start_index": citation.start,
        "end_index": citation.end,
    }
    return {"type": "citation", **{name: value for name, value in fields.items() if value is not None}}


def _given(part: ImagePart | FilePart) -> dict[str, Any]:
    given: dict[str, Any] = {"mime_type": part.media_type} if part.media_type else {}
    if part.data is not None:
        return given | {"base64": base64.b64encode(part.data).decode()}
    return given | ({"url": part.url} if part.url is not None else {"file_id": part.file_id})


def _server_tool(part: OpaquePart) -> dict[str, Any]:
    data = part.data if isinstance(part.data, Mapping) else {}
    if part.role == "call":
        args = data.get("input") or data.get("action") or {}
        name, args = part.name or part.kind, args if isinstance(args, Mapping) else {"input": args}
        return {"type": "server_tool_call", "id": part.id or "", "name": name, "args": dict(args)}
    if part.role == "result":
        to = str(data.get("tool_use_id") or data.get("call_id") or part.id or "")
        output = data.get("content", data.get("output"))
        return {"type": "server_tool_result", "tool_call_id": to, "status": "success", "output": output}
    return {
        "type": "non_standard",
        "value": part.data if isinstance(part.data, dict) else {"data": part.data},
    }


def call_args(part: ToolCallPart) -> dict[str, Any]:
    """A call as LangChain's `tool_call`, or its `invalid_tool_call` where the arguments are no JSON object.

    The text of a call that has no JSON, such as a custom tool's, is `{"__arg1": text}`, as it is for LangChain's
    OpenAI class.
    """
    try:
        args = {"__arg1": part.arguments} if part.kind == "custom" else part.args()
    except ToolArgumentsError as error:
        return invalid_call(part, str(error))
    return {"type": "tool_call", "name": part.name, "args": args, "id": part.call_id}


def invalid_call(part: ToolCallPart, error: str) -> dict[str, Any]:
    """A call as LangChain's `invalid_tool_call`, which no agent runs."""
    shown = {"name": part.name, "args": part.arguments, "id": part.call_id, "error": error}
    return {"type": "invalid_tool_call", **shown}


def is_cut(part: ToolCallPart) -> bool:
    """Whether a call's arguments are not what `call_args` can read."""
    return bool(call_args(part)["type"] != "tool_call")


def unbegun_call(response: Response[Any]) -> ToolCallPart | None:
    """The call in which a response ended at its limit of tokens before the arguments began.

    It looks like a call without arguments.
    """
    last = response.message.content[-1] if response.message.content else None
    if response.finish_reason != "length" or not isinstance(last, ToolCallPart):
        return None
    return None if last.arguments.strip() else last
