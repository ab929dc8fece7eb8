"""The command `local`: manage, download and measure the models on this machine.

This module declares the commands and their options. `local_models` and `local_bench` do the work, and `local_views`
prints results for a person. With --json every value is one JSON object per line, with all its members.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from brainwires_provider.cli import local_models as models
from brainwires_provider.cli import local_views as views
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.tables import size_words
from brainwires_provider.cli.terminal import complain, explain, print_line
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.local.settings import CacheType, Pooling
from brainwires_provider.local.weights.registry import LocalRegistry

__all__ = ["add_local"]

Finish = Callable[[Callable[[], int]], NoReturn]
AsJSON = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
Registered = Annotated[str, typer.Argument(metavar="NAME", help="Name of a registered model.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the model that has this name.")]
Default = Annotated[bool, typer.Option("--default", help="Make this the model of `local:`.")]
Template = Annotated[
    str | None, typer.Option(metavar="FILE", help="Jinja chat template that replaces the file's.")
]
IdleTimeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Unload after this time without a request.")
]
LoadTimeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Time limit for loading.")]
MemoryMap = Annotated[
    bool | None, typer.Option("--mmap/--no-mmap", help="Map the file into memory, or read it.")
]
MemoryLock = Annotated[
    bool | None, typer.Option("--mlock/--no-mlock", help="Keep the weights from being swapped.")
]
CacheKind = Annotated[CacheType | None, typer.Option(help="Type of cached keys or values. Default: f16.")]


def add_local(app: typer.Typer, finish: Finish) -> None:
    """Add the commands. `finish` exits with the status that a command returns."""
    local = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        no_args_is_help=True,
        help="Manage, download and measure the models on this machine.\n\n\b\n"
        "brainwires local list\nbrainwires local add qwen ~/models/qwen3-4b.gguf",
    )
    app.add_typer(local, name="local")
    for add in (_add_list, _add_add, _add_pulling, _add_remove, _add_default, _add_bench):
        add(local, finish)


def _run(work: Callable[[], None], as_json: bool) -> int:
    """Run `work`, and return the exit status. A failure is reported in one line."""
    try:
        work()
    except ProviderError as error:
        if as_json:
            print_line(dump(failure_shape(error)))
        complain(explain(error))
        return 1
    return 0


# -- list and show ---------------------------------------------------------------------------------


def _add_list(local: typer.Typer, finish: Finish) -> None:
    @local.command("list")
    def list_models(
        *,
        known: Annotated[
            bool, typer.Option("--known", help="Include models that can be downloaded by a short name.")
        ] = False,
        as_json: AsJSON = False,
    ) -> None:
        """List the models: registered, installed, and in Ollama's store. An asterisk marks the default.

        \b
        brainwires local list --known
        brainwires chat -m local:NAME "Hello"
        """
        finish(lambda: _run(lambda: _list(known, as_json), as_json))

    @local.command()
    def show(
        model: Annotated[
            str,
            typer.Argument(metavar="NAME|PATH", help="Default: the model of `local:`.", show_default=False),
        ] = "",
        *,
        template: Annotated[bool, typer.Option("--template", help="Print only its chat template.")] = False,
        as_json: AsJSON = False,
    ) -> None:
        """Show the metadata of a model, its settings, and an estimate of its memory.

        \b
        brainwires local show smollm2
        brainwires local show ./model.gguf --template
        """
        finish(lambda: _run(lambda: _show(model, template, as_json), as_json))


def _list(known: bool, as_json: bool) -> None:
    registry = LocalRegistry()
    found = models.find_models(registry)
    pullable = models.pullable_models(registry) if known else ()
    if as_json:
        views.print_json((*found, *pullable))
        return
    views.print_found(found)
    if known:
        views.print_text("")
        views.print_pullable(pullable)


def _show(model: str, template: bool, as_json: bool) -> None:
    shown = models.show_model(LocalRegistry(), model.removeprefix("local:"))
    if not template:
        (views.print_json if as_json else views.print_shown)(shown)
        return
    own = shown.settings.chat_template or shown.metadata.chat_template
    if own is None:
        raise ConfigError(
            f"{shown.path!r} has no chat template; register the model with --template FILE to set one"
        )
    if as_json:
        views.print_json({"template": own, "named": shown.metadata.named_templates})
    else:
        views.print_lines(own)


# -- add and pull -----------------------------------------------------------------------------


def _add_add(local: typer.Typer, finish: Finish) -> None:
    @local.command()
    def add(
        name: Annotated[str, typer.Argument(metavar="NAME", help="If left out, derived from the file.")],
        place: Annotated[
            str | None,
            typer.Argument(metavar="PLACE", help="A GGUF file, a folder of them, ollama:NAME, or smollm2."),
        ] = None,
        *,
        context: Annotated[int | None, typer.Option(help="Context in tokens, shared by the slots.")] = None,
        slots: Annotated[int | None, typer.Option(help="Number of concurrent requests.")] = None,
        threads: Annotated[int | None, typer.Option(help="Default: one per physical core.")] = None,
        batch: Annotated[int | None, typer.Option(help="Prompt tokens computed in one step.")] = None,
        gpu_layers: Annotated[
            int | None, typer.Option(help="Layers on a GPU. Default: all that fit.")
        ] = None,
        cache_type_k: CacheKind = None,
        cache_type_v: CacheKind = None,
        template: Template = None,
        pooling: Annotated[Pooling | None, typer.Option(help="Use the model for embeddings only.")] = None,
        idle_timeout: IdleTimeout = None,
        load_timeout: LoadTimeout = None,
        mmap: MemoryMap = None,
        mlock: MemoryLock = None,
        default: Default = False,
        replace: Replace = False,
        as_json: AsJSON = False,
    ) -> None:
        """Register a model and its settings under a name. Its file stays where it is. A folder is scanned for models.

        \b
        brainwires local add coder ./coder-Q4_K_M.gguf --context 16384 --default
        brainwires local add llama ollama:llama3.2:3b --idle-timeout 300
        brainwires local add ~/models
        """
        given = {
            "context": context,
            "slots": slots,
            "threads": threads,
            "batch": batch,
            "gpu_layers": gpu_layers,
            "cache_type_k": cache_type_k,
            "cache_type_v": cache_type_v,
            "chat_template": template,
            "pooling": pooling,
            "idle_timeout": idle_timeout,
            "load_timeout": load_timeout,
            "mmap": mmap,
            "mlock": mlock,
        }
        named = (None, name) if place is None else (name, place)
        own = {key: value for key, value in given.items() if value is not None}
        finish(
            lambda: _run(lambda: _add(named, own, default=default, replace=replace, as_json=as_json), as_json)
        )


def _add(
    named: tuple[str | None, str], given: dict[str, Any], *, default: bool, replace: bool, as_json: bool
) -> None:
    name, place = named
    registry = LocalRegistry()
    if os.path.isdir(os.path.expanduser(place)):
        if name is not None or given or default or replace:
            raise ConfigError(
                f"{place!r} is a folder: its models are named after their files and have no options here; "
                "give only the folder, or a file"
            )
        _scan(registry, place, as_json)
        return
    if "chat_template" in given:
        given["chat_template"] = models.read_template(given["chat_template"])
    entry, metadata = models.add_model(registry, name, place, given, default=default, replacing=replace)
    if as_json:
        views.print_json(entry)
        return
    views.tell(f"added local:{entry.name}{' as the default' if default else ''}")
    if metadata.is_embedding_model and entry.model.pooling is None:
        views.tell(f"this is an embedding model: add --pooling {metadata.pooling} to use it for embeddings")


def _scan(registry: LocalRegistry, folder: str, as_json: bool) -> None:
    added, skipped = models.scan(registry, folder)
    if as_json:
        views.print_json(added)
    for path, reason in skipped:
        views.tell(f"skipped {path}: {reason}")
    if not as_json:
        for entry in added:
            views.tell(f"added local:{entry.name}")
    if not added:
        views.tell(f"found no new model in {folder}")


def _add_pulling(local: typer.Typer, finish: Finish) -> None:
    @local.command()
    def pull(
        model: Annotated[
            str,
            typer.Argument(metavar="MODEL", help="A known name, or hf:OWNER/REPO[@REVISION]/FILE.gguf."),
        ],
        *,
        name: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the model here.")] = None,
        folder: Annotated[
            str | None, typer.Option(metavar="FOLDER", help="Default: the hub's cache.")
        ] = None,
        sha256: Annotated[
            str | None, typer.Option("--sha256", metavar="HEX", help="SHA-256 that the file must have.")
        ] = None,
        force: Annotated[
            bool, typer.Option("--force", help="Download it even if it is already here.")
        ] = False,
        default: Default = False,
        replace: Replace = False,
        as_json: AsJSON = False,
    ) -> None:
        """Download a model from the Hugging Face hub, check its SHA-256, and register it. Resumes if interrupted.

        \b
        brainwires local list --known
        brainwires local pull qwen3-0.6b --default
        brainwires local pull hf:ggml-org/gemma-3-270m-GGUF/gemma-3-270m-Q8_0.gguf
        """
        options = {"name": name, "folder": folder, "sha256": sha256, "force": force, "replace": replace}
        finish(lambda: _run(lambda: _pull(model, options, default=default, as_json=as_json), as_json))


def _pull(model: str, options: dict[str, Any], *, default: bool, as_json: bool) -> None:
    from brainwires_provider.local.weights.hub import pull

    registry = LocalRegistry()
    with views.pull_view(as_json) as view:
        pulled = pull(model, registry=registry, on_progress=view.show, **options)
    if default:
        registry.set_default(pulled.name)
    if as_json:
        views.print_json(pulled)
    else:
        views.tell(f"downloaded and checked local:{pulled.name}: {pulled.path} ({size_words(pulled.size)})")


# -- remove and default -----------------------------------------------------------------------


def _add_remove(local: typer.Typer, finish: Finish) -> None:
    @local.command()
    def remove(
        name: Registered,
        *,
        file: Annotated[bool, typer.Option("--file", help="Also delete its file, if it was pulled.")] = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        as_json: AsJSON = False,
    ) -> None:
        """Remove a model from the registry. Its file stays; --file deletes one that was pulled into the hub's cache.

        \b
        brainwires local remove coder
        brainwires local remove qwen3-0.6b --file
        """
        finish(lambda: _run(lambda: _remove(name, file=file, yes=yes, as_json=as_json), as_json))


def _remove(name: str, *, file: bool, yes: bool, as_json: bool) -> None:
    registry = LocalRegistry()
    files = models.removable_files(registry, name) if file else ()
    if files and not yes:
        _ask(f"Remove {name!r} and delete {files[0]}?")
    freed = models.forget(registry, name, files)
    if as_json:
        views.print_json({"removed": name, "deleted": list(files), "freed": freed})
    else:
        views.tell(f"removed {name}" + (f" and deleted {size_words(freed)}" if files else ""))


def _ask(question: str) -> None:
    """Raise ConfigError unless the user answers yes."""
    answer = views.ask(question)
    if answer is None:
        raise ConfigError("there is no terminal to confirm this; --yes deletes the file without asking")
    if answer.lower() not in ("y", "yes"):
        raise ConfigError("nothing was changed")


def _add_default(local: typer.Typer, finish: Finish) -> None:
    @local.command()
    def default(
        name: Annotated[
            str | None, typer.Argument(metavar="NAME", help="Name of the new default.", show_default=False)
        ] = None,
        *,
        unset: Annotated[bool, typer.Option("--unset", help="Return to the installed SmolLM2.")] = False,
        as_json: AsJSON = False,
    ) -> None:
        """Show or set the model of `local:`.

        \b
        brainwires local default
        brainwires local default coder
        """
        if name is not None and unset:
            raise typer.BadParameter("give a name or --unset, not both")
        finish(lambda: _run(lambda: _default(name, unset=unset, as_json=as_json), as_json))


def _default(name: str | None, *, unset: bool, as_json: bool) -> None:
    registry = LocalRegistry()
    if name is not None or unset:
        registry.set_default(name)
    now = registry.default
    if as_json:
        views.print_json({"default": now})
    elif now is not None and name is None:
        views.print_text(now)
    else:
        views.tell(
            f"the model of local: is {now}" if now else "no default is set: local: uses the installed SmolLM2"
        )


# -- bench -----------------------------------------------------------------------------------------------


def _add_bench(local: typer.Typer, finish: Finish) -> None:
    @local.command()
    def bench(
        model: Annotated[
            str, typer.Argument(metavar="MODEL", help="As after `local:`. Default: the model of `local:`.")
        ] = "",
        *,
        prompt_tokens: Annotated[int, typer.Option(min=8, help="Length of prompts in tokens.")] = 128,
        tokens: Annotated[int, typer.Option(min=2, help="Length of responses in tokens.")] = 64,
        requests: Annotated[
            int, typer.Option(min=1, help="Rounds with one request; a third as many with concurrent ones.")
        ] = 6,
        at_once: Annotated[int, typer.Option(min=1, help="Number of concurrent requests; 1: none.")] = 8,
        as_json: AsJSON = False,
    ) -> None:
        """Measure the speed and memory of a model through this library and through plain HTTP to its engine.

        \b
        brainwires local bench
        brainwires local bench coder --prompt-tokens 512 --at-once 1
        """
        from brainwires_provider.cli.local_bench import BenchOptions

        options = BenchOptions(model.removeprefix("local:"), prompt_tokens, tokens, requests, at_once)
        finish(lambda: _run(lambda: _bench(options, as_json), as_json))


def _bench(options: Any, as_json: bool) -> None:
    from brainwires_provider.cli.local_bench import bench

    result = asyncio.run(bench(options, views.tell))
    (views.print_json if as_json else views.print_bench)(result)
