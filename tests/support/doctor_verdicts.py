"""What `brainwires doctor` must find about servers that nobody here wrote, with a model of 135M parameters behind.

What follows from the server alone is held to a verdict; what such a model may or may not do, to those that would be
true.
"""

from __future__ import annotations

__all__ = ["ENGINE", "PLAIN", "PROXY", "check"]

PLAIN = (
    "models",
    "chat",
    "usage",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "streaming",
    "stream_arrival",
    "stream_type",
    "stream_done",
    "stream_finish",
    "stream_chunks",
    "stream_usage",
    "json_schema",
    "json_object",
    "n",
    "responses_api",
    "messages_api",
    "error_shape",
    "key_needed",
)
"""What any server can do that is compatible, whatever its model."""

ENGINE = dict.fromkeys(PLAIN, "yes") | {
    # The template of these weights has no place for tools: llama.cpp takes them, and the model never hears of them.
    "tool_choice_required": "ignored",
    "tool_choice_named": "ignored",
    "images": "refused",
    "reasoning_field": "unclear",
    "unknown_model": "ignored",
}
MAY_BE = {
    "tools": {"unclear", "no"},
    "parallel_tools": {"unclear"},
    "streamed_arguments": {"unclear"},
    "seed": {"yes", "unclear"},
    "stop": {"yes", "unclear"},
    "stop_text": {"yes", "unclear"},
    "developer_role": {"yes", "unclear"},
}
# The proxy knows its models, and without a database fails where it should ask for a key.
PROXY = ENGINE | {"unknown_model": "refused", "key_needed": "unclear"}


def check(told: dict[str, str], expected: dict[str, str]) -> None:
    assert {name: verdict for name, verdict in told.items() if name not in MAY_BE} == expected
    wrong = {name: told[name] for name, may in MAY_BE.items() if told[name] not in may}
    assert wrong == {}
