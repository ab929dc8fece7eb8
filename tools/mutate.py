"""Makes one small fault at a time, and runs the tests of that module: which faults does no test notice?

    nice uv run --no-sync python tools/mutate.py map [tests/unit/test_types.py ...]
    nice uv run --no-sync python tools/mutate.py run [--count 300] [--seed 1] [--minutes 30] [--workers 2]
    nice uv run --no-sync python tools/mutate.py run --all       those that survived, with all tests that run the line
    nice uv run --no-sync python tools/mutate.py run --slow      the same, and with the slow tests too
    uv run --no-sync python tools/mutate.py summary [--seed 1]

The same seed makes the same faults of the same source. The source itself is never written: each fault is made in a
copy of the package, which the tests import in place of it. What became of each is kept in build/mutation, and a run
goes on where the last one of its seed ended. `map` runs the fast tests once, and notes which of their functions run
which lines: those that run a changed line are then tried, the quickest and nearest before the others, as many as take
40 seconds of the processor; without it, the tests of the module. With files named, only their tests are run, and added
to what is noted. `docs/mutation.md` has the last results.
Needs `os.fork`.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import coverage
import hypothesis
import mutation_map
from mutation_map import FIXTURES
from mutation_points import Change, changes_in

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "brainwires_provider"
FOLDER = ROOT / "build" / "mutation"
MUTATED = (
    *("types", "errors.py", "events.py", "framing", "protocols"),  # the pure packages
    "_core",  # the request path
    "transports/websocket",
)
PRELOADED = (
    *("pytest", "hypothesis", "aiohttp", "websockets.asyncio.server", "openai.types.responses", "anthropic"),
    *("google.genai.types", "ollama", "botocore.session", "trustme"),
)
"""Slow to import, and imported by many tests: each run starts from a process that has them already."""
TEST_SECONDS = 15
"""What one test may take beyond five times the seconds of the map; who needs more is in an endless loop."""
STAGE_SECONDS = 60
"""The same of a stage beyond three times the seconds of the map, and of its import and collection."""
LATE_SECONDS = 60
"""What one test may take with waiting, beyond 20 times the seconds of the map."""
INVALID, AGAIN = 97, 96
_MEASURED = FOLDER / "measured" / "coverage"
_SECONDS = FOLDER / "seconds.json"
_COMPILED = FOLDER / "compiled"
_STATEMENT = 8
_MOST_SECONDS = 40.0
"""What the tests for one fault take by the map, unless all are asked for."""
_FIRST, _FIRST_SECONDS = 20, 2.0
"""The first stage of tests that run a line: so many functions, of so many seconds; the next are ten times as large."""

OPTIONS = (
    *("-o", "addopts=", "-q", "-x", "--tb=no", "-m", "not slow", "-p", "no:cacheprovider"),
    *(
        "-p",
        "_hypothesis_pytestplugin",
        "-p",
        f"{SOURCE.name}.pytest_plugin",
    ),  # no others: they are slow to load
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
TIMED = ("cost_no_square", "cost_in_proportion", "cost_is_proportional")
"""Tests that measure time, which prove nothing beside other processes."""
Stage = tuple[str, ...]
"""Pytest's arguments. The stages of a module are run one after another, until a test fails."""
ACROSS = tuple(
    f"tests/protocols/test_{name}.py"
    for name in ("model_rules", "message_rules", "rows", "failures", "listing", "embeddings", "fuzz_decoders")
)
UNIT = tuple(
    f"tests/unit/test_{name}.py" for name in ("types", "assembler", "framing", "sent_means_sent", "client")
)
SOCKETS = tuple(
    f"tests/websocket/test_websocket_{name}.py"
    for name in (
        "cancel",
        "lanes",
        "recovery",
        "ends",
        "content",
        "in_hand",
        "unnamed",
        "histories",
        "behaviour_chains",
    )
)
SLOW = "slow and not engine"
WRITTEN = (
    "tests/unit/test_layers.py::test_struct_types_are_frozen_and_those_of_options_take_keywords_alone",
)
"""What reads the package's files, and so runs none of their lines."""
FIXTURE_FOLDERS = {"anthropic": "anthropic_messages", "bedrock": "bedrock_converse"}
"""Where their name is not the package's."""


# -- which tests ---------------------------------------------------------------------------------------------


class Map:
    """What `map` has noted; empty before it has run."""

    def __init__(self) -> None:
        noted: dict[str, float] = json.loads(_SECONDS.read_text()) if _SECONDS.exists() else {}
        self._seconds = {name: seconds for name, seconds in noted.items() if _is_there(name)}
        self._data = None
        if self._seconds:
            self._data = coverage.CoverageData(str(_MEASURED))
            self._data.read()

    def stages(self, change: Change, most: float = math.inf) -> tuple[list[Stage], bool]:
        """The tests that run a changed line, the most promising first, and whether these are all there are.

        After `most` seconds no further one is taken.
        """
        if self._data is None:
            return [], False
        by_line = self._data.contexts_by_lineno(str(SOURCE / change.path))
        lines = range(
            change.line, change.line - _STATEMENT, -1
        )  # of a statement the first line may be noted alone
        here = set(next((by_line[line] for line in lines if line in by_line), ()))
        is_imported = "" in here or not here
        if is_imported:  # any test of the file may notice it
            here = {name for names in by_line.values() for name in names}
        known = sorted(here & self._seconds.keys(), key=lambda name: self._rank(change.path, name))
        found: list[Stage] = []
        at, batch, seconds = 0, _FIRST, _FIRST_SECONDS
        while at < len(known) and most > 0:
            stage: list[str] = []
            left = seconds
            while at < len(known) and len(stage) < batch and (min(left, most) > 0 or not stage):
                stage.append(known[at])
                left -= self._seconds[known[at]]
                most -= self._seconds[known[at]]
                at += 1
            found.append(tuple(stage))
            batch, seconds = 10 * batch, 10 * seconds
        return found, not is_imported

    def seconds(self, stage: Stage) -> float:
        """What the tests of a stage take without a fault."""
        return sum(self._seconds.get(each, 0) for each in stage)

    def _rank(self, path: str, name: str) -> float:
        """The seconds of a test, as if it took a tenth of them in the module's own folder, or of its protocol."""
        parts = path.removesuffix(".py").split("/")
        where = name.partition("::")[0] + name.partition("[")[2]
        is_near = any(part in where for part in parts[-2:] if part not in ("base", "__init__"))
        return self._seconds[name] * (0.1 if is_near else 1)


@cache
def _text_of(file: str) -> str:
    path = ROOT / file
    return path.read_text("utf-8") if path.exists() else ""


def _is_there(name: str) -> bool:
    """Whether a test function that the map names has not been renamed or removed since."""
    file, *_, function = _argument(name).split("::")
    return f"def {function}(" in _text_of(file)


def make_map(tests: list[str]) -> None:
    """Run the fast tests once, or some of them again, and note which run which lines."""
    if not tests:
        shutil.rmtree(_MEASURED.parent, ignore_errors=True)
        _SECONDS.unlink(missing_ok=True)
    _MEASURED.parent.mkdir(parents=True, exist_ok=True)
    settings = _MEASURED.with_name("settings")
    settings.write_text(
        f"[run]\nsource = {SOURCE.name}\nparallel = true\ndata_file = {_MEASURED}\npatch = subprocess, _exit\n"
    )
    environment = {
        **os.environ,
        "COVERAGE_PROCESS_START": str(settings),
        "PYTHONPATH": str(ROOT / "tools"),
        mutation_map.SECONDS: str(_SECONDS),
    }
    environment |= _compiled()
    subprocess.run([sys.executable, "-m", "pytest", "-p", "mutation_map", *tests], cwd=ROOT, env=environment)
    whole = coverage.CoverageData(str(_MEASURED))
    whole.read()
    for each in _MEASURED.parent.glob(f"{_MEASURED.name}.*"):
        part = coverage.CoverageData(str(each))
        part.read()
        whole.update(part)
        each.unlink()
    whole.write()
    print(f"{len(json.loads(_SECONDS.read_text()))} test functions, {len(whole.measured_files())} files")


def _compiled() -> dict[str, str]:
    """The variables of the environment with which compiled modules are kept in a folder of the tool's own."""
    return {"PYTHONPYCACHEPREFIX": str(_COMPILED), "PYTHONDONTWRITEBYTECODE": ""}


def stages(path: str, *, slow: bool) -> list[Stage]:
    """The tests of a module, the nearest first."""
    part, _, rest = path.partition("/")
    name = rest.partition("/")[0]
    if part == "protocols" and name != "base" and "/" in rest:
        folder = f"tests/protocols/{name}"
        cases = (FIXTURES, "-k", FIXTURE_FOLDERS.get(name, name) + "-")
        return [cases, (folder,), (*ACROSS, *UNIT), *([("-m", SLOW, folder, *_corpus(name))] if slow else [])]
    if part == "transports":
        link = ("tests/websocket/test_websocket_link.py",)
        near = [link] if path.endswith(("connection.py", "handshake.py")) else []
        return [*near, SOCKETS, ("tests/websocket",)]
    if path == "types/websocket.py":
        return [SOCKETS, UNIT]
    if part == "_core":
        wire = ("tests/transports/test_http_wire.py", "tests/protocols/test_faults.py", *SOCKETS)
        unit = ("tests/unit/test_client.py", "tests/unit/test_clocks.py", "tests/unit/test_face.py")
        policies = tuple(
            f"tests/unit/test_{name}.py" for name in ("retry", "limits", "budget", "prices", "watch")
        )
        calls = tuple(
            f"tests/transports/test_policy_{name}.py"
            for name in ("retry", "limits", "budget", "fallback", "hooks", "prices")
        )
        far = (
            "protocols/openai_responses/test_responses_operations",
            "local/test_local",
            "cli/test_cli_chat",
        )
        return [(*policies, *unit), calls, wire, tuple(f"tests/{name}.py" for name in far)]
    near, others = (*UNIT, "tests/protocols/base"), ("tests/protocols", "tests/cli/test_cli_decode.py")
    return [
        near,
        (FIXTURES, *ACROSS),
        others,
        *([("-m", SLOW, "tests/protocols", "tests/corpus")] if slow else []),
    ]


def _corpus(name: str) -> list[str]:
    return [
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/corpus").glob(f"test_corpus_{name}*.py")
    ]


# -- which faults --------------------------------------------------------------------------------------------


def chosen(count: int, seed: int, under: str) -> list[Change]:
    """Random lines of all files, and of each one random change: at most one for a line."""
    by_line: dict[tuple[str, int], list[Change]] = defaultdict(list)
    for part in MUTATED:
        for file in [SOURCE / part] if part.endswith(".py") else sorted((SOURCE / part).rglob("*.py")):
            path = file.relative_to(SOURCE).as_posix()
            for change in changes_in(path, file.read_bytes()) if under in path else ():
                by_line[path, change.line].append(change)
    pick = random.Random(seed)
    lines = pick.sample(sorted(by_line), min(count, len(by_line)))
    return [pick.choice(by_line[line]) for line in lines]


# -- one fault -----------------------------------------------------------------------------------------------


@dataclass
class Mutant:
    """A fault, the stages that are left to run, and what became of it."""

    number: int
    change: Change
    waiting: list[Stage]
    started: float
    stage: Stage = ()
    outcome: str = ""
    by: str = ""
    processor: float = 0.0
    """The seconds of the processor for all its stages."""


class FirstFailure:
    """A pytest plugin that knows which test failed, and keeps its name in a file.

    Tests of time are left out, and those that fail without a fault. A test that takes too long ends the process.
    """

    def __init__(self, path: Path, known: Map, stage: Stage, broken: set[str]) -> None:
        self.name = ""
        self._path = path
        self._map = known
        self._stage = set(stage)
        self._broken = broken

    def pytest_configure(self) -> None:
        del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]  # the processes that a test starts do not inherit it

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if self._is_asked(item)]

    def _is_asked(self, item: Any) -> bool:
        """Of a function that the map distinguishes by its cases, only the cases of the stage."""
        if any(word in item.name for word in TIMED) or item.nodeid in self._broken:
            return False
        key = mutation_map.function_of(item.nodeid)
        return (
            "[" not in key or key in self._stage or key.partition("[")[0] not in map(_argument, self._stage)
        )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        seconds = self._map.seconds((mutation_map.function_of(nodeid),))
        used = time.process_time() + TEST_SECONDS + 5 * seconds
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (min(int(used), hard), hard))
        signal.alarm(int(LATE_SECONDS + 20 * seconds))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.pytest_collectreport(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid
            self._path.write_text(self.name)


class Slot:
    """A copy of the package in which one fault at a time is made, and the process that tests it."""

    def __init__(self, number: int, known: Map, broken: set[str], *, all_tests: bool, slow: bool) -> None:
        self._map = known
        self._broken = broken
        self._all = all_tests
        self._slow = slow
        self._root = _copy(f"copy-{number}")
        self._clean = _copy(f"clean-{number}")
        self._output = self._root / "output.txt"
        self._failed = self._root / "failed.txt"
        self.mutant: Mutant | None = None
        self._process = 0
        self._deadline = 0.0
        self._is_check = False

    def begin(self, number: int, change: Change) -> None:
        """Make a fault, and test it."""
        found, is_all = self._map.stages(change, math.inf if self._all else _MOST_SECONDS)
        if self._slow or not found or (self._all and not is_all):
            found += stages(change.path, slow=self._slow)
        if not is_all:
            found.append(WRITTEN)
        self.mutant = Mutant(number, change, found, time.monotonic())
        self._write(change.applied((SOURCE / change.path).read_bytes()), 1_000_000_000 + number)
        self._start(self.mutant.waiting.pop(0))

    def _write(self, data: bytes, modified: float) -> None:
        """Put something in place of the module; what was compiled of it before is not taken for it."""
        assert self.mutant is not None
        path = self._root / SOURCE.name / self.mutant.change.path
        path.write_bytes(data)
        os.utime(path, (modified, modified))
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)

    def _start(self, stage: Stage, *, is_check: bool = False) -> None:
        """Run the tests of a stage, or the one that failed without the fault."""
        assert self.mutant is not None
        self._is_check = is_check
        if not is_check:
            self.mutant.stage = stage
            self._failed.write_text("")
        most = int(STAGE_SECONDS + 3 * self._map.seconds(stage))
        self._deadline = time.monotonic() + 10 * most
        self._process = os.fork()
        if not self._process:
            code = INVALID
            try:
                resource.setrlimit(resource.RLIMIT_CPU, (most, most))
                code = self._checked(stage) if is_check else self._tested(self.mutant.change.path, stage)
            finally:
                os._exit(code)

    def _enter(self, root: Path) -> None:
        """In the child process: import the package from a copy."""
        os.setsid()
        out = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ |= {"PYTHONPATH": str(root)}
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()

    def _tested(self, path: str, stage: Stage) -> int:
        """In the child process: pytest's exit code, or INVALID for a file that cannot be imported any more."""
        self._enter(self._root)
        module = f"{SOURCE.name}/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        importlib.import_module(module)
        first = FirstFailure(self._failed, self._map, stage, self._broken)
        code = _pytest(list(dict.fromkeys(map(_argument, stage))), first)
        if code == 1 and not first.name.startswith(FIXTURES) and _pytest(["-m", "", first.name]) == 0:
            return AGAIN
        return code

    def _checked(self, stage: Stage) -> int:
        """In the child process: whether the test passes, or its file can be collected, without the fault."""
        self._enter(self._clean)
        return _pytest(["-m", "", *stage] if "::" in stage[0] else ["--collect-only", *stage])

    def poll(self) -> Mutant | None:
        """The mutant, once it is known what became of it."""
        mutant = self.mutant
        assert mutant is not None
        done, status, used = os.wait4(self._process, os.WNOHANG)
        if not done and time.monotonic() < self._deadline:
            return None
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        if not done:
            _, status, used = os.wait4(self._process, 0)
        mutant.processor += used.ru_utime + used.ru_stime
        code, failed = os.waitstatus_to_exitcode(status), self._failed.read_text()
        if self._is_check:
            if code != 0:  # it fails without the fault as well
                self._broken.add(failed)
                self._start(mutant.stage)
                return None
            code = 1
        elif code == AGAIN:
            self._broken.add(failed)
            self._start(mutant.stage)
            return None
        elif code in (1, 2) and failed and not failed.startswith(FIXTURES):
            self._start((failed,), is_check=True)
            return None
        if code in (0, 5) and mutant.waiting:  # 5: the stage has no test
            self._start(mutant.waiting.pop(0))
            return None
        outcomes = {0: "survived", 5: "survived", INVALID: "invalid", **dict.fromkeys((1, 2, 3, 4), "caught")}
        mutant.outcome, mutant.by = outcomes.get(code, "late"), failed
        source = SOURCE / mutant.change.path
        self._write(source.read_bytes(), source.stat().st_mtime)
        self.mutant = None
        return mutant


def _copy(name: str) -> Path:
    """A folder with a copy of the package."""
    root = FOLDER / name
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(SOURCE, root / SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def _argument(key: str) -> str:
    """What pytest is asked for to run what the map names."""
    return key.partition("[")[0] if "::" in key else key


def _pytest(arguments: list[str], *plugins: Any) -> int:
    """Run tests in this process, without the plugins that are installed here for other libraries."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    signal.alarm(0)
    return int(importlib.import_module("pytest").main([*OPTIONS, *arguments], plugins=plugins))


# -- the run -------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Test so many faults, and write what became of each; with `--slow`, those again that no fast test noticed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = {each["number"]: each["outcome"] for each in read_results(args.seed)}
    faults = list(enumerate(chosen(args.count, args.seed, args.under)))
    again = args.all or args.slow
    waiting = [
        each for each in faults if (known.get(each[0]) == "survived" if again else each[0] not in known)
    ]
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    assert SOURCE.name not in sys.modules
    os.environ |= _compiled()
    sys.pycache_prefix, sys.dont_write_bytecode = str(_COMPILED), False
    quick = [
        each for each in hypothesis.Phase if each not in (hypothesis.Phase.shrink, hypothesis.Phase.explain)
    ]
    hypothesis.settings.register_profile("mutation", phases=quick, derandomize=True)
    hypothesis.settings.load_profile("mutation")
    known_tests, broken = Map(), set[str]()
    slots = [
        Slot(number, known_tests, broken, all_tests=again, slow=args.slow) for number in range(args.workers)
    ]
    gc.collect()
    gc.freeze()  # what is imported by now is no work for the collector of a forked process
    ends = time.monotonic() + 60 * args.minutes
    with (FOLDER / f"results-{args.seed}.jsonl").open("a") as log:
        while any(slot.mutant for slot in slots) or (waiting and time.monotonic() < ends):
            for slot in slots:
                if slot.mutant is not None:
                    write_result(log, slot.poll())
                elif waiting and time.monotonic() < ends:
                    slot.begin(*waiting.pop(0))
            time.sleep(0.02)
    summary(args.seed)


def write_result(log: TextIO, mutant: Mutant | None) -> None:
    """What became of a fault, on a line of its own."""
    if mutant is None:
        return
    change = mutant.change
    shown: dict[str, Any] = {name: getattr(mutant, name) for name in ("number", "outcome", "by")}
    shown |= {name: getattr(change, name) for name in ("path", "line", "kind")}
    shown["old"] = (SOURCE / change.path).read_bytes()[change.start : change.end].decode()
    shown |= {"new": change.text, "seconds": round(time.monotonic() - mutant.started, 1)}
    shown["processor"] = round(mutant.processor, 1)
    log.write(json.dumps(shown) + "\n")
    log.flush()
    what = f"{change.path}:{change.line} {change.kind}"
    print(f"{mutant.number:4} {mutant.outcome:9} {mutant.processor:5.1f} s {what} {mutant.by}", flush=True)


def read_results(seed: int) -> list[dict[str, Any]]:
    """What became of each fault, by the last run of it."""
    path = FOLDER / f"results-{seed}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return list({each["number"]: each for each in lines}.values())


def summary(seed: int) -> None:
    """The score, and the faults that no test noticed."""
    found = read_results(seed)
    counts = Counter(each["outcome"] for each in found)
    caught, valid = counts["caught"] + counts["late"], len(found) - counts["invalid"]
    print(f"\n{dict(counts)}: {caught} of {valid} valid faults were noticed ({caught / max(valid, 1):.1%})")
    used = sum(each.get("processor", 0) for each in found)
    print(f"{used / 60:.1f} minutes of the processor, {used / max(len(found), 1):.1f} seconds for a fault")
    for each in sorted(found, key=lambda each: (each["path"], each["line"])):
        if each["outcome"] in ("survived", "late"):
            where = f"{each['outcome']} {each['number']} {each['path']}:{each['line']} {each['kind']}"
            print(f"  {where}: {each['old'][:90]!r} -> {each['new'][:90]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("map", "run", "summary"))
    parser.add_argument("tests", nargs="*", help="of `map`: the tests to add to what is noted")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--all",
        action="store_true",
        help="test those again that survived, with all tests that run their line",
    )
    parser.add_argument(
        "--slow", action="store_true", help="test those again that survived, with the slow tests too"
    )
    parser.add_argument("--under", default="", help="only files whose path has this in it")
    args = parser.parse_args()
    if args.command == "map":
        make_map(args.tests)
    elif args.command == "run":
        run(args)
    else:
        summary(args.seed)


if __name__ == "__main__":
    main()
