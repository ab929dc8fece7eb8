"""Tools for tests of code that talks to a provider.

Scripted servers with faults on the byte level, and services of the Responses and the Interactions API in memory with
the rules of the real ones.
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
from brainwires_provider.testing.batch import BatchFaults, LineRefused, OpenAIBatchService
from brainwires_provider.testing.batch_anthropic import AnthropicBatchService
from brainwires_provider.testing.batch_bedrock import BedrockBatchService
from brainwires_provider.testing.batch_google import GeminiBatchService, MemoryStore, VertexBatchService
from brainwires_provider.testing.fake import FakeProvider
from brainwires_provider.testing.http_server import ScriptedServer, refuse
from brainwires_provider.testing.interactions import InteractionsService, called, model_output, thought
from brainwires_provider.testing.recording import Recorder, Replay
from brainwires_provider.testing.replies import Reply, reply_answer
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
from brainwires_provider.testing.seeded_faults import SeededFaults
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
    "AnthropicBatchService",
    "BatchFaults",
    "BedrockBatchService",
    "Binary",
    "Close",
    "CloseFrame",
    "Drop",
    "Failure",
    "FakeProvider",
    "Fragments",
    "Gate",
    "GeminiBatchService",
    "HalfFrame",
    "Handshake",
    "Incomplete",
    "InteractionsService",
    "Job",
    "LineRefused",
    "MemoryStore",
    "OpenAIBatchService",
    "Paced",
    "RawBytes",
    "RecordedRequest",
    "Recorder",
    "Replay",
    "Reply",
    "ResponsesService",
    "RulesSession",
    "ScriptedServer",
    "ScriptedSocket",
    "SeededFaults",
    "SocketScript",
    "SocketStep",
    "Stall",
    "Step",
    "Turn",
    "VertexBatchService",
    "Wait",
    "assistant",
    "called",
    "cut",
    "digest",
    "function_call",
    "model_output",
    "reasoning",
    "refuse",
    "reply_answer",
    "split",
    "sse",
    "thought",
]


def __getattr__(name: str) -> object:
    if name != "ScriptedSocket":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from brainwires_provider.testing.websocket_server import ScriptedSocket  # it imports websockets

    return ScriptedSocket
