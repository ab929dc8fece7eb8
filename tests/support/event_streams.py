"""AWS event streams made by hand, and what can go wrong with them that no text stream has.

A message is made here from the format's description, so that the reader is not tested with its own writer.
Reference: Smithy's page "Amazon Event Stream Specification".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest

from brainwires_provider import (
    APIError,
    AuthenticationError,
    ConfigError,
    ContextLengthError,
    FramingError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
)
from brainwires_provider.testing import Answer, ScriptedServer
from colours import COLOURS
from dialects import Frames
from faults import BOTH, CONFIG, FORMS, KEY, FaultTests, No, failing

CONTENT_TYPE = {"content-type": "application/vnd.amazon.eventstream"}
_STRING = 7


def header(name: str, value: str) -> bytes:
    return bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(value)) + value.encode()


def raw_message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def message(payload: bytes, **headers: str) -> bytes:
    """One message; the keyword `event_type` is the header `:event-type`."""
    return raw_message(
        b"".join(header(f":{name.replace('_', '-')}", value) for name, value in headers.items()), payload
    )


def event(kind: str, payload: Any) -> bytes:
    """A message of the service; a payload that is no bytes is sent as JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return message(data, event_type=kind, content_type="application/json", message_type="event")


def exception(kind: str, words: str, **fields: Any) -> bytes:
    payload = json.dumps({"message": words, **fields}).encode()
    return message(payload, exception_type=kind, content_type="application/json", message_type="exception")


def error(code: str, words: str) -> bytes:
    """An error that the service did not foresee: it stands in the headers alone."""
    return message(b"", error_code=code, error_message=words, message_type="error")


def parts(stream: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The headers and the payload of each message."""
    while stream:
        total, headers = struct.unpack_from(">II", stream)
        yield stream[12 : 12 + headers], stream[12 + headers : total - 4]
        stream = stream[total:]


def without(stream: bytes, name: str) -> bytes:
    """The same messages, but for those that have this text in their headers."""
    return b"".join(raw_message(h, p) for h, p in parts(stream) if name.encode() not in h)


# One header of each of the format's types.
EVERY_TYPE = b"".join(
    bytes([2]) + f"x{kind}".encode() + bytes([kind]) + value
    for kind, value in enumerate(
        (
            b"",
            b"",
            b"\xff",
            b"\xff\xfe",
            bytes(4),
            bytes(8),
            b"\x00\x03\x00\x01\x02",
            b"\x00\x02\xc3\xa9",
            struct.pack(">q", 1_790_000_000_000),
            bytes(range(16)),
        )
    )
)


def clothes(stream: bytes) -> dict[str, bytes]:
    """The same messages in every form that the framing allows."""
    odd = event("odd", {"z": None})
    return {
        "headers of every type": b"".join(raw_message(EVERY_TYPE + h, p) for h, p in parts(stream)),
        "headers in another order": b"".join(raw_message(h + EVERY_TYPE, p) for h, p in parts(stream)),
        "unknown events": odd + b"".join(raw_message(h, p) + odd for h, p in parts(stream)),
        "an unknown event that is no JSON": event("odd", b"\x00\xff") + stream,
        "an initial response": event("initial-response", {}) + stream,
        "an empty message": message(b"") + stream,
    }


def frames(garbled: bytes, beat: bytes) -> Frames:
    """How these streams carry what one protocol puts into them."""
    return Frames(
        headers=CONTENT_TYPE,
        garbled=garbled,
        torn=beat[:20],
        beat=beat,
        big=event("odd", {"x": "x" * 5000}),
        clothes=clothes,
    )


# -- what only these streams can have ------------------------------------------------------------------------

EXCEPTIONS: dict[str, tuple[bytes, type[APIError], int | None, bool]] = {
    "throttlingException": (exception("throttlingException", "slow down"), RateLimitError, 429, True),
    "modelStreamErrorException": (
        exception(
            "modelStreamErrorException", "slow down", originalStatusCode=500, originalMessage="it fell"
        ),
        ServerError,
        424,
        True,
    ),
    "internalServerException": (exception("internalServerException", "slow down"), ServerError, 500, True),
    "serviceUnavailableException": (
        exception("serviceUnavailableException", "slow down"),
        OverloadedError,
        503,
        True,
    ),
    "modelTimeoutException": (exception("modelTimeoutException", "slow down"), ServerError, 408, True),
    "validationException": (
        exception("validationException", "slow down"),
        InvalidRequestError,
        400,
        False,
    ),
    "accessDeniedException": (
        exception("accessDeniedException", "slow down"),
        PermissionDeniedError,
        403,
        False,
    ),
    "an error in the headers": (error("InternalFailure", "slow down"), ServerError, 500, True),
    "never heard of": (exception("novelException", "slow down"), APIError, None, False),
}
CONTEXT = exception("validationException", "Input is too long for requested model.")

TOLD = b'{"message": "as told"}'
NOES = {
    "throttled": No(
        429, TOLD, RateLimitError, "as told", {"x-amzn-errortype": "ThrottlingException"}, retryable=True
    ),
    "throttled, and when again": No(
        429,
        TOLD,
        RateLimitError,
        "try again in 7 s",
        {"x-amzn-errortype": "ThrottlingException:http://internal.test/", "retry-after": "7"},
        7.0,
        True,
    ),
    "throttled, under 400": No(
        400, TOLD, RateLimitError, "as told", {"x-amzn-errortype": "ThrottlingException"}, retryable=True
    ),
    "named in the body": No(
        400, b'{"__type": "ns#ValidationException", "message": "as told"}', InvalidRequestError, "as told"
    ),
    "too long": No(
        400,
        b'{"message": "Input is too long for requested model."}',
        ContextLengthError,
        "shorten the messages",
        {"x-amzn-errortype": "ValidationException"},
    ),
    "a wrong key": No(
        403,
        b'{"Message": "Authentication failed: Please make sure your API Key is valid."}',
        AuthenticationError,
        "check the key: api_key= or AWS_BEARER_TOKEN_BEDROCK",
    ),
    "an ended token": No(
        403,
        f'{{"message": "The security token {KEY} is expired"}}'.encode(),
        AuthenticationError,
        "is expired",
        {"x-amzn-errortype": "ExpiredTokenException"},
    ),
    "no access": No(
        403, TOLD, PermissionDeniedError, "as told", {"x-amzn-errortype": "AccessDeniedException"}
    ),
    "no such model": No(
        404,
        TOLD,
        NotFoundError,
        "check the model's name, 'm'",
        {"x-amzn-errortype": "ResourceNotFoundException"},
    ),
    "the model failed": No(
        424, TOLD, ServerError, "as told", {"x-amzn-errortype": "ModelErrorException"}, retryable=True
    ),
    "the model is not ready": No(
        429, TOLD, OverloadedError, "as told", {"x-amzn-errortype": "ModelNotReadyException"}, retryable=True
    ),
    "the model took too long": No(
        408, TOLD, ServerError, "as told", {"x-amzn-errortype": "ModelTimeoutException"}, retryable=True
    ),
    "inside": No(
        500, TOLD, ServerError, "as told", {"x-amzn-errortype": "InternalServerException"}, retryable=True
    ),
    "down": No(
        503,
        TOLD,
        OverloadedError,
        "as told",
        {"x-amzn-errortype": "ServiceUnavailableException"},
        retryable=True,
    ),
    "a name and no words": No(
        500,
        b"",
        ServerError,
        "InternalServerException",
        {"x-amzn-errortype": "InternalServerException"},
        None,
        True,
    ),
}


class EventStreamFaultTests(FaultTests):
    """The tests of faults.py, and those of a stream that is binary and of a service that names its errors."""

    @pytest.fixture(autouse=True)
    def bare_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_REGION", "us-east-1")

    @BOTH
    @pytest.mark.parametrize("name", EXCEPTIONS)
    def test_an_exception_in_the_stream(self, name: str, colour: str) -> None:
        told, kind, status, retryable = EXCEPTIONS[name]
        with ScriptedServer([self.dialect.streamed(self.dialect.held, told)]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert type(error) is kind
        assert isinstance(error, APIError)
        assert "slow down" in str(error)
        assert (error.status, error.provider_status, error.retryable) == (200, status, retryable)
        assert error.partial is not None
        assert (error.partial.text, error.partial.finish_reason) == ("Hel", "pending")

    @BOTH
    def test_an_exception_before_any_event(self, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(CONTEXT)]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert type(error) is ContextLengthError
        assert error.partial is None or not error.partial.message.content

    @BOTH
    def test_an_exception_after_the_end_is_not_heard(self, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(self.dialect.text + CONTEXT)]) as server:
            assert self.asked(colour, f"{server.url}/v1").response.text == "Hello"

    @BOTH
    def test_an_exception_that_was_cut(self, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(self.dialect.held + CONTEXT[:-1])]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert isinstance(error, StreamInterrupted)
        assert error.partial is not None and error.partial.text == "Hel"

    @BOTH
    @FORMS
    @pytest.mark.parametrize("name", NOES)
    def test_bedrock_says_no(self, name: str, stream: bool, colour: str) -> None:
        self.refused(NOES[name], stream, colour)

    @BOTH
    @pytest.mark.parametrize("place", [0, 5, 9, 14, 60, -6, -1], ids=str)
    def test_a_flipped_bit(self, place: int, colour: str) -> None:
        """In both lengths, in the prelude's checksum, in the headers, in the payload, in the last checksum."""
        *_, (headers, payload) = parts(self.dialect.text)
        last = bytearray(raw_message(headers, payload))
        last[place] ^= 4
        with ScriptedServer([self.dialect.streamed(self.dialect.held, bytes(last))]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert isinstance(error, FramingError)
        assert "checksum" in str(error)
        assert error.partial is not None and error.partial.text == "Hel"

    @BOTH
    @pytest.mark.parametrize("body", [b'data: {"type": "ping"}\n\n', b"<html>Bad gateway</html>"])
    def test_what_is_no_event_stream(self, body: bytes, colour: str) -> None:
        with ScriptedServer([self.dialect.streamed(body)]) as server:
            error = failing(self.dialect, colour, server, stream=True)

        assert isinstance(error, FramingError)
        assert "Not an AWS event stream" in str(error)

    @BOTH
    @pytest.mark.parametrize("name", sorted(CONFIG.keys() - {"no key", "a URL without its key"}))
    def test_a_set_up_that_cannot_work(self, name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        super().test_a_set_up_that_cannot_work(name, colour, monkeypatch)

    @BOTH
    def test_no_region(self, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_REGION")
        make, run = COLOURS[colour]
        with pytest.raises(ConfigError, match="set AWS_REGION"):
            run(make(f"{self.dialect.row}:m", api_key=KEY), stream=False)

    @BOTH
    def test_credentials_that_are_not_taken(self, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-token")
        make, run = COLOURS[colour]
        told = b'{"message": "The security token planted-token is invalid."}'
        refused = Answer(403, {"x-amzn-errortype": "UnrecognizedClientException"}, told)
        with ScriptedServer([refused]) as server, pytest.raises(AuthenticationError) as caught:
            run(make(f"{self.dialect.row}:m", base_url=f"{server.url}/v1"), stream=False)

        assert "check the AWS credentials: credentials=, AWS_ACCESS_KEY_ID" in str(caught.value)
        assert "planted" not in f"{caught.value!r} {vars(caught.value)}"

    @BOTH
    def test_the_environments_bearer_key_does_not_leave_home(
        self, colour: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A base URL given in code is signed for; the key that whoever holds may use is not sent there."""
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
        make, run = COLOURS[colour]
        with ScriptedServer([Answer(body=self.dialect.whole)]) as server:
            client = make(f"{self.dialect.row}:m", base_url=f"{server.url}/v1")
            assert run(client, stream=False).response.text == "Hello"

            sent = str(server.requests)
        assert "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/" in sent
        assert KEY not in sent
        assert "planted-secret" not in sent
