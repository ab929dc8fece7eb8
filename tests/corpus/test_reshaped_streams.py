"""A copy of streamed content is reconciled in every protocol: recorded streams, reshaped, give the same response.

What services do differently, where the protocol has such a thing: indexes are shifted or dropped, ids are sent again,
dropped or renamed, arguments are sent again, starts and counts are repeated, ends are missing, a whole frame follows.
The recordings are those of real services; only the reshaping is made. Responses have a file of their own.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from brainwires_provider.errors import ProviderError
from brainwires_provider.events import collect
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, WireMessage
from brainwires_provider.protocols.base.protocol import ChatProtocol
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import Part, Response
from corpus import Record, answers

Document = dict[str, Any]
Stream = list[tuple[str | None, Document]]  # the event's name, and its JSON
Reshape = Callable[[Stream], Stream]

ROWS = {
    "anthropic_messages": "anthropic",
    "bedrock_converse": "bedrock",
    "gemini": "google",
    "google_interactions": "google-interactions",
    "openai_chat": "openai-chat",
}


def protocol_of(name: str) -> ChatProtocol:
    return PROVIDERS[ROWS[name]].protocol()


def stream_of(record: Record) -> Stream:
    framing = protocol_of(record.protocol).framing(DEFAULT_MAX_MESSAGE)
    messages = framing.feed(record.data) + framing.finish()[0]
    decoded = []
    for message in messages:
        try:
            decoded.append((message.event, msgspec.json.decode(message.data)))
        except msgspec.DecodeError:
            continue  # [DONE]
    return decoded


def decoded(record: Record, stream: Stream) -> Response:
    decoder = protocol_of(record.protocol).decoder(record.origin)
    events = []
    for name, document in stream:
        if not decoder.ended:
            events += decoder.feed(WireMessage(msgspec.json.encode(document), name))
    return collect(events if decoder.ended else events + decoder.finish())


@functools.cache
def recorded(protocol: str) -> list[tuple[Record, Stream, Any]]:
    """Every recorded stream that is a whole answer, and what is read in it."""
    found = []
    for record in answers(protocol):
        if record.kind == "stream":
            stream = stream_of(record)
            with contextlib.suppress(ProviderError):  # a recording of a failure, which other tests read
                found.append((record, stream, result(decoded(record, stream))))
    return found


def content(part: Part) -> Any:
    plain = msgspec.to_builtins(part)
    for name in ("extra", "local_id", "origin"):
        plain.pop(name, None)
    return plain


def result(response: Response) -> Any:
    usage = msgspec.structs.replace(response.usage, raw=None)
    return [content(part) for part in response.message.content], response.finish_reason, usage


def on_each(change: Callable[[Document], Any], name: str | None = None) -> Reshape:
    """Change the documents, or those of one name."""

    def reshape(stream: Stream) -> Stream:
        for event, document in stream:
            if name is None or name in (event, document.get("type")):
                change(document)
        return stream

    return reshape


def twice(name: str) -> Reshape:
    def reshape(stream: Stream) -> Stream:
        return [
            each
            for event, document in stream
            for each in [(event, document)] * (2 if name in (event, document.get("type")) else 1)
        ]

    return reshape


def never(name: str) -> Reshape:
    return lambda stream: [each for each in stream if name not in (each[0], each[1].get("type"))]


def shifted(name: str) -> Callable[[Document], Any]:
    def change(document: Document) -> None:
        if isinstance(document.get(name), int):
            document[name] += 3

    return change


def without(*names: str) -> Callable[[Document], Any]:
    return lambda document: [document.pop(name, None) for name in names]


# -- Chat Completions --------------------------------------------------------------------------------------


def choices(stream: Stream) -> Iterator[Document]:
    return (choice for _, chunk in stream for choice in chunk.get("choices") or () if not choice.get("index"))


def fragments(stream: Stream) -> Iterator[Document]:
    for choice in choices(stream):
        yield from (choice.get("delta") or {}).get("tool_calls") or ()


def whole_message(stream: Stream) -> Document:
    """What the deltas of a stream add up to, in the form of a whole body."""
    message: Document = {"role": "assistant"}
    calls: dict[Any, Document] = {}
    for choice in choices(stream):
        for name, value in (choice.get("delta") or {}).items():
            if name in ("content", "reasoning_content", "reasoning", "refusal") and isinstance(value, str):
                message[name] = message.get(name, "") + value
            elif name in ("annotations", "images", "reasoning_details") and value:
                message.setdefault(name, []).extend(value)
    for fragment in copy.deepcopy(list(fragments(stream))):
        call = calls.setdefault(fragment.get("index"), {"type": "function", "function": {"arguments": ""}})
        function = fragment.get("function") or {}
        call["id"] = call.get("id") or fragment.get("id")
        call["function"]["name"] = call["function"].get("name") or function.get("name")
        call["function"]["arguments"] += function.get("arguments") or ""
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


def with_whole_frame(
    change: Callable[[list[Document]], Any] = lambda calls: None, *, instead: bool = False
) -> Reshape:
    """The whole message after its deltas, its calls changed; instead of the chunk that has the reason, or after it."""

    def reshape(stream: Stream) -> Stream:
        message = whole_message(stream)
        change(message.get("tool_calls", []))
        reason = next(c["finish_reason"] for c in choices(stream) if c.get("finish_reason"))
        frame = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        }
        if instead:
            for choice in choices(stream):
                choice["finish_reason"] = None
        return [*stream, (None, frame)]

    return reshape


def named_again(stream: Stream) -> Stream:
    """Every fragment of a call has its id and its name."""
    known: dict[Any, tuple[Any, Any]] = {}
    for fragment in fragments(stream):
        function = fragment.setdefault("function", {})
        id, name = known.get(fragment.get("index"), (None, None))
        id, name = fragment.get("id") or id, function.get("name") or name
        known[fragment.get("index")] = id, name
        fragment["id"], function["name"] = id, name
    return stream


def cumulative_arguments(stream: Stream) -> Stream:
    so_far: dict[Any, str] = {}
    for fragment in fragments(named_again(stream)):
        function = fragment["function"]
        text = so_far.get(fragment.get("index"), "") + (function.get("arguments") or "")
        so_far[fragment.get("index")] = function["arguments"] = text
    return stream


def arguments_again(stream: Stream, *without: str) -> Stream:
    """Once more at the end, each call whole."""
    calls = [
        {**call, "index": index} for index, call in enumerate(whole_message(stream).get("tool_calls", []))
    ]
    indexes = list(dict.fromkeys(fragment.get("index") for fragment in fragments(stream)))
    again = [{**call, "index": index} for call, index in zip(calls, indexes, strict=True)]
    for call in again:
        for name in without:
            (call["function"] if name == "name" else call).pop(name)
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": again}}]} if again else {"choices": []}
    return [*stream, (None, chunk)]


def other_choice(stream: Stream) -> Stream:
    for choice in list(choices(stream)):
        choice["index"] = 1
    return stream


def cumulative_details(stream: Stream) -> Stream:
    so_far: dict[Any, str] = {}
    for choice in choices(stream):
        for detail in (choice.get("delta") or {}).get("reasoning_details") or ():
            if detail.get("type") == "reasoning.text" and isinstance(detail.get("text"), str):
                key = detail.get("index")
                so_far[key] = detail["text"] = so_far.get(key, "") + detail["text"]
    return stream


def fragment_shape(change: Callable[[Document], Any]) -> Reshape:
    def reshape(stream: Stream) -> Stream:
        for fragment in fragments(stream):
            change(fragment)
        return stream

    return reshape


def one_call_without_index(stream: Stream) -> Stream:
    if len({fragment.get("index") for fragment in fragments(stream)}) > 1:
        return stream
    return fragment_shape(without("index"))(stream)


CHAT: dict[str, Reshape] = {
    "indexes of calls shifted": fragment_shape(shifted("index")),
    "no index of the only call": one_call_without_index,
    "every fragment has the call's id and name": named_again,
    "all arguments so far in each fragment": cumulative_arguments,
    "arguments again at the end": arguments_again,
    "all reasoning so far in each detail": cumulative_details,
    "no response id after the first chunk": lambda s: (
        s[:1] + on_each(without("id", "object", "created"))(s[1:])
    ),
    "a whole frame after the end": with_whole_frame(),
    "a whole frame as the end": with_whole_frame(instead=True),
    "a whole frame without the ids of calls": with_whole_frame(lambda calls: [c.pop("id") for c in calls]),
    "a whole frame with other ids of calls": with_whole_frame(
        lambda calls: [c.update(id=f"x_{c['id']}") for c in calls]
    ),
    "a whole frame with the calls in another order": with_whole_frame(list.reverse),
    "a whole frame with the calls in another order without ids": with_whole_frame(
        lambda calls: (calls.reverse(), [c.pop("id") for c in calls])
    ),
    "a whole frame with the calls in another order with other ids": with_whole_frame(
        lambda calls: (calls.reverse(), [c.update(id=f"x_{c['id']}") for c in calls])
    ),
    "the answer in another choice": other_choice,
    "the answer in another choice and a whole frame": lambda s: other_choice(with_whole_frame()(s)),
    "arguments again at the end without ids": lambda s: arguments_again(s, "id"),
    "arguments again at the end without ids and names": lambda s: arguments_again(s, "id", "name"),
    "the counts twice": lambda s: [
        *s,
        *[(None, {"choices": [], "usage": chunk["usage"]}) for _, chunk in s if chunk.get("usage")],
    ],
}

# -- the others --------------------------------------------------------------------------------------------


def start_again(name: str) -> Reshape:
    """The start once more after the first block has begun."""

    def reshape(stream: Stream) -> Stream:
        starts = [each for each in stream if name in (each[0], each[1].get("type"))]
        return [*stream[:2], *starts[:1], *stream[2:]]

    return reshape


def swapped_ends(stream: Stream) -> Stream:
    names = [name for name, _ in stream]
    if names[-2:] == ["messageStop", "metadata"]:
        stream[-2:] = stream[:-3:-1]
    return stream


def pings(stream: Stream) -> Stream:
    return [each for one in stream for each in (one, ("ping", {"type": "ping"}))]


def has_named_call(chunk: Document) -> bool:
    parts = [p for c in chunk.get("candidates") or () for p in (c.get("content") or {}).get("parts") or ()]
    return bool(parts) and all((part.get("functionCall") or {}).get("id") for part in parts)


ANTHROPIC: dict[str, Reshape] = {
    "indexes shifted": on_each(shifted("index")),
    "the start twice": start_again("message_start"),
    "the counts twice": twice("message_delta"),
    "no block ends": never("content_block_stop"),
    "heartbeats": pings,
    "types in the event's name alone": lambda s: (
        on_each(without("type"))(s) if all(name for name, _ in s) else s
    ),
}
BEDROCK: dict[str, Reshape] = {
    "indexes shifted": on_each(shifted("contentBlockIndex")),
    "the start twice": start_again("messageStart"),
    "the counts before the end": swapped_ends,
    "unknown events": pings,
}
GEMINI: dict[str, Reshape] = {
    "no index of the candidate": on_each(lambda d: [c.pop("index", None) for c in d.get("candidates", [])]),
    "no names after the first chunk": lambda s: s[:1] + on_each(without("responseId", "modelVersion"))(s[1:]),
    "an empty chunk after each": lambda s: [
        each for one in s for each in (one, (None, {"candidates": [{"content": {"parts": []}, "index": 0}]}))
    ],
    "calls that have an id twice": lambda s: [
        each for one in s for each in ([one, copy.deepcopy(one)] if has_named_call(one[1]) else [one])
    ],
    "the counts again alone": lambda s: [
        *s,
        (
            None,
            {
                "usageMetadata": next(
                    (d["usageMetadata"] for _, d in reversed(s) if d.get("usageMetadata")), {}
                )
            },
        ),
    ],
}


def whole_steps(stream: Stream) -> list[Document]:
    """What the deltas of an interaction add up to, in the form of a whole body."""
    steps: dict[Any, Document] = {}
    for _, event in stream:
        if event.get("event_type") == "step.start":
            steps[event["index"]] = copy.deepcopy(event["step"])
        elif event.get("event_type") == "step.delta":
            step, delta = steps[event["index"]], event["delta"]
            match delta["type"]:
                case "text":
                    texts = step.setdefault("content", [{"type": "text", "text": ""}])
                    texts[0]["text"] += delta["text"]
                case "thought_summary":
                    texts = step.setdefault("summary", [{"type": "text", "text": ""}])
                    texts[0]["text"] += delta["content"]["text"]
                case "thought_signature":
                    step["signature"] = delta["signature"]
                case "arguments_delta":
                    step["arguments"] = (step.get("arguments") or "") + delta["arguments"]
                case kind if kind == step["type"]:
                    step.update({name: value for name, value in delta.items() if name != "type"})
    for step in steps.values():
        if isinstance(step.get("arguments"), str):
            step["arguments"] = msgspec.json.decode(step["arguments"])
    return list(steps.values())


def with_steps(change: Callable[[list[Document]], Any] = lambda steps: None) -> Reshape:
    """The end lists the steps, changed."""

    def reshape(stream: Stream) -> Stream:
        steps = whole_steps(stream)
        change(steps)
        for _, event in stream:
            if event.get("event_type") == "interaction.completed":
                event["interaction"]["steps"] = steps
        return stream

    return reshape


def asked(steps: list[Document]) -> None:
    steps.insert(0, {"type": "user_input", "content": [{"type": "text", "text": "Hi"}]})


def without_ids(steps: list[Document]) -> None:
    for step in steps:
        step.pop("id", None)
        step.pop("signature", None)


def renamed_steps(steps: list[Document]) -> None:
    for step in steps:
        if "id" in step:
            step["id"] = f"x_{step['id']}"


def shortened(stream: Stream) -> Stream:
    """The last text of the last step comes with the end alone."""
    stream = with_steps()(stream)
    last = max(i for i, (_, event) in enumerate(stream) if event.get("event_type") == "step.delta")
    return stream[:last] + stream[last + 1 :] if stream[last][1]["delta"]["type"] == "text" else stream


INTERACTIONS: dict[str, Reshape] = {
    "indexes shifted": on_each(shifted("index")),
    "no steps end": lambda s: [each for each in s if each[1].get("event_type") != "step.stop"],
    "the end lists the steps": with_steps(),
    "the end lists what was asked before the steps": with_steps(asked),
    "the end lists the steps in another order": with_steps(list.reverse),
    "the end lists the steps without ids": with_steps(without_ids),
    "the end lists the steps in another order without ids": with_steps(
        lambda steps: (steps.reverse(), without_ids(steps))
    ),
    "the end lists the steps under other ids": with_steps(renamed_steps),
    "the end has the last text": shortened,
    "unknown events": pings,
}
SHAPES = {
    "openai_chat": CHAT,
    "anthropic_messages": ANTHROPIC,
    "bedrock_converse": BEDROCK,
    "gemini": GEMINI,
    "google_interactions": INTERACTIONS,
}
COUNTS = {
    "openai_chat": 50,
    "anthropic_messages": 35,
    "bedrock_converse": 11,
    "gemini": 25,
    "google_interactions": 7,
}


@pytest.mark.parametrize(
    ("protocol", "shape"), [(p, shape) for p, shapes in SHAPES.items() for shape in shapes]
)
def test_a_reshaped_stream_gives_the_same(protocol: str, shape: str) -> None:
    streams = recorded(protocol)
    assert len(streams) >= COUNTS[protocol]
    wrong = [
        record.id
        for record, stream, expected in streams
        if result(decoded(record, SHAPES[protocol][shape](pickle.loads(pickle.dumps(stream))))) != expected
    ]
    assert wrong == []
