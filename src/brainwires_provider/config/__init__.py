"""The configuration file `brainwires.toml`: providers, names for models, defaults; keys by reference only."""

from __future__ import annotations

from brainwires_provider.config.load import load_config

__all__ = ["load_config"]
