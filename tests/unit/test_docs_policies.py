"""The examples of docs/policies.md run against a scripted server, each in at most five lines of its own."""

from __future__ import annotations

import io
import json
import re
import tomllib
from contextlib import redirect_stdout
from typing import Any

import pytest

from anthropic_answers import whole_body
from brainwires_provider import AsyncClient, Budget, Client, Limits, Retry, load_config
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from paths import PROJECT

TEXT = (PROJECT / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
(IN_README,) = re.findall(
    r"^```python\n([^`]*Budget\([^`]*)^```", (PROJECT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
)
FULL = Answer(429, {}, b'{"error": {"message": "pay first", "code": "insufficient_quota"}}')
CLAUDE = Answer(
    body=whole_body(
        {"type": "text", "text": "Hello of Claude"},
        model="claude-sonnet-4-5",
        usage={"input_tokens": 3000, "output_tokens": 200},
    )
)
USAGE = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}


def answer(request: RecordedRequest) -> Answer:
    text = f"{request.json()['model']} answers"
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    body = {"id": "c", "model": request.json()["model"], "choices": [choice], "usage": USAGE}
    return Answer(body=json.dumps(body).encode())


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from brainwires_provider.providers import prices

    real = prices.service_at
    monkeypatch.setattr(prices, "service_at", lambda _: real("https://api.openai.com/v1"))
    printed: list[str] = []
    names: dict[str, Any] = {}
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        clients = []
        for example in EXAMPLES:
            with redirect_stdout(io.StringIO()) as out:
                exec(example, names)
            printed.append(out.getvalue())
            clients.append(names["client"])
        for client in dict.fromkeys(clients):
            client.close()
    retried, limited, shared, priced, budgeted, other, hedged, guarded, traced, stats, hooked = printed
    assert retried == "gpt-6 answers []\n" and limited == "50\n" and shared == ""
    assert priced.startswith("0.0002 genai-prices") and budgeted == "gpt-4o answers\n"
    assert other == "openai-chat gpt-6 []\n"
    assert hedged == "gpt-6 answers []\n"
    assert traced.endswith("gpt-6 answers\n")
    assert guarded.startswith("gpt-6 (BreakerStats(") and "state='closed'" in guarded
    assert stats == "() 0 () None\n" and hooked == ""


def test_the_policies_of_the_readme_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """All in one program: the first provider refuses for good, the other one answers."""
    names: dict[str, Any] = {"Client": Client, "Budget": Budget, "Limits": Limits, "Retry": Retry}
    with ScriptedServer([FULL, CLAUDE]) as server:
        for name in ("OPENAI", "ANTHROPIC"):
            monkeypatch.setenv(f"{name}_API_KEY", "sk-env")
            monkeypatch.setenv(f"{name}_BASE_URL", server.url)
        with redirect_stdout(io.StringIO()) as out:
            exec(IN_README, names)
        assert [request.path for request in server.requests] == ["/responses", "/v1/messages"]
    assert out.getvalue() == "Hello of Claude\n"
    assert all(word in IN_README for word in ("Retry(", "Limits(", "Budget(", "fallback=", "telemetry=True"))


def test_each_example_is_short() -> None:
    for example in (*EXAMPLES, IN_README):
        lines = [line for line in example.splitlines() if line and not line.startswith(("from ", "import "))]
        assert len(lines) <= 5, example


def test_the_file_of_the_page_is_read(tmp_path: Any) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert tomllib.loads(text)
    (tmp_path / "brainwires.toml").write_text(text)
    client = AsyncClient("openai-chat:m", api_key="k", config=load_config(tmp_path / "brainwires.toml"))
    session: Any = client._session

    assert session.policies.retry == Retry(5) and session.policies.limits == Limits(rpm=500, tpm=200_000)
    assert session.policies.budget == Budget(usd=5) and session.has_prices
    assert session.instruments is not None
