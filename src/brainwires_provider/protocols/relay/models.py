"""Reads the relay's list of models, `GET /api/models`: an array, on one page.

Reference: `BackendModel` in `config/models.rs` of the framework's CLI.
"""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.json import decode_json, int_or_none, looks_like, text_or_none
from brainwires_provider.protocols.base.models import able
from brainwires_provider.types import Model

__all__ = ["decode_models"]


def decode_models(body: bytes, provider: str) -> list[Model]:
    """Every entry that has an id; `owner` is the vendor. Raises ProtocolError."""
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise ProtocolError(f"the model list is not a list of models: {looks_like(body)}", provider=provider)
    return [_model(entry, provider) for entry in value if isinstance(entry, dict) and entry.get("model_id")]


def _model(entry: dict[str, Any], provider: str) -> Model:
    return Model(
        id=str(entry["model_id"]),
        provider=provider,
        display_name=text_or_none(entry.get("model_name")),
        owner=text_or_none(entry.get("ai_vendor") or entry.get("provider_id")),
        context_window=int_or_none(entry.get("max_content_length")),
        max_output_tokens=int_or_none(entry.get("max_token_output_length")),
        capabilities=_capabilities(entry),
        raw=entry,
    )


def _capabilities(entry: dict[str, Any]) -> tuple[str, ...] | None:
    """`abilities` is a list in one text: `"text,vision"`; every model of the relay is one to chat with."""
    told = entry.get("abilities")
    if not isinstance(told, str):
        return None
    return able("chat" if word.strip() == "text" else word for word in told.split(","))
