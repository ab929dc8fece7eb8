"""The Responses endpoint's other operations: stored answers by their id, what went into them, and compaction.

Each is a pair of pure functions, one that makes the call and one that reads its answer. An answer that is itself a
response is read by `ResponsesDecoder`, like any other. The ids are the service's own, so they are percent-encoded
into the path, and one that the path would swallow is refused.
Reference: the API reference, "Responses": retrieve, delete, cancel, list input items, compact, and, for taking up a
cut stream, the background guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.protocol import Call, stored_path
from brainwires_provider.protocols.openai_responses.models import usage_of
from brainwires_provider.protocols.openai_responses.parts import decode_message, decode_part
from brainwires_provider.types import Deviation, Extra, Message, OpaquePart, Origin, Part, Report, Usage

__all__ = [
    "Compaction",
    "Order",
    "cancel_call",
    "check_deleted",
    "compact_call",
    "decode_compaction",
    "decode_items",
    "delete_call",
    "items_call",
    "resume_call",
    "retrieve_call",
]

Order: TypeAlias = Literal["asc", "desc"]

# What a compaction takes besides `input`; `store` and `include` an encoder adds by itself.
_COMPACT_FIELDS = frozenset(
    (
        "model",
        "input",
        "instructions",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",
        "image",
    )
)
_ADDED = frozenset(("store", "include", "stream"))


class Compaction(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A conversation made shorter. `messages` stands for the whole of it, and goes on in its place, as it is.

    `extra` holds the other fields of the answer by their wire names; `report` what became of the request's.
    """

    id: str | None
    messages: tuple[Message, ...]
    usage: Usage
    extra: Extra = field(default_factory=dict)
    report: Report = Report()


# -- calls ---------------------------------------------------------------------------------------------------


def retrieve_call(id: str, include: Sequence[str] = ()) -> Call:
    """`GET /responses/{id}`. Raises ConfigError for what is no id."""
    return Call(_path(id), {}, method="GET", query=_listed(include))


def resume_call(id: str, after: int | None, include: Sequence[str] = ()) -> Call:
    """`GET /responses/{id}?stream=true`: the events that follow number `after`, or all. Raises ConfigError."""
    query: dict[str, str | Sequence[str]] = {"stream": "true", **_listed(include)}
    if after is not None:
        query["starting_after"] = str(after)
    return Call(_path(id), {}, method="GET", query=query)


def delete_call(id: str) -> Call:
    """`DELETE /responses/{id}`. Raises ConfigError for what is no id."""
    return Call(_path(id), {}, method="DELETE")


def cancel_call(id: str) -> Call:
    """`POST /responses/{id}/cancel`. Raises ConfigError for what is no id."""
    return Call(_path(id) + "/cancel", {})


def items_call(
    id: str,
    *,
    order: Order | None = None,
    limit: int | None = None,
    include: Sequence[str] = (),
    after: str | None = None,
) -> Call:
    """`GET /responses/{id}/input_items`: the first page, or the one after an item. Raises ConfigError."""
    query: dict[str, str | Sequence[str]] = dict(_listed(include))
    for name, value in (("order", order), ("limit", limit), ("after", after)):
        if value is not None:
            query[name] = str(value)
    return Call(_path(id) + "/input_items", {}, method="GET", query=query)


def compact_call(call: Call) -> Call:
    """`POST /responses/compact` for what a request would have sent; what a compaction does not take is reported."""
    body = {name: value for name, value in call.body.items() if name in _COMPACT_FIELDS}
    lost = tuple(
        Deviation(name, "dropped", "a compaction does not take it")
        for name in call.body
        if name not in _COMPACT_FIELDS and name not in _ADDED
    )
    return replace(call, path="/responses/compact", body=body, deviations=call.deviations + lost)


def _path(id: str) -> str:
    return stored_path("responses", id)


def _listed(include: Sequence[str]) -> Mapping[str, str | Sequence[str]]:
    return {"include[]": tuple(include)} if include else {}


# -- answers -------------------------------------------------------------------------------------------------


def check_deleted(body: bytes) -> None:
    """Raises ProtocolError where the answer does not say that the response is gone."""
    if not body.strip():
        return
    value = object_in(body, "the answer to a deletion")
    if value.get("deleted") is False:
        raise ProtocolError(f"the service says that it deleted nothing: {looks_like(body)}")


def decode_items(body: bytes) -> tuple[list[Mapping[str, Any]], str | None]:
    """One page, and the id after which the next begins; None on the last. Raises ProtocolError."""
    value = object_in(body, "the list of input items")
    items = value.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ProtocolError(f"the list of input items holds no items: {looks_like(body)}")
    if not value.get("has_more"):
        return items, None
    last = value.get("last_id") or (items[-1].get("id") if items else None)
    if not isinstance(last, str):
        raise ProtocolError(f"the list of input items goes on, but does not say where: {looks_like(body)}")
    return items, last


def decode_compaction(body: bytes, origin: Origin) -> Compaction:
    """The window that the service made, every item of it kept. Raises ProtocolError."""
    value = object_in(body, "the compaction")
    output = value.get("output")
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        raise ProtocolError(f"the compaction has no output: {looks_like(body)}")
    parts = [part for item in output for part in _window_parts(item, origin)]
    id = value.get("id")
    return Compaction(
        id if isinstance(id, str) else None,
        (Message("assistant", tuple(parts)),),
        usage_of(value.get("usage")),
        {k: v for k, v in value.items() if k not in ("id", "output", "usage") and v is not None},
    )


def _window_parts(item: dict[str, Any], origin: Origin) -> list[Part]:
    """Reasoning stays an item: as a part it might be left out, and a window goes back whole."""
    match item.get("type"):
        case "message":
            return decode_message(item, origin)
        case "reasoning":
            return [OpaquePart("reasoning", item, origin=origin)]
    return [decode_part(item, origin)]
