"""What a run of tools takes: its keywords, and what the user decides about a call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeAlias, TypedDict

from brainwires_provider.types.checked import Checked, check
from brainwires_provider.types.options import ChatParams
from brainwires_provider.types.parts import ToolCallPart
from brainwires_provider.types.responses import Response

__all__ = ["Deny", "RunEnd", "RunParams", "RunSettings", "Verdict"]


class Deny(Checked, frozen=True, gc=False):
    """A tool call is not to be run, and why."""

    reason: str = ""
    """For the model. Empty: that it was denied, and no more."""


Verdict: TypeAlias = bool | Deny | Mapping[str, Any]
"""What the user decides about a call: run it, do not run it (`False`, or `Deny(reason)`), or run it with these
arguments instead."""
RunEnd: TypeAlias = Literal["answer", "until", "max_steps", "max_failures", "approval"]
"""Why a run has ended: with the model's answer, by `until`, at a limit, or to wait for an approval."""
_Approve: TypeAlias = Callable[[ToolCallPart], Verdict | Awaitable[Verdict]]


class _Own(TypedDict, total=False):
    max_steps: int
    max_parallel: int
    max_failures: int
    deps: Any
    until: Callable[[Response], bool | Awaitable[bool]]
    approve: _Approve
    verdicts: Mapping[str, Verdict]


class RunParams(ChatParams, _Own, total=False):
    """Every keyword of `run`: those of `chat`, and these.

    - `max_steps`: the most responses to ask the model for. Default: 10.
    - `max_parallel`: the most calls to run at the same time. Default: 8.
    - `max_failures`: the run ends when so many consecutive responses had calls, all of which failed. Default: 3.
    - `deps`: what tools find as `ToolContext.deps`. Default: None.
    - `until`: a function, sync or async, of each response that has calls: true ends the run before they are run.
      Default: none.
    - `approve`: a function, sync or async, of each call that requires an approval: its `Verdict`. Default: such a call
      is in `run.pending`.
    - `verdicts`: a `Verdict` for each call of the input that waits for one, by the call's id. It holds for no
      later call, whatever its id. Default: none.
    """


class RunSettings(Checked, frozen=True, gc=True):
    """The keywords of a run that are not those of `chat`. Raises TypeError or ValueError for a wrong value."""

    max_steps: int = 10
    max_parallel: int = 8
    max_failures: int = 3
    deps: object = None
    until: Callable[[Response], bool | Awaitable[bool]] | None = None
    approve: Callable[[ToolCallPart], Any] | None = None
    verdicts: Mapping[str, bool | Deny | Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        check(self)
        for name in ("max_steps", "max_parallel", "max_failures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} takes 1 or more, not {getattr(self, name)}")
