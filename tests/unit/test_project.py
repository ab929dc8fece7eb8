"""What holds for the project's own files."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest

import brainwires_provider
from brainwires_provider import Client
from paths import PROJECT, SOURCE


def test_the_version_number_is_written_in_one_place() -> None:
    number = brainwires_provider.__version__

    written = [
        path.relative_to(PROJECT).as_posix()
        for path in [PROJECT / "pyproject.toml", *sorted(SOURCE.rglob("*.py"))]
        if re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", path.read_text(encoding="utf-8"))
    ]

    assert written == ["src/brainwires_provider/__init__.py"]
    assert version("brainwires-provider") == number
    with Client("openai-chat:m", api_key="sk-test") as client:
        assert client.prepare("Hi").headers["User-Agent"] == f"brainwires-provider/{number}"


def test_the_version_number_costs_no_import() -> None:
    code = "import sys, brainwires_provider as b; print(b.__version__, 'importlib.metadata' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == f"{brainwires_provider.__version__} False\n"


DECISIONS = sorted((PROJECT / "docs" / "decisions").glob("*.md"))
STATUS = re.compile(r"Date: \d{4}-\d\d-\d\d\. Status: (proposed|accepted|superseded by decision \d+)[;.]")
HEADINGS = ["## Question", "## Measured", "## Choice"]


def test_decision_notes_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_decision_notes_have_one_form(path: Path) -> None:
    title, status, *paragraphs = path.read_text(encoding="utf-8").split("\n\n")

    headings = [text for text in paragraphs if text.startswith("#")]
    bodies = [text for heading, text in pairwise([*paragraphs, "#"]) if heading.startswith("#")]

    assert re.fullmatch(rf"# {int(path.name[:4])}\. \S.*", title)
    assert STATUS.match(status)
    assert headings in (HEADINGS, [*HEADINGS, "## Consequences"])
    assert not any(text.startswith("#") for text in bodies), "a heading without text"
