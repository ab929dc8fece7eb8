"""The local engine: a llama.cpp server in a child process that this process starts, supervises, unloads and stops.

In the same process the engine was measured to hold the interpreter's lock while it loads, and it could not be stopped
in a long prompt. It therefore runs in a child process (`local.engine.child`) and is reached over HTTP: on a Unix
socket in a private folder, or on loopback with a random key where there are no Unix sockets.

Nothing here belongs to an event loop. A daemon thread starts the child and completes one `concurrent.futures.Future`
that every waiter, from any loop, waits for. Each request holds an `EngineHandle` while it is in flight: an engine is
idle when no handle is held, an unload waits until all are released, and none is given out during an unload. All that
must be stopped or deleted is in `_State`, which does not refer to the `Engine`, so that a finalizer can stop it when
the engine object is garbage-collected or the interpreter exits. A forked process discards the state of its parent and
starts its own engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
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
from brainwires_provider.local.engine.process import EXIT_GRACE, KILL_GRACE, EngineProcess
from brainwires_provider.local.memory import engine_batch, engine_context
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import read_runnable

if TYPE_CHECKING:
    from brainwires_provider.local.engine.child import EngineConfig

__all__ = ["UNLOAD_GRACE", "Clock", "Endpoint", "Engine", "EngineHandle", "engine_config"]

T = TypeVar("T")

UNLOAD_GRACE: Final = 30.0  # seconds that requests in flight have to end before an unload interrupts them
SOCKET_PATH_LIMIT: Final = 100  # bytes: sun_path holds 104 on some systems, including its NUL


class Endpoint(Struct, frozen=True):
    """The address of a running engine: `base_url` ends with `/v1`; `socket_path` is its Unix socket, if it has one."""

    base_url: str
    socket_path: str | None = None
    api_key: str | None = None

    @property
    def origin(self) -> str:
        """`base_url` without `/v1`: llama.cpp's native API is at the root."""
        return self.base_url.removesuffix("/v1")

    def __repr__(self) -> str:
        key = None if self.api_key is None else "***"
        return f"Endpoint(base_url={self.base_url!r}, socket_path={self.socket_path!r}, api_key={key!r})"


class Clock(Protocol):
    """The clock of an engine. Tests replace it."""

    def now(self) -> float:
        """Seconds since an arbitrary start."""
        ...

    def wait(self, wake: SimpleQueue[None], seconds: float) -> None:
        """Wait until something is put into `wake`, at most `seconds`."""
        ...


class _RealClock:
    def now(self) -> float:
        return time.monotonic()

    def wait(self, wake: SimpleQueue[None], seconds: float) -> None:
        with contextlib.suppress(Empty):
            wake.get(timeout=seconds)


class EngineHandle:
    """Keeps an engine loaded for one request. Call `release` at its end; garbage collection releases it too."""

    __slots__ = ("_held", "_state", "endpoint", "generation", "process")

    def __init__(self, state: _State, generation: int) -> None:
        self._held = True
        self._state = state
        self.generation = generation
        self.endpoint = Endpoint("")
        self.process: EngineProcess | None = None
        """The engine's process, once it is loaded."""

    @property
    def revoked(self) -> bool:
        """Whether the engine was unloaded or closed while this was held."""
        return self.generation != self._state.generation

    def release(self) -> None:
        """Declare the request ended. Callable from any thread, more than once."""
        if self._held:
            self._held = False
            self._state.leave(self)

    __del__ = release


class Engine:
    """One model in one child process, shared by all event loops and threads of this process.

    Creating it starts nothing.
    """

    def __init__(self, settings: LocalModel, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self._state = _State(settings, clock or _RealClock())
        self._finalizer = weakref.finalize(self, self._state.end)

    async def acquire(self) -> EngineHandle:
        """Start the child if it is not running, wait until it is loaded, and return a handle for one request.

        All waiters share one start; cancelling one does not cancel the start. During an unload this waits, then loads
        the model again. Raises ConfigError (the extra or the model is missing or invalid, or the engine was closed),
        ConnectError (the child died, or was stopped, while loading) and RequestTimeout (after `load_timeout`).
        """
        while isinstance(entered := self._state.enter(), Future):
            await asyncio.wrap_future(entered)
        handle, ready = entered
        try:
            handle.endpoint = ready if isinstance(ready, Endpoint) else await asyncio.wrap_future(ready)
        except ProviderError as error:
            handle.release()
            raise copy.copy(error) from None  # else one instance collects the tracebacks of all waiters
        except BaseException:
            handle.release()
            raise
        handle.process = self._state.process()
        return handle

    async def endpoint(self) -> Endpoint:
        """As `acquire`, but returns only the address: nothing keeps the engine from being unloaded."""
        handle = await self.acquire()
        handle.release()
        return handle.endpoint

    def alive(self) -> bool:
        """Whether the child is loaded and running."""
        return self._state.endpoint() is not None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs, else None."""
        return self._state.pid()

    @property
    def busy(self) -> int:
        """The number of requests in flight, including those that wait for the engine to load."""
        return self._state.busy()

    def unload(self, grace: float = UNLOAD_GRACE) -> bool:
        """Stop the child, which frees its memory; False if none runs. The next request starts another.

        Requests in flight have `grace` seconds to end before they are interrupted. Requests that arrive meanwhile wait
        and load the model again. Of two concurrent unloads the shorter `grace` applies. Callable from any thread.
        """
        return self._state.unload(grace)

    async def aunload(self, grace: float = UNLOAD_GRACE) -> bool:
        """`unload` without blocking the event loop. It continues if this is cancelled."""
        return await asyncio.wrap_future(_in_thread(partial(self.unload, grace)))

    def close(self) -> None:
        """Stop the child for good, within about a second, and delete its folder.

        Callable from any thread, more than once.
        """
        self._finalizer()

    async def aclose(self) -> None:
        """`close` without blocking the event loop."""
        try:
            ended = _in_thread(self.close)
        except ConnectError:
            self.close()
        else:
            await asyncio.wrap_future(ended)

    def __repr__(self) -> str:
        return f"Engine({self.settings.path!r}, pid={self.pid})"


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a new daemon thread. Cancelling a waiter does not cancel it.

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
    """The state of an engine that must be cleaned up. The lock is never held during a wait.

    A generation is the time between two unloads. What began in one has no effect on the next.
    """

    def __init__(self, settings: LocalModel, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._closed = False
        self.generation = 0
        self._reset()
        _states.add(self)

    def _reset(self) -> None:
        # Reentrant: garbage collection may run a finalizer in a thread that holds it.
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
        # The only kind of queue that a finalizer may put something into.
        self._left: SimpleQueue[None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()

    def forget_after_fork(self) -> None:
        """In a forked process: the engine belongs to the parent, and a thread that is not here may hold the lock."""
        if self._process is not None:
            self._process.disown()
        self._reset()

    # -- status ------------------------------------------------------------------------------------------

    def endpoint(self) -> Endpoint | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._endpoint if running else None

    def pid(self) -> int | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._process.pid if self._process is not None and running else None

    def process(self) -> EngineProcess | None:
        with self._lock:
            return self._process

    def busy(self) -> int:
        with self._lock:
            return self._busy

    # -- requests ----------------------------------------------------------------------------------------

    def enter(self) -> tuple[EngineHandle, Endpoint | Future[Endpoint]] | Future[bool]:
        """For a new request: its handle and the start to wait for, or the unload to wait for before trying again."""
        with self._lock:
            if self._unloading is not None:
                return self._unloading
            ready = self._ready_or_start()
            self._busy += 1
            return EngineHandle(self, self.generation), ready

    def leave(self, handle: EngineHandle) -> None:
        with self._lock:
            if handle.generation != self.generation:
                return
            self._busy -= 1
            if not self._busy:
                self._idle_since = self._clock.now()
                self._left.put(None)

    # -- starting ---------------------------------------------------------------------------------------

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
        # Reading the file first gives better errors for an invalid one than llama.cpp does.
        trained = read_runnable(self._settings.path).context_length
        config = engine_config(self._settings, trained, self._socket_path(generation))
        process = EngineProcess(config)
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
        return _endpoint(config, address)

    def _socket_path(self, generation: int) -> str | None:
        """An unused socket name in the private folder, or None where loopback is used instead."""
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
            os.unlink(path)  # left by a crashed engine; it cannot be bound again
        return path

    # -- unloading ---------------------------------------------------------------------------------------

    def unload(self, grace: float) -> bool:
        with self._lock:
            in_progress = self._unloading
            if in_progress is None and self._starting is None and self.endpoint() is None:
                return False
            self._unload_by = min(self._unload_by, self._clock.now() + grace)
            mine = self._begin_unload() if in_progress is None else None
            self._left.put(None)  # the unload in progress may have less time now
        if in_progress is not None:
            return in_progress.result()
        assert mine is not None
        return self._finish_unload(mine)

    def _begin_unload(self) -> Future[bool]:
        """From here on no request enters."""
        self._unloading = Future()
        self._unloading.set_running_or_notify_cancel()  # waiters cannot cancel it
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
        """Wait for the requests in flight, end the generation, and return what still runs of it."""
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
        """Start a thread, one per generation, that unloads the engine after `idle_timeout`."""
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
                # A request in flight, or an unload, postpones the end by at least one whole timeout.
                waits = self._busy or self._unloading is not None
                seconds = timeout if waits else self._idle_since + timeout - self._clock.now()
                unloading = self._begin_unload() if seconds <= 0 else None
            if unloading is not None:
                self._finish_unload(unloading)
                return
            self._clock.wait(ended, seconds)

    # -- closing ----------------------------------------------------------------------------------------

    def end(self) -> None:
        with self._lock:
            self._closed = True
            self._left.put(None)
            self._ended.put(None)
            self._begin_generation()
            process, self._process, self._endpoint = self._process, None, None
            folder, self._folder = self._folder, None
        if process is not None:
            process.end(EXIT_GRACE)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _forget_all_after_fork() -> None:
    for state in list(_states):
        state.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_after_fork)


def _short_folder() -> str | None:
    """A new private folder whose path is short enough for a socket in it."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp creates a private folder in it
        if len(os.fsencode(parent)) + len("/bw-xxxxxxxx/engine.sock") > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="bw-", dir=parent)
    return None


def engine_config(settings: LocalModel, trained: int | None, socket_path: str | None) -> EngineConfig:
    """What the child needs to run a model that was trained for `trained` tokens of context."""
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


def _endpoint(config: EngineConfig, address: str) -> Endpoint:
    if config["socket"] is not None:
        return Endpoint("http://localhost/v1", socket_path=config["socket"])
    return Endpoint(f"{address}/v1", api_key=config["api_key"])
