"""What the `ollama` commands print: tables for a person, one JSON object a line for a script, progress as it comes.

Progress is a bar for each layer at a terminal, else a line whenever something new begins or a layer is whole; both on
standard error. Names come from a server, so nothing of them that could steer a terminal is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from brainwires_provider.cli.output import dump
from brainwires_provider.cli.terminal import is_terminal, note, print_line
from brainwires_provider.protocols.ollama.values import (
    OllamaModel,
    OllamaModelInfo,
    OllamaProgress,
    OllamaRunningModel,
)

__all__ = [
    "ProgressView",
    "print_info",
    "print_json",
    "print_models",
    "print_running",
    "print_text",
    "progress_view",
    "tell",
]

_UNITS = ("B", "KB", "MB", "GB", "TB")
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
    """Values by their fields, each of them, and times as ISO 8601."""
    if isinstance(value, msgspec.Struct):
        return {name: _shape(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, datetime):
        return value.isoformat()
    return [_shape(inner) for inner in value] if isinstance(value, tuple) else value


# -- tables --------------------------------------------------------------------------------------------------


def print_models(models: Sequence[OllamaModel]) -> None:
    """A line for each model."""
    rows = [
        (m.name, _digest(m.digest), _size(m.size), m.details.quantization or "", _time(m.modified_at))
        for m in models
    ]
    _print_table(("NAME", "ID", "SIZE", "QUANTIZATION", "MODIFIED"), rows)


def print_running(models: Sequence[OllamaRunningModel]) -> None:
    """A line for each model in memory."""
    rows = [
        (m.name, _digest(m.digest), _size(m.size), _gpu(m), str(m.context_length or ""), _time(m.expires_at))
        for m in models
    ]
    _print_table(("NAME", "ID", "SIZE", "ON GPU", "CONTEXT", "UNTIL"), rows)


def print_info(info: OllamaModelInfo) -> None:
    """A line for each thing that the server told of the model."""
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


def _print_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        print_text("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _digest(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")[:_SHORT]


def _size(size: int | None) -> str:
    if size is None:
        return ""
    number, unit = float(size), 0
    while number >= 1000 and unit + 1 < len(_UNITS):
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {_UNITS[unit]}" if unit < 2 else f"{number:.1f} {_UNITS[unit]}"


def _gpu(model: OllamaRunningModel) -> str:
    if not model.size or model.size_vram is None:
        return ""
    return f"{100 * model.size_vram / model.size:.0f}%"


def _time(when: datetime | None) -> str:
    return "" if when is None else when.strftime("%Y-%m-%d %H:%M")


# -- progress ------------------------------------------------------------------------------------------------


class ProgressView(Protocol):
    """Shows one operation, step by step, while its `with` lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, step: OllamaProgress) -> None:
        """One step."""
        ...


def progress_view(as_json: bool) -> ProgressView:
    """JSON lines on standard output, or on standard error bars at a terminal and lines elsewhere."""
    if as_json:
        return _JSONView()
    return _Bars() if is_terminal(sys.stderr) else _Lines()


class _JSONView:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, step: OllamaProgress) -> None:
        print_json(step)


class _Lines(_JSONView):
    """A line where the words change, and one where a layer is whole."""

    def __init__(self) -> None:
        self._last = ""
        self._whole: set[str] = set()

    def show(self, step: OllamaProgress) -> None:
        if step.status != self._last:
            self._last = step.status
            tell(f"{step.status} ({_size(step.total)})" if step.total else step.status)
        if step.digest and step.fraction == 1.0 and step.digest not in self._whole:
            self._whole.add(step.digest)
            tell(f"{step.status}: whole")


class _Bars(_JSONView):
    """A bar for each layer; words that have none stand above."""

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
