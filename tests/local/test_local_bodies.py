"""Every body of the Chat, Responses and Messages fixtures, posted to llama.cpp's own server.

The server takes it, or a table says why not. It has fewer media, items and tools than the three vendors' own services,
and is no copy of any; what it has it reads strictly.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from engines import KEY, NEEDS_ENGINE, Engine, started
from fixture_cases import called, cases

pytestmark = NEEDS_ENGINE

PATHS = {
    "anthropic_messages": "/v1/messages",
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
}
LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
SIGHT = "the model of the tests takes no images"
KINDS = "kinds of content that only the vendor's own service has"
TOOLS = "a tool that the vendor's own service runs"
ITEMS = "items that only OpenAI's own service has"
REFUSED: tuple[tuple[str, str, str, str], ...] = (
    ("anthropic_messages", "request_(media|tool_turn)", "image input is not supported", SIGHT),
    ("openai_chat", "request_(media|tool_turn)", "image input is not supported", SIGHT),
    ("openai_chat", "request_media_(mistral|urls)", r"unsupported content\[\].type", KINDS),
    ("openai_chat", "request_reasoning_back", r"unsupported content\[\].type", KINDS),
    (
        "openai_chat",
        "request_foreign_parts",
        "must contain either 'content' or",
        "an audio's id stands for content",
    ),
    (
        "openai_chat",
        "request_options_mistral",
        "Invalid tool_choice: any",
        "Mistral's word for a forced choice",
    ),
    ("openai_chat", "request_tool(s|s_cached|_choice_emulated)", "Unsupported tool type", TOOLS),
    ("openai_responses", "own_fields", "'previous_response_id'", "the server keeps no responses"),
    ("openai_responses", "request_(answers|image_made|own_items)", "Cannot determine type", ITEMS),
    ("openai_responses", "request_assistant_other_model", "Cannot determine type", ITEMS),
    (
        "openai_responses",
        "request_assistant_own",
        r"item\['content'\] is not an array",
        "encrypted reasoning",
    ),
    ("openai_responses", "request_assistant_plain", r"unsupported content\[\].type", "a refusal"),
    ("openai_responses", "request_media", "'image_url' is required", "files by their ids"),
)
"""Protocol, folders, what the server says, and why."""


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Protocol, folder and body; one of those that are alike."""
    seen = set()
    for case in cases():
        protocol = case.folder.parent.name
        if protocol not in PATHS or "body" not in (call := called(case)):
            continue
        body = call["body"]
        alike = json.dumps([protocol, body])
        if alike not in seen:
            seen.add(alike)
            yield protocol, case.folder.name, body


def answer(engine: Engine, protocol: str, body: dict[str, Any]) -> tuple[int, str]:
    """The status and the answer's text; the answer is short, and by the model that the server has."""
    limit = "max_output_tokens" if protocol == "openai_responses" else "max_tokens"
    asked = {**body, "model": "smollm2", limit: 2} | {name: 2 for name in LIMITS if name in body}
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(engine.url + PATHS[protocol], json.dumps(asked).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def test_the_server_takes_every_body_that_it_can() -> None:
    wrong, taken, idle = [], 0, set(REFUSED)
    with started() as engine:
        assert all(answer(engine, protocol, {})[0] >= 400 for protocol in PATHS)
        for protocol, folder, body in bodies():
            status, text = answer(engine, protocol, body)
            entries = [e for e in REFUSED if e[0] == protocol and re.fullmatch(e[1], folder)]
            idle.difference_update(entries)
            if status == 200 and not entries and '"error"' not in text:
                taken += 1
            elif status < 400 or not any(re.search(entry[2], text) for entry in entries):
                wrong.append((protocol, folder, status, text[:200]))
    assert (wrong, idle) == ([], set())
    assert taken >= 60
