"""What the `local` commands print for a person: tables, what is known of a model, a bench, a pull as it goes on.

Names and words may come out of files that anyone made, so nothing of them that could steer a terminal is printed.
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
from brainwires_provider.protocols.ollama.values import OllamaProgress

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
_WHAT_IT_IS: Final = """\
direct: plain HTTP on the same engine's own socket (POST /completion), read by code that shares nothing with
  this library's road. Its second line is what the engine says of those answers, by its own clock, without HTTP.
prompt: its tokens by the time to the first text. generation: the tokens after the first by the time from the
  first text to the last; of several at once, all their tokens by the time from the first call to the last text,
  and the mean of their first tokens.
Both sides ask the same prompts, new ones in every round and never from a cache (cache_prompt false), for as many
  tokens (the end of the text ignored) at temperature 0, and take turns. One round of each kind goes before, and
  does not count."""


def print_lines(text: str) -> None:
    """Text of several lines on standard output; as it is, unless somebody looks."""
    if is_terminal(sys.stdout):
        text = "".join(c for c in text if c.isprintable() or c in "\n\t")
    print_line(text.encode("utf-8", "replace"))


def ask(question: str) -> str | None:
    """One line from standard input after a question on standard error; None at its end."""
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


# -- what there is -------------------------------------------------------------------------------------------


def print_found(models: Sequence[Found]) -> None:
    """A line for each; a star before the one that `local:` means."""
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
    """A line for each known model; those that are here have their names."""
    rows = [(m.name, size_words(m.size), m.license, ", ".join(m.registered), m.about) for m in models]
    print_table(("KNOWN", "SIZE", "LICENSE", "HERE AS", "WHAT IT IS"), rows)


# -- one model -----------------------------------------------------------------------------------------------


def print_shown(shown: ShownModel) -> None:
    """A line for each thing that is known."""
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
        return "given by the settings, in place of the file's"
    if not shown.metadata.has_chat_template:
        return "none"
    return "in the file, " + (
        "takes tools" if shown.metadata.template_takes_tools else "says nothing of tools"
    )


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
    """The settings that are not their defaults, without the file and the text of a template."""
    default = LocalModel()
    fields = (
        (name, getattr(settings, name)) for name in settings.__struct_fields__ if name not in _NOT_SHOWN
    )
    return ", ".join(f"{name} {value}" for name, value in fields if value != getattr(default, name))


# -- a pull --------------------------------------------------------------------------------------------------


def pull_view(as_json: bool) -> StepView[PullProgress]:
    """JSON lines on standard output, or on standard error bars at a terminal and lines elsewhere."""
    return _JSONSteps() if as_json else _Steps()


class _Steps(StepView[PullProgress]):
    """As a pull of Ollama's is shown: downloading a file is one layer of it, verifying it another."""

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
    """A line where a phase begins or ends, and for each hundredth of a file."""

    def __init__(self) -> None:
        self._last: PullProgress | None = None

    def show(self, step: PullProgress) -> None:
        last = self._last
        begins = last is None or (last.phase, last.file) != (step.phase, step.file)
        moved = step.done - (0 if last is None else last.done)
        if begins or step.done == step.total or moved >= _STEP * (step.total or step.done):
            self._last = step
            print_json(step)


# -- a bench -------------------------------------------------------------------------------------------------


def print_bench(result: BenchResult) -> None:
    """Tables of both sides, and what they are."""
    told = (result.architecture, result.quantization, f"{_number(result.parameters)} parameters")
    load = "" if result.load is None else f", load {result.load:.1f} before the runs"
    print_text(
        f"{result.model} ({', '.join(filter(None, told))}), {result.engine}, {result.cores} cores{load}"
    )
    print_text(f"file: {result.path}")
    if changed := describe(result.settings):
        print_text(f"settings: {changed}")
    size = f"prompts of {result.prompt_tokens} tokens, answers of {result.tokens}"
    print_text("")
    print_text(f"one by one: {size}; median of {_times(result.rounds)}")
    _print_sides(result.one)
    if result.several is not None:
        print_text("")
        print_text(f"{result.at_once} at once: {size} each; median of {_times(result.bursts)}")
        _print_sides(result.several)
    print_text("")
    memory = [
        f"{name} {size_words(value)}" for name, value in (("PSS", result.pss), ("RSS", result.rss)) if value
    ]
    print_text(
        f"memory of the engine: {', '.join(memory) or 'not told here'}; estimated {size_words(result.estimate)}"
    )
    print_text(
        f"loaded in {result.load_seconds:.2f} s; same text in {result.same_texts} of {_times(result.rounds)}"
    )
    print_text("")
    print_lines(_WHAT_IT_IS)
    if result.cached_tokens:
        tell(
            f"{result.cached_tokens} tokens of prompts came from a cache all the same: the speeds are too good"
        )


def _times(rounds: int) -> str:
    return f"{rounds} round{'' if rounds == 1 else 's'}"


def _print_sides(both: Comparison) -> None:
    rows: list[tuple[str, ...]] = [
        ("brainwires", *_cells(both.ours)),
        ("direct", *_cells(both.direct)),
        ("  by the engine's clock", *_cells(both.engine)),
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
