"""How one row is asked: its request and the key of that, and the record of what came. A class for each operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider._core.counting import at_most, estimated, measured, rule_of
from brainwires_provider._core.plan import Input, Plan, check_args
from brainwires_provider._core.session import Session
from brainwires_provider.bulk.prompts import Template, as_input, as_texts
from brainwires_provider.bulk.record import (
    Failure,
    Record,
    embedding_key,
    record_of,
    record_of_error,
    request_key,
)
from brainwires_provider.bulk.together import Together
from brainwires_provider.errors import BudgetExceededError, OutputError, UnsupportedError
from brainwires_provider.providers import Target
from brainwires_provider.resources.embeddings import embed
from brainwires_provider.types import (
    EmbeddingArgs,
    Embeddings,
    FunctionTool,
    Message,
    Policies,
    Request,
    Response,
    Retry,
)
from brainwires_provider.types.bulk import BulkSettings
from brainwires_provider.types.runs import RunParams, RunSettings
from brainwires_provider.types.tools import as_tools

__all__ = ["Asker", "Foreseen", "RunOutOfBudget", "asker_of"]

_RETRY = Retry(attempts=8, base=1.0, cap=60.0)
"""Where none is set: a bulk run has time, and a row that has failed for good has to be run again."""
_RUN = ("max_steps", "max_failures")
"""What a run's result depends on, beside its request."""
_REQUESTS = 4
"""So many requests share the rows that are embedded at once."""
_POLICIES = frozenset(Policies.__struct_fields__)
_UNANSWERED = ("tool_calls", "pause", "pending")


class RunOutOfBudget(BudgetExceededError):
    """A run of tools that had begun could not go on within the budget: it is no result, and not begun again now."""


class Foreseen(NamedTuple):
    """What a row will take: input tokens as estimated, and the most output tokens, where a request limits them."""

    input: int
    output: int
    is_limited: bool
    plan: Plan


class Asker(Protocol):
    """One operation."""

    async def request(self, row: Any) -> tuple[str, Any]:
        """The key of a row's request, and what `ask` takes. Raises whatever is wrong with the row."""
        ...

    async def ask(self, asked: Any) -> Record:
        """Ask. Raises what the client raises, with what was paid for."""
        ...

    def output(self, record: Record) -> Any:
        """The typed value of a record's answer; None if there is none."""

    def foresee(self, asked: Any) -> Foreseen:
        """What it will take; nothing is sent."""
        ...


def asker_of(session: Session, settings: BulkSettings, prompt: Any, args: RunParams) -> Asker:
    """The asker of an operation. Raises TypeError, ConfigError or UnsupportedError for arguments that fit no row."""
    made = Template(prompt) if isinstance(prompt, str) else prompt
    if made is not None and not isinstance(made, Template) and not callable(made):
        raise TypeError(f"prompt takes a template or a function of the row, not {type(made).__name__}")
    operation = settings.operation or ("run" if _has_functions(args) else "chat")
    if operation == "embed":
        return _Embed(session, settings, made, args)
    return (_Run if operation == "run" else _Chat)(session, settings, made, args)


def _policies(session: Session, args: Mapping[str, Any], target: Target) -> dict[str, Any]:
    """Those of the call, with more attempts than elsewhere where none are set."""
    policies = {name: value for name, value in args.items() if name in _POLICIES and value is not None}
    if session.policies.retry is None and "retry" not in policies and target.row.transport != "local":
        policies["retry"] = _RETRY
    return policies


def _has_functions(args: Mapping[str, Any]) -> bool:
    tools = args.get("tools") or ()
    return any(
        isinstance(each, FunctionTool)
        for each in as_tools(tools if isinstance(tools, (list, tuple)) else (tools,))
    )


class _Asked(Struct, frozen=True, gc=False):
    """A request that was made of a row."""

    input: Input
    target: Target
    request: Request


class _Chat:
    def __init__(
        self, session: Session, settings: BulkSettings, prompt: Template | Any, args: RunParams
    ) -> None:
        self._session, self._prompt, self._version = session, prompt, settings.version
        own = self._own(args)
        kept: Any = {name: value for name, value in args.items() if name not in own}
        self._more = {name: own[name] for name in _RUN if name in own} or None
        plan: Plan = session.plan("-", kept, stream=False)
        self._args: Any = {name: value for name, value in kept.items() if name not in _POLICIES}
        given = _policies(session, kept, plan.target)
        self._whole: Any = {**self._args, **given}
        policies = replace(session.policies, **given)
        is_alone = policies.fallback is None and policies.hedge is None
        self._policies = policies if given and is_alone else None
        """Those of each plan, which are made once; None where a plan has the client's, or needs others beside it."""
        self._expected = plan.expected

    def _own(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords of a run of tools: none."""
        check_args(args)
        return {}

    async def request(self, row: Any) -> tuple[str, Any]:
        input = await as_input(row, self._prompt)
        target, request = self._session.request(input, self._args)
        model = target.full_name
        key = request_key(request, model, version=self._version, more=self._more)
        return key, _Asked(input, target, request)

    async def ask(self, asked: _Asked) -> Record:
        return _recorded(await self._session.chat(self._plan(asked)))

    def _plan(self, asked: _Asked) -> Plan:
        if self._expected is not None:
            return self._session.plan(asked.input, self._whole, stream=False)
        policies = self._policies
        plan = self._session.plan_request(
            asked.target,
            asked.request,
            asked.input,
            self._whole if policies is None else self._args,
            stream=False,
            fork=False,
        )
        return plan if policies is None else replace(plan, policies=policies)

    def output(self, record: Record) -> Any:
        if self._expected is None or record.error is not None or record.finish_reason in _UNANSWERED:
            return None
        message = record.message or Message("assistant", record.text)
        finish: Any = record.finish_reason
        response: Response[Any] = Response(
            None, record.provider or "", record.model, message, finish, None, record.usage
        )
        try:
            return self._expected.read(response).output
        except OutputError:  # it was of its type when it was recorded
            return None

    def foresee(self, asked: _Asked) -> Foreseen:
        plan = self._plan(asked)
        body = plan.call.body
        size = measured(body if isinstance(body, Mapping) else {"body": body})
        output = at_most(size)[1] if size.max_tokens else 0
        return Foreseen(
            estimated(size, rule_of(plan.target.row.name)).input, output, bool(size.max_tokens), plan
        )


def _recorded(response: Response[Any], **more: Any) -> Record:
    try:
        return record_of(response, **more)
    except TypeError:  # of a type that has no form in JSON; the text has the value
        return record_of(replace(response, output=None), **more)


class _Run(_Chat):
    def _own(self, args: Mapping[str, Any]) -> dict[str, Any]:
        check_args(args, frozenset((*RunParams.__annotations__, "output")))
        own = {name: args[name] for name in RunSettings.__struct_fields__ if name in args}
        RunSettings(**own)
        self._settings = own
        return own

    async def ask(self, asked: _Asked) -> Record:
        from brainwires_provider.runs.run import AsyncRun

        args: Any = {**self._whole, **self._settings}
        run: AsyncRun[Any] = AsyncRun(self._session, asked.input, args)
        try:
            record = _recorded(await run.result(), usage=run.usage, cost=run.cost)
        except Exception as error:
            if run.response is None and not run.usage.total_tokens:
                raise
            if isinstance(error, BudgetExceededError):
                raise RunOutOfBudget(error.message, provider=error.provider, model=error.model) from None
            return replace(record_of_error(error), usage=run.usage, cost=run.cost)
        if run.why == "answer":
            return record
        words = f"the run of tools has ended before the answer: {run.why}"
        return replace(record, error=Failure("RunEnded", words, record.request_id))


class _Embed:
    def __init__(
        self, session: Session, settings: BulkSettings, prompt: Template | Any, args: RunParams
    ) -> None:
        if others := args.keys() - {"model", *Policies.__struct_fields__}:
            raise TypeError(f"operation='embed' takes no {', '.join(sorted(others))}")
        self._session, self._prompt, self._version = session, prompt, settings.version
        self._model = session.whole_name(args.get("model"))
        self._args = EmbeddingArgs(settings.dimensions, settings.task)
        target = session.target(self._model)
        if target.row.embeddings is None:
            raise UnsupportedError(f"{target.provider} has no embeddings", provider=target.provider)
        self._policies = replace(session.policies, **_policies(session, args, target))
        share = -(-settings.concurrency // _REQUESTS)
        self._together = Together(self._embed, min(target.row.embeddings().batch(target.model), share))

    async def request(self, row: Any) -> tuple[str, Any]:
        texts = await as_texts(row, self._prompt)
        return embedding_key(texts, self._model, self._args, version=self._version), texts

    async def ask(self, asked: Any) -> Record:
        return await self._together.ask(asked)

    async def _embed(self, texts: list[str]) -> Embeddings:
        return await embed(self._session, texts, self._model, self._args, self._policies)

    def output(self, record: Record) -> Any:
        return None

    def foresee(self, asked: Any) -> Foreseen:
        target = self._session.target(self._model)
        assert target.row.embeddings is not None
        call = target.row.embeddings().call(asked, target.model, self._args)
        size = measured({"texts": asked})
        plan = self._session.plan_call(call, target)
        return Foreseen(estimated(size, rule_of(target.row.name)).input, 0, True, plan)
