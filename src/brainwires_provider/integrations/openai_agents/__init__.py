"""This library's providers underneath the OpenAI Agents SDK (extra `openai-agents`).

    from agents import Agent, Runner
    from brainwires_provider.integrations.openai_agents import BrainwiresModel

    agent = Agent(name="Helper", model=BrainwiresModel("anthropic:claude-sonnet-5"))
    result = await Runner.run(agent, "Why is the sky blue?")

Requests are retried here, by the client's `retry`, unless `ModelSettings.retry` has the runner do it; then not here.
"""

from __future__ import annotations

from brainwires_provider.errors import ConfigError

try:
    import agents as _agents  # noqa: F401 - what is needed, with a name for the extra where it is missing
except ImportError as error:
    raise ConfigError(
        f'{error}; the OpenAI Agents SDK comes with an extra: pip install "brainwires-provider[openai-agents]"'
    ) from error

from brainwires_provider.integrations.openai_agents.model import BrainwiresModel, BrainwiresProvider

__all__ = ["BrainwiresModel", "BrainwiresProvider"]
