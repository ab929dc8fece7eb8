"""Tools for tests of code that talks to a provider.

Scripted servers with faults on the byte level, and a Responses service in memory with the rules of the real one.
"""

from typing import TYPE_CHECKING

from brainwires_provider.testing.answers import (
    Answer,
    Close,
    Drop,
    Gate,
    Paced,
    RecordedRequest,
    Stall,
    Step,
    Wait,
    cut,
    split,
    sse,
)
from brainwires_provider.testing.http_server import ScriptedServer, refuse
from brainwires_provider.testing.responses_events import (
    Failure,
    Incomplete,
    assistant,
    digest,
    function_call,
    reasoning,
)
from brainwires_provider.testing.responses_rules import Job, ResponsesService, RulesSession
from brainwires_provider.testing.responses_store import Accepted, Turn
from brainwires_provider.testing.websocket_steps import (
    Binary,
    CloseFrame,
    Fragments,
    HalfFrame,
    Handshake,
    RawBytes,
    SocketScript,
    SocketStep,
)

if TYPE_CHECKING:
    from brainwires_provider.testing.websocket_server import ScriptedSocket

__all__ = [
    "Accepted",
    "Answer",
    "Binary",
    "Close",
    "CloseFrame",
    "Drop",
    "Failure",
    "Fragments",
    "Gate",
    "HalfFrame",
    "Handshake",
    "Incomplete",
    "Job",
    "Paced",
    "RawBytes",
    "RecordedRequest",
    "ResponsesService",
    "RulesSession",
    "ScriptedServer",
    "ScriptedSocket",
    "SocketScript",
    "SocketStep",
    "Stall",
    "Step",
    "Turn",
    "Wait",
    "assistant",
    "cut",
    "digest",
    "function_call",
    "reasoning",
    "refuse",
    "split",
    "sse",
]


def __getattr__(name: str) -> object:
    if name != "ScriptedSocket":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brainwires_provider.testing.websocket_server import ScriptedSocket  # it imports websockets

    return ScriptedSocket
