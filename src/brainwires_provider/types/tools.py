"""Tools that a model may call, the choice among them, and the schema of a response."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypedDict,
    TypeVar,
    overload,
)

from msgspec import field
from msgspec.structs import replace

from brainwires_provider.types.checked import Checked, check, misfit, shown
from brainwires_provider.types.context import ToolContext
from brainwires_provider.types.parts import Cache, Extra, ToolCallPart

if TYPE_CHECKING:
    from typing import Unpack

    from brainwires_provider.types.signatures import Signature

__all__ = ["FunctionTool", "HostedTool", "JSONSchema", "Tool", "ToolArgs", "ToolChoice", "as_tools", "tool"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


class Tool(Checked, frozen=True, tag_field="kind", tag="function", gc=False):
    """A function that the model may call, and that the caller runs.

    Raises TypeError or ValueError for a field of another type, or a schema that is no JSON; the other values here too.
    """

    name: str
    """The function's name, as it will be in the model's calls."""
    description: str
    """What the function does and when to call it, for the model."""
    parameters: Mapping[str, Any]
    """The JSON Schema of the arguments, sent as it is."""
    strict: bool | None = None
    """Whether the provider must make the model's arguments match the schema. None: the provider's default."""
    cache: Cache | None = None
    """A prompt-cache breakpoint after this tool."""
    extra: Extra | None = None
    """Fields of one provider's tool definition, by their wire names."""

    @staticmethod
    def from_function(f: Callable[P, R], /, **args: Unpack[ToolArgs]) -> FunctionTool[P, R]:
        """A tool of a function: its name, docstring and type hints. The keywords are those of `ToolArgs`.

        Raises TypeError for a parameter without a type hint, or of a type that JSON cannot give, and ValueError for a
        name that services refuse.
        """
        made: FunctionTool[P, R] = _from_function(f, args)
        return made


class ToolArgs(TypedDict, total=False):
    """The keywords of `tool` and `Tool.from_function`.

    - `name`: the tool's name, at most 64 letters, digits, `_` and `-`. Default: the function's.
    - `description`: what it does, for the model. Default: the docstring's text without its sections.
    - `strict`: whether the provider must make the arguments match the schema. Default: not sent.
    - `coerce`: whether a text is taken where it says a number, true, false or null: "5" for 5, "true" for true. 5.0 is
      an integer without it. Default: false.
    - `timeout`: seconds for one call, above 0, after which the model gets an error as its result. Default: none.
    - `parallel`: whether it may run beside other calls of one response. Default: true.
    - `requires_approval`: whether a call must be approved first; or a function of the call, sync or async.
      Default: false.
    - `on_error`: a function, sync or async, of an exception: the text that the model gets. Default, and where it gives
      none: that the tool failed, and nothing of the exception.
    - `cache`, `extra`: as in `Tool`.
    """

    name: str
    description: str
    strict: bool | None
    coerce: bool
    timeout: float | None
    parallel: bool
    requires_approval: bool | Callable[[ToolCallPart], bool | Awaitable[bool]]
    on_error: Callable[[Exception], str | Awaitable[str]] | None
    cache: Cache | None
    extra: Extra | None


class FunctionTool(Tool, Generic[P, R], frozen=True, kw_only=True, gc=True):
    """A tool that knows its function, and can be called like it. `client.run` calls it for the model.

    Made by `tool` and `Tool.from_function`; `ToolArgs` describes the fields.
    """

    function: Callable[P, R]
    coerce: bool = False
    timeout: float | None = None
    parallel: bool = True
    requires_approval: bool | Callable[[ToolCallPart], bool | Awaitable[bool]] = False
    on_error: Callable[[Exception], str | Awaitable[str]] | None = None
    _signature: object = None
    """Its `Signature`; a `_Method` for one that has no instance yet."""

    def __post_init__(self) -> None:
        check(self)
        if self.timeout is not None and self.timeout <= 0:
            raise ValueError(f"timeout takes seconds above 0, or None, not {self.timeout:g}")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def __wrapped__(self) -> Callable[P, R]:
        return self.function

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(
        self: FunctionTool[Concatenate[S, Q], R], instance: S, owner: type[Any] | None = None
    ) -> FunctionTool[Q, R]: ...
    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """The tool of an instance's method."""
        method = self._signature
        if instance is None or not isinstance(method, _Method):
            return self
        function = self.function.__get__(instance, owner)
        bound = method.bound
        if bound is None:
            bound = method.bound = _from_function(function, method.args)
        return replace(bound, function=function)

    def bind(
        self, call: ToolCallPart, make: Callable[[type[ToolContext[Any]]], ToolContext[Any]]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the function for a model's call; `make` makes its `ToolContext`.

        Raises ToolArgumentsError, whose text lists for the model all that is wrong with them.
        """
        signature: Signature = self._signature  # type: ignore[assignment]
        return signature.bind(signature.converted(call.args()), make)


class _Method:
    """What is known of a method's tool before it has an instance."""

    def __init__(self, args: ToolArgs) -> None:
        self.args = args
        self.bound: FunctionTool[..., Any] | None = None


@overload
def tool(f: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def tool(**args: Unpack[ToolArgs]) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def tool(f: Callable[..., Any] | None = None, /, **args: Unpack[ToolArgs]) -> Any:
    """Make a tool of a function, as a decorator: `@tool`, or `@tool(requires_approval=True)`.

    The function's name, docstring and type hints are what the model sees; it is called as before. The keywords, and
    what is raised, are those of `Tool.from_function`.
    """
    return partial(_decorated, args) if f is None else _from_function(f, args)


def _decorated(args: ToolArgs, f: Callable[..., Any]) -> Any:
    return _from_function(f, args)


def _from_function(f: Callable[..., Any], args: ToolArgs) -> Any:
    from brainwires_provider.types.signatures import Signature, function_name, is_generator, is_method

    for name in args.keys() - ToolArgs.__annotations__.keys():
        raise TypeError(f"a tool has no {name!r}; it takes {', '.join(ToolArgs.__annotations__)}")
    if isinstance(f, FunctionTool):
        f = f.function
    if not callable(f):
        hint = "; write @classmethod and @staticmethod above @tool" if isinstance(f, classmethod) else ""
        raise TypeError(f"a tool is made of a function, not {shown(f)}{hint}")
    if is_generator(f):
        raise TypeError(
            f"the tool {function_name(f)!r} is a generator function: return a list of what it yields"
        )
    fields: dict[str, Any] = {"name": function_name(f), **args}
    if not isinstance(fields["name"], str) or not _NAME.fullmatch(fields["name"]):
        raise ValueError(
            f"services refuse a tool named {fields['name']!r}: a name begins with a letter or _, and has at most 64 "
            'letters, digits, _ and -; give one by tool(name="…")'
        )
    if is_method(f):
        return FunctionTool(
            **{"description": "", **fields}, parameters={}, function=f, _signature=_Method(args)
        )
    signature = Signature(f, fields["name"], coerce=fields.get("coerce", False))
    fields = {"description": signature.description, "parameters": signature.schema, **fields}
    return FunctionTool(**fields, function=f, _signature=signature)


def as_tools(tools: Sequence[Any]) -> tuple[Tool | HostedTool, ...]:
    """Tools, and those of functions.

    Raises TypeError for anything else, and for a method without its instance; ValueError for a name that two have,
    one of them a function's.
    """
    taken: dict[str, Tool | HostedTool] = {}
    made = tuple(_as_tool(each, index) for index, each in enumerate(tools))
    if any(isinstance(each, FunctionTool) for each in made):
        for each in made:
            name = getattr(each, "name", "")
            if name in taken:
                raise ValueError(f'two tools are named {name!r}; give one of them another by tool(name="…")')
            if name:
                taken[name] = each
    return made


def free_name(name: str, taken: Container[str]) -> str:
    """A name that services take, of one that they may refuse, and that no other tool has."""
    fit = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    fit = (fit if _NAME.match(fit) else f"_{fit}")[:64]
    free, number = fit, 1
    while free in taken:
        number += 1
        free = f"{fit[: 63 - len(str(number))]}_{number}"
    return free


def _as_tool(value: Any, index: int) -> Tool | HostedTool:
    if isinstance(value, MethodType) and isinstance(value.__func__, FunctionTool):
        value = value.__func__.__get__(value.__self__)  # of a classmethod, from Python 3.13 on
    elif callable(value) and not isinstance(value, (type, Tool)):
        value = _from_function(value, {})
    if isinstance(value, FunctionTool) and isinstance(value._signature, _Method):
        raise TypeError(
            f"tools[{index}]: {value.name!r} is a method: pass that of an instance, as in tools=[thing.{value.name}]"
        )
    if isinstance(value, (Tool, HostedTool)):
        return value
    raise misfit(f"tools[{index}]", (Tool, HostedTool, Callable[..., Any]), value)


class HostedTool(Checked, frozen=True, tag_field="kind", tag="hosted", gc=False):
    """A tool that the provider runs itself, such as web search; sent as `{"type": type, **fields}`."""

    type: str
    """The provider's name of the tool."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The tool's settings, by their wire names."""
    cache: Cache | None = None
    """A prompt-cache breakpoint after this tool."""


class ToolChoice(Checked, frozen=True, gc=False):
    """Whether the model must call a tool, and which."""

    mode: Literal["auto", "none", "required"] = "auto"
    """One of "auto" (the model decides), "none" (no call), "required" (at least one call)."""
    names: tuple[str, ...] = ()
    """The tools to choose from. Empty: all tools of the request."""
    raw: Mapping[str, Any] | None = None
    """A choice in one provider's own form, sent as it is in place of the other fields."""

    @classmethod
    def tool(cls, name: str) -> Self:
        """The model must call this tool."""
        return cls("required", (name,))

    @classmethod
    def allowed(cls, *names: str, mode: Literal["auto", "required"] = "auto") -> Self:
        """The model may call only these tools."""
        return cls(mode, names)


class JSONSchema(Checked, frozen=True, gc=False):
    """A JSON Schema that the response's text must match."""

    name: str
    """A label, which some providers require."""
    schema: Mapping[str, Any]
    """The schema; a protocol that supports a part of JSON Schema only adapts it, and reports that."""
    description: str | None = None
    """What the output is for, for the model."""
    strict: bool | None = None
    """Whether the provider must enforce the schema exactly. None: the provider's default."""
