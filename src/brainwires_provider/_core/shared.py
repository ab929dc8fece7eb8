"""What one event loop shares with other processes: its connection to the server, the limits and the budgets there."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote

from brainwires_provider._core.shared_budget import SharedAccount
from brainwires_provider._core.shared_limits import SharedGate
from brainwires_provider._core.shared_server import Server
from brainwires_provider.auth.keys import EnvKey, FileKey, KeyringKey, resolve_key
from brainwires_provider.providers import Target
from brainwires_provider.types import Limits

if TYPE_CHECKING:
    import asyncio

__all__ = ["Shared"]


class Shared:
    """One server, as one event loop uses it."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._server = Server(limits)
        self._loop = loop
        self.gates: dict[tuple[str, str, int, Limits], SharedGate] = {}
        self.accounts: dict[str, SharedAccount] = {}

    def gate(self, target: Target, limits: Limits) -> SharedGate:
        """The limits of a provider, model and key."""
        place = target.provider, target.model, hash(target.key), limits
        known = self.gates.get(place)
        if known is None:
            known = SharedGate(self._server, limits, lambda: name_of(target, limits), self._loop)
            self.gates[place] = known
        return known

    def account(self, scope: str) -> SharedAccount:
        """The account of a named scope."""
        known = self.accounts.get(scope)
        if known is None:
            known = self.accounts[scope] = SharedAccount(self._server, scope, self._loop)
        return known

    async def aclose(self) -> None:
        """Give the places back, report what was spent, close the connections."""
        for gate in self.gates.values():
            await gate.aclose()
        for account in self.accounts.values():
            await account.aclose()
        await self._server.aclose()


async def name_of(target: Target, limits: Limits) -> str:
    """The beginning of the names of the server's keys. A key of the provider is in it as a hash, never itself.

    Keys that a function returns may be another for each request: they are not distinguished.
    """
    key = target.key
    is_known = isinstance(key, str | EnvKey | FileKey | KeyringKey)
    text = await resolve_key(key, target.provider) if key is not None and is_known else ""
    numbers = (limits.rpm, limits.tpm, limits.itpm, limits.otpm, limits.concurrency, limits.learn)
    own = "-".join(_short(text) for text in (text, repr([each and float(each) for each in numbers])))
    return f"brainwires:limits:{{{quote(target.provider)}:{quote(target.model, safe='')}:{own}}}"


def _short(text: str) -> str:
    return sha256(f"brainwires limits {text}".encode()).hexdigest()[:16]
