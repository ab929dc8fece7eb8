"""LiteLLM's proxy before a real llama.cpp, as processes of their own: a Responses server over WebSocket not ours.

The proxy lives in an environment that uv makes once and keeps. Between the proxy and the engine stands a relay that
changes nothing and remembers what was asked: what the engine saw is the one sure count of turns lost or doubled.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

# The newest that was tried. 1.107.0 is reported as tampered with: look before raising this.
VERSION = "1.106.0"
KEY = "sk-proxy-master"
MODEL = "smollm2"
_ENGINE_KEY = "sk-engine"
_INSTALL_CLOCK = 900.0  # seconds: the first time brings over 100 packages
_START_CLOCK = 180.0  # 15 s on an idle machine
_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params:
      model: hosted_vllm/{model}
      api_base: {url}
      api_key: {engine_key}
general_settings:
  master_key: {key}
"""


@functools.cache
def executable() -> Path:
    """The proxy's program. Skips the test where uv or the package cannot be had."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv, which makes the environment of LiteLLM's proxy")
    where = "import sys; print(sys.executable)"
    command = [uv, "tool", "run", "--python", sys.executable, "--from", f"litellm[proxy]=={VERSION}"]
    try:
        made = subprocess.run(
            [*command, "python", "-c", where],
            capture_output=True,
            text=True,
            timeout=_INSTALL_CLOCK,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"litellm[proxy]=={VERSION} was not installed within {_INSTALL_CLOCK:g} s")
    program = Path(made.stdout.strip()).with_name("litellm")
    if made.returncode or not program.is_file():
        said = (made.stderr.strip().splitlines() or ["nothing"])[-1]
        pytest.skip(f"litellm[proxy]=={VERSION} cannot be had for this Python; uv says: {said}")
    return program


@contextmanager
def engine() -> Iterator[str]:
    """llama.cpp's own HTTP server with SmolLM2; its address."""
    from brainwires_provider.local.weights.find import installed_weights

    order = {
        "path": installed_weights(),
        "alias": MODEL,
        "context": 4096,
        "slots": 2,
        "batch": 128,
        "threads": 1,  # two that wait for each other are slower where others work too
        "gpu_layers": None,
        "socket": None,
        "api_key": _ENGINE_KEY,
    }
    command = [sys.executable, "-m", "brainwires_provider.local.engine.child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        try:
            yield json.loads(child.stdout.readline())["address"]
        finally:
            child.stdin.close()  # the engine's lifeline
            child.wait(30)


class Relay:
    """Stands before an engine and passes everything on, piece by piece."""

    def __init__(self, target: str) -> None:
        self.asked: list[dict[str, Any]] = []
        """The bodies of the requests for an answer, in order."""
        self.at_first_piece: Callable[[], None] | None = None
        """Called once, when the first piece of the next request's answer has been passed on; the rest of it is not."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Passing, self))
        self._server.daemon_threads = True
        self.target = target.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, relay: Relay, *given: Any) -> None:
        self._relay = relay
        super().__init__(*given)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the proxy was killed
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        then = None
        if self.path == "/v1/responses":
            self._relay.asked.append(json.loads(body))
            then, self._relay.at_first_piece = self._relay.at_first_piece, None
        onward = http.client.HTTPConnection(self._relay.target, timeout=_START_CLOCK)
        try:
            passed = {name: self.headers[name] for name in ("authorization", "content-type")}
            onward.request("POST", self.path, body, passed)
            self._answer(onward.getresponse(), then)
        finally:
            onward.close()

    def _answer(self, answer: http.client.HTTPResponse, then: Callable[[], None] | None) -> None:
        self.send_response(answer.status)
        self.send_header("content-type", answer.getheader("content-type") or "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        while piece := answer.read1(65_536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if then is not None:
                then()
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Proxy:
    """LiteLLM's proxy on a port that stays the same over its restarts."""

    def __init__(self, folder: Path, engine_url: str) -> None:
        self._program = executable()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self._port}/v1"
        self._config = folder / "litellm.yaml"
        self._config.write_text(
            _CONFIG.format(model=MODEL, url=engine_url, engine_key=_ENGINE_KEY, key=KEY), encoding="utf-8"
        )
        self._log = folder / "litellm.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._killing = threading.Lock()
        self.starts = 0

    def start(self) -> None:
        """Start, and wait until it serves."""
        self.starts += 1
        command = [str(self._program), "--config", str(self._config)]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--telemetry", "False"]
        # Nothing of this machine's: no key, no list of prices from elsewhere, no proxy on the way to the engine.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith(("_API_KEY", "_proxy", "_PROXY"))
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._config.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_CLOCK
        while not self._serves():
            assert self._process.poll() is None, f"the proxy ended: {self.log()}"
            assert time.monotonic() < deadline, f"the proxy does not serve: {self.log()}"
            time.sleep(0.1)

    def _serves(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/health/liveliness")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it and its children at once, as a crash would."""
        with self._killing:  # a test restarts it while the relay's thread still waits for its end
            if self._process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(30)
                self._process = None

    def restart(self) -> None:
        """Kill, and start again."""
        self.kill()
        self.start()

    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Proxy, Relay]]:
    """A proxy that serves, and the relay behind it."""
    executable()  # before anything is started: it may skip
    with engine() as address, Relay(address) as relay:
        proxy = Proxy(folder, relay.url)
        try:
            proxy.start()
            yield proxy, relay
        finally:
            proxy.kill()
