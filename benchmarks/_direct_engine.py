"""A process that drives xllamacpp directly, without HTTP.

A question is a line of JSON on its standard input; what the answer took is one on its standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import IO, Any, NamedTuple, cast

from brainwires_provider.local.engine.child import build_params
from brainwires_provider.local.engine.engine import _order
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.local.weights.gguf import read_header

__all__ = ["DirectEngine", "Run"]


class Run(NamedTuple):
    """One answer: a fragment is a token; `seconds` runs from the call to the last of them."""

    text: str
    tokens: int
    seconds: float
    first_token: float  # seconds

    @classmethod
    def of(cls, fragments: list[str], begin: float, times: list[float]) -> Run:
        """From what came, and when."""
        return cls("".join(fragments), len(fragments), times[-1] - begin, times[0] - begin)


class DirectEngine:
    """Such a process. It lives from `with` to its end."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> DirectEngine:
        pipe = subprocess.PIPE
        command = [sys.executable, __file__, os.path.join(self._folder, f"{time.monotonic_ns()}.sock")]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._questions, self._answers = cast(
            "tuple[IO[str], IO[str]]", (self._process.stdin, self._process.stdout)
        )
        return self

    def ask(self, prompt: str, max_tokens: int, seconds: float | None = None) -> Run:
        """Have one answer written, and stopped after `seconds`."""
        self._questions.write(json.dumps((prompt, max_tokens, seconds)) + "\n")
        self._questions.flush()
        return Run(*json.loads(self._answers.readline()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()


def _load(socket: str) -> Any:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types
    path = installed_weights()
    address = None if os.name == "nt" else socket
    order = _order(LocalModel(path), read_header(path).context_length, address)
    return xllamacpp.Server(build_params(xllamacpp, order))


def _answer(engine: Any, prompt: str, max_tokens: int, seconds: float | None) -> Run:
    fragments: list[str] = []
    times: list[float] = []

    def take(chunk: dict[str, Any]) -> bool:
        text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        if text:
            fragments.append(text)
            times.append(time.perf_counter())
        return seconds is not None and bool(times) and times[-1] - begin > seconds  # stop

    begin = time.perf_counter()
    question = {
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    engine.handle_chat_completions(question, take)
    return Run.of(fragments, begin, times)


def _serve(socket: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the engine prints
    engine = _load(socket)
    for line in sys.stdin:
        answers.write(json.dumps(_answer(engine, *json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
    os._exit(0)  # the engine's destructor may hang
