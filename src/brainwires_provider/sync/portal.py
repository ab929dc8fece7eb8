"""The portal: one private event-loop thread a process, on which the synchronous face runs the core's coroutines.

A caller hands in a job and waits on a lock of its own, so the wait can be interrupted, and leaving it cancels the
job. The thread starts at the first call and ends when the last client that used it is closed. What a finalizer or
a signal handler may call (`soon`, `Share.abandon`, `Job.leave`) takes no lock: appends to deques and sets only.
The one lock there is is held over straight code that never waits for the loop, so nobody can wait in a circle.

The thread is a daemon; `exit_portal`, called at the interpreter's exit, ends it in good order. After a fork the
child forgets the portal without closing anything of it: the sockets and the loop's selector are the parent's.
Names of `_thread` and `threading` are looked up at each use: gevent replaces them, in a child often after this import.
"""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProviderError, StreamInterrupted

__all__ = ["Job", "Portal", "Share", "belongs_to_parent", "exit_portal"]

T = TypeVar("T")

# Seconds after which the main thread, which alone runs signal handlers, looks up from its wait: a signal ends a wait
# for a lock on Linux only, and even there not if it came just before the wait, or to another thread.
_TICK = 0.1
_PATIENCE = 1.0  # seconds for cancelled tasks to end, before the loop is closed over them
_JOIN = 3.0
_HELPERS = 32
_HERE = str(Path(__file__).parent.parent)
_MACHINERY = (_HERE, *(str(Path(str(module.__file__)).parent) for module in (asyncio, concurrent.futures)))


class Job(Generic[T]):
    """One coroutine run on the portal for a caller in another thread. `make` is called on the loop.

    It ends with its `share`; without one, it goes on when its caller leaves.
    """

    def __init__(
        self, portal: Portal, make: Callable[[], Coroutine[Any, Any, T]], share: Share | None
    ) -> None:
        self.portal = portal
        self.share = share
        self.done = False
        self.error: BaseException | None = None
        self.result: T | None = None
        self._make: Callable[[], Coroutine[Any, Any, T]] | None = make
        self._context = copy_context()
        self._task: asyncio.Task[T] | None = None
        self._wake = _thread.allocate_lock()
        self._wake.acquire()

    # -- in the caller's thread --------------------------------------------------------------------------

    def submit(self) -> None:
        """Hand it to the loop. Once `soon` has taken it, it is begun, or found by the loop's end: none is lost.

        `over` decides nothing here: the job may have been the very one that ended the portal.
        """
        self.portal.jobs.add(self)
        if not self.portal.soon(self.begin):
            self.tell(_process.gone())

    def outcome(self) -> T:
        """Submit, wait, and give the result or raise the error. Leaving the wait cancels the job."""
        try:
            self.submit()
            while not self.done:
                self.doze()
        except BaseException:
            self.leave()
            raise
        if self.error is None:
            return self.result  # type: ignore[return-value]
        self.rethrow()
        raise AssertionError("unreachable")

    def doze(self) -> None:
        """Wait until something may have changed."""
        main = threading.main_thread().ident == _thread.get_ident()
        self._wake.acquire(True, _TICK if main else -1)

    def rethrow(self) -> None:
        """Raise the error, once, and hold on to nothing of it."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error, self

    def leave(self) -> None:
        """Nobody waits any more: have it cancelled. From any thread, a finalizer or a signal handler too."""
        if not self.done and self.share is not None:
            self.portal.soon(self.cancel)

    def rouse(self) -> None:
        """Wake the caller, or let its next wait return at once. From any thread."""
        try:  # noqa: SIM105 (this is the one hot place)
            self._wake.release()
        except RuntimeError:  # it was awake already
            pass

    # -- on the loop -------------------------------------------------------------------------------------

    def orphan(self) -> None:
        """In a forked child: what had arrived is the parent's."""

    def begin(self) -> None:
        """Start the coroutine, unless the caller has left already."""
        if self.done or self._make is None:
            return
        if self.portal.over:
            self.tell(_process.gone())
            return
        self._task = self.portal.loop.create_task(self._make(), context=self._context)
        self._task.add_done_callback(self._finish)

    def cancel(self, reason: BaseException | None = None) -> None:
        """Cancel the coroutine; the caller is released at once, since the coroutine may take its time."""
        task = self._task
        self.tell(reason or asyncio.CancelledError())
        if task is not None:
            task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.tell(_process.gone() if self.portal.over else asyncio.CancelledError())
            return
        error = task.exception()  # asked for even if nobody waits: asyncio would complain
        if self.done:
            return
        if error is None:
            self.result = task.result()
        else:
            _shorten(error)
        self.tell(error)

    def tell(self, error: BaseException | None) -> None:
        """The outcome stands; a later one is passed over."""
        if self.done:
            return
        self.error = error
        self.done = True
        self._make = self._task = None
        self.portal.jobs.discard(self)
        self.rouse()


class Share:
    """One client's part in the portal: the portal lives as long as a share in it is held."""

    def __init__(self, core: AsyncClient) -> None:
        self.core = core
        self.portal: Portal | None = None
        self.closed = False

    def enter(self) -> Portal:
        """The portal, started if need be.

        Raises ConfigError when the client is closed or the interpreter exits, and RuntimeError on the portal's
        own thread, where waiting for it could never end.
        """
        portal = self.portal
        if portal is None or portal.over:
            portal = _process.join(self)
        if portal.make_lock is not _thread.allocate_lock:
            raise ConfigError(
                "gevent has patched threads after a client was used, whose thread can be waited for no more: call "
                "gevent.monkey.patch_all() before the first request (after a fork is early enough)"
            )
        if threading.get_ident() == portal.thread.ident:
            raise RuntimeError(
                "the synchronous client was called from its own event-loop thread (by an async callable, such as a "
                "key's); use AsyncClient there"
            )
        return portal

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the portal, and wait for it."""
        return Job(self.enter(), make, self).outcome()

    def close(self) -> None:
        """Close the client's connections; what others wait for ends with a typed error. Twice is once."""
        portal = self.portal
        if self.closed:
            return
        if portal is None:
            self.closed = True
            with contextlib.suppress(StopIteration):  # without a connection there is nothing to wait for
                self.core.aclose().send(None)
            return
        if portal.over:  # it has closed everything
            self.closed = True
            return
        self.enter()
        self.closed = True
        with contextlib.suppress(ConfigError):  # the portal ended meanwhile, and has closed everything
            Job(portal, partial(self._shut, portal), None).outcome()
        if portal.over:
            portal.thread.join(_JOIN)

    def abandon(self) -> None:
        """As `close`, without waiting: the client was dropped. Runs in a finalizer."""
        portal = self.portal
        if not self.closed and portal is not None and not portal.over:
            self.closed = True
            Job(portal, partial(self._shut, portal), None).submit()

    async def _shut(self, portal: Portal) -> None:
        try:
            for job in portal.jobs.copy():
                if job.share is self:
                    job.cancel(closed_under_way())
            await self.core.aclose()
        finally:
            _process.drop(portal, self)


class Portal:
    """The thread and its loop. `over` once it ends, or in a forked child; then it takes nothing any more."""

    def __init__(self) -> None:
        self.over = False
        self.forked = False
        self.make_lock = _thread.allocate_lock
        self.jobs: set[Job[Any]] = set()
        self.shares: set[Share] = set()
        self.inherited: list[object] = []
        self._roused: list[Job[Any]] = []
        self.loop = asyncio.new_event_loop()
        # A private loop: what debug mode would report of it is not the program's concern, and keeps frames alive.
        self.loop.set_debug(False)
        self.loop.set_default_executor(_Helpers())
        self.thread = threading.Thread(target=self._run, name="brainwires-portal", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises ConfigError when the interpreter starts none any more."""
        try:
            self.thread.start()
        except RuntimeError as error:
            self.loop.close()
            raise ConfigError(
                f"the event-loop thread cannot start ({error}); is the interpreter exiting?"
            ) from None

    def stop(self) -> None:
        """End the thread, whoever is left. From any thread; does not wait."""
        self.over = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)

    def soon(self, act: Callable[[], object]) -> bool:
        """Have the loop do this; False when it has ended. Takes no lock."""
        if self.over:
            return False
        try:
            self.loop.call_soon_threadsafe(act)
        except RuntimeError:
            return False
        return True

    def rouse(self, job: Job[Any]) -> None:
        """On the loop: wake a job's caller once the loop has handled all that is ready.

        A thread that is woken earlier competes with the loop for the interpreter's lock at each of its system calls.
        """
        if not self._roused:
            self.loop.call_soon(self._rouse_all)
        self._roused.append(job)

    def _rouse_all(self) -> None:
        roused, self._roused = self._roused, []
        for job in roused:
            job.rouse()

    def _run(self) -> None:
        loop = self.loop
        try:
            while not self.over:
                # asyncio lets these two out of the loop; the job that raised them passes them to its caller.
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    loop.run_forever()
            farewell = loop.create_task(self._farewell())
            while not farewell.done():
                with contextlib.suppress(SystemExit, KeyboardInterrupt, RuntimeError):  # a second `stop`
                    loop.run_until_complete(farewell)
        finally:
            self.over = True
            loop.close()
            for job in self.jobs.copy():
                job.tell(_process.gone())

    async def _farewell(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, stubborn = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in stubborn:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_PATIENCE):
                for share in self.shares.copy():
                    await share.core.aclose()
                await self.loop.shutdown_asyncgens()
        for _ in range(3):
            await asyncio.sleep(0)  # a closed transport notifies its protocol in a later turn

    def forget(self) -> None:
        """In a forked child: nothing of this is ours. It is kept, unclosed, by the dead thread's frame."""
        self.over = self.forked = True
        for job in self.jobs.copy():
            job.error = belongs_to_parent()
            job.done = True
            job.orphan()
            job.rouse()
        for share in self.shares:
            share.portal = None
            self.inherited.append(share.core._session.start_afresh())


class _Helpers(ThreadPoolExecutor):
    """Threads for what may block the loop, such as name resolution and a key's callable.

    Unlike its base: a thread ends as soon as there is nothing to do, so that an idle portal is one thread, and it
    is a daemon, so that a callable that hangs does not hold up the exit.
    """

    def __init__(self) -> None:
        super().__init__(_HELPERS)
        self._mutex = _thread.allocate_lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Raises ConfigError when no thread can be started."""
        future: Future[Any] = Future()
        with self._mutex:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._running == _HELPERS:
                return future
            self._running += 1
        try:
            threading.Thread(target=self._work, name="brainwires-helper", daemon=True).start()
        except RuntimeError as error:
            self._running -= 1
            raise ConfigError(f"no thread can be started ({error}); is the interpreter exiting?") from None
        return future

    def _work(self) -> None:
        while True:
            with self._mutex:
                if not self._waiting:
                    self._running -= 1
                    return
                future, act = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(act())
                except BaseException as error:  # noqa: BLE001 (it is the caller's, whatever it is)
                    future.set_exception(error)
            del future, act

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to end: the threads end by themselves."""


class _Process:
    """The portal of this process. `lock` is held over straight code that never waits for the loop."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.portal: Portal | None = None
        self.ending: list[Portal] = []
        self.inherited: list[Portal] = []
        self.exiting = False

    def join(self, share: Share) -> Portal:
        """The portal, started if need be, with this share in it."""
        with self.lock:
            if share.closed or self.exiting:
                raise self.gone()
            portal = self.portal
            if portal is None or portal.over:
                portal = self._start()
            portal.shares.add(share)
            share.portal = portal
            return portal

    def _start(self) -> Portal:
        """It is known only once it runs: a signal handler may come at any point, find none, and start its own."""
        fresh = Portal()
        try:
            fresh.start()
            known = self.portal
            if known is None or known.over:
                known = self.portal = fresh
            return known
        finally:
            if self.portal is not fresh:
                fresh.stop()

    def drop(self, portal: Portal, share: Share) -> None:
        """A client is done. With the last one the thread ends."""
        with self.lock:
            portal.shares.discard(share)
            if portal.shares:
                return
            portal.over = True
            if self.portal is portal:
                self.portal = None
            self.ending = [portal, *(p for p in self.ending if p.thread.is_alive())]
        portal.stop()

    def gone(self) -> ConfigError:
        """Why nothing can be asked any more."""
        return ConfigError(
            "the interpreter is exiting: no request can be made any more"
            if self.exiting
            else "this client is closed; make a new one"
        )

    def exit(self) -> None:
        """The interpreter exits."""
        self.exiting = True
        portals = self.ending if self.portal is None else [*self.ending, self.portal]
        for portal in portals:
            portal.stop()
        for portal in portals:
            portal.thread.join(_JOIN)

    def become_child(self) -> None:
        """This process was forked, possibly with the lock held by a thread that it has not."""
        self.lock = threading.RLock()
        portals = self.ending if self.portal is None else [*self.ending, self.portal]
        self.portal, self.ending = None, []
        self.inherited += portals
        for portal in portals:
            portal.forget()


def closed_under_way() -> StreamInterrupted:
    """What a caller gets whose client was closed by somebody else. Trying again cannot help."""
    error = StreamInterrupted("the client was closed while this call was under way", how="closed")
    error.retryable = False
    return error


def belongs_to_parent() -> ConfigError:
    """What a forked child gets that uses what was under way in its parent."""
    return ConfigError("this call or stream belongs to the parent process; start another one here")


def _shorten(error: BaseException) -> None:
    """Remove the loop's side from the traceback: it helps the caller little, and keeps bodies alive."""
    if not isinstance(error, ProviderError):
        error.__traceback__ = _worth_showing(error.__traceback__)
        return
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        if link.__suppress_context__:
            link.__context__ = None
        link = link.__cause__ or link.__context__


def _worth_showing(trace: TracebackType | None) -> TracebackType | None:
    """Of an error that is none of ours (a callable's, or a bug): its own frames, and this package's last."""
    steps: list[tuple[TracebackType, str]] = []
    while trace is not None:
        steps.append((trace, trace.tb_frame.f_code.co_filename))
        trace = trace.tb_next
    ours = [step for step, name in steps if name.startswith(_HERE) and name != __file__]
    shown: TracebackType | None = None
    for step, name in reversed(steps):
        if not name.startswith(_MACHINERY):
            shown = TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
            continue
        if step in ours[-1:]:
            shown = TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
        with contextlib.suppress(RuntimeError):  # it still runs
            step.tb_frame.clear()
    return shown


def exit_portal() -> None:
    """The interpreter exits: end the portal in good order."""
    _process.exit()


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.become_child)
