"""A pytest plugin of `mutate.py map`: which test functions run which lines, and how long they take.

In each process that runs tests the context of coverage's measurement is the test's function; in the process that hears
of all of them the seconds of each function are added up, and written down at the end.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import coverage
import pytest

SECONDS = "BRAINWIRES_MUTATION_SECONDS"

_seconds: defaultdict[str, float] = defaultdict(float)
_running = [""]


def function_of(nodeid: str) -> str:
    """A test without its parameters."""
    return nodeid.partition("[")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What runs from now on belongs to this test's function."""
    measured = coverage.Coverage.current()
    function = function_of(item.nodeid)
    if measured is not None and _running != [function]:
        _running[:] = [function]
        measured.switch_context(function)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One phase of one test."""
    _seconds[function_of(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the seconds down."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ[SECONDS]).write_text(json.dumps(_seconds))
