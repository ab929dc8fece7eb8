"""One item of a streamed answer while it grows: its part, or for a message the parts of its pieces.

What was streamed stands: where an item's final text goes on from it, the rest goes out as one more delta; where the
final text is another (none is known to do that), the part keeps what its deltas said.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from msgspec.structs import replace

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.assembler import OpenPart
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.openai_responses.items import (
    call_shape,
    message_fields,
    part_of_item,
    part_of_piece,
    parts_of_message,
)
from brainwires_provider.types import (
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

__all__ = ["AudioSlot", "Slot"]


class Slot:
    """An item's place in the answer."""

    __slots__ = (
        "_decoder",
        "_thread",
        "began_as",
        "id",
        "is_call",
        "is_done",
        "kind",
        "message",
        "part",
        "pieces",
        "steady",
    )

    def __init__(self, decoder: DecoderBase, item: dict[str, Any]) -> None:
        self._decoder = decoder
        self._thread: tuple[str, Any] | None = None
        self.kind = item.get("type")
        self.id = self.began_as = item.get("id")
        self.is_call = False
        self.is_done = False
        self.steady: bool | None = None
        """Whether its events name it by the id that it began with; some services give a new one each time."""
        self.message = message_fields(item)
        self.part: OpenPart | None = None
        self.pieces: dict[Any, OpenPart] = {}

    def is_named(self, id: Any) -> bool:
        """Whether an event that names `id` can be this item's: ids that fit and ids that do not never mix."""
        if id is None or self.id is None:
            return True
        fits = id == self.id
        if self.steady is None:
            self.steady = fits
        return self.steady is fits

    def is_told_by(self, item: dict[str, Any]) -> bool:
        """Whether the terminal's item can be this one: of three ids, two that agree make the third another's."""
        ids = (self.began_as, self.id, item.get("id"))
        return None in ids or len(set(ids)) != 2

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, item: dict[str, Any]) -> None:
        """`output_item.added`. A message has no part until its first piece."""
        if self.part is not None or self.is_done or self.kind == "message":
            return
        parts = self._decoder.parts
        if self.kind == "image_generation_call":
            seed: Part = ImagePart(data=b"", origin=self._decoder.origin)
        else:
            seed = _emptied(part_of_item(item, self._decoder.origin))
        shape = call_shape(item)
        self.is_call = shape is not None and shape.is_text and isinstance(seed, ToolCallPart)
        self.part = parts.open(seed)

    def open_piece(self, index: Any, piece: dict[str, Any]) -> OpenPart:
        """`content_part.added`, or the first delta of a piece that was not announced."""
        known = self.pieces.get(index)
        if known is None:
            seed = _emptied(part_of_piece(piece, index, self.message, self._decoder.origin))
            known = self.pieces[index] = self._decoder.parts.open(seed)
        return known

    # -- growing ---------------------------------------------------------------------------------------------

    def think(self, thread: str, index: int, text: str) -> None:
        """A fragment of a summary or of the thinking itself; a blank line stands between two pieces.

        The part shows one of the two, that which began; fragments of the other go by as they are.
        """
        if self.part is None:
            self.part = self._decoder.parts.open(ReasoningPart(origin=self._decoder.origin))
        if self._thread is not None and self._thread[0] != thread:
            self._decoder.parts.events.append(OpaqueDelta(self.part.index, f"reasoning_{thread}", text))
            return
        if self._thread is not None and self._thread[1] != index:
            self._decoder.parts.add(self.part, "\n\n")
        self._thread = thread, index
        self._decoder.parts.add(self.part, text)

    def catch_up(self, part: OpenPart, text: str) -> None:
        """Give what a final text has beyond the fragments so far."""
        known = part.joined()
        if len(text) > len(known) and text.startswith(known):
            self._decoder.parts.add(part, text[len(known) :])

    # -- closing ---------------------------------------------------------------------------------------------

    def finish(self, item: dict[str, Any]) -> None:
        """`output_item.done`: the item as it is in the end. What was told late or twice changes nothing."""
        if self.is_done:
            return
        self.is_done = True
        self.id = item.get("id") or self.id
        origin = self._decoder.origin
        if item.get("type") == "message":
            if item.get("content") or not self.pieces:
                for index, part in enumerate(parts_of_message(item, origin)):
                    self._close(self.pieces.pop(index, None), part)
        else:
            self._close(self.part, part_of_item(item, origin))
        for piece in self.pieces.values():
            self._decoder.parts.close(piece)

    def _close(self, opened: OpenPart | None, final: Part) -> None:
        parts = self._decoder.parts
        if opened is None:
            parts.whole(final)
            return
        if type(final) is not type(opened.seed):
            if opened.fragments:  # what was streamed stands, and the item comes after it
                parts.close(opened)
                parts.whole(final)
                return
            opened.delta = OpenPart(opened.index, final).delta
        if opened.delta is None:
            opened.grown = lambda: final
        else:
            self.catch_up(opened, _text(final))
            opened.seed = final
        parts.close(opened)


def _text(part: Part) -> str:
    if isinstance(part, ToolCallPart):
        return part.arguments
    return part.text if isinstance(part, (TextPart, ReasoningPart, RefusalPart)) else ""


def _emptied(part: Part) -> Part:
    """The part without its text: that comes by deltas."""
    if isinstance(part, ToolCallPart):
        return replace(part, arguments="")
    if isinstance(part, (TextPart, ReasoningPart, RefusalPart)):
        return replace(part, text="")
    return part


class AudioSlot:
    """Spoken output: fragments of sound and of its transcript, which belong to no item; one FilePart at the end."""

    __slots__ = ("_decoder", "_part", "_sound", "_transcript")

    def __init__(self, decoder: DecoderBase) -> None:
        self._decoder = decoder
        self._part: OpenPart | None = None
        self._sound: list[bytes] = []
        self._transcript: list[str] = []

    def feed(self, event: dict[str, Any]) -> None:
        """One `response.audio.delta` or `response.audio.transcript.delta`."""
        kind = event["type"].removeprefix("response.")
        delta = event["delta"]
        if kind == "audio.delta":
            try:
                self._sound.append(base64.b64decode(delta, validate=True))
            except binascii.Error:
                raise ValueError("the audio is not base64") from None
        else:
            self._transcript.append(delta)
        if self._part is None:
            self._part = self._decoder.parts.open(
                FilePart(data=b"", origin=self._decoder.origin), self._so_far
            )
        self._decoder.parts.events.append(OpaqueDelta(self._part.index, kind, event))

    def _so_far(self) -> FilePart:
        text = "".join(self._transcript)
        return FilePart(data=b"".join(self._sound), text=text or None, origin=self._decoder.origin)

    def close(self) -> None:
        """End the part, which `feed` has opened."""
        assert self._part is not None
        self._decoder.parts.close(self._part)
