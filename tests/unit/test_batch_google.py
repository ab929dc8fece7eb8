"""Batches at the Gemini API and at Vertex AI: the same promises, with their forms, and what Google's SDK sees."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batches import ITEMS, KEY, NAMES, Time, all_of, client, finished, run
from brainwires_provider import AsyncClient, ConfigError, InvalidRequestError, ServerError
from brainwires_provider.resources.batch_ledger import Ledger, line_id
from brainwires_provider.testing import FakeProvider, ScriptedServer
from brainwires_provider.testing.batch import BatchFaults, LineRefused
from brainwires_provider.testing.batch_anthropic import message_answer
from brainwires_provider.testing.batch_google import (
    GeminiBatchService,
    MemoryStore,
    VertexBatchService,
    generated,
)

MODEL = "google:gemini-2.5-pro"
VERTEX_URL = "https://example.test/v1/projects/p/locations/europe-west4/publishers/google"


def said(request: dict[str, Any]) -> str:
    return str(request["contents"][-1]["parts"][0]["text"])


def echo(request: dict[str, Any]) -> dict[str, Any]:
    return generated(f"You said: {said(request)}")


def odd(request: dict[str, Any]) -> dict[str, Any] | None:
    match said(request):
        case "Say two.":
            return None
        case "Say four.":
            raise LineRefused(400, "the prompt is too odd")
    return echo(request)


def service(keeps_keys: bool = True, **faults: Any) -> GeminiBatchService:
    return GeminiBatchService(faults.pop("answer", echo), BatchFaults(**faults), keeps_keys=keeps_keys)


# -- the Gemini API ------------------------------------------------------------------------------------------


def test_every_id_comes_exactly_once(tmp_path: Path) -> None:
    found = all_of(service(answer=odd), tmp_path, model=MODEL)
    assert [each.id for each in found] == list(NAMES)
    assert [each.outcome for each in found] == ["succeeded", "missing", "succeeded", "errored", "succeeded"]
    assert found[0].response.text == "You said: Say one."
    assert type(found[3].error) is InvalidRequestError
    assert (found[3].error.status, "too odd" in str(found[3].error)) == (400, True)


def test_without_keys_the_order_is_that_of_the_requests(tmp_path: Path) -> None:
    """As long as there is an answer for each: otherwise whose they are is not known."""
    found = all_of(service(keeps_keys=False), tmp_path / "a", model=MODEL)
    assert [each.response.text for each in found] == [f"You said: Say {name}." for name in NAMES]
    found = all_of(service(keeps_keys=False, answer=odd), tmp_path / "b", model=MODEL)
    assert [each.outcome for each in found] == ["missing"] * 5


@pytest.mark.parametrize(
    ("done", "outcomes"), [(2, ["succeeded"] * 2 + ["expired"] * 3), (0, ["expired"] * 5)]
)
def test_an_expired_job_keeps_its_successes(done: int, outcomes: list[str], tmp_path: Path) -> None:
    assert [each.outcome for each in all_of(service(done=done), tmp_path, model=MODEL)] == outcomes


def test_a_job_that_ended_without_answers_is_looked_after_again(tmp_path: Path) -> None:
    assert [each.outcome for each in all_of(service(lag=3), tmp_path, model=MODEL)] == ["succeeded"] * 5


def test_a_cancelled_job_has_no_answers(tmp_path: Path) -> None:
    async def work() -> tuple[list[str], list[Any]]:
        async with client(service(looks=1000), MODEL) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            states = [batch.state, await batch.refresh(), await batch.cancel()]
            return states, await finished(batch)

    states, found = run(work)
    assert states == ["queued", "running", "cancelled"]
    assert [each.outcome for each in found] == ["cancelled"] * 5


def test_a_job_whose_creation_was_not_answered_is_found_by_its_name(tmp_path: Path) -> None:
    api = service(lost=1)

    async def work() -> list[Any]:
        async with client(api, MODEL) as asking:
            with pytest.raises(ServerError, match="the answer was lost"):
                await asking.batch(ITEMS, ledger=tmp_path)
            batch = await asking.load_batch(Ledger(tmp_path).ids()[0], ledger=tmp_path)
            await batch.submit()
            return await finished(batch)

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5
    assert len(api.jobs) == 1


def test_a_cache_hit_costs_what_it_always_does_and_all_else_half(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        counts = {"promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 100}
        return generated("Hi", **counts, totalTokenCount=1100)

    found = all_of(service(answer=answer), tmp_path, model=MODEL, prices=True)
    million = 600 * Decimal("0.625") + 400 * Decimal("0.125") + 100 * Decimal(5)
    assert [each.cost.usd for each in found] == [million / 10**6] * 5


@pytest.mark.long
def test_googles_sdk_reads_the_same_of_the_same_server(tmp_path: Path) -> None:
    from google import genai
    from google.genai import types

    api = service(answer=lambda request: odd(request) or generated("Two."))
    with ScriptedServer(api) as server:

        async def work() -> list[Any]:
            async with AsyncClient(MODEL, base_url=f"{server.url}/v1beta", api_key=KEY) as asking:
                return await finished(Time().of(await asking.batch(ITEMS, ledger=tmp_path)))

        ours = run(work)
        sdk = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=server.url))
        (listed,) = list(sdk.batches.list())
        seen = sdk.batches.get(name=listed.name or "")
        source = types.InlinedRequest(
            contents=[types.Content(role="user", parts=[types.Part(text="Say one.")])], metadata={"key": "x"}
        )
        config = types.CreateBatchJobConfig(display_name="theirs")
        made = sdk.batches.create(model="gemini-2.5-pro", src=[source], config=config)
        assert made.state == types.JobState.JOB_STATE_PENDING
        sdk.batches.cancel(name=made.name or "")
        assert sdk.batches.get(name=made.name or "").state == types.JobState.JOB_STATE_CANCELLED
        sdk.close()
    assert seen.state == types.JobState.JOB_STATE_SUCCEEDED
    assert seen.display_name == f"{Ledger(tmp_path).ids()[0]}-0"
    assert seen.dest is not None
    assert seen.dest.inlined_responses is not None
    theirs = {(each.metadata or {})["key"]: each for each in seen.dest.inlined_responses}
    for each in ours:
        answer = theirs[line_id(each.id)]
        if each.response is not None:
            assert answer.response is not None
            assert answer.response.text == each.response.text
        else:
            assert answer.error is not None
            assert answer.error.message in str(each.error)
    assert api.requests["1"][0]["request"] == api.requests["2"][0]["request"]


# -- Vertex AI -----------------------------------------------------------------------------------------------


def on_vertex(
    api: Any, model: str = "vertex:gemini-2.5-pro", url: str = VERTEX_URL, **more: Any
) -> AsyncClient:
    return AsyncClient(model, base_url=url, api_key="key", transport=FakeProvider(api), **more)


def of_vertex(api: VertexBatchService, root: Path, **more: Any) -> list[Any]:
    async def work() -> list[Any]:
        async with on_vertex(api, **more) as asking:
            return await finished(await asking.batch(ITEMS, ledger=root, store=api.store))

    return run(work)


def test_vertex_reads_and_writes_a_byte_store(tmp_path: Path) -> None:
    store = MemoryStore("gs://bucket/some/folder")
    api = VertexBatchService(odd, store, BatchFaults(seed=6, repeats=True))
    found = of_vertex(api, tmp_path)
    assert [each.outcome for each in found] == ["succeeded", "missing", "succeeded", "errored", "succeeded"]
    assert [each.response.text for each in found if each.response] == [
        "You said: Say one.",
        "You said: Say three.",
        "You said: Say five.",
    ]
    assert type(found[3].error) is InvalidRequestError
    assert (found[3].error.status, "too odd" in str(found[3].error)) == (400, True)
    (job,) = api.jobs.values()
    assert job["model"] == "publishers/google/models/gemini-2.5-pro"
    assert job["name"] == "projects/p/locations/europe-west4/batchPredictionJobs/1"
    lines = [json.loads(line) for line in next(iter(store.objects.values())).splitlines()]
    assert lines[0]["request"]["labels"] == {"brainwires_id": line_id("one")}


@pytest.mark.parametrize(
    ("done", "outcomes"), [(2, ["succeeded"] * 2 + ["expired"] * 3), (0, ["expired"] * 5)]
)
def test_an_expired_vertex_job_keeps_its_successes(done: int, outcomes: list[str], tmp_path: Path) -> None:
    api = VertexBatchService(echo, MemoryStore("gs://b"), BatchFaults(done=done))
    assert [each.outcome for each in of_vertex(api, tmp_path)] == outcomes


def test_a_vertex_job_is_cancelled_and_found(tmp_path: Path) -> None:
    api = VertexBatchService(echo, MemoryStore("gs://b"), BatchFaults(looks=1000, lost=1, done=1))

    async def work() -> tuple[list[str], list[Any]]:
        async with on_vertex(api) as asking:
            with pytest.raises(ServerError):
                await asking.batch(ITEMS, ledger=tmp_path, store=api.store)
            id = Ledger(tmp_path).ids()[0]
            batch = await asking.load_batch(id, ledger=tmp_path, store=api.store)
            await batch.submit()
            states = [await batch.refresh(), await batch.cancel()]
            return states, await finished(batch)

    states, found = run(work)
    assert states == ["running", "cancelled"]
    assert [each.outcome for each in found] == ["succeeded"] + ["cancelled"] * 4
    assert len(api.jobs) == 1


def test_claude_on_vertex_has_ids_of_its_own(tmp_path: Path) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        assert params["anthropic_version"] == "vertex-2023-10-16"
        return message_answer(str(params["messages"][0]["content"]))

    api = VertexBatchService(answer, MemoryStore("gs://b"), BatchFaults(seed=1))
    url = VERTEX_URL.replace("google", "anthropic")
    found = of_vertex(api, tmp_path, model="vertex-anthropic:claude-sonnet-4-5", url=url)
    assert [each.outcome for each in found] == ["succeeded"] * 5
    assert ["Say three." in each.response.text for each in found] == [False, False, True, False, False]
    assert api.jobs["1"]["model"] == "publishers/anthropic/models/claude-sonnet-4-5"


def test_without_a_byte_store_nothing_is_sent(tmp_path: Path) -> None:
    api = VertexBatchService(echo, MemoryStore("gs://b"))

    async def work() -> None:
        async with on_vertex(api) as asking:
            await asking.batch(ITEMS, ledger=tmp_path)

    with pytest.raises(ConfigError, match=r"vertex reads a batch from a bucket.*pass store="):
        run(work)
    assert list(tmp_path.iterdir()) == []
