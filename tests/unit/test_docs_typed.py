"""The examples of docs/typed-output.md run against a scripted server."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from typing import Any

import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, sse
from chat_answers import chunk
from paths import PROJECT

TEXT = (PROJECT / "docs" / "typed-output.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def answer(request: RecordedRequest) -> Answer:
    body = request.json()
    question = body["messages"][0]["content"]
    if body.get("stream"):
        pieces = ('{"name', '": "Ada", "age": 3', "6}")
        return Answer(body=[sse(*(chunk({"content": piece}) for piece in pieces), chunk({}, "stop"))])
    text = '{"name": "Ada"}'
    if "36" in question:
        text = '{"name": "Ada", "age": 36}'
    elif "declined" in question:
        text = '{"response": {"kind": "Refused", "reason": "No funds."}}'
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Answer(body=json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode())


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(EXAMPLES) == TEXT.count("```python")
    names: dict[str, Any] = {"__name__": "example"}
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        for example, printed in EXAMPLES:
            output = io.StringIO()
            with redirect_stdout(output):
                exec(compile(example, "typed-output.md", "exec", dont_inherit=True), names)
            assert output.getvalue() == printed
        names["client"].close()
