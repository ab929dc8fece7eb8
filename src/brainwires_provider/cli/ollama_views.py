"""What the `ollama` commands print: tables, one JSON object per line, or progress.

Progress is a bar for each layer at a terminal, else a line when a step begins or a layer is complete; both on standard
error. Names come from a server, so control characters in them are not printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from brainwires_provider.cli.output import dump
from brainwires_provider.cli.steps import StepView
from brainwires_provider.cli.tables import print_table, size_words, time_words
from brainwires_provider.cli.terminal import is_terminal, note, print_line
from brainwires_provider.types.ollama import (
    OllamaModel,
    OllamaModelInfo,
    OllamaProgress,
    OllamaRunningModel,
)

__all__ = [
    "print_info",
    "print_json",
    "print_models",
    "print_running",
    "print_text",
    "progress_view",
    "tell",
]

_SHORT = 12  # characters of a digest


def tell(message: str) -> None:
    """One line on standard error."""
    note(message)


def print_text(text: str) -> None:
    """One line on standard output."""
    print_line("".join(c for c in text if c.isprintable()).encode())


def print_json(value: Any) -> None:
    """One line for a value, and one for each of several."""
    for each in value if isinstance(value, tuple) else (value,):
        print_line(dump(_shape(each)))


def _shape(value: Any) -> Any:
    """Values by their fields, and times as ISO 8601."""
    if isinstance(value, msgspec.Struct):
        return {name: _shape(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, datetime):
        return value.isoformat()
    return [_shape(inner) for inner in value] if isinstance(value, tuple) else value


# -- tables --------------------------------------------------------------------------------------------------


def print_models(models: Sequence[OllamaModel]) -> None:
    """A line for each model."""
    rows = [
        (
            m.name,
            _digest(m.digest),
            size_words(m.size),
            m.details.quantization or "",
            time_words(m.modified_at),
        )
        for m in models
    ]
    print_table(("NAME", "ID", "SIZE", "QUANTIZATION", "MODIFIED"), rows)


def print_running(models: Sequence[OllamaRunningModel]) -> None:
    """A line for each model in memory."""
    rows = [
        (
            m.name,
            _digest(m.digest),
            size_words(m.size),
            _gpu(m),
            str(m.context_length or ""),
            time_words(m.expires_at),
        )
        for m in models
    ]
    print_table(("NAME", "ID", "SIZE", "ON GPU", "CONTEXT", "UNTIL"), rows)


def print_info(info: OllamaModelInfo) -> None:
    """A line for each known property of the model."""
    rows = [
        ("name", info.name),
        ("architecture", info.architecture or info.details.family or ""),
        ("parameters", info.details.parameter_size or ""),
        ("quantization", info.details.quantization or ""),
        ("context length", str(info.context_length or "")),
        ("capabilities", ", ".join(info.capabilities or ())),
        ("license", (info.license or "").strip().partition("\n")[0]),
    ]
    rows += [("parameter", " ".join(line.split())) for line in (info.parameters or "").splitlines()]
    for name, value in rows:
        if value:
            print_text(f"{name + ':':<16}{value}")


def _digest(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")[:_SHORT]


def _gpu(model: OllamaRunningModel) -> str:
    if not model.size or model.size_vram is None:
        return ""
    return f"{100 * model.size_vram / model.size:.0f}%"


# -- progress ------------------------------------------------------------------------------------------------


def progress_view(as_json: bool) -> StepView[OllamaProgress]:
    """JSON lines on standard output, or on standard error bars at a terminal and lines elsewhere."""
    if as_json:
        return _JSONView()
    return _Bars() if is_terminal(sys.stderr) else _Lines()


class _JSONView(StepView[OllamaProgress]):
    def show(self, step: OllamaProgress) -> None:
        print_json(step)


class _Lines(StepView[OllamaProgress]):
    """A line when the status changes, and one when a layer is complete."""

    def __init__(self) -> None:
        self._last = ""
        self._complete: set[str] = set()

    def show(self, step: OllamaProgress) -> None:
        if step.status != self._last:
            self._last = step.status
            tell(f"{step.status} ({size_words(step.total)})" if step.total else step.status)
        if step.digest and step.fraction == 1.0 and step.digest not in self._complete:
            self._complete.add(step.digest)
            tell(f"{step.status}: complete")


class _Bars(StepView[OllamaProgress]):
    """A bar for each layer; other steps are printed above."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}
        self._last = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, step: OllamaProgress) -> None:
        words = "".join(c for c in step.status if c.isprintable())
        if step.digest is None or step.total is None:
            if words != self._last:
                self._last = words
                self._bars.console.print(words, markup=False, highlight=False)
            return
        if step.digest not in self._tasks:
            self._tasks[step.digest] = self._bars.add_task(words, total=step.total)
        self._bars.update(self._tasks[step.digest], completed=step.completed or 0, total=step.total)
