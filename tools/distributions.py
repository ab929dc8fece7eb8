"""Prints every distribution that the extra `all` brings in, with its age; fails on one that nobody has looked at.

    uv run python tools/distributions.py [LOCK] [LIST]

They are those of `uv.lock`, which `uv sync` writes, on any platform and Python. The list is the table in
`docs/decisions/0011-distributions.md`: to add one, look at its author, source and age first.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIST = ROOT / "docs/decisions/0011-distributions.md"
OURS = "brainwires-provider"


def needed(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the extra `all` brings in, in the order of the names."""
    found: set[tuple[str, str | None]] = set()
    waiting: list[tuple[str, str | None]] = [(OURS, None), (OURS, "all")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        for package in (each for each in packages if each["name"] == name):
            extras = package.get("optional-dependencies", {})
            for each in package.get("dependencies", ()) if extra is None else extras.get(extra, ()):
                waiting += [(each["name"], of) for of in (None, *each.get("extra", ()))]
    names = {name for name, _ in found} - {OURS}
    return sorted((each for each in packages if each["name"] in names), key=lambda each: each["name"])


def uploaded(package: dict[str, Any]) -> datetime | None:
    """When the first file of this version was published."""
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    times = [datetime.fromisoformat(file["upload-time"]) for file in files if "upload-time" in file]
    return min(times, default=None)


def lines(packages: list[dict[str, Any]], known: set[str], now: datetime) -> Iterator[tuple[str, bool]]:
    """A line for each distribution, and whether it is known."""
    for package in packages:
        time = uploaded(package)
        age = "of unknown age" if time is None else f"{(now - time).days:5} days  {time:%Y-%m-%d}"
        is_known = package["name"] in known
        mark = "" if is_known else f"  NOT IN {LIST.relative_to(ROOT)}"
        yield f"{package['name']:24} {package.get('version', ''):16} {age}{mark}", is_known


def main(lock: str = str(ROOT / "uv.lock"), known: str = str(LIST)) -> int:
    packages = tomllib.loads(Path(lock).read_text(encoding="utf-8"))["package"]
    names = set(re.findall(r"^\| `([a-z0-9-]+)` \|", Path(known).read_text(encoding="utf-8"), re.MULTILINE))
    shown = list(lines(needed(packages), names, datetime.now(UTC)))
    print(*(line for line, _ in shown), sep="\n")
    return 0 if shown and all(is_known for _, is_known in shown) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
