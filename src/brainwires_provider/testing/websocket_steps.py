"""The scripts of a WebSocket server: the steps of each connection and request.

Steps that also exist over HTTP (Wait, Gate, Stall, Drop, Close, Paced) are the ones of ScriptedServer; a
handshake that is not accepted is its Answer. So one vocabulary serves both servers, over HTTP and WebSocket.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from msgspec import Struct

from brainwires_provider.testing.answers import Answer, Close, Drop, Gate, Paced, Stall, Wait
from brainwires_provider.testing.responses_rules import Job, ResponsesService


class Binary(Struct, frozen=True):
    """Send a binary frame."""

    payload: bytes


class CloseFrame(Struct, frozen=True):
    """Send a close frame (`code` None: one without a code), wait for the client's, and end the connection."""

    code: int | None = 1000
    reason: str = ""


class HalfFrame(Struct, frozen=True):
    """Send the first half of a text frame, then reset (RST) or end (FIN) the connection."""

    payload: bytes
    how: Literal["rst", "fin"] = "rst"


class Fragments(Struct, frozen=True):
    """Send one text message in frames of at most `size` bytes."""

    payload: bytes
    size: int = 1024


class RawBytes(Struct, frozen=True):
    """Put these bytes straight onto the connection, frame or not."""

    data: bytes


Frame = dict[str, Any] | str | bytes
SocketStep = (
    Frame
    | Binary
    | Fragments
    | RawBytes
    | HalfFrame
    | Paced
    | Wait
    | Gate
    | Stall
    | Drop
    | Close
    | CloseFrame
)


class SocketScript(Struct, frozen=True):
    """One scripted connection.

    `first` is played right after the upgrade; then each of `requests`, a list of steps, once a message of
    the client has come. A message more is answered with an error event. `headers` join the 101's.
    """

    requests: Sequence[Sequence[SocketStep]] = ()
    first: Sequence[SocketStep] = ()
    headers: Mapping[str, str] = {}


class Handshake(Struct, frozen=True):
    """A client's request to upgrade; `number` counts these from 1, `connection` the accepted connections."""

    number: int
    connection: int
    path: str
    query: str
    headers: list[tuple[str, str]]

    def header(self, name: str) -> str | None:
        """The first value under this name, case ignored."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


Peer = ResponsesService | SocketScript | Answer | Sequence[Sequence[SocketStep]]
Plan = ResponsesService | Sequence[Peer] | Callable[[Handshake], Peer]
Fault = Callable[[int, Job, dict[str, Any]], SocketStep | Sequence[SocketStep] | None]


def as_steps(played: SocketStep | Sequence[SocketStep]) -> Sequence[SocketStep]:
    """One step, or several, as several."""
    return [*played] if isinstance(played, list | tuple) else [cast("SocketStep", played)]
