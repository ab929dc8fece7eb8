"""`map`: every row once, nothing paid twice that was recorded, order, errors, budgets, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from brainwires_provider import (
    AsyncClient,
    AuthenticationError,
    Budget,
    BudgetExceededError,
    BulkProgress,
    BulkResult,
    Client,
    ConfigError,
    Message,
    Request,
    Retry,
    ToolCallPart,
    tool,
)
from brainwires_provider.bulk.index import Index
from brainwires_provider.bulk.ledger import Ledger
from brainwires_provider.bulk.record import Record
from brainwires_provider.testing import Answer, Failure, FakeProvider, RecordedRequest, Wait
from brainwires_provider.types.bulk import BulkSettings
from virtual_time import virtually

MODEL = "openai-chat:m"


def prompt_of(request: RecordedRequest) -> str:
    text: str = request.json()["messages"][-1]["content"]
    return text


def echo(request: RecordedRequest) -> str:
    return f"<{prompt_of(request)}>"


def failure(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Failure:
    return Failure(None, message, status, headers=headers)


class Asked:
    """A provider that answers with what it was asked, and counts that."""

    def __init__(self, script: Callable[[RecordedRequest], Any] = echo) -> None:
        self.fake = FakeProvider(script)

    @property
    def prompts(self) -> list[str]:
        return [prompt_of(each) for each in self.fake.requests]

    def run(self, rows: Any, prompt: Any = None, model: str = MODEL, client: Any = None, **args: Any) -> Any:
        async def collect() -> list[BulkResult[Any]]:
            async with AsyncClient(model, api_key="k", transport=self.fake, **(client or {})) as asking:
                return await asking.map(rows, prompt, **args).collect()

        return asyncio.run(collect())


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "run.ledger"


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "prompt": f"p{i}"} for i in range(count)]


# -- what must hold (1 to 10) --------------------------------------------------------------------------------


def test_bulk_2_a_torn_last_line_is_cut_off_and_its_row_asked_again(ledger: Path) -> None:
    rows, first = numbered(3), Asked()
    first.run(rows, ledger=ledger, concurrency=1)
    whole = ledger.read_bytes()
    last = len(whole.rstrip(b"\n").rpartition(b"\n")[2])
    for cut in (1, 2, last - 5, last):
        ledger.write_bytes(whole[:-cut])
        again = Asked()

        results = again.run(rows, ledger=ledger)

        assert again.prompts == ["p2"], cut
        assert [each.text for each in results] == ["<p0>", "<p1>", "<p2>"]
        assert Asked().run(rows, ledger=ledger)[2].is_recorded


def test_a_record_that_comes_while_a_group_is_written_has_its_row(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is written with that group, and what follows from it is called all the same."""
    ended: list[str] = []
    real = Ledger._write

    async def main() -> None:
        loop, kept = asyncio.get_running_loop(), Ledger(str(ledger))
        kept.open()

        def record(name: str) -> None:
            kept.record(name, f"{len(name):032x}", Record(text=name), lambda: ended.append(name))

        async def late() -> None:
            record("second")

        def write(self: Ledger, is_synced: bool) -> None:
            if not ended and len(kept._then) == 0:
                asyncio.run_coroutine_threadsafe(late(), loop).result()
            real(self, is_synced)

        monkeypatch.setattr(Ledger, "_write", write)
        record("first")
        assert kept._syncer is not None
        await kept._syncer
        await kept.aclose()

    asyncio.run(main())
    assert ended == ["first", "second"]


def test_keys_that_are_none_are_damaged_lines_in_a_large_ledger(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index.__init__, "__defaults__", (2,))
    Asked().run(numbered(5), ledger=ledger)
    lines = [b'{"t":"result","id":"x","key":"%s","r":{"v":1}}\n' % key for key in (b"", b"ab", b"zz" * 16)]
    ledger.write_bytes(ledger.read_bytes() + b"".join(lines))

    async def main() -> None:
        fake = FakeProvider(echo)
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            bulk = client.map(numbered(5), ledger=ledger)
            assert len(await bulk.collect()) == 5
            assert (bulk.damaged, fake.requests) == (3, [])

    asyncio.run(main())


def test_a_forecast_counts_errors_that_are_asked_again(ledger: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b"}]
    fails = Asked(lambda request: failure(400) if prompt_of(request) == "a" else echo(request))
    fails.run(rows, ledger=ledger, retry=Retry(1))

    async def main(**args: Any) -> tuple[int, int]:
        async with AsyncClient(MODEL, api_key="k", transport=FakeProvider(echo)) as client:
            found = await client.map(rows, ledger=ledger, **args).forecast()
            return found.asked, found.recorded

    assert asyncio.run(main()) == (0, 2)
    assert asyncio.run(main(retry_errors=True)) == (1, 1)


def test_a_damaged_line_is_counted_and_its_row_asked_again(ledger: Path) -> None:
    Asked().run(numbered(3), ledger=ledger, concurrency=1)
    lines = ledger.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 20 + b"\n"
    ledger.write_bytes(b"".join(lines))

    async def main() -> None:
        fake = FakeProvider(echo)
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            bulk = client.map(numbered(3), ledger=ledger)
            assert len(await bulk.collect()) == 3
            assert bulk.damaged == 1
            assert [prompt_of(each) for each in fake.requests] == ["p0"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "change",
    [{"model": "openai-chat:other"}, {"version": "2"}, {"system": "Be brief."}, {"prompt": "{prompt}!"}],
)
def test_bulk_3_another_prompt_model_or_version_is_asked(ledger: Path, change: dict[str, Any]) -> None:
    Asked().run(numbered(2), ledger=ledger)
    same, other = Asked(), Asked()

    same.run(numbered(2), ledger=ledger)
    other.run(numbered(2), ledger=ledger, **change)

    assert (len(same.prompts), len(other.prompts)) == (0, 2)


@pytest.mark.parametrize("kept", [True, False])
def test_bulk_4_equal_rows_are_asked_once_and_each_has_its_result(ledger: Path, *, kept: bool) -> None:
    rows = [{"id": i, "prompt": f"p{i % 3}"} for i in range(30)]
    asked = Asked()

    results = asked.run(rows, ledger=ledger if kept else None, concurrency=4)

    assert sorted(asked.prompts) == ["p0", "p1", "p2"]
    assert [(each.id, each.text) for each in results] == [(i, f"<p{i % 3}>") for i in range(30)]


def test_an_equal_row_of_a_failed_one_fails_without_a_second_request() -> None:
    asked = Asked(lambda request: failure(400))

    results = asked.run(["a", "a", "a"], concurrency=1, retry=Retry(1))

    assert len(asked.prompts) == 1
    assert [each.error.type for each in results] == ["InvalidRequestError"] * 3


def test_bulk_5_a_storm_of_429_drops_nothing() -> None:
    seen: Counter[str] = Counter()

    def storm(request: RecordedRequest) -> Any:
        text = prompt_of(request)
        seen[text] += 1
        return failure(429, "slow down", {"retry-after": "2"}) if seen[text] <= 4 else echo(request)

    async def main() -> list[BulkResult[Any]]:
        async with AsyncClient(MODEL, api_key="k", transport=FakeProvider(storm)) as client:
            return await client.map(numbered(50), concurrency=10).collect()

    results = virtually(main())

    assert [each.text for each in results] == [f"<p{i}>" for i in range(50)]
    assert set(seen.values()) == {5}


def test_bulk_6_a_budget_stop_leaves_a_state_to_go_on_from(ledger: Path) -> None:
    rows, asked = numbered(20), Asked(echo)
    with pytest.raises(BudgetExceededError, match=r"goes on") as caught:
        asked.run(rows, ledger=ledger, client={"budget": Budget(tokens=250)}, max_tokens=100, concurrency=3)
    paid = len(asked.prompts)
    assert 1 < paid < 20
    assert str(ledger) in str(caught.value)

    results = asked.run(rows, ledger=ledger, max_tokens=100)

    assert len(asked.prompts) == 20  # none twice
    assert [each.id for each in results] == [f"r{i}" for i in range(20)]
    assert all(each.error is None for each in results)


def test_a_row_that_a_budget_refused_is_not_named_as_interrupted(ledger: Path) -> None:
    async def main(budget: Budget | None) -> tuple[str, ...]:
        async with AsyncClient(MODEL, api_key="k", transport=FakeProvider(echo), budget=budget) as client:
            bulk = client.map(numbered(20), ledger=ledger, max_tokens=100, concurrency=5)
            with contextlib.suppress(BudgetExceededError):
                await bulk.collect()
            return bulk.interrupted

    asyncio.run(main(Budget(tokens=250)))
    assert asyncio.run(main(None)) == ()


def test_a_loop_of_tools_that_a_budget_ends_is_asked_again(ledger: Path) -> None:
    @tool
    def look() -> str:
        """Look."""
        return "x"

    def script(request: RecordedRequest) -> Any:
        if len(request.json()["messages"]) == 5:
            return "seen"
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        usage = {"prompt_tokens": 500, "completion_tokens": 1, "total_tokens": 501}
        choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        return Answer(body=json.dumps({"choices": choices, "usage": usage}).encode(), headers=JSON)

    asked = Asked(script)
    with pytest.raises(BudgetExceededError, match="goes on"):
        asked.run(["a"], tools=[look], ledger=ledger, max_tokens=50, budget=Budget(tokens=600))
    assert len(asked.fake.requests) == 1

    (result,) = asked.run(["a"], tools=[look], ledger=ledger, max_tokens=50)

    assert (result.text, result.error) == ("seen", None)


@pytest.mark.parametrize(("tokens", "is_enough"), [(2_800, False), (4_000, True)])
def test_a_repair_that_does_not_fit_beside_others_is_begun_again_once(
    ledger: Path, tokens: int, is_enough: bool
) -> None:
    """And alone: it was with each row that ended, and its wrong answer was paid for each time."""

    def script(request: RecordedRequest) -> Answer:
        messages = request.json()["messages"]
        first, count = messages[0]["content"], len(messages)
        text = "no JSON " * 300 if first == "wrong" and count == 1 else '{"name": "Rome"}'
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
        wait = 0.02 if first == "wrong" else 0.05 * int(first)
        return Answer(
            body=[Wait(wait), json.dumps({"choices": choices, "usage": usage}).encode()], headers=JSON
        )

    asked = Asked(script)
    rows, args = ["wrong", *"123456"], {"output": City, "max_tokens": 100, "ledger": ledger}
    is_refused = contextlib.nullcontext() if is_enough else pytest.raises(BudgetExceededError)
    with is_refused:
        results = asked.run(rows, concurrency=7, budget=Budget(tokens=tokens), **args)
        assert [each.error for each in results] == [None] * 7
        assert [each.usage.total_tokens for each in results] == [30, *[10] * 6]  # both wrong answers count
    assert asked.prompts.count("wrong") == 2 and len(asked.prompts) == 8 + is_enough


def test_a_loop_whose_tokens_nobody_states_is_not_begun_again_for_a_budget() -> None:
    """Its tools have run."""
    looked: list[str] = []

    @tool
    def look() -> str:
        """Look."""
        looked.append("x")
        return "x" * 400

    def script(request: RecordedRequest) -> Answer:
        messages = request.json()["messages"]
        message: dict[str, Any] = {"role": "assistant", "content": "done"}
        if messages[-1]["content"] == "look":
            call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        return Answer(body=[Wait(0.1 * (messages[0]["content"] == "slow")), body.encode()], headers=JSON)

    with pytest.raises(BudgetExceededError):
        Asked(script).run(["slow", "look"], tools=[look], max_tokens=100, budget=Budget(tokens=1_400))
    assert looked == ["x"]


def test_what_a_loop_has_used_is_kept_whatever_ends_it() -> None:
    @tool
    def look() -> str:
        """Look."""
        return "x"

    def until(response: Any) -> bool:
        raise RuntimeError("mine")

    asked = Asked(lambda request: ToolCallPart("c1", "look", "{}"))
    (result,) = asked.run(["a"], tools=[look], until=until)
    assert (result.error.type, result.error.message) == ("RuntimeError", "mine")
    assert len(asked.fake.requests) == 1 and result.usage.total_tokens > 0


def test_a_report_that_raises_ends_the_run(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainwires_provider.bulk.progress._EVERY", 0)

    def report(progress: BulkProgress) -> None:
        raise RuntimeError("no screen")

    with pytest.raises(RuntimeError, match="no screen"):
        Asked().run(numbered(20), ledger=ledger, concurrency=3, progress=report)


def test_a_budget_that_others_have_reserved_is_waited_for() -> None:
    asked = Asked(lambda request: Answer(body=[Wait(0.01), whole(request)], headers=JSON))

    results = asked.run(numbered(8), client={"budget": Budget(tokens=400)}, max_tokens=100, concurrency=8)

    assert len(results) == 8  # a request takes 2 tokens, but reserves over 100


def test_bulk_8_the_order_is_that_of_the_input() -> None:
    waits = {"p0": 0.05, "p1": 0.03, "p5": 0.02}

    def slow(request: RecordedRequest) -> Answer:
        return Answer(body=[Wait(waits.get(prompt_of(request), 0)), whole(request)], headers=JSON)

    results = Asked(slow).run(numbered(40), concurrency=8)

    assert [each.id for each in results] == [f"r{i}" for i in range(40)]
    assert [each.text for each in results] == [f"<p{i}>" for i in range(40)]


def test_bulk_9_one_poison_row_is_one_error_row(ledger: Path) -> None:
    def poisoned(request: RecordedRequest) -> Any:
        return failure(400, "no such thing") if prompt_of(request) == "p3" else echo(request)

    def prompt(row: dict[str, Any]) -> str:
        if row["id"] == "r5":
            raise RuntimeError("no prompt")
        return str(row["prompt"])

    results = Asked(poisoned).run(numbered(8), prompt, ledger=ledger)

    assert [each.id for each in results] == [f"r{i}" for i in range(8)]
    errors = {each.id: each.error for each in results if each.error is not None}
    assert {id: error.type for id, error in errors.items()} == {
        "r3": "InvalidRequestError",
        "r5": "RuntimeError",
    }
    assert "no such thing" in errors["r3"].message
    assert results[3].columns()["answer"] is None


def test_bulk_10_a_second_run_on_one_ledger_is_refused(ledger: Path) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def rows() -> AsyncIterator[str]:
            yield "a"
            await more.wait()
            yield "b"

        async with AsyncClient(MODEL, api_key="k", transport=FakeProvider(echo)) as client:
            async with client.map(rows(), ledger=ledger) as first:
                await anext(first)
                with pytest.raises(ConfigError, match="in use by another run"):
                    await client.map(["c"], ledger=ledger).collect()
                more.set()
                assert len(await first.collect()) == 1
            assert len(await client.map(["c"], ledger=ledger).collect()) == 1

    asyncio.run(main())


# -- errors and what is raised -------------------------------------------------------------------------------


def test_errors_are_kept_and_asked_again_on_demand(ledger: Path) -> None:
    failing = Asked(lambda request: failure(400) if prompt_of(request) == "p1" else echo(request))
    failing.run(numbered(3), ledger=ledger)
    kept, again = Asked(), Asked()

    assert kept.run(numbered(3), ledger=ledger)[1].error is not None
    assert again.run(numbered(3), ledger=ledger, retry_errors=True)[1].text == "<p1>"

    assert (kept.prompts, again.prompts) == ([], ["p1"])
    assert Asked().run(numbered(3), ledger=ledger)[1].text == "<p1>"


def test_a_wrong_key_ends_the_run_and_is_no_row(ledger: Path) -> None:
    asked = Asked(lambda request: failure(401))

    with pytest.raises(AuthenticationError):
        asked.run(numbered(100), ledger=ledger, concurrency=2)

    assert len(asked.prompts) <= 2
    assert len(Asked().run(numbered(3), ledger=ledger)) == 3  # nothing of it was recorded


@pytest.mark.parametrize(
    ("rows", "args", "words"),
    [
        ([{"id": "a"}, {"id": "a"}], {"prompt": lambda row: "x"}, "the id 'a' occurs twice"),
        ([{"id": 1}, {"id": "1"}], {"prompt": lambda row: "x"}, "the id '1' occurs twice"),
        ([{"id": None}], {"prompt": lambda row: "x"}, "an id is a text or an integer"),
        ([{"a": 1}], {"prompt": "{b}"}, "no column 'b'; it has a"),
        ([{"a": 1}], {"prompt": "{a}", "id": "key"}, "no column 'key'"),
        (
            [{"a": 1}],
            {"prompt": "{a}", "id": lambda row: row["no"]},
            "row 0: the function of the id has raised KeyError",
        ),
        ("missing.jsonl", {}, "no such file"),
        ("missing.xls", {}, "the ending says no format"),
        ([], {"prompt": "{"}, "no template"),
        ([], {"prompt": "{a!r}"}, "no template"),
        ([], {"prompt": "{}"}, "no template"),
    ],
)
def test_what_is_refused(rows: Any, args: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Asked().run(rows, **args)


@pytest.mark.parametrize(
    ("rows", "args", "words"),
    [
        (3, {}, "rows are a file's path"),
        ({"a": 1}, {}, "rows are a file's path"),
        ([], {"concurency": 3}, "did you mean 'concurrency'"),
        ([], {"prompt": 3}, "prompt takes a template"),
        ([], {"ledger": 3}, "ledger takes a path"),
        ([], {"operation": "embed", "temperature": 1}, "takes no temperature"),
        ([], {"operation": "chat", "max_steps": 1}, "unexpected keyword argument 'max_steps'"),
    ],
)
def test_wrong_arguments(rows: Any, args: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Asked().run(rows, **args)


def test_a_file_that_is_no_ledger_is_left_as_it_is(ledger: Path) -> None:
    ledger.write_text('{"id": 1}\n{"id"')

    with pytest.raises(ConfigError, match="is no ledger"):
        Asked().run(numbered(1), ledger=ledger)

    assert ledger.read_text() == '{"id": 1}\n{"id"'


def test_rows_that_end_with_an_error_give_what_came_before() -> None:
    def rows() -> Iterator[str]:
        yield from ("a", "b")
        raise OSError("the source is gone")

    async def main() -> None:
        async with AsyncClient(MODEL, api_key="k", transport=FakeProvider(echo)) as client:
            bulk = client.map(rows())
            assert [(await anext(bulk)).text for _ in range(2)] == ["<a>", "<b>"]
            with pytest.raises(OSError, match="the source is gone"):
                await anext(bulk)
            assert not bulk.is_complete

    asyncio.run(main())


# -- forms of rows, prompts and answers ----------------------------------------------------------------------


async def later() -> AsyncIterator[str]:
    for each in ("a", "b"):
        yield each


class Frame:
    """As pandas has it."""

    columns = ("prompt", "n", "when", "count")

    def __len__(self) -> int:
        return 2

    def itertuples(self, *, index: bool, name: None) -> Iterator[tuple[Any, ...]]:
        assert not index
        yield from (("a", 1.0, 2, 3), ("b", float("nan"), NaTType(), NAType()))


class NAType:
    """As pandas marks a missing integer, boolean or text."""


class NaTType:
    """As pandas marks a missing time."""


class Polars:
    columns = ("prompt",)

    def iter_rows(self, *, named: bool) -> Iterator[dict[str, Any]]:
        assert named
        yield from ({"prompt": "a"}, {"prompt": "b"})


@pytest.mark.parametrize(
    "rows",
    [
        ["a", "b"],
        ("a", Message.user("b")),
        iter(["a", "b"]),
        [
            {"prompt": "a"},
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}]},
        ],
        [Request((Message.user("a"),)), [Message.user("b")]],
        [{"messages": '[{"role":"user","content":[{"type":"text","text":"a"}]}]'}, "b"],
        Frame(),
        Polars(),
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_forms_of_rows(rows: Any) -> None:
    assert [each.text for each in Asked().run(rows)] == ["<a>", "<b>"]


def test_what_a_frame_marks_as_missing_is_none() -> None:
    assert [each.row for each in Asked().run(Frame())] == [
        {"prompt": "a", "n": 1.0, "when": 2, "count": 3},
        {"prompt": "b", "n": None, "when": None, "count": None},
    ]
    result = Asked().run(Frame(), "{prompt} {count}")[1]
    assert "the column 'count' is null" in result.error.message


def test_rows_of_an_async_iterable() -> None:
    assert [each.text for each in Asked().run(later())] == ["<a>", "<b>"]


@pytest.mark.long
def test_rows_of_an_arrow_table() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"prompt": ["a", "b"]})
    assert [each.text for each in Asked().run(table)] == ["<a>", "<b>"]


def test_nan_of_a_frame_is_no_value() -> None:
    results = Asked().run(Frame(), "{prompt} {n}")

    assert results[0].text == "<a 1.0>"
    assert results[1].error is not None and "null" in results[1].error.message


def test_prompts() -> None:
    async def asynchronous(row: dict[str, Any]) -> Message:
        return Message.user(row["a"])

    row = {"a": "x", "price": 2.5, "list": [1, "ü"], "with space": "y"}
    template = "{a} {price:.2f} {list} {with space} {{a}}"

    assert Asked().run([row], template)[0].text == '<x 2.50 [1,"ü"] y {a}>'
    assert Asked().run([row], asynchronous)[0].text == "<x>"


def test_a_template_reaches_no_attribute() -> None:
    with pytest.raises(ConfigError, match=r"no column 'a\.__class__'"):
        Asked().run([{"a": "x"}], "{a.__class__}")


@dataclass
class City:
    name: str
    size: Literal["small", "large"] = "small"


def test_typed_answers_are_typed_when_they_come_from_the_ledger(ledger: Path) -> None:
    asked = Asked(lambda request: json.dumps({"name": prompt_of(request), "size": "large"}))
    for is_recorded in (False, True):
        (result,) = asked.run(["Rom"], output=City, ledger=ledger)
        assert (result.output, result.is_recorded) == (City("Rom", "large"), is_recorded)
        assert result.columns()["output"] == {"name": "Rom", "size": "large"}
    assert len(asked.prompts) == 1


def test_a_wrong_typed_answer_is_an_error_row_that_was_paid_for(ledger: Path) -> None:
    asked = Asked(lambda request: "no JSON")

    (result,) = asked.run(["Rom"], output=City, ledger=ledger, retry=Retry(repairs=0))

    assert result.error is not None and result.error.type == "OutputInvalid"
    assert result.text == "no JSON" and result.usage.total_tokens > 0
    assert Asked().run(["Rom"], output=City, ledger=ledger, retry=Retry(repairs=0))[0].error == result.error


def test_a_loop_of_tools_is_one_row(ledger: Path) -> None:
    @tool
    def double(n: int) -> int:
        """Twice."""
        return 2 * n

    def script(request: RecordedRequest) -> Any:
        last = request.json()["messages"][-1]
        if last["role"] == "tool":
            return f"it is {last['content']}"
        return ToolCallPart("c1", "double", json.dumps({"n": int(last["content"])}))

    fake = FakeProvider(script)

    async def main(**args: Any) -> list[BulkResult[Any]]:
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            return await client.map(["1", "2"], tools=[double], ledger=ledger, **args).collect()

    assert [each.text for each in asyncio.run(main())] == ["it is 2", "it is 4"]
    assert [each.is_recorded for each in asyncio.run(main())] == [True, True]
    assert len(fake.requests) == 4
    (first, _) = asyncio.run(main(max_steps=1))
    assert first.error is not None and first.error.type == "RunEnded"
    assert first.usage.total_tokens > 0


def vectors(request: RecordedRequest) -> Answer:
    texts = request.json()["input"]
    data = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(texts)]
    tokens = 10 * len(texts)
    body = {"data": data, "model": "e", "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    return Answer(body=json.dumps(body).encode(), headers=JSON)


EMBED: dict[str, Any] = {"model": "openai:e", "operation": "embed"}


def test_embeddings(ledger: Path) -> None:
    asked = Asked(vectors)
    for _ in range(2):
        results = asked.run([{"t": "abc"}, {"t": "a"}, {"t": "abc"}], "{t}", ledger=ledger, **EMBED)
        assert [each.vector for each in results] == [[3.0, 1.0], [1.0, 1.0], [3.0, 1.0]]
    assert len(asked.fake.requests) == 1


def test_rows_that_are_embedded_at_once_share_requests_and_their_tokens() -> None:
    asked, rows = Asked(vectors), ["x" * (1 + i) for i in range(40)]

    results = asked.run(rows, concurrency=40, **EMBED)

    assert [len(each.json()["input"]) for each in asked.fake.requests] == [10] * 4
    assert [each.vector for each in results] == [[1.0 + i, 1.0] for i in range(40)]
    assert sum(each.usage.input_tokens for each in results) == 400
    lists = Asked(vectors).run([["ab", "c"], "d", ["e"] * 5], lambda row: row, concurrency=8, **EMBED)
    assert [each.record.vectors for each in lists] == [
        [[2.0, 1.0], [1.0, 1.0]],
        [[1.0, 1.0]],
        [[1.0, 1.0]] * 5,
    ]


@pytest.mark.parametrize(("tokens", "is_enough"), [(60, False), (200, False), (10_000, True)])
def test_rows_that_are_embedded_at_once_end_with_their_budget(tokens: int, is_enough: bool) -> None:
    """Each refusal woke those that waited for others to end, so that they were refused again, for ever."""
    rows, asked = [f"{number}" * 20 for number in range(40)], Asked(vectors)

    async def main() -> list[BulkResult[Any]]:
        async with AsyncClient("openai:e", api_key="k", transport=asked.fake) as client:
            bulk = client.map(rows, operation="embed", concurrency=8, budget=Budget(tokens=tokens))
            async with asyncio.timeout(10):
                return await bulk.collect()

    if is_enough:
        assert [each.error for each in asyncio.run(main())] == [None] * 40
        return
    with pytest.raises(BudgetExceededError):
        asyncio.run(main())
    sent = [text for request in asked.fake.requests for text in request.json()["input"]]
    assert len(set(sent)) == len(sent) <= tokens // 10


def test_a_text_that_is_refused_or_empty_is_one_error_row_of_those_embedded_with_it() -> None:
    def poisoned(request: RecordedRequest) -> Any:
        return failure(400, "no such thing") if "p3" in request.json()["input"] else vectors(request)

    rows = [{"t": "" if i == 5 else f"p{i}"} for i in range(16)]
    results = Asked(poisoned).run(rows, lambda row: row["t"], concurrency=64, **EMBED)

    assert {each.id: each.error.type for each in results if each.error is not None} == {
        3: "InvalidRequestError",
        5: "ValueError",
    }
    assert all(each.vector == [float(len(each.row["t"])), 1.0] for each in results if each.error is None)


def test_policies_of_the_call_hold_for_embeddings(ledger: Path) -> None:
    seen: Counter[str] = Counter()

    def failing(request: RecordedRequest) -> Any:
        text = request.json()["input"][0]
        seen[text] += 1
        return failure(500) if seen[text] < 7 else vectors(request)

    async def main(**args: Any) -> list[BulkResult[Any]]:
        async with AsyncClient("openai:e", api_key="k", transport=FakeProvider(failing)) as client:
            return await client.map(["a"], operation="embed", **args).collect()

    assert virtually(main(retry=Retry(1)))[0].error is not None
    assert virtually(main())[0].error is None  # of 8 attempts
    asked = Asked(vectors)
    with pytest.raises(BudgetExceededError, match="goes on"):
        asked.run(
            [f"{i:02}" + "x" * 30 for i in range(40)],
            budget=Budget(tokens=105),
            ledger=ledger,
            concurrency=4,
            **EMBED,
        )
    assert 0 < len(asked.fake.requests) < 40


# -- the run itself ------------------------------------------------------------------------------------------


def test_concurrency_limit_and_progress() -> None:
    reports: list[BulkProgress] = []
    running = most = 0

    def script(request: RecordedRequest) -> Answer:
        return Answer(body=[Wait(0.002), whole(request)], headers=JSON)

    async def main() -> None:
        nonlocal running, most
        fake = FakeProvider(script)
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            bulk = client.map(numbered(100), concurrency=7, limit=30, progress=reports.append)
            most_running = 0
            async for _ in bulk:
                most_running = max(most_running, bulk.progress.running)
            assert len(fake.requests) == 30
            assert 0 < most_running <= 7
            assert bulk.is_complete

    asyncio.run(main())
    last = reports[-1]
    assert (last.total, last.done, last.failed, last.recorded, last.running) == (30, 30, 0, 0, 0)
    assert last.input_tokens > 0 and last.output_tokens > 0 and last.eta == 0


def test_stopping_ends_what_is_asked_and_records_it(ledger: Path) -> None:
    fake = FakeProvider(lambda request: Answer(body=[Wait(0.01), whole(request)], headers=JSON))

    async def main() -> int:
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            bulk = client.map(numbered(50), concurrency=5, ledger=ledger)
            found = [await anext(bulk)]
            bulk.stop()
            found += await bulk.collect()
            assert not bulk.is_complete
            return len(found)

    given = asyncio.run(main())
    asked = len(fake.requests)
    assert 5 <= given <= asked <= 12
    assert sum(each.is_recorded for each in Asked().run(numbered(50), ledger=ledger)) == asked


def test_leaving_cancels_and_what_was_claimed_is_named(ledger: Path) -> None:
    fake = FakeProvider(
        lambda request: Answer(
            body=[Wait(30 if prompt_of(request) == "p1" else 0), whole(request)], headers=JSON
        )
    )

    async def main() -> None:
        async with AsyncClient(MODEL, api_key="k", transport=fake) as client:
            async with client.map(numbered(5), concurrency=2, ledger=ledger) as bulk:
                await anext(bulk)
            again = client.map(numbered(1), ledger=ledger)
            await again.collect()
            assert "r1" in again.interrupted

    asyncio.run(main())


def test_a_consumer_that_stops_taking_stops_the_run() -> None:
    fake = FakeProvider(echo)

    async def main() -> None:
        client = AsyncClient(MODEL, api_key="k", transport=fake)
        async with client, client.map(numbered(1000), concurrency=4) as bulk:
            await anext(bulk)
            before = -1
            while before != len(fake.requests):
                before = len(fake.requests)
                for _ in range(50):
                    await asyncio.sleep(0)
            assert before < 100

    asyncio.run(main())


def test_the_synchronous_client(ledger: Path) -> None:
    fake = FakeProvider(echo)
    with Client(MODEL, api_key="k", transport=fake) as client:
        with client.map(numbered(10), ledger=ledger) as bulk:
            assert [each.text for each in bulk] == [f"<p{i}>" for i in range(10)]
            assert bulk.is_complete and bulk.progress.done == 10 and bulk.interrupted == ()
        bulk = client.map(numbered(10), ledger=ledger)
        assert len(bulk.collect()) == 10
        left = client.map(numbered(10), ledger=ledger, limit=5)
        next(left)
        left.stop()
        left.close()
        with pytest.raises(TypeError, match="did you mean"):
            client.map([], leger=3)  # type: ignore[call-overload]
    assert len(fake.requests) == 10


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_only_the_user_can_read_a_ledger(ledger: Path) -> None:
    ledger.touch(0o644)
    Asked().run(numbered(1), ledger=ledger)

    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600


def test_a_claim_is_in_the_file_before_the_request_is_sent(ledger: Path) -> None:
    claims: list[int] = []

    def script(request: RecordedRequest) -> str:
        claims.append(ledger.read_text().count('"claim"'))
        return echo(request)

    Asked(script).run(numbered(3), ledger=ledger, concurrency=1)

    assert claims == [1, 2, 3]


def test_a_full_disk_ends_the_run(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def full(file: int, data: Any) -> int:
        if b'"result"' in bytes(data):
            raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(ConfigError, match="No space left"):
        Asked().run(numbered(3), ledger=ledger)
    assert ledger.read_text().endswith("\n")


def test_a_ledger_that_was_closed_is_opened_by_the_next(ledger: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Ledger(str(ledger / "no" / "folder")).open()
    first = Ledger(str(ledger))
    first.open()
    first.close()
    second = Ledger(str(ledger))
    second.open()
    second.close()


JSON = {"content-type": "application/json"}


def whole(request: RecordedRequest) -> bytes:
    message = {"role": "assistant", "content": echo(request)}
    return json.dumps(
        {
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()


@pytest.mark.parametrize(
    ("wrong", "kind", "named"),
    [
        ({"concurrency": 0}, ValueError, "concurrency takes 1 or more, not 0"),
        ({"limit": -1}, ValueError, "limit takes 0 or more, not -1"),
        ({"ledger": 7}, TypeError, "ledger takes a path, not int"),
        ({"id": 7}, TypeError, "id takes the name of a column or a function, not int"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=f"^{re.escape(named)}$"):
        BulkSettings(**wrong)
