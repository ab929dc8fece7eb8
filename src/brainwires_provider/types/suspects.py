"""Recognises secrets: names of fields that hold secrets, and prefixes of services' keys.

Configuration files are shown, copied and committed, so they must not contain keys, and neither must what is shown of
headers, queries and URLs. No check finds every secret; these find the usual ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = [
    "Guarded",
    "is_secret_header",
    "is_secret_name",
    "looks_like_key",
    "may_be_key",
    "query_fields",
    "secret_fields",
    "url_holds_secret",
]

_KEY = re.compile(
    r"(?<![A-Za-z0-9])("
    r"(sk|xai|pplx|nvapi|csk|glpat)-[\w-]{16}"
    r"|(sk|pk|rk|gsk|hf|r8|fw|tgp_v1|gh[a-z]|github_pat|bw_dev)_\w{16}"
    r"|xox[a-z]-[\w-]{16}|AIza[\w-]{16}|ya29\.[\w-]{16}|ABSK\w{16}|eyJ[\w-]{16}|(bearer|basic)\s+\S{6})",
    re.IGNORECASE,
)
_RUN = re.compile(r"[A-Za-z0-9+]{20,}")
_NAMES = frozenset(
    (
        "accesskey",
        "accesstoken",
        "apikey",
        "apitoken",
        "auth",
        "authorization",
        "authorizationtoken",
        "authtoken",
        "bearer",
        "bearertoken",
        "clientsecret",
        "cookie",
        "password",
        "privatekey",
        "secret",
        "secretaccesskey",
        "secretkey",
        "sessiontoken",
        "token",
        "xapikey",
        "xgoogapikey",
    )
)
_HEADER_WORDS = frozenset(
    (
        "apikey",
        "auth",
        "authorization",
        "bearer",
        "cookie",
        "credential",
        "credentials",
        "jwt",
        "key",
        "password",
        "secret",
        "session",
        "sig",
        "signature",
        "token",
    )
)


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret, in any table."""
    return re.sub(r"[\s_-]", "", name).lower() in _NAMES


def is_secret_header(name: str) -> bool:
    """Whether a header or a query parameter of this name may hold a secret."""
    return any(word in _HEADER_WORDS for word in re.split(r"[\s_-]", name.lower())) or is_secret_name(name)


def looks_like_key(text: str) -> bool:
    """Whether a text contains a known prefix of a service's keys."""
    return _KEY.search(text) is not None


def may_be_key(text: str) -> bool:
    """Whether a text that should be a name may be a key: a known prefix, or a long mix of letters and digits."""
    return looks_like_key(text) or any(
        any(c.isdigit() for c in run) and any(c.islower() for c in run) for run in _RUN.findall(text)
    )


def secret_fields(fields: Mapping[str, Any] | Iterable[tuple[str, Any]] | None) -> Iterator[tuple[str, str]]:
    """The headers, or parameters of a query, that hold a secret by their name or by their value."""
    pairs: Any = fields.items() if isinstance(fields, Mapping) else fields or ()
    for name, given in pairs:
        for value in (
            (given,) if isinstance(given, str) else given if isinstance(given, (list, tuple)) else ()
        ):
            if isinstance(value, str) and value and (is_secret_header(name) or looks_like_key(value)):
                yield name, value


def query_fields(url: str | None) -> list[tuple[str, str]]:
    """The parameters of a URL's query, decoded and as they are written."""
    query = (url or "").partition("?")[2].partition("#")[0]
    written = [
        (unquote(name), value) for name, _, value in (part.partition("=") for part in query.split("&"))
    ]
    return [*parse_qsl(query), *written]


class Guarded:
    """A mixin for Structs that contain secrets: no field shows unless it is listed, and they cannot be pickled."""

    __slots__ = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields to show, in place of msgspec's, which are all."""
        return []

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"
        )

    def __reduce__(self) -> Any:
        self._refuse_pickling("it")

    def _refuse_pickling(self, field: str) -> NoReturn:
        """Raises TypeError: a field contains a secret."""
        raise TypeError(
            f"{type(self).__name__} cannot be pickled: {field} contains a secret, which would be stored; pass a "
            'reference to it, such as EnvKey("NAME"), as api_key or as the value of a header of the provider'
        )


def url_holds_secret(url: str) -> bool:
    """Whether a URL contains a user name, a password, or a query parameter that may hold a key.

    Raises ValueError if it is not a URL.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    _ = parts.port
    return "@" in parts.netloc or any(is_secret_header(name) for name, _ in parse_qsl(parts.query, True))
