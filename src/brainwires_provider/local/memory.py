"""How much memory a model takes on this machine before it is loaded, and how long a context the engine gives it.

The sizes are those that llama.cpp's allocator reports for the same numbers, worked out from the file's metadata and
the settings alone. Nothing is measured here, and no file is read.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from brainwires_provider.local.settings import CacheType, LocalModel
from brainwires_provider.local.weights.gguf import GGUFMetadata, PerLayer
from brainwires_provider.local.weights.gguf_reader import TENSOR_TYPES

__all__ = ["DEFAULT_CONTEXT", "MemoryEstimate", "engine_batch", "engine_context", "estimate_memory"]

DEFAULT_CONTEXT: Final = 8192  # tokens: the cache of a long-trained model would not fit a small machine

_CELLS: Final = 256  # llama.cpp rounds the tokens of a cache up to a multiple of this
_PROCESS: Final = 36 << 20  # bytes: the interpreter, llama.cpp and its server, measured without a model
_PROCESS_PER_TOKEN: Final = (
    512  # bytes for each of the vocabulary's: some 540 measured with merges, 205 without
)
_BLOCKS: Final = {kind.name.lower(): kind for kind in TENSOR_TYPES.values()}
# Where files do not say which layers slide, src/llama-model.cpp has it by architecture: of so many, all but the last.
_SLIDING: Final = {"gemma2": 2, "gemma3": 6, "cohere2": 4, "gpt-oss": 2}


class MemoryEstimate(Struct, frozen=True, gc=False):
    """Bytes: the weights, the cache of keys and values, what computing takes, and the engine's process itself."""

    weights: int
    cache: int
    compute: int
    process: int

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return self.weights + self.cache + self.compute + self.process


def engine_context(settings: LocalModel, trained: int | None) -> int:
    """How many tokens the engine is asked to hold, for all slots together.

    The context of the settings; without one what the model was `trained` for, for each slot, up to DEFAULT_CONTEXT.
    """
    return settings.context or min((trained or DEFAULT_CONTEXT) * settings.slots, DEFAULT_CONTEXT)


def engine_batch(settings: LocalModel, trained: int | None) -> int:
    """How many tokens the engine computes at once: of a text that becomes a vector all, or llama.cpp refuses it."""
    if settings.pooling is None:
        return settings.batch
    context = engine_context(settings, trained)
    return max(settings.batch, min(context, trained or context))


def estimate_memory(metadata: GGUFMetadata, settings: LocalModel | None = None) -> MemoryEstimate:
    """The memory that the model of `metadata` takes when it is loaded with `settings` (default: LocalModel's own).

    - weights: the bytes of all tensors.
    - cache: for each layer, context x kv heads x (key length x bytes of the key type + value length x bytes of the
      value type), the context rounded up to 256 tokens. A sliding layer holds at most its window for each slot and
      one batch. A model that is not causal keeps none.
    - compute: for each token of a batch, 2 bytes for each token of the context, and the widest step of a layer in
      4-byte numbers; for each slot one vector over the vocabulary, twice.
    - process: 36 MiB, and 512 bytes for each token of the vocabulary.

    What the file does not tell counts as nothing. It is an upper bound for models whose layers share or compress
    their cache (MLA), and leaves out the state of recurrent layers, images, and the cache of idle conversations, which
    grows up to 1 GiB with use. GPU layers take the same, from another memory.

    Measured with xllamacpp's engine on two cores, without a GPU: weights and cache are the figures of llama.cpp's own
    log, to its two places, with f16 as with quantised caches and with sliding layers. Compute is within 1 % of its
    figure where the feed-forward step is the widest, 14 % too high where it is not, 40 % too low with an f32 cache.
    The total against the resident memory of the engine's process after four requests at once, SmolLM2-135M (Q4_1),
    4 slots, batches of 128: 247 for 245 MiB with a context of 4,096; 339 for 336 with 8,192; 885 for 876 with 32,768;
    and up to 19 % too high for a tokenizer without merges. CPUs that repack Q4_0 and its like may show those weights
    twice, once in pages of the file that the system can drop.
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
    """How many tokens a sliding layer keeps."""
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
    """Of the steps that share one buffer the widest counts; then the masks of the attention, and the output."""
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
