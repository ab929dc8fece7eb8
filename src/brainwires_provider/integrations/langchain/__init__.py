"""LangChain on this library: `ChatBrainwires`, a chat model, and `BrainwiresEmbeddings`.

    from brainwires_provider.integrations.langchain import ChatBrainwires
    print(ChatBrainwires(model="anthropic:claude-sonnet-5").invoke("Why is the sky blue?").text)

Needs the extra `langchain`. Raises ConfigError without it.
"""

from __future__ import annotations

from brainwires_provider.errors import ConfigError

try:
    import langchain_core as _  # noqa: F401
except ImportError:
    raise ConfigError(
        'LangChain\'s classes require an extra: pip install "brainwires-provider[langchain]"'
    ) from None

from brainwires_provider.integrations.langchain.chat import ChatBrainwires
from brainwires_provider.integrations.langchain.embeddings import BrainwiresEmbeddings

__all__ = ["BrainwiresEmbeddings", "ChatBrainwires"]
