"""Writes what the synchronous and the asynchronous interface have in common, from one source.

- The keyword arguments in the docstrings of `AsyncClient.chat`, `stream`, `prepare`, `count_tokens` and `conversation`
  are those of `OutputParams`, `ChatParams` and their bases in `types/options.py` and `types/policies.py`.
- The members of `Client` and its base, `Conversation`, `Batch`, `Bulk`, `Responses`, `Interactions`, `Ollama`, `Local`
  and `LocalPool` that only call the asynchronous class of the same name are written between two marks in each class:
  same signature, same docstring. A member that is defined outside the marks, with a body of its own, is left alone.

    uv run python tools/write_sync.py [--check]

`--check` writes nothing, and exits with 1 where a file differs; `tests/unit/test_written_sync.py` runs it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).resolve().parents[1] / "src/brainwires_provider"
BEGIN = "# -- written by tools/write_sync.py from {} --"
END = "# -- end of what is written --"
WIDTH = 119


class Mirror(NamedTuple):
    """An asynchronous class, and where its synchronous counterpart is."""

    source: str
    name: str
    target: str
    client: str = "self._client"
    """The expression for the client in the synchronous class."""
    into: str = ""
    """The synchronous class, where it has another name."""


MIRRORS = (
    Mirror("client.py", "AsyncClient", "sync/client.py", client="self"),
    Mirror("resources/of_client.py", "Resources", "sync/of_client.py", client="self"),
    Mirror("bulk/of_client.py", "BulkCalls", "sync/of_client.py", client="self", into="Resources"),
    Mirror("bulk/engine.py", "AsyncBulk", "sync/bulk.py"),
    Mirror("conversation.py", "AsyncConversation", "sync/conversation.py"),
    Mirror("resources/responses.py", "AsyncResponses", "sync/responses.py"),
    Mirror("resources/batch.py", "AsyncBatch", "sync/batch.py"),
    Mirror("resources/interactions.py", "AsyncInteractions", "sync/interactions.py"),
    Mirror("resources/ollama.py", "AsyncOllama", "sync/ollama.py"),
    Mirror("resources/local.py", "AsyncLocal", "sync/local.py"),
    Mirror("resources/local.py", "AsyncLocalPool", "sync/local.py"),
)
# How what an operation returns is made synchronous, by its type.
WRAPPED = {
    "AsyncStream": "Stream(made({call}), {client})",
    "AsyncOllamaProgressStream": "OllamaProgressStream(Stream(made({call})._stream, {client}))",
    "AsyncConversation": "Conversation({client}, made({call}))",
    "AsyncLocalPool": "LocalPool({client}, made({call}))",
}
LAZY = {
    "AsyncBatch": "batch",
    "AsyncBulk": "bulk",
    "AsyncInteractions": "interactions",
    "AsyncLocal": "local",
    "AsyncOllama": "ollama",
    "AsyncResponses": "responses",
}
"""What an operation of the client returns, whose synchronous counterpart is imported when it is needed."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def main(check: bool) -> int:
    """Write every file, or say which ones differ."""
    differing = []
    for path, text in written():
        if text != path.read_text(encoding="utf-8"):
            differing.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in differing:
        print(f"{path.relative_to(SOURCE)} {'differs from its source' if check else 'written'}")
    return 1 if check and differing else 0


def written() -> Iterator[tuple[Path, str]]:
    """Each file that has written parts, and what it should hold."""
    client = SOURCE / "client.py"
    sources = {client: formatted(with_keywords(client.read_text(encoding="utf-8")))}
    targets: dict[Path, str] = {}
    for mirror in MIRRORS:
        source, target = SOURCE / mirror.source, SOURCE / mirror.target
        text = sources.get(source) or source.read_text(encoding="utf-8")
        targets[target] = with_members(
            targets.get(target) or target.read_text(encoding="utf-8"), class_of(text, mirror.name), mirror
        )
    yield client, sources[client]
    for target, text in targets.items():
        yield target, formatted(text)


def formatted(text: str) -> str:
    """As `ruff format` has it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(SOURCE / "client.py"), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


# -- the keywords in docstrings ------------------------------------------------------------------------------


def keywords() -> list[tuple[str, str]]:
    """The keyword arguments of a chat, with their descriptions."""
    trees = [
        ast.parse((SOURCE / f"types/{name}.py").read_text(encoding="utf-8"))
        for name in ("options", "policies")
    ]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    docs = {node.name: ast.get_docstring(node) or "" for node in classes}
    found = []
    for name in ("OutputParams", "ChatParams", "OptionParams", "PolicyParams"):
        for item in re.findall(r"^- (.*?)(?=^- |\Z)", docs[name], re.M | re.S):
            keyword, _, text = " ".join(item.split()).partition(": ")
            found.append((keyword.strip("`"), text))
    return found


def with_keywords(text: str) -> str:
    """A module, with the keywords in each docstring that has a list of arguments and takes them all."""
    lines = text.splitlines()
    for node in reversed([each for each in ast.walk(ast.parse(text)) if isinstance(each, Function)]):
        kwarg = node.args.kwarg
        doc = ast.get_docstring(node, clean=False) or ""
        if kwarg is None or kwarg.annotation is None or "    Args:\n" not in doc:
            continue
        constant = node.body[0]
        whole = "\n".join(lines[constant.lineno - 1 : constant.end_lineno])
        own = [each.arg for each in (*node.args.args, *node.args.kwonlyargs) if each.arg != "self"]
        lines[constant.lineno - 1 : constant.end_lineno] = documented(whole, own).splitlines()
    return "\n".join(lines) + "\n"


def documented(doc: str, own: list[str]) -> str:
    """A docstring whose section of arguments has the method's own, as they stand, and then all keywords."""
    before, rest = doc.split("        Args:\n", 1)
    section, gap, after = rest.partition("\n\n")
    entries = re.findall(r"^ {12}(\w+): (.*?)(?=^ {12}\w+: |\Z)", section + "\n", re.M | re.S)
    kept = [(name, " ".join(text.split())) for name, text in entries if name in own]
    wrapped = (
        textwrap.wrap(
            f"{name}: {text}",
            WIDTH,
            initial_indent=" " * 12,
            subsequent_indent=" " * 16,
            break_on_hyphens=False,
        )
        for name, text in (*kept, *keywords())
    )
    lines = "\n".join(line for entry in wrapped for line in entry)
    return f"{before}        Args:\n{lines}{gap}{after}"


# -- the synchronous members ---------------------------------------------------------------------------------


def class_of(text: str, name: str) -> ast.ClassDef:
    """A class of a module."""
    return next(node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name)


def with_members(text: str, source: ast.ClassDef, mirror: Mirror) -> str:
    """The synchronous module, with the members of one class written between its marks."""
    begin = BEGIN.format(source.name)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{mirror.target} has no marks for {source.name}")
    bare = before.rstrip() + "\n\n    pass\n" + after  # the class without what was written before
    own = class_of(bare, mirror.into or source.name.removeprefix("Async"))
    by_hand = {node.name for node in own.body if isinstance(node, Function)}
    members = [
        member(node, mirror)
        for node in source.body
        if isinstance(node, Function)
        and node.name not in {*by_hand, "aclose"}
        and (not node.name.startswith("_") or (node.name == "__init__" and mirror.client == "self"))
    ]
    text = "\n\n".join(members).replace(": ...\n\n", ": ...\n")  # overloads stand together
    return before + begin + "\n\n" + text + "\n\n    " + END + after


def member(node: Function, mirror: Mirror) -> str:
    """One member: the signature and docstring of the asynchronous one, and a body that calls it."""
    lines = [f"@{ast.unparse(each)}" for each in node.decorator_list]
    returns = ast.unparse(node.returns) if node.returns is not None else "None"
    arguments = ast.unparse(node.args)
    lines.append(f"def {node.name}({arguments}) -> {returns.removeprefix('Async')}:")
    if lines[0] == "@overload":
        return "\n".join(f"    {line}" for line in [*lines[:-1], f"{lines[-1]} ..."])
    doc = ast.get_docstring(node)
    if doc is not None:
        text = re.sub(r"\bAsync(?=[A-Z])", "", doc)
        closing = '\n"""' if "\n" in text else '"""'
        lines += textwrap.indent(f'"""{text}{closing}', "    ").splitlines()
    lines += textwrap.indent(body(node, returns, mirror), "    ").splitlines()
    return "\n".join(f"    {line}".rstrip() for line in lines)


def body(node: Function, returns: str, mirror: Mirror) -> str:
    """What a member does."""
    is_property = any(ast.unparse(each) == "property" for each in node.decorator_list)
    given = passed(node.args)
    if node.name == "__init__":
        return f"self._core = {mirror.name}({given})"
    call = f"lambda: self._core.{node.name}({given})" if given else f"self._core.{node.name}"
    if is_property:
        made = f"self._core.{node.name}"
    elif isinstance(node, ast.AsyncFunctionDef):
        made = f"{mirror.client}._share.call({call})"
    else:
        made = f"made({call})"
    kind = returns.partition("[")[0]
    if mirror.client == "self" and kind in LAZY:
        name = kind.removeprefix("Async")
        loaded = f"from brainwires_provider.sync.{LAZY[kind]} import {name}"
        return f"{loaded}\n\nreturn {name}({f'self, {made}' if is_property else f'{made}, self'})"
    wrapped = WRAPPED.get(kind)
    if wrapped is None or isinstance(node, ast.AsyncFunctionDef) or is_property:
        return f"return {made}"
    return "return " + wrapped.format(call=call, client=mirror.client)


def passed(arguments: ast.arguments) -> str:
    """The arguments of a call with the same signature."""
    given = [each.arg for each in arguments.args[1:]]
    given += [f"{each.arg}={each.arg}" for each in arguments.kwonlyargs]
    given += [f"**{arguments.kwarg.arg}"] if arguments.kwarg is not None else []
    return ", ".join(given)


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
