"""Puts the results of a batch's jobs together: every request has one, and an answer is read as any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from brainwires_provider._core.session import Session
from brainwires_provider.errors import APIError, OutputError, ProviderError
from brainwires_provider.events import collect
from brainwires_provider.protocols.base.batches import Job, LineResult
from brainwires_provider.protocols.base.protocol import Reply
from brainwires_provider.providers import Target
from brainwires_provider.providers.batches import BatchService, batch_service
from brainwires_provider.resources.batch_calls import JobCalls
from brainwires_provider.resources.batch_ledger import Handle, line_id
from brainwires_provider.types import Report, Response
from brainwires_provider.types.batches import BatchResult, Outcome

__all__ = ["Found", "Reader", "once_each"]

_UNNAMED: dict[str, Outcome] = {"failed": "errored", "cancelled": "cancelled", "expired": "expired"}
"""What became of a request that no result names, by the state of its job; else it is missing."""


class Found(NamedTuple):
    """The result of one request."""

    place: int
    number: int
    """Of the job that it was last sent in."""
    line: LineResult


async def once_each(calls: Sequence[JobCalls], count: int, *, ordered: bool) -> AsyncIterator[Found]:
    """One result for each request, whatever the jobs' results repeat, leave out or add."""
    last: list[int] = [-1] * count
    for number, each in enumerate(calls):
        for place in each.part.members:
            last[place] = number
    kept: dict[int, Found] = {}
    for number, each in enumerate(calls):
        members = [place for place in each.part.members if last[place] == number]
        if not members:
            continue
        lines = _by_id(await each.results())
        for place in members:
            id = line_id(each.id_of(place))
            found = Found(place, number, lines.get(id) or _unnamed(id, each.part.job))
            if ordered:
                kept[place] = found
            else:
                yield found
    for place in range(count):
        if place in kept:
            yield kept.pop(place)


def _by_id(results: Sequence[LineResult]) -> dict[str, LineResult]:
    """The first result of each id; an answer goes before all else."""
    found: dict[str, LineResult] = {}
    for each in results:
        known = found.get(each.id)
        if known is None or (known.outcome != "succeeded" and each.outcome == "succeeded"):
            found[each.id] = each
    return found


def _unnamed(id: str, job: Job | None) -> LineResult:
    return LineResult(id, _UNNAMED.get("" if job is None else job.state, "missing"))


class Reader:
    """Reads the answers of a batch. `output` is the type that they must have."""

    def __init__(self, session: Session, handle: Handle, output: Any) -> None:
        self._session = session
        self._handle = handle
        self._expected: Any = None
        if output is not None:
            from brainwires_provider._core.output import expected_of

            self._expected = expected_of(session, output)
        self._places: dict[int, dict[int, int]] = {}

    async def result(self, found: Found) -> BatchResult:
        """What became of one request. A failure is in the result, never raised."""
        part, line = self._handle.parts[found.number], found.line
        model = part.models.get(found.place, part.model)
        id, target = self._handle.ids[found.place], self._session.target(model)
        if line.outcome != "succeeded":
            return BatchResult(id, line.outcome, error=_error(line, target, part.job))
        response: Response[Any] | None = None
        try:
            response = _answer(line, target, self._report(found))
            response = await self._priced(response, target)
            if self._expected is not None:
                response = self._expected.read(response)
        except ProviderError as error:
            _located(error, target, line.request_id)
            kept = response if isinstance(error, OutputError) else None
            return BatchResult(id, "errored", kept, error)
        return BatchResult(id, "succeeded", response)

    def _report(self, found: Found) -> Report:
        part = self._handle.parts[found.number]
        places = self._places.get(found.number)
        if places is None:
            places = self._places[found.number] = dict(zip(part.members, part.reports, strict=True))
        return self._handle.reports[places[found.place]]

    async def _priced(self, response: Response[Any], target: Target) -> Response[Any]:
        if not self._session.has_prices:
            return response
        service: BatchService = batch_service(target)[0]
        prices = await self._session.prices(target)
        cost = prices.batch_cost(
            response, target.model, service.rate, service.cached, is_uniform=service.is_uniform
        )
        return replace(response, cost=cost)


def _answer(line: LineResult, target: Target, report: Report) -> Response[Any]:
    events = target.protocol.decoder(target.origin).feed_whole(bytes(line.body))
    return replace(collect(events, provider=target.provider), report=report, request_id=line.request_id)


def _error(line: LineResult, target: Target, job: Job | None) -> ProviderError:
    state = "was not created" if job is None else f"is {job.raw_state or job.state}"
    words = f"{target.provider}: the job {state}"
    error: ProviderError
    if line.outcome == "missing":
        error = ProviderError(f"{words}, and its results do not name this request")
    elif bytes(line.body) == b"null":
        error = ProviderError(f"{words}{'' if job is None or not job.error else f': {job.error}'}")
    else:
        error = target.protocol.decode_error(Reply(line.status or 0, {}, bytes(line.body), 0.0))
        if isinstance(error, APIError) and line.status is None:
            error.status = None
        error.message = f"{target.provider}: {error.message}"
        error.args = (error.message,)
    return _located(error, target, line.request_id)


def _located(error: ProviderError, target: Target, request_id: str | None) -> ProviderError:
    error.provider = error.provider or target.provider
    error.model = error.model or target.model
    error.request_id = error.request_id or request_id
    return error
