"""The head of a model file: what it tells, and every way in which it can be wrong, named."""

import contextlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainwires_provider.errors import ConfigError
from brainwires_provider.wires.gguf import WINDOW, GGUFHeader, parse_header, read_header


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(*pairs: bytes, version: int = 3, tensors: int = 1, count: int | None = None) -> bytes:
    return struct.pack(
        "<4sIQQ", b"GGUF", version, tensors, len(pairs) if count is None else count
    ) + b"".join(pairs)


ARCHITECTURE = string("general.architecture") + struct.pack("<I", 8) + string("llama")
CONTEXT = string("llama.context_length") + struct.pack("<II", 4, 2048)
OTHER_CONTEXT = string("clip.context_length") + struct.pack("<II", 4, 77)
WORDS = string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b")
SCORES = string("scores") + struct.pack("<IIQ3f", 9, 6, 3, 1, 2, 3)
HUGE_LIST = string("tokens") + struct.pack("<IIQ", 9, 6, WINDOW)
WHOLE = gguf(OTHER_CONTEXT, WORDS, SCORES, CONTEXT, ARCHITECTURE)

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"hello world, this is no model", r"not a GGUF file \(it begins with b'hell'"),
    "page": (b"<!doctype html><html></html>", "looks like a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "zip": (b"PK\x03\x04" + bytes(100), "convert it to GGUF"),
    "cut magic": (WHOLE[:3], "cut short"),
    "cut header": (WHOLE[:20], "cut short"),
    "cut metadata": (WHOLE[:-3], "cut short"),
    "version 1": (gguf(version=1), "GGUF version 1; llama.cpp loads versions 2 and 3"),
    "version 99": (gguf(version=99), "GGUF version 99"),
    "big-endian": (gguf(version=3 << 24), "big-endian"),
    "tensors": (gguf(tensors=2**63), "claims 9223372036854775808 tensors"),
    "pairs": (gguf(count=2**64 - 1), "18446744073709551615 metadata entries"),
    "key length": (gguf(struct.pack("<Q", 2**64 - 1)), "cut short"),
    "list length": (gguf(string("k") + struct.pack("<IIQ", 9, 6, 2**64 - 1)), "cut short"),
    "type": (gguf(string("k") + struct.pack("<I", 77)), "unknown type 77"),
    "list type": (gguf(string("k") + struct.pack("<IIQ", 9, 9, 1)), "list of unknown type 9"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_before_the_engine_sees_it(case: str, tmp_path: Path) -> None:
    data, words = BAD_FILES[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=words) as caught:
        read_header(str(path))
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
    for path, words in cases.items():
        with pytest.raises(ConfigError, match=words):
            read_header(path)


def test_a_good_header_tells_the_trained_context(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WHOLE)
    assert read_header(str(path)) == GGUFHeader(3, 1, 5, "llama", 2048)
    assert parse_header(gguf(ARCHITECTURE, version=2), 99).context_length is None
    behind_the_window = gguf(ARCHITECTURE, HUGE_LIST, CONTEXT)
    assert parse_header(behind_the_window, 1 << 30) == GGUFHeader(3, 1, 3, "llama", None)


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 1 << 40))
def test_any_bytes_are_a_header_or_a_typed_error(noise: bytes, after_a_good_start: bool, size: int) -> None:
    data = gguf(ARCHITECTURE, WORDS, count=1000) + noise if after_a_good_start else noise
    with contextlib.suppress(ConfigError):
        assert parse_header(data, max(size, len(data))).version in (2, 3)


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_any_changed_byte_is_a_header_or_a_typed_error(at: int, value: int) -> None:
    data = WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :]
    with contextlib.suppress(ConfigError):
        assert parse_header(data, len(data)).version in (2, 3)
