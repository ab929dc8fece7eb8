"""Requests for one file of the Hugging Face hub: its facts, and its download. The only user of `huggingface_hub`.

Failures are translated into this library's errors without quoting the original messages: their URLs may be signed, and
their advice is for other programs.
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

__all__ = ["SHA256", "Bytes", "Hub", "HubFile", "Remote"]

SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NO_ROOM: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))

Bytes = Callable[[int, int | None], object]  # bytes received, and bytes in total if known


class HubFile(Struct, frozen=True, gc=False):
    """A file on the hub. `repo` is OWNER/NAME."""

    repo: str
    revision: str
    file: str

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.revision}/{self.file}"


class Remote(Struct, frozen=True, gc=False):
    """What the hub reports of a file. `sha256` is None for files stored in git itself, `size` is in bytes."""

    commit: str
    sha256: str | None
    size: int | None


class Hub:
    """The hub at `endpoint` (default: HF_ENDPOINT, or the public one), and the folder where files are stored.

    `folder` None is the hub's own cache. `timeout`, in seconds, bounds each wait for the first response. Creating one
    raises ConfigError for an invalid argument, or if the extra `hub` is missing.
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
            raise ConfigError(f"timeout is {timeout!r}; it must be greater than zero")
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ConfigError(
                "the hub's token is empty, or contains a space or another invalid character; copy it again"
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
        """The path of the file if one of that name is already here. Its content is not checked."""
        if self._folder is not None:
            path = os.path.join(self._folder, *wanted.file.split("/"))
            return path if os.path.isfile(path) else None
        with self._translated(wanted):
            found = self._package.try_to_load_from_cache(
                wanted.repo, wanted.file, cache_dir=self._cache, revision=wanted.revision
            )
        return found if isinstance(found, str) else None

    def ask(self, wanted: HubFile) -> Remote:
        """The facts of a file, in one request without a retry."""
        with self._translated(wanted):
            found = self._package.get_hf_file_metadata(
                self._package.hf_hub_url(
                    wanted.repo, wanted.file, revision=wanted.revision, endpoint=self._endpoint
                ),
                token=self._token,
                timeout=self._timeout,
                library_name="brainwires-provider",
                endpoint=self._endpoint,
            )
        if found.commit_hash is None:
            raise _not_a_hub(self._endpoint)
        sha256 = found.etag if found.etag is not None and SHA256.fullmatch(found.etag) else None
        return Remote(found.commit_hash, sha256, found.size)

    def check_room(self, wanted: HubFile, size: int) -> None:
        """Raise ConfigError if the disk has less than `size` bytes free."""
        place = self._folder or self._cache
        while not os.path.exists(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        free = shutil.disk_usage(place).free
        if free < size:
            raise _disk_full(f"{wanted} has {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free")

    def download(self, wanted: HubFile, force: bool, on_bytes: Bytes) -> str:
        """Download the file if it is not here, or with `force`; its path. Exceptions of `on_bytes` are passed on."""
        bar = _bar(on_bytes)
        tqdm_class: Any = bar  # it accepts any class like tqdm's, though its annotation says otherwise
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
    """Disable telemetry, as HF_HUB_DISABLE_TELEMETRY=1 does.

    Otherwise huggingface_hub requests a list of coding agents from the hub of HF_ENDPOINT, whatever `endpoint` is, and
    reports to the hub which of them runs this process.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before


class _Bar:
    """The methods of tqdm that huggingface_hub calls; nothing is drawn.

    With the method `update_transfer`, a download from the hub's Xet store uses one bar instead of two.
    """

    on_bytes: Bytes
    raised: BaseException | None = None  # by `on_bytes`, to be passed on unchanged

    def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
        self.n = initial
        self.total = total
        self.update(0)

    def update(self, count: float | None = 1) -> None:
        self.n += int(count or 0)  # negative when a server restarts the file
        kind = type(self)
        try:
            kind.on_bytes(self.n, self.total)
        except BaseException as error:
            kind.raised = error
            raise

    def update_transfer(self, count: float) -> None:
        """Bytes on the network, which deduplication makes fewer than the file has."""

    def set_postfix_str(self, *_: Any, **__: Any) -> None:
        """Show the speed."""

    def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
        """Show the speed of the network."""

    def refresh(self, *_: Any, **__: Any) -> None:
        """Draw it."""

    def close(self) -> None:
        """End."""

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bar(on_bytes: Bytes) -> type[_Bar]:
    """A class for one download, because huggingface_hub creates the bar itself."""
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
            "(plain http only on this machine): check endpoint= or HF_ENDPOINT"
        )


def _not_a_hub(endpoint: str) -> ProtocolError:
    return ProtocolError(
        f"the server at {endpoint} is not a Hugging Face hub; check endpoint= or HF_ENDPOINT, and the proxy"
    )


def _disk_full(what: str) -> ConfigError:
    return ConfigError(
        f"the disk is full: {what}; free space, or choose a folder (or HF_HOME) on another disk"
    )


class _Failure(Struct, frozen=True):
    """The circumstances of a failure, for its error message."""

    endpoint: str
    wanted: HubFile
    downloading: bool

    @property
    def _what(self) -> str:
        return f"{self.wanted} was {'downloaded' if self.downloading else 'requested'}"

    def translate(self, error: BaseException) -> ProviderError:
        from huggingface_hub import errors as hub

        if isinstance(error, hub.HfHubHTTPError):
            return self._refusal(error)
        cause = error.__cause__
        if isinstance(error, hub.LocalEntryNotFoundError | ValueError) and cause is not None:
            return self.translate(
                cause
            )  # it sends another request before the download, and wraps its failure
        if isinstance(error, hub.OfflineModeIsEnabled):
            return ConnectError(
                f"HF_HUB_OFFLINE is set, and {self.wanted} is not here; unset it to download the file"
            )
        if isinstance(error, hub.FileMetadataError):
            return _not_a_hub(self.endpoint)
        if isinstance(error, hub.HFValidationError):
            return ConfigError(f"{self.wanted.repo!r} cannot be the name of a repository on the hub")
        if isinstance(error, OSError):
            return self._system(error)
        return self._network(error)

    def _refusal(self, error: Any) -> APIError:
        """An error response of the hub or its store."""
        status: int = error.response.status_code
        kind, text = self._named(error) or _by_status(status, self._what)
        context: dict[str, Any] = {"status": status, "request_id": error.request_id}
        waits = error.response.headers.get("retry-after", "")
        if waits.isascii() and waits.isdigit():
            context["retry_after"] = float(waits)
        return kind(text, **context)

    def _named(self, error: object) -> tuple[type[APIError], str] | None:
        """Errors with a class of their own. https://huggingface.co/docs/hub/models-gated is one."""
        from huggingface_hub import errors as hub

        repo, revision, file = self.wanted.repo, self.wanted.revision, self.wanted.file
        page = f"{self.endpoint}/{repo}"
        if isinstance(error, hub.GatedRepoError):
            return PermissionDeniedError, (
                f"{repo} is gated: accept its licence at {page} with your account on the hub, then pass a token "
                "of that account, in HF_TOKEN or as token="
            )
        if isinstance(error, hub.RepositoryNotFoundError):
            return NotFoundError, (
                f"the hub has no repository {repo} that you can access: check its name; "
                "if it is private, pass a token that can read it, in HF_TOKEN or as token="
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
                f"connecting to the hub timed out when {self._what}; try again", clock="connect"
            )
        if isinstance(error, httpx2.TimeoutException):
            return RequestTimeout(
                f"the hub stopped responding when {self._what}; try again, or allow more time "
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
            return _disk_full(f"writing failed when {self._what}")
        if (
            type(error) is OSError and error.errno is None
        ):  # its own error for a file of another length than announced
            return self._cut()
        if error.errno is None:  # such as the Xet store's
            return self._gave_up(error)
        return ConfigError(f"the file could not be written when {self._what}: {error.strerror}")

    def _gave_up(self, error: BaseException) -> TransportError:
        name = type(error).__name__
        return TransportError(f"huggingface_hub failed ({name}) when {self._what}; pull it again")

    def _cut(self) -> StreamInterrupted:
        return StreamInterrupted(f"the connection was closed when {self._what}; pull it again", how="eof")


def _by_status(status: int, what: str) -> tuple[type[APIError], str]:
    if status == 401:
        return AuthenticationError, (
            f"the hub rejected the token (401) when {what}; create a new one, for HF_TOKEN or token="
        )
    if status == 403:
        return PermissionDeniedError, f"the hub refused access (403) when {what}; the token cannot read it"
    if status == 404:
        return NotFoundError, f"the hub found nothing (404) when {what}; check the reference"
    if status == 429:
        return RateLimitError, (
            f"too many requests to the hub (429) when {what}; wait, or pass a token, which allows more"
        )
    if status == 503:
        return OverloadedError, f"the hub is overloaded (503) when {what}; try again later"
    if status >= 500:
        return ServerError, f"the hub failed ({status}) when {what}; try again later"
    return APIError, f"the hub answered {status} when {what}"
