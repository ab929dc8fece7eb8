"""Which proxy a URL goes through: resolved here, never by the HTTP engine.

The variables are those that the standard library reads; `NO_PROXY` may also have networks, ports and IPv6 addresses.
The engine's own reading of the environment also reads .netrc and adds an Authorization of its own. A proxy of the
environment is never used for this machine: a prompt and its key for a local server would leave it.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

from brainwires_provider.errors import ConfigError

__all__ = ["proxy_for"]

_SAME_AS = {"ws": "http", "wss": "https"}
_PORTS = {"http": 80, "ws": 80}
_IN_CODE = "proxy="
_SYSTEM = "the system's settings"


def proxy_for(url: str, proxy: str | Literal["env"] | None) -> str | None:
    """The proxy's URL, or None. Raises ConfigError, with the source, for one that is no http or https URL."""
    source = _IN_CODE
    if proxy == "env":
        proxy, source = _from_environment(url)
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    _check(proxy, source)
    return proxy


def _check(proxy: str, source: str) -> None:
    try:
        parts = urlsplit(proxy)
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host = "", None
    if not host or re.search(r"[\x00-\x20\x7f]", proxy):
        raise ConfigError(
            f"the proxy's URL in {source} has no host or no valid port; set it to http://host:port (with special "
            "characters of a password as %XX), or pass proxy=None to go without"
        )
    if scheme not in ("http", "https"):
        raise ConfigError(
            f"{source} has a {scheme} proxy, but only http and https proxies are supported; "
            'set proxy="http://…", or proxy=None to go without'
        )


def _from_environment(url: str) -> tuple[str | None, str]:
    """The proxy, and what names it."""
    from urllib.request import getproxies, getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), (parts.hostname or "").rstrip(".")
    address = _address(host)
    if not host or _is_this_machine(host, address):
        return None, ""
    variables = getproxies_environment()
    proxies = variables or getproxies()
    kind = next((k for k in (scheme, _SAME_AS.get(scheme, ""), "all") if proxies.get(k)), None)
    if kind is None:
        return None, ""
    port = parts.port or _PORTS.get(scheme, 443)
    if not variables:
        return (None if proxy_bypass(f"{host}:{port}") else proxies[kind]), _SYSTEM
    if any(_covers(entry, host, port, address) for entry in re.split(r"[,\s]+", variables.get("no", ""))):
        return None, ""
    names = [name for name in os.environ if name.lower() == f"{kind}_proxy" and os.environ[name]]
    return proxies[kind], min(names, key=str.isupper)  # the one in lower case goes first, as in the library


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, in every form that a resolver takes for one (`127.1`, `::ffff:127.0.0.1`)."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return IPv4Address(socket.inet_aton(host))
        except (OSError, UnicodeError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_this_machine(host: str, address: IPv4Address | IPv6Address | None) -> bool:
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _covers(entry: str, host: str, port: int, address: IPv4Address | IPv6Address | None) -> bool:
    """Whether an entry of NO_PROXY is for this host: `*`, a name's end, an address, a network; maybe with a port."""
    name = entry.lower()
    if name == "*":
        return True
    if name.startswith("["):
        name, _, wanted = name[1:].partition("]")
        wanted = wanted.removeprefix(":")
    elif name.count(":") == 1:
        name, _, wanted = name.partition(":")
    else:
        wanted = ""
    if wanted and wanted != str(port):
        return False
    if address is not None:
        try:
            return address in ip_network(name, strict=False)
        except ValueError:
            return False
    name = name.lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
