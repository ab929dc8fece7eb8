"""Makes one small fault at a time, and runs the tests that run its line: which faults does no test notice?

    nice uv run --no-sync python tools/mutate.py map [tests/unit/test_types.py ...]
    nice uv run --no-sync python tools/mutate.py run [--count 300] [--seed 1] [--minutes 30] [--seconds 40]
    nice uv run --no-sync python tools/mutate.py run --count 0   every line that can be changed
    nice uv run --no-sync python tools/mutate.py run --all       those that survived, with all tests that run the line
    nice uv run --no-sync python tools/mutate.py run --slow      the same, and with the slow tests too
    uv run --no-sync python tools/mutate.py summary [--seed 1]

The same seed makes the same faults of the same source. The source itself is never written. One process imports the
package and collects all tests; a fault in a function is put into a process that is forked from it, and all others are
made in a copy of the package, which the tests import in place of it. What became of each is kept in build/mutation,
and a run goes on where the last one of its seed ended. `map` runs the fast tests once, and notes which of their
functions run which lines: those that run a changed line are then tried, the quickest and nearest before the others, as
many as take 40 seconds of the processor. With files named, only their tests are run, and added to what is noted.
`docs/mutation.md` has the last results. Needs `os.fork`.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import random
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import hypothesis
from mutation_points import Change, changes_in
from mutation_runs import Copies, Live, Mutant, Slot, Verdicts, Way
from mutation_tests import FOLDER, SOURCE, Map, compiled, make_map

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


# -- which faults --------------------------------------------------------------------------------------------


def chosen(count: int, seed: int, under: str) -> list[Change]:
    """Random lines of all files, or every line, and of each one random change: at most one for a line."""
    by_line: dict[tuple[str, int], list[Change]] = defaultdict(list)
    for part in MUTATED:
        for file in [SOURCE / part] if part.endswith(".py") else sorted((SOURCE / part).rglob("*.py")):
            path = file.relative_to(SOURCE).as_posix()
            for change in changes_in(path, file.read_bytes()) if under in path else ():
                by_line[path, change.line].append(change)
    pick = random.Random(seed)
    lines = pick.sample(sorted(by_line), min(count or len(by_line), len(by_line)))
    return [pick.choice(by_line[line]) for line in lines]


# -- the run -------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Test so many faults, and write what became of each; with `--all` or `--slow`, those again that survived."""
    _set_up()
    ends = time.monotonic() + 60 * args.minutes
    _in_child(lambda: _run_live(args, ends))
    _run_copies(args, ends)
    summary(args.seed)


def _set_up() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ |= compiled()
    sys.pycache_prefix, sys.dont_write_bytecode = os.environ["PYTHONPYCACHEPREFIX"], False
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    assert SOURCE.name not in sys.modules
    left_out = hypothesis.Phase.shrink, hypothesis.Phase.explain
    phases = [each for each in hypothesis.Phase if each not in left_out]
    hypothesis.settings.register_profile("mutation", phases=phases, derandomize=True)
    hypothesis.settings.load_profile("mutation")
    gc.collect()
    gc.freeze()  # what is imported by now is no work for the collector of a forked process


def _in_child(work: Callable[[], None]) -> None:
    """Do something in a forked process, and wait for its end."""
    process = os.fork()
    if process:
        os.waitpid(process, 0)
        return
    try:
        work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _run_live(args: argparse.Namespace, ends: float) -> None:
    """Test all faults that can be put into the running package."""
    known = Map()
    waiting = _waiting(args, "survived" if args.all or args.slow else "")
    live = Live(known, lambda: _work(args, live, known, waiting, ends))
    live.run(slow=args.slow)


def _run_copies(args: argparse.Namespace, ends: float) -> None:
    """Test those that could not be."""
    if waiting := _waiting(args):
        known = Map()
        _work(args, Copies(known), known, waiting, ends)


def _waiting(args: argparse.Namespace, *outcomes: str) -> list[tuple[int, Change]]:
    """The faults that have no place in the running package, and those of an outcome."""
    known = {each["number"]: each["outcome"] for each in read_results(args.seed)}
    faults = enumerate(chosen(args.count, args.seed, args.under))
    return [each for each in faults if known.get(each[0], "") in ("unplaced", *outcomes)]


def _work(
    args: argparse.Namespace, way: Way, known: Map, waiting: list[tuple[int, Change]], ends: float
) -> None:
    """Test one fault after another in each slot, until the time is over."""
    most = math.inf if args.all or args.slow else args.seconds
    verdicts: Verdicts = {}
    slots = [Slot(number, way, known, verdicts, most, slow=args.slow) for number in range(args.workers)]
    waiting.reverse()
    try:
        with (FOLDER / f"results-{args.seed}.jsonl").open("a") as log:
            while any(slot.mutant for slot in slots) or (waiting and time.monotonic() < ends):
                for slot in slots:
                    if slot.mutant is not None:
                        write_result(log, slot.poll())
                    if slot.mutant is None and waiting and time.monotonic() < ends:
                        write_result(log, slot.begin(*waiting.pop()))
                time.sleep(0.005)
    finally:
        for slot in slots:
            slot.stop()
    for name, is_sound in verdicts.items():
        if not is_sound:
            print(f"fails without a fault: {name}", flush=True)


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
    parser.add_argument("--count", type=int, default=300, help="so many lines; 0: every line")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=40, help="what the tests of a fault take by the map")
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
