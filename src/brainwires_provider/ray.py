"""Rows through a model on Ray, Daft or Dask: one actor class, which asks about the rows of each batch.

The engine schedules, restarts and writes; an actor has a client, a gate, and a store of what was paid for. What is
sent to workers is configuration: no key, no connection, and nothing that was opened.
"""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any, TypeVar

from brainwires_provider._core.watch import LOGGER
from brainwires_provider.bulk.asking import Asker, asker_of
from brainwires_provider.bulk.frames import joined, rows_of
from brainwires_provider.bulk.prompts import Prompt, Template, check_columns
from brainwires_provider.bulk.record import Record, columns, record_of_error
from brainwires_provider.bulk.store import PATIENCE, Store, open_store
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError, ProviderError, StoreError
from brainwires_provider.types.bulk import BulkOperation, BulkSettings
from brainwires_provider.types.suspects import secret_fields, url_holds_secret

__all__ = ["MapActor"]

_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+\Z", re.IGNORECASE)

T = TypeVar("T")


class MapActor:
    """Asks a model about every row of a batch, and adds the answers as columns. For `Dataset.map_batches` and such.

        actor = MapActor("openai-chat:gpt-6", prompt="Summarise: {text}", store="s3://bucket/answers")
        actor.map(ray.data.read_parquet("in"), workers=4).write_parquet("out")

    A row that fails is a row with `error_type` and `error`; only a ConfigError, which all rows would have, is raised.
    Equal requests of a batch are sent once. With a `store`, an answer is recorded before its row is given back, and a
    request that has a record is not sent again, by whatever worker, after whatever crash.

    An actor is made from configuration, which is all of it that is pickled: keys come from the environment of the
    worker, or as references (`EnvKey`, `FileKey`, `KeyringKey`). It is used from one event loop at a time.

    Args:
        model: `"provider:model"`.
        prompt: a text with the names of columns in braces; or a function of the row (a dict), async too, that returns
            what `client.chat` takes: a text, messages, or a `Request` with tools and options of its own. Default: the
            column `prompt`, or else `messages`.
        system: the system prompt. Default: none.
        output: the type or `JSONSchema` of the answers; the column `output` has the value, as JSON.
        operation: "chat"; "run", the loop of tools; or "embed", with the column `vector`. Default: as for `map`.
        args: further keywords of `client.map` that hold for each row: `tools`, `max_steps`, `dimensions`, …
        concurrency: the most requests at once of this actor. Of all actors together: `limits=Limits(shared=…)`.
        store: where answers are kept: a folder, `redis://…`, a URL of fsspec such as `s3://…`, or `"env:NAME"` for one
            in an environment variable of the worker. Default: nowhere, so that a restart pays again.
        version: of the code that makes the prompts and uses the answers; records of another version are not used.
        prefix: begins the name of every column that is added.
        retry_errors: ask again where the record is an error that was paid for, such as an answer that was cut.
        patience: seconds for which a store that fails is tried again; then its rows have the error StoreError.
        client: the arguments of `AsyncClient`: `options`, `limits`, `retry`, `budget`, `base_url`, …

    Raises:
        ConfigError: an argument cannot be sent to workers, a secret among them; or the client's arguments are wrong.
        TypeError: an argument does not exist, or has a wrong type.
        ValueError: `concurrency` is below 1.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        prompt: Prompt = None,
        system: str | None = None,
        output: Any = None,
        operation: BulkOperation | None = None,
        args: Mapping[str, Any] | None = None,
        concurrency: int = 100,
        store: str | os.PathLike[str] | None = None,
        version: str = "",
        prefix: str = "",
        retry_errors: bool = False,
        patience: float = PATIENCE,
        **client: Any,
    ) -> None:
        own: dict[str, Any] = {"concurrency": concurrency, "version": version, "operation": operation}
        own["retry_errors"] = retry_errors
        given = {"model": model, "prompt": prompt, "system": system, "output": output, "args": args}
        place = None if store is None else _place(store)
        self._given: dict[str, Any] = {
            **client,
            **given,
            **own,
            "store": place,
            "prefix": prefix,
            "patience": patience,
        }
        self._client = AsyncClient(model, **client)
        _check_sendable(client, self._given)
        rows = {"system": system, "output": output, **(args or {})}
        self._args: Any = {name: each for name, each in rows.items() if each is not None}
        sizes = {name: self._args.pop(name) for name in ("dimensions", "task") if name in self._args}
        self._settings = BulkSettings(**own, **sizes)
        self._prompt = Template(prompt) if isinstance(prompt, str) else prompt
        self._asker: Asker | None = None
        self._store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gate = asyncio.Semaphore(concurrency)
        self._asking: dict[str, asyncio.Task[tuple[Record, bool]]] = {}
        self._unrecorded: dict[str, Record] = {}

    def __repr__(self) -> str:
        given = self._given
        return f"MapActor({given['model']!r}, concurrency={given['concurrency']}, store={given['store']!r})"

    def __reduce__(self) -> Any:
        return _made, (type(self), self._given)

    def __del__(self) -> None:
        """Close connections: engines drop an actor, and do not close it."""
        loop = getattr(self, "_loop", None)
        if loop is not None and loop.is_running():
            with suppress(RuntimeError):  # the loop ends just now
                loop.call_soon_threadsafe(_close_later, loop, self._client, self._store)

    # -- on an engine ----------------------------------------------------------------------------------------

    def map(
        self,
        dataset: Any,
        *,
        workers: int | tuple[int, int] = 1,
        batch_size: int | None = None,
        **options: Any,
    ) -> Any:
        """Ask about every row of a `ray.data.Dataset`, in actors of this configuration.

        Args:
            dataset: what `ray.data` has read.
            workers: the number of actors; or the fewest and the most, between which Ray decides.
            batch_size: rows of a batch; Ray gives an actor four batches at once. Default: half of `concurrency`, so
                that twice as many rows are at hand as may be asked about.
            options: further arguments of `Dataset.map_batches`, such as `num_cpus` (default 0.5: actors mostly wait),
                `memory` or `runtime_env`.

        Returns:
            The dataset with the columns of the answers; nothing is sent before it is consumed.

        Raises:
            ConfigError: the package `ray` is missing.
        """
        try:
            strategy = import_module("ray.data").ActorPoolStrategy
        except ImportError as error:
            raise ConfigError(
                f"MapActor.map needs the extra: pip install 'brainwires-provider[ray]' ({error})"
            ) from None
        least, most = (workers, workers) if isinstance(workers, int) else workers
        return dataset.map_batches(
            type(self),
            fn_constructor_kwargs=self._given,
            batch_format="pyarrow",
            batch_size=batch_size or max(1, self._given["concurrency"] // 2),
            compute=strategy(min_size=least, max_size=most),
            **{"num_cpus": 0.5, **options},
        )

    async def __call__(self, batch: Any) -> Any:
        """The same batch with the columns of the answers. See `ask`."""
        return await self.ask(batch)

    async def ask(self, batch: Any) -> Any:
        """Ask about every row of a batch.

        Args:
            batch: a `pyarrow.Table`, a pandas DataFrame, columns (a dict of arrays or lists), or a sequence of rows.

        Returns:
            The same in the same form, with the columns `answer`, `output`, `tool_calls`, `finish_reason`, `model`,
            `input_tokens`, `output_tokens`, `cost_usd`, `request_id`, `error_type`, `error`, and `from_store`: whether
            the row cost nothing now. `output` and `tool_calls` are JSON texts.

        Raises:
            ConfigError: no key, an unknown provider, a store that refuses, a prompt that names a missing column.
        """
        rows = rows_of(batch)
        found = await self._records(rows)
        added = [columns(record) | {"from_store": is_kept} for record, is_kept in found]
        return joined(batch, added, self._given["prefix"], vectors=self._settings.operation == "embed")

    async def aclose(self) -> None:
        """Wait for the requests in flight, and close the connections."""
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        await _close(self._client, self._store)

    # -- rows --------------------------------------------------------------------------------------------------

    async def _records(self, rows: Sequence[Mapping[str, Any]]) -> list[tuple[Record, bool]]:
        """What each row has given, and whether it was in the store."""
        self._enter_loop()
        if rows:
            check_columns(rows[0], self._prompt, None)
        asked = await asyncio.gather(*map(self._asked, rows))
        inputs = dict(each for each in asked if not isinstance(each, Record))
        found = await self._found(inputs)
        return [(each, False) if isinstance(each, Record) else found[each[0]] for each in asked]

    def _ended(self, key: str, _: object) -> None:
        self._asking.pop(key, None)

    async def _found(self, inputs: Mapping[str, Any]) -> dict[str, tuple[Record, bool]]:
        """By key, what is in the store or is asked now. What another batch asks is waited for."""
        new = [key for key in inputs if key not in self._asking]
        if new:
            kept = _started(self._kept(new))
            for key in new:  # before anything is waited for, so that no two batches ask the same
                task = self._asking[key] = _started(self._result(key, inputs[key], kept))
                task.add_done_callback(partial(self._ended, key))
        tasks = {key: self._asking[key] for key in inputs}
        # A batch that is cancelled leaves its requests to end: they are paid for, and others may wait for them.
        answers = await asyncio.gather(*map(asyncio.shield, tasks.values()))
        return dict(zip(tasks, answers, strict=True))

    def _enter_loop(self) -> None:
        """Make what belongs to a running worker, where the keys are."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._asking = loop, {}
            self._gate = asyncio.Semaphore(self._given["concurrency"])
        if self._asker is None:
            self._asker = asker_of(self._client._session, self._settings, self._prompt, self._args)
        if self._store is None and self._given["store"] is not None:
            self._store = open_store(self._given["store"], patience=self._given["patience"])

    async def _asked(self, row: Mapping[str, Any]) -> tuple[str, Any] | Record:
        """The key of a row's request, and what is asked; or why it cannot be."""
        assert self._asker is not None
        try:
            return await self._asker.request(row)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 (the caller's function, and values of any kind)
            return record_of_error(error)

    async def _kept(self, keys: Sequence[str]) -> dict[str, tuple[Record, bool]]:
        """What the store has; or, for all keys, that it cannot be read."""
        if self._store is None:
            return {}
        try:
            found = await self._store.get(keys)
        except StoreError as error:
            return dict.fromkeys(keys, (record_of_error(error), False))
        is_again = self._given["retry_errors"]
        return {key: (each, True) for key, each in found.items() if not (is_again and each.error)}

    async def _result(
        self, key: str, asked: Any, kept: asyncio.Task[dict[str, tuple[Record, bool]]]
    ) -> tuple[Record, bool]:
        """What the store has, or the answer."""
        return (await kept).get(key) or (await self._answer(key, asked), False)

    async def _answer(self, key: str, asked: Any) -> Record:
        """Ask, and record: both in the gate, so that no more than `concurrency` answers are without a record."""
        assert self._asker is not None
        async with self._gate:
            try:
                for other, paid in list(self._unrecorded.items()):
                    if other in self._unrecorded:  # no other task has recorded it meanwhile
                        await self._record(other, paid)
                record = await self._asker.ask(asked)
            except ConfigError:
                raise
            except Exception as error:  # noqa: BLE001 (whatever it is, it is this row's)
                record = record_of_error(error)
            if _was_paid(record):
                with suppress(StoreError):  # the answer is given back all the same
                    await self._record(key, record)
        return record

    async def _record(self, key: str, record: Record) -> None:
        """Record what was paid for; what cannot be is tried again before anything more is asked. Raises StoreError."""
        if self._store is None:
            return
        try:
            await self._store.put(key, record)
        except StoreError as error:
            self._unrecorded[key] = record
            LOGGER.warning(
                "an answer is not recorded, and no request is sent before it is: %s", error.message
            )
            raise
        self._unrecorded.pop(key, None)


def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    task.add_done_callback(_seen)
    return task


def _seen(task: asyncio.Task[Any]) -> None:
    """What it raised is raised where it is awaited, or is that of the whole batch."""
    if not task.cancelled():
        task.exception()


def _made(cls: type[MapActor], given: Mapping[str, Any]) -> MapActor:
    return cls(**given)


def _was_paid(record: Record) -> bool:
    """Whether the provider has counted tokens: an answer, or an error of which there is a part."""
    used = record.usage
    return record.error is None or bool(used.input_tokens or used.output_tokens)


def _place(store: str | os.PathLike[str]) -> str:
    """Where a store is, for any worker: a folder by its whole path. Raises ConfigError for a URL with a secret."""
    text = os.fspath(store)
    if "://" not in text and not text.startswith("env:"):
        return os.path.abspath(os.path.expanduser(text))
    with suppress(ValueError):  # it is refused when it is opened
        if "://" in text and url_holds_secret(text):
            raise ConfigError(
                "the store's URL contains a secret, which would be sent to workers as it is: put the URL into an "
                'environment variable of the workers, and pass store="env:NAME"'
            )
    return text


class _Sendable(pickle.Pickler):
    """Finds what cannot be sent to workers; functions and classes can, by the engines' own means."""

    def reducer_override(self, obj: Any) -> Any:
        is_function = isinstance(obj, (FunctionType, MethodType))
        is_class = isinstance(obj, type) and obj.__module__ != "builtins"
        return (str, ()) if is_function or is_class else NotImplemented


def _check_sendable(client: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises ConfigError for a secret, and for what is bound to this process."""
    if isinstance(client.get("api_key"), str) and client["api_key"]:
        raise ConfigError(
            "MapActor(api_key=…) would be sent to workers as it is: set the provider's environment variable "
            'there, or pass a reference, such as EnvKey("NAME")'
        )
    for name, value in {**client, **(given["args"] or {})}.items():
        if _holds_secret(value):
            raise ConfigError(
                f"MapActor: {name} would be sent to workers, and contains a secret: pass a reference, such as "
                'headers={"Authorization": EnvKey("NAME")}, or set an environment variable there'
            )
    try:
        _Sendable(io.BytesIO()).dump(dict(given))
    except Exception as error:  # noqa: BLE001 (each type refuses in its own way)
        raise ConfigError(f"MapActor: an argument cannot be sent to workers: {error}") from None


def _holds_secret(value: Any) -> bool:
    """Whether a setting is a URL with a secret, or has one by a field's name or value, at any depth."""
    if isinstance(value, str):
        try:
            return _URL.match(value) is not None and url_holds_secret(value)
        except ValueError:  # its port is no number
            return "@" in value
    if isinstance(value, Mapping):
        return any(secret_fields(value)) or any(map(_holds_secret, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_secret, value))


async def _close(client: AsyncClient, store: Store | None) -> None:
    with suppress(ProviderError):
        await client.aclose()
    if store is not None:
        await store.aclose()


def _close_later(loop: asyncio.AbstractEventLoop, client: AsyncClient, store: Store | None) -> None:
    task = loop.create_task(_close(client, store))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()
