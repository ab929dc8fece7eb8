"""The exceptions of this package, by cause: the caller, the network, the provider.

Errors hold plain values only, no transport objects and no secrets, and can be pickled and copied. `retryable` is true
where the same request may succeed later.

    ProviderError                      .retryable
    ├─ ConfigError                     wrong configuration; nothing was sent
    ├─ UnsupportedError                the protocol has no such feature; nothing was sent
    ├─ BudgetExceededError             a `Budget` is too small for the request; nothing was sent
    ├─ SharedServerError               the server of shared limits and budgets does not answer; nothing was sent
    ├─ StoreError                      a store of results cannot be read or written
    ├─ TransportError                  the network
    │  ├─ ConnectError                 (also a ConnectionError)
    │  │  └─ BreakerOpenError          a `Breaker` is open; nothing was sent; .retry_after
    │  ├─ RequestTimeout               (also a TimeoutError) .clock
    │  └─ StreamInterrupted            a response that was cut off; .how, .partial
    │     └─ StreamTimeout             (also a RequestTimeout)
    ├─ APIError                        the provider answered with an error
    │  ├─ AuthenticationError  PermissionDeniedError  NotFoundError  RateLimitError  OverloadedError  ServerError
    │  └─ InvalidRequestError
    │     └─ ContextLengthError
    ├─ ProtocolError                   the response violates the protocol; .partial
    │  └─ FramingError
    └─ OutputError                     no value of the asked type in a whole response; .partial
       ├─ OutputTruncated              it was cut off by the token limit
       ├─ OutputRefused                the model refused, or a filter withheld it
       └─ OutputInvalid                it is not of the type, after repairs; .problems
"""

from __future__ import annotations

from typing import Any, Literal

from brainwires_provider.types import Attempt, Response, ToolArgumentsError

__all__ = [
    "APIError",
    "AuthenticationError",
    "BreakerOpenError",
    "BudgetExceededError",
    "ConfigError",
    "ConnectError",
    "ContextLengthError",
    "FramingError",
    "InvalidRequestError",
    "NotFoundError",
    "OutputError",
    "OutputInvalid",
    "OutputRefused",
    "OutputTruncated",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "ProviderError",
    "RateLimitError",
    "RequestTimeout",
    "ServerError",
    "SharedServerError",
    "StoreError",
    "StreamInterrupted",
    "StreamTimeout",
    "ToolArgumentsError",
    "TransportError",
    "UnsupportedError",
]

Clock = Literal["connect", "first_event", "idle", "content", "attempt", "total"]


def _rebuild(cls: type[ProviderError], message: str, state: dict[str, Any]) -> ProviderError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(state)
    return error


class ProviderError(Exception):
    """Base class of this package's exceptions.

    `message` says what went wrong and what to do about it. `provider` and `model` are the names in `"provider:model"`;
    `request_id` is the provider's id of the request, for its support. Each is None if it is not known. `attempts` are
    all attempts at the request, which all failed; empty if nothing was sent.
    """

    retryable: bool = False
    attempts: tuple[Attempt, ...] = ()

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
    """The configuration is wrong: an unknown provider, no key, a missing extra. Nothing was sent."""


class UnsupportedError(ProviderError):
    """The protocol cannot express something in the request. Nothing was sent."""


class BudgetExceededError(ProviderError):
    """What is left of a `Budget` is less than the request may cost. Nothing was sent."""


class SharedServerError(ProviderError):
    """The Redis or Valkey server that limits and budgets are shared through does not answer. Nothing was sent."""

    retryable = True


class StoreError(ProviderError):
    """The place where results are kept cannot be read or written; the same may succeed later."""

    retryable = True


class TransportError(ProviderError):
    """The network failed. Whether the provider received the request is not known."""

    retryable = True


class ConnectError(TransportError, ConnectionError):
    """No connection could be opened: refused, host not found, TLS failed, or refused by the proxy."""


class BreakerOpenError(ConnectError):
    """The model has failed so often that its `Breaker` is open. Nothing was sent.

    `retry_after` is the number of seconds until one request is sent again. A retry policy does not wait for that;
    a fallback is asked at once.
    """

    def __init__(self, message: str, *, retry_after: float, **context: Any) -> None:
        super().__init__(message, **context)
        self.retry_after = retry_after


class RequestTimeout(TransportError, TimeoutError):
    """A time limit of `Timeouts` expired; `clock` is its name."""

    def __init__(self, message: str, *, clock: Clock, **context: Any) -> None:
        super().__init__(message, **context)
        self.clock: Clock = clock


class StreamInterrupted(TransportError):
    """A response was cut off before its end.

    `how` is `"eof"`, `"reset"`, the name of a time limit such as `"idle"`, or a WebSocket close code as text.
    `partial` is the response as far as it had arrived.
    """

    def __init__(self, message: str, *, how: str, partial: Response | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.how = how
        self.partial = partial


class StreamTimeout(StreamInterrupted, RequestTimeout):
    """A time limit expired during a response: both a `StreamInterrupted` (with `partial`) and a `RequestTimeout`."""

    def __init__(
        self, message: str, *, clock: Clock, partial: Response | None = None, **context: Any
    ) -> None:
        super().__init__(message, how=clock, partial=partial, clock=clock, **context)


class APIError(ProviderError):
    """The provider answered with an error.

    `status` is the HTTP status; `provider_status` the one stated in an error object of the body or stream, if any.
    `code` and `type` are the provider's own, `retry_after` is the wait that it asks for in seconds, `body` its error
    object (secrets removed), and `partial` the response as far as it had arrived before an error inside a stream.
    `retryable` depends on the cause: a quota that is used up is a RateLimitError that no second try mends.
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
    """The key is valid, but lacks the permission for this request (403)."""


class NotFoundError(APIError):
    """No such model or endpoint (404)."""


class InvalidRequestError(APIError):
    """The provider rejects the request as invalid (400, 413, 422)."""


class ContextLengthError(InvalidRequestError):
    """The prompt, or prompt and output together, exceed the model's context window."""


class RateLimitError(APIError):
    """Too many requests or tokens, or an exhausted quota (429)."""

    retryable = True


class OverloadedError(APIError):
    """The provider has no capacity at the moment (503, 529)."""

    retryable = True


class ServerError(APIError):
    """The provider failed internally (5xx)."""

    retryable = True


class ProtocolError(ProviderError):
    """The response violates the protocol: it cannot be decoded, or lacks a required field."""

    def __init__(self, message: str, *, partial: Response | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.partial = partial


class FramingError(ProtocolError):
    """The response cannot be split into messages: another format than expected, or a message over the limit."""


class OutputError(ProviderError):
    """A whole response holds no value of the type that `output=` asked for. `partial` is the response."""

    def __init__(self, message: str, *, partial: Response | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.partial = partial


class OutputTruncated(OutputError):
    """The response was cut off by the token limit, perhaps by reasoning alone. Raise `max_tokens`."""


class OutputRefused(OutputError):
    """The model refused to answer, or a content filter withheld the answer."""


class OutputInvalid(OutputError):
    """The response is not of the type, also after the repairs that `Retry.repairs` allows.

    `problems` are all that were found in the last answer, each with the path and what would be right.
    """

    def __init__(self, message: str, *, problems: tuple[Any, ...] = (), **context: Any) -> None:
        super().__init__(message, **context)
        self.problems = problems
