"""Tools and runs, line by line: checked by mypy --strict and pyright, never run.

What is wrong must be refused by both: each `ignore` below is itself an error if there is nothing to ignore.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from brainwires_provider import (
    AsyncClient,
    AsyncRun,
    Client,
    Deny,
    FunctionTool,
    Message,
    Response,
    Run,
    RunEvent,
    StepEnd,
    TextDelta,
    Tool,
    ToolCallPart,
    ToolContext,
    ToolEnd,
    ToolResultPart,
    ToolStart,
    Verdict,
    tool,
)


@dataclass
class Person:
    name: str


@tool
def weather(city: str, days: int = 3) -> str:
    return city * days


@tool(name="later", timeout=3, parallel=False, requires_approval=lambda call: bool(call.name))
async def later(ctx: ToolContext[dict[str, int]], n: int) -> int:
    assert_type(ctx.deps, dict[str, int])
    assert_type(ctx.call, ToolCallPart)
    return n + ctx.step


def plain(city: str) -> str:
    return city


class Box:
    @tool
    def method(self, n: int) -> str:
        return str(n)

    @staticmethod
    @tool
    def static(n: int) -> str:
        return str(n)


def a_tool_is_still_its_function(box: Box) -> None:
    assert_type(weather("Rome"), str)
    assert_type(weather("Rome", days=1), str)
    weather(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    weather("Rome", hours=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert_type(box.method(3), str)
    assert_type(Box.static(3), str)
    box.method("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    made = Tool.from_function(plain, name="other", coerce=True)
    assert_type(made("Rome"), str)
    name: str = made.name
    as_tool: Tool = weather
    as_function_tool: FunctionTool[..., Any] = later
    print(name, as_tool, as_function_tool)
    Tool.from_function(plain, nme="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def an_awaited_tool(ctx: ToolContext[dict[str, int]]) -> None:
    assert_type(await later(ctx, 3), int)


def decide(call: ToolCallPart) -> Verdict:
    if call.name == "a":
        return {"n": 1}
    return True if call.name == "b" else Deny("no")


async def decide_later(call: ToolCallPart) -> Verdict:
    return decide(call)


def until(response: Response) -> bool:
    return bool(response.tool_calls)


def synchronous(client: Client, box: Box) -> None:
    run = client.run(
        "hi", tools=[weather, plain, box.method], max_steps=3, deps={"a": 1}, approve=decide, until=until
    )
    assert_type(run, Run[None])
    for event in run:
        assert_type(event, RunEvent)
        match event:
            case TextDelta(text=text):
                print(text)
            case ToolStart(call=call):
                assert_type(call, ToolCallPart)
            case ToolEnd(result=result, seconds=seconds, error=error):
                assert_type(result, ToolResultPart)
                print(seconds, error)
            case StepEnd(step=step, response=response):
                print(step, response.text)
    assert_type(run.messages, list[Message])
    assert_type(run.pending, tuple[ToolCallPart, ...])
    assert_type(client.run("hi", output=int).result().output, int)
    assert_type(client.run("hi", output=Person, tools=[plain]).result(), Response[Person])
    assert_type(client.run("hi", output=list[Person]).result().output, list[Person])
    assert_type(client.run("hi", output="json").result().output, Any)
    client.run("hi", max_step=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    client.run("hi", tools=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType, reportCallIssue]
    with client.run("hi", verdicts={"a": True, "b": Deny(), "c": {"n": 1}}) as left:
        print(left.why, left.usage.total_tokens, left.cost, left.attempts)


async def asynchronous(client: AsyncClient) -> None:
    async with client.run("hi", tools=[later], approve=decide_later, temperature=0) as run:
        assert_type(run, AsyncRun[None])
        async for event in run:
            assert_type(event, RunEvent)
    assert_type((await client.run("hi", output=Person).result()).output, Person)
