"""Information about the models of an Ollama server.

Every value holds the server's whole object in `raw`. A field that is missing, or of another type than the documented
one, is None or empty. Sizes are in bytes, durations in seconds (Ollama's own are in nanoseconds).
Reference: the API reference, "List models", "Show model details", "List running models", "Generate embeddings",
"Pull a model".
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from brainwires_provider.types.parts import Extra

__all__ = [
    "OllamaDetails",
    "OllamaEmbeddings",
    "OllamaLoad",
    "OllamaModel",
    "OllamaModelInfo",
    "OllamaProgress",
    "OllamaRunningModel",
]


class OllamaDetails(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model's family and format. `parameter_size` and `quantization` are Ollama's labels: "3.2B", "Q4_K_M"."""

    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] = ()
    parameter_size: str | None = None
    quantization: str | None = None
    parent_model: str | None = None
    raw: Extra = field(default_factory=dict)


class OllamaModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model on the server. `remote_host` is set if the server forwards its requests to another server."""

    name: str
    size: int | None = None
    digest: str | None = None
    modified_at: datetime | None = None
    details: OllamaDetails = OllamaDetails()
    capabilities: tuple[str, ...] | None = None
    remote_model: str | None = None
    remote_host: str | None = None
    raw: Extra = field(default_factory=dict)


class OllamaModelInfo(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """One model in detail.

    `model_info` holds the GGUF's own fields, such as `llama.context_length`.
    `parameters` is the text of the model file's PARAMETER lines. `capabilities` are "completion", "tools", "vision",
    "thinking", "embedding", "insert"; None if the server is too old to list them.
    """

    name: str
    details: OllamaDetails = OllamaDetails()
    capabilities: tuple[str, ...] | None = None
    model_info: Extra = field(default_factory=dict)
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    modelfile: str | None = None
    modified_at: datetime | None = None
    raw: Extra = field(default_factory=dict)

    @property
    def architecture(self) -> str | None:
        """The GGUF's `general.architecture`."""
        name = self.model_info.get("general.architecture")
        return name if isinstance(name, str) and name else None

    @property
    def context_length(self) -> int | None:
        """The context length that the model was trained with, in tokens; the one that a server uses is `num_ctx`."""
        length = self.model_info.get(f"{self.architecture}.context_length")
        return length if type(length) is int else None


class OllamaRunningModel(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A loaded model. `size` is its whole memory in bytes, `size_vram` the part of it on a GPU."""

    name: str
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    expires_at: datetime | None = None
    digest: str | None = None
    details: OllamaDetails = OllamaDetails()
    raw: Extra = field(default_factory=dict)


class OllamaProgress(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """Progress of a pull, push or creation. `total` and `completed` are bytes of the layer `digest`."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None
    raw: Extra = field(default_factory=dict)

    @property
    def fraction(self) -> float | None:
        """The completed share of the layer, from 0 to 1; None if it is not known."""
        if not self.total:
            return None
        return min(1.0, max(0, self.completed or 0) / self.total)


class OllamaEmbeddings(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """One vector for each input, in order. Durations are in seconds; `raw` is the response without the vectors."""

    vectors: tuple[tuple[float, ...], ...]
    model: str | None = None
    input_tokens: int | None = None
    total_duration: float | None = None
    load_duration: float | None = None
    raw: Extra = field(default_factory=dict)


class OllamaLoad(Struct, frozen=True, omit_defaults=True, repr_omit_defaults=True):
    """A model was loaded or unloaded: `reason` is "load" or "unload"; `load_duration` is in seconds."""

    model: str | None
    reason: str | None
    load_duration: float | None = None
    raw: Extra = field(default_factory=dict)
