"""What real services sent over Responses: nothing of it is unaccounted for, and all of it goes back.

Counts are asserted exactly, so that a table of exceptions cannot grow stale unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from brainwires_provider.events import Event, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, collect
from brainwires_provider.types import ImagePart, Message, OpaquePart, Request
from corpus import Record, turns
from corpus_responses import (
    RESPONSES,
    documents_of,
    events_of,
    first_answer,
    good,
    response_of,
    sent_back,
    their_items,
    why_not,
)
from known import encode_known

pytestmark = [pytest.mark.long, pytest.mark.many]

DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)

# -- (a) nothing in the body is unaccounted for --------------------------------------------------------------

Path = tuple[Any, ...]

# Leaves of a response object that are neither a value of the Response nor kept as they came, and why.
UNKEPT = {
    "nothing: null, or empty": 2363,
    "the wire's numbering": 11644,
    "type: says what the event is": 3177,
    "obfuscation: padding": 2192,
    # Response-level fields: the last told wins.
    "told again by a later event: .response.status": 101,
    "told again by a later event: .response.service_tier": 71,
    "told again by a later event: .response.id": 2,
    # An item that has only begun.
    "told again when the item is done: .item.status": 81,
    "told again when the item is done: .item.encrypted_content": 22,
    "told again when the item is done: .item.id": 2,
    "told again when the item is done: .item.call_id": 1,
    "told again when the item is done: .item.fingerprint": 1,
    # The 15 terminals that say something else than output_item.done.
    "the terminal's copy of an item: .response.output[].encrypted_content": 22,
    "the terminal's copy of an item: .response.output[].id": 3,
    "the terminal's copy of an item: .response.output[].fingerprint": 1,
}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every leaf; an empty object or list is one, for it may mean something."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, (dict, list)) or not value:
        yield path, value


def at(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(value, list) and not (isinstance(key, int) and key < len(value)):
            return None
        if isinstance(value, dict) and key not in value:
            return None
        if not isinstance(value, (dict, list)):
            return None
        value = value[key]
    return value


def same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


class Account:
    """Where in a response each leaf of a body should be."""

    def __init__(self, record: Record, events: list[Event]) -> None:
        self.response = collect(events)
        self.items, _ = sent_back(record, self.response)
        self.raw_usage = msgspec.to_builtins(self.response.usage).get("raw", {})
        self.fragments = [(e.text if isinstance(e, DELTAS) else getattr(e, "data", None)) for e in events]

    def response_holds(self, path: Path, value: Any) -> bool:
        match path:
            case ("id",):
                return bool(self.response.id == value)
            case ("model",):
                return bool(self.response.model == value)
            case ("usage", *rest):
                return same(at(self.raw_usage, tuple(rest)), value)
            case ("output", *rest) if rest:
                return same(at(self.items, tuple(rest)), value) or self.image_holds(tuple(rest[1:]), value)
        return same(at(self.response.extra, path), value)

    def image_holds(self, path: Path, value: Any) -> bool:
        """What a service says of an image is kept, and does not go back."""
        content = self.response.message.content
        images = [part.extra for part in content if isinstance(part, ImagePart)]
        images += [p.data for p in content if isinstance(p, OpaquePart) and p.kind == "image_generation_call"]
        return any(same(at(msgspec.to_builtins(image), path), value) for image in images)

    def event_holds(self, event: dict[str, Any], path: Path, value: Any) -> bool:
        kind = event["type"]
        if path[0] == "response":
            return self.response_holds(path[1:], value)
        if kind == "response.completed":
            return same(at(self.response.extra, path), value)
        if path[0] == "item":
            held = any(same(at(item, path[1:]), value) for item in self.items)
            return held or self.image_holds(path[1:], value)
        if any(fragment is event or fragment == event for fragment in self.fragments):
            return True
        if path[0] == "annotation":
            return any(same(at(fragment, path[1:]), value) for fragment in self.fragments)
        if path[0] == "part" and "annotations" in path:
            cited = [msgspec.to_builtins(c.raw) for c in self.response.citations]
            return any(same(at(item, path[3:]), value) for item in cited)
        if path[0] in ("delta", "text", "arguments", "part"):
            texts = [t for item in self.items for _, t in leaves(item) if isinstance(t, str)]
            return value in self.fragments or any(value in t for t in texts if isinstance(value, str))
        return False


NUMBERING = frozenset(
    ("sequence_number", "output_index", "content_index", "summary_index", "annotation_index", "item_id")
)


def why_unkept(event: dict[str, Any], path: Path, value: Any, later: list[Any]) -> str:
    """The reason why a leaf may be missing, or its own name if there is none."""
    kind = event.get("type", "whole")
    if value is None or value in ("", [], {}):
        return "nothing: null, or empty"
    if path == ("type",):
        return "type: says what the event is"
    if path[0] in NUMBERING and len(path) == 1:
        return "the wire's numbering"
    if path[0] == "obfuscation":
        return "obfuscation: padding"
    if path[:1] == ("logprobs",):
        return "logprobs of a delta: the item has them all"
    if path[-1] == "type":
        return "type: the part is of that class"
    if path[0] == "item" and kind == "response.output_item.added":
        return f"told again when the item is done: {label(path)}"
    if path[:2] == ("response", "output"):
        return f"the terminal's copy of an item: {label(path)}"
    if any(at(document, path) is not None for document in later):
        return f"told again by a later event: {label(path)}"
    return f"{kind} {label(path)} {str(value)[:60]}"


def label(path: Path) -> str:
    return "".join("[]" if isinstance(key, int) else f".{key}" for key in path)


def test_nothing_in_the_body_is_unaccounted_for() -> None:
    unkept: Counter[str] = Counter()
    for record in good():
        account = Account(record, events_of(record))
        documents = documents_of(record) if record.kind == "whole" else first_answer(record)
        for number, document in enumerate(documents):
            for path, value in leaves(document):
                holds = (
                    account.response_holds(path, value)
                    if record.kind == "whole"
                    else account.event_holds(document, path, value)
                )
                if not holds:
                    unkept[why_unkept(document, path, value, documents[number + 1 :])] += 1
    assert unkept == UNKEPT


# -- (b) the assistant's turn goes back ----------------------------------------------------------------------

# What a recording's own next request says of the answer that ours says otherwise, and why; by field.
DIFFERENCES = {
    "compaction: carried": 1,
    "function_call: carried": 59,
    "mcp_call: carried": 1,
    "mcp_list_tools: carried": 1,
    "message: carried": 21,
    "reasoning: carried": 56,
    "tool_search_call: carried": 5,
    "tool_search_output: carried": 2,
    "web_search_call: carried": 2,
    "function_call.call_id: the recorder makes a repeated id unique": 2,
    "function_call.namespace: the recorder adds the namespace of a tool that it found itself": 1,
    "function_call.status: the recorder says nothing where the answer said something": 1,
    "function_call: ours alone": 1,
    "function_call: the recorder sends the item's id for the call's": 1,
    "mcp_call.output: the recorder says nothing where the answer said something": 1,
    "mcp_list_tools.tools: the recorder says nothing where the answer said something": 1,
    "message.content: the recorder sends the text without logprobs and annotations": 21,
    "message: ours alone": 1,
    "message: the recorder replaced the answer": 1,
    "message: the recorder says an empty message beside a call": 4,
    "tool_search_call.arguments: the recorder writes `queries` for the server's `paths`": 4,
    "tool_search_call.call_id: the recorder sends the item's id for a call that has none": 2,
    "tool_search_output.tools: the recorder leaves nulls out": 2,
    "tool_search_output: ours alone": 2,
    "web_search_call.action: the recorder leaves out what it had asked for with `include`": 1,
}
# Consecutive requests of which the later one does not carry the earlier answer.
NOT_REPLAYED = {
    "the earlier request was refused": 1,
    "the later request continues by conversation": 2,
    "the later request does not hold the earlier answer": 3,
}


def test_the_assistants_turn_goes_back_with_nothing_lost() -> None:
    told: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for before, record in turns("openai_responses"):
        if before.status >= 400:
            skipped["the earlier request was refused"] += 1
            continue
        theirs = their_items(before, record)
        if not theirs:
            skipped[why_not(before, record)] += 1
            continue
        answer = response_of(before)
        history = (Message.user("…"), answer.message)
        ours = encode_known(RESPONSES, Request(history, model=record.model), record.origin, stream=False)
        assert not ours.deviations, (record.id, ours.deviations)
        told.update(compare(theirs, ours.body["input"][1:]))
    assert told == DIFFERENCES
    assert skipped == NOT_REPLAYED


def compare(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[str]:
    rest = list(ours)
    for item in theirs:
        kind = item.get("type", "message")
        mine = next((m for m in rest if alike(item, m)), None)
        if mine is None:
            yield f"{kind}: {absence(item)}"
            continue
        rest.remove(mine)
        yield f"{kind}: carried"
        for field, value in item.items():
            if mine.get(field) != value:
                yield f"{kind}.{field}: {difference(field, value, mine)}"
    for mine in rest:
        yield f"{mine['type']}: ours alone"


def alike(item: dict[str, Any], mine: dict[str, Any]) -> bool:
    if item.get("type", "message") != mine.get("type"):
        return False
    for name in ("id", "call_id", "encrypted_content"):
        if item.get(name) is not None and mine.get(name) is not None:
            return bool(item[name] == mine[name])
    return mine["type"] != "message" or text_of(item) == text_of(mine)


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(piece.get("text", "") for piece in content)


def absence(item: dict[str, Any]) -> str:
    """Why the recording has an item that ours has not."""
    if item.get("content") == "":
        return "the recorder says an empty message beside a call"
    if item.get("content") == "The meaning of life is 42":
        return "the recorder replaced the answer"
    if item.get("call_id", "").startswith("fc_"):
        return "the recorder sends the item's id for the call's"
    return f"LOST {item}"


def difference(field: str, value: Any, mine: dict[str, Any]) -> str:
    """How our item's field differs from the recording's, and why."""
    kind, known = mine["type"], mine.get(field)
    if kind == "message" and field == "content" and text_of({"content": value}) == text_of(mine):
        return "the recorder sends the text without logprobs and annotations"
    if kind.startswith("tool_search"):
        if field == "call_id" and value == mine["id"] and known is None:
            return "the recorder sends the item's id for a call that has none"
        if field == "arguments" and list(value.values()) == list(known.values()):
            return "the recorder writes `queries` for the server's `paths`"
        if field == "tools" and [without_nulls(tool) for tool in known] == value:
            return "the recorder leaves nulls out"
    if field == "call_id" and value.endswith(f":{known}"):
        return "the recorder makes a repeated id unique"
    if field == "namespace" and known is None:
        return "the recorder adds the namespace of a tool that it found itself"
    if field == "action" and value == {k: v for k, v in known.items() if k != "sources"}:
        return "the recorder leaves out what it had asked for with `include`"
    if value is None or value == []:
        return "the recorder says nothing where the answer said something"
    return f"LOST {value!r} -> {known!r}"


def without_nulls(tool: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in tool.items() if v is not None}
