"""Everything that can go wrong between us and a provider, as tables and tests for any protocol.

Each row says what the server does and what the caller must get: which error, in which words, with which partial,
and that no connection is left open. A protocol's own test module gives a Dialect (dialects.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from brainwires_provider import (
    PROVIDERS,
    APIError,
    AsyncClient,
    AuthenticationError,
    ConfigError,
    ConnectError,
    ContextLengthError,
    FramingError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    ProviderError,
    RateLimitError,
    RequestTimeout,
    Retry,
    ServerError,
    StreamInterrupted,
    StreamTimeout,
    Timeouts,
    TransportError,
)
from brainwires_provider.testing import (
    Answer,
    Close,
    Drop,
    ScriptedServer,
    Stall,
    cut,
    refuse,
    split,
)
from colours import COLOURS, Outcome, ask
from dialects import Dialect

KEY = "sk-planted-key"
BOTH = pytest.mark.parametrize("colour", COLOURS)
FORMS = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])


def failing(
    dialect: Dialect, colour: str, server: ScriptedServer, *, stream: bool, **settings: Any
) -> ProviderError:
    """The error of one request. Nothing of it shows the key, and no connection is left."""
    with pytest.raises(ProviderError) as caught:
        ask(colour, f"{server.url}/v1", stream=stream, model=f"{dialect.row}:m", **settings)
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
    "forbidden": No(403, refusal("not yours"), PermissionDeniedError, "not yours"),
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
        429, refusal("no money", code="insufficient_quota"), RateLimitError, "no money", retryable=False
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


# -- answers that are not what they should be ------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    answer: Callable[[Dialect, bool], Answer]
    kind: type[ProviderError]
    says: str
    partial: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    forms: tuple[bool, ...] = (True, False)


UNENDED = "(as the dialect says that the end is missing)"

BROKEN: dict[str, Broken] = {
    "empty body": Broken(
        lambda d, s: Answer(headers={"content-type": "application/json"}), ProtocolError, "empty body"
    ),
    "empty stream": Broken(lambda d, s: d.streamed(b""), StreamInterrupted, UNENDED, forms=(True,)),
    "not JSON": Broken(lambda d, s: Answer(body=b"hello"), ProtocolError, "'hello'"),
    "not JSON in a stream": Broken(
        lambda d, s: d.streamed(d.held, d.frames.garbled),
        ProtocolError,
        "not JSON",
        "Hel",
        forms=(True,),
    ),
    "a page": Broken(
        lambda d, s: Answer(headers={"content-type": "text/html"}, body=b"<!doctype html><p>Hi"),
        ProtocolError,
        "an HTML page",
    ),
    "an array": Broken(lambda d, s: Answer(body=b"[1]"), ProtocolError, "list where a JSON object is due"),
    "no answer in it": Broken(lambda d, s: Answer(body=b'{"id": "x"}'), ProtocolError, "has no "),
    "misshapen": Broken(lambda d, s: Answer(body=d.misshapen), ProtocolError, "not the shape"),
    "an error under 200": Broken(lambda d, s: Answer(body=d.limited), RateLimitError, "late no"),
    "an error in the stream": Broken(
        lambda d, s: d.streamed(d.held + d.burnt),
        OverloadedError,
        "burnt",
        "Hel",
        forms=(True,),
    ),
    "cut by FIN": Broken(
        lambda d, s: d.streamed(d.held, Close()),
        StreamInterrupted,
        "lost during the response",
        "Hel",
        forms=(True,),
    ),
    "cut by RST": Broken(
        lambda d, s: d.streamed(d.held, Drop()),
        StreamInterrupted,
        "lost during the response",
        "Hel",
        forms=(True,),
    ),
    "cut whole": Broken(
        lambda d, s: cut(Answer(body=d.whole), 40),
        StreamInterrupted,
        "lost during the response",
        forms=(False,),
    ),
    "ends without its end": Broken(
        lambda d, s: d.streamed(d.held), StreamInterrupted, UNENDED, "Hel", forms=(True,)
    ),
    "ends inside a message": Broken(
        lambda d, s: d.streamed(d.held, d.frames.torn),
        StreamInterrupted,
        UNENDED,
        "Hel",
        forms=(True,),
    ),
    "stalls in mid-answer": Broken(
        lambda d, s: d.streamed(d.held, Stall()),
        StreamTimeout,
        "the idle clock of 0.2 s",
        "Hel",
        {"timeouts": Timeouts(idle=0.2)},
        (True,),
    ),
    "heartbeats only": Broken(
        lambda d, s: d.streamed(d.held, *[d.frames.beat] * 3, Stall()),
        StreamTimeout,
        "the idle clock",
        "Hel",
        {"timeouts": Timeouts(idle=0.2)},
        (True,),
    ),
    "never answers": Broken(
        lambda d, s: Answer(stall_before_headers=True),
        RequestTimeout,
        "no answer began within 0.2 s",
        settings={"timeouts": Timeouts(first_event=0.2)},
    ),
    "head only": Broken(
        lambda d, s: d.streamed(Stall()) if s else Answer(headers={"content-length": "9"}),
        RequestTimeout,
        "no answer began within 0.2 s",
        settings={"timeouts": Timeouts(first_event=0.2)},
    ),
    "attempt clock": Broken(
        lambda d, s: Answer(stall_before_headers=True),
        RequestTimeout,
        "Timeouts.attempt",
        settings={"timeouts": Timeouts(attempt=0.2)},
    ),
    "total clock": Broken(
        lambda d, s: d.streamed(d.held, Stall()),
        StreamTimeout,
        "the total clock",
        "Hel",
        {"timeouts": Timeouts(total=0.3)},
        (True,),
    ),
    "an event over the limit": Broken(
        lambda d, s: d.streamed(d.held, d.frames.big),
        FramingError,
        "max_event_bytes",
        "Hel",
        {"max_event_bytes": 4096},
        (True,),
    ),
    "a body over the limit": Broken(
        lambda d, s: Answer(body=b" " * 5000),
        FramingError,
        "max_event_bytes",
        settings={"max_event_bytes": 4096},
        forms=(False,),
    ),
    "closed before the answer": Broken(lambda d, s: Answer(drop=True), TransportError, "before it answered"),
    "not HTTP": Broken(
        lambda d, s: Answer(raw=b"SSH-2.0-OpenSSH\r\n"), ProtocolError, "did not answer in HTTP"
    ),
}


CONFIG: dict[str, tuple[str, dict[str, Any], str]] = {
    "no provider": ("gpt-6", {}, 'names no provider; did you mean "openai:gpt-6"'),
    "unknown provider": ("XROW:x", {}, "did you mean 'ROW'"),
    "no model": ("ROW:", {"api_key": "k"}, "name a model of ROW"),
    "no key": ("ROW:x", {}, "set KEY_ENV or pass api_key="),
    "plain http": ("ROW:x", {"base_url": "http://example.com/v1", "api_key": "k"}, "plain http"),
    "no URL": ("ROW:x", {"base_url": "example.com", "api_key": "k"}, "is not an http"),
    "bad port": ("ROW:x", {"base_url": "https://h:99999/", "api_key": "k"}, "is not an http"),
    "no host": (
        "ROW:x",
        {"base_url": "https:///v1?key=sk-PLANTED", "api_key": "k"},
        "base_url 'https:///v1' is not an http",
    ),
    "a password in the URL": (
        "ROW:x",
        {"base_url": "https://me:pw@example.com/api", "api_key": "k"},
        "base_url 'https://example.com/api' holds a user name or password",
    ),
    "a URL without its key": (
        "ROW:x",
        {"base_url": "https://example.com/v1"},
        "its key must be given in code",
    ),
    "a SOCKS proxy": (
        "ROW:x",
        {"api_key": "k", "proxy": "socks5://localhost:1"},
        "only http and https proxies",
    ),
    "a key with a line break": (
        "ROW:x",
        {"api_key": "sk-a\nb"},
        "character that is not allowed in a header",
    ),
}


UNNAMED = ("no provider", "unknown provider", "no model", "a SOCKS proxy")
"""Where no provider is known when the fault is found."""


class FaultTests:
    """The tests; a protocol's own class sets its dialect."""

    dialect: Dialect

    def asked(self, colour: str, url: str, **settings: Any) -> Outcome:
        """One request in this dialect."""
        return ask(colour, url, model=f"{self.dialect.row}:m", **settings)

    @BOTH
    @FORMS
    @pytest.mark.parametrize("name", NOES)
    def test_a_provider_says_no(self, name: str, stream: bool, colour: str) -> None:
        self.refused(NOES[name], stream, colour)

    def refused(self, no: No, stream: bool, colour: str) -> None:
        """A request that the provider says no to, and what the caller gets."""
        headers = {"x-request-id": "req-9", **no.headers}
        with ScriptedServer([Answer(no.status, headers, no.body)]) as server:
            error = failing(self.dialect, colour, server, stream=stream)

        assert type(error) is no.kind
        assert isinstance(error, APIError)
        assert no.says in str(error)
        assert (error.status, error.request_id, error.provider, error.model) == (
            no.status,
            "req-9",
            self.dialect.row,
            "m",
        )
        assert error.retry_after == no.retry_after
        assert error.retryable is no.retryable

    @BOTH
    @FORMS
    def test_a_redirect_is_not_followed(self, stream: bool, colour: str) -> None:
        with ScriptedServer([self.dialect.good(stream)]) as other:
            moved = Answer(307, {"location": f"{other.url}{self.dialect.path}?key=secret"})
            with ScriptedServer([moved]) as server:
                error = failing(self.dialect, colour, server, stream=stream)
            assert other.requests == []

        assert isinstance(error, APIError)
        assert error.status == 307
        assert "not followed" in str(error)
        assert "secret" not in str(error)

    @BOTH
    @FORMS
    @pytest.mark.parametrize("name", BROKEN)
    def test_a_broken_answer(self, name: str, stream: bool, colour: str) -> None:
        case = BROKEN[name]
        if stream not in case.forms:
            return
        with ScriptedServer([case.answer(self.dialect, stream)]) as server:
            error = failing(self.dialect, colour, server, stream=stream, **case.settings)

        assert isinstance(error, case.kind)
        assert (self.dialect.unended if case.says is UNENDED else case.says) in str(error)
        partial = getattr(error, "partial", None)
        assert (None if partial is None else partial.text or None) == case.partial
        if partial is not None:
            assert partial.finish_reason == "pending"
            assert partial.usage.complete is False

    @BOTH
    @pytest.mark.many
    def test_a_stream_cut_at_every_byte_is_never_passed_off_as_whole(self, colour: str) -> None:
        """By FIN without the last chunk: transport or protocol, something must notice."""
        text = self.dialect.text
        last = max(self.dialect.ends(text) - {len(text)}, default=len(text))
        cuts = range(0, min(self.dialect.ends(text) | {last}), 7)
        with ScriptedServer([cut(self.dialect.streamed(text), n) for n in cuts]) as server:
            for _ in cuts:
                with pytest.raises(StreamInterrupted):
                    self.asked(colour, f"{server.url}/v1")
            server.wait_idle(5)

    @pytest.mark.many
    def test_a_stream_closed_at_every_byte_ends_whole_only_at_its_end(self) -> None:
        """Without a length there is only the protocol to tell a cut."""
        text = self.dialect.text
        ends = self.dialect.ends(text)
        cuts = range(len(text) + 1)

        async def ask_all(url: str) -> None:
            async with AsyncClient(
                f"{self.dialect.row}:m", base_url=url, api_key=KEY, retry=Retry(1)
            ) as client:
                for n in cuts:
                    try:
                        response = await client.stream("hi").collect()
                    except StreamInterrupted as error:
                        assert error.how == "eof"
                        assert n not in ends, n
                    else:
                        assert response.text == "Hello"
                        assert n in ends, n

        with ScriptedServer([self.dialect.streamed(text[:n], framing="close") for n in cuts]) as server:
            asyncio.run(ask_all(f"{server.url}/v1"))

    @BOTH
    def test_odd_but_right(self, colour: str) -> None:
        text = self.dialect.text
        for name, body in (self.dialect.frames.clothes(text) | self.dialect.odd(text)).items():
            with ScriptedServer([self.dialect.streamed(*split(body, every=11))]) as server:
                assert self.asked(colour, f"{server.url}/v1").response.text == "Hello", name
                server.wait_idle(5)

    @BOTH
    @pytest.mark.parametrize("every", [1, 2, 3, 7])
    def test_split_characters(self, every: int, colour: str) -> None:
        text = "naïve ☃ 🧑‍🚀 a\u2028b\x85c"
        with ScriptedServer(
            [self.dialect.streamed(*split(self.dialect.stream(text), every=every))]
        ) as server:
            assert self.asked(colour, f"{server.url}/v1").response.text == text

    @BOTH
    def test_an_event_of_8_mb(self, colour: str) -> None:
        text = "x" * 8_000_000
        with ScriptedServer(
            [self.dialect.streamed(*split(self.dialect.stream(text), every=65_536))]
        ) as server:
            assert self.asked(colour, f"{server.url}/v1").response.text == text

    @BOTH
    def test_a_request_of_8_mb_arrives_whole(self, colour: str) -> None:
        with ScriptedServer([self.dialect.good(True)]) as server:
            self.asked(colour, f"{server.url}/v1", input="x" * 8_000_000)

            assert len(self.dialect.said(server.requests[0].json())) == 8_000_000

    @BOTH
    def test_a_service_that_ignores_stream(self, colour: str) -> None:
        with ScriptedServer([Answer(body=self.dialect.whole)]) as server:
            outcome = self.asked(colour, f"{server.url}/v1", stream=True)

        assert outcome.response.text == "Hello"
        assert outcome.response.usage.total_tokens == 4

    @BOTH
    @FORMS
    def test_nobody_listens(self, stream: bool, colour: str) -> None:
        with refuse() as port, pytest.raises(ConnectError, match="is a server listening there") as caught:
            self.asked(colour, f"http://127.0.0.1:{port}/v1", stream=stream)

        assert isinstance(caught.value, ConnectionError)
        assert caught.value.retryable

    @BOTH
    def test_a_name_that_does_not_resolve(self, colour: str) -> None:
        with pytest.raises(ConnectError, match=r"https://nowhere\.invalid does not resolve"):
            self.asked(colour, "https://nowhere.invalid/v1")

    @BOTH
    def test_a_proxy_that_refuses(self, colour: str) -> None:
        with (
            ScriptedServer([Answer(407)]) as proxy,
            pytest.raises(ConnectError, match=r"the proxy .* answered 407"),
        ):
            self.asked(colour, "https://api.example.invalid/v1", proxy=proxy.url)
        assert KEY not in str(proxy.requests)
        with refuse() as port, pytest.raises(ConnectError, match=r"the proxy .* cannot be reached"):
            self.asked(colour, "https://api.example.invalid/v1", proxy=f"http://user:pw@127.0.0.1:{port}")

    @BOTH
    @pytest.mark.parametrize("name", CONFIG)
    def test_a_set_up_that_cannot_work(self, name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        row = PROVIDERS[self.dialect.row]
        monkeypatch.delenv(str(row.key_env), raising=False)
        model, settings, says = CONFIG[name]
        make, run = COLOURS[colour]
        with pytest.raises(ConfigError) as caught:
            run(make(model.replace("ROW", row.name), **settings), stream=False)

        assert says.replace("ROW", row.name).replace("KEY_ENV", str(row.key_env)) in str(caught.value)
        assert "PLANTED" not in str(caught.value)
        assert caught.value.provider == (None if name in UNNAMED else row.name)
