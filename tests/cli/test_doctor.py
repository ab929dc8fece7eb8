"""`brainwires doctor`: what it says about servers with known faults, about providers, and about this machine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from typing import Any

import pytest

from brainwires_provider import AsyncClient, Config, ConfigError, Provider, ProviderConfig
from brainwires_provider.auth.aws import Credentials
from brainwires_provider.auth.keys import KeyringKey
from brainwires_provider.cli import doctor as command
from brainwires_provider.config import load_config
from brainwires_provider.doctor import Examination, examine, is_url, look_around
from brainwires_provider.doctor.asking import cleaned
from brainwires_provider.doctor.paste import name_for
from brainwires_provider.doctor.services import key_finding, key_source
from brainwires_provider.doctor.url import candidates
from brainwires_provider.providers import PROVIDERS, resolve_listing
from brainwires_provider.providers.dialects import COMPATIBLE, chat
from brainwires_provider.providers.table import ALIASES
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer, refuse
from config_files import alone, key_file, write
from doctor_command import Ran
from doctor_servers import (
    KEY,
    MODEL,
    Awkward,
    Broken,
    Buffered,
    Careless,
    Endless,
    Honest,
    Strict,
    Talker,
    openai_error,
)
from doctor_verdicts import PLAIN
from paths import PROJECT

__all__ = ["alone"]

FAST = 1.5  # seconds that a server may hang


def asked(subject: str, **settings: Any) -> Examination:
    found = asyncio.run(examine(subject, **{"seconds": FAST, "api_key": KEY, **settings}))
    assert KEY not in repr(found) and KEY[:12] not in repr(found)
    return found


def verdicts(found: Examination) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in found.findings}


# -- servers with faults -------------------------------------------------------------------------------------

TRUE = dict.fromkeys(
    [
        *PLAIN,
        "tools",
        "tool_choice_required",
        "tool_choice_named",
        "parallel_tools",
        "streamed_arguments",
        "seed",
        "stop",
        "stop_text",
        "developer_role",
        "images",
        "reasoning_field",
        "unknown_model",
    ],
    "yes",
) | {"reasoning_field": "unclear", "responses_api": "no", "messages_api": "no", "unknown_model": "refused"}

NO_STREAM = dict.fromkeys(
    [
        "stream_arrival",
        "stream_type",
        "stream_done",
        "stream_finish",
        "stream_chunks",
        "stream_usage",
        "streamed_arguments",
    ],
    "unclear",
)
CUT = {"streaming": "no", **NO_STREAM, "stream_type": "yes", "stream_chunks": "yes"}


# By server: what differs from an honest one, what some of the evidence says, and the quirks that are proven.
SERVERS: dict[type[Honest], tuple[dict[str, str], dict[str, str], dict[str, Any]]] = {
    Honest: (
        {},
        {
            "models": r"^2 in \d+\.\d\d s: 'parrot-embed', 'parrot'$",
            "max_tokens": "cut after 5 tokens",
            "streaming": r"197 characters in 32 chunks",
            "streamed_arguments": "90 characters in 12 pieces",
            "unknown_model": "HTTP 404: no model",
            "key_needed": "HTTP 401: wrong key",
        },
        {"developer_role": True},
    ),
    Careless: (
        {
            "max_tokens": "ignored",
            "max_completion_tokens": "ignored",
            "stream_usage": "ignored",
            "tool_choice_required": "ignored",
            "tool_choice_named": "ignored",
            "n": "ignored",
            "seed": "no",
            "stop": "ignored",
            "stop_text": "unclear",
            "developer_role": "ignored",
            "unknown_model": "ignored",
            "error_shape": "no",
            "key_needed": "no",
        },
        {"max_tokens": "^40 tokens came, 5 were asked for", "error_shape": "text/plain"},
        {"named_choice": False},
    ),
    Strict: (
        {
            "models": "no",
            **dict.fromkeys(
                [
                    "max_completion_tokens",
                    "stream_usage",
                    "tool_choice_required",
                    "tool_choice_named",
                    "parallel_tools",
                    "json_schema",
                    "n",
                    "seed",
                    "stop_text",
                    "developer_role",
                    "images",
                ],
                "refused",
            ),
        },
        {"stream_usage": "HTTP 422: body.stream_options: Extra", "tool_choice_required": '"any" is taken'},
        {
            "stream_usage": False,
            "parallel_tool_calls": False,
            "named_choice": False,
            "required_word": "any",
            "json_schema": False,
            "seed_field": None,
            "stop_list": True,
            "models_path": None,
        },
    ),
    Buffered: (
        {
            "stream_arrival": "no",
            "stream_type": "no",
            "stream_done": "no",
            "stream_chunks": "no",
            "parallel_tools": "unclear",
            "streamed_arguments": "no",
        },
        {
            "stream_type": "^application/octet-stream$",
            "stream_arrival": r"^32 chunks at once, after 0\.\d\d s",
            "stream_usage": "9 tokens in all; they come unasked too",
            "streamed_arguments": "in 1 piece$",
            "parallel_tools": "one call",
        },
        {"developer_role": True},
    ),
    Talker: (
        {
            "streaming": "ignored",
            **NO_STREAM,
            "tools": "no",
            "tool_choice_required": "ignored",
            "tool_choice_named": "ignored",
            "parallel_tools": "unclear",
            "json_schema": "ignored",
            "json_object": "ignored",
            "n": "refused",
            "seed": "refused",
            "reasoning_field": "no",
            "responses_api": "unclear",
            "messages_api": "unclear",
            "error_shape": "no",
        },
        {
            "streaming": "one whole body came, as application/json",
            "tools": "the call came as text",
            "reasoning_field": "in the text, in <think>",
            "n": r"HTTP 400: not for \[redacted\]",
            "responses_api": "^HTTP 500",
            "error_shape": "an object of: message",
        },
        {"developer_role": True, "named_choice": False, "json_schema": False, "seed_field": None},
    ),
    Broken: (
        {
            "models": "no",
            **CUT,
            "stream_arrival": "unclear",
            "json_schema": "unclear",
            "json_object": "unclear",
            "responses_api": "unclear",
            "unknown_model": "unclear",
            "error_shape": "no",
        },
        {
            "models": "an HTML page",
            "streaming": "3 chunks, and then: the connection was lost during the response",
            "tools": "once it was required; before: no answer within 1.5 s",
            "json_schema": "not JSON",
            "responses_api": "redirects to http://elsewhere.example/login ",
            "messages_api": "an HTML page",
        },
        {"developer_role": True, "models_path": None},
    ),
    Awkward: (
        {
            "streaming": "no",
            "stream_arrival": "unclear",
            "tools": "no",
            "tool_choice_named": "ignored",
            "parallel_tools": "yes",
            "streamed_arguments": "unclear",
            "json_schema": "ignored",
            "json_object": "ignored",
            "n": "unclear",
            "seed": "unclear",
            "stop": "unclear",
            "stop_text": "unclear",
            "developer_role": "unclear",
            "images": "unclear",
        },
        {
            "max_tokens": "cut after 5 tokens",
            "max_completion_tokens": "output limit was reached",
            "streaming": "27 characters in 1 chunk$",
            "tools": "arguments are not a JSON object",
            "tool_choice_named": "get_time was named, get_weather was called",
            "streamed_arguments": "did not call: 'Saved.'",
            "json_schema": "an object of another shape came",
            "n": "HTTP 429: slow down",
            "seed": "HTTP 500: out of luck",
            "stop": "HTTP 401",
            "developer_role": "heeds neither",
            "images": "is not shown: 'No.'",
        },
        {"named_choice": False, "json_schema": False},
    ),
    Endless: (
        {**CUT, "streaming": "unclear"},
        {"streaming": "and then: the answer stalled, and was left after 1.5 s"},
        {"developer_role": True},
    ),
}


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.__name__)
def test_the_truth_about_a_server(kind: type[Honest]) -> None:
    differs, evidence, quirks = SERVERS[kind]
    with ScriptedServer(kind()) as server:
        found = asked(server.url, model=MODEL if kind is Strict else None)
        sent = len(server.requests)
    assert verdicts(found) == TRUE | differs
    for name, pattern in evidence.items():
        assert re.search(pattern, found[name].evidence), found[name]
    assert (found.subject, found.kind, found.well) == (f"{server.url}/v1", "url", True)
    assert found.requests == sent <= 40
    assert quirks_of(found.provider) == quirks
    check_table(found)


def quirks_of(row: str | None) -> dict[str, Any]:
    """What a row that is pasted says beyond the plain dialect."""
    assert row is not None
    made = eval(row, {"Provider": Provider, "COMPATIBLE": COMPATIBLE, "chat": chat})
    plain, own = chat(**COMPATIBLE)().quirks, made.protocol().quirks  # type: ignore[attr-defined]
    return {
        name: getattr(own, name)
        for name in plain.__struct_fields__
        if getattr(own, name) != getattr(plain, name)
    }


def check_table(found: Examination) -> None:
    """The table of the configuration file is one, and asks where it was asked."""
    assert found.config is not None
    config = load_config(write(found.config + "\n", "pasted.toml"))
    [provider] = config.providers
    client = AsyncClient(config=Config(providers=(provider,)))
    assert client.prepare("Hi", model=f"{provider.name}:m").url == f"{found.subject}/chat/completions"


@pytest.mark.parametrize("kind", [Careless, Strict, Buffered, Talker, Broken], ids=lambda k: k.__name__)
def test_the_command_tells_the_same(kind: type[Honest]) -> None:
    args = ["--api-key-env", "GATEWAY_KEY", "--timeout", str(FAST), "--json"]
    with ScriptedServer(kind()) as server:
        ran = Ran(
            server.url + "/v1/chat/completions",
            *args,
            "-m",
            "default" if kind is Broken else MODEL,
            GATEWAY_KEY=KEY,
        )
    told = ran.json
    assert {each["name"]: each["verdict"] for each in told["findings"]} == TRUE | SERVERS[kind][0]
    assert (ran.status, ran.err, told["subject"]) == (0, "", server.url + "/v1")
    assert "key_env='GATEWAY_KEY'" in told["provider"]
    assert tomllib.loads(told["config"])["providers"]["mine"]["api_key"] == {"env": "GATEWAY_KEY"}


def test_what_a_person_sees() -> None:
    with ScriptedServer(Careless()) as server:
        ran = Ran(server.url.removeprefix("http://"))
        port = server.port
    lines = ran.out.splitlines()
    assert lines[0].split() == ["FINDING", "VERDICT", "EVIDENCE"]
    assert re.fullmatch(r"max_tokens +ignored  40 tokens came, .*", lines[4])
    assert "    'mine',\n" in ran.out and "    keyless=True,\n" in ran.out
    assert (
        f'[providers.mine]\nbased_on = "llama-server"\nbase_url = "http://127.0.0.1:{port}/v1"\napi_key = ""\n'
        in ran.out
    )
    assert re.search(
        r"^to paste: .*\nhttp://127.0.0.1:\d+/v1, model parrot: 2\d requests in \d+\.\d s\n$", ran.err
    )


def test_a_table_at_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "is_terminal", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    command._draw([("chat", "yes", "[bold]x[/bold]\x1b[2J " + "long " * 30)])
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown and "\x1b[2J" not in shown
    assert max(map(len, shown.splitlines())) < 90


HEAD = b'{"id":"c1","object":"chat.completion.chunk","model":"m","choices":'
GARBAGE = [
    b"",
    b"null",
    b"[[[",
    b'{"choices": 5}',
    b'{"choices": [5]}',
    b'{"choices": [{"delta": 5, "message": [1]}]}',
    b'{"choices": [{"message": {"content": {}, "tool_calls": 7}}], "usage": "x"}',
    b'{"choices": [{"message": {"tool_calls": [{"function": 3}]}, "finish_reason": {"a": 1}}]}',
    b'{"id": [1], "model": {"x": 1}, "error": ["no"], "choices": [{"index": [2], "delta": null}]}',
    b"[" * 100_000,
    b"data: "
    + HEAD
    + b'[{"delta": {"tool_calls": [4, {"function": {"arguments": 3}}]}}, {"index": {}}]}\n\n',
    b"data: "
    + HEAD
    + b'[{"delta": {"content": "a"}, "finish_reason": [1]}], "usage": [1]}\n\ndata: [DONE]\n\n',
    b"\xff\xfe\x00data",
]


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_no_answer_is_too_broken_for_a_finding(body: bytes) -> None:
    kind = "text/event-stream" if body.startswith((b"data", b"\xff")) else "application/json"
    answer = Answer(200, {"content-type": kind}, body)
    with ScriptedServer(
        {"/v1/chat/completions": answer, "/v1/models": answer, "/v1/responses": answer}
    ) as server:
        found = asked(server.url + "/v1")
    assert verdicts(found).keys() == TRUE.keys()
    assert found.requests <= 40


# -- how it is found, and what stops it ----------------------------------------------------------------------


def test_the_base_urls_that_may_be_meant() -> None:
    host = "https://h.example"
    assert candidates(f"{host}/") == [f"{host}/v1", host, f"{host}/api/v1", f"{host}/openai/v1"]
    assert candidates(f"{host}/v1/chat/completions") == [f"{host}/v1"]
    assert candidates(f"{host}/gateway/models?tenant=a") == [
        f"{host}/gateway?tenant=a",
        f"{host}/gateway/v1?tenant=a",
    ]
    subjects = ("http://h", "localhost:8080", "localhost", "127.0.0.1:1/v1", "h.example/v1", "[::1]:80")
    assert all(map(is_url, subjects))
    assert not any(map(is_url, ("groq", "openai-chat", "my.own")))
    hosts = (
        "http://localhost:1",
        "https://10.1.2.3/v1",
        "https://api.acme.example/v1",
        "https://api.groq.com",
    )
    assert [name_for(host) for host in hosts] == ["mine", "mine", "acme", "my-groq"]


class Elsewhere(Honest):
    """Below a path of its own, and lists nothing."""

    def answer(self, request: RecordedRequest) -> Answer:
        if request.path != "/openai/v1/chat/completions":
            raise openai_error(404, "nothing here")
        body = request.json()
        return self.whole(body) if body["messages"] else Answer(400, {}, b"{}")


def test_a_server_is_found_that_lists_nothing() -> None:
    with ScriptedServer(Elsewhere()) as server:
        found = asked(server.url, most=14)
    assert found.subject == f"{server.url}/openai/v1"
    assert (found.model, found["models"].verdict, found["chat"].verdict) == ("default", "no", "yes")
    assert found.requests == 14
    assert found["key_needed"] == found["key_needed"].__class__(
        "key_needed", "unclear", "not asked: 14 requests have been sent"
    )


class OnlyStreams(Honest):
    def whole(self, body: dict[str, Any]) -> Answer:
        return self.stream(body)


def test_a_server_that_streams_unasked() -> None:
    with ScriptedServer(OnlyStreams()) as server:
        found = asked(server.url)
    assert "as a stream, which was not asked for" in found["chat"].evidence
    assert "    streams_only=True,\n" in str(found.provider)
    assert (found["tools"].verdict, found["json_schema"].verdict, found["n"].verdict) == (
        "yes",
        "yes",
        "ignored",
    )


class OnlyStreamed(Honest):
    def whole(self, body: dict[str, Any]) -> Answer:
        raise openai_error(400, "stream must be true")


def test_a_server_that_only_answers_streams() -> None:
    with ScriptedServer(OnlyStreamed()) as server:
        found = asked(server.url)
    assert (found["chat"].verdict, found["streaming"].verdict, found.well) == ("no", "yes", True)
    assert (found["tools"].verdict, found["json_schema"].verdict) == ("yes", "yes")


class Reasons(Honest):
    """Newer models of OpenAI's: one name for the limit, no temperature, thoughts apart, JSON cut short."""

    def check(self, body: dict[str, Any]) -> None:
        for name in ("max_tokens", "temperature"):
            if name in body:
                raise openai_error(400, f"Unsupported parameter: {name!r}", "unsupported_parameter")
        super().check(body)

    def message(self, body: dict[str, Any]) -> tuple[dict[str, Any], str, int]:
        message, reason, count = super().message(body)
        if "response_format" in body:
            return {"role": "assistant", "content": ""}, "length", 256
        return message | {"reasoning_content": "Hm."}, reason, count


def test_thoughts_and_the_newer_limit() -> None:
    with ScriptedServer(Reasons()) as server:
        found = asked(server.url)
        limits = [request.json() for request in server.requests[3:] if request.body]
    assert (found["max_tokens"].verdict, found["max_completion_tokens"].verdict) == ("refused", "yes")
    assert quirks_of(found.provider) == {"max_tokens_field": "max_completion_tokens", "developer_role": True}
    assert found["reasoning_field"].evidence == "reasoning_content"
    assert verdicts(found)["temperature"] == "refused"
    assert (found["seed"].verdict, found["json_schema"].verdict) == ("unclear", "unclear")
    assert not any("max_tokens" in body for body in limits if "stream" in body or "tools" in body)


def test_nobody_there() -> None:
    with refuse() as port:
        found = asked(f"http://127.0.0.1:{port}", api_key=None)
        ran = Ran(f"http://127.0.0.1:{port}")
    assert (verdicts(found), found.well, found.requests, found.provider) == (
        {"reachable": "no"},
        False,
        1,
        None,
    )
    assert ran.status == 1
    assert "reachable: is the server running, and the URL correct?" in ran.err


def test_all_that_hangs_is_left() -> None:
    with ScriptedServer(Answer(stall_before_headers=True)) as server:
        found = asked(server.url + "/v1", api_key=None, seconds=0.2, total=0.7)
    assert not found.well and found.seconds < 5
    assert found["chat"].evidence == "no answer within 0.2 s"
    assert found["tools"].evidence == "not asked: no chat was answered"
    assert {f.verdict for f in found.findings} == {"unclear", "no"}
    assert any("not asked: 0.7 s are over" in f.evidence for f in found.findings)


def test_a_silent_server_has_its_table() -> None:
    with ScriptedServer(Answer(stall_before_headers=True)) as server:
        ran = Ran(server.url, "--timeout", "0.2", "--total", "0.4")
    lines = ran.out.splitlines()
    assert ran.status == 1 and lines[0].split() == ["FINDING", "VERDICT", "EVIDENCE"]
    assert re.fullmatch(r"models +unclear +not complete: 0\.4 s are over", lines[1])
    assert {line.split()[0] for line in lines[1:]} == {*TRUE}
    assert {line.split()[1] for line in lines[1:]} == {"unclear"}


def test_one_request_may_be_too_few() -> None:
    with ScriptedServer(Answer(404)) as server:
        ran = Ran(server.url, "--most", "1")
    assert ran.status == 1 and "not complete: 1 requests have been sent" in ran.out


def test_what_is_printed_to_paste_can_be_pasted() -> None:
    with ScriptedServer(Strict()) as server:
        ran = Ran(server.url, "-m", MODEL, "--api-key-env", "GATEWAY_KEY", GATEWAY_KEY=KEY)
    _, python, toml = re.split(r"\n\n(?=from |\[providers)", ran.out)
    scope: dict[str, Any] = {}
    exec(python.replace("\nProvider(", "\nmade = Provider("), scope)
    assert (scope["made"].name, scope["made"].key_env) == ("mine", "GATEWAY_KEY")
    config = load_config(write(toml, "pasted.toml"))
    client = AsyncClient(config=config)
    assert client.prepare("Hi", model="mine:m").url == f"{server.url}/v1/chat/completions"


@pytest.mark.parametrize(
    "url", ["https://api.openai.com/v1", "https://api.groq.com", "https://gemini.example"]
)
def test_a_pasted_provider_takes_no_built_in_name(url: str) -> None:
    name = name_for(url)
    assert name.startswith("my-") and name not in (*PROVIDERS, *ALIASES)


def test_a_key_that_is_missing_or_wrong() -> None:
    with ScriptedServer(Honest()) as server:
        without = asked(server.url, api_key=None)
        wrong = Ran(server.url, "--api-key-env", "K", K="sk-wrong-wrong")
    assert (without["key_needed"].verdict, without["chat"].verdict, without.well) == ("yes", "no", False)
    assert without["chat"].advice == "give a key: --api-key-env NAME, or api_key="
    assert wrong.status == 1 and "chat: check the key" in wrong.err


FAULTS = [
    ("http://user:planted-7f3a9c51e8d24b60@localhost/v1", {}, "holds a user name or password"),
    ("http://h.example/v1", {}, "plain http"),
    ("ftp://h.example/v1", {}, "not an http"),
    ("http://[::1/v1", {}, "not a URL"),
    ("no-such-provider", {}, "there is no provider"),
    ("http://localhost/v1", {"most": 0}, "most must be above zero"),
]


@pytest.mark.parametrize(("subject", "settings", "fault"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_what_cannot_be_asked(subject: str, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as caught:
        asked(subject, **settings)
    assert KEY not in str(caught.value)
    args = ["--most", "0"] if settings else []
    ran = Ran(subject, *args)
    assert ran.status == 1 and fault in ran.err


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    planted = "sk-planted7f3a9c51e8d24b60"
    for args in ([planted], ["groq", "--api-key-env", planted]):
        ran = Ran(*args)
        assert ran.status == 1 and "planted" not in ran.err
    assert "planted" not in Ran("groq", "--api-key-env", planted, "--json").out


def test_secrets_are_taken_out_before_a_text_is_cut() -> None:
    assert cleaned(f"a {KEY} b {KEY[:11]}… c\x1b[2J\nd", (KEY,)) == "a [redacted] b [redacted]… c[2J d"
    assert cleaned("x" * 150 + KEY, (KEY,)).endswith("x[redacted]")
    assert cleaned("abcd", ("abcd", "ab")) == "[redacted]"


# -- a provider ----------------------------------------------------------------------------------------------


def lab(server: ScriptedServer, **fields: Any) -> Config:
    given = ProviderConfig(
        "lab", **{"based_on": "vllm", "base_url": server.url + "/v1", "api_key": KEY, **fields}
    )
    return Config(providers=(given,))


def test_a_provider_that_answers() -> None:
    with ScriptedServer(Honest()) as server:
        found = asked("lab", config=lab(server), api_key=None)
        first, second = server.requests
    assert verdicts(found) == dict.fromkeys(("provider", "key", "models", "chat"), "yes")
    assert (found.kind, found.well, found.model, found.requests) == ("provider", True, MODEL, 2)
    assert found["key"].evidence == f"given in code, for 127.0.0.1:{server.port}"
    assert re.search(
        r"^parrot answered in \d+\.\d\d s, ended by stop; 5 tokens in, 3 out$", found["chat"].evidence
    )
    assert (first.path, second.json()["max_completion_tokens"]) == ("/v1/models", 32)


def test_a_provider_with_its_model_or_at_another_server() -> None:
    with ScriptedServer(Honest()) as server:
        named = asked("lab:other", config=lab(server), api_key=None)
        elsewhere = Ran("vllm", "--base-url", server.url + "/v1", "--api-key-env", "K", "-m", MODEL, K=KEY)
        last = server.requests[-1]
    assert (named.subject, named.model, named.kind) == ("lab", "other", "provider")
    assert (
        elsewhere.status == 0
        and f"in the environment variable K, for 127.0.0.1:{server.port}" in elsewhere.out
    )
    assert last.header("authorization") == f"Bearer {KEY}"
    for args in (["groq:a", "-m", "b"], ["http://localhost/v1", "--base-url", "http://localhost/v1"]):
        assert "leave one of the two out" in Ran(*args).err


def test_a_local_model() -> None:
    found = asked("local:./nowhere.gguf", api_key=None)
    assert (found.subject, found.model, found["chat"].verdict) == ("local", "./nowhere.gguf", "no")
    assert "nowhere.gguf" in found["chat"].evidence


@pytest.mark.parametrize(
    ("subject", "is_one"),
    [
        ("local:/models/x.gguf", False),
        ("openrouter:meta/llama", False),
        ("openai:gpt-6", False),
        ("mine:a/b", False),
        ("groq", False),
        ("ollama:11434", True),
        ("ollama:11434/v1", True),
        ("localhost", True),
        ("http://groq:8080", True),
        ("llm.example/v1", True),
    ],
)
def test_what_is_a_url(subject: str, is_one: bool) -> None:
    assert is_url(subject, ["mine"]) is is_one


def test_what_a_list_may_lack() -> None:
    def handle(request: RecordedRequest) -> Answer:
        return Answer(404, {}, b"{}") if request.method == "GET" else Honest().whole(request.json())

    embeds = Answer(body=b'{"data": [{"id": "text-embed"}]}')
    with ScriptedServer(handle) as server:
        unlisted = asked("lab", config=lab(server), api_key=None, model="m")
    with ScriptedServer({"/v1/models": embeds, "/v1/chat/completions": Answer(400, {}, b"{}")}) as server:
        only = asked("lab", config=lab(server), api_key=None)
    assert (unlisted["models"].verdict, unlisted.well) == ("unclear", True)
    assert unlisted["models"].advice == "this service may have no list"
    assert (only.model, only["chat"].verdict) == ("text-embed", "unclear")


def failing(status: int, message: str) -> Callable[[RecordedRequest], Answer]:
    def handle(request: RecordedRequest) -> Answer:
        if request.method == "GET":
            return Honest().models()
        return Answer(status, {}, json.dumps({"error": {"message": f"{message} {KEY}"}}).encode())

    return handle


FAILURES = {
    401: ("no", "the key's fault"),
    403: ("no", "the key's fault: it may not do this"),
    404: ("unclear", "name one: --model NAME"),
    400: ("unclear", "name one: --model NAME"),
    429: ("no", "the account's fault"),
    500: ("no", "the service's fault; try again later"),
    503: ("no", "the service's fault: it is out of capacity"),
}


@pytest.mark.parametrize("status", FAILURES)
def test_whose_fault_it_is(status: int) -> None:
    verdict, advice = FAILURES[status]
    with ScriptedServer(failing(status, "bad")) as server:
        chosen = asked("lab", config=lab(server), api_key=None)
        named = asked("lab", config=lab(server), api_key=None, model="m")
    chat = chosen["chat"]
    assert (chat.verdict, chat.advice[: len(advice)], chosen.well) == (verdict, advice, False)
    assert f"HTTP {status}: bad [redacted]" in chat.evidence
    assert named["chat"].verdict == "no"


def test_a_provider_that_hangs_or_is_gone() -> None:
    with ScriptedServer(Answer(stall_before_headers=True)) as server:
        hangs = asked("lab", config=lab(server), api_key=None, model="m", seconds=0.2)
        slow = asked("lab", config=lab(server), api_key=None, model="m", seconds=3, total=0.3)
    assert hangs["chat"].advice == "the network's or the service's fault; --timeout gives it more time"
    assert slow["time"].evidence == "0.3 s were over before all requests were answered" and not slow.well
    with refuse() as port:
        gone = asked(
            "lab",
            config=Config(
                providers=(ProviderConfig("lab", based_on="vllm", base_url=f"http://127.0.0.1:{port}/v1"),)
            ),
        )
    assert gone["models"].advice == "the network's fault, or no server listens there"
    assert gone["chat"] == gone["chat"].__class__(
        "chat", "unclear", "not asked: no model is known", "name one: --model NAME"
    )


def test_what_a_provider_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Ran("groq")
    assert ran.status == 1 and re.search(
        r"^key +no +no key for groq: set GROQ_API_KEY", ran.out, re.MULTILINE
    )
    assert "groq: 0 requests" in ran.err
    write("[providers.lab]\nbased_on = 'groq'\napi_key = { env = 'LAB_KEY' }", "mine.toml")
    assert re.search(r"LAB_KEY is not set", Ran("lab", "--config", "mine.toml").out)
    monkeypatch.setattr("brainwires_provider.doctor.services.find_spec", lambda name: None)
    found = asyncio.run(examine("local", model="./nowhere.gguf"))
    assert (found["engine"].verdict, found["engine"].advice) == (
        "no",
        'pip install "brainwires-provider[local]"',
    )
    assert (found["chat"].verdict, found["chat"].advice) == ("no", "the configuration's fault")


def test_where_a_key_lies() -> None:
    with ScriptedServer(Honest()) as server:
        base = f'[providers.lab]\nbased_on = "vllm"\nbase_url = "{server.url}/v1"\n'
        named = ("--config", "mine.toml")
        write(base + 'api_key = { env = "LAB_KEY" }')
        by_name = Ran("lab", *named, LAB_KEY=KEY)
        write(base + 'headers = { Authorization = { env = "LAB_HEADER" } }')
        by_header = Ran("lab", *named, LAB_HEADER=f"Bearer {KEY}")
        write(f'[providers.lab]\nbased_on = "vllm"\nbase_url = "{server.url}/v1"\n')
        without = Ran("lab", *named)
        key_file(KEY)
        write(base + 'api_key = { file = "key" }')
        by_file = Ran("lab", *named)
        write(base)
        given = Ran("lab", *named, "--api-key-env", "OTHER", OTHER=KEY)
        write(base, "brainwires.toml")
        asked = len(server.requests)
        found = Ran("lab", "--api-key-env", "OTHER", OTHER=KEY)
        assert len(server.requests) == asked
    assert "in the environment variable LAB_KEY" in by_name.out and by_name.status == 0
    assert "in the configured headers" in by_header.out and by_header.status == 0
    assert re.search(r"in the file \S+key, for", by_file.out) and by_file.status == 0
    assert "none is sent to" in without.out and without.status == 1
    assert "in the environment variable OTHER" in given.out and given.status == 0
    assert (
        "brainwires.toml, which was merely found, so no key is sent there" in found.err and found.status == 1
    )


def test_a_clouds_credentials_may_lie_elsewhere() -> None:
    config = ProviderConfig("bedrock", region="us-east-1")
    found = key_finding(resolve_listing("bedrock", {"bedrock": config}), config)
    assert (found.verdict, "AWS_ACCESS_KEY_ID is set; a profile, a role may have them" in found.evidence) == (
        "unclear",
        True,
    )
    ring = ProviderConfig("groq", api_key=KeyringKey("work", "ada"))
    found = key_finding(resolve_listing("groq", {"groq": ring}), ring)
    assert found.evidence == "in the keyring, under 'work' of 'ada', for api.groq.com"


# -- this machine --------------------------------------------------------------------------------------------


def test_what_is_set_up_here() -> None:
    listed = Answer(body=json.dumps({"models": [{"name": "llama3.2:3b", "model": "llama3.2:3b"}]}).encode())
    with ScriptedServer({"/api/tags": listed}) as server, refuse() as port:
        text = f'[providers.mine]\nbased_on = "vllm"\nbase_url = "http://127.0.0.1:{port}/v1"\napi_key = ""\n'
        write(text + "[providers.broken]\nbased_on = 'groq'\napi_key = { env = 'NOT_SET' }\n")
        env = {
            "GROQ_API_KEY": KEY,
            "OLLAMA_HOST": server.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_REGION": "us-east-1",
        }
        ran = Ran("--json", "--config", "mine.toml", **env)
        shown = Ran("--config", "mine.toml", **env)
    found = {each["name"]: (each["verdict"], each["evidence"]) for each in ran.json["findings"]}
    assert shown.out.splitlines()[1].split()[:3] == ["works", "now", "yes"]
    assert {"ollama", "groq", "bedrock"} <= set(re.split(r"[,; ]+", found["works now"][1]))
    assert "mine" not in found["works now"][1]
    assert found["configuration"] == ("yes", "mine.toml (trusted): 2 providers, 0 models")
    assert found["groq"] == ("yes", "GROQ_API_KEY is set, for api.groq.com")
    assert found["bedrock"][0] == "yes" and found["bedrock"][1].startswith("AWS_ACCESS_KEY_ID is set")
    assert found["ollama"] == ("yes", f"{server.url} answers, with 1 models: 'llama3.2:3b'")
    assert found["mine"] == ("no", f"no server listens at http://127.0.0.1:{port}/v1")
    assert found["broken"][0] == "no" and "NOT_SET is not set" in found["broken"][1]
    assert re.fullmatch(
        r"\d\d providers: (\S+ \(\w+\), ){3}…; `brainwires providers` lists all", found["without a key"][1]
    )
    assert {"local model", "package xllamacpp", "package keyring"} <= found.keys()
    assert ran.status == shown.status == 1  # a provider that was set up cannot be used
    assert "to servers on this machine only" in shown.err


SENT = {
    "configuration": ("yes", "mine.toml (trusted): 5 providers, 1 models"),
    "default model": ("yes", "fast, groq:llama, sent to https://gateway.example"),
    "groq is sent to": (
        "yes",
        (
            "https://gateway.example; key: in the environment variable GATE_KEY; header X-Title: as written; "
            "header X-Team-Key: in the file {here}/team"
        ),
    ),
    "bedrock is sent to": ("yes", "https://bedrock-runtime.eu-west-1.amazonaws.com; key: the profile work"),
    "vertex is sent to": (
        "yes",
        "https://aiplatform.eu.rep.googleapis.com; key: the credentials file {here}/g.json",
    ),
    "vertex-anthropic is sent to": (
        "yes",
        "https://aiplatform.googleapis.com; key: this machine's own cloud credentials",
    ),
    "mistral is sent to": ("yes", "https://api.mistral.ai; key: in the environment variable MISTRAL_API_KEY"),
}


def test_what_would_be_sent_where() -> None:
    text = """
        model = "fast"
        [models]
        fast = "groq:llama"
        [providers.groq]
        base_url = "https://gateway.example/v1"
        api_key = { env = "GATE_KEY" }
        headers = { X-Title = "app", X-Team-Key = { file = "team" } }
        [providers.bedrock]
        region = "eu-west-1"
        credentials = "work"
        [providers.vertex]
        region = "eu"
        project = "p"
        credentials = "g.json"
        [providers.vertex-anthropic]
        project = "p"
        [providers.mistral]
    """
    write(text)
    ran = Ran("--json", "--config", "mine.toml", GATE_KEY=KEY, MISTRAL_API_KEY=KEY)
    found = {each["name"]: (each["verdict"], each["evidence"]) for each in ran.json["findings"]}
    here = os.getcwd()
    for name, (verdict, evidence) in SENT.items():
        assert found[name] == (verdict, evidence.replace("{here}", here))

    write(text, "brainwires.toml")
    refused = [f["evidence"] for f in Ran("--json").json["findings"] if f["name"] == "configuration"]
    assert [line.partition(": ")[2].partition(": ")[0] for line in refused[:2]] == [
        "providers.groq.base_url",
        "providers.groq.api_key",
    ]
    assert "brainwires trust" in refused[-1]
    write('model = "mistral:x"\n[providers.local]\n', "brainwires.toml")
    found = {f["name"]: f["evidence"] for f in Ran("--json", MISTRAL_API_KEY=KEY).json["findings"]}
    assert found["configuration"] == "brainwires.toml (found, not trusted): 1 providers, 0 models"
    assert found["default model"] == "mistral:x, sent to https://api.mistral.ai"
    assert found["local is sent to"] == "this machine; key: none"
    write('model = "azure:x"', "brainwires.toml")
    found = {f["name"]: f["evidence"] for f in Ran("--json").json["findings"]}
    assert found["default model"].startswith("azure:x: azure has no base URL of its own")


def test_credentials_given_in_code_are_a_source() -> None:
    config = ProviderConfig("bedrock", region="us-east-1", credentials=Credentials("AKIA", KEY))
    assert key_source(resolve_listing("bedrock", {"bedrock": config}), config) == "credentials given in code"


def test_a_broken_file_is_a_finding() -> None:
    write("model = 5\n[options]\ntemprature = 1", "brainwires.toml")
    ran = Ran("--timeout", "1")
    told = [line for line in ran.out.splitlines() if line.startswith("configuration")]
    assert ran.status == 1 and len(told) == 2
    assert "brainwires.toml:3: options.temprature" in told[1]


def test_a_server_that_is_no_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Answer(200, {"content-type": "text/html"}, b"<html>")
    with ScriptedServer(page) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        found = asyncio.run(look_around(seconds=1))
    assert found["ollama"].verdict == "unclear"
    assert "an HTML page" in found["ollama"].evidence


def test_the_document_tells_every_finding() -> None:
    text = (PROJECT / "docs" / "doctor.md").read_text(encoding="utf-8")
    assert [name for name in TRUE if f"`{name}`" not in text] == []


def test_doctor_is_not_loaded_with_the_command() -> None:
    script = (
        "import sys; from brainwires_provider.cli import doctor; "
        "print([n for n in sys.modules if n.startswith('brainwires_provider.doctor')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
