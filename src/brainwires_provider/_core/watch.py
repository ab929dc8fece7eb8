"""What is known of one call while it runs, for those who look on: the log, and the client's hooks.

A call that nobody looks at has no Watch, and pays for one question to the logger. The logger `brainwires_provider`
reports at INFO each call, and at DEBUG each attempt; no message contains a key or a header, nor what was asked and
answered, but what a provider's error repeats of it.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from brainwires_provider._core.hooks import CallInfo, Hooks
from brainwires_provider._core.plan import Plan, prepare
from brainwires_provider.errors import APIError, ConfigError, ProviderError
from brainwires_provider.transports.base import Exchange
from brainwires_provider.types import Attempt, PreparedRequest, Report, Response, Telemetry, Usage

if TYPE_CHECKING:
    from brainwires_provider._core.attempt import Attempt as Sent
    from brainwires_provider._core.telemetry import CallTrace, Instruments

__all__ = ["LOGGER", "Watch", "instruments_of", "log_to_stderr"]

LOGGER = logging.getLogger("brainwires_provider")
_LEVELS = ("debug", "info", "warning", "error")
_numbers = itertools.count(1)


def log_to_stderr(level: str) -> None:
    """Let the logger write to standard error, for scripts: the value of BRAINWIRES_LOG. Raises ConfigError."""
    if level.lower() not in _LEVELS:
        raise ConfigError(f"BRAINWIRES_LOG takes {', '.join(_LEVELS)}, not {level!r}")
    LOGGER.setLevel(level.upper())
    if not LOGGER.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        LOGGER.addHandler(handler)
        LOGGER.propagate = False


class Watch:
    """One call, from its beginning."""

    __slots__ = ("_began", "_hooks", "_number", "_plan", "_show", "attempts", "trace")

    def __init__(self, plan: Plan, hooks: Hooks | None, trace: CallTrace | None = None) -> None:
        self.trace = trace
        self._plan = plan
        self._hooks = hooks
        self._began = time.monotonic()
        self._number = next(_numbers)
        self._show: Callable[[], PreparedRequest] | None = None
        self.attempts = 0

    @property
    def _name(self) -> str:
        return f"{self._plan.target.provider}:{self._plan.target.model or self._plan.call.path}"

    def follow(self, plan: Plan) -> None:
        """The call goes on with another model."""
        self._plan, self._show = plan, None
        if self.trace is not None:
            self.trace.follow(plan)

    def attempt(self, plan: Plan, attempt: Sent) -> None:
        """An attempt at a request begins."""
        if plan is not self._plan:
            self.follow(plan)
        self.attempts += 1
        attempt.number = self.attempts
        if LOGGER.isEnabledFor(logging.DEBUG):
            call = plan.call
            words = "call %d, attempt %d: %s %s %s"
            LOGGER.debug(words, self._number, self.attempts, self._name, call.method, call.path)
        if self.trace is not None:
            attempt.trace_headers = self.trace.headers()
        self._call("on_request")

    def chunk(self) -> None:
        """Something of the answer has come."""
        if self.trace is not None:
            self.trace.chunk()

    def ends(self, plan: Plan, exchange: Exchange | None) -> None:
        """With the request of this plan, and what it went over. Another of a hedged call may have begun later."""
        if plan is not self._plan:
            self.follow(plan)
        if self.trace is not None and exchange is not None:
            self.trace.over(exchange)

    def retried(
        self,
        number: int,
        failed: Attempt,
        error: ProviderError,
        *,
        is_recovery: bool = False,
        is_beside: bool = False,
    ) -> None:
        """An attempt has failed, and another follows, or is made beside it. Its number is 0 if it was not sent."""
        if self.trace is not None:
            self.trace.retried(error, is_recovery=is_recovery)
        what = f"attempt {number} failed" if number else "an attempt was not sent"
        status = "" if failed.status is None else f" (status {failed.status})"
        then = (
            "the next begins at once" if failed.delay is None else f"the next begins in {failed.delay:.2f} s"
        )
        if is_beside:
            then = "the call's other request decides"
        LOGGER.debug("call %d, %s%s: %s; %s", self._number, what, status, failed.error, then)

    def answered(self, status: int | None, response: Response | None, result: object = None) -> None:
        """The call has ended well. `response` is that of a chat, `result` what another call gave."""
        if self.trace is not None:
            self.trace.answered(response, result, self.attempts)
        if LOGGER.isEnabledFor(logging.INFO):
            usage = getattr(result if response is None else response, "usage", None) or Usage()
            LOGGER.info(
                "call %d: %s answered%s in %d ms, %d input and %d output tokens, attempts: %d",
                self._number,
                self._name,
                "" if status is None else f" with status {status}",
                self._seconds() * 1000,
                usage.input_tokens,
                usage.output_tokens,
                self.attempts,
            )
        self._call("on_response", response)

    def failed(self, error: ProviderError) -> None:
        """The call has ended with an error."""
        if self.trace is not None:
            self.trace.failed(error, self.attempts)
        status = error.status if isinstance(error, APIError) else None
        LOGGER.info(
            "call %d: %s failed%s in %d ms, attempts: %d: %s: %s",
            self._number,
            self._name,
            "" if status is None else f" with status {status}",
            self._seconds() * 1000,
            self.attempts,
            type(error).__name__,
            error.message,
        )
        self._call("on_error", error)

    def left(self, partial: Response | None, failed: tuple[Attempt, ...] = ()) -> None:
        """The caller has left before the end: cancelled, or a stream that was not read on."""
        if self.trace is not None:
            self.trace.left(partial, self.attempts, failed)
        LOGGER.info(
            "call %d: %s was left after %d ms, attempts: %d",
            self._number,
            self._name,
            self._seconds() * 1000,
            self.attempts,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _call(self, hook: str, *args: object) -> None:
        hooks = self._hooks
        if hooks is not None and getattr(hooks, hook) is not None:
            hooks.call(hook, self._info(), *args)

    def _info(self) -> CallInfo:
        plan, seconds = self._plan, time.monotonic() - self._began
        if self._show is None:
            self._show = lru_cache(1)(partial(_shown, plan))
        target = plan.target
        return CallInfo(
            self._number,
            target.provider,
            target.model,
            plan.stream,
            self._show,
            self.attempts,
            seconds,
        )


def _shown(plan: Plan) -> PreparedRequest:
    with suppress(ProviderError):  # what cannot be shown cannot be sent either: the call raises it
        return prepare(plan)
    return PreparedRequest(plan.call.method, "", {}, b"", Report())


def instruments_of(telemetry: Telemetry) -> Instruments:
    """What records spans and metrics. Raises ConfigError where the API's package is missing."""
    try:
        from brainwires_provider._core.telemetry import Instruments
    except ImportError:
        raise ConfigError(
            "telemetry needs the OpenTelemetry API: pip install 'brainwires-provider[otel]'"
        ) from None
    return Instruments(telemetry)
