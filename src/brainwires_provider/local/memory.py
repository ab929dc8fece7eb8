"""Estimates the memory of a model before it is loaded, and computes the context and batch that the engine uses.

The sizes are computed from the file's metadata and the settings, in the way of llama.cpp's allocator. Nothing is
measured here, and no file is read.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.local.settings import CacheType, LocalModel
from brainwires_provider.local.weights.gguf import GGUFMetadata, PerLayer
from brainwires_provider.local.weights.gguf_reader import TENSOR_TYPES

__all__ = ["DEFAULT_CONTEXT", "MemoryEstimate", "engine_batch", "engine_context", "estimate_memory"]

DEFAULT_CONTEXT: Final = (
    8192  # tokens: the cache for a model's full context would not fit into a small machine
)

_CELLS: Final = 256  # llama.cpp rounds the size of a cache up to a multiple of this, in tokens
_PROCESS: Final = 36 << 20  # bytes: the interpreter, llama.cpp and its server, measured without a model
_PROCESS_PER_TOKEN: Final = 512  # bytes per token of the vocabulary: measured 540 with merges, 205 without
_BLOCKS: Final = {kind.name.lower(): kind for kind in TENSOR_TYPES.values()}
# Layers with a sliding window if the file does not say: all but each Nth, from llama.cpp's src/llama-model.cpp.
_SLIDING: Final = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2}


class MemoryEstimate(Struct, frozen=True, gc=False):
    """Bytes of the weights, the cache of keys and values, the compute buffers, and the engine's process itself."""

    weights: int
    cache: int
    compute: int
    process: int

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return self.weights + self.cache + self.compute + self.process


def engine_context(settings: LocalModel, trained: int | None) -> int:
    """The context of the engine in tokens, for all slots together.

    It is the context of the settings, or else the `trained` context for each slot, up to DEFAULT_CONTEXT in total.
    """
    return settings.context or min((trained or DEFAULT_CONTEXT) * settings.slots, DEFAULT_CONTEXT)


def engine_batch(settings: LocalModel, trained: int | None) -> int:
    """The batch of the engine in tokens. For embeddings it must hold a whole text, or llama.cpp refuses the text."""
    if settings.pooling is None:
        return settings.batch
    context = engine_context(settings, trained)
    return max(settings.batch, min(context, trained or context))


def estimate_memory(metadata: GGUFMetadata, settings: LocalModel | None = None) -> MemoryEstimate:
    """The memory of the model of `metadata` when it is loaded with `settings` (default: `LocalModel()`).

    - weights: the bytes of all tensors.
    - cache: for each layer, context x kv heads x (key length x bytes of the key type + value length x bytes of the
      value type), with the context rounded up to 256 tokens. A layer with a sliding window holds at most one window
      per slot and one batch. Models that are not causal have no cache.
    - compute: for each token of a batch, 2 bytes per token of the context, and the widest step of a layer in 4-byte
      numbers; for each slot two vectors over the vocabulary.
    - process: 36 MiB, and 512 bytes per token of the vocabulary.

    Values missing in the file count as 0. The estimate is an upper bound for models whose layers share or compress
    their cache (MLA). It does not include the state of recurrent layers, images, and the cache of idle conversations,
    which grows up to 1 GiB with use. Layers on a GPU take the same amount of the GPU's memory.

    Measured with xllamacpp on two cores without a GPU: weights and cache equal the figures of llama.cpp's log, to its
    two decimal places, with f16 and quantised caches and with sliding windows. Compute is within 1 % of its figure if
    the feed-forward step is the widest, 14 % too high if it is not, 40 % too low with an f32 cache. The total compared
    with the resident memory of the engine's process after four concurrent requests, SmolLM2-135M (Q4_1), 4 slots,
    batches of 128: 247 for 245 MiB with a context of 4,096; 339 for 336 with 8,192; 885 for 876 with 32,768; and up to
    19 % too high for a tokenizer without merges. On CPUs for which llama.cpp repacks Q4_0 and similar types, those
    weights may count twice, once in pages of the file that the system can discard.
    """
    settings = settings or LocalModel()
    context = _rounded(engine_context(settings, metadata.context_length))
    settings = replace(settings, batch=engine_batch(settings, metadata.context_length))
    return MemoryEstimate(
        weights=metadata.tensor_bytes,
        cache=_cache(metadata, settings, context),
        compute=_compute(metadata, settings, context),
        process=_PROCESS + _PROCESS_PER_TOKEN * (metadata.vocabulary or 0),
    )


def _rounded(tokens: int) -> int:
    return -(-tokens // _CELLS) * _CELLS


def _bytes_of(kind: CacheType | None, numbers: int) -> int:
    block = _BLOCKS[kind or "f16"]
    return -(-numbers // block.block) * block.size


def _cache(metadata: GGUFMetadata, settings: LocalModel, context: int) -> int:
    if metadata.causal is False:
        return 0
    key, value = metadata.key_length or 0, metadata.value_length or 0
    window = _window(metadata, settings, context)
    interval = metadata.full_attention_interval or 1
    total = 0
    for layer in range(metadata.block_count or 0):
        if (layer + 1) % interval:
            continue
        heads = _at(metadata.kv_heads, layer)
        tokens = window if _slides(metadata, layer) else context
        keys = _bytes_of(settings.cache_type_k, heads * key)
        values = _bytes_of(settings.cache_type_v, heads * value)
        total += tokens * (keys + values)
    return total


def _window(metadata: GGUFMetadata, settings: LocalModel, context: int) -> int:
    """The number of tokens in the cache of a layer with a sliding window."""
    if not metadata.sliding_window:
        return context
    return min(context, _rounded(metadata.sliding_window * settings.slots + settings.batch))


def _slides(metadata: GGUFMetadata, layer: int) -> bool:
    pattern = metadata.sliding_window_pattern
    if pattern is None:
        pattern = _SLIDING.get(metadata.architecture or "", 1)
    if isinstance(pattern, int):
        return pattern > 0 and (layer + 1) % pattern != 0
    return bool(_at(pattern, layer))


def _at(numbers: PerLayer | None, layer: int) -> int:
    if isinstance(numbers, tuple):
        return numbers[layer] if layer < len(numbers) else 0
    return numbers or 0


def _compute(metadata: GGUFMetadata, settings: LocalModel, context: int) -> int:
    """The widest of the steps that share one buffer, the masks of the attention, and the output."""
    width = metadata.embedding_length or 0
    queries = _most(metadata.heads) * (metadata.key_length or 0)
    keys = _most(metadata.kv_heads) * (metadata.key_length or 0)
    output = 4 * settings.slots * (metadata.vocabulary or 0)
    widest = max(
        4 * settings.batch * (3 * _most(metadata.feed_forward_length) + 5 * width),
        4 * settings.batch * (2 * queries + 2 * keys + 3 * width),
        4 * settings.batch * 5 * width + output,
    )
    masked = context
    if any(_slides(metadata, layer) for layer in range(metadata.block_count or 0)):
        masked += _window(metadata, settings, context)
    return widest + 2 * settings.batch * masked + output


def _most(numbers: PerLayer | None) -> int:
    return max(numbers) if isinstance(numbers, tuple) else numbers or 0
