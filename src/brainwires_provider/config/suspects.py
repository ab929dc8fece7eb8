"""Recognises secrets in a configuration file: names of fields that hold secrets, and prefixes of services' keys.

Files are shown, copied and committed, so they must not contain keys. No check finds every secret; these find the usual
mistakes: a key in place of its reference, or as the name in a reference.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

__all__ = ["is_secret_header", "is_secret_name", "looks_like_key", "may_be_key", "url_holds_secret"]

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


def url_holds_secret(url: str) -> bool:
    """Whether a URL contains a user name, a password, or a query parameter that may hold a key.

    Raises ValueError if it is not a URL.
    """
    parts = urlsplit(url if "//" in url else f"//{url}")
    _ = parts.port
    return "@" in parts.netloc or any(is_secret_header(name) for name, _ in parse_qsl(parts.query, True))
