"""The engine's child process, seen from its parent: start it, send its configuration, wait for it, stop it.

The parent holds the child's standard input open, and the child exits when it is closed, however the parent ends. A
thread reads the child's standard error and keeps the last bytes for error messages.
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
    from brainwires_provider.local.engine.child import EngineConfig

__all__ = ["EXIT_GRACE", "KILL_GRACE", "EngineProcess"]

LOG_TAIL: Final = 4096  # bytes of the child's log that are kept
EXIT_GRACE: Final = 0.5  # seconds that the child has to exit by itself
SPIN_COUNT: Final = "500"
"""How often a thread of libgomp checks whether another is done before it sleeps; libgomp's default is 300,000.

llama.cpp's threads wait for one another hundreds of times per token. Many checks are fastest on free cores and very
slow when another process uses a core, because a thread that spins takes the time of the thread that it waits for. The
measurements are in docs/decisions/0010. https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
"""
KILL_GRACE: Final = 10.0  # seconds that the kernel has to free the memory of a large model


class EngineProcess:
    """The child and its three pipes: input keeps it alive, output has its one reply, error is its log.

    Raises ConfigError when there is no Python interpreter to run it with.
    """

    def __init__(self, config: EngineConfig) -> None:
        self._path = config["path"]
        self._popen = _spawn()
        self._stdin, self._reply, log = cast(
            "tuple[IO[bytes], IO[bytes], IO[bytes]]",
            (self._popen.stdin, self._popen.stdout, self._popen.stderr),
        )
        self._log = bytearray()
        self._reader = threading.Thread(
            target=_keep_tail, args=(self._popen, log, self._log), name="brainwires-engine-log", daemon=True
        )
        self._reader.start()
        with contextlib.suppress(OSError):  # it died at once, which `load` reports
            self._stdin.write(json.dumps(config).encode() + b"\n")

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def ended(self, patience: float) -> str | None:
        """How the process ended, waiting for at most `patience` seconds; None if it still runs.

        A killed process closes its sockets shortly before it is gone.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience)
            return self._exit_reason()
        return None

    def load(self, timeout: float) -> str:
        """Wait at most `timeout` seconds for the reply, and return the address. To be called once, by one thread."""
        expired = threading.Event()
        timer = threading.Timer(timeout, self._expire, [expired])
        timer.daemon = True
        timer.start()
        with self._reply as reply:
            line = reply.readline()
        timer.cancel()
        if expired.is_set():
            raise RequestTimeout(
                f"the local engine did not load {self._path!r} within {timeout:g} s; "
                f"set a longer load_timeout{self._tail()}",
                clock="connect",
            )
        if not line.endswith(b"\n"):
            how = self._exit_reason()
            raise ConnectError(f"the local engine exited ({how}) while loading {self._path!r}{self._tail()}")
        message: dict[str, str] = json.loads(line)
        if "error" in message:
            raise ConfigError(f"llama.cpp could not load {self._path!r}: {message['error']}{self._tail()}")
        return message["address"]

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self._popen.kill()

    def _exit_reason(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(EXIT_GRACE)
        status = self._popen.returncode
        if status == -9:
            return "signal 9; the machine may have too little memory for this model"
        return f"signal {-status}" if status is not None and status < 0 else f"status {status}"

    def _tail(self) -> str:
        """The last lines of the log, for an error message. Stops the child first, so that the log is complete."""
        self.end(EXIT_GRACE)
        self._reader.join(EXIT_GRACE)
        text = bytes(self._log).decode("utf-8", "replace").strip()
        return f"; its log ends with:\n{text}" if text else ""

    def end(self, grace: float) -> None:
        """Close standard input, at which the child exits; kill it after `grace` seconds."""
        self._stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(EXIT_GRACE)

    def kill(self) -> None:
        """Kill the child at once. It does not clean up, so the private folder stays for the next one."""
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(KILL_GRACE)
        self._stdin.close()

    def disown(self) -> None:
        """In a forked process: close its copies of the pipes. The engine belongs to the parent."""
        self._popen.returncode = 0  # else Popen warns, or waits for a process of the parent
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()


def _spawn() -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):
        raise ConfigError(
            "the local engine needs a Python interpreter to run it, and sys.executable is empty"
        )
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "brainwires_provider.local.engine.child"]
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603 - a module of this package, no shell
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        bufsize=0,  # without a buffer there is no lock that a fork could inherit held
        env=_environment(),
        start_new_session=True,  # Ctrl-C in the terminal is for the parent, not for the engine
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0)
        | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _environment() -> dict[str, str]:
    """The variables of the child: the parent's, with its module search path and with `SPIN_COUNT`."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "PYTHONINSPECT")}
    # The child imports what the parent can import, in the same order; -P adds nothing from the working directory.
    environment["PYTHONPATH"] = os.pathsep.join(str(entry) or os.getcwd() for entry in sys.path)
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    return environment


def _keep_tail(process: subprocess.Popen[bytes], stream: IO[bytes], log: bytearray) -> None:
    """Read the child's log to its end, keep the last `LOG_TAIL` bytes, and reap the child."""
    with stream:
        while chunk := stream.read(4096):
            log += chunk
            del log[:-LOG_TAIL]
    process.wait()
