"""Tools for tests of code that talks to a provider: a scripted HTTP server with faults on the byte level."""

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

__all__ = [
    "Answer",
    "Close",
    "Drop",
    "Gate",
    "Paced",
    "RecordedRequest",
    "ScriptedServer",
    "Stall",
    "Step",
    "Wait",
    "cut",
    "refuse",
    "split",
    "sse",
]
