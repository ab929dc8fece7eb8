"""Encodes a message history for APIs with system blocks beside turns of content blocks: Messages and Converse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.replay import (
    INSTRUCTION_ROLES,
    MessageEncoderBase,
    in_order,
    take_system,
)
from brainwires_provider.types import (
    Cache,
    Message,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

__all__ = ["EMPTY_RESULT", "Block", "TurnEncoder", "is_plain", "refused_texts"]

Block: TypeAlias = dict[str, Any]
EMPTY_RESULT = "(empty)"
"""The text of a tool's result where the API refuses an empty one."""


def refused_texts(parts: Sequence[Part], *, blank: bool) -> dict[int, str]:
    """The indexes of the texts that the API refuses, with the reasons.

    An empty one is refused anywhere; a blank one anywhere if `blank`, else where no other text says anything.
    """
    texts = {i: part.text for i, part in enumerate(parts) if isinstance(part, (TextPart, RefusalPart))}
    speaks = any(text.strip() for text in texts.values())
    refused = {}
    for index, text in texts.items():
        if not text:
            refused[index] = "an empty text is refused"
        elif not text.strip() and blank:
            refused[index] = "a blank text is refused"
        elif not text.strip() and not speaks:
            refused[index] = "a blank text is refused where no other says anything"
    return refused


class TurnEncoder(MessageEncoderBase, ABC):
    """Encodes the messages of one request into `system` blocks and `turns`; a base for protocols with both.

    The leading system messages become `system`. A later one stays a message of that role where the model takes it,
    which is only after a user's turn: one that stands elsewhere is sent behind the next. Where none can stand, it
    becomes a user's message that names it as the system's. The results of a turn's calls stand ahead of all else.
    `places` has for each turn the index of its message, `marked` the name of the part for each block
    with a cache mark of the caller's; `has_marks` whether any turn may have one.
    """

    instructions: tuple[type[Part], ...] = (TextPart,)
    """The parts that `system` can hold."""
    refuses_blank = False
    """The API refuses a blank text even beside others."""

    def __init__(self, origin: Origin, reader: OptionReader, takes_system: bool | None) -> None:
        super().__init__(origin, reader)
        self._facts = reader.facts
        self.system: list[Block] = []
        self.turns: list[Block] = []
        self.places: list[int] = []
        self.marked: dict[int, str] = {}
        self.has_marks = False
        self._takes_system = reader.facts.system_turns if takes_system is None else takes_system
        self.tool_names: dict[str, None] = {}
        """The tools that are called in the history, in order, by the names that are sent."""
        self._waiting: list[tuple[int, Message]] = []

    # -- what a protocol defines -----------------------------------------------------------------------------

    @abstractmethod
    def encode_part(self, part: Part) -> Block:
        """The block of a part of a user's, tool's or system message."""

    @abstractmethod
    def encode_answer_part(self, part: Part) -> Block:
        """The block of a part of an assistant's message that goes back."""

    @abstractmethod
    def mark(self, blocks: list[Block], cache: Cache) -> None:
        """Set a cache mark on the last block, and note in `marked` where it comes from."""

    @abstractmethod
    def add(self, role: str, blocks: list[Block], message: Message) -> None:
        """Add a turn."""

    def add_plain(self, role: str, part: TextPart, message: Message) -> None:
        """Add a turn that is one text and nothing else."""
        self.add(role, [self.encode_part(part)], message)

    # -- reports ---------------------------------------------------------------------------------------------

    def unsupported(self, message: str) -> UnsupportedError:
        """See `MessageEncoderBase`; the error names the message."""
        self.at = self.at[:1]
        return super().unsupported(message)

    # -- messages --------------------------------------------------------------------------------------------

    def take_system(self) -> str | None:
        """The request's own system prompt; an empty one is refused by the API."""
        return take_system(self.reader)

    def encode_messages(self, messages: Sequence[Message]) -> None:
        """Fill `system` and `turns`. Raises UnsupportedError for what the API cannot express."""
        leading = True
        placed = [*in_order(messages, self)]
        for index, message in placed:
            self.at = (index,)
            role = message.role
            if message.name is not None:
                self.dropped("this protocol has no names for speakers", ".name")
            if role == "assistant":
                leading = False
                if self._waiting:  # a model has answered what stands before, so that is where it stays
                    self._release()
                    self.at = (index,)
                self.encode_answer(message)
            elif role in INSTRUCTION_ROLES:
                if role == "developer":
                    self.adapted("this protocol has no developer role: sent as system", ".role")
                leading = leading and self._is_instruction(message)
                if leading:
                    self.system += self.encode_parts(message.content)
                else:
                    self._later_system(message)
            else:
                leading = False
                self._user(message)
                self._release()
        self._release()
        if placed and placed[-1][1].role == "assistant":
            self._trim_prefill()

    def _trim_prefill(self) -> None:
        """Cut the blanks at the end of an answer that the model is to continue: the API refuses them."""
        turn = self.turns[-1] if self.turns else {}
        if turn.get("role") != "assistant":
            return  # nothing of the answer is sent
        content = turn["content"]
        holder, key = (turn, "content") if isinstance(content, str) else (content[-1], "text")
        text = holder.get(key)
        if isinstance(text, str) and text != text.rstrip():
            holder[key] = text.rstrip()
            self.adapted("an answer to be continued must not end in blanks: they are cut")

    def objection(self, part: Part) -> str | None:
        """See `MessageEncoderBase`."""
        reason = super().objection(part)
        unsigned = isinstance(part, ReasoningPart) and not part.signature and part.encrypted is None
        if reason is None and unsigned and self._facts.signed_thinking:
            return "thinking without a signature, as a cut stream leaves it, is refused"
        return reason

    def encode_parts(self, parts: tuple[Part, ...]) -> list[Block]:
        """A block for each part, without texts that are refused. If nothing else is there, the API may refuse them."""
        if len(parts) == 1:
            return [self.encode_part(parts[0])] if is_plain(parts[0]) else self._encode_one(parts[0])
        refused = refused_texts(parts, blank=self.refuses_blank)
        dropped = _NONE if len(refused) == len(parts) else refused
        return self._encode_all(enumerate(parts), dropped, self.encode_part)

    def _encode_one(self, part: Part) -> list[Block]:
        """The block of a part that is alone."""
        around = self.at
        self.at = (*around, 0)
        blocks = [self.encode_part(part)]
        if type(part) is ToolResultPart:
            self._mark_result(blocks, part)
        else:
            self._mark(blocks, part)
        self.at = around
        return blocks

    def _encode_all(
        self,
        parts: Iterable[tuple[int, Part]],
        dropped: Mapping[int, str],
        encode: Callable[[Part], Block],
    ) -> list[Block]:
        blocks: list[Block] = []
        around = self.at
        for index, part in parts:
            self.at = (*around, index)
            if index in dropped:
                self.dropped(dropped[index])
                continue
            blocks.append(encode(part))
            if (type(part) is TextPart or type(part) is ToolCallPart) and part.cache is None:
                continue
            self._mark(blocks, part)
        self.at = around
        return blocks

    def _mark(self, blocks: list[Block], part: Part) -> None:
        """Set the mark of a part, but not inside a tool's result, which has it itself."""
        if type(part) is ToolResultPart:
            self._mark_result(blocks, part)
            return
        if isinstance(part, RefusalPart) or part.cache is None or len(self.at) > 2:
            return
        cache = self.reader.take_cache(part)
        if cache is not None:
            self.has_marks = True
            self.mark(blocks, cache)

    def _mark_result(self, blocks: list[Block], part: ToolResultPart) -> None:
        """The mark of a result, or the first one inside it, where none can be set."""
        marks = [] if part.cache is None else [self.reader.take_cache(part)]
        for index, inner in enumerate(part.content):
            if inner.cache is not None and (cache := self.reader.take_cache(inner)) is not None:
                marks.append(cache)
                self.adapted(
                    "inside a tool's result none can be set: set on the result", f".content[{index}].cache"
                )
        if marks and marks[0] is not None:
            self.has_marks = True
            self.mark(blocks, marks[0])

    def encode_answer(self, message: Message) -> None:
        """An assistant's message."""
        parts = message.content
        if len(parts) == 1 and is_plain(parts[0]):
            self.add_plain("assistant", parts[0], message)
            return
        dropped = _NONE
        for part in parts:
            if type(part) is TextPart:
                if part.text and not part.text.isspace():
                    continue
            elif type(part) is ToolCallPart:
                continue
            dropped = self._dropped(parts)  # other parts, and texts that say nothing, may not go back
            break
        blocks = self._encode_all(enumerate(parts), dropped, self.encode_answer_part)
        if blocks:
            self.add("assistant", blocks, message)
        else:
            self.dropped("nothing of this turn can be sent, and an empty one is refused")

    def _dropped(self, parts: tuple[Part, ...]) -> Mapping[int, str]:
        refused = refused_texts(parts, blank=self.refuses_blank)
        reason = "nothing follows it: a turn that ends in reasoning is refused"
        return self.dropped_parts(parts, needs_follower=reason, also=refused)

    def _user(self, message: Message) -> None:
        parts = message.content
        if len(parts) == 1:
            part, is_users = parts[0], message.role == "user"
            if is_users and is_plain(part):
                self.add_plain("user", part, message)
                return
            if is_users or isinstance(part, ToolResultPart):
                self.add("user", self._encode_one(part), message)
                return
        results = [isinstance(part, ToolResultPart) for part in parts]
        if not any(results[1:]) and message.role == "user":
            blocks = self.encode_parts(parts)
        else:
            blocks = self._results_first(message)
        self.add("user", blocks, message)

    def _results_first(self, message: Message) -> list[Block]:
        results, others = self.split_results(message)
        if results and results[-1][0] != len(results) - 1:
            self.adapted("the API wants results ahead of all else", ".content")
        refused = refused_texts(message.content, blank=self.refuses_blank)
        return self._encode_all([*results, *others], refused, self.encode_part)

    # -- system messages in the middle of a conversation -----------------------------------------------------

    def _is_instruction(self, message: Message) -> bool:
        """Whether a leading system message can be in `system`; what has fields of its own stays a message."""
        return not message.extra and all(isinstance(part, self.instructions) for part in message.content)

    def _later_system(self, message: Message) -> None:
        if self._is_after_user():
            self._place(message)
        else:
            self._waiting.append((self.at[0], message))

    def _release(self) -> None:
        """The system messages that waited for a user's turn to stand behind; at the end they wait no longer."""
        waiting, self._waiting = self._waiting, []
        for index, message in waiting:
            self.at = (index,)
            if self._is_after_user():
                self.adapted("it stands after a user's turn: sent behind the next")
            self._place(message)

    def _is_after_user(self) -> bool:
        return bool(self.turns) and self.turns[-1]["role"] != "assistant"

    def _place(self, message: Message) -> None:
        if self._takes_system and self._is_after_user():
            self.add("system", self.encode_parts(message.content), message)
            return
        if not all(isinstance(part, TextPart) for part in message.content):
            raise self.unsupported("here the model takes only text in a system message")
        self.emulated("the model takes no system message here: sent as the user's, between tags", ".role")
        tagged = TextPart(f"<system>\n{message.text}\n</system>")
        self.add("user", [self.encode_part(tagged)], Message("user", (tagged,)))


_NONE: Mapping[int, str] = {}


def is_plain(part: Part) -> TypeGuard[TextPart]:
    """Whether a part is a text that says something and nothing else: no report can come of it."""
    return (
        type(part) is TextPart
        and not (part.extra or part.citations)
        and part.cache is None
        and bool(part.text)
        and not part.text.isspace()
    )
