"""One attempt at a request, through the client: what is read of its answer, and what becomes of its exchange."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from brainwires_provider import (
    AsyncClient,
    FramingError,
    ProtocolError,
    ProviderError,
    ResponseEnd,
    ResponseStart,
    Retry,
    StreamTimeout,
    TextDelta,
    Timeouts,
)
from brainwires_provider.testing import Answer, Drop, FakeProvider, Paced, Stall, sse
from brainwires_provider.transports.base import ByteExchange
from chat_answers import TEXT, WHOLE, chunk
from virtual_time import virtually

START = sse(chunk({"role": "assistant", "content": ""}), done=False)
PING = b": ping\n\n"
LIST = b'{"data": [{"id": "m"}]}'


def asking(transport: Any, **settings: Any) -> AsyncClient:
    settings = {"retry": Retry(1), **settings}
    return AsyncClient("openai-chat:m", api_key="k", transport=transport, **settings)


async def ask(how: str, answer: Answer, **settings: Any) -> Any:
    """What becomes of one call."""
    async with asking(FakeProvider([answer]), **settings) as client:
        try:
            if how == "models":
                return await client.models()
            return await (client.chat("Hi") if how == "chat" else client.stream("Hi").collect())
        except ProviderError as error:
            return error


def asked(how: str, answer: Answer, **settings: Any) -> Any:
    """What became of it."""
    return asyncio.run(ask(how, answer, **settings))


# what comes behind the start of an answer, and whether the answer is whole
BEHIND_THE_START: dict[str, tuple[list[Any], bool]] = {
    "signs of life, for longer than any clock": ([Paced([PING] * 6, every=2), TEXT], True),
    "nothing for longer than the idle clock": ([Paced([TEXT], every=4)], False),
    "signs of life, and then nothing": ([PING, Paced([PING], every=2), Stall()], False),
}


@pytest.mark.parametrize("name", BEHIND_THE_START)
def test_the_idle_clock_counts_from_the_start_of_an_answer_and_from_each_sign_of_life(name: str) -> None:
    steps, is_whole = BEHIND_THE_START[name]
    limits = Timeouts(first_event=5, idle=3)
    found = virtually(ask("stream", Answer(body=[START, *steps]), timeouts=limits))
    if is_whole:
        assert found.text == "Hello"
    else:
        assert isinstance(found, StreamTimeout) and found.clock == "idle"


def test_an_answer_that_is_cut_behind_its_start_is_replaced_without_a_word() -> None:
    async def main() -> list[Any]:
        answers = [Answer(body=[START, Drop()]), Answer(body=[TEXT])]
        async with asking(FakeProvider(answers), retry=Retry(2, base=0)) as client:
            return [event async for event in client.stream("Hi")]

    events = asyncio.run(main())
    assert [type(event) for event in events].count(ResponseStart) == 1
    assert "".join(event.text for event in events if type(event) is TextDelta) == "Hello"
    assert type(events[0]) is ResponseStart and type(events[-1]) is ResponseEnd


def test_what_comes_behind_the_end_in_the_same_piece_is_no_part_of_the_answer() -> None:
    more = sse(chunk({"content": " and more"}), done=False)
    assert asked("stream", Answer(body=[TEXT + more])).text == "Hello"


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream", ""])
def test_an_answer_that_was_not_asked_for_as_a_stream_is_one_body_whatever_its_type(kind: str) -> None:
    assert asked("chat", Answer(headers={"content-type": kind}, body=WHOLE)).text == "Hello"


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_a_page_and_nothing_in_place_of_an_answer_are_named(how: str) -> None:
    page = Answer(headers={"content-type": "Text/HTML; charset=utf-8"}, body=b"<html>Sign in</html>")
    error = asked(how, page)
    assert isinstance(error, ProtocolError)
    assert "an HTML page ('<html>Sign in</html>'); check base_url" in str(error)
    for body in (b"", b" \r\n"):
        error = asked(how, Answer(headers={"content-type": "application/json"}, body=body))
        assert isinstance(error, ProtocolError) and "the provider answered with an empty body" in str(error)


@pytest.mark.parametrize(("how", "body"), [("chat", WHOLE), ("models", LIST)])
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(how: str, body: bytes) -> None:
    answer = Answer(headers={"content-type": "application/json"}, body=[body[:-2], body[-2:-1], body[-1:]])
    found = asked(how, answer, max_event_bytes=len(body))
    assert not isinstance(found, ProviderError), found
    error = asked(how, answer, max_event_bytes=len(body) - 1)
    assert isinstance(error, FramingError) and f"exceeds {len(body) - 1} bytes" in str(error)


@pytest.mark.parametrize("how", ["chat", "stream"])
def test_half_a_character_is_replaced_in_the_text_and_beside_it(how: str) -> None:
    call = {
        "index": 0,
        "id": "c-\ud800",
        "type": "function",
        "function": {"name": "\ud800", "arguments": "{}"},
    }
    said = {"role": "assistant", "content": "a\ud800", "tool_calls": [call]}
    whole = json.dumps({"id": "c", "choices": [{"index": 0, "message": said, "finish_reason": "stop"}]})
    streamed = sse(json.dumps(chunk(said)), chunk({}, "stop"))
    found = asked(how, Answer(body=[streamed] if how == "stream" else whole.encode()))
    (made,) = found.tool_calls
    assert (found.text, made.id, made.name) == ("a\ufffd", "c-\ufffd", "\ufffd")


class Network:
    """Answers one request, in these pieces. `told` is what becomes of its exchange."""

    def __init__(self, pieces: list[bytes], kind: str) -> None:
        self.pieces, self.headers = pieces, {"content-type": kind}
        self.told: list[str] = []

    async def open(self, outgoing: Any) -> ByteExchange:
        return Told(self)

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        return False


class Told(ByteExchange):
    """The exchange of a Network."""

    __slots__ = ("_network",)

    def __init__(self, network: Network) -> None:
        self.status, self.headers, self.attempts = 200, network.headers, ()
        self._network = network

    @property
    def ended(self) -> bool:
        return not self._network.pieces

    async def read(self) -> bytes:
        return self._network.pieces.pop(0) if self._network.pieces else b""

    async def drain(self) -> None:
        self._network.told.append("drained")

    def release(self) -> None:
        self._network.told.append("released")

    def abort(self) -> None:
        self._network.told.append("aborted")


async def left(client: AsyncClient, is_last: Callable[[Any], bool]) -> None:
    async with client.stream("Hi") as stream:
        async for event in stream:
            if is_last(event):
                break


PIECES = [sse(chunk({"content": "Hel"}), done=False), sse(chunk({"content": "lo"}), chunk({}, "stop"))]
# how a call ends, and what becomes of its exchange
ENDS: dict[str, tuple[list[bytes], Callable[[AsyncClient], Any], list[str]]] = {
    "whole": ([WHOLE], lambda client: client.chat("Hi"), ["released"]),
    "no chat": ([LIST], lambda client: client.models(), ["released"]),
    "a stream": (PIECES, lambda client: client.stream("Hi").collect(), ["drained", "released"]),
    "left behind its end": (
        PIECES,
        lambda client: left(client, lambda event: type(event) is ResponseEnd),
        ["drained", "released"],
    ),
    "left before its end": (PIECES, lambda client: left(client, lambda _: True), ["aborted"]),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_was_read_to_its_end_is_released_and_what_was_not_is_dropped_at_once(name: str) -> None:
    pieces, call, told = ENDS[name]

    async def main() -> list[str]:
        network = Network(list(pieces), "text/event-stream" if "drained" in told or "aborted" in told else "")
        async with asking(network) as client:
            await call(client)
            return list(network.told)

    assert asyncio.run(main()) == told
