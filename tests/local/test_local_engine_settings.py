"""How a local model is run: each setting reaches llama.cpp, what is refused says so, and which settings count."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import ConfigError
from brainwires_provider.local.engine import process_memory as memory
from brainwires_provider.local.engine.engine import Engine, engine_config
from brainwires_provider.local.engine.process import SPIN_COUNT
from brainwires_provider.local.engine.process_memory import ProcessMemory, process_memory
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local.transport import EngineStatus, LocalTransport, overlay
from brainwires_provider.local.weights.find import installed_weights
from brainwires_provider.local.weights.gguf import read_header
from engines import NEEDS_ENGINE
from local_engines import CLOCK, get, posix_only

pytestmark = NEEDS_ENGINE


@pytest.fixture(autouse=True)
def no_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINWIRES_DATA_DIR", str(tmp_path / "data"))


@asynccontextmanager
async def running(settings: LocalModel) -> AsyncIterator[Engine]:
    engine = Engine(overlay(LocalModel(installed_weights()), settings))
    try:
        yield engine
    finally:
        await engine.aclose()


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (LocalModel(context=700), "n_ctx", 700),
        (LocalModel(slots=3), "n_parallel", 3),
        (LocalModel(batch=64), "n_batch", 64),
        (LocalModel(batch=64), "n_ubatch", 64),
        (LocalModel(threads=3), "cpuparams.n_threads", 3),
        (LocalModel(threads=3), "cpuparams_batch.n_threads", 3),
        (LocalModel(gpu_layers=7), "n_gpu_layers", 7),
        (LocalModel(), "load_mode", -1),
        (LocalModel(mmap=False), "load_mode", 0),
        (LocalModel(mlock=True), "load_mode", 3),
        (LocalModel(mmap=False, mlock=True), "load_mode", 2),
        (LocalModel(cache_type_k="q8_0"), "cache_type_k", 8),
        (LocalModel(cache_type_v="iq4_nl"), "cache_type_v", 20),
        (LocalModel(chat_template="{{ 1 }}"), "chat_template", "{{ 1 }}"),
        (LocalModel(), "embedding", False),
        (LocalModel(pooling="cls"), "embedding", True),
        (LocalModel(pooling="cls"), "pooling_type", 2),
        (LocalModel(pooling="mean", context=512), "n_ubatch", 512),
    ],
)
def test_each_setting_is_llama_cpps(settings: LocalModel, name: str, value: object) -> None:
    import xllamacpp

    from brainwires_provider.local.engine.child import build_params

    settings = overlay(LocalModel(installed_weights()), settings)
    found: Any = build_params(
        xllamacpp, engine_config(settings, read_header(settings.path).context_length, None)
    )
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"GOMP_SPINCOUNT": "5"},
        {"OMP_WAIT_POLICY": "active"},
        {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "5"},
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the variables of a process from /proc")
def test_threads_wait_as_the_user_says_else_as_was_measured(
    own: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)

    async def variables() -> dict[str, str]:
        async with running(LocalModel(slots=1)) as engine:
            await engine.endpoint()
            pairs = Path(f"/proc/{engine.pid}/environ").read_text().split("\0")
            return dict(pair.split("=", 1) for pair in pairs if pair)

    found = asyncio.run(variables())

    assert {name: found[name] for name in names if name in found} == (own or {"GOMP_SPINCOUNT": SPIN_COUNT})


def test_the_engine_runs_as_it_was_told() -> None:
    template = "{{ 'Say: ' + messages[0].content }}"
    settings = LocalModel(
        context=768,
        slots=2,
        threads=1,
        batch=64,
        gpu_layers=0,
        mmap=False,
        cache_type_k="q8_0",
        cache_type_v="q4_0",
        chat_template=template,
    )

    async def main() -> None:
        async with running(settings) as engine:
            _, props = await get(engine, "/props")
            assert (props["total_slots"], props["chat_template"]) == (2, template)
            assert props["default_generation_settings"]["n_ctx"] == 768
            messages = [{"role": "user", "content": "hello"}]
            _, applied = await get(engine, "/apply-template", {"messages": messages})
            assert applied["prompt"] == "Say: hello"
            if sys.platform == "linux":
                maps = Path(f"/proc/{engine.pid}/maps").read_text()
                assert engine.settings.path not in maps

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            LocalModel(chat_template="{% for %}"),
            r"could not load (?s:.)*its log ends with:(?s:.)*chat template",
        ),
        (LocalModel(context=1 << 40), r"could not load (?s:.)*OverflowError"),
    ],
)
def test_a_setting_that_the_engine_refuses(settings: LocalModel, says: str) -> None:
    async def main() -> None:
        async with running(settings) as engine:
            with pytest.raises(ConfigError, match=says):
                await engine.endpoint()

    asyncio.run(main())


def test_with_pooling_it_gives_embeddings_of_texts_longer_than_a_batch() -> None:
    async def main() -> None:
        settings = LocalModel(pooling="mean", context=1024, slots=2)
        async with running(settings) as engine:
            texts = ["A cat sat.", "A cat sat down. " * 40]
            status, answer = await get(engine, "/v1/embeddings", {"input": texts})
            assert status == 200
            vectors = [item["embedding"] for item in answer["data"]]
            assert [len(vector) for vector in vectors] == [576, 576]
            assert sum(number * number for number in vectors[1]) == pytest.approx(1, abs=1e-3)
            assert answer["usage"]["prompt_tokens"] > LocalModel().batch

    asyncio.run(main())


def test_what_is_run() -> None:
    registered = LocalModel("/m/x.gguf", context=2048, slots=2, idle_timeout=60)
    over = LocalModel("/other.gguf", slots=8, pooling="mean")
    assert overlay(registered, over) == LocalModel(
        "/m/x.gguf", context=2048, slots=8, idle_timeout=60, pooling="mean"
    )
    assert overlay(LocalModel(), over).path == "/other.gguf"

    def settings(model: str, over: LocalModel | None = None) -> LocalModel:
        return LocalTransport(model, over, max_connections=1)._settings()

    assert settings("") == settings("smollm2") == LocalModel(installed_weights())
    assert settings("", over) == over
    assert settings("./a/../b.gguf", LocalModel(slots=1)) == LocalModel(os.path.abspath("b.gguf"), slots=1)
    assert settings("", LocalModel("~/x.gguf")).path == os.path.expanduser("~/x.gguf")


def test_a_model_that_is_not_found_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wire = LocalTransport("later", None, max_connections=1)

    async def main() -> None:
        for call in (wire.load, wire.unload, wire.status):
            with pytest.raises(ConfigError, match="no local model is called 'later'"):
                await call()
        (tmp_path / "later").write_bytes(b"no model")
        assert (await wire.status()).path == str(tmp_path / "later")
        assert await wire.unload() is False
        with pytest.raises(ConfigError, match="GGUF"):
            await wire.load()
        await wire.aclose()

    asyncio.run(main())


# --- around it ----------------------------------------------------------------------------------------


@posix_only
def test_a_fork_while_the_engines_are_looked_at() -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore")  # later Pythons warn of any fork with threads
from brainwires_provider.local.settings import LocalModel
from brainwires_provider.local import transport
wire = transport.LocalTransport("x.gguf", None, max_connections=1)
kept = transport._shared.share(LocalModel("x.gguf"), wire)
with transport._shared._lock:  # as another thread may hold it
    forked = os.fork()
    if not forked:
        os._exit(transport.engines() != [])
print(os.waitpid(forked, 0)[1], [status.path for status in transport.engines()])
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=CLOCK, check=False
    )
    assert (done.stdout, done.stderr) == ("0 ['x.gguf']\n", "")


@posix_only
def test_memory() -> None:
    own = process_memory(os.getpid())
    assert own.rss is not None
    assert own.rss > 1 << 20
    by_ps = memory._from_ps(os.getpid()) if os.path.exists("/bin/ps") else None
    assert by_ps is None or 0.5 < by_ps / own.rss < 2
    assert process_memory(2**22 + 1) == ProcessMemory()
    assert memory._kilobytes("Rss:    12 kB\nName: x\nVmRSS: many kB") == {"Rss": 12288}
    assert EngineStatus("x", rss=3).memory == 3
    assert EngineStatus("x", rss=3, pss=2).memory == 2
    assert EngineStatus("x").memory is None
    if sys.platform == "linux":
        assert own.pss is not None
        assert own.pss <= own.rss
