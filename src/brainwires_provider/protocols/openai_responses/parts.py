"""The items of a Responses answer or history and the parts that they are, in both directions.

The calls that the caller answers are a table in `continuation.py`; any other item has its own function. A part keeps
every field of its item that has no place of its own in `extra`, so that the same item is made of it again. An item of
another form than the known one becomes an OpaquePart and is kept whole; decoding never raises for that.
Reference: the Responses API reference, the pages on input and output items.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import force_setattr, replace

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.calls import Arguments
from brainwires_provider.protocols.base.copies import NEAREST, Seen, complete_parts, match_copies
from brainwires_provider.protocols.base.decoder import (
    DecoderBase,
    OpenPart,
    emptied,
    sources,
    well_formed,
    with_text,
)
from brainwires_provider.protocols.base.json import decode_json, int_or_none, text_or_none
from brainwires_provider.protocols.base.replay import base64_of, local_id
from brainwires_provider.protocols.openai_responses.continuation import CallShape, call_shape, shape_of
from brainwires_provider.types import (
    Citation,
    ImagePart,
    OpaquePart,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)

__all__ = [
    "Item",
    "PartBuilder",
    "StreamedItems",
    "decode_message",
    "decode_part",
    "encode_part",
    "ids_of",
    "seen_in",
]


Item: TypeAlias = dict[str, Any]
_TEXT_FIELDS = {"output_text": "text", "refusal": "refusal"}
_OWN_FIELDS = ("message", "content_index", "piece")
"""Of a piece's `extra`; a service's of these names lie in "piece"."""
_TEXT = TextPart("")
_IMAGE_TYPES = {"svg": "image/svg+xml"}


def decode_part(item: dict[str, Any], origin: Origin) -> Part:
    """The part that any item but a message is."""
    kind = item.get("type")
    if kind == "reasoning":
        return _reasoning(item, origin) or _opaque(item, origin)
    if kind == "image_generation_call":
        return _image(item, origin) or _opaque(item, origin)
    shape = call_shape(item)
    if shape is not None and (not shape.is_named or isinstance(item.get("name"), str)):
        return _call(item, shape, origin)
    return _opaque(item, origin)


def _opaque(item: dict[str, Any], origin: Origin) -> OpaquePart:
    kind = str(item.get("type") or "item")
    role: Any = None
    if kind.endswith(("_output", "_response")):
        role = "result"
    elif kind.endswith(("_call", "_request")) or kind == "program":
        role = "call"
    name = item.get("name")
    return OpaquePart(
        kind,
        item,
        id=text_or_none(item.get("call_id")) or text_or_none(item.get("id")),
        name=name if isinstance(name, str) else None,
        role=role,
        origin=origin,
    )


def _call(item: dict[str, Any], shape: CallShape, origin: Origin) -> ToolCallPart:
    first, *more = shape.arguments
    value = {name: item[name] for name in shape.arguments if name in item} if more else item.get(first)
    is_text = value is None or (shape.is_text and isinstance(value, str))
    arguments = str(value or "") if is_text else compact(value)
    known = {"type", *shape.arguments}
    id = text_or_none(item.get(shape.id_field))
    if id is not None:
        known.add(shape.id_field)
    if shape.is_named:
        known.add("name")
    name = item["name"] if shape.is_named else shape.kind
    id = id or text_or_none(item.get("id"))
    return ToolCallPart(
        id,
        name,
        arguments,
        shape.kind,
        local_id=local_id(None, 0, f"{name}\0{arguments}") if id is None else None,
        extra={k: v for k, v in item.items() if k not in known} or None,
        origin=origin,
    )


def compact(value: Any, order: Literal["deterministic"] | None = None) -> str:
    """JSON without spaces."""
    return msgspec.json.encode(well_formed(value), order=order).decode()


def _reasoning(item: dict[str, Any], origin: Origin) -> ReasoningPart | None:
    """None where the summary or the thinking is no list of texts."""
    summary = _texts(item.get("summary"), "summary_text")
    content = _texts(item.get("content"), "reasoning_text")
    if summary is None or content is None:
        return None
    encrypted = item.get("encrypted_content")
    known = {"type", "summary"}
    if isinstance(encrypted, str):
        known.add("encrypted_content")
    elif encrypted is not None:
        return None
    return ReasoningPart(
        "\n\n".join(content or summary),
        tuple(summary),
        encrypted=encrypted,
        extra={k: v for k, v in item.items() if k not in known} or None,
        origin=origin,
    )


def _texts(pieces: Any, kind: str) -> list[str] | None:
    """The texts of a list of plain pieces; None if it is anything else."""
    found = []
    for piece in pieces if isinstance(pieces, list) else [] if pieces is None else [pieces]:
        text = piece.get("text") if isinstance(piece, dict) else None
        if not isinstance(text, str) or piece.get("type") != kind:
            return None
        if kind == "summary_text" and len(piece) > 2:
            return None
        found.append(text)
    return found


def _image(item: dict[str, Any], origin: Origin) -> ImagePart | None:
    """None where there is no picture, or one whose text we could not make again."""
    result = item.get("result")
    if not isinstance(result, str) or not result:
        return None
    try:
        data = base64.b64decode(result)
    except ValueError:
        return None
    if base64.b64encode(data).decode() != result:
        return None
    given = item.get("output_format")
    media_type = _IMAGE_TYPES.get(given, f"image/{given}") if isinstance(given, str) else None
    extra = {k: v for k, v in item.items() if k not in ("type", "result")}
    return ImagePart(data=data, media_type=media_type, extra=extra or None, origin=origin)


# -- messages ------------------------------------------------------------------------------------------------


def message_fields(item: Mapping[str, Any]) -> dict[str, Any]:
    """What of a message item is not its content."""
    return {k: v for k, v in item.items() if k not in ("type", "content")}


def decode_message(item: dict[str, Any], origin: Origin, most: int | None = None) -> list[Part]:
    """A part for each piece, or `most`; an opaque one for a message that is not the assistant's, or without pieces."""
    content = item.get("content")
    if not isinstance(content, list) or not content or item.get("role", "assistant") != "assistant":
        return [_opaque(item, origin)]
    fields = message_fields(item)
    pieces = ((index, piece) for index, piece in enumerate(content) if isinstance(piece, dict))
    return [decode_piece(piece, index, fields, origin) for index, piece in islice(pieces, most)]


def decode_piece(piece: dict[str, Any], index: int, fields: Mapping[str, Any], origin: Origin) -> Part:
    """One piece of a message. `extra["message"]` says which message it is part of, so that it goes back as one."""
    extra: dict[str, Any] = {"message": fields}
    if index:
        extra["content_index"] = index
    kind = piece.get("type")
    field = _TEXT_FIELDS.get(kind) if isinstance(kind, str) else None
    if field is None or not isinstance(piece.get(field), str):
        return OpaquePart(str(kind or "content"), piece, extra=extra, origin=origin)
    annotations = piece.get("annotations") if kind == "output_text" else None
    known = ("type", field, "annotations") if isinstance(annotations, list) else ("type", field)
    rest = {k: v for k, v in piece.items() if k not in known}
    if not rest.keys().isdisjoint(_OWN_FIELDS):
        rest = {"piece": rest}
    if kind == "refusal":
        return RefusalPart(piece[field], extra=extra | rest, origin=origin)
    part = with_text(_TEXT, piece[field])  # of JSON, which needs no check
    force_setattr(part, "extra", extra | rest)
    force_setattr(part, "origin", origin)
    if annotations:
        force_setattr(part, "citations", sources(annotations, citation))
    return part


def citation(given: dict[str, Any]) -> Citation:
    """An annotation. `source` is a file's id; a position without an end is its `start`."""
    start = int_or_none(given.get("start_index"))
    return Citation(
        url=text_or_none(given.get("url")),
        title=text_or_none(given.get("title")) or text_or_none(given.get("filename")),
        start=int_or_none(given.get("index")) if start is None else start,
        end=int_or_none(given.get("end_index")),
        source=text_or_none(given.get("file_id")),
        raw=given,
    )


# -- parts to items ------------------------------------------------------------------------------------------


def encode_part(part: Part, extra: Mapping[str, Any] | None = None) -> Item:
    """The item of an assistant's part that is no piece of a message; `extra` are its own fields that are sent.

    Raises UnsupportedError for a call whose arguments its kind cannot send.
    """
    item: Item
    if isinstance(part, ToolCallPart):
        item = _encode_call(part)
    elif isinstance(part, ReasoningPart):
        item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": t} for t in part.summary]}
        if part.encrypted is not None:
            item["encrypted_content"] = part.encrypted
    elif isinstance(part, ImagePart):
        return {"type": "image_generation_call", **(extra or {}), "result": base64_of(part)}
    else:
        assert isinstance(part, OpaquePart)
        return dict(part.data)
    if extra:
        item.update(extra)
    return item


def _encode_call(part: ToolCallPart) -> Item:
    shape = shape_of(part)
    item: Item = {"type": shape.type, shape.id_field: part.id or part.local_id or ""}
    if shape.is_named:
        item["name"] = part.name
    if not shape.is_text:
        return {**item, **_arguments(part, shape)}
    item[shape.arguments[0]] = part.arguments
    return item


def _arguments(part: ToolCallPart, shape: CallShape) -> Item:
    """Arguments that are an object on the wire."""
    try:
        value = decode_json(part.arguments.encode()) if part.arguments.strip() else {}
    except ValueError:
        raise UnsupportedError(f"the arguments of {part.name!r} must be JSON for a {shape.type}") from None
    if len(shape.arguments) == 1:
        return {shape.arguments[0]: value}
    return dict(value) if isinstance(value, dict) else {}


# -- a part under construction ---------------------------------------------------------------------------------


class PartBuilder:
    """An item under construction: the part that it becomes, or for a message the parts of its pieces.

    What was streamed stands: a final text that continues it is one more delta, another one changes nothing.
    """

    __slots__ = (
        "_decoder",
        "_final",
        "_thread",
        "call",
        "fields",
        "ids",
        "is_done",
        "is_steady",
        "kind",
        "part",
        "pieces",
        "place",
    )

    def __init__(self, decoder: DecoderBase, item: dict[str, Any], place: Any) -> None:
        self._decoder = decoder
        self._final: dict[str, Any] | None = None
        self._thread: tuple[str, Any] | None = None
        self.kind = item.get("type")
        self.ids = ids_of(item)
        self.place = place
        self.call: Arguments | None = None
        self.is_done = False
        self.is_steady: bool | None = None
        """Whether its events name it by an id that it began with; some services give a new one each time."""
        self.fields = message_fields(item)
        self.part: OpenPart | None = None
        self.pieces: dict[Any, OpenPart] = {}

    def is_named(self, id: Any) -> bool:
        """Whether an event that names `id` can be this item's: ids that fit and ids that do not never mix."""
        if id is None or not self.ids:
            return True
        fits = id in self.ids
        if self.is_steady is None:
            self.is_steady = fits
        return self.is_steady is fits

    def seen(self) -> Seen:
        """What has been streamed, for the comparison with a copy; after the end, what the end reported."""
        if self._final is not None:
            return replace(seen_in(self._final, self.place), ids=self.ids)
        parts = [self.part] if self.part is not None else [self.pieces[index] for index in self.pieces]
        text = "".join(part.joined() for part in parts)
        kind = str(self.kind)
        if self.call is not None and isinstance(self.call.part.seed, ToolCallPart):
            kind = f"{kind} {self.call.part.seed.name}"
        return Seen(kind, (text,), self.ids, self.place, empty=not text)

    def is_a(self, kind: str) -> bool:
        """Whether the item is of a type; `"call"` is any whose arguments are text, `""` any at all."""
        return not kind or self.kind == kind or (kind == "call" and self.call is not None)

    def can_hold(self, kind: str, name: Any, place: Any) -> bool:
        """Whether an event that finds no item by its id and place can be this item's."""
        is_here = place is None or self.place is None or self.place == place
        return is_here and self.is_a(kind) and (name is None or not self.ids or self.is_steady is not True)

    # -- opening ---------------------------------------------------------------------------------------------

    def open(self, item: dict[str, Any]) -> None:
        """`output_item.added`. A message has no part until its first piece."""
        if self.part is not None or self.is_done or self.kind == "message":
            return
        if self.kind == "image_generation_call":
            seed: Part = ImagePart(data=b"", origin=self._decoder.origin)
        else:
            seed = emptied(decode_part(item, self._decoder.origin))
        shape = call_shape(item)
        self.part = self._decoder.parts.open(seed)
        if shape is not None and shape.is_text and isinstance(seed, ToolCallPart):
            self.call = Arguments(self._decoder.parts, self.part)

    def open_piece(self, index: Any, piece: dict[str, Any]) -> OpenPart:
        """`content_part.added`, or the first delta of a piece that was not announced."""
        known = self.pieces.get(index)
        if known is None:
            place = index if type(index) is int else 0
            seed = emptied(decode_piece(piece, place, self.fields, self._decoder.origin))
            known = self.pieces[index] = self._decoder.parts.open(seed)
        return known

    def piece(self, index: Any, kind: type[Part], *, is_copy: bool) -> OpenPart | None:
        """The piece that an event belongs to.

        An unknown index is that of the last piece of its kind if the event is a copy of its text, or if none of its
        text has come.
        """
        known = self.pieces.get(index)
        if known is None or type(known.seed) is not kind:
            known = None
            last, piece = next(
                ((i, p) for i, p in reversed(self.pieces.items()) if type(p.seed) is kind), (None, None)
            )
            if piece is not None and (is_copy or not piece.fragments) and index not in self.pieces:
                known = self.pieces[index] = self.pieces.pop(last)
        return known

    # -- growing ---------------------------------------------------------------------------------------------

    def think(self, thread: str, index: Any, text: str) -> None:
        """A fragment of a summary or of the thinking itself; a blank line stands between two pieces.

        The part shows one of the two, that which began; fragments of the other are opaque deltas.
        """
        parts = self._decoder.parts
        if self.part is None:
            self.part = parts.open(ReasoningPart(origin=self._decoder.origin))
        if self._thread is not None and self._thread[0] != thread:
            parts.events.append(OpaqueDelta(self.part.index, f"reasoning_{thread}", text))
            return
        if self._thread is not None and self._thread[1] != index:
            parts.add(self.part, "\n\n")
        self._thread = thread, index
        parts.add(self.part, text)

    # -- closing ---------------------------------------------------------------------------------------------

    def finish(self, item: dict[str, Any]) -> None:
        """The item as it is in the end. What comes late or twice changes nothing."""
        if self.is_done:
            return
        self.ids = tuple(dict.fromkeys(self.ids + ids_of(item)))
        self._final = item
        if item.get("type") == "message":
            if item.get("content") or not self.pieces:
                finals = decode_message(item, self._decoder.origin, self._decoder.max_parts + 1)
                complete_parts(self._decoder.parts, list(self.pieces.values()), finals)
                self.pieces = {}
        elif self.part is None:
            self._decoder.parts.whole(decode_part(item, self._decoder.origin))
        else:
            texts = seen_in(item).texts if item.get("type") == "reasoning" else ()
            final = decode_part(item, self._decoder.origin)
            if self.call is not None:
                self.call.end(final.arguments if isinstance(final, ToolCallPart) else "")
            self._decoder.parts.complete(self.part, final, *texts)
            self.part = None
        self.close()

    def close(self) -> None:
        """No more comes: end the parts that are open, as they stand."""
        self.is_done = True
        if self.call is not None and self.part is not None:
            self.call.end()
        for part in (*self.pieces.values(), self.part):
            if part is not None:
                self._decoder.parts.close(part)
        self.pieces, self.part = {}, None


class StreamedItems:
    """The items of one response in the order in which they began, found by id, by place or by content."""

    def __init__(self) -> None:
        self.all: list[PartBuilder] = []
        self._growing: dict[int, PartBuilder] = {}
        self._by_id: dict[str, PartBuilder] = {}
        self._by_place: dict[Any, PartBuilder] = {}

    def begin(self, item: PartBuilder) -> PartBuilder:
        """Add an item. A place belongs to the first item that is growing there."""
        self.all.append(item)
        self._growing[id(item)] = item
        self._name(item)
        at_place = self._by_place.get(item.place)
        if item.place is not None and (at_place is None or at_place.is_done):
            self._by_place[item.place] = item
        return item

    def end(self, item: PartBuilder) -> None:
        """The item has ended, maybe under another id."""
        self._growing.pop(id(item), None)
        self._name(item)

    def _name(self, item: PartBuilder) -> None:
        for name in item.ids:
            self._by_id[name] = item

    def named(self, name: Any) -> PartBuilder | None:
        """The item with an id."""
        return self._by_id.get(name) if isinstance(name, str) else None

    def at(self, place: Any) -> PartBuilder | None:
        """The item at a place."""
        return self._by_place.get(place) if place is not None else None

    def last_growing(self, fits: Callable[[PartBuilder], bool]) -> PartBuilder | None:
        """The newest item that has not ended and fits."""
        return next(filter(fits, islice(reversed(self._growing.values()), NEAREST)), None)

    def ended_by(self, copy: Seen, fits: Callable[[PartBuilder], bool]) -> PartBuilder | None:
        """The growing item of which a copy without a known id is the end."""
        near = [item for item in islice(reversed(self._growing.values()), NEAREST) if fits(item)][::-1]
        (match,) = match_copies([copy], [item.seen() for item in near], whole=False)
        return None if match is None else near[match]

    def match_all(self, copies: Sequence[Seen], *, whole: bool) -> list[PartBuilder | None]:
        """For each item of the whole list that ends a response, the streamed one, or None."""
        matches = match_copies(copies, [item.seen() for item in self.all], whole=whole)
        return [None if match is None else self.all[match] for match in matches]


def ids_of(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids by which an item can be named; what answers a call has the call's as well, and is not named by it."""
    is_result = str(item.get("type")).endswith(("_output", "_response"))
    names = (item.get("id"), None if is_result else item.get("call_id"))
    return tuple(name for name in names if isinstance(name, str) and name)


def seen_in(item: dict[str, Any], place: Any = None) -> Seen:
    """What an item holds, for the comparison of copies."""
    kind = str(item.get("type"))
    texts: list[str]
    if kind == "message":
        pieces = [p for p in item.get("content") or () if isinstance(p, dict)]
        texts = ["".join(str(p.get("text") or p.get("refusal") or "") for p in pieces)]
    elif kind == "reasoning":
        found = (_texts(item.get("content"), "reasoning_text"), _texts(item.get("summary"), "summary_text"))
        texts = ["\n\n".join(each) for each in found if each] or [""]
    else:
        shape = call_shape(item)
        if shape is not None and shape.is_text:
            kind = f"{kind} {item.get('name')}"
            texts = [str(item.get(shape.arguments[0]) or "")]
        else:
            own = {k: v for k, v in item.items() if k not in ("id", "status") and v is not None}
            texts = [compact(own, "deterministic")]
    return Seen(kind, tuple(texts), ids_of(item), place)
