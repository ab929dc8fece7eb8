"""The engine's process: `python -m brainwires_provider.local.engine.child` runs llama.cpp's own HTTP server.

The parent's order is one JSON line on standard input, so that no key stands in an argument list or an
environment; the answer is one JSON line on standard output, `{"address": ...}` or `{"error": ...}`.
Everything that the engine prints goes to standard error.

Standard input then stays open as long as the parent lives. Its end ends this process: while the model
loads, xllamacpp holds the interpreter's lock and no Python thread runs, so there the kernel is asked for
a signal; afterwards a thread reads, and the main thread watches who its parent is (a process that the
parent forked would keep the pipe open), and how crowded the cores are (see `spin`). The process
leaves by `os._exit`: xllamacpp's destructor was measured to hang for over a minute on a TCP listener.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import threading
import time
from typing import Any, TypedDict

from brainwires_provider.local.engine.spin import LOOK, settle_spinning, spin_control

__all__ = ["Order", "build_params", "main"]

PARENT_CHECK = 1.0  # seconds between two looks at the parent's id

# llama.cpp may keep idle conversations' caches in up to 8 GiB of memory: too much for a library's helper.
PROMPT_CACHE_MIB = 1024

LOG_ERRORS = 1  # of llama.cpp's levels; the log is read for error messages only


class _Needed(TypedDict):
    path: str
    alias: str
    context: int
    slots: int
    batch: int
    socket: str | None  # None: loopback, and then `api_key` is set
    api_key: str | None


class Order(_Needed, total=False):
    """What the parent asks for. Left out, or None: the engine's own choice."""

    threads: int | None
    gpu_layers: int | None
    mmap: bool
    mlock: bool
    cache_type_k: str | None
    cache_type_v: str | None
    chat_template: str | None
    pooling: str | None


def main() -> None:
    """Serve one model until the parent ends or closes our input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it may only stop one answer
    parent = os.getppid()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the parent died before it had said anything
        os._exit(0)
    order: Order = json.loads(line)
    answer = _take_stdout()
    _set_kernel_guard(True)
    try:
        address, _server = _serve(order)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must be told
        _set_kernel_guard(False)
        _say(answer, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    _set_kernel_guard(False)
    threading.Thread(target=_leave_at_end_of_input, args=(order["socket"],), daemon=True).start()
    _say(answer, {"address": address})
    spinning = spin_control()
    while os.name == "nt" or os.getppid() == parent:
        time.sleep(PARENT_CHECK if spinning is None else LOOK)
        if spinning is not None:
            spinning.look()
    _leave(order["socket"])


def build_params(xllamacpp: Any, order: Order) -> Any:
    """llama.cpp's `CommonParams` for an order."""
    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    params.model_alias = {order["alias"]}  # else every answer names the file's full path as its model
    params.n_ctx = order["context"]
    params.n_parallel = order["slots"]
    params.kv_unified = True  # else each slot has only its share of the context
    params.n_batch = params.n_ubatch = order["batch"]
    if (threads := order.get("threads")) is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if (layers := order.get("gpu_layers")) is not None:
        params.n_gpu_layers = layers
    _set_memory(xllamacpp, params, order)
    if template := order.get("chat_template"):
        params.chat_template = template
    if pooling := order.get("pooling"):
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    params.hostnames = [order["socket"] or "127.0.0.1"]  # a name that ends in ".sock" is a Unix socket
    params.port = 0
    if order["api_key"] is not None:
        params.api_keys = [order["api_key"]]
    params.ui = False
    params.verbosity = LOG_ERRORS
    params.warmup = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    return params


def _set_memory(xllamacpp: Any, params: Any, order: Order) -> None:
    modes = xllamacpp.llama_load_mode
    match order.get("mmap", True), order.get("mlock", False):
        case True, False:
            pass  # the engine's own choice is to map, but where a device takes its copy better otherwise
        case True, True:
            params.load_mode = modes.LLAMA_LOAD_MODE_MMAP_MLOCK
        case False, True:
            params.load_mode = modes.LLAMA_LOAD_MODE_MLOCK
        case _:
            params.load_mode = modes.LLAMA_LOAD_MODE_NONE
    if key_type := order.get("cache_type_k"):
        params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{key_type.upper()}")
    if value_type := order.get("cache_type_v"):
        params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{value_type.upper()}")


def _serve(order: Order) -> tuple[str, Any]:
    """Load, and listen. The server lives as long as the object, so the caller keeps it."""
    settle_spinning()
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types
    server = xllamacpp.Server(build_params(xllamacpp, order))
    return str(server.listening_address), server


def _take_stdout() -> int:
    """A private descriptor for the answer; from here on descriptor 1 is standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    return answer


def _say(answer: int, words: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # the parent has gone: the end of input tells so
        os.write(answer, json.dumps(words).encode() + b"\n")
        os.close(answer)


def _set_kernel_guard(on: bool) -> None:
    """Let the kernel end this process at the end of standard input, which needs no interpreter.

    Where the platform has no such signal, a parent that dies during the load is noticed after it.
    """
    try:
        import fcntl
    except ImportError:
        return
    if sys.platform == "win32" or not hasattr(os, "O_ASYNC"):
        return
    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(0, fcntl.F_GETFL)
        if on:
            signal.signal(signal.SIGIO, signal.SIG_DFL)  # whose default is to end the process
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
            fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
            _leave_if_input_ended()
        else:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            fcntl.fcntl(0, fcntl.F_SETFL, flags & ~os.O_ASYNC)


def _leave_if_input_ended() -> None:
    """The end may have come before the signal was asked for."""
    import select

    if select.select([0], [], [], 0)[0]:
        os._exit(0)


def _leave_at_end_of_input(socket: str | None) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _leave(socket)


def _leave(socket: str | None) -> None:
    """End now, and take the private folder along: the parent may no longer be there to do it."""
    if socket is not None:
        with contextlib.suppress(OSError):
            os.unlink(socket)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(socket))
    os._exit(0)


if __name__ == "__main__":
    main()
