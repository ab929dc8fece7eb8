"""What a client does beyond one attempt at a request: retries, limits, budgets, fallbacks.

Every policy is a value, given to a client (`Client(retry=…)`) or to one call (`client.chat(…, retry=…)`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

from msgspec import Struct

from brainwires_provider.types.checked import Checked, Setting, check, shown
from brainwires_provider.types.suspects import Guarded
from brainwires_provider.types.websocket import WebSocketStats

__all__ = [
    "NO_POLICIES",
    "Breaker",
    "BreakerStats",
    "Budget",
    "BudgetStats",
    "ClientStats",
    "Fallback",
    "Hedge",
    "LimitStats",
    "Limits",
    "Policies",
    "PolicyParams",
    "Retry",
    "Telemetry",
]


class Retry(Checked, frozen=True, gc=False):
    """When a failed request is sent again: where its error is `retryable`, and the caller has no text of it yet.

    The wait is random between 0 and `base` · 2ⁿ seconds, at most `cap`, after the wait that the provider asks for, if
    it does. A response is not retried once text, a refusal or a tool call was delivered. Raises ValueError for a
    number out of range.
    """

    attempts: int = 3
    """The most attempts at one request, the first included; 1: no retry."""
    base: float = 0.5
    """The bound of the first wait, in seconds. It doubles with each attempt."""
    cap: float = 30.0
    """The largest bound of a wait, in seconds, beyond what the provider asks for."""
    longest_wait: float = 120.0
    """The longest wait, in seconds, that a provider may ask for. A longer one raises the error at once."""
    repairs: int = 1
    """How often a model is asked again whose answer is not of the type that `output=` asked for."""

    def __post_init__(self) -> None:
        check(self)
        if self.attempts < 1:
            raise ValueError(f"Retry.attempts takes 1 or more, not {self.attempts!r}")
        if self.repairs < 0:
            raise ValueError(f"Retry.repairs takes 0 or more, not {self.repairs!r}")
        for name in ("base", "cap", "longest_wait"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Retry.{name} takes seconds from 0, not {getattr(self, name)!r}")


_MOST = 10**15
"""Of what is counted: more has no exact form on a server of shared limits."""
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix")


class Limits(Guarded, Checked, frozen=True, gc=False):
    """How much is sent to one model of a provider with one key: in any 60 seconds, and at once.

    Calls over a limit wait, in order of arrival. Tokens are estimated before a request is sent (a fourth of its text's
    length, and `max_tokens` where the provider counts that), and corrected when its usage is known. Raises ValueError
    for a limit that is not above 0.
    """

    rpm: float | None = None
    """Requests a minute, every attempt of a call among them. None: no limit."""
    tpm: float | None = None
    """Tokens a minute, input and output together, as the provider counts them: at Google only the input."""
    itpm: float | None = None
    """Input tokens a minute."""
    otpm: float | None = None
    """Output tokens a minute."""
    concurrency: int | None = None
    """Requests at once, from being sent to the end of the response."""
    learn: bool = True
    """Follow the limits, and what is left of them, that the provider states in responses. A limit set here stays."""
    shared: str | None = None
    """The URL of a Redis or Valkey server (`redis://`, `rediss://`, `unix://`), or `"env:NAME"`, the environment
    variable that holds it: all processes with these limits, the model and the key count together, and so do budgets
    of a named scope. Needs the extra `redis`. None: the limits are this client's."""
    when_down: Literal["raise", "local"] = "raise"
    """While the server does not answer: SharedServerError, or each process keeps to its share of the limits."""

    def __post_init__(self) -> None:
        check(self)
        for name in ("rpm", "tpm", "itpm", "otpm", "concurrency"):
            value = getattr(self, name)
            if value is not None and not 0 < value < _MOST:
                raise ValueError(
                    f"Limits.{name} takes a number above 0 and below 10¹⁵, or None for no limit, not {shown(value)}"
                )
        if self.shared is not None and _without_password(self.shared) is None:
            raise ValueError(
                'Limits.shared takes a URL such as "redis://localhost:6379/0", or "env:REDIS_URL" for one that is in '
                f"an environment variable; the schemes are {', '.join(_SCHEMES)}"
            )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields that are set, the server without its password."""
        defaults = self.__struct_defaults__
        fields = zip(self.__struct_fields__, defaults, strict=True)
        shown = {name: getattr(self, name) for name, default in fields if getattr(self, name) != default}
        if self.shared is not None:
            shown["shared"] = _without_password(self.shared)
        return list(shown.items())

    def __reduce__(self) -> Any:
        if self.holds_password:
            raise TypeError(
                "Limits cannot be pickled: the URL in `shared` contains a password, which would be stored; put "
                'the URL into an environment variable, and pass shared="env:NAME"'
            )
        return Struct.__reduce__(self)

    @property
    def holds_password(self) -> bool:
        """Whether the URL in `shared` contains a user, a password or parameters."""
        return self.shared is not None and _without_password(self.shared) != self.shared


def _without_password(url: str) -> str | None:
    """The URL as it may be shown; None for what is none."""
    scheme, _, name = url.partition(":")
    if scheme == "env":
        return url if name.isidentifier() else None
    try:
        parts = urlsplit(url)
        place = parts.hostname or parts.path
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or not place or "//" not in url:
        return None
    return f"{parts.scheme}://{host}{parts.path}"


class Budget(Checked, frozen=True, gc=False):
    """What may be spent, in dollars or tokens: a request that could exceed it raises BudgetExceededError.

    Before a request is sent, the most that it may cost is reserved: the bytes of its text and 10,000 tokens for an
    image or file as input, and `max_tokens` (16,384 tokens where it is not set) of each answer as output. What it uses
    beyond that (history that the provider keeps, tools that it runs, a large file) is counted when it has ended, and
    the next request is refused. Raises ValueError for an amount below 0.
    """

    usd: Decimal | float | None = None
    """US dollars, by the prices of the extra `prices`. None: no limit."""
    tokens: int | None = None
    """Input and output tokens together. None: no limit."""
    scope: str = "client"
    """What counts together: this client, or all clients of the process that name the same scope."""
    unpriced: Literal["raise", "allow"] = "raise"
    """A model without a known price, with a budget in dollars: ConfigError, or it counts as free."""

    def __post_init__(self) -> None:
        check(self)
        for name in ("usd", "tokens"):
            value = getattr(self, name)
            is_nan = isinstance(value, Decimal) and value.is_nan()
            if value is not None and (is_nan or not 0 <= value < _MOST):
                raise ValueError(f"Budget.{name} takes an amount from 0 to below 10¹⁵, not {shown(value)}")


class Fallback(Setting, frozen=True):
    """Another model, and after which errors it is asked."""

    model: str
    """`"provider:model"`, or a name of the configuration's `[models]`."""
    on: Callable[[Exception], bool] | None = None
    """Whether it is asked after an error. None: after a failure of the network or the server, a limit or a lack of
    capacity, but not after a request that was refused as wrong. One that raises is logged, and the model not asked."""


class Hedge(Checked, frozen=True, gc=False):
    """A second request, where the first has given nothing of its answer for some time; the first to answer is taken.

    The other is cancelled; what it used is on `response.attempts` and in `response.cost`. Not for answers that the
    provider stores, nor where it may run tools. Raises ValueError for a number out of range.
    """

    after: float
    """Seconds without text, a refusal or a call after which the second request is sent: what most calls take less
    than."""
    model: str | None = None
    """The model that the second request asks, `"provider:model"`. None: the same."""
    share: float = 0.05
    """The largest share of the calls that are hedged, above 0 and at most 1: one of each 20 calls, by default."""

    def __post_init__(self) -> None:
        check(self)
        if not 0 <= self.after < float("inf"):
            raise ValueError(f"Hedge.after takes seconds from 0, not {self.after!r}")
        if not 0 < self.share <= 1:
            raise ValueError(f"Hedge.share takes a share above 0, at most 1, not {self.share!r}")


class Breaker(Checked, frozen=True, gc=False):
    """When a model that keeps failing is no longer asked: its calls raise BreakerOpenError at once, or fall back.

    Failures are those of the network and the server; a rate limit, a refused request and a wrong key are not counted.
    After `rest` seconds one request is sent, and decides whether others are. Each model has a breaker of its own, at
    each address. Raises ValueError for a number out of range.
    """

    failures: int = 5
    """So many failures within `window` open it."""
    window: float = 30.0
    """In seconds."""
    rest: float = 30.0
    """For so many seconds nothing is sent."""

    def __post_init__(self) -> None:
        check(self)
        if self.failures < 1:
            raise ValueError(f"Breaker.failures takes 1 or more, not {self.failures!r}")
        for name in ("window", "rest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Breaker.{name} takes seconds above 0, not {getattr(self, name)!r}")


class Telemetry(Setting, frozen=True, gc=False):
    """Spans and metrics of OpenTelemetry (the extra `otel`), by its conventions for generative AI.

    Content is recorded only as OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT says: SPAN_ONLY, EVENT_ONLY or
    SPAN_AND_EVENT.
    """

    traceparent: bool = False
    """Whether requests over HTTP carry the headers of their trace: `traceparent` and `tracestate`, no baggage."""
    tracer_provider: Any = None
    """Where spans go. None: the process's own tracer provider; the next two likewise."""
    meter_provider: Any = None
    """Where metrics go."""
    logger_provider: Any = None
    """Where events go."""

    def __post_init__(self) -> None:
        check(self)
        for name in ("tracer", "meter", "logger"):
            given = getattr(self, f"{name}_provider")
            if given is not None and not callable(getattr(given, f"get_{name}", None)):
                raise TypeError(
                    f"Telemetry.{name}_provider takes a {name.title()}Provider of OpenTelemetry, not {shown(given)}"
                )

    def __reduce__(self) -> Any:
        if any((self.tracer_provider, self.meter_provider, self.logger_provider)):
            raise TypeError(
                "Telemetry with providers of its own cannot be pickled: they belong to this process; set the "
                "process's providers (opentelemetry.trace.set_tracer_provider), and use Telemetry()"
            )
        return Struct.__reduce__(self)

    def __deepcopy__(self, memo: object) -> Telemetry:
        return self

    @classmethod
    def of(cls, given: bool | Telemetry) -> Telemetry | None:
        """What a client's argument means: True is all defaults."""
        return given if isinstance(given, Telemetry) else (cls() if given else None)


class PolicyParams(TypedDict, total=False):
    """The keywords of policies.

    - `retry`: a `Retry`. Default: 3 attempts; none beyond the first for models on this machine.
    - `limits`: `Limits`, of requests and tokens a minute and of requests at once. Default: none.
    - `budget`: a `Budget`, of dollars or tokens. Default: none.
    - `fallback`: models to ask, in order, when this one has failed; names, or `Fallback`s. Default: none.
    - `hedge`: a `Hedge`: a second request where the first is slow. Default: none.
    - `breaker`: a `Breaker`: a model that keeps failing is not asked for some time. Default: none.
    """

    retry: Retry
    limits: Limits
    budget: Budget
    fallback: Sequence[str | Fallback]
    hedge: Hedge
    breaker: Breaker


class Policies(Checked, frozen=True, gc=False):
    """The policies of one call. None: not set."""

    retry: Retry | None = None
    limits: Limits | None = None
    budget: Budget | None = None
    fallback: tuple[str | Fallback, ...] | None = None
    hedge: Hedge | None = None
    breaker: Breaker | None = None

    def over(self, others: Policies) -> Policies:
        """The others, and these where they have none."""
        return Policies(*(getattr(others, name) or getattr(self, name) for name in self.__struct_fields__))


class LimitStats(Struct, frozen=True, gc=False):
    """One limit at one moment."""

    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str
    """The model's name, as in `"provider:model"`."""
    kind: str
    """Of what in 60 seconds: "requests", "input", "output" or "tokens"."""
    limit: float
    """The limit."""
    used: int
    """What was used and is reserved in the last 60 seconds, also elsewhere with the same key as far as it is known."""
    is_learned: bool
    """Whether the provider has stated it. False: it was set."""


class BreakerStats(Struct, frozen=True, gc=False):
    """One breaker at one moment."""

    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str
    """The model's name, as in `"provider:model"`."""
    state: Literal["closed", "open", "half-open"]
    """"closed": requests are sent; "open": none is; "half-open": one is, to see whether it is answered."""
    failures: int
    """Failures within the window, while it is closed."""
    rest: float = 0.0
    """Seconds until a request is sent again."""


class BudgetStats(Struct, frozen=True, gc=False):
    """What was spent in one named scope, at one moment: by all of the process, or of a shared server."""

    scope: str
    """The scope of `Budget`."""
    spent_usd: Decimal
    """Dollars spent."""
    spent_tokens: int
    """Tokens spent."""
    reserved_usd: Decimal
    """Dollars reserved by requests in progress."""
    reserved_tokens: int
    """Tokens reserved by requests in progress."""


class ClientStats(Struct, frozen=True, gc=False):
    """The state of a client's policies at one moment."""

    limits: tuple[LimitStats, ...] = ()
    """Every limit that was set or learned, of the models that were called."""
    waiting: int = 0
    """Calls that wait for their place within limits."""
    running: int = 0
    """Requests in progress of calls with limits."""
    spent_usd: Decimal = Decimal(0)
    """Dollars spent from the client's budget: by this client or, of a named scope, by all of the process; where the
    scope is shared through a server, by all processes, as the server has said last."""
    spent_tokens: int = 0
    """Tokens spent from the client's budget."""
    reserved_usd: Decimal = Decimal(0)
    """Dollars reserved by requests in progress."""
    reserved_tokens: int = 0
    """Tokens reserved by requests in progress."""
    breakers: tuple[BreakerStats, ...] = ()
    """The breaker of every model that was called with one."""
    websockets: WebSocketStats | None = None
    """What was sent over WebSockets; None if nothing was."""
    budgets: tuple[BudgetStats, ...] = ()
    """Every named scope that a call of this client was counted in, its own budget or the call's."""


NO_POLICIES = Policies()
