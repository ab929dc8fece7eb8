"""`LocalModel`: the settings of a model on this machine, used by the engine and stored in the registry."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from brainwires_provider.errors import ConfigError
from brainwires_provider.types.checked import Setting, check

__all__ = ["CacheType", "LocalModel", "Pooling"]

CacheType: TypeAlias = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Pooling: TypeAlias = Literal["mean", "cls", "last", "none"]


class LocalModel(Setting, frozen=True, omit_defaults=True, repr_omit_defaults=True, gc=False):
    """A model file and its llama.cpp settings.

    - `path`: a GGUF file; "" is the file that belongs to the model's name.
    - `context`: tokens, shared by concurrent requests. One request may use all of it; if together they need more,
      llama.cpp fails them. None: the context that the model was trained for, per slot, up to 8,192 in total.
    - `threads`: None: one per physical core.
    - `slots`: the number of concurrent requests; others wait.
    - `batch`: prompt tokens computed in one step. A request is cancelled only between steps.
    - `gpu_layers`: the number of layers on a GPU. None: as many as fit.
    - `mmap`: map the file into memory if the device allows it. `mlock`: keep it from being swapped out.
    - `cache_type_k`, `cache_type_v`: the types of cached keys and values. None: f16.
    - `chat_template`: a Jinja template that replaces the file's own.
    - `pooling`: the engine also returns embeddings. A text is then computed in one batch of up to the trained context,
      regardless of `batch`.
    - `idle_timeout`: seconds without a request after which the engine stops and frees its memory. The next request
      loads the model again. None: never.
    - `load_timeout`: seconds.

    Raises ConfigError for a wrong type, an impossible number, or a value that llama.cpp does not know.
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
        try:
            check(self)
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from None
        for name in ("context", "threads", "slots", "batch", "idle_timeout", "load_timeout"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"a local model's {name} is {value!r}; it must be greater than zero")
        if self.gpu_layers is not None and self.gpu_layers < 0:
            raise ConfigError(f"a local model's gpu_layers is {self.gpu_layers!r}; it must not be negative")
