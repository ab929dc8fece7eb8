"""The garbage collector may end an abandoned call at any moment, also in a thread that holds the lock of a policy.

Nothing waits for itself then, and what the call has reserved is given back.
"""

from __future__ import annotations

import asyncio
import gc
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import brainwires_provider
from brainwires_provider import AsyncClient, Breaker, BreakerOpenError, Budget, BudgetExceededError, Limits
from brainwires_provider._core.breaker import Circuit
from brainwires_provider._core.budget import Account
from brainwires_provider._core.gate import Gate
from brainwires_provider._core.hedge import Share
from brainwires_provider._core.limits import Amounts
from brainwires_provider._core.waits import Waits

_PACKAGE = Path(brainwires_provider.__file__).parent
_PATIENCE = 4.0  # seconds after which something waits for itself


def ends(work: Callable[[], Any]) -> Any:
    """What `work` gives, in a thread of its own, which would hang where something waits for itself."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    assert found, "it waits for itself, or has raised"
    return found[0]


class Abandoned:
    """A call that nobody holds: the collector ends it, when it comes to it."""

    def __init__(self, end: Callable[[], object]) -> None:
        self.end, self.itself = end, self

    def __del__(self) -> None:
        self.end()


@contextmanager
def collected_within(place: Any) -> Iterator[None]:
    """The collector runs whenever this looks at its clock, which it does within its lock."""
    gc.collect()
    gc.disable()
    clock = place._clock

    def collecting() -> float:
        gc.collect()
        return float(clock())

    place._clock = collecting
    try:
        yield
    finally:
        place._clock = clock
        gc.enable()


def _gate() -> tuple[Gate, Callable[[], object]]:
    """A gate with a place in use, and what gives it back."""
    gate = Gate(Limits(rpm=100, concurrency=3))
    ticket = gate.try_enter(Amounts())
    assert ticket is not None
    return gate, lambda: gate.settle(ticket, Amounts(0))


HEADERS = {"x-ratelimit-limit-requests": "90", "x-ratelimit-remaining-requests": "80"}
IN_A_GATE: dict[str, Callable[[Gate], object]] = {
    "try_enter": lambda gate: gate.try_enter(Amounts()),
    "enter": lambda gate: asyncio.run(gate.enter(Amounts(), Waits())),
    "learn": lambda gate: gate.learn(HEADERS),
    "stats": lambda gate: gate.stats("p", "m"),
    "settle": lambda gate: gate.settle(gate.try_enter(Amounts()), Amounts()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", IN_A_GATE)
def test_a_place_is_given_back_by_a_call_that_is_collected_within_its_gate(name: str) -> None:
    def work() -> tuple[int, int]:
        gate, give_back = _gate()
        with collected_within(gate):
            Abandoned(give_back)
            IN_A_GATE[name](gate)
        return gate.running, gate.limiter.uses.requests

    own = name in ("try_enter", "enter")
    assert ends(work) == (int(own), int(own or name == "settle"))


def test_who_waits_gets_the_place_of_a_call_that_is_collected_within_the_gate() -> None:
    async def main() -> bool:
        gate = Gate(Limits(concurrency=1))
        ticket = gate.try_enter(Amounts())
        assert ticket is not None
        waiting = asyncio.ensure_future(gate.enter(Amounts(), Waits()))
        await asyncio.sleep(0)
        with collected_within(gate):
            Abandoned(lambda: gate.settle(ticket, None))
            gate.stats("p", "m")
        return (await asyncio.wait_for(waiting, _PATIENCE / 2)).is_open

    assert ends(lambda: asyncio.run(main()))


def test_one_who_waits_leaves_a_gate_that_collects_him() -> None:
    """So that those behind him are served."""

    async def main() -> int:
        gate = Gate(Limits(concurrency=1))
        assert gate.try_enter(Amounts()) is not None
        waits = Waits()

        def leave_behind() -> None:
            waiting: Any = gate.enter(Amounts(), waits)
            waiting.send(None)
            around: list[Any] = [waiting]
            around.append(around)

        leave_behind()
        assert gate.waiting == 1
        waits._futures.clear()
        with collected_within(gate):
            gate.stats("p", "m")
        return gate.waiting

    assert ends(lambda: asyncio.run(main())) == 0


def test_a_reservation_is_given_back_by_a_call_that_is_collected_within_its_account() -> None:
    """While the account refuses another one: an error is made within the lock."""

    def work() -> tuple[Decimal, int]:
        account, budget = Account(), Budget(usd=1, tokens=10)
        reserved = account.reserve(budget, Decimal("0.5"), 5)

        class Amount(Decimal):
            def __radd__(self, other: Any) -> Any:
                gc.collect()
                return Decimal(2)

        gc.disable()
        try:
            Abandoned(lambda: account.settle(reserved, Decimal(0), 0))
            with pytest.raises(BudgetExceededError):
                account.reserve(budget, Amount(1), 1)
        finally:
            gc.enable()
        return account.reserved_usd, account.reserved_tokens

    assert ends(work) == (0, 0)


@pytest.mark.parametrize("method", ["refusal", "stats", "enter"])
def test_a_probe_is_given_back_by_a_call_that_is_collected_within_its_breaker(method: str) -> None:
    def work() -> str:
        now = [0.0]
        circuit = Circuit(Breaker(failures=1, rest=1), "p", "m", lambda: now[0])
        circuit.leave(circuit.enter(), False)
        now[0] = 2.0
        probe = circuit.enter()
        with collected_within(circuit):
            Abandoned(lambda: circuit.leave(probe, None))
            with suppress(BreakerOpenError):
                getattr(circuit, method)()
        circuit.enter()
        return circuit.stats().state

    assert ends(work) == "half-open"


class Stuck:
    async def open(self, outgoing: Any) -> Any:
        await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        return False


def test_a_whole_call_that_is_collected_within_its_own_gate() -> None:
    async def main() -> tuple[int, int]:
        settings: Any = {"limits": Limits(rpm=9), "budget": Budget(tokens=10**9), "transport": Stuck()}
        client = AsyncClient("openai-chat:m", api_key="k", base_url="http://localhost:9", **settings)

        def leave_behind() -> None:
            call: Any = client.chat("Hi")
            call.send(None)
            around: list[Any] = [call]
            around.append(around)

        leave_behind()
        session: Any = client._session
        (gate,) = session._ledger.gates.values()
        with collected_within(gate):
            client.stats()
        found = client.stats()
        return found.running, found.reserved_tokens

    assert ends(lambda: asyncio.run(main())) == (0, 0)


def test_a_share_is_given_back_within_itself() -> None:
    def work() -> bool:
        share = Share(1.0)
        share.calls += 1
        assert share.take()
        with share, share._lock:
            share.give_back()
        return share.take()

    assert ends(work)


def test_a_local_model_is_free_after_a_call_that_is_collected_within_its_pool() -> None:
    """While the pool counts the requests of each model."""

    def work() -> dict[str, int]:
        client = AsyncClient("local:a", transport=Stuck())
        pool: Any = client.local.pool(["local:a", "local:b"])
        asyncio.run(_left_behind(pool))
        gc.disable()
        turns = pool._loads._turns

        def collecting() -> Iterator[int]:
            while True:
                gc.collect()
                yield next(turns)

        pool._loads._turns = collecting()
        try:
            pool.stream("Hi")
        finally:
            gc.enable()
        return dict(pool._loads._chats)

    assert ends(work) == {"local:a": 0, "local:b": 0}


async def _left_behind(pool: Any) -> None:
    call: Any = pool.chat("Hi")
    call.send(None)
    around: list[Any] = [call]
    around.append(around)


def test_ends_of_many_threads_are_all_counted() -> None:
    gate, account, budget = Gate(Limits(concurrency=10_000)), Account(), Budget(tokens=10**9)

    def work() -> None:
        for _ in range(500):
            ticket, reserved = gate.try_enter(Amounts()), account.reserve(budget, Decimal(0), 7)
            assert ticket is not None
            gate.settle(ticket, Amounts(1, 2, 3))
            account.settle(reserved, None, None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert gate.running == 0 and gate.limiter.uses.input == 8_000 and gate.limiter.uses.output == 12_000
    assert (account.reserved_tokens, account.tokens) == (0, 28_000)


def test_policies_have_no_other_locks() -> None:
    """A plain one, or one that its own thread may enter twice, has the fault that the tests above are about."""
    found = {
        path.name
        for path in (_PACKAGE / "_core").rglob("*.py")
        if re.search(r"threading\.(R?Lock|Condition|Semaphore)\(", path.read_text())
    }
    assert found == {"locks.py"}
