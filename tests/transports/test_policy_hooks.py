"""What is reported of a call while it runs: the log, and a client's hooks, which cannot break it."""

from __future__ import annotations

import asyncio
import copy
import logging
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    CallInfo,
    Client,
    ConfigError,
    PreparedRequest,
    ProviderError,
    RateLimitError,
    Report,
)
from brainwires_provider._core import watch
from brainwires_provider._core.hooks import Hooks
from brainwires_provider._core.watch import LOGGER, log_to_stderr
from brainwires_provider.testing import Answer, Drop, FakeProvider, ScriptedServer, Stall, sse
from chat_answers import TEXT, WHOLE, chunk
from virtual_time import VirtualLoop, virtually
from waits import noted

BUSY = Answer(429, {}, b'{"error": {"message": "slow down, sk-secret"}}')
WRONG = Answer(400, {}, b'{"error": {"message": "no field"}}')
GOOD = Answer(body=WHOLE)
STREAM = Answer(body=[TEXT])
UNREAD = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Stall()])
CUT = Answer(body=[sse(chunk({"content": "Hel"}), done=False), Drop()])
LIST = Answer(body=b'{"data": [{"id": "m1"}]}')
VECTORS = Answer(body=b'{"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 5}}')


class Seen:
    """Hooks that note what they are called with; `fault` is raised after that."""

    def __init__(self, fault: BaseException | None = None) -> None:
        self.calls: list[tuple[str, CallInfo, Any]] = []
        self.fault = fault

    def note(self, name: str, info: CallInfo, value: Any = None) -> None:
        self.calls.append((name, info, value))
        if self.fault is not None:
            raise self.fault

    def sync(self) -> dict[str, Any]:
        return {
            "on_request": lambda info: self.note("request", info),
            "on_response": lambda info, response: self.note("response", info, response),
            "on_error": lambda info, error: self.note("error", info, error),
        }

    def coroutines(self) -> dict[str, Any]:
        async def on_request(info: CallInfo) -> None:
            await asyncio.sleep(0)
            self.note("request", info)

        async def on_response(info: CallInfo, response: Any) -> None:
            await asyncio.sleep(0)
            self.note("response", info, response)

        async def on_error(info: CallInfo, error: ProviderError) -> None:
            await asyncio.sleep(0)
            self.note("error", info, error)

        return {"on_request": on_request, "on_response": on_response, "on_error": on_error}

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]


async def ask(url: str, how: str, **hooks: Any) -> Any:
    async with AsyncClient("openai-chat:m", base_url=url, api_key="sk-secret", **hooks) as client:
        noted(client)
        try:
            match how:
                case "chat":
                    return await client.chat("a question")
                case "stream":
                    return await client.stream("a question").collect()
                case "models":
                    return await client.models()
                case "embed":
                    return await client.embed("a question")
            async with client.stream("a question") as stream:  # "leave"
                return await anext(stream)
        except ProviderError as error:
            return error


# name: how it is asked, the answers, the hooks that are called, the log's lines
CASES: dict[str, tuple[str, list[Answer], list[str], list[str]]] = {
    "chat": (
        "chat",
        [GOOD],
        ["request", "response"],
        [
            "attempt 1: openai-chat:m POST",
            "answered with status 200 in",
            "3 input and 1 output tokens, attempts: 1",
        ],
    ),
    "stream": ("stream", [STREAM], ["request", "response"], ["attempt 1", "answered with status 200"]),
    "retried": (
        "stream",
        [BUSY, STREAM],
        ["request", "request", "response"],
        [
            "attempt 1: ",
            "attempt 1 failed (status 429): slow down, [redacted]; the next begins in 0.25 s",
            "attempt 2: ",
            "attempts: 2",
        ],
    ),
    "refused": (
        "chat",
        [WRONG],
        ["request", "error"],
        ["failed with status 400 in", "InvalidRequestError: openai-chat: no"],
    ),
    "cut": ("stream", [CUT], ["request", "error"], ["failed in", "StreamInterrupted"]),
    "left": ("leave", [UNREAD], ["request"], ["was left after"]),
    "no chat": (
        "models",
        [LIST],
        ["request", "response"],
        ["openai-chat:* GET /models", "answered with status 200"],
    ),
    "embed": (
        "embed",
        [VECTORS],
        ["request", "response"],
        ["openai-chat:m POST /embeddings", "5 input and 0 output tokens, attempts: 1"],
    ),
}


@pytest.mark.parametrize("form", ["sync", "coroutines"])
@pytest.mark.parametrize("name", CASES)
def test_what_the_hooks_and_the_log_report(name: str, form: str, caplog: pytest.LogCaptureFixture) -> None:
    how, answers, hooks, lines = CASES[name]
    seen = Seen()
    caplog.set_level(logging.DEBUG, "brainwires_provider")
    with ScriptedServer(answers) as server:
        found = asyncio.run(ask(server.url, how, **getattr(seen, form)()))

    assert sorted(seen.names) == sorted(hooks) and (form == "coroutines" or seen.names == hooks)
    text = "\n".join(record.getMessage() for record in caplog.records)
    positions = [text.find(line) for line in lines]
    assert -1 not in positions and positions == sorted(positions), text
    assert all(int(each) < 60_000 for each in re.findall(r"(\d+) ms", text)), text
    assert "sk-secret" not in text and "a question" not in text and "Hello" not in text
    _, info, value = seen.calls[-1]
    if seen.names[-1] != "request":
        assert value is None if name in ("no chat", "embed") else value == found
        assert 0 < info.seconds < 60
    assert {info.id for _, info, _ in seen.calls} == {info.id}
    assert info.provider == "openai-chat" and info.attempt == hooks.count("request")
    assert "sk-secret" not in repr(info) and info.request.url.startswith(server.url)


@pytest.mark.parametrize("form", ["sync", "coroutines"])
def test_a_hook_that_raises_breaks_nothing(form: str, caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen(RuntimeError("mine"))
    with ScriptedServer([GOOD, WRONG]) as server:
        hooks = getattr(seen, form)()
        assert asyncio.run(ask(server.url, "chat", **hooks)).text == "Hello"
        assert isinstance(asyncio.run(ask(server.url, "chat", **hooks)), ProviderError)
    assert seen.names.count("request") == 2 and len(seen.names) == 4
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 4 and "mine" in caplog.text
    assert {record.name for record in warnings} == {"brainwires_provider"}


def test_a_call_does_not_wait_for_a_hook() -> None:
    gate = asyncio.Event()
    order: list[str] = []

    async def on_request(_: CallInfo) -> None:
        await gate.wait()
        order.append("hook")

    async def main(url: str) -> None:
        async with AsyncClient("openai-chat:m", base_url=url, api_key="k", on_request=on_request) as client:
            await client.chat("Hi")
            order.append("answer")
            gate.set()

    with ScriptedServer([GOOD]) as server:
        asyncio.run(main(server.url))
    assert order == ["answer", "hook"]  # closing the client waited for it


def test_closing_waits_for_hooks_five_seconds_at_most() -> None:
    ended: list[str] = []

    async def slow(seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            ended.append("whole")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def main() -> float:
        hooks = Hooks(on_request=slow)  # type: ignore[arg-type]
        hooks.call("on_request", 3)
        hooks.call("on_request", 600)
        await hooks.aclose()
        took = asyncio.get_running_loop().time()
        for _ in range(2):  # the cancelled one ends, and then its callbacks run
            await asyncio.sleep(0)
        assert not hooks._tasks
        return took

    assert virtually(main()) == 5.0
    assert ended == ["whole", "cancelled"]


def test_closing_waits_neither_for_the_hook_that_closes_nor_for_those_of_another_loop() -> None:
    closed: list[tuple[str, float]] = []

    async def close(name: str) -> None:
        await hooks.aclose()
        closed.append((name, asyncio.get_running_loop().time()))

    async def slow(name: str) -> None:
        await asyncio.sleep(1)
        await close(name)

    async def begin(hook: Any, name: str) -> None:
        hooks.on_request = hook
        hooks.call("on_request", name)
        await asyncio.sleep(0)

    hooks = Hooks()
    virtually(begin(close, "itself"))
    with asyncio.Runner(loop_factory=VirtualLoop) as other:
        other.run(begin(slow, "of another loop"))
        virtually(close("here"))
        other.run(close("there"))
    assert closed == [("itself", 0.0), ("here", 0.0), ("of another loop", 1.0), ("there", 1.0)]


def test_a_client_that_is_closed_waits_for_its_hooks() -> None:
    done: list[float] = []

    async def on_response(*_: Any) -> None:
        await asyncio.sleep(3)
        done.append(asyncio.get_running_loop().time())

    async def main() -> None:
        settings: Any = {"on_response": on_response, "transport": FakeProvider(lambda _: GOOD)}
        async with AsyncClient("openai-chat:m", api_key="k", **settings) as client:
            await client.chat("hi")
        assert done == [3]

    virtually(main())


def test_a_copied_client_has_the_same_hooks_and_waits_for_its_own_alone() -> None:
    seen, gate = Seen(), asyncio.Event()

    async def on_request(info: CallInfo) -> None:
        await gate.wait()
        seen.note("request", info)

    async def main(url: str) -> None:
        first = AsyncClient(
            "openai-chat:m", base_url=url, api_key="k", **{**seen.coroutines(), "on_request": on_request}
        )
        await first.chat("Hi")
        other = copy.copy(first)
        await other.aclose()
        assert "request" not in seen.names  # which still waits, and was not cancelled
        gate.set()
        await first.aclose()
        async with copy.copy(first) as other:
            await other.chat("Hi")
            with pytest.raises(ProviderError):
                await other.chat("Hi")
        await first.aclose()

    with ScriptedServer([GOOD, GOOD, WRONG]) as server:
        asyncio.run(main(server.url))
    told = [(name, type(value).__name__) for name, _, value in seen.calls if name != "request"]
    assert told == [("response", "Response")] * 2 + [("error", "InvalidRequestError")]
    assert seen.names.count("request") == 3


def test_hooks_of_the_synchronous_client() -> None:
    seen = Seen()
    with (
        ScriptedServer([GOOD]) as server,
        Client("openai-chat:m", base_url=server.url, api_key="k", **seen.coroutines()) as client,
    ):
        found = client.chat("Hi")
    assert sorted(seen.names) == ["request", "response"]
    assert found in [value for _, _, value in seen.calls]


def test_a_client_with_hooks_that_was_never_used_is_closed() -> None:
    Client("openai-chat:m", api_key="k", **Seen().sync()).close()


def test_nobody_looks_on() -> None:
    async def main() -> None:
        async with (
            ScriptedServer([GOOD]) as server,
            AsyncClient("openai-chat:m", base_url=server.url, api_key="k") as client,
        ):
            sending: Any = client._session.send(client._session.plan("Hi", {}, stream=False))
            await sending.pull()
            assert sending._watch is None
            await sending.leave()

    asyncio.run(main())


SCRIPT = """
import sys
from brainwires_provider import Client
with Client("openai-chat:m", base_url=sys.argv[1], api_key="sk-secret") as client:
    client.chat("a question")
"""


@pytest.mark.parametrize("name", ["chat", "stream", "refused", "left"])
def test_the_log_states_milliseconds(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, answers, _, _ = CASES[name]
    now, seen = [100.0], Seen()

    def on_request(info: CallInfo) -> None:
        now[0] += 1.25

    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caplog.set_level(logging.INFO, "brainwires_provider")
    with ScriptedServer(answers) as server:
        asyncio.run(ask(server.url, how, **{**seen.sync(), "on_request": on_request}))

    (line,) = [record.getMessage() for record in caplog.records]
    assert re.findall(r"(\d+) ms", line) == ["1250"]
    assert [info.seconds for _, info, _ in seen.calls] == ([] if name == "left" else [1.25])


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("INFO", 1), ("warning", 0), ("", 0)])
def test_the_variable_for_scripts(level: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINWIRES_LOG", level)
    with ScriptedServer([GOOD]) as server:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, server.url], capture_output=True, text=True, timeout=60, check=True
        )
    assert len(done.stderr.splitlines()) == lines and "sk-secret" not in done.stderr
    assert done.stderr.count("answered with status 200") == (1 if lines else 0)


def test_the_log_goes_to_standard_error_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", True)
    try:
        for level in ("warning", "Info"):  # of two clients: the later one counts
            log_to_stderr(level)
        LOGGER.debug("one")
        LOGGER.info("two")
    finally:
        LOGGER.setLevel(logging.NOTSET)
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"\d{4}-\d\d-\d\d [\d:,]+ INFO brainwires_provider: two\n", err)
    assert not LOGGER.propagate


def test_a_handler_of_the_program_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = logging.NullHandler()
    monkeypatch.setattr(LOGGER, "handlers", [own])
    monkeypatch.setattr(LOGGER, "propagate", True)
    try:
        log_to_stderr("info")
        assert LOGGER.handlers == [own] and LOGGER.propagate and LOGGER.level == logging.INFO
    finally:
        LOGGER.setLevel(logging.NOTSET)


def test_a_level_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINWIRES_LOG", "loud")
    with pytest.raises(ConfigError, match="debug, info"):
        AsyncClient("openai-chat:m", api_key="k")


def test_a_request_that_cannot_be_made_is_shown_empty() -> None:
    seen = Seen()

    async def main() -> None:
        async with AsyncClient("openai-chat:m", api_key="k", **seen.sync()) as client:
            with pytest.raises(ConfigError):
                await client.chat("hi", extra_headers={"a b": "c"})

    asyncio.run(main())
    assert seen.names == ["request", "error"]
    for _, info, _ in seen.calls:
        assert info.request == PreparedRequest("POST", "", {}, b"", Report())


def test_an_error_that_a_hook_sees_is_the_one_that_is_raised() -> None:
    seen = Seen()
    with ScriptedServer([BUSY] * 3) as server:
        found = asyncio.run(ask(server.url, "chat", **seen.sync()))
    assert isinstance(found, RateLimitError) and seen.calls[-1][2] is found and len(found.attempts) == 3
