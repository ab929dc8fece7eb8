"""How much memory another process holds, by the word of the operating system."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

__all__ = ["ProcessMemory", "process_memory"]

_CLOCK = 5.0  # seconds for `ps`, which takes a hundredth


class ProcessMemory(Struct, frozen=True):
    """In bytes; None where the system does not say.

    `rss` counts every page that stands in memory; `pss` divides those that several processes have, such as the
    pages of a file that two of them map, by how many have them, so that sums over processes are right.
    """

    rss: int | None = None
    pss: int | None = None


def process_memory(pid: int) -> ProcessMemory:
    """Of the process `pid`; nothing is known of one that has ended."""
    if sys.platform == "linux":
        return _from_proc(pid)
    if sys.platform == "darwin":
        return ProcessMemory(_from_ps(pid))
    return ProcessMemory()


def _from_proc(pid: int) -> ProcessMemory:
    # An older kernel has no rollup, and some that have one refuse it. Neither shows the memory of a zombie.
    for name, rss, pss in (("smaps_rollup", "Rss", "Pss"), ("status", "VmRSS", "")):
        with contextlib.suppress(OSError):
            fields = _kilobytes(Path(f"/proc/{pid}/{name}").read_text())
            if rss in fields:
                return ProcessMemory(fields[rss], fields.get(pss))
    return ProcessMemory()


def _kilobytes(text: str) -> dict[str, int]:
    """The lines `Name:  123 kB`, in bytes."""
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
        done = subprocess.run(command, capture_output=True, timeout=_CLOCK, check=False)  # noqa: S603 - a number
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.strip()
    return int(said) * 1024 if said.isdigit() else None
