"""The examples of docs/clouds.md run, and print what the page says that they print."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stdout
from typing import Any

import pytest

from brainwires_provider import PROVIDERS
from paths import PROJECT, SOURCE

PAGE = PROJECT / "docs" / "clouds.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("AWS_", "GOOGLE_", "ANTHROPIC_", "CLOUD_", "GCLOUD_")):
            monkeypatch.delenv(name)
    names: dict[str, Any] = {}
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        with redirect_stdout(io.StringIO()) as printed:
            exec(example, names)
        assert printed.getvalue().splitlines() == re.findall(r"^ *# (.*)$", example, re.MULTILINE)


def test_every_row_on_a_cloud_has_its_line() -> None:
    table = set(re.findall(r"^\| `([a-z-]+)` \|", TEXT, re.MULTILINE))
    assert table == {name for name, row in PROVIDERS.items() if row.cloud} | {"bedrock-openai"}


def test_every_variable_is_one_that_is_read() -> None:
    source = SOURCE
    files = [*source.glob("auth/*.py"), *source.glob("providers/*.py")]
    read = "".join(file.read_text(encoding="utf-8") for file in files)
    told = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT)) - {"AWS_PROFILE"}  # botocore's own
    assert told
    assert [name for name in sorted(told) if name not in read] == []
