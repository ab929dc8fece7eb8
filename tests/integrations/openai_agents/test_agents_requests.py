"""What a request of the SDK becomes: settings, tools, media, state; and how errors, time-outs and traces come back."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import openai
import pytest

pytest.importorskip("agents")
from agent_cases import EVERYWHERE, MODELS, run, served
from agents import (
    Agent,
    AgentsException,
    CodeInterpreterTool,
    ModelBehaviorError,
    ModelRetrySettings,
    ModelSettings,
    ModelTimeoutError,
    ModelTracing,
    RunConfig,
    Runner,
    TracingProcessor,
    UserError,
    WebSearchTool,
    function_tool,
    set_trace_processors,
    set_tracing_disabled,
)
from openai.types.shared import Reasoning

from brainwires_provider import AsyncClient, Budget, ConfigError, ProviderError
from brainwires_provider.integrations.openai_agents import BrainwiresModel, BrainwiresProvider
from brainwires_provider.testing import Answer, Close, Failure, FakeProvider, Reply, Stall, sse
from brainwires_provider.types import TextPart, ToolCallPart

pytestmark = pytest.mark.long
FOUND = ["file_search_call.results"]
SUMMARY, PRO = {"effort": "low", "summary": "auto"}, {"effort": "xhigh", "mode": "pro"}
COMPACTION = [{"type": "compaction", "compact_threshold": 9}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@function_tool
def weather(city: str) -> str:
    """Tells the weather."""
    return "sunny"


async def ask(model: BrainwiresModel, input: Any = "Hi", **args: Any) -> Any:
    named = {"system": None, "settings": ModelSettings(), "tools": [], "state": None, "prompt": None, **args}
    return await model.get_response(
        named["system"],
        input,
        named["settings"],
        named["tools"],
        None,
        [],
        ModelTracing.DISABLED,
        previous_response_id=named["state"],
        conversation_id=named.get("conversation"),
        prompt=named["prompt"],
    )


def sent(service: str, input: Any = "Hi", reply: Any = "Hello.", **args: Any) -> dict[str, Any]:
    """The body of one request."""

    async def main() -> dict[str, Any]:
        fake = FakeProvider(reply)
        model = MODELS.get(service, "openai-chat:gpt-4o")  # which takes every option
        async with AsyncClient(model, api_key="k", transport=fake) as client:
            await ask(BrainwiresModel(client=client), input, **args)
        return fake.requests[0].json()

    return run(main())


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service, settings, fields",
    [
        ("plain", {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7}, {"temperature": 0.5, "top_p": 0.9}),
        ("plain", {"frequency_penalty": 0.1}, {"frequency_penalty": 0.1}),
        ("plain", {"presence_penalty": 0.2}, {"presence_penalty": 0.2}),
        ("chat", {"verbosity": "low", "metadata": {"a": "b"}}, {"verbosity": "low", "metadata": {"a": "b"}}),
        ("chat", {"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ("chat", {"store": True, "prompt_cache_retention": "24h"}, {"store": True, "prompt_cache_retention": "24h"}),
        ("chat", {"reasoning": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}),
        ("chat", {"extra_body": {"x": 1}, "extra_args": {"y": 2, "seed": 3}}, {"x": 1, "y": 2, "seed": 3}),
        ("chat", {"include_usage": True}, {}),
        ("responses", {"max_tokens": 7}, {"max_output_tokens": 7}),
        ("responses", {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ("responses", {"truncation": "auto", "store": True}, {"truncation": "auto", "store": True}),
        ("responses", {"top_logprobs": 2}, {"top_logprobs": 2, "include": ["message.output_text.logprobs"]}),
        ("responses", {"response_include": FOUND, "store": True}, {"include": FOUND}),
        ("responses", {"reasoning": SUMMARY}, {"reasoning": SUMMARY}),
        ("responses", {"reasoning": PRO}, {"reasoning": PRO}),
        ("responses", {"context_management": COMPACTION}, {"context_management": COMPACTION}),
        ("anthropic", {"max_tokens": 7, "extra_args": {"stop": "x"}}, {"max_tokens": 7, "stop_sequences": ["x"]}),
        ("anthropic", {"store": False, "truncation": "disabled"}, {}),
        ("gemini", {"max_tokens": 7, "extra_body": {"labels": {}}}, {"labels": {}}),
    ],
)  # fmt: skip
def test_settings_go_where_they_belong(
    service: str, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    body = sent(service, settings=ModelSettings(**settings))

    found = {name: body.get(name) for name in fields}
    if "include" in fields:
        found["include"] = [each for each in found["include"] if each != "reasoning.encrypted_content"]
    assert found == fields


@pytest.mark.parametrize(
    "service, settings, word",
    [
        ("anthropic", {"verbosity": "low"}, "ModelSettings.verbosity"),
        ("anthropic", {"metadata": {"a": "b"}}, "ModelSettings.metadata"),
        ("gemini", {"store": True}, "ModelSettings.store"),
        ("gemini", {"top_logprobs": 2}, "ModelSettings.top_logprobs"),
        ("chat", {"truncation": "auto"}, "ModelSettings.truncation"),
        ("chat", {"response_include": ["file_search_call.results"]}, "ModelSettings.response_include"),
        ("chat", {"reasoning": {"mode": "pro"}}, "ModelSettings.reasoning.mode"),
        ("anthropic", {"prompt_cache_options": {"mode": "explicit"}}, "ModelSettings.prompt_cache_options"),
        ("chat", {"extra_body": [1]}, "ModelSettings.extra_body"),
        ("chat", {"tool_choice": "required"}, "no tools"),
    ],
)
def test_a_setting_that_cannot_go_is_an_error(service: str, settings: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        sent(service, settings=ModelSettings(**settings))


def test_every_setting_is_known_here() -> None:
    """A setting that a later version of the SDK has is to be mapped, and not to be ignored."""
    known = {
        "temperature", "top_p", "frequency_penalty", "presence_penalty", "max_tokens", "tool_choice",
        "parallel_tool_calls", "truncation", "reasoning", "verbosity", "metadata", "store",
        "prompt_cache_retention", "response_include",
        "top_logprobs", "extra_query", "extra_body", "extra_headers", "extra_args", "retry", "context_management",
        "prompt_cache_options", "preserve_raw_usage",
        "include_usage",  # usage is always asked for
        "timeout",  # by the runner
    }  # fmt: skip
    assert set(ModelSettings().to_json_dict()) == known


def test_headers_and_query() -> None:
    async def main() -> Any:
        fake = FakeProvider("Hello.")
        settings = ModelSettings(extra_headers={"x-a": "1", "x-b": openai.Omit()}, extra_query={"q": 2})
        async with AsyncClient(MODELS["chat"], api_key="k", transport=fake) as client:
            await ask(BrainwiresModel(client=client), settings=settings)
        return fake.requests[0]

    request = run(main())
    assert request.header("x-a") == "1" and request.header("x-b") is None
    assert request.query == "q=2"


# -- tools ---------------------------------------------------------------------------------------------------


@EVERYWHERE
@pytest.mark.parametrize("choice", ["auto", "required", "none", "weather"])
def test_tool_choice_and_parallel_calls(service: str, choice: str) -> None:
    settings = ModelSettings(tool_choice=choice, parallel_tool_calls=False)

    body = sent(service, settings=settings, tools=[weather])

    assert "weather" in str(body["tools"])
    assert str(body).count("weather") >= (2 if choice == "weather" else 1)
    if service in ("chat", "responses"):
        assert body["parallel_tool_calls"] is False
    if service == "responses":
        assert body["tool_choice"] == (
            {"type": "function", "name": "weather"} if choice == "weather" else choice
        )


def test_built_in_tools_are_the_responses_apis() -> None:
    search = WebSearchTool(search_context_size="low")
    interpreter = CodeInterpreterTool(tool_config={"type": "code_interpreter", "container": {"type": "auto"}})

    body = sent(
        "responses", tools=[weather, search, interpreter], settings=ModelSettings(tool_choice="web_search")
    )
    assert {tool["type"] for tool in body["tools"]} == {"function", "web_search", "code_interpreter"}
    assert body["tool_choice"] == {"type": "web_search"}
    with pytest.raises(UserError, match=r"web_search.*OpenAI's own"):
        sent("anthropic", tools=[search])
    with pytest.raises(UserError, match="no such tool"):
        sent("chat", tools=[weather], settings=ModelSettings(tool_choice="climate"))


# -- input ---------------------------------------------------------------------------------------------------


def media(*pieces: dict[str, Any]) -> list[Any]:
    return [{"role": "user", "content": [{"type": "input_text", "text": "What is this?"}, *pieces]}]


@EVERYWHERE
def test_images_and_files(service: str) -> None:
    image = {
        "type": "input_image",
        "image_url": f"data:image/png;base64,{PNG}",
        "detail": "auto",
        "file_id": None,
    }
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    file = {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}

    body = str(sent(service, media(image, file)))

    assert PNG in body and pdf in body and "What is this?" in body


def test_audio_and_files_by_address() -> None:
    sound = base64.b64encode(b"RIFF....WAVE").decode()
    audio = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
    assert sound in str(sent("chat", media(audio))) and sound in str(sent("gemini", media(audio)))
    file = {"type": "input_file", "file_url": "https://a.test/a.pdf"}
    assert "https://a.test/a.pdf" in str(sent("responses", media(file)))
    assert '"cache_control"' in str(
        sent(
            "anthropic",
            media({"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}),
        )
    ).replace("'", '"')


@pytest.mark.parametrize(
    "items, place",
    [
        ([{"role": "robot", "content": "x"}], r"input\[0\]: a message has the role"),
        (
            [{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "input_text"}]}],
            r"input\[1\]",
        ),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,?"}]}],
            "data: URL",
        ),
        ([{"type": "function_call_output", "output": "x"}], r"input\[0\]: 'id' is missing"),
    ],
)
def test_input_that_is_none_is_refused_by_its_place(items: list[Any], place: str) -> None:
    with pytest.raises(UserError, match=place):
        sent("chat", items)


def test_state_and_prompts() -> None:
    body = sent("responses", reply=Answer(body=RESPONSE), state="resp_0")
    assert body["previous_response_id"] == "resp_0" and body["store"] is True
    body = sent("responses", reply=Answer(body=RESPONSE), conversation="conv_1")
    assert body["conversation"] == "conv_1"
    for service in ("chat", "anthropic", "gemini"):
        with pytest.raises(UserError, match="previous_response_id"):
            sent(service, state="resp_0")
    with pytest.raises(UserError, match="stored prompt"):
        sent("responses", prompt={"id": "pmpt_1"})


RESPONSE = b'{"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": []}'


# -- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure, kind",
    [
        (Failure("invalid", "No.", 400), openai.BadRequestError),
        (Failure("key", "No.", 401), openai.AuthenticationError),
        (Failure("denied", "No.", 403), openai.PermissionDeniedError),
        (Failure("none", "No.", 404), openai.NotFoundError),
        (Failure("rate", "No.", 429), openai.RateLimitError),
        (Failure("down", "No.", 503), openai.InternalServerError),
        (Failure("teapot", "No.", 418), openai.APIStatusError),
        (Answer(body=[sse({"choices": []}, done=False), Close()]), openai.APIConnectionError),
        (Answer(body=b"nonsense"), ModelBehaviorError),
        (Reply((TextPart("Half"),), finish="length"), ModelBehaviorError),
        (Reply((TextPart(""),), finish="content_filter"), ModelBehaviorError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_errors_are_those_that_users_catch(failure: Any, kind: type[Exception], streamed: bool) -> None:
    async def main() -> Exception:
        async with served("chat", [failure]) as (client, _):
            agent = Agent(name="A", model=BrainwiresModel(client=client))
            with pytest.raises(kind) as caught:
                if streamed:
                    async for _ in Runner.run_streamed(agent, "Hi").stream_events():
                        pass
                else:
                    await Runner.run(agent, "Hi")
            return caught.value

    error = run(main())
    if not isinstance(failure, Reply):
        assert isinstance(error.__cause__, ProviderError)
    if isinstance(error, openai.APIStatusError):
        assert (error.status_code, error.code) == (failure.status, failure.code)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Reply((TextPart("Half"),), finish="length"), r"max_output_tokens\): raise max_tokens"),
        (Reply((TextPart(""),), finish="content_filter"), r"content_filter\)$"),
        (
            Answer(body=b'{"id": "r", "object": "response", "status": "queued", "output": []}'),
            r"client\.responses",
        ),
    ],
)
def test_why_a_response_is_not_complete(said: Any, message: str) -> None:
    async def main() -> None:
        async with served("responses", [said]) as (client, _):
            with pytest.raises(ModelBehaviorError, match=message):
                await ask(BrainwiresModel(client=client))

    run(main())


def test_errors_before_anything_is_sent() -> None:
    async def main() -> None:
        async with AsyncClient("anthropic:x", api_key="k", budget=Budget(tokens=1)) as client:
            with pytest.raises(AgentsException, match="budget"):
                await ask(BrainwiresModel(client=client))
        with pytest.raises(UserError, match="nobody") as caught:
            await ask(BrainwiresModel("nobody:x"))
        assert isinstance(caught.value.__cause__, ConfigError)
        with pytest.raises(TypeError, match="not both"):
            BrainwiresModel("chat:x", client=client, api_key="k")
        with pytest.raises(TypeError, match="not both"):
            BrainwiresProvider(client=client, api_key="k")

    run(main())


def test_the_client_retries_unless_the_runner_is_to() -> None:
    """Three attempts by default, one where the runner was told how many; its policies read our errors."""

    async def main(settings: ModelSettings) -> tuple[int, Any]:
        failures = [Failure("busy", "No.", 503, headers={"retry-after": "0"})] * 3
        async with served("chat", failures, retry=None) as (client, server):
            model = BrainwiresModel(client=client)
            with pytest.raises(openai.InternalServerError) as caught:
                await Runner.run(Agent(name="A", model=model, model_settings=settings), "Hi")
            return len(server.requests), caught.value

    assert run(main(ModelSettings(retry=ModelRetrySettings(max_retries=0))))[0] == 1
    policy = ModelRetrySettings(
        max_retries=1, policy=lambda context: context.provider_advice.suggested, backoff={"initial_delay": 0}
    )
    assert run(main(ModelSettings(retry=policy)))[0] == 2


def test_a_timeout_of_the_sdk_and_a_cancelled_run_leave_no_connection() -> None:
    stalls = Answer(body=[sse({"choices": [{"delta": {"content": "Half"}}]}, done=False), Stall()])

    async def main() -> None:
        async with served("chat", [stalls, stalls, stalls]) as (client, server):
            model = BrainwiresModel(client=client)
            agent = Agent(name="A", model=model, model_settings=ModelSettings(timeout=0.05))
            with pytest.raises(ModelTimeoutError):
                await Runner.run(agent, "Hi")
            agent = Agent(name="A", model=model)
            result = Runner.run_streamed(agent, "Hi")
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    result.cancel()
            task = asyncio.create_task(Runner.run(agent, "Hi"))
            while len(server.requests) < 3:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(server.wait_idle, 5)

    run(main())


# -- usage and traces ----------------------------------------------------------------------------------------


class Spans(TracingProcessor):
    def __init__(self) -> None:
        self.ended: list[Any] = []

    def on_trace_start(self, trace: Any) -> None: ...
    def on_trace_end(self, trace: Any) -> None: ...
    def on_span_start(self, span: Any) -> None: ...
    def on_span_end(self, span: Any) -> None:
        self.ended.append(span.export())

    def shutdown(self) -> None: ...
    def force_flush(self) -> None: ...


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("with_data", [False, True], ids=["without data", "with data"])
def test_one_generation_span_for_each_call_of_the_model(streamed: bool, with_data: bool) -> None:
    spans = Spans()
    set_tracing_disabled(False)
    set_trace_processors([spans])

    async def main() -> None:
        async with served(
            "chat", [ToolCallPart("c", "weather", '{"city":"Rome"}'), "Sunny.", Failure("x", "No.", 400)]
        ) as (client, _):
            agent = Agent(
                name="A", model=BrainwiresModel("openai-chat:gpt-6", client=client), tools=[weather]
            )
            config = RunConfig(trace_include_sensitive_data=with_data)
            for _ in range(2):
                try:
                    if streamed:
                        async for _ in Runner.run_streamed(
                            agent, "Secret?", run_config=config
                        ).stream_events():
                            pass
                    else:
                        await Runner.run(agent, "Secret?", run_config=config)
                except openai.BadRequestError:
                    pass

    try:
        run(main())
    finally:
        set_trace_processors([])
    generations = [span for span in spans.ended if span["span_data"]["type"] == "generation"]
    assert len(generations) == 3
    first, _, failed = generations
    assert first["span_data"]["model"] == "openai-chat:gpt-6"
    assert first["span_data"]["usage"]["input_tokens"] == 10
    assert ("Secret?" in str(first["span_data"]["input"])) is with_data
    assert ("weather" in str(first["span_data"]["output"])) is with_data
    assert failed["error"]["message"] == "Error getting response"
    assert ("No." in str(failed["error"])) is with_data


def test_raw_usage_and_request_ids() -> None:
    async def main() -> None:
        settings = ModelSettings(preserve_raw_usage=True)
        body = (
            b'{"id":"c","choices":[{"index":0,"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
            b'"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":5},'
            b'"completion_tokens_details":{"reasoning_tokens":3}}}'
        )
        async with served("chat", [Answer(headers={"x-request-id": "req_1"}, body=body)]) as (client, _):
            agent = Agent(name="A", model=BrainwiresModel(client=client), model_settings=settings)
            (response,) = (await Runner.run(agent, "Hi")).raw_responses
        usage = response.usage
        assert response.request_id == "req_1"
        assert response.raw_usage is not None and response.raw_usage["total_tokens"] == 13
        assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (9, 5)
        assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens) == (4, 3)

    run(main())


def test_an_own_client_is_closed_and_a_given_one_is_not() -> None:
    async def main() -> None:
        own = BrainwiresModel("openai-chat:gpt-6", api_key="k", transport=FakeProvider("Hi"))
        assert (await ask(own)).output[0].content[0].text == "Hi"
        await own.close()
        provider = BrainwiresProvider(model="openai-chat:gpt-6", api_key="k", transport=FakeProvider("Hi"))
        model = provider.get_model(None)
        assert model is provider.get_model(None)
        assert (await ask(model)).output[0].content[0].text == "Hi"
        await model.close()
        await provider.aclose()

    run(main())


def test_reasoning_efforts_reach_every_protocol() -> None:
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        for service in MODELS:
            sent(service, settings=ModelSettings(reasoning=Reasoning(effort=effort)))
