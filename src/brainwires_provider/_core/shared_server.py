"""One event loop's connection to the Redis or Valkey server that limits and budgets are shared through."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from brainwires_provider.auth.redaction import redact
from brainwires_provider.errors import ConfigError, ProviderError, SharedServerError
from brainwires_provider.types import Limits

if TYPE_CHECKING:
    import asyncio

__all__ = ["TIMEOUT", "Server", "on_loop"]

TIMEOUT = 2.0
"""Seconds that the server has for an answer, a new connection included."""
_CONNECTIONS = 8
_AWAY = frozenset(
    ("ReadOnlyError", "OutOfMemoryError", "ClusterDownError", "MasterDownError", "TryAgainError")
)
"""Answers of a server that is not ready: another takes its place, or it is full."""
_UNREADY = re.compile(r"(?:^|: ?-)(?:READONLY|OOM|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|MISCONF|NOREPLICAS) ")
"""The same, and of one that cannot write, where the package has no class of it: Redis before 7 puts what a script met
at the end of a longer text."""


class Server:
    """A server that runs scripts and commands. Nothing is connected before the first one.

    `setting` is the name of what holds its URL, for errors.
    """

    def __init__(self, limits: Limits, setting: str = "Limits.shared") -> None:
        assert limits.shared is not None
        if find_spec("redis") is None:
            raise ConfigError(f"{setting} needs the extra: pip install 'brainwires-provider[redis]'")
        self._setting = setting
        self._given = limits.shared
        self._shown = dict(limits.__rich_repr__())["shared"]
        self._client: Any = None
        self._is_closed = False
        self._errors: Any = None
        self._scripts: dict[str, Any] = {}
        self._secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Server({self._shown})"

    async def run(self, script: str, keys: Sequence[str], message: Mapping[str, Any]) -> dict[str, Any]:
        """What a script answers. Raises SharedServerError, ConfigError."""
        client = self._client or await self._connected()
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = client.register_script(script)
        answer = await self._answer(known(keys=keys, args=(msgspec.json.encode(message),)))
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded

    async def command(self, *words: Any) -> Any:
        """What one command answers. Raises SharedServerError, ConfigError."""
        client = self._client or await self._connected()
        return await self._answer(client.execute_command(*words))

    async def ping(self) -> None:
        """Raises SharedServerError if it does not answer, ConfigError."""
        client = self._client or await self._connected()
        await self._answer(client.ping())

    async def _answer(self, command: Coroutine[Any, Any, Any]) -> Any:
        """In a task of its own: before Python 3.12, what waits inside the package may swallow a cancellation."""
        import asyncio

        task = asyncio.create_task(command)
        try:
            await asyncio.wait((task,), timeout=TIMEOUT)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget)
            elif self._is_closed:
                await self._client.connection_pool.disconnect(inuse_connections=False)
        fault: Exception = TimeoutError()
        if task.done():
            try:
                return task.result()
            except Exception as error:  # noqa: BLE001 (the package raises any of a parameter that it does not know)
                fault = error
        raise self._explained(fault) from None

    async def aclose(self) -> None:
        """Close the connections. A command that comes later has one of its own."""
        self._is_closed = True
        if self._client is not None:
            with suppress(Exception):  # a connection that is broken anyway
                await self._client.aclose()

    async def _connected(self) -> Any:
        """The client. The package takes a fifth of a second to import: not on the loop."""
        import asyncio
        from importlib import import_module
        from urllib.parse import parse_qsl, unquote, urlsplit

        url = self._given
        if url.startswith("env:"):
            name = url.removeprefix("env:")
            url = os.environ.get(name, "").strip()
            if not url:
                raise ConfigError(
                    f"{self._setting}: the environment variable {name} is not set; it holds the URL of a Redis server"
                )
            try:
                Limits(shared=url)
            except ValueError:
                raise ConfigError(
                    f"{self._setting}: the environment variable {name} holds no URL of a Redis server"
                ) from None
        if url.startswith("valkey"):
            url = "redis" + url.removeprefix("valkey")
        parts = urlsplit(url)
        self._secrets = tuple(
            unquote(each)
            for each in (parts.password, *(value for _, value in parse_qsl(parts.query)))
            if each and len(each) > 3
        )
        module: Any = await asyncio.to_thread(import_module, "redis.asyncio")
        self._errors = await asyncio.to_thread(import_module, "redis.exceptions")
        if self._client is not None:
            return self._client  # another call was faster
        retry = import_module("redis.asyncio.retry").Retry(import_module("redis.backoff").NoBackoff(), 1)
        try:
            pool = module.BlockingConnectionPool.from_url(
                url,
                protocol=2,  # that of every server
                max_connections=_CONNECTIONS,
                timeout=TIMEOUT,
                socket_timeout=TIMEOUT,
                retry=retry,  # once more: a connection that was kept may be dead
            )
        except Exception as error:  # noqa: BLE001 (whatever the package raises of a parameter that it does not know)
            fault = redact(str(error), self._secrets)
            raise ConfigError(f"{self._setting}: the URL of {self._shown} is refused: {fault}") from None
        self._client = module.Redis.from_pool(pool)
        return self._client

    def _explained(self, error: Exception) -> ProviderError:
        reason, is_away = self._reason(error)
        if not is_away:
            return ConfigError(f"the server of shared limits, {self._shown}, refuses: {reason}")
        return SharedServerError(
            f"the server of shared limits and budgets, {self._shown}, does not answer: {reason}. Nothing was sent to "
            "the provider; is the server running? Limits.when_down says what happens meanwhile"
        )

    def _reason(self, error: Exception) -> tuple[str, bool]:
        """What went wrong, without secrets, and whether the server is away rather than refuses."""
        errors, kind = self._errors, type(error).__name__
        text = redact(str(error), self._secrets) or kind
        if isinstance(error, TimeoutError | errors.TimeoutError):
            text = f"no answer within {TIMEOUT:g} s"
        is_away = isinstance(error, (OSError, errors.ConnectionError, errors.TimeoutError)) or kind in _AWAY
        is_away = is_away or _UNREADY.search(str(error)) is not None
        if isinstance(error, (errors.AuthenticationError, errors.AuthorizationError)):
            is_away = False
        return text, is_away


def on_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """Do something on a loop: at once if it runs here. If it is closed, the server will miss this process."""
    import asyncio

    try:
        is_here = asyncio.get_running_loop() is loop
    except RuntimeError:
        is_here = False
    if is_here:
        work()
    else:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work)


def _forget(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more: what it raised is no matter."""
    if not task.cancelled():
        task.exception()
