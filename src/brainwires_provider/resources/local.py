"""Operations of models on this machine besides chat (`client.local`).

They complete a prompt, choose among labels, embed texts, load and unload a model, and distribute requests over several
models. All but loading use llama.cpp's native API, and so can be sent to a llama.cpp server elsewhere. Reference: the
README of llama.cpp's server.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast
from weakref import WeakKeyDictionary, WeakSet

from msgspec import UNSET
from msgspec.structs import replace

from brainwires_provider._core.locks import Locked
from brainwires_provider._core.plan import Input, Plan, plan
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream
from brainwires_provider.errors import ConfigError, UnsupportedError
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.llamacpp import LlamaCpp, LlamaCppOptions, Route
from brainwires_provider.protocols.llamacpp.operations import Ask, Choosing, Prior, question_of
from brainwires_provider.providers import Target, is_loopback
from brainwires_provider.resources.embeddings import embed
from brainwires_provider.types import (
    EmbeddingArgs,
    Embeddings,
    Origin,
    OutputParams,
    ProviderOptions,
    Response,
)
from brainwires_provider.types.checked import checks_calls

if TYPE_CHECKING:
    from brainwires_provider.local.transport import EngineStatus, LocalTransport

__all__ = ["AsyncLocal", "AsyncLocalPool"]

T = TypeVar("T")

_DEFAULT = "local:"
_PRIORS_KEPT = 64
_SUBJECT = "base_url: does llama.cpp's own server answer there, and in a version with this call?"


# For each client, the prior probabilities of labels without a text: half of the cost of a routing, and constant.
_priors: WeakKeyDictionary[Session, dict[tuple[object, ...], Prior]] = WeakKeyDictionary()


@checks_calls
class AsyncLocal:
    """Made by `AsyncClient.local`. `model` is a full name: "local:NAME" or "local:/path/to/model.gguf".

    The default is the client's model if it runs on this machine, else "local:". Every operation can raise every
    ProviderError: ConfigError for a model that does not exist or cannot be loaded, UnsupportedError for a provider
    that does not run llama.cpp.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # -- generate, route, embed -----------------------------------------------------------------------

    async def generate(
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
        return await self._session.chat(self._completion(prompt, grammar, logprobs, args, stream=False))

    def stream_generate(
        self,
        prompt: str,
        *,
        grammar: str | None = None,
        logprobs: int | None = None,
        **args: Unpack[OutputParams],
    ) -> AsyncStream:
        """As `generate`, streamed. Nothing is sent before the stream is entered or iterated."""
        return AsyncStream(self._completion(prompt, grammar, logprobs, args, stream=True), self._session)

    async def route(
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
        if not text.strip():
            raise ConfigError("there is no text to choose a label for")
        target = self._native(model)
        question = question_of(labels, instructions, examples, target.model)
        known = _priors.setdefault(self._session, {})
        place = (target.provider, target.base_url, target.local, question)
        choosing = Choosing(question, known.get(place))
        label, probabilities = await self._drive(choosing.route(text), target)
        if choosing.prior is not None and len(known) < _PRIORS_KEPT:
            known[place] = choosing.prior
        return Route(label, probabilities, choosing.usage, target.provider, target.model or None)

    async def embed(self, texts: str | Iterable[str], *, model: str | None = None) -> Embeddings:
        """One vector per text.

        On this machine a second engine is started for this, unless the model has `LocalModel.pooling`. The pooling is
        the one declared in the file, else "mean".
        """
        name = self._name(model)
        _native(self._session.target(name))  # raises if it does not run llama.cpp
        return await embed(
            self._session, [texts] if isinstance(texts, str) else list(texts), name, EmbeddingArgs()
        )

    # -- memory ------------------------------------------------------------------------------------------

    async def load(self, model: str | None = None) -> None:
        """Load a model into memory. The first request does this too."""
        await (await self._wire(model)).load()

    async def unload(self, model: str | None = None) -> bool:
        """Remove a model from memory, for all clients of this process; False if it was not loaded.

        Requests in flight have 30 seconds to end and then raise StreamInterrupted or ConnectError. The next request
        loads the model again.
        """
        return await (await self._wire(model)).unload()

    async def status(self, model: str | None = None) -> EngineStatus:
        """Whether a model is loaded, its requests in flight, and the memory of its engine."""
        return await (await self._wire(model)).status()

    def pool(self, models: str | Iterable[str]) -> AsyncLocalPool:
        """Distribute requests over several models, each with one copy of its weights in memory.

        Raises ConfigError for an empty list, and for a model that occurs twice.
        """
        names = [models] if isinstance(models, str) else list(models)
        for name in names:
            self._native(name)
        return AsyncLocalPool(self._session, names)

    # -- targets and plans ---------------------------------------------------------------------------

    def _name(self, model: str | None) -> str:
        """The full name of the model."""
        self._session.check_open()
        own = model or self._session.model
        if own is None:
            return _DEFAULT
        whole = self._session.spelt_out(own)
        return whole if model or _runs_llamacpp(self._session.target(whole)) else _DEFAULT

    def _native(self, model: str | None) -> Target:
        """The target of the native API of a model's server."""
        return _native(self._session.target(self._name(model)))

    def _completion(
        self, prompt: str, grammar: str | None, logprobs: int | None, args: OutputParams, *, stream: bool
    ) -> Plan:
        if grammar is not None or logprobs is not None:
            own = LlamaCppOptions(
                grammar=UNSET if grammar is None else grammar, n_probs=UNSET if logprobs is None else logprobs
            )
            given = args.get("provider_options") or ()
            args["provider_options"] = (given, own) if isinstance(given, ProviderOptions) else (*given, own)
        if args.get("model") in (None, ""):
            args["model"] = self._name(None)
        target, request = self._session.request(prompt, args)
        planned = plan(request, _native(target), stream=stream, timeouts=self._session.timeouts)
        return self._session.with_policies(replace(planned, subject=_SUBJECT), args)

    async def _ask(self, call: Call, read: Callable[[bytes], T], target: Target) -> T:
        return await self._session.fetch(self._session.plan_call(call, target, subject=_SUBJECT), read)

    async def _drive(self, steps: Generator[Ask, Any, T], target: Target) -> T:
        """Send the requests that `steps` yields, until it returns its result."""
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                return cast("T", done.value)
            answer = await self._ask(step.call, step.read, target)

    async def _wire(self, model: str | None) -> LocalTransport:
        target = self._session.target(self._name(model))
        if target.row.transport != "local":
            raise UnsupportedError(
                f"{target.provider} does not run in an engine of this process, so it cannot be loaded or unloaded "
                'and has no status; name a model that does: model="local:NAME"',
                provider=target.provider,
            )
        return cast("LocalTransport", await self._session.transport(target))


class AsyncLocalPool:
    """Several models for the same work. Made by `AsyncLocal.pool`.

    Each request goes to the model with the fewest requests in flight; models with equally many take turns. A model
    that cannot be loaded raises its error for the requests assigned to it. The pool needs no closing.
    """

    def __init__(self, session: Session, models: Sequence[str]) -> None:
        if not models:
            raise ConfigError("a pool needs at least one model")
        if len(set(models)) < len(models):
            raise ConfigError("a model is named twice; one copy of its weights serves many requests")
        self._session = session
        self._loads = _Loads(models)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models."""
        return self._loads.models

    @property
    def in_flight(self) -> Mapping[str, int]:
        """The number of requests of each model. A stream counts from its creation until it has ended or is closed."""
        return self._loads.now()

    async def chat(self, input: Input, **args: Unpack[OutputParams]) -> Response:
        """One response of the least busy model. The arguments are those of `AsyncClient.chat`, but `model`."""
        with self._taken(args) as model:
            args["model"] = model
            return await self._session.chat(self._session.plan(input, args, stream=False))

    def stream(self, input: Input, **args: Unpack[OutputParams]) -> AsyncStream:
        """The streamed response of the least busy model. The arguments are those of `AsyncClient.stream`."""
        with self._taken(args) as model:
            args["model"] = model
            stream = AsyncStream(self._session.plan(input, args, stream=True), self._session)
            self._loads.add(model, stream)
            return stream

    @contextmanager
    def _taken(self, args: OutputParams) -> Iterator[str]:
        """The least busy model, with the request counted until the end of the block."""
        if "model" in args:
            raise ConfigError("the pool chooses the model: call it without model=, or the client with it")
        model = self._loads.take()
        try:
            yield model
        finally:
            self._loads.give_back(model)


class _Loads(Locked):
    """How many requests each model of a pool has."""

    def __init__(self, models: Sequence[str]) -> None:
        super().__init__()
        self.models = tuple(models)
        self._chats = dict.fromkeys(models, 0)
        self._streams: dict[str, WeakSet[AsyncStream]] = {model: WeakSet() for model in models}
        self._turns = count()

    def now(self) -> dict[str, int]:
        """By model."""
        with self, self._lock:
            return self._counted()

    def take(self) -> str:
        """The model with the fewest, which has one more now."""
        with self, self._lock:
            loads, turn, models = self._counted(), next(self._turns), self.models
            turned = models[turn % len(models) :] + models[: turn % len(models)]
            model = min(turned, key=loads.__getitem__)
            self._chats[model] += 1
            return model

    def give_back(self, model: str) -> None:
        """A request has ended. From a finalizer, too."""
        self._note(model)

    def add(self, model: str, stream: AsyncStream) -> None:
        """A stream counts until it has ended."""
        with self, self._lock:
            self._streams[model].add(stream)

    def _end(self, model: str) -> None:
        self._chats[model] -= 1

    def _counted(self) -> dict[str, int]:
        return {
            model: chats + sum(not stream._sending.ended for stream in self._streams[model])
            for model, chats in self._chats.items()
        }


_NATIVE = LlamaCpp()


def _runs_llamacpp(target: Target) -> bool:
    """Whether the target is on this machine, or could be a llama.cpp server: only a request would show that."""
    row = target.row
    own = target.base_url != row.base_url or is_loopback(target.base_url)
    return row.transport == "local" or (
        row.transport == "http" and target.protocol.name == "openai_chat" and own
    )


def _native(target: Target) -> Target:
    """The same server with its native API. Raises UnsupportedError if it does not run llama.cpp."""
    if not _runs_llamacpp(target):
        raise UnsupportedError(
            f"{target.provider} does not run llama.cpp, which this operation needs; name a model on this machine, "
            'model="local:NAME", or a llama.cpp server: ProviderConfig("mine", based_on="openai-chat", base_url=…)',
            provider=target.provider,
        )
    return replace(
        target,
        protocol=_NATIVE,
        base_url=target.base_url.rstrip("/").removesuffix("/v1"),
        origin=Origin(LlamaCpp.name, target.provider, target.model),
    )
