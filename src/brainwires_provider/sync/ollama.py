"""What an Ollama server does besides chatting, without async and await."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from brainwires_provider._core.plan import Input
from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.ollama.operations import decode_progress
from brainwires_provider.resources.ollama import AsyncOllama
from brainwires_provider.sync.stream import Owner, Stream, made
from brainwires_provider.types import Message, OutputParams, Timeouts
from brainwires_provider.types.ollama import OllamaProgress

if TYPE_CHECKING:
    from brainwires_provider.types.ollama import (
        OllamaEmbeddings,
        OllamaLoad,
        OllamaModel,
        OllamaModelInfo,
        OllamaRunningModel,
    )

__all__ = ["Ollama", "OllamaProgressStream"]


class Ollama:
    """Made by `Client.ollama`. Models are named as Ollama names them: "llama3.2:3b".

    `provider` is that of the client's model where it speaks Ollama's API, else "ollama", unless it is named. Every
    operation raises every ProviderError: NotFoundError for a model that the server does not hold, ConnectError where
    no server runs, and UnsupportedError where the provider speaks another protocol.
    """

    def __init__(self, client: Owner, core: AsyncOllama) -> None:
        self._client = client
        self._core = core

    # -- written by tools/write_sync.py from AsyncOllama --

    def list(self, *, provider: str | None = None) -> tuple[OllamaModel, ...]:
        """Every model that the server holds. API reference: "List models"."""
        return self._client._share.call(lambda: self._core.list(provider=provider))

    def show(
        self, model: str, *, verbose: bool | None = None, provider: str | None = None
    ) -> OllamaModelInfo:
        """All about one model; `verbose` adds the large fields. API reference: "Show model details"."""
        return self._client._share.call(lambda: self._core.show(model, verbose=verbose, provider=provider))

    def ps(self, *, provider: str | None = None) -> tuple[OllamaRunningModel, ...]:
        """Every model in memory. API reference: "List running models"."""
        return self._client._share.call(lambda: self._core.ps(provider=provider))

    def version(self, *, provider: str | None = None) -> str:
        """The server's version. API reference: "Get version"."""
        return self._client._share.call(lambda: self._core.version(provider=provider))

    def pull(
        self,
        model: str,
        *,
        insecure: bool | None = None,
        timeouts: Timeouts | None = None,
        provider: str | None = None,
    ) -> OllamaProgressStream:
        """Fetch a model from the library. Nothing happens before the stream is entered or iterated.

        Checking a large model can take minutes without a word: `timeouts` may give it more than the client's own.
        API reference: "Pull a model".
        """
        return OllamaProgressStream(
            Stream(
                made(
                    lambda: self._core.pull(model, insecure=insecure, timeouts=timeouts, provider=provider)
                )._stream,
                self._client,
            )
        )

    def push(
        self,
        model: str,
        *,
        insecure: bool | None = None,
        timeouts: Timeouts | None = None,
        provider: str | None = None,
    ) -> OllamaProgressStream:
        """Upload a model to a library, under your own namespace. As `pull`. API reference: "Push a model"."""
        return OllamaProgressStream(
            Stream(
                made(
                    lambda: self._core.push(model, insecure=insecure, timeouts=timeouts, provider=provider)
                )._stream,
                self._client,
            )
        )

    def create(
        self,
        model: str,
        *,
        from_: str | None = None,
        files: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        template: str | None = None,
        license: str | Sequence[str] | None = None,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        messages: Sequence[Message] = (),
        quantize: str | None = None,
        renderer: str | None = None,
        parser: str | None = None,
        timeouts: Timeouts | None = None,
        provider: str | None = None,
    ) -> OllamaProgressStream:
        """Make a model of another, or of files that the server has as blobs, by name and digest. As `pull`.

        `messages` begin every conversation with it. `renderer` and `parser` name code of the server's that takes the
        place of a template: to write prompts, and to read tool calls and thinking. API reference: "Create a model".
        """
        return OllamaProgressStream(
            Stream(
                made(
                    lambda: self._core.create(
                        model,
                        from_=from_,
                        files=files,
                        adapters=adapters,
                        template=template,
                        license=license,
                        system=system,
                        parameters=parameters,
                        messages=messages,
                        quantize=quantize,
                        renderer=renderer,
                        parser=parser,
                        timeouts=timeouts,
                        provider=provider,
                    )
                )._stream,
                self._client,
            )
        )

    def copy(self, source: str, destination: str, *, provider: str | None = None) -> None:
        """Give a model a second name. API reference: "Copy a model"."""
        return self._client._share.call(lambda: self._core.copy(source, destination, provider=provider))

    def delete(self, model: str, *, provider: str | None = None) -> None:
        """Delete a model, and its data unless another shares it. API reference: "Delete a model"."""
        return self._client._share.call(lambda: self._core.delete(model, provider=provider))

    def load(
        self,
        model: str | None = None,
        *,
        keep_alive: str | float | None = None,
        options: Mapping[str, Any] | None = None,
        provider: str | None = None,
    ) -> OllamaLoad:
        """Load a model (default: the client's own) into memory. A model that only embeds is loaded by `embed`.

        `keep_alive` is how long it stays when idle: "10m", seconds, or -1 for ever; `options` (num_ctx, …) must be
        those of the requests to come, or these load it anew. API reference: "Generate a response".
        """
        return self._client._share.call(
            lambda: self._core.load(model, keep_alive=keep_alive, options=options, provider=provider)
        )

    def unload(self, model: str | None = None, *, provider: str | None = None) -> OllamaLoad:
        """Take a model (default: the client's own) out of memory. API reference: "Generate a response"."""
        return self._client._share.call(lambda: self._core.unload(model, provider=provider))

    def embed(
        self,
        input: str | Sequence[str],
        *,
        model: str | None = None,
        truncate: bool | None = None,
        dimensions: int | None = None,
        options: Mapping[str, Any] | None = None,
        keep_alive: str | float | None = None,
        provider: str | None = None,
    ) -> OllamaEmbeddings:
        """One vector for each text. With truncate=False a text that is too long is refused, not cut.

        API reference: "Generate embeddings".
        """
        return self._client._share.call(
            lambda: self._core.embed(
                input,
                model=model,
                truncate=truncate,
                dimensions=dimensions,
                options=options,
                keep_alive=keep_alive,
                provider=provider,
            )
        )

    def generate(self, input: Input = "", *, stream: bool = True, **args: Unpack[OutputParams]) -> Stream:
        """Complete one prompt, without turns or tools: the same events, and `collect` for the whole answer.

        The arguments are those of `stream`, `model` with its provider; `OllamaOptions` has `raw`, `template`, `suffix`
        and more. With stream=False the server is asked for one body. Nothing is sent before it is entered or iterated.
        API reference: "Generate a response".
        """
        return Stream(made(lambda: self._core.generate(input, stream=stream, **args)), self._client)

    # -- end of what is written --


class OllamaProgressStream(Iterator[OllamaProgress]):
    """How far a pull, push or creation has come, step by step. Made by `Ollama.pull`, `push` and `create`.

    It has one consumer. Nothing happens before it is entered or iterated. It ends once the server says success; an
    operation that fails raises every ProviderError, and StreamInterrupted where the server just stopped. Leaving it
    early stops the operation, and a pull that is asked for again goes on where it was.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        """Send the request, and wait for the first step."""
        self._stream.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> OllamaProgress:
        for event in self._stream:
            if type(event) is OpaqueDelta:
                return decode_progress(event.data)
        raise StopIteration

    def finish(self) -> None:
        """Read on to the end. Raises as iterating does."""
        self._stream.collect()

    def close(self) -> None:
        """Leave; what has not come to its end is stopped."""
        self._stream.close()
