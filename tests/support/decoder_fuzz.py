"""Mutated responses of every protocol, and what must hold for any of them.

`Fuzzer(seeds).case(number)` is the same case for the same number on every machine: a body of a fixture or of a
recording, changed in its bytes, in its JSON values or in the order of its messages, and cut into chunks. `check` reads
it as a live response is read, and raises AssertionError where a property does not hold.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from brainwires_provider.errors import APIError, ProviderError
from brainwires_provider.events import (
    Event,
    OpaqueDelta,
    PartEnd,
    PartStart,
    ReasoningDelta,
    RefusalDelta,
    ResponseEnd,
    ResponseStart,
    TextDelta,
    ToolCallDelta,
    collect,
)
from brainwires_provider.framing.base import DEFAULT_MAX_MESSAGE, Framing
from brainwires_provider.protocols.base.bodies import framing_named
from brainwires_provider.protocols.base.protocol import ChatProtocol, Decoder, Reply
from brainwires_provider.types import Message, Origin, Request, Response, dump_messages, load_messages
from event_streams import raw_message
from known import encode_known
from reading import read_stream

SECONDS = 2.0
"""The processor time that one small case may take."""
MAX_SEED = 16_384  # bytes
RAW = "\x00raw\x00"  # stands in a JSON tree for text that is no JSON value of Python's
_DEEP = (100, 500, 700, 980, 20_000)


class Seed(Struct, frozen=True):
    """A body as a service sent it. `framing` is None for a whole body, and `status` that of a refused request."""

    name: str
    protocol: ChatProtocol
    origin: Origin
    framing: str | None
    body: bytes
    status: int = 200
    make: Callable[[Origin], Decoder] | None = None
    """The decoder, where it is not the protocol's for chat."""

    def decoder(self) -> Decoder:
        return self.protocol.decoder(self.origin) if self.make is None else self.make(self.origin)


class Case(Struct, frozen=True):
    """One body to read, in chunks."""

    number: int
    seed: Seed
    chunks: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


# -- mutations -----------------------------------------------------------------------------------------------


class Fuzzer:
    """Makes cases out of seeds."""

    def __init__(self, seeds: list[Seed]) -> None:
        self.seeds = seeds

    def case(self, number: int) -> Case:
        """The case of a number."""
        rng = random.Random(number)
        seed = rng.choice(self.seeds)
        body = _mutated(seed, rng)
        size = 1 if rng.random() < 0.05 else rng.choice((7, 64, 1000, 1 << 20))
        if len(body) / size > 5000:
            size = 1 << 20
        chunks = tuple(body[start : start + size] for start in range(0, len(body), size))
        return Case(number, seed, chunks)


def _mutated(seed: Seed, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return _bytes_mutated(seed.body, rng)
    parts = _split(seed.framing, seed.body)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        _mutate_messages(parts, rng)
    body = b"".join(before + data + after for before, data, after in parts)
    if seed.framing == "eventstream":
        body = b"".join(raw_message(before, data) for before, data, _ in parts)
    return _bytes_mutated(body, rng) if rng.random() < 0.1 else body


def _bytes_mutated(body: bytes, rng: random.Random) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4))):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((1, 2, 10, 200)))
        match rng.randrange(6):
            case 0:
                del data[start:end]
            case 1:
                data[start:start] = data[start:end]
            case 2:
                data[start:end] = rng.randbytes(end - start)
            case 3:
                data[start:start] = rng.choice(
                    (b"\xff", b"\x00", b'"', b"{", b"[", b"\n", b"\xe2\x80\xa8", b"\\ud800")
                )
            case 4:
                del data[start:]
            case _:
                data[start:start] = rng.choice((b"[" * 700, b'{"d":' * 700, b"[" * 20_000))
    return bytes(data)


Piece = tuple[bytes, bytes, bytes]  # before the JSON, the JSON, after it


def _split(framing: str | None, body: bytes) -> list[Piece]:
    """The JSON texts of a body, each with what stands around it."""
    if framing == "eventstream":
        return list(_event_messages(body))
    if framing is None:
        return [(b"", body, b"")]
    pieces: list[Piece] = []
    for line in body.splitlines(keepends=True):
        text = line.rstrip(b"\r\n")
        end = line[len(text) :]
        prefix = b"data: " if text.startswith(b"data: ") else b""
        known = framing == "ndjson" or prefix
        pieces.append((prefix, text[len(prefix) :], end) if known else (line, b"", b""))
    return pieces


def _event_messages(body: bytes) -> Iterator[Piece]:
    """The messages of an AWS event stream: headers and payload."""
    at = 0
    while at + 16 <= len(body):
        total, headers = int.from_bytes(body[at : at + 4]), int.from_bytes(body[at + 4 : at + 8])
        if total < 16 + headers or at + total > len(body):
            break
        start = at + 12 + headers
        yield body[at + 12 : start], body[start : at + total - 4], b""
        at += total


def _mutate_messages(pieces: list[Piece], rng: random.Random) -> None:
    places = [i for i, (_, data, _) in enumerate(pieces) if data[:1] in (b"{", b"[")]
    if not places:
        return
    at = rng.choice(places)
    other = rng.choice(places)
    match rng.randrange(12):
        case 0:
            del pieces[at]
        case 1:
            pieces.insert(at, pieces[at])
            if len(pieces) > 1 and pieces[0][0] and not pieces[-1][1]:
                pieces.insert(at, (b"\n", b"", b""))
        case 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        case 3:
            pieces.append(pieces[at])
        case _:
            before, data, after = pieces[at]
            donor = _loaded(pieces[other][1])
            pieces[at] = before, _json_mutated(data, donor, rng), after


def _loaded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return {}


def _json_mutated(data: bytes, donor: Any, rng: random.Random) -> bytes:
    """The text of a JSON value, changed; as it is where Python's own JSON module cannot take it."""
    try:
        holder, raw = [json.loads(data)], []
        for _ in range(rng.choice((1, 1, 2))):
            places = list(_places(holder))
            if places:
                _change(*rng.choice(places), donor, raw, rng)
        text = "" if not holder else json.dumps(holder[0], ensure_ascii=rng.random() < 0.5)
    except (ValueError, RecursionError):
        return data
    for each in raw:
        text = text.replace(json.dumps(RAW), each, 1)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])


def _change(container: Any, key: Any, donor: Any, raw: list[str], rng: random.Random) -> None:
    value = container[key]
    match rng.randrange(8):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[rng.choice(_NAMES)] = container.pop(key)
        case 2 if isinstance(container, list):
            container += [value] * rng.choice((1, 2, 50))
        case 3:
            places = list(_places([donor]))
            inner, place = rng.choice(places)
            container[key] = copy.deepcopy(inner[place])
        case 4 if isinstance(value, str):
            container[key] = rng.choice(
                (value + "\ud800", "\udc00" + value, value * 2, value[: len(value) // 2])
            )
        case 5:
            container[key] = RAW
            depth = rng.choice(_DEEP)
            raw.append(
                rng.choice(
                    (
                        "[" * depth + "]" * depth,
                        '{"d":' * depth + "1" + "}" * depth,
                        "NaN",
                        "1e999",
                        "9" * 400,
                    )
                )
            )
        case _:
            container[key] = copy.deepcopy(rng.choice(_JUNK))


_NAMES = (
    "",
    "type",
    "id",
    "text",
    "error",
    "index",
    "content",
    "message",
    "name",
    "extra",
    "done",
    "\ud800",
    "x",
)
_JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 7, 1.5, 2**70, "", "x", "\ud800", "stop", [], {}, [1], [[]], [None], {"a": 1},
    {"text": "t"}, [{"type": "text", "text": "t"}], {"type": []}, {"error": {"message": "no", "code": 400}},
)  # fmt: skip


# -- properties ----------------------------------------------------------------------------------------------


def check(case: Case) -> str:
    """Read a case; what became of it. Raises AssertionError, or whatever the decoder should not have raised."""
    started = time.process_time()
    seed = case.seed
    if seed.status >= 400:
        error = seed.protocol.decode_error(Reply(seed.status, {}, case.body, 0.0))
        assert isinstance(error, APIError)
        str(error), repr(error)
        outcome = "refused"
    else:
        outcome = _check_response(case)
    spent = time.process_time() - started
    assert spent < SECONDS, f"it took {spent:.1f} s"
    return outcome


def _check_response(case: Case) -> str:
    seed = case.seed
    decoder = seed.decoder()
    events: list[Event] = []
    try:
        _read(case, decoder, events)
    except ProviderError as error:
        check_grammar(events, whole=False)
        str(error), repr(error)
        partial = getattr(error, "partial", None) or decoder.partial()
        check_replay(partial.message, seed)
        return type(error).__name__
    check_grammar(events, whole=True)
    response = collect(events, provider=seed.origin.provider)
    assert isinstance(response, Response)
    check_replay(response.message, seed)
    return "read"


def _read(case: Case, decoder: Decoder, events: list[Event]) -> None:
    """As a live response is read."""
    framing: Framing | None = framing_named(case.seed.framing or "whole", DEFAULT_MAX_MESSAGE)
    if framing is None:
        events += decoder.feed_whole(case.body)
        return
    read_stream(framing, decoder, case.chunks, events)


_TEXT_DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def check_grammar(events: list[Event], *, whole: bool) -> None:
    """ResponseStart (PartStart Delta* PartEnd)* ResponseEnd; parts may interleave."""
    kinds = [type(event) for event in events]
    if events:
        assert kinds[0] in (ResponseStart, OpaqueDelta), f"the first event is {kinds[0].__name__}"
    assert kinds.count(ResponseStart) <= 1, "two ResponseStarts"
    assert ResponseEnd not in kinds[:-1], "something follows the ResponseEnd"
    if whole:
        assert kinds[-1:] == [ResponseEnd], "no ResponseEnd"
        assert kinds.count(ResponseStart) == 1, "no ResponseStart"
    started: dict[int, list[str]] = {}
    ended: set[int] = set()
    for event in events:
        match event:
            case PartStart():
                assert event.index == len(started), "parts are not counted in their order"
                started[event.index] = []
            case PartEnd():
                assert event.index in started and event.index not in ended, "a PartEnd without a PartStart"
                ended.add(event.index)
                text = getattr(event.part, "arguments", None) or getattr(event.part, "text", "")
                joined = "".join(started[event.index])
                assert not joined or joined == text, "the deltas are not the part's text"
            case TextDelta() | ReasoningDelta() | RefusalDelta() | ToolCallDelta():
                assert event.index in started and event.index not in ended, "a delta outside its part"
                started[event.index].append(event.text)
    if whole:
        assert ended == started.keys(), "a part never ended"


def check_replay(answer: Message, seed: Seed) -> None:
    """What was decoded is dumped, loaded and encoded again."""
    stored = dump_messages([answer])
    assert dump_messages(load_messages(stored)) == stored, "it changes when it is stored"
    if seed.make is not None:
        return
    answered = [call for call in answer.tool_calls if call.kind in ("function", "custom")]
    calls = [Message.tool_result(call, "done") for call in answered]
    history = (Message.user("Hi"), answer, *calls, Message.user("And now?"))
    origin = Origin(seed.origin.protocol, seed.origin.provider, "m")
    call = encode_known(seed.protocol, Request(history, "m"), origin, stream=True)
    msgspec.json.encode(call.body)
