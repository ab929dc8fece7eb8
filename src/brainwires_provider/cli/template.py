"""Templates: the options of `chat` under a name, in a file of the user's own configuration folder.

A text of a template may have variables, `$name` or `${name}`; `$input` is what the user asks, `$$` is a dollar sign.
The tools of a template are looked for in the folder that it was saved in, and never in the one where it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from brainwires_provider.config.reading import near
from brainwires_provider.errors import ConfigError

__all__ = [
    "INPUT",
    "Template",
    "as_toml",
    "fill",
    "load",
    "names",
    "place",
    "read_params",
    "read_values",
    "save",
    "variables",
]

INPUT = "input"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
_END = ".toml"


class Template(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A template, with the names that the options of the command have."""

    prompt: str | None = None
    """What is asked, with `$input` in it or before it. None: the input alone."""
    system: str | None = None
    model: str | None = None
    temperature: str | None = None
    max_tokens: int | None = None
    attempts: int | None = None
    hedge: float | None = None
    schema: str | None = None
    option: list[str] = field(default_factory=list)
    fragment: list[str] = field(default_factory=list)
    attach: list[str] = field(default_factory=list)
    tool: list[str] = field(default_factory=list)
    folder: str | None = None
    """Where the modules of the tools are."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Values of variables that are used where none is given."""


def place(name: str = "") -> str:
    """The path of a template, or of their folder. Raises ConfigError for a name that is none."""
    import platformdirs

    folder = os.path.join(platformdirs.user_config_dir("brainwires", appauthor=False), "templates")
    if not os.path.isabs(folder):
        raise ConfigError(
            "templates are kept in your configuration folder, and there is none: HOME is not set"
        )
    if not name:
        return folder
    if _NAME.fullmatch(name) is None:
        raise ConfigError(f"{name!r} is no name for a template: letters, digits, - and _")
    return os.path.join(folder, name + _END)


def names() -> list[str]:
    """The names of all templates. Raises ConfigError."""
    try:
        found = os.listdir(place())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"{place()}: cannot be read: {error.strerror}") from None
    stems = (each.removesuffix(_END) for each in found if each.endswith(_END))
    return sorted(each for each in stems if _NAME.fullmatch(each))


def load(name: str) -> Template:
    """The template of a name. Raises ConfigError if there is none, and for what is wrong in it."""
    import tomllib

    path = place(name)
    try:
        with open(path, encoding="utf-8") as file:
            return _checked(msgspec.convert(tomllib.loads(file.read()), Template))
    except FileNotFoundError:
        hint = near(name, names()) or "`brainwires templates` lists them"
        raise ConfigError(f"there is no template {name}; {hint}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, no template
        raise ConfigError(f"{path}: {error}") from None


def _checked(template: Template) -> Template:
    """Raises ValueError."""
    if template.tool and not os.path.isabs(template.folder or ""):
        raise ValueError("folder is missing: the absolute path of the folder with the modules of its tools")
    if INPUT in variables((template.system,)):
        raise ValueError("$input belongs into the prompt, not into the system prompt")
    return template


def save(name: str, template: Template) -> bool:
    """Write a template, readable by the user alone; whether it replaces another one. Raises ConfigError."""
    from brainwires_provider.local.weights.folders import write_atomically

    path = place(name)
    try:
        _checked(template)
        os.makedirs(place(), mode=0o700, exist_ok=True)
        replaces = os.path.exists(path)
        write_atomically(path, as_toml(template).encode())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be written: {error}") from None
    return replaces


def variables(texts: Iterable[str | None]) -> list[str]:
    """The names of the variables in these texts, each once, in their order."""
    found = (match for text in texts for match in _VARIABLE.finditer(text or ""))
    return list(dict.fromkeys(match[2] or match[3] for match in found if not match[1]))


def read_params(given: Iterable[str]) -> dict[str, str]:
    """The values of `NAME=VALUE`. Raises ConfigError."""
    values = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or name == INPUT:
            raise ConfigError("--param takes NAME=VALUE; the value of $input is the prompt")
        values[name] = value
    return values


def read_values(name: str, template: Template, given: Iterable[str]) -> dict[str, str]:
    """The value of each variable of a template but `$input`. Raises ConfigError for one that is missing or unknown."""
    asked = variables((template.system, template.prompt))
    params = read_params(given)
    for each in params:
        if each not in asked:
            raise ConfigError(
                f"template {name} has no variable {each}; {near(each, asked) or f'it has: {asked}'}"
            )
    values = template.defaults | params
    if missing := [each for each in asked if each not in values and each != INPUT]:
        raise ConfigError(f"template {name} needs {', '.join(missing)}: -p {missing[0]}=VALUE")
    return values


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with the values of its variables, each of which has one."""
    return _VARIABLE.sub(lambda found: "$" if found[1] else values[found[2] or found[3]], text)


def as_toml(template: Template) -> str:
    """The file of a template."""
    given: dict[str, Any] = msgspec.to_builtins(template)
    defaults = given.pop("defaults", {})
    lines = [f"{name} = {_written(value)}" for name, value in given.items()]
    if defaults:
        lines += ["", "[defaults]", *(f"{name} = {_written(value)}" for name, value in defaults.items())]
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    """A value in TOML: JSON is, but for one character, and several lines are easier to edit as they are."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str) and "\n" in value and "'''" not in value and _is_plain(value):
        return f"'''\n{value}'''"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _is_plain(text: str) -> bool:
    return not text.endswith("'") and all((c >= " " and c != "\x7f") or c in "\n\t" for c in text)
