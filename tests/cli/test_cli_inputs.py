"""What `chat` and `prepare` send besides the prompt: images, files, fragments, options."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import ScriptedServer
from command_runs import HELLO, Ran, chat, run

pytestmark = pytest.mark.long

PNG = b"\x89PNG\r\n\x1a\n"
PDF = b"%PDF-1.4\n%%EOF"


def prepared(*args: str, model: str = "vllm:x") -> Ran:
    return run("prepare", "Hi", "-m", model, *args)


def content(*args: str) -> Any:
    ran = prepared(*args)
    assert (ran.status, ran.err) == (0, "")
    return json.loads(ran.out)["body"]["messages"][0]["content"]


def encoded(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


TEXT = {"type": "text", "text": "Hi"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat").write_bytes(PNG)  # recognised by its content
    (tmp_path / "contract.pdf").write_bytes(PDF)
    (tmp_path / "notes.md").write_text("\ufeffOne ☕\n", encoding="utf-8")
    (tmp_path / "more.md").write_text("Two", encoding="utf-8")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("cat", {"type": "image_url", "image_url": {"url": encoded("image/png", PNG)}}),
        (
            "contract.pdf",
            {
                "type": "file",
                "file": {"filename": "contract.pdf", "file_data": encoded("application/pdf", PDF)},
            },
        ),
        (
            "https://e.test/cat.JPG?size=2",
            {"type": "image_url", "image_url": {"url": "https://e.test/cat.JPG?size=2"}},
        ),
        (
            encoded("image/png", PNG),
            {"type": "image_url", "image_url": {"url": encoded("image/png", PNG)}},
        ),
    ],
)
def test_an_attachment_is_an_image_or_a_file(folder: Path, given: str, sent: Any) -> None:
    assert content("-a", given) == [sent, TEXT]


def test_a_link_to_a_document_is_a_file() -> None:
    shown = prepared("-a", "https://e.test/contract.pdf", "--api-key-env", "HOME", model="anthropic:x")
    part, text = json.loads(shown.out)["body"]["messages"][0]["content"]
    assert part == {"type": "document", "source": {"type": "url", "url": "https://e.test/contract.pdf"}}
    assert text == TEXT


def test_several_attachments_keep_their_order(folder: Path) -> None:
    kinds = [each["type"] for each in content("-a", "contract.pdf", "-a", "cat", "-a", "cat")]
    assert kinds == ["file", "image_url", "image_url", "text"]


def test_fragments_come_before_the_prompt(folder: Path) -> None:
    assert content("-f", "notes.md", "--fragment", "more.md") == "One ☕\n\n\nTwo\n\nHi"
    alone = run("prepare", "-m", "vllm:x", "-f", "more.md")
    assert json.loads(alone.out)["body"]["messages"] == [{"role": "user", "content": "Two"}]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("-a", "nowhere.png"), "--attach nowhere.png: No such file or directory"),
        (("-f", "nowhere.md"), "--fragment nowhere.md: No such file or directory"),
        (("-f", "latin"), "--fragment latin is not UTF-8: byte 0xe9 at offset 3"),
        (
            ("-a", "data:image/png;base64,***"),
            "--attach: ImagePart.url is a data: URL that cannot be decoded",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(folder: Path, args: tuple[str, ...], said: str) -> None:
    with ScriptedServer(HELLO) as server:
        for ran in (prepared(*args), chat(server, "Hi", *args)):
            assert (ran.status, ran.out) == (1, "")
            assert said in ran.err and ran.err.count("\n") == 1
    assert not server.requests


def test_chat_sends_what_prepare_shows(folder: Path) -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, "Hi", "-a", "cat", "-f", "more.md").status == 0
    sent = server.requests[0].json()["messages"][0]["content"]
    assert sent == content("-a", "cat", "-f", "more.md")
    assert sent[1] == {"type": "text", "text": "Two\n\nHi"}


# -- options -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "model", "sent"),
    [
        (["top_p=0.5", "seed=7"], "vllm:x", {"top_p": 0.5, "seed": 7}),
        (["stop=END"], "vllm:x", {"stop": "END"}),
        (['stop=["A", "B"]'], "vllm:x", {"stop": ["A", "B"]}),
        (["reasoning=high"], "vllm:x", {"reasoning_effort": "high"}),
        (["reasoning.effort=low"], "vllm:x", {"reasoning_effort": "low"}),
        (['reasoning={"effort": "low"}'], "vllm:x", {"reasoning_effort": "low"}),
        (["logprobs=true"], "vllm:x", {"logprobs": True}),
        (["openai_chat.logprobs=true"], "vllm:x", {"logprobs": True}),
        (["provider_options.openai_chat.logprobs=true"], "vllm:x", {"logprobs": True}),
        (["extra_body.a=1", 'extra_body.b={"c": null}', "extra_body.d.e=x=y"], "vllm:x", None),
        (["gemini.labels.a=x"], "vllm:x", {}),
        (["temperature=0.5"], "local:./x.gguf", {"temperature": 0.5}),
        (["temperature=0.5", "temperature=1"], "vllm:x", {"temperature": 1}),
    ],
)
def test_options_by_their_names(given: list[str], model: str, sent: dict[str, Any] | None) -> None:
    words = [word for each in given for word in ("-o", each)]
    ran = prepared(*words, model=model)
    assert (ran.status, ran.err) == (0, "")
    body = json.loads(ran.out)["body"]
    for name in ("model", "messages"):
        del body[name]
    if model.startswith("local:"):
        body = {"temperature": body["temperature"]}
    assert body == ({"a": 1, "b": {"c": None}, "d.e": "x=y"} if sent is None else sent)


def test_headers_stay_text_and_options_of_other_protocols_are_reported() -> None:
    ran = prepared("-o", "extra_headers.x-trace=12", "-o", "anthropic_messages.speed=fast")
    shown = json.loads(ran.out)
    assert shown["headers"]["x-trace"] == "12"
    assert [each["field"] for each in shown["report"]["dropped"]] == ["provider_options"]


PLANTED = "sk-planted-0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("temprature=1", "there is no option 'temprature'; did you mean 'temperature'?"),
        ("logprob=true", "did you mean 'logprobs'?"),
        ("qwertz=1", "there are: max_tokens, temperature,"),
        ("reasoning.efort=high", "reasoning.efort: there is no such field; did you mean 'effort'?"),
        ("openai_chat.logprob=1", "openai_chat.logprob: there is no such field; did you mean 'logprobs'?"),
        ("top_k=many", "top_k: takes a whole number, not text"),
        ("reasoning=hgih", "--option: reasoning: takes one of: off, minimal"),
        ("top_p=2", "top_p takes a number, 0 to 1, not 2"),
        ("timeouts.total=0", "Timeouts.total takes seconds above 0"),
        ("temperature", "--option takes NAME=VALUE"),
        (PLANTED, "--option takes NAME=VALUE"),
        (f"extra_headers.Authorization=Bearer {PLANTED}", "looks like a key"),
        (f"extra_body.x={PLANTED}", "looks like a key"),
    ],
)
def test_an_option_that_is_none_is_one_line(given: str, said: str) -> None:
    ran = prepared("-o", given)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err and ran.err.count("\n") == 1
    assert PLANTED not in ran.err


def test_an_option_as_a_whole_and_by_its_fields() -> None:
    ran = prepared("-o", "reasoning=high", "-o", "reasoning.budget_tokens=5")
    assert ran.status == 1 and "reasoning is given as a whole and by its fields" in ran.err
