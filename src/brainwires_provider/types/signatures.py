"""What a function takes, as a model may give it: its parameters, their types, and how a call is made of arguments.

The hints are evaluated where the function was defined; names that only the caller's frame knows (a class that is local
to a function, under postponed annotations) are looked up there.
"""

from __future__ import annotations

import inspect
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, UNSET

from brainwires_provider.types.context import ToolContext
from brainwires_provider.types.docstrings import read_docstring
from brainwires_provider.types.forms import below
from brainwires_provider.types.parts import ToolArgumentsError
from brainwires_provider.types.typed import Field, Invalid, Problem, typed_fields, typed_of

__all__ = ["Signature", "function_name", "is_generator", "is_method"]

_PACKAGE = __name__.partition(".")[0]
_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_REST, _KEYWORDS = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD


class Signature:
    """A function's parameters and its description. Raises TypeError for a function that cannot be a tool."""

    def __init__(self, function: Callable[..., Any], name: str, *, coerce: bool) -> None:
        self._name = name
        self._contexts: dict[str, type[ToolContext[Any]]] = {}
        self._order: list[inspect.Parameter] = []
        self.description, self._described = read_docstring(_docstring(function))
        try:
            whole = inspect.signature(function)
        except (TypeError, ValueError, NameError) as error:
            raise TypeError(f"the tool {name!r}: its signature cannot be read ({error})") from None
        bound = function.keywords if isinstance(function, partial) else {}
        hidden = inspect.signature(function.func).parameters if isinstance(function, partial) else {}
        self._taken = {*whole.parameters, *hidden, *bound}
        scope = _Scope(function, name)
        fields = (self._field(each, scope) for each in whole.parameters.values() if each.name not in bound)
        self._typed = typed_fields(name, [each for each in fields if each is not None], coerce=coerce)

    def _field(self, parameter: inspect.Parameter, scope: _Scope) -> Field | None:
        """What the model may fill; None for what the run fills."""
        name, default = parameter.name, parameter.default
        if parameter.annotation is _EMPTY:
            raise TypeError(
                f"the tool {self._name!r}: its parameter {name!r} has no type hint, so that a model does not know "
                f"what to give; write {name}: str, or what it takes"
            )
        hint = scope.hint(parameter)
        self._order.append(parameter)
        context = _context_class(hint)
        if context is not None and parameter.kind in (_REST, _KEYWORDS):
            raise TypeError(
                f"the tool {self._name!r}: the run gives its parameter {name!r} one {context.__name__}: write "
                f"{name}: {context.__name__}, without an asterisk"
            )
        if context is not None:
            self._contexts[name] = context
            return None
        if parameter.kind in (_REST, _KEYWORDS) and (whole := _unpacked(hint)) is not None:
            schema = typed_of(whole).schema
            hint, default = whole, NODEFAULT if schema.get("required") or schema.get("minItems") else UNSET
        elif parameter.kind is _REST:
            hint, default = list[hint], UNSET  # type: ignore[valid-type]
        elif parameter.kind is _KEYWORDS:
            hint, default = dict[str, hint], UNSET  # type: ignore[valid-type]
        elif default is _EMPTY:
            default = NODEFAULT
        return Field(name, hint, default, self._described.get(name))

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the arguments."""
        return self._typed.schema

    def converted(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A model's arguments, as the function takes them. Raises ToolArgumentsError with all that is wrong."""
        problems: tuple[Problem, ...] = ()
        values: dict[str, Any] = {}
        try:
            values = self._typed.convert(arguments)
        except Invalid as error:
            problems = error.problems
        if problems := (*problems, *self._overridden(arguments)):
            raise ToolArgumentsError(f"The arguments of {self._name!r} are wrong:\n{Invalid(problems)}")
        return values

    def _overridden(self, arguments: Mapping[str, Any]) -> list[Problem]:
        """What `**keywords` would give to a parameter: theirs is what no parameter takes and nothing binds."""
        if not self._order or self._order[-1].kind is not _KEYWORDS:
            return []
        rest = self._order[-1].name
        given = arguments.get(rest)
        names = [name for name in given if name in self._taken] if isinstance(given, dict) else ()
        return [
            Problem(below(rest, name), "is not allowed here: a parameter has this name") for name in names
        ]

    def bind(
        self, values: Mapping[str, Any], make: Callable[[type[ToolContext[Any]]], ToolContext[Any]]
    ) -> tuple[list[Any], dict[str, Any]]:
        """The positional and keyword arguments of a call, of converted values; `make` makes what the run fills."""
        given: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in self._order:
            name, kind = parameter.name, parameter.kind
            context = self._contexts.get(name)
            if context is None and name not in values and parameter.default is _EMPTY:
                continue  # *args and **kwargs that were not given
            value: Any = make(context) if context is not None else values.get(name, parameter.default)
            if kind in _POSITIONAL:
                given.append(value)
            elif kind is _REST:
                given += value
            elif kind is _KEYWORDS:
                named |= value
            else:
                named[name] = value
        return given, named


class _Scope:
    """Where the names in a function's annotations are looked up."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._tool = name
        inner = _plain_function(function)
        self._globals: dict[str, Any] = getattr(inner, "__globals__", {})
        self._outside: Mapping[str, Any] | None = None

    def hint(self, parameter: inspect.Parameter) -> Any:
        """The annotation's value. Raises TypeError naming the parameter."""
        with suppress(Exception):
            return self._evaluated(parameter.annotation, None)
        if self._outside is None:
            self._outside = ChainMap(_outer_names(), {"ToolContext": ToolContext})
        try:
            return self._evaluated(parameter.annotation, self._outside)
        except Exception as error:  # noqa: BLE001 (whatever the text of a hint raises)
            is_unknown = isinstance(error, NameError)
            remedy = "define the type at the module's level" if is_unknown else "write a type in its place"
            raise TypeError(
                f"the tool {self._tool!r}: the type hint {parameter.annotation!r} of its parameter {parameter.name!r} "
                f"cannot be evaluated ({error}); {remedy}"
            ) from None

    def _evaluated(self, annotation: Any, names: Mapping[str, Any] | None) -> Any:
        def holder() -> None: ...

        holder.__annotations__ = {"it": annotation}
        return get_type_hints(holder, self._globals, names, include_extras=True)["it"]


def _outer_names() -> dict[str, Any]:
    """The local names of the nearest caller outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return dict(frame.f_locals)


def _context_class(hint: Any) -> type[ToolContext[Any]] | None:
    """The class of a parameter that the run fills: `ToolContext[…]`, a subclass, either of them or None."""
    origin = get_origin(hint)
    if origin is Annotated or origin in (Union, UnionType):
        arms = get_args(hint)[:1] if origin is Annotated else get_args(hint)
        return next(filter(None, map(_context_class, arms)), None)
    kind = origin or hint
    return kind if isinstance(kind, type) and issubclass(kind, ToolContext) else None


def _unpacked(hint: Any) -> Any:
    """What `*args: Unpack[…]`, `*args: *…` and `**kw: Unpack[…]` take as a whole; None for another hint."""
    if getattr(get_origin(hint), "_name", None) == "Unpack":
        return get_args(hint)[0]
    return hint if getattr(hint, "__unpacked__", False) else None


def _plain_function(function: Any) -> Any:
    """The function below partials, decorators, bound methods, and objects that can be called."""
    while True:
        if isinstance(function, partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function):
            return function
        elif isinstance(function, type):
            function = function.__init__  # type: ignore[misc]
        else:
            function = type(function).__call__


def _docstring(function: Callable[..., Any]) -> str | None:
    """The docstring of the function itself, or of what it wraps; of an object, its class's or its `__call__`'s."""
    if isinstance(function, partial):
        return _docstring(function.func)
    if inspect.isroutine(function) or isinstance(function, type):
        return function.__doc__
    return type(function).__call__.__doc__ or type(function).__doc__


def function_name(function: Any) -> str:
    """What a function is called, as a tool's name."""
    if isinstance(function, partial):
        return function_name(function.func)
    return getattr(function, "__name__", None) or type(function).__name__


def is_generator(function: Any) -> bool:
    """Whether a call of it gives a generator, which is no result."""
    called = (
        function if inspect.isroutine(function) or isinstance(function, partial) else type(function).__call__
    )
    return inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)


def is_method(function: Any) -> bool:
    """Whether this is a method in its class's body, which has no instance yet."""
    if not inspect.isfunction(function) or "." not in function.__qualname__:
        return False
    if function.__qualname__.rpartition(".")[0].endswith("<locals>"):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name in ("self", "cls") and first.annotation is _EMPTY
