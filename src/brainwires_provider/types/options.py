"""Options of a request: sampling, limits, reasoning, caching, timeouts. An option that is not set is not sent.

`Options` is a value; `OptionParams` and `ChatParams` are the same names as keyword arguments, for type checkers. A
test checks that the three agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from math import inf
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypedDict

from msgspec import UNSET, Struct

from brainwires_provider.types.checked import Checked, Setting, check, misfit
from brainwires_provider.types.policies import PolicyParams
from brainwires_provider.types.suspects import Guarded, secret_fields
from brainwires_provider.types.tools import HostedTool, Tool, ToolChoice

__all__ = [
    "NO_OPTIONS",
    "CacheStrategy",
    "ChatParams",
    "Effort",
    "OptionParams",
    "Options",
    "OutputParams",
    "ProviderOptions",
    "Reasoning",
    "Timeouts",
    "merge_options",
]

_SECRETIVE = ("extra_headers", "extra_query")

Effort: TypeAlias = Literal["off", "minimal", "low", "medium", "high", "max"]
"""How much a model reasons. A protocol without such a level uses the nearest one, or a token budget, and reports
it."""


class Reasoning(Checked, frozen=True, gc=False):
    """How much a model reasons before it answers, by effort or by a token budget, and whether it returns a summary."""

    effort: Effort | None = None
    """The level; "off" disables reasoning. None: the provider's default."""
    budget_tokens: int | None = None
    """The largest number of tokens to spend on reasoning. None: no budget is sent."""
    summary: Literal["auto", "concise", "detailed"] | None = None
    """Request a summary of the reasoning, of this length. None: not requested."""


class CacheStrategy(Checked, frozen=True, gc=False):
    """Where prompt-cache breakpoints are placed, for providers that require them to be marked.

    Other providers cache by themselves or not at all; there the strategy is reported as dropped. Reference:
    Anthropic's "Prompt caching" guide, on which the modes are based.
    """

    mode: Literal["off", "system_only", "system_and_tools", "system_and_tail_turn"]
    """Which breakpoints are set; the class methods of the same names describe each."""
    ttl: str | None = None
    """Time to live of a breakpoint, as the provider writes it: `"5m"`, `"1h"`. None: the provider's default."""
    threshold: int | None = None
    """`system_and_tail_turn` only: the size of the history, in tokens, from which its last turn is marked."""

    @classmethod
    def off(cls) -> Self:
        """No breakpoints; `cache` marks on parts and tools are ignored too."""
        return cls("off")

    @classmethod
    def system_only(cls, ttl: str | None = None) -> Self:
        """One breakpoint, after the system message."""
        return cls("system_only", ttl)

    @classmethod
    def system_and_tools(cls, ttl: str | None = None) -> Self:
        """Breakpoints after the system message and after the last tool."""
        return cls("system_and_tools", ttl)

    @classmethod
    def system_and_tail_turn(cls, threshold: int = 1024, ttl: str | None = None) -> Self:
        """Breakpoints after the system message and, once the history exceeds `threshold` tokens, the last turn."""
        return cls("system_and_tail_turn", ttl, threshold)


class Timeouts(Setting, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Time limits of one call, in seconds; None: no limit.

    A limit that expires before the first event raises RequestTimeout, a later one StreamTimeout, which holds what had
    arrived. Raises TypeError for what is no number, ValueError for a limit that is not above 0.
    """

    connect: float | None = 10
    """Until a connection is open, DNS and TLS included."""
    first_event: float | None = 600
    """From the end of sending the request to the first event of the response, such as the one that states that it has
    begun. Heartbeats are no events."""
    idle: float | None = 300
    """Silence of the connection during the response. Whatever the server sends ends it: events, heartbeats, comments
    in an event stream; over a WebSocket also the replies to pings, and events of other responses. Time that the
    consumer takes does not count."""
    content: float | None = None
    """Between two events of the response, after its first; heartbeats do not count, nor the time that the consumer
    takes. Some models are silent for minutes while they reason."""
    attempt: float | None = None
    """One attempt, from its start to the end of the response."""
    total: float | None = None
    """The whole call: all attempts, and the waits between them."""

    def __post_init__(self) -> None:
        check(self)
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(
                    f"Timeouts.{name} takes seconds above 0, or None for no limit, not {value!r}"
                )


class ProviderOptions(Checked, frozen=True, gc=False):
    """Base class of options that only one protocol has, such as `AnthropicOptions`. Unset fields are not sent."""

    protocol: ClassVar[str] = ""
    """The name of the protocol that they belong to; with any other protocol they are reported as dropped."""

    def items(self) -> dict[str, Any]:
        """The fields that were set, by their names in the request body."""
        names = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        values = ((sent_name, getattr(self, name)) for sent_name, name in names)
        return {name: value for name, value in values if value is not UNSET}


class OptionParams(TypedDict, total=False):
    """The fields of `Options` as keyword arguments. An option that is not set is not sent.

    `response.report` lists every option that was set: as sent, adapted, emulated or dropped, with reasons.

    - `max_tokens`: the most tokens to generate, reasoning included. Default: the provider's, or as reported.
    - `temperature`: randomness of sampling, from 0; the upper bound is the provider's, usually 1 or 2.
    - `top_p`: nucleus sampling: only the most likely tokens whose probabilities sum to this (0 to 1).
    - `top_k`: only this many of the most likely tokens.
    - `seed`: for repeatable sampling, as far as the provider supports it.
    - `stop`: one text, or several; generation ends before the first that occurs.
    - `presence_penalty`: lowers the probability of tokens that have occurred at all; usually -2 to 2.
    - `frequency_penalty`: the same, in proportion to how often they have occurred; usually -2 to 2.
    - `reasoning`: how much the model reasons, as an effort ("off" to "max") or a `Reasoning` with a token budget.
    - `parallel_tool_calls`: whether one response may contain several tool calls.
    - `cache`: a `CacheStrategy`: where prompt-cache breakpoints are placed.
    - `provider_options`: options of one protocol, or several, such as `AnthropicOptions(…)`; others' are not sent.
    - `extra_body`: fields to merge into the request's JSON body, after everything else.
    - `extra_headers`: HTTP headers to add or replace. Keys belong in the client's `api_key` or `headers`.
    - `extra_query`: parameters to add to the URL.
    - `timeouts`: `Timeouts`, in seconds. Default: connect 10, first_event 600, idle 300.
    - `strict`: raise UnsupportedError for an option of which less would be sent; see `Report`. Default: report it.
    """

    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: str | Sequence[str]
    presence_penalty: float
    frequency_penalty: float
    reasoning: Effort | Reasoning
    parallel_tool_calls: bool
    cache: CacheStrategy
    provider_options: ProviderOptions | Sequence[ProviderOptions]
    extra_body: Mapping[str, Any]
    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, str]
    timeouts: Timeouts
    strict: bool


class Options(Guarded, Checked, frozen=True, gc=False):
    """Options as a value: for a client's defaults (`Client(options=…)`), or for one call (`options=…`).

    The fields are the keywords of `OptionParams`, which describes each. None: not set, so not sent. A list may be
    given for a tuple. Raises TypeError for a value of another type, ValueError for one out of its range.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | tuple[str, ...] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning: Effort | Reasoning | None = None
    parallel_tool_calls: bool | None = None
    cache: CacheStrategy | None = None
    provider_options: ProviderOptions | tuple[ProviderOptions, ...] | None = None
    extra_body: Mapping[str, Any] | None = None
    extra_headers: Mapping[str, str] | None = None
    extra_query: Mapping[str, str] | None = None
    timeouts: Timeouts | None = None
    strict: bool | None = None

    def __post_init__(self) -> None:
        check(self)
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                bounds = f"{least} or more" if most == inf else f"{least} to {most}"
                raise ValueError(f"{name} takes a number, {bounds}, not {value}")

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields that are set, without the secrets in headers and query."""
        shown = {name: getattr(self, name) for name in self.set_fields()}
        for name in shown.keys() & {*_SECRETIVE}:
            secret = {key for key, _ in secret_fields(shown[name])}
            shown[name] = {key: "[redacted]" if key in secret else shown[name][key] for key in shown[name]}
        return list(shown.items())

    def __reduce__(self) -> Any:
        for name in _SECRETIVE:
            if any(secret_fields(getattr(self, name))):
                self._refuse_pickling(name)
        return Struct.__reduce__(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(*(deepcopy(getattr(self, name), memo) for name in self.__struct_fields__))

    def set_fields(self) -> tuple[str, ...]:
        """The names of the options that are set."""
        if self is NO_OPTIONS or self == NO_OPTIONS:
            return ()
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not None)


_RANGES = (("max_tokens", 0, inf), ("temperature", 0, inf), ("top_p", 0, 1))


class ChatParams(OptionParams, PolicyParams, total=False):
    """The keywords of `chat`, `stream`, `prepare`, `count_tokens` and `conversation`, but for `output`.

    These, and those of `OptionParams` and `PolicyParams`:

    - `model`: `"provider:model"`, or a name of the configuration's `[models]`. Default: the client's model.
    - `system`: the system prompt. Default: none.
    - `tools`: the tools that the model may call; functions too, see `tool`. Default: none.
    - `tool_choice`: "auto" (the model decides), "none", "required" (a call), or a `ToolChoice`. Default: none.
    - `options`: `Options` for this call. A keyword overrides its field, and it overrides the client's own options.
    """

    model: str
    system: str
    tools: Sequence[Tool | HostedTool | Callable[..., Any]]
    tool_choice: ToolChoice | Literal["auto", "none", "required"]
    options: Options


class OutputParams(ChatParams, total=False):
    """The keywords of `ChatParams`, and `output`, which the overloads of `chat` and `stream` have by name.

    - `output`: the type of `response.output`; or a `JSONSchema` or "json" for the text alone. Default: free text.
    """

    output: Any


NO_OPTIONS = Options()


def merge_options(*layers: Options | None) -> Options:
    """Combine several Options field by field; where more than one sets a field, the last one is used.

    Raises TypeError for anything but Options.
    """
    given = [layer for layer in layers if layer is not None]
    for layer in given:
        if not isinstance(layer, Options):
            raise misfit("options", (Options, NoneType), layer)
    if len(given) < 2:
        return given[0] if given else NO_OPTIONS
    merged: dict[str, Any] = {}
    for layer in given:
        for name in layer.__struct_fields__:
            value = getattr(layer, name)
            if value is not None:
                merged[name] = value
    return Options(**merged)
