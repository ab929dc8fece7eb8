"""The examples of docs/tools.md run against a scripted server."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from typing import Any

import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from paths import PROJECT
from tool_services import SERVICES, chat_results

EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
EXAMPLES = EXAMPLE.findall((PROJECT / "docs" / "tools.md").read_text(encoding="utf-8"))
CHAT = SERVICES["chat"]
CALLS = {
    "Rome": ("weather", {"city": "Rome", "days": 2}),
    "bolts?": ("stock", {"item": "bolt"}),
    "euro": ("rate", {"currency": "EUR"}),
    "Delete": ("delete", {"path": "/tmp/a"}),
    "Find": ("search", {"query": "bolts"}),
    "time": ("get_current_time", {"timezone": "Asia/Tokyo"}),
}


def answer(request: RecordedRequest) -> Answer:
    body = request.json()
    said = body["messages"][0]["content"]
    results = chat_results(body)
    (call,) = [call for word, call in CALLS.items() if word in said]
    if body.get("stream"):
        return CHAT.says(json.loads(results[-1][1])) if results else CHAT.calls([("c", *call)])
    made = {"id": "c", "type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}}
    message = {"content": json.loads(results[-1][1])} if results else {"content": None, "tool_calls": [made]}
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return Answer(body=json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode())


def printed(*examples: str, **names: Any) -> list[str]:
    """What each example prints; they share their names."""
    found = []
    for example in examples:
        with redirect_stdout(io.StringIO()) as out:
            exec(compile(example, "<example>", "exec"), names)
        found.append(out.getvalue())
    names["client"].close()
    return found


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def test_the_examples_of_the_page_run(service: ScriptedServer) -> None:
    mcp = next(each for each in EXAMPLES if "MCPTools" in each)
    first, context, errors, denied, later, asynchronous, by_hand = printed(
        *(e for e in EXAMPLES if e is not mcp)
    )

    assert first == "Rome: sunny for 2 day(s)\nOslo: sunny for 1 day(s)\n" and context == "7\n"
    assert (
        errors
        == "The service is down (ConnectionError). | ConnectionError: 10.0.0.7:8080, password=hunter2\n"
    )
    assert denied == "The user denied this call. Reason: not on a Sunday\n"
    assert later == 'approval [\'{"path": "/tmp/a"}\']\ndeleted /tmp/a\n'
    assert asynchronous == '["a page about bolts"]\n' and by_hand == "Rome: sunny for 2 day(s)\n"


@pytest.mark.long
def test_the_example_of_a_server_runs(service: ScriptedServer) -> None:
    _, shown = printed(EXAMPLES[0], next(each for each in EXAMPLES if "MCPTools" in each))

    names, text = shown.split("\n", 1)
    assert "get_current_time" in names and "Asia/Tokyo" in text
