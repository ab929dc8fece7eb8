"""The synchronous face: the members of the asynchronous one, whose coroutines every call runs on the portal."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

from brainwires_provider._core.hooks import ErrorHook, RequestHook, ResponseHook
from brainwires_provider._core.plan import Input
from brainwires_provider.auth.keys import Key
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, DEFAULT_MAX_PARTS
from brainwires_provider.providers import Config, ProviderConfig
from brainwires_provider.sync.conversation import Conversation
from brainwires_provider.sync.of_client import Resources
from brainwires_provider.sync.stream import Stream, made
from brainwires_provider.types import (
    Breaker,
    Budget,
    ChatParams,
    ClientStats,
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
    PreparedRequest,
    Response,
    Retry,
    RunParams,
    Telemetry,
    Timeouts,
    TokenCount,
)

if TYPE_CHECKING:
    from ssl import SSLContext

    from typing_extensions import TypeForm

    from brainwires_provider.sync.portal import Share
    from brainwires_provider.sync.run import Run
    from brainwires_provider.transports.base import Transport

__all__ = ["Client"]

T = TypeVar("T")


class Client(Resources):
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    The arguments are those of `AsyncClient`. One client serves many threads; it works inside a running event loop
    too, which it blocks. All clients share one thread for the network, which ends when the last of them is closed.

    Every call can be interrupted: Ctrl-C raises KeyboardInterrupt at once, and drops the request. Called from an
    async callable of its own (such as a key's), it raises RuntimeError.
    """

    @property
    def _share(self) -> Share:
        """This client's part in the portal, which is loaded (and asyncio with it) at the first call."""
        known: Share | None = self.__dict__.get("_made")
        if known is not None:
            return known
        try:
            from brainwires_provider.sync.portal import Share
        except RuntimeError:  # asyncio cannot be loaded any more
            raise ConfigError("the interpreter is exiting: no request can be made any more") from None
        share: Share = self.__dict__.setdefault("_made", Share(self._core))  # one, whoever comes first
        return share

    @overload
    def run(self, input: Input, *, output: type[T], **args: Unpack[RunParams]) -> Run[T]: ...
    @overload
    def run(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[RunParams]
    ) -> Run[Any]: ...
    @overload
    def run(self, input: Input, *, output: TypeForm[T], **args: Unpack[RunParams]) -> Run[T]: ...
    @overload
    def run(self, input: Input, **args: Unpack[RunParams]) -> Run[None]: ...
    def run(self, input: Input, *, output: Any = None, **args: Unpack[RunParams]) -> Run[Any]:
        """Ask, run the tools that the model calls (functions, see `tool`), and ask again, until it answers.

        The keywords are those of `chat`, `output` too, and those that `RunParams` describes: `max_steps`,
        `max_parallel`, `max_failures`, `deps`, `until`, `approve`, `verdicts`. Nothing is sent before it is iterated.

        Raises TypeError for a keyword that does not exist and for a tool without a function.
        """
        from brainwires_provider.sync.run import Run

        return Run(made(lambda: self._core.run(input, output=output, **args)), self)

    def close(self) -> None:
        """Close the connections. What is still under way ends with a typed error; later calls raise ConfigError."""
        self._share.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        """A client with the same settings and connections of its own, as is what `pickle` and `deepcopy` make."""
        other = type(self).__new__(type(self))
        vars(other).update(self.__getstate__() | {"_core": self._core.__copy__()})
        return other

    def __deepcopy__(self, memo: object) -> Self:
        return self.__copy__()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_made"}

    def __del__(self) -> None:
        share = self.__dict__.get("_made")  # None: nothing was ever asked
        if share is not None:
            share.abandon()

    def __repr__(self) -> str:
        return repr(self._core).removeprefix("Async")

    # -- written by tools/write_sync.py from AsyncClient --

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
        self._core = AsyncClient(
            model,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            allow_http=allow_http,
            providers=providers,
            config=config,
            options=options,
            timeouts=timeouts,
            strict=strict,
            retry=retry,
            limits=limits,
            budget=budget,
            fallback=fallback,
            hedge=hedge,
            breaker=breaker,
            prices=prices,
            telemetry=telemetry,
            proxy=proxy,
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_event_bytes=max_event_bytes,
            max_parts=max_parts,
            transport=transport,
            on_request=on_request,
            on_response=on_response,
            on_error=on_error,
        )

    @property
    def max_event_bytes(self) -> int:
        """The limit of one event, or one whole body, of an answer."""
        return self._core.max_event_bytes

    @overload
    def chat(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    def chat(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Response[Any]: ...
    @overload
    def chat(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Response[T]: ...
    @overload
    def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response[None]: ...
    def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response[Any]:
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
        return self._share.call(lambda: self._core.chat(input, **args))

    @overload
    def stream(self, input: Input, *, output: type[T], **args: Unpack[ChatParams]) -> Stream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: JSONSchema | Literal["json"], **args: Unpack[ChatParams]
    ) -> Stream[Any]: ...
    @overload
    def stream(self, input: Input, *, output: TypeForm[T], **args: Unpack[ChatParams]) -> Stream[T]: ...
    @overload
    def stream(self, input: Input, **args: Unpack[ChatParams]) -> Stream[None]: ...
    def stream(self, input: Input, **args: Unpack[OutputParams]) -> Stream[Any]:
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
        return Stream(made(lambda: self._core.stream(input, **args)), self)

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
        return made(lambda: self._core.prepare(input, stream=stream, **args))

    def count_tokens(self, input: Input, **args: Unpack[OutputParams]) -> TokenCount:
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
        return self._share.call(lambda: self._core.count_tokens(input, **args))

    def models(self, provider: str | None = None) -> list[Model]:
        """Every model that a provider lists, all pages; by default the provider of the client's model."""
        return self._share.call(lambda: self._core.models(provider))

    def max_output_tokens(self, model: str | None = None) -> int | None:
        """The maximum output of a model, in tokens, as its provider reports; None where it does not."""
        return self._share.call(lambda: self._core.max_output_tokens(model))

    def embed(
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
        return self._share.call(
            lambda: self._core.embed(
                texts, model=model, dimensions=dimensions, task=task, extra_body=extra_body
            )
        )

    def conversation(self, *, messages: Iterable[Message] = (), **args: Unpack[OutputParams]) -> Conversation:
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
            The `Conversation`; the keywords given here hold for each of its turns.

        Raises:
            TypeError: For a keyword that does not exist, with the nearest one.
        """
        return Conversation(self, made(lambda: self._core.conversation(messages=messages, **args)))

    def stats(self) -> ClientStats:
        """Limits as set or learned, what is used of them and of the budget, breakers, and what WebSockets carried."""
        return made(self._core.stats)

    # -- end of what is written --


def _end_portal() -> None:
    portal = sys.modules.get("brainwires_provider.sync.portal")
    if portal is not None:
        portal.exit_portal()


# Registered when this is imported, and not with the portal, so that it runs after most hooks of the program's own.
atexit.register(_end_portal)
