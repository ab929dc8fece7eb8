"""Runs the tests of a fault in forked processes, and judges what became of it.

There are two ways to have a fault in a process: `Live` puts it into the running package, in a process that has
collected all tests; `Copies` imports a copy of the package that has the fault, and collects tests for each stage.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import mutation_map
from mutation_live import Fault, Package, Unplaced, module_of
from mutation_points import Change
from mutation_tests import FOLDER, SOURCE, WRITTEN, Map, Stage, slow_stage

__all__ = ["Copies", "Live", "Mutant", "Slot", "Verdicts", "Way"]

TEST_SECONDS = 8
"""What one test may take beyond five times the seconds of the map; who needs more is in an endless loop."""
STAGE_SECONDS = 60
"""The same of a stage beyond three times the seconds of the map, and of its import and collection."""
SLOW_SECONDS = 600
"""The same of a stage of slow tests, which the map does not know."""
LATE_SECONDS = 30
"""What one test may take with waiting, beyond 20 times the seconds of the map."""
DOUBTFUL_SECONDS = 4.0
"""What the tests of a fault take that is tested in a copy, too, if these do not notice it."""
INVALID, AGAIN = 97, 96
OPTIONS = (
    *("-o", "addopts=", "-q", "--tb=no", "-m", "not slow", "-p", "no:cacheprovider"),
    # no other plugins: they are slow to load
    *("-p", "_hypothesis_pytestplugin", "-p", f"{SOURCE.name}.pytest_plugin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
TIMED = ("cost_no_square", "cost_in_proportion", "cost_is_proportional")
"""Tests that measure time, which prove nothing beside other processes."""

Verdicts = dict[str, bool]
"""Whether a test passes without a fault, by its name."""


@dataclass
class Mutant:
    """A fault, the stages that are left to run, and what became of it."""

    number: int
    change: Change
    waiting: list[Stage] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    fault: Fault | None = None
    stage: Stage = ()
    outcome: str = ""
    by: str = ""
    processor: float = 0.0
    """The seconds of the processor for all its stages."""
    is_late: bool = False
    left_out: set[str] = field(default_factory=set)
    """Tests that failed once with the fault, and passed again with it."""


class Watch:
    """A pytest plugin that writes down the name of the test that runs, and ends a process whose test takes long."""

    def __init__(self, known: Map) -> None:
        self.path = Path(os.devnull)
        self.has_failed = False
        self._map = known

    def pytest_configure(self) -> None:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]  # the processes that a test starts do not inherit it

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.path.write_text(nodeid)
        seconds = self._map.seconds((mutation_map.function_of(nodeid),))
        used = time.process_time() + TEST_SECONDS + 5 * seconds
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        used = used if hard == resource.RLIM_INFINITY else min(used, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used), hard))
        signal.alarm(int(LATE_SECONDS + 20 * seconds))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.has_failed |= report.failed

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.has_failed:
            self.has_failed = True
            self.path.write_text(report.nodeid)


class Way(Protocol):
    """How a fault is put into a process that runs tests.

    What runs in a child process returns pytest's exit code, or one of the codes above.
    """

    repeats_failures: bool
    """Whether a test that fails is to be run again in another process: `tested` has not done so."""

    def fault(self, change: Change) -> Fault | str | None:
        """Where the fault belongs, or what becomes of it without a test."""

    def tested(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        """In a child process: run tests with the fault."""

    def checked(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        """In a child process: run a test without the fault."""


class Live:
    """The way of a process that has imported the package and collected all tests; it is a plugin of its pytest."""

    repeats_failures = True

    def __init__(self, known: Map, work: Callable[[], None]) -> None:
        self._package = Package()
        self._watch = Watch(known)
        self._work = work
        self._items: defaultdict[str, list[Any]] = defaultdict(list)
        self._slow: list[Any] = []
        self._by_name: dict[str, Any] = {}

    def run(self, *, slow: bool) -> None:
        """Collect the tests, and do the work in the middle of pytest."""
        self._package.load()
        _pytest(["-q", "-m", "not engine" if slow else "not slow", "tests"], self, self._watch)

    def pytest_runtestloop(self, session: Any) -> bool:
        for item in session.items:
            if _is_timed(item):
                continue
            self._by_name[item.nodeid] = item
            if item.get_closest_marker("slow") is not None:
                self._slow.append(item)
            else:
                self._items[mutation_map.function_of(item.nodeid)].append(item)
        session.config.pluginmanager.unregister(
            name="terminalreporter"
        )  # it writes past the output of a child
        self._package.look()
        self._work()
        return True

    def fault(self, change: Change) -> Fault | str:
        try:
            return self._package.fault(change) or "survived"
        except SyntaxError:
            return "invalid"
        except Unplaced:
            return "unplaced"

    def tested(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        assert mutant.fault is not None
        mutant.fault.put()
        self._package.clear_caches()
        return self._ran(stage, mutant, slot)

    def checked(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        return self._ran(stage, mutant, slot)

    def _ran(self, stage: Stage, mutant: Mutant, slot: Slot) -> int:
        self._watch.path = slot.noted
        items = [each for each in self._items_of(stage) if not slot.is_left_out(mutant, each.nodeid)]
        for item, after in zip(items, [*items[1:], None], strict=False):
            try:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            except BaseException:  # as pytest's own end of a run is
                return 2
            if self._watch.has_failed:
                return 1
        return 0

    def _items_of(self, stage: Stage) -> list[Any]:
        """The items of functions, of slow tests under some folders, or of one test by its whole name."""
        if stage[0] == "-m":
            return [each for each in self._slow if each.nodeid.startswith(stage[2:])]
        if len(stage) == 1 and stage[0] in self._by_name:
            return [self._by_name[stage[0]]]
        return [item for name in stage for item in self._items.get(name, ())]


class Copies:
    """The way of a process that has not imported the package: each child imports the copy of its slot."""

    repeats_failures = False

    def __init__(self, known: Map) -> None:
        self._map = known
        self._clean = _copy("clean")

    def fault(self, change: Change) -> None:
        """The copy has it."""

    def tested(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        _import_from(slot.root)
        importlib.import_module(module_of(mutant.change.path))
        asked = _Asked(stage, lambda nodeid: slot.is_left_out(mutant, nodeid))
        watch = Watch(self._map)
        watch.path = slot.noted
        code = _pytest(["-x", *dict.fromkeys(map(_argument, stage))], asked, watch)
        failed = slot.noted.read_text()
        if code == 1 and not failed.startswith(mutation_map.FIXTURES) and _pytest(["-m", "", failed]) == 0:
            return AGAIN
        return code

    def checked(self, mutant: Mutant, stage: Stage, slot: Slot) -> int:
        _import_from(self._clean)
        return _pytest(["-m", "", *stage] if "::" in stage[0] else ["--collect-only", *stage])


class _Asked:
    """A pytest plugin that leaves all tests out that a stage does not have."""

    def __init__(self, stage: Stage, is_left_out: Callable[[str], bool]) -> None:
        self._stage = set(stage)
        self._functions = set(map(_argument, stage))
        self._is_left_out = is_left_out

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [
            item
            for item in items
            if not _is_timed(item) and not self._is_left_out(item.nodeid) and self._is_asked(item)
        ]

    def _is_asked(self, item: Any) -> bool:
        """Of a function that the map distinguishes by its cases, only the cases of the stage."""
        key = mutation_map.function_of(item.nodeid)
        return "[" not in key or key in self._stage or _argument(key) not in self._functions


class Slot:
    """A place for one fault at a time: a copy of the package that has it, and the process that tests it.

    A test that fails is run again alone, and once without a fault: one that fails there as well counts for nothing.
    """

    def __init__(
        self, number: int, way: Way, known: Map, verdicts: Verdicts, most: float, *, slow: bool
    ) -> None:
        self._way = way
        self._map = known
        self._verdicts = verdicts
        self._most = most
        self._slow = slow
        self.root = _copy(f"copy-{number}")
        self.noted = self.root / "test.txt"
        self._output = self.root / "output.txt"
        self._folder = ""
        self.mutant: Mutant | None = None
        self._process = 0
        self._deadline = 0.0
        self._phase = ""

    def begin(self, number: int, change: Change) -> Mutant | None:
        """Make a fault, and test it; what becomes of it, if no test is needed for that."""
        mutant = Mutant(number, change)
        fault = self._way.fault(change)
        if isinstance(fault, str):
            mutant.outcome = fault
            return mutant
        mutant.fault = fault
        most = min(self._most, DOUBTFUL_SECONDS) if fault and fault.is_doubtful else self._most
        mutant.waiting, is_all = self._map.stages(change, most)
        if self._slow and most == self._most:
            mutant.waiting.append(slow_stage(change.path))
        if not is_all and fault is None:
            mutant.waiting.append(WRITTEN)
        if not mutant.waiting:
            mutant.outcome = "survived"
            return mutant
        self.mutant = mutant
        self._write(change.applied((SOURCE / change.path).read_bytes()), 1_000_000_000 + number)
        self._start(mutant.waiting.pop(0))
        return None

    def is_left_out(self, mutant: Mutant, nodeid: str) -> bool:
        """Whether a test counts for nothing."""
        return nodeid in mutant.left_out or self._verdicts.get(nodeid) is False

    def _write(self, data: bytes, modified: float) -> None:
        """Put something in place of the module; what was compiled of it before is not taken for it."""
        assert self.mutant is not None
        path = self.root / SOURCE.name / self.mutant.change.path
        path.write_bytes(data)
        os.utime(path, (modified, modified))
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)

    def _start(self, stage: Stage, phase: str = "stage") -> None:
        """Run the tests of a stage, or the one that failed, again or without the fault."""
        assert self.mutant is not None
        self._phase = phase
        if phase == "stage":
            self.mutant.stage = stage
        self.noted.write_text("")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = tempfile.mkdtemp(prefix="m-")
        most = SLOW_SECONDS if stage[0] == "-m" else int(STAGE_SECONDS + 3 * self._map.seconds(stage))
        self._deadline = time.monotonic() + 10 * most
        self._process = os.fork()
        if not self._process:
            code = INVALID
            try:
                self._enter(most)
                run = self._way.checked if phase == "clean" else self._way.tested
                code = run(self.mutant, stage, self)
            finally:
                os._exit(code)

    def _enter(self, most: int) -> None:
        """In the child process: nothing is shown, all files are in the slot's folders, and there is an end to it."""
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(self._output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ |= {"PYTHONPATH": str(self.root), "TMPDIR": self._folder}
        tempfile.tempdir = self._folder

    def poll(self) -> Mutant | None:
        """The mutant, once it is known what became of it."""
        mutant = self.mutant
        assert mutant is not None
        done, status, used = os.wait4(self._process, os.WNOHANG)
        if not done and time.monotonic() < self._deadline:
            return None
        self.stop()
        if not done:
            _, status, used = os.wait4(self._process, 0)
        mutant.processor += used.ru_utime + used.ru_stime
        mutant.outcome = self._judged(mutant, os.waitstatus_to_exitcode(status))
        if not mutant.outcome:
            return None
        source = SOURCE / mutant.change.path
        self._write(source.read_bytes(), source.stat().st_mtime)
        self.mutant = None
        return mutant

    def stop(self) -> None:
        """End the process, and those that it started."""
        if self.mutant is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _judged(self, mutant: Mutant, code: int) -> str:
        """What became of the fault, or nothing after another process was started."""
        if self._phase == "clean":
            return self._judged_by_clean(mutant, is_sound=code == 0)
        if code == AGAIN or (self._phase == "again" and code == 0):
            mutant.by = mutant.by or self.noted.read_text()
            mutant.left_out.add(mutant.by)
            return self._repeated(mutant)
        if code in {0, 5}:  # 5: the stage has no test
            if mutant.waiting:
                self._start(mutant.waiting.pop(0))
                return ""
            return "unplaced" if mutant.fault and mutant.fault.is_doubtful else "survived"
        if code == INVALID:
            return "invalid"
        return self._judged_by_failure(mutant, is_late=code not in (1, 2, 3, 4))

    def _judged_by_failure(self, mutant: Mutant, *, is_late: bool) -> str:
        failed = self.noted.read_text()
        is_again = self._phase == "again"
        mutant.by = failed if not is_again else mutant.by
        mutant.is_late = is_late
        if not failed:
            return "late" if is_late else "caught"
        if not is_again and (is_late or self._way.repeats_failures):
            self._start((failed,), "again")
            return ""
        verdict = self._verdicts.get(mutant.by)
        if verdict is None:
            self._start((mutant.by,), "clean")
            return ""
        return self._judged_by_clean(mutant, is_sound=verdict)

    def _judged_by_clean(self, mutant: Mutant, *, is_sound: bool) -> str:
        self._verdicts[mutant.by] = is_sound
        if is_sound:
            return "late" if mutant.is_late else "caught"
        return self._repeated(mutant)

    def _repeated(self, mutant: Mutant) -> str:
        if "::" not in mutant.by:  # a file that cannot be collected
            mutant.stage = tuple(each for each in mutant.stage if not each.startswith(mutant.by))
        mutant.by = ""
        if not mutant.stage:
            return self._judged(mutant, 5)
        self._start(mutant.stage)
        return ""


def _copy(name: str) -> Path:
    """A folder with a copy of the package."""
    root = FOLDER / name
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(SOURCE, root / SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def _import_from(root: Path) -> None:
    os.environ["PYTHONPATH"] = str(root)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()


def _argument(key: str) -> str:
    """What pytest is asked for to run what the map names."""
    return key.partition("[")[0] if "::" in key else key


def _is_timed(item: Any) -> bool:
    return any(word in item.name for word in TIMED)


def _pytest(arguments: list[str], *plugins: Any) -> int:
    """Run tests in this process, without the plugins that are installed here for other libraries."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    signal.alarm(0)
    return int(importlib.import_module("pytest").main([*OPTIONS, *arguments], plugins=plugins))
