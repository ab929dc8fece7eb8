"""The calls of one job's life: its lines uploaded, the job created, looked after, cancelled, and its results read."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from logging import getLogger
from typing import Any, Protocol, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from brainwires_provider._core.plan import Plan
from brainwires_provider._core.session import Session
from brainwires_provider.auth.keys import resolve_headers, resolve_key
from brainwires_provider.auth.redaction import header_secrets, redact
from brainwires_provider.errors import (
    APIError,
    ConfigError,
    ConnectError,
    ProviderError,
    ServerError,
    UnsupportedError,
)
from brainwires_provider.protocols.base.batches import BatchProtocol, Job, LineResult, NewJob
from brainwires_provider.protocols.base.protocol import Call
from brainwires_provider.providers import Target
from brainwires_provider.providers.batches import BatchService, batch_service
from brainwires_provider.resources.batch_ledger import Folder, Handle, Part, line_id
from brainwires_provider.types import Retry

__all__ = ["ByteStore", "JobCalls"]

T = TypeVar("T")

_LARGEST = 8 * 1024**3  # bytes of results in one body
_PAGES = 20  # of the list of jobs, to find one by its mark
_SUBJECT = "the batch: was it made by this account, with this base_url, and not deleted?"


class ByteStore(Protocol):
    """Objects that a cloud's batches are read from and written to, such as a folder of a bucket. Yours to write.

    The methods may be coroutine functions; others are called in a thread.
    """

    uri: str
    """What the service calls the folder: `s3://bucket/prefix` or `gs://bucket/prefix`, without a final slash."""

    def put(self, key: str, data: bytes) -> Any:
        """Write an object."""
        ...

    def get(self, key: str) -> Any:
        """The bytes of an object."""
        ...

    def list(self, prefix: str) -> Any:
        """The keys that begin so, an iterable of texts. Keys are relative to the folder, as everywhere here."""
        ...

    def delete(self, key: str) -> Any:
        """Delete an object."""
        ...


async def stored(method: Callable[..., Any], *args: Any) -> Any:
    """What a method of a byte store gives."""
    if inspect.iscoroutinefunction(method):
        return await method(*args)
    given = await asyncio.to_thread(method, *args)
    return await given if inspect.isawaitable(given) else given


def _without(line: LineResult, secrets: tuple[str, ...]) -> LineResult:
    """A result to be recorded: some services repeat a key in an error."""
    if line.outcome == "succeeded" or not secrets:
        return line
    body = bytes(line.body).decode("utf-8", "replace")
    return replace(line, body=Raw(redact(body, secrets).encode()))


class JobCalls:
    """One job of a batch, and the client's session that it is asked with."""

    def __init__(
        self,
        session: Session,
        handle: Handle,
        number: int,
        *,
        folder: Folder | None,
        store: ByteStore | None,
        save: Callable[[], None],
    ) -> None:
        self.part: Part = handle.parts[number]
        self.target: Target = session.target(self.part.model)
        self.service: BatchService
        self.protocol: BatchProtocol
        self.service, self.protocol = batch_service(self.target)
        self._session, self._handle, self._number = session, handle, number
        self._folder, self._given, self._save = folder, store, save

    def id_of(self, place: int) -> str:
        """The caller's id of a request."""
        return self._handle.ids[place]

    def check(self) -> None:
        """Raises ConfigError for what will be missing, before anything is sent."""
        if self.protocol.way == "store":
            _ = self._store
        self.protocol.create(
            NewJob(self.part.name, self.target.model, self.part.path, settings=self._handle.settings)
        )

    # -- requests ----------------------------------------------------------------------------------------

    def _plan(self, call: Call, **policies: Any) -> Plan:
        target, base_url = self.target, self.service.base_url
        if base_url is not None:
            target = replace(target, base_url=base_url(target.base_url))
        if self.part.headers:
            call = replace(call, headers={**self.part.headers, **call.headers})
        planned = self._session.plan_call(call, target, subject=_SUBJECT)
        return self._session.with_policies(planned, policies)

    async def _fetch(self, call: Call, read: Callable[[bytes], T], **policies: Any) -> T:
        return await self._session.fetch(self._plan(call, **policies), read)

    async def _fetch_job(self, call: Call, **policies: Any) -> Job:
        return await self._shown(await self._fetch(call, self.protocol.read_job, **policies))

    async def _shown(self, job: Job) -> Job:
        """A job to be recorded: some services repeat a key in what went wrong."""
        return job if job.error is None else replace(job, error=redact(job.error, await self._secrets()))

    async def _secrets(self) -> tuple[str, ...]:
        """What requests were sent with, and is not to be shown."""
        target, own = self.target, dict[str, str]()
        key = "" if target.key is None else await resolve_key(target.key, target.provider)
        if target.headers:
            own = dict(await resolve_headers(target.headers, target.provider))
        return (
            *((key,) if key else ()),
            *header_secrets(target.headers, own),
            *(() if target.auth is None else target.auth.secrets),
        )

    async def _fetch_large(self, call: Call, read: Callable[[bytes], T]) -> T:
        """The same for a body of any size."""
        planned, session = self._plan(call), self._session
        session.terms(planned)  # so that the copy has the client's limits, and none of its own
        large = session.observed(session.observe or (lambda exchange: exchange), _LARGEST)
        return await large.fetch(planned, read)

    # -- sending -----------------------------------------------------------------------------------------

    async def submit(self, *, again: bool = False) -> None:
        """Upload and create, from where an earlier try has stopped. Raises every ProviderError.

        `again`: also where it may have been created already, and cannot be looked for.
        """
        part = self.part
        if part.stage == "created":
            return
        if part.stage == "creating" and await self._found(again):
            return
        lines = await asyncio.to_thread(self._lines)
        if part.stage == "planned":
            part.file = await self._uploaded(lines)
            self._advance("uploaded")
        output = f"{self._store.uri}/{self._output}" if self.protocol.way == "store" else ""
        inline = lines if self.protocol.way == "inline" else ()
        model = self.target.model
        new = NewJob(part.name, model, part.path, inline, part.file, output, self._handle.settings)
        call = self.protocol.create(new)
        self._advance("creating")
        try:  # once: a second try might create, and bill, a second job
            part.job = await self._fetch_job(call, retry=Retry(1))
        except (APIError, ConnectError) as error:
            if not isinstance(error, ServerError):
                self._advance("uploaded")  # it was refused, or never sent
            raise
        self._advance("created")

    def _advance(self, stage: Any) -> None:
        self.part.stage = stage
        self._save()

    def _lines(self) -> list[bytes]:
        if self._folder is None:
            raise ConfigError(
                f"the requests of batch {self._handle.id} are not on this machine, only its handle: results can be "
                "read, but nothing sent again"
            )
        return self._folder.lines(self._number)

    def lines_of(self, members: Iterable[int]) -> list[bytes]:
        """The lines of some of its requests. Raises ConfigError where they are not known here."""
        by_place = dict(zip(self.part.members, self._lines(), strict=True))
        return [by_place[place] for place in members]

    async def _uploaded(self, lines: list[bytes]) -> str:
        data = b"".join(line + b"\n" for line in lines)
        match self.protocol.way:
            case "files":
                call = self.protocol.upload(data, self.part.name)
                return await self._fetch(call, self.protocol.read_upload)
            case "store":
                store, key = self._store, f"{self.part.name}/input.jsonl"
                await stored(store.put, key, data)
                return f"{store.uri}/{key}"
            case "inline":
                return ""

    async def _found(self, again: bool) -> bool:
        """Whether a job is there that may have been created without an answer; it is ours then."""
        part, call = self.part, self.protocol.jobs(None)
        if call is None:
            if again:
                return False
            raise ConfigError(
                f"whether job {part.name} was created is not known: {self.target.provider} did not answer, and does "
                "not show which requests a job has; look at its list of batches, then use submit(again=True)"
            )
        for _ in range(_PAGES):
            jobs, after = await self._fetch(call, self.protocol.read_jobs)
            ours = next((job for job in jobs if job.mark in (part.file, part.name) and job.mark), None)
            if ours is not None:
                part.job = await self._shown(ours)
                self._advance("created")
                return True
            call = self.protocol.jobs(after)
            if after is None or call is None:
                break
        return False

    # -- looking after -----------------------------------------------------------------------------------

    async def refresh(self) -> Job | None:
        """The job as it is now; None if it was not created."""
        part = self.part
        if part.job is None:
            return None
        part.job = await self._fetch_job(self.protocol.retrieve(part.job.id))
        part.late = part.late + 1 if part.job.lags else 0
        return part.job

    async def cancel(self) -> None:
        """Raises UnsupportedError where it cannot be cancelled, and every other ProviderError."""
        job = self.part.job
        if job is None:
            return
        call = self.protocol.cancel(job.id)
        if call is None:
            raise UnsupportedError(
                f"{self.target.provider} cannot cancel a batch", provider=self.target.provider
            )
        await self._fetch(call, lambda body: body)

    # -- results -----------------------------------------------------------------------------------------

    async def results(self) -> list[LineResult]:
        """What the job's results say, as they come: nothing is added, and nothing left out.

        They are read once, if each request has one; else again, for what was not there yet.
        """
        job, kept = self.part.job, list[LineResult]()
        if job is None:
            return []
        if self._folder is not None:
            kept = await asyncio.to_thread(self._folder.results, self._number)
            if set(self._ids()) <= {each.id for each in kept}:
                return kept
        try:
            found = await self._read_now(job)
        except ProviderError as error:
            if not kept:
                raise
            getLogger("brainwires_provider").warning(
                "%s; the results of job %s are those that were read before", error, job.id
            )
            return kept
        named = {each.id for each in found}
        found += [each for each in kept if each.id not in named]
        if self._folder is not None and found:
            await asyncio.to_thread(self._folder.keep_results, self._number, found)
        return found

    def _ids(self) -> list[str]:
        """Of its lines, in their order."""
        return [line_id(self._handle.ids[place]) for place in self.part.members]

    async def _read_now(self, job: Job) -> list[LineResult]:
        if job.lags:  # results that it did not name in time may be there by now
            job = await self.refresh() or job
        return await (self._from_store() if self.protocol.way == "store" else self._from_service(job))

    async def _from_service(self, job: Job) -> list[LineResult]:
        found: list[LineResult] = []
        ids, secrets = self._ids(), await self._secrets()
        for source in job.sources:
            following: str | None = source
            while following is not None:
                page = await self._fetch_large(
                    self.protocol.results(job, following), lambda body: self.protocol.read_results(body, ids)
                )
                found += [_without(each, secrets) for each in page.results]
                following = page.next if page.next != following else None
        return found

    async def _from_store(self) -> list[LineResult]:
        store, found = self._store, list[LineResult]()
        ids = self._ids()
        for key in sorted(await stored(store.list, self._output)):
            if key.endswith((".jsonl", ".jsonl.out")):
                body = await stored(store.get, key)
                found += self.protocol.read_results(body, ids).results
        return found

    @property
    def _output(self) -> str:
        return f"{self.part.name}/output/"

    @property
    def _store(self) -> ByteStore:
        if self._given is None:
            raise ConfigError(
                f"{self.target.provider} reads a batch from a bucket, and writes its results there: pass store=, a "
                "ByteStore"
            )
        return self._given
