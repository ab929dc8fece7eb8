"""Keyword arguments into one Request value, with a clear word about what does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from brainwires_provider.types import (
    ChatParams,
    HostedTool,
    JSONSchema,
    Message,
    Options,
    Request,
    TextPart,
    Tool,
    ToolChoice,
)
from brainwires_provider.types.options import NO_OPTIONS, merge_options

__all__ = ["Input", "build_request", "check_args", "messages_of", "stored_args"]

Input: TypeAlias = str | Message | Sequence[Message] | Request

_ARGS = frozenset(ChatParams.__annotations__)
_TUNING = frozenset(Options.__struct_fields__)
_NOTHING = Request(())


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
        return (Message("user", (TextPart(input),)),)
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
    input: Input, args: ChatParams, *, model: str, defaults: Options | None, empty: bool = False
) -> Request:
    """One Request for `model`, the provider's own name for it; `empty` lets one without a message pass.

    Keywords win over `options`, they over the input's own, that over the client's, field by field.

    Raises TypeError for a wrong keyword or type, ValueError for no message at all.
    """
    messages = messages_of(input)
    if messages and not args and not isinstance(input, Request):
        return Request(messages, model, options=defaults or NO_OPTIONS)
    check_args(args)
    base = input if isinstance(input, Request) else _NOTHING
    system = args.get("system", base.system)
    if not messages and system is None and not empty:
        raise ValueError("there is nothing to say: the input holds no message")
    own = base.options if base is input else None
    return Request(
        messages,
        model,
        system,
        _tools(args.get("tools", base.tools)),
        _tool_choice(args.get("tool_choice", base.tool_choice)),
        _output(args.get("output", base.output)),
        merge_options(defaults, own, args.get("options"), _keywords(args)),
        base.extra,
    )


def _keywords(args: Mapping[str, Any]) -> Options | None:
    """The knobs that were given as keywords."""
    tuning = {name: value for name, value in args.items() if name in _TUNING}
    if not tuning:
        return None
    for name in ("stop", "provider_options"):
        if isinstance(tuning.get(name), list):
            tuning[name] = tuple(tuning[name])
    return Options(**tuning)


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


def stored_args(first: ChatParams, later: ChatParams) -> ChatParams:
    """A conversation's own arguments under those of one turn."""
    merged: ChatParams = {**first, **later}
    own, turn = first.get("options"), later.get("options")
    if own is not None and turn is not None:
        merged["options"] = merge_options(own, turn)
    return merged
