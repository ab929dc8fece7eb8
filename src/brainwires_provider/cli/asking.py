"""What `chat` and `prepare` are told on the command line, as a client and its arguments."""

from __future__ import annotations

import os
from typing import Literal

from msgspec import Struct

from brainwires_provider.client import AsyncClient
from brainwires_provider.config import load_config
from brainwires_provider.errors import ConfigError
from brainwires_provider.protocols.base.decoder import well_formed
from brainwires_provider.types import ChatParams

__all__ = ["Asking"]


class Asking(Struct, frozen=True):
    """The options of one question, over what a set-up file says.

    `model` None is the set-up's own, or the local one; `temperature` "unset" is the set-up's, or 0 without one, and
    None sends none. `api_key_env` names an environment variable: a key is never typed.
    """

    model: str | None = None
    system: str | None = None
    temperature: float | Literal["unset"] | None = "unset"
    max_tokens: int | None = None
    base_url: str | None = None
    api_key_env: str | None = None

    def client(self) -> AsyncClient:
        """Raises ConfigError: an unknown provider, or no key where one was said to be."""
        setup = load_config()
        model = self.model or (None if setup.model else "local:")
        return AsyncClient(model, api_key=self._key(), base_url=self.base_url, config=setup)

    @property
    def name(self) -> str:
        """The model by the name that a person knows it by."""
        return self.model or load_config().model or "local:"

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            # Not a word of what was given: it may be the key itself, given in the wrong place.
            raise ConfigError(
                "--api-key-env takes the name of an environment variable that holds the key; "
                "there is none by the name given, or it is empty"
            )
        return key

    def args(self) -> ChatParams:
        """Only what was set."""
        args: ChatParams = {}
        if self.system is not None:
            args["system"] = well_formed(self.system)
        if self.temperature == "unset":
            if load_config().source is None:
                args["temperature"] = 0.0
        elif self.temperature is not None:
            args["temperature"] = self.temperature
        if self.max_tokens is not None:
            args["max_tokens"] = self.max_tokens
        return args
