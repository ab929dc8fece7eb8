"""The asynchronous client: the public interface, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from msgspec.structs import replace

from brainwires_provider._core.plan import Input, Plan, check_args, messages_of, prepare, stored_args
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.auth.keys import Key
from brainwires_provider.errors import ConfigError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.providers import Config, ProviderConfig, split_model
from brainwires_provider.types import (
    ChatParams,
    EmbeddingArgs,
    Embeddings,
    EmbeddingTask,
    Message,
    Model,
    Options,
    PreparedRequest,
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

__all__ = ["AsyncClient", "AsyncConversation"]


class AsyncClient:
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    `model` is the default, `"provider:model"`. `api_key`, `base_url` and `headers` belong to the provider of `model`
    and go to no other; `providers` sets up others, or the same in full, and `config` (see `load_config`) is a whole
    configuration, over which the other arguments take precedence. `proxy` is a URL, `"env"` (the environment's), or
    None.
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
        coded = {each.name: each for each in providers}
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
            max_event_bytes=max_event_bytes,
        )
        self._own_provider(setup, coded, model=model, api_key=api_key, base_url=base_url, headers=headers)

    def _own_provider(
        self,
        setup: Config,
        coded: Mapping[str, ProviderConfig],
        *,
        model: str | None,
        api_key: Key | None,
        base_url: str | None,
        headers: Mapping[str, str] | None,
    ) -> None:
        """Bind the three to the provider of `model`, and never to one that only the configuration names."""
        session = self._session
        if session.model is not None:
            session.own_provider("of api_key, base_url and headers")
        if api_key is None and base_url is None and headers is None:
            return
        if model is None:
            raise ConfigError(
                "api_key, base_url and headers belong to the provider of `model`: name a model, or use "
                "providers=[ProviderConfig(…)]"
            )
        provider = split_model(session.spelt_out(model))[0]
        known = session.configs.get(provider) or ProviderConfig(provider)
        if provider not in coded and base_url is None:
            setup.check_key(provider)
        if provider not in coded and base_url not in (None, known.base_url):
            known = replace(known, api_key=None, headers={})  # the configuration's stay with its own base URL
        session.configs[provider] = replace(
            known,
            api_key=known.api_key if api_key is None else api_key,
            base_url=known.base_url if base_url is None else base_url,
            headers={**known.headers, **(headers or {})},
        )

    @property
    def max_event_bytes(self) -> int:
        """The limit of one event, or one whole body, of an answer."""
        return self._session.max_event_bytes

    # -- calls -------------------------------------------------------------------------------------------

    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One whole answer. Raises every ProviderError."""
        return await self._session.chat(self._session.plan(input, args, stream=False))

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> AsyncStream:
        """An answer as it comes. Nothing is sent before the stream is entered or iterated."""
        return AsyncStream(self._session.plan(input, args, stream=True), self._session)

    def prepare(self, input: Input, *, stream: bool = False, **args: Unpack[ChatParams]) -> PreparedRequest:
        """The exact request, secrets redacted, nothing sent. Raises ConfigError, UnsupportedError."""
        return prepare(self._session.plan(input, args, stream=stream))

    async def count_tokens(self, input: Input, **args: Unpack[ChatParams]) -> TokenCount:
        """How many tokens the request would take in. Raises UnsupportedError where the provider cannot count."""
        session = self._session
        target, request = session.request(input, args)
        call = target.protocol.count_call(request, target.origin)
        return await session.fetch(
            session.plan_call(call, target, request=request), target.protocol.decode_count
        )

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
        self, *, messages: Iterable[Message] = (), **args: Unpack[ChatParams]
    ) -> AsyncConversation:
        """A history that grows with each turn that ends well. `args` hold for every turn."""
        return AsyncConversation(self._session, messages, args)

    @property
    def responses(self) -> AsyncResponses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        from brainwires_provider.resources.responses import AsyncResponses

        return AsyncResponses(self._session)

    @property
    def ollama(self) -> AsyncOllama:
        """What an Ollama server does besides chatting: its models listed, pulled, loaded, …, and embeddings."""
        from brainwires_provider.resources.ollama import AsyncOllama

        return AsyncOllama(self._session)

    @property
    def local(self) -> AsyncLocal:
        """What a model on this machine does besides chatting: loaded and unloaded, plain completion, routing."""
        from brainwires_provider.resources.local import AsyncLocal

        return AsyncLocal(self._session)

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

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._session.model!r})"


class AsyncConversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, session: Session, messages: Iterable[Message], args: ChatParams) -> None:
        check_args(args)
        self.messages: list[Message] = list(messages)
        self._session = session
        self._args = args
        self._is_fork = False

    def _take_plan(self, said: tuple[Message, ...], args: ChatParams, *, stream: bool) -> Plan:
        """The next turn. A fork's first leaves what it goes on from for the others."""
        fork, self._is_fork = self._is_fork, False
        return self._session.plan(
            [*self.messages, *said], stored_args(self._args, args), stream=stream, fork=fork
        )

    async def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One turn: what is said and the whole answer join `messages`."""
        said = messages_of(input)
        response = await self._session.chat(self._take_plan(said, args, stream=False))
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
        return AsyncStream(self._take_plan(said, args, stream=True), self._session)

    def fork(self) -> AsyncConversation:
        """A conversation of its own with the same beginning."""
        other = AsyncConversation(self._session, self.messages, self._args)
        self._is_fork = other._is_fork = True  # whichever goes on first leaves the other what it goes on from
        return other
