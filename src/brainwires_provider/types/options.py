"""The knobs of a request. What is not set is not sent.

`Options` is the struct, `OptionParams` and `ChatParams` the same names as keyword arguments; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias, TypedDict

from msgspec import UNSET, Struct

from brainwires_provider.types.tools import HostedTool, JSONSchema, Tool, ToolChoice

__all__ = [
    "NO_OPTIONS",
    "CacheStrategy",
    "ChatParams",
    "Effort",
    "OptionParams",
    "Options",
    "ProviderOptions",
    "Reasoning",
    "Timeouts",
    "merge_options",
]

Effort: TypeAlias = Literal["off", "minimal", "low", "medium", "high", "max"]


class Reasoning(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """How much the model may think, by effort or by a budget in tokens, and whether it shows a summary."""

    effort: Effort | None = None
    budget_tokens: int | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class CacheStrategy(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Where prompt-cache breakpoints go, for the providers that want them marked.

    `ttl` is the provider's word for a breakpoint's time to live (`"5m"`, `"1h"`); `threshold` is in tokens.
    """

    mode: Literal["off", "system_only", "system_and_tools", "system_and_tail_turn"]
    ttl: str | None = None
    threshold: int | None = None

    @classmethod
    def off(cls) -> Self:
        """No breakpoints, explicit marks included."""
        return cls("off")

    @classmethod
    def system_only(cls, ttl: str | None = None) -> Self:
        """After the system message."""
        return cls("system_only", ttl)

    @classmethod
    def system_and_tools(cls, ttl: str | None = None) -> Self:
        """After the system message and after the last tool."""
        return cls("system_and_tools", ttl)

    @classmethod
    def system_and_tail_turn(cls, threshold: int = 1024, ttl: str | None = None) -> Self:
        """After the system message, and after the last turn once the history exceeds `threshold` tokens."""
        return cls("system_and_tail_turn", ttl, threshold)


class Timeouts(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Five clocks, in seconds; None is no clock.

    `connect`: until a connection stands. `first_event`: from the sent request to the answer's first event.
    `idle`: between two events; heartbeats do not count as events, a slow consumer's own pauses do not either.
    `attempt`: one whole try. `total`: everything, tries and waits.
    """

    connect: float | None = 10
    first_event: float | None = 600
    idle: float | None = 300
    attempt: float | None = None
    total: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(
                    f"Timeouts.{name} takes seconds above 0, or None for no clock, not {value!r}"
                )


class ProviderOptions(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """Base of the fields that only one protocol has, under the wire's own names. Unset fields are not sent."""

    protocol: ClassVar[str] = ""

    def items(self) -> dict[str, Any]:
        """The fields that were set."""
        names = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        values = ((told, getattr(self, name)) for told, name in names)
        return {name: value for name, value in values if value is not UNSET}


class OptionParams(TypedDict, total=False):
    """Keyword form of `Options`."""

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


class Options(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The same fields as a value: for a client's defaults, or passed as `options=`.

    `max_tokens` limits the answer; `stop` is one or several texts that end it. `extra_body`, `extra_headers` and
    `extra_query` are merged last, as they are. `strict` raises UnsupportedError for a knob that would be adapted
    or dropped, instead of reporting it.
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

    def set_fields(self) -> tuple[str, ...]:
        """The names of the knobs that were set."""
        if self is NO_OPTIONS or self == NO_OPTIONS:
            return ()
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is not None)


class ChatParams(OptionParams, total=False):
    """Every keyword of `chat`, `stream`, `prepare`, `count_tokens` and `conversation`."""

    model: str
    system: str
    tools: Sequence[Tool | HostedTool]
    tool_choice: ToolChoice | Literal["auto", "none", "required"]
    output: JSONSchema | Literal["json"]
    options: Options


NO_OPTIONS = Options()


def merge_options(*layers: Options | None) -> Options:
    """One Options out of several, field by field; the later layer wins where it is set."""
    given = [layer for layer in layers if layer is not None]
    if len(given) < 2:
        return given[0] if given else NO_OPTIONS
    merged: dict[str, Any] = {}
    for layer in given:
        for name in layer.__struct_fields__:
            value = getattr(layer, name)
            if value is not None:
                merged[name] = value
    return Options(**merged)
