"""A pytest plugin of `mutate.py map`: which test functions run which lines, and how long they take.

In each process that runs tests the context of coverage's measurement is the test's function; in the process that hears
of all of them the seconds of the processor for each function are added up, and written down at the end.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import coverage
import pytest

SECONDS = "BRAINWIRES_MUTATION_SECONDS"
FIXTURES = "tests/protocols/test_fixtures.py"

_seconds: defaultdict[str, float] = defaultdict(float)
_running = [""]
_started = [0.0]


def function_of(nodeid: str) -> str:
    """A test without its parameters; of the tests of all protocols, with the first word of these: the protocol.

    Of the fixtures, each case is a test of its own.
    """
    function, bracket, parameters = nodeid.partition("[")
    if not bracket or not function.startswith("tests/protocols/test_"):
        return function
    if function.startswith(FIXTURES):
        return nodeid
    return f"{function}[{parameters.removesuffix(']').partition('-')[0]}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What runs from now on belongs to this test's function."""
    _started[:] = [_processor()]
    measured = coverage.Coverage.current()
    function = function_of(item.nodeid)
    if measured is not None and _running != [function]:
        _running[:] = [function]
        measured.switch_context(function)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The last report of a test says what the test took of the processor."""
    report = yield
    if call.when == "teardown":
        report.user_properties.append((SECONDS, _processor() - _started[0]))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One phase of one test."""
    properties: list[tuple[str, Any]] = report.user_properties
    for name, seconds in properties:
        if name == SECONDS:
            _seconds[function_of(report.nodeid)] += seconds


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the seconds down, beside those of earlier runs."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        path = Path(os.environ[SECONDS])
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | _seconds))


def _processor() -> float:
    """What this process and those that it waited for have taken."""
    return sum(os.times()[:4])
