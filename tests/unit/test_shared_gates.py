"""Limits and budgets that several processes share, each as one gate here: a real server, which dies and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import (
    Budget,
    BudgetExceededError,
    ConfigError,
    Limits,
    LimitStats,
    SharedServerError,
)
from brainwires_provider._core import shared_server
from brainwires_provider._core.limits import Amounts, Ticket
from brainwires_provider._core.shared_budget import SharedAccount
from brainwires_provider._core.shared_limits import SharedGate, Timing
from brainwires_provider._core.shared_server import Server
from brainwires_provider._core.waits import Waits
from redis_servers import RedisServer
from virtual_time import timers, virtually

QUICK = Timing(window=1.0, renew=0.2, patience=0.8, probe=0.05, grace=0.3)
NAMES = iter(range(1_000_000))


@pytest.fixture(scope="module")
def kept() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder, RedisServer("redis-server", Path(folder)) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """One that the test may kill."""
    with RedisServer("redis-server", tmp_path) as server:
        yield server


class Processes:
    """Gates with the same limits, each with a connection of its own."""

    def __init__(self, url: str, number: int = 2, timing: Timing = QUICK, **limits: Any) -> None:
        self.limits = Limits(shared=url, **limits)
        self._name = f"test:{{{next(NAMES)}}}"
        loop = asyncio.get_running_loop()
        self.servers = [Server(self.limits) for _ in range(number)]
        self.gates = [SharedGate(each, self.limits, self.name, loop, timing) for each in self.servers]
        self.granted: list[tuple[Any, float]] = []

    async def name(self) -> str:
        return self._name

    async def ask(self, gate: int, what: Any = None, **amounts: int) -> Ticket:
        ticket = await self.gates[gate].enter(Amounts(**amounts), Waits())
        self.granted.append((what, asyncio.get_running_loop().time()))
        return ticket

    async def is_known(self, gate: int) -> None:
        """Until the server knows of all that wait at a gate."""
        import redis

        await asyncio.sleep(0)  # who asks begins
        waiting = self.gates[gate]
        with redis.Redis.from_url(str(self.limits.shared), decode_responses=True) as client:
            async with asyncio.timeout(20):
                while waiting.waiting > sum(
                    name.startswith(waiting._owner) for name in client.zrange(f"{self._name}:queue", 0, -1)
                ):
                    await asyncio.sleep(0.005)

    async def aclose(self) -> None:
        for gate in self.gates:
            await gate.aclose()
        for each in self.servers:
            await each.aclose()


@contextlib.asynccontextmanager
async def processes(
    url: str, number: int = 2, timing: Timing = QUICK, **limits: Any
) -> AsyncIterator[Processes]:
    found = Processes(url, number, timing, **limits)
    try:
        yield found
    finally:
        await found.aclose()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await work

    asyncio.run(limited())


def most_within(times: list[float], seconds: float) -> int:
    """A little less than a window is looked at: a place is noted when its waiter runs, later than it was granted."""
    return max(sum(start <= at < start + seconds for at in times) for start in times)


def test_two_processes_are_served_in_turn(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, rpm=4) as both:
            asked = []
            for n in range(10):
                asked.append(asyncio.create_task(both.ask(n % 2, n)))
                await both.is_known(n % 2)
            await asyncio.gather(*asked)
            turns = [n for n, _ in sorted(both.granted, key=lambda each: each[1])]
            assert [sorted(turns[n : n + 4]) for n in (0, 4, 8)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
            assert most_within([at for _, at in both.granted], 0.9) <= 4

    run(main())


def test_places_at_once_are_passed_on_between_processes(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, concurrency=1) as both:
            first = await both.ask(0)
            second = asyncio.create_task(both.ask(1))
            await both.is_known(1)
            third = asyncio.create_task(both.ask(0))
            done, _ = await asyncio.wait((second, third), timeout=0.1)
            assert not done
            both.gates[0].settle(first, None)
            both.gates[1].settle(await second, None)
            both.gates[0].settle(await third, None)
            both.gates[0].settle(first, None)  # a second time: nothing
            assert [gate.running for gate in both.gates] == [0, 0]

    run(main())


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_who_waits_can_leave(kept: RedisServer, how: str) -> None:
    async def main() -> None:
        async with processes(kept.url, concurrency=1) as both:
            first, waits = await both.ask(0), Waits()
            leaving = asyncio.create_task(both.gates[1].enter(Amounts(), waits))
            await both.is_known(1)
            last = asyncio.create_task(both.ask(1))
            leaving.cancel() if how == "cancel" else waits.close()
            with pytest.raises(asyncio.CancelledError if how == "cancel" else ConfigError):
                await leaving
            both.gates[0].settle(first, None)
            both.gates[1].settle(await last, None)
            assert [gate.waiting for gate in both.gates] == [0, 0]

    run(main())


def test_a_holder_that_dies_gives_its_place_back_and_one_that_lives_does_not(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, concurrency=1) as both:
            loop = asyncio.get_running_loop()
            await both.ask(0)
            second = asyncio.create_task(both.ask(1))
            done, _ = await asyncio.wait((second,), timeout=2 * QUICK.patience)
            assert not done
            died, both.gates[0]._server = loop.time(), _Dead()  # type: ignore[assignment]
            await second
            assert QUICK.patience - QUICK.renew <= loop.time() - died

    run(main())


class _Dead(Server):
    """What a process that has died asks of the server."""

    def __init__(self) -> None:
        pass

    async def run(self, *_: Any) -> dict[str, Any]:
        raise SharedServerError("it is dead")

    async def ping(self) -> None:
        raise SharedServerError("it is dead")


def test_a_settled_place_and_what_headers_state_reach_the_others(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, tpm=100) as both:
            ticket = await both.ask(0, input=90)
            both.gates[0].learn({"x-ratelimit-limit-requests": "7"})
            both.gates[0].settle(ticket, Amounts(1, 20, 10))
            ticket = await both.ask(1, input=70)
            shown = {
                each.kind: (each.limit, each.used, each.is_learned) for each in both.gates[1].stats("p", "m")
            }
            assert shown["tokens"] == (100, 100, False)
            assert shown.get("requests", (7, 2, True)) == (7, 2, True)

    run(main())


def test_without_a_server_an_error_says_what_is_wrong(server: RedisServer) -> None:
    async def main() -> None:
        async with processes(server.url, rpm=2) as both:
            held = await both.ask(0)
            await both.ask(0)
            waiting = asyncio.create_task(both.ask(0))
            await asyncio.sleep(0)
            server.kill()
            for asked in (waiting, both.ask(1), both.ask(0)):
                with pytest.raises(
                    SharedServerError, match=rf"127\.0\.0\.1:{server.port}.*does not answer"
                ) as caught:
                    await asked
                assert caught.value.retryable and caught.value.attempts == ()
            both.gates[0].settle(held, Amounts(1))
            server.start()
            await both.ask(0)
            times = [at for _, at in both.granted]
            assert most_within(times, 0.9) <= 2  # what was used before counts

    run(main())


def test_a_server_has_one_client_however_many_ask_at_first() -> None:
    async def main() -> None:
        server = Server(Limits(shared="redis://127.0.0.1:9/0"))
        clients = await asyncio.gather(*(server._connected() for _ in range(3)))
        assert {id(client) for client in clients} == {id(server._client)} and server._client is not None
        await server.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["no connection", "no answer"])
def test_a_silent_server_is_not_waited_for(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        server = Server(Limits(shared=f"redis://127.0.0.1:{listening.getsockname()[1]}/0"))
        async with asyncio.timeout(4):  # the package's own limit is five seconds
            for ask in (server.ping(), server.command("TIME"), server.run("return 1", (), {})):
                with pytest.raises(SharedServerError, match=r"no answer within 0\.05 s"):
                    await ask
            await server.aclose()

    monkeypatch.setattr(shared_server, "TIMEOUT", 0.05)
    if how == "no connection":
        monkeypatch.setattr(asyncio, "open_connection", silent)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # which takes connections, and reads nothing
        run(main())


class Answering:
    """A server of one's own: it answers each PING once `together` of them have come, and all else at once."""

    def __init__(self, together: int) -> None:
        self.connections = self.pings = 0
        self._together, self._enough = together, asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (line := await reader.readline()).startswith(b"*"):
            words = [await reader.readline() for _ in range(2 * int(line[1:]))][1::2]
            if words[0] == b"PING\r\n":
                self.pings += 1
                if self.pings >= self._together:
                    self._enough.set()
                await self._enough.wait()
            writer.write(b"+PONG\r\n" if words[0] == b"PING\r\n" else b"+OK\r\n")
        writer.close()


def test_a_loop_has_eight_connections_at_most() -> None:
    async def main() -> None:
        answering = Answering(together=8)
        listening = await asyncio.start_server(answering, "127.0.0.1", 0)
        server = Server(Limits(shared=f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"))
        await asyncio.gather(*(server.ping() for _ in range(20)))
        assert (answering.connections, answering.pings) == (8, 20)
        await server.aclose()
        listening.close()

    run(main())


# what a server answers that is there, and cannot keep limits now
UNREADY = {
    "a script of somebody else runs": "BUSY Redis is busy running a script. You can only call SCRIPT KILL.",
    "its disk is full": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
    "it has no replicas": "NOREPLICAS Not enough good replicas to write. script: 3b7e, on @user_script:17.",
    "it is a replica": "READONLY You can't write against a read only replica.",
    "it is a replica, before 7": "ERR Error running script (call to f_3b7e): @user_script:17: @user_script: 17: "
    "-READONLY You can't write against a read only replica.",
    "it is full, before 7": "ERR Error running script (call to f_3b7e): @user_script:17: @user_script: 17: -OOM "
    "command not allowed when used memory > 'maxmemory'.",
}


@pytest.mark.parametrize("name", UNREADY)
def test_a_server_that_cannot_keep_limits_now_is_away(name: str) -> None:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()).startswith(b"*"):
            words = [await reader.readline() for _ in range(2 * int(line[1:]))][1::2]
            writer.write(f"-{UNREADY[name]}\r\n".encode() if words[0].startswith(b"EVAL") else b"+PONG\r\n")
        writer.close()

    async def main() -> None:
        listening = await asyncio.start_server(answering, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"
        async with processes(url, 1, rpm=1) as raising, processes(url, 1, rpm=1, when_down="local") as alone:
            with pytest.raises(SharedServerError, match=re.escape(UNREADY[name].split()[-1])):
                await raising.ask(0)
            await alone.ask(0)
            (account,) = accounts(url, 1, "s")
            with pytest.raises(SharedServerError):
                await account.reserve(Budget(tokens=9, scope="s"), Decimal(0), 1)
            await close([account])
        listening.close()

    run(main())


# a secret of the URL, and the parameter that the server's package refuses, whose name is in the error
SECRETS = [("://:{}@", "abcd"), ("://:{}@", "a%62cd"), ("://user:{}@", "long-password"), ("://", "abcd")]


@pytest.mark.parametrize(("place", "secret"), SECRETS)
def test_no_secret_of_a_url_of_four_characters_or_more_is_shown(place: str, secret: str) -> None:
    plain = secret.replace("%62", "b")
    query = f"?{plain}=1" if "{}" in place else f"?password={secret}&{plain}=1"

    async def main() -> None:
        server = Server(Limits(shared=f"redis{place.format(secret)}127.0.0.1:9/0{query}"))
        for ask in (server.ping(), server.command("TIME"), server.run("return 1", (), {})):
            with pytest.raises(ConfigError, match=r"refuses: .* unexpected keyword") as caught:
                await ask
            assert plain not in str(caught.value) and caught.value.__context__ is None
        assert plain not in repr(server) and repr(server).startswith("Server(redis://")

    run(main())


# what stands for the URL, what the variable SHARED_URL holds, and what the error says
REFUSED = [
    (
        "redis://127.0.0.1:9/0?socket_timeout=abcd",
        "",
        "the URL of redis://127.0.0.1:9/0 is refused: Invalid value",
    ),
    ("env:SHARED_URL", "", "the environment variable SHARED_URL is not set"),
    ("env:SHARED_URL", " \n", "the environment variable SHARED_URL is not set"),
    ("env:SHARED_URL", "abcd", "the environment variable SHARED_URL holds no URL"),
]


@pytest.mark.parametrize(("url", "variable", "words"), REFUSED)
def test_what_holds_the_url_is_named_where_it_is_refused(
    url: str, variable: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        limits = Limits(shared=url)
        for setting, server in (
            ("Limits.shared", Server(limits)),
            ("Shown.setting", Server(limits, "Shown.setting")),
        ):
            with pytest.raises(ConfigError, match=f"^{setting}: {words}") as caught:
                await server.ping()
            assert "abcd" not in str(caught.value)

    monkeypatch.setenv("SHARED_URL", variable)
    run(main())


def test_a_gate_and_an_account_that_nobody_has_used_ask_for_nothing_as_they_are_closed() -> None:
    async def main() -> None:
        limits = Limits(shared=f"redis://127.0.0.1:{listening.getsockname()[1]}/0")
        for server in (Server(limits), Server(limits)):
            async with asyncio.timeout(1):
                both = Processes(str(limits.shared))
                await both.gates[0].aclose()
                await SharedAccount(server, "s", asyncio.get_running_loop()).aclose()
                await server.aclose()
        with pytest.raises(BlockingIOError):
            listening.accept()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        run(main())


@pytest.mark.long
def test_without_a_server_each_process_keeps_to_its_part_and_then_they_share_again(
    server: RedisServer,
) -> None:
    """20 in a second for two: before, while the server is away, and when it is back, no second has more."""

    async def main() -> None:
        loop, stopped = asyncio.get_running_loop(), False
        async with processes(server.url, rpm=20, when_down="local") as both:

            async def asking(gate: int) -> None:
                while not stopped:
                    both.gates[gate].settle(await both.ask(gate, gate), None)

            asked = [asyncio.create_task(asking(n % 2)) for n in range(6)]

            async def until(served: int) -> None:
                while len(both.granted) < served:
                    await asyncio.sleep(0.01)

            await until(30)
            server.kill()
            away = loop.time()
            await until(len(both.granted) + 60)
            parts = [[at for gate, at in both.granted if gate == n and at > away + 1.1] for n in (0, 1)]
            assert all(most_within(part, 0.9) <= 10 for part in parts)
            server.start()
            back = loop.time()
            await until(len(both.granted) + 60)
            stopped = True
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
            assert all(gate._local is None for gate in both.gates)
            assert most_within([at for _, at in both.granted], 0.9) <= 20
            assert sum(at > back + 1.1 for _, at in both.granted) >= 30

    run(main())


def test_places_at_once_are_divided_too(server: RedisServer) -> None:
    async def main() -> None:
        async with processes(server.url, concurrency=5, when_down="local") as both:
            first = [await both.ask(n % 2) for n in range(4)]
            server.kill()
            third = asyncio.create_task(both.ask(0))
            done, _ = await asyncio.wait((third,), timeout=0.3)
            assert not done  # two of five are its part
            both.gates[0].settle(first[0], None)
            await third
            server.start()
            async with asyncio.timeout(20):
                while both.gates[0]._local is not None or both.gates[1]._local is not None:
                    await asyncio.sleep(0.01)
            more = [asyncio.create_task(both.ask(1)) for _ in range(2)]  # four places are held
            done, _ = await asyncio.wait(more, timeout=1.0)
            assert len(done) == 1
            for task in more:
                task.cancel()
            await asyncio.wait(more)

    run(main())


def test_what_others_used_counts_while_the_server_is_away(server: RedisServer) -> None:
    async def main() -> None:
        timing = QUICK._replace(window=60.0)
        async with processes(server.url, timing=timing, rpm=4, when_down="local") as both:
            for gate in (1, 0, 0, 0):
                await both.ask(gate)
            while both.gates[1].stats("p", "m")[0].used < 4:
                await asyncio.sleep(0.005)
            server.kill()
            waiting = asyncio.create_task(both.ask(1))
            while both.gates[1]._local is None:
                await asyncio.sleep(0.005)
            assert both.gates[1].waiting == 1  # one of its part of two, and the other is taken
            waiting.cancel()
            await asyncio.wait((waiting,))

    run(main())


def test_a_process_that_has_never_reached_the_server_counts_itself_alone(server: RedisServer) -> None:
    async def main() -> None:
        server.kill()
        async with processes(server.url, 1, rpm=2, when_down="local") as one:
            await one.ask(0)
            await one.ask(0)
            third = asyncio.create_task(one.ask(0))
            done, _ = await asyncio.wait((third,), timeout=0.2)
            assert not done
            third.cancel()
            await asyncio.wait((third,))
            assert one.gates[0].waiting == 0

    run(main())


Step = tuple[float, str, str, int]
ALONE: dict[str, tuple[dict[str, Any], list[Step], dict[str, float]]] = {
    "in order": (
        {"rpm": 2},
        [(0, "ask", name, 0) for name in "abcde"],
        {"a": 0, "b": 0, "c": 60, "d": 60, "e": 120},
    ),
    "a settled place is passed on": (
        {"concurrency": 1},
        [(0, "ask", "a", 0), (1, "ask", "b", 0), (5, "settle", "a", 0)],
        {"a": 0, "b": 5},
    ),
    "a settled place counts what was used": (
        {"tpm": 100},
        [(0, "ask", "a", 90), (1, "ask", "b", 50), (5, "settle", "a", 10)],
        {"a": 0, "b": 5},
    ),
    "a settled place lets the next look at its own time": (
        {"rpm": 1, "concurrency": 1},
        [(0, "ask", "a", 0), (1, "ask", "b", 0), (5, "settle", "a", 0)],
        {"a": 0, "b": 60},
    ),
    "who leaves takes no place": (
        {"rpm": 1},
        [(0, "ask", "a", 0), (1, "ask", "b", 0), (2, "ask", "c", 0), (3, "leave", "b", 0)],
        {"a": 0, "c": 60},
    ),
    "who leaves lets the next look at its own time": (
        {"tpm": 100},
        [
            *((0, "ask", "a", 50), (30, "ask", "b", 50), (31, "ask", "c", 100), (32, "ask", "d", 40)),
            (40, "leave", "c", 0),
        ],
        {"a": 0, "b": 30, "d": 60},
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_who_is_served_when_without_a_server(name: str) -> None:
    given, steps, expected = ALONE[name]

    async def main() -> dict[str, float]:
        loop, limits = asyncio.get_running_loop(), Limits(shared="redis://h", when_down="local", **given)
        gate = alone(limits)
        granted: dict[str, float] = {}
        tickets: dict[str, Ticket] = {}

        async def ask(who: str, tokens: int) -> None:
            tickets[who] = await gate.enter(Amounts(input=tokens), Waits())
            granted[who] = loop.time()

        asked: dict[str, asyncio.Task[None]] = {}
        for at, what, who, tokens in steps:
            await asyncio.sleep(at - loop.time())
            match what:
                case "ask":
                    asked[who] = asyncio.create_task(ask(who, tokens))
                case "leave":
                    asked.pop(who).cancel()
                case "settle":
                    gate.settle(tickets[who], Amounts(1, tokens) if tokens else None)
        async with asyncio.timeout(600):
            await asyncio.gather(*asked.values())
        assert gate.waiting == 0
        await gate.aclose()
        assert timers() == [] and len(asyncio.all_tasks()) == 1
        return granted

    assert virtually(main()) == expected


def test_who_is_cancelled_as_a_place_is_granted_gives_it_back() -> None:
    async def main() -> float:
        gate = alone(Limits(shared="redis://h", rpm=1, concurrency=1, when_down="local"))
        leaving = asyncio.create_task(gate.enter(Amounts(), Waits()))
        while not gate.running:
            await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (gate.waiting, gate.running) == (0, 0)
        await gate.enter(Amounts(), Waits())
        at = asyncio.get_running_loop().time()
        await gate.aclose()
        return at

    assert virtually(main()) == 0


def test_a_place_is_settled_from_another_thread_and_after_its_loop() -> None:
    async def main() -> tuple[SharedGate, Ticket]:
        gate = alone(Limits(shared="redis://h", concurrency=2, when_down="local"), server := _Scripted())
        here, late = [await gate.enter(Amounts(), Waits()) for _ in range(2)]
        assert server.keys == tuple(f"n:{part}" for part in ("use", "queue", "owners", "held", "news"))
        await asyncio.to_thread(gate.settle, here, None)
        assert gate.running == 1
        await gate.aclose()
        return gate, late

    gate, late = asyncio.run(main())
    gate.settle(late, None)  # the server will miss this process


def test_a_gate_that_is_closed_while_somebody_waits_asks_for_nothing_more() -> None:
    async def main() -> None:
        server = _Scripted(*[AWAY] * 9)
        gate = alone(Limits(shared="redis://h", rpm=1, when_down="local"), server)
        await gate.enter(Amounts(), Waits())
        waiting = asyncio.create_task(gate.enter(Amounts(), Waits()))
        await asyncio.sleep(1)
        assert gate.waiting == 1 and timers()
        await gate.aclose()
        assert timers() == []
        assert server.messages[-1]["bye"] and server.messages[-1]["enter"] == ""
        waiting.cancel()
        await asyncio.wait((waiting,))
        await gate.aclose()

    virtually(main())


class _Scripted(Server):
    """A server that grants what it is asked for; `answers` are errors, or fields over the usual ones, in order."""

    def __init__(self, *answers: Exception | dict[str, Any]) -> None:
        self.answers = list(answers)
        self.messages: list[dict[str, Any]] = []
        self.keys: tuple[str, ...] = ()

    async def run(self, script: str, keys: Any, message: Any) -> dict[str, Any]:
        self.messages.append(message)
        self.keys = keys
        answer = self.answers.pop(0) if self.answers else {}
        await asyncio.sleep(0.01)
        if isinstance(answer, Exception):
            raise answer
        granted = ",".join(each.partition(",")[0] for each in message.get("enter", "").split())
        usual = {"lost": False, "epoch": "e", "limits": "", "owners": 1, "used": "0,0,0,0", "wait": -1}
        usual |= {"spent": "0,0", "shorts": ",".join("ok" for _ in message.get("asks", ()))}
        return usual | {"granted": granted} | answer

    async def ping(self) -> None:
        if self.answers and isinstance(self.answers[0], Exception):
            raise self.answers.pop(0)


AWAY = SharedServerError("it is away")


@pytest.mark.parametrize("fault", [AWAY, {"lost": True}])
@pytest.mark.parametrize("what", ["ends", "left", "stated"])
def test_what_a_message_in_vain_had_said_is_said_by_the_next(what: str, fault: Any) -> None:
    async def main() -> None:
        server = _Scripted({}, {"granted": ""}, fault)
        gate = alone(Limits(shared="redis://h", concurrency=1), server)
        held = await gate.enter(Amounts(input=7), Waits())
        waiting = asyncio.create_task(gate.enter(Amounts(input=8, output=9), Waits()))
        await asyncio.sleep(0.01)
        expected: Any
        match what:
            case "ends":
                gate.settle(held, Amounts(1, 5, 6))
                expected = "1,1,5,6"
            case "left":
                waiting.cancel()
                expected = "3,8,9"
            case _:
                gate.learn({"x-ratelimit-limit-requests": "7"})
                await asyncio.sleep(5)
                expected = {"requests": {"limit": 7}}
        while len(server.messages) < 4:
            await asyncio.sleep(0.1)
        assert [message[what] for message in server.messages[2:4]] == [expected, expected]
        assert server.messages[3]["full"]
        await asyncio.sleep(10)
        assert not server.messages[4][what] and not server.messages[4]["full"]
        waiting.cancel()
        await asyncio.wait((waiting,))
        await gate.aclose()

    virtually(main())


def test_what_has_left_the_window_before_an_outage_frees_nothing_as_it_is_settled() -> None:
    async def main() -> tuple[float, float]:
        loop, server = asyncio.get_running_loop(), _Scripted()
        gate = alone(Limits(shared="redis://h", tpm=100, when_down="local"), server)
        early = await gate.enter(Amounts(input=100), Waits())
        await asyncio.sleep(100)
        server.answers += [AWAY] * 999
        await gate.enter(Amounts(input=60), Waits())
        second = loop.time()
        gate.settle(early, Amounts(1, input=10))
        await gate.enter(Amounts(input=60), Waits())
        third = loop.time()
        await gate.aclose()
        return second, third

    second, third = virtually(main())
    assert second < 102 and third == pytest.approx(second + 60)


@pytest.mark.parametrize("when_down", ["raise", "local"])
@pytest.mark.parametrize("error", [AWAY, ConfigError("a wrong password"), ValueError("a fault")])
def test_each_of_those_who_wait_is_told_why_with_an_error_of_its_own(error: Any, when_down: Any) -> None:
    async def main() -> None:
        gate = alone(Limits(shared="redis://h", concurrency=1, when_down=when_down), _Scripted(error))
        asked = [asyncio.create_task(gate.enter(Amounts(), Waits())) for _ in range(2)]
        if error is AWAY and when_down == "local":
            await asyncio.wait(asked, timeout=1)
            assert (gate.running, gate.waiting) == (1, 1)
            asked[1].cancel()
        else:
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert [(type(each), str(each)) for each in told] == [(type(error), str(error))] * 2
            assert (told[0] is told[1]) is isinstance(error, ValueError)
            assert (gate.running, gate.waiting) == (0, 0)
        await asyncio.wait(asked)
        await gate.aclose()

    virtually(main())


def test_what_a_process_says_and_says_again_in_full() -> None:
    usual = {"window": 60_000, "width": 500, "patience": 15_000, "grace": 2_500, "learns": True, "most": 2}
    usual |= {"limits": {"requests": 9, "input": 7, "output": 6, "tokens": 8}}

    async def main() -> None:
        server = _Scripted({"epoch": "e1", "used": "4,5,6,7"}, {}, AWAY, {"epoch": "e2"})
        gate = alone(Limits(shared="redis://h", rpm=9, tpm=8, itpm=7, otpm=6, concurrency=2), server)
        first = await gate.enter(Amounts(1, 2, 3), Waits())
        second = await gate.enter(Amounts(1, 4, 5), Waits())
        waiting = asyncio.create_task(gate.enter(Amounts(1, 6, 7), Waits()))
        await asyncio.sleep(0)
        gate.settle(first, Amounts(1, 1, 0))
        names = ("requests", 60, 59, "7.5s"), ("tokens", 50, -1, "soon")
        gate.learn(
            {
                f"x-ratelimit-{what}-{kind}": str(value)
                for kind, *values in names
                for what, value in zip(("limit", "remaining", "reset"), values, strict=True)
            }
        )
        with pytest.raises(SharedServerError):
            await waiting
        await asyncio.sleep(1.5)
        begin, more, vain, full = server.messages[:4]
        owner = begin["owner"]
        assert len(owner) == 32 and {message["owner"] for message in server.messages} == {owner}
        assert [message["number"] for message in server.messages[:4]] == [2, 4, 6, 7]
        said = {"owner": owner, "full": False, "ends": "", "left": "", "stated": {}, **usual}
        assert begin == said | {"number": 2, "epoch": "", "enter": "1,2,3"}
        assert more == said | {"number": 4, "epoch": "e1", "enter": "3,4,5"}
        stated = {
            "requests": {"limit": 60, "remaining": 59, "reset": 7_500},
            "tokens": {"limit": 50},
        }
        assert vain == said | {
            "number": 6, "epoch": "e", "enter": "5,6,7", "ends": "1,1,1,0", "stated": stated
        }  # fmt: skip
        own, holding, age = full.pop("own").split(), full.pop("holding"), full.pop("used_age")
        assert full == said | {
            "number": 7,
            "epoch": "e",
            "enter": "",
            "full": True,
            "used": "0,0,0",
            "ends": "1,1,1,0",
            "left": "5,6,7",
            "stated": stated,
        }
        ages = [int(each.partition(",")[0]) for each in own]
        assert [each.partition(",")[2] for each in own] == ["1,1,0,1", "1,4,5,1"]
        assert [*ages, age] == pytest.approx([20, 10, 10], abs=1)
        assert holding == f"{second.number},{ages[1]},4,5"  # type: ignore[attr-defined]
        await asyncio.sleep(3)
        assert server.messages[4] == said | {"number": 8, "epoch": "e2", "enter": ""}
        await gate.aclose()
        assert server.messages[-1]["bye"] and server.messages[-1]["epoch"] == "e"

    virtually(main())


# what the server has answered to somebody who waits: after how many seconds it is asked again
WAITS: dict[str, tuple[dict[str, Any], float]] = {
    "until a moment": ({"wait": 499}, 0.5),
    "until a moment that is far away": ({"wait": 59_999}, 3.0),
    "until somebody gives a place back": ({"wait": -1}, 0.02),
    "of very few": ({"wait": 0, "owners": 7}, 0.02),
    "of many": ({"wait": -1, "owners": 40}, 0.1),
    "of very many": ({"wait": -1, "owners": 4_000}, 3.0),
    "of nobody": ({"wait": -1, "owners": 0}, 0.02),
}


@pytest.mark.parametrize("name", WAITS)
def test_how_soon_the_server_is_asked_again(name: str) -> None:
    answer, seconds = WAITS[name]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        times: list[float] = []

        class Timed(_Scripted):
            async def run(self, script: str, keys: Any, message: Any) -> dict[str, Any]:
                times.append(loop.time())
                return await super().run(script, keys, message)

        gate = alone(Limits(shared="redis://h", rpm=9), Timed(answer | {"granted": ""}, {"granted": "1"}))
        await gate.enter(Amounts(), Waits())
        await asyncio.sleep(10)
        asked, again, later, *_ = times
        assert again - asked == pytest.approx(seconds + 0.01)
        assert later - again == pytest.approx(3.0 + 0.01)  # nobody waits any more
        await gate.aclose()

    virtually(main())


def test_a_gate_that_is_idle_runs_nothing_and_says_goodbye_once() -> None:
    async def main() -> None:
        gate = alone(Limits(shared="redis://h", concurrency=1), server := _Scripted())
        for _ in range(2):
            ticket: Any = await gate.enter(Amounts(), Waits())
            gate.settle(ticket, None)
            await asyncio.sleep(100)
            assert timers() == [] and len(asyncio.all_tasks()) == 1
            assert [each["ends"] for each in server.messages if each["ends"]][-1] == f"{ticket.number}"
        for _ in range(2):
            await gate.aclose()
        assert [message.get("bye", False) for message in server.messages[-2:]] == [False, True]

    virtually(main())


def test_given_limits_are_shown_and_learned_ones_where_none_are_given() -> None:
    async def main() -> None:
        learned = {"limits": "requests=5,tokens=70", "used": "1,2,3,4"}
        gate = alone(Limits(shared="redis://h", rpm=9, itpm=8), _Scripted(learned))
        await gate.enter(Amounts(), Waits())
        assert gate.stats("p", "m") == [
            LimitStats("p", "m", "requests", 9, 1, False),
            LimitStats("p", "m", "input", 8, 2, False),
            LimitStats("p", "m", "tokens", 70, 4, True),
        ]
        await gate.aclose()

    virtually(main())


def test_of_what_nobody_else_uses_all_is_there_without_the_server() -> None:
    async def main() -> float:
        server = _Scripted({"used": "1,0,0,0"}, *[AWAY] * 99)
        gate = alone(Limits(shared="redis://h", rpm=2, when_down="local"), server)
        for _ in range(2):
            await gate.enter(Amounts(), Waits())
        granted = asyncio.get_running_loop().time()
        await gate.aclose()
        return granted

    assert virtually(main()) < 1


def test_a_place_that_the_server_gave_is_taken_while_it_is_away() -> None:
    async def main() -> None:
        server = _Scripted({}, *[AWAY] * 99)
        gate = alone(Limits(shared="redis://h", concurrency=1, when_down="local"), server)
        held = await gate.enter(Amounts(), Waits())
        waiting = asyncio.create_task(gate.enter(Amounts(), Waits()))
        await asyncio.sleep(5)
        assert (gate.running, gate.waiting) == (1, 1)
        gate.settle(held, None)
        await waiting
        await gate.aclose()

    virtually(main())


def test_what_was_granted_without_the_server_is_new_to_it_once() -> None:
    async def main() -> None:
        server = _Scripted(AWAY, AWAY, {}, AWAY)
        gate = alone(Limits(shared="redis://h", rpm=9, when_down="local"), server)
        await gate.enter(Amounts(1, 2, 3), Waits())
        while not (said := [message["own"] for message in server.messages if "own" in message])[1:]:
            await asyncio.sleep(0.1)
        assert [each.partition(",")[2] for each in said] == ["1,2,3,0", "1,2,3,1"]
        first = next(message for message in server.messages if "own" in message)
        assert (first["used"], first["used_age"]) == ("0,0,0", 120_000)  # nothing was heard yet
        await gate.aclose()

    virtually(main())


class _Silent(_Scripted):
    """It answers what `answers` has, and nothing after that."""

    async def run(self, script: str, keys: Any, message: Any) -> dict[str, Any]:
        if not self.answers:
            await asyncio.Event().wait()
        return await super().run(script, keys, message)


def test_a_silent_server_is_waited_for_four_seconds_at_most_as_all_is_closed() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = alone(Limits(shared="redis://h", concurrency=1), _Silent({}))
        gate.settle(await gate.enter(Amounts(), Waits()), None)
        account = SharedAccount(_Silent({}), "x", loop)
        account.settle(await account.reserve(Budget(tokens=9, scope="x"), Decimal(0), 5), None, 3)
        for each in (gate, account):
            await asyncio.sleep(0.1)
            began = loop.time()
            await each.aclose()
            assert loop.time() - began == pytest.approx(4)

    virtually(main())


def test_what_others_have_used_is_what_was_heard_last_before_each_outage() -> None:
    """Of four in a minute for two processes: two are this one's part."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = _Scripted(AWAY, AWAY, {"owners": 2}, {"owners": 2, "used": "4,0,0,0"})
        gate = alone(Limits(shared="redis://h", rpm=4, when_down="local"), server)
        await gate.enter(Amounts(), Waits())  # nothing was heard before: it counts itself alone
        granted = loop.time()
        while len(server.messages) < 3:
            await asyncio.sleep(0.1)
        heard, server.answers = loop.time(), [AWAY] * 200
        times = []
        for _ in range(2):
            await gate.enter(Amounts(), Waits())
            times.append(loop.time())
        assert times[0] == granted + 60 and abs(times[1] - heard - 60) < 0.2
        server.answers = []
        await gate.aclose()

    virtually(main())


@pytest.mark.parametrize(
    ("what", "said"), [("ends", "1,1,5,6"), ("left", "3,8,9"), ("stated", {"requests": {"limit": 7}})]
)
def test_what_is_on_its_way_as_a_gate_is_closed_is_in_its_last_message(what: str, said: Any) -> None:
    async def main() -> None:
        server = _Scripted({}, {"granted": ""})
        gate = alone(Limits(shared="redis://h", concurrency=1), server)
        held = await gate.enter(Amounts(input=7), Waits())
        waiting = asyncio.create_task(gate.enter(Amounts(input=8, output=9), Waits()))
        await asyncio.sleep(0.02)
        gate.learn({"x-ratelimit-limit-requests": "7"})
        waiting.cancel() if what == "left" else gate.settle(held, Amounts(1, 5, 6))
        while len(server.messages) < 3:
            await asyncio.sleep(0.001)
        await gate.aclose()
        assert not any(message[what] for message in server.messages[:2])
        assert [message[what] for message in server.messages[2:]] == [said, said]
        assert [message.get("bye", False) for message in server.messages] == [False, False, False, True]
        waiting.cancel()
        await asyncio.wait((waiting,))
        await gate.aclose()

    virtually(main())


def test_what_is_settled_after_a_gate_was_closed_brings_nothing_back(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, 1, concurrency=2) as one:
            (gate,) = one.gates
            first, _ = await one.ask(0), await one.ask(0)
            await gate.aclose()
            assert kept.ask("hlen", f"{one._name}:held") == 0
            gate.settle(first, None)
            while gate._ends or not gate._epoch:
                await asyncio.sleep(0.005)
            assert kept.ask("hlen", f"{one._name}:held") == 0

    run(main())


def alone(limits: Limits, server: Server | None = None) -> SharedGate:
    """A gate, of a server that is away for good where none is given."""

    async def name() -> str:
        return "n"

    return SharedGate(server or _Dead(), limits, name, asyncio.get_running_loop())


def test_nothing_runs_while_a_gate_is_idle_and_it_asks_again(kept: RedisServer) -> None:
    async def main() -> None:
        timing = QUICK._replace(window=0.02, renew=0.01)
        async with processes(kept.url, 1, timing=timing, concurrency=1) as one:
            for _ in range(2):
                one.gates[0].settle(await one.ask(0), None)
                while one.gates[0]._task is not None:
                    await asyncio.sleep(0.005)
                assert kept.ask("hlen", f"{one._name}:held") == 0

    run(main())


def test_who_leaves_before_the_server_knows_takes_no_place(kept: RedisServer) -> None:
    async def main() -> None:
        async with processes(kept.url, 1, concurrency=1) as one:
            first = asyncio.create_task(one.ask(0))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # its message is on the way
            leaving = asyncio.create_task(one.ask(0))
            await asyncio.sleep(0)
            leaving.cancel()
            one.gates[0].settle(await first, None)
            async with asyncio.timeout(5):
                await one.ask(0)

    run(main())


def test_what_was_said_once_counts_once(kept: RedisServer) -> None:
    """A server that does not answer for a while, and has forgotten nothing."""

    async def main() -> None:
        timing = QUICK._replace(window=30)
        async with processes(kept.url, timing=timing, tpm=100, when_down="local") as both:
            here, there = both.gates
            real = here._server
            for _ in range(2):
                here._server = _Dead()
                await both.ask(0, input=10)
                here._server = real
                while here._local is not None or here._is_full:
                    await asyncio.sleep(0.005)
            await both.ask(1)
            assert [shown.used for shown in there.stats("p", "m")] == [20]

    run(main())


def test_what_was_settled_while_the_server_was_away_is_what_counts(server: RedisServer) -> None:
    async def main() -> None:
        timing = QUICK._replace(window=30)
        async with processes(server.url, timing=timing, tpm=100) as both:
            here, there = both.gates
            ticket = await both.ask(0, input=10)
            known = here._epoch
            server.kill()
            here.settle(ticket, Amounts(1, 15, 5))
            server.start()
            while here._epoch == known:
                await asyncio.sleep(0.005)
            await both.ask(1)
            assert [shown.used for shown in there.stats("p", "m")] == [20]

    run(main())


@pytest.mark.parametrize("is_settled", [True, False])
def test_what_was_granted_without_the_server_counts_when_it_is_back(
    server: RedisServer, is_settled: bool
) -> None:
    async def main() -> None:
        timing = QUICK._replace(window=30)
        async with processes(server.url, timing=timing, tpm=100, concurrency=9, when_down="local") as both:
            here, there = both.gates
            server.kill()
            for _ in range(3):
                ticket = await both.ask(0, input=10)
                if is_settled:
                    here.settle(ticket, Amounts(1, 20, 0))
            server.start()
            while not here._epoch:  # until it was told
                await asyncio.sleep(0.005)
            await both.ask(1)
            (shown,) = there.stats("p", "m")
            assert (shown.kind, shown.used) == ("tokens", 60 if is_settled else 30)
            assert server.ask("hlen", f"{both._name}:held") == (1 if is_settled else 4)

    run(main())


def test_a_wrong_password_is_named_in_either_mode_and_shows_nowhere(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        for when_down in ("raise", "local"):
            async with processes(url, 1, rpm=2, when_down=when_down) as one:
                with pytest.raises(ConfigError, match="refuses") as caught:
                    await one.ask(0)
                assert (
                    "wrong-secret" not in f"{caught.value!r} {one.servers[0]!r} {caught.value.__context__!r}"
                )

    with RedisServer("redis-server", tmp_path, "--requirepass", "right-secret") as server:
        run(main(server.url.replace("//", "//:wrong-secret@")))


def test_a_loop_that_ends_gives_back_what_it_holds(kept: RedisServer) -> None:
    """As asyncio.run does without aclose: the last message is sent while the tasks are cancelled."""

    async def main() -> None:
        both = Processes(kept.url, 1, concurrency=1)
        both._name = "test:{ends}"
        await both.ask(0)
        other = Processes(kept.url, 1, concurrency=1)
        other._name = "test:{ends}"
        both.gates[0]._task.cancel()  # type: ignore[union-attr]
        await other.ask(0)
        await both.aclose()
        await other.aclose()

    run(main())
    assert kept.ask("hlen", "test:{ends}:held") == 0


@pytest.mark.parametrize("late", [None, ConnectionError("lost")])
def test_a_command_that_nobody_waits_for_any_more_ends_without_a_word(late: Exception | None) -> None:
    """Also where the package answers a cancellation with an error of its own."""
    problems: list[Any] = []

    async def command() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            if late is not None:
                raise late from None
            raise

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        asked = asyncio.create_task(Server(Limits(shared="redis://h"))._answer(command()))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1
        gc.collect()

    virtually(main())
    assert problems == []


# -- budgets -----------------------------------------------------------------------------------------------------


def accounts(url: str, number: int, scope: str) -> list[SharedAccount]:
    loop = asyncio.get_running_loop()
    return [SharedAccount(Server(Limits(shared=url)), scope, loop) for _ in range(number)]


async def close(all_of_them: list[SharedAccount]) -> None:
    for each in all_of_them:
        await each.aclose()
        await each._server.aclose()


def test_a_hundred_at_once_with_money_for_ten(kept: RedisServer) -> None:
    async def main() -> None:
        four = accounts(kept.url, 4, "a hundred")
        budget = Budget(usd=Decimal("1"), tokens=10_000, scope="a hundred")
        asked = [four[n % 4].reserve(budget, Decimal("0.1"), 5) for n in range(100)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        granted = [each for each in found if not isinstance(each, BaseException)]
        assert len(granted) == 10 and sum(isinstance(each, BudgetExceededError) for each in found) == 90
        owner = {each.id: four[n % 4] for n, each in enumerate(found) if not isinstance(each, BaseException)}
        for each in granted[:5]:  # a failure, twice reported
            owner[each.id].settle(each, Decimal(0), 0)
            owner[each.id].settle(each, Decimal(9), 9)
        for each in granted[5:]:  # a loser, of which nothing is known
            owner[each.id].settle(each, None, None)
        async with asyncio.timeout(20):
            while any(each._ends for each in four):
                await asyncio.sleep(0.001)
        await four[0].reserve(budget, Decimal("0.5"), 5)
        with pytest.raises(BudgetExceededError, match=r"\$0\.5 spent, \$0\.5 reserved.*up to \$0\.000000001"):
            await four[1].reserve(budget, Decimal("0.000000001"), 5)
        await close(four)

    run(main())


def test_each_end_is_reported_without_another_request(kept: RedisServer) -> None:
    async def main() -> None:
        account, other = accounts(kept.url, 2, "one by one")
        budget = Budget(tokens=100, scope="one by one")
        for tokens in (10, 20):
            account.settle(await account.reserve(budget, Decimal(0), 50), None, tokens)
            async with asyncio.timeout(5):
                while account._ends or account._task is not None:
                    await asyncio.sleep(0.001)
        assert (account.stats().tokens, account.stats().reserved_tokens) == (30, 0)
        with pytest.raises(BudgetExceededError, match="30 spent, 0 reserved"):
            await other.reserve(budget, Decimal(0), 71)
        await close([account, other])

    run(main())


def test_what_is_on_its_way_as_an_account_is_closed_is_reported_again() -> None:
    async def main() -> None:
        account = SharedAccount(server := _Scripted(), "x", asyncio.get_running_loop())
        account.settle(await account.reserve(Budget(tokens=9, scope="x"), Decimal(0), 5), None, 3)
        while len(server.messages) < 2:
            await asyncio.sleep(0.001)
        await account.aclose()
        assert server.keys == tuple(f"brainwires:budget:{{x}}:{part}" for part in ("account", "open", "gone"))
        begun, first, second = server.messages
        assert begun["ends"] == "" and first["ends"] == second["ends"] == f"{begun['asks'][0]['id']}:0,3"
        assert account._ends == [] and account._task is None

    virtually(main())


def test_what_an_account_says_of_each_reservation_and_of_those_before() -> None:
    async def main() -> None:
        said = {"spent": "5,6", "epoch": "e1"}
        account = SharedAccount(server := _Scripted(*[said] * 4), "x", asyncio.get_running_loop())
        budgets = [Budget(**most, scope="x") for most in ({"usd": 2, "tokens": 9}, {"usd": 3}, {"tokens": 8})]
        amounts = (Decimal("0.5"), 5), (Decimal("0.0000000001"), 4), (Decimal(0), 3)
        one, two, three = [
            await account.reserve(budget, *each) for budget, each in zip(budgets, amounts, strict=True)
        ]
        assert len({one.id, two.id, three.id}) == 3
        owner = server.messages[0]["owner"]
        begin = {"owner": owner, "epoch": "", "spent": "0,0", "open": "", "ends": ""}
        more = begin | {"epoch": "e1", "spent": "5,6"}
        held = f"{one.id},500000000,5"
        asks = [
            {"id": one.id, "usd": 500_000_000, "tokens": 5, "most_usd": 2_000_000_000, "most_tokens": 9},
            {"id": two.id, "usd": 1, "tokens": 4, "most_usd": 3_000_000_000},
            {"id": three.id, "usd": 0, "tokens": 3, "most_tokens": 8},
        ]
        assert server.messages == [
            begin | {"asks": asks[:1]},
            more | {"open": held, "asks": asks[1:2]},
            more | {"open": f"{held} {two.id},1,4", "asks": asks[2:]},
        ]
        stats = account.stats()
        assert (stats.usd, stats.tokens) == (Decimal("0.000000005"), 6)
        assert (stats.reserved_usd, stats.reserved_tokens) == (Decimal("0.5000000001"), 12)
        account.settle(two, Decimal("0.1"), 7)
        await asyncio.sleep(1)
        assert server.messages[3] == more | {
            "open": f"{held} {two.id},1,4 {three.id},0,3", "asks": [], "ends": f"{two.id}:100000000,7"
        }  # fmt: skip
        assert account.stats().reserved_tokens == 8
        await account.aclose()

    virtually(main())


# what a budget is short of, and what the error says of it
SHORT = {
    "tokens": r"^the budget of 90 tokens \(scope 'x'\).*: 30 spent, 60 reserved .*, up to 5 for this one",
    "usd": r"^the budget of \$1\.5 \(scope 'x'\).*: \$0\.25 spent, \$1 reserved .*, up to \$0\.5 for this one",
}


@pytest.mark.parametrize("what", SHORT)
def test_what_is_refused_is_not_reserved_and_the_error_says_what_is_left(what: str) -> None:
    async def main() -> None:
        answer = {"shorts": what, "spent": "250000000,30", "reserved": "1000000000,60"}
        account = SharedAccount(server := _Scripted(answer), "x", asyncio.get_running_loop())
        with pytest.raises(BudgetExceededError, match=SHORT[what]):
            await account.reserve(Budget(usd=1.5, tokens=90, scope="x"), Decimal("0.5"), 5)
        assert account.stats().reserved_tokens == 0 and len(server.messages) == 1
        await account.aclose()

    virtually(main())


def test_what_the_server_may_have_reserved_is_given_back_when_it_answers_again() -> None:
    async def main() -> None:
        server, times = _Scripted(AWAY, AWAY, AWAY), []
        account = SharedAccount(server, "x", asyncio.get_running_loop())
        with pytest.raises(SharedServerError):
            await account.reserve(Budget(tokens=9, scope="x"), Decimal(0), 5)
        while account._ends:
            times.append(len(server.messages))
            await asyncio.sleep(1)
        asked, *reports = server.messages
        assert [each["ends"] for each in reports] == [f"{asked['asks'][0]['id']}:0,0,1"] * 3
        assert not any(each["asks"] for each in reports)
        assert len(times) == 4 and set(times) == {1, 2, 3}  # about once a second
        await account.aclose()

    virtually(main())


def test_a_budget_is_settled_from_another_thread_and_after_its_loop() -> None:
    async def main() -> tuple[SharedAccount, Any]:
        account, budget = (
            SharedAccount(_Scripted(), "x", asyncio.get_running_loop()),
            Budget(tokens=9, scope="x"),
        )
        here, late = [await account.reserve(budget, Decimal(0), 2) for _ in range(2)]
        await asyncio.to_thread(account.settle, here, None, 1)
        assert account._ends == [f"{here.id}:0,1"]
        await account.aclose()
        return account, late

    account, late = asyncio.run(main())
    account.settle(late, None, 1)  # the server will miss this process
    assert account._ends == []


def test_tokens_are_counted_over_processes(kept: RedisServer) -> None:
    async def main() -> None:
        both = accounts(kept.url, 2, "tokens")
        budget = Budget(tokens=100, scope="tokens")
        await both[0].reserve(budget, Decimal(0), 60)
        with pytest.raises(BudgetExceededError, match=r"100 tokens.*0 spent, 60 reserved.*up to 41"):
            await both[1].reserve(budget, Decimal(0), 41)
        await close(both)

    run(main())


def test_a_budget_outlives_the_servers_memory(server: RedisServer) -> None:
    async def main() -> None:
        both = accounts(server.url, 2, "kept")
        budget = Budget(usd=1, scope="kept")
        first = await both[0].reserve(budget, Decimal("0.5"), 5)
        both[0].settle(first, Decimal("0.3"), 5)
        second = await both[0].reserve(budget, Decimal("0.2"), 5)
        server.kill()
        with pytest.raises(SharedServerError):
            await both[0].reserve(budget, Decimal("0.1"), 5)
        both[0].settle(second, Decimal("0.1"), 5)
        server.start()
        async with asyncio.timeout(20):
            while both[0]._ends:
                await asyncio.sleep(0.01)
        await both[1].reserve(budget, Decimal("0.6"), 5)
        with pytest.raises(BudgetExceededError, match=r"\$0\.4 spent, \$0\.6 reserved"):
            await both[1].reserve(budget, Decimal("0.1"), 5)
        await close(both)

    run(main())


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 10, 20])
def test_a_reservation_that_was_cancelled_is_given_back(kept: RedisServer, steps: int) -> None:
    async def main() -> None:
        scope = f"cancelled after {steps}"
        (account,) = accounts(kept.url, 1, scope)
        budget = Budget(tokens=100, scope=scope)
        await account.reserve(budget, Decimal(0), 1)  # connected
        asked = asyncio.create_task(account.reserve(budget, Decimal(0), 90))
        for _ in range(steps):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait((asked,))
        async with asyncio.timeout(20):
            while account._task is not None:
                await asyncio.sleep(0.001)
        assert account.stats().reserved_tokens == (1 if asked.cancelled() else 91)
        await account.reserve(budget, Decimal(0), 99 if asked.cancelled() else 9)
        await close([account])

    run(main())


def test_who_asks_while_a_message_is_on_its_way_is_in_the_next() -> None:
    """Two hundred at once do not wait for each other's answers, however long each takes."""

    async def main() -> None:
        account = SharedAccount(server := _Scripted(), "x", asyncio.get_running_loop())
        budget = Budget(tokens=999, scope="x")
        first = asyncio.create_task(account.reserve(budget, Decimal(0), 1))
        await asyncio.sleep(0.005)
        more = [asyncio.create_task(account.reserve(budget, Decimal(0), 1)) for _ in range(200)]
        reserved = await asyncio.gather(first, *more)
        asks = [[each["id"] for each in message["asks"]] for message in server.messages]
        assert asks == [[reserved[0].id], [each.id for each in reserved[1:]]]
        assert account.stats().reserved_tokens == 201
        await account.aclose()

    virtually(main())


@pytest.mark.parametrize("error", [AWAY, ConfigError("a wrong password"), ValueError("a fault")])
def test_each_of_those_who_reserve_is_told_why(error: Exception) -> None:
    async def main() -> None:
        account = SharedAccount(server := _Scripted(error), "x", asyncio.get_running_loop())
        budget = Budget(tokens=9, scope="x")
        asked = [asyncio.create_task(account.reserve(budget, Decimal(0), 1)) for _ in range(2)]
        await asyncio.sleep(0.005)
        asked.append(asyncio.create_task(account.reserve(budget, Decimal(0), 1)))
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert [(type(each), str(each)) for each in told] == [(type(error), str(error))] * 3
        assert len(server.messages) == 1
        await account.reserve(budget, Decimal(0), 1)
        await account.aclose()

    virtually(main())


def test_who_reserves_as_an_account_is_closed_is_told_and_gives_it_back() -> None:
    async def main() -> None:
        account = SharedAccount(server := _Scripted(), "x", asyncio.get_running_loop())
        asked = asyncio.create_task(account.reserve(Budget(tokens=9, scope="x"), Decimal(0), 1))
        await asyncio.sleep(0.005)
        await account.aclose()
        with pytest.raises(ConfigError, match="closed"):
            await asked
        begun, last = server.messages
        assert last["ends"] == f"{begun['asks'][0]['id']}:0,0,1" and account._task is None

    virtually(main())


def test_what_was_answered_is_not_remembered_as_ended(kept: RedisServer) -> None:
    """The server's memory does not grow with the number of requests."""

    async def main() -> None:
        (account,) = accounts(kept.url, 1, "many")
        budget = Budget(tokens=10_000, scope="many")

        async def spend() -> None:
            for _ in range(10):
                account.settle(await account.reserve(budget, Decimal(0), 5), None, 3)

        await asyncio.gather(*(spend() for _ in range(20)))
        async with asyncio.timeout(20):
            while account._ends:
                await asyncio.sleep(0.001)
        assert account.stats().tokens == 600
        names = [f"brainwires:budget:{{many}}:{part}" for part in ("open", "gone")]
        assert [kept.ask("hlen", name) for name in names] == [0, 0]
        await close([account])

    run(main())


def test_what_was_spent_before_a_loss_of_memory_counts_once(server: RedisServer) -> None:
    async def main() -> None:
        (account,) = accounts(server.url, 1, "once")
        budget = Budget(tokens=100, scope="once")
        reserved = await account.reserve(budget, Decimal(0), 10)
        server.ask("flushall")
        asked = [asyncio.create_task(account.reserve(budget, Decimal(0), 1)) for _ in range(8)]
        account.settle(reserved, None, 7)
        await asyncio.gather(*asked)
        async with asyncio.timeout(20):
            while account._ends:
                await asyncio.sleep(0.001)
        stats = account.stats()
        assert (stats.tokens, stats.reserved_tokens) == (7, 8)
        assert server.ask("hget", "brainwires:budget:{once}:account", "reserved_tokens") == "8"
        await close([account])

    run(main())
