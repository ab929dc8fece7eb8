"""Why an answer ended: every word of a service, and what it is here."""

from __future__ import annotations

import pytest

from brainwires_provider.errors import ServerError
from brainwires_provider.events import collect
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import FinishReason, Origin

# By protocol: a provider, a body with its word in place of `WORD`, and its words by what they are here.
# Gemini's are in `gemini/test_gemini.py`.
WORDS: dict[str, tuple[str, str, dict[FinishReason, str]]] = {
    "anthropic_messages": (
        "anthropic",
        '{"type":"message","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"WORD"}',
        {
            "stop": "end_turn stop_sequence",
            "length": "max_tokens model_context_window_exceeded",
            "tool_calls": "tool_use",
            "pause": "pause_turn compaction",
            "refusal": "refusal",
            "other": "another",
        },
    ),
    "bedrock_converse": (
        "bedrock",
        '{"output":{"message":{"content":[{"text":"a"}]}},"stopReason":"WORD"}',
        {
            "stop": "end_turn stop_sequence",
            "length": "max_tokens model_context_window_exceeded",
            "tool_calls": "tool_use",
            "pause": "pause_turn",
            "refusal": "refusal",
            "content_filter": "guardrail_intervened content_filtered",
            "malformed_tool_call": "malformed_tool_use",
            "other": "malformed_model_output another",
        },
    ),
    "google_interactions": (
        "google-interactions",
        '{"status":"WORD","steps":[{"type":"model_output","content":[{"type":"text","text":"a"}]}]}',
        {
            "stop": "completed",
            "length": "incomplete",
            "tool_calls": "requires_action",
            "pause": "requires_continuation",
            "pending": "in_progress queued",
            "other": "budget_exceeded cancelled another",
        },
    ),
    "ollama": (
        "ollama",
        '{"model":"m","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"WORD"}',
        {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "other": "another"},
    ),
    "openai_chat": (
        "openai-chat",
        '{"choices":[{"message":{"content":"a"},"finish_reason":"WORD"}]}',
        {
            "stop": "stop end_turn eos eos_token completed stop_sequence",
            "length": "length max_tokens model_length model_context_window_exceeded",
            "tool_calls": "tool_calls function_call tool_use",
            "refusal": "refusal",
            "content_filter": "content_filter safety sensitive",
            "malformed_tool_call": "malformed_function_call function_call_filter",
            "other": "another",
        },
    ),
    "openai_responses": (
        "openai-responses",
        '{"object":"response","status":"WORD","output":[{"type":"message","content":[]}]}',
        {"stop": "completed complete", "pending": "queued in_progress", "other": "cancelled another"},
    ),
}
CASES = [
    (name, reason, word)
    for name, (_, _, by_reason) in WORDS.items()
    for reason, words in by_reason.items()
    for word in words.split()
]


def ended(name: str, row: str, body: str, word: str) -> tuple[FinishReason, str | None]:
    decoder = PROVIDERS[row].protocol().decoder(Origin(name, row, "m"))
    response = collect(decoder.feed_whole(body.replace("WORD", word).encode()))
    return response.finish_reason, response.raw_finish_reason


@pytest.mark.parametrize(("name", "reason", "word"), CASES)
def test_why_an_answer_ended(name: str, reason: FinishReason, word: str) -> None:
    row, body, _ = WORDS[name]

    assert ended(name, row, body, word) == (reason, word)


@pytest.mark.parametrize(
    ("reason", "word"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter"), ("other", "x")],
)
def test_why_an_answer_of_responses_is_incomplete(reason: FinishReason, word: str) -> None:
    body = '{"object":"response","output":[],"status":"incomplete","incomplete_details":{"reason":"WORD"}}'

    assert ended("openai_responses", "openai-responses", body, word)[0] == reason


@pytest.mark.parametrize("status", ["incomplete", "completed", "cancelled"])
def test_an_answer_of_responses_with_an_error_has_failed_whatever_its_status(status: str) -> None:
    body = '{"object":"response","output":[],"status":"WORD","error":{"code":"server_error","message":"no"}}'

    with pytest.raises(ServerError, match="no"):
        ended("openai_responses", "openai-responses", body, status)
