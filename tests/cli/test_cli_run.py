"""`brainwires run` against a scripted server."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.local.weights.folders import lock
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
        ('{"a":1}\n', ["--prompt", "x", "-o", "{}/folder.csv"], "is a folder"),
        ('{"a":1}\n', ["--prompt", "x", "-o", "{}/none/out.csv"], "No such file"),
        ('{"a":1}\n', ["--prompt", "x", "--ledger", "{}/out.jsonl"], "where the results are written"),
        ('{"a":1}\n', ["--prompt", "x", "--ledger", "{}/x/../out.jsonl.part"], "where the results"),
        ('{"a":1}\n{"a":2}\n', [], "no row has a value in a column 'prompt' or 'messages'"),
        ('{"prompt":null}\n', ["--embed"], "no row has a value in a column 'prompt' or 'messages'"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    tmp_path: Path, content: str, words: list[str], said: str
) -> None:
    (tmp_path / "in.jsonl").write_text(content)
    (tmp_path / "folder.csv").mkdir()
    given = [each.replace("{}", str(tmp_path)) for each in words]
    with ScriptedServer(echo) as server:
        ran = ask(server, str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), *given)
        assert server.requests == []
    assert ran.status == 2
    assert said in ran.err
    assert sorted(os.listdir(tmp_path)) == ["folder.csv", "in.jsonl"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'"a"x,b\n1,2\n', "in.csv, line 1: "),
        (b"a\n" + b"x" * 20_000 + b"\n\xff\n", "is not UTF-8: invalid start byte at byte 20003"),
        (b"a\n" + b"\xc3\n", "is not UTF-8: invalid continuation byte at byte 2"),
        (b"a,a\n1,2\n", "a column occurs twice"),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "in.csv").write_bytes(content)
    with ScriptedServer(echo) as server:
        ran = ask(server, str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv"), "--prompt", "x")
        assert server.requests == []
    assert (ran.status, said in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_after_the_limit_are_not_read(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"a":1}\n{"a"\n')
    out = tmp_path / f"out.{ending}"
    with ScriptedServer(echo) as server:
        ran = ask(server, str(tmp_path / "in.jsonl"), "-o", str(out), "--prompt", "{a}", "--limit", "1")
    assert (ran.status, out.exists()) == (0, True), ran.err


def test_a_dry_run_counts_the_errors_that_are_asked_again(tmp_path: Path) -> None:
    rows, out = written(tmp_path / "in.jsonl", [{"prompt": "a"}, {"prompt": "poison"}]), tmp_path / "o.jsonl"
    with ScriptedServer(echo) as server:
        ask(server, rows, "-o", str(out))
        assert "0 to ask, 2 recorded" in ask(server, rows, "-o", str(out), "--dry-run").out
        again = ask(server, rows, "-o", str(out), "--dry-run", "--retry-errors")
    assert "1 to ask, 1 recorded" in again.out


# -- the output ----------------------------------------------------------------------------------------------


def other_file(path: Path) -> int:
    path.write_text("Something else.")
    return -1


def used(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    assert lock(file)
    return file


def refused(path: Path) -> int:
    return -1


@pytest.mark.skipif(os.name == "nt", reason="locks are those of POSIX")
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("out.ledger", used, "in use by another run"),
        ("out.ledger", other_file, "is no ledger"),
        ("out.part", used, "in use by another run"),
        ("none", refused, "Wrong key."),
    ],
)
def test_a_start_that_fails_leaves_what_an_earlier_run_has_written(
    tmp_path: Path, ending: str, name: str, fault: Callable[[Path], int], said: str
) -> None:
    rows, out = written(tmp_path / "in.jsonl", [{"prompt": "a"}]), tmp_path / f"out.{ending}"
    part = tmp_path / f"out.{ending}.part"
    part.write_bytes(b"Rows of an earlier run.")
    file = fault(tmp_path / name.replace("out", f"out.{ending}"))
    try:
        wrong = Answer(401, body=b'{"error": {"message": "Wrong key."}}')
        with ScriptedServer(lambda request: wrong) as server:
            ran = ask(server, rows, "-o", str(out))
    finally:
        if file >= 0:
            os.close(file)
    assert (ran.status != 0, said in ran.err) == (True, True), ran.err
    assert (part.read_bytes(), out.exists()) == (b"Rows of an earlier run.", False)


@pytest.mark.skipif(os.name == "nt", reason="locks are those of POSIX")
@pytest.mark.parametrize("ledger", ["out.jsonl.ledger", "other.ledger"])
def test_a_second_run_beside_the_first_takes_nothing_from_it(tmp_path: Path, ledger: str) -> None:
    rows = written(tmp_path / "in.jsonl", [{"prompt": f"p{i}", "pad": "x" * 3000} for i in range(30)])
    out = tmp_path / "out.jsonl"

    with ScriptedServer(slow(0.05)) as server:
        first = started(server, rows, out, "-j", "2")
        until(lambda: len(server.requests) >= 15)
        second = ask(server, rows, "-o", str(out), "--ledger", str(tmp_path / ledger))
        err = first.communicate(timeout=60)[1]
        assert len(server.requests) == 30
    assert (second.status, "in use by another run" in second.err) == (2, True), second.err
    assert first.returncode == 0, err
    assert [json.loads(line)["answer"] for line in out.read_text().splitlines()] == [
        f"<p{i}>" for i in range(30)
    ]


@pytest.mark.skipif(os.name == "nt", reason="limits are those of POSIX")
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_full_disk_is_explained_and_the_same_command_goes_on(tmp_path: Path, ending: str) -> None:
    import resource

    noise = random.Random(1)
    pads = [noise.randbytes(20_000).hex() for _ in range(30)]
    rows = written(tmp_path / "in.jsonl", [{"prompt": f"p{i}", "pad": pad} for i, pad in enumerate(pads)])
    out, limits = tmp_path / f"out.{ending}", resource.getrlimit(resource.RLIMIT_FSIZE)
    with ScriptedServer(echo) as server:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
            ran = ask(server, rows, "-o", str(out), "-j", "1")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (ran.status, out.exists()) == (1, False)
        assert f"out.{ending}.part cannot be written: File too large" in ran.err
        assert "the same command goes on" in ran.err
        assert ask(server, rows, "-o", str(out)).status == 0
        assert len(server.requests) <= 31  # one was being asked


@pytest.mark.parametrize(
    ("earlier", "last", "type"),
    [
        (1, 1.75, "double"),
        (2**53, 1.75, "double"),
        (None, 5, "int64"),
        (1, 2**63, "uint64"),
        (-1, 2**62, "int64"),
        (None, "x", "string"),
        (None, True, "bool"),
        (None, None, "string"),
        ([], [1], "list<element: int64>"),
        ([[]], [[], [None, 0.5]], "list<element: list<element: double>>"),
        ([], [], "list<element: string>"),
        (None, {"a": 1}, "struct<a: int64>"),
        ({"a": 1}, {"a": None, "b": {"c": ["x"]}}, "struct<a: int64, b: struct<c: list<element: string>>>"),
        ([{"a": 1}], [{"b": 2.5}], "list<element: struct<a: int64, b: double>>"),
    ],
)
def test_a_parquet_column_holds_what_any_row_has(tmp_path: Path, earlier: Any, last: Any, type: str) -> None:
    """No value is changed, also where its type shows after a thousand rows."""
    parquet = pytest.importorskip("pyarrow.parquet")
    given = [*[earlier] * 1000, last, earlier]
    rows = written(tmp_path / "in.jsonl", [{"prompt": "p", "a": value} for value in given])
    with ScriptedServer(echo) as server:
        ran = ask(server, rows, "-o", str(tmp_path / "out.parquet"))
    assert ran.status == 0, ran.err
    table = parquet.read_table(tmp_path / "out.parquet")
    assert str(table.schema.field("a").type) == type
    assert [without_nulls(each) for each in table["a"].to_pylist()] == [without_nulls(each) for each in given]


def without_nulls(value: Any) -> Any:
    """A struct of Parquet has every field."""
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if isinstance(value, dict):
        return {name: without_nulls(each) for name, each in value.items() if each is not None}
    return value


@pytest.mark.parametrize(
    ("earlier", "last", "said"),
    [
        (1, "x", "row 1001: a Parquet column cannot hold 'a': a text, and before it was an integer"),
        (1.5, 2**53 + 1, "no type holds integers from 0 to 9007199254740993 beside numbers that are none"),
        (2**53 + 1, 1.5, "beside numbers that are none"),
        (-1, 2**63, "no type holds integers from -1 to 9223372036854775808"),
        (1, 2**64, "no type holds integers"),
        (True, 1, "an integer, and before it was a boolean"),
        ([1], ["x"], "row 1001"),
        ({"a": 1}, {"a": []}, "row 1001"),
        ({}, {}, "the rows fit no Parquet schema"),
        ([], [{}], "the rows fit no Parquet schema"),
    ],
)
def test_what_fits_no_parquet_column_is_refused_before_anything_is_sent(
    tmp_path: Path, earlier: Any, last: Any, said: str
) -> None:
    pytest.importorskip("pyarrow.parquet")
    rows = written(
        tmp_path / "in.jsonl", [*[{"prompt": "p", "a": earlier}] * 1001, {"prompt": "p", "a": last}]
    )
    with ScriptedServer(echo) as server:
        ran = ask(server, rows, "-o", str(tmp_path / "out.parquet"))
        assert server.requests == []
    assert (ran.status, said in ran.err, "write .jsonl instead" in ran.err) == (2, True, True), ran.err


@pytest.mark.parametrize("limit", [None, 0, 1, 1500])
def test_parquet_columns_come_out_as_they_were(tmp_path: Path, limit: int | None) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    count = 2100
    none = [None] * (count - 1)
    columns = {
        "text": pyarrow.array([f"t{at % 7}" for at in range(count)], "large_string"),
        "decimal": pyarrow.array([*none, Decimal("1.50")], pyarrow.decimal128(9, 2)),
        "map": pyarrow.array([*none, [("k", 1)]], pyarrow.map_("string", "int16")),
        "struct": pyarrow.array([*none, {"a": 1}], pyarrow.struct([("a", "uint8"), ("b", "string")])),
        "when": pyarrow.array([*none, 1_000], pyarrow.timestamp("ns", "Europe/Paris")),
        "day": pyarrow.array([*none, 3], "date32"),
        "took": pyarrow.array([*none, 5_000], pyarrow.duration("us")),
        "bytes": pyarrow.array([*none, b"\xff"], "binary"),
        "large": pyarrow.array([*none, 2**64 - 1], "uint64"),
        "named": pyarrow.array([*none, "x"]).dictionary_encode(),
        "list": pyarrow.array([*none, [1.5]], pyarrow.list_(pyarrow.float32())),
        "nothing": pyarrow.nulls(count),
    }
    table, words = pyarrow.table(columns), [] if limit is None else ["--limit", str(limit)]
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=700)
    rows, out = str(tmp_path / "in.parquet"), tmp_path / "out.parquet"
    with ScriptedServer(echo) as server:
        ran = ask(server, rows, "-o", str(out), "--prompt", "{text}", *words)
    assert ran.status == 0, ran.err
    found, given = parquet.read_table(out), parquet.read_table(rows).slice(0, limit)
    assert found.select(table.column_names).to_pylist() == given.to_pylist()
    assert found.schema.remove_metadata().equals(
        pyarrow.schema([*given.schema, *list(found.schema)[len(columns) :]])
    )
    assert found["answer"].to_pylist() == [f"<{text}>" for text in given["text"].to_pylist()]


def test_a_time_that_python_cannot_hold_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    when = pyarrow.array([1], pyarrow.time64("ns"))
    parquet.write_table(pyarrow.table({"prompt": ["a"], "when": when}), tmp_path / "in.parquet")
    with ScriptedServer(echo) as server:
        ran = ask(server, str(tmp_path / "in.parquet"), "-o", str(tmp_path / "out.csv"))
    assert (ran.status, "in.parquet: " in ran.err, "microseconds" in ran.err) == (2, True, True), ran.err


def table_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    parquet = pytest.importorskip("pyarrow.parquet")
    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return found


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_that_are_texts_are_a_column(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.jsonl").write_text('"one"\n{"prompt":"two"}\n"three"\n')
    out = tmp_path / f"out.{ending}"
    with ScriptedServer(echo) as server:
        assert ask(server, str(tmp_path / "in.jsonl"), "-o", str(out)).status == 0
    assert [(row["row"] or None, row["prompt"] or None, row["answer"]) for row in table_of(out)] == [
        ("one", None, "<one>"),
        (None, "two", "<two>"),
        ("three", None, "<three>"),
    ]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_columns_without_rows_stay(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in.csv").write_text("a,b\n")
    out, again = tmp_path / f"out.{ending}", tmp_path / "again.csv"
    with ScriptedServer(echo) as server:
        assert ask(server, str(tmp_path / "in.csv"), "-o", str(out)).status == 0
        assert ask(server, str(out), "-o", str(again), "--prefix", "x_").status == 0
    assert again.read_text().startswith("a,b,answer,") and again.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("last", "vector"), [("b", [1.5, 2.0]), (["b"], [[1.5, 2.0]]), (["b", "c"], [[1.5, 2.0]] * 2)]
)
def test_vectors_after_a_thousand_errors(tmp_path: Path, last: Any, vector: Any) -> None:
    def vectors(request: RecordedRequest) -> Answer:
        data = [{"index": at, "embedding": [1.5, 2.0]} for at, _ in enumerate(request.json()["input"])]
        body = {"data": data, "model": "e", "usage": {"prompt_tokens": 1, "total_tokens": 1}}
        return Answer(body=json.dumps(body).encode(), headers=JSON)

    empty, other = ("", "a") if isinstance(last, str) else ([""], ["a"])
    lines = [json.dumps(each) for each in (*[empty] * 1000, last, other)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.parquet"
    with ScriptedServer(vectors) as server:
        ask(server, str(tmp_path / "in.jsonl"), "-o", str(out), "--embed")
    found = table_of(out)
    one = [1.5, 2.0] if isinstance(last, str) else [[1.5, 2.0]]
    assert [row["vector"] for row in found] == [*[None] * 1000, vector, one]


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


def slow(seconds: float) -> Callable[[RecordedRequest], Answer]:
    def answer(request: RecordedRequest) -> Answer:
        return Answer(body=[Wait(seconds), whole(f"<{prompt_of(request)}>")], headers=JSON)

    return answer


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it has not come to that"
        time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_ctrl_c_ends_what_is_asked_and_says_how_to_go_on(tmp_path: Path) -> None:
    rows = written(tmp_path / "in.jsonl", [{"prompt": f"p{i}"} for i in range(200)])
    out = tmp_path / "out.jsonl"

    with ScriptedServer(slow(0.2)) as server:
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
