"""The calls of one turn: what the user decides about them, then all that may run, at once as far as they allow it.

A call that fails in any way has a result for the model, and the others go on. Results keep the order of the calls. A
tool that must be alone waits for those before it, and those after it wait. Leaving early cancels what runs, and waits
for asynchronous tools to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from itertools import groupby
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from brainwires_provider.events import RunEvent, ToolEnd, ToolStart
from brainwires_provider.runs.results import failure_of, result_of
from brainwires_provider.runs.threads import awaited, call_anywhere
from brainwires_provider.runs.turns import Turn
from brainwires_provider.types import Deny, FunctionTool, ToolArgumentsError, ToolCallPart
from brainwires_provider.types.checked import misfit
from brainwires_provider.types.context import ToolContext
from brainwires_provider.types.runs import RunSettings

if TYPE_CHECKING:
    from brainwires_provider._core.telemetry import Instruments

__all__ = ["Calls"]

FAILED = "The tool failed."
DENIED = "The user denied this call."
_PATIENCE = 5.0  # seconds for a cancelled tool to end


class _Ready(NamedTuple):
    """A call that may be run."""

    place: int
    call: ToolCallPart
    tool: FunctionTool[..., Any]
    given: list[Any]
    named: dict[str, Any]


class Calls:
    """Runs the calls of a turn that have no result yet. Those that have none afterwards wait for an approval."""

    def __init__(
        self,
        turn: Turn,
        step: int,
        tools: Mapping[str, FunctionTool[..., Any]],
        settings: RunSettings,
        instruments: Instruments | None,
    ) -> None:
        self._turn = turn
        self._step = step
        self._tools = tools
        self._settings = settings
        self._instruments = instruments
        self._driver: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[RunEvent | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(settings.max_parallel)
        self.outcomes: set[bool] = set()
        """Whether calls have failed (False), or succeeded (True); those that were denied are neither."""

    async def pull(self) -> list[RunEvent]:
        """The next events as one batch, at least one; none once all calls have ended, or wait."""
        if self._driver is None:
            self._driver = asyncio.ensure_future(self._drive())
        event = await self._events.get()
        if event is not None:
            return [event]
        await self._driver
        return []

    async def close(self) -> None:
        """Cancel what runs, and wait for its end."""
        if self._driver is not None:
            self._driver.cancel()
            self._driver.add_done_callback(_discard)
            await asyncio.wait({self._driver})

    async def _drive(self) -> None:
        try:
            ready = [each for index in self._turn.open if (each := await self._admitted(index)) is not None]
            for _, group in groupby(ready, lambda each: -1 if each.tool.parallel else each.place):
                async with asyncio.TaskGroup() as tasks:
                    for each in group:
                        tasks.create_task(self._run_one(each))
        finally:
            self._events.put_nowait(None)

    def _end(self, index: int, end: ToolEnd) -> None:
        self._turn.results[index] = end.result
        self._events.put_nowait(end)

    # -- before a call runs --------------------------------------------------------------------------------

    async def _admitted(self, index: int) -> _Ready | None:
        """The call, if it may be run; else it has a result, or waits."""
        call = self._turn.calls[index]
        ready = self._bound(index, call)
        verdict = True if ready is None else await self._verdict(ready.tool, call)
        if verdict is None:
            self._turn.waiting.add(index)
            return None
        if isinstance(verdict, Mapping):
            return self._bound(index, replace(call, arguments=msgspec.json.encode(verdict).decode()))
        if verdict is not True:
            reason = verdict.reason if isinstance(verdict, Deny) else ""
            self._end(index, _refused(call, f"{DENIED} Reason: {reason}" if reason else DENIED))
            return None
        return ready

    def _bound(self, index: int, call: ToolCallPart) -> _Ready | None:
        """The call with its function's arguments; None if it has a result now, which says what is wrong with it."""
        tool = self._tools.get(call.name)
        try:
            if tool is None:
                known = ", ".join(self._tools) or "none"
                raise ToolArgumentsError(f"There is no tool named {call.name!r}. The tools are: {known}.")
            return _Ready(index, call, tool, *tool.bind(call, partial(self._context, call)))
        except ToolArgumentsError as error:
            self.outcomes.add(False)
            self._end(index, _refused(call, str(error)))
            return None

    def _context(self, call: ToolCallPart, kind: type[ToolContext[Any]]) -> ToolContext[Any]:
        return kind(self._settings.deps, call, self._step)

    async def _verdict(self, tool: FunctionTool[..., Any], call: ToolCallPart) -> Any:
        """What the user decides; None if that is not known yet."""
        settings, asks = self._settings, tool.requires_approval
        verdict: Any = (
            settings.verdicts.get(call.call_id) if self._step == 0 else None
        )  # the input's calls only
        if verdict is not None:
            return verdict
        if not (await awaited(asks(call)) if callable(asks) else asks):
            return True
        if settings.approve is None:
            return None
        verdict = await call_anywhere(settings.approve, call)
        if isinstance(verdict, (bool, Deny, Mapping)):
            return verdict
        raise misfit("what approve returns", (bool, Deny, Mapping[str, Any]), verdict)

    # -- a call --------------------------------------------------------------------------------------------

    async def _run_one(self, ready: _Ready) -> None:
        async with self._room:
            self._turn.begun.add(ready.place)
            self._events.put_nowait(ToolStart(ready.call))
            end = await self._traced(ready)
            self.outcomes.add(not end.result.is_error)
            self._end(ready.place, end)

    async def _traced(self, ready: _Ready) -> ToolEnd:
        """Run a call, in a span if there is telemetry."""
        if self._instruments is None:
            return await _outcome(ready)
        from brainwires_provider._core.telemetry import tool_span

        with tool_span(self._instruments, ready.call, ready.tool.description) as span:
            end = await _outcome(ready)
            if end.error is None:
                span.set_result(end.result.text)
            else:
                span.fail(end.error.partition(":")[0])
            return end


def _refused(call: ToolCallPart, text: str) -> ToolEnd:
    """The end of a call that was not run; the program and the model get the same text."""
    return ToolEnd(call, failure_of(call, text), 0.0, text)


class _OutOfTime(TimeoutError):
    """The tool's timeout, and no error of its own."""


async def _outcome(ready: _Ready) -> ToolEnd:
    """Run a call to its end, whatever that is."""
    call, tool, start = ready.call, ready.tool, monotonic()
    error: str | None = None
    try:
        value = await _within(tool, ready.given, ready.named)
        result = result_of(call.call_id, call.name, value)
    except Exception as failed:  # noqa: BLE001 (whatever a tool raises)
        error = _named(failed)
        try:
            text = await _words_for_model(tool, failed)
        except Exception as worse:  # noqa: BLE001 (whatever on_error raises)
            text, error = FAILED, f"{error}; on_error: {_named(worse)}"
        result = failure_of(call, text)
    if result.is_error and error is None:
        error = result.text
    return ToolEnd(call, result, monotonic() - start, error)


def _named(error: Exception) -> str:
    """An exception for the program."""
    kind = TimeoutError if isinstance(error, _OutOfTime) else type(error)
    return f"{kind.__name__}: {error}"


async def _within(tool: FunctionTool[..., Any], given: list[Any], named: dict[str, Any]) -> Any:
    """What the function returns. Raises TimeoutError at the tool's timeout, without waiting for it any longer."""
    task = asyncio.ensure_future(call_anywhere(tool.function, *given, **named))
    task.add_done_callback(_discard)
    try:
        done, _ = await asyncio.wait({task}, timeout=tool.timeout)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=_PATIENCE)
        raise
    if not done:
        task.cancel()
        raise _OutOfTime(f"no result within {tool.timeout:g} s")
    if task.cancelled():
        raise RuntimeError("the tool was cancelled, not by its run")
    return task.result()


def _discard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # asked for: asyncio would complain


async def _words_for_model(tool: FunctionTool[..., Any], error: Exception) -> str:
    """What the model learns of a failure; not an exception's own text, which may hold secrets."""
    if isinstance(error, ToolArgumentsError):
        return str(error)
    if tool.on_error is not None:
        text = await awaited(tool.on_error(error))
        if isinstance(text, str) and text:
            return text
        raise TypeError(f"it must return a text, not {type(text).__name__}")
    if isinstance(error, _OutOfTime):
        return f"The tool gave no result within {tool.timeout:g} seconds."
    return FAILED
