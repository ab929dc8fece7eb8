"""What a tool's function may know of the run that calls it."""

from __future__ import annotations

from typing import Generic, TypeVar

from brainwires_provider.types.parts import ToolCallPart

__all__ = ["ToolContext"]

D = TypeVar("D")


class ToolContext(Generic[D]):
    """What a run passes to a tool: a parameter with this annotation, at any position, is not the model's to fill.

    `ToolContext[Database]` says what `deps` is.
    """

    def __init__(self, deps: D, call: ToolCallPart, step: int) -> None:
        self.deps = deps
        """What the run was given as `deps=`."""
        self.call = call
        """The model's call."""
        self.step = step
        """The number of the model's response that made the call, from 1; 0 for a call of the input's."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.call.name!r}, step={self.step})"
