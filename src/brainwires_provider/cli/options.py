"""The options that several commands share, each defined once, and the client and the arguments that they result in.

A command takes a whole group of options as one parameter: `@expand_options` replaces that parameter by one option
for each field of the group.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.keys import EnvKey
from brainwires_provider.cli.terminal import utf8
from brainwires_provider.client import AsyncClient
from brainwires_provider.config import load_config
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import Config, ProviderConfig, find_row, split_model
from brainwires_provider.types import ChatParams, Options
from brainwires_provider.types.options import merge_options

__all__ = ["ChatOptions", "ConfigPath", "Connection", "Question", "expand_options"]

ConfigPath = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Configuration file. Default: the brainwires.toml that is found."),
]


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with one parameter for each field of its parameters that are structs of options."""
    kinds = get_type_hints(command, include_extras=True)
    groups = {
        name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Struct)
    }

    def expanded(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{field: given.pop(field) for field in kind.__struct_fields__})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters(groups[name])
        else:
            parameters.append(parameter.replace(annotation=kinds[name], kind=inspect.Parameter.KEYWORD_ONLY))
    expanded.__name__, expanded.__doc__ = command.__name__, command.__doc__
    expanded.__annotations__ = {each.name: each.annotation for each in parameters}
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return expanded


def _parameters(group: type[Struct]) -> list[inspect.Parameter]:
    kinds = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(field, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kinds[field])
        for field, default in zip(group.__struct_fields__, group.__struct_defaults__, strict=True)
    ]


class Connection(Struct, frozen=True):
    """Where requests are sent, and with which key. A key is never typed: `api_key_env` names a variable."""

    config: ConfigPath = None
    base_url: Annotated[
        str | None,
        typer.Option("--base-url", metavar="URL", help="Base URL of the server. Default: the provider's."),
    ] = None
    allow_http: Annotated[bool, typer.Option("--allow-http", help="Allow plain http to another machine.")] = (
        False
    )
    api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="NAME of the environment variable that holds the key. Default: the provider's.",
        ),
    ] = None

    def load(self) -> Config:
        """The configuration. Raises ConfigError."""
        return load_config(self.config)

    def key(self) -> EnvKey | None:
        """The key. Raises ConfigError if the variable is not set."""
        if self.api_key_env is None:
            return None
        if not os.environ.get(self.api_key_env, "").strip():
            # The value is not repeated: it may be the key itself, given in the wrong place.
            raise ConfigError(
                "--api-key-env takes the name of an environment variable that holds the key; "
                "there is none by the name given, or it is empty"
            )
        return EnvKey(self.api_key_env)

    def client(self, model: str, config: Config) -> AsyncClient:
        """A client for `model`. Raises ConfigError."""
        if self.allow_http:
            provider = split_model(_full_name(model, config))[0]
            config = _with_provider(config, replace(_provider(provider, config), allow_http=True))
        return AsyncClient(model, api_key=self.key(), base_url=self.base_url, config=config)


class Question(NamedTuple):
    """A client, the name of its model, and the arguments of a request."""

    client: AsyncClient
    model: str
    args: ChatParams


class ChatOptions(Struct, frozen=True):
    """The options of a request. Those that are not set are left to the configuration file."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="PROVIDER:MODEL",
            help="For example openai-chat:gpt-6, local:/models/x.gguf, or a name from brainwires.toml. Default: the "
            "model of brainwires.toml, else local:, the installed SmolLM2.",
        ),
    ] = None
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None
    temperature: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Sampling temperature; none sends none. Default: that of brainwires.toml, else 0 for local models "
            "and the provider's own for others.",
        ),
    ] = None
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Maximum output tokens.")] = None

    def __post_init__(self) -> None:
        self._temperature()

    def _temperature(self) -> float | None:
        """Raises BadParameter."""
        if self.temperature is None or self.temperature.lower() == "none":
            return None
        try:
            number = float(self.temperature)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise typer.BadParameter("--temperature takes a number, or none to send no temperature")
        return number

    def question(self, connection: Connection) -> Question:
        """Raises ConfigError: an unknown provider, no key by the name given, a faulty configuration file."""
        config = connection.load()
        model = self.model or config.model or "local:"
        client = connection.client(model, self._with_defaults(model, config))
        return Question(client, model, self._args())

    def _with_defaults(self, model: str, config: Config) -> Config:
        """`config` with the temperature that holds where none is set, or without any."""
        if self.temperature is not None:
            return config if self._temperature() is not None else _without_temperature(config)
        provider = split_model(_full_name(model, config))[0]
        if find_row(_provider(provider, config).based_on or provider).transport != "local":
            return config
        return replace(config, options=merge_options(Options(temperature=0.0), config.options))

    def _args(self) -> ChatParams:
        args: ChatParams = {}
        if self.system is not None:
            args["system"] = utf8(self.system, "--system")
        temperature = self._temperature()
        if temperature is not None:
            args["temperature"] = temperature
        if self.max_tokens is not None:
            args["max_tokens"] = self.max_tokens
        return args


def _full_name(model: str, config: Config) -> str:
    """`"provider:model"` of a name from the configuration file."""
    named = config.models.get(model)
    return model if named is None else named.model


def _provider(name: str, config: Config) -> ProviderConfig:
    return next((each for each in config.providers if each.name == name), ProviderConfig(name))


def _with_provider(config: Config, provider: ProviderConfig) -> Config:
    others = (each for each in config.providers if each.name != provider.name)
    return replace(config, providers=(*others, provider))


def _without_temperature(config: Config) -> Config:
    def bare(options: Options | None) -> Options | None:
        return None if options is None else replace(options, temperature=None)

    return replace(
        config,
        options=bare(config.options),
        providers=tuple(replace(each, options=bare(each.options)) for each in config.providers),
        models={name: replace(each, options=bare(each.options)) for name, each in config.models.items()},
    )
