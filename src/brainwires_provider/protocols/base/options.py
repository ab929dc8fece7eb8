"""What a request sets, and what its encoder takes of it.

An encoder takes every option, cache mark and `extra` out of an `OptionReader`. What was set and not taken is
reported as dropped. An option that a protocol does not know is therefore reported by that protocol without a line of
its own, and `Report.sent` names only what the encoder has read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

from brainwires_provider.protocols.base.facts import UNKNOWN, ModelFacts, nearest_effort
from brainwires_provider.types import (
    Deviation,
    Effort,
    HostedTool,
    Message,
    Part,
    ProviderOptions,
    Reasoning,
    RefusalPart,
    Request,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
)
from brainwires_provider.types.options import NO_OPTIONS

__all__ = ["OptionReader"]

_OF_THE_REQUEST = ("system", "tools", "tool_choice", "output")
# Applied by the client, whatever the protocol is.
_OF_THE_CLIENT = frozenset(("extra_body", "extra_headers", "extra_query", "timeouts", "strict"))
_SAMPLING = ("sampling", "penalties")
_FACTS = {
    **dict.fromkeys(("temperature", "top_p", "top_k"), "sampling"),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), "penalties"),
    "stop": "stop",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""The fact that decides whether an option is taken."""
_NO_OPTION = "this provider's API has no such option"
_NO_MARK = "this provider's API takes no cache mark here"
_NO_EXTRA = "this provider's API takes no other fields here"

Outcome: TypeAlias = Literal["adapted", "emulated", "dropped"]
Item: TypeAlias = Request | Message | Tool | HostedTool | Part
_Mark: TypeAlias = tuple[Item, Literal["cache", "extra"], str]


class OptionReader:
    """The options of one request, for its encoder.

    `own` is the protocol's class of ProviderOptions, `facts` what the model accepts. The encoder calls `take`,
    `provider_options`, `take_cache` and `take_extra` for what it sends, `adapted`, `emulated` and `dropped` for what
    it sends differently or not at all, and `finish` when the body is written. Fields are named as on the report:
    `"max_tokens"`, `"provider_options.user"`, `"tools[weather].cache"`, `"messages[0].content[1].extra"`.

    Reading is idempotent: a value may be taken where another option depends on it.
    """

    __slots__ = (
        "_deviations",
        "_is_off_sent",
        "_items",
        "_originals",
        "_own",
        "_request",
        "_taken",
        "_values",
        "facts",
        "has_options",
        "is_empty",
        "sent",
        "weakened",
    )

    def __init__(self, request: Request, own: type[ProviderOptions], facts: ModelFacts = UNKNOWN) -> None:
        self._request = request
        self.facts = facts
        self._own = own
        self._values = _values_of(request)
        self.is_empty = not self._values
        """No option is set, nor system, tools, tool_choice or output."""
        self.has_options = request.options is not NO_OPTIONS
        """Whether there may be one beside system, tools, tool_choice and output."""
        self._taken: set[str] = set()
        self._is_off_sent = False
        self._items: set[tuple[int, str]] = set()
        self._originals: dict[int, tuple[Message, tuple[Message, ...]]] | None = None
        self._deviations: list[Deviation] = []
        self.sent: tuple[str, ...] = ()
        """The fields that are sent as they were given, once `finish` was called."""
        self.weakened: tuple[str, ...] = ()
        """The fields that are adapted to less than was asked for."""

    def take(self, field: str) -> Any:
        """The value of a field of Options, or of `system`, `tools`, `tool_choice`, `output`; None if it is not set.

        `reasoning` is a `Reasoning`.

        Taking it declares that it is sent.
        """
        value = self._values.get(field)
        if value is not None:
            self._taken.add(field)
        return value

    @property
    def is_thinking(self) -> bool:
        """Whether the model thinks in this response, as far as its facts state."""
        wanted = self._values.get("reasoning")
        if wanted is None:
            return self.facts.thinks_unasked
        efforts = self.facts.efforts
        if wanted.effort != "off":
            return True
        return self.facts.thinking_off is None or (bool(efforts) and "none" not in (efforts or ()))

    def provider_options(self) -> dict[str, Any]:
        """The set fields of this protocol's own ProviderOptions, by their wire names.

        Those for another protocol are reported as dropped.
        """
        given = self._values.get("provider_options")
        merged = {} if given is None else _merge_own(given, self._own, self._deviations)
        if merged:
            self._taken.add("provider_options")
        else:
            self._values.pop("provider_options", None)  # nothing is set, or what is set has been reported
        return merged

    def callable_tools(self) -> tuple[Tool | HostedTool, ...]:
        """For an API without a tool choice: the tools that may be called, which are the only ones sent."""
        tools: tuple[Tool | HostedTool, ...] = self.take("tools") or ()
        choice = self.take("tool_choice")
        if choice is not None and choice.mode == "none":
            self.emulated("tool_choice", "no tools are sent")
            return ()
        if choice is not None and choice.names:
            self.emulated("tool_choice", "only the tools that may be called are sent")
            return tuple(t for t in tools if isinstance(t, Tool) and t.name in choice.names)
        return tools

    def take_cache(self, item: Tool | HostedTool | Part) -> Any:
        """The cache mark of a tool or part, or None; `CacheStrategy.off()` removes all marks."""
        mark = getattr(item, "cache", None)
        if mark is None or self._is_cache_off():
            return None
        self._items.add((id(item), "cache"))
        return mark

    def take_cache_off(self) -> bool:
        """Whether caching is to be off, for an API that has a field for that."""
        self._is_off_sent = self._is_cache_off()
        if self._is_off_sent:
            self._taken.add("cache")
        return self._is_off_sent

    def take_extra(self, item: Item) -> dict[str, Any]:
        """The `extra` of a message, part, tool or of the request itself; empty if there is none."""
        extra = getattr(item, "extra", None)
        if not extra:
            return {}
        self._take_extra_of(item)
        return dict(extra)

    def _take_extra_of(self, item: Item) -> None:
        self._items.add((id(item), "extra"))
        if self._originals is not None and id(item) in self._originals:
            for original in self._originals[id(item)][1]:
                self._take_extra_of(original)

    def stands_for(self, message: Message, *originals: Message) -> None:
        """Declare that a message is encoded in place of the caller's: who takes its `extra` has taken theirs."""
        self._originals = self._originals or {}
        self._originals[id(message)] = (message, originals)

    def adapted(self, field: str, reason: str) -> None:
        """Report that a field is sent in another form, which gives all that was asked for.

        A strict request takes it. What may give less or something else is for `weaken`: another effort, a limit of a
        schema that is only described, a shorter time to live.
        """
        self._deviations.append(Deviation(field, "adapted", reason))

    def weaken(self, field: str, reason: str) -> None:
        """Report as adapted what is sent, but with less effect than was asked for: a strict request is refused."""
        self.adapted(field, reason)
        self.weakened += (field,)

    def emulated(self, field: str, reason: str) -> None:
        """Report that a field has no counterpart in this protocol and is reached by other means."""
        self._deviations.append(Deviation(field, "emulated", reason))

    def dropped(self, field: str, reason: str) -> None:
        """Report that a field is not sent; the reason is better than the one that `finish` could give."""
        self._deviations.append(Deviation(field, "dropped", reason))

    def refuses(self, name: str, *, thinks: bool) -> bool:
        """Whether the model does not take an option that is set, or not while it thinks; reported as dropped."""
        fact = _FACTS.get(name)
        if fact is None:
            return False
        facts = self.facts
        taken: bool = getattr(facts, fact)
        if taken and (fact not in _SAMPLING or facts.samples_thinking or not thinks):
            return False
        self.dropped(name, "not while this model reasons" if taken else "this model takes no such option")
        return True

    def take_effort(self, effort: Effort, efforts: Sequence[str]) -> str | None:
        """The nearest of a model's words for an effort, reported; None where it takes none."""
        if not efforts:
            if effort != "off":
                self.dropped("reasoning", "this model takes no effort")
            return None
        word = nearest_effort(effort, efforts)
        if word != ("none" if effort == "off" else effort):
            self.weaken("reasoning", f"this model's nearest effort is {word!r}")
        return word

    def forcible(self, choice: ToolChoice | None, *, can_stop: bool) -> tuple[ToolChoice | None, bool]:
        """A tool choice as the model takes it, and whether its thinking has to be switched off for that.

        `can_stop`: the request can switch it off. It is switched off only where the request asks for no thinking.
        """
        facts = self.facts
        if choice is None or choice.mode != "required" or choice.raw is not None:
            return choice, False
        if not facts.forced_tools:
            reason = "this model takes no forced tool choice: auto is sent"
        elif facts.forced_tools_thinking or not self.is_thinking:
            return choice, False
        elif can_stop and facts.thinking_off is not None and "reasoning" not in self._values:
            self.adapted("tool_choice", "no tool can be forced while this model thinks: it is switched off")
            return choice, True
        else:
            reason = "no tool can be forced while this model thinks: auto is sent"
        self.weaken("tool_choice", reason)
        return ToolChoice("auto", choice.names), False

    def absent(self, field: str, reason: str) -> None:
        """Report an option that the API does not have as dropped, if it is set, with a reason of its own."""
        if field in self._values and not (field == "cache" and self._is_cache_off()):
            self.dropped(field, reason)

    def finish(self) -> tuple[Deviation, ...]:
        """Every deviation, once the body is written: what was set and not taken is appended as dropped."""
        changed = {d.field for d in self._deviations} if self._deviations else set()
        if self._values and self._is_cache_off() and not self._is_off_sent and "cache" not in changed:
            self.adapted("cache", "no cache marks are sent")
            changed.add("cache")
        reported = changed
        if changed:  # with "extra" for "extra.chatId"
            reported = changed | {name.partition(".")[0] for name in changed if "[" not in name}
        sent: list[str] = []
        for field in self._values:
            if field not in self._taken:
                if field not in reported:
                    self.dropped(field, _NO_OPTION)
            elif field not in changed:
                sent.append(field)
        for item, kind, field in _marks(self._request):
            if (id(item), kind) in self._items:
                if field not in changed:
                    sent.append(field)
            elif field not in reported and not (kind == "cache" and self._is_cache_off()):
                self.dropped(field, _NO_MARK if kind == "cache" else _NO_EXTRA)
        self.sent = tuple(sent)
        return tuple(self._deviations)

    def _is_cache_off(self) -> bool:
        strategy = self._values.get("cache")
        return strategy is not None and strategy.mode == "off"


def _values_of(request: Request) -> dict[str, Any]:
    """Every field that is set, by name, in the order of a report."""
    values: dict[str, Any] = {}
    if request.system is not None or request.tools or request.tool_choice is not None or request.output:
        for name in _OF_THE_REQUEST:
            value = getattr(request, name)
            if value is not None and value != ():
                values[name] = value
    options = request.options
    for name in () if options is NO_OPTIONS else options.set_fields():
        if name not in _OF_THE_CLIENT:
            values[name] = getattr(options, name)
    reasoning = values.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, Reasoning):
        values["reasoning"] = Reasoning(reasoning)
    return values


def _marks(request: Request) -> Iterator[_Mark]:
    """Every cache mark and `extra` that the caller set, with its name on the report.

    What a provider said of its own answer is also kept in `extra`; it is not the caller's, and is not listed.
    """
    if request.extra:
        yield request, "extra", "extra"
    for tool in request.tools:
        if tool.cache is not None or (isinstance(tool, Tool) and tool.extra):
            yield from _marks_of(tool, f"tools[{tool.name if isinstance(tool, Tool) else tool.type}]")
    for index, message in enumerate(request.messages):
        if message.extra and not _is_answer(message):
            yield message, "extra", f"messages[{index}].extra"
        for part in message.content:  # a quick look, since every part of a long history is asked
            if part.extra and part.origin is None:
                break
            if type(part) is ToolResultPart:
                if part.cache is not None or _holds_marks(part):
                    break
            elif (type(part) is TextPart or not isinstance(part, RefusalPart)) and part.cache is not None:
                break
        else:
            continue
        for at, part in enumerate(message.content):
            yield from _marks_within(part, f"messages[{index}].content[{at}]")


def _holds_marks(result: ToolResultPart) -> bool:
    """Whether one of a result's parts has a mark or an `extra`."""
    for part in result.content:  # noqa: SIM110 - a third of the time of `any`, for every result of a history
        if part.extra or part.cache is not None:
            return True
    return False


def _marks_within(part: Part, place: str) -> Iterator[_Mark]:
    yield from _marks_of(part, place)
    if isinstance(part, ToolResultPart):
        for at, inner in enumerate(part.content):
            yield from _marks_of(inner, f"{place}.content[{at}]")


def _marks_of(item: Tool | HostedTool | Part, place: str) -> Iterator[_Mark]:
    if getattr(item, "cache", None) is not None:
        yield item, "cache", f"{place}.cache"
    if getattr(item, "extra", None) and getattr(item, "origin", None) is None:
        yield item, "extra", f"{place}.extra"


def _is_answer(message: Message) -> bool:
    """Whether a provider made the message: its `extra` is then what the provider said of it."""
    if message.role != "assistant":
        return False
    return not message.content or any(part.origin is not None for part in message.content)


def _merge_own(given: Any, own: type[ProviderOptions], deviations: list[Deviation]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for item in given if isinstance(given, (tuple, list)) else (given,):
        if isinstance(item, own):
            merged.update(item.items())
        else:
            reason = f"{type(item).__name__} is for {item.protocol}, not for {own.protocol}"
            deviations.append(Deviation("provider_options", "dropped", reason))
    return merged
