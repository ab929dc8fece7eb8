"""What Tab offers at the prompt of a conversation."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainwires_provider.cli.completing import complete, known_models
from brainwires_provider.providers import Config, NamedModel, ProviderConfig

COMMANDS = (("help", ""), ("model", "NAME"), ("system", "TEXT"), ("save", "FILE"), ("load", "FILE"))
MODELS = ("fast", "groq:x", "groq:y", "openai:", "groq:x")


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("", []),
        ("Hello /he", []),
        ("/", ["/help", "/model ", "/system ", "/save ", "/load "]),
        ("/s", ["/system ", "/save "]),
        ("/help", ["/help"]),
        ("/help ", []),
        ("/system x", []),
        ("/nothing x", []),
        ("/model ", ["/model fast", "/model groq:x", "/model groq:y", "/model openai:"]),
        ("/model groq:", ["/model groq:x", "/model groq:y"]),
        ("/load ", ["/load my talk.json", "/load talks/"]),
        ("/load my t", ["/load my talk.json"]),
        ("/save talks/", ["/save talks/one.json"]),
        ("/load .", ["/load .hidden"]),
        ("/load nowhere/", []),
    ],
)
def test_lines(line: str, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("my talk.json", "talks/one.json", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert complete(line, COMMANDS, lambda: MODELS) == lines


def test_the_models_that_are_known_here() -> None:
    named = {"fast": NamedModel("groq:x")}
    config = Config(model="groq:y", models=named, providers=(ProviderConfig("lab", based_on="vllm"),))
    found = list(known_models(config, "openai:gpt-6"))
    assert found[:3] == ["openai:gpt-6", "fast", "groq:y"] and found[-1] == "lab:"
    assert any(each.startswith("anthropic:") for each in found)
