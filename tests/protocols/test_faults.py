"""Every fault of faults.py on Chat Completions, and what no protocol has to do with: TLS, and whose a key is."""

from __future__ import annotations

import ssl

import pytest
import trustme

from brainwires_provider import ConnectError, ProviderConfig
from brainwires_provider.testing import ScriptedServer, sse
from chat_answers import WHOLE, chunk, stream
from colours import COLOURS, ask
from faults import BOTH, KEY, Dialect, FaultTests


def ends(text: bytes) -> set[int]:
    """`[DONE]`, or a finish reason and a clean end."""
    finished = text.index(b"\n\n", text.index(b'"stop"'))
    return {finished, finished + 1, finished + 2, len(text) - 2, len(text) - 1, len(text)}


CHAT = Dialect(
    row="openai-chat",
    path="/v1/chat/completions",
    stream=stream,
    whole=WHOLE,
    held=sse(chunk({"content": "Hel"}), done=False),
    burnt=sse({"error": {"message": "burnt", "code": 503}}),
    misshapen=b'{"choices": [3]}',
    unended="no finish reason",
    ends=ends,
    odd=lambda text: {"no [DONE]": text.removesuffix(b"data: [DONE]\n\n")},
    said=lambda body: body["messages"][0]["content"],
)


class TestChat(FaultTests):
    dialect = CHAT


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
    with ScriptedServer([CHAT.good(True), CHAT.good(True)], ssl_context=server_context) as server:
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
    with ScriptedServer([CHAT.good(False)]) as server:
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
