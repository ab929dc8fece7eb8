"""Every fixture folder, through the pure wing cut at every point, and through both colours of the client."""

from __future__ import annotations

import asyncio
import gc
import importlib
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import msgspec
import pytest

from brainwires_provider.client import AsyncClient
from brainwires_provider.errors import APIError, ProviderError
from brainwires_provider.events import Event, collect
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE
from brainwires_provider.testing import Answer, RecordedRequest, ScriptedServer
from brainwires_provider.types import Retry
from decoder_fuzz import check_grammar
from fixture_cases import MODEL, ROOT, Case, called, cases, decoded, failed, plain, read
from reading import read_stream

CASES = list(cases())
ANSWERED = [case for case in CASES if case.wire is not None]
STREAMED = [case for case in ANSWERED if (case.wire or ("json", b""))[0] != "json"]
COLOURS = ("async", "sync")
_EVENTS = msgspec.json.Decoder(list[Event])


def named(case: Case) -> str:
    return f"{case.folder.parent.name}-{case.folder.name}"


def test_every_folder_is_a_case() -> None:
    folders = {path for path in ROOT.glob("*/*") if path.is_dir()}
    assert {case.folder for case in CASES} == folders
    for case in CASES:
        assert (case.wire is None) == (not (case.folder / "events.json").exists()), case.folder


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_request_is_encoded(case: Case) -> None:
    assert called(case) == case.expected("call.json")


@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_the_answer_is_decoded_however_it_is_cut(case: Case) -> None:
    expected = case.expected("events.json")
    kind, data = case.wire or ("", b"")
    assert decoded(case, lambda data: [data]) == expected
    if kind == "json":
        return  # a whole body is one message by its nature
    assert decoded(case, by_the_byte) == expected
    whole = messages(case, [data])
    for at in range(1, len(data)):  # the decoder is given messages and sees no cuts
        assert messages(case, [data[:at], data[at:]]) == whole, f"cut at byte {at}"


def test_a_decoder_takes_an_end_for_a_clean_one_unless_told_otherwise() -> None:
    protocols = set()
    for case in STREAMED:
        decoder, framing = case.protocol.decoder(case.origin), case.protocol.framing(DEFAULT_MAX_MESSAGE)
        try:
            events = [
                e for message in framing.feed((case.wire or ("", b""))[1]) for e in decoder.feed(message)
            ]
            if decoder.ended or framing.finish() != ([], True):
                continue
        except ProviderError:
            continue
        try:
            found = plain(events + decoder.finish())
        except ProviderError as error:
            found = [*plain(events), failed(error)]
        assert found == case.expected("events.json"), case.folder
        protocols.add(case.folder.parent.name)
    assert protocols >= {"bedrock_converse", "openai_chat", "relay"}


@pytest.mark.many
@pytest.mark.parametrize("case", STREAMED, ids=named)
def test_the_answer_is_decoded_at_every_cut(case: Case) -> None:
    """The test above, with a decoder behind each framing."""
    expected = case.expected("events.json")
    _, data = case.wire or ("", b"")
    for at in range(1, len(data)):
        assert decoded(case, lambda data, at=at: [data[:at], data[at:]]) == expected, f"cut at byte {at}"


@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_the_grammar_of_events_is_kept(case: Case) -> None:
    found, error = read(case, by_the_byte)
    check_grammar(found, whole=error is None)
    told = plain(found)
    growing: dict[int, str] = {}
    begun: list[int] = []
    for number, event in enumerate(told):
        match event["event"]:
            case "response_start":
                assert number == 0
            case "part_start":
                begun.append(event["index"])
                growing[event["index"]] = ""
            case "part_end":
                part, text = event["part"], growing.pop(event["index"])
                if part["type"] in ("text", "reasoning", "refusal", "tool_call"):
                    assert text == part.get("arguments", part.get("text", ""))
            case "response_end":
                assert not growing
                assert number == len(told) - 1
            case "opaque_delta":
                assert event["index"] is None or event["index"] in growing
            case _:
                growing[event["index"]] += event["text"]
                assert event["text"]
    assert begun == list(range(len(begun)))


def test_a_decoder_that_has_ended_is_freed_with_its_last_reference() -> None:
    """It has let go of the parts under construction, which refer back to it: no work for the garbage collector."""
    gc.disable()
    try:
        kept = [
            named(case)
            for case in ANSWERED
            if case.expected("events.json")[-1].get("event") and is_kept(case)
        ]
    finally:
        gc.enable()
    assert kept == []


def is_kept(case: Case) -> bool:
    """Whether the decoder of an answer is still there when nobody has it any more."""
    decoder = case.protocol.decoder(case.origin)
    kind, data = case.wire or ("", b"")
    if kind == "json":
        decoder.feed_whole(data)
    else:
        read_stream(case.protocol.framing(DEFAULT_MAX_MESSAGE), decoder, [data], [])
    assert decoder.ended
    alive = ref(decoder)
    del decoder
    return alive() is not None


def messages(case: Case, chunks: list[bytes]) -> list[Any]:
    """What the framing makes of an answer that comes in these pieces, with its rest or the error that ends it."""
    framing = case.protocol.framing(DEFAULT_MAX_MESSAGE)
    found: list[Any] = []
    try:
        for chunk in chunks:
            found.extend(framing.feed(chunk))
        return [*found, framing.finish()]
    except ProviderError as error:
        return [*found, str(error)]


def by_the_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def in_pieces(seed: int) -> Callable[[bytes], list[bytes]]:
    def cut(data: bytes) -> list[bytes]:
        seeded = random.Random(seed + zlib.crc32(data))
        cuts = sorted(seeded.sample(range(1, len(data)), min(4, len(data) - 1)))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    return cut


CUTS = (lambda data: [data], by_the_byte, in_pieces(1), in_pieces(2), in_pieces(3))


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    """Answers `/CASE/CUT/…` with that case's bytes, in those pieces."""
    known = {named(case): case for case in ANSWERED}

    def answer(request: RecordedRequest) -> Answer:
        _, name, cut, *_ = request.path.split("/")
        case = known[name]
        kind, data = case.wire or ("", b"")
        media_type = "application/json" if kind == "json" else "text/event-stream"
        headers = {"content-type": media_type, **case.spec.answer.headers}
        return Answer(case.spec.answer.status, headers, body=CUTS[int(cut)](data), framing="chunked")

    with ScriptedServer(answer) as running:
        yield running


@pytest.mark.long
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("case", ANSWERED, ids=named)
def test_the_client_gives_the_same(case: Case, colour: str, server: ScriptedServer) -> None:
    expected = case.expected("events.json")
    for cut in range(len(CUTS)):
        settings = {
            "model": f"{case.row.name}:{MODEL}",
            "base_url": f"{server.url}/{named(case)}/{cut}",
            "api_key": "sk-planted",
            "proxy": None,
            "retry": Retry(attempts=1),
        }
        told = asked_async(case, settings) if colour == "async" else asked_sync(case, settings)
        assert same_outcome(case, told, expected)
        body = server.requests[-1].json()
        assert body == case.expected("call.json")["body"]


def asked_async(case: Case, settings: dict[str, Any]) -> Any:
    async def ask() -> Any:
        events: list[Event] = []
        async with AsyncClient(**settings) as client:
            try:
                if not case.spec.stream:
                    return await client.chat(case.request)
                async with client.stream(case.request) as stream:
                    async for event in stream:
                        events.append(event)
            except ProviderError as error:
                return [*events, error]
        return events

    return asyncio.run(ask())


def asked_sync(case: Case, settings: dict[str, Any]) -> Any:
    make = importlib.import_module("brainwires_provider.sync.client").Client
    events: list[Event] = []
    with make(**settings) as client:
        try:
            if not case.spec.stream:
                return client.chat(case.request)
            with client.stream(case.request) as stream:
                events += stream
        except ProviderError as error:
            return [*events, error]
    return events


def same_outcome(case: Case, told: Any, expected: list[Any]) -> bool:
    """A client says the decoder's events; a failure with the provider's name before it and advice after it."""
    if not isinstance(told, list):
        response = collect(_EVENTS.decode(msgspec.json.encode(expected)), provider=case.row.name)
        names = ("id", "model", "message", "finish_reason", "raw_finish_reason", "usage", "extra", "provider")
        assert {n: plain(getattr(told, n)) for n in names} == {n: plain(getattr(response, n)) for n in names}
        return True
    failure = expected[-1].get("error")
    if failure is None:
        assert plain(told) == expected
        return True
    *events, error = told
    before = expected[:-1]
    held_back = len(before) == 1 and before[0]["event"] == "response_start"
    assert plain(events) == ([] if held_back else before)  # the start alone is held back for another attempt
    seen = failed(error)["error"]
    assert seen["message"].startswith(f"{case.row.name}: {failure['message']}")
    status = {"status": 200} if isinstance(error, APIError) else {}  # HTTP's own, which no decoder knows
    assert worth(seen) == worth({**status, **failure})
    return True


def worth(failure: dict[str, Any]) -> dict[str, Any]:
    """A failure without its words, and without a partial that holds nothing."""
    empty = not failure.get("partial", {}).get("content")
    return {k: v for k, v in failure.items() if k != "message" and not (k == "partial" and empty)}
