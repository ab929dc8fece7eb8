"""What is sent for settings, tools, files and hosted tools; errors, fallbacks, cancelling, spans and secrets."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from pydantic_ai import (
    Agent,
    AudioUrl,
    BinaryContent,
    CachePoint,
    DocumentUrl,
    Embedder,
    ImageUrl,
    ModelAPIError,
    ModelHTTPError,
    UploadedFile,
    UserError,
    VideoUrl,
)
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    UsageLimitExceeded,
)
from pydantic_ai.messages import ModelRequest, NativeToolCallPart, NativeToolReturnPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.native_tools import CodeExecutionTool, FileSearchTool, WebFetchTool, WebSearchTool
from pydantic_ai.settings import ModelSettings, ToolOrOutput

from brainwires_provider import (
    AnthropicOptions,
    AsyncClient,
    Budget,
    CacheStrategy,
    Client,
    ConfigError,
    Options,
    ProviderError,
    Retry,
    Telemetry,
    Timeouts,
    ToolCallPart,
)
from brainwires_provider.integrations.pydantic_ai import (
    BrainwiresEmbeddingModel,
    BrainwiresModel,
    BrainwiresModels,
    BrainwiresModelSettings,
)
from brainwires_provider.testing import Answer, Drop, Failure, Gate, ScriptedServer, sse
from pydantic_ai_runs import run, scripted

pytestmark = pytest.mark.long

CLAUDE = "anthropic:claude-opus-4-8"
PNG = b"\x89PNG\r\n\x1a\nsmall"
SEARCH = WebSearchTool(allowed_domains=["example.com"])


def _failure(status: int, message: str, code: str | None = None, **more: Any) -> Failure:
    return Failure(status=status, message=message, code=code, type="error", **more)


CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")


def chunk(text: str) -> bytes:
    return sse({**CHUNK, "choices": [{"index": 0, "delta": {"content": text}}]}, done=False)


def sent(model: str, prompt: Any = "Hi", said: Any = "Hello", **args: Any) -> Any:
    """The body that one run sends, of an agent with these arguments."""
    settings = args.pop("model_settings", None)
    brain, fake = scripted([said], model)
    run(Agent(brain, **args).run(prompt, model_settings=settings))
    return fake.requests[0].json()


# -- settings -------------------------------------------------------------------------------------------------

EVERY = ModelSettings(
    max_tokens=100,
    temperature=0.5,
    top_p=0.9,
    top_k=7,
    seed=1,
    presence_penalty=0.1,
    frequency_penalty=0.2,
    stop_sequences=["END"],
    parallel_tool_calls=False,
    logit_bias={"50": 1},
    service_tier="flex",
    extra_headers={"x-mine": "1"},
    extra_body={"more": True},
    timeout=7,
    max_retries=0,
)


def test_every_setting_is_sent_where_the_api_has_it() -> None:
    brain, fake = scripted([ToolCallPart("c", "f", "{}"), "Hello"], "openai-chat:gpt-4o")
    run(Agent(brain, tools=[f]).run("Hi", model_settings=EVERY))
    body = fake.requests[0].json()

    assert body["max_completion_tokens"] == 100 and body["temperature"] == 0.5 and body["top_p"] == 0.9
    assert body["seed"] == 1 and body["presence_penalty"] == 0.1 and body["frequency_penalty"] == 0.2
    assert body["stop"] in (["END"], "END") and body["parallel_tool_calls"] is False
    assert body["logit_bias"] == {"50": 1} and body["service_tier"] == "flex" and body["more"] is True
    assert fake.requests[0].header("x-mine") == "1"


def f() -> str:
    """A tool."""
    return "1"


def test_what_was_not_sent_is_in_the_details() -> None:
    brain, _ = scripted(["Hello"], "openai-chat:gpt-4o")
    result = run(Agent(brain).run("Hi", model_settings={"top_k": 7}))
    details = result.all_messages()[-1].provider_details
    assert any("top_k" in line for line in details["brainwires"]["report"])


@pytest.mark.parametrize(
    ("model", "settings", "lost"),
    [
        (CLAUDE, {"service_tier": "flex"}, "service_tier"),
        (CLAUDE, {"service_tier": "auto"}, None),
        (CLAUDE, {"citations": True}, "citations"),
        (CLAUDE, {"logit_bias": {"1": 2}}, "logit_bias"),
        ("ollama:qwen3", {"service_tier": "priority"}, "service_tier"),
        ("ollama:qwen3", {"service_tier": "default", "citations": True}, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_no_option_stands_for_is_in_the_details(
    model: str, settings: Any, lost: str | None, stream: bool
) -> None:
    brain, fake = scripted(["Hello"], model)
    result = run(
        _streamed_text(brain, settings) if stream else Agent(brain).run("Hi", model_settings=settings)
    )
    report = (result.all_messages()[-1].provider_details or {}).get("brainwires", {}).get("report", [])
    fields = [line.partition(":")[0] for line in report]
    assert [name for name in fields if name != "max_tokens"] == ([lost] if lost else [])
    if lost:
        with pytest.raises(UserError, match=lost):
            run(Agent(brain).run("Hi", model_settings={**settings, "brainwires_strict": True}))
        assert len(fake.requests) == 1


async def _streamed_text(brain: BrainwiresModel, settings: Any) -> Any:
    async with Agent(brain).run_stream("Hi", model_settings=settings) as result:
        await result.get_output()
        return result


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("openai:gpt-5.2", "service_tier", "flex"),
        ("bedrock:amazon.nova-lite-v1:0", "serviceTier", {"type": "flex"}),
        ("google:gemini-3-flash", "serviceTier", "flex"),
        ("google-interactions:gemini-3-flash", "service_tier", "flex"),
    ],
)
def test_the_word_for_a_tier(model: str, field: str, value: Any) -> None:
    assert sent(model, model_settings={"service_tier": "flex"})[field] == value


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_response_in_the_background_is_no_answer(stream: bool) -> None:
    body = {"id": "resp_1", "object": "response", "status": "queued", "model": "m", "output": []}
    brain, _ = scripted([Answer(body=msgspec.json.encode(body))], "openai:gpt-5.2")
    settings: Any = {"extra_body": {"background": True}}
    with pytest.raises(UserError, match=r"client\.responses"):
        run(_streamed_text(brain, settings) if stream else Agent(brain).run("Hi", model_settings=settings))


@pytest.mark.parametrize(
    ("model", "thinking", "where", "expected"),
    [
        ("openai:gpt-5.2", "low", ("reasoning", "effort"), "low"),
        ("openai:gpt-5.2", True, ("reasoning", "effort"), "medium"),
        ("openai:gpt-5.2", False, ("reasoning", "effort"), "none"),
        ("openai:gpt-5.2", "xhigh", ("reasoning", "effort"), "xhigh"),
        ("openai-chat:gpt-4o", "low", ("reasoning_effort",), None),
        (CLAUDE, "high", ("output_config", "effort"), "high"),
        (
            "google:gemini-3-flash",
            "minimal",
            ("generationConfig", "thinkingConfig", "thinkingLevel"),
            "minimal",
        ),
    ],
)
def test_thinking(model: str, thinking: Any, where: tuple[str, ...], expected: str | None) -> None:
    found: Any = sent(model, model_settings={"thinking": thinking})
    for name in where:
        found = (found or {}).get(name)
    assert (found.lower() if isinstance(found, str) else found) == expected


@pytest.mark.parametrize(
    ("setting", "ttls"),
    [(True, [None, None]), ("1h", ["1h", "1h"]), (False, []), ({"messages": False}, [None])],
)
def test_caching(setting: Any, ttls: list[str | None]) -> None:
    body = sent(CLAUDE, instructions="Be brief.", model_settings={"cache": setting})
    marks = [part["cache_control"] for part in _parts(body) if "cache_control" in part]
    assert [mark.get("ttl") for mark in marks] == ttls


def _parts(body: Any) -> Iterator[Any]:
    system = body.get("system")
    yield from system if isinstance(system, list) else ()
    yield from body.get("tools", ())
    for message in body["messages"]:
        yield from message["content"] if isinstance(message["content"], list) else ()


def test_a_cache_point_marks_what_stands_before_it() -> None:
    body = sent(CLAUDE, ["A long text", CachePoint(ttl="1h"), "A question"])
    assert [part.get("cache_control") for part in body["messages"][0]["content"]] == [
        {"type": "ephemeral", "ttl": "1h"},
        None,
    ]
    with pytest.raises(UserError, match="CachePoint"):
        sent(CLAUDE, [CachePoint(), "A question"])


def test_the_librarys_own_settings() -> None:
    settings = BrainwiresModelSettings(
        max_tokens=50,
        brainwires_options=Options(max_tokens=10, top_k=3),
        brainwires_provider_options=AnthropicOptions(inference_geo="eu"),
        brainwires_reasoning="low",
        brainwires_cache=CacheStrategy.system_only("1h"),
        brainwires_timeouts=Timeouts(total=5),
        brainwires_retry=Retry(1),
        service_tier="default",
        thinking="high",
    )
    body = sent("anthropic:claude-opus-4-5", instructions="Be brief.", model_settings=settings)
    assert body["max_tokens"] == 50 or body["max_tokens"] > 50  # the budget of a thought is beside it
    assert body["inference_geo"] == "eu" and body["service_tier"] == "standard_only"
    assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    with pytest.raises(UserError, match="top_k"):
        sent("openai-chat:gpt-4o", model_settings={"top_k": 1, "brainwires_strict": True})
    with pytest.raises(UserError, match="extra_body takes a mapping"):
        sent("openai-chat:gpt-4o", model_settings={"extra_body": "text"})


def test_settings_of_the_model_hold_under_those_of_the_run() -> None:
    brain, fake = scripted(["a", "b"], settings={"temperature": 0.1, "max_tokens": 9})
    agent = Agent(brain)
    run(agent.run("Hi"))
    run(agent.run("Hi", model_settings={"temperature": 0.7}))
    bodies = [request.json() for request in fake.requests]
    assert [(b["temperature"], b["max_completion_tokens"]) for b in bodies] == [(0.1, 9), (0.7, 9)]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", None),
        ("none", "none"),
        ("required", "required"),
        (["f"], {"type": "function", "function": {"name": "f"}}),
        (ToolOrOutput(["f"]), "f"),
    ],
)
def test_the_choice_among_tools(choice: Any, expected: Any) -> None:
    brain, fake = scripted(["Hello"], "openai-chat:gpt-4o")
    made = Agent(brain, tools=[f])

    def g() -> str:
        return "2"

    made.tool_plain(g)
    parameters = ModelRequestParameters(
        function_tools=run(_definitions(made)), output_mode="text", allow_text_output=True
    )
    run(brain.request([ModelRequest.user_text_prompt("Hi")], {"tool_choice": choice}, parameters))
    told = fake.requests[0].json().get("tool_choice")
    assert told == expected or (
        expected == "f" and told["allowed_tools"]["tools"][0]["function"]["name"] == "f"
    )


async def _definitions(agent: Agent[None, str]) -> list[Any]:
    from pydantic_ai.models.test import TestModel

    probe = TestModel(call_tools=[])
    await agent.run("x", model=probe)
    assert probe.last_model_request_parameters is not None
    return probe.last_model_request_parameters.function_tools


# -- files ----------------------------------------------------------------------------------------------------


def test_files_by_bytes_and_addresses() -> None:
    body = sent(
        CLAUDE,
        [
            "What is this?",
            BinaryContent(PNG, media_type="image/png"),
            ImageUrl("https://example.com/a.png"),
            DocumentUrl("https://example.com/a.pdf"),
            BinaryContent(b"%PDF-1.4", media_type="application/pdf"),
            BinaryContent(b"plain", media_type="text/plain"),
            UploadedFile("file_1", "anthropic", media_type="application/pdf"),
        ],
    )
    kinds = [(part["type"], part.get("source", {}).get("type")) for part in body["messages"][0]["content"]]
    assert kinds == [
        ("text", None),
        ("image", "base64"),
        ("image", "url"),
        ("document", "url"),
        ("document", "base64"),
        ("document", "text"),
        ("document", "file"),
    ]


def test_sound_and_film() -> None:
    items = [
        BinaryContent(b"RIFF....WAVEfmt ", media_type="audio/wav"),
        AudioUrl("https://example.com/a.mp3"),
        VideoUrl("https://example.com/a.mp4"),
        BinaryContent(b"\0\0\0\x18ftypmp42", media_type="video/mp4"),
    ]
    parts = sent("google:gemini-3-flash", ["Describe.", *items])["contents"][0]["parts"]
    found = [next(iter(part.values())).get("mimeType") for part in parts[1:]]
    assert found == ["audio/wav", "audio/mpeg", "video/mp4", "video/mp4"]
    detailed = BinaryContent(PNG, media_type="image/png", vendor_metadata={"detail": "low"})
    message = sent("openai-chat:gpt-4o", ["See", detailed])["messages"][0]
    assert message["content"][1]["image_url"]["detail"] == "low"


def test_an_address_is_downloaded_where_the_service_takes_none() -> None:
    """By pydantic-ai, and for `force_download` everywhere; another provider's file is refused."""
    with ScriptedServer(lambda request: Answer(headers={"content-type": "image/png"}, body=PNG)) as server:
        url = f"{server.url}/a.png"
        body = sent("bedrock:amazon.nova-lite-v1:0", ["See", ImageUrl(url, force_download="allow-local")])
        assert "bytes" in str(body["messages"][0]["content"][1])
        assert len(server.requests) == 1
        # Without the word for this network, pydantic-ai's protection refuses the address.
        with pytest.raises(ValueError, match=r"[Pp]rivate|blocked|not allowed"):
            sent("bedrock:amazon.nova-lite-v1:0", ["See", ImageUrl(url)])
    with pytest.raises(UserError, match="openai's"):
        sent(CLAUDE, ["See", UploadedFile("file_1", "openai")])


def test_a_tool_returns_an_image() -> None:
    def picture() -> Any:
        """A picture."""
        return ["Here it is", BinaryContent(PNG, media_type="image/png")]

    brain, fake = scripted([ToolCallPart("c", "picture", "{}"), "A picture"], CLAUDE)
    run(Agent(brain, tools=[picture]).run("Show"))
    result = fake.requests[1].json()["messages"][-1]["content"][0]
    assert result["type"] == "tool_result"
    assert [part["type"] for part in result["content"]] == ["text", "image"]


# -- hosted tools ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "tools", "expected"),
    [
        (
            "openai:gpt-5.2",
            [SEARCH, CodeExecutionTool(), FileSearchTool(file_store_ids=["vs_1"])],
            [
                {
                    "type": "web_search",
                    "search_context_size": "medium",
                    "filters": {"allowed_domains": ["example.com"]},
                },
                {"type": "code_interpreter", "container": {"type": "auto"}},
                {"type": "file_search", "vector_store_ids": ["vs_1"]},
            ],
        ),
        (
            CLAUDE,
            [SEARCH, WebFetchTool(max_uses=2), CodeExecutionTool()],
            [
                {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["example.com"]},
                {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 2},
                {"type": "code_execution_20250825", "name": "code_execution"},
            ],
        ),
        (
            "google:gemini-3-flash",
            [WebSearchTool(), WebFetchTool(), CodeExecutionTool()],
            [{"googleSearch": {}}, {"urlContext": {}}, {"codeExecution": {}}],
        ),
    ],
)
def test_hosted_tools(model: str, tools: list[Any], expected: list[Any]) -> None:
    assert _request_with(model, tools)["tools"] == expected


def _request_with(model: str, tools: list[Any]) -> Any:
    brain, fake = scripted(["Hello"], model)
    parameters = ModelRequestParameters(native_tools=tools)
    run(brain.request([ModelRequest.user_text_prompt("Hi")], None, parameters))
    return fake.requests[0].json()


@pytest.mark.parametrize(
    ("model", "tool"),
    [
        ("openai-chat:gpt-4o", WebSearchTool()),
        ("google:gemini-3-flash", SEARCH),
        (CLAUDE, FileSearchTool(file_store_ids=["vs_1"])),
        ("openai:gpt-5.2", WebSearchTool(max_uses=1)),
    ],
)
def test_a_hosted_tool_that_cannot_be_had_is_refused(model: str, tool: Any) -> None:
    with pytest.raises(UserError, match=r"[Ww]eb|File|not supported"):
        _request_with(model, [tool])


def test_what_a_hosted_tool_did_is_shown_and_goes_back() -> None:
    block = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
    body = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [block, found, {"type": "text", "text": "Found."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    brain, fake = scripted([Answer(body=msgspec.json.encode(body)), "Again"], CLAUDE)
    result = run(Agent(brain).run("Search"))
    parts = result.all_messages()[-1].parts
    assert isinstance(parts[0], NativeToolCallPart) and parts[0].args == {"query": "x"}
    assert isinstance(parts[1], NativeToolReturnPart)
    assert result.output == "Found."
    run(Agent(brain).run("And?", message_history=result.all_messages()))
    assert fake.requests[1].json()["messages"][1]["content"] == body["content"]


# -- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "kind", "status"),
    [
        (_failure(429, "slow down", headers={"retry-after": "3"}), ModelRateLimitError, 429),
        (_failure(429, "no money", code="insufficient_quota"), ModelQuotaExceededError, 429),
        (_failure(401, "bad key"), ModelAuthenticationError, 401),
        (_failure(403, "not yours"), ModelAuthenticationError, 403),
        (_failure(404, "no such model"), ModelNotFoundError, 404),
        (_failure(400, "what?"), ModelRequestRejectedError, 400),
        (_failure(400, "too long", code="context_length_exceeded"), ModelContextWindowExceededError, 400),
        (_failure(503, "busy"), ModelOverloadedError, 503),
        (_failure(500, "oh no"), ModelServerError, 500),
    ],
    ids=lambda value: getattr(value, "message", None),
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_errors_are_those_of_the_framework(failure: Any, kind: type, status: int, stream: bool) -> None:
    brain, _ = scripted([failure], retry=Retry(1))

    async def main() -> None:
        if stream:
            async with Agent(brain).run_stream("Hi"):
                pass
        else:
            await Agent(brain).run("Hi")

    with pytest.raises(ModelHTTPError) as caught:
        run(main())
    error = caught.value
    assert isinstance(error, kind) and error.status_code == status and error.model_name == "gpt-4o"
    assert isinstance(error.__cause__, ProviderError)
    assert error.retry_after == (3 if failure.headers else None)
    assert "sk-planted" not in f"{error!r}{error}{error.body}"


def test_failures_of_the_network() -> None:
    broken = Answer(body=[chunk("Hel"), Drop()])
    brain, _ = scripted([broken, Answer(before=[Drop()]), Answer(body=b"<html>")], retry=Retry(1))

    async def main() -> None:
        with pytest.raises(ModelConnectionError) as cut:
            async with Agent(brain).run_stream("Hi") as result:
                async for _ in result.stream_text():
                    pass
        assert cut.value.in_stream and isinstance(cut.value.__cause__, ProviderError)
        for _ in range(2):
            with pytest.raises(ModelAPIError):
                await Agent(brain).run("Hi")

    run(main())


def test_clocks() -> None:
    """`timeout` is this library's clock of one attempt, `request_timeout` pydantic-ai's of the whole request."""
    stalled = Answer(stall_before_headers=True)
    brain, _ = scripted([stalled, stalled], retry=Retry(1))
    with pytest.raises(ModelTimeoutError) as caught:
        run(Agent(brain).run("Hi", model_settings={"timeout": 0.05}))
    assert isinstance(caught.value.__cause__, TimeoutError)
    with pytest.raises(ModelRequestTimeout):
        run(Agent(brain).run("Hi", model_settings={"request_timeout": 0.05}))


def test_one_layer_retries() -> None:
    """This library's; `max_retries` says how often."""
    busy = _failure(503, "busy")
    brain, fake = scripted([busy, busy, "Hello"], retry=Retry(3, base=0))
    assert run(Agent(brain).run("Hi")).output == "Hello"
    assert len(fake.requests) == 3
    brain, fake = scripted([busy, "Hello"], retry=Retry(3, base=0))
    with pytest.raises(ModelOverloadedError):
        run(Agent(brain).run("Hi", model_settings={"max_retries": 0}))
    assert len(fake.requests) == 1


def test_a_fallback_takes_over() -> None:
    first, _ = scripted([_failure(503, "busy")] * 2, retry=Retry(1))
    second, _ = scripted(["Hello", "Hello again"], CLAUDE)
    agent = Agent(FallbackModel(first, second))
    result = run(agent.run("Hi"))
    assert result.output == "Hello"
    failed = result.all_messages()[-1].failed_attempts
    assert failed is not None and failed[0].model_name == "gpt-4o" and "busy" in (failed[0].error or "")

    async def streamed() -> str:
        async with agent.run_stream("Hi") as stream:
            return await stream.get_output()

    assert run(streamed()) == "Hello again"


def test_mistakes_of_the_caller_and_spent_budgets() -> None:
    with pytest.raises(UserError, match="there is no provider 'nobody'"):
        run(Agent(BrainwiresModel("nobody:m")).run("Hi"))
    with pytest.raises(UserError, match="belong to the client"):
        BrainwiresModel("openai:m", client=AsyncClient("openai:m"), api_key="k")
    brain, fake = scripted(["Hello"], budget=Budget(tokens=1))
    with pytest.raises(UsageLimitExceeded):
        run(Agent(brain).run("Hi there, how are you?"))
    assert not fake.requests


def test_a_refusal_is_a_content_filter_error() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help."}
    body = {**CHUNK, "object": "chat.completion"}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    brain, _ = scripted([Answer(body=msgspec.json.encode(body))])
    with pytest.raises(ContentFilterError, match="I cannot help"):
        run(Agent(brain).run("Hi"))


# -- cancelling -----------------------------------------------------------------------------------------------


def test_cancelling_a_stream_leaves_the_provider() -> None:
    gate = Gate()
    answer = Answer(body=[chunk("one "), chunk("two "), gate, chunk("three")])

    async def main(url: str) -> tuple[str, str]:
        async with BrainwiresModel("openai-chat:gpt-4o", api_key="k", base_url=url) as brain:
            async with Agent(brain).run_stream("Hi") as result:
                async for text in result.stream_text(debounce_by=None):
                    if text == "one two ":
                        await result.cancel()
            return text, result.response.state

    with ScriptedServer([answer]) as server:
        text, state = run(main(server.url))
        server.wait_idle(5)  # the connection was closed, not read to its end
    assert (text, state) == ("one two ", "interrupted")


def test_a_cancelled_task_leaves_the_provider() -> None:
    async def main(server: ScriptedServer) -> None:
        async with BrainwiresModel("openai-chat:gpt-4o", api_key="k", base_url=server.url) as brain:
            task = asyncio.create_task(Agent(brain).run("Hi"))
            while not server.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with ScriptedServer([Answer(stall_before_headers=True)]) as server:
        run(main(server))
        server.wait_idle(5)


# -- names, spans, secrets, lives -----------------------------------------------------------------------------


def test_models_by_name() -> None:
    _, fake = scripted(["Hello", "Hi"])
    client = AsyncClient("openai-chat:gpt-4o", api_key="k", transport=fake)
    agent = Agent("brainwires/openai-chat:gpt-4o", capabilities=[BrainwiresModels(client)])
    assert run(agent.run("Hi")).output == "Hello"
    result = run(agent.run("Hi", model="brainwires/openai-chat:gpt-4o"))
    assert result.all_messages()[-1].model_id == "brainwires/openai-chat:gpt-4o"


def test_a_call_has_one_span() -> None:
    """pydantic-ai's, where the agent is instrumented; else this library's."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    brain, _ = scripted(["a", "b", "c"], telemetry=Telemetry(tracer_provider=provider))

    async def streamed(agent: Agent[None, str]) -> None:
        async with agent.run_stream("Hi") as result:
            await result.get_output()

    def chats() -> list[str]:
        scopes = [s.instrumentation_scope for s in spans.get_finished_spans() if s.name.startswith("chat")]
        spans.clear()
        return [scope.name for scope in scopes if scope]

    run(Agent(brain).run("Hi"))
    assert chats() == ["brainwires_provider"]
    settings = InstrumentationSettings(tracer_provider=provider)
    run(Agent(brain, capabilities=[Instrumentation(settings=settings)]).run("Hi"))
    assert chats() == ["pydantic-ai"]
    run(streamed(Agent(brain, capabilities=[Instrumentation(settings=settings)])))
    assert chats() == ["pydantic-ai"]


def test_nothing_secret_is_shown_or_kept() -> None:
    brain, _ = scripted(["Hello"], settings={"extra_headers": {"authorization": "sk-planted"}})
    result = run(Agent(brain).run("Hi"))
    assert "sk-planted" not in f"{brain!r}{brain.client!r}{result.all_messages()!r}"
    assert b"sk-planted" not in result.all_messages_json()
    keyed = BrainwiresModel("openai-chat:gpt-4o", api_key="sk-planted-key-0123456789")
    with pytest.raises(Exception, match="pickle") as caught:
        pickle.dumps(keyed)
    assert "sk-planted" not in str(caught.value)


def test_a_model_without_a_secret_is_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    made = pickle.dumps(BrainwiresModel("openai-chat:gpt-4o", settings={"temperature": 0.5}))
    assert b"sk-planted" not in made
    again = pickle.loads(made)
    assert (again.model_name, again.system, again.settings) == ("gpt-4o", "openai", {"temperature": 0.5})


def test_a_models_own_client_is_closed_and_opened_again() -> None:
    def answer(request: Any) -> Answer:
        return Answer(body=[chunk("Hello"), sse(done=True)]) if b'"stream":true' in request.body else WHOLE

    async def main(url: str) -> None:
        brain = BrainwiresModel("openai-chat:gpt-4o", api_key="k", base_url=url)
        for _ in range(2):
            async with brain, Agent(brain):
                assert (await Agent(brain).run("Hi")).output == "Hello"

    body = {**CHUNK, "object": "chat.completion", "choices": []}
    body["choices"] = [
        {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    ]
    WHOLE = Answer(body=msgspec.json.encode(body))
    with ScriptedServer(answer) as server:
        run(main(server.url))
        server.wait_idle(5)


def test_counting() -> None:
    brain, fake = scripted([Answer(body=msgspec.json.encode({"input_tokens": 14}))], CLAUDE)
    asked = [ModelRequest.user_text_prompt("Hi")]
    assert run(brain.count_tokens(asked, None, ModelRequestParameters())).input_tokens == 14
    assert fake.requests[0].path.endswith("/count_tokens")
    brain, _ = scripted(["x"], "openai-chat:gpt-4o")
    with pytest.raises(NotImplementedError):
        run(brain.count_tokens(asked, None, ModelRequestParameters()))


def test_a_run_without_a_prompt() -> None:
    brain, fake = scripted(["Hello"])
    assert run(Agent(brain, instructions="Say hello.").run()).output == "Hello"
    assert fake.requests[0].json()["messages"] == [{"role": "system", "content": "Say hello."}]


def test_embeddings() -> None:
    _, fake = scripted("x", "openai-chat:gpt-4o")
    client = AsyncClient("openai-chat:text-embedding-3-small", api_key="k", transport=fake)
    embedder = Embedder(BrainwiresEmbeddingModel("openai-chat:text-embedding-3-small", client=client))

    result = run(embedder.embed_documents(["one", "two"], settings={"dimensions": 3}))

    assert len(result.embeddings) == 2 and result["two"] == result.embeddings[1]
    assert result.provider_name == "openai"
    assert fake.requests[0].json()["dimensions"] == 3
    with pytest.raises(UserError, match="truncate cannot be sent"):
        run(embedder.embed_query("one", settings={"truncate": True}))


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    for name in [
        name for name in sys.modules if name.startswith("brainwires_provider.integrations.pydantic_ai")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    with pytest.raises(ConfigError, match=r"brainwires-provider\[pydantic-ai\]"):
        importlib.import_module("brainwires_provider.integrations.pydantic_ai")


def test_what_a_name_leads_to() -> None:
    """What the library has for this, in both colours."""
    for kind in (AsyncClient, Client):
        client = kind("anthropic:claude-opus-4-8", api_key="sk-planted", base_url="https://h.example/v1")
        found = client.resolve()
        assert (found.provider, found.model) == ("anthropic", "claude-opus-4-8")
        assert (found.protocol, found.base_url) == ("anthropic_messages", "https://h.example")
        assert found.facts.family == "claude"
        assert "sk-planted" not in repr(found)
        with pytest.raises(ConfigError, match="nobody"):
            client.resolve("nobody:m")
