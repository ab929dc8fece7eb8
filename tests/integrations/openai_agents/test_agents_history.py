"""What an answer was survives the SDK's items, its sessions and JSON, and goes back byte for byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

pytest.importorskip("agents")
from agent_cases import MODELS, PATHS, run
from agents import Agent, ModelSettings, ModelTracing, Runner, RunState, SQLiteSession, function_tool

from anthropic_answers import block, stream, wire
from brainwires_provider import AsyncClient, Message, Retry, Tool
from brainwires_provider.integrations.openai_agents import BrainwiresModel
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, reply_answer

pytestmark = pytest.mark.long

CLAUDE = [
    {"type": "thinking", "thinking": "Let me think.", "signature": "c2lnbmF0dXJl"},
    {"type": "redacted_thinking", "data": "UkVEQUNURUQ="},
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {
                "type": "web_search_result",
                "url": "u",
                "title": "t",
                "encrypted_content": "x",
                "page_age": None,
            }
        ],
    },
    {
        "type": "text",
        "text": "It is fair.",
        "citations": [
            {
                "type": "web_search_result_location",
                "url": "u",
                "title": "t",
                "encrypted_index": "e",
                "cited_text": "fair",
            }
        ],
    },
    {"type": "text", "text": " More."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"b": [1, None], "a": 2.5}},
]
GEMINI = [
    {"text": "I think.", "thought": True},
    {"text": "Four", "thoughtSignature": "c2ln"},
    {"executableCode": {"language": "PYTHON", "code": "print(4)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "4\n"}},
    {"text": ".", "thoughtSignature": "dGV4dA=="},
    {"functionCall": {"name": "weather", "args": {"city": "Paris"}}, "thoughtSignature": "Y2FsbA=="},
]
RESPONSES = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
        "encrypted_content": "gAAAencrypted",
        "status": None,
    },
    {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    },
    {
        "status": "completed",
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [
            {
                "type": "output_text",
                "text": "Fair.",
                "annotations": [
                    {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 4}
                ],
                "logprobs": [],
            }
        ],
    },
    {
        "type": "function_call",
        "status": "completed",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city": "Paris"}',
    },
]
CHAT = {
    "role": "assistant",
    "content": "Fair.",
    "reasoning_content": "I think.",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "opaque", "index": 0}],
    "tool_calls": [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":  "Paris"}'},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        }
    ],
}


def claude(blocks: list[Any]) -> Answer:
    events = []
    for index, each in enumerate(blocks):
        events += block(index, each)
    return Answer(headers={"content-type": "text/event-stream"}, body=wire(stream(*events, stop="tool_use")))


def whole(value: Any) -> Answer:
    return Answer(body=msgspec.json.encode(value))


ANSWERS = {
    "anthropic": whole(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5-1",
            "content": CLAUDE,
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 7, "output_tokens": 3},
        }
    ),
    "gemini": whole(
        {
            "candidates": [
                {"content": {"role": "model", "parts": GEMINI}, "finishReason": "STOP", "index": 0}
            ],
            "modelVersion": "gemini-3-flash-001",
            "responseId": "r-1",
        }
    ),
    "responses": whole(
        {"id": "resp_1", "object": "response", "model": "gpt-6-1", "status": "completed", "output": RESPONSES}
    ),
    "chat": whole(
        {
            "id": "c1",
            "model": "gpt-6-1",
            "choices": [{"index": 0, "message": CHAT, "finish_reason": "tool_calls"}],
        }
    ),
}


@function_tool(strict_mode=False)
def weather(city: str = "", a: float = 0, b: Any = None) -> str:
    """Tells the weather."""
    return "sunny"


def bodies(server: ScriptedServer) -> list[bytes]:
    """The requests, byte for byte."""
    return [request.body for request in server.requests]


def client_of(service: str, server: ScriptedServer) -> AsyncClient:
    url = server.url + PATHS[service]
    return AsyncClient(MODELS[service], api_key="k", base_url=url, retry=Retry(1))


@pytest.mark.parametrize("service", MODELS)
def test_a_json_dump_of_to_input_list_comes_back_byte_for_byte(service: str) -> None:
    async def direct() -> list[bytes]:
        with ScriptedServer([ANSWERS[service], FAREWELL[service, False]]) as server:
            async with client_of(service, server) as client:
                turn = await client.chat("Weather?")
                results = [Message.tool_result(call, "sunny") for call in turn.tool_calls]
                await client.chat([Message.user("Weather?"), turn.message, *results])
        return bodies(server)

    async def through() -> list[bytes]:
        with ScriptedServer([ANSWERS[service], FAREWELL[service, False]]) as server:
            async with client_of(service, server) as client:
                model = BrainwiresModel(client=client)
                response = await asked(model, "Weather?")
                history = [{"role": "user", "content": "Weather?"}, *response.to_input_items()]
                calls = [item["call_id"] for item in history if item.get("type") == "function_call"]
                history += [
                    {"type": "function_call_output", "call_id": id, "output": "sunny"} for id in calls
                ]
                await asked(model, json.loads(json.dumps(history)))
        return bodies(server)

    assert run(through()) == run(direct())


async def asked(model: BrainwiresModel, input: Any) -> Any:
    return await model.get_response(
        None, input, ModelSettings(), [], None, [], ModelTracing.DISABLED,
        previous_response_id=None, conversation_id=None, prompt=None,
    )  # fmt: skip


@pytest.mark.parametrize("service", MODELS)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_runner_and_a_session_send_what_the_client_sends(
    service: str, streamed: bool, tmp_path: Any
) -> None:
    """Two runs over a database: the second begins with what the first has said, as it was."""

    async def runs() -> list[Any]:
        answers = [streams(service)] if streamed else [ANSWERS[service]]
        with ScriptedServer([*answers, FAREWELL[service, streamed], FAREWELL[service, streamed]]) as server:
            async with client_of(service, server) as client:
                agent = Agent(name="A", model=BrainwiresModel(client=client), tools=[weather])
                for said in ("Weather?", "And then?"):
                    session = SQLiteSession("s", tmp_path / "history.db")
                    if streamed:
                        result = Runner.run_streamed(agent, said, session=session)
                        async for _ in result.stream_events():
                            pass
                    else:
                        await Runner.run(agent, said, session=session)
                    session.close()
        return bodies(server)

    async def ask(client: AsyncClient, history: list[Message]) -> Any:
        tools = [Tool(weather.name, weather.description, weather.params_json_schema, strict=False)]
        if streamed:
            return await client.stream(history, tools=tools).collect()
        return await client.chat(history, tools=tools)

    async def direct() -> list[Any]:
        answers = [streams(service)] if streamed else [ANSWERS[service]]
        with ScriptedServer([*answers, FAREWELL[service, streamed], FAREWELL[service, streamed]]) as server:
            async with client_of(service, server) as client:
                history = [Message.user("Weather?")]
                for _ in range(2):
                    turn = await ask(client, history)
                    history.append(turn.message)
                    history += [Message.tool_result(call, "sunny") for call in turn.tool_calls]
                history.append(Message.user("And then?"))
                await ask(client, history)
        return bodies(server)

    through = run(runs())
    assert len(through) == 3
    assert through == run(direct())


def streams(service: str) -> Answer:
    """The answer as a stream."""
    if service == "anthropic":
        return claude(CLAUDE)
    if service == "gemini":
        events = [
            {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], "responseId": "r-1"}
            for part in GEMINI
        ]
        events[-1]["candidates"][0]["finishReason"] = "STOP"
        return sse_of(events)
    if service == "responses":
        events = [{"type": "response.created", "response": {"id": "resp_1", "model": "gpt-6-1"}}]
        for place, item in enumerate(RESPONSES):
            events += [
                {"type": f"response.output_item.{how}", "output_index": place, "item": item}
                for how in ("added", "done")
            ]
        done = {
            "id": "resp_1",
            "object": "response",
            "model": "gpt-6-1",
            "status": "completed",
            "output": RESPONSES,
        }
        return sse_of([*events, {"type": "response.completed", "response": done}])
    call = {"index": 0, **CHAT["tool_calls"][0]}
    message = {**CHAT, "tool_calls": [call]}
    first = {
        "id": "c1",
        "model": "gpt-6-1",
        "choices": [{"index": 0, "delta": message, "finish_reason": None}],
    }
    last = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    return sse_of([first, last], done=True)


def sse_of(events: list[Any], *, done: bool = False) -> Answer:
    data = b"".join(b"data: %s\n\n" % msgspec.json.encode(event) for event in events)
    return Answer(
        headers={"content-type": "text/event-stream"}, body=data + (b"data: [DONE]\n\n" if done else b"")
    )


def farewell(service: str, streamed: bool) -> Answer:
    path = {
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "anthropic": "/v1/messages",
        "gemini": "/v1beta/models/g:streamGenerateContent"
        if streamed
        else "/v1beta/models/g:generateContent",
    }[service]
    said = {"input": "x"} if service == "responses" else {"messages": []}
    body = msgspec.json.encode({"model": "m", "stream": streamed, **said})
    return reply_answer(RecordedRequest("POST", path, path, "", [], body, 1), "Done.")


FAREWELL = {
    (service, streamed): farewell(service, streamed) for service in MODELS for streamed in (False, True)
}


# -- editing, and other providers ------------------------------------------------------------------------------


def test_an_edited_text_counts_and_not_what_was_kept_of_the_old() -> None:
    """Text, reasoning and arguments are edited in the list; the signature of the old reasoning does not go along."""

    async def main() -> list[Any]:
        with ScriptedServer([ANSWERS["anthropic"], FAREWELL["anthropic", False]]) as server:
            async with client_of("anthropic", server) as client:
                model = BrainwiresModel(client=client)
                history = (await asked(model, "Weather?")).to_input_items()
                for item in history:
                    if item["type"] == "message":
                        item["content"][0]["text"] = "It is foul."
                    elif item["type"] == "function_call":
                        item["arguments"] = '{"city":"Rome"}'
                    elif item["summary"]:
                        item["summary"][0]["text"] = "Let me guess."
                history.append({"type": "function_call_output", "call_id": "toolu_1", "output": "rain"})
                await asked(model, [{"role": "user", "content": "Weather?"}, *history])
        return server.requests[1].json()["messages"]

    said = run(main())
    text = json.dumps(said)
    assert "It is foul." in text and "It is fair." not in text
    assert " More." in text  # the piece beside it is as it was
    assert {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}} in said[1][
        "content"
    ]
    assert "c2lnbmF0dXJl" not in text and "Let me guess" not in text
    assert "UkVEQUNURUQ=" in text


def test_items_may_be_deleted_and_moved() -> None:
    async def main() -> list[Any]:
        with ScriptedServer([ANSWERS["gemini"], FAREWELL["gemini", False]]) as server:
            async with client_of("gemini", server) as client:
                model = BrainwiresModel(client=client)
                history = (await asked(model, "Weather?")).to_input_items()
                kept = [item for item in history if item["type"] == "function_call"]
                kept.append({"type": "function_call_output", "call_id": kept[0]["call_id"], "output": "rain"})
                await asked(model, [{"role": "user", "content": "Weather?"}, *kept])
        return server.requests[1].json()["contents"]

    said = run(main())
    assert said[1]["parts"] == [GEMINI[-1]]


def test_a_history_goes_from_provider_to_provider_and_home_again() -> None:
    """Each takes what it can read; the first gets its own back as it was."""

    async def main() -> dict[str, Any]:
        seen = {}
        session = SQLiteSession("s")
        for service in ("anthropic", "gemini", "responses", "chat", "anthropic"):
            first = [ANSWERS[service]] if service not in seen else []
            with ScriptedServer([*first, FAREWELL[service, False]]) as server:
                async with client_of(service, server) as client:
                    agent = Agent(name="A", model=BrainwiresModel(client=client), tools=[weather])
                    result = await Runner.run(agent, f"Weather by {service}?", session=session)
                    assert result.final_output == "Done."
                    seen[service] = server.requests[-1].json()
        session.close()
        return seen

    last = run(main())["anthropic"]["messages"]
    text = json.dumps(last)
    for mark in ("c2lnbmF0dXJl", "UkVEQUNURUQ=", "srvtoolu_1", "Weather by chat?", "Four"):
        assert mark in text
    for foreign in ("gAAAencrypted", "Y2FsbA==", "reasoning_details"):
        assert foreign not in text


def test_a_run_that_waits_for_an_approval_goes_on_from_json() -> None:
    """The state is JSON meanwhile; the thought before the call comes back signed."""

    @function_tool(name_override="weather", strict_mode=False, needs_approval=True)
    def guarded(city: str = "", a: float = 0, b: Any = None) -> str:
        """Tells the weather."""
        return "sunny"

    async def main() -> bytes:
        with ScriptedServer([ANSWERS["anthropic"], FAREWELL["anthropic", False]]) as server:
            async with client_of("anthropic", server) as client:
                agent = Agent(name="A", model=BrainwiresModel(client=client), tools=[guarded])
                waiting = await Runner.run(agent, "Weather?")
                stored = json.dumps(waiting.to_state().to_json())
                state = await RunState.from_json(agent, json.loads(stored))
                for each in state.get_interruptions():
                    state.approve(each)
                assert (await Runner.run(agent, state)).final_output == "Done."
        return server.requests[1].body

    content = json.loads(run(main()))["messages"][1]["content"]
    assert content == CLAUDE
