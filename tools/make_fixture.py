"""Writes `call.json` and `events.json` of fixture folders from their `request.json` and `wire.*`, for review.

    python tools/make_fixture.py [CASE…]      without a name: those that lack them
    python tools/make_fixture.py --sdk        only `source.toml`, for what the vendor's SDK reads as we do

What it writes is what the code does now, which proves nothing: nothing is written for a folder without a `source.toml`
that names what else says so (see tests/support/fixture_cases.py). Read the rest, line by line, against the provider's
documentation before it is committed: from then on it is the law.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).resolve().parents[1] / name) for name in ("src", "tests/support", "tests/protocols")
]

from fixture_cases import Case, called, cases, decoded  # noqa: E402


def made(case: Case) -> dict[str, object]:
    """By name: what the files say by the code of now."""
    files: dict[str, object] = {"call.json": called(case)}
    if case.wire is not None:
        files["events.json"] = decoded(case, lambda data: [data])
    return files


def write(wanted: list[str]) -> int:
    """Write the files; the number of folders that were refused."""
    refused = 0
    for case in cases():
        if wanted and case.folder.name not in wanted:
            continue
        paths = {case.folder / name: value for name, value in made(case).items()}
        missing = {path: value for path, value in paths.items() if wanted or not path.exists()}
        if missing and case.source is None:
            refused += 1
            print(f"{case.folder} names no source: write source.toml, or try --sdk", file=sys.stderr)
            continue
        for path, value in missing.items():
            path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(path)
    return refused


def write_sources() -> None:
    """Name the vendor's SDK as the source of each answer that it reads as we do, and of each request that it takes."""
    from test_fixture_sources import PACKAGES, confirmed

    for case in cases():
        if case.source is None and confirmed(case):
            path = case.folder / "source.toml"
            path.write_text(f'sdk = "{PACKAGES[case.folder.parent.name]}"\n', encoding="utf-8")
            print(path)


if __name__ == "__main__":
    if sys.argv[1:] == ["--sdk"]:
        write_sources()
    else:
        sys.exit(write(sys.argv[1:]) > 0)
