"""Framings: the same messages for every cut of the bytes, and the right ones."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from brainwires_provider.errors import FramingError
from brainwires_provider.framing import (
    EventStreamFraming,
    EventStreamMessage,
    Framing,
    HeaderValue,
    NDJSONFraming,
    SSEFraming,
    WholeFraming,
    WireMessage,
)

BOM = b"\xef\xbb\xbf"
End = bool | type[FramingError]


def read(framing: Framing, chunks: Iterable[bytes]) -> tuple[list[WireMessage], End]:
    """Everything that a framing gives: the messages, and how it ended."""
    messages: list[WireMessage] = []
    try:
        for chunk in chunks:
            messages += framing.feed(chunk)
        last, clean = framing.finish()
    except FramingError:
        return messages, FramingError
    assert framing.finish() == ([], True), "nothing is given twice"
    return messages + last, clean


def cuts(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    yield [part for i in range(len(data)) for part in (data[i : i + 1], b"")]
    for i in range(len(data) + 1):
        yield [data[:i], data[i:]]


def check_all_cuts(make: Callable[[], Framing], data: bytes, messages: list[WireMessage], end: End) -> None:
    for chunks in cuts(data):
        assert read(make(), chunks) == (messages, end), chunks


def m(*data: bytes, event: str | None = None) -> list[WireMessage]:
    return [WireMessage(d, event) for d in data]


def es(payload: bytes, headers: bytes = b"") -> bytes:
    prelude = struct.pack(">II", len(payload) + len(headers) + 16, len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def header(name: bytes, kind: int, value: bytes = b"") -> bytes:
    return bytes([len(name)]) + name + bytes([kind]) + value


def text_header(name: bytes, value: bytes) -> bytes:
    return header(name, 7, struct.pack(">H", len(value)) + value)


def esm(payload: bytes, **headers: HeaderValue) -> EventStreamMessage:
    return EventStreamMessage(payload, headers=headers)


DELTA = es(b'{"a":1}', text_header(b":event-type", b"delta"))
DELTA_MESSAGE = EventStreamMessage(b'{"a":1}', "delta", headers={":event-type": "delta"})
EVERY_TYPE = b"".join(
    [
        header(b"true", 0),
        header(b"false", 1),
        header(b"byte", 2, b"\xff"),
        header(b"short", 3, struct.pack(">h", -300)),
        header(b"int", 4, struct.pack(">i", -70000)),
        header(b"long", 5, struct.pack(">q", -(1 << 40))),
        header(b"bytes", 6, b"\x00\x03\x00\xff\n"),
        text_header(b"string", "ö".encode()),
        header(b"time", 8, struct.pack(">q", 1_700_000_000_000)),
        header(b"uuid", 9, bytes(range(16))),
    ]
)
TRUE_TYPE: dict[str, HeaderValue] = {":event-type": True}
EVERY_VALUE: dict[str, HeaderValue] = {
    "true": True,
    "false": False,
    "byte": -1,
    "short": -300,
    "int": -70000,
    "long": -(1 << 40),
    "bytes": b"\x00\xff\n",
    "string": "ö",
    "time": 1_700_000_000_000,
    "uuid": uuid.UUID(bytes=bytes(range(16))),
}

U2028 = 'data: {"a":"\u2028\u2029\x85\x0b\x0c"}\n\n'.encode()

X1 = m(b"0") + m(b"1", event="x")
X12 = m(b"0") + m(b"1\n2", event="x")
CASES: list[tuple[str, Callable[[], Framing], bytes, list[WireMessage], End]] = [
    # SSE: what the standard says
    ("sse empty", SSEFraming, b"", [], True),
    ("sse one", SSEFraming, b"data: {}\n\n", m(b"{}"), True),
    ("sse several", SSEFraming, b"data: 1\n\ndata: 2\n\ndata: 3\n\n", m(b"1", b"2", b"3"), True),
    ("sse named", SSEFraming, b"event: x\ndata: 1\n\ndata: 2\n\n", m(b"1", event="x") + m(b"2"), True),
    ("sse name last", SSEFraming, b"data: 1\nevent: x\n\ndata: 2\n\n", m(b"1", event="x") + m(b"2"), True),
    ("sse last name wins", SSEFraming, b"event: x\nevent:y\ndata:1\n\n", m(b"1", event="y"), True),
    ("sse empty name", SSEFraming, b"event: \ndata: 1\n\nevent\ndata: 2\n\n", m(b"1", b"2"), True),
    ("sse broken name", SSEFraming, b"event: \xff\ndata: 1\n\n", m(b"1", event="\ufffd"), True),
    ("sse name without data", SSEFraming, b"event: x\n\ndata: 1\n\n", m(b"1"), True),
    ("sse crlf", SSEFraming, b"event: x\r\ndata:1\r\n\r\ndata:2\r\n\r\n", m(b"1", event="x") + m(b"2"), True),
    ("sse cr", SSEFraming, b"data: 1\r\rdata: 2\r\r", m(b"1", b"2"), True),
    ("sse mixed ends", SSEFraming, b"data:1\r\ndata:2\rdata:3\n\r\ndata:4\r\n\r", m(b"1\n2\n3", b"4"), True),
    ("sse lf, cr", SSEFraming, b"data: 1\n\rdata: 2\n\r", m(b"1", b"2"), True),
    ("sse bom", SSEFraming, BOM + b"data: 1\n\n", m(b"1"), True),
    ("sse bom, cr", SSEFraming, BOM + b"\r\ndata: 1\r\n\r\n", m(b"1"), True),
    ("sse only bom", SSEFraming, BOM, [], True),
    ("sse two boms", SSEFraming, BOM + BOM + b"data: 1\n\ndata: 2\n\n", m(b"2"), True),
    ("sse late bom", SSEFraming, b"data: 1\n\n" + BOM + b"data: 2\n\n", m(b"1"), True),
    ("sse half a bom", SSEFraming, b"\xef\xbb", [], False),
    ("sse comments", SSEFraming, b": hi\n\n:\ndata: 1\n: in it\ndata: 2\n\n:bye\n", m(b"1\n2"), True),
    ("sse several data", SSEFraming, b"data: 1\ndata\ndata:\ndata: 2\n\n", m(b"1\n\n\n2"), True),
    ("sse named, several data", SSEFraming, b"event: x\ndata: 1\ndata: 2\n\n", m(b"1\n2", event="x"), True),
    ("sse empty data", SSEFraming, b"data\n\ndata: \n\n", m(b"", b""), True),
    ("sse named, empty data", SSEFraming, b"event: x\ndata: \n\n", m(b"", event="x"), True),
    ("sse spaces", SSEFraming, b"data:1\n\ndata:  2 \n\ndata:\t3\n\n", m(b"1", b" 2 ", b"\t3"), True),
    ("sse colons", SSEFraming, b"data: a: b\n\ndata::\n\n", m(b"a: b", b":"), True),
    ("sse other fields", SSEFraming, b"id: 7\nretry: 1\nData: 0\n data: 0\nfoo\ndata: 1\n\n", m(b"1"), True),
    ("sse only other fields", SSEFraming, b"id: 7\n\nretry: 10\n\n", [], True),
    ("sse empty lines", SSEFraming, b"\n\n\n\ndata: 1\n\n\n\n\ndata: 2\n\n\n", m(b"1", b"2"), True),
    ("sse no line ends but LF and CR", SSEFraming, U2028, m(U2028[6:-2]), True),
    ("sse split utf-8", SSEFraming, "data: 你好🙂\n\n".encode(), m("你好🙂".encode()), True),
    ("sse nul", SSEFraming, b"data: \0\n\n", m(b"\0"), True),
    # SSE: what looks like a usual event, in a chunk of its own
    ("sse not usual: data", SSEFraming, b"data: 0\n\nevent: x\ndata: 1\ndata: 2\n\n", X12, True),
    ("sse not usual: cr", SSEFraming, b"data: 0\n\ndata: 1\rdata: 2\n\n", m(b"0", b"1\n2"), True),
    ("sse not usual: no data", SSEFraming, b"data: 0\n\nevent: x\n\n", m(b"0"), True),
    ("sse not usual: id", SSEFraming, b"data: 0\n\nevent: x\nid: 1\ndata: 1\n\n", X1, True),
    # SSE: the end
    ("sse no empty line", SSEFraming, b"data: 1\n\ndata: 2\n", m(b"1", b"2"), False),
    ("sse no line end", SSEFraming, b"data: 1\n\ndata: [DONE]", m(b"1", b"[DONE]"), False),
    ("sse named, no line end", SSEFraming, b"event: x\ndata: 2", m(b"2", event="x"), False),
    ("sse cut in data", SSEFraming, b'data: {"a":', m(b'{"a":'), False),
    ("sse cut in a field", SSEFraming, b"data: 1\n\ndat", m(b"1"), False),
    ("sse cut after a name", SSEFraming, b"data: 1\n\nevent: x\n", m(b"1"), False),
    ("sse cut in a name", SSEFraming, b"data: 1\n\nevent: x", m(b"1"), False),
    ("sse cut in a comment", SSEFraming, b"data: 1\n\n: hi", m(b"1"), False),
    ("sse cut after cr", SSEFraming, b"data: 1\r\n\r", m(b"1"), True),
    ("sse is json", SSEFraming, b'{"error": {"no": 1}}', m(b'{"error": {"no": 1}}'), False),
    ("sse has json and a name", SSEFraming, b'{"a":\n2}\nevent: error\n\n', m(b'{"a":\n2}', event="error"), True),
    ("sse has json and data", SSEFraming, b"[1,\nid: 2\ndata: 3]\n\n", m(b"[1,\nid: 2\n3]"), True),
    ("sse has json after data", SSEFraming, b"data: 1\n{\n[2\n\n", m(b"1"), True),
    ("sse has json", SSEFraming, b"data: 1\n\n{\n  : 2\n}\n\ndata: 3\n\n", m(b"1", b"{\n  : 2\n}", b"3"), True),
    ("sse has json, then more", SSEFraming, b"[1]\n\n: hi\nid: 2\ndata: 3\n\n", m(b"[1]", b"3"), True),
    ("sse has json in an event", SSEFraming, b"data: 1\n{2}\n\n", m(b"1"), True),
    # SSE: the limit
    ("sse at limit", partial(SSEFraming, 9), b"data: 123\n\ndata: 456\n\n", m(b"123", b"456"), True),
    ("sse over limit", partial(SSEFraming, 9), b"data: 1\n\ndata: 1234\n\n", m(b"1"), FramingError),
    ("sse over limit, no line end", partial(SSEFraming, 9), b"data: 1\n\n1234567890", m(b"1"), FramingError),
    ("sse over limit in lines", partial(SSEFraming, 9), b"data:1\ndata:2\n\n", [], FramingError),
    ("sse over limit with name", partial(SSEFraming, 14), b"event: x\ndata: 1\n\n", [], FramingError),
    ("sse comments not added", partial(SSEFraming, 11), b"data:1\n" + b": hi\n" * 9 + b"\n", m(b"1"), True),
    # NDJSON
    ("ndjson empty", NDJSONFraming, b"", [], True),
    ("ndjson lines", NDJSONFraming, b'{"a":1}\n{"b":2}\r\n{}\n', m(b'{"a":1}', b'{"b":2}', b"{}"), True),
    ("ndjson blank lines", NDJSONFraming, b"\n\r\n{}\n \t\n\n", m(b"{}"), True),
    ("ndjson blank end", NDJSONFraming, b"{}\n \r", m(b"{}"), True),
    ("ndjson inner cr", NDJSONFraming, b"{\r}\r\r\n", m(b"{\r}\r"), True),
    ("ndjson bom", NDJSONFraming, BOM + b"{}\n", m(b"{}"), True),
    ("ndjson half a bom", NDJSONFraming, BOM[:2], m(BOM[:2]), False),
    ("ndjson u2028", NDJSONFraming, U2028.strip() + b"\n", m(U2028.strip()), True),
    ("ndjson no end", NDJSONFraming, b"{}\n[1]", m(b"{}", b"[1]"), False),
    ("ndjson cr, no lf", NDJSONFraming, b"{}\r", m(b"{}"), False),
    ("ndjson at limit", partial(NDJSONFraming, 4), b"[12]\n[34]", m(b"[12]", b"[34]"), False),
    ("ndjson over limit", partial(NDJSONFraming, 4), b"[1]\n[123]\n[4]\n", m(b"[1]"), FramingError),
    ("ndjson over limit, no end", partial(NDJSONFraming, 4), b"[1]\n[1234", m(b"[1]"), FramingError),
    # Whole
    ("whole empty", WholeFraming, b"", [], True),
    ("whole", WholeFraming, b'{\n\n"a": 1}\r\n', m(b'{\n\n"a": 1}\r\n'), True),
    ("whole bom", WholeFraming, BOM + b"{}", m(b"{}"), True),
    ("whole half a bom", WholeFraming, BOM[:1], m(BOM[:1]), True),
    ("whole at limit", partial(WholeFraming, 4), b"[12]", m(b"[12]"), True),
    ("whole over limit", partial(WholeFraming, 4), b"[123]", [], FramingError),
    # AWS event stream
    ("es empty", EventStreamFraming, b"", [], True),
    ("es two", EventStreamFraming, DELTA + es(b""), [DELTA_MESSAGE, esm(b"")], True),
    ("es every type", EventStreamFraming, es(b"p", EVERY_TYPE), [esm(b"p", **EVERY_VALUE)], True),
    (
        "es exception",
        EventStreamFraming,
        es(b"{}", text_header(b":message-type", b"exception") + text_header(b":exception-type", b"slow")),
        [esm(b"{}", **{":message-type": "exception", ":exception-type": "slow"})],
        True,
    ),
    ("es true type", EventStreamFraming, es(b"", header(b":event-type", 0)), [esm(b"", **TRUE_TYPE)], True),
    ("es cut in prelude", EventStreamFraming, DELTA + DELTA[:11], [DELTA_MESSAGE], False),
    ("es cut", EventStreamFraming, DELTA + DELTA[:-1], [DELTA_MESSAGE], False),
    ("es not one", EventStreamFraming, b'{"message": "denied"}', [], FramingError),
    ("es unknown type", EventStreamFraming, DELTA + es(b"", header(b"x", 10)), [DELTA_MESSAGE], FramingError),
    ("es name too long", EventStreamFraming, es(b"", b"\x09ab\x00"), [], FramingError),
    ("es name not utf-8", EventStreamFraming, es(b"", header(b"\xff", 0)), [], FramingError),
    ("es no kind", EventStreamFraming, es(b"", b"\x01a"), [], FramingError),
    ("es int too short", EventStreamFraming, es(b"1234", header(b"a", 4, b"\0\0\0")), [], FramingError),
    ("es text too short", EventStreamFraming, es(b"1234", header(b"a", 7, b"\0\x04abc")), [], FramingError),
    ("es text without length", EventStreamFraming, es(b"1234", header(b"a", 7, b"\0")), [], FramingError),
    ("es text not utf-8", EventStreamFraming, es(b"", text_header(b"a", b"\xff")), [], FramingError),
    ("es uuid too short", EventStreamFraming, es(b"1234", header(b"a", 9, b"\0" * 15)), [], FramingError),
    ("es at limit", partial(EventStreamFraming, 20), es(b"1234") * 2, [esm(b"1234")] * 2, True),
    ("es over limit", partial(EventStreamFraming, 20), es(b"1") + es(b"12345"), [esm(b"1")], FramingError),
]  # fmt: skip


@pytest.mark.parametrize(("make", "data", "messages", "end"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_every_cut_gives_the_same(
    make: Callable[[], Framing], data: bytes, messages: list[WireMessage], end: End
) -> None:
    check_all_cuts(make, data, messages, end)


@pytest.mark.parametrize(
    ("framing", "data"),
    [
        (SSEFraming(1000), b"data: " + b"x" * 1000),
        (SSEFraming(1000), b"data: " + b"x" * 1000 + b"\n\n"),
        (NDJSONFraming(1000), b"x" * 1001),
        (WholeFraming(1000), b"x" * 1001),
        (EventStreamFraming(1000), es(b"x" * 1000)[:12]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_limit_error_says_what_to_do_and_stays(framing: Framing, data: bytes) -> None:
    with pytest.raises(FramingError, match=r"limit of 1000 bytes.*Raise the limit with max_event_bytes"):
        framing.feed(data)
    with pytest.raises(FramingError, match="limit of 1000 bytes"):
        framing.feed(b"data: 1\n\n")
    with pytest.raises(FramingError, match="limit of 1000 bytes"):
        framing.finish()


def test_messages_before_a_broken_one_come_first() -> None:
    framing = NDJSONFraming(4)
    assert framing.feed(b"[1]\n[12345]\n[2]\n") == m(b"[1]")
    with pytest.raises(FramingError):
        framing.finish()


def test_every_flipped_bit_of_an_eventstream_is_seen() -> None:
    data = es(b'{"a":1}', EVERY_TYPE)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert read(EventStreamFraming(), [bytes(damaged)]) == ([], FramingError), bit


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (header(b"x", 10), "unknown type 10"),
        (header(b"x", 255), "unknown type 255"),
        (header(b"a", 7, b"\0\x04abc"), "a value ends 1 bytes after them"),
        (header(b"a", 9, b"\0" * 14), "a value ends 2 bytes after them"),
    ],
)
def test_headers_that_cannot_be_read_are_told_why(headers: bytes, says: str) -> None:
    with pytest.raises(FramingError, match=rf"its headers cannot be read \({says}\)"):
        EventStreamFraming().feed(es(b"", headers))


@pytest.mark.parametrize(
    ("total", "headers", "says"),
    [
        (0, 0, "cannot hold"),
        (15, 0, "cannot hold"),
        (100, 85, "cannot hold"),
        (100, 0xFFFFFFFF, "cannot hold"),
        (0xFFFFFFFF, 0, "over the limit"),
    ],
)
def test_eventstream_lengths_are_judged_before_any_wait(total: int, headers: int, says: str) -> None:
    prelude = struct.pack(">II", total, headers)
    with pytest.raises(FramingError, match=says):
        EventStreamFraming().feed(prelude + struct.pack(">I", zlib.crc32(prelude)))


def test_large_event_in_small_chunks() -> None:
    text = b"0123456789abcdef" * (1 << 19)
    for make, data in [(SSEFraming, b"data: " + text + b"\n\n"), (NDJSONFraming, text + b"\n")]:
        assert read(make(), [data[i : i + 1024] for i in range(0, len(data), 1024)]) == (m(text), True)
    data = es(text)
    chunks = [data[i : i + 1024] for i in range(0, len(data), 1024)]
    assert read(EventStreamFraming(), chunks) == ([esm(text)], True)


# Properties

NAMES = st.none() | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)
DATA = st.text(st.characters(exclude_characters="\r", exclude_categories=["Cs"])).map(str.encode)
EVENTS = st.lists(st.builds(WireMessage, DATA, NAMES), max_size=6)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NOISE = st.sampled_from([b"", b"", b": ping", b":", b"id: 3", b"retry: 5", b"unknown: data: 1", b"odd"])


@st.composite
def serialised(draw: st.DrawFn, noise: st.SearchStrategy[bytes]) -> tuple[list[WireMessage], bytes]:
    """Events, and one of the many ways to write them."""
    events = draw(EVENTS)
    end = draw(ENDS)
    out = bytearray(draw(st.sampled_from([b"", BOM])))
    for event in events:
        space = draw(st.sampled_from([b" ", b""]))
        # A space that is the value's own needs the optional one before it.
        lines = [
            b"data: " + line if line[:1] == b" " else b"data:" + space + line
            for line in event.data.split(b"\n")
        ]
        if event.event is not None:
            lines.insert(draw(st.integers(0, len(lines))), b"event: " + event.event.encode())
        for line in lines:
            extra = draw(noise)
            out += (extra + end if extra else b"") + line + end
        out += end * draw(st.integers(1, 3))
        end = draw(ENDS) if not out.endswith(b"\r") else end  # a CR before an LF would be one end, not two
    return events, bytes(out)


def chunked(data: bytes, at: Iterable[int]) -> list[bytes]:
    points = [0, *sorted(p % (len(data) + 1) for p in at), len(data)]
    return [data[a:b] for a, b in pairwise(points)]


POINTS = st.lists(st.integers(0, 1 << 16), max_size=12)


@settings(deadline=None)
@given(serialised(NOISE), POINTS)
def test_sse_gives_back_what_was_written(written: tuple[list[WireMessage], bytes], at: list[int]) -> None:
    events, data = written
    assert read(SSEFraming(), chunked(data, at)) == (events, True)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"data", b"event", b":", b" ", b"x", b"\n", b"\n\n", b"\r", b"\r\n", b"data: 1\n\n", BOM]
        )
    ),
    POINTS,
)
def test_sse_gives_the_same_for_any_bytes_however_cut(pieces: list[bytes], at: list[int]) -> None:
    data = b"".join(pieces)
    expected = read(SSEFraming(), [data[i : i + 1] for i in range(len(data))])
    assert read(SSEFraming(), chunked(data, at)) == expected


@settings(deadline=None)
@given(serialised(NOISE.filter(lambda line: not line.startswith((b"id", b"retry")))), POINTS)
def test_sse_agrees_with_openai(written: tuple[list[WireMessage], bytes], at: list[int]) -> None:
    # Theirs gives an event for a lone id or retry, and leaves the byte order mark where it is.
    data = written[1].removeprefix(BOM)
    theirs = [WireMessage(e.data.encode(), e.event) for e in SSEDecoder().iter_bytes(iter(chunked(data, at)))]
    assert read(SSEFraming(), chunked(data, at)) == (theirs, True)


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and not b.isspace() and b[-1:] != b"\r")),
    ENDS,
    POINTS,
)
def test_ndjson_gives_back_what_was_written(lines: list[bytes], end: bytes, at: list[int]) -> None:
    end = end.replace(b"\r", b"") + b"\n" if end == b"\r" else end
    data = BOM + b"".join(line + end for line in lines)
    assert read(NDJSONFraming(), chunked(data, at)) == (m(*lines), True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(), st.text(max_size=20))), POINTS)
def test_eventstream_gives_back_what_was_written(written: list[tuple[bytes, str]], at: list[int]) -> None:
    data = b"".join(es(payload, text_header(b":event-type", name.encode())) for payload, name in written)
    expected = [EventStreamMessage(payload, name, headers={":event-type": name}) for payload, name in written]
    assert read(EventStreamFraming(), chunked(data, at)) == (expected, True)
