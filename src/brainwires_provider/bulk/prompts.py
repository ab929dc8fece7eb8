"""From a row to what the model is asked: a template, a function, or the row itself. And the row's id."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, TypeAlias

import msgspec

from brainwires_provider._core.plan import Input
from brainwires_provider.errors import ConfigError
from brainwires_provider.types import Message, Request

__all__ = ["Id", "Prompt", "Template", "as_input", "as_texts", "check_columns", "has_prompt", "id_of"]

Prompt: TypeAlias = str | Callable[[Any], Any] | None
"""A template with columns in braces, a function of the row (async too), or None for the row itself."""
Id: TypeAlias = str | Callable[[Any], str | int] | None
_OWN = ("prompt", "messages")
"""The columns that a row without a template is asked by."""


class Template:
    """A text with columns in braces: `"Translate into {language}: {text}"`. `{{` and `}}` are braces.

    A number may have a format, `{price:.2f}`. Raises ConfigError for what is no template.
    """

    def __init__(self, text: str) -> None:
        self._parts: list[tuple[str, str | None, str]] = []
        try:
            for literal, name, spec, conversion in string.Formatter().parse(text):
                if conversion is not None or name == "" or "{" in (spec or ""):
                    raise ValueError("braces hold the name of a column")
                self._parts.append((literal, name, spec or ""))
        except ValueError as error:
            raise ConfigError(f"the prompt is no template: {error}; write {{{{ and }}}} for braces") from None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names."""
        return tuple(name for _, name, _ in self._parts if name is not None)

    def fill(self, row: Any) -> str:
        """The text for a row. Raises ValueError for a column that the row has not, or that is empty in it (null)."""
        pieces = []
        for literal, name, spec in self._parts:
            pieces.append(literal)
            if name is not None:
                pieces.append(_written(_column(row, name), name, spec))
        return "".join(pieces)


def _written(value: Any, name: str, spec: str) -> str:
    if value is None:
        raise ValueError(f"the column {name!r} is null in this row")
    if spec:
        return format(value, spec)
    if isinstance(value, (Mapping, list, tuple)):
        return msgspec.json.encode(value).decode()
    return value if isinstance(value, str) else str(value)


def _column(row: Any, name: str) -> Any:
    if not isinstance(row, Mapping):
        raise ValueError(f"a row must be a mapping to have a column {name!r}, not {type(row).__name__}")
    if name not in row:
        raise ValueError(f"the row has no column {name!r}; it has {', '.join(map(str, row)) or 'none'}")
    return row[name]


def check_columns(row: Any, prompt: Template | Callable[[Any], Any] | None, id: Id) -> None:
    """Whether a template and an id fit the first row. Raises ConfigError, before anything is sent."""
    named = prompt.columns if isinstance(prompt, Template) else ()
    try:
        for name in (*named, *((id,) if isinstance(id, str) else ())):
            _column(row, name)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def id_of(row: Any, number: int, id: Id) -> str | int:
    """The id of a row. Raises ValueError for one that is neither a text nor an integer."""
    if id is None:
        return number
    found = _column(row, id) if isinstance(id, str) else _called(id, row)
    if not isinstance(found, (str, int)) or isinstance(found, bool):
        raise ValueError(f"the id of row {number} is {found!r}: an id is a text or an integer")
    return found


def has_prompt(row: Any) -> bool:
    """Whether a row can be asked without a template: it is no mapping, or has a value in a column for that."""
    return not isinstance(row, Mapping) or _own(row) is not None


def _own(row: Mapping[str, Any]) -> str | None:
    return next((each for each in _OWN if row.get(each) is not None), None)


def _called(id: Callable[[Any], str | int], row: Any) -> str | int:
    try:
        return id(row)
    except Exception as error:
        raise ValueError(f"the function of the id has raised {type(error).__name__}: {error}") from error


async def as_input(row: Any, prompt: Template | Callable[[Any], Any] | None) -> Input:
    """What is asked about a row. Raises ValueError, and whatever a function raises."""
    if isinstance(prompt, Template):
        return prompt.fill(row)
    if prompt is not None:
        made = prompt(row)
        asked: Input = await made if isawaitable(made) else made
        return asked
    if isinstance(row, Mapping):
        name = _own(row)
        if name is None:
            raise ValueError(
                "the row has neither a column 'prompt' nor 'messages'; give a template (prompt='… {column}') or a "
                f"function. It has {', '.join(map(str, row)) or 'none'}"
            )
        return _messages(row[name]) if name == "messages" else str(row[name])
    if not isinstance(row, (str, Message, Request, Sequence)):
        raise ValueError(f"a row is a text, messages or a mapping, not {type(row).__name__}; give a function")
    return row


def _messages(given: Any) -> Sequence[Message]:
    """Messages as values, as `dump_messages` writes them, or with a role and a text."""
    if isinstance(given, (str, bytes)):
        given = msgspec.json.decode(given)
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"the column 'messages' is a list, not {type(given).__name__}")
    return [_message(each, number) for number, each in enumerate(given)]


def _message(given: Any, number: int) -> Message:
    if isinstance(given, Message):
        return given
    try:
        if isinstance(given, Mapping) and isinstance(given.get("content"), str):
            return Message(given["role"], given["content"])
        return msgspec.convert(given, Message)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise ValueError(f"messages[{number}] has no role and content that can be read: {error}") from None


async def as_texts(row: Any, prompt: Template | Callable[[Any], Any] | None) -> list[str]:
    """The texts of a row to embed: one, or several. Raises ValueError."""
    made = await as_input(row, prompt)
    texts: Any = [made] if isinstance(made, str) else made
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(each, str) for each in texts):
        raise ValueError("what is embedded is a text, or a list of texts")
    if not all(texts):
        raise ValueError("a text to embed is empty")
    return list(texts)
