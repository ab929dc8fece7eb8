"""How a model is run on this machine: a value, which the engine takes and the registry keeps."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

from brainwires_provider.errors import ConfigError

__all__ = ["CacheType", "LocalModel", "Pooling"]

CacheType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Pooling: TypeAlias = Literal["mean", "cls", "last", "none"]


class LocalModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """What to load, and how. `path` is a GGUF file; "" is the one that the model's name means.

    `context` is in tokens, shared by the requests that run at once: one may take it all, and when together they need
    more, llama.cpp fails them (None: what the model was trained for, for each slot, up to 8,192 in all). `slots` is
    how many requests run at once; more wait their turn. `batch` is how many prompt tokens are computed between two
    looks for a cancelled request, `gpu_layers` how many layers go to a GPU (None: as many as fit). `mmap` maps
    the weights' file where the device allows it, `mlock` keeps them from being swapped out as far as the system lets
    us. `cache_type_k` and `cache_type_v` are how keys and values are kept (None: f16), `chat_template` is a Jinja
    template in place of the file's own. With `pooling` the engine gives embeddings too; a text is then computed in one
    batch, up to the context that the model was trained for, whatever `batch` says. After `idle_timeout` seconds
    without a request the engine ends, and gives its memory back; the next request loads it again (None: it stays).
    `load_timeout` is in seconds.

    Raises ConfigError for a number that cannot be, and for a word that llama.cpp does not know.
    """

    path: str = ""
    context: int | None = None
    threads: int | None = None
    slots: int = 4
    batch: int = 128
    gpu_layers: int | None = None
    mmap: bool = True
    mlock: bool = False
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    chat_template: str | None = None
    pooling: Pooling | None = None
    idle_timeout: float | None = None
    load_timeout: float = 600.0

    def __post_init__(self) -> None:
        for name in ("context", "threads", "slots", "batch", "idle_timeout", "load_timeout"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"a local model's {name} is {value!r}; it must be above zero")
        if self.gpu_layers is not None and self.gpu_layers < 0:
            raise ConfigError(f"a local model's gpu_layers is {self.gpu_layers!r}; it must not be below zero")
        for name, words in (("cache_type_k", CacheType), ("cache_type_v", CacheType), ("pooling", Pooling)):
            value = getattr(self, name)
            if value is not None and value not in get_args(words):
                known = ", ".join(get_args(words))
                raise ConfigError(f"a local model's {name} is {value!r}; llama.cpp knows {known}")
