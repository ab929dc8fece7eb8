"""What is wrong with a `brainwires.toml`, and on which line."""

from __future__ import annotations

import json
import re
import string
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider import Client, ConfigError
from brainwires_provider.config import load_config
from brainwires_provider.config.lines import key_lines, line_of
from config_files import alone, load

__all__ = ["alone"]


# -- what is wrong with a file -------------------------------------------------------------------------------

# Files, with a mark at the end of each line that has a fault: the fault's place, and words of what is said.
FAULTS = {
    "an unknown table": """
        [option]  #> option: did you mean 'options'?
        a = 1
    """,
    "an unknown field": """
        x = 1  #> x: there are: model, options, providers, models
    """,
    "a misspelt option": """
        [options]
        temprature = 1  #> options.temprature: 'temperature'
    """,
    "types": """
        [options]
        max_tokens = "9"  #> options.max_tokens: takes a whole number, not text
        top_p = true  #> options.top_p: takes a number, not true or false
        seed = 1.5  #> options.seed: takes a whole number, not a number
        stop = ["a", 1]  #> options.stop: inside, at [1], takes text, not a whole number
        strict = 1  #> options.strict: takes true or false, not a whole number
        timeouts = 3  #> options.timeouts: takes a table, not a whole number
        extra_query = { a = 1 }  #> options.extra_query.a: takes text, not a whole number
        extra_body = [1]  #> options.extra_body: takes a table, not an array
        top_k = 2026-01-01  #> options.top_k: takes a whole number, not a date or time
    """,
    "tables": """
        model = 1  #> model: takes text, not a whole number
        options = "x"  #> options: takes a table, not text
        providers = [1]  #> providers: takes a table, not an array
        models = { a = 3 }  #> models.a: takes a table, not a whole number
    """,
    "facts of models": """
        [providers.groq.models]
        a = 1  #> providers.groq.models.a: takes a table, not a whole number
        b = { samplng = true }  #> providers.groq.models.b.samplng: 'sampling'
        c = { sampling = "yes" }  #> providers.groq.models.c.sampling: takes true or false, not text
        d = { chat_tools = "some" }  #> providers.groq.models.d.chat_tools: takes one of: any, unreasoned, none
        e = { like = 3 }  #> providers.groq.models.e.like: takes text, not a whole number
    """,
    "words": """
        [options]
        reasoning = "hi"  #> options.reasoning: takes one of: off, minimal, low, medium, high, max
        cache = { mode = "x" }  #> options.cache.mode: takes one of: off, system_only
        [providers.local]
        local = { cache_type_k = "q9" }  #> providers.local.local.cache_type_k: takes one of: f32, f16
    """,
    "numbers that cannot be": """
        [options]
        temperature = nan  #> options.temperature: is not a finite number
        [options.timeouts]  #> options.timeouts: takes seconds above 0
        idle = 0
        [options.extra_body]
        a = [1, { b = inf }]  #> options.extra_body.a[1].b: is not a finite number
        [providers.local.local]  #> providers.local.local: context is -1; it must be greater than zero
        context = -1
    """,
    "a field that is missing": """
        [options.cache]  #> options.cache: mode
        ttl = '1h'
        [models.x]  #> models.x: has no model
        [models.y.options]  #> models.y: has no model
        seed = 1
    """,
    "models": """
        model = "fsat"  #> model: or a name of [models]; did you mean 'fast'?
        [models]
        fast = "gorq:x"  #> models.fast: did you mean 'groq'?
        "a:b" = "groq:x"  #> models."a:b": has no colon
        other = "fast"  #> models.other: takes "provider:model"
        empty = " "  #> models.empty: takes one line of text
        [models.m]
        model = 'groq:x'
        temperature = 1  #> models.m.temperature: it belongs in options
    """,
    "a model of nobody": """
        model = "qqqq:x"  #> model: `brainwires providers` lists
    """,
    "rows": """
        [providers.gorq]  #> providers.gorq: did you mean 'groq'?
        [providers.mine]
        based_on = 'opnai-chat'  #> providers.mine.based_on: did you mean 'openai-chat'?
        [providers.yours]
        based_on = 3  #> providers.yours.based_on: takes text, not a whole number
        [providers.theirs]
        based_on = 2026-01-01  #> providers.theirs.based_on: takes text, not a date or time
        [providers.'a:b']  #> providers."a:b": has no colon
        based_on = 'groq'
    """,
    "fields of other rows": """
        [providers.groq]
        region = 'x'  #> providers.groq.region: is for providers on a cloud, and groq is not one of them
        project = 'p'  #> providers.groq.project: is for providers on Google Cloud
        local = {}  #> providers.groq.local: is for providers that run models on this machine
        socket = {}  #> providers.groq.socket: is for providers over a WebSocket
        credentials = 'c'  #> providers.groq.credentials: is for providers on a cloud
        seed = 1  #> providers.groq.seed: it belongs in options
        allow_http = 'yes'  #> providers.groq.allow_http: takes true or false, not text
        baseurl = 'x'  #> providers.groq.baseurl: did you mean 'base_url'?
        [providers.xai]
        base_url = 'https://[x/v1'  #> providers.xai.base_url: is not a URL
        [providers.zai]
        base_url = 'https://x:port/v1'  #> providers.zai.base_url: is not a URL
    """,
    "references": """
        [providers.groq]
        api_key = {}  #> providers.groq.api_key: refers to one key
        [providers.xai]
        api_key = { env = 'A', file = 'b' }  #> providers.xai.api_key: refers to one key
        [providers.zai]
        api_key = { keyring = 'x' }  #> providers.zai.api_key: refers to one key
        [providers.google]
        api_key = { env = 'A', user = 'b' }  #> providers.google.api_key: refers to one key
        [providers.mistral]
        api_key = { env = 3 }  #> providers.mistral.api_key.env: takes text, not a whole number
        [providers.deepseek]
        api_key = 3  #> providers.deepseek.api_key: takes a table that refers to the key
        [providers.cerebras]
        api_key = { env = 'no name' }  #> providers.cerebras.api_key.env: takes the NAME of an environment variable
        [providers.perplexity]
        headers.'a b' = 'c'  #> providers.perplexity.headers."a b": this is not a valid header name
        headers.e = { env = 3 }  #> providers.perplexity.headers.e.env: takes text, not a whole number
        headers.d = 1  #> providers.perplexity.headers.d: takes text, not a whole number
    """,
    "options of protocols": """
        [options.provider_options]
        openai_respones = {}  #> options.provider_options.openai_respones: did you mean 'openai_responses'?
        gemini = { sead = 1 }  #> options.provider_options.gemini.sead: did you mean 'seed'?
        ollama = { think = 1.5 }  #> options.provider_options.ollama.think: takes true or false or text
    """,
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_told_by_its_line(name: str) -> None:
    text = FAULTS[name]
    marks = [
        (f"mine.toml:{number}: {place}: ", words)
        for number, line in enumerate(text.splitlines(), 1)
        for place, words in re.findall(r"#> (.+?): (.*?)(?=  #>|$)", line)
    ]
    with pytest.raises(ConfigError) as caught:
        load(text)
    for told, (place, words) in zip(str(caught.value).splitlines(), marks, strict=True):
        assert told.startswith(place)
        assert words in told


def test_many_faults_are_counted() -> None:
    with pytest.raises(ConfigError) as caught:
        load("".join(f"x{number} = 1\n" for number in range(30)))
    told = str(caught.value).splitlines()
    assert (len(told), told[-1]) == (21, "mine.toml: and 10 more")


NOT_TOML = {
    "a = 1\nb = ": r":2: not TOML: Invalid value$",
    "a = 1\n\nb\n": r":3: not TOML: Expected '=' after a key in a key/value pair \(column 2\)$",
    "[a\n": r":1: not TOML: ",
    "a = 1\na = 2": r":2: not TOML: ",
    'a = "x\n': r":1: not TOML: ",
    "a = '''x\n\ny": r":3: not TOML: ",
    "a = 2026-02-30": r":1: not TOML: Invalid date",
    "a = " + "[" * 5000: r"(:1)?: not TOML: ",
    "a = " + "9" * 5000: r": not TOML: ",
}


@pytest.mark.parametrize("text", NOT_TOML, ids=range(len(NOT_TOML)))
def test_what_is_not_toml_is_told_by_line_and_column(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^mine\.toml" + NOT_TOML[text]) as caught:
        load(text)
    assert caught.value.__context__ is None  # it holds the text


def test_files_that_cannot_be_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    for content, words in (
        (b"a = 1\nb = '\xff'", r"x\.toml:2: is not UTF-8$"),
        (b"#" * 1_048_577, r"x\.toml: is larger than 1048576 bytes$"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load_config(path)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    path.write_bytes(b"\xef\xbb\xbfmodel = 'groq:x'\r\n")  # as an editor on Windows saves it
    assert load_config(path).model == "groq:x"


# -- lines ---------------------------------------------------------------------------------------------------

HARD = """\
# a = 1
a.b . "c.d" = 1 # x = 2
'e=f' = \"\"\"
g = 1
\\\"\"\"
\"\"\"\"\"
h = '''
i = 1''''
j = [ 1, # k = 3
  [2,
   { l = { m = "]" }, n.o = '}' }],
  "[p]", ]
[ q . r ]
s = 1979-05-27 07:32:00Z
[[t]]
u = 1
[[t]]
[t.v]
w = inf
[[t.x]]
y = 1
[[t.x]]
y = 2
[q]
z = "\\\\"
"""


def test_lines_of_a_hard_document() -> None:
    found = key_lines(HARD)
    expected = {
        ("a", "b", "c.d"): 2,
        ("e=f",): 3,
        ("h",): 7,
        ("j",): 9,
        ("j", 1, 0): 10,
        ("j", 1, 1, "l", "m"): 11,
        ("j", 1, 1, "n", "o"): 11,
        ("j", 2): 12,
        ("q", "r"): 13,
        ("q", "r", "s"): 14,
        ("t", 0): 15,
        ("t", 0, "u"): 16,
        ("t", 1): 17,
        ("t", 1, "v", "w"): 19,
        ("t", 1, "x", 0, "y"): 21,
        ("t", 1, "x", 1, "y"): 23,
        ("q",): 24,
        ("q", "z"): 25,
    }
    assert {path: found[path] for path in expected} == expected
    assert set(found) == paths(tomllib.loads(HARD))
    assert line_of(found, ("q", "r", "none", "at all")) == 13
    assert line_of(found, ("none",)) is None


def test_what_is_not_understood_ends_the_search() -> None:
    assert key_lines("a = 1\n[b\nc = 1") == {("a",): 1}
    assert key_lines("a = 1\n= 3") == {("a",): 1}


def paths(value: Any, here: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path for key, inner in items for path in ({(*here, key)} | paths(inner, (*here, key)))}


NAMES = st.text(string.ascii_lowercase + " .=#[]{}\"'\\\té", min_size=0, max_size=6)
SCALARS = st.one_of(
    st.integers(-9, 9),
    st.booleans(),
    st.text(string.printable.replace("\r", "").replace("\x0b", "").replace("\x0c", "")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


class Writer:
    """Writes a document in TOML's many forms, and keeps the line of each key."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.text, self.lines, self._draw = "", {}, draw

    def _here(self) -> int:
        return self.text.count("\n") + 1

    def key(self, name: str) -> str:
        if re.fullmatch("[a-z]+", name) and self._draw(st.booleans()):
            return name
        if name and not set(name) & set("'\n") and self._draw(st.booleans()):
            return f"'{name}'"
        return json.dumps(name)

    def value(self, value: Any, path: tuple[Any, ...]) -> None:
        match value:
            case dict():
                self.text += "{"
                for count, (name, inner) in enumerate(value.items()):
                    self.text += ", " if count else " "
                    self.lines[*path, name] = self._here()
                    self.text += f"{self.key(name)} = "
                    self.value(inner, (*path, name))
                self.text += "}"
            case list():
                self.text += "["
                for index, inner in enumerate(value):
                    self.text += self._draw(st.sampled_from(["", " ", "\n", " # ], x = [\n"]))
                    self.lines[*path, index] = self._here()
                    self.value(inner, (*path, index))
                    self.text += ","
                self.text += "]"
            case str() if "'''" not in value and not value.endswith("'") and self._draw(st.booleans()):
                self.text += f"'''\n{value}'''"
            case str() if self._draw(st.booleans()):
                escaped = value.replace("\\", "\\\\").replace('"""', '""\\"')
                escaped = escaped[:-1] + '\\"' if escaped.endswith('"') else escaped
                self.text += f'"""\n{escaped}"""'
            case _:
                self.text += json.dumps(value)

    def table(self, table: dict[str, Any], path: tuple[Any, ...]) -> None:
        self.lines[path] = self._here()
        self.text += (
            f"[{'.'.join(self.key(part) for part in path)}]{self._draw(st.sampled_from(['', ' # [x]']))}\n"
        )
        for name, value in table.items():
            self.text += self._draw(st.sampled_from(["", "\n", "# x = 1\n"]))
            self.lines[*path, name] = self._here()
            self.text += f"{self.key(name)} = "
            self.value(value, (*path, name))
            self.text += "\n"


@settings(max_examples=60, deadline=None)
@given(st.data(), st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3))
@pytest.mark.many
def test_lines_of_any_document(data: st.DataObject, document: dict[str, dict[str, Any]]) -> None:
    writer = Writer(data.draw)
    for name, table in document.items():
        writer.table(table, (name,))
    assert tomllib.loads(writer.text) == document  # the writer writes what it means
    assert key_lines(writer.text) == writer.lines


def test_a_url_that_is_refused_names_its_provider() -> None:
    with pytest.raises(ConfigError, match="plain http") as caught:
        Client("openai-chat:m", base_url="http://example.com", api_key="k").prepare("Hi")
    assert caught.value.provider == "openai-chat"
