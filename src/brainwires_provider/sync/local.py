"""What a model on this machine does besides chatting, without async and await."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Unpack

from brainwires_provider._core.plan import Input
from brainwires_provider.resources.local import AsyncLocal, AsyncLocalPool
from brainwires_provider.sync.stream import Owner, Stream, made
from brainwires_provider.types import Embeddings, OutputParams, Response

if TYPE_CHECKING:
    from brainwires_provider.local.transport import EngineStatus
    from brainwires_provider.protocols.llamacpp import Route

__all__ = ["Local", "LocalPool"]


class Local:
    """Made by `Client.local`. `model` is a full name: "local:NAME" or "local:/path/to/model.gguf".

    The default is the client's model if it runs on this machine, else "local:". Every operation can raise every
    ProviderError: ConfigError for a model that does not exist or cannot be loaded, UnsupportedError for a provider
    that does not run llama.cpp.
    """

    def __init__(self, client: Owner, core: AsyncLocal) -> None:
        self._client = client
        self._core = core

    # -- written by tools/write_sync.py from AsyncLocal --

    def generate(
        self,
        prompt: str,
        *,
        grammar: str | None = None,
        logprobs: int | None = None,
        **args: Unpack[OutputParams],
    ) -> Response:
        """Continue a text without a chat template.

        `grammar` (GBNF), or a schema in `output`, constrains the response. `logprobs` is the number of most likely
        tokens per position to return in `extra["completion_probabilities"]`; timings are in `extra["timings"]`. The
        other arguments are those of `chat`; `LlamaCppOptions` has more. Server's README: "POST /completion".
        """
        return self._client._share.call(
            lambda: self._core.generate(prompt, grammar=grammar, logprobs=logprobs, **args)
        )

    def stream_generate(
        self,
        prompt: str,
        *,
        grammar: str | None = None,
        logprobs: int | None = None,
        **args: Unpack[OutputParams],
    ) -> Stream:
        """As `generate`, streamed. Nothing is sent before the stream is entered or iterated."""
        return Stream(
            made(lambda: self._core.stream_generate(prompt, grammar=grammar, logprobs=logprobs, **args)),
            self._client,
        )

    def route(
        self,
        text: str,
        labels: Sequence[str],
        *,
        model: str | None = None,
        instructions: str | None = None,
        examples: Sequence[tuple[str, str]] | None = None,
    ) -> Route:
        """Choose one of `labels` for a text, by constrained decoding: the result is always one of them.

        `instructions` is a question whose answer is the label ("What does the customer need?"), `examples` are texts
        with their labels; both make a small model more accurate. Raises ConfigError for an empty text, and for labels
        that are empty, have several lines or occur twice; UnsupportedError if the model's tokens do not distinguish
        the labels.
        """
        return self._client._share.call(
            lambda: self._core.route(text, labels, model=model, instructions=instructions, examples=examples)
        )

    def embed(self, texts: str | Iterable[str], *, model: str | None = None) -> Embeddings:
        """One vector per text.

        On this machine a second engine is started for this, unless the model has `LocalModel.pooling`. The pooling is
        the one declared in the file, else "mean".
        """
        return self._client._share.call(lambda: self._core.embed(texts, model=model))

    def load(self, model: str | None = None) -> None:
        """Load a model into memory. The first request does this too."""
        return self._client._share.call(lambda: self._core.load(model))

    def unload(self, model: str | None = None) -> bool:
        """Remove a model from memory, for all clients of this process; False if it was not loaded.

        Requests in flight have 30 seconds to end and then raise StreamInterrupted or ConnectError. The next request
        loads the model again.
        """
        return self._client._share.call(lambda: self._core.unload(model))

    def status(self, model: str | None = None) -> EngineStatus:
        """Whether a model is loaded, its requests in flight, and the memory of its engine."""
        return self._client._share.call(lambda: self._core.status(model))

    def pool(self, models: str | Iterable[str]) -> LocalPool:
        """Distribute requests over several models, each with one copy of its weights in memory.

        Raises ConfigError for an empty list, and for a model that occurs twice.
        """
        return LocalPool(self._client, made(lambda: self._core.pool(models)))

    # -- end of what is written --


class LocalPool:
    """Several models for the same work. Made by `Local.pool`.

    Each request goes to the model with the fewest requests in flight; models with equally many take turns. A model
    that cannot be loaded raises its error for the requests assigned to it. The pool needs no closing.
    """

    def __init__(self, client: Owner, core: AsyncLocalPool) -> None:
        self._client = client
        self._core = core

    # -- written by tools/write_sync.py from AsyncLocalPool --

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return self._core.models

    @property
    def in_flight(self) -> Mapping[str, int]:
        """The number of requests of each model. A stream counts from its creation until it has ended or is closed."""
        return self._core.in_flight

    def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response:
        """One response of the least busy model. The arguments are those of `Client.chat`, but `model`."""
        return self._client._share.call(lambda: self._core.chat(input, **args))

    def stream(self, input: Input, **args: Unpack[OutputParams]) -> Stream:
        """The streamed response of the least busy model. The arguments are those of `Client.stream`."""
        return Stream(made(lambda: self._core.stream(input, **args)), self._client)

    # -- end of what is written --
