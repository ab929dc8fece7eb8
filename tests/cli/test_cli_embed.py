"""`brainwires embed` and `similar` against a scripted server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainwires_provider.testing import Answer, ScriptedServer
from command_runs import Ran, run

pytestmark = pytest.mark.long


def vectors(*each: list[float]) -> Answer:
    data = [{"index": at, "embedding": vector} for at, vector in enumerate(each)]
    body = {"data": data, "model": "x", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
    return Answer(body=json.dumps(body).encode(), headers={"content-type": "application/json"})


def send(server: ScriptedServer, *words: str, stdin: bytes | None = None) -> Ran:
    return run(*words, "-m", "openai-chat:x", "--base-url", server.url, stdin=stdin)


def test_each_text_has_its_vector() -> None:
    with ScriptedServer(vectors([1.0, 0.5], [0.0, 2.0], [3.0, 0.0])) as server:
        ran = send(server, "embed", "A cat.", "-", "--dimensions", "2", stdin="Zwölf\n\n two \n".encode())
    assert ran.status == 0
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {"text": "A cat.", "vector": [1.0, 0.5]},
        {"text": "Zwölf", "vector": [0.0, 2.0]},
        {"text": "two", "vector": [3.0, 0.0]},
    ]
    assert ran.err == "3 vectors of 2 numbers, 5 tokens\n"
    sent = server.requests[0].json()
    assert (sent["input"], sent["dimensions"]) == (["A cat.", "Zwölf", "two"], 2)


def test_the_most_similar_text_is_first(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("far\nnear\nnothing\nsame\n")
    with ScriptedServer(vectors([2.0, 0.0], [-1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [9.0, 0.0])) as server:
        ran = send(server, "similar", "pets", str(tmp_path / "notes"), "-n", "3")
    assert (ran.status, ran.out) == (0, "1.0000\tsame\n0.7071\tnear\n0.0000\tnothing\n")


@pytest.mark.parametrize(
    ("words", "stdin", "status", "said"),
    [
        (["embed", "-"], b"\n", 2, "there is no text"),
        (["embed", "-"], b"\xff", 2, "standard input is not UTF-8"),
        (["similar", "x"], b"", 2, "there is no text to compare with"),
        (["similar", "x", "nowhere"], None, 2, "nowhere: No such file or directory"),
        (["similar", "x", "-"], b"a", 1, "Out of order."),
        (["embed", "x"], None, 1, "Out of order."),
    ],
)
def test_what_fails_is_one_line(words: list[str], stdin: bytes | None, status: int, said: str) -> None:
    with ScriptedServer(Answer(422, body=b'{"error": {"message": "Out of order."}}')) as server:
        ran = send(server, *words, stdin=stdin)
    assert ran.status == status
    assert said in ran.err and ran.err.count("\n") == 1
    assert (ran.out != "") == (words == ["embed", "x"])
