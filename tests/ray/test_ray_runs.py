"""Runs on a Ray cluster of this machine: workers and drivers are killed; every row comes out, and is paid, once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, Wait
from conftest import KEY, Cluster
from redis_servers import RedisServer

pytestmark = pytest.mark.long
many = pytest.mark.many
CONCURRENCY, WORKERS = 20, 2
WAIT = 0.05  # seconds that an answer takes
LATE = 1800.0  # for whatever the machine has to do beside


def answer(request: RecordedRequest) -> Answer:
    text = request.json()["messages"][-1]["content"]
    if "refused" in text:
        return Answer(400, body=b'{"error": {"message": "no"}}')
    message = {"role": "assistant", "content": f"A: {text}"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = {"id": "c", "model": "m", "choices": choices, "usage": usage}
    return Answer(before=[Wait(WAIT)], body=json.dumps(body).encode())


class Service:
    """The server, and when each request came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.texts: list[str] = []
        self.server = ScriptedServer(self._answer, timeout=LATE)

    def _answer(self, request: RecordedRequest) -> Answer:
        self.times.append(time.monotonic())
        self.texts.append(request.json()["messages"][-1]["content"])
        return answer(request)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with service.server:
        yield service


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": number, "text": str(number)} for number in range(count)]


def settings(service: Service, folder: Path, **more: Any) -> dict[str, Any]:
    usual = {"url": service.server.url, "out": str(folder / "out"), "store": str(folder / "store")}
    return {**usual, "concurrency": CONCURRENCY, "workers": WORKERS, **more}


def recorded(folder: Path) -> int:
    return len(list((folder / "store").rglob("*.json")))


def answers(folder: Path) -> list[dict[str, Any]]:
    return sorted(pyarrow.parquet.read_table(folder / "out").to_pylist(), key=lambda row: row["id"])


def check_whole(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every id once, with its answer."""
    found = answers(folder)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["answer"] for row in found] == [f"A: Row {row['text']}" for row in rows]
    return found


def live_workers(cluster: Cluster, until: float) -> list[int]:
    """The actors' processes; Ray may be starting one."""
    while not (found := cluster.workers()):
        assert time.monotonic() < until, "no actor is found by its title"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("count", "kills", "seed"), [(1000, 2, 1), pytest.param(5000, 20, 3, marks=pytest.mark.many)]
)
def test_workers_are_killed(
    cluster: Cluster, service: Service, tmp_path: Path, count: int, kills: int, seed: int
) -> None:
    """§7 (1) and (2): what a killed worker had recorded is not paid again when its blocks are run again."""
    moments = sorted(random.Random(seed).sample(range(30, count - 100), kills))
    rows, seen = rows_of(count), []
    driver = cluster.driver(**settings(service, tmp_path, rows=rows, blocks=count // 125))
    for moment in moments:
        service.server.wait_requests(moment, LATE)
        chosen = random.Random(moment).choice(live_workers(cluster, time.monotonic() + LATE))
        with suppress(ProcessLookupError):
            os.kill(chosen, signal.SIGKILL)
            seen.append(f"{moment:6} {len(service.times):9} {recorded(tmp_path):9}")
    driver.result()
    print("\nmoment  requests  recorded\n" + "\n".join(seen))
    print(f"{len(seen)} workers killed: {len(service.times)} requests for {count} rows")
    check_whole(tmp_path, rows)
    assert len(seen) >= kills - 1
    assert recorded(tmp_path) == count
    assert len(service.times) <= count + len(seen) * CONCURRENCY


@many
@pytest.mark.parametrize(("count", "kills", "seed"), [(1200, 4, 2), (5000, 20, 4)])
def test_drivers_are_killed_and_small_files_are_kept(
    cluster: Cluster, service: Service, tmp_path: Path, count: int, kills: int, seed: int
) -> None:
    """§7 (1), (2) and (8): files that Ray fuses into few blocks, none of which may ever be complete."""
    rows = rows_of(count)
    (tmp_path / "in").mkdir()
    for first in range(0, count, 10):
        table = pyarrow.Table.from_pylist(rows[first : first + 10])
        pyarrow.parquet.write_table(table, tmp_path / "in" / f"{first:06}.parquet")
    given = settings(service, tmp_path, files=str(tmp_path / "in"))
    share = count // (kills + 1)
    for number in range(kills):
        driver = cluster.driver(**given)
        enough = len(service.times) + random.Random(seed + number).randrange(share // 3, share)
        service.server.wait_requests(enough, LATE)
        driver.kill()
        service.server.wait_idle(LATE)  # its workers are gone
        lost = len(service.times) - recorded(tmp_path)
        print(f"driver {number}: {len(service.times)} requests, {recorded(tmp_path)} recorded")
        assert lost <= (number + 1) * WORKERS * CONCURRENCY
    known = recorded(tmp_path)
    assert known > 0
    cluster.driver(**given).result()
    found = check_whole(tmp_path, rows)
    assert sum(row["from_store"] for row in found) == known
    assert recorded(tmp_path) == count
    assert len(service.times) <= count + kills * WORKERS * CONCURRENCY
    before = len(service.times)
    cluster.driver(**given).result()
    assert all(row["from_store"] for row in check_whole(tmp_path, rows)) and len(service.times) == before


@many
def test_errors_nulls_and_unicode_survive_parquet(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """§7 (7), (9) and (10): blocks in which all rows fail, or none does, have the same schema."""
    texts = ["é", "\u2028 \0", "😀" * 50, "", "refused", None] + ["refused"] * 6 + ["plain"] * 6
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    driver = cluster.driver(
        **settings(service, tmp_path, rows=rows, blocks=6, stays=True, map={"batch_size": 3})
    )
    service.server.wait_requests(5, LATE)
    driver.result()
    service.server.wait_idle(LATE)
    files = list((tmp_path / "out").glob("*.parquet"))
    assert len(files) > 1 and len({str(pyarrow.parquet.read_schema(each)) for each in files}) == 1
    found = answers(tmp_path)
    assert [row["text"] for row in found] == texts
    for row in found:
        failed = row["text"] in ("refused", None)
        assert row["answer"] == (None if failed else f"A: Row {row['text']}")
        assert row["error_type"] == (
            {"refused": "InvalidRequestError", None: "ValueError"}[row["text"]] if failed else None
        )


@many
def test_a_store_and_limits_whose_server_is_away(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """§7 (6)."""
    with RedisServer("redis-server", tmp_path) as redis:
        url = redis.url
    for more, error in (
        ({"store": url, "patience": 0.5}, "StoreError"),
        ({"limits": {"rpm": 100, "shared": url}, "attempts": 1}, "SharedServerError"),
    ):
        cluster.driver(**settings(service, tmp_path, rows=rows_of(6), blocks=2, **more)).result()
        assert [row["error_type"] for row in answers(tmp_path)] == [error] * 6
        assert url.removeprefix("redis://").partition("/")[0] in answers(tmp_path)[0]["error"]
    assert service.times == []


@many
def test_four_workers_hold_one_limit(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """§7 (4): in every minute no more requests than the limit, and, while there are rows, no fewer than 98 % of it."""
    rpm = 600
    with RedisServer("redis-server", tmp_path) as redis:
        limits = {"rpm": rpm, "shared": redis.url, "learn": False}
        more = {"limits": limits, "workers": 4, "by_process": True, "store": None, "blocks": 32}
        driver = cluster.driver(**settings(service, tmp_path, rows=rows_of(2 * rpm), **more))
        driver.result()
    times = service.times
    assert len(times) == 2 * rpm and len(answers(tmp_path)) == 2 * rpm
    gaps = sorted(later - earlier for earlier, later in zip(times, times[rpm:], strict=False))
    by_worker = {text.rpartition(" ")[2] for text in service.texts}
    print(
        f"{len(by_worker)} workers; the {rpm}th request after one came {gaps[0]:.2f} to {gaps[-1]:.2f} s later"
    )
    assert len(by_worker) == 4
    assert gaps[0] >= 60 * 0.98 and gaps[len(gaps) // 2] <= 60 * 1.02


@many
def test_the_places_of_a_killed_worker_return(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """§7 (5): eight places in all, of which a worker is killed with some."""
    rows = rows_of(400)
    with RedisServer("redis-server", tmp_path) as redis:
        limits = {"concurrency": 8, "shared": redis.url, "learn": False}
        driver = cluster.driver(**settings(service, tmp_path, rows=rows, limits=limits))
        service.server.wait_requests(60, LATE)
        os.kill(cluster.workers()[0], signal.SIGKILL)
        driver.result()
    check_whole(tmp_path, rows)
    assert len(service.times) <= len(rows) + 8


def command(cluster: Cluster, service: Service, rows: Path, out: Path) -> subprocess.Popen[str]:
    words = [
        "run",
        str(rows),
        "-o",
        str(out),
        "--prompt",
        "Row {text}",
        "-m",
        "openai-chat:m",
        "--attempts",
        "1",
    ]
    words += ["--base-url", service.server.url, "--api-key-env", "BRAINWIRES_RAY_KEY", "-j", str(CONCURRENCY)]
    words += ["--ray", "--address", cluster.address, "--workers", str(WORKERS)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "brainwires_provider", *words], stderr=pipe, text=True, env=cluster.environment
    )


@many
def test_the_command_runs_on_a_cluster(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """It is killed, and goes on; the rows come in their order, with the errors as columns."""
    rows = [*rows_of(1500), {"id": 1500, "text": "refused"}, {"id": 1501, "text": None}]
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    killed = command(cluster, service, path, out)
    service.server.wait_requests(500, LATE)
    killed.kill()
    killed.communicate(timeout=LATE)
    service.server.wait_idle(LATE)
    before, known = len(service.times), len(list(tmp_path.rglob("out.jsonl.store/*/*.json")))
    assert before - known <= CONCURRENCY and not out.exists()
    begun = time.monotonic()
    for number in range(2):
        ran = command(cluster, service, path, out)
        _, errors = ran.communicate(timeout=LATE)
        print(f"{time.monotonic() - begun:.1f} s: {errors}")
        assert ran.returncode == 1, errors  # two rows have an error
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert [(row["id"], row["answer"]) for row in found[:1500]] == [
            (row["id"], f"A: Row {row['text']}") for row in rows[:1500]
        ]
        assert [row["error_type"] for row in found[1500:]] == ["InvalidRequestError", "ValueError"]
        assert f"{known if number == 0 else 1500:,} recorded" in errors and "1,502/1,502 rows" in errors
        assert len(service.times) == before + 1500 - known + 1 + number
    assert KEY not in errors


@many
def test_no_key_is_in_what_ray_has_written(cluster: Cluster, service: Service, tmp_path: Path) -> None:
    """§7 (3): of all runs before, too; and an actor that cannot be made says why, without a key."""
    cluster.driver(**settings(service, tmp_path, rows=rows_of(4), blocks=1)).result()
    assert {request.header("authorization") for request in service.server.requests} == {f"Bearer {KEY}"}
    files = [(path, data) for path, data in cluster.logs() if data]
    assert len(files) > 10 and cluster.printed
    assert [path for path, data in files if KEY.encode() in data] == []
    assert not any(KEY in each for each in cluster.printed)
