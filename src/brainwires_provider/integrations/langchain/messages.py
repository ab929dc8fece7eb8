"""LangChain's messages as this library's, and a response as LangChain's message, without a loss on the way back.

What a model produced goes into `additional_kwargs["brainwires"]` as `dump_messages` writes it: signatures, encrypted
reasoning, items of hosted tools, origins. It is a list of texts, so that LangChain's merging of messages keeps both.
Beside it are the fields that LangChain's users read, and may edit: those decide. A kept part is sent again where the
message still shows what it was; what was removed is removed, and what was changed is the caller's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.utils.json import parse_partial_json
from msgspec.structs import replace

from brainwires_provider.integrations.langchain.blocks import (
    blocks_of,
    cache_of,
    call_args,
    invalid_call,
    parts_of,
    unbegun_call,
)
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    Response,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Usage,
    dump_messages,
    load_messages,
)

__all__ = ["CUT_OFF", "KEPT", "WITHDRAWN", "answer_fields", "from_response", "restored", "to_messages"]

KEPT = "brainwires"
"""The field of `additional_kwargs` with what the model produced."""
CUT_OFF = "} (cut off)"
"""The end of the arguments of a call that a stream did not complete, in the stream's sum."""
WITHDRAWN = "} (withdrawn by the provider)"
"""The end of the arguments of a call that a stream announced in vain."""
_OTHERWISE = frozenset(("text", "reasoning", "refusal"))
_ROLES = {"human": "user", "ai": "assistant", "function": "tool"}


# -- to this library's messages ------------------------------------------------------------------------------


def to_messages(messages: Sequence[BaseMessage]) -> list[Message]:
    """A history of LangChain's. Raises ValueError for a message or a block that has no counterpart."""
    names: dict[str, str] = {}
    made: list[Message] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if isinstance(message, AIMessage):
            turn = _assistant(message, where)
            names.update((call.call_id, call.name) for call in turn.tool_calls)
            made.append(turn)
        elif isinstance(message, ToolMessage):
            made.append(_tool_result(message, names, where))
        elif isinstance(message, FunctionMessage):
            call = next((key for key, name in reversed(names.items()) if name == message.name), message.name)
            made.append(Message("tool", ToolResultPart(call, _contents(message, where), name=message.name)))
        else:
            made.extend(_spoken(message, where))
    return made


def _spoken(message: BaseMessage, where: str) -> list[Message]:
    """What a user or the program says; results of tools in it become messages of their own, before it."""
    parts = parts_of(cast("Any", message.content), where)
    results = [Message("tool", part) for part in parts if isinstance(part, ToolResultPart)]
    rest = [part for part in parts if not isinstance(part, ToolResultPart)]
    if not rest and results:
        return results
    return [*results, Message(_role_of(message, where), rest, name=message.name)]


def _role_of(message: BaseMessage, where: str) -> Any:
    if isinstance(message, SystemMessage):
        return message.additional_kwargs.get("__openai_role__", "system")
    if isinstance(message, HumanMessage):
        return "user"
    if isinstance(message, ChatMessage):
        return _ROLES.get(message.role, message.role)
    raise ValueError(f"{where} is a {type(message).__name__}, which no model takes")


def _contents(message: BaseMessage, where: str) -> list[Any]:
    """The content of a tool's result. Blocks of no known form are data of the tool, and sent as JSON."""
    content = message.content
    if isinstance(content, str):
        return parts_of(content, where)
    made: list[Part] = []
    for block in content:
        try:
            made += parts_of([block], where)
        except ValueError:
            made.append(TextPart(msgspec.json.encode(block).decode()))
    return made


def _tool_result(message: ToolMessage, names: Mapping[str, str], where: str) -> Message:
    call_id = message.tool_call_id
    name = message.name or names.get(call_id)
    content = _contents(message, where)
    return Message("tool", ToolResultPart(call_id, content, is_error=message.status == "error", name=name))


def _assistant(message: AIMessage, where: str) -> Message:
    kept = _kept(message, where)
    parts = _foreign(message, where) if not kept else _restored(message, kept, where)
    extra = kept[0].extra if len(kept) == 1 else None
    return Message("assistant", parts, name=message.name, extra=extra)


def _kept(message: AIMessage, where: str) -> list[Message]:
    try:
        return [each for text in message.additional_kwargs.get(KEPT) or () for each in load_messages(text)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}.additional_kwargs[{KEPT!r}] was damaged: {error}") from None


def _foreign(message: AIMessage, where: str) -> list[Part]:
    """A turn that another class, or the program, made."""
    is_translated = isinstance(message.content, list) and message.response_metadata.get("model_provider")
    parts = parts_of(cast("Any", message.content_blocks if is_translated else message.content), where)
    if not any(isinstance(part, ReasoningPart) for part in parts) and (
        shown := _extra_text(message, "reasoning_content")
    ):
        parts.insert(0, ReasoningPart(shown))
    if not any(isinstance(part, RefusalPart) for part in parts) and (
        shown := _extra_text(message, "refusal")
    ):
        parts.append(RefusalPart(shown))
    return [*parts, *(_call(each) for each in _calls(message))]


def _extra_text(message: AIMessage, name: str) -> str:
    value = message.additional_kwargs.get(name)
    return value if isinstance(value, str) else ""


def _calls(message: AIMessage) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", each) for each in (*message.tool_calls, *message.invalid_tool_calls)]


def _call(call: Mapping[str, Any]) -> ToolCallPart:
    return ToolCallPart(call.get("id") or None, call.get("name") or "", _arguments(call, "function"))


def _arguments(call: Mapping[str, Any], kind: str) -> str:
    args = call.get("args")
    if isinstance(args, str) or args is None:  # an invalid call's
        return args or ""
    if kind == "custom" and args.keys() == {"__arg1"}:
        return str(args["__arg1"])
    return msgspec.json.encode(args).decode()


# -- what is still what it was -------------------------------------------------------------------------------


def restored(message: AIMessage) -> list[Part]:
    """The parts of a turn as they would be sent now. Raises ValueError for a block of an unknown form."""
    return list(_assistant(message, "message").content)


def _restored(message: AIMessage, kept: Sequence[Message], where: str) -> list[Part]:
    parts = [part for each in kept for part in each.content]
    shown = _Shown(message, where)
    made: list[Part] = []
    texts = shown.texts_for([part for part in parts if isinstance(part, TextPart)])
    said = "\n\n".join(part.text for part in parts if isinstance(part, ReasoningPart) and part.text)
    reasons, refuses = shown.reasoning(said), shown.refusal()
    for part in parts:
        match part:
            case TextPart():
                made += next(texts)
            case ReasoningPart() if part.text:
                made += reasons if reasons is not None else [part]
                reasons = [] if reasons is not None else None
            case RefusalPart():
                made += [part] if part.text in refuses else []
            case ToolCallPart():
                made += shown.call_for(part)
            case ImagePart() | FilePart() | OpaquePart() if shown.lacks(part):
                pass
            case _:
                made.append(part)
    return [*made, *next(texts), *shown.added(parts), *(_call(each) for each in shown.calls)]


class _Shown:
    """What a message shows now, to its users and to LangChain's tools."""

    def __init__(self, message: AIMessage, where: str) -> None:
        content = message.content
        self._message = message
        self._blocks = (
            []
            if isinstance(content, str)
            else [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]
        )
        self._is_standard = (
            isinstance(content, list) and message.response_metadata.get("output_version") == "v1"
        )
        self._texts = [block for block in self._blocks if block.get("type") == "text"]
        if isinstance(content, str) and content:
            self._texts = [{"type": "text", "text": content}]
        self._where = where
        self.calls = [call for call in _calls(message) if not str(call["args"] or "").endswith(WITHDRAWN)]

    def texts_for(self, kept: Sequence[TextPart]) -> Any:
        """For each kept text in turn what stands in its place, and then what is left."""
        if "".join(block["text"] for block in self._texts) == "".join(part.text for part in kept):
            marks = [mark for block in self._texts if (mark := cache_of(block))]
            for part in kept:
                yield [replace(part, cache=marks[-1]) if marks and part is kept[-1] else part]
            yield []
            return
        left = deque(self._texts)
        for part in kept:
            at = next((at for at, block in enumerate(left) if block["text"] == part.text), None)
            own = [left.popleft() for _ in range(min(len(left), 1) if at is None else at)]
            made = parts_of(own, self._where)
            if at is not None:
                mark = cache_of(left.popleft())
                made.append(part if mark is None else replace(part, cache=mark))
            yield made
        yield parts_of(left, self._where)

    def reasoning(self, kept: str) -> list[Part] | None:
        """None where all reasoning is what it was, else what stands in its place."""
        said = [str(block.get("reasoning", "")) for block in self._blocks if block.get("type") == "reasoning"]
        shown = "".join(said)
        if not said and not self._is_standard:
            shown = _extra_text(self._message, "reasoning_content")
        if _plain(shown).endswith(_plain(kept)):  # after a restart, what was discarded comes first
            return None
        return [ReasoningPart(shown)] if shown else []

    def refusal(self) -> str:
        """The text of refusals."""
        said = [str(block.get("refusal", "")) for block in self._blocks if block.get("type") == "refusal"]
        return "".join(said) if self._is_standard else _extra_text(self._message, "refusal") or "".join(said)

    def call_for(self, part: ToolCallPart) -> list[Part]:
        """A call as it is now: what it was, with other arguments, or removed."""
        for place, call in enumerate(self.calls):
            if (call.get("id") or "") == part.call_id:
                del self.calls[place]
                if call["name"] == part.name and _are_args_of(call["args"], part):
                    return [part]
                arguments = _arguments(call, part.kind)
                return [replace(part, name=call["name"], arguments=arguments, extra=None, origin=None)]
        return []

    def lacks(self, part: ImagePart | FilePart | OpaquePart) -> bool:
        """Whether a message of standard blocks has no block of a part any more."""
        if not self._is_standard:
            return False
        return all(_bare(block) not in map(_bare, self._blocks) for block in blocks_of(part))

    def added(self, kept: Sequence[Part]) -> list[Part]:
        """What was put into a message besides texts, reasoning and calls."""
        known = [_bare(block) for part in kept for block in blocks_of(part)]
        more = [block for block in self._blocks if block.get("type") not in _OTHERWISE]
        return parts_of([block for block in more if _bare(block) not in known], self._where)


def _are_args_of(args: Any, part: ToolCallPart) -> bool:
    """Whether a call's arguments are a part's, also as a stream's sum has them."""
    if args == call_args(part)["args"] or args == part.arguments:
        return True
    if isinstance(args, str):
        return args.startswith(part.arguments) and args.endswith(CUT_OFF)
    try:
        return bool(args == parse_partial_json(part.arguments))
    except ValueError:
        return False


def _plain(text: str) -> str:
    return text.replace("\n\n", "")


def _bare(block: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in ("index", "extras")}


# -- from this library's responses ---------------------------------------------------------------------------


def from_response(response: Response[Any], model: str) -> AIMessage:
    """A response as LangChain's message; `model` is the one that was asked."""
    unbegun = unbegun_call(response)
    calls = [
        invalid_call(call, "the response ended at its limit of tokens")
        if call is unbegun
        else call_args(call)
        for call in response.tool_calls
    ]
    said: dict[str, Any] = {
        "reasoning_content": response.reasoning,
        "refusal": _refusal(response.message.content),
    }
    fields = answer_fields(response, model)
    fields["additional_kwargs"].update({name: text for name, text in said.items() if text})
    return AIMessage(
        content=response.text,
        tool_calls=[call for call in calls if call["type"] == "tool_call"],
        invalid_tool_calls=[call for call in calls if call["type"] != "tool_call"],
        **fields,
    )


def answer_fields(response: Response[Any], model: str) -> dict[str, Any]:
    """What a message has besides its content: what is kept, the usage, and facts of the response."""
    found: dict[str, Any] = {
        "model_name": response.model or model.partition(":")[2] or model,
        "model_provider": KEPT,
        "provider": response.provider,
        "finish_reason": response.finish_reason,
        "raw_finish_reason": response.raw_finish_reason,
        "id": response.id,
        "request_id": response.request_id,
        "report": _values(response.report),
        "attempts": response.attempts and _values(response.attempts),
        "cost": response.cost and _values(response.cost),
    }
    return {
        "additional_kwargs": {KEPT: [dump_messages([response.message]).decode()]},
        "usage_metadata": _usage(response.usage),
        "response_metadata": {name: value for name, value in found.items() if value},
    }


def _values(given: Any) -> Any:
    """A value as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(given))


def _refusal(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, RefusalPart))


def _usage(usage: Usage) -> UsageMetadata | None:
    if not usage.complete and not usage.total_tokens:
        return None
    read: dict[str, Any] = {
        "cache_read": usage.cache_read,
        "cache_creation": usage.cache_write,
        "audio": usage.audio_input,
    }
    counted: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    if read := {name: count for name, count in read.items() if count}:
        counted["input_token_details"] = read
    if usage.reasoning:
        counted["output_token_details"] = {"reasoning": usage.reasoning}
    return cast("UsageMetadata", counted)
