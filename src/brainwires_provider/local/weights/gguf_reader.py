"""Reads the structure of a GGUF file: its header, its metadata and its list of tensors, but not the weights.

The file is read forward only, through a buffer. Each length is compared with the rest of the file before it is used,
long lists are only counted, and counts, dimensions and the number of bytes read have limits, so that a malicious file
takes little memory and time. Every error in a file is a ConfigError that says what it is.

The layout follows https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final, NamedTuple

from brainwires_provider.errors import ConfigError

__all__ = [
    "MAX_LAYERS",
    "TENSOR_TYPES",
    "Cursor",
    "List",
    "TensorType",
    "Weights",
    "damaged",
    "read_fixed",
    "read_tensors",
]

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_FIXED: Final = struct.Struct("<4sIQQ")
_U64: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 16  # bytes read at a time

_MAX_TENSORS: Final = 1 << 16
_MAX_PAIRS: Final = 1 << 16
_MAX_KEY: Final = (1 << 16) - 1  # bytes, by the specification
_MAX_DIMENSIONS: Final = 4
MAX_LAYERS: Final = 1 << 12
_MAX_STRINGS: Final = 1 << 22  # strings in lists: the largest vocabularies have a million
_MAX_METADATA: Final = 1 << 30  # bytes before the weights: the largest have about 30 MB
_MAX_SIZE: Final = 1 << 50  # bytes: a file that declares more is damaged, not incomplete

_SCALARS: Final[dict[int, struct.Struct]] = {
    code: struct.Struct("<" + letter)
    for code, letter in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class TensorType(NamedTuple):
    """How weights are stored: `size` bytes for each block of `block` weights."""

    name: str
    block: int
    size: int


TENSOR_TYPES: Final[dict[int, TensorType]] = {
    code: TensorType(name, block, size)
    for code, name, block, size in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (30, "BF16", 1, 2), (28, "F64", 1, 8),
        (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8),
        (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22), (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34), (41, "Q1_0", 128, 18), (42, "Q2_0", 64, 18),
        (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (19, "IQ1_S", 256, 50), (29, "IQ1_M", 256, 56), (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74),
        (22, "IQ2_S", 256, 82), (18, "IQ3_XXS", 256, 98), (21, "IQ3_S", 256, 110), (20, "IQ4_NL", 32, 18),
        (23, "IQ4_XS", 256, 136), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36),
    )
}  # fmt: skip
"""The enumeration `ggml_type` of ggml.h."""

_LOOKALIKES: Final = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive or PyTorch checkpoint; convert it to GGUF first"),
    (b"\x80\x02", "a Python pickle; convert it to GGUF first"),
    (b"lmgg", "a GGML file, the predecessor of GGUF; convert it to GGUF first"),
    (b"tjgg", "a GGML file, the predecessor of GGUF; convert it to GGUF first"),
    (b"fmgg", "a GGML file, the predecessor of GGUF; convert it to GGUF first"),
    (b"<", "a web page or XML file; the download failed"),
    (b"{", "a JSON file"),
)


class List(NamedTuple):
    """A list in the metadata. `values` is None for long lists and for lists of other types than integers."""

    length: int
    values: tuple[int, ...] | None


class Cursor:
    """A position in the file that each read advances, never beyond the end of the file and never back."""

    def __init__(self, file: BinaryIO, size: int, path: str) -> None:
        self.path = path
        self.size = size
        self._file = file
        self._buffer = b""
        self._start = 0  # the buffer's position in the file
        self._at = 0  # the cursor's position in the buffer, which after a skip may be beyond its end
        self._strings = 0

    @property
    def position(self) -> int:
        """The offset in the file, in bytes."""
        return self._start + self._at

    def check_end(self, end: int, least: str = "at least ") -> None:
        """Raise ConfigError if the file ends before `end`; after `end`, more may be needed."""
        missing = end - self.size
        if missing > _MAX_SIZE:
            raise damaged(self.path, f"it declares a length of {end} bytes and has {self.size}")
        if missing > 0:
            raise ConfigError(
                f"{self.path!r} is incomplete: it has {self.size} bytes, and {least}{missing} are missing; "
                "download it again"
            )

    def skip(self, count: int) -> None:
        """Go on by `count` bytes. Raises ConfigError if the file ends before."""
        self.check_end(self.position + count)
        self._at += count

    def look(self) -> bytes:
        """The first bytes of the file."""
        self._fill(0)
        return self._buffer

    def take(self, count: int) -> bytes:
        """The next `count` bytes, a number that the caller has limited."""
        if self._at + count > len(self._buffer):
            self._fill(count)
        start, self._at = self._at, self._at + count
        return self._buffer[start : self._at]

    def _fill(self, count: int) -> None:
        position = self.position
        self.check_end(position + count)
        if position > _MAX_METADATA:
            raise damaged(self.path, f"its metadata is longer than {_MAX_METADATA} bytes")
        self._file.seek(position)
        self._buffer = self._file.read(min(max(count, _CHUNK), self.size - position))
        self._start, self._at = position, 0
        if len(self._buffer) < count:
            raise ConfigError(f"{self.path!r} became shorter while it was read; try again")

    def u32(self) -> int:
        """Read an unsigned integer of 32 bits."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """Read an unsigned integer of 64 bits."""
        return int.from_bytes(self.take(8), "little")

    def key_length(self) -> int:
        """Read the length of a key, which is limited. Raises ConfigError if it is longer."""
        length = self.u64()
        if length > _MAX_KEY:
            raise damaged(self.path, f"it declares a key of {length} bytes")
        return length

    def value(self, kind: int, limit: int) -> object:
        """The next value: a string of at most `limit` bytes, a number, or a list."""
        if kind == _STRING:
            length = self.u64()
            self.check_end(self.position + length)
            if length > limit:
                raise damaged(self.path, f"its metadata contains a string of {length} bytes")
            return self.take(length).decode("utf-8", "replace")
        if kind == _ARRAY:
            return self._list()
        scalar = self._scalar(kind)
        value: object = scalar.unpack(self.take(scalar.size))[0]
        return value

    def skip_value(self, kind: int) -> None:
        """Go past one value of that type."""
        if kind == _STRING:
            self.skip(self.u64())
        elif kind == _ARRAY:
            self._skip_items(self.u32(), self.u64())
        else:
            self.skip(self._scalar(kind).size)

    def _scalar(self, kind: int) -> struct.Struct:
        if kind not in _SCALARS:
            raise damaged(self.path, f"metadata of unknown type {kind}")
        return _SCALARS[kind]

    def _list(self) -> List:
        kind, count = self.u32(), self.u64()
        if count > MAX_LAYERS or kind in (_STRING, 6, 12) or kind not in _SCALARS:
            self._skip_items(kind, count)
            return List(count, None)
        scalar = _SCALARS[kind]
        data = self.take(scalar.size * count)
        return List(count, tuple(int(value) for (value,) in scalar.iter_unpack(data)))

    def _skip_items(self, kind: int, count: int) -> None:
        if kind in _SCALARS:
            self.skip(_SCALARS[kind].size * count)
        elif kind == _STRING:
            self._skip_strings(count)
        else:  # llama.cpp does not load nested lists either
            raise damaged(self.path, f"a metadata list of unknown type {kind}")

    def _skip_strings(self, count: int) -> None:
        self.check_end(self.position + _U64.size * count)
        self._strings += count
        if self._strings > _MAX_STRINGS:
            raise damaged(self.path, f"its metadata has lists of {self._strings} strings")
        # Nearly all of the time that a file takes is spent in this loop.
        buffer, at, unpack = self._buffer, self._at, _U64.unpack_from
        last = len(buffer) - _U64.size
        for _ in range(count):
            if at > last:
                self._at = at
                self._fill(_U64.size)
                buffer, at = self._buffer, 0
                last = len(buffer) - _U64.size
            at += _U64.size + unpack(buffer, at)[0]
        self._at = at
        self.check_end(self.position)


def read_fixed(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors and number of metadata entries, all of them checked."""
    path = cursor.path
    _check_magic(cursor.look(), path)
    _, version, tensors, pairs = _FIXED.unpack(cursor.take(_FIXED.size))
    _check_version(version, path)
    if tensors > _MAX_TENSORS or pairs > _MAX_PAIRS:
        raise damaged(path, f"its header declares {tensors} tensors and {pairs} metadata entries")
    return version, tensors, pairs


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


def damaged(path: str, how: str) -> ConfigError:
    """The error for a file whose content contradicts itself."""
    return ConfigError(f"{path!r} is damaged: {how}; download it again")


class Weights(NamedTuple):
    """The sums over the tensors of one file; `main_type` is the type of most parameters."""

    parameters: int
    size: int
    main_type: str | None


def read_tensors(cursor: Cursor, count: int, alignment: int) -> Weights:
    """Read the list of tensors, and check that the file is long enough for them."""
    parameters: dict[int, int] = {}
    total = furthest = 0
    for _ in range(count):
        kind, numbers, size, offset = _tensor(cursor)
        parameters[kind] = parameters.get(kind, 0) + numbers
        total += size
        furthest = max(furthest, offset + size)
    if not count:
        return Weights(0, 0, None)
    start = -(-cursor.position // alignment) * alignment
    cursor.check_end(start + max(furthest, total), least="")
    main = max(parameters, key=parameters.__getitem__)
    known = parameters.keys() <= TENSOR_TYPES.keys()
    return Weights(
        sum(parameters.values()),
        total if known else cursor.size - start,
        TENSOR_TYPES[main].name if main in TENSOR_TYPES else None,
    )


def _tensor(cursor: Cursor) -> tuple[int, int, int, int]:
    """The type, number of parameters, bytes (0 for an unknown type) and offset of a tensor."""
    cursor.skip(cursor.key_length())
    count = cursor.u32()
    if count > _MAX_DIMENSIONS:
        raise damaged(cursor.path, f"it declares a tensor with {count} dimensions")
    shape = [cursor.u64() for _ in range(count)]
    kind, offset = cursor.u32(), cursor.u64()
    numbers = 1
    for side in shape:
        numbers *= side
    row = shape[0] if shape else 1
    if numbers > _MAX_SIZE or max(shape, default=0) > _MAX_SIZE:
        raise damaged(cursor.path, f"it declares a tensor of {' x '.join(map(str, shape))} numbers")
    if kind not in TENSOR_TYPES:
        return kind, numbers, 0, offset
    name, block, size = TENSOR_TYPES[kind]
    if row % block:
        raise damaged(
            cursor.path, f"it declares rows of {row} numbers as {name}, which has blocks of {block}"
        )
    return kind, numbers, numbers // block * size, offset
