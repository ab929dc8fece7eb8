"""What a run skips is printed and known: a test that never runs proves nothing, and nobody would see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paths import PROJECT, TESTS
from skips import KNOWN, known_skips, unknown_skips

LIST = """
# a comment
[always]
tests/a.py::test_one it needs a thing that nobody has
[without the data]
tests/b.py reads the data
"""
PYTEST = [sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-p", "no:cacheprovider"]
PYTEST += ["--disable-plugin-autoload", "-p", "xdist"]


def test_what_may_be_skipped_depends_on_what_is_there() -> None:
    assert known_skips(LIST, []) == {"tests/a.py::test_one", "tests/b.py"}
    assert known_skips(LIST, ["without the data"]) == {"tests/a.py::test_one"}
    with pytest.raises(ValueError, match=r"tests/c\.py has no reason"):
        known_skips("[always]\ntests/c.py\n", [])


def test_a_skip_that_is_not_known_is_found() -> None:
    known = known_skips(LIST, [])
    expected = [("tests/a.py::test_one[x y]", ""), ("tests/b.py", ""), ("tests/b.py::test_any[1]", "")]
    assert unknown_skips(expected, known) == []
    assert unknown_skips([*expected, ("tests/a.py::test_two[1]", "")], known) == ["tests/a.py::test_two"]


def test_every_name_of_the_list_exists() -> None:
    for name in known_skips(KNOWN.read_text(), []):
        path, _, test = name.partition("::")
        text = (PROJECT / path).read_text()
        assert not test or re.search(rf"^def {test}\(", text, re.MULTILINE), name


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_module_that_skips_itself_is_written_down(workers: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "test_whole.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    (tmp_path / "test_part.py").write_text(
        "import pytest\n\ndef test_run(): pass\n\n@pytest.mark.xfail\ndef test_fails(): assert False\n\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_skipped(n): pytest.skip(f'because {n}')\n"
    )
    log = tmp_path / "skips.jsonl"
    environment = {**os.environ, "BRAINWIRES_SKIPS": str(log), "PYTHONPATH": str(TESTS / "support")}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    command = [*PYTEST, "-n", workers, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path)
    assert done.returncode == 0
    checked = subprocess.run(
        [sys.executable, str(TESTS / "support" / "skips.py"), str(log)], capture_output=True, text=True
    )
    assert checked.returncode == 1
    assert checked.stdout.startswith("3 skipped\n")
    assert "- because 2: test_part.py (1)" in checked.stdout
    unknown = [
        line.partition(": ")[2] for line in checked.stdout.splitlines() if line.startswith("skipped, and")
    ]
    assert unknown == ["test_part.py::test_skipped", "test_whole.py"]


def test_a_run_without_skips_is_good(tmp_path: Path) -> None:
    command = [sys.executable, str(TESTS / "support" / "skips.py"), str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "0 skipped\n")
