"""Batches when something goes wrong at the wrong moment: two processes, a bucket that is another, a refused retry."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batches import ITEMS, KEY, client, finished, run
from brainwires_provider import APIError, AsyncClient, BatchResult, ConfigError, ProviderError
from brainwires_provider.protocols.base.batches import BatchProtocol, Job
from brainwires_provider.providers.batches import BATCHES
from brainwires_provider.resources.batch_ledger import Ledger
from brainwires_provider.testing import Answer, FakeProvider, RecordedRequest
from brainwires_provider.testing.batch import (
    BatchFaults,
    LineRefused,
    OpenAIBatchService,
    bodies,
    chat_answer,
)
from brainwires_provider.testing.batch_anthropic import AnthropicBatchService, message_answer
from brainwires_provider.testing.batch_bedrock import BedrockBatchService
from brainwires_provider.testing.batch_google import MemoryStore, VertexBatchService

VERTEX_URL = (
    "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google"
)


def echo(body: dict[str, Any]) -> dict[str, Any]:
    return chat_answer(f"You said: {body['messages'][-1]['content']}", body["model"])


def outcomes(found: list[BatchResult]) -> list[str]:
    return [each.outcome for each in found]


def service(**faults: Any) -> OpenAIBatchService:
    return OpenAIBatchService(faults.pop("answer", echo), BatchFaults(**faults))


# -- two at once ---------------------------------------------------------------------------------------------


def test_two_that_submit_the_same_batch_create_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes second is refused while the first one is at it, and finds the job afterwards."""
    from brainwires_provider.resources import batch as module

    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    api = service()

    async def work() -> list[Any]:
        async with client(api) as asking, client(api) as other:
            made = await asking.batch(ITEMS, ledger=tmp_path, submit=False)
            loaded = await other.load_batch(made.id, ledger=tmp_path)
            ends = await asyncio.gather(made.submit(), loaded.submit(), return_exceptions=True)
            refused = [str(each) for each in ends if each is not None]
            assert len(refused) == 1
            assert "is being sent by another process" in refused[0]
            await loaded.submit()
            assert [job.id for job in loaded.jobs] == ["batch_1"]
            return await finished(loaded)

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5
    assert len(api.batches) == 1


def test_who_waits_for_the_first_sends_nothing(tmp_path: Path) -> None:
    api = service()

    async def work() -> None:
        async with client(api) as asking, client(api) as other:
            made = await asking.batch(ITEMS, ledger=tmp_path, submit=False)
            loaded = await other.load_batch(made.id, ledger=tmp_path)
            await asyncio.gather(made.submit(), loaded.submit())

    run(work)
    assert len(api.batches) == 1


@pytest.mark.parametrize("step", ["cancel", "refresh", "submit", "retry", "results"])
def test_an_old_handle_does_not_undo_what_another_process_has_sent(step: str, tmp_path: Path) -> None:
    api = service(done=2)

    async def work() -> tuple[int, list[Any]]:
        async with client(api) as asking:
            old = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(old)
            api.faults = BatchFaults()
            new = await asking.load_batch(old.id, ledger=tmp_path)
            assert await new.retry() == 3
            if step == "results":
                assert len([each async for each in old.results()]) == 5
            elif step == "retry":  # the later job has ended since
                assert await old.retry() == 0
            else:
                await getattr(old, step)()
            later = await asking.load_batch(old.id, ledger=tmp_path)
            return len(later.jobs), await finished(later)

    jobs, found = run(work)
    assert (jobs, len(api.batches)) == (2, 2)
    if step != "cancel":
        assert [each.outcome for each in found] == ["succeeded"] * 5


def test_an_older_json_is_of_the_recorded_batch(tmp_path: Path) -> None:
    api = service()

    async def work() -> int:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, submit=False)
            old = batch.to_json()
            await batch.submit()
            loaded = await asking.load_batch(old, ledger=tmp_path)
            await loaded.submit()
            return len(api.batches)

    assert run(work) == 1


def test_a_batch_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    async def work() -> None:
        async with client(service()) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            Ledger(tmp_path).load(batch.id)[1].delete()
            await batch.refresh()

    with pytest.raises(ConfigError, match="was deleted"):
        run(work)


def test_a_batch_that_is_being_sent_is_not_deleted(tmp_path: Path) -> None:
    async def work() -> str:
        async with client(service()) as asking:
            return (await asking.batch(ITEMS, ledger=tmp_path)).id

    folder = Ledger(tmp_path).load(run(work))[1]
    with folder.locked() as is_free, pytest.raises(ConfigError, match="in use by another process"):
        assert is_free
        folder.delete()


# -- sending again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused_at", ["/files", "/batches"])
def test_a_refused_retry_leaves_the_results_readable(refused_at: str, tmp_path: Path) -> None:
    api, refusing = service(done=2), [False]

    def answers(request: RecordedRequest) -> Answer:
        if refusing[0] and request.method == "POST" and request.path.endswith(refused_at):
            return Answer(400, body=b'{"error": {"message": "quota"}}')
        return api(request)

    async def work() -> list[Any]:
        async with client(answers) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(batch)
            refusing[0] = True
            with pytest.raises(APIError, match="quota"):
                await batch.retry()
            later = await asking.load_batch(batch.id, ledger=tmp_path)
            assert [each.outcome async for each in later.results()] == ["succeeded"] * 2 + ["expired"] * 3
            refusing[0], api.faults = False, BatchFaults()
            assert await later.retry() == 3
            return await finished(later)

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5


def test_a_retry_that_was_not_answered_is_found(tmp_path: Path) -> None:
    api = service(done=2)

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(batch)
            api.faults, api._lost = BatchFaults(), 1
            with pytest.raises(ProviderError):
                await batch.retry()
            later = await asking.load_batch(batch.id, ledger=tmp_path)
            await later.submit()
            return await finished(later)

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5
    assert len(api.batches) == 2


def test_too_few_for_another_job_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    api = BedrockBatchService(bedrock_answer, MemoryStore("s3://b"), BatchFaults(done=98))
    items = {f"r{number}": "Say." for number in range(100)}

    async def work() -> list[Any]:
        async with on_bedrock(api) as asking:
            job = {"roleArn": "arn:aws:iam::1:role/r"}
            batch = await asking.batch(items, ledger=tmp_path, store=api.store, job=job)
            await finished(batch)
            with pytest.raises(ConfigError, match="at least 100 requests, and 2 would be sent"):
                await batch.retry()
            return [each async for each in batch.results()]

    assert len(run(work)) == 100
    assert len(api.jobs) == 1


def bedrock_answer(body: dict[str, Any]) -> dict[str, Any]:
    usage = {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}
    message = {"role": "assistant", "content": [{"text": "Yes."}]}
    return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}


def on_bedrock(api: Any) -> AsyncClient:
    return AsyncClient(
        "bedrock:anthropic.claude-sonnet-4-5",
        base_url="https://bedrock-runtime.eu-west-1.amazonaws.com",
        api_key=KEY,
        transport=FakeProvider(api),
    )


@dataclass
class Number:
    n: int


def test_answers_that_are_not_of_the_type_are_sent_again(tmp_path: Path) -> None:
    texts = iter(['{"n": 1}', "none", '{"n": 2}'])
    api = service(answer=lambda body: chat_answer(next(texts)))

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch({"a": "x", "b": "y"}, ledger=tmp_path, output=Number)
            assert [each.outcome for each in await finished(batch)] == ["succeeded", "errored"]
            loaded = await asking.load_batch(batch.id, ledger=tmp_path)
            assert await loaded.retry() == 0
            assert await loaded.retry(output=Number) == 1
            await finished(loaded)
            return [each.response.output async for each in loaded.results(output=Number) if each.response]

    assert run(work) == [Number(1), Number(2)]
    assert len(list(bodies(api))) == 3


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ("errored", TypeError, "outcomes takes a list"),
        (["succeeded"], ConfigError, "what can be sent again is errored, expired, cancelled, missing"),
        (["failed"], ValueError, "outcomes"),
    ],
)
def test_what_cannot_be_sent_again_is_refused(
    wrong: Any, error: type[Exception], words: str, tmp_path: Path
) -> None:
    async def work() -> None:
        async with client(service()) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(batch)
            await batch.retry(wrong)

    with pytest.raises(error, match=words):
        run(work)


# -- results -------------------------------------------------------------------------------------------------


def test_nothing_in_the_wrong_bucket_is_not_kept(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": "Yes."}]}
        return {"candidates": [{"content": content, "finishReason": "STOP"}], "modelVersion": "g"}

    api = VertexBatchService(answer, MemoryStore("gs://b"))

    async def work() -> list[list[str]]:
        async with AsyncClient(
            "vertex:gemini-2.5-pro", base_url=VERTEX_URL, api_key="key", transport=FakeProvider(api)
        ) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store)
            await batch.wait(every=0.001)
            found = []
            for store in (MemoryStore("gs://b"), api.store):
                loaded = await asking.load_batch(batch.id, ledger=tmp_path, store=store)
                found.append(outcomes([each async for each in loaded.results()]))
            return found

    assert run(work) == [["missing"] * 5, ["succeeded"] * 5]


def test_results_that_were_read_outlive_the_services(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Though one was missing, which is looked for again."""
    api = service(answer=lambda body: None if "two" in body["messages"][0]["content"] else echo(body))

    async def work() -> list[list[str]]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            first = await finished(batch)
            api.files.clear()
            later = await asking.load_batch(batch.id, ledger=tmp_path)
            return [[each.outcome for each in first], [each.outcome async for each in later.results()]]

    first, later = run(work)
    assert first == later == ["succeeded", "missing", "succeeded", "succeeded", "succeeded"]
    assert "are those that were read before" in caplog.text


@pytest.mark.parametrize("word", ["expired", "cancelled"])
def test_an_ended_job_that_names_its_results_late_is_looked_after_again(word: str, tmp_path: Path) -> None:
    api, hidden = service(done=2, looks=0), [3]

    def late(request: RecordedRequest) -> Answer:
        given = api(request)
        if request.method == "GET" and "/batches/" in request.path:
            assert isinstance(given.body, bytes)
            job = json.loads(given.body) | {"status": word}
            if hidden[0]:
                hidden[0] -= 1
                job |= {"output_file_id": None, "error_file_id": None}
            return Answer(given.status, given.headers, json.dumps(job).encode())
        return given

    async def work() -> list[Any]:
        async with client(late) as asking:
            return await finished(await asking.batch(ITEMS, ledger=tmp_path))

    assert [each.outcome for each in run(work)][:2] == ["succeeded"] * 2


def test_a_key_that_the_service_repeats_is_not_shown_and_not_kept(tmp_path: Path) -> None:
    """In an error of a request, and in that of a job."""

    def refusing(body: dict[str, Any]) -> dict[str, Any]:
        raise LineRefused(401, f"Incorrect API key provided: {KEY}", "invalid_api_key")

    def failing(request: RecordedRequest) -> Answer:
        given = api(request)
        if request.method == "GET" and "/batches/" in request.path:
            assert isinstance(given.body, bytes)
            job = json.loads(given.body) | {"status": "failed", "errors": {"message": f"no such key: {KEY}"}}
            return Answer(given.status, given.headers, json.dumps(job).encode())
        return given

    api = service(answer=refusing)
    shown = []
    for number, answers in enumerate((api, failing)):

        async def work(answers: Any = answers, root: Path = tmp_path / str(number)) -> list[Any]:
            async with client(answers) as asking:
                batch = await asking.batch(ITEMS, ledger=root)
                found = await finished(batch)
                return [*found, *batch.jobs]

        shown += run(work)
    text = "".join(
        f"{each} {each.error} {vars(each.error)}" for each in shown if isinstance(each, BatchResult)
    )
    text += "".join(map(str, shown)) + "".join(
        file.read_text() for file in tmp_path.rglob("*") if file.is_file()
    )
    assert "Incorrect API key provided: [redacted]" in text
    assert "no such key: [redacted]" in text
    assert KEY not in text


# -- what is not sent, and what is not read ------------------------------------------------------------------


def test_without_a_key_nothing_counts_as_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether Anthropic has a job could not be known; that nothing was sent can be."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    api = AnthropicBatchService(lambda params: message_answer("Yes."))

    async def work() -> list[Any]:
        async with AsyncClient("anthropic:claude-opus-4-5", transport=FakeProvider(api)) as asking:
            with pytest.raises(ConfigError):
                await asking.batch(ITEMS, ledger=tmp_path, max_tokens=9)
        ids = Ledger(tmp_path).ids()
        if not ids:  # refused before it was recorded
            return ["succeeded"] * 5
        async with client(api, "anthropic:claude-opus-4-5") as asking:
            batch = await asking.load_batch(ids[0], ledger=tmp_path)
            await batch.submit()
            return [each.outcome for each in await finished(batch)]

    assert run(work) == ["succeeded"] * 5


_JUNK: list[Any] = [
    None,
    0,
    1.5,
    True,
    "",
    "x",
    [],
    [None],
    ["x"],
    [[]],
    [3],
    {},
    {"x": 1},
    {"data": 3},
    "\ud800",
    {"data": [None]},
]


def _around(name: str, value: Any) -> dict[str, Any]:
    """A body in which all that is asked for is there, and one field is not of its form."""
    fine: dict[str, Any] = {
        "id": "j", "name": "operations/j", "batch_id": "j", "jobArn": "j", "job": {"id": "j"}, "status": "completed",
        "processing_status": "ended", "done": True,
    }  # fmt: skip
    return fine | {name: value}


_FIELDS = (
    "id", "name", "batch_id", "jobArn", "job", "status", "processing_status", "request_counts", "state", "errors",
    "error", "output_file_id", "outputs", "input_file_id", "metadata", "response", "results", "batches", "data",
    "invocationJobSummaries", "operations", "batchPredictionJobs", "completionStats", "message", "jobName",
    "displayName", "results_url", "pagination_token", "nextToken", "nextPageToken", "cancel_time",
    "cancel_by_xai_message", "inlinedResponses", "has_more",
)  # fmt: skip
_NESTED: tuple[Any, ...] = (
    {
        "metadata": {
            "output": {"inlinedResponses": {"inlinedResponses": [{"error": "x"}, {"metadata": 3}, 7]}}
        }
    },
    {"metadata": {"state": 3, "batchStats": [1], "displayName": 4}},
    {"results": [{"batch_request_id": 3}, {"batch_request_id": "a", "batch_result": 3}, 4]},
    {"results": [{"custom_id": "a", "response": 3}, {"custom_id": 3}]},
    {"custom_id": "a", "result": 3, "response": [], "error": 3, "recordId": "r", "modelOutput": 3},
    {"custom_id": "a", "recordId": "r", "error": {"errorCode": "x", "errorMessage": 3}, "status": {"a": 1}},
    {"custom_id": "a", "request": {"labels": 3}, "response": "x", "status": "{"},
    {"custom_id": "a", "result": {"type": "errored", "error": 3}},
    {"custom_id": "a", "result": {"type": "errored", "error": {"request_id": 3}}},
)


_SERVICES = "openai-chat mistral together xai openrouter anthropic google vertex vertex-anthropic bedrock"


@pytest.mark.parametrize("service_name", _SERVICES.split())
def test_bodies_of_another_form_are_provider_errors_or_no_results(service_name: str) -> None:
    protocol: BatchProtocol = BATCHES[service_name].protocol()
    made = [_around(name, value) for name, value in itertools.product(_FIELDS, _JUNK)]
    wrong: list[str] = []
    for body in (*_JUNK, *made, *_NESTED, *({**_around("id", "j"), **each} for each in _NESTED)):
        data = json.dumps(body).encode()
        for read in (
            protocol.read_job,
            protocol.read_jobs,
            lambda each: protocol.read_results(each, ["a"]),
        ):
            try:
                given = read(data)
            except (ProviderError, NotImplementedError):
                continue
            except Exception as error:
                wrong.append(f"{read.__name__} {data[:400]!r}: {error!r}")
                continue
            kept = [given] if isinstance(given, Job) else given[0]
            for each in kept:  # what is kept can be read again
                try:
                    msgspec.json.decode(msgspec.json.encode(each), type=type(each))
                except ValueError as error:
                    wrong.append(f"kept {data[:400]!r}: {error!r}")
    assert wrong == []
