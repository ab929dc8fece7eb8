"""`doctor`: checks the configuration, whether a provider answers, and what a compatible server really supports.

The findings are a table on standard output, drawn by rich at a terminal and in plain columns elsewhere. Advice, and
the number of requests, are on standard error.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.cli.options import Connection, expand_options
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.terminal import Spinner, complain, explain, is_terminal, note, print_line
from brainwires_provider.errors import ConfigError, ProviderError
from brainwires_provider.types.suspects import may_be_key

if TYPE_CHECKING:
    from brainwires_provider.doctor import Examination

__all__ = ["add_doctor"]

Finish = Callable[[Callable[[], int]], NoReturn]


class _Limits(Struct, frozen=True):
    """The limits of an examination."""

    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time limit of one request.", show_default=False)
    ] = None
    total: Annotated[float, typer.Option(metavar="SECONDS", help="Time limit of all requests.")] = 600
    most: Annotated[int, typer.Option(metavar="N", help="Maximum number of requests to a URL.")] = 40
    max_tokens: Annotated[int, typer.Option(metavar="N", help="Maximum output tokens.")] = 256


_IMPORTS = """\
from brainwires_provider import Provider
from brainwires_provider.providers.dialects import COMPATIBLE, chat

"""
_COLORS = {"yes": "green", "no": "red", "refused": "red", "ignored": "yellow", "unclear": "dim"}


def add_doctor(app: typer.Typer, finish: Finish) -> None:
    """Add the command. `finish` exits with the status that it returns."""

    @app.command("doctor")
    @expand_options
    def doctor(
        subject: Annotated[
            str | None,
            typer.Argument(
                metavar="PROVIDER|PROVIDER:MODEL|URL",
                help="Provider or URL to check.",
                show_default=False,
            ),
        ] = None,
        *,
        model: Annotated[
            str | None,
            typer.Option("--model", "-m", metavar="NAME", help="Default: the first of the list."),
        ] = None,
        connection: Connection,
        limits: _Limits,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Check the configuration, whether a provider answers, or what a server really supports.

        Without an argument, requests are sent to servers on this machine only. Exits with 1 if something does not
        work. No key is ever shown.

        \b
        brainwires doctor
        brainwires doctor groq
        brainwires doctor local:smollm2
        brainwires doctor http://localhost:8080 --json
        brainwires doctor https://llm.example.org/v1 --api-key-env GATEWAY_KEY
        """
        finish(lambda: _run(subject, model, connection, limits, as_json=as_json))


def _run(
    subject: str | None, model: str | None, connection: Connection, limits: _Limits, *, as_json: bool
) -> int:
    spinner = Spinner("checking …" if subject is None else f"checking {subject} …")
    try:
        with spinner.turning():
            work = _look_around(connection, limits) if subject is None else None
            examination = asyncio.run(work or _examine(str(subject), model, connection, limits))
    except ProviderError as error:
        if as_json:
            print_line(dump(failure_shape(error)))
        for line in explain(error).splitlines():
            complain(line)
        return 1
    if as_json:
        print_line(dump(msgspec.to_builtins(examination)))
    else:
        _show(examination)
    return 0 if examination.well else 1


async def _examine(subject: str, model: str | None, connection: Connection, limits: _Limits) -> Examination:
    """Raises ProviderError for a subject that no request can be sent to."""
    from brainwires_provider.doctor import examine, is_url

    if not is_url(subject) and may_be_key(subject):
        raise ConfigError(
            "that looks like a key: name a provider or a URL, and the key by --api-key-env NAME"
        )
    return await examine(
        subject,
        model=model,
        api_key=connection.key(),
        base_url=connection.base_url,
        config=None if is_url(subject) and "://" in subject else connection.load(),
        allow_http=connection.allow_http,
        seconds=60 if limits.timeout is None else limits.timeout,
        total=limits.total,
        most=limits.most,
        max_tokens=limits.max_tokens,
    )


async def _look_around(connection: Connection, limits: _Limits) -> Examination:
    """A configuration file with faults is one finding among the others."""
    from brainwires_provider.doctor import Finding, look_around

    if connection.base_url is not None or connection.api_key_env is not None or connection.allow_http:
        raise ConfigError("name the provider that --base-url, --allow-http and --api-key-env are for")
    seconds = 2 if limits.timeout is None else limits.timeout
    try:
        return await look_around(connection.load(), seconds=seconds)
    except ConfigError as error:
        faults = error.message.splitlines()
    seen = await look_around(seconds=seconds)
    first, *others = (finding for finding in seen.findings if finding.name != "configuration")
    file = (Finding("configuration", "no", fault) for fault in faults)
    return replace(seen, well=False, findings=(first, *file, *others))


# -- output -------------------------------------------------------------------------------------------------


def _show(examination: Examination) -> None:
    rows = [(f.name, f.verdict, f.evidence) for f in examination.findings]
    if is_terminal(sys.stdout):
        _draw(rows)
    else:
        _print_plain(rows)
    if examination.provider is not None and examination.config is not None:
        for block in (_IMPORTS + examination.provider, examination.config):
            print_line(b"")
            for line in block.splitlines():
                print_line(line.encode("utf-8", "replace"))
        note("to paste: in Python code, or in brainwires.toml, followed by `brainwires trust`")
    for finding in examination.findings:
        if finding.advice and finding.verdict != "yes" and examination.kind != "setup":
            note(f"{finding.name}: {finding.advice}")
    note(_summary(examination))


def _summary(examination: Examination) -> str:
    asked = f"{examination.requests} request{'' if examination.requests == 1 else 's'}"
    if examination.kind == "setup":
        return (
            f"{asked}, to servers on this machine only; `brainwires doctor PROVIDER` sends some to a provider"
        )
    model = f", model {examination.model}" if examination.model else ""
    return f"{examination.subject}{model}: {asked} in {examination.seconds:.1f} s"


def _draw(rows: Sequence[tuple[str, str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("FINDING", no_wrap=True)
    table.add_column("VERDICT", no_wrap=True)
    table.add_column("EVIDENCE", overflow="fold")
    for name, verdict, evidence in rows:
        cells = (Text(_printable(name)), Text(verdict, style=_COLORS[verdict]), Text(_printable(evidence)))
        table.add_row(*cells)
    Console(file=sys.stdout).print(table)


def _print_plain(rows: Sequence[tuple[str, str, str]]) -> None:
    """Aligned columns, one finding a line."""
    every = [("FINDING", "VERDICT", "EVIDENCE"), *rows]
    first, second = (max(len(row[column]) for row in every) for column in (0, 1))
    for name, verdict, evidence in every:
        line = f"{_printable(name):<{first}}  {verdict:<{second}}  {_printable(evidence)}"
        print_line(line.rstrip().encode("utf-8", "replace"))


def _printable(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
