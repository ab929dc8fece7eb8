"""This library's errors as those that LangChain knows: each is both, so that either is caught.

A translated error is of a class of its own, which has the name of this library's class and inherits from it and from
LangChain's. `is_retryable`, which LangChain's middleware looks at, is the error's own `retryable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core import exceptions as lc

from brainwires_provider import errors as own

__all__ = ["translated", "translating"]


class AuthenticationError(own.AuthenticationError, lc.ModelAuthenticationError):
    """See `errors.AuthenticationError`."""


class PermissionDeniedError(own.PermissionDeniedError, lc.ModelPermissionDeniedError):
    """See `errors.PermissionDeniedError`."""


class NotFoundError(own.NotFoundError, lc.ModelNotFoundError):
    """See `errors.NotFoundError`."""


class ContextLengthError(own.ContextLengthError, lc.ContextOverflowError, lc.ModelInvalidRequestError):
    """See `errors.ContextLengthError`."""


class InvalidRequestError(own.InvalidRequestError, lc.ModelInvalidRequestError):
    """See `errors.InvalidRequestError`."""


class RateLimitError(own.RateLimitError, lc.ModelRateLimitError):
    """See `errors.RateLimitError`."""


class OverloadedError(own.OverloadedError, lc.ModelAPIError):
    """See `errors.OverloadedError`."""


class ServerError(own.ServerError, lc.ModelAPIError):
    """See `errors.ServerError`."""


class APIError(own.APIError, lc.ModelError):
    """See `errors.APIError`."""


class StreamTimeout(own.StreamTimeout, lc.ModelTimeoutError):
    """See `errors.StreamTimeout`."""


class RequestTimeout(own.RequestTimeout, lc.ModelTimeoutError):
    """See `errors.RequestTimeout`."""


class BreakerOpenError(own.BreakerOpenError, lc.ModelConnectionError):
    """See `errors.BreakerOpenError`."""


class ConnectError(own.ConnectError, lc.ModelConnectionError):
    """See `errors.ConnectError`."""


class StreamInterrupted(own.StreamInterrupted, lc.ModelConnectionError):
    """See `errors.StreamInterrupted`."""


class TransportError(own.TransportError, lc.ModelConnectionError):
    """See `errors.TransportError`."""


class ProtocolError(own.ProtocolError, lc.ModelAPIError):
    """See `errors.ProtocolError`."""


class FramingError(own.FramingError, lc.ModelAPIError):
    """See `errors.FramingError`."""


_BY_CLASS: dict[type[own.ProviderError], type[own.ProviderError]] = {
    each.__bases__[0]: each
    for each in (
        AuthenticationError,
        PermissionDeniedError,
        NotFoundError,
        ContextLengthError,
        InvalidRequestError,
        RateLimitError,
        OverloadedError,
        ServerError,
        APIError,
        StreamTimeout,
        RequestTimeout,
        BreakerOpenError,
        ConnectError,
        StreamInterrupted,
        TransportError,
        ProtocolError,
        FramingError,
    )
}


def translated(error: own.ProviderError) -> own.ProviderError:
    """The same error, of a class that is LangChain's too. One that LangChain has no class for is returned as it is.

    A wrong configuration or request is the program's fault, for which LangChain has no class.
    """
    if isinstance(error, lc.ModelError):
        return error
    found = next((_BY_CLASS[each] for each in type(error).__mro__ if each in _BY_CLASS), None)
    if found is None:
        return error
    made: Any = found.__new__(found, error.message)
    made.args = error.args
    vars(made).update(vars(error))
    made.is_retryable = error.retryable
    if hasattr(error, "__notes__"):
        made.__notes__ = list(error.__notes__)
    return made.with_traceback(error.__traceback__)  # type: ignore[no-any-return]


@contextmanager
def translating() -> Iterator[None]:
    """Raise LangChain's errors for this library's."""
    try:
        yield
    except own.ProviderError as error:
        raise translated(error) from error.__cause__
