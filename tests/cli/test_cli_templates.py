"""Templates of `chat`: saved, shown, filled and used; their tools are never looked for where they are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainwires_provider.cli.template import Template, as_toml, fill, load, place, variables
from brainwires_provider.testing import ScriptedServer
from command_runs import HELLO, Ran, answer, chat, delta, run

pytestmark = pytest.mark.long

TOOL = 'def forecast(city: str) -> str:\n    """The weather."""\n    return f"{WORD} in {city}"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config" / "brainwires" / "templates"


def saved(name: str, *args: str) -> Ran:
    ran = run("chat", "--save", name, *args)
    assert ran.status == 0, ran.err
    return ran


def bodies(server: ScriptedServer) -> list[dict[str, object]]:
    return [request.json() for request in server.requests]


def test_what_is_saved_is_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Notes.")
    (tmp_path / "answer.json").write_text('{"type": "object"}')
    given = (
        "--system",
        "Answer in $language.",
        "-p",
        "language=French",
        "-m",
        "openai-chat:y",
        "-o",
        "top_p=0.5",
    )
    given += ("--temperature", "0.2", "--max-tokens", "9", "-f", "notes.md", "--schema", "answer.json")
    assert "brainwires chat -t mine" in saved("mine", *given).err
    file = folder / "mine.toml"
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert load("mine") == Template(
        system="Answer in $language.",
        model="openai-chat:y",
        temperature="0.2",
        max_tokens=9,
        schema='{"type": "object"}',
        option=["top_p=0.5"],
        fragment=[str(tmp_path / "notes.md")],
        defaults={"language": "French"},
    )
    reply = answer(delta(content='{"a":1}'))
    with ScriptedServer([reply, reply]) as server:
        for more in (
            (),
            ("-p", "language=Latin", "-m", "openai-chat:z", "-o", "seed=4", "--max-tokens", "5"),
        ):
            assert run("chat", "-t", "mine", "Hi", "--base-url", server.url, *more).status == 0
    first, second = bodies(server)
    system = {"role": "system", "content": "Answer in French."}
    assert first["messages"] == [system, {"role": "user", "content": "Notes.\n\nHi"}]
    named = {name: first[name] for name in ("model", "temperature", "top_p", "max_completion_tokens")}
    assert named == {"model": "y", "temperature": 0.2, "top_p": 0.5, "max_completion_tokens": 9}
    assert "response_format" in first
    assert second["messages"][0]["content"] == "Answer in Latin."  # type: ignore[index]
    assert (second["model"], second["seed"], second["top_p"]) == ("z", 4, 0.5)
    assert second["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    ("prompt", "args", "stdin", "asked"),
    [
        ("Translate: $input!", ("Hi",), None, "Translate: Hi!"),
        ("Translate this.", ("Hi",), None, "Translate this.\n\nHi"),
        ("Translate this.", (), b"From a file.", "Translate this.\n\nFrom a file."),
        (
            "About ${what}s for $$5, $5 and $input",
            ("-p", "what=cat", "$what"),
            None,
            "About cats for $5, $5 and $what",
        ),
        ("Nothing more.", (), b"", "Nothing more."),
    ],
)
def test_the_prompt_is_filled(prompt: str, args: tuple[str, ...], stdin: bytes | None, asked: str) -> None:
    saved("mine", prompt)
    with ScriptedServer(HELLO) as server:
        assert chat(server, "-t", "mine", *args, stdin=stdin).status == 0
    (body,) = bodies(server)
    assert body["messages"] == [{"role": "user", "content": asked}]


def test_the_tools_are_those_of_the_folder_where_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    for place_of, word in ((own, "sunny"), (other, "planted")):
        place_of.mkdir()
        (place_of / "wetter.py").write_text(TOOL.replace("{WORD}", word))
    monkeypatch.chdir(own)
    saved("mine", "-T", "wetter:forecast")
    monkeypatch.chdir(other)
    call = {"index": 0, "id": "c", "function": {"name": "forecast", "arguments": '{"city":"Rome"}'}}
    replies = [answer(delta(tool_calls=[call]), finish="tool_calls"), HELLO]
    with ScriptedServer(replies) as server:
        assert chat(server, "-t", "mine", "--yes", "Weather?").status == 0
    result = bodies(server)[1]["messages"][-1]  # type: ignore[index]
    assert result["content"] == "sunny in Rome"
    prepared = run("prepare", "-t", "mine", "Hi", "-m", "openai-chat:x", env={"OPENAI_API_KEY": "k"})
    assert json.loads(prepared.out)["body"]["tools"][0]["function"]["name"] == "forecast"
    again = run("chat", "-t", "mine", "-T", "wetter:forecast", "--save", "more")
    assert again.status == 1 and f"the tools of mine are in {own}" in again.err


def test_a_template_of_a_template(folder: Path) -> None:
    saved("one", "--system", "S.", "-p", "a=1", "-o", "top_p=0.5", "$a $input")
    assert "replaced" in saved("one", "-t", "one", "-o", "seed=1", "-p", "a=2").err
    assert load("one") == Template(
        prompt="$a $input", system="S.", option=["top_p=0.5", "seed=1"], defaults={"a": "2"}
    )


def test_the_list_and_the_end(folder: Path) -> None:
    assert run("templates").out.split() == ["NAME"]
    saved("b", "--system", "Translate to $language.", "-m", "openai-chat:y")
    saved("a", "x" * 70)
    (folder / "broken.toml").write_text("prompt = 3")
    listed = run("templates")
    lines = [line.split() for line in listed.out.splitlines()[1:]]
    assert lines == [
        ["a", "x" * 49 + "…"],
        ["b", "openai-chat:y", "language", "Translate", "to", "$language."],
    ]
    assert "broken.toml: Expected `str | null`, got `int`" in listed.err and str(folder) in listed.err
    whole = [json.loads(line) for line in run("templates", "--json").out.splitlines()]
    assert [each["name"] for each in whole] == ["a", "b"]
    assert 'model = "openai-chat:y"' in run("templates", "show", "b").out
    assert run("templates", "remove", "b").status == 0 and not (folder / "b.toml").exists()
    gone = run("templates", "remove", "b")
    assert gone.status == 1 and "there is no template b" in gone.err


@pytest.mark.parametrize(
    ("args", "wrong"),
    [
        (("-t", "nine"), "there is no template nine; did you mean 'mine'?"),
        (("-t", "../mine"), "'../mine' is no name for a template"),
        (("-t", "mine"), "template mine needs who, what: -p who=VALUE"),
        (("-t", "mine", "-p", "hwo=1"), "template mine has no variable hwo; did you mean 'who'?"),
        (("-t", "mine", "-p", "who"), "--param takes NAME=VALUE"),
        (("-t", "mine", "-p", "input=x"), "the value of $input is the prompt"),
        (("-p", "who=x"), "--param is for the variables of a template"),
        (("-t", "tool"), "folder is missing"),
        (("-t", "system"), "$input belongs into the prompt"),
        (("-t", "unknown"), "unknown field `modell`"),
        (("-t", "toml"), "toml.toml: "),
        (("--save", "x/y"), "is no name for a template"),
        (("--save", "x", "-o", "top_q=1"), "there is no option 'top_q'; did you mean 'top_p'?"),
        (("--save", "x", "-o", "extra_headers.Authorization=secret"), "looks like a key"),
        (("--save", "x", "--system", "$input"), "$input belongs into the prompt"),
    ],
)
def test_what_is_wrong_is_one_line_and_sends_nothing(folder: Path, args: tuple[str, ...], wrong: str) -> None:
    saved("mine", "$who asks for $what: $input")
    for name, text in (
        ("tool", 'tool = ["os:getcwd"]'),
        ("system", 'system = "$input"'),
        ("unknown", 'modell = "x"'),
        ("toml", "= 3"),
    ):
        (folder / f"{name}.toml").write_text(text)
    ran = run("chat", "Hi", "-m", "openai-chat:x", *args)
    assert ran.status == 1 and wrong in ran.err and ran.out == ""
    assert len(ran.err.splitlines()) == 1 and not (folder / "x.toml").exists()


def test_without_a_home_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_config_dir", lambda *_, **__: "~/.config/brainwires")
    assert "HOME is not set" in run("templates").err


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'with "quotes" and \\',
        "two\nlines",
        "'''\nthree",
        "end'\n'",
        "\ttab\x7f\x01\n",
        "\r\n",
        "☕ \U0001f600\n",
        "",
    ],
)
def test_every_text_comes_back(text: str, folder: Path) -> None:
    given = Template(prompt=text, option=[text], defaults={"a": text})
    folder.mkdir(parents=True)
    Path(place("x")).write_bytes(as_toml(given).encode())
    assert load("x") == given


def test_variables() -> None:
    text = "$a ${b} $$c $5 $ ${} ${a}"
    assert variables([text, None]) == ["a", "b"]
    assert fill(text, {"a": "$b", "b": "2"}) == "$b 2 $c $5 $ ${} $b"
