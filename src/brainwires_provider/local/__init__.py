"""Models on this machine: GGUF files, how they are run, and the values of `client.local`.

    from brainwires_provider import Client, ProviderConfig
    from brainwires_provider.local import LocalModel
    client = Client("local:coder", providers=[ProviderConfig("local", local=LocalModel(slots=8))])

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainwires_provider._lazy import lazy_names

if TYPE_CHECKING:
    from brainwires_provider.local.memory import MemoryEstimate, estimate_memory
    from brainwires_provider.local.settings import LocalModel
    from brainwires_provider.local.transport import EngineStatus
    from brainwires_provider.local.weights.gguf import GGUFMetadata, read_metadata
    from brainwires_provider.local.weights.hub import PullProgress, pull
    from brainwires_provider.local.weights.registry import LocalRegistry, RegisteredModel
    from brainwires_provider.protocols.llamacpp.operations import Route
    from brainwires_provider.protocols.llamacpp.options import LlamaCppOptions
    from brainwires_provider.resources.local import AsyncLocal, AsyncLocalPool
    from brainwires_provider.sync.local import Local, LocalPool

__all__ = [
    "AsyncLocal",
    "AsyncLocalPool",
    "EngineStatus",
    "GGUFMetadata",
    "LlamaCppOptions",
    "Local",
    "LocalModel",
    "LocalPool",
    "LocalRegistry",
    "MemoryEstimate",
    "PullProgress",
    "RegisteredModel",
    "Route",
    "estimate_memory",
    "pull",
    "read_metadata",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "local.memory": "MemoryEstimate estimate_memory",
        "local.settings": "LocalModel",
        "local.transport": "EngineStatus",
        "local.weights.gguf": "GGUFMetadata read_metadata",
        "local.weights.hub": "PullProgress pull",
        "local.weights.registry": "LocalRegistry RegisteredModel",
        "protocols.llamacpp.options": "LlamaCppOptions",
        "protocols.llamacpp.operations": "Route",
        "resources.local": "AsyncLocal AsyncLocalPool",
        "sync.local": "Local LocalPool",
    },
)
