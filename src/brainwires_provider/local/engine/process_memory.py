"""The memory of another process, as the operating system reports it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

__all__ = ["ProcessMemory", "process_memory"]

_TIMEOUT = 5.0  # seconds for `ps`, which takes about 0.01


class ProcessMemory(Struct, frozen=True):
    """In bytes; None where the system does not report it.

    `rss` (resident set size) counts every page in memory. `pss` (proportional set size) divides pages shared by
    several processes, such as those of a file that both map, by the number of processes, so that values can be summed.
    """

    rss: int | None = None
    pss: int | None = None


def process_memory(pid: int) -> ProcessMemory:
    """The memory of the process `pid`; both values are None for a process that has ended."""
    if sys.platform == "linux":
        return _from_proc(pid)
    if sys.platform == "darwin":
        return ProcessMemory(_from_ps(pid))
    return ProcessMemory()


def _from_proc(pid: int) -> ProcessMemory:
    # Older kernels have no rollup, and some refuse access to it. Neither file reports the memory of a zombie.
    for name, rss, pss in (("smaps_rollup", "Rss", "Pss"), ("status", "VmRSS", "")):
        with contextlib.suppress(OSError):
            fields = _kilobytes(Path(f"/proc/{pid}/{name}").read_text())
            if rss in fields:
                return ProcessMemory(fields[rss], fields.get(pss))
    return ProcessMemory()


def _kilobytes(text: str) -> dict[str, int]:
    """The values of lines like `Name:  123 kB`, in bytes."""
    fields = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            fields[name] = int(words[0]) * 1024
    return fields


def _from_ps(pid: int) -> int | None:
    command = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False)  # noqa: S603 - a number
    except (OSError, subprocess.TimeoutExpired):
        return None
    kilobytes = done.stdout.strip()
    return int(kilobytes) * 1024 if kilobytes.isdigit() else None
