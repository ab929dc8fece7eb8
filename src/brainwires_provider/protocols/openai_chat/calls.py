"""Tool calls out of their fragments, by call and not blindly by index.

Services that speak this protocol send the same index for two calls, no index, no id, a fresh id with each
fragment, the whole arguments at once, arguments as an object, or the name again with each fragment. A
fragment belongs to the call with its id; else to the latest call at its index (or the latest of all), unless
it plainly begins another: it names another function, or names one while that call's arguments are already
whole. In a whole body every element is a call of its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from brainwires_provider.protocols.base.assembler import OpenPart, well_formed
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.types import ToolCallPart

__all__ = ["CallAccumulator", "local_id"]

_OUTER = frozenset(("index", "id", "type"))
_INNER = frozenset(("name", "arguments", "input"))


def local_id(answer: str | None, index: int, name: str) -> str:
    """An id for a call that came without one: the same for the same answer, whenever it is decoded."""
    digest = hashlib.sha256(f"{answer or ''}\0{index}\0{name}".encode("utf-8", "replace"))
    return f"local_{digest.hexdigest()[:24]}"


class _Fragment:
    """One element of `tool_calls`, read. Raises TypeError for a shape that is none."""

    __slots__ = ("arguments", "extra", "id", "index", "kind", "name")

    def __init__(self, wire: dict[str, Any]) -> None:
        self.index = wire.get("index")
        self.kind = wire.get("type") or ("custom" if "custom" in wire and "function" not in wire else None)
        place = "custom" if self.kind == "custom" else "function"
        inner = wire.get(place) or {}
        self.name = inner.get("name") or ""
        if type(self.name) is not str:
            raise TypeError(f"a tool call's name is {type(self.name).__name__}")
        id = wire.get("id")
        self.id = None if id is None or id == "" else str(id)
        self.arguments = _text(inner.get("input" if place == "custom" else "arguments"))
        # A signature, an extra_content: it goes back with the call.
        self.extra = {k: v for k, v in wire.items() if k not in _OUTER and k != place and v is not None}
        rest = {k: v for k, v in inner.items() if k not in _INNER and v is not None}
        if rest:
            self.extra[place] = rest


def _text(arguments: Any) -> str:
    if arguments is None:
        return ""
    if type(arguments) is str:
        return arguments
    return msgspec.json.encode(well_formed(arguments)).decode()


class _OpenCall:
    """A call that is still growing; it has no part until its name is known."""

    __slots__ = ("early", "extra", "id", "index", "kind", "name", "part")

    def __init__(self, fragment: _Fragment) -> None:
        self.id = fragment.id
        self.index = fragment.index
        self.name = fragment.name
        self.kind = "function" if fragment.kind in (None, "function") else str(fragment.kind)
        self.early: list[str] = []
        self.extra: dict[str, Any] = {}
        self.part: OpenPart | None = None

    def arguments(self) -> str:
        return self.part.joined() if self.part else "".join(self.early)

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        text = self.arguments().rstrip()
        if not text.endswith("}"):
            return False
        try:
            return isinstance(decode_json(text.encode("utf-8", "surrogatepass")), dict)
        except ValueError:
            return False

    def goes_on_with(self, fragment: _Fragment) -> bool:
        """Whether a fragment that may be this call's does not plainly begin another."""
        if not fragment.name or not self.name:
            return True
        if fragment.name != self.name:
            return False
        if not fragment.arguments and fragment.index is not None and fragment.index == self.index:
            return True  # the name again, to say nothing
        return not self.is_whole()


class CallAccumulator:
    """All calls of one answer."""

    __slots__ = ("_by_id", "_calls", "_decoder", "_latest_at")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._calls: list[_OpenCall] = []
        self._by_id: dict[str, _OpenCall] = {}
        self._latest_at: dict[Any, _OpenCall] = {}

    def feed(self, wire: dict[str, Any], *, whole: bool = False) -> None:
        """One element of `tool_calls`; `whole` when it is no fragment."""
        fragment = _Fragment(wire)
        call = None if whole else self._find(fragment)
        if call is None:
            call = _OpenCall(fragment)
            self._calls.append(call)
        self._latest_at[fragment.index] = call
        call.name = call.name or fragment.name
        call.id = call.id or fragment.id
        if call.id is not None:
            self._by_id[call.id] = call
        if fragment.extra:
            call.extra.update(fragment.extra)
        self._grow(call, fragment.arguments)

    def feed_legacy(self, call: dict[str, Any], *, whole: bool = False) -> None:
        """The `function_call` of before there were tools; one without a name is a placeholder."""
        if not (call.get("name") or self._latest_at.get("function_call")):
            self._decoder.keep("function_call", call)
            return
        self.feed({"index": "function_call", "function": call}, whole=whole)

    def _find(self, fragment: _Fragment) -> _OpenCall | None:
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
            part = call.part or self._open(call)
            fields: dict[str, Any] = {} if call.id is None else {"id": call.id, "local_id": None}
            self._decoder.parts.close(part, **fields, extra=call.extra or None)
        self._calls.clear()
