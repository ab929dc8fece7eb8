"""Bodies that are already there are read by the rules of a live answer."""

from __future__ import annotations

from zlib import crc32

import msgspec
import pytest

from brainwires_provider.errors import APIError, FramingError, ProtocolError, ProviderError, StreamInterrupted
from brainwires_provider.events import Event, ResponseEnd, ResponseStart, TextDelta
from brainwires_provider.framing.base import Framing, WireMessage
from brainwires_provider.protocols.base.bodies import (
    FRAMINGS,
    feed_rest,
    framing_named,
    read_body,
    request_id,
    tell_framing,
)
from brainwires_provider.protocols.openai_chat import OpenAIChat
from brainwires_provider.types import Origin

CHAT = OpenAIChat()
ORIGIN = Origin("openai_chat", "row", "m")


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    delta = {} if text is None else {"content": text}
    return msgspec.json.encode(
        {"id": "i", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    )


def sse(*data: bytes, end: bytes = b"\n\n") -> bytes:
    return b"\n\n".join(b"data: " + each for each in data) + end


def eventstream(*payloads: bytes) -> bytes:
    body = b""
    for payload in payloads:
        head = (16 + len(payload)).to_bytes(4) + (0).to_bytes(4)
        head += crc32(head).to_bytes(4)
        body += head + payload + crc32(head + payload).to_bytes(4)
    return body


ANSWER = (chunk("Hi"), chunk(" there", "stop"), b"[DONE]")
WHOLE = msgspec.json.encode(
    {"choices": [{"index": 0, "message": {"content": "Hi there"}, "finish_reason": "stop"}]}
)


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (sse(*ANSWER), "sse"),
        (b"event: x\ndata: 1\n\n", "sse"),
        (b"id: 7\n", "sse"),
        (b"retry:3\n", "sse"),
        (b": hello\n\n", "sse"),
        (b"\xef\xbb\xbf\r\n data: 1\n\n", "sse"),
        (b"dat", "sse"),
        (b"data", "sse"),
        (b'{"a":1}\n{"b":2}\n', "ndjson"),
        (b'{"a":1}\r\n{"b":', "ndjson"),
        (b'{"a":1}\n', "whole"),
        (b'{\n "a": 1\n}\n', "whole"),
        (b"[1]\n[2]\n", "whole"),
        (b"<html>\n<p>", "whole"),
        (b"", "whole"),
        (eventstream(b"{}"), "eventstream"),
        (eventstream(b"{}")[:14], "eventstream"),
        (b"\x00\x00\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00", "whole"),
    ],
)
def test_the_framing_is_told_from_the_bytes(body: bytes, framing: str) -> None:
    assert tell_framing(body) == framing
    assert framing in FRAMINGS


def test_an_unknown_framing_is_refused() -> None:
    with pytest.raises(ValueError, match="there are: sse, ndjson, eventstream, whole"):
        framing_named("xml")


def test_the_request_id_has_many_names() -> None:
    assert request_id({"date": "x", "x-amzn-requestid": "r"}) == "r"
    assert request_id({}) is None
    names = ("x-request-id", "request-id", "x-amzn-requestid", "x-amz-request-id", "x-goog-request-id")
    for at in range(len(names)):
        assert request_id({name: name for name in reversed(names[at:])}) == names[at]


def read(body: bytes, framing: Framing | None) -> tuple[list[Event], ProviderError | None]:
    events: list[Event] = []
    try:
        for event in read_body(CHAT, ORIGIN, body, framing):
            events.append(event)
    except ProviderError as error:
        return events, error
    return events, None


def told(events: list[Event]) -> list[str]:
    """Each answer's text; a "…" after one that did not end."""
    answers: list[str] = []
    for event in events:
        if isinstance(event, ResponseStart):
            answers.append("…")
        elif isinstance(event, TextDelta):
            answers[-1] = answers[-1][:-1] + event.text + "…"
        elif isinstance(event, ResponseEnd):
            answers[-1] = answers[-1][:-1]
    return answers


@pytest.mark.parametrize(
    ("body", "framing"),
    [
        (sse(*ANSWER), "sse"),
        (b"\n".join(ANSWER[:2]), "ndjson"),
        (eventstream(*ANSWER), "eventstream"),
        (WHOLE, "whole"),
        (b"\xef\xbb\xbf" + WHOLE, "whole"),
    ],
)
def test_each_framing_gives_the_answer(body: bytes, framing: str) -> None:
    events, error = read(body, framing_named(framing))
    assert error is None
    assert told(events) == ["Hi there"]


ERROR = b'{"error":{"message":"too busy","code":"overloaded_error"}}'
START = b'{"id":"second"}'


@pytest.mark.parametrize(
    ("body", "answers", "failure"),
    [
        # one answer, and how its end may look
        (sse(*ANSWER, end=b""), ["Hi there"], None),
        (sse(*ANSWER[:2]), ["Hi there"], None),
        (sse(*ANSWER[:2], end=b""), ["Hi there"], None),
        (sse(*ANSWER)[:-14], ["Hi there"], None),
        (sse(*ANSWER[:2])[:-5], ["Hi…"], StreamInterrupted),
        (sse(*ANSWER[:1]), ["Hi…"], StreamInterrupted),
        (b"", [], StreamInterrupted),
        (sse(b"nope"), [], StreamInterrupted),  # no JSON at all is ignored, as a keepalive is
        (sse(ANSWER[0], b"nope", *ANSWER[1:]), ["Hi there"], None),
        (sse(b'{"no'), [], ProtocolError),  # an object that is broken is not
        (sse(ANSWER[0], b'{"no', *ANSWER[1:]), ["Hi…"], ProtocolError),
        (sse(ANSWER[0], ERROR), ["Hi…"], APIError),
        (sse(ANSWER[0], ERROR, end=b""), ["Hi…"], APIError),
        # what follows an answer
        (sse(*ANSWER, *ANSWER), ["Hi there", "Hi there"], None),
        (sse(*ANSWER, *ANSWER[:2], end=b""), ["Hi there", "Hi there"], None),
        (sse(*ANSWER, b"[DONE]"), ["Hi there"], None),
        (sse(*ANSWER, b"[DONE]", *ANSWER), ["Hi there", "Hi there"], None),
        (sse(*ANSWER, b"[DONE]", end=b""), ["Hi there"], None),
        (sse(*ANSWER, START), ["Hi there"], None),
        (sse(*ANSWER, START, *ANSWER), ["Hi there", "Hi there"], None),
        (sse(*ANSWER, START, b'{"no', *ANSWER), ["Hi there", "Hi there"], None),
        (sse(*ANSWER, START) + b'data: {"cho', ["Hi there"], StreamInterrupted),
        (sse(*ANSWER) + b'data: {"cho', ["Hi there"], None),
        (sse(*ANSWER, ANSWER[0]), ["Hi there", "Hi…"], StreamInterrupted),
        (sse(*ANSWER, ERROR), ["Hi there"], APIError),
        (sse(*ANSWER, ERROR, end=b""), ["Hi there"], APIError),
    ],
)
def test_streams(body: bytes, answers: list[str], failure: type[ProviderError] | None) -> None:
    events, error = read(body, framing_named("sse"))
    assert told(events) == answers
    if failure is None:
        assert error is None
        return
    assert isinstance(error, failure)
    partial = getattr(error, "partial", None)
    assert partial is not None
    if answers and answers[-1].endswith("…"):
        assert partial.message.text == answers[-1][:-1]


def test_an_answer_has_no_id_of_one_that_broke_before_it() -> None:
    events, _ = read(sse(*ANSWER, START, b'{"no', *ANSWER), framing_named("sse"))
    assert [event.id for event in events if isinstance(event, ResponseStart)] == ["i", "i"]


@pytest.mark.parametrize(
    ("body", "answers", "partial"),
    [
        (sse(b"x" * 900), [], None),
        (sse(ANSWER[0], b"x" * 900), ["Hi…"], "Hi"),
        (sse(ANSWER[0]) + b"data: " + b"x" * 900, ["Hi…"], "Hi"),
    ],
)
def test_a_message_over_the_limit_keeps_what_came_before(
    body: bytes, answers: list[str], partial: str | None
) -> None:
    events, error = read(body, framing_named("sse", 200))
    assert told(events) == answers
    assert isinstance(error, FramingError)
    assert (error.partial and error.partial.message.text) == partial


def test_what_cannot_be_cut_into_messages_after_the_answer_does_not_spoil_it() -> None:
    events, error = read(sse(*ANSWER) + b"data: " + b"x" * 900, framing_named("sse", 200))
    assert (told(events), error) == (["Hi there"], None)
    events, error = read(sse(*ANSWER, b"[DONE]") + b"data: " + b"x" * 900, framing_named("sse", 200))
    assert (told(events), error) == (["Hi there"], None)


@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_whole_body_is_the_provider_s_fault(body: bytes) -> None:
    events, error = read(body, None)
    assert events == []
    assert type(error) is ProtocolError
    assert "empty body" in error.message


def test_a_terminated_rest_that_is_broken_is_no_cut() -> None:
    events: list[Event] = []
    with pytest.raises(ProtocolError, match="not JSON"):
        feed_rest(CHAT.decoder(ORIGIN), [WireMessage(b'{"nope')], True, events)
    feed_rest(CHAT.decoder(ORIGIN), [WireMessage(each) for each in (*ANSWER, b'{"nope')], True, events)
    assert told(events) == ["Hi there"]
