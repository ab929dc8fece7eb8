"""The table: a provider is a row.

A row says which protocol a service speaks, with which quirks, where, and with whose key. `resolve` turns a model's
name and what the client was given into a Target.
"""

from __future__ import annotations

from brainwires_provider.providers.config import Config, NamedModel
from brainwires_provider.providers.registry import Provider
from brainwires_provider.providers.resolve import (
    ProviderConfig,
    Target,
    find_row,
    is_loopback,
    protocol_named,
    protocol_names,
    resolve,
    resolve_listing,
    split_model,
)
from brainwires_provider.providers.table import PROVIDERS

__all__ = [
    "PROVIDERS",
    "Config",
    "NamedModel",
    "Provider",
    "ProviderConfig",
    "Target",
    "find_row",
    "is_loopback",
    "protocol_named",
    "protocol_names",
    "resolve",
    "resolve_listing",
    "split_model",
]
