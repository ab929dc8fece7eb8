"""Scripted answers of a server: an Answer, its steps, and helpers that create streams and faults.

An answer is a list of steps that are played directly onto the socket. The helpers return plain answers
and bytes, so that they can be combined: `cut(Answer(body=split(sse(...), every=1)), 100, "rst")`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from msgspec import Struct

_gate_numbers = itertools.count(1)
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Wait(Struct, frozen=True):
    """Pause for this many seconds, or until the gate of that name is open."""

    until: float | str


class Gate(Struct, frozen=True):
    """Pause until the test calls `server.open(gate)`; it then stays open for that server."""

    name: str = msgspec.field(default_factory=lambda: f"gate-{next(_gate_numbers)}")


class Stall(Struct, frozen=True):
    """Send nothing more until the client disconnects, the server closes, or its timeout expires."""


class Drop(Struct, frozen=True):
    """Reset the connection (RST)."""


class Close(Struct, frozen=True):
    """End the connection (FIN), without the last chunk that a chunked body should have."""


class Paced(Struct, frozen=True):
    """Send chunks one by one: as fast as the client reads, or one each `every` seconds (1 ms resolution)."""

    chunks: Sequence[bytes]
    every: float = 0


Step = bytes | Wait | Gate | Stall | Drop | Close | Paced
Framing = Literal["length", "chunked", "close"]


class Answer(Struct, frozen=True):
    """One scripted answer.

    `body` as bytes is sent in one write; as steps, each bytes step is one write (and one chunk), after the
    headers. `framing` unset is "length" for bytes and "chunked" for steps. A header set here replaces
    ours (content-type: JSON for bytes, an event stream for steps; content-length; transfer-encoding).
    `before` is played ahead of the status line. `raw` stands for the whole response, after which the
    connection ends. An answer with `drop_if_reused` stays in its list until a new connection asks.
    """

    status: int = 200
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = {}
    body: bytes | Sequence[Step] = b""
    framing: Framing | None = None
    before: Sequence[Step] = ()
    raw: bytes | Sequence[Step] | None = None
    drop: bool = False
    drop_if_reused: bool = False
    stall_before_headers: bool = False


class RecordedRequest(Struct, frozen=True):
    """A request as it came: header names, order and repetitions are kept; `target` is the raw one.

    `path` is the target's path (for CONNECT, host:port); `query` is without its question mark;
    `connection` counts accepted connections from 1.
    """

    method: str
    target: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """The first value under this name, case ignored."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """The body read as JSON; raises msgspec.DecodeError."""
        return msgspec.json.decode(self.body)


Handler = Callable[[RecordedRequest], Answer]


def sse(*objects: object, done: bool = True) -> bytes:
    """Objects as server-sent events: a str is the data itself, all else is JSON; then `[DONE]`."""
    texts = [o.encode() if isinstance(o, str) else msgspec.json.encode(o) for o in objects]
    return b"".join(b"data: %b\n\n" % text for text in (*texts, *([b"[DONE]"] if done else [])))


def split(body: bytes, sizes: Iterable[int] = (), *, every: int | None = None) -> list[bytes]:
    """Cut a body into pieces of these sizes (what is left is the last one), or of `every` bytes each."""
    if every is not None and every < 1:
        raise ValueError(f"every must be at least 1 byte, not {every}")
    ends = range(every, len(body), every) if every else itertools.accumulate(sizes)
    starts = [0, *(end for end in ends if end < len(body)), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(starts)]


def cut(answer: Answer, n: int, how: Literal["fin", "rst"] = "fin") -> Answer:
    """The same answer, announced whole, whose connection ends right after n bytes of its body.

    Raises ValueError if the body has fewer bytes.
    """
    steps = steps_of(answer.body)
    total = sum(map(_size, steps))
    if not 0 <= n <= total:
        raise ValueError(f"cannot cut a body of {total} bytes at byte {n}")
    kept: list[Step] = []
    for step in steps:
        if n == 0:
            break
        kept.append(_first(step, n))
        n -= _size(kept[-1])
    kept.append(Close() if how == "fin" else Drop())
    return msgspec.structs.replace(
        answer, body=kept, headers=response_headers(answer), framing=framing_of(answer)
    )


def plain_text(status: int, text: str) -> Answer:
    """An answer of plain text."""
    return Answer(status, {"content-type": "text/plain; charset=utf-8"}, text.encode())


def steps_of(body: bytes | Sequence[Step]) -> Sequence[Step]:
    """The body as steps."""
    return [body] if isinstance(body, bytes) else body


def _size(step: Step) -> int:
    if isinstance(step, Paced):
        return sum(map(len, step.chunks))
    return len(step) if isinstance(step, bytes) else 0


def _first(step: Step, n: int) -> Step:
    if isinstance(step, Paced):
        whole = b"".join(step.chunks)[:n]
        return Paced(split(whole, map(len, step.chunks)), step.every)
    return step[:n] if isinstance(step, bytes) else step


def framing_of(answer: Answer) -> Framing:
    """How the end of the body is marked: as declared, else by the kind of body."""
    return answer.framing or ("length" if isinstance(answer.body, bytes) else "chunked")


def _pairs(headers: Mapping[str, str] | Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(headers.items() if isinstance(headers, Mapping) else headers)


def has_header(headers: list[tuple[str, str]], name: str, word: str = "") -> bool:
    """Whether a header of that name, in lower case, has a value that contains `word`."""
    return any(key.lower() == name and word in value.lower() for key, value in headers)


def response_headers(answer: Answer) -> list[tuple[str, str]]:
    """The answer's headers, with those that its framing and its body need."""
    headers, framing = _pairs(answer.headers), framing_of(answer)
    media_type = "application/json" if isinstance(answer.body, bytes) else "text/event-stream"
    ours = {"content-type": media_type}
    if framing == "close":
        ours["connection"] = "close"
    elif is_bodiless(answer.status):
        ours = {}
    elif framing == "chunked":
        ours["transfer-encoding"] = "chunked"
    else:
        ours["content-length"] = str(sum(map(_size, steps_of(answer.body))))
    return headers + [(name, value) for name, value in ours.items() if not has_header(headers, name)]


def is_bodiless(status: int) -> bool:
    """Whether HTTP allows no body under this status."""
    return status < 200 or status in {204, 304}


def response_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    """The status line and the headers as bytes."""
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, '')}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""  # an empty chunk would end the body
