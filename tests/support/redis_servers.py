"""A Redis or Valkey server of the system, started by a test: without persistence, on a free port of this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

SERVERS = ("redis-server", "valkey-server")


class RedisServer:
    """The server. `start` after `kill` uses the same port, and remembers nothing."""

    def __init__(self, program: str, folder: Path, *settings: str) -> None:
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"there is no {program} on this machine")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [found, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no", *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Until it accepts connections."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < until and self._process.poll() is None, "the server does not start"
                time.sleep(0.01)

    def kill(self) -> None:
        """At once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    def ask(self, *words: Any, password: str | None = None) -> Any:
        """One command, by the package's synchronous client."""
        import redis

        with redis.Redis(port=self.port, password=password, decode_responses=True) as client:
            return client.execute_command(*words)
