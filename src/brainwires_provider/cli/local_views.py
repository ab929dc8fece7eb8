"""The output of the `local` commands for a person: tables, the facts of a model, a benchmark, progress.

Texts may come from files by anyone, so characters that could control a terminal are not printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from brainwires_provider.cli.local_models import Found, PullableModel, ShownModel
from brainwires_provider.cli.ollama_views import (
    print_json,
    print_text,
    progress_view,
    tell,
)
from brainwires_provider.cli.steps import StepView
from brainwires_provider.cli.tables import print_table, size_words, time_words
from brainwires_provider.cli.terminal import is_terminal, print_line
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.hub import PullProgress
from brainwires_provider.types.ollama import OllamaProgress

if TYPE_CHECKING:
    from brainwires_provider.cli.local_bench import BenchResult, Comparison, Speeds

__all__ = [
    "ask",
    "describe",
    "print_bench",
    "print_found",
    "print_json",
    "print_lines",
    "print_pullable",
    "print_shown",
    "print_text",
    "pull_view",
    "tell",
]

_STEP: Final = 0.01  # of a file, between two lines of JSON
_NOT_SHOWN: Final = ("path", "chat_template")
_EXPLANATION: Final = """\
direct: plain HTTP to the same engine (POST /completion) by Python's http.client, without code of this library.
  The next line has the engine's own figures for those responses, which exclude HTTP.
prompt: tokens of the prompt ÷ time to the first text. generation: tokens after the first ÷ time from the first
  to the last text; for concurrent requests all tokens ÷ time from the first call to the last text. first token:
  the time to the first text; for concurrent requests the mean.
Both sides take turns and send the same prompts, new ones in each round, with the cache disabled (cache_prompt
  false) and temperature 0, for the same number of tokens, ignoring the end of the text. One round of each kind is
  run before as a warm-up and not counted."""


def print_lines(text: str) -> None:
    """Print several lines on standard output, unchanged unless it is a terminal."""
    if is_terminal(sys.stdout):
        text = "".join(c for c in text if c.isprintable() or c in "\n\t")
    print_line(text.encode("utf-8", "replace"))


def ask(question: str) -> str | None:
    """Print a question on standard error, and read one line from standard input; None at its end."""
    words = "".join(c for c in question if c.isprintable())
    print(f"{words} [y/N] ", end="", file=sys.stderr, flush=True)
    line = "" if sys.stdin is None else sys.stdin.readline()
    if not line.endswith("\n"):
        print(file=sys.stderr)
    return line.strip() if line else None


def _number(count: int | None) -> str:
    if count is None:
        return ""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= unit:
            return f"{count / unit:.1f}{name}"
    return str(count)


# -- list -------------------------------------------------------------------------------------------


def print_found(models: Sequence[Found]) -> None:
    """A line for each, with an asterisk before the model of `local:`."""
    head = ("", "NAME", "SIZE", "ARCHITECTURE", "QUANTIZATION", "CONTEXT", "SOURCE", "FILE")
    print_table(head, [_row(model) for model in models])
    for model in models:
        if model.state == "unreadable":
            tell(f"{model.name}: {model.problem}")


def _row(model: Found) -> tuple[str, ...]:
    return (
        "*" if model.default else "",
        model.name,
        size_words(model.size),
        model.architecture or "",
        model.quantization or "",
        str(model.context_length or ""),
        model.source or "",
        model.path if model.state == "ok" else f"({model.state}) {model.path}",
    )


def print_pullable(models: Sequence[PullableModel]) -> None:
    """A line for each, with the names that its file already has here."""
    rows = [(m.name, size_words(m.size), m.license, ", ".join(m.registered), m.about) for m in models]
    print_table(("NAME", "SIZE", "LICENSE", "REGISTERED AS", "DESCRIPTION"), rows)


# -- show -----------------------------------------------------------------------------------------------


def print_shown(shown: ShownModel) -> None:
    """A line for each known fact."""
    for name, value in (*_file_lines(shown), *_run_lines(shown)):
        if value:
            print_text(f"{name + ':':<18}{value}")


def _file_lines(shown: ShownModel) -> list[tuple[str, str]]:
    data = shown.metadata
    parts = f", {data.shards} parts" if data.shards > 1 else ""
    return [
        ("file", shown.path),
        ("size", f"{size_words(data.size)} (GGUF version {data.version}, {data.tensors} tensors{parts})"),
        ("model", " ".join((data.name or "").split())),
        ("architecture", data.architecture or ""),
        ("parameters", _number(data.parameters)),
        ("quantization", data.quantization or ""),
        ("trained context", f"{data.context_length} tokens" if data.context_length else ""),
        ("layers", str(data.block_count or "")),
        ("embedding", f"{data.embedding_length} numbers" if data.embedding_length else ""),
        ("vocabulary", f"{data.vocabulary} tokens" if data.vocabulary else ""),
        ("pooling", data.pooling or ""),
        ("license", " ".join((data.license or "").split())),
        ("based on", ", ".join(data.base_models)),
        ("chat template", _template_words(shown)),
    ]


def _template_words(shown: ShownModel) -> str:
    if shown.settings.chat_template is not None:
        return "set in the settings"
    if not shown.metadata.has_chat_template:
        return "none"
    return "in the file, " + ("with tools" if shown.metadata.template_takes_tools else "without tools")


def _run_lines(shown: ShownModel) -> list[tuple[str, str]]:
    memory, named = shown.memory, shown.registered
    parts = ", ".join(f"{name} {size_words(getattr(memory, name))}" for name in memory.__struct_fields__)
    lines = [
        ("runs with", f"a context of {shown.engine_context} tokens, shared by {shown.settings.slots} slots"),
        ("settings", describe(shown.settings)),
        ("estimated memory", f"{size_words(memory.total)} ({parts})"),
    ]
    if named is not None:
        lines += [
            ("source", named.source or ""),
            ("sha256", named.sha256 or ""),
            ("added", time_words(named.added)),
        ]
    return lines


def describe(settings: LocalModel) -> str:
    """The settings that differ from their defaults, without the path and the template."""
    default = LocalModel()
    fields = (
        (name, getattr(settings, name)) for name in settings.__struct_fields__ if name not in _NOT_SHOWN
    )
    return ", ".join(f"{name} {value}" for name, value in fields if value != getattr(default, name))


# -- pull --------------------------------------------------------------------------------------------------


def pull_view(as_json: bool) -> StepView[PullProgress]:
    """Progress: JSON lines on standard output, or bars (lines if it is no terminal) on standard error."""
    return _JSONSteps() if as_json else _Steps()


class _Steps(StepView[PullProgress]):
    """Progress as for Ollama: downloading a file is one layer, verifying it another."""

    def __init__(self) -> None:
        self._view = progress_view(False)

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.__exit__(kind, error, trace)

    def show(self, step: PullProgress) -> None:
        words = f"{step.phase} {step.file}"
        self._view.show(OllamaProgress(words, words, step.total, step.done))


class _JSONSteps(StepView[PullProgress]):
    """A line at the beginning and end of each phase, and for each hundredth of a file."""

    def __init__(self) -> None:
        self._last: PullProgress | None = None

    def show(self, step: PullProgress) -> None:
        last = self._last
        begins = last is None or (last.phase, last.file) != (step.phase, step.file)
        moved = step.done - (0 if last is None else last.done)
        if begins or step.done == step.total or moved >= _STEP * (step.total or step.done):
            self._last = step
            print_json(step)


# -- bench -------------------------------------------------------------------------------------------------


def print_bench(result: BenchResult) -> None:
    """Tables of both sides, with an explanation."""
    facts = (result.architecture, result.quantization, f"{_number(result.parameters)} parameters")
    load = "" if result.load is None else f", load {result.load:.1f} before the run"
    print_text(
        f"{result.model} ({', '.join(filter(None, facts))}), {result.engine}, {result.cores} cores{load}"
    )
    print_text(f"file: {result.path}")
    if changed := describe(result.settings):
        print_text(f"settings: {changed}")
    size = f"prompts of {result.prompt_tokens} tokens, responses of {result.tokens}"
    print_text("")
    print_text(f"one request at a time: {size}; median of {_times(result.rounds)}")
    _print_sides(result.one)
    if result.several is not None:
        print_text("")
        print_text(f"{result.at_once} concurrent requests: {size} each; median of {_times(result.bursts)}")
        _print_sides(result.several)
    print_text("")
    memory = [
        f"{name} {size_words(value)}" for name, value in (("PSS", result.pss), ("RSS", result.rss)) if value
    ]
    print_text(
        f"memory of the engine: {', '.join(memory) or 'not reported here'}; "
        f"estimated {size_words(result.estimate)}"
    )
    print_text(
        f"loaded in {result.load_seconds:.2f} s; same text in {result.same_texts} of {_times(result.rounds)}"
    )
    print_text("")
    print_lines(_EXPLANATION)
    if result.cached_tokens:
        tell(f"{result.cached_tokens} tokens of prompts came from a cache: the prompt speeds are too high")


def _times(rounds: int) -> str:
    return f"{rounds} round{'' if rounds == 1 else 's'}"


def _print_sides(both: Comparison) -> None:
    rows: list[tuple[str, ...]] = [
        ("brainwires", *_cells(both.ours)),
        ("direct", *_cells(both.direct)),
        ("  engine's own figures", *_cells(both.engine)),
        ("brainwires ÷ direct", *_ratio_cells(both.ratio)),
    ]
    rows = [row for row in rows if any(row[1:])]
    head: tuple[str, ...] = ("", "PROMPT TOKENS/S", "GENERATION TOKENS/S", "FIRST TOKEN MS")
    if both.ours.prompt is None:
        head, rows = _without_prompt(head), [_without_prompt(row) for row in rows]
    print_table(head, rows)


def _without_prompt(row: tuple[str, ...]) -> tuple[str, ...]:
    return (row[0], *row[2:])


def _cells(speeds: Speeds) -> tuple[str, ...]:
    first = None if speeds.first_token is None else speeds.first_token * 1e3
    return _cell(speeds.prompt, 1), _cell(speeds.generation, 1), _cell(first, 0)


def _ratio_cells(ratio: Speeds) -> tuple[str, ...]:
    return _cell(ratio.prompt, 2), _cell(ratio.generation, 2), _cell(ratio.first_token, 2)


def _cell(value: Any, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"
