"""Makes one small fault at a time, and runs the tests of that module: which faults does no test notice?

    nice uv run --no-sync python tools/mutate.py map
    nice uv run --no-sync python tools/mutate.py run [--count 300] [--seed 1] [--minutes 30] [--workers 2]
    nice uv run --no-sync python tools/mutate.py run --all       those that survived, with all tests that run the line
    nice uv run --no-sync python tools/mutate.py run --slow      the same, and with the slow tests too
    uv run --no-sync python tools/mutate.py summary [--seed 1]

The same seed makes the same faults of the same source. The source itself is never written: each fault is made in a
copy of the package, which the tests import in place of it. What became of each is kept in build/mutation, and a run
goes on where the last one of its seed ended. `map` runs the fast tests once, and notes which of their functions run
which lines: those that run a changed line are then tried, the quickest and nearest before the others, as many as take
a minute; without it, the tests of the module. `docs/mutation.md` has the last results.
Needs `os.fork`.
"""

from __future__ import annotations

import argparse
import importlib
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
from pathlib import Path
from typing import Any, TextIO

import coverage
import mutation_map
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
PROCESSOR_SECONDS = 150
"""What the tests for one fault may take; who needs more is in an endless loop, or waits for ever."""
INVALID, AGAIN = 97, 96
_MEASURED = FOLDER / "measured" / "coverage"
_SECONDS = FOLDER / "seconds.json"
_STATEMENT = 8
_MOST_SECONDS = 60.0
"""What the tests for one fault take by the map, unless all are asked for."""
_FIRST, _FIRST_SECONDS = 20, 2.0
"""The first stage of tests that run a line: so many functions, of so many seconds; the next are ten times as large."""

OPTIONS = (
    *("-o", "addopts=", "-q", "-x", "--tb=no", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
TIMED = ("cost_no_square", "cost_in_proportion", "cost_is_proportional")
"""Tests that measure time, which prove nothing beside other processes."""
Stage = tuple[str, ...]
"""Pytest's arguments. The stages of a module are run one after another, until a test fails."""
FIXTURES = "tests/protocols/test_fixtures.py"
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
FIXTURE_FOLDERS = {"anthropic": "anthropic_messages", "bedrock": "bedrock_converse"}
"""Where their name is not the package's."""


# -- which tests ---------------------------------------------------------------------------------------------


class Map:
    """What `map` has noted; empty before it has run."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = json.loads(_SECONDS.read_text()) if _SECONDS.exists() else {}
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
        """The seconds of a test, as if it took a tenth of them in the folder of the module's own tests."""
        parts = path.removesuffix(".py").split("/")
        is_near = any(
            part in name.partition("::")[0] for part in parts[-2:] if part not in ("base", "__init__")
        )
        return self._seconds[name] * (0.1 if is_near else 1)


def make_map() -> None:
    """Run the fast tests once, and note which run which lines."""
    shutil.rmtree(_MEASURED.parent, ignore_errors=True)
    _MEASURED.parent.mkdir(parents=True)
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
    _SECONDS.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "pytest", "-p", "mutation_map"], cwd=ROOT, env=environment)
    parts = [str(part) for part in _MEASURED.parent.glob(f"{_MEASURED.name}.*")]
    whole = coverage.CoverageData(str(_MEASURED))
    for each in parts:
        part = coverage.CoverageData(each)
        part.read()
        whole.update(part)
    whole.write()
    print(f"{len(json.loads(_SECONDS.read_text()))} test functions, {len(whole.measured_files())} files")


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


class FirstFailure:
    """A pytest plugin that knows which test failed, and keeps its name in a file. Tests of time are left out."""

    def __init__(self, path: Path) -> None:
        self.name = ""
        self._path = path

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if not any(word in item.name for word in TIMED)]

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.pytest_collectreport(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid
            self._path.write_text(self.name)


class Slot:
    """A copy of the package in which one fault at a time is made, and the process that tests it."""

    def __init__(self, number: int, known: Map, *, all_tests: bool, slow: bool) -> None:
        self._map = known
        self._all = all_tests
        self._slow = slow
        self._root = FOLDER / f"copy-{number}"
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(SOURCE, self._root / SOURCE.name, ignore=shutil.ignore_patterns("__pycache__"))
        self._output = self._root / "output.txt"
        self._failed = self._root / "failed.txt"
        self.mutant: Mutant | None = None
        self._process = 0
        self._most = 0
        self._deadline = 0.0

    def begin(self, number: int, change: Change) -> None:
        """Make a fault, and test it."""
        found, is_all = self._map.stages(change, math.inf if self._all else _MOST_SECONDS)
        near = stages(change.path, slow=self._slow)
        if self._slow or not found or (self._all and not is_all):
            found += near
        elif near[0][0] == FIXTURES:  # of the protocol alone, which the map does not distinguish
            found.append(near[0])
        self.mutant = Mutant(number, change, found, time.monotonic())
        path = self._root / SOURCE.name / change.path
        path.write_bytes(change.applied((SOURCE / change.path).read_bytes()))
        self._start(self.mutant, self.mutant.waiting.pop(0))

    def _start(self, mutant: Mutant, stage: Stage) -> None:
        mutant.stage = stage
        self._failed.write_text("")
        self._most = int(PROCESSOR_SECONDS + 3 * self._map.seconds(stage))
        self._deadline = time.monotonic() + 2 * self._most
        self._process = os.fork()
        if not self._process:
            code = INVALID
            try:
                code = self._tested(mutant.change.path, stage)
            finally:
                os._exit(code)

    def _tested(self, path: str, stage: Stage) -> int:
        """In the child process: pytest's exit code, or INVALID for a file that cannot be imported any more."""
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (self._most, self._most))
        out = os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ |= {"PYTHONPATH": str(self._root), "PYTHONDONTWRITEBYTECODE": "1"}
        sys.path.insert(0, str(self._root))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        module = f"{SOURCE.name}/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        importlib.import_module(module)
        first = FirstFailure(self._failed)
        code = int(importlib.import_module("pytest").main([*OPTIONS, *stage], plugins=[first]))
        return AGAIN if code == 1 and not self._is_certain(first.name) else code

    def _is_certain(self, name: str) -> bool:
        """Whether a test fails again with the fault, and passes without it: some measure time, on a busy machine."""
        if name.startswith(FIXTURES):
            return True
        asked = [*OPTIONS, "-m", "", name]
        if importlib.import_module("pytest").main(asked) == 0:
            return False
        environment = {**os.environ, "PYTHONPATH": str(SOURCE.parent)}
        command = [sys.executable, "-m", "pytest", *asked]
        return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0

    def poll(self) -> Mutant | None:
        """The mutant, once it is known what became of it."""
        mutant = self.mutant
        assert mutant is not None
        done, status = os.waitpid(self._process, os.WNOHANG)
        if not done and time.monotonic() < self._deadline:
            return None
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status if done else os.waitpid(self._process, 0)[1])
        if code == AGAIN:
            self._start(mutant, (*mutant.stage, "--deselect", self._failed.read_text()))
            return None
        if code in (0, 5) and mutant.waiting:  # 5: the stage has no test
            self._start(mutant, mutant.waiting.pop(0))
            return None
        mutant.outcome = {0: "survived", 5: "survived", 1: "caught", 2: "caught", INVALID: "invalid"}.get(
            code, "late"
        )
        mutant.by = self._failed.read_text()
        shutil.copyfile(SOURCE / mutant.change.path, self._root / SOURCE.name / mutant.change.path)
        self.mutant = None
        return mutant


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
    known_tests = Map()
    slots = [Slot(number, known_tests, all_tests=again, slow=args.slow) for number in range(args.workers)]
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
    log.write(json.dumps(shown) + "\n")
    log.flush()
    print(
        f"{mutant.number:4} {mutant.outcome:9} {change.path}:{change.line} {change.kind} {mutant.by}",
        flush=True,
    )


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
    for each in sorted(found, key=lambda each: (each["path"], each["line"])):
        if each["outcome"] in ("survived", "late"):
            where = f"{each['outcome']} {each['number']} {each['path']}:{each['line']} {each['kind']}"
            print(f"  {where}: {each['old'][:90]!r} -> {each['new'][:90]!r}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("map", "run", "summary"))
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
        make_map()
    elif args.command == "run":
        run(args)
    else:
        summary(args.seed)


if __name__ == "__main__":
    main()
