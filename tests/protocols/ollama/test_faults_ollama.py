"""Every fault of faults.py on Ollama's API, whose streams are lines of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brainwires_provider import ConfigError, StreamTimeout, Timeouts
from brainwires_provider.testing import Answer, ScriptedServer, Stall, split
from colours import COLOURS, ask
from faults import BOTH, BROKEN, FORMS, Dialect, FaultTests, failing

pytestmark = pytest.mark.long

COUNTS = {"prompt_eval_count": 3, "eval_count": 1, "total_duration": 9}


def line(text: str = "", **fields: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    told = {"model": "m-1", "created_at": "2026-11-20T10:00:00Z", "message": message, "done": False, **fields}
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"


END = line(done=True, done_reason="stop", **COUNTS)
BURNT = {"error": {"code": 503, "message": "burnt"}}


def ends(text: bytes) -> set[int]:
    """The last line counts once its JSON is whole, with its end or without."""
    return {len(text) - 1, len(text)}


# Lines have no comments: a blank line is the one sign of life that they allow.
OF_SERVER_SENT_EVENTS = {"heartbeats only"}
SET_UPS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown provider": ("olama:x", {}, "did you mean 'ollama'"),
    "no model": ("ollama:", {}, "name a model of ollama"),
    "no key for the cloud": ("ollama-cloud:x", {}, "set OLLAMA_API_KEY or pass api_key="),
    "plain http": ("ollama:x", {"base_url": "example.com"}, "http://example.com:11434 is plain http"),
    "no URL": ("ollama:x", {"base_url": "tcp://example.com"}, "is not an http"),
    "bad port": ("ollama:x", {"base_url": "https://h:99999/"}, "is not an http"),
    "half a bracket": ("ollama:x", {"base_url": "[::1"}, "is not an http"),
    "a password in the URL": ("ollama:x", {"base_url": "https://me:pw@example.com"}, "user name or password"),
    "the cloud's key elsewhere": (
        "ollama-cloud:x",
        {"base_url": "https://example.com"},
        "its key must be given in code",
    ),
}


class TestOllama(FaultTests):
    dialect = Dialect(
        row="ollama",
        path="/v1/api/chat",
        stream=lambda text: line(text) + END,
        whole=line("Hello", done=True, done_reason="stop", **COUNTS),
        held=line("Hel"),
        burnt=json.dumps(BURNT).encode() + b"\n",
        misshapen=b'{"message": 3}',
        unended="the stream ended before the answer did: no line said done",
        ends=ends,
        odd=lambda text: {},
        said=lambda body: body["messages"][0]["content"],
    )

    @BOTH
    @FORMS
    @pytest.mark.parametrize("name", sorted(BROKEN.keys() - OF_SERVER_SENT_EVENTS))
    def test_a_broken_answer(self, name: str, stream: bool, colour: str) -> None:
        super().test_a_broken_answer(name, stream, colour)

    @BOTH
    def test_blank_lines_are_no_events(self, colour: str) -> None:
        steps = [self.dialect.held, *[b"\r\n"] * 3, Stall()]
        with ScriptedServer([Answer(body=steps)]) as server:
            error = failing(self.dialect, colour, server, stream=True, timeouts=Timeouts(idle=0.2))

        assert isinstance(error, StreamTimeout)
        assert error.partial is not None
        assert error.partial.text == "Hel"

    @BOTH
    def test_odd_but_right(self, colour: str) -> None:
        text = self.dialect.text
        clothes = {
            "CRLF": text.replace(b"\n", b"\r\n"),
            "blank lines": b"\n \r\n" + text.replace(b"\n", b"\n\n\r\n"),
            "a BOM": b"\xef\xbb\xbf" + text,
            "unknown lines": b'{"ping": 1}\n{}\n' + text,
            "no last end": text[:-1],
            "more after the end": text + line("more") + b"oops\n",
        }
        for name, body in clothes.items():
            with ScriptedServer([Answer(body=split(body, every=11))]) as server:
                assert self.asked(colour, server.url).response.text == "Hello", name
                server.wait_idle(5)

    @BOTH
    def test_a_stream_that_is_announced_as_json(self, colour: str) -> None:
        headers = {"content-type": "application/json"}
        with ScriptedServer([Answer(headers=headers, body=split(self.dialect.text, every=7))]) as server:
            assert self.asked(colour, server.url).response.text == "Hello"

    @BOTH
    @pytest.mark.parametrize("name", SET_UPS)
    def test_a_set_up_that_cannot_work(self, name: str, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OLLAMA_API_KEY", raising=False)
        model, settings, says = SET_UPS[name]
        make, run = COLOURS[colour]
        with pytest.raises(ConfigError) as caught:
            run(make(model, **settings), stream=False)

        assert says in str(caught.value)


@BOTH
def test_keys_stay_home(colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloud's key goes neither to this machine's server nor to the one that OLLAMA_HOST names."""
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-of-the-cloud")
    good = Answer(body=TestOllama.dialect.whole)
    with ScriptedServer(good) as server:
        ask(colour, server.url, model="ollama:m", api_key=None, stream=False)
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        ask(colour, None, model="ollama:m", api_key=None, stream=False)  # type: ignore[arg-type]
        ask(colour, server.url, model="ollama-cloud:m", api_key=None, stream=False)
        ask(colour, server.url, model="ollama:m", api_key="sk-given", stream=False)
    assert [r.header("authorization") for r in server.requests] == [None, None, None, "Bearer sk-given"]
