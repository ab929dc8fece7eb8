"""What the benchmarks share: CPU time of this process, rounds that interleave the contestants, tables, targets.

CPU time is user and system time of all threads, so that waiting costs nothing and the server, a process of its own,
is not counted. Contestants take turns within a round, so that a slow minute of the machine hits all of them. What is
printed is the median over the rounds, and of the ratios the median of the rounds' own.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import NamedTuple

__all__ = ["Rounds", "Targets", "arguments", "cpu_seconds", "interleaved", "machine", "print_table"]


class Rounds:
    """What each contestant took, round by round."""

    def __init__(self, taken: Mapping[str, Sequence[float]]) -> None:
        self._taken = taken

    def __iter__(self) -> Iterator[str]:
        return iter(self._taken)

    def median(self, name: str) -> float:
        """The median of one contestant."""
        return median(self._taken[name])

    def ratio(self, name: str, other: str) -> float:
        """How much more one took than another: what slows a whole round is in both."""
        return median(
            mine / theirs for mine, theirs in zip(self._taken[name], self._taken[other], strict=True)
        )


class _Target(NamedTuple):
    name: str
    measured: float
    limit: float
    at_least: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


class Targets:
    """What was promised, and what was measured."""

    def __init__(self) -> None:
        self._targets: list[_Target] = []

    def at_most(self, name: str, measured: float, limit: float) -> None:
        """A ratio that must not be higher."""
        self._targets.append(_Target(name, measured, limit, at_least=False))

    def at_least(self, name: str, measured: float, limit: float) -> None:
        """A ratio that must not be lower."""
        self._targets.append(_Target(name, measured, limit, at_least=True))

    def close(self, *, check: bool) -> int:
        """Print them; the exit code: 1 when one is missed and `check` was asked for."""
        rows = [
            (
                t.name,
                f"{t.measured:.2f}",
                f"{'≥' if t.at_least else '≤'} {t.limit:g}",
                "met" if t.met else "MISSED",
            )
            for t in self._targets
        ]
        print_table(("target", "measured", "limit", ""), rows)
        return int(check and not all(t.met for t in self._targets))


def arguments(role: str | None) -> argparse.Namespace:
    """The command line that every benchmark takes."""
    parser = argparse.ArgumentParser(description=role)
    parser.add_argument("--quick", action="store_true", help="small counts: that it runs, not how fast")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


def cpu_seconds(work: Callable[[], object]) -> float:
    """User and system time of this process, all threads, while `work` runs."""
    gc.collect()
    begin = time.process_time()
    work()
    return time.process_time() - begin


def interleaved(contestants: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Let the contestants take turns, after a round that does not count."""
    for measure in contestants.values():
        measure()
    results: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            results[name].append(contestants[name]())
    return Rounds(results)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A Markdown table, aligned for a terminal."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    print(line(head))
    print("|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|")
    for row in rows:
        print(line(row))
    print()


def machine() -> str:
    """One line: cores, Python, and the versions that matter."""
    versions: list[str] = []
    for name in ("aiohttp", "msgspec", "openai", "xllamacpp"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}; "
        f"Python {sys.version.split()[0]}, {', '.join(versions)}"
    )
