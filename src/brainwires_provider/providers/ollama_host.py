"""The address of an Ollama server, from any of the forms in which `OLLAMA_HOST` is written.

A host alone, a port alone, both, or a URL; names, IPv4 and IPv6, with or without brackets, with a path or without.
Ollama's own port stands where neither a port nor a scheme says otherwise. The address that a server *listens* on
(0.0.0.0, ::) is no address to send to: it becomes loopback. Text that cannot be read is
returned as it is, for the URL's own check.
Reference: Ollama's FAQ, "How do I configure Ollama server?".
"""

from __future__ import annotations

from ipaddress import AddressValueError, IPv6Address

__all__ = ["host_url"]

_PORT = 11434
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1"}  # noqa: S104 (what is replaced, not what is bound)


def host_url(text: str) -> str:
    """The base URL that `text` means, without a final slash. Raises nothing."""
    text = text.strip().strip("\"'").strip()
    scheme, mark, rest = text.partition("://")
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
    """Host, in brackets where it is IPv6, and port with its colon."""
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
    """The same host; this machine's own in its usual form, by which it is known for it."""
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
