"""Error bodies of Ollama: one sentence, `{"error": "…"}`, under a status or as a line of a stream.

Within a stream there is no status, so the sentence decides the class. To common errors (a model that was never pulled,
one that lacks an ability, a server that is not signed in, or one too old for a level of thinking) the message adds
what to do.
Reference: the API reference, "Errors".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ServerError,
)
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import as_kind, error_in_body, error_in_reply
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["decode_error", "decode_error_object"]

_WORDS: tuple[tuple[re.Pattern[str], type[APIError]], ...] = tuple(
    (re.compile(words, re.IGNORECASE), kind)
    for words, kind in (
        (r"model .{0,300}not found|file does not exist|no such (model|file)", NotFoundError),
        (r"not authorized|permission denied|forbidden", PermissionDeniedError),
        (r"unauthori[sz]ed|authentication", AuthenticationError),
        (r"does not support|invalid|is required|must be|unknown type|unsupported", InvalidRequestError),
        (r"server busy|too many|overloaded|try again", OverloadedError),
        (r"error was encountered|runner|unexpected|failed|max retries|timeout|memory|EOF", ServerError),
    )
)
_ABSENT = re.compile(r"model ['\"]?([^'\" ]+)['\"]?,? not found", re.IGNORECASE)
_UNABLE = re.compile(r"does not support (\w+)", re.IGNORECASE)
# 2026-11: https://github.com/ollama/ollama/pull/14625 (2026-03, 0.17.7) and 15787 (2026-04, 0.21.3). Until 0.11.1,
# `think` was a boolean; then levels were gpt-oss's alone.
_TOO_OLD: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"\.think of type bool|think value .{0,100} is not supported for this model", re.IGNORECASE
        ),
        "levels of thinking need Ollama 0.17.7: update the server, or pass OllamaOptions(think=True)",
    ),
    (
        re.compile(r"invalid think value: \"max\"", re.IGNORECASE),
        'this level needs Ollama 0.21.3: update the server, or ask for reasoning="high"',
    ),
)
_ABILITIES = {"chat": "completion", "generate": "completion", "image": "vision", "images": "vision"}


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    return _advised(error_in_reply(reply))


def decode_error_object(
    value: Mapping[str, Any], *, partial: Response | None = None, origin: Origin | None = None
) -> APIError:
    """The error that a line of a stream, or a body under status 200, is."""
    error = error_in_body(well_formed(dict(value)), status=None, partial=partial)
    if type(error) is APIError:
        kind = next((kind for words, kind in _WORDS if words.search(error.message)), APIError)
        error = as_kind(error, kind)
    if origin is not None:
        error.provider, error.model = origin.provider, origin.model
    return _advised(error)


def _advised(error: APIError) -> APIError:
    """The same error, its message with what to do."""
    advice = _advice(error.message)
    if isinstance(error.body, dict) and error.body.get("signin_url"):
        advice = '"ollama signin", where the server runs, signs it in'
    if advice:
        error.message = f"{error.message}; {advice}"
        error.args = (error.message,)
    return error


def _advice(message: str) -> str:
    absent = _ABSENT.search(message)
    if absent is not None:
        return f'client.ollama.pull("{absent[1]}") fetches it'
    unable = _UNABLE.search(message)
    if unable is not None:
        ability = _ABILITIES.get(unable[1].lower(), unable[1].lower())
        return f"client.ollama.show(MODEL).capabilities says {ability!r} where a model does"
    return next((advice for words, advice in _TOO_OLD if words.search(message)), "")
