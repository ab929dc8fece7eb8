"""Records real answers to a file, and answers from it later: every chunk as it came, and no secret.

A recording is a text file with one JSON object a line, for an exchange each: the method, path and body of the request,
and the status, headers and chunks of the answer. Its format is this library's own; it is meant to be committed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from msgspec import Struct

from brainwires_provider.auth.redaction import REDACTED, field_secrets, redact
from brainwires_provider.errors import ProviderError
from brainwires_provider.transports.base import ByteExchange, Outgoing, Transport
from brainwires_provider.types.suspects import is_secret_header, looks_like_key

__all__ = ["Recorder", "Replay"]

_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\[\"\\/]")
_KEPT_HEADERS = ("content-type", "content-encoding", "retry-after", "x-request-id", "request-id")


class _Recorded(Struct, frozen=True):
    """One exchange. A chunk that is no text is a list with one element, its base64."""

    method: str
    path: str
    body: Any
    status: int
    headers: dict[str, str]
    chunks: list[str | list[str]]
    cut: bool = False
    """The answer was left, or failed, before its end."""


class Recorder:
    """Carries requests over the network and keeps them: `Client(model, transport=Recorder("weather.jsonl"))`.

    The file is written when an exchange ends. Headers of requests are not kept, and of the answer only those that the
    library reads. The secrets of a request's headers and query are replaced in what is kept by asterisks of the same
    length, so that chunks keep their boundaries. Raises ValueError, and keeps nothing, where an answer repeats a
    secret in another form, or in binary data.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._carrier: Transport | None = None

    async def open(self, outgoing: Outgoing) -> ByteExchange:
        """See `transports.base.Transport`."""
        if self._carrier is None:
            from brainwires_provider.transports.http import HTTPTransport

            self._carrier = HTTPTransport()
        query = parse_qsl(urlsplit(outgoing.url).query, keep_blank_values=True)
        secrets = tuple(secret for secret in field_secrets(outgoing.headers, query) if len(secret) > 3)
        exchange = await self._carrier.open(outgoing)
        return _RecordingExchange(exchange, self, outgoing, secrets)

    def keep(self, recorded: _Recorded) -> None:
        """Add one exchange to the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(recorded) + b"\n")

    async def aclose(self) -> None:
        """Close the connections."""
        if self._carrier is not None:
            await self._carrier.aclose()

    def abandon(self) -> bool:
        """See `transports.base.Transport`."""
        return self._carrier is not None and self._carrier.abandon()


class _RecordingExchange(ByteExchange):
    """An exchange whose chunks are kept as they come."""

    __slots__ = ("_chunks", "_exchange", "_kept", "_outgoing", "_recorder", "_secrets")

    def __init__(
        self, exchange: ByteExchange, recorder: Recorder, outgoing: Outgoing, secrets: tuple[str, ...]
    ) -> None:
        self.status, self.headers, self.attempts = exchange.status, exchange.headers, exchange.attempts
        self._exchange, self._recorder = exchange, recorder
        self._outgoing, self._secrets = outgoing, secrets
        self._chunks: list[bytes] = []
        self._kept = False

    @property
    def ended(self) -> bool:
        """Whether the body is read to its end."""
        return self._exchange.ended

    async def read(self) -> bytes:
        """The next bytes."""
        try:
            chunk = await self._exchange.read()
        except ProviderError:
            self._keep(cut=True)
            raise
        if chunk:
            self._chunks.append(chunk)
        if not chunk or self._exchange.ended:
            self._keep(cut=False)
        return chunk

    def release(self) -> None:
        """Done."""
        self._keep(cut=not self._exchange.ended)
        self._exchange.release()

    def abort(self) -> None:
        """Drop the connection now."""
        self._exchange.abort()
        self._keep(cut=True)

    def _keep(self, *, cut: bool) -> None:
        if self._kept:
            return
        self._kept = True
        headers = {name: value for name, value in self.headers.items() if name in _KEPT_HEADERS}
        sent = masked([self._outgoing.body], self._secrets)[0]
        self._recorder.keep(
            _Recorded(
                self._outgoing.method,
                shown_path(self._outgoing.url),
                _json_or_text(sent),
                self.status,
                redact(headers, self._secrets),
                [_written(chunk) for chunk in masked(self._chunks, self._secrets)],
                cut,
            )
        )


def shown_path(url: str) -> str:
    """The path and query of a URL, without the query's secrets."""
    parts = urlsplit(url)
    query = [
        (name, REDACTED if is_secret_header(name) or looks_like_key(value) else value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    return f"{parts.path}?{urlencode(query)}" if query else parts.path


def masked(chunks: Iterable[bytes], secrets: tuple[str, ...]) -> list[bytes]:
    """The same chunks, with the same boundaries, and asterisks for secrets. Raises ValueError where that cannot be."""
    pieces = list(chunks)
    joined = whole = b"".join(pieces)
    for secret in secrets:
        joined = joined.replace(secret.encode(), b"*" * len(secret.encode()))
    try:
        text = joined.decode()
    except UnicodeDecodeError:
        text, is_binary = joined.decode("latin-1"), True
    else:
        is_binary = False
    is_hidden = any(redact(form, secrets) != form for form in (text, _ESCAPE.sub(_unescaped, text)))
    if is_hidden or (is_binary and joined != whole):
        raise ValueError("the exchange repeats a secret in a form that cannot be masked: it is not recorded")
    ends, at = [], 0
    for piece in pieces:
        ends.append(joined[at : at + len(piece)])
        at += len(piece)
    return ends


def _unescaped(escape: re.Match[str]) -> str:
    """The character of an escape in JSON."""
    return chr(int(escape[1], 16)) if escape[1] else escape[0][1]


def _written(chunk: bytes) -> str | list[str]:
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(chunk).decode()]


def _read(chunk: str | list[str]) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else base64.b64decode(chunk[0])


def _json_or_text(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return hashlib.sha256(body).hexdigest() if body else None


class Replay:
    """Answers from a recording, without a network: `Client(model, api_key="test", transport=Replay("weather.jsonl"))`.

    A request is answered by the first recorded exchange with the same method, path and body that was not used yet. A
    request without one raises an AssertionError that names what differs.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._left: defaultdict[bytes, deque[_Recorded]] | None = None

    async def open(self, outgoing: Outgoing) -> ByteExchange:
        """See `transports.base.Transport`."""
        if self._left is None:
            self._left = defaultdict(deque)
            for line in self.path.read_bytes().splitlines():
                known = msgspec.json.decode(line, type=_Recorded)
                self._left[_key(known.method, known.path, known.body)].append(known)
        path, body = shown_path(outgoing.url), _json_or_text(outgoing.body)
        found = self._left.get(_key(outgoing.method, path, body))
        if not found:
            raise AssertionError(self._missing(outgoing.method, path, body))
        return _ReplayedExchange(found.popleft())

    def _missing(self, method: str, path: str, body: Any) -> str:
        assert self._left is not None
        asked = f"{method} {path}"
        same = [
            each for found in self._left.values() for each in found if f"{each.method} {each.path}" == asked
        ]
        if not same:
            return f"{self.path.name} has no unused exchange for {asked}: record it again"
        sent, known = _fields(body), _fields(same[0].body)
        names = sorted(name for name in {*sent, *known} if sent.get(name) != known.get(name))
        return f"{self.path.name} has {asked} with another body: {', '.join(names) or 'all'} differ; record it again"

    async def aclose(self) -> None:
        """Nothing is open."""

    def abandon(self) -> bool:
        """Nothing is open."""
        return False


def _fields(body: Any) -> dict[str, Any]:
    return body if isinstance(body, dict) else {"the body": body}


def _key(method: str, path: str, body: Any) -> bytes:
    return msgspec.json.encode([method, path, body], order="deterministic")


class _ReplayedExchange(ByteExchange):
    """The chunks of a recorded answer."""

    __slots__ = ("_chunks", "_cut")

    def __init__(self, recorded: _Recorded) -> None:
        self.status, self.headers, self.attempts = recorded.status, recorded.headers, ()
        self._chunks = deque(map(_read, recorded.chunks))
        self._cut = recorded.cut

    @property
    def ended(self) -> bool:
        """Whether the body is read to its end."""
        return not self._chunks and not self._cut

    async def read(self) -> bytes:
        """The next chunk, as it came."""
        if self._chunks:
            return self._chunks.popleft()
        if self._cut:
            from brainwires_provider.errors import StreamInterrupted

            raise StreamInterrupted("the recorded answer ends here, before its end", how="eof")
        return b""

    def release(self) -> None:
        """Done."""

    def abort(self) -> None:
        """Done."""
