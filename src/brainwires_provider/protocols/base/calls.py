"""Tool calls from their fragments, matched by call and not by index alone.

Services send the same index for two calls, no index, no id, a fresh id with each fragment, the whole arguments at
once, the name again with each fragment, or all arguments so far again. A fragment belongs to the call with its id;
else to the latest call at its index (or the latest of all), unless it begins another: it names another function, or
names one while that call's arguments are already whole. One that begins with all of the call's arguments repeats them,
and adds what it has beyond them. In a whole body every element is a separate call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.protocols.base.copies import Seen, match_copies
from brainwires_provider.protocols.base.decoder import (
    Assembler,
    DecoderBase,
    OpenPart,
    well_formed,
    with_text,
)
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.types import ToolCallPart

__all__ = ["Arguments", "CallBuilder", "CallFragment"]

_EMPTY = "{}"
_skim = msgspec.json.Decoder(msgspec.Raw).decode


class CallFragment(Struct, frozen=True, gc=False):
    """What one element of a stream has of a call."""

    index: Any
    id: str | None
    name: str
    kind: str
    arguments: str
    extra: dict[str, Any]


class Arguments:
    """The arguments of one call, as they grow in its part.

    No JSON object goes on with its own beginning, so a fragment that has all of it again is a repeat. Only where a
    value is due may it be a nested object: what follows decides.
    """

    __slots__ = ("_again", "_is_text", "_parts", "part")

    def __init__(self, parts: Assembler, part: OpenPart) -> None:
        self._parts = parts
        self.part = part
        self._again = ""
        self._is_text = isinstance(part.seed, ToolCallPart) and part.seed.kind != "function"

    def add(self, text: str) -> None:
        """One fragment, or all arguments so far again."""
        again, known = self._again, self.part.fragments
        if again and text:
            if text.startswith(again):
                self.catch_up(text)
                return
            self._again = ""
            self._parts.add(self.part, again)
        is_again = text[:1] == "{" and known and text.startswith(known[0]) and not self._is_text
        if is_again and text.startswith(self.part.joined()):
            if self.part.joined().rstrip()[-1:] in (":", ",", "["):
                self._again = text
            else:
                self.catch_up(text)
        else:
            self._parts.add(self.part, text)

    def catch_up(self, text: str) -> None:
        """All arguments again: what they have beyond those so far is added; others change nothing."""
        if self._again and text.startswith(self.part.joined()):
            self._again = ""
        self._parts.catch_up(self.part, text)

    def end(self, final: str = "") -> None:
        """No more comes. `final` are the arguments as they are in the end, where that is known."""
        again, known = self._again, self.part.joined() if self._again else ""
        self._again = ""
        if again and not (final and final.startswith(known)):
            is_repeat = _object(again) is not None and _object(known + again) is None
            self._parts.add(self.part, again[len(known) :] if is_repeat else again)


class _OpenCall:
    """A call that is still growing; it has no part until its name is known."""

    __slots__ = ("early", "extra", "frame", "held", "id", "index", "kind", "name", "text")

    def __init__(self, fragment: CallFragment) -> None:
        self.id = fragment.id
        self.index = fragment.index
        self.name = fragment.name
        self.kind = fragment.kind
        self.frame = 0
        """The last one that had some of it."""
        self.early: list[str] = []
        self.held = ""
        """An object that came at once; it may be a placeholder, or be followed by one with more members."""
        self.extra: dict[str, Any] = {}
        self.text: Arguments | None = None

    def arguments(self) -> str:
        return self.held or (self.text.part.joined() if self.text else "".join(self.early))

    def so_far(self) -> ToolCallPart:
        assert self.text is not None and isinstance(self.text.part.seed, ToolCallPart)
        return with_text(self.text.part.seed, self.arguments())

    def seen(self, place: int) -> Seen:
        """What has been streamed, for the comparison with a copy."""
        return _seen(self.kind, self.name, self.arguments(), self.id, place)

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        return _is_object(self.arguments())

    def goes_on_with(self, fragment: CallFragment, frame: int) -> bool:
        """Whether a fragment that may be this call's does not plainly begin another."""
        if not fragment.name or not self.name:
            return True
        if fragment.name != self.name:
            return False
        if not fragment.arguments and fragment.index is not None and fragment.index == self.index:
            return True  # the name again, and nothing else
        if self.is_repeated_by(fragment) or not self.is_whole():
            return True
        has_place = fragment.id is None and fragment.index is not None
        is_here = has_place and fragment.index == self.index and frame != self.frame
        return is_here and fragment.arguments == self.arguments()

    def is_repeated_by(self, fragment: CallFragment) -> bool:
        """Whether a fragment has this call again, with all of its arguments so far: by id and name."""
        if fragment.id is None or fragment.id != self.id or fragment.name != self.name:
            return False
        known = self.arguments()
        if not known:
            return False
        if known == _EMPTY or fragment.arguments.startswith(known):
            return True
        return fragment.index == self.index and _includes(fragment.arguments, known)


class CallBuilder:
    """All calls of one answer."""

    __slots__ = ("_by_id", "_calls", "_decoder", "_frame", "_latest_at")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._calls: list[_OpenCall] = []
        self._by_id: dict[str, _OpenCall] = {}
        self._latest_at: dict[Any, _OpenCall] = {}
        self._frame = 0

    def feed(self, fragments: Iterable[CallFragment], *, whole: bool = False) -> None:
        """The fragments of calls that one frame has; `whole` when each is a call of its own."""
        self._frame += 1
        for fragment in fragments:
            call = None if whole else self._find(fragment)
            self._add(call or self._begin(fragment), fragment, whole)

    def _begin(self, fragment: CallFragment) -> _OpenCall:
        call = _OpenCall(fragment)
        self._calls.append(call)
        limit = self._decoder.max_parts
        if len(self._calls) > limit:
            self._decoder.broken(f"the response has more than {limit} calls; max_parts sets this limit")
        return call

    def _add(self, call: _OpenCall, fragment: CallFragment, whole: bool) -> None:
        text = fragment.arguments
        call.frame = self._frame
        self._latest_at[fragment.index] = call
        call.name = call.name or fragment.name
        call.id = call.id or fragment.id
        if call.id is not None:
            self._by_id[call.id] = call
        if fragment.extra:
            call.extra.update(fragment.extra)
        if call.is_repeated_by(fragment):
            self._catch_up(call, text)
        elif not whole and _may_be_held(fragment) and not call.arguments():
            self._grow(call, "")
            call.held = text
        else:
            self._grow(call, text)

    def feed_copies(self, fragments: Sequence[CallFragment]) -> None:
        """The calls of a whole message that follows its own deltas, by the rule for all copies."""
        copies = []
        for place, each in enumerate(fragments):
            known = self._by_id.get(each.id or "") or each
            copies.append(_seen(known.kind, known.name, each.arguments, each.id, place))
        matches = match_copies(copies, [call.seen(n) for n, call in enumerate(self._calls)], whole=True)
        calls = list(self._calls)
        for fragment, match in zip(fragments, matches, strict=True):
            if match is None:
                self._add(self._begin(fragment), fragment, True)
                continue
            call = calls[match]
            call.name, call.id = call.name or fragment.name, call.id or fragment.id
            call.extra.update(fragment.extra)
            self._catch_up(call, fragment.arguments)

    def _catch_up(self, call: _OpenCall, text: str) -> None:
        """Arguments that repeat those so far add what they have beyond them."""
        if call.held:
            if _includes(text, call.held):
                call.held = call.held if _includes(call.held, text) else text
            elif call.held == _EMPTY:
                self._grow(call, text)
        elif call.text is not None:
            call.text.catch_up(text)
        elif text.startswith(known := call.arguments()):
            self._grow(call, text[len(known) :])

    def has_call_at(self, index: Any) -> bool:
        """Whether a call has begun at an index."""
        return index in self._latest_at

    def _find(self, fragment: CallFragment) -> _OpenCall | None:
        """The call that a fragment continues, or None if it begins one."""
        known = self._by_id.get(fragment.id) if fragment.id is not None else None
        if known is not None:
            return known if known.goes_on_with(fragment, self._frame) else None
        latest = self._latest_at.get(fragment.index)
        if latest is None and fragment.index is None and self._calls:
            latest = self._calls[-1]
        if latest is None:
            return None
        if fragment.id is not None and latest.id is not None:
            # Another id at the same index: a new call if it has a name, else an id made anew per fragment.
            return None if fragment.name else latest
        return latest if latest.goes_on_with(fragment, self._frame) else None

    def _grow(self, call: _OpenCall, text: str) -> None:
        if call.held and text:
            call.held, text = "", text if text.startswith("{") else call.held + text
        if call.text is None and not call.name:
            call.early.append(text)
        else:
            (call.text or self._open(call)).add(text)

    def _open(self, call: _OpenCall) -> Arguments:
        decoder = self._decoder
        made_up = None
        if call.id is None:
            made_up = local_id(decoder.id, decoder.parts.count, call.name)
        seed = ToolCallPart(call.id, call.name, "", call.kind, local_id=made_up, origin=decoder.origin)
        call.text = Arguments(decoder.parts, decoder.parts.open(seed, call.so_far))
        for text in call.early:
            decoder.parts.add(call.text.part, text)
        return call.text

    def close(self) -> None:
        """End every call; one that never got a name keeps what it had."""
        for call in self._calls:
            if call.text is None and not (call.id or call.extra or any(call.early)):
                continue
            text = call.text or self._open(call)
            text.end()
            self._decoder.parts.add(text.part, call.held)
            fields: dict[str, Any] = {} if call.id is None else {"id": call.id, "local_id": None}
            self._decoder.parts.close(text.part, **fields, extra=call.extra or None)
        self._calls.clear()


def _may_be_held(fragment: CallFragment) -> bool:
    text = fragment.arguments
    is_at_once = bool(fragment.id and fragment.name) and fragment.kind == "function"
    return text == _EMPTY or (is_at_once and _is_object(text))


def _seen(kind: str, name: str, arguments: str, id: str | None, place: int) -> Seen:
    value = _object(arguments)
    texts: tuple[str, ...] = (arguments,)
    if value is not None:
        texts += (msgspec.json.encode(well_formed(value), order="deterministic").decode(),)
    return Seen(f"{kind} {name}", texts, () if id is None else (id,), place, empty=not name)


def _is_object(text: str) -> bool:
    """Whether a text is a JSON object; its value, which may take many times the memory, is not made."""
    if not _may_be_object(text):
        return False
    try:
        _skim(text)
    except RecursionError:
        return False
    except ValueError:
        return _object(text) is not None  # JSON as services send it
    return True


def _may_be_object(text: str) -> bool:
    return text.lstrip()[:1] == "{" and text.rstrip()[-1:] == "}"


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None for any other."""
    if not _may_be_object(text):
        return None
    try:
        value = decode_json(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _includes(text: str, known: str) -> bool:
    """Whether a text is a JSON object that has all members of a known one."""
    members = _object(known)
    value = None if members is None else _object(text)
    if value is None or members is None:
        return False
    return all(name in value and value[name] == member for name, member in members.items())
