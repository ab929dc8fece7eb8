"""Sessions at a terminal of tmux: the screens that a person sees, compared as text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from brainwires_provider.testing import Answer, Gate, ScriptedServer, sse
from terminals import asked, delta
from tmux import Tmux, tmux

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux, which is a package of the system"),
]

COUNTS = {"id": "r", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}

TOOL = 'def weather(city: str) -> str:\n    """The weather in a city."""\n    return f"sunny in {city}"\n'
CONFIG = """model = "lab:x"
[providers.lab]
based_on = "openai-chat"
base_url = "{url}"
api_key = ""
"""


def answer(*texts: str) -> Answer:
    return Answer(body=[sse(*(delta(text) for text in texts), delta("", "stop"), COUNTS)])


@contextmanager
def session(tmp_path: Path, replies: Any, **settings: Any) -> Iterator[tuple[Tmux, ScriptedServer]]:
    """A shell whose `brainwires` asks a scripted server, as its configuration file has it."""
    with ScriptedServer(replies) as server:
        file = tmp_path / "config" / "brainwires" / "brainwires.toml"
        file.parent.mkdir(parents=True)
        file.write_text(CONFIG.format(url=server.url))
        with tmux(tmp_path, **settings) as at:
            yield at, server


def test_a_conversation_with_every_command(tmp_path: Path) -> None:
    replies = [answer(each) for each in ("First.", "Second.", "Third.", "Fourth.", "Fifth.")]
    with session(tmp_path, replies, height=50) as (at, server):
        at.begin("brainwires chat")
        at.ready(">")
        at.type("two", "C-a", "one ")
        at.ready("> one two")
        at.enter("")
        at.say("three\\")
        at.say("four", ".")
        at.say('"""five')
        at.say(" six", ".")
        at.say('"""', ".")
        at.ready(">")
        at.type("/he", "Tab")
        at.ready("> /help")
        at.enter("")
        at.say("/model lab:y")
        at.ready(">")
        at.type("/sys", "Tab")
        at.enter("Be brief.")
        at.ready(">")
        at.type("Up", "Up", "Up", "Up")  # the fourth input back
        at.ready(" six")
        at.enter("")
        at.say("/save talk")
        at.say("/retry")
        at.ready(">")
        at.type("/load ta", "Tab")
        at.ready("> /load talk")
        at.enter("")
        at.say("/nothing")
        at.ready(">")
        at.type("C-d")
        at.shows(CONVERSATION)
    assert asked(server)[2:] == [
        ["one two", "First.", "three\nfour", "Second.", "five\n six"],
        ["Be brief.", "one two", "First.", "three\nfour", "Second.", "five\n six", "Third.", "five\n six"],
        ["Be brief.", "one two", "First.", "three\nfour", "Second.", "five\n six", "Third.", "five\n six"],
    ]


def test_control_c_stops_an_answer_and_gives_up_a_line(tmp_path: Path) -> None:
    stalled = Answer(body=[sse(delta("Half **an"), done=False), Gate()])
    with session(tmp_path, [stalled, answer("Second.")]) as (at, server):
        at.begin("brainwires chat")
        at.say("one")
        at.see("Half")
        at.type("C-c")
        at.say("two")
        at.say("three\\")
        at.ready(".")
        at.type("C-c")
        at.ready(">")
        at.type("C-c")
        at.ready("$")
        at.enter("echo $?")
        at.shows(STOPPED)
    assert asked(server) == [["one"], ["two"]]


MARKDOWN = """# Birds

A **bird** flies.
It has *two* wings:

1. left
2. right

| Name | Wings | What it is known for, in a few more words than there is room for |
|---|--:|---|
| Dodo | 2 | none of them could fly, and all are gone |

```python
def fly(bird):
    return f"{bird} flies"
```

See <https://birds.example> or [more](https://birds.example/all).
"""


def test_markdown_is_rendered_while_it_streams_and_the_terminal_is_resized(tmp_path: Path) -> None:
    gates = [Gate(), Gate(), Gate()]
    at_table, in_code, at_end = (MARKDOWN.index(each) for each in ("| Dodo", "    return", "See"))
    cuts = [MARKDOWN[:at_table], MARKDOWN[at_table:in_code], MARKDOWN[in_code:at_end], MARKDOWN[at_end:]]
    steps: list[Any] = [sse(*(delta(each) for each in cuts[0]), done=False)]
    for gate, cut in zip(gates, cuts[1:], strict=True):
        steps += [gate, sse(*(delta(each) for each in cut), done=False)]
    steps.append(sse(delta("", "stop"), COUNTS))
    with session(tmp_path, Answer(body=steps), width=60, height=40) as (at, server):
        at.begin("brainwires chat Birds? 2>/dev/null")
        at.shows(HEAD_OF_TABLE)
        server.open(gates[0])
        at.shows(HEAD_OF_TABLE + ROW_OF_TABLE)
        at.resize(40, 40)
        server.open(gates[1])
        at.see("      return f")
        at.resize(70, 40)
        server.open(gates[2])
        at.shows(HEAD_OF_TABLE + ROW_OF_TABLE + AFTER_TABLE)
        assert "\x1b[1m" in at.screen(styled=True)


def test_a_block_that_is_taller_than_the_terminal(tmp_path: Path) -> None:
    gate = Gate()
    lines = [f"- item {number}\n" for number in range(20)]
    steps = [sse(*map(delta, lines), done=False), gate, sse(delta("\nAfter.", "stop"), COUNTS)]
    with session(tmp_path, Answer(body=steps), width=40, height=10) as (at, server):
        at.begin("brainwires chat List 2>/dev/null")
        at.see("item 19")
        assert at.screen().split("\n")[0] == " • item 11"
        server.open(gate)
        at.shows(TALL, history=True)


def test_plain_no_color_and_pipes(tmp_path: Path) -> None:
    long = answer(*("line\n" * 1000 for _ in range(100)))
    replies = [answer("# A\n\n**b**\n\n```python\nreturn 1\n```\n")] * 4 + [long]
    with session(tmp_path, replies) as (at, _):
        at.begin("brainwires chat Hi")
        at.ready("$")
        assert "\x1b[94mreturn" in at.screen(styled=True)
        at.begin("NO_COLOR=1 brainwires chat Hi")
        at.ready("$")
        styled = at.screen(styled=True)
        assert "return 1" in styled and "\x1b[94m" not in styled and "\x1b[1" in styled
        at.begin("brainwires chat Hi --plain")
        at.shows(PLAIN)
        at.begin("brainwires chat Hi 2>/dev/null | cat")
        at.shows(PIPED)
        at.begin("brainwires chat Hi | head -n 2; echo ${PIPESTATUS[@]}")
        at.shows(HEAD)


def test_what_goes_with_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.md").write_text("Notes.")
    replies = [
        answer("First."),
        answer("Second."),
        answer('{"city": "Rome"}'),
        answer("Fourth."),
        answer("Fünftens."),
    ]
    with session(tmp_path, replies) as (at, server):
        at.begin("brainwires chat 'What is this?' -a dot.png -f notes.md -o top_p=0.5")
        at.say("brainwires chat -c 'And now?'", "$")
        at.say("""brainwires chat City? --schema '{"type":"object","required":["city"]}'""", "$")
        at.say("echo 'From a pipe.' | brainwires chat 'Sum up:'", "$")
        at.say("brainwires chat 'Sum up:' < notes.md", "$")
        at.ready("$")
        at.shows(WITH_A_PROMPT)
    first = server.requests[0].json()
    assert first["top_p"] == 0.5 and [part["type"] for part in first["messages"][0]["content"]] == [
        "image_url",
        "text",
    ]
    assert asked(server)[1][1:] == ["First.", "And now?"] and asked(server)[4] == ["Sum up:\n\nNotes."]


def test_the_log(tmp_path: Path) -> None:
    with session(tmp_path, [answer("First."), answer("Second.")], height=40) as (at, _):
        at.begin("brainwires chat 'Name a bird.'")
        at.say("brainwires chat -c 'Another?'", "$")
        at.say("clear; brainwires logs 2>/dev/null", "$")
        at.say("brainwires logs show 1", "$")
        at.say("brainwires logs clear 1", "$")
        at.see("delete conversation 1?")
        at.enter("y")
        at.say("brainwires logs 2>/dev/null", "$")
        at.ready("$")
        at.shows(LOG)


def test_templates(tmp_path: Path) -> None:
    with session(tmp_path, [answer("Bonjour."), answer("Salve.")]) as (at, server):
        at.begin("brainwires chat --save say --system 'Say it in $tongue.' -p tongue=French")
        at.say("brainwires chat -t say Hello.", "$")
        at.say("brainwires chat -t say -p tongue=Latin Hello.", "$")
        at.say("brainwires chat -t say -p tung=Latin Hello.", "$")
        at.say("brainwires templates 2> /dev/null", "$")
        at.ready("$")
        at.shows(TEMPLATES)
    assert [each[0] for each in asked(server)] == ["Say it in French.", "Say it in Latin."]


def test_a_tool_is_asked_about(tmp_path: Path) -> None:
    def call(city: str) -> Answer:
        asks = {
            "index": 0,
            "id": "c",
            "function": {"name": "weather", "arguments": json.dumps({"city": city})},
        }
        choice = {"index": 0, "delta": {"tool_calls": [asks]}, "finish_reason": "tool_calls"}
        return Answer(body=[sse({"id": "r", "choices": [choice]}, COUNTS)])

    (tmp_path / "tools.py").write_text(TOOL)
    with session(tmp_path, [call("Rome"), answer("Sunny."), call("Oslo"), answer("Unknown.")]) as (
        at,
        server,
    ):
        at.begin("brainwires chat Weather? -T tools:weather")
        at.ready('run weather({"city": "Rome"})? [y/N, or why not]')
        at.enter("y")
        at.say("brainwires chat Weather? -T tools:weather", "$")
        at.ready('run weather({"city": "Oslo"})? [y/N, or why not]')
        at.enter("too far away")
        at.ready("$")
        at.shows(TOOLS)
    results = [request.json()["messages"][-1]["content"] for request in server.requests[1::2]]
    assert results[0] == "sunny in Rome" and "too far away" in results[1]


def test_vectors(tmp_path: Path) -> None:
    def vectors(*each: list[float]) -> Answer:
        data = [{"index": at, "embedding": vector} for at, vector in enumerate(each)]
        body = {"data": data, "model": "x", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
        return Answer(body=json.dumps(body).encode(), headers={"content-type": "application/json"})

    (tmp_path / "notes").write_text("far\nnear\nsame\n")
    replies = [vectors([1.0, 0.5]), vectors([2.0, 0.0], [-1.0, 0.0], [1.0, 1.0], [9.0, 0.0])]
    with session(tmp_path, replies) as (at, _):
        at.begin("brainwires embed 'A cat.' -m lab:x")
        at.say("brainwires similar pets notes -m lab:x -n 2", "$")
        at.ready("$")
        at.shows(VECTORS)


def test_a_key_is_not_shown_and_the_shell_completes(tmp_path: Path) -> None:
    (tmp_path / "rings.py").write_text(RING)
    with session(tmp_path, [], PYTHON_KEYRING_BACKEND="rings.Ring") as (at, _):
        at.begin(f"export PYTHONPATH=$PYTHONPATH:{tmp_path}")
        at.say("clear; brainwires keys set groq", "$")
        at.see("(not shown)")
        at.enter("gsk_planted0123456789abcdef", hidden=True)
        at.ready("$")
        at.shows(KEYS)
        at.begin('eval "$(brainwires --show-completion bash)"')
        at.ready("$")
        at.type("brainwires emb", "Tab")
        at.ready("$ brainwires embed")
        at.type("C-u", "brainwires chat --temper", "Tab")
        at.ready("$ brainwires chat --temperature")
    assert (tmp_path / "ring").read_text() == "brainwires groq gsk_planted0123456789abcdef"


RING = """
import keyring.backend, pathlib

class Ring(keyring.backend.KeyringBackend):
    priority = 1
    file = pathlib.Path(__file__).with_name("ring")

    def get_password(self, service, username):
        return None

    def set_password(self, service, username, password):
        self.file.write_text(f"{service} {username} {password}")

    def delete_password(self, service, username):
        self.file.unlink()
"""
CONVERSATION = '''
> one two
First.
[DONE]
> three\\
. four
Second.
[DONE]
> """five
.  six
. """
Third.
[DONE]
> /help
/help         list these commands
/model NAME   go on with another model; without NAME, show the present one
/system TEXT  use another system prompt; without TEXT, none
/save FILE    write the conversation to a file
/load FILE    go on from the conversation in a file
/retry        ask the last prompt again, instead of its answer
A line that ends with a backslash goes on in the next one.
All lines between """ and """ are one input.
A line that begins with a space is no command. Tab completes commands.
Ctrl-C stops an answer, Ctrl-D ends the conversation.
> /model lab:y
the model is lab:y
> /system Be brief.
the system prompt is changed
> five
 six
Fourth.
[DONE]
> /save talk
8 messages are in talk
> /retry
Fifth.
[DONE]
> /load talk
8 messages are from talk
> /nothing
brainwires: there is no command /nothing; /help lists them
>
$
'''
STOPPED = """
> one
Half **an^C
stopped; this turn is not kept (Ctrl-D ends the conversation)
> two
Second.
[DONE]
> three\\
.
>
$ echo $?
0
$
"""
WITH_A_PROMPT = """
First.
[DONE]
$ brainwires chat -c 'And now?'
Second.
[DONE]
$ brainwires chat City? --schema '{"type":"object","required":["city"]}'
{"city": "Rome"}
[DONE]
$ echo 'From a pipe.' | brainwires chat 'Sum up:'
Fourth.
[DONE]
$ brainwires chat 'Sum up:' < notes.md
Fünftens.
[DONE]
$
"""
PLAIN = """
# A

**b**

```python
return 1
```
[DONE]
$
"""
VECTORS = """
{"text":"A cat.","vector":[1.0,0.5]}
1 vectors of 2 numbers, 5 tokens
$ brainwires similar pets notes -m lab:x -n 2
1.0000  same
0.7071  near
4 vectors of 2 numbers, 5 tokens
$
"""
TEMPLATES = """
template say is saved; use it with: brainwires chat -t say
$ brainwires chat -t say Hello.
Bonjour.
[DONE]
$ brainwires chat -t say -p tongue=Latin Hello.
Salve.
[DONE]
$ brainwires chat -t say -p tung=Latin Hello.
brainwires: template say has no variable tung; did you mean 'tongue'?
$ brainwires templates 2> /dev/null
NAME  VARIABLES  TEXT
say   tongue     Say it in $tongue.
$
"""
KEYS = """
key of groq (not shown):
the key is in the keyring, as 'brainwires' of 'groq'; brainwires.toml refers to
it:
[providers.groq]
api_key = { keyring = "brainwires", user = "groq" }
$
"""
TOOLS = """
the model calls weather({"city": "Rome"})
run weather({"city": "Rome"})? [y/N, or why not] y
weather: sunny in Rome
Sunny.
14 tokens in, 4 out, T s, N tokens/s, first token after T s
$ brainwires chat Weather? -T tools:weather
the model calls weather({"city": "Oslo"})
run weather({"city": "Oslo"})? [y/N, or why not] too far away
weather: The user denied this call. Reason: too far away
Unknown.
14 tokens in, 4 out, T s, N tokens/s, first token after T s
$
"""
LOG = """
ID  LAST TURN         MODEL  PROMPTS  FIRST PROMPT
1   DATE  lab:x  2        Name a bird.
$ brainwires logs show 1
lab:x
# user

Name a bird.

# assistant

First.

# user

Another?

# assistant

Second.

$ brainwires logs clear 1
delete conversation 1? [y/N] y
1 deleted
$ brainwires logs 2>/dev/null
ID
$
"""
TALL = "\n".join([*(f" • item {number}" for number in range(20)), "", "After.", "$"])
PIPED = "# A\n\n**b**\n\n```python\nreturn 1\n```\n$"
HEAD = "line\nline\n1 0\n$"
HEAD_OF_TABLE = """
Birds

A bird flies.
It has two wings:

 1 left
 2 right

              What it is known for, in a few more words
 Name  Wings  than there is room for
 ─────────────────────────────────────────────────────────
"""
ROW_OF_TABLE = """ Dodo      2  none of them could fly, and all are gone

  def fly(bird):
"""
AFTER_TABLE = """      return f"{bird} flies"

See https://birds.example or more (https://birds.example/all).
$
"""
