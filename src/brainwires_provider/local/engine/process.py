"""The engine's process as its parent sees it: spawned, given its order, waited for, ended.

Its standard input is the lifeline: it ends when we do, however we end. A thread empties its standard error into a
bounded ring, for the error message.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Final, cast

from brainwires_provider.errors import ConfigError, ConnectError, RequestTimeout

if TYPE_CHECKING:
    from brainwires_provider.local.engine.child import Order

__all__ = ["EngineProcess"]

LOG_TAIL: Final = 4096  # bytes of the child's log that are kept
END_GRACE: Final = 0.5  # seconds that the child has to end by itself
KILL_GRACE: Final = 10.0  # seconds that the kernel has to take the memory of a large model back


class EngineProcess:
    """The child and its three pipes: input is its lifeline, output its one answer, error its log.

    Raises ConfigError when there is no interpreter to run it in.
    """

    def __init__(self, order: Order) -> None:
        self._path = order["path"]
        self._popen = _spawn()
        self._lifeline, self._answer, log = cast(
            "tuple[IO[bytes], IO[bytes], IO[bytes]]",
            (self._popen.stdin, self._popen.stdout, self._popen.stderr),
        )
        self._log = bytearray()
        self._reader = threading.Thread(
            target=_keep_tail, args=(self._popen, log, self._log), name="brainwires-engine-log", daemon=True
        )
        self._reader.start()
        with contextlib.suppress(OSError):  # it has died at once: `load` will see that
            self._lifeline.write(json.dumps(order).encode() + b"\n")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def load(self, timeout: float) -> str:
        """Wait for the answer, at most `timeout` seconds: the address. Only one thread may do so, once."""
        late = threading.Event()
        clock = threading.Timer(timeout, self._kill_as_late, [late])
        clock.daemon = True
        clock.start()
        with self._answer as answer:
            line = answer.readline()
        clock.cancel()
        if late.is_set():
            raise RequestTimeout(
                f"the local engine did not load {self._path!r} within {timeout:g} s; "
                f"give it a longer load_timeout{self._tail()}",
                clock="connect",
            )
        if not line.endswith(b"\n"):
            how = self._ending()
            raise ConnectError(f"the local engine ended ({how}) while loading {self._path!r}{self._tail()}")
        words: dict[str, str] = json.loads(line)
        if "error" in words:
            raise ConfigError(f"llama.cpp could not load {self._path!r}: {words['error']}{self._tail()}")
        return words["address"]

    def _kill_as_late(self, late: threading.Event) -> None:
        late.set()
        self._popen.kill()

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(END_GRACE)
        status = self._popen.returncode
        if status == -9:
            return "signal 9; perhaps the machine has too little memory for this model"
        return f"signal {-status}" if status is not None and status < 0 else f"status {status}"

    def _tail(self) -> str:
        """The last lines of the log, once it is whole: the child is at its end whenever this is asked for."""
        self.end(END_GRACE)
        self._reader.join(END_GRACE)
        text = bytes(self._log).decode("utf-8", "replace").strip()
        return f"; its log ends with:\n{text}" if text else ""

    def end(self, grace: float) -> None:
        """Let go of the lifeline, at whose end the child ends itself; after `grace` seconds insist."""
        self._lifeline.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(END_GRACE)

    def kill(self) -> None:
        """End it at once, without its own cleaning up: the private folder stays, for the next."""
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(KILL_GRACE)
        self._lifeline.close()

    def disown(self) -> None:
        """In a forked child: close our copies of the pipes, and leave the process to its owner."""
        self._popen.returncode = 0  # else Popen complains, or waits for a process that is not ours
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()


def _spawn() -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):
        raise ConfigError("the local engine needs a Python interpreter to run in; sys.executable is none")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "PYTHONINSPECT")}
    # What we can import, the child can, in the same order; -P: and nothing else from the working directory.
    environment["PYTHONPATH"] = os.pathsep.join(str(entry) or os.getcwd() for entry in sys.path)
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "brainwires_provider.local.engine.child"]
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,  # no buffer means no lock that a fork could inherit held
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal is for us, not for the engine
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
        | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _keep_tail(process: subprocess.Popen[bytes], stream: IO[bytes], log: bytearray) -> None:
    """Empty the child's log, keep its last `LOG_TAIL` bytes, and reap the child at its end."""
    with stream:
        while chunk := stream.read(4096):
            log += chunk
            del log[:-LOG_TAIL]
    process.wait()
