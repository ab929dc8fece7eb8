"""The asynchronous client: the public interface, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from brainwires_provider._core.hooks import ErrorHook, Hooks, RequestHook, ResponseHook
from brainwires_provider._core.plan import Input, prepare
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream, call_site
from brainwires_provider.auth.keys import Key
from brainwires_provider.bulk.of_client import BulkCalls
from brainwires_provider.conversation import AsyncConversation
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, DEFAULT_MAX_PARTS
from brainwires_provider.providers import Config, ProviderConfig
from brainwires_provider.resources.of_client import Resources
from brainwires_provider.types import (
    Breaker,
    Budget,
    ChatParams,
    ClientStats,
    EmbeddingArgs,
    Embeddings,
    EmbeddingTask,
    Fallback,
    Hedge,
    JSONSchema,
    Limits,
    Message,
    Model,
    Options,
    OutputParams,
    Policies,
    PreparedRequest,
    Response,
    Retry,
    RunParams,
    Telemetry,
    Timeouts,
    TokenCount,
)
from brainwires_provider.types.checked import check_call, checks_calls
from brainwires_provider.types.options import merge_options

if TYPE_CHECKING:
    from ssl import SSLContext

    from typing_extensions import TypeForm

    from brainwires_provider.runs.run import AsyncRun
    from brainwires_provider.transports.base import Transport

__all__ = ["AsyncClient"]

T = TypeVar("T")


@checks_calls
class AsyncClient(Resources, BulkCalls):
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    `model` is the default, `"provider:model"`. `api_key`, `base_url`, `headers` and `allow_http` (allow plain http to
    another machine) belong to the provider of `model` and go to no other. `providers` sets up others, or the same in
    full, and `config` (see `load_config`) is a whole configuration, over which the other arguments take precedence.
    `proxy` is a URL, `"env"` (the environment's), or None.

    `retry` says when a failed request is sent again; by default, three attempts are made. `limits` bound what is sent
    in a minute and at once, `budget` what is spent; `fallback` names the models to ask when this one has failed for
    good; `hedge` sends a second request where the first is slow; `breaker` asks no model that keeps failing. `prices`
    computes `response.cost` (extra `prices`), `telemetry` records spans and metrics (extra `otel`). `on_request` is
    called before each attempt, `on_response` after a call's end (with None for a call that is no chat), and `on_error`
    after its failure; each may be async, and what it raises is logged. `max_event_bytes` limits one event, or one
    whole body, of an answer; `max_parts` the parts of its message. `transport` carries the requests over HTTP in place
    of the network, for tests: see `testing.FakeProvider`.

    Raises ConfigError for an unknown provider, TypeError or ValueError for a wrong argument. One client serves many
    tasks; in another event loop it opens connections of its own.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: Key | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        allow_http: bool = False,
        providers: Iterable[ProviderConfig] = (),
        config: Config | None = None,
        options: Options | None = None,
        timeouts: Timeouts = Timeouts(),
        strict: bool = False,
        retry: Retry | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        fallback: Sequence[str | Fallback] | None = None,
        hedge: Hedge | None = None,
        breaker: Breaker | None = None,
        prices: bool = False,
        telemetry: bool | Telemetry = False,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: SSLContext | None = None,
        max_connections: int = 1000,
        max_event_bytes: int = DEFAULT_MAX_MESSAGE,
        max_parts: int = DEFAULT_MAX_PARTS,
        transport: Transport | None = None,
        on_request: RequestHook | None = None,
        on_response: ResponseHook | None = None,
        on_error: ErrorHook | None = None,
    ) -> None:
        given = check_call(
            AsyncClient.__init__, locals(), SSLContext="ssl", Transport="brainwires_provider.transports.base"
        )
        if proxy is not None and proxy != "env":
            from brainwires_provider.transports.proxies import proxy_for

            proxy_for("", proxy)  # raises for what is no proxy
        setup = config or Config()
        coded = {each.name: each for each in given["providers"]}
        filed = setup.options
        own = merge_options(Options(strict=True), options) if strict else options
        if filed is not None and filed.timeouts is not None and timeouts == Timeouts():
            timeouts = filed.timeouts
        elif config is not None and timeouts != Timeouts():
            own = merge_options(Options(timeouts=timeouts), own)
        self._session = Session(
            model=model or setup.model,
            named=setup.models,
            configs={each.name: each for each in setup.providers} | coded,
            coded=frozenset(coded),
            filed=filed,
            options=own,
            timeouts=timeouts,
            transport={"proxy": proxy, "ssl_context": ssl_context, "max_connections": max_connections},
            given=transport,
            max_event_bytes=max_event_bytes,
            max_parts=max_parts,
            policies=setup.policies.over(Policies(retry, limits, budget, fallback, hedge, breaker)),  # type: ignore[arg-type]
            prices=prices or setup.prices,
            telemetry=Telemetry.of(telemetry) or setup.telemetry,
            hooks=Hooks(on_request, on_response, on_error) if on_request or on_response or on_error else None,
            made_at=call_site(),
        )
        bound = {
            "api_key": api_key,
            "base_url": base_url,
            "headers": headers,
            "allow_http": allow_http or None,
        }
        self._session.bind(setup, coded, model, {name: v for name, v in bound.items() if v is not None})

    @property
    def max_event_bytes(self) -> int:
        """The limit of one event, or one whole body, of an answer."""
        return self._session.max_event_bytes

    # -- calls -------------------------------------------------------------------------------------------

    @overload
    async def chat(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    async def chat(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Response[Any]: ...
    @overload
    async def chat(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response[None]: ...
    async def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response[Any]:
        """Ask, and wait for the whole response.

        Args:
            input: what the user says: a text, a `Message`, a sequence of messages, or a `Request`.
            output: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
            model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
            system: the system prompt. Default: none.
            tools: the tools that the model may call; functions too, see `tool`. Default: none.
            tool_choice: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
            options: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
            max_tokens: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
            temperature: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
            top_p: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
            top_k: only this many of the most likely tokens.
            seed: for repeatable sampling, as far as the provider supports it.
            stop: one text, or several; generation ends before the first that occurs.
            presence_penalty: lowers the probability of tokens that have occurred at all; usually -2 to 2.
            frequency_penalty: the same, in proportion to how often they have occurred; usually -2 to 2.
            reasoning: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
            parallel_tool_calls: whether one response may contain several tool calls.
            cache: a `CacheStrategy`: where prompt-cache breakpoints are placed.
            provider_options: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
            extra_body: fields to merge into the request's JSON body, after everything else.
            extra_headers: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
            extra_query: parameters to add to the URL.
            timeouts: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
            strict: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
            retry: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
            limits: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
            budget: a `Budget`, of dollars or tokens. Default: none.
            fallback: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
            hedge: a `Hedge`: a second request where the first is slow. Default: none.
            breaker: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.

        Returns:
            The `Response`: its `text`, `tool_calls`, `usage`, `finish_reason` and the `report` on the options.

        Raises:
            ProviderError: Every kind of it, ConfigError and UnsupportedError before anything is sent.
            OutputError: The answer is not of the type that `output` asked for.
            TypeError: For a keyword that does not exist, with the nearest one, and a type that has no form in JSON.
        """
        return await self._session.chat(self._session.plan(input, args, stream=False))

    @overload
    def stream(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> AsyncStream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> AsyncStream[Any]: ...
    @overload
    def stream(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> AsyncStream[T]: ...
    @overload
    def stream(self, input: Input, **args: Unpack[ChatParams]) -> AsyncStream[None]: ...
    def stream(self, input: Input, **args: Unpack[OutputParams]) -> AsyncStream[Any]:
        """Ask, and read the response as it comes. Nothing is sent before the stream is entered or iterated.

        Args:
            input: what the user says: a text, a `Message`, a sequence of messages, or a `Request`.
            output: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
            model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
            system: the system prompt. Default: none.
            tools: the tools that the model may call; functions too, see `tool`. Default: none.
            tool_choice: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
            options: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
            max_tokens: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
            temperature: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
            top_p: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
            top_k: only this many of the most likely tokens.
            seed: for repeatable sampling, as far as the provider supports it.
            stop: one text, or several; generation ends before the first that occurs.
            presence_penalty: lowers the probability of tokens that have occurred at all; usually -2 to 2.
            frequency_penalty: the same, in proportion to how often they have occurred; usually -2 to 2.
            reasoning: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
            parallel_tool_calls: whether one response may contain several tool calls.
            cache: a `CacheStrategy`: where prompt-cache breakpoints are placed.
            provider_options: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
            extra_body: fields to merge into the request's JSON body, after everything else.
            extra_headers: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
            extra_query: parameters to add to the URL.
            timeouts: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
            strict: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
            retry: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
            limits: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
            budget: a `Budget`, of dollars or tokens. Default: none.
            fallback: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
            hedge: a `Hedge`: a second request where the first is slow. Default: none.
            breaker: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.

        Returns:
            A stream of `Event`; `text_stream()` has only the text, and `collect()` reads on to the whole `Response`.

        Raises:
            ConfigError: The provider or its key is missing. UnsupportedError and TypeError come at once too.
            ProviderError: While it is read: every kind of it, with what had arrived in `partial`.
        """
        return AsyncStream(self._session.plan(input, args, stream=True), self._session)

    @overload
    def run(self, input: Input, *, output: type[T], **args: Unpack[RunParams]) -> AsyncRun[T]: ...
    @overload
    def run(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[RunParams]
    ) -> AsyncRun[Any]: ...
    @overload
    def run(self, input: Input, *, output: TypeForm[T], **args: Unpack[RunParams]) -> AsyncRun[T]: ...
    @overload
    def run(self, input: Input, **args: Unpack[RunParams]) -> AsyncRun[None]: ...
    def run(self, input: Input, *, output: Any = None, **args: Unpack[RunParams]) -> AsyncRun[Any]:
        """Ask, run the tools that the model calls (functions, see `tool`), and ask again, until it answers.

        The keywords are those of `chat`, `output` too, and those that `RunParams` describes: `max_steps`,
        `max_parallel`, `max_failures`, `deps`, `until`, `approve`, `verdicts`. Nothing is sent before it is iterated.

        Raises TypeError for a keyword that does not exist and for a tool without a function.
        """
        from brainwires_provider.runs.run import AsyncRun

        given: Any = args if output is None else {**args, "output": output}
        return AsyncRun(self._session, input, given)

    def prepare(self, input: Input, *, stream: bool = False, **args: Unpack[OutputParams]) -> PreparedRequest:
        """The exact request that `chat` or `stream` would send, secrets redacted. Nothing is sent.

        Args:
            input: what the user says: a text, a `Message`, a sequence of messages, or a `Request`.
            stream: whether it is that of `stream`. Default: that of `chat`.
            output: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
            model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
            system: the system prompt. Default: none.
            tools: the tools that the model may call; functions too, see `tool`. Default: none.
            tool_choice: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
            options: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
            max_tokens: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
            temperature: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
            top_p: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
            top_k: only this many of the most likely tokens.
            seed: for repeatable sampling, as far as the provider supports it.
            stop: one text, or several; generation ends before the first that occurs.
            presence_penalty: lowers the probability of tokens that have occurred at all; usually -2 to 2.
            frequency_penalty: the same, in proportion to how often they have occurred; usually -2 to 2.
            reasoning: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
            parallel_tool_calls: whether one response may contain several tool calls.
            cache: a `CacheStrategy`: where prompt-cache breakpoints are placed.
            provider_options: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
            extra_body: fields to merge into the request's JSON body, after everything else.
            extra_headers: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
            extra_query: parameters to add to the URL.
            timeouts: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
            strict: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
            retry: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
            limits: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
            budget: a `Budget`, of dollars or tokens. Default: none.
            fallback: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
            hedge: a `Hedge`: a second request where the first is slow. Default: none.
            breaker: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.

        Returns:
            A `PreparedRequest`: method, URL, headers, body, report, and `curl()`.

        Raises:
            ProviderError: What sending would raise before anything is sent: ConfigError, UnsupportedError.
        """
        return prepare(self._session.plan(input, args, stream=stream))

    async def count_tokens(self, input: Input, **args: Unpack[OutputParams]) -> TokenCount:
        """The number of tokens of a request's input, as its provider counts them.

        Args:
            input: what the user says: a text, a `Message`, a sequence of messages, or a `Request`.
            output: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
            model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
            system: the system prompt. Default: none.
            tools: the tools that the model may call; functions too, see `tool`. Default: none.
            tool_choice: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
            options: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
            max_tokens: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
            temperature: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
            top_p: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
            top_k: only this many of the most likely tokens.
            seed: for repeatable sampling, as far as the provider supports it.
            stop: one text, or several; generation ends before the first that occurs.
            presence_penalty: lowers the probability of tokens that have occurred at all; usually -2 to 2.
            frequency_penalty: the same, in proportion to how often they have occurred; usually -2 to 2.
            reasoning: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
            parallel_tool_calls: whether one response may contain several tool calls.
            cache: a `CacheStrategy`: where prompt-cache breakpoints are placed.
            provider_options: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
            extra_body: fields to merge into the request's JSON body, after everything else.
            extra_headers: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
            extra_query: parameters to add to the URL.
            timeouts: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
            strict: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
            retry: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
            limits: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
            budget: a `Budget`, of dollars or tokens. Default: none.
            fallback: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
            hedge: a `Hedge`: a second request where the first is slow. Default: none.
            breaker: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.

        Returns:
            The `TokenCount`.

        Raises:
            UnsupportedError: The provider cannot count; or, with `strict`, cannot take an option.
            ProviderError: Every other kind of it.
        """
        session = self._session
        target, request = session.request(input, args)
        call = target.protocol.count_call(request, target.origin, target.facts)
        planned = session.plan_call(call, target, request=request)
        return await session.fetch(session.with_policies(planned, args), target.protocol.decode_count)

    async def models(self, provider: str | None = None) -> list[Model]:
        """Every model that a provider lists, all pages; by default the provider of the client's model."""
        from brainwires_provider.resources.models import list_models

        return await list_models(
            self._session, provider or self._session.own_provider("whose models to list")
        )

    async def max_output_tokens(self, model: str | None = None) -> int | None:
        """The maximum output of a model, in tokens, as its provider reports; None where it does not."""
        from brainwires_provider.resources.models import max_output_tokens

        return await max_output_tokens(self._session, self._session.whole_name(model))

    async def embed(
        self,
        texts: str | Iterable[str],
        *,
        model: str | None = None,
        dimensions: int | None = None,
        task: EmbeddingTask | None = None,
        extra_body: Mapping[str, Any] | None = None,
    ) -> Embeddings:
        """A vector for each text, in as many requests as the service needs.

        `dimensions` asks for shorter vectors, and `task` says what they are for, where the model knows it. Raises
        UnsupportedError where the provider has no embeddings, or cannot take a field that was given.
        """
        from brainwires_provider.resources.embeddings import embed

        asked = EmbeddingArgs(dimensions, task, extra_body)
        session = self._session
        whole = [texts] if isinstance(texts, str) else list(texts)
        return await embed(session, whole, session.whole_name(model), asked)

    def conversation(
        self, *, messages: Iterable[Message] = (), **args: Unpack[OutputParams]
    ) -> AsyncConversation:
        """A conversation, whose history grows with each turn that ends well.

        Args:
            messages: the history to begin with. Default: none.
            output: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
            model: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
            system: the system prompt. Default: none.
            tools: the tools that the model may call; functions too, see `tool`. Default: none.
            tool_choice: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
            options: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
            max_tokens: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
            temperature: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
            top_p: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
            top_k: only this many of the most likely tokens.
            seed: for repeatable sampling, as far as the provider supports it.
            stop: one text, or several; generation ends before the first that occurs.
            presence_penalty: lowers the probability of tokens that have occurred at all; usually -2 to 2.
            frequency_penalty: the same, in proportion to how often they have occurred; usually -2 to 2.
            reasoning: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
            parallel_tool_calls: whether one response may contain several tool calls.
            cache: a `CacheStrategy`: where prompt-cache breakpoints are placed.
            provider_options: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
            extra_body: fields to merge into the request's JSON body, after everything else.
            extra_headers: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
            extra_query: parameters to add to the URL.
            timeouts: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
            strict: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
            retry: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
            limits: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
            budget: a `Budget`, of dollars or tokens. Default: none.
            fallback: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
            hedge: a `Hedge`: a second request where the first is slow. Default: none.
            breaker: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.

        Returns:
            The `AsyncConversation`; the keywords given here hold for each of its turns.

        Raises:
            TypeError: For a keyword that does not exist, with the nearest one.
        """
        return AsyncConversation(self._session, messages, args)

    def stats(self) -> ClientStats:
        """Limits as set or learned, what is used of them and of the budget, breakers, and what WebSockets carried."""
        return self._session.stats()

    # -- closing -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close the connections. What is under way ends with a typed error; later calls raise ConfigError."""
        await self._session.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- copies ------------------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        """A client with the same settings and connections of its own, as is what `pickle` and `deepcopy` make."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self) | {"_session": self._session.fresh()})
        return other

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session.model!r})"
