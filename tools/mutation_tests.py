"""Which tests run which lines: the map of `tools/mutate.py`, how it is made, and which tests it names for a fault."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from functools import cache, cached_property
from pathlib import Path

import coverage
import mutation_map
from mutation_points import Change

__all__ = ["FOLDER", "ROOT", "SOURCE", "WRITTEN", "Map", "Stage", "compiled", "make_map", "slow_stage"]

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "brainwires_provider"
FOLDER = ROOT / "build" / "mutation"
Stage = tuple[str, ...]
"""Names of the map, or pytest's arguments. The stages of a fault run one after another, until a test fails."""
SLOW = "slow and not engine"
WRITTEN = (
    "tests/unit/test_layers.py::test_struct_types_are_frozen_and_those_of_options_take_keywords_alone",
)
"""What reads the package's files, and so runs none of their lines."""
_SLOW_FOLDERS = {"transports": ("tests/websocket",), "_core": ("tests/unit", "tests/transports")}
_MEASURED = FOLDER / "measured" / "coverage"
_SECONDS = FOLDER / "seconds.json"
_COMPILED = FOLDER / "compiled"
_STATEMENT = 8
_FIRST, _FIRST_SECONDS = 20, 2.0
"""The first stage of tests that run a line: so many functions, of so many seconds; the next are ten times as large."""


class Map:
    """What `map` has noted."""

    def __init__(self) -> None:
        noted: dict[str, float] = json.loads(_SECONDS.read_text()) if _SECONDS.exists() else {}
        self._seconds = {name: seconds for name, seconds in noted.items() if _is_there(name)}
        if not self._seconds:
            raise SystemExit("no map of the tests: run `tools/mutate.py map` first")
        self._data = coverage.CoverageData(str(_MEASURED))
        self._data.read()
        self._lines = cache(self._lines_of)
        self._all = cache(self._tests_of)

    def stages(self, change: Change, most: float = math.inf) -> tuple[list[Stage], bool]:
        """The tests that run a changed line, the most promising first, and whether these are all there are.

        After `most` seconds no further one is taken.
        """
        by_line = self._lines(change.path)
        lines = range(
            change.line, change.line - _STATEMENT, -1
        )  # of a statement the first line may be noted alone
        here = frozenset(next((by_line[line] for line in lines if line in by_line), ()))
        is_imported = "" in here or not here
        if is_imported:  # any test of the file may notice it
            here = self._all(change.path)
            if math.isinf(most):
                here |= self._all(str(Path(change.path).parent))
        known = sorted(here & self._seconds.keys(), key=lambda name: (self._rank(change.path, name), name))
        found: list[Stage] = []
        at, batch, seconds = 0, _FIRST, _FIRST_SECONDS
        while at < len(known) and most > 0:
            stage: list[str] = []
            left = seconds
            while at < len(known) and len(stage) < batch and (min(left, most) > 0 or not stage):
                stage.append(known[at])
                left -= self._seconds[known[at]]
                most -= self._seconds[known[at]]
                at += 1
            found.append(tuple(stage))
            batch, seconds = 10 * batch, 10 * seconds
        return found, not is_imported

    def seconds(self, stage: Stage) -> float:
        """What the tests of a stage take without a fault."""
        return sum(self._seconds.get(each, 0) for each in stage)

    @cached_property
    def _files(self) -> dict[str, str]:
        """The measured files, by their paths in the package: the map may be a copy of another folder's."""
        inside = f"/{SOURCE.relative_to(ROOT).as_posix()}/"
        return {file.partition(inside)[2]: file for file in self._data.measured_files()}

    def _lines_of(self, path: str) -> dict[int, list[str]]:
        return self._data.contexts_by_lineno(self._files.get(path, path))

    def _tests_of(self, path: str) -> frozenset[str]:
        """The tests that run a line of a file or folder; of one that is imported only, of the folder that it is in."""
        files = (
            [path]
            if path in self._files
            else [each for each in self._files if Path(path) in Path(each).parents]
        )
        lines = [names for file in files for names in self._lines(file).values()]
        found = frozenset(name for names in lines for name in names if name)
        return found or (self._all(str(Path(path).parent)) if path != "." else found)

    def _rank(self, path: str, name: str) -> float:
        """The seconds of a test, as if it took a tenth of them in the module's own folder, or of its protocol."""
        parts = path.removesuffix(".py").split("/")
        where = name.partition("::")[0] + name.partition("[")[2]
        is_near = any(part in where for part in parts[-2:] if part not in ("base", "__init__"))
        return self._seconds[name] * (0.1 if is_near else 1)


@cache
def _text_of(file: str) -> str:
    path = ROOT / file
    return path.read_text("utf-8") if path.exists() else ""


def _is_there(name: str) -> bool:
    """Whether a test function that the map names has not been renamed or removed since."""
    file, *_, function = name.partition("[")[0].split("::")
    return f"def {function}(" in _text_of(file)


def slow_stage(path: str) -> Stage:
    """The slow tests of a module, which the map does not know: those of its protocol, or of its kind."""
    part, _, rest = path.partition("/")
    name = rest.partition("/")[0]
    folders = _SLOW_FOLDERS.get(part, ("tests/protocols", "tests/corpus"))
    if part == "protocols" and name != "base" and "/" in rest:
        files = sorted((ROOT / "tests/corpus").glob(f"test_corpus_{name}*.py"))
        folders = f"tests/protocols/{name}", *(each.relative_to(ROOT).as_posix() for each in files)
    return "-m", SLOW, *folders


def make_map(tests: list[str]) -> None:
    """Run the fast tests once, or some of them again, and note which run which lines."""
    if not tests:
        shutil.rmtree(_MEASURED.parent, ignore_errors=True)
        _SECONDS.unlink(missing_ok=True)
    _MEASURED.parent.mkdir(parents=True, exist_ok=True)
    settings = _MEASURED.with_name("settings")
    settings.write_text(
        f"[run]\nsource = {SOURCE.name}\nparallel = true\ndata_file = {_MEASURED}\npatch = subprocess, _exit\n"
    )
    environment = {
        **os.environ,
        "COVERAGE_PROCESS_START": str(settings),
        "PYTHONPATH": str(ROOT / "tools"),
        mutation_map.SECONDS: str(_SECONDS),
    }
    environment |= compiled()
    subprocess.run([sys.executable, "-m", "pytest", "-p", "mutation_map", *tests], cwd=ROOT, env=environment)
    whole = coverage.CoverageData(str(_MEASURED))
    whole.read()
    for each in _MEASURED.parent.glob(f"{_MEASURED.name}.*"):
        part = coverage.CoverageData(str(each))
        part.read()
        whole.update(part)
        each.unlink()
    whole.write()
    print(f"{len(json.loads(_SECONDS.read_text()))} test functions, {len(whole.measured_files())} files")


def compiled() -> dict[str, str]:
    """The variables of the environment with which compiled modules are kept in a folder of the tool's own."""
    return {"PYTHONPYCACHEPREFIX": str(_COMPILED), "PYTHONDONTWRITEBYTECODE": ""}
