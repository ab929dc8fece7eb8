"""The batch APIs of providers: which protocol each speaks, its quirks, and its prices relative to usual ones.

Each entry has the documentation that it was read in, and the day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from brainwires_provider.errors import UnsupportedError
from brainwires_provider.protocols.base.batches import BatchProtocol
from brainwires_provider.providers.lists import control_plane, up_from
from brainwires_provider.providers.resolve import Target

__all__ = ["BATCHES", "BatchService", "batch_service"]

_BEDROCK_DOCS = "https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference.html"
_HALF = Decimal("0.5")
_FULL = Decimal(1)
_CHECKED = "2026-11-29"


class BatchService(Struct, frozen=True):
    """The batch API of one provider."""

    protocol: Callable[[], BatchProtocol]
    """Creates the protocol, with this service's quirks."""
    docs: str
    rate: Decimal | None = _HALF
    """What a token costs, in parts of its usual price. None: not known here, so there is no cost."""
    cached: Decimal | None = None
    """The same for tokens read from a cache. None: as all others. 1: the two discounts do not add up."""
    is_uniform: bool = True
    """Whether the rate holds for all models; a cost is not `complete` otherwise."""
    base_url: Callable[[str], str] | None = None
    """Converts the base URL to the one of its batches, if that is another."""
    checked: str = _CHECKED


def _openai(**quirks: Any) -> Callable[[], BatchProtocol]:
    def make() -> BatchProtocol:
        from brainwires_provider.protocols.openai_chat.operations import BatchQuirks, OpenAIBatches

        return OpenAIBatches(BatchQuirks(**quirks))

    return make


def _anthropic() -> BatchProtocol:
    from brainwires_provider.protocols.anthropic.operations import AnthropicBatches

    return AnthropicBatches()


def _gemini() -> BatchProtocol:
    from brainwires_provider.protocols.gemini.operations import GeminiBatches

    return GeminiBatches()


def _vertex(publisher: str, *, custom_ids: bool = False) -> Callable[[], BatchProtocol]:
    def make() -> BatchProtocol:
        from brainwires_provider.protocols.gemini.operations import VertexBatches

        return VertexBatches(publisher, custom_ids=custom_ids)

    return make


def _bedrock(kind: Literal["Converse", "InvokeModel"]) -> Callable[[], BatchProtocol]:
    def make() -> BatchProtocol:
        from brainwires_provider.protocols.bedrock.operations import BedrockBatches

        return BedrockBatches(kind)

    return make


def _xai() -> BatchProtocol:
    from brainwires_provider.protocols.openai_chat.operations import BatchQuirks, XAIBatches

    return XAIBatches(BatchQuirks(one_model=False, cancel=":cancel"))


# 2026-08: in use by others, and in its quickstart; its reference has /api/v1. Results are in the job, and nothing
# cancels one: https://docs.rs/openrouter-batch/0.1.2. Endpoint and model stand before the requests. Models are those
# whose names end in ":batch".
_OPENROUTER = BatchService(
    _openai(
        inline=True,
        bare_lines=True,
        names_model=True,
        lines=5_000,
        size=190_000_000,
        created={},
        cancel=None,
        results="results",
    ),
    "https://openrouter.ai/docs/batch-quickstart",
    is_uniform=False,
    base_url=up_from("/v1", "/beta"),
)
_AZURE = BatchService(_openai(), "https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch")
_XAI = BatchService(_xai, "https://docs.x.ai/developers/advanced-api-usage/batch-api", rate=Decimal("0.8"))
_ALIBABA = BatchService(_openai(), "https://www.alibabacloud.com/help/en/model-studio/batch-inference")
_OPENAI = BatchService(_openai(), "https://developers.openai.com/api/docs/guides/batch")

BATCHES: Mapping[str, BatchService] = {
    "openai-chat": _OPENAI,
    "openai-responses": _OPENAI,
    "openai-responses-ws": _OPENAI,
    "anthropic": BatchService(
        _anthropic, "https://platform.claude.com/docs/en/build-with-claude/batch-processing"
    ),
    "google": BatchService(_gemini, "https://ai.google.dev/gemini-api/docs/batch-api", cached=_FULL),
    "vertex": BatchService(
        _vertex("google"),
        "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini",
        cached=_FULL,
        base_url=up_from("/publishers/google"),
    ),
    "vertex-anthropic": BatchService(
        _vertex("anthropic", custom_ids=True),
        "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/batch",
        base_url=up_from("/publishers/anthropic"),
    ),
    "azure": _AZURE,
    "azure-chat": _AZURE,
    "azure-entra": _AZURE,
    "azure-ws": _AZURE,
    "groq": BatchService(_openai(size=100_000_000), "https://console.groq.com/docs/batch", cached=_FULL),
    # 1,000,000 lines in one page of its documentation, 100,000 in another
    "mistral": BatchService(
        _openai(
            folder="/batch/jobs",
            bare_lines=True,
            names_model=True,
            input_field="input_files",
            listed_input=True,
            outputs=("output_file", "error_file"),
            created={"timeout_hours": 24},
            counts="",
            lines=100_000,
            page="page_size",
        ),
        "https://docs.mistral.ai/studio-api/batch-processing",
    ),
    "together": BatchService(
        _openai(
            purpose="batch-api",
            size=100_000_000,
            below="job",
            upload="/files/upload",
            upload_fields={"file_name": "requests.jsonl", "file_type": "jsonl"},
        ),
        "https://docs.together.ai/docs/inference/batch/overview",
        is_uniform=False,
    ),
    "xai": _XAI,
    "xai-ws": _XAI,
    "openrouter": _OPENROUTER,
    "openrouter-responses": _OPENROUTER,
    "moonshot": BatchService(_openai(), "https://platform.kimi.ai/docs/guide/use-batch-inference", rate=None),
    "alibaba": _ALIBABA,
    "alibaba-cn": _ALIBABA,
    # Servers of your own, and services without an entry of theirs: DeepInfra, Novita, Doubleword, Nebius, …
    "litellm": BatchService(_openai(), "https://docs.litellm.ai/docs/batches", rate=None),
    "custom": BatchService(_openai(), "https://developers.openai.com/api/docs/guides/batch", rate=None),
    # The discount is that of most models; it is not stated for all: https://aws.amazon.com/bedrock/pricing
    "bedrock": BatchService(_bedrock("Converse"), _BEDROCK_DOCS, is_uniform=False, base_url=control_plane),
    "bedrock-invoke": BatchService(
        _bedrock("InvokeModel"), _BEDROCK_DOCS, is_uniform=False, base_url=control_plane
    ),
}
"""By the names of providers."""

_made: dict[str, BatchProtocol] = {}


def batch_service(target: Target) -> tuple[BatchService, BatchProtocol]:
    """The batch API of a target's provider. Raises UnsupportedError where it has none."""
    name = target.row.name
    service = BATCHES.get(name)
    if service is None:
        raise UnsupportedError(
            f"{target.provider} has no batch API that is known here; those that have: {', '.join(BATCHES)}",
            provider=target.provider,
        )
    if name not in _made:
        _made[name] = service.protocol()
    return service, _made[name]
