"""What every encoder of messages does alike: whose a part is, what of an earlier answer goes back, what is reported.

A part that a provider made is bound to it: reasoning to the model (by the requested or the reported name), items of
server tools and media to the protocol. What is bound elsewhere is dropped and reported, a server tool's call together
with its result. Where two protocols face the same question (arguments that are no object, ids with characters that an
API refuses, a result in the wrong place), the answer and its wording are here, once.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.json import decode_json, fast_decode
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.types import (
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
    "BROKEN_ARGUMENTS",
    "INSTRUCTION_ROLES",
    "MERGED",
    "MOVED",
    "MessageEncoderBase",
    "base64_of",
    "in_order",
    "is_text_file",
    "local_id",
    "part_name",
    "short_id",
    "take_system",
    "tool_name",
    "value_in_text",
    "wire_id",
]

BROKEN_ARGUMENTS = "INVALID_JSON"
"""The key for arguments that are no object, as Anthropic's page on fine-grained tool streaming names it."""
_MAX_SEED = 1024  # characters: many calls of a response with a huge id cost no more than others
_REFUSED_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


class MessageEncoderBase:
    """Base of the protocols' message encoders.

    `origin` is that of the new request; `at` is the place of what is encoded: the index of its message, of its part in
    that, and of a part within a result. Reports name it (`where`), and places below it: `".citations"`.
    """

    at: tuple[int, ...] = ()
    sent_of_others: tuple[type[Part], ...] = (TextPart, RefusalPart, ToolCallPart)
    """The parts that are sent whoever made them; others of foreign origin are dropped as a whole."""

    def __init__(self, origin: Origin, reader: OptionReader) -> None:
        self.origin = origin
        self.reader = reader
        self._kept: dict[int, list[int]] = {}
        """For a message that has lost parts, the places of those that are left."""

    # -- reports -----------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """The message or part that is encoded, as reports name it: `messages[3].content[0]`."""
        if not self.at:
            return ""
        first, *within = self.at
        if within and first in self._kept:
            within[0] = self._kept[first][within[0]]
        return f"messages[{first}]" + "".join([f".content[{index}]" for index in within])

    def adapted(self, reason: str, place: str = "") -> None:
        """Report that something of this message is sent in another form."""
        self.reader.adapted(self.where + place, reason)

    def weaken(self, reason: str, place: str = "") -> None:
        """Report that something of this message is sent with less effect than it was to have."""
        self.reader.weaken(self.where + place, reason)

    def emulated(self, reason: str, place: str = "") -> None:
        """Report that something of this message is reached by other means."""
        self.reader.emulated(self.where + place, reason)

    def dropped(self, reason: str, place: str = "") -> None:
        """Report that something of this message is not sent."""
        self.reader.dropped(self.where + place, reason)

    def unsupported(self, message: str) -> UnsupportedError:
        """The error for content that the protocol cannot express."""
        told = f"{self.where}: {message}" if self.where else message
        return UnsupportedError(told, provider=self.origin.provider, model=self.origin.model)

    def drop_name(self, message: Message) -> None:
        """For an API without names for speakers."""
        if message.name is not None:
            self.dropped("this API has no names for speakers", ".name")

    # -- what is sent of a history -----------------------------------------------------------------------

    def sendable(self, messages: Sequence[Message]) -> list[tuple[int, Message]]:
        """The messages with their places, without the instructions that say nothing: many services refuse those.

        They are reported, and so is what no other provider takes of an assistant's turn: signatures and the like.
        """
        sent = []
        for index, message in enumerate(messages):
            role = message.role
            if role == "assistant":
                for part in message.content:  # a quick look, since every part of a long history is asked
                    if part.extra and not self.is_own(part):
                        self._report_others(index, message)
                        break
                else:
                    if message.extra:
                        self._report_others(index, message)
            elif role in INSTRUCTION_ROLES:
                message = self._spoken(index, message)
                if not message.content:
                    continue
            sent.append((index, message))
        return sent

    def _spoken(self, index: int, message: Message) -> Message:
        """An instruction without its empty texts."""
        parts = message.content
        kept = [at for at, part in enumerate(parts) if not isinstance(part, TextPart) or part.text.strip()]
        if parts and len(kept) == len(parts):
            return message
        for at in range(len(parts)):
            if at not in kept:
                self.reader.dropped(f"messages[{index}].content[{at}]", NO_TEXT)
        if not parts:
            self.reader.dropped(f"messages[{index}]", NO_TEXT)
        self._kept[index] = kept
        spoken = replace(message, content=tuple([parts[at] for at in kept]))
        self.reader.stands_for(spoken, message)
        return spoken

    def _report_others(self, index: int, message: Message) -> None:
        for at, part in enumerate(message.content):
            if part.extra and isinstance(part, self.sent_of_others) and not self.is_own(part):
                self._report_state(f"messages[{index}].content[{at}]", part.extra)
        if message.extra and not all(map(self.is_own, message.content)):
            self._report_state(f"messages[{index}]", message.extra)

    def _report_state(self, place: str, extra: Mapping[str, Any]) -> None:
        """Report the state among fields that are not sent; ids, indexes and the like are no state."""
        for name, value in extra.items():
            if name in _STATE and _says_something(value):
                self.reader.dropped(f"{place}.{name}", f"{name} is bound to the provider that made it")
            elif isinstance(value, Mapping) and name not in _STATE:
                self._report_state(f"{place}.{name}", value)

    # -- whose a part is ---------------------------------------------------------------------------------

    def is_own(self, part: Part) -> bool:
        """Whether the caller made a part, or a model behind this protocol."""
        return part.origin is None or part.origin.protocol == self.origin.protocol

    def is_own_model(self, part: Part) -> bool:
        """Whether the model that is asked made a part: it answers to the requested and to the reported name."""
        origin = part.origin
        return (
            origin is not None and self.is_own(part) and self.origin.model in (origin.model, origin.reported)
        )

    def own_extra(self, part: Part) -> dict[str, Any]:
        """The fields beside a part's content, unless they came by another protocol."""
        return self.reader.take_extra(part) if part.extra and self.is_own(part) else {}

    # -- what of an assistant's turn goes back -----------------------------------------------------------

    def objection(self, part: Part) -> str | None:
        """Why a part of an assistant's turn is not sent; None if it is. A protocol adds its own.

        Raises UnsupportedError for what the caller has put where it does not belong.
        """
        match part:
            case ReasoningPart() if part.origin is None or not self.is_own(part):
                return "reasoning is sent back only by the protocol that it came by"
            case ReasoningPart() if not self.is_own_model(part):
                return "reasoning is bound to the model that made it"
            case OpaquePart() if not isinstance(part.data, dict) or not self.is_own(part):
                return f"{part_name(part)} is bound to the provider that made it"
            case ImagePart() | FilePart() if part.origin is None:
                raise self.unsupported(f"{part_name(part)} cannot be sent in an assistant's message")
            case ImagePart() | FilePart() if not self.is_own(part):
                return "media of another protocol cannot be sent as the assistant's"
            case ToolResultPart():
                raise self.unsupported("a tool result belongs in a message of role tool")
        return None

    def dropped_parts(
        self, parts: Sequence[Part], *, needs_follower: str | None, also: Mapping[int, str]
    ) -> dict[int, str]:
        """The places of the parts that are not sent, with the reasons.

        `also` are those that the protocol has found by itself. A server tool's call and its result are dropped
        together. `needs_follower` is the reason to drop reasoning that nothing follows, where the API refuses it.
        """
        dropped = dict(also)
        for index, part in enumerate(parts):
            reason = self.objection(part)
            if reason is not None:
                dropped[index] = reason
        if dropped:
            _drop_halves(parts, dropped)
        if needs_follower is not None:
            _drop_last_reasoning(parts, dropped, needs_follower)
        return dropped

    # -- media -------------------------------------------------------------------------------------------

    def text_of(self, part: FilePart) -> str:
        """The text of a text file. Raises UnsupportedError for one in another encoding than UTF-8."""
        try:
            return (part.data or b"").decode()
        except UnicodeDecodeError:
            raise self.unsupported("a text file must be UTF-8") from None

    # -- calls and results -------------------------------------------------------------------------------

    def split_results(
        self, message: Message
    ) -> tuple[list[tuple[int, ToolResultPart]], list[tuple[int, Part]]]:
        """The tool results of a message, and its other parts, each with its place.

        Raises UnsupportedError for a tool message that holds anything but results, or none.
        """
        results: list[tuple[int, ToolResultPart]] = []
        others: list[tuple[int, Part]] = []
        for index, part in enumerate(message.content):
            if isinstance(part, ToolResultPart):
                results.append((index, part))
            else:
                others.append((index, part))
        if message.role == "tool" and (others or not results):
            raise self.unsupported("a tool message takes ToolResultParts; use Message.tool_result(call, …)")
        return results, others

    def report_error_flag(self, part: ToolResultPart, place: str) -> None:
        """For an API without a flag for failed calls."""
        if part.is_error:
            self.dropped("this API has no error flag: the text is sent as it is", f"{place}.is_error")

    def report_kind(self, part: ToolCallPart, place: str = "", *known: str) -> None:
        """For a call of a kind that the API has no item for."""
        if part.kind != "function" and part.kind not in known:
            self.emulated(f"a call of kind {part.kind!r} is sent as a function call", place)

    def arguments_object(self, part: ToolCallPart, place: str = "") -> dict[str, Any]:
        """A call's arguments for an API that takes an object; text that is none is sent inside one, and reported."""
        return {"input": part.arguments} if part.kind == "custom" else self.as_object(part.arguments, place)

    def as_object(self, text: str, place: str = "") -> dict[str, Any]:
        """As `arguments_object`, of the text alone."""
        value = value_in_text(text)
        if type(value) is dict:
            return value
        reason = f"the arguments are no JSON object: sent as the text under {BROKEN_ARGUMENTS!r}"
        self.adapted(reason, f"{place}.arguments")
        return {BROKEN_ARGUMENTS: text}

    def report_citations(self, part: TextPart, place: str = "", sent: int = 0) -> None:
        """Where not all citations of a text can be sent back."""
        if sent < len(part.citations):
            reason = "only citations that came by this protocol can be sent back" if sent else _NO_CITATIONS
            self.dropped(reason, f"{place}.citations")


def is_text_file(part: FilePart) -> bool:
    """Whether a file is text, by its media type."""
    media_type = (part.media_type or "").partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in _TEXT_TYPES


_TEXT_TYPES = frozenset(
    (
        "application/javascript",
        "application/json",
        "application/toml",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    )
)
_NO_CITATIONS = "citations cannot be sent back"
_STATE = frozenset(
    (
        "encrypted_content",
        "extra_content",
        "provider_specific_fields",
        "reasoning_details",
        "reasoning_opaque",
        "reasoning_text",
        "signature",
        "thinking_blocks",
        "thoughtSignature",
        "thought_signature",
    )
)
"""The fields beside an answer's content by which a model goes on with its own reasoning."""


def _says_something(value: Any) -> bool:
    """Whether a field holds anything: LiteLLM sends objects of nulls."""
    return any(map(_says_something, value.values())) if isinstance(value, Mapping) else bool(value)


def value_in_text(text: str) -> Any:
    """The JSON value that arguments are; an empty object for a blank text, None for what is no JSON."""
    try:
        return fast_decode(text)
    except (ValueError, RecursionError):
        pass  # as services send it, but slower
    try:
        return decode_json(text.encode("utf-8", "surrogatepass")) if text.strip() else {}
    except ValueError:
        return None


def take_system(reader: OptionReader) -> str | None:
    """The request's own system prompt; an empty one says nothing, and many services refuse it."""
    system: str | None = reader.take("system")
    if system is not None and not system.strip():
        reader.dropped("system", NO_TEXT)
        return None
    return system


INSTRUCTION_ROLES = frozenset(("system", "developer"))
"""The roles whose messages are instructions."""
NO_TEXT = "an empty text is refused"


def in_order(messages: Sequence[Message], encoder: MessageEncoderBase) -> Iterable[tuple[int, Message]]:
    """The messages that are sent, with their places, as services want them: results follow their calls at once.

    Results move to the turn with their calls, ahead of what stands between; a turn of the model right behind
    calls becomes part of the turn with the calls. Both are reported.
    """
    sendable = encoder.sendable(messages)
    kept = dict(sendable)
    home: dict[str, int] = {}  # where the turn with a call begins
    behind: dict[int, int] = {}  # results' messages, and where the turn with their calls begins
    last, calling, moved = -1, False, False
    for index, message in sendable:
        if message.role == "assistant":
            if calling:
                turn = kept[last]
                kept[last] = _merged(turn, kept.pop(index))
                encoder.reader.stands_for(kept[last], turn, message)
                encoder.reader.adapted(f"messages[{index}]", MERGED)
            else:
                last = index
            for part in message.content:
                if type(part) is ToolCallPart:
                    home[part.id or part.call_id] = last
                    calling = True
            continue
        at = None
        for part in message.content:
            if type(part) is ToolResultPart:
                at = home.get(part.call_id)
                break
        if at is not None:
            behind[index] = at
            if at != last:
                encoder.reader.adapted(f"messages[{index}]", MOVED)
                moved = True
                continue
        else:
            last = index
        calling = False
    if not moved:
        return kept.items()
    return sorted(kept.items(), key=lambda placed: behind.get(placed[0], placed[0]))


def _merged(turn: Message, later: Message) -> Message:
    """Two turns of the model as one."""
    extra = {**(turn.extra or {}), **(later.extra or {})} or None
    return replace(turn, content=turn.content + later.content, extra=extra)


MERGED = "a turn between calls and their results is part of the turn before it"
MOVED = "results are sent right after the calls that they answer"


def _drop_halves(parts: Sequence[Part], dropped: dict[int, str]) -> None:
    """A server tool's call and its result are refused without each other."""
    torn = {p.id for i in dropped if isinstance(p := parts[i], OpaquePart) and p.role and p.id}
    for index, part in enumerate(parts):
        if isinstance(part, OpaquePart) and part.role is not None and part.id in torn:
            dropped.setdefault(index, "its call or result is dropped, and one is refused without the other")


def _drop_last_reasoning(parts: Sequence[Part], dropped: dict[int, str], reason: str) -> None:
    for index in range(len(parts) - 1, -1, -1):
        if isinstance(parts[index], ReasoningPart):
            dropped.setdefault(index, reason)
        elif index not in dropped:
            break


def base64_of(part: ImagePart | FilePart) -> str:
    """The bytes of a picture or file as JSON has them."""
    return base64.b64encode(part.data or b"").decode()


def part_name(part: Part) -> str:
    """A part's class, and an opaque part's kind, for messages."""
    return f"{type(part).__name__}({part.kind!r})" if isinstance(part, OpaquePart) else type(part).__name__


def wire_id(call_id: str, refused: re.Pattern[str] = _REFUSED_IN_ID, longest: int | None = None) -> str:
    """A call's id for an API that takes few characters; the same for the same id, for the call and its result.

    `refused` matches a character that the API does not take; `longest` is the most that it takes.
    """
    if call_id and refused.search(call_id) is None and (longest is None or len(call_id) <= longest):
        return call_id
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{refused.sub('_', call_id)[:48] or 'call'}_{digest}"


def tool_name(name: str, pattern: str, encoder: MessageEncoderBase | None = None, place: str = "") -> str:
    """A tool's name where the service takes few characters in it; `pattern` is its whole form.

    With an encoder, the name is a call's of the history: other characters are removed, what then lacks a letter in
    front gets "tool_", and it is reported. Else it is a tool's of the request, whose calls must bear the very name:
    raises UnsupportedError.
    """
    if _is_name(name, pattern):
        return name
    if encoder is None:
        raise UnsupportedError(f"this service takes no tool named {name!r}: a name must match {pattern}")
    encoder.adapted(f"a tool's name must match {pattern}: what does not is removed", f"{place}.name")
    kept = _REFUSED_IN_ID.sub("", name)[:64] or "_"
    return kept if _is_name(kept, pattern) else f"tool_{kept}"[:64]


@lru_cache(1024)
def _is_name(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, name) is not None


def short_id(call_id: str, length: int = 9) -> str:
    """A call's id for an API that takes only so many letters and digits; the same for the same id."""
    if len(call_id) == length and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def local_id(response: str | None, index: int, name: str) -> str:
    """An id for a call that came without one: the same for the same response, whenever it is decoded."""
    seed = (response or "")[:_MAX_SEED]
    digest = hashlib.sha256(f"{seed}\0{index}\0{name}".encode("utf-8", "replace"))
    return f"local_{digest.hexdigest()[:24]}"
