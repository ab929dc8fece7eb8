"""Removes secrets from what is stored of conversations: the log, and the history of the prompt.

A secret is the value of an environment variable that is named as one, a key of the configuration, and what looks like
a key wherever it is from: it may be typed, read from a file, or be in an answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.redaction import REDACTED, redact
from brainwires_provider.types.suspects import is_secret_name, looks_like_key

__all__ = ["Scrubber"]

_SHORTEST = 8
_SECRET_WORDS = frozenset(("key", "apikey", "token", "secret", "password", "passwd", "pat", "jwt"))
_TOKEN = re.compile(r"[\w.~+/-]{16,}")
_SCHEME = re.compile(r"\b((?:bearer|basic)\s+)(?=[^\s\"']*\d)[\w.~+/-]{12,}=*", re.IGNORECASE)
_FIELD = re.compile(r"([\w-]+)(\"?'?\s*[=:]\s*\"?'?)(?=[^\s\"',;]*\d)([^\s\"',;]{8,})")
_USER = re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)")


class Scrubber:
    """Removes these secrets, those of the environment, and what looks like a key."""

    def __init__(self, secrets: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> None:
        named = (value for name, value in (environ or os.environ).items() if _is_secret_variable(name))
        known = dict.fromkeys(each.strip() for each in (*secrets, *named))
        self._secrets = tuple(each for each in known if len(each) >= _SHORTEST)

    def clean(self, value: Any) -> Any:
        """The same value without secrets: a text, bytes, or a message or a list with such in it."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return (
                REDACTED.encode() if self._text(text := value.decode("ascii", "replace")) != text else value
            )
        if isinstance(value, dict):
            return {self.clean(name): self.clean(each) for name, each in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.clean(each) for each in value)
        if isinstance(value, Struct):
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            new = {name: self.clean(each) for name, each in fields.items()}
            changed = {name: each for name, each in new.items() if each != fields[name]}
            return replace(value, **changed) if changed else value
        return value

    def _text(self, text: str) -> str:
        text = redact(text, self._secrets)
        text = _TOKEN.sub(lambda found: REDACTED if looks_like_key(found[0]) else found[0], text)
        text = _SCHEME.sub(rf"\1{REDACTED}", text)
        text = _USER.sub(rf"\1{REDACTED}", text)
        return _FIELD.sub(_without_value, text)


def _without_value(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{REDACTED}" if is_secret_name(found[1]) else found[0]


def _is_secret_variable(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(re.split(r"[_-]", name.lower()))
