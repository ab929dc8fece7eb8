"""The command `run`: its name, options and help. `run_rows.py` does the work, and others may do it elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Annotated, NoReturn

import typer
from msgspec.structs import replace

from brainwires_provider.cli.options import ChatOptions, Connection, expand_options
from brainwires_provider.providers import Config

__all__ = ["add_run"]

Finish = Callable[[Callable[[], int]], NoReturn]


class _Options(ChatOptions, frozen=True):
    """Without the short names that the output and the prompt of a run have."""

    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="Any other option, as JSON or text: top_p=0.5, reasoning.effort=low, or one of the model's protocol; "
            "may be repeated.",
        ),
    ] = None


class _Connection(Connection, frozen=True):
    def load(self) -> Config:
        """The configuration, with prices where the extra is installed. Raises ConfigError."""
        config = super().load()
        return replace(config, prices=config.prices or find_spec("genai_prices") is not None)


def add_run(app: typer.Typer, finish: Finish) -> None:
    """Add the command. `finish` exits with the status that it returns."""

    @app.command()
    @expand_options
    def run(
        rows: Annotated[
            str,
            typer.Argument(
                metavar="IN",
                help="The rows: a file .jsonl, .csv, .tsv or .parquet; - is standard input, as JSON Lines.",
            ),
        ],
        *,
        output: Annotated[
            str,
            typer.Option(
                "--output", "-o", metavar="OUT", help="Where the results are written; - is standard output."
            ),
        ],
        prompt: Annotated[
            str | None,
            typer.Option(
                "--prompt",
                metavar="TEMPLATE",
                help='The prompt, with columns in braces: "Translate into French: {text}". Default: the column '
                "prompt, or messages.",
            ),
        ] = None,
        chat_options: _Options,
        connection: _Connection,
        embed: Annotated[
            bool, typer.Option("--embed", help="Make a vector of each prompt, and ask for no answer.")
        ] = False,
        yes: Annotated[
            bool, typer.Option("--yes", help="Run the tools' calls, which nobody is asked about.")
        ] = False,
        id: Annotated[
            str | None,
            typer.Option(
                metavar="COLUMN",
                help="The column with an id that no other row has. Default: id, if there is one, else the number.",
            ),
        ] = None,
        prefix: Annotated[
            str, typer.Option(metavar="TEXT", help="What the names of the columns with results begin with.")
        ] = "",
        ledger: Annotated[
            str | None,
            typer.Option(metavar="FILE", help="The file of what was asked and got. Default: OUT.ledger."),
        ] = None,
        concurrency: Annotated[
            int, typer.Option("--concurrency", "-j", min=1, help="The most rows that are asked at once.")
        ] = 100,
        limit: Annotated[int | None, typer.Option(min=0, help="Only so many rows, the first ones.")] = None,
        budget: Annotated[
            float | None,
            typer.Option(min=0, metavar="DOLLARS", help="The most that this run may cost (extra prices)."),
        ] = None,
        batch: Annotated[
            bool,
            typer.Option(
                "--batch",
                help="By the provider's batch API: within hours, at a lower price; see brainwires batch.",
            ),
        ] = False,
        ray: Annotated[
            bool,
            typer.Option(
                "--ray",
                help="On a Ray cluster (extra ray). OUT.store, or the folder or URL of --ledger, has the answers.",
            ),
        ] = False,
        address: Annotated[
            str | None,
            typer.Option(
                metavar="ADDRESS",
                help="Of the Ray cluster: HOST:PORT, ray://HOST:PORT, or auto. Default: RAY_ADDRESS, else a cluster "
                "is started on this machine.",
            ),
        ] = None,
        workers: Annotated[
            int | None,
            typer.Option(
                min=1, help="Actors on the Ray cluster, which share --concurrency. Default: one a machine."
            ),
        ] = None,
        retry_errors: Annotated[
            bool, typer.Option("--retry-errors", help="Ask the rows again that have an error in the ledger.")
        ] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Show what it would take, tokens and price; send nothing.")
        ] = False,
    ) -> None:
        """Ask a model about every row of a file, and write the rows with their results, in their order.

        What was answered is in a ledger, and is never paid for again: after Ctrl-C, a crash or the end of a budget the
        same command goes on. Ctrl-C ends what is being asked; a second one leaves at once.

        \b
        brainwires run in.csv -o out.csv -m fast --prompt "Into French: {text}"
        brainwires run in.jsonl -o out.jsonl -m groq:llama-4 --schema verdict.json
        brainwires run in.parquet -o out.parquet -m openai:gpt-6 --dry-run
        brainwires run in.csv -o vectors.parquet -m vllm:bge-m3 --embed
        brainwires run in.csv -o out.csv -m openai:gpt-6 --retry-errors
        brainwires run in.csv -o out.csv -m openai:gpt-6 --batch
        brainwires run in.csv -o out.csv -m openai:gpt-6 --ray
        """
        from brainwires_provider.cli.run_rows import Job, run_rows

        job = Job(
            rows,
            output,
            prompt,
            id,
            prefix,
            ledger,
            concurrency,
            limit,
            budget,
            embed,
            retry_errors,
            dry_run,
        )
        ask = partial(chat_options.ask, connection)
        if not ray and (address or workers):
            raise typer.BadParameter("--address and --workers are for --ray")
        if ray and batch:
            raise typer.BadParameter("--batch and --ray exclude each other")
        if batch:
            from brainwires_provider.cli.run_batch import run_batch

            finish(lambda: run_batch(job, ask))
        if ray:
            from brainwires_provider.cli.run_ray import Cluster, run_ray

            finish(lambda: run_ray(job, ask, Cluster(address, workers)))
        finish(lambda: run_rows(job, ask, unasked=yes))
