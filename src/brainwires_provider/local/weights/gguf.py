"""What a GGUF file tells of its model, read from the file itself and judged before the engine sees it.

The file is walked once (`gguf_reader`): metadata that we have a use for is kept, within a limit, and every other
value is passed over. llama.cpp's one load error says nothing; the errors here say what is wrong and what to do.

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
]

PerLayer: TypeAlias = int | tuple[int, ...]
"""One number for all layers, or one for each."""

_MAX_NUMBER: Final = (1 << 31) - 1  # llama.cpp counts in 32 bits
_MAX_KEPT: Final = 1 << 22  # bytes of names and text: the longest chat templates have some 100 KB

# By number: the enumeration `llama_ftype` of llama.h, under the names that llama-quantize takes.
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
    """What the head of a model file tells. `context_length` is what the model was trained for, in tokens."""

    version: int
    tensors: int
    pairs: int
    architecture: str | None = None
    context_length: int | None = None


class GGUFMetadata(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What a model file tells of its model; None: it does not.

    `size` is the file's, in bytes, `tensor_bytes` that of the weights in it, `parameters` the number of numbers in
    its `tensors`. A model in several files (`shards`) has them all counted in its first one (`shard` 0), and only
    itself in any other. `context_length` is what it was trained for, in tokens; `vocabulary` its number of tokens.
    Where the file leaves out `kv_heads`, `key_length` or `value_length`, they are what llama.cpp takes them for: all
    heads, and a head's share of `embedding_length`. `sliding_window` is how many tokens a sliding layer looks back,
    `sliding_window_pattern` which layers slide: of each so many all but the last, or for each layer whether it does;
    `full_attention_interval` says the same of layers that keep no cache. `quantization` is llama.cpp's name for the
    file's type, or without one the tensor type that most parameters have. `kind` is "model", "adapter", "mmproj", …
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
        """Whether a chat template of the file names the variable `tools` in its code. None without a template."""
        if not self.has_chat_template:
            return None
        return any(map(_takes_tools, filter(None, (self.chat_template, *self.named_templates.values()))))

    @property
    def is_embedding_model(self) -> bool:
        """Whether the file says how its vectors are pooled into one. Some embedding models do not say so."""
        return self.pooling in ("mean", "cls", "last")


def read_metadata(path: str) -> GGUFMetadata:
    """All that the GGUF file at `path` tells; of a model in several files, given its first, the sizes of all.

    Takes some 20 ms for each 100,000 texts of a tokenizer. Raises ConfigError, saying what is wrong and what to do:
    no such file, a directory, not readable, a part that is missing, or whatever `parse_metadata` finds.
    """
    with _opened(path) as (file, size):
        metadata = parse_metadata(file, size, path)
    return metadata if metadata.shards == 1 or metadata.shard else _with_other_parts(metadata, path)


def read_header(path: str) -> GGUFHeader:
    """The header of the GGUF file at `path`, as far as its architecture and context: quick, and blind to the rest.

    Raises ConfigError as `read_metadata` does, for what it comes to see.
    """
    with _opened(path) as (file, size):
        return parse_header(file, size, path)


def parse_header(file: BinaryIO, size: int, path: str = "the model") -> GGUFHeader:
    """What `read_header` says of a file, of one of `size` bytes that is read from `file`, which can seek."""
    cursor = Cursor(file, size, path)
    version, tensors, pairs = read_fixed(cursor)
    told = _Told(path)
    context: int | None = None
    for _ in range(pairs):
        told.take_pair(cursor)
        architecture = told.text(_ARCHITECTURE)
        if architecture is not None and (context := told.number(f"{architecture}.context_length")):
            break
    return GGUFHeader(version, tensors, pairs, told.text(_ARCHITECTURE), context or None)


def parse_metadata(file: BinaryIO, size: int, path: str = "the model") -> GGUFMetadata:
    """What one GGUF file of `size` bytes tells, read from `file`, which can seek; `path` is for messages.

    Raises ConfigError for an empty file, another format (naming the magic seen), a version that llama.cpp does not
    load, counts, lengths and dimensions that cannot be, and a file that ends before its last tensor (naming how many
    bytes are missing). A tensor type that we do not know is no error.
    """
    cursor = Cursor(file, size, path)
    version, tensors, pairs = read_fixed(cursor)
    told = _Told(path)
    for _ in range(pairs):
        told.take_pair(cursor)
    weights = read_tensors(cursor, tensors, told.alignment())
    return _metadata(told, version, size, tensors, weights)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int]]:
    """The file at `path` and its size. Whatever the system says while it is read is a ConfigError."""
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
    )  # opening a FIFO would wait


def _unreadable(path: str, error: Exception) -> ConfigError:
    reason = getattr(error, "strerror", None) or str(error)
    return ConfigError(f"the model file {path!r} cannot be read: {reason}")


# -- from the file's numbers to the model's ------------------------------------------------------------------


def _metadata(told: _Told, version: int, size: int, tensors: int, weights: Weights) -> GGUFMetadata:
    architecture = told.text(_ARCHITECTURE)
    of = "" if architecture is None else f"{architecture}."
    layers = told.number(of + "block_count", MAX_LAYERS)
    embedding = told.number(of + "embedding_length")
    heads = told.per_layer(of + "attention.head_count")
    each = (heads if isinstance(heads, int) else max(heads)) if heads else 0
    share = embedding // each if embedding and each else None
    kv_heads = told.per_layer(of + "attention.head_count_kv")
    key_length = told.number(of + "attention.key_length")
    value_length = told.number(of + "attention.value_length")
    file_type = told.number("general.file_type")
    pooling = told.number(of + "pooling_type")
    shards = told.number("split.count") or 1
    return GGUFMetadata(
        version=version,
        size=size,
        tensors=tensors,
        parameters=weights.parameters,
        tensor_bytes=weights.size,
        architecture=architecture,
        kind=told.text("general.type"),
        name=told.text("general.name"),
        license=told.text("general.license"),
        base_models=told.base_models(),
        context_length=told.number(of + "context_length") or None,
        block_count=layers,
        embedding_length=embedding,
        feed_forward_length=told.per_layer(of + "feed_forward_length"),
        heads=heads,
        kv_heads=heads if kv_heads is None else kv_heads,
        key_length=share if key_length is None else key_length,
        value_length=share if value_length is None else value_length,
        sliding_window=told.number(of + "attention.sliding_window") or None,
        sliding_window_pattern=told.per_layer(of + "attention.sliding_window_pattern"),
        full_attention_interval=told.number(of + "full_attention_interval") or None,
        causal=told.flag(of + "attention.causal"),
        vocabulary=told.length("tokenizer.ggml.tokens") or told.number(of + "vocab_size"),
        quantization=_FILE_TYPES.get(-1 if file_type is None else file_type, weights.main_type),
        pooling=None if pooling is None else _POOLING.get(pooling),
        chat_template=told.text(_TEMPLATE) or None,
        named_templates=told.named_templates(),
        shards=shards,
        shard=told.number("split.no") or 0,
    )


def _takes_tools(template: str) -> bool:
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
    """The first part of a model, with the others' weights added to its own."""
    paths = tuple(parts_of(path))
    if len(paths) != first.shards:
        raise ConfigError(
            f"{path!r} is the first of {first.shards} parts, and its name does not end so; llama.cpp finds the others "
            f"by it: call it NAME-00001-of-{first.shards:05}.gguf again"
        )
    whole = first
    for number, part_path in enumerate(paths[1:], 1):
        with _opened(part_path) as (file, size):
            part = parse_metadata(file, size, part_path)
        if (part.shard, part.shards) != (number, first.shards):
            raise ConfigError(
                f"{part_path!r} says that it is part {part.shard + 1} of {part.shards}, not part {number + 1} of "
                f"{first.shards} as its name does; download the model again"
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


class _Told:
    """The metadata that we have a use for, by its key. A value of another type than it should have is as none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._values: dict[str, object] = {}
        self._kept = 0

    def take_pair(self, cursor: Cursor) -> None:
        """Read the next key and value. Raises ConfigError for a key that stands there twice."""
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
            raise damaged(self._path, f"its metadata holds more than {_MAX_KEPT} bytes of names and text")

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
            raise damaged(self._path, f"its general.alignment is {value}, which is no power of two")
        return value

    def named_templates(self) -> dict[str, str]:
        keys = [key for key in self._values if key.startswith(_NAMED_TEMPLATE)]
        return {
            key.removeprefix(_NAMED_TEMPLATE): text for key in keys if (text := self.text(key)) is not None
        }

    def base_models(self) -> tuple[str, ...]:
        """The name of each model that this one was made from, or where it has none its address."""
        numbers = {int(match[1]) for key in self._values if (match := _BASE_MODEL.fullmatch(key))}
        of = "general.base_model."
        found = (self.text(f"{of}{n}.name") or self.text(f"{of}{n}.repo_url") for n in sorted(numbers))
        return tuple(filter(None, found))
