"""The engine's process: `python -m brainwires_provider.local.engine.child` runs llama.cpp's own HTTP server.

The parent writes an `EngineConfig` as one line of JSON to standard input, so that no key is in an argument list or an
environment. The reply is one line of JSON on standard output, `{"address": ...}` or `{"error": ...}`. Everything that
the engine prints goes to standard error.

Standard input stays open as long as the parent lives, and its end stops this process. While the model loads,
xllamacpp holds the interpreter's lock and no Python thread runs; during that time the kernel sends a signal instead.
Afterwards a thread reads standard input, and the main thread checks the parent's process id, because a process that
the parent forked keeps the pipe open. The process exits by `os._exit`: xllamacpp's destructor was measured to hang for
over a minute on a TCP listener.
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

__all__ = ["EngineConfig", "build_params", "main"]

PARENT_CHECK = 1.0  # seconds between two checks of the parent's process id

# By default llama.cpp caches idle conversations in up to 8 GiB of memory: too much for a library.
PROMPT_CACHE_MIB = 1024

LOG_ERRORS = 1  # a log level of llama.cpp; the log is used for error messages only


class _Required(TypedDict):
    path: str
    alias: str
    context: int
    slots: int
    batch: int
    socket: str | None  # None: loopback, and then `api_key` is set
    api_key: str | None


class EngineConfig(_Required, total=False):
    """How to run a model. Left out or None: llama.cpp's default."""

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
    # Ctrl-C belongs to the parent: it may only stop one response.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the parent died before it wrote anything
        os._exit(0)
    config: EngineConfig = json.loads(line)
    reply = _take_stdout()
    _set_kernel_guard(True)
    try:
        address, _server = _serve(config)
    except Exception as error:  # noqa: BLE001 - the parent reports it, whatever it is
        _set_kernel_guard(False)
        _send(reply, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    _set_kernel_guard(False)
    threading.Thread(target=_exit_at_end_of_input, args=(config["socket"],), daemon=True).start()
    _send(reply, {"address": address})
    while os.name == "nt" or os.getppid() == parent:
        time.sleep(PARENT_CHECK)
    _exit(config["socket"])


def build_params(xllamacpp: Any, config: EngineConfig) -> Any:
    """llama.cpp's `CommonParams` for `config`."""
    params = xllamacpp.CommonParams()
    params.model.path = config["path"]
    params.model_alias = {config["alias"]}  # else every response has the file's full path as its model
    params.n_ctx = config["context"]
    params.n_parallel = config["slots"]
    params.kv_unified = True  # else each slot has only its share of the context
    params.n_batch = params.n_ubatch = config["batch"]
    if (threads := config.get("threads")) is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if (layers := config.get("gpu_layers")) is not None:
        params.n_gpu_layers = layers
    _set_memory(xllamacpp, params, config)
    if template := config.get("chat_template"):
        params.chat_template = template
    if pooling := config.get("pooling"):
        params.embedding = True
        params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    params.hostnames = [config["socket"] or "127.0.0.1"]  # a name that ends in ".sock" is a Unix socket
    params.port = 0
    if config["api_key"] is not None:
        params.api_keys = [config["api_key"]]
    params.ui = False
    params.verbosity = LOG_ERRORS
    params.warmup = True
    params.cache_ram_mib = PROMPT_CACHE_MIB
    return params


def _set_memory(xllamacpp: Any, params: Any, config: EngineConfig) -> None:
    modes = xllamacpp.llama_load_mode
    match config.get("mmap", True), config.get("mlock", False):
        case True, False:
            pass  # llama.cpp's default maps the file unless a device copies it better in another way
        case True, True:
            params.load_mode = modes.LLAMA_LOAD_MODE_MMAP_MLOCK
        case False, True:
            params.load_mode = modes.LLAMA_LOAD_MODE_MLOCK
        case _:
            params.load_mode = modes.LLAMA_LOAD_MODE_NONE
    if key_type := config.get("cache_type_k"):
        params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{key_type.upper()}")
    if value_type := config.get("cache_type_v"):
        params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{value_type.upper()}")


def _serve(config: EngineConfig) -> tuple[str, Any]:
    """Load the model and listen. The caller must keep the server: it stops when it is garbage-collected."""
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it ships no types
    server = xllamacpp.Server(build_params(xllamacpp, config))
    return str(server.listening_address), server


def _take_stdout() -> int:
    """A private descriptor for the reply; from here on descriptor 1 is standard error."""
    reply = os.dup(1)
    os.dup2(2, 1)
    return reply


def _send(reply: int, message: dict[str, str]) -> None:
    with contextlib.suppress(OSError):  # the parent has exited, which the end of input will show
        os.write(reply, json.dumps(message).encode() + b"\n")
        os.close(reply)


def _set_kernel_guard(on: bool) -> None:
    """Let the kernel stop this process at the end of standard input, which needs no interpreter.

    Where the platform has no such signal, the death of the parent during the load is noticed after it.
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
            signal.signal(signal.SIGIO, signal.SIG_DFL)  # its default action ends the process
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
            fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
            _exit_if_input_ended()
        else:
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            fcntl.fcntl(0, fcntl.F_SETFL, flags & ~os.O_ASYNC)


def _exit_if_input_ended() -> None:
    """Input may have ended before the signal was requested."""
    import select

    if select.select([0], [], [], 0)[0]:
        os._exit(0)


def _exit_at_end_of_input(socket: str | None) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _exit(socket)


def _exit(socket: str | None) -> None:
    """Exit now, and delete the private folder, because the parent may no longer exist to do so."""
    if socket is not None:
        with contextlib.suppress(OSError):
            os.unlink(socket)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(socket))
    os._exit(0)


if __name__ == "__main__":
    main()
