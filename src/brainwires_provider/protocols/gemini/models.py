"""Lists models, as AI Studio (`models`) and Vertex AI (`publisherModels`) do, and counts tokens.

Reference: `models.list` and `models.get` of the Gemini API; `publishers.models.list` of Vertex AI's v1beta1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from brainwires_provider.errors import ProtocolError
from brainwires_provider.protocols.base.errors import object_in
from brainwires_provider.protocols.base.json import looks_like
from brainwires_provider.protocols.base.models import able, count_of, object_of, read_json, stage_of, text_of
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.protocols.gemini.errors import decode_error_object
from brainwires_provider.types import Model, TokenCount

__all__ = ["decode_count", "decode_model", "decode_page", "model_call", "page_call"]

_PAGE = "1000"
_FOLDER = re.compile(r"^(publishers/(?P<publisher>[^/]+)/)?models/")


def page_call(after: str | None) -> Call:
    """`GET /models`, the page after a token."""
    query = {"pageSize": _PAGE} if after is None else {"pageSize": _PAGE, "pageToken": after}
    return Call("/models", {}, method="GET", query=query)


def decode_page(body: bytes, provider: str) -> tuple[list[Model], str | None]:
    """The models of one page, and the next page's token. Raises ProtocolError."""
    value = read_json(body, provider)
    page = object_of(value)
    entries = page.get("models", page.get("publisherModels"))
    if not isinstance(entries, list):
        if entries is not None or value != page or not {"nextPageToken"} >= page.keys():
            raise ProtocolError(f"the body has no list of models: {looks_like(body)}", provider=provider)
        entries = []  # an empty page has no members
    models = [_model(e, provider) for e in entries if isinstance(e, dict) and text_of(e.get("name"))]
    return models, text_of(page.get("nextPageToken"))


def model_call(name: str) -> Call:
    """`GET /models/MODEL`."""
    folder = "" if name.startswith(("models/", "tunedModels/")) else "models/"
    return Call(f"/{folder}{quote(name, safe='/@:-._~')}", {}, method="GET")


def decode_model(body: bytes, provider: str) -> Model:
    """One model. Raises ProtocolError."""
    value = object_of(read_json(body, provider))
    if text_of(value.get("name")) is None:
        raise ProtocolError(f"the body is no model: {looks_like(body)}", provider=provider)
    return _model(value, provider)


def _model(entry: Mapping[str, Any], provider: str) -> Model:
    name = str(entry["name"])
    folder = _FOLDER.match(name)
    methods = entry.get("supportedGenerationMethods")
    words = [word for word in methods if isinstance(word, str)] if isinstance(methods, list) else []
    if entry.get("thinking") is True:
        words.append("thinking")
    return Model(
        id=name[folder.end() :] if folder else name,
        provider=provider,
        display_name=text_of(entry.get("displayName")),
        owner=folder["publisher"] if folder else None,
        context_window=count_of(entry.get("inputTokenLimit")),
        max_output_tokens=count_of(entry.get("outputTokenLimit")),
        capabilities=able(words) if isinstance(methods, list) else None,
        raw=entry,
        lifecycle=stage_of(entry.get("launchStage")),
    )


def decode_count(body: bytes) -> TokenCount:
    """The count of `{"totalTokens": …}`, which is left out when it is zero.

    Raises ProtocolError, and the APIError that an error object under status 200 is.
    """
    value = object_in(body, "the token count", decode_error_object)
    count = value.get("totalTokens", 0 if "promptTokensDetails" in value else None)
    if type(count) is not int:
        raise ProtocolError(f"the body has no count of tokens: {looks_like(body)}")
    return TokenCount(count, value)
