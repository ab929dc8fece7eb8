"""The local engine: a llama.cpp server in a child process that we start, supervise, unload and end.

In our own process the engine was measured to hold the interpreter's lock while it loads and to be
unstoppable in a long prompt, so it lives in a process of its own (`engine.child`) and is reached over
HTTP: on a Unix socket in a private folder, or on loopback with a random key where there is none.

Nothing here belongs to an event loop. A daemon thread starts the child and completes one
`concurrent.futures.Future` that every waiter, from any loop, looks at. Each request holds a `Lease` as long as it
is in flight: an engine is idle when none is held, an unload waits for those that are, and nobody gets one while
the engine unloads. What must be ended stands in `_State`, which does not refer to the `Engine`, so that a finalizer
can end it when the engine is dropped or the interpreter exits; a forked process forgets it and starts an engine of
its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib.util
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from msgspec import Struct

from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.local.engine.process import END_GRACE, KILL_GRACE, EngineProcess
from brainwires_provider.local.memory import engine_batch, engine_context
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.gguf import read_metadata

if TYPE_CHECKING:
    from brainwires_provider.local.engine.child import Order

__all__ = ["UNLOAD_GRACE", "Clock", "Endpoint", "Engine", "Lease"]

T = TypeVar("T")

UNLOAD_GRACE: Final = 30.0  # seconds that requests in flight have to end before an unload ends them
SOCKET_PATH_LIMIT: Final = 100  # bytes: sun_path holds 104 on some systems, with its NUL


class Endpoint(Struct, frozen=True):
    """Where a running engine answers: `base_url` (up to and with `/v1`), over `socket_path` if it is set."""

    base_url: str
    socket_path: str | None = None
    api_key: str | None = None

    @property
    def origin(self) -> str:
        """The URL without a path: llama.cpp's own operations are not below `/v1`."""
        return self.base_url.removesuffix("/v1")

    def __repr__(self) -> str:
        key = None if self.api_key is None else "***"
        return f"Endpoint(base_url={self.base_url!r}, socket_path={self.socket_path!r}, api_key={key!r})"


class Clock(Protocol):
    """What time it is for an engine. Tests have their own."""

    def now(self) -> float:
        """In seconds, from any beginning."""
        ...

    def wait(self, wake: SimpleQueue[None], seconds: float) -> None:
        """Until something is put to `wake`, or `seconds` have gone by."""
        ...


class _RealClock:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, wake: SimpleQueue[None], seconds: float) -> None:
        with contextlib.suppress(Empty):
            wake.get(timeout=seconds)


class Lease:
    """One request in flight on an engine that is loaded. `release` it at the end; dropped is released too."""

    __slots__ = ("_held", "_state", "endpoint", "generation")

    def __init__(self, state: _State, generation: int) -> None:
        self._held = True
        self._state = state
        self.generation = generation
        self.endpoint = Endpoint("")

    @property
    def cut(self) -> bool:
        """Whether the engine was unloaded or closed under it."""
        return self.generation != self._state.generation

    def release(self) -> None:
        """The request has ended. From any thread, and repeatable."""
        if self._held:
            self._held = False
            self._state.leave(self)

    __del__ = release


class Engine:
    """One model in one child process, for every loop and thread of this one. Making it starts nothing."""

    def __init__(self, settings: LocalModel, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self._state = _State(settings, clock or _RealClock())
        self._finalizer = weakref.finalize(self, self._state.end)

    async def lease(self) -> Lease:
        """Leave to send one request to `lease.endpoint`. Starts the child, or restarts a dead one, and waits for it.

        Many waiters share one start. A cancelled waiter leaves it running for the others. While the engine unloads
        this waits, and then loads it again. Raises ConfigError (the extra or the model is missing or bad, or the
        engine was closed), ConnectError (the child died, or was ended, while loading) or RequestTimeout
        (`load_timeout`).
        """
        while isinstance(entered := self._state.enter(), Future):
            await asyncio.wrap_future(entered)
        lease, ready = entered
        try:
            lease.endpoint = ready if isinstance(ready, Endpoint) else await asyncio.wrap_future(ready)
        except ProviderError as error:
            lease.release()
            raise copy.copy(error) from None  # one instance must not gather the tracebacks of all waiters
        except BaseException:
            lease.release()
            raise
        return lease

    async def endpoint(self) -> Endpoint:
        """Where to send requests, for one that takes care itself that the engine is not unloaded. Else as `lease`."""
        lease = await self.lease()
        lease.release()
        return lease.endpoint

    def alive(self) -> bool:
        """Whether the child is loaded and running."""
        return self._state.endpoint() is not None

    @property
    def pid(self) -> int | None:
        """The child's process id, from its start to its end."""
        return self._state.pid()

    @property
    def busy(self) -> int:
        """How many requests are in flight, those that wait for the engine to load among them."""
        return self._state.busy()

    def unload(self, grace: float = UNLOAD_GRACE) -> bool:
        """End the child, which gives its memory back; False if none runs. The next request starts another.

        What is in flight has `grace` seconds to end, and is ended then; what comes meanwhile waits for the new start.
        Of two unloads at once the shorter grace counts. From any thread.
        """
        return self._state.unload(grace)

    async def aunload(self, grace: float = UNLOAD_GRACE) -> bool:
        """`unload`, without holding up the loop. It goes on if this is cancelled."""
        return await asyncio.wrap_future(_in_thread(partial(self.unload, grace)))

    def close(self) -> None:
        """End the child for good, within about a second, and remove its folder. From any thread, and repeatable."""
        self._finalizer()

    async def aclose(self) -> None:
        """`close`, without holding up the loop."""
        try:
            ended = _in_thread(self.close)
        except ConnectError:
            self.close()
        else:
            await asyncio.wrap_future(ended)

    def __repr__(self) -> str:
        return f"Engine({self.settings.path!r}, pid={self.pid})"


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread of its own. A waiter that is cancelled does not cancel it.

    Raises ConnectError when the interpreter is exiting and starts no more threads.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="brainwires-engine", daemon=True).start()
    except RuntimeError as error:  # the interpreter is exiting
        raise ConnectError(f"the local engine cannot be reached any more: {error}") from None
    return future


_states: weakref.WeakSet[_State] = weakref.WeakSet()


class _State:
    """What of an engine must be ended. The lock is held for looks and assignments only, never for a wait.

    A generation is the time between two unloads. What was begun in one does not touch the next.
    """

    def __init__(self, settings: LocalModel, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._closed = False
        self.generation = 0
        self._forget()
        _states.add(self)

    def _forget(self) -> None:
        # Reentrant: a finalizer may run, by garbage collection, in a thread that is just inside.
        self._lock = threading.RLock()
        self._starting: Future[Endpoint] | None = None
        self._unloading: Future[bool] | None = None
        self._process: EngineProcess | None = None
        self._endpoint: Endpoint | None = None
        self._folder: str | None = None
        self._watched: int | None = None
        self._begin_generation()

    def _begin_generation(self) -> None:
        self.generation += 1
        self._busy = 0
        self._idle_since = self._clock.now()
        self._unload_by = float("inf")
        # Of all queues and events only this kind may be told something by a finalizer.
        self._left: SimpleQueue[None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()

    def forget_after_fork(self) -> None:
        """In a forked child: what runs is the parent's. Its lock may be held by a thread that is not here."""
        if self._process is not None:
            self._process.disown()
        self._forget()

    # -- looks -------------------------------------------------------------------------------------------

    def endpoint(self) -> Endpoint | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._endpoint if running else None

    def pid(self) -> int | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._process.pid if self._process is not None and running else None

    def busy(self) -> int:
        with self._lock:
            return self._busy

    # -- requests ----------------------------------------------------------------------------------------

    def enter(self) -> tuple[Lease, Endpoint | Future[Endpoint]] | Future[bool]:
        """A request comes: its lease and what to wait for, or the unload to wait for before asking again."""
        with self._lock:
            if self._unloading is not None:
                return self._unloading
            ready = self._ready_or_start()
            self._busy += 1
            return Lease(self, self.generation), ready

    def leave(self, lease: Lease) -> None:
        with self._lock:
            if lease.generation != self.generation:
                return
            self._busy -= 1
            if not self._busy:
                self._idle_since = self._clock.now()
                self._left.put(None)

    # -- the start ---------------------------------------------------------------------------------------

    def _ready_or_start(self) -> Endpoint | Future[Endpoint]:
        self._refuse_if_closed()
        if (endpoint := self.endpoint()) is not None:
            return endpoint
        if self._starting is None:
            self._starting = _in_thread(partial(self._start, self.generation))
        return self._starting

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigError("this local engine was closed; make a new Engine")

    def _start(self, generation: int) -> Endpoint:
        try:
            endpoint = self._launch(generation)
            with self._lock:
                self._refuse_if_over(generation)
                self._endpoint = endpoint
                self._idle_since = self._clock.now()
                self._watch_over(generation)
                return endpoint
        except ProviderError:
            raise
        except OSError as error:
            raise ConnectError(f"the local engine could not be started: {error}") from None
        finally:
            with self._lock:
                if generation == self.generation:
                    self._starting = None

    def _refuse_if_over(self, generation: int) -> None:
        if generation != self.generation:
            how = "closed" if self._closed else "unloaded"
            raise ConnectError(f"the local engine was {how} while it was loading")

    def _launch(self, generation: int) -> Endpoint:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError(
                'local models need the `local` extra; run `pip install "brainwires-provider[local]"`'
            )
        trained = read_metadata(
            self._settings.path
        ).context_length  # and what is wrong with the file, in better words
        order = _order(self._settings, trained, self._socket_path(generation))
        process = EngineProcess(order)
        with self._lock:
            wanted = generation == self.generation
            if wanted:
                unwanted, self._process, self._endpoint = self._process, process, None
            else:
                unwanted = process
        if unwanted is not None:
            unwanted.end(0.0)
        self._refuse_if_over(generation)
        try:
            address = process.load(self._settings.load_timeout)
        except ProviderError:
            process.end(0.0)
            self._refuse_if_over(generation)
            raise
        return _endpoint(order, address)

    def _socket_path(self, generation: int) -> str | None:
        """A free socket name in the private folder, or None where loopback must do."""
        if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
            return None
        with self._lock:
            self._refuse_if_over(generation)
            if self._folder is None or not os.path.isdir(self._folder):
                self._folder = _short_folder()
            if self._folder is None:
                return None
            path = os.path.join(self._folder, "engine.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # a crashed engine leaves it, and it cannot be bound again
        return path

    # -- unloading ---------------------------------------------------------------------------------------

    def unload(self, grace: float) -> bool:
        with self._lock:
            under_way = self._unloading
            if under_way is None and self._starting is None and self.endpoint() is None:
                return False
            self._unload_by = min(self._unload_by, self._clock.now() + grace)
            mine = self._begin_unload() if under_way is None else None
            self._left.put(None)  # the clock of the one under way may be shorter now
        if under_way is not None:
            return under_way.result()
        assert mine is not None
        return self._finish_unload(mine)

    def _begin_unload(self) -> Future[bool]:
        """From here on nobody enters."""
        self._unloading = Future()
        self._unloading.set_running_or_notify_cancel()  # those who wait for it cannot cancel it
        return self._unloading

    def _finish_unload(self, unloading: Future[bool]) -> bool:
        done = False
        try:
            process, starting = self._drain()
            if process is not None:
                process.kill()
            if starting is not None:
                wait_for([starting], KILL_GRACE)
            done = True
        finally:
            with self._lock:
                if done:
                    self._starting = None
                self._unloading = None
                self._unload_by = float("inf")
            unloading.set_result(done)
        return done

    def _drain(self) -> tuple[EngineProcess | None, Future[Endpoint] | None]:
        """Wait for those in flight, and end the generation: what of it runs yet."""
        while True:
            with self._lock:
                seconds = self._unload_by - self._clock.now()
                if not self._busy or seconds <= 0 or self._closed:
                    self._ended.put(None)
                    self._begin_generation()
                    self._endpoint = None
                    return self._process, self._starting
                left = self._left
            self._clock.wait(left, seconds)

    def _watch_over(self, generation: int) -> None:
        """Have a thread unload the engine when it has been idle for long enough: one in a generation."""
        if self._settings.idle_timeout is None or self._watched == generation:
            return
        with contextlib.suppress(ConnectError):  # the interpreter is exiting
            _in_thread(partial(self._watch, generation, self._ended, self._settings.idle_timeout))
            self._watched = generation

    def _watch(self, generation: int, ended: SimpleQueue[None], timeout: float) -> None:
        while True:
            with self._lock:
                if generation != self.generation:
                    return
                # A request that is in flight now, or an unload, puts the end off for a whole timeout at least.
                waits = self._busy or self._unloading is not None
                seconds = timeout if waits else self._idle_since + timeout - self._clock.now()
                unloading = self._begin_unload() if seconds <= 0 else None
            if unloading is not None:
                self._finish_unload(unloading)
                return
            self._clock.wait(ended, seconds)

    # -- the end -----------------------------------------------------------------------------------------

    def end(self) -> None:
        with self._lock:
            self._closed = True
            self._left.put(None)
            self._ended.put(None)
            self._begin_generation()
            process, self._process, self._endpoint = self._process, None, None
            folder, self._folder = self._folder, None
        if process is not None:
            process.end(END_GRACE)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _forget_all_after_fork() -> None:
    for state in list(_states):
        state.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_after_fork)


def _short_folder() -> str | None:
    """A new folder that only we may enter, with a path short enough for a socket in it."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder in it
        if len(os.fsencode(parent)) + len("/bw-xxxxxxxx/engine.sock") > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="bw-", dir=parent)
    return None


def _order(settings: LocalModel, trained: int | None, socket_path: str | None) -> Order:
    path = os.path.abspath(settings.path)
    return {
        "path": path,
        "alias": Path(path).stem,
        "context": engine_context(settings, trained),
        "slots": settings.slots,
        "batch": engine_batch(settings, trained),
        "threads": settings.threads,
        "gpu_layers": settings.gpu_layers,
        "mmap": settings.mmap,
        "mlock": settings.mlock,
        "cache_type_k": settings.cache_type_k,
        "cache_type_v": settings.cache_type_v,
        "chat_template": settings.chat_template,
        "pooling": settings.pooling,
        "socket": socket_path,
        "api_key": secrets.token_urlsafe(32) if socket_path is None else None,
    }


def _endpoint(order: Order, address: str) -> Endpoint:
    if order["socket"] is not None:
        return Endpoint("http://localhost/v1", socket_path=order["socket"])
    return Endpoint(f"{address}/v1", api_key=order["api_key"])
