"""A dated table of model facts that services do not report: the one that `genai-prices` ships, an extra.

It is asked for what a host's own part of it says of a model by that very name: a match by a name's beginning, end or
middle may be another model's, and is not taken. It knows context windows and which models are deprecated; it knows no
limits of answers. Loading it takes about a second: `load` is called in a thread.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from brainwires_provider.providers.prices import own_entry, service_at
from brainwires_provider.types import Model

__all__ = ["Table", "load"]


def load(base_url: str) -> Table | None:
    """What is known of the models of the service at a base URL; None without the extra, or for another service."""
    found = service_at(base_url)
    return None if found is None else Table(*found)


class Table:
    """What is known of one service's models. `name` says which table, and how old."""

    def __init__(self, name: str, service: Any) -> None:
        self.name = name
        self._service = service

    def fill(self, model: Model) -> Model:
        """The model, with the fields that its provider did not report and the table has; `from_table` names them."""
        known = own_entry(self._service, model.id)
        if known is None:
            return model
        told: dict[str, Any] = {}
        if model.context_window is None and known.context_window:
            told["context_window"] = known.context_window
        if model.lifecycle is None and known.deprecated is True:
            told["lifecycle"] = "deprecated"
        return replace(model, **told, from_table=tuple(told), table=self.name) if told else model
