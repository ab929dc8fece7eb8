"""The encoder of Responses events over every protocol's fixtures, judged by openai-python's own types."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from response_cases import IN_EVERY_WAY, WHOLE, encoded, events_of

from anthropic_answers import CALL, SEARCH, block, feed, stream
from brainwires_provider.events import collect
from brainwires_provider.integrations.responses import usage_of
from fixture_cases import Case

pytest.importorskip("openai")
import httpx2
import openai
from openai.types.responses import Response as TheirResponse
from openai.types.responses import ResponseStreamEvent

pytestmark = pytest.mark.long
_CLASSES = {
    each.model_fields["type"].annotation.__args__[0]: each
    for each in get_args(get_args(ResponseStreamEvent)[0])
}


UNKNOWN = {"star_citation", "hologram"}
"""Types of annotations and pieces that the fixtures have beyond the API's, and that go through as they are."""


def is_unknown(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("type") in UNKNOWN or any(map(is_unknown, value.values()))


def judged(value: Any) -> Any:
    """An event without what its fixture alone is to blame for: items and fields of the service, as they came."""
    if isinstance(value, list):
        return [judged(each) for each in value if not is_unknown(each) and not is_built_in(each)]
    if not isinstance(value, dict):
        return value
    return {name: judged(inner) for name, inner in value.items() if name not in ("tools", "tool_choice")}


def is_built_in(value: Any) -> bool:
    """Whether an item is that of a built-in tool, which the fixtures have with as few fields as there can be."""
    known = ("message", "reasoning", "function_call", "custom_tool_call")
    return isinstance(value, dict) and "id" in value and "type" in value and value["type"] not in known


@IN_EVERY_WAY
def test_every_event_is_one_of_openais_and_says_what_ours_say(case: Case) -> None:
    events = events_of(case)
    assert events is not None
    wire, encoder = encoded(events)

    for event in msgspec.json.decode(msgspec.json.encode(wire)):
        if case.folder.parent.name == "openai_responses":
            if is_unknown(event) or is_built_in(event.get("item")):
                continue
            event = judged(event)
            event.get("response", {}).update(tools=[], tool_choice="auto")
        _CLASSES[event["type"]].model_validate(event)
    assert [event["sequence_number"] for event in wire] == list(range(len(wire)))
    laws(wire, encoder.response)
    said_alike(encoder.response, collect(events))


def laws(wire: list[dict[str, Any]], response: dict[str, Any]) -> None:
    """Each item is added once and done once, deltas join to what is done, and the response has what was done."""
    added: dict[int, Any] = {}
    done: dict[int, Any] = {}
    texts: dict[tuple[Any, ...], str] = {}
    assert [event["type"] for event in wire[:2]] == ["response.created", "response.in_progress"]
    for event in wire:
        kind, place = event["type"], event.get("output_index")
        if kind == "response.output_item.added":
            assert place == len(added)
            added[place] = event["item"]
            continue
        if place is not None:
            assert place in added and place not in done
        if kind == "response.output_item.done":
            assert event["item"].get("id") == added[place].get("id")
            done[place] = event["item"]
        elif kind.endswith(".delta") and isinstance(event.get("delta"), str) and "item_id" in event:
            where = (
                kind.removesuffix(".delta"),
                place,
                event.get("content_index"),
                event.get("summary_index"),
            )
            texts[where] = texts.get(where, "") + event["delta"]
        elif kind.endswith(".done"):
            where = (
                kind.removesuffix(".done"),
                place,
                event.get("content_index"),
                event.get("summary_index"),
            )
            final = next((event[n] for n in ("text", "refusal", "arguments", "input") if n in event), None)
            if final is not None:
                assert texts.pop(where, "") == final
    assert added.keys() == done.keys()
    assert response["output"] == [done[place] for place in sorted(done)]


def said_alike(response: dict[str, Any], ours: Any) -> None:
    """openai-python's object of the final response says what our Response says."""
    theirs = TheirResponse.construct(**response)
    assert theirs.output_text == ours.text
    calls = [(item.name, item.arguments) for item in theirs.output if item.type == "function_call"]
    customs = [(item.name, item.input) for item in theirs.output if item.type == "custom_tool_call"]
    mine = list(ours.tool_calls)
    assert customs == [(p.name, p.arguments) for p in mine if p.kind == "custom"]
    assert set(calls) >= {(p.name, p.arguments) for p in mine if p.kind == "function"}
    if theirs.usage is not None:
        counts = theirs.usage
        assert counts.input_tokens == ours.usage.input_tokens
        assert counts.output_tokens_details.reasoning_tokens == ours.usage.reasoning
        assert counts.input_tokens_details.cached_tokens == ours.usage.cache_read
        assert counts.total_tokens == ours.usage.total_tokens


@pytest.mark.parametrize(
    "protocol", ["openai_chat", "gemini", "bedrock_converse", "openai_responses", "anthropic"]
)
def test_openais_client_accumulates_the_same(protocol: str) -> None:
    """`client.responses.stream` reads the stream of each protocol, and gathers what our Collector does."""
    said = {**ANTHROPIC} if protocol == "anthropic" else {}
    for case in [] if said else [case for case in WHOLE if case.folder.parent.name == protocol]:
        if not case.folder.name.startswith(
            (
                "every_item",
                "pieces",
                "annotations",
                "message_without",
                "function_call_odd",
                "item_becomes_another",
            )
        ):
            said[case.folder.name] = events_of(case)
    assert said
    for name, events in said.items():
        wire, _ = encoded(events)
        data = b"".join(b"data: %s\n\n" % msgspec.json.encode(event) for event in wire)
        headers = {"content-type": "text/event-stream"}
        transport = httpx2.MockTransport(
            lambda request, data=data: httpx2.Response(200, headers=headers, content=data)
        )
        http = httpx2.Client(transport=transport)
        with (
            openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http, max_retries=0) as client,
            client.responses.stream(model="m", input="x") as stream,
        ):
            kinds = [event.type for event in stream]
            if kinds[-1] != "response.completed":
                continue
            theirs = stream.get_final_response()
        ours = collect(events)
        assert theirs.output_text == ours.text, name
        calls = {(p.name, p.arguments) for p in ours.tool_calls if p.kind == "function"}
        assert {(i.name, i.arguments) for i in theirs.output if i.type == "function_call"} >= calls, name
        assert usage_of(ours.usage) == (theirs.usage and theirs.usage.model_dump(exclude_unset=True)), name


ANTHROPIC = {
    "all": feed(
        stream(
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Hm"},
            ),
            *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Fair"}),
            *block(2, {**CALL, "input": {}}, {"type": "input_json_delta", "partial_json": '{"a": 1}'}),
            *block(3, SEARCH),
        )
    )
}
