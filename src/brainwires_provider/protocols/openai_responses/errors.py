"""Errors of the Responses API: a refused request, an `error` event in a stream, a response that failed.

The event is flat over server-sent events and nested over a WebSocket, where it may also carry a status and headers;
gateways mix the two, so both are read everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import error_in_body, error_in_reply
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["decode_error", "event_error", "failed_error"]

_ENVELOPE = frozenset(("sequence_number", "stream_id", "error", "headers", "status_code"))


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    return error_in_reply(reply)


def event_error(event: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of an `error` event, flat or nested."""
    event = well_formed(dict(event))
    inner = event.get("error")
    if isinstance(inner, dict):
        given = {**inner, "status": event.get("status") or event.get("status_code") or inner.get("status")}
    else:
        given = {k: v for k, v in event.items() if k not in _ENVELOPE and (k, v) != ("type", "error")}
        if isinstance(inner, str):
            given.setdefault("message", inner)
    headers = event.get("headers") or given.get("headers")
    error = error_in_body({"error": given}, status=None, headers=_headers(headers), partial=partial)
    return _placed(error, event, origin)


def failed_error(response: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of a response whose status is `failed`."""
    given = well_formed(response.get("error")) or {"message": "the response failed, and does not say why"}
    return _placed(error_in_body({"error": given}, status=None, partial=partial), {"error": given}, origin)


def _placed(error: APIError, body: Any, origin: Origin) -> APIError:
    error.body = body
    error.provider, error.model = origin.provider, origin.model
    return error


def _headers(headers: Any) -> dict[str, str]:
    return {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
