"""Keys by reference: they are found, they stay home, and they show nowhere."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import os
import pickle
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest

from brainwires_provider import AsyncClient, Client, ConfigError, ProviderError
from brainwires_provider.auth.keys import KeyringKey, resolve_key
from brainwires_provider.testing import Answer, ResponsesService, ScriptedServer, ScriptedSocket
from brainwires_provider.types.suspects import looks_like_key
from config_files import SECRET, WHOLE, alone, key_file, load

__all__ = ["alone"]


# -- keys stay home ------------------------------------------------------------------------------------------

AWAY = "[providers.openai-chat]\nbase_url = 'https://away.example/v1'\napi_key = { env = 'X' }"


def test_the_files_key_stays_with_the_files_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "k")
    config = load(AWAY + "\nheaders = { X-Tenant = { env = 'X' } }")
    for client in (
        AsyncClient("openai-chat:m", base_url="https://other.example/v1", config=config),
        AsyncClient("openai-chat:m", base_url="https://api.openai.com/v1", config=config),
    ):
        with pytest.raises(ConfigError, match="key"):
            client.prepare("hi")
    local = AsyncClient("openai-chat:m", base_url="http://localhost:1/v1", config=config).prepare("hi")
    assert not {"Authorization", "X-Tenant"} & set(local.headers)
    same = AsyncClient("openai-chat:m", base_url="https://away.example/v1", config=config).prepare("hi")
    assert {"Authorization", "X-Tenant"} < set(same.headers)


def test_a_base_url_in_the_file_needs_its_key_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    config = load("[providers.openai-chat]\nbase_url = 'https://away.example/v1'")
    with pytest.raises(ConfigError, match="its key must be given in code too"):
        AsyncClient("openai-chat:m", config=config).prepare("hi")


def test_a_key_in_code_goes_to_no_model_that_code_does_not_name() -> None:
    config = load('model = "groq:m"')
    for given in ({"api_key": "k"}, {"base_url": "https://x/v1"}, {"headers": {"a": "b"}}):
        with pytest.raises(ConfigError, match="name a model"):
            AsyncClient(config=config, **given)  # type: ignore[arg-type]


# -- references ----------------------------------------------------------------------------------------------


class Rings(keyring.backend.KeyringBackend):
    """A keyring with a few entries."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.entries = {("planted", "ada"): f" {SECRET}\n", ("empty", "ada"): " "}

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.append((service, username))
        if service == "locked":
            raise keyring.errors.KeyringLocked(f"cannot unlock with {SECRET}")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rings]:
    monkeypatch.setattr("brainwires_provider.auth.keys._from_keyring", {})
    before = keyring.get_keyring()
    ours = Rings()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


def key_of(reference: str) -> str:
    """What a request to groq would carry."""
    config = load(f"[providers.groq]\napi_key = {reference}")
    key = AsyncClient("groq:m", config=config)._session.target("groq:m").key
    assert key is not None
    return asyncio.run(resolve_key(key, "groq"))


def test_where_keys_lie(rings: Rings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINE", f"  {SECRET}\n")
    key_file(f"\ufeff{SECRET}\r\n", "beside")
    (tmp_path / "home").mkdir()
    key_file(name=str(tmp_path / "home" / "at-home"))
    for reference in (
        "{ env = 'MINE' }",
        "{ file = 'beside' }",
        "{ file = '~/at-home' }",
        "{ keyring = 'planted', user = 'ada' }",
    ):
        assert key_of(reference) == SECRET
    assert key_of("{ keyring = 'planted', user = 'ada' }") == SECRET
    assert rings.asked == [("planted", "ada")]  # once


def test_references_are_followed_anew_and_only_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(
        "[providers.groq]\napi_key = { file = 'later' }\n[providers.xai]\napi_key = { env = 'LATER' }"
    )
    client = AsyncClient(config=config)
    client.prepare("hi", model="groq:m")
    client.prepare("hi", model="xai:m")
    keys = [client._session.target(model).key for model in ("groq:m", "xai:m")]
    for value in ("one", "two"):
        key_file(value, "later")
        monkeypatch.setenv("LATER", value)
        assert [asyncio.run(resolve_key(key, "x")) for key in keys if key] == [value, value]


MISSING = {
    "{ env = 'NONE' }": "the environment variable NONE is not set$",
    "{ file = 'none' }": r"the file .*/none cannot be read: No such file",
    "{ file = '.' }": r"the file .* cannot be read: Is a directory",
    "{ file = 'empty' }": r"the file .*/empty is empty: put the key into it",
    "{ file = 'open' }": r"the file .*/open can be read by other users of this machine: chmod 600 .*/open$",
    "{ file = 'binary' }": r"the file .*/binary holds no key",
    "{ file = 'large' }": r"the file .*/large holds no key",
    "{ file = 'pipe' }": r"the file .*/pipe is not a regular file",
    "{ keyring = 'none', user = 'ada' }": r"no entry 'none' of 'ada': keyring set none ada$",
    "{ keyring = 'empty', user = 'ada' }": r"no entry 'empty' of 'ada'",
    "{ keyring = 'locked', user = 'ada' }": r"the keyring cannot be read \(KeyringLocked\): is there one",
}


@pytest.mark.usefixtures("rings")
@pytest.mark.parametrize("reference", MISSING)
def test_a_key_that_is_not_there(reference: str) -> None:
    for name, content in (("empty", " \n"), ("large", "x" * 65_537)):
        key_file(content, name)
    key_file(SECRET, "open", 0o640)
    Path("binary").write_bytes(b"\xff\xfe")
    Path("binary").chmod(0o600)
    os.mkfifo("pipe", 0o600)
    with pytest.raises(ConfigError, match=r"^mine\.toml:2: providers\.groq\.api_key: ") as caught:
        key_of(reference)
    assert re.search(MISSING[reference], str(caught.value))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("whose", ["somebody else's", "on a read-only mount"])
def test_an_open_key_file_that_is_not_ours_to_close(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers mount their secrets. Changing an owner, or mounting, takes rights that a test may not have."""
    path = key_file(mode=0o444)
    if whose == "somebody else's":
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    else:
        real = os.fstatvfs
        monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result(_read_only(real(fd))))
    assert key_of("{ file = 'key' }") == SECRET


def _read_only(status: os.statvfs_result) -> tuple[int, ...]:
    fields = list(status)
    fields[8] |= os.ST_RDONLY
    return tuple(fields)


def test_without_the_package_a_keyring_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(ConfigError, match=r'pip install "brainwires-provider\[keyring\]"'):
        KeyringKey("no", "such")()


def test_headers_by_reference_go_out_and_are_taken_out_of_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT", f"Bearer {SECRET}")
    key_file(SECRET + "2")
    echo = json.dumps({"error": {"message": f"who are {SECRET} and {SECRET}2?", "code": SECRET}}).encode()
    with ScriptedServer([WHOLE, Answer(status=401, body=echo)]) as server:
        config = load(
            f"[providers.mine]\nbased_on = 'openai-chat'\nbase_url = '{server.url}/v1'\n"
            "headers = { Authorization = { env = 'TENANT' }, X-Team-Key = { file = 'key' }, X-Title = 'app' }\n"
        )
        with Client("mine:m", config=config) as client:
            assert client.chat("hi").text == "Hi"
            with pytest.raises(ProviderError) as caught:
                client.chat("hi")
    sent = server.requests[0]
    assert sent.header("Authorization") == f"Bearer {SECRET}"
    assert (sent.header("X-Team-Key"), sent.header("X-Title")) == (SECRET + "2", "app")
    assert SECRET not in repr(vars(caught.value))
    assert "[redacted]" in str(caught.value)


def test_headers_by_reference_go_into_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value has connections of its own, and a value that changes is asked for at the next one."""
    monkeypatch.setenv("TENANT", SECRET)
    with ScriptedSocket([ResponsesService(), Answer(status=401)]) as server:
        config = load(
            f"[providers.openai-responses-ws]\nbase_url = '{server.url}/v1'\napi_key = ''\n"
            "headers = { X-Tenant-Key = { env = 'TENANT' } }\n"
        )
        model = "openai-responses-ws:gpt-6"
        with Client(model, config=config) as client:
            assert client.prepare("hi").headers["X-Tenant-Key"] == "[redacted]"
            client.chat("hi")
        monkeypatch.setenv("TENANT", SECRET + "2")
        with Client(model, config=config) as client, pytest.raises(ProviderError):
            client.chat("hi")
    sent = [dict(handshake.headers)["X-Tenant-Key"] for handshake in server.handshakes]
    assert sent == [SECRET, SECRET + "2"]


# -- no secret in any output ---------------------------------------------------------------------------------

# A key in every wrong place that it can be put into.
WRONGLY = [
    "[providers.groq]\napi_key = '{}'",
    "[providers.groq]\napi_key = {{ env = '{}' }}",
    "[providers.groq]\napi_key = {{ file = '{}' }}",
    "[providers.groq]\napi_key = {{ keyring = '{}', user = 'x' }}",
    "[providers.groq]\napi_key = {{ value = '{}' }}",
    "[providers.groq]\napi_key = ['{}']",
    "[providers.groq]\napikey = '{}'",
    "[providers.groq]\nkey = '{}'",
    "[providers.groq]\nbased_on = '{}'",
    "[providers.groq]\nregion = '{}'",
    "[providers.groq]\nbase_url = 'https://u:{}@host/v1'",
    "[providers.groq]\nbase_url = 'https://host/v1?api-key={}'",
    "[providers.groq]\nheaders = {{ Authorization = 'Bearer {}' }}",
    "[providers.groq]\nheaders = {{ X-Api-Key = '{}' }}",
    "[providers.groq]\nheaders = {{ X-My-Token = '{}' }}",
    "[providers.groq]\nheaders = {{ X-Whatever = 'Bearer {}' }}",
    "[providers.groq]\nheaders = {{ X-Whatever = 'sk-{}' }}",
    "[providers.groq]\nheaders = '{}'",
    "[providers.groq]\n'{}' = 1",
    "[providers.groq.options]\nextra_headers = {{ Authorization = '{}' }}",
    "[providers.groq.options]\nextra_query = {{ key = '{}' }}",
    "[options.extra_body]\napi_key = '{}'",
    "[options.provider_options.anthropic_messages]\nmcp_servers = [{{ authorization_token = '{}' }}]",
    "[options]\nreasoning = '{}'",
    "[options]\nstop = ['sk-proj-{}']",
    "[options]\nmax_tokens = '{}'",
    "[providers.'{}']",
    "[models.x]\nmodel = '{}'",
    "model = '{}'",
    "model = '{}:x'",
    "{} = 1",
    "api_key = '{}",
    "{}",
    "a = {}",
    "['{}']\n['{}']",
    "{} = 1\n{} = 2",
]


@pytest.mark.parametrize("text", WRONGLY)
def test_a_key_written_into_the_file_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text.replace("{}", SECRET).replace("{{", "{").replace("}}", "}"))
    pickled = pickle.dumps(caught.value)
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + str(pickled)
    for start in range(len(SECRET) - 5):
        assert SECRET[start : start + 6] not in told
    assert str(caught.value).startswith("mine.toml:")


SECRET_HEADERS = [
    "X-Apikey",
    "X-Auth",
    "Authorization",
    "X-Bearer",
    "Cookie",
    "X-Credential",
    "X-Credentials",
    "X-JWT",
    "X-Key",
    "X-Password",
    "X-Secret",
    "X-Session",
    "X-Sig",
    "X-Signature",
    "X-Token",
    "X_Bearer",
    "access-key",
    "AccessToken",
    "ApiKey",
    "APITOKEN",
    "authtoken",
    "BearerToken",
    "client_secret",
    "private-key",
    "secret-access-key",
    "secretkey",
    "session_token",
    "x-goog-api-key",
]


@pytest.mark.parametrize("name", [*SECRET_HEADERS, "X-Tenant", "X-Keyboard", "Accept", "X-Title"])
def test_a_header_whose_name_says_that_it_is_secret_is_given_by_reference(name: str) -> None:
    """Its value need not look like a key: a short one of a service's own does not."""
    for text in (
        "[providers.groq]\nheaders = {{ '{}' = 'plain' }}",
        "[options]\nextra_headers = {{ '{}' = 'plain' }}",
        "[options]\nextra_query = {{ '{}' = 'plain' }}",
    ):
        document = text.format(name)
        if name in SECRET_HEADERS:
            with pytest.raises(ConfigError, match=name):
                load(document)
        else:
            load(document)


@pytest.mark.parametrize("key", ["sk-proj-abcdefghijklmnop", "gsk_abcdefghijklmnop", "AIzaSyABCDEFGHIJKLMNO"])
def test_the_advice_on_a_key_in_the_file(key: str) -> None:
    assert looks_like_key(key)
    with pytest.raises(ConfigError) as caught:
        load(f"[providers.groq]\napi_key = '{key}'\n")
    assert '{ env = "GROQ_API_KEY" }, { file = "~/.keys/NAME" } or { keyring = "SERVICE"' in str(caught.value)
    assert "replace the key, since it was in this file" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["qwen2.5-coder-32b-instruct-q4_K_M", "claude-sonnet-4-5-20250929", "my-project-123456", "task-force"],
)
def test_names_are_no_keys(name: str) -> None:
    assert not looks_like_key(name)
    load(f"model = 'groq:{name}'\n[providers.vertex]\nproject = '{name}'")


def test_no_output_holds_a_secret(
    rings: Rings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Keys in a variable, a file and a keyring, and headers: in everything that can be printed, kept or logged."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MINE", SECRET)
    key_file()
    echo = json.dumps({"error": {"message": f"no such key: {SECRET}"}}).encode()
    out = io.StringIO()

    def show(*values: Any) -> None:
        for value in values:
            print(value, repr(value), file=out)

    with ScriptedServer(lambda _: Answer(status=401, body=echo)) as server:
        for reference in (
            "api_key = { env = 'MINE' }",
            "api_key = { file = 'key' }",
            "api_key = { keyring = 'planted', user = 'ada' }",
            "headers = { Authorization = { env = 'MINE' } }",
            "headers = { X-Tenant-Key = { keyring = 'planted', user = 'ada' } }",
        ):
            config = load(
                f"[providers.mine]\nbased_on = 'openai-chat'\nbase_url = '{server.url}/v1'\n{reference}\n"
                "options = { temperature = 1 }"
            )
            with Client("mine:m", config=config) as client:
                prepared = client.prepare("hi")
                assert prepared.headers.get("Authorization", "[redacted]") == "[redacted]"
                with pytest.raises(ProviderError) as caught:
                    client.chat("hi")
                error = caught.value
                target = client._core._session.target("mine:m")
                show(config, *config.providers, client, prepared, prepared.curl(), target, error, vars(error))
                show(config.providers[0].api_key, config.providers[0].headers)
                show(*traceback.format_exception(error))
                for value in (config, error, copy.copy(config)):
                    show(pickle.dumps(value), pickle.loads(pickle.dumps(value)))
            assert pickle.loads(pickle.dumps(config)) == config
            sent = server.requests[-1]
            assert SECRET in {value.removeprefix("Bearer ") for _, value in sent.headers}  # it was sent
    assert rings.asked  # and asked for
    assert SECRET not in out.getvalue()
    assert SECRET not in caplog.text
