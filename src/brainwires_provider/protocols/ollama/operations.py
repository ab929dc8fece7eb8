"""Managing an Ollama server's models: showing, pulling, pushing, creating, copying, deleting, loading, embedding.

Each operation is a pair of pure functions, one that encodes the call and one that decodes its response. Names are
Ollama's own (`llama3.2:3b`); they stand in bodies, never in paths. ProgressDecoder decodes the lines of a pull, push
or creation. Reference: the API reference, from "Show model details" to "Get version".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from brainwires_provider.errors import ConfigError, ProtocolError, StreamInterrupted
from brainwires_provider.events import Event, OpaqueDelta, ResponseEnd
from brainwires_provider.framing.base import WireMessage
from brainwires_provider.framing.ndjson import NDJSONFraming
from brainwires_provider.protocols.base.decoder import DecoderBase
from brainwires_provider.protocols.base.embeddings import (
    Embedded,
    checked,
    counted,
    one_batch,
    set_fields,
    word_for,
)
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import object_of, text_of
from brainwires_provider.protocols.base.options import OptionReader
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.ollama.errors import decode_error_object
from brainwires_provider.protocols.ollama.messages import HistoryEncoder
from brainwires_provider.protocols.ollama.models import (
    decode_details,
    integer_of,
    model_entries,
    model_name,
    texts_of,
    time_of,
)
from brainwires_provider.protocols.ollama.options import NDJSON, OllamaOptions
from brainwires_provider.types import EmbeddingArgs, Message, Origin, Request, Usage
from brainwires_provider.types.ollama import (
    OllamaEmbeddings,
    OllamaLoad,
    OllamaModelInfo,
    OllamaProgress,
    OllamaRunningModel,
)

__all__ = [
    "OllamaTextEmbeddings",
    "ProgressDecoder",
    "copy_call",
    "create_call",
    "decode_embeddings",
    "decode_info",
    "decode_load",
    "decode_progress",
    "decode_running",
    "decode_version",
    "delete_call",
    "embed_call",
    "load_call",
    "ps_call",
    "pull_call",
    "push_call",
    "show_call",
    "unload_call",
    "version_call",
]

_NANO = 1_000_000_000
_SUCCESS = "success"
_DURATIONS = ("total_duration", "load_duration")
_TEXTS = 512  # of one request; the server has no limit of its own, and embeds one text after another
_object = partial(object_in, refusal=decode_error_object)


# -- calls ---------------------------------------------------------------------------------------------------


def _named(name: str) -> str:
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f'a model is named as Ollama names it, for example "llama3.2:3b", not {name!r}')
    return name


def ps_call() -> Call:
    """`GET /api/ps`."""
    return Call("/api/ps", {}, method="GET")


def version_call() -> Call:
    """`GET /api/version`."""
    return Call("/api/version", {}, method="GET")


def show_call(name: str, verbose: bool | None = None) -> Call:
    """`POST /api/show`. Raises ConfigError for what is no model name."""
    return Call("/api/show", {"model": _named(name), **set_fields(verbose=verbose)})


def copy_call(source: str, destination: str) -> Call:
    """`POST /api/copy`. Raises ConfigError for what is no model name."""
    return Call("/api/copy", {"source": _named(source), "destination": _named(destination)})


def delete_call(name: str) -> Call:
    """`DELETE /api/delete`. Raises ConfigError for what is no model name."""
    return Call("/api/delete", {"model": _named(name)}, method="DELETE")


def pull_call(name: str, insecure: bool | None = None) -> Call:
    """`POST /api/pull`, streamed. Raises ConfigError for what is no model name."""
    return _streamed("/api/pull", {"model": _named(name), **set_fields(insecure=insecure)})


def push_call(name: str, insecure: bool | None = None) -> Call:
    """`POST /api/push`, streamed. Raises ConfigError for what is no model name."""
    return _streamed("/api/push", {"model": _named(name), **set_fields(insecure=insecure)})


def create_call(
    name: str, messages: Sequence[Message], origin: Origin, *, base: str | None, **fields: Any
) -> Call:
    """`POST /api/create`, streamed. `base` is the field `from`, which is a keyword of Python.

    Raises ConfigError for what is no model name, UnsupportedError for messages that Ollama cannot express.
    """
    body = {"model": _named(name), **set_fields(**{"from": base}, **fields)}
    if messages:
        reader = OptionReader(Request(tuple(messages)), OllamaOptions)
        body["messages"] = HistoryEncoder(origin, reader).encode_messages(messages)
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
    """`POST /api/embed`. Raises ConfigError for what is no model name."""
    fields = set_fields(truncate=truncate, dimensions=dimensions, options=options, keep_alive=keep_alive)
    texts = inputs if isinstance(inputs, str) else list(inputs)
    return Call("/api/embed", {"model": _named(name), "input": texts, **fields})


def load_call(name: str, keep_alive: str | float | None, options: Mapping[str, Any] | None) -> Call:
    """`POST /api/generate` without a prompt. Raises ConfigError for what is no model name."""
    fields = set_fields(keep_alive=keep_alive, options=options)
    return Call("/api/generate", {"model": _named(name), **fields, "stream": False})


def unload_call(name: str) -> Call:
    """`POST /api/generate` without a prompt and with `keep_alive` 0. Raises ConfigError for what is no model name."""
    return load_call(name, 0, None)


# -- responses ---------------------------------------------------------------------------------------------


def decode_info(body: bytes, name: str) -> OllamaModelInfo:
    """The response to `show_call`, which does not name the model. Raises ProtocolError."""
    value = _object(body, "the description of the model")
    return OllamaModelInfo(
        name=name,
        details=decode_details(value.get("details")),
        capabilities=texts_of(value.get("capabilities")),
        model_info=object_of(value.get("model_info")),
        parameters=text_of(value.get("parameters")),
        template=text_of(value.get("template")),
        system=text_of(value.get("system")),
        license=text_of(value.get("license")),
        modelfile=text_of(value.get("modelfile")),
        modified_at=time_of(value.get("modified_at")),
        raw=value,
    )


def decode_running(body: bytes) -> tuple[OllamaRunningModel, ...]:
    """Every model in memory. Raises ProtocolError."""
    return tuple(
        OllamaRunningModel(
            name=model_name(entry),
            size=integer_of(entry.get("size")),
            size_vram=integer_of(entry.get("size_vram")),
            context_length=integer_of(entry.get("context_length")),
            expires_at=time_of(entry.get("expires_at")),
            digest=text_of(entry.get("digest")),
            details=decode_details(entry.get("details")),
            raw=entry,
        )
        for entry in model_entries(body, "the list of running models")
    )


def decode_load(body: bytes) -> OllamaLoad:
    """Raises ProtocolError where the server does not report that it is done."""
    value = _object(body, "the answer")
    if not value.get("done"):
        raise ProtocolError(f"the server does not report that it is done: {looks_like(body)}")
    return OllamaLoad(
        model=text_of(value.get("model")),
        reason=text_of(value.get("done_reason")),
        load_duration=_seconds(value.get("load_duration")),
        raw=value,
    )


def decode_version(body: bytes) -> str:
    """Raises ProtocolError."""
    version = _object(body, "the answer").get("version")
    if not isinstance(version, str):
        raise ProtocolError(f"the answer has no version: {looks_like(body)}")
    return version


def decode_progress(line: Mapping[str, Any]) -> OllamaProgress:
    """One line of a pull, push or creation."""
    return OllamaProgress(
        status=str(line.get("status") or ""),
        digest=text_of(line.get("digest")),
        total=integer_of(line.get("total")),
        completed=integer_of(line.get("completed")),
        raw=line,
    )


def _seconds(value: Any) -> float | None:
    return value / _NANO if type(value) in (int, float) else None


class ProgressDecoder(DecoderBase):
    """The lines of a pull, push or creation. See `base.protocol.Decoder`; there are no parts.

    Each line is an OpaqueDelta of kind "progress" whose data is the line. `"status": "success"` is the end; an error
    object is an APIError, and a stream without either was cut. Reference: the API reference, "Pull a model".
    """

    def feed(self, message: WireMessage) -> list[Event]:
        """The events of one line. An object without a status is ignored."""
        if self.ended:
            return []
        line = self.read_json(message.data)
        if line.get("error"):
            self.ended = True
            raise decode_error_object(line, origin=self.origin)
        status = line.get("status")
        if not isinstance(status, str):
            if status is not None or "message" in line or "response" in line:
                self.broken(f"not the shape of progress: {looks_like(message.data)}")
            return []
        self.parts.events.append(OpaqueDelta(None, "progress", line))
        if status == _SUCCESS:
            self.ended = True
            self.parts.events.append(ResponseEnd("stop", _SUCCESS, Usage()))
        return self.parts.take()

    def feed_whole(self, body: bytes) -> list[Event]:
        """The events of a body, of one line or several: some servers declare a stream as JSON."""
        framing = NDJSONFraming(len(body))
        lines = framing.feed(body) + framing.finish()[0]
        if not all(line.data.startswith(b"{") for line in lines):
            lines = [WireMessage(body)]
        events = [event for line in lines for event in self.feed(line)]
        return events + self.finish()

    def finish(self, clean: bool = True) -> list[Event]:
        """The stream is over; without success it was cut."""
        if self.ended:
            return []
        raise StreamInterrupted(
            "the stream ended before the operation did: no success was reported",
            how="eof",
            provider=self.origin.provider,
            model=self.origin.model,
        )


# -- embeddings --------------------------------------------------------------------------------------------


def _vectors(body: bytes, count: int) -> tuple[dict[str, Any], list[list[float]]]:
    """The response to `embed_call`, and the vectors of `count` texts."""
    value = _object(body, "the answer")
    try:
        vectors = msgspec.convert(value.get("embeddings"), list[list[float]])
    except msgspec.ValidationError as error:
        raise ProtocolError(f"the body has no embeddings ({error}): {looks_like(body)}") from None
    return value, checked(vectors, count)


def decode_embeddings(body: bytes, inputs: str | Sequence[str]) -> OllamaEmbeddings:
    """As many vectors as there were inputs. Raises ProtocolError."""
    value, vectors = _vectors(body, 1 if isinstance(inputs, str) else len(inputs))
    return OllamaEmbeddings(
        vectors=tuple(map(tuple, vectors)),
        model=text_of(value.get("model")),
        input_tokens=integer_of(value.get("prompt_eval_count")),
        total_duration=_seconds(value.get("total_duration")),
        load_duration=_seconds(value.get("load_duration")),
        raw={name: field for name, field in value.items() if name != "embeddings"},
    )


class OllamaTextEmbeddings:
    """Ollama's embeddings. The server cuts texts that are too long, unless `extra_body` has `truncate: False`.

    Reference: https://docs.ollama.com/api/embed
    """

    def batch(self, model: str) -> int:
        """Bounded, so that a request ends in reasonable time."""
        return _TEXTS

    def call(self, texts: Sequence[str], model: str, args: EmbeddingArgs) -> Call:
        """Raises UnsupportedError for a task, which is part of the model's prompt here."""
        word_for(args.task, {}, "Ollama")
        call = embed_call(model, one_batch(texts, _TEXTS), dimensions=args.dimensions)
        return Call(call.path, {**call.body, **(args.extra_body or {})})

    def decode(self, body: bytes, count: int) -> Embedded:
        """Raises ProtocolError."""
        value, vectors = _vectors(body, count)
        usage = counted(integer_of(value.get("prompt_eval_count")), None)
        durations = set_fields(**{name: integer_of(value.get(name)) for name in _DURATIONS})
        return Embedded(vectors, usage, text_of(value.get("model")), durations)
