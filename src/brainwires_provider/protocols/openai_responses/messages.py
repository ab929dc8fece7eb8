"""Messages as the input items of a Responses request.

Each turn is encoded by itself, so that a longer history begins with the very items of a shorter one. Only the leading
system messages become instructions; a later one is an item at its place.

An assistant's turn goes back as the items that it was. What is bound to a model (reasoning) goes back to that model,
what is bound to the protocol (items of hosted tools, annotations) to any model of it; the rest is dropped and
reported. Reasoning and the item that follows it go together, since the service refuses one without the other:
reasoning that nothing follows is left out, and where reasoning is dropped, what followed it is sent without the ids by
which the service would miss it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    MessageEncoderBase,
    base64_of,
    part_name,
    tool_name,
    wire_id,
)
from brainwires_provider.protocols.openai_responses.continuation import BY_KIND, BY_RESULT, shape_of
from brainwires_provider.protocols.openai_responses.options import OpenAIResponsesOptions, ResponsesQuirks
from brainwires_provider.protocols.openai_responses.parts import Item, encode_part
from brainwires_provider.types import (
    Extra,
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

__all__ = ["encode_messages", "encode_turn"]

_BOUND = frozenset((ReasoningPart, OpaquePart, ImagePart, FilePart, ToolResultPart))
_PIECES = frozenset((TextPart, RefusalPart))
_AUDIO_FORMATS = {"audio/x-wav": "wav", "audio/mpeg": "mp3"}  # others: the subtype
_IDS = ("id", "status")
_LONGEST_ID = 64  # 2026-09: https://github.com/fawney19/Aether/pull/829
# How ids of items begin; one that begins otherwise is refused (2026-07: https://github.com/nodetool-ai/nodetool/pull/4252).
_STARTS = {"function_call": "fc", "custom_tool_call": "ctc", "message": "msg", "reasoning": "rs"}
_PLACE = ("message", "content_index", "piece")
_PLAIN = {"type", "text"}
_Content: TypeAlias = Callable[[Sequence[Part]], "str | list[Item]"]


def encode_messages(
    messages: Sequence[Message], origin: Origin, quirks: ResponsesQuirks, reader: OptionReader
) -> tuple[str | None, list[Item]]:
    """The instructions, if there are any, and the input items in order.

    Raises UnsupportedError for content that Responses does not have.
    """
    return MessageEncoder(origin, quirks, reader).encode(messages)


def encode_turn(message: Message, origin: Origin, quirks: ResponsesQuirks) -> list[Item]:
    """The items that a later request sends for a received turn. Raises UnsupportedError as that request does."""
    reader = OptionReader(Request((message,), ""), OpenAIResponsesOptions)
    return MessageEncoder(origin, quirks, reader).encode((message,))[1]


class MessageEncoder(MessageEncoderBase):
    """Encodes the messages of one request; `reader` gathers what is not sent as given."""

    def __init__(self, origin: Origin, quirks: ResponsesQuirks, reader: OptionReader) -> None:
        super().__init__(origin, reader)
        self._quirks = quirks
        self._protocol = origin.protocol
        self._calls: dict[str, ToolCallPart] = {}

    def encode(self, messages: Sequence[Message]) -> tuple[str | None, list[Item]]:
        """The instructions and the items."""
        instructions: list[str] = []
        items: list[Item] = []
        leads = True
        try:
            for index, message in self.sendable(messages):
                self.at = (index,)
                if leads := leads and self._is_instruction(message):
                    instructions.append(message.text)
                else:
                    items += self._message(message)
        except UnsupportedError as error:
            raise (error if error.provider else self.unsupported(error.message)) from None
        return "\n\n".join(instructions) if instructions else None, items

    def _is_instruction(self, message: Message) -> bool:
        """Plain leading text; what has a mark or fields of its own stays an item, where it can keep them."""
        return (
            message.role == "system"
            and not message.extra
            and message.name is None
            and all(
                isinstance(p, TextPart) and not p.extra and (p.cache is None or not self._quirks.cache_marks)
                for p in message.content
            )
        )

    def _message(self, message: Message) -> Iterable[Item]:
        if message.name is not None:
            self.dropped("this protocol has no names for speakers", ".name")
        if message.role == "assistant":
            return self._assistant(message)
        content = message.content
        if len(content) == 1:
            if type(content[0]) is ToolResultPart:
                return (self._result(content[0]),)
            if type(content[0]) is TextPart:
                return (self._said(message, content),)
        return self._mixed(message)

    # -- system, developer, user, tool -----------------------------------------------------------------------

    def _mixed(self, message: Message) -> list[Item]:
        """Results and whole items stand by themselves; what is said around them is a message."""
        items: list[Item] = []
        said: list[Part] = []
        for part in message.content:
            if not isinstance(part, ToolResultPart) and not _is_item(part):
                said.append(part)
                continue
            if said:
                items.append(self._said(message, said))
                said = []
            items.append(self._result(part) if isinstance(part, ToolResultPart) else self._own(part))
        if said or not message.content:
            items.append(self._said(message, said))
        return items

    def _said(self, message: Message, parts: Sequence[Part]) -> Item:
        role: str = message.role
        if role == "tool":
            raise UnsupportedError("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        if role == "developer" and not self._quirks.developer_role:
            role = "system"
            self.adapted("this service has no developer role: sent as system", ".role")
        item: Item = {"role": role, "content": self._content(parts)}
        return {**item, **self.reader.take_extra(message)} if message.extra else item

    def _own(self, part: Part) -> Item:
        """An item that the caller made (an item_reference, a compaction_trigger), or had of this protocol."""
        assert isinstance(part, OpaquePart)
        if not isinstance(part.data, dict) or not self.is_own(part):
            raise UnsupportedError(f"{part_name(part)} is no item of this protocol")
        return dict(part.data)

    def _content(self, parts: Sequence[Part]) -> str | list[Item]:
        if not parts:
            return ""
        only = parts[0]
        if len(parts) == 1 and type(only) is TextPart and only.cache is None and not only.extra:
            return only.text
        return [self._piece(part) for part in parts]

    def _piece(self, part: Part) -> Item:
        """One piece of a user's, system's or tool's content."""
        if isinstance(part, FilePart) and part.url is not None and not self._quirks.file_urls:
            raise UnsupportedError("this service takes files as data or file_id; URLs are never fetched")
        piece = encode_content(part)
        if isinstance(part, OpaquePart):
            return piece
        if part.extra and part.origin is None:
            piece.update(self.reader.take_extra(part))
        cache = self.reader.take_cache(part) if self._quirks.cache_marks else None
        if cache is not None:
            mark = {"mode": "explicit", "ttl": cache.ttl} if cache.ttl else {"mode": "explicit"}
            piece["prompt_cache_breakpoint"] = mark
        return piece

    def _result(self, part: ToolResultPart) -> Item:
        """The item that answers a call; without the call at hand, `extra["type"]` names it, else a function's."""
        call = self._calls.get(part.call_id)
        extra = self.reader.take_extra(part) if part.extra else None
        if len(part.call_id) > _LONGEST_ID:
            part = replace(part, call_id=_call_id(part.call_id))
        named = BY_RESULT.get(str(extra.get("type"))) if extra else None
        shape = named or (BY_KIND["function"] if call is None else shape_of(call))
        if part.is_error and shape.kind not in _WITH_ERROR:
            self.report_error_flag(part, "")
        item = {"type": shape.answer, **_RESULTS[shape.answer](part, self._content)}
        if call is not None and call.extra and call.kind == shape.kind != "mcp_approval":
            caller = call.extra.get("caller")
            if caller is not None:
                item["caller"] = caller
        return {**item, **extra} if extra else item

    # -- assistant -------------------------------------------------------------------------------------------

    def _assistant(self, message: Message) -> Iterable[Item]:
        """A turn's items. A piece is sent in the message that it came in, or that the pieces before it began."""
        content, unbound = message.content, False
        if (
            len(content) == 1
            and type(content[0]) is TextPart
            and not (content[0].extra or content[0].citations or message.extra)
        ):
            return (
                self._envelope(message, content[0], None, unbound, content[0].text),
            )  # what most turns are
        dropped: Container[int] = ()
        for part in content:
            if type(part) in _BOUND:
                dropped, unbound = self._dropped(content)
                break
        items: list[Item] = []
        pieces: list[Item] | None = None
        current: Any = None
        for index, part in enumerate(content):
            if index in dropped:
                continue
            origin = part.origin
            is_ours = origin is None or origin.protocol == self._protocol
            extra = part.extra if is_ours else None
            is_kept_piece = type(part) is OpaquePart and isinstance((extra or {}).get("message"), dict)
            if type(part) not in _PIECES and not is_kept_piece:
                pieces = None
                items.append(self._item(part, extra, unbound))
                continue
            if origin is None:
                extra = None
            fields = (extra or {}).get("message")
            fields = fields if isinstance(fields, dict) else None
            goes_on = fields is None or (extra is not None and extra.get("content_index"))
            if pieces is None or fields != current or not goes_on:
                pieces, current = [], fields
                items.append(self._envelope(message, part, fields, unbound))
            pieces.append(self._piece_back(part, extra, index))
            items[-1]["content"] = _shortest(pieces) if fields is None and "id" not in items[-1] else pieces
        return items

    def _dropped(self, content: tuple[Part, ...]) -> tuple[Container[int], bool]:
        """The places of the parts that do not go back, which are reported; and whether reasoning of ours is one."""
        reasons: dict[int, str] = {}
        unbound = False
        for index, part in enumerate(content):
            reason = self.objection(part) if type(part) in _BOUND else None
            is_item = isinstance(part, ImagePart) and "id" in (part.extra or {})
            if reason is None and isinstance(part, (ImagePart, FilePart)) and not is_item:
                reason = "media of this kind cannot be sent as the assistant's"
            if isinstance(part, OpaquePart) and part.kind == "image_generation_call" and reason is None:
                reason = None if (part.data or {}).get("result") else "its image has not arrived"
            if reason is not None:
                reasons[index] = reason
                unbound = unbound or (isinstance(part, ReasoningPart) and self.is_own(part))
        if unbound:
            reason = "the reasoning that led to it is another model's and is dropped"
            for index, part in enumerate(content):
                if isinstance(part, OpaquePart) and part.role is not None and part.origin is not None:
                    reasons.setdefault(index, reason)
        followed = False
        for index in range(len(content) - 1, -1, -1):
            if index in reasons:
                continue
            part = content[index]
            if type(part) is not ReasoningPart:
                followed = part.origin is not None and part.origin.protocol == self._protocol
            elif not followed:
                reasons[index] = "the item that it led to does not follow it: it would be refused"
        for index in sorted(reasons):
            self.dropped(reasons[index], f".content[{index}]")
        return reasons, unbound

    def _item(self, part: Part, extra: Extra | None, unbound: bool) -> Item:
        """A part that goes back and is no piece of a message."""
        if part.origin is None and extra:
            extra = self.reader.take_extra(part)
        if type(part) is ToolCallPart:
            self._calls[part.call_id] = part
            if unbound and extra and "id" in extra:
                extra = {name: value for name, value in extra.items() if name != "id"}
            part = self._callable(part)
        item = encode_part(part, extra)
        if type(part) is OpaquePart and part.origin is None and extra:
            item |= extra
        return self._as_input(item, part)

    def _callable(self, part: ToolCallPart) -> ToolCallPart:
        """A call as this API takes it, whichever made it."""
        if not part.arguments.strip() and part.kind != "custom" and not self.is_own(part):
            part = replace(part, arguments="{}")
        self.report_kind(part, "", *BY_KIND)
        if (name := tool_name(part.name, self._quirks.tool_names, self)) != part.name:
            part = replace(part, name=name)
        id = _call_id(part.call_id)
        if id != part.call_id:
            self.adapted(f"this API takes up to {_LONGEST_ID} characters in ids of calls", ".id")
            part = replace(part, id=id)
        return part

    def _as_input(self, item: Item, part: Part) -> Item:
        """An item that came as output: without nulls, which are refused, and without the id of another service."""
        if part.origin is None:
            return item
        start = _STARTS.get(str(item.get("type")), "")
        if part.origin.provider != self.origin.provider and not str(item.get("id")).startswith(start):
            item = {k: v for k, v in item.items() if k != "id"}
        if item.get("type") == "image_generation_call":
            item = {name: item[name] for name in ("type", *_IDS, "result") if name in item}
        action = item.get("action")
        if isinstance(action, dict) and None in action.values():
            item = {**item, "action": {k: v for k, v in action.items() if v is not None}}
        return {k: v for k, v in item.items() if v is not None} if None in item.values() else item

    def _envelope(
        self, message: Message, part: Part, fields: Extra | None, unbound: bool, content: Any = ""
    ) -> Item:
        """The item that holds a message's pieces."""
        if fields is not None:
            item = {"type": "message", "role": "assistant", **fields}
            if unbound:
                return {k: v for k, v in item.items() if k not in _IDS}
            return self._as_input(item, part)
        item = {"type": "message", "role": "assistant", "content": content}  # llama.cpp demands the type
        if message.extra and all(part.origin is None for part in message.content):
            item |= self.reader.take_extra(message)
        return item

    def _piece_back(self, part: Part, extra: Extra | None, index: int) -> Item:
        """One piece of an assistant's message; `extra` is what the service said of it, None if it is not ours."""
        if isinstance(part, OpaquePart):
            return dict(part.data)
        piece: Item
        if isinstance(part, TextPart):
            piece = {"type": "output_text", "text": part.text}
            cited = self._annotations(part, index) if part.citations else []
            if cited or extra is not None:
                piece["annotations"] = cited
        else:
            assert isinstance(part, RefusalPart)
            piece = {"type": "refusal", "refusal": part.text}
        if extra and len(extra) > 1:
            piece |= {k: v for k, v in extra.items() if k not in _PLACE}
            own = extra.get("piece")
            piece |= own if isinstance(own, dict) else {}
        return piece

    def _annotations(self, part: TextPart, index: int) -> list[Any]:
        ours = self.is_own(part)
        cited = [each.raw for each in part.citations if ours and isinstance(each.raw, dict)]
        self.report_citations(part, f".content[{index}]", len(cited))
        return cited


def _call_id(call_id: str) -> str:
    return call_id if len(call_id) <= _LONGEST_ID else wire_id(call_id, longest=_LONGEST_ID)


def _shortest(pieces: list[Item]) -> Any:
    """Text alone where that is all."""
    only = pieces[0]
    return only["text"] if len(pieces) == 1 and only.keys() == _PLAIN else pieces


def _is_item(part: Part) -> bool:
    """Whether an opaque part of a caller's message is an item of its own, and no piece of content."""
    return isinstance(part, OpaquePart) and not part.kind.startswith(("input_", "output_"))


# -- content -------------------------------------------------------------------------------------------------


def encode_content(part: Part) -> Item:
    """A piece of a user's, system's or tool's content. Raises UnsupportedError for a part that is none."""
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            return _encode_image(part)
        case FilePart():
            return _encode_file(part)
        case OpaquePart() if isinstance(part.data, dict):
            return dict(part.data)
    raise UnsupportedError(f"{part_name(part)} cannot be sent in a message of this role")


def _encode_image(part: ImagePart) -> Item:
    piece: Item = {"type": "input_image"}
    if part.file_id is not None:
        piece["file_id"] = part.file_id
    else:
        piece["image_url"] = part.url or _data_url(part)
    if part.detail is not None:
        piece["detail"] = part.detail
    return piece


def _encode_file(part: FilePart) -> Item:
    media_type = part.media_type or ""
    if media_type.startswith("video/"):
        raise UnsupportedError("the Responses API takes no video")
    if part.file_id is not None:
        return {"type": "input_file", "file_id": part.file_id}
    if media_type.startswith("audio/"):
        if part.url is not None:
            raise UnsupportedError("the Responses API takes audio as data; URLs are never fetched")
        form = _AUDIO_FORMATS.get(media_type, media_type.removeprefix("audio/"))
        return {"type": "input_audio", "input_audio": {"data": base64_of(part), "format": form}}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": part.name or "file", "file_data": _data_url(part)}


def _data_url(part: ImagePart | FilePart) -> str:
    if part.media_type is None:
        raise UnsupportedError(f"{part_name(part)} needs its media_type: the bytes do not show it")
    return f"data:{part.media_type};base64,{base64_of(part)}"


# -- tool results --------------------------------------------------------------------------------------------


def _plain(result: ToolResultPart, content: _Content) -> Item:
    return {"call_id": result.call_id, "output": content(result.content) if result.content else ""}


def _patch(result: ToolResultPart, content: _Content) -> Item:
    item: Item = {"call_id": result.call_id, "status": "failed" if result.is_error else "completed"}
    if result.content:
        item["output"] = _only_text(result, "an apply_patch call")
    return item


def _shell(result: ToolResultPart, content: _Content) -> Item:
    """The wire's own list of outputs where the caller gives it (as JSON), else the text as standard output."""
    given = _given(result)
    if not isinstance(given, list):
        outcome = {"type": "exit", "exit_code": 1 if result.is_error else 0}
        given = [{"stdout": _only_text(result, "a shell call"), "stderr": "", "outcome": outcome}]
    return {"call_id": result.call_id, "output": given}


def _local_shell(result: ToolResultPart, content: _Content) -> Item:
    return {"id": result.call_id, "output": _only_text(result, "a local_shell call")}


def _tools(result: ToolResultPart, content: _Content) -> Item:
    given = _given(result)
    if not isinstance(given, list):
        raise UnsupportedError("a tool search is answered with the JSON list of the tools that were found")
    return {"call_id": result.call_id, "execution": "client", "status": "completed", "tools": given}


def _screenshot(result: ToolResultPart, content: _Content) -> Item:
    if len(result.content) == 1 and isinstance(result.content[0], ImagePart):
        encoded = content(result.content)
        image = encoded[0] if isinstance(encoded, list) and isinstance(encoded[0], dict) else {}
        shown = {k: v for k, v in image.items() if k in ("image_url", "file_id")}
        return {"call_id": result.call_id, "output": {"type": "computer_screenshot", **shown}}
    given = _given(result)
    if not isinstance(given, dict):
        raise UnsupportedError("a computer call is answered with one ImagePart, the screenshot")
    return {"call_id": result.call_id, "output": given}


def _approval(result: ToolResultPart, content: _Content) -> Item:
    """Nothing is approved by accident: true or false, or an object that says which."""
    given = _given(result)
    if result.is_error:
        reason = given["reason"] if _has(given, "reason") else result.text
        given = {"approve": False, "reason": reason} if reason else {"approve": False}
    elif isinstance(given, bool):
        given = {"approve": given}
    if not _has(given, "approve") or not isinstance(given["approve"], bool):
        raise UnsupportedError(
            'an MCP approval is answered with "true", "false" or {"approve": …, "reason": …} as text; '
            "is_error=True refuses, with the text as the reason"
        )
    item = {"approval_request_id": result.call_id, "approve": given["approve"]}
    return {**item, "reason": given["reason"]} if "reason" in given else item


def _has(given: Any, name: str) -> bool:
    return isinstance(given, dict) and name in given


def _given(result: ToolResultPart) -> Any:
    """The JSON that a result holds: an opaque part's, or its text's; None if it is none."""
    if len(result.content) == 1 and isinstance(result.content[0], OpaquePart):
        return result.content[0].data
    try:
        return decode_json(result.text.encode())
    except ValueError:
        return None


def _only_text(result: ToolResultPart, what: str) -> str:
    if not all(isinstance(part, TextPart) for part in result.content):
        raise UnsupportedError(f"{what} is answered with text only")
    return result.text


_RESULTS: Mapping[str, Callable[[ToolResultPart, _Content], Item]] = {
    "function_call_output": _plain,
    "custom_tool_call_output": _plain,
    "apply_patch_call_output": _patch,
    "shell_call_output": _shell,
    "local_shell_call_output": _local_shell,
    "tool_search_output": _tools,
    "computer_call_output": _screenshot,
    "mcp_approval_response": _approval,
}
_WITH_ERROR = frozenset(("apply_patch", "shell", "mcp_approval"))
"""The kinds whose results can report that the call failed."""
