"""Messages as the entries of `conversationHistory`: what was said, the calls, and their results.

Each turn is encoded by itself, so that a longer history begins with the very entries of a shorter one. An entry is a
text (`user`, `assistant`), a call (`function_call`) or a result (`tool`): the relay's own history without state, which
holds any number of calls and results. Media have no place in it. Only the leading system messages are instructions.
Reference: `serialize_messages_to_stateless_history` in the framework's `brainwires-core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.types import (
    Deviation,
    Message,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["Entry", "HistoryEncoder", "unsupported"]

_BETWEEN_TEXTS = "\n"  # the texts of one entry, as the crate joins them
_BETWEEN_SYSTEMS = "\n\n"
_ONLY_TEXT = "the relay takes text and no media, as far as its own clients show"
Entry = dict[str, Any]


def unsupported(message: str, origin: Origin) -> UnsupportedError:
    """The error of what the relay cannot say."""
    return UnsupportedError(message, provider=origin.provider, model=origin.model)


class HistoryEncoder:
    """Encodes the messages of one request; `deviations` gathers what did not go out as given."""

    def __init__(self, origin: Origin, deviations: list[Deviation]) -> None:
        self._origin = origin
        self._deviations = deviations
        self._where = ""
        self._names: dict[str, str] = {}
        self._texts: list[str] = []

    def encode(self, messages: Sequence[Message]) -> tuple[str | None, list[list[Entry]]]:
        """The instructions, if there are any, and each message's entries: none for what became instructions.

        Raises UnsupportedError for what the relay cannot say.
        """
        leading = 0
        while leading < len(messages) and messages[leading].role in ("system", "developer"):
            leading += 1
        said = [self._instruction(index, message) for index, message in enumerate(messages[:leading])]
        turns: list[list[Entry]] = [[] for _ in said]
        for index, message in enumerate(messages[leading:], leading):
            self._look_at(index, message)
            turns.append(self._turn(message))
        return _BETWEEN_SYSTEMS.join(said) if said else None, turns

    def _look_at(self, index: int, message: Message) -> None:
        self._where = f"messages[{index}]"
        if message.name is not None:
            self._report("dropped", "this protocol has no names for speakers", ".name")
        if message.extra and all(part.origin is None for part in message.content):
            self._report("dropped", "this protocol has no other fields for a turn", ".extra")

    def _report(
        self, outcome: Literal["adapted", "emulated", "dropped"], reason: str, part: str = ""
    ) -> None:
        self._deviations.append(Deviation(self._where + part, outcome, reason))

    def _unsupported(self, message: str) -> UnsupportedError:
        return unsupported(f"{self._where}: {message}", self._origin)

    # -- system, developer, user, tool -----------------------------------------------------------------------

    def _instruction(self, index: int, message: Message) -> str:
        self._look_at(index, message)
        if message.role == "developer":
            self._report("adapted", "this protocol has no developer role: sent as the system's", ".role")
        return _BETWEEN_TEXTS.join(self._text(part, at) for at, part in enumerate(message.content))

    def _turn(self, message: Message) -> list[Entry]:
        if message.role == "assistant":
            return self._assistant(message)
        if message.role in ("system", "developer"):
            self._report("adapted", "only leading ones can be instructions: sent as the user's", ".role")
        results = [isinstance(part, ToolResultPart) for part in message.content]
        if message.role == "tool" and not (results and all(results)):
            raise self._unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        entries: list[Entry] = []
        for index, part in enumerate(message.content):
            if isinstance(part, ToolResultPart):
                self._flush("user", entries)
                entries.append(self._result(part, index))
            else:
                self._texts.append(self._text(part, index))
        self._flush("user", entries)
        return entries or [{"role": "user", "content": ""}]

    def _flush(self, role: str, entries: list[Entry]) -> None:
        """What was said so far becomes an entry; an assistant's that is blank is none."""
        said = _BETWEEN_TEXTS.join(self._texts)
        if self._texts and (role != "assistant" or said.strip()):
            entries.append({"role": role, "content": said})
        self._texts = []

    def _text(self, part: Part, index: int) -> str:
        if not isinstance(part, TextPart):
            raise self._unsupported(f"{_name(part)} cannot be sent: {_ONLY_TEXT}")
        self._check_mark(part, index)
        return part.text

    def _check_mark(self, part: Part, index: int) -> None:
        if getattr(part, "cache", None) is not None:
            self._report("dropped", "this protocol takes no cache marks", f".content[{index}].cache")

    def _result(self, part: ToolResultPart, index: int) -> Entry:
        output = _BETWEEN_TEXTS.join(self._text(inner, index) for inner in part.content)
        entry: Entry = {"role": "tool", "call_id": part.call_id}
        name = part.name or self._names.get(part.call_id)
        if name is not None:
            entry["name"] = name
        entry["content"] = output
        if part.is_error:
            reason = "this protocol has no error flag: the text goes as it is"
            self._report("dropped", reason, f".content[{index}].is_error")
        self._check_mark(part, index)
        return {**entry, **(part.extra or {})}

    # -- the assistant's turn --------------------------------------------------------------------------------

    def _assistant(self, message: Message) -> list[Entry]:
        entries: list[Entry] = []
        for index, part in enumerate(message.content):
            at = f".content[{index}]"
            match part:
                case TextPart():
                    self._texts.append(part.text)
                    if part.citations:
                        self._report("dropped", "citations cannot be sent back", f"{at}.citations")
                case RefusalPart():
                    self._texts.append(part.text)
                    self._report("adapted", "this protocol has no refusals: sent as text", at)
                case ToolCallPart():
                    self._flush("assistant", entries)
                    entries.append(self._call(part, at))
                case ToolResultPart():
                    raise self._unsupported("a tool result belongs in a message of role tool")
                case ReasoningPart():
                    self._report("dropped", "this protocol has no reasoning", at)
                case _ if part.origin is None:
                    raise self._unsupported(f"{_name(part)} cannot be sent: {_ONLY_TEXT}")
                case _:
                    self._report("dropped", f"{_name(part)} has no place in the relay's history", at)
            self._check_mark(part, index)
        self._flush("assistant", entries)
        return entries

    def _call(self, part: ToolCallPart, at: str) -> Entry:
        self._names[part.call_id] = part.name
        arguments = part.arguments if part.arguments.strip() else "{}"
        if part.kind == "custom":
            arguments = msgspec.json.encode({"input": part.arguments}).decode()
        if part.kind != "function":
            self._report("emulated", f"a call of kind {part.kind!r} goes as a function call", at)
        return {
            "role": "function_call",
            "call_id": part.call_id,
            "name": part.name,
            "arguments": arguments,
        }


def _name(part: Part) -> str:
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__
