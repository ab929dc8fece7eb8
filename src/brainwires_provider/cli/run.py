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
_Rows = Annotated[
    str,
    typer.Argument(
        metavar="IN",
        help="The rows: a file .jsonl, .csv, .tsv or .parquet; - is standard input, as JSON Lines.",
    ),
]
_Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Where the results are written; - is standard output."
    ),
]
_Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        metavar="TEMPLATE",
        help='The prompt, with columns in braces: "Translate into French: {text}". Default: the column '
        "prompt, or messages.",
    ),
]
_Embed = Annotated[bool, typer.Option("--embed", help="Make a vector of each prompt, and ask for no answer.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Run the tools' calls, which nobody is asked about.")]
_Id = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column with an id that no other row has. Default: id, if there is one, else the number.",
    ),
]
_Prefix = Annotated[
    str, typer.Option(metavar="TEXT", help="What the names of the columns with results begin with.")
]
_Ledger = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="The file of what was asked and got. Default: OUT.ledger."),
]
_Concurrency = Annotated[
    int, typer.Option("--concurrency", "-j", min=1, help="The most rows that are asked at once.")
]
_Limit = Annotated[int | None, typer.Option(min=0, help="Only so many rows, the first ones.")]
_Budget = Annotated[
    float | None,
    typer.Option(min=0, metavar="DOLLARS", help="The most that this run may cost (extra prices)."),
]
_Batch = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="By the provider's batch API: within hours, at a lower price; see brainwires batch.",
    ),
]
_Ray = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="On a Ray cluster (extra ray). OUT.store, or the folder or URL of --ledger, has the answers.",
    ),
]
_Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of the Ray cluster: HOST:PORT, ray://HOST:PORT, or auto. Default: RAY_ADDRESS, else a cluster "
        "is started on this machine.",
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Actors on the Ray cluster, which share --concurrency. Default: one a machine."),
]
_RetryErrors = Annotated[
    bool, typer.Option("--retry-errors", help="Ask the rows again that have an error in the ledger.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what it would take, tokens and price; send nothing.")
]


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
        rows: _Rows,
        *,
        output: _Output,
        prompt: _Prompt = None,
        chat_options: _Options,
        connection: _Connection,
        embed: _Embed = False,
        yes: _Yes = False,
        id: _Id = None,
        prefix: _Prefix = "",
        ledger: _Ledger = None,
        concurrency: _Concurrency = 100,
        limit: _Limit = None,
        budget: _Budget = None,
        batch: _Batch = False,
        ray: _Ray = False,
        address: _Address = None,
        workers: _Workers = None,
        retry_errors: _RetryErrors = False,
        dry_run: _DryRun = False,
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
        from brainwires_provider.cli.run_rows import Job

        given = prompt, id, prefix, ledger, concurrency, limit, budget, embed, retry_errors, dry_run
        job = Job(rows, output, *given)
        ask = partial(chat_options.ask, connection)
        if not ray and (address or workers):
            raise typer.BadParameter("--address and --workers are for --ray")
        if ray and batch:
            raise typer.BadParameter("--batch and --ray exclude each other")
        if ray:
            from brainwires_provider.cli.run_ray import Cluster, run_ray

            finish(lambda: run_ray(job, ask, Cluster(address, workers)))
        if batch:
            from brainwires_provider.cli.run_batch import run_batch

            finish(lambda: run_batch(job, ask))
        from brainwires_provider.cli.run_rows import run_rows

        finish(lambda: run_rows(job, ask, unasked=yes))
