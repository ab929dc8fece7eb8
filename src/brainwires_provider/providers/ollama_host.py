"""The base URL of an Ollama server, from any of the forms that `OLLAMA_HOST` may have.

A host alone, a port alone, both, or a URL; names, IPv4 and IPv6, with or without brackets, with a path or without.
Without a port and a scheme, Ollama's own port is used. An address that a server *listens* on (0.0.0.0, ::) is not
an address to send to, and is replaced by loopback. Text that cannot be parsed is returned unchanged, for the check of
the URL to report.
Reference: Ollama's FAQ, "How do I configure Ollama server?".
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address

__all__ = ["host_url"]

_PORT = 11434
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1"}  # noqa: S104 (what is replaced, not what is bound)


def host_url(text: str) -> str:
    """The base URL for `text`, without a final slash."""
    text = text.strip().strip("\"'").strip()
    scheme, mark, rest = text.partition("://")
    if text.startswith("//"):
        return text
    if not mark:
        scheme, rest = "http", text
    elif scheme.lower() not in ("http", "https"):
        return text
    authority, slash, path = rest.partition("/")
    user, at, place = authority.rpartition("@")
    host, port = _split(place)
    if not port and not mark:
        port = f":{_PORT}"
    return f"{scheme.lower()}://{user}{at}{host}{port}{slash}{path}".rstrip("/")


def _split(place: str) -> tuple[str, str]:
    """Split into the host, in brackets if it is IPv6, and the port with its colon."""
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        return f"[{_reachable(host)}]" if bracket else place, port
    if _is_ipv6(place):
        return f"[{_reachable(place)}]", ""
    host, colon, port = place.rpartition(":")
    if not colon:
        host, port = place, ""
    return _ANYWHERE.get(host, host), f":{port}" if port else ""


def _reachable(host: str) -> str:
    """The same host, but `::1` for every form of IPv6 loopback, so that it is recognised as this machine."""
    if not _is_ipv6(host):
        return host
    address = IPv6Address(host)
    return "::1" if address.is_unspecified or address.is_loopback else host


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host)
    except AddressValueError:
        return False
    return True
