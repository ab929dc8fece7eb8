"""A small writer of GGUF files: what a test says, byte for byte, right or wrong."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, LIST, U64, I64, F64 = range(13)
_LETTERS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    U64: "Q",
    I64: "q",
    F64: "d",
}
SIZES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q8_0": (8, 32, 34), "Q4_K": (12, 256, 144)}
"""By name: the type's number, its block, and a block's bytes."""


class Tensor(NamedTuple):
    name: str
    shape: Sequence[int]
    kind: str = "F32"

    @property
    def parameters(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def size(self) -> int:
        _, block, size = SIZES[self.kind]
        return self.parameters // block * size


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind: int, it: Any) -> bytes:
    return string(it) if kind == STRING else struct.pack("<" + _LETTERS[kind], it)


def pair(key: str, kind: int, it: Any) -> bytes:
    return string(key) + struct.pack("<I", kind) + value(kind, it)


def list_pair(key: str, kind: int, items: Sequence[Any], count: int | None = None) -> bytes:
    head = struct.pack("<IIQ", LIST, kind, len(items) if count is None else count)
    return string(key) + head + b"".join(value(kind, it) for it in items)


def tensor_info(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(*pairs: bytes, version: int = 3, tensors: int = 0, count: int | None = None) -> bytes:
    """A header and its metadata, with as many of each as it has or claims."""
    fixed = struct.pack("<4sIQQ", b"GGUF", version, tensors, len(pairs) if count is None else count)
    return fixed + b"".join(pairs)


def model(pairs: Sequence[bytes], tensors: Sequence[Tensor], alignment: int = 32) -> bytes:
    """A whole file, its weights zero."""
    infos, at = b"", 0
    for tensor in tensors:
        at += -at % alignment
        infos += tensor_info(tensor.name, tensor.shape, SIZES[tensor.kind][0], at)
        at += tensor.size
    head = gguf(*pairs, tensors=len(tensors)) + infos
    return head + (bytes(-len(head) % alignment + at) if tensors else b"")


class Watched(io.BytesIO):
    """A file that goes on with zeros up to any size, and counts what is read of it."""

    def __init__(self, head: bytes, size: int | None = None) -> None:
        super().__init__(head)
        self.size = len(head) if size is None else size
        self.bytes_read = 0
        self.longest_read = 0

    def read(self, count: int | None = -1, /) -> bytes:
        assert count is not None
        assert count >= 0
        at = self.tell()
        count = max(0, min(count, self.size - at))
        data = super().read(count).ljust(count, b"\0")
        self.seek(at + count)
        self.bytes_read += count
        self.longest_read = max(self.longest_read, count)
        return data
