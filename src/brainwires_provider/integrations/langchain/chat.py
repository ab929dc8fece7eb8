"""LangChain's chat model on this library: every provider, with this library's transports, policies and reports.

A call is encoded, sent, retried and decoded by `Client` and `AsyncClient`; here, values are translated. LangChain's
base class does the rest: callbacks, caching, batches, the newer stream events.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import (
    BaseOutputParser,
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import AliasChoices, ConfigDict, Field

from brainwires_provider.integrations.langchain import calls, translator
from brainwires_provider.integrations.langchain.chunks import Chunks
from brainwires_provider.integrations.langchain.errors import translating
from brainwires_provider.integrations.langchain.messages import from_response, to_messages
from brainwires_provider.integrations.langchain.settings import Connected
from brainwires_provider.providers import PROVIDERS
from brainwires_provider.types import (
    CacheStrategy,
    Message,
    Options,
    ProviderOptions,
    Reasoning,
    Retry,
    Timeouts,
)

__all__ = ["ChatBrainwires"]

translator.register()

_OPTIONS = (
    "temperature",
    "max_tokens",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "reasoning",
    "parallel_tool_calls",
    "provider_options",
    "extra_body",
    "strict",
    "options",
)
_LANGSMITH = {
    "google": "google_genai",
    "google-interactions": "google_genai",
    "vertex": "google_vertexai",
    "vertex-anthropic": "google_vertexai",
    "bedrock": "amazon_bedrock",
    "bedrock-anthropic": "amazon_bedrock",
    "local": "llamacpp",
}


class ChatBrainwires(Connected, BaseChatModel):
    """A chat model of any provider: `ChatBrainwires(model="anthropic:claude-sonnet-5", temperature=0)`.

    The fields are this library's options, with the names that LangChain's users know, and each is also a keyword of a
    call: `model.invoke("Hi", temperature=0.2)`. What is not set is not sent. Signatures, encrypted reasoning and items
    of hosted tools survive in the messages, through JSON too. `response_metadata["report"]` lists what was not sent
    as it was asked.

    A failed request is sent again by this library alone (`max_retries`, `retry=`): LangChain's `with_retry` would
    multiply the attempts. Errors are this library's, of classes that are LangChain's too (`ModelRateLimitError`, …).
    """

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    model: str = Field(validation_alias=AliasChoices("model", "model_name"))
    """`"provider:model"`, or a name of the configuration's `[models]` (`client_options={"config": …}`)."""
    temperature: float | None = None
    """Randomness of sampling, from 0."""
    max_tokens: int | None = Field(
        default=None,
        validation_alias=AliasChoices("max_tokens", "max_completion_tokens", "max_output_tokens"),
    )
    """The most tokens to generate, reasoning included."""
    top_p: float | None = None
    """Nucleus sampling, 0 to 1."""
    top_k: int | None = None
    """Only this many of the most likely tokens."""
    seed: int | None = None
    """For repeatable sampling, as far as the provider supports it."""
    stop: list[str] | str | None = Field(
        default=None, validation_alias=AliasChoices("stop", "stop_sequences")
    )
    """Texts before which generation ends. Those of a call take their place."""
    presence_penalty: float | None = None
    """Lowers the probability of tokens that have occurred; usually -2 to 2."""
    frequency_penalty: float | None = None
    """The same, in proportion to how often they have occurred."""
    reasoning: Reasoning | Literal["off", "minimal", "low", "medium", "high", "max"] | None = Field(
        default=None, validation_alias=AliasChoices("reasoning", "reasoning_effort")
    )
    """How much the model reasons: an effort, or a `Reasoning` with a token budget."""
    parallel_tool_calls: bool | None = None
    """Whether one response may contain several tool calls."""
    prompt_cache: CacheStrategy | None = None
    """Where prompt-cache breakpoints are placed (the option `cache`; LangChain's own `cache` stores whole answers)."""
    provider_options: ProviderOptions | tuple[ProviderOptions, ...] | None = None
    """Options of one protocol, such as `AnthropicOptions(…)`."""
    extra_body: dict[str, Any] | None = None
    """Fields to merge into the request's body."""
    strict: bool | None = None
    """Refuse an option of which less would be sent, instead of reporting it."""
    options: Options | None = Field(default=None, exclude=True, repr=False)
    """Any further `Options`; the fields above take precedence."""
    timeout: float | Timeouts | None = Field(
        default=None, validation_alias=AliasChoices("timeout", "request_timeout")
    )
    """Seconds of silence of the provider, before the response or in it; or `Timeouts`. None: their defaults."""
    max_retries: int | None = None
    """How often a failed request is sent again, at most. None: twice, and never once text was delivered."""
    streaming: bool = False
    """Ask for a stream in `invoke` too."""

    # -- what LangChain asks about a model ---------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "brainwires"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        fields = ("base_url", "stop", "prompt_cache", "timeout", "max_retries", *_OPTIONS)
        given = {name: getattr(self, name) for name in fields}
        return {"model": self.model, **{name: value for name, value in given.items() if value is not None}}

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: `dumpd(model)` has its settings, and in place of the key the name of its environment variable."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The environment variable of the provider's key."""
        row = PROVIDERS.get(self.provider)
        return {"api_key": (row.key_env if row else None) or "BRAINWIRES_API_KEY"}

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        return f"{super()._get_llm_string(stop=stop, **kwargs)}---{sorted(self._identifying_params.items())}"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or _texts(self.stop), **kwargs)
        provider, colon, name = str(kwargs.get("model") or self.model).partition(":")
        provider = provider if colon else self.provider
        known = (
            "openai"
            if provider.startswith("openai")
            else "azure"
            if provider.startswith("azure")
            else provider
        )
        params["ls_provider"] = _LANGSMITH.get(provider, known)
        params["ls_model_name"] = name or str(kwargs.get("model") or self.model)
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        self._clients = self._connected()
        facts = self._clients.resolve(self.model).facts
        if facts == type(facts)():  # nothing is known
            return None
        known: dict[str, Any] = {
            "max_output_tokens": facts.max_output,
            "structured_output": facts.schema,
            "tool_choice": facts.forced_tools,
            "tool_calling": facts.tools,
            "image_inputs": "image" not in facts.refused_media,
        }
        return cast("ModelProfile", {name: value for name, value in known.items() if value is not None})

    # -- calls -------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        history, args = self._call(messages, stop, kwargs)
        with translating():
            response = self._clients.sync.chat(history, **args)
        return _result(from_response(response, args["model"]))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        client = self._clients.asynchronous
        if client is None:
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        history, args = self._call(messages, stop, kwargs)
        with translating():
            response = await client.chat(history, **args)
        return _result(from_response(response, args["model"]))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        history, args = self._call(messages, stop, kwargs)
        chunks = Chunks()
        with translating(), self._clients.sync.stream(history, **args) as stream:
            for event in stream:
                chunk = chunks.of(event)
                if chunk is not None:
                    yield chunk
            yield from chunks.last(stream.response, args["model"])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        client = self._clients.asynchronous
        if client is None:
            async for each in super()._astream(messages, stop, run_manager, **kwargs):
                yield each
            return
        history, args = self._call(messages, stop, kwargs)
        chunks = Chunks()
        with translating():
            async with client.stream(history, **args) as stream:
                async for event in stream:
                    chunk = chunks.of(event)
                    if chunk is not None:
                        yield chunk
                for chunk in chunks.last(stream.response, args["model"]):
                    yield chunk

    def _call(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: Mapping[str, Any]
    ) -> tuple[list[Message], dict[str, Any]]:
        """The history and the keywords of a call of the client's."""
        args: dict[str, Any] = {name: getattr(self, name) for name in _OPTIONS}
        args["stop"] = stop or self.stop
        args["cache"] = self.prompt_cache
        args |= {name: value for name, value in kwargs.items() if name not in _TRANSLATED}
        args["model"] = self._asked(kwargs.get("model"))
        args["timeouts"] = args.get("timeouts") or _timeouts(kwargs.get("timeout", self.timeout))
        args["retry"] = args.get("retry") or _retry(kwargs.get("max_retries", self.max_retries))
        args["tools"] = [calls.to_tool(tool) for tool in kwargs.get("tools") or ()]
        args["tool_choice"] = calls.to_choice(kwargs.get("tool_choice")) if args["tools"] else None
        args["output"] = args.get("output") or calls.to_output(kwargs.get("response_format"))
        if kwargs.get("prompt_cache") is not None:
            args["cache"] = kwargs["prompt_cache"]
        return to_messages(messages), {name: value for name, value in args.items() if value not in (None, [])}

    def _asked(self, model: str | None) -> str:
        """The model of a call: a name without a provider is one of this model's provider, or the configuration's."""
        if model is None or ":" in model or not self.provider:
            return model or self.model
        config = self.client_options.get("config")
        return model if config is not None and model in config.models else f"{self.provider}:{model}"

    # -- tools and structured output ---------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A model that may call tools.

        Args:
            tools: functions, Pydantic classes, TypedDicts, LangChain's tools, dictionaries of OpenAI's, Anthropic's
                or Bedrock's form, JSON Schemas with a title, this library's tools; and dictionaries of other types,
                which are tools that the provider runs.
            tool_choice: "auto", "none", "any" or "required" or True (some call), a tool's name, or OpenAI's or
                Anthropic's dictionary.
            strict: whether the provider must make arguments match the schemas. Default: not sent.
            kwargs: further keywords of each call.

        Raises:
            ValueError: For a tool of an unknown form, and a choice of none of the tools.
        """
        bound = [calls.bound_tool(tool, strict) for tool in tools]
        choice = calls.bound_choice(tool_choice, bound)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return self.bind(tools=bound, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Literal["json_schema", "function_calling", "json_mode"] = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """A model that answers with a value: an instance of a Pydantic class, or a dictionary.

        Args:
            schema: a Pydantic class (of version 1 or 2), a TypedDict, a JSON Schema, or OpenAI's dictionary.
            method: "json_schema", the provider's structured output, which this library reaches by other means where
                the provider has none; "function_calling", a forced call of a tool; "json_mode", JSON of any form.
            include_raw: return a dictionary with `raw`, the message, `parsed`, and `parsing_error`.
            strict: whether the provider must enforce the schema. Default: not sent.
            tools: tools that the model may call besides.
            kwargs: further keywords of each call.

        Raises:
            ValueError: For a schema that is missing, or a method that does not exist.
        """
        if schema is None and method != "json_mode":
            raise ValueError(f"method={method!r} requires a schema")
        is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
        traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        more: dict[str, Any] = {**kwargs, **({"ls_structured_output_format": traced} if schema else {})}
        parser: BaseOutputParser[Any]
        if method == "function_calling":
            bound = calls.bound_tool(schema, strict)
            name = calls.tool_name(bound) or ""
            llm = self.bind_tools([bound, *(tools or ())], tool_choice=name, **more)
            parser = (
                PydanticToolsParser(tools=[cast("Any", schema)], first_tool_only=True)
                if is_class
                else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
            )
        elif method in ("json_schema", "json_mode"):
            form = {"type": "json_object"} if method == "json_mode" else calls.format_of(schema, strict)
            llm = self.bind_tools(tools or (), response_format=form, **more)
            parser = (
                PydanticOutputParser(pydantic_object=cast("Any", schema)) if is_class else JsonOutputParser()
            )
        else:
            raise ValueError(f"method takes json_schema, function_calling or json_mode, not {method!r}")
        return _with_raw(llm, parser) if include_raw else llm | parser

    # -- counting ----------------------------------------------------------------------------------------

    def get_num_tokens(self, text: str) -> int:
        """The number of tokens of a text as a user's message, as the provider counts."""
        return self.get_num_tokens_from_messages([HumanMessage(text)])

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None, **kwargs: Any
    ) -> int:
        """The number of tokens of a request, as the provider counts; a request is made for that.

        Raises UnsupportedError for a provider that does not count.
        """
        history, args = self._call(messages, None, {**kwargs, "tools": tools})
        with translating():
            return self._clients.sync.count_tokens(history, **args).input_tokens


_TRANSLATED = frozenset(
    (
        "tools",
        "tool_choice",
        "response_format",
        "timeout",
        "max_retries",
        "prompt_cache",
        "stream",
        "stream_usage",
    )
)


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])


def _texts(stop: list[str] | str | None) -> list[str] | None:
    return [stop] if isinstance(stop, str) else stop


def _timeouts(given: float | Timeouts | None) -> Timeouts | None:
    if given is None or isinstance(given, Timeouts):
        return given
    return Timeouts(connect=min(10, given), first_event=given, idle=given)


def _retry(more: int | None) -> Retry | None:
    return None if more is None else Retry(attempts=more + 1)


def _with_raw(llm: Runnable[Any, AIMessage], parser: BaseOutputParser[Any]) -> Runnable[Any, Any]:
    """Both the message and its value; a value that cannot be read is an entry, not an error."""
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


ChatBrainwires.model_rebuild()
for _method in ("_generate", "_agenerate"):
    # LangChain looks at the parameters of these for every request.
    _function: Any = getattr(ChatBrainwires, _method)
    _function.__signature__ = inspect.signature(_function)
