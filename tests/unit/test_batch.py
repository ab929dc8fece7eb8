"""Batches at OpenAI's API: what has to hold whatever the service does, and what the vendor's SDK sees of the same."""

from __future__ import annotations

import asyncio
import json
import stat
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batches import ITEMS, KEY, NAMES, Time, all_of, client, finished, run
from brainwires_provider import (
    APIError,
    AsyncClient,
    Budget,
    Client,
    ConfigError,
    InvalidRequestError,
    Message,
    ProviderError,
    Request,
    RequestTimeout,
    Retry,
    ServerError,
    UnsupportedError,
)
from brainwires_provider.resources.batch_ledger import Ledger, line_id
from brainwires_provider.testing import Answer, FakeProvider, RecordedRequest, ScriptedServer
from brainwires_provider.testing.batch import (
    BatchFaults,
    LineRefused,
    OpenAIBatchService,
    bodies,
    chat_answer,
)


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def echo(body: dict[str, Any]) -> dict[str, Any]:
    return chat_answer(f"You said: {said(body)}", body["model"])


def service(**faults: Any) -> OpenAIBatchService:
    return OpenAIBatchService(faults.pop("answer", echo), BatchFaults(**faults))


# -- what has to hold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([("a", "x"), ("b", "y"), ("a", "z")], "'a' occurs twice"),
        ([("", "x")], "not empty"),
        ([(3, "x")], "not 3"),
        ([("\ud800", "x")], "half of a character"),
        (["x"], "no pair"),
        ({}, "at least one request"),
    ],
)
def test_a_duplicate_or_illegal_id_is_refused_before_upload(items: Any, words: str, tmp_path: Path) -> None:
    api = service()
    with pytest.raises(ConfigError, match=words):
        all_of(api, tmp_path, items)
    assert not api.files
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_id_comes_exactly_once(seed: int, tmp_path: Path) -> None:
    """Though results come twice, and in any order, some are absent, some are errors, and one was never asked for."""

    def answer(body: dict[str, Any]) -> dict[str, Any] | None:
        match said(body):
            case "Say two.":
                return None
            case "Say four.":
                raise LineRefused(400, "the prompt is too odd")
        return echo(body)

    found = all_of(service(answer=answer, seed=seed, repeats=True), tmp_path)
    assert [each.id for each in found] == list(NAMES)
    assert [each.outcome for each in found] == ["succeeded", "missing", "succeeded", "errored", "succeeded"]
    assert found[0].response.text == "You said: Say one."
    assert "do not name this request" in str(found[1].error)
    assert type(found[3].error) is InvalidRequestError
    assert (found[3].error.status, found[3].error.provider) == (400, "openai-chat")
    assert "the prompt is too odd" in str(found[3].error)


@pytest.mark.parametrize("empty", [False, True])
def test_a_completed_job_without_an_output_id_is_looked_after_again(empty: bool, tmp_path: Path) -> None:
    found = all_of(service(lag=3, empty_ids=empty), tmp_path)
    assert [each.outcome for each in found] == ["succeeded"] * 5


def test_a_job_that_does_not_name_its_results_ends_all_the_same(tmp_path: Path) -> None:
    """And what it names later is read: that there was nothing is not kept."""
    api = service(lag=1000)

    async def work() -> tuple[list[Any], list[Any]]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            first = await finished(batch)
            api.faults = BatchFaults()
            loaded = await asking.load_batch(batch.id, ledger=tmp_path)
            return first, [each async for each in loaded.results()]

    first, later = run(work)
    assert [each.outcome for each in first] == ["missing"] * 5
    assert [each.outcome for each in later] == ["succeeded"] * 5


def test_where_all_failed_the_error_file_is_read(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        raise LineRefused(429, "slow down", "rate_limit_exceeded")

    found = all_of(service(answer=answer, empty_ids=True), tmp_path)
    assert [each.outcome for each in found] == ["errored"] * 5
    assert all(each.error.retryable for each in found)


def test_an_expired_job_keeps_its_successes(tmp_path: Path) -> None:
    found = all_of(service(done=2, seed=5), tmp_path)
    assert [each.outcome for each in found] == ["succeeded"] * 2 + ["expired"] * 3


def test_an_empty_file_id_is_none(tmp_path: Path) -> None:
    api = service(empty_ids=True)
    found = all_of(api, tmp_path)
    assert [each.outcome for each in found] == ["succeeded"] * 5


@pytest.mark.parametrize(
    ("cancels", "on_cancel", "words", "state"),
    [
        (True, "cancel", "cancellation was asked for", "cancelled"),
        (False, "cancel", "goes on, and is billed: it was not cancelled", "in_progress"),
        (True, "leave", "goes on, and is billed", "in_progress"),
    ],
)
def test_cancelling_the_waiter_cancels_the_job_or_reports_that_it_did_not(
    cancels: bool, on_cancel: Any, words: str, state: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    api = service(looks=1000, cancels=cancels)

    async def work() -> BaseException:
        async with client(api, retry=Retry(attempts=1)) as asking:
            batch = Time(stop_at=100).of(await asking.batch(ITEMS, ledger=tmp_path))
            with pytest.raises(asyncio.CancelledError) as caught:
                await batch.wait(on_cancel=on_cancel)
            return caught.value

    stop = run(work)
    assert any(words in note for note in stop.__notes__)
    assert (words in caplog.text) == (on_cancel == "cancel")
    assert [each["status"] for each in api.batches.values()] == [state]


def test_a_crash_between_upload_and_creation_leaves_a_ledger_entry(tmp_path: Path) -> None:
    """Another process goes on with it, and uploads nothing again."""
    api = service()
    alive = True

    def crashing(request: RecordedRequest) -> Answer:
        if request.path.endswith("/batches") and request.method == "POST" and alive:
            raise KeyboardInterrupt
        return api(request)

    async def first() -> None:
        async with client(crashing) as asking:
            await asking.batch(ITEMS, ledger=tmp_path)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(first())
    (id,) = Ledger(tmp_path).ids()
    handle, folder = Ledger(tmp_path).load(id)
    assert [(part.stage, part.file, part.job) for part in handle.parts] == [("creating", "file-1", None)]
    assert len(folder.lines(0)) == 5
    assert api.batches == {}

    async def second() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.load_batch(id, ledger=tmp_path)
            assert batch.state == "queued"
            with pytest.raises(ConfigError, match=r"was not created: use submit\(\)"):
                await batch.wait()
            await batch.submit()
            await batch.submit()
            return await finished(batch)

    assert [each.outcome for each in run(second)] == ["succeeded"] * 5
    assert len(api.batches) == 1
    assert (
        sum(b"Say one." in data and b"custom_id" in data for data in api.files.values()) == 2
    )  # input and output


def test_a_job_whose_creation_was_not_answered_is_found_and_not_created_twice(tmp_path: Path) -> None:
    api = service(lost=1)

    async def work() -> tuple[BaseException, list[Any]]:
        async with client(api) as asking:
            with pytest.raises(ServerError, match="the answer was lost") as caught:
                await asking.batch(ITEMS, ledger=tmp_path)
            (id,) = Ledger(tmp_path).ids()
            batch = await asking.load_batch(id, ledger=tmp_path)
            await batch.submit()
            return caught.value, await finished(batch)

    error, found = run(work)
    assert f"load_batch('{Ledger(tmp_path).ids()[0]}')" in error.__notes__[0]
    assert [each.outcome for each in found] == ["succeeded"] * 5
    assert len(api.batches) == 1


@pytest.mark.parametrize(
    ("lines", "size", "jobs"), [(2, 10**6, [2, 2, 1]), (50, 420, [2, 2, 1]), (5, 10**6, [5])]
)
def test_a_batch_is_split_by_lines_and_bytes(
    lines: int, size: int, jobs: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, lines=lines, size=size)
    api = service(largest=size, most=lines)
    found = all_of(api, tmp_path)
    assert [each.response.text for each in found] == [f"You said: Say {name}." for name in NAMES]
    assert [len(api.files[each["input_file_id"]].splitlines()) for each in api.batches.values()] == jobs


@pytest.mark.long
@pytest.mark.parametrize("big", [False, True])
def test_50001_lines_or_one_byte_over_200_mb_are_two_jobs(big: bool, tmp_path: Path) -> None:
    """With the real limits."""
    empty = len(
        json.dumps({"model": "gpt-6", "messages": [{"role": "user", "content": ""}]}, separators=(",", ":"))
    )
    text = "x" * (
        100_000_000
        - empty
        - 1
        - len('{"custom_id":"","method":"POST","url":"/v1/chat/completions","body":}')
        - 33
    )
    items = [("a", text), ("b", text + "x")] if big else [(f"r{n}", "x") for n in range(50_001)]

    async def work() -> list[int]:
        async with client(service()) as asking:
            batch = await asking.batch(items, ledger=tmp_path)
            return [each.requests for each in batch.jobs]

    assert run(work) == ([1, 1] if big else [50_000, 1])
    if big:
        assert (
            sum(
                len(line) + 1
                for n in (0, 1)
                for line in Ledger(tmp_path).load(Ledger(tmp_path).ids()[0])[1].lines(n)
            )
            == 200_000_001
        )


def limited(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    from brainwires_provider.protocols.base.batches import BatchLimits
    from brainwires_provider.protocols.openai_chat.operations import OpenAIBatches
    from brainwires_provider.providers import batches

    protocol = OpenAIBatches()
    protocol.limits = BatchLimits(**limits)
    monkeypatch.setitem(batches._made, "openai-chat", protocol)


def test_one_request_that_fits_no_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, lines=10, size=200)
    api = service()
    with pytest.raises(ConfigError, match=r"'long' has \d+ bytes, and a job of openai-chat at most 200"):
        all_of(api, tmp_path, {"long": "x" * 200})
    assert not api.files


def test_jobs_are_split_by_model_and_endpoint(tmp_path: Path) -> None:
    def request(model: str) -> Request:
        return Request((Message.user("Hi"),), model=model)

    models = ["openai-chat:a", "openai-chat:b", "openai-responses:a", "openai-chat:a"]
    api = OpenAIBatchService(lambda body: None)

    async def work() -> tuple[Any, ...]:
        async with AsyncClient(transport=FakeProvider(api)) as asking:
            batch = await asking.batch(
                [(f"{n}", request(model)) for n, model in enumerate(models)], ledger=tmp_path
            )
            return tuple((job.model, job.requests) for job in batch.jobs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        assert run(work) == (("openai-chat:a", 2), ("openai-chat:b", 1), ("openai-responses:a", 1))
    assert [each["endpoint"] for each in api.batches.values()] == ["/v1/chat/completions"] * 2 + [
        "/v1/responses"
    ]


def test_the_cost_is_that_of_a_batch_and_counted_once(tmp_path: Path) -> None:
    """Whatever tier the answer names, however often results come and are read."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        counts = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        return chat_answer("Hi", "gpt-4o-2024-08-06", **counts) | {"service_tier": "priority"}

    async def work() -> list[Any]:
        api = service(answer=answer, repeats=True)
        async with client(api, "openai-chat:gpt-4o", prices=True) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            first = await finished(batch)
            again = [each async for each in batch.results(ordered=False)]
            assert [each.cost for each in again] == [each.cost for each in first]
            return first

    found = run(work)
    each = Decimal("1000") * Decimal("1.25") / 10**6 + Decimal("100") * Decimal("5") / 10**6
    assert [result.cost.usd for result in found] == [each] * 5
    assert all(result.cost.complete for result in found)


def test_shuffled_results_return_in_the_order_of_the_input(tmp_path: Path) -> None:
    items = [(f"id {n}", f"number {n}") for n in range(200)]
    found = all_of(service(seed=11), tmp_path, items)
    assert [(each.id, each.response.text) for each in found] == [
        (id, f"You said: {text}") for id, text in items
    ]


# -- the lines -----------------------------------------------------------------------------------------------


def test_lines_are_the_bodies_of_prepare_under_legal_ids(tmp_path: Path) -> None:
    api = service()
    ids = ["plain", "späße / \n\0", "x" * 500]

    async def work() -> list[bytes]:
        async with client(api, max_event_bytes=10_000) as asking:
            args: Any = {"max_tokens": 5, "system": "Be short.", "temperature": 0.5}
            found = await finished(await asking.batch([(id, "Hi") for id in ids], ledger=tmp_path, **args))
            assert [each.id for each in found] == ids
            return [asking.prepare("Hi", **args).body for _ in ids]

    bodies_of_chat = run(work)
    lines = list(bodies(api))
    assert [line["body"] for line in lines] == [json.loads(body) for body in bodies_of_chat]
    names = [line["custom_id"] for line in lines]
    assert names == [line_id(id) for id in ids]
    assert all(len(name) <= 64 and name.isascii() and name.isalnum() for name in names)


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"extra_headers": {"X-A": "1"}}, UnsupportedError, "a line of a batch is none"),
        ({"budget": Budget(usd=1)}, ConfigError, "budget is a policy of single requests"),
        ({"job": {"api_key": "x"}}, ConfigError, "looks like a secret"),
        ({"top_k": 3, "strict": True}, UnsupportedError, "strict"),
        ({"tempurature": 3}, TypeError, "did you mean 'temperature'"),
    ],
)
def test_what_a_batch_cannot_take_is_refused(args: Any, error: Any, words: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(service()) as asking:
            await asking.batch(ITEMS, ledger=tmp_path, **args)

    with pytest.raises(error, match=words):
        run(work)
    assert list(tmp_path.iterdir()) == []


def test_a_provider_without_batches_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match="ollama has no batch API that is known here; those that have: openai"
    ) as caught:
        all_of(service(), tmp_path, model="ollama:x")
    assert caught.value.__notes__ == ["in the batch's request 'one'"]


def test_what_became_of_options_is_on_each_report(tmp_path: Path) -> None:
    found = []

    async def work() -> None:
        async with client(service()) as asking:
            found.extend(await finished(await asking.batch(ITEMS, ledger=tmp_path, top_k=3)))

    run(work)
    assert [[d.field for d in each.response.report.dropped] for each in found] == [["top_k"]] * 5


def test_settings_of_the_job_are_merged(tmp_path: Path) -> None:
    api = service()

    async def work() -> None:
        async with client(api) as asking:
            await asking.batch(ITEMS, ledger=tmp_path, job={"metadata": {"team": "blue"}})
            with pytest.raises(InvalidRequestError, match="unknown fields: colour"):
                await asking.batch(ITEMS, ledger=tmp_path, job={"colour": 1})

    run(work)
    assert [each["metadata"] for each in api.batches.values()] == [{"team": "blue"}]


# -- typed answers -------------------------------------------------------------------------------------------


def test_typed_answers_are_read(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert body["response_format"]["type"] == "json_schema"
        return chat_answer('{"response": 7}' if said(body) != "Say two." else "seven", body["model"])

    async def work() -> tuple[list[Any], list[Any]]:
        async with client(service(answer=answer)) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, output=int)
            first = await finished(batch)
            other = await asking.load_batch(batch.id, ledger=tmp_path)
            return first, [each async for each in other.results(output=int)]

    for found in run(work):
        assert [each.response.output for each in found] == [7, None, 7, 7, 7]
        assert found[1].outcome == "errored"
        assert "not of the type" in str(found[1].error)
        assert found[1].response.text == "seven"


# -- the handle ----------------------------------------------------------------------------------------------


def test_the_handle_survives_json_without_the_ledger(tmp_path: Path) -> None:
    api = service(looks=2, done=3)

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path / "here")
            data = batch.to_json()
            assert KEY.encode() not in data
            assert b"Say" not in data
        async with client(api) as other:
            loaded = await other.load_batch(data, ledger=tmp_path / "there")
            assert (loaded.id, loaded.ids) == (batch.id, NAMES)
            found = await finished(loaded)
            with pytest.raises(ConfigError, match="are not on this machine"):
                await loaded.retry()
            return found

    assert [each.outcome for each in run(work)] == ["succeeded"] * 3 + ["expired"] * 2


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"{}", "no batch's JSON"),
        ("nothing-here", "no batch 'nothing-here' is recorded"),
        ("../../etc", "no batch"),
        (b'{"id": "../x", "created": 1, "ids": []}', "no batch's id"),
        (b'{"id": "x", "created": 1, "ids": [], "version": 9}', "another release"),
        (
            b'{"id":"x","created":1,"ids":[],"parts":[{"model":"a:b","path":"","name":"","members":[3]}]}',
            "do not have the requests",
        ),
    ],
)
def test_what_is_no_handle_is_refused(source: Any, words: str, tmp_path: Path) -> None:
    async def work() -> None:
        async with client(service()) as asking:
            await asking.load_batch(source, ledger=tmp_path)

    with pytest.raises(ConfigError, match=words):
        run(work)


def test_the_ledger_is_private_and_keeps_results(tmp_path: Path) -> None:
    """They are downloaded once, and are there when the service has deleted its files."""
    api = service()

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(batch)
            api.files.clear()
            other = await asking.load_batch(batch.id, ledger=tmp_path)
            return [each async for each in other.results(ordered=False)]

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5
    (folder,) = tmp_path.iterdir()
    assert sorted(file.name for file in folder.iterdir()) == [
        "handle.json",
        "lines-0.jsonl",
        "lock",
        "results-0.jsonl",
    ]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert all(KEY.encode() not in file.read_bytes() for file in folder.iterdir())


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be recorded"):
        all_of(service(), tmp_path / "file")


# -- again ---------------------------------------------------------------------------------------------------


def test_retry_sends_the_rest_again_and_results_are_whole(tmp_path: Path) -> None:
    api = service(done=2)

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            await finished(batch)
            api.faults = BatchFaults()
            loaded = await asking.load_batch(batch.id, ledger=tmp_path)
            assert await loaded.retry(["errored"]) == 0
            assert await loaded.retry() == 3
            assert [each.requests for each in loaded.jobs] == [5, 3]
            assert loaded.state == "queued" or not loaded.is_final
            with pytest.raises(ConfigError, match="its results come at its end"):
                await anext(loaded.results())
            found = await finished(loaded)
            assert loaded.state == "expired"  # the first job has the results of two requests
            assert await loaded.retry() == 0
            return found

    found = run(work)
    assert [(each.id, each.response.text) for each in found] == [(n, f"You said: Say {n}.") for n in NAMES]
    sent = [said(line["body"]) for line in bodies(api)]
    assert sent == [f"Say {name}." for name in (*NAMES, *NAMES[2:])]


def test_a_job_that_is_refused_as_a_whole_is_explained(tmp_path: Path) -> None:
    api = service(most=3)
    found = all_of(api, tmp_path)
    assert [each.outcome for each in found] == ["errored"] * 5
    assert str(found[0].error) == "openai-chat: the job is failed: line 4: too many lines"


def test_a_refused_upload_leaves_the_batch_to_go_on_with(tmp_path: Path) -> None:
    api = service(largest=10)

    async def work() -> list[Any]:
        async with client(api) as asking:
            with pytest.raises(APIError, match="too large") as caught:
                await asking.batch({"a": "x" * 2000}, ledger=tmp_path)
            assert caught.value.status == 413
            api.faults = BatchFaults()
            batch = await asking.load_batch(Ledger(tmp_path).ids()[0], ledger=tmp_path)
            await batch.submit()
            return await finished(batch)

    assert [each.outcome for each in run(work)] == ["succeeded"]


# -- waiting -------------------------------------------------------------------------------------------------


def test_waiting_pauses_ever_longer_and_has_a_limit(tmp_path: Path) -> None:
    async def work() -> tuple[list[float], list[str]]:
        async with client(service(looks=1000)) as asking:
            time, seen = Time(), list[str]()
            batch = time.of(await asking.batch(ITEMS, ledger=tmp_path))
            with pytest.raises(RequestTimeout, match=r"was running after 300 s; wait again, or cancel it"):
                await batch.wait(
                    every=20, slowest=60, timeout=300, progress=lambda each: seen.append(each.state)
                )
            with pytest.raises(ConfigError, match="every is the number of seconds"):
                await batch.wait(every=0)
            return time.pauses, seen

    pauses, seen = run(work)
    assert pauses == [20, 30, 45, 60, 60, 60, 25]
    assert seen == ["running"] * 8


@pytest.mark.parametrize(("failures", "ends"), [(4, True), (5, False)])
def test_a_look_that_fails_is_made_again(failures: int, ends: bool, tmp_path: Path) -> None:
    api, left = service(), [failures]

    def flaky(request: RecordedRequest) -> Answer:
        if request.method == "GET" and "/batches/" in request.path and left[0]:
            left[0] -= 1
            return Answer(503, body=b"{}")
        return api(request)

    async def work() -> str:
        async with client(flaky, retry=Retry(attempts=1)) as asking:
            batch = Time().of(await asking.batch(ITEMS, ledger=tmp_path))
            return await batch.wait()

    if ends:
        assert run(work) == "done"
    else:
        with pytest.raises(ProviderError, match="openai-chat"):
            run(work)


def test_a_cancelled_job_keeps_what_was_answered(tmp_path: Path) -> None:
    api = service(looks=1000, done=1)

    async def work() -> tuple[list[str], list[Any]]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            states = [await batch.refresh(), await batch.cancel()]
            return states, await finished(batch)

    states, found = run(work)
    assert states == ["running", "cancelled"]
    assert [each.outcome for each in found] == ["succeeded"] + ["cancelled"] * 4


# -- sync, and the vendor's SDK ------------------------------------------------------------------------------


def test_the_synchronous_client_has_the_same(tmp_path: Path) -> None:
    api, seen = service(looks=0), list[str]()
    with Client("openai-chat:gpt-6", api_key=KEY, transport=FakeProvider(api)) as asking:
        batch = asking.batch(ITEMS, ledger=tmp_path)
        assert repr(batch) == f"Batch('{batch.id}', queued, 5 requests)"
        assert batch.wait(progress=lambda each: seen.append(each.state)) == "done"
        assert [each.response.text for each in batch.results() if each.response] == [
            f"You said: Say {name}." for name in NAMES
        ]
        again = asking.load_batch(batch.to_json(), ledger=tmp_path)
        assert (again.ids, again.is_final, again.retry()) == (NAMES, True, 0)
        assert [job.raw_state for job in again.jobs] == ["completed"]
    assert seen == ["done"]


@pytest.mark.long
def test_openais_sdk_reads_the_same_of_the_same_server(tmp_path: Path) -> None:
    """It accepts what we upload, and the jobs and results that it sees are ours."""
    import openai

    api = service(looks=1, done=3, seed=2)
    with ScriptedServer(api) as server:

        async def work() -> list[Any]:
            async with AsyncClient("openai-chat:gpt-6", base_url=f"{server.url}/v1", api_key=KEY) as asking:
                return await finished(await asking.batch(ITEMS, ledger=tmp_path))

        ours = run(work)
        sdk = openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)
        (seen,) = sdk.batches.list().data
        theirs = {}
        for file in (seen.output_file_id, seen.error_file_id):
            assert file is not None
            for line in sdk.files.content(file).text.splitlines():
                theirs[json.loads(line)["custom_id"]] = json.loads(line)
        data = server.requests[0].body
        uploaded = sdk.files.create(file=("x.jsonl", api.files[seen.input_file_id]), purpose="batch")
        made = sdk.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        first = sdk.batches.retrieve(made.id)
        second = sdk.batches.retrieve(made.id)
        sdk.close()
    assert b"multipart" not in data
    assert (seen.status, first.status, second.status) == ("expired", "in_progress", "expired")
    assert seen.request_counts is not None
    assert (seen.request_counts.completed, seen.request_counts.failed) == (3, 2)
    for each in ours:
        line = theirs[line_id(each.id)]
        if each.response is not None:
            read = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
            assert each.response.text == read.choices[0].message.content
        else:
            assert line["error"]["code"] == "batch_expired"
            assert line["error"]["message"] in str(each.error)


# -- what is seldom ------------------------------------------------------------------------------------------


def test_a_cancellation_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from brainwires_provider.resources import batch as module

    monkeypatch.setattr(module, "_TO_CANCEL", 0.05)
    api = service(looks=1000)

    def hanging(request: RecordedRequest) -> Answer:
        return Answer(stall_before_headers=True) if request.path.endswith("/cancel") else api(request)

    async def work() -> BaseException:
        async with client(hanging) as asking:
            batch = Time(stop_at=100).of(await asking.batch(ITEMS, ledger=tmp_path))
            with pytest.raises(asyncio.CancelledError) as caught:
                await batch.wait()
            return caught.value

    assert "it was not cancelled within 0.05 s" in run(work).__notes__[0]
    assert "it was not cancelled within 0.05 s" in caplog.text


def test_emulated_tools_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads them in the answer is made with the request, and does not survive it."""
    from brainwires_provider import ProviderConfig, Tool
    from brainwires_provider.providers.batches import BATCHES

    monkeypatch.setitem(BATCHES, "llama-server", BATCHES["custom"])  # type: ignore[index]
    tool = Tool("f", "", {"type": "object", "properties": {}})
    config = ProviderConfig("llama-server", models={"m": {"tools": False}})

    async def work() -> None:
        async with AsyncClient(
            "llama-server:m", providers=[config], transport=FakeProvider(service())
        ) as asking:
            await asking.batch(ITEMS, ledger=tmp_path, tools=[tool])

    with pytest.raises(UnsupportedError, match="emulated cannot be read back"):
        run(work)


def test_more_models_than_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from brainwires_provider.resources import batch_making

    monkeypatch.setattr(batch_making, "_OPEN", 2)
    models = ["a", "b", "c", "a", "c"]

    async def work() -> list[Any]:
        async with client(service()) as asking:
            items = [
                (f"{number}", Request((Message.user(f"{number}"),), model=f"openai-chat:{model}"))
                for number, model in enumerate(models)
            ]
            batch = await asking.batch(items, ledger=tmp_path)
            assert [job.requests for job in batch.jobs] == [1, 1, 2, 1]  # "a" begins anew
            return await finished(batch)

    assert [each.response.text for each in run(work)] == [f"You said: {n}" for n in range(5)]


def test_a_batch_without_jobs_is_not_asked_after(tmp_path: Path) -> None:
    """A handle whose jobs were not created: there is nothing to cancel, and nothing to read."""

    def refusing(request: RecordedRequest) -> Answer:
        return Answer(429, body=b'{"error": {"message": "enqueued token limit"}}')

    async def work() -> tuple[str, str]:
        async with client(refusing, retry=Retry(attempts=1)) as asking:
            with pytest.raises(ProviderError, match="enqueued token limit"):
                await asking.batch(ITEMS, ledger=tmp_path)
            batch = await asking.load_batch(Ledger(tmp_path).ids()[0], ledger=tmp_path)
            with pytest.raises(ConfigError, match="is queued: its results come at its end"):
                await anext(batch.results())
            return await batch.refresh(), await batch.cancel()

    assert run(work) == ("queued", "queued")


def test_a_refused_creation_is_tried_again_as_it_was(tmp_path: Path) -> None:
    """The file is not uploaded again, and no list is searched: it is known that there is no job."""
    api, refusals = service(), [429]

    def refusing(request: RecordedRequest) -> Answer:
        if request.path.endswith("/batches") and request.method == "POST" and refusals:
            return Answer(refusals.pop(), body=b'{"error": {"message": "enqueued token limit"}}')
        return api(request)

    async def work() -> None:
        fake = FakeProvider(refusing)
        async with AsyncClient("openai-chat:gpt-6", api_key=KEY, transport=fake) as asking:
            with pytest.raises(ProviderError, match="enqueued token limit"):
                await asking.batch(ITEMS, ledger=tmp_path)
            batch = await asking.load_batch(Ledger(tmp_path).ids()[0], ledger=tmp_path)
            await batch.submit()
            paths = [f"{each.method} {each.path}" for each in fake.requests]
            assert paths == ["POST /v1/files", "POST /v1/batches", "POST /v1/batches"]

    run(work)
    assert len(api.batches) == 1


@pytest.mark.long
@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
def test_ctrl_c_cancels_the_job_of_the_synchronous_wait(on_cancel: Any, tmp_path: Path) -> None:
    script = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from brainwires_provider import Client
from brainwires_provider.testing import BatchFaults, FakeProvider, OpenAIBatchService
from brainwires_provider.testing.batch import chat_answer
api = OpenAIBatchService(lambda body: chat_answer("Hi"), BatchFaults(looks=1000))
with Client("openai-chat:gpt-6", api_key="k", transport=FakeProvider(api)) as client:
    batch = client.batch({{"a": "x"}}, ledger={str(tmp_path)!r})
    try:
        batch.wait(on_cancel={on_cancel!r}, every=60, progress=lambda _: os.kill(os.getpid(), signal.SIGINT))
    except KeyboardInterrupt as stop:
        print(stop.__notes__, [each["status"] for each in api.batches.values()])
"""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    words, state = (
        ("cancellation was asked for", "cancelled") if on_cancel == "cancel" else ("goes on", "in_progress")
    )
    assert words in done.stdout
    assert state in done.stdout
