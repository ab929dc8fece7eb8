"""An engine's life on the real llama.cpp: many requests on one copy of the weights, unloading, idling, sharing.

Where only the order of starts and ends counts, a shell script stands in for the engine's process: it loads at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    ConnectError,
    ProviderConfig,
    StreamInterrupted,
    TextDelta,
)
from brainwires_provider.local.engine.engine import Engine
from brainwires_provider.local.engine.process_memory import process_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.transport import EngineStatus, LocalTransport, engines, overlay
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.transports.base import Outgoing
from engines import NEEDS_ENGINE
from local_engines import CLOCK, get, gone, posix_only, soon, until

EIGHT = LocalModel(slots=8, context=4096)
LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 440, "extra_body": {"ignore_eos": True}}

pytestmark = NEEDS_ENGINE
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # no model of the user's own is the default
        patch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield
    gc.collect()
    assert engines() == []


@pytest.fixture(scope="module")
def eight() -> Iterator[Engine]:
    """The engine of `EIGHT`, kept for the clients of all tests here."""
    _elsewhere.update(children())
    wire = LocalTransport("", EIGHT, max_connections=1)
    asyncio.run(wire.load())
    assert wire._engine is not None
    yield wire._engine
    asyncio.run(wire.aclose())


def client(settings: LocalModel = EIGHT, model: str = "") -> AsyncClient:
    return AsyncClient(f"local:{model}", providers=[ProviderConfig("local", local=settings)])


def pid_of(engine: Engine) -> int:
    assert engine.pid is not None
    return engine.pid


_elsewhere: set[int] = set()
"""Engines of other tests, which this process may have running."""


def children() -> list[int]:
    listed = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "engine.child"], capture_output=True, check=False
    )
    return [pid for pid in map(int, listed.stdout.split()) if pid not in _elsewhere]


async def working(engine: Engine) -> int:
    """How many slots are at work, by the engine's own word."""
    _, slots = await get(engine, "/slots")
    return sum(slot["is_processing"] for slot in slots)


# --- many requests ------------------------------------------------------------------------------------


class Reader:
    """One streamed answer that is read on until it is told to leave."""

    def __init__(self, asking: AsyncClient, number: int) -> None:
        self.deltas = 0
        self.done = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._read(asking, number))

    async def _read(self, asking: AsyncClient, number: int) -> None:
        async with asking.stream(f"Count from {number}.", **LONG) as stream:
            async for event in stream:
                self.deltas += isinstance(event, TextDelta)
                if self._leave.is_set():
                    return
        self.done = True

    async def leave(self) -> None:
        self._leave.set()
        await self.task

    async def reaches(self, deltas: int) -> None:
        async with asyncio.timeout(CLOCK):
            while self.deltas < deltas and not self.task.done():
                await asyncio.sleep(0.01)
        assert self.deltas >= deltas


def test_eight_at_once_on_one_copy_of_the_weights_and_a_ninth_waits_its_turn(
    eight: Engine, record_property: Callable[[str, object], None]
) -> None:
    weights = os.path.getsize(eight.settings.path)

    async def main() -> None:
        async with client() as asking:
            before = process_memory(pid_of(eight))
            readers = [Reader(asking, number) for number in range(8)]
            for reader in readers:
                await reader.reaches(2)
            assert await working(eight) == 8
            (status,) = engines()
            assert (status.loaded, status.busy, status.pid) == (True, 8, eight.pid)

            ninth = Reader(asking, 9)
            await soon(lambda: eight.busy == 9, "the ninth to be under way")
            for reader in readers:
                await reader.reaches(reader.deltas + 2)
            assert ninth.deltas == 0
            assert await working(eight) == 8
            await readers[0].leave()  # which frees its slot
            await ninth.reaches(1)
            assert not any(reader.done for reader in readers)
            for reader in (*readers[1:], ninth):
                await reader.leave()
            assert eight.busy == 0

            for name, value in (("weights", weights), ("loaded", before.pss), ("with eight", status.pss)):
                record_property(name, value)
                print(name, value)
            assert os.name != "posix" or children() == [eight.pid]
            if before.pss is not None and status.pss is not None:
                assert weights * 0.9 < before.pss < 3 * weights
                assert status.pss - before.pss < weights / 2

    asyncio.run(main())


def test_a_cancelled_request_is_in_sending_no_more(eight: Engine) -> None:
    async def main() -> None:
        async with client() as asking:
            whole = asyncio.create_task(asking.chat("Hi", **LONG))
            streamed = Reader(asking, 1)
            await streamed.reaches(1)
            await soon(lambda: eight.busy == 2, "both to be under way")
            for task in (whole, streamed.task):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert eight.busy == 0

    asyncio.run(main())


def test_a_stream_that_is_dropped_is_in_sending_no_more(eight: Engine) -> None:
    async def main() -> None:
        wire = LocalTransport("", EIGHT, max_connections=1)
        body = json.dumps({"prompt": "Hi", "n_predict": 400, "stream": True}).encode()
        exchange = await wire.open(Outgoing("POST", "http://localhost/completion", {}, body))
        assert await exchange.read()
        assert eight.busy == 1
        exchange._exchange.abort()  # as the end of its loop does
        del exchange
        gc.collect()
        assert eight.busy == 0
        await wire.aclose()

    asyncio.run(main())


def test_two_clients_share_one_engine_and_other_settings_do_not(eight: Engine) -> None:
    async def main() -> None:
        there = client(EIGHT, installed_weights())  # the same file by its path
        async with client() as one:
            await asyncio.gather(*(each.chat("Hi", max_tokens=1) for each in (one, there)))
            assert [status.pid for status in engines()] == [eight.pid]
            async with client(LocalModel(context=512)) as other:
                await other.chat("Hi", max_tokens=1)
                others = [status for status in engines() if status.pid != eight.pid]
                assert len(others) == 1
                assert others[0].loaded
        await there.aclose()
        assert [status.pid for status in engines()] == [eight.pid]
        assert eight.alive()

    asyncio.run(main())


# --- unloading ----------------------------------------------------------------------------------------


def total_pss() -> int:
    """Of this process and its engines."""
    sizes = [process_memory(pid).pss for pid in (os.getpid(), *children())]
    return sum(size or 0 for size in sizes)


@linux_only
def test_unload_gives_the_memory_back_and_the_next_request_loads_again(
    eight: Engine, record_property: Callable[[str, object], None]
) -> None:
    weights = os.path.getsize(eight.settings.path)

    async def main() -> None:
        wire = LocalTransport("", EIGHT, max_connections=1)
        async with client() as asking:
            first, loaded = pid_of(eight), total_pss()
            assert await wire.unload() is True
            assert gone(first)
            assert children() == []
            unloaded = total_pss()
            assert await wire.unload() is False
            assert await wire.status() == EngineStatus(installed_weights())
            own = process_memory(os.getpid()).pss
            assert own is not None
            for name, size in (("loaded", loaded), ("unloaded", unloaded), ("ours", own)):
                record_property(name, size)
                print(name, size)
            assert unloaded - own < 1 << 20
            assert loaded - unloaded > weights

            assert (await asking.chat("Hi", max_tokens=2)).text
            assert eight.pid not in (None, first)
            status = await wire.status()
            assert (status.loaded, status.pid, status.busy) == (True, eight.pid, 0)
            assert status.memory == status.pss
            assert total_pss() - unloaded > weights
        await wire.aclose()

    asyncio.run(main())


def test_an_unload_ends_what_is_in_sending_when_its_grace_is_over(eight: Engine) -> None:
    async def main() -> None:
        async with client() as asking:
            first = await eight.acquire()
            first.release()
            pid = eight.pid
            streamed = Reader(asking, 1)
            await streamed.reaches(1)
            whole = asyncio.create_task(asking.chat("Hi", **LONG))
            await soon(lambda: eight.busy == 2, "both to be under way")
            assert await eight.aunload(0.0) is True
            with pytest.raises(StreamInterrupted, match="engine was unloaded") as caught:
                await streamed.task
            assert caught.value.partial is not None
            with pytest.raises(ConnectError, match="engine was unloaded"):
                await whole
            assert (eight.busy, eight.alive()) == (0, False)  # nothing has started it again
            assert (await asking.chat("Hi", max_tokens=2)).attempts == ()
            assert eight.pid not in (None, pid)

    asyncio.run(main())


def test_an_unload_waits_for_what_is_in_sending_and_what_comes_meanwhile_waits_for_it(eight: Engine) -> None:
    async def main() -> None:
        async with client() as asking:
            running = Reader(asking, 1)
            await running.reaches(1)
            pid = eight.pid
            unload = asyncio.create_task(eight.aunload(CLOCK))
            await soon(lambda: eight._state._unloading is not None, "the unload to begin")
            late = asyncio.create_task(asking.chat("Hi", max_tokens=2))
            await running.reaches(running.deltas + 2)
            assert (eight.pid, eight.busy) == (pid, 1)
            assert not late.done()
            await running.leave()
            assert (await late).text
            assert await unload is True
            assert eight.pid not in (None, pid)

    asyncio.run(main())


@posix_only
def test_a_request_that_the_engines_death_leaves_without_an_answer_is_sent_once_more(eight: Engine) -> None:
    """And the private folder is gone as well, as when somebody cleans up: the next has another."""

    async def main() -> None:
        async with client() as asking:
            before = await eight.endpoint()
            whole = asyncio.create_task(asking.chat("Hi", **{**LONG, "max_tokens": 60}))
            while not await working(eight):
                assert not whole.done()
            if before.socket_path is not None:
                shutil.rmtree(os.path.dirname(before.socket_path))
            os.kill(pid_of(eight), signal.SIGKILL)
            response = await whole
            assert response.usage.output_tokens == 60
            (attempt,) = response.attempts
            assert "the engine had ended (signal 9" in attempt.error
            assert before.socket_path is None or await eight.endpoint() != before
            assert eight.busy == 0

    asyncio.run(main())


# --- idling -------------------------------------------------------------------------------------------


class FakeClock:
    """Time goes on when the test says so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0.0
        self._waiting: dict[SimpleQueue[None], float] = {}
        self.waits = 0

    def now(self) -> float:
        with self._lock:
            return self._now

    def wait(self, wake: SimpleQueue[None], seconds: float) -> None:
        with self._lock:
            self._waiting[wake] = self._now + seconds
            self.waits += 1
        wake.get(timeout=CLOCK)
        with self._lock:
            self._waiting.pop(wake, None)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds
            for wake, end in self._waiting.items():
                if end <= self._now:
                    wake.put(None)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalModel:
    """Settings for an engine whose process is a shell script that has loaded at once, and lives as a real one does.

    It writes a line to `starts` in its folder when it starts.
    """
    script = tmp_path / "python"
    script.write_text(
        f'#!/bin/sh\necho started >>{tmp_path}/starts\nread -r order\necho \'{{"address": "http://127.0.0.1:9"}}\'\n'
        "exec cat >/dev/null\n"
    )
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return LocalModel(installed_weights())


@posix_only
def test_an_idle_engine_unloads_and_a_busy_one_does_not(stand_in: LocalModel) -> None:
    clock = FakeClock()
    engine = Engine(overlay(stand_in, LocalModel(idle_timeout=300)), clock=clock)

    def look_after(seconds: float) -> None:
        """Let time pass, and the engine look at it."""
        waits = clock.waits
        clock.advance(seconds)
        until(lambda: clock.waits > waits, "the engine to look at its clock")

    async def main() -> None:
        handle = await engine.acquire()
        until(lambda: clock.waits == 1, "the watch to begin")
        first = pid_of(engine)
        look_after(301)
        assert engine.pid == first  # in flight
        clock.advance(100)
        handle.release()  # at 401
        handle.release()
        look_after(200)
        assert engine.pid == first  # idle for 200 seconds
        (await engine.acquire()).release()  # at 601
        look_after(100)
        assert engine.pid == first  # idle for 100
        clock.advance(199)
        assert engine.pid == first
        clock.advance(1)
        until(lambda: engine.pid is None and gone(first), "the idle engine to end")

        again = await engine.acquire()
        assert pid_of(engine) != first
        assert not again.revoked
        again.release()

    asyncio.run(main())
    threads = threading.active_count()
    engine.close()
    until(lambda: threading.active_count() < threads, "the watch to end with the engine")


@posix_only
def test_an_engine_that_idles_away_under_requests_serves_them_all(stand_in: LocalModel) -> None:
    """Requests that come just when the engine unloads, of itself or asked to: each has a process that lives."""
    engine = Engine(overlay(stand_in, LocalModel(idle_timeout=0.002)))
    pids: set[int] = set()
    faults: list[str] = []
    unloads = 0

    async def ask(number: int) -> None:
        for turn in range(25):
            handle = await engine.acquire()
            pid = engine.pid
            await asyncio.sleep(0.001)
            if pid is None or handle.revoked or gone(pid) or engine.pid != pid:
                faults.append(f"{number}.{turn}: {pid}, then {engine.pid}, cut: {handle.revoked}")
            else:
                pids.add(pid)
            handle.release()
            await asyncio.sleep(0.004 * (turn % 2))

    async def main() -> None:
        nonlocal unloads
        asking = asyncio.gather(*(ask(number) for number in range(4)))
        while not asking.done():
            unloads += await engine.aunload()
        await asking

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOCK)
        assert not thread.is_alive()
    assert faults == []
    assert len(pids) > 3
    assert unloads > 3
    assert engine.busy == 0
    engine.close()
    assert all(map(gone, pids))


@posix_only
@pytest.mark.parametrize("ending", ["unload", "close"])
def test_an_end_while_nobody_waits_for_the_load_any_more(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec cat >/dev/null\n")  # never says that it has loaded
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    engine = Engine(LocalModel(installed_weights()))

    async def main() -> None:
        waiter = asyncio.create_task(engine.acquire())
        await soon(lambda: engine.pid is not None, "the process to start")
        pid = pid_of(engine)
        if ending == "unload":
            other = asyncio.create_task(engine.aunload(0.0))
            with pytest.raises(ConnectError, match="was unloaded while it was loading"):
                await waiter
            assert await other is True
            again = asyncio.create_task(engine.acquire())
            await soon(lambda: engine.pid not in (None, pid), "another start")
            again.cancel()
        else:
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
            assert engine.busy == 0
            await engine.aclose()
        assert gone(pid)

    asyncio.run(main())
    engine.close()
    assert engine.pid is None


@posix_only
def test_a_client_that_is_closed_while_its_model_loads_sends_nothing(stand_in: LocalModel) -> None:
    ready = Path(sys.executable).with_name("ready")
    Path(sys.executable).write_text(
        f"#!/bin/sh\nread -r order\nuntil [ -e {ready} ]; do sleep 0.02; done\n"
        'echo \'{"address": "http://127.0.0.1:9"}\'\nexec cat >/dev/null\n'
    )
    wire = LocalTransport("", stand_in, max_connections=1)

    async def main() -> None:
        waiting = asyncio.create_task(wire.open(Outgoing("GET", "http://localhost/health", {}, b"")))
        await soon(
            lambda: [status.pid for status in engines() if status.pid and not status.loaded], "the load"
        )
        await wire.aclose()
        ready.touch()
        with pytest.raises(ConnectError, match=r"closed (while|before)"):
            await waiting

    asyncio.run(main())


@posix_only
def test_the_shorter_grace_of_two_unloads_counts(stand_in: LocalModel) -> None:
    engine = Engine(stand_in)

    async def main() -> None:
        handle = await engine.acquire()
        patient = asyncio.create_task(engine.aunload(CLOCK))
        await soon(lambda: engine._state._unloading is not None, "the unload to begin")
        assert await engine.aunload(0.0) is True
        assert await patient is True
        assert handle.revoked

    asyncio.run(main())
    engine.close()


@posix_only
def test_a_crash_while_loading_is_not_tried_again(
    stand_in: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(sys.executable).write_text(f"#!/bin/sh\necho started >>{tmp_path}/starts\nexit 3\n")
    wire = LocalTransport("", stand_in, max_connections=1)

    async def main() -> None:
        with pytest.raises(ConnectError, match=r"status 3.*while loading"):
            await wire.open(Outgoing("GET", "http://localhost/health", {}, b""))
        await wire.aclose()

    asyncio.run(main())
    assert (tmp_path / "starts").read_text() == "started\n"
