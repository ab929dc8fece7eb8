"""What a model on this machine does besides chatting, without async and await."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from brainwires_provider._core.plan import Input
from brainwires_provider.errors import ProviderError
from brainwires_provider.resources.local import AsyncLocal, AsyncLocalPool
from brainwires_provider.sync.stream import Owner, Stream
from brainwires_provider.types import ChatParams, Embeddings, Response

if TYPE_CHECKING:
    from brainwires_provider.local.transport import EngineStatus
    from brainwires_provider.protocols.llamacpp import Route
    from brainwires_provider.sync.portal import Share

__all__ = ["Local", "LocalPool"]


class Local:
    """Made by `Client.local`. `model` is named in full, "local:NAME" or "local:/path/to/model.gguf".

    Without one it is the client's model where that runs on this machine, else "local:". Every operation raises every
    ProviderError: ConfigError for a model that is not there or cannot be loaded, and UnsupportedError for a provider
    that does not run llama.cpp.
    """

    def __init__(self, client: Owner, core: AsyncLocal) -> None:
        self._client = client
        self._core = core

    @property
    def _share(self) -> Share:
        return self._client._share

    def generate(
        self,
        prompt: str,
        *,
        grammar: str | None = None,
        logprobs: int | None = None,
        **args: Unpack[ChatParams],
    ) -> Response:
        """Go on with a text as it stands, without turns or a chat template.

        The answer is held to `grammar` (GBNF), or to a schema by `output`. With `logprobs` the likeliest so many
        tokens of each place are in `extra["completion_probabilities"]`; timings are in `extra["timings"]`. The other
        arguments are those of `chat`; `LlamaCppOptions` has the rest. Server's README: "POST /completion".
        """
        return self._share.call(
            lambda: self._core.generate(prompt, grammar=grammar, logprobs=logprobs, **args)
        )

    def stream_generate(
        self,
        prompt: str,
        *,
        grammar: str | None = None,
        logprobs: int | None = None,
        **args: Unpack[ChatParams],
    ) -> Stream:
        """As `generate`, as it comes. Nothing is sent before the stream is entered or iterated."""
        try:
            stream = self._core.stream_generate(prompt, grammar=grammar, logprobs=logprobs, **args)
        except ProviderError as error:
            raise error.with_traceback(None) from None
        return Stream(stream, self._client)

    def route(
        self,
        text: str,
        labels: Sequence[str],
        *,
        model: str | None = None,
        instructions: str | None = None,
        examples: Sequence[tuple[str, str]] | None = None,
    ) -> Route:
        """Choose one of `labels` for a text: always one of them, whatever the model.

        `instructions` is a question whose answer is the label ("What does the customer need?"), `examples` are texts
        with their labels; both make a small model better. Raises ConfigError for no text, and for labels that are no
        text on one line or are given twice; UnsupportedError where the model's tokens do not tell them apart.
        """
        return self._share.call(
            lambda: self._core.route(text, labels, model=model, instructions=instructions, examples=examples)
        )

    def embed(self, texts: str | Iterable[str], *, model: str | None = None) -> Embeddings:
        """One vector for each text.

        On this machine that takes an engine of its own, unless the model is run with `LocalModel.pooling` anyway: with
        the pooling that its file says, else "mean".
        """
        return self._share.call(lambda: self._core.embed(texts, model=model))

    def load(self, model: str | None = None) -> None:
        """Load a model into memory, which the first request would do too."""
        return self._share.call(lambda: self._core.load(model))

    def unload(self, model: str | None = None) -> bool:
        """Take a model out of memory, for every client of this process; the next request loads it again.

        What is under way ends with a typed error. False where it was not loaded.
        """
        return self._share.call(lambda: self._core.unload(model))

    def status(self, model: str | None = None) -> EngineStatus:
        """Whether a model is loaded, and what its engine takes."""
        return self._share.call(lambda: self._core.status(model))

    def pool(self, models: Iterable[str]) -> LocalPool:
        """Spread requests over several models, each with its weights in memory once.

        Raises ConfigError for no model, or one that is named twice.
        """
        try:
            return LocalPool(self._client, self._core.pool(models))
        except ProviderError as error:
            raise error.with_traceback(None) from None


class LocalPool:
    """Several models that do the same work. Made by `Local.pool`.

    Each request goes to the model that has the fewest under way, and among equals to the next in turn. A model that
    cannot be loaded raises its error for the requests that it was given. It opens nothing of its own, and needs no
    closing.
    """

    def __init__(self, client: Owner, core: AsyncLocalPool) -> None:
        self._client = client
        self._core = core

    @property
    def models(self) -> tuple[str, ...]:
        """The models, as they were named."""
        return self._core.models

    @property
    def under_way(self) -> Mapping[str, int]:
        """How many requests each model has; a stream counts from when it is made until it has ended or was left."""
        return self._core.under_way

    def chat(self, input: Input, **args: Unpack[ChatParams]) -> Response:
        """One whole answer of the least busy model. The arguments are those of `Client.chat`, but `model`."""
        return self._client._share.call(lambda: self._core.chat(input, **args))

    def stream(self, input: Input, **args: Unpack[ChatParams]) -> Stream:
        """An answer as it comes, of the least busy model. The arguments are those of `Client.stream`."""
        try:
            return Stream(self._core.stream(input, **args), self._client)
        except ProviderError as error:
            raise error.with_traceback(None) from None
