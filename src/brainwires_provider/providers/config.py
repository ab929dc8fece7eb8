"""The configuration of a client as a value: providers, names for models, defaults.

`config.load_config` reads it from a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from brainwires_provider.errors import ConfigError
from brainwires_provider.providers.resolve import ProviderConfig, protocol_names
from brainwires_provider.types import NO_POLICIES, Options, Policies, ProviderOptions, Telemetry
from brainwires_provider.types.checked import Setting

__all__ = ["Config", "NamedModel", "how_to_trust", "provider_options_kinds"]


class NamedModel(Setting, frozen=True):
    """A model under a name of the user's own, with default options for its requests."""

    model: str
    """`"provider:model"`."""
    options: Options | None = None
    """Options that a call's own override."""


class Config(Setting, frozen=True):
    """The configuration of a client: `Client(config=load_config())`."""

    model: str | None = None
    """The default model: `"provider:model"`, or a name of `models`."""
    providers: tuple[ProviderConfig, ...] = ()
    """Settings of providers, and providers of the user's own."""
    models: Mapping[str, NamedModel] = field(default_factory=dict)
    """Models by names of the user's own."""
    options: Options | None = None
    """Options for all requests; `extra_headers`, `extra_body` and `extra_query` for the provider of the client's model
    alone, where it has one."""
    policies: Policies = NO_POLICIES
    """Retries, limits and the budget of a client, unless it sets its own."""
    prices: bool = False
    """Whether responses have a cost."""
    telemetry: Telemetry | None = None
    """Spans and metrics of OpenTelemetry. None: none."""
    logs: bool | None = None
    """Whether the command keeps conversations. None: the file does not decide. The library keeps none."""
    source: str | None = None
    """The file that it was read from. None: it was made in code, or there was no file."""
    trusted: bool = True
    """False for a file in the current folder that the user has not trusted. Such a file cannot decide where requests
    are sent, except to servers on this machine that receive no key."""

    def check_key(self, provider: str) -> None:
        """Raises ConfigError if a key given for `provider` would be sent to a base URL from an untrusted file."""
        if not self.trusted and any(p.name == provider and p.base_url is not None for p in self.providers):
            raise ConfigError(
                f"the base URL of {provider} is from {self.source}, which was merely found, so no key is sent there; "
                f"{how_to_trust(str(self.source))}",
                provider=provider,
            )


def how_to_trust(file: str) -> str:
    """Advice for a user whose own configuration file is not trusted."""
    return (
        f"if this file is yours, run `brainwires trust {file}`, or name the file: --config {file}, "
        f"load_config({file!r}) or BRAINWIRES_CONFIG={file}"
    )


def provider_options_kinds() -> dict[str, type[ProviderOptions]]:
    """The classes of options that only one protocol has, by the protocol's name. Loads every protocol."""
    protocol_names()
    own = f"{__name__.partition('.')[0]}.protocols."
    kinds = {
        kind.protocol: kind for kind in ProviderOptions.__subclasses__() if kind.__module__.startswith(own)
    }
    return dict(sorted(kinds.items()))
