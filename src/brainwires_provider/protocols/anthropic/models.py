"""Reads the model list and the token count of the Messages API.

Reference: "List Models" and "Count tokens in a Message" of the API reference; Amazon Bedrock's CountTokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base import decode_json, looks_like
from brainwires_provider.types import Model, TokenCount

__all__ = ["decode_count", "decode_models"]


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"input_tokens": …}`, or of Bedrock's `{"inputTokens": …}`. Raises ProtocolError."""
    value = _object(body)
    count = value.get("input_tokens", value.get("inputTokens"))
    if type(count) is not int:
        raise ProtocolError(f"the body has no count of input tokens: {looks_like(body)}")
    return TokenCount(count, value)


def decode_models(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """One page, and the id after which the next begins; None on the last. Raises ProtocolError."""
    value = _object(body)
    entries = value.get("data")
    if not isinstance(entries, list):
        raise ProtocolError(f"the model list is not a list of models: {looks_like(body)}", provider=provider)
    last = value.get("last_id")
    found = [_model(entry, provider) for entry in entries if isinstance(entry, dict) and entry.get("id")]
    return found, last if value.get("has_more") and isinstance(last, str) and found else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = decode_json(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _model(entry: dict[str, Any], provider: str) -> Model:
    able = entry.get("capabilities")
    return Model(
        id=str(entry["id"]),
        provider=provider,
        display_name=entry.get("display_name"),
        owner=entry.get("owned_by"),
        created=_created(entry),
        context_window=_count(entry.get("max_input_tokens")),
        max_output_tokens=_count(entry.get("max_tokens")),
        capabilities=tuple(_supported(able, "")) if isinstance(able, Mapping) else None,
        raw=entry,
    )


def _count(value: Any) -> int | None:
    return value if type(value) is int else None


def _created(entry: dict[str, Any]) -> int | None:
    """Seconds since the epoch, whose own date stands for one that is not known; services that copy OpenAI's list
    have `created`."""
    told = entry.get("created_at")
    if not isinstance(told, str):
        return _count(entry.get("created"))
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) or None


def _supported(able: Mapping[str, Any], path: str) -> Iterator[str]:
    """The dotted names of all that is supported: `batch`, `effort`, `effort.high`, `thinking.types.adaptive`, …"""
    for name, value in able.items():
        if isinstance(value, Mapping):
            if value.get("supported") is True:
                yield path + name
            yield from _supported(value, f"{path}{name}.")
