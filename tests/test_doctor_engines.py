"""`brainwires doctor` about servers that nobody here wrote: llama.cpp's own, and LiteLLM's proxy before it.

What follows from the server alone is held to a verdict; what a model of 135M parameters may or may not do, to those
that would be true.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from brainwires_provider.doctor import examine
from doctor_command import Ran
from engines import KEY, NEEDS_ENGINE, started
from litellm_proxy import KEY as PROXY_KEY
from litellm_proxy import Proxy, Relay

pytestmark = NEEDS_ENGINE

ENGINE = dict.fromkeys(
    [
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
    ],
    "yes",
) | {
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


def test_the_truth_about_llama_cpp() -> None:
    with started() as engine:
        found = asyncio.run(examine(engine.url, api_key=KEY, max_tokens=24))
    check({finding.name: finding.verdict for finding in found.findings}, ENGINE)
    assert (found.subject, found.model, found.well) == (f"{engine.url}/v1", "smollm2", True)
    assert found["max_tokens"].evidence == "cut after 5 tokens"
    assert found["key_needed"].evidence.startswith("HTTP 401")
    assert "named_choice=False" in str(found.row) and 'row = "llama-server"' in str(found.config)
    assert KEY not in repr(found)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX process groups")
def test_the_truth_about_litellms_proxy(litellm: tuple[Proxy, Relay]) -> None:
    args = ["--api-key-env", "PROXY_KEY", "--max-tokens", "24", "--json"]
    ran = Ran(litellm[0].base_url, *args, PROXY_KEY=PROXY_KEY)
    told = ran.json
    check({each["name"]: each["verdict"] for each in told["findings"]}, PROXY)
    assert (ran.status, told["model"], told["well"]) == (0, "smollm2", True)
