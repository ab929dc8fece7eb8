"""The wire to a model on this machine: the HTTP wire, to an engine that is started when it is first needed.

Every client of one process that names the same model shares one engine, so one copy of the weights; the engine
ends with the last wire that holds it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from weakref import WeakValueDictionary

from msgspec.structs import replace

from brainwires_provider.errors import Timeout, TransportError
from brainwires_provider.types import Attempt
from brainwires_provider.wires.base import Outgoing
from brainwires_provider.wires.engine import Endpoint, Engine, EngineSettings, find_model
from brainwires_provider.wires.http import HTTPExchange, HTTPWire

__all__ = ["LocalWire", "make_wire"]

_engines: WeakValueDictionary[str, Engine] = WeakValueDictionary()
_lock = threading.Lock()
_DYING = 1.0  # seconds


def make_wire(model: str, **transport: Any) -> LocalWire:
    """One wire a model. A proxy and TLS settings do not apply on this machine."""
    return LocalWire(model, max_connections=transport["max_connections"])


class LocalWire:
    """See `wires.base.Wire`. Nothing is loaded before the first request."""

    def __init__(self, model: str, *, max_connections: int) -> None:
        self._model = model
        self._max_connections = max_connections
        self._engines: list[Engine] = []
        self._http: HTTPWire | None = None
        self._endpoint: Endpoint | None = None

    async def open(self, outgoing: Outgoing) -> HTTPExchange:
        """Load the model if it is not loaded, and send. Raises ConfigError too: no model, no extra, a bad file.

        An engine that has just died may still be found, and not answer: another is started, once; `attempts` says it.
        """
        try:
            return await self._send(outgoing)
        except Timeout:
            raise
        except TransportError as error:
            if not await self._has_died():
                raise
            attempt = Attempt(f"the engine had died ({error.message}); started again")
        exchange = await self._send(outgoing)
        exchange.attempts = (attempt, *exchange.attempts)
        return exchange

    async def _has_died(self) -> bool:
        """A process that is killed closes its sockets a moment before it is gone."""
        until = time.monotonic() + _DYING
        while self._engine().alive() and time.monotonic() < until:  # noqa: ASYNC110 (a process tells no event)
            await asyncio.sleep(0.01)
        return not self._engine().alive()

    async def _send(self, outgoing: Outgoing) -> HTTPExchange:
        endpoint = await self._engine().endpoint()
        if self._http is None or endpoint != self._endpoint:
            self._http = HTTPWire(
                proxy=None, max_connections=self._max_connections, socket_path=endpoint.socket_path
            )
            self._endpoint = endpoint
        path = outgoing.url.partition("://")[2].partition("/v1")[2]
        key = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        return await self._http.open(
            replace(outgoing, url=endpoint.base_url + path, headers={**outgoing.headers, **key})
        )

    def _engine(self) -> Engine:
        if not self._engines:
            path = find_model(self._model)
            with _lock:
                engine = _engines.get(path)
                if engine is None:
                    engine = _engines[path] = Engine(EngineSettings(path))
            self._engines.append(engine)
        return self._engines[0]

    async def aclose(self) -> None:
        """Close the connections, and end the engine if no other client uses it."""
        if self._http is not None:
            await self._http.aclose()
        # Letting go of the last reference waits for the process's end: not on the loop.
        await asyncio.to_thread(self._engines.clear)

    def __repr__(self) -> str:
        return f"LocalWire({self._model!r})"
