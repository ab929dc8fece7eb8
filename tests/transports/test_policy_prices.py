"""`response.cost` against scripted servers: whole, streamed, cut, after a retry; and nothing of it where it is off."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    ConfigError,
    ProviderError,
    RequestTimeout,
    Retry,
    StreamInterrupted,
    Timeouts,
)
from brainwires_provider.providers import prices
from brainwires_provider.testing import Answer, Drop, ScriptedServer, cut, sse
from chat_answers import chunk
from virtual_time import shifted, skip
from waits import noted

USAGE = {"prompt_tokens": 100_000, "completion_tokens": 10_000, "total_tokens": 110_000}
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
WHOLE = Answer(body=json.dumps({"id": "c", "model": "gpt-4o", "choices": [CHOICE], "usage": USAGE}).encode())
NAMED = {"model": "gpt-4o"}
STREAM = Answer(body=[sse(chunk({"content": "Hello"}) | NAMED, chunk({}, "stop", usage=USAGE) | NAMED)])
THOUGHT = [chunk({"reasoning_content": "Hm."}) | NAMED, {"id": "c", "choices": [], "usage": USAGE, **NAMED}]
CUT_THOUGHT = Answer(body=[sse(*THOUGHT, done=False), Drop()])
CUT = Answer(body=[sse(*THOUGHT, chunk({"content": "Hel"}) | NAMED, done=False), Drop()])


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server on loopback has the prices of OpenAI's address."""
    real = prices.service_at
    monkeypatch.setattr(prices, "service_at", lambda _: real("https://api.openai.com/v1"))


def asking(url: str, **settings: Any) -> AsyncClient:
    return AsyncClient("openai-chat:gpt-4o", base_url=url, api_key="k", **{"prices": True, **settings})


def test_a_response_has_its_cost(priced: None) -> None:
    seen: list[Any] = []

    async def main(url: str) -> list[Any]:
        async with asking(url, on_response=lambda call, response: seen.append(response)) as client:
            noted(client)
            whole = await client.chat("Hi")
            async with client.stream("Hi") as stream:
                streamed = await stream.collect()
            return [whole, streamed, await client.stream("Hi").collect()]

    with ScriptedServer([WHOLE, STREAM, CUT_THOUGHT, STREAM]) as server:
        whole, streamed, retried = asyncio.run(main(server.url))
    assert [each.cost.usd for each in (whole, streamed, retried)] == [
        Decimal("0.35"),
        Decimal("0.35"),
        Decimal("0.70"),
    ]
    assert whole.cost.complete and retried.cost.complete and len(retried.attempts) == 1
    assert seen == [whole, streamed, retried]


def test_each_attempt_has_its_own_cost_and_the_response_that_of_all(priced: None) -> None:
    async def main(url: str) -> Any:
        fallback = ["openai-chat:gpt-4o-mini"]
        async with asking(url, retry=Retry(2, base=0), fallback=fallback) as client:
            noted(client)
            return await client.stream("Hi").collect()

    with ScriptedServer([CUT_THOUGHT, CUT_THOUGHT, CUT_THOUGHT, STREAM]) as server:
        found = asyncio.run(main(server.url))
    costs = [each.cost and each.cost.usd for each in found.attempts]
    assert costs == [Decimal("0.35")] * 3 and found.cost.usd == 4 * Decimal("0.35")


UNUSED = Answer(body=[sse(THOUGHT[0], done=False), Drop()])
BUSY = Answer(429, {}, b"{}")
LATE = Answer(body=[sse({"error": {"message": "overloaded", "code": "overloaded"}}, done=False)])
# name: the first answer, whether it is asked for as a stream, the settings: whether all that may be billed is known
KNOWN: dict[str, tuple[Answer, bool, dict[str, Any], bool]] = {
    "refused": (BUSY, False, {}, True),
    "refused in a stream": (LATE, True, {}, True),
    "cut after its usage": (CUT_THOUGHT, True, {}, True),
    "cut before its usage": (UNUSED, True, {}, False),
    "half a body": (cut(WHOLE, 40), False, {}, False),
    "reset": (Answer(drop=True), False, {}, False),
    "no answer in time": (
        Answer(stall_before_headers=True),
        False,
        {"timeouts": Timeouts(first_event=0.2)},
        False,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_cost_is_complete_if_no_failed_attempt_may_be_billed_beside_it(name: str, priced: None) -> None:
    first, stream, settings, known = KNOWN[name]

    async def main(url: str) -> Any:
        async with asking(url, **settings) as client:
            noted(client)
            return await (client.stream("Hi").collect() if stream else client.chat("Hi"))

    rest = [STREAM if stream else WHOLE] * 2
    with ScriptedServer([first, *rest]) as server:
        found = asyncio.run(main(server.url))
    assert found.cost.complete is known and found.attempts[0].may_be_billed is not known


@pytest.mark.parametrize(
    "name", sorted(KNOWN.keys() - {"cut after its usage"})
)  # whose own cost is not complete
def test_so_is_that_of_a_run_and_of_a_row_whose_last_step_failed(name: str, priced: None) -> None:
    first, _, settings, known = KNOWN[name]
    part = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    end = chunk({}, "tool_calls", usage=USAGE) | NAMED
    called = Answer(body=[sse(chunk({"tool_calls": [part]}) | NAMED, end)])

    def look() -> str:
        """Look."""
        return "x"

    async def main(url: str) -> Any:
        async with asking(url, retry=Retry(1), **settings) as client:
            run = client.run("Hi", tools=[look])
            with pytest.raises(ProviderError):
                await run.result()
            (row,) = await client.map(["Hi"], tools=[look]).collect()
            return run, row

    with ScriptedServer(lambda asked: first if asked.json()["messages"][1:] else called) as server:
        run, row = asyncio.run(main(server.url))
    assert row.error is not None and row.cost == run.cost
    assert run.cost.usd >= Decimal("0.35") and run.cost.complete is known


def test_a_cut_response_has_an_incomplete_one(priced: None) -> None:
    with (
        ScriptedServer([CUT]) as server,
        Client("openai-chat:gpt-4o", base_url=server.url, api_key="k", prices=True) as client,
        pytest.raises(StreamInterrupted) as caught,
    ):
        client.stream("Hi").collect()
    partial = caught.value.partial
    assert partial is not None and partial.cost is not None and not partial.cost.complete


@pytest.mark.parametrize("settings", [{}, {"prices": False}], ids=["unknown address", "off"])
def test_what_is_not_known_is_none(settings: dict[str, Any]) -> None:
    async def main(url: str) -> Any:
        async with asking(url, **settings) as client:
            return await client.chat("Hi")

    with ScriptedServer([WHOLE]) as server:
        assert asyncio.run(main(server.url)).cost is None


@pytest.mark.parametrize("how", ["chat", "stream"])
@pytest.mark.parametrize(
    ("clock", "sent"), [("connect", 1), ("first_event", 1), ("idle", 1), ("attempt", 1), ("total", 0)]
)
def test_of_the_timeouts_only_the_total_counts_while_the_table_is_loaded(
    clock: Any, sent: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_loading, may_go_on = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        is_loading.set()
        may_go_on.wait(20)

    monkeypatch.setattr(prices, "service_at", slow)

    async def main(url: str) -> Any:
        async with asking(url, timeouts=Timeouts(**{clock: 60})) as client:
            ask = client.chat("Hi") if how == "chat" else client.stream("Hi").collect()
            call: Any = asyncio.ensure_future(ask)
            await asyncio.to_thread(is_loading.wait, 20)
            skip(61)
            await asyncio.wait([call], timeout=0.01)
            may_go_on.set()
            try:
                return (await call).text
            except RequestTimeout as error:
                return error.clock

    with ScriptedServer(WHOLE if how == "chat" else STREAM) as server:
        assert shifted(main(server.url)) == ("Hello" if sent else "total")
        assert len(server.requests) == sent


def test_without_the_extra_it_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"brainwires-provider\[prices\]"):
        AsyncClient("openai-chat:m", api_key="k", prices=True)


SCRIPT = """
import sys
from brainwires_provider import Client
with Client("openai-chat:gpt-4o", base_url=sys.argv[1], api_key="k") as client:
    client.chat("Hi")
print([name for name in sys.modules if name.startswith(("genai_prices", "pydantic"))])
"""


def test_off_it_is_not_even_imported() -> None:
    with ScriptedServer([WHOLE]) as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, server.url], capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout.strip() == "[]"
