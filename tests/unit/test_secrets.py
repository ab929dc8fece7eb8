"""One planted key, every provider, every source of a secret, every way by which a server's text comes back."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    Client,
    Config,
    ConfigError,
    Credentials,
    EnvKey,
    FileKey,
    NamedModel,
    Options,
    ProviderConfig,
    ProviderError,
    Request,
    ResponseRestart,
    Retry,
    WebSocketOptions,
)
from brainwires_provider._core.plan import endpoint_of
from brainwires_provider.auth.redaction import header_secrets, redact
from brainwires_provider.testing import (
    Answer,
    CloseFrame,
    Drop,
    RecordedRequest,
    ScriptedServer,
    ScriptedSocket,
    sse,
)
from brainwires_provider.transports.base import Outgoing
from brainwires_provider.transports.websocket.handshake import Handshake
from brainwires_provider.types.suspects import (
    Guarded,
    is_secret_header,
    is_secret_name,
    looks_like_key,
    may_be_key,
    query_fields,
    secret_fields,
    url_holds_secret,
)
from chat_answers import TEXT, WHOLE, chunk
from event_streams import CONTENT_TYPE, error, exception
from planted_key import ECHO, FORMS, KEY, ROUTES, leaks, shown, shown_by

REMOTE = sorted(name for name, row in PROVIDERS.items() if row.transport != "local")
ONE_EACH = ("anthropic", "bedrock", "brainwires", "google", "ollama", "openai-chat", "openai-responses-ws")
"""Providers of all protocols, whose tests are part of every run."""
BEDROCK = {
    "an exception in a stream": Answer(headers=CONTENT_TYPE, body=exception("validationException", ECHO)),
    "an error in a stream's headers": Answer(headers=CONTENT_TYPE, body=error(KEY, ECHO)),
}


def test_the_search_finds_what_it_is_for() -> None:
    for name, form in FORMS.items():
        assert leaks(form), name
    assert not leaks("sk-plan, and nothing else of it: " + "abcdefgh" * 9)


# -- redaction itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_removed_in_every_form_and_nothing_else(form: str) -> None:
    text = f"before ({FORMS[form]}) after 100% sure, aGVsbG8gd29ybGQh"
    cleaned = redact(text, (KEY,))

    assert not leaks(cleaned)
    assert "[redacted]" in cleaned
    assert cleaned.startswith("before (")
    assert cleaned.endswith(" after 100% sure, aGVsbG8gd29ybGQh")


@pytest.mark.parametrize("size", range(8, len(KEY)))
def test_a_secret_that_was_cut_is_removed(size: int) -> None:
    assert redact(f"wrong: {KEY[:size]}…", (KEY,)) == "wrong: [redacted]…"


def test_redaction_takes_time_in_proportion_to_the_text() -> None:
    """A server may answer with a megabyte of anything."""
    for text in (KEY * 20_000, FORMS["base64"] * 20_000, "a" * 1_000_000, "%" * 300_000, "%41" * 300_000):
        assert not leaks(redact(text, (KEY,))[:10_000])


@pytest.mark.parametrize("value", ["Basic a", "Basic é", "Basic !", "Basic ", "Basic dXNlcg=="])
def test_what_is_no_password_is_no_secret_of_its_own(value: str) -> None:
    assert value in header_secrets({"Authorization": value}, {"Authorization": value})


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert redact({"a": ["max", 1]}, ("max", "a")) == {"a": ["max", 1]}


# -- every provider, every route -----------------------------------------------------------------------------


def set_up(name: str, url: str, **given: Any) -> ProviderConfig:
    row = PROVIDERS[name]
    given = given or {"api_key": KEY}
    if row.cloud == "aws":
        given["region"] = "us-east-1"
    return ProviderConfig(name, base_url=url, socket=WebSocketOptions(http_fallback=False), **given)


async def answers(client: AsyncClient, *, further: bool = False) -> list[Any]:
    """What chats give, and further kinds of requests: answers and errors."""
    acts = [lambda: client.chat("hi"), lambda: client.stream("hi").collect()]
    if further:
        acts += [client.models, lambda: client.count_tokens("hi"), lambda: client.embed(["hi"])]
    found: list[Any] = []
    for act in acts:
        try:
            found.append(await act())
        except ProviderError as error:
            found.append(error)
    return found


class Asked:
    """A server that repeats the key by one route after the other, and all that a client showed of it.

    It repeats what was sent to it, or anything if the key is not sent (`unsent`: it only signs).
    """

    def __init__(self, routes: dict[str, Answer], *, unsent: bool = False) -> None:
        self.routes, self.unsent = routes, unsent
        self.errors = 0
        self.leaks: list[str] = []

    def ask(self, make: Callable[[str], AsyncClient]) -> None:
        with ScriptedServer(self.repeat) as server:
            asyncio.run(self.all(make(f"{server.url}/v1")))

    def repeat(self, request: RecordedRequest) -> Answer:
        sent = unquote(f"{request.target} {request.headers}")
        return self.routes[self.route] if self.unsent or leaks(sent) else Answer(500)

    async def all(self, client: AsyncClient) -> None:
        async with client:
            for route in self.routes:
                self.route = route
                for outcome in await answers(client, further=route.startswith(("fields", "no JSON"))):
                    texts = shown_by(outcome) if isinstance(outcome, ProviderError) else shown(outcome)
                    self.errors += isinstance(outcome, ProviderError) and type(outcome) is not ConfigError
                    self.leaks += [f"{route}: {type(outcome).__name__}: {leak}" for leak in leaks(*texts)]
            self.leaks += leaks(f"{client!r} {client._session.configs!r}")


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No log and no warning shows the key, at any level."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert not leaks(*(f"{record.getMessage()} {vars(record)}" for record in caplog.records))
    assert not leaks(*map(str, caught))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ONE_EACH else [pytest.mark.long]) for name in REMOTE]
)
def test_a_key_that_a_server_repeats_shows_nowhere(name: str) -> None:
    asked = Asked(ROUTES | (BEDROCK if PROVIDERS[name].cloud == "aws" else {}))
    asked.ask(lambda url: AsyncClient(f"{name}:m", providers=[set_up(name, url)], retry=AT_ONCE))

    assert not asked.leaks, "\n".join(asked.leaks[:10])
    assert asked.errors > 1.5 * len(ROUTES)


async def callable_key() -> str:
    return KEY


AT_ONCE = Retry(attempts=2, base=0)
"""Errors hold a failed attempt too, without a wait for it."""
SOURCES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a callable": lambda url: {"api_key": callable_key, "base_url": url},
    "a header by its name": lambda url: {
        "headers": {"X-Session-Token": KEY},
        "api_key": "none",
        "base_url": url,
    },
    "a header by its value": lambda url: {
        "headers": {"X-Team": f"{KEY} sk-0123456789abcdefgh"},
        "api_key": "none",
        "base_url": url,
    },
    "a header with a scheme": lambda url: {"headers": {"Authorization": f"Bearer {KEY}"}, "base_url": url},
    "a header with a password": lambda url: {
        "headers": {"Authorization": f"Basic {b64encode(f'me:{KEY}'.encode()).decode()}"},
        "base_url": url,
    },
    "a header that is called for": lambda url: {
        "headers": {"X-Team": callable_key},
        "api_key": "none",
        "base_url": url,
    },
    "an extra header": lambda url: {
        "options": Options(extra_headers={"x-api-key": KEY}),
        "api_key": "none",
        "base_url": url,
    },
    "an extra query": lambda url: {
        "options": Options(extra_query={"api-key": KEY, "v": "1"}),
        "api_key": "none",
        "base_url": url,
    },
    "the base URL's query": lambda url: {
        "base_url": f"{url}?api-key={FORMS['percent']}&v=1",
        "api_key": "none",
    },
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", ["openai-chat", "openai-responses-ws"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_secret_from_any_source_shows_nowhere(source: str, name: str) -> None:
    def make(url: str) -> AsyncClient:
        settings = SOURCES[source](url)
        options = settings.pop("options", None)
        provider = ProviderConfig(name, socket=WebSocketOptions(http_fallback=False), **settings)
        return AsyncClient(f"{name}:m", providers=[provider], options=options, retry=AT_ONCE)

    asked = Asked(ROUTES)
    asked.ask(make)

    assert not asked.leaks, "\n".join(asked.leaks[:10])
    assert asked.errors > 1.5 * len(ROUTES)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("part", ["secret_key", "session_token"])
def test_signed_requests_show_no_secret(part: str) -> None:
    given = Credentials(**{"access_key": "AKIA", "secret_key": "s" * 20, "session_token": None, part: KEY})
    asked = Asked(ROUTES | BEDROCK, unsent=True)
    asked.ask(
        lambda url: AsyncClient(
            "bedrock:m", providers=[set_up("bedrock", url, credentials=given)], retry=AT_ONCE
        )
    )

    assert not asked.leaks, "\n".join(asked.leaks[:10])


def test_a_whole_answer_shows_no_key_in_its_headers() -> None:
    with ScriptedServer([Answer(headers={"x-request-id": ECHO, "x-odd": ECHO}, body=WHOLE)] * 2) as server:
        for query in ("", f"?api-key={FORMS['percent']}"):
            with Client(
                "openai-chat:m", api_key="k" if query else KEY, base_url=server.url + query
            ) as client:
                answer = client.chat("hi")
            assert answer.text == "Hello"
            assert "[redacted]" in answer.headers["x-odd"]
            assert not leaks(*shown(answer))


@pytest.mark.usefixtures("quiet")
def test_the_synchronous_client_shows_no_more() -> None:
    with (
        ScriptedServer(lambda request: ROUTES["no HTTP"]) as server,
        Client("openai-chat:m", api_key=KEY, base_url=server.url) as client,
        pytest.raises(ProviderError) as caught,
    ):
        client.chat("hi")
    assert caught.value.__context__ is None  # the HTTP library's error has the request's headers
    assert not leaks(*shown_by(caught.value))


# -- over a WebSocket ----------------------------------------------------------------------------------------

FRAMES: dict[str, list[Any]] = {
    "an error event": [
        {"type": "error", "error": {"message": ECHO, "code": ECHO, "type": ECHO}, "status": 400}
    ],
    "a flat error event": [{"type": "error", "message": ECHO, "code": ECHO, "param": ECHO}],
    "a failed response": [
        {"type": "response.failed", "response": {"id": "r", "error": {"code": ECHO, "message": ECHO}}}
    ],
    "no JSON": [ECHO],
    "a close": [CloseFrame(1008, KEY)],
    "a close for now": [CloseFrame(1013, KEY)],
}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("frames", FRAMES)
def test_a_key_in_a_frame_shows_nowhere(frames: str) -> None:
    async def main() -> list[Any]:
        provider = set_up("openai-responses-ws", server.base_url)
        async with AsyncClient("openai-responses-ws:m", providers=[provider]) as client:
            found = await answers(client)
            try:
                async with client.responses.connect() as connection:
                    found.append(connection.headers)
                    await connection.create("hi")
                    async for _ in connection:
                        pass
            except ProviderError as error:
                found.append(error)
        return found

    with ScriptedSocket([[[*FRAMES[frames], CloseFrame(1000)]]] * 20) as server:
        found = asyncio.run(main())
    for each in found:
        texts = shown_by(each) if isinstance(each, ProviderError) else shown(each)
        assert not leaks(*texts)
    assert sum(isinstance(each, ProviderError) for each in found) >= 2


# -- values: repr, rich, copy, pickle ------------------------------------------------------------------------

CALL_SECRETS = Options(extra_headers={"Authorization": KEY, "x-a": "b"}, extra_query={"key": KEY, "v": "1"})
HOLDERS: dict[str, Any] = {
    "a provider with a key": ProviderConfig("openai", api_key=KEY),
    "a provider with a header": ProviderConfig("openai", headers={"x-auth": KEY}),
    "a provider with a query": ProviderConfig("openai", base_url=f"https://h.example/v1?api-key={KEY}"),
    "a provider with a password": ProviderConfig("openai", base_url=f"https://me:{KEY}@h.example/v1"),
    "a provider with a password, without a scheme": ProviderConfig(
        "openai", base_url=f"me:{KEY}@h.example/v1"
    ),
    "a provider with options": ProviderConfig("openai", options=CALL_SECRETS),
    "options": CALL_SECRETS,
    "a request": Request((), options=CALL_SECRETS),
    "a named model": NamedModel("openai:m", CALL_SECRETS),
    "a configuration": Config(providers=(ProviderConfig("openai", api_key=KEY),)),
    "a client": Client("openai:m", api_key=KEY),
    "an asynchronous client": AsyncClient("openai:m", api_key=KEY),
    "a conversation": AsyncClient("openai:m", api_key=KEY).conversation(),
    "a stream": AsyncClient("openai:m", api_key=KEY).stream("hi"),
    "operations": AsyncClient("openai:m", api_key=KEY).responses,
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_holds_a_secret_shows_none_and_is_not_pickled(name: str) -> None:
    from rich.pretty import pretty_repr

    holder = HOLDERS[name]
    assert not leaks(f"{holder!r} {holder} {pretty_repr(holder)} {copy.copy(holder)!r}")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(holder)


def test_an_attempt_that_a_stream_begins_again_after_shows_no_secret() -> None:
    body = [sse(chunk({"reasoning_content": "Hm."}), done=False), Drop()]
    with (
        ScriptedServer([Answer(headers={"x-request-id": KEY}, body=body), Answer(body=[TEXT])]) as server,
        Client("openai-chat:m", api_key=KEY, base_url=server.url, retry=Retry(2, base=0)) as client,
    ):
        events = list(client.stream("hi"))
    (restart,) = [each for each in events if isinstance(each, ResponseRestart)]
    assert restart.attempt.request_id == "[redacted]" and not leaks(repr(events))


def test_what_a_request_is_made_of_shows_no_secret_either() -> None:
    """As rich does in a traceback with local variables."""
    from rich.pretty import pretty_repr

    session = AsyncClient("openai-responses-ws:m", api_key=KEY, options=CALL_SECRETS)._session
    plan = session.plan("hi", {}, stream=True)
    headers = plan.headers(KEY, {})
    parts = [plan, plan.target, endpoint_of(plan), Handshake(f"wss://h.example/?key={KEY}", headers)]
    for part in [*parts, Outgoing("POST", f"https://h.example/?key={KEY}", headers, b"")]:
        assert not leaks(f"{part!r} {pretty_repr(part)}")
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(part)


def test_what_refers_to_a_key_is_pickled_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIFE_KEY", KEY)
    provider = ProviderConfig(
        "openai-chat", api_key=EnvKey("LIFE_KEY"), headers={"x-title": "app", "x-auth": FileKey("f")}
    )
    options = Options(extra_headers={"x-a": "b"}, temperature=0.5)
    for value in (provider, options, Request((), options=options), Config(providers=(provider,))):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == copy.copy(value) == value
    with ScriptedServer([Answer(body=WHOLE)] * 4) as server:
        for used in (False, True):
            with Client("openai-chat:m", api_key=EnvKey("LIFE_KEY"), base_url=server.url) as client:
                if used:
                    client.chat("hi")
                stored = pickle.dumps(client)
            assert not leaks(stored.decode("latin-1"))
            with pickle.loads(stored) as twin:
                assert twin.chat("hi").text == "Hello"


# -- what is prepared, and what is refused -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai-chat", "openai-responses-ws"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_prepared_request_shows_no_secret(source: str, name: str) -> None:
    settings = SOURCES[source]("https://h.example/v1")
    options = settings.pop("options", None)
    client = AsyncClient(f"{name}:m", providers=[ProviderConfig(name, **settings)], options=options)
    prepared = client.prepare("hi")

    assert not leaks(*shown(prepared), prepared.curl() if prepared.method == "POST" else "")
    assert "[redacted]" in f"{prepared.headers} {prepared.url}"
    assert ("v=1" in prepared.url) == ("query" in source)


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{KEY}@h.example/v1",
        f"me:{KEY}@h.example/v1",
        f"//me:{FORMS['percent']}@h.example",
        f"https://{FORMS['percent']}@h.example:99999/v1",
        f"ftp://h.example/?key={KEY}",
        f"http://h.example/?key={KEY}",
    ],
)
def test_a_base_url_that_is_refused_shows_no_secret(url: str) -> None:
    for name in REMOTE:
        for given in ({"api_key": "given"}, {}):
            client = AsyncClient(f"{name}:m", base_url=url, **given)
            with pytest.raises(ConfigError) as caught:
                client.prepare("hi")
            assert not leaks(*shown_by(caught.value)), name


# What the keys of services begin with, as their pages on keys show them, and how much must follow.
PREFIXES = (
    *("sk-", "xai-", "pplx-", "nvapi-", "csk-", "glpat-", "sk_", "pk_", "rk_", "gsk_", "hf_", "r8_", "fw_"),
    *("tgp_v1_", "ghp_", "ghs_", "github_pat_", "bw_dev_", "xoxb-", "xoxp-", "AIza", "ya29.", "ABSK", "eyJ"),
)


@pytest.mark.parametrize(
    ("prefix", "rest"), [*((each, 16) for each in PREFIXES), ("Bearer ", 6), ("basic  ", 6)]
)
def test_a_key_is_known_by_its_prefix_and_its_length(prefix: str, rest: int) -> None:
    key = prefix + "ab3" * 6
    for text in (key[: len(prefix) + rest], prefix.upper() + "x" * rest, f"({key})", f"key={key}"):
        assert looks_like_key(text) and may_be_key(text)
    for text in (key[: len(prefix) + rest - 1], f"a{key}", f"3{key}", key[len(prefix) :]):
        assert not looks_like_key(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("abcdefghij0123456789", True),
        ("abcdefghij+/0123456789", False),
        ("abcdefghi+ABC0123456789", True),
        ("abcdefghij012345678", False),
        ("ABCDEFGHIJ0123456789", False),
        ("abcdefghijklmnopqrstuvwxyz", False),
        ("ABCDEFGHIJKLMNOPQRSTu", False),
        ("aaaaaaaaaaaaaaaaaaaaaaaa 0000000000000000000000", False),
        ("a model, abcdefghij0123456789", True),
    ],
)
def test_a_long_mix_of_letters_and_digits_may_be_a_key(text: str, told: bool) -> None:
    assert may_be_key(text) == told


def test_secrets_among_fields_are_known_by_their_name_or_their_value() -> None:
    token = "sk-" + "a" * 16
    fields: dict[str, Any] = {"token": "x", "a": ["b", token, ""], "cookie": ("c", 5, "d"), "key": ""}
    fields |= {"sig": 5, "secret": None, "b": token, "password": {"x": token}, "n": [[token]]}
    found = [("token", "x"), ("a", token), ("cookie", "c"), ("cookie", "d"), ("b", token)]
    assert list(secret_fields(fields)) == list(secret_fields(fields.items())) == found
    assert list(secret_fields(None)) == []


@pytest.mark.parametrize(
    ("url", "decoded", "written"),
    [
        (
            "https://h/p?a=1&key=a%20b&c=+#d=5",
            [("a", "1"), ("key", "a b"), ("c", " ")],
            [("a", "1"), ("key", "a%20b"), ("c", "+")],
        ),
        ("https://h/p?my%2Dkey=1=2", [("my-key", "1=2")], [("my-key", "1=2")]),
        ("https://h/p", [], [("", "")]),
        (None, [], [("", "")]),
    ],
)
def test_a_query_is_read_decoded_and_as_it_is_written(
    url: str | None, decoded: list[tuple[str, str]], written: list[tuple[str, str]]
) -> None:
    assert query_fields(url) == decoded + written


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://h/?key=a", True),
        ("h/?a=b&api-key=", True),
        ("https://me@h", True),
        ("me:pw@h/v1", True),
        ("//me:pw@h", True),
        ("https://h:1/?a=b", False),
        ("h/p@q", False),
        ("https://h/#token=x", False),
    ],
)
def test_a_url_with_a_user_or_a_secret_parameter_holds_one(url: str, told: bool) -> None:
    assert url_holds_secret(url) == told


@pytest.mark.parametrize("url", ["https://h:port/", "https://h:99999/", "h:99999", "https://[::1"])
def test_what_is_no_url_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)port|IPv6"):
        url_holds_secret(url)


def test_what_is_guarded_shows_no_field_unless_it_is_listed() -> None:
    class Plain(Guarded):
        secret = KEY

    class Listed(Plain):
        def __rich_repr__(self) -> list[tuple[str, Any]]:
            return [("a", "b"), ("n", 5)]

    assert (repr(Plain()), repr(Listed())) == ("Plain()", "Listed(a='b', n=5)")
    assert Plain().__rich_repr__() == []
    with pytest.raises(TypeError, match="Listed cannot be pickled: it contains a secret"):
        pickle.dumps(Listed())


# A name of each field that holds a secret, as some settings or services write it.
SECRET_FIELDS = (
    *("access-key", "access_token", "apikey", "api_token", "auth", "Authorization", "authorization-token"),
    *("auth_token", "bearer", "Bearer-Token", "client secret", "cookie", "password", "private_key", "secret"),
    *("secret_access_key", "SECRET_KEY", "session_token", "token", "x-api-key", "x-goog-api-key", "api_key"),
)


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_a_field_whose_name_says_that_it_is_secret(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_header(name)
    assert not is_secret_name(f"{name} of things")


# A name for each word that says a secret.
SECRET_HEADERS = (
    *("my-apikey", "x-auth", "proxy-authorization", "x-bearer", "set-cookie", "x-amz-credential"),
    *("x-credentials", "x-goog-iap-jwt-assertion", "ocp-apim-subscription-key", "x-ibm-client-secret"),
    *("x-password", "x-session-id", "sig", "x-hub-signature-256", "x-amz-security-token"),
)


@pytest.mark.parametrize("name", SECRET_HEADERS)
def test_a_header_with_a_word_for_a_secret_in_its_name(name: str) -> None:
    assert is_secret_header(name)
    assert not is_secret_header("".join(f"{word}ed" for word in name.split("-")))
