"""`brainwires decode` and `replay`: the shapes they print, and what no recording may do to them."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from anthropic_answers import block, chunk, stream
from brainwires_provider.cli.app import app
from brainwires_provider.cli.output import dump, part_shape
from brainwires_provider.testing import sse
from brainwires_provider.types import FilePart, Message, TextPart
from corpus import corpus_dir, records

RESULT = ["id", "model", "message", "finish_reason", "raw_finish_reason", "usage", "extra", "report"]
ERROR = ["type", "message", "status", "provider_status", "code", "retry_after", "request_id", "body"]
ORIGIN = {"protocol": "openai_chat", "provider": "", "model": None, "reported": "m-2"}
NOTHING_REPORTED: dict[str, list[Any]] = {"sent": [], "adapted": [], "emulated": [], "dropped": []}


def run(*args: str, stdin: bytes | None = None) -> tuple[int, list[dict[str, Any]]]:
    """The command in this process: its exit status, and its lines read as JSON."""
    result = CliRunner().invoke(app, list(args), input=stdin, catch_exceptions=False)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def decode(body: bytes, *args: str) -> tuple[int, dict[str, Any]]:
    status, lines = run("decode", "openai_chat", "-", *args, stdin=body)
    (line,) = lines
    return status, line


def choice(**message: Any) -> bytes:
    return msgspec.json.encode({"id": "r", "model": "m-2", "choices": [{"index": 0, "message": message}]})


def part_of(body: bytes, kind: str) -> dict[str, Any]:
    status, result = decode(body)
    assert status == 0
    part: dict[str, Any]
    (part,) = [part for part in result["message"]["content"] if part["type"] == kind]
    assert part.pop("origin") == ORIGIN
    return part


CITATION = {"type": "url_citation", "url_citation": {"url": "https://e.test", "title": "T", "start_index": 0}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"content": "Hi", "annotations": [CITATION]},
            {
                "type": "text",
                "text": "Hi",
                "citations": [
                    {
                        "url": "https://e.test",
                        "title": "T",
                        "quote": None,
                        "start": 0,
                        "end": None,
                        "source": None,
                        "raw": CITATION,
                    }
                ],
            },
        ),
        ({"content": "Hi"}, {"type": "text", "text": "Hi", "citations": []}),
        (
            {"content": "Hi", "reasoning_content": "Hm"},
            {
                "type": "reasoning",
                "text": "Hm",
                "summary": [],
                "signature": None,
                "encrypted": None,
                "redacted": False,
                "extra": {"fields": ["reasoning_content"]},
            },
        ),
        ({"content": None, "refusal": "No."}, {"type": "refusal", "text": "No."}),
        (
            {
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
                ]
            },
            {
                "type": "tool_call",
                "id": "c",
                "local_id": None,
                "kind": "function",
                "name": "f",
                "arguments": '{"a": 1}',
            },
        ),
        (
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
            {
                "type": "image",
                "data": "aGk=",
                "media_type": "image/png",
                "url": None,
                "file_id": None,
                "detail": None,
            },
        ),
        (
            {"audio": {"id": "a1", "data": "aGk=", "transcript": "hi"}},
            {
                "type": "file",
                "data": "aGk=",
                "media_type": None,
                "url": None,
                "file_id": None,
                "name": None,
                "text": "hi",
                "extra": {"id": "a1"},
            },
        ),
        (
            {"content": [{"type": "odd", "n": None}]},
            {
                "type": "opaque",
                "kind": "odd",
                "id": None,
                "name": None,
                "role": None,
                "data": {"type": "odd", "n": None},
            },
        ),
    ],
)
def test_each_kind_of_part_has_its_shape(message: dict[str, Any], expected: dict[str, Any]) -> None:
    assert part_of(choice(**message), str(expected["type"])) == expected


def test_a_call_without_an_id_says_so() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": ""}}
    part = part_of(choice(tool_calls=[call]), "tool_call")
    assert part["id"] is None
    assert part["local_id"]


def test_parts_that_no_answer_holds_have_a_shape_too() -> None:
    message = Message.tool_result("c", TextPart("x"), FilePart(data=b"hi", name="n"), is_error=True)
    shape = part_shape(message.content[0])
    assert list(shape) == ["type", "call_id", "name", "content", "is_error"]
    assert [part["type"] for part in shape["content"]] == ["text", "file"]


STREAM = sse(
    {"id": "r1", "model": "m-2", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}}]},
    {
        "choices": [{"index": 0, "delta": {"content": " you", "odd": 1}, "finish_reason": "stop"}],
        "service_tier": "flex",
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    },
)
USAGE = {
    "uncached_input": 6,
    "cache_read": 4,
    "cache_write": 0,
    "output_text": 3,
    "reasoning": 2,
    "tool_input": 0,
    "audio_input": 0,
    "unattributed": 1,
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 16,
    "passes": [],
    "complete": True,
    "anomalies": [],
}


def test_the_result_has_every_key() -> None:
    status, result = decode(STREAM)
    assert status == 0
    assert list(result) == RESULT
    assert result["usage"].pop("raw")["prompt_tokens_details"] == {"cached_tokens": 4}
    text = {"type": "text", "text": "Hi you", "citations": [], "origin": ORIGIN}
    assert result == {
        "id": "r1",
        "model": "m-2",
        "message": {"role": "assistant", "content": [text], "extra": {"odd": 1}},
        "finish_reason": "stop",
        "raw_finish_reason": "stop",
        "usage": USAGE,
        "extra": {"service_tier": "flex"},
        "report": NOTHING_REPORTED,
    }


def test_further_responses_stand_under_more() -> None:
    status, result = decode(STREAM * 3)
    assert status == 0
    assert [each["message"] for each in result["more"]] == [result["message"]] * 2
    assert list(result["more"][0]) == RESULT


def test_events_are_lines() -> None:
    status, lines = run("decode", "openai_chat", "-", "--events", stdin=STREAM)
    assert status == 0
    assert [line["event"] for line in lines] == [
        "response_start",
        "part_start",
        "text_delta",
        "text_delta",
        "part_end",
        "response_end",
    ]
    assert lines[2] == {"event": "text_delta", "index": 0, "text": "Hi"}
    assert lines[4]["part"] == {"type": "text", "text": "Hi you", "citations": [], "origin": ORIGIN}
    assert lines[5]["usage"].items() >= USAGE.items()
    assert lines[5]["message_extra"] == {"odd": 1}


def test_a_failure_is_the_last_event_line() -> None:
    status, lines = run("decode", "openai_chat", "-", "--events", stdin=STREAM[:160])
    assert status == 1
    assert [line.get("event") for line in lines] == ["response_start", "part_start", "text_delta", None]
    assert list(lines[-1]) == ["error", "partial"]
    assert lines[-1]["partial"]["message"]["content"][0]["text"] == "Hi"


IN_STREAM = sse(
    {"id": "r1", "choices": [{"index": 0, "delta": {"content": "Hi"}}]},
    {"error": {"message": "Too busy.", "type": "overloaded_error", "code": 529}},
    done=False,
)


@pytest.mark.parametrize(
    ("body", "args", "error", "partial"),
    [
        (
            IN_STREAM,
            [],
            {"type": "OverloadedError", "status": 200, "provider_status": 529, "message": "Too busy."},
            "Hi",
        ),
        (STREAM[:160], [], {"type": "StreamInterrupted", "status": None}, "Hi"),
        (STREAM[:160], ["--framing", "sse"], {"type": "StreamInterrupted"}, "Hi"),
        (STREAM + IN_STREAM, [], {"type": "OverloadedError"}, "Hi you"),
        (b"<html>Bad gateway</html>", [], {"type": "ProtocolError"}, ""),
        (b'{"choices": [{"index"', [], {"type": "ProtocolError"}, ""),
        (b"", [], {"type": "ProtocolError", "message": "the provider answered with an empty body"}, None),
        (b"", ["--framing", "sse"], {"type": "StreamInterrupted"}, ""),
        (b"binary", ["--framing", "eventstream"], {"type": "StreamInterrupted"}, ""),
        (b"not an event stream", ["--framing", "eventstream"], {"type": "FramingError"}, None),
        (b'{"x": 1}', [], {"type": "ProtocolError"}, ""),
        (
            b'{"error": {"message": "Slow down.", "code": "rate_limit_exceeded"}}',
            ["--status", "429"],
            {"type": "RateLimitError", "status": 429, "code": "rate_limit_exceeded"},
            None,
        ),
        (
            b'{"error": {"message": "Wrong \\ud83d key."}}',
            ["--status", "401"],
            {"type": "AuthenticationError", "message": "Wrong \ufffd key."},
            None,
        ),
        (b"<html>", ["--status", "502"], {"type": "ServerError", "status": 502, "body": "<html>"}, None),
    ],
)
def test_failures(body: bytes, args: list[str], error: dict[str, Any], partial: str | None) -> None:
    status, failure = decode(body, *args)
    assert status == 1
    assert list(failure) == ["error", "partial"]
    assert list(failure["error"]) == ERROR
    assert failure["error"].items() >= error.items()
    if partial is None:
        assert failure["partial"] is None
        return
    assert list(failure["partial"])[: len(RESULT)] == RESULT
    assert "".join(part["text"] for part in failure["partial"]["message"]["content"]) == partial


def test_a_later_answer_that_fails_stands_under_more() -> None:
    _, failure = decode(STREAM + IN_STREAM)
    assert failure["partial"]["finish_reason"] == "stop"
    assert [each["finish_reason"] for each in failure["partial"]["more"]] == ["pending"]


def test_a_framing_can_be_given() -> None:
    lines = b"\n".join(msgspec.json.encode(json.loads(each[6:])) for each in STREAM.split(b"\n\n")[:2])
    status, result = decode(lines, "--framing", "ndjson")
    assert (status, result["message"]["content"][0]["text"]) == (0, "Hi you")


def test_a_protocol_that_is_not_built_is_an_error_of_its_own() -> None:
    status, lines = run("decode", "gopher", "-", stdin=b"{}")
    assert status == 1
    assert lines[0]["error"]["type"] == "ProtocolNotBuiltError"
    assert "openai_chat" in lines[0]["error"]["message"]


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["decode", "openai_chat", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert result.stderr == f"brainwires: cannot read {tmp_path / 'none'}: No such file or directory\n"


@pytest.mark.parametrize("depth", [150, 200_000])
def test_deep_nesting_is_no_crash(depth: int) -> None:
    body = choice(content="x").replace(b'"r"', b'"r","odd":' + b"[" * depth + b"]" * depth)
    status, result = decode(body)
    assert (status == 0) == (depth == 150)
    assert status == 0 or result["error"]["type"] in ("ProtocolError", "ValueError")


def test_dump_says_what_is_too_deep() -> None:
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(ValueError, match="too deeply"):
        dump({"deep": deep})
    while deep:  # freed one by one, not by a deep recursion
        deep = deep[0]


# -- replay --------------------------------------------------------------------------------------------------


def record(**fields: Any) -> dict[str, Any]:
    return {
        "id": "t#0",
        "source": "s",
        "protocol": "openai_chat",
        "kind": "stream",
        "host": "h.test",
        "request": {"model": "m"},
        "status": 200,
        "headers": {"x-request-id": "req-1"},
        "body": STREAM.decode(),
    } | fields


def refused(status: int, **headers: str) -> dict[str, Any]:
    return record(kind="whole", status=status, headers=headers, body='{"error": {"message": "No."}}')


RECORDS: list[tuple[Any, str | None, dict[str, Any]]] = [
    (record(), None, {}),
    (record(body=None, body_b64=base64.b64encode(STREAM).decode()), None, {}),
    (record(kind="whole", body=choice(content="Hi you").decode()), None, {}),
    (record(request=None, headers=None, host=None), None, {}),
    (record(body=STREAM.decode()[:160]), "StreamInterrupted", {"request_id": "req-1"}),
    (record(body=IN_STREAM.decode()), "OverloadedError", {"request_id": "req-1", "status": 200}),
    (record(kind="whole"), "ProtocolError", {}),
    (
        refused(429, **{"Retry-After": "3", "request-id": "q"}),
        "RateLimitError",
        {"retry_after": 3.0, "request_id": "q"},
    ),
    (refused(307), "APIError", {"status": 307}),
    (record(protocol="gopher"), "ProtocolNotBuiltError", {}),
    (record(protocol="count_tokens", kind="whole"), "ProtocolError", {"request_id": "req-1"}),
    (record(protocol="models", kind="whole"), "ProtocolError", {}),
    (record(protocol="count_tokens", kind="whole", path=None, status=429), "RateLimitError", {"status": 429}),
    (record(body="x \ud83d"), "StreamInterrupted", {}),
    ("not JSON", "BrokenRecordError", {}),
    ([1], "BrokenRecordError", {}),
    (record(kind="odd"), "BrokenRecordError", {}),
    (record(status="200"), "BrokenRecordError", {}),
    (record(body=7), "BrokenRecordError", {}),
    (record(body_b64="@"), "BrokenRecordError", {}),
]


def write(path: Path, entries: list[Any]) -> Path:
    lines = [each if isinstance(each, str) else json.dumps(each) for each in entries]
    data = ("\n\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_replay_prints_a_line_for_each_record(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [each for each, _, _ in RECORDS])
    status, lines = run("replay", str(path))
    assert status == 0
    assert len(lines) == len(RECORDS)
    for number, (line, (given, error, fields)) in enumerate(zip(lines, RECORDS, strict=True)):
        if error is None:
            assert list(line) == ["id", "protocol", "kind", "response"]
            assert line["response"]["message"]["content"][0]["text"] == "Hi you"
            continue
        assert line["error"]["type"] == error
        assert line["error"].items() >= fields.items()
        assert list(line["error"]) == ERROR
        assert "partial" in line
        if isinstance(given, dict):
            assert (line["id"], line["protocol"], line["kind"]) == (
                "t#0",
                given["protocol"],
                given["kind"],
            )
        if error == "BrokenRecordError":
            assert (line["file"], line["line"]) == (str(path), number * 2 + 1)


def test_the_origin_of_a_replayed_part_is_the_recording_s(tmp_path: Path) -> None:
    _, lines = run("replay", str(write(tmp_path / "r", [record()])))
    assert lines[0]["response"]["message"]["content"][0]["origin"] == {
        "protocol": "openai_chat",
        "provider": "h.test",
        "model": "m",
        "reported": "m-2",
    }


def test_replay_reads_several_files_and_standard_input(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", [record(id="a")])
    packed = gzip.compress(json.dumps(record(id="c")).encode())
    status, lines = run("replay", str(first), str(first), "-", stdin=packed)
    assert (status, [line["id"] for line in lines]) == (0, ["a", "a", "c"])


@pytest.mark.parametrize(
    ("damage", "before"),
    [
        (lambda whole: whole[: len(whole) // 2], True),
        (lambda whole: whole[:20] + b"\xff" * 40 + whole[60:], False),
        (lambda whole: whole[:-8] + bytes(8), True),
    ],
)
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, damage: Any, before: bool) -> None:
    path = tmp_path / "r.jsonl.gz"
    entries = [record(id=str(n), source=os.urandom(400).hex()) for n in range(200)]
    path.write_bytes(damage(write(path, entries).read_bytes()))
    good = write(tmp_path / "good.jsonl", [record(id="good")])
    result = CliRunner().invoke(app, ["replay", str(path), str(tmp_path / "none"), str(good)])
    assert result.exit_code == 2
    said = result.stderr.splitlines()
    assert [line.partition(":")[2].partition(":")[0] for line in said] == [
        f" cannot read {path}",
        f" cannot read {tmp_path / 'none'}",
    ]
    ids = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    assert ids[-1] == "good"
    assert (len(ids) > 1) == before


def test_a_reader_that_leaves_early_is_no_failure_to_speak_of(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", [record(id=str(n)) for n in range(2000)])
    command = [sys.executable, "-m", "brainwires_provider", "replay", str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["id"] == "0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_every_recorded_chat_gets_its_line() -> None:
    recorded = records("openai_chat")
    status, lines = run("replay", str(corpus_dir() / "openai_chat.jsonl.gz"))
    assert status == 0
    assert [line["id"] for line in lines] == [each.id for each in recorded]
    for line, each in zip(lines, recorded, strict=True):
        assert ("response" in line) != ("error" in line)
        if each.status >= 400:
            assert line["error"]["status"] == each.status


def test_compactions_are_values() -> None:
    recorded = records("openai_compact")
    status, lines = run("replay", str(corpus_dir() / "openai_compact.jsonl.gz"))
    assert status == 0
    assert [line["id"] for line in lines] == [each.id for each in recorded]
    for line in lines:
        assert line["value"]["messages"]
        assert line["value"]["usage"]["total_tokens"] > 0


OPERATIONS: list[tuple[str, str, dict[str, Any], Any]] = [
    ("count_tokens", "/v1/messages/count_tokens", {"input_tokens": 7}, 7),
    ("count_tokens", "/model/m/count-tokens", {"inputTokens": 7}, 7),
    ("count_tokens", "/v1beta/models/m:countTokens", {"totalTokens": 7}, 7),
    ("count_tokens", "/v1/responses/input_tokens", {"input_tokens": 7}, 7),
    ("models", "/v1/models", {"data": [{"id": "m", "owned_by": "o"}]}, {"owner": "o"}),
    ("models", "/v1/models", {"models": [{"name": "x"}], "data": [{"id": "m"}]}, {}),  # llama.cpp's
    (
        "models",
        "/v1/models",
        {"data": [{"type": "model", "id": "m", "max_input_tokens": 9}]},
        {"context_window": 9},
    ),
    (
        "models",
        "/v1beta/models",
        {"models": [{"name": "models/m", "inputTokenLimit": 9}]},
        {"context_window": 9},
    ),
]


@pytest.mark.parametrize(("name", "path", "body", "expected"), OPERATIONS)
def test_counts_and_lists_are_values(
    tmp_path: Path, name: str, path: str, body: dict[str, Any], expected: Any
) -> None:
    given = record(protocol=name, kind="whole", path=path, body=json.dumps(body))
    _, (replayed,) = run("replay", str(write(tmp_path / "r", [given])))
    status, (decoded,) = run("decode", name, "-", stdin=json.dumps(body).encode())

    assert status == 0
    assert list(replayed) == ["id", "protocol", "kind", "value"]
    if name == "count_tokens":
        assert replayed["value"] == decoded["value"] == {"input_tokens": expected, "raw": body}
        return
    for (model,), provider in ((replayed["value"], "h.test"), (decoded["value"], "")):
        assert model.items() >= {"id": "m", "provider": provider, **expected}.items()


@pytest.mark.parametrize("body", [b"[]", b"<html>", b"{}"])
@pytest.mark.parametrize("name", ["count_tokens", "models"])
def test_a_body_without_its_value_is_a_protocol_error(name: str, body: bytes) -> None:
    status, (failure,) = run("decode", name, "-", stdin=body)
    if (name, body) == ("models", b"[]"):
        assert (status, failure) == (0, {"value": []})  # some services list them bare
        return
    assert (status, failure["error"]["type"]) == (1, "ProtocolError")


HELLO = stream(*block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hé"}))


def test_claude_on_bedrock_comes_in_an_event_stream(tmp_path: Path) -> None:
    body = b"".join(map(chunk, HELLO))
    given = record(protocol="bedrock_anthropic", body=None, body_b64=base64.b64encode(body).decode())
    _, (line,) = run("replay", str(write(tmp_path / "r", [given])))
    status, (decoded,) = run("decode", "bedrock_anthropic", "-", stdin=body)

    assert status == 0
    for shape, host in ((line["response"], "h.test"), (decoded, "")):
        (part,) = shape["message"]["content"]
        assert part["text"] == "Hé"
        assert (part["origin"]["protocol"], part["origin"]["provider"]) == ("anthropic_messages", host)


OTHERS = {"anthropic_messages": "response", "bedrock_anthropic": "response", "count_tokens": "value"}


@pytest.mark.parametrize("protocol", OTHERS)
def test_every_other_recording_gets_its_line(protocol: str) -> None:
    """An answer, or what the service said no with: none of these recordings is broken."""
    recorded = records(protocol)
    status, lines = run("replay", str(corpus_dir() / f"{protocol}.jsonl.gz"))
    assert status == 0
    assert [line["id"] for line in lines] == [each.id for each in recorded]
    for line, each in zip(lines, recorded, strict=True):
        assert (OTHERS[protocol] in line) == (each.status < 400)
        if each.status >= 400:
            assert line["error"]["status"] == each.status


def test_recorded_model_lists() -> None:
    """Two of them are in no form that chat models are listed in: a model by itself, and lists by kind."""
    recorded = records("models")
    _, lines = run("replay", str(corpus_dir() / "models.jsonl.gz"))
    for line, each in zip(lines, recorded, strict=True):
        assert line["value"] and all(model["id"] for model in line["value"]), each.id
