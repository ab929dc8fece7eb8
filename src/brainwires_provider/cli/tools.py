"""The tools of `brainwires chat -T`: found by their names, and run only with the user's approval."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from msgspec.structs import replace

from brainwires_provider.cli.terminal import ask, is_terminal
from brainwires_provider.errors import ConfigError
from brainwires_provider.types import Deny, FunctionTool, ToolCallPart, Verdict
from brainwires_provider.types.runs import RunParams
from brainwires_provider.types.tools import as_tools

__all__ = ["tool_args"]


def tool_args(names: Sequence[tuple[str, str]], *, unasked: bool) -> RunParams:
    """The keywords of a run with these tools, each named by a folder and `module:function` in it.

    Unless `unasked`, every call is asked about. Raises ConfigError for a name without a function, and where nobody can
    be asked.
    """
    if not unasked and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise ConfigError(
            "-T asks before each call, which needs a terminal; --yes runs the calls without asking"
        )
    try:
        tools = as_tools([_found(folder, name) for folder, name in names])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"-T: {error}") from None
    asked = [replace(each, requires_approval=not unasked) for each in tools if isinstance(each, FunctionTool)]
    return {"tools": asked, "approve": _approve}


def _found(folder: str, name: str) -> Any:
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)  # as `python -m` has it
    module, _, path = name.partition(":")
    if not module or not path:
        raise ConfigError(f"-T takes MODULE:FUNCTION, not {name!r}")
    try:
        value: Any = import_module(module)
        for each in path.split("."):
            value = getattr(value, each)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"-T {name}: {error}") from None
    return value


async def _approve(call: ToolCallPart) -> Verdict:
    """Ask on the event loop itself, which has nothing else to do: a thread could not be interrupted."""
    answer = ask(f"run {call.name}({call.arguments})? [y/N, or why not] ")
    if answer.lower() in ("y", "yes"):
        return True
    return False if answer.lower() in ("", "n", "no") else Deny(answer)
