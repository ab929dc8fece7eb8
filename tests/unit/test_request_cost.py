"""How many functions of this package one small request passes: its cost, whatever else the machine does."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import brainwires_provider
from brainwires_provider import AsyncClient, Breaker, Budget, Hedge, Limits, Retry
from brainwires_provider.testing import Answer, ScriptedServer

PACKAGE = str(Path(brainwires_provider.__file__).parent)
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Blue."}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
BODY = json.dumps({"id": "c-1", "model": "m-2", "choices": [CHOICE], "usage": USAGE}).encode()
LIMITS = Limits(rpm=1e9, tpm=1e12, itpm=1e12, otpm=1e12, concurrency=1000)
ALL: dict[str, Any] = {
    "retry": Retry(5),
    "limits": LIMITS,
    "budget": Budget(tokens=10**14),
    "fallback": ["anthropic:claude-sonnet-4-5"],
    "breaker": Breaker(),
    "hedge": Hedge(after=60),
}
# The settings, and the most calls: a tenth above those of Python 3.11, where a comprehension is one too.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "nothing set": ({}, 105),
    "limits": ({"limits": LIMITS}, 126),
    "a budget": ({"budget": Budget(tokens=10**14)}, 120),
    "a breaker": ({"breaker": Breaker()}, 112),
    "a hedge": ({"hedge": Hedge(after=60)}, 120),
    "a fallback": ({"fallback": ["anthropic:claude-sonnet-4-5"]}, 108),
    "hooks": ({"on_request": lambda call: None, "on_response": lambda call, response: None}, 135),
    "all policies": (ALL, 153),
}


def passed(settings: dict[str, Any]) -> list[list[str]]:
    """The functions that each of a client's first four chats passes."""
    chats: list[list[str]] = []

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            chats[-1].append(frame.f_code.co_qualname)

    async def ask() -> None:
        async with AsyncClient("openai-chat:m", api_key="k", base_url=server.url, **settings) as client:
            for _ in range(4):
                chats.append([])
                sys.setprofile(note)
                try:
                    answer = await client.chat("Why?")
                finally:
                    sys.setprofile(None)
                assert answer.text == "Blue."

    with ScriptedServer(lambda _: Answer(headers={"content-type": "application/json"}, body=BODY)) as server:
        asyncio.run(ask())
    return chats


def counted(settings: dict[str, Any]) -> int:
    """The calls of a chat that is not the client's first."""
    return len(passed(settings)[-1])


@pytest.mark.parametrize("name", CASES)
def test_a_request_passes_few_functions(name: str) -> None:
    settings, most = CASES[name]

    assert counted(settings) <= most


@pytest.mark.skipif(
    importlib.util.find_spec("genai_prices") is None, reason="the extra `prices` is not installed"
)
def test_a_cost_in_dollars_takes_few_more() -> None:
    assert counted({**ALL, "prices": True, "budget": Budget(usd=5, unpriced="allow")}) <= 161


KEPT = (
    "Attempt._signed resolve_key key_headers Plan.headers resolve Session.transport HTTPTransport._way"
    " _Connector._create_connection LoopTimer.__init__ Ledger.__init__ Account.__init__ Gate.__init__"
    " Circuit.__init__ Share.__init__"
)


def test_what_the_first_request_needed_is_kept_for_the_others() -> None:
    first, *others = map(set, passed(ALL))
    assert set(KEPT.split()) <= first
    for names in others:
        assert not names & set(KEPT.split())
