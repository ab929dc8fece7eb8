"""Keyword arguments into one Request value, with a clear word about what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from brainwires_provider.types import (
    Args,
    HostedTool,
    JSONSchema,
    Message,
    Options,
    Request,
    Tool,
    ToolChoice,
)
from brainwires_provider.types.options import merge_options

__all__ = ["Input", "build_request", "check_args", "messages_of", "stored_args"]

Input: TypeAlias = str | Message | Sequence[Message] | Request

_ARGS = frozenset(Args.__annotations__)
_TUNING = frozenset(Options.__struct_fields__)


def check_args(args: Mapping[str, Any]) -> None:
    """Raises TypeError for a keyword that does not exist, naming the nearest that does."""
    for name in args:
        if name not in _ARGS:
            near = get_close_matches(name, _ARGS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"unexpected keyword argument {name!r}{hint}")


def messages_of(input: Input) -> tuple[Message, ...]:
    """The messages of any form of input. Raises TypeError naming a wrong type."""
    if isinstance(input, str):
        return (Message.user(input),)
    if isinstance(input, Message):
        return (input,)
    if isinstance(input, Request):
        return input.messages
    if isinstance(input, (list, tuple)):
        for item in input:
            if not isinstance(item, Message):
                raise TypeError(
                    f"input takes text, messages or a Request; the list holds {type(item).__name__}"
                )
        return tuple(input)
    raise TypeError(f"input takes text, a Message, a list of them, or a Request, not {type(input).__name__}")


def build_request(
    input: Input, args: Args, *, model: str, defaults: Options | None, empty: bool = False
) -> Request:
    """One Request for `model`, the provider's own name for it; `empty` lets one without a message pass.

    Keywords win over `options`, they over the input's own, that over the client's, field by field.

    Raises TypeError for a wrong keyword or type, ValueError for no message at all.
    """
    given: dict[str, Any] = {**args}
    check_args(given)
    base = input if isinstance(input, Request) else Request(())
    messages = messages_of(input)
    system = given.get("system", base.system)
    if not messages and system is None and not empty:
        raise ValueError("there is nothing to say: the input holds no message")
    tuning: dict[str, Any] = {name: value for name, value in given.items() if name in _TUNING}
    for name in ("stop", "provider_options"):
        if isinstance(tuning.get(name), list):
            tuning[name] = tuple(tuning[name])
    keywords = Options(**tuning) if tuning else None
    own = base.options if base.options.set_fields() else None
    return Request(
        messages,
        model,
        system,
        _tools(given.get("tools", base.tools)),
        _tool_choice(given.get("tool_choice", base.tool_choice)),
        _output(given.get("output", base.output)),
        merge_options(defaults, own, given.get("options"), keywords),
        base.extra,
    )


def _tools(tools: Any) -> tuple[Tool | HostedTool, ...]:
    if isinstance(tools, (Tool, HostedTool)):
        tools = (tools,)
    if tools is None:
        return ()
    if not isinstance(tools, (list, tuple)):
        raise TypeError(f"tools takes a list of Tool and HostedTool, not {type(tools).__name__}")
    for tool in tools:
        if not isinstance(tool, (Tool, HostedTool)):
            raise TypeError(f"tools takes Tool and HostedTool, not {type(tool).__name__}")
    return tuple(tools)


def _tool_choice(choice: Any) -> ToolChoice | None:
    if choice is None or isinstance(choice, ToolChoice):
        return choice
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice)
    raise TypeError(
        f'tool_choice takes "auto", "none", "required" or a ToolChoice, not {choice!r}; '
        "for one tool: ToolChoice.tool(name)"
    )


def _output(output: Any) -> Any:
    if output is None or output == "json" or isinstance(output, JSONSchema):
        return output
    raise TypeError(f'output takes "json" or a JSONSchema(name, schema), not {type(output).__name__}')


def stored_args(first: Args, later: Args) -> Args:
    """A conversation's own arguments under those of one turn."""
    merged: Args = {**first, **later}
    own, turn = first.get("options"), later.get("options")
    if own is not None and turn is not None:
        merged["options"] = merge_options(own, turn)
    return merged
