"""The store of results: every place keeps what it was given, and nothing else counts as a result."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider import ConfigError, Message, StoreError, TextPart, ToolCallPart, Usage
from brainwires_provider.bulk.record import Failure, Record
from brainwires_provider.bulk.store import open_store
from redis_servers import RedisServer

KEY, OTHER, ABSENT = "ab" * 16, "cd" * 16, "ef" * 16
RECORD = Record(
    text="é \u2028 \0 😀",
    output={"a": [1, None]},
    message=Message("assistant", (TextPart("x"), ToolCallPart("c1", "f", '{"a":1}'))),
    finish_reason="stop",
    usage=Usage(uncached_input=3, output_text=4),
)
FAILED = Record(error=Failure("OutputInvalid", "no number", retryable=False))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer("redis-server", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["folder", "file", "memory", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The URL, or path, of an empty store."""
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.ask("FLUSHALL")
        return server.url
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{tmp_path.name}/answers"
    return tmp_path / "a b" if request.param == "folder" else f"file://{tmp_path}/a%20b"


def test_what_is_recorded_is_found_by_another_store(place: Any) -> None:
    async def work() -> None:
        writer, reader = open_store(place), open_store(place)
        assert await reader.get([KEY, OTHER]) == {}
        assert await reader.get([]) == {}
        await writer.put(KEY, RECORD)
        await writer.put(OTHER, FAILED)
        assert await reader.get([OTHER, ABSENT, KEY]) == {KEY: RECORD, OTHER: FAILED}
        await writer.put(KEY, FAILED)
        assert await reader.get([KEY]) == {KEY: FAILED}
        await writer.aclose()
        assert await writer.get([KEY]) == {KEY: FAILED}  # it is opened again
        await writer.aclose()
        await reader.aclose()

    asyncio.run(work())


def test_one_store_on_two_loops(place: Any) -> None:
    async def put() -> None:
        await store.put(KEY, RECORD)
        await store.aclose()

    async def get() -> None:
        assert await store.get([KEY]) == {KEY: RECORD}
        await store.aclose()

    store = open_store(place)
    asyncio.run(put())
    asyncio.run(get())


WHOLE = b'{"key":"%s","record":{"v":1,"text":"x"}}' % KEY.encode()
NO_ENTRIES = {
    "empty": b"",
    "torn": WHOLE[: len(WHOLE) // 2],
    "one byte short": WHOLE[:-1],
    "zeros": b"\0" * 100,
    "another key": WHOLE.replace(b"ab", b"cd"),
    "another version": WHOLE.replace(b'"v":1', b'"v":2'),
    "another program's": b'{"answer": 42}',
    "a list": b"[1]",
    "no record in it": b'{"key":"%s","record":17}' % KEY.encode(),
    "not UTF-8": WHOLE.replace(b'"x"', b'"\xff"'),
    "nested": b'{"key":"%s","record":%s' % (KEY.encode(), b"[" * 100_000),
}


@pytest.mark.parametrize("kind", NO_ENTRIES)
def test_what_is_no_entry_is_reported_and_replaced(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        store = open_store(tmp_path)
        with caplog.at_level(logging.WARNING, "brainwires_provider"):
            assert await store.get([KEY]) == {}
        (message,) = caplog.messages
        assert KEY in message and str(tmp_path) in message and "ignored" in message
        await store.put(KEY, RECORD)
        assert await store.get([KEY]) == {KEY: RECORD}
        await store.aclose()

    path = tmp_path / "ab" / f"{KEY}.json"
    path.parent.mkdir()
    path.write_bytes(NO_ENTRIES[kind])
    asyncio.run(work())


def test_a_folder_has_whole_files_for_the_user_alone(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "deep" / "answers")
        await asyncio.gather(*(store.put(f"{number:032x}", RECORD) for number in range(50)))
        await store.aclose()

    asyncio.run(work())
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(files) == 50 and {each.stat().st_mode & 0o777 for each in files} == {0o600}
    assert {each.stat().st_mode & 0o777 for each in (tmp_path / "deep" / "answers").iterdir()} == {0o700}
    assert all(json.loads(each.read_bytes())["key"] == each.stem for each in files)


WRITING = """
import asyncio, sys
from brainwires_provider.bulk.record import Record
from brainwires_provider.bulk.store import open_store

async def main(place, text):
    store = open_store(place)
    print("ready", flush=True)
    while True:
        await asyncio.gather(*(store.put(f"{number:032x}", Record(text=text)) for number in range(8)))

asyncio.run(main(*sys.argv[1:]))
"""


def test_writers_of_the_same_keys_are_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At any moment an entry is one writer's whole record."""

    async def read(texts: set[str]) -> set[str]:
        store = open_store(tmp_path)
        found: set[str] = set()
        for _ in range(200):
            records = await store.get([f"{number:032x}" for number in range(8)])
            found |= {each.text for each in records.values()}
            if found == texts:
                break
        await store.aclose()
        return found

    texts = {"a" * 40_000, "b" * 40_000}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITING, str(tmp_path), text], stdout=subprocess.PIPE)
        for text in texts
    ]
    try:
        for each in writers:
            assert each.stdout is not None and each.stdout.readline() == b"ready\n"
        while len(list(tmp_path.rglob("*.json"))) < 8:
            assert all(each.poll() is None for each in writers)
        assert asyncio.run(read(texts)) <= texts
    finally:
        for each in writers:
            each.kill()
            each.communicate(timeout=20)
    assert asyncio.run(read({"none"})) <= texts
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("", "needs a place"),
        ("env:BRAINWIRES_NO_SUCH_STORE", "BRAINWIRES_NO_SUCH_STORE is not set"),
        ("redis://", "is no URL of a server"),
        ("http://[::1/x", "cannot be read"),
        ("file://answers/x", "three slashes"),
    ],
)
def test_what_is_no_place(place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(place)


def test_an_unknown_scheme_is_refused_at_its_use() -> None:
    pytest.importorskip("fsspec")
    store = open_store("nosuchthing://user:pa55word@host/x")
    assert repr(store) == "Store(nosuchthing://host/x)"
    with pytest.raises(ConfigError, match="nosuchthing") as caught:
        asyncio.run(store.get([KEY]))
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_a_pattern_is_no_place(name: str) -> None:
    """fsspec would look for what it matches."""
    pytest.importorskip("fsspec")
    with pytest.raises(ConfigError, match="pattern"):
        asyncio.run(open_store(f"memory://x/{name}/b").get([KEY]))


@pytest.mark.parametrize("error", [OSError(5, "no answer to pa55word"), RuntimeError("pa55word is wrong")])
def test_an_error_of_a_file_system_shows_no_password(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory: Any = pytest.importorskip("fsspec.implementations.memory")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(memory.MemoryFileSystem, "cat", fail)
    with pytest.raises(StoreError, match="cannot be read") as caught:
        asyncio.run(open_store("memory://user:pa55word@host/x", patience=0).get([KEY]))
    assert "pa55word" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_in_the_way_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write to a shared folder can put one there."""
    (tmp_path / KEY[:2]).mkdir()
    os.mkfifo(tmp_path / KEY[:2] / f"{KEY}.json")

    async def work() -> None:
        store = open_store(tmp_path)
        async with asyncio.timeout(20):
            assert await store.get([KEY]) == {}
            await store.put(KEY, RECORD)
            assert await store.get([KEY]) == {KEY: RECORD}
        await store.aclose()

    asyncio.run(work())
    assert "is none of its records" in caplog.text


def test_the_place_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSWERS", str(tmp_path))
    assert repr(open_store("env:ANSWERS")) == f"Store({tmp_path})"


def test_a_server_that_is_away_is_tried_for_a_while(server: RedisServer) -> None:
    async def work() -> None:
        store = open_store(server.url, patience=0.3)
        await store.put(KEY, RECORD)
        server.kill()
        for attempt in (lambda: store.get([KEY]), lambda: store.put(KEY, RECORD)):
            with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{server.port}.* cannot be") as caught:
                await attempt()
            assert caught.value.retryable
        patient = open_store(server.url, patience=30)
        waiting = asyncio.create_task(patient.put(KEY, RECORD))
        await asyncio.sleep(0.2)
        server.start()
        await waiting
        assert await store.get([KEY]) == {KEY: RECORD}
        await store.aclose()
        await patient.aclose()

    asyncio.run(work())


def test_a_server_that_refuses(tmp_path: Path) -> None:
    async def work(url: str) -> None:
        store = open_store(url)
        with pytest.raises(ConfigError, match="refuses") as caught:
            await store.get([KEY])
        assert "pa55word" not in f"{caught.value} {store!r}"
        await store.aclose()

    with RedisServer("redis-server", tmp_path, "--requirepass", "right") as server:
        asyncio.run(work(server.url.replace("redis://", "redis://:pa55word@")))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    async def work() -> None:
        store = open_store(tmp_path / "file", patience=0)
        with pytest.raises(StoreError, match="cannot be written: Not a directory"):
            await store.put(KEY, RECORD)
        await store.aclose()

    asyncio.run(work())
