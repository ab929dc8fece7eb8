"""Continuation for any conversation: one property for each of its invariants, and the recorded conversations.

`CASES` is how many examples each property sees; turn it up to look harder.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.openai_responses import OpenAIResponses, OpenAIResponsesOptions
from brainwires_provider.protocols.openai_responses.continuation import (
    BY_KIND,
    Head,
    Heads,
    Match,
    Miss,
    Outline,
    head_of,
    items_of,
    outline,
)
from brainwires_provider.protocols.openai_responses.ws import answer_items, create_frame
from brainwires_provider.types import (
    Cache,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    Options,
    Origin,
    Part,
    ReasoningPart,
    RefusalPart,
    Request,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    dump_messages,
    load_messages,
)
from corpus import turns
from corpus_responses import response_of, their_items, why_not
from known import encode_known
from paths import FIXTURES

pytestmark = [pytest.mark.long, pytest.mark.many]

CASES = int(os.environ.get("CONTINUATION_CASES", "150"))
SOME = settings(max_examples=CASES, deadline=None)
MANY = settings(max_examples=CASES * 3, deadline=None)

Item = dict[str, Any]
RESPONSES = OpenAIResponses()
ORIGIN = Origin("openai_responses", "p", "m")
OTHER_MODEL = Origin("openai_responses", "p", "other")
ELSEWHERE = Origin("anthropic", "p", "claude")

# -- conversations -------------------------------------------------------------------------------------------

BODY = (FIXTURES / "openai_responses" / "every_item_whole" / "wire.json").read_bytes()
EVERY_ITEM: list[Item] = msgspec.json.decode(BODY)["output"]

words = st.text('ab é\U0001f600"\\\n', min_size=1, max_size=4)
annotations = st.lists(
    st.builds(lambda u: {"type": "url_citation", "url": u, "start_index": 0, "end_index": 1}, words),
    max_size=2,
)
pieces = st.one_of(
    st.builds(
        lambda t, a: {"type": "output_text", "text": t, "annotations": a, "logprobs": []}, words, annotations
    ),
    st.builds(lambda t: {"type": "refusal", "refusal": t}, words),
    st.builds(lambda t: {"type": "new_piece", "value": t}, words),
)
messages_of_the_wire = st.builds(
    lambda content, phase: {
        "type": "message",
        "role": "assistant",
        "content": content,
        "status": "completed",
        **phase,
    },
    st.lists(pieces, max_size=3),
    st.sampled_from([{}, {"phase": "commentary"}, {"phase": None}]),
)
thoughts = st.builds(
    lambda summary, told: {"type": "reasoning", "summary": summary, **told},
    st.lists(st.builds(lambda t: {"type": "summary_text", "text": t}, words), max_size=2),
    st.sampled_from(
        [{}, {"encrypted_content": "gA"}, {"content": [{"type": "reasoning_text", "text": "hm"}]}]
    ),
)
calls = st.builds(lambda a: {"type": "function_call", "name": "f", "arguments": a, "call_id": "call"}, words)
wire_items = st.one_of(messages_of_the_wire, thoughts, calls, st.sampled_from(EVERY_ITEM))
outputs = st.lists(wire_items, max_size=5)


def numbered(items: Sequence[Item], turn: int) -> list[Item]:
    """With ids as a service gives them: each its own."""
    told = [copy.deepcopy(item) for item in items]
    for place, item in enumerate(told):
        item["id"] = f"{item.get('type', 'item')}_{turn}_{place}"
        if item.get("call_id"):
            item["call_id"] += f"_{turn}_{place}"
    return told


def received(items: list[Item], *, stream: bool, origin: Origin = ORIGIN, reported: str = "m-1") -> Message:
    """What the caller has of an answer: the message of its PartEnds."""
    decoder = RESPONSES.decoder(origin)
    whole = {"id": "r", "object": "response", "model": reported, "status": "completed", "output": items}
    if not stream:
        return collect(decoder.feed_whole(msgspec.json.encode(whole))).message
    events: list[Item] = [{"type": "response.created", "response": {"id": "r", "model": reported}}]
    for place, item in enumerate(items):
        begun = {**item, "content": []} if item.get("type") == "message" else item
        events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
        events.append({"type": "response.output_item.done", "output_index": place, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return collect(
        e for event in events for e in decoder.feed(WireMessage(msgspec.json.encode(event)))
    ).message


marks = st.sampled_from([None, None, Cache(), Cache("1h")])
said = st.one_of(
    st.builds(lambda t, c: TextPart(t, cache=c), words, marks),
    st.builds(lambda t: TextPart(t, extra={"x": 1}), words),
    st.builds(lambda c: ImagePart(url="https://i", cache=c), marks),
    st.builds(lambda c: FilePart(file_id="file_1", cache=c), marks),
    st.just(OpaquePart("input_new", {"type": "input_new", "a": None})),
    st.just(OpaquePart("item_reference", {"type": "item_reference", "id": "msg_0"})),
)
users = st.builds(
    lambda parts, role: Message(role, tuple(parts)), st.lists(said, max_size=3), st.just("user")
)
asides = st.builds(
    lambda t, role, c: Message(role, (TextPart(t, cache=c),)),
    words,
    st.sampled_from(["system", "developer"]),
    marks,
)
leading = st.lists(st.builds(Message.system, words), max_size=2)

foreign_parts = st.one_of(
    st.builds(lambda t: TextPart(t, origin=ELSEWHERE), words),
    st.builds(lambda t: ReasoningPart(t, signature="s", origin=ELSEWHERE), words),
    st.builds(lambda t: RefusalPart(t, origin=ELSEWHERE), words),
    st.builds(lambda t: ToolCallPart(f"toolu_{t}", "f", "{}", origin=ELSEWHERE), words),
    st.builds(lambda t: OpaquePart("server_tool_use", {"a": t}, role="call", origin=ELSEWHERE), words),
)
own_parts = st.one_of(
    st.builds(TextPart, words),
    st.builds(lambda t: ToolCallPart(f"own_{t}", "f", "{}"), words),
    st.builds(lambda t: OpaquePart("new", {"type": "new", "a": t}), words),
    st.builds(lambda t: ReasoningPart(t), words),
)
KINDS_OF_TURN = ("ours", "ours", "another model's", "another protocol's", "the caller's")
RESULTS: dict[str, Any] = {
    "tool_search": "[]",
    "computer": ImagePart(url="https://s"),
    "mcp_approval": "true",
}


@st.composite
def answers_of_anyone(draw: st.DrawFn, turn: int) -> Message:
    kind = draw(st.sampled_from(KINDS_OF_TURN))
    if kind == "another protocol's":
        return Message("assistant", tuple(draw(st.lists(foreign_parts, max_size=3))))
    if kind == "the caller's":
        return Message("assistant", tuple(draw(st.lists(own_parts, max_size=3))))
    origin = ORIGIN if kind == "ours" else OTHER_MODEL
    return received(
        numbered(draw(outputs), turn), stream=draw(st.booleans()), origin=origin, reported=f"{kind}-1"
    )


def results(answer: Message, mark: Cache | None = None) -> list[Message]:
    """What answers an answer's calls."""
    told = []
    for call in answer.tool_calls:
        content = RESULTS.get(call.kind, TextPart("ok", cache=mark))
        told.append(Message.tool_result(call, content))
    return told


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Ends before an answer."""
    history = draw(leading)
    for turn in range(draw(st.integers(0, 3))):
        history += [*draw(st.lists(asides, max_size=1)), draw(users)]
        history.append(draw(answers_of_anyone(turn)))
        history += results(history[-1], draw(marks))
    return [*history, *draw(st.lists(asides, max_size=1)), draw(users)]


def encoded(history: Sequence[Message], **fields: Any) -> tuple[Item, list[str]]:
    """The body, and the places that the report names."""
    call = encode_known(RESPONSES, Request(tuple(history), model="m", **fields), ORIGIN, stream=False)
    return call.body, [f"{d.field} {d.outcome}" for d in call.deviations]


# -- (a) a longer history begins with the very items of a shorter one ----------------------------------------


@SOME
@given(conversations(), st.data())
def test_encoding_is_prefix_stable_at_every_turns_end(history: list[Message], data: st.DataObject) -> None:
    history.append(data.draw(answers_of_anyone(9)))
    whole, report = encoded(history)
    for end in range(1, len(history) + 1):
        if history[end - 1].role != "assistant":
            continue
        part, its_report = encoded(history[:end])
        answer = answer_items(history[end - 1], ORIGIN, RESPONSES.quirks)
        assert part.get("instructions") == whole.get("instructions")
        assert whole["input"][: len(part["input"])] == part["input"]
        assert part["input"][len(part["input"]) - len(answer) :] == answer
        assert its_report == [d for d in report if int(d[len("messages[") :].split("]")[0]) < end]


# -- (b) the chain is what the caller received, cache marks aside --------------------------------------------


def remarked(history: Sequence[Message], mark: Cache | None) -> list[Message]:
    """The same history with its marks elsewhere. A mark on leading instructions would make them an item."""

    def moved(part: Any) -> Any:
        if isinstance(part, ToolResultPart):
            return replace(part, content=tuple(moved(p) for p in part.content))
        return replace(part, cache=mark) if isinstance(part, (TextPart, ImagePart, FilePart)) else part

    first = next(i for i, message in enumerate(history) if message.role != "system")
    later = [replace(m, content=tuple(moved(p) for p in m.content)) for m in history[first:]]
    return [*history[:first], *later]


@SOME
@given(conversations(), outputs, st.booleans(), marks, st.lists(users, min_size=1, max_size=2), st.booleans())
def test_what_the_caller_received_is_continued(
    history: list[Message],
    output: list[Item],
    stream: bool,
    mark: Cache | None,
    more: list[Message],
    store: bool,
) -> None:
    options = Options(provider_options=OpenAIResponsesOptions(store=store))
    asked = outline(encoded(history, options=options)[0])
    answer = received(numbered(output, 9), stream=stream)
    heads: Heads[str] = Heads()
    ours = answer_items(answer, ORIGIN, RESPONSES.quirks)
    head = head_of(asked, ours, "r9", stored=store)
    heads.add(head, "lane")

    tail = [*results(answer, mark), *more]
    kept = load_messages(dump_messages([answer]))
    body, _ = encoded([*remarked(history, mark), *kept, *tail], options=options)
    match = heads.find(outline(body), body["input"])

    assert isinstance(match, Match), match
    assert head.outline.count == match.tail
    new = body["input"][match.tail :]
    assert new == encoded([Message.user("x"), answer, *tail])[0]["input"][1 + len(ours) :]
    sent = msgspec.json.decode(create_frame(body, parent=match.head.response_id, tail=new))
    assert (sent["previous_response_id"], sent["input"]) == ("r9", msgspec.to_builtins(new))
    assert {k: v for k, v in sent.items() if k in body and k != "input"} == {
        k: v for k, v in body.items() if k != "input"
    }
    other, _ = encoded([*history, answer, *tail], options=replace(options, temperature=0.5))
    assert heads.find(outline(other), other["input"]) == Miss(
        "field", "field 'temperature' differs", "temperature"
    )


# -- (d) what the encoder drops is in the report -------------------------------------------------------------


def id_of(part: Part) -> str:
    """The id of the item that a part came in."""
    extra: Any = getattr(part, "extra", None) or {}
    if isinstance(part, OpaquePart) and "message" not in extra:
        return str(part.data["id"])
    if isinstance(part, ToolCallPart) and part.kind == "mcp_approval":
        return str(part.id)
    return str(extra["message"]["id"] if "message" in extra else extra["id"])


@SOME
@given(outputs, st.booleans(), st.booleans())
def test_an_item_that_is_dropped_is_in_the_report(output: list[Item], stream: bool, followed: bool) -> None:
    items = numbered(output, 0)
    answer = received(items, stream=stream)
    after = (Message.user("x"),) if followed else ()
    body, report = encoded((Message.user("x"), answer, *after))
    ids = [item["id"] for item in body["input"][1 : len(body["input"]) - len(after)]]
    dropped = {i for i in range(len(answer.content)) if f"messages[1].content[{i}] dropped" in report}

    assert {id_of(part) for part in answer.content} == {item["id"] for item in items}
    kept = [id_of(part) for i, part in enumerate(answer.content) if i not in dropped]
    assert ids == list(dict.fromkeys(kept))
    assert len(report) == len(dropped)


@SOME
@given(outputs)
def test_what_is_dropped_for_another_model_is_in_the_report(output: list[Item]) -> None:
    answer = received(numbered(output, 0), stream=False, origin=OTHER_MODEL, reported="other-1")
    body, report = encoded((Message.user("x"), answer))
    kept = [p for i, p in enumerate(answer.content) if f"messages[1].content[{i}] dropped" not in report]

    assert not any(isinstance(part, ReasoningPart) for part in kept)
    groups: list[Any] = []
    for part in kept:
        fields = (getattr(part, "extra", None) or {}).get("message")
        goes_on = fields is not None and groups and groups[-1] == fields
        if not goes_on:
            groups.append(fields if fields is not None else part)
    assert len(body["input"]) - 1 == len(groups)


# -- a model of the heads: histories as lists, compared item by item -----------------------------------------

USER_A, USER_B = {"role": "user", "content": "a"}, {"role": "user", "content": "b"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
RESULT = {"type": "function_call_output", "call_id": "c", "output": ""}
COMPACTION = {"type": "compaction", "encrypted_content": "g"}
few_items = st.lists(st.sampled_from([USER_A, USER_A, USER_B, CALL, RESULT, COMPACTION]), max_size=5)
few_fields = st.sampled_from([{"model": "m"}, {"model": "m"}, {"model": "n"}, {"model": "m", "top_p": 1}])


class Known(NamedTuple):
    """A head as the model has it."""

    fields: Item
    items: list[Item]
    calls: bool
    head: Head


def since_compaction(items: list[Item]) -> tuple[int, list[Item]]:
    start = max((i for i, item in enumerate(items) if item == COMPACTION), default=0)
    return start, items[start:]


def known(fields: Item, items: list[Item], answer: list[Item]) -> Known:
    head = head_of(outline({**fields, "input": items}), answer, "r", stored=False)
    is_open = CALL in answer and RESULT not in answer
    return Known(fields, since_compaction([*items, *answer])[1], is_open, head)


def continues(one: Known, fields: Item, items: list[Item]) -> int | None:
    """The first item of the tail; None where the head is not continued."""
    start, counted = since_compaction(items)
    length = len(one.items)
    tail = start + length if length else 0
    fits = one.fields == fields and len(counted) > length and counted[:length] == one.items
    return tail if fits and (not one.calls or RESULT in items[tail:]) else None


def best_of(all: dict[int, Known], fields: Item, items: list[Item]) -> tuple[int, int] | None:
    """The place of the longest, and of those the newest, and its tail."""
    best: tuple[int, int] | None = None
    for place, one in all.items():
        tail = continues(one, fields, items)
        if tail is not None and (best is None or len(one.items) >= len(all[best[0]].items)):
            best = place, tail
    return best


def is_true(miss: Miss, all: dict[int, Known], fields: Item, items: list[Item]) -> bool:
    """Whether a reason holds of what was asked and some head."""
    start, counted = since_compaction(items)
    heads = list(all.values())
    match miss.code:
        case "first":
            return not any(one.items[:1] == counted[:1] or not one.items for one in heads) or not heads
        case "field":
            name = miss.reason.split("'")[1]
            shared = [one for one in heads if counted[: len(one.items)] == one.items]
            return any(one.fields.get(name) != fields.get(name) for one in shared)
        case "item":
            place = int(miss.reason.split()[1]) - start
            item = counted[place]
            told = f"({item.get('type', 'message')}{', user' if 'role' in item else ''})"
            differs = [o for o in heads if o.items[:place] == counted[:place] and o.items[place : place + 1]]
            return told in miss.reason and any(one.items[place] != item for one in differs)
        case "shorter":
            return any(len(o.items) > len(counted) and o.items[: len(counted)] == counted for o in heads)
        case "nothing_new":
            return any(one.items == counted for one in heads)
        case "open_call":
            return any(
                one.calls
                and continues(one._replace(calls=False), fields, items) is not None
                and continues(one, fields, items) is None
                for one in heads
            )
    return False


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "find", "find", "remove"]),
        st.integers(0, 3),
        few_fields,
        few_items,
        few_items,
    ),
    max_size=12,
)


# -- (c) one head a place, the longest is found, and nothing once it is removed; (f) each miss is true -------


@MANY
@given(steps)
def test_heads_are_found_as_a_list_of_histories_would(steps: list[Any]) -> None:
    heads: Heads[int] = Heads()
    model: dict[int, Known] = {}
    for step, place, fields, items, answer in steps:
        if step == "add":
            model.pop(place, None)
            model[place] = known(fields, items, answer)
            heads.add(model[place].head, place)
        elif step == "remove":
            gone = model.pop(place, None)
            assert heads.remove(place) is (gone.head if gone else None)
        asked = [*items, *answer]
        found = heads.find(outline({**fields, "input": asked}), asked)
        expected = best_of(model, fields, asked)
        if isinstance(found, Match):
            assert (found.place, found.tail) == expected
            assert found.head is model[found.place].head
        else:
            assert expected is None
            assert is_true(found, model, fields, asked), found
        assert list(heads.places()) == list(model)
        assert len(heads) == len(model)


# -- (e) after a compaction the history begins at it ---------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
loose_items = st.lists(
    st.dictionaries(st.sampled_from(["type", "role", "content", "output", "id"]), anything, max_size=4)
    | anything,
    max_size=5,
)


@SOME
@given(loose_items, loose_items, loose_items, st.data())
def test_after_a_compaction_the_history_begins_at_it(
    before: list[Any], answer: list[Any], more: list[Any], data: st.DataObject
) -> None:
    items = [item for item in answer if isinstance(item, dict) and isinstance(item.get("type", ""), str)]
    pruned = before[data.draw(st.integers(0, len(before))) :]
    by_caller, by_server = (
        head_of(outline({"input": [*before, COMPACTION]}), items, "r", stored=False),
        head_of(outline({"input": before}), [COMPACTION, *items], "r", stored=False),
    )
    asked: Item = {"input": [*pruned, COMPACTION, *items, *more, USER_A]}

    assert by_caller.outline == by_server.outline
    assert outline(asked).hashes == outline({"input": [COMPACTION, *items, *more, USER_A]}).hashes
    for head in (by_caller, by_server):
        heads: Heads[int] = Heads()
        heads.add(replace(head, open_calls=()), 0)
        match = heads.find(outline(asked), asked["input"])
        assert isinstance(match, Match)
        assert match.tail == len(pruned) + 1 + len(items)


# -- the hashes themselves -----------------------------------------------------------------------------------


def canonical(item: Any) -> str:
    """What an item says, by another road than the one that is tested; equal only for what is the same on the wire."""
    if isinstance(item, dict):
        return "{" + ",".join(sorted(f"{key!r}:{canonical(value)}" for key, value in item.items())) + "}"
    if isinstance(item, list):
        return "[" + ",".join(canonical(value) for value in item) + "]"
    is_number = isinstance(item, float) and item == item and abs(item) != float("inf")
    return repr(item) if is_number or not isinstance(item, float) else "None"


json_items = st.dictionaries(
    st.sampled_from(["a", "b", "content"]),
    st.recursive(
        st.sampled_from([0, 0.0, None, True, "", "a", float("nan")]),
        lambda v: st.lists(v, max_size=2) | st.dictionaries(st.sampled_from("ab"), v, max_size=2),
        max_leaves=4,
    ),
    max_size=2,
)


@MANY
@given(st.lists(json_items, max_size=3), st.lists(json_items, max_size=3))
def test_two_chains_agree_exactly_as_far_as_their_items_do(left: list[Item], right: list[Item]) -> None:
    a, b = outline({"input": left}).hashes, outline({"input": right}).hashes
    for i in range(min(len(a), len(b))):
        assert (a[i] == b[i]) == ([*map(canonical, left[: i + 1])] == [*map(canonical, right[: i + 1])])


@MANY
@given(
    st.dictionaries(st.text(max_size=3) | st.sampled_from(["input", "conversation", "stream"]), anything),
    loose_items,
)
def test_nothing_makes_an_outline_raise(fields: Any, items: list[Any]) -> None:
    for body in (fields, {**fields, "input": items}, {**fields, "input": {1: items}}):
        made = outline(body)
        assert isinstance(made, Outline)
        assert outline(copy.deepcopy(body)) == made
        assert made.count == len(items_of(body))
        Heads[int]().find(made, items_of(body))


# -- the recorded conversations ------------------------------------------------------------------------------

# Of 86 consecutive pairs, 80 have both an answer and a next request that says it again.
RECORDED = {
    "continues": 75,
    "field 'conversation' differs": 1,
    "field 'instructions' differs": 2,
    "field 'tool_choice' differs": 1,
    "field 'tools' differs": 1,
    "the earlier request was refused": 1,
    "the later request continues by conversation": 2,
    "the later request does not hold the earlier answer": 3,
}


def ids_restored(items: Sequence[Item], answer: Sequence[Item]) -> list[Item]:
    """Three recordings answer a call by another id than it came by, and say the call so too; ours keeps the id."""
    names = {}
    for item in answer:
        if item["type"] == "function_call":
            names[item["id"]] = item["call_id"]
    told = []
    for item in items:
        id = item.get("call_id", "")
        renamed = names.get(id) or next((own for own in names.values() if id.endswith(f":{own}")), None)
        told.append({**item, "call_id": renamed} if renamed and item["type"].endswith("_output") else item)
    return told


def test_the_recorded_conversations_would_continue() -> None:
    """Each recorded request after the one before it, with that one's answer as our encoder says it."""
    seen: Counter[str] = Counter()
    for before, record in turns("openai_responses"):
        if before.status >= 400:
            seen["the earlier request was refused"] += 1
            continue
        theirs = their_items(before, record)
        if not theirs:
            seen[why_not(before, record)] += 1
            continue
        assert before.request is not None
        assert record.request is not None
        first, second = items_of(before.request), items_of(record.request)
        ours = answer_items(response_of(before).message, record.origin, RESPONSES.quirks)
        tail = ids_restored(second[len(first) + len(theirs) :], ours)
        heads: Heads[int] = Heads()
        heads.add(head_of(outline(before.request), ours, "r", stored=False), 0)
        asked = {**record.request, "input": [*second[: len(first)], *ours, *tail]}
        found = heads.find(outline(asked), asked["input"])
        if isinstance(found, Match):
            assert asked["input"][found.tail :] == tail
            seen["continues"] += 1
        else:
            seen[found.reason] += 1
    assert seen == RECORDED


def test_the_model_of_conversations_holds_every_kind_of_call() -> None:
    """So that the properties above are about all of them."""
    answer = received(numbered(EVERY_ITEM, 0), stream=True)

    assert {call.kind for call in answer.tool_calls} == set(BY_KIND)
    body, report = encoded([Message.user("x"), answer, *results(answer)])
    assert len(body["input"]) == 1 + len(EVERY_ITEM) + len(answer.tool_calls)
    assert not report
