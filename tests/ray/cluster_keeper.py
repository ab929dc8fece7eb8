"""A Ray cluster on this machine, for as long as standard input is open; afterwards none of its processes is left.

Prints its address and its folder. It is the reaper of all that its descendants start, whatever session they are in.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress

import psutil

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_PORTS = ("port", "dashboard-agent-grpc-port", "dashboard-agent-listen-port")
_PORTS += ("metrics-export-port", "runtime-env-agent-port", "node-manager-port", "object-manager-port")
_LATE = 600.0
_ATTEMPTS = 5


def free_ports() -> dict[str, int]:
    """Ports that are named need not be waited for: Ray gives its agents 15 seconds to find some."""
    found = {}
    with ExitStack() as held:
        for name in _PORTS:
            each = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            found[name] = each.getsockname()[1]
    return found


def start(cpus: str, folder: str) -> str:
    ports = free_ports()
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--include-dashboard=false"]
    command += ["--object-store-memory=100000000", f"--temp-dir={folder}"]
    command += [f"--{name}={port}" for name, port in ports.items()]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=_LATE)
    return f"127.0.0.1:{ports['port']}"


def started(cpus: str, folder: str) -> str:
    """Again where Ray's own processes were too slow for its clocks: the machine was busy."""
    for _ in range(_ATTEMPTS):
        try:
            return start(cpus, folder)
        except subprocess.CalledProcessError:
            end()
    return start(cpus, folder)


def end() -> None:
    me, until = psutil.Process(os.getpid()), time.monotonic() + _LATE
    while (left := me.children(recursive=True)) and time.monotonic() < until:
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=5)


def main(cpus: str) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    folder = tempfile.mkdtemp(prefix="bw", dir="/tmp")  # a socket's path has 107 bytes
    try:
        print(json.dumps({"address": started(cpus, folder), "folder": folder}), flush=True)
        sys.stdin.read()
    finally:
        end()
        shutil.rmtree(folder, ignore_errors=True)


main(*sys.argv[1:])
