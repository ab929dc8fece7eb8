"""Makes a batch's jobs of its requests: each is encoded, checked, and put into a job that has room for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, TypeAlias

import msgspec

from brainwires_provider._core.plan import Input, Plan, plan
from brainwires_provider._core.session import Session
from brainwires_provider.errors import ConfigError, ProviderError, UnsupportedError
from brainwires_provider.protocols.base.batches import BatchProtocol, encoded
from brainwires_provider.providers.batches import batch_service
from brainwires_provider.resources.batch_ledger import Folder, Handle, Part, line_id
from brainwires_provider.types import OutputParams, Policies, Report
from brainwires_provider.types.checked import misfit
from brainwires_provider.types.suspects import is_secret_name

__all__ = ["BatchItems", "make_batch"]

BatchItems: TypeAlias = Mapping[str, Input] | Iterable[tuple[str, Input]]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_OPEN = 64
"""Jobs that lines are added to at once; more models than this at a time are rare."""


def make_batch(
    session: Session,
    items: BatchItems,
    args: OutputParams,
    id: str,
    folder: Folder,
    *,
    job: Mapping[str, Any] | None,
) -> Handle:
    """A batch of which nothing was sent: its lines and its handle are in the folder.

    Raises ConfigError for ids that are no texts, or occur twice, and what encoding a request raises.
    """
    _check(args, job)
    making = _Making(session, args, Handle(id, time.time(), [], settings=dict(job or {})), folder)
    with making:
        for item_id, input in _pairs(items):
            making.add(item_id, input)
    handle = making.handle
    if not handle.ids:
        raise ConfigError("a batch has at least one request, and there is none")
    making.check_sizes()
    folder.save(handle)
    return handle


def _pairs(items: BatchItems) -> Iterator[tuple[str, Input]]:
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise misfit("items", (Mapping, Iterable[tuple[str, Input]]), items)
    pairs: Iterable[Any] = items.items() if isinstance(items, Mapping) else items
    for number, pair in enumerate(pairs):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ConfigError(
                f"items[{number}] is no pair of an id and an input, but a {type(pair).__name__}"
            )
        yield pair[0], pair[1]


def _check(args: OutputParams, settings: Mapping[str, Any] | None) -> None:
    for name in Policies.__struct_fields__:
        if args.get(name) is not None:
            raise ConfigError(
                f"{name} is a policy of single requests: the service sends those of a batch itself"
            )
    for name in settings or {}:
        if is_secret_name(name):
            raise ConfigError(
                f"job[{name!r}] looks like a secret, and a batch's handle is stored: leave it out"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Making:
    def __init__(self, session: Session, args: OutputParams, handle: Handle, folder: Folder) -> None:
        self.handle = handle
        self._session, self._args, self._folder = session, args, folder
        self._seen: set[str] = set()
        self._reports: dict[bytes, int] = {}
        self._open: dict[Any, tuple[int, int, IO[bytes]]] = {}
        """By what the lines of a job share: its number, its bytes so far, and its file."""
        self._fewest: dict[int, int] = {}
        self._files = ExitStack()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, id: Any, input: Input) -> None:
        """Encode a request, and write its line."""
        if not isinstance(id, str) or not id:
            raise ConfigError(f"an id is a text that is not empty, not {id!r}")
        if not _is_unicode(id):
            raise ConfigError(f"an id is a text, and {id!r} has half of a character")
        if id in self._seen:
            raise ConfigError(f"the id {id!r} occurs twice: its results could not be distinguished")
        self._seen.add(id)
        try:
            planned = self._planned(input)
            _, protocol = batch_service(planned.target)
            line = encoded(protocol.line(line_id(id), planned.call, planned.target.model))
        except (ProviderError, TypeError, ValueError) as error:
            error.add_note(f"in the batch's request {id!r}")
            raise
        number, file = self._room(planned, protocol, len(line) + 1, id)
        file.write(line + b"\n")
        part = self.handle.parts[number]
        place, model = len(self.handle.ids), planned.target.full_name
        part.members.append(place)
        if model != part.model:
            part.models[place] = model
        part.reports.append(self._report(planned.report))
        self.handle.ids.append(id)

    def _planned(self, input: Input) -> Plan:
        session = self._session
        target, request = session.request(input, self._args)
        made = plan(request, target, stream=False, timeouts=session.timeouts)
        own = request.options
        if own.extra_headers or own.extra_query:
            raise UnsupportedError(
                "extra_headers and extra_query belong to one request over HTTP, and a line of a batch is none; set "
                "headers on the client",
                provider=target.provider,
            )
        if made.call.wrap is not None:
            raise UnsupportedError(
                "tools that are emulated cannot be read back from a batch", provider=target.provider
            )
        return made

    def _room(self, made: Plan, protocol: BatchProtocol, size: int, id: str) -> tuple[int, IO[bytes]]:
        """The job that has room for a line."""
        limits, target, call = protocol.limits, made.target, made.call
        if size > limits.size:
            raise ConfigError(
                f"the request {id!r} has {size} bytes, and a job of {target.provider} at most {limits.size}"
            )
        model = target.model if limits.one_model else ""
        key = (
            target.provider,
            model,
            call.path if limits.one_model else "",
            tuple(sorted(call.headers.items())),
        )
        number, used, file = self._open.get(key, (-1, 0, None))
        full = file is None or used + size > limits.size
        if full or len(self.handle.parts[number].members) >= limits.lines:
            if file is not None:
                file.close()
            number, used, file = self._begin(made, limits.fewest)
        assert file is not None
        self._open[key] = number, used + size, file
        return number, file

    def _begin(self, made: Plan, fewest: int) -> tuple[int, int, IO[bytes]]:
        handle, target = self.handle, made.target
        number = len(handle.parts)
        part = Part(target.full_name, made.call.path, f"{handle.id}-{number}")
        part.headers = dict(made.call.headers)
        handle.parts.append(part)
        self._fewest[number] = fewest
        if len(self._open) >= _OPEN:
            self._open.pop(next(iter(self._open)))[2].close()
        place = os.open(self._folder.lines_path(number), _NEW, 0o600)
        return number, 0, self._files.enter_context(open(place, "wb"))

    def _report(self, report: Report) -> int:
        key = msgspec.json.encode(report)
        known = self._reports.get(key)
        if known is None:
            known = self._reports[key] = len(self.handle.reports)
            self.handle.reports.append(report)
        return known

    def check_sizes(self) -> None:
        """Raises ConfigError for a job with fewer requests than its service takes."""
        parts: Sequence[Part] = self.handle.parts
        for number, part in enumerate(parts):
            if len(part.members) < self._fewest[number]:
                raise ConfigError(
                    f"{part.model} takes batches of at least {self._fewest[number]} requests, and a job would have "
                    f"{len(part.members)}"
                )
