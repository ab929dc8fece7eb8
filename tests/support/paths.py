"""Where the project and the tests' data lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FIXTURES", "PROJECT", "SOURCE", "TESTS"]

TESTS = Path(__file__).resolve().parents[1]
FIXTURES = TESTS / "fixtures"
PROJECT = TESTS.parent
SOURCE = PROJECT / "src" / "brainwires_provider"
