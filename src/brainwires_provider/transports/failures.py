"""Why no connection came about, for HTTP and WebSockets alike: what may be tried again, and what to do."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from brainwires_provider.errors import ConnectError, RequestTimeout

__all__ = ["late", "origin", "proxy_refused", "proxy_unreachable", "tls_failure"]

_CHECK_PROXY = "check proxy= and the proxy variables of the environment"
_UNKNOWN_ISSUER = frozenset((2, 18, 19, 20, 21, 24, 27))
_WRONG_TIME = frozenset((9, 10))
_WRONG_HOST = frozenset((62, 64))
"""OpenSSL's X509_V_ERR codes. Reference: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/."""
_NO_TLS = frozenset(("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"))


def tls_failure(where: str, error: BaseException) -> ConnectError:
    """The error of a TLS handshake. A certificate that was refused is refused again."""
    reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
    code = getattr(error, "verify_code", None)
    advice = ""
    if code in _UNKNOWN_ISSUER:
        advice = "; for a private authority pass ssl_context="
    elif code in _WRONG_TIME:
        advice = "; the certificate is out of date, or the clock of this machine is wrong"
    elif code in _WRONG_HOST:
        advice = "; the certificate is for another host: check the URL"
    elif reason in _NO_TLS:
        advice = "; the server answered without TLS: check the URL's scheme and port"
    failure = ConnectError(f"TLS with {where} failed ({reason}){advice}")
    failure.retryable = not (isinstance(error, ssl.SSLCertVerificationError) or reason in _NO_TLS)
    return failure


def proxy_refused(proxy: str | None, status: int) -> ConnectError:
    """The error of a proxy that answered instead of connecting, perhaps one that nobody configured."""
    name = "a proxy on the way" if proxy is None else f"the proxy {origin(proxy)}"
    asks = " (it wants a user and a password: http://user:password@host)" if status == 407 else ""
    failure = ConnectError(f"{name} answered {status}{asks}; {_CHECK_PROXY}")
    failure.retryable = status >= 500 or status in (408, 429)
    return failure


def proxy_unreachable(proxy: str, reason: str) -> ConnectError:
    """The error of a connection to the proxy itself."""
    return ConnectError(f"the proxy {origin(proxy)} cannot be reached ({reason}); {_CHECK_PROXY}")


def late(what: str, seconds: float | None) -> RequestTimeout:
    """The error of the connect clock; `what` says what did not come about."""
    return RequestTimeout(
        f"{what} within {seconds} s; is the host reachable? Timeouts.connect sets this clock", clock="connect"
    )


def origin(url: str) -> str:
    """Scheme and host: a path may name a tenant, a query hold a key, a proxy's URL a password."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "the URL"
