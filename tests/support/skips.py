"""Which tests a run skipped, and whether all of them are known: `python tests/support/skips.py FILE`.

`conftest.py` writes the file where `BRAINWIRES_SKIPS` names one. `tests/skips.txt` is the list of what may be skipped.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Skips", "known_skips", "unknown_skips"]

KNOWN = Path(__file__).resolve().parents[1] / "skips.txt"


class Skips:
    """A pytest plugin that writes each skipped test, and each module that was skipped as a whole, with the reason."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[tuple[str, str]] = []

    def pytest_collectreport(self, report: Any) -> None:
        """A module that skips itself is none of the tests that `pytest` counts."""
        self._note(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._note(report)

    def _note(self, report: Any) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._found.append((report.nodeid, why.removeprefix("Skipped: ")))

    def pytest_sessionfinish(self) -> None:
        with self._path.open("a") as log:
            log.writelines(json.dumps(each) + "\n" for each in self._found)


def known_skips(text: str, present: Iterable[str]) -> set[str]:
    """The names that may be skipped: those of `[always]`, and of each section whose data is not `present`."""
    names: set[str] = set()
    counts = False
    for line in text.splitlines():
        if line.startswith("["):
            counts = line.strip("[]") not in present
        elif counts and line and not line.startswith("#"):
            name, _, reason = line.partition(" ")
            if not reason.strip():
                raise ValueError(f"{name} has no reason")
            names.add(name)
    return names


def unknown_skips(skipped: Iterable[tuple[str, str]], known: set[str]) -> list[str]:
    """The tests that were skipped, and are known neither by their names nor by their modules'."""
    names = {name.partition("[")[0] for name, _ in skipped}
    return sorted(name for name in names if not {name, name.partition("::")[0]} & known)


def present() -> list[str]:
    """What of the data that is no part of the project is on this machine."""
    from corpus import corpus_dir, peer_cases_dir

    folders = {"without the recorded exchanges": corpus_dir(), "without the peers' cases": peer_cases_dir()}
    return [name for name, folder in folders.items() if any(folder.glob("*.jsonl.gz"))]


def main(path: str) -> None:
    """Print what was skipped, by reason; exit with 1 if the list does not have all of it."""
    file = Path(path)
    skipped = [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
    by_reason: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for name, why in skipped:
        by_reason[why][name.partition("::")[0]] += 1
    print(f"{len(skipped)} skipped")
    for why, modules in sorted(by_reason.items()):
        print(f"- {why}: " + ", ".join(f"{module} ({count})" for module, count in sorted(modules.items())))
    unknown = unknown_skips(skipped, known_skips(KNOWN.read_text(), present()))
    for name in unknown:
        print(f"skipped, and not in {KNOWN.name}: {name}")
    sys.exit(1 if unknown else 0)


if __name__ == "__main__":
    main(sys.argv[1])
