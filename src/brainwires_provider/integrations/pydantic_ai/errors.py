"""Errors of this library as those that pydantic-ai, its fallbacks and its users' handlers expect.

The error of this library is the `__cause__`. Retries are over when one arrives here: this library has made them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelTimeoutError,
    UsageLimitExceeded,
    UserError,
)

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    BreakerOpenError,
    BudgetExceededError,
    ConfigError,
    ConnectError,
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    TransportError,
    UnsupportedError,
)

__all__ = ["translated", "translating"]

_CATEGORIES: tuple[tuple[type[APIError], Any], ...] = (
    (ContextLengthError, ModelContextWindowExceededError),
    (AuthenticationError, ModelAuthenticationError),
    (PermissionDeniedError, ModelAuthenticationError),
    (NotFoundError, ModelNotFoundError),
    (InvalidRequestError, ModelRequestRejectedError),
    (RateLimitError, ModelRateLimitError),
    (OverloadedError, ModelOverloadedError),
    (ServerError, ModelServerError),
)


@contextmanager
def translating(model: str) -> Iterator[None]:
    """Raise what pydantic-ai expects in place of this library's errors."""
    try:
        yield
    except ProviderError as error:
        raise translated(error, model) from error


def translated(error: ProviderError, model: str) -> Exception:
    """The exception of pydantic-ai for an error of this library."""
    match error:
        case APIError():
            return _answered(error, model)
        case ConfigError() | UnsupportedError():
            return UserError(error.message)
        case BudgetExceededError():
            return UsageLimitExceeded(error.message)
        case BreakerOpenError():
            return ModelConnectionError(model, error.message, retry_after=error.retry_after)
        case RequestTimeout():
            return ModelTimeoutError(
                model,
                error.message,
                phase="connect" if error.clock == "connect" else "read",
                in_stream=isinstance(error, StreamInterrupted),
            )
        case StreamInterrupted():
            return ModelConnectionError(model, error.message, phase="read", in_stream=True)
        case ConnectError():
            return ModelConnectionError(model, error.message, phase="connect")
        case TransportError():
            return ModelConnectionError(model, error.message)
    return ModelAPIError(model, error.message)


def _answered(error: APIError, model: str) -> ModelAPIError:
    """The provider's own error, by its category and, where there is one, its status."""
    category: Any = next((known for kind, known in _CATEGORIES if isinstance(error, kind)), None)
    if category is ModelRateLimitError and not error.retryable:
        category = ModelQuotaExceededError
    known: dict[str, Any] = {
        "body": error.body,
        "provider_error_code": error.code,
        "provider_error_type": error.type,
        "retry_after": error.retry_after,
        "in_stream": error.partial is not None,
    }
    status = error.provider_status or error.status
    if status is None or status < 400:
        made: ModelAPIError = (category or ModelAPIError)(model, error.message, **known)
        return made
    return ModelHTTPError.for_category(
        category, status_code=status, model_name=model, hint=error.message, **known
    )
