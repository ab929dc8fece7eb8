"""Lists the models that an Ollama server holds, for all that list models. Ollama counts no tokens beforehand.

Reference: the API reference, "List models".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import able, object_of, text_of
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.ollama.errors import decode_error_object
from brainwires_provider.types import Model
from brainwires_provider.types.ollama import OllamaDetails, OllamaModel

__all__ = [
    "decode_details",
    "decode_list",
    "decode_models",
    "integer_of",
    "list_call",
    "model_entries",
    "model_name",
    "texts_of",
    "time_of",
]


def list_call() -> Call:
    """`GET /api/tags`."""
    return Call("/api/tags", {}, method="GET")


def model_entries(body: bytes, what: str) -> list[dict[str, Any]]:
    """The entries under `models`; none, where the server sends null. Raises ProtocolError."""
    value = object_in(body, what, decode_error_object)
    entries = value.get("models")
    if entries is None and "models" in value:
        entries = []
    if not isinstance(entries, list):
        raise ProtocolError(f"{what} has no models: {looks_like(body)}")
    return [entry for entry in entries if isinstance(entry, dict)]


def decode_list(body: bytes) -> tuple[OllamaModel, ...]:
    """Every model that the server holds. Raises ProtocolError."""
    return tuple(_decode_model(entry) for entry in model_entries(body, "the list of models"))


def decode_models(body: bytes, provider: str) -> list[Model]:
    """The same list as `decode_list`, in the form that all providers have. Raises ProtocolError.

    It has no limits: `client.ollama.show` has those of one model.
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
    """A model that can complete can chat: `/api/chat` needs no more."""
    return "chat" if word == "completion" else word


def _label(model: OllamaModel) -> str:
    labels = ", ".join(filter(None, (model.details.parameter_size, model.details.quantization)))
    return f"{model.name} ({labels})" if labels else model.name


# -- values ------------------------------------------------------------------------------------------------


def integer_of(value: Any) -> int | None:
    """A whole number, or None."""
    return value if type(value) is int else None


def texts_of(value: Any) -> tuple[str, ...] | None:
    """A list of texts, or None."""
    return tuple(map(str, value)) if isinstance(value, list) else None


def time_of(value: Any) -> datetime | None:
    """A moment in ISO 8601, or None."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None


def decode_details(value: Any) -> OllamaDetails:
    """The details of a model; empty ones where there are none."""
    entry = object_of(value)
    return OllamaDetails(
        format=text_of(entry.get("format")),
        family=text_of(entry.get("family")),
        families=texts_of(entry.get("families")) or (),
        parameter_size=text_of(entry.get("parameter_size")),
        quantization=text_of(entry.get("quantization_level")),
        parent_model=text_of(entry.get("parent_model")),
        raw=entry,
    )


def model_name(entry: Mapping[str, Any]) -> str:
    """The name of an entry."""
    return text_of(entry.get("model")) or text_of(entry.get("name")) or ""


def _decode_model(entry: Mapping[str, Any]) -> OllamaModel:
    """One entry of the list of models."""
    return OllamaModel(
        name=model_name(entry),
        size=integer_of(entry.get("size")),
        digest=text_of(entry.get("digest")),
        modified_at=time_of(entry.get("modified_at")),
        details=decode_details(entry.get("details")),
        capabilities=texts_of(entry.get("capabilities")),
        remote_model=text_of(entry.get("remote_model")),
        remote_host=text_of(entry.get("remote_host")),
        raw=entry,
    )
