"""What goes in as one request and comes out as one response, and the report of what was made of the request."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from brainwires_provider.types.messages import Message
from brainwires_provider.types.options import NO_OPTIONS, Options
from brainwires_provider.types.parts import Citation, Extra, OpaquePart, TextPart, ToolCallPart
from brainwires_provider.types.tools import HostedTool, JSONSchema, Tool, ToolChoice
from brainwires_provider.types.usage import Usage

__all__ = [
    "Attempt",
    "Capability",
    "Continuation",
    "Deviation",
    "FinishReason",
    "Lifecycle",
    "Model",
    "PreparedRequest",
    "Report",
    "Request",
    "Response",
]

FinishReason: TypeAlias = Literal[
    "stop",
    "length",
    "tool_calls",
    "content_filter",
    "refusal",
    "pause",
    "malformed_tool_call",
    "pending",
    "other",
]


Capability: TypeAlias = Literal[
    "chat",  # answers a conversation
    "embedding",  # makes vectors
    "tools",  # calls functions
    "reasoning",  # thinks before it answers
    "structured_output",  # keeps to a JSON schema
    "vision",  # takes images
    "audio",  # takes or makes sound
    "image_generation",  # makes images
]
"""What a model can do. A word stands where the provider said so; that it is missing says nothing."""

Lifecycle: TypeAlias = Literal["active", "preview", "deprecated", "retired"]
"""Where in its life a model is: "deprecated" is on its way to its end, "retired" has met it."""


class Request(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Everything that one call says, as a value. `extra` holds a protocol's state handles, bound to their origin."""

    messages: tuple[Message, ...]
    model: str | None = None
    system: str | None = None
    tools: tuple[Tool | HostedTool, ...] = ()
    tool_choice: ToolChoice | None = None
    output: JSONSchema | Literal["json"] | None = None
    options: Options = NO_OPTIONS
    extra: Extra | None = None


class Deviation(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One field that did not go out as it was given."""

    field: str
    outcome: Literal["adapted", "emulated", "dropped"]
    reason: str


class Continuation(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What of the history went over the wire, where the service may hold its beginning.

    `sent` of the `of` input items were sent, after the response `parent`; all of them, without a parent, for the
    `reason` given.
    """

    sent: int
    of: int
    parent: str | None = None
    reason: str | None = None


class Report(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What became of every field that was set: sent as it is, adapted, emulated, or dropped, with reasons.

    `sent` names the fields that are in the request as they were given; cache marks and `extra` are named by their
    place, as in `"messages[0].content[1].cache"`.
    """

    sent: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()
    continuation: Continuation | None = None

    @property
    def adapted(self) -> tuple[Deviation, ...]:
        """Sent in another form with the same meaning."""
        return self._with("adapted")

    @property
    def emulated(self) -> tuple[Deviation, ...]:
        """Not a feature of this protocol; reached by other means."""
        return self._with("emulated")

    @property
    def dropped(self) -> tuple[Deviation, ...]:
        """Not sent at all."""
        return self._with("dropped")

    def _with(self, outcome: str) -> tuple[Deviation, ...]:
        return tuple(d for d in self.deviations if d.outcome == outcome)


class Attempt(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One try that did not give the answer, and why."""

    error: str
    status: int | None = None
    request_id: str | None = None


class Response(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One whole answer. `extra` holds the response-level fields by their wire names; `provider` is the row's name."""

    id: str | None
    provider: str
    model: str | None
    message: Message
    finish_reason: FinishReason
    raw_finish_reason: str | None
    usage: Usage
    extra: Extra = field(default_factory=dict)
    report: Report = Report()
    request_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def text(self) -> str:
        """The joined text parts: no reasoning, no refusal."""
        return self.message.text

    @property
    def reasoning(self) -> str:
        """The joined reasoning, a blank line between its parts."""
        return self.message.reasoning

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The calls that the caller must answer."""
        return self.message.tool_calls

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Every citation: those of the text parts, and those that stand in a block of their own."""
        citing = (p for p in self.message.content if isinstance(p, (TextPart, OpaquePart)))
        return tuple(c for part in citing for c in part.citations)


class Model(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One model as its provider lists it. What nobody says is None; `raw` is the whole entry.

    `created` is in seconds since 1970. Limits are in tokens; `context_window` is of the input where the provider
    limits that instead of the sum. `capabilities` holds words of `Capability`; whatever else a provider says of what
    it can do is in `raw`. `deprecated` and `retires` are the days announced for either. Modalities are the provider's
    words ("text", "image", "audio", …) in lower case. The fields that `from_table` names were not told by the
    provider, but read from the dated `table`.
    """

    id: str
    provider: str
    display_name: str | None = None
    owner: str | None = None
    created: int | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    capabilities: tuple[str, ...] | None = None
    raw: Mapping[str, Any] | None = None
    lifecycle: Lifecycle | None = None
    deprecated: date | None = None
    retires: date | None = None
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    from_table: tuple[str, ...] = ()
    table: str | None = None


class PreparedRequest(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The exact request that would be sent, its secrets redacted.

    Over a WebSocket it is the handshake, and `body` the frame that follows it, when nothing is continued.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    report: Report

    def curl(self) -> str:
        """The same request as a shell command; put the key in where it says so. ValueError for a WebSocket's."""
        if self.url.startswith(("ws:", "wss:")):
            raise ValueError("curl cannot say this: the request goes over a WebSocket")
        words = ["curl", "-X", self.method, self.url]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        return " ".join(shlex.quote(word) for word in [*words, "--data-binary", self.body.decode()])
