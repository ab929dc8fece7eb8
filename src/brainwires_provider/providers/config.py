"""A whole set-up as a value: providers, names for models, defaults. `config.load_config` reads it from a file."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.resolve import ProviderConfig, protocol_names
from brainwires_provider.types import Options, ProviderOptions

__all__ = ["Config", "NamedModel", "how_to_trust", "provider_options_kinds"]


class NamedModel(Struct, frozen=True):
    """A name for `model`, `"provider:model"`, with what is sent along unless the call says otherwise."""

    model: str
    options: Options | None = None


class Config(Struct, frozen=True):
    """`model` is the default: a `"provider:model"`, or one of `models`. `source` is the file that it came from.

    Not `trusted`: the file was merely found, so it says nothing about where things are sent, but for servers on this
    machine that get no key.
    """

    model: str | None = None
    providers: tuple[ProviderConfig, ...] = ()
    models: Mapping[str, NamedModel] = field(default_factory=dict)
    options: Options | None = None
    source: str | None = None
    trusted: bool = True

    def check_key(self, provider: str) -> None:
        """Raises ConfigError where a key given for `provider` would go to a base URL that an untrusted file says."""
        if not self.trusted and any(p.name == provider and p.base_url is not None for p in self.providers):
            raise ConfigError(
                f"the base URL of {provider} is from {self.source}, which was merely found, so no key is sent there; "
                f"{how_to_trust(str(self.source))}",
                provider=provider,
            )


def how_to_trust(file: str) -> str:
    """What to do where a file that was merely found is the user's own."""
    return (
        f"if this file is yours, record that with `brainwires trust {file}`, or name it: --config {file}, "
        f"load_config({file!r}) or BRAINWIRES_CONFIG={file}"
    )


def provider_options_kinds() -> dict[str, type[ProviderOptions]]:
    """The fields that only one protocol has, by its name in recordings. Loads every protocol."""
    protocol_names()
    own = f"{__name__.partition('.')[0]}.protocols."
    kinds = {
        kind.protocol: kind for kind in ProviderOptions.__subclasses__() if kind.__module__.startswith(own)
    }
    return dict(sorted(kinds.items()))
