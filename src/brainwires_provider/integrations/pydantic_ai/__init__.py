"""pydantic-ai on this library: a model for its agents, an embedding model, and model names for both.

    from pydantic_ai import Agent
    from brainwires_provider.integrations.pydantic_ai import BrainwiresModel

    agent = Agent(BrainwiresModel("anthropic:claude-sonnet-5"))

Needs the extra `pydantic-ai`.
"""

from brainwires_provider.errors import ConfigError

try:
    import pydantic_ai as _pydantic_ai
except ImportError as error:
    raise ConfigError(
        "pydantic-ai is not installed: pip install 'brainwires-provider[pydantic-ai]'"
    ) from error

from brainwires_provider.integrations.pydantic_ai.capability import BrainwiresModels
from brainwires_provider.integrations.pydantic_ai.embeddings import BrainwiresEmbeddingModel
from brainwires_provider.integrations.pydantic_ai.model import BrainwiresModel
from brainwires_provider.integrations.pydantic_ai.settings import BrainwiresModelSettings

del _pydantic_ai

__all__ = ["BrainwiresEmbeddingModel", "BrainwiresModel", "BrainwiresModelSettings", "BrainwiresModels"]
