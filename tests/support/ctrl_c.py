"""Ctrl-C in child processes.

A child inherits an ignored SIGINT, which is how `nohup … &` and the background jobs of a script start a test run. So a
child that a test interrupts restores Python's own handler first.
"""

import sys
from collections.abc import Iterable

RESTORE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
_IGNORE = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"


def with_sigint_ignored(command: Iterable[object]) -> list[str]:
    """The command, started by a parent that ignores SIGINT."""
    return [sys.executable, "-c", _IGNORE, *map(str, command)]
