"""`brainwires keys set`: a key goes into the keyring, and nowhere else; and the shell's completion."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import pytest

from brainwires_provider.auth import keys
from command_runs import run

pytestmark = pytest.mark.long

KEY = "gsk_planted0123456789abcdef"


class InMemory(keyring.backend.KeyringBackend):
    priority = 1.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise RuntimeError(f"no: {password}")
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[service, username]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemory]:
    before, ring = keyring.get_keyring(), InMemory()
    monkeypatch.setattr(keys, "_from_keyring", {})
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_the_lines_that_are_printed_find_the_key(ring: InMemory, tmp_path: Path) -> None:
    ran = run("keys", "set", "groq", stdin=f"{KEY}\n".encode())
    assert ran.status == 0 and KEY not in ran.out + ran.err
    assert ring.held == {("brainwires", "groq"): KEY}
    (tmp_path / "my.toml").write_text(ran.out)
    shown = run("providers", "--json", "--config", str(tmp_path / "my.toml"), env={"GROQ_API_KEY": ""})
    found: dict[str, Any] = {each["name"]: each for each in map(json.loads, shown.out.splitlines())}
    assert found["groq"]["key"] == "yes"


@pytest.mark.parametrize(
    ("provider", "given", "status", "said"),
    [
        ("gorq", KEY, 1, "there is no provider 'gorq' (did you mean 'groq'"),
        ("groq", "", 2, "there is no key"),
        ("groq", "two\nlines", 2, "there is no key"),
        ("groq", "caf\xe9", 2, "there is no key"),
        ("groq", KEY, 1, "the keyring cannot be written (RuntimeError)"),
    ],
)
def test_a_key_that_is_not_stored(ring: InMemory, provider: str, given: str, status: int, said: str) -> None:
    ring.locked = True
    ran = run("keys", "set", provider, stdin=given.encode())
    assert (ran.status, ran.out, ring.held) == (status, "", {})
    assert said in ran.err and KEY not in ran.err


def test_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    ran = run("keys", "set", "groq", stdin=KEY.encode())
    assert ran.status == 1 and 'pip install "brainwires-provider[keyring]"' in ran.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [("brainwires pre", "prepare"), ("brainwires keys s", "set"), ("brainwires chat --atta", "--attach")],
)
def test_the_shell_completes(words: str, offered: str) -> None:
    env = {"_BRAINWIRES_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert run(env=env).out.split() == [offered]
