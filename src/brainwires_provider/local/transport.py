"""The wire to a model on this machine: the HTTP wire, to an engine that is started when it is first needed.

Every client of one process that runs the same model in the same way shares one engine, so one copy of the weights;
the engine ends when the last wire that holds it is closed, or dropped. An exchange holds the engine's lease from its
request to its end: by that the engine knows whether it is idle.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from msgspec import Struct
from msgspec.structs import fields, replace

from brainwires_provider.errors import ConnectError, RequestTimeout, StreamInterrupted, TransportError
from brainwires_provider.local.engine.engine import UNLOAD_GRACE, Engine, Lease
from brainwires_provider.local.engine.process_memory import process_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model
from brainwires_provider.transports.base import Outgoing
from brainwires_provider.transports.http import HTTPExchange, HTTPWire
from brainwires_provider.types import Attempt

__all__ = ["EngineStatus", "LocalWire", "engines", "make_wire"]

_DYING = 1.0  # seconds
_UNLOADED = "the local engine was unloaded or closed before the answer was whole; ask again to load it anew"


class EngineStatus(Struct, frozen=True):
    """An engine of this process. `path` is its model file; `busy` counts the requests in flight and waiting.

    `rss` and `pss` are the memory of its process in bytes (see `ProcessMemory`), None where the system does not say.
    A `pid` without `loaded` is an engine that loads.
    """

    path: str
    loaded: bool = False
    pid: int | None = None
    busy: int = 0
    rss: int | None = None
    pss: int | None = None

    @property
    def memory(self) -> int | None:
        """In bytes: `pss` where it is known, else `rss`. None too where nothing runs."""
        return self.rss if self.pss is None else self.pss


class _Engines:
    """The engines that wires of this process hold, by how they are run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[LocalModel, Engine] = WeakValueDictionary()
        self._holders: WeakKeyDictionary[Engine, WeakSet[LocalWire]] = WeakKeyDictionary()

    def find(self, settings: LocalModel) -> Engine | None:
        with self._lock:
            return self._known.get(settings)

    def share(self, settings: LocalModel, wire: LocalWire) -> Engine:
        with self._lock:
            engine = self._known.get(settings)
            if engine is None:
                engine = self._known[settings] = Engine(settings)
                self._holders[engine] = WeakSet()
            self._holders[engine].add(wire)
            return engine

    def leave(self, engine: Engine, wire: LocalWire) -> bool:
        """Whether it was the last. References do not tell: the traceback of an error may hold an engine."""
        with self._lock:
            holders = self._holders.get(engine, WeakSet())
            holders.discard(wire)
            if holders:
                return False
            self._known.pop(engine.settings, None)
            return True

    def all(self) -> list[Engine]:
        with self._lock:
            return list(self._known.values())


_shared = _Engines()

if hasattr(os, "register_at_fork"):
    # A thread that is not in the child may hold the lock; and what the parent's wires hold, ours do not.
    os.register_at_fork(after_in_child=_shared.__init__)  # type: ignore[misc]


def engines() -> list[EngineStatus]:
    """Every engine that a client of this process uses, whether it is loaded or not."""
    return [_status(engine) for engine in _shared.all()]


def _status(engine: Engine) -> EngineStatus:
    pid = engine.pid
    status = EngineStatus(engine.settings.path, engine.alive(), pid, engine.busy)
    if pid is None:
        return status
    memory = process_memory(pid)
    return replace(status, rss=memory.rss, pss=memory.pss)


def make_wire(model: str, local: LocalModel | None, **transport: Any) -> LocalWire:
    """One wire a model. A proxy and TLS settings do not apply on this machine."""
    return LocalWire(model, local, max_connections=transport["max_connections"])


class LocalExchange:
    """See `wires.base.Exchange`. Its end gives the engine's lease back."""

    __slots__ = ("_exchange", "_lease", "attempts", "headers", "status")

    def __init__(self, exchange: HTTPExchange, lease: Lease, attempts: tuple[Attempt, ...]) -> None:
        self._exchange = exchange
        self._lease = lease
        self.status = exchange.status
        self.headers: Mapping[str, str] = exchange.headers
        self.attempts = (*attempts, *exchange.attempts)

    @property
    def ended(self) -> bool:
        """Whether the body is read to its end."""
        return self._exchange.ended

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end."""
        try:
            return await self._exchange.read()
        except StreamInterrupted:
            if self._lease.cut:
                raise StreamInterrupted(_UNLOADED, how="reset") from None
            raise

    def abort(self) -> None:
        """Drop the connection, at which the engine stops computing."""
        self._exchange.abort()
        self._lease.release()

    def release(self) -> None:
        """Done."""
        self._exchange.release()
        self._lease.release()


class LocalWire:
    """See `wires.base.Wire`. Nothing is looked for or loaded before the first request.

    `model` is a name as `find_model` takes it; what `local` sets goes before the settings that come with the name,
    and its path is the file where `model` is "".
    """

    def __init__(self, model: str, local: LocalModel | None, *, max_connections: int) -> None:
        self._model = model
        self._local = local or LocalModel()
        self._max_connections = max_connections
        self._closed = False
        self._engine: Engine | None = None
        self._http: HTTPWire | None = None
        self._socket_path: str | None = None

    async def open(self, outgoing: Outgoing) -> LocalExchange:
        """Load the model if it is not loaded, and send. Raises ConfigError too: no model, no extra, a bad file.

        An engine that has just died may still be found, and not answer: another is started, once; `attempts` says it.
        """
        engine = await self._found()
        attempts: tuple[Attempt, ...] = ()
        while True:
            lease = await engine.lease()
            try:
                self._refuse_if_closed()
                return LocalExchange(await self._send(outgoing, lease), lease, attempts)
            except TransportError as error:
                lease.release()
                if lease.cut and not self._closed:
                    raise ConnectError(_UNLOADED) from None
                if (
                    isinstance(error, RequestTimeout)
                    or self._closed
                    or attempts
                    or not await _has_died(engine)
                ):
                    raise
                attempts = (Attempt(f"the engine had died ({error.message}); started again"),)
            except BaseException:
                lease.release()
                raise

    async def _send(self, outgoing: Outgoing, lease: Lease) -> HTTPExchange:
        endpoint = lease.endpoint
        http = await self._http_at(endpoint.socket_path)
        _, _, path = outgoing.url.partition("://")[2].partition("/")
        key = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        return await http.open(
            replace(outgoing, url=f"{endpoint.origin}/{path}", headers={**outgoing.headers, **key})
        )

    async def _http_at(self, socket_path: str | None) -> HTTPWire:
        """One for all starts of the engine, as long as its socket has the same name."""
        before = self._http
        if before is not None and socket_path == self._socket_path:
            return before
        http = HTTPWire(proxy=None, max_connections=self._max_connections, socket_path=socket_path)
        self._http, self._socket_path = http, socket_path
        if before is not None:
            await before.aclose()
        return http

    # -- what the engine does besides answering ------------------------------------------------------------

    async def lease(self) -> Lease:
        """Leave to send the engine one request oneself. Loads it; raises what `open` raises before it sends."""
        return await (await self._found()).lease()

    async def load(self) -> None:
        """Load the model if it is not loaded. Raises what `open` raises before it sends."""
        (await self.lease()).release()

    async def unload(self, grace: float = UNLOAD_GRACE) -> bool:
        """End the engine, for every client that shares it, and give its memory back; False if it was not loaded.

        Requests in flight have `grace` seconds to end; then they end with StreamInterrupted, or ConnectError before
        their first byte. Those that come meanwhile wait, and load it again.
        """
        engine = self._engine or _shared.find(await asyncio.to_thread(self._settings))
        return engine is not None and await engine.aunload(grace)

    async def status(self) -> EngineStatus:
        """How the engine is now, whoever loaded it. Raises ConfigError: no such model."""
        return await asyncio.to_thread(self._status)

    def _status(self) -> EngineStatus:
        if self._engine is not None:
            return _status(self._engine)
        settings = self._settings()
        engine = _shared.find(settings)
        return EngineStatus(settings.path) if engine is None else _status(engine)

    async def _found(self) -> Engine:
        if self._engine is None:
            settings = await asyncio.to_thread(self._settings)
            self._refuse_if_closed()
            self._engine = self._engine or _shared.share(settings, self)
        return self._engine

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConnectError("this client was closed before its model was loaded")

    def _settings(self) -> LocalModel:
        """How the model is run: reads files."""
        named = LocalModel() if not self._model and self._local.path else find_model(self._model)
        settings = overlay(named, self._local)
        return replace(settings, path=os.path.abspath(os.path.expanduser(settings.path)))

    async def aclose(self) -> None:
        """Close the connections, and end the engine if no other client uses it."""
        self._closed = True
        engine, self._engine = self._engine, None
        if self._http is not None:
            await self._http.aclose()
        if engine is not None and _shared.leave(engine, self):
            await engine.aclose()

    def __repr__(self) -> str:
        return f"LocalWire({self._model!r})"


def overlay(settings: LocalModel, over: LocalModel) -> LocalModel:
    """`settings` with every field of `over` that is not its default; the path only where there was none."""
    default = LocalModel()
    values = {f.name: getattr(over, f.name) for f in fields(LocalModel)}
    given = {name: value for name, value in values.items() if value != getattr(default, name)}
    return replace(settings, **{**given, "path": settings.path or over.path})


async def _has_died(engine: Engine) -> bool:
    """A process that is killed closes its sockets a moment before it is gone."""
    until = time.monotonic() + _DYING
    while engine.alive() and time.monotonic() < until:  # noqa: ASYNC110 (a process tells no event)
        await asyncio.sleep(0.01)
    return not engine.alive()
