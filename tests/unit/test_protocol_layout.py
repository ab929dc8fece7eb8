"""Every protocol package has the files of the one layout (architecture, 2.1) and no others, and repeats no other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

import brainwires_provider.protocols as protocols
from repeated_code import repeated, runs

ROOT = Path(protocols.__file__).parent
ALWAYS = {"__init__", "errors", "messages", "models", "options", "parts", "request", "response"}
IF_THE_API_HAS_MORE = {"operations"}
MORE = {"openai_responses": {"ws", "continuation"}}
LESS = {"llamacpp": {"errors", "parts"}}
"""A plain completion is one text, and its errors have no form of their own: both files would be empty."""
NAMES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "base")


def files(package: str) -> set[str]:
    return {path.stem for path in (ROOT / package).glob("*.py")}


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_has_the_files_of_the_layout_and_no_others(name: str) -> None:
    expected = ALWAYS - LESS.get(name, set()) | MORE.get(name, set())
    assert expected <= files(name) <= expected | IF_THE_API_HAS_MORE


def test_there_is_nothing_beside_the_packages() -> None:
    assert files(".") == {"__init__"}
    assert {path.name for path in ROOT.iterdir() if path.is_dir()} - {"__pycache__"} == {*NAMES, "base"}


def test_no_code_stands_in_two_protocols() -> None:
    """Neither equal nor of equal shape: what two protocols need is in `protocols/base`."""
    found = {
        name: {
            path: runs(path.read_text(encoding="utf-8"), shapes=True) for path in (ROOT / name).glob("*.py")
        }
        for name in NAMES
    }
    assert [
        place for first, second in combinations(NAMES, 2) for place in repeated(found[first], found[second])
    ] == []
