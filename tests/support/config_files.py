"""Files for the tests of `brainwires.toml`, in a folder of each test's own."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest

from brainwires_provider.config import load_config
from brainwires_provider.providers.config import Config
from brainwires_provider.testing import Answer

__all__ = ["SECRET", "WHOLE", "alone", "key_file", "load", "write"]

SECRET = "planted7f3a9c51e8d24b60"
WHOLE = Answer(
    body=json.dumps(
        {
            "id": "c",
            "model": "m",
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
            ],
        }
    ).encode()
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of one's own, and none of the machine's variables or files."""
    ours = ("BRAINWIRES_", "GOOGLE_", "AWS_", "OLLAMA_")
    for name in os.environ:
        if name.endswith(("_API_KEY", "_BASE_URL", "_TOKEN")) or name.startswith(ours):
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def write(text: str, name: str = "mine.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def load(text: str, **environ: str) -> Config:
    return load_config(write(text), environ=environ)


def key_file(content: str = SECRET, name: str = "key", mode: int = 0o600) -> Path:
    path = Path(name)
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return path
