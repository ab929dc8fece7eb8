"""The tests see neither the models nor the set-up of whoever runs them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skips import Skips

SLOW = ("engine", "many", "long", "nightly")


def pytest_configure(config: pytest.Config) -> None:
    """Write down what is skipped, where a file for it is named; with xdist, in the process that hears of all tests."""
    if "BRAINWIRES_SKIPS" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Skips(Path(os.environ["BRAINWIRES_SKIPS"])))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what only `.ci/run` runs, before pytest selects by markers."""
    for item in items:
        if item.get_closest_marker("fast") is None and any(map(item.get_closest_marker, SLOW)):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def nobodys_home() -> Iterator[None]:
    """Data and configuration folders that are empty, for this process and for those that it starts."""
    known = {name: os.environ.get(name) for name in ("BRAINWIRES_DATA_DIR", "XDG_CONFIG_HOME")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BRAINWIRES_DATA_DIR"] = str(Path(folder) / "data")
        os.environ["XDG_CONFIG_HOME"] = str(Path(folder) / "config")
        yield
    for name, value in known.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
