"""One client in several threads at once, each with an event loop of its own; and in a process that was forked."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from brainwires_provider import AsyncClient, Limits
from brainwires_provider._core.gate import Gate
from brainwires_provider._core.limits import Amounts, Limiter, Waiter
from brainwires_provider.auth.base import Renewed
from brainwires_provider.transports.http import HTTPTransport
from brainwires_provider.transports.websocket.pool import Pools

THREADS = 8


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[], Any]) -> list[Any]:
    """What `work` gives in several threads that begin together."""
    begin, found = threading.Barrier(THREADS), []

    def one() -> None:
        begin.wait()
        found.append(work())

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    return found


MADE_ONCE: dict[str, Callable[[Any], object]] = {
    "limits": lambda session: session.terms(session.plan("Hi", {}, stream=False)).gate,
    "budgets": lambda session: session.terms(session.plan("Hi", {}, stream=False)).counted,
    "WebSockets": lambda session: session.pools,
}


@pytest.mark.many  # not with coverage, which cannot begin in several threads at the same moment
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("what", MADE_ONCE)
def test_first_calls_in_many_threads_share_what_is_their_clients(what: str) -> None:
    """Two gates would let twice as many through, and one of two pools would never be closed."""
    for _ in range(100):
        client = AsyncClient("openai-chat:m", api_key="k", limits=Limits(concurrency=1))
        found = at_once(lambda client=client: MADE_ONCE[what](client._session))  # type: ignore[misc]
        assert len(found) == THREADS and len({id(each) for each in found}) == 1


def _begin_http(transport: Any) -> Any:
    return transport._begin_session()


async def _begin_pools(pools: Any) -> None:
    pools._pools_here()


async def _close(connections: Any) -> None:
    await connections.aclose()


LOOPS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "HTTP, a first call": (HTTPTransport, _begin_http, _begin_http),
    "HTTP, a close": (HTTPTransport, _begin_http, _close),
    "WebSockets": (lambda: Pools(max_event_bytes=1), _begin_pools, _begin_pools),
}


@pytest.mark.parametrize("what", LOOPS)
def test_a_loop_begins_while_another_looks_for_those_that_have_ended(what: str) -> None:
    make, begin, look = LOOPS[what]
    connections = make()

    class Loop(asyncio.SelectorEventLoop):
        """Another thread has its turn while somebody looks whether it is closed."""

        is_looked_at = False

        def is_closed(self) -> bool:
            if Loop.is_looked_at:
                Loop.is_looked_at = False
                other = threading.Thread(target=lambda: asyncio.run(begin(connections)))
                other.start()
                other.join()
            return super().is_closed()

    loop = Loop()
    loop.run_until_complete(begin(connections))
    loop.close()

    async def main() -> None:
        Loop.is_looked_at = True
        await look(connections)
        assert not Loop.is_looked_at

    asyncio.run(main())


def test_a_place_is_looked_for_past_any_number_of_those_whose_loop_has_ended() -> None:
    limiter, closed = Limiter(Limits(concurrency=1)), threading.Event()
    taken = limiter.reserve(Amounts(), 0.0)
    assert taken is not None
    for _ in range(5000):
        limiter.enter(Waiter(Amounts(), lambda: not closed.is_set()), 0.0)
    alive = Waiter(Amounts(), lambda: None)
    limiter.enter(alive, 0.0)
    closed.set()
    limiter.grant(0.0)
    assert list(limiter.queue) == [alive]
    limiter.settle(taken, None, 0.0)
    assert alive.ticket is not None and limiter.running == 1


@pytest.mark.many  # not with coverage, which has a lock of its own
def test_an_interrupt_leaves_no_lock_held() -> None:
    """Ctrl-C comes at any moment of the main thread, in which the synchronous client's `stats` runs, for one."""

    class Interrupt(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupt

    gate, count = Gate(Limits(rpm=10**9, concurrency=10**6)), 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        while count < 3000:
            try:
                signal.setitimer(signal.ITIMER_REAL, 30e-6)
                while True:
                    gate.stats("p", "m")
                    gate._note(gate.limiter._make(is_open=False), None)
            except Interrupt:
                count += 1
            assert not gate._lock.locked(), count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _in_child(work: Callable[[], Any]) -> int:
    """The exit code of a forked child that does this; -SIGALRM if it hangs."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(5)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_renews_what_a_thread_of_its_parent_was_renewing() -> None:
    parent, begun, go = os.getpid(), threading.Event(), threading.Event()

    def fetch() -> int:
        if os.getpid() == parent:
            begun.set()
            go.wait(30)
        return 1

    renewed = Renewed(fetch, lambda _: None)
    thread = threading.Thread(target=renewed._renew)
    thread.start()
    begun.wait(30)
    try:
        assert _in_child(lambda: asyncio.run(renewed.get())) == 0
    finally:
        go.set()
        thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_limits_whose_lock_a_thread_of_its_parent_held() -> None:
    gate, begun, go = Gate(Limits(rpm=9)), threading.Event(), threading.Event()

    def clock() -> float:
        begun.set()
        go.wait(30)
        return 0.0

    gate._clock = clock
    thread = threading.Thread(target=lambda: gate.stats("p", "m"))
    thread.start()
    begun.wait(30)
    gate._clock = lambda: 0.0
    try:
        assert _in_child(lambda: gate.stats("p", "m")) == 0
    finally:
        go.set()
        thread.join()
