"""The two ways in which a Responses answer says that it failed: an `error` event, and a failed response.

The event is flat over server-sent events and nested over a WebSocket, where it may also carry a status and headers;
gateways mix the two, so both are read everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.assembler import well_formed
from brainwires_provider.protocols.base.errors import error_in_body
from brainwires_provider.types import Origin, Response

__all__ = ["event_error", "failed_error"]

_ENVELOPE = frozenset(("type", "sequence_number", "stream_id", "error", "headers", "status_code"))


def event_error(event: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of an `error` event, flat or nested."""
    event = well_formed(dict(event))
    inner = event.get("error")
    if isinstance(inner, dict):
        told = {**inner, "status": event.get("status") or event.get("status_code") or inner.get("status")}
    else:
        told = {k: v for k, v in event.items() if k not in _ENVELOPE}
        if isinstance(inner, str):
            told.setdefault("message", inner)
    headers = event.get("headers") or told.get("headers")
    error = error_in_body({"error": told}, status=None, headers=_headers(headers), partial=partial)
    return _dressed(error, event, origin)


def failed_error(response: Mapping[str, Any], partial: Response, origin: Origin) -> APIError:
    """The error of a response whose status is `failed`."""
    told = well_formed(response.get("error")) or {"message": "the response failed, and does not say why"}
    return _dressed(error_in_body({"error": told}, status=None, partial=partial), {"error": told}, origin)


def _dressed(error: APIError, body: Any, origin: Origin) -> APIError:
    error.body = body
    error.provider, error.model = origin.provider, origin.model
    return error


def _headers(headers: Any) -> dict[str, str]:
    return {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
