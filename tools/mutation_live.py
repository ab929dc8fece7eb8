"""Puts a fault into the package as it runs, by exchanging the code of its functions.

One process has imported the package and all tests, and each fault is put into a process that is forked from it. A
fault outside of functions, in a table or a default, is refused: other modules have made their own data of it.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from mutation_points import Change
from mutation_tests import SOURCE

__all__ = ["Fault", "Package", "Unplaced", "module_of"]

Key = tuple[str, int, str]
Chain = list[tuple[CodeType, CodeType]]
"""Code as it was and as it is, from the module's to that which differs."""


class Unplaced(Exception):
    """A fault that cannot be put into the running package."""


@dataclass
class Fault:
    """The functions of the running package that a change belongs to, with their new code."""

    exchanged: list[tuple[FunctionType, CodeType]]
    is_doubtful: bool
    """Whether an import has run one of them already: that no test notices the fault then proves nothing."""

    def put(self) -> None:
        """Put the fault in place, for good."""
        for function, code in self.exchanged:
            function.__code__ = code


class Package:
    """The functions and caches of the imported package."""

    def __init__(self) -> None:
        self._run_by_import: set[Key] = set()
        self._functions: defaultdict[Key, list[FunctionType]] = defaultdict(list)
        self._caches: list[Any] = []
        self._compiled = functools.cache(lambda path: _compile(path, (SOURCE / path).read_bytes()))

    def load(self) -> None:
        """Import all modules, and note which functions that runs: their results are part of the modules' data."""

        def note(frame: Any, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(str(SOURCE)):
                self._run_by_import.add(_key(frame.f_code))

        sys.setprofile(note)
        for file in sorted(SOURCE.rglob("*.py")):
            if file.name != "__main__.py":
                with suppress(Exception):
                    importlib.import_module(module_of(file.relative_to(SOURCE).as_posix()))
        sys.setprofile(None)

    def look(self) -> None:
        """Find what is there, after all tests were imported."""
        gc.unfreeze()  # what is frozen is not found
        for each in gc.get_objects():
            if isinstance(each, FunctionType) and each.__code__.co_filename.startswith(str(SOURCE)):
                self._functions[_key(each.__code__)].append(each)
            elif isinstance(each, functools._lru_cache_wrapper):
                self._caches.append(each)
        gc.collect()
        gc.freeze()

    def clear_caches(self) -> None:
        """Forget what functions of the package have returned."""
        for each in self._caches:
            if str(getattr(each, "__module__", "")).startswith(SOURCE.name):
                each.cache_clear()

    def fault(self, change: Change) -> Fault | None:
        """Where a change belongs; None for one that changes no code. Raises Unplaced, and SyntaxError."""
        before = self._compiled(change.path)
        after = _compile(change.path, change.applied((SOURCE / change.path).read_bytes()))
        chains = list(_differing(before, after))
        if not chains:
            return None
        functions = [[pair for pair in chain if pair[0].co_flags & inspect.CO_OPTIMIZED] for chain in chains]
        exchanged = [pair for chain in functions for pair in self._exchanged(chain)]
        if not all(map(self._is_live, functions, chains)):
            raise Unplaced
        is_run = any(_key(old) in self._run_by_import for chain in functions for old, _ in chain)
        return Fault(exchanged, is_run)

    def _exchanged(self, chain: Chain) -> Iterator[tuple[FunctionType, CodeType]]:
        for old, new in chain:
            for function in self._functions.get(_key(old), ()):
                if function.__code__.co_freevars != new.co_freevars:
                    raise Unplaced
                yield function, new

    def _is_live(self, functions: Chain, chain: Chain) -> bool:
        """Whether what differs is code of a function, or of one inside of it."""
        return (
            bool(functions)
            and functions[-1] is chain[-1]
            and any(_key(old) in self._functions for old, _ in functions)
        )


# -- code ----------------------------------------------------------------------------------------------------


def module_of(path: str) -> str:
    """The name of a module, by its path in the package."""
    return f"{SOURCE.name}/{path}".removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _compile(path: str, source: bytes) -> CodeType:
    code: CodeType = compile(source, str(SOURCE / path), "exec", dont_inherit=True)
    return code


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    """What a piece of code does, without the code inside of it, and without its lines."""
    constants = [_spelled(each) for each in code.co_consts if not isinstance(each, CodeType)]
    counts = code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, code.co_exceptiontable, constants, counts, names


def _spelled(value: object) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _differing(old: CodeType, new: CodeType, above: Chain | None = None) -> Iterator[Chain]:
    """The pieces of code that differ, each with those that it is in."""
    chain = [*(above or ()), (old, new)]
    inner = _inner(old), _inner(new)
    is_alike = len(inner[0]) == len(inner[1])
    if not is_alike or _own(old) != _own(new):
        yield chain
    if is_alike:
        for each in zip(*inner, strict=True):
            yield from _differing(*each, chain)
