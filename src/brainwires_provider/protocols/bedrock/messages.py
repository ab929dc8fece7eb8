"""Messages as the system blocks and the turns that Converse wants.

The leading system messages become `system`; a later one stays a message of that role where the model takes it, and
else becomes a user's that says what it is. User and assistant have to alternate, and the results of one turn's calls
have to be in one message, so what one side says in a row is put together: between two answers a longer history
begins with the turns of a shorter one.
Reference: the API reference of "Converse"; "Carry out a conversation with the Converse API" in the user guide.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.protocols.anthropic.abilities import abilities
from brainwires_provider.protocols.bedrock.content import ContentEncoder
from brainwires_provider.protocols.bedrock.options import BedrockQuirks
from brainwires_provider.protocols.bedrock.replay import Turns
from brainwires_provider.types import Deviation, Message, OpaquePart, Origin, TextPart, ToolResultPart

__all__ = ["HistoryEncoder"]

Block = dict[str, Any]
Turn = dict[str, Any]


class HistoryEncoder:
    """Encodes the messages of one request, filling `system` and `turns`."""

    def __init__(
        self, origin: Origin, quirks: BedrockQuirks, model: str, deviations: list[Deviation]
    ) -> None:
        told = quirks.system_turns
        self._takes_system = abilities(model).system_turns if told is None else told
        self._content = ContentEncoder(origin, quirks, model, deviations)
        self._replay = Turns(origin, quirks, model, self._content)
        self.system: list[Block] = []
        self.turns: list[Turn] = []

    def encode(self, system: str | None, messages: tuple[Message, ...]) -> None:
        """Raises UnsupportedError for what Converse cannot say."""
        if system is not None:
            self.system.append({"text": system})
        leads = True
        for index, message in enumerate(messages):
            leads = leads and _is_instruction(message)
            self._begin(message, index)
            if leads:
                self.system += self._content.blocks(message.content)
            elif message.role == "assistant":
                self._assistant(message)
            elif message.role in ("system", "developer"):
                self._later_system(message)
            else:
                self._user(message)

    @property
    def has_tools(self) -> bool:
        """Whether a call or a result is in the history: then Converse demands the tools."""
        return any(b.keys() & {"toolUse", "toolResult"} for turn in self.turns for b in turn["content"])

    def _begin(self, message: Message, index: int) -> None:
        self._content.where = f"messages[{index}]"
        if message.name is not None:
            self._content.report("dropped", "this protocol has no names for speakers", ".name")
        if message.role == "developer":
            self._content.report("adapted", "this protocol has no developer role: sent as system", ".role")

    def _add(self, role: str, blocks: list[Block], message: Message) -> None:
        if not self.turns or self.turns[-1]["role"] != role:
            self.turns.append({"role": role, "content": []})
        said = self.turns[-1]["content"] + blocks
        ordered = _results_first(said) if role == "user" else said
        if ordered != said:
            self._content.report("adapted", "the API wants results ahead of all else", ".content")
        self.turns[-1]["content"] = ordered
        if message.role != "assistant":
            self.turns[-1].update(message.extra or {})

    def _assistant(self, message: Message) -> None:
        blocks = self._replay.blocks(message)
        if blocks:
            self._add("assistant", blocks, message)
        else:
            self._content.report("dropped", "nothing of this turn can be sent, and an empty one is refused")

    def _later_system(self, message: Message) -> None:
        if self._takes_system and self.turns and self.turns[-1]["role"] != "assistant":
            self._add("system", self._content.blocks(message.content), message)
            return
        if not all(isinstance(part, TextPart) for part in message.content):
            raise self._content.unsupported("here the model takes only text in a system message")
        reason = "the model takes no system message here: sent as the user's, between tags"
        self._content.report("emulated", reason, ".role")
        self._add("user", [{"text": f"<system>\n{message.text}\n</system>"}], message)

    def _user(self, message: Message) -> None:
        results = [p for p in message.content if isinstance(p, ToolResultPart)]
        if message.role == "tool" and len(results) < len(message.content):
            raise self._content.unsupported(
                "a tool message takes ToolResultParts only; use Message.tool_result(call, …)"
            )
        self._add("user", self._content.blocks(message.content), message)


def _is_instruction(message: Message) -> bool:
    """Leading text, and blocks of the caller's own; what bears fields of its own stays a message."""
    return (
        message.role in ("system", "developer")
        and not message.extra
        and all(isinstance(part, (TextPart, OpaquePart)) for part in message.content)
    )


def _results_first(blocks: list[Block]) -> list[Block]:
    """Results before all else, each with the cache point behind it; otherwise the order stands."""
    results: list[Block] = []
    others: list[Block] = []
    kept = others
    for block in blocks:
        if "cachePoint" not in block:
            kept = results if "toolResult" in block else others
        kept.append(block)
    return results + others
