"""Batches at Anthropic's API: the same promises, with its states and results, and what its SDK sees of the same."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from batches import ITEMS, KEY, NAMES, Time, all_of, client, finished, run
from brainwires_provider import AsyncClient, ConfigError, InvalidRequestError, ServerError
from brainwires_provider.resources.batch_ledger import Ledger, line_id
from brainwires_provider.testing import ScriptedServer
from brainwires_provider.testing.batch import BatchFaults, LineRefused
from brainwires_provider.testing.batch_anthropic import AnthropicBatchService, message_answer

MODEL = "anthropic:claude-sonnet-4-5"


def said(params: dict[str, Any]) -> str:
    content = params["messages"][-1]["content"]
    return content if isinstance(content, str) else str(content[0]["text"])


def echo(params: dict[str, Any]) -> dict[str, Any]:
    return message_answer(f"You said: {said(params)}", params["model"])


def service(**faults: Any) -> AnthropicBatchService:
    return AnthropicBatchService(faults.pop("answer", echo), BatchFaults(**faults))


def test_every_id_comes_exactly_once_in_the_order_of_the_input(tmp_path: Path) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any] | None:
        match said(params):
            case "Say two.":
                return None
            case "Say four.":
                raise LineRefused(400, "the prompt is too odd")
        return echo(params)

    found = all_of(service(answer=answer, seed=4, repeats=True), tmp_path, model=MODEL)
    assert [each.id for each in found] == list(NAMES)
    assert [each.outcome for each in found] == ["succeeded", "missing", "succeeded", "errored", "succeeded"]
    assert found[0].response.text == "You said: Say one."
    assert type(found[3].error) is InvalidRequestError
    assert "the prompt is too odd" in str(found[3].error)
    assert (found[3].error.request_id, found[3].error.status) == ("req_2", None)


@pytest.mark.parametrize("lag", [0, 3])
def test_an_expired_job_keeps_its_successes(lag: int, tmp_path: Path) -> None:
    found = all_of(service(done=2, seed=5, lag=lag), tmp_path, model=MODEL)
    assert [each.outcome for each in found] == ["succeeded"] * 2 + ["expired"] * 3


def test_a_cancelled_job_keeps_what_was_answered(tmp_path: Path) -> None:
    async def work() -> tuple[list[str], list[Any]]:
        async with client(service(looks=1000, done=1), MODEL) as asking:
            batch = await asking.batch(ITEMS, ledger=tmp_path)
            states = [batch.state, await batch.refresh()]
            await batch.cancel()
            return [*states, batch.state], await finished(batch)

    states, found = run(work)
    assert states == ["running", "running", "cancelled"]
    assert [each.outcome for each in found] == ["succeeded"] + ["cancelled"] * 4


def test_a_job_whose_creation_was_not_answered_is_created_again_only_when_that_is_asked_for(
    tmp_path: Path,
) -> None:
    """Nothing that Anthropic shows of a job lets it be found."""
    api = service(lost=1)

    async def work() -> list[Any]:
        async with client(api, MODEL) as asking:
            with pytest.raises(ServerError, match="the answer was lost"):
                await asking.batch(ITEMS, ledger=tmp_path)
            batch = await asking.load_batch(Ledger(tmp_path).ids()[0], ledger=tmp_path)
            with pytest.raises(
                ConfigError, match=r"was created is not known: anthropic .* submit\(again=True\)"
            ):
                await batch.submit()
            await batch.submit(again=True)
            return await finished(batch)

    assert [each.outcome for each in run(work)] == ["succeeded"] * 5
    assert len(api.batches) == 2


def test_a_job_may_have_several_models_but_one_set_of_headers(tmp_path: Path) -> None:
    """A request with a sampling option has another version of the API, which is a header."""
    from brainwires_provider import Message, Options, Request

    def request(model: str, temperature: float | None = None) -> Request:
        options = Options() if temperature is None else Options(temperature=temperature)
        return Request((Message.user("Hi"),), model=f"anthropic:{model}", options=options)

    api = service()

    async def work() -> list[Any]:
        async with client(api, MODEL) as asking:
            items = [
                ("a", request("claude-sonnet-4-5")),
                ("b", request("claude-haiku-4-5", 0.5)),
                ("c", request("claude-haiku-4-5")),
            ]
            return await finished(await asking.batch(items, ledger=tmp_path))

    found = run(work)
    assert [each.response.model for each in found] == [
        "claude-sonnet-4-5",
        "claude-haiku-4-5",
        "claude-haiku-4-5",
    ]
    assert found[2].response.message.content[0].origin.model == "claude-haiku-4-5"
    assert [[each["custom_id"] for each in requests] for requests in api.requests.values()] == [
        [line_id("a"), line_id("c")],
        [line_id("b")],
    ]


def test_the_cost_is_that_of_a_batch_by_the_kind_of_token(tmp_path: Path) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        written = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
        usage = {
            "cache_read_input_tokens": 1000,
            "cache_creation_input_tokens": 300,
            "cache_creation": written,
        }
        return message_answer("Hi", params["model"], input_tokens=1000, output_tokens=100, **usage)

    found = all_of(service(answer=answer), tmp_path, model=MODEL, prices=True)
    million = (
        1000 * Decimal("1.5") + 1000 * Decimal("0.15") + 100 * Decimal("1.875") + 200 * 3
    ) + 100 * Decimal("7.5")
    assert [each.cost.usd for each in found] == [million / 10**6] * 5


def test_the_price_of_each_model_of_a_mixed_job(tmp_path: Path) -> None:
    from brainwires_provider import Message, Request

    async def work() -> list[Any]:
        async with client(service(), MODEL, prices=True) as asking:
            models = ("anthropic:claude-sonnet-4-5", "anthropic:claude-haiku-4-5")
            items = [(model, Request((Message.user("Hi"),), model=model)) for model in models]
            return await finished(await asking.batch(items, ledger=tmp_path))

    found = run(work)
    assert [each.cost.usd for each in found] == [Decimal("0.0000525"), Decimal("0.0000175")]


@pytest.mark.long
def test_anthropics_sdk_reads_the_same_of_the_same_server(tmp_path: Path) -> None:
    import anthropic

    api = service(done=3, seed=2)
    with ScriptedServer(api) as server:

        async def work() -> list[Any]:
            async with AsyncClient(MODEL, base_url=server.url, api_key=KEY) as asking:
                batch = Time().of(await asking.batch(ITEMS, ledger=tmp_path))
                return await finished(batch)

        ours = run(work)
        sdk = anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0)
        (seen,) = sdk.messages.batches.list().data
        api.batches[seen.id]["results_url"] = f"{server.url}/v1/messages/batches/{seen.id}/results"
        theirs = {each.custom_id: each.result for each in sdk.messages.batches.results(seen.id)}
        params = api.requests[seen.id][0]["params"]
        made = sdk.messages.batches.create(requests=[{"custom_id": "x", "params": params}])
        assert sdk.messages.batches.retrieve(made.id).processing_status == "in_progress"
        assert sdk.messages.batches.cancel(made.id).processing_status == "canceling"
        sdk.close()
    assert seen.processing_status == "ended"
    assert (seen.request_counts.succeeded, seen.request_counts.expired) == (3, 2)
    for each in ours:
        result = theirs[line_id(each.id)]
        assert result.type == each.outcome
        if result.type == "succeeded":
            (block,) = result.message.content
            assert block.type == "text"
            assert block.text == each.response.text
            assert result.message.usage.input_tokens == each.response.usage.input_tokens
