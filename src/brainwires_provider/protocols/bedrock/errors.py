"""Bedrock's errors: named by a header, by `__type`, or by the `:exception-type` of a message inside a stream.

The name decides, then the wording, then the status. In a stream an exception has the status that it would have had as
a response.
Reference: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html under "Errors", and
"Common Errors" beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.protocols.base.errors import api_error, as_kind, error_in_body, error_in_reply
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.types import Origin, Response

__all__ = ["decode_error", "error_in_stream", "is_error", "named_error"]

_NAMES: dict[type[APIError], str] = {
    PermissionDeniedError: "accessdenied notauthorized optinrequired",
    AuthenticationError: "expiredtoken incompletesignature invalidclienttokenid invalidsignature "
    "missingauthenticationtoken requestexpired signaturedoesnotmatch unrecognizedclient",
    NotFoundError: "resourcenotfound unknownoperation",
    InvalidRequestError: "validation validationerror",
    RateLimitError: "servicequotaexceeded throttling toomanyrequests",
    OverloadedError: "modelnotready serviceunavailable",
    ServerError: "internalerror internalfailure internalserver modelerror modelstreamerror modeltimeout",
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
_STATUSES = {
    "accessdenied": 403,
    "internalerror": 500,
    "internalfailure": 500,
    "internalserver": 500,
    "modelerror": 424,
    "modelnotready": 429,
    "modelstreamerror": 424,
    "modeltimeout": 408,
    "resourcenotfound": 404,
    "servicequotaexceeded": 400,
    "serviceunavailable": 503,
    "throttling": 429,
    "validation": 400,
}
"""Of the API's own exceptions and of a failing service. Other errors come before a stream, with a status of HTTP."""
_NO_KEY = re.compile(r"authentication failed|api key|security token", re.IGNORECASE)


def decode_error(reply: Reply) -> APIError:
    """The error of a refused request."""
    body = _object(reply.body)
    name = _name(reply.headers.get("x-amzn-errortype")) or _name_in(body)
    if name is None or body is None:
        return _classified(error_in_reply(reply))
    return named_error(name, body, status=reply.status, headers=reply.headers, now=reply.now)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = decode_json(data) if data.strip() else {}
    except ValueError:
        return None
    body: Any = well_formed(value)
    return body if isinstance(body, dict) else None


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether a body is an error under whatever status."""
    only_message = bool(body) and body.keys() <= {"message", "Message"}
    return only_message or bool(body.get("error")) or _name_in(body) is not None


def named_error(
    name: str | None,
    body: Mapping[str, Any],
    *,
    status: int | None,
    headers: Mapping[str, str] | None = None,
    now: float | None = None,
    partial: Response | None = None,
) -> APIError:
    """The error of this name, or of the name that the body has."""
    name = name or _name_in(body)
    if name is None and (body.get("error") or body.get("code")):  # as gateways in front of Bedrock do
        return _classified(error_in_body(body, status=status, partial=partial))
    inner = body.get("Output") if isinstance(body.get("Output"), Mapping) else body
    assert isinstance(inner, Mapping)
    message = inner.get("message") or inner.get("Message") or inner.get("originalMessage")
    claimed = None if status is not None and status >= 400 else _STATUSES.get(_key(name))
    error = api_error(
        message=str(message) if message else name or "the service failed without a message",
        status=status,
        code=name,
        claimed_status=claimed,
        headers=headers,
        now=now,
        body=dict(body),
        partial=partial,
    )
    return _classified(error)


def error_in_stream(
    headers: Mapping[str, Any], body: Mapping[str, Any], partial: Response, origin: Origin
) -> APIError:
    """The error of a message whose `:message-type` is `exception` or `error`."""
    name = _name(headers.get(":exception-type")) or _name(headers.get(":error-code"))
    if ":error-message" in headers:
        body = {"message": headers[":error-message"], **body}
    error = named_error(name, body, status=None, partial=partial)
    error.provider, error.model = origin.provider, origin.model
    return error


def _classified(error: APIError) -> APIError:
    """The same error as the class of its name, if the name is known."""
    kind = _KINDS.get(_key(error.code), type(error))
    if kind is InvalidRequestError and isinstance(error, ContextLengthError):
        return error
    if kind is PermissionDeniedError and _NO_KEY.search(error.message):
        kind = AuthenticationError
    return as_kind(error, kind)


def _name_in(body: Mapping[str, Any] | None) -> str | None:
    body = body or {}
    inner = body.get("Output")
    return _name(body.get("__type")) or (_name(inner.get("__type")) if isinstance(inner, Mapping) else None)


def _name(value: Any) -> str | None:
    """`ThrottlingException` out of `ns#ThrottlingException:http://…`."""
    if not isinstance(value, str) or not value:
        return None
    return value.partition(":")[0].rpartition("#")[2] or None


def _key(name: str | None) -> str:
    return (name or "").lower().removesuffix("exception")
