"""What a docstring says of a function and its parameters, for a tool's schema.

The Google, NumPy, Sphinx and Epydoc styles are read by docstring_parser (the extra `tools`), which is loaded for the
first docstring. Without it the first paragraph is the description, and parameters have none.
"""

from __future__ import annotations

import re
from inspect import cleandoc
from textwrap import indent

__all__ = ["read_docstring"]

_FIRST_SECTION = re.compile(r"(Args|Arguments|Parameters|Params):?[ \t]*\n")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The description of the function, and those of its parameters by name."""
    if not text or not text.strip():
        return "", {}
    text = cleandoc(text)
    try:
        from docstring_parser import DocstringParam, parse
    except ImportError:
        return _unwrapped(text.partition("\n\n")[0]), {}
    bare = _FIRST_SECTION.match(text) is not None
    if bare:  # a section is found behind a paragraph only, and by its indentation
        head, _, body = text.partition("\n")
        text = f"-\n\n{head}\n{body if body[:1].isspace() else indent(body, '    ')}"
    parsed = parse(text)
    described: dict[str, str] = {}
    for item in parsed.meta:
        if isinstance(item, DocstringParam) and item.args[0] != "attribute" and item.description:
            for name in item.arg_name.split(","):  # NumPy's `b, c : int`
                described[name.strip().lstrip("*")] = _unwrapped(item.description)
    gap = "\n\n" if parsed.blank_after_short_description else "\n"
    description = gap.join(filter(None, (parsed.short_description, parsed.long_description)))
    return "" if bare else _unwrapped(description), described


def _unwrapped(text: str) -> str:
    """The text without the source's line breaks: those of lists and of indented lines are kept."""
    return re.sub(r"(?<=\S)\n(?![\s*+>-]|\d+[.)])", " ", text.strip())
