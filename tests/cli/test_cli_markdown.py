"""Markdown at a terminal: what is on the screen does not depend on how it arrived, and holds everything written."""

from __future__ import annotations

import asyncio
import html
import random
import re
from typing import Any

import pytest

pytest.importorskip("rich", reason="the extra cli")

from rich.console import Console

from brainwires_provider.cli.markdown import LiveMarkdown
from screens import Screen

ROW = "| " + " | ".join(f"column{number}" for number in range(20)) + " |"
WIDE = f"{ROW}\n|{'---|' * 20}\n{ROW.replace('column', 'value')}\n"
TEXTS = {
    "paragraphs": "One *two*\nthree **four** `five`.\n\n\nSix ~~seven~~.",
    "headings": "# First\n\ntext\n## Second\nmore\n\nThird\n=====\n\n---\n\nlast",
    "lists": "1. one\n2. two\n   - inner\n\n   more\n3. three\n\nafter\n\n* [ ] open\n* [x] done\n\n10. ten",
    "code": "before\n\n```python\ndef f(x):\n    return {'a': x}\n\n\nprint(1)\n```\n\nafter\n\n~~~\nplain\n~~~",
    "code that is not closed": "before\n```\nhalf",
    "a table": "| Name | Size |\n|:--|--:|\n| one | 1 |\n| two | 22 |\n\nafter",
    "a table among others": "    code\n| a | b |\n|---|---|\n| 1 | 2 |\n# Head\n---\n| a |\n|---|\n> quoted",
    "a table of long words": "| a | b |\n|---|---|\n| " + "x" * 90 + " | " + "y" * 90 + " |\n",
    "a table that is too wide": f"before\n\n{WIDE}\nafter",
    "a quotation": "> one\n> two\n>\n> - three\n\nafter",
    "HTML": '<div class="a">\n\ntext <b>bold</b> &lt;i&gt;\n\n</div>\n<!-- remark -->',
    "links": "[one](https://a.example/1) <https://b.example/2> ![pic](https://c.example/3) [r][1]\n\n[1]: https://d.example/4",
    "no words": "```\n\n```\n\n* \n\n#\n\n| |\n|-|\n",
    "wide characters": "中文字符" * 30 + "\n\n- " + "🌆 " * 40,
    "a long line": "word " * 100 + "x" * 200,
    "many blocks": "\n\n".join(f"Paragraph {number}.\n\n- item {number}" for number in range(30)),
}


def shown(chunks: list[str], width: int = 60, height: int = 10) -> Screen:
    """The screen when all has arrived."""
    screen: Any = Screen(width)

    async def show() -> None:
        console = Console(file=screen, width=width, height=height, force_terminal=True, legacy_windows=False)
        view = LiveMarkdown(console)
        for chunk in chunks:
            view._may_draw = 0.0  # each chunk is drawn, however fast they come
            view.write(chunk)
        view.finish()

    asyncio.run(show())
    return screen


HOSTILE = {
    "<https://a.example/%1b[2J%07%c2%9b0m%e2%80%ae>": "https://a.example/%1b[2J%07%c2%9b0m%e2%80%ae",
    "a&#x202e;b&#13;c&#12;d": "abcd",
    "| a&#x2066; |\n|---|\n| &#13;b |": " a\n ─\n b",
    "[x](<https://a.example/\u202e>)": "x (https://a.example/%E2%80%AE)",
}
"""What a model may write to control a terminal, with none of the characters that do: entities and encoded ones."""


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_text_stands_for_controls_the_terminal(text: str) -> None:
    shown_text = shown([text]).text  # the screen refuses control sequences that it does not know
    assert shown_text == HOSTILE[text] + "\n"
    assert not {"\x1b", "\x07", "\x0c", "\x9b", "\u202e", "\u2066"} & set(shown_text)


def cut(text: str, seed: int) -> list[str]:
    draw, chunks = random.Random(seed), []
    while text:
        size = draw.choice((1, 1, 2, 3, 5, 8, 40))
        chunks.append(text[:size])
        text = text[size:]
    return chunks


@pytest.mark.long
@pytest.mark.parametrize("name", TEXTS)
def test_the_screen_does_not_depend_on_the_chunks(name: str) -> None:
    text = TEXTS[name]
    # One character at a time is the most that can be redrawn; the text is whole at the end all the same.
    one_by_one = shown(list(text) if len(text) < 400 else cut(text, 0)).text
    assert one_by_one == shown(cut(text, 1)).text
    assert one_by_one == shown(cut(text, 2), height=500).text, "nor on the height of the terminal"


@pytest.mark.parametrize("name", TEXTS)
def test_every_word_is_on_the_screen(name: str) -> None:
    text = TEXTS[name]
    screen = re.sub(r"\s", "", shown(cut(text, 3)).text)
    for word in re.findall(r"https://[\w./]+|\w+", html.unescape(text)):
        if name != "code" or word != "python":
            assert word in screen or (
                name == "a table of long words" and screen.count(word[0]) >= len(word)
            ), word
    for mark in re.findall(r"<[^>\n]+>", text):
        if not mark.startswith("<https"):
            assert mark.replace(" ", "") in screen, mark


def test_what_has_not_changed_is_not_written_again() -> None:
    """A block that grows by lines is not drawn again: nothing flickers."""
    lines = [f"Line {number}.\n" for number in range(30)]
    assert shown(lines, height=100).returns == 0
    changed = shown(["Half a wo", "rd"])
    assert changed.text == "Half a word\n" and changed.returns == 1


def test_text_that_comes_too_fast_is_drawn_soon_and_not_forgotten() -> None:
    screen: Any = Screen(60)

    async def show() -> None:
        console = Console(file=screen, width=60, height=10, force_terminal=True, legacy_windows=False)
        view = LiveMarkdown(console)
        view.write("one ")
        view.write("two ")
        view.write("three")
        async with asyncio.timeout(30):
            while "three" not in screen.text:
                await asyncio.sleep(0)
        view.write(" four")
        view.finish()

    asyncio.run(show())
    assert screen.text == "one two three four\n"


@pytest.mark.parametrize("no_color", [False, True])
def test_no_color_is_heard(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    written: list[str] = []

    class Out(Screen):
        def write(self, text: str) -> None:
            written.append(text)

    out: Any = Out(60)
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")

    async def show() -> None:
        view = LiveMarkdown(Console(file=out, force_terminal=True, legacy_windows=False))
        view.write("# Title\n\n```python\nreturn 1\n```\n")
        view.finish()

    asyncio.run(show())
    coded = re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])[0-9;]*m", "".join(written))
    assert (coded is None) == no_color
