"""A link whose transport is in memory, on a clock that costs no time: its keepalive, its queue, and its end."""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from test_websocket_link import ENDS, Heard, close_frame, frame, shake
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from brainwires_provider.transports.websocket.connection import Closed, Link, LinkLost, _Connection
from brainwires_provider.transports.websocket.handshake import Answer
from socket_memory import VirtualLoop, settle

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
PIECE = 65_536


class Wire(asyncio.Transport):
    """Keeps what is written. It ends `slow` seconds after an abort; never, if that is None."""

    def __init__(self, slow: float | None) -> None:
        super().__init__()
        self.slow = slow
        self.loop = asyncio.get_running_loop()
        self.written: list[tuple[float, bytes]] = []
        self.limits: Any = None
        self.is_narrow = False
        """Whether it takes one piece at a time."""
        self.protocol: Any = None
        self.aborted_at: float | None = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = high

    def write(self, data: Any) -> None:
        self.written.append((self.loop.time(), bytes(data)))
        if self.is_narrow:
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self.aborted_at is not None

    def abort(self) -> None:
        if self.aborted_at is None:
            self.aborted_at = self.loop.time()
            if self.slow is not None:
                self.loop.call_later(self.slow, self.protocol.connection_lost, None)

    def frames(self) -> list[tuple[float, int, bytes]]:
        """When a frame was sent, its kind, and what it carries."""
        found = []
        for when, data in self.written:
            size, start = data[1] & 0x7F, 2
            assert data[1] & 0x80 and size < 127
            if size == 126:
                (size,), start = struct.unpack("!H", data[2:4]), 4
            mask, carried = data[start : start + 4], data[start + 4 :]
            assert len(carried) == size
            whole = bytes(byte ^ mask[at % 4] for at, byte in enumerate(carried))
            found.append((when, data[0] & 0x0F, whole))
        return found


class Here:
    """A link that has just been opened, and both of its ends."""

    def __init__(
        self,
        *,
        slow: float | None = 0.0,
        came: bytes = b"",
        ended: Exception | None = None,
        **settings: Any,
    ) -> None:
        self.heard = Heard()
        self.wire = Wire(slow)
        handshake = shake("ws://host.example/", **{"ping_interval": None, **settings})
        protocol = ClientProtocol(parse_uri(handshake.url), state=State.OPEN, max_size=handshake.max_frame)
        self.connection = _Connection(
            self.wire, protocol, handshake, self.heard.on_frame, self.heard.on_close
        )
        answer = Answer()
        answer.buffer += came
        answer.ended = ended
        self.connection.start(answer)
        self.link = Link(self.connection, {})


def run_here(work: Callable[[], Awaitable[None]]) -> None:
    problems: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: problems.append(told))
        await work()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
    assert problems == []


# -- the keepalive -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "patience", "signs", "ends"),
    [
        (10, 25, [], 35),
        (10, 5, [], 15),
        (10, 25, [5], 35),
        (10, 25, [24], 65),
        (10, 25, [24, 41], 95),
        (10, 5, [12, 22, 32], 45),
        (10, 5, [11], 25),
    ],
)
def test_a_peer_that_gives_no_sign_of_life_after_a_ping_is_left(
    interval: int, patience: int, signs: list[int], ends: int
) -> None:
    """A ping each `interval`; one at a time is waited for, `patience` seconds, and any byte is a sign."""

    async def work() -> None:
        here = Here(ping_interval=interval, ping_timeout=patience)
        for when in signs:
            asyncio.get_running_loop().call_at(when, here.connection.data_received, frame(PONG))
        await asyncio.sleep(200)
        [closed] = here.heard.ends
        assert (closed.how, here.wire.aborted_at) == ("keepalive", ends)
        assert here.wire.frames() == [(when, PING, b"") for when in range(interval, ends, interval)]
        assert here.link.heard_at == max([0, *signs])

    run_here(work)


def test_a_peer_that_takes_an_upload_is_alive() -> None:
    async def work() -> None:
        here = Here(ping_interval=10, ping_timeout=10)
        here.wire.is_narrow = True
        sending = asyncio.ensure_future(here.link.send(b"x" * 300_000))
        for _ in range(3):
            await asyncio.sleep(15)
            here.connection.resume_writing()
            assert here.link.is_open
        await asyncio.sleep(30)
        assert [closed.how for closed in here.heard.ends] == ["keepalive"]
        with pytest.raises(LinkLost):
            await sending

    run_here(work)


# -- what is written -----------------------------------------------------------------------------------------


def test_of_the_replies_to_pings_that_wait_the_last_is_sent() -> None:
    """In its place among the messages."""

    async def work() -> None:
        here = Here()
        await settle()
        here.connection.data_received(frame(PING, b"a"))
        here.connection.pause_writing()
        for said in (b"b", b"c"):
            here.connection.data_received(frame(PING, said))
        sending = [asyncio.ensure_future(here.link.send(said)) for said in (b"one", b"two")]
        await settle()
        for said in (b"d", b"e"):
            here.connection.data_received(frame(PING, said))
        assert not any(task.done() for task in sending)
        assert [said for _, _, said in here.wire.frames()] == [b"a"]
        here.connection.resume_writing()
        await asyncio.gather(*sending)
        here.connection.data_received(frame(PING, b"f"))
        assert [(kind, said) for _, kind, said in here.wire.frames()] == [
            (PONG, b"a"),
            (PONG, b"c"),
            (TEXT, b"one"),
            (TEXT, b"two"),
            (PONG, b"e"),
            (PONG, b"f"),
        ]
        here.link.abort()

    run_here(work)


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7])
@pytest.mark.parametrize("is_paused", [True, False])
def test_a_message_is_written_in_pieces(size: int, is_paused: bool) -> None:
    async def work() -> None:
        here = Here()
        assert here.wire.limits == PIECE
        if is_paused:
            here.connection.pause_writing()
        sending = asyncio.ensure_future(here.link.send(b"x" * (size - (8 if size < PIECE + 8 else 14))))
        await settle()
        here.connection.resume_writing()
        await sending
        sizes = [len(data) for _, data in here.wire.written]
        assert sum(sizes) == size and sizes[:-1] == [PIECE] * (len(sizes) - 1)
        assert 0 < sizes[-1] <= PIECE
        here.link.abort()

    run_here(work)


# -- the end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [0.0, 0.05, None])
@pytest.mark.parametrize("leaves", [None, 0.5])
def test_to_close_takes_as_long_as_the_peer_and_at_most_a_second(
    slow: float | None, leaves: float | None
) -> None:
    """Afterwards the transport has ended, where it does."""

    async def work() -> None:
        here = Here(slow=slow)
        if leaves is not None:
            asyncio.get_running_loop().call_at(leaves, here.connection.connection_lost, None)
        await here.link.aclose()
        expected = leaves or 0.9 + (0.1 if slow is None else slow)
        assert asyncio.get_running_loop().time() == pytest.approx(expected)
        assert here.connection._over.done() is (leaves is not None or slow is not None)
        assert here.wire.frames() == [(0.0, CLOSE, struct.pack("!H", 1000))]
        assert here.heard.ends == [here.link.closed] == [Closed(1000, "closed here", "ours", sent=1000)]

    run_here(work)


@pytest.mark.parametrize("slow", [0.0, 0.5, None])
def test_the_end_of_a_loop_waits_for_the_transport_at_most_a_second(slow: float | None) -> None:
    async def work() -> None:
        here = Here(slow=slow)
        await asyncio.get_running_loop().shutdown_asyncgens()
        assert asyncio.get_running_loop().time() == (0.9 if slow is None else slow)
        assert here.wire.aborted_at == 0.0 and here.connection._over.done() is (slow is not None)
        assert [closed.how for closed in here.heard.ends] == ["loop"]

    run_here(work)


@pytest.mark.parametrize("end", [b"", close_frame(1001)], ids=["eof", "close"])
def test_a_peer_that_leaves_its_connection_open_is_left_after_a_while(end: bytes) -> None:
    async def work() -> None:
        here = Here()
        if end:
            here.connection.data_received(end)
        else:
            here.connection.eof_received()
        await asyncio.sleep(2)
        assert here.wire.aborted_at == 0.9
        assert [closed.how for closed in here.heard.ends] == ["server" if end else "lost"]

    run_here(work)


@pytest.mark.parametrize("end", ["connection_lost", "eof_received"])
def test_what_came_with_the_answer_to_the_upgrade_is_told_before_an_end_at_once(end: str) -> None:
    async def work() -> None:
        here = Here(came=frame(TEXT, b"first"))
        assert here.heard.frames == []
        here.connection.data_received(frame(TEXT, b"second"))
        assert here.heard.frames == []
        getattr(here.connection, end)(*([None] if end == "connection_lost" else []))
        assert here.heard.frames == [b"first", b"second"] and here.heard.ends == []
        await settle()
        assert [closed.how for closed in here.heard.ends] == ["lost"]
        here.link.abort()

    run_here(work)


@pytest.mark.parametrize(("came", "expected"), [each for each in ENDS if each[1][0] != "lost"])
def test_an_end_by_a_frame_is_told_and_nothing_after_it(came: bytes, expected: tuple[Any, ...]) -> None:
    async def work() -> None:
        here = Here(max_frame=2000)
        await settle()
        here.connection.data_received(came)
        here.connection.data_received(frame(TEXT, b"late"))
        await settle()
        [closed] = here.heard.ends
        how, code, received, sent, words = expected
        assert (closed.how, closed.code, closed.received, closed.sent) == (how, code, received, sent)
        assert words in closed.reason and here.heard.frames == []
        [(_, kind, said)] = here.wire.frames()
        assert kind == CLOSE and said[:2] == (b"" if sent == 1005 else struct.pack("!H", sent))
        here.link.abort()

    run_here(work)


@pytest.mark.parametrize("way", ["abort", "aclose", "peer", "drop"])
def test_who_sends_or_pings_as_a_link_ends_is_told(way: str) -> None:
    """What was not sent is kept no longer, and a dropped link is aborted."""

    async def work() -> None:
        await asyncio.sleep(5)
        here = Here()
        assert here.link.opened_at == here.link.heard_at == 5.0
        here.connection.pause_writing()
        tasks: list[Any] = [
            asyncio.ensure_future(here.link.send(b"x" * 300_000)),
            asyncio.ensure_future(here.link.ping()),
        ]
        if way == "drop":
            tasks, _ = [], [task.cancel() for task in tasks]
        await settle()
        if way == "abort":
            here.link.abort()
        elif way == "aclose":
            tasks.append(asyncio.ensure_future(here.link.aclose()))
        elif way == "peer":
            here.connection.data_received(close_frame(1012))
        else:
            del here.link
            gc.collect()
        await asyncio.sleep(2)
        [closed] = here.heard.ends
        assert closed.how == ("server" if way == "peer" else "ours")
        for task in tasks[:2]:
            assert task.exception().closed is closed
        assert here.wire.aborted_at is not None and not here.connection._out

    run_here(work)


def test_a_connection_that_was_lost_before_the_link_stood_is_told_afterwards() -> None:
    async def work() -> None:
        here = Here(came=frame(TEXT, b"first"), ended=ConnectionResetError(104, "reset"))
        assert here.heard.ends == [] and here.link.is_open
        await settle()
        assert here.heard.frames == [b"first"]
        assert here.heard.ends == [Closed(1006, "the connection was lost (reset)", "lost")]

    run_here(work)


def test_a_link_that_is_over_leaves_nothing_to_the_end_of_its_loop() -> None:
    """No task is made when it is freed, or when the loop ends."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        made: list[Any] = []
        here = Here()
        here.link.abort()
        await settle()
        assert here.connection._over.done()

        def factory(loop: Any, coro: Any, **named: Any) -> Any:
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **named)

        loop.set_task_factory(factory)
        del here
        gc.collect()
        await settle()
        loop.set_task_factory(None)
        assert made == []

    run_here(work)
