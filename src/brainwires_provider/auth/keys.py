"""API keys: given as text, returned by a callable, or read from the environment; never shown.

A callable is called for each request, so that short-lived tokens stay valid; a synchronous one runs in a thread, since
it may block. `EnvKey`, `FileKey` and `KeyringKey` are callables that hold only a reference to a key, so they can be
shown, compared, pickled and written to a file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from brainwires_provider.errors import ConfigError
from brainwires_provider.types.checked import Setting

__all__ = [
    "EnvKey",
    "FileKey",
    "Key",
    "KeyringKey",
    "header_fault",
    "key_headers",
    "resolve_headers",
    "resolve_key",
]

Key: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A key: its text, or a synchronous or asynchronous callable that returns it, such as `EnvKey`."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_CONNECTION = frozenset(("host", "content-length", "transfer-encoding"))

_LARGEST_KEY = 65_536  # bytes; a service account's token is the longest known, at a few thousand
_from_keyring: dict[tuple[str, str], str] = {}


class EnvKey(Setting, frozen=True):
    """A key in an environment variable, read at each request. Raises ConfigError then if it is not set."""

    name: str
    """The variable's name."""
    where: str = ""
    """Where this reference was written, for errors."""

    def __call__(self) -> str:
        """Return the value of the variable. Raises ConfigError when it is not set."""
        value = os.environ.get(self.name, "").strip()
        if not value:
            raise ConfigError(f"{_asker(self.where)}the environment variable {self.name} is not set")
        return value


class FileKey(Setting, frozen=True):
    """A key in a file, read at each request, so that it can be replaced.

    Raises ConfigError then for a file that does not exist, holds no key, or can be read by other users of this
    machine. The mode is not checked for a file that belongs to another user or is on a read-only mount, such as a
    container's secrets, because the caller cannot change it.
    """

    path: str
    """The file's path; `~` is the user's folder. White space around the key is removed."""
    where: str = ""
    """Where this reference was written, for errors."""

    def __call__(self) -> str:
        """Return the content of the file. Raises ConfigError if it cannot be read or is not a key."""
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


class KeyringKey(Setting, frozen=True):
    """A key in the system's keyring, read once per process with the package `keyring`.

    Raises ConfigError at a request if that package, a keyring, or the entry is missing.
    """

    service: str
    """The entry's service name."""
    user: str
    """The entry's user name."""
    where: str = ""
    """Where this reference was written, for errors."""

    def __call__(self) -> str:
        """Return the key from the keyring. Raises ConfigError if there is none."""
        known = _from_keyring.get((self.service, self.user))
        if known is None:
            known = _from_keyring[self.service, self.user] = self._ask()
        return known

    def _ask(self) -> str:
        try:
            import keyring
        except ImportError:
            raise ConfigError(
                f"{_asker(self.where)}keys in a keyring require an extra: "
                'pip install "brainwires-provider[keyring]"'
            ) from None
        try:
            key, fault = keyring.get_password(self.service, self.user), None
        except Exception as error:  # noqa: BLE001 (backends raise any exception, with any text)
            key, fault = None, type(error).__name__
        if fault is not None:
            raise ConfigError(
                f"{_asker(self.where)}the keyring cannot be read ({fault}): is there one, and is it unlocked? "
                "`keyring diagnose` shows its state"
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
    """Open a file without waiting, in case it is a pipe that nobody writes to."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _file_fault(file: int, path: str) -> str | None:
    """Why the key in this open file must not be used, or None."""
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if os.name != "posix" or not status.st_mode & 0o077 or status.st_uid != os.geteuid():
        return None
    if os.fstatvfs(file).f_flag & os.ST_RDONLY:
        return None
    return f"can be read by other users of this machine: chmod 600 {path}"


async def resolve_headers(headers: Mapping[str, Key], provider: str) -> dict[str, str]:
    """Headers with the values that callables return. Raises ConfigError as `resolve_key` does."""
    return {
        name: value if isinstance(value, str) else await resolve_key(value, provider)
        for name, value in headers.items()
    }


async def resolve_key(key: Key, provider: str) -> str:
    """The key's text. Raises ConfigError if a callable returns something else, or the text cannot be in a header."""
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
            f"the key for {provider} contains a character that is not allowed in a header; was it copied completely?",
            provider=provider,
        )
    return text


def header_fault(name: str) -> str | None:
    """Why a header of this name cannot be set, or None.

    The host and the length follow from the request: another `Host` could send it to another server.
    """
    if not name:
        return "a header must have a name"
    if name.lower() in _OF_THE_CONNECTION:
        return f"the header {name} follows from the URL and the body, and cannot be set"
    return None if _HEADER_NAME.fullmatch(name) else "this is not a valid header name"


def key_headers(scheme: str, key: str) -> dict[str, str]:
    """The headers that carry a key; `scheme` is `"bearer"` or a header's name. None for an empty key."""
    if not key:
        return {}
    return {"Authorization": f"Bearer {key}"} if scheme == "bearer" else {scheme: key}
