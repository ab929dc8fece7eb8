"""What continues what in the Responses API (see `base.continuation`), and which calls wait for the caller's answer.

A history begins anew behind a compaction item. Cache marks are no content, and neither is what only the service reads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from brainwires_provider.protocols.base import continuation as base
from brainwires_provider.protocols.base.continuation import Head, Item, Match, Miss, MissCode, Outline
from brainwires_provider.types import ToolCallPart

__all__ = [
    "BY_KIND",
    "BY_RESULT",
    "CallShape",
    "Head",
    "Heads",
    "Match",
    "Miss",
    "MissCode",
    "Outline",
    "call_shape",
    "head_of",
    "items_of",
    "outline",
    "shape_of",
]

P = TypeVar("P", bound=Hashable)

_ASIDE = frozenset(
    (
        "type",
        "input",
        "stream",
        "stream_options",
        "stream_id",
        "generate",
        "background",
        "background_options",
        # What is kept or billed, and nothing that the model reads: sent with every request, and free to differ.
        "metadata",
        "client_metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
    )
)
_HANDLES = ("previous_response_id", "conversation")
_MARK = "prompt_cache_breakpoint"
_PLAIN_PIECE = {"type", "text"}


def items_of(body: Mapping[str, Any]) -> Sequence[Any]:
    """The input's items; a text by itself is the user's message."""
    given = body.get("input")
    if isinstance(given, (list, tuple)):
        return given
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [] if given is None else [given]


def outline(body: Mapping[str, Any]) -> Outline:
    """The outline of an encoded Responses body. Never raises: what is no JSON has a digest too."""
    items = items_of(body)
    start = max(_last_compaction(items), 0)
    return base.outline_of(
        body, items[start:], aside=_ASIDE, handles=_HANDLES, start=start, plain=_without_marks
    )


def head_of(asked: Outline, answer: Sequence[Item], response_id: str, *, stored: bool) -> Head:
    """The head that a completed answer leaves. `answer`: its items as the next request will say them."""
    return base.head_of(
        asked,
        answer,
        response_id,
        stored=stored,
        open_calls=_open_calls(answer),
        begins_at=_last_compaction(answer),
        plain=_without_marks,
    )


class Heads(base.Heads[P]):
    """See `base.continuation.Heads`."""

    def unanswered(self, calls: Iterable[str], items: Sequence[Any]) -> list[str]:
        """The calls without an output."""
        return _unanswered(calls, items)


def _last_compaction(items: Sequence[Any]) -> int:
    """-1 without one."""
    for index in range(len(items) - 1, -1, -1):
        item = items[index]
        if isinstance(item, dict) and item.get("type") == "compaction":
            return index
    return -1


def _without_marks(item: Any) -> Any:
    if type(item) is dict and (type(item.get("content")) is list or type(item.get("output")) is list):
        return _unmarked(item)
    return item


def _unmarked(item: dict[str, Any]) -> dict[str, Any]:
    """The item without cache marks. Text that is a list only for its mark's sake is the text that it is without."""
    plain = {name: _plain(item[name]) for name in ("content", "output") if type(item.get(name)) is list}
    return {**item, **plain}


def _plain(pieces: list[Any]) -> Any:
    if any(type(piece) is dict and _MARK in piece for piece in pieces):
        pieces = [
            {k: v for k, v in piece.items() if k != _MARK} if type(piece) is dict else piece
            for piece in pieces
        ]
    if len(pieces) == 1:
        only = pieces[0]
        is_plain = type(only) is dict and only.keys() == _PLAIN_PIECE and only["type"] == "input_text"
        if is_plain and type(only["text"]) is str:
            return only["text"]
    return pieces


# -- calls ---------------------------------------------------------------------------------------------------


class CallShape(Struct, frozen=True):
    """The wire form of one kind of call that the caller answers."""

    type: str
    kind: str
    arguments: tuple[str, ...]
    """The fields that are its arguments; several become one object."""
    answer: str
    """The type of the item that answers it."""
    is_text: bool = False
    """The arguments are text on the wire; else JSON, of which ours is the compact form."""
    is_named: bool = False
    id_field: str = "call_id"


_SHAPES = (
    CallShape("function_call", "function", ("arguments",), "function_call_output", True, True),
    CallShape("custom_tool_call", "custom", ("input",), "custom_tool_call_output", True, True),
    CallShape("apply_patch_call", "apply_patch", ("operation",), "apply_patch_call_output"),
    CallShape("shell_call", "shell", ("action",), "shell_call_output"),
    CallShape("local_shell_call", "local_shell", ("action",), "local_shell_call_output"),
    CallShape("tool_search_call", "tool_search", ("arguments",), "tool_search_output"),
    CallShape("computer_call", "computer", ("action", "actions"), "computer_call_output"),
    CallShape(
        "mcp_approval_request", "mcp_approval", ("arguments",), "mcp_approval_response", True, True, "id"
    ),
)
_BY_TYPE = {shape.type: shape for shape in _SHAPES}
BY_KIND: Mapping[str, CallShape] = {shape.kind: shape for shape in _SHAPES}
"""The shapes by the `kind` of their ToolCallPart."""
BY_RESULT: Mapping[str, CallShape] = {shape.answer: shape for shape in _SHAPES}
"""The shapes by the type of the item that answers the call."""


def shape_of(call: ToolCallPart) -> CallShape:
    """The wire form of a call; one of a kind that this protocol does not have is a function call."""
    return BY_KIND.get(call.kind) or BY_KIND["function"]


def call_shape(item: Mapping[str, Any]) -> CallShape | None:
    """The shape of a call that the caller must answer; None for anything else, server-side calls included."""
    shape = _BY_TYPE.get(str(item.get("type")))
    if shape is None:
        return None
    if shape.kind == "shell":
        environment = item.get("environment")
        is_ours = not isinstance(environment, dict) or environment.get("type") == "local"
        return shape if is_ours else None
    if shape.kind == "tool_search" and item.get("execution") != "client":
        return None
    return shape


def _open_calls(answer: Sequence[Item]) -> tuple[str, ...]:
    """The calls that neither the service nor the answer itself has answered."""
    ours = ((item, shape) for item in answer if (shape := call_shape(item)) is not None)
    wanted = [str(item.get(shape.id_field) or item.get("id")) for item, shape in ours]
    return tuple(dict.fromkeys(_unanswered(wanted, answer)))


def _unanswered(calls: Iterable[str], items: Sequence[Any]) -> list[str]:
    told = set()
    for item in items:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind == "mcp_approval_response":
            told.add(str(item.get("approval_request_id")))
        elif isinstance(kind, str) and kind.endswith("_output"):
            told.add(str(item.get("call_id") or item.get("id")))
    return [call for call in calls if call not in told]
