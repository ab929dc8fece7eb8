"""Which proxy a URL goes through, for HTTP and WebSockets: the environment's, unless it is for this machine."""

from __future__ import annotations

import os
from typing import Any

import pytest

from brainwires_provider import AsyncClient, ConfigError
from brainwires_provider.testing import Answer, ScriptedServer
from brainwires_provider.transports.proxies import proxy_for
from chat_answers import WHOLE
from colours import ask

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without a variable of the machine that the tests run on."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_the_variables_by_scheme(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://secure:1")
    environment.setenv("http_proxy", "plain:2")
    assert proxy_for("wss://api.example/x", "env") == "http://secure:1"
    assert proxy_for("ws://api.example/x", "env") == "http://plain:2"
    environment.setenv("WSS_PROXY", "http://own:3")
    assert proxy_for("wss://api.example/x", "env") == "http://own:3"
    assert proxy_for("https://api.example/x", "env") == "http://secure:1"
    environment.setenv("ALL_PROXY", "all:4")
    assert proxy_for("https://api.example/x", "env") == "http://secure:1"
    assert proxy_for("other://api.example/x", "env") == "http://all:4"


THIS_MACHINE = [
    "127.0.0.1",
    "127.9.8.7",
    "127.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",
    "[::]",
]


@pytest.mark.parametrize("host", THIS_MACHINE)
@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_the_environments_proxy_is_never_used_for_this_machine(
    scheme: str, host: str, environment: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        environment.setenv(name, PROXY)
    assert proxy_for(f"{scheme}://{host}:8080/v1", "env") is None
    assert proxy_for(f"{scheme}://{host}:8080/v1", PROXY) == PROXY
    for other in ("localhost.example", "example.com", "10.0.0.1", "notlocalhost", "[fe80::1]"):
        assert proxy_for(f"{scheme}://{other}/v1", "env") == PROXY


NO_PROXY: dict[str, tuple[list[str], list[str]]] = {
    "*": (["https://any.example"], []),
    "a.example, *": (["https://any.example"], []),
    "inside.example": (
        ["https://inside.example", "https://a.inside.example", "https://INSIDE.example.:8443"],
        ["https://notinside.example", "https://inside.example.org"],
    ),
    ".inside.example": (["https://a.inside.example"], ["https://example"]),
    "*.inside.example": (["https://a.inside.example"], ["https://outside.example"]),
    "inside.example:8443": (["https://inside.example:8443"], ["https://inside.example"]),
    "inside.example:443": (["https://inside.example", "wss://inside.example"], ["http://inside.example"]),
    "inside.example:80": (["http://inside.example", "ws://inside.example"], ["https://inside.example"]),
    "a.example b.example,c.example": (["https://b.example", "https://c.example"], ["https://d.example"]),
    "10.0.0.7": (["http://10.0.0.7:1"], ["http://10.0.0.70", "http://110.0.0.7"]),
    "10.0.0.7:8080": (["http://10.0.0.7:8080"], ["http://10.0.0.7"]),
    "10.0.0.0/8": (["http://10.255.0.1:9"], ["http://11.0.0.1", "http://ten.example"]),
    "10.1.2.3/8": (["http://10.255.0.1"], ["http://11.0.0.1"]),
    "fd00::7": (["http://[fd00::7]:11434", "http://[fd00:0::7]"], ["http://[fd00::8]"]),
    "[fd00::7]": (["http://[fd00::7]:1"], ["http://[fd00::8]"]),
    "[fd00::7]:8080": (["http://[fd00::7]:8080"], ["http://[fd00::7]"]),
    "fd00::/8": (["http://[fd12::1]"], ["http://[fe12::1]", "http://10.0.0.1"]),
    "10.0.0.0/99, , :, a.example/8": ([], ["http://10.0.0.1", "https://a.example"]),
    "0.1": ([], ["http://10.0.0.1"]),
}


@pytest.mark.parametrize("value", NO_PROXY)
def test_no_proxy(value: str, environment: pytest.MonkeyPatch) -> None:
    direct, through = NO_PROXY[value]
    environment.setenv("all_proxy", PROXY)
    environment.setenv("NO_PROXY", value)
    assert {url: proxy_for(url, "env") for url in direct} == dict.fromkeys(direct)
    assert {url: proxy_for(url, "env") for url in through} == dict.fromkeys(through, PROXY)


MALFORMED = [
    "http://",
    "http://:3128",
    "http://host:port",
    "http://host:99999",
    "http://[::1",
    "http://me:p#w@host:3128",
    "http://ho st:3128",
    "host:port",
    "://",
]


@pytest.mark.parametrize("value", MALFORMED)
def test_a_malformed_proxy_is_named_by_its_source(value: str, environment: pytest.MonkeyPatch) -> None:
    """The variable, or the argument; never its value, which may hold a password."""
    environment.setenv("Https_Proxy", value)
    with pytest.raises(
        ConfigError, match=r"the proxy's URL in Https_Proxy has no host or no valid port"
    ) as caught:
        proxy_for("https://api.example", "env")
    assert "p#w" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"the proxy's URL in proxy= has no host"):
        proxy_for("https://api.example", value)


def test_a_socks_proxy_is_named_and_breaks_no_local_provider(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ALL_PROXY", "socks5://me:secret@proxy.example:1080")
    with ScriptedServer([Answer(body=WHOLE)]) as server:
        assert ask("sync", f"{server.url}/v1", stream=False).response.text == "Hello"
    with pytest.raises(ConfigError, match="ALL_PROXY has a socks5 proxy, but only http and https") as caught:
        ask("sync", "https://api.example.invalid/v1")
    assert "secret" not in str(caught.value)
    environment.setenv("https_proxy", "http://127.0.0.1:1")  # the scheme's own goes before ALL_PROXY
    assert proxy_for("https://api.example", "env") == "http://127.0.0.1:1"


def test_the_systems_settings_are_asked_where_no_variable_is_set(environment: pytest.MonkeyPatch) -> None:
    import urllib.request

    def settings() -> dict[str, str]:
        return {"https": "system:8080"}

    def bypassed(host: str) -> bool:
        return host == "inside.example:443"

    environment.setattr(urllib.request, "getproxies", settings)
    environment.setattr(urllib.request, "proxy_bypass", bypassed)
    assert proxy_for("https://api.example", "env") == "http://system:8080"
    assert proxy_for("https://inside.example", "env") is None
    assert proxy_for("https://localhost", "env") is None
    environment.setenv("http_proxy", PROXY)
    assert proxy_for("https://api.example", "env") is None


def test_the_proxy_of_a_request_is_looked_up_when_it_is_sent(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "http://host:port")
    client: Any = AsyncClient("openai-chat:m", base_url="https://api.example/v1", api_key="k")
    assert client.prepare("hi").url.startswith("https://api.example")
