"""Batches at Amazon Bedrock: the same promises, over a byte store, and requests that botocore's model accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batches import finished, run
from brainwires_provider import (
    AsyncClient,
    ConfigError,
    Credentials,
    InvalidRequestError,
    ProviderConfig,
    ServerError,
)
from brainwires_provider.resources.batch_ledger import Ledger, line_id
from brainwires_provider.testing import FakeProvider
from brainwires_provider.testing.batch import BatchFaults, LineRefused
from brainwires_provider.testing.batch_anthropic import message_answer
from brainwires_provider.testing.batch_bedrock import BedrockBatchService, converse_answer
from brainwires_provider.testing.batch_google import MemoryStore

ROLE = "arn:aws:iam::123456789012:role/Batch"
ITEMS = {f"id {n}": f"Say {n}." for n in range(100)}


def said(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"][0]["text"])


def echo(body: dict[str, Any]) -> dict[str, Any] | None:
    match said(body):
        case "Say 2.":
            return None
        case "Say 4.":
            raise LineRefused(400, "the prompt is too odd")
    return converse_answer(f"You said: {said(body)}")


def service(answer: Any = echo, **faults: Any) -> BedrockBatchService:
    return BedrockBatchService(answer, MemoryStore("s3://bucket/some/folder"), BatchFaults(**faults))


def client(
    api: BedrockBatchService, provider: str = "bedrock", model: str = "amazon.nova-pro-v1:0"
) -> AsyncClient:
    credentials = Credentials("AKIAEXAMPLE000000000", "secret-example-key")
    config = ProviderConfig(provider, region="us-east-1", credentials=credentials)
    return AsyncClient(f"{provider}:{model}", providers=[config], transport=FakeProvider(api))


def test_every_id_comes_exactly_once_in_the_order_of_the_input(tmp_path: Path) -> None:
    api = service(seed=3, repeats=True)

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})
            return await finished(batch)

    found = run(work)
    assert [each.id for each in found] == list(ITEMS)
    outcomes = ["succeeded"] * 100
    outcomes[2], outcomes[4] = "missing", "errored"
    assert [each.outcome for each in found] == outcomes
    assert found[99].response.text == "You said: Say 99."
    assert type(found[4].error) is InvalidRequestError
    assert (found[4].error.status, "too odd" in str(found[4].error)) == (400, True)


@pytest.mark.long
def test_the_requests_are_what_botocore_sends(tmp_path: Path) -> None:
    """Its model of the service validates the body, and its own call has the same path and the same form."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.serialize import create_serializer
    from botocore.validate import ParamValidator

    api = service()
    fake = FakeProvider(api)

    async def work() -> None:
        credentials = Credentials("AKIAEXAMPLE000000000", "secret-example-key")
        config = ProviderConfig("bedrock", region="us-east-1", credentials=credentials)
        async with AsyncClient("bedrock:amazon.nova-pro-v1:0", providers=[config], transport=fake) as asking:
            job = {"roleArn": ROLE, "timeoutDurationInHours": 48}
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job=job)
            await batch.refresh()
            await batch.cancel()

    run(work)
    model = ServiceModel(Loader().load_service_model("bedrock", "service-2"))
    serializer = create_serializer("rest-json")
    (body,) = api.bodies
    arn = next(iter(api.jobs))
    expected = [
        ("CreateModelInvocationJob", body),
        ("GetModelInvocationJob", {"jobIdentifier": arn}),
        ("StopModelInvocationJob", {"jobIdentifier": arn}),
    ]
    for (name, params), sent in zip(expected, fake.requests, strict=False):
        operation = model.operation_model(name)
        report = ParamValidator().validate(params, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        theirs = serializer.serialize_to_request(params, operation)
        assert (sent.method, sent.path) == (theirs["method"], theirs["url_path"])


def test_requests_go_to_the_control_plane_and_are_signed_for_it(tmp_path: Path) -> None:
    urls, headers = [], []
    api = service()

    class Watching(FakeProvider):
        async def open(self, outgoing: Any) -> Any:
            urls.append(outgoing.url)
            headers.append(outgoing.headers)
            return await super().open(outgoing)

    async def work() -> None:
        config = ProviderConfig(
            "bedrock", region="us-east-1", credentials=Credentials("AKIAEXAMPLE000000000", "secret")
        )
        async with AsyncClient("bedrock:m", providers=[config], transport=Watching(api)) as asking:
            await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})

    run(work)
    assert urls == ["https://bedrock.us-east-1.amazonaws.com/model-invocation-job"]
    assert "/us-east-1/bedrock/aws4_request" in headers[0]["Authorization"]


def test_too_few_records_and_a_missing_role_are_found_before_anything_is_sent(tmp_path: Path) -> None:
    api = service()

    async def work(items: Any, **more: Any) -> None:
        async with client(api) as asking:
            await asking.batch(items, ledger=tmp_path, store=api.store, **more)

    with pytest.raises(ConfigError, match="batches of at least 100 requests, and a job would have 2"):
        run(lambda: work({"a": "x", "b": "y"}, job={"roleArn": ROLE}))
    with pytest.raises(ConfigError, match=r'pass job=\{"roleArn"'):
        run(lambda: work(ITEMS))
    assert (api.jobs, api.store.objects, list(tmp_path.iterdir())) == ({}, {}, [])


@pytest.mark.parametrize("found", [True, False])
def test_a_job_whose_creation_was_not_answered_is_not_created_twice(found: bool, tmp_path: Path) -> None:
    """It is found by its name, and would be the same job if it was not: the call is idempotent."""
    api = service(lost=1)

    async def work() -> list[Any]:
        async with client(api) as asking:
            with pytest.raises(ServerError):
                await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})
            id = Ledger(tmp_path).ids()[0]
            batch = await asking.load_batch(id, ledger=tmp_path, store=api.store)
            if not found:
                batch._handle.parts[0].stage = "uploaded"
                batch._save()
            await batch.submit()
            return await finished(batch)

    assert [each.outcome for each in run(work)].count("succeeded") == 98
    assert (len(api.jobs), len(api.bodies)) == (1, 1 if found else 2)


def test_a_stopped_job_keeps_what_was_answered(tmp_path: Path) -> None:
    api = service(looks=1000, done=2)

    async def work() -> tuple[list[str], list[Any]]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})
            states = [batch.state, await batch.refresh(), await batch.cancel()]
            return states, await finished(batch)

    states, found = run(work)
    assert states == ["queued", "running", "cancelled"]
    assert [each.outcome for each in found] == ["succeeded"] * 2 + ["cancelled"] * 98


def test_a_failed_job_is_explained(tmp_path: Path) -> None:
    api = service()
    api.fewest = 1000

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})
            return await finished(batch)

    found = run(work)
    assert {each.outcome for each in found} == {"errored"}
    assert str(found[0].error) == "bedrock: the job is Failed: at least 1000 records are required"


def test_claude_by_invoke_model(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        assert body["anthropic_version"] == "bedrock-2023-05-31"
        return message_answer(str(body["messages"][0]["content"]))

    api = service(answer)

    async def work() -> list[Any]:
        async with client(api, "bedrock-invoke", "anthropic.claude-sonnet-4-5") as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=api.store, job={"roleArn": ROLE})
            return await finished(batch)

    found = run(work)
    assert "Say 7." in found[7].response.text
    (body,) = api.bodies
    assert (body["modelInvocationType"], body["modelId"]) == ("InvokeModel", "anthropic.claude-sonnet-4-5")
    assert line_id("id 0") in api.store.objects[f"{body['jobName']}/input.jsonl"].decode()


def test_a_byte_store_may_be_asynchronous(tmp_path: Path) -> None:
    api = service()

    class Slow:
        uri = api.store.uri

        async def put(self, key: str, data: bytes) -> None:
            api.store.put(key, data)

        async def get(self, key: str) -> bytes:
            return api.store.get(key)

        async def list(self, prefix: str) -> list[str]:
            return api.store.list(prefix)

        async def delete(self, key: str) -> None:
            raise AssertionError("not asked for")

    async def work() -> list[Any]:
        async with client(api) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path, store=Slow(), job={"roleArn": ROLE})
            return await finished(batch)

    assert [each.outcome for each in run(work)].count("succeeded") == 98
