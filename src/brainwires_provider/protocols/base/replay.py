"""What encoders of message histories share: places in reports, ids, arguments, and what of an answer goes back.

What is bound to a model (reasoning) goes back to that model, what is bound to a protocol (calls and results of server
tools, citations, media) to any model behind it; the rest is dropped and reported, by group: a server tool's call with
its result, reasoning at the end of a turn that nothing follows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json, fast_decode
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import (
    Cache,
    FilePart,
    ImagePart,
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

__all__ = [
    "INVALID_JSON",
    "Block",
    "ReplayRules",
    "TurnEncoder",
    "arguments_object",
    "part_name",
    "refused_texts",
    "replay_drops",
    "wire_id",
]

Block: TypeAlias = dict[str, Any]
INVALID_JSON = "INVALID_JSON"
"""The key under which arguments are sent that are no JSON object; Anthropic's guide "Fine-grained tool streaming"."""


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for reports and errors."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


def wire_id(call_id: str, refused: re.Pattern[str], most: int | None = None) -> str:
    """A call's id without the characters that `refused` matches, and of at most `most`.

    The same id gives the same result, so that a call and its result still match.
    """
    if call_id and refused.search(call_id) is None and (most is None or len(call_id) <= most):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{refused.sub('_', call_id)[:48] or 'call'}_{digest}"


def arguments_object(text: str) -> Any:
    """The value of a call's arguments: `{}` for none. Raises ValueError for what is no JSON."""
    try:
        return fast_decode(text)
    except (ValueError, RecursionError):
        return decode_json(text.encode("utf-8", "surrogatepass")) if text.strip() else {}


# -- texts that say nothing ----------------------------------------------------------------------------------


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


# -- what of an answer goes back -----------------------------------------------------------------------------


class ReplayRules(NamedTuple):
    """One protocol's rules, for the model of a request."""

    blank: bool
    """A blank text is refused beside others too."""
    reasoning: bool
    """The model accepts its own reasoning."""
    media: bool
    """Media that came by this protocol go back as the assistant's."""


def replay_drops(encoder: TurnEncoder, parts: Sequence[Part], rules: ReplayRules) -> dict[int, str]:
    """The indexes of an answer's parts that do not go back, with the reasons.

    Raises UnsupportedError for a part that no assistant's message can hold.
    """
    dropped = refused_texts(parts, blank=rules.blank)
    for index, part in enumerate(parts):
        objection = _OBJECTIONS.get(type(part))
        reason = None if objection is None else objection(encoder, part, rules)
        if reason is not None:
            dropped[index] = reason
    torn = {p.id for i in dropped if isinstance(p := parts[i], OpaquePart) and p.role and p.id}
    for index, part in enumerate(parts):
        if isinstance(part, OpaquePart) and part.role is not None and part.id in torn:
            dropped.setdefault(index, "its call or result is dropped, and one is refused without the other")
    for index in range(len(parts) - 1, -1, -1):
        if isinstance(parts[index], ReasoningPart):
            dropped.setdefault(index, "nothing follows it: a turn that ends in reasoning is refused")
        elif index not in dropped:
            break
    return dropped


def _reasoning(encoder: TurnEncoder, part: ReasoningPart, rules: ReplayRules) -> str | None:
    if part.origin is None or not encoder.is_own(part):
        return "reasoning goes back only by the protocol that it came by"
    if encoder.origin.model not in (part.origin.model, part.origin.reported):
        return "reasoning is bound to the model that made it"
    return None if rules.reasoning else "this model refuses to be shown its reasoning"


def _opaque(encoder: TurnEncoder, part: OpaquePart, rules: ReplayRules) -> str | None:
    own = isinstance(part.data, dict) and encoder.is_own(part)
    return None if own else f"{part_name(part)} is bound to who made it"


def _media(encoder: TurnEncoder, part: ImagePart | FilePart, rules: ReplayRules) -> str | None:
    if part.origin is None:
        raise encoder.unsupported(f"{part_name(part)} cannot be sent in an assistant's message")
    if not rules.media:
        return "media cannot be sent as the assistant's"
    if not encoder.is_own(part):
        return "another protocol's media cannot be sent as the assistant's"
    return None if part.data else "nothing of it has arrived"


def _result(encoder: TurnEncoder, part: ToolResultPart, rules: ReplayRules) -> str | None:
    raise encoder.unsupported("a tool result belongs in a message of role tool")


_OBJECTIONS: Mapping[type[Part], Callable[[TurnEncoder, Any, ReplayRules], str | None]] = {
    ReasoningPart: _reasoning,
    OpaquePart: _opaque,
    ImagePart: _media,
    FilePart: _media,
    ToolResultPart: _result,
}


# -- one message after another -------------------------------------------------------------------------------


class TurnEncoder:
    """Encodes the messages of one request into `system` blocks and `turns`; a base for protocols with both.

    The leading system messages become `system`. A later one stays a message of that role where the model takes it,
    which is only after a user's turn: one that stands elsewhere is sent behind the next. Where none can stand, it
    becomes a user's message that names it as the system's. The results of a turn's calls stand ahead of all else.
    `places` names each turn by the message that it comes from, `marked` each block that has a cache mark by its part.
    """

    instructions: tuple[type[Part], ...] = (TextPart,)
    """The parts that `system` can hold."""
    refused_in_id: re.Pattern[str]
    """A character that ids of calls must not have."""
    longest_id: int | None = None
    any_arguments = False
    """The wire has arguments that are no object too."""

    def __init__(self, origin: Origin, reader: OptionReader, rules: ReplayRules, takes_system: bool) -> None:
        self.origin = origin
        self.reader = reader
        self.rules = rules
        self.system: list[Block] = []
        self.turns: list[Block] = []
        self.places: list[str] = []
        self.marked: dict[int, str] = {}
        self._takes_system = takes_system
        self._waiting: list[tuple[int, Message]] = []
        self._at: tuple[int, ...] = (0,)

    # -- what a protocol defines -----------------------------------------------------------------------------

    def encode_part(self, part: Part) -> Block:
        """The block of a part of a user's, tool's or system message."""
        raise NotImplementedError

    def encode_answer_part(self, part: Part) -> Block:
        """The block of a part of an assistant's message that `replay_drops` let through."""
        raise NotImplementedError

    def mark(self, blocks: list[Block], cache: Cache) -> None:
        """Set a cache mark on the last block, and note in `marked` where it comes from."""
        raise NotImplementedError

    def add(self, role: str, blocks: list[Block], message: Message) -> None:
        """Add a turn."""
        raise NotImplementedError

    # -- reports ---------------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """The part that is encoded, or its message: `messages[3].content[0]`."""
        return f"messages[{self._at[0]}]" + "".join(f".content[{i}]" for i in self._at[1:])

    def unsupported(self, message: str) -> UnsupportedError:
        """The error for content that cannot be sent; it names the message."""
        return UnsupportedError(
            f"messages[{self._at[0]}]: {message}", provider=self.origin.provider, model=self.origin.model
        )

    def dropped(self, reason: str, field: str = "") -> None:
        """Report that the part or message at hand, or a field of it, is not sent."""
        self.reader.dropped(self.where + field, reason)

    def adapted(self, reason: str, field: str = "") -> None:
        """Report that it is sent in another form with the same meaning."""
        self.reader.adapted(self.where + field, reason)

    def emulated(self, reason: str, field: str = "") -> None:
        """Report that it is reached by other means."""
        self.reader.emulated(self.where + field, reason)

    def is_own(self, part: Part) -> bool:
        """Whether the caller made a part, or it came by this protocol."""
        return part.origin is None or part.origin.protocol == self.origin.protocol

    # -- what protocols encode alike -------------------------------------------------------------------------

    def encode_id(self, call_id: str) -> str:
        """A call's id in the form that the API takes."""
        return wire_id(call_id, self.refused_in_id, self.longest_id)

    def encode_call(self, part: ToolCallPart) -> tuple[str, Any]:
        """A call's id and arguments, as the object that the wire has."""
        id = self.encode_id(part.call_id)
        if id != part.call_id:
            self.adapted("this API takes fewer characters in ids", ".id")
        if part.kind == "function":
            return id, self.encode_arguments(part.arguments, part)
        self.emulated(f"a call of kind {part.kind!r} is sent as a function call")
        if part.kind == "custom":
            return id, {"input": part.arguments}
        return id, self.encode_arguments(part.arguments, part)

    def encode_arguments(self, text: str, part: Part) -> Any:
        """Arguments as an object. What is none is shown to the model as it was, unless it came so by this protocol."""
        try:
            value = arguments_object(text)
        except ValueError:
            value = None
        if type(value) is dict or (value is not None and self.any_arguments and self._came_by_us(part)):
            return value
        self.adapted(
            f"the arguments are no JSON object: sent as the text under {INVALID_JSON!r}", ".arguments"
        )
        return {INVALID_JSON: text}

    def _came_by_us(self, part: Part) -> bool:
        return part.origin is not None and self.is_own(part)

    def encode_citations(self, part: TextPart) -> list[Any]:
        """The citations of an answer's text that can be sent back."""
        own = self.is_own(part)
        cited = [c.raw for c in part.citations if own and isinstance(c.raw, dict)]
        if len(cited) < len(part.citations):
            self.dropped("only citations that came by this protocol can be sent back", ".citations")
        return cited

    # -- messages --------------------------------------------------------------------------------------------

    def take_system(self) -> str | None:
        """The request's own system prompt; an empty one is refused by the API."""
        system: str | None = self.reader.take("system")
        if system == "":
            self.reader.dropped("system", "an empty text is refused")
        return system

    def encode_messages(self, messages: Sequence[Message]) -> None:
        """Fill `system` and `turns`. Raises UnsupportedError for what the API cannot express."""
        leading = True
        for index, message in enumerate(messages):
            self._at = (index,)
            role = message.role
            if message.name is not None:
                self.dropped("this protocol has no names for speakers", ".name")
            if role == "assistant":
                leading = False
                self._release()  # a model has answered what stands before, so that is where it stays
                self._at = (index,)
                self.encode_answer(message)
            elif role in _INSTRUCTING:
                if role == "developer":
                    self.adapted("this protocol has no developer role: sent as system", ".role")
                leading = leading and self._is_instruction(message)
                if leading:
                    self.system += self.encode_parts(message.content)
                else:
                    self._later_system(message, _answers(messages, index + 1))
            else:
                leading = False
                self._user(message)
                if self._waiting and not _answers(messages, index + 1):
                    self._release()
        self._release()

    def encode_parts(self, parts: tuple[Part, ...]) -> list[Block]:
        """A block for each part, without texts that are refused. If nothing else is there, the API may refuse them."""
        if len(parts) == 1:
            return self._encode_all(enumerate(parts), _NONE, self.encode_part)
        refused = refused_texts(parts, blank=self.rules.blank)
        dropped = _NONE if len(refused) == len(parts) else refused
        return self._encode_all(enumerate(parts), dropped, self.encode_part)

    def _encode_all(
        self,
        parts: Iterable[tuple[int, Part]],
        dropped: Mapping[int, str],
        encode: Callable[[Part], Block],
    ) -> list[Block]:
        blocks: list[Block] = []
        around = self._at
        for index, part in parts:
            self._at = (*around, index)
            if index in dropped:
                self.dropped(dropped[index])
                continue
            blocks.append(encode(part))
            if isinstance(part, ToolResultPart):
                self._mark_result(blocks, part)
            elif not isinstance(part, RefusalPart) and part.cache is not None:
                self._mark(blocks, part)
        self._at = around
        return blocks

    def _mark(self, blocks: list[Block], part: Part) -> None:
        if len(self._at) > 2:
            return  # inside a tool's result, which has the mark
        cache = self.reader.take_cache(part)
        if cache is not None:
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
            self.mark(blocks, marks[0])

    def encode_answer(self, message: Message) -> None:
        """An assistant's message."""
        parts = message.content
        dropped = _NONE if all(map(_is_plain, parts)) else replay_drops(self, parts, self.rules)
        blocks = self._encode_all(enumerate(parts), dropped, self.encode_answer_part)
        if blocks:
            self.add("assistant", blocks, message)
        else:
            self.dropped("nothing of this turn can be sent, and an empty one is refused")

    def _user(self, message: Message) -> None:
        parts = message.content
        results = [index for index, part in enumerate(parts) if type(part) is ToolResultPart]
        if message.role == "tool" and not 0 < len(results) == len(parts):
            raise self.unsupported(
                "a tool message takes ToolResultParts only; use Message.tool_result(call, …)"
            )
        if results and results[-1] != len(results) - 1:
            self.adapted("the API wants results ahead of all else", ".content")
            ordered = sorted(enumerate(parts), key=lambda entry: type(entry[1]) is not ToolResultPart)
            blocks = self._encode_all(ordered, refused_texts(parts, blank=self.rules.blank), self.encode_part)
        else:
            blocks = self.encode_parts(parts)
        self.add("user", blocks, message)

    # -- system messages in the middle of a conversation -----------------------------------------------------

    def _is_instruction(self, message: Message) -> bool:
        """Whether a leading system message can be in `system`; what has fields of its own stays a message."""
        return not message.extra and all(isinstance(part, self.instructions) for part in message.content)

    def _later_system(self, message: Message, result_follows: bool) -> None:
        if self._is_after_user() and not result_follows:
            self._place(message)
        else:
            self._waiting.append((self._at[0], message))

    def _release(self) -> None:
        """The system messages that waited for a user's turn to stand behind; at the end they wait no longer."""
        waiting, self._waiting = self._waiting, []
        for index, message in waiting:
            self._at = (index,)
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
_INSTRUCTING = frozenset(("system", "developer"))


def _is_plain(part: Part) -> bool:
    """Whether no rule of replay concerns a part."""
    if isinstance(part, TextPart):
        return bool(part.text) and not part.text.isspace()
    return isinstance(part, ToolCallPart)


def _answers(messages: Sequence[Message], index: int) -> bool:
    """Whether the message at an index has the results of calls."""
    if index >= len(messages) or messages[index].role not in ("user", "tool"):
        return False
    return any(isinstance(part, ToolResultPart) for part in messages[index].content)
