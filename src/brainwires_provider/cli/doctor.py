"""`doctor`: what is set up, whether a provider answers, and what a compatible server really does.

The findings are a table on standard output, which rich draws at a terminal and which is plain columns elsewhere; what
to do about them, and what was asked, goes to standard error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.keys import EnvKey
from brainwires_provider.cli.output import dump, failure_shape
from brainwires_provider.cli.terminal import Spinner, complain, explain, is_terminal, note, print_line
from brainwires_provider.config.suspects import may_be_key
from brainwires_provider.errors import ConfigError, ProviderError

if TYPE_CHECKING:
    from brainwires_provider.doctor import Examination

__all__ = ["add_doctor"]

Finish = Callable[[Callable[[], int]], NoReturn]


class _Order(Struct, frozen=True):
    """What was typed."""

    subject: str | None
    model: str | None
    key_env: str | None
    config: str | None
    allow_http: bool
    timeout: float | None
    total: float
    most: int
    max_tokens: int


_COLOURS = {"yes": "green", "no": "red", "refused": "red", "ignored": "yellow", "unclear": "dim"}


def add_doctor(app: typer.Typer, finish: Finish) -> None:
    """Add the command; `finish` leaves with what it gives."""

    @app.command("doctor")
    def doctor(
        subject: Annotated[
            str | None,
            typer.Argument(metavar="[PROVIDER | URL]", help="Whom to examine.", show_default=False),
        ] = None,
        *,
        model: Annotated[
            str | None,
            typer.Option("--model", "-m", metavar="NAME", help="Default: the first that is listed."),
        ] = None,
        api_key_env: Annotated[
            str | None,
            typer.Option(metavar="NAME", help="The NAME of the environment variable that holds the key."),
        ] = None,
        config: Annotated[
            str | None,
            typer.Option(metavar="PATH", help="The set-up; default: the brainwires.toml that is found."),
        ] = None,
        allow_http: Annotated[
            bool, typer.Option("--allow-http", help="Plain http to another machine.")
        ] = False,
        timeout: Annotated[
            float | None, typer.Option(metavar="SECONDS", help="For each request.", show_default=False)
        ] = None,
        total: Annotated[float, typer.Option(metavar="SECONDS", help="For all of them.")] = 600,
        most: Annotated[int, typer.Option(metavar="N", help="The most requests that a URL is sent.")] = 40,
        max_tokens: Annotated[int, typer.Option(metavar="N", help="The longest answer.")] = 256,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead.")] = False,
    ) -> None:
        """Tell what is set up, whether a provider answers, or what a server really does.

        Without an argument nobody but servers on this machine is asked. Exits with 1 where something is not well. No
        key is ever shown.

        \b
        brainwires doctor
        brainwires doctor groq
        brainwires doctor http://localhost:8080 --json
        brainwires doctor https://llm.example.org/v1 --api-key-env GATEWAY_KEY
        """
        order = _Order(subject, model, api_key_env, config, allow_http, timeout, total, most, max_tokens)
        finish(lambda: _run(order, as_json=as_json))


def _run(order: _Order, *, as_json: bool) -> int:
    spinner = Spinner("looking around …" if order.subject is None else "asking …")
    try:
        with spinner.turning():
            examination = asyncio.run(_examine(order))
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


async def _examine(order: _Order) -> Examination:
    """Raises ProviderError for what cannot be asked at all."""
    from brainwires_provider.config import load_config
    from brainwires_provider.doctor import examine, is_url

    key, subject = _key(order.key_env), order.subject
    if subject is None:
        return await _look_around(order)
    if not is_url(subject) and may_be_key(subject):
        raise ConfigError(
            "that looks like a key: name a provider or a URL, and the key by --api-key-env NAME"
        )
    return await examine(
        subject,
        model=order.model,
        api_key=key,
        config=None if is_url(subject) else load_config(order.config),
        allow_http=order.allow_http,
        seconds=60 if order.timeout is None else order.timeout,
        total=order.total,
        most=order.most,
        max_tokens=order.max_tokens,
    )


async def _look_around(order: _Order) -> Examination:
    """A file that cannot be used is a finding, among the others."""
    from brainwires_provider.config import load_config
    from brainwires_provider.doctor import Finding, look_around

    seconds = 2 if order.timeout is None else order.timeout
    try:
        return await look_around(load_config(order.config), seconds=seconds)
    except ConfigError as error:
        faults = error.message.splitlines()
    seen = await look_around(seconds=seconds)
    told = tuple(Finding("configuration", "no", fault) for fault in faults)
    kept = tuple(finding for finding in seen.findings if finding.name != "configuration")
    return replace(seen, well=False, findings=(*told, *kept))


def _key(name: str | None) -> EnvKey | None:
    """Raises ConfigError where no key is there; the name may be the key itself, so it is not repeated."""
    if name is None:
        return None
    if not os.environ.get(name, "").strip():
        raise ConfigError(
            "--api-key-env takes the name of an environment variable that holds the key; there is none by the name "
            "given, or it is empty"
        )
    return EnvKey(name)


# -- showing -------------------------------------------------------------------------------------------------


def _show(examination: Examination) -> None:
    rows = [(f.name, f.verdict, f.evidence) for f in examination.findings]
    if is_terminal(sys.stdout):
        _draw(rows)
    else:
        _print_plain(rows)
    if examination.row is not None and examination.config is not None:
        for block in (examination.row, examination.config):
            print_line(b"")
            for line in block.splitlines():
                print_line(line.encode("utf-8", "replace"))
    for finding in examination.findings:
        if finding.advice and finding.verdict != "yes" and examination.kind != "setup":
            note(f"{finding.name}: {finding.advice}")
    note(_summary(examination))


def _summary(examination: Examination) -> str:
    asked = f"{examination.requests} request{'' if examination.requests == 1 else 's'}"
    if examination.kind == "setup":
        return f"{asked}, to servers on this machine only; `brainwires doctor PROVIDER` asks a service"
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
        cells = (Text(_printable(name)), Text(verdict, style=_COLOURS[verdict]), Text(_printable(evidence)))
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
