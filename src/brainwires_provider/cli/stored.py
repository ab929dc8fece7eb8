"""What the command stores in the user's data folder: whether it may, and where."""

from __future__ import annotations

import os

from msgspec import Struct

from brainwires_provider.config.load import load_own_config
from brainwires_provider.local.weights.folders import data_folder
from brainwires_provider.providers import Config
from brainwires_provider.types import Message

__all__ = ["SETTING", "Entry", "is_kept", "place"]

SETTING = "BRAINWIRES_LOGS"
_OFF = ("off", "no", "false", "0")


class Entry(Struct, frozen=True):
    """One conversation."""

    id: int
    began: float
    """In seconds since 1970, as `updated`, which is the end of the last turn."""
    updated: float
    model: str
    base_url: str | None
    """The address that was given for it. None: the provider's own."""
    system: str | None
    messages: list[Message]

    @property
    def prompts(self) -> list[str]:
        """What the user has written."""
        return [message.text for message in self.messages if message.role == "user" and message.text]


def is_kept(config: Config) -> bool:
    """Whether conversations, and what is typed at their prompt, are stored. Raises ConfigError.

    BRAINWIRES_LOGS decides, else the configuration file, else the user's own one; without any of them they are.
    """
    word = os.environ.get(SETTING, "").strip().lower()
    if word:
        return word not in _OFF
    given = config.logs
    if given is None and config.source is not None:
        given = load_own_config().logs
    return given is not False


def place(name: str) -> str:
    """The path of a file in the data folder, which is created. Raises OSError."""
    folder = data_folder()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return os.path.join(folder, name)
