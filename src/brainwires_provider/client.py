"""The asynchronous client: the face of the one road."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from msgspec.structs import replace

from brainwires_provider._core import attempt as flow
from brainwires_provider._core import plan as plans
from brainwires_provider._core.inputs import Input, build_request, check_args, messages_of, stored_args
from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.auth.keys import Key
from brainwires_provider.errors import ConfigError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.protocols.base.protocol import Decoder
from brainwires_provider.providers import (
    Config,
    NamedModel,
    ProviderConfig,
    Target,
    resolve,
    resolve_listing,
    split_model,
)
from brainwires_provider.transports.base import Wire
from brainwires_provider.types import (
    ChatParams,
    EmbeddingArgs,
    Embeddings,
    EmbeddingTask,
    Message,
    Model,
    Options,
    PreparedRequest,
    Request,
    Response,
    Timeouts,
    TokenCount,
)
from brainwires_provider.types.options import merge_options

if TYPE_CHECKING:
    from ssl import SSLContext

    from brainwires_provider.resources.local import AsyncLocal
    from brainwires_provider.resources.ollama import AsyncOllama
    from brainwires_provider.resources.responses import AsyncResponses
    from brainwires_provider.sockets.pool import Pool
    from brainwires_provider.sockets.registry import Sockets

__all__ = ["AsyncClient", "AsyncConversation"]

_MODELS_KNOWN = 100


class AsyncClient:
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    `model` is the default, `"provider:model"`. `api_key`, `base_url` and `headers` belong to the provider of `model`
    and go to no other; `providers` sets up others, or the same in full, and `config` (see `load_config`) is a whole
    set-up, which the other arguments go before. `proxy` is a URL, `"env"` for what the environment says, or None.
    `max_event_bytes` limits one event, or one whole body, of an answer.

    Raises ConfigError for an unknown provider. One client serves many tasks; in another event loop it opens
    connections of its own.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: Key | None = None,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        providers: Iterable[ProviderConfig] = (),
        config: Config | None = None,
        options: Options | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 (a frozen value)
        strict: bool = False,
        proxy: str | Literal["env"] | None = "env",
        ssl_context: SSLContext | None = None,
        max_connections: int = 1000,
        max_event_bytes: int = DEFAULT_MAX_MESSAGE,
    ) -> None:
        setup = config or Config()
        self.max_event_bytes = max_event_bytes
        self._named = setup.models
        self._model = model or setup.model
        coded = {each.name: each for each in providers}
        self._coded = frozenset(coded)
        self._configs = {each.name: each for each in setup.providers} | coded
        self._own_provider(setup, model, api_key, base_url, headers)
        self._filed = setup.options
        self._options = merge_options(Options(strict=True), options) if strict else options
        self._timeouts = timeouts
        if self._filed is not None and self._filed.timeouts is not None and timeouts == Timeouts():
            self._timeouts = self._filed.timeouts
        elif config is not None and timeouts != Timeouts():
            self._options = merge_options(Options(timeouts=timeouts), self._options)
        self._transport: dict[str, Any] = {
            "proxy": proxy,
            "ssl_context": ssl_context,
            "max_connections": max_connections,
        }
        self._targets: dict[str, Target] = {}
        self._wires: dict[str, Wire] = {}
        self._sockets: Sockets | None = None
        self._closed = False

    def _own_provider(
        self,
        setup: Config,
        model: str | None,
        api_key: Key | None,
        base_url: str | None,
        headers: Mapping[str, str] | None,
    ) -> None:
        """Bind the three to the provider of `model`, and never to one that only the set-up names."""
        if self._model is not None:
            self._own_name("of api_key, base_url and headers")
        if api_key is None and base_url is None and headers is None:
            return
        if model is None:
            raise ConfigError(
                "api_key, base_url and headers belong to the provider of `model`: name a model, or use "
                "providers=[ProviderConfig(…)]"
            )
        provider = split_model(self._spelt_out(model))[0]
        known = self._configs.get(provider) or ProviderConfig(provider)
        if provider not in self._coded and base_url is None:
            setup.check_key(provider)
        if provider not in self._coded and base_url not in (None, known.base_url):
            known = replace(known, api_key=None, headers={})  # the set-up's stay with its own base URL
        self._configs[provider] = replace(
            known,
            api_key=known.api_key if api_key is None else api_key,
            base_url=known.base_url if base_url is None else base_url,
            headers={**known.headers, **(headers or {})},
        )

    # -- calls -------------------------------------------------------------------------------------------

    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One whole answer. Raises every ProviderError."""
        return await flow.chat(self._plan(input, args, stream=False), self)

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> AsyncStream:
        """An answer as it comes. Nothing is sent before the stream is entered or iterated."""
        return AsyncStream(self._plan(input, args, stream=True), self)

    def prepare(self, input: Input, *, stream: bool = False, **args: Unpack[ChatParams]) -> PreparedRequest:
        """The exact request, secrets redacted, nothing sent. Raises ConfigError, UnsupportedError."""
        return plans.prepare(self._plan(input, args, stream=stream))

    async def count_tokens(self, input: Input, **args: Unpack[ChatParams]) -> TokenCount:
        """How many tokens the request would take in. Raises UnsupportedError where the provider cannot count."""
        target, request = self._request(input, args)
        call = target.protocol.count_call(request, target.origin)
        counting = plans.plan_call(call, request, target, timeouts=self._timeouts)
        return target.protocol.decode_count(await flow.fetch(counting, self))

    async def models(self, provider: str | None = None) -> list[Model]:
        """Every model that a provider lists, all pages; by default the provider of the client's model."""
        from brainwires_provider.resources.models import list_models

        return await list_models(self, provider or self._own_name("whose models to list"))

    async def max_output_tokens(self, model: str | None = None) -> int | None:
        """The longest answer of a model, in tokens, as its provider says; None where it does not."""
        from brainwires_provider.resources.models import max_output_tokens

        return await max_output_tokens(self, self._whole_name(model))

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
        return await embed(
            self, [texts] if isinstance(texts, str) else list(texts), self._whole_name(model), asked
        )

    def conversation(
        self, *, messages: Iterable[Message] = (), **args: Unpack[ChatParams]
    ) -> AsyncConversation:
        """A history that grows with each turn that ends well. `args` hold for every turn."""
        return AsyncConversation(self, messages, args)

    @property
    def responses(self) -> AsyncResponses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        from brainwires_provider.resources.responses import AsyncResponses

        return AsyncResponses(self)

    @property
    def ollama(self) -> AsyncOllama:
        """What an Ollama server does besides chatting: its models listed, pulled, loaded, …, and embeddings."""
        from brainwires_provider.resources.ollama import AsyncOllama

        return AsyncOllama(self)

    @property
    def local(self) -> AsyncLocal:
        """What a model on this machine does besides chatting: loaded and unloaded, plain completion, routing."""
        from brainwires_provider.resources.local import AsyncLocal

        return AsyncLocal(self)

    # -- the road ----------------------------------------------------------------------------------------

    def _whole_name(self, model: str | None) -> str:
        """The `"provider:model"` that a call without a request is for."""
        model = model or self._model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        return self._spelt_out(model)

    def _request(self, input: Input, args: ChatParams, *, empty: bool = False) -> tuple[Target, Request]:
        model = args.get("model") or getattr(input, "model", None) or self._model
        if model is None:
            raise ConfigError('name a model: model="provider:model", here or when the client is made')
        named = self._named.get(model)
        target = self._target(model if named is None else named.model)
        defaults = self._defaults(target, named)
        return target, build_request(input, args, model=target.model, defaults=defaults, empty=empty)

    def _defaults(self, target: Target, named: NamedModel | None) -> Options | None:
        """What holds unless the call says otherwise: the code's over the file's, in each the closer over the wider."""
        own, by_name = target.options, None if named is None else named.options
        if own is None and by_name is None and self._filed is None:
            return self._options
        if target.provider in self._coded:
            return merge_options(self._filed, by_name, self._options, own)
        return merge_options(self._filed, own, by_name, self._options)

    def _target(self, model: str) -> Target:
        """`resolve`, anew only when the environment says otherwise than it did."""
        target = self._targets.get(model)
        if target is None or not target.is_current():
            target = resolve(model, self._configs)
            if len(self._targets) < _MODELS_KNOWN:
                self._targets[model] = target
        return target

    def _own_name(self, why: str) -> str:
        """The provider of the client's model."""
        if self._model is None:
            raise ConfigError(f"name the provider {why}")
        return split_model(self._spelt_out(self._model))[0]

    def _spelt_out(self, model: str) -> str:
        """`"provider:model"` of a name that the set-up gives a meaning to."""
        named = self._named.get(model)
        return model if named is None else named.model

    def _place(self, provider: str | None) -> Target:
        """A provider without a request: as for the client's own model, where it is that model's provider."""
        provider = provider or self._own_name("to ask")
        own = self._model and self._spelt_out(self._model)
        if own and split_model(own)[0] == provider:
            return resolve(own, self._configs)
        return resolve_listing(provider, self._configs)

    def _plan(self, input: Input, args: ChatParams, *, stream: bool, fork: bool = False) -> plans.Plan:
        if self._closed:
            raise ConfigError("this client is closed; make a new one")
        target, request = self._request(input, args)
        planned = plans.plan(request, target, stream=stream, timeouts=self._timeouts)
        return replace(planned, fork=True) if fork else planned

    def flight(self, plan: plans.Plan, decoder: Decoder | None = None) -> flow.Flight:
        """A plan under way: over HTTP, or over a socket where the row has one."""
        if decoder is None and plan.by_socket:
            from brainwires_provider.sockets.flight import SocketFlight

            return SocketFlight(plan, self)
        return flow.Flight(plan, self, decoder)

    def pool(self, plan: plans.Plan) -> Pool:
        """The sockets that a plan's request goes over."""
        if self._closed:
            raise ConfigError("this client is closed; make a new one")
        return self.sockets.pool(plan)

    @property
    def sockets(self) -> Sockets:
        """This client's WebSockets, made when first asked for."""
        if self._sockets is None:
            from brainwires_provider.sockets.registry import Sockets

            transport = {k: v for k, v in self._transport.items() if k != "max_connections"}
            self._sockets = Sockets(**transport, max_event_bytes=self.max_event_bytes)
        return self._sockets

    async def wire(self, target: Target) -> Wire:
        """The wire that reaches a target by HTTP, made at the first request."""
        if self._closed:
            raise ConfigError("this client is closed; make a new one")
        kind = "local" if target.row.wire == "local" else "http"
        name = kind if kind == "http" else f"{kind}:{target.provider}:{target.model}:{target.local!r}"
        wire = self._wires.get(name)
        if wire is None:
            # The HTTP engine takes a tenth of a second to import: not on the loop.
            import asyncio

            place = "local.transport" if kind == "local" else "transports.http"
            module = await asyncio.to_thread(importlib.import_module, f"brainwires_provider.{place}")
            wire = self._wires.get(name) or module.make_wire(target.model, target.local, **self._transport)
            self._wires[name] = wire
        return wire

    # -- closing -----------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close the connections. What is under way ends with a typed error; later calls raise ConfigError."""
        self._closed = True
        if self._sockets is not None:
            await self._sockets.aclose()
        for wire in list(self._wires.values()):
            await wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def start_afresh(self) -> tuple[object, ...]:
        """In a forked child: forget the parent's wires, and give them, to be kept and never closed."""
        inherited = self._wires, self._sockets
        self._wires, self._sockets = {}, None
        return inherited

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r})"


class AsyncConversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, client: AsyncClient, messages: Iterable[Message], args: ChatParams) -> None:
        check_args(args)
        self.messages: list[Message] = list(messages)
        self._client = client
        self._args = args
        self._is_fork = False

    def _take_plan(self, said: tuple[Message, ...], args: ChatParams, *, stream: bool) -> plans.Plan:
        """The next turn. A fork's first leaves what it goes on from for the others."""
        fork, self._is_fork = self._is_fork, False
        return self._client._plan(
            [*self.messages, *said], stored_args(self._args, args), stream=stream, fork=fork
        )

    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One turn: what is said and the whole answer join `messages`."""
        said = messages_of(input)
        response = await flow.chat(self._take_plan(said, args, stream=False), self._client)
        self.messages += [*said, response.message]
        return response

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> AsyncStream:
        """One turn as it comes; it joins `messages` once it has come to its end."""
        said = messages_of(input)

        def remember(response: Response) -> None:
            self.messages += [*said, response.message]

        stream = self.begin_turn(said, args)
        stream.when_whole(remember)
        return stream

    def begin_turn(self, said: tuple[Message, ...], args: ChatParams) -> AsyncStream:
        """`stream`, of which nothing is remembered."""
        return AsyncStream(self._take_plan(said, args, stream=True), self._client)

    def fork(self) -> AsyncConversation:
        """A conversation of its own with the same beginning."""
        other = AsyncConversation(self._client, self.messages, self._args)
        self._is_fork = other._is_fork = True  # whichever goes on first leaves the other what it goes on from
        return other
