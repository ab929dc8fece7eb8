"""CPU microseconds of a streamed event and of a request: the adapters beside the frameworks' own classes.

Requests are made at once, as a server makes them, and one after the other, as a script does: then each waits for the
network alone, and what the framework and the event loop do for a request is shared with no other.

Each `_adapter_<name>.py` beside this file is one framework, with the names of both classes, the modules they need, and
two functions, `ours` and `theirs`, that make a `Contestant` (see `_adapter_child.py`) of a base URL. Every
contestant is a process of its own, and they take turns, round by round. `BRAINWIRES_FRAMEWORKS_PYTHON` names a Python
that has what the frameworks' own classes need (`langchain-openai`, `pydantic-ai-slim[openai]`, `openai-agents`);
without it this Python is tried. What is missing is skipped. Where a module also has `bare`, that is the least that any
adapter of the framework takes, and is printed without a target.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from _measure import Rounds, Targets, arguments, interleaved, machine, print_table
from _server import WHOLE_TEXT, Server, stream_text

_PYTHON = "BRAINWIRES_FRAMEWORKS_PYTHON"
_HERE = Path(__file__).parent


class Load(NamedTuple):
    """How many streams at once, of how many events, how many requests at once, and how many rounds."""

    streams: int
    events: int
    requests: int
    rounds: int


FULL = Load(10, 400, 50, 9)
QUICK = Load(4, 40, 5, 1)


class Child:
    """One contestant's process."""

    def __init__(self, adapter: str, side: str, server: Server, load: Load) -> None:
        self._load = load
        python = os.environ.get(_PYTHON, sys.executable) if side == "theirs" else sys.executable
        streams = server.stream_url("saturated", load.streams, load.events)
        words = [python, str(_HERE / "_adapter_child.py"), adapter, side, server.whole_url, streams]
        self._process = subprocess.Popen(
            [*words, str(load.streams)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit(f"a contestant did not start: {' '.join(map(str, self._process.args))}")  # type: ignore[arg-type]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)

    def _obey(self, line: str, characters: int) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        seconds, came = self._process.stdout.readline().split()
        if int(came) != characters:
            raise SystemExit(f"{self._process.args}: {came} characters came instead of {characters}")
        return float(seconds)

    def event(self) -> float:
        """CPU seconds of one event."""
        load = self._load
        return self._obey("stream", load.streams * len(stream_text(load.events))) / (
            load.streams * load.events
        )

    def request(self) -> float:
        """CPU seconds of one request of many at once."""
        return self._requests("request")

    def alone(self) -> float:
        """CPU seconds of one request of many, one after the other."""
        return self._requests("sequence")

    def _requests(self, word: str) -> float:
        load = self._load
        return self._obey(f"{word} {load.requests}", load.requests * len(WHOLE_TEXT)) / load.requests


_FIND = (
    "import sys; from importlib.util import find_spec; print(*(n for n in sys.argv[1:] if not find_spec(n)))"
)


def _missing(python: str, modules: tuple[str, ...]) -> str:
    """Those of some top-level modules that a Python does not have; none of them is imported, which takes seconds."""
    try:
        found = subprocess.run([python, "-c", _FIND, *modules], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{_PYTHON} names no Python that runs: {error}") from None
    return found.stdout.strip()


def _sides(adapter: Any) -> dict[str, str]:
    """The sides that can be measured here; what cannot is printed, with the reason."""
    sides = {"ours": adapter.OURS, "theirs": adapter.THEIRS}
    if hasattr(adapter, "bare"):
        sides["bare"] = adapter.BARE
    if missing := _missing(sys.executable, adapter.OURS_NEEDS):
        print(f"{adapter.FRAMEWORK} is skipped: this Python has no {missing}\n")
        return {}
    if missing := _missing(os.environ.get(_PYTHON, sys.executable), adapter.NEEDS):
        del sides["theirs"]
        print(f"{adapter.THEIRS} is skipped: it needs {missing}; {_PYTHON} may name a Python that has it\n")
    return sides


def _measure(sides: dict[str, str], adapter: Any, server: Server, load: Load) -> dict[str, Rounds]:
    with ExitStack() as stack:
        started = {name: Child(adapter.__name__, side, server, load) for side, name in sides.items()}
        made = {name: stack.enter_context(child) for name, child in started.items()}
        return {
            what: interleaved({name: of(child) for name, child in made.items()}, load.rounds)
            for what, of in _WHAT.items()
        }


_WHAT: dict[str, Callable[[Child], Callable[[], float]]] = {
    "an event": lambda child: child.event,
    "a request, at once": lambda child: child.request,
    "a request, alone": lambda child: child.alone,
}


def _print(adapter: Any, measured: dict[str, Rounds], targets: Targets) -> None:
    print(f"### {adapter.FRAMEWORK}\n")
    rows = [
        (name, *(f"{rounds.median(name) * 1e6:.1f}" for rounds in measured.values()))
        for name in measured["an event"]
    ]
    print_table(("class", *(f"CPU µs {what}" for what in measured)), rows)
    if adapter.THEIRS in measured["an event"]:
        for what, rounds in measured.items():
            ratio = rounds.ratio(adapter.THEIRS, adapter.OURS)
            targets.at_least(f"{adapter.FRAMEWORK}: {adapter.THEIRS} over ours, {what}", ratio, 5)


def main() -> int:
    """Measure, print, judge."""
    args = arguments(__doc__)
    load = QUICK if args.quick else FULL
    targets = Targets()
    print(f"{machine()}\n")
    with Server() as server:
        for path in sorted(_HERE.glob("_adapter_*.py")):
            if path.stem != "_adapter_child":
                adapter = import_module(path.stem)
                if sides := _sides(adapter):
                    _print(adapter, _measure(sides, adapter, server, load), targets)
    return 0 if args.quick else targets.close(check=args.check)


if __name__ == "__main__":
    raise SystemExit(main())
