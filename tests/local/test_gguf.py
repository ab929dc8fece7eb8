"""Reading a model file that is wrong: every way in which it can be is named, in bounded memory and time."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.gguf import (
    GGUFHeader,
    GGUFMetadata,
    parse_header,
    parse_metadata,
    read_header,
    read_metadata,
)
from gguf_files import (
    F32,
    I32,
    STRING,
    U8,
    U32,
    U64,
    Tensor,
    Watched,
    gguf,
    list_pair,
    model,
    pair,
    string,
    tensor_info,
)

MIB, TIB = 1 << 20, 1 << 40
ARCHITECTURE = pair("general.architecture", STRING, "llama")
CONTEXT = pair("llama.context_length", U32, 2048)
OTHER_CONTEXT = pair("clip.context_length", U32, 77)
WORDS = list_pair("tokenizer.ggml.tokens", STRING, ["a", "b"])
SCORES = list_pair("scores", F32, [1, 2, 3])
TEMPLATE = pair("tokenizer.chat_template", STRING, "{{ messages }}")
WHOLE = model([OTHER_CONTEXT, WORDS, SCORES, TEMPLATE, CONTEXT, ARCHITECTURE], [Tensor("a", [32, 3], "Q8_0")])


def with_tensor(shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return gguf(ARCHITECTURE, tensors=1) + tensor_info("t", shape, kind, offset)


def claimed(key: str, kind: int, length: int) -> bytes:
    """A metadata entry that claims a length and holds nothing."""
    return gguf(string(key) + struct.pack("<IQ", kind, length))


# What the head shows: both readers refuse it.
BAD_HEADS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"hello world, this is no model", r"not a GGUF file \(it begins with b'hell'"),
    "page": (b"<!doctype html><html></html>", "looks like a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(100), "convert it to GGUF"),
    "cut magic": (WHOLE[:3], "incomplete: it has 3 bytes, and at least 21 are missing"),
    "cut header": (WHOLE[:20], "incomplete: it has 20 bytes, and at least 4 are missing"),
    "cut metadata": (gguf(ARCHITECTURE, WORDS)[:-1], "and at least 1 are missing"),
    "version 1": (gguf(version=1), "GGUF version 1; llama.cpp loads versions 2 and 3"),
    "version 99": (gguf(version=99), "GGUF version 99"),
    "big-endian": (gguf(version=3 << 24), "big-endian"),
    "tensors": (gguf(tensors=2**63), "declares 9223372036854775808 tensors"),
    "pairs": (gguf(count=2**64 - 1), "18446744073709551615 metadata entries"),
    "key length": (
        gguf(struct.pack("<Q", 2**64 - 1)),
        "damaged: it declares a key of 18446744073709551615 bytes",
    ),
    "text length": (claimed("k", STRING, 2**64 - 1), "damaged: it declares a length of 1844674407370955"),
    "kept text length": (claimed("general.name", STRING, 2**40), "at least 1099511627776 are missing"),
    "list length": (gguf(list_pair("k", F32, [], 2**64 - 1)), "damaged: it declares a length of"),
    "type": (gguf(string("k") + struct.pack("<I", 77)), "unknown type 77"),
    "list type": (gguf(string("k") + struct.pack("<IIQ", 9, 9, 1)), "list of unknown type 9"),
    "twice": (gguf(ARCHITECTURE, ARCHITECTURE), "has 'general.architecture' twice"),
    "context": (
        gguf(ARCHITECTURE, pair("llama.context_length", U64, 2**62)),
        "context_length is 46116860184",
    ),
    "negative": (gguf(ARCHITECTURE, pair("llama.context_length", I32, -1)), "its llama.context_length is -1"),
}
# What stands behind the head: only the whole reader comes to see it.
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "layers": (gguf(ARCHITECTURE, pair("llama.block_count", U32, 5000)), "llama.block_count is 5000"),
    "heads": (
        gguf(ARCHITECTURE, list_pair("llama.attention.head_count_kv", I32, [1, -2])),
        "llama.attention.head_count_kv is -2",
    ),
    "alignment": (gguf(pair("general.alignment", U32, 48)), "alignment is 48, which is not a power of two"),
    "no alignment": (gguf(pair("general.alignment", U32, 0)), "alignment is 0"),
    "cut tensors": (with_tensor([1])[:-9], "and at least 1 are missing"),
    "cut weights": (
        WHOLE[:-7],
        f"incomplete: it has {len(WHOLE) - 7} bytes, and 7 are missing; download it again",
    ),
    "dimensions": (with_tensor([1] * 5), "a tensor with 5 dimensions"),
    "all dimensions": (with_tensor([2**63, 2**63, 2**63]), "a tensor of 9223372036854775808 x 9223"),
    "side": (with_tensor([2**63, 0]), "x 0 numbers"),
    "rows": (with_tensor([33], kind=8), "rows of 33 numbers as Q8_0, which has blocks of 32"),
    "far tensor": (with_tensor([1], offset=2**63), "damaged: it declares a length of 9223372036"),
    "far tensor of an unknown type": (
        with_tensor([1], kind=999, offset=1000),
        "incomplete: it has 102 bytes, and 1026 are missing",
    ),
    "name": (gguf(tensors=1) + struct.pack("<Q", 1 << 16), "a key of 65536 bytes"),
}


@pytest.mark.parametrize("read", [read_header, read_metadata])
@pytest.mark.parametrize("case", BAD_HEADS)
def test_a_bad_head_is_named_before_the_engine_sees_it(
    case: str, read: Callable[[str], object], tmp_path: Path
) -> None:
    data, words = BAD_HEADS[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words) as caught:
        read(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named(case: str, tmp_path: Path) -> None:
    data, words = BAD_FILES[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words) as caught:
        read_metadata(str(path))
    assert str(path) in str(caught.value)


def test_a_bad_path_is_named(tmp_path: Path) -> None:
    cases = {
        str(tmp_path): "is a directory",
        str(tmp_path / "none.gguf"): "no model file at",
        "a\0b": "cannot be read",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.gguf")
        cases[str(tmp_path / "pipe.gguf")] = "not a regular file"
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (tmp_path / "secret.gguf").touch(mode=0)
        cases[str(tmp_path / "secret.gguf")] = "cannot be read: Permission denied"
    for path, words in cases.items():
        for read in (read_header, read_metadata):
            with pytest.raises(ConfigError, match=words):
                read(path)


def test_a_file_that_shrinks_while_it_is_read_is_named() -> None:
    with pytest.raises(ConfigError, match="became shorter while it was read"):
        parse_metadata(io.BytesIO(WHOLE[:40]), len(WHOLE))


def test_a_good_header_tells_the_trained_context(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    assert read_header(str(path)) == GGUFHeader(3, 1, 6, "llama", 2048)
    assert read_metadata(str(path)).context_length == 2048
    bare = gguf(ARCHITECTURE, version=2)
    assert parse_header(Watched(bare), len(bare)) == GGUFHeader(2, 0, 1, "llama", None)
    nothing = gguf()
    assert parse_header(Watched(nothing), len(nothing)) == GGUFHeader(3, 0, 0)


def test_a_header_is_read_no_further_than_it_must() -> None:
    file = Watched(gguf(ARCHITECTURE, CONTEXT, count=9), TIB)
    assert parse_header(file, TIB).context_length == 2048
    assert file.bytes_read <= 2 * 65536


# Each file is a TiB long, or says so: what it costs to find out is bounded.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "kept text": (claimed("tokenizer.chat_template", STRING, 1 << 33), "a string of 8589934592 bytes"),
    "kept list": (claimed("llama.attention.head_count", STRING, 1 << 33), "a string of 8589934592 bytes"),
    "words": (gguf(list_pair("x", STRING, [], 1 << 33)), "lists of 8589934592 strings"),
    "long way": (gguf(list_pair("x", U8, [], 1 << 34), count=2), "metadata is longer than 1073741824 bytes"),
    "long word": (gguf(list_pair("x", STRING, [], 9) + struct.pack("<Q", 1 << 35)), "is longer than"),
    "many templates": (
        gguf(*[pair(f"tokenizer.chat_template.{n}", STRING, "x" * MIB) for n in range(5)]),
        "a string of 1048576 bytes",
    ),
    "many names": (
        gguf(*[pair("x" * 60_000 + f"{n}.context_length", U32, 1) for n in range(80)]),
        "more than 4194304 bytes of keys and strings",
    ),
    "tensors": (gguf(tensors=1 << 12), ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_costs_little(case: str) -> None:
    data, words = HOSTILE[case]
    file = Watched(data, TIB)
    tracemalloc.start()
    try:
        if words:
            with pytest.raises(ConfigError, match=words):
                parse_metadata(file, TIB)
        else:
            parse_metadata(file, TIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MIB
    assert file.bytes_read < 8 * MIB
    assert file.longest_read <= 4 * MIB


def outcome(data: bytes, size: int | None = None) -> GGUFMetadata | None:
    """What the file tells, or None for a typed error. Whatever it is, no more than the file was read."""
    file = Watched(data, size)
    with contextlib.suppress(ConfigError):
        parse_header(file, file.size)
    file.bytes_read = 0
    metadata = None
    with contextlib.suppress(ConfigError):
        metadata = parse_metadata(file, file.size)
    assert file.bytes_read <= min(len(data) + 8 * MIB, 2 * file.size)
    return metadata


def test_a_file_cut_at_any_byte_is_a_typed_error() -> None:
    assert outcome(WHOLE) is not None
    for end in range(len(WHOLE)):
        assert outcome(WHOLE[:end]) is None, end


def test_a_file_with_any_byte_changed_is_a_value_or_a_typed_error() -> None:
    """Its weights are not looked at; its beginning is, and a changed number or name may still be one."""
    whole = outcome(WHOLE)
    weights = len(WHOLE) - 3 * 34  # three blocks of Q8_0
    read, refused = 0, 0
    for at in range(len(WHOLE)):
        for byte in {0, 1, 0x7F, 0x80, 0xFF, WHOLE[at] ^ 1} - {WHOLE[at]}:
            found = outcome(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
            if at >= weights:
                assert found == whole, (at, byte)
            elif at < 4:
                assert found is None, (at, byte)
            elif found is None:
                refused += 1
            else:
                assert type(found) is type(whole)
                read += found != whole
    assert read > 50 and refused > 50


@given(st.binary(max_size=400), st.integers(0, TIB))
def test_any_bytes_are_a_typed_error(noise: bytes, more: int) -> None:
    """They hold fewer entries than they claim, or are no model at all; zeros behind them may be entries."""
    for start in (gguf(ARCHITECTURE, WORDS, count=1000), gguf(ARCHITECTURE, tensors=1000), b""):
        data = start + noise
        assert outcome(data) is None
        found = outcome(data, len(data) + more)
        assert found is None or (start and found.architecture == "llama" and found.size == len(data) + more)
