"""`--option NAME=VALUE`: any field of `Options`, and the options of the model's protocol, by the names that code uses.

They are read as the table `[options]` of a configuration file is, with the same checks, keys among them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from brainwires_provider.config.reading import Reader, near
from brainwires_provider.config.sections import read_options
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.config import provider_options_kinds
from brainwires_provider.types import Options

__all__ = ["read_given"]

_TEXTS = ("extra_headers", "extra_query")
_OF_PROTOCOLS = "provider_options"


def read_given(given: Iterable[str], protocol: str) -> Options | None:
    """The options of `NAME=VALUE`; `protocol` is that of the model, whose options need no prefix.

    Raises ConfigError for a name that does not exist, with the most similar one, and for a value that does not fit.
    """
    table: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise ConfigError("--option takes NAME=VALUE")  # it is not shown: it may be a key
        _put(table, _path(name.strip(), protocol), value)
    reader = Reader("--option", ".", {})
    reader.check_leaves(table, ())
    options = read_options(reader, table or None, ())
    reader.finish()
    return options


def _path(name: str, protocol: str) -> tuple[str, ...]:
    """The place of an option: its name, a field of it, or the same below the options of a protocol."""
    first, _, rest = name.partition(".")
    names = Options.__struct_fields__
    if first in names:
        if first == _OF_PROTOCOLS and rest:
            return (first, *rest.split(".", 2))
        return (first, rest) if rest else (first,)
    kinds = provider_options_kinds()
    if first in kinds and rest:
        return (_OF_PROTOCOLS, first, *rest.split(".", 1))
    own = kinds[protocol].__struct_fields__ if protocol in kinds else ()
    if first in own:
        return (_OF_PROTOCOLS, protocol, first, rest) if rest else (_OF_PROTOCOLS, protocol, first)
    every = [each for each in (*names, *own) if each != _OF_PROTOCOLS]
    hint = near(first, every) or f"there are: {', '.join(every)}"
    raise ConfigError(f"--option: there is no option {first!r}; {hint}")


def _put(table: dict[str, Any], path: tuple[str, ...], text: str) -> None:
    *outer, last = path
    for name in outer:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(
                f"--option: {path[0]} is given as a whole and by its fields; give one of the two"
            )
    table[last] = text if path[0] in _TEXTS and len(path) > 1 else _value(text)


def _value(text: str) -> Any:
    """A value that is written as JSON, else text."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
