"""Junk in a stream is ignored, and an error in any form is an error, in every protocol that sends events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider.errors import APIError, OverloadedError, RateLimitError
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.sse import SSEFraming
from brainwires_provider.protocols.base.bodies import feed_rest
from brainwires_provider.protocols.base.protocol import Decoder
from brainwires_provider.protocols.llamacpp.response import CompletionDecoder
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.types import Origin, Response
from colours import operate

STREAMS: dict[str, tuple[str, list[tuple[str | None, Any]]]] = {
    "anthropic_messages": (
        "anthropic",
        [
            ("message_start", {"type": "message_start", "message": {"id": "m", "model": "m"}}),
            ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}),
            ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}),
            ("message_stop", {"type": "message_stop"}),
        ],
    ),
    "gemini": (
        "google",
        [
            (None, {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}),
            (None, {"candidates": [{"finishReason": "STOP"}]}),
        ],
    ),
    "google_interactions": (
        "google-interactions",
        [
            (
                None,
                {"event_type": "interaction.created", "interaction": {"id": "i", "status": "in_progress"}},
            ),
            (None, {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Hi"}}),
            (None, {"event_type": "interaction.completed", "interaction": {"status": "completed"}}),
        ],
    ),
    "openai_chat": (
        "openai-chat",
        [
            (None, {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}),
            (None, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ],
    ),
    "openai_responses": (
        "openai-responses",
        [
            (None, {"type": "response.created", "response": {"id": "r"}}),
            (None, {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}),
            (None, {"type": "response.completed", "response": {"id": "r", "status": "completed"}}),
        ],
    ),
    "relay": ("brainwires", [("delta", {"delta": "Hi"}), ("complete", {"usage": {}})]),
    "llamacpp": ("local", [(None, {"content": "Hi"}), (None, {"content": "", "stop": True})]),
}
"""By protocol: a provider, and the events of an answer."""


def decoder_of(name: str) -> Decoder:
    row = STREAMS[name][0]
    origin = Origin(name, row, "m")
    return CompletionDecoder(origin) if name == "llamacpp" else PROVIDERS[row].protocol().decoder(origin)


def lines(name: str | None, data: bytes) -> bytes:
    return (b"" if name is None else b"event: %b\n" % name.encode()) + b"data: %b\n\n" % data


def wire(name: str, between: bytes = b"", after: bytes = b"") -> bytes:
    events = [lines(kind, json.dumps(value).encode()) for kind, value in STREAMS[name][1]]
    return events[0] + b"".join(between + event for event in events[1:]) + after


def read(name: str, body: bytes) -> Response:
    decoder, framing = decoder_of(name), SSEFraming()
    events: list[Event] = []
    for message in framing.feed(body):
        if not decoder.ended:
            events += decoder.feed(message)
    feed_rest(decoder, *framing.finish(), events)
    return collect(events)


JUNK = [
    b"null",
    b": keepalive",
    b"keepalive",
    b'"ping"',
    b"5",
    b"true",
    b"",
    b"  ",
    b"[]",
    b"OK {",
]


@pytest.mark.parametrize("event", [None, "ping", "message", "keepalive"])
@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("name", STREAMS)
def test_junk_is_ignored(name: str, junk: bytes, event: str | None) -> None:
    assert read(name, wire(name, lines(event, junk))) == read(name, wire(name))


BUSY = {"message": "busy", "type": "overloaded_error", "code": "server_is_overloaded"}
ERRORS: dict[str, bytes] = {
    "as data": lines(None, json.dumps({"error": BUSY}).encode()),
    "in a list": lines(None, json.dumps([{"error": BUSY}]).encode()),
    "as an event": lines("error", json.dumps({"error": BUSY}).encode()),
    "as an event, with its type": lines("error", json.dumps({"type": "error", "error": BUSY}).encode()),
    "flat, as an event": lines("error", json.dumps(BUSY).encode()),
    "without data:": json.dumps({"error": BUSY}).encode() + b"\n\n",
    "without data:, over lines": json.dumps({"error": BUSY}, indent=2).encode() + b"\n\n",
    "without data:, in a list": json.dumps([{"error": BUSY}]).encode() + b"\n\n",
}


@pytest.mark.parametrize("form", ERRORS)
@pytest.mark.parametrize("name", STREAMS)
def test_an_error_in_any_form_is_that_error(name: str, form: str) -> None:
    with pytest.raises(OverloadedError, match="busy") as caught:
        read(name, wire(name, b"", b"")[: -len(_last(name))] + ERRORS[form])
    assert caught.value.retryable
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hi"


@pytest.mark.parametrize(
    "data", [b"no capacity", b'"no capacity"', b'{"error": "no capacity"}', b'{"error": no capacity']
)
@pytest.mark.parametrize("name", [name for name in STREAMS if name != "relay"])  # which may cut its errors
def test_an_event_named_error_is_an_error_whatever_it_holds(name: str, data: bytes) -> None:
    with pytest.raises(APIError, match="no capacity"):
        read(name, wire(name)[: -len(_last(name))] + lines("error", data))


def _last(name: str) -> bytes:
    kind, value = STREAMS[name][1][-1]
    return lines(kind, json.dumps(value).encode())


# -- other operations ----------------------------------------------------------------------------------------

REFUSALS = [
    json.dumps({"error": BUSY}).encode(),
    json.dumps([{"error": BUSY}]).encode(),
    json.dumps({**BUSY, "object": "error"}).encode(),
]
"""Under status 200."""


@pytest.mark.parametrize("row", [name for name, row in PROVIDERS.items() if row.embeddings is not None])
@pytest.mark.parametrize("body", REFUSALS)
def test_an_error_in_place_of_embeddings_is_that_error(body: bytes, row: str) -> None:
    embeddings = PROVIDERS[row].embeddings
    assert embeddings is not None
    with pytest.raises(OverloadedError, match="busy") as caught:
        embeddings().decode(body, 1)
    assert caught.value.code == "server_is_overloaded"


COUNTING = ("anthropic", "bedrock", "google", "openai-responses")


@pytest.mark.parametrize("row", COUNTING)
@pytest.mark.parametrize("body", REFUSALS)
def test_an_error_in_place_of_a_count_is_that_error(body: bytes, row: str) -> None:
    with pytest.raises(OverloadedError, match="busy") as caught:
        PROVIDERS[row].protocol().decode_count(body)
    assert caught.value.code == "server_is_overloaded"


def test_bedrocks_error_in_place_of_a_count_has_its_name() -> None:
    with pytest.raises(RateLimitError, match="slow down"):
        PROVIDERS["bedrock"].protocol().decode_count(
            b'{"__type":"a#ThrottlingException","message":"slow down"}'
        )


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_error_under_200_names_the_provider(colour: str) -> None:
    with ScriptedServer([Answer(body=REFUSALS[0])] * 2) as server:
        for act in (lambda c: c.embed(["a"]), lambda c: c.count_tokens("Hi")):
            with pytest.raises(OverloadedError, match="openai-responses: busy") as caught:
                operate(colour, act, "openai-responses:m", base_url=f"{server.url}/v1", api_key="k")
            assert (caught.value.status, caught.value.retryable) == (200, True)
