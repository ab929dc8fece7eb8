"""Removes secrets from what is shown, since some services repeat a request's key in their answers.

A secret is recognised whole, cut (messages are shortened before it is known what is secret), escaped as in JSON, HTML
or Python, percent-encoded, and as part of a base64 text.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from itertools import takewhile
from string import ascii_letters, digits
from typing import Any, NamedTuple
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.auth.keys import Key
from brainwires_provider.errors import APIError, ProtocolError, ProviderError, StreamInterrupted
from brainwires_provider.types.suspects import secret_fields

__all__ = [
    "REDACTED",
    "conceal",
    "field_secrets",
    "header_secrets",
    "redact",
    "redact_headers",
]

REDACTED = "[redacted]"

_SHORTEST = 4  # characters: what is shorter is no secret, and occurs in every text
_PREFIX = 8  # characters of a secret that is cut, or bytes of one in base64, by which it is recognised
_BASE64 = frozenset(ascii_letters + digits + "+/-_=")
_WORD = re.compile(r"[^\s\"'<>]+")
_ENCODINGS = 3  # percent-encodings within each other


class _Forms(NamedTuple):
    """How a secret may occur in a text."""

    whole: tuple[str, ...]
    """As it is, and escaped."""
    base64: tuple[str, ...]


def header_secrets(given: Mapping[str, Key], resolved: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values of a provider's headers: those from callables, and those that are secret by name or value."""
    from_callables = [resolved[name] for name, value in given.items() if callable(value)]
    return _with_tokens([*from_callables, *(value for _, value in secret_fields(resolved))])


def field_secrets(*fields: Mapping[str, Any] | Iterable[tuple[str, Any]] | None) -> tuple[str, ...]:
    """The secret values of headers and queries."""
    return _with_tokens([value for each in fields for _, value in secret_fields(each)])


def _with_tokens(values: list[str]) -> tuple[str, ...]:
    """Also the tokens after a scheme (`Bearer …`) alone, and a password in base64 (`Basic …`) as it is."""
    found = list(values)
    for value in values:
        scheme, _, token = value.rpartition(" ")
        if scheme:
            found.append(token)
        if scheme.lower() == "basic":
            with suppress(ValueError):  # it is no base64
                decoded = b64decode(token + "==").decode("utf-8", "replace")
                found += [decoded, decoded.partition(":")[2]]
    return tuple(dict.fromkeys(found))


def redact(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same value without the secrets: a text, or one with texts in it."""
    if isinstance(value, str):
        known = [_forms(secret) for secret in secrets if len(secret) >= _SHORTEST]
        return _without(value, known) if known else value
    if isinstance(value, dict):
        return {redact(k, secrets): redact(v, secrets) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact(item, secrets) for item in value)
    if isinstance(value, Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        cleaned = {name: (field, redact(field, secrets)) for name, field in fields}
        return replace(value, **{name: new for name, (old, new) in cleaned.items() if new != old})
    return value


def redact_headers(headers: Mapping[str, str], secrets: tuple[str, ...]) -> Mapping[str, str]:
    """The same headers if they hold no secret; checked at once, for every response has some."""
    shown = "\n".join(headers.values())
    if "%" not in shown and not any(map(shown.__contains__, _signs(secrets))):
        return headers
    return headers if redact(shown, secrets) == shown else redact(dict(headers), secrets)


def conceal(error: ProviderError, secrets: tuple[str, ...]) -> None:
    """Remove secrets from all that an error shows, and from the errors before it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while isinstance(link, ProviderError) and id(link) not in seen:
        seen.add(id(link))
        link.message = redact(link.message, secrets)
        link.args = (link.message,)
        link.request_id = redact(link.request_id, secrets)
        link.attempts = redact(link.attempts, secrets)
        if isinstance(link, APIError):
            link.body = redact(link.body, secrets)
            link.code, link.type = redact(link.code, secrets), redact(link.type, secrets)
        if isinstance(link, (APIError, ProtocolError, StreamInterrupted)):
            link.partial = redact(link.partial, secrets)
        if link.__suppress_context__:
            link.__context__ = None  # the HTTP library's errors hold the request's headers
        link = link.__cause__ or link.__context__


# -- one secret in one text ----------------------------------------------------------------------------------


@lru_cache(64)
def _signs(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """A text that holds one of the secrets, and nothing percent-encoded, holds one of these."""
    signs: list[str] = []
    for forms in map(_forms, (secret for secret in secrets if len(secret) >= _SHORTEST)):
        signs += [form[:_PREFIX] for form in forms.whole] + list(forms.base64)
    return tuple(dict.fromkeys(signs))


@lru_cache(64)
def _forms(secret: str) -> _Forms:
    from html import escape

    whole = (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], escape(secret))
    data = secret.encode("utf-8", "replace")
    base64: list[str] = []
    for offset in range(3) if len(data) >= _PREFIX else ():
        # The characters that depend on these bytes only, whatever is encoded before and after them.
        first, last = (offset * 8 + 5) // 6, (offset + _PREFIX) * 8 // 6
        padded = b"\0" * offset + data
        base64 += [b64encode(padded)[first:last].decode(), urlsafe_b64encode(padded)[first:last].decode()]
    return _Forms(tuple(dict.fromkeys(whole)), tuple(dict.fromkeys(base64)))


def _without(text: str, known: list[_Forms], encodings: int = _ENCODINGS) -> str:
    """The text without secrets in any form: first whole, for another may begin alike."""
    for forms in known:
        for form in forms.whole:
            text = text.replace(form, REDACTED)
    for forms in known:
        secret = forms.whole[0]
        if len(secret) > _PREFIX:
            text = _replaced(text, secret[:_PREFIX], partial(_repeated, secret))
        for part in forms.base64:
            text = _replaced(text, part, _run)
    if "%" in text and encodings:
        text = _WORD.sub(lambda word: _decoded(word[0], known, encodings), text)
    return text


def _decoded(word: str, known: list[_Forms], encodings: int) -> str:
    """A word that is percent-encoded: decoded and without the secrets if it holds one, else unchanged."""
    decoded = unquote(word) if "%" in word else word
    cleaned = decoded if decoded == word else _without(decoded, known, encodings - 1)
    return word if cleaned == decoded else cleaned


def _replaced(text: str, part: str, extent: Callable[[int, str], tuple[int, int]]) -> str:
    """The text with every place that holds `part` redacted, as far as `extent` says for its index."""
    pieces, done = [], 0
    while (at := text.find(part, done)) >= 0:
        start, end = extent(at, text)
        pieces += [text[done : max(start, done)], REDACTED]
        done = end
    return "".join((*pieces, text[done:])) if pieces else text


def _repeated(secret: str, at: int, text: str) -> tuple[int, int]:
    """The part of the text that repeats the beginning of a secret."""
    pairs = zip(text[at : at + len(secret)], secret, strict=False)
    return at, at + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _run(at: int, text: str) -> tuple[int, int]:
    """The whole base64 text around an index."""
    start = end = at
    while start and text[start - 1] in _BASE64:
        start -= 1
    while end < len(text) and text[end] in _BASE64:
        end += 1
    return start, end
