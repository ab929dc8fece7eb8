"""The synchronous face: the members of the asynchronous one, without async and await.

Nothing is written twice: every call runs the core's coroutine on the portal.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from brainwires_provider._core.plan import Input, messages_of
from brainwires_provider.auth.keys import Key
from brainwires_provider.client import AsyncClient, AsyncConversation
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.providers import Config, ProviderConfig
from brainwires_provider.sync.stream import Stream
from brainwires_provider.types import (
    ChatParams,
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

if TYPE_CHECKING:
    from ssl import SSLContext

    from brainwires_provider.sync.local import Local
    from brainwires_provider.sync.ollama import Ollama
    from brainwires_provider.sync.portal import Share
    from brainwires_provider.sync.responses import Responses

__all__ = ["Client", "Conversation"]


class Client:
    """Talks to any provider. Cheap to make: nothing is opened, read or imported before the first request.

    The arguments are those of `AsyncClient`. One client serves many threads; it works inside a running event loop
    too, which it blocks. All clients share one thread for the network, which ends when the last of them is closed.

    Every call can be interrupted: Ctrl-C raises KeyboardInterrupt at once, and drops the request. Called from an
    async callable of its own (such as a key's), it raises RuntimeError.
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
        self._core = AsyncClient(
            model,
            api_key=api_key,
            base_url=base_url,
            headers=headers,
            providers=providers,
            config=config,
            options=options,
            timeouts=timeouts,
            strict=strict,
            proxy=proxy,
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_event_bytes=max_event_bytes,
        )

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

    @property
    def max_event_bytes(self) -> int:
        """The limit of one event, or one whole body, of an answer."""
        return self._core.max_event_bytes

    def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One whole answer. Raises every ProviderError."""
        return self._share.call(lambda: self._core.chat(input, **args))

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> Stream:
        """An answer as it comes. Nothing is sent before the stream is entered or iterated."""
        try:
            return Stream(self._core.stream(input, **args), self)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    def prepare(self, input: Input, *, stream: bool = False, **args: Unpack[ChatParams]) -> PreparedRequest:
        """The exact request, secrets redacted, nothing sent. Raises what sending would, ConfigError and all."""
        try:
            return self._core.prepare(input, stream=stream, **args)
        except ProviderError as error:
            raise error.with_traceback(None) from None

    def count_tokens(self, input: Input, **args: Unpack[ChatParams]) -> TokenCount:
        """How many tokens the request would take in. Raises UnsupportedError where the provider cannot count."""
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

    def conversation(self, *, messages: Iterable[Message] = (), **args: Unpack[ChatParams]) -> Conversation:
        """A history that grows with each turn that ends well. `args` hold for every turn."""
        return Conversation(self, self._core.conversation(messages=messages, **args))

    @property
    def responses(self) -> Responses:
        """What the Responses API does besides answering: stored and background answers, compaction."""
        from brainwires_provider.sync.responses import Responses

        return Responses(self, self._core.responses)

    @property
    def ollama(self) -> Ollama:
        """What an Ollama server does besides chatting: its models listed, pulled, loaded, …, and embeddings."""
        from brainwires_provider.sync.ollama import Ollama

        return Ollama(self, self._core.ollama)

    @property
    def local(self) -> Local:
        """What a model on this machine does besides chatting: loaded and unloaded, plain completion, routing."""
        from brainwires_provider.sync.local import Local

        return Local(self, self._core.local)

    def close(self) -> None:
        """Close the connections. What is still under way ends with a typed error; later calls raise ConfigError."""
        self._share.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        share = self.__dict__.get("_made")  # None: nothing was ever asked
        if share is not None:
            share.abandon()

    def __repr__(self) -> str:
        return repr(self._core).removeprefix("Async")


class Conversation:
    """A history and the settings of its turns. `messages` change only when a turn has ended well."""

    def __init__(self, client: Client, core: AsyncConversation) -> None:
        self._client = client
        self._core = core

    @property
    def messages(self) -> list[Message]:
        """The history so far."""
        return self._core.messages

    @messages.setter
    def messages(self, messages: list[Message]) -> None:
        self._core.messages = messages

    def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One turn: what is said and the whole answer join `messages`."""
        return self._client._share.call(lambda: self._core.chat(input, **args))

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> Stream:
        """One turn as it comes; it joins `messages` once it has come to its end."""
        said = messages_of(input)

        def remember(response: Response) -> None:
            self.messages += [*said, response.message]

        try:
            stream = Stream(self._core.begin_turn(said, args), self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None
        stream._when_whole = remember
        return stream

    def fork(self) -> Conversation:
        """A conversation of its own with the same beginning."""
        return Conversation(self._client, self._core.fork())


def _end_portal() -> None:
    portal = sys.modules.get("brainwires_provider.sync.portal")
    if portal is not None:
        portal.exit_portal()


# Registered when this is imported, and not with the portal, so that it runs after most hooks of the program's own.
atexit.register(_end_portal)
