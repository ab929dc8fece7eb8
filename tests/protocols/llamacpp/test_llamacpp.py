"""The native protocol of llama.cpp's server: what goes out, and what comes back, in bytes that are written down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from brainwires_provider import (
    APIError,
    CacheStrategy,
    ContextLengthError,
    ImagePart,
    JSONSchema,
    Message,
    OpaqueDelta,
    Options,
    ProtocolError,
    ProviderError,
    ResponseStart,
    ServerError,
    StreamInterrupted,
    TextDelta,
    Tool,
    UnsupportedError,
    dump_messages,
)
from brainwires_provider.events import collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.ollama import OllamaOptions
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp import LlamaCpp, LlamaCppOptions, operations
from brainwires_provider.types import Origin, Request, TextPart
from llamacpp_answers import CHUNKS, ORIGIN, PLACES, TIMINGS, last, piece, read

# -- what goes out ---------------------------------------------------------------------------------------------------


def encoded(prompt: Any = "Hi", **fields: Any) -> Call:
    messages = (Message.user(prompt),) if isinstance(prompt, (str, ImagePart)) else prompt
    own = {name: fields.pop(name) for name in ("system", "tools", "output", "model") if name in fields}
    return LlamaCpp().encode(Request(messages, options=Options(**fields), **own), ORIGIN, stream=False)


def test_one_of_some_texts_is_asked_for_by_a_grammar() -> None:
    call = operations.constrained_call([1, 2], ["yes", "no"], "m")
    assert (call.path, call.body) == (
        "/completion",
        {
            "prompt": [1, 2],
            "n_predict": 4,
            "temperature": 0.0,
            "grammar": 'root ::= "yes" | "no"',
            "cache_prompt": True,
            "stream": False,
            "model": "m",
        },
    )


@pytest.mark.parametrize(
    ("tokens", "shared", "ways"),
    [
        ({"a": (1, 3), "b": (2, 3)}, (), {1: ["a"], 2: ["b"]}),
        ({"a": (1, 3), "b": (1, 4), "c": (1, 3)}, (1,), {3: ["a", "c"], 4: ["b"]}),
    ],
)
def test_where_labels_part(tokens: Any, shared: tuple[int, ...], ways: dict[int, list[str]]) -> None:
    assert operations._parting(tuple(tokens), tokens) == (shared, ways)


@pytest.mark.parametrize("far", [0.0, -1e4, 1e4])
def test_shares_sum_to_one_however_unlikely_all_are(far: float) -> None:
    logs = {"a": far + math.log(3), "b": far}

    assert operations._shares(logs) == pytest.approx({"a": 0.75, "b": 0.25})


BODIES: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = {
    "nothing": ({}, {}, []),
    "a model": ({"model": "m"}, {"model": "m"}, []),
    "every knob": (
        {
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "seed": 7,
            "stop": ("a", "b"),
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
        },
        {
            "n_predict": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "seed": 7,
            "stop": ["a", "b"],
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
        },
        [],
    ),
    "one stop": ({"stop": "ab"}, {"stop": ["ab"]}, []),
    "its own options": (
        {"top_k": 1, "provider_options": LlamaCppOptions(min_p=0.1, n_probs=2)},
        {"top_k": 1, "min_p": 0.1, "n_probs": 2},
        [],
    ),
    "its own options win": (
        {"output": "json", "provider_options": LlamaCppOptions(json_schema={})},
        {"json_schema": {}},
        [],
    ),
    "another's options": (
        {"provider_options": OllamaOptions(raw=True)},
        {},
        [("provider_options", "dropped")],
    ),
    "any object": ({"output": "json"}, {"json_schema": {"type": "object"}}, []),
    "a schema": ({"output": JSONSchema("n", {"type": "array"})}, {"json_schema": {"type": "array"}}, []),
    "a strict schema": (
        {"output": JSONSchema("n", {"type": "array"}, strict=True)},
        {"json_schema": {"type": "array"}},
        [("output", "adapted")],
    ),
    "a schema with a description": (
        {"output": JSONSchema("n", {"type": "array"}, description="Numbers.")},
        {"json_schema": {"type": "array"}},
        [("output", "adapted")],
    ),
    "no cache": ({"cache": CacheStrategy.off()}, {"cache_prompt": False}, []),
    "what it cannot say": (
        {"cache": CacheStrategy.system_only(), "reasoning": "high", "parallel_tool_calls": True},
        {},
        [("cache", "dropped"), ("reasoning", "dropped"), ("parallel_tool_calls", "dropped")],
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_completion_says(name: str) -> None:
    fields, body, deviations = BODIES[name]
    call = encoded(**fields)
    assert (call.path, call.method) == ("/completion", "POST")
    assert call.body == {"prompt": "Hi", "stream": False, **body}
    assert [(d.field, d.outcome) for d in call.deviations] == deviations


REASONS: list[tuple[dict[str, Any], list[tuple[str, str]], tuple[str, ...]]] = [
    (
        {"cache": CacheStrategy.system_only(), "reasoning": "high", "parallel_tool_calls": True},
        [
            ("cache", "llama.cpp caches by itself"),
            ("reasoning", "a plain completion has no reasoning apart from its text"),
            ("parallel_tool_calls", "a plain completion has no tools"),
        ],
        (),
    ),
    (
        {"output": JSONSchema("n", {}, strict=False)},
        [("output", "llama.cpp takes the schema alone, and always holds the model to it")],
        (),
    ),
    (
        {"output": JSONSchema("n", {}, description="Numbers.", strict=True)},
        [("output", "the schema is sent alone, without its description")],
        ("output",),
    ),
]


@pytest.mark.parametrize(("fields", "reported", "weakened"), REASONS)
def test_why_a_completion_does_not_say_it(
    fields: dict[str, Any], reported: list[tuple[str, str]], weakened: tuple[str, ...]
) -> None:
    call = encoded(**fields)
    assert [(d.field, d.reason) for d in call.deviations] == reported
    assert call.weakened == weakened


def test_what_was_sent_as_it_was_given_is_named() -> None:
    assert set(encoded(max_tokens=5, stop="ab", top_k=3).sent) == {"max_tokens", "stop", "top_k"}


TOO_MUCH: dict[str, dict[str, Any]] = {
    "a system message": {"system": "Be"},
    "tools": {"tools": (Tool("f", "", {}),)},
    "two turns": {"prompt": (Message.user("a"), Message.assistant("b"))},
    "no turn": {"prompt": ()},
    "another's turn": {"prompt": (Message.assistant("b"),)},
    "a picture": {"prompt": ImagePart(data=b"GIF8")},
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_completion_cannot_say(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        encoded(**TOO_MUCH[name])
    takes = (
        "a prompt of text alone"
        if name == "a picture"
        else "one prompt, without a system message, turns or tools"
    )
    assert caught.value.message == (f"/completion takes {takes}; use client.chat or client.stream for more")
    assert (caught.value.provider, caught.value.model) == (ORIGIN.provider, ORIGIN.model)


def test_the_rest_of_the_protocol() -> None:
    protocol = LlamaCpp()
    request = Request((Message.user("a", "b"),), "m")
    count = protocol.count_call(request, ORIGIN)
    assert count.body == {"content": "ab", "add_special": True, "parse_special": True, "model": "m"}
    unnamed = protocol.count_call(Request((Message.user("a"),)), ORIGIN)
    assert unnamed.body == {"content": "a", "add_special": True, "parse_special": True}
    assert (count.path, count.method) == ("/tokenize", "POST")
    assert protocol.decode_count(b'{"tokens": [1, 2, 3]}').input_tokens == 3
    assert (protocol.models_call(None).path, protocol.models_call(None).method) == ("/v1/models", "GET")
    models, after = protocol.decode_models(b'{"data": [{"id": "smollm2"}]}', "local")
    assert ([model.id for model in models], after) == (["smollm2"], None)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a b", '"a b"'), ('a"\\', '"a\\"\\\\"'), ("a\nb\x7f", '"a\\x0Ab\\x7F"'), ("é☃", '"é☃"')],
)
def test_a_text_in_a_grammar(text: str, told: str) -> None:
    assert operations.literal(text) == told


# -- what comes back -------------------------------------------------------------------------------------------------


def test_a_streamed_completion() -> None:
    events = read([*CHUNKS, b"[DONE]", piece("late")])
    response = collect(events)
    assert events[0] == ResponseStart(None, None)
    assert [e.text for e in events if isinstance(e, TextDelta)] == [" Par", "is", " ☃"]
    assert [e.data for e in events if isinstance(e, OpaqueDelta)] == [{"total": 5, "processed": 5}]
    assert (response.text, response.model, response.finish_reason) == (" Paris ☃", "smollm2", "stop")
    assert response.extra["completion_probabilities"] == PLACES
    assert (response.extra["tokens"], response.extra["timings"]) == ([1, 1, 1], TIMINGS)
    usage = response.usage
    assert (usage.uncached_input, usage.cache_read, usage.output_text, usage.complete) == (1, 4, 3, True)
    part = response.message.content[0]
    assert isinstance(part, TextPart) and part.origin == ORIGIN


def test_what_an_answer_is_made_of_is_not_kept_beside_it() -> None:
    made = {
        "content": "a",
        "model": "m",
        "tokens": [1],
        "completion_probabilities": [{"id": 1}],
        "prompt_progress": {"total": 1},
        "none": None,
    }
    end = {"content": "", "stop": True, "stop_type": "limit", "truncated": False, "timings": None}
    response = collect(read([made, {"prompt_progress": {"total": 2}}, {"content": None, "stop": False}, end]))
    assert (response.text, response.raw_finish_reason) == ("a", "limit")
    assert response.extra == {
        "tokens": [1],
        "completion_probabilities": [{"id": 1}],
        "truncated": False,
    }


def test_the_counts_are_kept_as_they_came() -> None:
    told = {"tokens_predicted": 3, "tokens_evaluated": 5, "tokens_cached": 7, "timings": TIMINGS}
    assert collect(read([last("a")], whole=True)).usage.raw == told
    without = {
        name: value for name, value in told.items() if name.startswith("tokens_") and "cached" not in name
    }
    assert collect(read([{"content": "a", "stop": True, **without}], whole=True)).usage.raw == without


@pytest.mark.parametrize("field", ["content", "stop", "prompt_progress"])
def test_each_of_these_fields_alone_makes_a_chunk_one_of_an_answer(field: str) -> None:
    decoder = LlamaCpp().decoder(ORIGIN)
    decoder.feed(WireMessage(msgspec.json.encode({field: None})))
    assert decoder.started
    assert decoder.feed(WireMessage(b'{"choices": []}')) == []


def test_an_error_is_the_end() -> None:
    decoder = LlamaCpp().decoder(ORIGIN)
    with pytest.raises(ServerError):
        decoder.feed(WireMessage(b'{"error": {"code": 500, "message": "oh", "type": "server_error"}}'))
    assert decoder.ended
    assert (decoder.feed(WireMessage(msgspec.json.encode(piece("a")))), decoder.finish()) == ([], [])


def test_both_forms_say_the_same() -> None:
    whole = collect(read([last(" Paris ☃", tokens=[1, 1, 1], completion_probabilities=PLACES)], whole=True))
    streamed = collect(read(CHUNKS))
    assert (whole.text, whole.usage, whole.model) == (streamed.text, streamed.usage, streamed.model)
    assert whole.extra == streamed.extra


ENDS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "the end": ({}, "stop", "eos"),
    "a stop word": ({"stop_type": "word", "stopping_word": "."}, "stop", "word"),
    "the limit": ({"stop_type": "limit"}, "length", "limit"),
    "none": ({"stop_type": "none"}, "other", "none"),
    "unsaid": ({"stop_type": None}, "stop", None),
}


@pytest.mark.parametrize("name", ENDS)
def test_why_it_ended(name: str) -> None:
    more, reason, raw = ENDS[name]
    response = collect(read([last("a", **more)], whole=True))
    assert (response.finish_reason, response.raw_finish_reason) == (reason, raw)
    assert response.extra["stopping_word"] == more.get("stopping_word", "")


@pytest.mark.parametrize(
    ("chunks", "tokens", "complete"),
    [
        ([last("a", timings=None)], (5, 0, 3), True),
        ([last("a", timings={"cache_n": "x"})], (5, 0, 3), True),
        ([last("a", tokens_predicted=None)], (0, 0, 0), False),
        ([{"content": "a"}], (0, 0, 0), False),
    ],
)
def test_counts(chunks: list[Any], tokens: tuple[int, ...], complete: bool) -> None:
    usage = collect(read(chunks, whole=True)).usage
    assert (usage.uncached_input, usage.cache_read, usage.output_text) == tokens
    assert usage.complete is complete


def test_a_model_is_told_anew_and_unknown_objects_are_passed_over() -> None:
    response = collect(read([piece("a", model="x"), {"ping": 1}, piece("b", model="x"), last("c")]))
    assert (response.text, response.model) == ("abc", "smollm2")
    with pytest.raises(StreamInterrupted, match="no chunk said stop"):
        read([{"choices": [], "content": "x"}])


BROKEN: dict[str, tuple[list[Any], bool, type[Exception], str]] = {
    "not JSON": ([b"oops"], False, StreamInterrupted, "no chunk said stop"),  # ignored, as a keepalive is
    "broken JSON": ([b'{"oops'], False, ProtocolError, "not JSON"),
    "a list": ([b"[1]"], False, StreamInterrupted, "no chunk said stop"),
    "no content": ([{"a": 1}], True, ProtocolError, "no content"),
    "another protocol": ([{"choices": []}], True, ProtocolError, "an answer of Completions"),
    "a content that is none": ([piece("a"), piece(3)], False, ProtocolError, "the content is int"),  # type: ignore[arg-type]
    "tokens that are none": ([piece("a", tokens=3)], False, ProtocolError, "not the shape"),
    "an error": (
        [{"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}}],
        True,
        ContextLengthError,
        "too long",
    ),
    "an error in a stream": (
        [piece("a"), {"error": {"code": 500, "message": "oh", "type": "server_error"}}],
        False,
        ServerError,
        "oh",
    ),
    "a cut": (CHUNKS[:2], False, StreamInterrupted, "the stream ended before the answer did"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer(name: str) -> None:
    chunks, whole, kind, says = BROKEN[name]
    with pytest.raises(kind, match=says) as caught:
        read(chunks, whole=whole)
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert partial.text == "".join(c["content"] for c in chunks[:2] if type(c) is dict and _is_text(c))
    assert (caught.value.provider, caught.value.model) == ("local", "m")  # type: ignore[attr-defined]


def _is_text(chunk: dict[str, Any]) -> bool:
    return isinstance(chunk.get("content"), str) and isinstance(chunk.get("tokens"), list)


NO_ANSWERS: dict[str, tuple[Callable[[bytes], Any], bytes, type[Exception], str]] = {
    "not JSON": (operations.decode_tokens, b"oops", ProtocolError, "not JSON"),
    "no object": (operations.decode_tokens, b"[]", ProtocolError, "not an object"),
    "an error": (operations.decode_tokens, b'{"error": {"message": "no"}}', APIError, "no"),
    "no tokens": (operations.decode_tokens, b'{"tokens": 3}', ProtocolError, "no list of tokens"),
    "pieces": (operations.decode_tokens, b'{"tokens": [{"id": 1}]}', ProtocolError, "no list of tokens"),
    "another text": (
        lambda body: operations.decode_constrained(body, ["a"]),
        b'{"content": "b"}',
        ProtocolError,
        "did not keep to the grammar",
    ),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_of_an_operation(name: str) -> None:
    decode, body, kind, says = NO_ANSWERS[name]
    with pytest.raises(kind, match=says):
        decode(body)


@pytest.mark.parametrize(
    ("told", "weights"),
    [
        ([{"id": 1, "prob": 0.5}, {"id": 2, "prob": 0.25}, {"id": 9, "prob": 0.25}], {1: 2 / 3, 2: 1 / 3}),
        ([{"id": 1, "prob": 1.0}], {1: 1.0, 2: 1e-30}),
        ([{"id": 1, "prob": 0.0}, {"id": 2, "prob": 0.0}], None),
        ([{"id": 9, "prob": 1.0}], None),
        ([{"tok_str": "a", "prob": 1.0}], None),
        (None, None),
    ],
)
def test_a_choice(told: Any, weights: Any) -> None:
    places = [] if told is None else [{"id": 1, "top_probs": told}]
    choice = operations.decode_choice(msgspec.json.encode(last(completion_probabilities=places)), [1, 2])
    assert choice.weights == (None if weights is None else pytest.approx(weights))
    assert choice.usage.cache_read == 4


def test_a_choice_that_was_pushed() -> None:
    """The probabilities are those without the push."""
    lifted = {1: 1.0, 2: 3.0, 10: 5.0 * math.exp(20)}
    total = sum(lifted.values())
    places = [{"top_probs": [{"id": token, "prob": weight / total} for token, weight in lifted.items()]}]
    body = msgspec.json.encode(last(completion_probabilities=places))
    assert operations.decode_choice(body, [1, 2], (10, 20.0)).weights == pytest.approx({1: 0.25, 2: 0.75})
    assert operations.decode_choice(body, [2, 10], (10, 20.0)).weights == pytest.approx({2: 0.375, 10: 0.625})
    call = operations.choice_call([5], [1, 10], pushed=(10, 20.0))
    assert call.body["logit_bias"] == [[1, 100.0], [10, 120.0]]
    assert call.body["post_sampling_probs"] is True  # else they are logarithms of what it would have drawn
    assert operations.choice_call([5], [1, 2], pushed=(10, 20.0)).body["n_probs"] == 3


def test_many_probabilities_cost_in_proportion() -> None:
    def seconds(count: int) -> float:
        decoder = LlamaCpp().decoder(Origin("llamacpp", "p", "m"))
        message = WireMessage(b'{"content":"a","tokens":[1],"completion_probabilities":[{"id":1}]}')
        begin = time.process_time()
        for _ in range(count):
            decoder.feed(message)
        return time.process_time() - begin

    small, large = seconds(2_000), seconds(16_000)
    assert large < max(24 * small, 0.2), (small, large)


@pytest.mark.parametrize(
    "body",
    [
        b'{"content":"\xff","stop":true}',
        b'{"content":' + b"[" * 900,
        b'{"error":' + b"[" * 900,
        b"[1]",
        b"null",
    ],
)
def test_any_bytes_are_a_response_or_a_provider_error(body: bytes) -> None:
    decoder = LlamaCpp().decoder(Origin("llamacpp", "p", "m"))
    try:
        dump_messages([collect(decoder.feed_whole(body)).message])
    except ProviderError as error:
        assert dump_messages([decoder.partial().message]), error
