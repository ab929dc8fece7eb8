"""One file of the Hugging Face hub: what the hub says of it, and bringing it here; the only user of `huggingface_hub`.

Every failure is translated here into one of our errors, written without a word of the original: its URLs may be
signed, and its advice is for another program.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from brainwires_provider.errors import (
    APIError,
    AuthenticationError,
    ConfigError,
    ConnectError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    ServerError,
    StreamInterrupted,
    TransportError,
)

__all__ = ["Bytes", "Hub", "HubFile", "Remote"]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NO_ROOM: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

Bytes = Callable[[int, int | None], object]  # how many are here, and of how many


class HubFile(Struct, frozen=True, gc=False):
    """Which file is meant. `repo` is OWNER/NAME."""

    repo: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.revision}/{self.file}"


class Remote(Struct, frozen=True, gc=False):
    """What the hub says of a file. `sha256` is None for one that it keeps in git itself, `size` is in bytes."""

    commit: str
    sha256: str | None
    size: int | None


class Hub:
    """The hub at `endpoint` (default: HF_ENDPOINT, or the public one), and the folder that files go to.

    `folder` None is the hub's own cache. `timeout`, in seconds, bounds each wait for the first answer. Raises
    ConfigError when it is made: a bad argument, or no `hub` extra.
    """

    def __init__(
        self, endpoint: str | None, token: str | None, timeout: float, folder: str | PathLike[str] | None
    ) -> None:
        try:
            import huggingface_hub
            from huggingface_hub import constants
        except ImportError:
            raise ConfigError(
                'pulling from the hub needs the `hub` extra; run `pip install "brainwires-provider[hub]"`'
            ) from None
        if not timeout > 0:
            raise ConfigError(f"timeout is {timeout!r}; it must be above zero")
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ConfigError(
                "the hub's token is empty, or holds a space, a line end or a strange character; copy it anew"
            )
        self._package = huggingface_hub
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        _check_endpoint(self._endpoint)
        # A token from the environment belongs to the hub of the environment
        self._token: str | bool | None = False if endpoint is not None and token is None else token
        self._timeout = timeout
        self._folder = None if folder is None else os.path.abspath(os.path.expanduser(folder))
        self._cache: str = constants.HF_HUB_CACHE

    def here(self, wanted: HubFile) -> str | None:
        """Where the file lies, if one of that name is here already; what it holds is not looked at."""
        if self._folder is not None:
            path = os.path.join(self._folder, *wanted.file.split("/"))
            return path if os.path.isfile(path) else None
        with self._translated(wanted):
            found = self._package.try_to_load_from_cache(
                wanted.repo, wanted.file, cache_dir=self._cache, revision=wanted.revision
            )
        return found if isinstance(found, str) else None

    def ask(self, wanted: HubFile) -> Remote:
        """One request, without a second try."""
        with self._translated(wanted):
            said = self._package.get_hf_file_metadata(
                self._package.hf_hub_url(
                    wanted.repo, wanted.file, revision=wanted.revision, endpoint=self._endpoint
                ),
                token=self._token,
                timeout=self._timeout,
                library_name="brainwires-provider",
                endpoint=self._endpoint,
            )
        if said.commit_hash is None:
            raise _no_hub(self._endpoint)
        sha256 = said.etag if said.etag is not None and _DIGEST.fullmatch(said.etag) else None
        return Remote(said.commit_hash, sha256, said.size)

    def check_room(self, wanted: HubFile, size: int) -> None:
        """Raises ConfigError when the disk has not that many bytes left."""
        place = self._folder or self._cache
        while not os.path.exists(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        free = shutil.disk_usage(place).free
        if free < size:
            raise _no_room(f"{wanted} has {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free")

    def download(self, wanted: HubFile, force: bool, on_bytes: Bytes) -> str:
        """The path of the file, fetched if it is not here, or with `force`. What `on_bytes` raises comes out."""
        bar = _bar(on_bytes)
        tqdm_class: Any = bar  # it takes what behaves like tqdm's, and says otherwise
        with self._translated(wanted, bar):
            path = self._package.hf_hub_download(
                wanted.repo,
                wanted.file,
                revision=wanted.revision,
                cache_dir=self._cache,
                local_dir=self._folder,
                force_download=force,
                etag_timeout=self._timeout,
                token=self._token,
                endpoint=self._endpoint,
                library_name="brainwires-provider",
                tqdm_class=tqdm_class,
            )
        return str(path)

    @contextmanager
    def _translated(self, wanted: HubFile, bar: type[_Bar] | None = None) -> Iterator[None]:
        import httpx2
        from huggingface_hub.errors import XetDownloadError

        try:
            with _quiet():
                yield
        except Exception as error:
            if bar is not None and bar.raised is not None:
                raise bar.raised from None
            if not isinstance(
                error, httpx2.HTTPError | OSError | ValueError | RuntimeError | XetDownloadError
            ):
                raise
            raise _Failure(self._endpoint, wanted, bar is not None).translate(error) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without telemetry, as HF_HUB_DISABLE_TELEMETRY=1 would have it.

    Else it asks the hub of HF_ENDPOINT, whatever `endpoint` was given, for a list of coding agents, and tells the hub
    which of them runs this process.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


class _Bar:
    """What huggingface_hub calls of tqdm's bar; it draws nothing.

    That it has `update_transfer` makes a download from the hub's Xet store use one bar instead of two.
    """

    on_bytes: Bytes
    raised: BaseException | None = None  # by the caller: it is theirs, whatever passes it on

    def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
        self.n = initial
        self.total = total
        self.update(0)

    def update(self, count: float | None = 1) -> None:
        self.n += int(count or 0)  # below zero when a server starts the file over
        kind = type(self)
        try:
            kind.on_bytes(self.n, self.total)
        except BaseException as error:
            kind.raised = error
            raise

    def update_transfer(self, count: float) -> None:
        """Bytes on the network, of which deduplication makes fewer than the file has."""

    def set_postfix_str(self, *_: Any, **__: Any) -> None:
        """The speed, as text."""

    def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
        """The network's speed, as text."""

    def refresh(self, *_: Any, **__: Any) -> None:
        """Draw it."""

    def close(self) -> None:
        """It has ended."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bar(on_bytes: Bytes) -> type[_Bar]:
    """A class for one download: huggingface_hub makes the bar itself."""
    return type("Bar", (_Bar,), {"on_bytes": staticmethod(on_bytes)})


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not host or parts.scheme not in ("https", "http" if local else "https"):
        raise ConfigError(
            f"the hub's address has the scheme {parts.scheme!r} and the host {host!r}; it needs https "
            "(plain http only on this machine): look at endpoint= or HF_ENDPOINT"
        )


def _no_hub(endpoint: str) -> ProtocolError:
    return ProtocolError(
        f"what answers at {endpoint} is no Hugging Face hub; look at endpoint= or HF_ENDPOINT, and at the proxy"
    )


def _no_room(what: str) -> ConfigError:
    return ConfigError(
        f"there is no room on the disk: {what}; free some, or choose a folder (or HF_HOME) on another disk"
    )


class _Failure(Struct, frozen=True):
    """The circumstances of a failure, in whose words it is told."""

    endpoint: str
    wanted: HubFile
    downloading: bool

    @property
    def _what(self) -> str:
        return f"{self.wanted} was {'fetched' if self.downloading else 'asked for'}"

    def translate(self, error: BaseException) -> ProviderError:
        from huggingface_hub import errors as hub

        if isinstance(error, hub.HfHubHTTPError):
            return self._refusal(error)
        cause = error.__cause__
        if isinstance(error, hub.LocalEntryNotFoundError | ValueError) and cause is not None:
            return self.translate(cause)  # it asks once more before it downloads, and wraps what fails then
        if isinstance(error, hub.OfflineModeIsEnabled):
            return ConnectError(
                f"HF_HUB_OFFLINE is set, and {self.wanted} is not here; unset it to fetch the file"
            )
        if isinstance(error, hub.FileMetadataError):
            return _no_hub(self.endpoint)
        if isinstance(error, hub.HFValidationError):
            return ConfigError(f"{self.wanted.repo!r} cannot be the name of a repository on the hub")
        if isinstance(error, OSError):
            return self._system(error)
        return self._network(error)

    def _refusal(self, error: Any) -> APIError:
        """The hub, or the store it sent us to, answered with an error."""
        status: int = error.response.status_code
        kind, text = self._named(error) or _by_status(status, self._what)
        context: dict[str, Any] = {"status": status, "request_id": error.request_id}
        waits = error.response.headers.get("retry-after", "")
        if waits.isascii() and waits.isdigit():
            context["retry_after"] = float(waits)
        return kind(text, **context)

    def _named(self, error: object) -> tuple[type[APIError], str] | None:
        """The refusals that have a name of their own, https://huggingface.co/docs/hub/models-gated among them."""
        from huggingface_hub import errors as hub

        repo, revision, file = self.wanted.repo, self.wanted.revision, self.wanted.file
        page = f"{self.endpoint}/{repo}"
        if isinstance(error, hub.GatedRepoError):
            return PermissionDeniedError, (
                f"{repo} is gated: accept its licence at {page} with your account on the hub, then give a token "
                "of that account, in HF_TOKEN or as token="
            )
        if isinstance(error, hub.RepositoryNotFoundError):
            return NotFoundError, (
                f"the hub has no repository {repo} that you may see: check its name; "
                "if it is private, give a token that may read it, in HF_TOKEN or as token="
            )
        if isinstance(error, hub.RevisionNotFoundError):
            return NotFoundError, f"{repo} has no revision {revision!r}; {page}/commits/main lists them"
        if isinstance(error, hub.RemoteEntryNotFoundError):
            return NotFoundError, (
                f"{repo} has no file {file!r} at revision {revision!r} (upper and lower case differ); "
                f"{page}/tree/{revision} lists its files"
            )
        if isinstance(error, hub.DisabledRepoError):
            return (
                PermissionDeniedError,
                f"{repo} has been disabled on the hub; choose another copy of the model",
            )
        return None

    def _network(self, error: BaseException) -> TransportError:
        import httpx2

        if isinstance(error, httpx2.ConnectTimeout):
            return RequestTimeout(
                f"no connection to the hub in time when {self._what}; try again", clock="connect"
            )
        if isinstance(error, httpx2.TimeoutException):
            return RequestTimeout(
                f"the hub fell silent when {self._what}; try again, or allow more time "
                "(timeout= and HF_HUB_DOWNLOAD_TIMEOUT are in seconds)",
                clock="idle" if self.downloading else "first_event",
            )
        if isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
            host = urlsplit(self.endpoint).netloc
            return ConnectError(f"no connection to {host} or its store when {self._what}; check the network")
        if isinstance(error, httpx2.HTTPError):
            return self._cut()
        return self._gave_up(error)

    def _system(self, error: OSError) -> ProviderError:
        if error.errno in _NO_ROOM:
            return _no_room(f"writing failed when {self._what}")
        if (
            type(error) is OSError and error.errno is None
        ):  # its own, for a file that is not as long as was told
            return self._cut()
        if error.errno is None:  # such as the Xet store's
            return self._gave_up(error)
        return ConfigError(f"the file system refused when {self._what}: {error.strerror}")

    def _gave_up(self, error: BaseException) -> TransportError:
        name = type(error).__name__
        return TransportError(f"huggingface_hub gave up ({name}) when {self._what}; pull it again")

    def _cut(self) -> StreamInterrupted:
        return StreamInterrupted(f"the connection was cut when {self._what}; pull it again", how="eof")


def _by_status(status: int, what: str) -> tuple[type[APIError], str]:
    if status == 401:
        return AuthenticationError, (
            f"the hub does not accept the token (401) when {what}; make a new one, for HF_TOKEN or token="
        )
    if status == 403:
        return PermissionDeniedError, f"the hub refused (403) when {what}; the token may not read it"
    if status == 404:
        return NotFoundError, f"there was nothing (404) when {what}; check the reference"
    if status == 429:
        return RateLimitError, (
            f"too many requests to the hub (429) when {what}; wait, or give a token, which allows more"
        )
    if status == 503:
        return OverloadedError, f"the hub is overloaded (503), said when {what}; try again later"
    if status >= 500:
        return ServerError, f"the hub failed ({status}) when {what}; try again later"
    return APIError, f"the hub answered {status} when {what}"
