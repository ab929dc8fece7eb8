"""Tool calls from their fragments, matched by call and not by index alone.

Services send the same index for two calls, no index, no id, a fresh id with each fragment, the whole arguments at
once, the name again with each fragment, or all arguments so far again. A fragment belongs to the call with its id;
else to the latest call at its index (or the latest of all), unless it begins another: it names another function, or
names one while that call's arguments are already whole. One that has a call's id and name again and begins with all
of its arguments repeats them, and adds what it has beyond them. In a whole body every element is a separate call.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from brainwires_provider.protocols.base.decoder import DecoderBase, OpenPart
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.replay import local_id
from brainwires_provider.types import ToolCallPart

__all__ = ["CallBuilder", "CallFragment"]

_EMPTY = "{}"


class CallFragment(Struct, frozen=True, gc=False):
    """What one element of a stream has of a call."""

    index: Any
    id: str | None
    name: str
    kind: str
    arguments: str
    extra: dict[str, Any]


class _OpenCall:
    """A call that is still growing; it has no part until its name is known."""

    __slots__ = ("early", "extra", "held", "id", "index", "kind", "name", "part")

    def __init__(self, fragment: CallFragment) -> None:
        self.id = fragment.id
        self.index = fragment.index
        self.name = fragment.name
        self.kind = fragment.kind
        self.early: list[str] = []
        self.held = ""  # an empty object, which may be a placeholder for arguments to come
        self.extra: dict[str, Any] = {}
        self.part: OpenPart | None = None

    def arguments(self) -> str:
        return self.held or (self.part.joined() if self.part else "".join(self.early))

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        text = self.arguments().rstrip()
        if not text.endswith("}"):
            return False
        try:
            return isinstance(decode_json(text.encode("utf-8", "surrogatepass")), dict)
        except ValueError:
            return False

    def goes_on_with(self, fragment: CallFragment) -> bool:
        """Whether a fragment that may be this call's does not plainly begin another."""
        if not fragment.name or not self.name:
            return True
        if fragment.name != self.name:
            return False
        if not fragment.arguments and fragment.index is not None and fragment.index == self.index:
            return True  # the name again, and nothing else
        return self.is_repeated_by(fragment) or not self.is_whole()

    def is_repeated_by(self, fragment: CallFragment) -> bool:
        """Whether a fragment has this call again, with all of its arguments so far: by id and name."""
        if fragment.id is None or fragment.id != self.id or fragment.name != self.name:
            return False
        known = self.arguments()
        return known == _EMPTY or (known != "" and fragment.arguments.startswith(known))


class CallBuilder:
    """All calls of one answer."""

    __slots__ = ("_by_id", "_calls", "_decoder", "_latest_at")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._calls: list[_OpenCall] = []
        self._by_id: dict[str, _OpenCall] = {}
        self._latest_at: dict[Any, _OpenCall] = {}

    def feed(self, fragment: CallFragment, *, whole: bool = False) -> None:
        """One fragment of a call; `whole` when it is a call of its own."""
        call = None if whole else self._find(fragment)
        if call is None:
            call = _OpenCall(fragment)
            self._calls.append(call)
            limit = self._decoder.max_parts
            if len(self._calls) > limit:
                self._decoder.broken(f"the response has more than {limit} calls; max_parts sets this limit")
        self._latest_at[fragment.index] = call
        call.name = call.name or fragment.name
        call.id = call.id or fragment.id
        if call.id is not None:
            self._by_id[call.id] = call
        if fragment.extra:
            call.extra.update(fragment.extra)
        if call.is_repeated_by(fragment):
            self._catch_up(call, fragment.arguments)
        elif fragment.arguments == _EMPTY and not whole and not call.arguments():
            call.held = _EMPTY
            self._grow(call, "")
        else:
            self._grow(call, fragment.arguments)

    def feed_copy(self, fragment: CallFragment, place: int) -> None:
        """A call of a whole message that follows its own deltas: matched by id, then by order and name."""
        call = self._by_id.get(fragment.id or "")
        if call is None and place < len(self._calls) and self._calls[place].name == fragment.name:
            call = self._calls[place]
        if call is None:
            self.feed(fragment, whole=True)
        else:
            call.extra.update(fragment.extra)
            self._catch_up(call, fragment.arguments)

    def _catch_up(self, call: _OpenCall, text: str) -> None:
        """Arguments that repeat those so far add what they have beyond them."""
        known = call.arguments()
        if known == _EMPTY and len(text) > len(_EMPTY):
            call.held = known = ""
        if len(text) > len(known) and text.startswith(known):
            self._grow(call, text[len(known) :])

    def has_call_at(self, index: Any) -> bool:
        """Whether a call has begun at an index."""
        return index in self._latest_at

    def _find(self, fragment: CallFragment) -> _OpenCall | None:
        """The call that a fragment continues, or None if it begins one."""
        known = self._by_id.get(fragment.id) if fragment.id is not None else None
        if known is not None:
            return known if known.goes_on_with(fragment) else None
        latest = self._latest_at.get(fragment.index)
        if latest is None and fragment.index is None and self._calls:
            latest = self._calls[-1]
        if latest is None:
            return None
        if fragment.id is not None and latest.id is not None:
            # Another id at the same index: a new call if it has a name, else an id made anew per fragment.
            return None if fragment.name else latest
        return latest if latest.goes_on_with(fragment) else None

    def _grow(self, call: _OpenCall, text: str) -> None:
        if call.held and text:
            call.held, text = "", text if text.startswith("{") else call.held + text
        if call.part is None and not call.name:
            call.early.append(text)
        else:
            self._decoder.parts.add(call.part or self._open(call), text)

    def _open(self, call: _OpenCall) -> OpenPart:
        decoder = self._decoder
        made_up = None
        if call.id is None:
            made_up = local_id(decoder.id, decoder.parts.count, call.name)
        seed = ToolCallPart(call.id, call.name, "", call.kind, local_id=made_up, origin=decoder.origin)
        part = call.part = decoder.parts.open(seed)
        for text in call.early:
            decoder.parts.add(part, text)
        return part

    def close(self) -> None:
        """End every call; one that never got a name keeps what it had."""
        for call in self._calls:
            if call.part is None and not (call.id or call.extra or any(call.early)):
                continue
            self._grow(call, "")
            part = call.part or self._open(call)
            self._decoder.parts.add(part, call.held)
            fields: dict[str, Any] = {} if call.id is None else {"id": call.id, "local_id": None}
            self._decoder.parts.close(part, **fields, extra=call.extra or None)
        self._calls.clear()
