"""`brainwires run --ray` without a cluster: what it refuses, what it sends, and what it makes of what comes back."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import ConfigError, ProviderError
from brainwires_provider.bulk.prompts import Template
from brainwires_provider.cli.options import ChatOptions, Connection
from brainwires_provider.cli.run_ray import Cluster, _actor, _blocks, _cause, _Prompt, _Run
from brainwires_provider.cli.run_rows import Job, checked_rows
from brainwires_provider.local.weights.folders import lock
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from command_runs import run

pyarrow = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.long
ROWS = [
    {"id": f"r{at}", "text": text} for at, text in enumerate(["é \u2028 \0 😀", "poison", None, "d", "d", ""])
]


def answer(request: RecordedRequest) -> Answer:
    text = request.json()["messages"][-1]["content"]
    if "poison" in text:
        return Answer(400, body=b'{"error": {"message": "Out of order."}}')
    message = {"role": "assistant", "content": f"<{text}>"}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
    return Answer(body=json.dumps(body).encode())


def written(folder: Path, rows: list[Any]) -> str:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def job_of(rows: str, out: Path, **given: Any) -> Job:
    names = {"prompt": "Say {text}", "prefix": "", "concurrency": 8, "embed": False, "retry_errors": False}
    empty = dict.fromkeys(("id", "ledger", "limit", "budget"))
    return Job(rows=rows, output=str(out), **{**empty, **names, "dry_run": False, **given})


class Answered:
    """What Ray gives: the blocks of an actor, in whatever order."""

    def __init__(self, tables: list[Any]) -> None:
        self._tables = tables

    def iter_batches(self, **_: Any) -> Iterator[Any]:
        yield from self._tables


def answered(server: ScriptedServer, job: Job, path: str, store: Path, seed: int) -> tuple[Answered, _Run]:
    question = ChatOptions(model="openai-chat:x", attempts=1).ask(Connection(base_url=server.url))
    template = Template(job.prompt or "")
    prompt = _Prompt(template, ("Be kind.",), ())
    found = checked_rows(path, job, template)
    actor = pickle.loads(pickle.dumps(_actor(job, question, str(store), prompt, 2)))

    async def ask() -> list[Any]:
        tables = [await actor(row) for table in _blocks(path, job.limit) for row in slices(table)]
        await actor.aclose()
        return tables

    tables = asyncio.run(ask())
    random.Random(seed).shuffle(tables)
    return Answered(tables), _Run(job, question, Cluster(None, 2), found, str(store))


def slices(table: Any) -> list[Any]:
    return [table.slice(at, 1) for at in range(table.num_rows)]


@pytest.mark.parametrize(
    ("ending", "limit"), [("jsonl", None), ("csv", None), ("parquet", None), ("jsonl", 3)]
)
def test_the_results_are_those_of_a_run_here(tmp_path: Path, ending: str, limit: int | None) -> None:
    """In the rows' order, in the same columns, whatever order Ray gives them in."""
    rows = written(tmp_path, ROWS)
    (tmp_path / "f.txt").write_text("Be kind.")
    more = [] if limit is None else ["--limit", str(limit)]
    here, there = tmp_path / f"here.{ending}", tmp_path / f"there.{ending}"
    with ScriptedServer(answer) as server:
        where = ("-m", "openai-chat:x", "--base-url", server.url, "--attempts", "1")
        ran = run(
            "run",
            rows,
            "-o",
            str(here),
            "--prompt",
            "Say {text}",
            "-f",
            str(tmp_path / "f.txt"),
            *where,
            *more,
        )
        assert ran.status == 1, ran.err
        for seed in range(3):
            job = job_of(rows, there, limit=limit)
            data, begun = answered(server, job, rows, tmp_path / "store", seed)
            begun._write(data)
            assert there.read_bytes() == here.read_bytes()
            assert begun._errors._types == {"InvalidRequestError": 1, "ValueError": 1}
            kept = begun._counts["recorded"]
            assert kept == (int(limit is None) if seed == 0 else (limit or len(ROWS)) - 2)  # two are equal


def test_a_row_that_does_not_come_back_is_no_whole_result(tmp_path: Path) -> None:
    rows = written(tmp_path, ROWS)
    with ScriptedServer(answer) as server:
        data, begun = answered(server, job_of(rows, tmp_path / "out.csv"), rows, tmp_path / "store", 1)
        del data._tables[2]
        with pytest.raises(ProviderError, match="rows of 6"):
            begun._write(data)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.skipif(os.name == "nt", reason="locks are those of POSIX")
def test_a_second_run_beside_the_first_takes_nothing_from_it(tmp_path: Path) -> None:
    rows, out = written(tmp_path, ROWS), tmp_path / "out.csv"
    part = tmp_path / "out.csv.part"
    with ScriptedServer(answer) as server:
        data, begun = answered(server, job_of(rows, out), rows, tmp_path / "store", 1)
        with part.open("wb") as file:
            file.write(b"Rows of the first.")
            file.flush()
            assert lock(file.fileno())
            with pytest.raises(ConfigError, match="in use by another run"):
                begun._write(data)
        assert part.read_bytes() == b"Rows of the first."
        begun._write(data)
    assert (out.exists(), part.exists()) == (True, False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "3"], "--budget is not for --ray"),
        (["--dry-run"], "--dry-run is not for --ray"),
        (["-T", "json:dumps", "--yes"], "-T is not for --ray"),
        (["--ledger", "{rows}"], "is a file"),
        (["--ledger", "redis://:pa55word@host/0"], "env:NAME"),
        (["--ledger", "env:NO_SUCH", "--workers", "2", "--prompt", "{x}"], "no column 'x'"),
    ],
)
def test_what_it_refuses(words: list[str], message: str, tmp_path: Path) -> None:
    pytest.importorskip("ray.data") if "--ledger" in words else None
    rows = written(tmp_path, ROWS)
    given = [each.replace("{rows}", rows) for each in words]
    ran = run(
        "run",
        rows,
        "-o",
        str(tmp_path / "o.csv"),
        "--prompt",
        "{text}",
        "-m",
        "openai-chat:x",
        "--ray",
        *given,
    )
    assert (ran.status, ran.out) == (2, "") and message in ran.err and "pa55word" not in ran.err


@pytest.mark.parametrize("words", [["--workers", "2"], ["--address", "auto"], ["--ray", "--batch"]])
def test_options_that_do_not_fit(words: list[str], tmp_path: Path) -> None:
    rows = written(tmp_path, ROWS)
    ran = run("run", rows, "-o", str(tmp_path / "o.csv"), "-m", "openai-chat:x", *words)
    assert ran.status == 2 and "--ray" in ran.err


def test_it_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    rows = written(tmp_path, ROWS)
    ran = run(
        "run", rows, "-o", str(tmp_path / "o.csv"), "--prompt", "{text}", "-m", "openai-chat:x", "--ray"
    )
    assert ran.status == 2 and "brainwires-provider[ray]" in ran.err


def test_our_own_error_is_found_in_what_ray_makes_of_it() -> None:
    class Task(Exception):
        cause = ConfigError("no key")

    try:
        try:
            raise Task
        except Task as error:
            raise RuntimeError("Failed to process the block") from error
    except RuntimeError as error:
        assert str(_cause(error)) == str(ConfigError("no key"))
    assert "the block" in str(_cause(RuntimeError("a\n  at the block")))
