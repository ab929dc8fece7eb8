"""A process that drives xllamacpp directly, without HTTP.

A request is a line of JSON on its standard input; the measurement of the response is one on its standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import IO, Any, cast

import msgspec

from brainwires_provider.cli.local_bench import Sample
from brainwires_provider.local.engine.child import build_params
from brainwires_provider.local.engine.engine import engine_config
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.local.weights.gguf import read_header

__all__ = ["DirectEngine"]


class DirectEngine:
    """Such a process, which runs inside `with`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> DirectEngine:
        pipe = subprocess.PIPE
        command = [sys.executable, __file__, os.path.join(self._folder, f"{time.monotonic_ns()}.sock")]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._requests, self._samples = cast(
            "tuple[IO[str], IO[str]]", (self._process.stdin, self._process.stdout)
        )
        return self

    def ask(self, prompt: str, max_tokens: int, seconds: float | None = None) -> Sample:
        """One response, stopped after `seconds` from its first text."""
        self._requests.write(json.dumps((prompt, max_tokens, seconds)) + "\n")
        self._requests.flush()
        return msgspec.json.decode(self._samples.readline(), type=Sample)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()


def _load(socket: str) -> Any:
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types
    path = installed_weights()
    address = None if os.name == "nt" else socket
    config = engine_config(LocalModel(path), read_header(path).context_length, address)
    return xllamacpp.Server(build_params(xllamacpp, config))


def _answer(engine: Any, prompt: str, max_tokens: int, seconds: float | None) -> Sample:
    texts: list[str] = []
    times: list[float] = []

    def take(chunk: dict[str, Any]) -> bool:
        text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        if text:
            texts.append(text)
            times.append(time.perf_counter())
        return seconds is not None and bool(times) and times[-1] - times[0] > seconds  # stop

    began = time.perf_counter()
    request = {
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    engine.handle_chat_completions(request, take)
    return Sample.of(began, times, "".join(texts))


def _serve(socket: str) -> None:
    samples = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the engine prints
    engine = _load(socket)
    for line in sys.stdin:
        samples.write(msgspec.json.encode(_answer(engine, *json.loads(line))).decode() + "\n")
        samples.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
    os._exit(0)  # the engine's destructor may hang
