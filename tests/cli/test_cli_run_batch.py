"""`brainwires run --batch` against a scripted batch API."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.local.weights.folders import lock
from brainwires_provider.resources import batch as batches
from brainwires_provider.resources.batch_ledger import Ledger
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from brainwires_provider.testing.batch import BatchFaults, LineRefused, OpenAIBatchService, chat_answer
from command_runs import Ran, run

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks nothing is waited for."""

    async def soon(_: float) -> None:
        return None

    monkeypatch.setattr(batches.asyncio, "sleep", soon)


def answer(body: dict[str, Any]) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    if text == "Say poison":
        raise LineRefused(400, "Out of order.")
    return chat_answer(text.upper())


def given(tmp_path: Path, *texts: str | None) -> str:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"r{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return str(path)


class Begun:
    def __init__(self, server: ScriptedServer, tmp_path: Path) -> None:
        self.url, self.folder, self.out = f"{server.url}/v1", tmp_path, tmp_path / "out.csv"

    def run(self, rows: str, *words: str, prompt: str = "Say {text}") -> Ran:
        place = ("-o", str(self.out), "--prompt", prompt, "--ledger", str(self.folder / "ledger"))
        return run("run", rows, *place, "--batch", "-m", "openai-chat:x", "--base-url", self.url, *words)

    def lines(self) -> list[list[str]]:
        with self.out.open(encoding="utf-8", newline="") as file:
            return [[row["id"], row["answer"], row["error_type"]] for row in csv.DictReader(file)]


def test_rows_go_through_a_batch_and_come_back_in_order(tmp_path: Path) -> None:
    api = OpenAIBatchService(answer, BatchFaults(seed=3))
    with ScriptedServer(api) as server:
        begun = Begun(server, tmp_path)
        rows = given(tmp_path, "one", "poison", None, "two")
        ran = begun.run(rows)
        assert (ran.status, "2 errored" in ran.err) == (1, True)
        expected = [
            ["r0", "SAY ONE", ""],
            ["r1", "", "InvalidRequestError"],
            ["r2", "", "ValueError"],
            ["r3", "SAY TWO", ""],
        ]
        assert begun.lines() == expected
        again = begun.run(rows)
        assert (begun.lines(), "going on with batch" in again.err, len(api.batches)) == (expected, True, 1)


def test_the_same_command_goes_on_after_a_crash_and_after_an_end(tmp_path: Path) -> None:
    """Nothing is sent a second time that was sent, and what has expired is sent when that is asked for."""
    api, alive = OpenAIBatchService(answer, BatchFaults(done=1)), [False]

    def dying(request: RecordedRequest) -> Answer:
        if request.path.endswith("/batches") and request.method == "POST" and not alive[0]:
            return Answer(drop=True)
        return api(request)

    with ScriptedServer(dying) as server:
        begun, rows = Begun(server, tmp_path), given(tmp_path, "one", "two")
        assert begun.run(rows).status == 1
        assert len(Ledger(tmp_path / "ledger").ids()) == 1
        alive[0] = True
        ran = begun.run(rows)
        assert (ran.status, "1 succeeded, 1 expired" in ran.err) == (1, True)
        api.faults = BatchFaults()
        ran = begun.run(rows, "--retry-errors")
        assert (ran.status, "1 requests are sent again" in ran.err, "2 succeeded" in ran.err) == (
            0,
            True,
            True,
        )
        assert begun.lines() == [["r0", "SAY ONE", ""], ["r1", "SAY TWO", ""]]
        other = begun.run(rows, prompt="Shout {text}")
        assert (other.status, "with other rows, another prompt" in other.err) == (2, True)
    assert len(Ledger(tmp_path / "ledger").ids()) == 1
    assert len(api.batches) == 2


def test_a_schema_is_sent_and_read(tmp_path: Path) -> None:
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    api = OpenAIBatchService(lambda body: chat_answer('{"n": 7}'))
    with ScriptedServer(api) as server:
        begun = Begun(server, tmp_path)
        begun.out = tmp_path / "out.jsonl"
        assert begun.run(given(tmp_path, "one"), "--schema", schema).status == 0
        assert [json.loads(line)["output"] for line in begun.out.read_text().splitlines()] == [{"n": 7}]


def test_answers_that_are_not_of_the_schema_are_sent_again(tmp_path: Path) -> None:
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    texts = iter(["none", '{"n": 7}'])
    api = OpenAIBatchService(lambda body: chat_answer(next(texts)))
    with ScriptedServer(api) as server:
        begun, rows = Begun(server, tmp_path), given(tmp_path, "one")
        assert begun.run(rows, "--schema", schema).status == 1
        ran = begun.run(rows, "--schema", schema, "--retry-errors")
        assert (ran.status, "1 requests are sent again" in ran.err) == (0, True)


def test_a_second_run_beside_the_first_is_refused(tmp_path: Path) -> None:
    api = OpenAIBatchService(answer)
    with ScriptedServer(api) as server:
        begun, rows = Begun(server, tmp_path), given(tmp_path, "one")
        with Path(f"{begun.out}.batch").open("wb") as file:
            assert lock(file.fileno())
            ran = begun.run(rows)
        assert (ran.status, "in use by another run" in ran.err, api.files) == (2, True, {})
        assert begun.run(rows).status == 0
        Path(f"{begun.out}.batch").write_text("torn")
        ran = begun.run(rows)
        assert (ran.status, "does not name a batch" in ran.err) == (2, True)
    assert len(api.batches) == 1


@pytest.mark.parametrize(
    ("lines", "prompt", "errors"),
    [
        (['{"p":[1]}', '{"p":2}', '{"q":3}'], ["--prompt", "{p:.2f}"], ["TypeError", "", "ValueError"]),
        (["[1]", '"one"', "7"], [], ["TypeError", "", "ValueError"]),
        (['{"messages":"bad"}', '{"messages":"[]"}', '{"prompt":"one"}'], [], ["DecodeError", "*", ""]),
        (['{"messages":[{"role":"nobody","content":"x"}]}', '"one"'], [], ["ValueError", ""]),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_row_that_makes_no_request_is_an_error_of_that_row(
    tmp_path: Path, lines: list[str], prompt: list[str], errors: list[str], ending: str
) -> None:
    """The others are sent, and the same command goes on with them."""
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"a'][:-1]) + "\n" + '{"a\n')
    api, out = OpenAIBatchService(answer), tmp_path / f"out.{ending}"
    limit = ("--limit", str(len(lines)))  # what is after it is not read
    with ScriptedServer(api) as server:
        where = ("-m", "openai-chat:x", "--base-url", f"{server.url}/v1", "--ledger", str(tmp_path / "l"))
        for _ in range(2):
            ran = run("run", str(tmp_path / "in.jsonl"), "-o", str(out), "--batch", *where, *prompt, *limit)
            assert ran.status == 1, ran.err
    text = out.read_text()
    rows = csv.DictReader(text.splitlines()) if ending == "csv" else map(json.loads, text.splitlines())
    found = [row["error_type"] or "" for row in rows]
    assert [each == "*" or each == name for each, name in zip(errors, found, strict=True)].count(
        False
    ) == 0, found
    assert len(api.batches) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--embed"], "--embed is not for --batch"),
        (["--budget", "1"], "--budget is not for --batch"),
        (["-o", "-"], "--batch needs a file to write to"),
    ],
)
def test_what_a_batch_cannot_do_is_misuse(words: list[str], said: str, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        ran = Begun(server, tmp_path).run(given(tmp_path, "one"), *words)
    assert (ran.status, said in ran.err) == (2, True)
