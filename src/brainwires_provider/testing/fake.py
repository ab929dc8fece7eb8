"""A provider without a network: scripted replies on the real path of a request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

from brainwires_provider.errors import StreamInterrupted, TransportError
from brainwires_provider.testing.answers import (
    Answer,
    Close,
    Drop,
    Paced,
    RecordedRequest,
    Stall,
    Step,
    Wait,
    response_headers,
    steps_of,
)
from brainwires_provider.testing.replies import Said, reply_answer
from brainwires_provider.testing.responses_events import Failure
from brainwires_provider.transports.base import ByteExchange, Outgoing

__all__ = ["FakeProvider"]

_FOR_EVER = 1e9  # seconds: the caller's timeouts end the wait

Scripted = Said | Failure | Answer
Script = Scripted | Sequence[Scripted] | Callable[[RecordedRequest], Scripted]


class FakeProvider:
    """Answers requests from a script: `Client("openai:gpt-6", api_key="test", transport=FakeProvider("Hello"))`.

    All but the network is real: a request is encoded, signed, retried and limited, and its answer is decoded, by the
    protocol of the provider that the model names. `script` is one reply for every request, a list of replies that is
    used up in order, or a function that gets each request and returns a reply. A reply is a text, a part or several
    (TextPart, ReasoningPart, ToolCallPart), a `Reply`, which also says how it ends and what it counts, a `Failure`, or
    an `Answer` with its bytes, pauses and faults. A request without a reply fails with an AssertionError.

    It does not answer requests over a WebSocket: `ScriptedSocket` does.
    """

    def __init__(self, script: Script) -> None:
        self._script: Scripted | deque[Scripted] | Callable[[RecordedRequest], Scripted] = (
            deque(script)
            if isinstance(script, list) or (isinstance(script, tuple) and not _is_parts(script))
            else script  # type: ignore[assignment]
        )
        self.requests: list[RecordedRequest] = []
        """Every request that was made, in order, with its headers and its body: `fake.requests[0].json()`."""

    def __repr__(self) -> str:
        return f"FakeProvider({len(self.requests)} requests)"

    async def open(self, outgoing: Outgoing) -> ByteExchange:
        """See `transports.base.Transport`."""
        url = urlsplit(outgoing.url)
        target = f"{url.path}?{url.query}" if url.query else url.path
        headers, number = list(outgoing.headers.items()), len(self.requests) + 1
        request = RecordedRequest(
            outgoing.method, target, url.path, url.query, headers, outgoing.body, number
        )
        self.requests.append(request)
        said = self._next(request)
        answer = said if isinstance(said, Answer) else reply_answer(request, said)
        if answer.raw is not None:
            raise TypeError("a FakeProvider has no connection for raw bytes: use a ScriptedServer")
        for step in _steps((*answer.before, *([Stall()] if answer.stall_before_headers else []))):
            if isinstance(step, (Close, Drop)):
                raise TransportError("the scripted connection was lost before the answer")
            await asyncio.sleep(_FOR_EVER if step is None or isinstance(step, bytes) else step)
        return _FakeExchange(answer)

    def _next(self, request: RecordedRequest) -> Scripted:
        if isinstance(self._script, deque):
            if not self._script:
                asked = f"request {len(self.requests)} ({request.method} {request.path})"
                raise AssertionError(f"FakeProvider: no reply is left for {asked}")
            return self._script.popleft()
        return self._script(request) if callable(self._script) else self._script

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        """Nothing is open."""
        return False


def _is_parts(script: Sequence[object]) -> bool:
    return all(hasattr(part, "origin") for part in script)


class _FakeExchange(ByteExchange):
    """The bytes and faults of an Answer, without a connection."""

    __slots__ = ("_aborted", "_steps")

    def __init__(self, answer: Answer) -> None:
        self.status, self.attempts = answer.status, ()
        self.headers = {name.lower(): value for name, value in response_headers(answer)}
        self._steps = _steps((*steps_of(answer.body), *([Drop()] if answer.drop else [])))
        self._aborted = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the answer is read: only `read` shows it."""
        return False

    async def read(self) -> bytes:
        """The next bytes of the script, after its pauses; its faults raise."""
        for step in self._steps:
            if isinstance(step, bytes):
                return step
            if isinstance(step, (Close, Drop)) or self._aborted.is_set():
                how = "eof" if isinstance(step, Close) else "reset"
                raise StreamInterrupted("the scripted connection was lost during the response", how=how)
            try:
                async with asyncio.timeout(step):
                    await self._aborted.wait()
            except TimeoutError:
                continue
        return b""

    def release(self) -> None:
        """Done."""

    def abort(self) -> None:
        """Wake a waiting `read`, which raises."""
        self._aborted.set()


def _steps(steps: Iterable[Step]) -> Iterator[bytes | float | Close | Drop | None]:
    """The bytes, the seconds of the pauses (None: for ever), and the faults."""
    for step in steps:
        match step:
            case bytes() | Close() | Drop():
                yield step
            case Paced(chunks=chunks, every=every):
                for chunk in chunks:
                    yield every
                    yield chunk
            case Stall():
                yield None
            case Wait(until=float() | int() as seconds):
                yield seconds
            case _:
                raise TypeError("a FakeProvider has no gates: use a ScriptedServer")
