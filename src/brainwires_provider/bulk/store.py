"""Results by the hash of their requests, for several processes and machines: in a folder, at a URL, or in Redis.

Every result is one entry, under the key of the request that it was paid for, so writers need no lock: two that have
the same key have the same request, and the later one wins. An entry is written whole or not at all, and holds its key;
what does not is no entry, is reported by a warning of the logger `brainwires_provider`, and counts as absent.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import uuid4
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Raw, Struct

from brainwires_provider._core.shared_server import Server
from brainwires_provider._core.watch import LOGGER
from brainwires_provider.auth.redaction import redact
from brainwires_provider.bulk.record import Record, dump_record, load_record
from brainwires_provider.errors import ConfigError, ProviderError, StoreError
from brainwires_provider.types import Limits
from brainwires_provider.types.suspects import query_fields, url_holds_secret

__all__ = ["PATIENCE", "Store", "open_store"]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a store which fails is tried again."""
_TIMEOUT = 60.0  # seconds, of one batch of reads, or one write
_THREADS = 16
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
_REDIS = frozenset(("redis", "rediss", "unix", "valkey", "valkeys"))


class _Entry(Struct):
    """What is written."""

    key: str
    record: Raw


_DECODER = msgspec.json.Decoder(_Entry)


class _Backend(Protocol):
    """Where entries are. What it raises says that it failed; an absent entry is no failure."""

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those of the entries that exist."""
        ...

    async def write(self, key: str, entry: bytes) -> None:
        """One entry, as a whole."""
        ...

    async def aclose(self) -> None:
        """Release threads and connections."""
        ...


class Store:
    """Records by their keys. Made by `open_store`; usable from any event loop, and by many tasks at once.

    A failure of the place is tried again for `patience` seconds, then raises StoreError.
    """

    def __init__(
        self, backend: _Backend, shown: str, patience: float = PATIENCE, secrets: tuple[str, ...] = ()
    ) -> None:
        self._backend = backend
        self._shown = shown
        self._patience = patience
        self._secrets = secrets

    def __repr__(self) -> str:
        return f"Store({self._shown})"

    async def get(self, keys: Sequence[str]) -> dict[str, Record]:
        """The records that are known.

        Args:
            keys: any number of them, each as `request_key` makes it.

        Returns:
            By key; the keys that have no record are not in it.

        Raises:
            StoreError: the store could not be read.
            ConfigError: it refuses this client, or its package is missing.
        """
        if not keys:
            return {}
        found = await self._patiently(lambda: self._backend.read(keys), "read")
        records = ((key, self._record(key, entry)) for key, entry in found.items())
        return {key: record for key, record in records if record is not None}

    async def put(self, key: str, record: Record) -> None:
        """Record what was paid for. When it returns, the record survives the end of this process.

        Raises:
            StoreError: it could not be written.
            ConfigError: as for `get`.
        """
        entry = msgspec.json.encode(_Entry(key, Raw(dump_record(record))))
        await self._patiently(lambda: self._backend.write(key, entry), "written")

    async def aclose(self) -> None:
        """Release threads and connections; the next use opens them again."""
        await self._backend.aclose()

    def _record(self, key: str, data: bytes) -> Record | None:
        try:
            entry = _DECODER.decode(data)
            if entry.key != key:
                raise ValueError(f"it is about {entry.key[:64]!r}")
            return load_record(entry.record)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            LOGGER.warning(
                "the entry %s of the store %s is none of its records (%s): it is ignored, and replaced by the next "
                "answer to that request",
                key,
                self._shown,
                error,
            )
            return None

    async def _patiently(self, work: Callable[[], Awaitable[T]], done: str) -> T:
        loop = asyncio.get_running_loop()
        until, delay = loop.time() + self._patience, _FIRST_DELAY
        while True:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await work()
            except (ConfigError, ImportError):
                raise
            except Exception as error:  # noqa: BLE001 (each kind of place has exceptions of its own)
                if loop.time() + delay > until:
                    raise self._explained(error, done) from None
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    def _explained(self, error: Exception, done: str) -> StoreError:
        if isinstance(error, ProviderError):
            reason = error.message
        elif isinstance(error, TimeoutError):
            reason = f"no answer within {_TIMEOUT:g} s"
        else:
            text = (error.strerror if isinstance(error, OSError) else None) or str(error)
            reason = redact(text, self._secrets) or type(error).__name__
        return StoreError(f"the store {self._shown} cannot be {done}: {reason}")


def open_store(place: str | os.PathLike[str], *, patience: float = PATIENCE) -> Store:
    """The store at a place. Nothing is opened, made or imported before it is used.

    Args:
        place: a folder; the URL of a Redis or Valkey server (`redis://`, extra `redis`); any other URL of fsspec, such
            as `s3://bucket/answers` (packages `fsspec` and, for S3, `s3fs`); or `"env:NAME"`, the environment variable
            that holds one of these.
        patience: seconds for which a store that fails is tried again before StoreError is raised.

    Returns:
        The store. Two that are opened for one place share its records, in whatever process.

    Raises:
        ConfigError: the place is none of these, or its package is missing.
    """
    text = os.fspath(place)
    if text.startswith("env:"):
        text = _from_environment(text.removeprefix("env:"))
    scheme, found, _ = text.partition("://")
    if not text:
        raise ConfigError(
            "a store needs a place: a folder, a URL such as s3://bucket/answers, or redis://host:6379/0"
        )
    if not found:
        return Store(_Folder(Path(text).expanduser()), text, patience)
    shown, secrets = _without_secrets(text)
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise ConfigError(
                f"the store {shown} is on no machine: a folder's URL has three slashes, file:///path"
            )
        return Store(_Folder(Path(unquote(parts.path))), text, patience)
    backend = _Redis(text, shown) if scheme in _REDIS else _Filesystem(text, shown, secrets)
    return Store(backend, shown, patience, secrets)


def _from_environment(name: str) -> str:
    place = os.environ.get(name, "").strip()
    if not place or place.startswith("env:"):
        raise ConfigError(
            f"the environment variable {name} is not set; it holds the folder or the URL of the store"
        )
    return place


def _without_secrets(url: str) -> tuple[str, tuple[str, ...]]:
    """The URL as it may be shown, and what may not be."""
    try:
        has_secret = url_holds_secret(url)
        parts = urlsplit(url)
    except ValueError:
        raise ConfigError("the store's URL cannot be read: it takes the form scheme://host/path") from None
    if not has_secret:
        return url, ()
    hidden = (parts.username, parts.password, *(value for _, value in query_fields(url)))
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return shown, tuple(unquote(each) for each in hidden if each)


def _name(key: str) -> str:
    """Of an entry, relative to the place; keys are hexadecimal, so every system takes it."""
    return f"{key[:2]}/{key}.json"


class _Threads:
    """Runs blocking work, made at the first use."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, "brainwires-store")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


def _open_at_once(path: str, flags: int) -> int:
    """A pipe in a folder that others write to is not waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Folder:
    """A folder of this machine, or of a file system that several machines mount."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._threads = _Threads()

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return await self._threads.run(self._read, keys)

    async def write(self, key: str, entry: bytes) -> None:
        await self._threads.run(self._write, key, entry)

    async def aclose(self) -> None:
        self._threads.close()

    def _read(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for key in keys:
            with (
                suppress(FileNotFoundError),
                open(self._folder / _name(key), "rb", opener=_open_at_once) as file,
            ):
                found[key] = file.read()
        return found

    def _write(self, key: str, entry: bytes) -> None:
        path = self._folder / _name(key)
        partial = path.with_name(f"{key}.{uuid4().hex}.tmp")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(file, "wb") as writing:
                writing.write(entry)
                writing.flush()
                os.fsync(file)
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)
            raise


class _Filesystem:
    """A file system of fsspec."""

    def __init__(self, url: str, shown: str, secrets: tuple[str, ...]) -> None:
        self._url = url
        self._shown = shown
        self._secrets = secrets
        self._threads = _Threads()
        self._opened: tuple[Any, str] | None = None

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return await self._threads.run(self._read, keys)

    async def write(self, key: str, entry: bytes) -> None:
        await self._threads.run(self._write, key, entry)

    async def aclose(self) -> None:
        self._threads.close()

    def _open(self) -> tuple[Any, str]:
        """The file system, and the path of the store in it."""
        if self._opened is None:
            try:
                fs, path = import_module("fsspec.core").url_to_fs(self._url)
            except ImportError as error:
                raise ConfigError(f"the store {self._shown} needs a package: {error}") from None
            except ValueError as error:
                fault = redact(str(error), self._secrets)
                raise ConfigError(f"the store {self._shown}: {fault}") from None
            if any(each in path for each in "*?["):
                raise ConfigError(
                    f"the store {self._shown}: its path is a pattern, by one of the characters * ? ["
                )
            self._opened = fs, path.rstrip("/")
        return self._opened

    def _read(self, keys: Sequence[str]) -> dict[str, bytes]:
        fs, base = self._open()
        by_path = {f"{base}/{_name(key)}": key for key in keys}
        answers = fs.cat(list(by_path), on_error="return")
        found = {}
        for path, key in by_path.items():
            answer = answers.get(path)
            if isinstance(answer, bytes):
                found[key] = answer
            elif isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                raise answer
        return found

    def _write(self, key: str, entry: bytes) -> None:
        fs, base = self._open()
        path = f"{base}/{_name(key)}"
        try:
            fs.pipe_file(path, entry)
        except FileNotFoundError:  # a place that has folders
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.pipe_file(path, entry)


class _RedisServer(Server):
    """A server whose errors speak of the store."""

    def _explained(self, error: Exception) -> ProviderError:
        reason, is_away = self._reason(error)
        if is_away:
            return StoreError(reason)
        return ConfigError(f"the store {self._shown} refuses: {reason}")


class _Redis:
    """A Redis or Valkey server."""

    def __init__(self, url: str, shown: str) -> None:
        try:
            self._place = Limits(shared=url)  # checks the URL, and shows no password
        except ValueError:
            raise ConfigError(
                f"the store {shown} is no URL of a server: redis://HOST:PORT/DATABASE"
            ) from None
        self._servers: WeakKeyDictionary[asyncio.AbstractEventLoop, Server] = WeakKeyDictionary()

    def _server(self) -> Server:
        loop = asyncio.get_running_loop()
        server = self._servers.get(loop)
        if server is None:
            server = self._servers[loop] = _RedisServer(self._place, "a store in Redis")
        return server

    async def read(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        answers = await self._server().command("MGET", *map(_redis_key, keys))
        return {key: entry for key, entry in zip(keys, answers, strict=True) if entry is not None}

    async def write(self, key: str, entry: bytes) -> None:
        await self._server().command("SET", _redis_key(key), entry)

    async def aclose(self) -> None:
        server = self._servers.pop(asyncio.get_running_loop(), None)
        if server is not None:
            await server.aclose()


def _redis_key(key: str) -> str:
    return f"brainwires:result:{key}"
