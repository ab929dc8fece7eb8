"""The actor for data engines, without an engine: what it makes of a batch, what it keeps, and what it never sends."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import pickle
import re
import ssl
from collections.abc import Callable, Coroutine
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from brainwires_provider import (
    AsyncClient,
    ConfigError,
    EnvKey,
    Limits,
    Message,
    Options,
    ProviderConfig,
    Request,
    Retry,
    StoreError,
)
from brainwires_provider.bulk.store import open_store
from brainwires_provider.ray import MapActor
from brainwires_provider.testing import Answer, Gate, RecordedRequest, ScriptedServer
from paths import PROJECT
from redis_servers import RedisServer

SECRET = "sk-abcdefghijklmnop1234"
ADDED = [
    "answer",
    "output",
    "tool_calls",
    "finish_reason",
    "model",
    "input_tokens",
    "output_tokens",
    "cost_usd",
]
ADDED += ["request_id", "error_type", "error", "from_store"]
TEXTS = ["one", "", "é \u2028 \0 😀", "one"]


@dataclass
class Found:
    a: int


def body(text: str, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": usage}).encode()


def said(request: RecordedRequest) -> str:
    text: str = request.json()["messages"][-1]["content"]
    return text


def answer(request: RecordedRequest) -> Answer:
    text = said(request)
    if "refused" in text:
        return Answer(400, body=b'{"error": {"message": "no"}}')
    return Answer(body=body(f"A: {text}", "length" if "cut" in text else "stop"))


def actor_at(server: ScriptedServer, **given: Any) -> MapActor:
    settings = {"prompt": "Row {text}", "retry": Retry(attempts=1), "base_url": server.url, **given}
    return MapActor("openai-chat:m", **settings)


def running(work: Callable[[ScriptedServer], Coroutine[Any, Any, None]], script: Any = answer) -> None:
    async def main() -> None:
        async with ScriptedServer(script) as server:
            await work(server)

    asyncio.run(main())


BATCHES: dict[str, Callable[[list[Any]], Any]] = {
    "table": lambda texts: pyarrow.table(
        {"id": list(range(len(texts))), "text": pyarrow.array(texts, "string")}
    ),
    "columns": lambda texts: {"id": list(range(len(texts))), "text": texts},
    "rows": lambda texts: [{"id": number, "text": text} for number, text in enumerate(texts)],
}


def as_rows(batch: Any) -> list[dict[str, Any]]:
    if isinstance(batch, dict):
        batch = pyarrow.table(batch)
    return batch if isinstance(batch, list) else batch.to_pylist()


@pytest.mark.parametrize("form", BATCHES)
def test_a_batch_comes_back_in_its_form(form: str) -> None:
    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server)
        given = BATCHES[form](TEXTS)
        found = await actor(given)
        await actor.aclose()
        assert type(found) is type(given)
        rows = as_rows(found)
        assert [row["id"] for row in rows] == [0, 1, 2, 3]
        assert [row["text"] for row in rows] == TEXTS
        assert [row["answer"] for row in rows] == [f"A: Row {text}" for text in TEXTS]
        assert all(list(row) == ["id", "text", *ADDED] for row in rows)
        assert {row["output_tokens"] for row in rows} == {2} and {row["from_store"] for row in rows} == {
            False
        }
        assert len(server.requests) == 3  # equal rows are asked once

    running(work)


@pytest.mark.parametrize("texts", [["refused", None], ["one", "two"], []])
def test_the_schema_is_the_same_whatever_came(texts: list[Any]) -> None:
    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server)
        schema = (await actor(BATCHES["table"](texts))).schema
        await actor.aclose()
        types = {str(schema.field(name).type) for name in ADDED}
        assert schema.names == ["id", "text", *ADDED] and types == {"string", "int64", "double", "bool"}

    running(work)


def test_errors_are_columns() -> None:
    def prompt(row: dict[str, Any]) -> Any:
        if row["text"] == "poison":
            raise KeyError("nothing")
        return 17 if row["text"] == "number" else Request((Message.user(row["text"]),))

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, prompt=prompt)
        rows = await actor(BATCHES["rows"](["one", "refused", "poison", "number", "two"]))
        await actor.aclose()
        assert [row["answer"] for row in rows] == ["A: one", None, None, None, "A: two"]
        assert [row["error_type"] for row in rows] == [
            None,
            "InvalidRequestError",
            "KeyError",
            "TypeError",
            None,
        ]
        assert "no" in rows[1]["error"] and "input" in rows[3]["error"]

    running(work)


def test_typed_answers_and_vectors() -> None:
    def script(request: RecordedRequest) -> Answer:
        if request.path == "/embeddings":
            data = [
                {"index": at, "embedding": [float("ab".index(text)), 1.0]}
                for at, text in enumerate(request.json()["input"])
            ]
            return Answer(body=json.dumps({"data": data, "model": "m"}).encode())
        return Answer(body=body('{"a": 1}'))

    async def work(server: ScriptedServer) -> None:
        typed = actor_at(server, output=Found)
        (row,) = await typed([{"text": "x"}])
        assert (row["output"], row["answer"]) == ('{"a":1}', '{"a": 1}')
        await typed.aclose()
        for prompt, kind, vectors in (
            ("{text}", "list<item: double>", [[0.0, 1.0], [1.0, 1.0]]),
            (lambda row: [row["text"]] * (1 + (row["text"] == "b")), "list<item: list<item: double>>", None),
        ):
            embedding = actor_at(server, prompt=prompt, operation="embed")
            table = await embedding(pyarrow.table({"text": ["a", "b"]}))
            await embedding.aclose()
            column = table.column("vector")
            assert str(column.type) == kind
            assert column.to_pylist() == (vectors or [[[0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])

    running(work, script)


# -- configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"api_key": SECRET}, "api_key"),
        ({"headers": {"X-Token": SECRET}}, "secret"),
        ({"base_url": f"https://host/v1?key={SECRET}"}, "secret"),
        ({"proxy": f"http://user:{SECRET}@host:80"}, "proxy .* secret"),
        ({"args": {"extra_headers": {"Authorization": f"Bearer {SECRET}"}}}, "extra_headers .* secret"),
        ({"args": {"extra_query": {"api_key": SECRET}}}, "extra_query .* secret"),
        (
            {"args": {"extra_body": {"mcp_servers": [{"authorization_token": SECRET}]}}},
            "extra_body .* secret",
        ),
        ({"args": {"extra_body": {"mcp_servers": [{"url": f"https://u:{SECRET}@host"}]}}}, "secret"),
        ({"limits": Limits(shared=f"redis://:{SECRET}@host:6379/0")}, "secret|password"),
        ({"providers": [ProviderConfig("groq", api_key=SECRET)]}, "secret"),
        ({"options": Options(extra_headers={"Authorization": f"Bearer {SECRET}"})}, "secret"),
        ({"store": f"redis://:{SECRET}@host:6379/0"}, "env:NAME"),
        ({"ssl_context": ssl.create_default_context()}, "cannot be sent to workers"),
        ({"prompt": "{"}, "template"),
    ],
)
def test_what_is_no_configuration_is_refused_where_it_is_written(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        MapActor("openai-chat:m", **given)
    assert SECRET not in str(caught.value)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="concurency"):
        MapActor("openai-chat:m", concurency=3)
    with pytest.raises(ValueError, match="concurrency"):
        MapActor("openai-chat:m", concurrency=0)


def test_it_pickles_as_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also after it was used; a pickled one has everything that it needs, and no key."""
    monkeypatch.setenv("KEY_OF_THE_TEST", SECRET)
    monkeypatch.chdir(tmp_path)

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, api_key=EnvKey("KEY_OF_THE_TEST"), store="answers", limits=Limits(rpm=100))
        await actor([{"text": "x"}])
        data = pickle.dumps(actor)
        assert SECRET.encode() not in data and SECRET not in repr(actor)
        assert repr(actor) == f"MapActor('openai-chat:m', concurrency=100, store='{tmp_path}/answers')"
        monkeypatch.chdir("/")
        copy = pickle.loads(data)
        (row,) = await copy([{"text": "x"}])
        assert row["from_store"] and len(server.requests) == 1
        assert server.requests[0].header("authorization") == f"Bearer {SECRET}"
        await actor.aclose()
        await copy.aclose()

    running(work)


@pytest.mark.parametrize(
    ("given", "batch", "message"),
    [
        ({"prompt": "{txt}"}, [{"text": "x"}], "no column 'txt'"),
        ({}, [{"text": "x", "answer": "y"}], "prefix"),
        ({}, 17, "a batch is"),
        ({"api_key": EnvKey("KEY_THAT_IS_NOT_SET")}, [{"text": "x"}], "KEY_THAT_IS_NOT_SET is not set"),
    ],
)
def test_what_all_rows_would_have_is_raised(given: dict[str, Any], batch: Any, message: str) -> None:
    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, **given)
        with pytest.raises(ConfigError, match=message):
            await actor(batch)
        await actor.aclose()

    running(work)


def test_a_prefix_makes_room() -> None:
    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, prefix="new_")
        (row,) = await actor([{"text": "x", "answer": "y"}])
        await actor.aclose()
        assert (row["answer"], row["new_answer"], row["new_from_store"]) == ("y", "A: Row x", False)

    running(work)


# -- concurrency and connections -----------------------------------------------------------------------------


def test_the_gate_holds_for_all_batches_of_an_actor() -> None:
    gate = Gate()

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, concurrency=3)
        batches = [actor(BATCHES["rows"]([f"{number} {at}" for at in range(10)])) for number in range(4)]
        tasks = [asyncio.create_task(each) for each in (*batches, actor(BATCHES["rows"](["0 0", "1 1"])))]
        await server.wait_requests_async(3)
        server.open(gate)
        rows = [row for rows in await asyncio.gather(*tasks) for row in rows]
        assert [row["answer"] for row in rows] == [f"A: Row {row['text']}" for row in rows]
        assert server.connections == 3 and len(server.requests) == 40
        await actor.aclose()
        await server.wait_idle_async()

    running(work, lambda request: Answer(before=[gate], body=body(f"A: {said(request)}")))


def test_an_actor_that_is_dropped_closes_its_connections() -> None:
    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server)
        await actor([{"text": "x"}])
        assert server.open_connections == 1
        del actor
        gc.collect()
        await server.wait_idle_async()

    running(work)


def test_a_cancelled_batch_leaves_its_requests_to_those_that_share_them(tmp_path: Path) -> None:
    gate = Gate()

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, store=tmp_path)
        first, second = (asyncio.create_task(actor([{"text": "x"}])) for _ in range(2))
        await server.wait_requests_async(1)
        first.cancel()
        await asyncio.wait((first,), timeout=10)
        server.open(gate)
        ((row,),) = await asyncio.gather(second)
        assert first.cancelled() and row["answer"] == "yes" and len(server.requests) == 1
        await actor.aclose()

    running(work, Answer(before=[gate], body=body("yes")))


def test_one_actor_on_two_loops_one_after_the_other() -> None:
    with ScriptedServer(answer) as server:
        actor = actor_at(server, concurrency=1)
        for _ in range(2):
            rows = asyncio.run(actor(BATCHES["rows"](["a", "b"])))
            assert [row["answer"] for row in rows] == ["A: Row a", "A: Row b"]


# -- the store ---------------------------------------------------------------------------------------------


def test_a_recorded_request_is_not_sent_again(tmp_path: Path) -> None:
    async def work(server: ScriptedServer) -> None:
        for texts, asked, given in (
            (["a", "b", "refused"], 3, {}),
            (["b", "a", "c", "refused"], 2, {}),  # what cost nothing has no record
            (["a", "c"], 0, {}),
            (["a"], 1, {"version": "2"}),
            (["a"], 1, {"system": "Be brief."}),
            (["a"], 1, {"options": Options(max_tokens=5)}),
            (["a"], 1, {"prompt": "Another {text}"}),
        ):
            before = len(server.requests)
            actor = actor_at(server, store=tmp_path, **given)
            rows = await actor(BATCHES["rows"](texts))
            await actor.aclose()
            assert len(server.requests) - before == asked, given
            assert sum(row["from_store"] for row in rows) == len(texts) - asked
            assert all(row["answer"].endswith(row["text"]) for row in rows if row["text"] != "refused")

    running(work)


def test_a_paid_error_is_recorded_and_asked_again_on_request(tmp_path: Path) -> None:
    async def work(server: ScriptedServer) -> None:
        for asked, given in ((1, {}), (0, {}), (1, {"retry_errors": True})):
            before = len(server.requests)
            actor = actor_at(server, store=tmp_path, output=int, **given)
            (row,) = await actor([{"text": "cut"}])
            await actor.aclose()
            assert (row["error_type"], row["output_tokens"]) == ("OutputTruncated", 2)
            assert len(server.requests) - before == asked

    running(work)


def test_a_store_that_is_away_is_an_error_of_the_rows_and_nothing_is_sent(tmp_path: Path) -> None:
    async def work(server: ScriptedServer) -> None:
        with RedisServer("redis-server", tmp_path) as redis:
            actor = actor_at(server, store=redis.url, patience=0)
            assert [row["from_store"] for row in await actor([{"text": "a"}])] == [False]
            redis.kill()
            rows = await actor([{"text": "a"}, {"text": "b"}])
            assert [row["error_type"] for row in rows] == ["StoreError"] * 2 and len(server.requests) == 1
            redis.start()
            assert [row["answer"] for row in await actor([{"text": "c"}])] == ["A: Row c"]
            await actor.aclose()

    running(work)


def test_no_request_is_sent_while_an_answer_has_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder can be read, and not written."""

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, store=tmp_path, concurrency=1, patience=0)
        await actor([{"text": "first"}])
        known = {each.name for each in tmp_path.iterdir()}
        for number in range(256):
            if f"{number:02x}" not in known:
                (tmp_path / f"{number:02x}").write_text("in the way")
        # the folder of an entry is a file now: neither can be read there, so a reader that finds nothing stands in
        store = actor._store
        assert store is not None
        real, store.get = store.get, lambda keys: asyncio.sleep(0, {})  # type: ignore[method-assign]
        (paid,) = await actor([{"text": "a"}])
        assert paid["answer"] == "A: Row a" and "is not recorded" in caplog.text
        (unsent,) = await actor([{"text": "b"}])
        assert unsent["error_type"] == "StoreError" and len(server.requests) == 2
        for each in tmp_path.iterdir():
            if each.is_file():
                each.unlink()
        store.get = real  # type: ignore[method-assign]
        rows = await actor([{"text": "a"}, {"text": "b"}])
        assert [row["answer"] for row in rows] == ["A: Row a", "A: Row b"]
        (again,) = await open_rows(server, tmp_path, "a")
        assert again["from_store"]
        await actor.aclose()

    running(work)


def test_a_request_that_ends_while_another_batch_reads_the_store_is_not_sent_again(tmp_path: Path) -> None:
    gate = Gate()

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, store=tmp_path)
        await actor([{"text": "warm"}])
        store = actor._store
        assert store is not None
        real, looking, released = store.get, asyncio.Event(), asyncio.Event()

        async def slow(keys: Any) -> Any:
            found = await real(keys)
            looking.set()
            await released.wait()
            return found

        first = asyncio.create_task(actor([{"text": "x"}]))
        await server.wait_requests_async(2)
        store.get = slow  # type: ignore[method-assign]
        second = asyncio.create_task(actor([{"text": "x"}, {"text": "y"}]))
        await looking.wait()
        server.open(gate)
        await first
        released.set()
        assert [row["answer"] for row in await second] == ["A: Row x", "A: Row y"]
        assert sorted(map(said, server.requests)) == ["Row warm", "Row x", "Row y"]
        await actor.aclose()

    def script(request: RecordedRequest) -> Answer:
        return Answer(before=[gate] if said(request) == "Row x" else [], body=body(f"A: {said(request)}"))

    running(work, script)


def test_several_answers_without_a_record_are_recorded_by_several_tasks(tmp_path: Path) -> None:
    """A store that is away for a while: whoever comes next records what is left, and no row has another's trouble."""

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, store=tmp_path, concurrency=4, patience=0)
        await actor([{"text": "warm"}])
        store = actor._store
        assert store is not None
        real, calls = store.put, []

        async def away(key: str, record: Any) -> None:
            raise StoreError("away")

        async def slow(key: str, record: Any) -> None:
            calls.append(key)
            for _ in range(len(calls)):  # the later ones end later
                await asyncio.sleep(0)
            await real(key, record)

        store.put = away  # type: ignore[method-assign]
        await actor(BATCHES["rows"](["a", "b", "c"]))
        assert len(actor._unrecorded) == 3
        store.put = slow  # type: ignore[method-assign]
        rows = await actor(BATCHES["rows"](["d", "e", "f", "g"]))
        assert [row["error_type"] for row in rows] == [None] * 4
        assert not actor._unrecorded and len(list(tmp_path.rglob("*.json"))) == 8
        await actor.aclose()

    running(work)


async def open_rows(server: ScriptedServer, folder: Path, text: str) -> Any:
    actor = actor_at(server, store=folder)
    try:
        return await actor([{"text": text}])
    finally:
        await actor.aclose()


def test_the_keys_are_those_of_map(tmp_path: Path) -> None:
    """What `client.map` asks has the same key, so that a later release may share the records."""

    async def work(server: ScriptedServer) -> None:
        actor = actor_at(server, store=tmp_path)
        await actor([{"text": "x"}])
        await actor.aclose()
        (entry,) = tmp_path.rglob("*.json")
        async with AsyncClient("openai-chat:m", base_url=server.url) as client:
            ledger = tmp_path / "ledger"
            assert [each.text async for each in client.map([{"text": "x"}], "Row {text}", ledger=ledger)] == [
                "A: Row x"
            ]
        assert entry.stem in ledger.read_text()
        store = open_store(tmp_path)
        assert (await store.get([entry.stem]))[entry.stem].text == "A: Row x"
        await store.aclose()

    running(work)


def test_the_page_s_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one without an engine runs; what the others give the actor is accepted."""
    page = (PROJECT / "docs" / "ray.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (shown,) = re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    for block in blocks:
        for call in re.findall(r"MapActor\(.*?\n?\)(?=\n)", block, re.DOTALL):
            eval(call, {"MapActor": MapActor})
    with ScriptedServer(Answer(body=body("A summary."))) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        with redirect_stdout(io.StringIO()) as out:
            exec(blocks[-1], {})
    assert out.getvalue() == shown
