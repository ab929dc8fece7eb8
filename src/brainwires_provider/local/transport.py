"""The transport to a model on this machine: HTTP to an engine that is started at the first request.

All clients of a process that run the same model with the same settings share one engine, and so one copy of the
weights. The engine stops when the last transport that uses it is closed or garbage-collected. An exchange holds a
handle of the engine from its request to its end, so that the engine knows whether it is idle.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from msgspec import Struct
from msgspec.structs import fields, replace

from brainwires_provider.errors import (
    ConfigError,
    ConnectError,
    RequestTimeout,
    StreamInterrupted,
    TransportError,
)
from brainwires_provider.local.engine.engine import UNLOAD_GRACE, Engine, EngineHandle
from brainwires_provider.local.engine.process_memory import process_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model, with_missing_engine
from brainwires_provider.transports.base import ByteExchange, Outgoing
from brainwires_provider.transports.http import HTTPExchange, HTTPTransport
from brainwires_provider.types import Attempt

__all__ = ["EngineStatus", "LocalTransport", "engines", "make_transport"]

_EXIT_TIME = 1.0  # seconds
_UNLOADED = (
    "the local engine was unloaded or closed before the response was complete; "
    "send the request again, which loads the model"
)


class EngineStatus(Struct, frozen=True):
    """An engine of this process. `path` is its model file, `busy` the number of requests in flight and waiting.

    `rss` and `pss` are the memory of its process in bytes (see `ProcessMemory`), None where the system does not report
    it. An engine with a `pid` that is not `loaded` is loading.
    """

    path: str
    loaded: bool = False
    pid: int | None = None
    busy: int = 0
    rss: int | None = None
    pss: int | None = None

    @property
    def memory(self) -> int | None:
        """The memory in bytes: `pss` if known, else `rss`; None if nothing runs."""
        return self.rss if self.pss is None else self.pss


class _Engines:
    """The engines that transports of this process use, by their settings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: WeakValueDictionary[LocalModel, Engine] = WeakValueDictionary()
        self._holders: WeakKeyDictionary[Engine, WeakSet[LocalTransport]] = WeakKeyDictionary()

    def find(self, settings: LocalModel) -> Engine | None:
        with self._lock:
            return self._known.get(settings)

    def share(self, settings: LocalModel, transport: LocalTransport) -> Engine:
        with self._lock:
            engine = self._known.get(settings)
            if engine is None:
                engine = self._known[settings] = Engine(settings)
                self._holders[engine] = WeakSet()
            self._holders[engine].add(transport)
            return engine

    def leave(self, engine: Engine, transport: LocalTransport) -> bool:
        """Remove a user of the engine; whether it was the last.

        References do not show it, because the traceback of an error may hold an engine.
        """
        with self._lock:
            holders = self._holders.get(engine, WeakSet())
            holders.discard(transport)
            if holders:
                return False
            self._known.pop(engine.settings, None)
            return True

    def all(self) -> list[Engine]:
        with self._lock:
            return list(self._known.values())


_shared = _Engines()

if hasattr(os, "register_at_fork"):
    # A thread that is not in the child may hold the lock, and the engines belong to the parent.
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


def make_transport(model: str, local: LocalModel | None, **transport: Any) -> LocalTransport:
    """A transport for one model. Proxy and TLS settings do not apply on this machine."""
    return LocalTransport(model, local, max_connections=transport["max_connections"])


class LocalExchange(ByteExchange):
    """An exchange that releases its handle of the engine at its end. See `transports.base.Exchange`."""

    __slots__ = ("_exchange", "_handle")

    def __init__(self, exchange: HTTPExchange, handle: EngineHandle, attempts: tuple[Attempt, ...]) -> None:
        self.status, self.headers = exchange.status, exchange.headers
        self.attempts = (*attempts, *exchange.attempts)
        self._exchange = exchange
        self._handle = handle

    @property
    def ended(self) -> bool:
        """Whether the body was read to its end."""
        return self._exchange.ended

    async def read(self) -> bytes:
        """The next bytes, as they come; empty at the end."""
        try:
            return await self._exchange.read()
        except StreamInterrupted:
            if self._handle.revoked:
                raise StreamInterrupted(_UNLOADED, how="reset") from None
            reason = None if self._exchange.left else await _ended(self._handle)
            if reason is not None:
                words = (
                    f"the local engine ended during the response ({reason}); the next request starts another"
                )
                raise StreamInterrupted(words, how="reset") from None
            raise

    def abort(self) -> None:
        """Close the connection, at which the engine stops computing."""
        self._exchange.abort()
        self._handle.release()

    def release(self) -> None:
        """End the exchange; the connection is reused if the body was read to its end."""
        self._exchange.release()
        self._handle.release()


class LocalTransport:
    """The transport to one local model. Nothing is read or loaded before the first request.

    `model` is a name that `find_model` accepts. Fields set in `local` override the settings registered with that name;
    its `path` is the file if `model` is "". See `transports.base`.
    """

    def __init__(self, model: str, local: LocalModel | None, *, max_connections: int) -> None:
        self._model = model
        self._local = local or LocalModel()
        self._max_connections = max_connections
        self._closed = False
        self._engine: Engine | None = None
        self._http: HTTPTransport | None = None
        self._socket_path: str | None = None

    async def open(self, outgoing: Outgoing) -> LocalExchange:
        """Load the model if it is not loaded, and send. Also raises ConfigError: no model, no extra, an invalid file.

        An engine that has just died may still look alive and fail the request. It is restarted once, which is recorded
        in `attempts`.
        """
        engine = await self._found()
        attempts: tuple[Attempt, ...] = ()
        while True:
            handle = await engine.acquire()
            try:
                self._refuse_if_closed()
                return LocalExchange(await self._send(outgoing, handle), handle, attempts)
            except TransportError as error:
                handle.release()
                if handle.revoked and not self._closed:
                    raise ConnectError(_UNLOADED) from None
                timed_out = isinstance(error, RequestTimeout)
                reason = None if timed_out or self._closed else await _ended(handle)
                if reason is None:
                    raise
                if attempts:
                    raise ConnectError(f"the local engine ended before it answered ({reason})") from None
                attempts = (Attempt(f"the engine had ended ({reason}); restarted"),)
            except BaseException:
                handle.release()
                raise

    async def _send(self, outgoing: Outgoing, handle: EngineHandle) -> HTTPExchange:
        endpoint = handle.endpoint
        http = await self._http_at(endpoint.socket_path)
        _, _, path = outgoing.url.partition("://")[2].partition("/")
        key = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        return await http.open(
            replace(outgoing, url=f"{endpoint.origin}/{path}", headers={**outgoing.headers, **key})
        )

    async def _http_at(self, socket_path: str | None) -> HTTPTransport:
        """The HTTP transport, kept across restarts of the engine as long as its socket has the same name."""
        before = self._http
        if before is not None and socket_path == self._socket_path:
            return before
        http = HTTPTransport(proxy=None, max_connections=self._max_connections, socket_path=socket_path)
        self._http, self._socket_path = http, socket_path
        if before is not None:
            await before.aclose()
        return http

    # -- loading and unloading -------------------------------------------------------------------------

    async def acquire(self) -> EngineHandle:
        """Load the model, and keep it loaded until the handle is released. Raises the ConfigErrors of `open`."""
        return await (await self._found()).acquire()

    async def load(self) -> None:
        """Load the model if it is not loaded. Raises the ConfigErrors of `open`."""
        (await self.acquire()).release()

    async def unload(self, grace: float = UNLOAD_GRACE) -> bool:
        """Stop the engine for all clients that share it, which frees its memory; False if it was not loaded.

        Requests in flight have `grace` seconds to end. Then they raise StreamInterrupted, or ConnectError before their
        first byte. Requests that arrive meanwhile wait, and load the model again.
        """
        engine = self._engine or _shared.find(await asyncio.to_thread(self._settings))
        return engine is not None and await engine.aunload(grace)

    async def status(self) -> EngineStatus:
        """The state of the engine, whichever client loaded it. Raises ConfigError: no such model."""
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
        """The settings of the model, read from the registry."""
        try:
            named = LocalModel() if not self._model and self._local.path else find_model(self._model)
        except ConfigError as error:
            raise with_missing_engine(error) from None
        settings = overlay(named, self._local)
        return replace(settings, path=os.path.abspath(os.path.expanduser(settings.path)))

    async def aclose(self) -> None:
        """Close the connections, and stop the engine if no other client uses it."""
        self._closed = True
        engine, self._engine = self._engine, None
        if self._http is not None:
            await self._http.aclose()
        if engine is not None and _shared.leave(engine, self):
            await engine.aclose()

    def abandon(self) -> bool:
        """See `transports.base.Transport`; the engine stops once no transport refers to it."""
        self._closed = True
        return self._http is not None and self._http.abandon()

    def __repr__(self) -> str:
        return f"LocalTransport({self._model!r})"


def overlay(settings: LocalModel, over: LocalModel) -> LocalModel:
    """`settings` with every field of `over` that differs from its default; its path only if `settings` has none."""
    default = LocalModel()
    values = {f.name: getattr(over, f.name) for f in fields(LocalModel)}
    given = {name: value for name, value in values.items() if value != getattr(default, name)}
    return replace(settings, **{**given, "path": settings.path or over.path})


async def _ended(handle: EngineHandle) -> str | None:
    """How the engine's process ended, if it does within a second."""
    process = handle.process
    return None if process is None else await asyncio.to_thread(process.ended, _EXIT_TIME)
