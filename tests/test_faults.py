"""Everything that can go wrong between us and a provider, through both colours, streamed and whole.

Each row says what the server does and what the caller must get: which error, in which words, with which partial,
and that no connection is left open.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trustme

from brainwires_provider import (
    APIError,
    AuthenticationError,
    ConfigError,
    ConnectError,
    ContextLengthError,
    FramingError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDenied,
    ProtocolError,
    ProviderConfig,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
    Timeout,
    Timeouts,
    TransportError,
)
from brainwires_provider.testing import Answer, Close, Drop, ScriptedServer, Stall, cut, refuse, split, sse
from colours import COLOURS, ask

KEY = "sk-planted-key"
BOTH = pytest.mark.parametrize("colour", COLOURS)
FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "model": "m-1",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


TEXT = sse(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hello"}), chunk({}, "stop"))
WHOLE = json.dumps(
    {
        "id": "c1",
        "model": "m-1",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }
).encode()


def good(stream: bool) -> Answer:
    return Answer(body=[TEXT]) if stream else Answer(body=WHOLE)


def failing(colour: str, server: ScriptedServer, *, stream: bool, **settings: Any) -> ProviderError:
    """The error of one request. Nothing of it shows the key, and no connection is left."""
    with pytest.raises(ProviderError) as caught:
        ask(colour, f"{server.url}/v1", stream=stream, **settings)
    server.wait_idle(5)
    error = caught.value
    shown = f"{error!r} {error} {vars(error)}"
    assert KEY not in shown
    return error


# -- what a provider says no with ------------------------------------------------------------------------


def refusal(message: str = "no", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


@dataclass(frozen=True)
class No:
    status: int
    body: bytes
    kind: type[APIError]
    says: str
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    retryable: bool = False


NOES = {
    "bad request": No(400, refusal("bad field"), InvalidRequestError, "bad field"),
    "wrong key": No(
        401, refusal(f"Incorrect key: {KEY}", code="invalid_api_key"), AuthenticationError, "check the key"
    ),
    "forbidden": No(403, refusal("not yours"), PermissionDenied, "not yours"),
    "unknown model": No(
        404, refusal("no such model", code="model_not_found"), NotFoundError, "check the model's name, 'm'"
    ),
    "too large": No(413, refusal("payload too large"), InvalidRequestError, "payload too large"),
    "context": No(
        400, refusal("m", code="context_length_exceeded"), ContextLengthError, "shorten the messages"
    ),
    "context in words": No(
        400,
        refusal("This model's maximum context length is 8 tokens"),
        ContextLengthError,
        "maximum context length",
    ),
    "context of llama.cpp": No(
        400, refusal("too big", code=400, type="exceed_context_size_error"), ContextLengthError, "too big"
    ),
    "rate limit in seconds": No(
        429, refusal("slow down"), RateLimitError, "try again in 7 s", {"retry-after": "7"}, 7.0, True
    ),
    "rate limit in ms": No(
        429, refusal("slow"), RateLimitError, "try again in 0.5 s", {"retry-after-ms": "500"}, 0.5, True
    ),
    "rate limit by date, past": No(
        429,
        refusal("slow"),
        RateLimitError,
        "slow",
        {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
        0.0,
        True,
    ),
    "quota": No(
        429, refusal("no money", code="insufficient_quota"), RateLimitError, "no money", retryable=True
    ),
    "500": No(500, refusal("oops"), ServerError, "oops", retryable=True),
    "502 with a page": No(
        502,
        b"<html><h1>Bad gateway</h1></html>",
        ServerError,
        "an HTML page",
        {"content-type": "text/html"},
        None,
        True,
    ),
    "503": No(503, refusal("busy"), OverloadedError, "busy", {"retry-after": "1"}, 1.0, True),
    "529": No(529, refusal("busy", type="overloaded_error"), OverloadedError, "busy", retryable=True),
    "empty body": No(500, b"", ServerError, "an empty body", retryable=True),
    "text": No(400, b"nope", InvalidRequestError, "'nope'"),
    "detail": No(401, b'{"detail": "who are you?"}', AuthenticationError, "who are you"),
    "error as text": No(400, b'{"error": "just words"}', InvalidRequestError, "just words"),
    "list": No(400, b'[{"error": {"message": "in a list"}}]', InvalidRequestError, "in a list"),
    "validation": No(
        422,
        b'{"detail": [{"loc": ["body", "model"], "msg": "missing"}]}',
        InvalidRequestError,
        "body.model: missing",
    ),
    "vague type under 404": No(404, refusal("gone", type="invalid_request_error"), NotFoundError, "gone"),
    "teapot": No(418, refusal("short and stout"), InvalidRequestError, "short and stout"),
}


@BOTH
@FORMS
@pytest.mark.parametrize("name", NOES)
def test_a_provider_says_no(name: str, stream: bool, colour: str) -> None:
    no = NOES[name]
    headers = {"x-request-id": "req-9", **no.headers}
    with ScriptedServer([Answer(no.status, headers, no.body)]) as server:
        error = failing(colour, server, stream=stream)

    assert type(error) is no.kind
    assert isinstance(error, APIError)
    assert no.says in str(error)
    assert (error.status, error.request_id, error.provider, error.model) == (
        no.status,
        "req-9",
        "openai-chat",
        "m",
    )
    assert error.retry_after == no.retry_after
    assert error.retryable is no.retryable


@BOTH
@FORMS
def test_a_redirect_is_not_followed(stream: bool, colour: str) -> None:
    with ScriptedServer([good(stream)]) as other:
        moved = Answer(307, {"location": f"{other.url}/v1/chat/completions?key=secret"})
        with ScriptedServer([moved]) as server:
            error = failing(colour, server, stream=stream)
        assert other.requests == []

    assert isinstance(error, APIError)
    assert error.status == 307
    assert "not followed" in str(error)
    assert "secret" not in str(error)


# -- answers that are not what they should be ------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    answer: Callable[[bool], Answer]
    kind: type[ProviderError]
    says: str
    partial: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    forms: tuple[bool, ...] = (True, False)


HELD = sse(chunk({"content": "Hel"}), done=False)

BROKEN = {
    "empty body": Broken(
        lambda s: Answer(headers={"content-type": "application/json"}), ProtocolError, "empty body"
    ),
    "empty stream": Broken(
        lambda s: Answer(body=[b""]), StreamInterrupted, "no finish reason", forms=(True,)
    ),
    "not JSON": Broken(lambda s: Answer(body=b"hello"), ProtocolError, "'hello'"),
    "not JSON in a stream": Broken(
        lambda s: Answer(body=[HELD, b"data: {oops\n\n"]), ProtocolError, "not JSON", "Hel", forms=(True,)
    ),
    "a page": Broken(
        lambda s: Answer(headers={"content-type": "text/html"}, body=b"<!doctype html><p>Hi"),
        ProtocolError,
        "an HTML page",
    ),
    "an array": Broken(lambda s: Answer(body=b"[1]"), ProtocolError, "list where a JSON object is due"),
    "no choices": Broken(lambda s: Answer(body=b'{"id": "x"}'), ProtocolError, "no choices"),
    "misshapen": Broken(lambda s: Answer(body=b'{"choices": [3]}'), ProtocolError, "not the shape"),
    "an error under 200": Broken(
        lambda s: Answer(body=refusal("late no", code="rate_limit_exceeded")), RateLimitError, "late no"
    ),
    "an error in the stream": Broken(
        lambda s: Answer(body=[HELD + sse({"error": {"message": "burnt", "code": 503}})]),
        OverloadedError,
        "burnt",
        "Hel",
        forms=(True,),
    ),
    "cut by FIN": Broken(
        lambda s: Answer(body=[HELD, Close()]), StreamInterrupted, "lost in mid-answer", "Hel", forms=(True,)
    ),
    "cut by RST": Broken(
        lambda s: Answer(body=[HELD, Drop()]), StreamInterrupted, "lost in mid-answer", "Hel", forms=(True,)
    ),
    "cut whole": Broken(
        lambda s: cut(Answer(body=WHOLE), 40), StreamInterrupted, "lost in mid-answer", forms=(False,)
    ),
    "ends without its end": Broken(
        lambda s: Answer(body=[HELD]), StreamInterrupted, "no finish reason", "Hel", forms=(True,)
    ),
    "ends inside a message": Broken(
        lambda s: Answer(body=[HELD, b'data: {"id"']),
        StreamInterrupted,
        "no finish reason",
        "Hel",
        forms=(True,),
    ),
    "stalls in mid-answer": Broken(
        lambda s: Answer(body=[HELD, Stall()]),
        StreamTimeout,
        "the idle clock of 0.2 s",
        "Hel",
        {"timeouts": Timeouts(idle=0.2)},
        (True,),
    ),
    "heartbeats only": Broken(
        lambda s: Answer(body=[HELD, *[b": ping\n\n"] * 3, Stall()]),
        StreamTimeout,
        "the idle clock",
        "Hel",
        {"timeouts": Timeouts(idle=0.2)},
        (True,),
    ),
    "never answers": Broken(
        lambda s: Answer(stall_before_headers=True),
        Timeout,
        "no answer began within 0.2 s",
        settings={"timeouts": Timeouts(first_event=0.2)},
    ),
    "head only": Broken(
        lambda s: Answer(body=[Stall()] if s else b"", headers={} if s else {"content-length": "9"}),
        Timeout,
        "no answer began within 0.2 s",
        settings={"timeouts": Timeouts(first_event=0.2)},
    ),
    "attempt clock": Broken(
        lambda s: Answer(stall_before_headers=True),
        Timeout,
        "Timeouts.attempt",
        settings={"timeouts": Timeouts(attempt=0.2)},
    ),
    "total clock": Broken(
        lambda s: Answer(body=[HELD, Stall()]),
        StreamTimeout,
        "the total clock",
        "Hel",
        {"timeouts": Timeouts(total=0.3)},
        (True,),
    ),
    "an event over the limit": Broken(
        lambda s: Answer(body=[HELD, sse(chunk({"content": "x" * 5000}))]),
        FramingError,
        "max_event_bytes",
        "Hel",
        {"max_event_bytes": 4096},
        (True,),
    ),
    "a body over the limit": Broken(
        lambda s: Answer(body=b" " * 5000),
        FramingError,
        "max_event_bytes",
        settings={"max_event_bytes": 4096},
        forms=(False,),
    ),
    "closed before the answer": Broken(lambda s: Answer(drop=True), TransportError, "before it answered"),
    "not HTTP": Broken(lambda s: Answer(raw=b"SSH-2.0-OpenSSH\r\n"), ProtocolError, "did not answer in HTTP"),
}


@BOTH
@FORMS
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer(name: str, stream: bool, colour: str) -> None:
    case = BROKEN[name]
    if stream not in case.forms:
        return
    with ScriptedServer([case.answer(stream)]) as server:
        error = failing(colour, server, stream=stream, **case.settings)

    assert isinstance(error, case.kind)
    assert case.says in str(error)
    partial = getattr(error, "partial", None)
    assert (None if partial is None else partial.text or None) == case.partial
    if partial is not None:
        assert partial.finish_reason == "pending"
        assert partial.usage.complete is False


@BOTH
def test_a_stream_cut_at_every_byte_is_never_passed_off_as_whole(colour: str) -> None:
    """By FIN without the last chunk: transport or protocol, something must notice."""
    cuts = range(0, len(TEXT), 7)
    with ScriptedServer([cut(Answer(body=[TEXT], framing="chunked"), n) for n in cuts]) as server:
        for _ in cuts:
            with pytest.raises(StreamInterrupted):
                ask(colour, f"{server.url}/v1")
        server.wait_idle(5)


def test_a_stream_closed_at_every_byte_ends_whole_only_after_its_finish_reason() -> None:
    """Without a length there is only the protocol to tell a cut: `[DONE]`, or a finish reason and a clean end."""
    finish = TEXT.index(b'"stop"')
    after_finish = TEXT.index(b"\n\n", finish) + 2
    with ScriptedServer([Answer(body=[TEXT[:n]], framing="close") for n in range(len(TEXT) + 1)]) as server:
        for n in range(len(TEXT) + 1):
            try:
                response = ask("async", f"{server.url}/v1").response
            except StreamInterrupted as error:
                assert error.how == "eof"
                assert n < len(TEXT) - 2
                whole = False
            else:
                whole = True
                assert response.text == "Hello"
                assert n >= after_finish - 2
            assert whole == (n in (after_finish - 2, after_finish - 1, after_finish) or n >= len(TEXT) - 2), n


# -- right results in odd clothes ------------------------------------------------------------------------

ODD = {
    "CRLF": TEXT.replace(b"\n", b"\r\n"),
    "CR": TEXT.replace(b"\n", b"\r"),
    "comments": b": hi\n\n" + TEXT.replace(b"\n\n", b"\n\n: beat\n\n"),
    "a BOM": b"\xef\xbb\xbf" + TEXT,
    "unknown fields and events": sse({"type": "ping"}, done=False) + b"event: odd\nid: 3\nretry: 5\n" + TEXT,
    "no [DONE]": TEXT.removesuffix(b"data: [DONE]\n\n"),
    "no last blank line": TEXT[:-1],
}


@BOTH
@pytest.mark.parametrize("name", ODD)
def test_odd_but_right(name: str, colour: str) -> None:
    with ScriptedServer([Answer(body=split(ODD[name], every=11))]) as server:
        assert ask(colour, f"{server.url}/v1").response.text == "Hello"
        server.wait_idle(5)


@BOTH
@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_split_characters(every: int, colour: str) -> None:
    text = "naïve ☃ 🧑‍🚀 a\u2028b\x85c"
    body = sse(chunk({"content": text}), chunk({}, "stop"))
    with ScriptedServer([Answer(body=split(body, every=every))]) as server:
        assert ask(colour, f"{server.url}/v1").response.text == text


@BOTH
def test_an_event_of_8_mb(colour: str) -> None:
    text = "x" * 8_000_000
    with ScriptedServer(
        [Answer(body=split(sse(chunk({"content": text}), chunk({}, "stop")), every=65_536))]
    ) as server:
        assert ask(colour, f"{server.url}/v1").response.text == text


@BOTH
def test_a_request_of_8_mb_arrives_whole(colour: str) -> None:
    with ScriptedServer([good(True)]) as server:
        ask(colour, f"{server.url}/v1", input="x" * 8_000_000)

        assert len(server.requests[0].json()["messages"][0]["content"]) == 8_000_000


@BOTH
def test_a_service_that_ignores_stream(colour: str) -> None:
    with ScriptedServer([Answer(body=WHOLE)]) as server:
        outcome = ask(colour, f"{server.url}/v1", stream=True)

    assert outcome.response.text == "Hello"
    assert outcome.response.usage.total_tokens == 4


# -- before any byte -------------------------------------------------------------------------------------


@BOTH
@FORMS
def test_nobody_listens(stream: bool, colour: str) -> None:
    with refuse() as port, pytest.raises(ConnectError, match="is a server listening there") as caught:
        ask(colour, f"http://127.0.0.1:{port}/v1", stream=stream)

    assert isinstance(caught.value, ConnectionError)
    assert caught.value.retryable


@BOTH
def test_a_name_that_does_not_resolve(colour: str) -> None:
    with pytest.raises(ConnectError, match=r"https://nowhere\.invalid does not resolve"):
        ask(colour, "https://nowhere.invalid/v1")


@BOTH
def test_a_proxy_that_refuses(colour: str) -> None:
    with (
        ScriptedServer([Answer(407)]) as proxy,
        pytest.raises(ConnectError, match=r"the proxy .* answered 407"),
    ):
        ask(colour, "https://api.example.invalid/v1", proxy=proxy.url)
    assert KEY not in str(proxy.requests)
    with refuse() as port, pytest.raises(ConnectError, match=r"the proxy .* cannot be reached"):
        ask(colour, "https://api.example.invalid/v1", proxy=f"http://user:pw@127.0.0.1:{port}")


CONFIG = {
    "no provider": ("gpt-6", {}, 'names no provider; for example "openai-chat:gpt-6"'),
    "unknown provider": ("opnai-chat:x", {}, "did you mean 'openai-chat'"),
    "not built yet": ("anthropic:x", {}, "not built in this release"),
    "no model": ("openai-chat:", {"api_key": "k"}, "name a model of openai-chat"),
    "no key": ("openai-chat:x", {}, "set OPENAI_API_KEY or pass api_key="),
    "plain http": ("openai-chat:x", {"base_url": "http://example.com/v1", "api_key": "k"}, "plain http"),
    "no URL": ("openai-chat:x", {"base_url": "example.com", "api_key": "k"}, "is no http"),
    "bad port": ("openai-chat:x", {"base_url": "https://h:99999/", "api_key": "k"}, "is no http"),
    "a password in the URL": (
        "openai-chat:x",
        {"base_url": "https://me:pw@example.com/v1", "api_key": "k"},
        "base_url 'https://example.com/v1' holds a user name or password",
    ),
    "a URL without its key": (
        "openai-chat:x",
        {"base_url": "https://example.com/v1"},
        "its key must be given in code",
    ),
    "a SOCKS proxy": (
        "openai-chat:x",
        {"api_key": "k", "proxy": "socks5://localhost:1"},
        "only http and https proxies",
    ),
    "a key with a line break": (
        "openai-chat:x",
        {"api_key": "sk-a\nb"},
        "character that no header can carry",
    ),
}


@BOTH
@pytest.mark.parametrize("name", CONFIG)
def test_a_set_up_that_cannot_work(name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    model, settings, says = CONFIG[name]
    make, run = COLOURS[colour]
    with pytest.raises(ConfigError) as caught:
        run(make(model, **settings), stream=False)

    assert says in str(caught.value)


# -- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@BOTH
def test_a_private_authority(colour: str, authority: trustme.CA) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with ScriptedServer([good(True), good(True)], ssl_context=server_context) as server:
        assert ask(colour, f"{server.url}/v1", ssl_context=trusting).response.text == "Hello"
        with pytest.raises(ConnectError, match=r"TLS with .* failed .*pass ssl_context="):
            ask(colour, f"{server.url}/v1")


# -- a key's home ----------------------------------------------------------------------------------------


@BOTH
def test_a_client_for_one_provider_keeps_its_key_from_another(
    colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-other")
    make, run = COLOURS[colour]
    with ScriptedServer([good(False)]) as server:
        config = ProviderConfig("groq", api_key="gsk-given", base_url=f"{server.url}/openai/v1")
        client = make(
            "openai-chat:m",
            api_key=KEY,
            base_url="https://api.example.com/v1",
            headers={"x-team": KEY},
            providers=[config],
        )
        run(client, stream=False, model="groq:llama")

        sent = str(server.requests)
        assert "gsk-given" in sent
        assert KEY not in sent
        assert "x-team" not in sent
