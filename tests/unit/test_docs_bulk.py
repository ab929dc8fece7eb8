"""The samples of docs/bulk.md run, and print what the page shows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import Failure, FakeProvider, RecordedRequest
from paths import PROJECT

TEXT = (PROJECT / "docs" / "bulk.md").read_text(encoding="utf-8")
BLOCKS = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", re.DOTALL | re.MULTILINE)


def reply(request: RecordedRequest) -> Any:
    text = request.json()["messages"][-1]["content"]
    if "fail" in text:
        return Failure(None, "no", 400)
    return '{"stars": 5, "reason": "superb"}' if "verdict" in text else f"<{text}>"


def test_the_samples_of_the_page(
    fake_provider: Callable[[Any], FakeProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_provider(reply)
    names: dict[str, Any] = {"__name__": __name__}
    blocks = BLOCKS.findall(TEXT)
    assert len(blocks) == TEXT.count("```python") == 2
    for code, shown in blocks:
        with redirect_stdout(io.StringIO()) as out:
            exec(compile(code, "bulk.md", "exec", dont_inherit=True), names)
        assert out.getvalue() == shown
