"""Cache breakpoints: each strategy on each history, explicit marks, times to live, and never more than four."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from brainwires_provider.protocols.anthropic import AnthropicMessages, AnthropicOptions
from brainwires_provider.protocols.anthropic.options import BEDROCK_INVOKE, VERTEX, AnthropicQuirks
from brainwires_provider.protocols.base.caching import LIMIT, MarkPlan, Slot, estimated_tokens, plan_marks
from brainwires_provider.types import (
    Cache,
    CacheStrategy,
    Deviation,
    FilePart,
    HostedTool,
    ImagePart,
    Message,
    OpaquePart,
    Options,
    Origin,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from known import encode_known

MODEL = "claude-opus-5"
ORIGIN = Origin("anthropic_messages", "anthropic", MODEL)
CLOUDS = {"messages": AnthropicQuirks(), "bedrock": BEDROCK_INVOKE, "vertex": VERTEX}
LONG = "word " * 1000
WEATHER = Tool("weather", "Tells the weather.", {"type": "object"})
SEARCH = HostedTool("web_search_20250305", {"name": "web_search"})
DEFERRED = Tool("rare", "Seldom used.", {"type": "object"}, extra={"defer_loading": True})
CALL = ToolCallPart("c1", "weather", "{}")


def encoded(request: Request, cloud: str = "messages") -> Any:
    return encode_known(AnthropicMessages(CLOUDS[cloud]), request, ORIGIN, stream=False)


def marks(body: dict[str, Any]) -> dict[str, str | None]:
    """Where the marks of a body are, in a prompt's order, and their times to live."""
    found: dict[str, str | None] = {}

    def look(name: str, block: Any) -> None:
        if isinstance(block, dict) and "cache_control" in block:
            assert block["cache_control"]["type"] == "ephemeral"
            found[name] = block["cache_control"].get("ttl")

    for tool in body.get("tools", ()):
        look(f"tools.{tool['name']}", tool)
    for index, block in enumerate(body.get("system", ())):
        look(f"system.{index}", block)
    for number, message in enumerate(body["messages"]):
        for index, block in enumerate(message["content"]):
            look(f"messages.{number}.{index}", block)
    return found


# -- strategy by history → marks ------------------------------------------------------------------------------

HISTORIES: dict[str, Request] = {
    "question": Request((Message.user("Hi"),), MODEL),
    "with system": Request((Message.user("Hi"),), MODEL, system="Be brief."),
    "two system messages": Request(
        (Message.system("A"), Message.developer("B"), Message.user("Hi")), MODEL, system="Be brief."
    ),
    "with tools": Request((Message.user("Hi"),), MODEL, tools=(WEATHER, SEARCH)),
    "with system and tools": Request(
        (Message.user("Hi"),), MODEL, system="S", tools=(WEATHER, SEARCH, DEFERRED)
    ),
    "long question": Request((Message.user(LONG),), MODEL, system="S"),
    "long talk": Request(
        (Message.user(LONG), Message.assistant("Well."), Message.user("And?", "Now?")), MODEL, system="S"
    ),
    "long, tools answered": Request(
        (
            Message.user(LONG),
            Message.assistant(CALL),
            Message.tool_result(CALL, "sunny", "and warm"),
            Message.tool_result("c2", "rain"),
        ),
        MODEL,
        tools=(WEATHER,),
    ),
    "long, ends in a picture": Request(
        (Message.user(LONG, ImagePart(url="https://x.test/a.png")),), MODEL, system="S"
    ),
    "long, ends in thinking": Request(
        (
            Message.user(LONG),
            Message.assistant(
                "Well.",
                ReasoningPart("Hm.", signature="s", origin=ORIGIN),
                ToolCallPart("c", "weather", "{}"),
            ),
            Message.tool_result("c", "sunny"),
        ),
        MODEL,
    ),
    "many pictures": Request(
        (Message.user(*(ImagePart(data=b"x" * 90, media_type="image/png") for _ in range(3))),), MODEL
    ),
}
OFF = CacheStrategy.off()
SYSTEM = CacheStrategy.system_only()
TOOLS = CacheStrategy.system_and_tools("1h")
TAIL = CacheStrategy.system_and_tail_turn(threshold=1000, ttl="5m")
PLANS: list[tuple[str, CacheStrategy | None, dict[str, str | None]]] = [
    ("with system", None, {}),
    ("with system", OFF, {}),
    ("question", SYSTEM, {}),
    ("with system", SYSTEM, {"system.0": None}),
    ("two system messages", SYSTEM, {"system.2": None}),
    ("with tools", SYSTEM, {}),
    ("with system and tools", SYSTEM, {"system.0": None}),
    ("long talk", SYSTEM, {"system.0": None}),
    ("question", TOOLS, {}),
    ("with system", TOOLS, {"system.0": "1h"}),
    ("with tools", TOOLS, {"tools.web_search": "1h"}),
    ("with system and tools", TOOLS, {"tools.web_search": "1h", "system.0": "1h"}),
    ("long, tools answered", TOOLS, {"tools.weather": "1h"}),
    ("question", TAIL, {}),
    ("with system", TAIL, {"system.0": "5m"}),
    ("with system and tools", TAIL, {"system.0": "5m"}),
    ("long question", TAIL, {"system.0": "5m", "messages.0.0": "5m"}),
    ("long talk", TAIL, {"system.0": "5m", "messages.2.1": "5m"}),
    ("long, tools answered", TAIL, {"messages.2.1": "5m"}),
    ("long, ends in a picture", TAIL, {"system.0": "5m", "messages.0.1": "5m"}),
    ("long, ends in thinking", TAIL, {"messages.2.0": "5m"}),
    ("many pictures", TAIL, {"messages.0.2": "5m"}),
    ("many pictures", CacheStrategy("system_and_tail_turn"), {"messages.0.2": None}),
    ("long talk", CacheStrategy.system_and_tail_turn(threshold=5000), {"system.0": None}),
]


@pytest.mark.parametrize(("history", "strategy", "expected"), PLANS)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_where_a_strategy_marks(
    history: str, strategy: CacheStrategy | None, expected: dict[str, str | None], cloud: str
) -> None:
    request = HISTORIES[history]
    if cloud != "messages" and history == "long, ends in a picture":
        request = Request(
            (Message.user(LONG, ImagePart(data=b"x", media_type="image/png")),), MODEL, system="S"
        )
    asked = Request(
        request.messages, MODEL, request.system, request.tools, options=Options(max_tokens=9, cache=strategy)
    )
    call = encoded(asked, cloud)
    assert marks(call.body) == expected
    told = [d for d in call.deviations if d.field == "cache"]
    assert [d.outcome for d in told] == ([] if strategy is None else ["adapted"])


@pytest.mark.parametrize(
    ("history", "strategy", "reason"),
    [
        ("question", SYSTEM, "no breakpoint; there is no system message"),
        ("with system", TOOLS, "breakpoints after system; there is no tool"),
        ("with system and tools", TOOLS, "breakpoints after system, tools[web_search]"),
        ("long talk", TAIL, "breakpoints after system, messages[2]"),
        (
            "with system",
            TAIL,
            "breakpoints after system; the history has about 1 tokens, the threshold is 1000",
        ),
    ],
)
def test_the_report_says_what_was_planned(history: str, strategy: CacheStrategy, reason: str) -> None:
    request = HISTORIES[history]
    asked = Request(request.messages, MODEL, request.system, request.tools, options=Options(cache=strategy))
    assert [d.reason for d in encoded(asked).deviations if d.field == "cache"] == [reason]


def test_a_tool_without_a_name_is_reported_by_its_type() -> None:
    tools = (HostedTool("mcp_toolset", {"mcp_server_name": "s"}),)
    asked = Request((Message.user("a"),), MODEL, "S", tools, options=Options(cache=TOOLS))
    (told,) = (d for d in encoded(asked).deviations if d.field == "cache")
    assert told.reason == "breakpoints after system, tools[mcp_toolset]"


# -- explicit marks ------------------------------------------------------------------------------------------


def marked(text: str, ttl: str | None = None) -> TextPart:
    return TextPart(text, cache=Cache(ttl))


def test_explicit_marks_of_every_kind() -> None:
    request = Request(
        (
            Message.system(marked("S", "1h")),
            Message.user(FilePart(data=b"%PDF-1", cache=Cache()), "What?"),
            Message.assistant(marked("Well.")),
            Message.user(OpaquePart("search_result", {"type": "search_result"}, cache=Cache("5m"))),
        ),
        MODEL,
    )
    call = encoded(request)
    expected = {"system.0": "1h", "messages.0.0": None, "messages.1.0": None, "messages.2.0": "5m"}
    assert marks(call.body) == expected
    assert [d.field for d in call.deviations] == ["max_tokens"]


def test_a_mark_inside_a_result_stands_after_it() -> None:
    result = ToolResultPart("c1", (marked("a", "1h"), TextPart("b")))
    own = ToolResultPart("c2", (marked("a"),), cache=Cache("5m"))
    call = encoded(Request((Message.user("Hi"), Message("tool", (result, own))), MODEL))
    assert marks(call.body) == {"messages.1.0": "1h", "messages.1.1": "5m"}
    first, second = call.body["messages"][1]["content"]
    assert first["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert second["content"] == "a"
    assert [(d.field, d.outcome) for d in call.deviations[:2]] == [
        ("messages[1].content[0].content[0].cache", "adapted"),
        ("messages[1].content[1].content[0].cache", "adapted"),
    ]


def test_off_takes_every_mark_away() -> None:
    request = Request(
        (Message.user(marked("Hi")),),
        MODEL,
        tools=(Tool("f", "", {"type": "object"}, cache=Cache()),),
        options=Options(cache=OFF, provider_options=AnthropicOptions(cache_control={"type": "ephemeral"})),
    )
    body = encoded(request).body
    assert marks(body) == {}
    assert "cache_control" not in body


MARK = {"cache_control": {"type": "ephemeral"}}
RESULT = Message("tool", (ToolResultPart("c1", (TextPart("x"),)),))
BY_FIELDS: dict[str, tuple[Message, ...]] = {
    "a text": (Message.user(TextPart("a", extra=MARK)),),
    "an image": (Message.user(ImagePart(url="https://a.example/b.png", extra=MARK)),),
    "a file": (Message.user(FilePart(data=b"%PDF-1", media_type="application/pdf", extra=MARK)),),
    "a block": (Message.user(OpaquePart("search_result", {"type": "search_result", **MARK})),),
    "an answer's text": (Message.user("?"), Message.assistant(TextPart("a", extra=MARK)), Message.user("b")),
    "a call": (Message.user("?"), Message.assistant(replace(CALL, extra=MARK)), RESULT),
    "a result": (
        *(Message.user("?"), Message.assistant(CALL)),
        Message("tool", (ToolResultPart("c1", (TextPart("x"),), extra=MARK),)),
    ),
}


@pytest.mark.parametrize("name", BY_FIELDS)
def test_marks_among_the_callers_own_fields_are_marks_too(name: str) -> None:
    history = BY_FIELDS[name]
    assert len(marks(encoded(Request(history, MODEL)).body)) == 1
    assert marks(encoded(Request(history, MODEL, options=Options(cache=OFF))).body) == {}
    tools = tuple(Tool(f"t{n}", "", {"type": "object"}, cache=Cache()) for n in range(LIMIT))
    kept = marks(encoded(Request(history, MODEL, tools=tools)).body)
    assert len(kept) == LIMIT
    assert "tools.t0" not in kept


def test_a_planned_mark_never_changes_an_explicit_one() -> None:
    request = Request(
        (Message.system(marked("S", "5m")), Message.user("Hi")), MODEL, options=Options(cache=TOOLS)
    )
    call = encoded(request)
    assert marks(call.body) == {"system.0": "5m"}


def test_the_fields_of_a_mark_that_we_do_not_know_stay() -> None:
    own = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "scope": "novel"}}
    call = encoded(Request((Message.user(OpaquePart("text", own)),), MODEL))
    assert call.body["messages"][0]["content"] == [own]
    odd = {"type": "text", "text": "a", "cache_control": "odd"}
    assert encoded(Request((Message.user(OpaquePart("text", odd)),), MODEL)).body["messages"] == [
        {"role": "user", "content": "a"}
    ]


TOO_MANY = "a request takes 4 breakpoints, and later ones reach further"
NOWHERE = "no breakpoint can stand here: on thinking, an empty text, a deferred tool or a text document"


@pytest.mark.parametrize(
    ("request_", "expected", "dropped"),
    [
        (
            Request((Message.user(*(marked(f"{n}") for n in range(6))),), MODEL),
            {f"messages.0.{n}": None for n in (2, 3, 4, 5)},
            [(f"messages[0].content[{n}].cache", TOO_MANY) for n in (0, 1)],
        ),
        (
            Request(
                (Message.system(marked("S")), Message.user(*(marked(f"{n}") for n in range(4)))),
                MODEL,
                tools=(Tool("f", "", {"type": "object"}, cache=Cache()),),
            ),
            {f"messages.0.{n}": None for n in range(4)},
            [("tools[f].cache", TOO_MANY), ("messages[0].content[0].cache", TOO_MANY)],
        ),
        (
            Request(
                (Message.user(*(marked(f"{n}") for n in range(4))),),
                MODEL,
                options=Options(provider_options=AnthropicOptions(cache_control={"type": "ephemeral"})),
            ),
            {f"messages.0.{n}": None for n in (1, 2, 3)},
            [("messages[0].content[0].cache", TOO_MANY.replace("4", "3"))],
        ),
        (
            Request(
                (Message.user(marked(" ")),),
                MODEL,
                tools=(Tool("f", "", {"type": "object"}, cache=Cache(), extra={"defer_loading": True}),),
            ),
            {},
            [("tools[f].cache", NOWHERE), ("messages[0].content[0].cache", NOWHERE)],
        ),
        (
            Request(
                (Message.user("Hi"),),
                MODEL,
                tools=(replace(SEARCH, fields={**SEARCH.fields, "defer_loading": True}, cache=Cache()),),
            ),
            {},
            [("tools[web_search_20250305].cache", NOWHERE)],
        ),
        (
            Request(
                (
                    Message.user("Hi"),
                    Message.assistant(
                        ReasoningPart("Hm.", signature="s", cache=Cache(), origin=ORIGIN), marked("Well.")
                    ),
                ),
                MODEL,
            ),
            {"messages.1.1": None},
            [("messages[1].content[0].cache", NOWHERE)],
        ),
    ],
)
def test_marks_that_cannot_stand(
    request_: Request, expected: dict[str, str | None], dropped: list[tuple[str, str]]
) -> None:
    call = encoded(request_)
    assert marks(call.body) == expected
    assert [(d.field, d.reason) for d in call.deviations if d.outcome == "dropped"] == dropped


BLOCKS: dict[str, tuple[dict[str, Any], bool]] = {
    "text": ({"type": "text", "text": "a"}, True),
    "a blank text": ({"type": "text", "text": " \n"}, False),
    "an image": ({"type": "image", "source": {"type": "file", "file_id": "f"}}, True),
    "a call": ({"type": "server_tool_use", "id": "s", "name": "n", "input": {}}, True),
    "thinking": ({"type": "thinking", "thinking": "Hm", "signature": "s"}, False),
    "redacted thinking": ({"type": "redacted_thinking", "data": "d"}, False),
    "a fallback": ({"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, False),
    "a list of tools": ({"type": "mcp_tool_listing", "tools": []}, False),
    "deferred": ({"type": "novel", "defer_loading": True}, False),
    "novel": ({"type": "novel"}, True),
}
"""A block of an answer, and whether the service takes a mark on it."""


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("ttl", [None, "1h", 5])
def test_which_blocks_keep_a_mark_of_their_own(name: str, ttl: Any) -> None:
    block, takes = BLOCKS[name]
    mark = {"type": "ephemeral"} | ({} if ttl is None else {"ttl": ttl})
    part = OpaquePart(block["type"], {**block, "cache_control": mark}, origin=ORIGIN)
    history = (
        Message.user("Hi"),
        Message.assistant(TextPart("A", origin=ORIGIN), part),
        Message.user("Go on"),
    )
    content = encoded(Request(history, MODEL)).body["messages"][1]["content"]
    kept = [each for each in content if "cache_control" in each]
    assert kept == ([{**block, "cache_control": mark}] if takes else [])


def test_a_strategy_takes_what_explicit_marks_leave() -> None:
    four = Message.user(*(marked(f"{n}") for n in range(4)))
    call = encoded(Request((four,), MODEL, system="S", options=Options(cache=SYSTEM)))
    assert len(marks(call.body)) == 4
    reason = "no breakpoint; none after system: all 4 are taken by explicit marks"
    assert [d.reason for d in call.deviations if d.field == "cache"] == [reason]


# -- the plan by itself --------------------------------------------------------------------------------------

SECTIONS: tuple[Literal["tools", "system", "messages"], ...] = ("tools", "system", "messages")


def ordered(ttl: str, before: str) -> str:
    return f"{ttl} cannot follow {before}: longer times to live stand first"


@pytest.mark.parametrize(
    ("ttls", "expected", "changed"),
    [
        (["1h", None, "5m"], ["1h", None, "5m"], {}),
        ([None, "1h"], [None, None], {1: ("1h", "5m")}),
        (["5m", "1h"], ["5m", "5m"], {1: ("1h", "5m")}),
        (["1h", None, "1h"], ["1h", None, None], {2: ("1h", "5m")}),
        (["5m", "1h", "1d"], ["5m", "5m", "5m"], {1: ("1h", "5m"), 2: ("1d", "5m")}),
        (["60m", "1h", "3600s"], ["60m", "1h", "3600s"], {}),
        (["1d", "24h", "1h"], ["1d", "24h", "1h"], {}),
        (["24h", "1d"], ["24h", "1d"], {}),
        (["59m", "1h"], ["59m", "59m"], {1: ("1h", "59m")}),
        (["299s", None], ["299s", "299s"], {1: ("5m", "299s")}),
        (["300s", None], ["300s", None], {}),
        (["forever", "1h", "forever"], ["forever", "1h", "forever"], {}),
        (["5m", "forever", "1h"], ["5m", "forever", "5m"], {2: ("1h", "5m")}),
        (["5m", "5m5"], ["5m", "5m5"], {}),
    ],
)
def test_longer_times_to_live_stand_first(
    ttls: list[str | None], expected: list[str | None], changed: dict[int, tuple[str, str]]
) -> None:
    plan = plan_marks([Slot("messages", f"m{n}", mark=Cache(ttl)) for n, ttl in enumerate(ttls)], None)
    assert plan == MarkPlan(
        {n: Cache(ttl) for n, ttl in enumerate(expected)},
        tuple(Deviation(f"m{n}.cache", "adapted", ordered(*each)) for n, each in changed.items()),
        tuple(f"m{n}.cache" for n in changed),
    )


@pytest.mark.parametrize(
    ("row", "strategy", "limit", "plan"),
    [
        (
            [Slot("system", "s", mark=Cache()), Slot("messages", "m", mark=Cache("1h"))],
            None,
            4,
            MarkPlan(
                {0: Cache(), 1: Cache()},
                (Deviation("m.cache", "adapted", ordered("1h", "5m")),),
                ("m.cache",),
            ),
        ),
        (
            [Slot("messages", f"m{n}", mark=Cache(ttl)) for n, ttl in enumerate(("1m", "5m", "30s", "1m"))],
            None,
            4,
            MarkPlan(
                {0: Cache("1m"), 1: Cache("1m"), 2: Cache("30s"), 3: Cache("30s")},
                (
                    Deviation("m1.cache", "adapted", ordered("5m", "1m")),
                    Deviation("m3.cache", "adapted", ordered("1m", "30s")),
                ),
                ("m1.cache", "m3.cache"),
            ),
        ),
        (
            [
                Slot("tools", "t", mark=Cache("5m")),
                Slot("system", "s"),
                Slot("messages", "m", mark=Cache("1h")),
            ],
            CacheStrategy.system_only(),
            2,
            MarkPlan(
                {0: Cache("5m"), 2: Cache("5m")},
                (
                    Deviation(
                        "cache", "adapted", "no breakpoint; none after s: all 2 are taken by explicit marks"
                    ),
                    Deviation("m.cache", "adapted", ordered("1h", "5m")),
                ),
                ("cache", "m.cache"),
            ),
        ),
        (
            [
                Slot("tools", "t", cacheable=False, mark=Cache()),
                Slot("tools", "u", mark=Cache()),
                Slot("tools", "v"),
            ],
            CacheStrategy.system_and_tools("1h"),
            0,
            MarkPlan(
                {},
                (
                    Deviation("t.cache", "dropped", NOWHERE),
                    Deviation("u.cache", "dropped", TOO_MANY.replace("4", "0")),
                    Deviation(
                        "cache",
                        "adapted",
                        "no breakpoint; there is no system message; "
                        "none after v: all 0 are taken by explicit marks",
                    ),
                ),
                ("cache",),
            ),
        ),
        (
            [Slot("system", "s"), Slot("messages", "m", tokens=5), Slot("messages", "n", tokens=6)],
            CacheStrategy.system_and_tail_turn(10, "1h"),
            4,
            MarkPlan(
                {0: Cache("1h"), 2: Cache("1h")}, (Deviation("cache", "adapted", "breakpoints after s, n"),)
            ),
        ),
        (
            [Slot("system", "s"), Slot("messages", "m", tokens=5), Slot("tools", "n", tokens=6)],
            CacheStrategy.system_and_tail_turn(5),
            4,
            MarkPlan(
                {0: Cache()},
                (
                    Deviation(
                        "cache",
                        "adapted",
                        "breakpoints after s; the history has about 5 tokens, the threshold is 5",
                    ),
                ),
            ),
        ),
        (
            [Slot("messages", "m", tokens=1)],
            CacheStrategy("system_and_tail_turn"),
            4,
            MarkPlan(
                {0: Cache()},
                (Deviation("cache", "adapted", "breakpoints after m; there is no system message"),),
            ),
        ),
        ([Slot("system", "s", mark=Cache())], CacheStrategy.off(), 4, MarkPlan({})),
    ],
)
def test_a_plan_and_all_that_is_said_of_it(
    row: list[Slot], strategy: CacheStrategy | None, limit: int, plan: MarkPlan
) -> None:
    assert plan_marks(row, strategy, limit) == plan


@pytest.mark.parametrize(
    ("block", "tokens"),
    [
        ({"type": "text", "text": "a" * 12}, 4),
        ({"a": ["b" * 3, ("c" * 4, 5)], "d": {"e": None}}, 2),
        ({"source": {"type": "base64", "data": "a" * 99_999}}, 1500),
        ({"image": {"source": {"bytes": b"a"}}}, 1500),
        ([{"type": "base64"}, {"bytes": 1}], 3000),
        ("abc", 0),
    ],
)
def test_the_size_of_a_block(block: Any, tokens: int) -> None:
    assert estimated_tokens(block) == tokens


slots = st.lists(
    st.builds(
        Slot,
        st.sampled_from(SECTIONS),
        st.just("x"),
        st.booleans(),
        st.none() | st.builds(Cache, st.sampled_from([None, "5m", "1h", "odd"])),
        st.integers(0, 2000),
    ),
    max_size=14,
).map(lambda found: sorted(found, key=lambda slot: SECTIONS.index(slot.section)))
strategies = st.none() | st.sampled_from([OFF, SYSTEM, TOOLS, TAIL])


@settings(max_examples=200)
@given(slots, strategies, st.integers(0, LIMIT))
def test_never_more_than_the_limit(row: list[Slot], strategy: CacheStrategy | None, limit: int) -> None:
    plan = plan_marks(row, strategy, limit)
    assert len(plan.marks) <= limit
    assert list(plan.marks) == sorted(plan.marks)
    assert all(row[index].cacheable for index in plan.marks)
    explicit = {n for n, slot in enumerate(row) if slot.mark is not None and slot.cacheable}
    if strategy != OFF:
        assert len(explicit & plan.marks.keys()) == min(limit, len(explicit))
        lost = [d for d in plan.deviations if d.outcome == "dropped"]
        assert len(lost) == sum(slot.mark is not None for slot in row) - len(explicit & plan.marks.keys())
    known = [{"5m": 300, "1h": 3600, None: 300}[m.ttl] for m in plan.marks.values() if m.ttl != "odd"]
    assert known == sorted(known, reverse=True)


parts = st.builds(
    TextPart,
    st.sampled_from(["", " ", "a", LONG]),
    cache=st.none() | st.builds(Cache, st.sampled_from([None, "1h"])),
)
results = st.builds(
    ToolResultPart, st.sampled_from(["c1", "c2"]), st.tuples(parts), cache=st.none() | st.just(Cache())
)
messages = st.one_of(
    st.builds(
        Message, st.sampled_from(["system", "user", "assistant"]), st.lists(parts, max_size=4).map(tuple)
    ),
    st.builds(Message, st.just("tool"), st.lists(results, min_size=1, max_size=3).map(tuple)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(messages, max_size=6).map(lambda drawn: (*drawn, Message.user("a"))),
    strategies,
    st.sampled_from(["", "S"]),
    st.integers(0, 6),
    st.booleans(),
    st.sampled_from(sorted(CLOUDS)),
)
def test_no_body_ever_holds_more_than_four(
    history: tuple[Message, ...],
    strategy: CacheStrategy | None,
    system: str,
    tools: int,
    whole: bool,
    cloud: str,
) -> None:
    own = AnthropicOptions(cache_control={"type": "ephemeral"}) if whole else None
    request = Request(
        history,
        MODEL,
        system or None,
        tuple(Tool(f"f{n}", "", {"type": "object"}, cache=Cache()) for n in range(tools)),
        options=Options(cache=strategy, provider_options=own),
    )
    body = encoded(request, cloud).body
    assert repr(body).count("'cache_control'") <= LIMIT
