"""What `all` brings in is known by name, and what is not is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paths import PROJECT

TOOL = PROJECT / "tools" / "distributions.py"
LIST = PROJECT / "docs" / "decisions" / "0011-distributions.md"
LOCK = """
[[package]]
name = "brainwires-provider"
dependencies = [{ name = "plain" }]
optional-dependencies = { all = [{ name = "asked", extra = ["more"] }], other = [{ name = "elsewhere" }] }

[[package]]
name = "plain"
version = "1.0"
sdist = { url = "", upload-time = "2020-01-02T00:00:00.5Z" }
wheels = [{ url = "", upload-time = "2020-01-01T00:00:00Z" }]

[[package]]
name = "asked"
version = "2.0"
dependencies = [{ name = "below", marker = "sys_platform == 'win32'" }]
optional-dependencies = { more = [{ name = "by-its-extra" }], less = [{ name = "elsewhere" }] }

[[package]]
name = "below"
version = "3"
dependencies = [{ name = "asked" }]

[[package]]
name = "by-its-extra"
version = "4"

[[package]]
name = "elsewhere"
version = "5"
"""


def run(tmp_path: Path, *known: str, lock: str = LOCK) -> subprocess.CompletedProcess[str]:
    (tmp_path / "uv.lock").write_text(lock)
    (tmp_path / "list.md").write_text("".join(f"| `{name}` | x | y |\n" for name in known))
    command = [sys.executable, str(TOOL), str(tmp_path / "uv.lock"), str(tmp_path / "list.md")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_distribution_is_printed_with_its_age(tmp_path: Path) -> None:
    ran = run(tmp_path, "plain", "asked", "below", "by-its-extra")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert [line[:2] for line in lines] == [
        ["asked", "2.0"],
        ["below", "3"],
        ["by-its-extra", "4"],
        ["plain", "1.0"],
    ]
    assert int(lines[3][2]) > 2000
    assert lines[3][3:] == ["days", "2020-01-01"]
    assert lines[0][2:] == ["of", "unknown", "age"]


def test_one_that_nobody_has_looked_at_fails(tmp_path: Path) -> None:
    ran = run(tmp_path, "plain", "asked", "below")

    assert ran.returncode == 1
    assert "by-its-extra" in ran.stdout.split("  NOT IN docs/decisions/0011")[0].splitlines()[-1]
    assert ran.stdout.count("NOT IN") == 1
    assert run(tmp_path, lock='[[package]]\nname = "brainwires-provider"\n').returncode == 1


@pytest.mark.skipif(not (PROJECT / "uv.lock").exists(), reason="not installed by uv")
def test_those_of_this_project_are_known() -> None:
    ran = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stdout
    assert "lazy-importer" not in ran.stdout
    assert "| `lazy-importer` |" not in LIST.read_text(encoding="utf-8")
