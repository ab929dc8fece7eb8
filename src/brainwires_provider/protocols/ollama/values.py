"""What Ollama tells of its models, as frozen values, and how they are read.

Every value keeps the whole of what the server said in `raw`. A field that is missing, or of another kind than the
documented one, is None or empty: only what is no list or no object at all is an error. Sizes are in bytes, durations
in seconds (the wire has nanoseconds). Reference: the API reference, "List models", "Show model details", "List running
models", "Generate embeddings", "Pull a model".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.types import Extra

__all__ = [
    "OllamaDetails",
    "OllamaEmbeddings",
    "OllamaLoad",
    "OllamaModel",
    "OllamaModelInfo",
    "OllamaProgress",
    "OllamaRunningModel",
    "details_of",
    "embeddings_of",
    "info_of",
    "load_of",
    "model_of",
    "progress_of",
    "running_of",
    "text_of",
    "whole_of",
]

_NANO = 1_000_000_000


class OllamaDetails(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """What kind of model it is. `parameter_size` and `quantization` are Ollama's labels: "3.2B", "Q4_K_M"."""

    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] = ()
    parameter_size: str | None = None
    quantization: str | None = None
    parent_model: str | None = None
    raw: Extra = field(default_factory=dict)


class OllamaModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model that the server holds. `remote_host` is set where it only passes requests on to another."""

    name: str
    size: int | None = None
    digest: str | None = None
    modified_at: datetime | None = None
    details: OllamaDetails = OllamaDetails()
    capabilities: tuple[str, ...] | None = None
    remote_model: str | None = None
    remote_host: str | None = None
    raw: Extra = field(default_factory=dict)


class OllamaModelInfo(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """The details of one model.

    `model_info` holds the GGUF's own fields, such as `llama.context_length`.
    `parameters` is the text of the model file's PARAMETER lines. `capabilities` are "completion", "tools", "vision",
    "thinking", "embedding", "insert"; None where the server is too old to tell.
    """

    name: str
    details: OllamaDetails = OllamaDetails()
    capabilities: tuple[str, ...] | None = None
    model_info: Extra = field(default_factory=dict)
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    modelfile: str | None = None
    modified_at: datetime | None = None
    raw: Extra = field(default_factory=dict)

    @property
    def architecture(self) -> str | None:
        """The GGUF's `general.architecture`."""
        return text_of(self.model_info.get("general.architecture"))

    @property
    def context_length(self) -> int | None:
        """How many tokens the model was made for; what a server gives it is `num_ctx`."""
        return whole_of(self.model_info.get(f"{self.architecture}.context_length"))


class OllamaRunningModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model in memory. `size` is all that it takes, `size_vram` the part of it on a GPU."""

    name: str
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    expires_at: datetime | None = None
    digest: str | None = None
    details: OllamaDetails = OllamaDetails()
    raw: Extra = field(default_factory=dict)


class OllamaProgress(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """How far a pull, push or creation has come. `total` and `completed` are bytes of the layer `digest`."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    raw: Extra = field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """How much of the layer is there, from 0 to 1; None where that is not known."""
        if not self.total:
            return None
        return min(1.0, max(0, self.completed or 0) / self.total)


class OllamaEmbeddings(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """One vector for each input, in order. `raw` is the answer without them."""

    vectors: tuple[tuple[float, ...], ...]
    model: str | None = None
    input_tokens: int | None = None
    total_duration: float | None = None
    load_duration: float | None = None
    raw: Extra = field(default_factory=dict)


class OllamaLoad(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model was loaded or unloaded: `reason` is "load" or "unload"; `load_duration` is in seconds."""

    model: str | None
    reason: str | None
    load_duration: float | None = None
    raw: Extra = field(default_factory=dict)


# -- reading -------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str | None:
    """A text that says something, or None."""
    return value if isinstance(value, str) and value else None


def whole_of(value: Any) -> int | None:
    """A whole number, or None."""
    return value if type(value) is int else None


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(map(str, value)) if isinstance(value, list) else None


def _when(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def _seconds(value: Any) -> float | None:
    return value / _NANO if type(value) in (int, float) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def details_of(value: Any) -> OllamaDetails:
    """The details of a model; empty ones where there are none."""
    told = _object(value)
    return OllamaDetails(
        format=text_of(told.get("format")),
        family=text_of(told.get("family")),
        families=_texts(told.get("families")) or (),
        parameter_size=text_of(told.get("parameter_size")),
        quantization=text_of(told.get("quantization_level")),
        parent_model=text_of(told.get("parent_model")),
        raw=told,
    )


def _name(told: Mapping[str, Any]) -> str:
    return text_of(told.get("model")) or text_of(told.get("name")) or ""


def model_of(told: Mapping[str, Any]) -> OllamaModel:
    """One entry of the list of models."""
    return OllamaModel(
        name=_name(told),
        size=whole_of(told.get("size")),
        digest=text_of(told.get("digest")),
        modified_at=_when(told.get("modified_at")),
        details=details_of(told.get("details")),
        capabilities=_texts(told.get("capabilities")),
        remote_model=text_of(told.get("remote_model")),
        remote_host=text_of(told.get("remote_host")),
        raw=told,
    )


def info_of(told: Mapping[str, Any], name: str) -> OllamaModelInfo:
    """The answer of `/api/show`, which does not name the model."""
    return OllamaModelInfo(
        name=name,
        details=details_of(told.get("details")),
        capabilities=_texts(told.get("capabilities")),
        model_info=_object(told.get("model_info")),
        parameters=text_of(told.get("parameters")),
        template=text_of(told.get("template")),
        system=text_of(told.get("system")),
        license=text_of(told.get("license")),
        modelfile=text_of(told.get("modelfile")),
        modified_at=_when(told.get("modified_at")),
        raw=told,
    )


def running_of(told: Mapping[str, Any]) -> OllamaRunningModel:
    """One entry of the list of running models."""
    return OllamaRunningModel(
        name=_name(told),
        size=whole_of(told.get("size")),
        size_vram=whole_of(told.get("size_vram")),
        context_length=whole_of(told.get("context_length")),
        expires_at=_when(told.get("expires_at")),
        digest=text_of(told.get("digest")),
        details=details_of(told.get("details")),
        raw=told,
    )


def progress_of(told: Mapping[str, Any]) -> OllamaProgress:
    """One line of a pull, push or creation."""
    return OllamaProgress(
        status=str(told.get("status") or ""),
        digest=text_of(told.get("digest")),
        total=whole_of(told.get("total")),
        completed=whole_of(told.get("completed")),
        raw=told,
    )


def load_of(told: Mapping[str, Any]) -> OllamaLoad:
    """What `/api/generate` answers where there is no prompt."""
    return OllamaLoad(
        model=text_of(told.get("model")),
        reason=text_of(told.get("done_reason")),
        load_duration=_seconds(told.get("load_duration")),
        raw=told,
    )


def embeddings_of(told: Mapping[str, Any], asked: int, body: bytes) -> OllamaEmbeddings:
    """The vectors of `asked` inputs. Raises ProtocolError where they are not as many, or no vectors of numbers."""
    vectors = told.get("embeddings")
    if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
        raise ProtocolError(f"the body has no embeddings: {looks_like(body)}")
    if len(vectors) != asked:
        raise ProtocolError(f"{asked} texts were to be embedded, and {len(vectors)} vectors came")
    try:
        read = tuple(tuple(map(float, vector)) for vector in vectors)
    except (TypeError, ValueError):
        raise ProtocolError(f"an embedding holds what is no number: {looks_like(body)}") from None
    return OllamaEmbeddings(
        vectors=read,
        model=text_of(told.get("model")),
        input_tokens=whole_of(told.get("prompt_eval_count")),
        total_duration=_seconds(told.get("total_duration")),
        load_duration=_seconds(told.get("load_duration")),
        raw={name: value for name, value in told.items() if name != "embeddings"},
    )
