"""Lets a package load the names that it exports when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for `package`.

    `modules` maps a module, relative to brainwires_provider, to the names that come from it, separated by spaces.
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}
    namespace = sys.modules[package].__dict__

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"brainwires_provider.{module_of[name]}"), name)
        namespace[name] = value
        return value

    return load, lambda: sorted({*namespace, *module_of})
