"""pydantic-ai's messages as this library's: what the user and the tools say, and the turns of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import (
    BinaryContent,
    CachePoint,
    FileUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    SystemPromptPart,
    TextContent,
    ToolReturnPart,
    UploadedFile,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import download_item

from brainwires_provider.integrations.pydantic_ai.answers import part_of, with_signatures
from brainwires_provider.integrations.pydantic_ai.keeping import note_of
from brainwires_provider.integrations.pydantic_ai.private import sendable
from brainwires_provider.types import (
    Cache,
    FilePart,
    ImagePart,
    Message,
    Origin,
    Part,
    TextPart,
    ToolResultPart,
)

__all__ = ["History", "has_urls", "state_of", "with_downloads"]

_ERROR_FLAG = ("anthropic_messages", "bedrock_converse", "google_interactions")
"""The protocols that have a flag for a tool's failure; elsewhere its text says that it has failed."""


class History:
    """A conversation of pydantic-ai for one model: `system` and `messages`.

    `own` is the origin of the model that is asked, `provider` pydantic-ai's name of its provider.
    """

    def __init__(self, messages: Sequence[ModelMessage], own: Origin, provider: str) -> None:
        self._own = own
        self._provider = provider
        self.system: list[str] = []
        self.messages: list[Message] = []
        for message in messages:
            if isinstance(message, ModelRequest):
                self._request(message)
            else:
                self._answer(message)

    def _request(self, request: ModelRequest) -> None:
        results: list[Part] = []
        for part in sendable(request.parts):
            if isinstance(part, ToolReturnPart):
                results.append(self._result(part))
                continue
            self._flush(results)
            if isinstance(part, SystemPromptPart):
                self._prompt(part)
            elif isinstance(part, UserPromptPart):
                self._said(part)
            else:
                raise UserError(
                    f"a {type(part).__name__} cannot be sent as it is: pass the messages through "
                    "model.prepare_messages(…) first, as an agent does"
                )
        self._flush(results)

    def _flush(self, results: list[Part]) -> None:
        if results:
            self.messages.append(Message("tool", tuple(results)))
            results.clear()

    def _prompt(self, part: SystemPromptPart) -> None:
        """What stands before all else is the system prompt; what comes later stays in its place."""
        if not part.content:
            return
        if self.messages:
            self.messages.append(Message.system(part.content))
        else:
            self.system.append(part.content)

    def _said(self, part: UserPromptPart) -> None:
        content = _content(part.content, self._provider)
        if content:
            self.messages.append(Message("user", content))

    def _result(self, part: ToolReturnPart) -> ToolResultPart:
        failed = part.outcome in ("failed", "retried")
        wrapped = failed and self._own.protocol not in _ERROR_FLAG
        if part.files:
            items = part.content_items(mode="str", wrap_if_error=wrapped)
            content = _content(items, self._provider)
        else:
            content = (TextPart(part.model_response_str(wrap_if_error=wrapped)),)
        return ToolResultPart(part.tool_call_id, content, is_error=failed, name=part.tool_name)

    def _answer(self, response: ModelResponse) -> None:
        note = note_of(response.provider_details)
        given = with_signatures(response.parts, self._own, self._provider)
        parts = [part_of(part, self._own, self._provider) for part in given]
        order = note.get("order")
        places = range(len(parts))
        if isinstance(order, list) and len(order) == len(parts) and all(at in order for at in places):
            parts = [parts[order.index(at)] for at in places]
        given_extra = note.get("message")
        extra = given_extra if isinstance(given_extra, dict) else None
        content = tuple(part for part in parts if part is not None)
        if content or extra:
            self.messages.append(Message("assistant", content, extra=extra))


def state_of(messages: Sequence[ModelMessage], provider: str) -> Mapping[str, Any] | None:
    """What the provider's last answer asks the next request to repeat: Anthropic's container."""
    for message in reversed(messages):
        if isinstance(message, ModelResponse) and message.provider_name == provider:
            state = note_of(message.provider_details).get("state")
            return state if isinstance(state, dict) else None
    return None


# -- content --------------------------------------------------------------------------------------------------


def _content(content: str | Sequence[Any], provider: str) -> tuple[Any, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    parts: list[Any] = []
    for item in content:
        if isinstance(item, CachePoint):
            if not parts:
                raise UserError("a CachePoint marks what stands before it, and nothing does")
            parts[-1] = replace(parts[-1], cache=Cache(item.ttl))
        elif isinstance(item, str):
            parts += [TextPart(item)] if item else []
        elif isinstance(item, TextContent):
            parts += [TextPart(item.content)] if item.content else []
        else:
            parts.append(_media(item, provider))
    return tuple(parts)


def _media(item: Any, provider: str) -> ImagePart | FilePart:
    """An image or a file, by its bytes, its URL, or a provider's id."""
    where: dict[str, Any]
    if isinstance(item, BinaryContent):
        is_image, where = item.is_image, {"data": item.data}
    elif isinstance(item, FileUrl):
        is_image, where = isinstance(item, ImageUrl), {"url": item.url}
    elif isinstance(item, UploadedFile):
        if item.provider_name != provider:
            raise UserError(
                f"the file {item.file_id!r} is {item.provider_name}'s, and cannot be sent to {provider}"
            )
        is_image = item.media_type.startswith("image/")
        where = {"url" if "://" in item.file_id else "file_id": item.file_id}
    else:
        raise UserError(f"a {type(item).__name__} cannot be sent to a model")
    media_type = _media_type(item)
    if is_image:
        detail = (item.vendor_metadata or {}).get("detail")
        return ImagePart(**where, media_type=media_type, detail=detail)
    return FilePart(**where, media_type=media_type)


def _media_type(item: Any) -> str | None:
    try:
        found: str | None = item.media_type
    except ValueError:  # by the address it is not known
        return None
    return None if found == "application/octet-stream" else found


# -- downloads ------------------------------------------------------------------------------------------------


def has_urls(messages: Sequence[ModelMessage]) -> bool:
    """Whether there is an address that could be downloaded."""
    return any(isinstance(item, FileUrl) for items in _given(messages) for item in items)


async def with_downloads(messages: Sequence[ModelMessage], *, all_of_them: bool) -> list[ModelMessage]:
    """The messages with the bytes in place of addresses: of those that `force_download` names, or of all.

    pydantic-ai downloads them, with its protection against addresses of this network, and its limits.
    """
    made = list(messages)
    for at, message in enumerate(messages):
        if isinstance(message, ModelRequest):
            parts = [await _downloaded(part, all_of_them) for part in message.parts]
            if any(part is not other for part, other in zip(parts, message.parts, strict=True)):
                made[at] = _with(message, parts=parts)
    return made


async def _downloaded(part: ModelRequestPart, all_of_them: bool) -> ModelRequestPart:
    if not isinstance(part, (UserPromptPart, ToolReturnPart)) or isinstance(part.content, str):
        return part
    is_list = isinstance(part.content, (list, tuple))
    given: Any = part.content
    items: list[Any] = list(given) if is_list else [given]
    changed = False
    for at, item in enumerate(items):
        if isinstance(item, FileUrl) and (all_of_them or item.force_download):
            got = await download_item(item, data_format="bytes")
            items[at] = BinaryContent(
                got["data"], media_type=got["data_type"], vendor_metadata=item.vendor_metadata
            )
            changed = True
    if not changed:
        return part
    made: ModelRequestPart = _with(part, content=items if is_list else items[0])
    return made


def _given(messages: Sequence[ModelMessage]) -> Iterator[Sequence[UserContent]]:
    for message in messages:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, UserPromptPart) and not isinstance(part.content, str):
                yield part.content
            elif isinstance(part, ToolReturnPart):
                yield part.files


def _with(value: Any, **changes: Any) -> Any:
    from dataclasses import replace as replaced

    return replaced(value, **changes)
