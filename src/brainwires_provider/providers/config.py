"""A whole set-up as a value: providers, names for models, defaults. `config.load_config` reads it from a file."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from brainwires_provider.providers.resolve import ProviderConfig, protocol_names
from brainwires_provider.types import Options, ProviderOptions

__all__ = ["Config", "NamedModel", "provider_options_kinds"]


class NamedModel(Struct, frozen=True):
    """A name for `model`, `"provider:model"`, with what is sent along unless the call says otherwise."""

    model: str
    options: Options | None = None


class Config(Struct, frozen=True):
    """`model` is the default: a `"provider:model"`, or one of `models`. `source` is the file that it came from."""

    model: str | None = None
    providers: tuple[ProviderConfig, ...] = ()
    models: Mapping[str, NamedModel] = field(default_factory=dict)
    options: Options | None = None
    source: str | None = None


def provider_options_kinds() -> dict[str, type[ProviderOptions]]:
    """The fields that only one protocol has, by its name in recordings. Loads every protocol."""
    protocol_names()
    own = f"{__name__.partition('.')[0]}.protocols."
    kinds = {
        kind.protocol: kind for kind in ProviderOptions.__subclasses__() if kind.__module__.startswith(own)
    }
    return dict(sorted(kinds.items()))
