"""`brainwires batch` against a scripted batch API: what another process has begun is found, waited for and read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import AsyncClient
from brainwires_provider.resources.batch_ledger import Ledger
from brainwires_provider.testing import ScriptedServer
from brainwires_provider.testing.batch import BatchFaults, OpenAIBatchService, chat_answer
from command_runs import Ran, run

pytestmark = pytest.mark.long


class Begun:
    """A ledger with one batch, and the service that has its job."""

    def __init__(self, api: OpenAIBatchService, server: ScriptedServer, root: Path) -> None:
        self.api, self.url, self.root = api, server.url, root
        (self.id,) = Ledger(root).ids()

    def run(self, *words: str) -> Ran:
        return run("batch", *words, "--base-url", f"{self.url}/v1", "--ledger", str(self.root))

    def here(self, *words: str) -> Ran:
        return run("batch", *words, "--ledger", str(self.root))


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    api = OpenAIBatchService(lambda body: chat_answer(body["messages"][0]["content"].upper()))

    async def work(url: str) -> None:
        async with AsyncClient("openai-chat:gpt-6", base_url=f"{url}/v1", api_key="") as client:
            await client.batch({"a": "one", "b": "two"}, ledger=tmp_path)

    with ScriptedServer(api) as server:
        asyncio.run(work(server.url))
        yield Begun(api, server, tmp_path)


def lines(ran: Ran) -> list[Any]:
    return [json.loads(line) for line in ran.out.splitlines()]


def test_a_batch_is_listed_waited_for_and_read(begun: Begun, tmp_path: Path) -> None:
    listed = begun.here("list")
    assert (listed.status, begun.id in listed.out, "queued" in listed.out) == (0, True, True)
    (shape,) = lines(begun.here("list", "--json"))
    assert (shape["id"], shape["requests"], shape["models"]) == (begun.id, 2, ["openai-chat:gpt-6"])
    shown = begun.run("show")
    assert (shown.status, "in_progress" in shown.out) == (0, True)
    waited = begun.run("wait", "--every", "0.01")
    assert (waited.status, "done" in waited.err) == (0, True)
    read = begun.run("results", begun.id, "--text")
    assert (read.status, read.err) == (0, "2 succeeded\n")
    assert lines(read) == [
        {"id": "a", "outcome": "succeeded", "text": "ONE"},
        {"id": "b", "outcome": "succeeded", "text": "TWO"},
    ]
    assert begun.run("results", "-o", str(tmp_path / "out.jsonl")).out == ""
    whole = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["response"]["usage"]["input_tokens"] for each in whole] == [10, 10]
    (job,) = lines(begun.run("show", "--json"))[0]["jobs"]
    assert (job["id"], job["state"], job["raw_state"]) == ("batch_1", "done", "completed")
    assert begun.here("delete", begun.id).err == f"{begun.id} deleted here\n"
    assert begun.here("list", "--json").out == ""


def test_a_batch_is_cancelled_and_sent_again(begun: Begun) -> None:
    begun.api.faults = BatchFaults(looks=1000)
    assert begun.run("cancel").err == f"{begun.id}: cancelled\n"
    ended = begun.run("wait", "--every", "0.01")
    assert (ended.status, "cancelled" in ended.err) == (1, True)
    read = begun.run("results")
    assert (read.status, read.err) == (1, "2 cancelled\n")
    assert [each["outcome"] for each in lines(read)] == ["cancelled"] * 2
    begun.api.faults = BatchFaults()
    assert begun.run("retry").err == f"{begun.id}: 2 requests sent again\n"
    assert begun.run("wait", "--every", "0.01").status == 0
    assert begun.run("results").err == "2 succeeded\n"


def test_a_file_of_results_is_as_it_was_until_they_are_whole(begun: Begun, tmp_path: Path) -> None:
    place = tmp_path / "out.jsonl"
    place.write_text("earlier\n")
    begun.api.faults = BatchFaults(looks=1000)
    assert begun.run("results", "-o", str(place)).status == 2
    assert (place.read_text(), list(tmp_path.glob("*.part"))) == ("earlier\n", [])
    begun.api.faults = BatchFaults()
    begun.run("wait", "--every", "0.01")
    assert begun.run("results", "-o", "/dev/null").status == 0
    assert begun.run("results", "-o", str(place)).status == 0
    assert place.read_text().count("\n") == 2


def test_a_wait_has_an_end(begun: Begun) -> None:
    begun.api.faults = BatchFaults(looks=1000)
    ran = begun.run("wait", "--every", "0.01", "--timeout", "0.05")
    assert (ran.status, "was running after 0.05 s" in ran.err) == (1, True)


def test_a_batch_that_was_not_created_is(begun: Begun) -> None:
    handle, folder = Ledger(begun.root).load(begun.id)
    handle.parts[0].stage, handle.parts[0].job = "uploaded", None
    folder.save(handle)
    assert begun.run("retry").err == f"{begun.id}: all jobs are created\n"
    assert list(begun.api.batches) == ["batch_1", "batch_2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nothing"], "no batch 'nothing' is recorded"),
        (["results", "../x"], "no batch '../x' is recorded"),
    ],
)
def test_an_unknown_batch_is_misuse(words: list[str], said: str, begun: Begun) -> None:
    ran = begun.run(*words)
    assert (ran.status, said in ran.err, ran.err.count("\n")) == (2, True, 1)


def test_without_a_batch_there_is_nothing_to_show(tmp_path: Path) -> None:
    ran = run("batch", "show", "--ledger", str(tmp_path))
    assert (ran.status, "no batch is recorded" in ran.err) == (2, True)


def test_a_handle_that_cannot_be_read_is_skipped(begun: Begun) -> None:
    other = begun.root / "20991231-000000-00000000"
    other.mkdir()
    (other / "handle.json").write_text("{")
    ran = begun.here("list")
    assert (ran.status, begun.id in ran.out, "no batch's JSON" in ran.err) == (0, True, True)
