"""Runs: what the model is sent of its calls, in which order, and how a run ends; in both forms of the client."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    AsyncRun,
    AuthenticationError,
    Client,
    Deny,
    Message,
    OutputInvalid,
    OutputTruncated,
    ProviderError,
    Request,
    Retry,
    ServerError,
    StepEnd,
    TextDelta,
    TextPart,
    Tool,
    ToolArgumentsError,
    ToolCallPart,
    ToolChoice,
    ToolContext,
    ToolEnd,
    ToolResultPart,
    ToolStart,
    dump_messages,
    load_messages,
    tool,
)
from brainwires_provider.runs.results import EMPTY, result_of
from brainwires_provider.runs.turns import WAITING
from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.types import Cost, Usage
from brainwires_provider.types.costs import added_cost
from brainwires_provider.types.usage import add_usage
from paths import PROJECT
from tool_services import SERVICES, Call, chat_calls, chat_results, scripted
from virtual_time import virtually

CHAT = SERVICES["chat"]
FORMS = pytest.mark.parametrize("form", [AsyncClient, Client])
ONCE = Retry(attempts=1)


class Ran:
    """A run that has ended: its events, what was sent, and the run itself."""

    def __init__(self, server: ScriptedServer, form: type[Any], input: Any, args: dict[str, Any]) -> None:
        self.events: list[Any] = []
        self.error: BaseException | None = None
        self.run: Any = None
        client = form("openai-chat:m", api_key="k", base_url=server.url, retry=ONCE)
        if form is AsyncClient:
            asyncio.run(self._async(client, input, args))
        else:
            with client:
                self.run = client.run(input, **args)
                try:
                    self.events.extend(self.run)
                except Exception as error:
                    self.error = error
        self.bodies = [request.json() for request in server.requests]

    async def _async(self, client: AsyncClient, input: Any, args: dict[str, Any]) -> None:
        async with client:
            self.run = client.run(input, **args)
            try:
                async for event in self.run:
                    self.events.append(event)
            except Exception as error:
                self.error = error

    @property
    def ends(self) -> list[ToolEnd]:
        return [event for event in self.events if isinstance(event, ToolEnd)]

    @property
    def results(self) -> list[tuple[str, str]]:
        """What the last request has of results: the ids and texts."""
        return [(id, json.loads(content)) for id, content in chat_results(self.bodies[-1])]


def ran(form: type[Any], turns: Sequence[Any], input: Any = "hi", **args: Any) -> Ran:
    with ScriptedServer(scripted(CHAT, *turns)) as server:
        return Ran(server, form, input, args)


def valid(messages: Sequence[Message]) -> None:
    """Every call has a result right behind its turn, once, in the order of the calls."""
    for index, message in enumerate(messages):
        if message.tool_calls:
            results = messages[index + 1].content
            assert messages[index + 1].role == "tool"
            assert [part.call_id for part in results] == [each.call_id for each in message.tool_calls]  # type: ignore[union-attr]
            assert all(part.text for part in results)  # type: ignore[union-attr]


def echo(text: str) -> str:
    """Say it again."""
    return text


async def fail() -> str:
    raise ValueError("the password is hunter2")


def calls(*names: str, **given: Any) -> list[Call]:
    return [(f"c{index}", name, given) for index, name in enumerate(names)]


# -- the loop ------------------------------------------------------------------------------------------------


@FORMS
def test_a_run_asks_runs_the_calls_and_asks_again(form: type[Any]) -> None:
    done = ran(form, [calls("echo", text="a"), calls("echo", text="b"), "the end"], tools=[echo])

    assert [type(e) for e in done.events if type(e) in (ToolStart, ToolEnd, StepEnd)] == [
        *(ToolStart, ToolEnd, StepEnd) * 2,
        StepEnd,
    ]
    assert "".join(e.text for e in done.events if isinstance(e, TextDelta)) == "the end"
    assert [e.step for e in done.events if isinstance(e, StepEnd)] == [1, 2, 3]
    assert done.run.why == "answer" and done.run.response.text == "the end" and done.run.pending == ()
    assert [m.role for m in done.run.messages] == ["user", *("assistant", "tool") * 2, "assistant"]
    assert (done.run.usage.input_tokens, done.run.usage.output_tokens, done.run.usage.complete) == (
        30,
        6,
        True,
    )
    assert done.run.cost is None and done.run.attempts == ()
    valid(done.run.messages)
    assert len(done.bodies) == 3 and done.results == [("c0", "a"), ("c0_2", "b")]


@FORMS
def test_a2_results_have_the_order_of_the_calls_and_no_failure_discards_another(form: type[Any]) -> None:
    @tool(timeout=0.02)
    async def hang() -> None:
        await asyncio.Event().wait()

    three = [("z", "echo", {"text": "fine"}), ("y", "fail", {}), ("x", "hang", {})]
    done = ran(form, [three, "end"], tools=[echo, fail, hang])

    assert done.results == [
        ("z", "fine"),
        ("y", "The tool failed."),
        ("x", "The tool gave no result within 0.02 seconds."),
    ]
    assert {end.call.call_id: end.error for end in done.ends} == {
        "z": None,
        "y": "ValueError: the password is hunter2",
        "x": "TimeoutError: no result within 0.02 s",
    }
    assert "hunter2" not in str(done.bodies)


@FORMS
def test_wrong_calls_are_answered_in_words_for_the_model(form: type[Any]) -> None:
    turn = [("a", "nothing", {}), ("b", "echo", {"text": 3, "more": 1})]
    done = ran(form, [turn, "end"], tools=[echo])

    assert done.results == [
        ("a", "There is no tool named 'nothing'. The tools are: echo."),
        (
            "b",
            (
                "The arguments of 'echo' are wrong:\n- text: must be a string, not 3\n"
                "- more: does not exist; there is text"
            ),
        ),
    ]
    assert not [e for e in done.events if isinstance(e, ToolStart)]


def test_what_a_failed_tool_says_to_the_model() -> None:
    def explains(error: Exception) -> str:
        return f"no: {type(error).__name__}"

    @tool(on_error=explains)
    def explained() -> None:
        raise KeyError("secret")

    def corrects() -> None:
        raise ToolArgumentsError("Ask for a city in Italy.")

    def stops() -> None:
        raise StopIteration

    async def gives_up() -> None:
        raise asyncio.CancelledError

    def odd() -> object:
        return object()

    names = ("explained", "corrects", "stops", "gives_up", "odd")
    done = ran(AsyncClient, [calls(*names), "end"], tools=[explained, corrects, stops, gives_up, odd])

    failed = "The tool failed."
    assert [text for _, text in done.results] == [
        "no: KeyError",
        "Ask for a city in Italy.",
        failed,
        failed,
        failed,
    ]
    assert [end.error for end in done.ends if end.call.name == "odd"] == [
        "TypeError: the tool returned a object, which has no form in JSON"
    ]


@dataclass
class Positive:
    x: int

    def __post_init__(self) -> None:
        if self.x <= 0:
            raise AssertionError("x must be positive")


def test_a_failure_of_on_error_is_one_more_and_ends_nothing() -> None:
    async def later(error: Exception) -> str:
        return f"later: {error}"

    def fails(error: Exception) -> str:
        raise KeyError("hunter2")

    async def takes(p: Positive) -> str:
        return "in"

    made = [
        tool(name=name, on_error=on_error)(fail)  # type: ignore[arg-type]
        for name, on_error in (("a", fails), ("b", lambda error: None), ("c", lambda error: ""), ("d", later))
    ]
    turn = [*calls("a", "b", "c", "d"), ("e", "takes", {"p": {"x": -1}}), ("f", "echo", {"text": "fine"})]
    done = ran(AsyncClient, [turn, "end"], tools=[*made, takes, echo])

    assert done.error is None and [text for _, text in done.results] == [
        *["The tool failed."] * 3,
        "later: the password is hunter2",
        "The arguments of 'takes' are wrong:\n- p: x must be positive",
        "fine",
    ]
    errors = {end.call.name: end.error for end in done.ends}
    assert "on_error: KeyError: 'hunter2'" in str(errors["a"]) and "must return a text" in str(errors["b"])


def test_a_timeout_of_the_tools_own_is_an_error_like_others() -> None:
    @tool(timeout=5)
    async def asks() -> None:
        raise TimeoutError("10.0.0.1 does not answer")

    done = ran(AsyncClient, [calls("asks"), "end"], tools=[asks])
    assert done.results == [("c0", "The tool failed.")]
    assert done.ends[0].error == "TimeoutError: 10.0.0.1 does not answer"


HALF = "a\ud800b\ud83d\ude00"


@pytest.mark.parametrize(
    "value",
    [
        HALF,
        TextPart(HALF),
        [TextPart("x"), HALF],
        ToolResultPart("c", HALF),
        ToolArgumentsError(HALF),
        {"text": HALF},
    ],
    ids=repr,
)
def test_half_a_character_can_be_sent_and_stored(value: Any) -> None:
    def gives() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    done = ran(AsyncClient, [calls("gives"), "end"], tools=[gives])
    assert done.error is None and done.run.why == "answer"
    assert ("a\ufffdb\U0001f600" in str(done.results)) is not isinstance(value, dict)
    assert load_messages(dump_messages(done.run.messages)) == done.run.messages


@FORMS
def test_decisions_about_calls_may_be_coroutine_functions(form: type[Any]) -> None:
    async def asks(call: ToolCallPart) -> bool:
        return call.args()["text"] == "b"

    async def until(response: Any) -> bool:
        return len(response.tool_calls) == 1

    asked = tool(name="asked", requires_approval=asks)(echo)
    turn = [("a", "asked", {"text": "a"}), ("b", "asked", {"text": "b"})]
    first = ran(form, [turn], tools=[asked], until=until)
    assert first.run.why == "approval" and [call.call_id for call in first.run.pending] == ["b"]
    assert ran(form, [turn[1:]], tools=[asked], until=until).run.why == "until"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("text", ["text"]),
        ("", [EMPTY]),
        (None, [EMPTY]),
        ({"a": [1, None]}, ['{"a":[1,null]}']),
        ([], ["[]"]),
        (TextPart("x"), ["x"]),
        ([TextPart("x"), "y", 3], ["x", "y", "3"]),
        (ToolResultPart("other", "no", is_error=True), ["no"]),
    ],
)
def test_a_result_is_text_or_parts(value: Any, parts: list[str]) -> None:
    result = result_of("c", "f", value)

    assert [part.text for part in result.content] == parts  # type: ignore[union-attr]
    assert (result.call_id, result.name, result.is_error) == ("c", "f", value.__class__ is ToolResultPart)


def test_a_pydantic_model_is_a_result() -> None:
    from pydantic import BaseModel

    class City(BaseModel):
        name: str

    assert result_of("c", "f", [City(name="Rome")]).text == '[{"name":"Rome"}]'


# -- at the same time ----------------------------------------------------------------------------------------


@FORMS
def test_calls_run_at_the_same_time_and_one_that_must_be_alone_waits(form: type[Any]) -> None:
    log: list[str] = []
    both = threading.Barrier(2, timeout=20)

    def meet(who: str) -> str:
        both.wait()  # passes only if two are here at once
        log.append(who)
        return who

    @tool(parallel=False)
    def alone(who: str) -> str:
        log.append(f"alone {who}")
        return who

    turn = [(w, "alone" if w in "cf" else "meet", {"who": w}) for w in "abcdef"]
    done = ran(form, [turn, "end"], tools=[meet, alone])

    assert [text for _, text in done.results] == list("abcdef")
    assert sorted(log[:2]) == ["a", "b"] and log[2] == "alone c"
    assert sorted(log[3:5]) == ["d", "e"] and log[5] == "alone f"


@FORMS
def test_no_more_run_at_once_than_max_parallel(form: type[Any]) -> None:
    running, most = 0, 0

    async def count() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return most

    ran(form, [calls(*["count"] * 9), "end"], tools=[count], max_parallel=3)

    assert most == 3


def test_a8_a_blocking_tools_timeout_answers_on_time_and_its_late_result_is_discarded() -> None:
    release, ended = threading.Event(), threading.Event()

    @tool(timeout=0.02)
    def blocks() -> str:
        release.wait(20)
        ended.set()
        return "late"

    done = ran(Client, [calls("blocks"), "end"], tools=[blocks])
    assert done.results == [("c0", "The tool gave no result within 0.02 seconds.")]
    release.set()
    assert ended.wait(20)
    assert "late" not in str(done.run.messages)


def test_a8_cancelling_a_run_ends_asynchronous_tools_first() -> None:
    log: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            log.append("tool ended")

    async def main(server: ScriptedServer) -> AsyncRun[Any]:
        async with AsyncClient("openai-chat:m", api_key="k", base_url=server.url) as client:
            run = client.run("hi", tools=[slow, echo])
            task = asyncio.ensure_future(run.result())
            while not [e for e in run.messages if e.role == "tool" and "interrupted" in str(e)]:
                await asyncio.sleep(0.001)
            valid(run.messages)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            log.append("run ended")
            with pytest.raises(RuntimeError, match="has failed or was left"):
                await run.result()
            return run

    with ScriptedServer(scripted(CHAT, [("a", "echo", {"text": "x"}), ("b", "slow", {})], "end")) as server:
        run = asyncio.run(asyncio.wait_for(main(server), 20))
    assert log == ["tool ended", "run ended"]
    valid(run.messages)
    assert run.why is None and run.messages[-1].role == "tool"
    assert "whether it had an effect is not known" in str(run.messages[-1])


def test_a_tool_that_ignores_its_cancellation_does_not_hold_a_run() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                if left:
                    raise

    left: list[str] = []

    async def main() -> float:
        from brainwires_provider.runs.calls import _within

        loop = asyncio.get_running_loop()
        before = loop.time()
        task = asyncio.ensure_future(_within(tool(stubborn), [], {}))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        left.append("the test")
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        return loop.time() - before

    assert virtually(main()) == 6


@FORMS
def test_leaving_a_run_cancels_what_runs(form: type[Any]) -> None:
    ended = threading.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with ScriptedServer(scripted(CHAT, calls("slow"), "end")) as server:
        client = form("openai-chat:m", api_key="k", base_url=server.url)
        if form is Client:
            with client, client.run("hi", tools=[slow]) as run:
                next(event for event in run if isinstance(event, ToolStart))
        else:

            async def main() -> Any:
                async with client, client.run("hi", tools=[slow]) as run:
                    async for event in run:
                        if isinstance(event, ToolStart):
                            break
                    return run

            run = asyncio.run(main())
        assert ended.wait(20)
    valid(run.messages)
    assert len(server.requests) == 1


# -- limits --------------------------------------------------------------------------------------------------


@FORMS
def test_a10_an_endless_run_stops_at_max_steps_with_a_history_that_goes_on(form: type[Any]) -> None:
    done = ran(form, [calls("echo", text="x")], tools=[echo], max_steps=3)

    assert done.run.why == "max_steps" and len(done.bodies) == 3
    valid(done.run.messages)
    assert len(done.ends) == 3  # also the last response's calls have results
    again = ran(form, ["the end"], input=load_messages(dump_messages(done.run.messages)), tools=[echo])
    assert again.run.response.text == "the end" and len(again.results) == 3


@FORMS
def test_responses_whose_calls_all_fail_end_a_run(form: type[Any]) -> None:
    done = ran(form, [calls("fail", "fail")], tools=[fail, echo], max_failures=3)

    assert done.run.why == "max_failures" and len(done.bodies) == 3
    valid(done.run.messages)


def test_a_success_begins_the_count_of_failures_again() -> None:
    bad, turn = calls("fail", "nothing"), [("a", "fail", {}), ("b", "echo", {"text": "x"})]
    done = ran(AsyncClient, [bad, turn, bad, turn, "end"], tools=[fail, echo], max_failures=2)

    assert done.run.why == "answer"


@FORMS
def test_until_ends_a_run_before_the_calls_are_run(form: type[Any]) -> None:
    done = ran(
        form,
        [calls("echo", text="a"), calls("final", text="b")],
        tools=[echo, tool(name="final")(echo)],
        until=lambda response: response.tool_calls[0].name == "final",
    )

    assert done.run.why == "until" and done.run.response.tool_calls[0].args() == {"text": "b"}
    assert [end.call.name for end in done.ends] == ["echo"]
    valid(done.run.messages)
    assert "was not run" in str(done.run.messages[-1])


def test_a_demanded_call_is_demanded_once() -> None:
    for choice, first in (
        ("required", "required"),
        (ToolChoice.tool("echo"), {"type": "function", "function": {"name": "echo"}}),
    ):
        done = ran(AsyncClient, [calls("echo", text="a"), "end"], tools=[echo], tool_choice=choice)

        assert [body["tool_choice"] for body in done.bodies] == [first, "auto"]
    other = tool(name="other")(echo)
    choice = ToolChoice.allowed("echo", mode="required")
    done = ran(AsyncClient, [calls("echo", text="a"), "end"], tools=[echo, other], tool_choice=choice)
    kept = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "echo"}}]}
    assert done.bodies[1]["tool_choice"] == {"type": "allowed_tools", "allowed_tools": kept}
    allowed = ran(AsyncClient, [calls("echo", text="a"), "end"], tools=[echo], tool_choice="none")
    assert [body["tool_choice"] for body in allowed.bodies] == ["none", "none"]


def test_a_request_as_input_keeps_its_fields() -> None:
    request = Request(
        (Message.user("hi"),), system="Be brief.", tools=(tool(echo),), tool_choice=ToolChoice("required")
    )
    done = ran(AsyncClient, [calls("echo", text="a"), "end"], input=request, temperature=0)

    assert [(b["messages"][0]["content"], b["temperature"], b["tool_choice"]) for b in done.bodies] == [
        ("Be brief.", 0, "required"),
        ("Be brief.", 0, "auto"),
    ]


@FORMS
def test_a_failed_request_leaves_the_history_as_it_was(form: type[Any]) -> None:
    answers = iter([chat_calls(calls("echo", text="a")), Answer(500, body=b'{"error":{"message":"broken"}}')])
    with ScriptedServer(lambda _: next(answers)) as server:
        done = Ran(server, form, "hi", {"tools": [echo]})

    assert isinstance(done.error, ProviderError) and done.run.why is None
    assert [m.role for m in done.run.messages] == ["user", "assistant", "tool"]
    valid(done.run.messages)


def test_wrong_keywords_and_tools_are_refused_at_once() -> None:
    client = AsyncClient("openai-chat:m", api_key="k")
    for args, words in (
        ({"max_step": 3}, "did you mean 'max_steps'"),
        ({"max_steps": 0}, "max_steps takes 1 or more"),
        ({"max_parallel": "3"}, "RunSettings.max_parallel takes an integer"),
        ({"verdicts": {"a": "yes"}}, r"verdicts\['a'\] takes"),
        ({"until": 3}, "until takes a function or None"),
        ({"tools": [Tool("plain", "", {})]}, r"tools\[0\]: 'plain' has no function that could be run"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            client.run("hi", **args)  # type: ignore[arg-type]
    assert client.run("hi", tools=tool(echo)).messages == [Message.user("hi")]  # type: ignore[typeddict-item]
    assert client.run("hi").messages == [Message.user("hi")]


# -- the context ---------------------------------------------------------------------------------------------


@FORMS
def test_a5_a_tool_knows_its_run(form: type[Any]) -> None:
    def who(prefix: str, ctx: ToolContext[dict[str, int]]) -> str:
        return f"{prefix} {ctx.deps} {ctx.call.call_id} {ctx.step} {ctx!r}"

    done = ran(
        form, [calls("who", prefix="a"), calls("who", prefix="b", ctx={}), "end"], tools=[who], deps={"n": 1}
    )

    assert done.results[0] == ("c0", "a {'n': 1} c0 1 ToolContext('who', step=1)")
    assert "ctx: does not exist; there is prefix" in done.results[1][1]


def test_synchronous_tools_may_use_the_client_and_asynchronous_ones_may_not() -> None:
    with ScriptedServer(scripted(CHAT, [("a", "inner", {}), ("b", "wrong", {})], "inner", "end")) as server:
        client = Client("openai-chat:m", api_key="k", base_url=server.url)

        def inner() -> str:
            with client.stream("?") as stream:
                return stream.collect().text

        async def wrong() -> str:
            return client.chat("?").text

        run = client.run("hi", tools=[inner, wrong])
        ends = [event for event in run if isinstance(event, ToolEnd)]
        client.close()
    assert {end.call.name: end.error for end in ends} == {
        "inner": None,
        "wrong": "RuntimeError: the synchronous client was called from its own event-loop thread (by an async "
        "callable, such as a key's); use AsyncClient there",
    }


# -- approvals -----------------------------------------------------------------------------------------------

RUNS: list[str] = []


@tool(requires_approval=True)
def delete(path: str) -> str:
    """Delete a file."""
    RUNS.append(path)
    return f"deleted {path}"


@FORMS
@pytest.mark.parametrize(
    ("verdict", "text", "did"),
    [
        (True, "deleted /a", ["/a"]),
        (False, "The user denied this call.", []),
        (Deny("not on a Sunday"), "The user denied this call. Reason: not on a Sunday", []),
        ({"path": "/b"}, "deleted /b", ["/b"]),
        ({"path": 3}, "The arguments of 'delete' are wrong:\n- path: must be a string, not 3", []),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_a9_an_approval_decides_what_is_run(
    form: type[Any], verdict: Any, text: str, did: list[str], is_async: bool
) -> None:
    RUNS.clear()
    asked: list[str] = []

    async def later(call: ToolCallPart) -> Any:
        return now(call)

    def now(call: ToolCallPart) -> Any:
        asked.append(call.name)
        return verdict

    turn = [("a", "delete", {"path": "/a"}), ("b", "echo", {"text": "x"}), ("c", "delete", {"no": 1})]
    done = ran(form, [turn, "end"], tools=[delete, echo], approve=later if is_async else now)

    assert [each for _, each in done.results][:2] == [text, "x"]
    assert did == RUNS and asked == ["delete"]  # a call that is wrong is not asked about


@FORMS
def test_a9_a_run_waits_for_approvals_and_goes_on_later(form: type[Any]) -> None:
    RUNS.clear()
    turn = [("a", "delete", {"path": "/a"}), ("b", "echo", {"text": "x"}), ("c", "delete", {"path": "/c"})]
    first = ran(form, [turn], tools=[delete, echo])

    assert first.run.why == "approval" and [call.call_id for call in first.run.pending] == ["a", "c"]
    assert [end.call.call_id for end in first.ends] == ["b"] and RUNS == []
    valid(first.run.messages)
    half = ran(form, [], first.run.messages, tools=[delete, echo], verdicts={"a": True})
    assert half.run.why == "approval" and [call.call_id for call in half.run.pending] == ["c"]
    assert RUNS == ["/a"] and half.bodies == [] and half.run.response is None
    last = ran(
        form,
        ["end"],
        half.run.messages,
        tools=[delete, echo],
        verdicts={"a": True, "b": True, "c": Deny("no")},
    )
    assert RUNS == ["/a"] and last.run.why == "answer"
    assert last.results == [("a", "deleted /a"), ("b", "x"), ("c", "The user denied this call. Reason: no")]
    with pytest.raises(RuntimeError, match="wait for an approval, by verdicts= or approve=: c"):
        half.run._core._last() if form is Client else half.run._last()


OTHER_PROCESS = """
import sys
from brainwires_provider import Client, load_messages, dump_messages
sys.path.insert(0, {tests!r})
from test_runs import RUNS, delete, echo
messages = load_messages(open({path!r}, "rb").read())
with Client("openai-chat:m", api_key="k", base_url={url!r}) as client:
    run = client.run(messages, tools=[delete, echo], verdicts={{"a": True}})
    print(run.result().text, run.why, RUNS, end="")
open({path!r}, "wb").write(dump_messages(run.messages))
"""


@pytest.mark.long
def test_a9_a_run_goes_on_in_another_process_and_runs_each_call_once(tmp_path: Any) -> None:
    RUNS.clear()
    turn = [("a", "delete", {"path": "/a"}), ("b", "echo", {"text": "x"})]
    first = ran(Client, [turn], tools=[delete, echo])
    path = tmp_path / "messages.json"
    path.write_bytes(dump_messages(first.run.messages))

    def other(url: str) -> str:
        script = OTHER_PROCESS.format(path=str(path), url=url, tests=str(PROJECT / "tests" / "unit"))
        env = {"PYTHONPATH": str(PROJECT / "tests" / "support")}
        return subprocess.run(
            [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    with ScriptedServer(scripted(CHAT, "the end")) as server:
        assert other(server.url) == "the end answer ['/a']"
        assert other(server.url) == "the end answer []"  # the verdict is given again: nothing is run again
        sent = [[(i, json.loads(c)) for i, c in chat_results(request.json())] for request in server.requests]
    assert sent == [[("a", "deleted /a"), ("b", "x")]] * 2
    assert RUNS == []


def test_calls_of_the_input_without_results_are_run_first() -> None:
    made = Message(
        "assistant", (ToolCallPart("a", "echo", '{"text":"x"}'), ToolCallPart("b", "echo", '{"text":"y"}'))
    )
    given = [Message.user("hi"), made, Message.tool_result("a", "known")]
    steps: list[int] = []

    @tool(name="echo")
    def noted(text: str, ctx: ToolContext[None]) -> str:
        steps.append(ctx.step)
        return text

    done = ran(AsyncClient, ["end"], given, tools=[noted])

    assert done.results == [("a", "known"), ("b", "y")] and steps == [0]
    ended = ran(AsyncClient, ["end"], [Message.user("hi"), Message.assistant("Hello.")], tools=[noted])
    assert len(ended.bodies) == 1


SAME = [("c", "delete", {"path": "/a"})], [("c", "delete", {"path": "/"})]


@pytest.mark.parametrize("service", ["chat", "ollama", "gemini"])
def test_a_verdict_is_for_a_call_that_was_seen_whatever_later_ids_are(service: str) -> None:
    """Ollama gives its calls no ids, and some servers the same in every response."""
    RUNS.clear()
    given = SERVICES[service]
    with (
        ScriptedServer(scripted(given, *SAME, "end")) as server,
        Client(given.model, api_key="k", base_url=server.url) as client,
    ):
        first = client.run("hi", tools=[delete])
        first.result()
        verdicts = {call.call_id: True for call in first.pending}
        second = client.run(first.messages, tools=[delete], verdicts=verdicts)
        second.result()
        assert (RUNS, second.why) == (["/a"], "approval")
        third = client.run(second.messages, tools=[delete], verdicts=verdicts)
        with pytest.raises(RuntimeError, match="wait for an approval"):
            third.result()  # the first call's verdict is none of the second's
        assert RUNS == ["/a"] and third.pending == second.pending
        verdicts = {call.call_id: True for call in third.pending}
        assert client.run(second.messages, tools=[delete], verdicts=verdicts).result().text == "end"
    assert RUNS == ["/a", "/"]


@FORMS
def test_calls_of_one_id_are_two_calls(form: type[Any]) -> None:
    RUNS.clear()
    twice = [("c", "echo", {"text": "x"}), ("c", "delete", {"path": "/b"}), ("c", "delete", {"path": "/c"})]
    first = ran(form, [twice], tools=[delete, echo])
    assert [call.call_id for call in first.run.pending] == ["c_2", "c_3"]
    assert first.run.response.tool_calls == first.run.messages[-2].tool_calls
    valid(first.run.messages)
    stored = load_messages(dump_messages(first.run.messages))
    last = ran(form, ["end"], stored, tools=[delete, echo], verdicts={"c_2": True, "c_3": False})
    assert RUNS == ["/b"] and last.results == [
        ("c", "x"),
        ("c_2", "deleted /b"),
        ("c_3", "The user denied this call."),
    ]


def test_calls_of_one_id_in_the_input_have_their_results_in_order() -> None:
    RUNS.clear()
    two = Message("assistant", tuple(ToolCallPart("c", "delete", f'{{"path":"/{x}"}}') for x in "abc"))
    results = [Message.tool_result("c", "did a"), Message.tool_result("c", WAITING, is_error=True)]
    done = ran(
        AsyncClient, ["end"], [Message.user("hi"), two, *results], tools=[delete], verdicts={"c_2": True}
    )
    assert done.run.why == "approval" and RUNS == ["/b"]
    assert [call.call_id for call in done.run.pending] == ["c_3"]
    assert [part.text for part in done.run.messages[-1].content][:2] == ["did a", "deleted /b"]  # type: ignore[union-attr]


def test_whether_a_call_requires_an_approval_may_depend_on_it() -> None:
    @tool(requires_approval=lambda call: call.args()["text"] == "b")
    def asks(text: str) -> str:
        return text

    turn = [("a", "asks", {"text": "a"}), ("b", "asks", {"text": "b"})]
    done = ran(AsyncClient, [turn], tools=[asks])

    assert [call.call_id for call in done.run.pending] == ["b"]


@FORMS
def test_what_a_decision_raises_ends_the_run(form: type[Any]) -> None:
    def broken(call: ToolCallPart) -> bool:
        raise LookupError("nobody is here")

    done = ran(form, [calls("delete", path="/a")], tools=[delete], approve=broken)
    assert isinstance(done.error, LookupError) and done.run.why is None
    valid(done.run.messages)
    wrong = ran(form, [calls("delete", path="/a")], tools=[delete], approve=lambda call: "yes")
    assert "what approve returns takes True or False" in str(wrong.error)


def test_a_signal_of_the_program_is_not_a_result() -> None:
    def leaves() -> None:
        raise SystemExit(3)

    with ScriptedServer(scripted(CHAT, calls("leaves"), "end")) as server:
        client = Client("openai-chat:m", api_key="k", base_url=server.url)
        with client, pytest.raises(SystemExit):
            client.run("hi", tools=[leaves]).result()
    assert len(server.requests) == 1


# -- sums ----------------------------------------------------------------------------------------------------


def test_failed_attempts_are_a_part_of_the_sums() -> None:
    answers = iter(
        [
            Answer(500, body=b"{}"),
            chat_calls(calls("echo", text="a")),
            Answer(503, body=b"{}"),
            CHAT.says("end"),
        ]
    )
    with (
        ScriptedServer(lambda _: next(answers)) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url, retry=Retry(attempts=2, base=0)) as client,
    ):
        run = client.run("hi", tools=[echo])
        assert run.result().text == "end"
    assert [attempt.status for attempt in run.attempts] == [500, 503] and run.usage.total_tokens == 24


def test_what_a_failed_step_has_used_is_a_part_of_the_sums() -> None:
    cut = Answer(body=[CHAT_CUT])
    for last, kind, tokens, attempts in (
        (cut, OutputTruncated, 24, 0),
        (CHAT.says("no"), OutputInvalid, 24, 0),
        (Answer(401, body=b"{}"), AuthenticationError, 12, 1),
        (Answer(500, body=b"{}"), ServerError, 12, 2),
    ):
        answers = iter([chat_calls(calls("echo", text="a")), last, last])
        with (
            ScriptedServer(lambda _, left=answers: next(left)) as server,
            Client("openai-chat:m", api_key="k", base_url=server.url) as client,
        ):
            run = client.run("hi", tools=[echo], output=int, retry=Retry(attempts=2, base=0, repairs=0))
            with pytest.raises(kind):
                run.result()
        assert (run.usage.total_tokens, len(run.attempts)) == (tokens, attempts)
        assert run.cost is None and run.why is None


CHAT_CUT = CHAT.says("4").body[0].replace(b'"stop"', b'"length"')  # type: ignore[index,union-attr]


LEAVES = """
import asyncio, sys
from brainwires_provider import AsyncClient, Client, ToolEnd
from brainwires_provider import ToolCallPart
from brainwires_provider.testing import FakeProvider

def f() -> str: return "x"

async def slow() -> str: await asyncio.sleep(30)

script = lambda: FakeProvider([(ToolCallPart("1", "f", "{{}}"), ToolCallPart("2", "slow", "{{}}")), "ok"])
made = dict(model="openai-chat:m", api_key="k")

async def main():
    client = AsyncClient(**made, transport=script())
    run = client.run("q", tools=[f, slow])
    async for event in run:
        if isinstance(event, ToolEnd):
            break
    await client.aclose()

asyncio.run(main())
client = Client(**made, transport=script())
run = client.run("q", tools=[f, slow])
for event in run:
    if isinstance(event, ToolEnd):
        break
print("left")
{end}
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)"])
def test_a_run_that_is_left_without_a_word_leaves_quietly(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES.format(end=end)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("left\n", "")


def test_usage_and_cost_are_added() -> None:
    one = Usage(uncached_input=1, reasoning=2, passes=({"a": 1},), complete=True)

    assert add_usage() == Usage() == add_usage(Usage())
    assert add_usage(Usage(), one, one) == Usage(
        uncached_input=2, reasoning=4, passes=({"a": 1}, {"a": 1}), complete=True
    )
    assert not add_usage(one, Usage(uncached_input=1)).complete
    first, second = Cost(Decimal("0.1"), "x"), Cost(Decimal("0.2"), "x", complete=False)
    assert added_cost(first, second) == Cost(Decimal("0.3"), "x", complete=False)
    assert added_cost(first, None) == added_cost(None, first) == Cost(Decimal("0.1"), "x", complete=False)
    assert added_cost(None, None) is None
