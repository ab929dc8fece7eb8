"""`ollama`: manage the models of an Ollama server.

This module has the names and options of the commands, `ollama_views` what they print. With --json every value is one
object per line, with all its keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from msgspec import Struct

from brainwires_provider.cli import ollama_views as views
from brainwires_provider.cli.options import Connection, expand_options
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.terminal import complain, explain, print_line
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.protocols.ollama import Ollama
from brainwires_provider.providers import find_row
from brainwires_provider.resources.ollama import AsyncOllama, AsyncOllamaProgressStream

__all__ = ["add_ollama"]

Finish = Callable[[Callable[[], int]], NoReturn]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="As Ollama names it: llama3.2:3b.")]


def add_ollama(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that a command returns."""
    ollama = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Manage the models of an Ollama server.\n\n\b\n"
        "brainwires ollama pull llama3.2:3b\nbrainwires ollama list",
    )
    app.add_typer(ollama, name="ollama")
    for add in (_add_reading, _add_version, _add_progress, _add_names, _add_memory):
        add(ollama, finish)


class _Place(Struct, frozen=True):
    """Options of all these commands: which server, and how its responses are printed."""

    provider: Annotated[
        str, typer.Option(metavar="NAME", help="ollama, ollama-cloud, or one that is based on them.")
    ] = "ollama"
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False


class _Server(NamedTuple):
    connection: Connection
    place: _Place

    def run(self, work: Callable[[AsyncOllama, bool], Awaitable[None]]) -> int:
        """Do it, and return the exit status. A failure is reported in one line."""
        provider, as_json = self.place.provider, self.place.as_json

        async def main() -> None:
            config = self.connection.load()
            known = {each.name: each.based_on for each in config.providers}
            if not isinstance(find_row(known.get(provider) or provider).protocol(), Ollama):
                raise ConfigError(f"{provider} does not have Ollama's API; name another by --provider")
            async with self.connection.client(f"{provider}:*", config) as client:
                await work(client.ollama, as_json)

        try:
            asyncio.run(main())
        except ProviderError as error:
            if as_json:
                print_line(dump(failure_shape(error)))
            complain(explain(error))
            return 1
        return 0


# -- commands that only read ---------------------------------------------------------------------------------


def _look(server: _Server, ask: Callable[[AsyncOllama], Awaitable[Any]], view: Callable[[Any], None]) -> int:
    async def work(api: AsyncOllama, as_json: bool) -> None:
        value = await ask(api)
        if as_json:
            views.print_json(value)
        else:
            view(value)

    return server.run(work)


def _add_reading(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command("list")
    @expand_options
    def list_models(
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """List the models of the server.

        \b
        brainwires ollama list --json
        """
        server = _Server(connection, place)
        finish(lambda: _look(server, lambda api: api.list(), views.print_models))

    @ollama.command()
    @expand_options
    def ps(
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """List the models in memory.

        \b
        brainwires ollama ps
        """
        server = _Server(connection, place)
        finish(lambda: _look(server, lambda api: api.ps(), views.print_running))

    @ollama.command()
    @expand_options
    def show(
        model: Name,
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Show the metadata and capabilities of a model.

        \b
        brainwires ollama show llama3.2:3b
        """
        server = _Server(connection, place)
        finish(lambda: _look(server, lambda api: api.show(model), views.print_info))


def _add_version(ollama: typer.Typer, finish: Finish) -> None:

    @ollama.command()
    @expand_options
    def version(
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Print the server's version.

        \b
        brainwires ollama version --base-url http://127.0.0.1:11434
        """
        server = _Server(connection, place)
        finish(lambda: _look(server, _version, lambda found: views.print_text(found["version"])))


async def _version(api: AsyncOllama) -> dict[str, str]:
    return {"version": await api.version()}


# -- commands that take long ---------------------------------------------------------------------------------


def _follow(server: _Server, begin: Callable[[AsyncOllama], AsyncOllamaProgressStream]) -> int:
    async def work(api: AsyncOllama, as_json: bool) -> None:
        async with begin(api) as steps:
            with views.progress_view(as_json) as view:
                async for step in steps:
                    view.show(step)

    return server.run(work)


def _add_progress(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    @expand_options
    def pull(
        model: Name,
        *,
        insecure: Annotated[bool, typer.Option("--insecure", help="From a library without TLS.")] = False,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Download a model from the library. Ctrl-C stops it; the next pull resumes it.

        \b
        brainwires ollama pull llama3.2:3b
        """
        server = _Server(connection, place)
        finish(lambda: _follow(server, lambda api: api.pull(model, insecure=insecure or None)))

    @ollama.command()
    @expand_options
    def push(
        model: Name,
        *,
        insecure: Annotated[bool, typer.Option("--insecure", help="To a library without TLS.")] = False,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Upload a model, named NAMESPACE/MODEL, to the library.

        \b
        brainwires ollama push ada/poet
        """
        server = _Server(connection, place)
        finish(lambda: _follow(server, lambda api: api.push(model, insecure=insecure or None)))


# -- commands that change something --------------------------------------------------------------------------


def _change(
    server: _Server, act: Callable[[AsyncOllama], Awaitable[Any]], words: Callable[[Any], str]
) -> int:
    async def work(api: AsyncOllama, as_json: bool) -> None:
        value = await act(api)
        if as_json:
            views.print_json({"done": words(value)} if value is None else value)
        else:
            views.tell(words(value))

    return server.run(work)


def _add_names(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    @expand_options
    def copy(
        source: Name,
        destination: Annotated[str, typer.Argument(metavar="NAME", help="Its second name.")],
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Give a model a second name.

        \b
        brainwires ollama copy llama3.2:3b small
        """
        server = _Server(connection, place)
        words = f"copied {source} to {destination}"
        finish(lambda: _change(server, lambda api: api.copy(source, destination), lambda _: words))

    @ollama.command()
    @expand_options
    def delete(
        model: Name,
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Delete a model.

        \b
        brainwires ollama delete small
        """
        server = _Server(connection, place)
        finish(lambda: _change(server, lambda api: api.delete(model), lambda _: f"deleted {model}"))


def _add_memory(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    @expand_options
    def load(
        model: Name,
        *,
        keep_alive: Annotated[
            str | None,
            typer.Option(metavar="TIME", help="How long it stays loaded when idle: 10m; -1m: for ever."),
        ] = None,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Load a model into memory.

        \b
        brainwires ollama load llama3.2:3b --keep-alive 10m
        """
        server = _Server(connection, place)
        finish(
            lambda: _change(
                server,
                lambda api: api.load(model, keep_alive=keep_alive),
                lambda loaded: f"loaded {model} in {loaded.load_duration or 0:.2f} s",
            )
        )

    @ollama.command()
    @expand_options
    def unload(
        model: Name,
        *,
        connection: Connection,
        place: _Place,
    ) -> None:
        """Unload a model from memory.

        \b
        brainwires ollama unload llama3.2:3b
        """
        server = _Server(connection, place)
        finish(lambda: _change(server, lambda api: api.unload(model), lambda _: f"unloaded {model}"))
