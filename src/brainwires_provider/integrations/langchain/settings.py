"""The connection settings that LangChain's classes of this package have in common.

A key, an address and headers belong to the provider of the model with which an object was made. LangChain makes copies
of a model with other values of its fields; a copy for another provider does not take them along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from brainwires_provider.client import AsyncClient
from brainwires_provider.integrations.langchain.clients import Clients, clients_for
from brainwires_provider.sync.client import Client

__all__ = ["Connected"]

_OF_PROVIDER = ("headers", "allow_http")


class Connected(BaseModel):
    """A model's name, and how it is reached."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True, extra="forbid", populate_by_name=True, protected_namespaces=()
    )

    model: str
    """`"provider:model"`, or a name of the configuration's `[models]` (`client_options={"config": …}`)."""
    api_key: SecretStr | Callable[[], Any] | None = None
    """The key of the model's provider, or what returns it, such as `EnvKey("NAME")`. None: from the environment."""
    base_url: str | None = None
    """Another address of the provider."""
    client_options: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)
    """Further keywords of `Client`: `limits`, `budget`, `fallback`, `telemetry`, `config`, `proxy`, …"""
    client: Client | None = Field(default=None, exclude=True, repr=False)
    """A client to use in place of one of its own, which stays the caller's to close. Without `async_client`,
    asynchronous calls use it too, in a thread."""
    async_client: AsyncClient | None = Field(default=None, exclude=True, repr=False)
    """The same for asynchronous calls. Without `client`, there are no synchronous ones."""
    made_for: str | None = Field(default=None, exclude=True, repr=False)
    """The provider to which key, address and headers belong; set when the object is made."""

    _clients: Clients = PrivateAttr()

    @property
    def provider(self) -> str:
        """The model's provider; empty for a name of the configuration's."""
        name, colon, _ = self.model.partition(":")
        return name if colon else ""

    @model_validator(mode="after")
    def _connect(self) -> Self:
        if self.made_for is None:
            self.made_for = self.provider
        elif self.made_for != self.provider:
            self.api_key = self.base_url = None
            self.client_options = {k: v for k, v in self.client_options.items() if k not in _OF_PROVIDER}
            self.made_for = self.provider
        self._clients = self._connected()
        return self

    def _connected(self) -> Clients:
        if self.client is not None or self.async_client is not None:
            return Clients({}, self.client, self.async_client)
        key = self.api_key
        settings = {
            "api_key": key.get_secret_value() if isinstance(key, SecretStr) else key,
            "base_url": self.base_url,
            "model": self.model if key or self.base_url or self.client_options else None,
            **self.client_options,
        }
        return clients_for({name: value for name, value in settings.items() if value is not None})

    def __getstate__(self) -> dict[Any, Any]:
        """What is pickled. Raises TypeError for a key given as text, and for clients."""
        if isinstance(self.api_key, SecretStr):
            raise TypeError(
                f"{type(self).__name__} cannot be pickled: api_key contains a secret, which would be stored; pass a "
                'reference to it, such as EnvKey("NAME"), or leave it to the environment'
            )
        if self.client is not None or self.async_client is not None:
            raise TypeError(f"{type(self).__name__} cannot be pickled with a client: give it client_options")
        return {**super().__getstate__(), "__pydantic_private__": None}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.__pydantic_private__ = {"_clients": self._connected()}

    def close(self) -> None:
        """Close the connections of synchronous calls, unless a client was given. The next call opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close all connections, unless a client was given. The next call opens new ones."""
        await self._clients.aclose()
