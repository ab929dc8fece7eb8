"""The management of models: listing, showing, pulling, pushing, creating, copying, deleting, loading, embedding.

Each operation is a pair of pure functions, one that makes the call and one that reads its answer. Names are Ollama's
own (`llama3.2:3b`); they stand in bodies, never in paths. The lines of a pull, push or creation are read by
`progress`. Reference: the API reference, from "List models" to "Get version".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainwires_provider.errors import ConfigError, ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import able
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.ollama.errors import error_in_line
from brainwires_provider.protocols.ollama.messages import HistoryEncoder
from brainwires_provider.protocols.ollama.request import NDJSON
from brainwires_provider.protocols.ollama.values import (
    OllamaEmbeddings,
    OllamaLoad,
    OllamaModel,
    OllamaModelInfo,
    OllamaRunningModel,
    embeddings_of,
    info_of,
    load_of,
    model_of,
    running_of,
)
from brainwires_provider.types import Message, Model, Origin

__all__ = [
    "copy_call",
    "create_call",
    "decode_embeddings",
    "decode_info",
    "decode_list",
    "decode_load",
    "decode_models",
    "decode_running",
    "decode_version",
    "delete_call",
    "embed_call",
    "list_call",
    "load_call",
    "ps_call",
    "pull_call",
    "push_call",
    "show_call",
    "unload_call",
    "version_call",
]

_NOBODY = Origin("ollama", "")


# -- calls ---------------------------------------------------------------------------------------------------


def _named(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f'a model is named as Ollama names it, for example "llama3.2:3b", not {name!r}')
    return name


def _set(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def list_call() -> Call:
    """`GET /api/tags`."""
    return Call("/api/tags", {}, method="GET")


def ps_call() -> Call:
    """`GET /api/ps`."""
    return Call("/api/ps", {}, method="GET")


def version_call() -> Call:
    """`GET /api/version`."""
    return Call("/api/version", {}, method="GET")


def show_call(name: str, verbose: bool | None = None) -> Call:
    """`POST /api/show`. Raises ConfigError for what is no name."""
    return Call("/api/show", {"model": _named(name), **_set(verbose=verbose)})


def copy_call(source: str, destination: str) -> Call:
    """`POST /api/copy`. Raises ConfigError for what is no name."""
    return Call("/api/copy", {"source": _named(source), "destination": _named(destination)})


def delete_call(name: str) -> Call:
    """`DELETE /api/delete`. Raises ConfigError for what is no name."""
    return Call("/api/delete", {"model": _named(name)}, method="DELETE")


def pull_call(name: str, insecure: bool | None = None) -> Call:
    """`POST /api/pull`, streamed. Raises ConfigError for what is no name."""
    return _streamed("/api/pull", {"model": _named(name), **_set(insecure=insecure)})


def push_call(name: str, insecure: bool | None = None) -> Call:
    """`POST /api/push`, streamed. Raises ConfigError for what is no name."""
    return _streamed("/api/push", {"model": _named(name), **_set(insecure=insecure)})


def create_call(
    name: str, messages: Sequence[Message], origin: Origin, *, base: str | None, **fields: Any
) -> Call:
    """`POST /api/create`, streamed. `base` is the wire's `from`, for which Python has another use.

    Raises ConfigError for what is no name, UnsupportedError for messages that Ollama cannot say.
    """
    body = {"model": _named(name), **_set(**{"from": base}, **fields)}
    if messages:
        body["messages"] = HistoryEncoder(origin, []).encode(messages)
    return _streamed("/api/create", body)


def _streamed(path: str, body: dict[str, Any]) -> Call:
    return Call(path, {**body, "stream": True}, headers=NDJSON)


def embed_call(
    name: str,
    inputs: str | Sequence[str],
    *,
    truncate: bool | None = None,
    dimensions: int | None = None,
    options: Mapping[str, Any] | None = None,
    keep_alive: str | float | None = None,
) -> Call:
    """`POST /api/embed`. Raises ConfigError for what is no name."""
    told = _set(truncate=truncate, dimensions=dimensions, options=options, keep_alive=keep_alive)
    texts = inputs if isinstance(inputs, str) else list(inputs)
    return Call("/api/embed", {"model": _named(name), "input": texts, **told})


def load_call(name: str, keep_alive: str | float | None, options: Mapping[str, Any] | None) -> Call:
    """`POST /api/generate` without a prompt. Raises ConfigError for what is no name."""
    told = _set(keep_alive=keep_alive, options=options)
    return Call("/api/generate", {"model": _named(name), **told, "stream": False})


def unload_call(name: str) -> Call:
    """`POST /api/generate` without a prompt, to be kept for no time. Raises ConfigError for what is no name."""
    return load_call(name, 0, None)


# -- answers -------------------------------------------------------------------------------------------------


def _object(body: bytes, what: str) -> dict[str, Any]:
    return object_in(body, what, lambda value: error_in_line(value, None, _NOBODY))


def _entries(body: bytes, what: str) -> list[dict[str, Any]]:
    """The entries under `models`; none, where the server says null. Raises ProtocolError."""
    value = _object(body, what)
    entries = value.get("models")
    if entries is None and "models" in value:
        entries = []
    if not isinstance(entries, list):
        raise ProtocolError(f"{what} has no models: {looks_like(body)}")
    return [entry for entry in entries if isinstance(entry, dict)]


def decode_list(body: bytes) -> tuple[OllamaModel, ...]:
    """Every model that the server holds. Raises ProtocolError."""
    return tuple(model_of(entry) for entry in _entries(body, "the list of models"))


def decode_running(body: bytes) -> tuple[OllamaRunningModel, ...]:
    """Every model in memory. Raises ProtocolError."""
    return tuple(running_of(entry) for entry in _entries(body, "the list of running models"))


def decode_models(body: bytes, provider: str) -> list[Model]:
    """The same list as `decode_list`, in the form that all providers have. Raises ProtocolError.

    It tells no limits: `client.ollama.show` does, of one model.
    """
    return [
        Model(
            id=model.name,
            provider=provider,
            display_name=_label(model),
            capabilities=None if model.capabilities is None else able(map(_ability, model.capabilities)),
            raw=model.raw,
        )
        for model in decode_list(body)
        if model.name
    ]


def _ability(word: str) -> str:
    """A model that completes is one that chats: `/api/chat` asks for no more."""
    return "chat" if word == "completion" else word


def _label(model: OllamaModel) -> str:
    told = ", ".join(filter(None, (model.details.parameter_size, model.details.quantization)))
    return f"{model.name} ({told})" if told else model.name


def decode_info(body: bytes, name: str) -> OllamaModelInfo:
    """Raises ProtocolError."""
    return info_of(_object(body, "the description of the model"), name)


def decode_embeddings(body: bytes, inputs: str | Sequence[str]) -> OllamaEmbeddings:
    """As many vectors as there were inputs. Raises ProtocolError."""
    asked = 1 if isinstance(inputs, str) else len(inputs)
    return embeddings_of(_object(body, "the answer"), asked, body)


def decode_load(body: bytes) -> OllamaLoad:
    """Raises ProtocolError where the server did not say that it is done."""
    value = _object(body, "the answer")
    if not value.get("done"):
        raise ProtocolError(f"the server does not say that it is done: {looks_like(body)}")
    return load_of(value)


def decode_version(body: bytes) -> str:
    """Raises ProtocolError."""
    version = _object(body, "the answer").get("version")
    if not isinstance(version, str):
        raise ProtocolError(f"the answer has no version: {looks_like(body)}")
    return version
