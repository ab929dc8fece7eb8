"""Typed answers: what `output=T` asks for, reads, and repairs. Loaded with the first call that has a type.

The schema goes to the provider as any other; a root that is no object is wrapped in one, invisibly. Every answer is
validated here, whatever the provider holds the model to.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, reduce
from json import JSONDecoder
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec.structs import force_setattr, replace

from brainwires_provider._core.deadlines import running_loop
from brainwires_provider._core.partials import PIECE, Partials, without_thought
from brainwires_provider._core.plan import Input, Plan, messages_of
from brainwires_provider._core.retry import DEFAULT_RETRY
from brainwires_provider.errors import (
    InvalidRequestError,
    OutputError,
    OutputInvalid,
    OutputRefused,
    OutputTruncated,
    ProviderError,
)
from brainwires_provider.providers import Target
from brainwires_provider.types import (
    Attempt,
    Deviation,
    JSONSchema,
    Message,
    Policies,
    RefusalPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolChoice,
)
from brainwires_provider.types.checked import copied, misfit
from brainwires_provider.types.costs import added_cost
from brainwires_provider.types.forms import FixedSchema
from brainwires_provider.types.tools import as_tools, free_name
from brainwires_provider.types.typed import Invalid, Problem, Typed, typed_of
from brainwires_provider.types.usage import add_usage

__all__ = ["Expected", "expected_of", "plan_typed", "repaired", "untyped"]

_WRAPPED = "response"
_FORCED = "answer"
_CANDIDATES = 32
_UNANSWERED = ("tool_calls", "pause", "pending")
_OPENING = re.compile(r"[{\[]")
_BEGUN = re.compile(r"""[{\[]\s*(?:["'{\[\d-]|\w+\s*:)""")
"""What is meant as JSON, and no bracket of prose."""
_FENCED = re.compile(r"```[a-zA-Z]*[^\S\n]*\n(.*?)```", re.DOTALL)
_TOO_LARGE = re.compile(
    r"grammar.{0,40}too (?:large|complex|big)|schema.{0,40}too (?:large|complex)"
    r"|schema.{0,60}too many (?:states|(?:optional )?parameters)",
    re.I | re.S,
)
"""What services say of a schema that makes too large a grammar (2026-11-30).

Anthropic: https://github.com/anthropics/anthropic-sdk-python/issues/1185, https://github.com/enricai/leerie/pull/157;
Gemini: https://github.com/googleapis/python-genai/issues/660.
"""
_REASON = (
    "the provider refused the schema's grammar as too large: the answer is the argument of a forced tool"
)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = JSONDecoder(parse_constant=_no_constant)


class Session(Protocol):
    """What is needed of a session."""

    policies: Policies
    forced_outputs: set[tuple[str, str, bytes]]

    def request(self, input: Input, args: Any) -> tuple[Target, Request]: ...

    def plan_request(
        self, target: Target, request: Request, input: Input, args: Any, *, stream: bool, fork: bool
    ) -> Plan: ...

    async def chat_untyped(self, plan: Plan) -> Response[Any]: ...


class _Asked(NamedTuple):
    """What is sent for a type."""

    typed: Typed[Any]
    format: JSONSchema
    is_wrapped: bool
    key: bytes
    """The schema as text."""


class _Wrong(NamedTuple):
    """An answer that is not of its type, and what asked for it."""

    error: OutputInvalid
    plan: Plan


class Expected(NamedTuple):
    """The type that an answer must have, and how to ask again."""

    asked: _Asked
    session: Session
    input: Input
    args: Mapping[str, Any]
    stream: bool
    is_forced: bool = False
    """By a forced tool, because the provider refused the schema as a format."""
    more: Sequence[Message] = ()
    """What is said after the input."""

    def plan(self, fork: bool = False) -> Plan:
        """The request."""
        said = _extended(self.input, self.more) if self.more else self.input
        given: Any = self._forced() if self.is_forced else self.args
        session = self.session
        target, request = session.request(said, given)
        made = session.plan_request(target, request, said, given, stream=self.stream, fork=fork)
        force_setattr(made, "expected", self)  # nobody else has it yet
        if self.is_forced:
            session.forced_outputs.add(_key(made, self.asked))
            deviation = Deviation("output", "emulated", _REASON)
            report = replace(made.report, deviations=(*made.report.deviations, deviation))
            force_setattr(made, "report", report)
        return made

    def again(self, messages: Sequence[Message]) -> Plan:
        """The same request for a whole answer, with more messages."""
        return self._replace(more=messages, stream=False).plan()

    def answered(self, plan: Plan) -> Coroutine[Any, Any, Response[Any]]:
        """A whole answer of the type, after repairs where it was not. Raises OutputError."""
        return _answered(self.session, plan, [])

    def read(self, response: Response[Any]) -> Response[Any]:
        """The response with its value. Raises OutputError."""
        response = self._untooled(response)
        refusal: RefusalPart | None = None
        for part in response.message.content:
            if type(part) is RefusalPart:
                refusal = refusal or part
        if refusal is not None or response.finish_reason in ("refusal", "content_filter"):
            words = f": {refusal.text}" if refusal is not None and refusal.text else ""
            raise _error(OutputRefused, f"the model refused to answer{words}", response)
        if response.finish_reason == "length":
            raise _error(
                OutputTruncated, "the answer was cut off by the token limit: raise max_tokens", response
            )
        if response.finish_reason in _UNANSWERED:
            return response
        try:
            valued: Response[Any] = copied(response)
            force_setattr(valued, "output", self._value(response.text))
            return valued
        except Invalid as error:
            words = f"the answer is not of the type {self.asked.typed.name}:\n{error}"
            raise _error(OutputInvalid, words, response, problems=error.problems) from None

    def partials(self) -> Partials:
        """What gives the value as it grows."""
        wrapped = _WRAPPED if self.asked.is_wrapped else None
        return Partials(self.asked.format.schema, wrapped, self._forced_name(self._others()))

    def instead(self, error: ProviderError) -> Plan | None:
        """The request to send after a refusal of the schema; None after any other error."""
        is_new = not self.is_forced and isinstance(error, InvalidRequestError)
        return self._replace(is_forced=True).plan() if is_new and _TOO_LARGE.search(str(error)) else None

    def _value(self, text: str) -> Any:
        text = without_thought(text)
        try:
            return self._converted(msgspec.json.decode(text))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass
        first: Invalid | None = None
        for found in _json_in(text):
            try:
                return self._converted(found)
            except Invalid as error:
                first = first or error
        raise first or Invalid((Problem("", "there is no whole JSON in the answer"),))

    def _converted(self, found: Any) -> Any:
        value = found.get(_WRAPPED, found) if self.asked.is_wrapped and isinstance(found, dict) else found
        return self.asked.typed.convert(value)

    def _untooled(self, response: Response[Any]) -> Response[Any]:
        """The arguments of the forced tool as the text of the answer: no call is left that must be answered."""
        if not self.is_forced:
            return response
        calls = response.tool_calls
        forced = self._forced_name(self._others()) if calls else None
        answers = [call for call in calls if call.name == forced]
        if not answers:
            return response
        content = [part for part in response.message.content if part not in answers]
        if len(answers) < len(response.tool_calls):  # it was given before the results of other calls
            return replace(response, message=replace(response.message, content=tuple(content)))
        kept = [part for part in content if not isinstance(part, TextPart)]
        message = replace(response.message, content=(*kept, TextPart(answers[0].arguments)))
        ended = "stop" if response.finish_reason == "tool_calls" else response.finish_reason
        return replace(response, message=message, finish_reason=ended)

    # -- the forced tool -------------------------------------------------------------------------------------

    def _others(self) -> tuple[Any, ...]:
        """The caller's tools."""
        given = self.args.get("tools", self.input.tools if isinstance(self.input, Request) else ())
        return as_tools(given if isinstance(given, (list, tuple)) else (given,))

    def _forced_name(self, others: Sequence[Any]) -> str:
        return free_name(_FORCED, {getattr(each, "name", "") for each in others})

    def _forced(self) -> dict[str, Any]:
        """The arguments with a tool that the model must call in place of the schema."""
        others = self._others()
        tool = Tool(self._forced_name(others), "Give the answer.", self.asked.format.schema)
        choice = ToolChoice("required") if others else ToolChoice.tool(tool.name)
        kept = {name: value for name, value in self.args.items() if name != "output"}
        return {**kept, "tools": (*others, tool), "tool_choice": choice}


def _error(kind: type[OutputError], words: str, response: Response[Any], **more: Any) -> OutputError:
    error = kind(
        words,
        partial=response,
        provider=response.provider,
        model=response.model,
        request_id=response.request_id,
        **more,
    )
    error.attempts = response.attempts
    return error


def _json_in(text: str) -> Iterator[Any]:
    """The JSON in a text that is none as a whole, what is most likely the answer first.

    That is what stands in a fence, else in prose; the last before the others. A value that is broken is no answer, nor
    is any part of it, nor what stands before it.
    """
    fenced: list[Any] = []
    plain: list[Any] = []
    for place, piece in enumerate(_FENCED.split(text)):
        values, is_broken = _values(piece)
        for each in (fenced, plain) if place % 2 else (plain,):
            if is_broken:
                each.clear()
        (fenced if place % 2 else plain).extend(values)
    yield from fenced[: -_CANDIDATES - 1 : -1]
    yield from plain[: -_CANDIDATES - 1 : -1]


def _values(text: str) -> tuple[list[Any], bool]:
    """The objects and arrays of a text, from the last broken one on, and whether there is a broken one."""
    values: list[Any] = []
    at, is_broken = 0, False
    while (found := _OPENING.search(text, at)) is not None:
        try:
            value, at = _DECODER.raw_decode(text, found.start())
            values.append(value)
            continue
        except (ValueError, RecursionError):
            end = _end_of(text, found.start())
        if _BEGUN.match(text, found.start()) or (end is None and _OPENING.search(text, found.end())):
            values.clear()
            is_broken = True
        if end is None:
            break
        at = end
    return values, is_broken


def _end_of(text: str, start: int) -> int | None:
    """Where what a bracket opens is closed; None if it is not."""
    depth = 0
    for match in PIECE.finditer(text, start):
        depth += (match[0] in "{[") - (match[0] in "}]")
        if depth == 0:
            return match.end()
    return None


# -- asking --------------------------------------------------------------------------------------------------


def untyped(args: Mapping[str, Any]) -> dict[str, Any]:
    """A call's arguments with the schema of the type that they ask for. Raises TypeError."""
    return {**args, "output": _asked(args["output"]).format}


def expected_of(session: Session, output: Any) -> Expected:
    """What reads answers to requests that were sent with the schema of a type. Raises TypeError."""
    return Expected(_asked(output), session, "", {}, False)


def _asked(output: Any) -> _Asked:
    with suppress(TypeError):  # it has no hash, or no form
        return _derived_once(output)
    return _derived(output)


def _derived(output: Any) -> _Asked:
    if isinstance(output, (str, Mapping)):
        raise misfit("output", (JSONSchema, type), output)
    try:
        typed: Typed[Any] = output if isinstance(output, Typed) else typed_of(output)
        schema = typed.schema
    except TypeError as error:
        raise TypeError(f"output: {error}") from None
    if not typed.is_object:
        at_root = {key: value for key, value in schema.items() if key in ("$defs", "definitions")}
        inner = {key: value for key, value in schema.items() if key not in at_root}
        schema = {
            "type": "object",
            "properties": {_WRAPPED: inner},
            "required": [_WRAPPED],
            "additionalProperties": False,
            **at_root,
        }
    asked = JSONSchema(typed.name, FixedSchema(schema), strict=None if is_open(schema) else True)
    return _Asked(typed, asked, not typed.is_object, msgspec.json.encode(schema))


_derived_once = lru_cache(512)(_derived)


def is_open(schema: Any) -> bool:
    """Whether objects of any members are in it, which no strict schema has."""
    if isinstance(schema, list):
        return any(map(is_open, schema))
    if not isinstance(schema, dict):
        return False
    properties = schema.get("properties", {})
    is_object = schema.get("type") == "object"
    if (
        is_object and (not properties or schema.get("additionalProperties", False) is not False)
    ) or not schema:
        return True
    kept = {
        key: value for key, value in schema.items() if key not in ("default", "enum", "const", "examples")
    }
    return any(
        is_open(list(value.values()) if key in ("properties", "$defs") else value)
        for key, value in kept.items()
    )


def plan_typed(session: Session, input: Input, args: Any, *, stream: bool, fork: bool) -> Plan:
    """The plan of a call whose answer must have a type."""
    asked = _asked(args["output"])
    expected = Expected(asked, session, input, args, stream)
    made = expected.plan(fork)
    if session.forced_outputs and _key(made, asked) in session.forced_outputs:
        return expected._replace(is_forced=True).plan(fork)
    return made


def _key(plan: Plan, asked: _Asked) -> tuple[str, str, bytes]:
    return plan.target.provider, plan.target.model, asked.key


def _extended(input: Input, more: Sequence[Message]) -> Input:
    messages = (*messages_of(input), *more)
    return replace(input, messages=messages) if isinstance(input, Request) else messages


# -- answered ------------------------------------------------------------------------------------------------


async def repaired(session: Session, plan: Plan, error: OutputInvalid, begun: float) -> Response[Any]:
    """The same after an answer that came in a stream, and was not of its type; `begun` when that was asked for."""
    if _repairs(session, plan) == 0:
        raise error
    again = _corrected(plan.expected, error, [], begun)
    return await _answered(session, again, [_Wrong(error, plan)], begun)


def _repairs(session: Session, plan: Plan) -> int:
    return ((plan.policies or session.policies).retry or DEFAULT_RETRY).repairs


async def _answered(
    session: Session, plan: Plan, failed: list[_Wrong], begun: float | None = None
) -> Response[Any]:
    if begun is None:
        begun = running_loop().time()
    while True:
        expected: Expected = plan.expected
        try:
            response = await session.chat_untyped(plan)
        except ProviderError as error:
            instead = expected.instead(error)
            left = None if instead is None else _in_time(instead, begun)
            if left is None:
                raise _after(error, failed) from None
            plan = left
            continue
        try:
            return _together(expected.read(response), failed)
        except OutputInvalid as error:
            if len(failed) >= _repairs(session, plan):
                raise _after(error, failed) from None
            again = _corrected(expected, error, failed, begun)
            failed.append(_Wrong(error, plan))
            plan = again
        except OutputError as error:
            raise _after(error, failed) from None


def _corrected(expected: Expected, error: OutputInvalid, failed: Sequence[_Wrong], begun: float) -> Plan:
    """The request for a repair. Raises the error if the call's time is over."""
    plan = _in_time(expected.again(_correction(error)), begun)
    if plan is None:
        raise _after(error, failed) from None
    return plan


def _in_time(plan: Plan, begun: float) -> Plan | None:
    """A further request of a call that began then, within `Timeouts.total`; None if that is over."""
    if plan.timeouts.total is None:
        return plan
    left = round(plan.timeouts.total - (running_loop().time() - begun), 3)
    return replace(plan, timeouts=replace(plan.timeouts, total=left)) if left > 0 else None


def _correction(error: OutputInvalid) -> list[Message]:
    """The last bad answer, and what is wrong with it."""
    words = (
        "Your answer does not have the form that was asked for:\n"
        + "\n".join(f"- {each}" for each in error.problems)
        + "\nGive the whole answer again, corrected, as JSON only."
    )
    assert error.partial is not None
    message = error.partial.message
    return [*([message] if message.content else []), Message.user(words)]


def _together(response: Response[Any], failed: Sequence[_Wrong]) -> Response[Any]:
    """A response with the tokens, attempts and cost of the answers before it."""
    if not failed:
        return response
    bad = [error.partial for error, _ in failed if error.partial is not None]
    return replace(
        response,
        usage=add_usage(response.usage, *(answer.usage for answer in bad)),
        attempts=(*_as_attempts(failed), *response.attempts),
        cost=reduce(added_cost, (answer.cost for answer in bad), response.cost),
    )


def _as_attempts(failed: Sequence[_Wrong], *, used: bool = False) -> list[Attempt]:
    """Wrong answers in the list of what failed; with what they have `used`, where no response has it."""
    attempts: list[Attempt] = []
    for error, plan in failed:
        answer = error.partial
        assert answer is not None
        attempts += answer.attempts
        made = Attempt(error.message, request_id=answer.request_id, model=_answering(plan, answer))
        cost = None if answer.attempts else answer.cost
        attempts.append(replace(made, usage=answer.usage, cost=cost) if used else made)
    return attempts


def _answering(plan: Plan, answer: Response[Any]) -> str | None:
    """Which model of a call that may ask several has answered, by the name that it was asked by.

    Its provider is known; of several models of it, it is the one whose name the answer's begins with.
    """
    if not plan.others and plan.hedge is None:
        return None
    known = [plan.target.full_name, *(each.model for each in plan.others)]
    if plan.hedge is not None and plan.hedge.model is not None:
        known.append(plan.hedge.model)
    own = [name for name in known if name.partition(":")[0] == answer.provider]
    named = [name for name in own if (answer.model or "").startswith(name.partition(":")[2])]
    return max(named or own[-1:], key=len, default=f"{answer.provider}:{answer.model}")


def _after(error: ProviderError, failed: Sequence[_Wrong]) -> ProviderError:
    """An error with what the answers before it have used."""
    if isinstance(error, OutputError) and error.partial is not None:
        error.partial = _together(error.partial, failed)
        error.attempts = error.partial.attempts
    else:
        error.attempts = (*_as_attempts(failed, used=True), *error.attempts)
    return error
