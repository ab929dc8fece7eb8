"""Names: which word pydantic-ai has for a provider, and how a name given to an agent begins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["PREFIX", "is_named", "system_of"]

PREFIX = "brainwires/"
"""What a name given to an agent begins with: `"brainwires/openai:gpt-6"`."""

_SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "openai-chat": "openai",
        "openai-responses": "openai",
        "openai-responses-ws": "openai",
        "azure-ws": "azure",
        "azure-chat": "azure",
        "azure-entra": "azure",
        "xai-ws": "xai",
        "deepseek-responses": "deepseek",
        "openrouter-responses": "openrouter",
        "vercel-ws": "vercel",
        "bedrock-anthropic": "bedrock",
        "bedrock-invoke": "bedrock",
        "bedrock-openai": "bedrock",
        "google-interactions": "google",
        "vertex": "google-cloud",
        "vertex-anthropic": "google-cloud",
        "vertex-interactions": "google-cloud",
        "moonshot": "moonshotai",
    }
)


def system_of(provider: str) -> str:
    """pydantic-ai's name of a provider, by which it finds prices and knows whose a part is."""
    return _SYSTEMS.get(provider, provider)


_FORMER = MappingProxyType({"google-gla": "google", "google-vertex": "google-cloud"})
"""What pydantic-ai called providers before its version 2."""


def is_named(name: str | None, system: str) -> bool:
    """Whether pydantic-ai's name of a provider, today's or a former one, is that of this provider."""
    return name is not None and _FORMER.get(name, name) == system
