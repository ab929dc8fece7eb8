"""Chat Completions beyond the fixtures: quirks that no row has, and what a careless caller may do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider.events import ResponseEnd, collect
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.openai_chat import ChatQuirks, OpenAIChat
from brainwires_provider.protocols.openai_responses import OpenAIResponses
from brainwires_provider.types import (
    FilePart,
    Message,
    Options,
    Origin,
    Reasoning,
    Request,
    ToolCallPart,
    Usage,
)
from known import encode_known

ORIGIN = Origin("openai_chat", "p", "m")


@pytest.mark.parametrize(
    ("quirk", "wanted", "body", "lost"),
    [
        ("effort", Reasoning(budget_tokens=5), {}, "budget_tokens"),
        ("effort", "off", {"reasoning_effort": "none"}, ""),
        ("object", Reasoning(), {"reasoning": {}}, ""),
        ("thinking", "medium", {"thinking": {"type": "enabled"}}, ""),
        ("none", Reasoning("low", 5), {}, "effort or budget_tokens"),
    ],
)
def test_reasoning_is_asked_for_as_the_service_takes_it(
    quirk: Any, wanted: Any, body: dict[str, Any], lost: str
) -> None:
    request = Request((Message.user("Hi"),), "m", options=Options(reasoning=wanted))
    call = OpenAIChat(ChatQuirks(reasoning=quirk)).encode(request, ORIGIN, stream=False)
    assert {k: v for k, v in call.body.items() if k not in ("model", "messages")} == body
    assert [d.reason for d in call.deviations] == (
        [f"this service's Chat Completions cannot say {lost}"] if lost else []
    )


@pytest.mark.parametrize(
    ("media_type", "form"),
    [
        ("audio/wav", "wav"),
        ("audio/x-wav", "wav"),
        ("audio/mpeg", "mp3"),
        ("audio/mp3", "mp3"),
        ("audio/flac", "flac"),
    ],
)
def test_the_format_of_sound(media_type: str, form: str) -> None:
    """Both APIs of OpenAI have "wav" and "mp3" (`InputAudio.format` of openai-python); others are named alike."""
    request = Request((Message.user(FilePart(data=b"a", media_type=media_type)),), "m")
    item = {"type": "input_audio", "input_audio": {"data": "YQ==", "format": form}}
    protocols: tuple[tuple[Any, str], ...] = ((OpenAIChat(), "messages"), (OpenAIResponses(), "input"))
    for protocol, name in protocols:
        (message,) = encode_known(protocol, request, ORIGIN, stream=False).body[name]
        assert message["content"] == [item]


def test_an_answer_ends_once() -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"content": "A"}}]}'))
    assert decoder.partial().text == "A"
    assert decoder.partial().finish_reason == "pending"
    assert isinstance(decoder.feed(WireMessage(b"[DONE]"))[-1], ResponseEnd)
    assert decoder.ended
    assert decoder.feed(WireMessage(b"[DONE]")) == []
    assert decoder.finish(False) == []


def test_a_partial_is_a_moment() -> None:
    """What comes later does not change it."""
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"x": {"a": 1}}}], "y": {"b": 1}}'))
    before = decoder.partial()
    decoder.feed(WireMessage(b'{"choices": [{"delta": {"x": {"c": 2}}}], "y": {"d": 2}}'))
    assert (before.extra, before.message.extra) == ({"y": {"b": 1}}, {"x": {"a": 1}})
    after = decoder.partial()
    assert (after.extra, after.message.extra) == ({"y": {"b": 1, "d": 2}}, {"x": {"a": 1, "c": 2}})


def test_sound_that_has_arrived_is_in_the_partial() -> None:
    decoder = OpenAIChat().decoder(ORIGIN)
    decoder.feed(
        WireMessage(b'{"choices": [{"delta": {"audio": {"id": "a", "data": "AAEC", "transcript": "Hi"}}}]}')
    )
    (part,) = decoder.partial().message.content
    assert (part.data, part.text, part.extra) == (b"\x00\x01\x02", "Hi", {"id": "a"})  # type: ignore[union-attr]


def test_a_decoder_that_has_read_nothing_has_no_counts() -> None:
    assert DecoderBase(ORIGIN).partial().usage == Usage()


@pytest.mark.parametrize("depth", [100, 100_000])
def test_arguments_that_are_nested_however_deeply_come_as_they_are(depth: int) -> None:
    text = '{"a":' + "[" * depth + "]" * depth + "}"
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    decoder = OpenAIChat().decoder(ORIGIN)
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    events = decoder.feed(WireMessage(json.dumps(chunk).encode()))
    (part,) = collect(events + decoder.feed(WireMessage(b"[DONE]"))).message.content
    assert isinstance(part, ToolCallPart) and part.arguments == text
