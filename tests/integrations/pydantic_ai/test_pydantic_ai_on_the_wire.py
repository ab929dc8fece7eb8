"""An agent sends, byte for byte, what a program sends that keeps the client's own messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    NativeToolCallPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)

from brainwires_provider import AsyncClient, Message, Response, Retry, Tool
from brainwires_provider.integrations.pydantic_ai.keeping import KEY, digest
from brainwires_provider.testing import Answer, Drop, FakeProvider, sse
from pydantic_ai_runs import run, scripted, through_json
from pydantic_ai_wire import CONVERSATIONS, streamed, whole

pytestmark = pytest.mark.long

SYSTEM = "Answer in few words."
WEATHER = Tool(
    "weather",
    "The weather in a city.",
    {
        "additionalProperties": False,
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "type": "object",
    },
)


def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


def agent_of(model: Any) -> Agent[None, str]:
    return Agent(model, instructions=SYSTEM, tools=[weather])


async def own_loop(model: str, answers: Sequence[Answer], *, stream: bool) -> list[bytes]:
    """What a program sends that uses the client alone."""
    fake = FakeProvider(list(answers))
    client = AsyncClient(model, api_key="k", transport=fake)
    messages: list[Message] = []

    async def ask(asked: list[Message]) -> Response:
        if stream:
            return await client.stream(asked, system=SYSTEM, tools=[WEATHER]).collect()
        return await client.chat(asked, system=SYSTEM, tools=[WEATHER])

    for said in ("Weather in Paris?", "And tomorrow?"):
        messages.append(Message.user(said))
        while True:
            response = await ask(messages)
            messages.append(response.message)
            if not response.tool_calls:
                break
            results = [
                Message.tool_result(call, weather(**call.args())).content[0] for call in response.tool_calls
            ]
            messages.append(Message("tool", results))
    return [request.body for request in fake.requests]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", CONVERSATIONS)
def test_a_conversation_through_json_is_the_same_on_the_wire(model: str, stream: bool) -> None:
    answers = [(streamed if stream else whole)(body) for body in CONVERSATIONS[model]]

    async def agents() -> list[bytes]:
        brain, fake = scripted(list(answers), model)
        history: list[ModelMessage] = []
        for said in ("Weather in Paris?", "And tomorrow?"):
            agent = agent_of(brain)  # a new one, as in another process
            if stream:
                async with agent.run_stream_events(said, message_history=history) as events:
                    seen = [event async for event in events]
                history = through_json(seen[-1].result.all_messages())
            else:
                history = through_json((await agent.run(said, message_history=history)).all_messages())
        return [request.body for request in fake.requests]

    sent = run(agents())

    assert len(sent) == 3
    assert sent == run(own_loop(model, answers, stream=stream))
    for secret in (
        ("EqQBCgIYAh==", "EmwKAhgBEgy3va3pzix", "c2lnbmF0dXJlIG9ubHk=") if "claude" in model else ()
    ):
        assert secret.encode() in sent[-1]


def edited(change: Callable[[Any], Any]) -> Callable[[list[ModelMessage]], list[ModelMessage]]:
    """A history processor that changes the parts of answers."""

    def process(messages: list[ModelMessage]) -> list[ModelMessage]:
        return [
            _with_parts(message, [change(part) for part in message.parts])
            if isinstance(message, ModelResponse)
            else message
            for message in messages
        ]

    return process


def _with_parts(message: Any, parts: list[Any]) -> Any:
    return dataclasses.replace(message, parts=parts)


def _changed(part: Any, **fields: Any) -> Any:
    return dataclasses.replace(part, **fields)


def second_request(model: str, change: Callable[[Any], Any]) -> Any:
    """What is sent after the first run's history was edited."""

    async def main() -> Any:
        brain, fake = scripted([whole(body) for body in CONVERSATIONS[model]], model)
        first = await agent_of(brain).run("Weather in Paris?")
        await agent_of(brain).run("And tomorrow?", message_history=edited(change)(first.all_messages()))
        return fake.requests[-1].json()

    return run(main())


def test_an_edited_text_is_what_is_sent() -> None:
    sent = second_request(
        "openai:gpt-5.2",
        lambda part: _changed(part, content="[removed]") if isinstance(part, TextPart) else part,
    )
    said = str(sent["input"])
    assert "[removed]" in said and "'Sunny.'" not in said
    assert "msg_2" not in said  # the service's stored copy of the text would win over the edited one
    assert "gAAAAABo" in said  # the turn before was not edited
    assert "gAAAAABp" not in said  # the service refuses reasoning without the item that it led to


def test_edited_thinking_loses_its_signature() -> None:
    def shorten(part: Any) -> Any:
        if isinstance(part, ThinkingPart) and part.content:
            return _changed(part, content="Which city?")
        return part

    sent = second_request("anthropic:claude-opus-4-8", shorten)

    assert "EqQBCgIYAh==" not in str(sent)  # it signs what is no longer said
    assert "Which city? Paris." not in str(sent)
    assert "EmwKAhgBEgy3va3pzix" in str(sent)


def test_an_edited_call_keeps_no_signature() -> None:
    def elsewhere(part: Any) -> Any:
        return _changed(part, args={"city": "Oslo"}) if isinstance(part, ToolCallPart) else part

    sent = str(second_request("google:gemini-3-flash", elsewhere))

    assert "Oslo" in sent
    assert "Paris" not in sent.replace("Weather in Paris?", "").replace("Sunny in Paris", "")
    assert "Y2FsbA==" not in sent


def test_a_call_as_an_object_is_the_same_call() -> None:
    """Frontends give arguments back as an object."""

    def as_object(part: Any) -> Any:
        return _changed(part, args=part.args_as_dict()) if isinstance(part, ToolCallPart) else part

    assert "Y2FsbA==" in str(second_request("google:gemini-3-flash", as_object))


def test_dropped_parts_stay_dropped() -> None:
    async def main() -> str:
        brain, fake = scripted(
            [whole(body) for body in CONVERSATIONS["anthropic:claude-opus-4-8"]], "anthropic:claude-opus-4-8"
        )
        first = await agent_of(brain).run("Weather in Paris?")
        kept = [
            _with_parts(m, [p for p in m.parts if not isinstance(p, ThinkingPart)])
            if isinstance(m, ModelResponse)
            else m
            for m in first.all_messages()
        ]
        await agent_of(brain).run("And tomorrow?", message_history=kept)
        return fake.requests[-1].body.decode()

    sent = run(main())
    assert "thinking" not in sent.replace('"thinking":{', "")
    assert "Let me look." in sent


@pytest.mark.parametrize("second", list(CONVERSATIONS))
@pytest.mark.parametrize("first", list(CONVERSATIONS))
def test_history_of_one_provider_is_continued_with_another(first: str, second: str) -> None:
    """What is bound to the first model is left out, all else is said; the first takes it up again, with all of it."""

    async def main() -> tuple[Any, Any]:
        one, fake_one = scripted([whole(body) for body in CONVERSATIONS[first]], first)
        other, fake_other = scripted([whole(CONVERSATIONS[second][2])], second)
        history = through_json((await agent_of(one).run("Weather in Paris?")).all_messages())
        history = through_json(
            (await agent_of(other).run("And Rome?", message_history=history)).all_messages()
        )
        await agent_of(one).run("And tomorrow?", message_history=history)
        return fake_other.requests[0].body.decode(), fake_one.requests[-1].body.decode()

    sent, back = run(main())
    assert "Sunny in Paris" in sent and "And Rome?" in sent and "Sunny." in sent
    seals = {
        "anthropic:claude-opus-4-8": "EqQBCgIYAh==",
        "google:gemini-3-flash": "Y2FsbA==",
        "openai:gpt-5.2": "gAAAAABo",
    }
    if first in seals:
        assert (seals[first] in sent) == (first == second)
        assert seals[first] in back
    assert "Sunny as well." in back and "And tomorrow?" in back


def test_a_history_of_the_frameworks_own_classes_goes_on() -> None:
    """Their thoughts have signatures too, by the provider's name; what hosted tools did there is left out."""
    claude, gpt = "anthropic:claude-opus-4-8", "openai:gpt-5.2"
    histories = {
        claude: [
            ThinkingPart("Which?", signature="EqQB", provider_name="anthropic"),
            ThinkingPart("", id="redacted_thinking", signature="EmwK", provider_name="anthropic"),
            ThinkingPart("", id="redacted_content", signature="EmwL", provider_name="anthropic"),
        ],
        gpt: [
            ThinkingPart("Which?", id="rs_1", signature="gAAA", provider_name="openai"),
            NativeToolCallPart("web_search", {"query": "x"}, "ws_1", provider_name="openai"),
        ],
    }
    expected = {
        claude: [
            {"type": "thinking", "thinking": "Which?", "signature": "EqQB"},
            {"type": "redacted_thinking", "data": "EmwK"},
            {"type": "redacted_thinking", "data": "EmwL"},
            {"type": "text", "text": "Paris."},
        ],
        gpt: {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Which?"}],
            "encrypted_content": "gAAA",
        },
    }
    for model, thoughts in histories.items():
        brain, fake = scripted(["Yes."], model)
        asked = ModelRequest.user_text_prompt("Capital?")
        text = TextPart("Paris.", id="msg_1" if model == gpt else None, provider_name=brain.system)
        answer = ModelResponse([*thoughts, text], provider_name=brain.system, model_name="m")
        assert run(agent_of(brain).run("Sure?", message_history=[asked, answer])).output == "Yes."
        body = fake.requests[0].json()
        if model == claude:
            assert body["messages"][1]["content"] == expected[model]
        else:
            assert expected[model] in body["input"]
            assert [item.get("id") for item in body["input"]] == [None, "rs_1", "msg_1", None]
            assert "web_search_call" not in str(body)


def signed(signature: str, name: str = "google") -> dict[str, Any]:
    return {"provider_name": name, "provider_details": {"thought_signature": signature}}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(
            [
                ThinkingPart("Which?", **signed("QQ==")),
                FilePart(BinaryContent(b"png", media_type="image/png"), **signed("Qg==")),
                TextPart("Paris.", **signed("Qw==")),
                TextPart("", **signed("RA==")),
            ],
            [
                {"text": "Which?", "thought": True, "thoughtSignature": "QQ=="},
                {"inlineData": {"mimeType": "image/png", "data": "cG5n"}, "thoughtSignature": "Qg=="},
                {"text": "Paris.", "thoughtSignature": "Qw=="},
                {"text": "", "thoughtSignature": "RA=="},
            ],
            id="today",
        ),
        pytest.param(
            [
                ThinkingPart("Which?", signature="QQ==", provider_name="google-gla"),
                TextPart("Paris.", provider_name="google-gla"),
                ThinkingPart("", signature="Qg==", provider_name="google-gla"),
                TextPart("Yes."),
            ],
            [
                {"text": "Which?", "thought": True},
                {"text": "Paris.", "thoughtSignature": "QQ=="},
                {"text": "Yes.", "thoughtSignature": "Qg=="},
            ],
            id="before version 2",
        ),
        pytest.param(
            [ThinkingPart("Which?", **signed("QQ==", "openai")), TextPart("Paris.", **signed("Qg==", "x"))],
            [{"text": "Paris."}],
            id="another provider's",
        ),
    ],
)
def test_signatures_of_the_frameworks_google_class(parts: list[Any], expected: list[Any]) -> None:
    brain, fake = scripted(["Yes."], "google:gemini-3-flash")
    asked = ModelRequest.user_text_prompt("Capital?")
    run(agent_of(brain).run("Sure?", message_history=[asked, ModelResponse(parts)]))
    assert fake.requests[0].json()["contents"][1]["parts"] == expected


def thought_with(**note: Any) -> ThinkingPart:
    details = {KEY: {"of": digest("Which?", "s"), "part": {"type": "reasoning"}, **note}}
    return ThinkingPart("Which?", signature="s", provider_details=details)


@pytest.mark.parametrize(
    ("note", "part"),
    [
        ({"order": [0, None]}, thought_with()),
        ({"order": [["a"], 0]}, thought_with(sealed=["signature"])),
        ({"order": [0, 0], "message": 5}, thought_with(part=5)),
        ({"order": [2, 1, 0]}, thought_with()),
        ({"order": 5, "state": 5}, thought_with(part={"type": "opaque", "kind": 5})),
        ({}, thought_with(sealed="origin", part={"type": "reasoning", "origin": 5})),
    ],
)
@pytest.mark.parametrize("model", CONVERSATIONS)
def test_what_is_kept_may_be_damaged(model: str, note: Any, part: ThinkingPart) -> None:
    """By a store or a frontend: the text is sent all the same."""
    brain, fake = scripted(["Yes."], model)
    answer = ModelResponse(
        [part, TextPart("Paris.")], provider_name=brain.system, provider_details={KEY: note}
    )
    asked = ModelRequest.user_text_prompt("Capital?")
    assert run(agent_of(brain).run("Sure?", message_history=[asked, answer])).output == "Yes."
    assert "Paris." in fake.requests[0].body.decode()


def test_reasoning_that_another_attempt_replaced_is_not_sent() -> None:
    """It was shown, so it stays in the history, marked."""

    def chunk(**delta: str) -> bytes:
        return sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]}, done=False)

    end = sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    cut = Answer(body=[chunk(reasoning_content="A first "), chunk(reasoning_content="thought"), Drop()])
    good = Answer(body=[chunk(reasoning_content="A second"), chunk(content="Hello"), end])

    async def main() -> tuple[Any, Any]:
        brain, fake = scripted([cut, good, "Yes."], "deepseek:deepseek-reasoner", retry=Retry(2, base=0))
        async with agent_of(brain).run_stream("Hi") as result:
            assert await result.get_output() == "Hello"
            history = through_json(result.all_messages())
        await agent_of(brain).run("And?", message_history=history)
        return history[-1].parts, fake.requests[-1].body.decode()

    parts, sent = run(main())
    assert [part.content for part in parts] == ["A first thought", "A second", "Hello"]
    assert "A first thought" not in sent
    assert "A second" in sent
