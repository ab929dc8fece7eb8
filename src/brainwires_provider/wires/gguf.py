"""Looking at a GGUF file before the engine does, because the engine's one load error says nothing.

Only the head of the file is read, once and at most `WINDOW` bytes: the fixed header is always judged,
and the metadata is walked until the architecture and its context length are known or the window ends,
whichever is first. What lies behind the window (most of a tokenizer, all tensors) is the engine's to judge.

The layout follows https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import stat
import struct

from msgspec import Struct

from brainwires_provider.errors import ConfigError

__all__ = ["WINDOW", "GGUFHeader", "parse_header", "read_header"]

WINDOW = 1 << 20  # bytes: writers put architecture and lengths before the tokenizer's long lists

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_FIXED = struct.Struct("<4sIQQ")
_MAX_TENSORS = 1 << 20
_MAX_PAIRS = 1 << 16

_SCALARS: dict[int, struct.Struct] = {
    code: struct.Struct("<" + letter)
    for code, letter in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_STRING, _ARRAY = 8, 9

_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive or PyTorch checkpoint; convert it to GGUF first"),
    (b"\x80\x02", "a Python pickle; convert it to GGUF first"),
    (b"lmgg", "a GGML file from before GGUF; convert it to GGUF first"),
    (b"tjgg", "a GGML file from before GGUF; convert it to GGUF first"),
    (b"fmgg", "a GGML file from before GGUF; convert it to GGUF first"),
    (b"<", "a web page or XML file; the download went wrong"),
    (b"{", "a JSON file"),
)


class GGUFHeader(Struct, frozen=True):
    """What the head of a model file tells.

    `context_length` is what the model was trained for, in tokens; it and `architecture` are None when
    they do not stand within the first `WINDOW` bytes.
    """

    version: int
    tensors: int
    pairs: int
    architecture: str | None = None
    context_length: int | None = None


def read_header(path: str) -> GGUFHeader:
    """The header of the GGUF file at `path`.

    Raises ConfigError, saying what is wrong: no such file, a directory, not readable, or whatever
    `parse_header` finds.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(f"{path!r} is a directory; give the path of the GGUF file in it")
        if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
            raise ConfigError(f"{path!r} is not a regular file; give the path of a GGUF file")
        with open(path, "rb") as file:
            head = file.read(WINDOW)
    except FileNotFoundError:
        raise ConfigError(f"there is no model file at {path!r}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the model file {path!r} cannot be read: {reason}") from None
    return parse_header(head, max(status.st_size, len(head)), path)


def parse_header(head: bytes, size: int, path: str = "the model") -> GGUFHeader:
    """The header held by `head`, the first bytes of a file of `size` bytes; `path` is for messages.

    Raises ConfigError for an empty file, another format (naming the magic seen), a version that
    llama.cpp does not load, counts that cannot be, and a file that ends within its header.
    """
    _check_magic(head, path)
    if len(head) < _FIXED.size:
        raise _truncated(path, size)
    _, version, tensors, pairs = _FIXED.unpack_from(head)
    _check_version(version, path)
    if tensors > _MAX_TENSORS or pairs > _MAX_PAIRS:
        raise ConfigError(
            f"{path!r} is damaged: its header claims {tensors} tensors and {pairs} metadata entries; "
            "download it again"
        )
    architecture, context, wanted = _walk(head, pairs, path)
    if wanted > size:
        raise _truncated(path, size)
    return GGUFHeader(version, tensors, pairs, architecture, context)


def _check_magic(head: bytes, path: str) -> None:
    if not head:
        raise ConfigError(f"{path!r} is empty; download the model again")
    if head.startswith(_MAGIC) or _MAGIC.startswith(head):
        return
    looks = next((f": it looks like {what}" for start, what in _LOOKALIKES if head.startswith(start)), "")
    raise ConfigError(f"{path!r} is not a GGUF file (it begins with {head[:4]!r}, not {_MAGIC!r}){looks}")


def _check_version(version: int, path: str) -> None:
    if version in _VERSIONS:
        return
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped in _VERSIONS:
        raise ConfigError(f"{path!r} is a big-endian GGUF file; get the little-endian one")
    known = " and ".join(map(str, _VERSIONS))
    raise ConfigError(f"{path!r} is GGUF version {version}; llama.cpp loads versions {known}")


def _truncated(path: str, size: int) -> ConfigError:
    return ConfigError(f"{path!r} is cut short: it ends within its header ({size} bytes); download it again")


class _ShortError(Exception):
    """The bytes in hand end before the value does; `end` is the offset where it would."""

    def __init__(self, end: int) -> None:
        super().__init__(end)
        self.end = end


def _walk(head: bytes, pairs: int, path: str) -> tuple[str | None, int | None, int]:
    """Architecture, context length, and the offset that the walk needed but `head` does not reach (or 0)."""
    cursor = _Cursor(head, _FIXED.size, path)
    architecture: str | None = None
    lengths: dict[str, int] = {}  # they may stand before the architecture that says which one counts
    try:
        for _ in range(pairs):
            key = cursor.string()
            value = cursor.value(cursor.u32())
            if key == "general.architecture" and isinstance(value, str):
                architecture = value
            elif key.endswith(".context_length") and type(value) is int:
                lengths[key] = value
            if architecture is not None and (context := lengths.get(f"{architecture}.context_length", 0)) > 0:
                return architecture, context, 0
    except _ShortError as short:
        return architecture, None, short.end
    return architecture, None, 0


class _Cursor:
    """A place in the bytes, moved on by each value taken: work is bounded, since each step takes some."""

    def __init__(self, data: bytes, at: int, path: str) -> None:
        self._data = data
        self._at = at
        self._path = path

    def _skip(self, count: int) -> int:
        start, end = self._at, self._at + count
        if end > len(self._data):
            raise _ShortError(end)
        self._at = end
        return start

    def u32(self) -> int:
        return int.from_bytes(self._data[(start := self._skip(4)) : start + 4], "little")

    def u64(self) -> int:
        return int.from_bytes(self._data[(start := self._skip(8)) : start + 8], "little")

    def string(self) -> str:
        length = self.u64()
        start = self._skip(length)
        return self._data[start : start + length].decode("utf-8", "replace")

    def value(self, kind: int) -> object:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            self._skip_array()
            return None
        scalar = _SCALARS.get(kind)
        if scalar is None:
            raise ConfigError(
                f"{self._path!r} is damaged: metadata of unknown type {kind}; download it again"
            )
        value: object = scalar.unpack_from(self._data, self._skip(scalar.size))[0]
        return value

    def _skip_array(self) -> None:
        kind, count = self.u32(), self.u64()
        if kind in _SCALARS:
            self._skip(_SCALARS[kind].size * count)
        elif kind == _STRING:
            for _ in range(count):
                self._skip(self.u64())
        else:  # llama.cpp loads no nested arrays either
            raise ConfigError(
                f"{self._path!r} is damaged: a metadata list of unknown type {kind}; download it again"
            )
