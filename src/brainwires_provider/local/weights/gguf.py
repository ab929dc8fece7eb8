"""Reads the metadata of a GGUF file, and reports an invalid file before the engine is started.

The file is read once (`gguf_reader`). The metadata used here is kept, within a limit, and all other values are
skipped. llama.cpp has a single load error without a reason; the errors here say what is wrong and what to do.

The keys follow https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO, Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.errors import ConfigError
from brainwires_provider.local.weights.gguf_reader import (
    MAX_LAYERS,
    Cursor,
    List,
    Weights,
    damaged,
    read_fixed,
    read_tensors,
)
from brainwires_provider.local.weights.scan import parts_of

__all__ = [
    "GGUFHeader",
    "GGUFMetadata",
    "PerLayer",
    "parse_header",
    "parse_metadata",
    "read_header",
    "read_metadata",
    "takes_tools",
]

PerLayer: TypeAlias = int | tuple[int, ...]
"""One value for all layers, or one per layer."""

_MAX_NUMBER: Final = (1 << 31) - 1  # llama.cpp counts in 32 bits
_MAX_KEPT: Final = 1 << 22  # bytes of keys and strings: the longest chat templates have about 100 KB

# The enumeration `llama_ftype` of llama.h, with the names that llama-quantize accepts.
_FILE_TYPES: Final[dict[int, str]] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    33: "Q4_0_4_4", 34: "Q4_0_4_8", 35: "Q4_0_8_8", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
_POOLING: Final = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}

_ARCHITECTURE: Final = "general.architecture"
_TEMPLATE: Final = "tokenizer.chat_template"
_NAMED_TEMPLATE: Final = "tokenizer.chat_template."
_BASE_MODEL: Final = re.compile(r"general\.base_model\.(\d{1,3})\.(?:name|repo_url)")
_WANTED: Final = {
    _ARCHITECTURE, "general.type", "general.name", "general.license", "general.file_type", "general.alignment",
    "split.no", "split.count", "tokenizer.ggml.tokens", _TEMPLATE,
}  # fmt: skip
_WANTED_OF_ARCHITECTURE: Final = {
    "context_length", "block_count", "embedding_length", "feed_forward_length", "vocab_size", "pooling_type",
    "full_attention_interval", "attention.head_count", "attention.head_count_kv", "attention.key_length",
    "attention.value_length", "attention.sliding_window", "attention.sliding_window_pattern", "attention.causal",
}  # fmt: skip

_JINJA: Final = re.compile(r"\{[%{]|[%}]\}")
_JINJA_TEXT: Final = re.compile(r"""'[^']*'|"[^"]*\"""")
_JINJA_TOOLS: Final = re.compile(r"(?<!\.)\btools\b")


class GGUFHeader(Struct, frozen=True):
    """The first facts of a model file. `context_length` is the context that the model was trained for, in tokens."""

    version: int
    tensors: int
    pairs: int
    architecture: str | None = None
    context_length: int | None = None


class GGUFMetadata(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """The metadata of a model file; None if the file does not have a value.

    - `size`: bytes of the file; `tensor_bytes`: bytes of its weights; `parameters`: number of weights in its
    `tensors`. For a model in several files (`shards`), those of the first (`shard` 0) are the sums over all.
    - `context_length`: the context that the model was trained for, in tokens; `vocabulary`: number of tokens.
    - `kv_heads`, `key_length`, `value_length`: llama.cpp's defaults if the file has none, which are all heads and
      `embedding_length` divided by the heads.
    - `sliding_window`: the number of previous tokens that a layer with a sliding window uses.
      `sliding_window_pattern`: the layers that have one: N for all but each Nth, or one value per layer.
      `full_attention_interval`: only each Nth layer keeps a cache.
    - `quantization`: llama.cpp's name for the file's type, or else the tensor type of most parameters.
    - `kind`: "model", "adapter", "mmproj", …
    """

    version: int
    size: int
    tensors: int
    parameters: int
    tensor_bytes: int
    architecture: str | None = None
    kind: str | None = None
    name: str | None = None
    license: str | None = None
    base_models: tuple[str, ...] = ()
    context_length: int | None = None
    block_count: int | None = None
    embedding_length: int | None = None
    feed_forward_length: PerLayer | None = None
    heads: PerLayer | None = None
    kv_heads: PerLayer | None = None
    key_length: int | None = None
    value_length: int | None = None
    sliding_window: int | None = None
    sliding_window_pattern: PerLayer | None = None
    full_attention_interval: int | None = None
    causal: bool | None = None
    vocabulary: int | None = None
    quantization: str | None = None
    pooling: str | None = None
    chat_template: str | None = None
    named_templates: dict[str, str] = {}
    shards: int = 1
    shard: int = 0

    @property
    def has_chat_template(self) -> bool:
        """Whether the file holds a chat template, named or not."""
        return self.chat_template is not None or bool(self.named_templates)

    @property
    def template_takes_tools(self) -> bool | None:
        """Whether a chat template of the file uses the variable `tools`. None if there is no template."""
        if not self.has_chat_template:
            return None
        return any(map(takes_tools, filter(None, (self.chat_template, *self.named_templates.values()))))

    @property
    def is_embedding_model(self) -> bool:
        """Whether the file declares how vectors are pooled into one. Some embedding models do not."""
        return self.pooling in ("mean", "cls", "last")


def read_metadata(path: str) -> GGUFMetadata:
    """The metadata of the GGUF file at `path`, which for a model in several files is the first.

    Takes about 20 ms per 100,000 tokens of the vocabulary. Raises ConfigError, saying what is wrong and what to do: no
    such file, a directory, not readable, a missing part, and the errors of `parse_metadata`.
    """
    with _opened(path) as (file, size):
        metadata = parse_metadata(file, size, path)
    return metadata if metadata.shards == 1 or metadata.shard else _with_other_parts(metadata, path)


def read_header(path: str) -> GGUFHeader:
    """The header of the GGUF file at `path`, read only up to its architecture and context, which is fast.

    Raises ConfigError as `read_metadata` does, for errors in the part that is read.
    """
    with _opened(path) as (file, size):
        return parse_header(file, size, path)


def parse_header(file: BinaryIO, size: int, path: str = "the model") -> GGUFHeader:
    """As `read_header`, for an open, seekable `file` of `size` bytes."""
    cursor = Cursor(file, size, path)
    version, tensors, pairs = read_fixed(cursor)
    values = _KeyValues(path)
    context: int | None = None
    for _ in range(pairs):
        values.read_pair(cursor)
        architecture = values.text(_ARCHITECTURE)
        if architecture is not None and (context := values.number(f"{architecture}.context_length")):
            break
    return GGUFHeader(version, tensors, pairs, values.text(_ARCHITECTURE), context or None)


def parse_metadata(file: BinaryIO, size: int, path: str = "the model") -> GGUFMetadata:
    """The metadata of one GGUF file of `size` bytes: an open, seekable `file`. `path` is used in messages.

    Raises ConfigError for an empty file, another format (with the magic bytes found), a version that llama.cpp does
    not load, impossible counts, lengths and dimensions, and a file that ends before its last tensor (with the number
    of missing bytes). An unknown tensor type is not an error.
    """
    cursor = Cursor(file, size, path)
    version, tensors, pairs = read_fixed(cursor)
    values = _KeyValues(path)
    for _ in range(pairs):
        values.read_pair(cursor)
    weights = read_tensors(cursor, tensors, values.alignment())
    return _metadata(values, version, size, tensors, weights)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """The file at `path` and its size. Errors of the operating system become ConfigError."""
    try:
        with _open(path) as file:
            yield file, os.fstat(file.fileno()).st_size
    except OSError as error:
        raise _unreadable(path, error) from None


def _open(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return open(path, "rb")
    except FileNotFoundError:
        raise ConfigError(f"there is no model file at {path!r}; check the path") from None
    except ValueError as error:  # a NUL in the path
        raise _unreadable(path, error) from None
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{path!r} is a directory; give the path of the GGUF file in it")
    raise ConfigError(
        f"{path!r} is not a regular file; give the path of a GGUF file"
    )  # opening a FIFO would block


def _unreadable(path: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(f"the model file {path!r} cannot be read: {reason}")


# -- from keys to fields ------------------------------------------------------------------


def _metadata(values: _KeyValues, version: int, size: int, tensors: int, weights: Weights) -> GGUFMetadata:
    architecture = values.text(_ARCHITECTURE)
    of = "" if architecture is None else f"{architecture}."
    layers = values.number(of + "block_count", MAX_LAYERS)
    embedding = values.number(of + "embedding_length")
    heads = values.per_layer(of + "attention.head_count")
    each = (heads if isinstance(heads, int) else max(heads)) if heads else 0
    share = embedding // each if embedding and each else None
    kv_heads = values.per_layer(of + "attention.head_count_kv")
    key_length = values.number(of + "attention.key_length")
    value_length = values.number(of + "attention.value_length")
    file_type = values.number("general.file_type")
    pooling = values.number(of + "pooling_type")
    shards = values.number("split.count") or 1
    return GGUFMetadata(
        version=version,
        size=size,
        tensors=tensors,
        parameters=weights.parameters,
        tensor_bytes=weights.size,
        architecture=architecture,
        kind=values.text("general.type"),
        name=values.text("general.name"),
        license=values.text("general.license"),
        base_models=values.base_models(),
        context_length=values.number(of + "context_length") or None,
        block_count=layers,
        embedding_length=embedding,
        feed_forward_length=values.per_layer(of + "feed_forward_length"),
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        key_length=share if key_length is None else key_length,
        value_length=share if value_length is None else value_length,
        sliding_window=values.number(of + "attention.sliding_window") or None,
        sliding_window_pattern=values.per_layer(of + "attention.sliding_window_pattern"),
        full_attention_interval=values.number(of + "full_attention_interval") or None,
        causal=values.flag(of + "attention.causal"),
        vocabulary=values.length("tokenizer.ggml.tokens") or values.number(of + "vocab_size"),
        quantization=_FILE_TYPES.get(-1 if file_type is None else file_type, weights.main_type),
        pooling=None if pooling is None else _POOLING.get(pooling),
        chat_template=values.text(_TEMPLATE) or None,
        named_templates=values.named_templates(),
        shards=shards,
        shard=values.number("split.no") or 0,
    )


def takes_tools(template: str) -> bool:
    """Whether a chat template uses the variable `tools`."""
    start: int | None = None
    for mark in _JINJA.finditer(template):
        if mark[0][0] == "{":
            start = mark.end() if start is None else start
        elif start is not None:
            if _JINJA_TOOLS.search(_JINJA_TEXT.sub("", template[start : mark.start()])):
                return True
            start = None
    return False


def _with_other_parts(first: GGUFMetadata, path: str) -> GGUFMetadata:
    """The metadata of the first part, with the sums over all parts."""
    paths = tuple(parts_of(path))
    if len(paths) != first.shards:
        raise ConfigError(
            f"{path!r} is the first of {first.shards} parts, but is not named as one; llama.cpp finds the others "
            f"by the name: rename it to NAME-00001-of-{first.shards:05}.gguf"
        )
    whole = first
    for number, part_path in enumerate(paths[1:], 1):
        with _opened(part_path) as (file, size):
            part = parse_metadata(file, size, part_path)
        if (part.shard, part.shards) != (number, first.shards):
            raise ConfigError(
                f"{part_path!r} is part {part.shard + 1} of {part.shards}, but named as part {number + 1} of "
                f"{first.shards}; download the model again"
            )
        whole = replace(
            whole,
            size=whole.size + part.size,
            tensors=whole.tensors + part.tensors,
            parameters=whole.parameters + part.parameters,
            tensor_bytes=whole.tensor_bytes + part.tensor_bytes,
            quantization=whole.quantization or part.quantization,
        )
    return whole


class _KeyValues:
    """The metadata that is used here, by key. A value of an unexpected type counts as missing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._values: dict[str, object] = {}
        self._kept = 0

    def read_pair(self, cursor: Cursor) -> None:
        """Read the next key and value. Raises ConfigError for a key that occurs twice."""
        key = cursor.take(cursor.key_length()).decode("utf-8", "replace")
        kind = cursor.u32()
        if not self._wants(key):
            cursor.skip_value(kind)
            return
        if key in self._values:
            raise damaged(self._path, f"its metadata has {key!r} twice")
        start = cursor.position
        value = cursor.value(kind, _MAX_KEPT - self._kept)
        self._values[key] = value
        self._kept += len(key) + (cursor.position - start if isinstance(value, str) else 0)
        if self._kept > _MAX_KEPT:
            raise damaged(self._path, f"its metadata holds more than {_MAX_KEPT} bytes of keys and strings")

    def _wants(self, key: str) -> bool:
        return (
            key in _WANTED
            or key.partition(".")[2] in _WANTED_OF_ARCHITECTURE
            or key.startswith(_NAMED_TEMPLATE)
            or _BASE_MODEL.fullmatch(key) is not None
        )

    def text(self, key: str) -> str | None:
        value = self._values.get(key)
        return value if isinstance(value, str) else None

    def flag(self, key: str) -> bool | None:
        value = self._values.get(key)
        return value if isinstance(value, bool) else None

    def length(self, key: str) -> int | None:
        value = self._values.get(key)
        return value.length if isinstance(value, List) else None

    def number(self, key: str, limit: int = _MAX_NUMBER) -> int | None:
        value = self._values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return self._checked(key, value, limit)

    def per_layer(self, key: str) -> PerLayer | None:
        value = self._values.get(key)
        if not isinstance(value, List):
            return self.number(key)
        if value.values is None:
            return None
        return tuple(self._checked(key, each, _MAX_NUMBER) for each in value.values) or None

    def _checked(self, key: str, value: int, limit: int) -> int:
        if not 0 <= value <= limit:
            raise damaged(self._path, f"its {key} is {value}")
        return value

    def alignment(self) -> int:
        value = self.number("general.alignment")
        if value is None:
            return 32
        if value.bit_count() != 1:
            raise damaged(self._path, f"its general.alignment is {value}, which is not a power of two")
        return value

    def named_templates(self) -> dict[str, str]:
        keys = [key for key in self._values if key.startswith(_NAMED_TEMPLATE)]
        return {
            key.removeprefix(_NAMED_TEMPLATE): text for key in keys if (text := self.text(key)) is not None
        }

    def base_models(self) -> tuple[str, ...]:
        """The name, or else the URL, of each model that this one was derived from."""
        numbers = {int(match[1]) for key in self._values if (match := _BASE_MODEL.fullmatch(key))}
        of = "general.base_model."
        found = (self.text(f"{of}{n}.name") or self.text(f"{of}{n}.repo_url") for n in sorted(numbers))
        return tuple(filter(None, found))
