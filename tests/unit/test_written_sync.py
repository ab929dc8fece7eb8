"""What both interfaces have in common is written once, and copied by tools/write_sync.py."""

import inspect
import sys
from pathlib import Path

import pytest

import brainwires_provider
from brainwires_provider import AsyncClient, Client
from brainwires_provider.types import ChatParams
from repeated_code import repeated, runs

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import write_sync  # noqa: E402


def test_files_hold_what_the_script_writes() -> None:
    differing = [path.name for path, text in write_sync.written() if path.read_text(encoding="utf-8") != text]
    assert not differing, "run: uv run python tools/write_sync.py"


@pytest.mark.parametrize("client", [AsyncClient, Client])
@pytest.mark.parametrize("name", ["chat", "stream", "prepare", "count_tokens", "conversation"])
def test_help_names_every_keyword(client: type, name: str) -> None:
    """Each with a meaning; and what is returned and raised."""
    doc = inspect.getdoc(getattr(client, name)) or ""
    described = {line.strip().partition(":")[0] for line in doc.splitlines() if line.startswith("    ")}
    assert set(ChatParams.__annotations__) <= described
    assert "Returns:" in doc
    assert "Raises:" in doc


def test_no_code_stands_in_both_interfaces() -> None:
    """But for what the script writes."""
    package = Path(brainwires_provider.__file__).parent
    asynchronous = [
        package / "client.py",
        *(package / "resources").glob("*.py"),
        *(package / "bulk").glob("*.py"),
        *(package / "_core").glob("*.py"),
    ]
    assert (
        repeated(
            {path: runs(path.read_text(encoding="utf-8"), shapes=False) for path in asynchronous},
            {
                path: runs(path.read_text(encoding="utf-8"), shapes=False, skipped=written_lines(path))
                for path in (package / "sync").glob("*.py")
            },
        )
        == []
    )


def written_lines(path: Path) -> list[int]:
    """The lines that the script has written."""
    found, inside = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        inside = (inside or "# -- written by" in line) and write_sync.END not in line
        if inside:
            found.append(number)
    return found
