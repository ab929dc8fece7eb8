"""One part of an answer, in both directions: as pydantic-ai's part, and from it as the part that it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import (
    BinaryContent,
    Citation,
    CompactionPart,
    ContentCitationAnchor,
    DocumentCitationSource,
    FilePart,
    ModelResponsePart,
    NativeToolCallPart,
    NativeToolReturnPart,
    SpeechPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    WebCitationSource,
)

from brainwires_provider import types
from brainwires_provider.integrations.pydantic_ai.keeping import KEY, digest, keep, kept, note_of, restored
from brainwires_provider.integrations.pydantic_ai.names import is_named
from brainwires_provider.types import ImagePart, OpaquePart, Origin, Part, ReasoningPart

__all__ = ["DISCARDED", "citations_of", "part_of", "response_part", "seal_of", "whose", "with_signatures"]

DISCARDED = "discarded"
"""The mark of reasoning that was shown, and that another attempt took the place of."""

_COUNTS_CHARACTERS = ("openai_chat", "openai_responses")
"""The protocols whose citations have places in characters."""


def response_part(part: Part, provider: str) -> ModelResponsePart | None:
    """pydantic-ai's part for one of an answer; None for a text that is empty and no more than that."""
    match part:
        case types.TextPart(text=text) if text:
            return TextPart(
                text, provider_name=provider, provider_details=whose(part), citations=citations_of(part)
            )
        case ReasoningPart():
            return ThinkingPart(
                part.text, signature=seal_of(part), provider_name=provider, provider_details=whose(part)
            )
        case types.ToolCallPart():
            details = whose(part)
            call_id: dict[str, Any] = {"tool_call_id": part.call_id} if part.call_id else {}
            return ToolCallPart(
                part.name, part.arguments, **call_id, provider_name=provider, provider_details=details
            )
        case ImagePart(data=data) | types.FilePart(data=data) if data is not None:
            content = BinaryContent(data, media_type=part.media_type or "application/octet-stream")
            return FilePart(
                BinaryContent.narrow_type(content), provider_name=provider, provider_details=whose(part)
            )
        case OpaquePart():
            return _opaque(part, provider)
        case types.TextPart(extra=None, citations=()):
            return None
    return ThinkingPart("", provider_name=provider, provider_details=whose(part))


def _opaque(part: OpaquePart, provider: str) -> ModelResponsePart:
    """A hosted tool's call and result as such, a compaction as that; other items have no part of their own there."""
    details = whose(part)
    name = part.name or part.kind
    call_id: dict[str, Any] = {"tool_call_id": part.id} if part.id else {}
    if part.role == "call":
        given = part.data.get("input", part.data.get("action")) if isinstance(part.data, dict) else None
        args = given if isinstance(given, dict) else None
        return NativeToolCallPart(name, args, **call_id, provider_name=provider, provider_details=details)
    if part.role == "result":
        return NativeToolReturnPart(name, None, **call_id, provider_name=provider, provider_details=details)
    if part.kind == "compaction":
        return CompactionPart(None, provider_name=provider, provider_details=details)
    return ThinkingPart("", provider_name=provider, provider_details=details)


def whose(part: Part) -> dict[str, Any]:
    """What is kept of a part beside its content."""
    match part:
        case types.TextPart(text=text) if text:
            return keep(part, digest(text), "text")
        case ReasoningPart():
            content = digest(part.text, seal_of(part))
            if part.signature is not None:
                return keep(part, content, "text", "signature")
            details = keep(part, content, "text", "encrypted")
            if part.encrypted is not None:
                details[KEY]["sealed"] = "encrypted"
            return details
        case types.ToolCallPart():
            return keep(part, _of_call(part.name, part.arguments), "name", "arguments")
        case ImagePart(data=data) | types.FilePart(data=data) if data is not None:
            return keep(part, digest(data), "data")
        case OpaquePart() if part.role is not None:
            return keep(part, digest(part.name or part.kind))
        case OpaquePart(kind="compaction"):
            return keep(part, digest(None))
    return keep(part, digest("", None))


def seal_of(part: ReasoningPart) -> str | None:
    """What the provider signs or encrypts the reasoning with."""
    return part.signature if part.signature is not None else part.encrypted


def _of_call(name: str, arguments: str | Mapping[str, Any] | None) -> str:
    """The digest of a call: the same for the same JSON value, as a text or as an object."""
    value: Any = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments)
        except ValueError:
            return digest(name, arguments)
    return digest(name, json.dumps(value, sort_keys=True, separators=(",", ":")))


def citations_of(part: types.TextPart) -> list[Citation] | None:
    """A text's citations in pydantic-ai's form; None if there are none."""
    return [found for each in part.citations if (found := _citation(each, part)) is not None] or None


def _citation(cited: types.Citation, part: types.TextPart) -> Citation | None:
    excerpts = [cited.quote] if cited.quote else []
    if cited.url:
        source: Any = WebCitationSource(cited.url, title=cited.title, excerpts=excerpts)
    elif cited.source or cited.title or excerpts:
        source = DocumentCitationSource(document_id=cited.source, title=cited.title, excerpts=excerpts)
    else:
        return None
    return Citation([source], anchor=_anchor(cited, part))


def _anchor(cited: types.Citation, part: types.TextPart) -> ContentCitationAnchor | None:
    start, end = cited.start, cited.end
    counted = part.origin is not None and part.origin.protocol in _COUNTS_CHARACTERS
    if not counted or start is None or end is None or not 0 <= start < end <= len(part.text):
        return None
    return ContentCitationAnchor(start=start, end=end)


def part_of(part: ModelResponsePart, own: Origin, provider: str) -> Part | None:
    """The part of an assistant's turn for pydantic-ai's; None for what is not sent.

    `own` is the origin of the model that is asked, `provider` pydantic-ai's name of its provider: a thought that
    pydantic-ai's own class for that provider has signed is the model's, too.
    """
    match part:
        case TextPart():
            return _text(part, own, provider)
        case ThinkingPart():
            return _thinking(part, own, provider)
        case ToolCallPart():
            return _call(part, own, provider)
        case FilePart():
            return _file(part, own, provider)
        case NativeToolCallPart() | NativeToolReturnPart():
            fields = kept(part.provider_details, digest(part.tool_name))
            return None if fields is None else restored(fields, OpaquePart)
        case CompactionPart():
            fields = kept(part.provider_details, digest(part.content))
            whole = None if fields is None else restored(fields, OpaquePart)
            return whole or (types.TextPart(part.content) if part.content else None)
        case SpeechPart():
            return types.TextPart(part.content) if part.content else None


def _text(part: TextPart, own: Origin, provider: str) -> Part | None:
    fields = kept(part.provider_details, digest(part.content))
    whole = None if fields is None else restored(fields, types.TextPart, text=part.content)
    if whole is not None:
        return whole
    if not is_named(part.provider_name, provider) or note_of(part.provider_details):
        return types.TextPart(part.content) if part.content else None
    has_item = part.id is not None and own.protocol == "openai_responses"
    extra = {"message": {"id": part.id}} if has_item else _signature(part, own)
    return types.TextPart(part.content, extra=extra, origin=own) if part.content or extra else None


def _signature(part: Any, own: Origin) -> dict[str, Any] | None:
    """The fields beside a part that pydantic-ai's own class for Gemini made: its signature."""
    found = (part.provider_details or {}).get("thought_signature") if own.protocol == "gemini" else None
    return {"thoughtSignature": found} if found else None


def with_signatures(parts: Sequence[Any], own: Origin, provider: str) -> Iterator[Any]:
    """The parts; those of pydantic-ai's class for Gemini before version 2 with their own signatures.

    There, the thought before a part has its signature.
    """
    waiting: str | None = None
    for part in parts:
        if waiting and isinstance(part, (TextPart, ToolCallPart, FilePart)):
            details = {"thought_signature": waiting, **(part.provider_details or {})}
            yield replace(part, provider_name=provider, provider_details=details)
        else:
            yield part
        waiting = None
        if isinstance(part, ThinkingPart) and not note_of(part.provider_details):
            signs_next = own.protocol == "gemini" and is_named(part.provider_name, provider)
            waiting = part.signature if signs_next else None


def _thinking(part: ThinkingPart, own: Origin, provider: str) -> Part | None:
    """Reasoning; or what has no part of its own in pydantic-ai, and travels as an empty thought."""
    note = note_of(part.provider_details)
    if note.get(DISCARDED):
        return None
    fields = kept(part.provider_details, digest(part.content, part.signature))
    if fields is not None and fields.get("type") != "reasoning":
        whole: Any = restored(fields, Part)  # type: ignore[arg-type]
        return whole if isinstance(whole, Part) else None
    if fields is not None:
        seal = "encrypted" if note.get("sealed") == "encrypted" else "signature"
        sealed = {} if part.signature is None else {seal: part.signature}
        return restored(fields, ReasoningPart, text=part.content, **sealed)
    if note:  # edited: what was signed is no longer said
        return ReasoningPart(part.content, origin=_origin(note)) if part.content else None
    if is_named(part.provider_name, provider):
        return _of_own_class(part, own)
    return ReasoningPart(part.content) if part.content else None


def _origin(note: Mapping[str, Any]) -> Origin | None:
    part = note.get("part")
    origin = part.get("origin") if isinstance(part, dict) else None
    return restored(origin, Origin) if isinstance(origin, dict) else None


def _of_own_class(part: ThinkingPart, own: Origin) -> Part | None:
    """A thought in a history that pydantic-ai's own class for this provider made."""
    if part.id in ("redacted_thinking", "redacted_content"):
        return ReasoningPart(encrypted=part.signature, redacted=True, origin=own)
    if own.protocol == "openai_responses":
        summary = (part.content,) if part.content else ()
        extra = {"id": part.id} if part.id else None
        return ReasoningPart(part.content, summary, encrypted=part.signature, extra=extra, origin=own)
    if own.protocol == "gemini":
        signature = (_signature(part, own) or {}).get("thoughtSignature")
        return ReasoningPart(part.content, signature=signature, origin=own) if part.content else None
    return ReasoningPart(part.content, signature=part.signature, origin=own)


def _call(part: ToolCallPart, own: Origin, provider: str) -> Part:
    fields = kept(part.provider_details, _of_call(part.tool_name, "" if part.args is None else part.args))
    if fields is not None and part.tool_call_id in (fields.get("id"), fields.get("local_id")):
        arguments = part.args if isinstance(part.args, str) else part.args_as_json_str()
        whole = restored(fields, types.ToolCallPart, name=part.tool_name, arguments=arguments)
        if whole is not None:
            return whole
    extra = _signature(part, own) if is_named(part.provider_name, provider) else None
    return types.ToolCallPart(
        part.tool_call_id,
        part.tool_name,
        part.args_as_json_str(),
        extra=extra,
        origin=own if extra else None,
    )


def _file(part: FilePart, own: Origin, provider: str) -> Part:
    content = part.content
    fields = kept(part.provider_details, digest(content.data)) or {}
    kind: Any = ImagePart if fields.get("type", "image") == "image" and content.is_image else types.FilePart
    whole: Part | None = restored(fields, kind, data=content.data) if fields else None
    if whole is not None:
        return whole
    is_own = is_named(part.provider_name, provider) and not note_of(part.provider_details)
    extra = _signature(part, own) if is_own else None
    origin = own if extra else Origin("pydantic_ai", part.provider_name or "pydantic_ai")
    made: Part = kind(data=content.data, media_type=content.media_type, extra=extra, origin=origin)
    return made
