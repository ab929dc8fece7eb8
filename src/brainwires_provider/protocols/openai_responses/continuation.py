"""What continues what in the Responses API, by the mechanism of `base.continuation`.

A history begins anew behind a compaction item. Cache marks are no content, and neither is what only the service reads.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from brainwires_provider.protocols.base import continuation as base
from brainwires_provider.protocols.base.continuation import Head, Item, Match, Miss, MissCode, Outline

__all__ = ["Head", "Heads", "Match", "Miss", "MissCode", "Outline", "head_of", "items_of", "outline"]

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
# The calls that the caller answers, and where their id lies.
_CALLS = {
    "function_call": "call_id",
    "custom_tool_call": "call_id",
    "apply_patch_call": "call_id",
    "shell_call": "call_id",
    "local_shell_call": "call_id",
    "tool_search_call": "call_id",
    "computer_call": "call_id",
    "mcp_approval_request": "id",
}


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


def _open_calls(answer: Sequence[Item]) -> tuple[str, ...]:
    """The calls that neither the service nor the answer itself has answered."""
    wanted = [str(item.get(_CALLS[item["type"]]) or item.get("id")) for item in answer if _is_ours(item)]
    return tuple(dict.fromkeys(_unanswered(wanted, answer)))


def _is_ours(item: Item) -> bool:
    """Whether an item is a call that waits for the caller."""
    kind = item.get("type")
    if kind == "shell_call":
        environment = item.get("environment")
        return not isinstance(environment, Mapping) or environment.get("type") == "local"
    return kind in _CALLS and (kind != "tool_search_call" or item.get("execution") == "client")


def _unanswered(calls: Iterable[str], items: Sequence[Any]) -> list[str]:
    told = set()
    for item in items:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind == "mcp_approval_response":
            told.add(str(item.get("approval_request_id")))
        elif isinstance(kind, str) and kind.endswith("_output"):
            told.add(str(item.get("call_id") or item.get("id")))
    return [call for call in calls if call not in told]
