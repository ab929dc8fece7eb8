"""What an Ollama server does besides chatting, sent as every request is.

Its models are listed, shown, pulled, pushed, created, copied, deleted, loaded and unloaded, texts embedded, and a bare
prompt completed. Long operations report their progress line by line, and are read as streams.
Reference: the API reference, from "Generate a response" to "Get version".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from msgspec.structs import replace

from brainwires_provider._core.plan import Input, Plan, plan_encoded
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.events import OpaqueDelta
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.ollama import Ollama, models, operations
from brainwires_provider.providers import ProviderConfig, Target, find_row, split_model
from brainwires_provider.types import Message, OutputParams, Timeouts
from brainwires_provider.types.checked import checks_calls
from brainwires_provider.types.ollama import (
    OllamaEmbeddings,
    OllamaLoad,
    OllamaModel,
    OllamaModelInfo,
    OllamaProgress,
    OllamaRunningModel,
)

__all__ = ["AsyncOllama", "AsyncOllamaProgressStream"]

T = TypeVar("T")


@checks_calls
class AsyncOllama:
    """Made by `AsyncClient.ollama`. Models are named as Ollama names them: "llama3.2:3b".

    `provider` is that of the client's model where it speaks Ollama's API, else "ollama", unless it is named. Every
    operation raises every ProviderError: NotFoundError for a model that the server does not hold, ConnectError where
    no server runs, and UnsupportedError where the provider speaks another protocol.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- what there is -----------------------------------------------------------------------------------

    async def list(self, *, provider: str | None = None) -> tuple[OllamaModel, ...]:
        """Every model that the server holds. API reference: "List models"."""
        return await self._fetch(models.list_call(), models.decode_list, provider)

    async def show(
        self, model: str, *, verbose: bool | None = None, provider: str | None = None
    ) -> OllamaModelInfo:
        """All about one model; `verbose` adds the large fields. API reference: "Show model details"."""
        target = self._target(provider)
        name = _bare(model, target)
        call = operations.show_call(name, verbose)
        return await self._ask(call, partial(operations.decode_info, name=name), target, _held(name))

    async def ps(self, *, provider: str | None = None) -> tuple[OllamaRunningModel, ...]:
        """Every model in memory. API reference: "List running models"."""
        return await self._fetch(operations.ps_call(), operations.decode_running, provider)

    async def version(self, *, provider: str | None = None) -> str:
        """The server's version. API reference: "Get version"."""
        return await self._fetch(operations.version_call(), operations.decode_version, provider)

    # -- bringing, making, taking away -------------------------------------------------------------------

    def pull(
        self,
        model: str,
        *,
        insecure: bool | None = None,
        timeouts: Timeouts | None = None,
        provider: str | None = None,
    ) -> AsyncOllamaProgressStream:
        """Fetch a model from the library. Nothing happens before the stream is entered or iterated.

        Checking a large model can take minutes without a word: `timeouts` may give it more than the client's own.
        API reference: "Pull a model".
        """
        target = self._target(provider)
        call = operations.pull_call(_bare(model, target), insecure)
        return self._progress(call, target, timeouts, f"the name {model!r}: does the library have it?")

    def push(
        self,
        model: str,
        *,
        insecure: bool | None = None,
        timeouts: Timeouts | None = None,
        provider: str | None = None,
    ) -> AsyncOllamaProgressStream:
        """Upload a model to a library, under your own namespace. As `pull`. API reference: "Push a model"."""
        target = self._target(provider)
        call = operations.push_call(_bare(model, target), insecure)
        return self._progress(call, target, timeouts, _held(model))

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
    ) -> AsyncOllamaProgressStream:
        """Make a model of another, or of files that the server has as blobs, by name and digest. As `pull`.

        `messages` begin every conversation with it. `renderer` and `parser` name code of the server's that takes the
        place of a template: to write prompts, and to read tool calls and thinking. API reference: "Create a model".
        """
        target = self._target(provider)
        call = operations.create_call(
            _bare(model, target),
            messages,
            target.origin,
            base=from_,
            files=files,
            adapters=adapters,
            template=template,
            license=license,
            system=system,
            parameters=parameters,
            quantize=quantize,
            renderer=renderer,
            parser=parser,
        )
        return self._progress(call, target, timeouts, _held(from_ or model))

    async def copy(self, source: str, destination: str, *, provider: str | None = None) -> None:
        """Give a model a second name. API reference: "Copy a model"."""
        target = self._target(provider)
        call = operations.copy_call(_bare(source, target), _bare(destination, target))
        await self._ask(call, _nothing, target, _held(source))

    async def delete(self, model: str, *, provider: str | None = None) -> None:
        """Delete a model, and its data unless another shares it. API reference: "Delete a model"."""
        target = self._target(provider)
        await self._ask(operations.delete_call(_bare(model, target)), _nothing, target, _held(model))

    # -- memory ------------------------------------------------------------------------------------------

    async def load(
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
        target, name = self._named(model, provider)
        call = operations.load_call(name, keep_alive, options)
        return await self._ask(call, operations.decode_load, target, _held(name))

    async def unload(self, model: str | None = None, *, provider: str | None = None) -> OllamaLoad:
        """Take a model (default: the client's own) out of memory. API reference: "Generate a response"."""
        target, name = self._named(model, provider)
        return await self._ask(operations.unload_call(name), operations.decode_load, target, _held(name))

    # -- asking ------------------------------------------------------------------------------------------

    async def embed(
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
        target, name = self._named(model, provider)
        call = operations.embed_call(
            name,
            input,
            truncate=truncate,
            dimensions=dimensions,
            options=options,
            keep_alive=keep_alive,
        )
        read = partial(operations.decode_embeddings, inputs=input)
        return await self._ask(call, read, target, _held(name))

    def generate(
        self, input: Input = "", *, stream: bool = True, **args: Unpack[OutputParams]
    ) -> AsyncStream:
        """Complete one prompt, without turns or tools: the same events, and `collect` for the whole answer.

        The arguments are those of `stream`, `model` with its provider; `OllamaOptions` has `raw`, `template`, `suffix`
        and more. With stream=False the server is asked for one body. Nothing is sent before it is entered or iterated.
        API reference: "Generate a response".
        """
        self._session.check_open()
        target, request = self._session.request(input, args, empty=True)
        call = _speaks(target).encode_generate(request, target.origin, stream=stream, facts=target.facts)
        plan = plan_encoded(call, request, target, stream=stream, timeouts=self._session.timeouts)
        return AsyncStream(self._session.with_policies(plan, args), self._session)

    # -- the requests ------------------------------------------------------------------------------------

    def _target(self, provider: str | None) -> Target:
        """Where an operation goes. Raises ConfigError, and UnsupportedError where no Ollama is spoken."""
        session = self._session
        session.check_open()
        if provider is not None:
            target = session.place(provider)
            _speaks(target)
            return target
        own = None if session.model is None else split_model(session.model)[0]
        if own is not None:
            config = session.configs.get(own) or ProviderConfig(own)
            if isinstance(find_row(config.based_on or own).protocol(), Ollama):
                return session.place(own)
        return session.place("ollama")

    def _named(self, model: str | None, provider: str | None) -> tuple[Target, str]:
        target = self._target(provider)
        if model is not None:
            return target, _bare(model, target)
        own = self._session.model
        if own is None or not own.startswith(f"{target.provider}:"):
            raise ConfigError('name a model as Ollama names it, for example model="llama3.2:3b"')
        return target, target.model

    async def _fetch(self, call: Call, read: Callable[[bytes], T], provider: str | None) -> T:
        return await self._ask(call, read, self._target(provider), "base_url: is an Ollama server there?")

    async def _ask(self, call: Call, read: Callable[[bytes], T], target: Target, subject: str) -> T:
        return await self._session.fetch(self._plan(call, target, None, subject), read)

    def _plan(self, call: Call, target: Target, timeouts: Timeouts | None, subject: str) -> Plan:
        """A plan for a call; `subject` is what to check where it is answered with 404."""
        plan = self._session.plan_call(call, target, subject=subject)
        return plan if timeouts is None else replace(plan, timeouts=timeouts)

    def _progress(
        self, call: Call, target: Target, timeouts: Timeouts | None, subject: str
    ) -> AsyncOllamaProgressStream:
        plan = replace(self._plan(call, target, timeouts, subject), stream=True)
        decoder = operations.ProgressDecoder(target.origin)
        begin = Cut(decoder, None, (), target, plan.report, plan.timeouts, None, None)
        return AsyncOllamaProgressStream(AsyncStream(plan, self._session, begin))


class AsyncOllamaProgressStream(AsyncIterator[OllamaProgress]):
    """How far a pull, push or creation has come, step by step. Made by `AsyncOllama.pull`, `push` and `create`.

    It has one consumer. Nothing happens before it is entered or iterated. It ends once the server says success; an
    operation that fails raises every ProviderError, and StreamInterrupted where the server just stopped. Leaving it
    early stops the operation, and a pull that is asked for again goes on where it was.
    """

    def __init__(self, stream: AsyncStream) -> None:
        self._stream = stream

    async def __aenter__(self) -> Self:
        """Send the request, and wait for the first step."""
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> OllamaProgress:
        async for event in self._stream:
            if type(event) is OpaqueDelta:
                return operations.decode_progress(event.data)
        raise StopAsyncIteration

    async def finish(self) -> None:
        """Read on to the end. Raises as iterating does."""
        await self._stream.collect()

    async def aclose(self) -> None:
        """Leave; what has not come to its end is stopped."""
        await self._stream.aclose()


def _nothing(body: bytes) -> None:
    """A status of success says all there is to say."""


def _speaks(target: Target) -> Ollama:
    if not isinstance(target.protocol, Ollama):
        raise UnsupportedError(
            f"{target.provider} does not speak Ollama's API, which this is an operation of; name one that does: "
            'provider="ollama"',
            provider=target.provider,
        )
    return target.protocol


def _held(name: str) -> str:
    return f"the name {name!r}: client.ollama.list() has those that the server holds"


def _bare(model: str, target: Target) -> str:
    """The name without the provider, which Ollama does not know."""
    return model.removeprefix(f"{target.provider}:") if isinstance(model, str) else model
