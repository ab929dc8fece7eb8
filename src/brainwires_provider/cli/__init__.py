"""The command `brainwires`. Its own dependencies are the extra `cli`, and are imported only when it runs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from brainwires_provider.cli.status import INTERRUPTED

__all__ = ["main"]

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line. Exits with 0, 1 (it failed), 2 (it was misused) or 130 (Ctrl-C).

    An ignored SIGINT stays ignored, as is usual for a command: `nohup brainwires … &` runs to its end.
    """
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        print(
            f"brainwires: the command needs {' and '.join(missing)}, which come with an extra: "
            'pip install "brainwires-provider[cli]"',
            file=sys.stderr,
        )
        raise SystemExit(2)
    try:
        from brainwires_provider.cli.app import app
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    app(prog_name="brainwires")
