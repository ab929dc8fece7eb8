"""The tests see neither the models nor the set-up of whoever runs them."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from skips import Skips

SLOW = ("engine", "many", "long", "nightly")


def pytest_configure(config: pytest.Config) -> None:
    """Write down what is skipped, where a file for it is named; with xdist, in the process that hears of all tests."""
    if "BRAINWIRES_SKIPS" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(Skips(Path(os.environ["BRAINWIRES_SKIPS"])))
    if sys.dont_write_bytecode and "PYTEST_XDIST_WORKER" not in os.environ:
        compile_once(config)


def compile_once(config: pytest.Config) -> None:
    """Where no bytecode is written beside the sources, it is kept in a folder of this run.

    Otherwise each process that a test starts compiles the package and all that it imports anew, which takes a second.
    """
    folder = tempfile.TemporaryDirectory(prefix="bytecode-")
    patch = pytest.MonkeyPatch()
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(patch.undo)
    patch.setattr(sys, "dont_write_bytecode", False)
    patch.setattr(sys, "pycache_prefix", folder.name)
    patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    patch.setenv("PYTHONPYCACHEPREFIX", folder.name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what collection makes out of the garbage collector's way, which would look through it with each test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


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
