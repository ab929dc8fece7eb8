"""`decode` and `replay`: recorded traffic decoded as a live response would be, printed as JSON.

Nothing in a recording ends them with a traceback: what cannot be decoded becomes an error object, with what
had arrived before it.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from brainwires_provider.cli.operations import OPERATIONS, Operation
from brainwires_provider.cli.output import Shape, dump, event_shape, failure_shape, response_shape
from brainwires_provider.cli.terminal import complain, print_line, standard_input
from brainwires_provider.errors import APIError, ConfigError, ProviderError
from brainwires_provider.events import Collector, Event, ResponseEnd, ResponseStart
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.protocols.base.bodies import framing_named, read_body, request_id, tell_framing
from brainwires_provider.protocols.base.json import decode_json
from brainwires_provider.protocols.base.protocol import ChatProtocol, Reply
from brainwires_provider.providers import PROVIDERS, protocol_named, protocol_names
from brainwires_provider.types import Origin, Response

__all__ = ["BrokenRecordError", "ProtocolNotBuiltError", "decode", "recorded_names", "replay"]

_FINE, _FAILED, _NO_FILE = 0, 1, 2
_GZIP = b"\x1f\x8b"


class ProtocolNotBuiltError(ConfigError):
    """A protocol that this release cannot read."""


class BrokenRecordError(ValueError):
    """A line of a recording is not a record."""


class UnreadableError(Exception):
    """A file that does not exist, cannot be read, or is damaged."""

    def __init__(self, path: str, error: Exception) -> None:
        super().__init__(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")


class Recording(Struct, frozen=True):
    """One recorded answer. `framing` is a name of FRAMINGS, or None for the protocol's own.

    `host` is the provider in the parts' origins, since a recording does not name the provider.
    """

    protocol: ChatProtocol
    body: bytes
    framing: str | None
    status: int = 200
    headers: Mapping[str, str] = {}
    host: str = ""
    model: str | None = None

    def events(self) -> Iterator[Event]:
        """The events of every answer in it. Raises ProviderError."""
        protocol = self.protocol
        self._check()
        framing = (
            protocol.framing(DEFAULT_MAX_MESSAGE) if self.framing is None else framing_named(self.framing)
        )
        yield from read_body(protocol, self._origin, self.body, framing)

    def value(self, operation: Operation) -> Any:
        """The result of the operation, as it is printed. Raises ProviderError."""
        try:
            self._check()
            return operation.read(self.protocol, self.body, self._origin)
        except ProviderError as error:
            raise self.explained(error) from None

    @property
    def _origin(self) -> Origin:
        return Origin(self.protocol.name, self.host, self.model)

    def _check(self) -> None:
        """Raises APIError for a refusal."""
        if not 200 <= self.status < 300:
            raise self.protocol.decode_error(Reply(self.status, self.headers, self.body, time.time()))

    def explained(self, error: ProviderError) -> ProviderError:
        """The same error with the request id and the status of the recording."""
        error.request_id = error.request_id or request_id(self.headers)
        if isinstance(error, APIError) and error.status is None:
            error.status = self.status
        return error


class Reading:
    """The responses of one recording, collected event by event."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.failure: ProviderError | None = None
        self._collector = Collector()

    def run(self, recording: Recording, show: Callable[[Event], None] | None = None) -> None:
        """Decode all of it; `show` is called with each event."""
        try:
            for event in recording.events():
                self._feed(event)
                if show is not None:
                    show(event)
        except ProviderError as error:
            self.failure = recording.explained(error)
            partial: Response | None = getattr(error, "partial", None)
            if partial is not None and (not self.answers or partial.message.content):
                self.answers.append(partial)

    def _feed(self, event: Event) -> None:
        if isinstance(event, ResponseStart):
            self._collector = Collector()
        self._collector.feed(event)
        if isinstance(event, ResponseEnd):
            self.answers.append(self._collector.response())

    def shape(self, name: str | None = None) -> Shape:
        """What is printed: the response, under `name` if one is given, or the failure."""
        if self.failure is not None:
            return failure_shape(self.failure, self.answers)
        shape = response_shape(self.answers[0], self.answers[1:])
        return shape if name is None else {name: shape}


_PROVIDERS = {"bedrock_anthropic": "bedrock-invoke"}
"""Names of recordings of a cloud that has its own variant of a protocol, and the provider that uses it."""


def recorded_names() -> tuple[str, ...]:
    """The names that `decode` accepts: protocols, variants of them, and other operations."""
    return tuple(sorted((*protocol_names(), *_PROVIDERS, *OPERATIONS)))


def find_protocol(name: str) -> ChatProtocol:
    """By its name in recordings. Raises ProtocolNotBuiltError."""
    if name in _PROVIDERS:
        return PROVIDERS[_PROVIDERS[name]].protocol()
    try:
        return protocol_named(name)
    except ConfigError as error:
        raise ProtocolNotBuiltError(error.message) from None


def decode(name: str, path: str, *, status: int, events: bool, framing: str | None) -> int:
    """Print one recorded body as one object, or as its events. Returns the exit status."""
    try:
        body = standard_input() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        complain(str(UnreadableError(path, error)))
        return _NO_FILE
    reading = Reading()
    operation = OPERATIONS.get(name)
    try:
        protocol = find_protocol(name if operation is None else operation.protocol("", body))
        recording = Recording(protocol, body, framing or tell_framing(body), status)
        if operation is not None:
            print_line(dump({"value": recording.value(operation)}))
            return _FINE
        reading.run(recording, _print_event if events else None)
        if reading.failure is not None or not events:
            print_line(dump(reading.shape()))
    except (ProviderError, ValueError, RecursionError) as error:
        print_line(dump(failure_shape(error)))
        return _FAILED
    return _FINE if reading.failure is None else _FAILED


def _print_event(event: Event) -> None:
    print_line(dump(event_shape(event)))


# -- replay --------------------------------------------------------------------------------------------------


def replay(paths: list[str]) -> int:
    """Print one line for each record of the files, as it is read.

    Returns 0 whatever the records contain, and 2 if a file could not be read.
    """
    outcome = _FINE
    for path in paths:
        try:
            for number, line in _lines(path):
                if line.strip():
                    print_line(replay_line(line, path, number))
        except UnreadableError as error:
            complain(str(error))
            outcome = _NO_FILE
    return outcome


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers. Raises UnreadableError, after those that could be read."""
    try:
        with _opened(path) as file:
            yield from enumerate(file, 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(path, error) from None


@contextmanager
def _opened(path: str) -> Iterator[Iterable[bytes]]:
    """The lines of a file, decompressed if it is compressed, whatever its name. It may be a pipe: nothing seeks."""
    with ExitStack() as held:
        raw: Any = (
            io.BytesIO(standard_input())
            if path == "-"
            else held.enter_context(Path(path).open("rb", buffering=0))
        )
        file = held.enter_context(io.BufferedReader(raw))
        packed = file.peek(len(_GZIP)).startswith(_GZIP)
        yield held.enter_context(gzip.GzipFile(fileobj=file)) if packed else file


def replay_line(line: bytes, path: str, number: int) -> bytes:
    """What is printed for one line of a recording."""
    shape: Shape = {"id": None, "protocol": None, "kind": None}
    try:
        record = _record(line)
        shape = {key: record.get(key) for key in shape}
        recording = _recording(record)
        operation = OPERATIONS.get(record["protocol"])
        if operation is not None:
            return dump(shape | {"value": recording.value(operation)})
        reading = Reading()
        reading.run(recording)
        return dump(shape | reading.shape("response"))
    except BrokenRecordError as error:
        return dump(shape | {"file": path, "line": number} | failure_shape(error))
    except Exception as error:  # noqa: BLE001 - a fault of ours in one record must not hide the others
        return dump(shape | failure_shape(error))


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = decode_json(line)
    except ValueError as error:
        raise BrokenRecordError(f"this line is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise BrokenRecordError(f"this line is not a JSON object, but {type(record).__name__}")
    return record


def _recording(record: dict[str, Any]) -> Recording:
    """Raises BrokenRecordError naming the field that is missing or wrong, and ProtocolNotBuiltError."""
    name, kind = _field(record, "protocol", str), _field(record, "kind", str)
    if kind not in ("stream", "whole"):
        raise BrokenRecordError(f'"kind" is "stream" or "whole", not {kind!r}')
    body, path = _body(record), record.get("path")
    operation = OPERATIONS.get(name)
    if operation is not None:
        name = operation.protocol(path if isinstance(path, str) else "", body)
    request = record.get("request")
    model = request.get("model") if isinstance(request, dict) else None
    headers, host = record.get("headers"), record.get("host")
    return Recording(
        protocol=find_protocol(name),
        body=body,
        framing="whole" if kind == "whole" else None,
        status=_field(record, "status", int),
        headers={str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {},
        host=host if isinstance(host, str) else "",
        model=model if isinstance(model, str) else None,
    )


def _body(record: dict[str, Any]) -> bytes:
    if "body_b64" in record:
        try:
            return base64.b64decode(_field(record, "body_b64", str), validate=True)
        except binascii.Error as error:
            raise BrokenRecordError(f'"body_b64" is not base64: {error}') from None
    text: str = _field(record, "body", str)
    return text.encode("utf-8", "surrogatepass")


def _field(record: dict[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if type(value) is not kind:
        raise BrokenRecordError(f"the field {name!r} is to be {kind.__name__}, not {type(value).__name__}")
    return value
