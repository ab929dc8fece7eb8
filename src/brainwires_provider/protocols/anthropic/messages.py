"""Messages as the system blocks and the turns that the API wants.

The leading system messages become `system`; a later one stays a message of that role, where the model takes it,
and that is only right after a user's turn: one that stands elsewhere goes behind the next. Where none can stand, it
becomes a user's message that says what it is. The results of one turn's calls have to be in one message,
ahead of all else, so the messages that hold them are put together; nothing else is merged, for the API does that
itself. So a longer history begins with the turns of a shorter one, wherever a model is to answer.
Reference: "Create a Message", and the guides "Handle tool calls" and "Mid-conversation system messages".
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic.abilities import Abilities
from brainwires_provider.protocols.anthropic.content import ContentEncoder
from brainwires_provider.protocols.anthropic.options import AnthropicQuirks
from brainwires_provider.protocols.anthropic.replay import assistant_blocks
from brainwires_provider.protocols.anthropic.writer import Block
from brainwires_provider.types import (
    Deviation,
    Message,
    Origin,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["HistoryEncoder"]

Turn = dict[str, Any]


class HistoryEncoder:
    """Encodes the messages of one request; contents are lists of blocks, each a dict of its own.

    `places` names each turn by the message that it comes from, for reports.
    """

    def __init__(
        self, origin: Origin, quirks: AnthropicQuirks, takes: Abilities, deviations: list[Deviation]
    ) -> None:
        self._origin = origin
        self._takes_system = takes.system_turns if quirks.system_turns is None else quirks.system_turns
        self._deviations = deviations
        self._content = ContentEncoder(origin, quirks, deviations)
        self._calls: dict[str, ToolCallPart] = {}
        self._waiting: list[tuple[str, Message]] = []
        self.system: list[Block] = []
        self.turns: list[Turn] = []
        self.places: list[str] = []

    def encode(self, system: str | None, messages: tuple[Message, ...]) -> None:
        """Fills `system` and `turns`. Raises UnsupportedError for what the API cannot say."""
        if system is not None:
            self.system.append({"type": "text", "text": system})
        leading = 0
        while leading < len(messages) and _is_instruction(messages[leading]):
            self._instruct(messages[leading], leading)
            leading += 1
        for index in range(leading, len(messages)):
            following = messages[index + 1] if index + 1 < len(messages) else None
            self._message(messages[index], index, following)
        self._release()

    def _begin(self, message: Message, index: int) -> None:
        self._content.where = f"messages[{index}]"
        if message.name is not None:
            self._content.report("dropped", "this protocol has no names for speakers", ".name")
        if message.role == "developer":
            self._content.report("adapted", "this protocol has no developer role: sent as system", ".role")

    def _instruct(self, message: Message, index: int) -> None:
        self._begin(message, index)
        self.system += self._content.blocks(message.content)

    def _message(self, message: Message, index: int, following: Message | None) -> None:
        self._begin(message, index)
        match message.role:
            case "assistant":
                self._assistant(message)
            case "system" | "developer":
                self._later_system(message, _begins_with_result(following))
            case _:
                self._user(message)
                if self._waiting and not _begins_with_result(following):
                    self._release()

    def _add(self, where: str, turn: Turn) -> None:
        self.places.append(where)
        self.turns.append(turn)

    # -- system messages in mid-conversation -----------------------------------------------------------------

    def _later_system(self, message: Message, result_follows: bool) -> None:
        after_user = bool(self.turns) and self.turns[-1]["role"] != "assistant"
        if after_user and not result_follows:
            self._place(self._content.where, message)
        else:
            self._waiting.append((self._content.where, message))

    def _release(self) -> None:
        """The system messages that waited for a user's turn to stand behind; at the end they wait no longer."""
        waiting, self._waiting = self._waiting, []
        for where, message in waiting:
            self._content.where = where
            if self.turns and self.turns[-1]["role"] != "assistant":
                self._content.report("adapted", "it stands after a user's turn: put behind the next")
            self._place(where, message)

    def _place(self, where: str, message: Message) -> None:
        if self._takes_system and self.turns and self.turns[-1]["role"] != "assistant":
            blocks = self._content.blocks(message.content)
            self._add(where, {"role": "system", "content": blocks, **(message.extra or {})})
            return
        if not all(isinstance(part, TextPart) for part in message.content):
            raise self._content.unsupported("here the model takes only text in a system message")
        reason = "the model takes no system message here: sent as the user's, between tags"
        self._content.report("emulated", reason, ".role")
        block: Block = {"type": "text", "text": f"<system>\n{message.text}\n</system>"}
        self._add(where, {"role": "user", "content": [block]})

    # -- turns -----------------------------------------------------------------------------------------------

    def _assistant(self, message: Message) -> None:
        where = self._content.where
        blocks = assistant_blocks(message, self._origin, where, self._deviations)
        self._calls |= {call.call_id: call for call in message.tool_calls}
        if blocks:
            self._add(where, {"role": "assistant", "content": blocks})
        else:
            self._content.report("dropped", "nothing of this turn can be sent, and an empty one is refused")

    def _user(self, message: Message) -> None:
        results = tuple(p for p in message.content if isinstance(p, ToolResultPart))
        if not results:
            if message.role == "tool":
                raise self._content.unsupported(
                    "a tool message takes ToolResultParts; use Message.tool_result(call, …)"
                )
            blocks = self._content.blocks(message.content)
        else:
            blocks = self._answers(message, results)
        if results and not message.extra and self._holds_results_only():
            self.turns[-1]["content"] += blocks
        else:
            self._add(self._content.where, {"role": "user", "content": blocks, **(message.extra or {})})

    def _answers(self, message: Message, results: tuple[ToolResultPart, ...]) -> list[Block]:
        """Results stand first, and what else is said after them."""
        others = tuple(p for p in message.content if not isinstance(p, ToolResultPart))
        if others and message.role == "tool":
            raise self._content.unsupported("a tool message takes ToolResultParts only")
        if message.content[: len(results)] != results:
            self._content.report("adapted", "the API wants results ahead of all else", ".content")
        blocks = [self._content.result(part, self._calls.get(part.call_id)) for part in results]
        return blocks + self._content.blocks(others)

    def _holds_results_only(self) -> bool:
        last = self.turns[-1] if self.turns else {}
        return last.get("role") == "user" and all(b.get("type") == "tool_result" for b in last["content"])


def _is_instruction(message: Message) -> bool:
    """Leading text; what bears fields of its own, or is no text, stays a message, where it can keep them."""
    return (
        message.role in ("system", "developer")
        and not message.extra
        and all(isinstance(part, TextPart) for part in message.content)
    )


def _begins_with_result(message: Message | None) -> bool:
    return (
        message is not None
        and message.role in ("user", "tool")
        and any(isinstance(part, ToolResultPart) for part in message.content)
    )
