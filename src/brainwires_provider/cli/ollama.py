"""`ollama`: what an Ollama server holds and runs, and how it comes and goes.

The names and options of the commands stand here; what they print for a person, and their progress, in
`ollama_views`. With --json every value is one object a line, with every key that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NoReturn

import typer

from brainwires_provider.cli import ollama_views as views
from brainwires_provider.cli.asking import Asking
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.terminal import complain, explain, print_line
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.protocols.ollama import Ollama
from brainwires_provider.providers import find_row
from brainwires_provider.resources.ollama import AsyncOllama, AsyncOllamaProgressStream

__all__ = ["add_ollama"]

Finish = Callable[[Callable[[], int]], NoReturn]
Name = Annotated[str, typer.Argument(metavar="MODEL", help="As Ollama names it: llama3.2:3b.")]
BaseURL = Annotated[
    str | None,
    typer.Option(
        "--base-url", metavar="URL", help="The server; default: OLLAMA_HOST, or this machine's own."
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The NAME of the environment variable that holds the server's key."),
]
Provider = Annotated[str, typer.Option(metavar="NAME", help="ollama, or ollama-cloud.")]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON object a line instead.")]


def add_ollama(app: typer.Typer, finish: Finish) -> None:
    """Add the commands; `finish` leaves with what one gives."""
    ollama = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Manage the models of an Ollama server.",
    )
    app.add_typer(ollama, name="ollama")
    for add in (_add_reading, _add_version, _add_progress, _add_names, _add_memory):
        add(ollama, finish)


class _Place:
    """Which server, and how its answers are printed."""

    def __init__(self, base_url: str | None, api_key_env: str | None, provider: str, as_json: bool) -> None:
        self._asking = Asking(f"{provider}:*", base_url=base_url, api_key_env=api_key_env)
        self._provider = provider
        self._as_json = as_json

    def run(self, work: Callable[[AsyncOllama, bool], Awaitable[None]]) -> int:
        """Do it, and give the exit status; a failure is told in one line."""

        async def main() -> None:
            if not isinstance(find_row(self._provider).protocol(), Ollama):
                raise ConfigError(
                    f"{self._provider} does not speak Ollama's API: --provider names one that does"
                )
            async with self._asking.client() as client:
                await work(client.ollama, self._as_json)

        try:
            asyncio.run(main())
        except ProviderError as error:
            if self._as_json:
                print_line(dump(failure_shape(error)))
            complain(explain(error))
            return 1
        return 0


# -- commands that only look ---------------------------------------------------------------------------------


def _look(place: _Place, ask: Callable[[AsyncOllama], Awaitable[Any]], view: Callable[[Any], None]) -> int:
    async def work(server: AsyncOllama, as_json: bool) -> None:
        value = await ask(server)
        if as_json:
            views.print_json(value)
        else:
            view(value)

    return place.run(work)


def _add_reading(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command("list")
    def list_models(
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """List the models that the server holds."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _look(place, lambda server: server.list(), views.print_models))

    @ollama.command()
    def ps(
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """List the models in memory."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _look(place, lambda server: server.ps(), views.print_running))

    @ollama.command()
    def show(
        model: Name,
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Show what a model is and can do."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _look(place, lambda server: server.show(model), views.print_info))


def _add_version(ollama: typer.Typer, finish: Finish) -> None:

    @ollama.command()
    def version(
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Print the server's version."""
        place = _Place(base_url, api_key_env, provider, as_json)

        finish(lambda: _look(place, _told_version, lambda told: views.print_text(told["version"])))


async def _told_version(server: AsyncOllama) -> dict[str, str]:
    return {"version": await server.version()}


# -- commands that take long ---------------------------------------------------------------------------------


def _follow(place: _Place, begin: Callable[[AsyncOllama], AsyncOllamaProgressStream]) -> int:
    async def work(server: AsyncOllama, as_json: bool) -> None:
        async with begin(server) as steps:
            with views.progress_view(as_json) as view:
                async for step in steps:
                    view.show(step)

    return place.run(work)


def _add_progress(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    def pull(
        model: Name,
        *,
        insecure: Annotated[bool, typer.Option("--insecure", help="From a library without TLS.")] = False,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Fetch a model from the library. Ctrl-C stops it; pulled again, it goes on."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _follow(place, lambda server: server.pull(model, insecure=insecure or None)))

    @ollama.command()
    def push(
        model: Name,
        *,
        insecure: Annotated[bool, typer.Option("--insecure", help="To a library without TLS.")] = False,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Upload a model, named NAMESPACE/MODEL, to the library."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _follow(place, lambda server: server.push(model, insecure=insecure or None)))


# -- commands that change something --------------------------------------------------------------------------


def _change(place: _Place, act: Callable[[AsyncOllama], Awaitable[Any]], words: Callable[[Any], str]) -> int:
    async def work(server: AsyncOllama, as_json: bool) -> None:
        value = await act(server)
        if as_json:
            views.print_json({"done": words(value)} if value is None else value)
        else:
            views.tell(words(value))

    return place.run(work)


def _add_names(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    def copy(
        source: Name,
        destination: Annotated[str, typer.Argument(metavar="NAME", help="Its second name.")],
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Give a model a second name."""
        place = _Place(base_url, api_key_env, provider, as_json)
        words = f"copied {source} to {destination}"
        finish(lambda: _change(place, lambda server: server.copy(source, destination), lambda _: words))

    @ollama.command()
    def delete(
        model: Name,
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Delete a model."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _change(place, lambda server: server.delete(model), lambda _: f"deleted {model}"))


def _add_memory(ollama: typer.Typer, finish: Finish) -> None:
    @ollama.command()
    def load(
        model: Name,
        *,
        keep_alive: Annotated[
            str | None,
            typer.Option(metavar="TIME", help="How long it stays when idle: 10m, or -1m for ever."),
        ] = None,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Load a model into memory."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(
            lambda: _change(
                place,
                lambda server: server.load(model, keep_alive=keep_alive),
                lambda told: f"loaded {model} in {told.load_duration or 0:.2f} s",
            )
        )

    @ollama.command()
    def unload(
        model: Name,
        *,
        base_url: BaseURL = None,
        api_key_env: KeyEnv = None,
        provider: Provider = "ollama",
        as_json: AsJSON = False,
    ) -> None:
        """Take a model out of memory."""
        place = _Place(base_url, api_key_env, provider, as_json)
        finish(lambda: _change(place, lambda server: server.unload(model), lambda _: f"unloaded {model}"))
