"""Reads the model list and the token count of the Messages API, and the lists of the clouds that speak it.

Reference: "List Models", "Get a Model" and "Count tokens in a Message" of the API reference; Amazon Bedrock's
CountTokens. The clouds' own lists are read by their own protocols' readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from brainwires_provider.errors import ProtocolError, UnsupportedError
from brainwires_provider.protocols.anthropic.options import AnthropicQuirks
from brainwires_provider.protocols.base.errors import count_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import (
    able,
    count_of,
    day_of,
    object_of,
    read_json,
    seconds_of,
    stage_of,
    text_of,
)
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.types import Model, TokenCount

__all__ = ["decode_count", "decode_model", "decode_page", "model_call", "models_call"]

_PAGE = "1000"
_NO_LIST = "this service lists no models through the Messages API"


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"input_tokens": …}`, or of Bedrock's `{"inputTokens": …}`. Raises ProtocolError, APIError."""
    return count_in(body, "input_tokens", "inputTokens")


def models_call(quirks: AnthropicQuirks, after: str | None) -> Call:
    """One page of the list. Raises UnsupportedError where there is none."""
    if quirks.listing is None:
        raise UnsupportedError(_NO_LIST)
    # What reads a cloud's own list is loaded by those who ask that cloud.
    if quirks.listing == "publishers":
        from brainwires_provider.protocols.base.google import page_call

        return page_call(after)
    if quirks.listing == "foundation":
        from brainwires_provider.protocols.bedrock.models import page_call as foundation_call

        return foundation_call(after)
    query = {"limit": _PAGE} if quirks.listing == "pages" else {}
    query |= {} if after is None else {"after_id": after}
    return Call(f"{quirks.prefix}/models", {}, method="GET", headers=_version(quirks), query=query)


def decode_page(quirks: AnthropicQuirks, body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """One page, and the cursor of the next; None on the last. Raises ProtocolError."""
    if quirks.listing == "publishers":
        from brainwires_provider.protocols.base import google as publishers

        return publishers.decode_page(body, provider)
    if quirks.listing == "foundation":
        from brainwires_provider.protocols.bedrock import models as foundation

        return foundation.decode_page(body, provider)
    if quirks.listing == "whole":
        from brainwires_provider.protocols.openai_chat import models as whole

        return whole.decode_models(body, provider), None
    value = object_of(read_json(body, provider))
    entries = value.get("data")
    if not isinstance(entries, list):
        raise ProtocolError(f"the model list is not a list of models: {looks_like(body)}", provider=provider)
    last = text_of(value.get("last_id"))
    found = [_model(e, provider) for e in entries if isinstance(e, dict) and text_of(e.get("id"))]
    return found, last if value.get("has_more") and found else None


def model_call(quirks: AnthropicQuirks, name: str) -> Call | None:
    """One model, by its id or an alias; None where there is no such call."""
    if quirks.listing != "pages":
        return None
    path = f"{quirks.prefix}/models/{quote(name, safe='')}"
    return Call(path, {}, method="GET", headers=_version(quirks))


def decode_model(body: bytes, provider: str) -> Model:
    """One model. Raises ProtocolError."""
    value = object_of(read_json(body, provider))
    if text_of(value.get("id")) is None:
        raise ProtocolError(f"the body is no model: {looks_like(body)}", provider=provider)
    return _model(value, provider)


def _version(quirks: AnthropicQuirks) -> dict[str, str]:
    return {"anthropic-version": quirks.version}


def _model(entry: Mapping[str, Any], provider: str) -> Model:
    abilities = entry.get("capabilities")
    return Model(
        id=str(entry["id"]),
        provider=provider,
        display_name=text_of(entry.get("display_name")),
        owner=text_of(entry.get("owned_by")),
        # Services that copy OpenAI's list have `created`.
        created=seconds_of(entry.get("created_at")) or seconds_of(entry.get("created")),
        context_window=count_of(entry.get("max_input_tokens")),
        max_output_tokens=count_of(entry.get("max_tokens")),
        capabilities=able(_supported(abilities)) if isinstance(abilities, Mapping) else None,
        raw=entry,
        lifecycle=stage_of(entry.get("lifecycle")),
        deprecated=day_of(entry.get("deprecated_at")),
        retires=day_of(entry.get("retires_at")),
    )


def _supported(abilities: Mapping[str, Any]) -> Iterator[str]:
    return (name for name, value in abilities.items() if object_of(value).get("supported") is True)
