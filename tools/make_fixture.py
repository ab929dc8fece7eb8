"""Writes `call.json` and `events.json` of fixture folders from their `request.json` and `wire.*`, for review.

    python tools/make_fixture.py [CASE…]      without a name: those that lack them

What it writes is what the code does now. Read it, line by line, against the provider's documentation before it is
committed: from then on it is the law.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("src", "tests/support")]

from fixture_cases import called, cases, decoded  # noqa: E402


def main(wanted: list[str]) -> None:
    for case in cases():
        if wanted and case.folder.name not in wanted:
            continue
        made = {"call.json": called(case)}
        if case.wire is not None:
            made["events.json"] = decoded(case, lambda data: [data])
        for name, value in made.items():
            path = case.folder / name
            if wanted or not path.exists():
                path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
                print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
