"""The values of one call: its request, its response, and the report of which options were sent."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from msgspec import Struct, field

from brainwires_provider.types.checked import Checked
from brainwires_provider.types.costs import Cost
from brainwires_provider.types.messages import Message
from brainwires_provider.types.options import NO_OPTIONS, Options
from brainwires_provider.types.parts import Citation, Extra, OpaquePart, Origin, Part, TextPart, ToolCallPart
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
    "O_co",
    "PreparedRequest",
    "Report",
    "Request",
    "Response",
]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

    O_co = DefaultTypeVar("O_co", covariant=True, default=Any)
else:
    O_co = TypeVar("O_co", covariant=True)

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
    "chat",  # continues a conversation
    "embedding",  # returns vectors
    "tools",  # calls functions
    "reasoning",  # reasons before it answers
    "structured_output",  # follows a JSON schema
    "vision",  # accepts images
    "audio",  # accepts or produces audio
    "image_generation",  # produces images
]
"""What a model can do. A value is listed if the provider states it; a missing value means "not stated"."""

Lifecycle: TypeAlias = Literal["active", "preview", "deprecated", "retired"]
"""The state of a model: "deprecated" models have an announced end, "retired" ones are no longer served."""


class Request(Checked, frozen=True, gc=False):
    """One call's input as a value, accepted wherever a client accepts messages.

    Raises TypeError for a field of another type; a list may be given for a tuple.
    """

    messages: tuple[Message, ...]
    """The conversation so far, oldest message first."""
    model: str | None = None
    """`"provider:model"`. None: the call's or the client's model."""
    system: str | None = None
    """The system prompt."""
    tools: tuple[Tool | HostedTool, ...] = ()
    """The tools that the model may call."""
    tool_choice: ToolChoice | None = None
    """Whether, and which, tools must be called. None: not sent."""
    output: JSONSchema | Literal["json"] | None = None
    """The form of the response's text. None: free text."""
    options: Options = NO_OPTIONS
    """Sampling, limits, reasoning, timeouts, …"""
    extra: Extra | None = None
    """A protocol's handles to state that the provider stores, by their wire names. A conversation repeats them by
    itself; by hand, for Anthropic's code execution: `extra={"container": response.extra["container"]}`."""


class Deviation(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One field of a request that was not sent as it was given."""

    field: str
    """The option's name, or the place of a mark or extra, such as `"messages[0].content[1].cache"`."""
    outcome: Literal["adapted", "emulated", "dropped"]
    """`adapted`: sent in another form or with another value. `emulated`: reached by other means. `dropped`: not sent.
    `strict=True` takes an adapted field only where its form gives all that was asked for."""
    reason: str
    """Why, as a sentence for people."""


class Continuation(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """How much of a conversation's history was sent, with services that store earlier responses."""

    sent: int
    """The number of input items in the request."""
    of: int
    """The number of input items in the whole history."""
    parent: str | None = None
    """The id of the stored response that the request continued. None: the whole history was sent."""
    reason: str | None = None
    """Why the whole history was sent. None if a response was continued."""


class Report(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What happened to each option that was set: sent as it is, adapted, emulated or dropped, with reasons.

    `strict=True` refuses what is dropped or emulated, and of what is adapted all that may give less than was asked
    for: another effort, "auto" for a forced tool choice, a limit of a schema that is only described, a shorter time
    to live, a system message that is moved or sent as the user's. It takes a form in which nothing is possible that
    was not before: an effort as a budget, a schema in another notation, a limit that the API demands. Of messages,
    their `cache`, `extra`, `name`, `role` and `detail` count; their content is only reported, since a history has to
    go on.
    """

    sent: tuple[str, ...] = ()
    """The fields that are in the request as they were given. Cache marks and `extra` are named by their place, such as
    `"messages[0].content[1].cache"`."""
    deviations: tuple[Deviation, ...] = ()
    """Every field that was not sent as it was given."""
    continuation: Continuation | None = None
    """How much of the history was sent. None for services that store nothing."""

    @property
    def adapted(self) -> tuple[Deviation, ...]:
        """Sent in another form or with another value; strict requests refuse what may give less than was asked for."""
        return self._with("adapted")

    @property
    def emulated(self) -> tuple[Deviation, ...]:
        """Not supported by this protocol, and reached by other means."""
        return self._with("emulated")

    @property
    def dropped(self) -> tuple[Deviation, ...]:
        """Not sent at all."""
        return self._with("dropped")

    def _with(self, outcome: str) -> tuple[Deviation, ...]:
        return tuple(d for d in self.deviations if d.outcome == outcome)


class Attempt(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One attempt at a request that failed."""

    error: str
    """What went wrong."""
    status: int | None = None
    """The HTTP status, if there was a response."""
    request_id: str | None = None
    """The provider's id of this attempt, if it sent one."""
    delay: float | None = None
    """The wait before the next attempt, in seconds. None: it followed at once, or there was none."""
    usage: Usage | None = None
    """Token counts, if the provider had sent any before the failure."""
    model: str | None = None
    """The model that was asked, `"provider:model"`, where the call has others to fall back to."""
    superseded: tuple[Part, ...] = ()
    """What the caller of a stream had received of it, which counts no more: reasoning only."""
    is_cancelled: bool = False
    """Whether it was cancelled, because the other request of a hedged call was answered first."""
    cost: Cost | None = None
    """What it cost, if the client computes costs and its usage and price are known."""
    may_be_billed: bool = False
    """Whether the provider may bill it although its usage is not known: it was cut, or timed out."""


class Response(Struct, Generic[O_co], frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One complete response of a model; `Response[T]` where `output=T` asked for a type."""

    id: str | None
    """The provider's id of the response, if it has one."""
    provider: str
    """The provider's name, as in `"provider:model"`."""
    model: str | None
    """The model that answered, as the provider reports it; often more specific than the one requested."""
    message: Message
    """The assistant's turn, to be appended to the history for the next request."""
    finish_reason: FinishReason
    """Why generation ended, in one vocabulary for all providers."""
    raw_finish_reason: str | None
    """The same in the provider's own words."""
    usage: Usage
    """Token counts."""
    extra: Extra = field(default_factory=dict)
    """Fields of the response that have no place of their own here, by their wire names."""
    report: Report = Report()
    """Which options were sent, adapted, emulated or dropped."""
    request_id: str | None = None
    """The provider's id of the request, for its support."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The HTTP headers of the response."""
    attempts: tuple[Attempt, ...] = ()
    """The attempts that failed, in order; empty if the first one succeeded."""
    cost: Cost | None = None
    """The price, with `Client(prices=True)`. None where it is not known, never 0."""
    output: O_co = None  # type: ignore[assignment]
    """The value of the type that `output=` asked for. None without one, and where the model calls tools instead."""

    @property
    def text(self) -> str:
        """The joined text parts: no reasoning, no refusal."""
        return self.message.text

    @property
    def reasoning(self) -> str:
        """The joined reasoning parts, separated by blank lines."""
        return self.message.reasoning

    @property
    def tool_calls(self) -> tuple[ToolCallPart, ...]:
        """The tool calls that the caller must answer."""
        return self.message.tool_calls

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Every citation: those of text parts, and those that the provider sent as separate items."""
        citing = (p for p in self.message.content if isinstance(p, (TextPart, OpaquePart)))
        return tuple(c for part in citing for c in part.citations)


class Model(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """One model as its provider lists it. A field that the provider does not state is None."""

    id: str
    """The model's name in requests, without the provider."""
    provider: str
    """The provider's name, as in `"provider:model"`."""
    display_name: str | None = None
    """A name for people."""
    owner: str | None = None
    """Who made or serves it, as the provider says."""
    created: int | None = None
    """Seconds since 1970."""
    context_window: int | None = None
    """In tokens: input and output together, or the input alone where the provider limits that."""
    max_output_tokens: int | None = None
    """In tokens."""
    capabilities: tuple[str, ...] | None = None
    """Values of `Capability`; what else the provider states is in `raw`."""
    raw: Mapping[str, Any] | None = None
    """The provider's whole entry, unchanged."""
    lifecycle: Lifecycle | None = None
    """Whether the model is active, a preview, deprecated or retired."""
    deprecated: date | None = None
    """The announced day of deprecation."""
    retires: date | None = None
    """The announced day of retirement."""
    input_modalities: tuple[str, ...] | None = None
    """What it accepts, in the provider's words and in lower case: "text", "image", "audio", …"""
    output_modalities: tuple[str, ...] | None = None
    """What it produces, likewise."""
    from_table: tuple[str, ...] = ()
    """The names of fields that the provider does not state, taken from a dated table of model limits."""
    table: str | None = None
    """The name and date of that table."""


class PreparedRequest(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The exact request that would be sent, its secrets redacted.

    Over a WebSocket, `method`, `url` and `headers` are those of the handshake, and `body` is the message sent after
    it, for a conversation that continues no stored response.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    report: Report
    origin: Origin | None = None
    """The protocol, provider and model that `"provider:model"`, or a name of the configuration, stands for."""

    def curl(self) -> str:
        """The same request as a shell command, with "[redacted]" in place of the key.

        Raises ValueError for a request over a WebSocket.
        """
        if self.url.startswith(("ws:", "wss:")):
            raise ValueError("curl cannot send this: the request goes over a WebSocket")
        words = ["curl", "-X", self.method, self.url]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        return " ".join(shlex.quote(word) for word in [*words, "--data-binary", self.body.decode()])
