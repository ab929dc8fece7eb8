"""Error bodies of Google: a status name, and `details` with the time to wait, the quota, the field.

The class is chosen by the reason in the details first (a wrong key is a plain 400 otherwise), then by the status name,
then by the number. Reference: google.rpc.Status and google.rpc error details, as the API design guide has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import APIError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import api_error, error_in_body, error_in_reply, retry_after
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Response

__all__ = ["decode_error", "decode_error_object"]

# Codes of base.errors for Google's, where those would be classified as something else.
_REASONS = {
    "API_KEY_INVALID": "invalid_api_key",
    "API_KEY_EXPIRED": "invalid_api_key",
    "ACCESS_TOKEN_EXPIRED": "invalid_api_key",
    "CREDENTIALS_MISSING": "invalid_api_key",
    "SERVICE_DISABLED": "permission_denied",
}
_STATUSES = {
    "UNAUTHENTICATED": "unauthorized",
    "PERMISSION_DENIED": "permission_denied",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
    "UNAVAILABLE": "service_unavailable",
    "INTERNAL": "server_error",
    "UNKNOWN": "server_error",
    "DEADLINE_EXCEEDED": "server_error",
}
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request; an array of one error, as streams without `alt=sse` have it, is one too."""
    try:
        value = decode_json(reply.body)
    except ValueError:
        value = None
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0]
    if not isinstance(value, dict) or not isinstance(value.get("error"), dict):
        return error_in_reply(reply)
    return decode_error_object(value, status=reply.status, headers=reply.headers, now=reply.now)


def decode_error_object(
    body: Mapping[str, Any],
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    now: float | None = None,
    partial: Response | None = None,
) -> APIError:
    """The error of `{"error": {…}}`, under any status or inside a stream."""
    body = well_formed(dict(body))
    error = body["error"]
    if not isinstance(error, dict) or not isinstance(error.get("status"), str):
        return error_in_body(body, status=status, headers=headers, now=now, partial=partial)
    message, status_name = str(error.get("message") or error["status"]), error["status"]
    details = [d for d in _list(error.get("details")) if isinstance(d, dict)]
    reason = next((str(d["reason"]) for d in details if d.get("reason")), None)
    number = error.get("code")
    made = api_error(
        message=message + _particulars(details),
        status=status,
        code=_REASONS.get(reason or ""),
        type=_STATUSES.get(status_name),
        claimed_status=number if type(number) is int and 400 <= number < 600 else None,
        headers=headers,
        now=now,
        body=body,
        partial=partial,
    )
    made.code, made.type = reason or status_name, status_name
    made.retry_after = _delay(details) or retry_after(headers or {}, now)
    return made


def _delay(details: list[dict[str, Any]]) -> float | None:
    """`RetryInfo.retryDelay`, in seconds."""
    for detail in details:
        found = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        if found:
            return float(found[1])
    return None


def _particulars(details: list[dict[str, Any]]) -> str:
    """The broken quotas and the wrong fields, for the message."""
    said = []
    for detail in details:
        for violation in _list(detail.get("fieldViolations")) + _list(detail.get("violations")):
            if not isinstance(violation, dict):
                continue
            what = violation.get("field") or violation.get("quotaId") or violation.get("subject")
            why = violation.get("description") or violation.get("quotaValue")
            said.append(": ".join(str(v) for v in (what, why) if v))
    return f" ({'; '.join(dict.fromkeys(filter(None, said)))})" if any(said) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
