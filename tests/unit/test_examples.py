"""Every example runs as it is, and is short; those that need the engine run with the slow tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from paths import PROJECT

EXAMPLES = PROJECT / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.py"))


def run(*command: str, input: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *command],
        input=input,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=PROJECT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_each_is_short_and_in_the_list() -> None:
    listed = set(
        re.findall(r"^\| `([^`]+)` \|", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    lines = {
        path.name: len([line for line in path.read_text(encoding="utf-8").splitlines() if line])
        for path in PROGRAMS
    }
    assert {name: count for name, count in lines.items() if count > 40} == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("thread_pool", "200 answers, 1000 tokens"),
        ("search", "A train leaves at noon.\n"),
        ("websocket_tools", "It is 32.\nwhole histories sent: 1; only what is new: 5\n"),
        ("fallback", "anthropic Here I am.\nbefore that: openai-chat:m 503 Come back later.\n"),
    ],
)
def test_an_example_with_a_scripted_server(name: str, printed: str) -> None:
    assert printed in run(f"examples/{name}.py")


@pytest.mark.long
def test_the_example_of_a_test() -> None:
    out = run("-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "examples/test_greeting.py")
    assert "3 passed" in out


@pytest.mark.engine
def test_the_examples_with_the_model_on_this_machine() -> None:
    talk = run("examples/chatbot.py", input="Hello\n\n")
    assert len(talk.splitlines()) >= 2
    assert "weather(" in run("examples/two_tools.py")
    rows = run("examples/typed_rows.py", "3").splitlines()
    assert len(rows) == 3 and all(row.startswith("Row(city=") for row in rows)


@pytest.mark.engine
def test_the_notebook() -> None:
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    printed = run("-c", "\n".join(cells))
    assert len(printed) > 40


@pytest.mark.engine
def test_the_web_page() -> None:
    from fastapi.testclient import TestClient

    sys.path.insert(0, str(EXAMPLES))
    try:
        import web_page
    finally:
        sys.path.remove(str(EXAMPLES))
    with TestClient(web_page.app) as browser:
        assert "EventSource" in browser.get("/").text
        events = browser.get("/answer", params={"q": "Hello"}).text
    assert events.startswith("data: ") and events.endswith("event: end\ndata: {}\n\n")
