"""Every row of the portal's table, each in a process of its own, with warnings as errors and a hard clock."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable

import msgspec
import pytest

from brainwires_provider.events import OpaqueDelta
from brainwires_provider.sync.pump import _weight
from brainwires_provider.testing import (
    Answer,
    Drop,
    Gate,
    Paced,
    RecordedRequest,
    ScriptedServer,
    Stall,
    sse,
)
from ctrl_c import with_sigint_ignored
from paths import TESTS

HERE = TESTS / "support"
PYTHON = (sys.executable, "-X", "dev", "-W", "error")
CLOCK = 40.0  # seconds: a hang's end, not a speed claim

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and fork")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def chunk(delta: dict[str, object], finish: str | None = None) -> dict[str, object]:
    return {"id": "c1", "model": "m1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


START = sse(chunk({"role": "assistant", "content": ""}), chunk({"content": "one "}), done=False)
REST = sse(chunk({"content": "two "}), chunk({"content": "three "}), chunk({}, "stop"))
WHOLE = msgspec.json.encode(
    {
        "id": "c1",
        "model": "m1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
    }
)
BIG = sse(chunk({"content": "x" * 65_536}), done=False)
ANSWERS = {
    "whole": Answer(body=WHOLE),
    "words": Answer(body=[START, REST]),
    "half": Answer(body=[START, Stall()]),
    "stall": Answer(stall_before_headers=True),
    "tail": Answer(body=[START, REST, Stall()]),
    "gated": Answer(body=[START, Gate("open"), REST]),
    "cut": Answer(body=[START, Drop()]),
    "fail": Answer(status=500, body=b'{"error": {"message": "' + b"x" * 10_000 + b'"}}'),
    "big": Answer(body=[Paced([BIG] * 1600), REST]),
}


def answer(request: RecordedRequest) -> Answer:
    return ANSWERS[request.json()["messages"][-1]["content"]]


class Case:
    """One script, run; `said` gives its lines as they come, `go` answers those that ask."""

    def __init__(self, script: str, case: str, server: ScriptedServer, sigint_ignored: bool) -> None:
        command = [*PYTHON, HERE / "portal_cases" / f"{script}.py", case, f"{server.url}/v1"]
        self.process = subprocess.Popen(
            with_sigint_ignored(command) if sigint_ignored else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.clock = threading.Timer(CLOCK, self.process.kill)
        self.clock.start()
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.stdin, self.stdout, self.stderr = self.process.stdin, self.process.stdout, self.process.stderr

    def said(self) -> str:
        return self.stdout.readline().strip()

    def go(self) -> None:
        self.stdin.write("go\n")
        self.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        try:
            out, err = self.process.communicate()
        finally:
            self.clock.cancel()
            self.process.kill()
        return self.process.returncode, out, err


Part = Callable[[ScriptedServer], object]
PARTS: dict[str, Part] = {
    "interrupted": lambda server: server.wait_idle(),
    "dropped": lambda server: server.wait_idle(),
    "open": lambda server: server.open("open"),
    "stalled": lambda server: server.wait_requests(5),
    "slept": lambda server: None,
    "ok": lambda server: None,
}


def play(script: str, case: str, *, sigint_ignored: bool = False) -> list[str]:
    """The lines that the case said; it has exited with 0, an empty stderr, and no connection left."""
    said: list[str] = []
    with ScriptedServer(answer, timeout=CLOCK) as server:
        run = Case(script, case, server, sigint_ignored)
        try:
            while word := run.said():
                said.append(word)
                if word in PARTS:
                    PARTS[word](server)
                    if word != "ok":
                        run.go()
        finally:
            code, _, err = run.end()
            told = f"{case}: exit {code}, said {said}\n{err}"
        assert (code, err) == (0, ""), told
        assert "ok" in said, told
        server.wait_idle()
    return said


@posix_only
@pytest.mark.parametrize(
    "case", ["chat", "elsewhere", "enter", "following", "body", "leaving", "cancels", "closing"]
)
def test_ctrl_c_leaves_the_wait_at_once_and_takes_the_request_along(case: str) -> None:
    play("interrupts", case)


@posix_only
def test_the_interrupts_do_not_depend_on_what_the_test_run_inherited() -> None:
    play("interrupts", "chat", sigint_ignored=True)


@pytest.mark.parametrize(
    "case",
    ["system_exit", "keyboard_interrupt", "thread_exit", "own_thread", "beside", "running_loop", "context"],
)
def test_callables_of_the_user(case: str) -> None:
    play("callables", case)


def test_a_traceback_is_short_and_keeps_nothing_alive() -> None:
    play("callables", "tracebacks")


@posix_only
@pytest.mark.parametrize("case", ["stream_open", "left_alone"])
def test_a_fork_leaves_the_parent_its_streams_and_the_child_starts_afresh(case: str) -> None:
    play("forks", case)


@pytest.mark.parametrize(
    ("case", "last"),
    [
        ("used", "ok"),
        ("streams", "ok"),
        ("blocked", "ok"),
        ("stubborn", "ok"),
        ("dropped", "ok"),
        ("early_hook", "hook"),
        ("late_hook", "hook"),
        ("thread_left", "hook"),
    ],
)
def test_exit_without_close_is_silent(case: str, last: str) -> None:
    assert play("exits", case)[-1] == last


@pytest.mark.parametrize(
    "case",
    ["fifty_threads", "fifty_clients", "racing", "closed_meanwhile", "stream_dropped", "client_dropped"],
)
def test_the_ends_of_threads_clients_and_streams(case: str) -> None:
    play("lives", case)


@posix_only
def test_a_signal_handler_may_call() -> None:
    play("lives", "handler")


@linux_only
def test_a_sleeping_consumer_stops_the_reading() -> None:
    play("lives", "memory")


@pytest.mark.parametrize(
    "data",
    ["x" * 5_000, b"x" * 5_000, ["x" * 2_500, ["x" * 2_500]], {"a": {"b": "x" * 5_000}}, ("x",) * 5_000],
    ids=["text", "bytes", "lists", "objects", "many"],
)
def test_what_waits_for_a_slow_consumer_counts_with_its_size(data: object) -> None:
    """The pump stops reading at a bound: an opaque fragment must not pass below it as if it held nothing."""
    assert 5_000 <= _weight(OpaqueDelta(0, "image", data)) - _weight(OpaqueDelta(0, "image", "")) <= 10_010
