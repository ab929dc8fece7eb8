"""A dated table of model facts that services do not report: the one that `genai-prices` ships, an extra.

It is asked for what a host's own part of it says of a model by that very name: a match by a name's beginning, end or
middle may be another model's, and is not taken. It knows context windows and which models are deprecated; it knows no
limits of answers. Loading it takes about a second: `load` is called in a thread.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from msgspec.structs import replace

from brainwires_provider.types import Model

__all__ = ["Table", "load"]

_PACKAGE = "genai-prices"
_MODULE = "genai_prices"
# A service by the base URL that the table has for it, where that is no longer its only one.
_MOVED = {"https://api.together.ai": "https://api.together.xyz"}


def load(base_url: str) -> Table | None:
    """What is known of the models of the service at a base URL; None without the extra, or for another service."""
    if find_spec(_MODULE) is None:
        return None
    snapshot = import_module(f"{_MODULE}.data_snapshot").get_snapshot()
    for moved, known in _MOVED.items():
        if base_url.startswith(moved):
            base_url = known + base_url.removeprefix(moved)
    try:
        service = snapshot.find_provider(None, None, base_url)
    except LookupError:
        return None
    name = f"{_PACKAGE} {version(_PACKAGE)}"
    if snapshot.from_auto_update:
        name += f", updated {snapshot.timestamp:%Y-%m-%d}"
    return Table(name, service)


class Table:
    """What is known of one service's models. `name` says which table, and how old."""

    def __init__(self, name: str, service: Any) -> None:
        self.name = name
        self._service = service

    def fill(self, model: Model) -> Model:
        """The model, with the fields that its provider did not report and the table has; `from_table` names them."""
        known = self._find(model.id)
        if known is None:
            return model
        told: dict[str, Any] = {}
        if model.context_window is None and known.context_window:
            told["context_window"] = known.context_window
        if model.lifecycle is None and known.deprecated is True:
            told["lifecycle"] = "deprecated"
        return replace(model, **told, from_table=tuple(told), table=self.name) if told else model

    def _find(self, name: str) -> Any:
        """The entry that the table's own search gives, if it is this name's own."""
        known = self._service.find_model(name)
        if known is None or not (known.id.lower() == name.lower() or _names(known.match, name.lower())):
            return None
        return known


def _names(clause: Any, name: str) -> bool:
    """Whether a rule of the table means just this name, spelt out or by a pattern, and not names like it."""
    rule = type(clause).__name__
    if rule == "ClauseOr":
        return any(_names(each, name) for each in clause.or_)
    if rule == "ClauseAnd":
        return bool(clause.is_match(name)) and any(_names(each, name) for each in clause.and_)
    return rule in ("ClauseEquals", "ClauseRegex") and bool(clause.is_match(name))
