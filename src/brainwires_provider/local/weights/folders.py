"""Where this library keeps its own files on this machine, and how it writes them.

A file is written whole beside its place and then put there in one step, so whoever reads it finds the old one or
the new one, never half of one, at whatever moment the writer is killed.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Final

__all__ = ["DATA_FOLDER_VARIABLE", "data_folder", "write_whole"]

DATA_FOLDER_VARIABLE: Final = "BRAINWIRES_DATA_DIR"

_IN_USE: Final = 1.0  # seconds
_PAUSE: Final = 0.01  # seconds


def data_folder() -> str:
    """The folder of the user's data for this library: BRAINWIRES_DATA_DIR, else the platform's own.

    Nothing is created.
    """
    if folder := os.environ.get(DATA_FOLDER_VARIABLE):
        return os.path.abspath(os.path.expanduser(folder))
    import platformdirs

    return platformdirs.user_data_dir("brainwires", appauthor=False)


def write_whole(path: str, data: bytes) -> None:
    """Put `data` at `path`, for this user alone (mode 600); its folder must exist.

    Only one writer at a time may do this for one path: what a killed one left behind is thrown away. Raises OSError.
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
        except PermissionError:  # Windows, while somebody reads the old file
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE)
