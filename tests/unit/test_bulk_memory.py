"""What keeps a run's memory flat: the index of the ledger, what waits for its turn, and both together."""

from __future__ import annotations

import subprocess
import sys
from hashlib import blake2b
from random import Random
from typing import Any

import pytest

from brainwires_provider.bulk.index import Index, Place
from brainwires_provider.bulk.record import Record
from brainwires_provider.bulk.results import BulkResult, dump_result, load_result
from brainwires_provider.bulk.waiting import Waiting


def key(number: int) -> str:
    return blake2b(b"%d" % number, digest_size=16).hexdigest()


@pytest.mark.parametrize("recent", [1, 7, 100_000])
def test_an_index_is_a_dict(recent: int) -> None:
    drawn, index, known = Random(recent), Index(recent), dict[int, Place]()
    for _ in range(3000):
        number = drawn.randrange(400)
        assert index.find(key(number)) == known.get(number)
        if drawn.random() < 0.5:
            known[number] = Place(drawn.randrange(1 << 40), 5, "error" if drawn.random() < 0.3 else "result")
            index.put(key(number), known[number])
    index.close()


@pytest.mark.parametrize("recent", [1, 7, 100_000])
def test_each_id_is_new_once(recent: int) -> None:
    drawn, index, known = Random(recent), Index(recent), set[str]()
    for _ in range(2000):
        id = f"ü{drawn.randrange(500)}\ud800"
        assert index.is_new(id) == (id not in known)
        known.add(id)
    index.close()


@pytest.mark.parametrize("kept", [0, 3, 10_000])
def test_what_ends_in_any_order_comes_in_order(kept: int) -> None:
    for seed in range(20):
        numbers = list(range(200))
        Random(seed).shuffle(numbers)
        waiting: Waiting[BulkResult[Any]] = Waiting(dump_result, load_result, kept)
        given: list[BulkResult[Any]] = []
        for number in numbers:
            row = {"text": f"ü{number}", "n": [1.5, None, True]}
            given += waiting.put(
                number, BulkResult(f"r{number}", number, row, Record(f"a{number}"), False, None)
            )
            assert len(waiting._values) <= kept
        assert [(each.id, each.number, each.text) for each in given] == [
            (f"r{n}", n, f"a{n}") for n in range(200)
        ]
        assert all(each.row == {"text": f"ü{n}", "n": [1.5, None, True]} for n, each in enumerate(given))
        waiting.close()


def test_a_row_that_is_no_json_waits_in_memory() -> None:
    waiting: Waiting[BulkResult[Any]] = Waiting(dump_result, load_result, 0)
    results = [
        BulkResult(n, n, row, Record("a"), False, None) for n, row in enumerate(({}, (1, 2), {"a": b"x"}))
    ]

    assert list(waiting.put(2, results[2])) == list(waiting.put(1, results[1])) == []
    assert list(waiting.put(0, results[0])) == results
    waiting.close()


_CHILD = """
import asyncio, json, os, sys
from brainwires_provider import AsyncClient
from brainwires_provider.testing import FakeProvider

class Forgetful(FakeProvider):
    async def open(self, outgoing):
        self.requests.clear()
        return await super().open(outgoing)

def memory():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

async def main(ledger, rows):
    seen = []
    fake = Forgetful(lambda request: request.json()["messages"][-1]["content"])
    made = ({"id": f"r{i}", "prompt": f"p{i}"} for i in range(rows))
    async with AsyncClient("openai-chat:m", api_key="k", transport=fake) as client:
        async for each in client.map(made, ledger=ledger):
            assert each.text == f"p{each.number}"
            if each.number in (rows // 4, rows - 1):
                seen.append(memory())
    print(json.dumps(seen))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.nightly
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_bulk_7_memory_is_flat(tmp_path: object) -> None:
    """100,000 rows. Their ids and keys in memory alone took 29 MB for the last three quarters (measured)."""
    command = [sys.executable, "-c", _CHILD, f"{tmp_path}/ledger", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1800)
    early, late = eval(done.stdout)

    assert late - early < 20
