"""AWS: requests signed with Signature Version 4 or authenticated with a Bedrock API key, and sources of credentials.

`sign` is a pure function of the request, the credentials and the time. `AWSAuth` uses the first of: a bearer key,
credentials given in code, the environment's keys, and botocore's chain (profiles, SSO, roles, containers, instance),
which needs the extra `bedrock`.
Reference: AWS IAM user guide, "Create a signed AWS API request"; Bedrock user guide, "API keys".
"""

from __future__ import annotations

import hmac
import os
import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import import_module
from types import NoneType
from typing import Any, NoReturn, TypeAlias
from urllib.parse import SplitResult, quote, urlsplit

from brainwires_provider.auth.base import ProcessLock, Renewed
from brainwires_provider.auth.hosts import checked
from brainwires_provider.auth.keys import Key, key_headers, resolve_key
from brainwires_provider.errors import ConfigError, ConnectError, ProviderError
from brainwires_provider.types.checked import misfit

__all__ = [
    "BEARER_ENV",
    "AWSAuth",
    "BotocoreChain",
    "Credentials",
    "find_region",
    "region_of",
    "sign",
]

BEARER_ENV = "AWS_BEARER_TOKEN_BEDROCK"
_REGION_ENV = ("AWS_REGION", "AWS_DEFAULT_REGION")
_EXTRA = "pip install 'brainwires-provider[bedrock]'"
_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Headers that a proxy may change, and those that signing itself adds.
_UNSIGNED = frozenset(
    (
        "authorization",
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amz-date",
        "x-amz-security-token",
        "x-amzn-trace-id",
    )
)
_HOSTS = re.compile(r"(?:^|\.)bedrock[a-z-]*\.([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:amazonaws\.com|api\.aws|vpce\.)")
_THEIRS = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
)  # exceptions that botocore does not wrap, from files and programs


class Credentials:
    """An AWS access key and its secret; `session_token` and `expires` (seconds since 1970) for temporary ones.

    The secrets are not in its repr, and it can neither be pickled nor encoded as JSON.
    """

    __slots__ = ("access_key", "expires", "secret_key", "session_token")

    def __init__(
        self,
        access_key: str,
        secret_key: str,
        session_token: str | None = None,
        expires: float | None = None,
    ) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self.session_token = session_token
        self.expires = expires
        for name, given in (
            ("access_key", access_key),
            ("secret_key", secret_key),
            ("session_token", session_token or ""),
        ):
            if not isinstance(given, str):
                raise misfit(f"Credentials.{name}", (str,), given)
        if expires is not None and (isinstance(expires, bool) or not isinstance(expires, (int, float))):
            raise misfit("Credentials.expires", (float, NoneType), expires)

    def __repr__(self) -> str:
        return f"Credentials({self.access_key[:4]}…, expires={self.expires})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("AWS credentials cannot be pickled, since that would store the secret")


Source: TypeAlias = Callable[[], Credentials]
"""A function that returns valid credentials. It is called in a thread, so it may block."""


# -- signing -------------------------------------------------------------------------------------------------


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credentials: Credentials,
    region: str,
    service: str,
    now: float,
) -> dict[str, str]:
    """The headers that sign a request, which must then be sent unchanged: the same URL, headers and body.

    `now` is in seconds since 1970. All of `headers` are signed, except those that a proxy may change.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    added = {"X-Amz-Date": stamp}
    if credentials.session_token:
        added["X-Amz-Security-Token"] = credentials.session_token
    parts = urlsplit(url)
    signed = _signed_headers(headers, added, parts)
    names = ";".join(signed)
    canonical = "\n".join(
        (
            method.upper(),
            _canonical_path(parts.path),
            _canonical_query(parts.query),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            names,
            signed.get("x-amz-content-sha256") or sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for step in scope.split("/"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    added["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added


def _signed_headers(
    headers: Mapping[str, str], added: Mapping[str, str], parts: SplitResult
) -> dict[str, str]:
    """The headers to sign: names in lower case, sorted; values with single spaces."""
    values: dict[str, list[str]] = {}
    own = [(name, value) for name, value in headers.items() if name.lower() not in _UNSIGNED]
    for name, value in (*own, *added.items()):
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    values.setdefault("host", [_host(parts)])
    return {name: ",".join(values[name]) for name in sorted(values)}


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def _canonical_path(path: str) -> str:
    """The path with dot segments resolved, single slashes, and percent-encoded once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if path.endswith("/") and kept else ""
    return quote("/" + "/".join(kept) + end, safe="/~")


def _canonical_query(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&"))
    return "&".join(f"{k}={v}" for k, v in sorted((k, v) for k, _, v in pairs)) if query else ""


# -- regions -------------------------------------------------------------------------------------------------


def find_region(given: str | None, environ: Mapping[str, str]) -> str | None:
    """The given region, or the environment's; None if there is neither. It is not checked here."""
    said = (environ.get(name, "").strip() for name in _REGION_ENV)
    return given or next((region for region in said if region), None)


def region_of(url: str) -> str | None:
    """The region in a Bedrock host, for which requests to it are signed. None for other hosts."""
    found = _HOSTS.search(urlsplit(url).hostname or "")
    return found[1] if found else None


# -- credentials ---------------------------------------------------------------------------------------------


class BotocoreChain:
    """Credentials from botocore's default chain. All methods block, so call them in a thread."""

    def __init__(self, profile: str | None = None) -> None:
        self._profile = profile
        self._lock = ProcessLock()
        self._session: Any = None
        self._found: Any = None

    def __call__(self) -> Credentials:
        """Valid credentials. Raises ConfigError without the extra or credentials, ConnectError if fetching failed."""
        if self._found is None:
            self._found = self._ask(lambda session: session.get_credentials())
        if self._found is None:
            raise ConfigError(
                "no AWS credentials: set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "configure a profile, SSO, or a role (`aws configure`)"
            )
        frozen = self._ask(lambda _: self._found.get_frozen_credentials())
        expiry = getattr(self._found, "_expiry_time", None)  # botocore has no public attribute for it
        expires = None if expiry is None else expiry.timestamp()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires)

    def region(self) -> str | None:
        """The profile's region. Raises ConfigError as a call does."""
        region = self._ask(lambda session: session.get_config_variable("region"))
        return region if isinstance(region, str) and region else None

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            faults, session = import_module("botocore.exceptions"), import_module("botocore.session")
        except ImportError:
            raise ConfigError(
                "AWS profiles, SSO and roles are read by botocore, which is not installed: "
                f"{_EXTRA}; AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, need no extra"
            ) from None
        try:
            with self._lock.here():
                if self._session is None:
                    self._session = session.Session(profile=self._profile)
                return question(self._session)
        except (faults.HTTPClientError, faults.ConnectionError) as error:
            raise ConnectError(f"AWS credentials could not be fetched: {error}") from None
        except (faults.BotoCoreError, faults.ClientError, *_THEIRS) as error:
            raise ConfigError(f"AWS credentials could not be loaded: {error}") from None


class AWSAuth:
    """Authentication of AWS requests. One object serves many requests, threads and event loops.

    `bearer` is a Bedrock API key; `credentials` may be a function, which is called in a thread whenever new
    credentials are needed. With `profile` the environment's keys are not used, as in botocore. `clock` returns seconds
    since 1970. `provider` is the one that errors name.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        service: str = "bedrock",
        bearer: Key | None = None,
        credentials: Credentials | Source | None = None,
        profile: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        provider: str | None = None,
    ) -> None:
        self._region = region
        self._service = service
        self._provider = provider or service
        self._bearer = bearer
        self._given = credentials if isinstance(credentials, Credentials) else None
        self._chain = BotocoreChain(profile)
        source: Source = credentials if callable(credentials) else self._chain
        self._credentials = Renewed(source, lambda known: known.expires, clock=clock)
        self._uses_environment = credentials is None and profile is None
        self._environ = os.environ if environ is None else environ
        self._clock = clock
        self._secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"AWSAuth(service={self._service!r}, region={self._region!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """See `Auth`. Some errors of AWS repeat what was signed."""
        return self._secrets

    @property
    def advice(self) -> str:
        """See `Auth`."""
        if self._key() is not None:
            return f"check the key: api_key= or {BEARER_ENV}"
        return "check the AWS credentials: credentials=, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile"

    def _key(self) -> Key | None:
        """The bearer key, or None."""
        if self._bearer is not None or not self._uses_environment:
            return self._bearer
        return self._environ.get(BEARER_ENV, "").strip() or None

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """The headers to add to a request, which must then be sent to exactly this URL.

        Of the request's own headers only its content type and `x-amz-*` are signed, since proxies change others.
        Raises ConfigError without credentials, a region or the extra, ConnectError if credentials could not be
        fetched.
        """
        bearer = self._key()
        if bearer is not None:
            key = await resolve_key(bearer, self._provider)
            self._secrets = (key,)
            return key_headers("bearer", key)
        credentials = await self.credentials()
        self._secrets = tuple(s for s in (credentials.secret_key, credentials.session_token) if s)
        return sign(
            method,
            url,
            {
                k: v
                for k, v in headers.items()
                if k.lower() == "content-type" or k.lower().startswith("x-amz-")
            },
            body,
            credentials=credentials,
            region=await self.region(url),
            service=self._service,
            now=self._clock(),
        )

    async def region(self, url: str | None = None) -> str:
        """The region: the given one, else the host's, the environment's, or the profile's.

        Raises ConfigError if none is known, or it is not valid.
        """
        region = self._region or (region_of(url) if url else None) or find_region(None, self._environ)
        if region is None:
            import asyncio

            region = await asyncio.to_thread(self._profile_region)
        return checked("region", region)

    def _profile_region(self) -> str:
        fault: ProviderError | None = None
        try:
            region = self._chain.region()
        except ConfigError as error:
            region, fault = None, error
        if region is None:
            reason = f" ({fault})" if fault else ""
            raise ConfigError(f"no AWS region: pass one, or set AWS_REGION{reason}")
        self._region = region
        return region

    async def credentials(self) -> Credentials:
        """Credentials that are valid for some minutes. Raises ConfigError, ConnectError."""
        if self._given is not None:
            return self._given
        known = _from_environment(self._environ) if self._uses_environment else None
        return known or await self._credentials.get()


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
    access, secret, token, older_token = (environ.get(name, "").strip() for name in names)
    if not access:
        return None
    if not secret:
        raise ConfigError("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
    return Credentials(access, secret, token or older_token or None)
