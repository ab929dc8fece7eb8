"""The clients of LangChain's models: one pair for each set of connection settings, made when it is first used.

LangChain copies models freely, for each configured call. The copies share connections, limits and budgets, because
they find the pair by its settings.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey
from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import ConfigError
from brainwires_provider.resources.resolved import ResolvedModel
from brainwires_provider.sync.client import Client

__all__ = ["Clients", "clients_for"]


class Clients:
    """A synchronous and an asynchronous client with the same settings."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        client: Client | None = None,
        async_client: AsyncClient | None = None,
    ) -> None:
        self._settings = dict(settings)
        self._given = client is not None or async_client is not None
        self._sync, self._async = client, async_client
        self._lock = Lock()

    @property
    def sync(self) -> Client:
        """Raises ConfigError where only the other one was given."""
        with self._lock:
            if self._sync is None:
                if self._given:
                    raise ConfigError(
                        "this model was given async_client= alone, which cannot serve synchronous calls: use ainvoke, "
                        "astream and the like, or give it client= too"
                    )
                self._sync = Client(**self._settings)
            return self._sync

    @property
    def asynchronous(self) -> AsyncClient | None:
        """None where only the other one was given, which then serves asynchronous calls in a thread."""
        with self._lock:
            if self._async is None and not self._given:
                self._async = AsyncClient(**self._settings)
            return self._async

    def resolve(self, model: str) -> ResolvedModel:
        """What a model's name leads to, by the client that there is."""
        return (self._sync or self._async or self.sync).resolve(model)

    async def aclose(self) -> None:
        """Close the connections of both; what was given stays open. The next call opens them again."""
        if self._given:
            return
        with self._lock:
            (client, self._sync), (other, self._async) = (self._sync, None), (self._async, None)
        if client is not None:
            client.close()
        if other is not None:
            await other.aclose()

    def close(self) -> None:
        """Close the connections of the synchronous client, unless it was given."""
        with self._lock:
            client = None if self._given else self._sync
            if client is not None:
                self._sync = None
        if client is not None:
            client.close()

    def __copy__(self) -> Clients:
        return self

    def __deepcopy__(self, memo: object) -> Clients:
        return self

    def __del__(self) -> None:
        """A model of LangChain has no end: nobody is reminded to close it."""
        if self._given or self._async is None or sys.is_finalizing():
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self._async = None


_BY_VALUE = (str, int, float, type(None), EnvKey, FileKey, KeyringKey)
_known: WeakValueDictionary[tuple[Any, ...], Clients] = WeakValueDictionary()
_lock = Lock()


def clients_for(settings: Mapping[str, Any]) -> Clients:
    """The clients with these settings: those that are in use with the same ones, else new ones."""
    key = tuple((name, _identity(value)) for name, value in sorted(settings.items()))
    with _lock:
        found = _known.get(key)
        if found is None:
            found = _known[key] = Clients(settings)
        return found


def _identity(value: Any) -> Any:
    """Texts, numbers and references to keys by their value; anything else by itself, which the clients keep alive."""
    return value if isinstance(value, _BY_VALUE) else id(value)
