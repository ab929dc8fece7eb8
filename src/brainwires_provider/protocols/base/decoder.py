r"""What all decoders share: parts under construction, both names of the model, the partial response, JSON.

A decoder opens a part, adds fragments to it, and closes it; the assembler counts the parts, emits the events, joins
the fragments once, at the end, and can at any moment show what has arrived. It keeps the grammar of `events`: no delta
outside an open part, every part closed before the end, the joined deltas equal to the part's final text.

Text arrives cut anywhere, even between the two halves of a UTF-16 surrogate pair (services that cut JSON strings by
UTF-16 units send `"\ud83d"` in one chunk and `"\ude00"` in the next). A first half is held back until its second
arrives; a half without its partner becomes U+FFFD, so that every text can be encoded again.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, NoReturn, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr, replace

from brainwires_provider.errors import ProtocolError, StreamInterrupted
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    RefusalDelta,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.framing.base import DEFAULT_MAX_PARTS, WireMessage
from brainwires_provider.protocols.base.json import Merging, decode_json, fast_decode, looks_like, objects_in
from brainwires_provider.types import (
    Citation,
    FilePart,
    Message,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    Response,
    TextPart,
    ToolCallPart,
    Usage,
)
from brainwires_provider.types.checked import copied

__all__ = [
    "Assembler",
    "AudioBuilder",
    "DecoderBase",
    "OpenPart",
    "emptied",
    "final_text",
    "listed_error",
    "sources",
    "well_formed",
    "with_text",
]

_Delta: TypeAlias = type[TextDelta] | type[ReasoningDelta] | type[RefusalDelta] | type[ToolCallDelta]
P = TypeVar("P", bound=Part)
_DELTAS: dict[type[Part], _Delta] = {
    TextPart: TextDelta,
    ReasoningPart: ReasoningDelta,
    RefusalPart: RefusalDelta,
    ToolCallPart: ToolCallDelta,
}
_LONGEST_NAME = 200  # of a model that is kept for the next response
_LONE = re.compile("[\ud800-\udfff]")
_CITATIONS = 5  # for each part that a response may have: one can take ten times the bytes that it is sent in


class OpenPart:
    """A part that is still growing. `seed` is what is known of it but its text.

    `grown` returns the part so far where it grows by something else than text.
    """

    __slots__ = ("delta", "fragments", "grown", "held", "index", "seed")

    def __init__(self, index: int, seed: Part, grown: Callable[[], Part] | None = None) -> None:
        self.index = index
        self.seed = seed
        self.grown = grown
        self.fragments: list[str] = []
        self.held = ""
        self.delta = _DELTAS.get(type(seed))

    def joined(self) -> str:
        """All fragments so far. Joined in place, so that asking often stays cheap."""
        if len(self.fragments) > 1:
            self.fragments = ["".join(self.fragments)]
        return self.fragments[0] if self.fragments else ""

    def part(self) -> Part:
        """The part as it stands."""
        if self.grown is not None:
            return self.grown()
        if self.delta is None:
            return self.seed
        text = self.fragments[0] if len(self.fragments) == 1 else self.joined()
        return with_text(self.seed, text)


class Assembler:
    """One answer's parts. Decoders append their own events to `events` too; `take` empties it.

    `ragged` says that a lone surrogate may have come in: then everything is mended on its way out. `kinds` holds the
    types of the parts that have arrived. `limit` is the most parts that one response may have: a small body can hold
    millions of empty items.
    """

    __slots__ = ("_closed", "_open", "events", "kinds", "limit", "ragged")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ragged = False
        self.limit = DEFAULT_MAX_PARTS
        self._open: dict[int, OpenPart] = {}
        self._closed: dict[int, Part] = {}
        self.kinds: set[type[Part]] = set()

    def take(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return [well_formed(event) for event in events] if self.ragged else events

    @property
    def count(self) -> int:
        """How many parts have been opened."""
        return len(self._open) + len(self._closed)

    def open(self, seed: Part, grown: Callable[[], Part] | None = None) -> OpenPart:
        """Begin a part. `seed` has everything known so far; its text, if it has one, comes by `add`."""
        index = len(self._open) + len(self._closed)
        if index >= self.limit:
            raise ProtocolError(f"the response has more than {self.limit} parts; max_parts sets this limit")
        part = self._open[index] = OpenPart(index, seed, grown)
        self.kinds.add(type(seed))
        self.events.append(PartStart(index, seed))
        return part

    def add(self, part: OpenPart, text: str) -> None:
        """Add a fragment; an empty one makes no event."""
        if part.held or not text.isascii():
            text = _mend(part, text)
        if text:
            part.fragments.append(text)
            self.events.append(part.delta(part.index, text))  # type: ignore[misc]

    def close(self, part: OpenPart, **fields: Any) -> Part:
        """End a part; `fields` replace what the seed said."""
        if part.held:
            part.held = ""
            self.add(part, "\ufffd")
        if fields:
            part.seed = replace(part.seed, **fields)
        done = part.part()
        part.grown = None  # it refers back to what opened the part
        del self._open[part.index]
        self._closed[part.index] = done
        self.events.append(PartEnd(part.index, done))
        return done

    def whole(self, part: Part) -> Part:
        """A part that arrived at once."""
        opened = self.open(emptied(part))
        text = final_text(part)
        if text:
            self.add(opened, text)
        return self.close(opened)

    def text(self, seed: TextPart, text: str) -> None:
        """The first part is a text that arrived at once, and is whole."""
        part = self._closed[0] = with_text(seed, text)
        self.kinds.add(TextPart)
        self.events += (PartStart(0, seed), TextDelta(0, text), PartEnd(0, part))

    def catch_up(self, part: OpenPart, *texts: str) -> None:
        """Add what one of the final texts has beyond the fragments so far; another text adds nothing."""
        known = part.joined() + part.held
        for text in texts:
            if len(text) > len(known) and text.startswith(known):
                self.add(part, text[len(known) :])
                return

    def complete(self, part: OpenPart, final: Part, *texts: str) -> None:
        """End a part by its final copy, whose text is one of `texts`: a longer one adds a last delta.

        Where the kinds differ, what was streamed stands and the copy is a part of its own; a part without content
        takes the kind of its copy.
        """
        if type(final) is not type(part.seed):
            if part.fragments or part.held:
                self.close(part)
                self.whole(final)
                return
            part.delta = _DELTAS.get(type(final))
        if part.delta is None:
            part.grown = lambda: final
        else:
            part.grown = None
            self.catch_up(part, *(texts or (final_text(final),)))
            part.seed = final
        self.close(part)

    def close_all(self) -> None:
        """End what is still open, in the order in which it began."""
        for part in list(self._open.values()):
            self.close(part)

    def parts(self) -> tuple[Part, ...]:
        """What has arrived, whole or not, in order."""
        seen = self._closed
        if self._open:
            seen = {index: part.part() for index, part in self._open.items()} | seen
        return tuple(map(seen.__getitem__, sorted(seen)))


class AudioBuilder:
    """Spoken output: fragments of sound and of its transcript become one FilePart."""

    __slots__ = ("_origin", "_part", "_parts", "_sound", "_transcript")

    def __init__(self, parts: Assembler, origin: Origin) -> None:
        self._parts = parts
        self._origin = origin
        self._part: OpenPart | None = None
        self._sound: list[bytes] = []
        self._transcript: list[str] = []

    def add(self, fragment: Any, kind: str, *, sound: Any = "", transcript: Any = "") -> None:
        """Add sound in base64 and text. `fragment` is the OpaqueDelta's data. Raises ValueError for anything else."""
        if not isinstance(sound, str) or not isinstance(transcript, str):
            raise ValueError("the audio or its transcript is no text")
        try:
            self._sound.append(base64.b64decode(sound, validate=True))
        except binascii.Error:
            raise ValueError("the audio is not base64") from None
        self._transcript.append(transcript)
        if self._part is None:
            self._part = self._parts.open(FilePart(data=b"", origin=self._origin), self._so_far)
        self._parts.events.append(OpaqueDelta(self._part.index, kind, fragment))

    def _so_far(self) -> FilePart:
        text = "".join(self._transcript)
        return FilePart(data=b"".join(self._sound), text=text or None, origin=self._origin)


def with_text(seed: P, text: str) -> P:
    """A part that was checked, with its text or arguments: `replace` would check all of its fields again."""
    part: P = copied(seed)
    force_setattr(part, "arguments" if type(part) is ToolCallPart else "text", text)
    return part


def final_text(part: Part) -> str:
    """What the deltas of a part add up to: its arguments or its text; empty for a part without deltas."""
    if isinstance(part, ToolCallPart):
        return part.arguments
    return part.text if isinstance(part, (TextPart, ReasoningPart, RefusalPart)) else ""


def emptied(part: Part) -> Part:
    """The part without its text, which comes by deltas."""
    if isinstance(part, ToolCallPart):
        return replace(part, arguments="") if part.arguments else part
    if isinstance(part, (TextPart, ReasoningPart, RefusalPart)):
        return replace(part, text="") if part.text else part
    return part


def _mend(part: OpenPart, text: str) -> str:
    """Join surrogate halves over fragments; nothing that cannot be encoded gets through."""
    text = part.held + text
    part.held = ""
    if not _LONE.search(text):
        return text
    if "\ud800" <= text[-1] <= "\udbff":
        part.held = text[-1]
        text = text[:-1]
    return _join_surrogates(text)


def _join_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@lru_cache(256)
def _reported(asked: Origin, model: str) -> tuple[Origin, TextPart]:
    """The origin of parts of the model that a service names, and a text of it that begins."""
    origin = Origin(asked.protocol, asked.provider, asked.model, model)
    return origin, TextPart("", origin=origin)


def listed_error(value: Any) -> dict[str, Any] | None:
    """The object of an array that holds one error, as some gateways send it."""
    if type(value) is list and value and type(value[0]) is dict and value[0].get("error"):
        error: dict[str, Any] = value[0]
        return error
    return None


def sources(items: Any, read: Callable[[dict[str, Any]], Citation]) -> tuple[Citation, ...]:
    """What one text cites. Raises ProtocolError for more citations than a response has."""
    found = objects_in(items)
    if len(found) > _CITATIONS * DEFAULT_MAX_PARTS:
        raise ProtocolError(f"a text has more than {_CITATIONS * DEFAULT_MAX_PARTS} citations")
    return tuple(map(read, found))


def well_formed(value: Any) -> Any:
    """The same JSON value, part or event, so that it can be encoded again: no lone surrogate, no NaN, no infinity.

    What holds none of them is returned as it is, and not copied.
    """
    return value if _is_well_formed(value) else _mended(value)


def _is_well_formed(value: Any) -> bool:
    if isinstance(value, str):
        return not _LONE.search(value)
    if isinstance(value, dict):
        return all(map(_is_well_formed, value)) and all(map(_is_well_formed, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_well_formed, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, Struct) or all(
        _is_well_formed(getattr(value, n)) for n in value.__struct_fields__
    )


def _mended(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return _join_surrogates(value)
    if isinstance(value, dict):
        return {_mended(k): _mended(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mended(v) for v in value)
    if isinstance(value, Struct):
        return replace(value, **{n: _mended(getattr(value, n)) for n in value.__struct_fields__})
    return value


class DecoderBase:
    """What decoders share: the assembler, both names, the partial, and how JSON is read."""

    def __init__(self, origin: Origin) -> None:
        self.started = False
        self.ended = False
        self.parts = Assembler()
        self.origin = origin
        self.empty_text: TextPart | None = None
        """A text of this origin that begins, once the service has named its model."""
        self.id: str | None = None
        self.model: str | None = None
        self.extra: dict[str, Any] = {}
        self.message_extra: dict[str, Any] = {}

    @cached_property
    def merging(self) -> Merging:
        """What merges the pieces of fields. Made when first needed: few answers have some."""
        return Merging()

    @property
    def max_parts(self) -> int:
        """The most parts that the response may have."""
        return self.parts.limit

    @max_parts.setter
    def max_parts(self, limit: int) -> None:
        self.parts.limit = limit

    def usage(self) -> Usage:
        """The counts so far."""
        return Usage()

    def partial(self) -> Response:
        """What has arrived so far."""
        response = Response(
            id=self.id,
            provider=self.origin.provider,
            model=self.model,
            message=Message("assistant", self.parts.parts(), extra=dict(self.message_extra) or None),
            finish_reason="pending",
            raw_finish_reason=None,
            usage=replace(self.usage(), complete=False),
            extra=dict(self.extra),
        )
        self.merging.release()
        mended: Response = well_formed(response) if self.parts.ragged else response
        return mended

    def read_json(self, data: bytes) -> dict[str, Any]:
        """One JSON object. Raises ProtocolError, with the partial, for anything else."""
        try:
            value = fast_decode(data)
        except (ValueError, RecursionError):
            value = self._read_ragged(data)
        if type(value) is dict:
            return value
        return listed_error(value) or self.not_an_object(value, data)

    def object_in(self, message: WireMessage) -> dict[str, Any] | None:
        """As `read_message`, which it falls back to."""
        try:
            value = fast_decode(message.data)
        except (ValueError, RecursionError):
            value = None
        return value if type(value) is dict else self.read_message(message)

    def read_message(self, message: WireMessage) -> dict[str, Any] | None:
        """One object of a stream; None for what is no part of an answer: `[DONE]`, nothing, null, a list, a text.

        Services send these to keep a connection alive; in an event named `error` they are an error. Raises
        ProtocolError for JSON that was cut, and for a page in place of an answer.
        """
        data = message.data
        if message.event == "error":
            return self._read_error(data)
        try:
            value = fast_decode(data)
        except (ValueError, RecursionError):
            first = data.lstrip()[:1]
            if first == b"<" and not self.started:
                self.broken(f"the provider sent what is not JSON: {looks_like(data)}")
            if first not in (b"{", b"[") or data.startswith(b"[DONE]"):
                return None
            value = self._read_ragged(data)
        return value if type(value) is dict else listed_error(value)

    def _read_error(self, data: bytes) -> dict[str, Any]:
        """What an event named `error` holds, whatever it is."""
        try:
            return self.read_json(data)
        except ProtocolError:
            return {"error": data.decode("utf-8", "replace")}

    def not_an_object(self, value: Any, data: bytes) -> NoReturn:
        """Raise ProtocolError for JSON that is no object."""
        self.broken(
            f"the provider sent {type(value).__name__} where a JSON object is due: {looks_like(data)}"
        )

    def _read_ragged(self, data: bytes) -> Any:
        try:
            value = decode_json(data)
        except ValueError as error:
            self.broken(f"the provider sent what is not JSON ({error}): {looks_like(data)}")
        self.parts.ragged = True
        return value

    def keep(self, name: str, value: Any) -> None:
        """A field of the message that no part has a place for."""
        self.message_extra[name] = self.merging.merged(self.message_extra.get(name), value)

    def check_citations(self, count: int) -> None:
        """Raise ProtocolError for more citations than a response may have."""
        limit = _CITATIONS * self.parts.limit
        if count > limit:
            rule = f"max_parts sets this limit, {_CITATIONS} for each part"
            self.broken(f"the response has more than {limit} citations; {rule}")

    def start(self) -> None:
        """Announce the answer, once, by what is known of it."""
        if not self.started:
            self.started = True
            self.parts.events.append(ResponseStart(self.id, self.model))

    def answered_by(self, model: Any) -> None:
        """The parts from here on are of the model that the service names, if it names one."""
        if model and model != self.model:
            self.model = str(model)
            make = _reported if len(self.model) <= _LONGEST_NAME else _reported.__wrapped__
            self.origin, self.empty_text = make(self.origin, self.model)

    def cut(self, message: str) -> StreamInterrupted:
        """The error of a stream that is over before its answer, with what had arrived."""
        return StreamInterrupted(
            message,
            how="eof",
            partial=self.partial(),
            provider=self.origin.provider,
            model=self.origin.model,
        )

    def broken(self, message: str) -> NoReturn:
        """Raise ProtocolError with what had arrived."""
        raise ProtocolError(
            message, partial=self.partial(), provider=self.origin.provider, model=self.origin.model
        )
