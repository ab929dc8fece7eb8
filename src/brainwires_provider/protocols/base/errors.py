"""A provider's error, classified in the same way for every protocol, as a response and inside a stream.

Its code and type decide first, its wording second, its status third; what it is decides whether a second try may
succeed. Services wrap the same few failures in many shapes: `{"error": {…}}`, `{"error": "text"}`, `{"detail": …}`,
`{"message": …, "type": …}`, `{"base_resp": {…}}`, an array of one of them, an HTML page. The fields are found in any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC
from functools import lru_cache
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
from brainwires_provider.protocols.base.decoder import listed_error, well_formed
from brainwires_provider.protocols.base.json import decode_json, looks_like
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Response, TokenCount

__all__ = [
    "api_error",
    "as_kind",
    "count_in",
    "error_in_body",
    "error_in_reply",
    "is_error",
    "object_in",
    "retry_after",
    "sensible",
    "server_time",
]

_CODES: tuple[tuple[type[APIError], tuple[str, ...]], ...] = (
    (
        AuthenticationError,
        (
            "authentication_error",
            "invalid_api_key",
            "invalid_authentication",
            "invalid_authentication_error",
            "unauthorized",
        ),
    ),
    (PermissionDeniedError, ("forbidden", "permission_denied", "permission_error")),
    (NotFoundError, ("deploymentnotfound", "model_not_found", "not_found", "not_found_error")),
    (
        ContextLengthError,
        (
            "1261",  # Z.AI
            "context_length_exceeded",
            "exceed_context_size_error",
            "model_max_prompt_tokens_exceeded",
        ),
    ),
    (
        RateLimitError,
        (
            "billing_error",
            "exceeded_current_quota_error",
            "insufficient_quota",
            "rate_limit",
            "rate_limit_error",
            "rate_limit_exceeded",
            "rate_limit_reached_error",
            "ratelimitreached",
            "too_many_requests",
            "too_many_requests_error",
        ),
    ),
    (
        OverloadedError,
        (
            "engine_overloaded",
            "engine_overloaded_error",
            "model_overloaded",
            "overloaded",
            "overloaded_error",
            "server_is_overloaded",
            "server_overloaded",
            "service_unavailable",
            "service_unavailable_error",
            "slow_down",
            "unavailable_error",
        ),
    ),
    (ServerError, ("internal_error", "internal_server_error", "server_error", "timeout_error")),
)
_KINDS = {code: kind for kind, codes in _CODES for code in codes}
"""By code or type. They decide before status and wording, but for those of `_BROAD`."""
_VAGUE: dict[str, type[APIError]] = {
    "api_error": ServerError,
    "request_too_large": InvalidRequestError,
    "invalid_request_error": InvalidRequestError,
    "invalid_request": InvalidRequestError,
    "bad_request": InvalidRequestError,
    "invalid_value": InvalidRequestError,
    "unsupported_value": InvalidRequestError,
}
"""Codes of many kinds of errors: they decide only when neither the wording nor the status does."""
_STATUS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    402: RateLimitError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: NotFoundError,
    408: ServerError,
    429: RateLimitError,
    501: InvalidRequestError,
    503: OverloadedError,
    529: OverloadedError,
}
"""Other statuses from 500 on are the server's, from 400 on the request's."""
_BASE_RESP: dict[str, type[APIError]] = {
    "1000": ServerError,
    "1001": ServerError,
    "1002": RateLimitError,
    "1004": AuthenticationError,
    "1008": RateLimitError,
    "1013": ServerError,
    "1024": ServerError,
    "1033": ServerError,
    "1039": RateLimitError,
    "1041": RateLimitError,
    "2013": InvalidRequestError,
    "2049": AuthenticationError,
    "2056": RateLimitError,
}
"""MiniMax's `base_resp.status_code`. Reference: https://platform.minimax.io/docs/api-reference/errorcode."""
_BROAD = (ServerError, InvalidRequestError, APIError)
"""Kinds that the wording may make more precise."""
_WORDINGS: tuple[tuple[type[APIError], re.Pattern[str]], ...] = (
    (
        ContextLengthError,
        re.compile(
            r"maximum (prompt|model) length|context[ _](length|window|size|limit)|exceeded max context"
            r"|(prompt|input) is too long|prompt too long|prompt exceeds max length|exceeded model token limit"
            r"|too many tokens in the (prompt|input)|range of input length should be|too many input tokens"
            r"|input tokens exceeded|exceeds? (the )?maximum (allowed )?(input )?length"
            r"|input token count .{0,80}exceeds the maximum|exceeds the max(imum)? (number of )?(input )?tokens"
            r"|increase the physical batch size",
            re.IGNORECASE,
        ),
    ),
)
_CALLERS_FAULT = re.compile(
    r"\b(is|are) not supported\b|\bdoes(n't| not) support\b|\bnot implemented\b", re.IGNORECASE
)
"""What servers say, under a status of theirs, of a request that they cannot answer."""
_USED_UP = frozenset(("insufficient_quota", "exceeded_current_quota_error", "billing_error", "1008", "2056"))
_UNPAID = re.compile(
    r"insufficient (quota|balance|funds|credit)|credit balance is too low|out of credits|payment required",
    re.IGNORECASE,
)
_OF_A_DAY = re.compile(
    r"models-per-day|per day limit exceeded|on \w+ per day\b|too many \w+ per day\b"
    r"|daily (?:rate |usage |request |token )?(?:limit|quota)|free_tier_daily",
    re.IGNORECASE,
)
"""A quota of a day, whatever wait is stated: the codes are the same as of a minute's. Seen in, read on 2026-11-30:
OpenRouter (of 2026-04-28) https://github.com/Gitlawb/openclaude/issues/936 and, as `limit_source` (2026-08-16),
https://github.com/Avarok-Cybersecurity/atlas/pull/543, OpenAI (2024-08-28)
https://github.com/feder-cr/invisible_playwright_mcp/issues/109, Groq (2026-02-28)
https://github.com/continuedev/continue/issues/10920, Bedrock (2026-07-24)
https://github.com/Ivy-Interactive/Ivy-Tendril/issues/1756, Anthropic (2024-11-03)
https://github.com/nraiden/cofounder/issues/40. Cerebras: the wording for a minute (2026-08-12)
https://github.com/nminaya/grammar-nazi-bot/issues/958; that for a day in many a client's source, of no vendor's page.
"""
_WAIT = re.compile(r"(?:try again|retry) (?:in|after) ", re.IGNORECASE)
_SPAN = re.compile(
    r"[,\s]{0,2}(?:and\s)?(\d{1,15}(?:\.\d{1,15})?)\s?"
    r"(ms|milliseconds?|h|hours?|m|mins?|minutes?|s|secs?|seconds?)(?![a-z])",
    re.IGNORECASE,
)
_UNITS = {"ms": 0.001, "mil": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}
_LONGEST_WAIT = 31 * 86_400.0
"""Seconds; a longer wait is a clock that is wrong, or no wait at all."""


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
    known: type[APIError] | None = None,
) -> APIError:
    """The typed error for what a provider answered.

    `claimed_status` is the status that an error object claims for itself (in a stream, HTTP's own is 200); `known` is
    the kind by a protocol's own codes, which the wording may still make more precise.
    """
    decisive = claimed_status or status or 0
    names = (code or "").lower(), (type or "").lower()
    kind = _precise(known or _kind(names, decisive), message)
    return kind(
        message,
        status=status,
        provider_status=claimed_status,
        code=code,
        type=type,
        body=body,
        retry_after=_stated_wait(kind, message, retry_after(headers or {}, now)),
        retryable=_is_retryable(kind, names, decisive, message),
        partial=partial,
    )


def _kind(names: tuple[str, str], status: int) -> type[APIError]:
    """By code, then type, then status."""
    code, type = names
    by_status = ServerError if status >= 500 else InvalidRequestError if status >= 400 else None
    return (
        _KINDS.get(code)
        or _KINDS.get(type)
        or _STATUS.get(status)
        or by_status
        or _VAGUE.get(type)
        or _VAGUE.get(code)
        or APIError
    )


def _precise(kind: type[APIError], message: str) -> type[APIError]:
    """The kind that the wording shows, where code and status leave it open."""
    if kind not in _BROAD:
        return kind
    for wording_kind, wording in _WORDINGS:
        if wording.search(message):
            return wording_kind
    if kind is ServerError and _CALLERS_FAULT.search(message):
        return InvalidRequestError
    return kind


def _is_retryable(kind: type[APIError], names: tuple[str, str], status: int, message: str) -> bool:
    """Whether a second try may succeed: by the kind, unless what is used up must be paid for, or is of a day."""
    if kind is RateLimitError and (
        status == 402
        or not _USED_UP.isdisjoint(names)
        or _UNPAID.search(message)
        or _OF_A_DAY.search(message)
    ):
        return False
    return kind.retryable


def as_kind(error: APIError, kind: type[APIError]) -> APIError:
    """The same error as another kind, for a protocol that knows better by names of its own."""
    if kind is type(error):
        return error
    state = {name: value for name, value in error.__dict__.items() if name not in ("message", "retryable")}
    made = kind(error.message)
    made.__dict__.update(state)
    return made


def _stated_wait(kind: type[APIError], message: str, header: float | None) -> float | None:
    """Seconds to wait, from the headers or, in a stream that has none, from the wording of a rate limit."""
    found = _WAIT.search(message) if header is None and kind in (RateLimitError, OverloadedError) else None
    if found is None:
        return header
    seconds, end = None, found.end()
    while span := _SPAN.match(message, end):
        unit = next(factor for name, factor in _UNITS.items() if span[2].lower().startswith(name))
        seconds, end = (seconds or 0.0) + float(span[1]) * unit, span.end()
    return None if seconds is None else sensible(seconds)


def sensible(seconds: float) -> float | None:
    """The wait, or None for one that nobody can mean."""
    return seconds if 0 <= seconds <= _LONGEST_WAIT else None


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
    base, known = body.get("base_resp"), None
    if error is body and isinstance(base, Mapping):
        error = {"message": base.get("status_msg"), "code": base.get("status_code")}
        known = _BASE_RESP.get(str(error["code"]))
    message = _words(error.get("message") or error.get("detail") or error.get("msg") or error)
    code, kind = error.get("code"), error.get("type")
    claimed = next(
        (n for n in (_http_status(error.get(key)) for key in ("status_code", "status", "code")) if n), None
    )
    return api_error(
        message=message + _upstream(error),
        status=status,
        code=None if code is None else str(code),
        type=None if kind is None else str(kind),
        claimed_status=claimed,
        headers=headers,
        now=now,
        body=dict(body),
        partial=partial,
        known=known,
    )


def _upstream(error: Mapping[str, Any]) -> str:
    """What OpenRouter says besides: whose limit it is, or the text of the provider behind it, often as JSON."""
    metadata = error.get("metadata")
    if not isinstance(metadata, Mapping):
        return ""
    raw, source = metadata.get("raw"), metadata.get("limit_source")
    if not isinstance(raw, str) or not raw.strip():
        return f" ({source})" if isinstance(source, str) else ""
    try:
        value = decode_json(raw.encode("utf-8", "surrogatepass"))
    except ValueError:
        value = None
    inner = value.get("error") or value if isinstance(value, dict) else raw
    text = inner.get("message") or raw if isinstance(inner, dict) else inner
    return f": {text}"


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
    value = listed_error(value) or value
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is not an object: {looks_like(body)}")
    mended: dict[str, Any] = well_formed(value)
    if is_error(mended):
        raise error_in_body(mended, status=None) if refusal is None else refusal(mended)
    return mended


def count_in(
    body: bytes, *names: str, refusal: Callable[[dict[str, Any]], APIError] | None = None
) -> TokenCount:
    """The count that a body has under one of these names. Raises as `object_in` does."""
    value = object_in(body, "the count of tokens", refusal)
    count = next((value[name] for name in names if name in value), None)
    if type(count) is not int:
        raise ProtocolError(f"the body has no count of input tokens: {looks_like(body)}")
    return TokenCount(count, value)


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an object that is not what was asked for is an error of any of the usual shapes."""
    if body.get("error") or body.get("object") == "error":
        return True
    base = body.get("base_resp")
    if isinstance(base, Mapping) and base.get("status_code"):
        return True
    message = body.get("message") or body.get("detail")
    return isinstance(message, str) and bool(message) and not body.get("id")


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
    """Seconds to wait, from `retry-after-ms`, or `retry-after` as seconds or as a date; None for an absurd one."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return sensible(milliseconds / 1000)
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None or now is None:
        return None if seconds is None else sensible(seconds)
    moment = _moment(value)
    return None if moment is None else sensible(max(0.0, moment - server_time(headers, now)))


def server_time(headers: Mapping[str, str], now: float) -> float:
    """The time of a reply by its server's clock, as all times in it are (`Date`); `now` where it has none."""
    moment = _moment(headers.get("date"))
    return now if moment is None else moment


@lru_cache(16)
def _moment(text: str | None) -> float | None:
    """An HTTP date in seconds since 1970."""
    if not text:
        return None
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number >= 0 else None


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
