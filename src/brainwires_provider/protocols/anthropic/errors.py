"""Errors of the Messages API: one object, as a response's body and as an event of a stream.

It is `{"type": "error", "error": {"type", "message", "details"}, "request_id"}`; in a stream the HTTP status is 200,
and the error's own type alone classifies it. `details.error_code`, where there is one, is the error's `code`.
Reference: https://platform.claude.com/docs/en/api/errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["decode_error", "error_in_event"]

_NO_MESSAGE = "the provider reports an error without a message"


def error_in_event(event: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of an object that came in a stream, or as a body under status 200."""
    body = well_formed(dict(event))
    known = body if body.get("error") or body.get("message") else {"message": _NO_MESSAGE}
    error = error_in_body(known, status=None, partial=partial)
    error.body = body
    error.provider, error.model = origin.provider, origin.model
    return _named(error)


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    return _named(error_in_reply(reply))


def _named(error: APIError) -> APIError:
    """The request's id, which is beside the error, and the code, which is in its details."""
    match error.body:
        case {"request_id": str(id)} if id:
            error.request_id = id
    match error.body:
        case {"error": {"details": {"error_code": str(code)}}} if error.code is None:
            error.code = code
    return error
