"""A provider's "no", sorted: by its code and type first, by its words second, by its status third.

Services wrap the same few failures in many shapes: `{"error": {…}}`, `{"error": "text"}`, `{"detail": …}`,
`{"message": …, "type": …}`, an HTML page. `api_error` finds the fields in any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Response

__all__ = ["api_error", "error_in_body", "error_in_reply", "object_in", "retry_after"]

_KINDS: dict[str, type[APIError]] = {
    "invalid_api_key": AuthenticationError,
    "authentication_error": AuthenticationError,
    "invalid_authentication": AuthenticationError,
    "unauthorized": AuthenticationError,
    "permission_error": PermissionDeniedError,
    "permission_denied": PermissionDeniedError,
    "forbidden": PermissionDeniedError,
    "model_not_found": NotFoundError,
    "not_found_error": NotFoundError,
    "not_found": NotFoundError,
    "deploymentnotfound": NotFoundError,
    "context_length_exceeded": ContextLengthError,
    "exceed_context_size_error": ContextLengthError,
    "rate_limit_exceeded": RateLimitError,
    "rate_limit_error": RateLimitError,
    "ratelimitreached": RateLimitError,
    "insufficient_quota": RateLimitError,
    "billing_error": RateLimitError,
    "too_many_requests": RateLimitError,
    "overloaded_error": OverloadedError,
    "engine_overloaded": OverloadedError,
    "server_overloaded": OverloadedError,
    "service_unavailable": OverloadedError,
    "unavailable_error": OverloadedError,
    "server_error": ServerError,
    "timeout_error": ServerError,
    "internal_error": ServerError,
    "internal_server_error": ServerError,
}
# Said of many kinds of refusal: they decide only when neither the words nor the status do.
_VAGUE: dict[str, type[APIError]] = {
    "api_error": ServerError,
    "request_too_large": InvalidRequestError,
    "invalid_request_error": InvalidRequestError,
    "invalid_request": InvalidRequestError,
    "bad_request": InvalidRequestError,
    "invalid_value": InvalidRequestError,
    "unsupported_value": InvalidRequestError,
}
_STATUS: dict[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: RateLimitError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: NotFoundError,
    408: ServerError,
    409: InvalidRequestError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    503: OverloadedError,
    529: OverloadedError,
}
_CONTEXT = re.compile(
    r"maximum context length|context[ _](length|window|size)|exceeded max context|prompt is too long"
    r"|prompt too long|too many tokens in the (prompt|input)",
    re.IGNORECASE,
)

_WAIT = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|[hms]))+)")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[hms])")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def api_error(
    *,
    message: str,
    status: int | None,
    code: str | None = None,
    type: str | None = None,
    claimed_status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: float | None = None,
    body: Any = None,
    partial: Response | None = None,
) -> APIError:
    """The typed error for what a provider said.

    `claimed_status` is the status that an error object claims for itself (in a stream, HTTP's own is 200).
    """
    decisive = claimed_status or status or 0
    kind = (
        _KINDS.get((code or "").lower())
        or _KINDS.get((type or "").lower())
        or (ContextLengthError if _is_context(message, decisive) else None)
        or _STATUS.get(decisive)
        or (ServerError if decisive >= 500 else None)
        or (InvalidRequestError if 400 <= decisive < 500 else None)
        or _VAGUE.get((type or "").lower())
        or _VAGUE.get((code or "").lower())
        or APIError
    )
    return kind(
        message,
        status=status,
        provider_status=claimed_status,
        code=code,
        type=type,
        body=body,
        retry_after=_told_wait(kind, message, retry_after(headers or {}, now)),
        partial=partial,
    )


def _told_wait(kind: type[APIError], message: str, told: float | None) -> float | None:
    """Seconds to wait, from the headers or, in a stream that has none, from a rate limit's words."""
    found = _WAIT.search(message) if told is None and kind is RateLimitError else None
    if found is None:
        return told
    return sum(float(number) * _UNITS[unit] for number, unit in _SPAN.findall(found[1]))


def _is_context(message: str, status: int) -> bool:
    return status in (0, 200, 400, 413, 422) and _CONTEXT.search(message) is not None


def error_in_body(
    body: Mapping[str, Any],
    *,
    status: int | None,
    headers: Mapping[str, str] | None = None,
    now: float | None = None,
    partial: Response | None = None,
) -> APIError:
    """The error that a JSON object holds or is."""
    error = body.get("error") or body
    if isinstance(error, str):
        error = {**body, "message": error}
    elif not isinstance(error, Mapping):
        error = {**body, "message": str(error)}
    message = _words(error.get("message") or error.get("detail") or error.get("msg") or error)
    code, kind = error.get("code"), error.get("type")
    claimed = next(
        (n for n in (_http_status(error.get(key)) for key in ("status_code", "status", "code")) if n), None
    )
    return api_error(
        message=message,
        status=status,
        code=None if code is None else str(code),
        type=None if kind is None else str(kind),
        claimed_status=claimed,
        headers=headers,
        now=now,
        body=dict(body),
        partial=partial,
    )


def object_in(
    body: bytes, what: str, refusal: Callable[[dict[str, Any]], APIError] | None = None
) -> dict[str, Any]:
    """A whole body that is a JSON object and no error. Raises ProtocolError, and the APIError that it is.

    `refusal` makes that of the object, where a protocol has errors of its own.
    """
    try:
        value = decode_json(body)
    except ValueError as error:
        raise ProtocolError(f"{what} is not JSON ({error}): {looks_like(body)}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is not an object: {looks_like(body)}")
    mended: dict[str, Any] = well_formed(value)
    if mended.get("error"):
        raise error_in_body(mended, status=None) if refusal is None else refusal(mended)
    return mended


def error_in_reply(reply: Reply) -> APIError:
    """The error of a refused request: JSON in any of the usual shapes, or whatever else the body is."""
    try:
        value = decode_json(reply.body)
    except ValueError:
        value = None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return error_in_body(well_formed(value), status=reply.status, headers=reply.headers, now=reply.now)
    return api_error(
        message=f"HTTP {reply.status} with {looks_like(reply.body)}",
        status=reply.status,
        headers=reply.headers,
        now=reply.now,
        body=reply.body[:4096].decode("utf-8", "replace"),
    )


def retry_after(headers: Mapping[str, str], now: float | None) -> float | None:
    """Seconds to wait, from `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None or now is None:
        return seconds
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def _http_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else None


def _words(value: Any) -> str:
    if isinstance(value, list) and value:
        return "; ".join(_complaint(item) for item in value)
    return str(value)


def _complaint(item: Any) -> str:
    """One item of a validation error's list: where, and what."""
    if not isinstance(item, Mapping) or "msg" not in item:
        return str(item)
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else place
    return f"{where}: {item['msg']}" if where else str(item["msg"])
