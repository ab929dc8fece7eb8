"""What all operations on stored answers share: the provider's protocol is checked, an answer waited for, or read on.

A stream that is resumed keeps the decoder of the one that was cut, so it goes on with the very next event.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider._core.session import Session
from brainwires_provider._core.stream import AsyncStream, Cut
from brainwires_provider.errors import ConfigError, ProviderError, RequestTimeout, UnsupportedError
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.providers import Target
from brainwires_provider.types import Response
from brainwires_provider.types.checked import misfit

__all__ = ["Stored", "taken_over"]


def taken_over(stream: Any) -> Callable[[], Cut]:
    """What takes a stream over, sync or async. Raises TypeError for what is none."""
    if not hasattr(stream, "_take_over"):
        raise misfit("stream", (AsyncStream, str), stream)
    take_over: Callable[[], Cut] = stream._take_over
    return take_over


class Stored(ABC):
    """The base of `AsyncResponses` and `AsyncInteractions`. `sleep` and `clock` are for tests of `wait`."""

    _protocol: ClassVar[str]
    _api: ClassVar[str]
    """The API's name, in messages."""
    _speaker: ClassVar[str]
    """A provider that speaks the protocol."""
    _subject: ClassVar[str] = "the id: was it stored (store=True), by this account, and not deleted?"
    """What a 404 is about."""

    def __init__(
        self,
        session: Session,
        *,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._sleep = sleep
        self._clock = clock

    @abstractmethod
    async def retrieve(self, id: str, *, provider: str | None = None) -> Response:
        """A stored answer."""

    # -- waiting -----------------------------------------------------------------------------------------

    async def _wait_for(
        self,
        response: Response | str,
        *,
        every: float,
        slowest: float,
        timeout: float | None,
        provider: str | None,
    ) -> Response:
        """Look after a background answer until it is no longer pending; the pauses grow by half up to `slowest`."""
        if not every > 0:
            raise ConfigError(f"every is the number of seconds between two looks, not {every!r}")
        due = None if timeout is None else self._clock() + timeout
        id = response.id if isinstance(response, Response) else response
        if id is None:
            raise ConfigError("this response has no id, so it cannot be asked after")
        if isinstance(response, Response):
            provider, found = provider or response.provider, response
        else:
            found = await self._look(id, provider, due, timeout)
        while found.finish_reason == "pending":
            await self._pause(every if due is None else min(every, due - self._clock()))
            found = await self._look(id, provider, due, timeout)
            every = max(every, min(every * 1.5, slowest))
        return found

    async def _look(
        self, id: str, provider: str | None, due: float | None, timeout: float | None
    ) -> Response:
        """`retrieve`, by the clock of a wait."""
        import asyncio

        left = None if due is None else due - self._clock()
        if left is None or left > 0:
            try:
                async with asyncio.timeout(left):
                    return await self.retrieve(id, provider=provider)
            except TimeoutError as error:
                if isinstance(error, ProviderError):
                    raise
        raise RequestTimeout(
            f"{id} was still pending after {timeout:g} s; wait again, or cancel it", clock="total"
        )

    async def _pause(self, seconds: float) -> None:
        import asyncio

        if seconds > 0:
            await (self._sleep or asyncio.sleep)(seconds)

    # -- reading on --------------------------------------------------------------------------------------

    def _read_on(self, call: Call, provider: str | None) -> AsyncStream:
        """The stream of a stored answer by its id."""
        return AsyncStream(replace(self._plan(call, provider), stream=True), self._session)

    def _continued(
        self, take_over: Callable[[], Cut], resume_call: Callable[[Any], Call], *, is_placed: bool
    ) -> AsyncStream:
        """A stream that goes on with the answer of another, sync or async. `is_placed`: a place was given, too."""
        if is_placed:
            raise ConfigError("a stream knows by itself where it stopped, and where it came from")
        cut = take_over()
        self._check(cut.target)
        decoder: Any = cut.decoder
        if decoder.ended and (cut.end_event is None or not cut.undelivered):
            raise ConfigError("there is nothing to resume: the answer had come to its end, or failed")
        if decoder.id is None:
            raise ConfigError("the stream was cut before its id had arrived; send the request again")
        call = self._addressed(resume_call(decoder), cut.target)
        return AsyncStream(replace(cut.plan(call), subject=self._subject), self._session, cut)

    # -- the requests ------------------------------------------------------------------------------------

    def _plan(self, call: Call, provider: str | None) -> Plan:
        target = self._session.place(provider)
        self._check(target)
        return self._session.plan_call(self._addressed(call, target), target, subject=self._subject)

    def _addressed(self, call: Call, target: Target) -> Call:
        """A call as a provider wants it."""
        return call

    def _check(self, target: Target) -> None:
        if target.protocol.name != self._protocol:
            raise UnsupportedError(
                f"{target.provider} does not speak the {self._api}, which this is an operation of; name one that "
                f'does: provider="{self._speaker}"',
                provider=target.provider,
            )
