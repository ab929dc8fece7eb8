"""What `ChatBrainwires` and `BrainwiresEmbeddings` do with settings, tools, errors, callbacks, copies and secrets."""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core import exceptions as lc
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd, dumps, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import tool as lc_tool
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as OldModel

from brainwires_provider import (
    AsyncClient,
    CacheStrategy,
    Client,
    ConfigError,
    EnvKey,
    HostedTool,
    Limits,
    Options,
    RateLimitError,
    Retry,
    StreamInterrupted,
    Telemetry,
    Timeouts,
    Tool,
    UnsupportedError,
    errors,
)
from brainwires_provider.integrations.langchain import BrainwiresEmbeddings, ChatBrainwires
from brainwires_provider.integrations.langchain.errors import translated
from brainwires_provider.testing import Answer, Close, Failure, FakeProvider, ScriptedServer, Stall, Wait, sse
from brainwires_provider.types import ToolCallPart

pytestmark = pytest.mark.long
SECRET = "sk-planted-1234567890abcdef"


def chat(
    script: Any = "Hello.", model: str = "openai-chat:gpt-4o", **fields: Any
) -> tuple[ChatBrainwires, FakeProvider]:
    fake = FakeProvider(script)
    options = {"transport": fake, "retry": Retry(attempts=1), **fields.pop("client_options", {})}
    return ChatBrainwires(model=model, api_key=SECRET, client_options=options, **fields), fake


def body_of(fake: FakeProvider) -> dict[str, Any]:
    return fake.requests[-1].json()


# -- settings ------------------------------------------------------------------------------------------------


def test_settings_are_those_of_the_model_and_of_the_call() -> None:
    model, fake = chat(
        temperature=0.5, max_tokens=9, top_p=0.5, seed=3, stop=["a"], presence_penalty=1, frequency_penalty=1
    )
    model.invoke("Hi")
    body = body_of(fake)
    assert (body["temperature"], body["max_completion_tokens"], body["seed"], body["stop"]) == (
        0.5,
        9,
        3,
        ["a"],
    )
    model.invoke("Hi", temperature=0, stop=["b"], extra_body={"user": "u"}, model="gpt-4.1")
    body = body_of(fake)
    assert (body["temperature"], body["stop"], body["user"], body["model"]) == (0, ["b"], "u", "gpt-4.1")
    model.invoke("Hi", options=Options(top_p=0.25))
    assert body_of(fake)["top_p"] == 0.5  # a field of the model takes precedence
    with pytest.raises(ConfigError, match="GROQ_API_KEY"):
        model.invoke("Hi", model="groq:llama-4")  # the key is of another provider
    with pytest.raises(TypeError, match="temprature"):
        model.invoke("Hi", temprature=1)


def test_aliases_and_unknown_fields() -> None:
    made = ChatBrainwires(
        model_name="openai:gpt-6",
        stop_sequences="x",
        max_completion_tokens=3,
        request_timeout=4,
        reasoning_effort="low",
    )
    assert (made.model, made.stop, made.max_tokens, made.timeout, made.reasoning) == (
        "openai:gpt-6",
        "x",
        3,
        4,
        "low",
    )
    with pytest.raises(ValidationError, match="temprature"):
        ChatBrainwires(model="openai:gpt-6", temprature=1)


def test_other_options_reach_the_wire_and_the_report() -> None:
    model, fake = chat(
        model="anthropic:claude-sonnet-5", prompt_cache=CacheStrategy.system_only(), reasoning="high", seed=1
    )
    message = model.invoke([("system", "Be brief."), ("user", "Hi")])
    assert body_of(fake)["system"][0]["cache_control"] == {"type": "ephemeral"}
    dropped = [each["field"] for each in message.response_metadata["report"]["deviations"]]
    assert "seed" in dropped
    with pytest.raises(UnsupportedError, match="seed"):
        model.invoke("Hi", strict=True)


def test_a_model_without_its_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None; import brainwires_provider.integrations.langchain"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "brainwires-provider[langchain]"' in done.stderr and "ConfigError" in done.stderr


# -- tools ---------------------------------------------------------------------------------------------------


class Add(BaseModel):
    """Add numbers."""

    a: int


class Sub(TypedDict):
    """Subtract."""

    a: Annotated[int, ..., "a number"]


def mul(a: int) -> int:
    """Multiply."""
    return a


@lc_tool(extras={"cache_control": {"type": "ephemeral"}})
def div(a: int) -> int:
    """Divide."""
    return a


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS: dict[str, Any] = {
    "Add": Add,
    "Sub": Sub,
    "mul": mul,
    "div": div,
    "openai": {"type": "function", "function": {"name": "openai", "description": "d", "parameters": SCHEMA}},
    "bare": {"name": "bare", "description": "d", "parameters": SCHEMA},
    "anthropic": {"name": "anthropic", "description": "d", "input_schema": SCHEMA},
    "bedrock": {"toolSpec": {"name": "bedrock", "description": "d", "inputSchema": {"json": SCHEMA}}},
    "titled": {"title": "titled", "description": "d", **SCHEMA},
    "own": Tool("own", "d", SCHEMA),
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools_of_all_forms_are_taken(name: str) -> None:
    model, fake = chat([[ToolCallPart("c", name, '{"a": 1}')]])
    call = model.bind_tools([TOOLS[name]], tool_choice=name, strict=None).invoke("Hi").tool_calls[0]
    sent = body_of(fake)["tools"][0]["function"]
    assert (sent["name"], sent["parameters"]["properties"]["a"]["type"]) == (name, "integer")
    assert call == {"name": name, "args": {"a": 1}, "id": "c", "type": "tool_call"}


def test_hosted_tools_and_cache_marks() -> None:
    model, fake = chat(model="anthropic:claude-sonnet-5")
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    model.bind_tools([search, div, HostedTool("code_execution_20250825", {"name": "code_execution"})]).invoke(
        "Hi"
    )
    tools = body_of(fake)["tools"]
    assert tools[0] == search and tools[2]["type"] == "code_execution_20250825"
    assert tools[1]["name"] == "div" and tools[1]["cache_control"] == {"type": "ephemeral"}
    model.bind_tools(
        [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}], strict=True
    ).invoke("Hi")
    assert body_of(fake)["tools"][0]["strict"] is True
    with pytest.raises(ValueError, match="title"):
        model.bind_tools([{"type": "object", "properties": {}}])


CHOICES: list[tuple[Any, Any]] = [
    (None, None),
    (False, None),
    ("auto", "auto"),
    ("none", "none"),
    ("any", "required"),
    ("required", "required"),
    (True, "required"),
    ("Add", {"type": "function", "function": {"name": "Add"}}),
    ({"type": "function", "function": {"name": "Add"}}, {"type": "function", "function": {"name": "Add"}}),
    ({"type": "tool", "name": "Add"}, {"type": "function", "function": {"name": "Add"}}),
    ({"type": "any"}, "required"),
]


@pytest.mark.parametrize(("choice", "sent"), CHOICES, ids=lambda each: str(each))
def test_choices_of_all_forms_are_taken(choice: Any, sent: Any) -> None:
    model, fake = chat()
    model.bind_tools([Add, mul], tool_choice=choice).invoke("Hi")
    assert body_of(fake).get("tool_choice") == sent


def test_a_choice_of_no_tool_is_named() -> None:
    with pytest.raises(ValueError, match="'Mul', which is none of the tools: Add, mul"):
        chat()[0].bind_tools([Add, mul], tool_choice="Mul")


# -- structured output ---------------------------------------------------------------------------------------


class Joke(BaseModel):
    """A joke."""

    setup: str
    rating: int | None = None


class OldJoke(OldModel):
    """A joke."""

    setup: str


class DictJoke(TypedDict):
    """A joke."""

    setup: Annotated[str, ..., "the question"]


SCHEMAS: dict[str, tuple[Any, Any]] = {
    "pydantic": (Joke, Joke(setup="Why?")),
    "pydantic v1": (OldJoke, OldJoke(setup="Why?")),
    "typeddict": (DictJoke, {"setup": "Why?"}),
    "json schema": (Joke.model_json_schema(), {"setup": "Why?"}),
    "named": ({"name": "Joke", "schema": Joke.model_json_schema(), "strict": True}, {"setup": "Why?"}),
}


@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("streams", [False, True])
def test_values_of_all_schemas_and_methods(kind: str, method: Any, streams: bool) -> None:
    schema, value = SCHEMAS[kind]
    if kind == "named" and method == "function_calling":
        schema = {**schema, "parameters": schema["schema"]}
    name = "Joke" if kind in ("json schema", "named") else schema.__name__
    said = '{"setup": "Why?"}'
    model, fake = chat([ToolCallPart("c", name, said)] if method == "function_calling" else said)
    made = model.with_structured_output(schema, method=method)
    assert (list(made.stream("A joke"))[-1] if streams else made.invoke("A joke")) == value
    body = body_of(fake)
    if method == "function_calling":
        assert body["tool_choice"]["function"]["name"] == name
    else:
        assert body["response_format"]["type"] == ("json_object" if method == "json_mode" else "json_schema")


def test_the_raw_message_and_what_cannot_be_parsed() -> None:
    made = chat("no JSON")[0].with_structured_output(Joke, include_raw=True).invoke("A joke")
    assert made["raw"].text == "no JSON" and made["parsed"] is None
    assert isinstance(made["parsing_error"], lc.OutputParserException)
    made = chat('{"setup": "Why?"}')[0].with_structured_output(Joke, include_raw=True).invoke("A joke")
    assert made["parsed"] == Joke(setup="Why?") and made["parsing_error"] is None


def test_a_refusal_is_langchains_error() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot."}
    answer = {"id": "c", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    model, _ = chat(lambda _: Answer(body=json.dumps(answer).encode()))
    with pytest.raises(lc.ModelRefusalError, match="I cannot"):
        model.with_structured_output(Joke).invoke("A joke")
    assert model.invoke("A joke").additional_kwargs["refusal"] == "I cannot."


def test_wrong_arguments_of_structured_output() -> None:
    model, _ = chat()
    with pytest.raises(ValueError, match="requires a schema"):
        model.with_structured_output(None)
    with pytest.raises(ValueError, match="json_schema, function_calling or json_mode"):
        model.with_structured_output(Joke, method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no schema with a name"):
        model.invoke("Hi", response_format={"type": "json_schema", "json_schema": {}})


# -- errors --------------------------------------------------------------------------------------------------

FAILURES: list[tuple[int, str | None, type[Exception], type[Exception], bool]] = [
    (401, None, errors.AuthenticationError, lc.ModelAuthenticationError, False),
    (403, None, errors.PermissionDeniedError, lc.ModelPermissionDeniedError, False),
    (404, None, errors.NotFoundError, lc.ModelNotFoundError, False),
    (400, None, errors.InvalidRequestError, lc.ModelInvalidRequestError, False),
    (400, "context_length_exceeded", errors.ContextLengthError, lc.ContextOverflowError, False),
    (429, None, errors.RateLimitError, lc.ModelRateLimitError, True),
    (429, "insufficient_quota", errors.RateLimitError, lc.ModelRateLimitError, False),
    (503, "overloaded", errors.OverloadedError, lc.ModelAPIError, True),
    (500, None, errors.ServerError, lc.ModelAPIError, True),
]


@pytest.mark.parametrize(("status", "code", "own", "theirs", "retryable"), FAILURES)
def test_errors_are_of_both_kinds(
    status: int, code: str | None, own: type[Exception], theirs: type[Exception], retryable: bool
) -> None:
    model, _ = chat(Failure(code, "no", status))

    async def read() -> None:
        async for _ in model.astream("Hi"):
            pass

    calls: list[Callable[[], object]] = [
        lambda: model.invoke("Hi"),
        lambda: asyncio.run(model.ainvoke("Hi")),
        lambda: list(model.stream("Hi")),
        lambda: asyncio.run(read()),
    ]
    for call in calls:
        with pytest.raises(own) as caught:
            call()
        error: Any = caught.value
        assert isinstance(error, theirs) and error.is_retryable is retryable is error.retryable
        assert error.status == status and error.provider == "openai-chat" and SECRET not in repr(error)
        copied = pickle.loads(pickle.dumps(error))
        assert type(copied) is type(error) and copied.status == status


def test_every_error_is_translated_or_the_callers() -> None:
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.ProviderError):
            error = cls.__new__(cls, "x")
            error.args, error.message = ("x",), "x"  # type: ignore[attr-defined]
            made = translated(error)
            assert isinstance(made, cls)
            if issubclass(cls, (errors.APIError, errors.TransportError, errors.ProtocolError)):
                assert isinstance(made, lc.ModelError) and translated(made) is made


def test_a_cut_stream_and_a_silent_server() -> None:
    chunk = sse({"choices": [{"delta": {"content": "Hel"}}]}, done=False)
    model, _ = chat(lambda _: Answer(body=[chunk, Close()]))
    read = []
    with pytest.raises(StreamInterrupted) as caught:
        read.extend(model.stream("Hi"))
    assert caught.value.partial is not None and caught.value.partial.text == "Hel" == read[0].text
    assert isinstance(caught.value, lc.ModelConnectionError)
    model, _ = chat(lambda _: Answer(body=[Stall()]), timeout=0.05)
    with pytest.raises(lc.ModelTimeoutError) as timed:
        model.invoke("Hi")
    assert isinstance(timed.value, TimeoutError)
    model, _ = chat(lambda _: Answer(body=[Wait(5), b""]), timeout=Timeouts(total=0.05))
    with pytest.raises(lc.ModelTimeoutError):
        model.invoke("Hi")


def test_retries_are_made_in_one_layer() -> None:
    fast = Retry(attempts=3, base=0)
    model, fake = chat(Failure(None, "no", 503), client_options={"retry": fast})
    with pytest.raises(lc.ModelAPIError) as caught:
        model.invoke("Hi")
    assert len(fake.requests) == 3 == len(caught.value.attempts)  # type: ignore[attr-defined]
    fake.requests.clear()
    with pytest.raises(lc.ModelAPIError):
        model.invoke("Hi", max_retries=0)
    assert len(fake.requests) == 1
    model, fake = chat([Failure(None, "no", 503), "Hello."], client_options={"retry": fast})
    message = model.invoke("Hi")
    assert message.text == "Hello." and message.response_metadata["attempts"][0]["status"] == 503


def test_langchains_fallbacks_and_retries_take_the_errors() -> None:
    bad, good = chat(Failure(None, "no", 429))[0], chat("Hello.")[0]
    assert (
        bad.with_fallbacks([good], exceptions_to_handle=(lc.ModelRateLimitError,)).invoke("Hi").text
        == "Hello."
    )
    again, fake = chat([Failure(None, "no", 429), "Hello."])
    retrying = again.with_retry(retry_if_exception_type=(RateLimitError,), wait_exponential_jitter=False)
    assert retrying.invoke("Hi").text == "Hello." and len(fake.requests) == 2


def test_an_abandoned_stream_closes_its_connection() -> None:
    async def leave(url: str) -> None:
        model = ChatBrainwires(model="openai-chat:m", api_key="k", base_url=url)
        stream = model.astream("Hi")
        assert (await anext(stream)).text == "Hel"
        await stream.aclose()
        task = asyncio.create_task(model.ainvoke("Hi"))
        await server.wait_requests_async(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.wait_idle_async(5)
        await model.aclose()

    chunk = sse({"choices": [{"delta": {"content": "Hel"}}]}, done=False)
    with ScriptedServer(lambda _: Answer(body=[chunk, Stall()])) as server:
        asyncio.run(leave(server.url))
        model = ChatBrainwires(model="openai-chat:m", api_key="k", base_url=server.url)
        stream = model.stream("Hi")
        assert next(stream).text == "Hel"
        stream.close()  # type: ignore[attr-defined]
        server.wait_idle(5)
        model.close()


# -- callbacks and tracing -----------------------------------------------------------------------------------


class Heard(BaseCallbackHandler):
    def __init__(self) -> None:
        self.names: list[str] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.names.append("start")
        assert SECRET not in repr(args) + repr(kwargs)

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
        self.names.append("token")

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.names.append("end")

    def on_llm_error(self, *args: Any, **kwargs: Any) -> None:
        self.names.append("error")


def test_callbacks_come_once_and_so_do_spans() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    script = [Failure(None, "no", 503), "Hello there.", "Hello there."]
    retry = Retry(attempts=2, base=0)
    model, _ = chat(script, client_options={"telemetry": Telemetry(tracer_provider=tracers), "retry": retry})
    heard = Heard()
    model.invoke("Hi", config={"callbacks": [heard]})
    list(model.stream("Hi", config={"callbacks": [heard]}))
    assert heard.names == ["start", "end", "start", "token", "token", "token", "end"]
    assert [span.name for span in spans.get_finished_spans()] == ["chat gpt-4o", "chat gpt-4o"]
    model, _ = chat(Failure(None, "no", 500))
    with pytest.raises(errors.ServerError):
        model.invoke("Hi", config={"callbacks": [heard]})
    assert heard.names[-2:] == ["start", "error"]


def test_what_langsmith_is_given() -> None:
    params = chat(temperature=0, max_tokens=3, stop=["x"])[0]._get_ls_params()
    assert params == {
        "ls_provider": "openai",
        "ls_model_type": "chat",
        "ls_model_name": "gpt-4o",
        "ls_temperature": 0,
        "ls_max_tokens": 3,
        "ls_stop": ["x"],
    }
    google = chat(model="google:gemini-3-pro")[0]
    assert google._get_ls_params(model="anthropic:claude-x")["ls_provider"] == "anthropic"
    assert google._get_ls_params()["ls_provider"] == "google_genai"


def test_the_profile_has_what_is_known_of_a_model() -> None:
    profile = chat(model="anthropic:claude-opus-4-6")[0].profile
    assert profile is not None and profile["max_output_tokens"] == 128_000 and profile["structured_output"]
    assert chat(model="openai-chat:nobody-knows")[0].profile is None
    with Client("anthropic:claude-opus-4-6", api_key="k") as client:
        given = ChatBrainwires(model="anthropic:claude-opus-4-6", client=client).profile
    assert given is not None and given["max_output_tokens"] == 128_000
    assert chat(profile={"max_input_tokens": 5})[0].profile == {"max_input_tokens": 5}


# -- secrets, copies, pickles --------------------------------------------------------------------------------


def test_no_secret_shows_and_a_dump_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = chat(temperature=0.5)
    for shown in (repr(model), str(model), dumps(model), repr(model.asdict()), repr(model.bind_tools([mul]))):
        assert SECRET not in shown
    monkeypatch.setenv("OPENAI_API_KEY", "from-env")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta, and warns of that
        loaded = load(
            dumpd(model),
            allowed_objects=[ChatBrainwires],
            valid_namespaces=["brainwires_provider"],
            secrets_from_env=True,
        )
    assert isinstance(loaded, ChatBrainwires) and loaded.temperature == 0.5
    assert loaded.api_key.get_secret_value() == "from-env"  # type: ignore[union-attr]


def test_pickles_hold_references_only() -> None:
    with pytest.raises(TypeError, match="api_key contains a secret"):
        pickle.dumps(ChatBrainwires(model="openai:gpt-6", api_key=SECRET))
    with pytest.raises(TypeError, match="cannot be pickled with a client"):
        pickle.dumps(ChatBrainwires(model="openai:gpt-6", client=Client()))
    made = ChatBrainwires(model="openai:gpt-6", api_key=EnvKey("X"), temperature=0.5, stop=["a"])
    copied = pickle.loads(pickle.dumps(made))
    assert copied.asdict() == made.asdict() and copied._clients is made._clients
    bound = pickle.loads(pickle.dumps(made.bind_tools([TOOLS["openai"]])))
    assert bound.bound.asdict() == made.asdict() and bound.kwargs == {"tools": [TOOLS["openai"]]}


def test_a_configured_copy_keeps_the_connections_but_no_key_for_another_provider() -> None:
    fake = FakeProvider("Hello.")
    options = {"transport": fake, "limits": Limits(rpm=100), "headers": {"x-team": "a"}}
    model = ChatBrainwires(model="openai-chat:gpt-4o", api_key=SECRET, client_options=options)
    fields = model.configurable_fields(
        model=ConfigurableField("model"), temperature=ConfigurableField("temperature")
    )
    fields.with_config(configurable={"temperature": 0.25}).invoke("Hi")
    assert body_of(fake)["temperature"] == 0.25
    same, _ = fields.with_config(configurable={"model": "openai-chat:gpt-7"})._prepare()  # type: ignore[attr-defined]
    assert same._clients is model._clients
    with pytest.raises(ConfigError, match="key"):
        fields.with_config(configurable={"model": "anthropic:claude-x"}).invoke("Hi")
    assert len(fake.requests) == 1 and SECRET not in repr(fake.requests[0].body)
    copied = model.model_copy(update={"model": "anthropic:claude-x"})
    with pytest.raises(ConfigError, match="key"):
        copied.invoke("Hi")


def test_given_clients_are_used_and_stay_open() -> None:
    fake = FakeProvider("Hello.")
    with Client("openai-chat:gpt-6", api_key="k", transport=fake) as client:
        model = ChatBrainwires(model="openai-chat:gpt-6", client=client)
        assert model.invoke("Hi").text == "Hello."
        model.close()
        assert client.chat("Hi").text == "Hello."
    only = ChatBrainwires(
        model="openai-chat:gpt-6",
        async_client=AsyncClient(api_key="k", model="openai-chat:m", transport=fake),
    )
    assert asyncio.run(only.ainvoke("Hi")).text == "Hello."
    with pytest.raises(ConfigError, match=r"async_client= alone.*use ainvoke.*or give it client="):
        only.invoke("Hi")


def test_asynchronous_calls_with_a_synchronous_client_run_in_a_thread() -> None:
    async def ask(model: ChatBrainwires) -> tuple[str, list[str], list[list[float]]]:
        streamed = [chunk.text async for chunk in model.astream("Hi")]
        with pytest.raises(lc.ModelRateLimitError):
            await model.ainvoke("Hi", model="gpt-fails")
        embeddings = BrainwiresEmbeddings(model="openai-chat:text-embedding-3-small", client=model.client)
        vectors = await embeddings.aembed_documents(["a"])
        assert (
            await embeddings.aembed_query("a") == vectors[0] and await embeddings.aembed_documents([]) == []
        )
        return (await model.ainvoke("Hi")).text, streamed, vectors

    def script(request: Any) -> Any:
        if request.json()["model"] == "gpt-fails":
            return Failure(None, "no", 429)
        return "Hello there."

    transport = FakeProvider(script)
    with Client("openai-chat:gpt-6", api_key="k", transport=transport, retry=Retry(attempts=1)) as client:
        text, streamed, vectors = asyncio.run(ask(ChatBrainwires(model="openai-chat:gpt-6", client=client)))
    assert text == "Hello there." == "".join(streamed) and len(streamed) > 1 and len(vectors) == 1


def test_an_abandoned_stream_in_a_thread_closes_its_connection() -> None:
    async def leave(model: ChatBrainwires) -> None:
        stream = model.astream("Hi")
        assert (await anext(stream)).text == "Hel"
        await stream.aclose()

    chunk = sse({"choices": [{"delta": {"content": "Hel"}}]}, done=False)
    with (
        ScriptedServer(lambda _: Answer(body=[chunk, Stall()])) as server,
        Client("openai-chat:m", api_key="k", base_url=server.url) as client,
    ):
        asyncio.run(leave(ChatBrainwires(model="openai-chat:m", client=client)))
        server.wait_idle(5)


def test_batches_and_the_answer_cache() -> None:
    from langchain_core.caches import InMemoryCache

    model, fake = chat("Hello.", cache=InMemoryCache())
    assert [each.text for each in model.batch(["a", "b"])] == ["Hello.", "Hello."]
    assert model.invoke("a").text == "Hello." and len(fake.requests) == 2
    model.invoke("a", temperature=1)
    model.model_copy(update={"options": Options(seed=1)}).invoke("a")
    assert len(fake.requests) == 4


def test_tokens_are_counted_by_the_provider() -> None:
    model, fake = chat(lambda _: Answer(body=b'{"input_tokens": 7}'), model="anthropic:claude-sonnet-5")
    assert model.get_num_tokens_from_messages([HumanMessage("Hi")], tools=[mul]) == 7
    assert fake.requests[-1].path.endswith("/count_tokens") and body_of(fake)["tools"][0]["name"] == "mul"
    assert model.get_num_tokens("Hi") == 7


def test_it_is_a_chat_model_with_a_stream_option() -> None:
    model, fake = chat("Hello there.", streaming=True)
    assert isinstance(model, BaseChatModel) and isinstance(model.invoke("Hi"), AIMessage)
    assert body_of(fake)["stream"] is True


# -- embeddings ----------------------------------------------------------------------------------------------


def test_embeddings_state_the_task_where_there_is_one() -> None:
    tasks: list[Any] = []

    def said(request: Any) -> Answer:
        body = request.json()
        tasks.append(body["requests"][0].get("taskType"))
        return Answer(
            body=json.dumps({"embeddings": [{"values": [1.0, 2.0]} for _ in body["requests"]]}).encode()
        )

    options = {"transport": FakeProvider(said)}
    gemini = BrainwiresEmbeddings(model="google:gemini-embedding-001", api_key="k", client_options=options)
    assert gemini.embed_documents(["a", "b"]) == [[1.0, 2.0], [1.0, 2.0]] and gemini.embed_query("a") == [
        1.0,
        2.0,
    ]
    assert asyncio.run(gemini.aembed_documents(["a"])) == [[1.0, 2.0]]
    assert tasks == ["RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT"]


def test_embeddings_of_a_service_without_tasks_and_their_errors() -> None:
    fake = FakeProvider("")
    made = BrainwiresEmbeddings(
        model="openai:text-embedding-3-small", api_key="k", client_options={"transport": fake}
    )
    vectors = made.embed_documents(["a", "b"])
    assert len(vectors) == 2 and made.embed_query("a") == vectors[0] and made.embed_documents([]) == []
    assert asyncio.run(made.aembed_query("a")) == vectors[0] and asyncio.run(made.aembed_documents([])) == []
    with pytest.raises(ConfigError, match="text 0"):
        made.embed_query("")
    none = BrainwiresEmbeddings(model="anthropic:claude-x", api_key="k")
    with pytest.raises(UnsupportedError, match="no embeddings"):
        none.embed_query("a")
    with pytest.raises(UnsupportedError, match="no embeddings"):
        asyncio.run(none.aembed_query("a"))
    failing = BrainwiresEmbeddings(
        model="openai:x", api_key="k", client_options={"transport": FakeProvider(Failure(None, "no", 401))}
    )
    with pytest.raises(lc.ModelAuthenticationError):
        failing.embed_query("a")
