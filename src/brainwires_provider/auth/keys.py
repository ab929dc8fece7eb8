"""API keys: given, called for, or read from the environment, and never shown.

A callable is asked for each request, so that a short-lived token stays fresh; a synchronous one runs in a thread,
since it may block. `EnvKey`, `FileKey` and `KeyringKey` are such callables that only know where a key lies: they can
be shown, compared, pickled and written into a file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from brainwires_provider.errors import ConfigError

__all__ = [
    "REDACTED",
    "SECRET_HEADERS",
    "EnvKey",
    "FileKey",
    "Key",
    "KeyringKey",
    "header_fault",
    "header_secrets",
    "key_headers",
    "redact",
    "resolve_headers",
    "resolve_key",
]

Key: TypeAlias = str | Callable[[], str | Awaitable[str]]

REDACTED = "[redacted]"
SECRET_HEADERS = frozenset(("authorization", "api-key", "x-api-key", "x-goog-api-key"))
"""The headers, in lower case, that carry keys."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_CONNECTION = frozenset(("host", "content-length", "transfer-encoding"))

_LARGEST_KEY = 65_536  # bytes; a service account's token is the longest known, at a few thousand
_from_keyring: dict[tuple[str, str], str] = {}


class EnvKey(Struct, frozen=True):
    """The value of an environment variable. `where` says who asks for it, in errors.

    Called, it raises ConfigError where the variable is not set.
    """

    name: str
    where: str = ""

    def __call__(self) -> str:
        """Return the value of the variable. Raises ConfigError when it is not set."""
        value = os.environ.get(self.name, "").strip()
        if not value:
            raise ConfigError(f"{_asker(self.where)}the environment variable {self.name} is not set")
        return value


class FileKey(Struct, frozen=True):
    """A file's content, trimmed; read at each request, so that a key can be replaced. `~` is the user's folder.

    Called, it raises ConfigError for a file that is not there, holds no key, or is open to other users of this
    machine. A file that belongs to somebody else, or lies on a read-only mount, as a container's secrets do, is
    taken as it is: its mode is not the caller's to change.
    """

    path: str
    where: str = ""

    def __call__(self) -> str:
        """Return the content of the file. Raises ConfigError when it cannot be read or is no key."""
        path = os.path.expanduser(self.path)
        try:
            with open(path, "rb", opener=_open_at_once) as file:
                fault = _file_fault(file.fileno(), path)
                content = b"" if fault else file.read(_LARGEST_KEY + 1)
        except OSError as error:
            fault, content = f"cannot be read: {error.strerror}", b""
        text = content.decode("utf-8-sig", "replace").strip()
        if fault is None and not text:
            fault = "is empty: put the key into it, and nothing else"
        if fault is None and (len(content) > _LARGEST_KEY or "\ufffd" in text):
            fault = "holds no key: it should be one line of text"
        if fault is not None:
            raise ConfigError(f"{_asker(self.where)}the file {path} {fault}")
        return text


class KeyringKey(Struct, frozen=True):
    """An entry of the system's keyring, by the package `keyring`; asked for once in a process.

    Called, it raises ConfigError without that package, without a keyring, and without such an entry.
    """

    service: str
    user: str
    where: str = ""

    def __call__(self) -> str:
        """Return the password from the keyring. Raises ConfigError when there is none."""
        known = _from_keyring.get((self.service, self.user))
        if known is None:
            known = _from_keyring[self.service, self.user] = self._ask()
        return known

    def _ask(self) -> str:
        try:
            import keyring
        except ImportError:
            raise ConfigError(
                f"{_asker(self.where)}keys in a keyring need a package that comes with an extra: "
                'pip install "brainwires-provider[keyring]"'
            ) from None
        try:
            key, fault = keyring.get_password(self.service, self.user), None
        except Exception as error:  # noqa: BLE001 (whatever a backend raises; its words may be anything)
            key, fault = None, type(error).__name__
        if fault is not None:
            raise ConfigError(
                f"{_asker(self.where)}the keyring cannot be asked ({fault}): is there one, and is it unlocked? "
                "`keyring diagnose` tells"
            )
        if key is None or not key.strip():
            raise ConfigError(
                f"{_asker(self.where)}the keyring has no entry {self.service!r} of {self.user!r}: "
                f"keyring set {self.service} {self.user}"
            )
        return key.strip()


def _asker(where: str) -> str:
    return f"{where}: " if where else ""


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for somebody to write to it, where it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _file_fault(file: int, path: str) -> str | None:
    """Why a key in this open file is not to be used."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        return "is no plain file"
    if os.name != "posix" or not status.st_mode & 0o077 or status.st_uid != os.geteuid():
        return None
    if os.fstatvfs(file).f_flag & os.ST_RDONLY:
        return None
    return f"is open to other users of this machine: chmod 600 {path}"


async def resolve_headers(headers: Mapping[str, Key], provider: str) -> dict[str, str]:
    """Headers with their values called for. Raises ConfigError as `resolve_key` does."""
    return {
        name: value if isinstance(value, str) else await resolve_key(value, provider)
        for name, value in headers.items()
    }


async def resolve_key(key: Key, provider: str) -> str:
    """The key's text. Raises ConfigError when there is none in it, or it could not be a header."""
    value: Any = key() if isinstance(key, EnvKey) else key
    if callable(value):
        import asyncio
        import inspect

        if inspect.iscoroutinefunction(value):
            value = await value()
        else:
            value = await asyncio.to_thread(value)
            if inspect.isawaitable(value):
                value = await value
    if not isinstance(value, str):
        raise ConfigError(
            f"the key for {provider} must be text, not {type(value).__name__}", provider=provider
        )
    text = value.strip()
    if not text.isprintable():
        raise ConfigError(
            f"the key for {provider} has a character that no header can carry; was it pasted whole?",
            provider=provider,
        )
    return text


def header_fault(name: str) -> str | None:
    """Why a header of this name cannot be set, whoever sets it; None where it can.

    The host and the length are the connection's own to say: another `Host` would take a request elsewhere.
    """
    if not name:
        return "a header has a name"
    if name.lower() in _OF_THE_CONNECTION:
        return f"the header {name} follows from the URL and the body, and cannot be set"
    return None if _HEADER_NAME.fullmatch(name) else "no header has such a name"


def header_secrets(given: Mapping[str, Key], told: Mapping[str, str]) -> tuple[str, ...]:
    """What of a provider's headers is secret: what was called for, and what carries keys by its name.

    A token behind a scheme's name (`Bearer …`) is told by itself too: that is how a service would repeat it.
    """
    values = [
        told[name] for name, value in given.items() if callable(value) or name.lower() in SECRET_HEADERS
    ]
    return tuple(values + [value.rpartition(" ")[2] for value in values if " " in value])


def key_headers(scheme: str, key: str) -> dict[str, str]:
    """The headers that carry a key: `scheme` is `"bearer"` or a header's own name. No key, no header."""
    if not key:
        return {}
    return {"Authorization": f"Bearer {key}"} if scheme == "bearer" else {scheme: key}


def redact(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same value without the secrets: some services repeat the key in their error."""
    if isinstance(value, str):
        for secret in secrets:
            if len(secret) > 3:
                value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, dict):
        return {redact(k, secrets): redact(v, secrets) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact(item, secrets) for item in value)
    return value
