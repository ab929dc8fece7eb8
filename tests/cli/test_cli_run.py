"""`brainwires run` against a scripted server."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Wait
from command_runs import Ran, run

pytestmark = pytest.mark.long
JSON = {"content-type": "application/json"}


def prompt_of(request: RecordedRequest) -> str:
    text: str = request.json()["messages"][-1]["content"]
    return text


def whole(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    return json.dumps(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    ).encode()


def echo(request: RecordedRequest) -> Answer:
    text = prompt_of(request)
    if text == "poison":
        return Answer(400, body=b'{"error": {"message": "Out of order."}}')
    return Answer(body=whole(f"<{text}>"), headers=JSON)


def ask(server: ScriptedServer, *words: str, stdin: bytes | None = None) -> Ran:
    return run("run", *words, "-m", "openai-chat:x", "--base-url", server.url, "--attempts", "1", stdin=stdin)


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def test_lines_in_and_out(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"id": i, "text": f"ü{i}"} for i in range(20)])
    out = tmp_path / "out.jsonl"
    with ScriptedServer(echo) as server:
        ran = ask(server, rows, "-o", str(out), "--prompt", "Say {text}")
        again = ask(server, rows, "-o", str(out), "--prompt", "Say {text}")
        assert len(server.requests) == 20
    assert (ran.status, ran.out) == (0, "")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["id"], each["answer"], each["error"]) for each in found] == [
        (i, f"<Say ü{i}>", None) for i in range(20)
    ]
    assert found[0]["input_tokens"] == 7
    assert "20/20 rows" in ran.err and "20 recorded" in again.err and again.status == 0
    assert not (tmp_path / "out.jsonl.part").exists()


def test_errors_are_columns_and_asked_again_on_demand(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"prompt": "a"}, {"prompt": "poison"}, {"prompt": "b"}])
    out = tmp_path / "out.jsonl"
    with ScriptedServer(echo) as server:
        ran = ask(server, rows, "-o", str(out))
        ask(server, rows, "-o", str(out))
        assert len(server.requests) == 3
        ask(server, rows, "-o", str(out), "--retry-errors")
        assert len(server.requests) == 4
    assert ran.status == 1
    assert (
        "1 row has an error (InvalidRequestError 1); --retry-errors asks them again\nthe first error: "
        in ran.err
    )
    assert "Out of order." in ran.err.partition("the first error: ")[2]
    poisoned = json.loads(out.read_text().splitlines()[1])
    assert (poisoned["answer"], poisoned["error_type"]) == (None, "InvalidRequestError")
    assert "Out of order." in poisoned["error"]


def test_csv_in_and_parquet_out_and_back(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "in.csv").write_text('name,text\nA,"x, ""y""\nz"\nB,ü\nC,poison\n', encoding="utf-8-sig")
    table, back = tmp_path / "out.parquet", tmp_path / "back.csv"
    with ScriptedServer(echo) as server:
        ask(server, str(tmp_path / "in.csv"), "-o", str(table), "--prompt", "{text}")
        ask(server, str(table), "-o", str(back), "--prompt", "{answer}", "--prefix", "second_")
    found = parquet.read_table(table).to_pylist()
    assert [each["answer"] for each in found] == ['<x, "y"\nz>', "<ü>", None]
    assert found[1]["output"] is None and found[1]["output_tokens"] == 2
    with open(back, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["second_answer"] for row in rows] == ['<<x, "y"\nz>>', "<<ü>>", ""]
    assert rows[2]["second_error_type"] == "ValueError"  # the column answer is null


def test_a_schema_and_standard_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path / "data"))
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}'
    with ScriptedServer(lambda request: Answer(body=whole('{"n": 3}'), headers=JSON)) as server:
        ran = ask(server, "-", "-o", "-", "--schema", schema, stdin=b'{"prompt":"a"}\n\n{"prompt":"b"}\n')
    assert [json.loads(line)["output"] for line in ran.out.splitlines()] == [{"n": 3}, {"n": 3}]
    assert list((tmp_path / "data" / "runs").iterdir())


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"a": "x" * 400}, {"a": "x" * 400}, {"a": "y"}, {"b": 1}])
    with ScriptedServer(echo) as server:
        ran = ask(
            server,
            rows,
            "-o",
            str(tmp_path / "out.jsonl"),
            "--prompt",
            "{a}",
            "--dry-run",
            "--max-tokens",
            "50",
        )
        assert server.requests == []
    assert ran.status == 0
    assert "4 rows: 2 to ask, 0 recorded, 1 equal to others" in ran.out
    assert "1 rows make no request (row 3: the row has no column 'a'" in ran.out
    assert "at most 100 output tokens" in ran.out
    assert os.listdir(tmp_path) == ["in.jsonl"]


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ('{"id":1}\n{"id":1}\n', ["--prompt", "x"], "row 1: the id '1' occurs twice"),
        ('{"a":1}\n', ["--prompt", "{b}"], "the row has no column 'b'; it has a"),
        ('{"a":1}\n', ["--prompt", "{"], "the prompt is no template"),
        ('{"a":1}\n{"a"\n', ["--prompt", "{a}"], "in.jsonl, line 2"),
        ('{"answer":1}\n', ["--prompt", "x"], "by --prefix"),
        ('{"a":1}\n', ["--prompt", "x", "-o", "out.xls"], "the ending says no format"),
        ('{"a":1}\n', ["--prompt", "x", "-T", "os:getcwd"], "--yes"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    tmp_path: Path, content: str, words: list[str], said: str
) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    with ScriptedServer(echo) as server:
        ran = ask(server, str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), *words)
        assert server.requests == []
    assert ran.status == 2
    assert said in ran.err


def started(server: ScriptedServer, rows: str, out: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "brainwires_provider",
        "run",
        rows,
        "-o",
        str(out),
        "-m",
        "openai-chat:x",
    ]
    return subprocess.Popen(
        [*command, "--base-url", server.url, *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENAI_API_KEY": ""},
    )


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_ctrl_c_ends_what_is_asked_and_says_how_to_go_on(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"prompt": f"p{i}"} for i in range(200)])
    out = tmp_path / "out.jsonl"

    def slow(request: RecordedRequest) -> Answer:
        return Answer(body=[Wait(0.2), whole(f"<{prompt_of(request)}>")], headers=JSON)

    with ScriptedServer(slow) as server:
        child = started(server, rows, out, "-j", "4")
        until(lambda: len(server.requests) >= 6)
        child.send_signal(signal.SIGINT)
        err = child.communicate(timeout=60)[1]
        asked = len(server.requests)
    assert child.returncode == 130
    assert "rows are being asked, and are waited for" in err
    assert "the same command goes on" in err
    assert asked < 200 and not out.exists()
    ledger = (tmp_path / "out.jsonl.ledger").read_text()
    assert ledger.count('"result"') == asked  # what was asked has ended, and is recorded

    with ScriptedServer(echo) as server:
        child = started(server, rows, out, "-j", "50")
        child.communicate(timeout=60)
        assert child.returncode == 0
        assert len(server.requests) == 200 - asked
    assert len(out.read_text().splitlines()) == 200


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"prompt": f"p{i}"} for i in range(20)])
    with ScriptedServer(lambda request: Answer(body=[Wait(20), whole("x")], headers=JSON)) as server:
        child = started(server, rows, tmp_path / "out.jsonl", "-j", "4")
        until(lambda: len(server.requests) >= 4)
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        while "waited for" not in child.stderr.readline():
            pass
        child.send_signal(signal.SIGINT)
        err = child.communicate(timeout=15)[1]
    assert child.returncode == 130
    assert "the same command goes on" in err
