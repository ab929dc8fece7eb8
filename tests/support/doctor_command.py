"""The command `doctor`, run as from a shell, with the planted key looked for in all that it prints."""

from __future__ import annotations

import json
from typing import Any

import typer
from typer.testing import CliRunner

from brainwires_provider.cli.app import _finish
from brainwires_provider.cli.doctor import add_doctor
from doctor_servers import KEY

__all__ = ["Ran"]

app = typer.Typer(pretty_exceptions_enable=False)
add_doctor(app, _finish)


@app.callback()
def _other_commands() -> None:
    """Without it, the only command of an app would have no name."""


class Ran:
    """What one run left behind. `env` is the environment."""

    def __init__(self, *args: str, **env: str) -> None:
        result = CliRunner().invoke(app, ["doctor", *args], env=env, catch_exceptions=False)
        self.status, self.out, self.err = result.exit_code, result.stdout_bytes.decode(), result.stderr
        for secret in (KEY, KEY[:12], *(value for name, value in env.items() if name.endswith("KEY"))):
            assert secret not in self.out + self.err

    @property
    def json(self) -> Any:
        [line] = self.out.splitlines()
        return json.loads(line)
