"""Every failure, sorted by whose fault it was.

An error is translated once, at the edge that saw it, and carries plain values only: no wire object, no
secret. All of them survive `pickle` and `copy`.

    ProviderError                      .retryable
    ├─ ConfigError                     the caller, before any byte left
    ├─ UnsupportedError                the caller: this protocol cannot say that
    ├─ TransportError                  the network
    │  ├─ ConnectError                 (also a ConnectionError)
    │  ├─ RequestTimeout                      (also a TimeoutError) .clock
    │  └─ StreamInterrupted            an answer that was cut; .how, .partial
    │     └─ StreamTimeout             (also a RequestTimeout)
    ├─ APIError                        the provider said no
    │  ├─ AuthenticationError  PermissionDeniedError  NotFoundError  RateLimitError  OverloadedError  ServerError
    │  └─ InvalidRequestError
    │     └─ ContextLengthError
    └─ ProtocolError                   the provider broke its contract; .partial
       └─ FramingError
"""

from __future__ import annotations

from typing import Any, Literal

from brainwires_provider.types import Response, ToolArgumentsError

__all__ = [
    "APIError",
    "AuthenticationError",
    "ConfigError",
    "ConnectError",
    "ContextLengthError",
    "FramingError",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "ProviderError",
    "RateLimitError",
    "RequestTimeout",
    "ServerError",
    "StreamInterrupted",
    "StreamTimeout",
    "ToolArgumentsError",
    "TransportError",
    "UnsupportedError",
]

Clock = Literal["connect", "first_event", "idle", "attempt", "total"]


def _rebuild(cls: type[ProviderError], message: str, state: dict[str, Any]) -> ProviderError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class ProviderError(Exception):
    """The root. `message` says what went wrong and what to do about it."""

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.model = model
        self.request_id = request_id

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.__dict__))


class ConfigError(ProviderError):
    """The caller's set-up is wrong: an unknown provider, no key, a missing extra. No byte has left."""


class UnsupportedError(ProviderError):
    """This protocol cannot say what the request holds. No byte has left."""


class TransportError(ProviderError):
    """The network failed; the provider may never have seen the request."""

    retryable = True


class ConnectError(TransportError, ConnectionError):
    """No connection came about: refused, unresolved, TLS failed, or the proxy refused."""


class RequestTimeout(TransportError, TimeoutError):
    """A clock of `Timeouts` ran out; `clock` names it."""

    def __init__(self, message: str, *, clock: Clock, **context: Any) -> None:
        super().__init__(message, **context)
        self.clock: Clock = clock


class StreamInterrupted(TransportError):
    """An answer was cut before its end.

    `how` is `"eof"`, `"reset"`, `"idle"`, another clock's name, or a WebSocket close code as text.
    `partial` holds what had arrived.
    """

    def __init__(self, message: str, *, how: str, partial: Response | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.how = how
        self.partial = partial


class StreamTimeout(StreamInterrupted, RequestTimeout):
    """A clock ran out in mid-answer: both a `StreamInterrupted` (with `partial`) and a `RequestTimeout`."""

    def __init__(
        self, message: str, *, clock: Clock, partial: Response | None = None, **context: Any
    ) -> None:
        super().__init__(message, how=clock, partial=partial, clock=clock, **context)


class APIError(ProviderError):
    """The provider answered, and said no.

    `status` is the HTTP status of the answer; `provider_status` the one that an error object inside the
    body or stream claims for itself, when it has one. `code` and `type` are the provider's own words,
    `retry_after` is in seconds, `body` is the error as it came (secrets removed), and `partial` what had
    arrived before an error inside a stream. `retryable` depends on the cause: a quota that is used up is a
    RateLimitError that no second try mends.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        provider_status: int | None = None,
        code: str | None = None,
        type: str | None = None,
        body: Any = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
        partial: Response | None = None,
        **context: Any,
    ) -> None:
        super().__init__(message, **context)
        if retryable is not None:
            self.retryable = retryable
        self.status = status
        self.provider_status = provider_status
        self.code = code
        self.type = type
        self.body = body
        self.retry_after = retry_after
        self.partial = partial


class AuthenticationError(APIError):
    """The key is missing, wrong or expired (401)."""


class PermissionDeniedError(APIError):
    """The key is good, but not for this (403)."""


class NotFoundError(APIError):
    """No such model or endpoint (404)."""


class InvalidRequestError(APIError):
    """The provider refuses the request as it stands (400, 413, 422)."""


class ContextLengthError(InvalidRequestError):
    """The prompt, or prompt and answer together, exceed the model's context window."""


class RateLimitError(APIError):
    """Too many requests or tokens, or the quota is used up (429)."""

    retryable = True


class OverloadedError(APIError):
    """The provider is out of capacity for the moment (503, 529)."""

    retryable = True


class ServerError(APIError):
    """The provider failed (5xx)."""

    retryable = True


class ProtocolError(ProviderError):
    """The provider broke its contract: bytes that cannot be decoded, or a body without its mandatory member."""

    def __init__(self, message: str, *, partial: Response | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.partial = partial


class FramingError(ProtocolError):
    """The bytes cannot be cut into messages: not that framing, or one message over the limit."""
