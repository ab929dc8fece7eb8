"""Ollama beyond chat: the values of `client.ollama`, the types of its operations, and Ollama's own options.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainwires_provider._lazy import lazy_names

if TYPE_CHECKING:
    from brainwires_provider.protocols.ollama.options import OllamaOptions
    from brainwires_provider.resources.ollama import AsyncOllama, AsyncOllamaProgressStream
    from brainwires_provider.sync.ollama import Ollama, OllamaProgressStream
    from brainwires_provider.types.ollama import (
        OllamaDetails,
        OllamaEmbeddings,
        OllamaLoad,
        OllamaModel,
        OllamaModelInfo,
        OllamaProgress,
        OllamaRunningModel,
    )

__all__ = [
    "AsyncOllama",
    "AsyncOllamaProgressStream",
    "Ollama",
    "OllamaDetails",
    "OllamaEmbeddings",
    "OllamaLoad",
    "OllamaModel",
    "OllamaModelInfo",
    "OllamaOptions",
    "OllamaProgress",
    "OllamaProgressStream",
    "OllamaRunningModel",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "protocols.ollama.options": "OllamaOptions",
        "types.ollama": "OllamaDetails OllamaEmbeddings OllamaLoad OllamaModel OllamaModelInfo "
        "OllamaProgress OllamaRunningModel",
        "resources.ollama": "AsyncOllama AsyncOllamaProgressStream",
        "sync.ollama": "Ollama OllamaProgressStream",
    },
)
