"""This library's errors as those that users of the Agents SDK catch: openai-python's, and the SDK's own."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import openai
from agents import AgentsException, ModelBehaviorError, ModelRetryAdvice, UserError
from agents.retry import ModelRetryNormalizedError

from brainwires_provider.errors import (
    APIError,
    BudgetExceededError,
    ConfigError,
    ConnectError,
    OutputError,
    ProtocolError,
    ProviderError,
    RequestTimeout,
    StreamInterrupted,
    TransportError,
    UnsupportedError,
)

__all__ = ["advice_on", "as_theirs"]

_BY_STATUS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}


def _httpx() -> Any:
    """The HTTP library whose types openai-python's errors hold: one of two, by its version."""
    try:
        return import_module("httpx2")
    except ImportError:
        return import_module("httpx")


def as_theirs(error: ProviderError) -> Exception:
    """The exception to raise from `error`, which is to be its cause."""
    match error:
        case ConfigError() | UnsupportedError():
            return UserError(error.message)
        case BudgetExceededError():
            return AgentsException(error.message)
        case APIError():
            return _refusal(error)
        case TransportError():
            return _failure(error)
        case ProtocolError() | OutputError():
            return ModelBehaviorError(error.message)
    return AgentsException(error.message)


def _request() -> Any:
    return _httpx().Request("POST", "https://brainwires.invalid/")


def _refusal(error: APIError) -> openai.APIError:
    """An answer of the provider with an error, with its status, code, body and `retry-after`."""
    status = error.status or error.provider_status
    if status is None or status < 400:
        theirs = openai.APIError(error.message, _request(), body=error.body)
        theirs.code = error.code
        return theirs
    headers = {}
    if error.retry_after is not None:
        headers["retry-after"] = f"{error.retry_after:g}"
    if error.request_id is not None:
        headers["x-request-id"] = error.request_id
    kind = _BY_STATUS.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    response = _httpx().Response(status, headers=headers, request=_request())
    refusal = kind(error.message, response=response, body=error.body)
    refusal.code = error.code
    return refusal


def _failure(error: TransportError) -> openai.APIConnectionError:
    failure: openai.APIConnectionError
    if isinstance(error, RequestTimeout):
        failure = openai.APITimeoutError(_request())
        failure.message, failure.args = error.message, (error.message,)
        return failure
    return openai.APIConnectionError(message=error.message, request=_request())


def advice_on(error: BaseException | None) -> ModelRetryAdvice | None:
    """What the SDK's retry policies should know of an error; None if it is none of ours."""
    while error is not None and not isinstance(error, ProviderError):
        error = error.__cause__
    if error is None:
        return None
    partial = getattr(error, "partial", None)
    begun = isinstance(error, StreamInterrupted) or (partial is not None and bool(partial.message.content))
    unsent = isinstance(error, (ConfigError, UnsupportedError, BudgetExceededError, ConnectError))
    retry_after = getattr(error, "retry_after", None)
    advice = ModelRetryAdvice(
        suggested=error.retryable and not begun,
        retry_after=retry_after,
        replay_safety="safe" if unsent else None,
        reason=error.message,
        normalized=ModelRetryNormalizedError(
            status_code=getattr(error, "status", None),
            error_code=getattr(error, "code", None),
            message=error.message,
            request_id=error.request_id,
            retry_after=retry_after,
            is_network_error=isinstance(error, TransportError),
            is_timeout=isinstance(error, RequestTimeout),
        ),
    )
    if hasattr(advice, "response_started"):  # from 0.24 on
        advice.response_started = begun
    return advice
