"""A run that is killed at any moment: what was recorded is not paid again, and every id comes out once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Wait

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")
CONCURRENCY = 20
CHILD = """
import asyncio, json, sys
from brainwires_provider import AsyncClient

async def main(url, ledger, rows, run):
    prompts = ({"id": f"r{i}", "prompt": f"p{i}"} for i in range(rows))
    given = {"api_key": "k", "base_url": url, "headers": {"x-run": run}, "allow_http": True}
    async with AsyncClient("openai-chat:m", **given) as client:
        async for each in client.map(prompts, ledger=ledger, concurrency=CONCURRENCY):
            print(json.dumps([each.id, each.text, each.is_recorded]), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
""".replace("CONCURRENCY", str(CONCURRENCY))


def echo(request: RecordedRequest) -> Answer:
    text = request.json()["messages"][-1]["content"]
    message = {"role": "assistant", "content": f"<{text}>"}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return Answer(body=[Wait(0.005), json.dumps(body).encode()], headers={"content-type": "application/json"})


def asked(server: ScriptedServer, run: int) -> int:
    """How many requests of a run the server has seen. It may see the last ones of a killed run after its end."""
    return sum(request.header("x-run") == str(run) for request in server.requests)


def recorded(ledger: Path) -> int:
    """How many rows the ledger has a whole line of."""
    return ledger.read_bytes().count(b'{"t":"result"') - _torn(ledger) if ledger.exists() else 0


def _torn(ledger: Path) -> int:
    last = ledger.read_bytes().rpartition(b"\n")[2]
    return last.count(b'{"t":"result"')


def start(server: ScriptedServer, ledger: Path, rows: int, run: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, server.url, str(ledger), str(rows), str(run)]
    with open(ledger.with_name("out"), "w") as out:  # a pipe that nobody reads would stop the run
        return subprocess.Popen(command, stdout=out, text=True)


def kill_at(server: ScriptedServer, ledger: Path, rows: int, run: int, requests: int) -> None:
    """Start, and kill once so many requests more have been made."""
    until = server._seen() + requests
    child = start(server, ledger, rows, run)
    end = time.monotonic() + 120
    try:
        while server._seen() < until and child.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        child.kill()
        child.wait(60)


def check(tmp_path: Path, *, rows: int, kills: int, seed: int) -> None:
    drawn, ledger = Random(seed), tmp_path / "ledger"
    with ScriptedServer(echo) as server:
        for run in range(kills):
            kept = recorded(ledger)
            kill_at(server, ledger, rows, run, drawn.randrange(1, max(2, 2 * (rows - kept) // kills)))
            assert asked(server, run) <= recorded(ledger) - kept + CONCURRENCY
        kept = recorded(ledger)
        child = start(server, ledger, rows, kills)
        assert child.wait(300) == 0
        assert asked(server, kills) == rows - kept  # what was recorded is not asked again
        lines = [json.loads(line) for line in ledger.with_name("out").read_text().splitlines()]
        prompts = Counter(each.json()["messages"][-1]["content"] for each in server.requests)
    assert [line[0] for line in lines] == [f"r{i}" for i in range(rows)]
    assert [line[1] for line in lines] == [f"<p{i}>" for i in range(rows)]
    assert sum(line[2] for line in lines) == kept > 0
    assert prompts.total() <= rows + kills * CONCURRENCY
    assert len(prompts) == rows


def test_bulk_1_a_killed_run_pays_nothing_twice_that_was_recorded(tmp_path: Path) -> None:
    check(tmp_path, rows=100, kills=1, seed=1)


@pytest.mark.nightly
def test_bulk_1_twenty_kills_of_five_thousand_rows(tmp_path: Path) -> None:
    check(tmp_path, rows=5000, kills=20, seed=17)
