"""The value of a JSON text of which only the beginning has come."""

from __future__ import annotations

from typing import Any

import pytest

from brainwires_provider import Attempt, PartStart, ResponseRestart, TextDelta, ToolCallDelta, ToolCallPart
from brainwires_provider._core.partials import Partials, closed, without_thought
from brainwires_provider.events import PartEnd
from brainwires_provider.types import TextPart

# A text, its value, and whether its last string is open.
TABLE: tuple[tuple[str, Any, bool], ...] = (
    ('{"a": 1', {}, False),
    ('{"a": 1,', {"a": 1}, False),
    ('{"a": 1, "b', {"a": 1}, False),
    ('{"a": 1, "b"', {"a": 1}, False),
    ('{"a": 1, "b": ', {"a": 1}, False),
    ('{"a": tru', {}, False),
    ('{"a": true}', {"a": True}, False),
    ('{"a": "x', {"a": "x"}, True),
    ('{"a": "', {"a": ""}, True),
    ('{"a": "x\\', {"a": "x"}, True),
    ('{"a": "x\\u00', {"a": "x"}, True),
    ('{"a": "\\ud83d\\ude', {"a": ""}, True),
    *((f'{{"a": "x\\{half}', {"a": "x"}, True) for half in ("u", "u0", "u00", "u006")),
    ('{"a": "x\\u0061', {"a": "xa"}, True),
    ('{"a": "x\\n', {"a": "x\n"}, True),
    *(
        (f'{{"a": "x\\u{first}{half}', {"a": "x"}, True)
        for first in ("d83d", "D83D", "dbff", "DBFF", "d8FF", "d9ff", "da00", "DA00")
        for half in ("", "\\", "\\u", "\\ud", "\\ude", "\\ude0")
    ),
    ('{"a": "\\ud83d\\ude00', {"a": "\U0001f600"}, True),
    ('{"a": "x\\uE000', {"a": "x\ue000"}, True),
    ('{"a": "x\\\\"', {"a": "x\\"}, False),
    ('{"a": "x\\""', {"a": 'x"'}, False),
    ('"x', "x", True),
    ('"x"', "x", False),
    ("[[1, 2], [3", [[1, 2], []], False),
    ('[1, "x"] more', [1, "x"], False),
    ('{"a": {"b": [', {"a": {"b": []}}, False),
    ('{"a": [1, 2], "b": 3, "c', {"a": [1, 2], "b": 3}, False),
    ('[{"a": 1}, {"b": 2}, "c', [{"a": 1}, {"b": 2}, "c"], True),
    ('{"a": 1}}', {"a": 1}, False),
    ('"x', "x", True),
    ('"x" more', "x", False),
    ("12 ", 12, False),
    ("[1,,", [1], False),
    ("{,", {}, False),
)


@pytest.mark.parametrize(("text", "value", "is_open"), TABLE)
def test_what_is_open_is_closed(text: str, value: Any, is_open: bool) -> None:
    assert closed(text) == (value, is_open)


VAIN = '|  |tru|12|}|[}|{]|[1 2]|["a" "b"]|{"a": 1 "b|{"a":nul,|[1, }|:|,'


@pytest.mark.parametrize("text", VAIN.split("|"))
def test_what_has_no_value_yet_or_never(text: str) -> None:
    assert closed(text) is None


def feed(partials: Partials, *texts: str) -> list[Any]:
    return [value for text in texts for value in partials.feed(TextDelta(0, text))]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "free": {"type": "string"},
        "word": {"enum": ["red"]},
        "day": {"type": "string", "format": "date"},
        "ref": {"$ref": "#/$defs/Word"},
        "lost": {"$ref": "#/$defs/Nothing"},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "both": {"anyOf": [{"type": "string"}, {"type": "string", "format": "date"}]},
        "list": {"type": "array", "items": {"type": "string", "pattern": "^a"}},
        "pair": {"prefixItems": [{"type": "string"}, {"const": "x"}], "items": False},
        "map": {"type": "object", "additionalProperties": {"type": "string", "format": "uuid"}},
        "union": {
            "anyOf": [
                {"properties": {"kind": {"const": "a"}, "v": {"enum": ["w"]}}},
                {"properties": {"kind": {"const": "b"}, "v": {"type": "string"}}},
            ]
        },
        "self": {"$ref": "#"},
        "old": {"$ref": "#/definitions/Word"},
        "deep": {"$ref": "#/properties/map"},
        "maybe": {"type": ["string", "null"], "enum": ["red", None]},
        "thing": {"type": ["object", "null"], "properties": {"word": {"type": ["string"], "format": "date"}}},
        "x-map": {"patternProperties": {"^x": {"enum": ["red"]}}, "additionalProperties": {"type": "string"}},
        "beside": {
            "properties": {"word": {"enum": ["red"]}},
            "anyOf": [{"required": ["word"]}, {"maxProperties": 0}],
        },
        "when": {"if": {"required": ["a"]}, "then": {"properties": {"word": {"const": "red"}}}},
        "with": {"dependentSchemas": {"a": {"properties": {"word": {"const": "red"}}}}},
        "any": True,
        **{
            f"held-{name}": {"type": "string", name: value}
            for name, value in (("pattern", "^a"), ("contentEncoding", "base64"), ("enum", ["x"]))
        },
        **{
            f"in-{name}": {name: [{"type": "string"}, {"const": "x"}]} for name in ("oneOf", "allOf", "anyOf")
        },
        **{f"in-{name}": {name: {"const": "x"}} for name in ("then", "else", "if")},
        "ring": {"$ref": "#/$defs/Ring"},
        "rest": {"prefixItems": [{"const": "x"}], "items": {"type": "string"}},
        "first": {"prefixItems": [{"type": "string"}], "items": {"const": "x"}},
        "number": {"type": "integer", "enum": [1]},
        "choice": {
            "anyOf": [
                {"properties": {"kind": {"const": "a"}, "word": {"const": "x"}}},
                {"properties": {"kind": {"const": "b"}, "word": True}},
                {"type": "array", "items": {"const": "x"}},
            ]
        },
    },
    "$defs": {"Word": {"const": "green"}, "Ring": {"$ref": "#/$defs/Ring"}},
    "definitions": {"Word": {"const": "red"}},
}
SHOWN: tuple[tuple[str, Any], ...] = (
    ('{"free": "re', {"free": "re"}),
    ('{"word": "re', {}),
    ('{"day": "2026', {}),
    ('{"ref": "gre', {}),
    ('{"lost": "x', {"lost": "x"}),
    ('{"either": "x', {"either": "x"}),
    ('{"both": "x', {}),
    ('{"list": ["ab", "a', {"list": ["ab"]}),
    ('{"pair": ["a', {"pair": ["a"]}),
    ('{"pair": ["a", "x', {"pair": ["a"]}),
    ('{"map": {"a": "0', {"map": {}}),
    ('{"union": {"kind": "a', {"union": {}}),
    ('{"union": {"kind": "a", "v": "w', {"union": {"kind": "a"}}),
    ('{"union": {"kind": "b", "v": "w', {"union": {"kind": "b", "v": "w"}}),
    ('{"old": "re', {}),
    ('{"deep": {"a": "0', {"deep": {}}),
    ('{"maybe": "re', {}),
    ('{"thing": {"word": "2', {"thing": {}}),
    ('{"thing": {"other": "2', {"thing": {"other": "2"}}),
    ('{"x-map": {"a": "b", "xy": "re', {"x-map": {"a": "b"}}),
    ('{"x-map": {"a": "re', {"x-map": {"a": "re"}}),
    ('{"beside": {"word": "re', {"beside": {}}),
    ('{"when": {"a": 1, "word": "re', {"when": {"a": 1}}),
    ('{"with": {"word": "re', {"with": {"word": "re"}}),
    ('{"with": {"a": 1, "word": "re', {"with": {"a": 1}}),
    ('{"any": "x', {"any": "x"}),
    *((f'{{"held-{name}": "x', {}) for name in ("pattern", "contentEncoding", "enum")),
    *((f'{{"in-{name}": "x', {}) for name in ("oneOf", "allOf", "anyOf", "then", "else")),
    ('{"in-if": "x', {"in-if": "x"}),
    ('{"self": "x', {"self": "x"}),
    ('{"self": {"self": {"word": "re', {"self": {"self": {}}}),
    ('{"ring": "x', {"ring": "x"}),
    ('{"rest": ["x', {"rest": []}),
    ('{"rest": ["x", "y', {"rest": ["x", "y"]}),
    ('{"first": ["x', {"first": ["x"]}),
    ('{"first": ["x", "y', {"first": ["x"]}),
    ('{"first": ["x", "y", "z', {"first": ["x", "y"]}),
    ('{"number": "x', {"number": "x"}),
    ('{"choice": {"word": "y', {"choice": {}}),
    ('{"choice": {"kind": "a", "word": "y', {"choice": {"kind": "a"}}),
    ('{"choice": {"kind": "b", "word": "y', {"choice": {"kind": "b", "word": "y"}}),
    ('{"choice": {"kind": "c", "word": "y', {"choice": {"kind": "c", "word": "y"}}),
    ('{"choice": ["y', {"choice": []}),
    ('{"word": "red", "free": "b', {"word": "red", "free": "b"}),
    ('{"word": "red"', {"word": "red"}),
    ('{"other": "x', {"other": "x"}),
)


@pytest.mark.parametrize(("text", "value"), SHOWN)
def test_half_of_a_word_is_not_shown(text: str, value: Any) -> None:
    assert feed(Partials(SCHEMA, None), text) == [value]


def test_a_wrapped_value_is_unwrapped_and_prose_is_passed() -> None:
    assert feed(Partials({}, "response"), "Sure: ", '{"resp', 'onse": [1', ", 2", "]}") == [[], [1], [1, 2]]


def test_another_attempt_begins_anew() -> None:
    partials = Partials({}, None)
    long = "x" * 1000
    assert feed(partials, f'{{"a": "{long}", "a2": 1,') == [{"a": long, "a2": 1}]
    assert list(partials.feed(ResponseRestart(Attempt("cut")))) == []
    assert list(partials.feed(PartEnd(0, TextPart("x")))) == []
    assert feed(partials, '{"b": 2,') == [{"b": 2}]


LONG = '{"long": "' + "x" * 6_400 + '", '
CALLED = PartStart(1, ToolCallPart("c", "answer", ""))


@pytest.mark.parametrize("again", ["a restart", "a call"])
def test_what_comes_after_a_long_text_is_looked_at_from_its_beginning(again: str) -> None:
    partials = Partials({}, None, "answer")
    assert len(feed(partials, LONG)) == 1
    if again == "a restart":
        list(partials.feed(CALLED))
        list(partials.feed(ToolCallDelta(1, LONG)))
        list(partials.feed(ResponseRestart(Attempt("cut"))))
        assert feed(partials, '{"a": 1,') == [{"a": 1}]  # of the text, until the tool is called again
    list(partials.feed(CALLED))
    assert list(partials.feed(ToolCallDelta(1, '{"b": 2,'))) == [{"b": 2}]


# a wrapped answer as it grows: its values
WRAPPED: tuple[tuple[tuple[str, ...], list[Any]], ...] = (
    (('{"response": 1,', ' "b": 2,', "}"), [1]),
    (('{"other": 1,', ' "response": null,'), [None]),
    (("[1,", "2]"), []),
    (('{"response": false}', " more"), [False]),
    (("no braces", " at all"), []),
)


@pytest.mark.parametrize(("texts", "values"), WRAPPED)
def test_a_wrapped_value_comes_once(texts: tuple[str, ...], values: list[Any]) -> None:
    assert feed(Partials({}, "response"), *texts) == values


def test_a_long_text_is_looked_at_in_proportion() -> None:
    partials = Partials({}, None)
    values = feed(partials, '{"a": "', *(["x"] * 5000))
    assert 200 < len(values) < 600
    assert all(len(value["a"]) <= 5000 for value in values)


def test_what_is_too_deep_has_no_partial_value() -> None:
    deep = '{"n": "a", "kids": [' * 2000
    assert feed(Partials({}, None), deep, '{"n": "') == []
    nested: Any = ["x" * 9]
    for _ in range(99):
        nested = [nested]
    assert feed(Partials({}, None), '{"list": ' + "[" * 100, f'"{"x" * 9}')[1:] == [{"list": nested}]


def test_only_the_answers_deltas_count() -> None:
    """Those of the text, and once the forced tool is called, those of its arguments."""
    partials = Partials({}, None, "answer")
    events = (
        PartStart(0, TextPart("")),
        TextDelta(0, '{"text": 1,'),
        PartStart(1, ToolCallPart("c", "other", "")),
        ToolCallDelta(1, '{"city": "Rome"}'),
        PartStart(2, ToolCallPart("d", "answer", "")),
        ToolCallDelta(2, '{"a": 1,'),
        ToolCallDelta(1, "}"),
        TextDelta(0, "}"),
        ToolCallDelta(2, '"b": 2}'),
    )
    values = [value for event in events for value in partials.feed(event)]
    assert values == [{"text": 1}, {"a": 1}, {"a": 1, "b": 2}]


@pytest.mark.parametrize("name", ["think", "thinking", "thought", "reasoning"])
def test_every_name_of_thoughts(name: str) -> None:
    begin, end = f"<{name}>", f"</{name}>"
    cases = {
        f"{begin}Hm. {{}}{end}[1]": "[1]",
        f"\n {begin}Hm.\n<b>{end}\n[1]": "\n[1]",
        f"{begin}Hm. [": "",
        f"{begin}Hm.</other> [1]": "",
        f"{begin}a{end}b{end}[1]": f"b{end}[1]",
        f"Hm.\nYes{end}[1]": "[1]",
        f"a{end}b{end}[1]": "[1]",
        f'{{"a": 1}}{end}': f'{{"a": 1}}{end}',
        f"[1]{end}": f"[1]{end}",
        f"Hm. {begin}a{end}[1]": "[1]",
        f"<other>a</other>{name}": f"<other>a</other>{name}",
    }
    assert {text: without_thought(text) for text in cases} == cases


def test_what_is_thought_before_is_not_shown() -> None:
    texts = ("<think>", 'is it {"a": 0}?', "</think>", '{"a": ', "1}")
    assert feed(Partials({}, None), *texts) == [{}, {"a": 1}]
