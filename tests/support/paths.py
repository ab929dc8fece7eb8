"""Where the project and the tests' data lie."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

__all__ = ["FIXTURES", "PROJECT", "SOURCE", "TESTS"]

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS / "fixtures"
PROJECT = TESTS.parent

_found = find_spec("brainwires_provider")
assert _found is not None and _found.origin is not None
SOURCE = Path(_found.origin).parent
"""Of the package that is tested, which `tools/mutate.py` copies."""
