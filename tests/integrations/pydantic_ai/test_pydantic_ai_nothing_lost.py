"""Every answer of the fixtures goes through pydantic-ai's messages and JSON, and comes back as the message it was."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import ModelRequestParameters

from brainwires_provider import AsyncClient, Message, ProviderError, TextPart
from brainwires_provider.events import collect
from brainwires_provider.integrations.pydantic_ai import BrainwiresModel
from brainwires_provider.integrations.pydantic_ai.histories import History
from brainwires_provider.integrations.pydantic_ai.responses import model_response
from brainwires_provider.testing import Answer, FakeProvider
from brainwires_provider.types import Retry
from fixture_cases import MODEL, Case, cases, read
from pydantic_ai_runs import run, through_json

ANSWERED = [case for case in cases() if case.wire is not None and case.spec.answer.status < 400]


def named(case: Case) -> str:
    return f"{case.folder.parent.name}-{case.folder.name}"


def with_content(message: Message) -> list[Message]:
    """The message without texts that hold nothing at all, which no provider is sent again."""
    content = tuple(p for p in message.content if p != TextPart("", origin=p.origin))
    kept = Message(message.role, content, message.name, message.extra)
    return [kept] if content or message.extra else []


@pytest.mark.long
@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_a_whole_answer_comes_back(case: Case) -> None:
    events, error = read(case, lambda data: [data])
    if error is not None:
        return
    response = collect(events, provider=case.row.name)
    if response.finish_reason == "pending":  # which is refused
        return

    made = through_json([model_response(response, name=MODEL, provider="p", url="u")])

    assert History(made, case.origin, "p").messages == with_content(response.message)


@pytest.mark.many
@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_a_streamed_answer_comes_back(case: Case) -> None:
    """The same, by the events of a stream, whose parts may come in another order than they are finished."""
    kind, data = case.wire or ("", b"")
    if kind == "json":
        return
    headers = {"content-type": "text/event-stream", **case.spec.answer.headers}
    name = f"{case.row.name}:{MODEL}"

    def client() -> AsyncClient:
        fake = FakeProvider(Answer(case.spec.answer.status, headers, body=[data]))
        return AsyncClient(name, api_key="k", base_url="http://localhost", transport=fake, retry=Retry(1))

    async def both() -> tuple[Any, Any]:
        try:
            expected = await client().stream("hi").collect()
        except ProviderError:
            return None, None
        if expected.finish_reason == "pending":
            return None, None
        model = BrainwiresModel(name, client=client())
        async with model.request_stream(
            [ModelRequest.user_text_prompt("hi")], None, ModelRequestParameters()
        ) as stream:
            async for _ in stream:
                pass
            return expected.message, (stream.get(), model)

    expected, got = run(both())
    if got is None:
        return
    response, model = got
    assert History(through_json([response]), model._origin, model.system).messages == with_content(expected)
