"""Which proxy a URL goes through: resolved here, by the standard library's rules, never by the HTTP engine.

The engine's own reading of the environment also reads .netrc and adds an Authorization of its own.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from brainwires_provider.errors import ConfigError

__all__ = ["proxy_for"]

_SAME_AS = {"ws": "http", "wss": "https"}


def proxy_for(url: str, proxy: str | Literal["env"] | None) -> str | None:
    """The proxy's URL, or None. Raises ConfigError for one that is neither http nor https."""
    if proxy == "env":
        proxy = _from_environment(url)
    if not proxy:
        return None
    scheme = urlsplit(proxy).scheme.lower()
    if scheme not in ("http", "https"):
        raise ConfigError(
            f"a {scheme or 'nameless'} proxy is set, but only http and https proxies are spoken here; "
            'set proxy="http://…", or proxy=None to go without'
        )
    return proxy


def _from_environment(url: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    scheme = parts.scheme.lower()
    found = proxies.get(scheme) or proxies.get(_SAME_AS.get(scheme, "")) or proxies.get("all")
    if not found or not parts.hostname or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return found if "://" in found else f"http://{found}"
