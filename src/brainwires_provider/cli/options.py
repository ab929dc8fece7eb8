"""The options that several commands share, each defined once, and the client and the arguments that they result in.

A command takes a whole group of options as one parameter: `@expand_options` replaces that parameter by one option
for each field of the group.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.keys import EnvKey, FileKey, Key
from brainwires_provider.cli.inputs import attachments, fragments, is_url
from brainwires_provider.cli.terminal import utf8
from brainwires_provider.client import AsyncClient
from brainwires_provider.config import load_config
from brainwires_provider.errors import ConfigError
from brainwires_provider.providers import Config, Provider, ProviderConfig, find_row, split_model
from brainwires_provider.types import Hedge, Message, Options, OutputParams, Part, Retry
from brainwires_provider.types.options import merge_options

if TYPE_CHECKING:
    from brainwires_provider.cli.stored import Entry
    from brainwires_provider.cli.template import Template
    from brainwires_provider.types.typed import Typed

__all__ = ["ChatOptions", "ConfigPath", "Connection", "Question", "expand_options", "message_of"]

_SINGLE = ("model", "system", "temperature", "max_tokens", "attempts", "hedge")

ConfigPath = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Configuration file. Default: the brainwires.toml that is found."),
]


def _templates(start: str) -> list[str]:
    """The names of templates, for the shell's completion."""
    from brainwires_provider.cli.template import names

    with suppress(ConfigError):
        return [each for each in names() if each.startswith(start)]
    return []


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
        return AsyncClient(model, **self.client_args(model, config))

    def client_args(self, model: str, config: Config) -> dict[str, Any]:
        """What the client is made with. Raises ConfigError."""
        if self.allow_http:
            provider = _provider_name(model, config)
            config = _with_provider(config, replace(_provider(provider, config), allow_http=True))
        return {"api_key": self.key(), "base_url": self.base_url, "config": config}


class Wording(NamedTuple):
    """The text of a template, and the values of its variables."""

    text: str
    values: Mapping[str, str]

    @property
    def is_whole(self) -> bool:
        """Whether it is a prompt by itself."""
        from brainwires_provider.cli.template import INPUT, variables

        return INPUT not in variables((self.text,))

    def prompt(self, given: str) -> str:
        """The text with what was given in the place of `$input`, else after it."""
        from brainwires_provider.cli.template import INPUT, fill

        text = fill(self.text, {**self.values, INPUT: given})
        return "\n\n".join(each for each in (text, given if self.is_whole else "") if each.strip())


class Question(NamedTuple):
    """A client, the name of its model, the arguments of a request, and what is sent with the first prompt."""

    client: AsyncClient
    model: str
    args: OutputParams
    fragments: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    again: Callable[[str], Question] | None = None
    secrets: Callable[[], tuple[str, ...]] = tuple
    """The keys that the options and the configuration refer to."""
    base_url: str | None = None
    """The address that was given. None: the provider's own."""
    tools: tuple[tuple[str, str], ...] = ()
    """The functions that the model may call: each a folder, and MODULE:FUNCTION in it."""
    wording: Wording | None = None
    """The text of a template."""
    config: Config = Config()
    client_args: Mapping[str, Any] = {}
    """The arguments that the client was made with, for others elsewhere."""

    @property
    def is_whole(self) -> bool:
        """Whether there is something to ask without a prompt."""
        return bool(self.fragments) or (self.wording is not None and self.wording.is_whole)

    def with_model(self, model: str) -> Question:
        """The same with another model, and its client. Raises ConfigError."""
        assert self.again is not None
        other = self.again(model)
        return self._replace(client=other.client, model=model, base_url=other.base_url)

    def message(self, prompt: str) -> Message:
        """The prompt after the fragments, and all of it after the images and files, as most services advise."""
        if self.wording is not None:
            prompt = self.wording.prompt(prompt)
        return message_of(prompt, self.fragments, self.parts)


def message_of(prompt: str, fragments: Sequence[str], parts: Sequence[Part]) -> Message:
    """The prompt after the fragments, and all of it after the parts."""
    return Message.user(*parts, "\n\n".join(each for each in (*fragments, prompt) if each.strip()))


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
    attempts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Attempts at a request whose failure may pass; 1: no retry. Default: that of brainwires.toml, else "
            "3, and 1 for local models.",
        ),
    ] = None

    hedge: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="Send the request a second time where nothing of its answer has come for so long; the first answer "
            "is taken. Default: that of brainwires.toml, else never.",
        ),
    ] = None
    schema: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|JSON",
            help="A JSON Schema that the answer must match: it is checked, and the command fails where it does not.",
        ),
    ] = None

    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "-o",
            metavar="NAME=VALUE",
            help="Any other option, as JSON or text: top_p=0.5, reasoning.effort=low, or one of the model's protocol; "
            "may be repeated.",
        ),
    ] = None
    attach: Annotated[
        list[str] | None,
        typer.Option(
            "--attach",
            "-a",
            metavar="FILE|URL",
            help="An image, a document, audio or video to send with the prompt; may be repeated. A URL is fetched by "
            "the provider.",
        ),
    ] = None
    fragment: Annotated[
        list[str] | None,
        typer.Option(
            "--fragment", "-f", metavar="FILE", help="A text file to send before the prompt; may be repeated."
        ),
    ] = None
    tool: Annotated[
        list[str] | None,
        typer.Option(
            "--tool",
            "-T",
            metavar="MODULE:FUNCTION",
            help="A Python function that the model may call, with type hints and a docstring; may be repeated. "
            "`chat` asks about each call.",
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            "-t",
            metavar="NAME",
            help="Use the options and the text of a template; other options given here replace its own.",
            autocompletion=_templates,
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="A variable of the template; may be repeated."
        ),
    ] = None

    def __post_init__(self) -> None:
        self._temperature()
        self._schema()

    def _schema(self) -> Typed[Any] | None:
        """Raises BadParameter."""
        if self.schema is None:
            return None
        from brainwires_provider.types.typed import typed_schema

        try:
            return typed_schema("answer", msgspec.json.decode(self._schema_text() or "", type=dict[str, Any]))
        except OSError as error:
            raise typer.BadParameter(f"--schema takes JSON or a file: {error}") from None
        except ValueError as error:
            raise typer.BadParameter(f"--schema takes a JSON object: {error}") from None

    def _schema_text(self) -> str | None:
        """Raises OSError and UnicodeError."""
        is_file = self.schema is not None and not self.schema.lstrip().startswith("{")
        return Path(self.schema or "").read_text(encoding="utf-8") if is_file else self.schema

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

    def ask(self, connection: Connection, entry: Entry | None = None) -> Question:
        """The question, with its template, that goes on from a conversation if there is one. Raises ConfigError."""
        from brainwires_provider.cli.template import fill, load, read_values

        own = tuple((os.getcwd(), each) for each in self.tool or ())
        if self.template is None:
            if self.param:
                raise ConfigError("--param is for the variables of a template: -t NAME")
            return self._asked(connection, entry)._replace(tools=own)
        template = load(self.template)
        values = read_values(self.template, template, self.param or ())
        given = self._over(template)
        if self.system is None and template.system is not None:
            given = replace(given, system=fill(template.system, values))
        tools = tuple((template.folder or "", each) for each in template.tool)
        wording = None if template.prompt is None else Wording(template.prompt, values)
        return given._asked(connection, entry)._replace(tools=tools + own, wording=wording)

    def _asked(self, connection: Connection, entry: Entry | None) -> Question:
        return self.question(connection) if entry is None else self.continued(entry, connection)

    def _over(self, template: Template) -> ChatOptions:
        """The same with what only the template sets, and after the template's options, texts and attachments."""
        mine = {name: getattr(self, name) for name in self.__struct_fields__}
        several = ("option", "fragment", "attach")
        merged: dict[str, Any] = {
            name: getattr(template, name) if mine[name] is None else mine[name]
            for name in (*_SINGLE, "schema")
        }
        merged |= {name: [*getattr(template, name), *(mine[name] or ())] or None for name in several}
        return replace(self, **merged)

    def as_template(self, prompt: str | None, connection: Connection) -> Template:
        """What `--save` writes: these options over those of the template, if one is named. Raises ConfigError.

        Paths are stored as absolute ones, and a schema as its content, so that the template can be used in any folder.
        """
        from brainwires_provider.cli.template import Template, load, read_params

        base = Template() if self.template is None else load(self.template)
        given = self._over(base)
        config = connection.load()
        given._given(
            given.model or config.model or "local:", config
        )  # reports wrong options, and keys among them
        folder = os.getcwd() if self.tool else base.folder
        if base.folder not in (None, folder):
            raise ConfigError(
                f"the tools of {self.template} are in {base.folder}; save it there, or without -T"
            )
        return Template(
            prompt=prompt or base.prompt,
            folder=folder,
            schema=given._schema_text(),
            tool=[*base.tool, *(self.tool or ())],
            option=given.option or [],
            fragment=[_whole_path(each) for each in given.fragment or ()],
            attach=[each if is_url(each) else _whole_path(each) for each in given.attach or ()],
            defaults=base.defaults | read_params(self.param or ()),
            **{name: getattr(given, name) for name in _SINGLE},
        )

    def continued(self, entry: Entry, connection: Connection) -> Question:
        """The question that goes on from a conversation: its model, address and system prompt unless others are set.

        Raises ConfigError.
        """
        system = entry.system if self.system is None else self.system
        model = self.model or entry.model
        config = connection.load()
        same = _provider_name(model, config) == _provider_name(entry.model, config)
        if same and entry.base_url is not None and connection.base_url is None:
            connection = replace(connection, base_url=entry.base_url)
        return replace(self, model=model, system=system).question(connection)

    def question(self, connection: Connection) -> Question:
        """Raises ConfigError: an unknown provider, no key by the name given, a faulty file."""
        config = connection.load()
        model = self.model or config.model or "local:"
        made_with = connection.client_args(model, self._with_defaults(model, config))
        client = AsyncClient(model, **made_with)
        sent_with = fragments(self.fragment or ()), attachments(self.attach or ())
        args = self._args(self._given(model, config))

        def again(other: str) -> Question:
            """For another provider, the connection is that provider's own."""
            same = _provider_name(other, config) == _provider_name(model, config)
            where = connection if same else Connection(connection.config)
            return replace(self, model=other, option=None, fragment=None, attach=None).question(where)

        def secrets() -> tuple[str, ...]:
            return _secrets(connection.key(), config)

        where = connection.base_url
        more: dict[str, Any] = {"config": config, "client_args": made_with}
        return Question(client, model, args, *sent_with, again, secrets, where, **more)

    def _given(self, model: str, config: Config) -> Options | None:
        if not self.option:
            return None
        from brainwires_provider.cli.given import read_given

        return read_given(self.option, _row(model, config).protocol().name)

    def _with_defaults(self, model: str, config: Config) -> Config:
        """`config` with the temperature that holds where none is set, or without any."""
        if self.temperature is not None:
            return config if self._temperature() is not None else _without_temperature(config)
        if _row(model, config).transport != "local":
            return config
        return replace(config, options=merge_options(Options(temperature=0.0), config.options))

    def _args(self, given: Options | None) -> OutputParams:
        args: OutputParams = {} if given is None else {"options": given}
        if self.system is not None:
            args["system"] = utf8(self.system, "--system")
        temperature = self._temperature()
        if temperature is not None:
            args["temperature"] = temperature
        if self.max_tokens is not None:
            args["max_tokens"] = self.max_tokens
        if self.attempts is not None:
            args["retry"] = Retry(self.attempts)
        if self.hedge is not None:
            args["hedge"] = Hedge(self.hedge, share=1)
        schema = self._schema()
        if schema is not None:
            args["output"] = schema
        return args


def _whole_path(name: str) -> str:
    return str(Path(name).expanduser().absolute())


def _provider_name(model: str, config: Config) -> str:
    return split_model(_full_name(model, config))[0]


def _row(model: str, config: Config) -> Provider:
    provider = _provider_name(model, config)
    return find_row(_provider(provider, config).based_on or provider)


def _full_name(model: str, config: Config) -> str:
    """`"provider:model"` of a name from the configuration file."""
    named = config.models.get(model)
    return model if named is None else named.model


def _secrets(key: Key | None, config: Config) -> tuple[str, ...]:
    """The keys that can be had without a network. A keyring is not asked, since it may ask the user in turn."""
    found = []
    for each in (key, *(provider.api_key for provider in config.providers)):
        with suppress(ConfigError):
            found.append(each() if isinstance(each, (EnvKey, FileKey)) else each)
    return tuple(each for each in found if isinstance(each, str))


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
