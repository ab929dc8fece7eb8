"""How one protocol's answers look on the wire, right and wrong: what faults.py needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from brainwires_provider.testing import Answer, Step, sse


def clothes(text: bytes) -> dict[str, bytes]:
    """The same events in every form that server-sent events allow."""
    return {
        "CRLF": text.replace(b"\n", b"\r\n"),
        "CR": text.replace(b"\n", b"\r"),
        "comments": b": hi\n\n" + text.replace(b"\n\n", b"\n\n: beat\n\n"),
        "a BOM": b"\xef\xbb\xbf" + text,
        "unknown fields and events": sse({"type": "ping"}, done=False)
        + b"event: odd\nid: 3\nretry: 5\n"
        + text,
        "no last blank line": text[:-1],
    }


@dataclass(frozen=True)
class Frames:
    """How a stream carries its messages, right and wrong."""

    headers: Mapping[str, str]
    """Of an answer that streams."""
    garbled: bytes
    """A whole message that is due JSON, and is none."""
    torn: bytes
    """The beginning of a message."""
    beat: bytes
    """A message that says nothing."""
    big: bytes
    """A message of more than 4,096 bytes."""
    clothes: Callable[[bytes], dict[str, bytes]]
    """A stream in every form that the framing allows."""


SSE = Frames(
    headers={"content-type": "text/event-stream"},
    garbled=b"data: {oops\n\n",
    torn=b'data: {"id"',
    beat=b": ping\n\n",
    big=sse({"type": "odd", "x": "x" * 5000}),
    clothes=clothes,
)


@dataclass(frozen=True)
class Dialect:
    """One protocol's answers that say "Hello", and how it tells that an end is missing."""

    row: str
    path: str
    stream: Callable[[str], bytes]
    whole: bytes
    held: bytes
    """The beginning of a stream, up to "Hel"."""
    burnt: bytes
    """An error in a stream: 503, "burnt"."""
    misshapen: bytes
    unended: str
    ends: Callable[[bytes], set[int]]
    """After how many bytes of a stream a clean end is the answer's own."""
    odd: Callable[[bytes], dict[str, bytes]]
    """Streams in odd clothes that only this protocol has."""
    said: Callable[[Any], str]
    """The text of the first message of a request."""
    limited: bytes = b'{"error": {"message": "late no", "code": "rate_limit_exceeded"}}'
    """A whole body that is an error: a limit was reached, "late no"."""
    frames: Frames = SSE

    @property
    def text(self) -> bytes:
        """The stream that says "Hello"."""
        return self.stream("Hello")

    def good(self, stream: bool) -> Answer:
        """An answer that says "Hello"."""
        return self.streamed(self.text) if stream else Answer(body=self.whole)

    def streamed(self, *steps: Step, framing: Literal["chunked", "close"] = "chunked") -> Answer:
        """An answer that streams these."""
        return Answer(headers=self.frames.headers, body=steps, framing=framing)
