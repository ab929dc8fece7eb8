"""The built-in providers, and how a model's name is resolved to a place to send requests to.

A `Provider` states a service's protocol and its quirks, its base URL, and where its key is found. `resolve` combines
one with the caller's settings into a `Target`.
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
