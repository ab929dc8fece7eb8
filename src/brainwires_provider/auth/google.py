"""Google Cloud: access tokens, fetched and renewed with google-auth (the extra `vertex`).

google-auth finds credentials (a service account's file, workload identity, the user's own, the metadata server) and
requests tokens; its requests are sent with the standard library, in a thread.
Reference: Google Cloud, "How Application Default Credentials works".
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from os import PathLike, fspath
from typing import Any

from brainwires_provider.auth.base import Renewed
from brainwires_provider.auth.hosts import is_own_host
from brainwires_provider.errors import ConfigError, ConnectError

__all__ = ["GoogleAuth"]

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_EXTRA = "pip install 'brainwires-provider[vertex]'"
_CLOCK = 30.0  # seconds, for one request of google-auth
_EARLY = 225.0


class GoogleAuth:
    """Authentication with Google Cloud tokens. One object serves many requests, threads and event loops.

    `credentials` is the path of a credentials file, or google-auth's own Credentials; without it, the Application
    Default Credentials are used. Tokens are sent to Vertex AI's own hosts only; with `any_host` to every URL, for a
    base URL that was given together with its credentials. `clock` returns seconds since 1970.

    A credentials file contains URLs and, if it is of type `external_account`, names of files that are read and sent to
    fetch a token. Therefore its path must come from a trusted source.
    """

    def __init__(
        self,
        credentials: str | PathLike[str] | Any = None,
        *,
        quota_project: str | None = None,
        any_host: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._given = credentials
        self._quota_project = quota_project
        self._any_host = any_host
        self._found: Any = None
        self._project: str | None = None
        self._tokens: Renewed[tuple[str, float | None]] = Renewed(
            self._fetch, lambda token: token[1], early=_EARLY, clock=clock
        )
        self._secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "GoogleAuth()"

    @property
    def secrets(self) -> tuple[str, ...]:
        """See `Auth`."""
        return self._secrets

    @property
    def advice(self) -> str:
        """See `Auth`."""
        return (
            "check the Google Cloud credentials: credentials=, GOOGLE_APPLICATION_CREDENTIALS, or "
            "`gcloud auth application-default login`"
        )

    async def headers(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """See `Auth`. Only the request's host matters; one that is not Google's raises ConfigError too."""
        if not self._any_host and not is_own_host("google", url):
            raise ConfigError(
                "a Google Cloud token is sent to Vertex AI's own hosts only, and this request goes to another; for a "
                "base URL of your own, pass base_url= and credentials= together"
            )
        token, _ = await self._tokens.get()
        self._secrets = (token,)
        own = {"Authorization": f"Bearer {token}"}
        project = self._quota_project or getattr(self._found, "quota_project_id", None)
        return {**own, "x-goog-user-project": project} if project else own

    def project(self) -> str | None:
        """The project of the credentials, or None. It blocks, so call it in a thread.

        Raises ConfigError if there are no usable credentials.
        """
        self._load()
        return self._project

    # -- in a thread -------------------------------------------------------------------------------------

    def _load(self) -> None:
        if self._found is not None:
            return
        auth, faults = _library()
        try:
            if self._given is None:
                self._found, self._project = auth.default(scopes=_SCOPES, request=_send)
            elif isinstance(self._given, (str, PathLike)):
                self._found = _from_file(fspath(self._given))
                self._project = getattr(self._found, "project_id", None)
            else:
                self._found = self._given
                self._project = getattr(self._given, "project_id", None)
        except faults.DefaultCredentialsError as error:
            raise ConfigError(
                f"no Google Cloud credentials: {_first_line(error)}; run `gcloud auth application-default login`, set "
                "GOOGLE_APPLICATION_CREDENTIALS to a file, or pass api_key="
            ) from None
        except (OSError, ValueError, KeyError, faults.GoogleAuthError) as error:
            raise ConfigError(f"Google Cloud credentials cannot be read: {_first_line(error)}") from None

    def _fetch(self) -> tuple[str, float | None]:
        _, faults = _library()
        self._load()
        try:
            self._found.refresh(_send)
        except faults.TransportError as error:
            raise ConnectError(f"no Google Cloud token could be fetched: {_first_line(error)}") from None
        except (ValueError, faults.GoogleAuthError) as error:
            raise ConfigError(f"Google Cloud gave no token: {_first_line(error)}") from None
        expiry: datetime | None = self._found.expiry  # in UTC, without a time zone
        return self._found.token, None if expiry is None else expiry.replace(tzinfo=UTC).timestamp()


_KINDS = {
    "service_account": ("google.oauth2.service_account", "Credentials.from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "Credentials.from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "Credentials.from_info"),
    "external_account_authorized_user": (
        "google.auth.external_account_authorized_user",
        "Credentials.from_info",
    ),
}


def _from_file(path: str) -> Any:
    """The credentials of a file, by the type that it states. Raises ValueError, OSError, KeyError."""
    with open(path, "rb") as file:
        info = json.loads(file.read())
    kind = info.get("type") if isinstance(info, dict) else None
    if kind not in _KINDS:
        raise ValueError(f"{path} is of type {kind!r}; known are {', '.join(_KINDS)}")
    module, maker = _KINDS[kind]
    make: Any = import_module(module)
    for name in maker.split("."):
        make = getattr(make, name)
    return make(info, scopes=_SCOPES)


def _library() -> tuple[Any, Any]:
    try:
        return import_module("google.auth"), import_module("google.auth.exceptions")
    except ImportError:
        raise ConfigError(
            f"Google Cloud's credentials are read by google-auth, which is not installed: {_EXTRA}; an express-mode "
            "key passed as api_key= needs no extra"
        ) from None


def _first_line(error: Exception) -> str:
    """The first line of an error; google-auth appends the whole response, which may contain secrets."""
    first = error.args[0] if error.args else type(error).__name__
    return str(first).partition("\n")[0][:300]


class _Answer:
    """A response as google-auth expects it."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status, self.headers, self.data = status, headers, data


def _send(
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: Any,
) -> _Answer:
    """A transport for google-auth; it follows no redirect. Raises google-auth's TransportError."""
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    data = body.encode() if isinstance(body, str) else body
    request = Request(url, data, dict(headers or {}), method=method)  # noqa: S310 (google-auth makes the URL)
    try:
        with build_opener(Stay).open(request, timeout=timeout or _CLOCK) as answer:
            return _Answer(answer.status, _lowered(answer.headers), answer.read())
    except HTTPError as refusal:
        with refusal:
            return _Answer(refusal.code, _lowered(refusal.headers), refusal.read())
    except OSError as error:
        _, faults = _library()
        raise faults.TransportError(str(error)) from None


def _lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
