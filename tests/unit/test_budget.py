"""Budgets: the decisions, and the upper bounds that are reserved."""

from __future__ import annotations

import contextlib
import json
import threading
from base64 import b64encode
from decimal import Decimal
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainwires_provider import (
    PROVIDERS,
    AsyncClient,
    Budget,
    BudgetExceededError,
    ConfigError,
    FilePart,
    ImagePart,
    Limits,
    Message,
    ToolCallPart,
    UnsupportedError,
)
from brainwires_provider._core.admission import Ledger
from brainwires_provider._core.budget import Account, Reserved, account_of
from brainwires_provider._core.counting import at_most, estimated, measured, rule_of
from brainwires_provider._core.shared_budget import SharedAccount
from brainwires_provider.providers.prices import Prices

OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"
ENDS: dict[str, float | None] = {"keep": 0, "less": 0.5, "none": 0, "unknown": None, "more": 1.5}
STEPS = st.lists(st.tuples(st.integers(0, 60), st.sampled_from(list(ENDS))), max_size=40)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(0, 100))
def test_no_budget_is_overspent_but_by_what_a_request_used_beyond_its_bound(
    steps: list[tuple[int, str]], limit: int
) -> None:
    """What is spent and reserved together exceeds it by no more than that, and nothing is granted after it."""
    account, budget = Account(), Budget(usd=Decimal(limit) / 100, tokens=limit)
    open_ones: list[Reserved] = []
    beyond = 0
    for amount, end in steps:
        fits = account.tokens + account.reserved_tokens + amount <= limit
        try:
            open_ones.append(account.reserve(budget, Decimal(amount) / 100, amount))
            assert fits
        except BudgetExceededError:
            assert not fits
        if end != "keep" and open_ones:
            reserved, factor = open_ones.pop(0), ENDS[end]
            share = None if factor is None else int(reserved.tokens * factor)
            usd = None if share is None else Decimal(share) / 100
            account.settle(reserved, usd, share)
            account.settle(reserved, Decimal(99), 99)  # a second time: nothing
            beyond += max(0, (share or 0) - reserved.tokens)
        assert account.tokens + account.reserved_tokens <= limit + beyond
        assert account.usd + account.reserved_usd <= Decimal(limit + beyond) / 100
    assert account.reserved_tokens == sum(each.tokens for each in open_ones)


def test_a_hundred_threads_with_money_for_ten() -> None:
    account, budget = Account(), Budget(usd=1.0)
    granted: list[Reserved] = []
    start = threading.Barrier(100)

    def ask() -> None:
        start.wait(20)
        with contextlib.suppress(BudgetExceededError):
            granted.append(account.reserve(budget, Decimal("0.1"), 5))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(granted) == 10 and account.reserved_usd == 1


def test_the_error_names_what_is_left_and_what_to_do() -> None:
    account = Account()
    account.settle(account.reserve(Budget(tokens=100), Decimal(0), 60), None, None)
    with pytest.raises(BudgetExceededError, match=r"100 tokens .*60 spent, 0 reserved.*up to 41.*max_tokens"):
        account.reserve(Budget(tokens=100), Decimal(0), 41)


def test_the_error_names_an_amount_as_it_was_written() -> None:
    amounts: list[tuple[Any, str]] = [
        (5, "$5 "),
        (5.0, "$5.0 "),
        (0.1, "$0.1 "),
        (Decimal("5.00"), "$5.00 "),
        (5, "$5 "),
    ]
    for usd, shown in amounts:
        account = Account()
        first = account.reserve(Budget(usd=usd), Decimal("0.04"), 7)
        account.settle(first, Decimal("0.01"), 3)
        account.reserve(Budget(usd=usd), Decimal("0.02"), 9)
        with pytest.raises(BudgetExceededError) as caught:
            account.reserve(Budget(usd=usd, scope="team"), Decimal(5), 1)
        words = (
            f"the budget of {shown}(scope 'team') is too small for this request: $0.01 spent, $0.02 reserved"
        )
        assert words in str(caught.value) and "up to $5 for this one" in str(caught.value)
        assert account.counted() == {
            "spent_usd": Decimal("0.01"),
            "spent_tokens": 3,
            "reserved_usd": Decimal("0.02"),
            "reserved_tokens": 9,
        }


def test_all_of_a_budget_may_be_reserved_and_nothing_beyond() -> None:
    for budget, beyond in ((Budget(tokens=10), (Decimal(0), 1)), (Budget(usd=10), (Decimal("0.01"), 0))):
        account = Account()
        account.reserve(budget, Decimal(10), 10)
        with pytest.raises(BudgetExceededError, match="10 reserved"):
            account.reserve(budget, *beyond)
        assert (account.reserved_usd, account.reserved_tokens) == (10, 10)


def test_a_named_scope_is_shared_and_a_clients_is_its_own() -> None:
    first, second = Account(), Account()

    assert account_of("client", first) is first
    assert account_of("test-a", first) is account_of("test-a", second)
    assert account_of("test-a", first) is not account_of("test-b", first)


BOUNDS: dict[str, tuple[dict[str, Any] | None, tuple[int, int]]] = {
    "no body": (None, (8, 16_384)),
    "bytes, and something around each text": ({"content": "aä"}, (3 + 16, 16_384)),
    "the maximum output": ({"max_tokens": 7}, (16, 7)),
    "of each answer": ({"max_tokens": 7, "n": 5}, (24, 35)),
    "of each answer, which has none": ({"n": 5}, (16, 5 * 16_384)),
    "of each of Gemini's": ({"generationConfig": {"maxOutputTokens": 7, "candidateCount": 3}}, (32, 21)),
    "of Interactions": ({"generation_config": {"max_output_tokens": 7}}, (24, 7)),
    "a number of answers that is none": ({"n": "5"}, (17, 16_384)),
    "arguments as JSON, with their names": ({"input": {"a": "bc"}}, (16 + len('{"a":"bc"}'), 16_384)),
    "arguments that have no JSON": ({"input": {"a": "\ud800"}}, (16 + len(r"{'a': '\ud800'}"), 16_384)),
    "arguments of an unusual kind": (
        {"input": {"a": MappingProxyType({"b": "c"})}},
        (16 + len("{'a': mappingproxy({'b': 'c'})}"), 16_384),
    ),
    "a picture": ({"image": "A" * 1_000_000}, (10_000 + 8, 16_384)),
    "what stands beside a picture's URL": (
        {"source": {"url": "https://e.org/a", "detail": "abc"}},
        (10_000 + 3 + 16, 16_384),
    ),
    "what stands among pictures": (
        {"images": ["https://e.org/a", {"text": "abc"}, 7]},
        (10_000 + 3 + 32, 16_384),
    ),
    "a text that looks like one": ({"text": "A" * 1_000_000}, (1_000_000 + 16, 16_384)),
    "arguments that look like one": ({"args": {"data": "A" * 9_000}}, (9_000 + 27, 16_384)),
    "a text file": ({"file_data": "data:text/csv;base64,77u/MSwy"}, (10_000 + 6 + 8, 16_384)),
    "a text file, cut within a character": (
        {"file_data": b64encode("ö".encode() * 3_100).decode()},
        (10_000 + 6_201 + 8, 16_384),
    ),
    "a text file that is not encoded": ({"file_data": "data:,12"}, (10_000 + 8 + 8, 16_384)),
    "a text file that is not encoded, and could be": ({"file_data": "data:,1234"}, (10_000 + 10 + 8, 16_384)),
    "bytes": ({"file": b"A" * 9_000}, (10_000 + 16, 16_384)),
    "a maximum of nothing": ({"max_tokens": 0}, (16, 16_384)),
    "numbers and nothing": ({"a": 1, "b": 2.5, "c": True, "d": None}, (40, 16_384)),
    "a field around a file that has none": ({"source": {"a": "bc"}}, (2 + 24, 16_384)),
    "a field around a file that is text": ({"source": {"type": "text", "data": "abc"}}, (7 + 32, 16_384)),
    "a part of another type": ({"type": "text", "data": "abc"}, (7 + 24, 16_384)),
    "a part whose type is no word": ({"type": ["image"], "data": "abc"}, (5 + 3 + 32, 16_384)),
    "a field of a file that is no text": ({"image": 7, "type": "image", "data": 7}, (5 + 32, 16_384)),
    "a field around a file, in a file": (
        {"type": "image", "source": {"data": "https://e.org/a", "url": {"a": "bc"}}},
        (10_000 + 5 + 2 + 32, 16_384),
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_the_most_that_a_request_may_use(name: str) -> None:
    body, bound = BOUNDS[name]

    assert at_most(measured(body)) == bound


# A file as it is written: how many bytes of text it may be.
WRITTEN: dict[str, tuple[str, int]] = {
    "nothing": ("", 0),
    "a URL": ("https://e.org/a", 0),
    "a bucket": ("gs://a/b", 0),
    "an id": ("file-abcdef", 11),
    "text": (b64encode(b"1,2\r\n\t\f").decode(), 8 * 3 // 4 + 3),
    "a URL with data": ("data:text/plain;base64,YWJj", 3),
    "with a character set": ("data:text/plain;charset=utf-8;base64,YWJj", 3),
    "not encoded": ("data:text/plain,a%20b", 21),
    "a PDF": (b64encode(b"%PDF-1.7 text").decode(), 0),
    "a text about PDF": (b64encode(b"x %PDF-1.7 text...").decode(), 18),
    "not all of the alphabet": ("YWJj!", 5),
    "a URL's alphabet": (b64encode("a÷þ~".encode()).decode().replace("+", "-").replace("/", "_"), 6),
    "padding that is missing": ("YWI", 3),
    "text of no UTF-8": (b64encode(b"abc\xff\xfe, and more").decode(), 0),
    **{f"a control character {n}": (b64encode(b"ab" + bytes((n,))).decode(), 0) for n in (0, 8, 14, 31)},
    **{f"a blank {n}": (b64encode(b"ab" + bytes((n,))).decode(), 3) for n in (9, 10, 11, 12, 13, 32)},
    "cut after three bytes of a character": (b64encode(b"a" * 3_069 + "😀".encode()).decode(), 3_075),
    "no UTF-8 just before the cut": (b64encode(b"a" * 3_068 + b"\xff" + b"a" * 9).decode(), 0),
    "binary beyond its head": (b64encode(b"a" * 3_072 + b"\0\0\0").decode(), 3_075),
    "binary at the end of its head": (b64encode(b"a" * 3_071 + b"\0").decode(), 0),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_how_much_of_a_file_may_be_text(name: str) -> None:
    text, characters = WRITTEN[name]
    size = measured({"file_data": text})
    assert (size.media, size.characters) == (1, characters)


def test_a_request_without_output_uses_none() -> None:
    assert at_most(measured({"max_tokens": 7, "n": 5}), has_output=False) == (24, 0)


OF_FILES = [
    "image",
    "image_url",
    "file_url",
    "document_url",
    "video_url",
    "audio_url",
    "input_audio",
    "file_data",
]
AROUND_FILES = [*OF_FILES, *["file", "source", "s3Location", "inlineData", "inline_data", "fileData"]]
OF_A_FILE = ["data", "bytes", "url", "uri", "fileUri", "file_uri", "file_id", "file_data", "result"]
TYPES_OF_FILES = (
    "image document audio video file input_image input_file container_upload image_generation_call"
)
OF_JSON = "args arguments input json response result parameters parametersJsonSchema input_schema inputSchema schema"


def test_every_field_of_a_file_holds_one() -> None:
    url = "https://e.org/a"
    bodies: list[dict[str, Any]] = [
        *({name: url} for name in OF_FILES),
        *({name: {field: url}} for name in AROUND_FILES for field in OF_A_FILE),
        *({"type": kind, field: url} for kind in TYPES_OF_FILES.split() for field in OF_A_FILE),
        {"images": [url]},
    ]
    assert [body for body in bodies if measured(body).media != 1] == []


def test_every_field_of_json_counts_as_it_is_written() -> None:
    for name in OF_JSON.split():
        assert measured({name: {"key": "value"}}).characters == len('{"key":"value"}'), name


def test_every_name_of_a_maximum_and_of_a_number_of_answers_is_known() -> None:
    most = "max_tokens max_completion_tokens max_output_tokens maxOutputTokens maxTokens num_predict"
    for name in most.split():
        for place in ["generationConfig", "generation_config", "inferenceConfig", "options"]:
            assert (measured({name: 7}).max_tokens, measured({place: {name: 8}}).max_tokens) == (7, 8)
    for name in ["n", "best_of", "candidateCount", "candidate_count"]:
        assert measured({name: 3}).answers == 3


TEXTS = {
    "Chinese": "统一的接口" * 2_000,
    "Japanese": "プロバイダーの種類" * 2_000,
    "CSV": "1,2;3\n" * 2_000,
    "JSON": json.dumps([{"a": 1}] * 2_000, separators=(",", ":")),
    "base64": "QUJD" * 2_000,
    "a data URL": "data:image/png;base64," + "QUJD" * 2_000,
    "a URL": "https://example.org/" + "a" * 8_000,
}
CALL = ToolCallPart(
    "call_123456789", "look", json.dumps({"data": "A" * 9_000, "url": "https://" + "a" * 9_000})
)
PLACES: dict[str, tuple[int, list[Message]]] = {
    **{name: (len(text.encode()), [Message.user(text)]) for name, text in TEXTS.items()},
    "a call": (18_000, [Message.user("Hi"), Message.assistant(CALL), Message.tool_result(CALL, "yes")]),
    "a result": (
        9_000,
        [
            Message.user("Hi"),
            Message.assistant(CALL),
            Message.tool_result(CALL, "data:image/png;base64," + "A" * 9_000),
        ],
    ),
    "a text file": (9_000, [Message.user(FilePart(b"A,B\n" * 2_250, media_type="text/plain"))]),
    "a picture": (
        10_000,
        [Message.user(ImagePart(b"\x89PNG\r\n\x1a\n" + b"x" * 300, media_type="image/png"))],
    ),
    "a picture by URL": (10_000, [Message.user(ImagePart(url="https://example.org/a.png"))]),
    "a picture by its id": (10_000, [Message.user(ImagePart(file_id="file-123"))]),
    "a document": (10_000, [Message.user(FilePart(b"%PDF-1.4 x", media_type="application/pdf"))]),
    "a document by URL": (10_000, [Message.user(FilePart(url="https://example.org/a.pdf"))]),
    "a document by its id": (10_000, [Message.user(FilePart(file_id="file-123"))]),
    "sound": (10_000, [Message.user(FilePart(b"RIFF\x10\0\0\0WAVE", media_type="audio/wav"))]),
    "video": (10_000, [Message.user(FilePart(b"\0\0\0\x18ftyp", media_type="video/mp4"))]),
}


# A model on this machine has no name before its file is there.
@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "local"])
def test_every_text_and_file_counts_at_every_provider_and_so_does_the_maximum(provider: str) -> None:
    """At least as many tokens as its bytes; a file as the documentation says of files, whatever its size."""
    client = AsyncClient(f"{provider}:m", base_url="http://localhost:9", api_key="k")
    session: Any = client._session
    taken = 0
    for name, (least, messages) in PLACES.items():
        try:
            plan = session.plan(messages, {"max_tokens": 4321}, stream=False)
        except (UnsupportedError, ConfigError):
            continue
        if plan.report.dropped and any("messages" in each.field for each in plan.report.dropped):
            continue
        taken += 1
        size = measured(plan.call.body)
        assert least <= at_most(size)[0] < 3 * least + 12_000, name
        assert estimated(size, rule_of(provider)).input >= (
            1_000 if least == 10_000 else len(TEXTS.get(name, "")) // 4
        ), name
        assert size.max_tokens == (4321 if "max_tokens" in plan.report.sent else 0), name
    assert taken >= len(TEXTS) - 1


@pytest.mark.parametrize(
    ("url", "model", "tier", "dollars"),
    [
        (OPENAI, "gpt-4o", None, "0.35"),
        (OPENAI, "gpt-5", "priority", "0.45"),
        (ANTHROPIC, "claude-sonnet-4-5", None, "0.75"),  # as if all were written to the cache for an hour
        (OPENAI, "gpt-99", None, None),
    ],
)
def test_the_most_that_tokens_may_cost(url: str, model: str, tier: str | None, dollars: str | None) -> None:
    found = Prices(url).at_most(model, 100_000, 10_000, tier)

    assert found == (None if dollars is None else Decimal(dollars))


@pytest.mark.parametrize("wrong", [{"usd": -1}, {"tokens": -1}, {"usd": float("nan")}])
def test_an_amount_below_nothing_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Budget.{next(iter(wrong))}"):
        Budget(**wrong)


@pytest.mark.parametrize(
    "number",
    [10**15, 10**400, -1, Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity")],
    ids=["large", "huge", "negative", "NaN", "sNaN", "infinite"],
)
def test_a_number_that_cannot_be_counted_is_refused_where_it_is_made(number: Any) -> None:
    made = [lambda: Budget(usd=number)]
    if not isinstance(number, Decimal):
        made += [
            lambda: Budget(tokens=number),
            *(partial(Limits, **{name: number}) for name in ("rpm", "tpm")),
        ]
    for make in made:
        with pytest.raises(ValueError, match=r"takes (an amount|a number)"):
            make()


@pytest.mark.parametrize("earlier", ["1000000000,10", "2000000000,10", "1000000000,20"])
@pytest.mark.parametrize("latest", [0, 1])
def test_what_a_server_has_said_is_what_is_shown_of_a_shared_budget(earlier: str, latest: int) -> None:
    """Of the client's loops, the one that heard last; what is reserved in all of them; else the process's account."""

    def loop(spent: str, *reserved: int) -> Any:
        account = SharedAccount(None, "all", None)  # type: ignore[arg-type]
        account._spent = spent
        account._open = {str(tokens): Reserved(Decimal(tokens), tokens) for tokens in reserved}
        return SimpleNamespace(accounts={"all": account, "other": account}, gates={})

    class Loop:
        """Stands for an event loop."""

    loops, ledger = [Loop(), Loop()], Ledger()
    ledger.account.tokens = 7
    for n, reserved in enumerate((3, 4)):
        spent = "2000000000,20" if n == latest else earlier
        ledger._shared[loops[n]] = {"a": loop(spent, reserved)}  # type: ignore[index]
    stats = ledger.stats(Budget(tokens=99, scope="all"))
    assert (stats.spent_usd, stats.spent_tokens) == (2, 20)
    assert (stats.reserved_usd, stats.reserved_tokens) == (7, 7)
    assert ledger.stats(Budget(tokens=99, scope="nobody's")).spent_tokens == 0
    assert ledger.stats(Budget(tokens=99)).spent_tokens == ledger.stats(None).spent_tokens == 7
