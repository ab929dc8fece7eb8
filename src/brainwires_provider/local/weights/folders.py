"""The folder of this library's own files, and atomic writing.

A file is written under a temporary name and then renamed in one step. A reader finds either the old or the new file,
whenever the writer is killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from typing import Final

__all__ = ["DATA_FOLDER_VARIABLE", "data_folder", "lock", "write_atomically"]

DATA_FOLDER_VARIABLE: Final = "BRAINWIRES_DATA_DIR"

_IN_USE: Final = 1.0  # seconds
_PAUSE: Final = 0.01  # seconds
_FAR: Final = 1 << 62
"""A place of the file that is never read: on Windows, what is locked cannot be."""


def data_folder() -> str:
    """The folder of the user's data for this library: BRAINWIRES_DATA_DIR, else the platform's own.

    Creates nothing.
    """
    if folder := os.environ.get(DATA_FOLDER_VARIABLE):
        return os.path.abspath(os.path.expanduser(folder))
    import platformdirs

    return platformdirs.user_data_dir("brainwires", appauthor=False)


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file at `path` by `data`, readable by this user only (mode 600); its folder must exist.

    Only one process may do this for one path at a time; what a killed one left is deleted. Raises OSError.
    """
    unfinished = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(unfinished)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    _replace(unfinished, path)


def _replace(source: str, target: str) -> None:
    until = time.monotonic() + _IN_USE
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:  # on Windows, while another process reads the old file
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)


def lock(file: int) -> bool:
    """Lock an open file until it is closed; False where another process, or another opener of this one, has it.

    Raises OSError where the file system locks nothing.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, _FAR, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            return False
        raise
    return True
