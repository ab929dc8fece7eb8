"""Records of the configuration files that the user trusts, each with its path and its content.

A record is a small file in the user's data folder. Its name is a digest of the configuration file's absolute path and
content, so that a file that is changed, moved or copied is no longer trusted; it holds the path. The caller passes the
bytes that it is about to parse, so that nothing can change between the check and the use.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from hashlib import sha256

from brainwires_provider.errors import ConfigError

__all__ = ["forget", "is_trusted", "remember", "whole_path"]

_LARGEST_PATH = 65_536  # bytes


def whole_path(path: str) -> str:
    """The absolute path by which a file is recorded.

    Symbolic links in its folder are resolved, since relative paths in the file start from that folder.
    """
    folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    return os.path.join(os.path.realpath(folder), name)


def is_trusted(path: str, content: bytes) -> bool:
    """Whether the user has trusted exactly this content at this path."""
    folder = _folder()
    if folder is None:
        return False
    try:
        with open(_record(folder, path, content), "rb", opener=_open_itself) as file:
            status = os.fstat(file.fileno())
            held = file.read(_LARGEST_PATH)
    except OSError:
        return False
    is_users = os.name != "posix" or not status.st_mode & 0o022  # nobody else can have written it
    return stat.S_ISREG(status.st_mode) and is_users and held == os.fsencode(whole_path(path))


def remember(path: str, content: bytes) -> str:
    """Trust this content at this path, instead of an earlier one; returns its SHA-256.

    Raises ConfigError if the record cannot be written.
    """
    from brainwires_provider.local.weights.folders import write_atomically

    folder = _folder()
    if folder is None:
        raise ConfigError(
            "your data folder has no absolute path: check HOME, XDG_DATA_HOME and BRAINWIRES_DATA_DIR"
        )
    record = _record(folder, path, content)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        write_atomically(record, os.fsencode(whole_path(path)))
    except OSError as error:
        raise ConfigError(f"{record}: cannot be written: {error.strerror}") from None
    forget(path, but=record)
    return sha256(content).hexdigest()


def forget(path: str, *, but: str | None = None) -> bool:
    """Remove the records of a path, except the record `but`; returns whether there was one."""
    folder, place = _folder(), os.fsencode(whole_path(path))
    there = False
    for name in _names(folder):
        record = os.path.join(folder or "", name)
        if record == but:
            continue
        with suppress(OSError):
            with open(record, "rb") as file:
                is_of_place = file.read(_LARGEST_PATH) == place
            if is_of_place:
                os.unlink(record)
                there = True
    return there


def _folder() -> str | None:
    """The folder of the records. None if it would be relative to the current folder, which may be anybody's."""
    from brainwires_provider.local.weights.folders import DATA_FOLDER_VARIABLE, data_folder

    given = os.path.expanduser(os.environ.get(DATA_FOLDER_VARIABLE, ""))
    folder = data_folder()
    if not os.path.isabs(given or folder):
        return None
    return os.path.join(folder, "trusted")


def _open_itself(path: str, flags: int) -> int:
    """Open a file, but not through a symbolic link."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _names(folder: str | None) -> list[str]:
    try:
        return [] if folder is None else os.listdir(folder)
    except OSError:
        return []


def _record(folder: str, path: str, content: bytes) -> str:
    digest = sha256(os.fsencode(whole_path(path)) + b"\0" + sha256(content).digest())
    return os.path.join(folder, digest.hexdigest())
