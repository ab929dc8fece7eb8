"""Reads the model list of OpenAI and of the services that copy it."""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base import decode_json, looks_like
from brainwires_provider.types import Model

__all__ = ["decode_models"]

_CONTEXT = ("context_length", "context_window", "max_context_length", "max_model_len")
_OUTPUT = ("max_output_tokens", "max_completion_tokens")


def decode_models(body: bytes, provider: str) -> list[Model]:
    """Every entry that has an id; what a service says beyond that where it says it. Raises ProtocolError."""
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    entries = value.get("data") if isinstance(value, dict) else value
    if not isinstance(entries, list):
        raise ProtocolError(f"the model list is not a list of models: {looks_like(body)}", provider=provider)
    return [_model(entry, provider) for entry in entries if isinstance(entry, dict) and entry.get("id")]


def _model(entry: dict[str, Any], provider: str) -> Model:
    return Model(
        id=str(entry["id"]),
        provider=provider,
        display_name=entry.get("display_name") or entry.get("name"),
        owner=entry.get("owned_by"),
        created=entry.get("created") if isinstance(entry.get("created"), int) else None,
        context_window=_first(entry, _CONTEXT),
        max_output_tokens=_first(entry, _OUTPUT),
        raw=entry,
    )


def _first(entry: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((entry[name] for name in names if isinstance(entry.get(name), int)), None)
