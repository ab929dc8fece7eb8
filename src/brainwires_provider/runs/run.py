"""A run: the model is asked, its calls are run, their results are sent back, until it answers without a call.

Nothing is sent before the run is iterated, or its result is asked for. It has one consumer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import reduce
from types import TracebackType
from typing import Any, Generic, Self

from msgspec.structs import replace

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.plan import Input, check_args, messages_of
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.conversation import check_kept, kept_state
from brainwires_provider.errors import OutputError, OutputInvalid, ProviderError
from brainwires_provider.events import (
    PartEnd,
    PartStart,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnd,
    ResponseRestart,
    ResponseStart,
    RunEvent,
    StepEnd,
    TextDelta,
    ToolCallDelta,
)
from brainwires_provider.providers import Target
from brainwires_provider.runs.calls import Calls
from brainwires_provider.runs.threads import awaited
from brainwires_provider.runs.turns import Turn, distinct, open_turn
from brainwires_provider.types import (
    Attempt,
    Cost,
    FunctionTool,
    HostedTool,
    Message,
    ReasoningPart,
    RefusalPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    Usage,
)
from brainwires_provider.types.attempts import costs_of
from brainwires_provider.types.costs import added_cost
from brainwires_provider.types.responses import O_co
from brainwires_provider.types.runs import RunEnd, RunParams, RunSettings
from brainwires_provider.types.tools import as_tools
from brainwires_provider.types.usage import add_usage

__all__ = ["AsyncRun"]

_DELTAS: Mapping[type, tuple[str, Any]] = {
    TextPart: ("text", TextDelta),
    ReasoningPart: ("text", ReasoningDelta),
    RefusalPart: ("text", RefusalDelta),
    ToolCallPart: ("arguments", ToolCallDelta),
}
_ALL = frozenset((*RunParams.__annotations__, "output"))


class AsyncRun(Generic[O_co]):
    """Asks a model, runs the tools that it calls, and sends their results back, until it answers. Made by `run`.

    Iterate it for the events, `await run.result()`, or both. Iterating raises every ProviderError, and what `approve`,
    `until` and `requires_approval` raise; what a tool raises is a result. Cancelling it, or leaving its `async with`,
    ends the asynchronous tools first.
    """

    def __init__(self, session: Session, input: Input, args: RunParams) -> None:
        check_args(args, _ALL)
        own = {name: args[name] for name in RunSettings.__struct_fields__ if name in args}  # type: ignore[literal-required]
        self._settings = RunSettings(**own)
        self._args: Any = {name: value for name, value in args.items() if name not in own}
        check_kept(self._args)
        self._request = input if isinstance(input, Request) else Request(())
        given = self._args.get("tools", self._request.tools)
        tools = as_tools((given,) if isinstance(given, (Tool, HostedTool)) else given or ())
        self._args["tools"] = tools
        self._session = session
        self._tools = _functions(tools)
        self._messages, self._turn = open_turn(messages_of(input))
        self._failures = 0
        self._target: Target | None = None
        self._events = self._steps()
        self._buffer: list[RunEvent] = []
        self._state: Mapping[str, Any] | None = self._request.extra
        self._response: Response[O_co] | None = None
        self._why: RunEnd | None = None
        self._usage = Usage()
        self._costs: list[Cost | None] = []
        self._attempts: tuple[Attempt, ...] = ()

    @property
    def messages(self) -> list[Message]:
        """The history, the input included: at any moment one that every provider takes, and that can be stored.

        A call without a result yet has a text in its place. Passed to `run` again, with `verdicts`, the calls that
        waited for an approval are run; those with a result are not.
        """
        return [*self._messages, *(self._turn.messages() if self._turn is not None else ())]

    @property
    def pending(self) -> tuple[ToolCallPart, ...]:
        """The calls that wait for an approval."""
        return self._turn.pending if self._turn is not None else ()

    @property
    def response(self) -> Response[O_co] | None:
        """The model's last response; None before there is one."""
        return self._response

    @property
    def why(self) -> RunEnd | None:
        """Why the run has ended; None before its end, and after a failure."""
        return self._why

    @property
    def usage(self) -> Usage:
        """The tokens of all responses so far, and of what has failed."""
        return self._usage

    @property
    def cost(self) -> Cost | None:
        """The sum of their costs; see `Response.cost`."""
        return reduce(added_cost, self._costs) if self._costs else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts that failed, in order."""
        return self._attempts

    # -- reading -------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        if not self._buffer:
            self._buffer = (await self.pull())[::-1]
            if not self._buffer:
                raise StopAsyncIteration
        return self._buffer.pop()

    async def pull(self) -> list[RunEvent]:
        """The next events as one batch, at least one; none once the run has ended."""
        return await anext(self._events, [])

    async def result(self) -> Response[O_co]:
        """Go on to the end, and give the model's last response; `why` states which end it was.

        Raises RuntimeError if there is no response: the calls of the input still wait for an approval.
        """
        self._buffer.clear()
        while await self.pull():
            pass
        return self._last()

    def _last(self) -> Response[O_co]:
        if self._why is None:
            raise RuntimeError("the run has failed or was left; its messages are those before that")
        if self._response is None:
            waiting = ", ".join(call.call_id for call in self.pending)
            raise RuntimeError(
                f"no response: these calls wait for an approval, by verdicts= or approve=: {waiting}"
            )
        return self._response

    async def aclose(self) -> None:
        """Leave: what runs is cancelled."""
        self._buffer.clear()
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- the loop ------------------------------------------------------------------------------------------

    async def _steps(self) -> AsyncGenerator[list[RunEvent], None]:
        """The only generator: several, one in another, are closed in any order where a run is left without a word."""
        step = 1 if self._turn is None else 0  # no response has the calls of the input
        while self._why is None:
            response: Response[Any] | None = None
            if step:
                begun = running_loop().time()
                try:
                    async with self._asked(step) as stream:
                        try:
                            while batch := await stream.pull():
                                yield [*batch]
                            response = stream.response
                        except OutputInvalid as error:
                            response = await stream._repaired(error, begun)
                            yield _events_again(error, response)
                except ProviderError as error:
                    self._failed(error)
                    raise
                response = await self._taken(response)
            if self._turn is not None and self._why is None:
                calls = Calls(self._turn, step, self._tools, self._settings, self._session.instruments)
                try:
                    while events := await calls.pull():
                        yield events
                finally:
                    await calls.close()
                self._answered(self._turn, calls.outcomes)
            if self._why is None and step == self._settings.max_steps:
                self._why = "max_steps"
            if response is not None:
                yield [StepEnd(step, response)]
            step += 1

    def _answered(self, turn: Turn, outcomes: set[bool]) -> None:
        """The turn's calls have ended. It is a part of the history now, unless some wait for an approval."""
        self._failures = self._failures + 1 if outcomes == {False} else 0
        if turn.waiting:
            self._why = "approval"
            return
        self._messages, self._turn = self.messages, None
        if self._failures >= self._settings.max_failures:
            self._why = "max_failures"

    def _asked(self, step: int) -> AsyncStream:
        """The next request. A call that the choice of tools demands is demanded of the first response only."""
        request = replace(self._request, messages=tuple(self._messages), extra=self._state)
        args: Any = self._args if step == 1 else _without_demand(self._args, self._request)
        plan = self._session.plan(request, args, stream=True)
        self._target = plan.target
        return AsyncStream(plan, self._session)

    async def _taken(self, response: Response[Any]) -> Response[Any]:
        """A response that has ended well, with ids of its calls that no other call has, and what follows from it."""
        if response.tool_calls:
            taken = (call.call_id for message in self._messages for call in message.tool_calls)
            response = replace(response, message=distinct(response.message, taken))
        self._state = kept_state(self._target, response, self._state)
        self._count(response.attempts, response)
        self._response = response
        if response.tool_calls:
            self._turn = Turn(response.message)
            until = self._settings.until
            if until is not None and await awaited(until(response)):
                self._why = "until"
        else:
            self._messages.append(response.message)
            if response.finish_reason != "pause":
                self._why = "answer"
        return response

    def _failed(self, error: ProviderError) -> None:
        """What a step has used counts, also if it gave no response."""
        self._count(error.attempts, error.partial if isinstance(error, OutputError) else None)

    def _count(self, attempts: Sequence[Attempt], response: Response[Any] | None) -> None:
        used = [each for each in attempts if each.usage is not None]
        self._attempts += tuple(attempts)
        self._usage = add_usage(self._usage, *(each.usage for each in used if each.usage is not None))
        if response is not None:  # its cost is that of the attempts, too
            self._usage = add_usage(self._usage, response.usage)
        self._costs += costs_of(attempts) if response is None else [response.cost]


def _events_again(error: OutputInvalid, response: Response[Any]) -> list[RunEvent]:
    """The events of a repaired response, in place of the answer that was not of its type."""
    wrong = (each for each in response.attempts if each.error == error.message)
    events: list[RunEvent] = [
        ResponseRestart(next(wrong, Attempt(error.message))),
        ResponseStart(response.id, response.model),
    ]
    for index, part in enumerate(response.message.content):
        field, delta = _DELTAS.get(type(part), ("", TextDelta))
        text = getattr(part, field, "")
        events.append(PartStart(index, replace(part, **{field: ""}) if text else part))
        events += [delta(index, text)] if text else []
        events.append(PartEnd(index, part))
    end = ResponseEnd(
        response.finish_reason,
        response.raw_finish_reason,
        response.usage,
        response.id,
        response.model,
        response.extra,
        response.message.extra,
    )
    return [*events, end]


def _functions(tools: Sequence[Tool | HostedTool]) -> dict[str, FunctionTool[..., Any]]:
    """The tools to run, by name. Raises TypeError for one without a function."""
    found = {}
    for index, each in enumerate(tools):
        if isinstance(each, FunctionTool):
            found[each.name] = each
        elif isinstance(each, Tool):
            raise TypeError(
                f"tools[{index}]: {each.name!r} has no function that could be run; make it by tool(function), or run "
                "its calls yourself, with chat"
            )
    return found


def _without_demand(args: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
    """The keywords of all requests but the first: no call is demanded again; the choice stays as small."""
    choice = args.get("tool_choice", request.tool_choice)
    if choice == "required":
        return {**args, "tool_choice": "auto"}
    if not isinstance(choice, ToolChoice) or choice.mode != "required":
        return args
    others = [each for each in args["tools"] if getattr(each, "name", None) not in choice.names]
    names = choice.names if others else ()
    return {**args, "tool_choice": ToolChoice.allowed(*names) if names else "auto"}
