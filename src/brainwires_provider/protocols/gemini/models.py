"""Reads a page of models, as AI Studio (`models`) and Vertex AI (`publisherModels`) list them, and a token count."""

from __future__ import annotations

from typing import Any

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base import decode_json, looks_like
from brainwires_provider.types import Model, TokenCount

__all__ = ["decode_count", "decode_page"]


def decode_page(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """The models of one page, and the next page's token. `capabilities` are the methods. Raises ProtocolError."""
    value = _object(body)
    entries = value.get("models", value.get("publisherModels"))
    if not isinstance(entries, list):
        if entries is not None or not {"nextPageToken"} >= value.keys():
            raise ProtocolError(f"the body has no list of models: {looks_like(body)}", provider=provider)
        entries = []  # an empty page says nothing at all
    models = [_model(entry, provider) for entry in entries if isinstance(entry, dict) and entry.get("name")]
    after = value.get("nextPageToken")
    return models, after if isinstance(after, str) and after else None


def _model(entry: dict[str, Any], provider: str) -> Model:
    methods = entry.get("supportedGenerationMethods")
    return Model(
        id=str(entry["name"]).removeprefix("publishers/google/").removeprefix("models/"),
        provider=provider,
        display_name=_text(entry.get("displayName")),
        context_window=_whole(entry.get("inputTokenLimit")),
        max_output_tokens=_whole(entry.get("outputTokenLimit")),
        capabilities=tuple(map(str, methods)) if isinstance(methods, list) else None,
        raw=entry,
    )


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"totalTokens": …}`, which is left out when it is zero. Raises ProtocolError."""
    value = _object(body)
    count = value.get("totalTokens", 0 if "promptTokensDetails" in value else None)
    if type(count) is not int:
        raise ProtocolError(f"the body has no count of tokens: {looks_like(body)}")
    return TokenCount(count, value)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = decode_json(body)
    except ValueError as error:
        raise ProtocolError(f"the provider sent what is not JSON ({error}): {looks_like(body)}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"the body has no object: {looks_like(body)}")
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
