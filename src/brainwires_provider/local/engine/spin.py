"""How long the engine's threads spin for one another: long on free cores, hardly where others use the cores too.

llama.cpp computes on threads that meet hundreds of times a token, and libgomp lets one that is early spin for some
milliseconds before it sleeps. On free cores that is right, for waking up takes longer than most waits. Where another
process wants a core, two threads may share the other, and the one that spins uses up the turns of the one that it
waits for: beside one busy process on two cores often less than one token a second was left of ninety. With hardly any
spinning it is 20 to 40 there, but 80 on free cores.

While libgomp manages more threads than there are cores, it spins for 100 rounds instead of 300,000 (GOMP_SPINCOUNT in
https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). So while the engine's threads are kept waiting for
cores, it is given a team of threads to manage that do nothing but sleep.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Mapping

__all__ = ["LOOK", "Crowding", "IdleTeam", "SpinControl", "settle_spinning", "spin_control"]

LOOK = 0.25  # seconds between two looks
WORKING = 0.1  # of a core: below it the engine does not compute, and there is nothing to learn

# Of the time that threads had work, the share in which they waited for a core. Measured on two cores, spinning: 0.05
# alone, 0.3 beside a process that is busy four fifths of the time (and spinning is still better), 0.5 beside a
# busy one or a second engine. Hardly spinning: 0.04 alone, 0.33 beside one that is busy half of the time, 0.46.
CROWDED = 0.4
CALM = 0.25
CALM_LOOKS = 4  # in a row

ROUNDS = "1000"  # a twentieth slower than 300,000 on free cores, and half as fast as 100 on crowded ones

_TASKS = "/proc/self/task"

Times = Mapping[str, tuple[int, int]]  # of a thread: nanoseconds on a core, and waiting for one


class IdleTeam:
    """Threads that libgomp manages, and that sleep."""

    def __init__(self, libgomp: ctypes.CDLL, size: int) -> None:
        self._libgomp = libgomp
        self._size = size
        self._over: threading.Event | None = None

    @property
    def formed(self) -> bool:
        """Whether there are such threads now."""
        return self._over is not None

    def form(self) -> None:
        """Start them. They belong to a thread of ours, with whose end libgomp ends them."""
        self._over = over = threading.Event()
        with contextlib.suppress(RuntimeError):  # no more threads for this process: then it goes on as it is
            threading.Thread(target=self._lead, args=(over,), daemon=True).start()

    def dissolve(self) -> None:
        """End them."""
        if self._over is not None:
            self._over.set()
            self._over = None

    def _lead(self, over: threading.Event) -> None:
        if not _has_threads(self._size):
            return
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # free(NULL), on each of them
        self._libgomp.GOMP_parallel(nothing, None, ctypes.c_uint(self._size), ctypes.c_uint(0))
        over.wait()


def _has_threads(count: int) -> bool:
    """Whether the system gives this process so many more. Where it does not, libgomp would end the process."""
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        over.set()
        for thread in started:
            thread.join()
    return True


class Crowding:
    """Whether the threads of a process are kept waiting for cores. From `times`, at first they are not."""

    def __init__(self, times: Times) -> None:
        self._before = times
        self._crowded = False
        self._calm = 0

    def look(self, times: Times) -> bool:
        """Judge the time since the last look. One bad look is enough, to be calm again takes `CALM_LOOKS`."""
        share = _waiting(self._before, times)
        self._before = times
        self._calm = self._calm + 1 if share < CALM else 0
        if share > CROWDED:
            self._crowded = True
        elif self._calm >= CALM_LOOKS:
            self._crowded = False
        return self._crowded


class SpinControl:
    """Has libgomp spin by how crowded the cores are: `look` is to be called every `LOOK` seconds."""

    def __init__(self, team: IdleTeam) -> None:
        self._team = team
        self._crowding = Crowding(read_times())
        self._cpu = time.process_time()

    def look(self) -> None:
        """See how the threads of this process fared."""
        cpu = time.process_time()
        worked, self._cpu = cpu - self._cpu, cpu
        if worked < WORKING * LOOK:
            return
        try:
            times = read_times()
        except OSError:  # out of files, say: no reason to end the engine
            return
        if not self._crowding.look(times):
            self._team.dissolve()
        elif not self._team.formed:
            self._team.form()


def settle_spinning(told_by: str = "/proc/thread-self/schedstat") -> None:
    """Before the engine is imported: where the system does not tell who waits, one number of rounds for all times."""
    if not _is_settled() and not os.path.exists(told_by):
        os.environ["GOMP_SPINCOUNT"] = ROUNDS


def spin_control() -> SpinControl | None:
    """For this process, once the engine is loaded; None where it is settled, or where libgomp is not found."""
    if sys.platform != "linux" or _is_settled():
        return None
    with contextlib.suppress(OSError):
        if (path := _path_of_libgomp()) is not None:
            return SpinControl(IdleTeam(ctypes.CDLL(path), len(os.sched_getaffinity(0)) + 1))
    return None


def _is_settled() -> bool:
    """By the user, or by us."""
    return "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ


def read_times() -> Times:
    """Of every thread of this process, by its id."""
    times: dict[str, tuple[int, int]] = {}
    for task in os.listdir(_TASKS):
        # It may have ended since it was listed.
        with contextlib.suppress(OSError), open(f"{_TASKS}/{task}/schedstat", encoding="ascii") as file:
            ran, waited, _ = file.read().split()
            times[task] = int(ran), int(waited)
    return times


def _waiting(before: Times, now: Times) -> float:
    ran = waited = 0
    for task, (ran_now, waited_now) in now.items():
        ran_before, waited_before = before.get(task, (0, 0))
        ran += ran_now - ran_before
        waited += waited_now - waited_before
    return waited / (ran + waited) if ran + waited else 0.0


def _path_of_libgomp() -> str | None:
    """xllamacpp brings its own, under a name that is nowhere told."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if os.path.basename(path).startswith("libgomp"):
                return f"/{path}"
    return None
